"""The corpus of bad input, read in one go: each case gives its error, and the rest is there, as it was planted."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import corpus
from support.broken_sessions import Repository, remove
from support.corpus import (
    ACTIVITY,
    BAD,
    BEHAVIOR_CASES,
    CLASSIFIER,
    FOV_CASES,
    PLACES,
    POSITIONS,
    QC,
    QC_NAMES,
    REGIONS,
    SHIFT,
    SILHOUETTE,
    TIMES,
    TRIALS,
    TYPES,
    UID_CASES,
    UIDS,
    UUIDS,
    WHEEL,
    WHEEL_TIMES,
    Accepted,
    Case,
    Refused,
)

import schemas
from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.errors import DataError
from pipeline.reading.behavior import column_name
from pipeline.tracking.uids import uid_lines
from populate_scripts.ingest import ingest
from schemas.tracking import TrackingRun
from schemas.work.filling import SESSION_TABLES, fill
from schemas.work.reports import errors

pytestmark = pytest.mark.one_backend  # files are read without the server; test_bad_input.py runs on both

#: Broken FOVs of each session; its FOV_00 is sound. With so many there are as many sessions as broken trials.
N_BROKEN = 5


@dataclass
class Broken(Repository):
    """The corpus: where each case is, and what became of all of them.

    Attributes
    ----------
    places : dict of Case to (str, int or None)
        eid and FOV.
    messages : dict of (str, str, int or None) to str
        eid, table, FOV -> error.
    refused_runs : dict of str to DataError
        eid -> why its subject's UIDs were not registered.
    warned : list of str
        Warnings.
    """

    places: dict[Case, tuple[str, int | None]] = field(default_factory=dict)
    messages: dict[tuple[str, str, int | None], str] = field(default_factory=dict)
    refused_runs: dict[str, DataError] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)

    def break_fov(self, case: Case, name: str, fov: int) -> Path:
        self.places[case] = (self.eids[name], fov)
        return self.alf(name) / f"FOV_{fov:02d}"


@pytest.fixture(scope="module")
def broken_corpus(database, tmp_path_factory) -> Iterator[Broken]:
    """All cases in sessions of broken FOVs, trials and wheel; a subject for each UID case."""
    made = write_demo_repository(
        tmp_path_factory.mktemp("small"), n_days=1, n_fovs=1 + N_BROKEN, n_trials=20, n_shared=8, rois_per_fov=24
    )
    template = next(made.root.glob("*/Subjects/*/*/001"))
    for path in (*template.glob("alf/*/*.mlapdv.npy"), *template.glob("alf/*/*.brainLocationIds_ccf_2017.npy")):
        path.unlink()  # the estimates are read
    for folder in template.glob("alf/FOV_*"):
        flag_frames(folder)
    found = Broken(tmp_path_factory.mktemp("corpus"), template)
    folders = {}
    trials, wheel = (
        [c for c in BEHAVIOR_CASES if ("_trials." in c.dataset) == is_trials] for is_trials in (True, False)
    )
    n_sessions = max(-(-len(FOV_CASES) // N_BROKEN), len(trials), len(wheel))
    for i in range(n_sessions):
        name = f"session {i}"
        alf = found.add(name, "BC01")
        for fov, case in enumerate(FOV_CASES[i::n_sessions], start=1):
            folders[case] = found.break_fov(case, name, fov)
        for case in (*trials[i : i + 1], *wheel[i : i + 1]):
            found.places[case], folders[case] = (found.eids[name], None), alf
    for i, case in enumerate(UID_CASES):
        alf = found.add(str(case), f"BU{i:02d}")
        for fov in range(2, 1 + N_BROKEN):
            shutil.rmtree(alf / f"FOV_{fov:02d}")  # a UID case needs one FOV beside the sound one
        folders[case] = found.break_fov(case, str(case), 1)
    alf = found.add("odd folders", "BC02")
    for name in corpus.FOLDERS:
        shutil.copytree(alf / "FOV_01", alf / name)
    shutil.copytree(alf / "FOV_01", found.root.with_name("elsewhere"))
    (alf / corpus.LINKED).symlink_to(found.root.with_name("elsewhere"))
    for case, folder in folders.items():
        corpus.break_now(case, folder)
    write_one_tables(found.root)
    corpus.break_listings(found.root, folders)
    for case, folder in folders.items():
        corpus.break_later(case, folder)
    read_corpus(found)
    yield found
    remove(found)


def flag_frames(fov: Path) -> None:
    n_frames = len(np.load(fov / TIMES))
    np.save(fov / BAD, np.arange(n_frames) == 5)
    np.save(fov / QC, 2 * np.isin(np.arange(n_frames), (5, 9)).astype(np.uint32))
    (fov / QC_NAMES).write_text("qc_values\tqc_labels\n0\tok\n2\tPMT off\n")


def read_corpus(found: Broken) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        found.done = ingest(list(found.eids.values()), cache_dir=found.root)
        # one after the other, as `meso populate` does
        fill(SESSION_TABLES, [{"eid": eid} for name, eid in found.eids.items() if name.startswith("session")])
    found.warned = [str(warning.message) for warning in warned]
    for i, case in enumerate(UID_CASES):
        eid = found.eids[str(case)]
        try:
            run = TrackingRun.register(f"BU{i:02d}")
        except DataError as error:
            found.refused_runs[eid] = error
        else:
            first = [{"eid": eid, "fov": fov} for fov in (0, 1)]
            fill([schemas.FOV, schemas.ROI], first)
            fill([schemas.TrackedCell, schemas.TrackedFOV], run)
    for row in errors():
        found.messages[row["key"].get("eid"), row["table"], row["key"].get("fov")] = row["message"]


def numbers(fov: Path) -> dict[str, str]:
    """Return the numbers that messages of this FOV, sound, can name."""
    t, n = np.load(fov / ACTIVITY, mmap_mode="r").shape
    w = len(np.load(fov.parent / WHEEL_TIMES))
    sizes = {"t": t, "n": n, "w": w}
    halves = {f"{name}_half": size // 2 for name, size in sizes.items()}
    twice = {f"{name}_twice": 2 * size for name, size in sizes.items()}
    return {name: str(size) for name, size in (sizes | halves | twice | {"n_less": n - 1}).items()}


def check_message(message: str, case: Case, place: str, fov: Path) -> None:
    """Check that a message names its place, what was expected and what was found."""
    assert message.removeprefix("DataError: ").startswith(f"{place}: "), message
    says = case.outcome.says
    for name, size in numbers(fov).items():
        says = says.replace(f"{{{name}}}", size)
    assert re.search(says, message), message


def dataset_of(case: Case, folder: str) -> str:
    return f"{folder}/{case.outcome.of or case.dataset}"


IN_FOVS = (schemas.FOV, schemas.FOV.Source, schemas.Recording, schemas.ROI, schemas.Activity, schemas.Activity.Trace)


def check_fov(found: Broken, eid: str, fov: int, accepted: Accepted | None = None, dataset: str = "") -> None:
    """Check that a FOV is complete, as planted, except for what an accepted case leaves out."""
    key, folder = {"eid": eid, "fov": fov}, found.sound(eid) / f"alf/FOV_{fov:02d}"
    activity = "mpci.ROIActivityF.npy" if (dataset, accepted and accepted.null) == (ACTIVITY, ()) else ACTIVITY
    if accepted and "newer" in accepted.why:
        activity = ACTIVITY
    traces = np.load(folder / activity).T
    stored = (schemas.Activity.Trace & key).to_arrays("trace", order_by="roi")
    np.testing.assert_array_equal(np.stack(stored), traces)
    row = (schemas.FOV & key).fetch1()
    assert (row["n_rois"], row["n_frames"]) == traces.shape
    assert row["signal"] == {ACTIVITY: "deconvolved"}.get(activity, "fluorescence")
    assert row["n_neurons"] == (np.load(folder / TYPES) == 1).sum()
    times = (schemas.Recording & key).fetch1("frame_times")
    np.testing.assert_array_equal(times, np.load(folder / TIMES))
    flags = (schemas.Recording & key).fetch1("bad_frames", "frame_qc", "frame_qc_names")
    missing = dataset if accepted and accepted.why in (corpus.OPTIONAL, corpus.UNNAMED) else ""
    for value, name in zip(flags[:2], (BAD, QC), strict=True):
        np.testing.assert_equal(value, None if missing == name else np.load(folder / name))
    assert flags[2] == (None if missing in (QC, QC_NAMES) else {"0": "ok", "2": "PMT off"})
    assert (row["imaging_start"], row["imaging_end"]) == (times[0], times[-1])
    rois = pd.DataFrame((schemas.ROI & key).to_dicts(order_by="roi")).set_index("roi").drop(columns=["eid", "fov"])
    expected = planted_rois(folder).astype(object)
    for column in accepted.null if accepted else ():
        expected.loc[slice(None) if accepted.only_at is None else accepted.only_at, column] = None
    pd.testing.assert_frame_equal(
        rois[expected.columns].astype(object).where(rois.notna(), None),
        expected.where(expected.notna(), None),
        check_names=False,
        check_index_type=False,
    )  # fmt: skip
    assert set(rois) == set(expected)


def planted_rois(folder: Path) -> pd.DataFrame:
    """Return the rows of ROI as the files of a FOV say."""
    y, x, z = np.load(folder / POSITIONS).T
    ml, ap, dv = np.load(folder / PLACES).T
    types = np.load(folder / TYPES)
    return pd.DataFrame({
        "is_neuron": types == 1, "roi_type": types, "cell_probability": np.load(folder / CLASSIFIER),
        "region_id": np.load(folder / REGIONS), "ml": ml, "ap": ap, "dv": dv, "stack_y": y, "stack_x": x,
        "stack_z": z, "time_offset": np.load(folder / SHIFT)[y],
        "roi_uuid": (folder / UUIDS).read_text().split("\n")[1:],
    })  # fmt: skip


def check_trials(found: Broken, eid: str, accepted: Accepted | None = None) -> None:
    alf = found.sound(eid) / "alf"
    expected = pd.read_parquet(alf / TRIALS)
    for name in ("quiescencePeriod", "stimOff_times"):
        expected[name] = np.load(alf / f"_ibl_trials.{name}.npy")
    expected = expected.rename(columns=column_name).astype(float)
    for column in accepted.null if accepted else ():
        expected.loc[slice(None) if accepted.only_at is None else accepted.only_at, column] = np.nan
    rows = pd.DataFrame((schemas.Behavior.Trial & {"eid": eid}).to_dicts(order_by="trial"))
    pd.testing.assert_frame_equal(rows[expected.columns].astype(float), expected)
    assert (schemas.Behavior & {"eid": eid}).fetch1("n_trials") == len(expected)


def check_wheel(found: Broken, eid: str) -> None:
    row, alf = (schemas.Wheel & {"eid": eid}).fetch1(), found.sound(eid) / "alf"
    np.testing.assert_array_equal(row["wheel_timestamps"], np.load(alf / WHEEL_TIMES))
    np.testing.assert_array_equal(row["wheel_position"], np.load(alf / WHEEL))


def test_the_corpus_is_of_many_sessions_and_every_dataset_in_every_way(broken_corpus):
    assert len(broken_corpus.eids) >= 60
    assert len(set(broken_corpus.places)) == len(FOV_CASES + BEHAVIOR_CASES + UID_CASES) >= 180
    assert len(broken_corpus.done.new) == len(broken_corpus.eids)
    read = {source.split("/")[-1] for source in schemas.FOV.Source().to_arrays("dataset").tolist()}
    assert {name.replace("_estimate", "") for name in corpus.FOV_TABLE} >= {
        name.replace("_estimate", "") for name in read if "ROIActivityF." not in name
    }


@pytest.mark.parametrize("case", FOV_CASES, ids=str)
def test_a_broken_dataset_of_a_fov(broken_corpus, case):
    eid, fov = broken_corpus.places[case]
    if isinstance(case.outcome, Accepted):
        check_fov(broken_corpus, eid, fov, case.outcome, case.dataset)
        return
    folder = broken_corpus.template / f"alf/FOV_{fov:02d}"
    place = f"session {eid}, FOV_{fov:02d}, {dataset_of(case, f'alf/FOV_{fov:02d}')}"
    check_message(broken_corpus.messages[eid, "FOV", fov], case, place, folder)
    assert [len(table & {"eid": eid, "fov": fov}) for table in IN_FOVS] == [0] * len(IN_FOVS)


@pytest.mark.parametrize("case", BEHAVIOR_CASES, ids=str)
def test_a_broken_dataset_of_behavior(broken_corpus, case):
    eid, _ = broken_corpus.places[case]
    table = schemas.Behavior if "_trials." in case.dataset else schemas.Wheel
    if isinstance(case.outcome, Accepted):
        check_trials(broken_corpus, eid, case.outcome)
        return
    place = f"session {eid}, {dataset_of(case, 'alf')}"
    check_message(broken_corpus.messages[eid, table.__name__, None], case, place, broken_corpus.template / "alf/FOV_01")
    parts = [table, table.Source, *([table.Trial] if table is schemas.Behavior else [])]
    assert [len(part & {"eid": eid}) for part in parts] == [0] * len(parts)


@pytest.mark.parametrize("case", UID_CASES, ids=str)
def test_a_broken_dataset_of_tracking(broken_corpus, case):
    eid, fov = broken_corpus.places[case]
    folder = broken_corpus.alf(str(case)) / f"FOV_{fov:02d}"
    tracked = schemas.TrackedFOV.Member & {"eid": eid}
    if isinstance(case.outcome, Accepted):
        check_uids(tracked & {"fov": 0}, folder.with_name("FOV_00"), Accepted("sound"))
        check_uids(tracked & {"fov": 1}, folder, case.outcome)
        return
    refused = broken_corpus.refused_runs.get(eid)
    message = str(refused or broken_corpus.messages[eid, "TrackedFOV", fov])
    in_one = message.startswith(f"session {eid}, FOV_{fov:02d}, alf/")
    root = f"alf/FOV_{fov:02d}" if in_one else str(folder)
    place = f"session {eid}, FOV_{fov:02d}, {dataset_of(case, root)}"
    check_message(message, case, place, broken_corpus.template / f"alf/FOV_{fov:02d}")
    assert len(tracked & {"fov": 1}) == 0
    if refused:  # a run is of all files of a subject or of none
        assert len(schemas.TrackingFile & {"eid": eid}) == 0
    else:
        check_uids(tracked & {"fov": 0}, folder.with_name("FOV_00"), Accepted("sound"))


def check_uids(members: Any, folder: Path, accepted: Accepted) -> None:
    if not (folder / UIDS).exists():
        assert not members
        return
    lines = uid_lines((folder / UIDS).read_text(), "uuid")
    found = {row["roi"]: (row["cell_uid"], row["silhouette"]) for row in members.to_dicts()}
    silhouettes = np.load(folder / SILHOUETTE)[:, 0] if (folder / SILHOUETTE).exists() else np.full(len(lines), np.nan)
    expected = {
        roi: (uid, None if np.isnan(quality) else quality)
        for roi, (uid, quality) in enumerate(zip(lines, silhouettes, strict=True))
        if uid
    }
    assert found == expected


def test_imaging_in_folders_of_other_names_is_reported(broken_corpus):
    eid = broken_corpus.eids["odd folders"]
    folders = ", ".join(f"alf/{name}" for name in sorted(corpus.FOLDERS))
    (message,) = [text for text in broken_corpus.warned if "not called alf/FOV_00" in text]
    assert f"session {eid}: not read" in message
    assert message.endswith(folders)
    assert (schemas.FOVFolder & {"eid": eid}).to_arrays("fov").tolist() == list(range(1 + N_BROKEN))


def test_a_fov_behind_a_link_is_reported(broken_corpus):
    """ONE does not follow it."""
    (message,) = [text for text in broken_corpus.warned if "ONE does not list" in text]
    said = (
        f"session {broken_corpus.eids['odd folders']}: not read, as ONE does not list them: alf/{corpus.LINKED}. Put "
    )
    assert message.startswith(said)
    assert message.endswith("write the tables of the ONE cache again")


def test_a_task_that_is_left_out_is_told_and_recorded(broken_corpus):
    (case,) = [case for case in BEHAVIOR_CASES if case.way == "of another task beside"]
    eid, _ = broken_corpus.places[case]
    (row,) = schemas.Behavior.LeftOut().to_dicts()
    assert (row["eid"], row["left_out_collection"]) == (eid, "alf/task_00")
    assert f"alf/task_00/{TRIALS}: the trials table lacks columns (expected choice, found" in row["left_out_reason"]
    assert [text for text in broken_corpus.warned if "left out" in text] == [
        f"{row['left_out_reason']}: this task is left out"
    ]


def test_what_is_sound_in_broken_sessions_is_as_planted(broken_corpus):
    at = {place: case for case, place in broken_corpus.places.items() if place[1] is not None}
    broken = {(broken_corpus.places[case][0], "_trials." in case.dataset): case.outcome for case in BEHAVIOR_CASES}
    for name, eid in broken_corpus.eids.items():
        if not name.startswith("session"):
            continue
        for fov in range(1 + N_BROKEN):
            if (eid, fov) not in at:
                check_fov(broken_corpus, eid, fov)
        if (eid, True) not in broken:
            check_trials(broken_corpus, eid)
        if (eid, False) not in broken:
            check_wheel(broken_corpus, eid)


def test_nothing_else_failed_and_nothing_else_was_written(broken_corpus):
    outcomes = {broken_corpus.places[case]: case.outcome for case in FOV_CASES}
    refused = {place for place, outcome in outcomes.items() if isinstance(outcome, Refused)}
    assert {(eid, fov) for eid, table, fov in broken_corpus.messages if table == "FOV"} == refused
    assert {table for _, table, _ in broken_corpus.messages} == {"FOV", "Behavior", "Wheel", "TrackedFOV"}
    everything = {
        (eid, fov)
        for name, eid in broken_corpus.eids.items()
        if name.startswith("session")
        for fov in range(1 + N_BROKEN)
    }
    keys = [{"eid": eid} for name, eid in broken_corpus.eids.items() if name.startswith("session")]
    for table in IN_FOVS:
        written = (table & keys).to_arrays("eid", "fov")
        assert {(eid, int(fov)) for eid, fov in zip(*written, strict=True)} == everything - refused
    for table, is_trials in ((schemas.Behavior, True), (schemas.Wheel, False)):
        lost = {
            broken_corpus.places[case][0]
            for case in BEHAVIOR_CASES
            if ("_trials." in case.dataset) == is_trials and isinstance(case.outcome, Refused)
        }
        assert set((table & keys).to_arrays("eid")) == {key["eid"] for key in keys} - lost
        assert {eid for eid, name, _ in broken_corpus.messages if name == table.__name__} == lost


def test_nothing_was_unpickled(broken_corpus):
    assert not list(broken_corpus.root.glob("**/executed"))
    # the canary is executed by a careless unpickling
    eid, fov = next(
        place for case, place in broken_corpus.places.items() if (case.dataset, case.way) == (TIMES, "pickled")
    )
    folder = next(broken_corpus.alf(name) for name, one in broken_corpus.eids.items() if one == eid) / f"FOV_{fov:02d}"
    np.load(folder / TIMES, allow_pickle=True)
    assert (folder / "executed").exists()
