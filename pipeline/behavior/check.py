"""Whether the model of choice can imitate a session: its features among those of simulated sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.behavior.dynamic import DynamicPsychometric
from pipeline.behavior.pseudosessions import PseudoTask
from pipeline.behavior.task import stimulus, trial_columns

Array = np.ndarray

#: Features of a session, and what each is.
FEATURES = {
    "bias variance": "variance over eighths of the session of the mean error to the left minus that to the right",
    "bias trend": "slope of errors to the left minus to the right, from start to end",
    "accuracy variance": "variance over eighths of the session of the share of correct choices",
    "accuracy trend": "slope of correct choices, from start to end",
    "accuracy bend": "curvature of correct choices: start and end against the middle",
    "win-stay": "share of choices that repeat a rewarded choice",
    "after error": "share of correct choices after an error",
    "side after error": "share of trials after an error with the side of the trial before",
    "second last choice": "covariance of the choice, less its mean at this stimulus, with the second last, minus the "
    "mean of those with the last and the third last",
    "earlier choices": "variance over the 6th to 10th last choice of such covariances",
}
#: Sessions that are simulated, and the probability of a flag if the model is right.
N_SIMULATED, ALPHA = 399, 0.05
N_BINS = 8
#: Choices before those that the model knows one by one: how many trials ago.
EARLIER = range(6, 11)


@dataclass(frozen=True)
class PredictiveCheck:
    """Features of a session among those of simulated sessions, in the order of ``FEATURES``.

    Attributes
    ----------
    observed : (10,) float64
        NaN for a feature that the session does not have, such as choices after an error without an error.
    median, low, high : (10,) float64
        Median, 2.5th and 97.5th percentile of the simulated sessions.
    p : (10,) float64
        Two-sided; NaN where ``observed`` is.
    """

    observed: Array
    median: Array
    low: Array
    high: Array
    p: Array

    @property
    def imitated(self) -> bool:
        """Whether no feature is beyond chance."""
        return not beyond_chance(self.p).any()


def beyond_chance(p: Array) -> Array:
    """Return which of p (n,) are at most ``ALPHA``, corrected for their number (Bonferroni); NaN are not."""
    beyond: Array = p * len(p) <= ALPHA
    return beyond


def predictive_check(
    trials: Mapping[str, Array], model: DynamicPsychometric, seed: int = 0, n_simulated: int = N_SIMULATED
) -> PredictiveCheck:
    """Return the predictive check of a session.

    It finds biases that jump or drift in ways that the model does not, habits that go further back than the five
    choices which the model knows one by one, and stimuli that depend on choices in other ways than repeats after
    errors. It hardly finds mice that tire or learn: these must be in the model, as they are, and a session that passes
    is no proof of the model.

    Source: Gelman, Meng & Stern 1996, *Posterior predictive assessment of model fitness via realized discrepancies*,
    Statistica Sinica 6.

    Parameters
    ----------
    trials : mapping of ALF attribute to (n,) float64
    model : DynamicPsychometric
        Fitted to the session.
    seed, n_simulated : int

    Raises
    ------
    DataError
        An attribute is missing, or their lengths differ.
    """
    trials = trial_columns(trials)
    rngs = [np.random.default_rng([seed, number]) for number in range(n_simulated)]
    observed = session_features({name: column[None] for name, column in trials.items()})[0]
    simulated = session_features(PseudoTask.of(trials, model).sessions(rngs))
    missing = np.isnan(simulated).all(axis=0)
    # percentiles of a feature that no session has would warn
    median, low, high = np.nanpercentile(np.where(missing, 0, simulated), (50, 2.5, 97.5), axis=0)
    above, below = (simulated >= observed).sum(axis=0), (simulated <= observed).sum(axis=0)
    p = np.minimum(2 * (1 + np.minimum(above, below)) / (1 + n_simulated), 1.0)
    p[np.isnan(observed) | missing] = np.nan
    median, low, high = (np.where(missing, np.nan, part) for part in (median, low, high))
    return PredictiveCheck(observed, median, low, high, p)


def session_features(sessions: Mapping[str, Array]) -> Array:
    """Return the features of S sessions, (S, 10) float64; trials without a choice are left out.

    Parameters
    ----------
    sessions : mapping of ALF attribute to (S, n) float64
    """
    side, contrast = stimulus(sessions)
    choice, rewarded = sessions["choice"], sessions["feedbackType"] > 0
    responds = np.isin(choice, (-1, 1))
    error = np.where(rewarded, 0.0, choice)
    t = np.linspace(-1, 1, choice.shape[1]) if choice.shape[1] > 1 else np.zeros(choice.shape[1])
    left_open = _beyond_stimulus(choice, responds, side * np.nan_to_num(contrast))
    followed = {lag: _followed(left_open, choice, responds, lag) for lag in (1, 2, 3, *EARLIER)}
    before = slice(None, -1), slice(1, None)
    earlier, later = ((slice(None), part) for part in before)
    both = responds[earlier] & responds[later]
    won, wrong = both & rewarded[earlier], both & ~rewarded[earlier]
    return np.column_stack([
        _variance(error, responds), _slope(error, responds, t),
        _variance(rewarded, responds), _slope(rewarded, responds, t), _slope(rewarded, responds, t**2),
        _share(choice[later] == choice[earlier], won), _share(rewarded[later], wrong),
        _share(side[later] == side[earlier], wrong),
        followed[2] - (followed[1] + followed[3]) / 2, np.var([followed[lag] for lag in EARLIER], axis=0),
    ])  # fmt: skip


def _beyond_stimulus(choice: Array, responds: Array, signed_contrast: Array) -> Array:
    """Return choices (S, n) less their mean, in each session, at the same stimulus."""
    left_open = choice.copy()
    for level in np.unique(signed_contrast):
        at_level = responds & (signed_contrast == level)
        left_open -= at_level * np.nan_to_num(_share(choice, at_level))[:, None]
    return left_open


def _followed(left_open: Array, choice: Array, responds: Array, lag: int) -> Array:
    """Return the mean product of what the stimulus leaves open and the choice of so many trials ago, (S,)."""
    now, then = (slice(None), slice(lag, None)), (slice(None), slice(None, max(choice.shape[1] - lag, 0)))
    return _share(left_open[now] * choice[then], responds[now] & responds[then])


def _share(values: Array, where: Array) -> Array:
    """Return the mean of (S, n) values where they count, (S,); NaN if none does."""
    count = where.sum(axis=1)
    share: Array = np.where(count > 0, (values * where).sum(axis=1) / np.maximum(count, 1), np.nan)
    return share


def _variance(values: Array, where: Array) -> Array:
    """Return the variance over eighths of the session of their means, (S,)."""
    means = [_share(values[:, part], where[:, part]) for part in np.array_split(np.arange(values.shape[1]), N_BINS)]
    variance: Array = np.var(means, axis=0)
    return variance


def _slope(values: Array, where: Array, t: Array) -> Array:
    """Return the regression slope of the values on t where they count, (S,); NaN if t does not vary."""
    away = np.where(where, t - _share(np.broadcast_to(t, values.shape), where)[:, None], 0.0)
    spread = (away**2).sum(axis=1)
    slope: Array = np.where(spread > 0, (away * values).sum(axis=1) / np.where(spread > 0, spread, 1), np.nan)
    return slope
