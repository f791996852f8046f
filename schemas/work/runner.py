"""The worker that runs jobs one after the other, and decides which errors are transient.

It takes each job through the steps of ``jobs``: reserve, populate, and release or fail after an error.
"""

from __future__ import annotations

import os
import platform
import random
import time
import traceback
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import datajoint as dj

from pipeline.reading import remote
from schemas.provenance import environment_row
from schemas.server.connection import connect
from schemas.server.reconnection import is_lost, is_passing, persist, reconnect
from schemas.server.settings import heartbeat
from schemas.work.dead_workers import release_dead_jobs
from schemas.work.heartbeat import Heartbeat
from schemas.work.interruption import not_swallowed
from schemas.work.jobs import (
    LONGEST_DELAY,
    LONGEST_PAUSE,
    Batch,
    Job,
    Queue,
    ReservationLost,
    Unfinished,
    alike,
)
from schemas.work.states import EndReason, Status
from schemas.work.tables import MAX_MISSED_IN_NOTEBOOK, Attempt, Worker

#: Seconds until a job is tried again after a first transient error, doubled after each up to LONGEST_DELAY.
FIRST_DELAY = 0.25
#: A job during which the connection was lost so often becomes an error: it may be the cause, e.g. a packet too large.
MAX_LOST_CONNECTIONS = 10
#: Seconds until a worker tries a job again for which a server of ONE was away; at most MAX_LOST_CONNECTIONS times.
AWAY_DELAY = 60.0
#: Seconds that a notebook waits for a lost server; a worker waits until its supervisor ends it.
NOTEBOOK_WAIT = 60.0


class Outcome(NamedTuple):
    """The outcome of running a job.

    Attributes
    ----------
    status : Status
    message : str
        Why the job is not done; '' if it is.
    """

    status: Status
    message: str = ""


