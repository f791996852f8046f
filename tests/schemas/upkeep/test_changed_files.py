"""What was read is what is recorded: files that change between the steps, and what ingest and verify say of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.broken_sessions import Repository, made_session, new_uuids, remove
from support.corpus import (
    ACTIVITY,
    CLASSIFIER,
    FLUORESCENCE,
    PLACES,
    POSITIONS,
    QUIESCENCE,
    REGIONS,
    SHIFT,
    SILHOUETTE,
    STIM_OFF,
    TIMES,
    TRIALS,
    TYPES,
    UIDS,
    UUIDS,
    WHEEL,
    WHEEL_TIMES,
)
from support.filled import Filled
from support.statements import statements

import meso
import page.drawing
import page.queries
import schemas
import schemas.exchange.export
import schemas.imaging.activity
import schemas.upkeep.update
from pipeline import reading
from pipeline.demo.repository import LAB, session_eid, write_one_tables
from pipeline.errors import DataError
from pipeline.settings.signals import SignalSettings
from populate_scripts.ingest import ingest
from schemas.exchange import verify
from schemas.exchange.export import export_session
from schemas.exchange.verify import verify_session
from schemas.imaging.reading import fov_traces
from schemas.provenance import Deletion
from schemas.queries.tracking_runs import notes_on_fovs
from schemas.session import FINGERPRINT
from schemas.tracking import RegisteredUIDs, TrackingRun
from schemas.upkeep.changed_files import changed_rows
from schemas.upkeep.mixtures import note_counts
from schemas.upkeep.update import update
from schemas.work import reports
from schemas.work.filling import SESSION_TABLES, fill
from schemas.work.reports import errors, retry

pytestmark = pytest.mark.one_backend  # files are compared without the server; test_update.py runs on both

REVISION = "#2026-01-01#"
NEUROPIL = "mpci.ROINeuropilActivityF.npy"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return made_session(tmp_path_factory.mktemp("template"))


class OneSession(Repository):
    """A repository with one session of two FOVs, whose files change."""

    @property
    def eid(self) -> str:
        return self.eids["it"]

    def file(self, name: str, fov: int = 0) -> Path:
        return self.alf("it") / f"FOV_{fov:02d}" / name

    def revise(self, name: str, change: Callable[[np.ndarray], np.ndarray], fov: int = 0) -> Path:
        """Write a new revision of a dataset; ONE knows it."""
        path = self.file(f"{REVISION}/{name}", fov)
        path.parent.mkdir(exist_ok=True)
        np.save(path, change(np.load(self.file(name, fov))))
        write_one_tables(self.root)
        return path


@pytest.fixture
def session(filled, template, tmp_path) -> Iterator[OneSession]:
    """The session, which is registered."""
    made = OneSession(tmp_path / "one", template)
    made.add("it", "SRC1")
    write_one_tables(made.root)
    ingest([made.eid], cache_dir=made.root)
    yield made
    filled.take_away(made)
    assert errors() == []


@pytest.fixture(scope="module")
def filled(database, template, tmp_path_factory) -> Iterator[Filled]:
    made = OneSession(tmp_path_factory.mktemp("filled") / "one", template)
    made.add("it", "SRC1")
    write_one_tables(made.root)
    ingest([made.eid], cache_dir=made.root)
    assert fill(SESSION_TABLES, {"eid": made.eid}).errors == []
    found = Filled(made)
    remove(made)
    yield found
    found.forget()


@pytest.fixture
def stored(filled) -> Iterator[OneSession]:
    """The session, of which all tables have been read."""
    filled.put_back()
    same = filled.repository
    made = OneSession(same.root, same.template, dict(same.eids), dict(same.folders))
    yield made
    filled.take_away(made)
    assert errors() == []


def replace(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace values in place: same size, and the times of the file are put back."""
    before = path.stat()
    np.save(path, np.asfortranarray(change(np.load(path))) if np.load(path).ndim == 2 else change(np.load(path)))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def registered_so(session: OneSession) -> None:
    """Register the session again, with its files as they are."""
    (schemas.Session & {"eid": session.eid}).delete()
    ingest([session.eid], cache_dir=session.root)


def shuffled(array: np.ndarray) -> np.ndarray:
    """Give all ROIs of an array (n_rois, ...) another place."""
    return array[::-1].copy()


# ---------------------------------------------------------------- between the steps


def test_the_recorded_files_are_read_whatever_one_has_now(session):
    key = {"eid": session.eid, "fov": 0}
    before = {name: np.load(session.file(name)) for name in (TIMES, ACTIVITY, TYPES, POSITIONS, REGIONS, PLACES)}
    uuids = session.file(UUIDS).read_text().splitlines()[1:]
    assert fill([schemas.Behavior, schemas.Wheel, schemas.FOV], {"eid": session.eid}).errors == []
    session.revise(TIMES, lambda times: times + 5)
    for name in (TYPES, POSITIONS):
        session.revise(name, shuffled)
    session.revise(ACTIVITY, lambda traces: np.asfortranarray(traces[:, ::-1]))
    for name in (REGIONS, PLACES):  # a final histology
        np.save(session.file(name.replace("_estimate", "")), shuffled(before[name]))
    write_one_tables(session.root)
    assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    np.testing.assert_array_equal((schemas.Recording & key).fetch1("frame_times"), before[TIMES])
    rows = (schemas.ROI & key).to_dicts(order_by="roi")
    assert [row["roi_type"] for row in rows] == before[TYPES].tolist()
    assert [[row["stack_y"], row["stack_x"]] for row in rows] == before[POSITIONS][:, :2].tolist()
    assert [row["region_id"] for row in rows] == before[REGIONS].tolist()
    assert [row["ml"] for row in rows] == before[PLACES][:, 0].tolist()
    assert [row["roi_uuid"] for row in rows] == uuids
    np.testing.assert_array_equal(fov_traces(session.eid, 0, np.arange(len(rows))), before[ACTIVITY].T)
    assert (schemas.FOV & key).fetch1("region_source") == "estimate"
    assert verify_session(session.eid, source=True).findings == []
    changed = {
        change.dataset: change.kind for row in changed_rows(session.eid, content=False) for change in row.changes
    }
    revised = dict.fromkeys([f"alf/FOV_00/{name}" for name in (TIMES, TYPES, POSITIONS, ACTIVITY)], "revision")
    unused = dict.fromkeys([f"alf/FOV_00/{name}" for name in (REGIONS, PLACES)], "unused")
    new = dict.fromkeys([name.replace("_estimate", "") for name in unused], "new")
    assert changed == {**revised, **unused, **new}


@pytest.mark.parametrize("how", ["exchanged", "replaced"])
def test_a_fov_with_the_files_of_another_is_refused_whichever_was_read_first(session, how):
    first, second = (0, 1) if how == "exchanged" else (1, 0)
    assert fill([schemas.FOV], {"eid": session.eid, "fov": first}).errors == []
    one, other = (session.file(TIMES, fov).parent for fov in (first, second))
    if how == "exchanged":
        one.rename(one.with_name("aside"))
        other.rename(one)
        one.with_name("aside").rename(other)
    else:
        shutil.rmtree(other)
        shutil.copytree(one, other)
    write_one_tables(session.root)
    ((_, _, message),) = fill([schemas.FOV], {"eid": session.eid, "fov": second}).errors
    assert f"FOV_{second:02d}, alf/FOV_{second:02d}/{ACTIVITY}: is a copy of a file that has been read" in message
    assert f"found alf/FOV_{first:02d}/{ACTIVITY} of session {session.eid}" in message


def test_an_update_notes_files_that_were_exchanged(stored):
    """Each FOV gets a file that is not new: which order is right cannot be told."""
    exchange_fovs(stored)
    done = update([stored.eid])
    assert done.failures == []
    assert_said_of_both(stored, done.notes)
    assert_said_of_both(stored, kept_notes(stored, "exchanged"))
    exchange_fovs(stored)
    done = update([stored.eid])
    assert (done.failures, done.notes) == ([], []) and kept_notes(stored, "exchanged") == []


def exchange_fovs(session: OneSession) -> None:
    one, other = (session.file(TIMES, fov).parent for fov in range(2))
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)
    write_one_tables(session.root)


def assert_said_of_both(session: OneSession, texts: Iterable[str]) -> None:
    """Each FOV has files that are those of the other."""
    texts = list(texts)
    for fov in range(2):
        one, other = f"alf/FOV_{fov:02d}", f"alf/FOV_{1 - fov:02d}"
        was = rf"{one}/(\S+) is the file that {other}/\1 of session {session.eid} was \(and \d+ more"
        assert any(re.search(was, text) and "exchanged by mistake" in text for text in texts)


def kept_notes(session: OneSession, kind: str) -> list[str]:
    """Return what verify says of a kind, of whatever time before; it lists the notes of all sessions alike."""
    found = verify_session(session.eid)
    texts = [str(one) for one in found.findings if one.kind == kind]
    assert found.ok and texts == [
        str(one) for one in verify.notes() if (one.kind, one.error.eid) == (kind, session.eid)
    ]
    return texts


def test_fovs_that_were_exchanged_are_noted_also_if_the_update_was_killed(stored, monkeypatch):
    exchange_fovs(stored)
    with monkeypatch.context() as patch:
        patch.setattr(schemas.upkeep.update, "_complete", killed)
        with pytest.raises(Killed):
            update([stored.eid])
    assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []  # a worker
    assert_said_of_both(stored, kept_notes(stored, "exchanged"))
    assert "1 session with files of another FOV or session" in note_counts()
    assert any("exchanged by mistake" in text for text in page.queries.session(stored.eid)["notes"])


def test_sessions_whose_files_were_exchanged_are_noted_until_they_are_back(session):
    session.add("other", "SRC1")
    write_one_tables(session.root)
    ids = [session.eid, session.eids["other"]]
    ingest([ids[1]], cache_dir=session.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in ids]).errors == []
    for turn in range(2):
        for name in (WHEEL, WHEEL_TIMES, TRIALS, STIM_OFF, QUIESCENCE):
            paths = [session.alf(key) / name for key in ("it", "other")]
            one, other = (path.read_bytes() for path in paths)
            paths[0].write_bytes(other)
            paths[1].write_bytes(one)
        done = update(ids)
        assert done.failures == []
        mine = [str(one) for one in verify.notes() if one.kind == "exchanged"]
        if turn == 0:
            was = rf"session {ids[0]}: (\S+) is the file that \1 of session {ids[1]} was"
            assert any(re.search(was, note) for note in done.notes) and re.search(was, "".join(mine))
            assert len(mine) == 2
    assert mine == []


@pytest.mark.parametrize(("table", "name"), [("Behavior", TRIALS), ("Wheel", WHEEL_TIMES), ("FOV", ACTIVITY)])
def test_the_files_of_another_day_are_refused(session, table, name):
    """Linked by a script that took the wrong folder."""
    session.add("other", "SRC1")
    for path in session.alf("other").rglob(name):
        own = session.alf("it") / path.relative_to(session.alf("other"))
        own.unlink()
        own.hardlink_to(path)
    if table == "Wheel":
        without_trials(session)
    write_one_tables(session.root)
    ingest([session.eids["other"]], cache_dir=session.root)
    assert fill([getattr(schemas, table)], {"eid": session.eids["other"]}).errors == []
    errors = fill([getattr(schemas, table)], {"eid": session.eid}).errors
    assert len(errors) == (2 if table == "FOV" else 1)
    for _, _, message in errors:
        assert f"{name}: is a copy of a file that has been read" in message
        assert f"of session {session.eids['other']}" in message


def without_trials(session: OneSession) -> None:
    """Remove the trials of the session, by which the wheel of another day would be refused whoever's it is."""
    (session.alf("it") / TRIALS).unlink()


def saved_again(path: Path, place: Path) -> None:
    """Save a dataset in another place with the same values in other bytes."""
    if path.suffix == ".pqt":
        pd.read_parquet(path).to_parquet(place, compression="gzip")
    elif path.suffix == ".csv":
        place.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    else:
        np.save(place, np.load(path)[:, None])
    assert path.read_bytes() != place.read_bytes()


@pytest.mark.parametrize(
    ("table", "name"), [("Behavior", TRIALS), ("Wheel", WHEEL_TIMES), ("FOV", TIMES), ("ROI", UUIDS), ("FOV", UUIDS)]
)
def test_the_values_of_another_day_are_refused_in_other_bytes(session, table, name):
    """Loaded and saved by a script."""
    session.add("other", "SRC1")
    for path in session.alf("other").rglob(name):
        saved_again(path, session.alf("it") / path.relative_to(session.alf("other")))
    if name == TRIALS:
        shutil.copy(session.alf("other") / STIM_OFF, session.alf("it") / STIM_OFF)
    if table == "Wheel":
        without_trials(session)
    write_one_tables(session.root)
    registered_so(session)
    other, read = session.eids["other"], getattr(schemas, table)
    ingest([other], cache_dir=session.root)
    before = [schemas.FOV] if table == "ROI" else []  # all FOVs are checked before there is a ROI
    fill(before, [{"eid": eid} for eid in session.eids.values()])
    assert fill([read, *([schemas.ROI] if name == UUIDS else [])], {"eid": other}).errors == []
    errors = fill([read], {"eid": session.eid}).errors
    assert len(errors) == (1 if table in ("Behavior", "Wheel") else 2)
    for _, _, message in errors:
        assert f"{name}: is a copy of a file that has been read" in message
        assert f"of session {other}" in message
    assert not read & {"eid": session.eid}


def test_uuids_of_another_fov_of_the_session_are_refused(session):
    """FOV_01 has fewer ROIs, and other bytes."""
    n_lines = len(session.file(UUIDS, 1).read_text().splitlines())
    session.file(UUIDS, 1).write_text("\n".join(session.file(UUIDS).read_text().splitlines()[:n_lines]))
    assert fill([schemas.FOV, schemas.ROI], {"eid": session.eid, "fov": 0}).errors == []
    ((_, _, message),) = fill([schemas.FOV], {"eid": session.eid}).errors
    assert f"alf/FOV_01/{UUIDS}: is a copy of a file that has been read" in message
    assert f"found alf/FOV_00/{UUIDS} of session {session.eid}" in message


