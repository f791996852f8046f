"""The demo data through every table, against the planted truth and against the files themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import meso
import schemas
from pipeline.decoding import NDCSettings
from schemas.filling import errors, fill
from schemas.ndc import match_cells, run_ndc
from schemas.tracking import TrackingRun

KS, R, S = (8, 16, 32, 64), 10, 10


def alf(truth, eid: str):
    """Folder of a session's ALF files, found without ONE."""
    return next(truth.root.glob(f"*/Subjects/*/{truth.dates[truth.eids.index(eid)]}/001/alf"))


def stacked(truth, eid: str, neurons_only: bool) -> dict[str, np.ndarray]:
    """What load_or_embed should return, by plain numpy from the files."""
    parts: dict[str, list] = {"signal": [], "times": [], "ids": [], "xyz": []}
    for folder in sorted(alf(truth, eid).glob("FOV_*")):
        deconvolved = folder / "mpci.ROIActivityDeconvolved.npy"
        traces = np.load(deconvolved if deconvolved.exists() else folder / "mpci.ROIActivityF.npy").T
        keep = np.load(folder / "mpciROIs.mpciROITypes.npy").astype(bool) | (not neurons_only)
        line = np.load(folder / "mpciROIs.stackPos.npy")[:, 0]
        times = np.load(folder / "mpci.times.npy") + np.load(folder / "mpciStack.timeshift.npy")[line][:, None]
        final = (folder / "mpciROIs.brainLocationIds_ccf_2017.npy").exists()
        suffix = "" if final else "_estimate"
        parts["signal"].append(traces[keep])
        parts["times"].append(times[keep])
        parts["ids"].append(np.load(folder / f"mpciROIs.brainLocationIds_ccf_2017{suffix}.npy")[keep])
        parts["xyz"].append(np.load(folder / f"mpciROIs.mlapdv{suffix}.npy")[keep])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


@pytest.mark.parametrize("neurons_only", [True, False])
def test_load_or_embed_is_the_files_bit_by_bit(demo_truth, demo_sessions, neurons_only):
    from iblatlas.regions import BrainRegions

    for eid in demo_sessions:
        found = meso.load_or_embed(eid, filter_neurons=neurons_only)
        expected = stacked(demo_truth, eid, neurons_only)
        assert found["roi_signal"].dtype == np.float32
        assert found["roi_signal"].flags.c_contiguous
        assert found["roi_signal"].flags.writeable
        np.testing.assert_array_equal(found["roi_signal"], expected["signal"])
        np.testing.assert_array_equal(np.asarray(found["roi_times"]), expected["times"])
        np.testing.assert_array_equal(found["xyz"], expected["xyz"])
        names = dict(zip(BrainRegions().id, BrainRegions().acronym, strict=True))
        assert found["region_labels"].tolist() == [names[i] for i in expected["ids"]]
        assert sorted(found["isort"]) == list(range(len(expected["ids"])))


def test_restrict_takes_rows_of_everything_and_orders_them(demo_sessions):
    everything = meso.load_or_embed(demo_sessions[0])
    rows = [40, 3, 17]
    some = meso.load_or_embed(demo_sessions[0], restrict=rows)
    np.testing.assert_array_equal(some["roi_signal"], everything["roi_signal"][rows])
    np.testing.assert_array_equal(np.asarray(some["roi_times"]), everything["roi_times"][np.array(rows)])
    for name in ("region_labels", "region_colors", "xyz"):
        np.testing.assert_array_equal(some[name], everything[name][rows])
    place = np.argsort(everything["isort"])[rows]
    np.testing.assert_array_equal(some["isort"], np.argsort(place))
    with pytest.raises(meso.DataError, match="restrict is out of range"):
        meso.load_or_embed(demo_sessions[0], restrict=[100_000])


