"""``meso worker``: slots that run jobs, each a process, and a supervisor that watches over them.

The supervisor runs no job itself. It beats for its slots, adds jobs that have become possible to the job tables,
releases what dead workers had reserved, and kills its slots when it cannot beat any more, before other workers may take
them for dead. The kernel kills the slots when the supervisor dies (on Linux).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import queue
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import schemas
from pipeline.errors import ConfigError
from schemas.rows import jobs_of
from schemas.server.binding import auto_populated, table_named
from schemas.server.connection import connect
from schemas.server.reconnection import is_passing, persist, reconnect
from schemas.server.settings import heartbeat
from schemas.work import reports
from schemas.work.heartbeat import Heartbeat, uptime
from schemas.work.runner import JobRunner, Queue, end_worker, most_urgent, new_worker, release_dead_jobs
from schemas.work.states import EndReason, JobStatus, Status
from schemas.work.tables import MAX_MISSED_HEARTBEATS, Lease, Worker

if TYPE_CHECKING:
    import datajoint as dj

#: A supervisor that could not beat for this part of the time after which others take its slots for dead kills them.
TOO_LONG = 0.7
#: Seconds that slots have to stop by themselves; Docker and SLURM kill after 10 and 30.
GRACE = 7.0
#: Seconds between two looks for work: of a slot, and of the scheduler at its most eager and its least.
POLL = 0.5
EAGER, LAZY = 0.5, 10.0
#: The scheduler is busy for at most this part of the time, unless it rests for its longest pause.
DUTY = 0.2
#: Seconds between two times that jobs whose inputs were deleted are taken away.
CLEANING = 60.0
#: A slot that lived for less is started again only after a while.
SHORT_LIFE, FIRST_WAIT, LONGEST_WAIT = 5.0, 0.25, 30.0
PR_SET_PDEATHSIG = 1
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class Slot:
    """A process that runs jobs."""

    number: int
    process: Any = None  # None while there is none, and then no pipe
    pipe: Any = None
    worker: str = ""
    started: float = 0.0
    not_before: float = 0.0
    wait: float = FIRST_WAIT


@dataclass
class Supervisor:
    """Slots, and what watches over them.

    Attributes
    ----------
    n_slots : int
    tables : tuple of str
        Names of tables to fill; all if there are none.
    until_done : bool
        End when no job is left, those that other workers run included.
    max_time : float
        Begin nothing after so many seconds.
    say : callable
        Takes messages about what failed or died.
    """

    n_slots: int = 1
    tables: tuple[str, ...] = ()
    until_done: bool = False
    max_time: float = float("inf")
    say: Callable[[str], None] = print
    made: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)
    signal: int = 0
    finishing: bool = False

    def run(self) -> int:
        """Work until it is done, told to stop or out of time; return the exit code."""
        chosen = [table_named(name) for name in self.tables] or auto_populated()
        for name in THREADS:
            os.environ.setdefault(name, str(max(1, _cores() // self.n_slots)))
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["populate_scripts.forkserver"])
        self.slots = [Slot(number) for number in range(self.n_slots)]
        self.alive: set[str] = set()
        self.heartbeat = Heartbeat(connect(), lambda cursor: Worker.beat(cursor, list(self.alive)), heartbeat())
        self.scheduler = Scheduler(chosen, self.say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.heartbeat.start()
        self.scheduler.start()
        try:
            self._watch()
        finally:
            for slot in self.slots:
                self._kill(slot)
            self.scheduler.stop()
            self.heartbeat.stop()
        if self.scheduler.failure:
            raise self.scheduler.failure
        return 128 + self.signal if self.signal else int(bool(self.failed))

    def _stop(self, number: int, frame: Any) -> None:
        """Have the slots stop; the signal came to this process."""
        self.signal = number

    def _watch(self) -> None:
        begin = time.monotonic()
        while True:
            self._start_slots()
            wait([source for slot in self.slots if slot.process for source in (slot.process.sentinel, slot.pipe)], 0.1)
            for slot in self.slots:
                self._hear(slot)
            self._check_heartbeat()
            if self.signal or self.scheduler.failure:
                self._end_slots()
                return
            if time.monotonic() - begin > self.max_time or (self.until_done and self.scheduler.done):
                self._say_enough()
            if self.finishing and not self.alive:
                return

    def _start_slots(self) -> None:
        if self.finishing or self._is_silent():
            return
        for slot in self.slots:
            if not slot.process and time.monotonic() > slot.not_before:
                slot.worker, slot.started = new_worker(), time.monotonic()
                slot.pipe, theirs = self.context.Pipe()
                slot.process = self.context.Process(
                    target=work, args=(slot.worker, slot.number, self.tables, theirs), name=f"meso-slot-{slot.number}"
                )
                slot.process.start()
                theirs.close()
                self.alive.add(slot.worker)

    def _hear(self, slot: Slot) -> None:
        """Take what a slot says, and note its end."""
        if not slot.process:
            return
        try:
            while slot.pipe.poll():
                table, key, outcome = slot.pipe.recv()
                if outcome.status == Status.DONE:
                    self.made[table] += 1
                elif outcome.status != Status.SKIPPED:
                    self.failed.update({table: 1} if outcome.status == Status.FAILED else {})
                    when = " (tried again later)" if outcome.status == Status.POSTPONED else ""
                    self.say(f"{table} {_text(key)}: {outcome.message}{when}")
        except (EOFError, OSError):
            pass  # it has ended, or was killed in the middle of a word
        if slot.process.exitcode is not None:
            self._ended(slot, EndReason.KILLED if slot.process.exitcode else EndReason.FINISHED)

    def _ended(self, slot: Slot, reason: EndReason) -> None:
        code, lived = slot.process.exitcode, time.monotonic() - slot.started
        if reason != EndReason.FINISHED:
            self.scheduler.end_worker(slot.worker, reason, f"process {slot.process.pid} on {platform.node()}")
        if reason == EndReason.KILLED:
            self.say(
                f"slot {slot.number} ended with {f'signal {-code}' if code < 0 else f'code {code}'}; starting another"
            )
            slot.wait = min(LONGEST_WAIT, 2 * slot.wait) if lived < SHORT_LIFE else FIRST_WAIT
            slot.not_before = time.monotonic() + slot.wait
        self.alive.discard(slot.worker)
        slot.process.join()
        slot.pipe.close()
        slot.process = None

    def _check_heartbeat(self) -> None:
        """Kill slots that others may soon take for dead, or have."""
        is_silent = self._is_silent()
        if is_silent and self.alive:
            self.say(
                f"the database has not answered for {uptime() - self.heartbeat.last:.0f} s: "
                f"running jobs are stopped, and run again later"
            )
        for slot in self.slots:
            if slot.process and (is_silent or slot.worker in self.heartbeat.lost):
                self._kill(slot)
                slot.not_before = time.monotonic() + 1.0

    def _is_silent(self) -> bool:
        """Return whether no heartbeat has arrived for so long that others may soon take the slots for dead."""
        return uptime() - self.heartbeat.last > TOO_LONG * MAX_MISSED_HEARTBEATS * heartbeat()

    def _kill(self, slot: Slot) -> None:
        if slot.process:
            slot.process.kill()
            slot.process.join()
            self._ended(slot, EndReason.STOPPED)

    def _end_slots(self) -> None:
        """Have all slots stop now; the jobs that they were running are pending again."""
        self.finishing = True
        for slot in self.slots:
            if slot.process:
                slot.process.terminate()
        deadline = time.monotonic() + GRACE
        while self.alive and time.monotonic() < deadline:
            wait([slot.process.sentinel for slot in self.slots if slot.process], 0.1)
            for slot in self.slots:
                if slot.process and slot.process.exitcode is not None:
                    self._ended(slot, EndReason.STOPPED)

    def _say_enough(self) -> None:
        """Have the slots end after the jobs that they are running."""
        if not self.finishing:
            self.finishing = True
            for slot in self.slots:
                if slot.process:
                    with suppress(OSError):  # it has just ended
                        slot.pipe.send("enough")


class Scheduler(threading.Thread):
    """Adds jobs that have become possible and releases what dead workers had reserved; one process at a time does.

    Attributes
    ----------
    done : bool
        Nothing was pending or running anywhere, and nothing was to be added.
    failure : Exception or None
        What ended this thread.
    """

    def __init__(self, tables: list[type[dj.Table]], say: Callable[[str], None]) -> None:
        super().__init__(daemon=True, name=new_worker())
        self.tables, self.say = tables, say
        self.connection = connect()
        self.ended: queue.SimpleQueue[tuple[str, EndReason, str]] = queue.SimpleQueue()
        self.done, self.cleaned = False, time.monotonic()
        self.failure: Exception | None = None
        self.woken, self.stopped = threading.Event(), threading.Event()

    def end_worker(self, worker: str, reason: EndReason, who: str) -> None:
        """Have what a worker had reserved be pending again: see ``schemas.work.runner.end_worker``."""
        self.ended.put((worker, reason, who))
        self.woken.set()

    def run(self) -> None:
        """Schedule until ``stop``, more often while there is something to do."""
        pause = EAGER
        while not self.stopped.is_set():
            begin = time.monotonic()
            try:
                self._end_workers()
                pause = EAGER if self._schedule() else min(LAZY, 1.5 * pause)
            except Exception as error:
                if not is_passing(error):
                    self.failure = error
                    return
                self._reconnect()
            busy = time.monotonic() - begin  # or waited for a server that did not answer
            self.woken.wait(max(pause, min(LAZY, busy * (1 / DUTY - 1))))
            self.woken.clear()

    def stop(self) -> None:
        """End the thread, once all slots that have ended are ended in the database too."""
        self.stopped.set()
        self.woken.set()
        self.join(1.0)
        if not self.is_alive() and not self.failure:
            try:
                self._end_workers()
            except Exception as error:  # the next worker or `meso populate` does it
                self.say(f"the jobs of the slots stay reserved until another worker releases them ({error})")

    def _end_workers(self) -> None:
        while not self.ended.empty():
            worker = self.ended.get()
            try:
                self._say_all(end_worker(*worker))
            except Exception:
                self.ended.put(worker)
                raise

    def _schedule(self) -> bool:
        """Return whether anything was added, pending or running, as far as this process knows."""
        with Lease.hold("schedule", self.name, MAX_MISSED_HEARTBEATS * heartbeat()) as is_ours:
            if not is_ours:
                return True
            self._say_all(release_dead_jobs())
            names = {table.__name__ for table in self.tables}
            n_left = sum(
                n for (name, status), n in reports.jobs_by_status().items()
                if name in names and status in (JobStatus.PENDING, JobStatus.RESERVED)
            )  # fmt: skip
            n_added = sum(Queue(table).add() for table in self.tables)
            self._clean()
        self.done = not n_left and not n_added
        return not self.done

    def _clean(self) -> None:
        """Take away jobs whose inputs were deleted, from time to time."""
        if time.monotonic() - self.cleaned > CLEANING:
            self.cleaned = time.monotonic()
            for table in self.tables:
                jobs_of(table).refresh()

    def _reconnect(self) -> None:
        try:
            reconnect(self.connection)
        except Exception:  # the next turn tries again
            time.sleep(EAGER)

    def _say_all(self, messages: list[str]) -> None:
        for message in messages:
            self.say(message)


def work(worker: str, number: int, names: tuple[str, ...], pipe: Connection) -> None:
    """Run jobs, as a process of its own, until the supervisor sends anything or ends.

    Parameters
    ----------
    worker : str
    number : int
        Of the slot.
    names : tuple of str
        Tables; all if there are none.
    pipe : Connection
        Takes (table, key, outcome); a word from it means: enough.
    """
    die_with_parent()
    if pipe.poll():  # the supervisor died before the fork server could ask to die with it
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes to all processes of a terminal; the supervisor decides
    signal.signal(signal.SIGTERM, _stop_slot)
    schemas.activate()
    tables = [table_named(name) for name in names] or auto_populated()
    with JobRunner(worker, number, MAX_MISSED_HEARTBEATS * heartbeat()) as runner:
        persist(runner.connection, runner.begin)
        while not pipe.poll():
            jobs = persist(runner.connection, lambda: most_urgent(tables))
            if not jobs:
                pipe.poll(POLL * random.uniform(0.5, 1.5))
            begin = time.monotonic()
            for table, key in jobs:
                pipe.send((table.__name__, key, runner.run(table, key)))
                if pipe.poll() or time.monotonic() - begin > 1:  # something more urgent may have come
                    break


def _stop_slot(*_: Any) -> None:
    """End this slot, once: another signal would come in the middle of giving back its job."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies: of a slot the fork server, of that the supervisor."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _text(key: dict) -> str:
    return " ".join(f"{name}={value}" for name, value in key.items())


def seconds(text: str) -> float:
    """Return a time such as '90', '90s', '30m' or '12h' in seconds.

    Raises
    ------
    ConfigError
        It is not one.
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        return float(number) * units[unit]
    except ValueError:
        raise ConfigError(f"invalid duration {text!r}: use seconds, 30m, 12h or 2d") from None
