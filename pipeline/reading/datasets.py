"""Load single datasets of a session through ONE without unpickling, and record which files were read."""

from __future__ import annotations

import functools
import hashlib
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.reading.client import collections_in, datasets_of, fov_number, session_folder
from pipeline.reading.remote import CutOff, ask, giving_up_stalled, is_remote

if TYPE_CHECKING:
    import pandas as pd

REVISION = re.compile(r"#([^#/]+)#")
#: numpy dtype kinds that are accepted as numbers: booleans, integers, floats.
NUMBERS = "biuf"
#: Hashes that ONE may list, by their number of hex digits.
HASHES = {32: "md5", 40: "sha1", 64: "sha256"}
#: Bytes that are hashed at a time.
CHUNK = 1 << 20
#: Of a large file so many blocks of so many bytes are hashed when it is registered, evenly, from the first to the last.
N_BLOCKS, BLOCK = 16, 1 << 16
#: What the hash of a sample begins with: it is never taken for that of the whole file.
SAMPLED = "sample:"
#: The problem of an error about a recorded file that is neither on this machine nor in ONE.
GONE = "the file that was read is gone"
#: See ``file_state``.
FileState = tuple[int, ...]
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
    one_hash : str
        The hash that ONE listed for it when it was read, which was that of the file; '' if none, or another file's.
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
        self._table = datasets_of(one, eid)
        # plain lists: a session is asked for hundreds of datasets, and pandas takes a hundred times longer for each
        self._paths = self._table["rel_path"].to_list()
        self._ids = {str(path): str(key[-1]) for key, path in zip(self._table.index, self._paths, strict=True)}
        self._rows: dict[str, list[int]] = {}
        for row, path in enumerate(self._paths):
            self._rows.setdefault(path, []).append(row)
        self._revisions: dict[str, list[str]] = {}
        for path in self._ids if self._recorded is None else self._recorded:
            self._revisions.setdefault(without_revision(path), []).append(path)
        self._sizes = {path: int(size) for path, size in self._column("file_size").items()}
        self._hashes = self._column("hash")
        self._folder = session_folder(one, eid)

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

    def forget(self, name: str, collection: str) -> None:
        """Do not record a dataset as read: nothing that was read depends on it."""
        for path in self._listed(name, collection):
            self._read.pop(path, None)

    def place(self, name: str, collection: str) -> dict[str, Any]:
        """Return session, FOV and dataset as keyword arguments of a ``DataError``."""
        return {"eid": self.eid, "fov": fov_number(collection), "dataset": f"{collection}/{name}"}

    def has(self, name: str, collection: str) -> bool:
        """Return whether ONE lists the dataset, in any revision."""
        return any(self._listed(name, collection))

    @property
    def collections(self) -> list[str]:
        """The folders within the session that have datasets or recorded files, without revisions, sorted."""
        if self._recorded is None:
            return collections_in(self._table)
        return sorted({without_revision(path).rpartition("/")[0] for path in self._recorded})

    def sizes(self, name: str, collection: str) -> set[int | None]:
        """Return the sizes in bytes of all revisions of the dataset, as listed by ONE; None for one without."""
        return {self._sizes.get(path) for path in self._listed(name, collection)}

    def default(self, dataset: str) -> str | None:
        """Return the path that ONE would load for a dataset, a path without revision; None if it lists none.

        Raises
        ------
        DataError
            ONE lists two default revisions.
        """
        collection, _, name = dataset.rpartition("/")
        return self._default_path(name, collection)

    def local(self, path: str) -> Path | None:
        """Return the file of a listed path if it is on this machine."""
        file = self._folder / path
        return file if file.is_file() else None

    def size(self, path: str) -> int | None:
        """Return the size of a listed path in ONE, bytes; None if it lists none."""
        return self._sizes.get(path)

    def one_hash(self, path: str) -> str:
        """Return the hash of a listed path in ONE, '' if it has none."""
        return str(self._hashes.get(path) or "")

    def unread(self, path: str, max_hashed: int) -> Source:
        """Return what is known of a listed path without downloading it, or recording it as read.

        Parameters
        ----------
        path : str
        max_hashed : int
            Largest file of which all is hashed, bytes.

        Returns
        -------
        Source
            The sha256 is that of a sample if the file is larger (``sampled_hash``), '' if it cannot be read or is not
            here, the size 0 if it is not known. If ONE can download files, what it lists counts: a file that is here
            may be a former one.
        """
        size, sha256, listed = self.size(path), "", self.one_hash(path)
        if not self.is_remote and (file := self.local(path)):
            with suppress(OSError):  # reading it says why
                size = file.stat().st_size
                sha256 = sha256_file(file) if size <= max_hashed else sampled_hash(file, size)
        one_hash = listed if len(listed) in HASHES else ""
        return Source(path, self._ids.get(path, ""), revision_of(path), size or 0, sha256, one_hash)

    @property
    def is_remote(self) -> bool:
        """Whether ONE can download files that are not on this machine."""
        return is_remote(self.one)

    def _listed(self, name: str, collection: str) -> Iterator[str]:
        """Yield the paths of all revisions of a dataset; of recorded files, there is one."""
        return (path for path in self._revisions.get(f"{collection}/{name}", ()) if path.startswith(f"{collection}/"))

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
            ONE does not list it, lists two default revisions, or lists it but cannot provide the file; or it is no
            file, or not the recorded one.
        """
        from one.alf.exceptions import ALFError

        place = self.place(name, collection)
        if not self.has(name, collection):
            raise DataError("dataset is missing", do="ONE lists no such file", **place)
        if self._recorded is not None:
            return self._recorded_file(self._recorded[next(self._listed(name, collection))], check_hash)
        dataset = self._default_path(name, collection)
        if dataset is None:
            found = ", ".join(sorted(self._listed(name, collection)))
            raise DataError("no revision of the dataset is old enough", found=found,
                            do="Change or unset ONE_REVISION_LAST_BEFORE", **place)  # fmt: skip
        check_regular(self._folder / dataset, **place)
        if not self._is_here(dataset) or self._is_outdated(dataset):
            try:
                self._download(self._default(name, collection))
            except (ALFError, OSError, ConfigError) as error:
                # only the first line: ONE's message goes on with examples of usage
                problem = f"ONE lists the dataset but cannot provide the file ({first_line(error)})"
                raise DataError(problem, **place) from error
        return self._record(dataset)

    def fetch(self, datasets: Iterable[str]) -> None:
        """Download those of these datasets that are listed and not here, together: fewer requests, several at a time.

        What cannot be had is left to ``path``, which says why.

        Parameters
        ----------
        datasets : iterable of str
            Paths within the session, without revisions.
        """
        import pandas as pd

        if not self.is_remote or self._recorded is not None:
            return
        try:
            places = [(name, collection) for collection, _, name in (path.rpartition("/") for path in datasets)]
            rows = pd.concat([self._default(*place) for place in places if self.has(*place)])
            absent = rows[[not self._is_here(dataset) for dataset in rows["rel_path"]]]
            if len(absent):
                self._download(absent, once=True)
        except (ValueError, OSError, DataError, ConfigError):  # ValueError: none of them is listed
            return

    def _row_numbers(self, name: str, collection: str) -> list[int]:
        """Return which rows of ONE's table are revisions of a dataset."""
        return [row for path in self._listed(name, collection) for row in self._rows.get(path, ())]

    @functools.cached_property
    def _loadable(self) -> list[bool]:
        """Whether ONE would load each row of its table, if it is the only revision of a dataset."""
        columns = self._table["default_revision"], self._table["qc"]
        return [bool(is_default) and qc != "CRITICAL" for is_default, qc in zip(*columns, strict=True)]

    def _is_found(self, numbers: list[int]) -> bool:
        """Return whether a dataset has one row, which ONE would find; it takes much longer to look for others."""
        from one.api import REVISION_LAST_BEFORE

        return len(numbers) == 1 and not REVISION_LAST_BEFORE and self._loadable[numbers[0]]

    def _default_path(self, name: str, collection: str) -> str | None:
        """Return the path of the dataset's default revision, None if there is none; see ``_default``."""
        numbers = self._row_numbers(name, collection)
        if not numbers:
            return None
        if self._is_found(numbers):
            return str(self._paths[numbers[0]])
        rows = self._default(name, collection)
        return str(rows["rel_path"].iloc[0]) if len(rows) else None

    def _default(self, name: str, collection: str) -> pd.DataFrame:
        """Return the row of the dataset's default revision (or that of ONE_REVISION_LAST_BEFORE)."""
        from one.alf.exceptions import ALFMultipleRevisionsFound
        from one.api import REVISION_LAST_BEFORE
        from one.util import filter_datasets

        numbers = self._row_numbers(name, collection)
        rows = self._table.iloc[numbers]
        if self._is_found(numbers):
            return rows
        try:
            return filter_datasets(rows, re.escape(name), re.escape(collection), REVISION_LAST_BEFORE)
        except ALFMultipleRevisionsFound as error:
            defaults = rows[rows["default_revision"]]
            found = [
                f"{path} (dataset {key[-1]})" for key, path in defaults["rel_path"].items()
            ]  # fmt: skip
            raise DataError(
                "ONE lists several default revisions of the dataset",
                expected="one default revision",
                found=", ".join(sorted(found)),
                do="Make one of them the default in Alyx, or in the tables of the ONE cache",
                **self.place(name, collection),
            ) from error

    def _is_here(self, dataset: str) -> bool:
        """Return whether the file is there; if it can be downloaded, also whether it is complete."""
        file = self._folder / dataset
        expected = self._sizes.get(dataset) if self.is_remote else None
        return file.exists() and expected in (None, file.stat().st_size)

    def _is_outdated(self, dataset: str) -> bool:
        """Return whether a file that can be downloaded is another than ONE has now, by the md5 that Alyx lists."""
        listed = self.one_hash(dataset) if self.is_remote else ""
        # other hashes than md5 cannot be compared; sizes were
        return len(listed) == 32 and md5_file(self._folder / dataset) != listed

    def _download(self, rows: pd.DataFrame, *, once: bool = False) -> None:
        """Have ONE provide the files of these rows; without a database, it says that they are missing."""
        from one.alf.exceptions import ALFObjectNotFound

        def get() -> None:
            self._remove_remains(rows)
            with giving_up_stalled():
                # with the hash, since a file that has changed can be as large as before
                found = self.one._check_filesystem(rows, check_hash=True)
            if None in found or not len(rows):
                raise ALFObjectNotFound("Dataset not found")
            for dataset in rows["rel_path"]:
                self._check_complete(dataset)

        ask(self.one, get, once=once)

    def _remove_remains(self, rows: pd.DataFrame) -> None:
        """Delete what a broken download has left under the name with the UUID: ONE would take it for the file."""
        from one.alf.path import ALFPath

        for key, dataset in rows["rel_path"].items():
            remains = ALFPath(self._folder / dataset).with_uuid(key[-1])
            if self.is_remote and remains.exists() and remains.stat().st_size != self._sizes.get(dataset):
                remains.unlink()

    def _check_complete(self, dataset: str) -> None:
        """Refuse a download of another size than listed; ONE does not notice that a connection breaks off."""
        if not self._is_here(dataset):
            file = self._folder / dataset
            size = file.stat().st_size
            file.unlink()
            raise CutOff(f"{file.name}: {size} bytes, of {self._sizes.get(dataset)} that are listed")

    def _recorded_file(self, source: Source, check_hash: bool) -> Path:
        """Return a recorded file, after comparing it with its record, and record it as read."""
        dataset = source.dataset
        check_regular(self._folder / dataset, eid=self.eid, fov=_fov_of(dataset), dataset=dataset)
        if not (self._folder / dataset).is_file():
            self._fetch_again(dataset)
        path = self._record(dataset)
        expected, found = f"{source.size} bytes", f"{path.stat().st_size} bytes"
        if expected == found and check_hash:
            expected, found = f"sha256 {source.sha256}", f"sha256 {sha256_file(path)}"
        if expected != found:
            raise self._changed("the file changed since it was read", dataset, expected=expected, found=found)
        return path

    def _fetch_again(self, dataset: str) -> None:
        """Have ONE provide a recorded file that is not on this machine, which it may still have."""
        from one.alf.exceptions import ALFError

        try:
            self._download(self._table[self._table["rel_path"] == dataset])
        except (ALFError, OSError, ConfigError) as error:
            name = without_revision(dataset)
            now = [path for path in self._ids if path != dataset and without_revision(path) == name]
            found = f"ONE lists {', '.join(sorted(now)) or 'no other revision'}"
            raise self._changed(GONE, dataset, expected=dataset, found=found) from error

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

    def _record(self, dataset: str) -> Path:
        """Record a file as read, and return it."""
        path = self._folder / dataset
        if dataset not in self._read:  # the state before the first read is what counts
            self._read[dataset] = path, file_state(path)
        return path

    def _column(self, name: str) -> dict[str, Any]:
        """Return the values of a column of ONE's table of datasets by path, without missing ones."""
        if name not in self._table:
            return {}
        values, there = self._table[name], self._table[name].notna()
        return {path: value for path, value, one in zip(self._paths, values, there, strict=True) if one}

    def _source(self, dataset: str, path: Path) -> Source:
        listed = self.one_hash(dataset)
        kind = HASHES.get(len(listed))
        found = hashes_of(path, {"sha256", kind or "sha256"})
        if kind and found[kind] != listed.lower():
            warnings.warn(str(self._not_as_listed(dataset, kind, listed, found[kind])), stacklevel=4)
            listed = ""
        return Source(
            dataset=dataset,
            dataset_id=self._ids.get(dataset, ""),
            revision=revision_of(dataset),
            size=path.stat().st_size,
            sha256=found["sha256"],
            # one that cannot be compared tells nothing of the file
            one_hash=listed if kind else "",
        )

    def _not_as_listed(self, dataset: str, kind: str, listed: str, found: str) -> DataError:
        """Return the error, to be warned of, of a file that is not the one whose hash ONE lists."""
        return DataError(
            "is not the file that ONE lists: it is read, and its own hash is recorded", eid=self.eid,
            fov=_fov_of(dataset), dataset=dataset, expected=f"{kind} {listed}", found=f"{kind} {found}",
            do="If the file is right, write the tables of the ONE cache again",
        )  # fmt: skip


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


