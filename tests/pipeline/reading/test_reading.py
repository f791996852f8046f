"""Reading through ONE: equal to the files when they are sound, refused with place and numbers when not."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import shutil
import sys
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.mice import mouse_session

from pipeline.demo.repository import session_eid, write_demo_repository, write_one_tables
from pipeline.errors import ConfigError, DataError
from pipeline.reading import (
    SessionReader,
    client,
    find_sessions,
    fov_datasets,
    fov_folders,
    open_one,
    read_fluorescence,
    read_fov,
    read_trials,
    read_wheel,
    session_info,
    trial_datasets,
    unlisted_folders,
    unlisted_revisions,
    unread_folders,
)
from pipeline.reading.behavior import _check_blocks
from pipeline.reading.fov import _is_beyond_chance, _shared_by_neighbours
from pipeline.scan import scan
from pipeline.signals.flags import flagged_frames
from pipeline.tracking.uids import UIDS

TIMES, TYPES, SHIFT, POS = "mpci.times", "mpciROIs.mpciROITypes", "mpciStack.timeshift", "mpciROIs.stackPos"
F, DECONVOLVED, NEUROPIL = "mpci.ROIActivityF", "mpci.ROIActivityDeconvolved", "mpci.ROINeuropilActivityF"
REGIONS, MLAPDV = "mpciROIs.brainLocationIds_ccf_2017", "mpciROIs.mlapdv"
BAD, QC, QC_NAMES = "mpci.badFrames", "mpci.mpciFrameQC", "mpciFrameQC.names.tsv"
CLASSIFIER, UUIDS, TYPE_NAMES = "mpciROIs.cellClassifier", "mpciROIs.uuids.csv", "mpciROITypes.names.tsv"
TABLE = "_ibl_trials.table.pqt"

OPENED: list[str] | None = None  # files that Python opens, while it is a list


def _audit(event: str, args: tuple) -> None:
    if OPENED is not None and event == "open" and isinstance(args[0], (str, os.PathLike)):
        OPENED.append(str(args[0]))


sys.addaudithook(_audit)


@dataclass
class Session:
    """A session of a copy of the demo, to be damaged and read."""

    root: Path
    eid: str
    alf: Path

    @property
    def fov(self) -> Path:
        return self.alf / "FOV_01"

    @property
    def task(self) -> Path:
        return self.alf / "task_00" if (self.alf / "task_00").is_dir() else self.alf

    def one(self) -> Any:
        write_one_tables(self.root)
        return open_one(self.root)

    def read(self) -> Any:
        return read_fov(self.one(), self.eid, 1, "alf/FOV_01")

    def change(self, name: str, function: Callable[[np.ndarray], Any]) -> None:
        np.save(self.fov / f"{name}.npy", function(np.load(self.fov / f"{name}.npy")))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Day 0 has its trials in alf/, day 2 final brain locations and a gap."""
    root = tmp_path_factory.mktemp("reading")
    return write_demo_repository(root, n_days=3, n_fovs=2, n_trials=20, n_shared=10, rois_per_fov=30)


@pytest.fixture
def session_of(demo, tmp_path) -> Callable[[int], Session]:
    def copy(day: int) -> Session:
        alf = Path("demolab", "Subjects", "SP999", demo.dates[day], "001", "alf")
        shutil.copytree(demo.root / alf, tmp_path / "one" / alf)
        return Session(tmp_path / "one", demo.eids[day], tmp_path / "one" / alf)

    return copy


@pytest.fixture
def session(session_of) -> Session:
    return session_of(0)


@pytest.fixture(scope="module")
def many_rois(tmp_path_factory) -> Path:
    """A demo of one day with enough ROIs to tell whether regions are of them."""
    root = tmp_path_factory.mktemp("large")
    made = write_demo_repository(root, n_days=1, n_fovs=2, n_trials=20, n_shared=10, rois_per_fov=240)
    for final in made.root.glob(f"*/Subjects/*/*/001/alf/FOV_01/{REGIONS}.npy"):
        final.unlink()
    return root


@pytest.fixture
def large(many_rois, tmp_path) -> Session:
    return only_session(many_rois, tmp_path / "one")


def only_session(root: Path, copy: Path) -> Session:
    """Return a copy of the session of a repository that has one."""
    (alf,) = (path.relative_to(root) for path in root.glob("*/Subjects/*/*/001/alf"))
    shutil.copytree(root / alf, copy / alf)
    lab, _, subject, date, number, _ = alf.parts
    return Session(copy, session_eid(lab, subject, date, number), copy / alf)


# -------------------------------------------------------------------------------------------------------------- FOVs


@pytest.mark.parametrize(
    ("day", "signal", "source"),
    [(0, "deconvolved", "estimate"), (1, "fluorescence", "estimate"), (2, "deconvolved", "final")],
)
def test_a_fov_is_its_files(session_of, day, signal, source):
    session = session_of(day)
    if signal == "fluorescence":  # as a session whose traces were not deconvolved
        (session.fov / f"{DECONVOLVED}.npy").unlink()
    found = session.read()
    suffix = "" if source == "final" else "_estimate"
    for name, value in {
        TIMES: found.frame_times, SHIFT: found.timeshift, POS: found.stack_pos, TYPES: found.roi_type,
        CLASSIFIER: found.cell_probability, REGIONS + suffix: found.region_ids, MLAPDV + suffix: found.mlapdv,
        {"deconvolved": DECONVOLVED, "fluorescence": F}[signal]: found.traces,
    }.items():  # fmt: skip
        np.testing.assert_array_equal(value, np.load(session.fov / f"{name}.npy"))
    assert (found.signal, found.region_source, found.mlapdv_source) == (signal, source, source)
    assert found.roi_uuids == (session.fov / UUIDS).read_text().split("\n")[1:]
    assert found.n_rois == len(found.roi_uuids)
    assert isinstance(found.traces, np.memmap)
    np.testing.assert_array_equal(found.is_neuron, np.load(session.fov / f"{TYPES}.npy") == 1)
    assert found.frame_period == pytest.approx(np.median(np.diff(np.load(session.fov / f"{TIMES}.npy"))))


def test_only_the_files_that_are_needed_are_opened_and_all_are_recorded(session):
    global OPENED
    one = session.one()
    OPENED = []
    try:
        found = read_fov(one, session.eid, 1, "alf/FOV_01")
    finally:
        opened, OPENED = {path for path in OPENED if path.startswith(str(session.alf))}, None
    names = [f"{n}.npy" for n in (TIMES, SHIFT, POS, TYPES, DECONVOLVED, CLASSIFIER)]
    names += [UUIDS, f"{REGIONS}_estimate.npy", f"{MLAPDV}_estimate.npy"]
    # what is compared: the start of the other FOV, fluorescence and neuropil, and the names of types, the usual ones
    others = {
        str(session.alf / "FOV_00" / f"{TIMES}.npy"),
        str(session.fov / f"{F}.npy"),
        str(session.fov / "mpci.ROINeuropilActivityF.npy"),
        str(session.fov / TYPE_NAMES),
    }
    assert opened - others == {str(session.fov / name) for name in names}
    assert sorted(source.dataset for source in found.sources) == sorted(f"alf/FOV_01/{name}" for name in names)


