"""The predictive check against plain loops, mice that the model imitates, and stimuli that it does not simulate."""

from __future__ import annotations

import numpy as np
import pytest
from support.mice import mouse_session

from pipeline.behavior.check import FEATURES, predictive_check, session_features
from pipeline.behavior.dynamic import fit_dynamic_psychometric


def checked(trials: dict, n: int = 399):
    return predictive_check(trials, fit_dynamic_psychometric(trials), n_simulated=n)


def features_by_a_loop(trials: dict) -> dict[str, float]:
    n = len(trials["choice"])
    side = np.where(np.isfinite(trials["contrastLeft"]), 1, -1)
    chosen = [t for t in range(n) if trials["choice"][t] != 0]
    correct = {t: int(trials["choice"][t] == side[t]) for t in chosen}
    error = {t: 0 if correct[t] else trials["choice"][t] for t in chosen}
    t_of = {t: 2 * t / (n - 1) - 1 for t in chosen}
    eighths = [[t for t in part if t in correct] for part in np.array_split(np.arange(n), 8)]
    pairs = [(t - 1, t) for t in chosen if t - 1 in correct]
    wrong, won = [pair for pair in pairs if not correct[pair[0]]], [pair for pair in pairs if correct[pair[0]]]
    signed = {t: side[t] * np.fmax(trials["contrastLeft"][t], trials["contrastRight"][t]) for t in chosen}
    alike = {level: np.mean([trials["choice"][t] for t in chosen if signed[t] == level]) for level in signed.values()}
    after = [
        np.mean([(trials["choice"][t] - alike[signed[t]]) * trials["choice"][t - lag] for t in chosen
                 if t - lag in correct]) for lag in range(1, 11)
    ]  # fmt: skip
    return {
        "bias variance": np.var([np.mean([error[t] for t in part]) for part in eighths]),
        "bias trend": np.polyfit([t_of[t] for t in chosen], [error[t] for t in chosen], 1)[0],
        "accuracy variance": np.var([np.mean([correct[t] for t in part]) for part in eighths]),
        "accuracy trend": np.polyfit([t_of[t] for t in chosen], [correct[t] for t in chosen], 1)[0],
        "accuracy bend": np.polyfit([t_of[t] ** 2 for t in chosen], [correct[t] for t in chosen], 1)[0],
        "win-stay": np.mean([trials["choice"][a] == trials["choice"][b] for a, b in won]),
        "after error": np.mean([correct[b] for _, b in wrong]),
        "side after error": np.mean([side[a] == side[b] for a, b in wrong]),
        "second last choice": after[1] - (after[0] + after[2]) / 2,
        "earlier choices": np.var(after[5:]),
    }


def test_features_by_a_loop():
    sessions = [mouse_session(mouse, 200, np.random.default_rng(seed)) for seed, mouse in enumerate(("quits", "ramp"))]
    found = session_features({name: np.array([one[name] for one in sessions]) for name in sessions[0]})
    for row, session in zip(found, sessions, strict=True):
        expected = features_by_a_loop(session)
        assert list(expected) == list(FEATURES)
        np.testing.assert_allclose(row, list(expected.values()), atol=1e-12)


@pytest.mark.slow
def test_mice_that_change_are_imitated():
    mice = ("stationary", "ramp", "tires", "learns", "quits", "win-stay", "repeats", "strongly second last") * 3
    flagged = [not checked(mouse_session(mouse, 300, np.random.default_rng([7, seed]))).imitated
               for seed, mouse in enumerate(mice)]  # fmt: skip
    assert np.mean(flagged) <= 0.1, flagged


@pytest.mark.slow
def test_mouse_that_repeats_its_second_last_choice_is_not_imitated_by_the_model_of_former_versions():
    sessions = [mouse_session("strongly second last", 400, np.random.default_rng([seed, 91])) for seed in range(10)]
    former = [predictive_check(one, fit_dynamic_psychometric(one, 1)).imitated for one in sessions]
    # 18 of 30 are found; of sessions that the model imitates 5 % at most
    assert former.count(False) >= 3 and [checked(one).imitated for one in sessions].count(False) <= 2


@pytest.mark.slow
def test_mouse_that_repeats_a_choice_before_those_in_the_model_is_found():
    sessions = [mouse_session("strongly sixth last", 400, np.random.default_rng([seed, 91])) for seed in range(8)]
    place = list(FEATURES).index("earlier choices")
    found = [check.p[place] <= 0.005 for check in map(checked, sessions)]
    assert sum(found) >= 5, found


def test_stimuli_that_avoid_the_last_error_are_not_imitated():
    trials = mouse_session("stationary", 500, np.random.default_rng(0))
    side = np.where(np.isfinite(trials["contrastLeft"]), 1.0, -1.0)
    contrast = np.fmax(trials["contrastLeft"], trials["contrastRight"])
    for t in range(1, 500):
        if trials["choice"][t - 1] != side[t - 1]:
            side[t] = -side[t - 1]  # after an error always the other side
    trials |= {
        "contrastLeft": np.where(side > 0, contrast, np.nan),
        "contrastRight": np.where(side < 0, contrast, np.nan),
    }
    trials["feedbackType"] = np.where(trials["choice"] == side, 1.0, -1.0)
    check = checked(trials)
    assert not check.imitated
    assert check.p[list(FEATURES).index("side after error")] == pytest.approx(2 / 400)


def test_session_without_errors_has_no_features_of_them():
    trials = mouse_session("stationary", 60, np.random.default_rng(0))
    trials["choice"] = np.where(np.isfinite(trials["contrastLeft"]), 1.0, -1.0)
    trials["feedbackType"] = np.ones(60)
    check = checked(trials, 50)
    missing = [name for name, p in zip(FEATURES, check.p, strict=True) if np.isnan(p)]
    assert missing == ["after error", "side after error"]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_sessions_of_few_trials_can_be_checked(n):
    trials = {name: column[:n] for name, column in mouse_session("ramp", 100, np.random.default_rng(1)).items()}
    check = checked(trials, 20)
    assert check.imitated and check.p.shape == (len(FEATURES),)
