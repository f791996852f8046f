"""A question that was asked before costs nothing in another tracking run; runs that nothing uses are dropped."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import schemas
from pipeline.decoding import NDCSettings
from pipeline.errors import DataError, NotFoundError
from pipeline.tracking.uids import UIDS, mirror_folder
from schemas.decoding import tables
from schemas.decoding.run import run_ndc, shared_set
from schemas.provenance import Deletion
from schemas.tracking import TrackingRun
from schemas.upkeep.tracking_runs import drop_run, runs_with_uses

SETTINGS = NDCSettings(target="choice", ks=(8, 16), r=3, n_label_shuffles=3, n_bootstrap=4)
#: Subsets of a larger curve.
LARGER = 5
#: What differs between the same curves of two sets of sessions.
OF_SET = ("session_set", "tracking_run")


@pytest.fixture(scope="module")
def first_run(demo_sessions) -> Iterator[dict]:
    yield TrackingRun.register("SP999")
    for penalty, r in itertools.product(("auto", "scaled"), (SETTINGS.r, LARGER)):
        (schemas.NDCParams & schemas.NDCParams.add(replace(SETTINGS, penalty=penalty, r=r))).delete()


@pytest.fixture(scope="module")
def later_run(demo_truth, demo_sessions, first_run, tmp_path_factory) -> Iterator[dict]:
    """Another tracking run: the UIDs of the last session are others, those of the rest are the same."""
    root = tmp_path_factory.mktemp("uids")
    for date, eid in zip(demo_truth.dates, demo_truth.eids, strict=True):
        for folder in demo_truth.root.glob(f"*/Subjects/SP999/{date}/001/alf/FOV_*"):
            target = mirror_folder(root, "SP999", date, 1) / folder.name
            shutil.copytree(folder, target, ignore=lambda _, names: {one for one in names if "cluster" not in one})
            file = target / UIDS
            lines = file.read_text().splitlines()
            if eid == demo_truth.eids[-1]:  # its first tracked cell is not tracked any more
                lines[next(i for i, line in enumerate(lines) if len(line) > 3)] = ""
            file.write_text("\n".join(lines) + "\n")
    run = TrackingRun.register("SP999", root)
    yield run
    (TrackingRun & run).delete()


def asked(eids: list[str], run: dict, settings: NDCSettings) -> list[dict]:
    """Return the rows of the curves of sessions, by date, and their rows of NDCResult.Curve."""
    found = run_ndc(eids, run, [settings])
    assert found.failures == []
    return found.curves["choice"]


def without(row: dict, names: tuple[str, ...]) -> dict:
    return {name: value for name, value in row.items() if name not in names}


@pytest.mark.parametrize("penalty", ["auto", "scaled"])
@pytest.mark.one_backend  # other tests send its statements on both
def test_curves_of_the_same_cells_in_another_tracking_run_are_not_computed_again(
    demo_sessions, first_run, later_run, monkeypatch, penalty
):
    settings, eids = replace(SETTINGS, penalty=penalty), demo_sessions[:2]
    before = asked(eids, first_run, settings)
    assert later_run != first_run

    def refuse(*arguments):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        for name in ("_features", "ndc_curve", "_inner_scores"):
            patch.setattr(tables, name, refuse)
        again = asked(eids, later_run, settings)
    for one, other in zip(before, again, strict=True):
        assert one["session_set"] != other["session_set"]
        # q is of another family, which has the same curves
        np.testing.assert_equal(
            without(other, (*OF_SET, "ndc_family", "curve")), without(one, (*OF_SET, "ndc_family", "curve"))
        )
        for point, known in zip(other["curve"], one["curve"], strict=True):
            np.testing.assert_equal(without(point, OF_SET), without(known, OF_SET))
        keys = [
            {"session_set": row["session_set"], "ndc_params": row["ndc_params"], "eid": row["eid"]}
            for row in (one, other)
        ]
        trials = [(schemas.NDCResult.Trial & key).to_arrays("trial", "trial_use", order_by="trial") for key in keys]
        np.testing.assert_array_equal(*trials)
    # a larger one takes its scores from the other tracking run too
    larger = replace(settings, r=LARGER)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_features", refuse)
        (known, *_) = asked(eids, first_run, larger)
    assert [point["scores"][:3].tolist() for point in known["curve"]] == [
        point["scores"].tolist() for point in before[0]["curve"]
    ]


@pytest.mark.one_backend  # hashes of rows, compared in Python
def test_other_cells_other_settings_and_other_sessions_are_computed_again(demo_sessions, first_run, later_run):
    eids = [demo_sessions[0], demo_sessions[-1]]
    place = {"ndc_params": schemas.NDCParams.add(SETTINGS)["ndc_params"], "eid": eids[0]}
    before, again = (asked(eids, run, SETTINGS) for run in (first_run, later_run))
    assert 0 < before[0]["n_cells"] - again[0]["n_cells"] <= 3  # one in each FOV, if it was shared

    def made_of(row: dict, **other) -> str:
        features = schemas.TrialFeatures & {**place, "session_set": row["session_set"]}
        cells, key = features.fetch1("feature_cells", "feature_key")
        assert tables._feature_key(eids[0], cells, SETTINGS, {}) == key
        return tables._feature_key(eids[0], cells, replace(SETTINGS, **other), {})

    keys = {
        made_of(before[0]),
        made_of(again[0]),
        made_of(before[0], win_end=0.1),
        made_of(before[0], target="feedback"),
    }
    assert len(keys) == 4
    cells = np.array([[0, 1], [0, 2]], np.int32)
    flags = np.zeros(9, bool)
    flags[3] = True
    of_cells = [tables._feature_key(eids[0], *one) for one in (
        (cells, SETTINGS, {}), (cells[::-1], SETTINGS, {}), (cells, SETTINGS, {0: flags}),
    )]  # fmt: skip
    assert len(set(of_cells)) == 3
    # with the penalty 'auto' c is that of all sessions of a set
    third = asked([eids[0], demo_sessions[1]], first_run, SETTINGS)
    sets = [{**place, "session_set": rows[0]["session_set"]} for rows in (before, third)]
    assert SETTINGS.penalty == "auto"
    assert not tables._same_compared(*sets, SETTINGS)
    assert tables._same_compared(*sets, replace(SETTINGS, penalty="scaled"))


def test_runs_are_listed_with_their_uses_and_dropped_if_there_are_none(demo_sessions, demo_truth, first_run, tmp_path):
    for folder in demo_truth.root.glob("*/Subjects/SP999/*/001/alf/FOV_00"):
        date = folder.parts[-4]
        target = mirror_folder(tmp_path, "SP999", date, 1) / "FOV_00"
        target.mkdir(parents=True)
        shutil.copy(folder / UIDS, target)
    used = asked(demo_sessions[:2], first_run, SETTINGS)
    unused = TrackingRun.register("SP999", tmp_path)
    session_set, _ = shared_set(demo_sessions[:3], unused)
    listed = {row["tracking_run"]: row for row in runs_with_uses("SP999")}
    assert next(iter(listed)) == unused["tracking_run"]  # the latest first
    files = (schemas.TrackingFile & unused).to_dicts()
    uids = {line for file in files for line in file["uid_text"].splitlines() if len(line) > 3}
    numbers = without(listed[unused["tracking_run"]], ("tracking_run", "registered_at"))
    assert numbers == {"n_sessions": 3, "n_cells": len(uids), "n_sets": 1, "n_tasks": 0, "n_curves": 0}
    row = listed[first_run["tracking_run"]]
    tracked = set((schemas.TrackedFOV & first_run).to_arrays("eid"))
    assert row["n_tasks"] >= 1 and row["n_curves"] >= 2 and row["n_sessions"] == len(tracked)
    with pytest.raises(DataError, match=f"is used .*NDCTask {row['n_tasks']}.*{used[0]['session_set'][:8]}"):
        drop_run("SP999", first_run["tracking_run"][:8])
    with pytest.raises(NotFoundError, match="no single tracking run"):
        drop_run("SP999", "0" * 32)
    with pytest.raises(NotFoundError, match="no tracking run is named"):
        drop_run("SP999", "")
    deleted = drop_run("SP999", unused["tracking_run"][:12])
    assert deleted["TrackingRun"] == deleted["SessionSet"] == 1 and deleted["TrackingFile"] == 4
    assert not (schemas.TrackingRun & unused) and not (schemas.SessionSet & session_set)
    assert len(schemas.TrackingRun & first_run) == 1
    assert Deletion.to_dicts(order_by="deleted_at DESC", limit=1)[0]["deleted_rows"] == deleted
    with pytest.raises(NotFoundError, match="meso ingest --subject nobody"):
        runs_with_uses("nobody")
