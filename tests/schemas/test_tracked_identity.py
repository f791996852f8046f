"""UIDs that give cells a wrong identity are refused: in another order, of another mouse, of ROIs that were replaced."""

from __future__ import annotations

import ast
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datajoint as dj
import numpy as np
import pytest
from support.broken_sessions import Repository, remove
from support.corpus import POSITIONS, SILHOUETTE, UIDS
from support.statements import statements

import schemas
from pipeline.demo.repository import LAB, session_eid, write_demo_repository, write_one_tables
from pipeline.errors import DataError
from pipeline.tracking import uids as tracking
from pipeline.tracking.uids import mirror_folder
from populate_scripts.ingest import ingest
from schemas.tracking import RegisteredUIDs, TrackingRun
from schemas.upkeep.update import update
from schemas.work.filling import fill
from schemas.work.reports import retry

MOUSE, OTHER = "ID01", "ID02"
Change = Callable[[list[str]], list[str]]


@dataclass
class Mouse(Repository):
    """Four days of one FOV, in which 40 cells are tracked on all days."""

    def uid_file(self, day: int) -> Path:
        return self.folders[f"{MOUSE} {day}"] / "alf" / "FOV_00" / UIDS

    def eid(self, day: int, subject: str = MOUSE) -> str:
        return self.eids[f"{subject} {day}"]

    def tree(self, root: Path, changes: dict[int, Change], days: range = range(4), subject: str = MOUSE) -> Path:
        """Write a tree of UID files, with the lines of some days changed; return its root."""
        for day in days:
            alf = self.folders[f"{subject} {day}"] / "alf"
            date, number = alf.parts[-3:-1]
            folder = mirror_folder(root, subject, date, int(number)) / "FOV_00"
            folder.mkdir(parents=True, exist_ok=True)
            lines = (self.folders[f"{MOUSE} {day}"] / "alf" / "FOV_00" / UIDS).read_text().splitlines()
            write(folder / UIDS, changes.get(day, list)(lines))
        return root


def write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def shuffled(lines: list[str]) -> list[str]:
    return [lines[i] for i in np.random.default_rng(0).permutation(len(lines))]


def renamed(lines: list[str]) -> list[str]:
    """Return other UIDs, as of another run of ROICaT."""
    return [str(uuid.uuid5(uuid.NAMESPACE_OID, line)) if tracking.is_uid(line, "uuid") else line for line in lines]


@pytest.fixture(scope="module")
def read(database, tmp_path_factory) -> Iterator[Mouse]:
    """Return a mouse, and another with the same files but UIDs of its own, whose ROIs are in the database."""
    root = tmp_path_factory.mktemp("identity") / "one"
    made = write_demo_repository(root, seed=7, n_days=4, n_fovs=1, n_trials=20, n_shared=40, rois_per_fov=110)
    repository = Mouse(root, root)
    first = root / LAB / "Subjects" / MOUSE
    next(made.root.glob("*/Subjects/*")).rename(first)
    for subject in (MOUSE, OTHER):
        for day, source in enumerate(sorted(first.glob("*/001"))):
            folder = root / LAB / "Subjects" / subject / source.parent.name / "001"
            if subject == OTHER:
                shutil.copytree(source, folder)
                as_another(folder / "alf" / "FOV_00")
            repository.folders[f"{subject} {day}"] = folder
            repository.eids[f"{subject} {day}"] = session_eid(LAB, subject, source.parent.name, 1)
    write_one_tables(root)
    eids = list(repository.eids.values())
    ingest(eids, cache_dir=root)
    assert fill([schemas.FOV, schemas.ROI], [{"eid": eid} for eid in eids]).errors == []
    yield repository
    remove(repository)


def as_another(fov: Path) -> None:
    """Give a copied FOV times and activity of its own; it keeps positions, and has other uuids and UIDs."""
    np.save(fov / "mpci.times.npy", np.load(fov / "mpci.times.npy") + 0.05)
    for path in fov.glob("mpci.ROIActivity*.npy"):
        np.save(path, np.asfortranarray(np.load(path) + np.float32(0.5)))
    header, *lines = (fov / "mpciROIs.uuids.csv").read_text().splitlines()
    (fov / "mpciROIs.uuids.csv").write_text("\n".join([header, *renamed(lines)]))
    write(fov / UIDS, renamed((fov / UIDS).read_text().splitlines()))


