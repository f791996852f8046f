"""Jose and José are two subjects, whatever MySQL's default collation is; databases of former versions are checked."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.databases import drop, full, one_line, own_server

from schemas.server import settings

#: MySQL's own default since version 8.
MERGING = "utf8mb4_0900_ai_ci"
NAMES = ("Jose", "José", "jose")


@pytest.fixture(scope="module")
def env(database, backend) -> Iterator[dict[str, str]]:
    """A server with MySQL's default collation, and a prefix without tables."""
    if backend != "mysql":
        pytest.skip("PostgreSQL compares text character by character")
    (before,) = database.query("SELECT @@GLOBAL.collation_server").fetchone()
    database.query(f"SET GLOBAL collation_server = {MERGING}")
    prefix = settings.prefix() + "c_"
    try:
        yield {**own_server(backend), "MESO_PREFIX": prefix}
    finally:
        database.query(f"SET GLOBAL collation_server = {before}")
        drop(database, prefix)


def insert_sessions(database, prefix: str) -> None:
    subject, session = full(database, prefix, "session", "subject"), full(database, prefix, "session", "session")
    for number, name in enumerate(NAMES):
        database.query(f"INSERT INTO {subject} (subject) VALUES (%s)", args=(name,))
        database.query(
            f"INSERT INTO {session} (eid, subject, session_date, session_number, ingested_at) "
            f"VALUES (%s, %s, '2024-01-01', 1, '2024-01-01')",
            args=(f"00000000-0000-4000-8000-00000000000{number}", name),
        )


def test_a_new_database_keeps_names_apart(env, database, meso_command):
    assert meso_command("db", "init", env=env).returncode == 0
    insert_sessions(database, env["MESO_PREFIX"])
    done = meso_command("delete", "--subject", "José", "--yes", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    left = json.loads(meso_command("sessions", "--json", env=env).stdout)
    assert {row["subject"] for row in left} == {"Jose", "jose"}


def test_an_old_database_is_refused_and_mended(env, database, meso_command):
    prefix = env["MESO_PREFIX"]
    tables = database.query(
        "SELECT table_schema, table_name FROM information_schema.tables "
        "WHERE table_schema LIKE %s AND table_type = 'BASE TABLE'", args=(prefix.replace("_", r"\_") + "%",),
    ).fetchall()  # fmt: skip
    database.query("SET FOREIGN_KEY_CHECKS = 0")
    subject, session = (full(database, prefix, "session", name) for name in ("subject", "session"))
    database.query(f"DELETE FROM {session}")
    database.query(f"DELETE FROM {subject}")
    for schema, table in tables:
        database.query(f"ALTER TABLE `{schema}`.`{table}` CONVERT TO CHARACTER SET utf8mb4 COLLATE {MERGING}")
    database.query("SET FOREIGN_KEY_CHECKS = 1")
    database.query(f"INSERT INTO {subject} (subject) VALUES ('José')")
    with pytest.raises(Exception, match="Duplicate"):
        database.query(f"INSERT INTO {subject} (subject) VALUES ('Jose')")

    fix = "are one: meso db init --separate-names rebuilds these tables"
    assert fix in one_line(meso_command("db", "init", env=env))
    for _ in range(2):
        done = meso_command("db", "init", "--separate-names", env=env)
        assert done.returncode == 0, done.stderr
    assert meso_command("status", "--json", env=env).stderr == ""
    database.query(f"DELETE FROM {subject}")
    insert_sessions(database, prefix)
    assert {row[0] for row in database.query(f"SELECT subject FROM {session}").fetchall()} == set(NAMES)
    with pytest.raises(Exception, match="foreign key"):  # the keys are as they were
        database.query(f"DELETE FROM {subject}")
