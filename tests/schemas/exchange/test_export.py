"""Exported files read back by pynwb and pandas: bit by bit what the arrays and the database hold."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pynwb
import pytest
from nwbinspector import inspect_nwbfile
from pyarrow import parquet
from support import quick_start

import schemas
from pipeline import export
from pipeline.errors import DataError
from schemas.imaging.reading import fov_traces

EID = "01234567-89ab-4def-8123-456789abcdef"
# what nwbinspector notes, and why it stays
NOTED = {
    "check_experimenter_exists": "who did the experiment is not in the database",
    "check_institution": "nor where",
    "check_column_binary_capability": "roi_type has had two values so far; ONE plans for more",
}


def plain_fov(fov: int = 0, n: int = 300, n_frames: int = 50, traces=None) -> export.FOV:
    rng = np.random.default_rng(fov)
    times = fov * 0.02 + np.cumsum(rng.uniform(0.19, 0.21, n_frames))
    rows = [
        {
            "eid": EID, "fov": fov, "roi": 2 * i, "is_neuron": bool(i % 2), "roi_type": i % 2,
            "cell_probability": i / n if i else None, "region_id": 593 if i % 3 else None,
            "region": "VISp1" if i % 3 else None, "ml": -i / 3, "ap": None if i == 1 else 2.5, "dv": -1.0,
            "stack_y": i, "stack_x": 500 - i, "stack_z": 0, "time_offset": i * 4e-5, "roi_uuid": None,
        }
        for i in range(n)
    ]  # fmt: skip
    info = {
        "eid": EID, "fov": fov, "collection": f"alf/FOV_{fov:02d}", "n_rois": 2 * n, "n_neurons": n // 2,
        "n_frames": n_frames, "frame_period": 0.2, "imaging_start": times[0], "imaging_end": times[-1], "n_bouts": 1,
        "signal": "deconvolved", "region_source": "estimate", "mlapdv_source": "estimate",
    }  # fmt: skip
    if traces is None:
        traces = rng.standard_normal((n, n_frames)).astype(np.float32)
        traces[:3, 4] = np.nan, np.inf, -0.0
    return export.FOV(fov, info, export.table(rows, export.ROI_COLUMNS), times, traces)


def plain_session(*fovs: export.FOV, **change) -> export.Session:
    info = {
        "eid": EID, "subject": "SP000", "lab": "lab", "session_date": datetime.date(2025, 3, 3), "session_number": 1,
        "task_protocol": "", "projects": "", "exported_rois": "all", "tracking_run": "", "fovs_left_out": "",
        "meso_version": "0.1.0", "git_commit": "", "python_version": "3.11",
        "packages": json.dumps({"meso": "0.1.0", "numpy": "2.4"}),
    }  # fmt: skip
    sources = export.table([], export.SOURCE_COLUMNS)
    without = {"trials": None, "wheel": None, "check": lambda: None}
    return export.Session(**{"info": info, "fovs": fovs, "sources": sources} | without | change)


class Counted:
    """Traces that note how many rows are asked for at a time, and may break."""

    def __init__(self, shape: tuple[int, int], break_at: int | None = None):
        self.shape, self.dtype, self.asked, self.break_at = shape, np.dtype(np.float32), [], break_at

    def __getitem__(self, rows: slice) -> np.ndarray:
        if self.break_at is not None and rows.stop > self.break_at:
            raise DataError("the connection is gone", eid=EID)
        self.asked.append((rows.start, rows.stop))
        return np.full((rows.stop - rows.start, self.shape[1]), rows.start, np.float32)


def read_activity(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    frame = pd.read_parquet(path)
    return frame, np.stack(frame["trace"].to_numpy())


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def test_parquet_holds_the_arrays_bit_by_bit(tmp_path):
    fovs = plain_fov(0), plain_fov(3, n=5, n_frames=40)
    folder = export.write_parquet(plain_session(*fovs), tmp_path)
    assert folder.name == f"sub-SP000_ses-{EID}"
    frames = pd.read_parquet(folder / "frames.parquet")
    for fov in fovs:
        keys, traces = read_activity(folder / f"activity_fov{fov.fov:02d}.parquet")
        assert traces.dtype == np.float32 and bits(traces) == bits(fov.traces)
        assert keys["roi"].tolist() == fov.rois["roi"].to_pylist()
        assert bits(frames[frames["fov"] == fov.fov]["time"].to_numpy()) == bits(fov.frame_times)
    assert parquet.read_table(folder / "rois.parquet").equals(pa.concat_tables(fov.rois for fov in fovs))
    groups = parquet.ParquetFile(folder / "activity_fov00.parquet").metadata.num_row_groups
    assert groups == 3  # 300 ROIs in blocks of 128


def test_flagged_frames_are_marked_and_keep_their_values(tmp_path):
    flagged = np.arange(40) % 7 == 3
    fovs = replace(plain_fov(0, n=5, n_frames=40), flagged=flagged), plain_fov(1, n=5, n_frames=40)
    folder = export.write_parquet(plain_session(*fovs), tmp_path)
    frames = pd.read_parquet(folder / "frames.parquet")
    for fov, expected in ((0, flagged), (1, np.zeros(40, dtype=bool))):
        np.testing.assert_array_equal(frames[frames["fov"] == fov]["is_flagged"], expected)
    assert bits(read_activity(folder / "activity_fov00.parquet")[1]) == bits(fovs[0].traces)
    with pynwb.NWBHDF5IO(export.write_nwb(plain_session(*fovs), tmp_path), "r") as io:
        responses = io.read().processing["ophys"]["Fluorescence"]
        series = responses["DeconvolvedFOV00"]
        np.testing.assert_array_equal(series.control[:], flagged)
        assert "flagged as bad" in series.control_description[1]
        assert bits(series.data[:].T) == bits(fovs[0].traces)
        assert responses["DeconvolvedFOV01"].control is None


def test_parquet_columns_say_what_they_are(tmp_path):
    folder = export.write_parquet(plain_session(plain_fov(n=3)), tmp_path)
    for path in folder.iterdir():
        for field in parquet.read_schema(path):
            assert field.metadata[b"description"], (path.name, field.name)


def test_nwb_holds_the_arrays_bit_by_bit(tmp_path):
    fovs = plain_fov(0), plain_fov(3, n=5, n_frames=40)
    path = export.write_nwb(plain_session(*fovs), tmp_path)
    with pynwb.NWBHDF5IO(path, "r") as io:
        ophys = io.read().processing["ophys"]
        for fov in fovs:
            series = ophys["Fluorescence"][f"DeconvolvedFOV{fov.fov:02d}"]
            assert bits(series.data[:].T) == bits(fov.traces)
            assert bits(series.timestamps[:]) == bits(fov.frame_times)
            assert series.data.chunks == (len(fov.frame_times), min(32, len(fov.rois))) and series.data.compression
            rois = series.rois.table.to_dataframe()
            assert rois.index.tolist() == fov.rois["roi"].to_pylist()
            expected = fov.rois.to_pandas()
            np.testing.assert_array_equal(rois["ap"], expected["ap"])
            np.testing.assert_array_equal(rois["region_id"], expected["region_id"])
            assert rois["region"].tolist() == expected["region"].fillna("").tolist()
            assert rois["is_neuron"].tolist() == expected["is_neuron"].tolist()
            pixels = [mask[0].tolist() for mask in rois["pixel_mask"]]
            assert pixels == [(x, y, 1) for x, y in zip(expected["stack_x"], expected["stack_y"], strict=True)]


@pytest.mark.parametrize("write", [export.write_parquet, export.write_nwb])
def test_traces_are_read_once_in_blocks(tmp_path, write):
    counted = Counted((300, 50))
    write(plain_session(plain_fov(traces=counted)), tmp_path)
    assert counted.asked == [(0, 128), (128, 256), (256, 300)]


@pytest.mark.parametrize("write", [export.write_parquet, export.write_nwb])
def test_an_export_that_fails_leaves_nothing_and_what_was_there(tmp_path, write):
    broken = plain_session(plain_fov(traces=Counted((300, 50), break_at=200)))
    with pytest.raises(DataError, match="connection is gone"):
        write(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = write(plain_session(plain_fov(n=3)), tmp_path)
    before = contents(path)
    with pytest.raises(DataError, match="connection is gone"):
        write(broken, tmp_path, overwrite=True)
    assert contents(path) == before and list(tmp_path.iterdir()) == [path]


def contents(path: Path) -> dict[str, bytes]:
    files = path.iterdir() if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize("write", [export.write_parquet, export.write_nwb])
def test_what_exists_is_replaced_only_on_request_and_whole(tmp_path, write):
    path = write(plain_session(plain_fov(0, n=3), plain_fov(1, n=3)), tmp_path)
    before = contents(path)
    with pytest.raises(DataError, match=r"exported before .*--overwrite"):
        write(plain_session(plain_fov(0, n=4)), tmp_path)
    assert contents(path) == before
    write(plain_session(plain_fov(0, n=4)), tmp_path, overwrite=True)
    assert contents(path) != before and list(tmp_path.iterdir()) == [path]
    if path.is_dir():
        assert not (path / "activity_fov01.parquet").exists()


KILLED = """
import os, signal, sys
sys.path[:0] = ["tests", "tests/schemas/exchange", "."]
from pathlib import Path
from pipeline import export
from test_export import Counted, plain_fov, plain_session

