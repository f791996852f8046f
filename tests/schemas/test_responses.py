"""Trial-type means, single cells and stability in the database, against the files of the demo and plain numpy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

import meso
import schemas
from drawing.responses import cell_summary, unreliable_lines
from pipeline.decoding import EVENTS, NDCSettings, target_labels
from pipeline.errors import ArgumentError, DataError, NotFoundError
from pipeline.responses import MEASURES, DayResponses, SelectivitySettings, StabilitySettings, WindowSet, stability
from pipeline.signals.peri_event import WINDOWS, TrialWindow, event_times, peri_event
from pipeline.tracking.uids import UIDS
from schemas.decoding.run import run_ndc
from schemas.decoding.survivorship import differences
from schemas.responses.run import run_cells, window_set
from schemas.responses.tables import means_of
from schemas.rows import jobs_of
from schemas.session import trials_of
from schemas.tracking import TrackingRun
from schemas.work.filling import fill
from schemas.work.reports import retry

#: On both, test_backends.py compares the rows, before and after an update and a deletion.
pytestmark = pytest.mark.one_backend

SMALL = {"n_shuffles": 200, "n_bootstrap": 200}


@pytest.fixture(scope="module")
def run(demo_sessions) -> Iterator[object]:
    """The stability of the demo's cells over its days."""
    yield meso.stability(demo_sessions, plot=False, progress=False, **SMALL)
    for table in (schemas.WindowSet, schemas.SelectivityParams, schemas.StabilityParams):
        (table & table.keys()).delete()


@pytest.fixture(scope="module")
def cells(run, demo_sessions):
    return run_cells(demo_sessions[0], settings=SelectivitySettings(n_label_shuffles=200))


def test_stored_means_are_those_of_the_activity(run, demo_sessions):
    eid, trials = demo_sessions[0], trials_of(demo_sessions[0])
    key = {"eid": eid, "fov": 1, **window_set(None)}
    means = means_of(key)
    assert means.windows == tuple(WINDOWS)
    assert means.mean.shape == (26, (schemas.FOV & key).fetch1("n_rois"))
    found = schemas.activity(schemas.ROI & {"eid": eid, "fov": 1} & "roi in (0, 5)")
    for name in ("fback1", "sRbRchoiceR"):
        window, row = WINDOWS[name], list(WINDOWS).index(name)
        # bins of another function; windows that hold no frame are not in its average, nor here
        events = event_times(name, trials)
        plain = peri_event(found.traces, found.times, events, edges=np.array([window.start, window.end]))
        assert (means.n[row, [0, 5]] >= plain.n_trials[:, 0]).all()
        full = plain.n_trials[:, 0] == means.n[row, [0, 5]]
        np.testing.assert_allclose(means.mean[row, [0, 5]][full], plain.mean[full, 0], rtol=1e-5)
    assert full.any() or window.end - window.start < 0.2


def test_the_table_of_means_is_that_of_the_arrays(run, demo_sessions):
    eid = demo_sessions[0]
    table = meso.trial_type_means(eid)
    neurons = schemas.ROI & {"eid": eid} & "is_neuron"
    assert len(table) == 26 * len(neurons)
    means = means_of({"eid": eid, "fov": 2, **window_set(None)})
    row = table[(table.fov == 2) & (table.window == "choiceR")].iloc[3]
    at = list(WINDOWS).index("choiceR"), row.roi
    assert (row["n"], row["mean"], row["odd"]) == (means.n[at], means.mean[at], means.odd[at])


