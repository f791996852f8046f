"""A small ONE repository with planted effects, for the demo and the tests.

One mouse, a few days, a few fields of view (FOVs), with the file names, dtypes, memory orders and irregularities of
International Brain Laboratory mesoscope sessions. The ordinary offline client ``one.api.ONE(cache_dir=root)``
reads it.

What is planted, and why
------------------------
* **Shared cells** are tracked on every day, in a different row each day. On every day some of them are
  *informative* about choice, feedback and stimulus side: active in a short window on the trials of their preferred
  class, all about equally and reliably. The informative set only grows over days (nested sets, 6 to 53 of 120).
  A few informative cells in a random subset are enough, so the number of cells needed, k*, depends on how rare
  informative cells are, and falls from day to day: the code spreads over more cells.
* **Lapses**: on a fixed fraction of the trials of each class all cells represent the other class (for the stimulus,
  also on many of the zero-contrast trials). They limit the ceiling to about the same value on all days, so that k*
  measures how the code is spread over cells and not its quality.
* Other regions of interest (ROIs) carry sparse events, assemblies that follow running with a lag
  (sequences), stillness, or slow states, so that a sorted raster has structure.
* Irregularities that occur in valid sessions: day 1 has its trials directly in ``alf/``; day 3 has final brain
  locations besides the estimates; the last day has two imaging bouts with a gap of 20 s. Some event times are NaN,
  some trials have no choice, untracked ROIs are blank lines or a literal ``nan``, two ROIs per FOV are in root (no
  region). All days have deconvolved traces: sessions without them can be compared with others by fluorescence only.

The parameters and the seed determine every byte.
"""

from __future__ import annotations

import datetime
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.demo.activity import (
    LINE_PERIOD,
    fov_delay,
    frame_clock,
    make_drives,
    make_events,
    make_neuropil,
    make_traces,
)
from pipeline.demo.behavior import Behaviour, Day, make_behaviour
from pipeline.demo.truth import (
    AREAS,
    CENTRES,
    FIRST_DATE,
    N_LINES,
    NAMESPACE,
    ROOT_ID,
    UM_PER_PIXEL,
    WITHOUT_NEUROPIL,
    Cells,
    Cohort,
    DemoTruth,
    Layout,
    Params,
    check_params,
    dates,
    existing_truth,
    make_cohort,
    make_layout,
    make_truth,
    uuids,
    write_marker,
    written_version,
)

LAB, SUBJECT, NUMBER = "demolab", "SP999", 1


SESSION_GLOB = "*/Subjects/*/????-??-??/[0-9][0-9][0-9]"


def write_demo_repository(
    root: str | Path,
    *,
    seed: int = 0,
    n_days: int = 4,
    n_fovs: int = 3,
    n_trials: int = 260,
    n_shared: int = 120,
    rois_per_fov: int = 215,
) -> DemoTruth:
    """Write the demo repository to `root`, unless it is there already.

    Parameters
    ----------
    root : path
        A folder that is missing, empty, or holds a demo of the same parameters. A complete demo is not written again,
        an interrupted one, or one of a former version, is. To one without neuropil only that is added.
    seed : int
        The same seed and parameters give the same bytes.
    n_days, n_fovs, n_trials : int
        Number of sessions, of FOVs per session, and of trials per session (about 4.5 s each).
    n_shared : int
        Number of cells tracked on all days, over all FOVs.
    rois_per_fov : int
        Mean number of ROIs in a FOV; the FOVs differ by up to 20 % and the days by some ROIs.

    Returns
    -------
    DemoTruth

    Raises
    ------
    pipeline.errors.ConfigError
        `root` holds something else, or the parameters are inconsistent.
    """
    root = Path(root).expanduser().resolve()
    params = Params(seed, n_days, n_fovs, n_trials, n_shared, rois_per_fov)
    check_params(params)
    truth = existing_truth(root, params)
    if truth is not None:
        if written_version(root) in WITHOUT_NEUROPIL:
            for number, date in enumerate(dates(n_days)):
                _write_neuropil(root / LAB / "Subjects" / SUBJECT / date / f"{NUMBER:03d}", params, number)
            write_one_tables(root)
            write_marker(root, params, truth)
        return truth
    root.mkdir(parents=True, exist_ok=True)
    write_marker(root, params, None)  # before the data: an interrupted demo is recognised and written again
    cohort = make_cohort(params)
    rows = {}
    for day, date in enumerate(dates(n_days)):
        session = root / LAB / "Subjects" / SUBJECT / date / f"{NUMBER:03d}"
        rows[session_eid(LAB, SUBJECT, date, NUMBER)] = write_session(session, params, cohort, day)
    write_one_tables(root)
    truth = make_truth(root, params, cohort, rows)
    write_marker(root, params, truth)
    return truth


def session_eid(lab: str, subject: str, date: str | datetime.date, number: int | str) -> str:
    """Return the session id (version 3 UUID) that `write_one_tables` gives to ``lab/subject/date/number``."""
    return str(uuid.uuid3(NAMESPACE, f"{lab}/{subject}/{date}/{int(number):03d}"))


