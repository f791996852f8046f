"""Storage of activity: bits are read back unchanged, damage is detected, a kill leaves no partial FOV."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datajoint as dj
import numpy as np
import pytest
from support import quick_start, version_3
from support.broken_sessions import copy_session
from support.databases import leave, own_prefix, own_server
from support.object_stores import KINDS, stores_of
from support.statements import statements

import schemas
from pipeline.demo.repository import LAB, session_eid, write_demo_repository, write_one_tables
from pipeline.errors import ArgumentError, ConfigError, DamagedError, DataError
from pipeline.signals.clock import roi_offsets
from populate_scripts.ingest import ingest
from schemas.exchange import verify
from schemas.imaging import objects, reading
from schemas.imaging.reading import fov_traces, roi_traces, stream_traces
from schemas.imaging.tables import insert_traces
from schemas.queries.sessions import session_ids
from schemas.rows import jobs_of
from schemas.server import embedded, settings
from schemas.session import FOVFolder
from schemas.storage import bulk, stores
from schemas.tracking import TrackingFile, TrackingRun
from schemas.work.filling import SESSION_TABLES, auto_populated, fill

ROOT = Path(__file__).parents[3]
TRACES, TIMES = "mpci.ROIActivityDeconvolved.npy", "mpci.times.npy"
SUBJECT = "STORE01"
BY_HAND = "00000000-0000-3000-8000-0000000005a1"
RNG = np.random.default_rng(4)


@dataclass
class Store:
    """Two sessions of two FOVs; FOV_00 of the second is long, so that storing it takes time."""

    root: Path
    eids: list[str]

    def file(self, day: int, fov: int, name: str = TRACES) -> Path:
        return self.root / LAB / "Subjects" / SUBJECT / f"2024-02-0{day + 1}" / "001" / "alf" / f"FOV_{fov:02d}" / name

    def matrix(self, day: int, fov: int) -> np.ndarray:
        """Traces as in the file, (ROIs, frames)."""
        return np.load(self.file(day, fov)).T


#: What lies in a store is read and written without the server.
ELSEWHERE = [pytest.param(kind, marks=pytest.mark.one_backend) for kind in KINDS[1:]]
everywhere = pytest.mark.parametrize("place", ["database", *ELSEWHERE], indirect=True)


@pytest.fixture(scope="module", params=["database"])
def place(request, database, tmp_path_factory) -> Iterator[str | None]:
    """The store that new activity goes to; None: the database."""
    if request.param == "database":
        yield None
        return
    with stores_of(request.param, folder=tmp_path_factory.mktemp("objects")), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESO_STORE", request.param)
        yield request.param


@pytest.fixture(scope="module")
def store(database, server, place, tmp_path_factory) -> Iterator[Store]:
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=2, n_trials=30, n_shared=24, rois_per_fov=40
    )
    template = next(made.root.glob("*/Subjects/*/*/001"))
    dates = ("2024-02-01", "2024-02-02")
    store = Store(tmp_path_factory.mktemp("store"), [session_eid(LAB, SUBJECT, date, 1) for date in dates])
    for date in dates:
        copy_session(template, store.root / LAB / "Subjects" / SUBJECT / date / "001")
    n_frames, n_rois = 100_000, store.matrix(1, 0).shape[0]
    np.save(store.file(1, 0), np.maximum(RNG.normal(size=(n_frames, n_rois)), 0).astype(np.float32))
    np.save(store.file(1, 0, TIMES), np.load(store.file(1, 0, TIMES))[0] + 0.2 * np.arange(n_frames))
    write_one_tables(store.root)
    ingest(store.eids, cache_dir=store.root)
    keys = [{"eid": eid} for eid in store.eids]
    assert fill(SESSION_TABLES, keys).errors == []
    yield store
    (schemas.Subject & {"subject": SUBJECT}).delete()
    forget_jobs(store.eids)


@pytest.fixture
def by_hand(database, place) -> Iterator[Callable[..., None]]:
    """Return a function that stores FOVs of a session that has no files."""
    schemas.Subject.insert1({"subject": "HAND"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    schemas.Session.insert1({"eid": BY_HAND, "subject": "HAND", **row})

    def insert(fov: int, traces: np.ndarray) -> None:
        version_3.insert_fov(BY_HAND, fov, len(traces), *traces.shape)
        with database.transaction:
            insert_traces({"eid": BY_HAND, "fov": fov}, traces, place)

    yield insert
    for table in (schemas.Activity.Trace, schemas.Activity, schemas.ROI, schemas.FOV, FOVFolder, schemas.Session):
        (table & {"eid": BY_HAND}).delete_quick()
    (schemas.Subject & {"subject": "HAND"}).delete_quick()
    forget_jobs([BY_HAND])


def forget_jobs(eids: list[str]) -> None:
    for table in auto_populated():
        if "eid" in (jobs := jobs_of(table)).primary_key:
            (jobs & [{"eid": eid} for eid in eids]).delete_quick()


def bits(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def any_bits(dtype: str, shape: tuple[int, int]) -> np.ndarray:
    """Return random bits as numbers, with -0.0, infinity and NaN with a payload for floats."""
    dtype = np.dtype(dtype)
    array = RNG.integers(0, 256, (shape[0], shape[1] * dtype.itemsize), dtype=np.uint8).view(dtype)
    if dtype.kind == "f":
        array[:, :3] = -0.0, np.inf, -np.inf
        nan = np.array([np.nan], dtype).view(f"{dtype.byteorder}u{dtype.itemsize}") + 5
        array[::3, 3] = nan.view(dtype)
    array[1] = 0
    return array


# ---------------------------------------------------------------- the same bits


@everywhere
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", ">f4", "|i1", "<i2", "<u2", "<i4", "<i8", "<u8"])
def test_traces_come_back_bit_by_bit(by_hand, dtype):
    traces = any_bits(dtype, (23, 157))
    by_hand(0, np.asfortranarray(traces))
    for rois in (np.arange(23), RNG.permutation(23), RNG.permutation(23)[:5], np.array([7])):
        for frames in (slice(None), slice(10, 60), slice(-5, None), slice(150, 999), slice(20, 20)):
            found = fov_traces(BY_HAND, 0, rois, frames)
            assert bits(found) == bits(traces[rois][:, frames])
            assert found.flags.c_contiguous and found.flags.writeable
    rows = (schemas.Activity.Trace & {"eid": BY_HAND, "fov": 0}).to_arrays("trace", order_by="roi")
    expected = traces.astype(traces.dtype.newbyteorder("="))  # numpy's for rows put together
    assert all(bits(row) == bits(trace) for row, trace in zip(rows, expected, strict=True))
    found = (schemas.Activity.Trace & {"eid": BY_HAND, "roi": 3}).fetch1("trace")
    assert bits(found) == bits(traces[3]) and found.flags.writeable


@everywhere
def test_traces_are_put_where_they_are_wanted(by_hand):
    traces = any_bits("<f4", (9, 40))
    traces[np.isnan(traces)] = 1  # another dtype need not keep a payload
    by_hand(0, traces)
    rois, whole = np.array([8, 0, 3]), np.full((7, 40), 9.0)
    for out in (whole[2:5], whole.astype("<f4")[2:5], whole[2:5, :30], np.asfortranarray(whole, dtype="<f8")[2:5]):
        frames = slice(0, out.shape[1])
        assert fov_traces(BY_HAND, 0, rois, frames, out=out) is out
        assert np.array_equal(out, traces[rois][:, frames])
    assert (whole[[0, 1, 5, 6]] == 9).all()
    for out in (whole[:2], whole[:4], whole[:3, :39], whole[0]):
        with pytest.raises(ArgumentError, match=r"out must have the shape \(3, 40\), not \("):
            fov_traces(BY_HAND, 0, rois, out=out)


@everywhere
@pytest.mark.parametrize("dtypes", [("<f4", "<f4"), ("<f4", "<f8"), (">f4", "<f4")])
def test_traces_that_are_decoded_together_come_into_their_own_rows(by_hand, monkeypatch, dtypes):
    monkeypatch.setattr(reading, "DECODED_BYTES", 3 * 4 * 157)  # three or one at a time
    matrices = [RNG.normal(size=(23, 157)).astype(dtype) * (RNG.random((23, 157)) < 0.2) for dtype in dtypes]
    for fov, matrix in enumerate(matrices):
        by_hand(fov, matrix)
    order = RNG.permutation(46)
    fovs, rois = order // 23, order % 23
    expected = np.concatenate(matrices)[order]
    for frames in (slice(None), slice(10, 60)):
        for some in (slice(None), slice(7)):
            assert np.array_equal(roi_traces(BY_HAND, fovs[some], rois[some], frames), expected[some, frames])


@everywhere
def test_a_damaged_trace_is_named_among_those_that_are_decoded_with_it(by_hand, monkeypatch, database):
    by_hand(0, RNG.normal(size=(23, 157)).astype("<f4"))
    stored = raw({"eid": BY_HAND, "fov": 0})
    for at_once in (3, 23):
        monkeypatch.setattr(reading, "DECODED_BYTES", at_once * 4 * 157)
        for roi in (0, 11, 22):
            key = {"eid": BY_HAND, "fov": 0, "roi": roi}
            write(database, key, changed_byte(stored[roi]))
            for frames in (slice(None), slice(9)):
                with pytest.raises(DamagedError, match=rf"session {BY_HAND}, FOV_00, ROI {roi}: "):
                    fov_traces(BY_HAND, 0, np.arange(23), frames)
            write(database, key, stored[roi])


@everywhere
def test_frame_times_are_stored_plain_and_read_as_before_compressed(store, database):
    key, table = {"eid": store.eids[0], "fov": 0}, schemas.Recording.full_table_name
    times = (schemas.Recording & key).fetch1("frame_times")
    assert bits(times) == bits(np.load(store.file(0, 0, TIMES)).astype(float))
    stored = bytes(database.query((schemas.Recording & key).make_sql(["frame_times"])).fetchone()[0])
    assert stored == dj.blob.pack(times, compress=False) and len(stored) < times.nbytes + 50
    where = f"eid = '{key['eid']}' AND fov = 0"
    for data in (dj.blob.pack(times), stored):
        database.query(f"UPDATE {table} SET frame_times = %s WHERE {where}", args=(data,))
        assert bits((schemas.Recording & key).fetch1("frame_times")) == bits(times)
    assert data == stored != dj.blob.pack(times)


@pytest.mark.parametrize(
    ("rois", "fov", "message"),
    [
        ([1, 1], 0, ": a ROI is requested twice .*expected 2 different ROIs, found 1"),
        (
            [3, 9],
            0,
            ", FOV_00: traces are missing in the database .*traces of 2 ROIs, found 1; none for ROI 9 of FOV_00",
        ),
        ([0], 4, ", FOV_04: the FOV has no activity in the database.*meso populate"),
    ],
)
def test_what_is_not_there_is_named(by_hand, rois, fov, message):
    by_hand(0, any_bits("<f4", (9, 40)))
    with pytest.raises(DataError, match=f"session {BY_HAND}{message}"):
        fov_traces(BY_HAND, fov, rois)


def test_a_step_through_frames_is_refused(by_hand):
    by_hand(0, any_bits("<f4", (9, 40)))
    for step in (-1, 2):
        with pytest.raises(ValueError, match="step"):
            fov_traces(BY_HAND, 0, [1], slice(None, None, step))


def test_no_rois_are_refused(by_hand):
    by_hand(0, any_bits("<f4", (9, 40)))
    with pytest.raises(DataError, match="no ROIs"):
        fov_traces(BY_HAND, 0, [])


# ---------------------------------------------------------------- activity of any cells


@everywhere
def test_activity_is_the_files(store):
    eid, first = store.eids[0], float(np.load(store.file(0, 0, TIMES))[0])
    start, end = first + 20.0, first + 61.5
    rois = schemas.ROI & {"eid": eid} & "roi % 3 = 1"
    for window in ((None, None), (start, None), (start, end)):
        found, row = schemas.activity(rois, *window), 0
        clocks = [np.load(store.file(0, fov, TIMES)) for fov in (0, 1)]
        inside = [np.flatnonzero((t >= (window[0] or -np.inf)) & (t < (window[1] or np.inf))) for t in clocks]
        frames = slice(min(i[0] for i in inside), max(i[-1] for i in inside) + 1)
        for fov in (0, 1):
            traces, shift = store.matrix(0, fov), np.load(store.file(0, fov, "mpciStack.timeshift.npy"))
            offsets = roi_offsets(shift, np.load(store.file(0, fov, "mpciROIs.stackPos.npy")).astype(int))
            for roi in range(1, len(traces), 3):
                assert found.keys[row] == {"eid": eid, "fov": fov, "roi": roi}
                assert bits(found.traces[row]) == bits(traces[roi, frames])
                assert np.array_equal(found.times[row], clocks[fov][frames] + offsets[roi])
                row += 1
        assert row == len(found.traces) == len(found.times) == len(found.signal)
    assert set(found.signal) == {"deconvolved"}


def test_activity_of_tracked_cells(store):
    run = TrackingRun.register(SUBJECT)
    assert fill([schemas.TrackedCell], run).errors == fill([schemas.TrackedFOV], run).errors == []
    members = schemas.TrackedFOV.Member & run & {"eid": store.eids[0]}
    found = schemas.activity(members * schemas.ROI.proj(neuron="is_neuron") & "neuron")
    keys = (schemas.ROI & members.proj() & "is_neuron").keys(order_by="fov, roi")
    assert 0 < len(keys) == len(found.keys)
    for key, row in zip(keys, found.traces, strict=True):
        assert bits(row) == bits(store.matrix(0, key["fov"])[key["roi"]])


def test_places_of_several_fovs_are_read_by_one_query_and_serve_each_of_them(store, place):
    eid = store.eids[1]
    keys = (schemas.ROI & {"eid": eid}).keys(order_by="fov, roi")[::3]
    fovs, rois = (np.array([key[name] for key in keys]) for name in ("fov", "roi"))
    stored = reading.recorded(eid, fovs)
    assert len(stored) > 1
    with statements() as sent:
        places = reading.trace_places(eid, fovs, rois, stored)
    assert len(sent) == (1 if place else 0) and places.keys() == (stored.keys() if place else set())
    for fov, row in stored.items():
        own = rois[fovs == fov]
        with statements() as sent:
            found = roi_traces(eid, np.full(len(own), fov), own, stored={fov: row}, places=places)
        assert bits(found) == bits(store.matrix(1, fov)[own]) and len(sent) == (0 if place else 1)


def test_activity_is_of_one_session_and_one_number_of_frames(store):
    sessions = schemas.ROI & [{"eid": eid} for eid in store.eids]
    with pytest.raises(DataError, match=r"ROIs of 1 session.*found \d+ ROIs of 2 sessions"):
        schemas.activity(sessions)
    with pytest.raises(DataError, match="found 0 ROIs of 0 sessions"):
        schemas.activity(sessions & "roi < 0")
    with pytest.raises(DataError, match=r"differ in their number of frames.*100000 in FOV_00, \d+ in FOV_01"):
        schemas.activity(sessions & {"eid": store.eids[1]})
    assert len(schemas.activity(sessions & {"eid": store.eids[1], "fov": 1, "roi": 3}).traces) == 1


# ---------------------------------------------------------------- damage


def raw(key: dict) -> dict[int, bytes]:
    """Return what the rows of a FOV hold by ROI."""
    found: dict[int, bytes] = {}
    bulk.stream(schemas.Activity.Trace & key, "roi", "trace", take=found.__setitem__)
    return found


def packed(key: dict) -> dict[int, bytes]:
    """Return the packed traces of a FOV by ROI, wherever they are."""
    found: dict[int, bytes] = {}
    stream_traces(key["eid"], schemas.Activity.Trace & key, lambda _, roi, data: found.update({roi: bytes(data)}))
    return found


def write(connection, key: dict, data: bytes | None, *, insert: bool = False) -> None:
    """Put bytes into a row by SQL alone; None deletes it."""
    table, place = schemas.Activity.Trace.full_table_name, (key["eid"], key["fov"], key["roi"])
    if data is None:
        connection.query(f"DELETE FROM {table} WHERE eid = %s AND fov = %s AND roi = %s", args=place)
    elif insert:
        connection.query(f"INSERT INTO {table} (eid, fov, roi, trace) VALUES (%s, %s, %s, %s)", args=(*place, data))
    else:
        connection.query(f"UPDATE {table} SET trace = %s WHERE eid = %s AND fov = %s AND roi = %s", args=(data, *place))


def changed_byte(data: bytes) -> bytes:
    at = int(RNG.integers(len(data)))
    return data[:at] + bytes([data[at] ^ int(RNG.integers(1, 256))]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "changed": changed_byte,
    "cut": lambda data: data[: int(RNG.integers(1, len(data)))],
    "extended": lambda data: data + bytes(int(RNG.integers(1, 9))),
    "emptied": lambda data: b"",
    "deleted": lambda data: None,
}


@pytest.fixture
def damaged(store, database) -> Iterator[dict[tuple[int, int], str]]:
    """50 traces of the first session damaged in five ways: how, by FOV and ROI."""
    stored = {fov: raw({"eid": store.eids[0], "fov": fov}) for fov in (0, 1)}
    places = [(fov, roi) for fov, rows in stored.items() for roi in rows]
    chosen = [places[i] for i in RNG.permutation(len(places))[:50]]
    how = dict(zip(chosen, [*DAMAGE] * 10, strict=True))
    for (fov, roi), kind in how.items():
        write(database, {"eid": store.eids[0], "fov": fov, "roi": roi}, DAMAGE[kind](stored[fov][roi]))
    yield how
    for (fov, roi), kind in how.items():
        key = {"eid": store.eids[0], "fov": fov, "roi": roi}
        write(database, key, stored[fov][roi], insert=kind == "deleted")
    assert {fov: raw({"eid": store.eids[0], "fov": fov}) for fov in (0, 1)} == stored
    assert verify.verify_session(store.eids[0]).findings == []


@everywhere
def test_50_of_50_damaged_traces_are_never_a_value(store, damaged):
    eid, refused = store.eids[0], 0
    for (fov, roi), kind in damaged.items():
        key = {"eid": eid, "fov": fov, "roi": roi}
        place = rf"session {eid}, FOV_{fov:02d}.*ROI {roi}\b"
        for read in (
            lambda key=key: fov_traces(key["eid"], key["fov"], [key["roi"]]),
            lambda key=key: fov_traces(key["eid"], key["fov"], [key["roi"]], slice(3, 9)),
            lambda key=key: schemas.activity(schemas.ROI & key),
        ):
            with pytest.raises(DataError, match=place):
                read()
        if kind == "deleted":
            assert len((schemas.Activity.Trace & key).to_arrays("trace")) == 0
        else:
            with pytest.raises(DataError, match="'meso verify' names the row") as refusal:
                (schemas.Activity.Trace & key).to_arrays("trace")
            assert "onfig" not in str(refusal.value)  # DataJoint's settings, which a codec is given for a key
        refused += 1
    assert refused == 50
    with pytest.raises(DataError, match=eid):
        schemas.activity(schemas.ROI & {"eid": eid})
    well = [roi for roi in range(store.matrix(0, 0).shape[0]) if (0, roi) not in damaged]
    assert bits(fov_traces(eid, 0, well)) == bits(store.matrix(0, 0)[well])  # the others, after all those errors


@everywhere
@pytest.mark.one_backend  # other tests send its statements on both
def test_50_of_50_damaged_traces_are_named_by_verify(store, damaged, meso_command):
    done = meso_command("verify", store.eids[0], "--json")
    assert done.returncode == 1, done.stderr
    seen = json.loads(done.stdout)
    kinds = {(row["fov"], row["roi"]): row["kind"] for row in seen["findings"]}
    assert kinds == {place: "missing" if kind == "deleted" else "damaged" for place, kind in damaged.items()}
    assert len(seen["findings"]) == len(kinds) == 50
    assert {row["eid"] for row in seen["findings"]} == {store.eids[0]}
    assert seen["n_traces"] == sum(len(store.matrix(0, fov)) for fov in (0, 1)) - 50
    text = meso_command("verify", "--subject", SUBJECT)
    assert text.returncode == 1
    assert all(f"FOV_{fov:02d}, ROI {roi}: " in text.stdout for fov, roi in kinds)
    assert text.stdout.splitlines()[-1].startswith("2 sessions, 4 FOVs: ")
    assert ", 50 findings; " in text.stdout.splitlines()[-1]


@everywhere
def test_exchanged_traces_are_found_by_the_files_alone(store, database):
    """Both are intact and of the right shape, so that no checksum within a row can detect it."""
    keys = [{"eid": store.eids[0], "fov": 1, "roi": roi} for roi in (2, 7)]
    stored = raw({"eid": store.eids[0], "fov": 1})
    for key, other in zip(keys, (7, 2), strict=True):
        write(database, key, stored[other])
    try:
        assert verify.verify_session(store.eids[0]).findings == []
        findings = verify.verify_session(store.eids[0], source=True).findings
        assert [(one.kind, one.error.fov, one.roi) for one in findings] == [("differs", 1, 2), ("differs", 1, 7)]
        assert "differs from the file in" in str(findings[0])
    finally:
        for key in keys:
            write(database, key, stored[key["roi"]])


# ---------------------------------------------------------------- verify


@everywhere
@pytest.mark.one_backend  # other tests send its statements on both
def test_a_clean_store_is_whole_and_the_files(store, meso_command):
    done = meso_command("verify", *store.eids, "--source", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    n_rois = sum(len(store.matrix(day, fov)) for day in (0, 1) for fov in (0, 1))
    assert (seen["n_sessions"], seen["n_fovs"], seen["n_traces"], seen["n_compared"]) == (2, 4, n_rois, n_rois)
    assert seen["ok"] and seen["findings"] == []
    assert seen["n_arrays"] >= 2 * (2 * 2 + 3)  # two clocks of each FOV, the wheel


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_session_that_is_not_registered_is_refused(store, meso_command):
    for arguments, text in (([BY_HAND], BY_HAND), (["--subject", "NOBODY"], "NOBODY")):
        done = meso_command("verify", *arguments)
        assert done.returncode == 1
        assert done.stderr.strip() == f"Error: not registered: {text}. Register with: meso ingest"
    with pytest.raises(ConfigError, match="or --subject"):
        session_ids(store.eids, SUBJECT)
    assert session_ids(subject=SUBJECT) == store.eids
    assert set(store.eids) <= set(session_ids())


@pytest.fixture
def kept(store, tmp_path) -> Iterator[Path]:
    """The file of a FOV, put back afterwards."""
    path = store.file(0, 1)
    shutil.copy2(path, tmp_path / "kept")
    yield path
    shutil.copy2(tmp_path / "kept", path)


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_file_that_changed_is_not_a_damaged_database(store, kept):
    array = np.load(kept)
    for content in ("values", "cut"):
        array[5, 3] += 1
        np.save(kept, array)
        if content == "cut":
            kept.write_bytes(kept.read_bytes()[:-7])
        (finding,) = verify.verify_session(store.eids[0], source=True).findings
        assert (finding.kind, finding.error.fov, finding.table) == ("changed", 1, "FOV.Source")
        assert "so it cannot tell whether the database is right" in str(finding)


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_missing_file_is_reported_and_the_rest_compared(store, kept):
    kept.unlink()
    done = verify.verify_session(store.eids[0], source=True)
    (finding,) = done.findings
    assert (finding.kind, finding.error.fov) == ("no file", 1)
    assert not done.ok  # the requested comparison was not possible
    assert done.compared == len(store.matrix(0, 0))


def test_a_missing_cache_is_reported(store, monkeypatch):
    key = {"eid": store.eids[0]}
    schemas.Session.update1({**key, "one_cache_dir": "/not/here"})
    try:
        done = verify.verify_session(store.eids[0], source=True)
    finally:
        schemas.Session.update1({**key, "one_cache_dir": str(store.root)})
    with_uids = set((TrackingFile & key).to_arrays("fov"))  # if a former test registered them: their silhouettes
    assert [finding.kind for finding in done.findings] == ["no file"] * (4 + len(with_uids))  # two FOVs, trials, wheel
    assert "MESO_ONE_CACHE_DIR" in str(done.findings[0])


def test_a_trace_that_is_not_what_its_fov_says(store, database, by_hand):
    traces = any_bits("<f4", (5, 30))
    by_hand(0, traces)
    stored = raw({"eid": BY_HAND, "fov": 0})
    by_hand(1, any_bits("<f4", (5, 31)))
    write(database, {"eid": BY_HAND, "fov": 1, "roi": 4}, stored[4])
    (finding,) = verify.verify_session(BY_HAND).findings
    assert (finding.kind, finding.error.fov, finding.roi) == ("wrong", 1, 4)
    assert "expected 31 frames of <f4, found shape (30,) of <f4" in str(finding)
    with pytest.raises(DataError, match="FOV_01, ROI 4: "):
        fov_traces(BY_HAND, 1, [4])


def test_activity_that_is_not_populated_yet_is_not_damage(by_hand):
    by_hand(0, any_bits("<f4", (5, 30)))
    for fov in (1, 2):
        version_3.insert_fov(BY_HAND, fov, 5, 5, 30)
    job = {"eid": BY_HAND, "fov": 2, "status": "error", "error_message": "no such file", "priority": 5}
    schemas.Activity.jobs.insert1(job)
    done = verify.verify_session(BY_HAND)
    assert [(one.kind, one.error.fov) for one in done.findings] == [("pending", 1), ("failed", 2)]
    assert "no such file" in str(done.findings[1])
    assert done.ok and done.traces == 5


def test_other_arrays_are_verified_too(store, database):
    key = {"eid": store.eids[0], "fov": 1}
    table, clock = schemas.Recording.full_table_name, (schemas.Recording & key).fetch1("frame_times")
    stored = verify._stored(schemas.Recording & key, "frame_times")
    cases = {
        "wrong": dj.blob.pack(clock[:-1]),
        "damaged": stored[: len(stored) // 2],
    }
    for kind, data in cases.items():
        query = f"UPDATE {table} SET frame_times = %s WHERE eid = %s AND fov = 1"
        database.query(query, args=(data, store.eids[0]))
        try:
            (finding,) = verify.verify_session(store.eids[0]).findings
        finally:
            database.query(query, args=(stored, store.eids[0]))
        assert (finding.kind, finding.table, finding.error.fov) == (kind, "Recording.frame_times", 1)
    assert verify.verify_session(store.eids[0]).findings == []


@pytest.mark.one_backend  # other tests send its statements on both
def test_results_of_the_demo_are_whole(demo_sessions):
    done = verify.verify_session(demo_sessions[0], source=True)
    assert done.findings == []


@pytest.fixture
def reading_account(database, backend) -> Iterator[dict[str, str]]:
    """Variables of a user with SELECT on the tables and nothing else."""
    name, prefix = f"{settings.prefix()}verifies", settings.prefix()
    names = [row[0] for row in database.query("SELECT schema_name FROM information_schema.schemata").fetchall()]
    mine = [one for one in names if one.startswith(prefix)]
    if backend == "mysql":
        database.query(f"CREATE USER '{name}'@'%%' IDENTIFIED BY 'read-only'")
        for schema in mine:
            database.query(f"GRANT SELECT ON `{schema}`.* TO '{name}'@'%%'")
    else:
        database.query(f"CREATE ROLE {name} LOGIN")
        for schema in mine:
            database.query(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
            database.query(f"GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA {schema} TO {name}")
    socket = {} if backend == "mysql" else {"DJ_BACKEND": "postgresql", "DJ_HOST": str(embedded.running().socket_dir)}
    yield {**socket, "DJ_USER": name, "DJ_PASS": "read-only"}
    if backend == "mysql":
        database.query(f"DROP USER '{name}'@'%%'")
    else:
        database.query(f"DROP OWNED BY {name}")
        database.query(f"DROP ROLE {name}")


def test_an_account_that_may_only_read_can_verify(store, meso_command, reading_account):
    done = meso_command("verify", store.eids[0], "--source", env=reading_account)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 findings; " in done.stdout


def test_an_account_that_sees_no_keys_is_refused(database, backend, meso_command, reading_account):
    """DataJoint would take every table to be without a key, and join each row with all."""
    if backend == "mysql":
        pytest.skip("MySQL shows the keys to every account that may read the rows")
    user, schema = reading_account["DJ_USER"], settings.prefix() + "session"
    database.query(f"REVOKE REFERENCES ON ALL TABLES IN SCHEMA {schema} FROM {user}")
    done = meso_command("verify", env=reading_account)
    assert done.returncode == 1
    assert "Give it REFERENCES next to SELECT" in done.stderr


# ---------------------------------------------------------------- memory


@everywhere
def test_memory_holds_what_is_asked_for_and_a_few_traces(by_hand, monkeypatch):
    n_rois, n_frames = 300, 30_000
    monkeypatch.setattr(stores, "BATCH_BYTES", 1_000_000)
    by_hand(0, RNG.normal(size=(n_rois, n_frames)).astype("<f4"))
    stored, trace = 4 * n_rois * n_frames, 4 * n_frames
    fov_traces(BY_HAND, 0, [0])  # imports
    for read, result in (
        (lambda: fov_traces(BY_HAND, 0, np.arange(n_rois), slice(0, 100)), 400 * n_rois),
        (lambda: fov_traces(BY_HAND, 0, np.arange(0, n_rois, 4)), stored // 4),
        (lambda: verify.verify_session(BY_HAND), 0),
    ):
        tracemalloc.start()
        read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < result + 60 * trace + 2e6 < result + stored / 3


# ---------------------------------------------------------------- kills


def start(eid: str) -> quick_start.Process:
    """Start to store activity in another process, and wait until it has begun."""
    arguments = ["-m", "populate_scripts.cli", "populate", "Activity", "--eid", eid]
    process = quick_start.Process(arguments, cwd=ROOT, env=os.environ)
    deadline = time.monotonic() + 120
    while not schemas.Activity.jobs.reserved & {"eid": eid}:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@everywhere
def test_killed_at_any_moment_and_run_again_stores_the_same_bits(store, place, server, monkeypatch):
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    eid, fovs = store.eids[1], [{"eid": store.eids[1], "fov": fov} for fov in (0, 1)]
    before, n_partial = [packed(fov) for fov in fovs], 0
    # two before the end, on a fast machine too
    for wait in (0.0, RNG.uniform(0, 0.1), *RNG.uniform(0, 1.2, 2 if place else 4)):
        (schemas.Activity & {"eid": eid}).delete()
        process = start(eid)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate(60)
        there = [bool(schemas.Activity & fov) for fov in fovs]
        assert [len(schemas.Activity.Trace & fov) for fov in fovs] == [
            len(rows) * is_there for rows, is_there in zip(before, there, strict=True)
        ]
        n_partial += not all(there)
        assert fill([schemas.Activity], {"eid": eid}).errors == []
        if errors := schemas.Activity.jobs.errors & {"eid": eid}:  # it has killed too many to be tried by itself
            errors.delete_quick()
            assert fill([schemas.Activity], {"eid": eid}).errors == []
        assert [packed(fov) for fov in fovs] == before
    assert n_partial >= 2  # some kills came before the end
    if place:
        orphans = objects.orphans(place, older_than=0)
        assert len(orphans) >= 2  # those of the sessions that were deleted, and of the kills
        for orphan in orphans:
            objects.remove(orphan)
        assert objects.orphans(place, older_than=0) == []
    assert verify.verify_session(eid, source=True).findings == []


# ---------------------------------------------------------------- from blocks to traces


@pytest.fixture
def old_prefix(database) -> Iterator[str]:
    yield own_prefix("v3")
    leave(database, own_prefix("v3"))


READ = """
import hashlib, json, sys
sys.path.insert(0, "tests")
import numpy as np, schemas
from schemas.exchange import verify
from schemas.imaging.reading import fov_traces
from support import quick_start, version_3
schemas.activate()
n = len(schemas.Activity())
same = [fov_traces(version_3.EID, fov, np.arange(version_3.N_ROIS[fov])).tobytes()
        == version_3.matrix(fov).tobytes() for fov in (0, 1)]
found = verify.verify_session(version_3.EID)
print(json.dumps([n, same, [finding.kind for finding in found.findings], found.traces]))
"""


def test_blocks_of_version_3_become_traces_though_killed_on_the_way(
    database, backend, old_prefix, python_command, meso_command
):
    env, script = {**own_server(backend), "MESO_PREFIX": old_prefix}, Path(version_3.__file__)
    done = python_command(script, "make", env=env)
    assert done.returncode == 0, done.stderr
    for where in ("renamed", "second FOV", "drop"):
        done = python_command(script, where, env=env)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert "run meso db init" in meso_command("verify", env=env).stderr
    done = meso_command("db", "init", env=env)
    assert "Applied 4: activity" in done.stdout and "Applied 5: activity" in done.stdout, done.stderr
    done = python_command("-c", READ, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [2, [True, True], ["pending"], 103]
    tables = database.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", args=(old_prefix + "imaging",)
    ).fetchall()
    assert "_activity_blocks" not in {row[0] for row in tables}
