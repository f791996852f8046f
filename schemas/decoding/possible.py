"""Whether sessions have trials for the settings at all: asked before tasks are inserted that would all fail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.behavior.trial_columns import impossible
from pipeline.decoding import NDCSettings
from pipeline.errors import SettingsError
from schemas.session import Behavior, trials_of

#: Windows up to this length, s, are not compared with the trials: no task has shorter ones.
SHORT = 1.0


def check_possible(eids: Iterable[str], settings: Sequence[NDCSettings]) -> None:
    """Refuse settings with which no session can be decoded, whatever its activity.

    One statement, and one for each session if a setting has a condition on the trials or a long window.

    Parameters
    ----------
    eids : iterable of str
        Sessions whose trials have been read; others are not looked at.
    settings : sequence of NDCSettings

    Raises
    ------
    SettingsError
        No trial of any session meets a condition, or a window is longer than the time from trial to trial in each.
    """
    asked = [one for one in settings if one.trials or window_length(one) > SHORT]
    if not asked:
        return
    read = (Behavior & [{"eid": eid} for eid in eids]).to_arrays("eid", order_by="eid")
    sessions = [trials_of(eid) for eid in read]
    if not sessions:  # the failures of the sessions say so
        return
    of = f"of the {len(sessions)} sessions" if len(sessions) > 1 else f"of session {read[0]}"
    for condition in dict.fromkeys(one.trials for one in asked if one.trials):
        if reason := impossible(condition, sessions):
            raise SettingsError(f"no trial {of} meets {reason}")
    for one in asked:
        intervals = [interval for trials in sessions if (interval := trial_interval(trials[one.event])) is not None]
        if intervals and window_length(one) > max(intervals):
            raise SettingsError(
                f"the window of {one.target} is longer than the time from trial to trial {of}",
                expected=f"up to {max(intervals):.3g} s, the longest median from one {one.event} to the next",
                found=f"{window_length(one):g} s",
                do="Use a shorter window, in s: those of neighbouring trials overlap",
            )  # fmt: skip


def window_length(settings: NDCSettings) -> float:
    """Return the length of the window that is decoded, s."""
    return (settings.win_end or 0) - (settings.win_start or 0)


def trial_interval(events: np.ndarray) -> float | None:
    """Return the median time from one event (n,) to the next, s; None of fewer than two."""
    known = events[np.isfinite(events)]
    return float(np.median(np.diff(known))) if len(known) > 1 else None
