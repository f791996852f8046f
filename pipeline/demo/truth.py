"""The planted effects of the demo: parameters, cells, codes and layout, day by day."""

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


VERSION = 4  # raise it when the same parameters give different bytes


REPLACED = (2,)  # versions that wrote files of the same names, or fewer, so that they can be written over


WITHOUT_NEUROPIL = (3,)  # versions that differ in this only, so that it is added to what they wrote


MARKER = "demo_repository.json"


FIRST_DATE = datetime.date(2025, 3, 3)


TARGETS = ("choice", "feedback", "stimulus", "block")


TREND_TARGETS = TARGETS[:3]  # targets whose k* falls over days; the code of block is weak and constant


# ONE accepts eids of versions 3 and 4 only, so ids are name-based with MD5 (uuid3), never uuid5.
NAMESPACE = uuid.UUID("6f1d5c3e-2b7a-4d8e-9c40-5a1b7e2f9d36")


# Allen CCF 2017 ids per FOV: (area in the left half, area in the right half), each (shallow, deep layer).
AREAS = (
    ((593, 821), (593, 821)),  # VISp1, VISp2/3
    ((281, 1066), (671, 965)),  # VISam1, VISam2/3 ; RSPagl1, RSPagl2/3
    ((981, 201), (981, 201)),  # SSp-bfd1, SSp-bfd2/3
)


ROOT_ID = 997  # "root" of the atlas: inside the brain, but in no region


CENTRES = (
    (-2600.0, -3600.0, -700.0),
    (-1250.0, -2600.0, -500.0),
    (2900.0, -1300.0, -800.0),
)  # ML, AP, DV of each FOV's centre in µm from bregma


N_LINES = 512  # scan lines, and columns, of a FOV


UM_PER_PIXEL = 1.38


# Event, and window around it in s, in which informative cells are active. It is wider than the decoding window: at
# 5 Hz a window of 0.1 s often holds no frame, and the nearest frame is read instead. Calcium and its deconvolution
# spread over about a frame, so that even the stimulus is visible in the frame that ends just before it.
ACTIVE = {
    "choice": ("firstMovement_times", -0.30, 0.15),
    "feedback": ("feedback_times", -0.02, 0.35),
    "stimulus": ("stimOn_times", -0.08, 0.22),
    "block": ("stimOn_times", -0.45, -0.05),
}


_INFORMATIVE = (0.05, 0.44)  # fraction of the shared cells that are informative, on the first and last day


_BLOCK_SHARE = 0.15  # fraction of the shared cells that code the block, on all days


