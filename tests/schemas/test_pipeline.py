"""The demo data through every table, against the planted truth and against the files themselves."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import false_discovery_control, gmean

import meso
import schemas
from drawing.curves import DrawableRun
from drawing.screen import print_run, trend_lines
from pipeline.decoding import NDCSettings, neuron_dropping_curve, penalty, penalty_scores
from pipeline.decoding.code_spread import code_spread
from pipeline.decoding.drift import drift_share
from pipeline.decoding.nulls import linear_shift_margin, null_labels
from pipeline.decoding.trials import pick_trials
from pipeline.settings.curves import curve_settings, with_beyond
from pipeline.signals.noise import MAX_STEPS
from populate_scripts import demo
from schemas.decoding.results import stored_run
from schemas.decoding.rows import ndc_curve
from schemas.decoding.run import match_cells, run_ndc
from schemas.decoding.shuffles import shuffles
from schemas.decoding.tables import finished_curve
from schemas.queries.tracking_runs import tracking_run_of_sessions
from schemas.session import trials_of
from schemas.tracking import TrackingRun
from schemas.work.filling import fill
from schemas.work.reports import errors, retry

KS, R, S = (8, 16, 32, 64), 10, 40
#: Of curves whose rows count, and not their numbers, which test_backends.py compares.
FEW = {"ks": (8, 16), "R": 3, "n_label_shuffles": 3}


def alf(truth, eid: str):
    """Folder of a session's ALF files, found without ONE."""
    return next(truth.root.glob(f"*/Subjects/*/{truth.dates[truth.eids.index(eid)]}/001/alf"))


def stacked(truth, eid: str, neurons_only: bool) -> dict[str, np.ndarray]:
    """What load_or_embed should return, by plain numpy from the files."""
    parts: dict[str, list] = {"signal": [], "times": [], "ids": [], "xyz": []}
    for folder in sorted(alf(truth, eid).glob("FOV_*")):
        traces = np.load(folder / "mpci.ROIActivityDeconvolved.npy").T
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


@pytest.mark.parametrize("neurons_only", [True, pytest.param(False, marks=pytest.mark.one_backend)])
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


def chosen(everything: dict, rows) -> dict[str, np.ndarray]:
    """What load_or_embed should return for some rows, by plain numpy from the result for all of them."""
    place = np.argsort(everything["isort"])[rows]
    return {
        "roi_times": np.asarray(everything["roi_times"])[rows], "isort": np.argsort(place, kind="stable"),
        "roi_keys": np.array(everything["roi_keys"], dtype=object)[rows],
        **{name: everything[name][rows] for name in ("roi_signal", "region_labels", "region_colors", "xyz", "signal")},
    }  # fmt: skip


@pytest.mark.parametrize(
    "choose",
    [
        lambda n: [], lambda n: slice(3, None, 50), lambda n: slice(0, 0), lambda n: slice(None, None, -40),
        lambda n: np.arange(n) % 29 == 5, lambda n: [i == 7 for i in range(n)], lambda n: np.zeros(n, bool),
        lambda n: [-1, 0, np.int64(-n), 5, 5], lambda n: np.array([2, 1], np.uint8), lambda n: [n - 1],
    ],
    ids=["none", "step", "empty", "backwards", "mask", "bools", "nothing", "negative", "uint8", "one"],
)  # fmt: skip
def test_load_or_embed_takes_rows_as_numpy_does(demo_sessions, choose):
    everything = meso.load_or_embed(demo_sessions[1])
    rows = choose(len(everything["isort"]))
    found = meso.load_or_embed(demo_sessions[1], restrict=rows)
    expected = chosen(everything, np.array(rows, dtype=int) if isinstance(rows, list) and not rows else rows)
    assert set(found) == set(expected)
    for name, value in expected.items():
        got = np.array(found[name], dtype=object) if name == "roi_keys" else np.asarray(found[name])
        np.testing.assert_array_equal(got, value, err_msg=name)
        assert got.shape == value.shape and got.dtype == value.dtype, name
    assert found["roi_times"].shape == expected["roi_signal"].shape


@pytest.mark.parametrize("neurons_only", [True, pytest.param(False, marks=pytest.mark.one_backend)])
def test_load_or_embed_of_no_rows_has_all_frames(demo_sessions, neurons_only):
    for eid in demo_sessions:
        found = meso.load_or_embed(eid, restrict=[], filter_neurons=neurons_only)
        n_frames = (schemas.FOV & {"eid": eid}).to_arrays("n_frames")[0]
        assert found["roi_signal"].shape == found["roi_times"].shape == (0, n_frames)
        assert found["roi_signal"].dtype == np.float32 and found["xyz"].shape == (0, 3) and n_frames > 1000


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([True, False], meso.OutOfRangeError, "expected [0-9]{3} bools, found 2"),
        ([1.0], meso.ArgumentTypeError, r"restrict must be a list of row numbers.* not \[1.0\]"),
        ("all", meso.ArgumentTypeError, "restrict must be a list of row numbers.* not 'all'"),
        ([-5000], meso.OutOfRangeError, "restrict is out of range"),
    ],
)
def test_load_or_embed_refuses_invalid_rows(demo_sessions, rows, kind, message):
    with pytest.raises(kind, match=message):
        meso.load_or_embed(demo_sessions[1], restrict=rows)


def shown(figure) -> np.ndarray:
    """The image of a raster, each of whose rows is a cell."""
    (axes,) = [one for one in figure.axes if one.get_label() == "raster"]
    return np.asarray(axes.images[-1].get_array())


@pytest.mark.one_backend  # what is drawn is what load_or_embed returns, which is compared on both
def test_load_and_plot_raster_take_rows_as_numpy_does(demo_sessions):
    eid, options = demo_sessions[1], {"bg": None, "trials": False}
    n = len(meso.load_or_embed(eid)["isort"])
    assert n < 1200  # a row of the image for each cell
    stored = shown(meso.plot_raster(eid, rsort=False, **options))
    assert stored.shape[0] == n
    mask = np.arange(n) % 3 == 1
    for rows in (slice(5, 50, 3), mask, [-1, 4, 9], [6, 2, 6]):
        np.testing.assert_array_equal(shown(meso.plot_raster(eid, rsort=False, restrict=rows, **options)), stored[rows])
        np.testing.assert_array_equal(shown(meso.plot_raster(eid, order=rows, **options)), stored[rows])
    backwards = shown(meso.plot_raster(eid, restrict=mask, order=slice(None, None, -1), **options))
    np.testing.assert_array_equal(backwards, stored[mask][::-1])
    for wrong, message in (([n], "order is out of range"), ([0.5], "order must be a list of row numbers")):
        with pytest.raises(meso.MesoError, match=message):
            meso.plot_raster(eid, order=wrong, **options)
    for nothing in ({"restrict": []}, {"order": np.zeros(n, bool)}):
        with pytest.raises(meso.ArgumentError, match="no cell to draw"):
            meso.plot_raster(eid, **nothing, **options)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
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
    """Stands for the ONE client that the scripts took as first argument; it is never called."""
    return type("Client", (), {"load_dataset": None})()


