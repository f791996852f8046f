"""The calls as the scripts made them: names, order of arguments, keywords."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import meso
import meso_chronic
import meso_decode
import schemas
from pipeline.decoding import NDCSettings, on_first_clock
from pipeline.decoding.features import FOVCells
from pipeline.errors import DataError
from pipeline.settings.curves import PRESETS, curve_settings
from schemas.imaging.reading import fov_traces
from schemas.session import trials_of
from schemas.tracking import TrackingRun


@pytest.mark.one_backend  # the arguments of calls that other tests make on both
def test_the_third_argument_of_loading_is_rerun(demo_sessions):
    """It was filter_neurons: False gave all ROIs without a word."""
    eid = demo_sessions[0]
    expected = len(schemas.ROI & {"eid": eid} & "is_neuron")
    assert len(meso.load_or_embed(eid, None, False)["isort"]) == expected
    again = meso.embed_meso(eid, None, rerun=True)
    np.testing.assert_array_equal(again["roi_signal"], meso.load_or_embed(eid)["roi_signal"])


@pytest.mark.one_backend  # the arguments of calls that other tests make on both
def test_matching_takes_the_keywords_of_the_scripts(demo_sessions):
    first, *others = demo_sessions
    match = meso_chronic.match_tracked_indices_across_sessions
    expected = match(first, others)
    for found in (
        match(one=object(), anchor_eid=first, other_eids=others, sanity_check=True),
        match(first, other_eids=others),
        match(None, first, others),
    ):
        assert found.keys() == expected.keys()
        for eid, rows in found.items():
            np.testing.assert_array_equal(rows, expected[eid])
    for wrong in ({"anchor_eid": first}, {"anchor_eid": others, "other_eids": first}):
        with pytest.raises(meso.ArgumentTypeError, match="one id and a list of ids"):
            match(**wrong)


def test_the_root_of_uid_files_may_be_a_path(demo_sessions, demo_truth, tmp_path):
    """It was an error of the database's driver."""
    for date, eid in zip(demo_truth.dates, demo_truth.eids, strict=True):
        if eid in demo_sessions[:2]:
            for file in demo_truth.root.glob(f"*/Subjects/*/{date}/001/alf/FOV_*/mpciROIs.clusterUIDs*.csv"):
                copy = tmp_path / "ROICaT" / Path(*file.parts[file.parts.index("Subjects") + 1 :])
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
    first, second = demo_sessions[:2]
    expected = meso.match_tracked_indices_across_sessions(first, [second])
    try:
        found = meso.match_tracked_indices_across_sessions(first, [second], roicat_root=tmp_path)
        for eid in (first, second):
            np.testing.assert_array_equal(found[eid], expected[eid])
    finally:
        (TrackingRun & {"uid_root": str(tmp_path)}).delete()


def test_a_root_of_uid_files_that_does_not_exist_is_said(demo_sessions, tmp_path):
    nowhere, (first, second) = tmp_path / "none", demo_sessions[:2]
    with pytest.raises(meso.DataError, match=f"there is no folder {nowhere}"):
        meso.match_tracked_indices_across_sessions(first, [second], roicat_root=nowhere)


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_cells_in_space_are_coloured_by_rank_or_region(demo_sessions):
    cells = meso.load_or_embed(demo_sessions[0])
    (drawn,) = next(ax for ax in meso.plot_xyz(demo_sessions[0]).axes if ax.get_label() == "cells").collections[:1]
    rank = np.empty(len(cells["isort"]))
    rank[cells["isort"]] = np.arange(len(rank))
    assert sorted(drawn.get_array()) == sorted(rank)
    assert meso.plot_xyz(demo_sessions[0], mapping="regions").axes
    with pytest.raises(meso.ArgumentError, match="mapping must be one of isort, regions, not 'rank'"):
        meso.plot_xyz(demo_sessions[0], mapping="rank")


def test_windows_are_those_of_the_trials_in_the_files(demo_sessions, demo_truth):
    eid = demo_sessions[0]
    (file,) = demo_truth.root.glob(
        f"*/Subjects/*/{demo_truth.dates[demo_truth.eids.index(eid)]}/001/alf/**/*trials.table*"
    )
    trials = pd.read_parquet(file)
    found = meso.get_win_times(eid)
    assert len(found) == 26
    moved = trials.firstMovement_times[trials.choice == 1].dropna()
    np.testing.assert_array_equal(found["choiceL"], np.column_stack([moved, moved + 0.15]))


