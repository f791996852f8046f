"""Names of curves by their settings, and of sessions by their dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.decoding import NDCSettings


def names_of(settings: Sequence[NDCSettings]) -> list[str]:
    """Return a name for each of the settings: its title, and the settings that differ within the same title."""
    names = []
    for one in settings:
        same = [other.as_row() for other in settings if other.title == one.title]
        row = one.as_row()
        differing = [f"{name}={_plain(row[name])}" for name in row if any(other[name] != row[name] for other in same)]
        names.append(f"{one.title} ({', '.join(differing)})" if differing else one.title)
    return names


def _plain(value: Any) -> str:
    return ("+".join(map(str, value)) if isinstance(value, list) else str(value)) or "all"


def dates_of(sessions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the dates of rows of Session by eid, as text; with the number where there are several on a day."""
    on_date = Counter(row["session_date"] for row in sessions)
    return {
        row["eid"]: str(row["session_date"]) + f"/{row['session_number']:03d}" * (on_date[row["session_date"]] > 1)
        for row in sessions
    }
