"""``meso update``: what changed is read again, questions stay, results are computed again, a kill loses nothing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import quick_start
from support.broken_sessions import Repository, new_uuids, remove
from support.corpus import ACTIVITY, BAD, FLUORESCENCE, POSITIONS, TIMES, TRIALS, TYPES, UIDS, UUIDS, WHEEL
from support.filled import Filled

import meso
import schemas
import schemas.upkeep.update
from page import drawing
from page.rasters import Rasters
from pipeline.decoding import NDCSettings
from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.embedding import EmbeddingSettings
from pipeline.errors import NotFoundError
from pipeline.responses import StabilitySettings
from populate_scripts.commands import drop_labels
from populate_scripts.ingest import ingest
from schemas.decoding.cohorts import compare_mice
from schemas.decoding.run import run_ndc, shared_set, stored_run
from schemas.decoding.shuffles import shuffles
from schemas.decoding.tables import _common_trials, _decoded, _files_of_donors, finished_curve
from schemas.decoding.transfers import run_transfer
from schemas.exchange.verify import verify_session
from schemas.queries.tracking_runs import fovs_left_out, fovs_of_other_runs
from schemas.responses.run import run_stability
from schemas.session import trials_of
from schemas.tracking import TrackingRun
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill
from schemas.work.jobs import Job, Queue
from schemas.work.reports import errors, retry
from schemas.work.runner import JobRunner

#: The times of one FOV of a session change in most tests here; that this is told is tested in test_changed_files.py.
pytestmark = pytest.mark.filterwarnings("ignore:.*files with times are newer")

SETTINGS = [
    NDCSettings(target=target, ks=(4, 8), r=2, n_label_shuffles=2, cv_splits=2) for target in ("choice", "stimulus")
]
REVISION = "#2026-01-01#"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=2, n_trials=40, n_shared=24, rois_per_fov=40
    )
    return next(made.root.glob("*/Subjects/*/*/001"))


class Lab(Repository):
    """Two sessions of a subject, with curves of their shared cells and an embedding of the first."""

    @property
    def first(self) -> str:
        return self.eids["first"]

    @property
    def second(self) -> str:
        return self.eids["second"]

    def file(self, name: str, fov: int = 0, session: str = "first") -> Path:
        return self.alf(session) / f"FOV_{fov:02d}" / name

    def trials(self) -> Path:
        return next(self.alf("first").rglob(TRIALS))

    def revise(self, name: str, change: Callable[[np.ndarray], np.ndarray], fov: int = 0) -> np.ndarray:
        """Write a new revision of a dataset of the first session; ONE knows it."""
        path = self.file(f"{REVISION}/{name}", fov)
        path.parent.mkdir(exist_ok=True)
        np.save(path, change(np.load(self.file(name, fov))))
        write_one_tables(self.root)
        return np.load(path)

    def drop_trials(self, n: int) -> None:
        """Write the trials table of the first session without its last trials."""
        table, path = pd.read_parquet(self.trials()), self.trials()
        table.iloc[:-n].to_parquet(path)
        for beside in path.parent.glob("_ibl_trials.*.npy"):
            np.save(beside, np.load(beside)[:-n])
        write_one_tables(self.root)

    def shift_trials(self) -> None:
        """Write the trials of the first session without the first one, and with one more at the end."""
        path = self.trials()
        table = pd.read_parquet(path)
        times = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
        length = table["intervals_1"].iloc[-1] - table["intervals_0"].iloc[-1] + 0.1
        last = table.iloc[-1:].assign(**{name: table[name].iloc[-1:] + length for name in times})
        pd.concat([table.iloc[1:], last], ignore_index=True).to_parquet(path)
        for beside in path.parent.glob("_ibl_trials.*.npy"):
            values = np.load(beside)
            np.save(beside, np.append(values[1:], values[-1] + length * ("times" in beside.name)))
        write_one_tables(self.root)

    def run(self) -> dict:
        return {"subject": "UPD1", "tracking_run": self.result.tracking_run}


@pytest.fixture(scope="module")
def filled(database, template, tmp_path_factory) -> Iterator[Filled]:
    made = Lab(tmp_path_factory.mktemp("lab") / "one", template)
    for name in ("first", "second"):
        made.add(name, "UPD1")
    write_one_tables(made.root)
    eids = list(made.eids.values())
    ingest(eids, cache_dir=made.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in eids]).errors == []
    made.result = run_ndc(eids, TrackingRun.register("UPD1"), SETTINGS)
    assert made.result.failures == []
    assert compare_mice(["UPD1"]).notes == []
    assert run_transfer(eids, TrackingRun.register("UPD1"), SETTINGS[:1]).failures == []
    params = schemas.EmbeddingParams.add(EmbeddingSettings())
    assert fill([schemas.Embedding, schemas.RasterTiles], {"eid": made.first, **params}).errors == []
    few = StabilitySettings(min_trials=1, n_shuffles=200, n_bootstrap=200)
    assert run_stability(eids, TrackingRun.register("UPD1"), settings=few).gaps
    found = Filled(made)
    remove(made)
    yield found
    found.forget()


@pytest.fixture
def lab(filled) -> Iterator[Lab]:
    filled.put_back()
    yield filled.repository
    filled.take_away()
    assert errors() == []


def asked(lab: Lab) -> dict[str, object]:
    """Return what was asked of a lab's sessions: sets with their members, curves and families."""
    sets = (schemas.SessionSet & {"subject": "UPD1"}).proj()
    return {
        "sets": sets.to_arrays("session_set", order_by="session_set").tolist(),
        "members": (schemas.SessionSet.Member & sets).to_dicts(order_by="KEY"),
        "tasks": (schemas.NDCTask & sets).to_dicts(order_by="KEY"),
        "families": (schemas.NDCFamily.Member & sets).to_dicts(order_by="KEY"),
        "cohorts": (schemas.NDCCohort.Member & sets).to_dicts(order_by="KEY"),
        "populations": (schemas.NDCPopulation & (schemas.NDCCohort.Member & sets).proj()).keys(order_by="KEY"),
        "transfers": (schemas.TransferTask & sets).to_dicts(order_by="KEY"),
        "transferred": (schemas.TransferResult & sets).keys(order_by="KEY"),
        "matrices": (schemas.TransferMatrix & sets).keys(order_by="KEY"),
        "embeddings": (schemas.Embedding & {"eid": lab.first}).proj().to_dicts(order_by="KEY"),
        "tiles": (schemas.RasterTiles & {"eid": lab.first}).proj().to_dicts(order_by="KEY"),
        "comparisons": (schemas.NDCComparison & (schemas.NDCFamily.Member & sets).proj()).keys(order_by="KEY"),
        "results": (schemas.NDCResult & sets).keys(order_by="KEY"),
        "stability": (schemas.Stability & sets).keys(order_by="KEY"),
        "means": (schemas.TrialTypeMean & [{"eid": eid} for eid in lab.eids.values()]).keys(order_by="KEY"),
    }


