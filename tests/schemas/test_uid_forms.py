"""What a UID is: keys and cells of runs of before there were forms stay, and no placeholder is a cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.corpus import UIDS

import schemas
from pipeline.errors import ArgumentError
from pipeline.tracking.uids import mirror_folder
from schemas.rows import content_key
from schemas.tracking import TrackingRun, _quality_key
from schemas.work.filling import fill
from schemas.work.reports import errors, retry

SUBJECT = "SP999"


def tree(root: Path, change: Callable[[list[str]], list[str]]) -> str:
    """Write a tree of the demo's UID files, changed; return its root."""
    rows = (schemas.TrackingFile * schemas.Session.proj("session_date", "session_number")) & TrackingRun.register(
        SUBJECT
    )
    for row in rows.to_dicts():
        folder = mirror_folder(root, SUBJECT, row["session_date"], row["session_number"]) / f"FOV_{row['fov']:02d}"
        folder.mkdir(parents=True)
        (folder / UIDS).write_text("".join(f"{line}\n" for line in change(row["uid_text"].splitlines())))
    return str(root)


def run_of_the_sessions() -> dict:
    run = TrackingRun.register(SUBJECT)
    fill([schemas.TrackedCell, schemas.TrackedFOV], run)
    return run


@pytest.fixture
def registered(demo_sessions):
    """Return a function that registers a tree, populates the run and returns its key; the runs are deleted."""
    runs = []

    def register(*args, **words) -> dict:
        run = TrackingRun.register(SUBJECT, *args, **words)
        runs.append(run)
        fill([schemas.TrackedCell, schemas.TrackedFOV], run)
        return run

    yield register
    for run in runs:
        (TrackingRun & run).delete()
        for table in (schemas.TrackedCell, schemas.TrackedFOV):
            (table.jobs & run).delete_quick()


def cells(run: dict) -> set[str]:
    return set((schemas.TrackedCell & run).to_arrays("cell_uid"))


def members(run: dict) -> set[tuple]:
    rows = (schemas.TrackedFOV.Member & run).to_dicts()
    return {(row["eid"], row["fov"], row["roi"], row["cell_uid"]) for row in rows}


def test_files_of_uuids_have_the_key_that_they_had_before(demo_sessions):
    run = TrackingRun.register(SUBJECT)
    files = (schemas.TrackingFile & run).to_dicts(order_by="eid, fov")
    content = [[row["eid"], row["fov"], row["uid_sha256"], _quality_key(row)] for row in files]
    assert run["tracking_run"] == content_key(["error", content])
    assert TrackingRun.register(SUBJECT, uid_form="any") == run
    assert (TrackingRun & run).fetch1("uid_form") == "uuid"  # the row stays


@pytest.mark.one_backend  # other tests send its statements on both
def test_placeholders_are_no_cells(registered, tmp_path):
    words = ["-1", "<missing>", "None", "NA", "NULL", '""', "nan", ""]

    def with_words(lines: list[str]) -> list[str]:
        return [line if line not in ("", "nan") else words[i % len(words)] for i, line in enumerate(lines)]

    plain = run_of_the_sessions()
    run = registered(tree(tmp_path, with_words))
    assert run != plain
    assert cells(run) == cells(plain)
    assert members(run) == members(plain) != set()


@pytest.mark.one_backend  # other tests send its statements on both
def test_capitals_are_the_same_cells(registered, tmp_path):
    plain = run_of_the_sessions()
    run = registered(tree(tmp_path, lambda lines: [line.upper() for line in lines]))
    assert members(run) == members(plain)


@pytest.mark.one_backend  # UIDs are read in Python; test_tracked_identity.py stores them on both
def test_a_run_of_before_is_read_as_it_was(registered, tmp_path):
    """Its row has no form: a placeholder that it took for a cell stays one, under its key."""
    root = tree(tmp_path, lambda lines: ["-1", *lines[1:]])
    plain = run_of_the_sessions()
    new = registered(root)
    old = {"subject": SUBJECT, "tracking_run": "0" * 32}
    row = (TrackingRun & new).fetch1() | old | {"duplicates": "first", "uid_form": None}
    TrackingRun.insert1(row | {"registered_at": "2001-01-01"})
    try:
        schemas.TrackingFile.insert({**file, **old} for file in (schemas.TrackingFile & new).to_dicts())
        assert fill([schemas.TrackedCell, schemas.TrackedFOV], old).errors == []
        assert cells(old) == cells(new) | {"-1"}
        assert cells(new) <= cells(plain)
        assert {uid for *_, uid in members(old)} - {uid for *_, uid in members(new)} == {"-1"}
    finally:
        (TrackingRun & old).delete()


@pytest.mark.one_backend  # as the run of before
def test_a_fov_with_other_words_fails_alone(registered, tmp_path):
    seen = []

    def spoil(lines: list[str]) -> list[str]:
        seen.append(len(lines))
        return [lines[0], "cell 7", *lines[2:]] if len(seen) == 1 else lines

    root = tree(tmp_path, spoil)
    run = registered(root)
    (failed,) = [
        row for row in errors() if row["table"] == "TrackedFOV" and row["key"]["tracking_run"] == run["tracking_run"]
    ]
    assert "not cell UIDs (expected a UUID per line" in failed["message"]
    assert "'cell 7' for ROI 1" in failed["message"]
    assert len(schemas.TrackedFOV & run) == len(seen) - 1
    assert "cell 7" not in cells(run)
    allowed = registered(root, uid_form="any")
    assert allowed != run
    assert "cell 7" in cells(allowed)
    assert len(schemas.TrackedFOV & allowed) == len(seen)
    retry([schemas.TrackedFOV], tracking_run=run["tracking_run"])


def test_an_unknown_form_is_refused(demo_sessions):
    with pytest.raises(ArgumentError, match="uid_form must be one of uuid, any, not 'word'"):
        TrackingRun.register(SUBJECT, uid_form="word")