class JobRunner:
    """A worker: it runs jobs in this process, one at a time.

    Parameters
    ----------
    worker : str, optional
        Its id, if another process sends its heartbeats; by default it sends them itself, from its first job on.
    slot : int
        Number within its ``meso worker``.
    dead_after : float
        Seconds without a heartbeat after which the worker counts as dead; by default those for a notebook.
    """

    def __init__(self, worker: str = "", slot: int = -1, dead_after: float = 0.0) -> None:
        self.has_own_heartbeat, self.worker = not worker, worker or new_worker()
        self.slot, self.dead_after = slot, dead_after or MAX_MISSED_IN_NOTEBOOK * heartbeat()
        self.connection = connect()
        self.heartbeat: Heartbeat | None = None
        self.has_begun, self.n_transient = False, 0
        self.unfinished: list[Unfinished] = []

    def __enter__(self) -> JobRunner:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.heartbeat:
            self.heartbeat.stop()
        if self.has_begun:
            with suppress(Exception):  # the server is lost: other workers will find this one silent
                Worker.end(self.worker, EndReason.STOPPED if kind else EndReason.FINISHED)

    def begin(self) -> None:
        """Insert the row of this worker and start its heartbeat, unless that is done; the first ``run`` does it too."""
        if self.has_begun:
            return
        Worker.begin(self.worker, self.slot, self.dead_after)
        self.has_begun = True
        if self.has_own_heartbeat:
            self.heartbeat = Heartbeat(self.connection, lambda cursor: Worker.beat(cursor, [self.worker]), heartbeat())
            self.heartbeat.start()

    def run_all(
        self, table: type[dj.Table], *restrictions: Any, progress: bool = False
    ) -> Iterator[tuple[dict, Outcome]]:
        """Run the jobs of a table, and yield the key and outcome of each run.

        Jobs that were postponed, here or by another process, are waited for. Those that are left are noted in
        ``unfinished``: run by other workers, or not due for longer than LONGEST_PAUSE.

        Parameters
        ----------
        table : table class
        *restrictions
            DataJoint restrictions on the keys.
        progress : bool
            Show a progress bar.
        """
        queue = Queue(table)
        if not queue.is_incomplete(*restrictions):
            return  # before any change below: a read-only account can call this if nothing is missing
        # without it a job that a killed notebook had reserved would wait for a `meso worker`, which may never come
        release_dead_jobs()
        queue.add(*restrictions)
        if not restrictions:
            queue.jobs.refresh()  # deletes the jobs of keys that do not exist any more
        with _bar(table, queue.n_pending(*restrictions) if progress else 0) as bar:
            while (wait := queue.seconds_until_due(*restrictions)) is not None and wait < LONGEST_PAUSE:
                for keys in alike(table, queue.due(*restrictions)):
                    for key, outcome in self.run_together(table, keys):
                        bar.update(outcome.status != Status.POSTPONED)
                        yield key, outcome
                time.sleep(min(max(wait, 0.0), 0.2))
        self.unfinished += queue.unfinished(*restrictions)

    def run_together(self, table: type[dj.Table], keys: Sequence[dict]) -> Iterator[tuple[dict, Outcome]]:
        """Reserve jobs and run them in one transaction (see ``Batch``); a single one, or if that fails, one by one.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            As ``run``.
        """
        batch = Batch(table, keys, self.worker)
        try:
            if len(keys) > 1:
                self.begin()
                with not_swallowed():
                    errors = batch.populate()
        except (KeyboardInterrupt, SystemExit):
            with suppress(Exception):
                reconnect(self.connection)
                batch.release()
            raise
        except (
            Exception
        ):  # of one of the jobs, or of the server: run one by one, each fails or is tried again by itself
            persist(self.connection, batch.release, self._patience)
            batch.reserved = []
        if not batch.reserved:
            # one key at a time, even of the keys just fetched: others may have reserved them since
            yield from ((key, self.run(table, key)) for key in keys)
            return
        for i, key in enumerate(batch.reserved):
            yield key, self._failed(table, key, errors[i]) if i in errors else Outcome(Status.DONE)

    def _failed(self, table: type[dj.Table], key: dict, error: Exception) -> Outcome:
        job = Job(table, key, self.worker)
        job.was_reserved = True
        return persist(self.connection, partial(self._give_back, job, error), self._patience)

    @property
    def _patience(self) -> float:
        """Seconds for which a lost server is waited for."""
        return NOTEBOOK_WAIT if self.has_own_heartbeat else float("inf")

    def run(self, table: type[dj.Table], key: dict) -> Outcome:
        """Reserve a job and run it.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            Ctrl-C, or a signal whose handler raises SystemExit; the job is pending again.
        """
        self.begin()
        job = Job(table, key, self.worker)
        try:
            with not_swallowed():
                is_done_here = job.populate()
        except (KeyboardInterrupt, SystemExit):
            with suppress(Exception):  # the server is lost: other workers will find this one dead
                reconnect(self.connection)  # after a signal in the middle of an answer the connection cannot be used
                job.release()
            raise
        except ReservationLost as lost:
            return Outcome(Status.SKIPPED, str(lost))
        except Exception as error:
            # a job that is not given back stays reserved until its worker ends, which for a notebook may be days
            return persist(self.connection, partial(self._give_back, job, error), self._patience)
        self.n_transient = 0
        return Outcome(Status.DONE if is_done_here else Status.SKIPPED)

    def _give_back(self, job: Job, error: Exception) -> Outcome:
        """Release or fail a job that raised an error; after a lost connection its rows may have been committed."""
        message = self._without_password(f"{type(error).__name__}: {error}")
        # one transaction: the row stays locked from the look at it to its change
        with self.connection.transaction:
            if job.hold():
                job.was_undone = True
                return self._postpone_or_fail(job, error, message)
        if not is_passing(error):
            if not job.was_reserved:
                raise error
            return Outcome(Status.SKIPPED, message)  # taken away: what it read was deleted meanwhile
        if job.has_rows():  # committed, only the answer was lost; or they are another worker's
            return Outcome(Status.DONE if job.was_reserved and not job.was_undone else Status.SKIPPED)
        return Outcome(Status.POSTPONED, message)

    def _postpone_or_fail(self, job: Job, error: Exception, message: str) -> Outcome:
        """Make a job of this worker pending again after a transient error, or give it the status error."""
        is_away = remote.is_away(error) and not self.has_own_heartbeat  # a notebook does not wait for minutes
        if is_passing(error) or is_away:
            n_lost = Attempt.record(job.table.__name__, job.key, "n_lost") if is_away or is_lost(error) else 0
            if n_lost < MAX_LOST_CONNECTIONS:
                delay = AWAY_DELAY if is_away else min(LONGEST_DELAY, FIRST_DELAY * 2**self.n_transient)
                # random: workers that met a deadlock must not all come back at the same moment
                job.release(delay * random.uniform(0.5, 1), message)
                self.n_transient += 1
                return Outcome(Status.POSTPONED, message)
            lost = "a server of ONE was away" if is_away else "the connection was lost"
            message = f"{lost} {n_lost} times while this job was running. {message}"
        if not job.is_possible():
            # an error would outlive its key, and be taken for one of the same session when it is registered again
            job.complete()
            return Outcome(Status.SKIPPED, f"what it needs was deleted meanwhile. {message}")
        stack = self._without_password("".join(traceback.format_exception(error)))
        job.fail(message, f"{stack}\n{_here()}")
        return Outcome(Status.FAILED, message)

    def _without_password(self, text: str) -> str:
        """Mask the password, which a client's traceback may contain; very short ones would mask ordinary text."""
        password = self.connection.conn_info["passwd"]
        return text.replace(password, "***") if password and len(password) > 3 else text


def new_worker() -> str:
    """Return a random id for a worker."""
    return uuid.uuid4().hex


def _bar(table: type[dj.Table], n: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=n, desc=table.__name__, disable=not n)


def _here() -> str:
    """Return host, process and software versions, to be appended to the stack of an error."""
    row = environment_row()
    packages = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
    return f"{platform.node()}, process {os.getpid()}; Python {row['python_version']}, {packages} {row['git_commit']}"
