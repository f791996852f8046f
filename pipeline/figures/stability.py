"""Stability of responses over days, and what single cells tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pipeline.decoding.fits.families import significant
from pipeline.decoding.fits.together import together_needed
from pipeline.errors import ArgumentError

from .style import (
    LINE_COLORS,
    StyledFigure,
    columns_in,
    grid_shape,
    new_figure,
    region_palette,
    set_legend,
    set_suptitle,
    shared_axes,
    style,
    title_panels,
)

GREY = "0.35"
#: What the similarities are called in figures.
SIMILARITIES = {"spearman": "single cells (Spearman)", "pearson": "single cells (Pearson)",
                "population": "population vectors"}  # fmt: skip
#: What the controls are called, and their greys.
CONTROLS = {"features": ("windows exchanged", "0.55"), "neurons": ("cells exchanged", "0.7"),
            "matched": ("cells of a region and reliability exchanged", "0.82")}  # fmt: skip


def stability_over_days(
    similarities: Mapping[str, np.ndarray],
    *,
    controls: Mapping[str, np.ndarray] | None = None,
    regions: Mapping[str, np.ndarray] | None = None,
    slopes: Mapping[str, tuple[float, float, float]] | None = None,
    title: str | None = None,
    width: str | None = None,
) -> StyledFigure:
    """Draw the stability of responses, corrected for noise, over the distance in days.

    Parameters
    ----------
    similarities : mapping of str to (G, 4) float
        By name, such as "spearman" or "population": distance in days, stability, and its interval; NaN for none.
    controls : mapping of str to (G, 4) float, optional
        By control, "features", "neurons" or "matched": distance, mean of the shuffles, and their 2.5th and 97.5th
        percentile.
    regions : mapping of str to (G, 4) float, optional
        By region, as ``similarities``; drawn in a second panel.
    slopes : mapping of str to (float, float, float), optional
        By similarity, change per day with its interval.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With one or two axes. Lines of data have the names as labels.

    Raises
    ------
    ArgumentError
        There is nothing to draw.

    Examples
    --------
    >>> fig = stability_over_days({"spearman": np.array([[1, 0.9, 0.8, 1.0], [3, 0.7, 0.6, 0.8]])})
    >>> [line.get_xdata().tolist() for line in fig.axes[0].lines if line.get_label() == "spearman"]
    [[1.0, 3.0]]
    """
    if not similarities or not any(np.size(rows) for rows in similarities.values()):
        raise ArgumentError("there is no distance with a stability to draw")
    panels: list[Mapping[str, np.ndarray]] = [similarities] + ([regions] if regions else [])
    n_columns = columns_in(width, 2)
    across, down = grid_shape(len(panels), n_columns)
    with style():
        fig = new_figure((3.1 * across + 2.2, 2.7 * down + 0.4), width)
        names = [name for panel in panels for name in panel]
        # not the blue with which the colours of regions begin
        colors = dict(zip(similarities, (LINE_COLORS[-1], *LINE_COLORS[1:-1]), strict=False))
        colors |= region_palette(regions, None) if regions else {}
        for ax, panel in zip(shared_axes(fig, len(panels), n_columns), panels, strict=True):
            ax.axhline(1, color="0.8", linewidth=0.8, zorder=0)
            ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
            if panel is similarities:
                _draw_controls(ax, controls or {})
            _draw_lines(ax, panel, colors)
            ax.set_xlabel("days between sessions")
            ax.set_ylabel("stability\n(corrected for noise)")
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        gaps = np.concatenate([np.reshape(rows, (-1, 4))[:, 0] for panel in panels for rows in panel.values()])
        if np.ptp(gaps) == 0:  # of a pair of sessions: no tenths of days
            fig.axes[0].set_xlim(gaps[0] - 1, gaps[0] + 1)
        limits = _limits(panels)
        fig.axes[0].set_ylim(*limits)
        _mark_cut(fig.axes, panels, colors, limits)
        _stability_legend(fig, similarities, controls or {}, slopes or {}, {name: colors[name] for name in names})
        title_panels(fig, ["all cells", "by region"][: len(panels)], across)
        if title:
            set_suptitle(fig, title)
    return fig


def _limits(panels: Sequence[Mapping[str, np.ndarray]]) -> tuple[float, float]:
    """Return limits that hold 0, 1 and all points, and of wide intervals not more than half of the axis."""
    values = np.concatenate([np.reshape(rows, (-1, 4))[:, 1] for panel in panels for rows in panel.values()])
    ends = np.concatenate([np.reshape(rows, (-1, 4))[:, 2:].ravel() for panel in panels for rows in panel.values()])
    ends = np.clip(ends[np.isfinite(ends)], -0.6, 1.6)
    known = np.concatenate([values[np.isfinite(values)], ends, [0.0, 1.0]])
    return float(known.min() - 0.08), float(known.max() + 0.08)


def _mark_cut(
    axes: Sequence[Axes], panels: Sequence[Mapping[str, np.ndarray]], colors: Mapping[str, str],
    limits: tuple[float, float],
) -> None:  # fmt: skip
    """Put an arrow where an interval goes on beyond the axis."""
    for ax, panel in zip(axes, panels, strict=True):
        for number, (name, rows) in enumerate(panel.items()):
            gap, _, low, high = np.reshape(rows, (-1, 4)).T
            x = gap + 0.08 * (number - (len(panel) - 1) / 2)
            for beyond, end, marker in ((low < limits[0], limits[0], "v"), (high > limits[1], limits[1], "^")):
                for at in x[beyond]:
                    ax.plot([at], [end], marker, color=colors[name], markersize=4, clip_on=False, zorder=4, label="cut")


def _draw_controls(ax: Axes, controls: Mapping[str, np.ndarray]) -> None:
    for name, rows in controls.items():
        _, color = CONTROLS.get(name, (name, "0.7"))
        gap, mean, low, high = np.reshape(rows, (-1, 4)).T
        ax.plot(gap, mean, ":", color=color, linewidth=1, zorder=1, label=name)
        ax.fill_between(gap, low, high, color=color, alpha=0.35, linewidth=0, zorder=0)


def _draw_lines(ax: Axes, panel: Mapping[str, np.ndarray], colors: Mapping[str, str]) -> None:
    """Draw a line for each name, a little beside the others so that intervals do not cover each other."""
    for number, (name, rows) in enumerate(panel.items()):
        gap, value, low, high = np.reshape(rows, (-1, 4)).T
        shift = 0.08 * (number - (len(panel) - 1) / 2)
        for x, bottom, top in zip(gap + shift, low, high, strict=True):
            if np.isfinite([bottom, top]).all():
                ax.plot([x] * 2, [bottom, top], color=colors[name], linewidth=1, zorder=3, label="interval")
        ax.plot(
            gap + (shift if len(panel) > 1 else 0), value, "o-", color=colors[name], markersize=4,
            markeredgecolor="white", markeredgewidth=0.6, linewidth=1, zorder=4, label=name,
        )  # fmt: skip


def _stability_legend(
    fig: StyledFigure, similarities: Mapping[str, np.ndarray], controls: Mapping[str, np.ndarray],
    slopes: Mapping[str, tuple[float, float, float]], colors: Mapping[str, str],
) -> None:  # fmt: skip
    handles: list[Any] = []
    for name, color in colors.items():
        text = SIMILARITIES.get(name, name)
        if name in slopes and np.isfinite(slopes[name][0]):
            slope, low, high = slopes[name]
            text += f"\n{slope:+.3f} per day" + (f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else "")
        handles.append(Line2D([], [], marker="o", markersize=4, color=color, label=text.replace("-0", "−0")))
    handles.append(Line2D([], [], color=GREY, linewidth=1, label="95 % over cells and sessions"))
    if any(line.get_label() == "cut" for ax in fig.axes for line in ax.lines):
        handles.append(Line2D([], [], color=GREY, marker="^", markersize=4, linestyle="none", label="and beyond"))
    handles += [Patch(color=CONTROLS[name][1], alpha=0.5, label=CONTROLS[name][0]) for name in controls
                if name in CONTROLS]  # fmt: skip
    if len(similarities):
        set_legend(fig, handles, labelspacing=0.6, below=True)


def cell_responses(
    reliability: np.ndarray,
    auroc: Mapping[str, np.ndarray],
    q: Mapping[str, np.ndarray],
    *,
    n_shuffles: int | None = None,
    title: str | None = None,
    width: str | None = None,
) -> StyledFigure:
    """Draw how reliable the responses of single cells are, and how selective the cells are for each target.

    Parameters
    ----------
    reliability : (N,) float
        Correlation of even and odd trials; NaN for none.
    auroc, q : mapping of str to (N,) float
        By target, AUROC of each cell and its p after correction for the number of cells; NaN for none.
    n_shuffles : int, optional
        Null labels of each target. Where no cell is selective, and so few allow it for many cells together only, the
        panel says how many.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With an axes for the reliability and one for each target. Bars of significant cells have the label
        ``"q <= 0.05"``.

    Raises
    ------
    ArgumentError
        No cell has a number, or targets differ.

    Examples
    --------
    >>> fig = cell_responses(np.array([0.1, 0.5]), {"choice": np.array([0.4, 0.9])}, {"choice": np.array([0.3, 0.01])})
    >>> [ax.get_xlabel() for ax in fig.axes]
    ['correlation of even and odd trials', 'AUROC, choice']
    """
    reliability = np.asarray(reliability, dtype=float)
    if set(auroc) != set(q) or not np.isfinite(reliability).any():
        raise ArgumentError(f"no cell has a reliability, or targets differ: {', '.join(auroc)} and {', '.join(q)}")
    with style():
        n_columns = columns_in(width, 3)
        across, down = grid_shape(1 + len(auroc), n_columns)
        fig = new_figure((2.4 * across + 1.4, 2.2 * down + 0.4), width)
        axes = [fig.add_subplot(down, across, i + 1) for i in range(1 + len(auroc))]
        _histogram(axes[0], reliability, None, np.linspace(-1, 1, 41).tolist())
        axes[0].set_xlabel("correlation of even and odd trials")
        for ax, target in zip(axes[1:], auroc, strict=True):
            values, known = np.asarray(auroc[target], float), np.asarray(q[target], float)
            _histogram(ax, values, known, np.linspace(0, 1, 41).tolist())
            ax.set_xlabel(f"AUROC, {target}")
        for i, ax in enumerate(axes):
            ax.set_ylabel("cells" if i % across == 0 else "")
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        handles = [Patch(color="0.8", label="all cells"), Patch(color=LINE_COLORS[0], label="q ≤ 0.05"),
                   Line2D([], [], color=GREY, linewidth=0.8, linestyle=":", label="none")]  # fmt: skip
        set_legend(fig, handles, labelspacing=0.6)
        titles = [_median_text(reliability), *(_share_text(auroc[target], q[target], n_shuffles) for target in auroc)]
        title_panels(fig, titles, across)
        if title:
            set_suptitle(fig, title)
    return fig


def _histogram(ax: Axes, values: np.ndarray, q: np.ndarray | None, edges: Sequence[float]) -> None:
    """Draw how many cells have which value, and which of them are significant."""
    ax.hist(values[np.isfinite(values)], edges, color="0.8", label="all")
    if q is not None:
        ax.hist(values[np.isfinite(values) & significant(q)], edges, color=LINE_COLORS[0], label="q <= 0.05")
    ax.axvline((edges[0] + edges[-1]) / 2, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_xlim(edges[0], edges[-1])


def _median_text(reliability: np.ndarray) -> str:
    known = reliability[np.isfinite(reliability)]
    return f"Median {np.median(known):.2f} of {len(known)} cells"


def _share_text(auroc: np.ndarray, q: np.ndarray, n_shuffles: int | None) -> str:
    known = np.isfinite(np.asarray(auroc, dtype=float))
    n = int(np.sum(significant(np.asarray(q)[known])))
    text = f"{n} of {known.sum()} cells selective"
    least = 1 if n_shuffles is None else together_needed(int(known.sum()), n_shuffles)
    return text if n or least == 1 else f"{text} (with {n_shuffles} null labels not fewer than {least})"
