"""A small ONE repository with planted truth, for the demo and the tests.

One mouse, a few days, a few fields of view (FOVs), the same file names, dtypes, memory orders and oddities as
International Brain Laboratory mesoscope sessions, read by the ordinary offline client
``one.api.ONE(cache_dir=root)``.

What is planted, and why
------------------------
* **Shared cells** are tracked on every day, in another row each day. On every day some of them are
  *informative* about choice, feedback and stimulus side: active in a short window on the trials of the
  class that they prefer, all about equally and reliably. The informative set only grows over days (nested
  sets, 6 to 53 of 120). Few informative cells in a random subset are enough, so the number of cells needed,
  k*, is set by how rare informative cells are, and falls from day to day: the code gets more efficient.
* **Lapses**: on a fixed share of the trials of each class all cells represent the other class (for the
  stimulus: on many of the zero-contrast trials besides). They limit the ceiling to about the same value on all
  days, so that k* measures the spread of the code over cells and not its quality.
* Other regions of interest (ROIs) carry sparse events, assemblies that follow running with a lag
  (sequences), stillness, or slow states, so that a sorted raster has structure.
* Legal oddities: day 1 has its trials straight in ``alf/``; day 2 has no deconvolved traces; day 3 has
  final brain locations beside the estimates; the last day has two imaging bouts with a gap of 20 s. Some
  event times are NaN, some trials have no choice, untracked ROIs are blank lines or a literal ``nan``, two
  ROIs per FOV lie in root (no region).

Everything follows from the parameters and the seed: same parameters, same bytes.
"""

from __future__ import annotations

import datetime
import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 2  # raise it when the same parameters give other bytes
MARKER = "demo_repository.json"
LAB, SUBJECT, NUMBER = "demolab", "SP999", 1
FIRST_DATE = datetime.date(2025, 3, 3)
TARGETS = ("choice", "feedback", "stimulus", "block")
TREND_TARGETS = TARGETS[:3]  # the ones whose k* falls; block is a weak, constant code
SESSION_GLOB = "*/Subjects/*/????-??-??/[0-9][0-9][0-9]"

# ONE accepts eids of versions 3 and 4 only, so ids are name-based with MD5 (uuid3), never uuid5.
_NAMESPACE = uuid.UUID("6f1d5c3e-2b7a-4d8e-9c40-5a1b7e2f9d36")

# Allen CCF-2017 ids per FOV, shallow and deep half of each area: (area left of the middle, area right of it).
_AREAS = (
    ((593, 821), (593, 821)),  # VISp1, VISp2/3
    ((281, 1066), (671, 965)),  # VISam1, VISam2/3 ; RSPagl1, RSPagl2/3
    ((981, 201), (981, 201)),  # SSp-bfd1, SSp-bfd2/3
)
_ROOT_ID = 997  # the atlas' "root": inside the brain, no region
_CENTRES = (
    (-2600.0, -3600.0, -700.0),
    (-1250.0, -2600.0, -500.0),
    (2900.0, -1300.0, -800.0),
)  # um: ML, AP, DV

_FRAME_PERIOD = 0.1969  # s, 5.08 Hz
_LINE_PERIOD = 4.16e-5  # s
_N_LINES = 512
_UM_PER_PIXEL = 1.38
_TAU = 0.7  # s, decay of the indicator (GCaMP6f)
_BOUT_GAP = 20.0  # s
_PASSIVE = 60.0  # s, length of the second bout
_NO_GO_WAIT = 10.0  # s; the rig waits 60 s, which would only make the demo larger
_THRESHOLD = 0.305  # rad of wheel that carry the stimulus to the threshold
_TICK = 2 * np.pi / 1024  # rad, one step of the rotary encoder

# When informative cells are active, s around their event. Wider than the windows that read them, because at
# 5 Hz a window of 0.1 s often holds no frame and the nearest one is read; the calcium and its deconvolution
# smear over about a frame, so that even the stimulus shows in the frame that ends just before it.
_ACTIVE = {
    "choice": ("firstMovement_times", -0.30, 0.15),
    "feedback": ("feedback_times", -0.02, 0.35),
    "stimulus": ("stimOn_times", -0.08, 0.22),
    "block": ("stimOn_times", -0.45, -0.05),
}
_AMPLITUDE = {"choice": 2.5, "feedback": 2.5, "stimulus": 2.5, "block": 0.4}  # in single events per frame
_LAPSE = {"choice": 0.04, "feedback": 0.04, "stimulus": 0.04, "block": 0.1}
_INFORMATIVE = (0.05, 0.44)  # share of the shared cells, first and last day
_BLOCK_SHARE = 0.15
_N_LAGS = 8  # steps of the running sequence
_N_DRIVES = _N_LAGS + 4  # + stillness and three slow states