@pytest.fixture
def mouse(read) -> Iterator[Mouse]:
    yield read
    subjects = [{"subject": MOUSE}, {"subject": OTHER}]
    (TrackingRun & subjects).delete()
    (RegisteredUIDs & subjects).delete()
    for table in (schemas.TrackedCell, schemas.TrackedFOV):
        (table.jobs & subjects).delete_quick()


def track(root: Path | None = None, subject: str = MOUSE, **words) -> tuple[dict, dict[str, str]]:
    """Register UID files and match them; return the run, and the errors of TrackedFOV by session."""
    run = TrackingRun.register(subject, root, **words)
    retry([schemas.TrackedFOV], **run)
    fill([schemas.TrackedCell], run)
    return run, {key["eid"]: message for _, key, message in fill([schemas.TrackedFOV], run).errors}


# --------------------------------------------------------------------------------------- in another order on one day


@pytest.mark.one_backend  # other tests send its statements on both
def test_uids_of_a_day_in_another_order_are_refused_at_the_first_registration(mouse, tmp_path):
    run, errors = track(mouse.tree(tmp_path, {2: shuffled}))
    assert list(errors) == [mouse.eid(2)]
    message = errors[mouse.eid(2)]
    assert "the UIDs put cells at other places of the image than those of another day" in message
    assert "less is explained with 3 of the 3 FOVs that share cells with it" in message
    assert set((schemas.TrackedFOV & run).to_arrays("eid")) == {mouse.eid(day) for day in (0, 1, 3)}


@pytest.mark.one_backend  # other tests send its statements on both
def test_of_two_days_that_disagree_both_are_named(mouse, tmp_path):
    run, errors = track(mouse.tree(tmp_path, {1: shuffled}, range(2)))
    eids = [mouse.eid(day) for day in range(2)]
    assert set(errors) == set(eids)
    for eid, other in zip(eids, eids[::-1], strict=True):
        assert f"with session {other}, FOV_00; less is explained with 1 of the 1 FOVs" in errors[eid]
    assert not schemas.TrackedFOV & run


SOUND: dict[str, dict[int, Change]] = {
    "as they are": {},
    "a day of another run of ROICaT": {1: renamed},
    "a day without cells": {1: lambda lines: [""] * len(lines)},
    "a day with few cells": {1: lambda lines: [line if i < 12 else "" for i, line in enumerate(lines)]},
    "two cells exchanged": {1: lambda lines: [lines[1], lines[0], *lines[2:]]},
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.one_backend) if SOUND[kind] else kind for kind in SOUND]
)
def test_sound_uids_are_tracked(mouse, tmp_path, kind):
    run, errors = track(mouse.tree(tmp_path, SOUND[kind]))
    assert errors == {} and len(schemas.TrackedFOV & run) == 4


def test_a_day_that_was_tracked_before_the_others_tell_is_named_by_them(mouse, tmp_path):
    run = TrackingRun.register(MOUSE, mouse.tree(tmp_path, {0: shuffled}))
    fill([schemas.TrackedCell], run)
    later = [mouse.eid(day) for day in (1, 2, 3)]
    rows = [table & [{"eid": eid} for eid in later] for table in (schemas.FOV.Source, schemas.FOV.Region, schemas.ROI)]
    assert all(map(len, rows))
    kept = {eid: (schemas.TrackingFile & run & {"eid": eid}).to_dicts() for eid in later}
    (schemas.TrackingFile & run & [{"eid": eid} for eid in later]).delete()
    assert fill([schemas.TrackedFOV], run).errors == []
    schemas.TrackingFile.insert(row for files in kept.values() for row in files)
    errors = {key["eid"]: message for _, key, message in fill([schemas.TrackedFOV], run).errors}
    assert set(errors) == set(later)
    key = {"eid": mouse.eid(0), "fov": 0}
    assert all(f"were tracked before: (schemas.TrackedFOV & [{key}]).delete()" in text for text in errors.values())
    (schemas.TrackedFOV & [key]).delete()
    assert list(track(tmp_path)[1]) == [mouse.eid(0)]


