"""Stores: folders and buckets that keep packed traces outside the database, the traces of a FOV in one object.

Stores are those of DataJoint's configuration (``stores`` in datajoint.json, or ``DJ_STORES``). An object is written
once, appears complete or not at all, and is never changed. A row names the place of its trace within an object
(``pipeline.storage.places``).
"""

from __future__ import annotations

import datetime
import errno
import os
import secrets
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby, takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import datajoint as dj
from datajoint.storage import StorageBackend
from fsspec.utils import merge_offset_ranges

from pipeline.errors import ConfigError, DamagedError, DataError, MesoError
from pipeline.storage.arrays import Bytes, has_header
from pipeline.storage.places import Place, digest_of
from schemas.provenance import DatabaseId
from schemas.storage.threads import in_threads

Key = TypeVar("Key", bound=Hashable)

#: Folder of a store for the objects of this project. DataJoint's garbage collector cleans ``_hash`` and ``_schema``, so
#: it must be neither of these.
FOLDER = "meso"
SUFFIX = ".traces"
#: Bytes read from a file at a time: few, so that they are still in the processor's cache when they are decoded.
RUN_BYTES = 1_000_000
#: Bytes fetched from a bucket as one batch, and the number of batches in memory.
BATCH_BYTES, BATCHES = 32_000_000, 2
#: Largest request to a bucket, and the largest gap between two traces that are fetched by one request.
REQUEST_BYTES, GAP_BYTES = 8_000_000, 100_000
#: Size of the parts of an upload; S3 allows 5 MB to 5 GB, and 10,000 parts.
PART_BYTES = 32_000_000
RESTORE = "Restore the object from a backup, or delete the FOV and populate it again"


class Stored(NamedTuple):
    """An object in a store.

    Attributes
    ----------
    path : str
    size : int
        Bytes.
    modified : datetime.datetime
        With a time zone.
    """

    path: str
    size: int
    modified: datetime.datetime


