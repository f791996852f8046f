"""Files that are replaced between the registration of a session and the first reading of them are noted."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.broken_sessions import Repository, made_session, new_uuids
from support.corpus import (
    ACTIVITY,
    BAD,
    CLASSIFIER,
    PLACES,
    POSITIONS,
    QUIESCENCE,
    REGIONS,
    SHIFT,
    STIM_OFF,
    TIMES,
    TRIALS,
    TYPE_NAMES,
    TYPES,
    UUIDS,
    WHEEL,
    WHEEL_TIMES,
)
from support.filled import Rows

import schemas
from pipeline.demo.repository import write_one_tables
from pipeline.reading import registration
from pipeline.reading.fov import NEUROPIL, SIGNALS
from populate_scripts.ingest import ingest
from schemas.session import Session
from schemas.upkeep.deletion import delete_sessions
from schemas.upkeep.mixtures import note_counts, notes_of
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill
from schemas.work.reports import errors, retry

#: The files are compared without the server.
without_server = pytest.mark.one_backend
sampled = pytest.mark.parametrize("lab", ["sampled"], indirect=True)
both = pytest.mark.parametrize("lab", ["hashed", "sampled"], indirect=True)
#: A hash of a sample is text as a hash of all is.
hashed_on_both = pytest.mark.parametrize(
    "lab", ["hashed", pytest.param("sampled", marks=without_server)], indirect=True
)
FLUORESCENCE = SIGNALS["fluorescence"]
REVISION = "#2026-01-01#"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return made_session(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def rows(database) -> Rows:
    return Rows()


@pytest.fixture
def lab(rows, template, tmp_path, monkeypatch, request) -> Iterator[Repository]:
    """A repository with one session, which is registered, and not read; if 'sampled', all files count as large."""
    if getattr(request, "param", "") == "sampled":
        monkeypatch.setattr(registration, "MAX_HASHED", 0)
    made = Repository(tmp_path / "one", template)
    made.add("it", "REG1")
    write_one_tables(made.root)
    ingest([made.eids["it"]], cache_dir=made.root)
    yield made
    rows.take_away(made)
    assert errors() == []


def fov_of(lab: Repository, fov: int = 0, name: str = "it") -> Path:
    return lab.alf(name) / f"FOV_{fov:02d}"


def register_again(lab: Repository) -> None:
    """Register the session with its files as they are."""
    (Session & {"eid": lab.eids["it"]}).delete()
    ingest([lab.eids["it"]], cache_dir=lab.root)


def reorder(folder: Path, *names: str, n_others: int | None = None) -> None:
    """Give the ROIs of some files of a FOV, or the first ones, another order."""
    for name in names:
        array = np.load(folder / name)
        axis = 1 if name in (ACTIVITY, FLUORESCENCE, NEUROPIL) else 0
        order = np.arange(array.shape[axis])
        order[:n_others] = np.random.default_rng(3).permutation(order[:n_others])
        np.save(folder / name, np.asfortranarray(array.take(order, axis)))


def other_extraction(lab: Repository) -> None:
    """Write all files of a FOV anew, as another extraction does."""
    reorder(fov_of(lab), ACTIVITY, FLUORESCENCE, NEUROPIL, TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS)
    new_uuids(fov_of(lab) / UUIDS, 7)


def align_behaviour(lab: Repository) -> None:
    """Put in the trials and the wheel of another alignment, and not the frame times."""
    later = Repository(lab.root.with_name("later"), lab.template)
    folder = later.add("other", "REG2")
    for name in (TRIALS, STIM_OFF, QUIESCENCE, WHEEL, WHEEL_TIMES):
        shutil.copy(folder / name, lab.alf("it") / name)


def read(lab: Repository, name: str = "it") -> list[str]:
    """Read all of a session, and return what is warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        assert fill(SESSION_TABLES, {"eid": lab.eids[name]}).errors == []
    return [str(one.message) for one in told]


