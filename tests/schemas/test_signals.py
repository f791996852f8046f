"""The same signal of all sessions: read and computed from the files, decoded, refused where it lacks, read again."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.broken_sessions import Repository, remove
from support.statements import statements

import meso
import schemas
import schemas.upkeep.update
from drawing.curves import DrawableRun
from page import queries
from pipeline.decoding import NDCSettings
from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.embedding import EmbeddingSettings, rastermap_order
from pipeline.embedding_days import DaysSettings, rastermap_settings
from pipeline.errors import ArgumentError, DataError, NotFoundError
from pipeline.reading.fov import CLASSIFIER
from pipeline.responses import StabilitySettings
from pipeline.settings.signals import DffSettings, SignalSettings
from pipeline.signals.dff import dff
from pipeline.signals.scaling import scale_rows
from populate_scripts import demo
from populate_scripts.ingest import ingest
from schemas.decoding import tables
from schemas.decoding.results import stored_run
from schemas.decoding.run import run_ndc, shared_set
from schemas.decoding.same_signal import check_same_signal
from schemas.decoding.transfers import run_transfer, stored_transfer
from schemas.exchange.export import export_session
from schemas.exchange.verify import NOTES, verify_session
from schemas.imaging.signals import Signal, SignalParams, SignalTask
from schemas.responses.run import run_stability
from schemas.rows import jobs_of
from schemas.session import trials_of
from schemas.tracking import TrackingRun
from schemas.upkeep.update import update
from schemas.work.filling import SESSION_TABLES, fill
from schemas.work.reports import errors, retry

#: On both, test_backends.py compares the rows, before and after an update and a deletion.
pytestmark = pytest.mark.one_backend

F, NEUROPIL, DECONVOLVED = "mpci.ROIActivityF.npy", "mpci.ROINeuropilActivityF.npy", "mpci.ROIActivityDeconvolved.npy"
#: Key of the default settings of an embedding as version 1 had it.
DEFAULT_EMBEDDING = "cec8d14e79eca706a5bce75840642549"
MIXED = "deconvolved on 2024-01-01; fluorescence on 2024-01-02"
SETTINGS = {"target": "choice", "ks": (4, 8), "r": 2, "n_label_shuffles": 2, "cv_splits": 2, "n_bootstrap": 0}


@pytest.fixture(scope="module")
def lab(database, tmp_path_factory) -> Iterator[Repository]:
    """Four sessions: 'both' has deconvolved traces, 'raw' has none, 'half' none in FOV_01, 'bare' no neuropil there."""
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=2, n_trials=60, n_shared=16, rois_per_fov=40
    )
    repository = Repository(tmp_path_factory.mktemp("signals"), next(made.root.glob("*/Subjects/*/*/001")))
    rng = np.random.default_rng(0)
    for name in ("both", "raw", "bare", "half"):
        for fov in sorted(repository.add(name, "SIG1").glob("FOV_*")):
            raw = np.load(fov / F)
            neuropil = 0.5 * raw.mean(axis=0) + rng.normal(0, 5, raw.shape)
            np.save(fov / NEUROPIL, np.asfortranarray(neuropil, np.float32))
    for fov in repository.alf("raw").glob("FOV_*"):
        (fov / DECONVOLVED).rename(withheld(repository, fov.name))
    (repository.alf("half") / "FOV_01" / DECONVOLVED).unlink()
    (repository.alf("bare") / "FOV_01" / NEUROPIL).unlink()
    write_one_tables(repository.root)
    eids = list(repository.eids.values())
    ingest(eids, cache_dir=repository.root)
    assert fill(SESSION_TABLES, [{"eid": eid} for eid in eids]).errors == []
    yield repository
    remove(repository)
    (SignalParams & SignalParams.keys()).delete()


def withheld(repository: Repository, fov: str) -> Path:
    """Return where the deconvolved traces of a FOV of 'raw' are kept, outside of the repository."""
    return repository.root.parent / f"{repository.root.name}_{fov}_{DECONVOLVED}"


def pair(lab: Repository) -> list[str]:
    return [lab.eids[name] for name in ("both", "raw")]


def loaded(lab: Repository, name: str, fov: int, dataset: str) -> np.ndarray:
    return np.load(lab.alf(name) / f"FOV_{fov:02d}" / dataset).T


@pytest.fixture(scope="module")
def filled(lab) -> dict[str, dict]:
    """The key of each signal of the first two sessions."""
    asked = [SignalSettings("fluorescence"), SignalSettings("dff"), SignalSettings("dff", DffSettings(0.5, 20, 30))]
    SignalTask.ask(pair(lab), asked)
    assert fill([Signal], [{"eid": eid} for eid in pair(lab)]).errors == []
    return {str(one.content()): SignalParams.key_of(one) for one in asked}


def test_traces_are_those_of_the_files(lab, filled):
    of_dff = DffSettings(0.5, 20, 30)
    for name, eid in zip(("both", "raw"), pair(lab), strict=True):
        fovs = [loaded(lab, name, fov, F) for fov in (0, 1)]
        found = schemas.activity(schemas.ROI & {"eid": eid}, signal="fluorescence")
        np.testing.assert_array_equal(found.traces, np.vstack(fovs))
        assert found.traces.dtype == fovs[0].dtype and set(found.signal) == {"fluorescence"}
        for settings in (DffSettings(), of_dff):
            expected = [
                dff(raw, loaded(lab, name, fov, NEUROPIL), loaded(lab, name, fov, "mpci.times.npy"), settings)
                for fov, raw in enumerate(fovs)
            ]
            found = schemas.activity(schemas.ROI & {"eid": eid}, signal=SignalSettings("dff", settings))
            np.testing.assert_array_equal(found.traces, np.vstack(expected))
            assert set(found.signal) == {"dff"}
    frame = found.to_pynapple()[1]
    np.testing.assert_array_equal(frame.d.T, expected[1])
    assert set(frame.metadata["signal"]) == {"dff"}
    some = schemas.activity(schemas.ROI & {"eid": eid, "fov": 1} & "roi in (3, 7)", 30, 40, signal="dff")
    frames = np.searchsorted(loaded(lab, "raw", 1, "mpci.times.npy"), (30, 40))
    whole = dff(fovs[1], loaded(lab, "raw", 1, NEUROPIL), loaded(lab, "raw", 1, "mpci.times.npy"))
    np.testing.assert_array_equal(some.traces, whole[[3, 7], slice(*frames)])


def test_what_activity_has_is_not_stored_again_and_files_are_recorded(lab, filled):
    fluorescence = filled["{'kind': 'fluorescence'}"]
    assert set((Signal & fluorescence).to_arrays("eid")) == {lab.eids["both"]}
    key = {"eid": lab.eids["raw"], "fov": 1, **SignalParams.key_of(SignalSettings("dff"))}
    files = {row["dataset"]: row["sha256"] for row in (Signal.Source & key).to_dicts()}
    folder = lab.folders["raw"]
    expected = {f"alf/FOV_01/{name}" for name in (F, NEUROPIL)}
    assert files == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in expected}
    assert (SignalParams & key).settings() == SignalSettings("dff")
    no_neuropil = SignalSettings("dff", DffSettings(neuropil=0))
    assert not no_neuropil.needs_neuropil
    with pytest.raises(ArgumentError, match="signal must be one of deconvolved, fluorescence, dff"):
        schemas.activity(schemas.ROI & {"eid": lab.eids["raw"]}, signal="spikes")


def by_hand(raw: np.ndarray, times: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[float]:
    """Return the mean of the frames of each window, or the frame nearest to its centre."""
    found = []
    for start, end in zip(starts, ends, strict=True):
        inside = (times >= start) & (times < end)
        found.append(raw[inside].mean() if inside.any() else raw[np.argmin(np.abs(times - (start + end) / 2))])
    return found


def test_sessions_with_different_signals_are_compared_in_the_same_one(lab):
    run = TrackingRun.register("SIG1")
    mixed, same = (
        run_ndc(pair(lab), run, [NDCSettings(**SETTINGS, signal=one)], mixed_signals=not one)
        for one in ("", "fluorescence")
    )
    (note,) = [note for note in mixed.notes if "different signals" in note]
    assert f"compare with care: {MIXED}. With signal='fluorescence' (--signal fluorescence), or 'dff'" in note
    assert mixed.table["signal"].tolist() == ["deconvolved", "fluorescence"]
    assert same.failed == {} and not [note for note in same.notes if "different signals" in note]
    assert same.table["signal"].tolist() == ["fluorescence"] * 2
    (params,) = [target.ndc_params for target in same.targets]
    eid = lab.eids["both"]
    row = (schemas.TrialFeatures & {"ndc_params": params, "eid": eid}).fetch1()
    usable = (schemas.TrialFeatures.Trial & row & "trial_outcome = 'usable'").to_arrays("trial", order_by="trial")
    events = trials_of(eid)["firstMovement_times"][usable.astype(int)]
    for cell in (0, 5):
        fov, roi = row["feature_cells"][cell].tolist()
        offset = (schemas.ROI & {"eid": eid, "fov": fov, "roi": roi}).fetch1("time_offset")
        raw, times = loaded(lab, "both", fov, F)[roi], loaded(lab, "both", fov, "mpci.times.npy") + offset
        np.testing.assert_allclose(
            row["trial_features"][:, cell], by_hand(raw.astype(float), times, events - 0.1, events), rtol=1e-6
        )
    used = (schemas.TrialFeatures.OwnSignal & {"ndc_params": params}).to_arrays("eid")
    assert set(used) == {eid}  # that of the other session is in Activity


def refusal(ask: Callable[..., Any], *given: Any, **options: Any) -> str:
    """Return the message with which a comparison is refused, and check that nothing has been asked for."""
    tasks = schemas.NDCTask, schemas.TransferTask, schemas.StabilityTask
    before = [len(table()) for table in tasks]
    with pytest.raises(DataError) as refused:
        ask(*given, **options)
    assert [len(table()) for table in tasks] == before
    return str(refused.value)


def test_a_comparison_of_different_signals_is_refused_before_anything_is_asked(lab):
    run, settings = TrackingRun.register("SIG1"), [NDCSettings(**SETTINGS | {"r": 3})]
    for ask in (run_ndc, run_transfer):
        text = refusal(ask, pair(lab), run, settings)
        assert f"the sessions were read with different signals (expected one signal, found {MIXED})" in text
        assert "With signal='fluorescence' (--signal fluorescence), or 'dff' where there is neuropil" in text
        assert "leave out sessions" in text and "mixed_signals=True (--mixed-signals)" in text
        # one target of its own signal does not make the other one right
        of_both = [*settings, NDCSettings(**SETTINGS, signal="fluorescence")]
        assert MIXED in refusal(ask, pair(lab), run, of_both)
    text = refusal(run_stability, pair(lab), run)
    assert MIXED in text and "Leave out sessions; mixed_signals=True" in text and "signal='fluorescence'" not in text
    assert MIXED in refusal(meso.neuron_dropping_curves_cached, pair(lab), ["choice"], plot=False, progress=False)
    assert MIXED in refusal(meso.transfer, pair(lab), plot=False, progress=False)
    assert MIXED in refusal(meso.stability, pair(lab), plot=False, progress=False)


def test_days_of_different_signals_are_not_embedded_together(lab):
    with pytest.raises(DataError, match=r"different signals .*fluorescence in .*signal='fluorescence' or signal='dff'"):
        meso.embed_days(pair(lab), plot=False, progress=False)
    assert not schemas.SharedEmbeddingTask & (schemas.SessionSet & {"subject": "SIG1"})


def test_what_is_compared_counts_and_not_what_else_was_read(lab):
    """FOV_01 of one session is of fluorescence: cells of FOV_00 are compared, and all cells are not."""
    eids, run = [lab.eids["both"], lab.eids["half"]], TrackingRun.register("SIG1")
    text = refusal(run_ndc, eids, run, [NDCSettings(**SETTINGS | {"r": 3})])
    assert "found deconvolved on 2024-01-01; deconvolved, fluorescence on 2024-01-04" in text
    assert "2024-01-04" in refusal(run_ndc, eids, run, [NDCSettings(**SETTINGS | {"r": 3}, fovs=(1,))])
    for cells in ("shared", "random"):
        found = run_ndc(eids, run, [NDCSettings(**SETTINGS | {"ks": (2,)}, fovs=(0,), cells=cells)])
        assert found.failed == {} and found.table["signal"].tolist() == ["deconvolved"] * 2
        assert not [note for note in found.notes if "different signals" in note]


def test_the_check_is_one_statement_where_all_were_read_alike(lab):
    run, settings = TrackingRun.register("SIG1"), [NDCSettings(one, regions=("VISp",)) for one in ("choice", "block")]
    alike, _ = shared_set([lab.eids["both"], lab.eids["bare"]], run)
    check_same_signal(alike, settings)
    with statements() as sent:
        check_same_signal(alike, settings)
    assert len(sent) == 1
    mixed, _ = shared_set(pair(lab), run)
    with statements() as sent:
        check_same_signal(mixed, [NDCSettings("choice", signal="dff")])
    assert sent == []


def test_each_pair_of_sessions_is_a_comparison_of_its_own(lab):
    eids = [lab.eids[name] for name in ("both", "raw", "bare")]
    options = {"plot": False, "progress": False, "pairs": "all"}
    settings = {**{name: value for name, value in SETTINGS.items() if name not in ("target", "r")}, "R": SETTINGS["r"]}
    with pytest.warns(UserWarning, match=r"left out: 2024-01-01 2024-01-02: .*different signals"):
        found = meso.neuron_dropping_curves_cached(eids, ["choice"], **options, **settings)
    assert list(found.runs) == ["2024-01-01 2024-01-03"]
    assert MIXED in found.failed["2024-01-01 2024-01-02"]
    assert "deconvolved on 2024-01-03; fluorescence on 2024-01-02" in found.failed["2024-01-02 2024-01-03"]
    found = meso.neuron_dropping_curves_cached(eids, ["choice"], **options, **settings, mixed_signals=True)
    assert found.failed == {} and len(found.runs) == 3


def test_stored_results_of_different_signals_are_returned_and_drawn(lab):
    settings, run = [NDCSettings(**SETTINGS)], TrackingRun.register("SIG1")
    asked = run_ndc(pair(lab), run, settings, mixed_signals=True)
    found = DrawableRun.of(stored_run(asked.session_set, [asked.targets[0].ndc_params]))
    assert [note for note in found.notes if MIXED in note] and len(found.table) == 2
    assert list(found.draw()) == ["choice"]
    transferred = run_transfer(pair(lab), run, settings, mixed_signals=True)
    again = stored_transfer(transferred.session_set, [{"ndc_params": transferred.targets[0].ndc_params}], "own")
    assert [note for note in again.notes if MIXED in note] and len(again.table) == 4
    notes = run_stability(pair(lab), run, settings=StabilitySettings(n_shuffles=200), mixed_signals=True).notes
    assert [note for note in notes if note.endswith(MIXED)]


def test_the_command_line_refuses_different_signals_and_says_which_option_solves_it(lab, meso_command):
    score = ["--r", "2", "--n-label-shuffles", "2", "--target", "stimulus", "--json"]
    few = {
        "ndc": [*score, "--ks", "4,8", "--n-bootstrap", "0"],
        "transfer": score,
        "stability": ["--shuffles", "200", "--json"],
    }
    for command, options in few.items():
        refused = meso_command(command, *pair(lab), *options)
        assert refused.returncode == 1 and MIXED in refused.stderr and "--mixed-signals" in refused.stderr
        assert refused.stdout == ""
        done = meso_command(command, *pair(lab), *options, "--mixed-signals")
        assert json.loads(done.stdout), done.stderr
        if command == "ndc":
            done = meso_command(command, *pair(lab), *options, "--signal", "fluorescence")
            assert done.returncode == 0 and json.loads(done.stdout), done.stderr


def test_the_notebook_returns_the_signal_that_is_asked_for(lab, filled):
    eid, fluorescence = lab.eids["both"], [loaded(lab, "both", fov, F) for fov in (0, 1)]
    some = {"restrict": [5, 0, 60], "filter_neurons": False}
    found = meso.load_or_embed(eid, **some, signal="fluorescence")
    np.testing.assert_array_equal(found["roi_signal"], np.vstack(fluorescence)[[5, 0, 60]])
    assert found["signal"].tolist() == ["fluorescence"] * 3
    plain = meso.load_or_embed(eid, **some)
    assert plain["signal"].tolist() == ["deconvolved"] * 3
    assert sorted(found["isort"]) == sorted(plain["isort"])
    new = SignalSettings("dff", DffSettings(window=45))  # asked for the first time, and computed
    found = meso.load_or_embed(eid, **some, signal=new)
    of_first = dff(
        fluorescence[0], loaded(lab, "both", 0, NEUROPIL), loaded(lab, "both", 0, "mpci.times.npy"), new.of_dff
    )
    np.testing.assert_array_equal(found["roi_signal"][0], of_first[5])


def order_of(traces: np.ndarray) -> list[int]:
    """Return the order of Rastermap of traces, (N, T), computed without the database."""
    return rastermap_order(traces.astype(np.float32), EmbeddingSettings(neurons_only=False, fovs=(0,))).tolist()


def stored_order(key: dict) -> list[int]:
    return (schemas.Embedding.Rank & key).to_arrays("roi", order_by="embedding_rank").tolist()


def test_an_embedding_is_of_the_signal_that_is_asked_for(lab, filled):
    eid, of_one = lab.eids["both"], EmbeddingSettings(neurons_only=False, fovs=(0,))
    plain, raw, of_dff = (
        {"eid": eid, **schemas.EmbeddingParams.add(replace(of_one, signal=one))}
        for one in (None, SignalSettings("fluorescence"), SignalSettings("dff"))
    )
    assert fill([schemas.Embedding, schemas.RasterTiles], [plain, raw, of_dff]).errors == []
    assert stored_order(plain) == order_of(loaded(lab, "both", 0, DECONVOLVED))
    assert stored_order(raw) == order_of(loaded(lab, "both", 0, F))
    times = loaded(lab, "both", 0, "mpci.times.npy")
    expected = dff(loaded(lab, "both", 0, F), loaded(lab, "both", 0, NEUROPIL), times)
    assert stored_order(of_dff) == order_of(expected)
    assert (schemas.EmbeddingParams & of_dff).settings().signal == SignalSettings("dff")
    titles = {row["embedding_params"]: row["title"] for row in queries.session(eid)["embeddings"]}
    assert "FOVs 0, dff:" in titles[of_dff["embedding_params"]] and "FOVs 0:" in titles[plain["embedding_params"]]
    assert queries.raster_key(eid)[0] == plain
    # what a raster shows is the same activity: its tile of full resolution
    tile = {"row_level": 0, "time_level": 0, "tile_row": 0, "tile_column": 0}
    shown = (schemas.RasterTiles.Tile & of_dff & tile).fetch1("tile")
    ordered = scale_rows(expected[stored_order(of_dff)])
    rows, frames = shown.shape
    assert np.corrcoef(shown.ravel().astype(float), ordered[:rows, :frames].ravel())[0, 1] > 0.999


def test_embeddings_of_a_signal_are_of_the_sessions_of_which_it_is_requested(lab, filled):
    settings = EmbeddingSettings(signal=SignalSettings("dff", DffSettings(0.2)))
    params = schemas.EmbeddingParams.add(settings)
    jobs = schemas.Embedding().key_source
    assert not jobs & params
    SignalTask.ask([lab.eids["both"]], [settings.signal])
    assert not jobs & params  # it is not computed yet
    assert fill([Signal], {"eid": lab.eids["both"]}).errors == []
    assert (jobs & params).to_arrays("eid").tolist() == [lab.eids["both"]]
    assert len(jobs & {"eid": lab.eids["raw"]} & schemas.EmbeddingParams.key_of(EmbeddingSettings())) == 1
    (schemas.EmbeddingParams & params).delete()


def test_the_order_of_the_notebook_is_of_the_signal(lab, filled):
    eid = lab.eids["both"]
    found = meso.load_or_embed(eid, signal="fluorescence", filter_neurons=False)
    settings = EmbeddingSettings(neurons_only=False, signal=SignalSettings("fluorescence"))
    key = {"eid": eid, **schemas.EmbeddingParams.key_of(settings)}
    ranked = (schemas.Embedding.Rank & key).to_dicts(order_by="embedding_rank")
    places = [(row["fov"], row["roi"]) for row in (found["roi_keys"][i] for i in found["isort"])]
    assert places == [(row["fov"], row["roi"]) for row in ranked] and len(places) == 88
    # of a session that was read with it, the embedding is the one that is there
    raw = lab.eids["raw"]
    before = len(schemas.EmbeddingParams.OfSignal())
    same, plain = (meso.load_or_embed(raw, signal=one, filter_neurons=False) for one in ("fluorescence", ""))
    np.testing.assert_array_equal(same["isort"], plain["isort"])
    assert len(schemas.EmbeddingParams.OfSignal()) == before and not schemas.Embedding & {**key, "eid": raw}
    figure = meso.plot_raster(eid, signal="fluorescence")
    assert "fluorescence" in figure.get_suptitle() + "".join(ax.get_title(loc) for ax in figure.axes for loc in
                                                             ("left", "center", "right"))  # fmt: skip


def test_an_embedding_goes_with_its_signal_and_former_keys_stay(lab, filled):
    assert schemas.EmbeddingParams.key_of(EmbeddingSettings()) == {"embedding_params": DEFAULT_EMBEDDING}
    settings = EmbeddingSettings(signal=SignalSettings("fluorescence"))
    key = {"eid": lab.eids["both"], **schemas.EmbeddingParams.add(settings)}
    of_default = {"eid": key["eid"], **schemas.EmbeddingParams.add(EmbeddingSettings())}
    assert fill([schemas.Embedding], [key, of_default]).errors == []
    plain = schemas.Embedding & of_default
    assert schemas.Embedding & key and plain
    (Signal & {"eid": key["eid"], "fov": 0} & SignalParams.key_of(settings.signal)).delete()
    assert not schemas.Embedding & key and plain
    assert fill([Signal, schemas.Embedding], {"eid": key["eid"]}).errors == [] and schemas.Embedding & key
    with pytest.raises(ArgumentError, match="signal is a setting of the days"):
        rastermap_settings(DaysSettings(), settings)


def test_both_sessions_are_decoded_from_dff(lab):
    settings = NDCSettings(**SETTINGS, signal="dff", baseline_window=30)
    run = run_ndc(pair(lab), TrackingRun.register("SIG1"), [settings])
    assert run.failed == {} and run.table["signal"].tolist() == ["dff"] * 2
    assert set(run.table["decoded_signal"]) == {"dff"} and set(run.table["dff_window"]) == {30.0}
    kept = schemas.NDCParams & schemas.NDCParams.add(settings)
    assert kept.settings() == settings
    assert kept.settings().own_signal == SignalSettings("dff", DffSettings(window=30))


def test_a_session_without_the_files_is_named(lab):
    run = TrackingRun.register("SIG1")
    failed = run_ndc([lab.eids["both"], lab.eids["bare"]], run, [NDCSettings(**SETTINGS, signal="dff")]).failed
    text = failed[lab.eids["bare"]]
    assert lab.eids["both"] not in failed
    place, missing = f"session {lab.eids['bare']}, FOV_01", f"alf/FOV_01/{NEUROPIL}: the FOV has no such traces"
    assert f"{place}: the FOV has no dff in the database: {missing}" in text
    assert "meso retry Signal" in text and F not in text and text.count("Error") == text.count("session ") == 1
    deconvolved = NDCSettings(**SETTINGS, signal="deconvolved")
    failed = run_ndc(pair(lab), run, [deconvolved]).failed
    assert list(failed) == [lab.eids["raw"]]
    assert f"{DECONVOLVED}: the FOV has no deconvolved traces" in failed[lab.eids["raw"]]
    (schemas.NDCParams & schemas.NDCParams.add(deconvolved)).delete()
    with pytest.raises(NotFoundError, match=r"FOV_00.*has no dff in the database.*not computed yet"):
        schemas.activity(schemas.ROI & {"eid": lab.eids["both"]}, signal=SignalSettings("dff", DffSettings(0.1)))
    retry([Signal, schemas.TrialFeatures])


def test_a_signal_that_failed_is_no_warning_of_what_is_asked_without_it(lab):
    eid = lab.eids["bare"]
    plain = meso.load_or_embed(eid)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NotFoundError, match=f"no dff in the database: alf/FOV_01/{NEUROPIL}"):
            meso.load_or_embed(eid, signal="dff")
        again = meso.load_or_embed(eid)
        meso.plot_xyz(eid)
    np.testing.assert_array_equal(again["roi_signal"], plain["roi_signal"])
    retry([Signal, schemas.Embedding])


def test_settings_of_dff_without_dff_are_refused_and_former_settings_keep_their_keys():
    with pytest.raises(ArgumentError, match="dF/F only: use signal='dff'"):
        NDCSettings("choice", neuropil=0.5)
    with pytest.raises(ArgumentError, match="percentile of 0 to 100"):
        NDCSettings("choice", signal="dff", baseline_percentile=101)
    assert not {"signal", "neuropil", "baseline_window", "baseline_percentile"} & set(NDCSettings("choice").content())


def forget_questions(lab: Repository) -> None:
    """Delete the curves and embeddings that other tests have asked for: each update would compute them again."""
    (schemas.SessionSet & {"subject": "SIG1"}).delete()
    (schemas.Embedding & [{"eid": eid} for eid in pair(lab)]).delete()


# notes on files that change alone: which come depends on what other tests have read before
@pytest.mark.filterwarnings("ignore:session .* have changed:UserWarning")
def test_new_fluorescence_is_read_again_with_what_was_made_of_it(lab, filled):
    forget_questions(lab)
    run = TrackingRun.register("SIG1")
    asked = [NDCSettings(**SETTINGS, signal=one) for one in ("", "fluorescence")]
    of_set = schemas.TrialFeatures & run_ndc(pair(lab), run, asked, mixed_signals=True).session_set
    of_session = [of_set & schemas.NDCParams.add(one) & {"eid": lab.eids["both"]} for one in asked]
    features = [one.fetch1("trial_features") for one in of_session]
    of_signal = EmbeddingSettings(signal=SignalSettings("fluorescence"))
    embedded = {"eid": lab.eids["both"], **schemas.EmbeddingParams.add(of_signal)}
    assert fill([schemas.Embedding], embedded).errors == []
    place = {"eid": lab.eids["both"], "fov": 0}
    n_signals = len(Signal & place)
    path = lab.alf("both") / "FOV_00" / F
    np.save(path, np.asfortranarray(np.load(path) * np.float32(1.5)))
    write_one_tables(lab.root)
    done = update([lab.eids["both"]])
    assert done.failures == []
    assert {change.table for change in done.changes} == {"Signal"}
    assert "FOV" not in done.tables and done.tables["Signal"][0] == len(Signal & place) == n_signals >= 3
    former = schemas.FormerResult & {"update_id": done.update_id, "former_table": "Embedding"}
    assert embedded in former.to_arrays("former_key").tolist() and schemas.Embedding & embedded
    again = [one.fetch1("trial_features") for one in of_session]
    np.testing.assert_array_equal(again[0], features[0])  # of the deconvolved traces, whose files stayed
    fovs = of_session[1].fetch1("feature_cells")
    np.testing.assert_allclose(again[1], features[1] * np.where(fovs[:, 0] == 0, 1.5, 1), rtol=1e-6)
    # all of the FOV changes: its signals go with it, and come again
    for name in (F, DECONVOLVED, CLASSIFIER):
        np.save(lab.alf("both") / "FOV_01" / name, np.load(lab.alf("both") / "FOV_01" / name) / 2)
    write_one_tables(lab.root)
    done = update([lab.eids["both"]])
    assert done.failures == [] and {change.table for change in done.changes} == {"FOV", "Signal"}
    # the fluorescence is of a new extraction, and the neuropil is still that of the former one
    (note,) = [note for note in done.notes if "the FOV was extracted again" in note]
    assert f"alf/FOV_01/{NEUROPIL}" in note.partition("and others have not (")[2]
    found = schemas.activity(schemas.ROI & {"eid": lab.eids["both"], "fov": 1}, signal="fluorescence")
    np.testing.assert_array_equal(found.traces, loaded(lab, "both", 1, F))
    # all of it again, but the neuropil is damaged: nothing is deleted
    n_signals = len(Signal & {"eid": lab.eids["both"]})
    neuropil = (lab.alf("both") / "FOV_01" / NEUROPIL).read_bytes()
    (lab.alf("both") / "FOV_01" / NEUROPIL).write_bytes(neuropil[:-100])
    for name in (F, DECONVOLVED, CLASSIFIER):
        np.save(lab.alf("both") / "FOV_01" / name, np.load(lab.alf("both") / "FOV_01" / name) / 2)
    write_one_tables(lab.root)
    done = update([lab.eids["both"]])
    assert done.update_id == "" and len(Signal & {"eid": lab.eids["both"]}) == n_signals
    assert any(
        f"Signal stays as it is, the new files cannot be used: session {lab.eids['both']}, FOV_01" in text
        and NEUROPIL in text for text in done.failures
    )  # fmt: skip
    (lab.alf("both") / "FOV_01" / NEUROPIL).write_bytes(neuropil)
    write_one_tables(lab.root)
    assert update([lab.eids["both"]]).failures == []


def write_neuropil(lab: Repository, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write the neuropil of both FOVs of 'both' again."""
    for fov in (0, 1):
        path = lab.alf("both") / f"FOV_{fov:02d}" / NEUROPIL
        np.save(path, np.asfortranarray(change(np.load(path)), np.float32))
    write_one_tables(lab.root)


