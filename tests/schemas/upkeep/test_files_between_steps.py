"""What a lab does between two steps, as an independent person thought of it: each is refused, or said."""

from __future__ import annotations

import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support.broken_sessions import Repository, copy_session, made_session, new_uuids
from support.corpus import (
    ACTIVITY,
    CLASSIFIER,
    PLACES,
    POSITIONS,
    REGIONS,
    SHIFT,
    TIMES,
    TRIALS,
    TYPES,
    UIDS,
    UUIDS,
    WHEEL,
    WHEEL_TIMES,
)
from support.filled import Rows

from pipeline.demo.repository import LAB, session_eid, write_one_tables
from pipeline.errors import DataError
from pipeline.reading.fov import NEUROPIL, SIGNALS
from pipeline.settings.signals import SignalSettings
from pipeline.tracking.uids import SILHOUETTE
from populate_scripts.ingest import ingest
from schemas.exchange.verify import verify_session
from schemas.imaging.reading import fov_traces
from schemas.imaging.signals import Signal, SignalTask
from schemas.imaging.tables import FOV
from schemas.queries.tracking_runs import tracking_run_of_sessions
from schemas.session import Session
from schemas.upkeep.deletion import delete_sessions
from schemas.upkeep.mixtures import note_counts, notes_of
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill
from schemas.work.reports import errors, retry

pytestmark = pytest.mark.one_backend  # files are compared without the server

FLUORESCENCE = SIGNALS["fluorescence"]
OF_FOV = (ACTIVITY, FLUORESCENCE, NEUROPIL, TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS)
HALF = (TYPES, CLASSIFIER)
OTHER_ROIS = f"the deconvolved activity is not of the ROIs in {FLUORESCENCE}"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return made_session(tmp_path_factory.mktemp("template"), rois_per_fov=200)


@pytest.fixture(scope="module")
def rows(database) -> Rows:
    return Rows()


@pytest.fixture
def lab(rows, template, tmp_path) -> Iterator[Repository]:
    """A repository with one session of a mouse, which is registered."""
    made = Repository(tmp_path / "one", template)
    made.add("it", "STEP1")
    write_one_tables(made.root)
    ingest([made.eids["it"]], cache_dir=made.root)
    yield made
    rows.take_away(made)
    assert errors() == []


def fov_of(lab: Repository) -> Path:
    return lab.alf("it") / "FOV_00"


def register_again(lab: Repository) -> None:
    """Register the session with its files as they are."""
    (Session & {"eid": lab.eids["it"]}).delete()
    ingest([lab.eids["it"]], cache_dir=lab.root)


def other_order(n_rois: int) -> np.ndarray:
    return np.random.default_rng(5).permutation(n_rois)


def extract_again(fov: Path) -> None:
    """Give a FOV the files of another extraction: as many ROIs in another order, with other uuids."""
    order = other_order(len(np.load(fov / POSITIONS)))
    for path in fov.glob("mpciROIs.*.npy"):
        np.save(path, np.load(path)[order])
    for name in (ACTIVITY, FLUORESCENCE, NEUROPIL):
        np.save(fov / name, np.asfortranarray(np.load(fov / name)[:, order]))
    new_uuids(fov / UUIDS, 77)


def copied_in_part(path: Path, before: bytes, share: float) -> None:
    """Put back the end of a file: a copy over it, such as by rsync --inplace, was cut off."""
    new = path.read_bytes()
    assert len(new) == len(before)
    path.write_bytes(new[: int(share * len(new))] + before[int(share * len(new)) :])


@pytest.mark.parametrize(
    ("share", "problem"),
    [
        (0.5, OTHER_ROIS),
        (0.85, OTHER_ROIS),
        (0.97, "a part of the ROIs has the activity of"),
    ],
)
def test_activity_that_was_copied_in_part_over_a_former_one_is_refused(lab, share, problem):
    """The first ROIs are of the new extraction, and so are all other files."""
    fov, eid = fov_of(lab), lab.eids["it"]
    before = (fov / ACTIVITY).read_bytes()
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    stored = np.load(fov / ACTIVITY)
    extract_again(fov)
    copied_in_part(fov / ACTIVITY, before, share)
    (failure,) = update([eid]).failures
    assert f"{ACTIVITY}: {problem}" in failure
    np.testing.assert_array_equal(fov_traces(eid, 0, np.arange(stored.shape[1])), stored.T)