def test_own_windows_have_a_name_and_rows_of_their_own(run, demo_sessions):
    mine = WindowSet("mine", {"reward": TrialWindow("feedback_times", 0, 1, feedback=1)}, use_flagged_frames=True)
    table = meso.trial_type_means(demo_sessions[1], mine)
    again = meso.trial_type_means(demo_sessions[1], "mine")
    assert set(table.window) == {"reward"} and again.equals(table)
    assert (schemas.WindowSet & window_set("mine")).windows() == mine
    with pytest.raises(DataError, match="another set of windows called 'mine'"):
        window_set(WindowSet("mine", {"reward": TrialWindow("feedback_times", 0, 2)}))
    with pytest.raises(NotFoundError, match="no set of windows 'yours'"):
        meso.trial_type_means(demo_sessions[1], "yours")
    (schemas.WindowSet & window_set("mine")).delete()
    assert set(schemas.TrialTypeMean().to_arrays("window_set")) == set(window_set(None).values())


def test_single_cells_have_rows_of_plain_numbers(cells, demo_sessions):
    eid = demo_sessions[0]
    n = len(schemas.ROI & {"eid": eid})
    assert len(schemas.CellResponse.Cell & {"eid": eid}) == n
    assert len(schemas.CellResponse.Selectivity & {"eid": eid}) == n * len(EVENTS)
    assert len(cells.cells) == len(schemas.ROI & {"eid": eid} & "is_neuron")
    means = means_of({"eid": eid, "fov": 0, **window_set(None)})
    used = (np.minimum(means.n_even, means.n - means.n_even) >= 2).all(axis=1)
    rows = (schemas.CellResponse.Cell & {"eid": eid, "fov": 0}).to_dicts(order_by="roi", limit=4)
    for row in rows:
        roi = row["roi"]
        expected = spearmanr(means.even[used, roi], means.odd[used, roi])[0]
        assert row["split_half"] == pytest.approx(expected)
        rates = means.mean[means.n[:, roi] > 0, roi].astype(float)
        sparse = (1 - rates.mean() ** 2 / (rates**2).mean()) / (1 - 1 / len(rates))
        assert row["sparseness"] is None if (rates < 0).any() else row["sparseness"] == pytest.approx(sparse)


def test_auroc_is_scikit_learns_of_the_decoded_features(cells, demo_sessions):
    eid = demo_sessions[0]
    trials, found = trials_of(eid), schemas.activity(schemas.ROI & {"eid": eid, "fov": 0} & "roi in (1, 2)")
    event, (start, end) = EVENTS["feedback"]
    times, labels = found.times[0], target_labels("feedback", trials)
    centre, values, kept = trials[event] + (start + end) / 2, [], []
    for trial in np.flatnonzero(~np.isnan(labels)):
        inside = (times >= trials[event][trial] + start) & (times <= trials[event][trial] + end)
        frames = np.flatnonzero(inside) if inside.any() else [np.argmin(np.abs(times - centre[trial]))]
        values.append(found.traces[0, frames].mean())
        kept.append(labels[trial])
    row = (schemas.CellResponse.Selectivity & {"eid": eid, "fov": 0, "roi": 1, "cell_target": "feedback"}).fetch1()
    target = (schemas.CellResponse.Target & {"eid": eid, "fov": 0, "cell_target": "feedback"}).fetch1()
    if target["n_zeros"] + target["n_ones"] == len(kept):
        assert row["auroc"] == pytest.approx(roc_auc_score(kept, values), abs=1e-6)
    assert 1 / 201 <= row["auroc_p"] <= 1 and row["auroc_null_low"] < row["auroc_null_high"]


def test_planted_cells_are_more_selective_than_others(cells, demo_truth, demo_sessions):
    eid = demo_sessions[0]
    rows = demo_truth.rows[eid]
    planted = {(fov, rows[fov][uid]) for uid in demo_truth.informative_uids["feedback"][0]
               for fov in rows if uid in rows[fov]}  # fmt: skip
    distance = {(c["fov"], c["roi"]): abs(c["auroc_feedback"] - 0.5) for c in cells.cells}
    others = [value for place, value in distance.items() if place not in planted]
    assert np.median([distance[place] for place in planted]) > 3 * np.median(others)
    p = {(c["fov"], c["roi"]): c["auroc_p_feedback"] for c in cells.cells}
    assert np.median([p[place] for place in planted]) < 0.01 < 0.2 < np.median([p[place] for place in set(p) - planted])


