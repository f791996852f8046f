"""Tables on screen."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table


def table_of(rows: Sequence[dict[str, Any]], title: str | None = None) -> Table:
    """Return a rich table of rows with the same names; numbers are right-aligned."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in rows[0] if rows else ():
        width = max(len(str(name)), *(len(cell_text(row[name])) for row in rows))
        numbers = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(str(name), justify="right" if numbers else "left", no_wrap=True, min_width=min(12, width))
    for row in rows:
        table.add_row(*(escape(cell_text(value)) for value in row.values()))
    return table


def cell_text(value: Any) -> str:
    """Return a value as text: three decimals, '-' for nothing."""
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)
