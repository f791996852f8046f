"""Stimuli that are repeated after errors are found, and simulated, as they were planted."""

from __future__ import annotations

import numpy as np
import pytest
from support.mice import mouse_session

from pipeline.behavior.pseudosessions import Repeats, pseudosession


@pytest.mark.parametrize(("mouse", "contrast"), [("repeats", 1.0), ("repeats sides", 0.0)])
def test_planted_repeats_are_found(mouse, contrast):
    found = [Repeats.of(mouse_session(mouse, 600, np.random.default_rng(seed))) for seed in range(12)]
    assert np.mean([one.side for one in found]) == pytest.approx(0.7, abs=0.08)
    assert np.mean([one.contrast for one in found]) == pytest.approx(contrast, abs=0.1)


@pytest.mark.parametrize("mouse", ["stationary", "ramp", "win-stay", "quits"])
def test_no_repeats_are_found_where_there_are_none(mouse):
    found = [Repeats.of(mouse_session(mouse, 400, np.random.default_rng(seed))).side for seed in range(30)]
    assert np.mean(np.array(found) > 0) <= 1 / 30


@pytest.mark.slow
def test_pseudosessions_repeat_as_the_session_did():
    def again(session):
        left = np.isfinite(session["contrastLeft"])
        after = 1 + np.flatnonzero(session["feedbackType"][:-1] < 0)
        return np.mean(left[after] == left[after - 1])

    trials = mouse_session("repeats sides", 600, np.random.default_rng(0))
    plain = mouse_session("stationary", 600, np.random.default_rng(0))
    drawn = [again(pseudosession(trials, np.random.default_rng(seed))) for seed in range(5)]
    assert np.mean(drawn) == pytest.approx(again(trials), abs=0.06)
    assert np.mean([again(pseudosession(plain, np.random.default_rng(seed))) for seed in range(5)]) < 0.65
