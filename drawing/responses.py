"""Stability over days and responses of single cells, as figures and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from drawing.cells import session_stem, session_title
from pipeline import figures
from pipeline.decoding.fits.families import significant
from pipeline.decoding.nulls import TARGETS
from pipeline.responses import ALL
from pipeline.text import counted
from schemas.provenance import environment_row
from schemas.responses.run import CellsRun, StabilityRun

#: Similarities that are drawn; "pearson" hardly differs from "spearman".
DRAWN = ("spearman", "population")


@dataclass
class DrawableStability(StabilityRun):
    """Stability over the days of a set of sessions, with methods that draw it and save it.

    Attributes
    ----------
    figures : dict of str to Figure
        The figure, as "stability", once ``draw`` has been called.
    """

    figures: dict[str, Figure] = field(default_factory=dict)

    @classmethod
    def of(cls, run: StabilityRun) -> DrawableStability:
        """Return a run with the methods that draw it."""
        return cls(**vars(run))

    def draw(self, width: str | None = None) -> dict[str, Figure]:
        """Draw the stability over the distance in days; no figure if nothing was computed."""
        self.figures = {"stability": _figure(self, width)} if self.gaps else {}
        return self.figures

    def save(self, output: Path, suffix: str = "png") -> list[Path]:
        """Save the figures with what they were made from; return the files."""
        drawn = self.figures or self.draw()
        provenance = {**self.task, "git_commit": environment_row()["git_commit"]}
        stem = figures.file_stem("stability", self.subject, self.task["session_set"][:8])
        return [figures.save(figure, output / f"{stem}.{suffix}", provenance) for figure in drawn.values()]


def _figure(run: StabilityRun, width: str | None) -> Figure:
    """Draw the stability of all cells with its controls, and of each region."""
    regions = list(dict.fromkeys(row["region"] for row in run.gaps if row["region"] not in (ALL, "")))
    gap = ("gap_days", "gap_stability", "gap_low", "gap_high")
    control = ("gap_days", "control_mean", "control_low", "control_high")
    return figures.stability_over_days(
        {name: _columns(_of(run.gaps, similarity=name, region=ALL), gap) for name in DRAWN},
        controls={
            name: _columns(_of(run.controls, stability_control=name), control)
            for name in ("features", "neurons", "matched")
        },
        regions={
            name: _columns(_of(run.gaps, similarity="spearman", region=name), gap) for name in regions
        },
        slopes={
            row["similarity"]: (
                _float(row["stability_slope"]), _float(row["stability_slope_low"]), _float(row["stability_slope_high"])
            )
            for row in run.slopes if row["region"] == ALL and row["similarity"] in DRAWN
        },
        title=f"{run.subject}: {run.n_cells} cells on {len(run.sessions)} days, {len(run.windows)} kinds of trials",
        width=width,
    )  # fmt: skip


def _of(rows: Iterable[dict[str, Any]], **values: str) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def _columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> np.ndarray:
    return np.array([[_float(row[name]) for name in names] for row in rows], dtype=float).reshape(-1, len(names))


def _float(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def stability_rows(run: StabilityRun) -> list[dict[str, Any]]:
    """Return what the terminal shows: the stability of all cells, and of each region, over distances."""
    return [
        {
            "region": row["region"] or "unknown", "similarity": row["similarity"], "days": row["gap_days"],
            "stability": row["gap_stability"], "low": row["gap_low"], "high": row["gap_high"],
            "pairs": row["n_gap_pairs"], "cells": row["n_gap_cells"],
        }
        for row in run.gaps if row["similarity"] in DRAWN
    ]  # fmt: skip


def unreliable_lines(run: StabilityRun) -> list[str]:
    """Return as text the regions of which pairs of days are not compared, though those of all cells may be."""
    lines = []
    for measure in DRAWN:
        found = []
        for region in dict.fromkeys(row["region"] for row in run.gaps if row["region"] != ALL):
            rows = _of(run.gaps, similarity=measure, region=region)
            without = sum(row["n_gap_unreliable"] for row in rows)
            n = without + sum(row["n_gap_pairs"] for row in rows)
            found += [f"{region or 'unknown'} ({without} of {counted(n, 'pair', 'pairs')})"] if without else []
        if found:
            lines.append(f"{measure}: no reliability on one of the days, so no stability, in {', '.join(found)}")
    return lines


def slope_lines(run: StabilityRun) -> list[str]:
    """Return the change of the stability per day as text, a line for each region and similarity."""
    lines = []
    for row in run.slopes:
        slope, low, high = (row[name] for name in ("stability_slope", "stability_slope_low", "stability_slope_high"))
        if row["similarity"] in DRAWN and slope is not None:
            inside = "no interval" if low is None else f"95 % {low:+.3f} to {high:+.3f}"
            lines.append(f"{row['region'] or 'unknown'}, {row['similarity']}: {slope:+.3f} per day, {inside}")
    return lines


def draw_cells(run: CellsRun, output: Path, suffix: str) -> Path:
    """Draw and save how reliable and selective the cells of a session are; return the file."""
    targets = [name for name in TARGETS if any(f"auroc_{name}" in cell for cell in run.cells)]
    figure = figures.cell_responses(
        _values(run, "split_half"),
        {name: _values(run, f"auroc_{name}") for name in targets},
        {name: _values(run, f"auroc_q_{name}") for name in targets},
        n_shuffles=run.n_shuffles, title=session_title(run.eid),
    )  # fmt: skip
    provenance = {"eid": run.eid, "n_shuffles": run.n_shuffles, "git_commit": environment_row()["git_commit"]}
    return figures.save(figure, output / f"{session_stem('cells', run.eid)}.{suffix}", provenance)


def _values(run: CellsRun, name: str) -> np.ndarray:
    return np.array([_float(cell.get(name)) for cell in run.cells])


def cell_summary(run: CellsRun) -> list[dict[str, Any]]:
    """Return a row for each region (Beryl) with medians over its cells, and shares with q <= 0.05 by target."""
    targets = [name for name in TARGETS if any(f"auroc_{name}" in cell for cell in run.cells)]
    regions = sorted({cell["beryl"] for cell in run.cells})
    rows = []
    for region in regions:
        cells = [cell for cell in run.cells if cell["beryl"] == region]
        rows.append({
            "eid": run.eid, "region": region, "n_cells": len(cells),
            **{name: _median(cells, name) for name in ("split_half", "signal_to_noise", "sparseness")},
            **{f"{name}_selective": _share(cells, f"auroc_q_{name}") for name in targets},
        })  # fmt: skip
    return rows


def _median(cells: list[dict[str, Any]], name: str) -> float | None:
    known = [cell[name] for cell in cells if cell[name] is not None]
    return float(np.median(known)) if known else None


def _share(cells: list[dict[str, Any]], name: str) -> float | None:
    known = [cell[name] for cell in cells if cell.get(name) is not None]
    return float(np.mean(significant(known))) if known else None
