"""Neuron-dropping curves: decoding score over the number of neurons, one curve per session.

Intervals of k*, if known, are drawn in rows below the curves, one row per session. On the curves, which converge
at the ceiling, the intervals of many sessions would hide each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from pipeline.errors import ArgumentError
from pipeline.settings.curves import NUMBER_METRICS
from pipeline.text import METRICS, p_text

from .style import (
    RC,
    Y_LABEL_WIDTH,
    StyledFigure,
    beside_legend,
    columns_in,
    grid_shape,
    heading,
    new_figure,
    panel_letter,
    session_colors,
    set_legend,
    set_suptitle,
    shared_axes,
    style,
    title_panels,
    wrapped,
)  # fmt: skip

TICK_LABEL_WIDTH = 0.3  # inches
#: Scores without information: of two classes, and of numbers.
CHANCE = {"auc": 0.5, "accuracy": 0.5, "balanced_accuracy": 0.5, "r2": 0.0, "spearman": 0.0}
BAR_SHIFT = 0.024  # octaves between the bars of two sessions, which would hide each other at the same k
MAX_BANDS = 3  # sessions whose spread is drawn as bands; more overlapping bands cannot be read, so bars are drawn
ROW_HEIGHT = 0.095  # inches from one row of k* to the next
MAX_ROWS_SHARE = 0.45  # largest fraction of the axes' height for the rows of k*
AXES = {"cells": "neurons", "trials": "trials"}
#: Sign before k* by ``k_star_censored``; "right" normally comes without a k*.
K_STAR_SIGNS = {"": "=", "left": "≤", "right": "="}


@dataclass(frozen=True, eq=False)
class Curve:
    """Neuron-dropping curve of one session.

    Parameters
    ----------
    label : str
        Name of the session; shown if two sessions share a date.
    date : str or date
        Date of the session.
    ks : (K,) array
        Subset sizes (numbers of neurons), increasing, at least 1.
    mean, sd : (K,) arrays
        Score over random subsets of k neurons: mean and standard deviation.
    null_lo, null_hi : (K,) arrays or None
        Percentiles 2.5 and 97.5 of the scores with shuffled labels.
    ceiling : float or None
        Score that k* is compared with.
    k_star : int or None
        Smallest number of neurons whose score is within delta of the ceiling; None if there is none.
    n_trials : int or None
        Number of trials that were decoded.
    mean_low, mean_high : (K,) arrays or None
        95 % interval of the mean; drawn instead of the standard deviation if all sessions have it.
    p_value, q_value : float or None
        p of the score against shuffled labels, and FDR-adjusted p (Benjamini-Hochberg).
    n_shuffles : int or None
        Number of shuffles that `p_value` was counted in: it cannot be below 1 / (n_shuffles + 1).
    fit_k, fit_score : (N,) arrays or None
        Fitted curve (`pipeline.decoding.fits.CurveFit.line`), dashed beyond the largest k. With a fit, the means are
        drawn as dots. It is not drawn with the verdict "decreasing": a curve that can only rise fits as a flat line.
    verdict : str or None
        Such as ``"saturated"`` (`pipeline.decoding.fits.VERDICTS`). At chance no k* is shown.
    k_star_low, k_star_high : float or None
        95 % interval of k*; open to the right if the high end is None or infinite.
    k_star_censored : {"", "left", "right"}
        "left": k* is this number or smaller; "right": k* is larger than the largest k.
    performance : float or None
        Fraction of the session's trials that were rewarded.

    Raises
    ------
    ArgumentError
        Lengths differ, `ks` is below 1 or does not increase, only one of a pair is given, or `k_star_censored` is
        not one of the three values.

    Examples
    --------
    >>> Curve("a", "2024-05-01", [1, 2], [0.6, 0.7], [0.1, 0.1]).ks.tolist()
    [1.0, 2.0]
    """

    label: str
    date: Any
    ks: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    null_lo: np.ndarray | None = None
    null_hi: np.ndarray | None = None
    ceiling: float | None = None
    k_star: int | None = None
    n_trials: int | None = None
    mean_low: np.ndarray | None = None
    mean_high: np.ndarray | None = None
    p_value: float | None = None
    q_value: float | None = None
    fit_k: np.ndarray | None = None
    fit_score: np.ndarray | None = None
    verdict: str | None = None
    k_star_low: float | None = None
    k_star_high: float | None = None
    k_star_censored: str = ""
    performance: float | None = None
    n_shuffles: int | None = None

    def __post_init__(self) -> None:
        for name in ("ks", "mean", "sd", "null_lo", "null_hi", "mean_low", "mean_high"):
            value = getattr(self, name)
            if value is None:
                continue
            object.__setattr__(self, name, np.asarray(value, dtype=float))
            if getattr(self, name).shape != (len(self.ks),):
                shape = getattr(self, name).shape
                raise ArgumentError(f"{self.date}: ks has {len(self.ks)} values but {name} has shape {shape}")
        if not self.ks.size or self.ks[0] < 1 or np.any(np.diff(self.ks) <= 0):
            raise ArgumentError(f"{self.date}: ks must start at 1 or more and increase, not {self.ks.tolist()}")
        for one, other in (("null_lo", "null_hi"), ("mean_low", "mean_high"), ("fit_k", "fit_score")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ArgumentError(f"{self.date}: {one} and {other} must be given together or not at all")
        if self.fit_k is not None:
            k, score = np.asarray(self.fit_k, dtype=float), np.asarray(self.fit_score, dtype=float)
            if k.ndim != 1 or k.shape != score.shape:
                raise ArgumentError(
                    f"{self.date}: fit_k and fit_score must be of one length, not {k.shape} and {score.shape}"
                )
            object.__setattr__(self, "fit_k", k)
            object.__setattr__(self, "fit_score", score)
        if self.k_star_censored not in K_STAR_SIGNS:
            raise ArgumentError(
                f"{self.date}: k_star_censored is one of {list(K_STAR_SIGNS)}, not {self.k_star_censored!r}"
            )

    @property
    def star(self) -> float | None:
        """k*, or None if it is missing or the session is at chance."""
        if self.k_star is None or not np.isfinite(self.k_star) or self.k_star < 1 or self.verdict == "at chance":
            return None
        return float(self.k_star)

    @property
    def star_interval(self) -> tuple[float, float] | None:
        """95 % interval of k*, the high end infinite if open; None if k* or the low end is unknown."""
        low, high = self.k_star_low, self.k_star_high
        if self.star is None or low is None or not np.isfinite(low):
            return None
        return float(low), float(high) if high is not None and np.isfinite(high) else np.inf

    @property
    def has_fit(self) -> bool:
        """Whether there is a fitted curve to draw."""
        return self.fit_k is not None and self.fit_k.size > 0 and self.verdict != "decreasing"


def ndc_overlay(
    curves: Sequence[Curve | Mapping[str, Any]],
    *,
    target: str,
    metric: str = "auc",
    delta: float = 0.02,
    title: str | None = None,
    curve_axis: str = "cells",
    width: str | None = None,
) -> StyledFigure:
    """Draw the curves of all sessions for one target.

    Parameters
    ----------
    curves : sequence of Curve or mapping
        One per session; mappings hold the fields of `Curve`. Drawn in order of date.
    target : str
        Decoded variable, such as ``"choice"``.
    metric : {"auc", "accuracy", "balanced_accuracy", "r2", "spearman"}
        Score on the y axis; chance is 0.5, or 0 of numbers.
    delta : float
        Distance from the ceiling that defines k*; only used in the legend.
    title : str, optional
        Default: target and number of trials.
    curve_axis : {"cells", "trials"}
        What k counts.
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With one axes. Lines of data have the labels ``"<date>"`` (means), ``"fit <date>"``, ``"beyond <date>"``
        (the fit beyond the largest k), ``"k* <date>"`` (marker), ``"drop <date>"`` (dotted line down to
        the axis, or to the row of the session) and ``"interval <date>"`` (of k*, in that row).

    Raises
    ------
    ArgumentError
        There is no curve, the metric is unknown, or a curve is inconsistent (see `Curve`).

    Examples
    --------
    >>> curve = Curve("s1", "2024-05-01", [1, 2, 4], [0.55, 0.69, 0.7], [0.1, 0.05, 0.0],
    ...               ceiling=0.7, k_star=2)
    >>> fig = ndc_overlay([curve], target="choice")
    >>> [text.get_text() for text in fig.legends[0].get_texts()][0]
    '2024-05-01  k*=2'
    """
    sessions = _sessions(curves)
    if not sessions:
        raise ArgumentError(f"no curve to draw for {target}")
    names = session_names(sessions)
    colors = session_colors([str(curve.date) for curve in sessions])
    common = {curve.n_trials for curve in sessions}
    with style():
        texts = _entries(names, sessions, len(common) > 1)
        # 0.052 inches is about the width of a character of the legend
        wider = max(0.0, 0.052 * (max(map(len, texts)) - 28))  # inches that entries of over 28 characters need
        height = (2.8 if width == "single" else 4.2) + ROW_HEIGHT * _n_rows(sessions)
        fig = new_figure((7.2 + wider, height), width)
        ax = fig.add_subplot()
        draw_curves(ax, sessions, colors, names, metric=metric, curve_axis=curve_axis)
        _legend(fig, texts, colors, [sessions], delta, "session", curve_axis)
        room = beside_legend(fig) - Y_LABEL_WIDTH
        ax.set_title(wrapped(_title(target, common) if title is None else title, room, RC["axes.titlesize"]))
    return fig


def ndc_panels(
    curves_by_target: Mapping[str, Sequence[Curve | Mapping[str, Any]]],
    *,
    metric: str = "auc",
    delta: float = 0.02,
    title: str | None = None,
    n_columns: int = 2,
    curve_axis: str = "cells",
    width: str | None = None,
) -> StyledFigure:
    """Draw one panel per target, all with the same axes, and one legend.

    Parameters
    ----------
    curves_by_target : mapping of str to sequence
        Curves of each target as in `ndc_overlay`; a target without curves gets an empty panel. A
        session has the same colour in all panels.
    metric, delta, title, curve_axis
        As in `ndc_overlay`; `title` is written above all panels.
    n_columns : int
        Maximum number of panels side by side.
    width : {"single", "double"}, optional
        A journal's: 89 or 183 mm with the legend, which may be below the axes, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With one axes per target, in the order given. The legend lists k* in each panel: "≤8" means 8 or fewer, "32+"
        that the curve is not saturated, "–" that there is no k* or the session is at chance.

    Raises
    ------
    ArgumentError
        There is no curve at all, or as in `ndc_overlay`.

    Examples
    --------
    >>> curve = dict(label="s1", date="2024-05-01", ks=[1, 2], mean=[0.6, 0.7], sd=[0.1, 0.1], k_star=2)
    >>> fig = ndc_panels({"choice": [curve], "block": []})
    >>> fig.legends[0].get_texts()[0].get_text()
    '2024-05-01  k*=2, –'
    """
    panels, everything, colors = sessions_by_target(curves_by_target)
    n_columns = columns_in(width, n_columns)
    across, down = grid_shape(len(panels), n_columns)
    with style():
        n_rows, most = max(map(_n_rows, panels.values())), max(map(len, panels.values()))
        fig = new_figure((2.9 * across + 2, (2.3 + ROW_HEIGHT * n_rows) * down + 0.6), width)
        for ax, sessions in zip(shared_axes(fig, len(panels), n_columns), panels.values(), strict=True):
            _draw_panel(ax, sessions, colors, metric, curve_axis, everything, n_rows, most)
        _legend_of_panels(fig, panels, colors, delta, curve_axis)
        titles = [_title(target, {curve.n_trials for curve in sessions}) for target, sessions in panels.items()]
        title_panels(fig, titles, across)
        if title:
            set_suptitle(fig, title)
    return fig


def check_names(metric: str, curve_axis: str, metrics: Iterable[str] = METRICS) -> None:
    """Refuse a metric that is none of `metrics`, and an axis that is none of `AXES`."""
    if metric not in metrics:
        raise ArgumentError(f"metric must be one of {sorted(metrics)}, not {metric!r}")
    if curve_axis not in AXES:
        raise ArgumentError(f"curve_axis must be one of {sorted(AXES)}, not {curve_axis!r}")


def lowest_score(metric: str) -> float:
    """Return the lowest score that a metric of classes can have; R² has none, and of several metrics none is known."""
    return 0.0 if metric in CHANCE and metric not in NUMBER_METRICS else -np.inf


def common_metric(metrics: Iterable[str]) -> str:
    """Return the metric that all panels of a figure have, or "mixed"."""
    found = set(metrics)
    return found.pop() if len(found) == 1 else "mixed"


def draw_curves(
    ax: Axes,
    curves: Sequence[Curve],
    colors: Sequence[str],
    names: Sequence[str],
    *,
    metric: str,
    frame: Sequence[Curve] | None = None,
    n_rows: int | None = None,
    bands: bool | None = None,
    curve_axis: str = "cells",
) -> None:
    """Draw curves, spread, shuffle band, fits, k* and chance into one axes (for custom figures).

    Parameters
    ----------
    ax : Axes
        Where to draw.
    curves, colors, names : sequences of equal length
        Sessions, their colours, and the names that label their lines.
    metric : str
        Key of `CHANCE`.
    frame : sequence of Curve, optional
        Curves that determine the limits, to give several axes the same limits. Default: `curves`.
    n_rows : int, optional
        Number of rows for intervals of k* below the curves, to give several axes the same layout. Default: one per
        curve if any has an interval.
    bands : bool, optional
        Draw the spread as bands instead of bars. Default: for up to 3 curves.
    curve_axis : {"cells", "trials"}
        What k counts.

    Raises
    ------
    ArgumentError
        The metric or the axis is unknown.

    Examples
    --------
    >>> ax = StyledFigure().add_subplot()
    >>> draw_curves(ax, [Curve("a", "d", [1, 2], [0.6, 0.7], [0, 0])], ["#000000"], ["d"], metric="auc")
    >>> ax.get_ylabel(), ax.get_xscale()
    ('AUC', 'log')
    """
    check_names(metric, curve_axis, CHANCE)
    # ks usually double
    ax.set_xscale("log", base=2)
    ax.axhline(CHANCE[metric], color="0.55", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1, label="chance")
    _draw_null(ax, curves)
    bands = len(curves) <= MAX_BANDS if bands is None else bands
    shifts = None if bands else BAR_SHIFT * (np.arange(len(curves)) - (len(curves) - 1) / 2)
    of_mean, lowest = _has_intervals(curves if frame is None else frame), lowest_score(metric)
    for i, (curve, color, name) in enumerate(zip(curves, colors, names, strict=True)):
        _draw_spread(ax, curve, color, None if shifts is None else float(shifts[i]), of_mean, lowest)
        _draw_means(ax, curve, color, name)
        _draw_ceiling(ax, curve, color)
    n_rows = _n_rows(curves) if n_rows is None else n_rows
    rows = _fit_axes(ax, curves if frame is None else frame, n_rows, of_mean, metric)
    # Only now, with known limits: the drop lines end at the axis, or at the row of the session.
    for i, (curve, color, name) in enumerate(zip(curves, colors, names, strict=True)):
        _draw_k_star(ax, curve, color, name, rows[i] if len(rows) else None)
    ax.set_xlabel(f"number of {AXES[curve_axis]} k")
    ax.set_ylabel(METRICS[metric])


def _sessions(curves: Sequence[Curve | Mapping[str, Any]]) -> list[Curve]:
    """Return curves in order of date; mappings become `Curve`."""
    known = {field.name for field in fields(Curve)}
    made = []
    for curve in curves:
        if not isinstance(curve, Curve):
            if unknown := set(curve) - known:
                raise ArgumentError(f"unknown fields of a curve: {sorted(unknown)}; it has {sorted(known)}")
            curve = Curve(**curve)
        made.append(curve)
    return sorted(made, key=session_key)


def sessions_by_target(
    curves_by_target: Mapping[str, Sequence[Curve | Mapping[str, Any]]],
) -> tuple[dict[str, list[Curve]], list[Curve], dict[tuple[str, str], str]]:
    """Return the curves of each panel in order of date, the curves of all panels, and the colour of each session.

    Raises
    ------
    ArgumentError
        There is no curve at all.
    """
    panels = {target: _sessions(curves) for target, curves in curves_by_target.items()}
    everything = [curve for sessions in panels.values() for curve in sessions]
    keys = sorted({session_key(curve) for curve in everything})
    if not keys:
        raise ArgumentError(f"no curve to draw for any of {list(panels)}")
    return panels, everything, dict(zip(keys, session_colors([date for date, _ in keys]), strict=True))


def session_key(curve: Curve) -> tuple[str, str]:
    """Return the date and label that identify a session across panels."""
    return str(curve.date), curve.label


def session_names(curves: Sequence[Curve]) -> list[str]:
    """Return the date of each session, with the label if two sessions share a date."""
    dates = Counter(str(curve.date) for curve in curves)
    return [str(curve.date) if dates[str(curve.date)] == 1 else f"{curve.date} {curve.label}" for curve in curves]


def _title(target: str, trials: set[int | None]) -> str:
    """Return the target and, if known for all sessions, the number of trials."""
    text = heading(target)
    known = [number for number in trials if number is not None]
    if not known or len(known) < len(trials):
        return text
    span = f"{min(known)}" if len(known) == 1 else f"{min(known)} to {max(known)}"
    return f"{text}, {span} trials per session"


def _entries(names: Sequence[str], curves: Sequence[Curve], with_trials: bool) -> list[str]:
    """Return the legend text of each session, aligned in columns with figure spaces, which are as wide as digits."""
    stars = [_star_text(curve) for curve in curves]
    if any(curve.verdict is not None or curve.p_value is not None for curve in curves):
        width = max(map(len, stars))
        stars = [star + "\u2007" * (width - len(star)) for star in stars]
    texts = []
    for name, star, curve in zip(names, stars, curves, strict=True):
        parts = [name, star]
        if with_trials and curve.n_trials is not None:
            parts.append(f"n={curve.n_trials}")
        parts += [_p_text(curve)] if curve.p_value is not None else []
        parts += [curve.verdict] if curve.verdict else []
        texts.append("  ".join(parts).rstrip("\u2007"))
    return texts


def _star_text(curve: Curve) -> str:
    """Return k* of one session as text, such as "k*=8", or "k*≤8" if it is left-censored."""
    return f"k*{K_STAR_SIGNS[curve.k_star_censored]}{curve.star:g}" if curve.star is not None else "k*=–"


def _p_text(curve: Curve) -> str:
    """Return p, and q if known, as text."""
    q = [] if curve.q_value is None or np.isnan(curve.q_value) else [p_text(curve.q_value, name="q")]
    return ", ".join([p_text(curve.p_value, curve.n_shuffles), *q])


def _n_rows(curves: Sequence[Curve]) -> int:
    """Return the number of rows below the curves: one per session if any has an interval of k*."""
    return len(curves) if any(curve.star_interval is not None for curve in curves) else 0


def _has_intervals(curves: Sequence[Curve]) -> bool:
    """Return whether all curves have an interval of the mean: a figure shows one kind of spread only."""
    return bool(curves) and all(curve.mean_low is not None and np.isfinite(curve.mean_low).any() for curve in curves)


def _draw_panel(
    ax: Axes,
    sessions: Sequence[Curve],
    colors: Mapping[tuple[str, str], str],
    metric: str,
    curve_axis: str,
    everything: Sequence[Curve],
    n_rows: int,
    most: int,
) -> None:
    """Draw one panel, with limits and layout common to all panels."""
    own = [colors[session_key(curve)] for curve in sessions]
    names = session_names(sessions)
    draw_curves(
        ax, sessions, own, names, metric=metric, frame=everything, n_rows=n_rows, bands=most <= MAX_BANDS,
        curve_axis=curve_axis,
    )  # fmt: skip
    if not sessions:
        ax.text(0.5, 0.25, "no session", transform=ax.transAxes, ha="center", color="0.4")


def _draw_null(ax: Axes, curves: Sequence[Curve]) -> None:
    """Draw shuffle percentiles as one band, the widest over sessions: many bands would hide each other."""
    bands = [(c.ks, c.null_lo, c.null_hi) for c in curves if c.null_lo is not None and c.null_hi is not None]
    if not bands:
        return
    ks = np.unique(np.concatenate([own for own, _, _ in bands]))
    outside = {"left": np.nan, "right": np.nan}
    # NaN outside of a session's own ks: np.interp would hold its first and last value
    low = [np.interp(np.log2(ks), np.log2(own), edge, **outside) for own, edge, _ in bands]
    high = [np.interp(np.log2(ks), np.log2(own), edge, **outside) for own, _, edge in bands]
    # fmin and fmax ignore NaN: sessions whose ks do not reach a k have no say there.
    ax.fill_between(
        ks, np.fmin.reduce(low), np.fmax.reduce(high), color="0.85", linewidth=0, zorder=0, label="shuffled"
    )


def _spread(curve: Curve, of_mean: bool, lowest: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of the mean, or mean ± one standard deviation, clipped to the range of scores, up to 1."""
    low, high = curve.mean - curve.sd, curve.mean + curve.sd
    if of_mean and curve.mean_low is not None and curve.mean_high is not None:
        low, high = curve.mean_low, curve.mean_high
    return np.maximum(low, lowest), np.minimum(high, 1)


