"""Cut ``init`` before a statement of each kind, again and again: a script, run by test_database.

Of each kind it is the first of all, and the first in the schema ``imaging``, whose tables have parts, job tables and
foreign keys into other schemas. In every schema each cut finds the same, and costs half a second.

It prints as JSON the statements before which it was cut, and what the tables are in the end, beside those of a database
that was declared at once. Each init is a process of its own, forked where all modules are imported.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

warnings.simplefilter("ignore")

import datajoint as dj  # noqa: E402

from schemas.server.connection import connect  # noqa: E402
from schemas.server.settings import prefix  # noqa: E402
from schemas.setup import migrations  # noqa: E402

#: Statements that change nothing.
READS = re.compile(r"\s*(SELECT|SHOW|SET)\b")
#: A schema in which statements of all kinds are cut, also of those that were cut before.
WITH_FOREIGN_KEYS = "imaging"
#: The exit code of a process that was cut off.
CUT = 9


def kind_of(statement: str) -> str:
    """Return the kind of a statement: its verb and what it is about, and the schema if that is the chosen one."""
    verb = " ".join(statement.split()[:2])
    about = "lineage" if "~lineage" in statement[:200] else "job" if "~~" in statement[:200] else ""
    schema = re.search(prefix() + r"(\w+)", statement)
    return f"{verb} {about} {WITH_FOREIGN_KEYS if schema and schema[1] == WITH_FOREIGN_KEYS else ''}"


def in_fork(do: Callable[[], Any]) -> tuple[int, Any]:
    """Return the exit code of a forked process, and what a function returned there."""
    reads, writes = os.pipe()
    if not (pid := os.fork()):
        code = 1
        try:
            os.write(writes, json.dumps(do(), default=str).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        data = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, json.loads(data) if data else None


def init(done: list[str], told: int) -> None:
    """Declare the tables; end this process before the first statement of a kind that is not in ``done``."""
    query = dj.Connection.query

    def cutting(self: dj.Connection, statement: str, *args: Any, **options: Any) -> Any:
        if not READS.match(statement) and (kind := kind_of(statement)) not in done:
            os.write(told, kind.encode())
            os._exit(CUT)
        return query(self, statement, *args, **options)

    dj.Connection.query = cutting
    migrations.init()


def tables() -> dict[str, list]:
    """Return columns, comments, indexes, lineage and numbers of rows of all tables, without the prefix."""
    migrations.init()
    connection = connect()
    query = connection.adapter.make_full_table_name
    found: dict[str, list] = {}
    for schema, table in connection.query(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema LIKE %s "
        "ORDER BY table_schema, table_name", args=(prefix().replace("_", r"\_") + "%",),
    ).fetchall():  # fmt: skip
        name = f"{schema.removeprefix(prefix())}.{table}"
        n = connection.query(f"SELECT COUNT(*) FROM {query(schema, table)}").fetchone()[0]
        heading = dj.FreeTable(connection, query(schema, table)).heading if table != "~lineage" else None
        found[name] = [n, *(str(heading).replace(prefix(), "").splitlines() if heading else [])]
        if heading:
            found[name] += sorted(str(index) for index in heading.indexes)
            found[name] += sorted(str(heading[one].lineage).replace(prefix(), "") for one in heading.names)
            found[name] += [str(heading.primary_key)]
    return found


def main() -> None:
    """Cut until nothing is left to cut."""
    whole = os.environ["MESO_PREFIX"]
    done: list[str] = []
    os.environ["MESO_PREFIX"] = whole + "cut_"
    while True:
        reads, writes = os.pipe()
        code, _ = in_fork(lambda told=writes: init(done, told))
        os.close(writes)
        with os.fdopen(reads, "rb") as pipe:
            kind = pipe.read().decode()
        if code != CUT:
            break
        done.append(kind)
    assert code == 0, done[-1]
    code, after = in_fork(tables)
    assert code == 0
    os.environ["MESO_PREFIX"] = whole + "new_"
    code, new = in_fork(tables)
    assert code == 0
    sys.stdout.write(json.dumps({"cut": done, "after": after, "new": new}) + "\n")


if __name__ == "__main__":
    main()
