"""Settings of a curve: the values that they allow and refuse, and their keys."""

from __future__ import annotations

import hashlib
import inspect
import json
import typing
from itertools import product

import numpy as np
import pytest

from pipeline.decoding import EVENTS, NDCSettings
from pipeline.decoding.folds import Validation
from pipeline.reading.behavior import TRIAL_ATTRIBUTES
from pipeline.settings.curves import EVENT_TIMES, KS, TARGETS, curve_settings
from pipeline.settings.records import settings_in

RECORDS = settings_in(NDCSettings)

#: Keys of rows as version 7 of the tables gave them, before settings were records.
KEYS = {
    "a10d95a8c9666f1660a49006f8564547": {"target": "choice"},
    "89c8f6410ec2ba16f7cb930689726087": {"target": "feedback"},
    "9d4df44edc8dafeca6d5d9240084a7c6": {"target": "stimulus", "n_bootstrap": 0, "null_subsets": 0},
    "bc319f4070554b0d86d2df8e1d06024f": {
        "target": "block", "null": "permute", "n_bootstrap": 0, "null_subsets": 0, "ks": (8, 16), "r": 3, "c": 0.5,
        "seed": 7, "shuffle_seed": 7, "equalize_trials": False,
    },
    "9fc8977eca239cd929e858edc8d79a5d": {
        "target": "choice", "event": "stimOn_times", "win_start": -0.5, "win_end": 0.25,
    },
    "bc419bf4fa09be91d071c6ee35726579": {
        "target": "choice", "short_window": "interpolate", "scan_line_column": 1, "class_balance": "weights",
        "balance_seed": 4,
    },
    "0237f5ed49f16bee9a5a6784201ed190": {
        "target": "feedback", "metric": "balanced_accuracy", "cv_splits": 3, "scaling": False, "ceiling_mode": "all",
        "delta": 0.05,
    },
    "b0a37caca30b4ca4eace07aad7bf58f3": {"target": "stimulus", "n_label_shuffles": 19, "seed": 5},
    "9dd7ddd898f7202fdcc1a177c8d5eabe": {"target": "stimulus", "n_label_shuffles": 19, "seed": 5, "shuffle_seed": 5},
    "940eb6df9c2573649709a80425fcb3ae": {
        "target": "choice", "penalize_intercept": True, "fold_mode": "blocked", "fold_gap": 2, "c_grid": (1, 0.1, 0.01),
    },
    "e6e739ae85205bac4d36eff1bb7ccbf4": {
        "target": "choice", "curve_axis": "trials", "ks": (40, 80, 160), "trial_shuffled": True,
    },
    "9e924c6935bcbda9900da0364b51f73e": {
        "target": "block", "cells": "random", "cells_seed": 3, "null": "linear_shift",
    },
    "4274986ab09d11a1dfa9b565738a73b2": {
        "target": "choice", "regions": ("VISp", "MOs"), "fovs": (2, 0), "n_cells": 64,
    },
    "e0771655d525e538d39e30c0af8b878c": {
        "target": "choice", "ks": (2, 4, 8, 16, 32, 64), "r": 20, "n_label_shuffles": 40,
    },
    "e35a8ecbaa4d24a726422ae57aa16bd8": {
        "target": "block", "null": "imposter", "null_subsets": 2, "n_bootstrap": 50, "delta": 0,
    },
}  # fmt: skip


