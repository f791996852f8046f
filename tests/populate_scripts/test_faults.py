"""Workers and a database that breaks: connections that drop and stall, locks, restarts, a full disk."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import psutil
import pytest
from support import quick_start
from support.faults import OwnServer, proxied
from support.lab import Lab, wait_for

from schemas.server import reconnection
from schemas.work.dead_workers import release_dead_jobs
from schemas.work.reports import errors
from schemas.work.runner import MAX_LOST_CONNECTIONS
from schemas.work.tables import Attempt, Worker

RESERVE = b"SET status = 'reserved'"
FILL = """
import sys, schemas
from support import work_tables
from schemas.work import filling, runner
schemas.activate()
runner.FIRST_DELAY = float(sys.argv[1])
filled = filling.fill([work_tables.Product, work_tables.Total])
print(filled.made, filled.errors)
"""


@pytest.fixture
def proxy(server):
    """A proxy in front of the server; ``lab`` processes started with its variables connect through it."""
    with proxied(server) as proxy:
        yield proxy


@pytest.fixture
def other(database):
    """A second connection, as another user has; its locks are released at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # DataJoint's own names of PyMySQL's arguments
        connection = database.adapter.connect(**database._build_connect_kwargs(use_tls=False))
    yield connection.cursor()
    connection.close()


def start_filling(lab, proxy, first_delay: float = 0.01) -> quick_start.Process:
    """Call ``fill`` in another process, as a notebook does, through the proxy."""
    return lab.start("-c", FILL, first_delay, **proxy.variables)


def wait_for_begin(lab, process: quick_start.Process) -> None:
    """Wait until a job is running."""
    wait_for(lambda: lab.notes() or process.poll() is not None)
    assert lab.notes(), process.communicate()[0]


