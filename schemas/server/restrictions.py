"""Restrictions with any text in them.

DataJoint escapes a % for the client once more each time that it copies a restriction. A delete copies that of each
table to the tables that depend on it: with ``50%`` in a key it would miss their rows, and fail. And DataJoint writes a
backslash as two on both servers, which is MySQL's way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import datajoint.condition
import datajoint.expression
import datajoint.jobs
import datajoint.table
import numpy as np
from datajoint.condition import Not, extract_column_names

from schemas.server.dialect import dialect

LITERAL = re.compile(r"'(?:[^']|'')*'")


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
    if isinstance(made, str) and isinstance(inner, Mapping | np.void):
        escapes = dialect(query.connection).escapes
        made = LITERAL.sub(lambda found: escapes + found[0] if "\\" in found[0] else found[0], made)
    return Made(made) if isinstance(made, str) else made
