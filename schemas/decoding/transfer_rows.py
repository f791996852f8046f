"""Scores of readouts on other days as rows of TransferResult and TransferMatrix, and back."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.fits.families import ALPHA, significant
from pipeline.decoding.fits.together import benjamini_hochberg
from pipeline.decoding.transfer import TransferDecay, TransferScore, relative_transfer, transfer_decay
from schemas.rows import number

#: Columns of TransferMatrix by the attribute of TransferDecay.
DECAY = {
    "mean_transfer": "mean", "mean_transfer_low": "mean_low", "mean_transfer_high": "mean_high",
    "decay_slope": "slope", "decay_low": "low", "decay_high": "high", "decay_p": "p", "decay_intercept": "intercept",
}  # fmt: skip


def score_row(train_eid: str, found: TransferScore) -> dict[str, Any]:
    """Return the columns of TransferResult.Train."""
    return {
        "train_eid": train_eid, "n_train": found.n_train, "transfer_score": found.score, "transfer_low": found.low,
        "transfer_high": found.high, "transfer_p": number(found.p), "refit_score": number(found.refit_score),
        "half_score": found.half_score, "transfer_nulls": found.null_scores.copy(),
    }  # fmt: skip


def matrix_rows(
    rows: Sequence[Mapping[str, Any]], dates: Mapping[str, datetime.date], settings: NDCSettings
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the columns of TransferMatrix and the rows of its pairs.

    Parameters
    ----------
    rows : sequence of dict
        Of TransferResult.Train.
    dates : dict of str to date
        Of the sessions of the set.
    settings : NDCSettings
    """
    eids, halves = tested(rows, dates), half_scores(rows, dates)
    known = above_chance(rows, eids, settings)
    decay = decay_of(rows, dates, settings)
    relative = relative_transfer(halves, settings.metric, known)
    q = benjamini_hochberg(np.array([_nan(row["transfer_p"]) for row in rows], dtype=float))
    place = {eid: i for i, eid in enumerate(eids)}
    pairs = [
        {
            "eid": row["eid"], "train_eid": row["train_eid"], "transfer_q": number(one),
            "relative": number(relative[place[row["train_eid"]], place[row["eid"]]]),
        }
        for row, one in zip(rows, q, strict=True)
    ]  # fmt: skip
    columns = {name: number(getattr(decay, attribute)) for name, attribute in DECAY.items()}
    return {"n_above_chance": decay.n_days, **columns}, pairs


def decay_of(
    rows: Sequence[Mapping[str, Any]], dates: Mapping[str, datetime.date], settings: NDCSettings
) -> TransferDecay:  # fmt: skip
    """Return the decay of the pairs of sessions; arguments as for ``matrix_rows``. It is deterministic."""
    eids = tested(rows, dates)
    days = [(dates[eid] - dates[eids[0]]).days for eid in eids]
    return transfer_decay(
        half_scores(rows, dates), np.array(days, dtype=float), metric=settings.metric,
        known=above_chance(rows, eids, settings), seed=settings.seed,
    )  # fmt: skip


def tested(rows: Sequence[Mapping[str, Any]], dates: Mapping[str, datetime.date]) -> list[str]:
    """Return the sessions that are tested, by date."""
    return sorted({row["eid"] for row in rows}, key=lambda eid: (dates[eid], eid))


def square(rows: Sequence[Mapping[str, Any]], eids: Sequence[str], name: str) -> np.ndarray:
    """Return a column of TransferResult.Train (and Pair) as a matrix, (D, D) float64: row i is the training session."""
    place = {eid: i for i, eid in enumerate(eids)}
    found = np.full((len(eids), len(eids)), np.nan)
    for row in rows:
        if row["train_eid"] in place:
            found[place[row["train_eid"]], place[row["eid"]]] = _nan(row[name])
    return found


def half_scores(rows: Sequence[Mapping[str, Any]], dates: Mapping[str, datetime.date]) -> np.ndarray:
    """Return the half scores of the sessions that are tested, by date, (D, D) float64."""
    return square(rows, tested(rows, dates), "half_score")


def above_chance(rows: Sequence[Mapping[str, Any]], eids: Sequence[str], settings: NDCSettings) -> np.ndarray:
    """Return which sessions are decoded above chance by their own readouts, (D,) bool.

    By p at 0.05, or if there are too few null labels for that, by the interval of the score.
    """
    own = {row["eid"]: row for row in rows if row["train_eid"] == row["eid"]}
    if (1 + settings.n_label_shuffles) * ALPHA >= 1:
        return np.array([significant(own[eid]["transfer_p"]) for eid in eids], dtype=bool)
    chance = 0.0 if settings.of_numbers else 0.5
    return np.array([own[eid]["transfer_low"] > chance for eid in eids], dtype=bool)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
