"""Labels of one's own: what is refused, and where the message says it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.decoding import NDCSettings
from pipeline.decoding.own_labels import checked_labels, read_labels
from pipeline.errors import DataError
from pipeline.settings.curves import EVENTS, curve_settings

KEY = "0f" * 16


@pytest.mark.parametrize(
    "values",
    [
        [1, 0, None, 1], (True, False, np.nan, True), np.array([1, 0, np.nan, 1], np.float32),
        pd.Series([1, 0, np.nan, 1]), pd.Series([1, 0, None, 1], dtype="Int64"),
        pd.Series([True, False, None, True], dtype="boolean"),
    ],
    ids=lambda values: type(values).__name__,
)  # fmt: skip
def test_values_may_be_of_any_type(values):
    found = checked_labels(values, 4, "fast", "eid")
    np.testing.assert_array_equal(found, [1, 0, np.nan, 1])
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [1, 0, 2, 1],
            "session eid, labels 'fast': a label has another value .*1, 0 or NaN.*found 2 in trial 2",
        ),
        ([1, 0, 0.5, 1], "found 0.5 in trial 2"),
        ([1, 0, -1, np.inf], "found -1 in trial 2"),
        ([1, 0, 1], r"another number of labels than of trials \(expected 4, found 3\)"),
        ([[1, 0, 1, 0]], "expected 4, found 1 x 4"),
        (1, "found a single number"),
        ([1, 1, 1, None], "labels of one class only .*found 0 of class 0, 3 of class 1"),
        (["1", "0", "1", "0"], "no numbers"),
        ([1, 0, "left", 1], "no numbers"),
        (None, "found a single number|no numbers"),
    ],
    ids=str,
)
def test_wrong_labels_name_session_and_trial(values, message):
    with pytest.raises(DataError, match=message):
        checked_labels(values, 4, "fast", "eid")


def written(folder, text: str):
    path = folder / "fast.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_names_sessions_by_id_or_by_place(tmp_path):
    found = read_labels(written(tmp_path, "\ufeffeid,trial,value,note\nabc,0,1,x\nabc,3,0,\nabc,4,,\n\ndef,0,nan,\n"))
    assert {eid: list(row) for eid, row in found.items()} == {"abc": [0, 3, 4], "def": [0]}
    np.testing.assert_array_equal(list(found["abc"].values()), [1, 0, np.nan])
    by_place = read_labels(written(tmp_path, "value, subject, date, number, trial\n1, SP1, 2025-03-03, 1, 7\n"))
    assert by_place == {"SP1/2025-03-03/1": {7: 1.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eid,trial\nabc,0\n", "fast.csv: lacks columns .*expected eid, trial, value; or subject, .*found eid, trial"),
        ("", "lacks columns"),
        ("eid,trial,value\n", "has no labels"),
        ("eid,trial,value\nabc,0,1\nabc,x,1\n", r"fast.csv, line 3: names no trial \(.*found 'x'"),
        ("eid,trial,value\nabc,-1,1\n", "names no trial"),
        ("eid,trial,value\nabc,0,yes\n", "line 2: session abc, trial 0: the value is no label .*found 'yes'"),
        ("eid,trial,value\nabc,0,1\nabc,0,1\n", "line 3: trial 0 of session abc is there twice"),
        ("subject,date,number,trial,value\nSP1,3.3.2025,1,0,1\n", "names no session"),
        ("eid,trial,value\nabc,0\n", None),
    ],
    ids=str,
)
def test_wrong_files_name_the_line(tmp_path, text, message):
    path = written(tmp_path, text)
    if message is None:  # a short line has no value
        assert np.isnan(read_labels(path)["abc"][0])
        return
    with pytest.raises(DataError, match=message):
        read_labels(path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "fast.csv"
    path.write_bytes(b"\xff\xfe\x00")
    for one in (path, tmp_path / "none.csv"):
        with pytest.raises(DataError, match="cannot be read"):
            read_labels(one)


# ------------------------------------------------------------------------------------------------------- settings


def test_an_own_target_has_event_and_window_of_the_stimulus_and_no_mouse():
    made = NDCSettings("fast", labels=KEY)
    assert (made.event, (made.win_start, made.win_end)) == EVENTS["stimulus"]
    assert made.choice_model == "static" and made.content()["labels"] == KEY
    other = NDCSettings("fast", labels=KEY, event="feedback_times", win_start=-1, win_end=0, trials="correct")
    assert (other.event, other.win_start, other.trials) == ("feedback_times", -1, "correct")
    assert NDCSettings("fast", labels="1e" * 16).content() != made.content()
    assert "labels" not in NDCSettings("choice").content()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"target": "fast"}, "target must be one of choice, feedback, stimulus, block, not 'fast', unless labels"),
        ({"target": "choice", "labels": KEY}, "are for a target of your own, not for choice"),
        ({"target": "Fast", "labels": KEY}, "or the name of labels of your own .up to 16 of a to z, 0 to 9 and _, no"),
        ({"target": "a_name_that_is_too_long", "labels": KEY}, "target must be"),
        ({"target": "2fast", "labels": KEY}, "target must be"),
        ({"target": "fast", "labels": "x"}, "labels must be a key of 32 hexadecimal digits, not 'x'"),
        ({"target": "fast", "labels": KEY, "null": "pseudosession"}, "use linear_shift"),
        ({"target": "fast", "labels": KEY, "null": "imposter"}, "use linear_shift"),
        ({"target": "fast", "labels": KEY, "null": "conditional"}, "use linear_shift"),
        ({"target": "fast", "labels": KEY, "beyond": "stimulus"}, "needs target choice or feedback"),
    ],
    ids=str,
)
def test_what_own_labels_cannot_be_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        NDCSettings(**words)


def test_targets_of_both_kinds_are_asked_for_together():
    asked = {"labels": {"fast": KEY}, "win": {"fast": (0, 1)}, "event": {"fast": "goCue_times"}}
    one, other = curve_settings(["choice", "fast"], **asked)
    assert (one.labels, one.win_end, other.labels, other.win_end, other.event) == ("", 0, KEY, 1, "goCue_times")
    with pytest.raises(ValueError, match="no target of your own"):
        curve_settings(["choice"], labels={"fast": KEY})
    with pytest.raises(ValueError, match=r"labels must be a dict by target, with keys of choice, .*, fast, not fats"):
        curve_settings(["choice", "fast"], labels={"fats": KEY})
