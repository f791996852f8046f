"""Load single datasets of a session through ONE without unpickling, and record which files were read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.reading.client import fov_number

REVISION = re.compile(r"#([^#/]+)#")
#: numpy dtype kinds that are accepted as numbers: booleans, integers, floats.
NUMBERS = "biuf"
#: The problem of an error about a recorded file that is neither on this machine nor in ONE.
GONE = "the file that was read is gone"
#: See ``file_state``.
FileState = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """One file that was read.

    Attributes
    ----------
    dataset : str
        Path within the session, with the revision folder if there is one.
    dataset_id : str
        Its id in ONE, '' if ONE does not list it.
    revision : str
        '' for the original.
    size : int
        Bytes.
    sha256 : str
        Of the whole file, hex.
    one_hash : str
        The hash that ONE listed for it when it was read, '' if none; only compared with what ONE lists later.
    """

    dataset: str
    dataset_id: str
    revision: str
    size: int
    sha256: str
    one_hash: str = ""


class SessionReader:
    """Loads single datasets of one session and records each file that it reads.

    Parameters
    ----------
    one : ONE client
    eid : str
    recorded : iterable of Source, optional
        Read these files and no others, whatever ONE lists now; each must still be the one that was recorded.
    """

    def __init__(self, one: Any, eid: str, recorded: Iterable[Source] | None = None):
        self.one, self.eid = one, eid
        self._recorded = None if recorded is None else {source.dataset: source for source in recorded}
        self._read: dict[str, tuple[Path, FileState]] = {}
        self.table = one.list_datasets(eid, details=True)
        listed = self.table["rel_path"].items() if len(self.table) else ()
        self._ids = {str(path): str(dataset_id) for dataset_id, path in listed}
        self._sizes, self._hashes = self._column("file_size"), self._column("hash")

    @property
    def sources(self) -> list[Source]:
        """The files read so far, in order. Each access hashes them.

        Raises
        ------
        DataError
            A file was changed while it was read, so that its hash may not be that of what was read.
        """
        found = [self._source(dataset, path) for dataset, (path, _) in self._read.items()]
        self.check_not_touched()
        return found

    def check_not_touched(self) -> None:
        """Raise a DataError if a file has been written or replaced since ``path`` returned it."""
        for dataset, (path, before) in self._read.items():
            if file_state(path) != before:
                raise DataError(
                    "the file was changed while it was read", eid=self.eid, fov=_fov_of(dataset), dataset=dataset,
                    do="Let it be written completely, then run: meso retry",
                )  # fmt: skip

    def place(self, name: str, collection: str) -> dict[str, Any]:
        """Return session, FOV and dataset as keyword arguments of a ``DataError``."""
        return {"eid": self.eid, "fov": fov_number(collection), "dataset": f"{collection}/{name}"}

    def collections(self) -> list[str]:
        """Return the collections that ONE lists, or those of the recorded files."""
        if self._recorded is None:
            return [str(collection) for collection in self.one.list_collections(self.eid)]
        return sorted({without_revision(path).rpartition("/")[0] for path in self._recorded})

    def has(self, name: str, collection: str) -> bool:
        """Return whether ONE lists the dataset, in any revision."""
        return any(self._listed(name, collection))

    def sizes(self, name: str, collection: str) -> set[int]:
        """Return the sizes in bytes of all revisions of the dataset, as listed by ONE."""
        return {self._sizes[path] for path in self._listed(name, collection)}

    def default(self, dataset: str) -> str | None:
        """Return the path that ONE would load for a dataset, a path without revision; None if it lists none."""
        collection, _, name = dataset.rpartition("/")
        listed = list(self._listed(name, collection))
        if len(listed) < 2:
            return listed[0] if listed else None
        from one.api import REVISION_LAST_BEFORE
        from one.util import filter_datasets

        chosen = filter_datasets(
            self.table, name, collection, REVISION_LAST_BEFORE, wildcards=self.one.wildcards, assert_unique=True
        )
        return str(chosen["rel_path"].iloc[0]) if len(chosen) else None

    def local(self, path: str) -> Path | None:
        """Return the file of a listed path if it is on this machine."""
        file = self._session_path() / path
        return file if file.is_file() else None

    def size(self, path: str) -> int:
        """Return the size of a listed path in ONE, bytes."""
        return int(self._sizes[path])

    def one_hash(self, path: str) -> str:
        """Return the hash of a listed path in ONE, '' if it has none."""
        return str(self._hashes.get(path) or "")

    @property
    def is_remote(self) -> bool:
        """Whether ONE can download files that are not on this machine."""
        return not getattr(self.one, "offline", True)

    def _listed(self, name: str, collection: str) -> Iterator[str]:
        """Yield the paths of all revisions of a dataset; of recorded files, there is one."""
        for path in self._ids if self._recorded is None else self._recorded:
            # the prefix is compared first: the regular expression is much slower, and sessions list many datasets
            if path.startswith(f"{collection}/") and without_revision(path) == f"{collection}/{name}":
                yield path

    def path(self, name: str, collection: str, *, check_hash: bool = True) -> Path:
        """Return the local file of a dataset, downloading it if needed, and record it as read.

        Parameters
        ----------
        name, collection : str
        check_hash : bool
            Compare a recorded file with its hash, which reads all of it, and not only with its size.

        Raises
        ------
        DataError
            ONE does not list it, or lists it but cannot provide the file; or it is not the recorded file.
        """
        from one.alf.exceptions import ALFError

        place = self.place(name, collection)
        if not self.has(name, collection):
            raise DataError("dataset is missing", do="ONE lists no such file", **place)
        if self._recorded is not None:
            return self._recorded_file(self._recorded[next(self._listed(name, collection))], check_hash)
        try:
            # A remote ONE compares the md5 of an earlier download, and downloads a file that has changed again. A local
            # one would compute it at each load, and load the file even if it differs.
            found = self.one.load_dataset(
                self.eid, name, collection=collection, download_only=True, check_hash=self.is_remote
            )
        except (ALFError, OSError) as error:
            # only the first line: ONE's message goes on with examples of usage
            problem = f"ONE lists the dataset but cannot provide the file ({first_line(error)})"
            raise DataError(problem, **place) from error
        self._record(Path(found))
        return Path(found)

    def _recorded_file(self, source: Source, check_hash: bool) -> Path:
        """Return a recorded file, after comparing it with its record, and record it as read."""
        dataset, path = source.dataset, self._session_path() / source.dataset
        if not path.is_file():
            path = self._fetch(dataset)
        self._record(path)
        expected, found = f"{source.size} bytes", f"{path.stat().st_size} bytes"
        if expected == found and check_hash:
            expected, found = f"sha256 {source.sha256}", f"sha256 {sha256_file(path)}"
        if expected != found:
            raise self._changed("the file changed since it was read", dataset, expected=expected, found=found)
        return path

    def _fetch(self, dataset: str) -> Path:
        """Return a recorded file that is not on this machine from ONE, which may still have it."""
        from one.alf.exceptions import ALFError

        try:
            found = self.one.load_dataset_from_id(self._ids[dataset], download_only=True, check_hash=False)
        except (KeyError, ALFError, OSError) as error:
            name = without_revision(dataset)
            now = [path for path in self._ids if path != dataset and without_revision(path) == name]
            found = f"ONE lists {', '.join(sorted(now)) or 'no other revision'}"
            raise self._changed(GONE, dataset, expected=dataset, found=found) from error
        return Path(found)

    def _changed(self, problem: str, dataset: str, **details: Any) -> DataError:
        do = f"Restore it, or read the session again with: meso update {self.eid}"
        return DataError(problem, eid=self.eid, fov=_fov_of(dataset), dataset=dataset, do=do, **details)

    def array(self, name: str, collection: str, *, mmap: bool = False) -> np.ndarray:
        """Return a ``.npy`` dataset of numbers; with ``mmap=True`` as a memory map, whose hash is not compared.

        Raises
        ------
        DataError
            Missing, unreadable, truncated, not a plain array (pickled objects are refused, never executed), or of
            another dtype than boolean, integer or float.
        """
        path = self.path(name, collection, check_hash=not mmap)
        array = read_array(path, **self.place(name, collection))
        return array if mmap else np.array(array)

    def vector(self, name: str, collection: str) -> np.ndarray:
        """Return a ``.npy`` dataset of shape (n,), or (n, 1) as MATLAB writes it, as (n,) float64.

        Raises
        ------
        DataError
            As ``array``, or the dataset has another shape.
        """
        array = self.array(name, collection)
        if array.ndim != 1 and array.shape[1:] != (1,):
            place = self.place(name, collection)
            raise DataError("is not a vector", expected="(n,)", found=f"{array.shape}", **place)
        return array.reshape(-1).astype(float)

    def lines(self, name: str, collection: str) -> list[str]:
        """Return the lines of a text dataset, blank ones included.

        Raises
        ------
        DataError
            Missing, unreadable, or not text.
        """
        path, place = self.path(name, collection), self.place(name, collection)
        return read_text(read_bytes(path, **place), **place).splitlines()

    def _record(self, path: Path) -> None:
        dataset = path.relative_to(self._session_path()).as_posix()
        if dataset not in self._read:  # the state before the first read is what counts
            self._read[dataset] = path, file_state(path)

    def _session_path(self) -> Path:
        return Path(str(self.one.eid2path(self.eid)))

    def _column(self, name: str) -> dict[str, Any]:
        """Return a column of ONE's table of datasets by path."""
        return dict(zip(self.table["rel_path"], self.table[name], strict=True)) if name in self.table else {}

    def _source(self, dataset: str, path: Path) -> Source:
        revision = REVISION.search(dataset)
        return Source(
            dataset=dataset,
            dataset_id=self._ids.get(dataset, ""),
            revision=revision[1] if revision else "",
            size=path.stat().st_size,
            sha256=sha256_file(path),
            one_hash=self.one_hash(dataset),
        )


