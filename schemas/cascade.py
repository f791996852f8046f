"""Deleting rows with all that depends on them: a preview before, and a record in ``Deletion`` after."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import datajoint as dj
from datajoint.errors import IntegrityError
from datajoint.utils import user_choice

from pipeline.errors import ArgumentError, DataError
from schemas.rows import jobs_of, log_level
from schemas.server.binding import auto_populated, table_modules

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

    def delete(self, transaction: bool = True, reason: str = "") -> dict[str, int]:
        """Delete the rows with their jobs, record the deletion, and return the numbers of rows by table.

        Jobs whose keys vanish with the rows are deleted, whatever their status: an error would be taken for one of the
        session that is registered again later. Running jobs that may have read the rows are taken from their workers,
        which then insert nothing.

        Parameters
        ----------
        transaction : bool
            Delete all or nothing, in a transaction of its own unless one is open.
        reason : str
            What is done, for the record, if it is not a user's delete.

        Raises
        ------
        DataError
            Another process added a row that depends on these meanwhile.
        """
        with _transaction(self.rows.connection) if transaction else nullcontext():
            reserved, vanishing = self._jobs_that_read(), self._jobs_of_rows()
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
                for job in reserved:
                    job.delete_quick()
                for table, keys_of_jobs in vanishing.items():
                    forget_jobs(table, keys_of_jobs)
                record(self.title, keys, counts, reason)
        return counts

    def _jobs_that_read(self) -> list[dj.Table]:
        """Return the reserved jobs whose keys agree with those of rows to delete, each as its row in a job table."""
        found = []
        for table in auto_populated():
            running = jobs_of(table).reserved
            keys = running.keys()
            found += [running & key for key in keys if any(_agrees(rows, key) for rows in self.tables.values())]
        return found

    def _jobs_of_rows(self) -> dict[type[dj.Table], list[dict]]:
        """Return the keys of the jobs, by table, whose foreign keys refer to the rows."""
        by_name = {rows.full_table_name: rows for rows in self.tables.values()}
        found: dict[type[dj.Table], list[dict]] = {}
        for table in auto_populated():
            for parent, foreign_key in table().parents(primary=True, foreign_key_info=True):
                if parent in by_name:
                    renamed = {own: name for own, name in foreign_key["attr_map"].items() if own != name}
                    # DataJoint gives the key of a job table another lineage than that of the table's parents
                    jobs = jobs_of(table).restrict(by_name[parent].proj(**renamed), semantic_check=False)
                    found.setdefault(table, []).extend(jobs.keys())
        return found

    def delete_after_asking(self) -> dict[str, int]:
        """Log the numbers of rows to delete, ask for confirmation, and delete them if the answer is yes."""
        with log_level(logging.INFO):
            for title, count in self.counts().items():
                log.info(f"{title}: {count} rows")
        return self.delete() if user_choice("Delete these rows?", default="no") == "yes" else {}


def _transaction(connection: dj.Connection) -> AbstractContextManager:
    """Return the context of a transaction: a new one, unless one is open."""
    return nullcontext() if connection.in_transaction else connection.transaction


def _agrees(rows: dj.Table, key: dict) -> bool:
    """Return whether there are rows that agree with a key in all attributes that both have, if there is any."""
    shared = {name: key[name] for name in rows.primary_key if name in key}
    return bool(shared) and bool(rows & shared)


def forget_jobs(table: type[dj.Table], keys: list[dict]) -> None:
    """Delete jobs of a table, and the counts of their dead workers and lost connections."""
    if keys:
        (jobs_of(table) & keys).delete_quick()
        table_modules()["workers"].Attempt.clear(table.__name__, keys)


def record(table: str, keys: list[dict], rows: dict[str, int], reason: str = "") -> None:
    """Record a deletion or replacement: see ``Deletion.record``, whose module imports this one."""
    table_modules()["provenance"].Deletion.record(table, keys, rows, reason)


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
    """Mixin for all tables of data: what is deleted or replaced is recorded, and sets go with their members.

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

    if not TYPE_CHECKING:  # DataJoint lets these be called on classes too, which mypy does not know

        def delete_quick(self, get_count: bool = False) -> int | None:
            """Delete the rows, on which nothing depends, without asking; recorded like ``delete``."""
            with _transaction(self.connection):
                keys, name = self.keys(order_by="KEY", limit=MAX_RECORDED_KEYS), type(self).__name__
                count = super().delete_quick(get_count=True)
                if count:
                    record(name, keys, {name: count})
            return count if get_count else None

        def update1(self, row: Mapping[str, Any]) -> None:
            """Replace values of one row, and record which."""
            with _transaction(self.connection):
                super().update1(row)
                key, name = {column: row[column] for column in self.primary_key}, type(self).__name__
                record(name, [key], {name: 1}, f"replaced {', '.join(sorted(set(row) - set(key)))}")

        def insert(self, rows: Iterable, replace: bool = False, **options: Any) -> None:
            """Insert rows as DataJoint does; rows that exist are never replaced.

            Raises
            ------
            ArgumentError
                ``replace`` is True.
            """
            if replace:
                name = type(self).__name__
                raise ArgumentError(
                    f"rows of {name} are not replaced: delete them, which is recorded, and insert new ones"
                )
            super().insert(rows, **options)
