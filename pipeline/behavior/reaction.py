"""Reaction and response times of simulated sessions: those of the session, as choice and error change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
#: ALF attributes of the ends of the times that are measured from the stimulus.
ENDS = ("firstMovement_times", "response_times")


@dataclass(frozen=True)
class ReactionTimes:
    """What choice and outcome change the times of a session by, as factors; found by least squares of their logarithms.

    A simulated trial has the time of the real one, with the real contrast, changed by what its own choice and outcome
    change it by. So the times keep their distribution and their slow changes, and depend on the choice as in the
    session.

    Attributes
    ----------
    trials : mapping of ALF attribute to (n,) float64
    effects : dict of ALF attribute to (2,) float64
        Of the choice (to the left) and of the reward, on the logarithm.
    """

    trials: Mapping[str, Array]
    effects: dict[str, Array]

    @classmethod
    def of(cls, trials: Mapping[str, Array]) -> ReactionTimes:
        """Fit the times of a session, those that it has.

        Parameters
        ----------
        trials : mapping of ALF attribute to (n,) float64
        """
        ends = [end for end in ENDS if end in trials]
        return cls(trials, {end: _effects(trials, trials[end] - trials["stimOn_times"]) for end in ends})

    def simulated(self, sessions: Mapping[str, Array]) -> dict[str, Array]:
        """Return the ends of the times of simulated sessions, by ALF attribute (S, n).

        Parameters
        ----------
        sessions : mapping of ALF attribute to (S, n) float64
            With choice and feedbackType.
        """
        start = self.trials["stimOn_times"]
        changes = [sessions[name] - self.trials[name] for name in ("choice", "feedbackType")]
        return {
            end: start + (self.trials[end] - start) * np.exp(sum(b * d for b, d in zip(effect, changes, strict=True)))
            for end, effect in self.effects.items()
        }


def _effects(trials: Mapping[str, Array], times: Array) -> Array:
    """Return the effects of choice and outcome on the logarithm of times, (2,), beside contrast and slow changes."""
    contrast = np.round(np.fmax(trials["contrastLeft"], trials["contrastRight"]), 6)
    known = (times > 0) & np.isin(trials["choice"], (-1, 1)) & np.isfinite(trials["feedbackType"] + contrast)
    if not known.any():
        return np.zeros(2)
    t = np.linspace(-1, 1, len(times))[known]
    of_contrast = contrast[known][:, None] == np.unique(contrast[known])
    design = np.column_stack([trials["choice"][known], trials["feedbackType"][known], of_contrast, t, t**2])
    found: Array = np.linalg.lstsq(design, np.log(times[known]), rcond=None)[0][:2]
    return found
