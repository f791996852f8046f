"""The SQL that differs between the servers: what each piece does, on a real one, and where such SQL stands."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from schemas.server.connection import lock
from schemas.server.dialect import JOBS_NOW, dialect
from schemas.work.heartbeat import connects_like
from schemas.work.tables import Attempt, Made

SCHEMAS = Path(__file__).parents[3] / "schemas"
#: Modules that may ask which server it is, and why.
ALLOWED = {
    "server/dialect.py": "the SQL",
    "server/connection.py": "the oldest version of each; the embedded server is PostgreSQL",
    "setup/roles.py": "rights and accounts are procedures that differ in every step",
    "storage/bulk.py": "the binary protocol of each client",
}


def test_no_other_module_asks_which_server_it_is():
    found = {
        str(path.relative_to(SCHEMAS))
        for path in SCHEMAS.rglob("*.py")
        if re.search(r"adapter\.backend|[\"'](mysql|postgresql)[\"']", path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)


def test_clocks_are_of_the_server_and_in_utc(database):
    sql = dialect(database)
    utc, age = database.query(
        f"SELECT {sql.utc_now}, {sql.seconds_between(sql.utc_now, sql.plus_seconds(sql.utc_now, 90.25))}"
    ).fetchone()
    assert abs(utc.timestamp() - time.mktime(time.gmtime())) < 120
    assert float(age) == pytest.approx(90.25, abs=0.05)
    (between,) = database.query(f"SELECT {sql.seconds_between(JOBS_NOW, sql.plus_seconds(JOBS_NOW, 0.5))}").fetchone()
    assert float(between) == pytest.approx(0.5, abs=0.002)


def test_the_clock_goes_on_within_a_transaction(database):
    with database.transaction:
        (first,) = database.query(f"SELECT {dialect(database).utc_now}").fetchone()
        time.sleep(0.2)
        (second,) = database.query(f"SELECT {dialect(database).utc_now}").fetchone()
    assert (second - first).total_seconds() > 0.15


def test_rows_that_are_there_stay_and_are_counted_up(database):
    table, names = Made.full_table_name, "worker, table_name, n_made, seconds"
    insert = dialect(database).insert_new(table, names, "VALUES (%s, %s, 1, 0.5), (%s, %s, 1, 0.5)")
    try:
        assert database.query(insert, args=("dialect-a", "T", "dialect-b", "T")).rowcount == 2
        Made.record("dialect-a", "T", 2.0)
        Made.record("dialect-c", "T", 4.0)
        assert database.query(insert, args=("dialect-a", "T", "dialect-d", "T")).rowcount == 1
        rows = (Made & "worker like 'dialect-%%'").to_dicts(order_by="worker")
        assert [(row["worker"].strip()[-1], row["n_made"], row["seconds"]) for row in rows] == [
            ("a", 2, 2.5), ("b", 1, 0.5), ("c", 1, 4.0), ("d", 1, 0.5),
        ]  # fmt: skip
    finally:
        (Made & "worker like 'dialect-%%'").delete_quick()


def test_attempts_count_each_kind_by_itself(database):
    key = {"eid": "e' %s", "fov": 2}
    try:
        assert [Attempt.record("T", key, what) for what in ("n_lost", "n_lost", "n_deaths")] == [1, 2, 1]
        (row,) = (Attempt & {"table_name": "T"}).to_dicts()
        assert (row["n_lost"], row["n_deaths"], row["entry_key"]) == (2, 1, key)
    finally:
        Attempt.clear("T", [key])
    assert not (Attempt & {"table_name": "T"})


def test_a_lock_is_held_by_one_connection_until_it_is_given_back(database, backend):
    other = connects_like(database)()
    sql, took = dialect(database), threading.Event()

    def take() -> None:
        with other.cursor() as cursor:
            cursor.execute(sql.take_lock, {"name": "dialect", "timeout": 30})
            assert cursor.fetchone()[0] == 1
        took.set()

    thread = threading.Thread(target=take)
    with lock("dialect"):
        thread.start()
        assert not took.wait(1.0)
    assert took.wait(20)
    if backend == "mysql":  # PostgreSQL waits for ever
        with pytest.raises(ConfigError, match="Another process has held the lock dialect for 1 s"), lock("dialect", 1):
            pass
    other.close()
    with lock("dialect"):  # the server has given it back with the connection
        pass