def _draw_spread(ax: Axes, curve: Curve, color: str, shift: float | None, of_mean: bool, lowest: float) -> None:
    """Draw the spread as a band, or as bars shifted by `shift` octaves from k."""
    low, high = _spread(curve, of_mean, lowest)
    if shift is None:
        ax.fill_between(curve.ks, low, high, color=color, alpha=0.2, linewidth=0, zorder=2)
    else:
        beside = curve.ks * 2**shift
        ax.vlines(beside, low, high, color=color, linewidth=0.7, alpha=0.6, zorder=2)


def _draw_means(ax: Axes, curve: Curve, color: str, name: str) -> None:
    """Draw the means as a line, or as dots with their fit."""
    if curve.fit_k is None or curve.fit_score is None or not curve.has_fit:
        ax.plot(curve.ks, curve.mean, color=color, label=name, zorder=3)
        return
    ax.plot(curve.ks, curve.mean, ".", color=color, markersize=4, label=name, zorder=3.5)
    # the line changes its style exactly at the largest k, where the fit may have no point
    largest = curve.ks[-1]
    at_largest = np.interp(np.log(largest), np.log(curve.fit_k), curve.fit_score)
    inside, beyond = curve.fit_k < largest, curve.fit_k > largest
    ax.plot(
        np.r_[curve.fit_k[inside], largest], np.r_[curve.fit_score[inside], at_largest],
        color=color, zorder=3, label=f"fit {name}",
    )  # fmt: skip
    if beyond.any():
        ax.plot(
            np.r_[largest, curve.fit_k[beyond]], np.r_[at_largest, curve.fit_score[beyond]],
            color=color, linewidth=0.9, linestyle=(0, (3, 2)), alpha=0.6, zorder=3, label=f"beyond {name}",
        )  # fmt: skip


