"""Filling the tables: all that is missing, in the order of dependencies, here and now."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj

from pipeline.errors import ConfigError, DataError, NotFoundError
from pipeline.reading import open_one
from schemas.imaging.tables import FOV, ROI, Activity, Recording
from schemas.rows import checked, jobs_of
from schemas.server.binding import auto_populated
from schemas.server.settings import one_cache_dir
from schemas.session import Behavior, FOVFolder, Session, Wheel
from schemas.work.maker import Maker
from schemas.work.queue import Queue
from schemas.work.reaper import reap
from schemas.work.reports import errors

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

    Failures stay in the job tables, where ``errors`` finds them, until ``retry``. Ctrl-C stops at once, and what was
    being made is pending again.

    Parameters
    ----------
    tables : iterable of table classes, optional
        All by default.
    *restrictions
        DataJoint restrictions on the entries to make.
    progress : bool
        A bar for each table with work to do.

    Raises
    ------
    ConfigError
        A restriction has a name that is no key of one of the tables.
    """
    wanted = set(tables) if tables is not None else set(auto_populated())
    for table in wanted:
        for restriction in restrictions:
            checked(restriction, jobs_of(table).proj())
    report = Filled()
    reap()
    with Maker() as maker:
        for table in auto_populated():
            if table in wanted:
                _fill_table(maker, table, restrictions, report, progress)
    return report


def _fill_table(maker: Maker, table: type[dj.Table], restrictions: tuple, report: Filled, progress: bool) -> None:
    """Make what is missing in a table; what could not be made for the moment is tried again."""
    queue = Queue(table)
    report.made[table.__name__] = 0
    if not queue.lacks(*restrictions):
        return  # where all is there, an account that may only read can ask for it
    queue.add(*restrictions)
    if not restrictions:
        queue.jobs.refresh()  # takes away jobs of what has been deleted
    with _bar(queue, restrictions, progress) as bar:
        again = False
        while (keys := queue.due(*restrictions)) or (again and queue.waiting(*restrictions)):
            for key in keys:
                outcome = maker.make(table, key)
                report.made[table.__name__] += outcome.what == "made"
                if outcome.what == "failed":
                    report.errors.append((table.__name__, key, outcome.message))
                again |= outcome.what == "again"
                bar.update(outcome.what != "again")
            if not keys:
                time.sleep(0.2)


def _bar(queue: Queue, restrictions: tuple, progress: bool) -> Any:
    from tqdm import tqdm

    n = queue.waiting(*restrictions) if progress else 0
    return tqdm(total=n, desc=queue.table.__name__, disable=not n)


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
        raise NotFoundError(
            "the session is not registered",
            eid=eid,
            do=f"'meso sessions' lists those that are. To find it in ONE: {error}",
        ) from error


def _first_reason(eid: str) -> str:
    messages = [row["message"] for row in errors(IMAGING_TABLES, {"eid": eid})]
    return f"The first reason: {messages[0]}" if messages else f"{len(FOVFolder & {'eid': eid})} FOVs are listed"
