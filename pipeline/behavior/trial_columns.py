"""Named columns of the trials, and which trials a condition on them chooses.

Arrays are (n,) for a session, or (S, n) for S simulated sessions with the trials of one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.behavior.task import stimulus
from pipeline.errors import DataError
from pipeline.settings.conditions import COLUMNS, Condition, clauses_in, columns_in

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
#: For each trial whether something is true, and whether it is false: neither where a value is missing.
Truth = tuple[Array, Array]
#: So many different values of a column are all named.
FEW = 9


def columns_table(trials: Mapping[str, Array]) -> pd.DataFrame:
    """Return all named columns of a session, a DataFrame with a row for each trial; NaN where there is no value.

    Parameters
    ----------
    trials : mapping of ALF attribute to (n,) float64
    """
    import pandas as pd

    return pd.DataFrame({name: trial_column(name, trials) for name in COLUMNS})


def trial_column(name: str, trials: Mapping[str, Array]) -> Array:
    """Return a named column, (..., n) float64; what each is: ``pipeline.settings.conditions.COLUMNS``.

    Probabilities and contrasts are rounded to 6 decimals: files hold 0.8 as 0.800000011920929, too.

    Parameters
    ----------
    name : str
    trials : mapping of ALF attribute to (..., n) float64

    Raises
    ------
    DataError
        The trials lack an attribute.
    """
    try:
        return _COLUMNS[name](trials)
    except KeyError as error:
        raise DataError(f"the trials have no {error.args[0]}, from which {name} is made") from None


def first_failed(condition: str, trials: Mapping[str, Array]) -> Array:
    """Return for each trial the number, from 1, of the first clause that is not true; 0 if all are: (..., n) int64.

    Parameters
    ----------
    condition : str
        In its canonical form; '' for none.
    trials : mapping of ALF attribute to (..., n) float64

    Examples
    --------
    >>> trials = {"choice": np.array([1.0, -1.0, np.nan]), "feedbackType": np.array([1.0, 1.0, -1.0])}
    >>> first_failed("choice == 1 and correct", trials)
    array([0, 1, 1])
    """
    failed = np.zeros(np.shape(trials["choice"]), dtype=np.int64)
    if condition:
        for number, clause in enumerate(Condition(condition).clauses, start=1):
            is_true = _truth(clause, trials)[0]
            failed = np.where((failed == 0) & ~is_true, number, failed)
    return failed


def impossible(condition: str, sessions: Sequence[Mapping[str, Array]]) -> str | None:
    """Return why no trial of any of the sessions meets a condition, with the values that there are; None if one does.

    Parameters
    ----------
    condition : str
        In its canonical form; not ''.
    sessions : sequence of mapping of ALF attribute to (n,) float64

    Examples
    --------
    >>> trials = {"contrastLeft": np.array([0.25, np.nan]), "contrastRight": np.array([np.nan, 1.0])}
    >>> impossible("contrast > 3", [trials | {"choice": np.array([1.0, -1.0])}])
    'contrast > 3: contrast is 0.25, 1'
    """
    if any((first_failed(condition, trials) == 0).any() for trials in sessions):
        return None
    clauses = [clause for clause in clauses_in(condition)
               if not any((first_failed(clause, trials) == 0).any() for trials in sessions)]  # fmt: skip
    if not clauses:
        return f"{condition}, although some meet each of its clauses"
    return "; ".join(
        f"{clause}: {' and '.join(_values(name, sessions) for name in sorted(columns_in(clause)))}"
        if columns_in(clause) else clause
        for clause in clauses
    )  # fmt: skip


def _values(name: str, sessions: Sequence[Mapping[str, Array]]) -> str:
    """Return in words which values a column has: each if they are few, or from which to which."""
    values = np.concatenate([trial_column(name, trials) for trials in sessions])
    known = np.unique(values[np.isfinite(values)])
    if not len(known):
        return f"{name} has no value"
    if len(known) <= FEW:
        return f"{name} is {', '.join(f'{value:g}' for value in known)}"
    return f"{name} is {known[0]:.4g} to {known[-1]:.4g}"


# --------------------------------------------------------------------------------------------------------- columns


def _correct(trials: Mapping[str, Array]) -> Array:
    feedback = trials["feedbackType"]
    return np.where(feedback == 1, 1.0, np.where(feedback == -1, 0.0, np.nan))


def _contrast(trials: Mapping[str, Array]) -> Array:
    contrast: Array = np.round(np.fmax(trials["contrastLeft"], trials["contrastRight"]), 6)
    return contrast


def _side(trials: Mapping[str, Array]) -> Array:
    side = stimulus(trials)[0]
    return np.where(side == 0, np.nan, side)


def _block(trials: Mapping[str, Array]) -> Array:
    block: Array = np.round(trials["probabilityLeft"], 6)
    return block


def _index(trials: Mapping[str, Array]) -> Array:
    return np.arange(np.shape(trials["choice"])[-1], dtype=np.float64)


def _n_trials(trials: Mapping[str, Array]) -> Array:
    index = _index(trials)
    return np.full(len(index), float(len(index)))


def _trial_in_block(trials: Mapping[str, Array]) -> Array:
    block, index = _block(trials), _index(trials)
    begins = np.ones(block.shape, dtype=bool)
    begins[..., 1:] = block[..., 1:] != block[..., :-1]
    start = np.maximum.accumulate(np.where(begins, index, 0), axis=-1)
    return np.where(np.isnan(block), np.nan, index - start)


def _previous(values: Array) -> Array:
    before = np.roll(values, 1, axis=-1)
    before[..., :1] = np.nan
    return before


_COLUMNS: dict[str, Callable[[Mapping[str, Array]], Array]] = {
    "choice": lambda trials: trials["choice"],
    "correct": _correct,
    "contrast": _contrast,
    "side": _side,
    "signed_contrast": lambda trials: -_side(trials) * _contrast(trials),
    "block": _block,
    "trial_in_block": _trial_in_block,
    "reaction_time": lambda trials: trials["firstMovement_times"] - trials["stimOn_times"],
    "response_time": lambda trials: trials["response_times"] - trials["stimOn_times"],
    "quiescence": lambda trials: trials["quiescencePeriod"],
    "previous_choice": lambda trials: _previous(trials["choice"]),
    "previous_correct": lambda trials: _previous(_correct(trials)),
    "previous_side": lambda trials: _previous(_side(trials)),
    "previous_contrast": lambda trials: _previous(_contrast(trials)),
    "index": _index,
    "fraction": lambda trials: _index(trials) / _n_trials(trials),
    "n_trials": _n_trials,
}

# ------------------------------------------------------------------------------------------------------ conditions

_COMPARE: dict[type[ast.cmpop], Callable[[Array, Array], Array]] = {
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal, ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}  # fmt: skip
_CALCULATE: dict[type[ast.operator], Callable[[Array, Array], Array]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
}  # fmt: skip


def _truth(node: ast.expr, trials: Mapping[str, Array]) -> Truth:
    """Return where a part of a canonical condition is true, and where it is false."""
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            yes, no = zip(*(_truth(part, trials) for part in parts), strict=True)
            return _all(yes), _any(no)
        case ast.BoolOp(values=parts):
            yes, no = zip(*(_truth(part, trials) for part in parts), strict=True)
            return _any(yes), _all(no)
        case ast.UnaryOp(operand=operand):
            is_true, is_false = _truth(operand, trials)
            return is_false, is_true
        case ast.Compare():
            return _compared(node, trials)
    value = _number(node, trials)  # a column of TRUTHS
    return value == 1, value == 0


def _compared(node: ast.Compare, trials: Mapping[str, Array]) -> Truth:
    left = _number(node.left, trials)
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        inside = np.isin(left, [_number(value, trials) for value in node.comparators[0].elts])  # type: ignore[attr-defined]
        known = ~np.isnan(left)
        return (known & inside, known & ~inside)[:: 1 if isinstance(node.ops[0], ast.In) else -1]
    yes, no = [], []
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = _number(comparator, trials)
        known, holds = ~(np.isnan(left) | np.isnan(right)), _COMPARE[type(op)](left, right)
        yes.append(known & holds)
        no.append(known & ~holds)
        left = right
    return _all(yes), _any(no)


def _number(node: ast.expr, trials: Mapping[str, Array]) -> Array:
    """Return the values of a number in a canonical condition, (..., n) or () float64."""
    match node:
        case ast.Constant(value=value):
            return np.array(value, dtype=np.float64)
        case ast.Name(id=name):
            return trial_column(name, trials)
        case ast.UnaryOp(operand=operand):
            return -_number(operand, trials)
        case ast.BinOp(left=left, op=op, right=right):
            with np.errstate(divide="ignore", invalid="ignore"):
                return _CALCULATE[type(op)](_number(left, trials), _number(right, trials))
        case ast.Call(args=[inner]):
            size: Array = np.abs(_number(inner, trials))
            return size
    raise AssertionError(ast.dump(node))  # canonical text has nothing else


def _all(parts: list[Array] | tuple[Array, ...]) -> Array:
    together = parts[0]
    for part in parts[1:]:
        together = together & part
    return together


def _any(parts: list[Array] | tuple[Array, ...]) -> Array:
    together = parts[0]
    for part in parts[1:]:
        together = together | part
    return together
