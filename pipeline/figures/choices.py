"""The mouse of one session: bias and use of the stimulus over trials, habits, and the check of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from pipeline.errors import ArgumentError

from .behavior import BLOCKS
from .style import LINE_COLORS, StyledFigure, new_figure, set_suptitle, style, title_panels

#: Names of the weights in the figure; contrasts are shown in the psychometric panel.
HABITS = {
    "block": "block",
    "win": "last choice, rewarded",
    "lose": "last choice, not rewarded",
    "choices_5": "last 5 choices or so",
    "choices_20": "last 20 choices or so",
}
#: Those of models before there were the others.
FORMER_HABITS = tuple(HABITS)
HABITS |= {
    f"{outcome}_{lag}": f"{ordinal} last, {'' if outcome == 'win' else 'not '}rewarded"
    for lag, ordinal in enumerate(("second", "third", "fourth", "fifth"), 2)
    for outcome in ("win", "lose")
}
#: Standard deviations of a 95 % interval.
INTERVAL = 1.96


@dataclass(frozen=True)
class ChoiceModelPanels:
    """What the figure shows of a session.

    Attributes
    ----------
    bias, bias_sd, gain, gain_sd : (n,) float64
        Posterior mean and standard deviation on every trial, as logits.
    probability_left : (n,) float64
        Of the task.
    weights : mapping of str to (float, float)
        Posterior mean and standard deviation by name.
    checks : mapping of str to (float, float, float, float)
        Observed, and median, 2.5th and 97.5th percentile of simulated sessions, by feature; NaN for none.
    """

    bias: np.ndarray
    bias_sd: np.ndarray
    gain: np.ndarray
    gain_sd: np.ndarray
    probability_left: np.ndarray
    weights: Mapping[str, tuple[float, float]]
    checks: Mapping[str, tuple[float, float, float, float]]


def choice_model(session: ChoiceModelPanels, *, title: str | None = None, width: str | None = None) -> StyledFigure:
    """Draw the model of a session's choices: bias and use of the stimulus over trials, habits, and the check.

    Parameters
    ----------
    session : ChoiceModelPanels
    title : str, optional
    width : {"single", "double"}, optional
        A journal's: 89 mm, with the panels below each other, or 183 mm, and text of 7 to 9 pt.

    Returns
    -------
    StyledFigure
        With four axes: bias, habits, stimulus, check. Bands and bars are 95 % intervals.

    Raises
    ------
    ArgumentError
        The session has no trial, or a habit or the weight of contrast 1 is missing.
    """
    if not len(session.bias):
        raise ArgumentError("the session has no trial")
    if missing := [name for name in (*FORMER_HABITS, "contrast_1") if name not in session.weights]:
        raise ArgumentError(f"the weights lack {', '.join(missing)}")
    with style():
        n_columns = 1 if width == "single" else 2
        fig = new_figure((7.2, 5.0 if n_columns == 2 else 8.4), width)
        grid = fig.add_gridspec(4 // n_columns, n_columns, width_ratios=(3, 2)[:n_columns])
        bias, habits, stimulus, check = (fig.add_subplot(grid[i]) for i in range(4))
        stimulus.sharex(bias)
        _blocks(bias, session.probability_left)
        _band(bias, session.bias, session.bias_sd, LINE_COLORS[0])
        bias.set(xlabel="trial", ylabel="bias (logit, left > 0)")
        at_full = session.weights["contrast_1"][0] + session.gain * np.tanh(5)
        _band(stimulus, at_full, session.gain_sd, LINE_COLORS[2])
        stimulus.set(xlabel="trial", ylabel="weight of contrast 1 (logit)")
        _habits(habits, session.weights)
        _check(check, session.checks)
        names = ["Side bias; blocks in colour", "Habits", "Use of the stimulus", "Is the mouse imitated?"]
        title_panels(fig, names, n_columns)
        if title:
            set_suptitle(fig, title)
    return fig


def _blocks(ax: Axes, probability_left: np.ndarray) -> None:
    """Draw the blocks as pale stripes behind the curve."""
    known = np.isfinite(probability_left)
    edges = np.flatnonzero(np.diff(probability_left, prepend=np.nan) != 0)
    for start, stop in zip(edges, [*edges[1:], len(probability_left)], strict=True):
        if known[start] and not np.isclose(probability_left[start], 0.5):
            ax.axvspan(float(start), float(stop), color=BLOCKS(float(probability_left[start])), alpha=0.15, linewidth=0)


def _band(ax: Axes, mean: np.ndarray, sd: np.ndarray, color: str) -> None:
    """Draw a mean with its 95 % interval on every trial."""
    trial = np.arange(len(mean))
    ax.axhline(0, color="0.6", linewidth=0.7)
    ax.fill_between(trial, mean - INTERVAL * sd, mean + INTERVAL * sd, color=color, alpha=0.25, linewidth=0)
    ax.plot(trial, mean, color=color)
    ax.set_xlim(0, max(len(mean) - 1, 1))


def _habits(ax: Axes, weights: Mapping[str, tuple[float, float]]) -> None:
    """Draw weights with their 95 % intervals, the first on top."""
    names = {name: text for name, text in HABITS.items() if name in weights}
    places = np.arange(len(names))[::-1]
    mean, sd = np.array([weights[name] for name in names]).T
    ax.axvline(0, color="0.6", linewidth=0.7)
    ax.errorbar(mean, places, xerr=INTERVAL * sd, fmt="o", color=LINE_COLORS[0], markersize=4)
    ax.set_yticks(places, list(names.values()))
    ax.set(xlabel="weight (logit)", ylim=(-0.7, len(names) - 0.3))


def _check(ax: Axes, checks: Mapping[str, tuple[float, float, float, float]]) -> None:
    """Draw each feature in units of the half-width of its interval, so that -1 to 1 is what the model gives."""
    places = np.arange(len(checks))[::-1]
    ax.axvspan(-1, 1, color="0.9", linewidth=0)
    for place, (observed, median, low, high) in zip(places, checks.values(), strict=True):
        half = (high - median) if observed > median else (median - low)
        if np.isfinite(observed) and half > 0:
            away = (observed - median) / half
            ax.plot([away], [place], "o", color=LINE_COLORS[1 if abs(away) > 1 else 0], markersize=4)
    ax.axvline(0, color="0.6", linewidth=0.7)
    ax.set_yticks(places, list(checks))
    left, right = ax.get_xlim()
    ax.set(
        xlabel="distance in half 95 % ranges",
        xlim=(min(left, -1.6), max(right, 1.6)),
        ylim=(-0.7, len(checks) - 0.3),
    )