def write_one_tables(root: str | Path) -> tuple[str, ...]:
    """Write ``sessions.pqt`` and ``datasets.pqt`` for the sessions and ALF files below `root`, replacing old ones.

    It lists folders ``lab/Subjects/subject/date/number`` and all files with an ALF name in them. Ids depend only on
    paths, so they stay the same when tables are rewritten. The last revision of a dataset is the default.

    Returns
    -------
    tuple of str
        Session ids, in the order of their paths.
    """
    import pandas as pd
    from iblutil.io import parquet
    from one.alf.cache import DATASETS_COLUMNS, SESSIONS_COLUMNS

    root = Path(root)
    folders = [path for path in sorted(root.glob(SESSION_GLOB)) if path.is_dir()]
    sessions = pd.DataFrame([_session_record(path) for path in folders], columns=list(SESSIONS_COLUMNS))
    records = [record for path in folders for record in _dataset_records(path)]
    datasets = pd.DataFrame(records, columns=[*DATASETS_COLUMNS, "default_revision"])
    # The date of the last session and not of today: rewriting the tables of the same files must give the same bytes.
    last = max((str(date) for date in sessions["date"]), default=str(FIRST_DATE))
    metadata = {"date_created": f"{last} 23:59", "origin": "pipeline.demo_data"}
    parquet.save(root / "sessions.pqt", sessions.astype(SESSIONS_COLUMNS).set_index("id"), metadata)
    datasets = datasets.astype(DATASETS_COLUMNS | {"default_revision": bool}).set_index(["eid", "id"])
    parquet.save(root / "datasets.pqt", datasets.sort_index(), metadata)
    return tuple(sessions["id"])


def _session_parts(folder: Path) -> tuple[str, str, str, str]:
    """Return lab, subject, date and number of a session folder."""
    lab, _, subject, date, number = folder.parts[-5:]
    return lab, subject, date, number


def _session_record(folder: Path) -> tuple[Any, ...]:
    lab, subject, date, number = _session_parts(folder)
    protocol, project = "_iblrig_tasks_biasedChoiceWorld8.27.1", "ibl_mesoscope_active"
    day = datetime.date.fromisoformat(date)
    return session_eid(lab, subject, date, number), lab, subject, day, int(number), protocol, project


def _dataset_records(folder: Path) -> list[tuple[Any, ...]]:
    """Return one record per ALF file of a session: eid, id, path, size, hash, exists, qc, default revision."""
    from one.alf.spec import is_valid

    eid = session_eid(*_session_parts(folder))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_valid(path.name)]
    paths = [path.relative_to(folder).as_posix() for path in files]
    newest: dict[str, str] = {}
    # the last of each name wins: revisions are dates, which sort as text
    for path in sorted(paths, key=_revision):
        newest[_without_revision(path)] = path
    defaults = set(newest.values())
    # Without a hash, which the client would otherwise compute and compare at every load.
    return [
        (eid, _dataset_id(eid, path), path, file.stat().st_size, None, True, "NOT_SET", path in defaults)
        for file, path in zip(files, paths, strict=True)
    ]


def _dataset_id(eid: str, path: str) -> str:
    return str(uuid.uuid3(NAMESPACE, f"{eid}/{path}"))


def _revision(path: str) -> str:
    """Return the revision of a dataset path, "" if none: ``alf/FOV_00/#2025-01-01#/x.npy`` -> ``2025-01-01``."""
    return next((part.strip("#") for part in path.split("/")[:-1] if part.startswith("#")), "")


def _without_revision(path: str) -> str:
    return "/".join(part for part in path.split("/") if not part.startswith("#"))


def write_session(folder: Path, params: Params, cohort: Cohort, number: int) -> dict[int, dict[str, int]]:
    """Write the files of one day; return FOV -> uid of a shared cell -> row."""
    behaviour = make_behaviour(params, number)
    alf = folder / "alf"
    _write_behaviour(alf if number == 0 else alf / "task_00", behaviour)
    clock = frame_clock(params, number, behaviour.trials["intervals_1"].iloc[-1])
    drives = make_drives(params, number, clock, behaviour)
    codes = {target: code[number] for target, code in cohort.codes.items()}
    day = Day(params, number, behaviour, clock, drives, codes)
    rows = {}
    for fov, cells in enumerate(cohort.fovs):
        layout = make_layout(params, cells, number, fov)
        path = alf / f"FOV_{fov:02d}"
        path.mkdir(parents=True, exist_ok=True)
        _write_activity(path, day, fov, cells, layout)
        _write_rois(path, day, fov, layout)
        _write_tracking(path, params.rng(9, number, fov), cells, layout)
        rows[fov] = _shared_rows(layout, cells)
    _write_neuropil(folder, params, number)
    return rows


def _shared_rows(layout: Layout, cells: Cells) -> dict[str, int]:
    """Return the row of each shared cell by uid, sorted by uid."""
    found = np.flatnonzero((layout.member >= 0) & (layout.member < cells.n_shared))
    return dict(sorted((str(cells.uids[layout.member[row]]), int(row)) for row in found))