def kept(lab: Repository, name: str = "it") -> list[str]:
    """Return the notes on a session; they are among those of all sessions."""
    eid = lab.eids[name]
    found = [one.text for one in notes_of([eid])]
    assert found == [one.text for one in notes_of() if one.eid == eid]
    return found


SWAPS: dict[str, tuple[Callable[[Repository], None], list[str], str]] = {
    "types with their classifier": (lambda lab: reorder(fov_of(lab), TYPES, CLASSIFIER), [TYPES, CLASSIFIER], UUIDS),
    "positions of 12 ROIs with their places": (
        lambda lab: reorder(fov_of(lab), POSITIONS, PLACES, REGIONS, n_others=12), [POSITIONS, PLACES], TYPES
    ),
    "uuids": (lambda lab: new_uuids(fov_of(lab) / UUIDS, 7), [UUIDS], POSITIONS),
    "activity": (lambda lab: reorder(fov_of(lab), ACTIVITY, FLUORESCENCE, NEUROPIL), [ACTIVITY], TYPES),
    "trials and wheel": (align_behaviour, [f"alf/{TRIALS}", f"alf/{WHEEL_TIMES}"], f"alf/FOV_00/{TIMES}"),
}  # fmt: skip


@without_server
@both
@pytest.mark.parametrize("what", SWAPS)
def test_files_that_were_replaced_in_part_before_they_were_read_are_noted(lab, what):
    swap, newer, older = SWAPS[what]
    swap(lab)
    told = [text for text in read(lab) if "since the session was registered" in text]
    (note,) = kept(lab)
    assert any(note in text for text in told)
    changed, others = note.split("have changed since the session was registered")
    assert changed.startswith("files of ROIs") or what == "trials and wheel"
    changed, others = others.split("and others have not")
    assert all(name in changed for name in newer) and older in others
    assert "1 session with files of two writings" in note_counts()


def scaled(path: Path, by: float) -> None:
    np.save(path, np.load(path) * by)


def other_flags(lab: Repository) -> None:
    """Flag another frame as bad."""
    flags = np.load(fov_of(lab) / BAD)
    flags[7] = not flags[7]
    np.save(fov_of(lab) / BAD, flags)


SINGLE = {
    "times of lines": (lambda lab: scaled(fov_of(lab) / SHIFT, 0.9), SHIFT, TIMES),
    "turns of the wheel": (lambda lab: scaled(lab.alf("it") / WHEEL, 1.5), WHEEL, WHEEL_TIMES),
    "flags of frames": (other_flags, BAD, ACTIVITY),
}


@without_server
@pytest.mark.parametrize("what", SINGLE)
def test_single_files_that_were_replaced_before_they_were_read_are_noted(lab, what):
    """They pass all checks, and are in no group of files that are compared between readings."""
    swap, newer, older = SINGLE[what]
    if what == "flags of frames":
        np.save(fov_of(lab) / BAD, np.zeros(len(np.load(fov_of(lab) / TIMES)), bool))
        write_one_tables(lab.root)
        register_again(lab)
    swap(lab)
    told = read(lab)
    (note,) = kept(lab)
    assert any(note in text for text in told)
    changed, others = note.split("and others have not")
    assert changed.startswith("single files have changed since the session was registered")
    assert newer in changed and older in others


@without_server
@both
def test_such_a_note_stays_until_the_files_are_back(lab):
    eid, names = lab.eids["it"], (TYPES, CLASSIFIER)
    former = {name: (fov_of(lab) / name).read_bytes() for name in names}
    reorder(fov_of(lab), *names)
    read(lab)
    (note,) = kept(lab)
    (schemas.FOV & {"eid": eid, "fov": 0}).delete()  # by hand, and read again
    read(lab)
    assert kept(lab) == [note]
    for name, content in former.items():
        (fov_of(lab) / name).write_bytes(content)
    assert update([eid]).failures == [] and kept(lab) == []