@pytest.mark.parametrize("how", ["copied", "in other bytes"])
def test_positions_of_another_fov_of_the_session_are_refused(session, how):
    """Where the places in the brain, of which they would be seen not to be, are not there, or were copied too."""
    reorder(session.file(POSITIONS).parent, np.arange(len(np.load(session.file(POSITIONS, 1)))))  # as many ROIs
    for name in (POSITIONS, PLACES, REGIONS):
        shutil.copy(session.file(name, 1), session.file(name))
    if how == "in other bytes":
        in_other_bytes(session.file(POSITIONS))
    write_one_tables(session.root)
    assert fill([schemas.FOV, schemas.ROI], {"eid": session.eid, "fov": 0}).errors == []
    ((_, key, message),) = fill([schemas.FOV], {"eid": session.eid}).errors
    assert key["fov"] == 1 and f"alf/FOV_01/{POSITIONS}: is a copy of a file that has been read" in message
    assert f"found alf/FOV_00/{POSITIONS} of session {session.eid}" in message


def test_positions_of_another_fov_are_refused_in_other_bytes_if_all_fovs_were_checked_before(session):
    reorder(session.file(POSITIONS).parent, np.arange(len(np.load(session.file(POSITIONS, 1)))))
    for name in (POSITIONS, PLACES, REGIONS):
        shutil.copy(session.file(name, 1), session.file(name))
    in_other_bytes(session.file(POSITIONS))
    write_one_tables(session.root)
    registered_so(session)
    ((table, _, message),) = fill([schemas.FOV, schemas.ROI], {"eid": session.eid}).errors
    assert table == "ROI" and f"{POSITIONS}: is a copy of a file that has been read" in message


def test_the_frame_times_of_another_fov_of_the_session_are_refused(session):
    """FOVs are scanned one after the other, so that the times of one are not those of another."""
    own = session.file(TIMES, 1).read_bytes()
    saved_again(session.file(TIMES), session.file(TIMES, 1))
    errors = fill([schemas.FOV], {"eid": session.eid}).errors
    assert {key["fov"] for _, key, _ in errors} == {0, 1}  # whose times they are cannot be told
    assert all("the frame times are those of another FOV" in message for _, _, message in errors)
    session.file(TIMES, 1).write_bytes(own)
    retry([schemas.FOV], eid=session.eid)
    assert fill([schemas.FOV], {"eid": session.eid, "fov": 0}).errors == []
    session.file(TIMES).rename(session.file(TIMES, 1))  # that of FOV_00 is gone
    ((_, _, message),) = fill([schemas.FOV], {"eid": session.eid}).errors
    assert f"alf/FOV_01/{TIMES}: is a copy of a file that has been read" in message


@pytest.mark.parametrize(
    ("name", "table"),
    [(TIMES, "Recording"), (SHIFT, "Recording"), (TYPES, "ROI"), (POSITIONS, "ROI"), (REGIONS, "ROI"), (PLACES, "ROI"),
     (ACTIVITY, "Activity")],
)  # fmt: skip
def test_bytes_replaced_with_the_size_and_time_of_before_are_refused(session, name, table):
    key = {"eid": session.eid, "fov": 0}
    fill([schemas.FOV, *([schemas.ROI] if table == "Activity" else [])], key)
    replace(session.file(name), lambda a: a[::-1].copy())
    ((failed, _, message),) = fill([getattr(schemas, table)], key).errors
    assert failed == table
    assert f"session {session.eid}, FOV_00, alf/FOV_00/{name}: the file changed since it was read" in message
    assert f"meso update {session.eid}" in message
    assert len(getattr(schemas, table) & key) == 0


@pytest.mark.parametrize("with_revision", [False, True])
def test_a_recorded_file_that_is_gone_is_named(session, with_revision):
    key = {"eid": session.eid, "fov": 0}
    fill([schemas.FOV], key)
    if with_revision:
        session.revise(TIMES, lambda times: times + 5)
    session.file(TIMES).unlink()
    if with_revision:
        write_one_tables(session.root)
    ((table, _, message),) = fill([schemas.Recording], key).errors
    assert table == "Recording"
    assert f"alf/FOV_00/{TIMES}: the file that was read is gone" in message
    listed = f"ONE lists alf/FOV_00/{REVISION}/{TIMES}" if with_revision else "ONE lists no other revision"
    assert listed in message


def test_a_file_written_while_it_is_read_is_an_error(session):
    """Its rows would be of the old bytes, and its recorded hash of the new ones."""
    one = schemas.session.one_for(session.eid)
    data = reading.read_fov(one, session.eid, 0, "alf/FOV_00")
    replace(session.file(TIMES), lambda times: times[::-1].copy())
    with pytest.raises(DataError, match=f"alf/FOV_00/{TIMES}: the file was changed while it was read"):
        _ = data.sources


def test_a_trace_file_written_while_it_is_packed_stores_nothing(session, monkeypatch):
    key = {"eid": session.eid, "fov": 0}
    fill([schemas.FOV, schemas.ROI], key)
    made = schemas.Activity.make_insert

    def written_meanwhile(self, key, packed):
        replace(session.file(ACTIVITY), lambda traces: traces[::-1].copy())
        made(self, key, packed)

    monkeypatch.setattr(schemas.Activity, "make_insert", written_meanwhile)
    ((_, _, message),) = fill([schemas.Activity], key).errors
    assert "the file was changed while it was read" in message
    assert len(schemas.Activity & key) == len(schemas.Activity.Trace & key) == 0


def test_uids_are_refused_for_other_rois_than_they_were_registered_for(session):
    """As many ROIs in another order: the numbers of lines agree."""
    run = TrackingRun.register("SRC1")
    extract_again(session)
    fill([schemas.FOV, schemas.ROI], {"eid": session.eid})
    fill([schemas.TrackedCell], run)
    errors = fill([schemas.TrackedFOV], run).errors
    assert [key["fov"] for _, key, _ in errors] == [0]
    assert "the UIDs were registered with other ROIs than the FOV has" in errors[0][2]
    assert (schemas.TrackedFOV & run).to_arrays("fov").tolist() == [1]
    assert TrackingRun.register("SRC1") == run  # the same UIDs are of the same ROIs as before
    assert fill([schemas.TrackedFOV], run).made["TrackedFOV"] == 0


def extract_again(session: OneSession) -> None:
    """Write a revision of FOV_00 with as many ROIs, in another order."""
    for path in sorted(session.alf("it").glob("FOV_00/mpciROIs.*.npy")):
        if "cluster" not in path.name:
            session.revise(path.name, shuffled)
    new_uuids(session.file(UUIDS), folder=REVISION)
    session.revise(ACTIVITY, lambda traces: np.asfortranarray(traces[:, ::-1]))


def uids_of_a_new_extraction(stored: OneSession, resaved: bool) -> dict:
    """Register UIDs, read a new extraction with the same UID file, and register once more, with another session."""
    TrackingRun.register("SRC1")
    extract_again(stored)
    if resaved:  # the same UIDs, in other bytes
        stored.file(UIDS).write_bytes(stored.file(UIDS).read_bytes().replace(b"\n", b"\r\n"))
    assert update([stored.eid]).failures == []
    stored.add("another", "SRC1")
    folder = stored.alf("another") / "FOV_00"  # a file of its own: the cells are other ROIs
    (folder / UIDS).write_text("".join(f"{line}\n" for line in (folder / UIDS).read_text().splitlines()[::-1]))
    np.save(folder / SILHOUETTE, shuffled(np.load(folder / SILHOUETTE)))
    write_one_tables(stored.root)
    ingest([stored.eids["another"]], cache_dir=stored.root)
    fill(SESSION_TABLES, {"eid": stored.eids["another"]})
    run = TrackingRun.register("SRC1")
    fill([schemas.TrackedCell], run)
    return run


@pytest.mark.parametrize("resaved", [False, True])
def test_uids_of_a_former_extraction_do_not_fit_a_later_one_in_any_run(stored, meso_command, resaved):
    """The file is the same; a new run once took it for one of the ROIs that are there now."""
    run = uids_of_a_new_extraction(stored, resaved)
    ((_, key, message),) = fill([schemas.TrackedFOV], run).errors
    assert (key["eid"], key["fov"]) == (stored.eid, 0)
    assert "the UIDs were registered with other ROIs than the FOV has" in message
    assert f"If only positions were corrected: meso track SRC1 --same-rois {stored.eid}:FOV_00" in message
    other = meso_command("track", "SRC1", "--same-rois", f"{stored.eid}:FOV_01")
    assert "the UIDs were registered with other ROIs than the FOV has" in other.stderr
    wrong = meso_command("track", "SRC1", "--same-rois", f"{stored.eid}:FOV_07")
    assert wrong.returncode == 1 and f"found ('{stored.eid}', 7)" in wrong.stderr
    done = meso_command("track", "SRC1", "--same-rois", f"{stored.eid[:8]}:FOV_00")
    assert done.returncode == 0, done.stderr
    assert f"Session {stored.eid}, FOV_00: the UIDs are taken to be of the ROIs as they are now" in done.stdout
    assert "FOV_01" not in done.stdout
    assert len(schemas.TrackedFOV & run) == 4
    again = meso_command("track", "SRC1")
    assert again.returncode == 0, again.stderr


def test_uids_registered_while_positions_are_unreadable_are_registered_again_before_they_are_used(session):
    whole = session.file(POSITIONS).read_bytes()
    session.file(POSITIONS).write_bytes(whole[:-8])
    run = TrackingRun.register("SRC1")
    session.file(POSITIONS).write_bytes(whole)
    write_one_tables(session.root)
    assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    fill([schemas.TrackedCell], run)
    ((_, key, message),) = fill([schemas.TrackedFOV], run).errors
    assert key["fov"] == 0
    assert "when the UIDs were registered, the positions of the ROIs could not be read" in message
    assert TrackingRun.register("SRC1") == run
    retry([schemas.TrackedFOV], **run)
    assert fill([schemas.TrackedFOV], run).made == {"TrackedFOV": 1}


def test_uids_of_a_session_that_was_deleted_do_not_fit_its_later_extraction(stored, request):
    """Deleted and registered again, where an update would have refused them; the name of the mouse was corrected, and
    the file of UIDs saved again with a few of them."""
    run = TrackingRun.register("SRC1")
    fill([schemas.TrackedCell, schemas.TrackedFOV], run)
    assert len(schemas.TrackedFOV & run) == 2
    np.save(stored.file(POSITIONS), exchanged(np.load(stored.file(POSITIONS))))
    path = stored.file(UIDS)
    names = iter(filter(None, map(str.strip, path.read_text().splitlines())))
    few = {next(names) for _ in range(3)}
    path.write_text("".join(f"{line if line in few else ''}\r\n" for line in path.read_text().splitlines()))
    (schemas.Session & {"eid": stored.eid}).delete()
    schemas.Subject.insert1({"subject": "SRC0"})
    request.addfinalizer((schemas.Subject & {"subject": "SRC0"}).delete)
    former = RegisteredUIDs & {"eid": stored.eid}
    rows = former.to_dicts()
    (RegisteredUIDs.Silhouettes & {"eid": stored.eid}).delete_quick()
    former.delete_quick()
    RegisteredUIDs.insert({**row, "subject": "SRC0"} for row in rows)
    write_one_tables(stored.root)
    ingest([stored.eid], cache_dir=stored.root)
    fill(SESSION_TABLES, {"eid": stored.eid})
    ((_, key, message),) = tracked_errors(TrackingRun.register("SRC1"))
    assert key["fov"] == 0
    assert "the UIDs were registered with other ROIs than the FOV has" in message
    assert tracked_errors(TrackingRun.register("SRC1", same_rois=[stored.eid])) == []


def exchanged(array: np.ndarray) -> np.ndarray:
    """Exchange the first two ROIs of an array."""
    return np.concatenate([array[1::-1], array[2:]])


def tracked_errors(run: dict) -> list[tuple[str, dict, str]]:
    """Populate a tracking run again; return the errors of TrackedFOV."""
    retry([schemas.TrackedFOV])
    fill([schemas.TrackedCell], run)
    return fill([schemas.TrackedFOV], run).errors


@pytest.mark.parametrize("how", ["exchanged", "copied"])
def test_uids_of_another_fov_are_refused(stored, how):
    first = TrackingRun.register("SRC1")
    fill([schemas.TrackedCell, schemas.TrackedFOV], first)
    assert len(schemas.TrackedFOV & first) == 2
    one, other = (stored.file(UIDS, fov) for fov in range(2))
    texts = one.read_text(), other.read_text()
    other.write_text(texts[0])
    if how == "exchanged":
        one.write_text(texts[1])
    run = TrackingRun.register("SRC1")
    assert run != first
    fill([schemas.TrackedCell], run)
    errors = {key["fov"]: message for _, key, message in fill([schemas.TrackedFOV], run).errors}
    assert set(errors) == {0, 1}  # FOV_00 of a copy is refused too: which of the two is right cannot be told
    for fov, message in errors.items():
        assert "the UIDs are a copy of those of another FOV" in message
        assert f"found session {stored.eid}, FOV_{1 - fov:02d}" in message


def test_uids_of_another_day_are_refused_although_the_file_was_saved_again(session):
    """The line ends are others, the ROIs of that day are as many, and most of the UIDs fit into the session."""
    session.add("other", "SRC1")
    eids = [session.eid, session.eids["other"]]
    path = session.alf("other") / "FOV_00" / POSITIONS
    np.save(path, exchanged(np.load(path)))
    path = session.alf("other") / "FOV_00" / UIDS
    path.write_text("".join(f"{line}\r\n" for line in session.file(UIDS).read_text().splitlines()))
    write_one_tables(session.root)
    ingest(eids, cache_dir=session.root)
    fill(SESSION_TABLES, [{"eid": eid} for eid in eids])
    found = {(key["eid"], key["fov"]): message for _, key, message in tracked_errors(TrackingRun.register("SRC1"))}
    assert set(found) == {(eid, 0) for eid in eids}
    for eid, other in zip(eids, eids[::-1], strict=True):
        assert (
            f"the UIDs are a copy of those of another FOV (expected UIDs of its own, found session {other}, FOV_00)"
            in (found[eid, 0])
        )


