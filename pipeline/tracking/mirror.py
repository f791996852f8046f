"""Mirror the cross-day cell UID files of a subject into a local tree.

The source is a folder or the address of a plain web listing (nginx, Apache, ``python -m http.server``);
the mirror is ``<dest>/ROICaT/<subject>/<YYYY-MM-DD>/<NNN>/alf/FOV_XX/mpciROIs.clusterUIDs.csv``.

UIDs are drawn anew at every tracking run, so files of two runs must never stand side by side. A manifest
with checksums tells which run a local file came from; a file that differs from it at the source is
reported and left alone until the caller asks for ``refresh=True``.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth

from pipeline.errors import ConfigError, DataError

UID_FILE = "mpciROIs.clusterUIDs.csv"
OPTIONAL_FILES = ("mpciROIs.clusterSilhouette.npy", "mpciROIs.sampleSilhouette.npy")
MANIFEST = "manifest.json"

Progress = Callable[[int, int, str], object]
_T = TypeVar("_T")

_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[0-9]{3}")
_FOV = re.compile(r"FOV_[0-9]{2}")
_FILE = re.compile("|".join(re.escape(name) for name in (UID_FILE, *OPTIONAL_FILES)))
_REL = re.compile(rf"{_DATE.pattern}/{_NUMBER.pattern}/alf/{_FOV.pattern}/(?:{_FILE.pattern})")
_HOST = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")

_PAUSES = (0.5, 2.0)  # s between the three tries
_TIMEOUT = (10.0, 60.0)  # s to connect, s between two pieces of an answer
_CHUNK = 1 << 16
_PASSING = (429, 500, 502, 503, 504)  # answers that may be another one a second later
_MAX_PAGE = 4 << 20  # a listing that is longer is no listing
_MAX_FILE = 256 << 20  # UIDs of 25 000 ROIs are 1 MB
_STALE_PART = 3600.0  # s after which a temporary file belongs to a run that is dead


# ---------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class MirrorReport:
    """What one run of `mirror_uids` did. Paths are relative to ``<dest>/ROICaT/<subject>``.

    Parameters
    ----------
    fetched : tuple of str
        Files written: new, repaired, or (``refresh=True``) replaced.
    unchanged : tuple of str
        Files that are the same here and at the source.
    changed : tuple of str
        Files whose content at the source is not the one mirrored before: another tracking run.
        Those which were replaced are in `fetched` too.
    failed : tuple of (str, str)
        Path and reason.
    n_sessions : int
        Sessions with at least one UID file at the source.
    """

    fetched: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    n_sessions: int = 0

    @property
    def stale(self) -> tuple[str, ...]:
        """Changed files that were not replaced: the mirror is behind the source."""
        return tuple(sorted(set(self.changed) - set(self.fetched)))

    @property
    def ok(self) -> bool:
        """Whether the mirror equals the source."""
        return not self.failed and not self.stale

    @property
    def warning(self) -> str | None:
        """What the user must know about tracking runs, or None."""
        if not self.stale:
            return None
        return (
            f"{len(self.stale)} mirrored files were regenerated at the source (first: {self.stale[0]}). "
            "UIDs of two tracking runs cannot be compared: nothing new was added. "
            "Mirror again with refresh to replace them all"
        )


# ---------------------------------------------------------------------------------------- credentials


@dataclass(frozen=True)
class Credentials:
    """User and password of the source; neither shows in a repr."""

    user: str = field(repr=False)
    password: str = field(repr=False)


def credentials_from_environment() -> Credentials | None:
    """Read the credentials of the source from the environment.

    Returns
    -------
    Credentials or None
        From MESO_UID_USER and MESO_UID_PASSWORD, else from the file named by MESO_UID_CREDENTIALS
        (two lines, or user:password on one), else None.

    Raises
    ------
    ConfigError
        Half a pair, a file that others can read, or one that cannot be understood.
    """
    # No local variable ever holds the password: some tracebacks show those.
    pair = ("MESO_UID_USER", "MESO_UID_PASSWORD")
    missing = [name for name in pair if not os.environ.get(name)]
    if not missing:
        return _checked(Credentials(*(os.environ[name] for name in pair)))
    if len(missing) == 1:
        raise ConfigError(f"Credentials of the UID source: {missing[0]} is not set. Set both, or neither.")
    file = os.environ.get("MESO_UID_CREDENTIALS")
    return _checked(_read_credentials(Path(file).expanduser())) if file else None


def _read_credentials(path: Path) -> Credentials:
    # The variable's value is never shown: someone may have put the password itself into it.
    named = "The file named by MESO_UID_CREDENTIALS"
    problem, found = None, None
    try:
        with path.open("rb") as stream:
            if os.name == "posix" and os.fstat(stream.fileno()).st_mode & 0o077:
                problem = f"{named} can be used by group or others. Run chmod 600 on it."
            else:
                found = _parse_credentials(stream.read(4096))
    except (OSError, ValueError) as error:
        problem = f"{named} cannot be read ({type(error).__name__}). Check the path and that it is text."
    if problem is None and found is None:
        problem = f"{named} is not understood. Write two lines, user and password, or user:password."
    if found is None:
        raise ConfigError(problem)  # outside the handler: a decode error carries the file's bytes
    return found


def _parse_credentials(content: bytes) -> Credentials | None:
    lines = [line for line in content.decode().splitlines() if line]
    if len(lines) == 1:
        lines = lines[0].split(":", 1)
    return Credentials(*lines) if len(lines) == 2 and all(lines) else None


def _as_credentials(auth: Credentials | tuple[str, str] | None) -> Credentials | None:
    if auth is None:
        return None
    if isinstance(auth, Credentials):
        return _checked(auth)
    if isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(part, str) for part in auth):
        return _checked(Credentials(*auth))
    raise ConfigError("auth must be None, Credentials or a pair (user, password).")


def _checked(credentials: Credentials) -> Credentials:
    if ":" in credentials.user:
        raise ConfigError("Credentials of the UID source: basic auth allows no ':' in the user name.")
    return credentials


class _OwnHostAuth(AuthBase):
    """Basic auth that stays silent on any host but its own.

    Also installed without credentials: requests would otherwise look into ~/.netrc.
    """

    def __init__(self, url: str, credentials: Credentials | None) -> None:
        self._origin = _origin(url)
        # Bytes, as requests would encode text as Latin-1 and name the password when it cannot.
        pair = credentials and (credentials.user.encode(), credentials.password.encode())
        self._basic = HTTPBasicAuth(*pair) if pair else None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._basic is None or request.url is None or _origin(request.url) != self._origin:
            return request
        return self._basic(request)


# ---------------------------------------------------------------------------------------- sources


class _SourceError(Exception):
    """Something at the source cannot be had. `kind`: missing, login, forbidden, redirect or other."""

    def __init__(self, reason: str, kind: str = "other", transient: bool = False) -> None:
        super().__init__(reason)
        self.kind, self.transient = kind, transient


@dataclass(frozen=True)
class _Stamp:
    """What the source says of a file without sending it."""

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    def proves_same(self, entry: dict[str, Any]) -> bool:
        """Whether the file must be the one of the manifest's `entry`; needs more than an equal size."""
        if self.etag is None and self.last_modified is None:
            return False
        if self.size not in (None, entry["size"]):
            return False
        return (self.etag, self.last_modified) == (entry["etag"], entry["last_modified"])