def test_embedding_equals_rastermap_on_one_fov(demo_truth, demo_sessions):
    from rastermap import Rastermap

    from pipeline.embedding import EmbeddingSettings

    eid = demo_sessions[0]
    params = schemas.EmbeddingParams.add(EmbeddingSettings(fovs=(0,)))
    fill([schemas.Embedding], {"eid": eid, **params})
    fovs, ranks = (schemas.Embedding.Rank & params & {"eid": eid}).to_arrays("fov", "embedding_rank", order_by="roi")
    assert set(fovs) == {0}
    folder = alf(demo_truth, eid) / "FOV_00"
    traces = np.load(folder / "mpci.ROIActivityDeconvolved.npy").T
    traces = np.ascontiguousarray(traces[np.load(folder / "mpciROIs.mpciROITypes.npy") == 1])
    model = Rastermap(n_PCs=100, n_clusters=30, locality=0.75, time_lag_window=5, bin_size=1, verbose=False)
    np.testing.assert_array_equal(np.argsort(ranks), model.fit(traces, compute_X_embedding=False).isort)
    (schemas.EmbeddingParams & params).delete()


def test_tracked_rows_are_the_planted_ones(demo_truth, demo_sessions):
    rows = meso.match_tracked_indices_across_sessions(object_with_load_dataset(), demo_sessions[0], demo_sessions[1:])
    for eid in demo_sessions:
        cells = meso.load_or_embed(eid)["roi_keys"]
        keys = [cells[i] for i in rows[eid]]
        planted = {uid: (fov, row) for fov, uids in demo_truth.rows[eid].items() for uid, row in uids.items()}
        assert [(key["fov"], key["roi"]) for key in keys] == [planted[uid] for uid in demo_truth.shared_uids]


def object_with_load_dataset() -> object:
    """Stand for the ONE client that the old signature had first; it is never called."""
    return type("Client", (), {"load_dataset": None})()


def test_signals_are_recorded_by_fov(demo_sessions):
    signals = {(row["eid"], row["signal"]) for row in (schemas.FOV & [{"eid": e} for e in demo_sessions]).to_dicts()}
    assert signals == {(eid, "fluorescence" if i == 1 else "deconvolved") for i, eid in enumerate(demo_sessions)}
    sources = (schemas.FOV & [{"eid": e} for e in demo_sessions]).to_dicts()
    assert [row["region_source"] for row in sources if row["eid"] == demo_sessions[2]] == ["final"] * 3
    assert {row["region_source"] for row in sources if row["eid"] != demo_sessions[2]} == {"estimate"}


def test_what_was_read_is_recorded_with_its_hash(demo_truth, demo_sessions):
    import hashlib

    rows = (schemas.FOV.Source & {"eid": demo_sessions[0]}).to_dicts()
    assert len(rows) == 3 * 9
    for row in rows:
        path = alf(demo_truth, demo_sessions[0]).parent / row["dataset"]
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert row["file_size"] == path.stat().st_size
        assert len(row["dataset_id"]) == 36
    assert not any("ROIActivityF" in row["dataset"] or "masks" in row["dataset"] for row in rows)


@pytest.fixture(scope="module")
def ndc(demo_sessions):
    run = TrackingRun.register("SP999")
    settings = [NDCSettings(target=t, ks=KS, r=R, n_label_shuffles=S) for t in ("choice", "feedback", "stimulus")]
    return run_ndc(demo_sessions, run, settings)


def test_planted_trend_of_k_star_is_found(ndc, demo_truth, demo_sessions):
    assert ndc.n_shared == len(demo_truth.shared_uids)
    assert ndc.failed == {}
    for target, rows in ndc.curves.items():
        assert demo_truth.k_star_trend[target] == "falls"
        k_stars = [row["k_star"] for row in rows]
        assert [row["eid"] for row in rows] == demo_sessions
        assert k_stars == sorted(k_stars, reverse=True), target
        assert k_stars[0] >= 4 * k_stars[-1], target
        assert all(row["curve"][-1]["p_value"] == 1 / (1 + S) for row in rows)


