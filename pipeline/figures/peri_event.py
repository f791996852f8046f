"""Peri-event averages, as lines with their standard error and as an image with one row per cell.

`pipeline.signals.peri_event` computes such averages; other averages in time bins can be drawn, too.
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
    LEGEND_LINE_HEIGHT,
    LEGEND_MAX,
    LINE_COLORS,
    MAX_ROWS,
    UNKNOWN_COLOR,
    StyledFigure,
    columns_in,
    distinct_region_colors,
    elided,
    grid_shape,
    new_figure,
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

WINDOW_COLOR = "0.9"  # grey behind the decoding window


@dataclass(frozen=True, eq=False)
class Average:
    """Average activity of a cell or population around an event.

    Parameters
    ----------
    label : str
        Legend entry; lines with the same label have the same colour in all panels.
    edges : (L + 1,) array
        Bin edges in s from the event.
    mean : (L,) array
    sem : (L,) array, optional
        Standard error of the mean.
    n_trials : (L,) array or int, optional
        Number of averaged trials; the legend gives the maximum over bins.
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
            raise ArgumentError(
                f"average {self.label!r}: edges must be two or more increasing times in s, not {self.edges}"
            )
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
    width: str | None = None,
) -> StyledFigure:
    """Draw peri-event averages as lines with a band of ± one standard error, in panels with common axes.

    Parameters
    ----------
    panels : mapping of title to averages
        For example one panel per region, each with one line per kind of trial.
    event : str
        Name of the event at time 0.
    unit : str
        Quantity or unit of the activity, the label of the y axis.
    window : (float, float), optional
        Shaded window in s from the event, such as the decoding window.
    colors : mapping of label to colour, optional
        Default: up to seven colours that colour-blind readers can distinguish; for more labels,
        `distinct_region_colors`.
    title : str, optional
        Title above all panels.
    n_columns : int
        Maximum number of panels side by side.
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With one axes per panel. Lines have the labels of the averages.

    Raises
    ------
    ArgumentError
        There are no averages.

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
    n_columns = columns_in(width, n_columns)
    columns, rows = grid_shape(len(panels), n_columns)
    with style():
        labels = list(dict.fromkeys(average.label for average in averages))
        height = max(1.6 * rows + 0.8, LEGEND_LINE_HEIGHT * (len(labels) + 3) + 0.3)
        if width == "single":
            height = 2.0 * rows + 0.8
        fig = new_figure(((1.9 if columns > 1 else 3.0) * columns + 2.4, height), width)
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
    """Draw a line through the bin centres, a band of ± one standard error, and dots for values without neighbours."""
    lags = (average.edges[:-1] + average.edges[1:]) / 2
    if average.sem is not None:
        low, high = average.mean - average.sem, average.mean + average.sem
        ax.fill_between(lags, low, high, color=color, alpha=0.25, linewidth=0, zorder=2)
    good = np.pad(np.isfinite(average.mean), 1)  # a line shows nothing of a value between two NaN
    alone = good[1:-1] & ~good[:-2] & ~good[2:]
    ax.plot(lags[alone], average.mean[alone], ".", color=color, zorder=3)
    ax.plot(lags, average.mean, color=color, zorder=3, label=average.label)


def _mark_event(ax: Axes, averages: Sequence[Average], window: tuple[float, float] | None) -> None:
    """Mark the event with a line and the window with a shade, and set limits common to all panels."""
    ax.set_xlim(min(average.edges[0] for average in averages), max(average.edges[-1] for average in averages))
    ax.axvline(0, color="0.6", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    if window is not None:
        ax.axvspan(*window, color=WINDOW_COLOR, linewidth=0, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(4))


def _explain_lines(
    fig: StyledFigure, averages: Sequence[Average], palette: Mapping[str, str], window: tuple[float, float] | None
) -> None:
    """Add a legend of lines (with their number of trials), bands and shades."""
    trials: dict[str, int] = {}
    for average in averages:
        most = 0 if average.n_trials is None else int(np.max(average.n_trials, initial=0))
        trials[average.label] = max(trials.get(average.label, 0), most)
    has_counts = any(average.n_trials is not None for average in averages)
    handles: list[Any] = [
        Line2D(
            [],
            [],
            color=palette.get(label, UNKNOWN_COLOR),
            label=f"{elided(label)} ({n})" if has_counts else elided(label),
        )
        for label, n in trials.items()
    ]
    if any(average.sem is not None for average in averages):
        handles.append(Patch(color="0.8", label="± standard error"))
    if window is not None:
        handles.append(Patch(color=WINDOW_COLOR, label=f"window {window[0]:g} to {window[1]:g} s".replace("-", "−")))
    set_legend(fig, handles, title="mean over trials (n)" if has_counts else "mean over trials", labelspacing=0.35)


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
    width: str | None = None,
) -> StyledFigure:
    """Draw the peri-event average of each cell as a row of an image, the first of the order on top.

    With more than 1200 cells, neighbours in the order are averaged to 1200 rows, after normalisation.

    Parameters
    ----------
    mean : (N, L) array
        Average of each cell; cells without any value come last and are blank.
    edges : (L + 1,) array
        Bin edges in s from the event, increasing.
    order : (N,) int array, optional
        Permutation of the cells. Default: by the bin of their maximum. Cells that are sorted and shown by the same
        trials look like a sequence even if they are noise: sort by averages over other trials.
    normalize : bool
        Show each cell in standard deviations from its own mean over bins, instead of all in `unit`.
    regions, region_colors : (N,) array of str, mapping; optional
        Strip beside the rows, as in `raster`.
    event, unit : str
        Names of the event at time 0 and of the activity.
    window : (float, float), optional
        Window in s from the event, marked by two lines.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        Its axes have the labels "cells", "region strip", "colorbar".

    Raises
    ------
    ArgumentError
        A shape does not fit, edges do not increase, or the order is not a permutation.

    Examples
    --------
    >>> fig = peri_event_map(np.array([[0, 0, 3], [3, 0, 0]]), [-0.2, 0, 0.2, 0.4], normalize=False)
    >>> fig.axes[0].images[0].get_array().tolist()
    [[3.0, 0.0, 0.0], [0.0, 0.0, 3.0]]
    """
    mean, edges, rank = _checked(mean, edges, order, regions)
    values = _deviations(mean) if normalize else mean
    starts = np.linspace(0, len(rank), min(len(rank), MAX_ROWS), endpoint=False).astype(int)
    # normalised before averaging: otherwise the most active cell would dominate its row
    image = _row_means(values[rank], starts)
    names = None if regions is None else pooled_regions(regions, LEGEND_MAX)
    with style():
        n_names = 0 if names is None else len(set(names.tolist()))
        height = 3.6 if width == "single" else max(4.4, LEGEND_LINE_HEIGHT * n_names + 0.6)
        fig = new_figure((6.2, height), width)
        widths = [1] if names is None else [1, 0.03]
        grid = fig.add_gridspec(1, len(widths), width_ratios=widths)
        ax = fig.add_subplot(grid[0, 0], label="cells")
        options: dict[str, Any] = _limits(image, normalize)
        # pcolorfast and not imshow, because bins may differ in width
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
    """Return the order (N,) int64 of cells by the bin of their maximum in (N, L); cells without a value come last.

    Examples
    --------
    >>> peak_order(np.array([[0, 2], [np.nan, np.nan], [1, np.nan]])).tolist()
    [2, 0, 1]
    """
    mean = np.asarray(mean, dtype=float)
    good = np.isfinite(mean)
    peak = np.where(good, mean, -np.inf).argmax(axis=1)
    # stable: cells with the same peak keep their order on every machine
    return np.argsort(np.where(good.any(axis=1), peak, mean.shape[1]), kind="stable")


def _checked(mean: Any, edges: Any, order: Any, regions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean (N, L), edges (L + 1,) and order (N,) as arrays, after checking that they fit."""
    mean, edges = np.asarray(mean, dtype=float), np.asarray(edges, dtype=float)
    if mean.ndim != 2 or not mean.size:
        raise ArgumentError(f"mean must be (cells, bins) and not empty, but its shape is {mean.shape}")
    n_cells, n_bins = mean.shape
    if edges.shape != (n_bins + 1,) or not np.all(np.diff(edges) > 0):
        raise ArgumentError(f"edges must be {n_bins + 1} increasing times in s for {n_bins} bins, not {edges}")
    rank = peak_order(mean) if order is None else np.asarray(order)
    if rank.shape != (n_cells,) or not np.array_equal(np.sort(rank), np.arange(n_cells)):
        raise ArgumentError(f"order must hold each of 0..{n_cells - 1} once")
    if regions is not None and np.shape(regions) != (n_cells,):
        raise ArgumentError(f"there are {n_cells} cells but regions have shape {np.shape(regions)}")
    return mean, edges, rank