@pytest.mark.parametrize(("share", "problem"), [
    (0.05, "a part of the ROIs has the activity of before"), (0.15, OTHER_ROIS), (0.28, OTHER_ROIS),
])  # fmt: skip
def test_activity_of_which_a_part_came_alone_is_refused_until_the_rest_has_come(lab, share, problem):
    """The copy was cut off in its first file: too few of the ROIs are others for the fluorescence to tell."""
    fov, eid = fov_of(lab), lab.eids["it"]
    former = {path: path.read_bytes() for path in fov.iterdir() if path.is_file()}
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    extract_again(fov)
    new = {path: path.read_bytes() for path in former}
    for path in former:
        if path.name == ACTIVITY:
            copied_in_part(path, former[path], share)
        else:
            path.write_bytes(former[path])
    (failure,) = update([eid]).failures
    assert f"FOV_00, alf/FOV_00/{ACTIVITY}: {problem}" in failure
    assert (f"If it is whole: meso delete {eid}" in failure) == (problem != OTHER_ROIS)
    for path in former:
        path.write_bytes(new[path])
    done = update([eid])
    assert (done.failures, done.notes) == ([], [])
    traces = np.load(fov / ACTIVITY)
    np.testing.assert_array_equal(fov_traces(eid, 0, np.arange(traces.shape[1])), traces.T)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.85])
def test_activity_of_two_extractions_is_refused_when_it_is_first_read(lab, share):
    fov, eid = fov_of(lab), lab.eids["it"]
    before = (fov / ACTIVITY).read_bytes()
    extract_again(fov)
    copied_in_part(fov / ACTIVITY, before, share)
    errors = fill(SESSION_TABLES, {"eid": eid}).errors
    assert [(table, key["fov"]) for table, key, _ in errors] == [("FOV", 0)]
    assert OTHER_ROIS in errors[0][2]


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_activity_in_the_other_order_that_was_copied_in_part_is_refused(lab, share):
    """Frame after frame: the first frames are deconvolved again, in all ROIs, and the last ones are not."""
    fov, eid = fov_of(lab), lab.eids["it"]
    traces = np.load(fov / ACTIVITY)
    np.save(fov / ACTIVITY, np.ascontiguousarray(traces))
    register_again(lab)
    before = (fov / ACTIVITY).read_bytes()
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    np.save(fov / ACTIVITY, np.ascontiguousarray(traces * 1.25))
    copied_in_part(fov / ACTIVITY, before, share)
    (failure,) = update([eid]).failures
    assert f"{ACTIVITY}: a part of the frames has the activity of before" in failure
    np.save(fov / ACTIVITY, np.ascontiguousarray(traces * 1.25))
    assert update([eid]).failures == []


def ask_signal(eid: str, kind: str) -> None:
    SignalTask.ask([eid], [SignalSettings(kind)])
    assert fill([Signal], {"eid": eid}).errors == []


@pytest.mark.parametrize(("kind", "name", "order"), [
    ("fluorescence", FLUORESCENCE, "F"), ("dff", FLUORESCENCE, "F"), ("dff", NEUROPIL, "F"), ("dff", FLUORESCENCE, "C"),
])  # fmt: skip
def test_fluorescence_and_neuropil_that_were_copied_in_part_are_refused(lab, kind, name, order):
    """A signal was made of them; the first ones are scaled, so that they are of their ROIs."""
    fov, eid = fov_of(lab), lab.eids["it"]
    traces = np.load(fov / name)
    np.save(fov / name, np.asarray(traces, order=order))
    register_again(lab)
    before = (fov / name).read_bytes()
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    ask_signal(eid, kind)
    np.save(fov / name, np.asarray(traces * np.float32(1.25), order=order))
    copied_in_part(fov / name, before, 0.5)
    (failure,) = update([eid]).failures
    assert f"a part of the {'ROIs' if order == 'F' else 'frames'} has the activity of before" in failure
    np.save(fov / ACTIVITY, np.load(fov / ACTIVITY, mmap_mode="r") * np.float32(0.5))  # the FOV is read again, too
    assert any("a part of the" in text for text in update([eid]).failures)