@dataclass(frozen=True)
class DemoTruth:
    """What was planted.

    Attributes
    ----------
    root : Path
        Folder of the repository, the ``cache_dir`` of ONE.
    eids, dates : tuple of str
        Session ids and ISO dates, in day order.
    shared_uids : tuple of str
        Cells tracked on all days and neurons on all of them, sorted as strings.
    informative_uids : dict of str to tuple of tuple of str
        target -> for each day the sorted uids of the shared cells that code it.
    informative_counts : dict of str to tuple of int
        target -> the number of them on each day. More cells that each know the answer: a smaller k*.
    k_star_trend : dict of str to str
        target -> "falls" (non-increasing over days, last below first) or "not planted".
    k_grid : tuple of int
        Subset sizes at which the trend was planted to show.
    rows : dict of str to dict of int to dict of str to int
        eid -> FOV number -> uid of a shared cell -> its row in the arrays of that FOV.
    """

    root: Path
    eids: tuple[str, ...]
    dates: tuple[str, ...]
    shared_uids: tuple[str, ...]
    informative_uids: dict[str, tuple[tuple[str, ...], ...]]
    informative_counts: dict[str, tuple[int, ...]]
    k_star_trend: dict[str, str]
    k_grid: tuple[int, ...]
    rows: dict[str, dict[int, dict[str, int]]]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, tuples, strings and ints (``root`` as a string)."""
        return asdict(self) | {"root": str(self.root)}


@dataclass(frozen=True)
class _Params:
    """The parameters that, with VERSION, determine every byte."""

    seed: int
    n_days: int
    n_fovs: int
    n_trials: int
    n_shared: int
    rois_per_fov: int

    def rng(self, *stream: int) -> np.random.Generator:
        """A generator of its own for each thing drawn, so that changing one thing leaves the others alone."""
        return np.random.default_rng([self.seed, *stream])


@dataclass(frozen=True)
class _Cells:
    """Tracked cells of one FOV: uids (C,), positions (C, 2) px, days on which they are seen (C, D) bool.

    The first ``n_shared`` are shared; ``shared_index`` are their places in the list of all shared cells.
    """

    uids: np.ndarray
    positions: np.ndarray
    present: np.ndarray
    shared_index: np.ndarray

    @property
    def n_shared(self) -> int:
        return len(self.shared_index)


@dataclass(frozen=True)
class _Cohort:
    """All tracked cells, and which shared ones code what: codes[target] is (D, n_shared) of -1, 0, +1."""

    fovs: tuple[_Cells, ...]
    shared_uids: np.ndarray
    codes: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Layout:
    """ROIs of one FOV on one day: what stands in which row. All arrays have N rows.

    member : index into the tracked cells of the FOV, -1 for the others; positions : int64 line, column.
    """

    member: np.ndarray
    positions: np.ndarray
    is_cell: np.ndarray


@dataclass(frozen=True)
class _Behaviour:
    """One day's trials, wheel samples, and what the cells represent: target -> (n_trials,) of -1, 0, +1."""

    trials: pd.DataFrame
    wheel_times: np.ndarray
    wheel_position: np.ndarray
    represented: dict[str, np.ndarray]
    quiescence: np.ndarray
    stim_off: np.ndarray


@dataclass(frozen=True)
class _Day:
    """What all FOVs of a day share: clock (T,) s of the first FOV, drives (_N_DRIVES, T), codes."""

    params: _Params
    number: int
    behaviour: _Behaviour
    clock: np.ndarray
    drives: np.ndarray
    codes: dict[str, np.ndarray]


# --------------------------------------------------------------------------------------------------
# Public


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
    """Write the demo repository under `root`, unless it is there already.

    Parameters
    ----------
    root : path
        A folder that is missing, empty, or holds this same demo (then nothing is written; a demo of the same
        parameters that was interrupted is written again).
    seed : int
        Same seed and parameters, same bytes.
    n_days, n_fovs, n_trials : int
        Sessions, fields of view in each, trials in each (about 4.5 s each).
    n_shared : int
        Cells tracked on all days, over all FOVs.
    rois_per_fov : int
        Mean number of ROIs in a FOV; the FOVs differ by up to 20 % and the days by some ROIs.

    Returns
    -------
    DemoTruth

    Raises
    ------
    pipeline.errors.ConfigError
        `root` holds something else, or the parameters cannot be met.
    """
    root = Path(root).expanduser().resolve()
    params = _Params(seed, n_days, n_fovs, n_trials, n_shared, rois_per_fov)
    _check_params(params)
    truth = _existing_truth(root, params)
    if truth is not None:
        return truth
    root.mkdir(parents=True, exist_ok=True)
    _write_marker(root, params, None)
    cohort = _make_cohort(params)
    rows = {}
    for day, date in enumerate(_dates(n_days)):
        session = root / LAB / "Subjects" / SUBJECT / date / f"{NUMBER:03d}"
        rows[session_eid(LAB, SUBJECT, date, NUMBER)] = _write_session(session, params, cohort, day)
    write_one_tables(root)
    truth = _make_truth(root, params, cohort, rows)
    _write_marker(root, params, truth)
    return truth


def session_eid(lab: str, subject: str, date: str | datetime.date, number: int | str) -> str:
    """Session id (version 3 UUID) that `write_one_tables` gives to ``lab/subject/date/number``."""
    return str(uuid.uuid3(_NAMESPACE, f"{lab}/{subject}/{date}/{int(number):03d}"))


