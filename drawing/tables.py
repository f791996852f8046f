"""Rows as a table in the terminal. Most commands need no more of the modules that print."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.text import printable


def table_of(rows: Sequence[dict[str, Any]], title: str | None = None) -> Table:
    """Return a rich table of rows, all with the same columns; numbers are right-aligned."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in rows[0] if rows else ():
        # up to 12 characters of every column stay, however narrow the terminal is
        width = max(len(str(name)), *(len(cell_text(row[name])) for row in rows))
        numbers = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(str(name), justify="right" if numbers else "left", no_wrap=True, min_width=min(12, width))
    for row in rows:
        table.add_row(*(escape(cell_text(value)) for value in row.values()))
    return table


def cell_text(value: Any) -> str:
    """Return a value as text: floats with three decimals, '-' for None and NaN."""
    if value is None or value != value:  # NaN is not equal to itself
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return printable(value)
