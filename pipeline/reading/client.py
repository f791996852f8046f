"""Open a ONE client, find sessions, and look up their subject, date and FOVs."""

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
from pipeline.folders import writable_home

FOV_FOLDER = re.compile(r"^alf/FOV_(\d\d)$")


@dataclass(frozen=True)
class SessionInfo:
    """Subject, lab, date and protocol of a session, as registered in ONE."""

    eid: str
    subject: str
    lab: str
    session_date: datetime.date
    session_number: int
    task_protocol: str
    projects: str


def open_one(cache_dir: str | os.PathLike[str] | None = None) -> Any:
    """Return a ONE client; within a process, the same folder gives the same client.

    Parameters
    ----------
    cache_dir : path, optional
        Root of a ONE cache with its tables (``sessions.pqt``, ``datasets.pqt``). By default the client that
        ``ONE.setup()`` configured on this machine, which may download.

    Raises
    ------
    ConfigError
        The folder is missing or holds no tables, or ONE is not set up on this machine. (ONE itself would return
        empty searches, or prompt on standard input.)
    """
    if cache_dir is None:
        return _open_one(None, ())
    folder = Path(cache_dir).expanduser().resolve()
    tables = [path.stat() for path in sorted(folder.glob("*.pqt"))]
    # A client keeps the tables that it loaded. Their time and size are part of the key, so that rewritten tables
    # get a new client.
    return _open_one(str(folder), tuple((table.st_mtime_ns, table.st_size) for table in tables))


@lru_cache(maxsize=4)
def _open_one(cache_dir: str | None, tables: tuple[Any, ...]) -> Any:
    import one.params
    from one.api import ONE

    if cache_dir is None:
        with writable_home(".one"):
            is_set_up = bool(one.params.get_default_client())
        if not is_set_up:
            raise ConfigError(
                "ONE is not set up on this machine. Give a ONE cache with --cache-dir (or MESO_ONE_CACHE_DIR), "
                "or run once: from one.api import ONE; ONE.setup(base_url=..., username=...)"
            )
        return ONE(silent=True)
    if not Path(cache_dir).is_dir():
        raise ConfigError(f"The ONE cache {cache_dir} is not a folder on this machine")
    with writable_home(".one"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No cache tables found")
        ONE.cache_clear()  # ONE caches its own clients by folder, with the old tables
        client = ONE(cache_dir=cache_dir)
    if not len(client._cache.get("sessions", ())):
        raise ConfigError(
            f"The ONE cache {cache_dir} has no session tables. Build them once with "
            f"one.alf.cache.make_parquet_db, or give the folder that holds sessions.pqt"
        )
    return client


def find_sessions(one: Any, *, subject: str | None = None) -> list[str]:
    """Return the ids of all sessions with FOV folders, by subject, date and number.

    Parameters
    ----------
    one : ONE client
    subject : str, optional
        Exact subject name (ONE itself would match it as a regular expression).
    """
    query = {"subject": f"^{re.escape(subject)}$"} if subject else {}
    if not getattr(one, "offline", True):
        # most sessions of a remote database have no imaging; without this each would be asked for its collections
        query["datasets"] = "mpci.times.npy"
    found = [str(eid) for eid in one.search(**query)]
    infos = [session_info(one, eid) for eid in found if fov_folders(one, eid)]
    return [info.eid for info in sorted(infos, key=lambda i: (i.subject, i.session_date, i.session_number))]


def session_info(one: Any, eid: str) -> SessionInfo:
    """Return subject, lab, date and protocol of a session.

    Raises
    ------
    DataError
        The id is malformed, or ONE has no session with it.
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
    details = one.get_details(eid)  # a dict from a remote ONE, a pandas Series from cache tables
    return details if isinstance(details, dict) else details.to_dict()


def fov_number(collection: str) -> int | None:
    """Return the number of a FOV from its ONE collection; None for a collection that is not a FOV."""
    match = FOV_FOLDER.match(collection)
    return int(match[1]) if match else None


def fov_folders(one: Any, eid: str) -> dict[int, str]:
    """Return {FOV number: ONE collection} in order of number; empty if the session has no imaging."""
    collections = map(str, one.list_collections(eid))
    found = {number: collection for collection in collections if (number := fov_number(collection)) is not None}
    return dict(sorted(found.items()))