def with_shared_mode(neuropil: np.ndarray) -> np.ndarray:
    return neuropil + 500 * np.random.default_rng(5).normal(size=(len(neuropil), 1))


def test_a_process_that_lives_on_takes_no_scores_of_former_dff(lab, filled):
    """Neither c nor the readouts of the other sessions: only files of ``Signal`` have changed."""
    forget_questions(lab)
    # narrow: means over several k, of which none are equal by chance, as scores of few trials at one k are
    words = {**SETTINGS, "cv_splits": 4, "signal": "dff", "penalty": "auto", "c_range": "narrow", "null": "permute"}
    run, settings = TrackingRun.register("SIG1"), NDCSettings(**words)
    of_set = run_ndc(pair(lab), run, [settings]).session_set
    assert run_transfer(pair(lab), run, [settings]).failures == []
    key = {**of_set, **schemas.NDCParams.add(settings), "eid": lab.eids["raw"]}

    def of_both() -> list[float]:
        """Return inner scores behind c, and the scores of the readouts, of 'both' as 'raw' takes them."""
        assert not fill([schemas.TransferResult], of_set).errors
        _, n_common, _, made_of = schemas.NDCResult().make_fetch(key)
        trained = (schemas.TransferResult.Train & key & {"train_eid": lab.eids["both"]}).fetch1("transfer_score")
        return [*tables._of_other_sessions(key, settings, n_common, made_of).ravel().tolist(), trained]

    before = of_both()
    assert np.isfinite(before).all()
    files = {path: path.read_bytes() for path in lab.alf("both").glob(f"FOV_*/{NEUROPIL}")}
    write_neuropil(lab, with_shared_mode)
    assert update([lab.eids["both"]]).failures == []
    after = of_both()
    for cached in (tables._inner_scores, tables._inner_of, tables._readouts_of):
        cached.cache_clear()
    (schemas.TransferResult & key).delete()
    assert after == of_both()
    assert not set(after) & set(before)
    for path, content in files.items():
        path.write_bytes(content)
    write_one_tables(lab.root)
    assert update([lab.eids["both"]]).failures == []
    assert of_both() == before
    (schemas.NDCParams & {"ndc_params": key["ndc_params"]}).delete()


