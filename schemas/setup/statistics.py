"""Statistics of MySQL that say that a table is empty though it has rows.

InnoDB counts rows in the background, and forgets to after a restart: a table that was filled when the server stopped
stays "empty" until a tenth of it changes, and queries of it are planned for no rows. PostgreSQL catches up by itself.
"""

from __future__ import annotations

import datajoint as dj

from schemas.server.dialect import dialect
from schemas.server.settings import prefix


def renew(connection: dj.Connection) -> list[str]:
    """Have the server count the rows of the tables that have some and are said to be empty; return their names."""
    sql, renewed = dialect(connection), []
    for statement in sql.before_said_empty:
        connection.query(statement)
    like = prefix().replace("_", r"\_") + "%"
    for schema, table in connection.query(sql.said_empty, args=(like,)).fetchall() if sql.said_empty else ():
        full = connection.adapter.make_full_table_name(schema, table)
        if connection.query(f"SELECT 1 FROM {full} LIMIT 1").fetchone():
            connection.query(sql.renew_statistics(full)).fetchall()
            renewed.append(full)
    return renewed
