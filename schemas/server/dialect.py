"""The SQL that differs between MySQL and PostgreSQL: each piece is named and explained once, in ``Dialect``.

SQL that both servers accept is written where it is used. Other differences are procedures rather than pieces of SQL,
and have modules of their own: rights and accounts (``schemas.setup.roles``), the binary protocols of the two clients
(``schemas.storage.bulk``), and the meaning of their errors (``schemas.server.reconnection``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import datajoint as dj

#: The clock of DataJoint's job tables on both servers: the start of the statement (MySQL) or of its transaction
#: (PostgreSQL), in the session's time zone, which ``Dialect.use_utc`` sets. The tables of this project use
#: ``Dialect.utc_now``.
JOBS_NOW = "CURRENT_TIMESTAMP(3)"


class Dialect(ABC):
    """Pieces of SQL by name.

    All arguments are inserted as SQL: names must be quoted already, and values escaped or placeholders.
    """

    # ------------------------------------------------------------------------------------------------------------ time

    @property
    @abstractmethod
    def use_utc(self) -> str:
        """Make UTC the time zone of a session: DataJoint's job tables have times without a zone.

        In the zones of their own, clients would take each other's jobs for due too early or hours later.
        """

    @abstractmethod
    def from_server_zone(self, time: str) -> str:
        """A time, written in the time zone that the server gives a session by default, in UTC."""

    @property
    @abstractmethod
    def utc_now(self) -> str:
        """The current time of the server's clock, UTC, to the ms, also within a transaction.

        Heartbeats of all machines use this clock, so that they can be compared.
        """

    @abstractmethod
    def seconds_between(self, earlier: str, later: str) -> str:
        """Seconds from one time to another, with fractions."""

    @abstractmethod
    def plus_seconds(self, time: str, seconds: float) -> str:
        """The time ``seconds`` after ``time``, to the ms."""

    # ------------------------------------------------------------------------------------------- rows that may be there

    @property
    @abstractmethod
    def unusable_log(self) -> str | None:
        """Query with a row if the server keeps a log that cannot hold what ``before_insert_new`` leads to; or None."""

    @property
    @abstractmethod
    def before_insert_new(self) -> Sequence[str]:
        """Statements to run just before an ``insert_new`` whose source is a SELECT from other tables."""

    @abstractmethod
    def insert_new(self, table: str, columns: str, source: str) -> str:
        """Insert those rows of a ``SELECT`` or ``VALUES`` whose keys are new; needs no right to UPDATE."""

    @abstractmethod
    def insert_or_update(
        self, table: str, row: Mapping[str, str], key: Sequence[str], update: Mapping[str, str]
    ) -> str:
        """Insert a row, or update the existing row with the same key, in one statement.

        An ``UPDATE`` that finds no row, followed by an ``INSERT``, would deadlock two workers on MySQL: each UPDATE
        locks the gap in the index into which the other worker's row would be inserted.

        Parameters
        ----------
        table : str
        row : mapping of str to str
            Values by column.
        key : sequence of str
            Columns of the primary key.
        update : mapping of str to str
            New values by column if the row exists; its present values are ``table.column``.
        """

    # ------------------------------------------------------------------------------------------------------ expressions

    @property
    @abstractmethod
    def escapes(self) -> str:
        """What stands before a literal in which a backslash is written as two."""

    @abstractmethod
    def text(self, expression: str, length: int) -> str:
        """A value as text of at most ``length`` characters."""

    @abstractmethod
    def json_object(self, pairs: str) -> str:
        """A JSON object from ``'name', value, ...``."""

    @property
    @abstractmethod
    def joined(self) -> str:
        """Columns of a query grouped by ``{group}``: that, all its ``{number}`` with commas, and all its ``{data}``."""

    # ---------------------------------------------------------------------------------------------- changes of a schema

    @abstractmethod
    def change_column_type(self, table: str, column: str, column_type: str, declaration: str) -> str:
        """Change the type of a column; ``declaration`` is its whole declaration, with default and comment."""

    @abstractmethod
    def rename_table(self, old: str, new: str, new_without_schema: str) -> str:
        """Rename a table within its schema."""

    @abstractmethod
    def store_uncompressed(self, table: str, column: str) -> Sequence[str]:
        """Turn off the server's compression of a column whose values are compressed already.

        It would take a third of the time of writing.
        """

    @property
    @abstractmethod
    def view_columns(self) -> str | None:
        """Query for (view, column, type) of the views in the schema ``%s``; None where it is not needed.

        PostgreSQL refuses to change a column that a view shows, MySQL does not.
        """

    @property
    @abstractmethod
    def merging_tables(self) -> str | None:
        """Query for (schema, table) of the tables in schemas ``LIKE %s`` that take different names for the same one.

        None where all text is compared character by character.
        """

    @property
    @abstractmethod
    def said_empty(self) -> str | None:
        """Query for (schema, table) of the tables in schemas ``LIKE %s`` that statistics say are empty, or None.

        ``before_said_empty`` are statements to run before it.
        """

    @property
    @abstractmethod
    def before_said_empty(self) -> Sequence[str]: ...

    @abstractmethod
    def renew_statistics(self, table: str) -> str:
        """Statement after which the statistics of a table are right."""

    @abstractmethod
    def stop_merging(self, table: str) -> Sequence[str]:
        """Statements after which a table compares text character by character."""

    # ---------------------------------------------------------------------------------------------- locks and sessions

    @property
    @abstractmethod
    def take_lock(self) -> str:
        """Take the lock ``%(name)s`` for this connection; the result is 1 if it was taken.

        MySQL waits for at most ``%(timeout)s`` s, PostgreSQL for as long as another connection holds the lock.
        """

    @property
    @abstractmethod
    def release_lock(self) -> str:
        """Release the lock ``%(name)s``; the server also releases it when the connection ends."""

    @abstractmethod
    def only_read(self, seconds: float) -> Sequence[str]:
        """Make the server refuse every later write of this connection, and stop every longer query."""

    # ------------------------------------------------------------------------ definitions, see catalogue, declaration

    @property
    @abstractmethod
    def several_are_one_transaction(self) -> bool:
        """Whether a server takes several statements at once, as one transaction, changes of tables included."""

    @property
    @abstractmethod
    def definitions(self) -> Mapping[str, tuple[Sequence[str], str]]:
        """What is known about all tables of ``{schemas}``: names of columns, and a query for them.

        ``tables``, ``columns`` and ``indexes`` return for many tables what DataJoint's own statements, those of the
        adapter's ``get_table_info_sql``, ``get_columns_sql`` and ``get_indexes_sql``, return for one. Rows are those of
        the table ``in_table`` in the schema ``in_schema``, ordered by ``in_order``.
        """

    @abstractmethod
    def as_json(self, query: str, names: Sequence[str]) -> str:
        """Query for one text: the rows of a query as a JSON array of arrays, NULL if there is none."""


class MySQL(Dialect):
    """MySQL 8.0.13 and later."""

    # both are cut off at 1 kB by default, and at the size of the largest packet in any case
    joined = (
        "/*+ SET_VAR(group_concat_max_len = 1000000000) */ {group}, GROUP_CONCAT({number} ORDER BY {number}), "
        "GROUP_CONCAT({data} ORDER BY {number} SEPARATOR '')"
    )
    use_utc = "SET time_zone = '+00:00'"
    utc_now = "UTC_TIMESTAMP(3)"
    # READ COMMITTED for the next statement: with InnoDB's default, REPEATABLE READ, an INSERT ... SELECT locks the rows
    # that it reads, and waits for every transaction that inserts among them
    before_insert_new = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED",)
    # with such a log, READ COMMITTED refuses every change; without a log the format does not matter
    unusable_log = "SHOW VARIABLES WHERE @@log_bin AND Variable_name = 'binlog_format' AND Value = 'STATEMENT'"
    several_are_one_transaction = False
    view_columns = None
    escapes = ""
    merging_tables = (
        "SELECT DISTINCT t.table_schema, t.table_name FROM information_schema.columns c "
        "JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name "
        "WHERE t.table_schema LIKE %s AND t.table_type = 'BASE TABLE' AND c.collation_name NOT LIKE '%%\\_bin'"
    )
    before_said_empty = ("SET SESSION information_schema_stats_expiry = 0",)  # not numbers that are a day old
    said_empty = (
        "SELECT table_schema, table_name FROM information_schema.tables "
        "WHERE table_schema LIKE %s AND table_type = 'BASE TABLE' AND table_rows = 0"
    )
    take_lock = "SELECT GET_LOCK(%(name)s, %(timeout)s)"
    release_lock = "SELECT RELEASE_LOCK(%(name)s)"
    # the columns of tables are those that do not change from one look to the next, others under the names of
    # SHOW FULL COLUMNS
    definitions = MappingProxyType({
        "tables": (
            ("in_schema", "in_table", "in_order", "TABLE_CATALOG", "TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE", "ENGINE",
             "VERSION", "ROW_FORMAT", "TABLE_COLLATION", "CHECKSUM", "CREATE_OPTIONS", "TABLE_COMMENT"),
            ("SELECT table_schema AS in_schema, table_name AS in_table, 0 AS in_order, t.* "
            "FROM information_schema.tables t WHERE table_schema IN ({schemas})"),
        ),
        "columns": (
            ("in_schema", "in_table", "in_order", "Field", "Type", "Collation", "Null", "Key", "Default", "Extra",
             "Privileges", "Comment"),
            ("SELECT table_schema AS in_schema, table_name AS in_table, ordinal_position AS in_order, "
            "column_name AS `Field`, column_type AS `Type`, collation_name AS `Collation`, is_nullable AS `Null`, "
            "column_key AS `Key`, column_default AS `Default`, extra AS `Extra`, privileges AS `Privileges`, "
            "column_comment AS `Comment` FROM information_schema.columns WHERE table_schema IN ({schemas})"),
        ),
        "indexes": (
            ("in_schema", "in_table", "in_order", "index_name", "column_name", "non_unique", "seq_in_index"),
            ("SELECT table_schema AS in_schema, table_name AS in_table, seq_in_index AS in_order, "
            "index_name AS index_name, column_name AS column_name, non_unique AS non_unique, "
            "seq_in_index AS seq_in_index FROM information_schema.statistics "
            "WHERE table_schema IN ({schemas}) AND index_name <> 'PRIMARY'"),
        ),
    })  # fmt: skip

    def as_json(self, query: str, names: Sequence[str]) -> str:
        row = ", ".join(f"`{name}`" for name in names)
        return f"SELECT JSON_ARRAYAGG(JSON_ARRAY({row})) FROM ({query}) AS found"

    def from_server_zone(self, time: str) -> str:
        # NULL for a zone with a name, if the server's tables of time zones are empty
        return f"COALESCE(CONVERT_TZ({time}, @@GLOBAL.time_zone, '+00:00'), {time})"

    def seconds_between(self, earlier: str, later: str) -> str:
        return f"TIMESTAMPDIFF(MICROSECOND, {earlier}, {later}) / 1e6"

    def plus_seconds(self, time: str, seconds: float) -> str:
        return f"{time} + INTERVAL {seconds:.3f} SECOND"

    def only_read(self, seconds: float) -> Sequence[str]:
        return ("SET SESSION TRANSACTION READ ONLY", f"SET SESSION max_execution_time = {1000 * seconds:.0f}")

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
        # MODIFY drops the default and the comment unless the declaration repeats them
        return f"ALTER TABLE {table} MODIFY COLUMN {declaration}"

    def rename_table(self, old: str, new: str, new_without_schema: str) -> str:
        return f"ALTER TABLE {old} RENAME TO {new}"  # a name without schema would move it to the default one

    def store_uncompressed(self, table: str, column: str) -> Sequence[str]:
        return ()  # InnoDB compresses nothing by default

    def renew_statistics(self, table: str) -> str:
        return f"ANALYZE NO_WRITE_TO_BINLOG TABLE {table}"

    def stop_merging(self, table: str) -> Sequence[str]:
        # the columns of a foreign key must agree, which they do again when all tables are done
        return (
            "SET FOREIGN_KEY_CHECKS = 0",
            f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            "SET FOREIGN_KEY_CHECKS = 1",
        )


class PostgreSQL(Dialect):
    """PostgreSQL 15 and later."""

    joined = (
        "{group}, string_agg({number}::text, ',' ORDER BY {number}), string_agg({data}, ''::bytea ORDER BY {number})"
    )
    use_utc = "SET TIME ZONE 'UTC'"
    utc_now = "timezone('utc', clock_timestamp())::timestamp(3)"  # NOW() is the start of the transaction
    before_insert_new = ()  # its reads take no locks
    unusable_log = None
    several_are_one_transaction = True
    view_columns = (
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind = 'v' AND a.attnum > 0 ORDER BY c.relname, a.attnum"
    )
    escapes = "E"
    merging_tables = None
    before_said_empty = ()
    said_empty = None
    take_lock = "SELECT 1 FROM pg_advisory_lock(hashtext(%(name)s))"
    release_lock = "SELECT pg_advisory_unlock(hashtext(%(name)s))"
    definitions = MappingProxyType({
        "tables": (
            ("in_schema", "in_table", "in_order", "table_catalog", "table_schema", "table_name", "table_type",
             "self_referencing_column_name", "reference_generation", "user_defined_type_catalog",
             "user_defined_type_schema", "user_defined_type_name", "is_insertable_into", "is_typed", "commit_action",
             "table_comment"),
            ("SELECT t.table_schema AS in_schema, t.table_name AS in_table, 0 AS in_order, t.*, obj_description("
            "(quote_ident(t.table_schema) || '.' || quote_ident(t.table_name))::regclass, 'pg_class') AS table_comment "
            "FROM information_schema.tables t WHERE t.table_schema IN ({schemas})"),
        ),
        "columns": (
            ("in_schema", "in_table", "in_order", "column_name", "data_type", "udt_name", "is_nullable",
             "column_default", "character_maximum_length", "numeric_precision", "numeric_scale", "column_comment"),
            ("SELECT c.table_schema AS in_schema, c.table_name AS in_table, c.ordinal_position AS in_order, "
            "c.column_name, c.data_type, c.udt_name, c.is_nullable, c.column_default, c.character_maximum_length, "
            "c.numeric_precision, c.numeric_scale, col_description((quote_ident(c.table_schema) || '.' || "
            "quote_ident(c.table_name))::regclass, c.ordinal_position) AS column_comment "
            "FROM information_schema.columns c WHERE c.table_schema IN ({schemas})"),
        ),
        "indexes": (
            ("in_schema", "in_table", "in_order", "indexname", "indexdef"),
            ("SELECT schemaname AS in_schema, tablename AS in_table, 0 AS in_order, indexname, indexdef "
            "FROM pg_indexes WHERE schemaname IN ({schemas})"),
        ),
    })  # fmt: skip

    def as_json(self, query: str, names: Sequence[str]) -> str:
        row = ", ".join(f'"{name}"' for name in names)
        return f"SELECT json_agg(json_build_array({row}))::text FROM ({query}) AS found"

    def from_server_zone(self, time: str) -> str:
        default = "(SELECT reset_val FROM pg_settings WHERE name = 'TimeZone')"
        return f"{time} AT TIME ZONE {default} AT TIME ZONE 'UTC'"

    def seconds_between(self, earlier: str, later: str) -> str:
        return f"EXTRACT(EPOCH FROM ({later})::timestamp - {earlier})"

    def plus_seconds(self, time: str, seconds: float) -> str:
        return f"{time} + INTERVAL '{seconds:.3f} seconds'"

    def only_read(self, seconds: float) -> Sequence[str]:
        return ("SET default_transaction_read_only = on", f"SET statement_timeout = {1000 * seconds:.0f}")

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
        return f"ALTER TABLE {old} RENAME TO {new_without_schema}"  # a schema here is a syntax error

    def store_uncompressed(self, table: str, column: str) -> Sequence[str]:
        return (f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL",)

    def renew_statistics(self, table: str) -> str:
        return f"ANALYZE {table}"

    def stop_merging(self, table: str) -> Sequence[str]:
        return ()


def _insert(table: str, row: Mapping[str, str]) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})"


def _assignments(values: Mapping[str, str]) -> str:
    return ", ".join(f"{column} = {value}" for column, value in values.items())


DIALECTS: dict[str, Dialect] = {"mysql": MySQL(), "postgresql": PostgreSQL()}


def dialect(connection: dj.Connection) -> Dialect:
    """Return the SQL dialect of a connection's server."""
    return DIALECTS[connection.adapter.backend]
