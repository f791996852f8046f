"""Deleting sessions with all that depends on them: what would go, and a record of what went."""

from __future__ import annotations

import logging
import platform
import secrets
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import datajoint as dj
from datajoint.errors import IntegrityError
from datajoint.utils import user_choice

from pipeline.errors import ConfigError, DataError
from schemas.database import table_modules
from schemas.provenance import Deletion, now
from schemas.rows import checked, log_level
from schemas.session import Session

#: Keys that a record keeps: enough for sessions, and a delete of many ROIs still fits in a row.
MOST_KEYS = 1000

log = logging.getLogger("datajoint")


def delete_sessions(restriction: Any, confirm: Callable[[dict[str, int]], bool] | None = None) -> dict[str, int]:
    """Delete sessions with all that depends on them, and record it in ``Deletion``, all or nothing.

    Parameters
    ----------
    restriction
        Which sessions, as DataJoint restricts ``Session``: ``{"eid": eid}``, ``{"subject": name}``, a list of those.
    confirm : callable, optional
        Told the numbers of rows by table; nothing is deleted unless it returns True.

    Returns
    -------
    dict of str to int
        Numbers of deleted rows by table, parents first; empty where nothing was.

    Raises
    ------
    ConfigError
        The restriction names what is no attribute of a session, or nothing at all.
    DataError
        There are no such sessions; or somebody else added to them meanwhile.
    """
    sessions = Session & checked(restriction, Session)
    if not sessions.where_clause():
        raise ConfigError("Name the sessions to delete: an empty restriction would be all of them")
    cascade = Cascade(sessions)
    counts = cascade.counts()
    if not counts:
        raise DataError("no session is registered that this names", found=str(restriction))
    return cascade.delete() if confirm is None or confirm(counts) else {}


def preview(rows: dj.Table) -> dict[str, int]:
    """Return how many rows of which table a delete would take, tables without any left out, parents first."""
    return Cascade(rows).counts()


class Cascade:
    """Rows of a table and all that depends on them, masters of parts included.

    Parameters
    ----------
    rows : dj.Table
        Restricted to what is to be deleted.
    """

    def __init__(self, rows: dj.Table) -> None:
        self.rows, titles = rows, _titles()
        found = list(dj.Diagram.cascade(rows, part_integrity="cascade"))
        #: Restricted tables by name, parents first.
        self.tables = {titles.get(table.full_table_name, table.full_table_name): table for table in found}
        self.title = titles[rows.full_table_name]

    def counts(self) -> dict[str, int]:
        """Return the number of rows by table, tables without any left out."""
        return {title: n for title, table in self.tables.items() if (n := len(table))}

    def delete(self, transaction: bool = True) -> dict[str, int]:
        """Delete the rows, record it, and return their numbers by table.

        Parameters
        ----------
        transaction : bool
            All or nothing; or as part of the transaction that is open.

        Raises
        ------
        DataError
            Somebody else added a row that depends on these.
        """
        connection = self.rows.connection
        with connection.transaction if transaction and not connection.in_transaction else nullcontext():
            keys = self.rows.keys(order_by="KEY", limit=MOST_KEYS)
            try:
                gone = {title: table.delete_quick(get_count=True) for title, table in reversed(self.tables.items())}
            except IntegrityError as error:
                raise DataError(
                    f"rows that depend on these were added while they were deleted: {error}",
                    do="Nothing was deleted; try again",
                ) from error
            counts = {title: gone[title] for title in self.tables if gone[title]}
            if counts:
                self._record(keys, counts)
        return counts

    def _record(self, keys: list[dict], counts: dict[str, int]) -> None:
        Deletion.insert1({
            "deletion": secrets.token_hex(16), "deleted_at": now(),
            "deleted_by": self.rows.connection.get_user(), "deleted_from": platform.node(),
            "deleted_table": self.title, "deleted_keys": keys, "deleted_rows": counts,
        })  # fmt: skip

    def delete_if_told(self) -> dict[str, int]:
        """Say in DataJoint's log what would go, ask, and delete it if the answer is yes."""
        with log_level(logging.INFO):
            for title, count in self.counts().items():
                log.info(f"{title}: {count} rows")
        return self.delete() if user_choice("Delete these rows?", default="no") == "yes" else {}


def _titles() -> dict[str, str]:
    """Return the names of all tables and parts by their names in the database."""
    titles = {}
    for module in table_modules().values():
        for cls, _ in module.schema.declare_list:
            titles[cls.full_table_name] = cls.__name__
            for part in filter(_is_part, vars(cls).values()):
                titles[part.full_table_name] = f"{cls.__name__}.{part.__name__}"
    return titles


def _is_part(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, dj.Part)