def test_sources_hold_size_hash_and_id_of_each_file(session):
    found, table = session.read(), pd.read_parquet(session.root / "datasets.pqt").reset_index()
    ids = dict(zip(table["rel_path"], table["id"], strict=True))
    for source in found.sources:
        content = (session.alf.parent / source.dataset).read_bytes()
        assert (source.size, source.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (source.dataset_id, source.revision) == (ids[source.dataset], "")


@pytest.mark.parametrize("final", [(), (REGIONS,), (MLAPDV,), (REGIONS, MLAPDV)], ids=str)
def test_final_locations_are_taken_before_estimates_each_by_itself(session_of, final):
    session = session_of(2)
    for name in {REGIONS, MLAPDV} - set(final):
        (session.fov / f"{name}.npy").unlink()
    found = session.read()
    for name, value, source in (
        (REGIONS, found.region_ids, found.region_source),
        (MLAPDV, found.mlapdv, found.mlapdv_source),
    ):
        assert source == ("final" if name in final else "estimate")
        suffix = "" if name in final else "_estimate"
        np.testing.assert_array_equal(value, np.load(session.fov / f"{name}{suffix}.npy"))


def flag_frames(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Write flags of frames; return those of Suite2p and the classes."""
    n_frames = len(np.load(session.fov / f"{TIMES}.npy"))
    bad, classes = np.zeros(n_frames, dtype=bool), np.zeros(n_frames, dtype=np.uint32)
    bad[4], classes[6:9] = True, 2
    np.save(session.fov / f"{BAD}.npy", bad)
    np.save(session.fov / f"{QC}.npy", classes)
    (session.fov / QC_NAMES).write_text("qc_values\tqc_labels\n0\tok\n2\tPMT off\n")
    return bad, classes


def test_flags_of_frames_are_read_with_the_names_of_their_classes(session):
    found = session.read()
    assert (found.bad_frames, found.frame_qc, found.frame_qc_names) == (None,) * 3
    before = session.read().sources
    bad, classes = flag_frames(session)
    found = session.read()
    read = {source.dataset for source in found.sources}
    assert set(fov_datasets(SessionReader(session.one(), session.eid), "alf/FOV_01")) == read
    again = read_fov(session.one(), session.eid, 1, "alf/FOV_01", recorded=before)
    assert (again.bad_frames, again.frame_qc, again.frame_qc_names) == (None,) * 3  # they were not recorded
    np.testing.assert_array_equal(found.bad_frames, bad)
    np.testing.assert_array_equal(found.frame_qc, classes)
    assert found.bad_frames.dtype == bool
    assert found.frame_qc.dtype == np.uint32
    assert found.frame_qc_names == {"0": "ok", "2": "PMT off"}
    flagged = flagged_frames(found.bad_frames, found.frame_qc, found.frame_qc_names)
    assert np.flatnonzero(flagged).tolist() == [4, 6, 7, 8]
    (session.fov / QC_NAMES).unlink()
    found = session.read()
    assert found.frame_qc_names is None
    np.testing.assert_array_equal(flagged_frames(None, found.frame_qc, None), classes == 2)


def test_which_class_of_frames_is_good_is_said_by_its_name():
    classes = np.array([0, 1, 2, 1], dtype=np.uint32)
    names = {"0": "PMT off", "1": "OK", "2": "high signal"}
    assert flagged_frames(None, classes, names).tolist() == [True, False, True, False]
    assert flagged_frames(np.zeros(4, dtype=bool), np.zeros(4, dtype=np.uint32), None) is None


@pytest.mark.parametrize("table", ["", "qc_values\tqc_labels\n", "value,label\n0,ok\n", "a\tb\nx\tok\n"])
def test_a_damaged_table_of_classes_is_refused(session, table):
    flag_frames(session)
    (session.fov / QC_NAMES).write_text(table)
    check_refusal(session, QC_NAMES, ("expected a number, a tab and a name per line",))


@pytest.mark.parametrize("name", [TIMES, SHIFT, TYPES, CLASSIFIER, f"{REGIONS}_estimate", BAD, QC])
def test_a_column_as_matlab_writes_it_is_a_vector(session, name):
    flag_frames(session)
    expected = session.read()
    session.change(name, lambda vector: vector[:, None])
    found = session.read()
    for field in fields(expected):
        if field.name != "reader":
            np.testing.assert_equal(getattr(found, field.name), getattr(expected, field.name))


def test_what_may_be_missing_is_none(session):
    for name in (f"{CLASSIFIER}.npy", UUIDS, f"{REGIONS}_estimate.npy", f"{MLAPDV}_estimate.npy"):
        (session.fov / name).unlink()
    found = session.read()
    assert (found.cell_probability, found.roi_uuids, found.region_ids, found.mlapdv) == (None,) * 4
    assert (found.region_source, found.mlapdv_source) == ("none", "none")


def test_a_classifier_of_several_classes_gives_that_of_cells(session):
    session.change(CLASSIFIER, lambda p: np.c_[1 - p, p, np.zeros(len(p))])
    np.testing.assert_array_equal(session.read().cell_probability, np.load(session.fov / f"{CLASSIFIER}.npy")[:, 1])


def test_times_by_line_and_column_are_kept(session):
    session.change(SHIFT, lambda shift: np.add.outer(shift, np.arange(512) * 1e-8))
    assert session.read().timeshift.shape == (512, 512)


@pytest.mark.parametrize("original", [True, False])
def test_the_newest_revision_is_used_and_recorded(session, original):
    path = session.fov / f"{TYPES}.npy"
    types = np.load(path)
    for revision, shift in (("2025-06-01", 2), ("2025-01-01", 1)):
        (session.fov / f"#{revision}#").mkdir()
        np.save(session.fov / f"#{revision}#" / path.name, np.roll(types, shift))
    if not original:
        path.unlink()
    found = session.read()
    np.testing.assert_array_equal(found.roi_type, np.roll(types, 2))
    (source,) = [source for source in found.sources if "ROITypes" in source.dataset]
    assert (source.dataset, source.revision) == (f"alf/FOV_01/#2025-06-01#/{path.name}", "2025-06-01")
    assert source.dataset_id


def test_a_limit_that_excludes_all_revisions_is_named(session, monkeypatch):
    import one.api

    path = session.fov / f"{TYPES}.npy"
    (session.fov / "#2025-06-01#").mkdir()
    path.rename(session.fov / "#2025-06-01#" / path.name)
    monkeypatch.setattr(one.api, "REVISION_LAST_BEFORE", "2025-03-01")  # ONE reads the variable when it is imported
    with pytest.raises(DataError, match=r"no revision of the dataset is old enough .found .*#2025-06-01#") as error:
        session.read()
    assert "ONE_REVISION_LAST_BEFORE" in str(error.value)


def test_places_in_the_brain_of_other_rois_are_refused(session):
    """A late histology of a former extraction, which had as many ROIs."""
    order = np.random.default_rng(5).permutation(len(np.load(session.fov / f"{TYPES}.npy")))
    session.change(f"{MLAPDV}_estimate", lambda places: places[order])
    with pytest.raises(DataError, match=r"the places in the brain are not those of the ROIs .*expected ml and ap"):
        session.read()


@pytest.mark.parametrize("newer", [F, "mpciROIs.uuids"])
def test_activity_that_is_older_than_the_rest_of_an_extraction_is_refused(session, newer):
    """The deconvolved activity of a new extraction was not there yet, and that of the former one is preferred."""
    (path,) = session.fov.glob(f"{newer}.*")
    (session.fov / "#2025-06-01#").mkdir()
    shutil.copy(path, session.fov / "#2025-06-01#" / path.name)
    match = rf"{DECONVOLVED}.npy: is of an older revision than {newer}.*found the original"
    with pytest.raises(DataError, match=match):
        session.read()


def revise(session: Session, *names: str, reverse: bool = True) -> None:
    """Write a revision of datasets of the FOV, by default with its ROIs in the opposite order."""
    folder = session.fov / "#2025-06-01#"
    folder.mkdir(exist_ok=True)
    for name in names:
        if name == UUIDS:
            n_rois = len((session.fov / UUIDS).read_text().splitlines()) - 1
            (folder / UUIDS).write_text("\n".join(["uuids", *(str(uuid.uuid4()) for _ in range(n_rois))]))
        else:
            array = np.load(session.fov / f"{name}.npy")
            turned = array[:, ::-1] if name in (F, DECONVOLVED) else array[::-1]
            np.save(folder / f"{name}.npy", turned if reverse else array)


#: The datasets of the FOV of day 0 with a row per ROI, and with a column per ROI.
OF_ROIS = (F, DECONVOLVED, TYPES, CLASSIFIER, POS, f"{REGIONS}_estimate", f"{MLAPDV}_estimate", UUIDS)


@pytest.mark.parametrize("absent", [TYPES, CLASSIFIER, POS])
def test_what_is_of_a_former_extraction_is_refused_beside_the_uuids_of_a_new_one(session, absent):
    revise(session, *(name for name in OF_ROIS if name != absent))
    check_refusal(session, f"{absent}.npy", ("is of an older revision than mpciROIs.uuids.csv", "found the original"))


def test_uuids_of_a_former_extraction_are_refused(session):
    revise(session, *(name for name in OF_ROIS if name != UUIDS))
    check_refusal(session, UUIDS, ("is of an older revision than mpciROIs.stackPos.npy", "found the original"))


@pytest.mark.parametrize(
    "alone", [(F, DECONVOLVED), (DECONVOLVED,), (POS,), (TYPES,), (CLASSIFIER, f"{MLAPDV}_estimate"), OF_ROIS], ids=str
)
def test_what_is_corrected_or_deconvolved_again_alone_is_read(session, alone):
    revise(session, *alone, reverse=alone == OF_ROIS)
    revised = {source.dataset.split("/")[-1] for source in session.read().sources if source.revision}
    read = {name if name == UUIDS else f"{name}.npy" for name in alone} - {f"{F}.npy"}
    assert revised == read


def histology_before_extraction(session: Session, name: str, of_these_rois: bool) -> None:
    """All is extracted anew, and the final regions or places have no revision."""
    revise(session, *OF_ROIS)
    final = np.load(session.fov / f"{name}_estimate.npy")
    np.save(session.fov / f"{name}.npy", final[::-1] if of_these_rois else final)


@pytest.mark.parametrize("name", [REGIONS, MLAPDV])
def test_a_histology_that_is_older_than_the_extraction_is_read_if_it_fits_the_positions(session, name):
    """Histology of real sessions may have no revision; with that of a former extraction ROIs had others' regions."""
    histology_before_extraction(session, name, of_these_rois=True)
    found = session.read()
    assert (found.region_source if name == REGIONS else found.mlapdv_source) == "final"
    histology_before_extraction(session, name, of_these_rois=False)
    says = "is of an older revision than mpciROIs.uuids.csv" if name == REGIONS else "are not those of the ROIs in"
    check_refusal(session, f"{name}.npy", (says,))


def test_an_older_histology_whose_fit_cannot_be_told_is_refused_and_one_region_fits_all(session):
    histology_before_extraction(session, MLAPDV, of_these_rois=True)
    np.save(session.fov / f"{REGIONS}.npy", np.full(len(np.load(session.fov / f"{TYPES}.npy")), 593))
    assert session.read().region_source == "final"
    session.change(MLAPDV, lambda places: np.where(np.arange(len(places))[:, None] < 9, places, np.nan))
    check_refusal(session, f"{MLAPDV}.npy", ("is of an older revision than mpciROIs.uuids.csv",))


def regions_of(positions: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return regions as a map gives them: one, two or four that meet in lines, or a corner with few ROIs."""
    y, x = positions[:, :2].T
    if kind == "one":
        return np.full(len(x), 593)
    if kind == "a corner":
        return np.where(y + x < np.sort(y + x)[max(len(x) // 20, 1)], 593, 821)
    angle = rng.uniform(0, np.pi)
    side = (x - 256) * np.cos(angle) + (y - 256) * np.sin(angle) > rng.uniform(-80, 80)
    other = (x - 256) * np.sin(angle) - (y - 256) * np.cos(angle) > 0 if kind == "four" else 0
    found = np.array([593, 821, 329, 985])[side + 2 * other]
    found[rng.integers(len(x), size=2)] = 997  # two without a region
    return found


@pytest.mark.parametrize("kind", ["one", "two", "four", "a corner"])
def test_regions_of_sound_fovs_are_hardly_ever_refused_and_those_in_another_order_are(kind):
    """No false alarm in 280 FOVs of 2 to 900 ROIs, within a region or with boundaries anywhere."""
    rng, told = np.random.default_rng(1), dict.fromkeys((40, 150, 900), 0)
    for n, times in ((5, 10), (20, 10), (40, 10), (100, 20), (150, 16), (900, 4)):
        for _ in range(times):
            positions = np.c_[rng.integers(0, 512, (n, 2)), np.zeros(n, int)]
            regions = regions_of(positions, kind, rng)
            assert _is_beyond_chance(*_shared_by_neighbours(positions, regions), n) is not False
            if n in told:
                other = rng.permutation(regions)
                told[n] += _is_beyond_chance(*_shared_by_neighbours(positions, other), n) is False
    if kind in ("two", "four"):
        assert told[40] == 0 and told[150] >= 14 and told[900] == 4  # of few ROIs it is not said
    if kind == "a corner":
        assert told[900] == 4


def test_the_neighbour_of_a_roi_is_one_of_its_plane():
    """Regions of one plane say nothing of those below it."""
    rng = np.random.default_rng(2)
    image = rng.integers(0, 512, (300, 2))
    positions = np.r_[np.c_[image, np.zeros(300, int)], np.c_[image + 1, np.ones(300, int)]]
    regions = np.where(positions[:, 2] == 1, 593, 821)
    assert _shared_by_neighbours(positions, regions)[0] == 600
    assert _shared_by_neighbours(positions[:, :2], regions)[0] < 200


@pytest.mark.parametrize("suffix", ["", "_estimate"])
def test_regions_in_another_order_are_refused_without_a_revision(large, suffix):
    """A final histology of a former extraction that was copied into the folder has no revision."""
    estimate, rng = np.load(large.fov / f"{REGIONS}_estimate.npy"), np.random.default_rng(3)
    np.save(large.fov / f"{REGIONS}{suffix}.npy", rng.permutation(estimate))
    check_refusal(large, f"{REGIONS}{suffix}.npy", (f"not those of the ROIs in {POS}.npy", f"of {len(estimate)} ROIs"))
    np.save(large.fov / f"{REGIONS}{suffix}.npy", estimate)
    assert large.read().region_source == ("estimate" if suffix else "final")


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_a_hash_of_one_is_recorded_only_if_it_is_that_of_the_file(session, kind):
    """A table that lists the hash of another file would say later that nothing has changed."""
    from iblutil.io import parquet

    session.one()
    path = session.root / "datasets.pqt"
    table, dataset = pd.read_parquet(path), f"alf/FOV_01/{TIMES}.npy"
    own = hashlib.new(kind, (session.alf.parent / dataset).read_bytes()).hexdigest()
    for listed in (own, own.upper(), hashlib.new(kind, b"another").hexdigest(), "no hash"):
        table["hash"] = table["hash"].astype(object)
        table.loc[table["rel_path"] == dataset, "hash"] = listed
        parquet.save(path, table, {"date_created": "2026-01-01 00:00"})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sources = read_fov(open_one(session.root), session.eid, 1, "alf/FOV_01").sources
        (source,) = [one for one in sources if one.dataset == dataset]
        said = [str(one.message) for one in caught if "not the file that ONE lists" in str(one.message)]
        assert source.one_hash == (listed if listed.lower() == own else "")
        assert len(said) == (listed.lower() not in (own, "no hash"))
        assert all(
            f"FOV_01, {dataset}" in text and f"expected {kind} {listed}, found {kind} {own}" in text for text in said
        )


def test_times_in_steps_that_a_fov_can_bear_are_read_with_a_warning(session):
    """A clock of 100 Hz moves frames by 5 ms at most, less than the time between FOVs; IBL's is of 1 kHz."""
    session.change(TIMES, lambda times: times.round(3))
    session.read()
    session.change(TIMES, lambda times: times.round(2))
    with pytest.warns(UserWarning, match=r"frame times are rounded: they are read .*found multiples of 0.01 s, 5% of"):
        assert len(session.read().frame_times)


def test_a_histology_far_from_the_estimate_is_read_with_a_warning(session_of):
    """Which of the two is wrong cannot be told: sides and numbers of FOVs have been exchanged in both."""
    session = session_of(2)
    session.change(MLAPDV, lambda places: places + np.array([0, 1500, 0]))
    session.read()
    session.change(MLAPDV, lambda places: places + np.array([0, 1000, 0]))
    with pytest.warns(UserWarning, match=r"the places are far from those of .*found 25\d\d µm"):
        assert session.read().mlapdv_source == "final"
    (session.fov / f"{MLAPDV}_estimate.npy").unlink()
    session.read()


def test_frames_without_light_at_the_end_are_read_if_they_are_flagged(session):
    """Without flags they may be frames that were never written."""
    session.change(DECONVOLVED, set_at(slice(400, None), 0))
    flag_frames(session)
    session.change(BAD, set_at(slice(400, None), True))
    assert not session.read().traces[400:].any()
    session.change(DECONVOLVED, np.ascontiguousarray)
    assert not session.read().traces[400:].any()
    session.change(BAD, set_at(slice(400, 480), False))
    check_refusal(session, f"{DECONVOLVED}.npy", ("nothing but zeros from frame 400 on, in 80 frames",))


@pytest.mark.parametrize(
    "change",
    [
        lambda session: (session.fov / f"{F}.npy").unlink(),
        lambda session: session.change(F, lambda traces: traces[:, :-1]),
        lambda session: session.change(F, lambda traces: set_at((300, 0), np.nan)(traces)),
        lambda session: truncate(session.fov / f"{F}.npy"),
        lambda session: session.change(F, np.ascontiguousarray),
        lambda session: np.save(session.fov / f"{NEUROPIL}.npy", 0.5 * np.load(session.fov / f"{F}.npy")),
        lambda session: np.save(session.fov / f"{NEUROPIL}.npy", np.zeros((3, 3))),
        lambda session: session.change(DECONVOLVED, set_at((slice(None), slice(0, 20)), 0)),
    ],
    ids=["none", "other ROIs", "NaN", "damaged", "in C order", "neuropil", "other neuropil", "silent cells"],
)
def test_fluorescence_that_is_not_read_refuses_no_sound_activity(session, change):
    """Its own errors are raised where it is read; the files that were read are the same."""
    expected = {source.dataset for source in session.read().sources}
    change(session)
    assert {source.dataset for source in session.read().sources} == expected


def test_fluorescence_of_a_former_extraction_is_not_compared(session):
    """The deconvolved activity of the new one is there already, and is what is read."""
    revise(session, *(name for name in OF_ROIS if name != F))
    assert session.read().signal == "deconvolved"
    (session.fov / "#2025-06-01#" / UUIDS).unlink()
    (session.fov / UUIDS).unlink()
    assert session.read().signal == "deconvolved"
    (session.fov / "#2025-06-01#" / f"{POS}.npy").unlink()
    session.change(POS, lambda positions: positions[::-1])
    check_refusal(session, f"{DECONVOLVED}.npy", ("not of the ROIs in mpci.ROIActivityF",))


def test_fluorescence_of_other_rois_is_refused_also_where_positions_were_corrected(session):
    revise(session, POS, reverse=False)
    assert session.read().signal == "deconvolved"
    session.change(F, lambda traces: traces[:, ::-1])
    check_refusal(session, f"{DECONVOLVED}.npy", ("not of the ROIs in mpci.ROIActivityF",))


@pytest.mark.parametrize("share", [0.5, 0.93])
def test_fluorescence_of_an_extraction_with_one_roi_less_is_refused(large, share):
    """Its lines are shifted from there on; as a whole both files agree, for most of the ROIs."""
    traces = np.load(large.fov / f"{F}.npy")
    n_rois = traces.shape[1]
    less = int(share * n_rois)
    assert large.read().signal == "deconvolved"
    order = [*np.delete(np.arange(n_rois), less), less]
    np.save(large.fov / f"{F}.npy", np.asfortranarray(traces[:, order]))
    with pytest.raises(DataError, match=f"{DECONVOLVED}.npy: the ROIs are shifted against those in {F}") as refused:
        large.read()
    found = re.search(r"of ROIs (\d+) to (\d+) (\d+) agree best with the ROI 1 before them", str(refused.value))
    first, last, n_shifted = map(int, found.groups())
    assert last == first + 19 > less and n_shifted >= 6


def test_neuropil_that_is_a_copy_of_the_fluorescence_is_refused(session):
    traces, data = np.load(session.fov / f"{F}.npy"), session.read()
    np.save(session.fov / f"{NEUROPIL}.npy", np.ascontiguousarray(traces))  # saved again: other bytes
    with pytest.raises(DataError, match=r"ROINeuropilActivityF.npy: the neuropil is a copy of the fluorescence"):
        read_fluorescence(session.one(), session.eid, 1, "alf/FOV_01", data, neuropil=True)
    read_fluorescence(session.one(), session.eid, 1, "alf/FOV_01", data, neuropil=False)


@pytest.mark.parametrize("is_part", [True, False], ids=["part of the fluorescence", "like that of neighbours only"])
def test_neuropil_in_another_order_is_refused(large, is_part):
    """Before any dF/F was asked for; it is as large, and no copy."""
    data, rng = large.read(), np.random.default_rng(0)
    waves = (
        rng.standard_normal((len(data.traces), 3))
        @ np.cos(data.stack_pos[:, :2] @ rng.normal(0, 0.02, (2, 3)) + [0, 1, 2]).T
    )
    own = 0.5 * np.load(large.fov / f"{F}.npy") if is_part else 200.0
    neuropil = own + 20 * waves + rng.standard_normal(waves.shape)
    np.save(large.fov / f"{NEUROPIL}.npy", np.asfortranarray(neuropil, np.float32))
    place = large.one(), large.eid, 1, "alf/FOV_01", data
    assert read_fluorescence(*place, neuropil=True).neuropil.shape == data.traces.shape
    for order in (np.arange(data.n_rois)[::-1], rng.permutation(data.n_rois)):
        np.save(large.fov / f"{NEUROPIL}.npy", np.asfortranarray(neuropil[:, order], np.float32))
        with pytest.raises(DataError, match=rf"{NEUROPIL}.npy: the neuropil is not of the ROIs in {F}.npy \(expected"):
            read_fluorescence(large.one(), large.eid, 1, "alf/FOV_01", data, neuropil=True)
    read_fluorescence(*place, neuropil=False)


@pytest.mark.parametrize("name", [F, NEUROPIL])
def test_fluorescence_that_ends_in_zeros_or_is_of_other_rois_is_refused_where_it_is_read(session, name):
    np.save(session.fov / f"{NEUROPIL}.npy", 0.5 * np.load(session.fov / f"{F}.npy"))
    data = session.read()
    read_fluorescence(session.one(), session.eid, 1, "alf/FOV_01", data, neuropil=True)
    traces = np.load(session.fov / f"{name}.npy")
    session.change(name, set_at(slice(400, None), 0))
    with pytest.raises(DataError, match=rf"FOV_01, alf/FOV_01/{name}.npy: the activity ends in zeros of all ROIs"):
        read_fluorescence(session.one(), session.eid, 1, "alf/FOV_01", data, neuropil=True)
    np.save(session.fov / f"{name}.npy", traces[:, ::-1])
    if name == F:
        with pytest.raises(DataError, match=rf"{DECONVOLVED}.npy: the deconvolved activity is not of the ROIs in {F}"):
            read_fluorescence(session.one(), session.eid, 1, "alf/FOV_01", data, neuropil=False)


def name_types(session: Session, *names: str) -> None:
    lines = [f"{number}\t{name}" for number, name in enumerate(names)]
    (session.fov / TYPE_NAMES).write_text("\n".join(["roi_values\troi_labels", *lines]))


@pytest.mark.parametrize("names", [("cell", "no cell"), ("Neuron", "non-neuron"), ("neuron", "not_a_cell", "cell")])
def test_which_type_is_a_neuron_is_said_by_its_name(session, names):
    """The numbers of types were to change with other classifiers; the file is read again with the FOV."""
    expected = session.read()
    session.change(TYPES, lambda types: 1 - types)
    name_types(session, *names)
    found = session.read()
    np.testing.assert_array_equal(found.is_neuron, expected.is_neuron)
    np.testing.assert_array_equal(found.roi_type, 1 - expected.roi_type)
    read = {source.dataset for source in found.sources}
    assert set(fov_datasets(SessionReader(session.one(), session.eid), "alf/FOV_01")) == read
    assert f"alf/FOV_01/{TYPE_NAMES}" in read
    again = read_fov(session.one(), session.eid, 1, "alf/FOV_01", recorded=found.sources)
    np.testing.assert_array_equal(again.is_neuron, expected.is_neuron)


def test_names_that_say_what_is_taken_without_them_are_no_new_dataset(session):
    """All FOVs that former versions have read have this file, and no record of it."""
    dataset = f"alf/FOV_01/{TYPE_NAMES}"
    for names in (("no cell", "cell"), ("not neuron", "Neuron", "blob")):
        name_types(session, *names)
        assert dataset not in fov_datasets(SessionReader(session.one(), session.eid), "alf/FOV_01")
        assert dataset not in {source.dataset for source in session.read().sources}
    (session.fov / TYPE_NAMES).unlink()
    assert session.read().is_neuron.any()


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("no cell", "blob"), ("it is not known whether ROIs of these names are neurons", "found 'blob'")),
        (("cell", "no cell"), ("contradict mpciROIs.cellClassifier.npy", "found 0% of pairs")),
        ((), ("expected a number, a tab and a name per line", "found no line below a header")),
    ],
    ids=["unknown", "exchanged", "empty"],
)
def test_names_of_types_that_cannot_be_used_are_refused(session, names, parts):
    name_types(session, *names)
    check_refusal(session, f"{TYPES}.npy" if "cell" in names[:1] else TYPE_NAMES, parts)
    reader = SessionReader(session.one(), session.eid)
    assert (f"alf/FOV_01/{TYPE_NAMES}" in fov_datasets(reader, "alf/FOV_01")) == bool(names)


