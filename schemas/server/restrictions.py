"""Restrictions with any text in them: DataJoint escapes a % for the client once more each time that it copies one.

A delete copies the restriction of each table to the tables that depend on it; with ``50%`` in a key it would miss their
rows, and fail.
"""

from __future__ import annotations

from typing import Any

import datajoint.condition
import datajoint.expression
import datajoint.jobs
import datajoint.table
from datajoint.condition import Not, extract_column_names


class Made(str):
    """SQL that DataJoint has made of a restriction: it is escaped already."""


def register() -> None:
    """Make DataJoint use this module's ``make_condition``."""
    for module in (datajoint.condition, datajoint.expression, datajoint.jobs, datajoint.table):
        module.make_condition = make_condition


_datajoint_s = datajoint.condition.make_condition


def make_condition(query: Any, restriction: Any, columns: set[str], semantic_check: bool = True) -> str | bool:
    """Return a restriction as SQL, as DataJoint's function of this name, but leave alone what that has made."""
    inner, is_negated = restriction, False
    while isinstance(inner, Not):
        inner, is_negated = inner.restriction, not is_negated
    if isinstance(inner, Made):
        columns.update(extract_column_names(inner))
        return Made(f"{'NOT ' if is_negated else ''}({inner})")
    made = _datajoint_s(query, restriction, columns, semantic_check)
    return Made(made) if isinstance(made, str) else made