def scores(lab: Lab) -> dict[tuple, list[float]]:
    """Return all scores by set, settings, session and k."""
    rows = (schemas.NDCResult.Curve & (schemas.SessionSet & {"subject": "UPD1"}).proj()).to_dicts(order_by="KEY")
    return {(row["session_set"], row["ndc_params"], row["eid"], row["k"]): row["scores"].tolist() for row in rows}


def fresh_scores(lab: Lab) -> dict[tuple, list[float]]:
    """Return the scores that the files give when everything is deleted and computed from the beginning."""
    eids = list(lab.eids.values())
    (schemas.Session & [{"eid": eid} for eid in eids]).delete()
    ingest(eids, cache_dir=lab.root)
    fill(SESSION_TABLES, [{"eid": eid} for eid in eids])
    run_ndc(eids, TrackingRun.register("UPD1"), SETTINGS)
    return scores(lab)


def test_nothing_has_changed(lab, meso_command):
    before, n_updates = asked(lab), len(schemas.SourceUpdate())
    done = update([*lab.eids.values()])
    assert (done.changes, done.tables, done.failures, done.update_id) == ([], {}, [], "")
    assert len(schemas.SourceUpdate()) == n_updates
    assert asked(lab) == before
    shown = meso_command("update", "--subject", "UPD1")
    assert (shown.returncode, shown.stdout.strip()) == (0, "No file has changed")


