"""What is planted in the demo: parameters, cells, codes and layout, day by day."""

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


FIRST_DATE = datetime.date(2025, 3, 3)


TARGETS = ("choice", "feedback", "stimulus", "block")


TREND_TARGETS = TARGETS[:3]  # the ones whose k* falls; block is a weak, constant code


# ONE accepts eids of versions 3 and 4 only, so ids are name-based with MD5 (uuid3), never uuid5.
NAMESPACE = uuid.UUID("6f1d5c3e-2b7a-4d8e-9c40-5a1b7e2f9d36")


# Allen CCF-2017 ids per FOV, shallow and deep half of each area: (area left of the middle, area right of it).
AREAS = (
    ((593, 821), (593, 821)),  # VISp1, VISp2/3
    ((281, 1066), (671, 965)),  # VISam1, VISam2/3 ; RSPagl1, RSPagl2/3
    ((981, 201), (981, 201)),  # SSp-bfd1, SSp-bfd2/3
)


ROOT_ID = 997  # the atlas' "root": inside the brain, no region


CENTRES = (
    (-2600.0, -3600.0, -700.0),
    (-1250.0, -2600.0, -500.0),
    (2900.0, -1300.0, -800.0),
)  # um: ML, AP, DV


N_LINES = 512


UM_PER_PIXEL = 1.38


# When informative cells are active, s around their event. Wider than the windows that read them, because at
# 5 Hz a window of 0.1 s often holds no frame and the nearest one is read; the calcium and its deconvolution
# smear over about a frame, so that even the stimulus shows in the frame that ends just before it.
ACTIVE = {
    "choice": ("firstMovement_times", -0.30, 0.15),
    "feedback": ("feedback_times", -0.02, 0.35),
    "stimulus": ("stimOn_times", -0.08, 0.22),
    "block": ("stimOn_times", -0.45, -0.05),
}


_INFORMATIVE = (0.05, 0.44)  # share of the shared cells, first and last day


_BLOCK_SHARE = 0.15


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
class Params:
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
class Cells:
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
class Cohort:
    """All tracked cells, and which shared ones code what: codes[target] is (D, n_shared) of -1, 0, +1."""

    fovs: tuple[Cells, ...]
    shared_uids: np.ndarray
    codes: dict[str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """ROIs of one FOV on one day: what stands in which row. All arrays have N rows.

    member : index into the tracked cells of the FOV, -1 for the others; positions : int64 line, column.
    """

    member: np.ndarray
    positions: np.ndarray
    is_cell: np.ndarray


def check_params(params: Params) -> None:
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


def existing_truth(root: Path, params: Params) -> DemoTruth | None:
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


def write_marker(root: Path, params: Params, truth: DemoTruth | None) -> None:
    """Write the marker in one step; without truth it says that the data are not complete (run again)."""
    content = {"version": VERSION, "parameters": asdict(params), "truth": None}
    if truth is not None:
        content["truth"] = {key: value for key, value in truth.as_dict().items() if key != "root"}
    part = root / (f"{MARKER}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(root / MARKER)


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


def make_truth(root: Path, params: Params, cohort: Cohort, rows: dict[str, dict[int, dict[str, int]]]) -> DemoTruth:
    """Return what is planted, for those who check that it is found again."""
    uids = {
        target: tuple(tuple(sorted(cohort.shared_uids[code != 0].tolist())) for code in codes)
        for target, codes in cohort.codes.items()
    }
    return DemoTruth(
        root=root,
        eids=tuple(rows),
        dates=tuple(dates(params.n_days)),
        shared_uids=tuple(sorted(cohort.shared_uids.tolist())),
        informative_uids=uids,
        informative_counts={target: tuple(len(day) for day in days) for target, days in uids.items()},
        k_star_trend={target: "falls" if target in TREND_TARGETS else "not planted" for target in TARGETS},
        k_grid=(*(k for k in (8, 16, 32, 64) if k < params.n_shared), params.n_shared),
        rows=rows,
    )


def dates(n_days: int) -> list[str]:
    """ISO dates with the gaps of a training schedule."""
    steps = np.resize([2, 2, 5], n_days - 1)
    return [str(FIRST_DATE + datetime.timedelta(int(days))) for days in np.r_[0, np.cumsum(steps)]]


def uuids(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` random version 4 UUIDs as an object array of str."""
    texts = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(count)]
    return np.array(texts, dtype=object)


def make_cohort(params: Params) -> Cohort:
    """Draw the tracked cells of all FOVs and the codes of the shared ones."""
    rng = params.rng(1)
    share = np.array_split(rng.permutation(params.n_shared), params.n_fovs)
    shared_uids = uuids(rng, params.n_shared)
    fovs = tuple(_draw_cells(rng, shared_uids, np.sort(index), params.n_days) for index in share)
    return Cohort(fovs, shared_uids, _draw_codes(rng, params))


def _draw_cells(rng: np.random.Generator, shared_uids: np.ndarray, index: np.ndarray, n_days: int) -> Cells:
    """The shared cells of one FOV, and half as many again that are seen on some days only."""
    n_partial = len(index) // 2
    present = rng.random((n_partial, n_days)) < 0.6
    absent = rng.integers(n_days, size=n_partial)
    present[np.arange(n_partial), absent] = False  # else some would be shared by chance
    uids = np.r_[shared_uids[index], uuids(rng, n_partial)]
    positions = rng.integers(20, N_LINES - 20, size=(len(uids), 2))
    return Cells(uids, positions, np.r_[np.ones((len(index), n_days), dtype=bool), present], index)


def _draw_codes(rng: np.random.Generator, params: Params) -> dict[str, np.ndarray]:
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


def make_layout(params: Params, cells: Cells, day: int, fov: int) -> Layout:
    """Tracked cells of the day and untracked ROIs in random order; 17 % are no cells, none of them shared."""
    rng = params.rng(2, day, fov)
    size = 1.2 - 0.4 * fov / max(params.n_fovs - 1, 1)
    n_rois = round(params.rois_per_fov * size) + int(rng.integers(-8, 9))
    seen = np.flatnonzero(cells.present[:, day])
    member = np.full(n_rois, -1)
    member[: len(seen)] = seen
    positions = rng.integers(20, N_LINES - 20, size=(n_rois, 2))
    jitter = rng.integers(-3, 4, size=(len(seen), 2))  # the field of view is never found again exactly
    positions[: len(seen)] = cells.positions[seen] + jitter
    is_cell = np.ones(n_rois, dtype=bool)
    candidates = np.arange(cells.n_shared, n_rois)
    is_cell[rng.choice(candidates, round(0.17 * n_rois), replace=False)] = False
    order = rng.permutation(n_rois)
    return Layout(member[order], positions[order].astype(np.int64), is_cell[order])


_LAPSE = {"choice": 0.04, "feedback": 0.04, "stimulus": 0.04, "block": 0.1}


N_LAGS = 8  # steps of the running sequence


def draw_representation(
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
