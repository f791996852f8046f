"""Filling the tables: ``populate()`` in the order of dependencies, and what became of it."""

from __future__ import annotations

import logging
import os
import platform
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj
import psutil

from pipeline.errors import ConfigError, DataError
from pipeline.reading import open_one
from schemas.database import auto_populated
from schemas.embedding import Embedding
from schemas.imaging import FOV, ROI, Activity, Recording
from schemas.rows import log_level
from schemas.session import Behavior, FOVFolder, Session, Wheel
from schemas.settings import one_cache_dir

SESSION_TABLES = (Behavior, Wheel, FOV, Recording, ROI, Activity)
IMAGING_TABLES = (FOV, Recording, ROI, Activity)


@dataclass
class Filled:
    """What a run of ``fill`` did.

    Attributes
    ----------
    made : dict of str to int
        Entries made by table.
    errors : list of (str, dict, str)
        Table, key and message of each entry that failed now.
    """

    made: dict[str, int] = field(default_factory=dict)
    errors: list[tuple[str, dict, str]] = field(default_factory=list)


def fill(tables: Iterable[type[dj.Table]] | None = None, *restrictions: Any, progress: bool = False) -> Filled:
    """Populate tables in the order of their dependencies; an entry that fails does not stop the rest.

    Failures stay in the job tables, where ``errors`` finds them, until ``retry``.

    Parameters
    ----------
    tables : iterable of table classes, optional
        All by default.
    *restrictions
        DataJoint restrictions on the entries to make.
    progress : bool
        A bar for each table with work to do.
    """
    wanted = set(tables) if tables is not None else set(auto_populated())
    report = Filled()
    for table in auto_populated():
        if table in wanted:
            free_dead(table)
            result = _populate(table, restrictions, progress)
            report.made[table.__name__] = result["success_count"]
            report.errors += [(table.__name__, key, message) for key, message in result["error_list"]]
    return report


def free_dead(table: type[dj.Table]) -> None:
    """Free the entries that a process of this machine had reserved when it was killed."""
    for job in (table.jobs.reserved & {"host": platform.node()}).to_dicts():
        if not psutil.pid_exists(job["pid"]):
            (table.jobs & {name: job[name] for name in table.jobs.primary_key}).delete_quick()


def _populate(table: type[dj.Table], restrictions: tuple, progress: bool) -> dict:
    """Populate a table; Ctrl-C and SIGTERM stop it at once, and what it was making is free again."""

    def interrupt(signum: int, frame: Any) -> None:
        raise SystemExit("interrupted")  # DataJoint would note a KeyboardInterrupt as a failure and go on

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with log_level(logging.CRITICAL):  # failures are in the job tables
            return table().populate(*restrictions, reserve_jobs=True, suppress_errors=True, display_progress=progress)
    except SystemExit as stop:
        mine = table.jobs & {"host": platform.node(), "pid": os.getpid()}
        for job in mine.to_dicts():
            if job["status"] == "reserved" or str(job["error_message"]).startswith("SystemExit"):
                (table.jobs & {name: job[name] for name in table.jobs.primary_key}).delete_quick()
        if stop.code == "interrupted":
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def fill_session(eid: str, *, behavior: bool = True, progress: bool = False) -> Filled:
    """Register a session unless it is, and fill what can be read of it.

    Raises
    ------
    DataError
        ONE does not know the session, or none of its FOVs can be read.
    """
    eid = str(eid)
    if not (Session & {"eid": eid}):
        _register(eid)
    filled = Filled()
    # most calls for imaging find it all there
    if behavior or (FOVFolder.proj() & {"eid": eid}) - Activity.proj():
        filled = fill(SESSION_TABLES if behavior else IMAGING_TABLES, {"eid": eid}, progress=progress)
    if not (Activity & {"eid": eid}):
        raise DataError("no FOV of the session can be used", eid=eid, do=_first_reason(eid))
    return filled


def _register(eid: str) -> None:
    try:
        Session.register(open_one(one_cache_dir()), eid, one_cache_dir())
    except ConfigError as error:
        raise DataError("the session is not registered", eid=eid, do=f"To find it in ONE: {error}") from error


def _first_reason(eid: str) -> str:
    messages = [row["message"] for row in errors(IMAGING_TABLES) if row["key"].get("eid") == eid]
    return f"The first reason: {messages[0]}" if messages else f"{len(FOVFolder & {'eid': eid})} FOVs are listed"


def errors(tables: Sequence[type[dj.Table]] | None = None) -> list[dict]:
    """Return every failure in the job tables: table, key, message, host, time."""
    return [
        {
            "table": table.__name__,
            "key": {name: row[name] for name in table.jobs.primary_key},
            "message": row["error_message"],
            "host": row["host"],
            "time": row["completed_time"],
        }
        for table in tables or auto_populated()
        for row in table.jobs.errors.proj("error_message", "host", "completed_time").to_dicts()
    ]


def retry(tables: Sequence[type[dj.Table]] | None = None, **key: Any) -> int:
    """Forget failures, so that they are tried again; return how many.

    Raises
    ------
    ConfigError
        A name in ``key`` is no key of any of the tables.
    """
    tables = list(tables or auto_populated())
    if key and not any(set(key) <= set(table.jobs.primary_key) for table in tables):
        raise ConfigError(f"{', '.join(key)}: no key of {', '.join(table.__name__ for table in tables)}")
    count = 0
    for table in tables:
        if set(key) <= set(table.jobs.primary_key):
            failed = table.jobs.errors & key
            count += len(failed)
            if table in IMAGING_TABLES and failed:
                # embeddings made without these FOVs are made anew
                (Embedding & [{"eid": row["eid"]} for row in failed.to_dicts()]).delete(prompt=False)
            failed.delete()
    return count


def status() -> list[dict]:
    """Return done, left to do, running and failed entries of every table."""
    rows = []
    for table in auto_populated():
        remaining, total = table().progress()
        jobs = table.jobs.progress()
        failed, running = jobs["error"], jobs["reserved"]
        rows.append({
            "table": table.__name__, "done": total - remaining, "to_do": max(remaining - failed - running, 0),
            "running": running, "errors": failed,
        })  # fmt: skip
    return rows


def table_named(name: str) -> type[dj.Table]:
    """Return the populated table of a name, in any case.

    Raises
    ------
    ConfigError
        There is none; the message lists those that are.
    """
    tables = {table.__name__.lower(): table for table in auto_populated()}
    if name.lower() not in tables:
        raise ConfigError(
            f"{name} is not a table that is populated; there are {', '.join(t.__name__ for t in tables.values())}"
        )
    return tables[name.lower()]
