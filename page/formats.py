"""Values as text on the pages."""

from __future__ import annotations

import datetime
from typing import Any

from drawing.screen import cell_text
from schemas.decoding.run import NDCRun, interval_text


def seconds(value: float | None) -> str:
    """Return a stretch of time.

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
    """Return a whole number with thin spaces between thousands, '–' for nothing.

    Examples
    --------
    >>> number(25000), number(None)
    ('25\\u2009000', '–')
    """
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u2009")


def counted(word: str, n: int) -> str:
    """Return how many of something there are.

    Examples
    --------
    >>> counted("session", 1), counted("session", 4)
    ('1 session', '4 sessions')
    """
    return f"{number(n)} {word}{'' if n == 1 else 's'}"


def percent(value: float | None) -> str:
    """Return a share.

    Examples
    --------
    >>> percent(0.792), percent(None)
    ('79 %', '–')
    """
    return "–" if value is None else f"{100 * value:.0f} %"


def when(value: datetime.datetime | None) -> str:
    """Return a time to the second, UTC as the database has it."""
    return "" if value is None else value.isoformat(sep=" ", timespec="seconds")


def key_text(key: dict | None) -> str:
    """Return a key as NAME=VALUE pairs, as the command line takes them."""
    return " ".join(f"{name}={value}" for name, value in (key or {}).items())


def ndc_rows(run: NDCRun) -> list[dict[str, Any]]:
    """Return the table of results by target, as it is shown: k* is '–' at chance, where it would mean nothing."""
    rows = []
    for name, results in run.curves.items():
        for row in results:
            has_star = row["k_star"] is not None and row["verdict"] != "at chance"
            rows.append({
                "name": name, "date": row["session_date"], "eid": row["eid"],
                "k_star": number(row["k_star"]) if has_star else "–",
                "interval": interval_text(row) if has_star else "–",
                "ceiling": cell_text(row["ceiling"]), "n_cells": row["n_cells"], "n_trials": row["n_decoded"],
                "p": cell_text(row["p_largest"]), "q": cell_text(row["q_value"]), "verdict": row["verdict"] or "–",
                "performance": percent(row["performance"]),
            })  # fmt: skip
    return rows


FILTERS = {
    "counted": counted,
    "seconds": seconds,
    "number": number,
    "percent": percent,
    "when": when,
    "key_text": key_text,
}
