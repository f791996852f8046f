"""``meso worker`` when things go wrong: killed, stopped, without heartbeats, and with jobs that fail."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import datajoint as dj
import psutil
import pytest
from support import work_tables
from support.lab import TESTS, kill, wait_for

from pipeline.errors import ConfigError
from schemas.server.dialect import JOBS_NOW, dialect
from schemas.work.filling import fill
from schemas.work.jobs import Job, Queue
from schemas.work.reports import errors, retry, status
from schemas.work.runner import JobRunner
from schemas.work.tables import Attempt, Made, Worker


def test_workers_fill_all_tables_in_their_order(lab):
    lab.add(range(40), seconds=0.01)
    output = lab.meso("worker", "Product", "Total", "--slots", 3, "--until-done")
    assert "Populated Product 40, Total 40; 0 failed" in output
    lab.check_products(range(40))
    assert set(lab.n_makes().values()) == {1}
    assert lab.jobs() == {}
    rows = json.loads(lab.meso("workers", "--all", "--json"))
    assert [row["slot"] for row in sorted(rows, key=lambda row: row["slot"])] == [0, 1, 2]
    assert {row["state"] for row in rows} == {"finished"}
    assert sum(Made.to_arrays("n_made")) == 80
    status = {row["table"]: row for row in json.loads(lab.meso("status", "--json"))}
    assert status["Product"]["done"] == 40
    assert 0.01 < status["Product"]["seconds"] < 5


def test_a_priority_comes_first(lab):
    lab.add(range(6))
    lab.product.jobs.refresh(delay=-1)
    lab.product.jobs.update1({"item": 4, "priority": 1})
    lab.meso("worker", "Product", "--until-done")
    assert next(row["item"] for row in lab.notes()) == 4


@pytest.mark.slow
def test_a_storm_of_kills_loses_and_doubles_nothing(lab):
    items, kills, last = range(200), 0, 0.0
    with lab.worker("--slots", 3) as one, lab.worker("--slots", 3) as two:
        supervisors = {process.pid: process for process in (one, two)}
        others = []
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < 40 or (
            kills <= 20 and passed < 120
        ):  # a busy machine kills slowly
            there = len(lab.item())
            if there < 200:
                lab.add(range(there, min(200, int(passed * 6) + 1)), seconds=0.15)
            living = [int(pid) for pid in (Worker & "ended IS NULL").to_arrays("pid")]
            if living and kill(random.choice(living)):
                kills, last = kills + 1, time.monotonic()
            if random.random() < 0.05:  # a supervisor, whose slots die with it
                victim = random.choice([pid for pid, process in supervisors.items() if process.poll() is None])
                kill(victim)
                kills, last = kills + 3, time.monotonic()
                others.append(lab.worker("--slots", 3))
                started = others[-1].__enter__()
                supervisors[started.pid] = started
            time.sleep(0.5)
        try:
            wait_for(lambda: not reserved_by_the_dead(lab, last), 20)
            lab.meso("retry", "Product")  # of 200, some had three killed workers, after which a job is an error
            wait_for(lambda: len(lab.total()) == 200, 90)
        finally:
            for other in others:
                other.__exit__(None, None, None)
    lab.check_products(items)
    assert kills > 20
    assert sum(lab.n_makes().values()) - 200 <= kills


def reserved_by_the_dead(lab, since: float) -> bool:
    """Return whether a job reserved before the last kill is still reserved, more than three heartbeats later."""
    if time.monotonic() - since < 3:
        return True
    dead = {row["worker"] for row in (Worker & "ended IS NOT NULL").to_dicts()}
    return any(row["version"] in dead for row in lab.product.jobs.reserved.to_dicts())


@pytest.mark.slow
def test_a_worker_is_as_large_after_1000_jobs_as_after_100(lab):
    lab.add(range(1000))
    sizes = []
    with lab.worker() as process:
        for n in (100, 1000):
            wait_for(partial(lambda n: len(lab.notes("computed")) >= n, n), 300)
            (slot,) = {row["pid"] for row in lab.notes()}
            sizes.append([psutil.Process(pid).memory_info().rss / 1e6 for pid in (slot, process.pid)])
    for after_100, after_1000 in zip(*sizes, strict=True):
        assert after_1000 < 1.03 * after_100, sizes


@pytest.mark.slow
@pytest.mark.one_backend  # it is about the processor; every other worker here sends heartbeats to either backend
def test_a_slow_worker_keeps_its_reservation(lab):
    lab.add([1], "python", 7)  # twice the silence after which a worker is declared dead
    lab.add([2], "blas", 7)
    with lab.worker("--slots", 2, "--until-done") as one, lab.worker("--slots", 2, "--until-done") as two:
        assert one.wait(120) == two.wait(120) == 0
    assert lab.n_makes() == {1: 1, 2: 1}
    times = {row["item"]: row["time"] for row in lab.notes("computed")}
    begins = {row["item"]: row["time"] for row in lab.notes()}
    assert all(times[item] - begins[item] > 6 for item in (1, 2))
    lab.check_products([1, 2])


#: Jobs that keep the processor busy are interrupted where no server is asked.
BUSY = [pytest.param(act, "supervisor", marks=pytest.mark.one_backend) for act in ("python", "blas")]


@pytest.mark.parametrize(("act", "target"), [("sleep", "supervisor"), *BUSY, ("sleep", "all")])
def test_a_worker_asked_to_stop_gives_back_its_job(lab, act, target):
    lab.add([1], act, 40)
    with lab.worker() as process:
        wait_for(lab.notes)
        time.sleep(0.3)
        begin = time.monotonic()
        if target == "all":  # as SLURM does
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        assert process.wait(15) == 128 + signal.SIGTERM
        assert time.monotonic() - begin < 10
        output = process.communicate()
    assert lab.jobs() == {1: "pending"}
    assert len(Attempt()) == 0, (output, Attempt().to_dicts())
    assert not (Worker & "ended IS NULL")
    lab.item.update1({"item": 1, "act": "sleep", "act_seconds": 0.0})
    lab.meso("worker", "Product", "Total", "--until-done")
    lab.check_products([1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_stop(lab, number):
    lab.add([1], "sleep", 40)
    with lab.worker() as process:
        wait_for(lab.notes)
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(10) == 128 + number
    assert lab.jobs() == {1: "pending"}
    assert len(Attempt()) == 0
    assert not (Worker & "ended IS NULL")


def test_a_worker_started_with_nohup_outlives_its_terminal(lab):
    lab.add([1], "sleep", 3)
    command = ["nohup", sys.executable, "-m", "populate_scripts.cli", "worker", "Product", "Total", "--until-done"]
    process = subprocess.Popen(
        command, env=lab.environment, cwd=TESTS.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lab.notes)
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    lab.check_products([1])


def test_no_job_is_started_after_max_time(lab):
    lab.add(range(200), seconds=0.5)
    output = lab.meso("worker", "Product", "--max-time", "0.1m")
    assert len(lab.product()) < 13
    assert set(lab.jobs().values()) == {"pending"}
    assert "0 failed" in output


def test_a_worker_that_died_before_its_first_heartbeat_is_found(lab):
    lab.add([1])
    lab.meso("status")  # declares nothing, reads only
    code = (
        "import os, signal, schemas; schemas.activate()\n"
        "from schemas.work.jobs import Job, Queue\nfrom schemas.work.runner import JobRunner\n"
        "from schemas.server.binding import table_named\n"
        "runner = JobRunner('f' * 32, 0, 3.0); runner.begin()\n"
        "product = table_named('Product'); Queue(product).add()\n"
        "assert Job(product, {'item': 1}, runner.worker).reserve()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    lab.python(code, expected=-signal.SIGKILL)
    Worker.update1({"worker": "f" * 32, "pid_space": "another machine"})  # where this machine cannot look up a pid
    begin = time.monotonic()
    output = lab.meso("worker", "Product", "Total", "--until-done")
    assert time.monotonic() - begin > 1
    assert "died while running Product" in output
    lab.check_products([1])
    assert (Worker & {"worker": "f" * 32}).fetch1("end_reason") == "silent"
    assert len(Attempt()) == 0  # forgotten: the job is done


def test_a_dead_process_of_this_machine_is_found_at_once(lab):
    lab.add([1], "die", 0.1)
    lab.python(
        "import schemas; schemas.activate()\n"
        "from schemas.server.binding import table_named\nfrom schemas.work.filling import fill\n"
        "fill([table_named('Product')])\n", expected=137,
    )  # fmt: skip
    assert lab.jobs() == {1: "reserved"}
    assert json.loads(lab.meso("workers", "--json"))[0]["state"] == "dead"
    lab.item.update1({"item": 1, "act": "sleep"})
    lab.meso("populate", "Product", "Total", MESO_HEARTBEAT="1000")
    lab.check_products([1])


def test_a_job_that_kills_its_workers_is_not_retried_for_ever(lab):
    lab.add(range(1, 30))
    lab.add([0], "die", 0.05)
    output = lab.meso("worker", "Product", "Total", "--slots", 2, "--until-done")
    assert lab.n_makes()[0] == 3
    lab.check_products(range(1, 30))
    assert lab.jobs() == {0: "error"}
    assert "poison: 3 workers died while running this job" in lab.meso("errors", "Product", code=1)
    assert "code 137" in output
    assert lab.meso("retry", "Product") == "1 failure cleared\n"
    lab.item.update1({"item": 0, "act": "sleep"})
    lab.meso("worker", "Product", "Total", "--until-done")
    lab.check_products(range(30))


def test_an_error_is_noted_after_one_try_and_the_rest_goes_on(lab):
    lab.add([7, 8], "fail")
    lab.add([9], "nothing")
    lab.add(range(5))
    output = lab.meso("worker", "Product", "Total", "--until-done", code=1)
    assert "Product item=7: ValueError: this item cannot be made" in output
    assert "Product item=9: DataError: Product.make() inserted nothing" in output
    assert [lab.n_makes()[item] for item in (7, 8, 9)] == [1, 1, 1]
    lab.check_products(range(5))
    assert lab.jobs() == {7: "error", 8: "error", 9: "error"}
    text = lab.meso("errors", "Product", code=1)
    assert "Product, 2 jobs" in text and "Product, 1 job\n" in text
    assert "not a key attribute of" in lab.meso("errors", "--key", "banana=1", code=1)


def test_an_error_keeps_stack_versions_and_host(lab):
    lab.add([7, 8], "fail")
    fill([lab.product])
    text = lab.meso("errors", "--key", "item=7", "--stack", code=1)
    assert "Traceback (most recent call last)" in text
    assert 'raise ValueError("this item cannot be made")' in text
    assert "datajoint 2.3" in text and os.uname().nodename in text
    assert "item=8" not in text
    with pytest.raises(ConfigError, match="not a key attribute of"):
        retry([lab.product], banana=1)
    assert len(errors([lab.product])) == 2
    assert lab.meso("retry", "--key", "item=8") == "1 failure cleared\n"
    assert lab.jobs() == {7: "error"}


def test_populate_and_workers_share_the_work(lab):
    lab.add(range(200), seconds=0.1)
    with lab.worker("--slots", 2, "--until-done") as process:
        wait_for(lambda: len(lab.product()) > 3)
        lab.meso("populate", "Product")
        assert process.wait(60) == 0
    lab.check_products(range(200))
    assert set(lab.n_makes().values()) == {1}
    slots = {row["slot"] for row in (Worker & [{"worker": one} for one in Made.to_arrays("worker")]).to_dicts()}
    assert slots == {-1, 0, 1}


def test_status_asks_few_questions_however_much_there_is(lab, database, monkeypatch):
    lab.add(range(500))
    Queue(lab.product).add()
    asked, query = [], database.query
    monkeypatch.setattr(
        database, "query", lambda sql, *args, **kwargs: asked.append(sql) or query(sql, *args, **kwargs)
    )
    status()  # reads the definitions of the tables
    asked.clear()
    rows = {row["table"]: row for row in status()}
    assert len(asked) <= 20, "\n".join(sql[:90] for sql in asked)
    assert (rows["Product"]["done"], rows["Product"]["to_do"]) == (0, 500)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("absent", None, "there is no module absent; is its folder in PYTHONPATH?"),
        ("plain", "", "plain needs a line 'schema = dj.Schema()', without a name"),
        ("session", "import datajoint as dj\nschema = dj.Schema()", "session, as another module is: give it another"),
        (
            "new",
            "import datajoint as dj\nschema = dj.Schema()",
            "new (MESO_MODULES) are not declared yet: run meso db init",
        ),
    ],
)
def test_a_module_of_tables_that_cannot_be_used_is_refused(database, meso_command, tmp_path, name, text, problem):
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)
    done = meso_command("status", env={"MESO_MODULES": name, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["product", "total"])
def test_nothing_is_inserted_after_a_transaction_is_lost(lab, database, backend, name, monkeypatch):
    """DataJoint asks for the lineage of a table the first time, and hides whatever goes wrong with it."""
    from datajoint.lineage import lineage_table_exists

    from schemas.work.heartbeat import connects_like

    lab.add([1])
    if name == "total":
        lab.meso("populate", "Product")
    table = getattr(lab, name)
    own, end = {
        "mysql": ("SELECT CONNECTION_ID()", "KILL %s"),
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)"),
    }[backend]
    insert, killed = dj.Table.insert, []

    def insert_and_lose(self, rows, **options):
        insert(self, rows, **options)
        if not killed:
            killed.append(database.query(own).fetchone()[0])
            other = connects_like(database)()
            with other.cursor() as cursor:
                cursor.execute(end, (killed[0],))
            other.close()
            assert not lineage_table_exists(database, table.database)
            insert(self, [{**row, "item": 2} for row in rows], **options)  # the next row of the same job

    monkeypatch.setattr(table, "insert", insert_and_lose)
    lab.add([2])
    queue = Queue(table)
    queue.add({"item": 1})
    with JobRunner() as runner:
        first = runner.run(table, {"item": 1})
        assert killed, first
        assert (first.status, len(table())) == ("postponed", 0), first
        wait_for(lambda: queue.due({"item": 1}))
        assert runner.run(table, {"item": 1}).status == "done"
    lab.meso("populate", "Product", "Total")
    lab.check_products([1, 2])


def test_the_first_job_of_a_worker_does_not_block_others(lab, database, backend):
    """Two workers that waited for each other were a deadlock on MySQL, and a job was run twice."""
    from schemas.work.heartbeat import connects_like

    impatient = {"mysql": "SET innodb_lock_wait_timeout = 1", "postgresql": "SET lock_timeout = '1s'"}[backend]
    other = connects_like(database)()
    with database.transaction, other.cursor() as cursor:
        Made.record(32 * "a", "Product", 0.1)
        cursor.execute(impatient)
        cursor.execute(f"INSERT INTO {Made.full_table_name} VALUES ('{32 * 'b'}', 'Product', 1, 0.1)")
    other.commit()
    other.close()
    Made.record(32 * "b", "Product", 0.1)
    assert dict(zip(*Made.to_arrays("worker", "n_made"), strict=True)) == {32 * "a": 1, 32 * "b": 2}


def test_a_job_done_by_another_worker_is_not_counted(lab, monkeypatch):
    """The connection is lost during a reservation, and meanwhile another worker does the job."""
    lab.add([1])
    Queue(lab.product).add()

    def lost(self, key=None):
        monkeypatch.undo()
        lab.meso("populate", "Product")
        raise dj.errors.LostConnectionError("the server does not answer")

    monkeypatch.setattr(Job, "reserve", lost)
    with JobRunner() as runner:
        assert runner.run(lab.product, {"item": 1}).status == "skipped"
    assert lab.n_makes() == {1: 1}


def test_a_signal_in_the_middle_of_an_answer_stops(lab, database, backend, monkeypatch):
    """On MySQL the rest of the answer was taken for an error of the job, and the run went on."""
    lab.add([1])
    Queue(lab.product).add()
    insert = dj.Table.insert

    def interrupted(self, rows, **options):
        if self.full_table_name != lab.product.full_table_name:
            return insert(self, rows, **options)
        if backend == "mysql":  # the query has been sent, and its answer is not read to the end
            database._conn._execute_command(3, "SELECT 1")
            database._conn._read_packet()
        raise KeyboardInterrupt

    monkeypatch.setattr(dj.Table, "insert", interrupted)
    with pytest.raises(KeyboardInterrupt), JobRunner() as runner:
        runner.run(lab.product, {"item": 1})
    assert lab.jobs() == {1: "pending"}
    assert len(lab.product()) == 0


def test_a_job_whose_key_is_deleted_while_it_runs_leaves_no_error(lab, monkeypatch):
    """The error outlived the key: when the same session was registered again, it was not populated."""
    lab.add([1], "fail")

    def delete_and_fail(seconds: float) -> None:
        (lab.item & {"item": 1}).delete_quick()
        raise ValueError("this item is gone")

    monkeypatch.setitem(work_tables.ACTS, "fail", delete_and_fail)
    assert fill([lab.product]).errors == []
    assert lab.jobs() == {}
    lab.add([1])
    assert fill([lab.product]).made == {"Product": 1}


# ----------------------------------------------------------------------------- signals that compiled code does not heed


@pytest.mark.parametrize("act", ["compile", "callback"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_in_compiled_code_stops_a_notebook(lab, monkeypatch, act):
    """It was dropped, or a permanent error of the job ("no compiled object yet"), and the next job began."""
    monkeypatch.setenv("MAKES", str(lab.makes))
    monkeypatch.setenv("STOP", "SIGINT")
    lab.add([1], act)
    with pytest.raises(KeyboardInterrupt):
        fill([lab.product])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # what was computed in spite of the signal is inserted
    assert lab.jobs() == ({1: "pending"} if act == "compile" else {})
    fill([lab.product])
    lab.meso("populate", "Product", "Total")
    lab.check_products([1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_compiled_code_dropped_does_not_wait_for_the_end_of_the_job(lab, monkeypatch):
    """Ctrl-C while Rastermap was compiled had no effect until the session was embedded."""
    lab.add([1], "callback", 100)
    begin = time.monotonic()
    lab.meso("populate", "Product", code=128 + signal.SIGTERM, STOP="SIGTERM")
    assert lab.jobs() == {1: "pending"}
    lab.makes.write_text("")
    monkeypatch.setenv("MAKES", str(lab.makes))
    monkeypatch.setenv("STOP", "SIGINT")
    with pytest.raises(KeyboardInterrupt):
        fill([lab.product])
    assert lab.jobs() == {1: "pending"}
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert time.monotonic() - begin < 90
    assert len(Attempt()) == 0


@pytest.mark.parametrize("act", ["compile", "callback"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 1), ("SIGTERM", 128 + signal.SIGTERM), ("SIGHUP", 129)])
def test_a_signal_in_compiled_code_stops_populate(lab, act, name, code):
    lab.add([1], act)
    lab.add([2])
    output = lab.meso("populate", "Product", code=code, STOP=name)
    # LLVM may crash if an exception ends one of its callbacks, which ctypes then drops
    assert act == "callback" or "Exception ignored" not in output
    # jobs are run in random order; what was computed in spite of the signal is inserted
    first = {1: "pending"} if act == "compile" else {}
    assert lab.jobs() in (first, first | {2: "pending"})
    lab.meso("populate", "Product", "Total", STOP=name)
    lab.check_products([1, 2])


@pytest.mark.parametrize(("act", "n_makes"), [("compile", 2), ("callback", 1)])
def test_a_signal_in_compiled_code_stops_a_slot(lab, act, n_makes):
    lab.add([1], act)
    output = lab.meso("worker", "Product", "Total", "--until-done", STOP="SIGTERM")
    assert lab.n_makes() == {1: n_makes}
    assert "0 failed" in output
    lab.check_products([1])


# ------------------------------------------------------------------------------------------------ jobs that are not due


def put_off(lab, seconds: float) -> None:
    """Make the pending jobs of Product due later, as after a transient error."""
    due = dialect(lab.product.connection).plus_seconds(JOBS_NOW, seconds)
    lab.product.connection.query(
        f"UPDATE {lab.product.jobs.full_table_name} SET scheduled_time = {due}, error_message = 'the disk is full'"
    )


def test_a_job_that_another_process_postponed_is_waited_for(lab):
    """It was "nothing: all tables are complete", exit code 0."""
    lab.add([1])
    Queue(lab.product).add()
    put_off(lab, 3)
    assert "Populated Product 1" in lab.meso("populate", "Product")
    assert len(lab.product()) == 1


def test_a_job_that_is_not_due_for_long_is_named(lab):
    lab.add([1])
    Queue(lab.product).add()
    put_off(lab, 3600)
    output = lab.meso("populate", "Product", code=1)
    (until,) = lab.product.jobs.to_arrays("scheduled_time")
    assert f"! Product: 1 job to do, the first not before {until:%Y-%m-%d %H:%M:%S} UTC (the disk is full)" in output
    assert "Populated nothing: no job is due" in output
    assert "Product: 1 job to do, the first not before" in lab.meso("worker", "Product", "--max-time", 3)


def test_a_job_that_another_worker_is_running_is_named(lab):
    lab.add([1])
    Queue(lab.product).add()
    with JobRunner() as other:
        other.begin()
        assert Job(lab.product, {"item": 1}, other.worker).reserve()
        output = lab.meso("populate", "Product")
    assert "Populated nothing: no job is due; Product: 1 job being run by other workers" in output


def test_jobs_are_due_whatever_the_time_zone_of_a_client(lab, database, backend, request):
    """A client in Tokyo queued jobs that were due nine hours later for the others."""
    lab.add([1])
    if backend == "mysql":
        (before,) = database.query("SELECT @@GLOBAL.time_zone").fetchone()
        request.addfinalizer(lambda: database.query(f"SET GLOBAL time_zone = '{before}'"))
        database.query("SET GLOBAL time_zone = '+09:00'")
    lab.python(
        "import os; os.environ['PGTZ'] = 'Asia/Tokyo'; import schemas; schemas.activate()\n"
        "from schemas.server.binding import table_named; from schemas.work.jobs import Queue\n"
        "assert Queue(table_named('Product')).add() == 1\n"
    )
    assert Queue(lab.product).due() == [{"item": 1}]
    (due,) = lab.product.jobs.to_arrays("scheduled_time")
    assert abs(due.timestamp() - time.mktime(time.gmtime())) < 120


def test_dead_workers_of_a_job_are_forgotten_when_it_is_done(lab):
    """Deleted and populated again, it was "poison" after fewer deaths than it should take."""
    lab.add([1, 2])
    for _ in range(2):
        Attempt.record("Product", {"item": 1}, "n_deaths")
    Attempt.record("Product", {"item": 3}, "n_deaths")
    assert fill([lab.product]).made == {"Product": 2}
    assert Attempt.to_arrays("entry_key").tolist() == [{"item": 3}]
