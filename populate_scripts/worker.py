"""``meso worker``: slots (processes that run jobs), and a supervisor that watches over them.

The supervisor runs no job itself. It sends the heartbeats of its slots, adds new jobs to the job tables, releases jobs
that dead workers had reserved, and kills its slots if its heartbeats no longer reach the database: before other workers
declare the slots dead and run their jobs a second time. If the supervisor dies, the kernel kills the slots (on Linux).
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
from schemas.work.dead_workers import end_worker, release_dead_jobs
from schemas.work.heartbeat import Heartbeat, uptime
from schemas.work.interruption import SIGNALS
from schemas.work.jobs import Queue, most_urgent, put_off, with_new_jobs
from schemas.work.runner import JobRunner, new_worker
from schemas.work.states import EndReason, JobStatus, Status
from schemas.work.tables import MAX_MISSED_HEARTBEATS, Lease, Worker

if TYPE_CHECKING:
    import datajoint as dj

#: Other workers declare a slot dead after MAX_MISSED_HEARTBEATS. The supervisor kills it after this fraction of that
#: time without a heartbeat, so that two workers never run the same job.
MAX_SILENCE = 0.7
#: Seconds that slots have to stop by themselves; Docker kills after 10, SLURM after 30.
STOP_SECONDS = 7.0
#: Seconds between two looks of an idle slot for jobs.
POLL_SECONDS = 0.5
#: Seconds between two looks of the scheduler for new jobs: while there are any, and at most.
MIN_PAUSE, MAX_PAUSE = 0.5, 10.0
#: The scheduler is busy for at most this fraction of the time, to spare the database, unless it pauses for MAX_PAUSE.
MAX_BUSY = 0.2
#: Seconds between two removals of jobs whose inputs were deleted.
CLEAN_SECONDS = 60.0
#: A slot that crashes within SHORT_LIFE seconds is restarted after FIRST_WAIT, then twice that, ... up to LONGEST_WAIT.
SHORT_LIFE, FIRST_WAIT, LONGEST_WAIT = 5.0, 0.25, 30.0
#: Option of prctl(2), from <linux/prctl.h>: the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1
#: Set to the slot's share of the cores: with the libraries' default, every slot would start a thread for each core.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class Slot:
    """A place for one process at a time that runs jobs.

    Attributes
    ----------
    number : int
        From 0.
    process : Process or None
        None while no process runs; then there is no pipe either.
    pipe : Connection or None
        Results come from it; anything sent into it asks the process to finish.
    worker : str
        Id of the process in the table Worker.
    started, not_before : float
        When the process was started, and before when no other may be; s, monotonic clock.
    wait : float
        Pause before the next restart if the process crashes early, s.
    """

    number: int
    process: Any = None
    pipe: Any = None
    worker: str = ""
    started: float = 0.0
    not_before: float = 0.0
    wait: float = FIRST_WAIT


@dataclass
class Supervisor:
    """Starts slots, watches over them and stops them.

    Attributes
    ----------
    n_slots : int
    tables : tuple of str
        Names of tables to populate; empty for all.
    until_done : bool
        Return when no job is pending or running, those of other workers included.
    max_time : float
        Start no job after this many seconds.
    say : callable
        Called with each message about a failed job or a slot that died.
    made, failed : Counter
        Jobs by name of the table.
    signal : int
        Signal that asked the supervisor to stop; 0 if none.
    finishing : bool
        No slot is started any more.
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
        """Run jobs until all are done, the time is over or a signal arrives; return the exit code."""
        chosen = [table_named(name) for name in self.tables] or auto_populated()
        # changes no row: a server that accepts no writes is an error here, and not in each slot again and again
        Lease.give_back("", "")
        for name in THREAD_VARIABLES:
            # before the fork server starts: libraries read it when they are loaded
            os.environ.setdefault(name, str(max(1, _cores() // self.n_slots)))
        # not fork: this process has threads and a database connection, which a forked child could not use safely
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["populate_scripts.forkserver"])
        self.slots = [Slot(number) for number in range(self.n_slots)]
        self.alive: set[str] = set()
        # a copy of the set: the main thread changes it while this thread reads
        self.heartbeat = Heartbeat(connect(), lambda cursor: Worker.beat(cursor, list(self.alive)), heartbeat())
        self.scheduler = Scheduler(chosen, self.say)
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as after nohup
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
        """Handle a signal: ``_watch`` sees it within 0.1 s and ends the slots."""
        self.signal = number

    def _watch(self) -> None:
        """Start slots, receive their results and replace dead ones until there is a reason to stop."""
        begin = time.monotonic()
        while True:
            self._start_slots()
            # at most 0.1 s: signals, heartbeats and the scheduler are looked at as often
            wait([source for slot in self.slots if slot.process for source in (slot.process.sentinel, slot.pipe)], 0.1)
            for slot in self.slots:
                self._receive(slot)
            self._check_heartbeat()
            if self.signal or self.scheduler.failure:
                self._end_slots()
                return
            if time.monotonic() - begin > self.max_time or (self.until_done and self.scheduler.done):
                self._let_slots_finish()
            if self.finishing and not self.alive:
                return

    def _start_slots(self) -> None:
        """Start a process in each empty slot, unless this worker is finishing or the database does not answer."""
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
                theirs.close()  # the child has its own copy; while ours is open, its death would not end the pipe
                self.alive.add(slot.worker)

    def _receive(self, slot: Slot) -> None:
        """Count and report the results that a slot has sent, and note if its process has ended."""
        if not slot.process:
            return
        # asked before the pipe is emptied: a process that ends in between has its last message read in the next pass
        code = slot.process.exitcode
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
            pass  # the process has ended, maybe killed in the middle of a message
        if code is not None:
            self._ended(slot, EndReason.KILLED if code else EndReason.FINISHED)

    def _ended(self, slot: Slot, reason: EndReason) -> None:
        """Release what an ended process had reserved, and empty its slot."""
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
        """Kill slots that other workers have declared dead, or may soon."""
        is_silent = self._is_silent()
        if is_silent and self.alive:
            self.say(
                f"the database has not answered for {uptime() - self.heartbeat.last:.0f} s: "
                f"running jobs are stopped and will be run again"
            )
        for slot in self.slots:
            if slot.process and (is_silent or slot.worker in self.heartbeat.lost):
                self._kill(slot)
                # a pause, as the reason may still be there
                slot.not_before = time.monotonic() + 1.0

    def _is_silent(self) -> bool:
        """Return whether the last heartbeat is so old that other workers may soon declare the slots dead."""
        return uptime() - self.heartbeat.last > MAX_SILENCE * MAX_MISSED_HEARTBEATS * heartbeat()

    def _kill(self, slot: Slot) -> None:
        if slot.process:
            # SIGKILL: a slot in compiled code, or waiting for the server, would not see SIGTERM in time
            slot.process.kill()
            slot.process.join()
            self._ended(slot, EndReason.STOPPED)

    def _end_slots(self) -> None:
        """Ask all slots to stop now, and wait; the jobs that they were running are pending again."""
        self.finishing = True
        for slot in self.slots:
            if slot.process:
                slot.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while self.alive and time.monotonic() < deadline:
            wait([slot.process.sentinel for slot in self.slots if slot.process], 0.1)
            for slot in self.slots:
                if slot.process and slot.process.exitcode is not None:
                    self._ended(slot, EndReason.STOPPED)

    def _let_slots_finish(self) -> None:
        """Ask the slots to exit after the jobs that they are running."""
        if not self.finishing:
            self.finishing = True
            for slot in self.slots:
                if slot.process:
                    with suppress(OSError):  # the process has just ended
                        slot.pipe.send("finish")


class Scheduler(threading.Thread):
    """Thread that adds new jobs and releases those that dead workers had reserved.

    Every supervisor has one; a lease in the database lets one of them work at a time.

    Attributes
    ----------
    done : bool
        Last time, no job was pending or running anywhere, and there was none to add.
    failure : Exception or None
        The error that ended this thread, which the supervisor raises.
    """

    def __init__(self, tables: list[type[dj.Table]], say: Callable[[str], None]) -> None:
        # the name is the holder of the lease
        super().__init__(daemon=True, name=new_worker())
        self.tables, self.say = tables, say
        self.connection = connect()
        self.ended: queue.SimpleQueue[tuple[str, EndReason, str]] = queue.SimpleQueue()
        self.done, self.cleaned = False, time.monotonic()
        self.put_off: list[str] = []
        self.failure: Exception | None = None
        self.woken, self.stopped = threading.Event(), threading.Event()

    def end_worker(self, worker: str, reason: EndReason, who: str) -> None:
        """Make the jobs that a worker had reserved pending again, soon: see ``dead_workers.end_worker``."""
        self.ended.put((worker, reason, who))
        self.woken.set()

    def run(self) -> None:
        """Schedule until ``stop``, at shorter intervals while there are jobs."""
        pause = MIN_PAUSE
        while not self.stopped.is_set():
            begin = time.monotonic()
            try:
                self._end_workers()
                pause = MIN_PAUSE if self._schedule() else min(MAX_PAUSE, 1.5 * pause)
            except Exception as error:
                if not is_passing(error):
                    self.failure = error
                    return
                self._reconnect()
            busy = time.monotonic() - begin  # long, too, if the server did not answer
            self.woken.wait(max(pause, min(MAX_PAUSE, busy * (1 / MAX_BUSY - 1))))
            self.woken.clear()

    def stop(self) -> None:
        """End the thread, after it has recorded the end of all slots in the database."""
        self.stopped.set()
        self.woken.set()
        self.join(1.0)
        if not self.is_alive() and not self.failure:
            try:
                self._end_workers()
            except Exception as error:  # the next worker or `meso populate` will do it
                self.say(f"the slots' jobs stay reserved until another worker releases them ({error})")

    def _end_workers(self) -> None:
        while not self.ended.empty():
            worker = self.ended.get()
            try:
                self._say_all(end_worker(*worker))
            except Exception:
                self.ended.put(worker)  # for the next try
                raise

    def _schedule(self) -> bool:
        """Release dead workers' jobs and add new ones; return whether any job is pending, running or new.

        True as well if another process holds the lease: this one then does not know.
        """
        with Lease.hold("schedule", self.name, MAX_MISSED_HEARTBEATS * heartbeat()) as is_ours:
            if not is_ours:
                return True
            self._say_all(release_dead_jobs())
            names = {table.__name__ for table in self.tables}
            # Before jobs are added: one that ends in between is counted here, and what its rows make possible is added
            # below. In the other order both could be missed, and `--until-done` would end too early.
            n_left = sum(
                n for (name, status), n in reports.jobs_by_status().items()
                if name in names and status in (JobStatus.PENDING, JobStatus.RESERVED)
            )  # fmt: skip
            n_added = sum(Queue(table).add() for table in with_new_jobs(self.tables))
            self._say_put_off()
            self._clean()
        self.done = not n_left and not n_added
        return not self.done

    def _say_put_off(self) -> None:
        """Say which jobs are not due, once: nothing else would tell a worker that waits from one that hangs."""
        found = [str(jobs) for jobs in put_off(self.tables)]
        self._say_all([text for text in found if text not in self.put_off])
        self.put_off = found

    def _clean(self) -> None:
        """Remove jobs whose inputs were deleted, once in CLEAN_SECONDS."""
        if time.monotonic() - self.cleaned > CLEAN_SECONDS:
            self.cleaned = time.monotonic()
            for table in self.tables:
                jobs_of(table).refresh()

    def _reconnect(self) -> None:
        try:
            reconnect(self.connection)
        except Exception:  # the next turn tries again
            time.sleep(MIN_PAUSE)

    def _say_all(self, messages: list[str]) -> None:
        for message in messages:
            self.say(message)


def work(worker: str, number: int, names: tuple[str, ...], pipe: Connection) -> None:
    """Run jobs until the supervisor sends anything or dies; the main function of a slot's process.

    Parameters
    ----------
    worker : str
        Id in the table Worker.
    number : int
        Number of the slot.
    names : tuple of str
        Names of tables to populate; empty for all.
    pipe : Connection
        (table, key, outcome) of each job is sent into it; anything received from it means: finish.
    """
    die_with_parent()
    if pipe.poll():  # closed: the supervisor died before die_with_parent took effect in the fork server
        return
    # a terminal sends these to all of its processes, at Ctrl-C or when it is closed; the supervisor handles them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_slot)
    schemas.activate()
    tables = [table_named(name) for name in names] or auto_populated()
    with JobRunner(worker, number, MAX_MISSED_HEARTBEATS * heartbeat()) as runner:
        persist(runner.connection, runner.begin)
        while not pipe.poll():
            jobs = persist(runner.connection, lambda: most_urgent(tables))
            if not jobs:
                pipe.poll(POLL_SECONDS * random.uniform(0.5, 1.5))  # random: slots must not all ask at the same moment
            begin = time.monotonic()
            for table, key in jobs:
                pipe.send((table.__name__, key, runner.run(table, key)))
                if pipe.poll() or time.monotonic() - begin > 1:  # more urgent jobs may have been added
                    break


def _stop_slot(*_: Any) -> None:
    """Exit; further signals are ignored, as they would interrupt giving back the job."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux only).

    The parent of a slot is the fork server, whose parent is the supervisor.
    """
    if sys.platform == "linux":
        # CDLL(None) is the process itself, which has libc loaded
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _cores() -> int:
    """Return the cores that this process may use; under SLURM and in containers not all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _text(key: dict) -> str:
    return " ".join(f"{name}={value}" for name, value in key.items())


def seconds(text: str) -> float:
    """Return a duration such as '90', '90s', '30m', '12h' or '2d' in seconds.

    Raises
    ------
    ConfigError
        The text is not a duration.
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        return float(number) * units[unit]
    except ValueError:
        raise ConfigError(f"invalid duration {text!r}: use seconds, 30m, 12h or 2d") from None