@without_server
@both
@pytest.mark.parametrize("what", ["nothing", "all of a FOV", "all of behaviour and times"])
def test_files_that_stay_or_are_all_replaced_are_not_noted(lab, what):
    if what == "all of a FOV":
        other_extraction(lab)
    if what == "all of behaviour and times":
        align_behaviour(lab)
        for fov in range(2):
            np.save(fov_of(lab, fov) / TIMES, np.load(fov_of(lab, fov) / TIMES) + 1e-3)
    assert read(lab) == [] and kept(lab) == []


@without_server
def test_what_is_completed_after_the_first_reading_is_not_noted_any_more(lab):
    """Half of an extraction came before it, and the rest later."""
    eid, whole = lab.eids["it"], lab.root.with_name("whole")
    before = lab.root.with_name("before")
    shutil.copytree(fov_of(lab), before)
    other_extraction(lab)
    shutil.copytree(fov_of(lab), whole)
    for path in before.glob("*"):
        if path.name not in (TYPES, CLASSIFIER):
            shutil.copy(path, fov_of(lab))
    read(lab)
    assert len(kept(lab)) == 1
    for path in whole.glob("*"):
        shutil.copy(path, fov_of(lab))
    done = update([eid])
    assert (done.failures, done.notes, kept(lab)) == ([], [], [])


def corrected(lab: Repository) -> Path:
    """Write a revision of the types in which two are others, and return its folder."""
    folder, types = fov_of(lab) / REVISION, np.load(fov_of(lab) / TYPES)
    folder.mkdir()
    types[:2] = 1 - types[:2]
    np.save(folder / TYPES, types)
    write_one_tables(lab.root)
    return folder


@without_server
def test_a_later_revision_of_a_dataset_is_a_correction(lab):
    corrected(lab)
    assert read(lab) == [] and kept(lab) == []
    assert REVISION.strip("#") in (schemas.FOV.Source & {"eid": lab.eids["it"]}).to_arrays("revision")


@without_server
def test_an_earlier_revision_of_a_dataset_is_none(lab):
    """The correction was withdrawn."""
    folder = corrected(lab)
    register_again(lab)
    shutil.rmtree(folder)
    write_one_tables(lab.root)
    assert any("have changed since the session was registered" in text for text in read(lab))
    (note,) = kept(lab)
    assert f"(alf/FOV_00/{TYPES})" in note and UUIDS in note.split("and others have not")[1]


@without_server
@both
@pytest.mark.parametrize("is_aligned", [False, True])
def test_behaviour_that_was_moved_to_a_task_is_compared_with_what_it_was(lab, is_aligned):
    task, table = lab.alf("it") / "task_00", pd.read_parquet(lab.alf("it") / TRIALS)
    task.mkdir()
    for path in lab.alf("it").glob("_ibl_*"):
        path.rename(task / path.name)
    if is_aligned:
        times = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
        table.assign(**{name: table[name] + 0.1 for name in times}).to_parquet(task / TRIALS)
        for name in (STIM_OFF, WHEEL_TIMES):
            np.save(task / name, np.load(task / name) + 0.1)
    write_one_tables(lab.root)
    told, notes = read(lab), kept(lab)
    assert bool(told) is bool(notes) is is_aligned
    if is_aligned:
        changed, others = notes[0].split("and others have not")
        assert f"alf/task_00/{WHEEL_TIMES}" in changed and f"alf/FOV_00/{TIMES}" in others


@without_server
def test_files_that_come_after_the_registration_are_not_noted(lab):
    """The session was registered while its folder was copied."""
    lab.add("copied", "REG1")
    eid, fov = lab.eids["copied"], lab.alf("copied") / "FOV_00"
    whole = lab.root.with_name("whole")
    shutil.copytree(lab.alf("copied"), whole)
    for path in (*fov.glob("mpciROIs.*"), fov / ACTIVITY, lab.alf("copied") / TRIALS):
        if path.name != UUIDS:
            path.unlink()
    write_one_tables(lab.root)
    ingest([eid], cache_dir=lab.root)
    shutil.copytree(whole, lab.alf("copied"), dirs_exist_ok=True)
    write_one_tables(lab.root)
    assert fill(SESSION_TABLES, {"eid": eid}).errors == [] and notes_of([eid]) == []


