"""Init of two new databases, with DataJoint's own statements and with those of ``declaration``: a script, for tests.

It prints as JSON, for each: the number of statements, and what the server says of the tables, without the prefix.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from contextlib import nullcontext
from typing import Any

warnings.simplefilter("ignore")

from schemas.server import attribute_lines  # noqa: E402
from schemas.server.binding import table_modules  # noqa: E402
from schemas.server.connection import catalogue, connect  # noqa: E402
from schemas.server.dialect import dialect  # noqa: E402
from schemas.server.settings import prefix  # noqa: E402
from schemas.setup import migrations  # noqa: E402
from support.cut_inits import in_fork  # noqa: E402
from support.statements import statements  # noqa: E402


def as_datajoint() -> None:
    """Leave the declaration of tables to DataJoint alone."""
    migrations.declaring = lambda _: nullcontext()
    attribute_lines.register = lambda: None
    catalogue().query = catalogue().send
    connect().query = lambda *args, **options: catalogue().send(*args, **options)


def definitions() -> dict[str, list]:
    """Return what the server says of tables, columns, indexes and foreign keys, and the lineages, in order."""
    connection, names = connect(), [prefix() + name for name in table_modules()]
    sql, adapter, send = dialect(connection), connection.adapter, catalogue().send
    quoted = ", ".join(map(adapter.quote_string, names))
    found = {
        part: send(query.format(schemas=quoted), as_dict=True).fetchall()
        for part, (_, query) in sql.definitions.items()
    }
    comments = ("in_schema", "in_table", "table_comment", "TABLE_COMMENT")
    found["tables"] = [{name: row[name] for name in comments if name in row} for row in found["tables"]]
    keys = send(adapter.load_foreign_keys_sql(quoted, "''"), as_dict=True).fetchall()
    found["keys"] = [{name: of for name, of in row.items() if name.lower() != "constraint_name"} for row in keys]
    found["lineages"] = [
        dict(zip("tao", row, strict=True)) for name in names
        for row in send(f"SELECT * FROM {adapter.make_full_table_name(name, '~lineage')}").fetchall()
    ]  # fmt: skip
    return {
        part: sorted(json.dumps(dict(row), default=str).replace(prefix(), "") for row in rows)
        for part, rows in found.items()
    }


def init(plainly: bool) -> dict[str, Any]:
    """Declare the tables of a new database; return the statements and the definitions."""
    if plainly:
        as_datajoint()
    with statements() as sent:
        migrations.init()
    return {"statements": len(sent), "definitions": definitions()}


def main() -> None:
    """Declare the tables of two databases, each in a process of its own."""
    whole, seen = os.environ["MESO_PREFIX"], {}
    for name in ("plain", "ours"):
        os.environ["MESO_PREFIX"] = f"{whole}{name}_"
        code, seen[name] = in_fork(lambda plainly=name == "plain": init(plainly))
        assert code == 0, name
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
