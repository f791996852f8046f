"""A lease lasts as long as the work under it, and no longer than its holder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support import quick_start
from support.lab import wait_for

from schemas.work.runner import new_worker
from schemas.work.tables import Lease, server_time

ROOT = Path(__file__).parents[3]
HOLD = """
import time, schemas
from schemas.work.tables import Lease
schemas.activate()
with Lease.hold("test", "a" * 32, 2.0) as is_ours:
    print("held" if is_ours else "refused", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def no_lease(database):
    yield
    (Lease & {"lease": "test"}).delete_quick()


def left(database) -> float:
    """Return the seconds that the lease would last from now, by the clock of the server."""
    return ((Lease & {"lease": "test"}).fetch1("expires") - server_time(database)).total_seconds()


def test_a_lease_renews_itself_while_the_work_takes_longer(database):
    one, other = new_worker(), new_worker()
    with Lease.hold("test", one, 1.5) as is_ours:
        assert is_ours
        end = time.monotonic() + 5
        while time.monotonic() < end:  # more than three times as long as it would last
            with Lease.hold("test", other, 1.5) as is_others:
                assert not is_others
            assert left(database) > 0
            time.sleep(0.1)
    with Lease.hold("test", other, 1.5) as is_others:  # given back at the end
        assert is_others


def test_a_lease_is_given_back_after_an_error(database):
    with pytest.raises(ValueError, match="in the middle"), Lease.hold("test", new_worker(), 60.0):
        raise ValueError("in the middle")
    with Lease.hold("test", new_worker(), 60.0) as is_ours:
        assert is_ours


def test_a_renewal_that_arrives_late_takes_nothing(database):
    """Its thread may have sent it just before the lease was given back, or after it expired and another has it."""
    late, other = new_worker(), new_worker()
    with Lease.hold("test", late, 60.0):
        pass
    cursor = database._conn.cursor()
    Lease.renew(cursor, "test", late, 60.0)
    assert left(database) <= 0
    assert Lease.take("test", other, 60.0)
    Lease.renew(cursor, "test", late, 600.0)
    assert 0 < left(database) <= 60
    assert (Lease & {"lease": "test"}).fetch1("holder") == other


def test_the_lease_of_a_holder_that_vanished_expires(database, server, tmp_path):
    with (tmp_path / "said").open("w") as said:
        place = {"env": {**os.environ, **server}, "cwd": ROOT, "stdout": said, "stderr": said}
        process = quick_start.Process(["-c", HOLD], **place)
    try:
        wait_for(lambda: (tmp_path / "said").read_text())
        assert (tmp_path / "said").read_text() == "held\n"
        time.sleep(3)
        assert not Lease.take("test", new_worker(), 60.0)  # it lives, and has renewed it
    finally:
        process.kill()
        process.wait()
    begin = time.monotonic()
    while not Lease.take("test", new_worker(), 60.0):
        assert time.monotonic() - begin < 30
        time.sleep(0.05)
    assert time.monotonic() - begin < 4
