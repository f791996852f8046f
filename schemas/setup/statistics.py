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
    found = connection.query(sql.said_empty, args=(like,)).fetchall() if sql.said_empty else ()
    names = [connection.adapter.make_full_table_name(*name) for name in found]
    # one statement for all: of a new database every table is said to be empty
    has_rows = (f"SELECT {i} FROM DUAL WHERE EXISTS (SELECT 1 FROM {name})" for i, name in enumerate(names))
    for (i,) in connection.query(" UNION ALL ".join(has_rows)).fetchall() if names else ():
        connection.query(sql.renew_statistics(names[i])).fetchall()
        renewed.append(names[i])
    return renewed