class _Source(Protocol):
    """A folder tree. Paths are relative to `address`, which ends with a separator."""

    address: str

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Sorted names in `folder` that match `pattern`."""

    def stamp(self, path: str) -> _Stamp:
        """Describe a file; an empty stamp when the source cannot."""

    def read(self, path: str, sink: BinaryIO) -> _Stamp:
        """Write a whole file to `sink`."""

    def close(self) -> None:
        """Let go of connections."""


class _Folder:
    """A tree on disk or a mounted share."""

    def __init__(self, path: Path) -> None:
        self._base = path
        self.address = f"{path}{os.sep}"

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        with self._explained():
            return sorted(name for name in os.listdir(self._base / folder) if pattern.fullmatch(name))

    def stamp(self, path: str) -> _Stamp:
        with self._explained():
            info = (self._base / path).stat()
        return _Stamp(info.st_size, None, datetime.fromtimestamp(info.st_mtime, UTC).isoformat())

    def read(self, path: str, sink: BinaryIO) -> _Stamp:
        before = self.stamp(path)
        with self._explained():
            stream = (self._base / path).open("rb")
        with stream:
            while chunk := self._chunk(stream):
                sink.write(chunk)
        if self.stamp(path) != before or sink.tell() != before.size:
            raise _SourceError("was written to while it was being read; mirror again when the run is over")
        return before

    def _chunk(self, stream: BinaryIO) -> bytes:
        with self._explained():
            return stream.read(_CHUNK)

    def close(self) -> None:
        pass

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Tell an unreadable source from a destination that cannot be written."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise _SourceError("does not exist", "missing") from None
        except PermissionError:
            raise _SourceError("may not be read", "forbidden") from None
        except OSError as error:
            raise _SourceError(f"cannot be read ({error.strerror})") from None


class _Web:
    """A tree behind plain web listings."""

    def __init__(self, url: str, credentials: Credentials | None) -> None:
        self.address = url
        self._session = requests.Session()
        # A proxy from the environment must not see what is meant for this machine, credentials included.
        self._session.trust_env = not _is_loopback(url)
        self._session.auth = _OwnHostAuth(url, credentials)
        # Unpacked, so that Content-Length is the size of the file.
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "meso-uid-mirror"})

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        url = self.address + folder
        return _linked_names(_with_tries(lambda: self._page(url)), url, pattern)

    def stamp(self, path: str) -> _Stamp:
        try:
            return _with_tries(lambda: self._head(self.address + path))
        except _SourceError as error:
            if error.kind == "other" and not error.transient:
                return _Stamp()  # no HEAD on this server: the content will have to tell
            raise

    def read(self, path: str, sink: BinaryIO) -> _Stamp:
        return _with_tries(lambda: self._download(self.address + path, sink))

    def close(self) -> None:
        self._session.close()

    @contextmanager
    def _answer(self, method: str, url: str) -> Iterator[requests.Response]:
        # No redirect is followed: even on the same host it leads out of the tree that the user named.
        with self._session.request(method, url, stream=True, allow_redirects=False, timeout=_TIMEOUT) as response:
            _refuse_status(response.status_code)
            yield response

    def _page(self, url: str) -> str:
        body = bytearray()
        with self._answer("GET", url) as response:
            for chunk in response.iter_content(_CHUNK):
                body += chunk
                if len(body) > _MAX_PAGE:
                    raise _SourceError("is too long for a folder listing")
        return body.decode("utf-8", "replace")

    def _head(self, url: str) -> _Stamp:
        with self._answer("HEAD", url) as response:
            return _stamp_of(response)

    def _download(self, url: str, sink: BinaryIO) -> _Stamp:
        sink.seek(0)
        sink.truncate()
        with self._answer("GET", url) as response:
            stamp = _stamp_of(response)
            chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            if stamp.size is None and not chunked:
                raise _SourceError("comes without a length, so a broken transfer could not be noticed")
            for chunk in response.iter_content(_CHUNK):
                sink.write(chunk)
                if sink.tell() > _MAX_FILE:
                    raise _SourceError(f"is larger than {_MAX_FILE >> 20} MB")
        if stamp.size is not None and sink.tell() != stamp.size:
            raise _SourceError(f"broke off at {sink.tell()} of {stamp.size} bytes", transient=True)
        return stamp


def _stamp_of(response: requests.Response) -> _Stamp:
    length = response.headers.get("Content-Length", "")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _SourceError("is sent compressed, although the server was asked not to")
    return _Stamp(int(length) if re.fullmatch("[0-9]{1,15}", length) else None, *_validators(response))


def _validators(response: requests.Response) -> Iterator[str | None]:
    for name in ("ETag", "Last-Modified"):
        value = response.headers.get(name)
        # They go into the manifest, so no server may fill it with anything.
        yield value[:200] if value and value.isprintable() else None


def _refuse_status(status: int) -> None:
    """Raise for every answer but 200."""
    if status == 200:
        return
    if status in (404, 410):
        raise _SourceError(f"does not exist (HTTP {status})", "missing")
    if status == 401:
        raise _SourceError("needs other credentials (HTTP 401)", "login")
    if status == 403:
        raise _SourceError("is forbidden (HTTP 403)", "forbidden")
    if 300 <= status < 400:
        raise _SourceError(f"is redirected (HTTP {status}), which is not followed", "redirect")
    raise _SourceError(f"gives HTTP {status}", transient=status in _PASSING)


def _with_tries(action: Callable[[], _T]) -> _T:
    """Run `action`, up to three times when the failure may pass."""
    for pause in (*_PAUSES, None):
        result, error = _attempt(action)
        if error is None:
            return cast("_T", result)
        if pause is None or not error.transient:
            # Outside any handler: an exception of requests holds the request, and that the password.
            raise error
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _attempt(action: Callable[[], _T]) -> tuple[_T | None, _SourceError | None]:
    try:
        return action(), None
    except _SourceError as error:
        return None, error.with_traceback(None)
    except requests.exceptions.SSLError:
        return None, _SourceError("has a certificate that cannot be verified")
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        return None, _SourceError("gives no answer in time", transient=True)
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError):
        return None, _SourceError("broke off during the transfer", transient=True)
    except requests.exceptions.ConnectionError:
        return None, _SourceError("cannot be reached (connection refused or lost)", transient=True)
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        return None, _SourceError(f"cannot be requested ({type(error).__name__})")


class _Links(HTMLParser):
    """Collect the targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def _linked_names(page: str, url: str, pattern: re.Pattern[str]) -> list[str]:
    """Names directly below `url` that a listing links to and that match `pattern`.

    Only the name is taken from a link; addresses and paths are put together from names, so a hostile
    listing leads neither to another server nor out of the destination.
    """
    links = _Links()
    try:
        links.feed(page)
    except AssertionError:  # html.parser on some malformed declarations
        raise _SourceError("is no folder listing") from None
    names = {_name_below(url, target) for target in links.targets}
    return sorted(name for name in names if name and pattern.fullmatch(name))


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


