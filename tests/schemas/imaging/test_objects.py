"""Traces in a store of objects: no partial objects, no wrong values, no missing traces, none of another database."""

from __future__ import annotations

import datetime
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import datajoint as dj
import numpy as np
import pytest
from support import version_3, version_4
from support.databases import columns, declared, leave, own_prefix, own_server
from support.object_stores import KINDS, stores_of

import schemas
from pipeline.errors import ConfigError, DataError
from pipeline.storage import places
from pipeline.storage.arrays import pack
from schemas.exchange import verify
from schemas.imaging import objects, packing
from schemas.imaging.reading import fov_traces, roi_traces
from schemas.imaging.tables import insert_traces
from schemas.provenance import DatabaseId
from schemas.server import settings
from schemas.session import FOVFolder
from schemas.storage import bulk, stores

EID = "00000000-0000-3000-8000-0000000000c5"
RNG = np.random.default_rng(11)
BOTH = ("folder", "bucket")
#: What lies in a store is read and written without the server.
both = pytest.mark.parametrize("kind", ["folder", pytest.param("bucket", marks=pytest.mark.one_backend)])


@pytest.fixture(scope="module", autouse=True)
def both_stores(database, tmp_path_factory) -> Iterator[None]:
    with stores_of(*BOTH, folder=tmp_path_factory.mktemp("objects")):
        yield