def test_a_person_can_say_that_cells_are_at_other_places_on_a_day(mouse, tmp_path, meso_command):
    """Of the file as it is: of another one, it has not been said."""
    root = mouse.tree(tmp_path / "one", {1: shuffled}, range(2))
    run, errors = track(root)
    place = f"{mouse.eid(1)}:FOV_00"
    assert f"meso track {MOUSE} --other-places {place}" in errors[mouse.eid(1)]
    words = ("track", MOUSE, "--uid-root", root, "--other-places")
    assert "--other-places takes a session, or a FOV" in meso_command(*words, f"{mouse.eid(1)}:FOV_x").stderr
    wrong = meso_command(*words, mouse.eid(3))
    assert wrong.returncode == 1 and "said to have other places" in wrong.stderr and not schemas.TrackedFOV & run
    done = meso_command(*words, place)
    assert done.returncode == 0, done.stderr
    said = f"Session {mouse.eid(1)}, FOV_00: the UIDs are taken to be right, wherever cells are on other days"
    assert said in done.stdout and len(schemas.TrackedFOV & run) == 2
    (row,) = (RegisteredUIDs.OtherPlaces & {"subject": MOUSE}).to_dicts()
    assert (row["eid"], row["said_by"]) == (mouse.eid(1), schemas.connect().get_user())
    assert len(row["uid_sha256"]) == 64 and row["said_at"]
    another = {1: lambda lines: shuffled(shuffled(lines))}
    assert mouse.eid(1) in track(mouse.tree(tmp_path / "other", another, range(3)))[1]


def test_rois_that_are_not_those_of_the_file_say_nothing_of_other_days(mouse, tmp_path):
    """Of two days, one has a file of another extraction with as many ROIs: only that one is refused."""
    run = TrackingRun.register(MOUSE, mouse.tree(tmp_path, {1: shuffled}, range(2)))
    schemas.TrackingFile.update1({**run, "eid": mouse.eid(1), "fov": 0, "uid_rois": "0" * 64})
    fill([schemas.TrackedCell], run)
    for eid in (mouse.eid(0), mouse.eid(1)):  # one by one: of a FOV of another job the positions are not read at first
        errors = [message for _, _, message in fill([schemas.TrackedFOV], run, {"eid": eid}).errors]
        assert len(errors) == (eid == mouse.eid(1))
    assert "the UIDs were registered with other ROIs than the FOV has" in errors[0]


def test_days_are_compared_in_a_fixed_number_of_statements(mouse, tmp_path):
    numbers = []
    for days in (range(2), range(4)):
        run = TrackingRun.register(MOUSE, mouse.tree(tmp_path / str(days.stop), {}, days))
        fill([schemas.TrackedCell], run)
        with statements() as sent:
            assert fill([schemas.TrackedFOV], run).errors == []
        numbers.append(len(sent))
    assert numbers[0] == numbers[1] < 40


# ------------------------------------------------------------------------------ other lines in a later registration


def first_of_one_day(mouse: Mouse, root: Path) -> None:
    assert track(mouse.tree(root, {}, range(1)))[1] == {}


def test_the_same_uids_on_other_lines_contradict_the_first_registration(mouse, tmp_path):
    first_of_one_day(mouse, tmp_path / "first")
    root = mouse.tree(tmp_path / "second", {0: shuffled}, range(1))
    (message,) = track(root)[1].values()
    assert "the UIDs are those that were registered before, for other ROIs of the FOV" in message
    said = re.search(r"\(schemas.RegisteredUIDs & ({.*})\).delete\(\)", message)
    former = RegisteredUIDs & ast.literal_eval(said[1])
    assert len(former) == 1
    former.delete()
    assert track(root)[1] == {}  # the former was wrong


