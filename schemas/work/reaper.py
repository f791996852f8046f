"""Freeing what dead workers had reserved."""

from __future__ import annotations

from typing import Any

from schemas.server.binding import table_named
from schemas.server.connection import connect
from schemas.work.heartbeat import is_dead
from schemas.work.queue import Queue, reservations
from schemas.work.tables import POISON, Attempt, Worker


def reap() -> list[str]:
    """Free what dead workers had reserved; return what was found, as messages."""
    messages = [
        message
        for worker in Worker.living()
        if is_dead(worker)
        for message in bury(worker["worker"], "silent", f"process {worker['pid']} on {worker['host']}")
    ]
    for row in _reserved_by_ended():
        with connect().transaction:
            _free(row)
    return messages


def _reserved_by_ended() -> list[dict[str, Any]]:
    """Return what workers have reserved that have ended: it could not be freed, or was reserved too late.

    What a process has sent may arrive at the server after it died, after it was buried even.
    """
    reserved = reservations()
    workers = [{"worker": row["worker"]} for row in reserved if row["worker"]]
    ended = set((Worker & workers & "ended IS NOT NULL").to_arrays("worker")) if workers else set()
    return [row for row in reserved if row["worker"] in ended]


def bury(worker: str, reason: str, who: str) -> list[str]:
    """End a worker in its place, and let what it had reserved be pending again.

    Parameters
    ----------
    worker : str
    reason : str
        'stopped'; or 'killed' or 'silent', which count: an entry that so many workers died of is not tried again.
    who : str
        For messages.
    """
    with connect().transaction:
        is_death = Worker.end(worker, reason) and reason != "stopped"
        return [message for row in reservations(worker) for message in _free(row, who if is_death else "")]


def _free(row: dict[str, Any], dead: str = "") -> list[str]:
    """In a transaction, let what an ended worker has reserved be pending again; ``dead`` if its death is to count."""
    queue, key = Queue(table_named(row["table"]), row["worker"]), row["key"]
    if not queue.hold(key, wait=False):  # the server has not ended its transaction yet: the next turn sees
        return []
    n_deaths = Attempt.count(row["table"], key, "n_deaths") if dead else 0
    if n_deaths < POISON:
        queue.release(key)
        return [f"{dead} died while it made {row['table']} {key}"] if dead else []
    text = f"poison: {n_deaths} workers died while they made this, the last was {dead}"
    queue.fail(key, text, "No stack: the process was killed, for its memory or by a fault in compiled code")
    return [text]
