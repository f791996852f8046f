"""Workers that race for the same jobs, in orders that hypothesis generates, on the real database."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support import work_tables

from schemas.server.dialect import dialect
from schemas.work.dead_workers import end_worker, release_dead_jobs
from schemas.work.jobs import Job, Queue, ReservationLost
from schemas.work.reports import retry
from schemas.work.runner import new_worker
from schemas.work.states import EndReason
from schemas.work.tables import Attempt, Worker

ITEMS = 2
WORKERS = 3


class Race(RuleBasedStateMachine):
    """Three workers and two jobs. The model keeps the expected state by itself, without reading the database."""

    lab = None

    def __init__(self) -> None:
        super().__init__()
        self.lab.clear()
        self.lab.add(range(ITEMS))
        self.workers = [self._born() for _ in range(WORKERS)]
        self.makes: dict[int, str] = {}  # worker by item: it runs the job, and has it reserved
        self.zombies: list[tuple[int, str]] = []  # (item, worker): it runs the job, but was declared dead
        self.state = dict.fromkeys(range(ITEMS), "unknown")
        self.deaths = dict.fromkeys(range(ITEMS), 0)

    def _born(self) -> str:
        worker = new_worker()
        Worker.begin(worker, 0, 30.0)
        Worker.update1({"worker": worker, "pid_space": "another machine"})
        return worker

    def _job(self, item: int, worker: str) -> Job:
        return Job(work_tables.Product, {"item": item}, worker)

    def _free(self, item: int, worker: str) -> None:
        """Record in the model that a worker died while it was running a job."""
        self.zombies.append((item, worker))
        self.deaths[item] += 1
        self.state[item] = "error" if self.deaths[item] >= 3 else "pending"
        del self.makes[item]

    @rule()
    def refresh(self) -> None:
        added = Queue(work_tables.Product).add()
        assert added == sum(state == "unknown" for state in self.state.values())
        self.state = {item: "pending" if state == "unknown" else state for item, state in self.state.items()}

    @rule(item=st.integers(0, ITEMS - 1), n=st.integers(0, WORKERS - 1))
    def reserve(self, item: int, n: int) -> None:
        won = self._job(item, self.workers[n]).reserve()
        assert won == (self.state[item] == "pending")
        if won:
            self.state[item], self.makes[item] = "reserved", self.workers[n]

    @precondition(lambda self: self.makes)
    @rule(data=st.data())
    def complete(self, data) -> None:
        item = data.draw(st.sampled_from(sorted(self.makes)))
        self._insert(item, self.makes.pop(item))
        self.state[item], self.deaths[item] = "done", 0

    def _insert(self, item: int, worker: str) -> None:
        with work_tables.Product.connection.transaction:
            work_tables.Product.insert1(
                {"item": item, "product": work_tables.expected(item)}, allow_direct_insert=True, skip_duplicates=True
            )
            self._job(item, worker).finish()

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def come_back(self, data) -> None:
        """A worker that was declared dead but is alive tries to insert its rows, or to record an error."""
        item, worker = data.draw(st.sampled_from(self.zombies))
        with pytest.raises(ReservationLost):
            self._insert(item, worker)
        assert not self._job(item, worker).fail("late", "")
        self._job(item, worker).release()
        self._job(item, worker).complete()

    @precondition(lambda self: self.makes)
    @rule(data=st.data())
    def fail(self, data) -> None:
        item = data.draw(st.sampled_from(sorted(self.makes)))
        assert self._job(item, self.makes.pop(item)).fail("ValueError: no", "stack")
        self.state[item] = "error"

    @precondition(lambda self: self.makes)
    @rule(data=st.data())
    def stop(self, data) -> None:
        item = data.draw(st.sampled_from(sorted(self.makes)))
        self._job(item, self.makes.pop(item)).release()
        self.state[item] = "pending"

    @rule(n=st.integers(0, WORKERS - 1))
    def fall_silent(self, n: int) -> None:
        """A worker misses its heartbeats; other processes cannot see whether it is alive."""
        worker = self.workers[n]
        now = dialect(Worker.connection).utc_now
        Worker.connection.query(
            f"UPDATE {Worker.full_table_name} SET heartbeat = {now} - "
            f"{Worker.connection.adapter.interval_expr(60, 'second')} WHERE worker = %s", args=(worker,),
        )  # fmt: skip
        assert release_dead_jobs() is not None
        for item in [item for item, who in self.makes.items() if who == worker]:
            self._free(item, worker)
        self.workers[n] = self._born()

    @rule(n=st.integers(0, WORKERS - 1))
    def die(self, n: int) -> None:
        """Two supervisors see a worker end, and another process looks for dead workers, at the same time."""
        worker = self.workers[n]
        for _ in range(2):
            end_worker(worker, EndReason.KILLED, "process 1")
        assert release_dead_jobs() == []
        for item in [item for item, who in self.makes.items() if who == worker]:
            self._free(item, worker)
        self.workers[n] = self._born()

    @rule(item=st.integers(0, ITEMS - 1))
    def retry(self, item: int) -> None:
        n = retry([work_tables.Product], item=item)
        assert n == (self.state[item] == "error")
        if n:
            self.state[item], self.deaths[item] = "unknown", 0

    @invariant()
    def each_entry_is_in_one_place(self) -> None:
        jobs = {row["item"]: row for row in work_tables.Product.jobs.to_dicts()}
        rows = set(work_tables.Product.to_arrays("item").tolist())
        for item, state in self.state.items():
            assert (item in rows) == (state == "done")
            assert (jobs[item]["status"] if item in jobs else None) == {"unknown": None, "done": None}.get(state, state)
            if state == "reserved":
                assert jobs[item]["version"] == self.makes[item]
        assert len(Attempt & "n_deaths > 0") == sum(n > 0 for n in self.deaths.values())


@pytest.mark.slow
def test_no_job_is_lost_or_run_twice_in_any_order(lab, database, backend):
    if backend == "postgresql":  # thousands of commits, of which none has to outlive a power failure
        database.query("SET synchronous_commit = off")
    Race.lab = lab
    run_state_machine_as_test(
        Race,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
