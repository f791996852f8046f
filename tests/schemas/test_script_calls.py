"""The calls as the scripts made them: names, order of arguments, keywords."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import meso
import meso_chronic
import meso_decode
import schemas
from pipeline.decoding import NDCSettings
from schemas.tracking import TrackingRun


def test_the_third_argument_of_loading_is_rerun(demo_sessions):
    """It was filter_neurons: False gave all ROIs without a word."""
    eid = demo_sessions[0]
    expected = len(schemas.ROI & {"eid": eid} & "is_neuron")
    assert len(meso.load_or_embed(eid, None, False)["isort"]) == expected
    again = meso.embed_meso(eid, None, rerun=True)
    np.testing.assert_array_equal(again["roi_signal"], meso.load_or_embed(eid)["roi_signal"])


def test_matching_takes_the_keywords_of_the_scripts(demo_sessions):
    first, *others = demo_sessions
    match = meso_chronic.match_tracked_indices_across_sessions
    expected = match(first, others)
    for found in (
        match(one=object(), anchor_eid=first, other_eids=others, sanity_check=True),
        match(first, other_eids=others),
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
    assert meso_decode.neuron_dropping_curves_cached is meso.neuron_dropping_curves_cached