@pytest.mark.parametrize(
    "change",
    [
        renamed,
        lambda lines: [line.upper() for line in lines],
        lambda lines: [line if i % 3 else "" for i, line in enumerate(lines)],
        lambda lines: [*lines[9::-1], *lines[10:]],
    ],
    ids=["a new run", "capitals", "filtered", "some corrected"],
)
@pytest.mark.one_backend  # UIDs are compared in Python; others here are refused and tracked on both
def test_files_that_were_edited_or_made_anew_are_tracked(mouse, tmp_path, change):
    first_of_one_day(mouse, tmp_path / "first")
    assert track(mouse.tree(tmp_path / "second", {0: change}, range(1)))[1] == {}


@pytest.mark.one_backend  # UIDs are compared in Python; others here are refused and tracked on both
def test_a_correction_that_other_days_confirm_is_tracked(mouse, tmp_path):
    assert track(mouse.tree(tmp_path / "first", {0: shuffled}, range(1)))[1] == {}
    run, errors = track(mouse.tree(tmp_path / "second", {}))
    assert errors == {} and len(schemas.TrackedFOV & run) == 4


# ---------------------------------------------------------------------------------------------------- of another mouse


@pytest.mark.parametrize("part", [1, pytest.param(2, marks=pytest.mark.one_backend)])
@pytest.mark.one_backend  # other tests send its statements on both
def test_uids_of_another_mouse_are_refused_and_it_is_named(mouse, tmp_path, part):
    """All of them, or every second cell; saved again, with other line ends."""
    assert track()[1] == {}
    assert track(subject=OTHER)[1] == {}
    changes: dict[int, Change] = dict.fromkeys(range(4), renamed)
    changes[1] = lambda lines: [line if i % part == 0 else renamed([line])[0] for i, line in enumerate(lines)]
    _, errors = track(mouse.tree(tmp_path, changes, subject=OTHER), OTHER)
    assert list(errors) == [mouse.eid(1, OTHER)]
    message = errors[mouse.eid(1, OTHER)]
    assert f"the UIDs are those of another mouse, {MOUSE}" in message
    assert f"UIDs of session {mouse.eid(1)}, FOV_00, of {MOUSE}" in message or part == 2
    assert f"run: meso track {OTHER}" in message


@pytest.mark.one_backend  # UIDs are compared in Python; others here are refused and tracked on both
def test_words_may_be_those_of_other_mice(mouse, tmp_path):
    def words(lines: list[str]) -> list[str]:
        return [f"cell {line[:6]}" if tracking.is_uid(line, "uuid") else "" for line in lines]

    changes = dict.fromkeys(range(4), words)
    for subject in (MOUSE, OTHER):
        root = mouse.tree(tmp_path, changes, subject=subject)
        assert track(root, subject, uid_form="any")[1] == {}


# -------------------------------------------------------------------------------------- replaced while they are tracked


@pytest.fixture
def elsewhere(mouse) -> Iterator[Callable[[str], None]]:
    """Return a function that commits a change in a connection of its own."""
    info = schemas.FOV.connection.conn_info
    other = dj.Connection(info["host"], info["user"], info["passwd"], port=info["port"])
    yield other.query
    other.close()


