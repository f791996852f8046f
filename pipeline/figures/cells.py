"""Maps of cell positions, seen from above and in 3D, coloured by region or by any value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from scipy.spatial import ConvexHull, QhullError

from pipeline.errors import ArgumentError

from .style import (
    LEGEND_LINE_HEIGHT,
    LEGEND_MAX,
    StyledFigure,
    distinct_region_colors,
    new_figure,
    pooled_regions,
    region_entries,
    region_palette,
    set_legend,
    set_suptitle,
    settle,
    style,
)

NO_VALUE_COLOR = "#c8c8c8"  # of cells without a value; a grey, which is not in viridis
AXES = ("ML", "AP", "DV")
DOT_COVERAGE = 0.12  # fraction of the axes that the dots cover, apart from overlaps; sets the size of dots
DOT_AREA_RANGE = (0.8, 14.0)  # smallest and largest dot in points squared
MIN_SIDE_RATIO = 0.35  # shortest side of the 3D box, relative to the longest
MIN_HALF_WIDTH = 100.0  # µm from the centre of the cells to the edge of the box, at least
COLOR_PERCENTILES = (1, 99)  # percentiles of the values at the ends of the colour bar


@dataclass(frozen=True)
class _Coloring:
    """Colour of each cell: `colors` (N,) hex, or `values` (N,) with a colour map and a norm.

    `label` is the text of the colour bar, or the title of the legend made of `handles`.
    """

    colors: np.ndarray | None
    values: np.ndarray
    cmap: str | Colormap
    norm: Normalize
    label: str
    handles: list[Line2D]


def cell_map(
    positions: np.ndarray,
    *,
    regions: np.ndarray | None = None,
    region_colors: Mapping[str, str] | None = None,
    values: np.ndarray | None = None,
    label: str = "",
    cmap: str | Colormap = "viridis",
    limits: tuple[float, float] | None = None,
    fovs: np.ndarray | None = None,
    outlines: Sequence[np.ndarray] = (),
    title: str | None = None,
    width: str | None = None,
) -> StyledFigure:
    """Draw cells in the ML-AP plane as seen from above, anterior up and right on the right.

    Parameters
    ----------
    positions : (N, 2) or (N, 3) array
        ML, AP (and DV, which is not drawn) in µm. Cells with NaN are not drawn, but counted in the legend.
    regions : (N,) array of str, optional
        Colour cells by region. With more than 30 regions the rarest are pooled as "other".
    region_colors : mapping of acronym to hex, optional
        Such as those of the Allen atlas; missing and unknown regions are grey. Default: `distinct_region_colors`.
    values : (N,) array, optional
        Colour cells by these values instead, such as their Rastermap rank. Cells with NaN are light grey and drawn
        behind the others.
    label : str
        Quantity and unit of `values`, the text of the colour bar.
    cmap : str or Colormap
        Colour map of `values`. The default, viridis, also works for colour-blind readers and in greyscale.
    limits : (float, float), optional
        Values at the ends of the colour bar. Default: percentiles 1 and 99 of the drawn cells.
    fovs : (N,) int array, optional
        FOV of each cell. Each FOV is outlined by the convex hull of its cells and labelled with its number.
    outlines : sequence of (n, 2) array
        Polygons of the atlas in ML and AP, µm, drawn below the cells as far as they are in view.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        Its first axes has the label "cells". Outlines carry the labels ``"FOV <number>"``.

    Raises
    ------
    ArgumentError
        Lengths differ, both regions and values are given, or the limits do not increase.

    Examples
    --------
    >>> ml_ap = np.array([[0, 0], [100, 0], [0, 100], [50, np.nan]])
    >>> fig = cell_map(ml_ap, regions=["VISp1", "VISp1", "VISam1", "VISam1"], fovs=[0, 0, 0, 0])
    >>> [text.get_text() for text in fig.legends[0].get_texts()]
    ['VISam1 (1)', 'VISp1 (2)', 'without position (1)']
    """
    xyz = _checked(positions, (2, 3), fovs=fovs, regions=regions, values=values)
    shown = np.isfinite(xyz[:, :2]).all(axis=1)
    with style():
        coloring = _coloring(shown, regions, region_colors, values, label, cmap, limits)
        low, high = _box(xyz[shown, :2])
        span = high - low
        # The axes have the aspect of the box, at least 2.2 inches a side; the legend must fit beside them.
        across, tall = 5.2 * span / span.max()
        tall = max(tall, 2.2, LEGEND_LINE_HEIGHT * len(coloring.handles))
        if width == "single":  # the legend is below them
            tall = 2.6 * span[1] / span[0]
        fig = new_figure((max(across, 2.2) + 2.4, tall + 0.8), width, "compressed")
        ax = fig.add_subplot(label="cells")
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=f"{AXES[0]} (µm)", ylabel=f"{AXES[1]} (µm)")
        ax.set_aspect("equal", adjustable="box")
        for corners in outlines:
            ax.add_patch(Polygon(corners, fill=False, edgecolor="0.6", linewidth=0.5, zorder=0, label="outline"))
        _draw_dots(ax, xyz[:, :2], shown, coloring, 27 * span.min() / span.max())
        for fov, corners in _outlines(xyz[:, :2], shown, fovs):
            ax.plot(*corners.T, color="0.25", linewidth=0.7, zorder=3, label=f"FOV {fov}")
            corner = corners[:, 0].min(), corners[:, 1].max()
            ax.annotate(f"{fov}", corner, (0, 3), textcoords="offset points", fontsize=7, color="0.25")
        _explain(fig, ax, coloring, shown, title)
    return fig


def cell_map_3d(
    positions: np.ndarray,
    *,
    regions: np.ndarray | None = None,
    region_colors: Mapping[str, str] | None = None,
    values: np.ndarray | None = None,
    label: str = "",
    cmap: str | Colormap = "viridis",
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    view: tuple[float, float] = (28, -60),
    width: str | None = None,
) -> StyledFigure:
    """Draw cells in 3D: ML to the right, AP to the back, DV up.

    An axis along which the cells span little is stretched, and its label says by how much.

    Parameters
    ----------
    positions : (N, 3) array
        ML, AP, DV in µm.
    regions, region_colors, values, label, cmap, limits, title
        As for `cell_map`.
    view : (float, float)
        Elevation and azimuth in degrees.
    width : {"single", "double"}, optional
        As for `cell_map`.

    Returns
    -------
    StyledFigure
        Its first axes has the label "cells".

    Raises
    ------
    ArgumentError
        As for `cell_map`.

    Examples
    --------
    >>> xyz = np.array([[0, 0, 0], [1000, 0, -100], [0, 1000, -100]])
    >>> fig = cell_map_3d(xyz, values=[3, 1, 2], label="rank")
    >>> fig.axes[0].get_zlabel()
    'DV (µm, stretched 1.9×)'
    """
    xyz = _checked(positions, (3,), regions=regions, values=values)
    shown = np.isfinite(xyz).all(axis=1)
    with style():
        coloring = _coloring(shown, regions, region_colors, values, label, cmap, limits)
        beside = LEGEND_LINE_HEIGHT * len(coloring.handles) + 0.5
        fig = new_figure((7.4, 3.2 if width == "single" else max(4.6, beside)), width)
        ax: Any = fig.add_subplot(projection="3d", label="cells")
        low, high = _box(xyz[shown])
        span = high - low
        sides = np.maximum(span, MIN_SIDE_RATIO * span.max())
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        # a list, because matplotlib changes an array in place; the labels do not shrink with the figure
        ax.set_box_aspect(sides.tolist(), zoom=0.85 if width == "single" else 0.95)
        for axis, name, stretch in zip("xyz", AXES, sides / span, strict=True):
            note = f", stretched {stretch:.2g}×" if stretch > 1.05 else ""
            getattr(ax, f"set_{axis}label")(f"{name} (µm{note})")
            ax.locator_params(axis=axis, nbins=5)
        ax.view_init(*view)
        _draw_dots(ax, xyz, shown, coloring, 12)
        _explain(fig, ax, coloring, shown, title)
    return fig


def _checked(positions: Any, widths: tuple[int, ...], **others: Any) -> np.ndarray:
    """Return positions as (N, D) float64 after checking that all arguments have N values."""
    xyz = np.asarray(positions, dtype=float)
    if xyz.ndim != 2 or xyz.shape[1] not in widths or not len(xyz):
        columns = " or ".join(map(str, widths))
        raise ArgumentError(
            f"positions must have one row of {columns} numbers per cell and at least one cell, not shape {xyz.shape}"
        )
    for name, other in others.items():
        if other is not None and np.shape(other) != (len(xyz),):
            raise ArgumentError(f"there are {len(xyz)} cells but {name} has shape {np.shape(other)}")
    if others.get("regions") is not None and others.get("values") is not None:
        raise ArgumentError("cells are coloured by regions or by values: give one of them, not both")
    return xyz


def _box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners, (D,) each, of a box around points (n, D), with a margin and no side of length 0."""
    if not len(points):
        return np.full(points.shape[1], -MIN_HALF_WIDTH), np.full(points.shape[1], MIN_HALF_WIDTH)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    # the margin is the same on all sides, in µm
    half = np.maximum(half + 0.08 * half.max(), MIN_HALF_WIDTH)
    return middle - half, middle + half


