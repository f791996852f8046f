"""Names of curves by their settings."""

from __future__ import annotations

from collections.abc import Sequence
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
