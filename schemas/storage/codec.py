"""The column type ``<array>``: a numeric array, stored bit for bit, with checksums that every read verifies.

The column holds the packed array itself, or its place in a store (``pipeline.storage.places``).
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
    """An array that is packed already, e.g. in another thread, or the place of a packed array."""


class ArrayCodec(dj.Codec):
    """Stores arrays packed by ``pipeline.storage.arrays``; DataJoint finds it by the entry point of this package."""

    name = "array"

    def get_dtype(self, is_store: bool) -> str:
        """Return the type of the column that holds the bytes, or their address in a store."""
        return "<hash>" if is_store else "bytes"

    def encode(self, value: Any, *, key=None, context=None, store_name=None) -> bytes:
        """Return the bytes of an array; a ``Packed`` array is stored as it is."""
        # bytes() of a subclass of bytes: the drivers do not know Packed
        return bytes(value) if isinstance(value, Packed) else pack(np.asarray(value))

    def decode(self, stored: Any, *, key=None, context=None) -> np.ndarray:
        """Return the array, writable.

        Raises
        ------
        DamagedError
            The bytes are damaged, here or in the store.
        """
        data = memoryview(stored).cast("B")  # psycopg2 returns a memoryview of format "c"
        try:
            return unpack(stores.read_one(place_of(data)) if is_place(data) else data)
        except DataError as error:
            # DataJoint does not tell the codec which row this is: ``key`` holds only its configuration
            do = f"'meso verify' names the row. {error.do or ''}".strip()
            raise type(error)(error.problem, expected=error.expected, found=error.found, do=do) from error