@dataclass(frozen=True)
class Store:
    """A store of DataJoint's configuration.

    Attributes
    ----------
    name : str
    backend : StorageBackend
    """

    name: str
    backend: StorageBackend

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine, local or mounted."""
        return self.backend.protocol == "file"

    @cached_property
    def root(self) -> str:
        """The folder, or bucket and prefix, that paths are relative to."""
        return self.backend.fs._strip_protocol(self.backend._full_path(""))

    def full(self, path: str) -> str:
        """Return the full path of an object, for the file system."""
        return f"{self.root}/{path}"

    @contextmanager
    def new(self, path: str) -> Iterator[NewObject]:
        """Write an object: it exists completely when the block ends, and not at all if the block raises.

        Raises
        ------
        ConfigError
            The store cannot be written to.
        """
        with self._as_config_error(), (self._new_file if self.is_folder else self._new_upload)(self.full(path)) as file:
            yield NewObject(self.name, path, file)

    @contextmanager
    def _new_file(self, full: str) -> Iterator[BinaryIO]:
        target, part = Path(full), Path(f"{full}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)  # atomic: readers see no partial object
        except BaseException:
            # the first error is the reason; a .part that stays is found by `objects`
            with suppress(OSError):
                part.unlink()
            raise
        # sync the folders too: the name of the object must be on disk before a row names it
        for parent in takewhile(lambda parent: parent.is_relative_to(self.root), target.parents):
            _sync(parent)

    @contextmanager
    def _new_upload(self, full: str) -> Iterator[Any]:
        # without autocommit the object appears only at commit()
        file = self.backend.fs.open(full, "wb", block_size=PART_BYTES, autocommit=False)
        try:
            yield file
            file.close()
            file.commit()
        except BaseException:
            with suppress(Exception):
                file.discard()
            raise

    def objects(self, folder: str) -> list[Stored]:
        """Return the objects in a folder and below it, partial ones included.

        Raises
        ------
        ConfigError
            The store does not answer.
        """
        with self._as_config_error():
            # fsspec keeps listings: an object written by another process would not be in them
            self.backend.fs.invalidate_cache()
            found = self.backend.fs.find(self.full(folder), detail=True)
            return [
                Stored(
                    name.removeprefix(f"{self.root}/"), info["size"],
                    # S3 has it in the listing; for files it is a call each
                    info.get("LastModified") or self.backend.fs.modified(name),
                )
                for name, info in found.items()
            ]  # fmt: skip

    def remove(self, path: str) -> None:
        """Remove an object, if it exists.

        Raises
        ------
        ConfigError
            The store refuses.
        """
        with self._as_config_error(), suppress(FileNotFoundError):
            self.backend.fs.rm_file(self.full(path))

    def read(self, places: Sequence[tuple[Key, Place]]) -> Iterator[list[tuple[Key, Bytes | DataError]]]:
        """Yield the bytes at places of this store, those that were read at once together; see the function ``read``."""
        # in the order of the bytes, so that the disk reads ahead and requests to a bucket can be merged
        ordered = sorted(places, key=itemgetter(1))  # by store, path and offset
        for run in self._read_folder(ordered) if self.is_folder else self._read_bucket(ordered):
            yield [(key, self._checked(place, found)) for key, place, found in run]

    def _read_folder(self, places: Sequence[tuple[Key, Place]]) -> Iterator[list[tuple[Key, Place, Bytes | OSError]]]:
        # not by mmap: if a mapped file is truncated or its disk fails, SIGBUS kills the process
        for path, group in groupby(places, key=lambda keyed: keyed[1].path):
            try:
                file = os.open(self.full(path), os.O_RDONLY)
            except OSError as error:
                yield [(key, place, error) for key, place in group]
                continue
            try:
                for run in _runs(group):
                    yield self._read_run(file, run)
            finally:
                os.close(file)

    def _read_run(self, file: int, run: Sequence[tuple[Key, Place]]) -> list[tuple[Key, Place, Bytes | OSError]]:
        """Return the bytes at places of a file that follow each other, read at once; one by one if that fails."""
        start, end = run[0][1].offset, run[-1][1].offset + run[-1][1].size
        try:
            block = memoryview(os.pread(file, end - start, start))
        except OSError as error:
            if len(run) == 1:
                return [(*run[0], error)]
            return [found for one in run for found in self._read_run(file, [one])]
        return [
            (key, place, block[place.offset - start : place.offset - start + place.size]) for key, place in run
        ]  # fmt: skip

    def _read_bucket(self, places: Sequence[tuple[Key, Place]]) -> Iterator[list[tuple[Key, Place, Bytes | OSError]]]:
        # the next batch is fetched while this one is decoded
        return in_threads(self._fetch, _batches(places), waiting=BATCHES)

    def _fetch(self, places: Sequence[tuple[Key, Place]]) -> list[tuple[Key, Place, Bytes | OSError]]:
        """Return the bytes at a batch of places, in their order; places near each other are fetched by one request."""
        wanted = [(self.full(place.path), place.offset, place.offset + place.size) for _, place in places]
        # sort=False: the places are sorted already, and their order must be known below
        paths, starts, ends = merge_offset_ranges(
            *map(list, zip(*wanted, strict=True)), max_gap=GAP_BYTES, max_block=REQUEST_BYTES, sort=False
        )
        with self._as_config_error():
            blocks = self.backend.fs.cat_ranges(paths, starts, ends, on_error="return")
        firsts = list(zip(paths, starts, strict=True))
        found: list[tuple[Key, Place, Bytes | OSError]] = []
        for (key, place), part in zip(places, wanted, strict=True):
            number = bisect_right(firsts, part[:2]) - 1  # the block that the place is in
            block, at = blocks[number], place.offset - starts[number]
            if isinstance(block, Exception):
                found.append((key, place, block if isinstance(block, OSError) else OSError(str(block))))
            else:
                found.append((key, place, memoryview(block)[at : at + place.size]))
        return found

    def _checked(self, place: Place, found: Bytes | OSError) -> Bytes | DataError:
        """Return the bytes if they are the ones written; otherwise an error of this object.

        Raises
        ------
        ConfigError
            The store as a whole fails.
        """
        if not isinstance(found, OSError) and len(found) == place.size and has_header(found, place.digest):
            return found
        if isinstance(found, FileNotFoundError):
            problem = "is missing"
        elif isinstance(found, OSError):
            if found.errno not in (errno.EINVAL, errno.EIO):  # EINVAL: no such range; EIO: a bad block of the disk
                raise ConfigError(self._refusal(found)) from found
            problem = f"cannot be read there ({found})"
        elif len(found) < place.size:
            problem = f"is truncated: {len(found)} of {place.size} bytes are there"
        else:
            problem = "is damaged there, or another array is stored there"
        where = f"bytes {place.offset} to {place.offset + place.size} of {place.path} in the store {self.name}"
        return DamagedError(f"the object of a stored array {problem}", expected=where, do=RESTORE)

    @contextmanager
    def _as_config_error(self) -> Iterator[None]:
        """Raise errors of the file system as ConfigErrors that name the store."""
        try:
            yield
        except MesoError:
            raise
        except OSError as error:
            raise ConfigError(self._refusal(error)) from error
        except Exception as error:  # S3 clients raise errors of their own, and may not be installed
            if type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
                raise ConfigError(self._refusal(error)) from error
            raise

    def _refusal(self, error: Exception) -> str:
        return f"The store {self.name} ({self.root}) fails: {type(error).__name__}: {error}"


class NewObject:
    """An object that is being written; see ``Store.new``.

    Parameters
    ----------
    store, path : str
    file : file-like
    """

    def __init__(self, store: str, path: str, file: Any) -> None:
        self.store, self.path, self._file, self._size = store, path, file, 0

    def add(self, packed: Bytes) -> Place:
        """Append a packed array, and return its place."""
        place = Place(self.store, self.path, self._size, len(packed), digest_of(packed))
        self._file.write(packed)
        self._size += len(packed)
        return place


def named(name: str) -> Store:
    """Return a store of DataJoint's configuration.

    Raises
    ------
    ConfigError
        No store has this name, its settings are wrong, its folder does not exist, or a package is missing.
    """
    try:
        backend = StorageBackend(dj.config.get_store_spec(name))
        _ = backend.fs  # connects, and imports the package for the protocol
    except ImportError as error:
        raise ConfigError(f"The store {name} needs a package: {error}. For S3: pip install '.[s3]'") from None
    except (dj.DataJointError, OSError) as error:
        raise ConfigError(
            f"The store {name} cannot be used: {error}. Stores are in DataJoint's configuration (DJ_STORES, or "
            f"'stores' in datajoint.json)"
        ) from None
    return Store(name, backend)


def configured() -> list[str]:
    """Return the names of all stores in DataJoint's configuration."""
    return sorted(name for name, spec in dj.config.stores.items() if isinstance(spec, dict))


