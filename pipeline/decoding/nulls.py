"""Null labels: label vectors without any relation to the activity, with whose scores a decoding score is compared.

Activity drifts slowly, and so do labels such as the block. Two slow signals correlate by chance ("nonsense
correlations", Harris 2020), so labels in random order are too easy to beat. The nulls of this module differ in which
structure of the real labels they keep: see ``NULLS``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.decoding.trials import seed_sequence, target_labels
from pipeline.errors import ArgumentError, DataError

Array = np.ndarray

#: The nulls, and what each does.
NULLS = {
    "permute": "labels in random order; valid only if trials are independent of each other",
    "circular": "labels shifted by a random number of trials, with wrap-around",
    "linear_shift": "labels shifted by up to a quarter of the session, with the edges left out",
    "pseudosession": "labels of sessions simulated from the task and a model of the mouse's choices",
    "imposter": "labels of other sessions",
}
#: Nulls that are made from the label vector alone.
SHIFTED = ("permute", "circular", "linear_shift")
TARGETS = ("choice", "feedback", "stimulus", "block")
#: Block lengths of IBL's biasedChoiceWorld, in trials: exponential with this scale, truncated to these limits.
BLOCK_SCALE, BLOCK_LIMITS = 60.0, (20, 100)
#: Largest linear shift, in trials.
MAX_SHIFT = 100
#: Simulated sessions that are tried for one null vector before it is given up for too few trials of a class.
MAX_DRAWS = 200
#: Contrasts at which the model of choice has a weight; between them it is interpolated linearly.
CONTRAST_KNOTS = (0.0625, 0.125, 0.25, 0.5, 1.0)
#: Time constants, in trials, of the running means of past choices (one each) and of past errors in the model of choice.
CHOICE_MEMORY, ERROR_MEMORY = (1.0, 5.0, 20.0), 10.0
#: Normal prior of each parameter of the model: mean, standard deviation, and bounds. Lapse, lapse_errors and guess are
#: on the logistic scale: a lapse of -2.5 is a rate of 8 %.
PRIOR = {
    "bias": (0.0, 1.0, -6.0, 6.0),
    "block": (0.0, 1.0, -6.0, 6.0),
    **{f"contrast_{knot:g}": (4 * math.tanh(5 * knot), 2.0, -2.0, 12.0) for knot in CONTRAST_KNOTS},
    **{f"choices_{memory:g}": (0.0, 1.0, -6.0, 6.0) for memory in CHOICE_MEMORY},
    "lapse": (-2.5, 1.0, -8.0, 2.0),
    # with a standard deviation of 2, feedback of a mouse that guesses in periods was significant in 14 % of sessions
    # without information (docs/science/nulls.md)
    "lapse_errors": (0.0, 6.0, 0.0, 15.0),
    "guess": (0.0, 1.0, -4.0, 4.0),
}


def auto_null(target: str) -> str:
    """Return the null that 'auto' stands for: 'pseudosession', which was found to be calibrated for every target.

    Raises
    ------
    ArgumentError
        The target is unknown.
    """
    if target not in TARGETS:
        raise ArgumentError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    return "pseudosession"


# -------------------------------------------------------------------------------------------- null labels of a session


def null_labels(
    null: str,
    target: str,
    trials: Mapping[str, Array],
    usable: Array,
    n_label_shuffles: int,
    shuffle_seed: int,
    *,
    names: Sequence[str] = (),
    donors: Sequence[Mapping[str, Array]] = (),
    min_per_class: int = 5,
) -> tuple[Array, Array]:
    """Return the labels of a session's usable trials, and S null label vectors.

    Shuffle s does not depend on S. Classes are not balanced here: balance every null vector like the real one, with
    ``pick_trials``.

    Parameters
    ----------
    null : {'auto', 'permute', 'circular', 'linear_shift', 'pseudosession', 'imposter'}
    target : {'choice', 'feedback', 'stimulus', 'block'}
    trials : mapping of ALF attribute to (n,) float64
        All trials of the session, in temporal order.
    usable : (m,) int
        Numbers of the trials to label, increasing; each must have a real label.
    n_label_shuffles : int
        S.
    shuffle_seed : int
    names : sequence of str
        What the labels are for (session, target): pseudosessions of different names are independent draws. The other
        nulls ignore them.
    donors : sequence of mappings like ``trials``
        Other sessions, for 'imposter'.
    min_per_class : int
        Every null vector has at least so many trials of each class: as many as there are folds.

    Returns
    -------
    real : (m,) int8
        1 or 0; -1 at the edges for 'linear_shift'.
    null : (S, m) int8
        1, 0, or -1 for a trial left out of that vector.

    Raises
    ------
    ArgumentError
        The null or target is unknown; trials are not increasing, or have no real label; S is below 0, or larger than
        the number of linear shifts.
    DataError
        No null vector with enough trials of each class was found, or there are too few donors.

    Examples
    --------
    >>> trials = {"probabilityLeft": np.repeat([0.5, 0.8, 0.2, 0.8], [90, 40, 60, 30])}
    >>> trials |= {"contrastLeft": np.full(220, 0.25), "contrastRight": np.full(220, np.nan)}
    >>> trials |= {"choice": np.ones(220), "feedbackType": np.ones(220)}
    >>> real, null = null_labels("pseudosession", "block", trials, np.arange(90, 220), 3, 0)
    >>> null.shape, np.unique(null)
    ((3, 130), array([0, 1], dtype=int8))
    """
    null = auto_null(target) if null == "auto" else null
    if null not in NULLS:
        raise ArgumentError(f"null must be 'auto' or one of {', '.join(NULLS)}, not {null!r}")
    if n_label_shuffles < 0 or min_per_class < 1:
        raise ArgumentError(
            f"n_label_shuffles must be 0 or more and min_per_class 1 or more, not {n_label_shuffles} and "
            f"{min_per_class}"
        )
    trials = _columns(trials)
    usable, labels = np.asarray(usable), target_labels(target, trials)
    real = _labels_of(labels, usable)
    if null in SHIFTED:
        return shuffled_labels(real, null, n_label_shuffles, shuffle_seed)
    if null == "imposter":
        return real, _imposter_labels(target, labels, usable, n_label_shuffles, donors, min_per_class)
    seeds = [seed_sequence(shuffle_seed, "pseudosession", *names, str(s)) for s in range(n_label_shuffles)]
    return real, _pseudo_labels(target, trials, usable, seeds, min_per_class)


def _columns(trials: Mapping[str, Array]) -> dict[str, Array]:
    """Return the trial attributes that are used, as float64 arrays of one length; raise DataError otherwise."""
    needed = ("probabilityLeft", "contrastLeft", "contrastRight", "choice", "feedbackType")
    missing = [name for name in needed if name not in trials]
    if missing:
        raise DataError("the trials lack attributes", expected=", ".join(missing), found=", ".join(map(str, trials)))
    columns = {name: np.asarray(trials[name], dtype=np.float64) for name in needed}
    shapes = {column.shape for column in columns.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise DataError("the trial attributes differ in length", expected="(trials,) each", found=sorted(shapes))
    return columns


def _labels_of(labels: Array, usable: Array) -> Array:
    """Return the labels of the usable trials, (m,) int8; raise ArgumentError if ``usable`` is not as documented."""
    if usable.ndim != 1 or not np.issubdtype(usable.dtype, np.integer):
        raise ArgumentError(f"usable must be a list of trial numbers, not {usable.dtype} of shape {usable.shape}")
    if len(usable) and (usable[0] < 0 or usable[-1] >= len(labels) or (np.diff(usable) <= 0).any()):
        raise ArgumentError(f"usable must be increasing numbers of the {len(labels)} trials, not {usable}")
    without = usable[np.isnan(labels[usable])]
    if len(without):
        raise ArgumentError(
            f"usable trials must have a label; {len(without)} have none, the first is trial {without[0]}"
        )
    chosen: Array = labels[usable].astype(np.int8)
    return chosen


def _enough(row: Array, min_per_class: int) -> bool:
    """Return whether a label vector has enough trials of each class."""
    enough: bool = min(np.sum(row == 0), np.sum(row == 1)) >= min_per_class
    return enough


# ------------------------------------------------------------------------------------------ from a label vector alone


def shuffled_labels(y: Array, null: str, n_label_shuffles: int, shuffle_seed: int) -> tuple[Array, Array]:
    """Return the labels and S shuffled label vectors, made from the labels alone.

    With m labels in use:

    - 'permute': random order.
    - 'circular': shifted by a random number of trials from 1 to m - 1, with wrap-around.
    - 'linear_shift' (Harris 2020): shifted by -M to M trials, but not by 0; M is ``linear_shift_margin(m)``. The first
      and the last M trials in use are left out of every vector, also of the real one, so that all have the same trials.
      There are 2 M shifts; each is used once, in random order.

    Parameters
    ----------
    y : (n,) int
        1, 0, or -1 for a trial that is left out. It stays left out, and shifts skip it.
    null : {'permute', 'circular', 'linear_shift'}
    n_label_shuffles : int
        S. Shuffle s does not depend on S.
    shuffle_seed : int

    Returns
    -------
    real : (n,) int8
        y; with its edges left out (-1) for 'linear_shift'.
    null : (S, n) int8

    Raises
    ------
    ArgumentError
        Labels are not 1, 0 and -1; the null is unknown; S is below 0, or larger than the number of shifts.

    Examples
    --------
    >>> shuffled_labels(np.array([1, 1, 0, -1, 0]), "circular", 2, shuffle_seed=0)[1]
    array([[ 1,  0,  0, -1,  1],
           [ 1,  0,  0, -1,  1]], dtype=int8)
    """
    y = np.asarray(y)
    if y.ndim != 1 or not np.isin(y, (-1, 0, 1)).all():
        raise ArgumentError(f"labels must be a vector of 1, 0 and -1, not {np.unique(y)[:5]} of shape {y.shape}")
    if null not in SHIFTED or n_label_shuffles < 0:
        raise ArgumentError(
            f"null must be one of {', '.join(SHIFTED)} and n_label_shuffles 0 or more, not {null!r} and "
            f"{n_label_shuffles}"
        )
    real = y.astype(np.int8)
    used = np.flatnonzero(real >= 0)
    labels = real[used]
    out = np.full((n_label_shuffles, len(real)), -1, dtype=np.int8)
    if null == "linear_shift":
        shifts = _linear_shifts(len(used), n_label_shuffles, shuffle_seed)
        margin = linear_shift_margin(len(used))
        middle = np.arange(margin, len(used) - margin)
        # positions among the labels in use: trials that are left out do not count in a shift
        out[:, used[middle]] = labels[middle + shifts[:, None]]
        kept = real
        real = np.full_like(kept, -1)
        real[used[middle]] = kept[used[middle]]
        return real, out
    if null == "circular" and len(used) < 2 and n_label_shuffles:
        raise ArgumentError(f"a circular shift needs two labels or more; there are {len(used)}")
    for s in range(n_label_shuffles):
        rng = np.random.default_rng(np.random.SeedSequence([shuffle_seed, s, 1]))
        # a circular shift of 0 is left out: it would be the real labels
        out[s, used] = (
            rng.permutation(labels) if null == "permute" else np.roll(labels, rng.integers(1, len(labels)))
        )  # fmt: skip
    return real, out


def linear_shift_margin(n_labels: int) -> int:
    """Return the largest linear shift in trials: a quarter of the number of labels in use, at most 100.

    It depends on the number of labels only, and not on the number of shuffles, so that shuffles can be added later.

    Examples
    --------
    >>> [linear_shift_margin(n) for n in (40, 400, 1000)]
    [10, 100, 100]
    """
    return min(n_labels // 4, MAX_SHIFT)


def _linear_shifts(n_labels: int, n_label_shuffles: int, shuffle_seed: int) -> Array:
    """Return S of the 2 M shifts, the first in a random order that does not depend on S, (S,) int."""
    margin = linear_shift_margin(n_labels)
    if n_label_shuffles > 2 * margin:
        raise ArgumentError(
            f"linear_shift of {n_labels} labels has {2 * margin} shifts (up to {margin} trials in each direction): "
            f"n_label_shuffles is {2 * margin} at most, not {n_label_shuffles}"
        )
    shifts = np.concatenate([np.arange(-margin, 0), np.arange(1, margin + 1)])
    # all shifts are ordered, and the first S taken: more shuffles can be added later
    order = np.random.default_rng(np.random.SeedSequence([shuffle_seed, n_labels, 2])).permutation(2 * margin)
    return shifts[order[:n_label_shuffles]]


# ---------------------------------------------------------------------------------------------- imposter sessions


def _imposter_labels(
    target: str,
    labels: Array,
    usable: Array,
    n_label_shuffles: int,
    donors: Sequence[Mapping[str, Array]],
    min_per_class: int,
) -> Array:
    """Return labels of other sessions for the usable trials, (S, m) int8.

    The r-th labelled trial of this session gets the r-th label of a donor. That keeps the time within the session, and
    with it what sessions have in common (such as more errors towards the end). A donor twice as long gives a second
    vector, from its next trials; it is used after the first vectors of all donors. Overlapping stretches are not used:
    they would be nearly the same vector, counted several times.
    """
    rank = np.cumsum(~np.isnan(labels))[usable] - 1
    length = int(rank[-1]) + 1 if len(rank) else 0
    stretches = []
    for number, donor in enumerate(donors):
        given = target_labels(target, _columns(donor))
        given = given[~np.isnan(given)].astype(np.int8)
        for start in range(0, len(given) - length + 1, max(length, 1)):
            row = given[start : start + length][rank]
            if _enough(row, min_per_class):
                stretches.append((start // max(length, 1), number, row))
    stretches.sort(key=lambda stretch: stretch[:2])
    if n_label_shuffles > len(stretches):
        raise DataError(
            f"the other sessions give too few label vectors of {target} with {length} labelled trials each and "
            f"{min_per_class} or more of each class",
            expected=f"{n_label_shuffles}",
            found=f"{len(stretches)} distinct ones from {len(donors)} sessions",
            do=f"Use {len(stretches)} shuffles at most, add sessions as long as this one, or use another null.",
        )
    rows = [row for _, _, row in stretches[:n_label_shuffles]]
    return np.array(rows, dtype=np.int8).reshape(n_label_shuffles, len(usable))


# ------------------------------------------------------------------------------------------------- pseudosessions


@dataclass(frozen=True)
class BehaviorModel:
    """Probability of a choice to the left: a logistic function with lapses.

    ``p = lapse * guess + (1 - lapse) * logistic(z)`` with ``z = bias + block * b + side * w(contrast) + sum of
    choices * running means of past choices``, where b is (probabilityLeft - 0.5) / 0.3, side is 1 for left and -1 for
    right, w is 0 at contrast 0 and piecewise linear between the knots, and the lapse rate is ``logistic(lapse +
    lapse_errors * running mean of past errors)``.

    Attributes
    ----------
    bias, block : float
    contrasts : tuple of float
        w at ``CONTRAST_KNOTS``.
    choices : tuple of float
        Weight of past choices, for each of ``CHOICE_MEMORY``.
    lapse, lapse_errors : float
    guess : float
        Probability that a lapse goes to the left.
    """

    bias: float
    block: float
    contrasts: tuple[float, ...]
    choices: tuple[float, ...]
    lapse: float
    lapse_errors: float
    guess: float

    def p_left(self, signed_contrast: Array, probability_left: Array) -> Array:
        """Return the probability of a choice to the left without past choices and errors, (n,) float64."""
        z = self.bias + self.block * _block_side(probability_left) + _knots(signed_contrast) @ self.contrasts
        lapse = _logistic(self.lapse)
        p: Array = lapse * self.guess + (1 - lapse) * _logistic(z)
        return p

    def simulate(self, side: Array, contrast: Array, probability_left: Array, responds: Array, draws: Array) -> Array:
        """Return simulated choices (left 1, right -1, none 0) of S sessions.

        Trials are simulated one after another, as each depends on the choices and errors before it; the S sessions
        together.

        Parameters
        ----------
        side : (S, n) 1 left, -1 right
        contrast, probability_left : (S, n) float
        responds : (n,) bool
            Trials with a choice, the same in all sessions.
        draws : (S, n) float64
            Uniform random numbers from 0 to 1 that decide the choices.

        Returns
        -------
        (S, n) float64
        """
        # the part of z that does not depend on the choices before
        still = self.bias + self.block * _block_side(probability_left) + _knots(side * contrast) @ self.contrasts
        gain, gain_errors = 1 / np.array(CHOICE_MEMORY)[:, None], 1 / ERROR_MEMORY
        past, errors = np.zeros((len(CHOICE_MEMORY), len(side))), np.zeros(len(side))
        weights, choices = np.array(self.choices), np.zeros(side.shape)
        # trials without a choice leave the running means as they are, as in the fit
        for trial in np.flatnonzero(responds):
            lapse = _logistic(self.lapse + self.lapse_errors * errors)
            p_left = lapse * self.guess + (1 - lapse) * _logistic(still[:, trial] + weights @ past)
            choice = np.where(draws[:, trial] < p_left, 1.0, -1.0)
            choices[:, trial] = choice
            past += gain * (choice - past)
            # (1 - 1/m) old + new/m: the filter of `_running_mean`
            errors += gain_errors * ((choice != side[:, trial]) - errors)
        return choices


def _logistic(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def _knots(signed_contrast: Array) -> Array:
    """Return the factor of each knot's weight, (..., knots) float64: linear interpolation, odd in the contrast."""
    places = (0.0, *CONTRAST_KNOTS)
    columns = [np.interp(np.abs(signed_contrast), places, unit) for unit in np.eye(len(places))[1:]]
    knots: Array = np.sign(signed_contrast)[..., None] * np.stack(columns, axis=-1)
    return knots


