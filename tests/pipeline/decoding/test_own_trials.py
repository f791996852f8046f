"""Null labels of the trials for which a condition is true: each null vector has its own, by its own session."""

from __future__ import annotations

import numpy as np
import pytest
from support.mice import mouse_session, with_reaction_times

from pipeline.behavior import fit_dynamic_psychometric
from pipeline.behavior.pseudosessions import PseudoTask
from pipeline.behavior.task import trial_columns
from pipeline.decoding import target_labels
from pipeline.decoding.nulls import null_labels
from pipeline.decoding.trials import seed_sequence

S, NAMES = 5, ("a session", "choice")


@pytest.fixture(scope="module")
def trials() -> dict:
    rng = np.random.default_rng(8)
    return with_reaction_times(mouse_session("ramp", 240, rng), rng)


def simulated(trials: dict, same_contrasts: bool = False) -> dict:
    """Return the sessions from which null labels are taken, (S, n) each."""
    task = PseudoTask.of(
        trial_columns(trials), fit_dynamic_psychometric(trials), np.zeros(len(trials["choice"]), bool), same_contrasts
    )
    return task.sessions([np.random.default_rng(seed_sequence(0, "pseudosession", *NAMES, str(s))) for s in range(S)])


def labelled(target: str, trials: dict) -> np.ndarray:
    return np.flatnonzero(~np.isnan(target_labels(target, trials)))


@pytest.mark.parametrize("condition", ["correct", "correct and contrast > 0.1", "previous_choice == 1 or block == 0.8"])
def test_a_simulated_session_has_the_trials_for_which_the_condition_is_true_in_it(trials, condition):
    usable = labelled("choice", trials)
    real, null = null_labels("pseudosession", "choice", trials, usable, S, 0, names=NAMES, condition=condition)
    sessions = simulated(trials)
    for vector, session in [(real, trials), *((null[s], {n: v[s] for n, v in sessions.items()}) for s in range(S))]:
        for place, trial in enumerate(usable):
            left, right = (np.nan_to_num(session[f"contrast{side}"][trial], nan=-1) for side in ("Left", "Right"))
            before, block = session["choice"][trial - 1] if trial else 0, session["probabilityLeft"][trial]
            true = {
                "correct": session["feedbackType"][trial] == 1,
                "correct and contrast > 0.1": session["feedbackType"][trial] == 1 and max(left, right) > 0.1,
                "previous_choice == 1 or block == 0.8": before == 1 or np.isclose(block, 0.8),
            }[condition]
            assert vector[place] == ((session["choice"][trial] == 1) if true else -1)
    assert len({tuple(np.flatnonzero(vector < 0)) for vector in [real, *null]}) == S + 1


def test_sessions_with_the_reaction_times_of_the_real_one_have_its_contrasts(trials):
    usable = labelled("choice", trials)
    condition = "reaction_time < 0.25"
    # errors are slow, so that the fast trials of a simulated session are those that are correct in it
    slow = np.where(trials["feedbackType"] < 0, 0.3, 0.2) * np.linspace(0.9, 1.1, len(usable))
    trials = {**trials, "firstMovement_times": trials["stimOn_times"] + slow}
    real, null = null_labels("pseudosession", "choice", trials, usable, S, 0, names=NAMES, condition=condition)
    sessions = simulated(trials, same_contrasts=True)
    expected = np.fmax(trials["contrastLeft"], trials["contrastRight"])
    assert (np.fmax(sessions["contrastLeft"], sessions["contrastRight"]) == expected).all()
    for vector, session in [(real, trials), *((null[s], {n: v[s] for n, v in sessions.items()}) for s in range(S))]:
        correct = session["feedbackType"][usable] == 1
        np.testing.assert_array_equal(vector, np.where(correct, session["choice"][usable] == 1, -1))
    # sides are drawn anew
    sides = np.isfinite(sessions["contrastLeft"])
    assert 0.3 < np.mean(sides == np.isfinite(trials["contrastLeft"])) < 0.8


def test_conditional_draws_choices_in_the_chosen_trials(trials):
    usable = labelled("choice", trials)
    same = {"names": NAMES, "condition": "previous_correct and previous_choice == 1"}
    real, null = null_labels("conditional", "choice", trials, usable, S, 0, **same)
    expected = np.append(False, (trials["choice"] == 1) & (trials["feedbackType"] == 1))[:-1][usable]
    assert ((null >= 0) == expected).all() and ((real >= 0) == expected).all()
    plain = null_labels("conditional", "choice", trials, usable, S, 0, names=NAMES)[1]
    np.testing.assert_array_equal(null[:, expected], plain[:, expected])
    with pytest.raises(ValueError, match="draws the choices, by which 'correct' selects"):
        null_labels("conditional", "choice", trials, usable, S, 0, condition="correct")


def test_another_session_has_its_own_trials(trials):
    rng = np.random.default_rng(9)
    donor = with_reaction_times(mouse_session("stationary", 300, rng), rng)
    usable = labelled("choice", trials)
    _, null = null_labels("imposter", "choice", trials, usable, 1, 0, donors=[donor], condition="reaction_time > 0.25")
    slow = (donor["firstMovement_times"] - donor["stimOn_times"] > 0.25)[usable]  # every trial has a choice
    np.testing.assert_array_equal(null[0], np.where(slow, donor["choice"][usable] == 1, -1))


@pytest.mark.parametrize("null", ["circular", "permute", "linear_shift"])
def test_shifts_use_the_labels_of_the_chosen_trials(trials, null):
    usable = labelled("choice", trials)
    real, shifted = null_labels(null, "choice", trials, usable, S, 0, condition="correct")
    correct = trials["feedbackType"][usable] == 1
    assert (real[~correct] == -1).all() and (shifted[:, ~correct] == -1).all()
    alone = null_labels(null, "choice", trials, usable[correct], S, 0)
    np.testing.assert_array_equal(real[correct], alone[0])
    np.testing.assert_array_equal(shifted[:, correct], alone[1])


def test_without_a_condition_labels_are_as_before(trials):
    usable = labelled("feedback", trials)
    for null in ("pseudosession", "conditional"):
        one, other = (null_labels(null, "feedback", trials, usable, 2, 0, **words) for words in ({}, {"condition": ""}))
        np.testing.assert_array_equal(one[1], other[1])
        assert (one[1] >= 0).all()
