"""Mean activity of each cell in windows around events, each on trials of one kind: of all trials, and of two halves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.decoding.features import FOVCells, usable_windows
from pipeline.errors import ArgumentError
from pipeline.signals.peri_event import WINDOWS, TrialWindow, event_times
from pipeline.signals.windows import window_means

#: Name of the set of the 26 trial windows.
TRIAL_WINDOWS = "trial windows"
#: Values for a window without a frame, see ``window_means``.
WITHOUT_FRAME = ("nearest", "drop", "next", "interpolate")
NAME_LENGTH = 64


@dataclass(frozen=True)
class WindowSet:
    """Windows by name, and which frames and trials count in them. Equal sets give the same numbers.

    Attributes
    ----------
    name : str
        Of the set.
    windows : dict of str to TrialWindow
        At least one, in the order of the rows of ``TrialTypeMeans``.
    short_window : {'nearest', 'drop', 'next', 'interpolate'}
        Value for a window that holds no frame: see ``pipeline.signals.windows.window_means``. With 'drop' the trial
        does not count.
    use_flagged_frames : bool
        Whether trials count whose window holds a frame that is flagged as bad.

    Raises
    ------
    ArgumentError
        A value is not allowed.
    """

    name: str = TRIAL_WINDOWS
    windows: Mapping[str, TrialWindow] = field(default_factory=lambda: dict(WINDOWS))
    short_window: str = "nearest"
    use_flagged_frames: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > NAME_LENGTH:
            raise ArgumentError(f"a set of windows needs a name of 1 to {NAME_LENGTH} characters, not {self.name!r}")
        if self.short_window not in WITHOUT_FRAME:
            raise ArgumentError(f"short_window must be one of {', '.join(WITHOUT_FRAME)}, not {self.short_window!r}")
        if not self.windows:
            raise ArgumentError(f"the set of windows {self.name!r} has no window")
        for name, window in self.windows.items():
            if not window.start < window.end:
                raise ArgumentError(
                    f"window {name!r} must start before it ends, not at {window.start:g} and {window.end:g} s"
                )

    def content(self) -> dict[str, Any]:
        """Return the set as plain values; the windows as a list of pairs, which keeps their order in any database."""
        return {
            "name": self.name, "windows": [[name, _plain(window)] for name, window in self.windows.items()],
            "short_window": self.short_window, "use_flagged_frames": self.use_flagged_frames,
        }  # fmt: skip

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> WindowSet:
        """Return the set whose ``content`` this is."""
        windows = {name: TrialWindow(**window) for name, window in content["windows"]}
        return cls(content["name"], windows, content["short_window"], bool(content["use_flagged_frames"]))


def _plain(window: TrialWindow) -> dict[str, Any]:
    """Return a window as plain values; 0 and 0.0 are the same."""
    row = asdict(window)
    return row | {name: float(row[name]) for name in ("start", "end", "apart")}


@dataclass(frozen=True, eq=False)
class TrialTypeMeans:
    """Means of N cells in W windows.

    A trial counts for a cell if its window was imaged throughout, holds no flagged frame, and the cell's activity there
    is finite.

    Attributes
    ----------
    windows : tuple of str
    mean, sem : (W, N) float32
        Mean over trials, and its standard error; NaN with no trial, and for the error with fewer than two.
    n : (W, N) int32
        Trials.
    even, odd : (W, N) float32
        Means of the trials with even and with odd numbers. A trial is in the same half in every window, so that the
        halves share no trial, not even where windows overlap.
    n_even : (W, N) int32
        Trials with even numbers.
    """

    windows: tuple[str, ...]
    mean: np.ndarray
    sem: np.ndarray
    n: np.ndarray
    even: np.ndarray
    odd: np.ndarray
    n_even: np.ndarray


def trial_type_means(
    cells: FOVCells, trials: Mapping[str, np.ndarray], windows: WindowSet | None = None
) -> TrialTypeMeans:
    """Return the mean activity of the cells of a FOV in each window of a set, on each cell's own clock.

    Parameters
    ----------
    cells : FOVCells
        N cells; ``columns`` is not used.
    trials : mapping of ALF attribute to (n,) float64
        All trials, in order; times in s.
    windows : WindowSet, optional
        By default the 26 of ``pipeline.signals.peri_event.WINDOWS``.

    Returns
    -------
    TrialTypeMeans

    Raises
    ------
    ArgumentError
        The trials lack the event of a window.
    """
    windows = windows or WindowSet()
    names, shape = tuple(windows.windows), (len(windows.windows), len(cells.traces))
    out: dict[str, np.ndarray] = {
        name: np.full(shape, np.nan, dtype=np.float32) for name in ("mean", "sem", "even", "odd")
    } | {name: np.zeros(shape, dtype=np.int32) for name in ("n", "n_even")}
    for values, numbers, taken in _values_by_bounds(cells, trials, windows):
        rows = [names.index(name) for name in taken]
        even = np.array(list(taken.values()))[:, numbers] & (numbers % 2 == 0)
        every = np.array(list(taken.values()))[:, numbers]
        out["mean"][rows], out["n"][rows], out["sem"][rows] = _means(every, values)
        out["even"][rows], out["n_even"][rows], _ = _means(even, values)
        out["odd"][rows], _, _ = _means(every & ~even, values)
    return TrialTypeMeans(names, **out)


def _values_by_bounds(
    cells: FOVCells, trials: Mapping[str, np.ndarray], windows: WindowSet
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """Yield for each event with bounds the values of its usable trials, computed once for all its kinds of trials.

    Yields
    ------
    values : (m, N) float64
        NaN where a cell has no finite value.
    numbers : (m,) int
        Of the trials.
    taken : dict of str to (n,) bool
        By name of each window with these bounds, which trials are of its kind.
    """
    by_bounds: dict[tuple[str, float, float], list[str]] = {}
    for name, window in windows.windows.items():
        if window.event not in trials:
            raise ArgumentError(
                f"window {name!r} is around {window.event}, which trials do not have; they have {', '.join(trials)}"
            )
        by_bounds.setdefault((window.event, window.start, window.end), []).append(name)
    for (_, start, end), names in by_bounds.items():
        events = {name: event_times(windows.windows[name], trials) for name in names}
        taken = {name: np.isfinite(times) for name, times in events.items()}
        # the times are the same in all of them, where they are not NaN
        times = np.where(np.any(list(taken.values()), axis=0), trials[windows.windows[names[0]].event], np.nan)
        fov = cells if not windows.use_flagged_frames else cells.without_flags()
        numbers = np.flatnonzero(usable_windows(fov, times + start, times + end, windows.short_window))
        values = window_means(
            cells.traces, cells.frame_times, cells.offsets, times[numbers] + start, times[numbers] + end,
            windows.short_window,
        )  # fmt: skip
        yield values, numbers, taken


def _means(taken: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, number and standard error over some of the trials, each (R, N).

    Parameters
    ----------
    taken : (R, m) bool
        Which trials each row is of.
    values : (m, N) float64
        NaN does not count.
    """
    good = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        # from the mean of all trials: squares of large numbers would lose the digits of a small variance
        middle = np.where(good, values, 0).sum(axis=0) / good.sum(axis=0)
        away = np.where(good, values - middle, 0)
        weights = taken.astype(float)
        n = weights @ good
        mean = weights @ away / n
        spread = np.maximum(weights @ away**2 - n * mean**2, 0) / np.where(n > 1, n - 1, np.nan)
        return mean + middle, n.astype(np.int32), np.sqrt(spread / n)
