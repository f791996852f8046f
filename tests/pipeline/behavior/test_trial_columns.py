"""Named columns of trials against values counted by hand, and conditions against pandas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_conditions import as_pandas, conditions, random_trials

from pipeline.behavior.trial_columns import columns_table, first_failed, trial_column
from pipeline.errors import DataError
from pipeline.settings.conditions import COLUMNS, TRUTHS, Condition

NAN = np.nan
#: Five trials: unbiased, then a block of the left with an error, no choice, and a trial without movement.
TRIALS = {
    "choice": np.array([1.0, -1, 0, 1, -1]),
    "feedbackType": np.array([1.0, -1, -1, 1, NAN]),
    "contrastLeft": np.array([0.25, 1, NAN, 0, NAN]),
    "contrastRight": np.array([NAN, NAN, 0.0625, NAN, NAN]),
    "probabilityLeft": np.array([0.5, 0.800000011920929, 0.8, 0.8, NAN]),
    "stimOn_times": np.array([1.0, 5, 9, 13, 17]),
    "firstMovement_times": np.array([1.5, 5.1, 9.2, 13.25, NAN]),
    "response_times": np.array([2.0, 6, 69, 14, 18]),
    "quiescencePeriod": np.array([0.4, 0.5, 0.6, 0.7, NAN]),
}
EXPECTED = {
    "choice": [1, -1, 0, 1, -1],
    "correct": [1, 0, 0, 1, NAN],
    "contrast": [0.25, 1, 0.0625, 0, NAN],
    "side": [1, 1, -1, 1, NAN],
    "signed_contrast": [-0.25, -1, 0.0625, 0, NAN],
    "block": [0.5, 0.8, 0.8, 0.8, NAN],
    "trial_in_block": [0, 0, 1, 2, NAN],
    "reaction_time": [0.5, 0.1, 0.2, 0.25, NAN],
    "response_time": [1, 1, 60, 1, 1],
    "quiescence": [0.4, 0.5, 0.6, 0.7, NAN],
    "previous_choice": [NAN, 1, -1, 0, 1],
    "previous_correct": [NAN, 1, 0, 0, 1],
    "previous_side": [NAN, 1, 1, -1, 1],
    "previous_contrast": [NAN, 0.25, 1, 0.0625, 0],
    "index": [0, 1, 2, 3, 4],
    "fraction": [0, 0.2, 0.4, 0.6, 0.8],
    "n_trials": [5] * 5,
}


def chosen(text: str, trials: dict) -> np.ndarray:
    return first_failed(Condition.parse(text).text, trials) == 0


def test_columns_are_those_counted_by_hand():
    assert list(EXPECTED) == list(COLUMNS)
    table = columns_table(TRIALS)
    for name, values in EXPECTED.items():
        np.testing.assert_allclose(table[name], values, atol=1e-12, err_msg=name)
        assert table[name].dtype == float


def test_columns_of_many_sessions_are_those_of_each():
    rng = np.random.default_rng(0)
    sessions = [random_trials(rng, 30) for _ in range(3)]
    times = ("stimOn_times", "firstMovement_times", "response_times", "quiescencePeriod")
    together = {name: np.array([one[name] for one in sessions]) for name in sessions[0] if name not in times}
    together |= {name: sessions[0][name] for name in times}
    for name in COLUMNS:
        each = [trial_column(name, {**one, **{time: sessions[0][time] for time in times}}) for one in sessions]
        np.testing.assert_array_equal(np.broadcast_to(trial_column(name, together), (3, 30)), each, err_msg=name)


def test_trials_without_an_attribute_say_which():
    with pytest.raises(DataError, match="the trials have no firstMovement_times, from which reaction_time is made"):
        chosen("reaction_time > 1", {name: TRIALS[name] for name in TRIALS if name != "firstMovement_times"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reaction_time < 0.3", [0, 1, 1, 1, 0]),
        ("not reaction_time < 0.3", [1, 0, 0, 0, 0]),  # unknown is not chosen, nor is its opposite
        ("reaction_time != 0.5", [0, 1, 1, 1, 0]),
        ("reaction_time not in (0.5, 7)", [0, 1, 1, 1, 0]),
        ("correct", [1, 0, 0, 1, 0]),
        ("not correct", [0, 1, 1, 0, 0]),
        ("reaction_time < 0.3 or index >= 0", [1, 1, 1, 1, 1]),  # the other alternative is known
        ("not (reaction_time < 0.3 and index < 4)", [1, 0, 0, 0, 1]),
        ("contrast / contrast == 1", [1, 1, 1, 0, 0]),  # 0 / 0 is missing
        ("1 / contrast > 1", [1, 0, 1, 1, 0]),  # 1 / 0 is larger than any number
        ("0.1 < reaction_time <= 0.5 < index", [0, 0, 1, 1, 0]),
        ("previous_correct == 0", [0, 0, 1, 1, 0]),
        ("block == 0.8", [0, 1, 1, 1, 0]),
    ],
)
def test_missing_values_are_neither_true_nor_false(text, expected):
    assert chosen(text, TRIALS).tolist() == list(map(bool, expected))


def test_the_first_clause_that_is_not_true_is_named():
    condition = Condition.parse("correct and reaction_time < 0.3 and contrast < 0.5")
    assert condition.text == "contrast < 0.5 and correct and reaction_time < 0.3"
    assert first_failed(condition.text, TRIALS).tolist() == [3, 1, 2, 0, 1]
    assert first_failed("", TRIALS).tolist() == [0] * 5


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(conditions(), st.integers(0, 2**32 - 1))
def test_conditions_without_missing_values_are_those_of_pandas_eval(condition, seed):
    trials = random_trials(np.random.default_rng(seed), 12)
    table = columns_table(trials).iloc[1:]  # the first trial has none before it
    table = table.astype(dict.fromkeys(TRUTHS, bool)).rename(columns={"index": "number"})
    found = table.eval(condition.text.replace("index", "number"), engine="python")
    np.testing.assert_array_equal(chosen(condition.text, trials)[1:], np.broadcast_to(found, 11))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(conditions(), st.integers(0, 2**32 - 1))
def test_missing_values_are_those_of_pandas_with_three_values(condition, seed):
    trials = random_trials(np.random.default_rng(seed), 12, missing=0.3)
    df = as_pandas(columns_table(trials))
    found = eval(condition.series, {"df": df})  # noqa: S307  # text of our own
    np.testing.assert_array_equal(chosen(condition.text, trials), found.fillna(False).to_numpy(dtype=bool))
