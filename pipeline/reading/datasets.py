"""Load single datasets of a session through ONE without unpickling, and record which files were read."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.reading.client import fov_number

REVISION = re.compile(r"#([^#/]+)#")
#: numpy dtype kinds that are accepted as numbers: booleans, integers, floats.
NUMBERS = "biuf"
#: What may stand in place of a file, by the type in its mode.
KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


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
    """

    dataset: str
    dataset_id: str
    revision: str
    size: int
    sha256: str


class SessionReader:
    """Loads single datasets of one session and records each file that it reads.

    Parameters
    ----------
    one : ONE client
    eid : str
    """

    def __init__(self, one: Any, eid: str):
        self.one, self.eid = one, eid
        self._read: dict[str, Path] = {}
        table = one.list_datasets(eid, details=True)
        self._ids = {str(path): str(dataset_id) for dataset_id, path in table["rel_path"].items()} if len(table) else {}
        self._sizes = dict(zip(table["rel_path"], table["file_size"], strict=True)) if len(table) else {}

    @property
    def sources(self) -> list[Source]:
        """The files read so far, in order. Each access hashes them."""
        return [self._source(dataset, path) for dataset, path in self._read.items()]

    def check_unchanged(self, sha256: Mapping[str, str], fov: int) -> None:
        """Compare the files read so far with hashes recorded earlier.

        Parameters
        ----------
        sha256 : mapping of str to str
            Recorded hash of each dataset; other datasets are not compared.
        fov : int
            FOV named in the error.

        Raises
        ------
        DataError
            A file differs from the recorded one.
        """
        for dataset, path in self._read.items():
            if dataset in sha256 and (found := sha256_file(path)) != sha256[dataset]:
                raise DataError(
                    "the file changed since the FOV was read",
                    eid=self.eid,
                    fov=fov,
                    dataset=dataset,
                    expected=f"sha256 {sha256[dataset]}",
                    found=found,
                    do="Delete the FOV and populate it again",
                )

    def place(self, name: str, collection: str) -> dict[str, Any]:
        """Return session, FOV and dataset as keyword arguments of a ``DataError``."""
        return {"eid": self.eid, "fov": fov_number(collection), "dataset": f"{collection}/{name}"}

    def has(self, name: str, collection: str) -> bool:
        """Return whether ONE lists the dataset, in any revision."""
        return any(self._listed(name, collection))

    def sizes(self, name: str, collection: str) -> set[int]:
        """Return the sizes in bytes of all revisions of the dataset, as listed by ONE."""
        return {self._sizes[path] for path in self._listed(name, collection)}

    def _listed(self, name: str, collection: str) -> Iterator[str]:
        """Yield the paths of all revisions of a dataset."""
        for path in self._ids:
            # the prefix is compared first: the regular expression is much slower, and sessions list many datasets
            if path.startswith(f"{collection}/") and _without_revision(path) == f"{collection}/{name}":
                yield path

    def path(self, name: str, collection: str) -> Path:
        """Return the local file of a dataset, downloading it if needed, and record it as read.

        Raises
        ------
        DataError
            ONE does not list it, or lists it but cannot provide the file; or it is not a file.
        """
        from one.alf.exceptions import ALFError

        place = self.place(name, collection)
        if not self.has(name, collection):
            raise DataError("dataset is missing", do="ONE lists no such file", **place)
        try:
            # ONE's own hash check computes an md5 at each load, and loads the file even if it differs
            found = self.one.load_dataset(self.eid, name, collection=collection, download_only=True, check_hash=False)
        except (ALFError, OSError) as error:
            # only the first line: ONE's message goes on with examples of usage
            problem = f"ONE lists the dataset but cannot provide the file ({first_line(error)})"
            raise DataError(problem, **place) from error
        check_regular(Path(found), **place)
        self._record(Path(found))
        return Path(found)

    def array(self, name: str, collection: str, *, mmap: bool = False) -> np.ndarray:
        """Return a ``.npy`` dataset of numbers; with ``mmap=True`` as a memory map.

        Raises
        ------
        DataError
            Missing, unreadable, truncated, not a plain array (pickled objects are refused, never executed), or of
            another dtype than boolean, integer or float.
        """
        path = self.path(name, collection)
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
        session_path = Path(str(self.one.eid2path(self.eid)))
        self._read[path.relative_to(session_path).as_posix()] = path

    def _source(self, dataset: str, path: Path) -> Source:
        revision = REVISION.search(dataset)
        return Source(
            dataset=dataset,
            dataset_id=self._ids.get(dataset, ""),
            revision=revision[1] if revision else "",
            size=path.stat().st_size,
            sha256=sha256_file(path),
        )


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
    check_regular(path, **place)
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


def check_regular(path: Path, **place: Any) -> None:
    """Refuse a FIFO, socket or device in place of a file, without opening it: reading could wait, or last, for ever.

    Raises
    ------
    DataError
    """
    with suppress(OSError):  # reading it says why
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            found, do = f"a {KINDS.get(stat.S_IFMT(mode), 'special file')}", "Put the dataset's file in its place"
            raise DataError("is not a file", expected="a regular file", found=found, do=do, **place)


def read_bytes(path: Path, **place: Any) -> bytes:
    """Return the content of a file.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    check_regular(path, **place)
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


def _without_revision(path: str) -> str:
    return REVISION.sub("", path).replace("//", "/")


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file, which is read in chunks: activity files do not fit in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
