"""Populating the tables in this process, in the order of their dependencies."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import datajoint as dj
from datajoint.errors import IntegrityError

from pipeline.errors import ConfigError, DataError, NotFoundError
from pipeline.reading import identify, open_one
from pipeline.reading.names import session_name
from pipeline.settings.signals import SignalSettings
from schemas.imaging.signals import Signal, SignalParams, SignalTask
from schemas.imaging.tables import FOV, ROI, Activity, Recording
from schemas.queries.ids import find_sessions, similar
from schemas.rows import checked, jobs_of, not_empty
from schemas.server.binding import auto_populated
from schemas.server.settings import one_cache_dir
from schemas.session import Behavior, FOVFolder, Session, Wheel
from schemas.work.jobs import Unfinished
from schemas.work.reports import errors
from schemas.work.runner import JobRunner
from schemas.work.states import Status

#: Tables that are read from a session's files, and those of them that are needed for activity.
SESSION_TABLES = (Behavior, Wheel, FOV, Recording, ROI, Activity)
IMAGING_TABLES = (FOV, Recording, ROI, Activity)
#: A question is asked so often at most, while files of its sessions are read again meanwhile.
N_TRIES = 3

Answer = TypeVar("Answer")


@dataclass
class Filled:
    """The result of ``fill``.

    Attributes
    ----------
    made : dict of str to int
        Number of jobs done, by table.
    errors : list of (str, dict, str)
        Table, key and message of each job that failed in this call.
    unfinished : list of Unfinished
        Jobs that other workers are running, or that are not due yet.
    """

    made: dict[str, int] = field(default_factory=dict)
    errors: list[tuple[str, dict, str]] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what is lacking as lines of text: failed jobs, jobs of other workers, and jobs that are not due."""
        return [f"{table}: {message}" for table, _, message in self.errors] + [str(jobs) for jobs in self.unfinished]


