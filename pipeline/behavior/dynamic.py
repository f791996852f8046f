"""A model of choice for mice that change within the session: a dynamic psychometric function.

The logit of a choice to the left is the sum of

- ``side * w(contrast)``, where side is 1 for left and -1 for right, and w is piecewise linear between
  ``CONTRAST_KNOTS`` and 0 at contrast 0;
- the block, ``(probabilityLeft - 0.5) / 0.3``;
- the last choice if it was rewarded (win), the last choice if it was not (lose), and running means of past choices;
- the second to the fifth last choice, by reward as well (win_2, lose_2 ...), which models of former versions have not:
  cells of the second last choice were taken for cells that know more than the past (docs/science/nulls.md);
- ``bias(t)``, and ``gain(t) * side * tanh(5 contrast)``: the mouse's side bias, and the change of its use of the
  stimulus, within the session.

bias and gain are each a Gaussian random walk on knots every 10 trials, linear between them, plus multiples of t and of
t^2 - 1/3, where t runs from -1 to 1. A random walk alone reverts to no change where the data say little, and
underestimates a mouse that learns or tires steadily: 14 of 110 sessions without information were significant
(docs/science/nulls.md).

How much bias and gain walk is not fixed: the posterior is a mixture over ``STEP_SIZES`` for either, weighted by their
Laplace evidence, and Gaussian for each.

Sources: Roy et al. 2021, *Extracting the dynamics of behavior in sensory decision-making experiments*, Neuron 109
(PsyTrack: weights that walk, evidence for the size of their steps); Lau & Glimcher 2005, *Dynamic response-by-response
models of matching behavior in rhesus monkeys*, Journal of the Experimental Analysis of Behavior 84 (weights of several
past choices and rewards); Ashwood et al. 2022, *Mice alternate between
discrete strategies during perceptual decision-making*, Nature Neuroscience 25; Busse et al. 2011, Journal of
Neuroscience 31 (tanh contrast, last choice by reward).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import scipy

from pipeline.behavior.task import CONTRAST_KNOTS, block_side, contrast_knots, running_mean, stimulus, trial_columns

Array = np.ndarray

#: Time constants, in trials, of the running means of past choices.
CHOICE_MEMORY = (5.0, 20.0)
#: Last choices with weights of their own; in former versions 1.
N_LAST = 5


@cache
def prior(n_last: int = N_LAST) -> Mapping[str, tuple[float, float]]:
    """Return the normal prior of each parameter that is not a step of a random walk: mean, standard deviation."""
    return {
        "bias": (0.0, 1.0),
        "block": (0.0, 1.0),
        **{f"contrast_{knot:g}": (4 * math.tanh(5 * knot), 2.0) for knot in CONTRAST_KNOTS},
        "win": (0.0, 1.0),
        "lose": (0.0, 1.0),
        **{f"choices_{memory:g}": (0.0, 1.0) for memory in CHOICE_MEMORY},
        **{f"{outcome}_{lag}": (0.0, 1.0) for lag in range(2, n_last + 1) for outcome in ("win", "lose")},
        "bias_t": (0.0, 1.5),
        "bias_t2": (0.0, 1.5),
        "gain_t": (0.0, 1.5),
        "gain_t2": (0.0, 1.5),
    }


#: Names of the parameters that do not change within the session.
WEIGHTS = tuple(prior())[1:-4]
#: Standard deviations of the change of bias and of gain from one trial to the next, all equally probable beforehand.
STEP_SIZES = (0.0, 0.02, 0.05, 0.1, 0.2)
#: Trials between two knots of a random walk, and the largest number of knots: longer sessions have them further apart.
KNOT_SPACING, MAX_KNOTS = 10, 100
#: Step sizes of a smaller posterior probability are left out.
NEGLIGIBLE = 1e-4
#: Newton steps, at most, and the change of a parameter below which the fit is done.
MAX_NEWTON, TOLERANCE = 100, 1e-9


@dataclass(frozen=True)
class Mice:
    """Parameters of S mice for sessions of n trials.

    Attributes
    ----------
    weights : (S, 18) float64
        In the order of ``WEIGHTS``; (S, 10) with ``n_last`` 1.
    bias, gain : (S, n) float64
        On every trial.
    """

    weights: Array
    bias: Array
    gain: Array

    def at(self, which: Array) -> Mice:
        """Return the mice on some of the trials, an index of n."""
        return Mice(self.weights, self.bias[:, which], self.gain[:, which])

    def drive(self, side: Array, contrast: Array, probability_left: Array) -> tuple[Array, Array]:
        """Return what does not depend on choices: bias and block, and the use of the stimulus.

        Parameters
        ----------
        side, contrast, probability_left : (S, n) or (n,) float64
            An unknown contrast (NaN) and an unknown probability count as 0 and as 0.5.

        Returns
        -------
        still, strength : (S, n) float64
            The logit is ``still + side * strength + past``.
        """
        contrast = np.nan_to_num(contrast)
        n_knots = len(CONTRAST_KNOTS)
        block, knots = self.weights[:, :1], self.weights[:, 1 : 1 + n_knots]
        still = self.bias + block * block_side(probability_left)
        by_contrast = (contrast_knots(contrast) @ knots[:, :, None])[..., 0]
        return still, by_contrast + self.gain * np.tanh(5 * contrast)

    def p_left(self, signed_contrast: Array, probability_left: Array, past: Array) -> Array:
        """Return the probability of a choice to the left on every trial, (S, n) float64.

        Parameters
        ----------
        signed_contrast, probability_left : (n,) float64
            Contrast, negative on the right.
        past : (n, 12) float64
            As `past_choices` returns it with the ``n_last`` of the mice.
        """
        still, strength = self.drive(np.sign(signed_contrast), np.abs(signed_contrast), probability_left)
        p: Array = scipy.special.expit(
            still + np.sign(signed_contrast) * strength + self.weights[:, -past.shape[1] :] @ past.T
        )
        return p

    def simulate(
        self, side: Array, contrast: Array, probability_left: Array, responds: Array, draws: Array,
        repeats: Array | None = None,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """Return simulated choices of S sessions, with the sides and contrasts that were shown.

        Trials are simulated one after another, as each depends on the choices before it; the S sessions together.

        Parameters
        ----------
        side : (S, n) 1 left, -1 right
        contrast, probability_left : (S, n) float64
        responds : (n,) bool
            Trials with a choice, the same in all sessions.
        draws : (S, n) float64
            Uniform random numbers from 0 to 1 that decide the choices.
        repeats : (S, n) int8, optional
            What a trial that follows an error repeats: 0 nothing, 1 the side, 2 side and contrast.

        Returns
        -------
        choice, side, contrast : (S, n) float64
            choice is 1 left, -1 right, 0 none.
        """
        still, strength = self.drive(side, contrast, probability_left)
        choice, side, contrast = np.zeros(side.shape), side.copy(), contrast.copy()
        habits = self.weights.T[1 + len(CONTRAST_KNOTS) :]
        memories, by_lag = habits[2 : 2 + len(CHOICE_MEMORY)], np.delete(habits, (2, 3), axis=0)
        # the last choices if they were rewarded and if not, in the order of their weights
        last, means = np.zeros(by_lag.shape), [np.zeros(len(side)) for _ in CHOICE_MEMORY]
        wrong = np.zeros(len(side), dtype=bool)
        for trial in range(side.shape[1]):
            if repeats is not None and trial:
                again = wrong & (repeats[:, trial] > 0)
                side[again, trial] = side[again, trial - 1]
                again &= repeats[:, trial] > 1
                contrast[again, trial] = contrast[again, trial - 1]
                if again.any():
                    strength[again, trial] = self._strength(contrast[again, trial], trial, again)
            wrong = np.ones(len(side), dtype=bool)
            if not responds[trial]:  # past choices stay as they are, as in the fit
                continue
            z = still[:, trial] + side[:, trial] * strength[:, trial] + (by_lag * last).sum(axis=0)
            for weight, mean in zip(memories, means, strict=True):
                z += weight * mean
            now = np.where(draws[:, trial] < scipy.special.expit(z), 1.0, -1.0)
            choice[:, trial], wrong = now, now != side[:, trial]
            last = np.vstack([np.where([~wrong, wrong], now, 0.0), last[:-2]])
            for memory, mean in zip(CHOICE_MEMORY, means, strict=True):
                mean += (now - mean) / memory
        return choice, side, contrast

    def _strength(self, contrast: Array, trial: int, which: Array) -> Array:
        """Return the use of the stimulus by some of the mice on one trial, (mice,) float64."""
        few = Mice(self.weights[which], self.bias[which][:, [trial]], self.gain[which][:, [trial]])
        return few.drive(np.ones((len(contrast), 1)), contrast[:, None], np.full(1, 0.5))[1][:, 0]


@dataclass(frozen=True)
class DynamicPsychometric:
    """Posterior of the mouse of one session: a mixture of Gaussians, one for each pair of step sizes.

    Attributes
    ----------
    step_sizes : (G, 2) float64
        Standard deviation of the change from trial to trial of bias and of gain.
    probabilities : (G,) float64
        Of each pair, given the session; they add up to 1.
    modes : list of G (P,) float64
        Most probable parameters: those of ``prior``, then the knots of the walks of bias and of gain that there are.
    factors : list of G (P, P) float64
        Upper Cholesky factor of the precision about the mode.
    basis : (n, K + 2) float64
        Multiplies the K knots of a walk, and the factors of t and t^2 - 1/3, to give the change on every trial.
    n_last : int
        Last choices with weights of their own.
    """

    step_sizes: Array
    probabilities: Array
    modes: list[Array]
    factors: list[Array]
    basis: scipy.sparse.csr_array
    n_last: int = N_LAST

    def mice(self, rngs: Sequence[np.random.Generator]) -> Mice:
        """Return one mouse for each generator, drawn from the posterior.

        A generator gives the same mouse whatever the others are.
        """
        cumulative = np.cumsum(self.probabilities)
        drawn = np.empty((len(rngs), self._n_fixed + 2 * self._n_knots))
        for row, rng in enumerate(rngs):
            # scaled by the sum, which rounding makes slightly less than 1
            which = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
            z = rng.standard_normal(len(self.modes[which]))
            drawn[row] = self._full(self.modes[which] + scipy.linalg.solve_triangular(self.factors[which], z), which)
        return self._mice(drawn)

    @cached_property
    def mean(self) -> Mice:
        """The posterior mean, as one mouse."""
        modes = [self._full(mode, number) for number, mode in enumerate(self.modes)]
        return self._mice(np.average(modes, axis=0, weights=self.probabilities)[None])

    def sd(self) -> Mice:
        """Return the posterior standard deviations of weights, bias and gain, as one mouse."""
        total = [np.zeros(self._n_fixed - 5), np.zeros(self.basis.shape[0]), np.zeros(self.basis.shape[0])]
        for number, (mode, factor) in enumerate(zip(self.modes, self.factors, strict=True)):
            spread = np.zeros((self._n_fixed + 2 * self._n_knots, len(mode)))
            spread[self._places(number)] = scipy.linalg.solve_triangular(factor, np.eye(len(mode)))
            away = self._mice(self._full(mode, number)[None])
            each, middle = self._parts(spread.T), self.mean
            for part, columns, mean, mixed in zip(
                total, each, (away.weights, away.bias, away.gain), (middle.weights, middle.bias, middle.gain),
                strict=True,
            ):  # fmt: skip
                part += self.probabilities[number] * ((columns**2).sum(axis=0) + (mean[0] - mixed[0]) ** 2)
        return Mice(*(np.sqrt(part)[None] for part in total))

    @property
    def _n_fixed(self) -> int:
        return len(prior(self.n_last))

    @property
    def _n_knots(self) -> int:
        return int(self.basis.shape[1]) - 2

    def _places(self, number: int) -> Array:
        """Return where the parameters of a pair of step sizes are among all, (P,) int: a walk of step 0 has none."""
        return _places(self.step_sizes[number], self._n_fixed, self._n_knots)

    def _full(self, parameters: Array, number: int) -> Array:
        """Return the parameters with 0 for the knots of walks that there are not."""
        full = np.zeros(self._n_fixed + 2 * self._n_knots)
        full[self._places(number)] = parameters
        return full

    def _mice(self, parameters: Array) -> Mice:
        """Return the mice of parameters (S, all)."""
        return Mice(*self._parts(parameters))

    def _parts(self, parameters: Array) -> tuple[Array, Array, Array]:
        """Return weights (S, W), bias and gain (S, n) of parameters (S, all); linear in them."""
        n_fixed, n_knots = self._n_fixed, self._n_knots
        fixed, walks = parameters[:, :n_fixed], parameters[:, n_fixed:]
        bias = np.hstack([walks[:, :n_knots], fixed[:, -4:-2]]) @ self.basis.T + fixed[:, :1]
        gain = np.hstack([walks[:, n_knots:], fixed[:, -2:]]) @ self.basis.T
        return fixed[:, 1:-4], bias, gain


def past_choices(choice: Array, rewarded: Array, n_last: int = N_LAST) -> Array:
    """Return what the model of choice knows of the past, for each of the trials with a choice.

    Parameters
    ----------
    choice : (n,) float64
        1 left, -1 right.
    rewarded : (n,) bool
    n_last : int
        Last choices with columns of their own.

    Returns
    -------
    (n, 12) float64
        The last choice if it was rewarded, the last choice if it was not, running means of choices with the time
        constants ``CHOICE_MEMORY``, and the second to the fifth last choice in the same way as the last; with
        ``n_last`` 1 without these, (n, 4).
    """
    by_reward = np.column_stack([choice * rewarded, choice * ~rewarded])
    last, *earlier = (_back(by_reward, lag) for lag in range(1, n_last + 1))
    return np.column_stack([last, *(running_mean(choice, memory) for memory in CHOICE_MEMORY), *earlier])


def _back(rows: Array, lag: int) -> Array:
    """Return the rows of so many trials before, 0 where there are none."""
    return np.vstack([np.zeros((lag, rows.shape[1])), rows])[: len(rows)]


def fit_dynamic_psychometric(trials: Mapping[str, Array], n_last: int = N_LAST) -> DynamicPsychometric:
    """Fit the model of choice to a session.

    Trials without a choice are left out, but time passes in them. A parameter that the session does not constrain has
    its prior, so that every session can be fitted.

    Parameters
    ----------
    trials : mapping of ALF attribute to (n,) float64
        All trials of the session, in temporal order.
    n_last : int
        Last choices with weights of their own: ``N_LAST``, or 1, as in former versions.

    Returns
    -------
    DynamicPsychometric

    Raises
    ------
    DataError
        An attribute is missing, or their lengths differ.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p_left, contrast = np.repeat([0.5, 0.8, 0.2], [90, 60, 50]), rng.choice([1, 0.25, 0.0625], 200)
    >>> left = rng.random(200) < p_left
    >>> trials = {"probabilityLeft": p_left, "contrastLeft": np.where(left, contrast, np.nan)}
    >>> trials |= {"contrastRight": np.where(left, np.nan, contrast)}
    >>> trials |= {"choice": np.where(left, 1.0, -1.0), "feedbackType": np.ones(200)}
    >>> fit = fit_dynamic_psychometric(trials)
    >>> fit.mean.bias.shape, bool(fit.mean.weights[0, 1 + 4] > 2)  # weight of contrast 1
    ((1, 200), True)
    """
    trials = trial_columns(trials)
    responds = np.isin(trials["choice"], (-1, 1))
    basis = _time_basis(len(responds))
    design = _Design.of(trials, responds, basis, n_last)
    found = []
    start = design.prior_mean.copy()
    for bias_step in STEP_SIZES:
        for gain_step in STEP_SIZES:
            steps = np.array([bias_step, gain_step])
            places = _places(steps, design.n_fixed, basis.shape[1] - 2)
            fit = design.fitted(steps, places, start[places])
            start[places] = fit[1]  # close to the mode of the next pair
            found.append((steps, *fit))
    log_evidence = np.array([evidence for _, evidence, _, _ in found])
    probabilities = np.exp(log_evidence - log_evidence.max())
    probabilities /= probabilities.sum()
    kept = np.flatnonzero(probabilities > NEGLIGIBLE)
    return DynamicPsychometric(
        step_sizes=np.array([found[number][0] for number in kept]),
        probabilities=probabilities[kept] / probabilities[kept].sum(),
        modes=[found[number][2] for number in kept],
        factors=[found[number][3] for number in kept],
        basis=basis,
        n_last=n_last,
    )


def _knot_spacing(n: int) -> int:
    """Return the number of trials between two knots in a session of n trials."""
    return max(KNOT_SPACING, math.ceil((n - 1) / MAX_KNOTS))


def _time_basis(n: int) -> scipy.sparse.csr_array:
    """Return what multiplies the knots of a walk, t and t^2 - 1/3 on every trial, (n, K + 2) sparse float64.

    A walk starts at 0, on the first trial, which has no knot.
    """
    spacing = _knot_spacing(n)
    n_knots = max(math.ceil((n - 1) / spacing), 0)
    time = np.arange(n)
    knots = np.maximum(1 - np.abs(time[:, None] - spacing * np.arange(1, n_knots + 1)) / spacing, 0)
    t = np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
    return scipy.sparse.csr_array(np.column_stack([knots, t, t**2 - 1 / 3]))


def _places(steps: Array, n_fixed: int, n_knots: int) -> Array:
    """Return which of all parameters there are with these step sizes, (P,) int."""
    there = [np.arange(n_fixed)]
    there += [n_fixed + walk * n_knots + np.arange(n_knots) for walk in range(2) if steps[walk] > 0]
    return np.concatenate(there)


@dataclass(frozen=True)
class _Design:
    """The n choices of a session, and what the parameters are multiplied by.

    Dense for the parameters of ``prior``, (n, 23); sparse for the knots of both walks, (n, 2 K), of which each trial
    touches four.
    """

    is_left: Array
    dense: Array
    walks: scipy.sparse.csr_array
    prior_mean: Array
    prior_sd: Array
    spacing: int

    @property
    def n_fixed(self) -> int:
        """Number of parameters that are not those of walks."""
        return len(self.prior_sd)

    @classmethod
    def of(
        cls, trials: Mapping[str, Array], responds: Array, basis: scipy.sparse.csr_array, n_last: int = N_LAST
    ) -> _Design:
        side, contrast = stimulus(trials)
        side, contrast = side[responds], np.nan_to_num(contrast)[responds]
        choice = trials["choice"][responds]
        rewarded = trials["feedbackType"][responds] > 0
        basis = basis[np.flatnonzero(responds)]
        n_knots = basis.shape[1] - 2
        seen = side * np.tanh(5 * contrast)
        time = basis[:, [n_knots, n_knots + 1]].toarray()
        dense = np.column_stack([
            np.ones(len(choice)), block_side(trials["probabilityLeft"][responds]), contrast_knots(side * contrast),
            past_choices(choice, rewarded, n_last), time, seen[:, None] * time,
        ])  # fmt: skip
        knots = basis[:, np.arange(n_knots)].toarray()
        middle, sd = np.array(list(prior(n_last).values())).T
        mean = np.append(middle, np.zeros(2 * n_knots))
        walks = scipy.sparse.csr_array(np.hstack([knots, seen[:, None] * knots]))
        return cls(choice > 0, dense, walks, mean, sd, _knot_spacing(len(responds)))

    def fitted(self, steps: Array, places: Array, start: Array) -> tuple[float, Array, Array]:
        """Return the log evidence of a pair of step sizes, the mode (P,), and the factor of its precision (P, P).

        Newton's method, with steps that are halved until they improve; the evidence is Laplace's approximation.
        """
        walks = self.walks[:, places[self.n_fixed :] - self.n_fixed]
        steps = steps * math.sqrt(self.spacing)
        precision, log_det = _prior_precision(self.prior_sd, steps, self.walks.shape[1] // 2)
        away = start - self.prior_mean[places]
        z, mean = self._logits(walks, start), self.prior_mean[places]
        loss = self._loss(z) + away @ precision @ away / 2
        for _ in range(MAX_NEWTON):
            p = scipy.special.expit(z)
            slope = self._transposed(walks, self.is_left - p) - precision @ away
            factor = scipy.linalg.cholesky(precision + self._weighted(walks, p * (1 - p)))
            step = scipy.linalg.solve_triangular(factor, scipy.linalg.solve_triangular(factor, slope, trans="T"))
            if np.abs(step).max() < TOLERANCE:
                break
            move = self._logits(walks, step)
            for length in 0.5 ** np.arange(12):
                nearer = away + length * step
                new = self._loss(z + length * move) + nearer @ precision @ nearer / 2
                if new <= loss + TOLERANCE:
                    break
            away, z, loss = nearer, z + length * move, new
        # the prior's normalisation has one factor of 2 pi for each parameter, which Laplace's integral cancels
        evidence = -loss + log_det / 2 - np.log(np.diag(factor)).sum()
        return float(evidence), mean + away, factor

    def _logits(self, walks: scipy.sparse.csr_array, parameters: Array) -> Array:
        logits: Array = self.dense @ parameters[: self.n_fixed] + walks @ parameters[self.n_fixed :]
        return logits

    def _transposed(self, walks: scipy.sparse.csr_array, values: Array) -> Array:
        return np.concatenate([values @ self.dense, walks.T @ values])

    def _weighted(self, walks: scipy.sparse.csr_array, weights: Array) -> Array:
        """Return the Gram matrix of the weighted inputs, (P, P)."""
        dense, n = self.dense * weights[:, None], self.n_fixed
        out = np.empty((n + walks.shape[1],) * 2)
        out[:n, :n] = self.dense.T @ dense
        out[n:, :n] = walks.T @ dense
        out[:n, n:] = out[n:, :n].T
        out[n:, n:] = (walks.T @ walks.multiply(weights[:, None]).tocsr()).toarray()
        return out

    def _loss(self, z: Array) -> float:
        """Return minus the log likelihood of the choices."""
        return float(np.logaddexp(0, np.where(self.is_left, -z, z)).sum())


def _prior_precision(sd: Array, steps: Array, n_knots: int) -> tuple[Array, float]:
    """Return the prior's precision of the parameters that there are, (P, P), and its log determinant.

    ``sd`` are the standard deviations of parameters that are not steps; ``steps`` (2,) those of the change of bias and
    of gain from one knot to the next.
    """
    blocks: list[Any] = [np.diag(1 / sd**2)]
    log_det = -2 * np.log(sd).sum()
    difference = np.eye(n_knots) - np.eye(n_knots, k=-1)  # of each knot from the one before, the first from 0
    for step in steps[steps > 0]:
        blocks.append(difference.T @ difference / step**2)
        log_det -= 2 * n_knots * math.log(step)
    size = sum(len(block) for block in blocks)
    precision, at = np.zeros((size, size)), 0
    for block in blocks:
        precision[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return precision, float(log_det)
