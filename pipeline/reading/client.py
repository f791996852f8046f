"""The ONE client and what it says of sessions."""

from __future__ import annotations

import datetime
import os
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DataError

FOV_FOLDER = re.compile(r"^alf/FOV_(\d\d)$")


@dataclass(frozen=True)
class SessionInfo:
    """Who, when and where a session is, as ONE knows it."""

    eid: str
    subject: str
    lab: str
    session_date: datetime.date
    session_number: int
    task_protocol: str
    projects: str


def open_one(cache_dir: str | os.PathLike[str] | None = None) -> Any:
    """Return a ONE client; the same folder gives the same client within a process.

    Parameters
    ----------
    cache_dir : path, optional
        Root of a ONE cache with its tables (``sessions.pqt``, ``datasets.pqt``). Without it, the
        client that ``ONE.setup()`` configured on this machine, which may download.

    Raises
    ------
    ConfigError
        The folder is missing or holds no tables, or ONE was never set up here. (ONE itself would
        answer with empty searches, or wait for an answer on standard input.)
    """
    if cache_dir is None:
        return _open_one(None, ())
    folder = Path(cache_dir).expanduser().resolve()
    tables = [path.stat() for path in sorted(folder.glob("*.pqt"))]
    # a client keeps the tables that it read: tables written anew need a new client
    return _open_one(str(folder), tuple((table.st_mtime_ns, table.st_size) for table in tables))


@lru_cache(maxsize=4)
def _open_one(cache_dir: str | None, tables: tuple[Any, ...]) -> Any:
    import one.params
    from one.api import ONE

    if cache_dir is None:
        if not one.params.get_default_client():
            raise ConfigError(
                "ONE is not set up on this machine. Give a ONE cache with --cache-dir (or MESO_ONE_CACHE_DIR), "
                "or run once: from one.api import ONE; ONE.setup(base_url=..., username=...)"
            )
        return ONE(silent=True)
    if not Path(cache_dir).is_dir():
        raise ConfigError(f"The ONE cache {cache_dir} is not a folder on this machine")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No cache tables found")
        ONE.cache_clear()  # ONE remembers the last client too
        client = ONE(cache_dir=cache_dir)
    if not len(client._cache.get("sessions", ())):
        raise ConfigError(
            f"The ONE cache {cache_dir} has no session tables. Build them once with "
            f"one.alf.cache.make_parquet_db, or point at the folder that holds sessions.pqt"
        )
    return client


def find_sessions(one: Any, *, subject: str | None = None) -> list[str]:
    """Return the ids of all sessions with FOV folders, oldest first.

    Parameters
    ----------
    one : ONE client
    subject : str, optional
        Exact subject name (ONE itself would take it as a pattern).
    """
    query = {"subject": f"^{re.escape(subject)}$"} if subject else {}
    if not getattr(one, "offline", True):
        query["datasets"] = "mpci.times.npy"  # a remote database holds mostly sessions without imaging
    found = [str(eid) for eid in one.search(**query)]
    infos = [session_info(one, eid) for eid in found if fov_folders(one, eid)]
    return [info.eid for info in sorted(infos, key=lambda i: (i.subject, i.session_date, i.session_number))]


def session_info(one: Any, eid: str) -> SessionInfo:
    """Return what ONE knows of a session.

    Raises
    ------
    DataError
        The id is malformed, or no session of ONE has it.
    """
    from one.alf.exceptions import ALFError

    missing = DataError(
        "not a session of this ONE client",
        eid=eid,
        do=f"Look it up with one.search(); this client reads {getattr(one, 'cache_dir', 'a remote database')}",
    )
    try:
        ref = one.eid2ref(eid)
    except (ALFError, ValueError) as error:
        raise missing from error
    if not ref or not ref.get("subject"):
        raise missing
    details = _details(one, eid)
    projects = details.get("projects") or ""
    return SessionInfo(
        eid=str(eid),
        subject=ref["subject"],
        lab=str(details.get("lab") or ""),
        session_date=ref["date"],
        session_number=int(ref["sequence"]),
        task_protocol=str(details.get("task_protocol") or ""),
        projects=projects if isinstance(projects, str) else ", ".join(map(str, projects)),
    )


def _details(one: Any, eid: str) -> dict[str, Any]:
    details = one.get_details(eid)
    return details if isinstance(details, dict) else details.to_dict()


def fov_number(collection: str) -> int | None:
    """Return the number of a FOV from its ONE collection; None for a collection that is no FOV."""
    match = FOV_FOLDER.match(collection)
    return int(match[1]) if match else None


def fov_folders(one: Any, eid: str) -> dict[int, str]:
    """Return {number of the FOV: ONE collection}, by number; empty when the session has no imaging."""
    collections = map(str, one.list_collections(eid))
    found = {number: collection for collection in collections if (number := fov_number(collection)) is not None}
    return dict(sorted(found.items()))