def reorder(fov: Path, order: np.ndarray) -> None:
    """Give a FOV these of its ROIs, in this order, as another extraction may; its UIDs and uuids go along."""
    for path in fov.glob("mpciROIs.*.npy"):
        np.save(path, np.load(path)[order])
    for path in fov.glob("mpci.ROIActivity*.npy"):
        np.save(path, np.asfortranarray(np.load(path)[:, order]))
    header, *lines = (fov / UUIDS).read_text().splitlines()
    (fov / UUIDS).write_text("\n".join([header, *(lines[i] for i in order)]))
    lines = (fov / UIDS).read_text().splitlines()
    (fov / UIDS).write_text("".join(f"{lines[i].strip()}\n" for i in order))


def tracked_with(session: OneSession, name: str) -> dict[tuple[str, int], str]:
    """Read the session and another, track both, and return the errors by eid and FOV."""
    write_one_tables(session.root)
    eids = [session.eid, session.eids[name]]
    ingest(eids, cache_dir=session.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in eids]).errors == []
    return {(key["eid"], key["fov"]): text for _, key, text in tracked_errors(TrackingRun.register("SRC1"))}


@pytest.mark.parametrize("of_whom", ["the other", "its own", "the same ROIs"])
def test_uids_of_another_day_are_refused_although_lines_were_removed(session, of_whom):
    """Of three ROIs, so that there are as many as lines: no line has the UID that it had."""
    session.add("other", "SRC1")
    fov = session.alf("other") / "FOV_00"
    n_rois = len(np.load(fov / POSITIONS))
    order = np.random.default_rng(0).permutation(n_rois) if of_whom != "the same ROIs" else np.arange(n_rois)
    reorder(fov, order[~np.isin(order, (2, 11, 20))])
    if of_whom == "the other":
        lines = session.file(UIDS).read_text().splitlines()
        (fov / UIDS).write_text("".join(f"{line}\n" for i, line in enumerate(lines) if i not in (2, 11, 20)))
        for name in ("it", "other"):
            (session.alf(name) / "FOV_00" / SILHOUETTE).unlink()
    errors = tracked_with(session, "other")
    eids = (session.eid, session.eids["other"]) if of_whom == "the other" else ()
    assert set(errors) == {(eid, 0) for eid in eids}  # a FOV has its own, or that of the same ROIs
    assert all("the UIDs are a copy of those of another FOV" in message for message in errors.values())


def test_uids_of_the_former_extraction_are_refused_although_lines_were_removed(stored):
    """The FOV was extracted again, with fewer ROIs, and the file was cut to as many."""
    assert tracked_errors(TrackingRun.register("SRC1")) == []
    lines, n_rois = stored.file(UIDS).read_text().splitlines(), len(np.load(stored.file(POSITIONS)))
    reorder(stored.file(POSITIONS).parent, np.random.default_rng(0).permutation(n_rois)[:-3])
    new_uuids(stored.file(UUIDS))
    stored.file(UIDS).write_text("".join(f"{line}\n" for i, line in enumerate(lines) if i not in (2, 11, 20)))
    stored.file(SILHOUETTE).unlink()
    write_one_tables(stored.root)
    done = update([stored.eid])
    assert done.update_id
    ((_, key, message),) = tracked_errors(TrackingRun.register("SRC1"))
    assert key["fov"] == 0 and "the UIDs were registered with other ROIs than the FOV has" in message


@pytest.mark.parametrize("fate", ["another id", "another day"])
def test_uids_of_a_session_that_was_deleted_are_known_without_its_id(stored, request, fate):
    """The tables of the ONE cache were made anew, with other ids; or the UIDs went to another day."""
    assert tracked_errors(TrackingRun.register("SRC1")) == []
    former = stored.eid
    if fate == "another id":
        np.save(stored.file(POSITIONS), exchanged(np.load(stored.file(POSITIONS))))
        lines, names = stored.file(UIDS).read_text().splitlines(), iter(range(2))
        few = [line if line.strip() not in ("", "nan") and next(names, None) is not None else "" for line in lines]
        stored.file(UIDS).write_text("".join(f"{line}\n" for line in few))  # two UIDs
    else:
        stored.add("later", "SRC1")
        fov = stored.alf("later") / "FOV_00"
        np.save(fov / POSITIONS, exchanged(np.load(fov / POSITIONS)))
    (schemas.Session & {"eid": former}).delete()
    write_one_tables(stored.root)
    if fate == "another id":
        stored.eids["it"] = str(uuid.uuid4())
        exchange_ids(stored.root, former, stored.eid)
    else:
        stored.eids["it"] = stored.eids["later"]
    ingest([stored.eid], cache_dir=stored.root)
    assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
    ((_, key, message),) = tracked_errors(TrackingRun.register("SRC1"))
    assert key["fov"] == 0
    if fate == "another id":
        assert "the UIDs were registered with other ROIs than the FOV has" in message
    else:
        assert (
            f"a copy of those of another FOV (expected UIDs of its own, found session {former}, FOV_00, deleted)"
            in message
        )
    assert tracked_errors(TrackingRun.register("SRC1", same_rois=[(stored.eid, 0)])) == [] or fate == "another day"


@pytest.mark.parametrize("name", [SILHOUETTE, CLASSIFIER])
def test_a_fov_that_lacks_what_a_set_asks_for_is_named(session, name):
    """None of its cells counts, which looked as if none were shared."""
    session.file(name, 1).unlink()
    write_one_tables(session.root)
    fill(SESSION_TABLES, {"eid": session.eid})
    run = TrackingRun.register("SRC1")
    assert tracked_errors(run) == []
    criterion = "min_silhouette" if name == SILHOUETTE else "min_cell_probability"
    for rule, expected in (({}, []), ({criterion: 0.01}, [criterion])):
        session_set = schemas.SessionSet.add([session.eid], run, **rule)
        fill([schemas.SharedCells], session_set)
        notes = [text for text in notes_on_fovs(session_set) if name in text]
        assert len(notes) == len(expected)
        assert all(text.startswith(f"session {session.eid}, FOV_01: none of its cells") for text in notes)
        assert all(f"{criterion} of the set asks for {name}" in text for text in notes)


def test_silhouettes_of_a_former_run_are_refused_beside_new_uids(stored):
    """New UIDs are of other ROIs; silhouettes of all ROIs, or of fewer, are none of a former run."""
    lines = stored.file(UIDS).read_text().splitlines()
    has = np.array([line.strip() not in ("", "nan") for line in lines])
    quality = np.load(stored.file(SILHOUETTE)).reshape(-1)
    assert (np.isfinite(quality) == has).all()
    (names,) = np.nonzero(has)
    for values in (
        np.full(len(has), 0.5),
        np.where(np.arange(len(has)) == names[0], np.nan, quality),
        quality * np.nan,
    ):
        np.save(stored.file(SILHOUETTE), values)
        assert tracked_errors(TrackingRun.register("SRC1")) == []
    np.save(stored.file(SILHOUETTE), np.where(~has | (np.arange(len(has)) == names[0]), 0.5, np.nan))
    ((_, key, message),) = tracked_errors(TrackingRun.register("SRC1"))
    assert key["fov"] == 0
    assert (
        f"found {has.sum() - 1} ROIs with a UID and no silhouette, {(~has).sum()} with a silhouette and no UID"
        in message
    )


def test_silhouettes_are_those_that_one_gives(stored):
    """The UIDs keep their revision, and the silhouettes get another."""
    run = TrackingRun.register("SRC1")
    values = np.load(stored.file(SILHOUETTE)).reshape(-1) / 2
    stored.revise(SILHOUETTE, lambda quality: quality / 2)
    done = update([stored.eid])
    assert "the UIDs of SRC1 have changed: they become a new tracking run" in done.notes
    (new,) = (schemas.TrackingRun & {"subject": "SRC1"} & f"tracking_run <> '{run['tracking_run']}'").keys()
    np.testing.assert_array_equal((schemas.TrackingFile & new & {"fov": 0}).fetch1("cluster_silhouette"), values)
    assert verify_session(stored.eid, source=True).findings == []  # it once compared with the file beside the UIDs
    stored.revise(SILHOUETTE, lambda quality: quality / 3)
    (finding,) = verify_session(stored.eid, source=True).findings
    assert "the silhouettes are not those that belong to it now" in str(finding)


def test_silhouettes_that_stay_beside_new_uids_are_noted(stored, meso_command):
    """The cells were tracked again, and only the UIDs have come."""
    TrackingRun.register("SRC1")
    lines = stored.file(UIDS).read_text().splitlines()
    names = [uuid.uuid4() if line.strip() not in ("", "nan") else "" for line in lines]
    stored.file(UIDS).write_text("".join(f"{name}\n" for name in names))
    said = (
        f"session {stored.eid}, FOV_00: all {sum(map(bool, names))} UIDs are new, and the silhouettes are those of "
        f"before. If the cells were tracked again, {SILHOUETTE} is still to come: then run meso track SRC1 once more"
    )
    assert [note for note in update([stored.eid], dry_run=True).notes if "silhouettes" in note] == [said]
    assert said in meso_command("track", "SRC1").stdout.splitlines()
    assert not any("silhouettes" in note for note in update([stored.eid]).notes)
    stored.file(UIDS).write_text("".join(f"{name}\n" for name in [*names[:-1], ""]))  # one that is no cell any more
    assert not any("silhouettes" in note for note in update([stored.eid]).notes)


@pytest.mark.parametrize("what", ["run", "session"])
def test_silhouettes_that_stay_beside_new_uids_are_noted_when_the_rows_were_deleted(stored, meso_command, what):
    run = TrackingRun.register("SRC1")
    fill([schemas.TrackedCell, schemas.TrackedFOV], run)
    if what == "run":
        (TrackingRun & run).delete(prompt=False)
    else:
        delete_rows(stored, "session")
        fill(SESSION_TABLES, {"eid": stored.eid})
    lines = stored.file(UIDS).read_text().splitlines()
    names = [uuid.uuid4() if line.strip() not in ("", "nan") else "" for line in lines]
    assert "silhouettes" not in meso_command("track", "SRC1").stdout  # the same files
    if what == "run":
        (TrackingRun & {"subject": "SRC1"}).delete(prompt=False)
    else:
        delete_rows(stored, "session")
        fill(SESSION_TABLES, {"eid": stored.eid})
    stored.file(UIDS).write_text("".join(f"{name}\n" for name in names))
    said = f"session {stored.eid}, FOV_00: all {sum(map(bool, names))} UIDs are new, and the silhouettes are those of"
    assert sum(line.startswith(said) for line in meso_command("track", "SRC1").stdout.splitlines()) == 1
    assert said not in meso_command("track", "SRC1").stdout


def test_uids_that_stay_beside_new_silhouettes_are_noted(stored, meso_command):
    """The cells were tracked again, and only the silhouettes have come; single ones may be corrected."""
    TrackingRun.register("SRC1")
    quality = np.load(stored.file(SILHOUETTE)).reshape(-1)
    n = int(np.isfinite(quality).sum())
    np.save(stored.file(SILHOUETTE), quality * 0.9)
    said = (
        f"session {stored.eid}, FOV_00: {n} of {n} silhouettes are new, and the UIDs are those of before. If the "
        f"cells were tracked again, {UIDS} is still to come: then run meso track SRC1 once more"
    )
    assert [note for note in update([stored.eid], dry_run=True).notes if "silhouettes" in note] == [said]
    assert said in meso_command("track", "SRC1").stdout.splitlines()
    quality[np.flatnonzero(np.isfinite(quality))[0]] = 0
    np.save(stored.file(SILHOUETTE), quality * 0.9)
    assert not any("silhouettes" in note for note in update([stored.eid]).notes)


# ---------------------------------------------------------------- one clock in a session


READ_FIRST = {
    "trials": ([schemas.Behavior], {}),
    "wheel": ([schemas.Wheel], {}),
    "imaging": ([schemas.FOV], {}),
    "one FOV": ([schemas.FOV], {"fov": 0}),
}


@pytest.mark.parametrize("in_place", [False, True], ids=["a new revision", "in place"])
@pytest.mark.parametrize("first", READ_FIRST)
def test_a_clock_that_is_aligned_again_between_two_tables_of_a_session_is_refused(session, first, in_place):
    """All times move, by less than a frame: trials of before and imaging of after would be that much apart."""
    tables, some = READ_FIRST[first]
    assert fill(tables, {"eid": session.eid, **some}).errors == []
    before = starts_in_files(session)
    align_again(session, 0.05, in_place)
    refused = {
        (table, key.get("fov"))
        for table, key, message in fill(SESSION_TABLES, {"eid": session.eid}).errors
        if "have changed, and with them the times" in message and f"meso update {session.eid}" in message
    }
    unread = {("Behavior", None), ("Wheel", None), ("FOV", 0), ("FOV", 1)}
    unread -= {row for row in unread if row[0] == tables[0].__name__ and some.get("fov", row[1]) == row[1]}
    assert refused == unread
    assert update([session.eid]).failures == []
    assert verify_session(session.eid, source=True).ok
    assert stored_starts(session.eid) == pytest.approx({name: start + 0.05 for name, start in before.items()}, abs=1e-9)


def test_times_that_are_gone_cannot_be_compared(session):
    """Imaging was read and its folder cleaned up, then the behaviour came, aligned again."""
    assert fill([schemas.FOV], {"eid": session.eid}).errors == []
    align_again(session, 5, in_place=True)
    for fov in range(2):
        session.file(TIMES, fov).unlink()
    write_one_tables(session.root)
    errors = fill([schemas.Behavior, schemas.Wheel], {"eid": session.eid}).errors
    assert len(errors) == 2
    for _, _, message in errors:
        assert f"alf/FOV_00/{TIMES}: the file that FOV was read from is gone" in message


