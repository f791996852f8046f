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

import numpy as np
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


def places_of(data: bytes, n: int) -> list[Place] | None:
    """Return the places that bytes encode one after the other, many times as fast as one by one.

    Parameters
    ----------
    data : bytes
    n : int
        Number of places.

    Returns
    -------
    list of Place, or None
        None unless all are undamaged places in the same object; ``place_of`` says what is wrong with one.
    """
    size, rest = divmod(len(data), n)
    if rest or size < FIXED_HEADER.size + CHECKSUM.size or not is_place(data):
        return None
    rows = np.frombuffer(data, np.uint8).reshape(n, size)
    sums = [xxh3_64_intdigest(data[at : at + size - CHECKSUM.size]) for at in range(0, len(data), size)]
    ranges = np.ascontiguousarray(rows[:, 8 : FIXED_HEADER.size]).view("<u8")
    rest_of_row = np.delete(rows, np.r_[8 : FIXED_HEADER.size, size - CHECKSUM.size : size], axis=1)
    stored_sums = np.ascontiguousarray(rows[:, -CHECKSUM.size :]).view("<u8")[:, 0]
    if (rest_of_row != rest_of_row[0]).any() or (stored_sums != np.array(sums, np.uint64)).any():
        return None
    try:
        first = place_of(data[:size])
    except DataError:
        return None
    return [Place(first.store, first.path, *numbers) for numbers in ranges.tolist()]


def digest_of(packed: Bytes) -> int:
    """Return a digest of a packed array: arrays with another dtype, shape or values have another digest.

    Raises
    ------
    DataError
        The header is damaged.
    """
    return xxh3_64_intdigest(memoryview(packed)[: header_of(packed).size])