def test_fov_folders_that_one_does_not_list_are_told(session, tmp_path):
    """ONE does not follow links to folders: a FOV was missing, and nobody was told."""
    assert unlisted_folders(session.one(), session.eid) == []
    (session.alf / "FOV_07").mkdir()  # there is no imaging in it
    shutil.move(session.fov, tmp_path / "elsewhere")
    session.fov.symlink_to(tmp_path / "elsewhere")
    one = session.one()
    assert list(fov_folders(one, session.eid)) == [0]
    assert unlisted_folders(one, session.eid) == ["alf/FOV_01"]
    shutil.move(session.alf / "FOV_00", tmp_path / "zero")
    (session.alf / "FOV_00").symlink_to(tmp_path / "zero")
    one = session.one()
    assert unlisted_folders(one, session.eid) == ["alf/FOV_00", "alf/FOV_01"]
    assert find_sessions(one) == [session.eid]
    ((scanned,), _) = scan(one)
    assert scanned.raster == "imaging in folders that are not read: alf/FOV_00, alf/FOV_01"
    shutil.copytree(tmp_path / "elsewhere", session.alf / "FOV_02")  # after the tables were written
    assert unlisted_folders(one, session.eid) == ["alf/FOV_00", "alf/FOV_01", "alf/FOV_02"]