def test_a_clock_that_arrives_file_by_file_is_said_to_be_incomplete(stored):
    np.save(stored.file(TIMES), np.load(stored.file(TIMES)) + 0.05)
    (note,) = update([stored.eid]).notes
    others = ", ".join(f"alf/{name}" for name in (f"FOV_01/{TIMES}", STIM_OFF, TRIALS, WHEEL_TIMES))
    assert f"session {stored.eid}: files with times have changed (alf/FOV_00/{TIMES})" in note
    assert f"and others have not ({others})" in note
    np.save(stored.file(TIMES), np.load(stored.file(TIMES)) + 5)
    done = update([stored.eid])
    assert "the FOV starts at another time than the others of its session" in "".join(done.failures)
    assert len(schemas.FOV & {"eid": stored.eid}) == 2


def test_a_session_of_which_some_cannot_be_read_again_stays_as_it_is(session):
    """A wheel that is a copy of another day's, and a FOV that was cleaned up."""
    session.add("other", "SRC1")
    write_one_tables(session.root)
    ingest([session.eids["other"]], cache_dir=session.root)
    fill(SESSION_TABLES, [{"eid": eid} for eid in session.eids.values()])
    before = stored_starts(session.eid)
    align_again(session, 0.4, in_place=True)
    for name in (WHEEL_TIMES, WHEEL):
        shutil.copy(session.alf("other") / name, session.alf("it") / name)
    done = update([session.eid])
    assert (done.update_id, len(done.failures)) == ("", 4)
    assert "is a copy of a file that has been read" in "".join(done.failures)
    assert stored_starts(session.eid) == before
    session.file(TIMES, 1).unlink()
    done = update([session.eid])
    assert (done.update_id, len(done.failures)) == ("", 4)
    assert stored_starts(session.eid) == before


@pytest.fixture
def two_days(stored) -> OneSession:
    """The session and another of the subject, read."""
    stored.add("other", "SRC1")
    write_one_tables(stored.root)
    ingest([stored.eids["other"]], cache_dir=stored.root)
    assert fill(SESSION_TABLES, {"eid": stored.eids["other"]}).errors == []
    return stored


#: New files of one table that cannot be used, each seen only when it is read: what is done, and what is said.
def _wheel_of_another_clock(session: OneSession) -> None:
    path = session.alf("it") / WHEEL_TIMES
    np.save(path, np.load(path) + 3)


def _choices_of_other_trials(session: OneSession) -> None:
    path = session.alf("it") / TRIALS
    table = pd.read_parquet(path)
    table.assign(choice=np.roll(table["choice"], 1)).to_parquet(path)


def _traces_with_nan(session: OneSession) -> None:
    traces = np.load(session.file(ACTIVITY))
    traces[-1, -1] = np.nan
    np.save(session.file(ACTIVITY), np.asfortranarray(traces))


BAD_NEWS = {
    "Wheel": (_wheel_of_another_clock, "the wheel turns regardless of the choices"),
    "Behavior": (_choices_of_other_trials, "choices, stimuli and feedback contradict each other"),
    "FOV": (_traces_with_nan, "activity is not finite"),
}


def rows_of(eid: str) -> list[Any]:
    """Return the rows of a session that its files give, with when and from what each was read."""
    tables = (schemas.Behavior, schemas.Behavior.Trial, schemas.Behavior.Source, schemas.Wheel, schemas.Wheel.Source,
              schemas.FOV, schemas.FOV.Source, schemas.Recording, schemas.ROI, schemas.Activity)  # fmt: skip
    return [str((table & {"eid": eid}).to_dicts(order_by="KEY")) for table in tables]


@pytest.mark.parametrize("table", BAD_NEWS)
def test_new_files_that_cannot_be_used_leave_the_rows_of_before(stored, table):
    spoil, message = BAD_NEWS[table]
    before = rows_of(stored.eid)
    spoil(stored)
    write_one_tables(stored.root)
    for dry_run in (True, False):
        done = update([stored.eid], dry_run=dry_run)
        (failure,) = done.failures
        assert failure.startswith(f"{table} stays as it is, the new files cannot be used: session {stored.eid}")
        assert message in failure
        assert done.update_id == ""
    assert rows_of(stored.eid) == before


def test_new_trials_that_contradict_the_wheel_leave_the_rows_of_before(stored):
    """Choices, stimuli and feedback of other trials fit each other: only the wheel tells."""
    trials_later(stored, "it")
    assert not any("contradict" in note for note in update([stored.eid]).notes)
    path = stored.alf("it") / TRIALS
    table = pd.read_parquet(path)
    table.assign(**{name: np.roll(table[name], 30) for name in (*FINGERPRINT, "rewardVolume")}).to_parquet(path)
    before, done = rows_of(stored.eid), update([stored.eid])
    (failure,) = done.failures
    where = f"session {stored.eid}, alf/{TRIALS}"
    assert failure.startswith(f"Behavior stays as it is, the new files cannot be used: {where}")
    assert "contradicts the wheel that has been read: the wheel turns regardless of the choices" in failure
    assert f"(schemas.Wheel & {{'eid': '{stored.eid}'}}).delete()" in failure
    assert rows_of(stored.eid) == before
    (schemas.Wheel & {"eid": stored.eid}).delete()  # as the message says
    done = update([stored.eid])
    assert done.update_id and "the wheel turns regardless of the choices" in "".join(done.failures)


def trials_and_wheel_of_another_day(session: OneSession) -> Callable[[], None]:
    """Give the session both of another day, on a clock of its own; return what puts the trials back."""
    table, wheel = session.alf("it") / TRIALS, session.alf("it") / WHEEL_TIMES
    beside = list(table.parent.glob("_ibl_trials.*.npy"))
    kept = {path: path.read_bytes() for path in (table, *beside)}
    of_another_day(session, shifted)
    np.save(wheel, np.load(session.alf("other") / WHEEL_TIMES) + 1.7)
    np.save(session.alf("it") / WHEEL, np.load(session.alf("other") / WHEEL)[:, None])  # saved again

    def put_back() -> None:
        for path, content in kept.items():
            path.write_bytes(content)
        table_now = pd.read_parquet(table)
        other = {name: np.roll(table_now[name], 30) for name in (*FINGERPRINT, "rewardVolume")}
        table_now.assign(**other).to_parquet(table)  # the days of the tests have the same turns
        write_one_tables(session.root)

    return put_back


def test_trials_that_contradict_a_wheel_that_was_read_without_them_are_refused(session):
    """Both were another day's: the trials were refused as a copy and put back, and the wheel agreed with the copy."""
    put_back = trials_and_wheel_of_another_day(session)
    ((table, _, message),) = fill([schemas.Behavior, schemas.Wheel], {"eid": session.eid}).errors
    assert table == "Behavior" and "is a copy of a file that has been read" in message
    put_back()
    retry([schemas.Behavior], eid=session.eid)
    ((_, _, message),) = fill([schemas.Behavior], {"eid": session.eid}).errors
    assert f"session {session.eid}, alf/{TRIALS}: contradicts the wheel that has been read" in message
    assert f"meso update {session.eid}" in message


def test_the_wheel_positions_of_another_day_are_refused_at_other_times(two_days):
    session = two_days
    shutil.copy(session.alf("other") / WHEEL, session.alf("it") / WHEEL)
    (failure,) = update([session.eid]).failures
    assert f"alf/{WHEEL}: is a copy of a file that has been read" in failure
    assert f"of session {session.eids['other']}" in failure


def test_trials_of_which_some_files_are_still_to_come_are_noted(stored):
    """A new alignment, of which no periods of quiescence come, is not taken for a new extraction."""
    trials_later(stored, "it")
    assert not any("behaviour was extracted again" in note for note in update([stored.eid]).notes)
    path = stored.alf("it") / TRIALS
    table = pd.read_parquet(path)
    table.loc[30, ["choice", "feedbackType"]] *= -1
    table.to_parquet(path)
    (note,) = [note for note in update([stored.eid]).notes if "behaviour was extracted again" in note]
    others = f"alf/{QUIESCENCE}, alf/{STIM_OFF}"
    assert f"files of trials have changed (alf/{TRIALS}), and others have not ({others})" in note
    assert note.endswith(f"then run meso update {stored.eid} once more")


def test_the_same_new_files_of_two_days_leave_the_rows_of_before(two_days):
    """Each is new to the rows that are there: the second to be inserted would be refused as a copy."""
    session, ids = two_days, list(two_days.eids.values())
    before = [rows_of(eid) for eid in ids]
    new_uuids(session.file(UUIDS), 1)
    shutil.copy(session.file(UUIDS), session.alf("other") / "FOV_00" / UUIDS)
    done = update(ids)
    assert (done.update_id, len(done.failures)) == ("", 2)
    for text, eid, other in zip(done.failures, ids, ids[::-1], strict=True):
        assert text.startswith(f"FOV stays as it is, the new files cannot be used: session {eid}, FOV_00")
        assert "is a copy of a file that has been read" in text and f"of session {other}" in text
    assert [rows_of(eid) for eid in ids] == before


def test_files_of_a_day_that_stays_leave_the_rows_of_before(two_days):
    """Exchanged with another day, of which another file is gone, so that its rows stay."""
    session, ids = two_days, list(two_days.eids.values())
    before = [rows_of(eid) for eid in ids]
    one, other = (session.alf(name) / "FOV_00" / UUIDS for name in ("it", "other"))
    texts = one.read_text(), other.read_text()
    one.write_text(texts[1])
    other.write_text(texts[0])
    session.file(TIMES, 1).unlink()
    done = update(ids)
    assert done.update_id == "" and len(done.failures) == 3
    (copied,) = [text for text in done.failures if "is a copy of a file that has been read" in text]
    assert copied.startswith(
        f"FOV stays as it is, the new files cannot be used: session {session.eids['other']}, FOV_00"
    )
    assert [rows_of(eid) for eid in ids] == before


def test_fovs_that_are_aligned_one_by_one_leave_the_rows_of_before(stored):
    """Each starts with the others of the rows that would be there, but not with the other new one."""
    before = rows_of(stored.eid)
    for fov, seconds in ((0, 0.05), (1, 5.0)):
        np.save(stored.file(TIMES, fov), np.load(stored.file(TIMES, fov)) + seconds)
    done = update([stored.eid])
    assert (done.update_id, len(done.failures)) == ("", 2)
    assert all("the FOV starts at another time than the others of its session" in text for text in done.failures)
    assert rows_of(stored.eid) == before


def test_an_older_revision_that_comes_back_is_noted(session):
    """The newer one was withdrawn, or the table of the cache was written without it."""
    newer = session.revise(TIMES, lambda times: times + 0.05)
    with pytest.warns(UserWarning, match="files with times are newer"):
        assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    newer.unlink()
    write_one_tables(session.root)
    expected = (
        f"session {session.eid}: ONE gives alf/FOV_00/{TIMES} now, an older revision than 2026-01-01, which was read. "
        f"If 2026-01-01 was withdrawn by mistake, put it back, and run: meso update {session.eid}"
    )
    assert expected in update([session.eid], dry_run=True).notes
    done = update([session.eid])
    assert done.failures == [] and expected in done.notes
    session.revise(TIMES, lambda times: times + 0.05)
    with pytest.warns(UserWarning, match="files with times are newer"):
        done = update([session.eid])  # a newer one is no reason to doubt
    assert done.update_id and not any("older revision" in note for note in done.notes)


class Killed(BaseException):
    """The process ends here."""


def killed(*args: Any) -> None:
    raise Killed


def trials_later(session: OneSession, name: str) -> None:
    """Move the trials of a session by a little."""
    path = session.alf(name) / TRIALS
    table = pd.read_parquet(path)
    table.assign(goCue_times=table["goCue_times"] + 1e-4).to_parquet(path)


def test_an_unfinished_update_of_another_mouse_waits_until_it_is_asked_for(session, monkeypatch, meso_command):
    session.add("other", "SRC2")
    write_one_tables(session.root)
    it, other = ids = session.eid, session.eids["other"]
    ingest([other], cache_dir=session.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in ids]).errors == []
    for name in session.eids:
        trials_later(session, name)
    with monkeypatch.context() as patch:
        patch.setattr(schemas.upkeep.update, "_complete", killed)
        with pytest.raises(Killed):
            update(ids)
    behavior = schemas.Behavior & [{"eid": eid} for eid in ids]
    assert len(behavior) == 0
    (session.alf("other") / TRIALS).write_bytes(b"")  # it cannot be finished
    unfinished = schemas.SourceUpdate - schemas.SourceUpdate.Done.proj()
    (key,) = unfinished.keys()
    for _ in range(2):
        done = update([it])
        assert done.failures == []
        assert behavior.to_arrays("eid").tolist() == [it]
        (waiting,) = [note for note in done.notes if "SRC2" in note]
        assert re.fullmatch(r"an update of SRC2, of .* UTC, is not finished: meso update --subject SRC2", waiting)
    assert errors() == [] and len(unfinished) == 1
    shown = meso_command("update", it)
    assert shown.returncode == 0 and waiting in shown.stdout
    (line,) = [line for line in meso_command("status").stdout.splitlines() if "not finished" in line]
    assert line.startswith("The update of SRC2, of ") and line.endswith("running: meso update --subject SRC2")
    (failure,) = update([other]).failures
    assert f"session {other}" in failure
    assert not schemas.SourceUpdate - schemas.SourceUpdate.Done.proj()  # the rest is a failed job
    assert set((schemas.SourceUpdate.OfSubject & key).to_arrays("done_subject")) == {"SRC1", "SRC2"}


def test_an_unfinished_update_of_a_mouse_that_was_deleted_waits_for_nobody(session, monkeypatch):
    session.add("other", "SRC2")
    write_one_tables(session.root)
    it, other = session.eid, session.eids["other"]
    ingest([other], cache_dir=session.root)
    assert fill([schemas.Behavior], {"eid": other}).errors == []
    trials_later(session, "other")
    with monkeypatch.context() as patch:
        patch.setattr(schemas.upkeep.update, "_complete", killed)
        with pytest.raises(Killed):
            update([other])
    assert "meso update --subject SRC2" in "".join(update([it]).notes)
    (schemas.Session & {"eid": other}).delete()
    assert update([it]).failures == []
    assert not schemas.SourceUpdate - schemas.SourceUpdate.Done.proj()
    assert update([it]).notes == []


