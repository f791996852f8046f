"""What is known of the files of a session when it is registered, without reading activity."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
from iblutil.io import parquet
from support.corpus import ACTIVITY, FLUORESCENCE, POSITIONS, TRIALS, TYPES, UUIDS, WHEEL_TIMES

from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.reading import Source, files_at_registration, is_registered, open_one
from pipeline.reading.datasets import sampled_hash, sha256_file
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


def test_of_large_files_a_sample_is_hashed(session):
    """A sparse file of more than the limit, and one of just as much."""
    _, folder = session
    large = folder / FOVS[0] / ACTIVITY
    for name, size in ((ACTIVITY, MAX_HASHED + 1), (TYPES, MAX_HASHED)):
        os.truncate(folder / FOVS[0] / name, size)
    found = registered(session)
    sample = found[f"{FOVS[0]}/{ACTIVITY}"]
    assert re.fullmatch("sample:[0-9a-f]{57}", sample.sha256) and sample.size == MAX_HASHED + 1
    assert found[f"{FOVS[0]}/{TYPES}"].sha256 == sha256_file(folder / FOVS[0] / TYPES)
    large.write_bytes(large.read_bytes())  # not sparse any more
    assert registered(session)[f"{FOVS[0]}/{ACTIVITY}"] == sample


@pytest.mark.parametrize("size", [MAX_HASHED + 1, 50_000_003])
def test_a_sample_tells_any_change_of_a_fifteenth_of_a_file_in_one_piece(tmp_path, size):
    """Also of its first and last byte, of its size, and of nearly all bytes that are changed at random."""
    file, rng = tmp_path / "file", np.random.default_rng(4)
    content = rng.integers(0, 256, size, np.uint8)
    content.tofile(file)
    sample, piece = sampled_hash(file, size), size // 15 + 1
    starts = [0, size - piece, *rng.integers(0, size - piece, 30).tolist()]
    for start, length in [*((start, piece) for start in starts), (0, 1), (size - 1, 1)]:
        changed = content[start : start + length] + 1
        with file.open("r+b") as opened:
            opened.seek(start)
            opened.write(changed.tobytes())
        assert sampled_hash(file, size) != sample, (start, length)
        with file.open("r+b") as opened:
            opened.seek(start)
            opened.write(content[start : start + length].tobytes())
    assert sampled_hash(file, size) == sample != sampled_hash(file, size - 1)
    content[rng.choice(size, size // 1000, replace=False)] += 1
    content.tofile(file)
    assert sampled_hash(file, size) != sample


def read_now(file: Path, one_hash: str = "") -> Source:
    return Source("file", "", "", file.stat().st_size, sha256_file(file), one_hash)


@pytest.mark.parametrize("is_large", [False, True])
def test_a_file_that_was_copied_to_its_end_since_is_the_one_that_was_registered(tmp_path, is_large):
    """Not one that is larger, or smaller, and begins in another way."""
    file, content = tmp_path / "file", np.random.default_rng(5).bytes(300_000)
    hash_of = sampled_hash if is_large else sha256_file
    for size, is_it in ((0, True), (100_000, True), (300_000, True), (300_001, False)):
        file.write_bytes((content + b"x")[:size])
        then = Source("file", "", "", size, hash_of(file, size))
        file.write_bytes(content)
        assert is_registered(file, read_now(file), then) == is_it, size
    file.write_bytes(content[:200_000])
    then = Source("file", "", "", 200_000, hash_of(file, 200_000))
    file.write_bytes(b"x" + content[1:])
    assert not is_registered(file, read_now(file), then)
    assert not is_registered(None, read_now(file), then)


def test_of_a_file_that_was_not_here_the_hash_in_one_tells(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    for registered_as, read_as, is_it in (("a", "a", True), ("a", "b", False), ("", "", False), ("a", "", False)):
        then = Source("file", "", "", 0, "", registered_as)
        assert is_registered(tmp_path / "file", read_now(tmp_path / "file", read_as), then) == is_it


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
