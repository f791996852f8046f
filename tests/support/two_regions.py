"""Three mice, made like the demo's, whose visual cortex gets more efficient from day to day and whose RSP does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.demo.repository import LAB, write_one_tables, write_session
from pipeline.demo.truth import Cohort, Params, dates, make_cohort

MICE = ("SP072", "SP076", "SP080")
#: Days of each mouse. The first mouse has one more, its sixth, on which half of the cells are not found.
N_DAYS, BAD_DAY = 8, 5
#: Cells of each region on all other days, and how many of them tell the choice: in VISp from first to last day.
N_CELLS, VISP, RSP = 32, (2, 20), 6
#: First days of the demo that are left out: the numbers in docs/science/two_regions.md are of those that follow.
SKIPPED = 2


def write_mice(root: Path) -> tuple[str, ...]:
    """Write the ONE repository of the mice to a new folder; return the ids of all sessions, by mouse and day."""
    for seed, name in enumerate(MICE):
        n_days = N_DAYS + (seed == 0)
        params = Params(seed, SKIPPED + n_days, n_fovs=2, n_trials=200, n_shared=2 * N_CELLS, rois_per_fov=100)
        cohort = _cohort(params, bad_day=SKIPPED + BAD_DAY if seed == 0 else None)
        for day, date in enumerate(dates(n_days), SKIPPED):
            write_session(root / LAB / "Subjects" / name / date / "001", params, cohort, day)
    return write_one_tables(root)


def slope(region: str, n_days: int = N_DAYS) -> float:
    """Return the planted slope per day of log2 of the cells that are needed: a line through the days of a mouse."""
    days = np.array(dates(n_days), dtype="datetime64[D]").astype(float)
    return -float(np.polyfit(days, np.log2(_counts(region, n_days)), 1)[0])


def _counts(region: str, n_days: int) -> np.ndarray:
    """Return the number of cells of a region that tell the choice on each day, (n_days,) int."""
    counts = np.geomspace(*VISP, n_days) if region == "VISp" else np.full(n_days, RSP)
    return np.round(counts).astype(int)


def _cohort(params: Params, bad_day: int | None) -> Cohort:
    """Return the cells of a mouse: those of FOV 0 are in VISp, those of FOV 1 in RSPagl."""
    cohort = make_cohort(params)
    rng, code = params.rng(10), np.zeros((params.n_days, params.n_shared), dtype=int)
    for fov, region in zip(cohort.fovs, ("VISp", "RSP"), strict=True):
        for day, count in enumerate(_counts(region, params.n_days - SKIPPED), SKIPPED):
            # nested from day to day; alternating, so that both choices have as many cells
            code[day, fov.shared_index[:count]] = np.where(np.arange(count) % 2, 1, -1)
        if bad_day is not None:
            fov.present[: fov.n_shared : 2, bad_day] = False
    # of this FOV only the right part is in RSPagl, on every day
    fov.positions[:, 1] = rng.integers(330, 490, len(fov.positions))
    return replace(cohort, codes={"choice": code})
