"""Open a ONE client, find sessions, and look up their subject, date and FOVs."""

from __future__ import annotations

import datetime
import os
import re
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, DataError, MesoError
from pipeline.folders import writable_home
from pipeline.reading.names import Place, session_name
from pipeline.reading.remote import ask, is_remote, limit_waiting, status_of
from pipeline.reading.tables import complete, readable

if TYPE_CHECKING:
    import pandas as pd

FOV_FOLDER = re.compile(r"^alf/FOV_(\d\d)$")
#: Folders that are meant as FOVs, by whatever name.
FOV_NAME = re.compile(r"^alf/fov[^/]*$", re.IGNORECASE)

#: How the names of files begin that are read.
READ = ("mpci", "_ibl_trials", "_ibl_wheel")

#: The largest number of a session that ONE's tables hold; a larger one would be another session's folder.
MAX_NUMBER = 65535
#: What to do about an id of which ONE knows nothing.
OWN_IDS = (
    "Register the session from the ONE cache whose tables have this id (--cache-dir, MESO_ONE_CACHE_DIR), and give "
    "sessions the ids that Alyx has, or UUIDs of version 3 or 4 that stay the same"
)
#: What to do about damaged or inconsistent tables.
REBUILD = "Write the tables of this ONE cache again"

#: Sessions of which the datasets are kept, by client.
MAX_KEPT = 8
#: See ``_in_tables``: the table of datasets of each client, and what ONE has found in it.
_kept: weakref.WeakKeyDictionary[Any, tuple[pd.DataFrame, dict[str, pd.DataFrame]]] = weakref.WeakKeyDictionary()


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
        The folder is missing, holds no tables or damaged ones, or ONE is not set up on this machine. (ONE itself would
        return empty searches, or prompt on standard input.)
    """
    if cache_dir is None:
        import one.params

        # a login rewrites these files: a new client takes its token
        parameters = [path.stat() for path in sorted(one.params.get_params_dir().glob("**/*")) if path.is_file()]
        return _open_one(None, tuple((file.st_mtime_ns, file.st_size) for file in parameters))
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
        ONE.cache_clear()
        limit_waiting()
        return ONE(silent=True)
    if not Path(cache_dir).is_dir():
        raise ConfigError(f"The ONE cache {cache_dir} is not a folder on this machine")
    readable(Path(cache_dir))
    with writable_home(".one"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No cache tables found")
        ONE.cache_clear()  # ONE caches its own clients by folder, with the old tables
        # local: the download folder of a database would give a client that asks the database, without its tables
        client = ONE(cache_dir=cache_dir, mode="local")
    if not len(client._cache.get("sessions", ())):
        raise ConfigError(
            f"The ONE cache {cache_dir} has no session tables. Build them once with "
            f"one.alf.cache.make_parquet_db, or give the folder that holds sessions.pqt"
        )
    complete(client._cache)
    return client


def find_sessions(one: Any, *, subject: str | None = None) -> list[str]:
    """Return the ids of all sessions with imaging, by subject, date and number.

    Among them are those with imaging in folders of other names only: registering these says so.

    A session that ONE cannot describe comes last: what is wrong is said where it is registered.

    Parameters
    ----------
    one : ONE client
    subject : str, optional
        Exact name.

    Raises
    ------
    ConfigError
        The database does not answer, or refuses the login.
    """
    found, odd = [], []
    for eid in imaged_ids(one, subject):
        try:
            info = session_info(one, eid)
            if fov_folders(one, eid) or unread_folders(one, eid) or unlisted_folders(one, eid):
                found.append(info)
        except ConfigError:
            raise
        except MesoError:
            odd.append(eid)
    return [info.eid for info in sorted(found, key=lambda i: (i.subject, i.session_date, i.session_number))] + odd


def imaged_ids(one: Any, subject: str | None = None, project: str | None = None) -> list[str]:
    """Return the ids of sessions that may have imaging; a request for each 250, if ONE asks a database.

    Parameters
    ----------
    one : ONE client
    subject : str, optional
        Exact name.
    project : str, optional
        The database gives sessions of projects whose names contain this one; the tables of a folder give all.
    """
    # most sessions of a database have no imaging; without this each would be asked for its collections
    asked = {"datasets": "mpci.times.npy"} if is_remote(one) else {}
    if project is not None and is_remote(one):
        asked["projects"] = project
    return _search(one, subject, **asked)


def identify(one: Any, named: str) -> str:
    """Return the id of the session of ONE that a user names; a text that names none is returned as it is.

    Parameters
    ----------
    one : ONE client
    named : str
        The id, ``subject/date/number``, or, where ONE reads the tables of a folder, the first characters of an id.

    Raises
    ------
    DataError
        ONE has no such session, or the characters are not those of one session.
    ConfigError
        The database does not answer, or refuses the login.
    """
    name = session_name(named)
    if name.place:
        found = _at(one, name.place)
    elif name.start:
        # Alyx cannot be asked for the start of an id
        found = [] if is_remote(one) else [eid for eid in _search(one) if eid.startswith(name.start)]
    else:
        return name.eid or named
    if len(found) != 1:
        raise DataError(
            f"{named} is not a session of this ONE client",
            expected="one session",
            found=", ".join(found) or "none",
            do=f"Give the whole id, or subject/date/number; this client reads {_source(one)}",
        )
    return found[0]


def _at(one: Any, place: Place) -> list[str]:
    """Return the ids of the sessions with this subject, date and number."""
    asked = {"date_range": [str(place.date)] * 2, "number": place.number} if is_remote(one) else {}
    infos = [session_info(one, eid) for eid in _search(one, subject=place.subject, **asked)]
    return [i.eid for i in infos if Place(i.subject, i.session_date, i.session_number) == place]


def _search(one: Any, subject: str | None = None, **asked: Any) -> list[str]:
    """Return the ids of the sessions of a subject, or of all; ``asked`` are further filters of Alyx.

    Not by ``one.search()``, which ends with an error if it cannot read one of the records.
    """
    if is_remote(one):
        query = asked | ({"subject": subject} if subject else {})
        records = ask(one, lambda: list(one.alyx.rest("sessions", "list", **query)))
        # Alyx takes the whole name as it is, but compares without case
        found = [record["id"] for record in records if subject in (None, record["subject"])]
    else:
        sessions = one._cache["sessions"]
        found = sessions.index[sessions["subject"] == subject] if subject else sessions.index
    return list(dict.fromkeys(map(str, found)))


def session_info(one: Any, eid: str) -> SessionInfo:
    """Return subject, lab, date and protocol of a session.

    Raises
    ------
    DataError
        The id is malformed, ONE has no session with it, or cannot read what is registered of it.
    ConfigError
        The database does not answer, or refuses the login.
    """
    details = _details(one, eid)
    try:
        info = _info(eid, details)
    except (KeyError, TypeError, ValueError) as error:  # no date, a number that is none
        raise _odd(eid, error) from error
    if info.session_number > MAX_NUMBER:
        expected, found = f"up to {MAX_NUMBER}", info.session_number
        raise DataError("ONE cannot hold the number of the session", eid=eid, expected=expected, found=found)
    return info


def _info(eid: str, details: Mapping[str, Any]) -> SessionInfo:
    projects, date = details.get("projects") or "", details.get("date") or details["start_time"]
    return SessionInfo(
        eid=str(eid),
        subject=str(details["subject"]),
        lab=str(details.get("lab") or ""),
        session_date=datetime.date.fromisoformat(str(date)[:10]),
        session_number=int(details.get("number") or 0),  # Alyx may have none
        task_protocol=str(details.get("task_protocol") or ""),
        projects=projects if isinstance(projects, str) else ", ".join(map(str, projects)),
    )


def _details(one: Any, eid: str) -> Mapping[str, Any]:
    """Return the record of a session from Alyx or the tables; a remote ONE then also has its datasets in its tables."""
    from one.alf.exceptions import ALFError, ALFMultipleObjectsFound

    missing = _missing(one, eid)
    try:
        if is_remote(one):
            # full: one request for the session and its datasets, and an error of its own for an unknown session
            details: Mapping[str, Any] = ask(one, lambda: one.get_details(eid, full=True))
        else:
            details = one.get_details(eid).to_dict()
    except ALFMultipleObjectsFound as error:
        raise DataError("ONE lists the session several times, differently", eid=eid, do=REBUILD) from error
    except ALFError as error:
        raise missing from error
    except ConfigError:
        raise
    except Exception as error:  # ONE fails in many ways on an odd record
        if status_of(error) == 404 or "Invalid experiment ID" in str(error) or "Cannot parse" in str(error):
            raise missing from error
        raise _odd(eid, error) from error
    if not details.get("subject"):
        raise missing
    return details


def _missing(one: Any, eid: str) -> DataError:
    return DataError(
        "not a session of this ONE client",
        eid=eid,
        do=f"Look it up with one.search(); this client reads {_source(one)}",
    )


def _odd(eid: str, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0]
    return DataError(
        f"ONE cannot read what is registered of the session ({type(error).__name__}: {reason})",
        eid=eid,
        do="Correct its record in Alyx, or write the tables of the ONE cache again",
    )


def _source(one: Any) -> str:
    return str(one.alyx.base_url if is_remote(one) else getattr(one, "cache_dir", "a folder"))


def datasets_of(one: Any, eid: str) -> pd.DataFrame:
    """Return the datasets that ONE lists for a session: a row each, with index (eid, id); empty if there are none.

    Raises
    ------
    DataError
        ONE cannot read what is registered, or its database has no session with this id.
    ConfigError
        The database does not answer, or refuses the login.
    """
    try:
        # within five minutes a remote ONE repeats the answer that it has
        return ask(one, lambda: _listed(one, eid)) if is_remote(one) else _in_tables(one, eid)
    except ConfigError:
        raise
    except Exception as error:  # as in _details
        raise (_missing(one, eid) if status_of(error) == 404 else _odd(eid, error)) from error


def _listed(one: Any, eid: str) -> pd.DataFrame:
    found: pd.DataFrame = one.list_datasets(eid, details=True, keep_eid_index=True)
    return found


def _in_tables(one: Any, eid: str) -> pd.DataFrame:
    """Return the datasets of a session in the tables of a folder, not to be changed: those asked for last are kept.

    ONE compares each path with patterns, 5 ms for a session, for which each table of each FOV asks.
    """
    table = one._cache["datasets"]
    if one not in _kept or _kept[one][0] is not table:
        _kept[one] = (table, {})
    found = _kept[one][1]
    datasets = found.get(eid)
    if datasets is None:
        datasets = _listed(one, eid)
        while len(found) >= MAX_KEPT:
            found.pop(next(iter(found)), None)
        found[eid] = datasets
    return datasets


def session_folder(one: Any, eid: str) -> Path:
    """Return the local folder of a session that ``session_info`` or ``datasets_of`` has found.

    Raises
    ------
    DataError
        ONE finds no folder: it does not know the session, or the id is none that it gives or takes.
    """
    folder = _folder(one, eid)
    if folder is None:
        raise DataError("ONE finds no folder of a session with this id", eid=eid, found=_source(one), do=OWN_IDS)
    return folder


def _folder(one: Any, eid: str) -> Path | None:
    try:
        found = one.eid2path(eid, **({"query_type": "local"} if is_remote(one) else {}))
    except ValueError:  # ONE takes ids as Alyx and make_parquet_db give them: UUIDs of versions 3 and 4
        found = None
    return None if found is None else Path(str(found))


def place_of(one: Any, eid: str) -> Place | None:
    """Return subject, date and number of a session by its folder; None if ONE does not know the session."""
    if is_remote(one):
        datasets_of(one, eid)  # so that the folder is known
    subject, date, number = ("", "", "", *(_folder(one, eid) or Path()).parts)[-3:]
    try:
        return Place(subject, datetime.date.fromisoformat(date), int(number))
    except ValueError:
        return None


def check_place(eid: str, found: Place | None, registered: Place) -> None:
    """Refuse the files of another session: a ONE cache whose tables were written again can give its id to another.

    A session that ONE does not know is left to what reads it.

    Raises
    ------
    DataError
        ONE has another session under the id.
    """
    if found not in (None, registered):
        raise DataError(
            "ONE has another session under this id", eid=eid, expected=f"{registered}, as registered",
            found=f"{found}",
            do="Give the sessions their ids back in ONE. If these ids are right: meso delete, then meso ingest",
        )  # fmt: skip


def fov_number(collection: str) -> int | None:
    """Return the number of a FOV from its ONE collection; None for a collection that is not a FOV."""
    match = FOV_FOLDER.match(collection)
    return int(match[1]) if match else None


def collections_in(datasets: pd.DataFrame) -> list[str]:
    """Return the collections of datasets, sorted: the folders within the session, without revisions."""
    folders = {PurePosixPath(path).parent for path in datasets["rel_path"]}
    return sorted({str(PurePosixPath(*(part for part in f.parts if not part.startswith("#")))) for f in folders})


def fov_folders(one: Any, eid: str) -> dict[int, str]:
    """Return {FOV number: ONE collection} in order of number; empty if the session has no imaging."""
    collections = collections_in(datasets_of(one, eid))
    found = {number: collection for collection in collections if (number := fov_number(collection)) is not None}
    return dict(sorted(found.items()))


def unread_folders(one: Any, eid: str) -> list[str]:
    """Return the collections with imaging that are not read, because their names are not ``alf/FOV_`` and two digits.

    These hold datasets of mpci objects, or are called FOV.
    """
    datasets = datasets_of(one, eid)
    with_imaging = datasets[[PurePosixPath(path).name.startswith("mpci") for path in datasets["rel_path"]]]
    called_fov = {name for name in collections_in(datasets) if FOV_NAME.match(name)}
    return sorted(name for name in {*collections_in(with_imaging), *called_fov} if fov_number(name) is None)


def unlisted_folders(one: Any, eid: str) -> list[str]:
    """Return the folders with imaging on this machine that are called FOV, and of which ONE lists nothing.

    ONE's tables have no files behind a symbolic link to a folder, and none that came after they were written.
    """
    listed, folder = set(collections_in(datasets_of(one, eid))), _folder(one, eid)
    folders = {f"alf/{path.name}": path for path in folder.glob("alf/*")} if folder else {}
    unlisted = {name: path for name, path in folders.items() if FOV_NAME.match(name) and name not in listed}
    return sorted(name for name, path in unlisted.items() if path.is_symlink() or any(path.rglob("mpci*")))


def unlisted_revisions(one: Any, eid: str) -> list[str]:
    """Return the revision folders on this machine with imaging, trials or wheel of which ONE does not list all.

    ONE's tables have none that came after they were written. Of a database there are none: what was withdrawn there may
    still be on this machine.
    """
    folder = None if is_remote(one) else _folder(one, eid)
    if folder is None:
        return []
    datasets = datasets_of(one, eid)
    listed, collections = {str(PurePosixPath(path)) for path in datasets["rel_path"]}, set(collections_in(datasets))
    files = [
        path.relative_to(folder)
        for pattern in ("alf/#*#", "alf/*/#*#") for revision in folder.glob(pattern)
        for name in READ for path in revision.glob(f"{name}*")
    ]  # fmt: skip
    unlisted = {file.parent for file in files if file.as_posix() not in listed}
    return sorted(revision.as_posix() for revision in unlisted if revision.parent.as_posix() in collections)
