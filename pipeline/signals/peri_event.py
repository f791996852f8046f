"""Averages over trials around events, on each ROI's own clock, and the trial windows to average in.

The 26 windows of `WINDOWS` have the names, events, bounds and conditions of the IBL scripts for mesoscope sessions.
These errors of the scripts are corrected:

- Trials deep in a block have 10 trials *of the same block* before them. The scripts looked at the trial 10 places
  earlier, which for the first ten trials is one at the end of the session.
- A trial has a stimulus on a side if the contrast there is above zero, as in decoding. The scripts counted zero
  contrast as a stimulus.
- A trial without a finite event is in no window; nor is one whose previous trial has no finite end, where that matters.
- Trials that were not imaged are left out of the average, which is NaN if none is left. The scripts moved such a window
  to the first or last frame of the session.
- Every FOV has its own clock and every ROI its own offset. The scripts used those of the first ROI for all, which is
  up to one frame early.
- Trials can be left out (`included` of `event_times`). The mask of the scripts had no effect.
- Bounds are seconds from the event, negative before it, and choice is that of ALF: 1 is left. One of the scripts had
  left and right, and two signs, reversed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import ArgumentError
from pipeline.signals.clock import ROITimes, frame_period
from pipeline.signals.flags import blanked
from pipeline.signals.windows import CHUNK, window_means

#: A trial is deep in a block if so many trials of the same block precede it.
DEEP = 10
#: ALF attribute of the end of a trial.
TRIAL_END = "intervals_1"
#: Names of the events in figures.
EVENT_NAMES = {"stimOn_times": "stimulus on", "firstMovement_times": "first movement", "feedback_times": "feedback"}
#: The same in the middle of a sentence.
IN_SENTENCE = {
    "stimOn_times": "the stimulus",
    "firstMovement_times": "the first movement",
    "feedback_times": "the feedback",
}


def window_in_words(event: str, start: float, end: float) -> str:
    """Return a window around an event, s, as a reader would say it.

    Numbers and their units are joined by spaces that do not break.

    Examples
    --------
    >>> print(window_in_words("firstMovement_times", -0.1, 0).replace("\u00a0", " "))
    100 ms before the first movement
    >>> print(window_in_words("feedback_times", 0, 0.2).replace("\u00a0", " "))
    200 ms after the feedback
    >>> print(window_in_words("stimOn_times", -0.4, -0.1).replace("\u00a0", " "))
    400 to 100 ms before the stimulus
    >>> print(window_in_words("goCue_times", -1, 0.25).replace("\u00a0", " "))
    1000 ms before to 250 ms after goCue_times
    """
    named = IN_SENTENCE.get(event, event)
    first, last = (f"{abs(1000 * edge):.4g}" for edge in (start, end))
    if start < 0 < end:
        return f"{first}\u00a0ms before to {last}\u00a0ms after {named}"
    side = "before" if start < 0 else "after"
    # the edge at the event itself is not named
    edges = [edge for edge, at in ((first, start), (last, end)) if at]
    return f"{' to '.join(edges) or '0'}\u00a0ms {side} {named}"


@dataclass(frozen=True)
class TrialWindow:
    """A time window around an event, on trials of one kind. Conditions that are None, '' or False hold for all trials.

    Attributes
    ----------
    event : str
        Attribute of the ALF trials object.
    start, end : float
        Seconds from the event.
    probability_left : float or None
        That of the block, that the stimulus is on the left.
    side : {'', 'Left', 'Right'}
        Side of the stimulus; its contrast must be above zero.
    choice, feedback : int or None
        As in ALF: choice 1 is left, -1 right; feedback 1 is a reward, -1 an error.
    deep : bool
        Only trials with at least `DEEP` trials of the same block before them.
    apart : float
        Only trials whose event is more than so many seconds after the end of the previous trial; 0 for all.
    """

    event: str
    start: float
    end: float
    probability_left: float | None = None
    side: str = ""
    choice: int | None = None
    feedback: int | None = None
    deep: bool = False
    apart: float = 0.0


def _by_side_block_choice(name: str, **common: Any) -> dict[str, TrialWindow]:
    """Return the eight windows of stimulus side, block and choice."""
    cases = [(side, block, choice) for side in "LR" for block, choice in ("LL", "RL", "RR", "LR")]
    sides, blocks, choices = {"L": "Left", "R": "Right"}, {"L": 0.8, "R": 0.2}, {"L": 1, "R": -1}
    return {
        name.format(side, block, choice): TrialWindow(
            side=sides[side], probability_left=blocks[block], choice=choices[choice], **common
        )
        for side, block, choice in cases
    }


_BEFORE_STIMULUS: Any = {"event": "stimOn_times", "start": -0.4, "end": -0.1}
_BEFORE_MOVEMENT: Any = {"event": "firstMovement_times", "start": -0.15, "end": 0.0}

#: The trial windows by name. ``stimLbRcL`` and ``sLbRchoiceL``: stimulus left, block right, choice left.
WINDOWS: dict[str, TrialWindow] = {
    "inter_trial": TrialWindow("stimOn_times", -1.15, -1.0, apart=1.15),
    "blockL": TrialWindow(probability_left=0.8, **_BEFORE_STIMULUS),
    "blockR": TrialWindow(probability_left=0.2, **_BEFORE_STIMULUS),
    "block50": TrialWindow(probability_left=0.5, **_BEFORE_STIMULUS),
    "quiescence": TrialWindow(**_BEFORE_STIMULUS),
    **_by_side_block_choice("stim{}b{}c{}", event="stimOn_times", start=0.0, end=0.2, deep=True),
    "motor_init": TrialWindow(**_BEFORE_MOVEMENT),
    **_by_side_block_choice("s{}b{}choice{}", **_BEFORE_MOVEMENT),
    "choiceL": TrialWindow("firstMovement_times", 0.0, 0.15, choice=1),
    "choiceR": TrialWindow("firstMovement_times", 0.0, 0.15, choice=-1),
    "fback1": TrialWindow("feedback_times", 0.0, 0.3, feedback=1),
    "fback0": TrialWindow("feedback_times", 0.0, 0.3, feedback=-1),
}


def event_times(
    window: str | TrialWindow, trials: Mapping[str, np.ndarray], included: np.ndarray | None = None
) -> np.ndarray:
    """Return the event time of every trial that meets the conditions of a window.

    Parameters
    ----------
    window : str or TrialWindow
        Key of `WINDOWS`, or a window of your own.
    trials : mapping of ALF attribute to (n,) float64
        Times in s and codes as in ALF, NaN for none, in trial order.
    included : (n,) bool, optional
        Trials that may be used, for example those with a normal reaction time. Default: all.

    Returns
    -------
    (n,) float64, s
        NaN for a trial that does not meet the conditions or has no such event.

    Raises
    ------
    ArgumentError
        No window has this name; `included` is not one bool per trial.

    Examples
    --------
    >>> trials = {"feedback_times": np.array([2.0, 5.0, np.nan]), "feedbackType": np.array([1.0, -1.0, 1.0])}
    >>> event_times("fback1", trials)
    array([ 2., nan, nan])
    """
    if isinstance(window, str):
        if window not in WINDOWS:
            raise ArgumentError(f"there is no window {window!r}; the windows are {', '.join(WINDOWS)}")
        window = WINDOWS[window]
    events = np.array(trials[window.event], dtype=float)
    taken = np.ones(len(events), dtype=bool) if included is None else np.asarray(included)
    if taken.shape != events.shape or taken.dtype != bool:
        raise ArgumentError(
            f"included must be one bool for each of {len(events)} trials, not {taken.dtype} {taken.shape}"
        )
    for condition in _conditions(window, trials, events):
        taken = taken & condition
    events[~taken] = np.nan
    return events


def _conditions(window: TrialWindow, trials: Mapping[str, np.ndarray], events: np.ndarray) -> Iterator[np.ndarray]:
    """Yield one (n,) bool for each condition of a window; NaN meets none."""
    if window.probability_left is not None:
        yield np.isclose(trials["probabilityLeft"], window.probability_left)
    if window.side:
        yield np.asarray(trials[f"contrast{window.side}"]) > 0
    if window.choice is not None:
        yield np.asarray(trials["choice"]) == window.choice
    if window.feedback is not None:
        yield np.asarray(trials["feedbackType"]) == window.feedback
    if window.deep:
        yield trials_into_block(trials["probabilityLeft"]) >= DEEP
    if window.apart:
        ends = np.asarray(trials[TRIAL_END], dtype=float)
        # the first trial has none before it; NaN compares as False, so a trial after an unknown end is left out
        yield events - np.append(-np.inf, ends[:-1]) > window.apart


def trials_into_block(probability_left: np.ndarray) -> np.ndarray:
    """Return the number of trials of the same block before each trial.

    Parameters
    ----------
    probability_left : (n,) float64

    Returns
    -------
    (n,) int64

    Examples
    --------
    >>> trials_into_block(np.array([0.5, 0.5, 0.8, 0.8, 0.8, 0.2])).tolist()
    [0, 1, 0, 1, 2, 0]
    """
    values = np.asarray(probability_left, dtype=float)
    trial = np.arange(len(values))
    # cut again: append makes one value of no trials
    begins = np.append(True, ~np.isclose(values[1:], values[:-1]))[: len(values)]
    # the running maximum of the trials at which blocks begin is the first trial of the present block
    return trial - np.maximum.accumulate(np.where(begins, trial, 0))


@dataclass(frozen=True, eq=False)
class PeriEvent:
    """Averages over trials around an event, one row per cell or population.

    Attributes
    ----------
    names : (G,) array
        Number of each cell, or name of each population.
    edges : (L + 1,) float64
        Edges of the bins, s from the event.
    mean, sem : (G, L) float64
        Mean and standard error over trials; the error is NaN with fewer than two.
    n_trials : (G, L) int64
        Number of trials in each mean.
    """

    names: np.ndarray
    edges: np.ndarray
    mean: np.ndarray
    sem: np.ndarray
    n_trials: np.ndarray

    @property
    def lags(self) -> np.ndarray:
        """Middle of each bin, (L,) float64, s from the event."""
        centres: np.ndarray = (self.edges[:-1] + self.edges[1:]) / 2
        return centres


def bin_edges(start: float, end: float, step: float) -> np.ndarray:
    """Return the edges of equal bins that cover `start` to `end`; the event, at 0, is one of the edges.

    A bin that contained times both before and after the event would show a response before it.

    Examples
    --------
    >>> bin_edges(-0.3, 0.5, 0.2)
    array([-0.4, -0.2,  0. ,  0.2,  0.4,  0.6])
    """
    if not (start < end and step > 0):
        raise ArgumentError(
            f"bins must go from a start to a later end in steps above 0, not from {start} to {end} in {step}"
        )
    slack = 1e-6  # in floating point 0.6 / 0.2 is slightly less than 3
    return step * np.arange(np.floor(start / step + slack), np.ceil(end / step - slack) + 1)


def peri_event(
    traces: np.ndarray,
    times: ROITimes,
    events: np.ndarray,
    *,
    edges: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> PeriEvent:
    """Average activity around events, in bins, over trials.

    A frame is in a bin if its time, with the ROI's offset, is at or after the start of the bin and before its end. The
    value of a trial in a bin is the mean of its frames there; a bin without a frame has no value of that trial. So
    nothing is interpolated, activity after an event is never in a bin before it, and trials that were not imaged do
    not count.

    Parameters
    ----------
    traces : (N, T) float
        Any unit. A trial does not count in bins where a value is not finite.
    times : ROITimes
        Times of the traces, of the same shape. A trial does not count in bins with a frame that they flag as bad.
    events : (n,) float64, s
        On the session clock; NaN for trials that are left out.
    edges : (L + 1,) float64, optional
        Edges of the bins, s from the event, increasing. Default: -0.5 to 1.5 s in bins of one frame period.
    groups : (N,) array, optional
        Population of each cell, such as its region. Each trial is then first averaged over the cells of a population
        that have a value, and the standard error is over these means. Default: each cell on its own.

    Returns
    -------
    PeriEvent
        Its rows are the cells, or the populations in sorted order.

    Raises
    ------
    ArgumentError
        Shapes disagree, or edges do not increase.

    Examples
    --------
    >>> times = ROITimes({0: np.arange(50) * 0.2}, np.array([0]), np.array([0.01]))
    >>> traces = (times[:] % 2 < 0.2).astype(float)  # at 0.01, 2.01, 4.01, ... s
    >>> found = peri_event(traces, times, np.array([2.0, 4.0, np.nan, 100.0]), edges=np.array([-0.2, 0, 0.2, 0.4]))
    >>> found.mean, found.n_trials
    (array([[0., 1., 0.]]), array([[2, 2, 2]]))
    """
    traces, events = np.asarray(traces), np.asarray(events, dtype=float)
    if traces.shape != times.shape:
        raise ArgumentError(f"traces are {traces.shape} but times are {times.shape}, (cells, frames)")
    if edges is None:
        edges = bin_edges(-0.5, 1.5, max(map(frame_period, times.frame_times.values()), default=0) or 0.2)
    edges = np.asarray(edges, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ArgumentError(f"edges must be two or more increasing times in s, not {edges}")
    if groups is None:
        mean, sem, n_trials = _over_cells(traces, times, events, edges)
        return PeriEvent(np.arange(len(traces)), edges, mean, sem, n_trials)
    if np.shape(groups) != (len(traces),):
        raise ArgumentError(f"there are {len(traces)} cells but groups have shape {np.shape(groups)}")
    names, codes = np.unique(groups, return_inverse=True)
    return PeriEvent(names, edges, *_over_populations(traces, times, events, edges, codes, len(names)))


def _over_cells(
    traces: np.ndarray, times: ROITimes, events: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, sem and trials, each (N, L)."""
    shape = len(traces), len(edges) - 1
    mean, sem, n_trials = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.int64)
    for rows, values in _binned(traces, times, events, edges):
        for out, found in zip((mean, sem, n_trials), _over_trials(values), strict=True):
            out[rows] = found
    return mean, sem, n_trials