def test_revisions_that_one_does_not_list_are_told(session):
    """A new extraction, or one of trials, came as a revision, and the tables were not written again."""
    one, revision = session.one(), "#2024-05-01#"
    folders = [session.fov, session.alf, session.alf / "elsewhere"]
    for folder in folders:
        (folder / revision).mkdir(parents=True)
    (session.alf / revision / "licks.times.npy").touch()  # it is not read
    shutil.copy(session.fov / UIDS, session.alf / "elsewhere" / revision)  # nothing is read in this folder
    assert unlisted_revisions(one, session.eid) == []
    shutil.copy(session.fov / f"{TYPES}.npy", session.fov / revision)
    (session.alf / revision / "_ibl_trials.table.pqt").touch()
    assert unlisted_revisions(one, session.eid) == [f"alf/{revision}", f"alf/FOV_01/{revision}"]
    (session.alf / revision / "_ibl_trials.table.pqt").unlink()
    one = session.one()  # writes the tables
    assert unlisted_revisions(one, session.eid) == []
    shutil.copy(session.fov / UIDS, session.fov / revision)  # beside one that they list
    assert unlisted_revisions(one, session.eid) == [f"alf/FOV_01/{revision}"]


def test_a_scan_says_which_share_of_rois_is_tracked(session):
    for path in session.alf.glob(f"*/{UIDS}"):
        path.unlink()
    ((scanned,), _) = scan(session.one())
    assert (scanned.n_tracked_fovs, scanned.tracked_share) == (0, None)
    lines = ["5c1e0ad2-6f3b-4d1c-9b8a-0123456789ab", "", "-1", "None", "5C1E0AD2-6F3B-4D1C-9B8A-0123456789AC"]
    (session.fov / UIDS).write_text("\n".join(lines))
    (session.alf / "FOV_00" / UIDS).write_text("\n".join([lines[0]] * 3))
    ((scanned,), _) = scan(session.one())
    assert (scanned.n_tracked_fovs, scanned.tracked_share) == (2, (2 + 3) / (5 + 3))


CONTRADICT = "choices, stimuli and feedback contradict each other"


@pytest.mark.parametrize(
    ("columns", "change", "message"),
    [
        (["choice"], np.negative, CONTRADICT),
        (["choice"], lambda values: np.roll(values, 1), CONTRADICT),
        (["contrastLeft", "contrastRight"], lambda values: values[:, ::-1], CONTRADICT),
        (["response_times"], lambda values: np.roll(values, 1), "response_times are not those of these trials"),
        (["firstMovement_times"], lambda values: values + 20, "firstMovement_times are not those of these trials"),
    ],
)
def test_trials_that_contradict_themselves_are_refused(session, columns, change, message):
    """A column of other trials, of another session, or with another sign: no file is damaged, every number is wrong."""
    (path,) = session.task.glob("*trials.table*")
    table = pd.read_parquet(path)
    rows = [(path, column) if column in table else (session.task / f"_ibl_trials.{column}.npy", None)
            for column in columns]  # fmt: skip
    values = np.column_stack([table[column] if column else np.load(file) for file, column in rows])
    changed = change(values)
    for (file, column), one in zip(rows, changed.T, strict=True):
        if column:
            table[column] = one
            table.to_parquet(path)
        else:
            np.save(file, one)
    with pytest.raises(DataError, match=message):
        read_trials(session.one(), session.eid)


def test_stimuli_that_go_off_before_they_come_on_are_refused(session):
    """The trials table was aligned again, and the file beside it was not."""
    path = session.task / "_ibl_trials.stimOff_times.npy"
    np.save(path, np.load(path) - 5)
    with pytest.raises(DataError, match="stimuli go off before they come on"):
        read_trials(session.one(), session.eid)


def set_at(index: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.result_type(array, type(value)))
        array[index] = value
        return array

    return change


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def repeat_uuid(path: Path) -> None:
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:-1], lines[1]]))


def delete(path: Path) -> None:
    path.unlink()


def drop_last(array: np.ndarray) -> np.ndarray:
    return array[:-1]


# name, what is done to the array or to the file, what the message says; {t} frames, {n} ROIs of the sound FOV
ARRAY_DAMAGE = [
    (TIMES, lambda t: np.r_[t, t[-1] + 0.2], "expected {t} frames", "found {t_more} times"),
    (TIMES, drop_last, "expected {t} frames", "found {t_less} times"),
    (TIMES, lambda t: np.c_[t, t], "expected {t} frames", "({t}, 2)"),
    (TIMES, lambda t: 1000 * t, "a frame period of 0.01 to 1.0 s", "is the unit ms"),
    (TIMES, lambda t: t / 60, "a frame period of 0.01 to 1.0 s", "is the unit ms"),
    (TIMES, lambda t: np.arange(len(t)), "a frame period of 0.01 to 1.0 s", "found 1 from 0.0 to"),
    (TIMES, lambda t: np.r_[t[:5], t[4], t[6:]], "1 steps that do not increase", "after frame 4"),
    (TIMES, lambda t: t[::-1], "{t_less} steps that do not increase", "after frame 0"),
    (TIMES, set_at([7, 9], np.nan), "not finite", "2, the first at frame 7"),
    (TYPES, drop_last, "expected {n} ROIs", "found {n_less}"),
    (TYPES, lambda x: x[0], "expected {n} ROIs", "a scalar"),
    (TYPES, lambda x: np.c_[x, x], "expected ({n},)", "({n}, 2)"),
    (TYPES, set_at(2, 0.5), "not whole numbers", "0.5 for ROI 2"),
    (POS, set_at((2, 1), 7.3), "not whole numbers", "7.3 for ROI 2"),
    (POS, set_at((2, 1), np.nan), "not whole numbers", "nan for ROI 2"),
    (POS, lambda p: p[:, [0]], "expected ({n}, 3)", "({n},)"),
    (CLASSIFIER, set_at(4, 1.5), "0 to 1", "1.5 for ROI 4"),
    (CLASSIFIER, lambda p: p[:, None, None], "expected ({n},)", "({n}, 1, 1)"),
    (f"{MLAPDV}_estimate", lambda x: x[:, 0], "expected ({n}, 3)", "({n},)"),
    (f"{MLAPDV}_estimate", set_at((4, 1), np.inf), "or NaN", "for ROI 4"),
    (f"{MLAPDV}_estimate", lambda x: x / 1000, "at 50 to 20000", "is the unit mm"),
    (f"{MLAPDV}_estimate", lambda x: x * 1000, "at 50 to 20000", "is the unit mm"),
    (f"{REGIONS}_estimate", set_at(4, np.nan), "not whole numbers", "nan for ROI 4"),
    (POS, drop_last, "expected {n} ROIs", "found {n_less}"),
    (POS, lambda p: p[:, 0], "expected ({n}, 3)", "found ({n},)"),
    (POS, set_at((3, 0), 512), "rows 0 to 511", "to 512"),
    (POS, set_at((3, 0), -1), "rows 0 to 511", "rows -1 to"),
    (CLASSIFIER, drop_last, "expected {n} ROIs", "found {n_less}"),
    (f"{REGIONS}_estimate", drop_last, "expected {n} ROIs", "found {n_less}"),
    (f"{REGIONS}_estimate", set_at([1, 4], 123456789), "2 ROIs have a region id", "123456789"),
    (f"{MLAPDV}_estimate", drop_last, "expected {n} ROIs", "found {n_less}"),
    (f"{MLAPDV}_estimate", lambda x: x / 25, "0.3 to 5.0 µm in the brain for each pixel", "are the places in voxels"),
    (DECONVOLVED, lambda x: x[:, ::-1], "not of the ROIs in mpci.ROIActivityF", "in another order it is 50 %"),
    (DECONVOLVED, lambda x: np.roll(x, 1, axis=1), "not of the ROIs in mpci.ROIActivityF", "in another order"),
    (DECONVOLVED, lambda x: x + 4 * x.std(), "not those of deconvolved activity", "is it fluorescence?"),
    (DECONVOLVED, lambda x: x - x.mean(), "not those of deconvolved activity", "ROIs; the 5th percentile is -"),
    (DECONVOLVED, set_at(slice(400, None), 0), "ends in zeros of all ROIs", "nothing but zeros from frame 400 on, in "),
    (DECONVOLVED, np.zeros_like, "ends in zeros of all ROIs", "from frame 0 on, in "),
    (
        TYPES,
        lambda x: 1 - x,
        "contradict mpciROIs.cellClassifier.npy",
        "found 0% of pairs; the median of neurons is 0.",
    ),
    (TYPES, set_at(2, 7), "a type of ROIs has no name", "types of mpciROITypes.names.tsv: 0, 1, found 7"),
    (POS, lambda p: p[:, [2, 0, 1]], "the columns are in another order", "found 1, "),
    (POS, lambda p: p[:, [0, 2, 1]], "the columns are in another order", "different values of {n} ROIs"),
    (SHIFT, np.zeros_like, "scan lines are not one after the other", "found 0 s in the mean of 512 lines"),
    (SHIFT, lambda s: s / 60, "scan lines are not one after the other", "found 6.9"),
    (SHIFT, lambda s: s[::-1], "scan lines are not one after the other", "found -4.16e-05 s"),
    (TIMES, lambda t: t.round(1), "frame times are rounded", "multiples of 0.1 s, 5"),
    (TIMES, lambda t: np.round(t / 0.025) * 0.025, "frame times are rounded", "multiples of 0.025 s, 1"),
    (DECONVOLVED, lambda x: x[:, :0], "the FOV is empty", "{t} frames, 0 ROIs"),
    (DECONVOLVED, lambda x: x[:0], "the FOV is empty", "0 frames, {n} ROIs"),
    (DECONVOLVED, lambda x: x[:, :1], "2 ROIs or more", "{t} frames, 1 ROIs"),
    (DECONVOLVED, lambda x: x[:, 0], "(frames, ROIs)", "({t},)"),
    (DECONVOLVED, lambda x: x.astype("U3"), "integers or floats", "<U3"),
    (DECONVOLVED, lambda x: x.astype(complex), "integers or floats", "complex128"),
    (DECONVOLVED, lambda x: x.astype(np.uint8), "numbers of one byte", "found uint8"),  # 300 would be 44
    (POS, lambda p: p.astype(np.uint8), "numbers of one byte", "found uint8"),
    (DECONVOLVED, set_at((7, 3), np.nan), "not finite", "nan at frame 7 of ROI 3"),
    (DECONVOLVED, lambda x: set_at((7, 3), -np.inf)(np.ascontiguousarray(x)), "not finite", "-inf at frame 7 of ROI 3"),
    (SHIFT, lambda s: s[:10], "rows 0 to 9", "found rows"),
    (SHIFT, set_at(5, np.inf), "not finite", "(512,)"),
    (SHIFT, lambda s: 1000 * s, "expected 0 to 0.19", "is the unit ms"),
    (SHIFT, lambda s: -s, "expected 0 to 0.19", "found -0.0"),
    (BAD, drop_last, "expected {t} frames", "found {t_less}"),
    (BAD, set_at(3, 2), "whole numbers from 0 to 1", "2 at frame 3"),
    (BAD, set_at(3, np.nan), "whole numbers from 0 to 1", "nan at frame 3"),
    (QC, drop_last, "expected {t} frames", "found {t_less}"),
    (QC, set_at(3, -1), "whole numbers from 0", "-1 at frame 3"),
    (QC, set_at(3, 7), "a class of frames has no name", "mpciFrameQC.names.tsv: 0, 2", "found 7"),
    (SHIFT, lambda s: np.zeros((512, 10)), "columns 0 to 9", "found columns"),
]
FILE_DAMAGE = [
    (f"{TIMES}.npy", delete, "dataset is missing"),
    (f"{TYPES}.npy", delete, "dataset is missing"),
    (f"{POS}.npy", delete, "dataset is missing"),
    (f"{SHIFT}.npy", delete, "dataset is missing"),
    (f"{DECONVOLVED}.npy", truncate, "truncated"),
    (f"{TIMES}.npy", truncate, "truncated"),
    (f"{MLAPDV}_estimate.npy", lambda path: path.write_bytes(b""), "0 bytes"),
    (UUIDS, lambda path: path.write_text(path.read_text().rsplit("\n", 1)[0]), "expected {n} ROIs", "found {n_less}"),
    (UUIDS, repeat_uuid, "expected {n} unique", "found {n_less}"),
    (UUIDS, lambda path: path.write_bytes(b"uuids\n\xff\xff"), "is not text"),
    (UUIDS, lambda path: path.write_text("uuids" + "\n" * len(path.read_text().splitlines())), "'' for ROI 0"),
]