def test_few_null_labels_for_many_cells_are_said(cells, demo_sessions, tmp_path):
    """q by its definition: with 200 labels 538 cells have q = 0.05 if 54 of them have the least p, 1 / 201."""
    known = [cell for cell in cells.cells if cell["auroc_q_block"] is not None]
    n = len(known)
    assert min(cell["auroc_q_block"] for cell in known) > 0.05
    needed = next(m for m in range(1, n + 1) if n / 201 / m <= 0.05)
    (note,) = [note for note in cells.notes if "block" in note]
    assert f"fewer than {needed} cells of {n} cannot reach q = 0.05" in note and f"={20 * n} (--shuffles)" in note
    with pytest.warns(UserWarning, match=f"fewer than {needed} cells of {n}"):
        table = meso.cell_responses(demo_sessions[0], n_label_shuffles=200)
    rows = cell_summary(cells)
    assert (
        {row["region"] for row in rows}
        == set(table["beryl"])
        == set((schemas.BrainRegion & [{"acronym": one} for one in set(table["region"])]).to_arrays("beryl"))
    )
    assert replace(cells, n_shuffles=20 * n).notes == []


def test_stability_is_that_of_the_stored_means_of_the_shared_cells(run, demo_sessions):
    session_set = {"session_set": run.task["session_set"]}
    days = []
    for eid in demo_sessions:
        rows = (schemas.SharedCells.Cell & session_set & {"eid": eid}).to_dicts(order_by="shared_cell")
        means = {fov: means_of({"eid": eid, "fov": fov, **window_set(None)}) for fov in {row["fov"] for row in rows}}
        arrays = [
            np.array([getattr(means[row["fov"]], name)[:, row["roi"]] for row in rows]).T
            for name in ("mean", "even", "odd", "n_even", "n")
        ]
        date = (schemas.Session & {"eid": eid}).fetch1("session_date").toordinal()
        days.append(DayResponses(date, *arrays[:4], arrays[4] - arrays[3]))
    expected = stability(days, settings=StabilitySettings(**SMALL))
    table = run.table
    for measure in MEASURES:
        rows = table[table.similarity == measure].set_index(["first_eid", "second_eid"])
        for pair, (i, j) in enumerate(expected.pairs):
            row = rows.loc[(demo_sessions[i], demo_sessions[j])]
            assert row.gap_days == expected.gaps[pair]
            assert row.pair_observed == pytest.approx(expected.observed[measure][pair])
            np.testing.assert_allclose(row.pair_stability, expected.corrected[measure][pair])
    gaps = run.by_gap
    found = gaps[(gaps.similarity == "spearman") & (gaps.region == "all")].sort_values("gap_days")
    of_all = [one for one in expected.by_gap if (one.measure, one.region) == ("spearman", "all")]
    np.testing.assert_allclose(found.gap_stability.to_numpy(float), [one.value for one in of_all])
    np.testing.assert_allclose(found.gap_low.to_numpy(float), [one.low for one in of_all])
    pair = (schemas.Stability.Pair & run.task & {"similarity": "spearman"}).to_dicts(order_by="KEY")[0]
    at = next(p for p, (i, j) in enumerate(expected.pairs)
              if (demo_sessions[i], demo_sessions[j]) == (pair["first_eid"], pair["second_eid"]))  # fmt: skip
    np.testing.assert_allclose(pair["cell_similarity"], expected.cell_spearman[at])
    assert run.n_shared == days[0].mean.shape[1] and run.windows


def test_the_same_question_computes_nothing_and_a_figure_names_what_it_is_of(run, demo_sessions, tmp_path):
    environment = (schemas.Stability & run.task).fetch1("environment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.responses.stability", lambda *args: pytest.fail("computed again"))
        again = meso.stability(demo_sessions, plot=False, progress=False, **SMALL)
    assert again.pairs == run.pairs and (schemas.Stability & run.task).fetch1("environment") == environment
    (path,) = again.save(tmp_path)
    assert path.name.startswith("stability_SP999_") and path.stat().st_size > 10_000