def test_signals_are_recorded_by_fov(demo_sessions):
    signals = {(row["eid"], row["signal"]) for row in (schemas.FOV & [{"eid": e} for e in demo_sessions]).to_dicts()}
    assert signals == {(eid, "deconvolved") for eid in demo_sessions}
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
def asked_for(backend) -> dict:
    """The settings of the curves of this module."""
    return {"ks": KS, "R": R, "n_label_shuffles": S} if backend == "postgresql" else FEW


@pytest.fixture(scope="module")
def ndc(demo_sessions, asked_for):
    settings = curve_settings(["choice", "feedback", "stimulus"], **asked_for)
    return run_ndc(demo_sessions, TrackingRun.register("SP999"), settings)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
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


def inner_scores_of_others(row: dict, rows: list[dict]) -> np.ndarray:
    """Return the inner scores of the other sessions of a set, with which a session shares the c of its penalty."""
    others = [other for other in rows if other["eid"] != row["eid"]]
    return np.array([penalty_scores(*decoded_in(other), ks=[other["n_cells"]]) for other in others])


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_curve_rows_are_the_repeats_and_the_repeats_are_reproducible(ndc, demo_sessions):
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
    assert row["null_used"] == "pseudosession"
    eid = row["eid"]
    null = null_labels("auto", "choice", trials_of(eid), trials.astype(int), S, 0, names=(eid, "choice"))[1]
    for s, vector in enumerate(null):  # balanced and equalised like the real labels, with random draws of their own
        fate = pick_trials(vector, "downsample", row["n_decoded"], 0, eid, "choice", f"shuffle {s}")
        vector[fate != "kept"] = -1
        assert (vector == 1).sum() == (vector == 0).sum() <= len(y) / 2
    real = np.where(kept, labels.astype(int), -1)
    again = neuron_dropping_curve(
        features, real, ks=[16, 120], R=R, n_label_shuffles=S, null=null, penalty="auto",
        compared=inner_scores_of_others(row, ndc.curves["choice"]),
    )  # fmt: skip
    by_k = {point["k"]: point for point in row["curve"]}
    for i, k in enumerate(again.ks):
        np.testing.assert_array_equal(by_k[k]["scores"], again.scores[i])
        np.testing.assert_array_equal(by_k[k]["null_scores"], again.null_scores[i])
        assert by_k[k]["score_mean"] == again.scores[i].mean()
        assert by_k[k]["score_sd"] == pytest.approx(np.std(again.scores[i], ddof=1), rel=1e-12)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_features_equal_a_loop_over_trials_and_files(ndc, demo_truth, demo_sessions):
    for target, event, window in (
        ("choice", "firstMovement_times", (-0.1, 0)),
        ("feedback", "feedback_times", (0, 0.2)),
    ):
        row = ndc.curves[target][1]
        eid = row["eid"]
        key = {name: row[name] for name in schemas.NDCResult.primary_key}
        table = pd.read_parquet(next(alf(demo_truth, eid).glob("**/_ibl_trials.table.pqt")))
        found = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))
        trials = (schemas.TrialFeatures.Trial & key & "trial_outcome = 'usable'").to_arrays("trial", order_by="trial")
        expected = np.empty_like(found)
        for fov, uids in demo_truth.rows[eid].items():
            folder = alf(demo_truth, eid) / f"FOV_{fov:02d}"
            traces = np.load(folder / "mpci.ROIActivityDeconvolved.npy")
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


def test_running_again_changes_nothing(ndc, demo_sessions, asked_for):
    # what other tests have asked for; no curve needs the stored model of a mouse
    fill([schemas.Embedding, schemas.RasterTiles, schemas.ChoiceModel, schemas.NDCResult])
    before = schemas.NDCResult.Curve.proj("score_mean", "null_mean", "p_value").to_dicts(order_by="KEY")
    filled = fill()
    assert {table: n for table, n in filled.made.items() if n} == {}
    assert filled.errors == errors() == []
    again = meso.neuron_dropping_curves_cached(demo_sessions, **asked_for, progress=False, plot=False)
    assert again.table.equals(ndc.table)
    assert schemas.NDCResult.Curve.proj("score_mean", "null_mean", "p_value").to_dicts(order_by="KEY") == before
    assert len(before) >= 4 * 3 * (len(asked_for["ks"]) + 1)


def test_a_session_that_cannot_be_used_leaves_the_others(ndc, demo_sessions, asked_for):
    unknown = "00000000-0000-3000-8000-000000000000"
    settings = {"targets": "choice", **asked_for, "progress": False, "plot": False}
    with pytest.warns(UserWarning, match=f"left out: session {unknown}"):
        result = meso.neuron_dropping_curves_cached([*demo_sessions, unknown], **settings)
    assert set(result.failed) == {unknown}
    assert unknown in result.failed[unknown]
    assert list(result.table["k_star"]) == [row["k_star"] for row in ndc.curves["choice"]]
    with pytest.raises(meso.DataError, match=f"2 or more that can be used, found 1.*{unknown}"):
        meso.neuron_dropping_curves_cached([demo_sessions[0], unknown], progress=False)


# ---------------------------------------------------------------- what a curve says


def result_key(row: dict) -> dict:
    return {name: row[name] for name in schemas.NDCResult.primary_key}


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_results_carry_the_fit_of_their_curve(ndc):
    from pipeline.decoding.fits.curve import fit_curve
    from pipeline.decoding.fits.families import family_curve

    for row in ndc.curves["feedback"]:
        curve = row["curve"]
        scores, influences = (np.array([point[name] for point in curve]) for name in ("scores", "influences"))
        assert influences.shape == (len(curve), row["n_decoded"])
        fit = fit_curve(
            [point["k"] for point in curve], scores, influences=influences, ceiling=row["ceiling"],
            p_values=[point["p_value"] for point in curve],
        )  # fmt: skip
        assert (row["fit_family"], row["verdict"], row["k_star"]) == (fit.family, fit.verdict, fit.k_star)
        assert (row["k_star_censored"] or "") == fit.k_star_censored
        for name in ("asymptote", "k50", "k90", "k95", "k_star"):
            for end in ("", "_low", "_high"):
                value = float(getattr(fit, name + end))
                assert row[name + end] == (pytest.approx(value) if np.isfinite(value) else None), name + end
        assert row["p_largest"] == curve[-1]["p_value"]
        np.testing.assert_allclose([point["mean_low"] for point in curve], fit.mean_low)
        assert row["verdict"] != "at chance"
        found = family_curve(row["fit_family"], row["fit_parameters"], fit.ks)
        np.testing.assert_allclose(found, fit.predict(fit.ks), rtol=1e-12)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_sessions_and_targets_are_judged_together(ndc, demo_sessions):
    from scipy.stats import false_discovery_control

    table = ndc.table
    assert len(table) == 12
    # one p: that of the verdict, over all k together
    simes = [
        min(len(row["curve"]) * p / (i + 1) for i, p in enumerate(sorted(point["p_value"] for point in row["curve"])))
        for rows in ndc.curves.values() for row in rows
    ]  # fmt: skip
    np.testing.assert_allclose(table["p_curve"].to_numpy(float), simes)
    expected = false_discovery_control(simes, method="bh")
    np.testing.assert_allclose(table["q_value"].to_numpy(float), expected, rtol=1e-12)
    for target, rows in ndc.curves.items():
        lowest = min(row["ceiling"] for row in rows)
        for row in rows:
            reached = [point["k"] for point in row["curve"] if point["score_mean"] >= lowest - 0.02]
            assert row["k_star_common"] == reached[0] <= row["k_star"]
        trend = ndc.trends[target]
        assert trend["n_dated"] == 4
        assert trend["n_censored"] == sum(row["k_star_censored"] is not None for row in rows)
        if trend["n_censored"] > 1:  # two bounds and two values do not make a slope
            assert trend["k_star_slope"] is None
            continue
        assert trend["k_star_slope"] < 0, target
        days = [(row["session_date"] - rows[0]["session_date"]).days for row in rows]
        assert trend["mean_day"] == pytest.approx(np.mean(days))
        if not trend["n_censored"]:
            slope, _ = np.polyfit(days, np.log2([row["k_star"] for row in rows]), 1)
            assert trend["k_star_slope"] == pytest.approx(slope)
    labels = [ax.get_title(loc="left") + ax.get_title() for ax in DrawableRun.of(ndc).draw_days().axes]
    assert [text for text in labels if text] == ["Choice", "Feedback", "Stimulus"]


