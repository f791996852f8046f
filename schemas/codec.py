"""The column type ``<array>``: a numeric array, bit by bit, with checksums that every read verifies."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from pipeline.arrays import pack, unpack
from pipeline.errors import DataError


class Packed(bytes):
    """An array that is packed already, in a thread for instance."""


class ArrayCodec(dj.Codec):
    """``pipeline.arrays`` in a column of bytes; DataJoint finds it by the entry point of this package."""

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
        DataError
            The bytes are damaged.
        """
        try:
            return unpack(memoryview(stored).cast("B"))  # psycopg2 gives a memoryview of characters
        except DataError as error:
            # DataJoint does not say which row this is: ``key`` holds its configuration alone
            do = f"'meso verify' names the row. {error.do or ''}".strip()
            raise DataError(error.problem, expected=error.expected, found=error.found, do=do) from error


def located(error: DataError, key: dict[str, Any]) -> DataError:
    """Return an error that names the row it is about."""
    rest = ", ".join(f"{name} {value}" for name, value in key.items() if name not in ("eid", "fov"))
    return DataError(
        error.problem, eid=key.get("eid"), fov=key.get("fov"), dataset=rest or None,
        expected=error.expected, found=error.found, do=error.do,
    )  # fmt: skip
