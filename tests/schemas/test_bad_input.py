"""Consequences of broken sessions for embeddings, tracked cells and curves, and their repair."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.broken_sessions import Repository, remove
from support.corpus import ACTIVITY, TIMES, TRIALS, UIDS, WHEEL, rewrite

import meso
import schemas
from pipeline.decoding import NDCSettings
from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.errors import ConfigError, DataError
from populate_scripts.ingest import ingest
from schemas.decoding.run import run_ndc
from schemas.embedding import Embedding
from schemas.imaging.reading import fov_traces
from schemas.session import one_for
from schemas.tracking import TrackingRun
from schemas.work.filling import IMAGING_TABLES, SESSION_TABLES, fill
from schemas.work.reports import errors, retry

#: Files are refused before there are rows; others test on both how jobs fail and are tried again.
pytestmark = pytest.mark.one_backend

NOT_IN_ONE = str(uuid.uuid3(uuid.NAMESPACE_DNS, "a session that ONE does not know"))
N_FOVS, N_TRIALS = 3, 30
SETTINGS = NDCSettings(target="choice", ks=(4, 8), r=2, n_label_shuffles=2, cv_splits=2)


def failures(eid: str) -> dict[tuple[str, int | None], str]:
    """Return the messages of a session's failed jobs by table and FOV."""
    return {(row["table"], row["key"].get("fov")): row["message"] for row in errors() if row["key"].get("eid") == eid}


def cut(path: Path, bytes_off: int = 100) -> None:
    path.write_bytes(path.read_bytes()[:-bytes_off])


def no_trials(alf: Path) -> None:
    for path in alf.glob("**/_ibl_trials.*"):
        path.unlink()


def all_left(alf: Path) -> None:
    path = next(alf.glob(f"**/{TRIALS}"))
    table = pd.read_parquet(path)
    choice = np.where(table["choice"] == 0, 0, 1)
    reward = np.where((choice == 1) & table["contrastLeft"].notna(), 1, -1)
    table.assign(choice=choice, feedbackType=reward).to_parquet(path)
    wheel = next(alf.glob(f"**/{WHEEL}"))
    np.save(wheel, -np.abs(np.diff(np.load(wheel), prepend=0)).cumsum())  # it turns to the same side always


def extra_line(fov: Path) -> None:
    path = fov / UIDS
    path.write_text(path.read_text() + f"{uuid.uuid3(uuid.NAMESPACE_DNS, 'one too many')}\n")


def tracked_lines(fov: Path) -> list[str]:
    lines = [line.strip() for line in (fov / UIDS).read_text().splitlines()]
    return ["" if line in ("", "nan") else line for line in lines]


def repeat_uid(fov: Path, uid: str | None = None) -> None:
    """Give the last ROI the UID of the first tracked one, or another."""
    lines = tracked_lines(fov)
    lines[-1] = uid or next(line for line in lines if line)
    (fov / UIDS).write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def broken(database, tmp_path_factory) -> Iterator[Repository]:
    """All sessions registered and read in one go; removed with all their traces at the end."""
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=N_FOVS, n_trials=N_TRIALS, n_shared=24, rois_per_fov=40
    )
    template = next(made.root.glob("*/Subjects/*/*/001"))
    repository = Repository(tmp_path_factory.mktemp("broken"), template)
    cut(repository.add("truncated traces", "BI01") / "FOV_01" / ACTIVITY)
    (repository.add("no times", "BI01") / "FOV_01" / TIMES).unlink()
    alf = repository.add("all bad", "BI01")
    for i in range(N_FOVS):
        (alf / f"FOV_{i:02d}" / TIMES).unlink()
    repository.add("good", "BI01")
    extra_line(repository.add("41 UIDs", "BI02") / "FOV_01")
    repository.add("UIDs fit", "BI02")
    repeat_uid(repository.add("UID twice", "BI03") / "FOV_01")
    alf = repository.add("UID in two FOVs", "BI03")
    repeat_uid(alf / "FOV_01", next(line for line in tracked_lines(alf / "FOV_00") if line))
    for name in ("before", "one class", "after", "none"):
        repository.add(name, "BI04")
    all_left(repository.alf("one class"))
    no_trials(repository.alf("none"))
    repository.add("late", "BI05")  # left for the command line
    write_one_tables(repository.root)
    eids = [eid for name, eid in repository.eids.items() if name != "late"]
    repository.done = ingest([NOT_IN_ONE, *eids, "no-such-id"], cache_dir=repository.root)
    # one after the other, as `meso populate` does
    fill([*SESSION_TABLES], [{"eid": eid} for eid in eids])
    embedded = ("truncated traces", "all bad", "good")
    fill([Embedding], [{"eid": repository.eids[name]} for name in embedded])
    yield repository
    remove(repository)