@pytest.mark.one_backend  # a property of the numbers, which test_backends.py compares
def test_the_planted_fall_is_found_in_these_days(demo_sessions):
    # with the settings of the demo: fewer subsets, from 8 cells on, leave p = 0.07 for feedback
    settings = [NDCSettings(t, ks=demo.KS, r=demo.R, n_label_shuffles=demo.N_LABEL_SHUFFLES) for t in demo.TARGETS]
    run = run_ndc(demo_sessions, TrackingRun.register("SP999"), settings)
    assert list(run.day_trends) == list(demo.TARGETS)
    for target, trends in run.day_trends.items():
        code, score = trends["code_k"], trends["score"]
        rows = run.curves[target]
        assert (code["n_days"], code["n_at_chance"], code["trend_k"]) == (4, 0, rows[0]["curve"][-1]["k"])
        # 53 of 120 cells inform on the last day, 6 on the first
        assert code["day_slope"] < 0 and code["fixed_p"] < 0.05, target
        assert code["fixed_low"] < code["day_slope"] < code["fixed_high"] < 0
        assert code["day_low"] < code["day_slope"] < code["day_high"]
        days = [(row["session_date"] - rows[0]["session_date"]).days for row in rows]
        values = np.array([code["values"][row["eid"]][0] for row in rows])
        assert values == pytest.approx([row["k_star_continuous"] for row in rows])
        slope, _ = np.polyfit(days, np.log2(values), 1)
        assert code["day_slope"] == pytest.approx(slope)
        at_k = [next(p for p in row["curve"] if p["k"] == score["trend_k"])["score_mean"] for row in rows]
        assert [score["values"][row["eid"]][0] for row in rows] == pytest.approx(at_k)
        half = [trends["half_k"]["values"][row["eid"]][0] for row in rows]
        assert half == pytest.approx([row["k_half"] for row in rows])
    forget(*settings)


def test_drift_that_grows_from_day_to_day_is_noted(ndc):
    drifts = schemas.NDCComparison.Drift & ndc.family
    rows = drifts.to_dicts()
    assert len(rows) == sum(map(len, ndc.curves.values()))
    for row in rows[:2]:
        place = {name: row[name] for name in schemas.TrialFeatures.primary_key}
        features = (schemas.TrialFeatures & place).fetch1("trial_features")
        labels = (schemas.TrialFeatures.Trial & place & {"trial_outcome": "usable"}).to_arrays(
            "trial_label", order_by="trial"
        )
        assert row["drift_share"] == pytest.approx(drift_share(features, labels.astype(float)))
    assert not [note for note in ndc.notes if "drifts" in note]
    target = ndc.targets[0]
    mine = [row for row in rows if row["ndc_params"] == target.ndc_params]
    dates = {row["eid"]: row["session_date"] for row in target.curves}
    mine.sort(key=lambda row: dates[row["eid"]])
    table = schemas.NDCComparison.Drift()
    try:
        for row, share in zip(mine, (0.02, 0.05, 0.2, 0.4), strict=True):
            table.update1({**row, "drift_share": share})
        again = stored_run(ndc.session_set, [one.ndc_params for one in ndc.targets])
        (note,) = [note for note in again.notes if "drifts" in note]
    finally:
        for row in mine:
            table.update1(row)
    first, last = dates[mine[0]["eid"]], dates[mine[-1]["eid"]]
    assert note.startswith(f"{target.name}: the activity drifts more within sessions from day to day (slow: 2% of ")
    assert f"2% of a cell's variance on {first}, 40% on {last}" in note and "no finding of the code" in note
    of_target = {one.ndc_params: one.doubts for one in again.targets}
    assert of_target[target.ndc_params] == ("drift within sessions changes as well",)


