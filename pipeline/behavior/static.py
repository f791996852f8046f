"""A model of choice whose parameters do not change within the session: that of former versions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.behavior.task import (
    CONTRAST_KNOTS,
    block_side,
    contrast_knots,
    logistic,
    running_mean,
    stimulus,
    trial_columns,
)

Array = np.ndarray

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
        z = self.bias + self.block * block_side(probability_left) + contrast_knots(signed_contrast) @ self.contrasts
        lapse = logistic(self.lapse)
        p: Array = lapse * self.guess + (1 - lapse) * logistic(z)
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
        still = self.bias + self.block * block_side(probability_left) + contrast_knots(side * contrast) @ self.contrasts
        gain, gain_errors = 1 / np.array(CHOICE_MEMORY)[:, None], 1 / ERROR_MEMORY
        past, errors = np.zeros((len(CHOICE_MEMORY), len(side))), np.zeros(len(side))
        weights, choices = np.array(self.choices), np.zeros(side.shape)
        # trials without a choice leave the running means as they are, as in the fit
        for trial in np.flatnonzero(responds):
            lapse = logistic(self.lapse + self.lapse_errors * errors)
            p_left = lapse * self.guess + (1 - lapse) * logistic(still[:, trial] + weights @ past)
            choice = np.where(draws[:, trial] < p_left, 1.0, -1.0)
            choices[:, trial] = choice
            past += gain * (choice - past)
            # (1 - 1/m) old + new/m: the filter of `running_mean`
            errors += gain_errors * ((choice != side[:, trial]) - errors)
        return choices


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

    trials = trial_columns(trials)
    side, contrast = stimulus(trials)
    responds = np.isin(trials["choice"], (-1, 1))
    choice = trials["choice"][responds]
    wrong = (choice * side[responds] < 0).astype(float)
    # in the order of PRIOR, whose last three (lapses and guesses) are not linear in z
    inputs = np.column_stack([
        np.ones(len(choice)),
        block_side(trials["probabilityLeft"][responds]),
        contrast_knots(side * np.nan_to_num(contrast))[responds],
        *(running_mean(choice, memory) for memory in CHOICE_MEMORY),
    ])  # fmt: skip
    mean, sd, low, high = np.array(list(PRIOR.values())).T
    fit = minimize(
        _loss, mean, (inputs, running_mean(wrong, ERROR_MEMORY), choice > 0, mean, sd), jac=True, method="L-BFGS-B",
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
        guess=float(logistic(found[-1])),
    )


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
    seen, lapse, guess = logistic(inputs @ weights), logistic(lapse + lapse_errors * errors), logistic(guess)
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