def complete_fovs(eid: str) -> list[int]:
    """Return the FOVs whose rows are complete, after checking the tables against each other."""
    found = []
    for row in (schemas.FOV & {"eid": eid}).to_dicts(order_by="fov"):
        key = {"eid": eid, "fov": row["fov"]}
        traces = (schemas.Activity.Trace & key).to_arrays("trace", order_by="roi")
        assert traces.shape == (row["n_rois"], row["n_frames"])
        assert row["n_rois"] == len(schemas.ROI & key)
        assert len((schemas.Recording & key).fetch1("frame_times")) == row["n_frames"]
        assert len(schemas.FOV.Source & key) >= 6
        found.append(int(row["fov"]))
    return found


def embedded_fovs(eid: str) -> list[int]:
    default = schemas.EmbeddingParams.add(meso.EmbeddingSettings())
    ranks = (schemas.Embedding.Rank & default & {"eid": eid}).to_arrays(
        "fov", "embedding_rank", order_by="embedding_rank"
    )
    assert (schemas.Embedding & default & {"eid": eid}).fetch1("n_embedded") == len(ranks[1])
    assert ranks[1].tolist() == list(range(len(ranks[1])))
    return sorted(set(map(int, ranks[0])))


def test_what_one_does_not_know_is_refused_and_the_rest_registered(broken):
    assert set(broken.done.failed) == {NOT_IN_ONE, "no-such-id"}
    for eid, message in broken.done.failed.items():
        assert eid in message
        assert "not a session of this ONE client" in message
    assert set(broken.done.new) == {eid for name, eid in broken.eids.items() if name != "late"}


def test_ingest_command_says_which_session_failed(broken, meso_command):
    done = meso_command("ingest", NOT_IN_ONE, broken.eids["late"], "--cache-dir", broken.root)
    assert done.returncode == 1
    assert f"session {NOT_IN_ONE}: not a session of this ONE client" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() == "1 new, 0 known, 1 failed"
    assert len(schemas.FOVFolder & {"eid": broken.eids["late"]}) == N_FOVS
    assert not len(schemas.Session & {"eid": NOT_IN_ONE})


def test_all_other_sessions_are_complete(broken):
    for name in ("good", "41 UIDs", "UIDs fit", "UID twice", "UID in two FOVs", "before", "one class", "after"):
        eid = broken.eids[name]
        assert complete_fovs(eid) == [0, 1, 2]
        assert len(schemas.Behavior & {"eid": eid}) == len(schemas.Wheel & {"eid": eid}) == 1
    assert embedded_fovs(broken.eids["good"]) == [0, 1, 2]


def test_load_or_embed_names_the_bad_fov_and_returns_the_rest(broken):
    eid = broken.eids["truncated traces"]
    with pytest.warns(UserWarning, match=rf"FOV: DataError: session {eid}, FOV_01, .*truncated") as warned:
        cells = meso.load_or_embed(eid)
    assert len(warned) == 1
    assert sorted({key["fov"] for key in cells["roi_keys"]}) == [0, 2]
    expected = []
    for i in (0, 2):
        folder = broken.alf("truncated traces") / f"FOV_{i:02d}"
        expected.append(np.load(folder / ACTIVITY).T[np.load(folder / "mpciROIs.mpciROITypes.npy") == 1])
    np.testing.assert_array_equal(cells["roi_signal"], np.concatenate(expected))
    assert sorted(cells["isort"]) == list(range(len(cells["roi_signal"])))


def test_load_or_embed_of_a_session_with_all_fovs_bad(broken):
    eid = broken.eids["all bad"]
    assert complete_fovs(eid) == []
    assert set(failures(eid)) == {("FOV", 0), ("FOV", 1), ("FOV", 2)}
    assert len(schemas.Embedding & {"eid": eid}) == 0
    with pytest.raises(
        DataError, match=rf"session {eid}: no FOV .*first reason: .*FOV_0\d, alf/FOV_0\d/{TIMES}: dataset is missing"
    ):
        meso.load_or_embed(eid)