@without_server
def test_fovs_that_were_exchanged_before_they_were_read_are_noted(lab):
    one, other = fov_of(lab, 0), fov_of(lab, 1)
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)
    write_one_tables(lab.root)
    told = read(lab)
    for fov in range(2):
        one, other = f"alf/FOV_{fov:02d}", f"alf/FOV_{1 - fov:02d}"
        was = re.compile(rf"{one}/(\S+) is the file that {other}/\1 of session {lab.eids['it']} was \(and \d+ more")
        assert any(map(was.search, told)) and any(map(was.search, kept(lab)))


def test_what_is_known_goes_with_the_session_and_is_counted(lab):
    """A session that is registered again begins anew, and one that is known is left as it is."""
    eid = {"eid": lab.eids["it"]}
    files = Session.File & eid
    before = files.to_dicts(order_by="KEY")
    assert {row["dataset"] for row in before} >= {f"alf/FOV_01/{TYPES}", f"alf/FOV_00/{NEUROPIL}", f"alf/{TRIALS}"}
    reorder(fov_of(lab), TYPES, CLASSIFIER)
    ingest([eid["eid"]], cache_dir=lab.root)
    assert files.to_dicts(order_by="KEY") == before
    read(lab)
    assert len(kept(lab)) == 1
    counts = delete_sessions(eid, confirm=lambda counts: counts["Session.File"] == len(before))
    assert counts["Session.File"] == len(before) and len(files) == 0
    row = [one for one in schemas.Deletion.to_dicts(order_by="deleted_at") if eid in one["deleted_keys"]][-1]
    assert row["deleted_rows"]["Session.File"] == len(before)
    ingest([eid["eid"]], cache_dir=lab.root)
    assert len(files) == len(before) and read(lab) == [] and kept(lab) == []


@without_server
def test_of_a_session_of_former_versions_nothing_is_claimed(lab):
    (Session.File & {"eid": lab.eids["it"]}).delete_quick()
    reorder(fov_of(lab), TYPES, CLASSIFIER)
    assert read(lab) == [] and kept(lab) == []


@without_server
def test_a_fov_that_comes_later_is_compared_with_its_own_registration(lab):
    lab.add("later", "REG1")
    eid, alf = lab.eids["later"], lab.alf("later")
    (alf / "FOV_01").rename(lab.root / "aside")
    write_one_tables(lab.root)
    ingest([eid], cache_dir=lab.root)
    (lab.root / "aside").rename(alf / "FOV_01")
    write_one_tables(lab.root)
    assert len(Session.File & {"eid": eid} & "dataset LIKE '%%FOV_01%%'") == 0
    ingest([eid], cache_dir=lab.root)
    assert len(Session.File & {"eid": eid} & "dataset LIKE '%%FOV_01%%'") > 10
    reorder(alf / "FOV_01", TYPES, CLASSIFIER)
    with pytest.warns(UserWarning, match="have changed since the session was registered"):
        fill(SESSION_TABLES, {"eid": eid})


# ---------------------------------------------------------------- large files


def without_fluorescence(lab: Repository) -> None:
    """Remove what would tell whose the activity is."""
    for name in (FLUORESCENCE, NEUROPIL):
        (fov_of(lab) / name).unlink()


@without_server
@sampled
def test_large_activity_of_another_extraction_is_noted(lab):
    """It has the shape of the former one, and comes alone."""
    without_fluorescence(lab)
    reorder(fov_of(lab), ACTIVITY)
    assert any("have changed since the session was registered" in text for text in read(lab))
    (note,) = kept(lab)
    assert f"(alf/FOV_00/{ACTIVITY})" in note and TYPES in note.split("and others have not")[1]


