"""Text as it was written: by MySQL's default collation José, JOSE and Jose are one subject, and one key.

New schemas have a collation that tells them apart. Schemas of former versions have their server's default.
"""

from __future__ import annotations

import datajoint as dj

from pipeline.errors import ConfigError
from schemas.server.dialect import dialect
from schemas.server.settings import prefix

#: What to do about it.
FIX = "meso db init --separate-names rebuilds these tables, once; no row is changed"


def merging(connection: dj.Connection) -> list[tuple[str, str]]:
    """Return schema and name of the tables in which different names can be one key, sorted."""
    query = dialect(connection).merging_tables
    if query is None:
        return []
    like = prefix().replace("_", r"\_") + "%"
    return sorted((str(schema), str(table)) for schema, table in connection.query(query, args=(like,)).fetchall())


def check(connection: dj.Connection) -> None:
    """Refuse a database that merges names; every database of a former version comes here once.

    Raises
    ------
    ConfigError
    """
    found = merging(connection)
    if found:
        schema, table = found[0]
        raise ConfigError(
            f"{len(found)} tables ({schema}.{table}, ...) have a collation by which names such as Jose, jose and José "
            f"are one: {FIX}"
        )


def mend(connection: dj.Connection) -> int:
    """Rebuild the tables that merge names, and return how many; it can be run again after an interruption.

    No two rows can become one: what differed by the old collation differs by the new one.
    """
    adapter, found = connection.adapter, merging(connection)
    for schema in dict.fromkeys(schema for schema, _ in found):
        connection.query(f"ALTER DATABASE {adapter.quote_identifier(schema)} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    for schema, table in found:
        for statement in dialect(connection).stop_merging(adapter.make_full_table_name(schema, table)):
            connection.query(statement)
    return len(found)