class Deadly(Counted):
    def __getitem__(self, rows):
        if rows.start >= 128:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(rows)

getattr(export, sys.argv[1])(plain_session(plain_fov(traces=Deadly((300, 50)))), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("name", ["write_parquet", "write_nwb"])
@pytest.mark.slow
def test_a_killed_export_leaves_nothing_that_looks_whole(tmp_path, name):
    command = ["-c", KILLED, name, str(tmp_path)]
    done = quick_start.run(command, env=os.environ, cwd=Path(__file__).parents[3], timeout=120)
    assert done.returncode == -9, done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    getattr(export, name)(plain_session(plain_fov(n=3)), tmp_path)


def test_traces_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"FOV_00.*expected \(3, 50\), found \(3, 49\)"):
        export.write_parquet(plain_session(plain_fov(n=3, traces=np.ones((3, 49), np.float32))), tmp_path)


@pytest.mark.parametrize("write", [export.write_parquet, export.write_nwb])
def test_a_fov_without_rois_and_a_session_without_behaviour_can_be_exported(tmp_path, write):
    empty = plain_fov(1, n=0, traces=np.empty((0, 50), np.float32))
    path = write(plain_session(plain_fov(0, n=3), empty), tmp_path)
    if path.is_dir():
        assert parquet.read_metadata(path / "activity_fov01.parquet").num_rows == 0
        assert not (path / "trials.parquet").exists()
    else:
        with pynwb.NWBHDF5IO(path, "r") as io:
            file = io.read()
            assert set(file.imaging_planes) == {"ImagingPlaneFOV00", "ImagingPlaneFOV01"}
            assert set(file.processing["ophys"]["Fluorescence"].roi_response_series) == {"DeconvolvedFOV00"}
            assert file.trials is None and "behavior" not in file.processing


