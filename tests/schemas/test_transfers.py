"""Transfer between the demo's sessions in the database, against the same computed from the stored features."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

import meso
import schemas
from drawing.transfer import DrawableTransfer
from pipeline.decoding import NDCSettings
from pipeline.decoding.transfer import Day, relative_transfer, transfer_decay, transfer_scores
from pipeline.errors import ArgumentError
from schemas.decoding.shuffles import shuffles
from schemas.decoding.tables import _common_trials
from schemas.tracking import TrackingRun
from schemas.upkeep import update
from schemas.work.filling import fill

#: On both, test_backends.py compares the rows, before and after an update and a deletion.
pytestmark = pytest.mark.one_backend

SETTINGS = NDCSettings("stimulus", ks=(8,), r=4, n_label_shuffles=19, penalty="scaled", null="permute")


@pytest.fixture(scope="module")
def run(demo_sessions) -> DrawableTransfer:
    words = {"ks": (8,), "r": 4, "n_label_shuffles": 19, "penalty": "scaled", "null": "permute"}
    found = meso.transfer(demo_sessions, targets=("stimulus",), plot=False, progress=False, **words)
    yield found
    (schemas.NDCParams & {"ndc_params": found.targets[0].ndc_params}).delete()


@pytest.fixture(scope="module")
def days(run, demo_sessions) -> list[Day]:
    """The sessions from their stored features and trials, by date."""
    found = []
    for eid in demo_sessions:
        key = {**run.session_set, "ndc_params": run.targets[0].ndc_params, "eid": eid}
        X = (schemas.TrialFeatures & key).fetch1("trial_features")
        trials, labels = (schemas.TrialFeatures.Trial & key & "trial_outcome = 'usable'").to_arrays(
            "trial", "trial_label", order_by="trial"
        )
        n_common, _ = _common_trials(key)
        y = schemas.decoding.tables.decoding.pick_trials(labels.astype(int), "downsample", n_common, 0, eid, "stimulus")
        y = np.where(y == "kept", labels, -1).astype(np.int8)
        assert shuffles(key, SETTINGS, trials, n_common).labels is None
        null = [np.random.default_rng(np.random.SeedSequence([0, s, 1])).permutation(y[y >= 0]) for s in range(19)]
        vectors = np.full((19, len(y)), -1, dtype=np.int8)
        vectors[:, y >= 0] = null
        found.append(Day(np.asarray(X), y, null=vectors))
    return found


def test_stored_scores_are_those_of_the_stored_features(run, days):
    (target,) = run.targets
    assert run.failures == [] and len(target.rows) == 16
    expected = transfer_scores(days, SETTINGS)
    for column, name in (
        ("transfer_score", "score"), ("transfer_low", "low"), ("transfer_high", "high"), ("transfer_p", "p"),
        ("refit_score", "refit_score"), ("half_score", "half_score"), ("n_train", "n_train"), ("n_test", "n_test"),
    ):  # fmt: skip
        np.testing.assert_allclose(target.square(column), expected.of(name), atol=1e-12, err_msg=column)
    assert target.square("transfer_score").min() > 0.55  # the demo's code of the stimulus stays
    halves = expected.of("half_score")
    np.testing.assert_allclose(target.square("relative"), relative_transfer(halves, "auc"), rtol=1e-12)
    p = expected.of("p")
    np.testing.assert_allclose(target.square("transfer_q"), false_discovery_control(p.ravel()).reshape(4, 4))


def test_table_matrix_and_decay_agree(run, demo_sessions):
    table, matrix = run.table, run.matrix["stimulus"]
    assert len(table) == 16 and set(table["eid"]) == set(demo_sessions)
    assert matrix.index.name == "train" and list(matrix.index) == list(matrix.columns) == sorted(matrix.columns)
    for row in table.itertuples():
        assert matrix.loc[row.train_date, row.session_date] == row.transfer_score
        assert row.gap_days == abs((row.session_date - row.train_date).days)
        assert row.transfer_low <= row.transfer_score <= row.transfer_high
    decay, stored = run.decay["stimulus"], run.targets[0].row
    assert (stored["decay_slope"], stored["decay_p"]) == (decay.slope, decay.p)
    assert (stored["mean_transfer"], stored["n_tested"], stored["n_untested"]) == (decay.mean, 4, 0)
    dates = list(matrix.index)
    again = transfer_decay(run.targets[0].square("half_score"), [(date - dates[0]).days for date in dates])
    assert (again.slope, again.low, again.high) == (decay.slope, decay.low, decay.high)


def test_figures_and_screen(run, capsys):
    assert set(run.draw()) == {"stimulus"}
    assert {line.get_label() for line in run.figures["stimulus"].axes[1].lines} >= {"pairs", "split half", "decay"}
    run.show()
    text = capsys.readouterr().out
    assert "transfer relative to the split halves: mean" in text and "trained on" in text


def test_what_is_stored_goes_with_its_features_and_comes_back(run, demo_sessions):
    task = {**run.session_set, "ndc_params": run.targets[0].ndc_params}
    before = run.table
    (schemas.TrialFeatures & task & {"eid": demo_sessions[1]}).delete()
    # also the other sessions, which its readouts had decoded
    assert len(schemas.TransferResult & task) == len(schemas.TransferMatrix & task) == 0
    assert len(schemas.TransferTask & task) == 1
    assert not fill([schemas.TransferResult, schemas.TransferMatrix], task).errors
    assert len(schemas.TransferResult & task) == 0  # a session has neither features nor failed
    # as a session that was computed without the one that has features only now
    row = {**task, "scaler": "own", "eid": demo_sessions[0], "n_test": 1, "transfer_c": 1.0, "transfer_null": "none"}
    schemas.TransferResult.insert1({**row, **schemas.Environment.current()}, allow_direct_insert=True)
    assert not fill([schemas.TrialFeatures], task).errors
    assert len(schemas.TransferResult & task) == 0
    row = {**task, "scaler": "own", "n_tested": 0, "n_untested": 4, "n_above_chance": 0}
    schemas.TransferMatrix.insert1({**row, **schemas.Environment.current()}, allow_direct_insert=True)
    assert not fill([schemas.TransferResult], task).errors
    assert len(schemas.TransferMatrix & task) == 0
    assert not fill([schemas.TransferMatrix], task).errors
    again = meso.transfer(
        demo_sessions, targets=("stimulus",), plot=False, progress=False, ks=(8,), r=4, n_label_shuffles=19,
        penalty="scaled", null="permute",
    )  # fmt: skip
    pd.testing.assert_frame_equal(again.table, before, check_exact=True)
    (schemas.TransferResult & task & {"eid": demo_sessions[0]}).delete()
    assert len(schemas.TransferMatrix & task) == 0 and len(schemas.TransferResult & task) == 3
    assert not fill([schemas.TransferResult, schemas.TransferMatrix], task).errors
    assert len(schemas.TransferMatrix.Pair & task) == 16


def test_new_features_delete_the_results_of_the_task(run, demo_sessions):
    task = {**run.session_set, "ndc_params": run.targets[0].ndc_params}
    schemas.TransferResult.invalidate_task({**task, "eid": demo_sessions[2]})
    assert len(schemas.TransferResult & task) == len(schemas.TransferMatrix & task) == 0
    assert not fill([schemas.TransferResult, schemas.TransferMatrix], task).errors


def test_no_curve_is_computed_that_nobody_asked_for(run):
    task = {**run.session_set, "ndc_params": run.targets[0].ndc_params}
    params = [{"ndc_params": task["ndc_params"]}]
    assert not fill([schemas.NDCResult], task).errors
    assert len(schemas.NDCResult().key_source & task) == len(schemas.NDCResult & task) == 0
    schemas.NDCTask.ask(run.session_set, params)
    assert len(schemas.NDCResult().key_source & task) == 4
    # a transfer that is asked for again takes no curve away
    schemas.TransferTask.add(run.session_set, [run.targets[0].settings], "own")
    assert len(schemas.NDCResult().key_source & task) == 4
    schemas.NDCTask.WithoutCurve.insert1(task)


def test_an_update_asks_for_the_transfer_alone_again(run):
    task = {**run.session_set, "ndc_params": run.targets[0].ndc_params}
    question = update._set_question(run.session_set)  # with what other tests have asked of these sessions
    mine = [task["ndc_params"], "own"]
    assert mine in question["transfers"] and mine[0] not in question["tasks"]
    question |= {"tasks": [], "transfers": [mine]}
    (schemas.NDCTask & task).delete()
    update._ask_curves([question], {task["session_set"]: run.session_set})
    assert len(schemas.TransferTask & task) == len(schemas.NDCTask.WithoutCurve & task) == 1
    assert not fill([schemas.TrialFeatures, schemas.TransferResult, schemas.TransferMatrix], task).errors
    assert len(schemas.TransferMatrix & task) == 1 and not len(schemas.NDCResult().key_source & task)


def test_the_command_prints_the_same(run, demo_sessions, meso_command, tmp_path):
    options = ["--target", "stimulus", "-R", 4, "--n-label-shuffles", 19, "--penalty", "scaled", "--null", "permute",
               "--output", tmp_path]  # fmt: skip
    done = meso_command("transfer", *demo_sessions, *options, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 16
    # other settings of the same target do not take the place of a figure
    some = meso_command("transfer", *demo_sessions, *options, "--trials", "index >= 40")
    assert "\nstimulus (AUC)\n" in some.stdout and "! stimulus: only trials with index >= 40\n" in some.stdout
    figures = {path.name for path in tmp_path.iterdir()} - {"transfer.csv"}
    assert len(figures) == 2 and all(re.fullmatch(r"transfer_SP999_stimulus_[0-9a-f]{8}\.png", one) for one in figures)
    shown = meso_command("transfer", *demo_sessions, "--target", "stimulus", "--scaler", "trained", "--no-scaling",
                         "--cells", "random")  # fmt: skip
    assert shown.returncode == 2 and "No such option" in shown.stderr


def test_settings_without_meaning_are_refused_before_anything_is_stored(demo_sessions):
    n_tasks = len(schemas.TransferTask())
    with pytest.raises(ArgumentError, match="needs cells 'shared', not 'random'"):
        meso.transfer(demo_sessions, cells="random")
    session_set = schemas.SessionSet.add(demo_sessions, TrackingRun.register("SP999"))
    with pytest.raises(ArgumentError, match="scaler must be one of own, trained"):
        schemas.TransferTask.add(session_set, [SETTINGS], "both")
    assert len(schemas.TransferTask()) == n_tasks