@pytest.mark.parametrize("name", [f"FOV_00/{TIMES}", WHEEL_TIMES, WHEEL])
def test_times_that_were_copied_in_part_are_noted(lab, name):
    path, eid = lab.alf("it") / name, lab.eids["it"]
    values, before = np.load(path), path.read_bytes()
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    np.save(path, values - 0.004)
    whole = path.read_bytes()
    copied_in_part(path, before, 0.5)
    done = update([eid], dry_run=True)
    assert done.failures == []
    (note,) = [text for text in done.notes if "bit by bit" in text]
    assert f"the last {(values == np.load(path)).sum()} of {len(values)} values are those of before" in note
    path.write_bytes(whole)
    assert not any("bit by bit" in text for text in update([eid], dry_run=True).notes)


def drifted(times: np.ndarray, rate: float) -> np.ndarray:
    return times[0] + rate * (times - times[0])


def test_clocks_that_drift_from_each_other_are_refused(lab):
    """The times of a FOV are of another clock, that starts with the others."""
    eid = lab.eids["it"]
    path = lab.alf("it") / "FOV_01" / TIMES
    times = np.load(path)
    assert fill([FOV], {"eid": eid, "fov": 0}).errors == []
    drifting = drifted(times, 1.003)
    assert drifting[-1] - times[-1] > 1.5 * np.median(np.diff(times))
    np.save(path, drifting)
    ((table, key, message),) = fill([FOV], {"eid": eid}).errors
    assert (table, key["fov"]) == ("FOV", 1) and "take another time than those of the others" in message
    np.save(path, times)
    retry(eid=eid)
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    np.save(path, drifting)
    (failure,) = update([eid], dry_run=True).failures
    assert "take another time than those of the others" in failure
    other = fov_of(lab) / TIMES
    np.save(other, np.load(other) + 0.001)  # both are read again
    assert any("take another time" in text for text in update([eid], dry_run=True).failures)


@pytest.mark.parametrize(("drift", "n_cut", "pause", "is_refused"), [
    (1, 0, 0, False), (1.003, 0, 0, True), (0.997, 0, 0, True), (1, 0, 30, False), (1.003, 0, 30, True),
    (1, 20, 0, False), (1.003, 20, 0, True), (1, 20, 30, False), (1.0002, 0, 0, False),
])  # fmt: skip
def test_frames_of_two_fovs_take_the_same_time(drift, n_cut, pause, is_refused):
    """One of them may lack frames, unless there is a pause; all of them pause together."""
    times = 0.2 * np.arange(3000) + np.where(np.arange(3000) < 2990, 0, pause)
    one, other = (
        SimpleNamespace(frame_times=some, frame_period=0.2)
        for some in (times, 0.01 + drifted(times, drift)[: len(times) - n_cut])
    )
    keys = [{"eid": "x", "fov": fov} for fov in range(2)]
    with pytest.raises(DataError, match="take another time") if is_refused else nullcontext():
        FOV.check_together(keys[0], one, [], keys[1], other, [])


@pytest.mark.parametrize("is_left", [True, False])
def test_fluorescence_that_no_row_was_read_from_is_of_the_extraction_that_was_read(lab, is_left):
    """It is left beside a new extraction, or comes with it and is then of a third."""
    fov, eid = fov_of(lab), lab.eids["it"]
    signals = {name: (fov / name).read_bytes() for name in (FLUORESCENCE, NEUROPIL)}
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    if is_left:  # of the same ROIs, so that the values do not tell
        np.save(fov / ACTIVITY, np.asfortranarray(np.load(fov / ACTIVITY) * np.float32(1.25)))
        new_uuids(fov / UUIDS, 77)
    else:
        extract_again(fov)
        signals = {name: (fov / name).read_bytes() for name in signals}
    done = update([eid])
    assert done.failures == []
    noted = [text for text in done.notes if "files of ROIs have changed" in text]
    assert bool(noted) is is_left
    if not is_left:
        for name in signals:
            np.save(fov / name, np.asfortranarray(np.load(fov / name) * np.float32(1.25)))
    SignalTask.ask([eid], [SignalSettings("dff")])
    with pytest.warns(UserWarning, match="files of ROIs have changed") as told:
        fill([Signal], {"eid": eid, "fov": 0})
    assert all(FLUORESCENCE in str(one.message) for one in told)
    (note,) = [one.text for one in notes_of([eid])]
    newer, older = note.split("and others have not")
    assert FLUORESCENCE in (older if is_left else newer) and ACTIVITY in (newer if is_left else older)
    if not is_left:
        for name, content in signals.items():
            (fov / name).write_bytes(content)
        assert update([eid]).failures == [] and notes_of([eid]) == []