def noise_of_files(truth, row: dict) -> np.ndarray:
    """Return the noise levels of the decoded cells between the trials, from the files."""
    trials, levels = trials_of(row["eid"]), []
    events = np.array([trials[name] for name in ("stimOn_times", "goCue_times", "firstMovement_times",
                                                 "response_times", "feedback_times")])  # fmt: skip
    for fov, roi in features_of(row)[2]:
        folder = alf(truth, row["eid"]) / f"FOV_{fov:02d}"
        trace = np.load(folder / "mpci.ROIActivityDeconvolved.npy", mmap_mode="r")[:, roi].astype(float)
        times = np.load(folder / "mpci.times.npy")
        task = np.any([(times >= first - 0.5) & (times <= last + 1)
                       for first, last in zip(np.nanmin(events, axis=0), np.nanmax(events, axis=0), strict=True)],
                      axis=0)  # fmt: skip
        pairs = np.flatnonzero(~task[:-1] & ~task[1:])
        assert len(pairs) > 500
        pairs = pairs[:: -(-len(pairs) // MAX_STEPS)]
        steps, used = np.abs(np.diff(trace))[pairs], np.sort(trace[pairs])
        levels.append(np.median(steps[steps > 0]) / used[-max(1, round(len(used) / 100)) :].mean())
    return np.array(levels) * np.sqrt(np.median(np.diff(times)))


def test_a_change_of_both_k_is_of_the_code_if_more_or_fewer_cells_carry_the_signal(ndc):
    """Noise that cells share from trial to trial, and scores near 1, move both although the cells respond as before."""
    table, target, params = schemas.NDCComparison.DayTrend(), ndc.targets[0], [one.ndc_params for one in ndc.targets]
    key = {"ndc_params": target.ndc_params, **ndc.session_set}
    trends = [row for row in (table & ndc.family & key).to_dicts() if row["quantity"] in ("code_k", "half_k")]
    of_days = {row["eid"]: row for row in (schemas.TrialFeatures & key).proj("code_spread").to_dicts()}
    assert len(trends) == 2 and len(of_days) == 4
    for row in target.curves[::3]:
        place = {**key, "eid": row["eid"]}
        usable = schemas.TrialFeatures.Trial & place & {"trial_outcome": "usable"}
        y = usable.to_arrays("trial_label", order_by="trial")
        found = code_spread((schemas.TrialFeatures & place).fetch1("trial_features"), y)
        assert of_days[row["eid"]]["code_spread"] == row["code_spread"] == pytest.approx(found, rel=1e-9)

    def said(spread: tuple[float | None, ...], **columns: tuple) -> tuple[list[str], list[str], str]:
        for i, row in enumerate(trends):
            table.update1({**row, **{name: values[i] for name, values in columns.items()}})
        for row, value in zip(target.curves, spread, strict=True):
            schemas.TrialFeatures().update1({**of_days[row["eid"]], "code_spread": value})
        run = stored_run(ndc.session_set, params)
        again = next(one for one in run.targets if one.name == target.name)
        (half,) = [line for line in trend_lines(again) if "k_half" in line]
        notes = [note for note in run.notes if note.startswith(f"{target.name}: k* and k_half change together")]
        return list(again.doubts), notes, half

    found, more = {"day_slope": (-0.1, -0.2), "fixed_p": (0.01, 0.05), "day_p": (0.5, 0.5)}, (0.1, 0.12, 0.16, 0.2)
    try:
        doubts, notes, line = said(more, **found)
        assert doubts == notes == []
        assert line.endswith("; a finding of the code: the share of the cells that carry the signal changes by +100%")
        # three days of four tell the line, two do not
        assert said((None, 0.1, 0.16, 0.2), **found)[:2] == ([], [])
        (doubt,), (note,), line = said((None, None, 0.1, 0.2), **found)
        assert doubt == "whether the share of the cells that carry the signal changes is not known" and doubt in note
        assert line.endswith(f"; no finding of the code: {doubt}")
        (doubt,), (note,), line = said((0.1, 0.11, 0.12, 0.13), **found)
        assert "changes by +29% (by at least +62% with a change of the code)" in doubt and line.endswith(doubt)
        assert said(more[::-1], **found)[0] != []  # fewer cells carry it, and fewer are needed
        assert said(more, **{**found, "fixed_p": (0.01, 0.06)})[:2] == ([], [])
        assert said(more[::-1], **{**found, "day_slope": (0.1, 0.2)})[:2] == ([], [])
    finally:
        for row in trends:
            table.update1(row)
        for row in of_days.values():
            schemas.TrialFeatures().update1(row)


def test_noise_of_the_traces_that_grows_from_day_to_day_is_noted(ndc, demo_truth):
    """Here the code changes, and the noise does not: nothing is said until levels are planted."""
    target = ndc.targets[0]
    key = {"ndc_params": target.ndc_params, **ndc.session_set}
    rows = (schemas.TrialFeatures.proj("noise_level", "noise_mean") & key).to_dicts()
    levels, means = ({row["eid"]: row[name] for row in rows} for name in ("noise_level", "noise_mean"))
    assert len(levels) == len(target.curves) == 4
    for row in target.curves[::3]:
        of_files = noise_of_files(demo_truth, row)
        assert levels[row["eid"]] == pytest.approx(np.median(of_files), rel=1e-4)
        assert means[row["eid"]] == pytest.approx(gmean(of_files), rel=1e-4)
    assert all(one.doubts == () for one in ndc.targets)
    assert not [note for note in ndc.notes if "noise level" in note]
    table, params = schemas.TrialFeatures(), [one.ndc_params for one in ndc.targets]
    places = {row["eid"]: {name: row[name] for name in schemas.TrialFeatures.primary_key} for row in rows}
    eids = [row["eid"] for row in target.curves]

    def planted(*noise: float | None, mean: tuple = ()) -> tuple[list[str], list[str], str]:
        for eid, one, of_all in zip(eids, noise, mean or noise, strict=True):
            table.update1({**places[eid], "noise_level": one, "noise_mean": of_all})
        again = stored_run(ndc.session_set, params)
        found = next(one for one in again.targets if one.ndc_params == target.ndc_params)
        others = [one.doubts for one in again.targets if one is not found]
        assert not any(others)
        (half,) = [line for line in trend_lines(found) if "k_half" in line]
        said = [note for note in again.notes if "noise level" in note or "traces is not known" in note]
        return said, list(found.doubts), half

    try:
        (note,), doubts, half = planted(0.1, 0.11, 0.12, 0.14)
        quieter, fewer, _ = planted(0.14, 0.12, 0.11, 0.1)
        (unknown,), not_known, in_words = planted(0.1, None, 0.1, 0.1)
        steady = planted(0.1, 0.13, 0.13, 0.1)
        # of a minority: the median moves by less than what is noted
        (part,), of_part, _ = planted(0.1, 0.1, 0.11, 0.11, mean=(0.1, 0.12, 0.14, 0.16))
        both = planted(0.1, 0.11, 0.12, 0.14, mean=(0.1, 0.12, 0.14, 0.16))
        # of version 37: the mean is not known
        (of_37,), part_unknown, _ = planted(0.1, 0.1, 0.1, 0.1, mean=(0.1, None, None, 0.1))
        most_known = planted(0.1, 0.11, 0.12, 0.14, mean=(0.1, None, None, 0.1))
    finally:
        for eid, place in places.items():
            table.update1({**place, "noise_level": levels[eid], "noise_mean": means[eid]})
    first, last = (target.curves[i]["session_date"] for i in (0, -1))
    assert note.startswith(
        f"{target.name}: the traces are noisier from day to day (noise level 0.1 on {first}, 0.14 on "
    )
    assert f"0.14 on {last}; +3" in note and "k_half rise together" in note and "no finding of the code" in note
    assert doubts == ["noise of the traces changes as well"] == fewer
    assert half.endswith("; no finding of the code: noise of the traces changes as well")
    assert "less noisy" in quieter[0] and "k_half fall together" in quieter[0]
    assert unknown.startswith(f"{target.curves[1]['session_date']}: noise of the traces is not known")
    assert not_known == ["whether noise of the traces changes is not known"] and not_known[0] in in_words
    assert steady[:2] == ([], []) and "no finding" not in steady[2]
    assert part.startswith(f"{target.name}: a part of the traces is noisier from day to day (geometric mean of the ")
    assert of_part == ["noise of a part of the traces changes as well"] and "no finding of the code" in part
    assert both[1] == ["noise of the traces changes as well"] and len(both[0]) == 1
    assert part_unknown == ["whether noise of a part of the traces changes is not known"]
    assert "noise of a part of the traces is not known" in of_37
    assert most_known[1] == ["noise of the traces changes as well"]


def test_ceilings_that_alone_move_k_star_are_noted(ndc):
    """Curves whose d'^2 has the same shape on all days, and whose ceilings rise."""
    target = next(one for one in ndc.targets if all(row["verdict"] != "at chance" for row in one.curves))
    points = [point for row in target.curves for point in row["curve"]]
    largest, params = max(point["k"] for point in points), [one.ndc_params for one in ndc.targets]
    table = schemas.NDCResult.Curve()

    def said(tops: tuple[float, ...]) -> list[str]:
        for row, top in zip(target.curves, tops, strict=True):
            for point in row["curve"]:
                share = point["k"] / (point["k"] + 30) * (largest + 30) / largest
                mean = float(ndtr(ndtri(top) * np.sqrt(share)))
                key = {name: point[name] for name in schemas.NDCResult.Curve.primary_key}
                table.update1({**key, "score_mean": mean})
        return [note for note in stored_run(ndc.session_set, params).notes
                if "By this alone" in note and note.startswith(f"{target.name}:")]  # fmt: skip

    try:
        (note,) = said((0.85, 0.92, 0.97, 0.99))
        assert said((0.8, 0.82, 0.83, 0.85)) == []
    finally:
        for point in points:
            key = {name: point[name] for name in schemas.NDCResult.Curve.primary_key}
            table.update1({**key, "score_mean": point["score_mean"]})
    first, last = (target.curves[i]["session_date"] for i in (0, -1))
    ends = f"0.85 on {first} and 0.99 on {last}"
    assert note.startswith(f"{target.name}: the score of {largest} cells lies between {ends}")
    assert "log2 k* at the own ceiling would change by -0." in note and "k_half" in note


def test_days_that_are_not_alike_for_the_line_are_noted(ndc):
    rows = sorted(ndc.curves["choice"], key=lambda row: row["session_date"])
    assert len(rows) == 4
    params = [one.ndc_params for one in ndc.targets]
    first = rows[0]["session_date"]

    def said(*days: int) -> list[str]:
        # numbers of no session, so that two may be of one day
        for number, (row, day) in enumerate(zip(rows, days, strict=True), 70):
            date = first + timedelta(days=day)
            schemas.Session.update1({"eid": row["eid"], "session_date": date, "session_number": number})
        notes = stored_run(ndc.session_set, params).notes
        return [note for note in notes if "count as days of their own" in note or "leverage" in note]

    try:
        assert said(0, 1, 2, 5) == []
        (twice,), (far,) = said(0, 1, 1, 2), said(0, 1, 2, 20)
    finally:
        for row in rows:
            schemas.Session.update1({name: row[name] for name in ("eid", "session_date", "session_number")})
    assert twice.startswith(f"2 sessions on {first + timedelta(days=1)}: ")
    away = np.array([0, 1, 2, 20]) - 5.75
    leverage = 1 / 4 + away[-1] ** 2 / (away @ away)
    assert far.startswith(f"{first + timedelta(days=20)} is far") and f"(leverage {leverage:.2f})" in far


def test_sessions_whose_mouse_the_model_does_not_imitate_are_noted(ndc):
    rows = sorted(ndc.curves["choice"], key=lambda row: row["session_date"])
    params = [one.ndc_params for one in ndc.targets]
    stored = fill([schemas.ChoiceModel], [{"eid": row["eid"]} for row in rows])
    assert stored.errors == []
    before = {row["eid"]: (schemas.ChoiceModel & {"eid": row["eid"]}).fetch1("is_imitated") for row in rows}

    def said(unlike: list[str], names: list[str]) -> list[str]:
        for eid in before:
            schemas.ChoiceModel.update1({"eid": eid, "is_imitated": eid not in unlike})
        return [note for note in stored_run(ndc.session_set, names).notes if "does not imitate" in note]

    try:
        assert said([], params) == []
        (note,) = said([rows[2]["eid"], rows[1]["eid"]], params)
        # nulls that simulate no mouse do not depend on the model
        shifted = NDCSettings("choice", null="circular", ks=(8, 32), r=3, n_label_shuffles=4, n_bootstrap=0)
        plain = run_ndc(list(before), TrackingRun.register("SP999"), [shifted])
        assert said([rows[1]["eid"]], [one.ndc_params for one in plain.targets]) == []
    finally:
        for eid, imitated in before.items():
            schemas.ChoiceModel.update1({"eid": eid, "is_imitated": imitated})
    assert note.startswith(
        f"{rows[1]['session_date']}, {rows[2]['session_date']}: the model of choice does not imitate"
    )


def test_a_curve_that_rounding_alone_put_at_chance_is_named(ndc):
    """A former version took 3 * 0.05 / 3 for more than 0.05."""
    row = ndc.curves["choice"][0]
    key, before = result_key(row), {name: row[name] for name in ("p_curve", "verdict")}
    params = [one.ndc_params for one in ndc.targets]

    def said(p: float) -> list[str]:
        schemas.NDCResult.update1({**key, "p_curve": p, "verdict": "at chance"})
        return [note for note in stored_run(ndc.session_set, params).notes if "by rounding" in note]

    try:
        (note,) = said(3 * 0.05 / 3)
        assert note.startswith(f"{row['session_date']}: 'at chance' at p = 0.05") and "delete()" in note
        assert said(0.0501) == []
    finally:
        schemas.NDCResult.update1({**key, **before})


@pytest.mark.one_backend  # words and numbers
def test_a_family_says_if_a_single_clear_curve_cannot_reach_q(ndc, demo_sessions, tracking, capsys):
    """The smallest p of S shuffles is 1 / (S + 1); scipy adjusts it among curves that are at chance."""
    note = (
        "with 40 shuffles p is 0.024 or more: a single clear curve of 12 cannot reach q = 0.05, 6 together can; with "
        "n_label_shuffles=240 one could (shuffles that are done are kept)"
    )
    assert note in ndc.notes
    print_run(ndc)
    assert note in " ".join(capsys.readouterr().out.split())
    q = {n: false_discovery_control([1 / (n + 1)] + [1.0] * 11)[0] for n in (40, 240)}
    assert q[240] <= 0.05 < q[40]
    q_of_6, q_of_5 = (false_discovery_control([1 / 41] * n + [1.0] * (12 - n))[0] for n in (6, 5))
    assert q_of_6 <= 0.05 < q_of_5
    assert ndc.table["q_least"].tolist() == pytest.approx([q[40]] * 12)
    for n, reachable in ((38, False), (39, True)):
        assert (false_discovery_control([1 / (n + 1), 1.0])[0] <= 0.05) == reachable
        asked = small(r=1, n_label_shuffles=n, null_subsets=1)
        notes = run_ndc(demo_sessions[:2], tracking, [asked]).notes
        assert any("cannot reach q" in text for text in notes) == (not reachable)
        forget(asked)


def test_a_comparison_follows_its_curves(ndc):
    """Deleting a curve deletes the comparison; computing one has the comparison recomputed."""
    family, row = ndc.family, ndc.curves["stimulus"][1]
    before = (schemas.NDCComparison.Result & family).to_dicts(order_by="KEY")
    trends = (schemas.NDCComparison.Trend & family).to_dicts(order_by="KEY")
    assert len(before) == 12
    (schemas.NDCResult & result_key(row)).delete()
    assert len(schemas.NDCComparison & family) == 0
    assert len(schemas.NDCFamily & family) == 1
    schemas.NDCResult.jobs.insert1({**result_key(row), "status": "error", "priority": 5}, skip_duplicates=True)
    fill([schemas.NDCComparison], family)
    assert (schemas.NDCComparison & family).fetch1("n_judged", "n_lacking") == (11, 1)
    retry([schemas.NDCResult])
    fill([schemas.NDCResult])
    assert len(schemas.NDCComparison & family) == 0
    fill([schemas.NDCComparison], family)
    assert (schemas.NDCComparison & family).fetch1("n_judged", "n_lacking") == (12, 0)
    assert (schemas.NDCComparison.Result & family).to_dicts(order_by="KEY") == before
    assert (schemas.NDCComparison.Trend & family).to_dicts(order_by="KEY") == trends


def small(target: str = "choice", **settings) -> NDCSettings:
    return NDCSettings(target=target, **{"ks": (8,), "r": 2, "n_label_shuffles": 2, "n_bootstrap": 4, **settings})


def forget(*settings: NDCSettings) -> None:
    """Delete settings with their results and failures."""
    for one in settings:
        (schemas.NDCParams & schemas.NDCParams.add(one)).delete()
    retry([schemas.TrialFeatures, schemas.NDCResult])


@pytest.fixture(scope="module")
def tracking(demo_sessions) -> dict:
    return tracking_run_of_sessions(demo_sessions)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_a_larger_curve_takes_over_what_is_there(ndc, demo_sessions, tracking):
    first, larger = small(r=3, n_label_shuffles=3), small(ks=(8, 16), r=4, n_label_shuffles=5, null="pseudosession")
    row, other = run_ndc(demo_sessions[:2], tracking, [first]).curves["choice"]
    features = np.asarray((schemas.TrialFeatures & result_key(row)).fetch1("trial_features"))
    trials, use = (schemas.NDCResult.Trial & result_key(row)).to_arrays("trial", "trial_use", order_by="trial")
    labels = (schemas.TrialFeatures.Trial & result_key(row) & "trial_outcome = 'usable'").to_arrays(
        "trial_label", order_by="trial"
    )
    elsewhere = shuffles(row, small(seed=1), trials, row["n_decoded"])
    assert finished_curve(row, small(seed=1), features, use, elsewhere, {}) is None
    shuffled = shuffles(row, larger, trials, row["n_decoded"])
    known = finished_curve(row, larger, features, use, shuffled, {}).curve()
    np.testing.assert_array_equal(known.scores, [point["scores"] for point in row["curve"]])
    np.testing.assert_array_equal(known.null_scores, [point["null_scores"] for point in row["curve"]])
    assert finished_curve(row, larger, features + 1, use, shuffled, {}) is None
    assert finished_curve(row, larger, features, np.roll(use, 1), shuffled, {}) is None
    (found, *_) = run_ndc(demo_sessions[:2], tracking, [larger]).curves["choice"]
    y = np.where(use == "kept", labels.astype(int), -1).astype(np.int8)
    scratch = ndc_curve(features, y, larger, shuffled, compared=inner_scores_of_others(row, [row, other]))
    for i, point in enumerate(found["curve"]):
        assert point["k"] == scratch.ks[i]
        np.testing.assert_array_equal(point["scores"], scratch.scores[i])
        np.testing.assert_array_equal(point["null_scores"], scratch.null_scores[i])
        np.testing.assert_allclose(point["influences"], scratch.influences[i], rtol=1e-9, atol=1e-12)
    forget(first, larger)


def decoded_in(row: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and the labels of the trials that were decoded, from the rows of a result."""
    features = np.asarray((schemas.TrialFeatures & result_key(row)).fetch1("trial_features"))
    use = (schemas.NDCResult.Trial & result_key(row)).to_arrays("trial_use", order_by="trial")
    usable = schemas.TrialFeatures.Trial & result_key(row) & "trial_outcome = 'usable'"
    labels = usable.to_arrays("trial_label", order_by="trial")
    return features[use == "kept"], labels[use == "kept"].astype(int)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_the_choice_beyond_the_stimulus_is_within_side_and_contrast(ndc, demo_sessions, tracking, demo_truth, capsys):
    plain, beyond = with_beyond([small(r=3, n_label_shuffles=3)])
    result = run_ndc(demo_sessions[:2], tracking, [plain, beyond])
    assert list(result.curves) == ["choice", "choice beyond stimulus"]
    for row in result.curves["choice beyond stimulus"]:
        table = pd.read_parquet(next(alf(demo_truth, row["eid"]).glob("**/_ibl_trials.table.pqt")))
        labels = (schemas.TrialFeatures.Trial & result_key(row)).to_arrays("trial_label", order_by="trial")
        use = (schemas.NDCResult.Trial & result_key(row)).to_arrays("trial", "trial_use", order_by="trial")
        kept = use[0][use[1] == "kept"].astype(int)
        # no contrast on the other side: NaN, as in the files
        columns = [table[name].fillna(-1).to_numpy()[kept] for name in ("contrastLeft", "contrastRight")]
        of_stimulus = pd.DataFrame({"left": columns[0], "right": columns[1], "y": labels[kept].astype(int)})
        counts = of_stimulus.groupby(["left", "right"])["y"].agg(["sum", "size"])
        assert row["n_minority"] == np.minimum(counts["sum"], counts["size"] - counts["sum"]).sum()
        assert (row["null_used"], row["class_balance"]) == ("conditional", "none")
        features = np.asarray((schemas.TrialFeatures & result_key(row)).fetch1("trial_features"))
        strata = of_stimulus.groupby(["left", "right"]).ngroup().to_numpy()
        again = neuron_dropping_curve(
            features[use[0].searchsorted(kept)], of_stimulus["y"].to_numpy(), ks=[8], R=3, n_label_shuffles=0,
            penalty="scaled", C=row["c_used"], strata=strata,
        )  # fmt: skip
        assert row["curve"][0]["score_mean"] == pytest.approx(again.mean[0], abs=1e-9)
    assert {row["n_minority"] for row in result.curves["choice"]} == {None}
    result.note_short_curves()
    print_run(result)
    printed = capsys.readouterr().out
    for row in result.curves["choice beyond stimulus"]:
        assert f"{row['n_minority']} on {row['session_date']}" in printed or row["n_minority"] >= 30
    assert "minority" in printed
    forget(plain, beyond)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
@pytest.mark.parametrize("gain", [penalty.GAIN, 0.0])
def test_sessions_of_a_set_share_the_c_of_their_penalty(ndc, demo_sessions, tracking, monkeypatch, gain):
    monkeypatch.setattr(penalty, "GAIN", gain)
    asked = small(penalty="auto", r=3, n_label_shuffles=0)
    result = run_ndc(demo_sessions, tracking, [asked])
    rows = result.curves["choice"]
    inner = [penalty_scores(*decoded_in(row), ks=[row["n_cells"]]) for row in rows]
    best = penalty.CANDIDATES["wide"][int(np.argmax(np.mean(inner, axis=0)))]
    assert gain or len(set(np.argmax(inner, axis=1))) > 1  # else all sessions would choose the same by themselves
    assert {row["c_used"] for row in rows} == {1.0 if gain else best}
    for row in rows:
        for c, found in ((row["c_used"], row["curve"][-1]["score_mean"]), (1.0, row["score_c1"])):
            curve = neuron_dropping_curve(
                *decoded_in(row), ks=[row["n_cells"]], R=3, n_label_shuffles=0, penalty="scaled", C=c
            )
            assert found == pytest.approx(curve.mean[-1], abs=1e-12)
    assert result.table["c_used"].tolist() == [row["c_used"] for row in rows]
    # a session that got features later would change the c of the others, also where numbers of trials are not shared
    alone = small(penalty="auto", equalize_trials=False)
    (first, second) = run_ndc(demo_sessions[:2], tracking, [alone]).curves["choice"]
    (schemas.TrialFeatures & result_key(second)).delete()
    assert len(schemas.NDCResult & result_key(first)) == 1
    fill([schemas.TrialFeatures], result_key(second))
    assert len(schemas.NDCResult & result_key(first)) == 0
    forget(asked, alone)


@pytest.mark.one_backend  # words and figures of rows
def test_former_curves_are_marked_beside_new_ones(ndc, demo_sessions, tracking, capsys):
    asked = [small(penalty="fixed"), small(penalty="scaled")]
    result = run_ndc(demo_sessions[:2], tracking, asked)
    assert list(result.curves) == ["choice (penalty=fixed)", "choice (penalty=scaled)"]
    print_run(result)
    printed = capsys.readouterr().out
    assert "1 (fixed)" in printed and "1/k" in printed
    for title, figure in DrawableRun.of(result).draw().items():
        assert ("C = 1/k" if "scaled" in title else "C = 1 (fixed)") in figure_text(figure)
    forget(*asked)


def figure_text(figure) -> str:
    texts = [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]
    return re.sub(r"[\n\u00a0]", " ", " ".join(texts))


def test_a_curve_is_not_stored_if_the_trials_of_a_donor_were_read_again_meanwhile(
    ndc, demo_sessions, tracking, monkeypatch
):
    """No foreign key leads from another session, whose labels the null takes, to the curve."""
    asked, made = small(null="imposter", n_label_shuffles=1), schemas.NDCResult.make_compute

    def of_other_files(self, key, *fetched):
        *found, files_of_donors = made(self, key, *fetched)
        assert files_of_donors
        return *found, dict.fromkeys(files_of_donors, "f" * 32)

    with monkeypatch.context() as patch:
        patch.setattr(schemas.NDCResult, "make_compute", of_other_files)
        result = run_ndc(demo_sessions[:2], tracking, [asked])
    messages = [str(failure) for failure in result.failures]
    assert any("whose labels the null takes were read again meanwhile" in message for message in messages)
    assert not any(result.curves.values())
    retry([schemas.NDCResult])
    again = run_ndc(demo_sessions[:2], tracking, [asked])
    assert any(again.curves.values())
    forget(asked)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_each_null_says_where_its_labels_came_from(ndc, demo_sessions, tracking):
    asked = [small(null=null) for null in ("permute", "circular", "linear_shift")]
    asked += [small("block", null="permute"), small("block"), small(null="imposter", n_label_shuffles=1)]
    result = run_ndc(demo_sessions[:2], tracking, asked)
    assert result.failures == []
    used = {name: {row["null_used"] for row in rows} for name, rows in result.curves.items()}
    assert list(used.values()) == [
        {"permute"}, {"circular"}, {"linear_shift"}, {"permute"}, {"pseudosession"}, {"imposter"}
    ]  # fmt: skip
    (note,) = [text for text in result.notes if text.startswith("block: drifting activity")]
    assert "null='permute'" in note
    rows = next(rows for name, rows in result.curves.items() if "imposter" in name)
    assert rows
    for row in rows:
        others = [eid for eid in demo_sessions[:2] if eid != row["eid"]]
        assert row["null_donors"] == [eid for eid in others if eid in row["null_donors"]] != []
    edges = (schemas.NDCResult.Trial & "trial_use = 'edge'") * schemas.NDCParams.proj("null_mode")
    assert set(edges.to_arrays("null_mode")) == {"linear_shift"}
    shifted = next(rows for name, rows in result.curves.items() if "linear_shift" in name)
    for row in shifted:
        use = (schemas.NDCResult.Trial & result_key(row)).to_arrays("trial_use", order_by="trial")
        margin = linear_shift_margin(len(use))
        assert set(np.flatnonzero(use == "edge")) == {*range(margin), *range(len(use) - margin, len(use))}
    assert len({row["n_decoded"] for row in shifted}) == 1
    forget(*asked)


# ---------------------------------------------------------------- which cells


def planted_regions(truth) -> dict[str, int]:
    """Region of each shared cell on the first day, by uid, from the files."""
    regions = {}
    for fov, uids in truth.rows[truth.eids[0]].items():
        ids = np.load(alf(truth, truth.eids[0]) / f"FOV_{fov:02d}" / "mpciROIs.brainLocationIds_ccf_2017_estimate.npy")
        regions |= {uid: ids[row] for uid, row in uids.items() if uid in truth.shared_uids}
    return regions


def features_of(row: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return usable trials, features, and FOV and ROI of the cells."""
    features, cells = (schemas.TrialFeatures & result_key(row)).fetch1("trial_features", "feature_cells")
    usable = schemas.TrialFeatures.Trial & result_key(row) & "trial_outcome = 'usable'"
    return usable.to_arrays("trial", order_by="trial"), np.asarray(features), np.asarray(cells)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_cells_of_a_region_are_those_of_the_first_day_on_all_days(ndc, demo_truth, demo_sessions, tracking):
    from iblatlas.regions import BrainRegions

    atlas = BrainRegions()
    within = {
        uid: {"VISam", "RSPagl"} & set(atlas.ancestors(region)["acronym"]) != set()
        for uid, region in planted_regions(demo_truth).items()
    }
    places = [i for i, uid in enumerate(demo_truth.shared_uids) if within[uid]]
    assert 8 < len(places) < len(demo_truth.shared_uids)
    asked = [small(regions=("RSPagl", "VISam")), small(regions=("VISam",), n_cells=10), small(fovs=(0, 2))]
    later, uid = demo_sessions[-1], demo_truth.shared_uids[places[0]]
    fov, roi = next((fov, uids[uid]) for fov, uids in demo_truth.rows[later].items() if uid in uids)
    place = {"eid": later, "fov": fov, "roi": roi}
    region = (schemas.ROI & place).fetch1("region_id")
    schemas.ROI.update1({**place, "region_id": 997})  # a cell that is in another region on the last day
    result = run_ndc(demo_sessions, tracking, asked)
    schemas.ROI.update1({**place, "region_id": int(region)})
    both, one, fovs = result.curves.values()
    for row, whole in zip(both, ndc.curves["choice"], strict=True):
        trials, features, cells = features_of(row)
        all_trials, all_features, all_cells = features_of(whole)
        np.testing.assert_array_equal(cells, all_cells[places])
        assert row["n_cells"] == len(places) == row["curve"][-1]["k"]
        common = np.intersect1d(trials, all_trials)  # fewer FOVs: a trial may be imaged in these only
        assert len(common) > 0.9 * len(trials)
        np.testing.assert_array_equal(
            features[np.isin(trials, common)], all_features[np.isin(all_trials, common)][:, places]
        )
    assert {row["curve"][-1]["k"] for row in one} == {10}
    assert 10 < one[0]["n_cells"] < len(places)
    for row in fovs:
        assert set(features_of(row)[2][:, 0]) == {0, 2}
    assert set(result.table["regions"]) == {"RSPagl, VISam", "VISam", ""}
    figure = DrawableRun.of(result).draw()["choice (regions=all, fovs=0+2, n_cells=0)"]
    assert "10 shared cells" not in figure.axes[0].get_title()
    forget(*asked)


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_random_cells_are_as_many_neurons_of_the_same_session(ndc, demo_truth, demo_sessions, tracking):
    asked = [small(cells="random"), small(cells="random", cells_seed=1)]
    first, second = run_ndc(demo_sessions, tracking, asked).curves.values()
    drawn = []
    for row, other, whole in zip(first, second, ndc.curves["choice"], strict=True):
        trials, features, cells = features_of(row)
        all_trials, all_features, shared = features_of(whole)
        assert cells.shape == shared.shape
        assert len({*map(tuple, cells)}) == len(cells)
        assert {*map(tuple, cells)} - {*map(tuple, shared)}
        assert not np.array_equal(cells, features_of(other)[2])
        for fov in np.unique(cells[:, 0]):
            types = np.load(alf(demo_truth, row["eid"]) / f"FOV_{fov:02d}" / "mpciROIs.mpciROITypes.npy")
            assert types[cells[cells[:, 0] == fov, 1]].all()
        both = [(i, j) for i, one in enumerate(cells.tolist()) for j, two in enumerate(shared.tolist()) if one == two]
        assert both
        np.testing.assert_array_equal(trials, all_trials)
        for i, j in both:
            np.testing.assert_array_equal(features[:, i], all_features[:, j])
        drawn.append(cells.tolist())
    forget(*asked)
    again = run_ndc(demo_sessions, tracking, asked[:1]).curves["choice"]
    assert [features_of(row)[2].tolist() for row in again] == drawn
    forget(asked[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regions": ("CA1",)}, "no shared cell is in the requested regions and FOVs.*regions CA1.*VISp"),
        ({"fovs": (7,)}, "expected FOVs 7, found cells in .*FOV_00 "),
        ({"n_cells": 1000}, "expected 1000 or more, found 120.*Use n_cells=120"),
        ({"null": "imposter", "n_label_shuffles": 50}, "expected 50, found . distinct ones from . sessions"),
        (
            {"fold_mode": "blocked", "fold_gap": 200},
            "with these settings: training fold . has trials of only one",
        ),
        ({"null": "linear_shift", "n_label_shuffles": 500}, "no null linear_shift for this session.*at most, not 500"),
    ],
)
@pytest.mark.one_backend  # reasons are found in Python, from rows that other tests read on both
def test_what_cannot_be_decoded_gives_the_reason(ndc, demo_sessions, tracking, settings, message):
    asked = small(**settings)
    result = run_ndc(demo_sessions, tracking, [asked])
    assert set(result.failed) == set(demo_sessions)
    for eid, text in result.failed.items():
        assert re.search(message, text), text
        assert "Traceback" not in text and "session" in text
        assert eid in text or "regions" in settings or "fovs" in settings
    assert result.table.empty
    print_run(result)
    forget(asked)


def test_a_region_that_the_atlas_lacks_is_refused_before_anything_is_asked(ndc, demo_sessions, tracking):
    n_params = len(schemas.NDCParams())
    with pytest.raises(meso.DataError, match="VISX: not a region of the Allen atlas"):
        run_ndc(demo_sessions, tracking, [small(regions=("VISp", "VISX"))])
    assert len(schemas.NDCParams()) == n_params


def test_every_setting_reaches_the_database_and_back(ndc, demo_sessions, tracking):
    asked = small(
        "stimulus", curve_axis="trials", ks=(5, 40, 60), metric="balanced_accuracy", c_grid=(0.1, 1 / 3, 1e-5),
        fold_mode="blocked", fold_gap=2, penalize_intercept=True, trial_shuffled=True, cells="random", cells_seed=3,
        regions=("VISp", "SSp-bfd"), fovs=(2, 0), class_balance="weights", null="circular", cv_splits=3,
        penalty="fixed",
    )  # fmt: skip
    key = schemas.NDCParams.add(asked)
    assert (schemas.NDCParams & key).settings() == asked
    assert schemas.NDCParams.add(asked) == key
    result = run_ndc(demo_sessions[:2], tracking, [asked, asked])
    assert result.failed == {} and result.settings == [asked]
    for row in result.curves["stimulus"]:
        assert [point["k"] for point in row["curve"]][:2] == [40, 60]
        assert 60 < row["curve"][-1]["k"] <= row["n_decoded"]
        assert len(row["curve"][0]["influences"]) == row["n_decoded"]
    assert DrawableRun.of(result).draw()["stimulus"].axes[0].get_xlabel() != ""
    forget(asked)


@pytest.mark.usefixtures("database")
def test_parameters_are_named_by_their_content():
    one = schemas.NDCParams.add(NDCSettings(target="choice", ks=(8, 16), win_start=-0.1, win_end=0))
    same = schemas.NDCParams.add(NDCSettings(target="choice", ks=[16, 8, 8], event="firstMovement_times"))
    other = schemas.NDCParams.add(NDCSettings(target="choice", ks=(8, 16), delta=0.05))
    seeded = schemas.NDCParams.add(NDCSettings(target="choice", ks=(8, 16), fovs=(1,)))
    assert one == same
    assert len({key["ndc_params"] for key in (one, other, seeded)}) == 3
    assert (schemas.NDCParams & one).settings() == NDCSettings(target="choice", ks=(8, 16))
    assert (schemas.NDCParams & seeded).settings().fovs == (1,)


def test_deleting_a_session_takes_what_depends_on_it_and_nothing_else(ndc, demo_truth, demo_sessions):
    before = meso.neuron_dropping_curves_cached(demo_sessions, **FEW, progress=False, plot=False)
    gone, *rest = demo_sessions[::-1]
    kept = run_ndc(rest, tracking_run_of_sessions(rest), [small()])
    cells = len(schemas.TrackedCell())
    members = len(schemas.TrackedFOV.Member() & [{"eid": eid} for eid in rest])
    rois = len(schemas.ROI() & [{"eid": eid} for eid in rest])
    (schemas.Session & {"eid": gone}).delete()
    for table in (schemas.FOV, schemas.ROI, schemas.Activity, schemas.Behavior, schemas.Embedding, schemas.TrackedFOV):
        assert len(table & {"eid": gone}) == 0
    assert len(schemas.SessionSet & ndc.session_set) == len(schemas.NDCResult & ndc.session_set) == 0
    assert len(schemas.NDCFamily & ndc.family) == len(schemas.NDCComparison & ndc.family) == 0
    assert len(schemas.NDCFamily & kept.family) == len(schemas.NDCComparison & kept.family) == 1
    assert len(schemas.NDCResult & kept.session_set) == len(rest)
    assert len(schemas.TrackedCell()) == cells
    assert len(schemas.TrackedFOV.Member()) == members
    assert len(schemas.ROI() & [{"eid": eid} for eid in rest]) == rois
    from populate_scripts.ingest import ingest

    ingest([gone], cache_dir=demo_truth.root)
    again = meso.neuron_dropping_curves_cached(demo_sessions, **FEW, progress=False, plot=False)
    assert again.session_set == before.session_set == ndc.session_set
    assert again.table.equals(before.table)


def test_quality_of_tracking_is_a_query(demo_truth, demo_sessions):
    """Shared cells under thresholds, against the files."""
    run = tracking_run_of_sessions(demo_sessions)
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