@dataclass(frozen=True)
class DemoTruth:
    """The planted effects, for comparison with results.

    Attributes
    ----------
    root : Path
        Folder of the repository, the ``cache_dir`` of ONE.
    eids, dates : tuple of str
        Session ids and ISO dates, in day order.
    shared_uids : tuple of str
        Cells that are tracked, and are neurons, on all days, sorted as strings.
    informative_uids : dict of str to tuple of tuple of str
        target -> for each day the sorted uids of the shared cells that code it.
    informative_counts : dict of str to tuple of int
        target -> the number of these cells on each day. The more informative cells, the smaller k*.
    k_star_trend : dict of str to str
        target -> "falls" (non-increasing over days, last below first) or "not planted".
    k_grid : tuple of int
        Subset sizes at which the trend is visible.
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
        """Return all fields as plain dicts, tuples, strings and ints (``root`` as a string)."""
        return asdict(self) | {"root": str(self.root)}


@dataclass(frozen=True)
class Params:
    """The parameters that, together with VERSION, determine every byte."""

    seed: int
    n_days: int
    n_fovs: int
    n_trials: int
    n_shared: int
    rois_per_fov: int

    def rng(self, *stream: int) -> np.random.Generator:
        """Return a generator with a stream of its own, so that changing one kind of data leaves the others alone."""
        return np.random.default_rng([self.seed, *stream])


@dataclass(frozen=True)
class Cells:
    """Tracked cells of one FOV: uids (C,), positions (C, 2) in pixels, presence on each day (C, D) bool.

    The first ``n_shared`` cells are shared; ``shared_index`` are their indices in the list of all shared cells.
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
    """All tracked cells, and the codes of the shared ones: codes[target] is (D, n_shared) of -1, 0, +1."""

    fovs: tuple[Cells, ...]
    shared_uids: np.ndarray
    codes: dict[str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """ROIs of one FOV on one day, in the order of their rows.

    Attributes
    ----------
    member : (N,) int64
        Index into the tracked cells of the FOV, -1 for an untracked ROI.
    positions : (N, 2) int64
        Line and column.
    is_cell : (N,) bool
    """

    member: np.ndarray
    positions: np.ndarray
    is_cell: np.ndarray


def check_params(params: Params) -> None:
    """Raise ConfigError for parameters that are too small, or more tracked cells than ROIs."""
    low = {"n_days": 1, "n_fovs": 1, "n_trials": 20, "n_shared": 8}
    for name, least in low.items():
        if getattr(params, name) < least:
            raise ConfigError(f"Demo repository: {name} must be at least {least}, not {getattr(params, name)}.")
    # 1.5 times the shared cells are tracked; the rest leaves room for the smallest FOV (0.8 of the mean) and non-cells
    need = int(2.5 * params.n_shared / params.n_fovs) + 10
    if params.rois_per_fov < need:
        raise ConfigError(
            f"Demo repository: rois_per_fov={params.rois_per_fov} is too few for {params.n_shared} shared "
            f"cells in {params.n_fovs} FOVs; give at least {need}."
        )


def existing_truth(root: Path, params: Params) -> DemoTruth | None:
    """Return the truth of a complete demo in `root`, None if the demo must be written, or written over.

    Raises
    ------
    ConfigError
        `root` holds other files, or a demo of other parameters, or of another version that cannot be written over.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    marker = root / MARKER
    if not marker.is_file():
        raise ConfigError(
            f"{root} is not empty and is not a demo repository (it has no {MARKER}). "
            "Nothing was written. Give another folder."
        )
    found = json.loads(marker.read_text(encoding="utf-8"))
    wanted = {"version": VERSION, "parameters": asdict(params)}
    if found.get("version") in REPLACED and found.get("parameters") == wanted["parameters"]:
        return None
    if found.get("version") in WITHOUT_NEUROPIL:
        found["version"] = VERSION
    if {key: found.get(key) for key in wanted} != wanted:
        raise ConfigError(
            f"{root} holds another demo repository (expected {wanted}, found version {found.get('version')}, "
            f"parameters {found.get('parameters')}). Give another folder, or delete this one."
        )
    return _truth_from_json(root, found["truth"]) if found["truth"] else None


def written_version(root: Path) -> int:
    """Return the version that a marker names."""
    version: int = json.loads((root / MARKER).read_text(encoding="utf-8"))["version"]
    return version


def write_marker(root: Path, params: Params, truth: DemoTruth | None) -> None:
    """Write the marker file atomically; without a truth it marks an incomplete demo, to be written again."""
    content = {"version": VERSION, "parameters": asdict(params), "truth": None}
    if truth is not None:
        content["truth"] = {key: value for key, value in truth.as_dict().items() if key != "root"}
    # renamed when complete: a cut marker would make the folder look foreign
    part = root / (f"{MARKER}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(root / MARKER)


def _truth_from_json(root: Path, saved: dict[str, Any]) -> DemoTruth:
    """Restore the tuples and integer keys that JSON lacks; `root` is the current folder, which may be a copy."""
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
    """Return the planted effects, with which results can be compared."""
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
    """Return ISO dates, two, two and five days apart in turn."""
    steps = np.resize([2, 2, 5], n_days - 1)
    return [str(FIRST_DATE + datetime.timedelta(int(days))) for days in np.r_[0, np.cumsum(steps)]]


def uuids(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return `count` random version 4 UUIDs, an object array (count,) of str."""
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
    """Return the shared cells of one FOV, and half as many more that are present on some days only."""
    n_partial = len(index) // 2
    present = rng.random((n_partial, n_days)) < 0.6
    absent = rng.integers(n_days, size=n_partial)
    present[np.arange(n_partial), absent] = False  # otherwise some would be present on all days by chance
    uids = np.r_[shared_uids[index], uuids(rng, n_partial)]
    positions = rng.integers(20, N_LINES - 20, size=(len(uids), 2))
    return Cells(uids, positions, np.r_[np.ones((len(index), n_days), dtype=bool), present], index)


def _draw_codes(rng: np.random.Generator, params: Params) -> dict[str, np.ndarray]:
    """Return the preferred class of each shared cell on each day: target -> (D, n_shared) of -1, +1, or 0 for none.

    The set of each target grows from its own start on a ring of cells, so that sets are nested over days and few
    cells code two targets.
    """
    n = params.n_shared
    # by equal factors: k* is about inversely proportional to the share, and its trend is that of log2 k*
    shares = np.geomspace(*_INFORMATIVE, params.n_days)
    counts = {target: np.maximum(np.round(shares * n).astype(int), 1) for target in TREND_TARGETS}
    counts["block"] = np.full(params.n_days, max(round(_BLOCK_SHARE * n), 1))
    ring = rng.permutation(n)
    codes = {}
    for start, target in zip((0, n // 3, 2 * n // 3, n // 6), TARGETS, strict=True):
        code = np.zeros((params.n_days, n), dtype=int)
        for day, count in enumerate(counts[target]):
            cells = np.roll(ring, -start)[:count]
            # alternating, so that both classes have as many cells
            code[day, cells] = np.where(np.arange(count) % 2 == 0, 1, -1)
        codes[target] = code
    return codes


def make_layout(params: Params, cells: Cells, day: int, fov: int) -> Layout:
    """Return the day's tracked cells and untracked ROIs in random order; 17 % are not cells, none of these shared."""
    rng = params.rng(2, day, fov)
    size = 1.2 - 0.4 * fov / max(params.n_fovs - 1, 1)
    n_rois = round(params.rois_per_fov * size) + int(rng.integers(-8, 9))
    seen = np.flatnonzero(cells.present[:, day])
    member = np.full(n_rois, -1)
    member[: len(seen)] = seen
    # 20 pixels from the edge: the shift from day to day must not lead out of the image
    positions = rng.integers(20, N_LINES - 20, size=(n_rois, 2))
    jitter = rng.integers(-3, 4, size=(len(seen), 2))  # pixels; a FOV is never at exactly the same place again
    positions[: len(seen)] = cells.positions[seen] + jitter
    is_cell = np.ones(n_rois, dtype=bool)
    candidates = np.arange(cells.n_shared, n_rois)
    is_cell[rng.choice(candidates, round(0.17 * n_rois), replace=False)] = False
    order = rng.permutation(n_rois)
    return Layout(member[order], positions[order].astype(np.int64), is_cell[order])


_LAPSE = {"choice": 0.04, "feedback": 0.04, "stimulus": 0.04, "block": 0.1}  # fraction of trials of each class


N_LAGS = 8  # lags at which cells follow running


def draw_representation(
    rng: np.random.Generator, trials: pd.DataFrame, side: np.ndarray, contrast: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what cells represent on each trial: target -> (n,) of -1, 0, +1. It is the true label, but for lapses."""
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
    for sign in (-1, 1):  # at zero contrast nothing is on the screen, and cells represent a guess
        labels["stimulus"] = _flip(rng, labels["stimulus"], np.flatnonzero((side == sign) & (contrast == 0)), 0.4)
    return labels


def _flip(rng: np.random.Generator, values: np.ndarray, members: np.ndarray, share: float) -> np.ndarray:
    """Return `values` with the sign of a fraction of `members` flipped; the number is exact, for equal ceilings."""
    flipped = values.copy()
    flipped[rng.choice(members, round(share * len(members)), replace=False)] *= -1
    return flipped