def check_refusal(session: Session, dataset: str, parts: tuple[str, ...]) -> None:
    n_frames, n_rois = np.load(session.fov / f"{F}.npy", mmap_mode="r").shape
    numbers = {"t": n_frames, "t_more": n_frames + 1, "t_less": n_frames - 1, "n": n_rois, "n_less": n_rois - 1}
    with pytest.raises(DataError) as error:
        session.read()
    for part in (session.eid, "FOV_01", f"alf/FOV_01/{dataset}", *(part.format(**numbers) for part in parts)):
        assert part in str(error.value)


@pytest.mark.parametrize("damage", ARRAY_DAMAGE, ids=lambda damage: f"{damage[0]}-{damage[2]}")
def test_an_array_that_does_not_fit_is_refused_with_place_and_numbers(session, damage):
    name, change, *parts = damage
    flag_frames(session)
    session.change(name, change)
    # positions are checked against the scan lines: the message names the lines
    check_refusal(session, f"{SHIFT if name == POS and 'rows' in parts[0] else name}.npy", parts)


@pytest.mark.parametrize("damage", FILE_DAMAGE, ids=lambda damage: f"{damage[0]}-{damage[2]}")
def test_a_damaged_or_missing_file_is_refused_with_its_place(session, damage):
    name, change, *parts = damage
    change(session.fov / name)
    check_refusal(session, name, parts)


def test_a_fov_without_activity_is_refused(session):
    for name in (F, DECONVOLVED):
        (session.fov / f"{name}.npy").unlink()
    with pytest.raises(DataError, match=rf"{session.eid}, FOV_01, alf/FOV_01/.*no activity.*{DECONVOLVED}.*{F}"):
        session.read()


@pytest.mark.parametrize("name", [f"{DECONVOLVED}.npy", UUIDS])
def test_a_file_that_is_gone_since_the_tables_were_written_is_refused(session, name):
    one = session.one()
    (session.fov / name).unlink()
    with pytest.raises(DataError, match=rf"{session.eid}, FOV_01, alf/FOV_01/{name}.*cannot provide the file"):
        read_fov(one, session.eid, 1, "alf/FOV_01")


@dataclass
class Canary:
    """Makes a folder when it is unpickled."""

    folder: Path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", [DECONVOLVED, TIMES, TYPES])