def file_state(path: Path) -> FileState:
    """Return what changes whenever a file is written or replaced, even if its size and time are set back."""
    state = path.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _fov_of(dataset: str) -> int | None:
    return fov_number("/".join(dataset.split("/")[:2]))


def read_array(path: Path, **place: Any) -> np.ndarray:
    """Return a ``.npy`` file of numbers as a read-only memory map.

    Parameters
    ----------
    path : Path
    **place
        eid, fov and dataset, for errors.

    Raises
    ------
    DataError
        Unreadable, truncated, not a plain array (pickled objects are refused, never executed), or of another dtype
        than boolean, integer or float.
    """
    try:
        # a memory map cannot unpickle, and it fails if the file is shorter than its header says
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise _not_readable(error, place) from error
    except Exception as error:  # a damaged header makes numpy raise ValueError, TypeError, TokenError, ...
        raise DataError(
            f"cannot be read as a plain array, it may be truncated or hold objects ({first_line(error)})",
            expected="a complete .npy file of numbers",
            found=f"{path.stat().st_size} bytes",
            do="Fetch the file again",
            **place,
        ) from error
    if array.dtype.kind not in NUMBERS or array.dtype.itemsize > 8:
        raise DataError("does not hold numbers", expected="integers or floats", found=f"{array.dtype}", **place)
    return array


def read_bytes(path: Path, **place: Any) -> bytes:
    """Return the content of a file.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _not_readable(error, place) from error


def read_text(content: bytes, **place: Any) -> str:
    """Decode UTF-8, dropping a byte-order mark, which would become part of the first word.

    Raises
    ------
    DataError
        The bytes are not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"is not text ({error})", expected="UTF-8", found=f"{len(content)} bytes", **place) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _not_readable(error: OSError, place: dict[str, Any]) -> DataError:
    found, do = error.strerror or str(error), "Check that it is a file and that this user has permission to read it"
    return DataError("the file cannot be read", expected="a readable file", found=found, do=do, **place)


def without_revision(path: str) -> str:
    """Return the path of a dataset without the folder of its revision."""
    return REVISION.sub("", path).replace("//", "/")


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file, which is read in chunks: activity files do not fit in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