def _draw_ceiling(ax: Axes, curve: Curve, color: str) -> None:
    """Mark the ceiling with a short line outside the right edge, where many ceilings do not cross the curves."""
    if curve.ceiling is not None and np.isfinite(curve.ceiling):
        ax.plot([1.005, 1.025], [curve.ceiling] * 2, color=color, transform=ax.get_yaxis_transform(), clip_on=False)


def _draw_k_star(ax: Axes, curve: Curve, color: str, name: str, row: float | None) -> None:
    """Draw a marker on the curve, a dotted line down to the axis or to `row`, and the interval in the row."""
    if curve.star is None:
        return
    score = float(np.interp(np.log2(curve.star), np.log2(curve.ks), curve.mean))
    bottom = ax.get_ylim()[0] if row is None else row
    # faint if there are rows, because it crosses those of other sessions
    ax.plot(
        [curve.star] * 2, [bottom, score], color=color, linestyle=":", linewidth=0.9 if row is None else 0.7,
        alpha=1 if row is None else 0.7, label=f"drop {name}",
    )  # fmt: skip
    dot: dict[str, Any] = {"color": color, "markeredgecolor": "white", "linestyle": "none", "zorder": 5}
    ax.plot(
        [curve.star], [score], marker="o", markersize=5.5, markeredgewidth=0.8, label=f"k* {name}", **dot
    )  # fmt: skip
    if row is None:
        return
    if curve.star_interval is not None:
        low, high = curve.star_interval
        right = ax.get_xlim()[1]
        end = high if np.isfinite(high) else right
        ax.plot([low, end], [row, row], color=color, linewidth=1.6, label=f"interval {name}", zorder=4)
        if end == right:
            ax.plot([right], [row], ">", color=color, markersize=3.5, clip_on=False, zorder=4)
    ax.plot([curve.star], [row], marker="o", markersize=4, markeredgewidth=0.5, **dot)
    if curve.k_star_censored == "left":
        ax.annotate(
            "≤", (curve.star, row), (-3, 0), textcoords="offset points", ha="right", va="center_baseline",
            fontsize=7, color=color,
        )  # fmt: skip