def test_words_of_the_scripts_name_the_same_settings():
    assert NDCSettings("choice", metric="acc") == NDCSettings("choice", metric="accuracy")
    targets = ["choice", "feedback", "stimulus", "block"]
    assert [one.target for one in curve_settings(targets, metric="acc")] == targets
    assert meso_decode.neuron_dropping_curves_cached is meso.neuron_dropping_curves_cached


# ------------------------------------------------------------------------------------------------ settings="scripts"

#: What the scripts did, in our settings.
AS_THE_SCRIPTS = {
    "win_start": 0.0, "win_end": 0.15, "event": "firstMovement_times", "short_window": "first_clock",
    "scan_line_column": 1, "use_flagged_frames": True, "class_balance": "downsample", "equalize_trials": True,
    "ks": (8, 16, 32, 64, 128, 256, 512, 1024, 2048), "r": 50, "metric": "auc", "cv_splits": 5, "scaling": True,
    "fold_mode": "stratified", "c": 1.0, "penalty": "fixed", "penalize_intercept": True, "ceiling_mode": "maxk",
    "delta": 0.02, "null": "permute", "null_subsets": 0, "n_label_shuffles": 100, "seed": 0, "shuffle_seed": 0,
    "cells": "shared", "beyond": "none", "trials": "",
}  # fmt: skip


def test_the_settings_of_the_scripts_are_these():
    choice, feedback, stimulus, block = curve_settings(
        ["choice", "feedback", "stimulus", "block"], settings="scripts", ks=NDCSettings.ks
    )
    assert {name: getattr(choice, name) for name in AS_THE_SCRIPTS} == AS_THE_SCRIPTS
    windows = [(one.event, one.win_start, one.win_end) for one in (feedback, stimulus, block)]
    assert windows == [("feedback_times", 0, 0.2), ("stimOn_times", 0, 0.1), ("stimOn_times", -0.4, -0.1)]
    # whether one of these was given cannot be seen, so that the preset must not have it
    shown = inspect.signature(meso.neuron_dropping_curves_cached).parameters
    assert not [name for one in PRESETS.values() for name in one.values if name in shown]


def test_what_is_given_overrides_the_preset():
    def one(**words) -> NDCSettings:
        return curve_settings(["choice"], settings="scripts", **words)[0]

    assert (one(null="circular").null, one(C=0.1).c, one(R=7).r) == ("circular", 0.1, 7)
    assert one(win=(-0.1, 0)) == one(win={"choice": (-0.1, 0)}) == one(win_start=-0.1, win_end=0.0)
    assert (one(win={"block": (-1, 0)}).win_start, one(event="goCue_times").win_end) == (0, 0.15)
    with pytest.raises(meso.ArgumentError, match="settings must be one of scripts, not 'script'"):
        meso.neuron_dropping_curves_cached(["an-eid"], settings="script")


@pytest.fixture(scope="module")
def as_scripts(demo_sessions) -> Iterator:
    """The choice of two sessions, decoded as the scripts did."""
    out = meso.neuron_dropping_curves_cached(
        demo_sessions[:2], ["choice"], ks=(4, 16), R=3, n_label_shuffles=5, n_bootstrap=0, settings="scripts",
        plot=False, progress=False,
    )  # fmt: skip
    yield out
    (schemas.NDCParams & {"ndc_params": out.targets[0].ndc_params}).delete()


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_features_are_those_of_the_scripts(as_scripts, demo_sessions):
    """Means over the frames of one clock, that of the first FOV's first ROI; trials without one are left out."""
    rows = meso.match_tracked_indices_across_sessions(demo_sessions[0], [demo_sessions[1]])
    for row in as_scripts.curves["choice"]:
        eid, key = row["eid"], {name: row[name] for name in schemas.NDCResult.primary_key}
        clock = meso.load_or_embed(eid, 0, filter_neurons=False, scan_line_column=1)["roi_times"][0]
        signal, trials = meso.load_or_embed(eid, rows[eid])["roi_signal"], trials_of(eid)
        starts = trials["firstMovement_times"]
        low, high = np.searchsorted(clock, starts, "left"), np.searchsorted(clock, starts + 0.15, "right")
        numbers, outcome = (schemas.TrialFeatures.Trial & key).to_arrays("trial", "trial_outcome", order_by="trial")
        chosen = np.isin(trials["choice"], (1, -1)) & np.isfinite(starts)
        imaged = (starts >= clock[0]) & (starts + 0.15 <= clock[-1]) & ~np.isin(outcome, ["outside", "gap"])
        expected = np.flatnonzero(chosen & imaged & (high > low))
        np.testing.assert_array_equal(numbers[outcome == "usable"], expected)
        assert 0.5 < len(expected) / (chosen & imaged).sum() < 0.95  # 0.15 s, with frames every 0.2 s
        features = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))
        by_hand = [signal[:, low[i] : high[i]].mean(axis=1, dtype=float) for i in expected]
        np.testing.assert_allclose(features, by_hand, rtol=1e-6)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_scores_are_those_of_the_classifier_of_the_scripts(as_scripts):
    """LogisticRegression(solver="liblinear", C=1), which penalises the intercept, over the same folds."""
    for row in as_scripts.curves["choice"]:
        key = {name: row[name] for name in schemas.NDCResult.primary_key}
        numbers, use = (schemas.NDCResult.Trial & key).to_arrays("trial", "trial_use", order_by="trial")
        X = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))[use == "kept"]
        y = (trials_of(row["eid"])["choice"][numbers[use == "kept"].astype(int)] == 1).astype(int)
        assert (y == 1).sum() == (y == 0).sum() == row["n_decoded"] / 2
        model = LogisticRegression(solver="liblinear", C=1.0, max_iter=2000)
        (found,) = (schemas.NDCResult.Curve & key & f"k = {X.shape[1]}").to_arrays("scores")
        for r, score in enumerate(found):
            seed = int(np.random.SeedSequence([0, r]).spawn(2)[1].generate_state(1)[0])
            folds = StratifiedKFold(5, shuffle=True, random_state=seed)
            expected = cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=folds, scoring="roc_auc")
            assert score == pytest.approx(expected.mean(), abs=0.002)
            # fitted on all trials, as theirs is, the scaler gives a little more
            theirs = cross_val_score(model, StandardScaler().fit_transform(X), y, cv=folds, scoring="roc_auc")
            assert score == pytest.approx(theirs.mean(), abs=0.03)


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_the_run_says_what_still_differs(as_scripts):
    assert as_scripts.notes[0] == PRESETS["scripts"].note


