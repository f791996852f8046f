"""Averages around events: lines with their standard error, and one row per cell.

What is drawn is made by `pipeline.signals.peri_event`; any other averages in bins can be drawn as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pipeline.errors import ArgumentError

from .style import (
    LEGEND_LINE,
    LEGEND_MAX,
    LINE_COLORS,
    MAX_ROWS,
    UNKNOWN_COLOR,
    StyledFigure,
    distinct_region_colors,
    elided,
    grid_shape,
    panel_letter,
    pooled_regions,
    region_entries,
    region_palette,
    set_legend,
    set_suptitle,
    settle,
    shared_axes,
    style,
)

SHADE = "0.9"


@dataclass(frozen=True, eq=False)
class Average:
    """Average of a cell or population around an event.

    Parameters
    ----------
    label : str
        In the legend: lines of one label have one colour in all panels.
    edges : (L + 1,) array
        Of the bins, s from the event.
    mean : (L,) array
    sem : (L,) array, optional
        Standard error of the mean.
    n_trials : (L,) array or int, optional
        Trials behind it; the legend says the most.
    """

    label: str
    edges: Any
    mean: Any
    sem: Any = None
    n_trials: Any = None

    def __post_init__(self) -> None:
        for name in ("edges", "mean", "sem"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=float))
        if len(self.edges) < 2 or not np.all(np.diff(self.edges) > 0):
            raise ArgumentError(f"average {self.label!r}: edges are two or more increasing times, not {self.edges}")
        for name in ("mean", "sem"):
            value = getattr(self, name)
            if value is not None and value.shape != (len(self.edges) - 1,):
                raise ArgumentError(f"average {self.label!r}: {len(self.edges) - 1} bins but {name} has {value.shape}")


def peri_event_lines(
    panels: Mapping[str, Sequence[Average]],
    *,
    event: str = "event",
    unit: str = "activity",
    window: tuple[float, float] | None = None,
    colors: Mapping[str, str] | None = None,
    title: str | None = None,
    n_columns: int = 4,
) -> StyledFigure:
    """Draw averages around an event as lines, with a band of one standard error, in panels with common axes.

    Parameters
    ----------
    panels : mapping of title to averages
        Such as one panel for each region, in each one line for each kind of trial.
    event : str
        Name of time zero.
    unit : str
        Of the activity, at the left.
    window : (float, float), optional
        Seconds from the event, shaded: the window in which activity is decoded, say.
    colors : mapping of label to colour, optional
        Default: seven that colour-blind eyes tell apart, then `distinct_region_colors`.
    title : str, optional
        Above all panels.
    n_columns : int
        Most panels side by side.

    Returns
    -------
    StyledFigure
        With one axes per panel. Lines have the labels of the averages.

    Raises
    ------
    ArgumentError
        There is no average at all.

    Examples
    --------
    >>> left = Average("choice left", [-0.2, 0, 0.2], [1, 3], [0.2, 0.3], 40)
    >>> fig = peri_event_lines({"VISp": [left]}, event="first movement")
    >>> fig.axes[0].get_xlabel(), fig.axes[0].lines[-1].get_ydata().tolist()
    ('s from first movement', [1.0, 3.0])
    """
    averages = [average for panel in panels.values() for average in panel]
    if not averages:
        raise ArgumentError("there is no average to draw")
    palette = _line_colors([average.label for average in averages]) if colors is None else dict(colors)
    columns, rows = grid_shape(len(panels), n_columns)
    with style():
        labels = list(dict.fromkeys(average.label for average in averages))
        height = max(1.6 * rows + 0.8, LEGEND_LINE * (len(labels) + 3) + 0.3)
        fig = StyledFigure(figsize=((1.9 if columns > 1 else 3.0) * columns + 2.4, height), layout="constrained")
        grid = shared_axes(fig, len(panels), n_columns)
        for i, (ax, (name, panel)) in enumerate(zip(grid, panels.items(), strict=True)):
            _mark_event(ax, averages, window)
            for average in panel:
                _draw_average(ax, average, palette.get(average.label, UNKNOWN_COLOR))
            letter = f"{panel_letter(i)}  " if 1 < len(panels) <= 26 else ""
            ax.set_title(f"{letter}{elided(name, 24)}")
            ax.set(xlabel=f"s from {event}", ylabel=unit)
        _explain_lines(fig, averages, palette, window)
        if title:
            set_suptitle(fig, title)
        settle(fig)
    return fig


def _line_colors(labels: Sequence[str]) -> dict[str, str]:
    names = list(dict.fromkeys(labels))
    return (
        dict(zip(names, LINE_COLORS, strict=False)) if len(names) <= len(LINE_COLORS) else distinct_region_colors(names)
    )


def _draw_average(ax: Axes, average: Average, color: str) -> None:
    """A line through the middles of the bins, and a band; a dot where a value has no neighbours to join."""
    lags = (average.edges[:-1] + average.edges[1:]) / 2
    if average.sem is not None:
        low, high = average.mean - average.sem, average.mean + average.sem
        ax.fill_between(lags, low, high, color=color, alpha=0.25, linewidth=0, zorder=2)
    good = np.pad(np.isfinite(average.mean), 1)
    alone = good[1:-1] & ~good[:-2] & ~good[2:]
    ax.plot(lags[alone], average.mean[alone], ".", color=color, zorder=3)
    ax.plot(lags, average.mean, color=color, zorder=3, label=average.label)


def _mark_event(ax: Axes, averages: Sequence[Average], window: tuple[float, float] | None) -> None:
    """A line at the event, the window behind, and the same limits for all panels."""
    ax.set_xlim(min(average.edges[0] for average in averages), max(average.edges[-1] for average in averages))
    ax.axvline(0, color="0.6", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    if window is not None:
        ax.axvspan(*window, color=SHADE, linewidth=0, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(4))


def _explain_lines(
    fig: StyledFigure, averages: Sequence[Average], palette: Mapping[str, str], window: tuple[float, float] | None
) -> None:
    """What the colours, bands and shades mean; how many trials."""
    trials: dict[str, int] = {}
    for average in averages:
        most = 0 if average.n_trials is None else int(np.max(average.n_trials, initial=0))
        trials[average.label] = max(trials.get(average.label, 0), most)
    told = any(average.n_trials is not None for average in averages)
    handles: list[Any] = [
        Line2D(
            [], [], color=palette.get(label, UNKNOWN_COLOR), label=f"{elided(label)} ({n})" if told else elided(label)
        )
        for label, n in trials.items()
    ]
    if any(average.sem is not None for average in averages):
        handles.append(Patch(color="0.8", label="± standard error"))
    if window is not None:
        handles.append(Patch(color=SHADE, label=f"window {window[0]:g} to {window[1]:g} s".replace("-", "−")))
    set_legend(fig, handles, title="mean over trials (n)" if told else "mean over trials", labelspacing=0.35)


def peri_event_map(
    mean: np.ndarray,
    edges: np.ndarray,
    *,
    order: np.ndarray | None = None,
    normalize: bool = True,
    regions: np.ndarray | None = None,
    region_colors: Mapping[str, str] | None = None,
    event: str = "event",
    unit: str = "activity",
    window: tuple[float, float] | None = None,
    title: str | None = None,
) -> StyledFigure:
    """Draw the average of each cell around an event as a row, the first of the order on top.

    More than 1200 cells are averaged, after they are normalised, to as many rows.

    Parameters
    ----------
    mean : (N, L) array
        Cells without any value come last, blank.
    edges : (L + 1,) array
        Of the bins, s from the event, increasing.
    order : (N,) int array, optional
        Permutation of the cells. Default: by the bin in which they are most active. Cells sorted and shown by the same
        trials look like a sequence even if all is noise: sort by the averages of other trials.
    normalize : bool
        Show each cell in standard deviations from its own mean over the bins, or all in `unit`.
    regions, region_colors : (N,) array of str, mapping; optional
        Strip beside the rows, as in `raster`.
    event, unit : str
        Names of time zero and of the activity.
    window : (float, float), optional
        Seconds from the event, marked by two lines.
    title : str, optional

    Returns
    -------
    StyledFigure
        Its axes have labels: "cells", "region strip", "colorbar".

    Raises
    ------
    ArgumentError
        An argument is not as above.

    Examples
    --------
    >>> fig = peri_event_map(np.array([[0, 0, 3], [3, 0, 0]]), [-0.2, 0, 0.2, 0.4], normalize=False)
    >>> fig.axes[0].images[0].get_array().tolist()
    [[3.0, 0.0, 0.0], [0.0, 0.0, 3.0]]
    """
    mean, edges, rank = _checked(mean, edges, order, regions)
    values = _deviations(mean) if normalize else mean
    starts = np.linspace(0, len(rank), min(len(rank), MAX_ROWS), endpoint=False).astype(int)
    image = _row_means(values[rank], starts)
    names = None if regions is None else pooled_regions(regions, LEGEND_MAX)
    with style():
        n_names = 0 if names is None else len(set(names.tolist()))
        fig = StyledFigure(figsize=(6.2, max(4.4, LEGEND_LINE * n_names + 0.6)), layout="constrained")
        widths = [1] if names is None else [1, 0.03]
        grid = fig.add_gridspec(1, len(widths), width_ratios=widths)
        ax = fig.add_subplot(grid[0, 0], label="cells")
        options: dict[str, Any] = _limits(image, normalize)
        # bins may differ in width: the image is drawn on their edges
        shown = ax.pcolorfast(edges, np.linspace(-0.5, len(rank) - 0.5, len(image) + 1), image, **options)
        ax.set(ylim=(len(rank) - 0.5, -0.5), xlim=(edges[0], edges[-1]), xlabel=f"s from {event}")
        ax.set_ylabel(f"cell (n = {len(rank)})")
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.axvline(0, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
        for bound in window or ():
            ax.axvline(bound, color="black", linewidth=0.6, linestyle=(0, (1, 1.5)))
        axes = [ax]
        if names is not None:
            axes.append(fig.add_subplot(grid[0, 1], label="region strip"))
            _draw_strip(fig, axes[1], names, rank, starts, region_colors)
        label = f"{unit} (sd of the cell)" if normalize else unit
        bar = fig.colorbar(shown, ax=axes, label=label, shrink=0.6, aspect=25, extend="both", extendfrac=0.03)
        bar.ax.set_label("colorbar")
        if not np.isfinite(image).any():
            ax.annotate("no cell has a value", (0.5, 0.5), xycoords="axes fraction", ha="center", color="0.4")
        if title:
            set_suptitle(fig, title)
        settle(fig)
    return fig


def peak_order(mean: np.ndarray) -> np.ndarray:
    """Return the order (N,) int64 of cells by the bin of their largest mean (N, L); those without a value come last.

    Examples
    --------
    >>> peak_order(np.array([[0, 2], [np.nan, np.nan], [1, np.nan]])).tolist()
    [2, 0, 1]
    """
    mean = np.asarray(mean, dtype=float)
    good = np.isfinite(mean)
    peak = np.where(good, mean, -np.inf).argmax(axis=1)
    return np.argsort(np.where(good.any(axis=1), peak, mean.shape[1]), kind="stable")


def _checked(mean: Any, edges: Any, order: Any, regions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, edges and order as arrays, once they fit."""
    mean, edges = np.asarray(mean, dtype=float), np.asarray(edges, dtype=float)
    if mean.ndim != 2 or not mean.size:
        raise ArgumentError(f"mean is (cells, bins) and not empty, but its shape is {mean.shape}")
    n_cells, n_bins = mean.shape
    if edges.shape != (n_bins + 1,) or not np.all(np.diff(edges) > 0):
        raise ArgumentError(f"edges are {n_bins + 1} increasing times in s for {n_bins} bins, not {edges}")
    rank = peak_order(mean) if order is None else np.asarray(order)
    if rank.shape != (n_cells,) or not np.array_equal(np.sort(rank), np.arange(n_cells)):
        raise ArgumentError(f"order must hold each of 0..{n_cells - 1} once")
    if regions is not None and np.shape(regions) != (n_cells,):
        raise ArgumentError(f"there are {n_cells} cells but regions have shape {np.shape(regions)}")
    return mean, edges, rank


