"""UID files behind plain web listings (nginx, Apache, ``python -m http.server``).

With requests, not with fsspec's http: that one follows redirects and sends the password along to other hosts;
told not to follow, it takes a redirect for an empty file; and it reads a listing without end into memory.
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

MAX_PAGE = 4 << 20  # bytes; a listing that is longer is no listing
_PASSING = (429, 500, 502, 503, 504)  # answers that may be another one a second later


class Web(Source):
    """A tree behind plain web listings at a checked address."""

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        if credentials and address.startswith("http:") and not _is_loopback(address):
            raise ConfigError(
                f"Credentials are not sent to {address} over plain http, where anyone on the way can read them. "
                "Give the https address, or unset the MESO_UID_* variables if the source is public."
            )
        self.address = address
        self._session = requests.Session()
        # A proxy from the environment must not see what is meant for this machine, credentials included.
        self._session.trust_env = not _is_loopback(address)
        self._session.auth = OwnHostAuth(address, credentials)
        # Unpacked, so that Content-Length is the size of the file.
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "meso-uid-mirror"})

    def close(self) -> None:
        """Let go of connections."""
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
                return Stamp()  # no HEAD on this server: the content will have to tell
            raise

    def _read(self, path: str) -> tuple[bytes, Stamp]:
        with self._answer("GET", self.address + path) as response:
            stamp = _stamp_of(response)
            if stamp.size is None and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
                raise SourceError("comes without a length, so a broken transfer could not be noticed")
            content = gathered(response.iter_content(CHUNK), MAX_FILE)
        if stamp.size not in (None, len(content)):
            raise SourceError(f"broke off at {len(content)} of {stamp.size} bytes", transient=True)
        return content, stamp

    @contextmanager
    def _answer(self, method: str, url: str) -> Iterator[requests.Response]:
        # No redirect is followed: even on the same host it leads out of the tree that the user named.
        limits = (CONNECT_TIMEOUT, READ_TIMEOUT)
        with self._session.request(method, url, stream=True, allow_redirects=False, timeout=limits) as response:
            _refuse_status(response.status_code)
            yield response

    def _explain(self, error: Exception) -> SourceError:
        match error:
            case requests.exceptions.SSLError():
                return SourceError("has a certificate that cannot be verified")
            case requests.exceptions.Timeout() | urllib3.exceptions.TimeoutError():
                return SourceError("gives no answer in time", transient=True)
            case requests.exceptions.ChunkedEncodingError() | urllib3.exceptions.ProtocolError():
                return SourceError("broke off during the transfer", transient=True)
            case requests.exceptions.ConnectionError():
                return SourceError("cannot be reached (connection refused or lost)", transient=True)
        return SourceError(f"cannot be requested ({type(error).__name__})")


class OwnHostAuth(AuthBase):
    """Basic auth that stays silent on any host but its own.

    Also installed without credentials: requests would otherwise look into ~/.netrc.
    """

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        self._origin = _origin(address)
        # Bytes, as requests would encode text as Latin-1 and name the password when it cannot.
        self._basic = credentials and HTTPBasicAuth(credentials.user.encode(), credentials.password.encode())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the credentials to a request to the own host."""
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
    """Raise for every answer but 200."""
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
    raise SourceError(f"gives HTTP {status}", transient=status in _PASSING)


def _stamp_of(response: requests.Response) -> Stamp:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceError("is sent compressed, although the server was asked not to")
    length = response.headers.get("Content-Length", "")
    size = int(length) if re.fullmatch("[0-9]{1,15}", length) else None
    # These go into the manifest, so no server may fill it with anything.
    etag, modified = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
    return Stamp(size, *(value[:200] if value and value.isprintable() else None for value in (etag, modified)))


class _Links(HTMLParser):
    """Collect the targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the target of a link."""
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def linked_names(page: str, url: str) -> list[str]:
    """Return what a listing at `url` links to below itself.

    Only names are taken from links. Addresses and paths are put together from names that match a known
    pattern, so a hostile listing leads neither to another server nor out of the destination.
    """
    links = _Links()
    try:
        links.feed(page)
    except AssertionError:  # html.parser on some malformed declarations
        raise SourceError("is no folder listing") from None
    return [name for target in links.targets if (name := _name_below(url, target))]


def _name_below(url: str, target: str) -> str | None:
    try:
        full = urljoin(url, target)
        here, there = urlsplit(url), urlsplit(full)
        if _origin(full) != _origin(url) or there.query:
            return None
    except ValueError:
        return None
    base, path = unquote(here.path), unquote(there.path)
    return path[len(base) :].removesuffix("/") if path.startswith(base) else None