def folder() -> str:
    """Return the folder of this database's objects, the same in every store; several databases can share a store."""
    return f"{FOLDER}/{DatabaseId.current()}"


def new_path(eid: str, fov: int) -> str:
    """Return a new path for the traces of a FOV; its random part has never been used before."""
    return f"{folder()}/{eid}/FOV_{fov:02d}-{secrets.token_hex(8)}{SUFFIX}"


def read(places: Iterable[tuple[Key, Place]]) -> Iterator[tuple[Key, Bytes | DataError]]:
    """Yield each key with the packed array at its place, ordered by store, object and offset.

    Memory holds ``RUN_BYTES`` of a folder, or one larger array, or two batches of ``BATCH_BYTES`` of a bucket. For an
    object that is missing, truncated or damaged an error is yielded in place of the bytes, and the other arrays follow.

    Raises
    ------
    ConfigError
        A store is not configured, or fails as a whole.
    """
    by_store: dict[str, list[tuple[Key, Place]]] = defaultdict(list)
    for key, place in places:
        by_store[place.store].append((key, place))
    for name, group in by_store.items():
        yield from chain.from_iterable(named(name).read(group))


def read_one(place: Place) -> Bytes:
    """Return the packed array at a place.

    Raises
    ------
    ConfigError
        As for ``read``.
    DamagedError
        The object is missing, truncated or damaged.
    """
    ((_, found),) = read([(None, place)])
    return value_or_raise(found)


def value_or_raise(found: Bytes | DataError) -> Bytes:
    """Return the bytes that ``read`` yielded, or raise the error."""
    if isinstance(found, DataError):
        raise found
    return found


def _runs(places: Iterable[tuple[Key, Place]]) -> Iterator[list[tuple[Key, Place]]]:
    """Yield places of a file, in the order of their bytes, in runs without gaps of up to ``RUN_BYTES``, or of one."""
    run: list[tuple[Key, Place]] = []
    start = end = 0
    for key, place in places:
        if run and (place.offset != end or place.offset + place.size - start > RUN_BYTES):
            yield run
            run = []
        if not run:
            start = place.offset
        run.append((key, place))
        end = place.offset + place.size
    if run:
        yield run


def _sync(folder: Path) -> None:
    """Write the entries of a folder to disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _batches(places: Sequence[tuple[Key, Place]]) -> Iterator[list[tuple[Key, Place]]]:
    """Yield the places in batches of up to ``BATCH_BYTES``, or of a single larger array."""
    batch: list[tuple[Key, Place]] = []
    size = 0
    for key, place in places:
        if batch and size + place.size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((key, place))
        size += place.size
    if batch:
        yield batch