def _coloring(
    shown: np.ndarray,
    regions: np.ndarray | None,
    region_colors: Mapping[str, str] | None,
    values: np.ndarray | None,
    label: str,
    cmap: str | Colormap,
    limits: tuple[float, float] | None,
) -> _Coloring:
    """Choose colours of the cells, and the legend or colour bar that explains them."""
    if values is not None:
        numbers = np.asarray(values, dtype=float)
        norm = _norm(numbers[shown & np.isfinite(numbers)], limits)
        missing = int((shown & ~np.isfinite(numbers)).sum())
        handles = [_dot(NO_VALUE_COLOR, f"without value ({missing})")] if missing else []
        return _Coloring(None, numbers, cmap, norm, label, handles)
    if regions is None:
        color = next(iter(distinct_region_colors(["cells"]).values()))
        return _Coloring(np.full(len(shown), color), np.zeros(len(shown)), cmap, Normalize(), "", [])
    names = pooled_regions(regions, LEGEND_MAX)
    colors = region_palette(names, region_colors)
    handles = [_dot(color, text) for text, color in region_entries(names[shown], colors)]
    of_cells = np.array([colors[name] for name in names.tolist()])
    return _Coloring(of_cells, np.zeros(len(names)), cmap, Normalize(), "region (cells)", handles)