def test_a_curve_with_c_of_former_dff_of_another_session_is_not_stored(lab, filled, monkeypatch):
    """While the curve of one session is computed, the neuropil of the other is replaced, and read again."""
    run, settings = TrackingRun.register("SIG1"), NDCSettings(**SETTINGS, signal="dff", penalty="auto")
    of_set = run_ndc(pair(lab), run, [settings]).session_set
    key = {**of_set, **schemas.NDCParams.add(settings), "eid": lab.eids["raw"]}
    (schemas.NDCResult & key).delete()
    made, seen = schemas.NDCResult.make_compute, []

    def updated_meanwhile(self, key, *fetched):
        found = made(self, key, *fetched)
        if not seen:
            seen.append(fetched)
            write_neuropil(lab, with_shared_mode)
            assert update([lab.eids["both"]]).failures == []  # the job was found, and taken from its worker
        return found

    monkeypatch.setattr(schemas.NDCResult, "make_compute", updated_meanwhile)
    assert fill([schemas.NDCResult], key).errors == []
    monkeypatch.undo()
    assert seen[0] != schemas.NDCResult().make_fetch(key)  # so that DataJoint alone would refuse it, too
    assert schemas.NDCResult & key and errors() == []
    write_neuropil(lab, lambda neuropil: 2 * neuropil - with_shared_mode(neuropil))
    assert update([lab.eids["both"]]).failures == []
    (schemas.NDCParams & {"ndc_params": key["ndc_params"]}).delete()


