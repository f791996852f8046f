"""UID files behind plain web listings (nginx, Apache, ``python -m http.server``).

This uses requests and not fsspec's HTTP file system, which follows redirects and sends the password to other hosts;
with redirects disabled, it reads a redirect as an empty file; and it reads an endless listing into memory.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth

from pipeline.errors import ConfigError
from pipeline.tracking.mirror.credentials import Credentials
from pipeline.tracking.mirror.sources import (
    CHUNK,
    CONNECT_TIMEOUT,
    MAX_FILE,
    READ_TIMEOUT,
    Source,
    SourceError,
    Stamp,
    gathered,
)

MAX_PAGE = 4 << 20  # bytes; a longer answer is not a folder listing
_TRANSIENT_STATUS = (429, 500, 502, 503, 504)  # rate limits and server errors that a retry may overcome


class Web(Source):
    """A tree behind plain web listings at a checked address."""

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        if credentials and address.startswith("http:") and not _is_loopback(address):
            raise ConfigError(
                f"Credentials are not sent to {address} over plain http, which anyone on the network path can read. "
                "Give the https address, or unset the MESO_UID_* variables if the source is public."
            )
        self.address = address
        self._session = requests.Session()
        # Requests to this machine must not pass, with their credentials, through a proxy set in the environment.
        self._session.trust_env = not _is_loopback(address)
        self._session.auth = OwnHostAuth(address, credentials)
        # Uncompressed, so that Content-Length is the size of the file.
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "meso-uid-mirror"})

    def close(self) -> None:
        """Close the connections of the session."""
        self._session.close()

    def _list(self, folder: str) -> list[str]:
        url = self.address + folder
        with self._answer("GET", url) as response:
            page = gathered(response.iter_content(CHUNK), MAX_PAGE, "a folder listing")
        return linked_names(page.decode("utf-8", "replace"), url)

    def _stamp(self, path: str) -> Stamp:
        try:
            with self._answer("HEAD", self.address + path) as response:
                return _stamp_of(response)
        except SourceError as error:
            if error.kind == "other" and not error.transient:
                return Stamp()  # the server does not support HEAD: contents are compared instead
            raise

    def _read(self, path: str) -> tuple[bytes, Stamp]:
        with self._answer("GET", self.address + path) as response:
            stamp = _stamp_of(response)
            if stamp.size is None and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
                raise SourceError("is sent without a length, so an incomplete transfer could not be detected")
            content = gathered(response.iter_content(CHUNK), MAX_FILE)
        if stamp.size not in (None, len(content)):
            raise SourceError(f"was cut off at {len(content)} of {stamp.size} bytes", transient=True)
        return content, stamp

    @contextmanager
    def _answer(self, method: str, url: str) -> Iterator[requests.Response]:
        # No redirect is followed: even on the same host it may lead out of the tree that the user gave.
        limits = (CONNECT_TIMEOUT, READ_TIMEOUT)
        with self._session.request(method, url, stream=True, allow_redirects=False, timeout=limits) as response:
            _refuse_status(response.status_code)
            yield response

    def _explain(self, error: Exception) -> SourceError:
        match error:
            case requests.exceptions.SSLError():
                return SourceError("has a certificate that cannot be verified")
            case requests.exceptions.Timeout() | urllib3.exceptions.TimeoutError():
                return SourceError("does not answer in time", transient=True)
            case requests.exceptions.ChunkedEncodingError() | urllib3.exceptions.ProtocolError():
                return SourceError("was cut off during the transfer", transient=True)
            case requests.exceptions.ConnectionError():
                return SourceError("cannot be reached (connection refused or lost)", transient=True)
        return SourceError(f"cannot be requested ({type(error).__name__})")


class OwnHostAuth(AuthBase):
    """HTTP basic auth that sends credentials to one origin only.

    It is also used without credentials, because requests would otherwise read them from ~/.netrc.
    """

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        self._origin = _origin(address)
        # As UTF-8 bytes: requests encodes text as Latin-1, and the error if that fails contains the password.
        self._basic = credentials and HTTPBasicAuth(credentials.user.encode(), credentials.password.encode())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the credentials if the request goes to the origin that they are for."""
        own = request.url is not None and _origin(request.url) == self._origin
        return self._basic(request) if self._basic and own else request


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_status(status: int) -> None:
    """Raise SourceError for every status but 200."""
    if status == 200:
        return
    if status in (404, 410):
        raise SourceError(f"does not exist (HTTP {status})", "missing")
    if status == 401:
        raise SourceError("needs other credentials (HTTP 401)", "login")
    if status == 403:
        raise SourceError("is forbidden (HTTP 403)", "forbidden")
    if 300 <= status < 400:
        raise SourceError(f"is redirected (HTTP {status}), which is not followed", "redirect")
    raise SourceError(f"answers with HTTP {status}", transient=status in _TRANSIENT_STATUS)


def _stamp_of(response: requests.Response) -> Stamp:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceError("is sent compressed, although uncompressed data were requested")
    length = response.headers.get("Content-Length", "")
    # bounded: int() raises for a text of thousands of digits
    size = int(length) if re.fullmatch("[0-9]{1,15}", length) else None
    # They are stored in the manifest: bounded and printable, whatever a server sends.
    etag, modified = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    return Stamp(size, *(value[:200] if value and value.isprintable() else None for value in (etag, modified)))


class _Links(HTMLParser):
    """Parser that collects the targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the target of a link."""
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def linked_names(page: str, url: str) -> list[str]:
    """Return the names that a listing at `url` links to below itself.

    Only names are taken from links. Addresses and paths are built from names that match expected patterns, so a
    malicious listing can lead neither to another server nor out of the destination folder.
    """
    links = _Links()
    try:
        links.feed(page)
    except AssertionError:  # html.parser on some malformed declarations
        raise SourceError("is not a folder listing") from None
    return [name for target in links.targets if (name := _name_below(url, target))]


def _name_below(url: str, target: str) -> str | None:
    """Return the path of a link's target below `url`, or None if it is elsewhere."""
    try:
        full = urljoin(url, target)
        here, there = urlsplit(url), urlsplit(full)
        if _origin(full) != _origin(url) or there.query:
            return None
    except ValueError:
        return None
    # both decoded: servers differ in which characters of a name they encode in a listing
    base, path = unquote(here.path), unquote(there.path)
    return path[len(base) :].removesuffix("/") if path.startswith(base) else None