@pytest.mark.one_backend  # no server is asked
def test_without_pynwb_the_error_names_the_command(python_command, tmp_path):
    code = "import sys; sys.modules['pynwb'] = None\nfrom pipeline.export import write_nwb\nwrite_nwb(None, '')"
    done = python_command("-c", code)
    assert "ConfigError: pynwb is needed to write NWB files" in done.stderr and "pip install '.[nwb]'" in done.stderr


@pytest.fixture(scope="module")
def exported(demo_sessions, tmp_path_factory) -> dict[str, Path]:
    import meso
    from schemas.exchange.export import export_session

    meso.match_tracked_indices_across_sessions(demo_sessions[0], demo_sessions[1:])
    folder = tmp_path_factory.mktemp("export")
    return {kind: export_session(demo_sessions[-1], kind, folder) for kind in ("parquet", "nwb")}


def rois_of(eid: str, fov: int) -> np.ndarray:
    return (schemas.ROI & {"eid": eid, "fov": fov}).to_arrays("roi", order_by="roi").astype(int)


def test_parquet_equals_the_database(exported, demo_sessions):
    eid, folder = demo_sessions[-1], exported["parquet"]
    rois = pd.read_parquet(folder / "rois.parquet", dtype_backend="pyarrow")
    rows = (schemas.ROI & {"eid": eid}).to_dicts(order_by="fov, roi")
    assert len(rois) == len(rows)
    for name in set(rois) - {"region", "is_neuron", "cell_uid"}:
        assert rois[name].tolist() == [pd.NA if row[name] is None else row[name] for row in rows], name
    assert rois["is_neuron"].tolist() == [bool(row["is_neuron"]) for row in rows]
    acronyms = {row["region_id"]: row["acronym"] for row in schemas.BrainRegion.to_dicts()}
    assert rois["region"].tolist() == [acronyms[row["region_id"]] for row in rows]
    frames = pd.read_parquet(folder / "frames.parquet")
    for fov, own in frames.groupby("fov"):
        key = {"eid": eid, "fov": int(fov)}
        assert bits(own["time"].to_numpy()) == bits((schemas.Recording & key).fetch1("frame_times"))
        _, traces = read_activity(folder / f"activity_fov{fov:02d}.parquet")
        assert bits(traces) == bits(fov_traces(eid, int(fov), rois_of(eid, int(fov))))