def test_load_or_embed_of_a_session_that_is_not_in_one(broken, monkeypatch):
    monkeypatch.setenv("MESO_ONE_CACHE_DIR", str(broken.root))
    with pytest.raises(DataError, match=f"session {NOT_IN_ONE}: not a session of this ONE client"):
        meso.load_or_embed(NOT_IN_ONE)


def test_a_file_of_too_many_uids_leaves_the_other_fovs_shared(broken):
    eid, other = broken.eids["41 UIDs"], broken.eids["UIDs fit"]
    with (
        pytest.warns(UserWarning, match=f"session {other}, FOV_01: none of its 8 UIDs is in another session"),
        pytest.warns(UserWarning, match=f"session {eid}, FOV_01: its cells are in no comparison.*found"),
    ):
        rows = meso.match_tracked_indices_across_sessions(eid, [other])
    n = (schemas.FOV & {"eid": eid, "fov": 1}).fetch1("n_rois")
    assert list(failures(eid)) == [("TrackedFOV", 1)]
    message = failures(eid)["TrackedFOV", 1]
    assert f"session {eid}, FOV_01, " in message
    assert UIDS in message
    assert f"expected {n} UIDs for {n} ROIs, found {n + 1} UIDs" in message
    assert len(schemas.TrackedFOV.Member & {"eid": eid, "fov": 1}) == 0
    expected = {
        uid
        for i in (0, 2)
        for uid, neuron in zip(
            tracked_lines(broken.alf("UIDs fit") / f"FOV_{i:02d}"),
            np.load(broken.alf("UIDs fit") / f"FOV_{i:02d}" / "mpciROIs.mpciROITypes.npy"), strict=True,
        )
        if uid and neuron
    }  # fmt: skip
    found = schemas.SharedCells.Cell * schemas.TrackedFOV.Member.proj("cell_uid") & {"eid": eid, "subject": "BI02"}
    assert set(found.to_arrays("cell_uid")) == expected
    assert len(rows[eid]) == len(rows[other]) == len(expected)
    np.testing.assert_array_equal(rows[eid], rows[other])  # the same files
    keys = meso.load_or_embed(eid)["roi_keys"]
    assert {keys[i]["fov"] for i in rows[eid]} == {0, 2}


def test_a_uid_twice_is_an_error_or_the_first(broken):
    within, across = broken.eids["UID twice"], broken.eids["UID in two FOVs"]
    rows = {eid: {"eid": eid, "fov": 1} for eid in (within, across)}
    strict = TrackingRun.register("BI03")
    fill([schemas.TrackedCell, schemas.TrackedFOV], strict)
    uid = next(line for line in tracked_lines(broken.alf("UID twice") / "FOV_01") if line)
    message = failures(within)["TrackedFOV", 1]
    places = [i for i, line in enumerate(tracked_lines(broken.alf("UID twice") / "FOV_01")) if line == uid]
    assert f"session {within}, FOV_01, " in message
    assert f"expected each UID once, found 1 repeated, {uid} at ROIs {places}" in message
    assert "in an earlier FOV" in failures(across)["TrackedFOV", 1]
    assert all(len(schemas.TrackedFOV & strict & row) == 0 for row in rows.values())
    assert len(schemas.TrackedFOV & strict) == 4
    lenient = TrackingRun.register("BI03", duplicates="first")
    assert lenient != strict
    assert fill([schemas.TrackedCell, schemas.TrackedFOV], lenient).errors == []
    assert len(schemas.TrackedFOV & lenient) == 6
    repeated = (schemas.TrackedFOV & lenient & "n_repeated > 0").to_arrays("eid", "fov", "n_repeated")
    assert {tuple(row) for row in zip(*repeated, strict=True)} == {(within, 1, 1), (across, 1, 1)}
    member = schemas.TrackedFOV.Member & lenient & {"cell_uid": uid, "eid": within}
    assert member.fetch1("roi") == places[0]
    first = next(line for line in tracked_lines(broken.alf("UID in two FOVs") / "FOV_00") if line)
    assert (schemas.TrackedFOV.Member & lenient & {"cell_uid": first, "eid": across}).fetch1("fov") == 0