def key_of(made: NDCSettings) -> str:
    text = json.dumps(made.content(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.parametrize(("key", "asked"), KEYS.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_keys_are_those_of_former_versions(key, asked):
    # in all of them C was fixed, decoders were not trained again, no mouse changed, and null labels had their own folds
    same = {"penalty": "fixed", "intervals": "test_trials", "choice_model": "static", "shared_folds": False}
    assert key_of(NDCSettings(**asked, **same)) == key


# ---------------------------------------------------------------------------------------------------- allowed values


def test_defaults_are_the_targets_own_event_and_window():
    for target, (event, window) in EVENTS.items():
        made = NDCSettings(target=target)
        assert (made.event, (made.win_start, made.win_end)) == (event, window)
        assert made == NDCSettings(target=target, event=event, win_start=window[0], win_end=window[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"c": 1}, {"c": 1.0}),
        ({"ks": [16, 8, 8]}, {"ks": (8, 16)}),
        ({"ks": np.array([8, 16])}, {"ks": (8.0, 16)}),
        ({"r": 10.0}, {"r": np.int64(10)}),
        ({"scaling": 1}, {"scaling": True}),
        ({"equalize_trials": np.bool_(False)}, {"equalize_trials": 0}),
        ({"win_start": 0, "win_end": 1}, {"win_start": 0.0, "win_end": np.float64(1)}),
        ({"scan_line_column": True}, {"scan_line_column": 1.0}),
        ({"delta": 0}, {"delta": 0.0}),
    ],
)
def test_the_same_setting_written_differently_gives_the_same_row(one, other):
    rows = [NDCSettings(target="choice", **change).as_row() for change in (one, other)]
    assert json.dumps(rows[0]) == json.dumps(rows[1])


@pytest.mark.parametrize(
    "change",
    [
        {"target": "reward"}, {"short_window": "last"}, {"scan_line_column": 2}, {"class_balance": "smote"},
        {"metric": "f1"}, {"ceiling_mode": "max"}, {"null": "rotate"}, {"win_start": 0.0}, {"win_end": -1},
        {"win_start": float("nan")}, {"win_end": float("inf")}, {"event": "choice"}, {"ks": ()}, {"ks": (0, 8)},
        {"ks": (8.5,)}, {"r": 0}, {"r": 1.5}, {"r": float("nan")}, {"cv_splits": 1}, {"n_label_shuffles": -1},
        {"seed": -1}, {"shuffle_seed": 0.5}, {"balance_seed": -2}, {"c": 0}, {"c": -1.0}, {"c": float("inf")},
        {"c": float("nan")}, {"delta": -0.01}, {"delta": 1}, {"delta": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=r"."):
        NDCSettings(**{"target": "choice", **change})


def test_settings_survive_a_row_of_a_table():
    for target, balance in product(EVENTS, ("downsample", "weights", "none")):
        made = NDCSettings(target=target, class_balance=balance, ks=(3, 7), c=0.5, r=7, delta=0.1, penalty="scaled")
        row = json.loads(json.dumps(made.as_row()))
        assert NDCSettings.from_row({**row, "a_column_of_the_table": 3}) == made
        assert hash(NDCSettings.from_row(row)) == hash(made)


@pytest.mark.parametrize("kind", [int, float, np.int8, np.uint16, np.int64, np.float32, np.float64, np.array])
@pytest.mark.parametrize("name", [one.name for one in RECORDS if isinstance(one.default, int)])
def test_a_number_may_be_of_any_type(name, kind):
    value = 0 if name in ("fold_gap", "cells_seed") else True if isinstance(getattr(NDCSettings, name), bool) else 1
    value = 2 if name == "cv_splits" else value
    needed = {"penalize_intercept": {"penalty": "fixed"}, "shared_folds": {"null": "permute"}}.get(name, {})
    made = NDCSettings("choice", **{name: kind(value)}, **needed)
    assert getattr(made, name) == value
    assert type(getattr(made, name)) is type(getattr(NDCSettings, name))


@pytest.mark.parametrize("kind", [tuple, list, set, np.array, iter])
@pytest.mark.parametrize(
    ("name", "values"), [("ks", [8, 16]), ("fovs", [0, 2]), ("c_grid", [0.1, 1.0]), ("regions", ["MOs", "VISp"])]
)
def test_a_sequence_may_be_of_any_type(name, values, kind):
    found = getattr(NDCSettings("choice", penalty="scaled", **{name: kind(values)}), name)
    assert found == tuple(values)
    assert {type(one) for one in found} == {type(values[0])}


@pytest.mark.parametrize("value", [64, 64.0, np.int32(64), np.array(64), [64]])
def test_one_number_is_a_sequence_of_one(value):
    assert NDCSettings("choice", ks=value).ks == (64,)


@pytest.mark.parametrize("one", RECORDS, ids=lambda one: one.name)
def test_defaults_and_former_values_are_allowed(one):
    """A record is consistent: its default, and the type of its field, are of its kind."""
    made = NDCSettings("choice")
    value = getattr(made, one.name)
    kind = typing.get_type_hints(NDCSettings)[one.name]
    of_kind = typing.get_args(kind)[0] if typing.get_args(kind) else kind
    items = value if isinstance(value, tuple) else [value]
    assert {type(item) for item in items} <= {of_kind}
    assert one.take(value) == value
    if one.came_later:
        assert one.take(one.before) == one.before
    assert one.help.endswith(".") and one.sql


@pytest.mark.parametrize(
    "value", [None, "five", "5", [5], np.array([5]), {}, object(), float("nan"), float("inf"), 5.5]
)
@pytest.mark.parametrize("name", ["r", "cv_splits", "seed", "n_cells"])
def test_what_is_refused_is_named_with_what_was_expected_and_found(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number from \d, not ") as caught:
        NDCSettings("choice", **{name: value})
    assert str(caught.value).endswith(repr(value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "f1"}, "metric must be one of auc, accuracy, balanced_accuracy, r2, spearman, not 'f1'"),
        ({"metric": np.array(["auc"])}, "metric must be one of .*, not array"),
        ({"scaling": "no"}, "scaling must be True or False, not 'no'"),
        ({"scaling": 2}, "scaling must be True or False, not 2"),
        ({"scaling": None}, "scaling must be True or False, not None"),
        ({"c": "strong"}, "c must be a number above 0, not 'strong'"),
        ({"c": "0.5"}, "c must be a number above 0, not '0.5'"),
        ({"delta": 1}, "delta must be a number from 0 and below 1, not 1"),
        ({"win_start": "now"}, "win_start must be a finite number, not 'now'"),
        ({"ks": "8,16"}, "ks must be a list of one or more, each a whole number from 1, not '8,16'"),
        ({"ks": [[8, 16]]}, "ks must be a list"),
        ({"ks": np.ones((2, 2))}, "ks must be a list"),
        ({"ks": {8: 16}}, "ks must be a list"),
        ({"fovs": (0, 0)}, r"fovs must be a list, each a whole number from 0, none twice, not \(0, 0\)"),
        ({"regions": "VISp"}, "regions must be a list, each an acronym of the Allen atlas such as 'VISp'"),
        ({"regions": [" "]}, "regions must be a list"),
        ({"c_grid": (0.1,), "penalty": "fixed"}, "c_grid must have two or more values"),
        ({"c_grid": (0.1, 1), "c": 2, "penalty": "scaled"}, "leave out c=2"),
        ({"c": 2}, "auto' chooses c itself, not with c=2 and .*use penalty='scaled'"),
        ({"penalty": "auto", "c_grid": (0.1, 1)}, "auto' chooses c itself, not with c=1"),
        ({"penalty": "scaled", "penalize_intercept": True}, "penalize_intercept would pull the intercept to 0"),
        ({"penalty": "ridge"}, "penalty must be one of fixed, scaled, auto, not 'ridge'"),
        ({"cells_seed": 1}, "use cells='random'"),
        ({"fold_gap": 1}, "use fold_mode='blocked'"),
        ({"n_cells": 9, "curve_axis": "trials"}, "n_cells=9 limits a curve over cells"),
        ({"win_start": 1, "win_end": 0}, "the window must start before it ends, not win_start=1 and win_end=0"),
        ({"event": "choice"}, "event must be one of goCue_times, "),
    ],
    ids=str,
)
def test_each_refusal_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        NDCSettings("choice", **change)


def test_events_are_the_trial_attributes_that_are_times():
    assert set(EVENT_TIMES) == {name for name in TRIAL_ATTRIBUTES if name.endswith("_times")}


def test_the_docstring_lists_every_setting():
    text = inspect.getdoc(NDCSettings)  # Python 3.13 takes the common indentation away when it compiles
    assert "{settings}" not in text
    for one in RECORDS:
        assert f"\n{one.name} : " in text


def test_settings_survive_the_columns_of_a_table():
    for asked in KEYS.values():
        made = NDCSettings(**asked, penalty="fixed")
        row = json.loads(json.dumps(made.as_columns()))
        assert [name for name in ("c_grid", "regions", "fovs") if row[name] is None] == [
            name for name in ("c_grid", "regions", "fovs") if not getattr(made, name)
        ]
        assert "null" not in row and row["max_cells"] == made.n_cells
        assert NDCSettings.from_columns({**row, "ndc_params": "x"}) == made


# ------------------------------------------------------------------------------------------------ several targets


def test_a_target_asked_for_twice_is_one():
    assert [one.target for one in curve_settings(["block", "choice", "block"])] == ["block", "choice"]
    assert curve_settings(np.array(["choice", "choice"])) == curve_settings("choice") == [NDCSettings("choice")]
    assert [one.target for one in curve_settings()] == list(TARGETS)


def test_event_and_window_are_for_all_targets_or_by_target():
    both = curve_settings(("choice", "block"), event="goCue_times", win=np.array([0, 1]))
    assert {(one.event, one.win_start, one.win_end) for one in both} == {("goCue_times", 0.0, 1.0)}
    choice, block = curve_settings(("choice", "block"), event={"choice": "goCue_times"}, win={"block": (-1, 0)})
    assert (choice.event, block.event) == ("goCue_times", EVENTS["block"][0])
    assert (choice.win_start, choice.win_end) == EVENTS["choice"][1]
    assert (block.win_start, block.win_end) == (-1, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"R": 3, "r": 4}, "R and r are the same setting"),
        ({"win": (0, 1), "win_end": 2}, "win is win_start and win_end together"),
        ({"win": 3}, r"win must be start and end in s, such as \(-0.1, 0\), not 3"),
        ({"win": (0, 1, 2)}, "win must be start and end"),
        ({"win": {"chocie": (0, 1)}}, "win must be a dict by target, with keys of choice, .*, not chocie"),
        ({"event": {"chocie": "goCue_times"}}, "event must be a dict by target"),
        ({"win": (-100, 0)}, r"-100 to 0 s reaches further than 50 s from .*if this is in ms, use -0.1 to 0"),
        ({"win_start": 0, "win_end": 200.0}, "if this is in ms, use 0 to 0.2"),
        ({"targets": ["reward"]}, "target must be one of choice, feedback, stimulus, block, not 'reward'"),
        ({"by_region": ["VISp"], "regions": ["VISp"]}, "regions decodes the cells of all these regions together"),
        ({"by_region": ["VISp"], "curve_axis": "trials", "ks": [40]}, "by_region compares regions"),
        ({"by_region": "VISp,RSP"}, "by_region must be a list, each an acronym .* not 'VISp,RSP'"),
        ({"by_region": True}, "by_region must be a list, each an acronym .* not True"),
    ],
    ids=str,
)
def test_words_that_contradict_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        curve_settings(**words)


