"""Making entries one at a time, so that whoever dies, stalls or is stopped on the way loses nothing.

DataJoint's job tables say what is to be made and by whom, and DataJoint's ``_populate1`` makes it. What that leaves
open is closed here: a reservation carries the id of its worker, is given up in the transaction that inserts the rows (a
row is there if and only if its job is done), and is pending again when its worker was stopped, died or lost its
connection.
"""

from __future__ import annotations

import inspect
import logging
import os
import platform
import random
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import datajoint as dj

from schemas.provenance import environment_row
from schemas.rows import log_level
from schemas.server.connection import connect
from schemas.server.reconnection import bound, is_lost, is_passing, persist, reconnect
from schemas.server.settings import heartbeat
from schemas.work.heartbeat import Heartbeat, new_worker
from schemas.work.queue import Queue, Robbed
from schemas.work.tables import NOTEBOOK_MISSED, Attempt, Worker

#: A connection that was lost so often while an entry was made is the entry's fault: a packet too large, for example.
LOST = 10


#: Seconds until an entry is tried again after a lost connection, a deadlock or a full disk: doubled each time.
FIRST_DELAY, LONGEST_DELAY = 0.25, 20.0


#: A notebook waits for a server that has gone as many seconds; a worker until its supervisor ends it.
PATIENCE = 60.0


class Outcome(NamedTuple):
    """What became of an entry: 'made', 'skipped' (somebody else has it), 'failed', or 'again' (pending once more)."""

    what: str
    message: str = ""


class Maker:
    """A worker: it makes entries in this process, one at a time.

    Parameters
    ----------
    worker : str, optional
        Its id, if somebody else beats for it; by default it beats itself from its first entry on.
    slot : int
        Number within its ``meso worker``.
    dead_after : float
        Seconds without a heartbeat; by default those of a notebook.
    """

    def __init__(self, worker: str = "", slot: int = -1, dead_after: float = 0.0) -> None:
        self.beats_itself, self.worker = not worker, worker or new_worker()
        self.slot, self.dead_after = slot, dead_after or NOTEBOOK_MISSED * heartbeat()
        self.connection = connect()
        self.heartbeat: Heartbeat | None = None
        self.has_begun, self.n_passing = False, 0

    def begin(self) -> None:
        """Say that this worker lives; the first entry does, otherwise."""
        Worker.begin(self.worker, self.slot, self.dead_after)
        self.has_begun = True
        if self.beats_itself:
            self.heartbeat = Heartbeat(self.connection, lambda: [self.worker])
            self.heartbeat.start()

    def __enter__(self) -> Maker:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.heartbeat:
            self.heartbeat.stop()
        if self.has_begun:
            with suppress(Exception):  # whoever comes next sees that it is silent
                Worker.end(self.worker, "stopped" if kind else "finished")

    def make(self, table: type[dj.Table], key: dict) -> Outcome:
        """Reserve an entry and make it.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            Whoever stopped it; the entry is pending again.
        """
        if not self.has_begun:
            self.begin()
        queue = Queue(table, self.worker)
        try:
            with log_level(logging.CRITICAL):  # DataJoint logs what we say, or keep in the job table
                done = _finishing(table(), queue)._populate1(
                    dict(key), jobs=queue, suppress_errors=True, return_exception_objects=True
                )
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            done = key, error
        if isinstance(done, tuple):
            return self._after(queue, key, done[1])
        self.n_passing = 0
        return Outcome("made" if done else "skipped")

    def _after(self, queue: Queue, key: dict, error: BaseException) -> Outcome:
        """Decide what becomes of an entry that was not made."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            with suppress(Exception):  # the server is away: whoever comes next frees the entry
                reconnect(self.connection)  # the signal may have come in the middle of an answer
                queue.release(key)
            raise error
        if isinstance(error, Robbed):
            return Outcome("skipped", str(error))
        return persist(
            self.connection, lambda: self._note(queue, key, error), PATIENCE if self.beats_itself else float("inf")
        )

    def _note(self, queue: Queue, key: dict, error: BaseException) -> Outcome:
        message = self._without_password(f"{type(error).__name__}: {error}")
        with self.connection.transaction:
            if queue.hold(key):
                return self._give_up(queue, key, error, message)
        if not is_passing(error):  # it failed before the job was ours
            raise error
        if queue.table & key:  # the commit arrived, only its answer was lost; or it was somebody else's
            return Outcome("made" if queue.has_reserved else "skipped")
        return Outcome("again", message)

    def _give_up(self, queue: Queue, key: dict, error: BaseException, message: str) -> Outcome:
        """Let a job that is ours be pending again, or an error."""
        if is_passing(error):
            n_lost = Attempt.count(queue.table.__name__, key, "n_lost") if is_lost(error) else 0
            if n_lost < LOST:
                delay = min(LONGEST_DELAY, FIRST_DELAY * 2**self.n_passing) * random.uniform(0.5, 1)
                self.n_passing += 1
                queue.release(key, delay, message)
                return Outcome("again", message)
            message = f"the connection was lost {n_lost} times while this was made. {message}"
        stack = self._without_password("".join(traceback.format_exception(error)))
        queue.fail(key, message, f"{stack}\n{_here()}")
        return Outcome("failed", message)

    def _without_password(self, text: str) -> str:
        password = self.connection.conn_info["passwd"]
        return text.replace(password, "***") if password and len(password) > 3 else text


def _here() -> str:
    """Return host, process and versions, for whoever reads the stack of an error."""
    row = environment_row()
    packages = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
    return f"{platform.node()}, process {os.getpid()}; Python {row['python_version']}, {packages} {row['git_commit']}"


def _finishing(target: dj.Table, queue: Queue) -> dj.Table:
    """Return a table whose ``make`` gives up the reservation at its end, in the transaction of its rows."""
    make, connection = target.make, queue.connection

    if inspect.isgeneratorfunction(make):

        def stepwise(key: dict) -> Iterator[Any]:
            steps = make(key)
            with bound(connection):
                fetched = next(steps)
            computed = yield fetched
            if computed is None:
                computed = yield next(steps)
            with bound(connection):
                steps.send(computed)
                queue.finish(key)
            yield

        target.make = stepwise
    else:

        def at_once(key: dict) -> None:
            with bound(connection):
                make(key)
                queue.finish(key)

        target.make = at_once
    return target