def test_one_class_and_no_trials_leave_the_other_curves(broken):
    eids = [broken.eids[name] for name in ("before", "one class", "after", "none")]
    result = run_ndc(eids, TrackingRun.register("BI04"), [SETTINGS])
    assert [row["eid"] for row in result.curves["choice"]] == [eids[0], eids[2]]
    assert set(result.failed) == {eids[1], eids[3]}
    assert (
        f"session {eids[1]}: all usable trials of choice are of one class (expected 2 or more of each class, "
        in (result.failed[eids[1]])
    )
    assert re.search(r"found 0 of class 0 and \d+ of class 1; trials by outcome: .*usable \d+", result.failed[eids[1]])
    assert "no trials table" in result.failed[eids[3]]
    assert {row["n_compared"] for row in result.curves["choice"]} == {2}
    assert all(np.isfinite(point["score_mean"]) for row in result.curves["choice"] for point in row["curve"])


def test_a_file_that_changes_between_two_tables_is_refused(broken):
    """The FOV has rows, its activity fails: the embedding takes the other FOVs."""
    eid = broken.eids["late"]
    alf = broken.alf("late")
    schemas.Session.register(one_for(broken.eids["good"]), eid, str(broken.root))
    assert fill([schemas.FOV, schemas.Recording, schemas.ROI], {"eid": eid}).errors == []
    rewrite(alf / "FOV_01" / ACTIVITY, lambda a: a + 1)
    filled = fill([schemas.Activity, Embedding], {"eid": eid})
    assert [table for table, _, _ in filled.errors] == ["Activity"]
    message = failures(eid)["Activity", 1]
    assert f"session {eid}, FOV_01, alf/FOV_01/{ACTIVITY}: the file changed since it was read" in message
    assert len(schemas.Activity & {"eid": eid, "fov": 1}) == 0
    assert embedded_fovs(eid) == [0, 2]


@pytest.mark.parametrize(("table", "name"), [("Recording", TIMES), ("ROI", "mpciROIs.mpciROITypes.npy")])
def test_tables_of_a_fov_are_of_the_same_files(broken, table, name):
    """Recording and ROI read again what FOV has checked: another file now must not go in."""
    eid, key = broken.eids["late"], {"eid": broken.eids["late"], "fov": 2}
    schemas.Session.register(one_for(broken.eids["good"]), eid, str(broken.root))
    (schemas.FOV & key).delete()
    fill([schemas.FOV], key)
    assert len(schemas.FOV & key) == 1
    file = broken.alf("late") / "FOV_02" / name
    before = file.read_bytes()
    rewrite(file, lambda a: a + 1 if a.dtype == float else 1 - a)
    try:
        fill([schemas.FOV, getattr(schemas, table)], key)
        assert len(getattr(schemas, table) & key) == 0
        assert "the file changed since it was read" in failures(eid)[table, 2]
    finally:
        file.write_bytes(before)
        retry(eid=eid)


@pytest.mark.parametrize("name", ["no times", "truncated traces"])
def test_a_fixed_fov_is_read_after_retry(broken, name):
    eid = broken.eids[name]
    for file in (TIMES, ACTIVITY):
        shutil.copy(broken.sound(eid) / "alf/FOV_01" / file, broken.alf(name) / "FOV_01" / file)
    write_one_tables(broken.root)
    fill([*SESSION_TABLES], {"eid": eid})
    assert complete_fovs(eid) == [0, 2]  # a failure is not tried again by itself
    made = len(Embedding & {"eid": eid})
    with pytest.warns(UserWarning, match="made without these FOVs") if made else nullcontext():
        assert retry([schemas.FOV], eid=eid) == 1
    assert len(Embedding & {"eid": eid}) == 0
    assert retry([schemas.FOV], eid=eid) == 0
    assert fill([*IMAGING_TABLES], {"eid": eid}).errors == []
    assert failures(eid) == {}
    assert complete_fovs(eid) == [0, 1, 2]
    fixed = fov_traces(eid, 1, np.arange(5))
    np.testing.assert_array_equal(fixed, np.load(broken.alf(name) / "FOV_01" / ACTIVITY).T[:5])


def test_retry_refuses_a_name_that_is_not_a_key_attribute(database):
    with pytest.raises(ConfigError, match="eidd: not a key attribute of FOV"):
        retry([schemas.FOV], eidd="x")
