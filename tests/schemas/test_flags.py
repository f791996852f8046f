"""Frames that are flagged as bad: not decoded, not embedded, not averaged, blank in pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from support.broken_sessions import Repository, remove
from support.corpus import BAD, QC, QC_NAMES, TIMES

import meso
import schemas
from page import queries
from pipeline.decoding import NDCSettings
from pipeline.demo.repository import write_demo_repository, write_one_tables
from populate_scripts.ingest import ingest
from schemas.decoding.run import run_ndc
from schemas.embedding import Embedding, RasterTiles
from schemas.imaging.reading import flags
from schemas.session import trials_of
from schemas.tracking import TrackingRun
from schemas.work.filling import SESSION_TABLES, fill

pytestmark = pytest.mark.one_backend  # test_corpus.py and test_database.py read and write the columns

SETTINGS = {"target": "choice", "ks": (4, 8), "r": 2, "n_label_shuffles": 2, "cv_splits": 2, "n_bootstrap": 0}
#: Flagged frames of FOV_01 of the session 'flagged': by Suite2p, and a class of the experimenter's.
BY_SUITE2P, BY_EXPERIMENTER = (40, 41, 300), range(500, 520)


@pytest.fixture(scope="module")
def flagged(database, tmp_path_factory) -> Iterator[Repository]:
    """Two sessions of the same activity; one has flagged frames."""
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=2, n_trials=60, n_shared=16, rois_per_fov=40
    )
    repository = Repository(tmp_path_factory.mktemp("flagged"), next(made.root.glob("*/Subjects/*/*/001")))
    for name in ("flagged", "plain"):
        repository.add(name, "BF01")
    fov = repository.alf("flagged") / "FOV_01"
    n_frames = len(np.load(fov / TIMES))
    np.save(fov / BAD, np.isin(np.arange(n_frames), BY_SUITE2P))
    np.save(fov / QC, np.where(np.isin(np.arange(n_frames), BY_EXPERIMENTER), 3, 1).astype(np.uint32))
    (fov / QC_NAMES).write_text("qc_values\tqc_labels\n1\tok\n3\tPMT off\n")
    write_one_tables(repository.root)
    eids = list(repository.eids.values())
    ingest(eids, cache_dir=repository.root)
    assert fill([*SESSION_TABLES, Embedding, RasterTiles], [{"eid": eid} for eid in eids]).errors == []
    yield repository
    remove(repository)


def bad_frames(n_frames: int) -> np.ndarray:
    return np.isin(np.arange(n_frames), [*BY_SUITE2P, *BY_EXPERIMENTER])


def offset_of(eid: str, fov: int, roi: int) -> float:
    return (schemas.ROI & {"eid": eid, "fov": fov, "roi": roi}).fetch1("time_offset")


def test_flags_are_those_of_the_files(flagged):
    eid = flagged.eids["flagged"]
    row = (schemas.Recording & {"eid": eid, "fov": 1}).fetch1()
    assert row["frame_qc_names"] == {"1": "ok", "3": "PMT off"}
    found = flags(eid, [0, 1])
    assert list(found) == [1]
    np.testing.assert_array_equal(found[1], bad_frames(len(row["frame_times"])))
    assert flags(flagged.eids["plain"], [0, 1]) == {}
    names = {source.split("/")[-1] for source in (schemas.FOV.Source & {"eid": eid, "fov": 1}).to_arrays("dataset")}
    assert {BAD, QC, QC_NAMES} <= names


def test_trials_with_a_bad_frame_are_not_decoded_unless_asked(flagged):
    eids = [flagged.eids[name] for name in ("flagged", "plain")]
    run = TrackingRun.register("BF01")
    default, used = (NDCSettings(**SETTINGS, use_flagged_frames=use) for use in (False, True))
    outcomes = {}
    for settings in (default, used):
        result = run_ndc(eids, run, [settings])
        assert result.failed == {}
        params = schemas.NDCParams.add(settings)
        for eid in eids:
            outcomes[settings.use_flagged_frames, eid] = (
                schemas.TrialFeatures.Trial & params & {"eid": eid}
            ).to_arrays("trial_outcome", order_by="trial")
    trials = trials_of(eids[0])
    starts, ends = (trials["firstMovement_times"] + edge for edge in (default.win_start, default.win_end))
    times = np.load(flagged.alf("flagged") / "FOV_01" / TIMES)
    bad = times[bad_frames(len(times))]
    held = np.array([((bad >= start - 0.03) & (bad <= end)).any() for start, end in zip(starts, ends, strict=True)])
    was, now = outcomes[True, eids[0]], outcomes[False, eids[0]]
    assert "bad frame" not in was
    lost = np.flatnonzero(now == "bad frame")
    assert len(lost) >= 1
    assert set(np.flatnonzero((was == "usable") & held)) >= set(lost[held[lost]])
    # the nearest frame may be outside of the window: at most one frame from it
    near = np.array(
        [((bad >= start - 0.3) & (bad <= end + 0.3)).any() for start, end in zip(starts, ends, strict=True)]
    )
    assert near[lost].all() and (was[lost] == "usable").all()
    np.testing.assert_array_equal(np.delete(now, lost), np.delete(was, lost))
    np.testing.assert_array_equal(outcomes[False, eids[1]], outcomes[True, eids[1]])


def test_embeddings_leave_bad_frames_out(flagged):
    clocks, starts = {}, {}
    for name, eid in flagged.eids.items():
        starts[name] = np.load(flagged.alf(name) / "FOV_00" / TIMES)[0]  # the copies are not of the same time
        clocks[name] = np.round((RasterTiles & {"eid": eid}).fetch1("tile_clock") - starts[name], 6)
        assert (Embedding & {"eid": eid}).fetch1("n_clock_frames") == len(clocks[name])
    left_out = np.setdiff1d(clocks["plain"], clocks["flagged"])
    times = np.load(flagged.alf("flagged") / "FOV_01" / TIMES) - starts["flagged"]
    bad = times[bad_frames(len(times))]
    # no other than those within a frame or two of a flagged one, and all from one before it to its end
    assert len(bad) <= len(left_out) <= len(bad) + 3 * 3
    assert np.abs(left_out[:, None] - bad).min(axis=1).max() < 0.45
    assert np.isin(clocks["flagged"], clocks["plain"]).all()


def test_pictures_and_averages_leave_bad_frames_blank(flagged):
    eid = flagged.eids["flagged"]
    times = np.load(flagged.alf("flagged") / "FOV_01" / TIMES)
    cells = meso.load_or_embed(eid)
    assert np.isfinite(cells["roi_signal"]).all()  # as in the files
    shown, clock = meso._shown(eid, cells, np.arange(len(cells["roi_signal"])), (times[480], times[540]), False)
    of_fov = cells["roi_times"].fovs == 1
    inside = (clock > times[500]) & (clock < times[519])
    assert np.isnan(shown[of_fov][:, inside]).all() and inside.sum() > 15
    assert np.isfinite(shown[~of_fov]).all()
    assert np.isfinite(shown[:, (clock < times[498]) | (clock > times[522])]).all()
    trace = queries.trace(eid, 1, 3)
    is_frame = np.isin(trace["times"], np.round(cells["roi_times"].frame_times[1] + offset_of(eid, 1, 3), 3))
    assert len(is_frame) - is_frame.sum() == 1  # the pause between the two bouts
    values = np.array(trace["values"], dtype=float)[is_frame]  # None becomes NaN
    np.testing.assert_array_equal(np.isnan(values), bad_frames(len(times)))
    json.dumps(trace, allow_nan=False)