def test_curves_by_region_begin_with_two_cells():
    assert curve_settings("choice", by_region=["VISp"])[0].ks == (2, 4, *KS)
    assert curve_settings("choice", by_region=["VISp"], ks=[8])[0].ks == (8,)
    assert curve_settings("choice", R=7)[0].r == 7


# ---------------------------------------------------------------------------------------------- models of the mouse


def test_a_null_without_a_mouse_has_the_key_that_it_had():
    for null in ("permute", "circular", "linear_shift", "imposter"):
        made = NDCSettings("choice", null=null)
        assert made.choice_model == "static" and "choice_model" not in made.content()
    for null in ("auto", "pseudosession"):
        made = NDCSettings("choice", null=null)
        assert made.content()["choice_model"] == "habits"
        assert NDCSettings("choice", null=null, choice_model="dynamic").content()["choice_model"] == "dynamic"
        assert "choice_model" not in NDCSettings("choice", null=null, choice_model="static").content()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "block", "null": "conditional"}, "draws choice or feedback with .* not block"),
        ({"null": "conditional", "choice_model": "static"}, "not choice with 'static'"),
        ({"imposter_align": "end"}, "use null='imposter'"),
    ],
)
def test_models_that_a_null_does_not_have_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        NDCSettings(**{"target": "choice", **change})