@pytest.mark.parametrize("is_replaced", [False, True])
def test_behaviour_that_came_after_the_session_was_registered_is_known_from_the_next_registration_on(lab, is_replaced):
    lab.add("bare", "STEP2")
    eid, alf, aside = lab.eids["bare"], lab.alf("bare"), lab.root / "aside"
    aside.mkdir()
    files = [path for path in alf.iterdir() if path.name.startswith("_ibl_")]
    for path in files:
        path.rename(aside / path.name)
    write_one_tables(lab.root)
    ingest([eid], cache_dir=lab.root)
    for path in files:
        (aside / path.name).rename(path)
    write_one_tables(lab.root)
    of_behaviour = Session.File & {"eid": eid} & "dataset LIKE '%%/_ibl_%%'"
    assert len(of_behaviour) == 0
    ingest([eid], cache_dir=lab.root)
    assert {row["dataset"] for row in of_behaviour.to_dicts()} >= {f"alf/{WHEEL_TIMES}", f"alf/{TRIALS}"}
    if is_replaced:
        np.save(alf / WHEEL_TIMES, np.load(alf / WHEEL_TIMES) + 0.004)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    assert any("have changed since the session was registered" in str(one.message) for one in told) is is_replaced
    before = of_behaviour.to_dicts()
    ingest([eid], cache_dir=lab.root)
    assert of_behaviour.to_dicts() == before


def test_neuropil_that_was_copied_in_part_over_a_former_one_is_refused(lab):
    fov, eid = fov_of(lab), lab.eids["it"]
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    before = (fov / NEUROPIL).read_bytes()
    extract_again(fov)
    copied_in_part(fov / NEUROPIL, before, 0.5)
    (failure,) = update([eid]).failures
    assert f"the positions are not of the ROIs in {NEUROPIL}" in failure


def test_a_mouse_of_another_lab_with_the_same_name_is_warned_of_once(lab):
    fill(SESSION_TABLES, {"eid": lab.eids["it"]})
    folder = lab.root / "otherlab" / "Subjects" / "STEP1" / "2024-02-01" / "001"
    copy_session(lab.template, folder)
    eid = session_eid("otherlab", "STEP1", "2024-02-01", 1)
    lab.eids["other"], lab.folders["other"] = eid, folder
    write_one_tables(lab.root)
    with pytest.warns(UserWarning, match="is of the lab") as told:
        ingest([eid], cache_dir=lab.root)
    (text,) = (str(one.message) for one in told)
    assert text.startswith(f"session {eid} is of the lab otherlab, and STEP1 was registered as a mouse of demolab")
    ingest([eid], cache_dir=lab.root)  # warnings are errors here


def with_new_uids(alf: Path) -> None:
    """Give the cells of all FOVs of a day other UIDs, as a run of ROICaT of other sessions does."""
    for path in alf.glob(f"FOV_*/{UIDS}"):
        lines = map(str.strip, path.read_text().splitlines())
        new = [str(uuid.uuid5(uuid.NAMESPACE_DNS, one)) if len(one) == 36 else one for one in lines]
        path.write_text("".join(f"{one}\n" for one in new))
        quality = path.with_name(SILHOUETTE)
        np.save(quality, np.load(quality) * 0.9)


def of_several_runs(lab: Repository, texts: Iterable[str]) -> list[str]:
    """Return the FOVs of which the third day is said to have UIDs of another run."""
    said = f": no UID of session {lab.eids['third']} is in the other sessions"
    return [text.partition(":")[0] for text in texts if said in text]


