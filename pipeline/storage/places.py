"""The place of a packed array that is stored outside the database, as bytes for the column of the array.

The bytes, little-endian:

    magic, format version, bytes of the store's name, bytes of the path      4s B B H
    first byte in the object, number of bytes, digest of the array's header  Q Q Q
    name of the store, path of the object                                    UTF-8
    digest of all bytes up to here                                           Q

The header of a packed array contains the digests of its values and of its payload. The header's digest in the place
therefore tells whether the bytes found there are those that were written, rather than another undamaged array.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from pipeline.errors import DamagedError, DataError
from pipeline.storage.arrays import DAMAGED, Bytes, header_of

MAGIC = b"mesP"
VERSION = 1
FIXED_HEADER = struct.Struct("<4sBBHQQQ")
CHECKSUM = struct.Struct("<Q")


class Place(NamedTuple):
    """Where a packed array is stored.

    Attributes
    ----------
    store : str
        Name of the store.
    path : str
        Path of the object in the store.
    offset, size : int
        First byte of the array in the object, and number of bytes.
    digest : int
        See ``digest_of``.
    """

    store: str
    path: str
    offset: int
    size: int
    digest: int

    def to_bytes(self) -> bytes:
        """Return the place as bytes."""
        store, path = self.store.encode(), self.path.encode()
        head = FIXED_HEADER.pack(MAGIC, VERSION, len(store), len(path), self.offset, self.size, self.digest)
        head += store + path
        return head + CHECKSUM.pack(xxh3_64_intdigest(head))


def is_place(data: Bytes) -> bool:
    """Return whether bytes are a place rather than a packed array."""
    # bytes(): psycopg2 returns memoryviews
    return bytes(data[: len(MAGIC)]) == MAGIC


def place_of(data: Bytes) -> Place:
    """Return the place that bytes encode.

    Raises
    ------
    DataError
        The bytes are damaged, truncated, too many or of an unknown format.
    """
    if len(data) < FIXED_HEADER.size + CHECKSUM.size:
        expected, found = f"at least {FIXED_HEADER.size + CHECKSUM.size} bytes", len(data)
        raise DamagedError("the place of a stored array is incomplete", expected=expected, found=found, do=DAMAGED)
    _, version, n_store, n_path, offset, size, digest = FIXED_HEADER.unpack_from(data)
    if version != VERSION:
        raise DataError(
            "the place of a stored array has an unknown format",
            expected=f"format {VERSION}",
            found=f"format {version}",
            do="It was written by a newer version of meso: update meso. If there is none, the row is damaged",
        )
    end = FIXED_HEADER.size + n_store + n_path
    if (
        len(data) != end + CHECKSUM.size
        or xxh3_64_intdigest(memoryview(data)[:end]) != CHECKSUM.unpack_from(data, end)[0]
    ):
        raise DamagedError("the place of a stored array is damaged: its checksum is wrong", do=DAMAGED)
    names = bytes(data[FIXED_HEADER.size : end])
    return Place(names[:n_store].decode(), names[n_store:].decode(), offset, size, digest)


def digest_of(packed: Bytes) -> int:
    """Return a digest of a packed array: arrays with another dtype, shape or values have another digest.

    Raises
    ------
    DataError
        The header is damaged.
    """
    return xxh3_64_intdigest(memoryview(packed)[: header_of(packed).size])
