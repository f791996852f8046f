"""The demo repository is what it says: same bytes, read by ONE in silence, rows that match the UIDs."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.demo import repository
from pipeline.demo.repository import session_eid, write_demo_repository, write_one_tables
from pipeline.demo.truth import AREAS, MARKER, TREND_TARGETS, DemoTruth
from pipeline.errors import ConfigError

SMALL = {"n_days": 4, "n_fovs": 2, "n_trials": 40, "n_shared": 16, "rois_per_fov": 45}

TRACES = ("mpci.ROIActivityF.npy", "mpci.ROIActivityDeconvolved.npy", "mpci.ROINeuropilActivityF.npy")


def digests(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def session_folder(truth: DemoTruth, day: int) -> Path:
    return truth.root / "demolab" / "Subjects" / "SP999" / truth.dates[day] / "001"


def trials_folder(truth: DemoTruth, day: int) -> Path:
    return session_folder(truth, day) / ("alf" if day == 0 else "alf/task_00")


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> DemoTruth:
    return write_demo_repository(tmp_path_factory.mktemp("demo"), seed=3, **SMALL)


@pytest.fixture
def copy(truth, tmp_path) -> Path:
    return Path(shutil.copytree(truth.root, tmp_path / "copy"))


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(truth, tmp_path):
    again = write_demo_repository(tmp_path / "again", seed=3, **SMALL)
    assert digests(again.root) == digests(truth.root)
    other = write_demo_repository(tmp_path / "other", seed=4, **SMALL)
    path = Path("demolab/Subjects/SP999") / truth.dates[0] / "001/alf/FOV_00/mpci.ROIActivityF.npy"
    assert digests(other.root)[str(path)] != digests(truth.root)[str(path)]


def test_a_second_call_writes_nothing_and_returns_the_same_truth(truth):
    before = {path: path.stat().st_mtime_ns for path in truth.root.rglob("*")}
    again = write_demo_repository(truth.root, seed=3, **SMALL)
    assert again == truth
    assert before == {path: path.stat().st_mtime_ns for path in truth.root.rglob("*")}


def test_the_truth_of_a_copy_names_the_copy(copy, truth):
    found = write_demo_repository(copy, seed=3, **SMALL)
    assert found.root == copy
    assert found.as_dict() == truth.as_dict() | {"root": str(copy)}
    json.dumps(found.as_dict())


def test_a_foreign_folder_and_another_demo_are_refused_untouched(truth, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        write_demo_repository(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    before = digests(truth.root)
    with pytest.raises(ConfigError, match="another demo"):
        write_demo_repository(truth.root, seed=4, **SMALL)
    assert digests(truth.root) == before


def test_an_interrupted_demo_is_written_again(tmp_path, monkeypatch, truth):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(repository, "write_one_tables", stop)
    with pytest.raises(KeyboardInterrupt):
        write_demo_repository(tmp_path / "demo", seed=3, **SMALL)
    monkeypatch.undo()
    write_demo_repository(tmp_path / "demo", seed=3, **SMALL)
    assert digests(tmp_path / "demo") == digests(truth.root)


def test_a_demo_of_a_former_version_is_written_over(copy, truth):
    """Version 2 wrote one day without deconvolved traces."""
    for fov in range(2):
        next(copy.glob(f"*/*/*/{truth.dates[1]}/001/alf/FOV_{fov:02d}/mpci.ROIActivityDeconvolved.npy")).unlink()
    marker = copy / MARKER
    written = json.loads(marker.read_text())
    marker.write_text(json.dumps(written | {"version": 1}))
    with pytest.raises(ConfigError, match="another demo"):
        write_demo_repository(copy, seed=3, **SMALL)
    marker.write_text(json.dumps(written | {"version": 2}))
    with pytest.raises(ConfigError, match="another demo"):
        write_demo_repository(copy, seed=4, **SMALL)
    write_demo_repository(copy, seed=3, **SMALL)
    assert digests(copy) == digests(truth.root)


def test_neuropil_is_added_to_a_demo_of_version_3_and_nothing_else_is_written(copy, truth):
    for file in copy.rglob("mpci.ROINeuropilActivityF.npy"):
        file.unlink()
    write_one_tables(copy)
    marker = copy / MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"version": 3}))
    before = {path: path.stat().st_mtime_ns for path in (copy / "demolab").rglob("*") if path.is_file()}
    assert write_demo_repository(copy, seed=3, **SMALL).eids == truth.eids
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert digests(copy) == digests(truth.root)


@pytest.mark.parametrize("bad", [{"n_days": 0}, {"n_trials": 3}, {"rois_per_fov": 12}])
def test_parameters_that_cannot_be_met_are_refused_before_writing(tmp_path, bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        write_demo_repository(tmp_path / "demo", **(SMALL | bad))
    assert not (tmp_path / "demo").exists()


def test_one_reads_every_dataset_without_a_warning(truth, caplog, monkeypatch):
    from one.api import ONE, One

    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("ONE asked for input"))
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        one = ONE(cache_dir=truth.root)
        assert type(one) is One
        assert sorted(map(str, one.search(subject="SP999", lab="demolab"))) == sorted(truth.eids)
        for day, eid in enumerate(truth.eids):
            assert one.eid2path(eid) == session_folder(truth, day)
            listed = one.list_datasets(eid)
            on_disk = [path for path in session_folder(truth, day).rglob("*") if path.is_file()]
            assert len(listed) == len(on_disk)
            for name in listed:
                one.load_dataset(eid, name, download_only=name.endswith("clusterUIDs.csv"))
        trials = one.load_object(truth.eids[1], "trials", collection="alf/task_00")
    assert trials["intervals"].shape == (SMALL["n_trials"], 2)
    assert not caplog.records


@pytest.mark.parametrize("day", range(4))
@pytest.mark.parametrize("fov", range(2))
def test_shapes_types_and_orders(truth, day, fov):
    folder = session_folder(truth, day) / "alf" / f"FOV_{fov:02d}"
    load = {path.name: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    n_frames = len(load["mpci.times.npy"])
    n_rois = len(load["mpciROIs.mpciROITypes.npy"])
    for name in TRACES:
        trace = load[name]
        assert (trace.shape, trace.dtype, trace.flags.f_contiguous) == ((n_frames, n_rois), np.float32, True)
        assert np.isfinite(trace).all()
        assert trace.min() >= 0 or name.endswith("F.npy")
    suffixes = ["_estimate"] + [""] * (day == 2)
    expected = {
        "mpciROIs.mpciROITypes.npy": ((n_rois,), np.int16),
        "mpciROIs.cellClassifier.npy": ((n_rois,), np.float64),
        "mpciROIs.stackPos.npy": ((n_rois, 3), np.int64),
        "mpciROIs.clusterSilhouette.npy": ((n_rois, 1), np.float64),
        "mpci.times.npy": ((n_frames,), np.float64),
        "mpciStack.timeshift.npy": ((512,), np.float64),
        **{f"mpciROIs.mlapdv{end}.npy": ((n_rois, 3), np.float64) for end in suffixes},
        **{f"mpciROIs.brainLocationIds_ccf_2017{end}.npy": ((n_rois,), np.int64) for end in suffixes},
    }
    assert {name: (load[name].shape, load[name].dtype) for name in expected} == expected
    assert set(load) - set(expected) == set(TRACES)
    assert len(pd.read_csv(folder / "mpciROIs.uuids.csv")["uuids"].unique()) == n_rois


def test_clocks_are_offset_between_fovs_and_have_one_gap_on_the_last_day(truth):
    for day in range(4):
        times = [np.load(session_folder(truth, day) / f"alf/FOV_{fov:02d}/mpci.times.npy") for fov in range(2)]
        steps = np.diff(times[0])
        assert steps.min() > 0
        assert np.median(steps) == pytest.approx(0.197, abs=1e-3)
        assert np.allclose(times[1] - times[0], 0.1969 / 2)
        gaps = steps[steps > 1]
        assert len(gaps) == (1 if day == 3 else 0)
        assert np.allclose(gaps, 20, atol=0.5)


def test_rows_of_the_truth_are_the_rows_of_the_uids(truth):
    for day, eid in enumerate(truth.eids):
        seen: list[str] = []
        for fov, rows in truth.rows[eid].items():
            folder = session_folder(truth, day) / "alf" / f"FOV_{fov:02d}"
            lines = (folder / "mpciROIs.clusterUIDs.csv").read_text().splitlines()
            types = np.load(folder / "mpciROIs.mpciROITypes.npy")
            silhouette = np.load(folder / "mpciROIs.clusterSilhouette.npy")[:, 0]
            assert len(lines) == len(types)
            assert {uid: lines[row] for uid, row in rows.items()} == {uid: uid for uid in rows}
            assert all(types[row] == 1 for row in rows.values())
            assert np.array_equal(np.isnan(silhouette), [line in ("", "nan") for line in lines])
            assert 0.75 < types.mean() < 0.9
            seen += [line for line in lines if line not in ("", "nan")]
        assert len(seen) == len(set(seen))
        assert sorted(uid for rows in truth.rows[eid].values() for uid in rows) == list(truth.shared_uids)
        assert set(seen) > set(truth.shared_uids)
    orders = {tuple(truth.rows[eid][0].values()) for eid in truth.eids}
    assert len(orders) == len(truth.eids)


def test_no_other_cell_is_tracked_on_all_days(truth):
    days = []
    for day in range(4):
        files = session_folder(truth, day).glob("alf/FOV_*/mpciROIs.clusterUIDs.csv")
        days.append({line for file in files for line in file.read_text().splitlines()} - {"", "nan"})
    assert set.intersection(*days) == set(truth.shared_uids)


def test_informative_sets_grow(truth):
    for target in TREND_TARGETS:
        sets = [set(uids) for uids in truth.informative_uids[target]]
        assert all(early <= late for early, late in pairwise(sets))
        counts = truth.informative_counts[target]
        assert counts[0] < counts[-1]
        assert counts == tuple(map(len, sets))


@pytest.mark.parametrize("day", range(4))
def test_behaviour_follows_the_conventions(truth, day):
    folder = trials_folder(truth, day)
    trials = pd.read_parquet(folder / "_ibl_trials.table.pqt")
    assert trials.shape == (SMALL["n_trials"], 13)
    left = trials["contrastLeft"].notna()
    assert (left ^ trials["contrastRight"].notna()).all()
    went = trials["choice"] != 0
    correct = (trials["choice"] == 1) == left
    assert ((trials["feedbackType"] == 1) == (correct & went)).all()
    assert 0 < (~went).sum() < 3
    assert trials.loc[went, "firstMovement_times"].isna().any()
    order = ["intervals_0", "stimOn_times", "response_times", "feedback_times", "intervals_1"]
    assert (np.diff(trials[order]) > 0).all()
    assert (trials["intervals_0"].to_numpy()[1:] >= trials["intervals_1"].to_numpy()[:-1]).all()
    assert set(trials["probabilityLeft"]) <= {0.5, 0.2, 0.8}


@pytest.mark.parametrize("day", range(4))
def test_the_wheel_turns_against_the_sign_of_the_choice(truth, day):
    folder = trials_folder(truth, day)
    trials = pd.read_parquet(folder / "_ibl_trials.table.pqt")
    times = np.load(folder / "_ibl_wheel.timestamps.npy")
    position = np.load(folder / "_ibl_wheel.position.npy")
    assert (np.diff(times) > 0).all()
    trials = trials[(trials["choice"] != 0) & trials["firstMovement_times"].notna()]
    moved = np.interp(trials["response_times"], times, position)
    moved = moved - np.interp(trials["firstMovement_times"], times, position)
    assert np.array_equal(np.sign(moved), -trials["choice"])
    assert (np.abs(moved) > 0.25).all()


def test_regions_are_known_to_the_atlas(truth):
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    ids = {area for fov in AREAS for half in fov for area in half}
    names = {str(regions.acronym[np.flatnonzero(regions.id == area)[0]]) for area in ids}
    assert names == {
        "VISp1", "VISp2/3", "VISam1", "VISam2/3", "RSPagl1", "RSPagl2/3", "SSp-bfd1", "SSp-bfd2/3",
    }  # fmt: skip


def test_tables_follow_what_is_on_disk(copy, truth):
    from one.api import ONE

    session = copy / session_folder(truth, 0).relative_to(truth.root)
    lost = session / "alf/FOV_00/mpci.times.npy"
    kept = session / "alf/FOV_01/mpci.times.npy"
    lost.unlink()
    newer = kept.parent / "#2025-06-01#" / kept.name
    newer.parent.mkdir()
    np.save(newer, np.load(kept) + 1)
    shutil.copytree(session, session.with_name("002"))
    eids = write_one_tables(copy)
    assert set(eids) == {*truth.eids, session_eid("demolab", "SP999", truth.dates[0], 2)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = ONE(cache_dir=copy, mode="local")
        assert not any("FOV_00/mpci.times" in name for name in one.list_datasets(truth.eids[0]))
        loaded = one.load_dataset(truth.eids[0], "mpci.times.npy", collection="alf/FOV_01")
    assert np.array_equal(loaded, np.load(newer))


def test_tables_of_an_empty_folder_are_empty(tmp_path):
    assert write_one_tables(tmp_path) == ()
    assert pd.read_parquet(tmp_path / "datasets.pqt").empty


def test_session_eid_is_fixed():
    assert session_eid("demolab", "SP999", "2025-03-03", 1) == session_eid("demolab", "SP999", "2025-03-03", "001")
    assert session_eid("demolab", "SP999", "2025-03-03", 1) == "7868b791-5264-34ee-9d1e-0e879bad4507"