def fill(tables: Iterable[type[dj.Table]] | None = None, *restrictions: Any, progress: bool = False) -> Filled:
    """Populate tables in the order of their dependencies; a failed job does not stop the others.

    Failed jobs stay in the job tables, are listed by ``errors``, and are not tried again until ``retry``. Jobs that
    were postponed after a transient error are waited for. Ctrl-C stops at once; the running job is pending again.

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

    Warns
    -----
    UserWarning
        A job is postponed: the connection was lost, there was a deadlock, or the disk is full.
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
                    if status == Status.POSTPONED:
                        warnings.warn(f"{table.__name__} {key}: {message} (tried again later)", stacklevel=2)
        report.unfinished = runner.unfinished
    return report


def ask_again(ask: Callable[[], tuple[Answer, bool]]) -> Answer:
    """Return the answer to a question about several sessions, asked until nothing lacks, ``N_TRIES`` times at most.

    While files of one of them are read again its rows are gone, with its jobs and the sets that it is a member of. So
    the whole question is asked anew, from the set of sessions on.

    Parameters
    ----------
    ask : callable
        Returns an answer, and whether results are lacking although no job has failed or is still to be done.

    Raises
    ------
    NotFoundError
        As ``ask`` at the last try.
    DataError
        At the last try rows were deleted to which ``ask`` inserted others.
    """
    for n_left in reversed(range(N_TRIES)):
        try:
            answer, is_lacking = ask()
        except NotFoundError:
            if not n_left:
                raise
        except IntegrityError as error:
            if not n_left:
                raise DataError(
                    "the sessions were deleted, or their files read again, while this was computed",
                    do="Ask again when meso update has ended",
                ) from error
        else:
            if not is_lacking:
                break
    return answer


def fill_session(eid: str, *, behavior: bool = True, progress: bool = False) -> Filled:
    """Populate the tables that are read from the files of a session.

    Parameters
    ----------
    eid : str
        Of a registered session: see ``registered``.
    behavior : bool
        Populate Behavior and Wheel too.
    progress : bool

    Raises
    ------
    DataError
        None of its FOVs can be read.
    NotFoundError
        A FOV is being read by another worker, or its job is put off.
    """
    filled, key = Filled(), {"eid": eid}
    # usually everything is in the database: one query instead of several for each table
    missing, there = unread_fovs(eid), Activity.proj() & key
    if not behavior and not_empty([missing, there]) == [1]:
        return filled
    if behavior or missing:
        filled = fill(SESSION_TABLES if behavior else IMAGING_TABLES, {"eid": eid}, progress=progress)
    imaging = [str(jobs) for jobs in filled.unfinished if jobs.table in {table.__name__ for table in IMAGING_TABLES}]
    if imaging:
        raise NotFoundError(
            "the session is not completely read yet", eid=eid, found="; ".join(imaging), do="Try again later"
        )
    if not (Activity & {"eid": eid}):
        raise DataError("no FOV of the session can be used", eid=eid, do=_first_reason(eid))
    return filled


def unread_fovs(eid: str) -> dj.QueryExpression:
    """Return the FOVs of a session that ONE lists, and that have no activity in the database."""
    return (FOVFolder.proj() & {"eid": eid}) - Activity.proj()


def fill_signal(eid: str, signal: SignalSettings) -> Filled:
    """Request a signal of a session that has been read, and compute it unless it is there."""
    SignalTask.ask([eid], [signal])
    return fill([Signal], {"eid": eid, **SignalParams.key_of(signal)})


def fill_sessions(eids: Sequence[str], *, progress: bool = False) -> dict[str, str]:
    """Populate the tables that are read from the files of several sessions; return messages about unusable ones by eid.

    The same as ``fill_session`` for each, with as many statements for many sessions that are read as for one.

    Parameters
    ----------
    eids : sequence of str
        Of registered sessions.
    progress : bool
    """
    if not eids:
        return {}
    keys = [{"eid": eid} for eid in eids]
    fill(SESSION_TABLES, keys, progress=progress)
    unusable = {}
    for eid in not_read(eids):
        try:
            fill_session(eid, behavior=False)
        except DataError as error:
            unusable[eid] = str(error)
    return unusable


def not_read(eids: Sequence[str]) -> list[str]:
    """Return those of the sessions of which no FOV has been read, or not every FOV that ONE lists; two statements."""
    keys = [{"eid": eid} for eid in eids]
    read = {str(eid) for eid in (dj.U("eid") & (Activity & keys)).to_arrays("eid")}
    read -= {str(eid) for eid in (dj.U("eid") & ((FOVFolder.proj() & keys) - Activity.proj())).to_arrays("eid")}
    return [eid for eid in eids if eid not in read]


def registered_of(named: Sequence[str]) -> dict[str, str]:
    """Return by text the ids of those of several texts that are whole ids of registered sessions; one statement.

    ``registered`` finds or registers the others, one by one.
    """
    whole = [str(text) for text in named if session_name(str(text)).eid]
    return {text: eid for text, eid in find_sessions(whole).items() if eid} if whole else {}


def registered(named: str) -> str:
    """Return the id of the session that a text names, and register it from ONE unless it is registered.

    Parameters
    ----------
    named : str
        Its id, 8 or more of its first characters, or ``subject/date/number``: see ``schemas.queries.ids``.

    Raises
    ------
    DataError
        It is not registered and ONE does not know it.
    """
    named = str(named)
    if (found := find_sessions([named])[named]) is not None:
        return found
    try:
        one = open_one(one_cache_dir())
        eid = identify(one, named)
        Session.register(one, eid, one_cache_dir())
    except ConfigError as error:
        reason = str(error).partition(". ")[0]  # how ONE is set up is no answer to a wrong id
        raise NotFoundError(
            "the session is not registered",
            eid=named,
            do=f"{''.join(similar([named]))}'meso sessions' lists registered sessions; to register one from ONE: meso "
            f"ingest (ONE cannot be asked for it now: {reason})",
        ) from error
    except DataError as error:  # ONE does not have it either
        error.do = "".join(similar([named])) + (error.do or "")
        raise
    return eid


def _first_reason(eid: str) -> str:
    messages = [row["message"] for row in errors(IMAGING_TABLES, {"eid": eid})]
    return f"The first reason: {messages[0]}" if messages else f"{len(FOVFolder & {'eid': eid})} FOVs are listed"
