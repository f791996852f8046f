"""What the servers say, in one sentence; each text is a server's or its client's."""

from __future__ import annotations

import pytest

from schemas.server import reconnection
from schemas.server.refusals import in_words, sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("connection to server failed: FATAL:  sorry, too many clients already", "connections are taken"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "are taken"),
        ("(1040, 'Too many connections')", "connections are taken"),
        ('could not extend file "base/5/1": No space left on device', "its disk is full"),
        ("1114 The table 'trace' is full", "its disk is full"),
        ("3 Error writing file '/tmp/MLfd' (OS errno 28 - No space left on device)", "its disk is full"),
        ("could not write to file: Disk quota exceeded", "quota"),
        ("FATAL:  database files are incompatible with server", "another major version"),
        ("(1290, 'The MySQL server is running with the --super-read-only option so it cannot', ...)", "read-only"),
        ("cannot execute INSERT in a read-only transaction", "read-only"),
        ("FATAL:  the database system is starting up", "try again in a moment"),
        ("(1665, 'Cannot execute statement: ... since BINLOG_FORMAT = STATEMENT and ...')", "set binlog_format = ROW"),
        (
            'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "me", database "postgres"',
            "does not let this account",
        ),
        ('relation "x" does not exist', None),
    ],
)
def test_known_refusals(text, says):
    found = in_words(text)
    assert found is None if says is None else says in found


def test_a_lost_connection_is_one_sentence(database, backend):
    own = database.connection_id if backend == "mysql" else database.query("SELECT pg_backend_pid()").fetchone()[0]
    from schemas.work.heartbeat import connects_like

    other = connects_like(database)()
    with other.cursor() as cursor:
        cursor.execute(f"KILL {own}" if backend == "mysql" else f"SELECT pg_terminate_backend({own})")
    other.close()
    try:
        with pytest.raises(Exception, match=r".") as lost:
            database.query("SELECT 1", reconnect=False)
        assert sentence(lost.value).startswith("The connection to the database was lost (")
        assert "\n" not in sentence(lost.value)
    finally:
        reconnection.reconnect(database)


def test_other_errors_are_bugs(database):
    assert sentence(ValueError("No space left on device")) is None
    with pytest.raises(Exception) as wrong:
        database.query("SELECT nothing FROM nowhere")
    assert sentence(wrong.value) is None
