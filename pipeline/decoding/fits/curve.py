"""The fit of one curve: asymptote, neurons needed for a share of it, k*, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy

from pipeline.decoding.fits.families import (
    MAX_EXTRAPOLATION,
    MAX_HELD_OUT_ERROR,
    MIN_KS,
    chance_of,
    check_metric,
    draw_intervals,
    estimates,
    family_curve,
    fit,
    significant,
)
from pipeline.decoding.fits.k_star import k_halves, k_reaching, k_stars, rising
from pipeline.decoding.fits.together import benjamini_hochberg
from pipeline.decoding.fits.uncertainty import RULES, mean_score, score_draws, score_interval, score_variance
from pipeline.errors import ArgumentError
from pipeline.settings.curves import INTERVALS

#: The verdicts on a curve, and what each means.
VERDICTS = {
    "too few k": "fewer than four values of k were measured",
    "at chance": "no score is above that of shuffled labels, or above chance if there are none",
    "decreasing": "the score of the largest k is clearly below that of a smaller k",
    "saturated": "95 % of the way from chance to the asymptote is reached within the measured k",
    "not saturated": "95 % of that way lies beyond the largest k, or the last doubling of k clearly helps",
    "uncertain": "the data cannot distinguish saturated from not saturated",
}


@dataclass(frozen=True, eq=False)
class CurveFit:
    """Fit of a neuron-dropping curve, with 95 % intervals.

    Every quantity ``x`` has ``x_low`` and ``x_high``, percentiles 2.5 and 97.5 over the draws; they are NaN without a
    fit, or with nothing to draw from. A number of neurons of the fit is ``inf`` if it is more than ten times
    the largest measured k. It is never below the smallest measured k; at that value it means "that many or fewer".

    Attributes
    ----------
    metric : str
    chance : float
    ks : (K,) int64
        Subset sizes with a finite score.
    mean, mean_low, mean_high : (K,) float64
        Mean score over the subsets. With ``influences`` the interval is that of the expected score, without drawing.
    variance : (K,) float64
        Of the mean.
    family : str
        Key of `FAMILIES`, or "" without a fit.
    parameters : dict of str to float
        Parameters of that family, as `family_curve` takes them.
    held_out : dict of str to float
        For each family, the root of the weighted mean square error at held-out ks, in units of the score.
    asymptote : float
        Fitted score of infinitely many neurons.
    k50, k90, k95 : float
        Number of neurons at which the fit is 50, 90, 95 % of the way from chance to its asymptote.
    k_star : int
        Smallest measured k within ``delta`` of the ceiling, -1 if none is.
    k_star_censored : {"", "left", "right"}
        "left": k* is the smallest measured k, so the true k* is that many or fewer. "right": no measured k is within
        ``delta`` of the ceiling.
    k_star_continuous : float
        k* between the ks: where the isotonic mean, interpolated in log2 k, is within ``delta`` of the ceiling. Below
        the smallest k it is extended with d'^2 in proportion to k. NaN at chance, inf if the ceiling is not reached.
    k_half : float
        Number of cells with half of the d'^2 at the largest k, interpolated likewise. Unlike ``k50`` it needs no fit
        and no asymptote.
    gain : float
        Increase of the measured score over the last doubling of k.
    verdict : str
        Key of `VERDICTS`.
    chance_p : float
        p of the hypothesis that no score is above chance, over all k together (Simes' test).
    draws : (K, B) float64
        Draws of the mean scores; those with a NaN are not used for intervals.
    k_star_draws : (B,) float64
        k* in each draw, inf if no k is within ``delta`` of the ceiling.
    """

    metric: str
    chance: float
    ks: np.ndarray
    mean: np.ndarray
    mean_low: np.ndarray
    mean_high: np.ndarray
    k_star: int
    k_star_low: float
    k_star_high: float
    k_star_censored: str
    gain: float
    gain_low: float
    gain_high: float
    chance_p: float
    k_star_continuous: float = np.nan
    k_star_continuous_low: float = np.nan
    k_star_continuous_high: float = np.nan
    k_half: float = np.nan
    k_half_low: float = np.nan
    k_half_high: float = np.nan
    verdict: str = "too few k"
    family: str = ""
    parameters: dict[str, float] = field(default_factory=dict)
    held_out: dict[str, float] = field(default_factory=dict)
    asymptote: float = np.nan
    asymptote_low: float = np.nan
    asymptote_high: float = np.nan
    k50: float = np.nan
    k50_low: float = np.nan
    k50_high: float = np.nan
    k90: float = np.nan
    k90_low: float = np.nan
    k90_high: float = np.nan
    k95: float = np.nan
    k95_low: float = np.nan
    k95_high: float = np.nan
    variance: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    draws: np.ndarray = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    k_star_draws: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)

    def predict(self, k: Any) -> np.ndarray:
        """Return the fitted score of `k` neurons, float64 of its shape; NaN without a fit."""
        if not self.family:
            return np.full(np.shape(k), np.nan)
        return family_curve(self.family, self.parameters, k, metric=self.metric)

    def line(self, *, n: int = 100, beyond: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
        """Return k and fitted score, (n,) float64 each, up to `beyond` times the largest k; empty without a fit."""
        if not self.family:
            return np.empty(0), np.empty(0)
        k = np.geomspace(self.ks[0], self.ks[-1] * beyond, n)
        return k, self.predict(k)

    def k_text(self, name: str) -> str:
        """Return ``"k = 41 (95 % interval 35 to 60)"`` of k50, k90, k95 or k_star."""
        value, low, high = (float(getattr(self, name + end)) for end in ("", "_low", "_high"))
        where = f"k = {_number(value)}" if np.isfinite(value) else f"no k up to {MAX_EXTRAPOLATION * self.ks[-1]:.0f}"
        if value <= self.ks[0]:
            where = f"k = {_number(value)} or fewer"
        if np.isnan(low):
            return where
        interval = f"{_number(low)} to {_number(high)}" if np.isfinite(low) else "all beyond"
        return f"{where} (95 % interval {interval})"

    def explain(self) -> str:
        """Return the verdict in a sentence."""
        return f"{self.verdict}: {_REASONS[self.verdict](self)}"


def _number(k: float) -> str:
    """Return a number of neurons as text."""
    return f"{k:.0f}" if np.isfinite(k) else "beyond"


def _saturation_text(fit: CurveFit) -> str:
    """Return the reason for "saturated", "not saturated" or "uncertain"."""
    gain = f"the last doubling of k adds {fit.gain:.3f}"
    gain += "" if np.isnan(fit.gain_low) else f" ({fit.gain_low:.3f} to {fit.gain_high:.3f})"
    if fit.held_out[fit.family] > MAX_HELD_OUT_ERROR:
        return f"no family describes the curve (error {fit.held_out[fit.family]:.2f} at held-out k); {gain}"
    but = "but " if fit.k95 <= fit.ks[-1] else ""
    gain = f"; {but}{gain}" if fit.verdict == "not saturated" and fit.gain_low > 0 else ""
    return (
        f"the fit reaches 95 % of the way from chance to its asymptote {fit.asymptote:.2f} at {fit.k_text('k95')}, "
        f"the largest k is {fit.ks[-1]}{gain}"
    )


def _decreasing_text(fit: CurveFit) -> str:
    """Return the reason for "decreasing"."""
    best = int(np.nanargmax(fit.mean))
    return (
        f"the score is {fit.mean[best]:.3f} at k = {fit.ks[best]} and {fit.mean[-1]:.3f} at the largest k = "
        f"{fit.ks[-1]}; a stronger penalty for large k may help"
    )


_REASONS: dict[str, Any] = {
    "too few k": lambda fit: f"{len(fit.ks)} values of k were measured, a fit needs {MIN_KS} or more",
    "at chance": lambda fit: (
        f"no score is above chance (p = {fit.chance_p:.2g} over all {len(fit.ks)} k together); "
        "k* and the fit have no meaning here"
    ),
    "decreasing": _decreasing_text,
    "not saturated": _saturation_text,
    "saturated": _saturation_text,
    "uncertain": _saturation_text,
}


def fit_curve(
    ks: Any,
    scores: np.ndarray,
    metric: str = "auc",
    *,
    influences: np.ndarray | None = None,
    cells_per_trial: np.ndarray | None = None,
    intervals: str = "calibrated",
    trial_means: np.ndarray | None = None,
    p_values: np.ndarray | None = None,
    ceiling: float | None = None,
    delta: float = 0.02,
    chance: float | None = None,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> CurveFit:
    """Fit a neuron-dropping curve, with intervals and a verdict.

    Each family is fitted to the mean scores by least squares, weighted by their inverse variance, with
    asymptote <= 1 and no decrease with k. The family with the smallest error at held-out ks is used, where each k but
    the smallest is held out in turn; on a tie, the simplest.

    With `influences` the intervals hold for new trials, in training and test, and for new subsets of these cells: see
    `pipeline.decoding.fits.uncertainty`. Without them a bootstrap resamples subsets (columns of `scores`), and adds the
    effect of resampling the test trials (`trial_means`); the decoders stay as they are, which makes the intervals too
    narrow. Every draw picks its own family, so that the intervals include the uncertainty of that choice. Draw b has a
    seed of its own and does not depend on the number of draws.

    Parameters
    ----------
    ks : (K,) array or sequence of int
        Numbers of neurons, increasing, from 1.
    scores : (K, R) float
        Score of each subset; NaN are ignored.
    metric : {'auc', 'accuracy', 'balanced_accuracy', 'r2', 'spearman'}
    influences : (K, n) float, optional
        Influence of each labelled trial on the mean score: ``NDCCurve.influences``. n = 0 is as None.
    cells_per_trial : (K,) float, optional
        Of numbers, with `influences`: cells over labelled trials of each k; by default k over all of these trials.
    intervals : {'calibrated', 'new_trials', 'retrained'}
        With `influences`: which of ``pipeline.decoding.fits.uncertainty.RULES`` gives the variance.
    trial_means : (K, B) float, optional
        Mean over the subsets in each bootstrap sample of the test trials, if there are no `influences`. Without both
        (or with B = 0) the intervals hold for these trials only. B replaces `n_bootstrap`.
    p_values : (K,) float, optional
        p of the mean scores against shuffled labels. Without them the bootstrap decides what is above chance.
    ceiling : float, optional
        Score that `delta` is measured from; by default the mean at the largest k. In the bootstrap it shifts with
        that mean.
    delta : float
        k* is the smallest k within this of the ceiling.
    chance : float, optional
        Score of a decoder without information; by default one half, or 0 of numbers.
    n_bootstrap : int
        Draws of the curve, 0 for no intervals.
    seed : int

    Returns
    -------
    CurveFit

    Raises
    ------
    ArgumentError
        Shapes disagree, ks do not increase from 1 or more, the metric is unknown, or no score is finite.

    Examples
    --------
    >>> ks = np.array([2, 4, 8, 16, 32, 64])
    >>> noise = 0.01 * np.random.default_rng(0).normal(size=(6, 50))
    >>> fit = fit_curve(ks, 0.9 - 0.4 * np.exp(-ks / 10)[:, None] + noise)
    >>> fit.family, fit.verdict, round(fit.asymptote, 2), round(fit.k95)
    ('exponential', 'saturated', 0.9, 30)
    """
    if intervals not in INTERVALS:
        raise ArgumentError(f"intervals must be one of {INTERVALS}, not {intervals!r}")
    ks, scores, trials, by_trial = _checked(ks, scores, metric, trial_means, influences)
    chance = chance_of(metric) if chance is None else chance
    measured = np.isfinite(mean_score(scores))
    ks, scores, trials, by_trial = (part[measured] for part in (ks, scores, trials, by_trial))
    mean = mean_score(scores)
    rule = RULES.get(intervals) if by_trial.shape[1] else None
    load = ks / max(by_trial.shape[1], 1) if cells_per_trial is None else np.asarray(cells_per_trial)[measured]
    if rule:
        draws = score_draws(scores, by_trial, n_bootstrap, seed, rule, metric, load)
        variance = score_variance(scores, by_trial, rule, metric, load)
    else:
        draws, variance = _draws(scores, trials, n_bootstrap, seed), _variance(scores, trials)
    p_values = None if p_values is None else np.asarray(p_values, dtype=np.float64)[measured]
    # first column: the data; the others: bootstrap draws
    complete = np.isfinite(draws).all(axis=0)
    columns = np.column_stack([mean, draws[:, complete]])
    low, high = (
        score_interval(scores, by_trial, rule, metric, load)
        if rule and n_bootstrap
        else draw_intervals(columns[:, 1:])
    )  # fmt: skip
    top = float(mean[-1]) if ceiling is None else ceiling
    # where the ceiling is that of all neurons, it is not resampled itself: it moves with the mean at the largest k
    stars = k_stars(ks, columns, np.r_[top, top - mean[-1] + columns[-1, 1:]] - delta)
    star_draws = np.full(len(complete), np.nan)
    star_draws[complete] = stars[1:]
    gains = columns[-1] - _at_half(ks, columns)
    smooth = rising(columns, 1 / variance)
    known: dict[str, Any] = {
        "metric": metric, "chance": chance, "ks": ks, "mean": mean, "mean_low": low, "mean_high": high,
        "variance": variance, "draws": draws, "k_star_draws": star_draws,
        "chance_p": _chance_p(columns, p_values, chance),
        **estimates("k_star", stars), **estimates("gain", gains), **estimates("k_half", k_halves(ks, smooth, metric)),
        # a ceiling of all neurons keeps its distance from the mean at the largest k
        **estimates("k_star_continuous", k_reaching(ks, smooth, smooth[-1] + top - mean[-1] - delta, chance, metric)),
        "k_star": int(stars[0]) if np.isfinite(stars[0]) else -1,
        "k_star_censored": "right" if np.isinf(stars[0]) else "left" if stars[0] == ks[0] else "",
    }  # fmt: skip
    # NaN: nothing says that the curve is at chance
    at_chance = np.isfinite(known["chance_p"]) and not significant(known["chance_p"])
    if at_chance or np.max(mean) <= chance:  # no asymptote above chance
        return CurveFit(**known, verdict="at chance")
    if len(ks) < MIN_KS:
        return CurveFit(**known)
    known |= fit(ks, columns, variance, metric, chance)
    return CurveFit(**known, verdict=_verdict(known, columns, delta))


def _checked(ks: Any, scores: Any, metric: str, trial_means: Any, influences: Any) -> tuple[np.ndarray, ...]:
    """Return ks (K,), scores (K, R), trial means (K, B) and influences (K, n); raise ArgumentError if they disagree."""
    check_metric(metric)
    ks, scores = np.asarray(ks), np.asarray(scores, dtype=np.float64)
    if ks.ndim != 1 or scores.ndim != 2 or len(scores) != len(ks) or 0 in scores.shape:
        raise ArgumentError(f"ks must be (K,) and scores (K, subsets), not {ks.shape} and {scores.shape}")
    if ks[0] < 1 or np.any(np.diff(ks) <= 0):
        raise ArgumentError(f"ks must increase from 1 or more, not {ks.tolist()}")
    if not np.isfinite(scores).any():
        raise ArgumentError("no score is finite, there is nothing to fit")
    of_trials = []
    for name, columns, values in (("trial_means", "draws", trial_means), ("influences", "trials", influences)):
        # an empty array, of whatever shape, is none
        given = np.empty((len(ks), 0)) if values is None or np.size(values) == 0 else np.asarray(values, np.float64)
        if given.ndim != 2 or len(given) != len(ks):
            raise ArgumentError(f"{name} must be (K, {columns}) with K = {len(ks)}, not {given.shape}")
        of_trials.append(given)
    return ks.astype(np.int64), np.where(np.isfinite(scores), scores, np.nan), *of_trials


def _draws(scores: np.ndarray, trials: np.ndarray, n_bootstrap: int, seed: int) -> np.ndarray:
    """Return bootstrap draws of the mean scores, (K, B)."""
    n_subsets = scores.shape[1]
    n_draws = trials.shape[1] or (n_bootstrap if n_subsets > 1 else 0)
    picked = np.empty((n_subsets, n_draws))
    for b in range(n_draws):
        rng = np.random.default_rng(np.random.SeedSequence([seed, b]))
        picked[:, b] = np.bincount(rng.integers(n_subsets, size=n_subsets), minlength=n_subsets)
    finite = np.isfinite(scores)
    numbers = finite.astype(np.float64) @ picked
    means = np.where(numbers > 0, np.where(finite, scores, 0) @ picked / np.maximum(numbers, 1), np.nan)
    return means + (trials - mean_score(scores)[:, None] if trials.shape[1] else 0)


def _variance(scores: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Return the variance of the mean score of each k, (K,), at least a tenth of the median.

    Without that bound a k near the number of all cells would dominate the fit: its subsets are nearly the same, so
    their variance vanishes.
    """
    n = np.isfinite(scores).sum(axis=1)
    squares = np.nansum((scores - mean_score(scores)[:, None]) ** 2, axis=1)
    variance = squares / np.maximum(n - 1, 1) / np.maximum(n, 1)
    variance[n < 2] = np.median(variance)
    if trials.shape[1] > 1:
        variance = variance + np.nan_to_num(np.nanvar(trials, axis=1))
    median = np.median(variance)
    # scores without any spread (one subset): equal weights
    return np.maximum(variance, median / 10) if median > 1e-12 else np.full(len(variance), max(median, 1e-8))


def _at_half(ks: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the score at half the largest k, (1 + B,), interpolated in log k; NaN if no measured k is that small."""
    half = ks[-1] / 2
    if ks[0] > half:
        return np.full(columns.shape[1], np.nan)
    right = max(int(np.searchsorted(ks, half)), 1)
    share = np.log(half / ks[right - 1]) / np.log(ks[right] / ks[right - 1])
    score: np.ndarray = (1 - share) * columns[right - 1] + share * columns[right]
    return score


def _chance_p(columns: np.ndarray, p_values: np.ndarray | None, chance: float) -> float:
    """Return Simes' p of the hypothesis that no score is above chance.

    It is valid for positively dependent scores, as those of a curve are. It is the smallest Benjamini-Hochberg
    adjusted p.
    """
    if p_values is None or not np.isfinite(p_values).any():
        if columns.shape[1] < 3:
            return float("nan")
        # no null: a one-sided normal test with the error from the bootstrap
        error = np.maximum(columns[:, 1:].std(axis=1, ddof=1), 1e-12)
        p_values = scipy.special.ndtr((chance - columns[:, 0]) / error)
    return float(np.nanmin(benjamini_hochberg(p_values)))


def _verdict(known: Mapping[str, Any], columns: np.ndarray, delta: float) -> str:
    """Return the key of `VERDICTS` for a curve above chance."""
    mean, largest = columns[:, 0], known["ks"][-1]
    best = int(np.argmax(mean))
    _, (highest,) = draw_intervals((columns[-1:] - columns[best])[:, 1:])
    # both: the drop matters (delta), and it is not chance (the whole interval is below 0)
    if mean[-1] < mean[best] - delta and highest < 0:
        return "decreasing"
    describes = known["held_out"][known["family"]] <= MAX_HELD_OUT_ERROR
    if (known["gain_low"] > 0 and known["gain"] > delta) or (describes and known["k95_low"] > largest):
        return "not saturated"
    # comparisons with NaN (no intervals) are False, and lead to "uncertain"
    flat = known["k95"] <= largest and known["gain_high"] <= delta
    return "saturated" if describes and (flat or known["k95_high"] <= largest) else "uncertain"