def _deviations(mean: np.ndarray) -> np.ndarray:
    """Each row less its mean, over its standard deviation; 0 where it is flat, NaN where it is."""
    good = np.isfinite(mean)
    n = np.maximum(good.sum(axis=1, keepdims=True), 1)
    centred = mean - np.where(good, mean, 0).sum(axis=1, keepdims=True) / n
    sd = np.sqrt(np.where(good, centred**2, 0).sum(axis=1, keepdims=True) / n)
    deviations: np.ndarray = centred / np.where(sd > 0, sd, 1)
    return deviations


def _row_means(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean of the finite values of the rows from each start to the next."""
    good = np.isfinite(rows)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        return np.add.reduceat(np.where(good, rows, 0), starts, axis=0) / np.add.reduceat(
            good, starts, axis=0, dtype=float
        )


def _limits(image: np.ndarray, normalize: bool) -> dict[str, Any]:
    """Colours that most values use: on both sides of zero, or from little to much."""
    values = image[np.isfinite(image)]
    if normalize:
        top = float(np.percentile(np.abs(values), 99)) if values.size else 1.0
        return {"cmap": "PuOr_r", "vmin": -(top or 1.0), "vmax": top or 1.0}
    low, high = (float(q) for q in np.percentile(values, (1, 99))) if values.size else (0.0, 1.0)
    return {"cmap": "viridis", "vmin": low, "vmax": high if high > low else low + 1}


def _draw_strip(
    fig: StyledFigure,
    ax: Axes,
    names: np.ndarray,
    rank: np.ndarray,
    starts: np.ndarray,
    colors: Mapping[str, str] | None,
) -> None:
    """Region of the first cell of each row, and the legend."""
    palette = region_palette(names, colors)
    rgb = np.array([to_rgb(palette[name]) for name in names[rank][starts].tolist()])
    ax.imshow(rgb[:, None], aspect="auto", extent=(0, 1, len(rank) - 0.5, -0.5), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    handles = [Patch(color=color, label=text) for text, color in region_entries(names, palette)]
    set_legend(fig, handles, title="region (cells)", handlelength=1, handleheight=1, labelspacing=0.35)