def test_parquet_has_behaviour_and_where_it_all_comes_from(exported, demo_sessions):
    from schemas.session import trials_of

    key, folder = {"eid": demo_sessions[-1]}, exported["parquet"]
    trials = pd.read_parquet(folder / "trials.parquet")
    for name, values in trials_of(key["eid"]).items():
        np.testing.assert_array_equal(trials[name].to_numpy(float), values)
    wheel = (schemas.Wheel & key).fetch1()
    own = pd.read_parquet(folder / "wheel.parquet")
    assert bits(own["time"].to_numpy()) == bits(wheel["wheel_timestamps"])
    assert bits(own["position"].to_numpy()) == bits(wheel["wheel_position"])
    velocity = pd.read_parquet(folder / "wheel_velocity.parquet")
    assert bits(velocity["velocity"].to_numpy()) == bits(wheel["wheel_velocity"])
    sources = pd.read_parquet(folder / "sources.parquet")
    hashes = [*(schemas.FOV.Source & key).to_arrays("sha256"), *(schemas.Behavior.Source & key).to_arrays("sha256")]
    hashes += [*(schemas.Wheel.Source & key).to_arrays("sha256")]
    assert sorted(sources["sha256"]) == sorted(hashes) and len(hashes) > 20
    (session,) = pd.read_parquet(folder / "sessions.parquet").to_dict("records")
    assert session["eid"] == key["eid"] and session["subject"] == "SP999"
    assert json.loads(session["packages"])["meso"] == session["meso_version"]


@pytest.mark.one_backend  # what both formats read is compared on both by the tests of Parquet
def test_nwb_equals_the_database(exported, demo_sessions):
    eid = demo_sessions[-1]
    with pynwb.NWBHDF5IO(exported["nwb"], "r") as io:
        file = io.read()
        ophys = file.processing["ophys"]
        fovs = (schemas.FOV & {"eid": eid}).to_dicts(order_by="fov")
        for fov in fovs:
            key = {"eid": eid, "fov": fov["fov"]}
            series = ophys["Fluorescence"][f"{fov['signal'].capitalize()}FOV{fov['fov']:02d}"]
            assert bits(series.data[:].T) == bits(fov_traces(eid, fov["fov"], rois_of(eid, fov["fov"])))
            assert bits(series.timestamps[:]) == bits((schemas.Recording & key).fetch1("frame_times"))
            table, rows = series.rois.table, (schemas.ROI & key).to_dicts(order_by="roi")
            for name in set(table.colnames) - {"pixel_mask", "region", "roi_uuid", "cell_uid"}:
                expected = np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=float)
                np.testing.assert_array_equal(np.asarray(table[name][:], dtype=float), expected, err_msg=name)
            assert table["roi_uuid"][:].tolist() == [row["roi_uuid"] or "" for row in rows]
        assert len(ophys["Fluorescence"].roi_response_series) == len(fovs)
        wheel = (schemas.Wheel & {"eid": eid}).fetch1()
        assert bits(file.processing["behavior"]["WheelPosition"].data[:]) == bits(wheel["wheel_position"])
        assert bits(file.processing["behavior"]["WheelPosition"].timestamps[:]) == bits(wheel["wheel_timestamps"])
        assert bits(file.processing["behavior"]["WheelVelocity"].data[:]) == bits(wheel["wheel_velocity"])


