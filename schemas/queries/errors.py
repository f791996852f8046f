"""Errors of failed jobs, selected by key on the server, so that the error of another key is never returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datajoint as dj

from schemas import graph
from schemas.rows import checked, jobs_of, not_empty
from schemas.server.connection import connect

#: Column of DataJoint's job tables.
MESSAGE_COLUMN = "error_message"


def errors_of(tables: Sequence[type[dj.Table]], *keys: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[dict]:
    """Return the errors in the job tables of some tables, restricted to keys.

    One statement, and one for each table with such errors.

    Parameters
    ----------
    tables : sequence of table classes
    *keys : dict, or sequence of dict
        An error must match every argument; of a sequence of dicts, at least one dict.

    Returns
    -------
    list of dict
        table (name), key (dict), message; in the order of the tables, then of their keys.

    Raises
    ------
    ConfigError
        A name is not a key attribute of one of the tables: DataJoint would ignore it, and return errors of other keys.
    """
    failed, found = failed_jobs(tables, *keys), []
    for i in not_empty(failed):
        found += [
            {
                "table": tables[i].__name__,
                "key": {name: row[name] for name in failed[i].primary_key},
                "message": row[MESSAGE_COLUMN],
            }
            for row in failed[i].proj(MESSAGE_COLUMN).to_dicts(order_by="KEY")
        ]
    return found


def failed_jobs(
    tables: Sequence[type[dj.Table]], *keys: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> list[dj.QueryExpression]:
    """Return queries for the failed jobs of each table, unsent; parameters and errors as for ``errors_of``."""
    return [_errors_in(table, keys) for table in tables]


def _errors_in(table: type[dj.Table], keys: Sequence[Any]) -> dj.QueryExpression:
    jobs = jobs_of(table)
    failed = jobs.errors
    for key in keys:
        failed = failed & checked(key, jobs.proj())
    return failed


def tables_by_session() -> list[type[dj.Table]]:
    """Return the populated tables with ``eid`` in their key; no statement."""
    return [table for table in graph.tables() if graph.kind_of(table) != "registered" and "eid" in table.primary_key]


def errors_by_session() -> Counter[str]:
    """Return the number of failed jobs by eid, over all populated tables; one statement."""
    selects = (
        f"SELECT eid, COUNT(*) FROM {jobs_of(table).full_table_name} WHERE status = 'error' GROUP BY eid"
        for table in tables_by_session()
    )
    counts: Counter[str] = Counter()
    for eid, n in connect().query(" UNION ALL ".join(selects)).fetchall():
        counts[eid.strip()] += n  # PostgreSQL pads char columns with spaces
    return counts