def write_one_tables(root: str | Path) -> tuple[str, ...]:
    """(Re)write ``sessions.pqt`` and ``datasets.pqt`` for the sessions and ALF files that are under `root`.

    Looks for ``lab/Subjects/subject/date/number`` and every file with an ALF name below. Ids depend on the
    paths alone, so they survive a rewrite. Of several revisions of a dataset the last one is the default.

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
    # The date is that of the data, not of today: a rewrite of the same files must give the same bytes.
    last = max((str(date) for date in sessions["date"]), default=str(FIRST_DATE))
    metadata = {"date_created": f"{last} 23:59", "origin": "pipeline.demo_data"}
    parquet.save(root / "sessions.pqt", sessions.astype(SESSIONS_COLUMNS).set_index("id"), metadata)
    datasets = datasets.astype(DATASETS_COLUMNS | {"default_revision": bool}).set_index(["eid", "id"])
    parquet.save(root / "datasets.pqt", datasets.sort_index(), metadata)
    return tuple(sessions["id"])


# --------------------------------------------------------------------------------------------------
# ONE tables


def _session_parts(folder: Path) -> tuple[str, str, str, str]:
    """lab, subject, date, number of a session folder."""
    lab, _, subject, date, number = folder.parts[-5:]
    return lab, subject, date, number


def _session_record(folder: Path) -> tuple:
    lab, subject, date, number = _session_parts(folder)
    protocol, project = "_iblrig_tasks_biasedChoiceWorld8.27.1", "ibl_mesoscope_active"
    day = datetime.date.fromisoformat(date)
    return session_eid(lab, subject, date, number), lab, subject, day, int(number), protocol, project


def _dataset_records(folder: Path) -> list[tuple]:
    """One record per ALF file of a session: eid, id, path, size, hash, exists, qc, default revision."""
    from one.alf.spec import is_valid

    eid = session_eid(*_session_parts(folder))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_valid(path.name)]
    paths = [path.relative_to(folder).as_posix() for path in files]
    newest: dict[str, str] = {}
    for path in sorted(paths, key=_revision):
        newest[_without_revision(path)] = path
    defaults = set(newest.values())
    # No hash: the client would compute one at every load to compare.
    return [
        (eid, _dataset_id(eid, path), path, file.stat().st_size, None, True, "NOT_SET", path in defaults)
        for file, path in zip(files, paths, strict=True)
    ]


def _dataset_id(eid: str, path: str) -> str:
    return str(uuid.uuid3(_NAMESPACE, f"{eid}/{path}"))


def _revision(path: str) -> str:
    """Revision of a dataset path, "" if none: ``alf/FOV_00/#2025-01-01#/x.npy`` -> ``2025-01-01``."""
    return next((part.strip("#") for part in path.split("/")[:-1] if part.startswith("#")), "")


def _without_revision(path: str) -> str:
    return "/".join(part for part in path.split("/") if not part.startswith("#"))


# --------------------------------------------------------------------------------------------------
# Marker and truth


def _check_params(params: _Params) -> None:
    """Refuse parameters that cannot be met: too few of something, or more tracked cells than ROIs."""
    low = {"n_days": 1, "n_fovs": 1, "n_trials": 20, "n_shared": 8}
    for name, least in low.items():
        if getattr(params, name) < least:
            raise ConfigError(f"Demo repository: {name} must be at least {least}, not {getattr(params, name)}.")
    need = int(2.5 * params.n_shared / params.n_fovs) + 10
    if params.rois_per_fov < need:
        raise ConfigError(
            f"Demo repository: rois_per_fov={params.rois_per_fov} is too few for {params.n_shared} shared "
            f"cells in {params.n_fovs} FOVs; give at least {need}."
        )