@sampled
def test_large_files_are_known_when_they_have_been_read(lab):
    """Also where nothing was known but the hash of a sample, a later change is that of an update."""
    eid = {"eid": lab.eids["it"]}
    before = Session.File & eid
    assert len(before & "sha256 LIKE 'sample:%%'") == len(before)
    assert read(lab) == [] and kept(lab) == []
    read_files = {row["dataset"]: row["sha256"] for row in (schemas.FOV.Source & eid).to_dicts()}
    now = {row["dataset"]: row["sha256"] for row in (Session.File & eid).to_dicts()}
    assert read_files.items() <= now.items()
    assert {name.rpartition("/")[2] for name, one in now.items() if one.startswith("sample:")} == {
        FLUORESCENCE, NEUROPIL, TYPE_NAMES
    }  # fmt: skip
    traces = np.load(fov_of(lab) / ACTIVITY)
    np.save(fov_of(lab) / ACTIVITY, np.asfortranarray(traces * 2))  # deconvolved again
    done = update([eid["eid"]])
    assert (done.failures, done.notes, kept(lab)) == ([], [], []) and done.update_id
    np.save(fov_of(lab) / ACTIVITY, np.ascontiguousarray(traces * 2))  # saved again
    done = update([eid["eid"]])
    assert (done.failures, kept(lab)) == ([], []) and not done.update_id


@without_server
@both
@pytest.mark.parametrize("is_copied", [True, False])
def test_a_file_that_was_smaller_is_noted_if_it_does_not_begin_as_before(lab, is_copied):
    """It was still being copied, or is another one."""
    path = fov_of(lab) / ACTIVITY
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    register_again(lab)
    path.write_bytes(whole)
    if not is_copied:
        without_fluorescence(lab)
        reorder(fov_of(lab), ACTIVITY)
    assert bool(read(lab)) is not is_copied
    assert bool(kept(lab)) is not is_copied
    (row,) = (Session.File & {"eid": lab.eids["it"], "dataset": f"alf/FOV_00/{ACTIVITY}"}).to_dicts()
    assert (row["file_size"] == len(whole)) is is_copied


# ---------------------------------------------------------------- files cut by frames


def cut(folder: Path, n: int = 20) -> None:
    """Take the last frames from all files of a FOV that have frames."""
    for path in folder.glob("mpci.*.npy"):
        np.save(path, np.asfortranarray(np.load(path)[:-n]))


@without_server
@both
@pytest.mark.parametrize("fovs", [[0], [0, 1]])
def test_files_that_were_cut_by_frames_before_they_were_read_are_noted(lab, fovs):
    for fov in fovs:
        cut(fov_of(lab, fov))
    told, notes = read(lab), kept(lab)
    for fov in fovs:
        of_rois = f"files of ROIs have changed since the session was registered (alf/FOV_{fov:02d}/{ACTIVITY})"
        assert any(of_rois in text for text in told) and any(of_rois in text for text in notes)
    (clock,) = [note for note in notes if note.startswith("files with times")]
    newer, older = clock.split("and others have not")
    assert all(f"alf/FOV_{fov:02d}/{TIMES}" in (newer if fov in fovs else older) for fov in range(2))


@without_server
@pytest.mark.parametrize("table", [schemas.Recording, schemas.ROI, schemas.Activity])
def test_files_that_were_cut_by_frames_after_the_fov_was_read_are_refused(lab, table):
    key = {"eid": lab.eids["it"], "fov": 0}
    before = [schemas.FOV, *([schemas.ROI] if table is schemas.Activity else [])]
    assert fill(before, key).errors == []
    cut(fov_of(lab))
    ((name, _, message),) = fill([table], key).errors
    assert name == table.__name__ and "the file changed since it was read" in message
    assert not table & key


# ---------------------------------------------------------------- whole sessions


def exchange(lab: Repository) -> None:
    """Give two sessions the files of each other."""
    one, other = (lab.alf(name) for name in ("it", "other"))
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