def _norm(numbers: np.ndarray, limits: tuple[float, float] | None) -> Normalize:
    if limits is not None:
        if not limits[0] < limits[1]:
            raise ArgumentError(f"limits must be two increasing numbers, not {limits}")
        return Normalize(*limits)
    if not len(numbers):
        return Normalize(0, 1)
    low, high = (float(q) for q in np.percentile(numbers, COLOR_PERCENTILES))
    # equal limits would make matplotlib divide by 0
    return Normalize(low, high if high > low else low + 1)


def _dot(color: str, label: str) -> Line2D:
    return Line2D([], [], marker="o", linestyle="none", markersize=4, markeredgewidth=0, color=color, label=label)


def _draw_dots(ax: Any, points: np.ndarray, shown: np.ndarray, coloring: _Coloring, square_inches: float) -> None:
    """Draw one dot per cell in random order, so that no region covers another; `square_inches` is the drawn area."""
    # seeded: the same cells give the same file
    order = np.random.default_rng(0).permutation(np.flatnonzero(shown))
    known = np.isfinite(coloring.values[order])
    order = np.concatenate([order[~known], order[known]])  # cells without a value at the back
    size = float(np.clip(DOT_COVERAGE * square_inches * 72**2 / max(len(order), 1), *DOT_AREA_RANGE))
    # Dots are an image inside vector files: 25,000 paths would be slow to open. Text stays text.
    options: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True, "zorder": 2}
    if coloring.colors is not None:
        options |= {"c": coloring.colors[order].tolist()}
    else:
        options |= {"c": coloring.values[order], "cmap": coloring.cmap, "norm": coloring.norm, "plotnonfinite": True}
    if ax.name == "3d":
        # shading would change the colours, which stand for regions or values
        options |= {"depthshade": False}
    dots = ax.scatter(*points[order].T, **options)
    if coloring.colors is None:
        # on a copy: matplotlib's colour maps are shared by all figures
        dots.set_cmap(dots.get_cmap().with_extremes(bad=NO_VALUE_COLOR))


def _outlines(points: np.ndarray, shown: np.ndarray, fovs: np.ndarray | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each FOV and its closed convex outline (corners + 1, 2); a line if its cells are collinear."""
    if fovs is None:
        return
    fovs = np.asarray(fovs)
    for fov in np.unique(fovs[shown]):
        own = points[shown & (fovs == fov)]
        try:
            corners = own[ConvexHull(own).vertices]
        except QhullError:  # fewer than three cells, or all on a line: from its first to its last cell
            corners = own[np.lexsort(own.T[::-1])][[0, -1]]
        yield int(fov), np.concatenate([corners, corners[:1]])


def _explain(fig: StyledFigure, ax: Axes, coloring: _Coloring, shown: np.ndarray, title: str | None) -> None:
    """Add colour bar, legend (with the number of cells that are not drawn) and title."""
    hidden = int((~shown).sum())
    handles = [*coloring.handles, *([_dot("none", f"without position ({hidden})")] if hidden else [])]
    if coloring.colors is None:
        numbers = coloring.values[shown & np.isfinite(coloring.values)]
        below, above = bool((numbers < coloring.norm.vmin).any()), bool((numbers > coloring.norm.vmax).any())
        extend = {(True, False): "min", (False, True): "max", (True, True): "both"}.get((below, above), "neither")
        shape: Any = {"extend": extend, "extendfrac": 0.03, "shrink": 0.7, "aspect": 25}
        if ax.name == "3d" and fig.get_figwidth() < 5:  # beside the axes there is no room
            shape |= {"location": "bottom"}
        fig.colorbar(ax.collections[0], ax=ax, label=coloring.label, pad=0.1 if ax.name == "3d" else 0.03, **shape)
    if handles:
        heading = coloring.label if coloring.colors is not None else ""
        set_legend(fig, handles, title=heading or "cells", labelspacing=0.35)
    if title:
        set_suptitle(fig, title)
    if not shown.any():
        ax.annotate("no cell has a position", (0.5, 0.5), xycoords="axes fraction", ha="center", color="0.4")
    settle(fig)
