"""Labels that have nothing to do with the activity: what a decoding score is compared with.

Activity drifts, and labels such as the block change slowly. Two slow things resemble each other by chance, so labels
in random order are too easy to beat. The nulls of this module differ in what they leave as it is: see ``NULLS``.
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

#: What each null does.
NULLS = {
    "permute": "labels in random order: right only if the trials are independent of each other",
    "circular": "labels moved along by a random number of trials, the end joined to the beginning",
    "linear_shift": "labels moved along by up to a quarter of the session, edges left out",
    "pseudosession": "labels of a session simulated from the task and a model of the mouse's choices",
    "imposter": "labels of other sessions",
}
#: Nulls that need a label vector and nothing else.
SHIFTED = ("permute", "circular", "linear_shift")
TARGETS = ("choice", "feedback", "stimulus", "block")
#: Lengths in trials of the blocks of IBL's biasedChoiceWorld: an exponential of this scale within these limits.
BLOCK_SCALE, BLOCK_LIMITS = 60.0, (20, 100)
#: Largest margin of the linear shift, in trials.
LARGEST_MARGIN = 100
#: Draws before a session is given up whose simulated labels are of one class.
DRAWS = 200
#: Contrasts between which what they weigh is interpolated.
CONTRAST_KNOTS = (0.0625, 0.125, 0.25, 0.5, 1.0)
#: Trials over which the model of choice remembers choices (one running mean each), and errors.
CHOICE_MEMORY, ERROR_MEMORY = (1.0, 5.0, 20.0), 10.0
#: Prior of the model's parameters: mean, standard deviation, lowest and highest value.
PRIOR = {
    "bias": (0.0, 1.0, -6.0, 6.0),
    "block": (0.0, 1.0, -6.0, 6.0),
    **{f"contrast_{knot:g}": (4 * math.tanh(5 * knot), 2.0, -2.0, 12.0) for knot in CONTRAST_KNOTS},
    **{f"choices_{memory:g}": (0.0, 1.0, -6.0, 6.0) for memory in CHOICE_MEMORY},
    "lapse": (-2.5, 1.0, -8.0, 2.0),
    "lapse_errors": (0.0, 6.0, 0.0, 15.0),
    "guess": (0.0, 1.0, -4.0, 4.0),
}


def auto_null(target: str) -> str:
    """Return the null that 'auto' stands for: 'pseudosession', the one that was found calibrated for every target.

    Raises
    ------
    ArgumentError
        An unknown target.
    """
    if target not in TARGETS:
        raise ArgumentError(f"target is one of {', '.join(TARGETS)}, not {target!r}")
    return "pseudosession"


# ------------------------------------------------------------------------------------------------ one entry for all


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
    """Return the labels of a session's usable trials and S label vectors to compare them with.

    Shuffle s does not depend on how many shuffles are asked for. Classes are not balanced here: treat every null
    vector as the real one, with ``pick_trials``.

    Parameters
    ----------
    null : {'auto', 'permute', 'circular', 'linear_shift', 'pseudosession', 'imposter'}
    target : {'choice', 'feedback', 'stimulus', 'block'}
    trials : mapping of ALF attribute to (n,) float64
        All trials of the session, in order.
    usable : (m,) int
        Trials to label, increasing; each has a real label.
    n_label_shuffles : int
        S.
    shuffle_seed : int
    names : sequence of str
        What the labels are for (session, target): pseudosessions of other names are independent. The other nulls do
        not read them.
    donors : sequence of mappings like ``trials``
        Other sessions, for 'imposter'.
    min_per_class : int
        A null vector has as many trials of each class (the number of folds).

    Returns
    -------
    real : (m,) int8
        1 or 0; -1 at the edges for 'linear_shift'.
    null : (S, m) int8
        1, 0, or -1 for a trial left out of that vector.

    Raises
    ------
    ArgumentError
        An unknown null or target, trials that are not increasing or have no real label, S below 0, or more shuffles
        than a linear shift can give.
    DataError
        No null vector with enough trials of each class can be made, or too few donors.

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
        raise ArgumentError(f"null is 'auto' or one of {', '.join(NULLS)}, not {null!r}")
    if n_label_shuffles < 0 or min_per_class < 1:
        raise ArgumentError(
            f"n_label_shuffles is 0 or more and min_per_class 1 or more, not {n_label_shuffles} and {min_per_class}"
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
    """Return what is read of a session as float64 arrays of one length."""
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
    """Return the labels of the usable trials as int8, checked."""
    if usable.ndim != 1 or not np.issubdtype(usable.dtype, np.integer):
        raise ArgumentError(f"usable is a list of trial numbers, not {usable.dtype} of shape {usable.shape}")
    if len(usable) and (usable[0] < 0 or usable[-1] >= len(labels) or (np.diff(usable) <= 0).any()):
        raise ArgumentError(f"usable has increasing numbers of the {len(labels)} trials, not {usable}")
    without = usable[np.isnan(labels[usable])]
    if len(without):
        raise ArgumentError(f"usable trials have a label, {len(without)} have none, the first is trial {without[0]}")
    chosen: Array = labels[usable].astype(np.int8)
    return chosen


def _enough(row: Array, min_per_class: int) -> bool:
    enough: bool = min(np.sum(row == 0), np.sum(row == 1)) >= min_per_class
    return enough


# ------------------------------------------------------------------------------------------ from a label vector alone


def shuffled_labels(y: Array, null: str, n_label_shuffles: int, shuffle_seed: int) -> tuple[Array, Array]:
    """Return labels and S shuffled ones, made of the label vector alone.

    - 'permute': random order.
    - 'circular': moved along by a random number of trials from 1 to m - 1, of the m labels in use; the end is joined
      to the beginning.
    - 'linear_shift' (Harris 2020): moved by -M to M trials, not 0, M = ``linear_shift_margin(m)``. The first and last
      M trials in use are left out of every vector, of the real one too, so that all have the same trials. There are
      2 M shifts, each used once, in random order.

    Parameters
    ----------
    y : (n,) int
        1, 0, or -1 for a trial that is left out: it stays out, and shifts skip it.
    null : {'permute', 'circular', 'linear_shift'}
    n_label_shuffles : int
        S. Shuffle s is the same for every S.
    shuffle_seed : int

    Returns
    -------
    real : (n,) int8
        y; for 'linear_shift' with its edges left out.
    null : (S, n) int8

    Raises
    ------
    ArgumentError
        Labels other than 1, 0 and -1, an unknown null, S below 0 or more than there are shifts.

    Examples
    --------
    >>> shuffled_labels(np.array([1, 1, 0, -1, 0]), "circular", 2, shuffle_seed=0)[1]
    array([[ 1,  0,  0, -1,  1],
           [ 1,  0,  0, -1,  1]], dtype=int8)
    """
    y = np.asarray(y)
    if y.ndim != 1 or not np.isin(y, (-1, 0, 1)).all():
        raise ArgumentError(f"labels are a vector of 1, 0 and -1, not {np.unique(y)[:5]} of shape {y.shape}")
    if null not in SHIFTED or n_label_shuffles < 0:
        raise ArgumentError(
            f"null is one of {', '.join(SHIFTED)} and n_label_shuffles 0 or more, not {null!r} and {n_label_shuffles}"
        )
    real = y.astype(np.int8)
    used = np.flatnonzero(real >= 0)
    labels = real[used]
    out = np.full((n_label_shuffles, len(real)), -1, dtype=np.int8)
    if null == "linear_shift":
        shifts = _linear_shifts(len(used), n_label_shuffles, shuffle_seed)
        margin = linear_shift_margin(len(used))
        middle = np.arange(margin, len(used) - margin)
        out[:, used[middle]] = labels[middle + shifts[:, None]]
        kept = real
        real = np.full_like(kept, -1)
        real[used[middle]] = kept[used[middle]]
        return real, out
    if null == "circular" and len(used) < 2 and n_label_shuffles:
        raise ArgumentError(f"a circular shift needs two labels or more, there are {len(used)}")
    for s in range(n_label_shuffles):
        rng = np.random.default_rng(np.random.SeedSequence([shuffle_seed, s, 1]))
        out[s, used] = (
            rng.permutation(labels) if null == "permute" else np.roll(labels, rng.integers(1, len(labels)))
        )  # fmt: skip
    return real, out


def linear_shift_margin(n_labels: int) -> int:
    """Return by how many trials a linear shift moves at most: a quarter of the labels in use, 100 at most.

    A function of the number of labels only, so that more shuffles can be added later.

    Examples
    --------
    >>> [linear_shift_margin(n) for n in (40, 400, 1000)]
    [10, 100, 100]
    """
    return min(n_labels // 4, LARGEST_MARGIN)


def _linear_shifts(n_labels: int, n_label_shuffles: int, shuffle_seed: int) -> Array:
    """Return the first S of the 2 M shifts in a random order of their own, (S,) int."""
    margin = linear_shift_margin(n_labels)
    if n_label_shuffles > 2 * margin:
        raise ArgumentError(
            f"linear_shift of {n_labels} labels has {2 * margin} shifts (up to {margin} trials both ways): "
            f"n_label_shuffles is {2 * margin} at most, not {n_label_shuffles}"
        )
    shifts = np.concatenate([np.arange(-margin, 0), np.arange(1, margin + 1)])
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
    """Return labels of other sessions for the usable trials.

    The r-th labelled trial of this session gets the r-th label of a donor: time within the session is kept, with what
    all sessions have in common (errors towards the end). A donor twice as long gives a second vector from its next
    trials, after the first of every other donor; stretches that overlap would be one vector counted many times.
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
            do=f"Ask for {len(stretches)} shuffles at most, add sessions as long as this one, or use another null.",
        )
    rows = [row for _, _, row in stretches[:n_label_shuffles]]
    return np.array(rows, dtype=np.int8).reshape(n_label_shuffles, len(usable))


# ------------------------------------------------------------------------------------------------- pseudosessions


@dataclass(frozen=True)
class BehaviorModel:
    """Probability of a choice to the left, as a logistic function with lapses.

    ``p = lapse * guess + (1 - lapse) * logistic(z)`` with ``z = bias + block * b + side * w(contrast) + sum of
    choices * running means of past choices``, where b is (probabilityLeft - 0.5) / 0.3, side is 1 for left and -1 for
    right, w goes from 0 straight from knot to knot, and the lapse rate is ``logistic(lapse + lapse_errors * running
    mean of past errors)``.

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
        """Return the probability of a choice to the left of a mouse without a past, (n,) float64."""
        z = self.bias + self.block * _block_side(probability_left) + _knots(signed_contrast) @ self.contrasts
        lapse = _logistic(self.lapse)
        p: Array = lapse * self.guess + (1 - lapse) * _logistic(z)
        return p

    def simulate(self, side: Array, contrast: Array, probability_left: Array, responds: Array, draws: Array) -> Array:
        """Return choices (left 1, right -1, none 0) of S sessions, trial after trial.

        Parameters
        ----------
        side : (S, n) 1 left, -1 right
        contrast, probability_left : (S, n) float
        responds : (n,) bool
        draws : (S, n) float64
            Uniform random numbers from 0 to 1.

        Returns
        -------
        (S, n) float64
        """
        still = self.bias + self.block * _block_side(probability_left) + _knots(side * contrast) @ self.contrasts
        gain, gain_errors = 1 / np.array(CHOICE_MEMORY)[:, None], 1 / ERROR_MEMORY
        past, errors = np.zeros((len(CHOICE_MEMORY), len(side))), np.zeros(len(side))
        weights, choices = np.array(self.choices), np.zeros(side.shape)
        for trial in np.flatnonzero(responds):
            lapse = _logistic(self.lapse + self.lapse_errors * errors)
            p_left = lapse * self.guess + (1 - lapse) * _logistic(still[:, trial] + weights @ past)
            choice = np.where(draws[:, trial] < p_left, 1.0, -1.0)
            choices[:, trial] = choice
            past += gain * (choice - past)
            errors += gain_errors * ((choice != side[:, trial]) - errors)
        return choices


def _logistic(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def _knots(signed_contrast: Array) -> Array:
    """Return what each knot's weight is multiplied by, (..., knots) float64: linear interpolation, odd in contrast."""
    places = (0.0, *CONTRAST_KNOTS)
    columns = [np.interp(np.abs(signed_contrast), places, unit) for unit in np.eye(len(places))[1:]]
    knots: Array = np.sign(signed_contrast)[..., None] * np.stack(columns, axis=-1)
    return knots


def _block_side(probability_left: Array) -> Array:
    return np.nan_to_num((probability_left - 0.5) / 0.3)


def _stimulus(trials: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return side (left 1, right -1, 0 unknown) and contrast (NaN unknown) of every trial, (n,) float64."""
    left, right = trials["contrastLeft"], trials["contrastRight"]
    both = np.isfinite(left) & np.isfinite(right)
    side = np.where(np.nan_to_num(left) > np.nan_to_num(right), 1.0, -1.0)
    # where nothing was shown, the file says where it would have been, or else the outcome does
    nothing = np.nan_to_num(left) == np.nan_to_num(right)
    side[nothing] = (np.isfinite(left).astype(float) - np.isfinite(right))[nothing]
    told = nothing & (both | (np.isnan(left) & np.isnan(right)))
    side[told] = np.nan_to_num(trials["choice"] * trials["feedbackType"])[told]
    contrast = np.fmax(left, right)
    return side, contrast


def fit_psychometric(trials: Mapping[str, Array]) -> BehaviorModel:
    """Fit the model of choice to a session: the most probable parameters under the weak prior ``PRIOR``.

    Trials without a choice are left out. A session that says nothing of a parameter leaves it at the prior's mean:
    there is always an answer.

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
    # the minimum to so many digits is the same on every machine, and so are the choices drawn from it
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
    """Return the exponentially weighted mean of the values before each one, 0 at first, (n,) float64."""
    from scipy.signal import lfilter

    return lfilter([0.0, 1 / memory], [1.0, -(1 - 1 / memory)], values) if len(values) else values


def _loss(
    parameters: Array, inputs: Array, errors: Array, is_left: Array, mean: Array, sd: Array
) -> tuple[float, Array]:
    """Return minus the log posterior and its gradient."""
    weights, (lapse, lapse_errors, guess) = parameters[:-3], parameters[-3:]
    seen, lapse, guess = _logistic(inputs @ weights), _logistic(lapse + lapse_errors * errors), _logistic(guess)
    p = np.clip(lapse * guess + (1 - lapse) * seen, 1e-9, 1 - 1e-9)
    slope = -np.where(is_left, 1 / p, -1 / (1 - p))
    by_lapse = slope * (guess - seen) * lapse * (1 - lapse)
    gradient = np.concatenate([
        inputs.T @ (slope * (1 - lapse) * seen * (1 - seen)),
        [by_lapse.sum(), by_lapse @ errors, (slope * lapse).sum() * guess * (1 - guess)],
    ])  # fmt: skip
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
    """Return a session that could have happened instead: IBL's biasedChoiceWorld with this mouse.

    - Unbiased trials stay where they are, as does a probability that never changes. Every stretch of biased trials
      gets new blocks: the first side is random, then sides alternate (with more than two, another one at random).
      Block lengths are exponential within 20 to 100 trials; where a whole block of the session is outside, they are
      drawn from the lengths of the session's whole blocks.
    - Sides follow the blocks. Contrasts are drawn from the session's.
    - Choices come from the model. Trials without a choice stay where they are.

    Parameters
    ----------
    trials : mapping of ALF attribute to (n,) float64
    rng : Generator
    model : BehaviorModel, optional
        Fitted to the session if not given.
    shows : (n,) bool, optional
        Trials whose contrast is above zero.

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
    """What simulated sessions take from the real one; all arrays are (n,)."""

    trials: Mapping[str, Array]
    contrasts: Array
    shows: Array | None
    responds: Array

    @classmethod
    def of(cls, trials: Mapping[str, Array], shows: Array | None) -> _PseudoTask:
        return cls(trials, _stimulus(trials)[1], shows, np.isin(trials["choice"], (-1, 1)))

    def draw(self, rng: np.random.Generator) -> Array:
        """Return what is random of one session: probability of left, side, contrast, draws of choices, (4, n)."""
        p_left = _pseudo_blocks(self.trials["probabilityLeft"], rng)
        side = np.where(rng.random(len(p_left)) < np.where(np.isnan(p_left), 0.5, p_left), 1.0, -1.0)
        return np.array([p_left, side, _pseudo_contrasts(self.contrasts, rng, self.shows), rng.random(len(p_left))])

    def sessions(self, drawn: Sequence[Array], model: BehaviorModel) -> dict[str, Array]:
        """Return the attributes of as many sessions as were drawn, (S, n) each."""
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
    known = contrasts[np.isfinite(contrasts)]
    known = known if len(known) else np.ones(1)
    drawn = rng.choice(known, len(contrasts))
    visible = known[known > 0]
    if shows is not None and len(visible):
        drawn = np.where(shows & (drawn == 0), rng.choice(visible, len(contrasts)), drawn)
    return drawn


def _pseudo_blocks(p_left: Array, rng: np.random.Generator) -> Array:
    """Return new probabilities with the unbiased trials where they were, (n,) float64."""
    biased = np.isfinite(p_left) & ~np.isclose(p_left, 0.5)
    sides = np.unique(np.round(p_left[biased], 6))
    out = p_left.copy()
    if len(np.unique(np.round(p_left, 6))) < 2:
        return out
    if len(sides) == 1:  # a session so short that the second block never came
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
    """Return the lengths of the biased blocks that were followed by another one."""
    runs = _runs(np.where(biased, p_left, -1.0))
    followed = [start < stop < len(biased) and biased[start] and biased[stop] for start, stop in runs]
    return np.array([stop - start for (start, stop), whole in zip(runs, followed, strict=True) if whole], dtype=int)


def _blocks(n: int, sides: Array, whole: Array, rng: np.random.Generator) -> Array:
    """Return n probabilities in blocks."""
    low, high = BLOCK_LIMITS
    usual = bool(((whole >= low) & (whole <= high)).all())
    out, start, now = np.empty(n), 0, int(rng.integers(len(sides)))
    while start < n:
        length = _block_length(rng) if usual else int(rng.choice(whole))
        out[start : start + length] = sides[now]
        start, now = start + length, (now + int(rng.integers(1, len(sides)))) % len(sides)
    return out


def _block_length(rng: np.random.Generator) -> int:
    while True:
        length = rng.exponential(BLOCK_SCALE)
        if BLOCK_LIMITS[0] <= length <= BLOCK_LIMITS[1]:
            return int(length)


def _pseudo_labels(
    target: str, trials: Mapping[str, Array], usable: Array, seeds: Sequence[np.random.SeedSequence], min_per_class: int
) -> Array:
    """Return labels of the usable trials in as many pseudosessions as there are seed sequences."""
    shows = np.zeros(len(trials["choice"]), dtype=bool)
    shows[usable] = target == "stimulus"
    model, task = fit_psychometric(trials), _PseudoTask.of(trials, shows)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    out = np.full((len(seeds), len(usable)), -1, dtype=np.int8)
    waiting = np.arange(len(seeds))
    for _ in range(DRAWS):
        if not len(waiting):
            return out
        labels = target_labels(target, task.sessions([task.draw(rngs[s]) for s in waiting], model))[:, usable]
        out[waiting] = np.where(np.isnan(labels), -1, labels)
        waiting = np.array([s for s in waiting if not _enough(out[s], min_per_class)], dtype=int)
    if len(waiting):
        row = out[waiting[0]]
        raise DataError(
            f"no simulated session has enough trials of both classes of {target}",
            expected=f"{min_per_class} or more of each class in one of {DRAWS} draws",
            found=f"{np.sum(row == 0)} of class 0 and {np.sum(row == 1)} of class 1 in the last of them",
            do="Use fewer folds or another null for this session.",
        )
    return out
