"""Stores: folders and buckets that keep packed traces outside the database, many one after another in one object.

A store is one of DataJoint's own configuration (``stores`` in datajoint.json, or ``DJ_STORES``). An object is written
once, appears whole or not at all, and is never changed; rows say where in it their trace lies
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
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import datajoint as dj
from datajoint.storage import StorageBackend
from fsspec.utils import merge_offset_ranges

from pipeline.errors import ConfigError, DamagedError, DataError, MesoError
from pipeline.storage.arrays import Bytes
from pipeline.storage.places import Place, digest_of
from schemas.provenance import DatabaseId
from schemas.storage.threads import in_threads

Key = TypeVar("Key", bound=Hashable)

#: Folder of a store that our objects are in; DataJoint's own collector empties ``_hash`` and ``_schema`` beside it.
FOLDER = "meso"
SUFFIX = ".traces"
#: Bytes that are fetched from a bucket before they are handed out, and how many such batches are on their way.
BATCH_BYTES, BATCHES = 32_000_000, 2
#: Bytes of one request at most; neighbours closer than this are asked for together, with what lies between.
REQUEST_BYTES, GAP_BYTES = 8_000_000, 100_000
#: Bytes gathered before they are sent to a bucket (8 MB to 5 GB times 10,000 parts).
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
        With its time zone.
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
        """It is a folder of this machine, mounted ones included."""
        return self.backend.protocol == "file"

    @cached_property
    def root(self) -> str:
        """Where its paths begin."""
        return self.backend.fs._strip_protocol(self.backend._full_path(""))

    def full(self, path: str) -> str:
        """Return where an object is, for the file system."""
        return f"{self.root}/{path}"

    @contextmanager
    def new(self, path: str) -> Iterator[NewObject]:
        """Write an object: there is all of it when the block ends, and nothing if it raises.

        Raises
        ------
        ConfigError
            The store does not take it.
        """
        with self._told(), (self._new_file if self.is_folder else self._new_upload)(self.full(path)) as file:
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
            part.replace(target)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        # the names have to reach the disk, too, before a row says them
        for parent in takewhile(lambda parent: parent.is_relative_to(self.root), target.parents):
            _sync(parent)

    @contextmanager
    def _new_upload(self, full: str) -> Iterator[Any]:
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
        """Return the objects in a folder and its folders, half-written ones included.

        Raises
        ------
        ConfigError
            The store does not answer.
        """
        with self._told():
            self.backend.fs.invalidate_cache()
            found = self.backend.fs.find(self.full(folder), detail=True)
            return [
                Stored(
                    name.removeprefix(f"{self.root}/"), info["size"],
                    info.get("LastModified") or self.backend.fs.modified(name),
                )
                for name, info in found.items()
            ]  # fmt: skip

    def remove(self, path: str) -> None:
        """Remove an object, if it is there.

        Raises
        ------
        ConfigError
            The store does not let us.
        """
        with self._told(), suppress(FileNotFoundError):
            self.backend.fs.rm_file(self.full(path))

    def read(self, places: Sequence[tuple[Key, Place]]) -> Iterator[tuple[Key, Bytes | DataError]]:
        """Yield the bytes at places of this store; see ``read``."""
        ordered = sorted(places, key=lambda one: one[1][:3])
        for key, place, found in self._read_folder(ordered) if self.is_folder else self._read_bucket(ordered):
            yield key, self._checked(place, found)

    def _read_folder(self, places: Sequence[tuple[Key, Place]]) -> Iterator[tuple[Key, Place, Bytes | OSError]]:
        # not by mmap, which kills the process where a file is cut, or a disk fails, under it
        for path, group in groupby(places, key=lambda one: one[1].path):
            try:
                file = os.open(self.full(path), os.O_RDONLY)
            except OSError as error:
                yield from ((key, place, error) for key, place in group)
                continue
            try:
                for key, place in group:
                    try:
                        yield key, place, os.pread(file, place.size, place.offset)
                    except OSError as error:
                        yield key, place, error
            finally:
                os.close(file)

    def _read_bucket(self, places: Sequence[tuple[Key, Place]]) -> Iterator[tuple[Key, Place, Bytes | OSError]]:
        # the next batch is fetched while this one is decoded
        for batch in in_threads(self._fetch, _batches(places), waiting=BATCHES):
            yield from batch

    def _fetch(self, places: Sequence[tuple[Key, Place]]) -> list[tuple[Key, Place, Bytes | OSError]]:
        """Return the bytes at a batch of places in order, neighbours in one request."""
        wanted = [(self.full(place.path), place.offset, place.offset + place.size) for _, place in places]
        paths, starts, ends = merge_offset_ranges(
            *map(list, zip(*wanted, strict=True)), max_gap=GAP_BYTES, max_block=REQUEST_BYTES, sort=False
        )
        with self._told():
            blocks = self.backend.fs.cat_ranges(paths, starts, ends, on_error="return")
        firsts = list(zip(paths, starts, strict=True))
        found: list[tuple[Key, Place, Bytes | OSError]] = []
        for (key, place), one in zip(places, wanted, strict=True):
            number = bisect_right(firsts, one[:2]) - 1
            block, at = blocks[number], place.offset - starts[number]
            if isinstance(block, Exception):
                found.append((key, place, block if isinstance(block, OSError) else OSError(str(block))))
            else:
                found.append((key, place, memoryview(block)[at : at + place.size]))
        return found

    def _checked(self, place: Place, found: Bytes | OSError) -> Bytes | DataError:
        """Return the bytes if they are those that were put there; an error where this object alone is to blame."""
        if isinstance(found, FileNotFoundError):
            problem = "is missing"
        elif isinstance(found, OSError):
            if found.errno not in (errno.EINVAL, errno.EIO):  # no such range, or a bad block of the disk
                raise ConfigError(self._refusal(found)) from found
            problem = f"cannot be read there ({found})"
        elif len(found) < place.size:
            problem = f"is cut off: {len(found)} of {place.size} bytes are there"
        elif not _is_of(place, found):
            problem = "is damaged there, or has another array"
        else:
            return found
        where = f"bytes {place.offset} to {place.offset + place.size} of {place.path} in the store {self.name}"
        return DamagedError(f"the object of a stored array {problem}", expected=where, do=RESTORE)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say which store it is that fails."""
        try:
            yield
        except MesoError:
            raise
        except OSError as error:
            raise ConfigError(self._refusal(error)) from error
        except Exception as error:
            if type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
                raise ConfigError(self._refusal(error)) from error
            raise

    def _refusal(self, error: Exception) -> str:
        return f"The store {self.name} ({self.root}) fails: {type(error).__name__}: {error}"


