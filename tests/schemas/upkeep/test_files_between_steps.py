"""What a lab does between two steps, as an independent person thought of it: each is refused, or said."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.broken_sessions import Repository, copy_session, made_session, new_uuids, remove
from support.corpus import ACTIVITY, POSITIONS, UIDS, UUIDS

from pipeline.demo.repository import session_eid, write_one_tables
from pipeline.reading.fov import NEUROPIL, SIGNALS
from populate_scripts.ingest import ingest
from schemas.imaging.reading import fov_traces
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill

pytestmark = pytest.mark.one_backend  # files are compared without the server

FLUORESCENCE = SIGNALS["fluorescence"]
OTHER_ROIS = f"the deconvolved activity is not of the ROIs in {FLUORESCENCE}"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return made_session(tmp_path_factory.mktemp("template"), rois_per_fov=200)


@pytest.fixture
def lab(database, template, tmp_path) -> Iterator[Repository]:
    """A repository with one session of a mouse, which is registered."""
    made = Repository(tmp_path / "one", template)
    made.add("it", "STEP1")
    write_one_tables(made.root)
    ingest([made.eids["it"]], cache_dir=made.root)
    yield made
    remove(made)


def fov_of(lab: Repository) -> Path:
    return lab.alf("it") / "FOV_00"


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


def test_uids_of_two_runs_of_roicat_are_named_when_they_are_registered(lab, meso_command):
    """A day was tracked with those before it, which gives all days new UIDs; the file of that day alone was copied."""
    for name in ("second", "third"):
        lab.add(name, "STEP1")
    write_one_tables(lab.root)
    keys = [{"eid": eid} for eid in lab.eids.values()]
    ingest([key["eid"] for key in keys], cache_dir=lab.root)
    assert fill(SESSION_TABLES, keys).errors == []
    third = lab.alf("third").glob(f"FOV_*/{UIDS}")
    done = meso_command("track", "STEP1")
    assert done.returncode == 0 and "no UID of" not in done.stdout
    for path in third:
        lines = map(str.strip, path.read_text().splitlines())
        new = [str(uuid.uuid5(uuid.NAMESPACE_DNS, one)) if len(one) == 36 else one for one in lines]
        path.write_text("".join(f"{one}\n" for one in new))
    done = meso_command("track", "STEP1")
    assert done.returncode == 0
    for fov in range(2):
        assert f"FOV_{fov:02d}: no UID of session {lab.eids['third']} is in the other sessions" in done.stdout
    assert done.stdout.count("no UID of") == 2