# ---------------------------------------------------------------------------------------- addresses


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


def _open_source(source: str, credentials: Credentials | None) -> _Source:
    text = os.fspath(source)
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        path = Path(text).expanduser().absolute()
        if not path.is_dir():
            # An address without its scheme ends here, and may hold a password.
            shown = "The source" if "@" in text else f"The source {path}"
            raise ConfigError(f"{shown} is not a folder. Give the folder or http(s) address of the UIDs.")
        return _Folder(path)
    url = _checked_url(text)
    credentials = credentials or credentials_from_environment()
    if credentials and urlsplit(url).scheme == "http" and not _is_loopback(url):
        raise ConfigError(
            f"Credentials are not sent to {url} over plain http, where anyone on the way can read them. "
            "Give the https address, or unset the MESO_UID_* variables if the source is public."
        )
    return _Web(url, credentials)


def _checked_url(text: str) -> str:
    """Normalise an address; refuse any that may hold a secret or be read in two ways.

    The refused address is never shown: where the password starts and ends in it is anyone's guess.
    """
    if "@" in text:
        raise ConfigError(
            "The address of the UID source must not hold credentials (no '@'). "
            "Set MESO_UID_USER and MESO_UID_PASSWORD, or MESO_UID_CREDENTIALS, and leave them out of it."
        )
    try:
        parts = urlsplit(text)
        host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
    except ValueError:
        parts, host = urlsplit(""), ""
    good = parts.scheme in ("http", "https") and _HOST.fullmatch(host)
    if not good or parts.query or parts.fragment or re.search(r"[\\\s\x00-\x1f?#]", text):
        raise ConfigError(
            "The address of the UID source is not understood. "
            "Give it as http(s)://host[:port]/folder/, without query or fragment."
        )
    return urljoin(f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}/", ".")


