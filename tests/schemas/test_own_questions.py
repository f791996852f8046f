"""Trials of one's own: which are decoded, why the others are not, and what the null takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import meso
import schemas
from pipeline.behavior.trial_columns import first_failed
from pipeline.decoding import NDCSettings, neuron_dropping_curve
from pipeline.decoding.nulls import null_labels
from pipeline.decoding.trials import balanced_labels
from pipeline.errors import NotFoundError
from schemas.decoding.run import NDCRun, run_ndc
from schemas.session import trials_of
from schemas.tracking import TrackingRun

S = 19
SMALL = {"ks": (8, 32), "r": 4, "n_label_shuffles": S, "n_bootstrap": 20, "penalty": "scaled"}
CONDITION = "contrast > 0.1 and correct"


@pytest.fixture(scope="module")
def run(demo_sessions) -> Iterator[NDCRun]:
    """The choice in all trials, and in trials that are correct and have a contrast above 0.1."""
    asked = [NDCSettings("choice", **SMALL), NDCSettings("choice", trials=CONDITION, **SMALL)]
    yield run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), asked)
    for one in asked:
        (schemas.NDCParams & schemas.NDCParams.add(one)).delete()


def key_of(row: dict) -> dict:
    return {name: row[name] for name in schemas.NDCResult.primary_key}


def test_every_trial_has_its_fate(run):
    every, some = (target.curves for target in run.targets)
    for one, other in zip(every, some, strict=True):
        before, after = ((schemas.TrialFeatures.Trial & key_of(row)).to_dicts(order_by="trial") for row in (one, other))
        trials = (schemas.Behavior.Trial & {"eid": one["eid"]}).to_dicts(order_by="trial")
        for was, now, trial in zip(before, after, trials, strict=True):
            contrast = max(trial["contrast_left"] or 0, trial["contrast_right"] or 0)
            failed = "trials 1" if not contrast > 0.1 else "trials 2" if trial["feedback_type"] != 1 else ""
            plain = was["trial_outcome"]
            assert now["trial_outcome"] == (failed or "usable" if plain == "usable" else plain)
        outcomes = {row["trial_outcome"] for row in after}
        assert {"usable", "trials 1", "trials 2"} <= outcomes
        features = [np.asarray((schemas.TrialFeatures & key_of(row)).fetch1("trial_features")) for row in (one, other)]
        np.testing.assert_array_equal(*features)  # also of the trials that are not decoded
        use = (schemas.NDCResult.Trial & key_of(other)).to_arrays("trial_use", order_by="trial")
        assert [u for u in use if u.startswith("trials")] == [
            row["trial_outcome"] for row in after if row["trial_outcome"].startswith("trials")
        ]


def test_curves_are_those_of_the_chosen_trials_and_of_simulated_sessions_with_theirs(run):
    for row in run.targets[1].curves:
        eid, key = row["eid"], key_of(row)
        features = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))
        numbers, use = (schemas.NDCResult.Trial & key).to_arrays("trial", "trial_use", order_by="trial")
        trials, numbers = trials_of(eid), numbers.astype(int)
        assert (first_failed(CONDITION, trials)[numbers[use == "kept"]] == 0).all()
        y = np.where(use == "kept", trials["choice"][numbers] == 1, -1).astype(np.int8)
        assert (y >= 0).sum() == row["n_decoded"] and (y == 1).sum() == (y == 0).sum() == row["n_class_1"]
        assert 20 < row["n_decoded"] < run.targets[0].curves[0]["n_decoded"]
        null = null_labels("auto", "choice", trials, numbers, S, 0, names=(eid, "choice"), condition=CONDITION)[1]
        balanced = balanced_labels(null, "downsample", row["n_decoded"], 0, eid, "choice")
        again = neuron_dropping_curve(
            features, y, ks=[8, 32, row["n_cells"]], R=4, n_label_shuffles=S, null=balanced, penalty="scaled"
        )
        for point, scores, nulls in zip(row["curve"], again.scores, again.null_scores, strict=True):
            np.testing.assert_array_equal(point["scores"], scores)
            np.testing.assert_array_equal(point["null_scores"], nulls)


def test_the_condition_is_in_table_notes_and_views(run, database):
    from schemas.server.settings import prefix

    name = f"choice (trials={CONDITION})"
    assert f"{name}: only trials with {CONDITION}" in run.notes
    assert [target.name for target in run.targets] == ["choice (trials=all)", name]
    assert set(run.table["trials"]) == {"", CONDITION}
    found = database.query(f"SELECT trials FROM {prefix()}views.ndc_summary").fetchall()
    assert {row[0] for row in found} >= {"", CONDITION}


def test_the_notebook_has_the_columns(demo_sessions):
    table = meso.trial_columns(demo_sessions[0][:8])
    rows = (schemas.Behavior.Trial & {"eid": demo_sessions[0]}).to_dicts(order_by="trial")
    assert table["choice"].tolist() == [row["choice"] for row in rows]
    assert table["n_trials"].tolist() == [len(rows)] * len(rows)
    with pytest.raises(NotFoundError):
        meso.trial_columns("00000000-0000-0000-0000-000000000000")


def test_too_few_trials_are_named_by_clause(demo_sessions):
    few = NDCSettings("choice", trials="correct and index < 6", **SMALL)
    found = run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [few])
    text = found.failed[demo_sessions[0]]
    assert "too few trials to decode of choice" in text or "of one class" in text
    assert "trials 1 " in text and "trials 2 " in text
    (schemas.NDCParams & schemas.NDCParams.add(few)).delete()