def _over_populations(
    traces: np.ndarray, times: ROITimes, events: np.ndarray, edges: np.ndarray, codes: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, sem and trials, each (groups, L), over trials of the average over the cells of a group."""
    shape = n_groups, int(np.isfinite(events).sum()), len(edges) - 1
    # summed up block by block: the values of all cells, trials and bins at once could be larger than the traces
    sums, counts = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for rows, values in _binned(traces, times, events, edges):
        good = np.isfinite(values)
        values = np.where(good, values, 0)
        for code in np.unique(codes[rows]):
            members = codes[rows] == code
            sums[code] += values[members].sum(axis=0)
            counts[code] += good[members].sum(axis=0)
    with np.errstate(invalid="ignore"):  # a trial without any value: 0 / 0 is NaN, as it should be
        return _over_trials(sums / counts)


def _binned(
    traces: np.ndarray, times: ROITimes, events: np.ndarray, edges: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of some ROIs at a time, and their values (rows, trials, L), NaN where a bin has no frame."""
    events = events[np.isfinite(events)]
    starts = (events[:, None] + edges[:-1]).ravel()
    ends = np.nextafter((events[:, None] + edges[1:]).ravel(), -np.inf)  # window_means includes its ends, bins do not
    for fov in np.unique(times.fovs):
        members = np.flatnonzero(times.fovs == fov)
        for i in range(0, len(members), CHUNK):
            rows = members[i : i + CHUNK]
            clock, offsets = times.frame_times[int(fov)], times.offsets[rows]
            values = blanked(traces[rows], times.flagged.get(int(fov)))
            means = window_means(values, clock, offsets, starts, ends, short_window="drop")
            yield rows, means.T.reshape(len(rows), len(events), len(edges) - 1)


def _over_trials(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard error and number of trials, (rows, L) each, of values (rows, trials, L); NaN is ignored."""
    good = np.isfinite(values)
    n = good.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(good, values, 0).sum(axis=1) / n
        squares = np.where(good, (values - mean[:, None]) ** 2, 0).sum(axis=1)
        sem = np.sqrt(squares / np.where(n > 1, n - 1, np.nan) / n)
    return mean, sem, n