def _deviations(mean: np.ndarray) -> np.ndarray:
    """Return the z-scores of each row of (N, L), ignoring NaN; a constant row becomes 0."""
    good = np.isfinite(mean)
    n = np.maximum(good.sum(axis=1, keepdims=True), 1)
    centred = mean - np.where(good, mean, 0).sum(axis=1, keepdims=True) / n
    sd = np.sqrt(np.where(good, centred**2, 0).sum(axis=1, keepdims=True) / n)
    deviations: np.ndarray = centred / np.where(sd > 0, sd, 1)
    return deviations


def _row_means(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the mean (R, L) of rows (N, L) from each of R starts to the next, ignoring values that are not finite."""
    good = np.isfinite(rows)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        return np.add.reduceat(np.where(good, rows, 0), starts, axis=0) / np.add.reduceat(
            good, starts, axis=0, dtype=float
        )


def _limits(image: np.ndarray, normalize: bool) -> dict[str, Any]:
    """Return colour map and limits (percentiles): symmetric around 0 if normalised, else from low to high."""
    values = image[np.isfinite(image)]
    if normalize:
        top = float(np.percentile(np.abs(values), 99)) if values.size else 1.0
        # orange and violet, which colour-blind readers can distinguish, with white at 0
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
    """Draw the region of the first cell of each row, and the legend of regions."""
    palette = region_palette(names, colors)
    rgb = np.array([to_rgb(palette[name]) for name in names[rank][starts].tolist()])
    ax.imshow(rgb[:, None], aspect="auto", extent=(0, 1, len(rank) - 0.5, -0.5), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    handles = [Patch(color=color, label=text) for text, color in region_entries(names, palette)]
    set_legend(fig, handles, title="region (cells)", handlelength=1, handleheight=1, labelspacing=0.35)