def uids_in_files(demo_truth, eid: str) -> list[list[str]]:
    """Return by FOV the lines of the UID files of a session: one for each ROI, empty for those that are not tracked."""
    day = demo_truth.dates[demo_truth.eids.index(eid)]
    files = sorted(demo_truth.root.glob(f"*/Subjects/*/{day}/001/alf/FOV_*/mpciROIs.clusterUIDs*.csv"))
    found = [file.read_text().split("\n")[: len(rois_of(eid, fov))] for fov, file in enumerate(files)]
    assert len(found) > 1 and all("" in of_fov and len(set(of_fov)) > 10 for of_fov in found)
    return [["" if line == "nan" else line for line in of_fov] for of_fov in found]


def test_both_formats_have_the_uids_of_the_files(exported, demo_sessions, demo_truth):
    expected = uids_in_files(demo_truth, demo_sessions[-1])
    rois = parquet.read_table(exported["parquet"] / "rois.parquet")
    by_fov = [rois.filter(pa.compute.equal(rois["fov"], fov))["cell_uid"].to_pylist() for fov in range(len(expected))]
    assert by_fov == [[uid or None for uid in of_fov] for of_fov in expected]
    (run,) = parquet.read_table(exported["parquet"] / "sessions.parquet")["tracking_run"].to_pylist()
    assert schemas.TrackingFile & {"eid": demo_sessions[-1], "tracking_run": run}
    with h5py.File(exported["nwb"]) as file:
        planes = file["processing/ophys/ImageSegmentation"]
        for fov, uids in enumerate(expected):
            assert planes[f"PlaneSegmentationFOV{fov:02d}/cell_uid"].asstr()[:].tolist() == uids
        assert run in file["general/notes"].asstr()[()]


def test_a_tracking_run_is_chosen_or_refused_and_uids_without_rois_are_reported(exported, demo_sessions, tmp_path):
    from schemas.exchange.export import export_session
    from schemas.work.filling import fill

    eid = demo_sessions[0]
    (run,) = pd.read_parquet(exported["parquet"] / "sessions.parquet")["tracking_run"]
    folder = export_session(eid, "parquet", tmp_path, tracking_run=run[:8])
    assert pd.read_parquet(folder / "sessions.parquet")["tracking_run"].tolist() == [run]
    with pytest.raises(DataError, match="no single tracking run zzz of SP999"):
        export_session(eid, "parquet", tmp_path, tracking_run="zzz", overwrite=True)
    key = {"eid": eid, "fov": 1, "tracking_run": run}
    (schemas.TrackedFOV & key).delete(prompt=False)
    try:
        with pytest.warns(UserWarning, match="not exported: tracked cells of FOV_01; 'meso populate'"):
            export_session(eid, "parquet", tmp_path, tracking_run=run, overwrite=True)
        rois = pd.read_parquet(folder / "rois.parquet")
        assert rois[rois["fov"] == 1]["cell_uid"].isna().all() and rois[rois["fov"] == 0]["cell_uid"].notna().any()
    finally:
        assert fill([schemas.TrackedFOV], {"eid": eid}).errors == []


@pytest.mark.one_backend  # what both formats read is compared on both by the tests of Parquet
def test_nwb_has_trials_and_where_it_all_comes_from(exported, demo_sessions):
    from schemas.session import trials_of

    eid = demo_sessions[-1]
    with pynwb.NWBHDF5IO(exported["nwb"], "r") as io:
        file = io.read()
        trials = file.trials.to_dataframe()
        names = {"intervals_0": "start_time", "intervals_1": "stop_time"}
        for name, values in trials_of(eid).items():
            np.testing.assert_array_equal(trials[names.get(name, name)], values)
        assert (file.identifier, file.subject.subject_id) == (eid, "SP999")
        assert file.session_start_time.date() == (schemas.Session & {"eid": eid}).fetch1("session_date")
        assert file.was_generated_by[0][0] == "meso"
        sources = file.analysis["sources"].to_dataframe()
        hashes = (schemas.FOV.Source & {"eid": eid}).to_arrays("sha256")
        assert set(hashes) <= set(sources["sha256"])