def output_of(process: quick_start.Process) -> str:
    """Return what a process prints until it ends, with exit code 0."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


# ---------------------------------------------------------------------------------------------- connections that drop


@pytest.mark.slow
def test_dropped_connections_lose_and_double_nothing(lab, proxy):
    n = 320  # work for longer than the cuts take
    lab.add(range(n), seconds=0.1)
    points = ["before", "after", "any"] * 6 + ["any"] * 2
    random.Random(1).shuffle(points)
    with lab.worker("--slots", 3, "--until-done", **proxy.variables) as process:
        wait_for_begin(lab, process)
        for point in points:
            if n - len(lab.total()) < 40:  # on a busy machine, where slots would do all between two cuts
                break
            n_cut = proxy.n_cut
            if point == "any":
                time.sleep(random.uniform(0, 0.3))
                proxy.cut_any()
            else:
                proxy.at(b"COMMIT", point)
            wait_for(lambda n_cut=n_cut: proxy.n_cut > n_cut)
        n_made = len(lab.total())
        assert n_made < n and proxy.n_cut >= 10, "all was made before the last connection was cut"
        wait_for(lambda: len(lab.total()) > n_made, 30)
        assert f"Populated Product {n}, Total {n}; 0 failed" in output_of(process)
    lab.check_products(range(n))
    assert lab.jobs() == {}
    assert not (Worker & "ended IS NULL")


def test_a_notebook_goes_on_after_a_lost_connection(lab, proxy):
    lab.add(range(60), seconds=0.02)
    process = start_filling(lab, proxy)
    wait_for_begin(lab, process)
    statements = [RESERVE, b"INSERT", b"DELETE", b"COMMIT", b"SELECT", b"FOR UPDATE"]
    for statement in statements:
        for what in ("before", "after"):
            n_cut = proxy.n_cut
            proxy.at(statement, what)
            if statement == b"FOR UPDATE":  # the query about what became of a job; the connection breaks before it
                proxy.at(b"COMMIT", what)
            wait_for(lambda n_cut=n_cut: proxy.n_cut > n_cut and not proxy.orders)
    assert len(lab.total()) == 0, "all was made before the last connection was cut"
    assert "{'Product': 60, 'Total': 60} []" in output_of(process)
    lab.check_products(range(60))
    assert lab.jobs() == {}
    assert not (Worker & "ended IS NULL")


def test_a_job_that_always_loses_its_connection_is_an_error(lab, proxy):
    lab.add([1])
    insert = f"{lab.product.Piece.full_table_name}(".encode()
    for _ in range(MAX_LOST_CONNECTIONS):
        proxy.at(insert, "before")
    assert "LostConnectionError" in output_of(start_filling(lab, proxy, 0.001))
    assert lab.jobs() == {1: "error"}
    assert (
        f"the connection was lost {MAX_LOST_CONNECTIONS} times while this job was running"
        in errors([lab.product])[0]["message"]
    )
    assert lab.n_makes() == {1: MAX_LOST_CONNECTIONS}
    lab.meso("retry", "Product")
    assert len(Attempt()) == 0
    lab.meso("populate", "Product", "Total")
    lab.check_products([1])


@pytest.mark.skipif(
    sys.platform != "linux", reason="the time after which unconfirmed bytes mean a loss can be set on Linux"
)
def test_a_server_that_vanished_is_noticed(database, proxy, monkeypatch):
    times = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1, "TCP_USER_TIMEOUT": 2000}
    monkeypatch.setattr(reconnection, "KEEP_ALIVE", times)
    place = {"host": "127.0.0.1", "port": proxy.port, "password": proxy.variables["DJ_PASS"], "use_tls": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # DataJoint's own names of PyMySQL's arguments
        connection = database.adapter.connect(user=proxy.variables["DJ_USER"], **place)
    proxy.vanish()
    begin = time.monotonic()
    with pytest.raises(Exception) as caught:
        connection.cursor().execute("SELECT 1")
    assert reconnection.is_lost(caught.value)
    assert time.monotonic() - begin < 20  # by default it would take a quarter of an hour


# ---------------------------------------------------------------------------------------------- connections that stall


@pytest.mark.slow
def test_a_worker_without_heartbeat_is_stopped(lab, proxy):
    lab.add([1], "python", 40)
    lab.add([2], "blas", 40)
    with lab.worker("--slots", 2, "--until-done", **proxy.variables) as cut_off:
        wait_for(lambda: len(lab.notes()) == 2)
        for item in (1, 2):  # the second run, by the other worker, is quick
            lab.item.update1({"item": item, "act_seconds": 1.0})
        with lab.worker("--slots", 2, "--until-done") as near:
            wait_for(lambda: len(Worker & "ended IS NULL") == 4)
            proxy.stall()
            wait_for(lambda: not any(psutil.pid_exists(row["pid"]) for row in lab.notes()[:2]))
            ended = time.time()
            assert lab.notes("computed") == [], "it was done before it could be stopped"
            wait_for(lambda: len(lab.notes()) == 4)
            assert all(row["time"] > ended for row in lab.notes()[2:])
            proxy.flow()
            lab.add(range(3, 20))
            output_of(near)
        assert "the database has not answered for" in output_of(cut_off)
    assert lab.n_makes() == {1: 2, 2: 2} | dict.fromkeys(range(3, 20), 1)
    lab.check_products(range(1, 20))
    assert not (Worker & "ended IS NULL")


@pytest.mark.skipif(sys.platform != "linux", reason="see docs/operation/workers.md, what is not promised")
def test_slots_die_with_their_supervisor(lab):
    lab.add([1], "sleep", 60)
    with lab.worker() as process:
        wait_for_begin(lab, process)
        process.kill()
        wait_for(lambda: not psutil.pid_exists(lab.notes()[0]["pid"]), 10)
    assert lab.notes("computed") == []


def test_a_reservation_that_arrives_after_its_worker_was_ended_is_undone(lab, proxy):
    lab.add([1])
    proxy.at(RESERVE, "stall")
    with lab.worker(**proxy.variables):
        wait_for(lambda: proxy.is_stalled)
    wait_for(lambda: release_dead_jobs() == [] and not (Worker & "ended IS NULL"))
    proxy.flow()
    wait_for(lambda: lab.jobs() == {1: "reserved"})
    lab.meso("populate", "Product", "Total")
    lab.check_products([1])


def test_a_commit_that_arrives_after_its_worker_died_counts(lab, proxy, database):
    lab.add([1], seconds=1.0)
    with lab.worker(**proxy.variables) as process:
        wait_for_begin(lab, process)
        proxy.at(b"COMMIT", "stall")
        wait_for(lambda: proxy.is_stalled)
    with lab.worker("--until-done") as other:
        wait_for(lambda: Worker & "end_reason = 'silent'")
        time.sleep(1)  # it cannot release the dead one's job: the server still has its transaction
        assert lab.jobs() == {1: "reserved"}
        proxy.flow()
        output_of(other)
    assert lab.n_makes() == {1: 1}
    lab.check_products([1])


# -------------------------------------------------------------------------------------------------------------- locks


def n_waiting(database) -> int:
    """Return the number of connections that wait for a lock."""
    time.sleep(0.2)  # MySQL's answer stays the same for 0.1 s after it was read
    query = (
        "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        if database.adapter.backend == "mysql"
        else "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    )
    return int(database.query(query).fetchone()[0])


@pytest.fixture
def impatient(database, monkeypatch):
    """Have new connections wait for a lock for one second only."""
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=1s")
    if database.adapter.backend == "postgresql":
        yield
        return
    before = database.query("SELECT @@GLOBAL.innodb_lock_wait_timeout").fetchone()[0]
    database.query("SET GLOBAL innodb_lock_wait_timeout = 1")
    yield
    database.query(f"SET GLOBAL innodb_lock_wait_timeout = {before}")


def test_a_lock_held_for_long_is_waited_for(lab, proxy, other, impatient):
    lab.add([1])
    other.execute("START TRANSACTION")
    other.execute(f"SELECT item FROM {lab.item.full_table_name} WHERE item = 1 FOR UPDATE")
    process = start_filling(lab, proxy)
    wait_for(lambda: lab.n_makes()[1] == 3 or process.poll() is not None)
    other.execute("ROLLBACK")
    assert "{'Product': 1, 'Total': 1} []" in output_of(process)
    lab.check_products([1])


def test_a_deadlock_is_tried_again(lab, proxy, database, other, monkeypatch):
    """The insert holds the item and wants the job; another connection holds the job and wants the item."""
    lab.add([1], seconds=1.0)
    monkeypatch.setenv(
        "PGOPTIONS", "-c deadlock_timeout=3s"
    )  # the first to check for a deadlock is the one that is rolled back
    process = start_filling(lab, proxy)
    wait_for_begin(lab, process)
    item, job = lab.item.full_table_name, lab.product.jobs.full_table_name
    if database.adapter.backend == "postgresql":
        other.execute("SET deadlock_timeout = '1min'")
    other.execute("START TRANSACTION")
    for i in range(100, 120):  # in a deadlock MySQL rolls back the transaction that has changed fewer rows
        other.execute(f"INSERT INTO {item} (item, act) VALUES ({i}, 'sleep')")
    other.execute(f"SELECT item FROM {job} WHERE item = 1 FOR UPDATE")
    wait_for(lambda: n_waiting(database))
    other.execute(f"SELECT item FROM {item} WHERE item = 1 FOR UPDATE")
    other.execute("ROLLBACK")
    assert "{'Product': 1, 'Total': 1} []" in output_of(process)
    assert lab.n_makes() == {1: 2}
    lab.check_products([1])


# ---------------------------------------------------------------------------------------- servers that die, full disks


def own_lab(own: OwnServer, folder: Path) -> Lab:
    """Return a lab on a server of its own."""
    lab = Lab(folder, {**own.variables, "MESO_MODULES": "support.work_tables", "MESO_HEARTBEAT": "1"})
    lab.makes.write_text("")
    return lab


def new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="meso-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def declared(server, backend, tmp_path_factory):
    """A server with the tables of a lab, which was stopped: it takes 3 s to make and declare them."""
    own = OwnServer(backend, new_folder())
    try:
        own.start()
        own_lab(own, tmp_path_factory.mktemp("declared")).meso("db", "init")
        own.stop()
        yield own
    finally:
        own.close()


@pytest.fixture
def own(declared, backend, request, tmp_path):
    """A server only for this test, with a lab on it; the parameter is the size of its disk in MB."""
    disk = getattr(request, "param", 0)
    if disk and os.geteuid() != 0:
        pytest.skip("NO FULL DISK IS TESTED: only root can have a small one (mount)")
    own = OwnServer(backend, new_folder(), disk, like=declared)
    try:
        own.start()
        yield own, own_lab(own, tmp_path)
    finally:
        own.close()


@pytest.fixture
def mysql_alone(backend):
    if backend != "mysql":
        pytest.skip("PostgreSQL has no such log")


#: Makes ``lab`` in a process whose tables are on the server of its own.
OTHER_LAB = """
import schemas
from pathlib import Path
from support.lab import Lab
schemas.activate()
lab = Lab(Path(), {})
"""


def inside(lab, code: str) -> None:
    """Run code with ``lab`` on a server of its own: the tables of this process are on another."""
    lab.python(OTHER_LAB + code)


#: Make the server accept no more writes, as a replica does.
ACCEPT_NO_WRITES = """
connection = schemas.connect()
connection.query({
    "mysql": "SET GLOBAL super_read_only = ON",
    "postgresql": "ALTER DATABASE postgres SET default_transaction_read_only = on",
}[connection.adapter.backend])
"""


def test_a_server_that_accepts_no_writes_is_said_in_a_sentence(own):
    """It was a traceback, and from `meso worker` one after the other."""
    _, lab = own
    inside(lab, "lab.add([1])")
    inside(lab, ACCEPT_NO_WRITES)
    assert "Product" in lab.meso("status")
    for command in (("worker", "Product", "--until-done"), ("populate", "Product"), ("retry",), ("db", "init")):
        output = lab.meso(*command, code=1)
        assert "Error: The database server accepts no writes (" in output, command
        assert "connect to its primary server (DJ_HOST)" in output
        assert "Traceback" not in output


@pytest.mark.usefixtures("mysql_alone")  # before a server is started
def test_a_binary_log_that_cannot_hold_what_is_written_is_said_in_a_sentence(own):
    """`meso db init` said nothing, and every job was a traceback."""
    own, lab = own
    inside(lab, "lab.add([1])")
    own.kill()
    as_it_was = own.line
    own.line = [*own.line, "--log-bin=log", "--server-id=1", "--binlog-format=STATEMENT"]
    own.start()
    for command in (("db", "init"), ("populate", "Product")):
        output = lab.meso(*command, code=1)
        assert "Error: The database cannot be used: its binary log is in the format STATEMENT, " in output, command
        assert "set binlog_format = ROW" in output
        assert "Traceback" not in output
    own.kill()
    own.line = [*as_it_was, "--log-bin=log", "--server-id=1"]
    own.start()
    lab.meso("db", "init")
    lab.meso("populate", "Product")


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_has_lost_nothing(own):
    own, lab = own
    inside(lab, "lab.add(range(100), seconds=0.1)")
    with lab.worker("--slots", 3, "--until-done") as process:
        for n_made in (5, 40):
            wait_for(lambda n=n_made: len(lab.notes("computed")) > n or process.poll() is not None)
            own.kill()
            time.sleep(4)  # longer than three heartbeats
            own.start()
            n_before = len(lab.notes("computed"))
            wait_for(lambda n=n_before: len(lab.notes("computed")) > n, 30)
        assert "; 0 failed" in output_of(process)
    inside(lab, "lab.check_products(range(100)); assert lab.jobs() == {}")


@pytest.mark.slow
@pytest.mark.parametrize("own", [256], indirect=True)
def test_a_full_disk_is_waited_for(own):
    own, lab = own
    inside(lab, "lab.add([*range(20), *range(1000, 1005)], seconds=0.01)")
    own.fill_disk(left=1_000_000)
    with lab.worker("--slots", 2, "--until-done") as process:
        wait_for(lambda: max(lab.n_makes().values(), default=0) > 3 or process.poll() is not None)
        own.empty_disk()
        output = output_of(process)
    assert "(tried again later)" in output and "; 0 failed" in output
    inside(lab, "lab.check_products([*range(20), *range(1000, 1005)]); assert lab.jobs() == {}")
