"""Format values as text for the pages."""

from __future__ import annotations

import datetime
from functools import partial
from typing import Any

from drawing.screen import shown_result
from drawing.tables import cell_text
from pipeline.text import METRICS, counted
from schemas.decoding.results import NDCRun


def seconds(value: float | None) -> str:
    """Return a duration in s as text.

    Examples
    --------
    >>> [seconds(value) for value in (None, 0.25, 8, 90, 7300)]
    ['', '0.2 s', '8 s', '1 min 30 s', '2 h 1 min']
    """
    if value is None:
        return ""
    if value < 60:
        return f"{value:.1f} s" if value < 2 else f"{value:.0f} s"
    if value < 3600:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value // 3600:.0f} h {value % 3600 // 60:.0f} min"


def number(value: float | None) -> str:
    """Return a whole number with thin spaces between thousands, '–' for None.

    Examples
    --------
    >>> number(25000), number(None)
    ('25\\u2009000', '–')
    """
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u2009")


def percent(value: float | None) -> str:
    """Return a fraction as a percentage, '–' for None.

    Examples
    --------
    >>> percent(0.792), percent(None)
    ('79 %', '–')
    """
    return "–" if value is None else f"{100 * value:.0f} %"


def when(value: datetime.datetime | None) -> str:
    """Return a time to the second, in UTC as stored in the database; '' for None."""
    return "" if value is None else value.isoformat(sep=" ", timespec="seconds")


def key_text(key: dict | None, leave_out: str = "") -> str:
    """Return a key as NAME=VALUE pairs, as the command line takes them, without the name ``leave_out``.

    Examples
    --------
    >>> key_text({"eid": "a1", "fov": 0}), key_text({"eid": "a1", "fov": 0}, "eid")
    ('eid=a1 fov=0', 'fov=0')
    """
    return " ".join(f"{name}={value}" for name, value in (key or {}).items() if name != leave_out)


def ndc_rows(run: NDCRun) -> list[dict[str, Any]]:
    """Return the rows of the table of results as text, target by target."""
    return [
        {"name": target.name, "metric": METRICS[target.settings.metric], **_as_text(shown_result(row))}
        for target in run.targets for row in target.curves
    ]  # fmt: skip


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row, "k_star": number(row["k_star"]), "interval": row["interval"] or "–", "verdict": row["verdict"] or "–",
        **{name: cell_text(row[name]) for name in ("ceiling", "q")}, "p": row["p_text"],
        "performance": percent(row["performance"]),
    }  # fmt: skip


#: Filters of the templates, by name.
FILTERS = {
    "counted": partial(counted, form=number),
    "seconds": seconds,
    "number": number,
    "percent": percent,
    "when": when,
    "key_text": key_text,
}
