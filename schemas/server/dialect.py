"""The SQL that MySQL and PostgreSQL write differently: each piece named and explained once, in ``Dialect``.

SQL that both understand stands where it is used. What else depends on the server is a procedure rather than a piece of
SQL, and has a module of its own: rights and accounts (``schemas.setup.roles``), the binary protocols of the two clients
(``schemas.storage.bulk``) and what their errors mean (``schemas.server.reconnection``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import datajoint as dj

#: The clock of DataJoint's job tables on both servers: the session's time zone, when the statement (MySQL) or its
#: transaction (PostgreSQL) began. Times in our own tables are by ``Dialect.utc_now``.
JOBS_NOW = "CURRENT_TIMESTAMP(3)"


class Dialect(ABC):
    """Pieces of SQL by name. Arguments are SQL: names are quoted, values escaped or placeholders."""

    # ------------------------------------------------------------------------------------------------------------ time

    @property
    @abstractmethod
    def utc_now(self) -> str:
        """The server's clock now, within a transaction too, UTC in ms: heartbeats of all machines are by one clock."""

    @abstractmethod
    def seconds_between(self, earlier: str, later: str) -> str:
        """Seconds from one time to another, a number with fractions."""

    @abstractmethod
    def plus_seconds(self, time: str, seconds: float) -> str:
        """A time so many seconds later, to the ms."""

    # ------------------------------------------------------------------------------------------- rows that may be there

    @property
    @abstractmethod
    def before_insert_new(self) -> Sequence[str]:
        """What to run just before ``insert_new`` of what is selected from other tables."""

    @abstractmethod
    def insert_new(self, table: str, columns: str, source: str) -> str:
        """Insert the rows of a ``SELECT`` or ``VALUES`` whose keys are not there yet; needs no right to UPDATE."""

    @abstractmethod
    def insert_or_update(
        self, table: str, row: Mapping[str, str], key: Sequence[str], update: Mapping[str, str]
    ) -> str:
        """Insert a row, or update the one with its key, in one statement.

        An ``UPDATE`` that finds no row and then an ``INSERT`` would be a deadlock of two workers on MySQL: the first
        locks the gap that the other's row goes to.

        Parameters
        ----------
        table : str
        row : mapping of str to str
            Values by column.
        key : sequence of str
            Columns that tell which row it is.
        update : mapping of str to str
            New values by column for a row that is there; its own are ``table.column``.
        """

    # ------------------------------------------------------------------------------------------------------ expressions

    @abstractmethod
    def text(self, expression: str, length: int) -> str:
        """A value as text."""

    @abstractmethod
    def json_object(self, pairs: str) -> str:
        """A JSON object of ``'name', value, ...``."""

    # ---------------------------------------------------------------------------------------------- changes of a schema

    @abstractmethod
    def change_column_type(self, table: str, column: str, column_type: str, declaration: str) -> str:
        """Give a column another type; ``declaration`` is the whole of it, with default and comment."""

    @abstractmethod
    def rename_table(self, old: str, new: str, new_without_schema: str) -> str:
        """Rename a table within its schema."""

    @abstractmethod
    def store_uncompressed(self, table: str, column: str) -> Sequence[str]:
        """Have the server not try to compress a column whose values are compressed: a third of the time of writing."""

    @property
    @abstractmethod
    def view_columns(self) -> str | None:
        """Query for (view, column, type) of a schema ``%s``, where views hold their columns; None where they do not.

        A column that a view shows cannot be changed on PostgreSQL.
        """

    # ---------------------------------------------------------------------------------------------- locks and sessions

    @property
    @abstractmethod
    def take_lock(self) -> str:
        """Take the lock ``%(name)s`` for this connection: 1 if it is ours, within ``%(timeout)s`` s on MySQL.

        PostgreSQL waits for as long as another connection has it.
        """

    @property
    @abstractmethod
    def give_lock_back(self) -> str:
        """Give back the lock ``%(name)s``; the server does so too when the connection ends."""

    @property
    @abstractmethod
    def only_read(self) -> str:
        """Have the server refuse whatever this connection might write from now on."""


