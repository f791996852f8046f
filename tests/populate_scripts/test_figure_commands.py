"""`meso map`, `meso tracking` and `meso peri` on the demo: content and provenance of their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.errors import DataError
from pipeline.signals.peri_event import WINDOWS, event_times, peri_event

# On one backend: the questions that the commands ask are compared on both in tests/schemas.
pytestmark = [pytest.mark.usefixtures("demo_sessions"), pytest.mark.one_backend]


@pytest.fixture(scope="module")
def tracked(demo_sessions) -> dict:
    """The key of a tracking run of the demo."""
    from schemas.tracking import TrackedCell, TrackedFOV, TrackingRun
    from schemas.work.filling import fill

    run = TrackingRun.register("SP999")
    assert not fill([TrackedCell, TrackedFOV], run).errors
    return run


@pytest.fixture
def drawn(monkeypatch) -> dict:
    """Record every call of a drawing function: name -> list of (arguments, options)."""
    from pipeline import figures

    calls: dict = {}

    def note(name):
        draw = getattr(figures, name)

        def noted(*args, **options):
            calls.setdefault(name, []).append((args, options))
            return draw(*args, **options)

        monkeypatch.setattr(figures, name, noted)

    for name in ("cell_map", "cell_map_3d", "presence_map", "shared_counts", "survival", "peri_event_lines",
                 "peri_event_map", "raster", "ndc_panels", "score_over_performance"):  # fmt: skip
        note(name)
    return calls


def meso(*args, code: int = 0) -> list[str]:
    """Return the lines that a command prints."""
    from populate_scripts.cli import main

    done = CliRunner().invoke(main, [str(arg) for arg in args])
    assert done.exit_code == code, done.output
    return done.output.splitlines()


def provenance(path) -> dict:
    with Image.open(path) as image:
        assert image.info["Software"].startswith("meso ")
        return json.loads(image.info["Description"])


def test_map_is_of_the_files_of_the_session(demo_sessions, demo_truth, drawn, tmp_path):
    """Positions and regions are those of the ALF files, the neurons of all FOVs."""
    from iblatlas.regions import BrainRegions

    from pipeline.figures import file_stem

    eid, date = demo_sessions[3], demo_truth.dates[3]
    (line,) = meso("map", eid, "--output", tmp_path)
    assert line == str(tmp_path / f"{file_stem('map', 'SP999', date, '001', 'region')}.png")
    assert provenance(line)["eid"] == eid
    (((xyz,), options),) = drawn["cell_map"]
    names = {int(i): str(a) for i, a in zip(BrainRegions().id, BrainRegions().acronym, strict=True)}
    (folder,) = demo_truth.root.rglob(f"{date}/001/alf/")
    expected, regions = [], []
    for fov in sorted(folder.glob("FOV_*")):
        neurons = np.load(*fov.glob("mpciROIs.mpciROITypes.npy")) == 1
        expected.append(np.load(*fov.glob("mpciROIs.mlapdv*.npy"))[neurons])
        regions += [names[int(i)] for i in np.load(*fov.glob("mpciROIs.brainLocationIds*.npy"))[neurons]]
    np.testing.assert_allclose(xyz, np.concatenate(expected))
    assert options["regions"].tolist() == regions and list(options["outlines"]) == []
    assert np.bincount(options["fovs"]).tolist() == [len(one) for one in expected]


def test_map_has_the_outlines_of_the_database(demo_sessions, drawn, tmp_path):
    import schemas

    made = {"name_ml": 0, "name_ap": 0, "name_room": 1, "voxel_size": 50, "iblatlas_version": "1"}
    polygons = [[[0, 0], [0, 900], [900, 900]], [[0, 5], [5, 5], [5, 0]]]
    row = {"region_id": 385, "polygons": polygons, **made, "outlined_at": "2026-01-01"}
    schemas.AtlasOutline.insert1(row)
    try:
        meso("map", demo_sessions[0], "--output", tmp_path)
    finally:
        schemas.AtlasOutline().delete_quick()
    ((_, options),) = drawn["cell_map"]
    assert [corners.tolist() for corners in options["outlines"]] == polygons


def test_map_of_ranks_is_that_of_the_embedding(demo_sessions, drawn, tmp_path):
    import meso as notebook

    eid = demo_sessions[0]
    (line,) = meso("map", eid, "--color", "rank", "--space", "--output", tmp_path)
    (_, options), *_ = drawn["cell_map_3d"]
    order = notebook.load_or_embed(eid)["isort"]
    np.testing.assert_array_equal(np.argsort(options["values"]), order)
    assert set(provenance(line)) >= {"eid", "embedding_params", "environment", "git_commit"}
    meso("map", eid, "--color", "rank", "--all-rois", "--output", tmp_path)
    ((_, wider),) = drawn["cell_map"]
    assert np.isfinite(wider["values"]).sum() == len(order) < len(wider["values"])


@pytest.mark.parametrize("color", ["allen", "cell_probability", "dv", "time_offset"])
def test_map_in_every_colour(demo_sessions, drawn, color, tmp_path):
    import schemas

    meso("map", demo_sessions[0], "--color", color, "--all-rois", "--output", tmp_path)
    ((_, options),) = drawn["cell_map"]
    rois = schemas.ROI & {"eid": demo_sessions[0]}
    if color == "allen":
        rgb = (schemas.BrainRegion & rois.proj("region_id")).to_arrays("acronym", "rgb")
        assert options["region_colors"] == dict(zip(*map(list, rgb), strict=True))
    else:
        np.testing.assert_allclose(options["values"], rois.to_arrays(color, order_by="fov, roi").astype(float))


def test_rasters_name_their_embedding(demo_sessions, tmp_path):
    (line,) = meso("raster", demo_sessions[0], "--t-range", 100, 110, "--output", tmp_path)
    assert set(provenance(line)) == {"eid", "embedding_params", "environment"}


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_drawn(demo_sessions, drawn, tmp_path):
    (tmp_path / "file").write_text("")
    lines = meso("raster", demo_sessions[0], "--output", tmp_path / "file" / "figures", code=2)
    assert f"{tmp_path / 'file'} is a file" in " ".join(lines)
    assert not drawn


def test_trials_above_a_raster_are_those_of_the_files(demo_sessions, demo_truth, drawn, tmp_path):
    import pandas as pd

    eid, date = demo_sessions[1], demo_truth.dates[1]
    meso("raster", eid, "--output", tmp_path)
    (_, options), *_ = drawn["raster"]
    (path,) = demo_truth.root.rglob(f"{date}/001/alf/**/_ibl_trials.table*.pqt")
    table = pd.read_parquet(path)
    np.testing.assert_array_equal(options["block"][0], table["intervals_0"])
    np.testing.assert_array_equal(options["block"][1], table["probabilityLeft"])
    events = options["events"]
    assert list(events) == ["stimulus on", "first movement", "reward", "error"]
    np.testing.assert_array_equal(events["first movement"], table["firstMovement_times"])
    rewarded = table["feedbackType"] == 1
    np.testing.assert_array_equal(events["reward"], table["feedback_times"].where(rewarded))
    np.testing.assert_array_equal(events["error"], table["feedback_times"].where(~rewarded))
    meso("raster", eid, "--no-trials", "--output", tmp_path)
    assert not {"events", "block"} & set(drawn["raster"][1][1])


def test_a_row_of_tracked_rasters_is_the_same_cell_in_every_file(tracked, demo_sessions, demo_truth, drawn, tmp_path):
    """Each row of each figure is found in the files of the session by its trace; the UID file says which cell it is."""
    import meso as notebook
    from schemas.tracking import SessionSet

    eids = [demo_sessions[2], demo_sessions[0]]
    lines = meso("raster", *eids, "--tracked", "--t-range", 100, 400, "--output", tmp_path)
    found = []
    for eid, (args, options) in zip(eids, drawn["raster"], strict=True):
        shown = args[0][options["order"]]
        (folder,) = demo_truth.root.rglob(f"{demo_truth.dates[demo_truth.eids.index(eid)]}/001/alf/")
        own: list = [None] * len(shown)
        for fov, rows in demo_truth.rows[eid].items():
            traces = np.load(*folder.glob(f"FOV_{fov:02d}/mpci.ROIActivityDeconvolved*.npy"))
            times = np.load(*folder.glob(f"FOV_{fov:02d}/mpci.times*.npy"))
            for uid, row in rows.items():
                match = np.corrcoef(np.interp(args[1], times, traces[:, row]), shown)[0, 1:]
                own[int(match.argmax())] = uid
                assert match.max() > 0.8
        found.append(own)
    assert found[0] == found[1]
    assert set(found[0]) - {None} == set(demo_truth.shared_uids)  # None: shared by these two days, not by all
    assert len({tuple(sorted(options["region_colors"].items())) for _, options in drawn["raster"]}) == 1
    rows = notebook.match_tracked_indices_across_sessions(eids[0], eids[1:])
    cells = notebook.load_or_embed(eids[0], restrict=rows[eids[0]])
    np.testing.assert_array_equal(drawn["raster"][0][1]["order"], cells["isort"])
    said = [provenance(line) for line in lines]
    assert [one["eid"] for one in said] == eids and {one["order_of"]["eid"] for one in said} == {eids[0]}
    assert {one["session_set"] for one in said} == {SessionSet.add(eids, tracked)["session_set"]}
    assert "--tracked" in meso("raster", eids[0], "--tracked", code=1)[-1]
    assert "--tracked" in meso("raster", eids[0], "--tracking-run", "a", code=2)[-1]


def test_tracking_is_what_the_uid_files_say(tracked, demo_truth, drawn, tmp_path):
    from schemas.tracking import SessionSet, SharedCells
    from schemas.work.filling import fill

    lines = meso("tracking", "SP999", "--output", tmp_path)
    assert [Path(line).name.split("_")[1] for line in lines] == ["presence", "shared", "survival"]
    assert provenance(lines[0])["tracking_run"] == tracked["tracking_run"]
    (((presence, dates), _),) = drawn["presence_map"]
    assert dates == list(demo_truth.dates)
    assert presence.all(axis=1).sum() == len(demo_truth.shared_uids)
    key = SessionSet.add(demo_truth.eids[:2], tracked)
    fill([SharedCells], key)
    assert presence[:, :2].all(axis=1).sum() == (SharedCells & key).fetch1("n_shared")
    assert presence.any(axis=1).all()
    meso("tracking", "SP999", "--all-rois", "--output", tmp_path)
    assert drawn["presence_map"][1][0][0].sum() > presence.sum()


def test_curves_of_regions_end_at_the_cells_of_the_poorest(tracked, demo_sessions, demo_truth, drawn, tmp_path):
    """How many shared cells are where is read from the files of the first day."""
    from iblatlas.regions import BrainRegions

    first, regions = demo_sessions[0], BrainRegions()
    (folder,) = demo_truth.root.rglob(f"{demo_truth.dates[0]}/001/alf/")
    ids = [np.load(*(folder / f"FOV_{fov:02d}").glob("mpciROIs.brainLocationIds*.npy"))[list(rows.values())]
           for fov, rows in demo_truth.rows[first].items()]  # fmt: skip
    areas = regions.acronym2acronym(regions.id2acronym(np.abs(np.concatenate(ids))), mapping="Beryl").tolist()
    quick = ("--target", "choice", "--ks", "2,4", "-R", 2, "--n-label-shuffles", 2, "--n-bootstrap", 0)
    meso("ndc", *demo_sessions, *quick, "--by-region", "VISp,VISam", "--output", tmp_path)
    ((panels,), options), (_, beyond) = drawn["ndc_panels"]
    assert "choice beyond stimulus by region" in beyond["title"]
    assert list(panels) == ["VISp", "VISam"]
    fewest = min(areas.count("VISp"), areas.count("VISam"))
    assert {tuple(curve.ks) for curves in panels.values() for curve in curves} == {(2, 4, fewest)}
    assert [str(curve.date) for curve in panels["VISp"]] == list(demo_truth.dates)
    assert f"choice by region, up to {fewest} shared cells" in options["title"]
    (path,) = tmp_path.glob("ndc_regions_choice_SP999_*.png")
    assert set(provenance(path)) == {"subject", "session_set", "ndc_family", "made_of", "figure"}
    meso("ndc", *demo_sessions, *quick, "--by-region", "VISp", "--regions", "VISam", code=2)
    meso("ndc", *demo_sessions, *quick, "--by-region", "VISp", "--curve-axis", "trials", code=2)
    assert "CA1" in meso("ndc", *demo_sessions, *quick, "--by-region", "VISp,CA1", code=1)[-1]


def test_performance_is_the_share_of_rewarded_trials_in_the_files(tracked, demo_sessions, demo_truth, drawn, tmp_path):
    import pandas as pd

    quick = ("--target", "feedback", "--ks", "4", "-R", 2, "--n-label-shuffles", 2, "--n-bootstrap", 0)
    meso("ndc", *demo_sessions, *quick, "--output", tmp_path)
    (((panels,), _),) = drawn["score_over_performance"]
    tables = [pd.read_parquet(*demo_truth.root.rglob(f"{date}/001/alf/**/_ibl_trials.table*.pqt"))
              for date in demo_truth.dates]  # fmt: skip
    expected = [(table["feedbackType"] == 1).mean() for table in tables]
    np.testing.assert_allclose([curve.performance for curve in panels["feedback"]], expected)


def test_peri_event_averages_are_those_of_the_regions(demo_sessions, drawn, tmp_path):
    import schemas
    from schemas.session import trials_of

    eid = demo_sessions[3]
    windows = ("--window", "fback1", "--window", "fback0")
    lines = meso("peri", eid, *windows, "--cells", "--by", "region", "--output", tmp_path)
    assert len(lines) == 3
    said = provenance(lines[0])
    assert (
        said["eid"] == eid and said["windows"]["fback1"]["event"] == "feedback_times" and len(said["parameters"]) == 32
    )
    (((panels,), options),) = drawn["peri_event_lines"]
    assert (options["event"], options["window"]) == ("feedback", (0.0, 0.3))
    cells = schemas.activity(schemas.ROI & "is_neuron" & {"eid": eid})
    ids = (schemas.ROI & "is_neuron" & {"eid": eid}).to_arrays("region_id", order_by="fov, roi")
    number, name = (schemas.BrainRegion & {"acronym": "VISp1"} & "region_id > 0").fetch1("region_id", "acronym")
    own = np.flatnonzero(ids == number)
    (lines_of,) = [lines for title, lines in panels.items() if title == f"{name} ({len(own)})"]
    for average, window in zip(lines_of, ("fback1", "fback0"), strict=True):
        events = event_times(window, trials_of(eid))
        groups = np.where(ids == number, "own", "rest")
        found = peri_event(cells.traces, cells.times, events, edges=average.edges, groups=groups)
        np.testing.assert_allclose(average.mean, found.mean[0])
        np.testing.assert_array_equal(average.n_trials, found.n_trials[0])
        assert average.label == window


def test_order_of_cells_is_of_other_trials_than_are_shown(demo_sessions, drawn, tmp_path):
    import schemas
    from pipeline.figures.peri_event import peak_order
    from schemas.session import trials_of

    eid = demo_sessions[0]
    meso("peri", eid, "--cells", "--window", "quiescence", "--around", -1, 1, "--output", tmp_path)
    (((mean, edges), options),) = drawn["peri_event_map"]
    cells = schemas.activity(schemas.ROI & "is_neuron" & {"eid": eid})
    events = event_times("quiescence", trials_of(eid))
    events = events[np.isfinite(events)]
    odd, even = (peri_event(cells.traces, cells.times, events[i::2], edges=edges).mean for i in (0, 1))
    np.testing.assert_array_equal(mean, even)
    np.testing.assert_array_equal(options["order"], peak_order(odd))


def test_all_windows_can_be_drawn(demo_sessions, drawn, tmp_path):
    options = [option for name in WINDOWS for option in ("--window", name)]
    (line,) = meso("peri", demo_sessions[1], *options, "--by", "all", "--format", "svg", "--output", tmp_path)
    ((((panels,), drawing),)) = drawn["peri_event_lines"]
    (averages,) = panels.values()
    assert [average.label for average in averages] == list(WINDOWS)
    assert drawing["window"] is None
    assert line.endswith(".svg")


def test_missing_data_are_named(demo_sessions, tmp_path):
    from schemas.embedding import embedding_of

    assert "not registered" in meso("map", "none", code=1)[-1]
    assert "meso track nobody" in meso("tracking", "nobody", code=1)[-1]
    assert "choiceL" in meso("peri", demo_sessions[0], "--window", "choice", code=2)[-1]
    meso("peri", demo_sessions[0], "--around", 1, 0, code=2)
    with pytest.raises(DataError, match="meso populate Embedding --eid none"):
        embedding_of("none")
