"""Reaction times of simulated sessions: planted effects of choice and error are found, and change the times."""

from __future__ import annotations

import numpy as np
from support.mice import mouse_session

from pipeline.behavior.reaction import ReactionTimes


def test_times_change_by_what_choice_and_error_change_them_by():
    rng = np.random.default_rng(3)
    trials = mouse_session("ramp", 300, rng)
    contrast = np.fmax(trials["contrastLeft"], trials["contrastRight"])
    log = 0.2 * trials["choice"] - 0.4 * trials["feedbackType"] - contrast**2 + 0.3 * np.linspace(-1, 1, 300) ** 2
    start = 5.0 * np.arange(300)
    trials |= {"stimOn_times": start, "firstMovement_times": start + 0.3 * np.exp(log)}
    trials["firstMovement_times"][7] = np.nan
    found = ReactionTimes.of(trials)
    np.testing.assert_allclose(found.effects["firstMovement_times"], [0.2, -0.4], atol=1e-9)
    outcomes = np.array([trials["feedbackType"]] * 2)
    other = {"choice": np.array([trials["choice"], -trials["choice"]]), "feedbackType": outcomes}
    same, mirrored = found.simulated(other)["firstMovement_times"] - start
    real = trials["firstMovement_times"] - start
    np.testing.assert_allclose(same, real)
    np.testing.assert_allclose(mirrored, real * np.exp(-0.4 * trials["choice"]))
    assert np.isnan(same[7])


def test_a_session_without_times_has_none():
    trials = mouse_session("ramp", 20, np.random.default_rng(0))
    nothing = np.full(20, np.nan)
    found = ReactionTimes.of({**trials, "stimOn_times": nothing, "firstMovement_times": nothing})
    assert found.effects["firstMovement_times"].tolist() == [0, 0]
    assert np.isnan(found.simulated({name: trials[name][None] for name in trials})["firstMovement_times"]).all()