def _block_side(probability_left: Array) -> Array:
    """Return 1 in blocks of probability 0.8, -1 in those of 0.2, 0 in unbiased trials; linear between."""
    return np.nan_to_num((probability_left - 0.5) / 0.3)


def _stimulus(trials: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return side (left 1, right -1, 0 unknown) and contrast (NaN unknown) of every trial, (n,) float64."""
    left, right = trials["contrastLeft"], trials["contrastRight"]
    both = np.isfinite(left) & np.isfinite(right)
    side = np.where(np.nan_to_num(left) > np.nan_to_num(right), 1.0, -1.0)
    # At zero contrast the side is that of the 0 in contrastLeft or contrastRight. Where both or neither is given, the
    # outcome tells: a rewarded choice was to the side, an error away from it.
    nothing = np.nan_to_num(left) == np.nan_to_num(right)
    side[nothing] = (np.isfinite(left).astype(float) - np.isfinite(right))[nothing]
    by_outcome = nothing & (both | (np.isnan(left) & np.isnan(right)))
    side[by_outcome] = np.nan_to_num(trials["choice"] * trials["feedbackType"])[by_outcome]
    contrast = np.fmax(left, right)
    return side, contrast


def fit_psychometric(trials: Mapping[str, Array]) -> BehaviorModel:
    """Fit the model of choice to a session: the maximum of the posterior under the weak prior ``PRIOR``.

    Trials without a choice are left out. A parameter that the session does not constrain stays at the mean of its
    prior, so that every session can be fitted.

    Parameters
    ----------
    trials : mapping of ALF attribute to (n,) float64

    Returns
    -------
    BehaviorModel

    Raises
    ------
    DataError
        An attribute is missing, or their lengths differ.
    """
    from scipy.optimize import minimize

    trials = _columns(trials)
    side, contrast = _stimulus(trials)
    responds = np.isin(trials["choice"], (-1, 1))
    choice = trials["choice"][responds]
    wrong = (choice * side[responds] < 0).astype(float)
    # in the order of PRIOR, whose last three (lapses and guesses) are not linear in z
    inputs = np.column_stack([
        np.ones(len(choice)),
        _block_side(trials["probabilityLeft"][responds]),
        _knots(side * np.nan_to_num(contrast))[responds],
        *(_running_mean(choice, memory) for memory in CHOICE_MEMORY),
    ])  # fmt: skip
    mean, sd, low, high = np.array(list(PRIOR.values())).T
    fit = minimize(
        _loss, mean, (inputs, _running_mean(wrong, ERROR_MEMORY), choice > 0, mean, sd), jac=True, method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)), options={"ftol": 1e-13, "gtol": 1e-7, "maxiter": 500},
    )  # fmt: skip
    # rounded to the digits that are the same on every machine, so that the simulated choices are too
    found = [round(float(value), 5) for value in fit.x]
    split = 2 + len(CONTRAST_KNOTS)
    return BehaviorModel(
        bias=found[0],
        block=found[1],
        contrasts=tuple(found[2:split]),
        choices=tuple(found[split:-3]),
        lapse=found[-3],
        lapse_errors=found[-2],
        guess=float(_logistic(found[-1])),
    )


def _running_mean(values: Array, memory: float) -> Array:
    """Return the exponentially weighted mean of the values before each value, starting from 0, (n,) float64."""
    from scipy.signal import lfilter

    return lfilter([0.0, 1 / memory], [1.0, -(1 - 1 / memory)], values) if len(values) else values


def _loss(
    parameters: Array, inputs: Array, errors: Array, is_left: Array, mean: Array, sd: Array
) -> tuple[float, Array]:
    """Return minus the log posterior and its gradient (parameters,).

    Parameters
    ----------
    parameters : (P,) float64
        In the order of ``PRIOR``; the last three are lapse, lapse_errors and guess.
    inputs : (n, P - 3) float64
        What the other parameters are multiplied by.
    errors : (n,) float64
        Running mean of past errors.
    is_left : (n,) bool
        Choices.
    mean, sd : (P,) float64
        Of the prior.
    """
    weights, (lapse, lapse_errors, guess) = parameters[:-3], parameters[-3:]
    seen, lapse, guess = _logistic(inputs @ weights), _logistic(lapse + lapse_errors * errors), _logistic(guess)
    # keeps the logarithm finite where a choice is certain
    p = np.clip(lapse * guess + (1 - lapse) * seen, 1e-9, 1 - 1e-9)
    slope = -np.where(is_left, 1 / p, -1 / (1 - p))
    # chain rule: dp/dlapse = guess - seen, and x (1 - x) is the derivative of the logistic function
    by_lapse = slope * (guess - seen) * lapse * (1 - lapse)
    gradient = np.concatenate([
        inputs.T @ (slope * (1 - lapse) * seen * (1 - seen)),
        [by_lapse.sum(), by_lapse @ errors, (slope * lapse).sum() * guess * (1 - guess)],
    ])  # fmt: skip
    # minus the logarithm of the normal prior is away^2 / 2
    away = (parameters - mean) / sd
    loss = -np.log(np.where(is_left, p, 1 - p)).sum() + (away**2).sum() / 2
    return float(loss), gradient + away / sd


def pseudosession(
    trials: Mapping[str, Array],
    rng: np.random.Generator,
    model: BehaviorModel | None = None,
    *,
    shows: Array | None = None,
) -> dict[str, Array]:
    """Return a simulated session of IBL's biasedChoiceWorld with this mouse.

    - Unbiased trials stay where they are; so does a probability that never changes. Every stretch of biased trials
      gets new blocks: the first side is random, then sides alternate (if there are more than two, each next one is a
      random other one). Block lengths are exponential, from 20 to 100 trials; if the session has a complete block
      outside these limits, they are drawn from the lengths of its complete blocks.
    - Stimulus sides are drawn from the block's probability, contrasts from those of the session.
    - Choices come from the model. Trials without a choice stay where they are.

    Parameters
    ----------
    trials : mapping of ALF attribute to (n,) float64
    rng : Generator
    model : BehaviorModel, optional
        Fitted to the session if not given.
    shows : (n,) bool, optional
        Trials whose contrast must be above zero.

    Returns
    -------
    dict of ALF attribute to (n,) float64
        probabilityLeft, contrastLeft, contrastRight, choice, feedbackType.

    Raises
    ------
    DataError
        An attribute is missing, or their lengths differ.
    """
    trials = _columns(trials)
    model = fit_psychometric(trials) if model is None else model
    task = _PseudoTask.of(trials, shows)
    return {name: column[0] for name, column in task.sessions([task.draw(rng)], model).items()}


@dataclass(frozen=True)
class _PseudoTask:
    """What simulated sessions have in common with the real one; all arrays are (n,)."""

    trials: Mapping[str, Array]
    contrasts: Array
    shows: Array | None
    responds: Array

    @classmethod
    def of(cls, trials: Mapping[str, Array], shows: Array | None) -> _PseudoTask:
        return cls(trials, _stimulus(trials)[1], shows, np.isin(trials["choice"], (-1, 1)))

    def draw(self, rng: np.random.Generator) -> Array:
        """Return the random part of one session: probability of left, side, contrast, draws for choices, (4, n)."""
        p_left = _pseudo_blocks(self.trials["probabilityLeft"], rng)
        side = np.where(rng.random(len(p_left)) < np.where(np.isnan(p_left), 0.5, p_left), 1.0, -1.0)
        return np.array([p_left, side, _pseudo_contrasts(self.contrasts, rng, self.shows), rng.random(len(p_left))])

    def sessions(self, drawn: Sequence[Array], model: BehaviorModel) -> dict[str, Array]:
        """Return the trial attributes of the S sessions that were drawn, (S, n) each."""
        p_left, side, contrast, draws = np.stack(drawn, axis=1)
        choice = model.simulate(side, contrast, p_left, self.responds, draws)
        return {
            "probabilityLeft": p_left,
            "contrastLeft": np.where(side > 0, contrast, np.nan),
            "contrastRight": np.where(side < 0, contrast, np.nan),
            "choice": np.where(self.responds, choice, self.trials["choice"]),
            "feedbackType": np.where(self.responds, np.where(choice == side, 1.0, -1.0), self.trials["feedbackType"]),
        }


def _pseudo_contrasts(contrasts: Array, rng: np.random.Generator, shows: Array | None) -> Array:
    """Return contrasts drawn from those of the session, above zero where ``shows``, (n,) float64."""
    known = contrasts[np.isfinite(contrasts)]
    known = known if len(known) else np.ones(1)
    drawn = rng.choice(known, len(contrasts))
    visible = known[known > 0]
    if shows is not None and len(visible):
        drawn = np.where(shows & (drawn == 0), rng.choice(visible, len(contrasts)), drawn)
    return drawn


def _pseudo_blocks(p_left: Array, rng: np.random.Generator) -> Array:
    """Return probabilities of left in new blocks, with the unbiased trials where they were, (n,) float64."""
    biased = np.isfinite(p_left) & ~np.isclose(p_left, 0.5)
    sides = np.unique(np.round(p_left[biased], 6))
    out = p_left.copy()
    # a probability that never changes has no blocks to move
    if len(np.unique(np.round(p_left, 6))) < 2:
        return out
    if len(sides) == 1:  # the session ended before its second block
        sides = np.unique([*sides, np.round(1 - sides[0], 6)])
    whole = _whole_blocks(p_left, biased)
    for start, stop in _runs(biased.astype(float)):
        if biased[start]:
            out[start:stop] = _blocks(stop - start, sides, whole, rng)
    return out


def _runs(values: Array) -> list[tuple[int, int]]:
    """Return start and stop of each run of equal values."""
    edges = np.flatnonzero(np.abs(np.diff(values)) > 1e-6) + 1
    return list(zip([0, *edges], [*edges, len(values)], strict=True)) if len(values) else []


def _whole_blocks(p_left: Array, biased: Array) -> Array:
    """Return the lengths of the complete biased blocks: those followed by another biased block, (n,) int."""
    runs = _runs(np.where(biased, p_left, -1.0))
    # the last block is cut by the end of the session, one before unbiased trials by a change of the task
    followed = [start < stop < len(biased) and biased[start] and biased[stop] for start, stop in runs]
    return np.array([stop - start for (start, stop), whole in zip(runs, followed, strict=True) if whole], dtype=int)


def _blocks(n: int, sides: Array, whole: Array, rng: np.random.Generator) -> Array:
    """Return n probabilities of left, in blocks of random lengths."""
    low, high = BLOCK_LIMITS
    usual = bool(((whole >= low) & (whole <= high)).all())  # else another task version: use its own lengths
    out, start, now = np.empty(n), 0, int(rng.integers(len(sides)))
    while start < n:
        length = _block_length(rng) if usual else int(rng.choice(whole))
        out[start : start + length] = sides[now]
        # one to len - 1 places further: any side but the present one; with two sides they alternate
        start, now = start + length, (now + int(rng.integers(1, len(sides)))) % len(sides)
    return out


def _block_length(rng: np.random.Generator) -> int:
    """Return a block length drawn as the task draws it: again until it is within the limits."""
    while True:
        length = rng.exponential(BLOCK_SCALE)
        if BLOCK_LIMITS[0] <= length <= BLOCK_LIMITS[1]:
            # rounded down, as the task rounds
            return int(length)


def _pseudo_labels(
    target: str, trials: Mapping[str, Array], usable: Array, seeds: Sequence[np.random.SeedSequence], min_per_class: int
) -> Array:
    """Return the labels of the usable trials in one pseudosession per seed sequence, (S, m) int8.

    A pseudosession with too few trials of a class is drawn again, from the same sequence: the others are not affected.
    """
    shows = np.zeros(len(trials["choice"]), dtype=bool)
    # a decoded trial needs a side in every pseudosession, so it must have a contrast above zero
    shows[usable] = target == "stimulus"
    model, task = fit_psychometric(trials), _PseudoTask.of(trials, shows)
    # a generator for each vector, which keeps its place over several draws
    rngs = [np.random.default_rng(seed) for seed in seeds]
    out = np.full((len(seeds), len(usable)), -1, dtype=np.int8)
    waiting = np.arange(len(seeds))
    for _ in range(MAX_DRAWS):
        if not len(waiting):
            return out
        labels = target_labels(target, task.sessions([task.draw(rngs[s]) for s in waiting], model))[:, usable]
        out[waiting] = np.where(np.isnan(labels), -1, labels)
        waiting = np.array([s for s in waiting if not _enough(out[s], min_per_class)], dtype=int)
    if len(waiting):
        row = out[waiting[0]]
        raise DataError(
            f"no simulated session has enough trials of both classes of {target}",
            expected=f"{min_per_class} or more of each class in one of {MAX_DRAWS} draws",
            found=f"{np.sum(row == 0)} of class 0 and {np.sum(row == 1)} of class 1 in the last of them",
            do="Use fewer folds or another null for this session.",
        )
    return out