@pytest.mark.parametrize("how", ["with others", "alone"])
def test_a_fov_that_is_replaced_while_it_is_tracked_is_not_tracked_with_its_former_rois(
    mouse, elsewhere, monkeypatch, how
):
    """Of several together, each is tried again by itself: then the new ROIs are seen to be others."""
    run = TrackingRun.register(MOUSE)
    fill([schemas.TrackedCell], run)
    place, matched, once = f"eid = '{mouse.eid(1)}' AND fov = 0", schemas.tracking.tracked_rois, []
    rois, sources = schemas.ROI.full_table_name, schemas.FOV.Source.full_table_name
    positions = f"{place} AND dataset = 'alf/FOV_00/{POSITIONS}'"
    recorded = (schemas.FOV.Source & positions).fetch1("sha256")

    def replace(by: int, sha256: str) -> None:
        elsewhere(f"UPDATE {rois} SET stack_x = stack_x + {by} WHERE {place}")
        elsewhere(f"UPDATE {sources} SET sha256 = '{sha256}' WHERE {positions}")

    def replaced_meanwhile(file: dict) -> tuple:
        if not once:  # after the positions were read, and before the rows are inserted
            once.append(replace(1, "0" * 64))
        return matched(file)

    monkeypatch.setattr(schemas.tracking, "tracked_rois", replaced_meanwhile)
    only = {"eid": mouse.eid(1)} if how == "alone" else {}
    try:
        ((_, key, message),) = fill([schemas.TrackedFOV], run, only).errors
        assert key["eid"] == mouse.eid(1)
        assert len(schemas.TrackedFOV & run) == (0 if how == "alone" else 3)
        if how == "alone":
            assert f"FOV_00, alf/FOV_00/{POSITIONS}: another process read the FOV again, or deleted it" in message
            assert f"meso track {MOUSE}" in message
        else:
            assert "the UIDs were registered with other ROIs than the FOV has" in message
    finally:
        replace(-1, recorded)
    assert track()[1] == {}


def test_positions_that_are_replaced_while_uids_are_read_are_refused(mouse, monkeypatch):
    path = mouse.uid_file(1).with_name(POSITIONS)
    whole, read = path.read_bytes(), tracking.read_session

    def replaced_meanwhile(one, eid: str, collection: str):
        found = read(one, eid, collection)
        if eid == mouse.eid(1):
            np.save(path, np.load(path)[::-1].copy())
        return found

    monkeypatch.setattr(tracking, "read_session", replaced_meanwhile)
    try:
        with pytest.raises(DataError, match="positions of the ROIs were replaced while the UIDs were read") as error:
            TrackingRun.register(MOUSE)
    finally:
        path.write_bytes(whole)
    assert mouse.eid(1) in str(error.value) and not TrackingRun & {"subject": MOUSE}


# ----------------------------------------------------------------------------------------------------- changed in ONE


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (UIDS, shuffled, "the UIDs put cells at other places of the image than those of another day"),
        (UIDS, lambda lines: lines[1:], "the UID file does not fit the FOV"),
        (UIDS, lambda lines: [f"{line},1" for line in lines], "not cell UIDs"),
        (SILHOUETTE, lambda values: values[1:], "the number of silhouettes is not that of the ROIs"),
        (SILHOUETTE, lambda values: values * 100, "not silhouettes"),
    ],
    ids=["order", "lines", "form", "silhouettes", "unit"],
)
@pytest.mark.one_backend  # files are compared without the server; test_update.py runs on both
def test_changed_files_that_do_not_fit_leave_the_tracking_run(mouse, name, change, says):
    run, errors = track()
    assert errors == {}
    path = mouse.uid_file(2).with_name(name)
    whole = path.read_bytes()
    try:
        if name == UIDS:
            write(path, change(path.read_text().splitlines()))
        else:
            np.save(path, change(np.load(path)))
        done = update([mouse.eid(0)])
        (failure,) = done.failures
        assert failure.startswith(f"the UIDs of {MOUSE} stay as they are: ") and says in failure
        assert mouse.eid(2) in failure
        assert done.update_id == "" and (TrackingRun & {"subject": MOUSE}).fetch1("tracking_run") == run["tracking_run"]
        assert len(schemas.TrackedFOV & run) == 4
    finally:
        path.write_bytes(whole)


def test_changed_files_that_fit_become_a_tracking_run(mouse):
    run, _ = track()
    path = mouse.uid_file(2)
    whole = path.read_bytes()
    try:
        write(path, [line if i % 5 else "" for i, line in enumerate(path.read_text().splitlines())])
        done = update([mouse.eid(0)])
        assert done.failures == []
        assert len(TrackingRun & {"subject": MOUSE}) == 2 and len(schemas.TrackedFOV & run) == 4
    finally:
        path.write_bytes(whole)