def test_sessions_that_were_exchanged_before_they_were_read_are_noted_until_they_are_back(lab):
    lab.add("other", "REG1")
    scaled(lab.alf("other") / QUIESCENCE, 0.99)
    write_one_tables(lab.root)
    ingest([lab.eids["other"]], cache_dir=lab.root)
    exchange(lab)
    for name, of in (("it", "other"), ("other", "it")):
        told, notes = read(lab, name), kept(lab, name)
        for file in (TRIALS, f"FOV_00/{UUIDS}", f"FOV_01/{UUIDS}"):
            folder = f"alf/{file}".rpartition("/")[0]
            was = re.compile(rf"{folder}/(\S+) is the file that {folder}/\1 of session {lab.eids[of]} was \(and \d")
            assert any(map(was.search, told)) and any(map(was.search, notes))
        assert sum("is the file that" in note for note in notes) == 3
    exchange(lab)
    assert update([*lab.eids.values()]).failures == []
    assert kept(lab) == kept(lab, "other") == []


@without_server
@both
def test_a_session_that_was_replaced_as_a_whole_before_it_was_read_is_noted(lab):
    """By one that is not registered."""
    other = Repository(lab.root.with_name("later"), lab.template).add("other", "REG2")
    before = lab.root.with_name("before")
    lab.alf("it").rename(before)
    shutil.copytree(other, lab.alf("it"))
    said = "none of its files is the one that it was registered with"
    assert any(said in text for text in read(lab))
    assert any(note.startswith(said) for note in kept(lab))
    shutil.rmtree(lab.alf("it"))
    before.rename(lab.alf("it"))
    assert update([lab.eids["it"]]).failures == [] and kept(lab) == []


# ---------------------------------------------------------------- files that were put right


def refused(lab: Repository) -> np.ndarray:
    """Register the session with types that are refused, and read it; return the right types."""
    types = np.load(fov_of(lab) / TYPES)
    np.save(fov_of(lab) / TYPES, types + 0.5)
    register_again(lab)
    ((table, _, message),) = fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors
    assert table == "FOV" and f"alf/FOV_00/{TYPES}: " in message
    return types


@hashed_on_both
def test_a_file_that_was_put_right_because_it_was_refused_is_not_noted(lab):
    eid, types = lab.eids["it"], refused(lab)
    files = Session.File & {"eid": eid}
    before = files.to_dicts(order_by="KEY")
    assert retry(eid=eid) == 1
    assert files.to_dicts(order_by="KEY") == before
    assert len(fill(SESSION_TABLES, {"eid": eid}).errors) == 1
    np.save(fov_of(lab) / TYPES, types)
    assert retry(eid=eid) == 1
    (row,) = [row for row in files.to_dicts() if row not in before]
    assert row["dataset"] == f"alf/FOV_00/{TYPES}"
    (record,) = (schemas.Deletion & {"deleted_table": "Session.File"}).to_dicts(order_by="deleted_at DESC", limit=1)
    assert record["deleted_keys"] == [{"eid": eid, "dataset": row["dataset"]}]
    assert record["deletion_reason"].startswith("meso retry")
    assert read(lab) == [] and kept(lab) == []


@without_server
@both
def test_another_extraction_of_files_that_were_refused_is_noted(lab):
    """Types that contradicted their classifier; both come in another order, beside the ROIs of before."""
    types = np.load(fov_of(lab) / TYPES)
    np.save(fov_of(lab) / TYPES, 1 - types)
    register_again(lab)
    ((_, _, message),) = fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors
    assert TYPES in message and CLASSIFIER in message
    before = (Session.File & {"eid": lab.eids["it"]}).to_dicts(order_by="KEY")
    np.save(fov_of(lab) / TYPES, types)
    reorder(fov_of(lab), TYPES, CLASSIFIER)
    retry(eid=lab.eids["it"])
    assert (Session.File & {"eid": lab.eids["it"]}).to_dicts(order_by="KEY") == before
    assert read(lab)
    (note,) = kept(lab)
    changed, others = note.split("and others have not")
    assert TYPES in changed and CLASSIFIER in changed and UUIDS in others


