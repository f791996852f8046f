"""Deleting rows with all that depends on them: a preview before, and a record in ``Deletion`` after."""

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

#: Keys that a record lists: enough for sessions, while the record of many deleted ROIs still fits in a row.
MAX_RECORDED_KEYS = 1000

log = logging.getLogger("datajoint")


def preview(rows: dj.Table) -> dict[str, int]:
    """Return the number of rows by table that a delete would remove, parents first, without tables that lose none."""
    return Cascade(rows).counts()


class Cascade:
    """Rows of a table and all rows that depend on them, including masters of which only a part depends on them.

    Parameters
    ----------
    rows : dj.Table
        Restricted to the rows to delete.
    """

    def __init__(self, rows: dj.Table) -> None:
        self.rows, titles = rows, _titles()
        found = list(dj.Diagram.cascade(rows, part_integrity="cascade"))
        #: Restricted tables by name, parents first.
        self.tables = {titles.get(table.full_table_name, table.full_table_name): table for table in found}
        self.title = titles[rows.full_table_name]

    def counts(self) -> dict[str, int]:
        """Return the number of rows by table, without tables that have none."""
        return {title: n for title, table in self.tables.items() if (n := len(table))}

    def delete(self, transaction: bool = True) -> dict[str, int]:
        """Delete the rows, record the deletion, and return the numbers of rows by table.

        Parameters
        ----------
        transaction : bool
            Delete all or nothing, in a transaction of its own unless one is open.

        Raises
        ------
        DataError
            Another process added a row that depends on these meanwhile.
        """
        connection = self.rows.connection
        with connection.transaction if transaction and not connection.in_transaction else nullcontext():
            keys = self.rows.keys(order_by="KEY", limit=MAX_RECORDED_KEYS)
            try:
                # children first, as foreign keys require
                deleted = {title: table.delete_quick(get_count=True) for title, table in reversed(self.tables.items())}
            except IntegrityError as error:
                raise DataError(
                    f"rows that depend on these were added while they were deleted: {error}",
                    do="Nothing was deleted; try again",
                ) from error
            counts = {title: deleted[title] for title in self.tables if deleted[title]}
            if counts:
                self._record(keys, counts)
        return counts

    def _record(self, keys: list[dict], counts: dict[str, int]) -> None:
        Deletion.insert1({
            "deletion": secrets.token_hex(16), "deleted_at": now(),
            "deleted_by": self.rows.connection.get_user(), "deleted_from": platform.node(),
            "deleted_table": self.title, "deleted_keys": keys, "deleted_rows": counts,
        })  # fmt: skip

    def delete_after_asking(self) -> dict[str, int]:
        """Log the numbers of rows to delete, ask for confirmation, and delete them if the answer is yes."""
        with log_level(logging.INFO):
            for title, count in self.counts().items():
                log.info(f"{title}: {count} rows")
        return self.delete() if user_choice("Delete these rows?", default="no") == "yes" else {}


def _titles() -> dict[str, str]:
    """Return the class names of all tables and parts, e.g. ``FOV.Source``, by their names in the database."""
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
    """Mixin for tables whose rows are members of sets: deleting a row also deletes the sets that it is a member of.

    A set of sessions, or of FOVs, is a master with parts, and DataJoint would refuse to delete a part without its
    master (``part_integrity="enforce"``). Without one of its members it would be another set, so it is deleted with its
    results.
    """

    def delete(self, transaction: bool = True, prompt: bool | None = None) -> int:
        """Delete the rows and all that depends on them, including the sets that they are members of.

        The deletion is recorded in ``schemas.Deletion``.

        Parameters
        ----------
        transaction : bool
            Delete all or nothing, in a transaction of its own unless one is open.
        prompt : bool, optional
            Show the numbers of rows by table and ask for confirmation; by default ``dj.config["safemode"]``.

        Returns
        -------
        int
            Number of deleted rows of this table.
        """
        cascade = Cascade(self)  # type: ignore[arg-type]
        ask = dj.config["safemode"] if prompt is None else prompt
        return (cascade.delete_after_asking() if ask else cascade.delete(transaction)).get(cascade.title, 0)