def revision_of(path: str) -> str:
    """Return the revision of the path of a dataset, '' for the original."""
    found = REVISION.search(path)
    return found[1] if found else ""


def without_revision(path: str) -> str:
    """Return the path of a dataset without the folder of its revision."""
    return REVISION.sub("", path).replace("//", "/")


def md5_file(path: Path) -> str:
    """Return the hex md5 of a file, with which Alyx tells files apart."""
    return hashes_of(path, {"md5"})["md5"]


def sha256_file(path: Path, size: int | None = None) -> str:
    """Return the hex sha256 of a file, or of its first bytes, ``size``."""
    return hashes_of(path, {"sha256"}, size)["sha256"]


def sampled_hash(path: Path, size: int) -> str:
    """Return a hash of blocks of the first bytes, ``size``, of a file, evenly, and of their number.

    It differs with any change of a fifteenth of these bytes, or more, in one piece.
    """
    digest, last = hashlib.sha256(str(size).encode()), max(size - BLOCK, 0)
    with path.open("rb") as file:
        for i in range(N_BLOCKS):
            file.seek(last * i // (N_BLOCKS - 1))
            digest.update(file.read(min(BLOCK, size)))
    return f"{SAMPLED}{digest.hexdigest()}"[:64]


def hashes_of(path: Path, kinds: Iterable[str], size: int | None = None) -> dict[str, str]:
    """Return hex hashes of a file by kind, such as md5; in chunks, since activity files do not fit in memory.

    With ``size``, of its first bytes only.
    """
    digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with path.open("rb") as file:
        while chunk := file.read(CHUNK if size is None else min(CHUNK, size - file.tell())):
            for digest in digests.values():
                digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}