@without_server
def test_a_file_that_was_read_before_it_was_refused_stays_registered_as_it_was(lab):
    """Its rows were deleted by hand: what is read again is compared with what these were."""
    eid, types = {"eid": lab.eids["it"]}, np.load(fov_of(lab) / TYPES)
    assert read(lab) == []
    before = (Session.File & eid).to_dicts(order_by="KEY")
    (schemas.FOV & eid & {"fov": 0}).delete()
    np.save(fov_of(lab) / TYPES, types + 0.5)
    assert len(fill(SESSION_TABLES, eid).errors) == 1
    types[:2] = 1 - types[:2]
    np.save(fov_of(lab) / TYPES, types)
    retry(**eid)
    assert (Session.File & eid).to_dicts(order_by="KEY") == before
    assert read(lab) == [] and kept(lab) == []


@without_server
@both
def test_a_file_that_no_error_named_is_noted_if_it_was_replaced_meanwhile(lab):
    np.save(fov_of(lab) / TYPES, refused(lab))
    new_uuids(fov_of(lab) / UUIDS, 7)
    retry(eid=lab.eids["it"])
    assert read(lab)
    (note,) = kept(lab)
    changed, others = note.split("and others have not")
    assert f"(alf/FOV_00/{UUIDS})" in changed and TYPES in others


@without_server
def test_files_of_an_extraction_that_were_put_right_one_after_the_other_are_noted(lab):
    """Each was refused; that of another extraction came in its place."""
    eid, fov = lab.eids["it"], fov_of(lab)
    new = {name: np.load(fov / name) for name in (TYPES, CLASSIFIER)}
    np.save(fov / TYPES, new[TYPES] + 0.5)
    np.save(fov / CLASSIFIER, new[CLASSIFIER] * 100)
    register_again(lab)
    order = np.random.default_rng(3).permutation(len(new[TYPES]))
    for _ in range(2):
        ((_, _, message),) = fill(SESSION_TABLES, {"eid": eid}).errors
        (named,) = [one for one in new if f"FOV_00/{one}" in message]
        np.save(fov / named, new.pop(named)[order])
        retry(eid=eid)
    assert read(lab)
    (note,) = kept(lab)
    changed, others = note.split("and others have not")
    assert "files of ROIs have changed since the session was registered" in changed
    assert (TYPES in changed or CLASSIFIER in changed) and UUIDS in others


@without_server
@pytest.mark.parametrize("fovs", [[0], [0, 1]])
def test_times_of_several_fovs_that_were_put_right_are_noted(lab, fovs):
    """They were in ms; then all of the session was aligned again, and the frame times alone came."""
    eid, times = lab.eids["it"], {fov: np.load(fov_of(lab, fov) / TIMES) for fov in fovs}
    for fov in fovs:
        np.save(fov_of(lab, fov) / TIMES, times[fov] * 1e3)
    register_again(lab)
    assert {key["fov"] for _, key, _ in fill(SESSION_TABLES, {"eid": eid}).errors} == set(fovs)
    for fov in fovs:
        np.save(fov_of(lab, fov) / TIMES, times[fov] + 0.004)
    retry(eid=eid)
    told, notes = read(lab), kept(lab)
    assert bool(told) is bool(notes) is (len(fovs) > 1)
    for note in notes:
        changed, others = note.split("and others have not")
        assert "files with times have changed since the session was registered" in changed
        assert all(f"alf/FOV_{fov:02d}/{TIMES}" in changed for fov in fovs) and WHEEL_TIMES in others


@without_server
def test_trials_that_were_put_right_alone_are_noted(lab):
    """They were in ms; those in their place are of another alignment, which turns of the wheel do not tell."""
    eid, path = lab.eids["it"], lab.alf("it") / TRIALS
    table = pd.read_parquet(path)
    times = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
    table.assign(**{name: table[name] * 1e3 for name in times}).to_parquet(path)
    register_again(lab)
    assert "Behavior" in [table for table, _, _ in fill(SESSION_TABLES, {"eid": eid}).errors]
    table.assign(**{name: table[name] + 0.1 for name in times}).to_parquet(path)
    retry(eid=eid)
    told = read(lab)
    (note,) = kept(lab)
    changed, others = note.split("and others have not")
    assert "files with times have changed since the session was registered" in changed and TRIALS in changed
    assert WHEEL_TIMES in others and TIMES in others and told
    register_again(lab)  # if they are right
    assert read(lab) == [] and kept(lab) == []


