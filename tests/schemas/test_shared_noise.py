"""Curves without shared noise beside others: which, what is called a change of the code, and notes."""

from __future__ import annotations

import pytest

from pipeline.decoding import NDCSettings
from schemas.decoding.over_mice import question_of
from schemas.decoding.shared_noise import (
    NOT_KNOWN,
    OF_DAYS,
    beside,
    key_without,
    notes_on_mice,
    without_shared_noise,
)
from schemas.rows import content_key

PLAIN = NDCSettings("choice")


def days(slopes: tuple[float | None, float | None], fixed: tuple, day: tuple) -> dict[str, dict]:
    """Return trends of k* and k_half with the given slopes and p."""
    return {
        quantity: {"day_slope": slopes[i], "fixed_p": fixed[i], "day_p": day[i]}
        for i, quantity in enumerate(("code_k", "half_k"))
    }


BEYOND = "beyond the scatter of days"
FOUND = days((-0.1, -0.2), (0.3, 0.4), (0.01, 0.05))


@pytest.mark.parametrize(
    ("trends", "without", "doubt"),
    [
        (FOUND, days((-0.1, -0.1), (0.3, 0.3), (0.04, 0.01)), ""),
        (FOUND, days((-0.1, -0.1), (0.3, 0.3), (0.04, 0.06)), f"these days p = 0.300, {BEYOND} p = 0.060"),
        # found by another p only
        (FOUND, days((-0.1, -0.1), (0.01, 0.01), (0.04, 0.06)), f"these days p = 0.010, {BEYOND} p = 0.060"),
        (FOUND, days((0.1, 0.1), (0.3, 0.3), (0.01, 0.01)), "both change the other way"),
        (FOUND, days((-0.1, 0.1), (0.3, 0.3), (0.01, 0.01)), "k* and k_half do not change in one direction"),
        (FOUND, {}, NOT_KNOWN),
        (FOUND, days((None, None), (None, None), (None, None)), NOT_KNOWN),
        # nothing is found: there is nothing to doubt
        (days((-0.1, -0.2), (0.3, 0.4), (0.01, 0.06)), {}, ""),
        (days((-0.1, 0.2), (0.01, 0.01), (0.01, 0.01)), {}, ""),
        (days((-0.1, None), (0.01, None), (0.01, None)), {}, ""),
        ({"code_k": FOUND["code_k"]}, {}, ""),
        # three days have no p beyond their scatter
        (days((-0.1, -0.2), (0.01, 0.01), (None, None)), days((-0.1, -0.1), (0.02, 0.02), (None, None)), ""),
    ],
)  # fmt: skip
def test_a_change_of_the_code_is_found_without_shared_noise_too(trends, without, doubt):
    found = OF_DAYS.doubt(trends, without)
    assert found == doubt or (doubt and found == f"without noise that cells share from trial to trial {doubt}")


def test_curves_without_shared_noise_are_those_of_shuffled_trials_without_null_labels():
    found = without_shared_noise(NDCSettings("feedback", ks=(4, 8), regions=("VISp",), null="imposter"))
    assert found == NDCSettings(
        "feedback", ks=(4, 8), regions=("VISp",), null="imposter", trial_shuffled=True, n_label_shuffles=0
    )
    assert key_without(PLAIN) == content_key(without_shared_noise(PLAIN).content())
    retrained = NDCSettings("choice", intervals="retrained", n_bootstrap=100)
    assert without_shared_noise(retrained).intervals == "calibrated"
    numbers = NDCSettings("speed", labels="1" * 32, metric="r2")
    for settings in (NDCSettings("choice", trial_shuffled=True), NDCSettings("choice", beyond="stimulus"), numbers):
        assert without_shared_noise(settings) is None and key_without(settings) == ""


def test_they_are_computed_of_as_many_sessions_as_trends_need():
    asked = [PLAIN, NDCSettings("choice", beyond="stimulus"), NDCSettings("block")]
    assert [one.target for one in beside(asked, 4)] == ["choice", "block"]
    assert beside(asked, 3) == []


def population(question: str, other: str = "", **columns: tuple) -> list[dict]:
    """Return rows of NDCPopulation.Mean, or of Difference, of k* and k_half."""
    place = {"question": question, "other_question": other} if other else {"question": question}
    names = {"question_name": "choice", "pair_name": "choice in VISp minus choice"}
    return [
        {**place, **names, "quantity": quantity, **{name: values[i] for name, values in columns.items()}}
        for i, quantity in enumerate(("code_k", "half_k"))
    ]


def test_of_several_mice_changes_and_differences_that_shared_noise_may_make_are_noted():
    settings = PLAIN, NDCSettings("choice", regions=("VISp",))
    tasks = [one.as_columns() for one in settings]
    first, second = map(question_of, settings)
    first_without, second_without = (question_of(without_shared_noise(one)) for one in settings)
    mean = {"mean_slope": (-0.1, -0.2), "mean_p": (0.01, 0.02)}
    means = population(first, **mean)
    (unknown,) = notes_on_mice(tasks, means, [], ([], []))
    assert unknown.startswith("choice: the mean slope of k* and k_half is found, but no finding of the code: whether")
    assert "meso ndc computes" in unknown
    confirmed = population(first_without, **mean), []
    assert notes_on_mice(tasks, means, [], confirmed) == []
    refuted = population(first_without, **{**mean, "mean_p": (0.3, 0.2)}), []
    (note,) = notes_on_mice(tasks, means, [], refuted)
    assert note.endswith("no finding of the code: without noise that cells share from trial to trial p = 0.300")
    # values that differ, and slopes that do not; in the other curves the first is subtracted from the second
    slope = {"slope_difference": (0.1, 0.1), "difference_p": (0.6, 0.7)}
    rows, reverse = ({"level_difference": (d, d), "level_p": (0.01, 0.02)} for d in (0.5, -0.5))
    pair = population(first, second, **rows, **slope)
    assert notes_on_mice(tasks, [], pair, ([], population(first_without, second_without, **rows, **slope))) == []
    assert notes_on_mice(tasks, [], pair, ([], population(second_without, first_without, **reverse, **slope))) == []
    (note,) = notes_on_mice(tasks, [], pair, ([], population(second_without, first_without, **rows, **slope)))
    assert note.startswith("choice in VISp minus choice: the mean difference of k* and k_half is found, but no finding")
    assert note.endswith("both change the other way")
    # nothing is said of curves that have no shared noise themselves, and why nothing is known of those beyond strata
    shuffled = NDCSettings("choice", trial_shuffled=True)
    assert notes_on_mice([shuffled.as_columns()], population(question_of(shuffled), **mean), [], ([], [])) == []
    strict = NDCSettings("choice", beyond="stimulus")
    (note,) = notes_on_mice([strict.as_columns()], population(question_of(strict), **mean), [], ([], []))
    assert note.endswith("(within the strata of a stimulus trials are not shuffled)")