def _fit_axes(ax: Axes, curves: Sequence[Curve], n_rows: int, of_mean: bool, metric: str) -> np.ndarray:
    """Set limits around all scores and ticks at the ks; return the y positions (n_rows,) of the rows of k*."""
    # so that the line of chance is always in view, and a flat curve has an axis
    scores = [CHANCE[metric] + np.array([0, 0.05])]
    scores += [side for c in curves for side in (c.mean, *_spread(c, of_mean, lowest_score(metric)))]
    scores += [side for c in curves for side in (c.null_lo, c.null_hi) if side is not None]
    scores += [c.fit_score for c in curves if c.fit_score is not None and c.has_fit]
    drawn = np.concatenate(scores)
    low, high = np.nanmin(drawn), np.nanmax(drawn)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    # from the rough place of the axes: the final layout depends on the labels that are set here
    box = ax.get_position()
    rows = _make_room(ax, low, high, n_rows, box.height * ax.figure.bbox.height / ax.figure.dpi)
    ks = np.unique(np.concatenate([curve.ks for curve in curves]))
    fits = [c.fit_k[-1] for c in curves if c.fit_k is not None and c.has_fit]
    # margins of 0.3 octaves; to the right as far as the fits are drawn
    left, right = ks[0] * 2**-0.3, max([ks[-1] * 2**0.3, *fits])
    ax.set_xlim(left, right)
    width = box.width * ax.figure.bbox.width / ax.figure.dpi  # inches
    ticks = spaced(ks, TICK_LABEL_WIDTH * np.log2(right / left) / width)
    ax.set_xticks(ticks, [f"{k:g}" for k in ticks])
    ax.xaxis.set_minor_locator(FixedLocator(ks.tolist()))
    ax.xaxis.set_minor_formatter(NullFormatter())
    return rows


