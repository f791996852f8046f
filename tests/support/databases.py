"""Databases for one test each: their environment variables, their tables, and their removal."""

from __future__ import annotations

import os
import re
import socket
import subprocess

from schemas.server import embedded, settings

CANARY = "c4nary-pa55word"


def one_line(done: subprocess.CompletedProcess) -> str:
    """Return the message of a command that is expected to fail, and check that it is one line."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def own_server(backend: str) -> dict[str, str]:
    """Return DJ_* variables for the tests' server, as for a lab's own server; PostgreSQL is reached by its socket."""
    if backend == "mysql":
        return {}
    return {
        "DJ_BACKEND": "postgresql",
        "DJ_HOST": str(embedded.running().socket_dir),
        "DJ_USER": "postgres",
        "DJ_PASS": "x",
    }


def schema_list(connection) -> set[str]:
    return {row[0] for row in connection.query("SELECT schema_name FROM information_schema.schemata").fetchall()}


def full(connection, prefix: str, schema: str, table: str) -> str:
    return connection.adapter.make_full_table_name(prefix + schema, table)


def drop(connection, prefix: str) -> None:
    mysql = connection.adapter.backend == "mysql"
    if mysql:
        connection.query("SET FOREIGN_KEY_CHECKS = 0")
    for name in schema_list(connection):
        if name.startswith(prefix):
            connection.query(f"DROP SCHEMA {connection.adapter.quote_identifier(name)}" + ("" if mysql else " CASCADE"))
    if mysql:
        connection.query("SET FOREIGN_KEY_CHECKS = 1")


def own_prefix(name: str) -> str:
    """Return a prefix of tables beside the tests' own, whose names do not begin as theirs do."""
    return f"{name}_{settings.prefix()}"


def leave(connection, prefix: str) -> None:
    """Drop tables that are not needed any more, unless they go with their server: MySQL takes a second for a prefix.

    PostgreSQL takes less, and would list them in its catalogue for other tests.
    """
    if connection.adapter.backend == "postgresql" or os.environ.get("MESO_TEST_MYSQL"):
        drop(connection, prefix)


def columns(connection, schema: str, table: str) -> list[str]:
    rows = connection.query(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
        "ORDER BY ordinal_position", args=(schema, table),
    ).fetchall()  # fmt: skip
    return [row[0] for row in rows]


def declared(connection, schema: str, table: str) -> dict[str, tuple]:
    """Return type, length, nullability, default and DataJoint's type of each column by name."""
    rows = connection.query(
        "SELECT column_name, data_type, character_maximum_length, is_nullable, column_default FROM "
        "information_schema.columns WHERE table_schema = %s AND table_name = %s", args=(schema, table),
    ).fetchall()  # fmt: skip
    if connection.adapter.backend == "mysql":
        comments = connection.query(
            "SELECT column_name, column_comment FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s", args=(schema, table),
        ).fetchall()  # fmt: skip
    else:
        comments = connection.query(
            "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
            f"WHERE attrelid = '{schema}.{table}'::regclass AND attnum > 0"
        ).fetchall()
    kinds = {name: re.match(r"(:.+?:)?", comment or "")[0] for name, comment in comments}
    return {row[0]: (*row[1:], kinds[row[0]]) for row in rows}