@pytest.mark.parametrize("command", ["track", "update", "an update that was killed"])
def test_uids_of_two_runs_of_roicat_are_named_when_they_are_registered(lab, meso_command, monkeypatch, command):
    """A day was tracked with those before it, which gives all days new UIDs; the file of that day alone was copied."""
    for name in ("second", "third"):
        lab.add(name, "STEP1")
    write_one_tables(lab.root)
    eids = list(lab.eids.values())
    ingest(eids, cache_dir=lab.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in eids]).errors == []
    done = meso_command("track", "STEP1")
    assert done.returncode == 0 and "no UID of" not in done.stdout
    with_new_uids(lab.alf("third"))
    if command == "track":
        done = meso_command("track", "STEP1")
        assert done.returncode == 0
        texts = done.stdout.splitlines()
    else:
        assert of_several_runs(lab, update(eids, dry_run=True).notes) == ["FOV_00", "FOV_01"]
        if command != "update":
            with monkeypatch.context() as patch:
                patch.setattr("schemas.upkeep.update._complete", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    update(eids)
        texts = update(eids).notes
    assert of_several_runs(lab, texts) == ["FOV_00", "FOV_01"]
    assert sum("no UID of" in text for text in texts) == 2
    assert update(eids).notes == []


def interrupt(*_: object) -> None:
    """End as Ctrl+C does."""
    raise KeyboardInterrupt


def test_uids_of_two_runs_of_roicat_are_named_when_a_question_registers_them(lab):
    """The sessions of a question are others than those of the last run."""
    for name in ("second", "third"):
        lab.add(name, "STEP1")
    write_one_tables(lab.root)
    first = [lab.eids["it"], lab.eids["second"]]
    ingest(first, cache_dir=lab.root)
    tracking_run_of_sessions(first)
    ingest([lab.eids["third"]], cache_dir=lab.root)
    with_new_uids(lab.alf("third"))
    with pytest.warns(UserWarning, match="no UID of") as told:
        tracking_run_of_sessions(list(lab.eids.values()))
    assert of_several_runs(lab, (str(one.message) for one in told)) == ["FOV_00", "FOV_01"]
    tracking_run_of_sessions(list(lab.eids.values()))  # warnings are errors here


# ---------------------------------------------------------------- backups


def reorder(fov: Path, *names: str, seed: int) -> None:
    """Give the ROIs of some files of a FOV another order."""
    for name in names:
        array = np.load(fov / name)
        axis = 1 if name in (ACTIVITY, FLUORESCENCE, NEUROPIL) else 0
        order = np.random.default_rng(seed).permutation(array.shape[axis])
        np.save(fov / name, np.asfortranarray(array.take(order, axis)))


def another_extraction(fov: Path, seed: int) -> None:
    """Give a FOV the files of another extraction, of which there can be several."""
    reorder(fov, *OF_FOV, seed=seed)
    new_uuids(fov / UUIDS, seed)


def restore(backup: Path, fov: Path, names: Callable[[str], bool]) -> None:
    for path in backup.iterdir():
        if names(path.name):
            shutil.copy(path, fov / path.name)


def notes_in(lab: Repository) -> list[str]:
    """Update the session, and return what is said of files that are not of one writing."""
    done = update([lab.eids["it"]])
    assert done.failures == []
    return [text for text in done.notes if "have changed" in text]


def kept(lab: Repository) -> list[str]:
    """Return the notes on the files of the session; they are among those of all sessions."""
    eid = lab.eids["it"]
    found = [one.text for one in notes_of([eid])]
    assert found == [one.text for one in notes_of() if one.eid == eid]
    return found


def assert_beside(texts: Sequence[str], newer: str, older: str) -> None:
    """Check that a note says that files of the ROIs of the FOV have changed, and others have not."""
    (text,) = texts
    changed, others = text.split("and others have not")
    assert "files of ROIs have changed" in changed
    assert f"alf/FOV_00/{newer}" in changed and f"alf/FOV_00/{older}" in others


@pytest.mark.parametrize("is_rest", [False, True])
def test_a_backup_that_spares_half_an_extraction_is_no_rest_of_it(lab, is_rest):
    """The rest of that extraction is."""
    fov, backup, whole = fov_of(lab), lab.root.with_name("backup"), lab.root.with_name("whole")
    assert fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors == []
    shutil.copytree(fov, backup)
    another_extraction(fov, 5)
    assert notes_in(lab) == []
    shutil.copytree(fov, whole)
    another_extraction(fov, 6)
    rest = lab.root.with_name("rest")
    shutil.copytree(fov, rest)
    restore(whole, fov, lambda name: name not in HALF)
    assert_beside(notes_in(lab), TYPES, UUIDS)
    restore(rest if is_rest else backup, fov, lambda name: name not in HALF)
    noted = notes_in(lab)
    if is_rest:
        assert noted == kept(lab) == []
        return
    for texts in (noted, kept(lab)):
        assert_beside(texts, UUIDS, TYPES)
    restore(backup, fov, HALF.__contains__)
    assert notes_in(lab) == kept(lab) == []


def save_again(fov: Path, *names: str) -> None:
    """Save files in other bytes with the same values."""
    for path in (fov / name for name in names):
        if path.suffix == ".csv":
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        else:
            array = np.load(path)
            with path.open("wb") as file:
                np.lib.format.write_array(file, array, version=(2, 0))


@pytest.mark.parametrize("is_half", [True, False])
def test_a_backup_in_the_bytes_before_files_were_saved_again_is_known(lab, is_half):
    fov, backup, eid = fov_of(lab), lab.root.with_name("backup"), lab.eids["it"]
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    shutil.copytree(fov, backup)
    save_again(fov, *HALF)
    (note,) = update([eid]).notes
    assert "saved again with the same values" in note
    another_extraction(fov, 5)
    assert notes_in(lab) == []
    another_extraction(fov, 6)
    restore(backup, fov, HALF.__contains__ if is_half else lambda _: True)
    noted = notes_in(lab)
    if not is_half:
        assert noted == kept(lab) == []
        return
    for texts in (noted, kept(lab)):
        assert_beside(texts, UUIDS, TYPES)


@pytest.mark.parametrize("is_whole", [False, True])
def test_half_an_extraction_beside_files_that_were_saved_again_is_noted(lab, is_whole):
    """Each of those has the values of before in other bytes, as after a conversion of the folder."""
    fov, eid = fov_of(lab), lab.eids["it"]
    others = (ACTIVITY, UUIDS, POSITIONS, PLACES, REGIONS, SHIFT, TIMES)
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    if is_whole:
        another_extraction(fov, 5)
    else:
        reorder(fov, *HALF, seed=5)
    save_again(fov, *others)
    done = update([eid])
    assert done.failures == []
    (same,) = [text for text in done.notes if "saved again with the same values: " in text]
    assert [name for name in (*others, *HALF) if f"/{name}: " in same] == [*((SHIFT, TIMES) if is_whole else others)]
    noted = [text for text in done.notes if "have changed" in text]
    if is_whole:
        assert noted == kept(lab) == []
        return
    for texts in (noted, kept(lab)):
        for name in others[:5]:
            assert_beside(texts, TYPES, name)
    assert not {row["dataset"] for change in done.changes for row in change.as_rows()} & {f"alf/FOV_00/{UUIDS}"}


# ---------------------------------------------------------------- names and days


@pytest.mark.parametrize("is_half", [True, False])
@pytest.mark.parametrize("place", ["STEP01/2024-01-01", "STEP1/2024-03-05"])
def test_a_session_of_which_the_name_or_the_date_was_corrected_is_compared_with_what_it_was(lab, place, is_half):
    """It was deleted, and is registered again at its right place; half of an extraction came meanwhile."""
    former = lab.eids["it"]
    assert fill(SESSION_TABLES, {"eid": former}).errors == []
    delete_sessions({"eid": former}, confirm=lambda _: True)
    subject, date = place.split("/")
    folder = lab.root / LAB / "Subjects" / place / "001"
    folder.parent.mkdir(parents=True)
    lab.folders["it"].rename(folder)
    lab.folders["it"] = folder
    lab.eids |= {"former": former, "it": session_eid(LAB, subject, date, 1)}
    if is_half:
        reorder(fov_of(lab), *HALF, seed=5)
    write_one_tables(lab.root)
    ingest([lab.eids["it"]], cache_dir=lab.root)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        assert fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors == []
    texts = [str(one.message) for one in told if "have changed" in str(one.message)]
    assert bool(texts) is bool(kept(lab)) is is_half
    if is_half:
        assert_beside(kept(lab), TYPES, UUIDS)


def test_days_that_were_exchanged_are_noted_if_one_of_them_is_registered_later(lab):
    """Its files are those that rows of the other day were read from."""
    assert fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors == []
    lab.add("later", "STEP1")
    one, other = (lab.alf(name) for name in ("it", "later"))
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)
    write_one_tables(lab.root)
    assert update([lab.eids["it"]]).failures == []
    ingest([lab.eids["later"]], cache_dir=lab.root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert fill(SESSION_TABLES, {"eid": lab.eids["later"]}).errors == []
    found = notes_of(list(lab.eids.values()))
    assert found == notes_of()
    (*_, last) = (one for one in found if one.kind == "exchanged")
    assert last.eid == lab.eids["later"] and f"of session {lab.eids['it']} was" in last.text
    assert "1 session with files of another FOV or session" in note_counts()


# ---------------------------------------------------------------- other folders


@pytest.fixture
def mirror(lab, monkeypatch) -> Path:
    """An older copy of the ONE cache, which MESO_ONE_CACHE_DIR names; the session has been read from files of after."""
    older = lab.root.with_name("mirror")
    shutil.copytree(lab.root, older)
    extract_again(fov_of(lab))
    register_again(lab)
    assert fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors == []
    monkeypatch.setenv("MESO_ONE_CACHE_DIR", str(older))
    return older


def folder_notes(eid: str) -> list[str]:
    return [one.text for one in notes_of([eid]) if one.kind == "folder"]


@pytest.mark.parametrize("then", ["mounted again", "registered"])
def test_files_of_another_folder_than_the_registered_one_are_noted(lab, mirror, then):
    """The registered cache is not mounted, and an older copy of it is read."""
    eid, away = lab.eids["it"], lab.root.with_name("unmounted")
    assert update([eid]).changes == []  # the registered one is there
    lab.root.rename(away)
    said = f"from the ONE cache {lab.root} are read here from the ONE cache {mirror}"
    with pytest.warns(UserWarning, match=said):
        done = update([eid])
    note = f"an update read files in {mirror}, and not those that the session is registered with"
    assert sum(note in text for text in done.notes) == 1
    (kept,) = folder_notes(eid)
    assert kept.startswith(note) and "1 session with files of another folder" in note_counts()
    with pytest.warns(UserWarning, match=said):
        verify_session(eid, source=True)
    with pytest.warns(UserWarning, match=said):
        update([eid])
    if then == "registered":
        moved = f"from the ONE cache {lab.root} are now registered with, and read from, the ONE cache {mirror}"
        with pytest.warns(UserWarning, match=moved):
            ingest([eid], cache_dir=mirror)
        assert folder_notes(eid) == [] and update([eid]).changes == []
    away.rename(lab.root)
    assert folder_notes(eid) == []
    if then == "mounted again":
        assert [change.table for change in update([eid]).changes] == ["FOV"]
        assert folder_notes(eid) == []


def test_a_first_reading_from_another_folder_is_warned_of(lab, mirror):
    register_again(lab)
    lab.root.rename(lab.root.with_name("unmounted"))
    with pytest.warns(UserWarning, match="are read here from the ONE cache"):
        fill(SESSION_TABLES, {"eid": lab.eids["it"]})
    lab.root.with_name("unmounted").rename(lab.root)


# ---------------------------------------------------------------- values that are exchanged


def saved_again(path: Path) -> None:
    """Write a file in other bytes, with its values."""
    if path.suffix == ".npy":
        array = np.load(path)
        with path.open("wb") as file:
            np.lib.format.write_array(file, array, version=(2, 0))
    elif path.suffix == ".pqt":
        pd.read_parquet(path).to_parquet(path, compression="gzip")
    else:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def exchange(one: Path, other: Path, *stay: str) -> None:
    """Exchange the files of two folders, in other bytes, but those that stay."""
    for path in [path for path in one.rglob("*") if path.is_file() and path.name not in stay]:
        theirs, aside = other / path.relative_to(one), path.with_name("aside")
        path.rename(aside)
        theirs.rename(path)
        aside.rename(theirs)
        saved_again(path)
        saved_again(theirs)


def exchanged_notes(eid: str) -> list[str]:
    return [one.text for one in notes_of([eid]) if one.kind == "exchanged"]


@pytest.mark.parametrize("was_updated", [False, True])
def test_fovs_that_are_exchanged_in_other_bytes_are_noted(lab, was_updated):
    """A new export counts the FOVs the other way round; rows that were read before had the files that stay, too."""
    eid, folders = lab.eids["it"], sorted(lab.alf("it").glob("FOV_*"))
    fill(SESSION_TABLES, {"eid": eid})
    if was_updated:
        for seed, folder in enumerate(folders):
            new_uuids(folder / UUIDS, seed)
        assert len(update([eid]).changes) == 2
    before = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    exchange(*folders, TIMES, SHIFT)
    said = [
        f"alf/FOV_{fov:02d}/{UUIDS} holds the values of alf/FOV_{1 - fov:02d}/{UUIDS} of session {eid} as they were; "
        f"if files were exchanged by mistake, put them back, and run meso update {eid}"
        for fov in range(2)
    ]
    assert [note for note in update([eid], dry_run=True).notes if "holds the values" in note] == [
        f"session {eid}: {text}" for text in said
    ]
    assert set(said) <= {note.partition(": ")[2] for note in update([eid]).notes}
    assert exchanged_notes(eid) == said
    assert "1 session with files of another FOV or session" in note_counts()
    for path, content in before.items():
        path.write_bytes(content)
    assert not any("holds the values" in note for note in update([eid]).notes)  # they are back
    assert exchanged_notes(eid) == []


def test_sessions_that_are_exchanged_in_other_bytes_are_noted(lab):
    lab.add("other", "STEP1")
    write_one_tables(lab.root)
    eids = list(lab.eids.values())
    ingest(eids, cache_dir=lab.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in eids]).errors == []
    exchange(lab.alf("it"), lab.alf("other"), SHIFT)  # line times are the same on all days
    assert update(eids).failures == []
    for eid, other in (eids, eids[::-1]):
        notes = exchanged_notes(eid)
        of_fovs = [f"alf/FOV_{fov:02d}/{TIMES} holds the values of" for fov in range(2)]
        assert all(f"of session {other} as they were" in note for note in notes)
        assert sum(note.startswith(tuple(of_fovs)) for note in notes) == 2
        assert any(TRIALS in note for note in notes) and any(WHEEL_TIMES in note for note in notes)