@pytest.mark.parametrize("kind", ["curves", "transfer"])
def test_sessions_whose_files_are_replaced_while_their_set_is_computed_are_filled_again(lab, monkeypatch, kind):
    """In the first job of a set, an update in another process has deleted what is made of the neuropil of 'both'.

    It has not read it again yet. Without numbers of trials in common the job of 'raw' is not lost.
    """
    run, settings = TrackingRun.register("SIG1"), NDCSettings(**SETTINGS, signal="dff", equalize_trials=False, seed=8)
    table, ask = {"curves": (schemas.NDCResult, run_ndc), "transfer": (schemas.TransferResult, run_transfer)}[kind]
    files = {path: path.read_bytes() for path in lab.alf("both").glob(f"FOV_*/{NEUROPIL}")}
    fill([Signal], [{"eid": eid} for eid in pair(lab)])  # features wait for every signal that was asked for
    made, seen = table.make_compute, []

    def replaced_meanwhile(self, key, *fetched):
        found = made(self, key, *fetched)
        if not seen:
            seen.append(key)
            write_neuropil(lab, with_shared_mode)
            monkeypatch.setattr(schemas.upkeep.update, "_complete", lambda *_: None)
            assert update([lab.eids["both"]]).failures == []
            others = [key for key in SignalParams.proj().to_dicts() if key != SignalParams.key_of(settings.own_signal)]
            fill([Signal], {"eid": lab.eids["both"]}, others)
            assert not schemas.TrialFeatures & key & {"eid": lab.eids["both"]}
        return found

    monkeypatch.setattr(table, "make_compute", replaced_meanwhile)
    done = ask(pair(lab), run, [settings])
    monkeypatch.undo()
    (target,) = done.targets
    rows = target.curves if kind == "curves" else target.rows
    assert {row["eid"] for row in rows} == set(pair(lab)) and done.failures == []
    assert not any("neither a result nor a failure" in note for note in done.notes)
    for path, content in files.items():
        path.write_bytes(content)
    write_one_tables(lab.root)
    assert update([lab.eids["both"]]).failures == []
    (schemas.NDCParams & schemas.NDCParams.add(settings)).delete()


