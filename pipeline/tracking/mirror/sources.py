"""What every source of UID files can do: list a folder, describe a file, read it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

CHUNK = 1 << 16  # bytes asked for at a time
MAX_FILE = 256 << 20  # bytes; UIDs of 25 000 ROIs are 1 MB
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0  # s to connect, s between two pieces of an answer
WAIT = wait_exponential(multiplier=0.5, exp_base=4)  # 0.5 s and 2 s between the three tries

_T = TypeVar("_T")


class SourceError(Exception):
    """Something at the source cannot be had.

    Parameters
    ----------
    reason : str
        What is wrong, in words that follow the name of the source or file. Holds nothing secret.
    kind : str
        What can be done about it: see `search.find`.
    transient : bool
        Whether it may be otherwise a second later.
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
    """What the source says of a file without sending it: bytes, and what changes with the content."""

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    def proves_same(self, entry: Mapping[str, Any]) -> bool:
        """Whether the file must be the one of the manifest's `entry`; needs more than an equal size."""
        if self.etag is None and self.last_modified is None:
            return False
        if self.size not in (None, entry["size"]):
            return False
        return (self.etag, self.last_modified) == (entry["etag"], entry["last_modified"])


class Source(ABC):
    """A tree of files. Paths are relative to `address`, which ends with a separator; folders end with ``/``.

    A kind of source says how it lists, describes and reads, and explains the errors of its library.
    All else is here, once: three tries when a failure may pass, and no error but `SourceError`.
    """

    address: str

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the sorted names in `folder` that match `pattern`; whatever else it lists is left out."""
        return sorted({name for name in self._tried(self._list, folder) if pattern.fullmatch(name)})

    def stamp(self, path: str) -> Stamp:
        """Describe a file; an empty stamp when the source cannot."""
        return self._tried(self._stamp, path)

    def read(self, path: str) -> tuple[bytes, Stamp]:
        """Return a whole file, of `MAX_FILE` at most, and its stamp."""
        return self._tried(self._read, path)

    def close(self) -> None:  # noqa: B027
        """Let go of connections."""

    @abstractmethod
    def _list(self, folder: str) -> Iterable[str]: ...

    @abstractmethod
    def _stamp(self, path: str) -> Stamp: ...

    @abstractmethod
    def _read(self, path: str) -> tuple[bytes, Stamp]: ...

    @abstractmethod
    def _explain(self, error: Exception) -> SourceError:
        """Put an error of the library into words, none of which are its own: those may hold anything."""

    def _tried(self, action: Callable[[str], _T], path: str) -> _T:
        tries = Retrying(stop=stop_after_attempt(3), wait=WAIT, retry=retry_if_exception(_may_pass), reraise=True)
        result: _T = tries(self._once, action, path)
        return result

    def _once(self, action: Callable[[str], _T], path: str) -> _T:
        try:
            return action(path)
        except SourceError as error:
            problem = error.with_traceback(None)
        except Exception as error:
            problem = self._explain(error)
        # Outside the handlers, and without what came before: requests and frames of the libraries hold the password.
        raise problem


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, SourceError) and error.transient


def gathered(chunks: Iterable[bytes], limit: int, what: str = "UIDs") -> bytes:
    """Join the pieces of an answer; SourceError as soon as they are more than `limit` bytes."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > limit:
            raise SourceError(f"is larger than {limit >> 20} MB, too large for {what}")
    return bytes(content)