def test_files_that_are_written_again_are_not_taken_for_exchanged(lab):
    """All FOVs and the trials change in one update, each to values of its own."""
    eid = lab.eids["it"]
    fill(SESSION_TABLES, {"eid": eid})
    for seed, fov in enumerate(sorted(lab.alf("it").glob("FOV_*"))):
        reorder(fov, ACTIVITY, FLUORESCENCE, NEUROPIL, TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS, seed=seed)
        new_uuids(fov / UUIDS, seed)
    assert len(update([eid]).changes) == 2
    assert exchanged_notes(eid) == []


def test_a_revision_that_the_tables_lack_is_noted_until_they_are_written_again(lab):
    eid, fov = lab.eids["it"], fov_of(lab)
    fill(SESSION_TABLES, {"eid": eid})
    revision = fov / "#2024-05-01#"
    shutil.copytree(fov, revision)
    extract_again(revision)
    said = f"session {eid}: files of revisions are not read, as ONE does not list them: alf/FOV_00/#2024-05-01#. If"
    with pytest.warns(UserWarning, match=said):
        ingest([eid], cache_dir=lab.root)
    for dry_run in (True, False):
        done = update([eid], dry_run=dry_run)
        assert done.changes == [] and [note.partition(" they")[0] for note in done.notes] == [said]
    write_one_tables(lab.root)
    ingest([eid], cache_dir=lab.root)  # warnings are errors here
    done = update([eid])
    assert [change.table for change in done.changes] == ["FOV"]
    assert not any("does not list" in note for note in done.notes)
