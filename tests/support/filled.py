"""Sessions that are read once for many tests, each of which changes or deletes them: their rows and files, put back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import schemas
from schemas.server.connection import catalogue
from schemas.server.settings import prefix
from schemas.work.tables import Attempt
from support.broken_sessions import Repository


class Rows:
    """All rows about the sessions of repositories."""

    def __init__(self) -> None:
        self.connection = schemas.connect()
        self.mysql = self.connection.adapter.backend == "mysql"
        self.columns = self._columns()

    def take_away(self, repository: Repository) -> None:
        """Delete all rows about the sessions and their jobs, past DataJoint, which takes four times as long."""
        rows = list(self._tables(repository))
        with self._without_foreign_keys():
            for table, condition in rows:
                self._send(f"DELETE FROM {table} WHERE {condition}")
        Attempt.delete_quick()  # of jobs that were killed
        unfinished = (schemas.SourceUpdate - schemas.SourceUpdate.Done.proj()).keys()
        if unfinished:  # updates that were killed; not of the query, from which DataJoint cannot cascade on MySQL
            (schemas.SourceUpdate & unfinished).delete()

    def _send(self, statement: str) -> object:
        """Send a statement; the catalogue would take it for a change of our tables, and read all definitions again."""
        return catalogue().send(statement)

    def _quoted(self, name: str) -> str:
        return self.connection.adapter.quote_identifier(name)

    def _columns(self) -> dict[tuple[str, str], set[str]]:
        """Return the columns of each schema and table, which the server takes half a second to list."""
        rows = self.connection.query(
            "SELECT c.table_schema, c.table_name, c.column_name FROM information_schema.columns c "
            "JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name "
            "WHERE t.table_type = 'BASE TABLE' AND left(c.table_schema, %s) = %s",
            args=(len(prefix()), prefix()),
        ).fetchall()
        columns: dict[tuple[str, str], set[str]] = {}
        for schema, table, column in rows:
            columns.setdefault((schema, table), set()).add(column)
        return columns

    def _tables(self, repository: Repository) -> Iterator[tuple[str, str]]:
        """Yield the full name of each table with rows about a repository's sessions, and the condition for them."""
        sets = schemas.SessionSet & repository.subjects
        eids = list(repository.eids.values())
        identities = {
            "eid": eids,
            "file_eid": eids,
            "mixed_eid": eids,
            "session_set": sets.to_arrays("session_set").tolist(),
            "ndc_family": (schemas.NDCFamily.Member & sets.proj()).to_arrays("ndc_family").tolist(),
            "ndc_cohort": (schemas.NDCCohort.Member & sets.proj()).to_arrays("ndc_cohort").tolist(),
            "subject": [row["subject"] for row in repository.subjects],
        }
        conditions = {}
        for name, values in identities.items():
            if values:
                listed = ", ".join(f"'{value}'" for value in dict.fromkeys(values))
                conditions[name] = f"{self._quoted(name)} IN ({listed})"
        for place, names in sorted(self.columns.items()):
            if about := [condition for name, condition in conditions.items() if name in names]:
                yield self.connection.adapter.make_full_table_name(*place), " OR ".join(about)

    @contextmanager
    def _without_foreign_keys(self) -> Iterator[None]:
        """Let rows be inserted before those that they refer to."""
        off, on = ("FOREIGN_KEY_CHECKS = 0", "FOREIGN_KEY_CHECKS = 1")
        if not self.mysql:
            off, on = ("session_replication_role = replica", "session_replication_role = DEFAULT")
        self._send(f"SET {off}")
        try:
            yield
        finally:
            self._send(f"SET {on}")


class Filled(Rows):
    """Copies of a repository's files, and of all rows about its sessions, made when this is called.

    The rows are copied by the server, past DataJoint, which takes a second for as many.

    Parameters
    ----------
    repository : Repository
        All its sessions are in the database.
    """

    def __init__(self, repository: Repository) -> None:
        super().__init__()
        self.repository = repository
        self.files = repository.root.with_name(f"{repository.root.name}_as_filled")
        shutil.copytree(repository.root, self.files)
        self.schema = f"{prefix()}as_filled"
        self._send(f"CREATE SCHEMA {self._quoted(self.schema)}")
        self.copies = {}
        for number, (table, condition) in enumerate(self._tables(repository)):
            copy = f"{self._quoted(self.schema)}.{self._quoted(f'rows_{number}')}"
            self._send(f"CREATE TABLE {copy} AS SELECT * FROM {table} WHERE {condition}")
            if self._send(f"SELECT count(*) FROM {copy}").fetchone()[0]:
                self.copies[table] = copy

    def put_back(self) -> None:
        """Make rows and files what they were; the rows must have been removed."""
        shutil.rmtree(self.repository.root, ignore_errors=True)
        shutil.copytree(self.files, self.repository.root)
        ignore, end = ("IGNORE ", "") if self.mysql else ("", " ON CONFLICT DO NOTHING")  # settings are never removed
        with self._without_foreign_keys():
            for table, copy in self.copies.items():
                self._send(f"INSERT {ignore}INTO {table} SELECT * FROM {copy}{end}")

    def take_away(self, repository: Repository | None = None) -> None:
        """Delete all rows about the sessions of the repository, or of another one."""
        super().take_away(repository or self.repository)

    def forget(self) -> None:
        self._send(f"DROP SCHEMA {self._quoted(self.schema)}{'' if self.mysql else ' CASCADE'}")
