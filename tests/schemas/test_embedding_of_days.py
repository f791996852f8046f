"""One embedding of several days in the database: planted groups are found, signals agree, deletes cascade."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore
from support.broken_sessions import Repository, remove
from support.planted_days import adjacent_share, chance_share, perfect_share

import meso
import schemas
from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.embedding import rastermap_order
from pipeline.embedding_days import DaysSettings
from pipeline.errors import ArgumentError, DataError, NotFoundError
from pipeline.reading.fov import UUIDS
from pipeline.responses import WindowSet, trial_type_means
from pipeline.settings.signals import SignalSettings
from pipeline.signals.peri_event import WINDOWS
from pipeline.tracking.uids import UIDS
from populate_scripts.ingest import ingest
from schemas.cascade import preview
from schemas.days.run import run_embedding, stored_embedding
from schemas.days.tables import DaysParams, SharedEmbedding, SharedEmbeddingTask
from schemas.embedding import EmbeddingParams
from schemas.exchange.verify import verify_session
from schemas.responses.fovs import whole_fov
from schemas.rows import jobs_of
from schemas.server.settings import prefix
from schemas.session import trials_of
from schemas.tracking import TrackingRun
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill

F, DECONVOLVED, TIMES = "mpci.ROIActivityF.npy", "mpci.ROIActivityDeconvolved.npy", "mpci.times.npy"
NEUROPIL = "mpci.ROINeuropilActivityF.npy"
#: What cells of each group respond to, by column of the trials and its value; the last group is noise.
RESPONDS = (("choice", 1), ("choice", -1), ("feedbackType", 1), ("feedbackType", -1))
KINDS = ("choiceL", "choiceR", "fback1", "fback0")
NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def lab(database, tmp_path_factory) -> Iterator[Repository]:
    """Three sessions of a mouse whose cells are of the same groups on all days, and in other rows on each."""
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=2, n_trials=70, n_shared=60, rois_per_fov=90
    )
    repository = Repository(tmp_path_factory.mktemp("days"), next(made.root.glob("*/Subjects/*/*/001")))
    for name in NAMES:
        repository.add(name, "DAY1")
        plant(repository.alf(name), np.random.default_rng(NAMES.index(name)))
    write_one_tables(repository.root)
    eids = list(repository.eids.values())
    ingest(eids, cache_dir=repository.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in eids]).errors == []
    yield repository
    remove(repository)
    for table in (DaysParams, schemas.WindowSet, schemas.SignalParams):
        (table & table.keys()).delete()


def group_of(uid: str) -> int:
    """Return the group of a cell, by its name only."""
    return int(uid.replace("-", "")[:8], 16) % (len(RESPONDS) + 1)


def plant(alf: Path, rng: np.random.Generator) -> None:
    """Exchange the rows of a day, and give each cell the activity of its group."""
    trials = pd.read_parquet(next(alf.rglob("_ibl_trials.table.pqt")))
    for fov in sorted(alf.glob("FOV_*")):
        exchange_rows(fov, rng)
        lines = [line.strip() for line in (fov / UIDS).read_text().splitlines()]
        times = np.load(fov / TIMES)
        signals = np.random.default_rng(int(times[0] * 1000)).normal(size=(len(RESPONDS), len(times)))
        for group, (column, value) in enumerate(RESPONDS):
            event = "feedback_times" if column == "feedbackType" else "firstMovement_times"
            for at in trials.loc[trials[column] == value, event].dropna():
                signals[group, (times > at - 0.3) & (times < at + 0.7)] += 4
        traces = rng.normal(size=(len(times), len(lines)))
        for roi, uid in enumerate(lines):
            if uid not in ("", "nan") and group_of(uid) < len(RESPONDS):
                traces[:, roi] += signals[group_of(uid)]
        for dataset, values in ((F, traces + 20), (DECONVOLVED, np.maximum(traces - 0.5, 0))):
            np.save(fov / dataset, np.asfortranarray(values, np.float32))


def exchange_rows(fov: Path, rng: np.random.Generator) -> None:
    """Put the ROIs of a FOV into another order, in all files."""
    lines = (fov / UIDS).read_text().splitlines()
    order = rng.permutation(len(lines))
    (fov / UIDS).write_text("".join(f"{lines[i]}\n" for i in order))
    header, *names = (fov / UUIDS).read_text().splitlines()
    (fov / UUIDS).write_text("\n".join([header, *(names[i] for i in order)]))
    for path in fov.glob("mpciROIs.*.npy"):
        if len(values := np.load(path)) == len(order):
            np.save(path, values[order])
    np.save(fov / NEUROPIL, np.load(fov / NEUROPIL)[:, order])


@pytest.fixture(scope="module")
def eids(lab) -> list[str]:
    return list(lab.eids.values())


@pytest.fixture(scope="module")
def run(lab) -> dict:
    return TrackingRun.register("DAY1")


@pytest.fixture(scope="module")
def found(eids, run):
    return run_embedding(eids, run)


def groups(found) -> np.ndarray:
    return np.array([group_of(uid) for uid in found.cells])


def neighbours(matrix: np.ndarray) -> float:
    return float(np.mean(matrix[1:] * matrix[:-1]))


@pytest.mark.one_backend  # test_backends.py compares the rows on both, before and after a deletion
def test_groups_that_are_the_same_on_all_days_are_found(found, eids):
    of = groups(found)
    assert found.eids == eids and found.signal == "deconvolved" and len(found.cells) > 20
    planted = found.order[of[found.order] < len(RESPONDS)]  # cells of noise may be anywhere
    share, (mean, sd) = adjacent_share(of[planted]), chance_share(of[planted])
    assert share > 0.9 * perfect_share(of[planted]) and share > mean + 5 * sd
    for eid in eids:
        matrix = found.matrix(eid)
        np.testing.assert_allclose(matrix.mean(axis=1), 0, atol=1e-4)
        assert neighbours(matrix) > 0.3
        # another name for each cell on this day
        assert abs(neighbours(matrix[np.random.default_rng(0).permutation(len(matrix))])) < 0.25


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_the_order_is_rastermaps_of_the_activity_z_scored_on_each_day(found, eids):
    days = []
    for eid in eids:
        rows = {uid: i for i, uid in enumerate(found.cells)}
        clock = None
        matrix = np.empty((len(rows), 0))
        for fov in (0, 1):
            cells = schemas.SharedCells.Cell & found.task & {"eid": eid, "fov": fov}
            numbers = cells.proj("roi").to_arrays("roi", "shared_cell", order_by="roi")
            roi, shared = (one.astype(int) for one in numbers)
            got = schemas.activity(schemas.ROI & {"eid": eid, "fov": fov} & [{"roi": int(one)} for one in roi])
            clock = got.times.frame_times[fov] if clock is None else clock
            if not matrix.shape[1]:
                matrix = np.empty((len(rows), len(clock)))
            for i, cell in enumerate(shared):
                matrix[cell] = np.interp(clock, got.times[i], got.traces[i])
        days.append(zscore(matrix, axis=1))
        keys = found.roi_keys(eid)
        uids = [(schemas.TrackedFOV.Member & key).fetch1("cell_uid") for key in keys[:5]]
        assert uids == found.cells[found.order[:5]].tolist()
        np.testing.assert_allclose(found.matrix(eid), days[-1][found.order], atol=2e-3)
    rank = (SharedEmbedding.Rank & found.task).to_dicts(order_by="shared_rank")
    assert [row["cell_uid"] for row in rank] == found.cells[found.order].tolist()
    assert (SharedEmbedding & found.task).fetch1("n_shared_columns") == sum(day.shape[1] for day in days)
    stacked = np.hstack([found.matrix(eid)[np.argsort(found.order)] for eid in eids])
    np.testing.assert_array_equal(rastermap_order(stacked), found.order)


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_odd_trials_agree_with_even_ones_in_planted_cells_only(eids, run):
    found = run_embedding(eids, run, DaysSettings("trial_types", min_trials=2))
    assert set(KINDS) <= set(found.windows) <= set(WINDOWS)
    of = groups(found)[found.order]
    even, odd = (np.hstack([found.matrix(eid, half) for eid in eids]) for half in ("even", "odd"))
    halves = np.mean(even * odd, axis=1)
    assert halves[of < len(RESPONDS)].min() > 0.5 > 0.25 > abs(halves[of == len(RESPONDS)].mean())
    planted = of[of < len(RESPONDS)]
    assert adjacent_share(planted) > 0.8 * perfect_share(planted)
    # the means are those of the whole FOV by the function of the other tables
    eid, (key, *_) = eids[1], found.roi_keys(eids[1])
    means = trial_type_means(whole_fov(eid, key["fov"]), trials_of(eid), WindowSet())
    kept = [means.windows.index(name) for name in found.windows]
    np.testing.assert_allclose(found.matrix(eid)[0], zscore(means.odd[kept, key["roi"]]), atol=1e-4)
    np.testing.assert_allclose(found.matrix(eid, "even")[0], zscore(means.even[kept, key["roi"]]), atol=1e-4)
    with pytest.raises(ArgumentError, match="half must be"):
        found.matrix(eid, "both")
    with pytest.raises(DataError, match=r"2 windows or more with 40 trials in each half"):
        run_embedding(eids, run, DaysSettings("trial_types", min_trials=40))
    (DaysParams & "min_type_trials = 40").delete()
    assert not jobs_of(SharedEmbedding).errors


@pytest.mark.one_backend  # other tests send its statements on both
def test_bins_are_a_setting_with_a_key_of_its_own(found, eids, run):
    binned = run_embedding(eids, run, DaysSettings(bin_seconds=2))
    assert binned.task["days_params"] != found.task["days_params"]
    values, times = binned.activity(eids[0])
    whole, frames = found.activity(eids[0])
    assert values.shape[1] == len(times) < whole.shape[1] / 4 and np.all(np.diff(times) > 0)
    number = ((frames - frames[0]) // 2).astype(int)
    by_cell = whole[np.argsort(found.order)][binned.order]
    means = np.column_stack([by_cell[:, number == one].mean(axis=1) for one in np.unique(number)])
    np.testing.assert_allclose(values, zscore(means, axis=1), atol=1e-3)
    assert (DaysParams & binned.task).settings()[0] == DaysSettings(bin_seconds=2)


def view(database, name: str, columns: str, key: dict[str, str]) -> list[tuple]:
    where = " AND ".join(f"{column} = '{value}'" for column, value in key.items())
    place = database.adapter.make_full_table_name(prefix() + "views", name)
    return database.query(f"SELECT {columns} FROM {place} WHERE {where}").fetchall()


def test_the_views_have_the_embedding_and_where_its_cells_are(found, eids, database):
    ((subject, signal, n, embedded),) = view(
        database, "shared_embedding", "subject, shared_signal, n_shared_embedded, embedded", found.task
    )
    assert (subject, signal, n, embedded) == ("DAY1", "deconvolved", len(found.cells), "concatenated")
    rows = view(database, "shared_embedding_cell", "shared_rank, eid, fov, roi, cell_uid", found.task)
    assert len(rows) == len(eids) * len(found.cells)
    expected = {
        (rank, eid, key["fov"], key["roi"], found.cells[cell])
        for eid in eids for rank, (cell, key) in enumerate(zip(found.order, found.roi_keys(eid), strict=True))
    }  # fmt: skip
    assert set(map(tuple, rows)) == expected


@pytest.mark.one_backend  # test_backends.py compares the rows on both, before and after a deletion
def test_verify_finds_damage_of_an_embedding_of_several_days(found, eids, run):
    of_types = run_embedding(eids, run, DaysSettings("trial_types", min_trials=2))
    assert verify_session(eids[0]).findings == []
    rank = SharedEmbedding.Rank & found.task & {"shared_rank": 0}
    (row,) = rank.to_dicts()
    SharedEmbedding.Rank.update1({**row, "shared_rank": 1})
    day = (SharedEmbedding.Day & of_types.task & {"eid": eids[0]}).fetch1()
    SharedEmbedding.Day.update1({**day, "day_odd": np.asarray(day["day_odd"])[:, 1:]})
    seen = {(finding.table, finding.kind) for finding in verify_session(eids[0]).findings}
    assert seen == {("SharedEmbedding.Rank", "wrong"), ("Day.day_odd", "wrong")}
    SharedEmbedding.Rank.update1(row)
    SharedEmbedding.Day.update1(day)
    assert verify_session(eids[0]).findings == []


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_stored_embedding_is_not_computed_again(found, eids, run):
    rows = (SharedEmbedding & found.task).to_dicts()
    again = meso.embed_days(eids, plot=False, progress=False)
    assert (SharedEmbedding & found.task).to_dicts() == rows and again.task == found.task
    np.testing.assert_array_equal(again.order, found.order)
    assert set(again.draw()) == {"days"} and len(again.figures["days"].axes) == 4
    with pytest.raises(NotFoundError, match="not one of the set"):
        again.matrix("00000000-0000-0000-0000-000000000000")
    with pytest.raises(NotFoundError, match="not stored"):
        stored_embedding({**found.task, "days_params": "0" * 32})
    with pytest.raises(ArgumentError, match="windows have an effect"):
        run_embedding(eids, run, windows="trial windows")


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_the_command_draws_and_prints_ranks(found, lab, meso_command, tmp_path):
    done = meso_command("embed-days", "DAY1", "--json", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [cell["cell_uid"] for cell in shown["cells"]] == found.cells[found.order].tolist()
    assert shown["cells"][0]["rois"].keys() == set(found.eids)
    assert len(list(tmp_path.glob("days_concatenated_DAY1_*.png"))) == 1
    types = ("--of", "trial_types", "--min-trials", "2", "--format", "svg")
    done = meso_command("embed-days", "DAY1", *types, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    (drawn,) = tmp_path.glob("days_trial_types_DAY1_*.svg")
    assert done.stdout.strip().endswith(drawn.name)


@pytest.mark.one_backend  # test_backends.py compares the rows on both, before and after a deletion
def test_a_signal_is_that_of_all_days_and_goes_with_its_embedding(found, eids, run):
    signal = SignalSettings("fluorescence")
    other = run_embedding(eids, run, signal=signal)
    assert other.signal == "fluorescence" and other.task["session_set"] == found.task["session_set"]
    used = SharedEmbedding.OwnSignal & other.task
    assert set(used.to_arrays("eid")) == set(eids) and not SharedEmbedding.OwnSignal & found.task
    (schemas.Signal & {"eid": eids[0]}).delete()
    assert not SharedEmbedding & other.task and SharedEmbedding & found.task


@pytest.fixture
def alone(found) -> None:
    """Delete the embeddings that other tests have asked for: each update would compute them again."""
    (SharedEmbeddingTask & [key for key in SharedEmbeddingTask.keys() if key != found.task]).delete()  # noqa: SIM118


@pytest.mark.one_backend  # test_update.py has files updated on both
@pytest.mark.usefixtures("alone")
def test_an_update_of_the_files_embeds_again(found, lab, eids, run):
    before = (SharedEmbeddingTask & found.task).to_dicts()
    path = lab.alf("second") / "FOV_01" / DECONVOLVED
    np.save(path, np.asfortranarray(2 * np.load(path)))
    write_one_tables(lab.root)
    done = update([eids[1]])
    assert done.failures == []
    assert (SharedEmbeddingTask & found.task).to_dicts() == before and SharedEmbedding & found.task
    former = schemas.FormerResult & {"update_id": done.update_id, "former_table": "SharedEmbedding"}
    ranks = [row["former_parts"]["Rank"] for row in former.to_dicts() if row["former_key"] == found.task]
    assert [len(rows) for rows in ranks] == [len(found.cells)]


def scaled(path: Path, factor: float) -> None:
    np.save(path, np.asfortranarray(factor * np.load(path), np.float32))


@pytest.mark.one_backend  # as the update
@pytest.mark.usefixtures("alone")
def test_an_order_is_not_shown_over_activity_that_was_read_since(found, lab, eids, run):
    """Nor over means of trials that were read since, by an object that was made before."""
    run_embedding(eids, run)
    of_types = run_embedding(eids, run, DaysSettings("trial_types", min_trials=2))
    before, path = stored_embedding(found.task), lab.alf("second") / "FOV_01" / DECONVOLVED
    shown, even = before.matrix(eids[1]), of_types.matrix(eids[1], "even")
    scaled(path, 0.5)
    write_one_tables(lab.root)
    assert update([eids[1]]).failures == []
    for stale in (before, of_types):
        with pytest.raises(DataError, match="files of the set have changed, and were read again"):
            stale.matrix(eids[0])  # the order is of all sessions
        with pytest.raises(DataError, match="Ask for the embedding again"):
            stale.activity(eids[1])
    stored_embedding(found.task).matrix(eids[1])
    scaled(path, 2)
    write_one_tables(lab.root)
    assert update([eids[1]]).failures == []
    np.testing.assert_array_equal(before.matrix(eids[1]), shown)
    np.testing.assert_array_equal(of_types.matrix(eids[1], "even"), even)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("what", ["activity", pytest.param("trials", marks=pytest.mark.one_backend)])
def test_files_that_are_exchanged_and_put_back_while_an_embedding_is_computed_do_not_get_in(
    found, lab, eids, run, monkeypatch, what
):
    """The files are those of before when it begins and when it ends; in between others were read."""
    settings = DaysSettings("trial_types", min_trials=2) if what == "trials" else DaysSettings(bin_seconds=1)
    task, made = run_embedding(eids, run, settings).task, SharedEmbedding.make_compute
    expected = (SharedEmbedding & task).fetch1("KEY"), stored_embedding(task).order.tolist()
    (SharedEmbedding & task).delete()
    path = next(lab.alf("third").rglob("_ibl_trials.table.pqt")) if what == "trials" else (
        lab.alf("third") / "FOV_00" / DECONVOLVED
    )  # fmt: skip
    own, seen = path.read_bytes(), []
    table = schemas.Behavior if what == "trials" else schemas.Activity

    def read_again() -> None:
        write_one_tables(lab.root)
        assert update([eids[2]]).failures == []

    def exchanged_meanwhile(self, key, *fetched):
        if seen:
            return made(self, key, *fetched)
        seen.append(key)
        if what == "trials":
            trials = pd.read_parquet(path)
            trials.loc[trials.index[:40:3], "choice"] *= -1
            trials.loc[trials.index[:40:3], "feedbackType"] *= -1
            trials.to_parquet(path)
        else:
            traces = np.load(path)
            np.save(path, np.asfortranarray(traces * np.linspace(0.2, 3, len(traces), dtype=np.float32)[:, None]))
        with monkeypatch.context() as inside:
            inside.setattr(SharedEmbedding, "make_compute", made)
            read_again()
            assert table & {"eid": eids[2]}
            (SharedEmbedding & task).delete()
            computed = made(self, key, *fetched)
            path.write_bytes(own)
            read_again()
            (SharedEmbedding & task).delete()
        return computed

    monkeypatch.setattr(SharedEmbedding, "make_compute", exchanged_meanwhile)
    fill([SharedEmbedding], task)
    monkeypatch.undo()
    assert not SharedEmbedding & task, "an order of other files was stored"
    again = run_embedding(eids, run, settings)
    assert ((SharedEmbedding & task).fetch1("KEY"), again.order.tolist()) == expected


def test_an_embedding_whose_job_is_lost_is_computed_again(found, eids, run, monkeypatch):
    """As an update takes it away, when the files of a session are read again."""
    made, seen = SharedEmbedding.make_compute, []

    def lost_once(self, key, *fetched):
        if not seen:
            seen.append((jobs_of(SharedEmbedding) & key).delete_quick(get_count=True))
        return made(self, key, *fetched)

    monkeypatch.setattr(SharedEmbedding, "make_compute", lost_once)
    again = run_embedding(eids, run, DaysSettings(bin_seconds=3))
    assert seen == [1] and set(again.order) == set(found.order) and SharedEmbedding & again.task


@pytest.mark.one_backend  # test_backends.py compares the rows on both, before and after a deletion
def test_trials_and_settings_take_their_embeddings_along(found, eids, run):
    of_types = run_embedding(eids, run, DaysSettings("trial_types", min_trials=2))
    (schemas.Behavior & {"eid": eids[2]}).delete()
    assert not SharedEmbedding & of_types.task and SharedEmbedding & found.task
    (EmbeddingParams & {"embedding_params": of_types.task["embedding_params"]}).delete()
    assert not SharedEmbeddingTask & of_types.task


@pytest.mark.one_backend  # test_backends.py compares the rows on both, before and after a deletion
def test_all_embeddings_go_without_a_restriction(found, eids, run):
    """The rows that a part of a table takes along were taken for the only ones to go."""
    run_embedding(eids, run)
    for table in (SharedEmbedding, schemas.Behavior, schemas.Wheel):
        assert preview(table())[table.__name__] == len(table()) > 0
    assert SharedEmbedding().delete() > 0
    assert not SharedEmbedding() and not SharedEmbedding.Rank()
