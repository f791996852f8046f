"""Readouts of each day tested on all days: the matrix of scores, and transfer over the days between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.decoding.fits.families import ALPHA, significant
from pipeline.decoding.transfer import TransferDecay
from pipeline.errors import ArgumentError
from pipeline.settings.curves import NUMBER_METRICS
from pipeline.text import METRICS, minus, p_text, signed

from .ndc import CHANCE
from .style import StyledFigure, new_figure, set_suptitle, style

GREY = "0.35"
#: Days up to which every score is written into its square.
MOST_WRITTEN = 8


def transfer_over_days(
    scores: np.ndarray, dates: Sequence[Any], decay: TransferDecay, *, q: np.ndarray | None = None, metric: str = "auc",
    title: str | None = None, width: str | None = None,
) -> StyledFigure:  # fmt: skip
    """Draw the scores of readouts of each day on each day, and the transfer of pairs of days over the days between.

    Parameters
    ----------
    scores : (D, D) float
        Row: day of training; column: day of the test. NaN is not drawn.
    dates : (D,) sequence of str or date
    decay : TransferDecay
        Of the same days.
    q : (D, D) float, optional
        FDR-adjusted p: scores with a larger one than 0.05 have a cross.
    metric : str
        Key of ``pipeline.figures.ndc.CHANCE``.
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        Its first axes have the matrix, the second the pairs: lines with the labels ``"pairs"``, ``"split half"`` and
        ``"decay"``, and its interval, a band with the label ``"95 %, days"``; the third is the colour scale.

    Raises
    ------
    ArgumentError
        Scores and dates disagree, or the metric is unknown.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(dates), len(dates)) or not len(dates) or metric not in CHANCE:
        raise ArgumentError(
            f"scores must be (days, days) for {len(dates)} dates and metric one of {sorted(CHANCE)}, not "
            f"{scores.shape} and {metric!r}"
        )
    with style():
        fig = new_figure((7.4, 6.4 if width == "single" else 3.8), width)
        left, right = fig.subplots(2, 1) if width == "single" else fig.subplots(1, 2, width_ratios=[1.3, 1])
        image = _matrix(left, scores, [str(date)[:10] for date in dates], q, CHANCE[metric])
        fig.colorbar(image, ax=left, label=METRICS[metric], shrink=0.8)
        left.set_title("a  Score (frames: same day)")
        _pairs(right, decay, "signal to noise" if metric in NUMBER_METRICS else "d'")
        right.set_title("b  Transfer", pad=26)
        right.annotate(decay_text(decay).replace("; ", "\n"), (0, 1), (0, 4), xycoords="axes fraction",
                       textcoords="offset points", fontsize=7, color=GREY)  # fmt: skip
        if q is not None and _crossed(q).any():
            left.set_xlabel(f"tested on (cross: q > {ALPHA:g})")
        if title:
            set_suptitle(fig, title)
    return fig


def _crossed(q: Any) -> Any:
    """Return which q are known, and not significant."""
    return np.isfinite(q) & ~significant(q)