@pytest.fixture
def matrices(database) -> Iterator[dict[int, np.ndarray]]:
    """The traces of three FOVs of a session that has no files; nothing is stored yet."""
    schemas.Subject.insert1({"subject": "OBJECTS"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    schemas.Session.insert1({"eid": EID, "subject": "OBJECTS", **row})
    traces = {fov: RNG.normal(size=(60, 700)).astype("<f4") for fov in range(3)}
    for fov, matrix in traces.items():
        version_3.insert_fov(EID, fov, len(matrix), *matrix.shape)
    yield traces
    for table in (schemas.Activity.Trace, schemas.Activity, schemas.ROI, schemas.FOV, FOVFolder, schemas.Session):
        (table & {"eid": EID}).delete_quick()
    (schemas.Subject & {"subject": "OBJECTS"}).delete_quick()
    collect()
    assert paths("folder") == paths("bucket") == set()


def collect() -> None:
    for orphan in [orphan for kind in BOTH for orphan in objects.orphans(kind, 0)]:
        objects.remove(orphan)


def put(matrices: dict[int, np.ndarray], kind: str) -> None:
    for fov, matrix in matrices.items():
        with schemas.Activity().connection.transaction:
            insert_traces({"eid": EID, "fov": fov}, matrix, None if kind == "database" else kind)


def object_of(fov: int) -> str:
    return str((schemas.Activity & {"eid": EID, "fov": fov}).fetch1("trace_object"))


def contents(kind: str, path: str) -> bytes:
    store = stores.named(kind)
    return store.backend.fs.cat_file(store.full(path))


def overwrite(kind: str, path: str, data: bytes) -> None:
    store = stores.named(kind)
    store.backend.fs.pipe_file(store.full(path), data)


def places_of(fov: int) -> dict[int, places.Place]:
    rows = {}
    query = schemas.Activity.Trace & {"eid": EID, "fov": fov}
    bulk.stream(query, "roi", "trace", take=lambda roi, data: rows.update({roi: places.place_of(data)}))
    return rows


def paths(kind: str) -> set[str]:
    return {one.path for one in stores.named(kind).objects(stores.folder())}


def all_there(matrices: dict[int, np.ndarray]) -> bool:
    return all(
        fov_traces(EID, fov, np.arange(len(matrix))).tobytes() == matrix.tobytes() for fov, matrix in matrices.items()
    )


# ---------------------------------------------------------------- places


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_place_comes_back_and_no_byte_of_it_can_change():
    place = places.Place("läb", f"meso/{'a' * 32}/x.traces", 1 << 40, 80_000, (1 << 64) - 1)
    data = place.to_bytes()
    assert places.is_place(data) and places.place_of(memoryview(data)) == place
    assert not places.is_place(pack(np.arange(3)))
    for at in range(len(places.MAGIC), len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            with pytest.raises(DataError):
                places.place_of(changed)
    with pytest.raises(DataError):
        places.place_of(data + b"\0")


@pytest.mark.one_backend  # other tests send its statements on both
def test_many_places_in_an_object_are_decoded_at_once_and_any_irregular_one_is_noticed():
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 1 << 60, (50, 3)).tolist()
    several = [places.Place("lab", "meso/x.traces", *row) for row in numbers]
    data = b"".join(place.to_bytes() for place in several)
    assert places.places_of(data, 50) == several == [
        places.place_of(data[at : at + len(data) // 50]) for at in range(0, len(data), len(data) // 50)
    ]  # fmt: skip
    assert places.places_of(several[0].to_bytes(), 1) == several[:1]
    assert places.places_of(data, 49) is None and places.places_of(pack(np.arange(3)), 1) is None
    assert places.places_of(data.replace(b"x.traces", b"y.traces", 1), 50) is None
    elsewhere = several[1]._replace(path="meso/y.traces").to_bytes()
    assert places.places_of(several[0].to_bytes() + elsewhere, 2) is None
    for at in rng.integers(0, len(data), 200).tolist():
        assert places.places_of(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], 50) is None


@pytest.mark.one_backend  # other tests send its statements on both
def test_the_digest_is_of_values_dtype_and_shape():
    arrays = [np.arange(6, dtype="<f4"), np.arange(6, dtype="<i4"), np.arange(6, dtype="<f4").reshape(2, 3)]
    arrays.append(arrays[0] + 1)
    assert len({places.digest_of(pack(array)) for array in arrays}) == 4


# ---------------------------------------------------------------- where traces are


@pytest.mark.parametrize("kind", KINDS)
def test_one_object_per_fov_and_what_sql_says_of_it(matrices, kind):
    put(matrices, kind)
    rows = (schemas.Activity & {"eid": EID}).to_dicts(order_by="fov")
    if kind == "database":
        assert [(row["trace_store"], row["trace_object"]) for row in rows] == [(None, None)] * 3
        return
    start = f"meso/{DatabaseId.current()}/{EID}"
    for row, matrix in zip(rows, matrices.values(), strict=True):
        assert row["trace_store"] == kind
        assert row["trace_object"].startswith(f"{start}/FOV_{row['fov']:02d}-")
        assert contents(kind, row["trace_object"]) == b"".join(map(pack, matrix))
    assert paths(kind) == {row["trace_object"] for row in rows}


def test_fovs_in_rows_and_in_two_stores_are_one_matrix(matrices):
    for (fov, matrix), store in zip(matrices.items(), (None, *BOTH), strict=True):
        insert_traces({"eid": EID, "fov": fov}, matrix, store)
    fovs, rois = np.repeat(np.arange(3), 60), np.tile(RNG.permutation(60), 3)
    mixed = RNG.permutation(180)
    found = roi_traces(EID, fovs[mixed], rois[mixed], slice(100, 650))
    expected = np.concatenate([matrix[rois[:60]] for matrix in matrices.values()])[mixed][:, 100:650]
    assert found.tobytes() == expected.tobytes()
    rows = (schemas.Activity.Trace & {"eid": EID}).to_arrays("trace", order_by="fov, roi")
    assert np.stack(rows).tobytes() == np.concatenate([*matrices.values()]).tobytes()


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_file_with_the_rois_of_a_frame_side_by_side_is_stored_the_same(matrices, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "BLOCK_BYTES", 7 * 4 * 700)
    for fov, matrix in matrices.items():
        np.save(tmp_path / "c.npy", np.ascontiguousarray(matrix.T))
        insert_traces({"eid": EID, "fov": fov}, np.load(tmp_path / "c.npy", mmap_mode="r").T)
    assert all_there(matrices)


@pytest.mark.one_backend  # other tests send its statements on both
def test_few_requests_for_neighbours_and_no_more_than_is_needed(matrices, monkeypatch):
    put(matrices, "bucket")
    asked: list[tuple[int, int]] = []
    filesystem = stores.named("bucket").backend.fs
    plain = filesystem.cat_ranges

    def counted(paths, starts, ends, **options):
        asked.extend(zip(starts, ends, strict=True))
        return plain(paths, starts, ends, **options)

    monkeypatch.setattr(filesystem, "cat_ranges", counted)
    fov_traces(EID, 0, np.arange(60))
    assert len(asked) == 1
    asked.clear()
    monkeypatch.setattr(stores, "GAP_BYTES", 0)
    fov_traces(EID, 0, np.array([40, 3, 41, 20]))
    own = places_of(0)
    assert asked == [(own[a].offset, own[b].offset + own[b].size) for a, b in ((3, 3), (20, 20), (40, 41))]
    asked.clear()
    monkeypatch.setattr(stores, "REQUEST_BYTES", 4 * own[0].size)
    monkeypatch.setattr(stores, "BATCH_BYTES", 10 * own[0].size)
    assert fov_traces(EID, 0, np.arange(60)).tobytes() == matrices[0].tobytes()
    assert len(asked) > 15 and max(end - start for start, end in asked) <= 4 * own[0].size


# ---------------------------------------------------------------- objects are whole


@both
def test_an_object_appears_at_once_or_never(kind, monkeypatch):
    monkeypatch.setattr(stores, "PART_BYTES", 5 << 20)
    path, part = stores.new_path(EID, 0), pack(RNG.integers(0, 255, 6_000_000, dtype=np.uint8))
    with suppress(KeyboardInterrupt), stores.named(kind).new(path) as made:
        made.add(part)
        made.add(part)
        assert path not in paths(kind)
        raise KeyboardInterrupt
    assert paths(kind) == set()
    filesystem = stores.named(kind).backend.fs
    assert kind == "folder" or filesystem.list_multipart_uploads("lab") == []
    with stores.named(kind).new(path) as made:
        second = [made.add(part), made.add(part)][1]
        assert path not in paths(kind)
    assert paths(kind) == {path}
    assert stores.read_one(second) == part
    stores.named(kind).remove(path)
    stores.named(kind).remove(path)  # as if another had been faster
    assert paths(kind) == set()


@both
def test_a_transaction_that_fails_leaves_no_row_without_its_object(matrices, database, kind):
    with suppress(KeyboardInterrupt), database.transaction:
        insert_traces({"eid": EID, "fov": 0}, matrices[0], kind)
        raise KeyboardInterrupt
    assert not schemas.Activity & {"eid": EID} and not schemas.Activity.Trace & {"eid": EID}
    assert len(objects.orphans(kind, 0)) == 1


# ---------------------------------------------------------------- damage


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ int(RNG.integers(1, 256))]) + data[at + 1 :]


def refused(kind: str, fov: int, roi: int) -> None:
    """Check that each way of reading names the trace that cannot be read."""
    where = rf"session {EID}, FOV_{fov:02d}, ROI {roi}: .*"
    for frames in (slice(None), slice(5, 9)):
        with pytest.raises(DataError, match=where):
            fov_traces(EID, fov, [roi], frames)
    with pytest.raises(DataError, match="'meso verify' names the row"):
        (schemas.Activity.Trace & {"eid": EID, "fov": fov, "roi": roi}).to_arrays("trace")


def damaged_rows() -> set[tuple[int, int]]:
    findings = verify.verify_session(EID).findings
    assert {finding.kind for finding in findings} <= {"damaged"}
    return {(finding.error.fov, finding.roi) for finding in findings}


@both
def test_50_of_50_changed_bytes_are_found(matrices, kind):
    put(matrices, kind)
    whole = {fov: contents(kind, object_of(fov)) for fov in matrices}
    own = {fov: places_of(fov) for fov in matrices}
    chosen = [divmod(int(number), 60) for number in RNG.permutation(180)[:50]]
    for fov in matrices:
        data = whole[fov]
        for roi in (roi for one, roi in chosen if one == fov):
            data = changed(data, own[fov][roi].offset + int(RNG.integers(own[fov][roi].size)))
        overwrite(kind, object_of(fov), data)
    for fov, roi in chosen:
        refused(kind, fov, roi)
    assert damaged_rows() == set(chosen)
    well = [roi for roi in range(60) if (0, roi) not in chosen]
    assert fov_traces(EID, 0, well).tobytes() == matrices[0][well].tobytes()


@both
def test_all_rois_but_a_damaged_one_can_be_read(matrices, kind):
    put(matrices, kind)
    overwrite(kind, object_of(0), changed(contents(kind, object_of(0)), places_of(0)[25].offset + 10))
    refused(kind, 0, 25)
    well = [roi for roi in range(60) if roi != 25]  # so many that the rows of the whole FOV are asked for
    assert fov_traces(EID, 0, well).tobytes() == matrices[0][well].tobytes()


@both
def test_truncated_missing_and_exchanged_objects_are_reported(matrices, kind):
    put(matrices, kind)
    own, data = places_of(0), contents(kind, object_of(0))
    overwrite(kind, object_of(0), data[: own[30].offset + 100])
    stores.named(kind).remove(object_of(1))
    other = RNG.normal(size=matrices[2].shape).astype("<f4")
    overwrite(kind, object_of(2), b"".join(map(pack, other)))  # whole arrays of the same shape, and as long or not
    for fov, roi, problem in ((0, 30, "truncated"), (1, 7, "missing"), (2, 7, "another array")):
        refused(kind, fov, roi)
        with pytest.raises(DataError, match=f"{problem}.* {object_of(fov)} in the store {kind}"):
            fov_traces(EID, fov, [roi])
    assert damaged_rows() == {(0, roi) for roi in range(30, 60)} | {(fov, roi) for fov in (1, 2) for roi in range(60)}


@both
def test_a_place_in_the_object_of_another_fov_is_reported(matrices, kind):
    put(matrices, kind)
    (schemas.Activity & {"eid": EID, "fov": 1}).connection.query(
        f"UPDATE {schemas.Activity.full_table_name} SET trace_object = %s WHERE eid = %s AND fov = 1",
        args=(object_of(0), EID),
    )
    assert damaged_rows() == {(1, roi) for roi in range(60)}  # whole, but the garbage collection would take them


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_store_that_cannot_be_read_is_not_damage(matrices, monkeypatch, tmp_path):
    put({0: matrices[0], 1: matrices[1]}, "folder")
    put({2: matrices[2]}, "bucket")
    spec = dict(dj.config.stores["folder"])
    for broken, problem in (({"location": str(tmp_path / "unmounted")}, "Inaccessible"), ({"protocol": "ftp"}, "ftp")):
        monkeypatch.setitem(dj.config.stores, "folder", {**spec, **broken})
        for read in (lambda: fov_traces(EID, 0, [1]), lambda: verify.verify_session(EID)):
            with pytest.raises(ConfigError, match=f"The store folder cannot be used.*{problem}"):
                read()
    monkeypatch.delitem(dj.config.stores, "folder")
    with pytest.raises(ConfigError, match="'folder' is requested but not configured"):
        fov_traces(EID, 0, [1])
    monkeypatch.setitem(dj.config.stores, "folder", spec)
    monkeypatch.setitem(dj.config.stores, "bucket", {**dj.config.stores["bucket"], "endpoint": "127.0.0.1:9"})
    with pytest.raises(ConfigError, match="The store bucket"):
        fov_traces(EID, 2, [1])
    assert not tmp_path.joinpath("unmounted").exists()


# ---------------------------------------------------------------- garbage collection


def age(kind: str, path: str, days: float) -> None:
    when = time.time() - 86400 * days
    os.utime(stores.named(kind).full(path), (when, when))


@pytest.mark.one_backend  # other tests send its statements on both
def test_gc_lists_first_and_removes_old_orphans_only(matrices, meso_command):
    put(matrices, "folder")
    used = paths("folder")
    for name in ("old", "young"):
        with stores.named("folder").new(f"{stores.folder()}/{EID}/{name}.traces") as made:
            made.add(pack(matrices[0][0]))
    part = f"{stores.folder()}/{EID}/FOV_00-{'0' * 16}.traces.part"  # of a process that was killed
    Path(stores.named("folder").full(part)).write_bytes(b"half")
    stranger = "meso/0123/x/FOV_00-1.traces"  # of another database
    beside = "_hash/objects"  # of DataJoint
    for path in (stranger, beside):
        target = Path(stores.named("folder").full(path))
        target.parent.mkdir(parents=True)
        target.write_bytes(b"not ours")
    for path in (*used, part, stranger, beside, f"{stores.folder()}/{EID}/old.traces"):
        age("folder", path, 1.1)
    before = paths("folder")
    old = {f"{stores.folder()}/{EID}/old.traces", part}
    done = meso_command("store", "gc")
    assert "2 objects that no row names" in done.stdout and "a dry run" in done.stdout
    assert paths("folder") == before
    done = meso_command("store", "gc", "--delete", "--json")
    assert {row["object"] for row in json.loads(done.stdout)} == old
    assert paths("folder") == before - old
    collect()
    assert paths("folder") == used
    for path in (stranger, beside):
        kept = Path(stores.named("folder").full(path))
        assert kept.read_bytes() == b"not ours"
        kept.unlink()
    assert all_there(matrices)


@pytest.mark.one_backend  # other tests send its statements on both
def test_gc_of_a_bucket_goes_by_age_too(matrices):
    put(matrices, "bucket")
    (schemas.Activity & {"eid": EID, "fov": 1}).delete()
    assert objects.orphans("bucket") == []
    (orphan,) = objects.orphans("bucket", 0)
    assert orphan.object.size == sum(len(pack(trace)) for trace in matrices[1])
    assert datetime.datetime.now(datetime.UTC) - orphan.object.modified < datetime.timedelta(minutes=5)


def test_one_folder_with_two_names_has_no_orphans(matrices, monkeypatch):
    put(matrices, "folder")
    monkeypatch.setitem(dj.config.stores, "alias", dict(dj.config.stores["folder"]))
    assert objects.orphans("alias", 0) == objects.orphans("folder", 0) == []


@pytest.mark.one_backend  # other tests send its statements on both
def test_gc_goes_on_where_a_store_does_not_answer(matrices, meso_command):
    known = json.loads(os.environ["DJ_STORES"])
    known["away"] = {"protocol": "file", "location": "/not/here"}
    put({0: matrices[0]}, "folder")
    (schemas.Activity & {"eid": EID}).delete()
    done = meso_command("store", "gc", "--older-than", "0", "--json", env={"DJ_STORES": json.dumps(known)})
    assert done.returncode == 1 and "The store away" in done.stderr
    assert [row["store"] for row in json.loads(done.stdout)] == ["folder"]


# ---------------------------------------------------------------- moves


@pytest.mark.one_backend  # other tests send its statements on both
def test_traces_move_there_and_back_with_the_same_bits(matrices, meso_command):
    put(matrices, "database")
    for to in ("folder", "bucket", None):
        if to == "bucket":
            done = meso_command("store", "move", "--to", "bucket", EID)
            assert "3 FOVs with 180 traces moved to bucket, 0 failed" in done.stdout, done.stderr
        else:
            assert [objects.move(key, to) for key in objects.to_move([EID], to)] == [60] * 3
        assert (schemas.Activity & {"eid": EID}).to_arrays("trace_store", order_by="fov").tolist() == [to] * 3
        assert all_there(matrices) and verify.verify_session(EID).findings == []
        assert objects.to_move([EID], to) == [] and objects.move({"eid": EID, "fov": 0}, to) == 0
    assert len(objects.orphans("folder", 0)) == len(objects.orphans("bucket", 0)) == 3
    refused = meso_command("store", "move", "--to", "nowhere", EID)
    assert refused.returncode == 1 and "'nowhere' is requested but not configured" in refused.stderr


@pytest.mark.parametrize(("kind", "to"), [("folder", None), ("database", "bucket"), ("bucket", "folder")])
def test_a_damaged_fov_is_not_moved_and_the_others_are(matrices, kind, to):
    put(matrices, kind)
    if kind == "database":
        (schemas.Activity.Trace & {"eid": EID, "fov": 1, "roi": 5}).connection.query(
            f"UPDATE {schemas.Activity.Trace.full_table_name} SET trace = %s WHERE eid = %s AND fov = 1 AND roi = 5",
            args=(changed(pack(matrices[1][5]), 1000), EID),
        )
    else:
        overwrite(kind, object_of(1), changed(contents(kind, object_of(1)), places_of(1)[5].offset + 1000))
    for key in objects.to_move([EID], to):
        if key["fov"] == 1:
            with pytest.raises(DataError, match=f"session {EID}, FOV_01, ROI 5: "):
                objects.move(key, to)
        else:
            assert objects.move(key, to) == 60
    stored = (schemas.Activity & {"eid": EID}).to_arrays("trace_store", order_by="fov").tolist()
    assert stored == [to, None if kind == "database" else kind, to]
    assert damaged_rows() == {(1, 5)}


@pytest.mark.one_backend  # other tests send its statements on both
def test_the_command_moves_what_it_can_and_says_what_it_cannot(matrices, meso_command):
    put(matrices, "folder")
    stores.named("folder").remove(object_of(1))
    done = meso_command("store", "move", "--to", "database", EID)
    assert done.returncode == 1
    assert f"session {EID}, FOV_01, ROI 0: the object of a stored array is missing" in done.stderr
    assert "2 FOVs with 120 traces moved to database, 1 failed" in done.stdout


KILLED = """
import os, signal, sys
import schemas
from schemas.imaging import objects
from schemas.storage import stores
schemas.activate()
where, store = sys.argv[1], sys.argv[2] if sys.argv[2] != "database" else None

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

add = stores.NewObject.add
def add_and_die(self, packed):
    place = add(self, packed)
    if place.offset > 100_000:
        die()
    return place

if where == "in the object":
    stores.NewObject.add = add_and_die
elif where == "after the object":
    objects.insert_trace_rows = die
else:
    schemas.Activity.update1 = die
for key in objects.to_move([sys.argv[3]], store):
    objects.move(key, store)
"""


@pytest.mark.parametrize(
    ("kind", "to", "where"),
    [
        ("database", "folder", "in the object"),
        ("database", "bucket", "in the object"),
        ("bucket", "folder", "after the object"),
        ("folder", "database", "before the end"),
    ],
)
def test_killed_in_the_middle_of_a_move_and_moved_again(matrices, python_command, kind, to, where):
    put(matrices, kind)
    done = python_command("-c", KILLED, where, to, EID)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert set((schemas.Activity & {"eid": EID}).to_arrays("trace_store")) == {None if kind == "database" else kind}
    assert all_there(matrices) and verify.verify_session(EID).findings == []
    store = None if to == "database" else to
    assert [objects.move(key, store) for key in objects.to_move([EID], store)] == [60] * 3
    collect()
    assert all_there(matrices) and verify.verify_session(EID).findings == []
    assert len(paths("folder") | paths("bucket")) == (3 if store else 0)


# ---------------------------------------------------------------- from version 4


def test_version_4_gets_the_columns_of_a_new_database(database, backend, python_command, meso_command, request):
    prefix = own_prefix("v4")
    request.addfinalizer(lambda: leave(database, prefix))
    env = {**own_server(backend), "MESO_PREFIX": prefix}
    done = python_command(version_4.__file__, env=env)
    assert done.returncode == 0, done.stderr
    done = meso_command("db", "init", env=env)
    assert "Applied 5: activity" in done.stdout, done.stderr
    old, new = prefix + "imaging", settings.prefix() + "imaging"
    assert columns(database, old, "_activity") == columns(database, new, "_activity")
    assert declared(database, old, "_activity") == declared(database, new, "_activity")
    done = meso_command("store", "move", "--to", "folder", env=env)
    assert "2 FOVs with 103 traces moved to folder, 0 failed" in done.stdout, done.stderr
    theirs = {path.parts[-3] for path in Path(stores.named("folder").root).glob("meso/*/*/*")}
    assert len(theirs) == 1 and DatabaseId.current() not in theirs
    assert objects.orphans("folder", 0) == []  # what is of the other database is none of ours
    assert meso_command("store", "gc", "--older-than", "0", "--json", env=env).stdout == "[]\n"