def _existing_truth(root: Path, params: _Params) -> DemoTruth | None:
    """The truth of a complete demo under `root`, None if it must be written; raises if `root` is not ours."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    marker = root / MARKER
    if not marker.is_file():
        raise ConfigError(
            f"{root} is not empty and holds no demo repository (no {MARKER}). Nothing was written: name another folder."
        )
    found = json.loads(marker.read_text(encoding="utf-8"))
    wanted = {"version": VERSION, "parameters": asdict(params)}
    if {key: found.get(key) for key in wanted} != wanted:
        raise ConfigError(
            f"{root} holds another demo repository (expected {wanted}, found version {found.get('version')}, "
            f"parameters {found.get('parameters')}). Name another folder, or delete this one."
        )
    return _truth_from_json(root, found["truth"]) if found["truth"] else None


def _write_marker(root: Path, params: _Params, truth: DemoTruth | None) -> None:
    """Write the marker in one step; without truth it says that the data are not complete (run again)."""
    content = {"version": VERSION, "parameters": asdict(params), "truth": None}
    if truth is not None:
        content["truth"] = {key: value for key, value in truth.as_dict().items() if key != "root"}
    part = root / (f"{MARKER}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, root / MARKER)


def _truth_from_json(root: Path, saved: dict[str, Any]) -> DemoTruth:
    """Tuples and integer keys back from JSON; `root` is where the repository is now, maybe a copy."""
    plain = {key: tuple(saved[key]) for key in ("eids", "dates", "shared_uids", "k_grid")}
    return DemoTruth(
        root=root,
        informative_uids={t: tuple(tuple(day) for day in days) for t, days in saved["informative_uids"].items()},
        informative_counts={t: tuple(counts) for t, counts in saved["informative_counts"].items()},
        k_star_trend=saved["k_star_trend"],
        rows={eid: {int(fov): rows for fov, rows in fovs.items()} for eid, fovs in saved["rows"].items()},
        **plain,
    )


def _make_truth(root: Path, params: _Params, cohort: _Cohort, rows: dict) -> DemoTruth:
    uids = {
        target: tuple(tuple(sorted(cohort.shared_uids[code != 0].tolist())) for code in codes)
        for target, codes in cohort.codes.items()
    }
    return DemoTruth(
        root=root,
        eids=tuple(rows),
        dates=tuple(_dates(params.n_days)),
        shared_uids=tuple(sorted(cohort.shared_uids.tolist())),
        informative_uids=uids,
        informative_counts={target: tuple(len(day) for day in days) for target, days in uids.items()},
        k_star_trend={target: "falls" if target in TREND_TARGETS else "not planted" for target in TARGETS},
        k_grid=(*(k for k in (8, 16, 32, 64) if k < params.n_shared), params.n_shared),
        rows=rows,
    )


# --------------------------------------------------------------------------------------------------
# Cells that are followed over days


def _dates(n_days: int) -> list[str]:
    """ISO dates with the gaps of a training schedule."""
    steps = np.resize([2, 2, 5], n_days - 1)
    return [str(FIRST_DATE + datetime.timedelta(int(days))) for days in np.r_[0, np.cumsum(steps)]]


def _uuids(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` random version 4 UUIDs as an object array of str."""
    texts = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(count)]
    return np.array(texts, dtype=object)


def _make_cohort(params: _Params) -> _Cohort:
    """Draw the tracked cells of all FOVs and the codes of the shared ones."""
    rng = params.rng(1)
    share = np.array_split(rng.permutation(params.n_shared), params.n_fovs)
    shared_uids = _uuids(rng, params.n_shared)
    fovs = tuple(_draw_cells(rng, shared_uids, np.sort(index), params.n_days) for index in share)
    return _Cohort(fovs, shared_uids, _draw_codes(rng, params))


def _draw_cells(rng: np.random.Generator, shared_uids: np.ndarray, index: np.ndarray, n_days: int) -> _Cells:
    """The shared cells of one FOV, and half as many again that are seen on some days only."""
    n_partial = len(index) // 2
    present = rng.random((n_partial, n_days)) < 0.6
    absent = rng.integers(n_days, size=n_partial)
    present[np.arange(n_partial), absent] = False  # else some would be shared by chance
    uids = np.r_[shared_uids[index], _uuids(rng, n_partial)]
    positions = rng.integers(20, _N_LINES - 20, size=(len(uids), 2))
    return _Cells(uids, positions, np.r_[np.ones((len(index), n_days), dtype=bool), present], index)


