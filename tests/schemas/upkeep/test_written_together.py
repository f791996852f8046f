"""Files that are written together are noted if some are newer, with real files: histology, alignment, extraction."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.broken_sessions import Repository, made_session, new_uuids, remove
from support.corpus import PLACES, POSITIONS, QUIESCENCE, REGIONS, STIM_OFF, TIMES, TRIALS, TYPES, UUIDS, WHEEL_TIMES

import schemas
from pipeline.demo.repository import write_one_tables
from pipeline.reading.fov import NEUROPIL, SIGNALS
from populate_scripts.ingest import ingest
from schemas.upkeep.mixtures import notes_of
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill

#: The files are compared without the server, except for the statement that finds final places beside estimates.
without_server = pytest.mark.one_backend
REVISION = "#2026-01-01#"
FINAL_REGIONS, FINAL_PLACES = (name.replace("_estimate", "") for name in (REGIONS, PLACES))
OF_PLACES = "regions and places in the brain"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return made_session(tmp_path_factory.mktemp("template"))


@pytest.fixture
def lab(database, template, tmp_path) -> Iterator[Repository]:
    """A repository with one session, which is not registered."""
    made = Repository(tmp_path / "one", template)
    made.add("it", "TOG1")
    yield made
    remove(made)


def fov_of(lab: Repository, fov: int = 0) -> Path:
    return lab.alf("it") / f"FOV_{fov:02d}"


def read(lab: Repository) -> list[str]:
    """Register and read the session; return what is warned of."""
    write_one_tables(lab.root)
    ingest([lab.eids["it"]], cache_dir=lab.root)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        assert fill(SESSION_TABLES, {"eid": lab.eids["it"]}).errors == []
    return [str(one.message) for one in told]


def read_new(lab: Repository) -> list[str]:
    """Update the session; return the notes. What reading warns of, by revisions, is among those that are kept."""
    write_one_tables(lab.root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        done = update([lab.eids["it"]])
    assert done.failures == []
    return done.notes


def kept(lab: Repository) -> list[str]:
    """Return the notes on the session; they are among those of all sessions."""
    found = [one.text for one in notes_of([lab.eids["it"]])]
    assert found == [one.text for one in notes_of() if one.eid == lab.eids["it"]]
    return found


def place(lab: Repository, shift: float, *fovs: int, folder: str = "") -> None:
    """Write final regions and places of FOVs: a histology that moves all by ``shift`` µm, and a boundary with it."""
    for fov in (fov_of(lab, one) for one in fovs):
        (fov / folder).mkdir(exist_ok=True)
        np.save(fov / folder / FINAL_PLACES, np.load(fov / PLACES) + shift)
        one, other = np.unique(np.load(fov / REGIONS))[-2:]
        x = np.load(fov / POSITIONS)[:, 1]
        np.save(fov / folder / FINAL_REGIONS, np.where(x < np.median(x) + shift / 2, one, other))


def sides(note: str) -> tuple[str, str]:
    """Return the newer and the older files of a note."""
    newer, _, older = note.partition("and others")
    return newer, older


@pytest.mark.parametrize("how", ["beside an estimate", "revision"])
def test_a_histology_of_one_fov_is_noted_at_the_first_reading(lab, how):
    if how == "revision":
        place(lab, 60, 0, 1)
    place(lab, 300, 0, folder=REVISION if how == "revision" else "")
    told, (note,) = read(lab), kept(lab)
    assert any(note in text for text in told) and note.startswith(f"{OF_PLACES} are newer")
    newer, older = sides(note)
    assert FINAL_PLACES in newer and FINAL_REGIONS in newer and "FOV_01" not in newer
    assert f"alf/FOV_01/{PLACES if how == 'beside an estimate' else FINAL_PLACES}" in older


@without_server
@pytest.mark.parametrize("before", ["an estimate", "a histology"])
def test_a_histology_that_comes_fov_by_fov_is_noted_until_all_have_it(lab, before):
    if before == "a histology":
        place(lab, 60, 0, 1)
    assert read(lab) == [] and kept(lab) == []
    place(lab, 300, 0)
    (note,) = read_new(lab)
    assert f"{OF_PLACES} have changed" in note and "alf/FOV_00" in sides(note)[0] and "alf/FOV_01" in sides(note)[1]
    assert any(OF_PLACES in one for one in kept(lab))
    place(lab, 300, 1)
    assert read_new(lab) == [] and kept(lab) == []
    sources = (schemas.FOV & {"eid": lab.eids["it"]}).to_arrays("mlapdv_source", "region_source")
    assert {*sources[0], *sources[1]} == {"final"}


@without_server
def test_a_histology_of_all_fovs_and_an_extraction_of_one_are_not_noted(lab):
    assert read(lab) == []
    place(lab, 60, 0, 1)
    assert read_new(lab) == [] and kept(lab) == []
    fov = fov_of(lab)
    order = np.random.default_rng(3).permutation(len(np.load(fov / TYPES)))
    for path in fov.glob("*.npy"):
        array = np.load(path)
        if array.shape[0] == len(order):
            np.save(path, array[order])
        elif array.ndim == 2 and path.name in (*SIGNALS.values(), NEUROPIL):
            np.save(path, np.asfortranarray(array[:, order]))
    new_uuids(fov / UUIDS, 7)
    for path in fov.glob("mpciROIs.cluster*"):
        path.unlink()
    assert read_new(lab) == [] and kept(lab) == []


def later(table: pd.DataFrame, by: float) -> pd.DataFrame:
    return table.assign(**{one: table[one] + by for one in table if one.endswith("_times") or "intervals" in one})


@without_server
@pytest.mark.parametrize("is_whole", [False, True])
def test_trials_of_the_former_alignment_are_noted(lab, is_whole):
    """Frame times and wheel are of a later one, by less than what turns of the wheel would tell."""
    alf = lab.alf("it")
    for path in (fov_of(lab) / TIMES, fov_of(lab, 1) / TIMES, alf / WHEEL_TIMES, *[alf / STIM_OFF] * is_whole):
        (path.parent / REVISION).mkdir(exist_ok=True)
        np.save(path.parent / REVISION / path.name, np.load(path) + 0.15)
    if is_whole:
        later(pd.read_parquet(alf / TRIALS), 0.15).to_parquet(alf / REVISION / TRIALS)
    told, notes = read(lab), kept(lab)
    assert bool(told) is bool(notes) is not is_whole
    for note in notes:
        newer, older = sides(note)
        assert newer.startswith("files with times are newer") and TIMES in newer and WHEEL_TIMES in newer
        assert TRIALS in older and STIM_OFF in older


@without_server
def test_trials_that_were_extracted_again_without_their_periods_are_noted(lab):
    """The table and the ends of stimuli are newer, as by an alignment; but neither frames nor wheel are."""
    alf = lab.alf("it")
    (alf / REVISION).mkdir()
    for name in (TRIALS, STIM_OFF):
        (alf / REVISION / name).write_bytes((alf / name).read_bytes())
    read(lab)
    (note,) = kept(lab)
    newer, older = sides(note)
    assert newer.startswith("files of trials are newer") and TRIALS in newer and QUIESCENCE in older


@without_server
@pytest.mark.parametrize("how", ["update", "revision"])
def test_positions_with_their_places_are_noted_without_neuropil(lab, how):
    """They are those of other ROIs than the activity, and agree with each other."""
    fov = fov_of(lab)
    for path in (*(fov_of(lab, one) / name for one in (0, 1) for name in (SIGNALS["fluorescence"], NEUROPIL)),
                 *fov.glob("mpciROIs.cluster*")):  # fmt: skip
        path.unlink()
    if how == "update":
        assert read(lab) == []
    order = np.random.default_rng(3).permutation(len(np.load(fov / TYPES)))
    folder = fov / (REVISION if how == "revision" else "")
    folder.mkdir(exist_ok=True)
    for name in (POSITIONS, PLACES, REGIONS):
        np.save(folder / name, np.load(fov / name)[order])
    told = read_new(lab) if how == "update" else read(lab)
    notes = kept(lab)
    assert told and len(notes) == 1
    newer, older = sides(notes[0])
    assert newer.startswith("files of ROIs") and POSITIONS in newer and TYPES in older