def test_c_of_numbers_is_chosen_by_several_k_unless_it_is_said():
    """As every key of numbers before version 33, and none of those with 'wide' since."""
    numbers = {"target": "speed", "labels": "a1" * 16, "metric": "r2"}
    made, wide = NDCSettings(**numbers), NDCSettings(**numbers, c_range="wide")
    assert made.c_range == "narrow" and "c_range" not in made.content()
    assert wide.content()["c_range"] == "wide" and NDCSettings(**wide.content()) == wide != made
    assert Validation(metric="r2", penalty="auto").c_range == "narrow"
    assert Validation(penalty="auto").c_range == "wide" == Validation(metric="r2", c_range="wide").c_range


def test_a_curve_whose_c_is_not_chosen_or_chosen_as_before_has_the_key_that_it_had():
    assert NDCSettings("choice").content()["c_range"] == "wide"
    assert (
        key_of(NDCSettings("choice", c_range="narrow", shared_folds=False, choice_model="dynamic"))
        == "c5169d0f28da16e21428091b93e6f591"
    )
    for penalty in ("fixed", "scaled"):
        made = NDCSettings("choice", penalty=penalty)
        assert "c_range" not in made.content() and made == NDCSettings("choice", penalty=penalty, c_range="narrow")


@pytest.mark.parametrize(
    "alone",
    [
        {"null_subsets": 0}, {"curve_axis": "trials"}, {"trial_shuffled": True},
        {"beyond": "stimulus", "null": "auto"}, {"target": "wheel", "labels": "a" * 32, "metric": "r2", "null": "auto"},
        {"null": "pseudosession"}, {"null": "auto"}, {"null": "imposter"},
    ],
    ids=str,
)  # fmt: skip
def test_a_curve_whose_null_labels_cannot_share_folds_has_the_key_that_it_had(alone):
    alone = {"target": "choice", "null": "permute", **alone}
    made = NDCSettings(**alone)
    assert made == NDCSettings(**alone, shared_folds=False)
    assert "shared_folds" not in made.content()
    with_grid = NDCSettings(**alone, penalty="scaled", c_grid=(0.1, 1.0))
    assert with_grid.shared_folds and with_grid.content()["shared_folds"]


