"""Rows and all that depends on them: what a delete would take, and a record of what it took."""

from __future__ import annotations

import logging
import platform
import secrets
from contextlib import nullcontext
from typing import Any

import datajoint as dj
from datajoint.errors import IntegrityError
from datajoint.utils import user_choice

from pipeline.errors import DataError
from schemas.provenance import Deletion, now
from schemas.rows import log_level
from schemas.server.binding import table_modules

#: Keys that a record keeps: enough for sessions, and a delete of many ROIs still fits in a row.
MOST_KEYS = 1000


log = logging.getLogger("datajoint")


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


class WholeDelete:
    """Mixin for tables whose rows others gather: deleting one takes along the gatherings that name it.

    DataJoint would refuse (``part_integrity="enforce"``) because a set of sessions, or of FOVs, is a
    master with parts. Without one of them it is not the same set, so it goes, with its results.
    """

    def delete(self, transaction: bool = True, prompt: bool | None = None) -> int:
        """Delete the rows and all that depends on them, sets that name one of them included.

        ``schemas.Deletion`` gets a row that says what went.

        Parameters
        ----------
        transaction : bool
            All or nothing; or as part of the transaction that is open.
        prompt : bool, optional
            Say how many rows of which table go, and ask. By default as ``dj.config["safemode"]`` has it.

        Returns
        -------
        int
            Rows of this table.
        """
        cascade = Cascade(self)  # type: ignore[arg-type]
        ask = dj.config["safemode"] if prompt is None else prompt
        return (cascade.delete_if_told() if ask else cascade.delete(transaction)).get(cascade.title, 0)