@pytest.mark.parametrize("as_array", [True, False], ids=["npy", "pickle"])
def test_pickled_objects_are_refused_and_not_executed(session, tmp_path, name, as_array):
    array, path = np.array([[Canary(tmp_path / "sung")]], dtype=object), session.fov / f"{name}.npy"
    np.save(path, array, allow_pickle=True) if as_array else array.dump(path)
    np.load(path, allow_pickle=True)
    (tmp_path / "sung").rmdir()  # the canary sings when it is loaded carelessly
    check_refusal(session, path.name, ("objects",))
    assert not (tmp_path / "sung").exists()


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(-5,)", "(10, 1e3)", "(" + "9" * 30 + ",)", "(3" + " " * 20_000]
)
def test_a_header_that_promises_too_much_is_refused_at_once(session, shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode("latin1")
    magic = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little")
    (session.fov / f"{TIMES}.npy").write_bytes(magic + header + bytes(800))
    check_refusal(session, f"{TIMES}.npy", ("cannot be read as a plain array",))


def test_random_damage_of_a_header_never_gives_another_error(session):
    path, rng = session.fov / f"{TIMES}.npy", np.random.default_rng(0)
    sound, reader = path.read_bytes(), SessionReader(session.one(), session.eid)
    names = set()
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[rng.integers(8, 80)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            names.add(reader.array(path.name, "alf/FOV_01").dtype.name)
        except DataError as error:
            names.add(error.problem.split("(")[0])
    assert "cannot be read as a plain array, it may be truncated or hold objects " in names


def test_a_copied_fov_is_refused_and_the_first_kept(session):
    shutil.copy(session.alf / "FOV_00" / f"{DECONVOLVED}.npy", session.fov)
    for name in (TIMES, POS, TYPES, CLASSIFIER, f"{REGIONS}_estimate", f"{MLAPDV}_estimate"):
        shutil.copy(session.alf / "FOV_00" / f"{name}.npy", session.fov)
    check_refusal(session, f"{DECONVOLVED}.npy", ("the activity is a copy of another FOV's", "FOV_00"))
    for saved_again in (np.ascontiguousarray, lambda x: np.ascontiguousarray(x, dtype=float)):  # other bytes
        session.change(DECONVOLVED, saved_again)
        check_refusal(session, f"{DECONVOLVED}.npy", ("found the same values in FOV_00",))
    # as many ROIs, and other activity
    session.change(DECONVOLVED, lambda x: x + 1)
    (session.fov / UUIDS).unlink()
    for fov, reader in ((0, "FOV_01"), (1, "FOV_00")):  # which of the two has the times of the other cannot be told
        with pytest.raises(DataError, match=f"frame times are those of another FOV .*{reader} starts at the same"):
            read_fov(session.one(), session.eid, fov, f"alf/FOV_{fov:02d}")
    session.change(TIMES, lambda times: times + 0.05)
    assert [source.dataset for source in session.read().sources if "FOV_00" in source.dataset] == []


def test_a_fov_that_does_not_exist_is_refused(session):
    with pytest.raises(DataError, match=r"FOV_07.*no activity"):
        read_fov(session.one(), session.eid, 7, "alf/FOV_07")


def test_a_dataset_is_recorded_once_and_not_found_in_another_folder(session):
    reader = SessionReader(session.one(), session.eid)
    for _ in range(2):
        reader.path(f"{TIMES}.npy", "alf/FOV_00")
    assert [source.dataset for source in reader.sources] == [f"alf/FOV_00/{TIMES}.npy"]
    assert not reader.has(f"{TIMES}.npy", "alf")
    assert not reader.has("times.npy", "alf/FOV_00")


# ------------------------------------------------------------------------------------------------------------ client


def test_open_one_gives_the_same_client_for_the_same_folder(session, monkeypatch):
    one = session.one()
    monkeypatch.chdir(session.root.parent)
    assert open_one("one") is one


def test_datasets_of_a_session_are_looked_for_once_in_the_same_tables(session, monkeypatch):
    one, asked, search = session.one(), [], type(session.one()).list_datasets
    monkeypatch.setattr(one, "list_datasets", lambda *args, **kw: asked.append(args) or search(one, *args, **kw))
    first = client.datasets_of(one, session.eid)
    assert client.datasets_of(one, session.eid) is first and len(asked) == 1
    pd.testing.assert_frame_equal(first, search(one, session.eid, details=True, keep_eid_index=True))
    one._cache["datasets"] = one._cache["datasets"].iloc[1:]  # as after tables were loaded again
    assert len(client.datasets_of(one, session.eid)) == len(first) - 1 and len(asked) == 2
    for number in range(2 * client.MAX_KEPT):
        client.datasets_of(one, str(uuid.uuid3(uuid.NAMESPACE_DNS, str(number))))
    assert len(client._kept[one][1]) == client.MAX_KEPT


def test_open_one_refuses_a_missing_folder_and_one_without_tables(tmp_path):
    with pytest.raises(ConfigError, match=f"{tmp_path}/nowhere is not a folder"):
        open_one(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no session tables"):
        open_one(tmp_path)
    write_one_tables(tmp_path)  # tables without a session
    with pytest.raises(ConfigError, match="no session tables"):
        open_one(tmp_path)


def test_open_one_does_not_wait_for_an_answer_where_one_was_never_set_up(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="ONE is not set up"):
        open_one()


def test_session_info_is_the_folder(demo, session):
    info = session_info(session.one(), session.eid)
    assert (info.lab, info.subject, info.session_number) == ("demolab", "SP999", 1)
    assert info.session_date == datetime.date.fromisoformat(demo.dates[0])
    assert (info.eid, info.projects) == (session.eid, "ibl_mesoscope_active")
    assert "biasedChoiceWorld" in info.task_protocol


@pytest.mark.parametrize("eid", [str(uuid.uuid3(uuid.NAMESPACE_DNS, "x")), "not-an-eid", ""])
def test_an_unknown_or_malformed_id_is_refused_by_name(session, eid):
    with pytest.raises(DataError, match=f"session {eid}: not a session of this ONE client") as error:
        session_info(session.one(), eid)
    assert str(session.root) in str(error.value)


def test_sessions_are_found_oldest_first_and_by_exact_subject(session):
    subjects = session.alf.parents[2].parent
    places = ["SP999/2024-12-31/001", "SP999/2025-03-03/002", "SP9990/2025-01-01/001", "xSP999/2025-01-01/001"]
    for place in places:
        shutil.copytree(session.alf / "FOV_00", subjects / place / "alf" / "FOV_00")
    (subjects / "SP999/2025-02-01/001/alf").mkdir(parents=True)
    shutil.copy(session.alf / TABLE, subjects / "SP999/2025-02-01/001/alf")  # behaviour without imaging
    one = session.one()

    def eids(*expected: str) -> list[str]:
        return [session_eid("demolab", *place.split("/")) for place in expected]

    assert find_sessions(one, subject="SP999") == eids(places[0], "SP999/2025-03-03/001", places[1])
    assert find_sessions(one) == eids(places[0], "SP999/2025-03-03/001", *places[1:])
    assert find_sessions(one, subject="SP99.") == find_sessions(one, subject="SP99") == []


def test_fov_folders_are_by_number_whatever_else_there_is(session):
    shutil.copytree(session.alf / "FOV_00", session.alf / "FOV_10")
    shutil.copytree(session.alf / "FOV_00", session.alf / "FOV_02" / "#2025-01-01#")
    shutil.copytree(session.alf / "FOV_00", session.alf / "FOV_03_old")
    assert list(fov_folders(session.one(), session.eid).items()) == [(n, f"alf/FOV_{n:02d}") for n in (0, 1, 2, 10)]
    assert fov_folders(session.one(), str(uuid.uuid3(uuid.NAMESPACE_DNS, "x"))) == {}


@pytest.mark.parametrize("name", ["FOV_2", "FOV_100", "FOV_00_deep", "fov_02", "plane0"])
def test_imaging_in_folders_of_other_names_is_reported(session, name):
    assert unread_folders(session.one(), session.eid) == []
    for folder in (session.alf / name, session.alf / name / "#2025-01-01#"):
        folder.mkdir()
        shutil.copy(session.fov / f"{TIMES}.npy", folder)
    assert unread_folders(session.one(), session.eid) == [f"alf/{name}"]
    for folder in (session.alf / "FOV_00", session.fov):
        shutil.rmtree(folder)
    one = session.one()
    assert fov_folders(one, session.eid) == {}
    assert find_sessions(one) == [session.eid]  # registering it says what is wrong


# --------------------------------------------------------------------------------------------------------- behaviour


def trials_by_pandas(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder / TABLE)
    for name in ("stimOff_times", "quiescencePeriod"):
        table[name] = np.load(folder / f"_ibl_trials.{name}.npy")
    return table.astype(float)


@pytest.mark.parametrize("day", [0, 1])
def test_trials_are_the_files_in_alf_and_in_a_task_folder(session_of, day):
    session = session_of(day)
    found, expected = read_trials(session.one(), session.eid), trials_by_pandas(session.task)
    collection = ["alf", "alf/task_00"][day]
    assert session.task == session.alf.parent / collection
    assert set(found.table["collection"]) == {collection}
    pd.testing.assert_frame_equal(found.table.drop(columns="collection")[expected.columns], expected, check_names=False)
    read = {f"{collection}/_ibl_trials.{n}" for n in ("table.pqt", "stimOff_times.npy", "quiescencePeriod.npy")}
    assert {source.dataset for source in found.sources} == read


def shift_trials(folder: Path, by: float) -> None:
    """Move the trials and the wheel of a task in time, s."""
    table = pd.read_parquet(folder / TABLE)
    times = [name for name in table if "times" in name or "intervals" in name]
    table[times] += by
    table.to_parquet(folder / TABLE)
    for name in ("_ibl_trials.stimOff_times.npy", "_ibl_wheel.timestamps.npy"):
        np.save(folder / name, np.load(folder / name) + by)


def test_protocols_follow_each_other_in_order_of_time(session_of):
    session = session_of(1)
    first = trials_by_pandas(session.task)
    for name, by in (("task_01", 10_000), ("task_02", 5_000)):
        shutil.copytree(session.task, session.alf / name)
        shift_trials(session.alf / name, by)
    (session.alf / "task_01" / "_ibl_trials.quiescencePeriod.npy").unlink()
    pd.read_parquet(session.alf / "task_01" / TABLE).iloc[:5].to_parquet(session.alf / "task_01" / TABLE)
    np.save(session.alf / "task_01" / "_ibl_trials.stimOff_times.npy", 1e4 + 60 * np.arange(1.0, 6.0))
    other = pd.read_parquet(session.alf / "task_02" / TABLE)  # other trials: the same are refused at any time
    other.assign(contrastRight=other["contrastRight"] / 2).to_parquet(session.alf / "task_02" / TABLE)
    with pytest.warns(UserWarning, match=r"alf/task_0[12]/.*most trials were not imaged .expected .* found 0% of them"):
        table = read_trials(session.one(), session.eid).table
    n = len(first)
    assert table["collection"].tolist() == ["alf/task_00"] * n + ["alf/task_02"] * n + ["alf/task_01"] * 5
    np.testing.assert_array_equal(table["choice"], np.r_[first["choice"], first["choice"], first["choice"][:5]])
    assert table.index.tolist() == list(range(2 * n + 5))
    assert np.all(np.diff(table["stimOn_times"]) > 0)


@pytest.mark.parametrize("part", [slice(None), slice(3, 8), slice(0, 1)])
def test_the_same_trials_in_two_folders_are_refused_by_name(session, part):
    """Copies would stand in training and test folds: noise would decode."""
    (session.alf / "task_00").mkdir()
    for path in session.alf.glob("_ibl_*.*"):
        shutil.copy(path, session.alf / "task_00")
    for path in (session.alf / "task_00").glob("_ibl_trials.*.npy"):
        path.unlink()
    pd.read_parquet(session.alf / TABLE).iloc[part].to_parquet(session.alf / "task_00" / TABLE)
    one = session.one()
    with pytest.raises(DataError, match="is a copy of") as error:
        read_trials(one, session.eid)
    assert {f"alf/{TABLE}", f"alf/task_00/{TABLE}"} <= set(re.findall(r"alf/[\w./]+pqt", str(error.value)))
    assert f"; {2 * len(range(20)[part])} of " in str(error.value)  # start and stimulus of each trial
    with pytest.raises(DataError, match=r"alf/task_00/_ibl_wheel.timestamps.npy: is a copy of alf/_ibl_wheel"):
        read_wheel(one, session.eid)


def test_tasks_that_overlap_in_time_are_refused_with_their_times(session_of):
    session = session_of(1)
    shutil.copytree(session.task, session.alf / "task_01")
    shift_trials(session.alf / "task_01", 0.123)
    starts = pd.read_parquet(session.task / TABLE)["intervals_0"]
    for read in (read_trials, read_wheel):
        with pytest.raises(DataError, match=r"alf/task_01/.*overlaps in time with alf/task_00/") as error:
            read(session.one(), session.eid)
    with pytest.raises(DataError, match=f"{re.escape(str(starts[0]))} to .* s in alf/task_00 and .* s in alf/task_01"):
        read_trials(session.one(), session.eid)
    assert "expected tasks one after the other" in str(error.value)


def test_a_trial_that_is_there_twice_is_refused(session):
    for path in session.task.glob("_ibl_trials.*.npy"):
        path.unlink()
    table = pd.read_parquet(session.task / TABLE)
    table.iloc[np.repeat(np.arange(len(table)), 2)].to_parquet(session.task / TABLE)
    with pytest.raises(DataError, match=r"a trial is there twice .expected trials in order of time, each once.* 1"):
        read_trials(session.one(), session.eid)


@pytest.mark.parametrize("order", [("task_01", "task_00"), ("task_00", "task_01")], ids=str)
def test_another_task_beside_a_sound_one_is_left_out_with_the_reason(session_of, order):
    session = session_of(1)
    expected = read_trials(session.one(), session.eid).table
    other, sound = order
    (session.task).rename(session.alf / "kept")
    shutil.copytree(session.alf / "kept", session.alf / sound)
    shutil.copytree(session.alf / "kept", session.alf / other)
    shutil.rmtree(session.alf / "kept")
    table = pd.read_parquet(session.alf / other / TABLE)
    table.drop(columns=["choice", "probabilityLeft"]).to_parquet(session.alf / other / TABLE)
    with pytest.warns(UserWarning, match=f"{other}/{TABLE}: .*expected choice, probabilityLeft.* is left out"):
        found = read_trials(session.one(), session.eid)
    assert set(found.table["collection"]) == {f"alf/{sound}"}
    pd.testing.assert_frame_equal(found.table.drop(columns="collection"), expected.drop(columns="collection"))
    assert list(found.left_out) == [f"alf/{other}"]
    assert "lacks columns" in found.left_out[f"alf/{other}"]
    assert f"alf/{other}/{TABLE}" in {source.dataset for source in found.sources}
    # of the other task only the table: otherwise an update would find its other files new for ever
    assert sorted(trial_datasets(SessionReader(session.one(), session.eid))) == sorted(s.dataset for s in found.sources)
    again = read_trials(session.one(), session.eid, found.sources)  # without a warning
    pd.testing.assert_frame_equal(again.table, found.table)
    assert again.left_out == found.left_out


@pytest.mark.parametrize("times", [lambda t: 1000 * t + 1e6, lambda t: t - 1e6], ids=["ms", "another clock"])
@pytest.mark.parametrize("day", [0, 1])
def test_behaviour_that_does_not_overlap_imaging_is_refused_with_both_times(session_of, day, times):
    session = session_of(day)
    imaged = np.load(session.alf / "FOV_00" / f"{TIMES}.npy")
    table = pd.read_parquet(session.task / TABLE)
    names = [name for name in table if "times" in name or "intervals" in name]
    table[names] = times(table[names])
    table.to_parquet(session.task / TABLE)
    for name in ("_ibl_wheel.timestamps.npy", "_ibl_trials.stimOff_times.npy"):
        path = session.task / name
        np.save(path, times(np.load(path) * (0.01 if "wheel" in name else 1)))
    one = session.one()
    for read in (read_trials, read_wheel):
        with pytest.raises(DataError, match="does not overlap imaging at all") as error:
            read(one, session.eid)
        assert f"between {imaged[0]} and " in str(error.value)
    # a FOV without sound times says nothing about the others, and none about behaviour
    for fov in ("FOV_00", "FOV_01"):
        np.save(session.alf / fov / f"{TIMES}.npy", 1000 * imaged)
    if table["intervals_0"][0] > 0:  # in ms, which is seen without imaging
        with pytest.raises(DataError, match="the task is too long: another unit than s"):
            read_trials(session.one(), session.eid)
    else:
        assert len(read_trials(session.one(), session.eid).table) == 20


#: Times of trials and wheel in other units, all of which overlap imaging, and what is said of trials and wheel.
UNITS = {
    "ms": (lambda t: 1000 * (t - 24.98), "unless the unit is ms", "the wheel recording is too long"),
    "minutes": (lambda t: t / 60 + 20, "trials are in another unit than s .expected stimuli 0.5 to 600 s apart", None),
    "frames": (lambda t: t / 0.1969, *["unless the unit is numbers of frames"] * 2),
    "frames from the first on": (lambda t: (t - 12) / 0.1969, *["unless the unit is numbers of frames"] * 2),
}


@pytest.mark.parametrize("unit", UNITS)
def test_times_in_other_units_that_overlap_imaging_are_refused(session, unit):
    convert, of_trials, of_wheel = UNITS[unit]
    table = pd.read_parquet(session.task / TABLE)
    names = [name for name in table if "times" in name or "intervals" in name]
    table[names] = convert(table[names])
    table.to_parquet(session.task / TABLE)
    for name in ("_ibl_wheel.timestamps.npy", "_ibl_trials.stimOff_times.npy"):
        np.save(session.task / name, convert(np.load(session.task / name)))
    one = session.one()
    with pytest.raises(DataError, match=f"{of_trials}.*found .* to "):
        read_trials(one, session.eid)
    if of_wheel:  # a wheel can be as slow as one in minutes
        with pytest.raises(DataError, match=f"{of_wheel}.*found .* to "):
            read_wheel(one, session.eid)


def test_imaging_that_ended_early_is_a_warning_with_both_figures(session):
    """No other unit fits."""
    for fov in ("FOV_00", "FOV_01"):
        times = np.load(session.alf / fov / f"{TIMES}.npy")
        np.save(session.alf / fov / f"{TIMES}.npy", times[: int(0.3 * len(times))])
    with pytest.warns(UserWarning, match=r"most trials were not imaged .expected times in s between .*found \d+% of"):
        assert len(read_trials(session.one(), session.eid).table) == 20
    assert len(read_wheel(session.one(), session.eid).timestamps)


@pytest.mark.parametrize("times", [lambda t: 1000 * t, lambda t: t + 2000], ids=["ms", "another clock"])
def test_the_same_trials_at_other_times_are_refused_by_name(session_of, times):
    """They do not overlap in time, and were taken for a second task: there were twice as many trials."""
    session = session_of(1)
    shutil.copytree(session.task, session.alf / "task_01")
    table, path = pd.read_parquet(session.task / TABLE), session.alf / "task_01" / "_ibl_trials.stimOff_times.npy"
    names = [name for name in table if "times" in name or "intervals" in name]
    table[names] = times(table[names])
    table.to_parquet(session.alf / "task_01" / TABLE)
    np.save(path, times(np.load(path)))
    with pytest.raises(DataError) as error:
        read_trials(session.one(), session.eid)
    assert f"alf/task_01/{TABLE}: is a copy of alf/task_00/{TABLE}" in str(error.value)
    assert "found the same stimuli, choices and feedback in all 20 trials" in str(error.value)


@pytest.mark.parametrize("day", [0, 1])
def test_trials_are_those_of_brainbox(session_of, day):
    from brainbox.io.one import SessionLoader

    session = session_of(day)
    table = pd.read_parquet(session.task / TABLE)
    for name, values in (("goCue_times", table["goCue_times"]), ("choice", np.zeros(20))):  # one that the table has
        np.save(session.task / f"_ibl_trials.{name}.npy", np.asarray(values)[:, None])
    table = table.drop(columns="goCue_times")
    table.to_parquet(session.task / TABLE)
    loader = SessionLoader(one=session.one(), eid=session.eid)
    loader.load_trials(collection=session.task.relative_to(session.alf.parent).as_posix())
    found = read_trials(session.one(), session.eid).table.drop(columns="collection")
    pd.testing.assert_frame_equal(found, loader.trials[list(found)].astype(float), check_names=False)


@pytest.mark.parametrize("as_array", [True, False], ids=["npy", "pickle"])
def test_pickled_trials_are_refused_and_not_executed(session, tmp_path, as_array):
    """ONE's own loader of objects would execute them."""
    array, path = np.array([Canary(tmp_path / "sung")], dtype=object), session.task / "_ibl_trials.quiescencePeriod.npy"
    np.save(path, array, allow_pickle=True) if as_array else array.dump(path)
    one = session.one()
    with pytest.raises(DataError, match=f"session {session.eid}, alf/{path.name}: .*objects"):
        read_trials(one, session.eid)
    assert not (tmp_path / "sung").exists()
    one.load_object(session.eid, "trials", collection="alf")
    assert (tmp_path / "sung").exists()


def test_a_file_of_trials_that_nobody_asked_for_is_not_opened(session, tmp_path):
    np.save(session.task / "_ibl_trials.other.npy", np.array([Canary(tmp_path / "sung")], dtype=object))
    assert len(read_trials(session.one(), session.eid).table) == 20
    assert not (tmp_path / "sung").exists()


def test_trials_of_a_revision_are_used_and_recorded(session):
    (session.task / "#2025-01-01#").mkdir()
    files = list(session.task.glob("_ibl_trials.*"))
    for path in files:
        path.rename(path.parent / "#2025-01-01#" / path.name)
    path = session.task / "#2025-01-01#" / TABLE
    pd.read_parquet(path).assign(rewardVolume=7.0).to_parquet(path)
    found = read_trials(session.one(), session.eid)
    assert set(found.table["rewardVolume"]) == {7.0}
    assert {s.dataset for s in found.sources} == {f"alf/#2025-01-01#/{path.name}" for path in files}
    assert {s.revision for s in found.sources} == {"2025-01-01"}


def only_table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in folder.glob("_ibl_trials.*.npy"):
            path.unlink()
        change(pd.read_parquet(folder / TABLE)).to_parquet(folder / TABLE)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / TABLE).unlink(), "no trials table"),
        (only_table(lambda table: table.iloc[:0]), "the trials table is empty"),
        (only_table(lambda t: t.drop(columns=["choice", "stimOn_times"])), "expected choice, stimOn_times, found"),
        (only_table(lambda t: t.assign(choice=t["choice"].astype(str))), "choice does not hold numbers"),
        (
            only_table(lambda t: t.assign(choice=0.5)),
            "choice has an impossible value .expected -1 or 0 or 1.*0.5 in trial 0",
        ),
        (only_table(lambda t: t.assign(probabilityLeft=80.0)), "probabilityLeft .*expected 0 to 1.*80.0 in trial 0"),
        (only_table(lambda t: t.assign(feedback_times=np.inf)), "feedback_times .*expected finite.*inf in trial 0"),
        (only_table(lambda t: t.iloc[::-1]), "trial times decrease .*in trial 1"),
        (lambda f: np.save(f / "_ibl_trials.stimOff_times.npy", np.zeros(21)), "expected 20 trials .*, found 21"),
        (lambda f: np.save(f / "_ibl_trials.stimOff_times.npy", np.zeros((20, 2))), r"not a vector .*\(20, 2\)"),
        (lambda folder: truncate(folder / TABLE), "cannot be read"),
        (lambda folder: (folder / TABLE).write_bytes(b""), "cannot be read"),
    ],
    ids=[
        "missing",
        "empty",
        "columns",
        "text",
        "half a choice",
        "per cent",
        "infinity",
        "reversed",
        "longer",
        "matrix",
        "truncated",
        "no bytes",
    ],
)
def test_trials_that_cannot_be_used_are_refused_and_one_still_works(session_of, damage, message):
    session = session_of(1)
    damage(session.task)
    one = session.one()
    with pytest.raises(DataError, match=message) as error:
        read_trials(one, session.eid)
    assert f"session {session.eid}" in str(error.value)
    assert "alf/task_" in str(error.value)
    assert "_ibl_trials." in str(error.value)
    assert len(one.list_collections(session.eid, collection="alf/FOV_*")) == 2


