"""Rows that a caller chooses, taken as numpy takes them, and refused by the name of the argument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import ArgumentError, ArgumentTypeError, OutOfRangeError

#: What chooses rows of a matrix; a sequence holds whole numbers, or a bool for each row.
Rows = Sequence[int] | Sequence[bool] | np.ndarray | slice | int | None


def chosen_rows(rows: Rows, n_rows: int, name: str, eid: str | None = None) -> np.ndarray:
    """Return the numbers of the rows that an index chooses, as numpy would.

    Parameters
    ----------
    rows : sequence of int, sequence of bool, slice, int or None
        Numbers from 0, or from -1 backwards, in any order and as often as they are wanted; or a bool for each row; or a
        slice. An int is one row. None is all of them.
    n_rows : int
        Rows that there are.
    name : str
        Of the argument, for the error.
    eid : str, optional
        Session whose rows these are, for the error.

    Returns
    -------
    (n,) int64
        From 0.

    Raises
    ------
    OutOfRangeError
        A row is not there, or there are more or fewer bools than rows.
    ArgumentTypeError
        Something else than whole numbers, bools or a slice is given.
    ArgumentError
        The numbers are no list: a matrix, or a list of lists.

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
            raise ArgumentTypeError(f"{name}={rows} is no slice of rows: {error}") from None
    wanted = _list(rows, name)
    if wanted.dtype == bool and len(wanted) != n_rows:
        raise OutOfRangeError(
            f"{name} has another length than there are rows", eid=eid, expected=f"{n_rows} bools", found=len(wanted)
        )
    if wanted.dtype != bool and len(wanted) and not (-n_rows <= int(wanted.min()) and int(wanted.max()) < n_rows):
        raise OutOfRangeError(
            f"{name} is out of range", eid=eid, expected=f"rows 0 to {n_rows - 1}, or {-n_rows} to -1 from the end",
            found=f"{wanted.min()} to {wanted.max()}",
        )  # fmt: skip
    return every[wanted]


def _list(rows: Sequence | np.ndarray | int, name: str) -> np.ndarray:
    """Return whole numbers or bools as a vector."""
    do = f"{name} is a list of row numbers, a bool for each row, or a slice"
    try:
        wanted = np.asarray(rows)
    except ValueError:
        raise ArgumentError(f"{do}, not lists of several lengths") from None
    if not wanted.size and wanted.ndim == 1:
        return np.empty(0, np.int64)  # numpy makes floats of an empty list
    if wanted.dtype.kind not in "biu" or (wanted.shape == () and wanted.dtype == bool):
        raise ArgumentTypeError(f"{do}, not {_shown(rows)}")
    if wanted.ndim > 1:
        raise ArgumentError(f"{do}, not an array of shape {wanted.shape}")
    return np.atleast_1d(wanted)


def _shown(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