def _matrix(ax: Axes, scores: np.ndarray, dates: Sequence[str], q: np.ndarray | None, chance: float) -> Any:
    """Draw the scores as squares; those on the diagonal have a frame, those without significance a cross."""
    n = len(dates)
    known = scores[np.isfinite(scores)].tolist()
    low, high = min([chance, *known]), max([chance + 0.1, *known])
    image = ax.imshow(scores, cmap="cividis", vmin=low, vmax=high)
    for i in range(n):
        ax.add_patch(_frame(i))
    for i, j in np.ndindex(n, n):
        if not np.isfinite(scores[i, j]):
            continue
        color = "white" if scores[i, j] < (low + high) / 2 else "black"
        if n <= MOST_WRITTEN:
            ax.text(
                j,
                i,
                minus(float(scores[i, j]), 2).replace("0.", ".", 1),
                ha="center",
                va="center",
                color=color,
                fontsize=7,
            )
        if q is not None and _crossed(q[i, j]):
            ax.plot([j + 0.36], [i - 0.36], "x", color=color, markersize=3, markeredgewidth=0.8)
    every = range(0, n, -(-n // 10))
    ax.set_xticks(every, [dates[i][5:] for i in every], rotation=90)
    ax.set_yticks(every, [dates[i] for i in every])
    ax.set(xlabel="tested on", ylabel="trained on")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return image


def _frame(i: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((i - 0.48, i - 0.48), 0.96, 0.96, fill=False, edgecolor="white", linewidth=1.2)


def _pairs(ax: Axes, decay: TransferDecay, strength: str) -> None:
    """Draw each pair over its days between, the split half at 0, and the line."""
    ax.axhline(1, color="0.8", linewidth=0.8, zorder=0)
    ax.axhline(0, color="0.8", linewidth=0.8, linestyle=":", zorder=0)
    ax.plot([0], [1], "D", color="#b35900", markersize=6, clip_on=False, zorder=4, label="split half")
    if len(decay.gaps):
        ax.plot(decay.gaps, decay.values, "o", color="#0072b2", markersize=4, markeredgecolor="white",
                markeredgewidth=0.5, zorder=3, label="pairs")  # fmt: skip
    if np.isfinite(decay.slope):
        ends = np.array([decay.gaps.min(), decay.gaps.max()])
        ax.plot(ends, decay.intercept + decay.slope * ends, color=GREY, linewidth=1, zorder=2, label="decay")
    bottom, top = _interval(ax, decay)
    ax.legend(loc="best")
    if not len(decay.gaps):
        ax.text(0.5, 0.5, "no pair of days above chance", transform=ax.transAxes, ha="center", color="0.4")
    low, high = min([0.0, bottom, *decay.values.tolist()]), max([1.0, top, *decay.values.tolist()])
    ax.set_ylim(low - 0.05, high + 0.1)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.set(xlabel="days between", ylabel=f"{strength} relative to the split halves")


def _interval(ax: Axes, decay: TransferDecay) -> tuple[float, float]:
    """Draw the interval of the line, that of the mean and of the slope about the mean gap; return its ends."""
    if not np.isfinite([decay.mean_low, decay.low]).all():
        return 0.0, 1.0
    x = np.linspace(decay.gaps.min(), decay.gaps.max(), 50)
    line, away = decay.intercept + decay.slope * x, x - decay.gaps.mean()
    half = np.hypot((decay.mean_high - decay.mean_low) / 2, (decay.high - decay.low) / 2 * away)
    ax.fill_between(x, line - half, line + half, color="0.9", linewidth=0, zorder=0, label="95 %, days")
    # of a wide interval not more than half of the axis
    return max(float((line - half).min()), -0.5), min(float((line + half).max()), 1.5)


def decay_text(decay: TransferDecay) -> str:
    """Return slope and mean of a decay with their intervals as text.

    Examples
    --------
    >>> from pipeline.decoding.transfer import transfer_decay
    >>> decay_text(transfer_decay(0.8 * np.ones((2, 2)), [0, 3]))
    'mean 1.00, no interval (2 days); no slope'
    """
    if not np.isfinite(decay.mean):
        return "no pair of days above chance"
    mean = f"mean {minus(decay.mean, 2)}"
    mean += (
        f" ({minus(decay.mean_low, 2)} to {minus(decay.mean_high, 2)})" if np.isfinite(decay.mean_low)
        else f", no interval ({decay.n_days} days)"
    )  # fmt: skip
    if not np.isfinite(decay.slope):
        return f"{mean}; no slope"
    slope = f"{signed(decay.slope, 3)} per day"
    if np.isfinite(decay.low):
        slope += f" ({signed(decay.low, 3)} to {signed(decay.high, 3)})"
    return f"{mean}; {slope}, {p_text(decay.p)}"