def test_a_fov_on_another_clock_than_the_others_of_its_session_is_refused(session):
    """Its frame times were aligned again while it was read; FOVs are scanned within a frame."""
    assert fill([schemas.FOV], {"eid": session.eid, "fov": 0}).errors == []
    np.save(session.file(TIMES, 1), np.load(session.file(TIMES, 1)) + 0.4)
    ((_, key, message),) = fill([schemas.FOV], {"eid": session.eid}).errors
    start = np.load(session.file(TIMES))[0]
    assert key["fov"] == 1
    assert "the FOV starts at another time than the others of its session" in message
    assert f"expected within a frame (0.197 s) of {start:.3f} s, as FOV_00" in message


def test_an_extraction_that_arrives_file_by_file_is_said_to_be_incomplete(stored):
    """In place, without a revision: types and positions stay those of the former ROIs."""
    for name in (ACTIVITY, FLUORESCENCE):
        replace(stored.file(name), lambda traces: traces[:, ::-1].copy())
    new_uuids(stored.file(UUIDS))
    with pytest.warns(UserWarning, match="others have not") as warned:
        meso._read_again(stored.eid)  # what load_or_embed(eid, rerun=True) does
    (note,) = [str(warning.message) for warning in warned]
    new = ", ".join(f"alf/FOV_00/{name}" for name in (ACTIVITY, FLUORESCENCE, UUIDS))
    assert f"session {stored.eid}: files of ROIs have changed ({new}), and others have not (" in note
    assert all(f"alf/FOV_00/{name}" in note for name in (TYPES, POSITIONS, REGIONS, PLACES))


def test_a_copy_that_two_workers_read_at_the_same_moment_is_found(session, monkeypatch):
    """Each compares its file with the rows that are there, and the row of the other is not there yet."""
    session.add("other", "SRC1")
    both, other = [{"eid": eid} for eid in session.eids.values()], session.eids["other"]
    (session.alf("other") / TRIALS).write_bytes((session.alf("it") / TRIALS).read_bytes())
    write_one_tables(session.root)
    ingest([other], cache_dir=session.root)
    with monkeypatch.context() as patch:
        patch.setattr(schemas.Behavior, "check", lambda *args, **options: None)
        assert fill([schemas.Behavior], both).errors == []
    for eid, found in ((session.eid, other), (other, session.eid)):
        done = verify_session(eid)
        (copy,) = done.findings
        assert not done.ok and copy.kind == "copy"
        assert f"session {eid}, alf/{TRIALS}: is a copy of a file that has been read" in str(copy)
        assert f"found alf/{TRIALS} of session {found}" in str(copy)


def test_labels_that_may_be_made_of_a_former_wheel_are_named(stored):
    """The trials are the same, so that labels are used without an error: which files they are made of, nobody knows."""
    speed = meso.wheel_speed(stored.eid, "stimOn_times", (0.1, 0.6))
    schemas.LabelSet.add("former", {stored.eid: speed})
    schemas.LabelSet.add("speed", {stored.eid: speed + 1})
    schemas.LabelSet.add("speed", {stored.eid: speed})
    position = stored.alf("it") / WHEEL
    np.save(position, np.load(position) / 2)
    try:
        (note,) = update([stored.eid], dry_run=True).notes
        assert update([stored.eid]).notes == [note]
        assert note.startswith(
            f"session {stored.eid}: the files of wheel are others now, and labels former, speed were given before. If"
        )
        np.save(stored.file(PLACES), np.load(stored.file(PLACES)) + 100)
        assert not any("labels" in text for text in update([stored.eid]).notes)
        (kept,) = kept_notes(stored, "labels")
        assert kept == f"labels: LabelSet, {note}."
        assert "1 session with labels of former files" in note_counts()
        schemas.LabelSet.add("former", {stored.eid: speed})
        (kept,) = kept_notes(stored, "labels")
        assert "labels speed were given" in kept
        np.save(position, np.load(position) * 2)
        update([stored.eid])
        (kept,) = kept_notes(stored, "labels")
        assert "labels former were given" in kept  # those were added for the other wheel
    finally:
        schemas.LabelSet().delete()


def test_labels_are_named_when_another_wheel_is_read_after_the_rows_were_deleted_by_hand(stored, recwarn):
    speed = meso.wheel_speed(stored.eid, "stimOn_times", (0.1, 0.6))
    schemas.LabelSet.add("speed", {stored.eid: speed})
    try:
        for table in (schemas.Wheel, schemas.Behavior):
            (table & {"eid": stored.eid}).delete(prompt=False)
        assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
        assert not any("labels" in str(one.message) for one in recwarn)
        (schemas.Session & {"eid": stored.eid}).delete(prompt=False)
        position = stored.alf("it") / WHEEL
        np.save(position, np.load(position) / 2)
        ingest([stored.eid], cache_dir=stored.root)
        with pytest.warns(UserWarning, match="the files of wheel are others now, and labels speed were given before"):
            assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
        (kept,) = kept_notes(stored, "labels")
        assert "the files of wheel are others now, and labels speed were given before" in kept
    finally:
        schemas.LabelSet().delete()


@pytest.mark.parametrize("times", [True, False], ids=["with times", "but for times"])
def test_fovs_that_were_exchanged_while_rows_were_deleted_are_noted(stored, times):
    delete_rows(stored, "session")
    exchange_fovs(stored)
    if not times:
        one, other = (stored.file(TIMES, fov).parent for fov in range(2))
        (one / TIMES).rename(one / "aside")
        (other / TIMES).rename(one / TIMES)
        (one / "aside").rename(other / TIMES)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
    assert_said_of_both(stored, {str(warning.message) for warning in warned})
    assert_said_of_both(stored, kept_notes(stored, "exchanged"))
    (text,) = mixed(stored)
    newer, older = text.split("others have not")
    if times:
        assert "files with times have changed" in newer  # those of trials and wheel have not
    else:
        assert "files of FOVs have changed" in newer and f"alf/FOV_01/{UUIDS}" in newer
        assert f"(alf/FOV_00/{TIMES}, alf/FOV_01/{TIMES})" in older and "If FOVs were exchanged" in older


# ---------------------------------------------------------------- read again while it is loaded


def extracted_again(session: OneSession) -> None:
    """Give all files of a FOV the ROIs of another extraction, with as many neurons in the same lines."""
    types = np.load(session.file(TYPES))
    order = np.arange(len(types))
    for kind in (0, 1):
        order[types == kind] = np.flatnonzero(types == kind)[::-1]
    for path in session.file(TYPES).parent.glob("*.npy"):
        array = np.load(path)
        if path.name in (ACTIVITY, FLUORESCENCE):
            np.save(path, np.asfortranarray(array[:, order]))
        elif path.name.startswith("mpciROIs."):
            np.save(path, array[order])
    new_uuids(session.file(UUIDS))
    write_one_tables(session.root)


def raster_of(eid: str) -> dict:
    """Return the key of a session's raster, made if it is not there."""
    meso.load_or_embed(eid)
    fill([schemas.RasterTiles], {"eid": eid})
    return page.queries.raster_key(eid)[0]


def exported(eid: str, folder: Path) -> None:
    export_session(eid, "parquet", folder, overwrite=True)


WHILE_LOADED: dict[str, tuple[Any, str, Callable[[OneSession], None], Callable[[str, Path], object], str]] = {
    "load_or_embed": (meso, "activity_of", extracted_again, lambda eid, _: meso.load_or_embed(eid), "FOV"),
    "plot_raster": (
        meso, "_trial_strips", lambda session: align_again(session, 0.05, in_place=True),
        lambda eid, _: meso.plot_raster(eid), "Behavior, FOV, Wheel",
    ),
    "activity": (
        schemas.imaging.activity, "activity_of", extracted_again,
        lambda eid, _: schemas.activity(schemas.ROI & {"eid": eid}), "FOV",
    ),
    "export": (schemas.exchange.export, "_sources", extracted_again, exported, "FOV"),
    "trace of the page": (
        page.queries, "trial_events", lambda session: align_again(session, 0.05, in_place=True),
        lambda eid, _: page.queries.trace(eid, 0, 0), "Behavior, FOV",
    ),
    "averages of the page": (
        page.drawing, "trials_to_average", lambda session: align_again(session, 0.05, in_place=True),
        lambda eid, _: page.drawing.cell_averages(eid, 0, 0, "choice"), "Behavior, FOV",
    ),
    "timeline of the page": (
        page.queries, "trial_events", lambda session: align_again(session, 0.05, in_place=True),
        lambda eid, _: page.queries.timeline(raster_of(eid)), "Behavior, FOV, Wheel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", WHILE_LOADED)
def test_a_session_that_is_read_again_while_it_is_loaded_is_refused(stored, monkeypatch, tmp_path, call):
    """Places, ranks and trials would be of other files than the activity."""
    module, step, change, load, tables = WHILE_LOADED[call]
    load(stored.eid, tmp_path / "before")
    taken = getattr(module, step)

    def later(*args, **options):
        change(stored)
        assert update([stored.eid]).failures == []
        monkeypatch.undo()
        return taken(*args, **options)

    monkeypatch.setattr(module, step, later)
    with pytest.raises(DataError, match=f"session {stored.eid}: files were read again .* rows of {tables} are others"):
        load(stored.eid, tmp_path / "meanwhile")
    assert list((tmp_path / "meanwhile").glob("*")) == []
    load(stored.eid, tmp_path / "after")


# ---------------------------------------------------------------- files of two writings


def mixed(session: OneSession) -> list[str]:
    """Return what verify says of files that are not of one writing, of any time before."""
    found = verify_session(session.eid)
    assert found.ok
    return [str(one) for one in found.findings if one.kind == "mixed"]


def reverse_rois(session: OneSession, *names: str, folder: str = "") -> None:
    """Write arrays of a FOV with the ROIs in the opposite order, in place or as a revision; neuropil with F."""
    for name in (*names, *[NEUROPIL] * (FLUORESCENCE in names)):
        array = np.load(session.file(name))
        turned = array[:, ::-1] if name in (ACTIVITY, FLUORESCENCE, NEUROPIL) else array[::-1]
        path = session.file(f"{folder}/{name}" if folder else name)
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.asfortranarray(turned) if turned.ndim == 2 else turned.copy())
    write_one_tables(session.root)


IN_PART: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "activity and fluorescence": ((ACTIVITY, FLUORESCENCE), (TYPES, POSITIONS, UUIDS), "files of ROIs"),
    "types and classifier": ((TYPES, CLASSIFIER), (ACTIVITY, POSITIONS, UUIDS), "files of ROIs"),
    "places": ((PLACES,), (REGIONS,), "regions and places in the brain"),
    "regions": ((REGIONS,), (PLACES,), "regions and places in the brain"),
}


@pytest.mark.parametrize("part", IN_PART)
def test_a_part_of_the_files_of_rois_that_changes_alone_is_noted_and_the_note_is_kept(stored, part):
    """In place, and so that the arrays agree with each other: only what has changed and what has not tells."""
    names, same, what = IN_PART[part]
    if PLACES in names:  # in the opposite order they are refused
        np.save(stored.file(PLACES), np.load(stored.file(PLACES)) + 100)
    else:
        reverse_rois(stored, *names)
    done = update([stored.eid])
    (note,) = done.notes
    names += (NEUROPIL,) * (FLUORESCENCE in names)
    new = ", ".join(sorted(f"alf/FOV_00/{name}" for name in names))
    assert done.failures == [] and f"session {stored.eid}: {what} have changed ({new}), and others have not (" in note
    assert all(f"alf/FOV_00/{name}" in note.split("others")[1] for name in same)
    assert note.endswith(f"files are still to come: then run meso update {stored.eid} once more")
    (kept,) = mixed(stored)
    read = ", ".join(one for one in new.split(", ") if FLUORESCENCE not in one and NEUROPIL not in one)
    assert kept.startswith(f"mixed: Session, session {stored.eid}: {what} have changed ({read}), and others have not (")


def test_fluorescence_that_changes_alone_is_noted_and_the_note_is_kept(stored):
    """It changes with every extraction, and never alone."""
    schemas.SignalTask.ask([stored.eid], [SignalSettings("fluorescence")])
    assert fill([schemas.Signal], {"eid": stored.eid}).errors == []
    replace(stored.file(FLUORESCENCE), lambda traces: 1.5 * traces)
    done = update([stored.eid])
    (note,) = done.notes
    new, same = note.split("and others have not")
    assert done.failures == [] and f"files of ROIs have changed (alf/FOV_00/{FLUORESCENCE})" in new
    assert all(f"alf/FOV_00/{name}" in same for name in (ACTIVITY, UUIDS, TYPES, POSITIONS))
    (kept,) = mixed(stored)
    assert f"files of ROIs have changed (alf/FOV_00/{FLUORESCENCE})" in kept
    assert update([stored.eid]).notes == [] and mixed(stored) == [kept]