def test_curve_rows_are_the_repeats_and_the_repeats_are_reproducible(ndc, demo_sessions):
    from pipeline.decoding import neuron_dropping_curve

    row = ndc.curves["choice"][2]
    key = {name: row[name] for name in schemas.NDCResult.primary_key}
    features = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))
    trials, use = (schemas.NDCResult.Trial & key).to_arrays("trial", "trial_use", order_by="trial")
    labels = (schemas.TrialFeatures.Trial & key & "trial_outcome = 'usable'").to_arrays("trial_label", order_by="trial")
    kept = use == "kept"
    assert len(trials) == len(features)
    y = labels[kept].astype(int)
    assert kept.sum() == row["n_decoded"]
    assert y.sum() * 2 == len(y)
    assert len({other["n_decoded"] for other in ndc.curves["choice"]}) == 1
    again = neuron_dropping_curve(features[kept], y, ks=[16, 120], R=R, n_label_shuffles=S)
    by_k = {point["k"]: point for point in row["curve"]}
    for i, k in enumerate(again.ks):
        np.testing.assert_array_equal(by_k[k]["scores"], again.scores[i])
        np.testing.assert_array_equal(by_k[k]["null_scores"], again.null_scores[i])
        assert by_k[k]["score_mean"] == again.scores[i].mean()
        assert by_k[k]["score_sd"] == pytest.approx(np.std(again.scores[i], ddof=1), rel=1e-12)


def test_features_equal_a_loop_over_trials_and_files(ndc, demo_truth, demo_sessions):
    for target, event, window in (
        ("choice", "firstMovement_times", (-0.1, 0)),
        ("feedback", "feedback_times", (0, 0.2)),
    ):
        row = ndc.curves[target][1]  # the session with fluorescence only
        eid = row["eid"]
        key = {name: row[name] for name in schemas.NDCResult.primary_key}
        table = pd.read_parquet(next(alf(demo_truth, eid).glob("**/_ibl_trials.table.pqt")))
        found = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))
        trials = (schemas.TrialFeatures.Trial & key & "trial_outcome = 'usable'").to_arrays("trial", order_by="trial")
        expected = np.empty_like(found)
        for fov, uids in demo_truth.rows[eid].items():
            folder = alf(demo_truth, eid) / f"FOV_{fov:02d}"
            traces = np.load(folder / "mpci.ROIActivityF.npy")
            frame_times, shift = np.load(folder / "mpci.times.npy"), np.load(folder / "mpciStack.timeshift.npy")
            line = np.load(folder / "mpciROIs.stackPos.npy")[:, 0]
            for column, uid in enumerate(demo_truth.shared_uids):
                if uid not in uids:
                    continue
                times = frame_times + shift[line[uids[uid]]]
                for i, trial in enumerate(trials):
                    start, end = table[event][trial] + np.array(window)
                    inside = (times >= start) & (times <= end)
                    if not inside.any():
                        inside = np.argmin(np.abs(times - (start + end) / 2))
                    expected[i, column] = traces[inside, uids[uid]].astype(float).mean()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_every_trial_has_an_outcome(ndc, demo_truth, demo_sessions):
    row = ndc.curves["choice"][0]
    key = {name: row[name] for name in schemas.NDCResult.primary_key}
    table = pd.read_parquet(next(alf(demo_truth, row["eid"]).glob("**/_ibl_trials.table.pqt")))
    outcome = (schemas.TrialFeatures.Trial & key).to_arrays("trial_outcome", order_by="trial")
    assert len(outcome) == len(table)
    np.testing.assert_array_equal(outcome == "label", table["choice"] == 0)
    no_event = (table["choice"] != 0) & table["firstMovement_times"].isna()
    assert no_event.any()
    np.testing.assert_array_equal(outcome == "event", no_event)


def test_running_again_changes_nothing(ndc, demo_sessions):
    before = schemas.NDCResult.Curve.proj("score_mean", "null_mean", "p_value").to_dicts(order_by="KEY")
    filled = fill()
    assert {table: n for table, n in filled.made.items() if n} == {}
    assert filled.errors == errors() == []
    again = meso.neuron_dropping_curves_cached(
        demo_sessions, ks=KS, R=R, n_label_shuffles=S, progress=False, plot=False
    )
    assert again.table.equals(ndc.table)
    assert schemas.NDCResult.Curve.proj("score_mean", "null_mean", "p_value").to_dicts(order_by="KEY") == before
    assert len(before) >= 4 * 3 * 5