# ---------------------------------------------------------------------------------------- what is there


@dataclass
class _Found:
    """The UID files of a subject at the source."""

    root: str
    files: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def names(self, source: _Source, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """List a folder; a failure is noted and leaves the others alone."""
        try:
            return source.names(self.root + folder, pattern)
        except _SourceError as error:
            # Below a session without imaging there is no alf: nothing to fetch, and no failure.
            if error.kind != "missing":
                self.failed.append((folder, str(error)))
            return []


def _find(source: _Source, subject: str) -> _Found:
    """Find the subject directly below the source, else below ROICaT/, else below Subjects/.

    Raises
    ------
    ConfigError
        The source cannot be reached, or refuses.
    DataError
        It has no such subject, or no UID file of it.
    """
    refusal, seen = None, None
    for parent in ("", "ROICaT/", "Subjects/"):
        root = f"{parent}{subject}/"
        try:
            dates = [name for name in source.names(root, _DATE) if _is_date(name)]
        except _SourceError as error:
            if error.kind == "missing":
                continue
            refusal = refusal or error
            if error.kind in ("forbidden", "redirect"):
                continue  # some servers answer so for folders that do not exist
            break
        seen = root
        found = _walk(source, root, dates)
        if found.files or found.failed:
            return found
    if refusal is not None:
        raise ConfigError(_refused(source.address, refusal)) from None
    raise _nothing_there(source.address, subject, seen)


def _refused(address: str, error: _SourceError) -> str:
    todo = {
        "login": "Set MESO_UID_USER and MESO_UID_PASSWORD, or MESO_UID_CREDENTIALS, and check them",
        "forbidden": "Ask for the right to read it, and that its folders may be listed",
        "redirect": "Give the address it leads to; if that is a log-in page, it cannot be mirrored from",
    }.get(error.kind, "Check the address and the network, then run again: what is already there is kept")
    return f"The UID source {address} {error}. {todo}."


def _nothing_there(address: str, subject: str, seen: str | None) -> DataError:
    if seen is None:
        problem = f"The UID source {address} has no subject {subject}"
        todo = f"Give the folder above {subject}/, ROICaT/{subject}/ or Subjects/{subject}/"
        return DataError(problem, do=todo)
    return DataError(
        f"The UID source {address} has no {UID_FILE} of subject {subject}",
        expected=f"{seen}<YYYY-MM-DD>/<NNN>/alf/FOV_XX/{UID_FILE}",
        found="none",
        do="Check that its sessions were tracked, and that the server lists its folders",
    )


def _walk(source: _Source, root: str, dates: list[str]) -> _Found:
    found = _Found(root)
    for day in dates:
        for number in found.names(source, f"{day}/", _NUMBER):
            alf = f"{day}/{number}/alf/"
            for fov in found.names(source, alf, _FOV):
                _list_fov(source, found, f"{alf}{fov}/")
    return found


def _list_fov(source: _Source, found: _Found, folder: str) -> None:
    names = found.names(source, folder, _FILE)
    if UID_FILE in names:  # silhouettes mean nothing without the UIDs
        found.files += [folder + name for name in names]


def _is_date(name: str) -> bool:
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------------- manifest


class _Manifest:
    """Where every mirrored file came from, and its checksum.

    `complete` is False from before the first write of a run until the mirror equals the source:
    after a kill it tells that files of two tracking runs may stand side by side.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self.path, self.subject = path, subject
        self.files: dict[str, dict[str, Any]] = {}
        self.complete = True
        self._saved: str | None = None
        self._next_save = 0.0
        if path.exists():
            self._load()

    def _load(self) -> None:
        names = {"size", "sha256", "source", "fetched", "etag", "last_modified"}
        try:
            text = self.path.read_text(encoding="utf-8")
            content = json.loads(text)
            good = content["version"] == 1 and content["subject"] == self.subject
            self.complete, self.files = bool(content["complete"]), dict(content["files"])
            good = good and all(_REL.fullmatch(rel) and names <= set(e) for rel, e in self.files.items())
        except (OSError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise DataError(
                f"The manifest {self.path} cannot be used",
                expected=f"version 1 for subject {self.subject}",
                found="something else",
                do="Remove it and mirror again: files that are there are then compared with the source",
            )
        self._saved = text

    def record(self, rel: str, source: str, stamp: _Stamp, size: int, sha256: str) -> None:
        """Note a file that is now here; of an unchanged file the time of its first fetch stays."""
        old = self.files.get(rel, {})
        same = old.get("sha256") == sha256
        fetched = old["fetched"] if same else datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"size": size, "sha256": sha256, "source": source, "fetched": fetched}
        self.files[rel] = entry | {"etag": stamp.etag, "last_modified": stamp.last_modified}

    def save_now_and_then(self) -> None:
        """Save unless that would take more than a twentieth of the time: it grows with the mirror."""
        start = time.monotonic()
        if start >= self._next_save:
            self.save()
            end = time.monotonic()
            self._next_save = end + 20 * (end - start)

    def save(self) -> None:
        """Write the manifest if it differs from the one on disk."""
        content = {"version": 1, "subject": self.subject, "complete": self.complete}
        content["files"] = dict(sorted(self.files.items()))
        text = json.dumps(content, indent=1) + "\n"
        if text == self._saved:
            return
        try:
            with _part(self.path) as (stream, part):
                stream.write(text.encode())
                stream.flush()
                _settle(stream, part, self.path)
        except OSError as error:
            problem = f"The manifest {self.path} cannot be written ({error.strerror})"
            raise ConfigError(f"{problem}. Check the destination: its path, rights and free space.") from error
        self._saved = text


@contextmanager
def _part(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a temporary file beside `path`; it is gone afterwards unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.part"):
        # Left by a killed run; a young one may belong to a process that still writes it.
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _STALE_PART:
                left.unlink()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as stream:
            yield stream, part
    finally:
        part.unlink(missing_ok=True)


def _settle(stream: BinaryIO, part: Path, path: Path) -> None:
    """Put a finished temporary file in place, whole even after a power cut."""
    os.fsync(stream.fileno())
    stream.close()
    os.replace(part, path)


def _sha256(path: Path) -> str | None:
    """Checksum of a file, None when there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------- the mirror


def subject_folder(dest: Path, subject: str) -> Path:
    """Folder of a subject's mirrored files and their manifest."""
    return Path(dest) / "ROICaT" / subject


def mirror_uids(
    source: str,
    dest: Path,
    subject: str,
    *,
    auth: Credentials | tuple[str, str] | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
) -> MirrorReport:
    """Mirror the cross-day cell UIDs of a subject, with their silhouettes where there are any.

    May be broken off and run again at any time: what is there already is not fetched again.

    Parameters
    ----------
    source : str
        Folder, or http(s) address of a folder listing, with ``<subject>/<date>/<number>/alf/FOV_XX/``
        below it, or below its ``ROICaT/`` or ``Subjects/`` (the first of the three that has UIDs).
    dest : Path
        Files go to ``<dest>/ROICaT/<subject>/``, beside ``manifest.json``.
    subject : str
        Name of the subject.
    auth : Credentials or (user, password), optional
        None takes them from MESO_UID_USER and MESO_UID_PASSWORD, or the file named by MESO_UID_CREDENTIALS.
    progress : callable, optional
        Called with (files done, files in all, path) after each file.
    refresh : bool
        Replace files that were regenerated at the source. Without it they are only reported, and new
        files are held back, as they would come from another tracking run than those already here.

    Returns
    -------
    MirrorReport
        Failures of single files are in it and do not stop the others.

    Raises
    ------
    ConfigError
        The source cannot be reached or refuses; the address or the credentials are not acceptable;
        the manifest cannot be written.
    DataError
        The source has no such subject or no UIDs of it, or the manifest is damaged.
    """
    auth = _as_credentials(auth)
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise ConfigError(f"{subject!r} is no name of a subject: letters, digits, '_', '-' and '.' only.")
    folder = subject_folder(dest, subject)
    with closing(_open_source(source, auth)) as opened:
        found = _find(opened, subject)
        address = opened.address + found.root
        if isinstance(opened, _Folder) and Path(address).resolve() == folder.resolve():
            raise ConfigError(f"The source of the UIDs is the mirror itself, {folder}. Give another one.")
        run = _Run(opened, found, folder, _Manifest(folder / MANIFEST, subject), refresh)
        return run.all(progress)


class _Run:
    """One run of `mirror_uids`: the source, the mirror, and what happened so far."""

    def __init__(self, source: _Source, found: _Found, folder: Path, manifest: _Manifest, refresh: bool) -> None:
        self.source, self.found, self.folder = source, found, folder
        self.manifest, self.refresh = manifest, refresh
        self.fetched: list[str] = []
        self.unchanged: list[str] = []
        self.changed: list[str] = []
        self.failed: list[tuple[str, str]] = list(found.failed)

    def all(self, progress: Progress | None) -> MirrorReport:
        """Do every file: first those known, to learn whether the source was regenerated."""
        known = [rel for rel in self.found.files if self._is_known(rel)]
        new = [rel for rel in self.found.files if not self._is_known(rel)]
        try:
            for done, rel in enumerate(known + new, 1):
                self._one(rel, known=done <= len(known))
                self.manifest.save_now_and_then()
                if progress is not None:
                    progress(done, len(self.found.files), rel)
            self._note_vanished()
            self.manifest.complete = self._report().ok
        finally:
            if self.manifest.files:
                self.manifest.save()
        return self._report()

    def _is_known(self, rel: str) -> bool:
        return rel in self.manifest.files or (self.folder / rel).exists()

    def _report(self) -> MirrorReport:
        sessions = {rel.split("/alf/")[0] for rel in self.found.files}
        return MirrorReport(
            fetched=tuple(sorted(self.fetched)),
            unchanged=tuple(sorted(self.unchanged)),
            changed=tuple(sorted(self.changed)),
            failed=tuple(sorted(self.failed)),
            n_sessions=len(sessions),
        )

    def _one(self, rel: str, known: bool) -> None:
        """Mirror one file; what goes wrong is noted."""
        try:
            if known:
                self._check(rel)
            elif self.changed and not self.refresh:
                reason = "not fetched: other files were regenerated at the source; mirror again with refresh"
                self.failed.append((rel, reason))
            else:
                self._transfer(rel, None)
        except _SourceError as error:
            self.failed.append((rel, str(error)))
        except OSError as error:
            self.failed.append((rel, f"cannot be written to {self.folder} ({error.strerror})"))

    def _check(self, rel: str) -> None:
        """Compare a file that was mirrored before with the source, and transfer it if need be."""
        entry, local = self.manifest.files.get(rel), _sha256(self.folder / rel)
        stamp = self.source.stamp(self.found.root + rel)
        if (
            entry is not None
            and local == entry["sha256"]
            and entry["source"] == self._address(rel)
            and stamp.proves_same(entry)
        ):
            self.unchanged.append(rel)
        elif not self.refresh and stamp.size is not None and stamp.size not in self._sizes(rel):
            self.changed.append(rel)  # another size is another content, there is no need to read it
        else:
            self._transfer(rel, local)

    def _sizes(self, rel: str) -> set[int]:
        path, entry = self.folder / rel, self.manifest.files.get(rel)
        here = {path.stat().st_size} if path.is_file() else set()
        return here | ({entry["size"]} if entry else set())

    def _transfer(self, rel: str, local: str | None) -> None:
        """Read a file from the source and put it in place, unless it is here or another run's.

        Dates and tags change when a server moves or a file is touched: only the content decides.
        """
        path, entry = self.folder / rel, self.manifest.files.get(rel)
        with _part(path) as (stream, part):
            stamp = self.source.read(self.found.root + rel, stream)
            stream.flush()
            _check_content(stream, path.name)
            size, sha256 = part.stat().st_size, str(_sha256(part))
            expected = {local, entry and entry["sha256"]} - {None}
            if expected and sha256 not in expected:
                self.changed.append(rel)
                if not self.refresh:
                    return
            if sha256 == local:
                self.unchanged.append(rel)
            else:
                self._announce_write()
                _settle(stream, part, path)
                self.fetched.append(rel)
            self.manifest.record(rel, self._address(rel), stamp, size, sha256)

    def _announce_write(self) -> None:
        """Mark the mirror as incomplete, on disk, before its first file changes."""
        if self.manifest.complete:
            self.manifest.complete = False
            self.manifest.save()

    def _address(self, rel: str) -> str:
        return self.source.address + self.found.root + rel

    def _note_vanished(self) -> None:
        """Report mirrored files that this source no longer has: they belong to an earlier run."""
        root, present = self.source.address + self.found.root, set(self.found.files)
        unlisted = tuple(folder for folder, _ in self.found.failed)
        for rel, entry in list(self.manifest.files.items()):
            if rel in present or not entry["source"].startswith(root) or rel.startswith(unlisted):
                continue
            if (self.folder / rel).exists():
                reason = f"no longer at the source; remove {self.folder / rel} if it is of an earlier run"
                self.failed.append((rel, reason))
            else:
                del self.manifest.files[rel]


def _check_content(stream: BinaryIO, name: str) -> None:
    """Refuse a web page (log-in, 'not found') that a server sent in place of the file."""
    stream.seek(0)
    start = stream.read(64).lstrip()
    if name.endswith(".npy") and not start.startswith(b"\x93NUMPY"):
        raise _SourceError("is no npy file")
    if name.endswith(".csv") and (start.startswith(b"<") or b"\x00" in start):
        raise _SourceError("is a web page or binary data instead of UIDs")
