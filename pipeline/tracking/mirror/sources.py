"""The interface of all sources of UID files: list a folder, describe a file, read a file."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

CHUNK = 1 << 16  # bytes requested at a time
MAX_FILE = 256 << 20  # bytes; far above the UIDs of 25 000 ROIs (1 MB), so that an endless answer is cut off
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0  # s to connect, s between two chunks of an answer
WAIT = wait_exponential(multiplier=0.5, exp_base=4)  # 0.5 s and 2 s between the three attempts

_T = TypeVar("_T")


class SourceError(Exception):
    """A file or folder of the source cannot be accessed.

    Parameters
    ----------
    reason : str
        Predicate of a sentence whose subject is the source or file, without secrets.
    kind : str
        Class of the problem; `search.find` tells the user what to do about it.
    transient : bool
        Whether a retry may succeed.
    """

    def __init__(
        self,
        reason: str,
        kind: Literal["missing", "login", "forbidden", "redirect", "host", "other"] = "other",
        transient: bool = False,
    ) -> None:
        super().__init__(reason)
        self.kind, self.transient = kind, transient


@dataclass(frozen=True)
class Stamp:
    """Metadata of a file, obtained without reading it: size in bytes, and tags that change with the content."""

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    def proves_same(self, entry: Mapping[str, Any]) -> bool:
        """Return whether the file is certainly the one in the manifest's `entry`; an equal size is not enough."""
        if self.etag is None and self.last_modified is None:
            return False
        if self.size not in (None, entry["size"]):
            return False
        return (self.etag, self.last_modified) == (entry["etag"], entry["last_modified"])


class Source(ABC):
    """A tree of files. Paths are relative to `address`, which ends with a separator; folders end with ``/``.

    Subclasses list, describe and read, and translate the errors of their library. This class retries transient
    failures (three attempts in total), and raises nothing but `SourceError`.
    """

    address: str

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the sorted names in `folder` that match `pattern`."""
        return sorted({name for name in self._retried(self._list, folder) if pattern.fullmatch(name)})

    def stamp(self, path: str) -> Stamp:
        """Return the metadata of a file; empty if the source has none."""
        return self._retried(self._stamp, path)

    def read(self, path: str) -> tuple[bytes, Stamp]:
        """Return the content of a file, of at most `MAX_FILE` bytes, and its metadata."""
        return self._retried(self._read, path)

    def close(self) -> None:  # noqa: B027
        """Close connections, if there are any."""

    @abstractmethod
    def _list(self, folder: str) -> Iterable[str]: ...

    @abstractmethod
    def _stamp(self, path: str) -> Stamp: ...

    @abstractmethod
    def _read(self, path: str) -> tuple[bytes, Stamp]: ...

    @abstractmethod
    def _explain(self, error: Exception) -> SourceError:
        """Describe an error of the library without quoting its message, which may contain secrets."""

    def _retried(self, action: Callable[[str], _T], path: str) -> _T:
        # reraise: the last SourceError, and not tenacity's RetryError around it
        attempts = Retrying(
            stop=stop_after_attempt(3), wait=WAIT, retry=retry_if_exception(_is_transient), reraise=True
        )
        result: _T = attempts(self._once, action, path)
        return result

    def _once(self, action: Callable[[str], _T], path: str) -> _T:
        try:
            return action(path)
        except SourceError as error:
            problem = error.with_traceback(None)
        except Exception as error:
            problem = self._explain(error)
        # Raised outside the handlers, and without the original traceback: request objects and frames of the libraries
        # hold the password.
        raise problem


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, SourceError) and error.transient


def gathered(chunks: Iterable[bytes], limit: int, what: str = "UIDs") -> bytes:
    """Join the chunks of an answer; raise SourceError as soon as they exceed `limit` bytes."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > limit:
            raise SourceError(f"is larger than {limit >> 20} MB, too large for {what}")
    return bytes(content)
