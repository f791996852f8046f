"""What is known of the files of a session when it is registered, without reading activity."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from iblutil.io import parquet
from support.corpus import ACTIVITY, FLUORESCENCE, POSITIONS, TRIALS, TYPES, UUIDS, WHEEL_TIMES

from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.reading import Source, files_at_registration, open_one
from pipeline.reading.registration import MAX_HASHED

FOVS = [f"alf/FOV_{fov:02d}" for fov in range(2)]


@pytest.fixture
def session(tmp_path) -> tuple[str, Path]:
    """The id and the folder of a session."""
    made = write_demo_repository(tmp_path, n_days=1, n_fovs=2, n_trials=20, n_shared=8, rois_per_fov=20)
    return made.eids[0], next(made.root.glob("*/Subjects/*/*/001"))


def registered(session: tuple[str, Path], collections: list[str] | None = None, **options) -> dict[str, Source]:
    eid, folder = session
    found = files_at_registration(
        open_one(folder.parents[4]), eid, FOVS if collections is None else collections, **{"behavior": True, **options}
    )
    assert len(found) == len({one.dataset for one in found})
    return {one.dataset: one for one in found}


def test_all_files_that_would_be_read_have_their_hash(session):
    found, folder = registered(session), session[1]
    names = [f"alf/{TRIALS}", f"alf/{WHEEL_TIMES}", *(f"{fov}/{n}" for fov in FOVS for n in (ACTIVITY, TYPES, UUIDS))]
    assert {*names, f"{FOVS[0]}/{FLUORESCENCE}"} <= set(found)
    for path, one in found.items():
        content = (folder / path).read_bytes()
        assert (one.sha256, one.size) == (hashlib.sha256(content).hexdigest(), len(content))
    of_fov = registered(session, FOVS[1:], behavior=False)
    assert {Path(path).parent.as_posix() for path in of_fov} == {FOVS[1]}
    assert of_fov.items() <= found.items()


def test_large_files_are_not_read(session):
    """A sparse file of more than the limit, and one of just as much."""
    _, folder = session
    for name, size in ((ACTIVITY, MAX_HASHED + 1), (TYPES, MAX_HASHED)):
        os.truncate(folder / FOVS[0] / name, size)
    found = registered(session)
    assert (found[f"{FOVS[0]}/{ACTIVITY}"].sha256, found[f"{FOVS[0]}/{ACTIVITY}"].size) == ("", MAX_HASHED + 1)
    assert found[f"{FOVS[0]}/{TYPES}"].sha256 != ""


def test_files_that_cannot_be_read_are_left_to_their_reading(session):
    """A folder in place of a file, a link to nowhere, a FIFO, a table cut off, and a FOV with two default revisions."""
    _, folder = session
    for name in (TYPES, POSITIONS, UUIDS):
        (folder / FOVS[0] / name).unlink()
    (folder / FOVS[0] / TYPES).mkdir()
    (folder / FOVS[0] / POSITIONS).symlink_to("nowhere")
    os.mkfifo(folder / FOVS[0] / UUIDS)
    (folder / "alf" / TRIALS).write_bytes((folder / "alf" / TRIALS).read_bytes()[:100])
    revised = folder / FOVS[1] / "#2026-01-01#"
    revised.mkdir()
    np.save(revised / TYPES, np.load(folder / FOVS[1] / TYPES))
    before, tables = registered(session), folder.parents[4] / "datasets.pqt"
    write_one_tables(tables.parent)
    rows, about = parquet.load(tables)
    parquet.save(tables, rows.assign(default_revision=True), about)
    found = registered(session)
    assert all(before[f"{FOVS[0]}/{name}"].sha256 == "" for name in (TYPES, POSITIONS, UUIDS))
    assert before[f"alf/{TRIALS}"].size == 100
    assert {Path(path).parent.as_posix() for path in found} == {"alf", FOVS[0]}
