"""Labels of one's own: a class or a number for each trial, from values or from a file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ArgumentTypeError, DataError
from pipeline.reading.names import Place, session_name

#: Columns of a file: the session by its id or by its place, then the trial and its label.
BY_EID, BY_PLACE = ("eid",), ("subject", "date", "number")
#: Texts for a trial that has no label.
NO_LABEL = ("", "nan", "null", "none")


def are_numbers(sessions: Iterable[Any]) -> bool:
    """Return whether labels, the values of each session, are numbers: more than two different ones.

    Values that cannot be read as numbers are left to ``checked_labels``.

    Examples
    --------
    >>> are_numbers([[1, 0, None], [0, 0, 1]]), are_numbers([[0.3, 1.2, None], [0.5]])
    (False, True)
    """
    found: set[float] = set()
    for values in sessions:
        try:
            labels = _as_floats(values)
        except (TypeError, ValueError):
            continue
        found |= set(np.unique(labels[np.isfinite(labels)]).tolist())
    return len(found) > 2


def checked_labels(values: Any, n_trials: int, name: str, eid: str, *, numbers: bool = False) -> np.ndarray:
    """Return the labels of a session, (n_trials,) float64: 1, 0, or NaN for a trial of neither class; or numbers.

    Parameters
    ----------
    values : sequence of n_trials numbers or bools
        None is NaN.
    n_trials : int
    name : str
        Of the labels, for errors.
    eid : str
    numbers : bool
        The labels are numbers, of which NaN are missing.

    Raises
    ------
    DataError
        There are more or fewer values than trials; one is neither 1, 0 nor NaN, or a class is empty. Of numbers: one is
        infinite, or all are equal.

    Examples
    --------
    >>> checked_labels([True, False, None], 3, "fast", "an-eid")
    array([ 1.,  0., nan])
    """
    place: dict[str, Any] = {"eid": eid, "dataset": f"labels {name!r}"}
    try:
        labels = _as_floats(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"the labels are no numbers: {error}", expected="a number or NaN for each trial",
                        **place) from None  # fmt: skip
    if labels.shape != (n_trials,):
        raise DataError("another number of labels than of trials", expected=f"{n_trials}",
                        found=" x ".join(map(str, labels.shape)) or "a single number", **place)  # fmt: skip
    if numbers:
        _check_numbers(labels, place)
        return labels
    if len(wrong := np.flatnonzero(~np.isin(labels, (0, 1)) & ~np.isnan(labels))):
        raise DataError("a label has another value", expected="1, 0 or NaN (no label); or more than two numbers",
                        found=f"{labels[wrong[0]]:g} in trial {wrong[0]}", **place)  # fmt: skip
    counts = int((labels == 0).sum()), int((labels == 1).sum())
    if min(counts) == 0:
        raise DataError("labels of one class only", expected="trials of both classes",
                        found=f"{counts[0]} of class 0, {counts[1]} of class 1", **place)  # fmt: skip
    return labels


def _check_numbers(labels: np.ndarray, place: dict[str, Any]) -> None:
    """Refuse numbers (n,) that are infinite, or do not differ."""
    if len(wrong := np.flatnonzero(np.isinf(labels))):
        raise DataError("a label is infinite", expected="finite numbers or NaN (no label)",
                        found=f"{labels[wrong[0]]:g} in trial {wrong[0]}", **place)  # fmt: skip
    known = labels[~np.isnan(labels)]
    if not len(known) or np.ptp(known) == 0:
        raise DataError("the numbers do not differ", expected="two or more different numbers",
                        found=f"{known[0]:g} in {len(known)} trials" if len(known) else "none", **place)  # fmt: skip


def _as_floats(values: Any) -> np.ndarray:
    """Return values as float64; raise TypeError or ValueError if they are no numbers."""
    if hasattr(values, "to_numpy"):  # a Series of pandas' own types has NA, which numpy cannot convert
        of_series: np.ndarray = values.to_numpy(float, na_value=np.nan)
        return of_series
    found = np.asarray(values)
    if found.dtype.kind in "USM":
        raise ArgumentTypeError(f"found {found.dtype}")
    return found.astype(np.float64)


def read_labels(path: Path) -> dict[str, dict[int, float]]:
    """Read labels from a CSV file with the columns eid (or subject, date, number), trial and value.

    Parameters
    ----------
    path : Path
        Trials count from 0. A trial that is not in the file has no label, nor has one with an empty value.

    Returns
    -------
    dict of str to dict of int to float
        By session, as the file names it, the value of each trial.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column, or a line names no session, no trial, or a trial twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            names = _columns(rows.fieldnames or (), path)
            found: dict[str, dict[int, float]] = {}
            for row in rows:
                session, trial, value = _line(row, names, f"{path.name}, line {rows.line_num}")
                of_session = found.setdefault(session, {})
                if trial in of_session:
                    raise DataError(f"trial {trial} of session {session} is there twice",
                                    dataset=f"{path.name}, line {rows.line_num}")  # fmt: skip
                of_session[trial] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read: {error}", dataset=str(path), expected="a CSV file") from error
    if not found:
        raise DataError("has no labels", dataset=str(path), expected="a line for each trial")
    return found


def _columns(header: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the columns that name the session."""
    for names in (BY_EID, BY_PLACE):
        if {*names, "trial", "value"} <= set(header):
            return names
    raise DataError("lacks columns", dataset=str(path), found=", ".join(header) or "nothing",
                    expected="eid, trial, value; or subject, date, number, trial, value")  # fmt: skip


def _line(row: dict[str, str | None], names: tuple[str, ...], place: str) -> tuple[str, int, float]:
    """Return session, trial and label of a line."""
    session = "/".join((row[name] or "").strip() for name in names)
    if names == BY_PLACE and not isinstance(session_name(session).place, Place):
        raise DataError("names no session", dataset=place, expected="subject, date (2025-03-03), number", found=session)
    trial, value = ((row[name] or "").strip() for name in ("trial", "value"))
    if not trial.isdecimal():
        raise DataError("names no trial", dataset=place, expected="a whole number from 0", found=repr(trial))
    try:
        return session, int(trial), np.nan if value.lower() in NO_LABEL else float(value)
    except ValueError:
        raise DataError(
            f"session {session}, trial {trial}: the value is no label", dataset=place,
            expected="1, 0 or nothing; or a number",
            found=repr(value),
        ) from None  # fmt: skip