def test_fovs_of_other_lengths_have_no_common_clock():
    fovs = [
        FOVCells(np.array([i]), np.ones((1, n)), 0.01 * i + 0.2 * np.arange(n), np.zeros(1))
        for i, n in ((0, 9), (1, 8))
    ]
    one, same = on_first_clock([fovs[0], fovs[0]], 0.03)
    np.testing.assert_array_equal(one.frame_times, fovs[0].frame_times)
    assert one.offsets.tolist() == same.offsets.tolist() == [0.03]
    with pytest.raises(DataError, match=r"differ in their number of frames, .*found 8, 9"):
        on_first_clock(fovs, 0.0)


# -------------------------------------------------------------------------------------------------- idx_map_override

QUICK = {"ks": (4,), "R": 2, "n_label_shuffles": 0, "n_bootstrap": 0, "penalty": "scaled", "plot": False,
         "progress": False}  # fmt: skip


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_rows_that_are_decoded_anyway_are_accepted(demo_sessions):
    eids = demo_sessions[:2]
    rows = meso.match_tracked_indices_across_sessions(eids[0], [eids[1]])
    plain = meso.neuron_dropping_curves_cached(eids, ["choice"], **QUICK)
    # in another order, by the start of an id, as lists
    order = np.random.default_rng(0).permutation(len(rows[eids[0]]))
    given = {eids[1][:8]: rows[eids[1]][order].tolist(), eids[0]: rows[eids[0]][order]}
    same = meso.neuron_dropping_curves_cached(eids, ["choice"], idx_map_override=given, **QUICK)
    assert [row["ceiling"] for row in same.curves["choice"]] == [row["ceiling"] for row in plain.curves["choice"]]
    # those of a region, with the setting that decodes these
    labels = meso.load_or_embed(eids[0], rows[eids[0]])["region_labels"]
    of_region = np.char.startswith(labels, "VISp")
    assert 0 < of_region.sum() < len(labels)
    within = {eid: of_session[of_region] for eid, of_session in rows.items()}
    part = meso.neuron_dropping_curves_cached(eids, ["choice"], idx_map_override=within, regions=("VISp",), **QUICK)
    assert {row["n_cells"] for row in part.table.to_dict("records")} == {of_region.sum()}
    for one in (plain, part):
        (schemas.NDCParams & {"ndc_params": one.targets[0].ndc_params}).delete()


