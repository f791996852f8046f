"""The column type ``<array>``: a numeric array, bit by bit, with checksums that every read verifies.

The column holds the packed array itself, or the place in a store where it lies (``pipeline.storage.places``).
"""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from pipeline.errors import DataError
from pipeline.storage.arrays import pack, unpack
from pipeline.storage.places import is_place, place_of
from schemas.storage import stores


class Packed(bytes):
    """An array that is packed already, in a thread for instance, or the place of one."""


class ArrayCodec(dj.Codec):
    """``pipeline.storage.arrays`` in a column of bytes; DataJoint finds it by the entry point of this package."""

    name = "array"

    def get_dtype(self, is_store: bool) -> str:
        """Return the type of the column that holds the bytes, or their address in a store."""
        return "<hash>" if is_store else "bytes"

    def encode(self, value: Any, *, key=None, context=None, store_name=None) -> bytes:
        """Return the bytes of an array; those of a ``Packed`` one are taken as they are."""
        return bytes(value) if isinstance(value, Packed) else pack(np.asarray(value))

    def decode(self, stored: Any, *, key=None, context=None) -> np.ndarray:
        """Return the array; it can be written to.

        Raises
        ------
        DamagedError
            The bytes are damaged, here or in the store.
        """
        data = memoryview(stored).cast("B")  # psycopg2 gives a memoryview of characters
        try:
            return unpack(stores.read_one(place_of(data)) if is_place(data) else data)
        except DataError as error:
            # DataJoint does not say which row this is: ``key`` holds its configuration alone
            do = f"'meso verify' names the row. {error.do or ''}".strip()
            raise type(error)(error.problem, expected=error.expected, found=error.found, do=do) from error
