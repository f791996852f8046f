"""Neuron-dropping curves: decoding score against the number of neurons, one curve per session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullFormatter

from .style import StyledFigure, session_colors, style

CHANCE = 0.5
TICK_ROOM = 0.3  # inches that the label of a tick takes
METRICS = {"auc": "AUC", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
STEP = 0.024  # octaves between the bars of two sessions, which would hide each other on the same k
BANDS_MAX = 3  # with more sessions overlapping bands turn to mud and bars are drawn instead


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

    Raises
    ------
    ValueError
        If lengths differ, `ks` does not increase from 1, or only one null percentile is given.

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

    def __post_init__(self) -> None:
        for name in ("ks", "mean", "sd", "null_lo", "null_hi"):
            value = getattr(self, name)
            if value is None:
                continue
            object.__setattr__(self, name, np.asarray(value, dtype=float))
            if getattr(self, name).shape != (len(self.ks),):
                shape = getattr(self, name).shape
                raise ValueError(f"{self.date}: ks has {len(self.ks)} values but {name} has shape {shape}")
        if not self.ks.size or self.ks[0] < 1 or np.any(np.diff(self.ks) <= 0):
            raise ValueError(f"{self.date}: ks must start at 1 or more and increase, not {self.ks.tolist()}")
        if (self.null_lo is None) != (self.null_hi is None):
            raise ValueError(f"{self.date}: null_lo and null_hi are given together or not at all")


def ndc_overlay(
    curves: Sequence[Curve | Mapping[str, Any]],
    *,
    target: str,
    metric: str = "auc",
    delta: float = 0.02,
    title: str | None = None,
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

    Returns
    -------
    StyledFigure
        With one axes. Lines with data carry the labels ``"<date>"`` (curve), ``"k* <date>"`` (marker)
        and ``"drop <date>"`` (dotted line down to the axis).

    Raises
    ------
    ValueError
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
        raise ValueError(f"no curve to draw for {target}")
    names = _names(sessions)
    colors = session_colors([str(curve.date) for curve in sessions])
    common = {curve.n_trials for curve in sessions}
    with style():
        fig = StyledFigure(figsize=(7.2, 4.2), layout="constrained")
        ax = fig.add_subplot()
        draw_curves(ax, sessions, colors, names, metric=metric)
        ax.set_title(title if title is not None else _title(target, common))
        texts = [_entry(name, curve, len(common) > 1) for name, curve in zip(names, sessions, strict=True)]
        _legend(fig, texts, colors, [sessions], delta, "session")
    return fig


def ndc_panels(
    curves_by_target: Mapping[str, Sequence[Curve | Mapping[str, Any]]],
    *,
    metric: str = "auc",
    delta: float = 0.02,
    title: str | None = None,
    n_columns: int = 2,
) -> StyledFigure:
    """Draw one panel per target, all with the same axes, and one legend.

    Parameters
    ----------
    curves_by_target : mapping of str to sequence
        Curves of each target as in `ndc_overlay`; a target without curves gets an empty panel. A
        session has the same colour in all panels.
    metric, delta, title
        As in `ndc_overlay`; `title` stands above all panels.
    n_columns : int
        Most panels side by side.

    Returns
    -------
    StyledFigure
        With one axes per target, in the order given. The legend lists k* of each panel.

    Raises
    ------
    ValueError
        If there is no curve at all, or as in `ndc_overlay`.

    Examples
    --------
    >>> curve = dict(label="s1", date="2024-05-01", ks=[1, 2], mean=[0.6, 0.7], sd=[0.1, 0.1], k_star=2)
    >>> fig = ndc_panels({"choice": [curve], "block": []})
    >>> fig.legends[0].get_texts()[0].get_text()
    '2024-05-01  k*=2, –'
    """
    panels = {target: _sessions(curves) for target, curves in curves_by_target.items()}
    everything = [curve for sessions in panels.values() for curve in sessions]
    keys = sorted({_key(curve) for curve in everything})
    if not keys:
        raise ValueError(f"no curve to draw for any of {list(panels)}")
    colors = dict(zip(keys, session_colors([date for date, _ in keys]), strict=True))
    width = min(n_columns, len(panels))
    height = -(-len(panels) // width)
    with style():
        fig = StyledFigure(figsize=(2.9 * width + 2, 2.3 * height + 0.6), layout="constrained")
        first: Axes | None = None
        for i, (target, sessions) in enumerate(panels.items()):
            first = ax = fig.add_subplot(height, width, i + 1, sharex=first, sharey=first)
            _draw_panel(ax, sessions, colors, metric, everything)
            ax.set_title(_panel_title(i, target, sessions))
            _label_outer(ax, left=i % width == 0, bottom=i + width >= len(panels))
        _legend_of_panels(fig, panels, colors, delta)
        if title:
            fig.suptitle(title)
    return fig


def draw_curves(
    ax: Axes,
    curves: Sequence[Curve],
    colors: Sequence[str],
    names: Sequence[str],
    *,
    metric: str,
    frame: Sequence[Curve] | None = None,
) -> None:
    """Draw curves, spread, shuffle band, k* and chance into one axes (for figures of one's own).

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

    Raises
    ------
    ValueError
        If the metric is unknown.

    Examples
    --------
    >>> ax = StyledFigure().add_subplot()
    >>> draw_curves(ax, [Curve("a", "d", [1, 2], [0.6, 0.7], [0, 0])], ["#000000"], ["d"], metric="auc")
    >>> ax.get_ylabel(), ax.get_xscale()
    ('AUC', 'log')
    """
    if metric not in METRICS:
        raise ValueError(f"metric is one of {sorted(METRICS)}, not {metric!r}")
    ax.set_xscale("log", base=2)
    ax.axhline(CHANCE, color="0.55", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1, label="chance")
    _draw_null(ax, curves)
    shifts = None if len(curves) <= BANDS_MAX else STEP * (np.arange(len(curves)) - (len(curves) - 1) / 2)
    for i, (curve, color, name) in enumerate(zip(curves, colors, names, strict=True)):
        _draw_spread(ax, curve, color, None if shifts is None else float(shifts[i]))
        ax.plot(curve.ks, curve.mean, color=color, label=name, zorder=3)
        _draw_ceiling(ax, curve, color)
    _fit_axes(ax, curves if frame is None else frame)
    # After the limits are known: the drop lines end at the axis.
    for curve, color, name in zip(curves, colors, names, strict=True):
        _draw_k_star(ax, curve, color, name)
    ax.set_xlabel("number of neurons k")
    ax.set_ylabel(METRICS[metric])


def _sessions(curves: Sequence[Curve | Mapping[str, Any]]) -> list[Curve]:
    """Curves in order of date."""
    known = {field.name for field in fields(Curve)}
    made = []
    for curve in curves:
        if not isinstance(curve, Curve):
            if unknown := set(curve) - known:
                raise ValueError(f"a curve has fields {sorted(known)}, not {sorted(unknown)}")
            curve = Curve(**curve)
        made.append(curve)
    return sorted(made, key=_key)


def _key(curve: Curve) -> tuple[str, str]:
    """Return what makes a session the same in all panels."""
    return str(curve.date), curve.label


def _names(curves: Sequence[Curve]) -> list[str]:
    """Dates, with the label where two sessions share one."""
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


def _panel_title(index: int, target: str, sessions: Sequence[Curve]) -> str:
    """As `_title`, with the letter of the panel."""
    return f"{chr(ord('a') + index)}  {_title(target, {curve.n_trials for curve in sessions})}"


def _entry(name: str, curve: Curve, with_trials: bool) -> str:
    """Legend text of one session."""
    star = "–" if curve.k_star is None else f"{curve.k_star:g}"
    trials = f"  n={curve.n_trials}" if with_trials and curve.n_trials is not None else ""
    return f"{name}  k*={star}{trials}"


def _draw_panel(
    ax: Axes,
    sessions: Sequence[Curve],
    colors: Mapping[tuple[str, str], str],
    metric: str,
    everything: Sequence[Curve],
) -> None:
    """Draw one of the small multiples, with limits that suit all."""
    own = [colors[_key(curve)] for curve in sessions]
    draw_curves(ax, sessions, own, _names(sessions), metric=metric, frame=everything)
    if not sessions:
        ax.text(0.5, 0.25, "no session", transform=ax.transAxes, ha="center", color="0.4")


def _label_outer(ax: Axes, *, left: bool, bottom: bool) -> None:
    """Keep labels only at the left and at the lower end of each column, also of a ragged grid."""
    if not left:
        ax.set_ylabel("")
    if not bottom:
        ax.set_xlabel("")
    ax.tick_params(labelleft=left, labelbottom=bottom)


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


def _spread(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """One standard deviation below and above the mean, cut where scores end: at 0 and 1."""
    return np.maximum(curve.mean - curve.sd, 0), np.minimum(curve.mean + curve.sd, 1)


def _draw_spread(ax: Axes, curve: Curve, color: str, shift: float | None) -> None:
    """Draw one standard deviation to either side, as a band or as bars `shift` octaves beside k."""
    low, high = _spread(curve)
    if shift is None:
        ax.fill_between(curve.ks, low, high, color=color, alpha=0.2, linewidth=0, zorder=2)
    else:
        beside = curve.ks * 2**shift
        ax.vlines(beside, low, high, color=color, linewidth=0.7, alpha=0.6, zorder=2)


def _draw_ceiling(ax: Axes, curve: Curve, color: str) -> None:
    """Draw a short stroke outside the right edge, so that twelve ceilings do not cross the curves."""
    if curve.ceiling is not None and np.isfinite(curve.ceiling):
        ax.plot([1.005, 1.03], [curve.ceiling] * 2, color=color, transform=ax.get_yaxis_transform(), clip_on=False)


def _draw_k_star(ax: Axes, curve: Curve, color: str, name: str) -> None:
    """Marker on the curve and dotted line down to the axis."""
    if curve.k_star is None or not np.isfinite(curve.k_star):
        return
    score = float(np.interp(np.log2(curve.k_star), np.log2(curve.ks), curve.mean))
    bottom = ax.get_ylim()[0]
    ax.plot([curve.k_star] * 2, [bottom, score], color=color, linestyle=":", linewidth=0.9, label=f"drop {name}")
    ax.plot(
        [curve.k_star], [score], "o", color=color, markersize=5.5, markeredgecolor="white",
        markeredgewidth=0.8, zorder=5, label=f"k* {name}",
    )  # fmt: skip


def _fit_axes(ax: Axes, curves: Sequence[Curve]) -> None:
    """Set limits around all scores and ticks at the ks."""
    scores = [np.array([CHANCE, CHANCE + 0.05])]
    scores += [side for c in curves for side in (c.mean, *_spread(c))]
    scores += [side for c in curves for side in (c.null_lo, c.null_hi) if side is not None]
    drawn = np.concatenate(scores)
    low, high = np.nanmin(drawn), np.nanmax(drawn)
    ax.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    ks = np.unique(np.concatenate([curve.ks for curve in curves]))
    ax.set_xlim(ks[0] * 2**-0.3, ks[-1] * 2**0.3)
    width = ax.get_position().width * ax.figure.bbox.width / ax.figure.dpi  # inches
    ticks = _spaced(ks, TICK_ROOM * (np.log2(ks[-1] / ks[0]) + 0.6) / width)
    ax.set_xticks(ticks, [f"{k:g}" for k in ticks])
    ax.xaxis.set_minor_locator(FixedLocator(ks.tolist()))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _spaced(ks: np.ndarray, octaves: float) -> list[float]:
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
) -> None:
    """Sessions, then what each kind of mark means, outside the axes."""
    handles: list[Any] = [
        Line2D([], [], color=color, marker="o", markersize=4, label=text)
        for text, color in zip(texts, colors, strict=True)
    ]
    handles.append(Line2D([], [], color="none", label=" "))  # a gap between sessions and marks
    grey: dict[str, Any] = {"color": "0.35", "linewidth": 0.9}
    handles.append(Line2D([], [], marker="o", markersize=4, linestyle=":", label=_k_star_text(delta), **grey))
    handles.append(_spread_handle(colors[0], max(map(len, panels)), grey))
    if any(curve.ceiling is not None for curves in panels for curve in curves):
        handles.append(Line2D([], [], label="ceiling (right edge)", **grey))
    with_null = max(sum(curve.null_lo is not None for curve in curves) for curves in panels)
    if with_null:
        widest = "\n(widest over sessions)" if with_null > 1 else ""
        handles.append(Patch(color="0.85", label=f"shuffled labels, 2.5–97.5 %{widest}"))
    handles.append(Line2D([], [], color="0.55", linestyle=(0, (4, 3)), linewidth=0.8, label="chance"))
    fig.legend(
        handles=handles, loc="outside right upper", title=head, alignment="left", labelspacing=0.4,
        borderaxespad=1,
    )  # fmt: skip


def _spread_handle(color: str, most: int, grey: dict[str, Any]) -> Any:
    """Look of the spread: a tinted band, or a bar where the sessions are many."""
    label = "±1 sd over random subsets"
    if most <= BANDS_MAX:
        return Patch(color=color, alpha=0.3, linewidth=0, label=label)
    return Line2D([], [], linestyle="none", marker="|", markersize=9, label=label, **grey)


def _k_star_text(delta: float) -> str:
    """Definition of k*."""
    return f"k*: fewest neurons within\n{delta:g} of the ceiling"


def _legend_of_panels(
    fig: StyledFigure,
    panels: Mapping[str, Sequence[Curve]],
    colors: Mapping[tuple[str, str], str],
    delta: float,
) -> None:
    """One line per session with its k* in every panel."""
    curves = {}
    stars: dict[tuple[str, str], list[str]] = {key: ["–"] * len(panels) for key in colors}
    for i, sessions in enumerate(panels.values()):
        for curve in sessions:
            curves[_key(curve)] = curve
            stars[_key(curve)][i] = "–" if curve.k_star is None else f"{curve.k_star:g}"
    names = _names([curves[key] for key in colors])
    texts = [f"{name}  k*={', '.join(stars[key])}" for name, key in zip(names, colors, strict=True)]
    letters = ", ".join(chr(ord("a") + i) for i in range(len(panels)))
    _legend(fig, texts, list(colors.values()), list(panels.values()), delta, f"session, k* in {letters}")
