"""Neuron-dropping curves: decoding score against the number of neurons, one curve per session.

Where intervals of k* are known they stand in rows under the curves, one per session: on the curves of
many sessions, which meet at the ceiling, they would hide each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from pipeline.errors import ArgumentError

from .style import (
    LABELS,
    RC,
    StyledFigure,
    beside_legend,
    grid_shape,
    panel_letter,
    session_colors,
    set_legend,
    set_suptitle,
    shared_axes,
    style,
    title_panels,
    wrapped,
)  # fmt: skip

CHANCE = 0.5
TICK_ROOM = 0.3  # inches that the label of a tick takes
METRICS = {"auc": "AUC", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
STEP = 0.024  # octaves between the bars of two sessions, which would hide each other on the same k
BANDS_MAX = 3  # with more sessions overlapping bands turn to mud and bars are drawn instead
ROW = 0.095  # inches from one row of k* to the next
ROWS_SHARE = 0.45  # of the height of the axes that the rows may take
AXES = {"cells": "neurons", "trials": "trials"}
SIDES = {"": "=", "left": "≤", "right": "="}


@dataclass(frozen=True, eq=False)
class Curve:
    """Neuron-dropping curve of one session.

    Parameters
    ----------
    label : str
        Name of the session; shown where two sessions share a date.
    date : str or date
        Date of the session.
    ks : (K,) array
        Numbers of neurons, increasing, at least 1.
    mean, sd : (K,) arrays
        Score over random subsets of k neurons: mean and standard deviation.
    null_lo, null_hi : (K,) arrays or None
        Percentiles 2.5 and 97.5 of the scores with shuffled labels.
    ceiling : float or None
        Best score, from which k* is measured.
    k_star : int or None
        Fewest neurons within delta of the ceiling; None if there is no such number.
    n_trials : int or None
        Trials that were decoded.
    mean_low, mean_high : (K,) arrays or None
        95 % interval of the mean; drawn in place of the standard deviation if all sessions have it.
    p_value, q_value : float or None
        Of the score against shuffled labels, and its false discovery rate.
    fit_k, fit_score : (N,) arrays or None
        Fitted curve (`pipeline.decoding.fits.CurveFit.line`), dashed beyond the largest k. The means are dots then.
    verdict : str or None
        Such as ``"saturated"`` (`pipeline.decoding.fits.VERDICTS`). At chance no k* is shown.
    k_star_low, k_star_high : float or None
        95 % interval of k*; open to the right with a low end only, or where the high one is infinite.
    k_star_censored : {"", "left", "right"}
        "left": k* is that many or fewer; "right": no k is near the ceiling.
    performance : float or None
        Share of the session's trials that were rewarded.

    Raises
    ------
    ArgumentError
        If lengths differ, `ks` does not increase from 1, only one of two that belong together is given,
        or `k_star_censored` is none of the three words.

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
                raise ArgumentError(f"{self.date}: {one} and {other} are given together or not at all")
        if self.fit_k is not None:
            k, score = np.asarray(self.fit_k, dtype=float), np.asarray(self.fit_score, dtype=float)
            if k.ndim != 1 or k.shape != score.shape:
                raise ArgumentError(
                    f"{self.date}: fit_k and fit_score are of one length, not {k.shape} and {score.shape}"
                )
            object.__setattr__(self, "fit_k", k)
            object.__setattr__(self, "fit_score", score)
        if self.k_star_censored not in SIDES:
            raise ArgumentError(f"{self.date}: k_star_censored is one of {list(SIDES)}, not {self.k_star_censored!r}")

    @property
    def star(self) -> float | None:
        """k* if there is one that means something: a number, of a session that is not at chance."""
        if self.k_star is None or not np.isfinite(self.k_star) or self.k_star < 1 or self.verdict == "at chance":
            return None
        return float(self.k_star)

    @property
    def star_interval(self) -> tuple[float, float] | None:
        """95 % interval of k*, the high end infinite where it is open; None where k* or the low end is not known."""
        low, high = self.k_star_low, self.k_star_high
        if self.star is None or low is None or not np.isfinite(low):
            return None
        return float(low), float(high) if high is not None and np.isfinite(high) else np.inf

    @property
    def has_fit(self) -> bool:
        """Whether there is a fitted curve to draw."""
        return self.fit_k is not None and self.fit_k.size > 0