@pytest.mark.parametrize(
    "asked",
    [
        {"null": "permute"}, {"null": "linear_shift"}, {"class_balance": "weights"}, {"class_balance": "none"},
        {"target": "arousal", "labels": "a" * 32},
    ],
    ids=str,
)  # fmt: skip
def test_null_labels_of_the_same_trials_share_folds(asked):
    made = NDCSettings(**{"target": "choice", **asked})
    assert made.shared_folds and made.content()["shared_folds"]
    assert made != NDCSettings(**{"target": "choice", **asked}, shared_folds=False)


# ---------------------------------------------------------------------------------------------- beyond the stimulus


def test_a_curve_beyond_nothing_has_the_key_that_it_had():
    assert "beyond" not in NDCSettings("choice").content()
    made = NDCSettings("feedback", beyond="stimulus+history")
    assert made.content()["beyond"] == "stimulus+history" and made.class_balance == "none"
    assert made.title == "feedback beyond stimulus and history"
    assert made == NDCSettings("feedback", beyond="stimulus+history", class_balance="none")


@pytest.mark.parametrize(
    "change",
    [
        {"target": "block"}, {"target": "stimulus"}, {"null": "pseudosession"}, {"null": "imposter"},
        {"metric": "accuracy"}, {"curve_axis": "trials"}, {"class_balance": "weights"}, {"trial_shuffled": True},
        {"choice_model": "static"}, {"intervals": "test_trials"},
    ],
    ids=str,
)  # fmt: skip
def test_what_has_no_meaning_within_strata_is_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"beyond='stimulus' needs {name} "):
        NDCSettings(**{"target": "choice", "beyond": "stimulus", **change})
