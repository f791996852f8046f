"""Where a packed array lies that is kept outside the database: a place, as bytes for the column of the array.

The bytes, little-endian:

    magic, format version, bytes of the store's name, bytes of the path      4s B B H
    first byte in the object, number of bytes, digest of the array's header  Q Q Q
    name of the store, path of the object                                    UTF-8
    digest of all up to here                                                 Q

The header of a packed array has the digests of its values and of its payload, so that its own digest tells whether the
bytes that lie there are those that were put there, and not another array that is whole as well.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from pipeline.errors import DamagedError, DataError
from pipeline.storage.arrays import DAMAGED, Bytes, header_of

MAGIC = b"mesP"
VERSION = 1
FIXED = struct.Struct("<4sBBHQQQ")
SUM = struct.Struct("<Q")


class Place(NamedTuple):
    """Where a packed array lies.

    Attributes
    ----------
    store : str
        Name of the store.
    path : str
        Of the object in it.
    offset, size : int
        Bytes of the object.
    digest : int
        See ``digest_of``.
    """

    store: str
    path: str
    offset: int
    size: int
    digest: int

    def to_bytes(self) -> bytes:
        """Return it as bytes."""
        store, path = self.store.encode(), self.path.encode()
        head = FIXED.pack(MAGIC, VERSION, len(store), len(path), self.offset, self.size, self.digest)
        head += store + path
        return head + SUM.pack(xxh3_64_intdigest(head))


def is_place(data: Bytes) -> bool:
    """Say whether bytes are a place, rather than an array itself."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def place_of(data: Bytes) -> Place:
    """Return the place that bytes say.

    Raises
    ------
    DataError
        They are damaged, cut off, too many or of an unknown format.
    """
    if len(data) < FIXED.size + SUM.size:
        expected, found = f"at least {FIXED.size + SUM.size} bytes", len(data)
        raise DamagedError("the place of a stored array is incomplete", expected=expected, found=found, do=DAMAGED)
    _, version, n_store, n_path, offset, size, digest = FIXED.unpack_from(data)
    if version != VERSION:
        raise DataError(
            "the place of a stored array has an unknown format",
            expected=f"format {VERSION}",
            found=f"format {version}",
            do="It was written by a newer version of meso: update this one. If none is newer, the row is damaged",
        )
    end = FIXED.size + n_store + n_path
    if len(data) != end + SUM.size or xxh3_64_intdigest(memoryview(data)[:end]) != SUM.unpack_from(data, end)[0]:
        raise DamagedError("the place of a stored array is damaged: its checksum is wrong", do=DAMAGED)
    names = bytes(data[FIXED.size : end])
    return Place(names[:n_store].decode(), names[n_store:].decode(), offset, size, digest)


def digest_of(packed: Bytes) -> int:
    """Return a digest of a packed array that differs where its dtype, shape or values do.

    Raises
    ------
    DataError
        Its header is damaged.
    """
    return xxh3_64_intdigest(memoryview(packed)[: header_of(packed).size])
