"""Row indices from a caller: interpreted as numpy does, with error messages that name the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.errors import ArgumentError, ArgumentTypeError, OutOfRangeError

#: An index of rows; a sequence holds whole numbers, or one bool per row. None is all rows.
Rows = Sequence[int] | Sequence[bool] | np.ndarray | slice | int | None


def chosen_rows(rows: Rows, n_rows: int, name: str, eid: str | None = None) -> np.ndarray:
    """Return the numbers of the rows that an index selects, as numpy would.

    Parameters
    ----------
    rows : sequence of int, sequence of bool, slice, int or None
        Numbers from 0, or negative from the end, in any order, with repeats; or one bool per row; or a slice. An int
        is one row, None is all rows.
    n_rows : int
        Number of rows of the matrix.
    name : str
        Name of the argument, for error messages.
    eid : str, optional
        Session of the rows, for error messages.

    Returns
    -------
    (n,) int64
        Row numbers from 0.

    Raises
    ------
    OutOfRangeError
        A row does not exist, or the number of bools is not the number of rows.
    ArgumentTypeError
        The index is not of whole numbers or bools, nor a slice.
    ArgumentError
        The index has more than one dimension.

    Examples
    --------
    >>> chosen_rows(slice(None, None, 2), 5, "restrict").tolist(), chosen_rows([-1, 0], 5, "restrict").tolist()
    ([0, 2, 4], [4, 0])
    """
    every = np.arange(n_rows, dtype=np.int64)
    if rows is None:
        return every
    if isinstance(rows, slice):
        try:
            return every[rows]
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"{name}={rows} is not a slice of rows: {error}") from None
    wanted = _list(rows, name)
    if wanted.dtype == bool and len(wanted) != n_rows:
        raise OutOfRangeError(
            f"{name} has another length than the number of rows", eid=eid, expected=f"{n_rows} bools", found=len(wanted)
        )
    if wanted.dtype != bool and len(wanted) and not (-n_rows <= int(wanted.min()) and int(wanted.max()) < n_rows):
        raise OutOfRangeError(
            f"{name} is out of range", eid=eid, expected=f"rows 0 to {n_rows - 1}, or {-n_rows} to -1 from the end",
            found=f"{wanted.min()} to {wanted.max()}",
        )  # fmt: skip
    chosen: np.ndarray = every[wanted]
    return chosen


def _list(rows: Sequence[Any] | np.ndarray | int, name: str) -> np.ndarray:
    """Return whole numbers or bools as a vector."""
    do = f"{name} must be a list of row numbers, one bool per row, or a slice"
    try:
        wanted = np.asarray(rows)
    except ValueError:
        raise ArgumentError(f"{do}, not lists of several lengths") from None
    if not wanted.size and wanted.ndim == 1:
        # an index of floats would be an error
        return np.empty(0, np.int64)  # numpy makes an empty list a float array
    if wanted.dtype.kind not in "biu" or (wanted.shape == () and wanted.dtype == bool):
        raise ArgumentTypeError(f"{do}, not {_shown(rows)}")
    if wanted.ndim > 1:
        raise ArgumentError(f"{do}, not an array of shape {wanted.shape}")
    return np.atleast_1d(wanted)


def _shown(value: object) -> str:
    """Return a short text for a value in an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
