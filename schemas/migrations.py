"""Numbered changes of the tables, applied by ``meso db init`` on either backend.

To change a table: change its definition, and append a Migration that brings an existing database to
the same state. Applied migrations are rows of SchemaVersion. A new database is declared at the
latest version and needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import datajoint as dj

from pipeline.errors import ConfigError
from schemas import views
from schemas.database import auto_populated, bind, connect, lock
from schemas.embedding import EmbeddingParams
from schemas.imaging import BrainRegion
from schemas.provenance import SchemaVersion, now
from schemas.settings import prefix


@dataclass(frozen=True)
class Migration:
    """One change.

    Attributes
    ----------
    number : int
        From 1, without holes.
    title : str
    apply : callable(connection, prefix)
        Runs SQL through ``connection.query``. It may be called again after it was cut off (MySQL
        commits each change of a table by itself), so it looks before it changes.
    """

    number: int
    title: str
    apply: Callable[[dj.Connection, str], None]


MIGRATIONS: tuple[Migration, ...] = (Migration(1, "first tables", lambda connection, name_prefix: None),)
LATEST = MIGRATIONS[-1].number


def database_version(connection: dj.Connection) -> int | None:
    """Return the version of the tables in the database, None where there are none."""
    adapter = connection.adapter
    table = adapter.make_full_table_name(prefix() + "provenance", "schema_version")
    found = connection.query(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
        args=(prefix() + "provenance", "schema_version"),
    ).fetchone()[0]
    return connection.query(f"SELECT max(schema_version) FROM {table}").fetchone()[0] if found else None


def add_column(connection: dj.Connection, schema: str, table: str, column: str, sql_type: dict[str, str]) -> None:
    """Add a column unless it is there.

    Parameters
    ----------
    connection : dj.Connection
    schema, table, column : str
        Names in the database, the schema with its prefix.
    sql_type : {'mysql': str, 'postgresql': str}
        Type with NULL or default.
    """
    found = connection.query(
        "SELECT count(*) FROM information_schema.columns "
        "WHERE table_schema = %s AND table_name = %s AND column_name = %s",
        args=(schema, table, column),
    ).fetchone()[0]
    if not found:
        full, adapter = connection.adapter.make_full_table_name(schema, table), connection.adapter
        connection.query(
            f"ALTER TABLE {full} ADD COLUMN {adapter.quote_identifier(column)} {sql_type[adapter.backend]}"
        )


def init(migrations: Sequence[Migration] = MIGRATIONS) -> list[Migration]:
    """Declare all tables, apply the migrations that the database lacks, and make the views.

    Safe to run again, from several processes at once, and after it was cut off.

    Returns
    -------
    list of Migration
        Those applied now; empty for a new database.

    Raises
    ------
    ConfigError
        The database is newer than the code.
    """
    connection = connect()
    with lock(prefix() + "init"):
        before = database_version(connection)
        if before is not None and before > migrations[-1].number:
            raise ConfigError(
                f"The tables are of version {before}, this code is of version {migrations[-1].number}: "
                f"run an update of this project"
            )
        applied = [m for m in migrations if before is not None and m.number > before]
        for migration in applied:
            migration.apply(connection, prefix())
        bind(connection, create=True)
        for table in auto_populated():
            _ = table.jobs.heading  # declares the job table
        insert_defaults()
        views.create(connection)
        new = applied if before is not None else migrations
        SchemaVersion.insert(
            ({"schema_version": m.number, "migration": m.title, "applied_at": now()} for m in new),
            skip_duplicates=True,
        )
    return applied


def insert_defaults() -> None:
    """Insert the rows that every database has: the atlas and the default embedding."""
    from pipeline.atlas import region_rows
    from pipeline.embedding import EmbeddingSettings

    if len(BrainRegion()) == 0:
        BrainRegion.insert(region_rows())
    EmbeddingParams.add(EmbeddingSettings())