def _draw_codes(rng: np.random.Generator, params: _Params) -> dict[str, np.ndarray]:
    """Which shared cell codes what on which day: target -> (D, n_shared) int of preferred class, 0 for none.

    The sets grow from spaced starts on a ring of cells: nested over days, few cells that code two targets.
    """
    n = params.n_shared
    shares = np.geomspace(*_INFORMATIVE, params.n_days)
    counts = {target: np.maximum(np.round(shares * n).astype(int), 1) for target in TREND_TARGETS}
    counts["block"] = np.full(params.n_days, max(round(_BLOCK_SHARE * n), 1))
    ring = rng.permutation(n)
    codes = {}
    for start, target in zip((0, n // 3, 2 * n // 3, n // 6), TARGETS, strict=True):
        code = np.zeros((params.n_days, n), dtype=int)
        for day, count in enumerate(counts[target]):
            cells = np.roll(ring, -start)[:count]
            code[day, cells] = np.where(np.arange(count) % 2 == 0, 1, -1)
        codes[target] = code
    return codes


def _make_layout(params: _Params, cells: _Cells, day: int, fov: int) -> _Layout:
    """Tracked cells of the day and untracked ROIs in random order; 17 % are no cells, none of them shared."""
    rng = params.rng(2, day, fov)
    size = 1.2 - 0.4 * fov / max(params.n_fovs - 1, 1)
    n_rois = round(params.rois_per_fov * size) + int(rng.integers(-8, 9))
    seen = np.flatnonzero(cells.present[:, day])
    member = np.full(n_rois, -1)
    member[: len(seen)] = seen
    positions = rng.integers(20, _N_LINES - 20, size=(n_rois, 2))
    jitter = rng.integers(-3, 4, size=(len(seen), 2))  # the field of view is never found again exactly
    positions[: len(seen)] = cells.positions[seen] + jitter
    is_cell = np.ones(n_rois, dtype=bool)
    candidates = np.arange(cells.n_shared, n_rois)
    is_cell[rng.choice(candidates, round(0.17 * n_rois), replace=False)] = False
    order = rng.permutation(n_rois)
    return _Layout(member[order], positions[order].astype(np.int64), is_cell[order])


# --------------------------------------------------------------------------------------------------
# Behaviour


def _make_behaviour(params: _Params, day: int) -> _Behaviour:
    """Trials, wheel and representation of one day."""
    import pandas as pd

    rng = params.rng(3, day)
    n = params.n_trials
    p_left = _draw_blocks(rng, n)
    side = np.where(rng.random(n) < p_left, 1, -1)  # +1 left
    contrast = rng.choice([1.0, 0.25, 0.125, 0.0625, 0.0], size=n, p=[2 / 9] * 4 + [1 / 9])
    error_share = np.linspace(0.20, 0.175, params.n_days)[day]
    correct, no_go = _draw_outcomes(rng, contrast, error_share)
    choice = np.where(no_go, 0, np.where(correct, side, -side))
    times, quiescence = _draw_times(rng, correct, no_go)
    undetected = rng.choice(np.flatnonzero(~no_go), max(n // 60, 1), replace=False)
    moves = _draw_moves(rng, times, choice)
    wheel_times, wheel_position = _make_wheel(moves)
    first_movement = np.where(no_go, np.nan, times["firstMovement_times"])
    first_movement[undetected] = np.nan  # the wheel turned, the detection of its onset failed
    columns = {
        **{key: times[key] for key in ("intervals_0", "intervals_1", "goCue_times", "response_times")},
        "choice": choice,
        "stimOn_times": times["stimOn_times"],
        "contrastLeft": np.where(side > 0, contrast, np.nan),
        "contrastRight": np.where(side < 0, contrast, np.nan),
        "probabilityLeft": p_left,
        "feedback_times": times["feedback_times"],
        "feedbackType": np.where(correct, 1, -1),
        "rewardVolume": np.where(correct, 1.5, 0.0),
        "firstMovement_times": first_movement,
    }
    trials = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in columns.items()})
    represented = _draw_representation(rng, trials, side, contrast)
    stim_off = times["feedback_times"] + np.where(correct, 1.0, 2.0)
    return _Behaviour(trials, wheel_times, wheel_position, represented, quiescence, stim_off)


def _draw_blocks(rng: np.random.Generator, n: int) -> np.ndarray:
    """probabilityLeft (n,): 0.5 at first (90 trials), then blocks of 0.8 and 0.2 of 20 to 100 trials."""
    first = min(90, n // 3)
    p_left = np.full(n, 0.5)
    start, value = first, rng.choice([0.2, 0.8])
    while start < n:
        length = 0
        while not 20 <= length <= 100:  # a truncated exponential, by rejection
            length = round(rng.exponential(60))
        p_left[start : start + length] = value
        start, value = start + length, round(1 - value, 1)
    return p_left


def _draw_outcomes(rng: np.random.Generator, contrast: np.ndarray, error_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Correct, no-go (n,) bool. The number of errors is exact: errors limit how well feedback decodes."""
    n = len(contrast)
    weight = np.interp(contrast, [0, 0.0625, 0.125, 0.25, 1], [1.0, 0.6, 0.3, 0.15, 0.1])
    errors = rng.choice(n, round(error_share * n), replace=False, p=weight / weight.sum())
    correct = np.ones(n, dtype=bool)
    correct[errors] = False
    no_go = np.zeros(n, dtype=bool)
    no_go[rng.choice(np.flatnonzero(correct), max(n // 90, 1), replace=False)] = True
    return correct & ~no_go, no_go


def _draw_times(
    rng: np.random.Generator, correct: np.ndarray, no_go: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Event times of all trials (s, session clock, each (n,)) and quiescence periods (n,) s."""
    n = len(correct)
    quiescence = rng.uniform(0.4, 0.7, n)
    stim_delay = quiescence + rng.uniform(0.05, 0.2, n)
    reaction = 0.35 + rng.gamma(2.0, 0.12, n)
    turning = rng.uniform(0.18, 0.5, n)
    closed_loop = np.where(no_go, _NO_GO_WAIT, reaction + turning)
    feedback_delay = np.where(correct, 0.002, 0.012)  # the valve is faster than the sound card
    pause = np.where(correct, 1.5, 2.5) + rng.exponential(0.9, n)
    length = stim_delay + closed_loop + feedback_delay + pause
    start = 25.0 + np.r_[0, np.cumsum(length + 0.15)[:-1]]
    stim_on = start + stim_delay
    response = stim_on + closed_loop
    times = {
        "intervals_0": start,
        "intervals_1": start + length,
        "stimOn_times": stim_on,
        "goCue_times": stim_on + rng.uniform(0.0005, 0.002, n),
        "firstMovement_times": stim_on + reaction,
        "response_times": response,
        "feedback_times": response + feedback_delay,
    }
    return times, quiescence


def _draw_moves(rng: np.random.Generator, times: dict[str, np.ndarray], choice: np.ndarray) -> np.ndarray:
    """Wheel movements (M, 3), in order and apart: start s, stop s, displacement rad (CCW positive).

    Each choice turns the wheel to the threshold at the response time and slightly past it, against its sign;
    between trials the mouse sometimes runs, in either direction.
    """
    start, response = times["firstMovement_times"], times["response_times"]
    stop = response + 0.1
    reached = (response - start) / (stop - start)
    size = _THRESHOLD / (0.5 * (1 - np.cos(np.pi * reached)))
    turns = np.c_[start, stop, -np.sign(choice) * size][choice != 0]
    room = times["intervals_1"] - times["feedback_times"] - 0.8
    # Runs come in spells of trials, as the state of the mouse changes slowly.
    spell = np.repeat(rng.random(len(choice) // 12 + 1) < 0.45, 12)[: len(choice)]
    runs = np.c_[
        times["feedback_times"] + 0.3,
        times["feedback_times"] + 0.3 + room * rng.uniform(0.5, 0.95, len(choice)),
        rng.choice([-1, 1], len(choice)) * rng.uniform(0.5, 4.0, len(choice)),
    ][spell & (room > 0.2)]
    moves = np.r_[turns, runs]
    return moves[np.argsort(moves[:, 0])]


def _make_wheel(moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the encoder, one per tick, none while still: times (S,) s, cumulative position (S,) rad."""
    ticks = np.maximum((np.abs(moves[:, 2]) / _TICK).astype(int), 1)
    move = np.repeat(np.arange(len(moves)), ticks)
    tick = np.arange(len(move)) - np.repeat(np.cumsum(ticks) - ticks, ticks) + 1
    done = np.arccos(1 - 2 * tick / (ticks[move] + 1)) / np.pi  # inverse of a bell-shaped speed
    times = moves[move, 0] + done * (moves[move, 1] - moves[move, 0])
    position = np.cumsum(np.sign(moves[move, 2])) * _TICK
    return np.r_[0.5, times], np.r_[0.0, position]


def _draw_representation(
    rng: np.random.Generator, trials: pd.DataFrame, side: np.ndarray, contrast: np.ndarray
) -> dict[str, np.ndarray]:
    """What the cells say on each trial: target -> (n,) of -1, 0, +1. The truth, but for lapses."""
    block = np.sign(trials["probabilityLeft"].to_numpy() - 0.5).astype(int)
    labels = {
        "choice": trials["choice"].to_numpy(dtype=int),
        "feedback": trials["feedbackType"].to_numpy(dtype=int),
        "stimulus": side.copy(),
        "block": block,
    }
    for target, values in labels.items():
        for sign in (-1, 1):
            members = np.flatnonzero(values == sign)
            labels[target] = _flip(rng, labels[target], members, _LAPSE[target])
    for sign in (-1, 1):  # nothing was on the screen: the cells show a guess
        labels["stimulus"] = _flip(rng, labels["stimulus"], np.flatnonzero((side == sign) & (contrast == 0)), 0.4)
    return labels


def _flip(rng: np.random.Generator, values: np.ndarray, members: np.ndarray, share: float) -> np.ndarray:
    """`values`, the sign of an exact share of `members` turned: exact, so that days have equal ceilings."""
    flipped = values.copy()
    flipped[rng.choice(members, round(share * len(members)), replace=False)] *= -1
    return flipped


# --------------------------------------------------------------------------------------------------
# Activity


def _frame_clock(params: _Params, day: int, last_event: float) -> np.ndarray:
    """Start times of the frames of the first FOV (T,) s; a second bout follows on the last day."""
    rng = params.rng(4, day)
    period = _FRAME_PERIOD + 1e-5 * day
    start = 12.0 + rng.uniform(0, 3)
    stops = [(start, last_event + 6.0)]
    if day == params.n_days - 1:
        again = stops[0][1] + _BOUT_GAP
        stops.append((again, again + _PASSIVE))
    times = np.concatenate([np.arange(first, last, period) for first, last in stops])
    return times + rng.normal(0, 5e-6, len(times))


def _make_drives(params: _Params, day: int, clock: np.ndarray, behaviour: _Behaviour) -> np.ndarray:
    """What multiplies event rates (_N_DRIVES, T) float32: running at growing lags, stillness, slow states."""
    from scipy.signal import lfilter

    rng = params.rng(5, day)
    position = np.interp(clock, behaviour.wheel_times, behaviour.wheel_position)
    speed = np.abs(np.gradient(position, clock))
    running = lfilter([0.25], [1, -0.75], np.minimum(speed, 2.0))
    running = np.minimum(running / running.std(), 3.0)
    lagged = [np.roll(running, 3 * lag) for lag in range(_N_LAGS)]
    slow = []
    for tau in (15.0, 45.0, 120.0):  # s
        keep = np.exp(-_FRAME_PERIOD / tau)
        state = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.standard_normal(len(clock)))
        slow.append(np.exp(1.6 * state) * 0.4)
    still = np.exp(-1.5 * lfilter([0.05], [1, -0.95], running)) * 2.0
    drives = np.minimum(np.stack([*(2.5 * wave for wave in lagged), still, *slow]), 8.0)
    return (0.1 + drives).astype(np.float32)


def _background_events(rng: np.random.Generator, layout: _Layout, n_shared: int, drives: np.ndarray) -> np.ndarray:
    """Event sizes (N, T) float32, mostly 0. Shared cells fire at a low constant rate: their code shows."""
    n_rois, n_frames = len(layout.member), drives.shape[1]
    shared = (layout.member >= 0) & (layout.member < n_shared)
    rate = np.where(layout.is_cell, rng.uniform(0.015, 0.05, n_rois), 0.004).astype(np.float32)
    drive = rng.integers(_N_DRIVES, size=n_rois)
    rate[shared] = 0.008
    probability = rate[:, None] * drives[drive]
    probability[shared] = rate[shared, None]
    fires = rng.random((n_rois, n_frames), dtype=np.float32) < probability
    events = np.zeros((n_rois, n_frames), dtype=np.float32)
    events[fires] = 0.3 + rng.exponential(0.6, np.count_nonzero(fires))
    return events


def _add_code(
    rng: np.random.Generator,
    events: np.ndarray,
    target: str,
    preferred: np.ndarray,
    onset: np.ndarray,
    day: _Day,
) -> None:
    """Add to `events` (N, T), in place, what informative cells answer on the trials that they prefer.

    preferred : (N,) class that each ROI prefers, 0 for none ; onset : (N, n_trials) s on the first FOV's
    frame clock at which each ROI starts to answer, NaN where the event is missing.
    """
    cells = np.flatnonzero(preferred)
    _, before, after = _ACTIVE[target]
    shown = day.behaviour.represented[target]
    valid = np.isfinite(onset[0])
    onset, answers = onset[cells][:, valid], shown[valid] == preferred[cells, None]
    first = np.searchsorted(day.clock, onset)
    stop = np.searchsorted(day.clock, onset + after - before)
    size = answers * _AMPLITUDE[target] * rng.gamma(16.0, 1 / 16.0, first.shape)
    for step in range(int((stop - first).max(initial=0))):
        frame = np.minimum(first + step, len(day.clock) - 1)
        wobble = rng.uniform(0.8, 1.2, first.shape)
        np.add.at(events, (cells[:, None], frame), np.where(first + step < stop, size * wobble, 0))


def _make_events(day: _Day, fov: int, cells: _Cells, layout: _Layout) -> np.ndarray:
    """Event sizes (N, T) float32 of all ROIs of a FOV: background, and the codes of its shared cells."""
    rng = day.params.rng(6, day.number, fov)
    events = _background_events(rng, layout, cells.n_shared, day.drives)
    shared = (layout.member >= 0) & (layout.member < cells.n_shared)
    # The beam meets an ROI later than the first FOV's frame clock says: by its FOV's turn and by its line.
    delay = _fov_delay(day.params, fov) + layout.positions[:, 0] * _LINE_PERIOD
    for target, code in day.codes.items():
        preferred = np.zeros(len(events), dtype=int)
        preferred[shared] = code[cells.shared_index[layout.member[shared]]]
        event, before, _ = _ACTIVE[target]
        onset = day.behaviour.trials[event].to_numpy() + before - delay[:, None]
        _add_code(rng, events, target, preferred, onset, day)
    return events


def _make_traces(rng: np.random.Generator, events: np.ndarray, is_cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fluorescence and deconvolved activity, each (N, T) float32 in photodetector units, from event sizes."""
    from scipy.signal import lfilter

    n_rois, n_frames = events.shape
    baseline = rng.lognormal(6.0, 0.4, (n_rois, 1)).astype(np.float32)
    gain = np.where(is_cell[:, None], 0.35, 0.15).astype(np.float32) * baseline
    keep = np.float32(np.exp(-_FRAME_PERIOD / _TAU))
    calcium = lfilter(np.array([1], dtype=np.float32), np.array([1, -keep], dtype=np.float32), events, axis=1)
    bleaching = (1 - 0.03 * np.linspace(0, 1, n_frames)).astype(np.float32)
    noise = rng.standard_normal((n_rois, n_frames), dtype=np.float32)
    fluorescence = baseline * bleaching + gain * (calcium + np.float32(0.2) * noise)
    noise = rng.standard_normal((n_rois, n_frames), dtype=np.float32)
    deconvolved = np.maximum(gain * (events + np.float32(0.5) * (noise - np.float32(0.5))), 0)
    return fluorescence.astype(np.float32), deconvolved.astype(np.float32)


# --------------------------------------------------------------------------------------------------
# Files


def _write_session(folder: Path, params: _Params, cohort: _Cohort, number: int) -> dict[int, dict[str, int]]:
    """Write the files of one day; returns FOV -> uid of a shared cell -> row."""
    behaviour = _make_behaviour(params, number)
    alf = folder / "alf"
    _write_behaviour(alf if number == 0 else alf / "task_00", behaviour)
    clock = _frame_clock(params, number, behaviour.trials["intervals_1"].iloc[-1])
    drives = _make_drives(params, number, clock, behaviour)
    codes = {target: code[number] for target, code in cohort.codes.items()}
    day = _Day(params, number, behaviour, clock, drives, codes)
    rows = {}
    for fov, cells in enumerate(cohort.fovs):
        layout = _make_layout(params, cells, number, fov)
        path = alf / f"FOV_{fov:02d}"
        path.mkdir(parents=True, exist_ok=True)
        _write_activity(path, day, fov, cells, layout)
        _write_rois(path, day, fov, layout)
        _write_tracking(path, params.rng(9, number, fov), cells, layout)
        rows[fov] = _shared_rows(layout, cells)
    return rows


def _shared_rows(layout: _Layout, cells: _Cells) -> dict[str, int]:
    """Row of each shared cell, by uid, sorted."""
    found = np.flatnonzero((layout.member >= 0) & (layout.member < cells.n_shared))
    return dict(sorted((str(cells.uids[layout.member[row]]), int(row)) for row in found))


def _fov_delay(params: _Params, fov: int) -> float:
    """Seconds from the start of a frame to the scan of this FOV: FOVs take turns within the frame."""
    return fov * _FRAME_PERIOD / params.n_fovs


def _write_behaviour(folder: Path, behaviour: _Behaviour) -> None:
    from iblutil.io import parquet

    folder.mkdir(parents=True, exist_ok=True)
    parquet.save(folder / "_ibl_trials.table.pqt", behaviour.trials)
    np.save(folder / "_ibl_trials.quiescencePeriod.npy", behaviour.quiescence)
    np.save(folder / "_ibl_trials.stimOff_times.npy", behaviour.stim_off)
    np.save(folder / "_ibl_wheel.timestamps.npy", behaviour.wheel_times)
    np.save(folder / "_ibl_wheel.position.npy", behaviour.wheel_position)


def _write_activity(path: Path, day: _Day, fov: int, cells: _Cells, layout: _Layout) -> None:
    """Clock and traces of a FOV. The traces are (T, N) in Fortran order: each ROI is contiguous on disk."""
    events = _make_events(day, fov, cells, layout)
    fluorescence, deconvolved = _make_traces(day.params.rng(8, day.number, fov), events, layout.is_cell)
    np.save(path / "mpci.times.npy", day.clock + _fov_delay(day.params, fov))
    np.save(path / "mpciStack.timeshift.npy", np.arange(_N_LINES) * _LINE_PERIOD)
    np.save(path / "mpci.ROIActivityF.npy", fluorescence.T)
    if day.number != 1:
        np.save(path / "mpci.ROIActivityDeconvolved.npy", deconvolved.T)


def _write_rois(path: Path, day: _Day, fov: int, layout: _Layout) -> None:
    """Types, positions, places in the brain and ids of the ROIs."""
    rng = day.params.rng(7, day.number, fov)
    n_rois = len(layout.member)
    score = np.where(layout.is_cell, 0.5 + 0.5 * rng.beta(4, 1.5, n_rois), 0.5 * rng.beta(1.5, 4, n_rois))
    np.save(path / "mpciROIs.mpciROITypes.npy", layout.is_cell.astype(np.int16))
    (path / "mpciROITypes.names.tsv").write_text("roi_values\troi_labels\n0\tno cell\n1\tcell\n", encoding="utf-8")
    np.save(path / "mpciROIs.cellClassifier.npy", score)
    np.save(path / "mpciROIs.stackPos.npy", np.c_[layout.positions, np.zeros(n_rois, dtype=np.int64)])
    (path / "mpciROIs.uuids.csv").write_text("\n".join(["uuids", *_uuids(rng, n_rois)]), encoding="utf-8")
    _write_places(path, fov, layout, shift=0.0, suffix="_estimate")
    if day.number == min(2, day.params.n_days - 1):
        _write_places(path, fov, layout, shift=60.0, suffix="")


def _write_places(path: Path, fov: int, layout: _Layout, *, shift: float, suffix: str) -> None:
    """ML, AP, DV (N, 3) f8 um re bregma, Allen ids (N,) int64; `shift` um: what histology moved."""
    line, column = layout.positions.T
    ml, ap, dv = _CENTRES[fov % len(_CENTRES)]
    ml = ml + shift + (column - _N_LINES / 2) * _UM_PER_PIXEL
    ap = ap + shift + (_N_LINES / 2 - line) * _UM_PER_PIXEL
    depth = 60.0 + 0.15 * line + 0.5 * shift
    areas = np.array(_AREAS[fov % len(_AREAS)])
    middle = _N_LINES / 2 + shift / _UM_PER_PIXEL
    ids = areas[(column >= middle).astype(int), (depth > 100).astype(int)].astype(np.int64)
    ids[np.flatnonzero(layout.member < 0)[:2]] = _ROOT_ID
    np.save(path / f"mpciROIs.mlapdv{suffix}.npy", np.c_[ml, ap, dv - depth])
    np.save(path / f"mpciROIs.brainLocationIds_ccf_2017{suffix}.npy", ids)


def _write_tracking(path: Path, rng: np.random.Generator, cells: _Cells, layout: _Layout) -> None:
    """UIDs, one line per ROI and blank if untracked (a literal nan in some files), and quality (N, 1)."""
    tracked = layout.member >= 0
    shared = tracked & (layout.member < cells.n_shared)
    lines = np.where(tracked, cells.uids[layout.member], "")
    if rng.random() < 0.5:
        lines[rng.choice(np.flatnonzero(~tracked))] = "nan"
    quality = np.where(shared, rng.uniform(0.3, 0.95, len(lines)), rng.uniform(0.05, 0.9, len(lines)))
    np.save(path / "mpciROIs.clusterSilhouette.npy", np.where(tracked, quality, np.nan)[:, None])
    (path / "mpciROIs.clusterUIDs.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