def test_files_saved_again_with_the_same_values_change_no_result(lab, meso_command):
    before, kept, n_former = asked(lab), scores(lab), len(schemas.FormerResult())
    content, of_others = lab.trials().read_bytes(), set(schemas.Deletion.to_arrays("deletion").tolist())
    pd.read_parquet(lab.trials()).to_parquet(lab.trials(), compression="gzip")
    np.save(lab.file(ACTIVITY), np.ascontiguousarray(np.load(lab.file(ACTIVITY))))
    assert lab.trials().read_bytes() != content
    write_one_tables(lab.root)
    shown = meso_command("update", lab.first)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith("saved again with the same values") for line in lines)
    assert (asked(lab), scores(lab), len(schemas.FormerResult())) == (before, kept, n_former)
    assert meso_command("update", lab.first).stdout.strip() == "No file has changed"
    assert verify_session(lab.first, source=True).findings == []
    rows = [row for row in schemas.Deletion.to_dicts() if row["deletion"] not in of_others]
    assert all(row["deletion_reason"].endswith("with the same values") for row in rows)
    assert {row["deleted_table"] for row in rows} == {"Behavior.Source", "FOV.Source"}


@pytest.mark.one_backend  # it asks what the tests below ask on both, and writes nothing
def test_a_dry_run_says_what_an_update_does_and_does_nothing(lab, meso_command):
    lab.revise(TIMES, lambda times: times + 0.15)
    before, kept = asked(lab), scores(lab)
    done = meso_command("update", lab.first, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    (change,) = seen["changes"]
    assert (change["table"], change["eid"], change["fov"]) == ("FOV", lab.first, 0)
    assert (change["dataset"], change["kind"]) == (f"alf/FOV_00/{TIMES}", "revision")
    assert change["found"] == f"alf/FOV_00/{REVISION}/{TIMES}"
    tables = {row["table"]: row["n_again"] for row in seen["tables"]}
    n_rois = (schemas.FOV & {"eid": lab.first, "fov": 0}).fetch1("n_rois")
    expected = {"FOV": 1, "Recording": 1, "ROI": n_rois, "Activity.Trace": n_rois, "Embedding": 1, "NDCResult": 4,
                "SessionSet": 1, "NDCFamily": 1, "NDCComparison": 1, "NDCCohort": 1, "NDCPopulation": 1,
                "TransferTask": 1, "TransferResult": 2, "TransferResult.Train": 4, "TransferMatrix": 1,
                "TrackedFOV": 1}  # fmt: skip
    assert {name: tables.get(name) for name in expected} == expected
    assert not {"Behavior", "Wheel", "Session", "FOVFolder", "TrackingRun"} & set(tables)
    assert (asked(lab), scores(lab)) == (before, kept)
    real = update([lab.first])
    assert {name: again for name, (again, _) in real.tables.items()} == tables


def test_a_new_revision_is_read_and_all_questions_are_answered_again(lab, database):
    before, kept = asked(lab), scores(lab)
    meso.tag("canonical", [lab.first])
    old_row = (schemas.NDCResult & {"eid": lab.first}).to_dicts(order_by="KEY")
    untouched = (schemas.Deletion).to_arrays("deletion")
    times = lab.revise(TIMES, lambda times: times + 0.15)
    done = update([lab.first])
    assert done.failures == []
    np.testing.assert_array_equal((schemas.Recording & {"eid": lab.first, "fov": 0}).fetch1("frame_times"), times)
    assert asked(lab) == before
    assert meso.tagged("canonical") == [lab.first]
    now = scores(lab)
    assert set(now) == set(kept)
    assert {key[2] for key in kept if now[key] != kept[key]} >= {lab.first}
    # the former results, dated
    former = schemas.FormerResult & {"update_id": done.update_id}
    curves = (former & {"former_table": "NDCResult"}).to_dicts(order_by="former_number")
    snapshot = {
        (*[row["former_key"][name] for name in ("session_set", "ndc_params", "eid")], point["k"]): point["scores"]
        for row in curves for point in row["former_parts"]["Curve"]
    }  # fmt: skip
    assert snapshot == kept
    mine = [row["former_row"]["ceiling"] for row in curves if row["former_key"]["eid"] == lab.first]
    assert mine == [row["ceiling"] for row in old_row]
    tables = set(former.to_arrays("former_table"))
    assert tables == {
        "NDCResult", "NDCComparison", "NDCPopulation", "TransferResult", "TransferMatrix", "Embedding", "Stability",
    }  # fmt: skip
    transferred = (former & {"former_table": "TransferResult"}).to_dicts()
    assert [len(row["former_parts"]["Train"]) for row in transferred] == [2, 2]
    # the record
    records = [row for row in schemas.Deletion.to_dicts() if row["deletion"] not in untouched]
    (record,) = [row for row in records if row["deleted_table"] == "FOV"]
    assert record["deletion_reason"] == f"meso update {done.update_id}: files changed"
    assert record["deleted_from"] == platform.node()
    assert record["deleted_rows"]["NDCResult"] == 4
    assert verify_session(lab.first, source=True).ok
    assert update([*lab.eids.values()]).changes == []
    assert now == fresh_scores(lab)


@pytest.mark.one_backend  # what is new is found in the files; what an update then does is tested on both above
def test_flags_of_frames_that_were_not_read_are_read_by_an_update(lab):
    """A session that was read before there were flags keeps its rows until it is updated."""
    before = asked(lab)
    flagged = np.arange(len(np.load(lab.file(TIMES)))) % 9 == 4
    np.save(lab.file(BAD), flagged)
    write_one_tables(lab.root)
    key = {"eid": lab.first, "fov": 0}
    assert (schemas.Recording & key).fetch1("bad_frames") is None
    done = update([lab.first])
    changed = [(row["dataset"], row["kind"]) for row in done.as_row()["changes"]]
    assert (changed, done.failures) == ([(f"alf/FOV_00/{BAD}", "new")], [])
    np.testing.assert_array_equal((schemas.Recording & key).fetch1("bad_frames"), flagged)
    outcomes = (schemas.TrialFeatures.Trial & {"eid": lab.first}).to_arrays("trial_outcome")
    assert (outcomes == "bad frame").sum() > 5
    assert asked(lab) == before


def test_changed_trials_change_the_curves_of_all_sessions_that_share_trial_counts(lab):
    """No foreign key leads from the trials of one session to the curve of another."""
    before, traces = asked(lab), (schemas.Activity & {"eid": lab.first}).to_dicts()
    lab.drop_trials(12)
    done = update([lab.first])
    assert done.failures == []
    assert [row.table for row in done.changes] == ["Behavior"]
    assert not {"FOV", "Activity", "SessionSet", "Embedding"} & set(done.tables)
    assert done.tables["NDCResult"][0] == 4
    assert (schemas.ChoiceModel & {"eid": lab.first}).fetch1("n_choices") <= len(pd.read_parquet(lab.trials()))
    assert (schemas.Activity & {"eid": lab.first}).to_dicts() == traces
    assert asked(lab) == before
    now = scores(lab)
    assert now == fresh_scores(lab)


@pytest.mark.one_backend
def test_own_labels_of_trials_that_are_others_now_are_an_error(lab):
    """As many, so that all labels would have been of the next trial."""
    eids = [lab.first, lab.second]
    own = schemas.LabelSet.add("own", {eid: trials_of(eid)["choice"] > 0 for eid in eids})["label_set"]
    settings = replace(SETTINGS[0], target="own", labels=own, null="permute", event="stimOn_times")
    assert run_ndc(eids, lab.run(), [settings]).failures == []
    lab.shift_trials()
    done = update([lab.first])
    others = [text for text in done.failures if f"session {lab.first}, labels 'own': the labels were given" in text]
    assert done.failures == others != []
    curves = schemas.NDCResult & schemas.NDCParams.add(settings)
    assert curves.to_arrays("eid").tolist() == [lab.second]
    new = schemas.LabelSet.add("own", {eid: trials_of(eid)["choice"] > 0 for eid in eids})["label_set"]
    assert new != own
    assert run_ndc(eids, lab.run(), [replace(settings, labels=new)]).failures == []
    drop_labels("own")


@pytest.mark.one_backend  # as the changed trials above, by DataJoint's delete
def test_trials_that_are_deleted_and_read_by_hand_change_the_same_curves(lab):
    lab.drop_trials(12)
    (schemas.TrialFeatures & {"eid": lab.first}).delete()  # as of a session that could not be decoded
    assert schemas.NDCResult & lab.result.session_set
    (schemas.Behavior & {"eid": lab.first}).delete()
    # also those of the other session, whose number of trials was that of both: the trials may never be read again
    assert not schemas.NDCResult & lab.result.session_set
    with pytest.warns(UserWarning, match="have changed"):  # nothing but the table of trials
        assert fill([schemas.Behavior], {"eid": lab.first}).errors == []
    assert fill([schemas.TrialFeatures, schemas.NDCResult], lab.result.session_set).errors == []
    after = scores(lab)
    with pytest.warns(UserWarning, match="have changed"):  # of the files of before the deletion, still
        assert after == fresh_scores(lab)


@pytest.mark.one_backend  # other files; an update of them is tested on both above
def test_a_new_extraction_with_new_uids_is_a_new_tracking_run(lab):
    """The former questions are asked of the new run; the former UIDs are not given to the new ROIs."""
    for name in (TYPES, POSITIONS):
        lab.revise(name, lambda a: a[::-1].copy())
    lab.revise(ACTIVITY, lambda traces: np.asfortranarray(traces[:, ::-1]))
    new_uuids(lab.file(UUIDS), folder=REVISION)
    for name in lab.alf("first").glob("FOV_00/mpciROIs.*.npy"):
        if name.name not in (TYPES, POSITIONS):
            lab.revise(name.name, lambda a: a[::-1].copy())
    lines = lab.file(UIDS).read_text().splitlines()
    lab.file(UIDS).write_text("".join(f"{line}\n" for line in lines[::-1]))
    done = update([lab.first])
    assert [text for text in done.failures if "registered with other ROIs" not in text] == []
    runs = (schemas.TrackingRun & {"subject": "UPD1"}).to_arrays("tracking_run", order_by="registered_at").tolist()
    assert runs[0] == lab.result.tracking_run
    assert len(runs) == 2
    assert not schemas.TrackedFOV & lab.run() & {"eid": lab.first, "fov": 0}
    (new,) = (schemas.SessionSet & {"subject": "UPD1"}).to_dicts()
    assert new["tracking_run"] == runs[1]
    assert len(schemas.TransferMatrix & {"session_set": new["session_set"]}) == 1
    params = [target.ndc_params for target in lab.result.targets]
    again = stored_run({"session_set": new["session_set"]}, params)
    # the same cells, with the same traces, in another order of the files
    assert again.n_shared == lab.result.n_shared
    former = {row["eid"]: row["ceiling"] for row in lab.result.targets[0].curves}
    assert {row["eid"]: row["ceiling"] for row in again.targets[0].curves} == former


def test_what_is_gone_or_damaged_stays_as_it_was(lab):
    before, kept = asked(lab), scores(lab)
    lab.file(TIMES, fov=1).unlink()
    path = lab.file(f"{REVISION}/{TIMES}")
    path.parent.mkdir()
    path.write_bytes(lab.file(TIMES).read_bytes()[:-30])
    next(lab.alf("first").rglob(WHEEL)).write_bytes(b"no array")
    write_one_tables(lab.root)
    done = update([lab.first])
    assert done.update_id == ""
    gone, damaged, wheel = sorted(done.failures, key=lambda text: ("gone" not in text, "Wheel" in text))
    assert f"FOV stays as it is, its files are gone: session {lab.first}, FOV_01: alf/FOV_01/{TIMES}: gone" in gone
    assert "FOV stays as it is, the new files cannot be used" in damaged
    assert f"alf/FOV_00/{TIMES}: cannot be read as a plain array" in damaged
    assert "Wheel stays as it is" in wheel
    assert (asked(lab), scores(lab)) == (before, kept)


@pytest.mark.one_backend
def test_uids_stay_with_a_session_that_stays(lab):
    """All of a session stayed as it was, but its UIDs became a new tracking run in the same call."""
    before = asked(lab)
    lab.file(TIMES, fov=1).unlink()
    lab.file(UIDS).write_text("\n" * len(lab.file(UIDS).read_text().splitlines()))
    write_one_tables(lab.root)
    done = update([lab.first])
    assert (done.update_id, len(schemas.TrackingRun & {"subject": "UPD1"})) == ("", 1)
    assert f"FOV stays as it is, its files are gone: session {lab.first}, FOV_01" in done.failures[0]
    (stays,) = done.failures[1:]
    assert stays == (
        "the UIDs of UPD1 have changed and stay as they are, like all of the sessions above; to register them all the "
        "same: meso track UPD1"
    )
    assert asked(lab) == before


@pytest.mark.one_backend
def test_a_fov_that_was_tracked_again_on_some_days_only_is_noted(lab):
    place, eids = {"eid": lab.first, "fov": 0}, [lab.first, lab.second]
    assert fovs_of_other_runs(lab.result.session_set) == []
    lines = lab.file(UIDS).read_text().splitlines()
    names = ["" if line.strip() in ("", "nan") else str(uuid.uuid4()) for line in lines]
    lab.file(UIDS).write_text("".join(f"{name}\n" for name in names))
    session_set, _ = shared_set(eids, TrackingRun.register("UPD1"))
    n_tracked = sum(map(bool, names))
    assert fovs_of_other_runs(session_set) == [
        f"session {eid}, FOV_00: none of its {n_tracked} UIDs is in another session of the set, so that it shares no "
        f"cell. If it was tracked again with other sessions, its UID file is still to come"
        for eid in sorted(eids)
    ]
    assert (schemas.SharedCells & session_set).fetch1("n_shared") < lab.result.n_shared
    schemas.FOVFolder.insert1({**place, "fov": 7, "collection": "alf/FOV_07"})
    (left_out,) = fovs_left_out(session_set)
    assert left_out == (
        f"session {lab.first}, FOV_07: its cells are in no comparison. The tracking run has no UID file for it. If it "
        f"has one by now: meso track UPD1"
    )


@pytest.mark.one_backend
def test_a_fov_that_arrives_after_an_embedding_of_all_fovs_becomes_part_of_it(lab):
    shutil.copytree(lab.alf("first") / "FOV_01", lab.alf("first") / "FOV_02")
    write_one_tables(lab.root)
    assert schemas.Embedding & {"eid": lab.first}
    with pytest.warns(UserWarning, match="1 embeddings were made without these FOVs: deleted, to be recomputed"):
        assert ingest([lab.first], cache_dir=lab.root).new == [lab.first]
    assert not schemas.Embedding & {"eid": lab.first}


@pytest.mark.one_backend
def test_a_fov_whose_neurons_are_curated_later_becomes_part_of_an_embedding(lab):
    """Without neurons it has no rank in the embedding that is of all FOVs."""
    ranks = schemas.Embedding.Rank & {"eid": lab.first, "fov": 1}
    before = len(ranks)
    types = lab.revise(TYPES, np.zeros_like, fov=1)
    assert update([lab.first]).tables["Embedding"][0] == 1 and not ranks
    np.save(lab.file(f"{REVISION}/{TYPES}", 1), np.load(lab.file(TYPES, 1)))
    write_one_tables(lab.root)
    update([lab.first])
    assert len(types) > len(ranks) == before > 0


class Killed(BaseException):
    """The process ends here."""


#: Calls before which an update is killed; each has committed what the former ones did, on either server alike.
KILLED_BEFORE = [pytest.param(n, marks=[] if n == 4 else pytest.mark.one_backend) for n in (*range(7), 9)]


@pytest.mark.parametrize("after", KILLED_BEFORE)
def test_an_update_that_is_killed_is_completed_by_the_next(lab, monkeypatch, after):
    before = asked(lab)
    lab.revise(TIMES, lambda times: times + 0.15)
    calls = iter(range(100))
    names = ("_replace", "_fill", "_ask", "_ask_curves", "_ask_compared")

    def counted(function):
        def call(*args, **options):
            if next(calls) == after:
                raise Killed
            return function(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(schemas.upkeep.update, name, counted(getattr(schemas.upkeep.update, name)))
        with pytest.raises(Killed):
            update([lab.first])
    done = update([lab.first])
    assert done.failures == []
    assert asked(lab) == before
    assert not schemas.SourceUpdate - schemas.SourceUpdate.Done.proj()
    assert verify_session(lab.first, source=True).ok
    assert update([lab.first]).changes == []


@pytest.mark.one_backend  # as the kills above
def test_files_that_change_again_after_a_kill_are_read_as_they_are_now(lab, monkeypatch):
    """Killed between two tables of a FOV: those of the first are of files that are no longer there."""
    before = asked(lab)
    lab.revise(TIMES, lambda times: times + 0.15)

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(schemas.ROI, "make_fetch", killed)
        with pytest.raises(Killed):
            update([lab.first])
    assert len(schemas.Recording & {"eid": lab.first}) == 2
    times = lab.revise(TIMES, lambda times: times + 0.18)
    done = update([lab.second])
    assert done.failures == []
    np.testing.assert_array_equal((schemas.Recording & {"eid": lab.first, "fov": 0}).fetch1("frame_times"), times)
    assert asked(lab) == before
    assert not schemas.SourceUpdate - schemas.SourceUpdate.Done.proj()
    assert verify_session(lab.first, source=True).ok


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_time_leaves_an_update_that_the_next_completes(lab, server, meso_command):
    before = asked(lab)
    place = {"env": {**os.environ, **server}, "cwd": Path(__file__).parents[3]}
    for i, seconds in enumerate((0.7, 1.2, 1.7, 2.2, 2.7)):
        lab.revise(TIMES, lambda times, i=i: times + 0.03 * (i + 1))
        process = quick_start.Process(["-m", "populate_scripts.cli", "update", lab.first], **place)
        time.sleep(seconds)
        process.kill()
        process.communicate()
    done = meso_command("update", lab.first)
    assert done.returncode == 0, done.stdout + done.stderr
    assert asked(lab) == before
    assert verify_session(lab.first, source=True).ok


def test_a_job_that_read_the_old_rows_inserts_nothing(lab, monkeypatch):
    """While a curve is computed, the files behind it are replaced and everything is read again."""
    made = schemas.TrialFeatures.make_compute
    lab.revise(TIMES, lambda times: times + 0.15)
    key = (schemas.NDCTask * schemas.SessionSet.Member & {"eid": lab.first}).keys(order_by="KEY")[0]
    (schemas.TrialFeatures & key).delete()
    times = []

    def updated_meanwhile(self, key, *fetched):
        found = made(self, key, *fetched)
        if not times:
            times.append(1)
            assert update([lab.first]).failures == []
        return found

    monkeypatch.setattr(schemas.TrialFeatures, "make_compute", updated_meanwhile)
    fill([schemas.TrialFeatures], key)
    monkeypatch.undo()
    assert errors() == []
    assert fill([schemas.TrialFeatures, schemas.NDCResult]).errors == []
    assert scores(lab) == fresh_scores(lab)


@pytest.mark.one_backend
def test_a_comparison_of_the_former_curves_is_not_stored_over_the_new_ones(lab, monkeypatch):
    """Curves that are computed again have the same keys, and the job's own key names none of them."""
    made, (key,) = schemas.NDCComparison.make_compute, schemas.NDCFamily.keys()
    (schemas.NDCComparison & key).delete()
    seen = []

    def updated_meanwhile(self, key, *fetched):
        found = made(self, key, *fetched)
        if not seen:
            seen.append(fetched)
            lab.drop_trials(12)
            assert update([lab.first]).failures == []  # the job was found, and taken from its worker
        return found

    monkeypatch.setattr(schemas.NDCComparison, "make_compute", updated_meanwhile)
    fill([schemas.NDCComparison], key)
    monkeypatch.undo()
    (former,), new = seen, schemas.NDCComparison().make_fetch(key)
    assert (former[0], former != new) == (new[0], True)  # so that DataJoint alone would refuse it, too
    assert errors() == []
    parts = (schemas.NDCComparison.Result, schemas.NDCComparison.DayValue)
    stored = [(part & key).to_dicts(order_by="KEY") for part in parts]
    (schemas.NDCComparison & key).delete()
    fill([schemas.NDCComparison], key)
    assert stored == [(part & key).to_dicts(order_by="KEY") for part in parts] != [[], []]


def test_a_curve_goes_with_the_labels_of_other_sessions_that_its_null_took(lab):
    """Also if their trials are deleted by hand; and no later curve takes over scores of labels of other files."""
    eids, settings = [lab.first, lab.second], replace(SETTINGS[0], null="imposter", n_label_shuffles=1)
    run_ndc(eids, lab.run(), [settings])
    key = {**lab.result.session_set, **schemas.NDCParams.add(settings), "eid": lab.first}
    n_common, _ = _common_trials(key)
    features, trials, use, _ = _decoded(key, settings, n_common)
    shuffled = shuffles(key, settings, trials, n_common)
    files = _files_of_donors(shuffled.donors)
    assert lab.second in files
    known = partial(finished_curve, key, replace(settings, r=3), features, use, shuffled)
    assert known(files).curve().scores.shape == (3, 2)
    assert known({**files, lab.second: "0" * 32}) is None
    donor = {**key, "donor": lab.second}
    schemas.NDCResult.Donor.update1({**donor, "donor_files": None})  # as before version 17
    assert known(files) is None
    comparisons = schemas.NDCComparison & (schemas.NDCFamily.Member & {"ndc_params": key["ndc_params"]}).proj()
    assert schemas.NDCResult & key and comparisons
    (schemas.Behavior & {"eid": lab.second}).delete()
    assert not schemas.NDCResult & key and not comparisons
    (schemas.NDCParams & {"ndc_params": key["ndc_params"]}).delete()
    assert fill([schemas.Behavior], {"eid": lab.second}).errors == []


@pytest.mark.one_backend
def test_the_page_keeps_no_picture_of_what_was_read_before_an_update(lab):
    """Raster and curves have the keys, numbers of cells and frames, and software of those before."""
    key = lab.result.session_set["session_set"], [one.ndc_params for one in lab.result.targets]

    def named() -> list[str]:
        drawn = (drawing.ndc_overlay, drawing.k_star_days, drawing.performance)
        return [Rasters().open(lab.first).version, *(draw(*key, [])[0] for draw in drawn)]

    before, row = named(), (schemas.Embedding & {"eid": lab.first}).fetch1()
    assert named() == before
    for name in (ACTIVITY, FLUORESCENCE):
        lab.revise(name, lambda traces: np.asfortranarray(traces[::-1]))
    assert update([lab.first]).failures == []
    assert (schemas.Embedding & {"eid": lab.first}).fetch1() == row
    after = named()
    assert not set(before) & set(after)
    rank = schemas.Embedding.Rank & {"eid": lab.first}
    first, second = rank.keys(order_by="embedding_rank", limit=2)
    for one, place in ((first, -1), (second, 0), (first, 1)):
        schemas.Embedding.Rank.update1({**one, "embedding_rank": place})
    assert named()[0] != after[0]


@pytest.mark.one_backend  # words
def test_features_say_which_fov_lacks_what(lab):
    """It was "KeyError: 0"."""
    features = schemas.TrialFeatures & {"eid": lab.first}
    n = len(features)
    (schemas.Recording & {"eid": lab.first, "fov": 0}).delete_quick()
    features.delete()
    filled = fill([schemas.TrialFeatures], {"eid": lab.first})
    assert len(filled.errors) == n > 0
    for _, _, message in filled.errors:
        assert lab.first in message
        assert "(expected Recording and Activity of each FOV, found FOV_00 lacks Recording)" in message
    assert fill(SESSION_TABLES, {"eid": lab.first}).made["Recording"] == 1
    assert retry([schemas.TrialFeatures], eid=lab.first) == n
    assert fill([schemas.TrialFeatures], {"eid": lab.first}).made == {"TrialFeatures": n}


def test_a_session_that_another_worker_is_reading_is_not_said_to_be_unusable(lab):
    """It was "no FOV of the session can be used"."""
    keys = [{"eid": lab.first, "fov": fov} for fov in range(2)]
    (schemas.Activity & keys).delete()
    Queue(schemas.Activity).add(keys)
    with JobRunner() as other:
        other.begin()
        jobs = [Job(schemas.Activity, key, other.worker) for key in keys]
        assert all(job.reserve() for job in jobs)
        running = "not completely read yet .found Activity: 2 jobs being run by other workers"
        with pytest.raises(NotFoundError, match=running):
            meso.load_or_embed(lab.first)
        for job in jobs:
            job.release()
    assert meso.load_or_embed(lab.first)["roi_signal"].size