def ndc_overlay(
    curves: Sequence[Curve | Mapping[str, Any]],
    *,
    target: str,
    metric: str = "auc",
    delta: float = 0.02,
    title: str | None = None,
    curve_axis: str = "cells",
) -> StyledFigure:
    """Draw the curves of all sessions for one target.

    Parameters
    ----------
    curves : sequence of Curve or mapping
        One per session; mappings hold the fields of `Curve`. Drawn in order of date.
    target : str
        What is decoded, such as ``"choice"``.
    metric : {"auc", "accuracy", "balanced_accuracy"}
        Score on the y axis; chance is 0.5.
    delta : float
        Distance from the ceiling that defines k*; only named in the legend.
    title : str, optional
        Default: target and number of trials.
    curve_axis : {"cells", "trials"}
        What k counts.

    Returns
    -------
    StyledFigure
        With one axes. Lines with data carry the labels ``"<date>"`` (means), ``"fit <date>"``, ``"beyond <date>"``
        (the fit beyond the largest k), ``"k* <date>"`` (marker), ``"drop <date>"`` (dotted line down to
        the axis, or to the row of the session) and ``"interval <date>"`` (of k*, in that row).

    Raises
    ------
    ArgumentError
        If there is no curve, the metric is unknown, or a curve does not agree with itself.

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
        wider = max(0.0, 0.052 * (max(map(len, texts)) - 28))  # inches that long entries take
        fig = StyledFigure(figsize=(7.2 + wider, 4.2 + ROW * _n_rows(sessions)), layout="constrained")
        ax = fig.add_subplot()
        draw_curves(ax, sessions, colors, names, metric=metric, curve_axis=curve_axis)
        _legend(fig, texts, colors, [sessions], delta, "session", curve_axis)
        room = beside_legend(fig) - LABELS
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
) -> StyledFigure:
    """Draw one panel per target, all with the same axes, and one legend.

    Parameters
    ----------
    curves_by_target : mapping of str to sequence
        Curves of each target as in `ndc_overlay`; a target without curves gets an empty panel. A
        session has the same colour in all panels.
    metric, delta, title, curve_axis
        As in `ndc_overlay`; `title` stands above all panels.
    n_columns : int
        Most panels side by side.

    Returns
    -------
    StyledFigure
        With one axes per target, in the order given. The legend lists k* of each panel: "≤8" is that many
        or fewer, "32+" of a curve that is not saturated, "–" none, or a session at chance.

    Raises
    ------
    ArgumentError
        If there is no curve at all, or as in `ndc_overlay`.

    Examples
    --------
    >>> curve = dict(label="s1", date="2024-05-01", ks=[1, 2], mean=[0.6, 0.7], sd=[0.1, 0.1], k_star=2)
    >>> fig = ndc_panels({"choice": [curve], "block": []})
    >>> fig.legends[0].get_texts()[0].get_text()
    '2024-05-01  k*=2, –'
    """
    panels, everything, colors = sessions_by_target(curves_by_target)
    width, height = grid_shape(len(panels), n_columns)
    with style():
        n_rows, most = max(map(_n_rows, panels.values())), max(map(len, panels.values()))
        size = (2.9 * width + 2, (2.3 + ROW * n_rows) * height + 0.6)
        fig = StyledFigure(figsize=size, layout="constrained")
        for ax, sessions in zip(shared_axes(fig, len(panels), n_columns), panels.values(), strict=True):
            _draw_panel(ax, sessions, colors, metric, curve_axis, everything, n_rows, most)
        _legend_of_panels(fig, panels, colors, delta, curve_axis)
        titles = [_title(target, {curve.n_trials for curve in sessions}) for target, sessions in panels.items()]
        title_panels(fig, titles, width)
        if title:
            set_suptitle(fig, title)
    return fig


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
    """Draw curves, spread, shuffle band, fits, k* and chance into one axes (for figures of one's own).

    Parameters
    ----------
    ax : Axes
        Where to draw.
    curves, colors, names : sequences of equal length
        Sessions, their colours, and the names that label their lines.
    metric : str
        Key of `METRICS`.
    frame : sequence of Curve, optional
        Curves that the limits must hold, for axes that are to look alike. Default: `curves`.
    n_rows : int, optional
        Rows for intervals of k* under the curves, for axes that are to look alike. Default: one per
        curve if any has an interval.
    bands : bool, optional
        Spread as bands, not as bars. Default: with few curves.
    curve_axis : {"cells", "trials"}
        What k counts.

    Raises
    ------
    ArgumentError
        If the metric or the axis is unknown.

    Examples
    --------
    >>> ax = StyledFigure().add_subplot()
    >>> draw_curves(ax, [Curve("a", "d", [1, 2], [0.6, 0.7], [0, 0])], ["#000000"], ["d"], metric="auc")
    >>> ax.get_ylabel(), ax.get_xscale()
    ('AUC', 'log')
    """
    if metric not in METRICS:
        raise ArgumentError(f"metric is one of {sorted(METRICS)}, not {metric!r}")
    if curve_axis not in AXES:
        raise ArgumentError(f"curve_axis is one of {sorted(AXES)}, not {curve_axis!r}")
    ax.set_xscale("log", base=2)
    ax.axhline(CHANCE, color="0.55", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1, label="chance")
    _draw_null(ax, curves)
    bands = len(curves) <= BANDS_MAX if bands is None else bands
    shifts = None if bands else STEP * (np.arange(len(curves)) - (len(curves) - 1) / 2)
    of_mean = _has_intervals(curves if frame is None else frame)
    for i, (curve, color, name) in enumerate(zip(curves, colors, names, strict=True)):
        _draw_spread(ax, curve, color, None if shifts is None else float(shifts[i]), of_mean)
        _draw_means(ax, curve, color, name)
        _draw_ceiling(ax, curve, color)
    rows = _fit_axes(ax, curves if frame is None else frame, _n_rows(curves) if n_rows is None else n_rows, of_mean)
    # After the limits are known: the drop lines end at the axis, or at the row of the session.
    for i, (curve, color, name) in enumerate(zip(curves, colors, names, strict=True)):
        _draw_k_star(ax, curve, color, name, rows[i] if len(rows) else None)
    ax.set_xlabel(f"number of {AXES[curve_axis]} k")
    ax.set_ylabel(METRICS[metric])


def _sessions(curves: Sequence[Curve | Mapping[str, Any]]) -> list[Curve]:
    """Curves in order of date."""
    known = {field.name for field in fields(Curve)}
    made = []
    for curve in curves:
        if not isinstance(curve, Curve):
            if unknown := set(curve) - known:
                raise ArgumentError(f"a curve has fields {sorted(known)}, not {sorted(unknown)}")
            curve = Curve(**curve)
        made.append(curve)
    return sorted(made, key=session_key)


def sessions_by_target(
    curves_by_target: Mapping[str, Sequence[Curve | Mapping[str, Any]]],
) -> tuple[dict[str, list[Curve]], list[Curve], dict[tuple[str, str], str]]:
    """Return the curves of each panel in order of date, those of all panels, and the colour of each session.

    Raises
    ------
    ArgumentError
        If there is no curve at all.
    """
    panels = {target: _sessions(curves) for target, curves in curves_by_target.items()}
    everything = [curve for sessions in panels.values() for curve in sessions]
    keys = sorted({session_key(curve) for curve in everything})
    if not keys:
        raise ArgumentError(f"no curve to draw for any of {list(panels)}")
    return panels, everything, dict(zip(keys, session_colors([date for date, _ in keys]), strict=True))


def session_key(curve: Curve) -> tuple[str, str]:
    """Return what makes a session the same in all panels."""
    return str(curve.date), curve.label


def session_names(curves: Sequence[Curve]) -> list[str]:
    """Return dates, with the label where two sessions share one."""
    dates = Counter(str(curve.date) for curve in curves)
    return [str(curve.date) if dates[str(curve.date)] == 1 else f"{curve.date} {curve.label}" for curve in curves]


def _title(target: str, trials: set[int | None]) -> str:
    """Target and, where known of all sessions, the number of trials."""
    text = f"{target[:1].upper()}{target[1:]}"
    known = [number for number in trials if number is not None]
    if not known or len(known) < len(trials):
        return text
    span = f"{min(known)}" if len(known) == 1 else f"{min(known)} to {max(known)}"
    return f"{text}, {span} trials per session"


def _entries(names: Sequence[str], curves: Sequence[Curve], with_trials: bool) -> list[str]:
    """Legend text of each session, in columns: figure spaces are as wide as digits."""
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
    """k* of one session, "k*≤8" where it is that many or fewer."""
    return f"k*{SIDES[curve.k_star_censored]}{curve.star:g}" if curve.star is not None else "k*=–"


def _p_text(curve: Curve) -> str:
    """p, and q where it is known; no more digits than the shuffles can give."""
    texts = [
        f"{letter}<0.001" if value < 0.001 else f"{letter}={value:.3f}"
        for letter, value in (("p", curve.p_value), ("q", curve.q_value))
        if value is not None and np.isfinite(value)
    ]
    return f"{texts[0]} ({texts[1]})" if len(texts) == 2 else "".join(texts) or "p=–"


def _n_rows(curves: Sequence[Curve]) -> int:
    """Rows under the curves: one per session if any has an interval of k*."""
    return len(curves) if any(curve.star_interval is not None for curve in curves) else 0


def _has_intervals(curves: Sequence[Curve]) -> bool:
    """Whether the interval of the mean is drawn: if all have it, one figure shows one kind of spread."""
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
    """Draw one of the small multiples, with limits that suit all."""
    own = [colors[session_key(curve)] for curve in sessions]
    names = session_names(sessions)
    draw_curves(
        ax, sessions, own, names, metric=metric, frame=everything, n_rows=n_rows, bands=most <= BANDS_MAX,
        curve_axis=curve_axis,
    )  # fmt: skip
    if not sessions:
        ax.text(0.5, 0.25, "no session", transform=ax.transAxes, ha="center", color="0.4")


def _draw_null(ax: Axes, curves: Sequence[Curve]) -> None:
    """Shuffle percentiles as one band: the widest over sessions, since many bands hide each other."""
    bands = [(c.ks, c.null_lo, c.null_hi) for c in curves if c.null_lo is not None and c.null_hi is not None]
    if not bands:
        return
    ks = np.unique(np.concatenate([own for own, _, _ in bands]))
    outside = {"left": np.nan, "right": np.nan}
    low = [np.interp(np.log2(ks), np.log2(own), edge, **outside) for own, edge, _ in bands]
    high = [np.interp(np.log2(ks), np.log2(own), edge, **outside) for own, _, edge in bands]
    # fmin and fmax: at a k that one session lacks the others decide.
    ax.fill_between(
        ks, np.fmin.reduce(low), np.fmax.reduce(high), color="0.85", linewidth=0, zorder=0, label="shuffled"
    )


def _spread(curve: Curve, of_mean: bool) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean, or one standard deviation to either side, cut where scores end: at 0 and 1."""
    low, high = curve.mean - curve.sd, curve.mean + curve.sd
    if of_mean and curve.mean_low is not None and curve.mean_high is not None:
        low, high = curve.mean_low, curve.mean_high
    return np.maximum(low, 0), np.minimum(high, 1)


def _draw_spread(ax: Axes, curve: Curve, color: str, shift: float | None, of_mean: bool) -> None:
    """Draw the spread as a band, or as bars `shift` octaves beside k."""
    low, high = _spread(curve, of_mean)
    if shift is None:
        ax.fill_between(curve.ks, low, high, color=color, alpha=0.2, linewidth=0, zorder=2)
    else:
        beside = curve.ks * 2**shift
        ax.vlines(beside, low, high, color=color, linewidth=0.7, alpha=0.6, zorder=2)


def _draw_means(ax: Axes, curve: Curve, color: str, name: str) -> None:
    """Draw the means joined by a line, or as dots on their fit."""
    if curve.fit_k is None or curve.fit_score is None or not curve.has_fit:
        ax.plot(curve.ks, curve.mean, color=color, label=name, zorder=3)
        return
    ax.plot(curve.ks, curve.mean, ".", color=color, markersize=4, label=name, zorder=3.5)
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
    """Draw a short stroke outside the right edge, so that twelve ceilings do not cross the curves."""
    if curve.ceiling is not None and np.isfinite(curve.ceiling):
        ax.plot([1.005, 1.025], [curve.ceiling] * 2, color=color, transform=ax.get_yaxis_transform(), clip_on=False)


def _draw_k_star(ax: Axes, curve: Curve, color: str, name: str, row: float | None) -> None:
    """Marker on the curve, dotted line down to the axis or to the row, and the interval in the row."""
    if curve.star is None:
        return
    score = float(np.interp(np.log2(curve.star), np.log2(curve.ks), curve.mean))
    bottom = ax.get_ylim()[0] if row is None else row
    # through the rows of other sessions only faintly
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
            fontsize=6.5, color=color,
        )  # fmt: skip