def test_sessions_that_are_lost_again_and_again_are_named(lab, monkeypatch):
    run, settings = TrackingRun.register("SIG1"), NDCSettings(**SETTINGS, signal="dff", equalize_trials=False, seed=9)
    lost, made = lab.eids["both"], schemas.NDCResult.make_insert

    def lost_meanwhile(self, key, *computed):
        made(self, key, *computed)
        (jobs_of(schemas.NDCResult) & {"eid": lost, "ndc_params": key["ndc_params"]}).delete_quick()

    monkeypatch.setattr(schemas.NDCResult, "make_insert", lost_meanwhile)
    monkeypatch.setattr(schemas.NDCResult, "key_source", schemas.TrialFeatures.proj() & f"eid <> '{lost}'")
    done = run_ndc(pair(lab), run, [settings])
    assert done.table["eid"].tolist() == [lab.eids["raw"]]
    (note,) = [note for note in done.notes if "neither a result nor a failure" in note]
    assert note.startswith(f"session {lost} has neither a result nor a failure (choice): its files were read again")
    (schemas.NDCParams & schemas.NDCParams.add(settings)).delete()


def test_neuropil_of_another_session_is_refused(lab, filled):
    path, other = (lab.alf(name) / "FOV_00" / NEUROPIL for name in ("both", "raw"))
    own, before = path.read_bytes(), len(Signal & {"eid": lab.eids["both"]})
    path.write_bytes(other.read_bytes())
    write_one_tables(lab.root)
    done = update([lab.eids["both"]])
    assert done.update_id == "" and len(Signal & {"eid": lab.eids["both"]}) == before
    assert done.failures
    for text in done.failures:
        assert f"alf/FOV_00/{NEUROPIL}: is a copy of a file that has been read" in text and lab.eids["raw"] in text
    path.write_bytes(own)
    write_one_tables(lab.root)
    assert update([lab.eids["both"]]).changes == []