def test_regions_that_are_not_compared_are_named(run):
    named = 0
    for measure in ("spearman", "population"):
        text = " ".join(line for line in unreliable_lines(run) if line.startswith(f"{measure}: no reliability on one"))
        for region in {row["region"] for row in run.gaps} - {"all"}:
            rows = [row for row in run.gaps if (row["region"], row["similarity"]) == (region, measure)]
            without = sum(row["n_gap_unreliable"] for row in rows)
            assert (f"{region} ({without} of {len(run.pairs) // 3} pairs)" in text) == (without > 0), text
            named += without > 0
    assert named


def test_a_single_id_is_no_list_of_sessions(demo_sessions):
    """Its letters would be taken for ids."""
    for call in (meso.stability, meso.transfer, meso.neuron_dropping_curves_cached):
        with pytest.raises(meso.ArgumentTypeError, match="eids takes a list of session ids, not a single id"):
            call(demo_sessions[0], plot=False, progress=False)


def test_commands_print_and_write_the_same(run, cells, meso_command, demo_sessions, tmp_path):
    done = meso_command("stability", *demo_sessions, "--shuffles", "200", "--json", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["sessions"]) == len(demo_sessions) and found["windows"] == run.windows
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".csv"}
    done = meso_command("responses", demo_sessions[0], "--shuffles", "200", "--json", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert sum(row["n_cells"] for row in rows) == len(cells.cells)
    done = meso_command("responses", demo_sessions[0], "--windows", "none of these")
    assert done.returncode == 1 and "no set of windows" in done.stderr


def test_deleted_trials_take_all_of_it_along_and_populate_makes_it_again(run, demo_sessions):
    place = {"eid": demo_sessions[1]}
    before = (schemas.Stability.Gap & run.task).to_dicts(order_by="KEY")
    rows = schemas.TrialTypeMean & place
    rows.delete()
    assert not (schemas.TrialTypeMean & place) and not (schemas.Stability & run.task)
    assert schemas.StabilityTask & run.task
    # not from the means that are left
    fill([schemas.Stability], run.task)
    assert not (schemas.Stability & run.task)
    fill([schemas.TrialTypeMean], place)
    assert fill([schemas.Stability], run.task).errors == []
    assert (schemas.Stability.Gap & run.task).to_dicts(order_by="KEY") == before


def uids_of(truth, eid: str) -> dict[tuple[int, int], str]:
    """Return the UID of each ROI of a session, '' for none, from the files."""
    (folder,) = truth.root.glob(f"*/Subjects/*/{truth.dates[truth.eids.index(eid)]}/001/alf")
    return {
        (int(path.parent.name[-2:]), roi): line.strip()
        for path in folder.glob(f"FOV_*/{UIDS}")
        for roi, line in enumerate(path.read_text().splitlines())
    }


def outside(demo_truth, eid: str, eids: list[str]) -> tuple[int, int]:
    """Return the numbers of neurons of a session that are not tracked, and that no later one of the sessions has."""
    uids = uids_of(demo_truth, eid)
    fovs, rois = (schemas.ROI & {"eid": eid} & "is_neuron").to_arrays("fov", "roi")
    names = [uids[int(fov), int(roi)] for fov, roi in zip(fovs, rois, strict=True)]
    later = {uid for other in eids[eids.index(eid) + 1 :] for uid in uids_of(demo_truth, other).values()}
    return names.count(""), sum(bool(name) and name not in later for name in names)


def test_cells_that_stay_stand_beside_as_many_others(demo_truth, demo_sessions, tmp_path, capsys):
    words = {"targets": ("stimulus",), "R": 4, "n_label_shuffles": 0, "n_bootstrap": 50, "penalty": "scaled",
             "progress": False, "plot": False, "survivorship": True}  # fmt: skip
    with pytest.raises(ArgumentError, match="cells='lost' decodes one kind"):
        meso.neuron_dropping_curves_cached(demo_sessions[:2], cells="lost", **words)
    beside = meso.neuron_dropping_curves_cached(demo_sessions[:2], ks=(2, 4), **words)
    assert [target.settings.cells for target in beside.targets] == ["shared", "untracked", "lost"]
    assert beside.failures == []
    untracked, lost = zip(*(outside(demo_truth, eid, demo_sessions[:2]) for eid in demo_sessions[:2]), strict=True)
    n_cells = min(beside.n_shared, *untracked, lost[0])
    assert {one.settings.n_cells for one in beside.targets} == {n_cells}
    more = meso.neuron_dropping_curves_cached(demo_sessions[:2], ks=(lost[0] + 1, lost[0] + 2), **words)
    assert [target.settings.cells for target in more.targets] == ["shared", "untracked"]
    assert [note for note in more.notes if note.endswith(f"has {lost[0]}, fewer than k = {lost[0] + 1}")]
    found = differences(beside)
    assert list(found) == [target.name for target in beside.targets[1:]]
    k, others = found[beside.targets[1].name]
    assert k == max(one for one in (2, 4) if 2 * one <= n_cells)
    scores = [
        [next(point["score_mean"] for point in row["curve"] if point["k"] == k) for row in target.curves]
        for target in beside.targets[:2]
    ]
    assert others.values == pytest.approx(np.subtract(scores[1], scores[0]))
    assert others.mean_low < others.mean < others.mean_high
    beside.show()
    assert f"{k} cells score {others.mean:+.3f} against {k} that stay, mean of 2" in " ".join(
        capsys.readouterr().out.split()
    )
    (panels,) = beside.panels().values()
    assert list(panels) == ["shared cells", "untracked cells", "lost cells"]
    beside.draw_regions()["stimulus"].savefig(tmp_path / "beside.png")
    for one in (*beside.targets, *more.targets):
        (schemas.NDCParams & {"ndc_params": one.ndc_params}).delete()


def test_untracked_and_lost_cells_are_what_the_uid_files_say(demo_truth, demo_sessions):
    """Survivorship: the curves of cells that stay beside as many that are not tracked, or are lost later."""
    # the first day loses a single cell
    few = {"ks": (1,), "r": 2, "n_label_shuffles": 2, "n_bootstrap": 0, "n_cells": 1}
    asked = [NDCSettings("choice", cells=kind, **few) for kind in ("shared", "untracked", "lost")]
    result = run_ndc(demo_sessions, TrackingRun.register("SP999"), asked)
    uids = {eid: uids_of(demo_truth, eid) for eid in demo_sessions}
    for target, kind in zip(result.targets, ("shared", "untracked", "lost"), strict=True):
        there = demo_sessions if kind != "lost" else demo_sessions[:-1]
        assert [row["eid"] for row in target.curves] == there
        for row in target.curves:
            key = {name: row[name] for name in schemas.NDCResult.primary_key}
            cells = (schemas.TrialFeatures & key).fetch1("feature_cells")
            at = demo_sessions.index(row["eid"])
            names = {uids[row["eid"]][tuple(cell)] for cell in np.asarray(cells).tolist()}
            later = {uid for eid in demo_sessions[at + 1 :] for uid in uids[eid].values()}
            if kind == "untracked":
                assert len(cells) == 1 and names == {""}
            elif kind == "lost":
                assert len(cells) == 1 and "" not in names and not names & later
    # which has no cells that are lost, and no failed job
    assert result.failures == [] and not (jobs_of(schemas.TrialFeatures).errors & {"eid": demo_sessions[-1]})
    assert [note for note in result.notes if note.endswith(
        f"no cell of the last session, of {demo_truth.dates[-1]}, is lost later; it has no curve"
    )]  # fmt: skip
    for one in asked:
        (schemas.NDCParams & schemas.NDCParams.add(one)).delete()
    retry([schemas.TrialFeatures, schemas.NDCResult])