def _make_room(ax: Axes, low: float, high: float, n_rows: int, height: float) -> np.ndarray:
    """Set the y limits, with rows for k* below the scores that are not part of the scale; return their y positions.

    `low` and `high` are the limits of the scores, `height` is that of the axes in inches.
    """
    # chosen before the limits are extended downwards: the rows of k* are not on the scale
    ticks = [tick for tick in MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]
    if not n_rows:
        ax.set_ylim(low, high)
        return np.empty(0)
    share = min(ROW_HEIGHT * (n_rows + 1) / height, MAX_ROWS_SHARE)
    # solved for: (low - bottom) is the share of (high - bottom)
    bottom = low - (high - low) * share / (1 - share)
    ax.set_ylim(bottom, high)
    ax.set_yticks(ticks)
    ax.spines["left"].set_bounds(low, high)
    ax.axhspan(bottom, low, color="0.96", linewidth=0, zorder=-1)
    rows = low - (low - bottom) * (np.arange(n_rows) + 1) / (n_rows + 1)
    ax.annotate(
        "k*", (0, (low + bottom) / 2), (-4, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
        ha="right", va="center", fontsize=7,
    )  # fmt: skip
    return rows


def spaced(ks: np.ndarray, octaves: float) -> list[float]:
    """Return those of `ks` that are at least `octaves` apart; the largest is always kept."""
    # from the right, because the largest k is the one to read
    kept = [float(ks[-1])]
    for k in ks[-2::-1]:
        if np.log2(kept[-1] / k) >= octaves:
            kept.append(float(k))
    return kept[::-1]


def _legend(
    fig: StyledFigure,
    texts: Sequence[str],
    colors: Sequence[str],
    panels: Sequence[Sequence[Curve]],
    delta: float,
    head: str,
    curve_axis: str,
) -> None:
    """Add a legend of the sessions and of the kinds of marks, outside the axes."""
    everything = [curve for curves in panels for curve in curves]
    handles: list[Any] = [
        Line2D([], [], color=color, marker="o", markersize=4, label=text)
        for text, color in zip(texts, colors, strict=True)
    ]
    handles.append(Line2D([], [], color="none", label=" "))  # an empty line between sessions and marks
    grey: dict[str, Any] = {"color": "0.35", "linewidth": 0.9}
    star = f"k*: fewest {AXES[curve_axis]} within\n{delta:g} of the ceiling"
    handles.append(Line2D([], [], marker="o", markersize=4, linestyle=":", label=star, **grey))
    if any(curve.star_interval is not None for curve in everything):
        bar = {**grey, "linewidth": 1.6}
        handles.append(Line2D([], [], marker="o", markersize=4, label="95 % interval of k* (rows)", **bar))
    if any(curve.k_star_censored == "left" and curve.star is not None for curve in everything):
        handles.append(Line2D([], [], linestyle="none", marker="$≤$", label="that many or fewer", color="0.35"))
    if any(curve.has_fit for curve in everything):
        handles += [
            Line2D([], [], marker=".", linestyle="none", label="mean over random subsets", **grey),
            Line2D([], [], label="fit", **{**grey, "linewidth": 1.2}),
            Line2D([], [], linestyle=(0, (3, 2)), alpha=0.6, label="fit beyond the largest k", **grey),
        ]
    handles.append(_spread_handle(colors[0], max(map(len, panels)), grey, _has_intervals(everything)))
    if any(curve.ceiling is not None for curve in everything):
        handles.append(Line2D([], [], label="ceiling (right edge)", **grey))
    with_null = max(sum(curve.null_lo is not None for curve in curves) for curves in panels)
    if with_null:
        widest = "\n(widest over sessions)" if with_null > 1 else ""
        handles.append(Patch(color="0.85", label=f"shuffled labels, 2.5–97.5 %{widest}"))
    handles.append(Line2D([], [], color="0.55", linestyle=(0, (4, 3)), linewidth=0.8, label="chance"))
    set_legend(fig, handles, title=head, labelspacing=0.4)


def _spread_handle(color: str, most: int, grey: dict[str, Any], of_mean: bool) -> Any:
    """Return the legend handle of the spread: a band, or a bar if there are more than `MAX_BANDS` sessions."""
    label = "95 % interval of the mean" if of_mean else "±1 sd over random subsets"
    if most <= MAX_BANDS:
        return Patch(color=color, alpha=0.3, linewidth=0, label=label)
    return Line2D([], [], linestyle="none", marker="|", markersize=9, label=f"{label}\n(beside its k)", **grey)


def _legend_of_panels(
    fig: StyledFigure,
    panels: Mapping[str, Sequence[Curve]],
    colors: Mapping[tuple[str, str], str],
    delta: float,
    curve_axis: str,
) -> None:
    """Add a legend with one entry per session that lists its k* in every panel."""
    curves = {}
    stars: dict[tuple[str, str], list[str]] = {key: ["–"] * len(panels) for key in colors}
    for i, sessions in enumerate(panels.values()):
        for curve in sessions:
            curves[session_key(curve)] = curve
            stars[session_key(curve)][i] = _short_star(curve)
    names = session_names([curves[key] for key in colors])
    texts = [f"{name}  k*={', '.join(stars[key])}" for name, key in zip(names, colors, strict=True)]
    letters = ", ".join(map(panel_letter, range(len(panels))))
    head = f"session, k* in {letters}"
    if any(curve.verdict == "not saturated" for sessions in panels.values() for curve in sessions):
        head += "\n(+: not saturated)"
    _legend(fig, texts, list(colors.values()), list(panels.values()), delta, head, curve_axis)


def _short_star(curve: Curve) -> str:
    """Return k* as text: "32", "≤8" if it is left-censored, "32+" if the curve is not saturated."""
    if curve.star is None:
        return "–"
    fewer = "≤" if curve.k_star_censored == "left" else ""
    return f"{fewer}{curve.star:g}{'+' if curve.verdict == 'not saturated' else ''}"
