"""Conversion of settings to arguments of the decoder, and of a curve to rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline import decoding
from pipeline.decoding import NDCSettings
from pipeline.decoding.curves import validation_words
from pipeline.decoding.fits.curve import CurveFit, fit_curve
from pipeline.decoding.fits.days import OF_CODE
from pipeline.decoding.fits.families import ALPHA
from pipeline.decoding.folds import NUMBERS_PER_FOLD
from pipeline.decoding.trials import labelled
from pipeline.settings.curves import NUMBER_METRICS
from schemas.decoding.shuffles import Shuffles
from schemas.rows import number


def ndc_curve(
    X: np.ndarray, y: np.ndarray, settings: NDCSettings, shuffled: Shuffles, known: decoding.NDCCurve | None = None,
    compared: np.ndarray | None = None, strata: np.ndarray | None = None,
) -> decoding.NDCCurve:  # fmt: skip
    """Return the curve of a session by some settings.

    Parameters
    ----------
    X : (n_trials, n_cells) float
        Features of the usable trials.
    y : (n_trials,) int8 or float64
        Labels: 1, 0, or -1 for a trial left out; or numbers, NaN for such a trial.
    settings : NDCSettings
    shuffled : Shuffles
    known : NDCCurve, optional
        Finished curve of the same session whose scores are reused: see ``finished_curve``.
    compared : (D, 3) float, optional
        ``inner_scores`` of the other sessions of the set, with which this one shares c (penalty 'auto').
    strata : (n_trials,) int, optional
        See ``strata_of``.
    """
    return decoding.neuron_dropping_curve(
        X, y, ks=_ks(X, y, settings, shuffled), R=settings.r, n_label_shuffles=settings.n_label_shuffles,
        null=shuffled.null if shuffled.labels is None else shuffled.labels, null_subsets=settings.null_subsets,
        shuffle_seed=settings.shuffle_seed, C=settings.c, ceiling_mode=settings.ceiling_mode,
        penalize_intercept=settings.penalize_intercept, c_grid=settings.c_grid, intervals=settings.intervals,
        n_bootstrap=settings.n_bootstrap, penalty=settings.penalty, compared=compared, known=known, strata=strata,
        shared_folds=settings.shared_folds, **validation_words(settings),
    )  # fmt: skip


def inner_scores(
    X: np.ndarray, y: np.ndarray, settings: NDCSettings, strata: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """Return the inner scores of a session, from which the penalty 'auto' chooses c: (3,) float64.

    Parameters
    ----------
    X, y, settings, strata
        As for ``ndc_curve``.
    """
    most = X.shape[1] if settings.curve_axis == "cells" else int(labelled(y).sum())
    return decoding.penalty_scores(X, y, ks=[settings.n_cells or most], strata=strata, **validation_words(settings))


def _ks(X: np.ndarray, y: np.ndarray, settings: NDCSettings, shuffled: Shuffles) -> list[int]:
    """Return the ks of the settings that are possible, and the largest possible k.

    On an axis of trials, k trials must have at least one trial of each class for each fold, for the real labels and for
    each shuffle.
    """
    if settings.curve_axis == "cells":
        most = settings.n_cells or X.shape[1]
        # the number of all cells is always a k: the ceiling and p_largest are of it
        return [k for k in settings.ks if k < most] + [most]
    least = settings.cv_splits
    if settings.c_grid:  # a training set, (n - 1) / n of the trials, is split into n folds again
        least = math.ceil(least**2 / (least - 1))
    most = int(labelled(y).sum())
    if settings.of_numbers:
        return [k for k in settings.ks if NUMBERS_PER_FOLD * least <= k < most] + [most]
    vectors = [y] if shuffled.labels is None else [y, *shuffled.labels]
    ones, known = (np.array([(vector >= low).sum() for vector in vectors]) for low in (1, 0))

    def enough(k: int) -> bool:
        # the decoder takes k trials with the class proportions of all
        # rint rounds halves to even, as round() in _fewer_trials does: both must agree on what is possible
        kept = np.rint(np.minimum(k, known) * ones / known)
        return bool((np.minimum(kept, np.minimum(k, known) - kept) >= least).all())

    return [k for k in settings.ks if k < most and enough(k)] + [most]


def fit_of(curve: decoding.NDCCurve, settings: NDCSettings, n_cells: int) -> CurveFit:
    """Return the fit of a curve of a population of ``n_cells``; it is deterministic.

    The smallest p of S shuffles is 1 / (1 + S). With fewer than 19 no p reaches ALPHA (0.05), and whether a curve is at
    chance is decided by the bootstrap instead.
    """
    # on an axis of trials all cells are decoded from each number of them
    load = n_cells / curve.ks if settings.curve_axis == "trials" else None
    return fit_curve(
        curve.ks, curve.scores, settings.metric, influences=curve.influences, intervals=settings.intervals,
        cells_per_trial=load,
        trial_means=curve.trial_means, ceiling=curve.ceiling,
        p_values=curve.p_values() if p_is_resolvable(curve) else None, delta=settings.delta,
        n_bootstrap=settings.n_bootstrap, seed=settings.seed,
    )  # fmt: skip


def p_is_resolvable(curve: decoding.NDCCurve) -> bool:
    """Return whether a curve has so many shuffles that its p can reach ALPHA."""
    return (1 + curve.null_scores.shape[1]) * ALPHA >= 1


def day_trends(fits: Sequence[CurveFit], days: Sequence[float], delta: float) -> list[decoding.DayTrend]:
    """Return the trends of the code and of sensitivity over the days; none if the curves have no k in common."""
    if not fits or not set.intersection(*(set(fit.ks.tolist()) for fit in fits)):
        return []
    # d' is a distance of classes
    quantities = ("common_k", "score") if fits[0].metric in NUMBER_METRICS else ("common_k", "score", "d_prime")
    of_sensitivity = (
        decoding.sensitivity_trend(fits, days, quantity=quantity, delta=delta) for quantity in quantities
    )  # fmt: skip
    of_code = (decoding.code_trend(fits, days, delta=delta, at=at) for at in OF_CODE)
    return [*of_code, *of_sensitivity]


def trend_row(trend: decoding.DayTrend) -> dict[str, Any]:
    """Return the columns of NDCComparison.DayTrend."""
    return {
        "quantity": trend.quantity, "day_slope": number(trend.slope), "day_low": number(trend.low),
        "day_high": number(trend.high), "day_p": number(trend.p), "fixed_low": number(trend.fixed_low),
        "fixed_high": number(trend.fixed_high), "fixed_p": number(trend.fixed_p), "n_days": trend.n_days,
        "n_at_chance": len(trend.at_chance), "trend_k": trend.k, "line_day": number(trend.mean_day),
        "line_value": number(trend.mean_value), "line_half_width": number(trend.half_width),
    }  # fmt: skip


def value_rows(trend: decoding.DayTrend) -> Iterator[dict[str, Any]]:
    """Yield the columns of NDCComparison.DayValue for each day."""
    for value, low, high in zip(trend.values, trend.value_low, trend.value_high, strict=True):
        yield {
            "quantity": trend.quantity, "day_value": number(value), "day_value_low": number(low),
            "day_value_high": number(high),
        }  # fmt: skip


def result_row(curve: decoding.NDCCurve, fit: CurveFit) -> dict[str, Any]:
    """Return the columns of NDCResult for a curve; NaN and infinity become NULL."""
    names = ("asymptote", "k50", "k90", "k95", "k_star_continuous", "k_half")
    estimates = [name + end for name in names for end in ("", "_low", "_high")]
    return {
        "ceiling": curve.ceiling,
        # -1 stands for none in the curve, NULL in the table
        "k_star": fit.k_star if fit.k_star > 0 else None,
        "k_star_censored": fit.k_star_censored or None,
        "p_largest": number(curve.p_values()[-1]),
        # without shuffled labels the verdict is the bootstrap's, which is no p to be adjusted
        "p_curve": number(fit.chance_p) if p_is_resolvable(curve) else number(curve.p_values()[-1]),
        "fit_family": fit.family or None,
        "fit_parameters": {name: number(value) for name, value in fit.parameters.items()} or None,
        "verdict": fit.verdict,
        "c_used": number(curve.c),
        "score_c1": number(curve.score_c1),
        **{name: number(getattr(fit, name)) for name in (*estimates, "k_star_low", "k_star_high")},
    }


def curve_rows(curve: decoding.NDCCurve, fit: CurveFit) -> Iterator[dict[str, Any]]:
    """Yield the columns of NDCResult.Curve for each k, with the arrays of all repeats."""
    p_values = curve.p_values()
    for i, (k, scores, null) in enumerate(zip(curve.ks, curve.scores, curve.null_scores, strict=True)):
        low, high = np.percentile(scores, (2.5, 97.5))
        null_low, null_high = np.percentile(null, (2.5, 97.5)) if len(null) else (np.nan, np.nan)
        yield {
            "k": int(k),
            "score_mean": float(scores.mean()),
            "score_sd": float(scores.std(ddof=1)) if len(scores) > 1 else 0.0,
            "score_low": float(low),
            "score_high": float(high),
            "null_mean": number(null.mean()) if len(null) else None,
            "null_low": number(null_low),
            "null_high": number(null_high),
            "p_value": number(p_values[i]),
            "scores": scores.copy(),
            "null_scores": null.copy(),
            "mean_low": number(fit.mean_low[i]),
            "mean_high": number(fit.mean_high[i]),
            "trial_means": curve.trial_means[i].copy() if len(curve.trial_means) else None,
            "influences": curve.influences[i].copy() if len(curve.influences) else None,
        }


def p_of(row: dict[str, Any]) -> float | None:
    """Return p of a curve, a row of NDCResult: of all k together, or of the largest k before version 14."""
    p: float | None = row["p_largest"] if row["p_curve"] is None else row["p_curve"]
    return p
