"""Conditions on trials: what the grammar has and refuses, one form for each meaning, and their keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_conditions import conditions

from pipeline.decoding import NDCSettings
from pipeline.settings.conditions import COLUMNS, LONGEST, Condition

PAGE = Path(__file__).parents[3] / "docs" / "science" / "own_questions.md"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("(correct)and contrast>.10", "contrast > 0.1 and correct"),
        ("correct and (contrast > 1e-1 and correct)", "contrast > 0.1 and correct"),
        ("block in (.80, 0.2, 0.8)", "block in (0.2, 0.8)"),
        ("block in (0.5,)", "block == 0.5"),
        ("block not in [0.5]", "block != 0.5"),
        ("((0.08)) <= reaction_time<=2.0", "0.08 <= reaction_time <= 2"),
        ("side == left or choice == right", "choice == -1 or side == 1"),
        ("(correct or contrast == 0) and index<+200", "(contrast == 0 or correct) and index < 200"),
        ("not (correct)", "not correct"),
        ("not (correct and contrast > 0)", "not (contrast > 0 and correct)"),
        ("index >= n_trials - (200 - 1)", "index >= n_trials - (200 - 1)"),
        ("(index*2)/n_trials - 1 < -(contrast + 1)", "index * 2 / n_trials - 1 < -(contrast + 1)"),
        ("abs( signed_contrast )>- -.25", "abs(signed_contrast) > 0.25"),
        ("correct == True", "correct == 1"),
        ("contrast > -0.0", "contrast > 0"),
        ("\n  block == 0.5\n  and contrast > 0\n", "block == 0.5 and contrast > 0"),
    ],
)
def test_what_means_the_same_has_one_form(text, canonical):
    assert Condition.parse(text).text == canonical
    target = "feedback" if "block" in text else "block"  # a label may not select
    assert NDCSettings(target, trials=text).trials == canonical


@settings(deadline=None)
@given(conditions())
def test_the_canonical_form_is_its_own(condition):
    found = Condition.parse(condition.text)
    assert Condition.parse(found.text).text == found.text
    assert found.columns <= condition.columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contrst > 0.1", "no column 'contrst', did you mean contrast?"),
        ("Contrast > 0.1", "did you mean contrast?"),
        (
            "movement > 0.1",
            r"no column 'movement'\. The columns are choice, correct, .* n_trials; left is 1 and right -1",
        ),
        ("contrast", "contrast is a number and not a condition: compare it, as in contrast > 0"),
        ("contrast + 1 and correct", r"contrast \+ 1 is a number"),
        ("1", "1 is a number"),
        ("True", "1 is a number"),
        ("(contrast > 0.1) + 1 > 0", "contrast > 0.1 is a condition where a number is needed"),
        ("(contrast > 0) == (index > 3)", "is a condition where a number is needed"),
        ("side == 'left'", "'left' is text: write left or right without quotes"),
        ("correct & (contrast > 0.1)", "write and, or"),
        ("contrast = 0.1", "cannot be read at character 10: write == instead of ="),
        ("contrast =< 0.1", "write <= instead of =<"),
        ("contrast <> 0.1", "write != instead of <>"),
        ("contrast > ", "cannot be read at its end: something is missing after '>'"),
        ("correct and", "cannot be read at its end: something is missing after 'and'"),
        ("block not in ", "something is missing after 'not in'"),
        ("correct AND block == 0.5", "cannot be read at character 9: write and instead of AND"),
        ("correct && block == 0.5", "write and instead of &&"),
        ("correct || block == 0.5", r"write or instead of \|\|"),
        ("correct Or block == 0.5", "write or instead of Or"),
        ("!correct", "write not instead of !"),
        ("correct & ", "cannot be read at .*: write and instead of &"),
        ("contrast > 0.1 correct", "cannot be read at character"),
        ("contrast > 0.1, correct", r"a comma .* not in \(contrast > 0.1, correct\): write and, or 0.1 for 0,1"),
        ("contrast > 0,1", "write and, or 0.1 for 0,1"),
        ("block in 0.2, 0.8", "a comma is possible only between the values after 'in'"),
        ("contrast \u2265 0.1", "cannot be read at character 10: write >= instead of \u2265"),
        ("trial < 100", "no column 'trial', did you mean index?"),
        ("feedback == 1", "did you mean correct?"),
        ("probabilityLeft == 0.5", "did you mean block?"),
        ("block in ()", "the values after 'in' are missing"),
        ("block in (contrast, 1)", "there must be numbers in parentheses, not contrast"),
        ("block in (0.2, 0.8) > 1", "'in' is not possible there"),
        ("1 < block in (2, 3)", "'in' is not possible there"),
        ("block is 0.5", "'is' is not possible there"),
        ("contrast ** 2 > 1", r"contrast \*\* 2 is not possible"),
        ("contrast // 2 > 1", "is not possible"),
        ("index % 2 == 0", "is not possible"),
        ("sqrt(contrast) > 1", "the only function is abs"),
        ("abs(contrast, 1) > 1", "the only function is abs"),
        ("abs(x=contrast) > 1", "the only function is abs"),
        ("__import__('os').system('true')", "the only function is abs"),
        ("contrast.real > 1", "is not possible"),
        ("choice[0] > 1", "is not possible"),
        ("(lambda: 1)() > 0", "the only function is abs"),
        ("[c for c in (1, 2)] > 1", "is not possible"),
        ("contrast if correct else 1", "is not possible"),
        ("(c := 1) > 0", "is not possible"),
        ("f'{contrast}' > 1", "is not possible"),
        ("None == 1", "None is not possible"),
        ("1j > 0", "1j is not possible"),
        ("contrast > 1e999", "too large"),
        (f"contrast > {'9' * 400}", "too large"),
        ("(" * 250 + "correct" + ")" * 240, "cannot be read"),
        ("correct and " * 100 + "correct", f"{LONGEST} are allowed"),
        ("contrast > 0\x00", "cannot be read"),
        ("correct # and contrast > 0.1\n)", "comments are not possible"),
        ("block == 0.5 # unbiased", "comments are not possible: leave out # and what follows"),
    ],
    ids=lambda text: text[:40],
)
def test_everything_else_is_refused_with_the_reason(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        NDCSettings("choice", trials=text)
    assert str(caught.value).startswith("trials must be a condition on the trials such as 'contrast > 0.1 and correct'")


@settings(deadline=None)
@given(st.text(alphabet="()<>=!+-*/.,0123456789 abcdefinorst_'\"[]{}:#\\\n", max_size=40))
def test_any_text_is_a_condition_or_refused(text):
    try:
        found = NDCSettings("block", trials=text, null="permute").trials
    except ValueError:
        return
    assert found == NDCSettings("block", trials=found, null="permute").trials


def test_numbers_are_refused_as_a_condition():
    for value in (1, None, True, ["correct"]):
        with pytest.raises(ValueError, match="trials must be a condition"):
            NDCSettings("choice", trials=value)


# ----------------------------------------------------------------------------------------------- keys, combinations


def test_all_trials_have_the_key_that_they_had():
    assert "trials" not in NDCSettings("choice").content()
    assert NDCSettings("choice", trials="  ") == NDCSettings("choice")
    one, other = (
        NDCSettings("choice", trials=text) for text in ("correct and contrast>.1", "contrast > 0.1 and correct")
    )
    assert one == other and one.content()["trials"] == "contrast > 0.1 and correct"
    assert one.content() != NDCSettings("choice").content()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"target": "feedback", "trials": "correct"}, "by the label: correct says what target feedback is"),
        ({"target": "choice", "trials": "choice == left or contrast > 0"}, "by the label: choice"),
        ({"target": "stimulus", "trials": "signed_contrast > 0"}, "by the label: signed_contrast"),
        ({"target": "stimulus", "trials": "side == left"}, "by the label: side"),
        ({"target": "block", "trials": "block != 0.5"}, "by the label: block"),
        ({"target": "choice", "trials": "correct", "null": "conditional"}, "null conditional draws anew"),
        ({"target": "choice", "trials": "correct", "beyond": "stimulus"}, "null conditional draws anew"),
        ({"target": "feedback", "trials": "choice == left", "beyond": "stimulus"}, "null conditional draws anew"),
    ],
)
def test_what_has_no_valid_null_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        NDCSettings(**words)


def test_what_has_one_is_possible():
    NDCSettings("choice", trials="correct")
    NDCSettings("choice", trials="previous_choice == left and contrast > 0", beyond="stimulus")
    NDCSettings("feedback", trials="previous_correct", null="conditional")


def test_the_page_lists_the_columns():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(), flags=re.MULTILINE))
    assert {name: text for name, text in rows.items() if name in COLUMNS} == COLUMNS


def test_recipes_of_the_page_are_conditions():
    section = PAGE.read_text().partition("Recipes:")[2].partition("### Grammar")[0]
    found = re.findall(r"`([^`]+)`", section)
    assert len(found) > 8
    for text in found:
        assert Condition.parse(text).columns