class NewObject:
    """An object that is being written.

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


def _is_of(place: Place, packed: Bytes) -> bool:
    try:
        return digest_of(packed) == place.digest
    except DataError:
        return False


def named(name: str) -> Store:
    """Return a store of DataJoint's configuration.

    Raises
    ------
    ConfigError
        There is none of that name, its settings are wrong, its folder is not there, or a package is missing.
    """
    try:
        backend = StorageBackend(dj.config.get_store_spec(name))
        _ = backend.fs
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
    """Return the folder, in any store, of the objects of this database."""
    return f"{FOLDER}/{DatabaseId.current()}"


def new_path(eid: str, fov: int) -> str:
    """Return a path that no other object has, or ever had."""
    return f"{folder()}/{eid}/FOV_{fov:02d}-{secrets.token_hex(8)}{SUFFIX}"


def read(places: Iterable[tuple[Key, Place]]) -> Iterator[tuple[Key, Bytes | DataError]]:
    """Yield the packed array at each place, by store, object and offset, with the key that came with the place.

    Memory holds few arrays of a folder, and two batches of ``BATCH_BYTES`` of a bucket. Where an object is missing, cut
    off or not what was put there, the error comes in place of the bytes, and the others follow.

    Raises
    ------
    ConfigError
        A store is not configured, or fails as a whole.
    """
    by_store: dict[str, list[tuple[Key, Place]]] = defaultdict(list)
    for key, place in places:
        by_store[place.store].append((key, place))
    for name, group in by_store.items():
        yield from named(name).read(group)


def read_one(place: Place) -> Bytes:
    """Return the packed array at a place.

    Raises
    ------
    ConfigError
        As ``read``.
    DamagedError
        The object is missing, cut off or not what was put there.
    """
    ((_, found),) = read([(None, place)])
    return whole(found)


def whole(found: Bytes | DataError) -> Bytes:
    """Return what ``read`` yielded, or raise it."""
    if isinstance(found, DataError):
        raise found
    return found


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _batches(places: Sequence[tuple[Key, Place]]) -> Iterator[list[tuple[Key, Place]]]:
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
