"""What a neuron-dropping curve says: fitted curves, intervals, verdicts, and k* over days.

Three families are fitted to the mean score of k neurons:

=============  =====================================  ==========================================
name           score                                  says
=============  =====================================  ==========================================
inverse_sqrt   a - b / sqrt(k)                        a long tail (Stringer et al. 2021)
information    d'^2 = s k / (1 + epsilon k)           noise shared by the neurons limits what
                                                      they can tell (Rumyantsev et al. 2020)
exponential    a - b exp(-k / tau)                    full after a few tau
=============  =====================================  ==========================================

d' = sqrt(2) Phi^-1(AUC), or 2 Phi^-1(accuracy), Phi being the normal distribution function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri, stdtr, stdtrit

FAMILIES = {  # in the order in which a tie is decided: simplest first
    "inverse_sqrt": ("a", "b"),
    "information": ("s", "epsilon"),
    "exponential": ("a", "b", "tau"),
}
D_PRIME = {"auc": np.sqrt(2), "accuracy": 2.0, "balanced_accuracy": 2.0}  # d' of Phi^-1(score) = 1
VERDICTS = {
    "too few k": "fewer than four numbers of neurons were measured",
    "at chance": "no score is above the shuffled labels, or above chance where there are none",
    "decreasing": "the largest k scores clearly less than a smaller one",
    "saturated": "95 % of the way from chance to the asymptote is reached within the measured k",
    "not saturated": "95 % of that way lies beyond the largest k, or the last doubling of k clearly helps",
    "uncertain": "the data do not tell saturated from not saturated",
}
KS_MIN = 4  # ks that a fit needs: one more than the parameters of the largest family
MISFIT = 0.03  # units of the score: a family that misses ks left out by more does not describe the curve
REACH = 10.0  # a fit is believed up to this many times the largest k: what lies farther is "beyond"
SCORE_MAX = 0.999  # scores are cut here (and at 0.001) before d' is computed, which is infinite at 1
ALPHA = 0.05
GRID = 48  # values of tau and of epsilon that are tried
ZOOM, ROUNDS = 9, 4  # then so many between the neighbours of the best one, so often
TIE = 1e-6  # held-out errors (in units of the score) that differ by less are equal


@dataclass(frozen=True, eq=False)
class CurveFit:
    """Fit of a neuron-dropping curve, with 95 % intervals.

    Every quantity ``x`` has ``x_low`` and ``x_high``, percentiles 2.5 and 97.5 over the bootstrap; NaN
    where there is no fit or nothing to resample. A number of neurons is ``inf`` where it lies beyond ten times
    the largest measured k, and is never smaller than the smallest measured k, where it means "that many
    or fewer".

    Attributes
    ----------
    metric : str
    chance : float
    ks : (K,) int64
        Those with a finite score.
    mean, mean_low, mean_high : (K,) float64
        Mean score over the subsets.
    family : str
        Key of `FAMILIES`, or "" where there is no fit.
    parameters : dict of str to float
        Of that family; give them to `family_curve`.
    held_out : dict of str to float
        Root of the weighted mean square error of each family at ks left out of the fit, in units of the score.
    asymptote : float
        Score of infinitely many neurons.
    k50, k90, k95 : float
        Neurons with which the fit is 50, 90, 95 % of the way from chance to its asymptote.
    k_star : int
        Smallest measured k within ``delta`` of the ceiling, -1 if none is.
    k_star_censored : {"", "left", "right"}
        "left": k* is the smallest measured k, so that many or fewer. "right": no k is near the ceiling.
    gain : float
        What the last doubling of k adds to the score, by the measured scores.
    verdict : str
        Key of `VERDICTS`.
    chance_p : float
        Evidence against chance, all k together (Simes).
    draws : (K, B) float64
        Mean score in each bootstrap sample; samples with NaN are in no interval.
    k_star_draws : (B,) float64
        k* in each bootstrap sample, inf where none is near the ceiling.
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
    draws: np.ndarray = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    k_star_draws: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)

    def predict(self, k: Any) -> np.ndarray:
        """Return the fitted score of `k` neurons, float64 of its shape; NaN without a fit."""
        if not self.family:
            return np.full(np.shape(k), np.nan)
        return family_curve(self.family, self.parameters, k, metric=self.metric)

    def line(self, *, n: int = 100, beyond: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
        """Return k and fitted score to draw, (n,) float64, up to `beyond` times the largest k; empty without a fit."""
        if not self.family:
            return np.empty(0), np.empty(0)
        k = np.geomspace(self.ks[0], self.ks[-1] * beyond, n)
        return k, self.predict(k)

    def k_text(self, name: str) -> str:
        """Return ``"k = 41 (95 % interval 35 to 60)"`` of k50, k90, k95 or k_star."""
        value, low, high = (float(getattr(self, name + end)) for end in ("", "_low", "_high"))
        where = f"k = {_number(value)}" if np.isfinite(value) else f"no k up to {REACH * self.ks[-1]:.0f}"
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
    return f"{k:.0f}" if np.isfinite(k) else "beyond"


def _saturation_text(fit: CurveFit) -> str:
    gain = f"the last doubling of k adds {fit.gain:.3f}"
    gain += "" if np.isnan(fit.gain_low) else f" ({fit.gain_low:.3f} to {fit.gain_high:.3f})"
    if fit.held_out[fit.family] > MISFIT:
        return f"no family describes the curve (error {fit.held_out[fit.family]:.2f} at k left out of the fit); {gain}"
    but = "but " if fit.k95 <= fit.ks[-1] else ""
    gain = f"; {but}{gain}" if fit.verdict == "not saturated" and fit.gain_low > 0 else ""
    return (
        f"the fit reaches 95 % of the way from chance to its asymptote {fit.asymptote:.2f} at {fit.k_text('k95')}, "
        f"the largest k is {fit.ks[-1]}{gain}"
    )


def _decreasing_text(fit: CurveFit) -> str:
    best = int(np.nanargmax(fit.mean))
    return (
        f"the score is {fit.mean[best]:.3f} at k = {fit.ks[best]} and {fit.mean[-1]:.3f} at the largest k = "
        f"{fit.ks[-1]}; a stronger penalty for large k may help"
    )


_REASONS: dict[str, Any] = {
    "too few k": lambda fit: f"{len(fit.ks)} numbers of neurons were measured, a fit needs {KS_MIN} or more",
    "at chance": lambda fit: (
        f"no score is above what chance gives (p = {fit.chance_p:.2g} over all {len(fit.ks)} k together); "
        "k* and the fit mean nothing here"
    ),
    "decreasing": _decreasing_text,
    "not saturated": _saturation_text,
    "saturated": _saturation_text,
    "uncertain": _saturation_text,
}


def family_curve(family: str, parameters: Mapping[str, float], k: Any, *, metric: str = "auc") -> np.ndarray:
    """Return the score of a family at `k` neurons.

    Parameters
    ----------
    family : str
        Key of `FAMILIES`.
    parameters : mapping
        Its parameters by name.
    k : array of float
    metric : str
        Key of `D_PRIME`; only ``information`` depends on it.

    Returns
    -------
    float64 of the shape of `k`

    Raises
    ------
    ValueError
        Unknown family or metric, or other parameters than those of the family.

    Examples
    --------
    >>> family_curve("exponential", {"a": 0.9, "b": 0.4, "tau": 10}, [0, 10]).round(3).tolist()
    [0.5, 0.753]
    """
    _check_metric(metric)
    if family not in FAMILIES or set(parameters) != set(FAMILIES[family]):
        raise ValueError(f"families and their parameters are {FAMILIES}, not {family!r} with {sorted(parameters)}")
    k = np.asarray(k, dtype=np.float64)
    first, second, *rest = (np.float64(parameters[name]) for name in FAMILIES[family])
    if family == "information":
        return _score(first * k / (1 + second * k), metric)
    x = _basis(family, k, rest[0] if rest else 1.0)
    return first - second * x


def fit_curve(
    ks: Any,
    scores: np.ndarray,
    metric: str = "auc",
    *,
    trial_means: np.ndarray | None = None,
    p_values: np.ndarray | None = None,
    ceiling: float | None = None,
    delta: float = 0.02,
    chance: float = 0.5,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> CurveFit:
    """Fit a neuron-dropping curve, with intervals and a verdict.

    Each family is fitted to the mean scores by least squares, weighted by their variance, under
    asymptote <= 1 and no decrease with k. The family is picked that predicts best the k left out of
    the fit: each k in turn, the largest too; only the smallest is always in. Simplest first on a tie.

    The bootstrap draws subsets (columns of `scores`) with replacement and adds the change that drawing
    the test trials makes (`trial_means`); every draw picks its own family, so that the
    intervals include that choice. Draw b has a seed of its own and does not depend on how many there are.

    Parameters
    ----------
    ks : (K,) array or sequence of int
        Numbers of neurons, increasing, from 1.
    scores : (K, R) float
        Score of each subset; NaN are left out.
    metric : {'auc', 'accuracy', 'balanced_accuracy'}
    trial_means : (K, B) float, optional
        Mean over the subsets when test trials are drawn with replacement. Without it (or with B = 0)
        the intervals speak of these trials only, and are too narrow for others. B replaces `n_bootstrap`.
    p_values : (K,) float, optional
        Of the mean scores against shuffled labels. Without them chance is judged by the bootstrap.
    ceiling : float, optional
        Score that k* is measured from; the mean at the largest k by default. It moves with that
        mean in the bootstrap.
    delta : float
        Distance from the ceiling that defines k*.
    chance : float
    n_bootstrap : int
        0 for no intervals.
    seed : int

    Returns
    -------
    CurveFit

    Raises
    ------
    ValueError
        Shapes that disagree, ks that do not increase from 1, an unknown metric, no finite score.

    Examples
    --------
    >>> ks = np.array([2, 4, 8, 16, 32, 64])
    >>> noise = 0.01 * np.random.default_rng(0).normal(size=(6, 50))
    >>> fit = fit_curve(ks, 0.9 - 0.4 * np.exp(-ks / 10)[:, None] + noise)
    >>> fit.family, fit.verdict, round(fit.asymptote, 2), round(fit.k95)
    ('exponential', 'saturated', 0.9, 30)
    """
    ks, scores, trials = _checked(ks, scores, metric, trial_means)
    mean, draws = _mean(scores), _draws(scores, trials, n_bootstrap, seed)
    measured = np.isfinite(mean)
    ks, scores, mean, draws, trials = (part[measured] for part in (ks, scores, mean, draws, trials))
    p_values = None if p_values is None else np.asarray(p_values, dtype=np.float64)[measured]
    complete = np.isfinite(draws).all(axis=0)
    columns = np.column_stack([mean, draws[:, complete]])
    low, high = _intervals(columns[:, 1:])
    top = float(mean[-1]) if ceiling is None else ceiling
    stars = _k_stars(ks, columns, np.r_[top, top - mean[-1] + columns[-1, 1:]] - delta)
    star_draws = np.full(len(complete), np.nan)
    star_draws[complete] = stars[1:]
    gains = columns[-1] - _at_half(ks, columns)
    known: dict[str, Any] = {
        "metric": metric, "chance": chance, "ks": ks, "mean": mean, "mean_low": low, "mean_high": high,
        "draws": draws, "k_star_draws": star_draws, "chance_p": _chance_p(columns, p_values, chance),
        **_estimates("k_star", stars), **_estimates("gain", gains),
        "k_star": int(stars[0]) if np.isfinite(stars[0]) else -1,
        "k_star_censored": "right" if np.isinf(stars[0]) else "left" if stars[0] == ks[0] else "",
    }  # fmt: skip
    if known["chance_p"] > ALPHA or np.max(mean) <= chance:  # a share of the way from chance to chance means nothing
        return CurveFit(**known, verdict="at chance")
    if len(ks) < KS_MIN:
        return CurveFit(**known)
    known |= _fit(ks, columns, _variance(scores, trials), metric, chance)
    return CurveFit(**known, verdict=_verdict(known, columns, delta))


def _check_metric(metric: str) -> None:
    if metric not in D_PRIME:
        raise ValueError(f"metric is one of {sorted(D_PRIME)}, not {metric!r}")


def _checked(ks, scores, metric, trial_means) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _check_metric(metric)
    ks, scores = np.asarray(ks), np.asarray(scores, dtype=np.float64)
    if ks.ndim != 1 or scores.ndim != 2 or len(scores) != len(ks) or 0 in scores.shape:
        raise ValueError(f"ks is (K,) and scores (K, subsets), not {ks.shape} and {scores.shape}")
    if ks[0] < 1 or np.any(np.diff(ks) <= 0):
        raise ValueError(f"ks increases from 1 or more, not {ks.tolist()}")
    if not np.isfinite(scores).any():
        raise ValueError("no score is finite, there is nothing to fit")
    trials = np.empty((len(ks), 0)) if trial_means is None else np.asarray(trial_means, dtype=np.float64)
    if trials.ndim != 2 or len(trials) != len(ks):
        raise ValueError(f"trial_means is (K, draws) with K = {len(ks)}, not {trials.shape}")
    return ks.astype(np.int64), np.where(np.isfinite(scores), scores, np.nan), trials


def _mean(scores: np.ndarray) -> np.ndarray:
    """Mean over the columns that are finite, NaN where none is."""
    n = np.isfinite(scores).sum(axis=1)
    return np.where(n > 0, np.nansum(scores, axis=1) / np.maximum(n, 1), np.nan)


def _draws(scores: np.ndarray, trials: np.ndarray, n_bootstrap: int, seed: int) -> np.ndarray:
    """Bootstrapped mean scores (K, B)."""
    n_subsets = scores.shape[1]
    n_draws = trials.shape[1] or (n_bootstrap if n_subsets > 1 else 0)
    picked = np.empty((n_subsets, n_draws))
    for b in range(n_draws):
        rng = np.random.default_rng(np.random.SeedSequence([seed, b]))
        picked[:, b] = np.bincount(rng.integers(n_subsets, size=n_subsets), minlength=n_subsets)
    finite = np.isfinite(scores)
    numbers = finite.astype(np.float64) @ picked
    means = np.where(numbers > 0, np.where(finite, scores, 0) @ picked / np.maximum(numbers, 1), np.nan)
    return means + (trials - _mean(scores)[:, None] if trials.shape[1] else 0)


def _variance(scores: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Variance of the mean score of each k, (K,); none is below a tenth of the median.

    With nearly all cells the subsets are nearly the same: their variance vanishes, and such a k alone
    would decide the fit.
    """
    n = np.isfinite(scores).sum(axis=1)
    squares = np.nansum((scores - _mean(scores)[:, None]) ** 2, axis=1)
    variance = squares / np.maximum(n - 1, 1) / np.maximum(n, 1)
    variance[n < 2] = np.median(variance)
    if trials.shape[1] > 1:
        variance = variance + np.nan_to_num(np.nanvar(trials, axis=1))
    median = np.median(variance)
    return np.maximum(variance, median / 10) if median > 1e-12 else np.full(len(variance), max(median, 1e-8))


def _intervals(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles 2.5 and 97.5 of each row; NaN where fewer than two or not even half are numbers.

    They are draws, not numbers between two draws: infinity stays infinity.
    """
    low, high = np.full(len(draws), np.nan), np.full(len(draws), np.nan)
    for i, row in enumerate(draws):
        known = np.sort(row[~np.isnan(row)])
        if len(known) > 1 and len(known) >= len(row) / 2:
            cut = int(np.floor(ALPHA / 2 * (len(known) - 1)))
            low[i], high[i] = known[cut], known[-1 - cut]
    return low, high


def _estimates(name: str, values: np.ndarray) -> dict[str, float]:
    """Estimate (first value) and interval (over the others) as fields of `CurveFit`."""
    (low,), (high,) = _intervals(values[None, 1:])
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def _k_stars(ks: np.ndarray, means: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Smallest k (first axis of `means`) that reaches the threshold, float64; inf if none does."""
    reached = means >= thresholds
    return np.where(reached.any(axis=0), ks[reached.argmax(axis=0)], np.inf)


def _at_half(ks: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Score of half the largest k, between the two ks around it by their logarithm; NaN if none is so small."""
    half = ks[-1] / 2
    if ks[0] > half:
        return np.full(columns.shape[1], np.nan)
    right = max(int(np.searchsorted(ks, half)), 1)
    share = np.log(half / ks[right - 1]) / np.log(ks[right] / ks[right - 1])
    return (1 - share) * columns[right - 1] + share * columns[right]


def _chance_p(columns: np.ndarray, p_values: np.ndarray | None, chance: float) -> float:
    """Simes' p that no score is above chance: valid for the positively related scores of a curve."""
    if p_values is None or not np.isfinite(p_values).any():
        if columns.shape[1] < 3:
            return float("nan")
        error = np.maximum(columns[:, 1:].std(axis=1, ddof=1), 1e-12)
        p_values = ndtr((chance - columns[:, 0]) / error)
    return float(np.nanmin(benjamini_hochberg(p_values)))


def _verdict(known: Mapping[str, Any], columns: np.ndarray, delta: float) -> str:
    """Key of `VERDICTS` of a curve above chance."""
    mean, largest = columns[:, 0], known["ks"][-1]
    best = int(np.argmax(mean))
    _, (highest,) = _intervals((columns[-1:] - columns[best])[:, 1:])
    if mean[-1] < mean[best] - delta and highest < 0:
        return "decreasing"
    describes = known["held_out"][known["family"]] <= MISFIT
    if (known["gain_low"] > 0 and known["gain"] > delta) or (describes and known["k95_low"] > largest):
        return "not saturated"
    flat = known["k95"] <= largest and known["gain_high"] <= delta
    return "saturated" if describes and (flat or known["k95_high"] <= largest) else "uncertain"


# --- families ---------------------------------------------------------------------------------------


def _basis(family: str, k: np.ndarray, theta: Any) -> np.ndarray:
    """What is linear in the score: 1/sqrt(k), exp(-k/theta); or in d'^2: k / (1 + k/theta)."""
    if family == "inverse_sqrt":
        return 1 / np.sqrt(k) + 0 * theta
    return np.exp(-k / theta) if family == "exponential" else k / (1 + k / theta)


def _d_squared(score: np.ndarray, metric: str) -> np.ndarray:
    """d'^2, negative below a score of one half."""
    d = D_PRIME[metric] * ndtri(np.clip(score, 1 - SCORE_MAX, SCORE_MAX))
    return d * np.abs(d)


def _score(d_squared: np.ndarray, metric: str) -> np.ndarray:
    return ndtr(np.sign(d_squared) * np.sqrt(np.abs(d_squared)) / D_PRIME[metric])


def _weights(family: str, mean: np.ndarray, variance: np.ndarray, metric: str) -> np.ndarray:
    """Inverse variance of the mean score, or of d'^2, with sum 1."""
    if family == "information":
        z = ndtri(np.clip(mean, 1 - SCORE_MAX, SCORE_MAX))
        slope = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / D_PRIME[metric]  # d score / d d'
        variance_d = variance / slope**2
        # of the square of a normal variable: d'^2 near zero is not infinitely well known
        variance = 4 * (D_PRIME[metric] * z) ** 2 * variance_d + 2 * variance_d**2
    return 1 / variance / np.sum(1 / variance)


def _thetas(family: str, ks: np.ndarray) -> np.ndarray:
    """Values of the one nonlinear parameter (in neurons) that are tried first."""
    if family == "inverse_sqrt":
        return np.ones(1)
    # a slower exponential is a straight line, and where that ends no data say; shared noise may be unseen
    last = 2 if family == "exponential" else 1000
    return np.geomspace(ks[0] / 8, ks[-1] * last, GRID)


def _solve(family: str, x: np.ndarray, weights: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear parameters and weighted square error for every theta and column.

    Parameters
    ----------
    x : (T, K) or (T, K, C) float64
        Basis, for all columns or for each.
    weights, y : (K, C) float64

    Returns
    -------
    first, second, error : (T, C) float64
        a, b, error; or s, 0, error.
    """

    def summed(values: np.ndarray, by: np.ndarray) -> np.ndarray:
        return values @ by if values.ndim == 2 else np.einsum("tkc,kc->tc", values, by)

    wy = weights * y
    syy = (wy * y).sum(axis=0)
    sxy, sxx = summed(x, wy), summed(x * x, weights)
    if family == "information":
        s = np.maximum(sxy / sxx, 0)
        return s, np.zeros_like(s), syy - 2 * s * sxy + s * s * sxx
    n, sy, sx = weights.sum(axis=0), wy.sum(axis=0), summed(x, weights)

    def error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return syy + a * a * n + b * b * sxx - 2 * a * sy + 2 * b * sxy - 2 * a * b * sx

    spread = n * sxx - sx * sx
    b = np.where(spread > 1e-12 * n * sxx, (sx * sy - n * sxy) / np.where(spread > 0, spread, 1), 0)
    a = (sy + b * sx) / n
    inside = (b >= 0) & (a <= 1)
    # the least error under a <= 1 and b >= 0 is the free one, or lies on one of the two borders
    b_top = np.maximum((sx - sxy) / np.maximum(sxx, 1e-300), 0)
    a_flat = np.broadcast_to(np.minimum(sy / n, 1), b.shape)
    top = error(np.ones_like(b), b_top) < error(a_flat, np.zeros_like(b))
    a = np.where(inside, a, np.where(top, 1.0, a_flat))
    b = np.where(inside, b, np.where(top, b_top, 0.0))
    return a, b, error(a, b)


def _best(theta: np.ndarray, solved: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Theta and linear parameters (C,) of the least error."""
    row = solved[2].argmin(axis=0)[None]
    theta = np.broadcast_to(theta if theta.ndim == 2 else theta[:, None], solved[2].shape)
    return tuple(np.take_along_axis(values, row, axis=0)[0] for values in (theta, *solved[:2]))


def _fit_family(
    family: str, ks: np.ndarray, columns: np.ndarray, variance: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (3, C) of each column, and error (C,) at the ks left out."""
    n_ks, n_columns = columns.shape
    known = np.isfinite(columns)
    y = np.where(known, _d_squared(columns, metric) if family == "information" else columns, 0)
    weights = np.where(known, _weights(family, columns[:, 0], variance, metric)[:, None], 0)
    # every column once as it is, and once without each k: (K, 1 + K, C) as (K, columns)
    held = np.broadcast_to(np.column_stack([np.ones(n_ks), 1 - np.eye(n_ks)])[:, :, None], (n_ks, n_ks + 1, n_columns))
    all_weights = (weights[:, None] * held).reshape(n_ks, -1)
    all_y = np.repeat(y[:, None], n_ks + 1, axis=1).reshape(n_ks, -1)
    thetas = _thetas(family, ks)
    k = ks.astype(np.float64)
    solved = _solve(family, _basis(family, k, thetas[:, None]), all_weights, all_y)
    theta, first, second = (part.reshape(n_ks + 1, n_columns) for part in _best(thetas, solved))
    # the smallest k stays in: without it an exponential may go anywhere there, and nobody asks where
    row = np.r_[0, 2 : n_ks + 1]
    held_out = _predict(family, k[:, None], theta[row], first[row], second[row], metric)
    by = np.where(known, 1 / variance[:, None], 0)
    errors = (by * (held_out - np.where(known, columns, 0)) ** 2).sum(axis=0) / by.sum(axis=0)
    theta, first, second = theta[0], first[0], second[0]
    step = np.log(thetas[1] / thetas[0]) if len(thetas) > 1 else 0.0
    for _ in range(ROUNDS if len(thetas) > 1 else 0):
        # between the neighbours of the best theta, each column its own
        finer = theta * np.exp(step * np.linspace(-1, 1, ZOOM))[:, None]
        finer = np.clip(finer, thetas[0], thetas[-1])
        solved = _solve(family, _basis(family, k[None, :, None], finer[:, None]), weights, y)
        theta, first, second = _best(finer, solved)
        step *= 2 / (ZOOM - 1)
    return np.stack([first, second, theta]), np.sqrt(errors)


def _predict(family, k, theta, first, second, metric) -> np.ndarray:
    x = _basis(family, k, theta)
    return _score(first * x, metric) if family == "information" else first - second * x


def _asymptote(family: str, parameters: np.ndarray, metric: str) -> np.ndarray:
    first, _, theta = parameters
    return _score(first * theta, metric) if family == "information" else first


def _k_at(family: str, parameters: np.ndarray, level: np.ndarray, metric: str) -> np.ndarray:
    """Neurons with which the fitted score is `level`, (C,); inf where it never is."""
    first, second, theta = parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        if family == "information":
            d = np.square(D_PRIME[metric] * ndtri(level))
            k = np.where(d < first * theta, d / (first - d / theta), np.inf)
        elif family == "exponential":
            k = theta * np.log(np.maximum(second, 1e-300) / (first - level))
        else:
            k = np.square(second / (first - level))
    return np.where(second + (family == "information") > 0, k, 0)  # a flat fit is there from the start


def _fit(ks: np.ndarray, columns: np.ndarray, variance: np.ndarray, metric: str, chance: float) -> dict[str, Any]:
    """Fields of `CurveFit` that the fit gives; the first column is the data, the others are draws."""
    fits = {family: _fit_family(family, ks, columns, variance, metric) for family in FAMILIES}
    errors = np.stack([error for _, error in fits.values()])
    # the first within TIE of the least: simplest first
    picked = (errors <= errors.min(axis=0) + TIE).argmax(axis=0)
    quantities = {name: np.empty(columns.shape[1]) for name in ("asymptote", "k50", "k90", "k95")}
    for i, (family, (parameters, _)) in enumerate(fits.items()):
        mine = picked == i
        asymptote = _asymptote(family, parameters, metric)
        quantities["asymptote"][mine] = asymptote[mine]
        for share in (50, 90, 95):
            k = _k_at(family, parameters, chance + share / 100 * (asymptote - chance), metric)
            k = np.where(k > REACH * ks[-1], np.inf, np.maximum(k, ks[0]))
            quantities[f"k{share}"][mine] = np.where(asymptote > chance, k, np.nan)[mine]
    family = list(FAMILIES)[picked[0]]
    first, second, theta = fits[family][0][:, 0].tolist()
    values = (first, 1 / theta) if family == "information" else (first, second, theta)
    found: dict[str, Any] = {
        "family": family,
        "parameters": dict(zip(FAMILIES[family], values, strict=False)),
        "held_out": dict(zip(fits, errors[:, 0].tolist(), strict=True)),
    }
    for name, numbers in quantities.items():
        found |= _estimates(name, numbers)
    return found


# --- sessions together ------------------------------------------------------------------------------


def common_ceiling_k_star(ks: Sequence[int] | np.ndarray, means: Any, ceilings: Any, delta: float = 0.02) -> np.ndarray:
    """Return the fewest neurons with which each session is as good as the worst session at its best.

    A session with a high ceiling has farther to climb to it; measured from the lowest ceiling of
    all sessions, k* compares sessions at one score.

    Parameters
    ----------
    ks : (K,) int
        Numbers of neurons, the same in all sessions.
    means : (sessions, K) or (sessions, K, B) float
        Mean scores, or bootstrap draws of them (`CurveFit.draws`).
    ceilings : (sessions,) or (sessions, B) float
    delta : float
        Distance below the lowest ceiling that is near enough.

    Returns
    -------
    (sessions,) or (sessions, B) int64
        -1 where no k reaches it.

    Raises
    ------
    ValueError
        Shapes that disagree.

    Examples
    --------
    >>> common_ceiling_k_star([1, 2, 4], [[0.5, 0.6, 0.7], [0.6, 0.8, 0.9]], [0.7, 0.9], delta=0.1).tolist()
    [2, 1]
    """
    ks, means, ceilings = np.asarray(ks), np.asarray(means, np.float64), np.asarray(ceilings, np.float64)
    if means.ndim not in (2, 3) or means.shape[1] != len(ks) or ceilings.shape != means.shape[:1] + means.shape[2:]:
        raise ValueError(
            f"means is (sessions, {len(ks)}) and ceilings (sessions,), both with draws last or not; "
            f"not {means.shape} and {ceilings.shape}"
        )
    if not means.size:
        return np.full(ceilings.shape, -1, dtype=np.int64)
    stars = _k_stars(ks, np.moveaxis(means, 1, 0), ceilings.min(axis=0) - delta)
    return np.where(np.isfinite(stars), stars, -1).astype(np.int64)


@dataclass(frozen=True)
class LogKSlope:
    """Change of log2 k* per day over sessions, with its 95 % interval.

    Attributes
    ----------
    slope, low, high : float
        log2 per day: -1 is half the neurons after a day. NaN where they cannot be told.
    p : float
        Of a slope of zero, two-sided.
    n_sessions, n_censored : int
        Sessions used, and those of them of which only a bound is known.
    mean_day, mean_log_k : float
        A point of the line: day, and log2 k* there.
    half_width : float
        Half of the 95 % interval of ``mean_log_k``.
    """

    slope: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    n_sessions: int = 0
    n_censored: int = 0
    mean_day: float = np.nan
    mean_log_k: float = np.nan
    half_width: float = np.nan

    def line(self, days: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return fitted k* and the bounds of its 95 % interval at `days`, float64 of their shape."""
        away = np.asarray(days, dtype=np.float64) - self.mean_day
        middle = self.mean_log_k + self.slope * away
        down, up = (self.slope - self.low) * away, (self.high - self.slope) * away
        low = middle - np.hypot(self.half_width, np.where(away > 0, down, up))
        high = middle + np.hypot(self.half_width, np.where(away > 0, up, down))
        return np.exp2(middle), np.exp2(low), np.exp2(high)


def log_k_slope(
    days: Sequence[float] | np.ndarray,
    k_stars: Sequence[float] | np.ndarray,
    *,
    censored: Sequence[str] | None = None,
    draws: np.ndarray | None = None,
) -> LogKSlope:
    """Return the slope of log2 k* over days, with a 95 % interval over sessions.

    Least squares and Student's t. Where some k* are censored, maximum likelihood of normal scatter
    with those known as bounds only (Tobit), and the slopes that the likelihood ratio does not reject; it is
    calibrated so that both agree where nothing is censored.

    The scatter of sessions about the line holds the error of each k* already. On a coarse grid, and
    over few sessions, it can be too small by luck, even zero: with `draws` the interval is also at
    least as wide, and p at least as large, as the error of measurement makes them.

    Parameters
    ----------
    days : (sessions,) float
        Day of each session, from any day on.
    k_stars : (sessions,) float
        k* of each session; sessions with -1, NaN or infinity are left out.
    censored : (sessions,) {"", "left", "right"}, optional
        "left": k* is that many or fewer; "right": that many or more. As `CurveFit.k_star_censored`, but "right" needs
        the largest k in `k_stars`.
    draws : (sessions, B) float, optional
        Bootstrap draws of each k* (`CurveFit.k_star_draws`); -1, NaN and infinity are left out.

    Returns
    -------
    LogKSlope
        With NaN interval and p for two sessions, or where all lie exactly on a line (no scatter to judge by) and there
        are no draws; all NaN where some are censored and fewer than three, on different days, are not.

    Raises
    ------
    ValueError
        Lengths that disagree, or a word in `censored` that is none of the three.

    Examples
    --------
    >>> found = log_k_slope([0, 2, 4, 9], [64, 32, 32, 8])
    >>> f"{found.slope:.2f} ({found.low:.2f} to {found.high:.2f})"
    '-0.32 (-0.53 to -0.11)'
    """
    x, k, side, spread = _checked_sessions(days, k_stars, censored, draws)
    n, n_censored = len(x), int(np.count_nonzero(side))
    if n < 2 or np.ptp(x) == 0:
        return LogKSlope(n_sessions=n, n_censored=n_censored)
    y = np.log2(k)
    known = side == 0
    center = x.mean()
    free = n - n_censored - 2
    enough = free >= 1 and np.ptp(x[known]) > 0
    if n_censored and not enough:  # a slope of bounds would say nothing
        return LogKSlope(n_sessions=n, n_censored=n_censored)
    weights = (x - center) / np.sum((x - center) ** 2)  # the slope is their sum with y
    found = {"slope": float(weights @ y), "mean_log_k": float(y.mean())}
    if enough and np.std(y[known] - np.polyval(np.polyfit(x[known], y[known], 1), x[known])) > 1e-9:
        found |= _least_squares(x - center, y) if n_censored == 0 else _tobit_slope(x - center, y, side)
    if enough and spread is not None:
        found = _widen(found, float(np.sqrt(np.sum(weights**2 * spread))), float(np.sqrt(spread.sum())) / n, free)
    return LogKSlope(n_sessions=n, n_censored=n_censored, mean_day=float(center), **found)


def _checked_sessions(days, k_stars, censored, draws) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Days, k*, side (-1, 0, 1) and variance of log2 k* of the sessions that have a k*."""
    x, k = np.asarray(days, dtype=np.float64), np.asarray(k_stars, dtype=np.float64)
    words = [""] * len(k) if censored is None else list(censored)
    drawn = None if draws is None else np.asarray(draws, dtype=np.float64)
    lengths = [len(x), len(k), len(words), *([] if drawn is None else [len(drawn)])]
    if x.ndim != 1 or k.ndim != 1 or len(set(lengths)) > 1 or (drawn is not None and drawn.ndim != 2):
        raise ValueError(f"days, k_stars, censored and draws have one entry per session, not {lengths}")
    sides = {"": 0, "left": -1, "right": 1}
    if unknown := set(words) - set(sides):
        raise ValueError(f"censored has the words {list(sides)}, not {sorted(map(str, unknown))}")
    side = np.array([sides[word] for word in words], dtype=int)
    used = np.isfinite(x) & np.isfinite(k) & (k > 0)
    spread = None
    if drawn is not None:
        known = np.isfinite(drawn) & (drawn > 0)
        logs = np.log2(np.where(known, drawn, 1))
        n = np.maximum(known.sum(axis=1), 1)
        means = (logs * known).sum(axis=1) / n
        spread = ((logs - means[:, None]) ** 2 * known).sum(axis=1) / n
        spread = spread[used]
    return x[used], k[used], side[used], spread


def _least_squares(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Slope with Student's interval; `x` has mean zero."""
    free = len(x) - 2
    slope = float(x @ y / (x @ x))
    scatter = np.sqrt(np.sum((y - y.mean() - slope * x) ** 2) / free)
    error, width = scatter / np.sqrt(x @ x), float(stdtrit(free, 1 - ALPHA / 2))
    return {
        "slope": slope, "low": float(slope - width * error), "high": float(slope + width * error),
        "p": float(2 * stdtr(free, -abs(slope) / error)), "mean_log_k": float(y.mean()),
        "half_width": float(width * scatter / np.sqrt(len(x))),
    }  # fmt: skip


def _widen(found: dict[str, float], error: float, error_of_mean: float, free: int) -> dict[str, float]:
    """Interval and p that are not better than an error of measurement allows."""
    width = float(stdtrit(free, 1 - ALPHA / 2))
    slope = found["slope"]
    if error == 0:
        return found
    by_draws = {"low": slope - width * error, "high": slope + width * error}
    p = float(2 * stdtr(free, -abs(slope) / error))
    return found | {
        "low": min(found.get("low", np.inf), by_draws["low"]),
        "high": max(found.get("high", -np.inf), by_draws["high"]),
        "p": max(found.get("p", 0.0), p),
        "half_width": max(found.get("half_width", 0.0), width * error_of_mean),
    }


def _tobit(design: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, float]:
    """Maximum of the likelihood by Newton's method: parameters, and log likelihood.

    In Olsen's (1978) parameters the log likelihood is concave: z = design @ parameters is the standardised
    residual, the last parameter the inverse of the scatter.

    Parameters
    ----------
    design : (n, P) float64
        Last column: the measured values; the others: minus the predictors.
    side : (n,) int
        -1 the true value is below, 0 known, 1 above.
    """
    exact = side == 0
    toward = -side[~exact].astype(np.float64)  # a bound from above is met with probability Phi(z)

    def likelihood(parameters: np.ndarray) -> float:
        if parameters[-1] <= 0:
            return -np.inf
        z = design @ parameters
        known = exact.sum() * (np.log(parameters[-1]) - np.log(2 * np.pi) / 2) - np.sum(z[exact] ** 2) / 2
        return float(known + log_ndtr(toward * z[~exact]).sum())

    parameters = np.zeros(design.shape[1])
    parameters[-1] = 1 / max(float(np.std(design[:, -1])), 1e-3)
    parameters[0] = parameters[-1] * design[:, -1].mean()
    value = likelihood(parameters)
    for _ in range(200):
        z = design @ parameters
        push = z[~exact] * toward
        ratio = np.exp(-(push**2) / 2 - np.log(2 * np.pi) / 2 - log_ndtr(push))
        slope, bend = -z.copy(), -np.ones(len(z))
        slope[~exact], bend[~exact] = toward * ratio, -ratio * (push + ratio)
        gradient, hessian = design.T @ slope, (design.T * bend) @ design
        gradient[-1] += exact.sum() / parameters[-1]
        hessian[-1, -1] -= exact.sum() / parameters[-1] ** 2
        step = np.linalg.lstsq(-hessian, gradient, rcond=None)[0]
        length = 1.0
        while likelihood(parameters + length * step) < value and length > 1e-10:
            length /= 2
        parameters = parameters + length * step
        gain, value = likelihood(parameters) - value, likelihood(parameters)
        if gain < 1e-12:
            break
    return parameters, value


def _tobit_slope(x: np.ndarray, y: np.ndarray, side: np.ndarray) -> dict[str, float]:
    """Slope by maximum likelihood, its interval by the likelihood ratio; `x` has mean zero."""
    from scipy.optimize import brentq

    ones = -np.ones(len(x))
    parameters, best = _tobit(np.column_stack([ones, -x, y]), side)
    scatter, slope = 1 / parameters[-1], float(parameters[1] / parameters[-1])
    n = int((side == 0).sum())
    free = n - 2
    width = float(stdtrit(free, 1 - ALPHA / 2))

    def statistic(other: float) -> float:
        """Student's t of the distance between two slopes: exactly that where nothing is censored."""
        value = _tobit(np.column_stack([ones, y - other * x]), side)[1]
        return float(np.sqrt(free * max(np.expm1(2 * (best - value) / n), 0)))

    def bound(sign: int) -> float:
        step = scatter / np.sqrt(x @ x)
        for _ in range(60):
            if statistic(slope + sign * step) > width:
                return float(brentq(lambda other: statistic(other) - width, slope, slope + sign * step))
            step *= 2
        return sign * np.inf

    return {
        "slope": slope, "low": bound(-1), "high": bound(1), "p": float(2 * stdtr(free, -statistic(0.0))),
        "mean_log_k": float(parameters[0] / parameters[-1]), "half_width": float(width * scatter / np.sqrt(free)),
    }  # fmt: skip


def benjamini_hochberg(p: Any) -> np.ndarray:
    """Return q: the false discovery rate at which each p of a family is called significant.

    Parameters
    ----------
    p : array of float
        In 0..1; NaN are no tests, and stay NaN.

    Returns
    -------
    float64 of the shape of `p`

    Raises
    ------
    ValueError
        A p below 0 or above 1.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    p = np.asarray(p, dtype=np.float64)
    known = p[~np.isnan(p)]
    if np.any((known < 0) | (known > 1)):
        raise ValueError(f"p lies between 0 and 1, not {known[(known < 0) | (known > 1)][:3].tolist()}")
    order = np.argsort(known)
    raised = known[order] * len(known) / np.arange(1, len(known) + 1)
    q = np.empty(len(known))
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1)
    found = np.full(p.shape, np.nan)
    found[~np.isnan(p)] = q
    return found
