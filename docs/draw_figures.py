"""Draw the pictures of docs/figures.md from made-up cells: python docs/draw_figures.py."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.clock import ROITimes
from pipeline.figures import (
    Average,
    StyledFigure,
    cell_map,
    cell_map_3d,
    peri_event_lines,
    peri_event_map,
    presence_map,
    save,
    shared_counts,
    survival,
)
from pipeline.figures.peri_event import peak_order
from pipeline.peri_event import peri_event

AREAS = ("VISp", "VISam", "MOs", "SSp-bfd")
DATES = [str(datetime.date(2025, 3, 3) + datetime.timedelta(day)) for day in (0, 2, 4, 9, 11, 12)]


def cells(n: int = 2400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, regions and FOVs: four FOVs on a curved surface, each with an upper and a deeper layer."""
    rng = np.random.default_rng(0)
    fovs = np.arange(n) % 4
    centres = np.array([[-2600, -3600], [-1500, -2300], [-900, 1500], [2700, -1300]])
    ml_ap = centres[fovs] + rng.uniform(-420, 420, (n, 2))
    dv = -np.sum(ml_ap**2, axis=1) / 20_000 - 150 - rng.choice([0, 150], n)
    layers = np.where(dv + np.sum(ml_ap**2, axis=1) / 20_000 < -200, "5", "2/3")
    return np.column_stack([ml_ap, dv]), np.char.add(np.array(AREAS)[fovs], layers), fovs


def map_of_regions() -> StyledFigure:
    """In the plane, by region, with the outlines of the FOVs."""
    xyz, regions, fovs = cells()
    return cell_map(xyz, regions=regions, fovs=fovs)


def map_in_space() -> StyledFigure:
    """In space, by a number."""
    xyz, _, _ = cells()
    return cell_map_3d(xyz, values=np.argsort(np.argsort(xyz @ [1, 2, 0])), label="Rastermap rank")


def activity() -> tuple[np.ndarray, ROITimes, np.ndarray, np.ndarray]:
    """Activity of 400 cells, their times, 120 events, and which are left: each cell has a latency and a preference."""
    rng = np.random.default_rng(1)
    clock = np.arange(5000) * 0.197
    times = ROITimes({0: clock, 1: clock + 0.1}, np.arange(400) % 2, rng.uniform(0, 0.02, 400))
    events = 10 + 8 * np.arange(120) + rng.uniform(0, 2, 120)
    left, latency = rng.random(120) < 0.5, rng.uniform(-0.3, 1.2, 400)
    traces = rng.exponential(0.5, times.shape)
    for row, trace in enumerate(traces):
        event = np.searchsorted(events, times[row] - latency[row], side="right") - 1
        since = times[row] - events[event] - latency[row]
        strength = np.where(left[event], 1 + row % 4, 4 - row % 4)
        trace += strength * np.exp(-np.abs(since) / 0.3) * (since >= 0)
    return traces, times, events, left


def averages() -> StyledFigure:
    """Lines by population, for two halves of the events."""
    traces, times, events, side = activity()
    groups = np.array(AREAS)[np.arange(400) % 4]
    panels: dict[str, list[Average]] = {area: [] for area in AREAS}
    for label, chosen in (("choice left", side), ("choice right", ~side)):
        found = peri_event(traces, times, np.where(chosen, events, np.nan), groups=groups)
        for area, mean, sem, n in zip(found.names.tolist(), found.mean, found.sem, found.n_trials, strict=True):
            panels[area].append(Average(label, found.edges, mean, sem, n))
    return peri_event_lines(panels, event="first movement", unit="deconvolved", window=(0, 0.15), n_columns=4)


def rows_of_cells() -> StyledFigure:
    """A row for each cell, sorted by other trials than those that are shown."""
    traces, times, events, _ = activity()
    order = peak_order(peri_event(traces, times, events[::2]).mean)
    shown = peri_event(traces, times, events[1::2])
    regions = np.array(AREAS)[np.arange(400) % 4]
    return peri_event_map(
        shown.mean, shown.edges, order=order, regions=regions, event="first movement", unit="deconvolved"
    )


def tracked() -> np.ndarray:
    """Cells over six days, of which some come late and some are lost."""
    rng = np.random.default_rng(3)
    first, last = rng.integers(-4, 6, 900), rng.integers(3, 16, 900)
    day = np.arange(6)
    found = (day >= first[:, None]) & (day <= last[:, None]) & (rng.random((900, 6)) < 0.9)
    return found[found.any(axis=1)]


PICTURES: dict[str, Callable[[], StyledFigure]] = {
    "figure_map": map_of_regions,
    "figure_map_3d": map_in_space,
    "figure_averages": averages,
    "figure_cells": rows_of_cells,
    "figure_presence": lambda: presence_map(tracked(), DATES),
    "figure_shared": lambda: shared_counts(tracked(), DATES, n_bars=36),
    "figure_survival": lambda: survival(tracked(), DATES),
}


def draw(folder: Path, *, dpi: int = 110) -> list[Path]:
    """Draw all pictures into a folder; the same bytes each time."""
    return [save(figure(), folder / f"{name}.png", {"made by": "docs/draw_figures.py"}, dpi=dpi)
            for name, figure in PICTURES.items()]  # fmt: skip


if __name__ == "__main__":
    draw(Path(__file__).parent / "images")
