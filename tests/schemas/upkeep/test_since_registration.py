"""Files that are replaced between the registration of a session and the first reading of them are noted."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.broken_sessions import Repository, new_uuids, remove
from support.corpus import (
    ACTIVITY,
    CLASSIFIER,
    PLACES,
    POSITIONS,
    QUIESCENCE,
    REGIONS,
    STIM_OFF,
    TIMES,
    TRIALS,
    TYPES,
    UUIDS,
    WHEEL,
    WHEEL_TIMES,
)

import schemas
from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.reading.fov import NEUROPIL, SIGNALS
from populate_scripts.ingest import ingest
from schemas.session import Session
from schemas.upkeep.deletion import delete_sessions
from schemas.upkeep.mixtures import note_counts, notes_of
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill

#: The files are compared without the server.
without_server = pytest.mark.one_backend
FLUORESCENCE = SIGNALS["fluorescence"]
REVISION = "#2026-01-01#"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A session of two FOVs, with estimates of their places only."""
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=2, n_trials=60, n_shared=40, rois_per_fov=60
    )
    session = next(made.root.glob("*/Subjects/*/*/001"))
    for path in (*session.glob("alf/*/*.mlapdv.npy"), *session.glob("alf/*/*.brainLocationIds_ccf_2017.npy")):
        path.unlink()
    return session


@pytest.fixture
def lab(database, template, tmp_path) -> Iterator[Repository]:
    """A repository with one session, which is registered, and not read."""
    made = Repository(tmp_path / "one", template)
    made.add("it", "REG1")
    write_one_tables(made.root)
    ingest([made.eids["it"]], cache_dir=made.root)
    yield made
    remove(made)


def fov_of(lab: Repository, fov: int = 0) -> Path:
    return lab.alf("it") / f"FOV_{fov:02d}"


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


def read(lab: Repository) -> list[str]:
    """Read all of the session, and return what is warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        assert fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors == []
    return [str(one.message) for one in told]


def kept(lab: Repository) -> list[str]:
    """Return the notes on the session; they are among those of all sessions."""
    eid = lab.eids["it"]
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


@without_server
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


@without_server
def test_a_later_revision_of_a_dataset_is_a_correction(lab):
    folder, types = fov_of(lab) / REVISION, np.load(fov_of(lab) / TYPES)
    folder.mkdir()
    types[:2] = 1 - types[:2]
    np.save(folder / TYPES, types)
    write_one_tables(lab.root)
    assert read(lab) == [] and kept(lab) == []
    assert REVISION.strip("#") in (schemas.FOV.Source & {"eid": lab.eids["it"]}).to_arrays("revision")


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
    (row,) = [one for one in schemas.Deletion.to_dicts() if eid in one["deleted_keys"]]
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