def _fit_axes(ax: Axes, curves: Sequence[Curve], n_rows: int, of_mean: bool) -> np.ndarray:
    """Set limits around all scores and ticks at the ks; return the heights of the rows of k*."""
    scores = [np.array([CHANCE, CHANCE + 0.05])]
    scores += [side for c in curves for side in (c.mean, *_spread(c, of_mean))]
    scores += [side for c in curves for side in (c.null_lo, c.null_hi) if side is not None]
    scores += [c.fit_score for c in curves if c.fit_score is not None]
    drawn = np.concatenate(scores)
    low, high = np.nanmin(drawn), np.nanmax(drawn)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    box = ax.get_position()
    rows = _make_room(ax, low, high, n_rows, box.height * ax.figure.bbox.height / ax.figure.dpi)
    ks = np.unique(np.concatenate([curve.ks for curve in curves]))
    fits = [c.fit_k[-1] for c in curves if c.fit_k is not None and c.has_fit]
    left, right = ks[0] * 2**-0.3, max([ks[-1] * 2**0.3, *fits])
    ax.set_xlim(left, right)
    width = box.width * ax.figure.bbox.width / ax.figure.dpi  # inches
    ticks = spaced(ks, TICK_ROOM * np.log2(right / left) / width)
    ax.set_xticks(ticks, [f"{k:g}" for k in ticks])
    ax.xaxis.set_minor_locator(FixedLocator(ks.tolist()))
    ax.xaxis.set_minor_formatter(NullFormatter())
    return rows