def put_back(session: OneSession, files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        path.write_bytes(content)
    write_one_tables(session.root)


@pytest.mark.parametrize("how", ["update", "by hand"])
def test_half_of_a_third_extraction_over_a_backup_of_the_first_is_noted(stored, how):
    """All files have changed since the second one was read; those of the first were read before."""
    first = {path: path.read_bytes() for path in stored.file(TYPES).parent.iterdir()}
    all_anew(stored)
    assert update([stored.eid]).notes == []
    put_back(stored, first)
    half_anew(stored)
    if how == "update":
        done = update([stored.eid])
        (note,) = done.notes
        assert done.failures == []
    else:
        (schemas.FOV & {"eid": stored.eid}).delete(prompt=False)
        with pytest.warns(UserWarning, match="have changed") as warned:
            assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
        (note,) = {str(one.message) for one in warned}
    (kept,) = mixed(stored)
    for text in (note, kept):
        newer, older = text.split("others have not")
        assert "files of ROIs have changed" in newer
        assert f"alf/FOV_00/{UUIDS}" in newer and f"alf/FOV_00/{ACTIVITY}" in newer
        assert all(f"alf/FOV_00/{name}" in older for name in (TYPES, POSITIONS, CLASSIFIER))
    put_back(stored, first)
    assert update([stored.eid]).notes == [] and mixed(stored) == []  # all of the backup


def positions_and_places_anew(session: OneSession) -> None:
    reverse_rois(session, POSITIONS, PLACES, REGIONS)


def traces_anew(session: OneSession) -> None:
    around = session.file(NEUROPIL).read_bytes()  # which stays
    reverse_rois(session, ACTIVITY, FLUORESCENCE)
    session.file(NEUROPIL).write_bytes(around)
    write_one_tables(session.root)


ELSE: dict[str, tuple[Callable[[OneSession], None], str]] = {
    "positions": (
        positions_and_places_anew,
        f"alf/FOV_00/{POSITIONS}: the positions are not of the ROIs in {NEUROPIL}",
    ),
    "traces": (traces_anew, f"alf/FOV_00/{NEUROPIL}: the neuropil is not of the ROIs in {FLUORESCENCE}"),
}


@pytest.mark.parametrize("what", ELSE)
def test_what_is_of_another_extraction_than_the_neuropil_is_refused_when_it_is_first_read(database, tmp_path, what):
    """Both writings came while nothing was read, so that no hash tells: neighbours have neuropil in common."""
    write, problem = ELSE[what]
    session = OneSession(tmp_path / "one", made_session(tmp_path / "demo", rois_per_fov=140))
    session.add("it", "SRC1")
    for fov in range(2):  # fluorescence has neuropil in it, but in the demo
        traces, around = (np.load(session.file(name, fov)) for name in (FLUORESCENCE, NEUROPIL))
        np.save(session.file(FLUORESCENCE, fov), np.asfortranarray(traces + around))
    write_one_tables(session.root)
    ingest([session.eid], cache_dir=session.root)
    files = {path: path.read_bytes() for path in session.file(TIMES).parent.iterdir()}
    try:
        write(session)
        errors_of = fill([schemas.FOV], {"eid": session.eid}).errors
        for path, content in files.items():
            path.write_bytes(content)
        retry([schemas.FOV])
        assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    finally:
        retry([schemas.FOV])
        remove(session)
    ((_, key, message),) = errors_of
    assert key["fov"] == 0 and problem in message


# ---------------------------------------------------------------- saved again with the same values


def in_other_bytes(path: Path) -> None:
    """Save a dataset with the same values in other bytes, in its place."""
    if path.suffix == ".pqt":
        pd.read_parquet(path).to_parquet(path, compression="gzip")
    elif path.suffix == ".csv":
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    elif np.load(path).ndim == 2 and path.name in (ACTIVITY, FLUORESCENCE):
        np.save(path, np.ascontiguousarray(np.load(path)))
    else:
        np.save(path, np.load(path)[..., None] if np.load(path).ndim == 1 else np.asfortranarray(np.load(path)))


def rows_read(eid: str) -> list[Any]:
    """Return all that was read but for which files, and what was computed of it."""
    computed = [
        str((table & {"eid": eid}).to_dicts(order_by="KEY")) for table in (schemas.Signal, schemas.TrialTypeMean)
    ]
    return [*(row for row in rows_of(eid) if "sha256" not in row), *computed]


SAVED: dict[str, tuple[str, ...]] = {
    "uuids": (UUIDS,), "activity": (ACTIVITY,), "types and positions": (TYPES, POSITIONS), "times": (TIMES,),
    "trials": (TRIALS,), "wheel": (WHEEL, WHEEL_TIMES), "fluorescence": (FLUORESCENCE,),
}  # fmt: skip


@pytest.mark.parametrize("what", SAVED)
def test_files_saved_again_with_the_same_values_are_recorded_and_all_rows_stay(stored, what):
    schemas.SignalTask.ask([stored.eid], [SignalSettings("fluorescence")])
    assert fill([schemas.Signal], {"eid": stored.eid}).errors == []
    deletions, updates = len(Deletion()), len(schemas.SourceUpdate())
    before = rows_read(stored.eid)
    for name in SAVED[what]:
        path = stored.alf("it") / name if name.startswith("_ibl") else stored.file(name)
        content = path.read_bytes()
        in_other_bytes(path)
        assert path.read_bytes() != content
    write_one_tables(stored.root)
    tried = update([stored.eid], dry_run=True)
    assert len(tried.notes) == 1 and tried.changes == [] and changed_rows(stored.eid, content=True)
    done = update([stored.eid])
    (note,) = done.notes
    assert "saved again with the same values" in note and done.failures == done.changes == []
    assert tried.notes == [note] and rows_read(stored.eid) == before
    assert (len(Deletion()), len(schemas.SourceUpdate())) == (deletions + 1, updates)
    assert changed_rows(stored.eid, content=True) == [] and verify_session(stored.eid, source=True).findings == []
    # what comes later is compared with the files as they are
    half_anew(stored)
    assert any("files of ROIs have changed" in text for text in update([stored.eid]).notes)
    assert len(mixed(stored)) == 1


def test_a_note_stays_when_files_are_saved_again_with_the_same_values(stored):
    half_anew(stored)
    update([stored.eid])
    (kept,) = mixed(stored)
    for name in (UUIDS, TYPES, POSITIONS):
        in_other_bytes(stored.file(name))
    assert len(update([stored.eid]).notes) == 1 and mixed(stored) == [kept]
    (schemas.FOV & {"eid": stored.eid, "fov": 0}).delete(prompt=False)
    assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
    assert mixed(stored) == [kept]


def test_values_of_another_dtype_are_others(stored):
    path = stored.file(ACTIVITY)
    np.save(path, np.asfortranarray(np.load(path), np.float64))
    done = update([stored.eid])
    assert [row.table for row in done.changes] == ["FOV"] and done.failures == []


def test_what_the_tables_of_one_say_of_a_file_is_not_recorded_if_it_is_not_so(session):
    """Edited by hand: another size, hash and revision than the file has."""
    from iblutil.io import parquet

    table, _ = parquet.load(session.root / "datasets.pqt")
    of = table["rel_path"] == f"alf/FOV_00/{TIMES}"
    edited = table.assign(hash=table["hash"].mask(of, "0" * 32), file_size=table["file_size"].mask(of, 5))
    parquet.save(session.root / "datasets.pqt", edited, {"date_created": "2026-01-01 00:00"})
    with pytest.warns(UserWarning, match="is not the file that ONE lists: it is read, and its own hash is recorded"):
        assert fill([schemas.FOV], {"eid": session.eid}).errors == []
    (row,) = (schemas.FOV.Source & {"eid": session.eid, "dataset": f"alf/FOV_00/{TIMES}"}).to_dicts()
    content = session.file(TIMES).read_bytes()
    assert (row["file_size"], row["sha256"], row["one_hash"]) == (len(content), hashlib.sha256(content).hexdigest(), "")


def test_activity_that_is_deconvolved_again_is_not_noted(stored):
    traces = np.load(stored.file(ACTIVITY))
    events = np.where(traces > np.percentile(traces, 20, axis=0), 3 * traces, 0)
    np.save(stored.file(ACTIVITY), np.asfortranarray(events, traces.dtype))
    done = update([stored.eid])
    assert (done.failures, done.notes, len(done.changes)) == ([], [], 1) and mixed(stored) == []


def test_a_mixture_is_no_more_when_the_rest_has_come_or_the_former_files_are_back(stored):
    files = {path: path.read_bytes() for path in (stored.file(TYPES).parent).iterdir()}
    reverse_rois(stored, ACTIVITY, FLUORESCENCE)
    assert len(update([stored.eid]).notes) == len(mixed(stored)) == 1
    reverse_rois(stored, TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS)
    (note,) = update([stored.eid]).notes
    new = ", ".join(sorted(f"alf/FOV_00/{name}" for name in (TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS)))
    assert f"files of ROIs have changed ({new}), and others have not (alf/FOV_00/{UUIDS})" in note
    assert all(f"others have not (alf/FOV_00/{UUIDS})" in text for text in mixed(stored))
    new_uuids(stored.file(UUIDS))
    done = update([stored.eid])
    assert done.notes == [] and mixed(stored) == []
    for path, content in files.items():
        path.write_bytes(content)
    assert update([stored.eid]).notes == [] and mixed(stored) == []
    reverse_rois(stored, ACTIVITY, FLUORESCENCE)
    assert len(update([stored.eid]).notes) == len(mixed(stored)) == 1
    for path, content in files.items():
        path.write_bytes(content)
    done = update([stored.eid])
    assert done.changes and mixed(stored) == []


@pytest.mark.parametrize("when", ["killed", "meanwhile"])
def test_files_of_a_half_copied_extraction_are_noted_when_an_update_reads_others_than_it_compared(
    stored, monkeypatch, when
):
    """The update was of other files; half of an extraction comes when its rows are gone, before they are read again."""
    complete = schemas.upkeep.update._complete
    types = np.load(stored.file(TYPES))
    types[np.flatnonzero(types == 0)[0]] = 1
    np.save(stored.file(TYPES), types)

    def later(*args):
        reverse_rois(stored, ACTIVITY, FLUORESCENCE)
        new_uuids(stored.file(UUIDS))
        if when == "killed":
            raise Killed
        complete(*args)

    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each row warns when it is read
        patch.setattr(schemas.upkeep.update, "_complete", later)
        if when == "killed":
            with pytest.raises(Killed):
                update([stored.eid])
            patch.setattr(schemas.upkeep.update, "_complete", complete)
        done = update([stored.eid])
    note = done.notes[-1]
    new, same = note.split("and others have not")
    assert done.failures == [] and f"session {stored.eid}: files of ROIs have changed" in new
    assert all(f"alf/FOV_00/{name}" in new for name in (ACTIVITY, TYPES, UUIDS))
    assert all(f"alf/FOV_00/{name}" in same for name in (CLASSIFIER, POSITIONS, PLACES, REGIONS))
    (kept,) = mixed(stored)
    assert "files of ROIs have changed" in kept and "others have not" in kept
    assert update([stored.eid]).notes == []
    reverse_rois(stored, TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS)
    assert update([stored.eid]).notes == [] and mixed(stored) == []


def all_anew(session: OneSession) -> None:
    """Write all files of the ROIs of a FOV with these in another order."""
    for name in ROI_FILES:
        array = np.load(session.file(name))
        turned = np.roll(array, 7, axis=1 if name in (ACTIVITY, FLUORESCENCE, NEUROPIL) else 0)
        np.save(session.file(name), np.asfortranarray(turned) if turned.ndim == 2 else turned)
    new_uuids(session.file(UUIDS), 5)
    write_one_tables(session.root)


def half_anew(session: OneSession) -> None:
    reverse_rois(session, ACTIVITY, FLUORESCENCE)
    new_uuids(session.file(UUIDS), 8)


def frames_later(session: OneSession) -> None:
    for fov in range(2):
        np.save(session.file(TIMES, fov), np.load(session.file(TIMES, fov)) + 0.3)


THEN: dict[str, tuple[Callable[[OneSession], None], Callable[[OneSession], None], str, str, str]] = {
    "extractions": (all_anew, half_anew, "files of ROIs", f"alf/FOV_00/{UUIDS}", f"alf/FOV_00/{TYPES}"),
    "clocks": (
        lambda session: align_again(session, 0.05, in_place=True), frames_later, "files with times",
        f"alf/FOV_00/{TIMES}", f"alf/{WHEEL_TIMES}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", THEN)
@pytest.mark.parametrize("after", ["update", "populate"])
def test_half_of_a_third_writing_is_noted_when_an_update_to_a_second_one_was_killed(stored, monkeypatch, what, after):
    """All differ from the first one, of which the rows were: they are compared with what the update was to read."""
    second, third, group, newer, older = THEN[what]
    second(stored)
    with monkeypatch.context() as patch:
        patch.setattr(schemas.upkeep.update, "_complete", killed)
        with pytest.raises(Killed):
            update([stored.eid])
    third(stored)
    read = {"update": lambda: update([stored.eid]), "populate": lambda: fill(SESSION_TABLES, {"eid": stored.eid})}
    with pytest.warns(UserWarning, match=f"{group} have changed"):
        done = read[after]()
    if after == "update":
        assert done.failures == [] and f"session {stored.eid}: {group} have changed" in done.notes[-1]
    else:
        assert done.errors == []
    for _ in range(2):
        (kept,) = mixed(stored)
        assert newer in kept.split("others")[0] and older in kept.split("others")[1]
        update([stored.eid])


def test_half_an_extraction_is_noted_that_comes_while_an_update_cannot_read_the_files(stored, monkeypatch):
    """A copy is under way; when it is complete, another command reads the rows."""
    complete = schemas.upkeep.update._complete
    types = np.load(stored.file(TYPES))
    types[np.flatnonzero(types == 0)[0]] = 1
    np.save(stored.file(TYPES), types)
    whole = []

    def later(*args):
        half_anew(stored)
        whole.append(stored.file(ACTIVITY).read_bytes())
        stored.file(ACTIVITY).write_bytes(whole[0][: len(whole[0]) // 2])
        complete(*args)

    with monkeypatch.context() as patch:
        patch.setattr(schemas.upkeep.update, "_complete", later)
        assert update([stored.eid]).failures
    stored.file(ACTIVITY).write_bytes(whole[0])
    retry(eid=stored.eid)
    with pytest.warns(UserWarning, match="files of ROIs have changed"):
        assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
    (kept,) = mixed(stored)
    assert f"alf/FOV_00/{UUIDS}" in kept.split("others")[0] and f"alf/FOV_00/{POSITIONS}" in kept.split("others")[1]


def to_folder_of_task(session: OneSession) -> None:
    """Move trials and wheel as they are, as newer extractions have them."""
    folder = session.alf("it") / "task_00"
    folder.mkdir()
    for path in session.alf("it").glob("_ibl_*"):
        path.rename(folder / path.name)
    write_one_tables(session.root)


@pytest.mark.parametrize("how", ["update", "by hand"])
def test_files_that_are_only_moved_have_not_changed(stored, how):
    if how == "by hand":
        (schemas.Session & {"eid": stored.eid}).delete(prompt=False)
    frames_later(stored)
    to_folder_of_task(stored)
    if how == "update":
        notes = update([stored.eid]).notes
    else:
        ingest([stored.eid], cache_dir=stored.root)
        with pytest.warns(UserWarning, match="have changed") as warned:
            assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
        notes = [str(one.message) for one in warned]
    (kept,) = mixed(stored)
    for text in (kept, notes[-1]):
        newer, older = text.split("and others have not")
        assert "files with times have changed" in newer and f"alf/FOV_01/{TIMES}" in newer and "task" not in newer
        assert all(f"alf/task_00/{name}" in older for name in (TRIALS, WHEEL_TIMES))
    align_again_there = stored.alf("it") / "task_00"
    for path in (align_again_there / WHEEL_TIMES, align_again_there / STIM_OFF):
        np.save(path, np.load(path) + 0.3)
    table = pd.read_parquet(align_again_there / TRIALS)
    times = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
    table.assign(**{name: table[name] + 0.3 for name in times}).to_parquet(align_again_there / TRIALS)
    assert update([stored.eid]).notes == [] and mixed(stored) == []


def test_moved_trials_of_which_the_table_is_another_are_noted_without_those_that_are_the_same(stored):
    to_folder_of_task(stored)
    other_trials(stored, "task_00")
    notes = update([stored.eid]).notes
    (of_trials,) = [note for note in notes if "files of trials have changed" in note]
    newer, older = of_trials.split("others have not")
    assert f"(alf/task_00/{TRIALS})" in newer
    assert all(f"alf/task_00/{name}" in older for name in (QUIESCENCE, STIM_OFF))
    (of_times,) = [note for note in notes if "files with times" in note]
    assert f"(alf/task_00/{TRIALS})" in of_times and f"alf/task_00/{WHEEL_TIMES}" in of_times.split("others")[1]
    assert len(mixed(stored)) == 2


def delete_rows(session: OneSession, what: str) -> None:
    """Delete rows by hand: of one FOV, or the session, which is registered again."""
    if what == "FOV":
        (schemas.FOV & {"eid": session.eid, "fov": 0}).delete(prompt=False)
    else:
        (schemas.Session & {"eid": session.eid}).delete(prompt=False)
        ingest([session.eid], cache_dir=session.root)


@pytest.mark.parametrize("what", ["FOV", "session"])
def test_half_an_extraction_that_comes_while_the_rows_of_before_are_deleted_is_noted(session, what):
    fill(SESSION_TABLES, {"eid": session.eid})
    files = {path: path.read_bytes() for path in (session.file(TYPES).parent).iterdir()}
    delete_rows(session, what)
    reverse_rois(session, ACTIVITY, FLUORESCENCE)
    new_uuids(session.file(UUIDS))
    with pytest.warns(UserWarning, match="have changed") as warned:
        assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    new = ", ".join(f"alf/FOV_00/{name}" for name in (ACTIVITY, UUIDS))
    texts = {str(warning.message) for warning in warned}
    (note,) = {text for text in texts if "have changed" in text}
    assert note.startswith(f"session {session.eid}: files of ROIs have changed ({new}), and others have not (")
    assert all(f"alf/FOV_00/{name}" in note.split("others")[1] for name in (TYPES, POSITIONS, REGIONS, PLACES))
    assert note.endswith(f"files are still to come: then run meso update {session.eid}")
    (kept,) = mixed(session)
    assert f"files of ROIs have changed ({new}), and others have not (" in kept
    # deleted and read once more, it is what it was
    delete_rows(session, what)
    with pytest.warns(UserWarning, match="have changed"):
        fill(SESSION_TABLES, {"eid": session.eid})
    assert mixed(session) == [kept]
    reverse_rois(session, TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS)
    done = update([session.eid])
    assert (done.failures, done.notes, len(done.changes)) == ([], [], 1) and mixed(session) == []
    for path, content in files.items():
        path.write_bytes(content)
    delete_rows(session, what)
    fill(SESSION_TABLES, {"eid": session.eid})
    assert mixed(session) == []


def test_a_note_of_an_update_stays_when_the_session_is_deleted_and_registered_again(stored):
    """Its files are what they were, so that the deletion itself tells nothing."""
    reverse_rois(stored, ACTIVITY, FLUORESCENCE)
    new_uuids(stored.file(UUIDS))
    update([stored.eid])
    (kept,) = mixed(stored)
    delete_rows(stored, "session")
    assert fill(SESSION_TABLES, {"eid": stored.eid}).errors == []
    assert mixed(stored) == [kept]
    reverse_rois(stored, TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS)
    assert update([stored.eid]).notes == [] and mixed(stored) == []


@pytest.mark.parametrize("half", ["later", "noted before"])
def test_a_session_that_is_registered_again_under_another_id_is_compared_with_its_former_files(session, half):
    """Made again in Alyx, with another number."""
    fill(SESSION_TABLES, {"eid": session.eid})
    if half == "noted before":
        half_anew(session)
        update([session.eid])
    former = session.eid
    (schemas.Session & {"eid": former}).delete(prompt=False)
    again = session.folders["it"].with_name("002")
    session.folders["it"].rename(again)
    session.folders["it"] = again
    session.eids |= {"it": session_eid(LAB, *again.parts[-3:-1], 2), "former": former}
    if half == "later":
        half_anew(session)
    write_one_tables(session.root)
    ingest([session.eid], cache_dir=session.root)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    assert any("files of ROIs have changed" in str(one.message) for one in warned) == (half == "later")
    (kept,) = mixed(session)
    assert f"alf/FOV_00/{UUIDS}" in kept.split("others")[0] and f"alf/FOV_00/{TYPES}" in kept.split("others")[1]
    assert note_counts().startswith("Notes: 1 session with")
    assert update([session.eid]).failures == [] and mixed(session) == [kept]


def test_two_sessions_of_a_day_are_not_compared(session, recwarn):
    """One of them was deleted: it had files of its own."""
    session.add("other", "SRC1")
    write_one_tables(session.root)
    other = session.eids["other"]
    ingest([other], cache_dir=session.root)
    assert fill(SESSION_TABLES, {"eid": other}).errors == []
    date = (schemas.Session & {"eid": session.eid}).fetch1("session_date")
    (schemas.Session & {"eid": other}).delete(prompt=False)
    for row in (Deletion.File & {"file_eid": other}).proj().to_dicts():
        Deletion.File.update1({**row, "file_date": date})
    assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    assert mixed(session) == [] and not [one for one in recwarn if "have changed" in str(one.message)]


def test_notes_are_counted_by_status_listed_by_verify_and_shown_on_the_page(session, meso_command):
    fill(SESSION_TABLES, {"eid": session.eid})
    with statements() as sent:
        assert note_counts() == ""
    assert len(sent) == 1, "\n".join(sql[:90] for sql in sent)
    assert "Notes" not in meso_command("status").stdout
    assert page.queries.session(session.eid)["notes"] == []
    reverse_rois(session, ACTIVITY, FLUORESCENCE)
    update([session.eid])
    schemas.Wheel.Doubt.insert1({"eid": session.eid, "doubt": 0, "doubt_text": f"session {session.eid}, planted"})
    line = (
        "Notes: 1 session with files of two writings, 1 session with doubts about the wheel. They are listed by: meso"
    )
    assert note_counts() == f"{line} verify --notes"
    status = meso_command("status")
    assert status.returncode == 0 and f"{line} verify --notes" in status.stdout
    assert isinstance(json.loads(meso_command("status", "--json").stdout), list)
    with statements() as sent:
        reports.status()
        note_counts()
    assert len(sent) <= 17, "\n".join(sql[:90] for sql in sent)
    listed = meso_command("verify", "--notes", session.eid)
    mixture, doubt, total = listed.stdout.splitlines()
    assert listed.returncode == 0 and [mixture] == mixed(session) and total == "2 notes"
    assert doubt == f"doubt: Wheel, session {session.eid}: planted."
    kinds = [row["kind"] for row in json.loads(meso_command("verify", "--notes", "--json").stdout)]
    assert kinds == ["mixed", "doubt"]
    first, second = page.queries.session(session.eid)["notes"]
    assert first.startswith("files of ROIs have changed (alf/FOV_00/") and second == "planted"
    assert first.endswith(f"then run meso update {session.eid}")


def move_clock(session: OneSession) -> None:
    """Move the frame times of one FOV only, by less than a frame."""
    np.save(session.file(TIMES), np.load(session.file(TIMES)) + 0.02)


def other_trials(session: OneSession, folder: str = "") -> None:
    path = session.alf("it") / folder / TRIALS
    trials = pd.read_parquet(path)
    trials.loc[:3, "choice"] *= -1
    trials.loc[:3, "feedbackType"] *= -1
    trials.to_parquet(path)


DELETED: dict[str, tuple[Any, Callable[[OneSession], None], str]] = {
    "clock": (schemas.FOV, move_clock, "files with times"),
    "trials": (schemas.Behavior, other_trials, "files of trials"),
    "regions": (schemas.FOV, lambda session: reverse_rois(session, REGIONS), "regions and places in the brain"),
}


@pytest.mark.parametrize("part", DELETED)
def test_other_files_that_change_in_part_while_the_rows_are_deleted_are_noted(session, part):
    table, change, what = DELETED[part]
    fill(SESSION_TABLES, {"eid": session.eid})
    (table & {"eid": session.eid}).delete(prompt=False)
    change(session)
    with pytest.warns(UserWarning, match="have changed") as warned:
        assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    assert any(f"{what} have changed" in str(warning.message) for warning in warned)
    assert any(f"{what} have changed" in text for text in mixed(session))


#: Arrays that an extraction writes anew.
ROI_FILES = (TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS, ACTIVITY, FLUORESCENCE, NEUROPIL)
CORRECTED: dict[str, Callable[[OneSession], None]] = {
    "nothing": lambda session: None,
    "activity deconvolved again": lambda session: replace(session.file(ACTIVITY), lambda traces: 2 * traces),
    "aligned again": lambda session: align_again(session, 0.05, in_place=True),
    "all of an extraction": lambda session: reverse_rois(session, *ROI_FILES),
}


@pytest.mark.parametrize("what", CORRECTED)
def test_what_is_written_by_itself_while_rows_are_deleted_is_not_noted(session, what, recwarn):
    fill(SESSION_TABLES, {"eid": session.eid})
    (schemas.Session & {"eid": session.eid}).delete(prompt=False)
    CORRECTED[what](session)
    if what == "all of an extraction":
        new_uuids(session.file(UUIDS))
    ingest([session.eid], cache_dir=session.root)
    assert fill(SESSION_TABLES, {"eid": session.eid}).errors == []
    assert mixed(session) == [] and not [one for one in recwarn if "have changed" in str(one.message)]


def behaviour_later(session: OneSession) -> None:
    """Write a new alignment of trials and wheel as a revision; that of imaging is still to come."""
    alf, before = session.alf("it"), {fov: np.load(session.file(TIMES, fov)) for fov in range(2)}
    align_again(session, -0.05, in_place=False)
    for fov in before:
        shutil.rmtree(session.file(REVISION, fov))
    assert (alf / REVISION / TRIALS).exists()
    write_one_tables(session.root)


REVISED: dict[str, tuple[Callable[[OneSession], None], str, str, str]] = {
    "clocks of behaviour": (
        behaviour_later, "files with times", f"alf/{REVISION}/{WHEEL_TIMES}", f"alf/FOV_00/{TIMES}"
    ),
    "types and classifier": (
        lambda session: reverse_rois(session, TYPES, CLASSIFIER, folder=REVISION), "files of ROIs",
        f"alf/FOV_00/{REVISION}/{CLASSIFIER}", f"alf/FOV_00/{POSITIONS}",
    ),
    "regions": (
        lambda session: reverse_rois(session, REGIONS, folder=REVISION), "regions and places in the brain",
        f"alf/FOV_00/{REVISION}/{REGIONS}", f"alf/FOV_00/{PLACES}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REVISED)
def test_files_of_several_revisions_are_told_when_they_are_first_read_and_ever_after(session, what):
    write, group, newer, older = REVISED[what]
    write(session)
    with pytest.warns(UserWarning, match="are newer") as warned:
        filled = fill(SESSION_TABLES, {"eid": session.eid})
    assert filled.errors == []
    said = {str(warning.message) for warning in warned}
    assert all(text.startswith(f"session {session.eid}: {group} are newer (") for text in said)
    assert any(newer in text.split("others")[0] and older in text.split("others")[1] for text in said)
    assert all(text.endswith(f"files are still to come: then run meso update {session.eid}") for text in said)
    (kept,) = mixed(session)
    assert newer in kept.split("others")[0] and older in kept.split("others")[1]


def test_fluorescence_of_another_extraction_than_the_stored_activity_is_refused(stored):
    """Both files are new when it is asked for, and agree with each other; before, only the size was compared."""
    for name in (ACTIVITY, FLUORESCENCE):
        replace(stored.file(name), lambda traces: traces[:, ::-1].copy())
    settings = SignalSettings("fluorescence")
    schemas.SignalTask.ask([stored.eid], [settings])
    ((_, _, message),) = fill([schemas.Signal], {"eid": stored.eid, "fov": 0}).errors
    assert f"alf/FOV_00/{ACTIVITY}: the file changed since it was read" in message
    for name in (ACTIVITY, FLUORESCENCE):
        replace(stored.file(name), lambda traces: traces[:, ::-1].copy())
    for name in (ACTIVITY, FLUORESCENCE):  # as revisions: the recorded activity is still there
        stored.revise(name, lambda traces: np.asfortranarray(traces[:, ::-1]))
    retry([schemas.Signal])
    ((_, _, message),) = fill([schemas.Signal], {"eid": stored.eid, "fov": 0}).errors
    assert f"the deconvolved activity is not of the ROIs in {FLUORESCENCE}" in message
    shutil.rmtree(stored.file(REVISION))
    write_one_tables(stored.root)
    retry([schemas.Signal])
    assert fill([schemas.Signal], {"eid": stored.eid}).errors == []


def starts_in_files(session: OneSession) -> dict[str, float]:
    """Return the first time of each table of a session."""
    alf = session.alf("it")
    return {
        "trials": pd.read_parquet(alf / TRIALS)["intervals_0"][0],
        "wheel": np.load(alf / WHEEL_TIMES)[0],
        **{f"FOV_{fov:02d}": np.load(session.file(TIMES, fov))[0] for fov in range(2)},
    }


def stored_starts(eid: str) -> dict[str, float]:
    key = {"eid": eid}
    return {
        "trials": (schemas.Behavior.Trial & key & {"trial": 0}).fetch1("intervals_0"),
        "wheel": (schemas.Wheel & key).fetch1("wheel_timestamps")[0],
        **{f"FOV_{row['fov']:02d}": row["frame_times"][0] for row in (schemas.Recording & key).to_dicts()},
    }


def align_again(session: OneSession, seconds: float, in_place: bool) -> None:
    """Move all times of a session."""
    alf = session.alf("it")
    for path in [alf / WHEEL_TIMES, alf / STIM_OFF, *(session.file(TIMES, fov) for fov in range(2))]:
        np.save(revision_of(path, in_place), np.load(path) + seconds)
    table = pd.read_parquet(alf / TRIALS)
    times = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
    table.assign(**{name: table[name] + seconds for name in times}).to_parquet(revision_of(alf / TRIALS, in_place))
    write_one_tables(session.root)


def revision_of(path: Path, in_place: bool) -> Path:
    """Return where to write a dataset again."""
    if in_place:
        return path
    (path.parent / REVISION).mkdir(exist_ok=True)
    return path.parent / REVISION / path.name


@pytest.mark.parametrize("table", ["FOV", "Behavior", "Wheel"])
def test_other_files_that_change_do_not_keep_the_rest_of_a_session_from_being_read(session, table):
    """A final histology of one FOV, and positions that are gone, say nothing of time."""
    fill([schemas.FOV], {"eid": session.eid, "fov": 0})
    for name in (REGIONS, PLACES):
        shutil.copy(session.file(name), session.file(name.replace("_estimate", "")))
    write_one_tables(session.root)
    session.file(TYPES).unlink()
    assert fill([getattr(schemas, table)], {"eid": session.eid}).errors == []


def test_the_files_of_another_day_are_refused_under_the_id_of_a_session(session):
    """Tables of a ONE cache that were written again with the ids of two days exchanged."""
    session.add("other", "SRC1")
    write_one_tables(session.root)
    ids = [session.eid, session.eids["other"]]
    fill([schemas.FOV], {"eid": session.eid, "fov": 0})
    exchange_ids(session.root, *ids)
    errors = fill(SESSION_TABLES, {"eid": session.eid}).errors
    assert {table for table, _, _ in errors} == {"Behavior", "Wheel", "FOV", "Recording", "ROI"}
    for _, _, message in errors:
        assert f"session {ids[0]}: ONE has another session under this id" in message
        assert "(expected SRC1/2024-01-01/001, as registered, found SRC1/2024-01-02/001)" in message
    assert "ONE has another session under this id" in update([session.eid]).failures[0]
    assert "ONE has another session under this id" in ingest([session.eid], cache_dir=session.root).failed[session.eid]


def test_an_id_that_one_does_not_take_is_refused_when_a_session_is_registered(session):
    """ONE lists a session with a UUID of version 5, and finds no file of it."""
    eid = str(uuid.uuid5(uuid.NAMESPACE_DNS, session.eid))
    exchange_ids(session.root, session.eid, eid)
    message = ingest([eid], cache_dir=session.root).failed[eid]
    assert f"session {eid}: ONE finds no folder of a session with this id" in message and "version 3 or 4" in message


def exchange_ids(root: Path, one: str, other: str) -> None:
    """Exchange two sessions in the tables of a ONE cache."""
    from iblutil.io import parquet

    for name in ("sessions", "datasets"):
        table = pd.read_parquet(root / f"{name}.pqt")
        plain, levels = table.reset_index(), list(table.index.names)
        column = levels[0]
        plain[column] = plain[column].replace({one: other, other: one})
        parquet.save(root / f"{name}.pqt", plain.set_index(levels), {"date_created": "2026-01-01 00:00"})


# ---------------------------------------------------------------- what one would give now


def test_what_would_be_read_is_what_was_read(stored):
    """The lists of datasets, and what the readers do."""
    for content in (False, True):
        assert changed_rows(stored.eid, content=content) == []


def of_another_day(session: OneSession, change: Callable[[pd.DataFrame], pd.DataFrame]) -> tuple[str, str]:
    """Give the session the trials of another day, read the other day, and return the ids of both."""
    session.add("other", "SRC1")
    path = next(session.alf("other").rglob(TRIALS))
    place = session.alf("it") / path.relative_to(session.alf("other"))
    change(pd.read_parquet(path)).to_parquet(place)
    for beside in path.parent.glob("_ibl_trials.*.npy"):
        place.with_name(beside.name).unlink()
    write_one_tables(session.root)
    ingest([session.eids["other"]], cache_dir=session.root)
    assert fill([schemas.Behavior], {"eid": session.eids["other"]}).errors == []
    return session.eid, session.eids["other"]


def shifted(table: pd.DataFrame) -> pd.DataFrame:
    times = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
    return table.assign(**{name: table[name] + 1.7 for name in times}).iloc[:-3]


@pytest.mark.parametrize("change", [lambda table: table.round(3), shifted], ids=["rounded to ms", "at other times"])
def test_the_trials_of_another_day_are_refused_whatever_their_times(session, change):
    """Through a CSV; or on the clock of this day, without the last trials."""
    eid, other = of_another_day(session, change)
    ((_, _, message),) = fill([schemas.Behavior], {"eid": eid}).errors
    assert f"{TRIALS}: is a copy of a file that has been read" in message
    assert f"of session {other}" in message


def test_days_with_the_same_stimuli_are_read(session):
    """Sequences that were drawn in advance: the mouse chose otherwise on one trial."""

    def other_choice(table: pd.DataFrame) -> pd.DataFrame:
        table = shifted(table).copy()
        table.loc[table.index[30], ["choice", "feedbackType"]] *= -1
        return table

    eid, _ = of_another_day(session, other_choice)
    assert fill([schemas.Behavior], {"eid": eid}).errors == []


def test_the_clocks_of_another_day_are_refused_although_they_were_rounded(session):
    session.add("other", "SRC1")
    for name in (TIMES, WHEEL_TIMES):
        for path in session.alf("other").rglob(name):
            np.save(session.alf("it") / path.relative_to(session.alf("other")), np.load(path).round(3))
    without_trials(session)
    write_one_tables(session.root)
    ingest([session.eids["other"]], cache_dir=session.root)
    fill([schemas.Wheel, schemas.FOV], {"eid": session.eids["other"]})
    errors = fill([schemas.Wheel, schemas.FOV], {"eid": session.eid}).errors
    assert sorted(table for table, _, _ in errors) == ["FOV", "FOV", "Wheel"]
    assert all("is a copy of a file that has been read" in message for _, _, message in errors)


@pytest.mark.parametrize("kind", ["size", "content", "gone", "hash"])
def test_kinds_of_changes(session, kind):
    fill([schemas.FOV], {"eid": session.eid})
    path = session.file(TIMES)
    if kind == "size":
        np.save(path, np.load(path)[:-1])
    elif kind == "content":
        replace(path, lambda times: times + 1)
    elif kind == "gone":
        path.unlink()
    else:
        table = pd.read_parquet(session.root / "datasets.pqt")
        schemas.FOV.Source.connection.query(
            f"UPDATE {schemas.FOV.Source.full_table_name} SET one_hash = 'a' WHERE dataset = 'alf/FOV_00/{TIMES}'"
        )
        from iblutil.io import parquet

        table.loc[table["rel_path"] == f"alf/FOV_00/{TIMES}", "hash"] = "b"
        parquet.save(session.root / "datasets.pqt", table, {"date_created": "2026-01-01 00:00"})
    ((row, *_),) = (changed_rows(session.eid, content=True),)
    assert (row.table, row.key) == ("FOV", {"eid": session.eid, "fov": 0})
    assert [(change.dataset, change.kind) for change in row.changes] == [(f"alf/FOV_00/{TIMES}", kind)]
    cheap = [change.kind for row in changed_rows(session.eid, content=False) for change in row.changes]
    assert cheap == ([] if kind == "content" else [kind])


def test_ingest_of_a_known_session_says_what_changed(stored, meso_command):
    stored.revise(TIMES, lambda times: times + 5, fov=1)
    done = meso_command("ingest", stored.eid, "--cache-dir", stored.root)
    assert done.returncode == 0, done.stderr
    assert f"session {stored.eid}, FOV_01: alf/FOV_01/{TIMES}: revision" in done.stderr
    assert f"alf/FOV_01/{REVISION}/{TIMES}, was original" in done.stderr
    assert f"meso update {stored.eid}" in done.stderr
    assert done.stdout.strip() == "0 new, 1 known, 0 failed"


def describe(session: OneSession, **columns: str) -> None:
    """Give the sessions other values in the table of ONE."""
    from iblutil.io import parquet

    table, _ = parquet.load(session.root / "sessions.pqt")
    parquet.save(session.root / "sessions.pqt", table.assign(**columns), {"date_created": "2026-01-01 00:00"})


def test_ingest_of_a_known_session_takes_protocol_and_projects_of_one(session, meso_command):
    """``meso ndc --protocol`` chooses by them; a cache that has none changes nothing."""
    before, key = set(schemas.Deletion.to_arrays("deletion")), {"eid": session.eid}
    former = (schemas.Session & key).fetch1()
    for i in range(2):
        describe(session, task_protocol="_iblrig_tasks_passiveChoiceWorld8", projects="other")
        done = meso_command("ingest", session.eid, "--cache-dir", session.root)
        assert done.returncode == 0, done.stderr
        told = (
            f"task_protocol '_iblrig_tasks_passiveChoiceWorld8', was '{former['task_protocol']}'; projects 'other', was"
        )
        assert (told in " ".join(done.stderr.split())) == (i == 0)
        describe(session, task_protocol="", projects="")
    meso_command("ingest", session.eid, "--cache-dir", session.root)
    expected = {**former, "task_protocol": "_iblrig_tasks_passiveChoiceWorld8", "projects": "other"}
    assert (schemas.Session & key).fetch1() == expected
    (record,) = [row for row in schemas.Deletion.to_dicts() if row["deletion"] not in before]
    assert (record["deleted_table"], record["deleted_keys"]) == ("Session", [key])
    assert told in record["deletion_reason"]


# ---------------------------------------------------------------- verify


def test_verify_compares_every_recorded_file(stored):
    TrackingRun.register("SRC1")
    done = verify_session(stored.eid, source=True)
    assert done.ok, done.findings
    assert done.files == len(schemas.FOV.Source & {"eid": stored.eid}) + 5
    for name in (TIMES, SHIFT, TYPES, POSITIONS, REGIONS, PLACES, UUIDS, UIDS, TRIALS, WHEEL):
        (path,) = stored.alf("it").rglob(f"{'FOV_00/' if name.startswith('mpci') else ''}{name}")
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b"\x01")
        (finding,) = verify_session(stored.eid, source=True).findings
        assert finding.kind == "changed", name
        assert name in str(finding)
        path.unlink()
        (finding,) = verify_session(stored.eid, source=True).findings
        assert finding.kind == "no file", name
        assert name in str(finding)
        path.write_bytes(whole)
    assert verify_session(stored.eid, source=True).ok


def test_verify_compares_values_with_the_files(stored, database):
    for table, column, where in (
        ("ROI", "region_id", "roi = 3 AND fov = 0"), ("ROI", "ml", "roi = 3 AND fov = 0"),
        ("ROI", "roi_type", "roi = 3 AND fov = 0"), ("FOV", "imaging_end", "fov = 0"),
        ("Behavior.Trial", "stim_on_times", "trial = 4"), ("Behavior", "n_trials", "n_trials > 0"),
    ):  # fmt: skip
        owner, _, part = table.partition(".")
        rows = getattr(schemas, owner)
        query = (getattr(rows, part) if part else rows) & {"eid": stored.eid} & where
        before = query.fetch1(column)
        change = f"UPDATE {query.full_table_name} SET {column} = %s WHERE eid = %s AND {where}"
        database.query(change, args=(None if column == "region_id" else float(before) + 1, stored.eid))
        assert verify_session(stored.eid).ok, column
        (finding,) = verify_session(stored.eid, source=True).findings
        assert (finding.kind, finding.table) == ("differs", table)
        assert column in str(finding)
        database.query(change, args=(before, stored.eid))
    assert verify_session(stored.eid, source=True).ok


def test_verify_says_what_cannot_be_compared(stored, database):
    database.query(f"DELETE FROM {schemas.Wheel.Source.full_table_name} WHERE eid = '{stored.eid}'")
    (finding,) = verify_session(stored.eid, source=True).findings
    assert (finding.kind, finding.table) == ("no file", "Wheel.Source")
    assert "no file was recorded for this row" in str(finding)


def test_the_activity_of_a_repaired_cache_is_compared_by_the_command(stored, meso_command):
    whole = stored.file(ACTIVITY).read_bytes()
    replace(stored.file(ACTIVITY), lambda traces: traces[::-1].copy())
    done = meso_command("verify", stored.eid, "--source", "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["kind"], finding["table"]) == ("changed", "FOV.Source")
    stored.file(ACTIVITY).write_bytes(whole)
    assert meso_command("verify", stored.eid, "--source").returncode == 0
