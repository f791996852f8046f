"""Random conditions on trials, each in our language and as pandas would write it, and random tables of trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from pipeline.settings.conditions import COLUMNS, LONGEST, TRUTHS

NUMBERS = tuple(name for name in COLUMNS if name not in TRUTHS)


@dataclass(frozen=True)
class Random:
    """A random condition.

    Attributes
    ----------
    text : str
        In our language, which pandas' ``eval`` reads too.
    series : str
        The same in operators of Series (``&``, ``|``, ``~``), with a table called ``df``.
    columns : frozenset of str
    """

    text: str
    series: str
    columns: frozenset[str]


@st.composite
def _numbers(draw, depth: int = 2) -> Random:
    if depth == 0 or draw(st.booleans()):
        name = draw(st.sampled_from(NUMBERS))
        return Random(name, f"df['{name}']", frozenset([name]))
    kind = draw(st.sampled_from(["sign", "abs", "constant", "two"]))
    one = draw(_numbers(depth - 1))
    if kind == "sign":
        return Random(f"-({one.text})", f"(-({one.series}))", one.columns)
    if kind == "abs":
        return Random(f"abs({one.text})", f"abs({one.series})", one.columns)
    if kind == "constant":
        op, value = draw(st.sampled_from("+-*/")), draw(st.sampled_from([-2, 0.5, 1, 3]))
        return Random(f"({one.text}) {op} {value}", f"(({one.series}) {op} {value})", one.columns)
    op, other = draw(st.sampled_from("+-*")), draw(_numbers(depth - 1))
    return Random(
        f"({one.text}) {op} ({other.text})", f"(({one.series}) {op} ({other.series}))", one.columns | other.columns
    )


def conditions() -> st.SearchStrategy[Random]:
    """Draw conditions that are no longer than allowed."""
    return _conditions().filter(lambda one: len(one.text) <= LONGEST)


@st.composite
def _conditions(draw, depth: int = 2) -> Random:
    """Draw a condition of comparisons, truth columns, ``in``, ``and``, ``or`` and ``not``."""
    kind = draw(st.sampled_from(["compare", "chain", "truth", "in"] if depth == 0 else ["and", "or", "not", "compare"]))
    if kind in ("and", "or"):
        parts = draw(st.lists(_conditions(depth - 1), min_size=2, max_size=3))
        return Random(
            f" {kind} ".join(f"({part.text})" for part in parts),
            f"({(' & ' if kind == 'and' else ' | ').join(part.series for part in parts)})",
            frozenset().union(*(part.columns for part in parts)),
        )
    if kind == "not":
        inner = draw(_conditions(depth - 1))
        return Random(f"not ({inner.text})", f"(~{inner.series})", inner.columns)
    if kind == "truth":
        name = draw(st.sampled_from(TRUTHS))
        return Random(name, f"df['{name}']", frozenset([name]))
    one = draw(_numbers())
    if kind == "in":  # of a column that is never missing: pandas' isin takes a missing value for one that is not in
        word = draw(st.sampled_from(["in", "not in"]))
        values = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
        inside = f"df['index_'].isin({values})"
        return Random(f"index {word} {values}", f"({'~' if word == 'not in' else ''}{inside})", frozenset(["index"]))
    ops = [draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="])) for _ in range(2 if kind == "chain" else 1)]
    texts, pairs, last = [one.text], [], one
    columns = one.columns
    for op in ops:
        value = draw(st.sampled_from(["0", "0.5", "1", "-1"]))
        other = draw(_numbers(1)) if draw(st.booleans()) else Random(value, value, frozenset())
        texts += [op, f"({other.text})"]
        pairs.append(f"(({last.series}) {op} ({other.series}))")
        last, columns = other, columns | other.columns
        if not other.columns:  # a constant is not compared with another: a series is needed
            break
    return Random(" ".join(texts[: 1 + 2 * len(pairs)]), f"({' & '.join(pairs)})", columns)


def random_trials(rng: np.random.Generator, n: int, missing: float = 0.0) -> dict[str, np.ndarray]:
    """Return ALF trial attributes with every value that they may have, of which some are missing."""
    left, contrast = rng.random(n) < 0.5, rng.choice([0, 0.0625, 0.25, 1.0], n)
    trials = {
        "choice": rng.choice([-1.0, 0.0, 1.0], n), "feedbackType": rng.choice([-1.0, 1.0], n),
        "contrastLeft": np.where(left, contrast, np.nan), "contrastRight": np.where(left, np.nan, contrast),
        "probabilityLeft": np.float32([0.2, 0.5, 0.8])[np.cumsum(rng.random(n) < 0.2) % 3].astype(float),
        "stimOn_times": np.arange(n) * 5.0, "quiescencePeriod": rng.uniform(0.4, 0.7, n),
    }  # fmt: skip
    trials["firstMovement_times"] = trials["stimOn_times"] + rng.choice([0.05, 0.5, 1.0, 3.0], n)
    trials["response_times"] = trials["stimOn_times"] + rng.uniform(0.2, 3, n)
    for column in trials.values():
        column[rng.random(n) < missing] = np.nan
    return trials


def as_pandas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with pandas' own types for missing values, whose logic has three values."""
    out = table.astype("Float64")
    for name in TRUTHS:
        out[name] = table[name].astype("Float64").astype("boolean")
    return out.assign(index_=table["index"])
