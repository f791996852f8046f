"""Why entries failed, of some keys: the server picks them, so that an error of another key is never the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datajoint as dj

from schemas import graph
from schemas.rows import checked, jobs_of
from schemas.server.connection import connect

#: Column of a job table.
MESSAGE = "error_message"


def errors_of(tables: Sequence[type[dj.Table]], *keys: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[dict]:
    """Return the errors of tables at some keys, in one statement for each table.

    Parameters
    ----------
    tables : sequence of table classes
    *keys : dict, or sequence of dict
        All of them hold for an error; of a sequence, any of its dicts.

    Returns
    -------
    list of dict
        table (name), key, message; in the order of the tables, then of their keys.

    Raises
    ------
    ConfigError
        A name is no key of one of the tables: DataJoint would ignore it, and return errors of other keys.
    """
    found = []
    for table in tables:
        jobs = jobs_of(table)
        failed = jobs.errors
        for key in keys:
            failed = failed & checked(key, jobs.proj())
        found += [
            {"table": table.__name__, "key": {name: row[name] for name in jobs.primary_key}, "message": row[MESSAGE]}
            for row in failed.proj(MESSAGE).to_dicts(order_by="KEY")
        ]
    return found


def tables_by_session() -> list[type[dj.Table]]:
    """Return the populated tables that have the session in their key."""
    return [table for table in graph.tables() if graph.kind_of(table) != "registered" and "eid" in table.primary_key]


def errors_by_session() -> Counter[str]:
    """Return the number of errors of each session, in one statement."""
    selects = (
        f"SELECT eid, COUNT(*) FROM {jobs_of(table).full_table_name} WHERE status = 'error' GROUP BY eid"
        for table in tables_by_session()
    )
    counts: Counter[str] = Counter()
    for eid, n in connect().query(" UNION ALL ".join(selects)).fetchall():
        counts[eid.strip()] += n
    return counts