@pytest.mark.one_backend  # what both formats read is compared on both by the tests of Parquet
def test_nwbinspector_finds_nothing_but_what_is_noted(exported):
    messages = list(inspect_nwbfile(nwbfile_path=exported["nwb"]))
    assert [m for m in messages if m.check_function_name not in NOTED] == []
    assert {m.importance.name for m in messages} == {"BEST_PRACTICE_SUGGESTION"}  # the mildest


def test_neurons_only(demo_sessions, tmp_path):
    from schemas.exchange.export import export_session

    eid = demo_sessions[0]
    folder = export_session(eid, "parquet", tmp_path, neurons_only=True)
    rois = pd.read_parquet(folder / "rois.parquet")
    assert rois["is_neuron"].all() and len(rois) == len(schemas.ROI & {"eid": eid} & "is_neuron")
    own = rois[rois["fov"] == 1]["roi"].to_numpy()
    keys, traces = read_activity(folder / "activity_fov01.parquet")
    assert keys["roi"].tolist() == own.tolist()
    assert bits(traces) == bits(fov_traces(eid, 1, own))


@pytest.mark.one_backend  # other tests send its statements on both
def test_traces_of_the_database_are_rows_for_the_resampler(demo_sessions):
    from pipeline.signals.resampling import common_clock, resample, resample_fovs
    from schemas.exchange.export import gather

    session = gather(demo_sessions[0])
    traces = {fov.fov: fov.traces for fov in session.fovs}
    times = {fov.fov: fov.frame_times for fov in session.fovs}
    offsets = {fov.fov: fov.rois["time_offset"].to_numpy() for fov in session.fovs}
    clock = common_clock(times, latest_offset=max(map(np.max, offsets.values())))
    matrix = resample_fovs(traces, times, offsets, clock)
    assert matrix.shape == (sum(map(len, offsets.values())), len(clock)) and np.isfinite(matrix).all()
    whole = fov_traces(demo_sessions[0], 0, np.arange(len(offsets[0])))
    np.testing.assert_array_equal(matrix[: len(whole)], resample(whole, times[0], offsets[0], clock))


@pytest.mark.one_backend  # what it reads is compared on both above
def test_the_command_exports_and_goes_on_after_a_failure(meso_command, exported, demo_sessions, tmp_path):
    args = ("export", "no-such-id", *demo_sessions[:2], "--format", "parquet", "--output", tmp_path, "--neurons")
    done = meso_command(*args)
    assert done.returncode == 1 and "session no-such-id: the session is not registered" in done.stderr
    assert done.stdout.split() == [str(tmp_path / f"sub-SP999_ses-{eid}") for eid in demo_sessions[:2]]
    again = meso_command("export", demo_sessions[0], "--format", "parquet", "--output", tmp_path)
    assert again.returncode == 1 and "it was exported before" in again.stderr
    (run,) = pd.read_parquet(exported["parquet"] / "sessions.parquet")["tracking_run"]
    nwb = meso_command("export", demo_sessions[1], "--format", "nwb", "--output", tmp_path, "--tracking-run", run[:8])
    assert nwb.returncode == 0, nwb.stderr
    with pynwb.NWBHDF5IO(nwb.stdout.strip(), "r") as io:
        series = io.read().processing["ophys"]["Fluorescence"].roi_response_series
        assert set(series) == {"DeconvolvedFOV00", "DeconvolvedFOV01", "DeconvolvedFOV02"}


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_session_that_is_not_read_is_refused_and_missing_data_are_reported(demo_sessions, tmp_path):
    from schemas.exchange.export import export_session

    key = {"eid": demo_sessions[1], "fov": 1}
    (schemas.Activity & key).delete(prompt=False)
    (schemas.Wheel & {"eid": key["eid"]}).delete(prompt=False)
    try:
        with pytest.warns(UserWarning, match="not exported: FOV_01, the wheel; 'meso populate'"):
            folder = export_session(key["eid"], "parquet", tmp_path)
        assert not (folder / "activity_fov01.parquet").exists()
        assert pd.read_parquet(folder / "sessions.parquet")["fovs_left_out"].tolist() == ["1"]
    finally:
        from schemas.work.filling import fill

        assert fill([schemas.Activity, schemas.Wheel], {"eid": key["eid"]}).errors == []
    with pytest.raises(ValueError, match="kind must be one of nwb, parquet"):
        export_session(key["eid"], "csv", tmp_path)