# ---------------------------------------------------------------- rows that an update could not see


def later_times(lab: Repository, fov: int = 0) -> None:
    """Align the frames of a FOV again."""
    path = fov_of(lab, fov) / TIMES
    np.save(path, np.load(path) + 0.004)


def read_without(lab: Repository, *paths: Path) -> None:
    """Read the session but for the rows of some files, which are not there."""
    for path in paths:
        path.rename(path.with_name(f"{path.name}.aside"))
    fill(SESSION_TABLES, {"eid": lab.eids["it"]})


def read_rest(lab: Repository) -> list[str]:
    """Put the files there, and read what is not read; return what is warned of."""
    for path in lab.alf("it").rglob("*.aside"):
        path.rename(path.with_suffix(""))
    retry(eid=lab.eids["it"])
    return read(lab)


def is_older(path: str, note: str) -> bool:
    """Return whether a note says that a file has not changed, and others have."""
    return path in note.partition("and others have not")[2]


def without_trials(lab: Repository) -> None:
    """Read all, and delete the trials by hand."""
    read(lab)
    (schemas.Behavior & {"eid": lab.eids["it"]}).delete()
    read_without(lab, lab.alf("it") / TRIALS)


UNSEEN: dict[str, tuple[Callable[[Repository], None], str]] = {
    "a FOV to come": (lambda lab: read_without(lab, fov_of(lab, 1) / TIMES), f"alf/FOV_01/{TIMES}"),
    "a wheel to come": (
        lambda lab: read_without(lab, *(lab.alf("it") / name for name in (WHEEL, WHEEL_TIMES))), f"alf/{WHEEL_TIMES}"
    ),
    "trials deleted by hand": (without_trials, f"alf/{TRIALS}"),
}  # fmt: skip


@without_server
@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize("what", UNSEEN)
def test_rows_that_an_update_could_not_see_are_noted_when_they_are_read_from_files_of_before(lab, what, is_whole):
    """The frames of a FOV are aligned again, or all of the session is."""
    leave_out, older = UNSEEN[what]
    leave_out(lab)
    later_times(lab)
    if is_whole:
        path = next(path for path in lab.alf("it").rglob("*.aside") if path.name.startswith(older.rpartition("/")[2]))
        if path.name.startswith(TRIALS):
            table = pd.read_parquet(path)
            table.assign(response_times=table["response_times"] + 1e-3).to_parquet(path)
        else:
            times = np.load(path)
            with path.open("wb") as file:  # np.save would add .npy to the name
                np.save(file, times + 0.004)
    update([lab.eids["it"]])
    told, notes = read_rest(lab), kept(lab)
    for texts in (told, notes):
        assert any(is_older(older, text) and f"alf/FOV_00/{TIMES}" in text for text in texts) is not is_whole


@without_server
def test_such_a_note_is_gone_when_the_rest_has_come(lab):
    read_without(lab, fov_of(lab, 1) / TIMES)
    later_times(lab)
    update([lab.eids["it"]])
    read_rest(lab)
    assert any(is_older(f"alf/FOV_01/{TIMES}", text) for text in kept(lab))
    later_times(lab, 1)
    assert update([lab.eids["it"]]).failures == []
    assert not any(is_older(f"alf/FOV_01/{TIMES}", text) for text in kept(lab))


@without_server
def test_of_an_unseen_row_of_former_versions_nothing_is_claimed(lab):
    (Session.File & {"eid": lab.eids["it"]}).delete_quick()
    read_without(lab, fov_of(lab, 1) / TIMES)
    later_times(lab)
    update([lab.eids["it"]])
    read_rest(lab)
    assert not any(is_older(f"alf/FOV_01/{TIMES}", text) for text in kept(lab))
