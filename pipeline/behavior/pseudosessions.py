"""Pseudosessions: sessions that could have happened instead, of the same length, with the same rules and mouse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from pipeline.behavior.dynamic import DynamicPsychometric, fit_dynamic_psychometric
from pipeline.behavior.static import BehaviorModel
from pipeline.behavior.task import Blocks, new_contrasts, stimulus, trial_columns

Array = np.ndarray

#: How much more probable (logarithm) the sides after errors must be if they are repeated, for a session to repeat them.
#: 95 % of sessions that repeat nothing have less than 1.35, 99.9 % less than 4.8.
REPEATS_BEYOND_DOUBT = 4.8


def pseudosession(
    trials: Mapping[str, Array],
    rng: np.random.Generator,
    model: DynamicPsychometric | BehaviorModel | None = None,
    *,
    shows: Array | None = None,
) -> dict[str, Array]:
    """Return a simulated session of IBL's biasedChoiceWorld with this mouse.

    - Unbiased trials stay where they are; so does a probability that never changes. Every stretch of biased trials
      gets new blocks: the first side is random, then sides alternate (if there are more than two, each next one is a
      random other one). Block lengths are exponential, from 20 to 100 trials; if the session has a complete block
      outside these limits, they are drawn from the lengths of its complete blocks.
    - Stimulus sides are drawn from the block's probability, contrasts from those of the session. If stimuli of the
      session are repeated after errors (debiasing, in training), they are here too: see ``Repeats``.
    - Choices come from the model. Trials without a choice stay where they are.

    Parameters
    ----------
    trials : mapping of ALF attribute to (n,) float64
    rng : Generator
    model : DynamicPsychometric or BehaviorModel, optional
        A dynamic model, fitted to the session, if not given. With a ``BehaviorModel`` nothing is repeated after errors.
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
    trials = trial_columns(trials)
    model = fit_dynamic_psychometric(trials) if model is None else model
    return {name: column[0] for name, column in PseudoTask.of(trials, model, shows).sessions([rng]).items()}


@dataclass(frozen=True)
class Repeats:
    """How often the stimulus of a trial is repeated after an error.

    Attributes
    ----------
    side : float
        Probability that the side is repeated.
    contrast : float
        Probability that the contrast is repeated with it.
    """

    side: float
    contrast: float

    @classmethod
    def of(cls, trials: Mapping[str, Array]) -> Repeats:
        """Return the repeats of a session; none unless they are beyond doubt (``REPEATS_BEYOND_DOUBT``).

        An error is a trial without reward. The side after it is the same with probability r + (1 - r) q, where q is
        that by the block, and r is found by maximum likelihood.
        """
        side, contrast = stimulus(trials)
        p_left = np.nan_to_num(trials["probabilityLeft"], nan=0.5)
        after = 1 + np.flatnonzero((trials["feedbackType"][:-1] < 0) & (side[:-1] != 0) & (side[1:] != 0))
        q = np.where(side[after - 1] > 0, p_left[after], 1 - p_left[after])
        same = side[after] == side[after - 1]
        if not same.any():
            return cls(0.0, 0.0)

        def log_likelihood(r: float) -> float:
            repeated = np.clip(r + (1 - r) * q, 1e-9, 1 - 1e-9)
            return float(np.log(np.where(same, repeated, 1 - repeated)).sum())

        r = float(scipy.optimize.minimize_scalar(lambda r: -log_likelihood(r), bounds=(0, 1), method="bounded").x)
        if log_likelihood(r) - log_likelihood(0) < REPEATS_BEYOND_DOUBT:
            return cls(0.0, 0.0)
        again = after[same]
        by_chance = np.mean(contrast[:, None] == np.unique(contrast), axis=0) @ np.mean(
            contrast[again - 1, None] == np.unique(contrast), axis=0
        )
        equal = np.mean(contrast[again] == contrast[again - 1])
        # of equal sides after errors, this share is repeated, the rest by chance
        repeated = r / np.mean(r + (1 - r) * q[same])
        both = (equal - by_chance) / max((1 - by_chance) * repeated, 1e-9)
        return cls(r, float(np.clip(both, 0, 1)))

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Return what each trial would repeat if it followed an error, (n,) int8: 0 nothing, 1 side, 2 contrast too."""
        drawn = rng.random(n)
        return (drawn < self.side).astype(np.int8) + (drawn < self.side * self.contrast)


@dataclass(frozen=True)
class PseudoTask:
    """What simulated sessions have in common with the real one; arrays are (n,)."""

    trials: Mapping[str, Array]
    model: DynamicPsychometric | BehaviorModel
    blocks: Blocks
    contrasts: Array
    shows: Array | None
    responds: Array
    repeats: Repeats
    same_contrasts: bool = False

    @classmethod
    def of(
        cls,
        trials: Mapping[str, Array],
        model: DynamicPsychometric | BehaviorModel,
        shows: Array | None = None,
        same_contrasts: bool = False,
    ) -> PseudoTask:
        """Return the task of a session, as ``trial_columns`` returns it, done by a mouse.

        With ``same_contrasts`` every trial has the contrast of the session: contrasts are drawn independently of all
        else.
        """
        return cls(
            trials, model, Blocks.of(trials["probabilityLeft"]), stimulus(trials)[1], shows,
            np.isin(trials["choice"], (-1, 1)),
            # the static model is for results as they were before the other was there
            Repeats(0.0, 0.0) if isinstance(model, BehaviorModel) else Repeats.of(trials), same_contrasts,
        )  # fmt: skip

    def sessions(self, rngs: Sequence[np.random.Generator]) -> dict[str, Array]:
        """Return the trial attributes of one session for each generator, (S, n) each.

        A session does not depend on the others.
        """
        p_left, side, contrast, draws = np.stack([self._draw(rng) for rng in rngs], axis=1)
        if isinstance(self.model, BehaviorModel):
            choice = self.model.simulate(side, contrast, p_left, self.responds, draws)
        else:
            repeats = np.array([self.repeats.draw(len(self.responds), rng) for rng in rngs])
            if self.shows is not None:  # a contrast of zero is not repeated where one above zero must be shown
                repeats = np.where(self.shows, np.minimum(repeats, 1), repeats)
            if self.same_contrasts:
                repeats = np.minimum(repeats, 1)
            choice, side, contrast = self.model.mice(rngs).simulate(
                side, contrast, p_left, self.responds, draws, repeats if repeats.any() else None
            )
        return {
            "probabilityLeft": p_left,
            "contrastLeft": np.where(side > 0, contrast, np.nan),
            "contrastRight": np.where(side < 0, contrast, np.nan),
            "choice": np.where(self.responds, choice, self.trials["choice"]),
            "feedbackType": np.where(self.responds, np.where(choice == side, 1.0, -1.0), self.trials["feedbackType"]),
        }

    def _draw(self, rng: np.random.Generator) -> Array:
        """Return the random part of one session: probability of left, side, contrast, draws for choices, (4, n)."""
        p_left = self.blocks.draw(rng)
        side = np.where(rng.random(len(p_left)) < np.where(np.isnan(p_left), 0.5, p_left), 1.0, -1.0)
        contrasts = new_contrasts(self.contrasts, rng, self.shows)
        if self.same_contrasts:
            contrasts = np.where(np.isnan(self.contrasts), contrasts, self.contrasts)
        return np.array([p_left, side, contrasts, rng.random(len(p_left))])