def test_dff_is_not_made_of_fluorescence_that_replaced_that_of_the_fov(lab):
    """The FOV was read with the former one, whose ROIs may have been others; the new file is as large."""
    path, eid = lab.alf("raw") / "FOV_00" / F, lab.eids["raw"]
    own, settings = path.read_bytes(), SignalSettings("dff", DffSettings(0.3))
    np.save(path, np.asfortranarray(np.load(path)[:, ::-1]))
    write_one_tables(lab.root)
    SignalTask.ask([eid], [settings])
    place = {"eid": eid, "fov": 0, **SignalParams.key_of(settings)}
    ((_, _, message),) = fill([Signal], place).errors
    assert f"session {eid}, FOV_00, alf/FOV_00/{F}: the file is not the one that the FOV was read from" in message
    assert hashlib.sha256(own).hexdigest() in message and f"meso update {eid}" in message
    path.write_bytes(own)
    write_one_tables(lab.root)
    assert retry([Signal]) == 1 and fill([Signal], place).errors == [] and Signal & place
    (SignalParams & SignalParams.key_of(settings)).delete()


def test_equal_settings_of_dff_have_one_key_whatever_numbers_they_are_written_with():
    assert SignalParams.key_of(SignalSettings("dff", DffSettings(window=60))) == SignalParams.key_of(
        SignalSettings("dff", DffSettings())
    )