@pytest.mark.one_backend  # the arguments of calls that other tests make on both
def test_other_rows_are_refused_with_what_to_do(demo_sessions):
    first, second = demo_sessions[:2]
    rows = meso.match_tracked_indices_across_sessions(first, [second])
    n = len(rows[first])
    moved = {first: rows[first], second: np.roll(rows[second], 1)}  # the same rows, of other cells
    for wrong in ({eid: of[:-1] for eid, of in rows.items()}, moved, {first: rows[first]}, {first: [0], second: []}):
        with pytest.raises(meso.ArgumentError, match=rf"other rows than the {n} cells of 2 sessions .* roicat_root"):
            meso.neuron_dropping_curves_cached([first, second], ["choice"], idx_map_override=wrong, **QUICK)
    with pytest.raises(meso.ArgumentError, match="idx_map_override is of all sessions and cells together"):
        meso.neuron_dropping_curves_cached(demo_sessions, idx_map_override=rows, pairs="all", **QUICK)


# -------------------------------------------------------------------------------------------------------- pynapple


@pytest.fixture(scope="module")
def some_cells(demo_sessions):
    return schemas.activity(schemas.ROI & {"eid": demo_sessions[0]} & "is_neuron AND roi % 5 = 2")


@pytest.mark.one_backend  # what is read is compared on both
def test_pynapple_has_the_traces_of_each_fov_on_its_clock(some_cells, demo_sessions):
    eid, frames = demo_sessions[0], some_cells.to_pynapple()
    assert list(frames) == (schemas.FOV & {"eid": eid}).to_arrays("fov", order_by="fov").tolist() and len(frames) > 1
    acronyms = {row["region_id"]: row["acronym"] for row in schemas.BrainRegion.to_dicts()}
    for fov, frame in frames.items():
        key = {"eid": eid, "fov": fov}
        rows = (schemas.ROI & key & "is_neuron AND roi % 5 = 2").to_dicts(order_by="roi")
        clock = np.asarray((schemas.Recording & key).fetch1("frame_times"))
        np.testing.assert_allclose(frame.t, clock, atol=1e-9)  # pynapple rounds to ns
        assert frame.columns.tolist() == frame.metadata["roi"].tolist() == [row["roi"] for row in rows]
        np.testing.assert_array_equal(frame.d.T, fov_traces(eid, fov, [row["roi"] for row in rows]))
        assert frame.metadata["region"].tolist() == [acronyms[row["region_id"]] for row in rows]
        for name in ("eid", "fov", "ml", "ap", "dv", "time_offset"):
            assert frame.metadata[name].tolist() == [row[name] for row in rows], name
        in_region = frame[:, frame.region == acronyms[rows[0]["region_id"]]]
        assert in_region.shape[1] == sum(row["region_id"] == rows[0]["region_id"] for row in rows)


