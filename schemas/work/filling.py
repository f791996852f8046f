"""Populating the tables in this process, in the order of their dependencies."""

from __future__ import annotations

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
from schemas.work.jobs import JobRunner
from schemas.work.reports import errors
from schemas.work.states import Status

#: Tables that are read from a session's files, and those of them that are needed for activity.
SESSION_TABLES = (Behavior, Wheel, FOV, Recording, ROI, Activity)
IMAGING_TABLES = (FOV, Recording, ROI, Activity)


@dataclass
class Filled:
    """The result of ``fill``.

    Attributes
    ----------
    made : dict of str to int
        Number of jobs done, by table.
    errors : list of (str, dict, str)
        Table, key and message of each job that failed in this call.
    """

    made: dict[str, int] = field(default_factory=dict)
    errors: list[tuple[str, dict, str]] = field(default_factory=list)


def fill(tables: Iterable[type[dj.Table]] | None = None, *restrictions: Any, progress: bool = False) -> Filled:
    """Populate tables in the order of their dependencies; a failed job does not stop the others.

    Failed jobs stay in the job tables, are listed by ``errors``, and are not tried again until ``retry``. Ctrl-C stops
    at once; the running job is pending again.

    Parameters
    ----------
    tables : iterable of table classes, optional
        All populated tables by default.
    *restrictions
        DataJoint restrictions on the keys to populate.
    progress : bool
        Show a progress bar for each table with pending jobs.

    Raises
    ------
    ConfigError
        A restriction has a name that is not a key attribute of one of the tables.
    """
    wanted = set(tables) if tables is not None else set(auto_populated())
    for table in wanted:
        for restriction in restrictions:
            # DataJoint ignores unknown names: a typo would populate everything
            checked(restriction, jobs_of(table).proj())
    report = Filled()
    with JobRunner() as runner:
        for table in auto_populated():
            if table in wanted:
                report.made[table.__name__] = 0
                for key, (status, message) in runner.run_all(table, *restrictions, progress=progress):
                    report.made[table.__name__] += status == Status.DONE
                    if status == Status.FAILED:
                        report.errors.append((table.__name__, key, message))
    return report


def fill_session(eid: str, *, behavior: bool = True, progress: bool = False) -> Filled:
    """Register a session unless it is registered, and populate the tables that are read from its files.

    Parameters
    ----------
    eid : str
    behavior : bool
        Populate Behavior and Wheel too.
    progress : bool

    Raises
    ------
    DataError
        The session is not registered and ONE does not know it, or none of its FOVs can be read.
    """
    eid = str(eid)
    if not (Session & {"eid": eid}):
        _register(eid)
    filled = Filled()
    # usually everything is in the database: one query instead of one for each table
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
            do=f"'meso sessions' lists registered sessions. To register it from ONE: {error}",
        ) from error


def _first_reason(eid: str) -> str:
    messages = [row["message"] for row in errors(IMAGING_TABLES, {"eid": eid})]
    return f"The first reason: {messages[0]}" if messages else f"{len(FOVFolder & {'eid': eid})} FOVs are listed"