@pytest.mark.parametrize("kind", ["parquet", "nwb"])
def test_a_signal_that_is_asked_for_is_exported(lab, filled, tmp_path, kind):
    import pynwb

    eid, settings = lab.eids["both"], SignalSettings("dff", DffSettings(0.5, 20, 30))
    path = export_session(eid, kind, tmp_path, signal=settings)
    expected = dff(
        loaded(lab, "both", 1, F), loaded(lab, "both", 1, NEUROPIL), loaded(lab, "both", 1, "mpci.times.npy"),
        settings.of_dff,
    )  # fmt: skip
    if kind == "parquet":
        np.testing.assert_array_equal(np.stack(pd.read_parquet(path / "activity_fov01.parquet")["trace"]), expected)
        fovs, sources = pd.read_parquet(path / "fovs.parquet"), pd.read_parquet(path / "sources.parquet")
        named = fovs[["signal", "dff_neuropil", "dff_window", "dff_percentile"]].to_numpy().tolist()
        assert named == [["dff", 0.5, 20.0, 30.0]] * 2
        assert f"alf/FOV_01/{NEUROPIL}" in set(sources[sources["read_by"] == "Signal"]["dataset"])
        plain = pd.read_parquet(export_session(eid, kind, tmp_path / "plain") / "fovs.parquet")
        assert set(plain["signal"]) == {"deconvolved"} and plain["dff_window"].isna().all()
        return
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        series = file.processing["ophys"]["DfOverF"].roi_response_series["DfOverFFOV01"]
        np.testing.assert_array_equal(series.data[:].T, expected)
        assert "neuropil 0.5, window 20 s, percentile 30" in series.description
        assert "Signal" in set(file.analysis["sources"]["read_by"][:])