def test_a_session_that_cannot_be_used_leaves_the_others(ndc, demo_sessions):
    unknown = "00000000-0000-3000-8000-000000000000"
    settings = {"targets": "choice", "ks": KS, "R": R, "n_label_shuffles": S, "progress": False, "plot": False}
    result = meso.neuron_dropping_curves_cached([*demo_sessions, unknown], **settings)
    assert set(result.failed) == {unknown}
    assert unknown in result.failed[unknown]
    assert list(result.table["k_star"]) == [row["k_star"] for row in ndc.curves["choice"]]
    with pytest.raises(meso.DataError, match=f"2 or more that can be used, found 1.*{unknown}"):
        meso.neuron_dropping_curves_cached([demo_sessions[0], unknown], progress=False)


@pytest.mark.usefixtures("database")
def test_parameters_are_named_by_their_content():
    one = schemas.NDCParams.add(NDCSettings(target="choice", ks=(8, 16), win_start=-0.1, win_end=0))
    same = schemas.NDCParams.add(NDCSettings(target="choice", ks=[16, 8, 8], event="firstMovement_times"))
    other = schemas.NDCParams.add(NDCSettings(target="choice", ks=(8, 16), delta=0.05))
    assert one == same != other
    assert (schemas.NDCParams & one).settings() == NDCSettings(target="choice", ks=(8, 16))


def test_deleting_a_session_takes_what_depends_on_it_and_nothing_else(ndc, demo_truth, demo_sessions):
    gone, *rest = demo_sessions[::-1]
    cells = len(schemas.TrackedCell())
    members = len(schemas.TrackedFOV.Member() & [{"eid": eid} for eid in rest])
    rois = len(schemas.ROI() & [{"eid": eid} for eid in rest])
    (schemas.Session & {"eid": gone}).delete()
    for table in (schemas.FOV, schemas.ROI, schemas.Activity, schemas.Behavior, schemas.Embedding, schemas.TrackedFOV):
        assert len(table & {"eid": gone}) == 0
    assert len(schemas.SessionSet & ndc.session_set) == len(schemas.NDCResult & ndc.session_set) == 0
    assert len(schemas.TrackedCell()) == cells
    assert len(schemas.TrackedFOV.Member()) == members
    assert len(schemas.ROI() & [{"eid": eid} for eid in rest]) == rois
    from populate_scripts.ingest import ingest

    ingest([gone], cache_dir=demo_truth.root)
    again = meso.neuron_dropping_curves_cached(
        demo_sessions, ks=KS, R=R, n_label_shuffles=S, progress=False, plot=False
    )
    assert again.session_set == ndc.session_set
    assert again.table.equals(ndc.table)


def test_quality_of_tracking_is_a_query(demo_truth, demo_sessions):
    """Shared cells under thresholds, against the files."""
    run = TrackingRun.covering(demo_sessions)
    match_cells(demo_sessions, run)
    good = []
    for eid in demo_sessions:
        passing = set()
        for fov, uids in demo_truth.rows[eid].items():
            folder = alf(demo_truth, eid) / f"FOV_{fov:02d}"
            probability = np.load(folder / "mpciROIs.cellClassifier.npy")
            silhouette = np.load(folder / "mpciROIs.clusterSilhouette.npy")[:, 0]
            passing |= {uid for uid, row in uids.items() if probability[row] >= 0.8 and silhouette[row] >= 0.4}
        good.append(passing)
    expected = sorted(set.intersection(*good) & set(demo_truth.shared_uids))
    assert 0 < len(expected) < len(demo_truth.shared_uids)
    key = schemas.SessionSet.add(demo_sessions, run, min_cell_probability=0.8, min_silhouette=0.4)
    assert fill([schemas.SharedCells], key).errors == []
    cells = schemas.SharedCells.Cell.proj() * schemas.SharedCells.Cell.proj("fov", "roi", "subject", "tracking_run")
    cells = cells & key & {"eid": demo_sessions[0]}
    found = (cells * schemas.TrackedFOV.Member.proj("cell_uid")).to_arrays("cell_uid", order_by="shared_cell")
    assert found.tolist() == expected