class MySQL(Dialect):
    """MySQL 8.0.13 and later."""

    utc_now = "UTC_TIMESTAMP(3)"
    # READ COMMITTED for the next statement: in InnoDB's default, REPEATABLE READ, an INSERT ... SELECT locks what it
    # reads, and waits for all who insert there
    before_insert_new = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED",)
    view_columns = None
    take_lock = "SELECT GET_LOCK(%(name)s, %(timeout)s)"
    give_lock_back = "SELECT RELEASE_LOCK(%(name)s)"
    only_read = "SET SESSION TRANSACTION READ ONLY"

    def seconds_between(self, earlier: str, later: str) -> str:
        return f"TIMESTAMPDIFF(MICROSECOND, {earlier}, {later}) / 1e6"

    def plus_seconds(self, time: str, seconds: float) -> str:
        return f"{time} + INTERVAL {seconds:.3f} SECOND"

    def insert_new(self, table: str, columns: str, source: str) -> str:
        # not ON DUPLICATE KEY UPDATE, which needs the right to UPDATE
        return f"INSERT IGNORE INTO {table} ({columns}) {source}"

    def insert_or_update(
        self, table: str, row: Mapping[str, str], key: Sequence[str], update: Mapping[str, str]
    ) -> str:
        return f"{_insert(table, row)} ON DUPLICATE KEY UPDATE {_assignments(update)}"

    def text(self, expression: str, length: int) -> str:
        return f"CAST({expression} AS CHAR({length}))"

    def json_object(self, pairs: str) -> str:
        return f"JSON_OBJECT({pairs})"

    def change_column_type(self, table: str, column: str, column_type: str, declaration: str) -> str:
        # the default and the comment would be lost if they were not said again
        return f"ALTER TABLE {table} MODIFY COLUMN {declaration}"

    def rename_table(self, old: str, new: str, new_without_schema: str) -> str:
        return f"ALTER TABLE {old} RENAME TO {new}"  # without a schema it would go to the connection's own

    def store_uncompressed(self, table: str, column: str) -> Sequence[str]:
        return ()  # InnoDB compresses nothing unless told to


class PostgreSQL(Dialect):
    """PostgreSQL 15 and later."""

    utc_now = "timezone('utc', clock_timestamp())::timestamp(3)"  # NOW() would be when the transaction began
    before_insert_new = ()  # reads lock nothing
    view_columns = (
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind = 'v' AND a.attnum > 0 ORDER BY c.relname, a.attnum"
    )
    take_lock = "SELECT 1 FROM pg_advisory_lock(hashtext(%(name)s))"
    give_lock_back = "SELECT pg_advisory_unlock(hashtext(%(name)s))"
    only_read = "SET default_transaction_read_only = on"

    def seconds_between(self, earlier: str, later: str) -> str:
        return f"EXTRACT(EPOCH FROM ({later})::timestamp - {earlier})"

    def plus_seconds(self, time: str, seconds: float) -> str:
        return f"{time} + INTERVAL '{seconds:.3f} seconds'"

    def insert_new(self, table: str, columns: str, source: str) -> str:
        return f"INSERT INTO {table} ({columns}) {source} ON CONFLICT DO NOTHING"

    def insert_or_update(
        self, table: str, row: Mapping[str, str], key: Sequence[str], update: Mapping[str, str]
    ) -> str:
        return f"{_insert(table, row)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {_assignments(update)}"

    def text(self, expression: str, length: int) -> str:
        return f"CAST({expression} AS VARCHAR({length}))"

    def json_object(self, pairs: str) -> str:
        return f"json_build_object({pairs})"

    def change_column_type(self, table: str, column: str, column_type: str, declaration: str) -> str:
        return f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {column_type}"

    def rename_table(self, old: str, new: str, new_without_schema: str) -> str:
        return f"ALTER TABLE {old} RENAME TO {new_without_schema}"  # it refuses a schema here

    def store_uncompressed(self, table: str, column: str) -> Sequence[str]:
        return (f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL",)


def _insert(table: str, row: Mapping[str, str]) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})"


def _assignments(values: Mapping[str, str]) -> str:
    return ", ".join(f"{column} = {value}" for column, value in values.items())


DIALECTS: dict[str, Dialect] = {"mysql": MySQL(), "postgresql": PostgreSQL()}


def dialect(connection: dj.Connection) -> Dialect:
    """Return how the server of a connection writes SQL."""
    return DIALECTS[connection.adapter.backend]