def test_an_export_of_a_signal_that_is_not_there_names_what_is_lacking(lab, tmp_path):
    with pytest.raises(NotFoundError, match=r"FOV_00.*has no dff in the database.*not computed yet"):
        export_session(lab.eids["both"], "parquet", tmp_path, signal=SignalSettings("dff", DffSettings(0.11)))
    assert not list(tmp_path.iterdir())


def test_the_command_line_computes_the_signal_that_it_exports_and_draws(lab, meso_command, tmp_path):
    eid = lab.eids["bare"]
    done = meso_command("export", eid, "--format", "parquet", "--signal", "fluorescence", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    traces = pd.read_parquet(Path(done.stdout.strip()) / "activity_fov00.parquet")["trace"]
    np.testing.assert_array_equal(np.stack(traces), loaded(lab, "bare", 0, F))
    done = meso_command("export", eid, "--format", "parquet", "--signal", "dff", "--output", str(tmp_path / "dff"))
    assert done.returncode == 1 and "has no dff in the database" in done.stderr and NEUROPIL in done.stderr
    retry([Signal])
    done = meso_command("raster", lab.eids["both"], "--signal", "fluorescence", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (schemas.SignalTask & {"eid": eid}).delete()


def test_a_session_of_fluorescence_is_exported_as_such(lab, tmp_path):
    import pynwb

    with pynwb.NWBHDF5IO(export_session(lab.eids["raw"], "nwb", tmp_path), "r") as io:
        series = io.read().processing["ophys"]["Fluorescence"].roi_response_series
        assert set(series) == {"FluorescenceFOV00", "FluorescenceFOV01"}


def test_verify_reads_the_traces_of_a_signal_and_compares_them_with_the_files(lab, filled):
    eid = lab.eids["both"]
    n_rois = sum(len(loaded(lab, "both", fov, F)) for fov in (0, 1))
    of_fluorescence = Signal & SignalParams.key_of(SignalSettings("fluorescence")) & {"eid": eid}
    n_signals = len(dict.fromkeys((Signal & {"eid": eid}).to_arrays("signal_params")))

    def faults():
        # the notes are on files that other tests have changed
        return [one for one in verify_session(eid, source=True).findings if one.kind not in NOTES]

    seen = verify_session(eid, source=True)
    assert faults() == [] and seen.traces == n_rois * (1 + n_signals)
    assert seen.compared == 2 * n_rois  # deconvolved and fluorescence; dF/F is computed
    key = of_fluorescence.keys(order_by="fov")[0]
    place = Signal.Trace & key
    traces = {row["roi"]: row["signal_trace"] for row in (place & "roi < 3").to_dicts()}
    name = Signal.Trace.full_table_name
    database, where = Signal.connection, place.where_clause()
    database.query(f"UPDATE {name} SET signal_trace = %s{where} AND roi = 0", args=(b"broken",))
    Signal.Trace.update1({**key, "roi": 1, "signal_trace": traces[2]})
    (place & "roi = 2").delete_quick()
    found = {(one.table, one.kind, one.roi) for one in faults()}
    kinds = (("damaged", 0), ("differs", 1), ("missing", 2))
    assert found == {("Signal.Trace", kind, roi) for kind, roi in kinds}
    for roi in (0, 1):
        Signal.Trace.update1({**key, "roi": roi, "signal_trace": traces[roi]})
    Signal.Trace.insert1({**key, "roi": 2, "signal_trace": traces[2]}, allow_direct_insert=True)
    path = lab.alf("both") / "FOV_00" / NEUROPIL
    own = path.read_bytes()
    np.save(path, np.load(path) + 1)
    kinds = {(one.table, one.kind) for one in faults()}
    assert kinds == {("Signal.Source", "changed")}
    path.write_bytes(own)


def test_signals_go_with_their_activity_and_take_their_features(lab, filled):
    run_ndc(pair(lab), TrackingRun.register("SIG1"), [NDCSettings(**SETTINGS, signal="fluorescence")])
    of_signal = schemas.TrialFeatures.OwnSignal.proj()
    assert of_signal & {"eid": lab.eids["both"]}
    (Signal & {"eid": lab.eids["both"], "fov": 0}).delete()
    assert not of_signal & {"eid": lab.eids["both"]}
    assert Signal & {"eid": lab.eids["both"], "fov": 1}
    (schemas.Activity & {"eid": lab.eids["both"], "fov": 1}).delete()
    assert not Signal & {"eid": lab.eids["both"]} and SignalTask & {"eid": lab.eids["both"]}
    assert fill([schemas.Activity, Signal], {"eid": lab.eids["both"]}).errors == []
    assert len(dict.fromkeys((Signal & {"eid": lab.eids["both"]}).to_arrays("fov"))) == 2


def test_a_day_that_a_former_demo_wrote_without_deconvolved_traces_is_read_again(lab):
    """As the demo does with its own day: the session has the file now, and was read without it."""
    forget_questions(lab)
    eid, said = lab.eids["raw"], []
    mixed = run_ndc(pair(lab), TrackingRun.register("SIG1"), [NDCSettings(**SETTINGS)], mixed_signals=True)
    for fov in lab.alf("raw").glob("FOV_*"):
        withheld(lab, fov.name).rename(fov / DECONVOLVED)
    write_one_tables(lab.root)
    demo.read_again(pair(lab), said.append)
    assert len(said) == 1 and "is read and decoded again" in said[0], said
    assert set((schemas.FOV & {"eid": eid}).to_arrays("signal")) == {"deconvolved"}
    demo.read_again(pair(lab), said.append)
    assert len(said) == 1
    params = [mixed.targets[0].ndc_params]
    alike = stored_run(mixed.session_set, params)  # the questions are asked again, the former results are kept
    assert alike.table["signal"].tolist() == ["deconvolved"] * 2
    assert not [note for note in alike.notes if "different signals" in note]
    assert run_ndc(pair(lab), TrackingRun.register("SIG1"), [NDCSettings(**SETTINGS)]).failed == {}