def _write_behaviour(folder: Path, behaviour: Behaviour) -> None:
    from iblutil.io import parquet

    folder.mkdir(parents=True, exist_ok=True)
    parquet.save(folder / "_ibl_trials.table.pqt", behaviour.trials)
    np.save(folder / "_ibl_trials.quiescencePeriod.npy", behaviour.quiescence)
    np.save(folder / "_ibl_trials.stimOff_times.npy", behaviour.stim_off)
    np.save(folder / "_ibl_wheel.timestamps.npy", behaviour.wheel_times)
    np.save(folder / "_ibl_wheel.position.npy", behaviour.wheel_position)


def _write_activity(path: Path, day: Day, fov: int, cells: Cells, layout: Layout) -> None:
    """Write clock and traces of a FOV. The traces are (T, N) in Fortran order: each ROI is contiguous on disk."""
    events = make_events(day, fov, cells, layout)
    fluorescence, deconvolved = make_traces(day.params.rng(8, day.number, fov), events, layout.is_cell)
    np.save(path / "mpci.times.npy", day.clock + fov_delay(day.params, fov))
    np.save(path / "mpciStack.timeshift.npy", np.arange(N_LINES) * LINE_PERIOD)
    np.save(path / "mpci.ROIActivityF.npy", fluorescence.T)
    np.save(path / "mpci.ROIActivityDeconvolved.npy", deconvolved.T)


def _write_neuropil(folder: Path, params: Params, number: int) -> None:
    """Write the neuropil beside the fluorescence of each FOV of a day, from the files that are there."""
    for fov, path in enumerate(sorted((folder / "alf").glob("FOV_*"))):
        positions = np.load(path / "mpciROIs.stackPos.npy")[:, :2]
        neuropil = make_neuropil(params.rng(10, number, fov), positions, len(np.load(path / "mpci.times.npy")))
        np.save(path / "mpci.ROINeuropilActivityF.npy", neuropil.T)


def _write_rois(path: Path, day: Day, fov: int, layout: Layout) -> None:
    """Write types, positions in the image and in the brain, and ids of the ROIs."""
    rng = day.params.rng(7, day.number, fov)
    n_rois = len(layout.member)
    score = np.where(layout.is_cell, 0.5 + 0.5 * rng.beta(4, 1.5, n_rois), 0.5 * rng.beta(1.5, 4, n_rois))
    np.save(path / "mpciROIs.mpciROITypes.npy", layout.is_cell.astype(np.int16))
    (path / "mpciROITypes.names.tsv").write_text("roi_values\troi_labels\n0\tno cell\n1\tcell\n", encoding="utf-8")
    np.save(path / "mpciROIs.cellClassifier.npy", score)
    np.save(path / "mpciROIs.stackPos.npy", np.c_[layout.positions, np.zeros(n_rois, dtype=np.int64)])
    (path / "mpciROIs.uuids.csv").write_text("\n".join(["uuids", *uuids(rng, n_rois)]), encoding="utf-8")
    _write_places(path, fov, layout, shift=0.0, suffix="_estimate")
    if day.number == min(2, day.params.n_days - 1):
        # histology moves the cells, so that it matters which of the two positions is read
        _write_places(path, fov, layout, shift=60.0, suffix="")


def _write_places(path: Path, fov: int, layout: Layout, *, shift: float, suffix: str) -> None:
    """Write ML, AP, DV (N, 3) float64 in µm from bregma, and Allen ids (N,) int64.

    `shift` in µm is the difference between positions from histology and their estimates.
    """
    line, column = layout.positions.T
    ml, ap, dv = CENTRES[fov % len(CENTRES)]
    ml = ml + shift + (column - N_LINES / 2) * UM_PER_PIXEL
    ap = ap + shift + (N_LINES / 2 - line) * UM_PER_PIXEL
    depth = 60.0 + 0.15 * line + 0.5 * shift
    areas = np.array(AREAS[fov % len(AREAS)])
    middle = N_LINES / 2 + shift / UM_PER_PIXEL
    ids = areas[(column >= middle).astype(int), (depth > 100).astype(int)].astype(np.int64)
    ids[np.flatnonzero(layout.member < 0)[:2]] = ROOT_ID
    np.save(path / f"mpciROIs.mlapdv{suffix}.npy", np.c_[ml, ap, dv - depth])
    np.save(path / f"mpciROIs.brainLocationIds_ccf_2017{suffix}.npy", ids)


def _write_tracking(path: Path, rng: np.random.Generator, cells: Cells, layout: Layout) -> None:
    """Write UIDs (one line per ROI, blank if untracked, a literal nan in some files) and silhouettes (N, 1)."""
    tracked = layout.member >= 0
    shared = tracked & (layout.member < cells.n_shared)
    lines = np.where(tracked, cells.uids[layout.member], "")
    if rng.random() < 0.5:
        lines[rng.choice(np.flatnonzero(~tracked))] = "nan"
    quality = np.where(shared, rng.uniform(0.3, 0.95, len(lines)), rng.uniform(0.05, 0.9, len(lines)))
    np.save(path / "mpciROIs.clusterSilhouette.npy", np.where(tracked, quality, np.nan)[:, None])
    (path / "mpciROIs.clusterUIDs.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