@pytest.mark.one_backend  # what is read is compared on both
def test_pynapple_on_one_clock_interpolates_each_cell_from_its_own_times(some_cells):
    frame = some_cells.to_pynapple(common=True)
    assert frame.shape == (len(frame.t), len(some_cells.keys)) and np.ptp(np.diff(frame.t)) < 1e-8
    assert [{name: frame.metadata[name][i] for name in ("eid", "fov", "roi")} for i in frame.columns] == some_cells.keys
    for i in (0, len(some_cells.keys) // 2, len(some_cells.keys) - 1):
        expected = np.interp(frame.t, some_cells.times[i], some_cells.traces[i])
        found = frame.d[:, i]
        assert np.isfinite(found).mean() > 0.9
        np.testing.assert_allclose(found[np.isfinite(found)], expected[np.isfinite(found)], rtol=1e-4, atol=1e-5)


@pytest.mark.one_backend  # what is read is compared on both
def test_flagged_frames_are_blank_in_pynapple(some_cells):
    flags = np.arange(some_cells.times.shape[1]) == 7
    times = some_cells.times
    flagged = some_cells._replace(times=type(times)(times.frame_times, times.fovs, times.offsets, {0: flags}))
    frames = flagged.to_pynapple()
    np.testing.assert_array_equal(np.isnan(frames[0].d).all(axis=1), flags)
    assert np.isfinite(frames[1].d).all()


@pytest.mark.one_backend  # no server is asked
def test_without_pynapple_the_error_names_the_command(python_command):
    code = "import sys; sys.modules['pynapple'] = None\nfrom schemas.imaging.activity import _pynapple\n_pynapple()"
    done = python_command("-c", code)
    assert "ConfigError: pynapple is needed" in done.stderr and "pip install '.[pynapple]'" in done.stderr


# ------------------------------------------------------------------------------- the table of docs/start/scripts.md

TESTS = Path(__file__).parents[1]
#: By line of the table (its first cell) the tests that hold it: here, or in another file.
HELD = {
    "`load_or_embed(eid, restrict, rerun)`": ["test_the_third_argument_of_loading_is_rerun"],
    "`embed_meso(eid)`": ["test_the_third_argument_of_loading_is_rerun"],
    "`roi_times`": [
        "schemas/test_pipeline.py::test_load_or_embed_is_the_files_bit_by_bit",
        "pipeline/signals/test_clock.py::test_roi_times_are_indexed_like_the_whole_matrix",
    ],
    "`region_labels`, `xyz`": [
        "pipeline/reading/test_reading.py::test_final_locations_are_taken_before_estimates_each_by_itself"
    ],
    "`isort`": [
        "schemas/test_pipeline.py::test_embedding_equals_rastermap_on_one_fov",
        "pipeline/signals/test_resampling.py::test_every_roi_covers_the_common_clock",
    ],
    "`plot_xyz(eid, mapping)`": ["test_cells_in_space_are_coloured_by_rank_or_region"],
    "`get_win_times(eid)`": ["test_windows_are_those_of_the_trials_in_the_files"],
    "`match_tracked_indices_across_sessions(one, anchor_eid, other_eids)`": [
        "test_matching_takes_the_keywords_of_the_scripts"
    ],
    "`roicat_root`": ["test_the_root_of_uid_files_may_be_a_path"],
    "`server_root`": [
        "test_what_the_database_does_itself_is_refused_or_ignored_with_a_warning",
        "populate_scripts/test_commands.py::test_track_mirrors_a_tree_and_registers_it",
    ],
    "`find_best_subsets_by_greedy_intersection(...)`, `best_eid_subsets_for_animal(...)`": [
        "schemas/test_many_runs.py::test_best_sets_are_those_of_the_sets_of_cells"
    ],
    "`pairwise_shared_indices_for_animal(...)`": [
        "schemas/test_many_runs.py::test_each_pair_has_all_cells_that_the_two_share",
        "schemas/test_many_runs.py::test_a_pair_that_fails_is_named_and_stops_no_other",
    ],
    "`neuron_dropping_curves_cached(eids, ...)`": ["test_words_of_the_scripts_name_the_same_settings"],
    "`cache_dir`": ["test_what_the_database_does_itself_is_refused_or_ignored_with_a_warning"],
    "`idx_map_override`": [
        "test_rows_that_are_decoded_anyway_are_accepted", "test_other_rows_are_refused_with_what_to_do"
    ],
    "the numbers of the scripts": [
        "test_the_settings_of_the_scripts_are_these", "test_scores_are_those_of_the_classifier_of_the_scripts",
    ],
    "window of choice": ["test_windows_of_choice_of_the_newest_and_of_older_scripts"],
    "trials": [
        "test_features_are_those_of_the_scripts",
        "pipeline/decoding/test_decoding.py::test_window_without_a_frame_by_each_rule",
    ],
    "scores": ["pipeline/decoding/test_decoding.py::test_cv_score_is_scikit_learns"],
    "`run_cross_session_train_first_test_rest(...)`": [
        "schemas/test_transfers.py::test_stored_scores_are_those_of_the_stored_features"
    ],
    "frames of pynapple": ["test_pynapple_has_the_traces_of_each_fov_on_its_clock"],
    "CSV files of UIDs beside the arrays": [
        "schemas/exchange/test_export.py::test_both_formats_have_the_uids_of_the_files"
    ],
}  # fmt: skip


def test_each_line_of_the_table_is_held_by_a_test():
    page = (TESTS.parent / "docs" / "start" / "scripts.md").read_text()
    table = page.partition("| old call |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (.*?) \|", table, flags=re.MULTILINE) == list(HELD)
    for test in chain.from_iterable(HELD.values()):
        file, _, name = test.rpartition("::")
        assert f"def {name}(" in (TESTS / file if file else Path(__file__)).read_text(), test


def test_what_the_database_does_itself_is_refused_or_ignored_with_a_warning(database):
    with pytest.raises(meso.ArgumentError, match="server_root is not supported: use roicat_root"):
        meso.match_tracked_indices_across_sessions("an-eid", ["another"], server_root="/mnt/lab")
    with pytest.warns(UserWarning, match="cache_dir is ignored"), pytest.raises(meso.ArgumentTypeError):
        meso.neuron_dropping_curves_cached("an-eid", cache_dir="~/ndc_cache")


def test_windows_of_choice_of_the_newest_and_of_older_scripts():
    (newest,), (older,) = curve_settings(["choice"]), curve_settings(["choice"], win={"choice": (0, 0.15)})
    assert (newest.event, newest.win_start, newest.win_end) == ("firstMovement_times", -0.1, 0)
    assert (older.event, older.win_start, older.win_end) == ("firstMovement_times", 0, 0.15)