def _make_room(ax: Axes, low: float, high: float, n_rows: int, height: float) -> np.ndarray:
    """Set the limits of the scores, with rows for k* below them that are no part of the scale."""
    ticks = [tick for tick in MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]
    if not n_rows:
        ax.set_ylim(low, high)
        return np.empty(0)
    share = min(ROW * (n_rows + 1) / height, ROWS_SHARE)
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
    """Those of `ks` that stand at least so far apart; the largest is always among them."""
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
    """Sessions, then what each kind of mark means, outside the axes."""
    everything = [curve for curves in panels for curve in curves]
    handles: list[Any] = [
        Line2D([], [], color=color, marker="o", markersize=4, label=text)
        for text, color in zip(texts, colors, strict=True)
    ]
    handles.append(Line2D([], [], color="none", label=" "))  # a gap between sessions and marks
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
    """Look of the spread: a tinted band, or a bar where the sessions are many."""
    label = "95 % interval of the mean" if of_mean else "±1 sd over random subsets"
    if most <= BANDS_MAX:
        return Patch(color=color, alpha=0.3, linewidth=0, label=label)
    return Line2D([], [], linestyle="none", marker="|", markersize=9, label=f"{label}\n(beside its k)", **grey)


def _legend_of_panels(
    fig: StyledFigure,
    panels: Mapping[str, Sequence[Curve]],
    colors: Mapping[tuple[str, str], str],
    delta: float,
    curve_axis: str,
) -> None:
    """One line per session with its k* in every panel."""
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
    """k* as in "≤8", "32", or "32+" where the curve is not saturated."""
    if curve.star is None:
        return "–"
    fewer = "≤" if curve.k_star_censored == "left" else ""
    return f"{fewer}{curve.star:g}{'+' if curve.verdict == 'not saturated' else ''}"
