"""Names of curves by their settings, and of sessions by their dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.decoding import NDCSettings
from pipeline.settings.signals import IN_WORDS

#: What an empty setting is, by its name; others are conditions, and without one all is decoded.
EMPTY = {"signal": "as read", "c_grid": "none"}


def names_of(settings: Sequence[NDCSettings]) -> list[str]:
    """Return a name for each of the settings: its title, and the settings that differ within the same title.

    Examples
    --------
    >>> names_of([NDCSettings("choice", signal="dff"), NDCSettings("choice", trials="correct")])
    ['choice (trials=all, signal=dff)', 'choice (trials=correct, signal=as read)']
    """
    names = []
    for one in settings:
        same = [other.as_row() for other in settings if other.title == one.title]
        row = one.as_row()
        unlike = [name for name in row if any(other[name] != row[name] for other in same)]
        differing = [f"{name}={_plain(name, row[name])}" for name in unlike]
        names.append(f"{one.title} ({', '.join(differing)})" if differing else one.title)
    return names


def _plain(name: str, value: Any) -> str:
    return ("+".join(map(str, value)) if isinstance(value, list) else str(value)) or EMPTY.get(name, "all")


def dates_of(sessions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the dates of rows of Session by eid, as text; with the number where there are several on a day."""
    on_date = Counter(row["session_date"] for row in sessions)
    return {
        row["eid"]: str(row["session_date"]) + f"/{row['session_number']:03d}" * (on_date[row["session_date"]] > 1)
        for row in sessions
    }


def asked_notes(settings: Mapping[str, NDCSettings]) -> list[str]:
    """Return notes on settings, by name: which trials are decoded, and which signal, where they were asked for.

    Examples
    --------
    >>> asked_notes({"choice": NDCSettings("choice", signal="dff")})
    ['choice: of dF/F']
    """
    of_trials = [f"{name}: only trials with {one.trials}" for name, one in settings.items() if one.trials]
    return of_trials + [f"{name}: of {IN_WORDS[one.signal]}" for name, one in settings.items() if one.signal]