@pytest.mark.parametrize("day", [0, 1])
def test_wheel_is_brainboxs(session_of, day):
    from brainbox.behavior.wheel import interpolate_position, velocity_filtered

    session = session_of(day)
    times, position = (np.load(session.task / f"_ibl_wheel.{name}.npy") for name in ("timestamps", "position"))
    even, even_times = interpolate_position(times, position, freq=1000)
    found = read_wheel(session.one(), session.eid)
    np.testing.assert_array_equal(found.timestamps, times)
    np.testing.assert_array_equal(found.position, position)
    np.testing.assert_array_equal(found.velocity, velocity_filtered(even, 1000)[0][::10].astype(np.float32))
    assert found.velocity_start == even_times[0] == times[0]
    assert len(found.sources) == 2


@pytest.fixture(scope="module")
def longer(tmp_path_factory) -> Path:
    """A demo of one day with enough trials to compare wheel and choices, and blocks and stimuli."""
    root = tmp_path_factory.mktemp("longer")
    write_demo_repository(root, n_days=1, n_fovs=2, n_trials=200, n_shared=10, rois_per_fov=30)
    return root


@pytest.fixture
def long_session(longer, tmp_path) -> Session:
    return only_session(longer, tmp_path / "one")


def wheel(session: Session, part: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = session.task / f"_ibl_wheel.{part}.npy"
    np.save(path, change(np.load(path)))


def change_table(session: Session, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(session.task / TABLE)).to_parquet(session.task / TABLE)


#: A wheel that is not that of these trials: what is changed, and what is said.
OTHER_WHEELS = {
    "degrees": ("position", np.degrees, "another unit than rad .expected a median turn .* found 17.*, as in degrees"),
    "3 s later": (
        "timestamps",
        lambda t: t + 3,
        r"the wheel turns regardless of the choices .*found so in \d+ of 19\d",
    ),
    "0.5 s later": ("timestamps", lambda t: t + 0.5, "the wheel turns regardless of the choices"),
    "40 s earlier": ("timestamps", lambda t: t - 40, "the wheel turns regardless of the choices"),
    "backwards": ("position", lambda p: p[::-1], "the wheel turns regardless of the choices"),
    "a part": ("timestamps", lambda t: t[0] + (t - t[0]) / 3, "the wheel lacks responses .*found 6\\d, from"),
}


@pytest.mark.parametrize("how", OTHER_WHEELS)
def test_a_wheel_that_is_not_that_of_the_trials_is_refused(long_session, how):
    part, change, message = OTHER_WHEELS[how]
    wheel(long_session, part, change)
    with pytest.raises(DataError, match=message) as error:
        read_wheel(long_session.one(), long_session.eid)
    assert f"session {long_session.eid}, alf/_ibl_wheel.position.npy" in str(error.value)


@pytest.mark.parametrize("how", ["reversed", "an end"])
def test_what_a_sound_wheel_can_have_as_well_is_a_doubt(long_session, how):
    if how == "reversed":  # an encoder that is connected the other way round
        wheel(long_session, "position", np.negative)
        message = r"the wheel turns against the choices .*the opposite in 19\d.*reverse the sign"
    else:
        for part in ("timestamps", "position"):
            wheel(long_session, part, lambda a: a[: int(0.8 * len(a))])
        message = r"the wheel lacks responses .expected all 19\d, from .* found 1\d\d, from"
    with pytest.warns(UserWarning, match=message):
        found = read_wheel(long_session.one(), long_session.eid)
    (doubt,) = found.doubts
    assert re.search(message, doubt)
    assert read_wheel(long_session.one(), long_session.eid, found.sources).doubts == ()  # as it was read


#: Sound sessions in which the wheel looks otherwise: a change of the wheel's position, then one of the trials.
SOUND_WHEELS = {
    "as it is": (None, None),
    "gain of 8": (lambda p: p / 2, None),
    "gain of 16, radius unknown": (lambda p: p / 4, None),
    "drift": (lambda p: p + np.linspace(0, 30, len(p)) * 0.1, None),
    "always left": (lambda p: -np.abs(np.diff(p, prepend=0)).cumsum(), lambda t: t.assign(choice=1.0)),
    "no response times": (None, lambda t: t.drop(columns="response_times")),
    "a cue before the stimulus": (None, lambda t: t.assign(goCue_times=t["stimOn_times"] - 1)),
    "stimuli seen late": (None, lambda t: t.assign(stimOn_times=t["stimOn_times"] + 0.1)),
    "few choices": (lambda p: -p, lambda t: t.assign(choice=t["choice"].where(t.index < 15, 0.0))),
    "no choices": (lambda p: 0 * p, lambda t: t.assign(choice=0.0)),
    "no times": (lambda p: -p, lambda t: t.assign(response_times=np.nan, feedback_times=np.nan)),
    "one of ten trials odd": (None, lambda t: t.assign(choice=t["choice"].where(t.index % 10 > 0, -t["choice"]))),
}


@pytest.mark.parametrize("how", SOUND_WHEELS)
def test_sound_wheels_are_read_without_a_doubt(long_session, how):
    position, trials = SOUND_WHEELS[how]
    if position:
        wheel(long_session, "position", position)
    if trials:
        change_table(long_session, trials)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_wheel(long_session.one(), long_session.eid).doubts == ()


@pytest.mark.parametrize("name", [TABLE, "_ibl_trials.stimOff_times.npy"])
def test_a_wheel_is_read_beside_trials_that_cannot_be(long_session, name):
    truncate(long_session.task / name)
    assert len(read_wheel(long_session.one(), long_session.eid).timestamps)


@pytest.mark.parametrize("how", ["of another session", "of the right"])
def test_blocks_that_are_not_those_of_the_stimuli_are_refused(long_session, how):
    """The mouse began in the other block, or the column is the probability of the other side."""
    other = np.r_[np.full(90, 0.5), np.full(30, 0.2), np.full(50, 0.8), np.full(30, 0.2)]
    values = {"of another session": lambda p: other, "of the right": lambda p: 1 - p}[how]
    change_table(long_session, lambda t: t.assign(probabilityLeft=values(t["probabilityLeft"].to_numpy())))
    message = r"probabilityLeft is not that of these stimuli .expected about \d+ of 1\d\d stimuli.*found \d+ are"
    with pytest.raises(DataError, match=message):
        read_trials(long_session.one(), long_session.eid)


def change_attribute(session: Session, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change values of the trials, in the table or beside it, where they are."""
    path = session.task / f"_ibl_trials.{name}.npy"
    if path.exists():
        np.save(path, change(np.load(path)))
    else:
        change_table(session, lambda table: table.assign(**{name: change(table[name].to_numpy())}))


def shifted_by_a_trial(values: np.ndarray) -> np.ndarray:
    return np.roll(values, 1)


#: One attribute of another extraction than the rest: its name, how it differs, and what is said.
OTHER_EXTRACTION = {
    "quiescence of the trial before": ("quiescencePeriod", shifted_by_a_trial, r"quiescencePeriod is not .*of 200 be"),
    "quiescence of the next trial": ("quiescencePeriod", lambda q: np.roll(q, -1), "quiescencePeriod is not that of"),
    "quiescence in ms": ("quiescencePeriod", lambda q: 1000 * q, "200 of 200 before, .*, whose period is"),
    "off on another clock": ("stimOff_times", lambda t: t + 1.5, "stimuli go off after the next trial has begun"),
    "off of the next trial": ("stimOff_times", lambda t: np.append(t[1:], np.nan), "found .* 199 such trials of 199"),
    "volume of the trial before": ("rewardVolume", shifted_by_a_trial, r"rewardVolume is not .*more in \d+ of \d+ err"),
}


@pytest.mark.parametrize("how", OTHER_EXTRACTION)
def test_an_attribute_of_another_extraction_is_refused(long_session, how):
    """Behaviour was extracted again, and one file beside the table is still that of before."""
    name, change, message = OTHER_EXTRACTION[how]
    change_attribute(long_session, name, change)
    with pytest.raises(DataError, match=message) as error:
        read_trials(long_session.one(), long_session.eid)
    assert f"session {long_session.eid}, alf/_ibl_trials." in str(error.value)


def some(values: np.ndarray, part: float, other: Any) -> np.ndarray:
    """Return values of which a part, at random, are others."""
    return np.where(np.random.default_rng(4).random(len(values)) < part, other, values)


#: Sound sessions in which one attribute looks otherwise.
SOUND_ATTRIBUTES = {
    "few periods too long": ("quiescencePeriod", lambda q: some(q, 0.04, 3.0)),
    "no periods": ("quiescencePeriod", lambda q: np.nan * q),
    "the same period always": ("quiescencePeriod", lambda q: 0 * q + 0.2),
    "a cue before the stimulus": ("goCue_times", lambda t: t - 0.3),
    "stimuli seen late": ("stimOn_times", lambda t: t + 0.1),
    "few stimuli seen to go off late": ("stimOff_times", lambda t: some(t, 0.1, t + 10)),
    "no stimuli seen to go off": ("stimOff_times", lambda t: np.nan * t),
    "trials end with the stimulus": ("stimOff_times", lambda t: t + 0.5),
    "a volume in all trials": ("rewardVolume", lambda v: 0 * v + 1.5),
    "rewards left out": ("rewardVolume", lambda v: some(v, 0.4, 0.0)),
    "no volumes": ("rewardVolume", lambda v: 0 * v),
}  # fmt: skip


@pytest.mark.parametrize("how", SOUND_ATTRIBUTES)
def test_sound_attributes_are_read(long_session, how):
    change_attribute(long_session, *SOUND_ATTRIBUTES[how])
    assert len(read_trials(long_session.one(), long_session.eid).table) == 200


#: Sound sessions of other protocols: a change of the trials.
SOUND_BLOCKS = {
    "as it is": lambda t: t,
    "training": lambda t: t.assign(probabilityLeft=0.5),
    "a running bias": lambda t: t.assign(probabilityLeft=np.linspace(0.9, 0.1, len(t))),
    "unknown": lambda t: t.assign(probabilityLeft=np.nan),
    "zeros on the other side": lambda t: t.fillna({"contrastLeft": 0.0, "contrastRight": 0.0}),
}


@pytest.mark.parametrize("how", SOUND_BLOCKS)
def test_sound_blocks_are_read(long_session, how):
    change_table(long_session, SOUND_BLOCKS[how])
    assert len(read_trials(long_session.one(), long_session.eid).table) == 200


def test_blocks_of_simulated_mice_are_never_refused():
    """Also where errors are followed by the same side, as no protocol with blocks does."""
    rng, n_refused = np.random.default_rng(3), dict.fromkeys(("sound", "exchanged"), 0)
    for mouse in ("stationary", "turns", "repeats sides", "quits"):
        for n in (150, 300, 600, 900):
            for _ in range(6):
                one, other = (pd.DataFrame(mouse_session(mouse, n, rng)) for _ in range(2))
                exchanged = one.assign(probabilityLeft=other["probabilityLeft"])
                for kind, table in (("sound", one), ("exchanged", exchanged)):
                    try:
                        _check_blocks(table, {})
                    except DataError:
                        n_refused[kind] += 1
    assert n_refused["sound"] == 0
    assert n_refused["exchanged"] > 48  # of 96: blocks of two sessions are the same ones in part


def test_wheel_of_two_protocols_is_one_after_the_other(session_of):
    session = session_of(1)
    times, position = (np.load(session.task / f"_ibl_wheel.{name}.npy") for name in ("timestamps", "position"))
    (session.alf / "task_01").mkdir()
    np.save(session.alf / "task_01" / "_ibl_wheel.timestamps.npy", times + times[-1])
    np.save(session.alf / "task_01" / "_ibl_wheel.position.npy", -position)
    found = read_wheel(session.one(), session.eid)
    np.testing.assert_array_equal(found.timestamps, np.r_[times, times + times[-1]])
    np.testing.assert_array_equal(found.position, np.r_[position, -position])


def save_wheel(folder: Path, n_times: int, n_positions: int) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "_ibl_wheel.timestamps.npy", np.arange(n_times) / 10 + 1000 * int(folder.name[-1]))
    np.save(folder / "_ibl_wheel.position.npy", np.zeros(n_positions))


def protocols_that_make_up_for_each_other(alf: Path) -> None:
    save_wheel(alf / "task_00", 20, 21)
    save_wheel(alf / "task_01", 21, 20)


def spoil(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    path = f"task_00/_ibl_wheel.{name}.npy"
    return lambda alf: np.save(alf / path, change(np.load(alf / path)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda alf: save_wheel(alf / "task_00", 20, 21), "expected 21 positions, found 20 times"),
        (protocols_that_make_up_for_each_other, "expected 21 positions, found 20 times"),
        (lambda alf: save_wheel(alf / "task_00", 1, 1), "found 1 samples"),
        (spoil("timestamps", lambda t: t[::-1]), "times in increasing order"),
        (spoil("timestamps", set_at(3, np.nan)), "timestamps.npy: .*finite numbers, found nan at sample 3"),
        (spoil("timestamps", set_at(-1, np.inf)), "timestamps.npy: .*finite numbers, found inf"),
        (spoil("timestamps", set_at(-1, 1e12)), "at most one day"),
        (spoil("position", set_at(3, np.inf)), "position.npy: .*finite numbers, found inf at sample 3"),
        (spoil("position", lambda p: np.c_[p, p]), "not a vector"),
        (lambda alf: (alf / "task_00/_ibl_wheel.timestamps.npy").unlink(), "the session has no wheel"),
        (lambda alf: (alf / "task_00/_ibl_wheel.position.npy").unlink(), "dataset is missing"),
        (lambda alf: truncate(alf / "task_00/_ibl_wheel.position.npy"), "truncated"),
    ],
)
def test_a_wheel_that_cannot_be_used_is_refused(session_of, damage, message):
    session = session_of(1)
    damage(session.alf)
    with pytest.raises(DataError, match=message) as error:
        read_wheel(session.one(), session.eid)
    assert f"session {session.eid}" in str(error.value)
    assert "_ibl_wheel." in str(error.value)
