"""Rasters of the same cells on several days, in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from pipeline.errors import ArgumentError

from .style import StyledFigure, columns_in, grid_shape, new_figure, set_suptitle, shared_axes, style, title_panels

#: Inches of a panel, and of a column with a name.
PANEL, HEIGHT, COLUMN = 2.1, 2.6, 0.1
#: Percentiles of the values of all days that are white and black, so that outliers do not set them.
LIMITS = (1.0, 99.5)


def days_raster(
    days: Mapping[str, np.ndarray],
    *,
    times: Mapping[str, np.ndarray] | None = None,
    columns: Sequence[str] = (),
    title: str | None = None,
    n_columns: int = 4,
    width: str | None = None,
) -> StyledFigure:
    """Draw the same cells in the same order on several days, a panel for each day, all with the same greys.

    Parameters
    ----------
    days : mapping of str to (N, T) float
        By name of the day, such as its date: a row for each cell, sorted, in standard deviations from the cell's mean.
        NaN is drawn white.
    times : mapping of str to (T,) float64, optional
        By day, the time of each column, s; counted from the first one.
    columns : sequence of T str
        Names of the columns, if they are no times: kinds of trials.
    title : str, optional
    n_columns : int
        Maximum number of panels side by side.
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With an axes for each day, and one of the colour bar.

    Raises
    ------
    ArgumentError
        There is no day, no value, or the days differ in their cells, or in their columns if these have names.

    Examples
    --------
    >>> fig = days_raster({"2024-05-01": np.eye(3), "2024-05-02": np.eye(3)}, columns=["left", "right", "error"])
    >>> [label.get_text() for label in fig.axes[0].get_xticklabels()]
    ['left', 'right', 'error']
    """
    n_cells = {len(values) for values in days.values()}
    if len(n_cells) != 1 or not all(np.size(values) for values in days.values()):
        raise ArgumentError(f"all days must have the same cells, and some values; found {sorted(n_cells)} cells")
    wrong = [name for name, values in days.items() if columns and values.shape[1] != len(columns)]
    wrong += [name for name, values in days.items() if times and values.shape[1] != len(times[name])]
    if wrong:
        raise ArgumentError(f"columns and their names or times differ in number on {', '.join(wrong)}")
    low, high = _limits(list(days.values()))
    n_columns = columns_in(width, n_columns)
    across, down = grid_shape(len(days), n_columns)
    with style():
        size = (max(PANEL, COLUMN * len(columns)) * across + 1.4, HEIGHT * down + (1.1 if columns else 0.5))
        fig = new_figure(size, width)
        panels = list(zip(shared_axes(fig, len(days), n_columns), days.items(), strict=True))
        for i, (ax, (name, values)) in enumerate(panels):
            span = (-0.5, values.shape[1] - 0.5) if times is None else _span(times[name])
            image = ax.imshow(
                values, extent=(*span, len(values) - 0.5, -0.5), aspect="auto", cmap="gray_r", vmin=low, vmax=high
            )
            ax.set_facecolor("white")
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            if i % across == 0:
                ax.set_ylabel(f"cell, the same on all days (n = {len(values)})")
            if i + across >= len(days) and not columns:
                ax.set_xlabel("time (s)" if times is not None else "column")
        if columns:
            panels[0][0].set_xticks(range(len(columns)), columns)  # of all panels, which share it
            for ax, _ in panels:
                ax.tick_params(axis="x", labelrotation=90, labelsize=5.5)
        title_panels(fig, list(days), across)  # before the colour bar, which is an axes without a title
        axes = [ax for ax, _ in panels]
        bar = fig.colorbar(image, ax=axes, label="standard deviations from the cell's mean", pad=0.01)
        bar.ax.yaxis.set_major_locator(MaxNLocator(5))
        if title:
            set_suptitle(fig, title)
    return fig


def _span(times: np.ndarray) -> tuple[float, float]:
    """Return the limits of an image of columns at these times, s from the first one."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return 0.0, float(times[-1] - times[0]) + step


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return what is white and what is black on all days."""
    finite = np.concatenate([one[np.isfinite(one)].ravel() for one in values])
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(q) for q in np.percentile(finite, LIMITS))
    return (low, high) if high > low else (low, low + 1)
