"""Subjects, sessions and behaviour."""

from __future__ import annotations

import datetime
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

import datajoint as dj
import numpy as np

from pipeline import reading
from pipeline.errors import ConfigError, DataError
from pipeline.reading.behavior import TRIAL_ATTRIBUTES, TRIALS, VELOCITY_RATE, WHEEL_TIMES, column_name
from schemas.cascade import WholeDelete
from schemas.provenance import Deletion, now
from schemas.rows import SourceFile, check_lengths, content_key, number, source_of
from schemas.server.binding import table_modules
from schemas.server.settings import one_cache_dir
from schemas.storage import bulk

schema = dj.Schema()
#: Columns of Session that say where its files are, and which session's they must be.
REGISTERED = ("one_cache_dir", "subject", "session_date", "session_number")
#: Columns of Session that say what it is; a person may correct them in ONE.
DESCRIBED = ("task_protocol", "projects")
#: What to do about FOV folders that ONE does not list.
LIST_AGAIN = (
    "Put the folders themselves in place of symbolic links, which ONE does not follow, and write the tables of the ONE "
    "cache again"
)
#: Times in s that are nearer than this are the same: a file may have been rounded, to ms in a CSV.
SAME = 1e-3
#: Stimuli, choices and feedback of so many trials in their order are a fingerprint: those of two sessions with the same
#: stimuli, in which a mouse is right on nine of ten trials, are alike with a chance of 1 in 20,000.
FINGERPRINT, MIN_TRIALS = ("choice", "feedbackType", "contrastLeft", "contrastRight"), 50
#: Of which labels of one's own may be computed, by the table that is read from their files.
LABELLED = {"Behavior": "trials", "Wheel": "wheel"}
#: Why files are registered anew.
RENEWED = "meso retry: files that errors named, as they are now"
#: Of so many values of a file, half must be those of another file to make it a copy.
N_COMPARED = 20


@schema
class Subject(WholeDelete, dj.Manual):
    definition = """
    # a mouse
    subject : varchar(64)
    ---
    lab='' : varchar(255)
    """


@schema
class Session(WholeDelete, dj.Manual):
    definition = """
    # a session, as ONE knows it
    eid : char(36)                      # experiment id of ONE
    ---
    -> Subject
    session_date : date
    session_number : int32
    task_protocol='' : varchar(1023)
    projects='' : varchar(4095)         # names, separated by commas
    one_cache_dir='' : varchar(512)     # ONE cache it was registered from, '' for a remote database
    ingested_at : datetime(6)         # UTC
    unique index (subject, session_date, session_number)
    """

    class File(SourceFile):
        definition = """
        # a file of a session when it, or the FOV, was registered; none of those before version 35
        -> master
        dataset : varchar(511)          # path within the session
        ---
        dataset_id='' : varchar(36)     # id in ONE
        revision='' : varchar(255)      # '' for the original
        file_size : int64               # bytes, 0 if not known
        sha256='' : varchar(64)         # of a large file 'sample:...' until it is read; '': not on the machine
        one_hash='' : varchar(64)       # in ONE, '' if ONE had none
        """

        @classmethod
        def complete(cls, reader: reading.SessionReader, sources: Iterable[reading.Source]) -> None:
            """Write the sha256 of files that were read, and are those of the registration, of which less was known.

            Of a large file a sample was known, of one that was not on this machine its hash in ONE, and of one that was
            being copied its beginning.
            """
            read = {reading.without_revision(one.dataset): one for one in sources}
            registered = map(source_of, (cls & {"eid": reader.eid}).to_dicts())
            for one, file in reading.in_their_places(registered, read):
                if one.sha256 != file.sha256 and reading.is_registered(reader.local(file.dataset), file, one):
                    key = {"eid": reader.eid, "dataset": one.dataset}
                    cls().update1({**key, "sha256": file.sha256, "file_size": file.size})

        @classmethod
        def renew(cls, eid: str, errors: Sequence[str]) -> None:
            """Register the files anew that errors of reading name, as they are now, and record it in ``Deletion``.

            A person replaces such a file, which is then no other writing; several of a FOV may be another extraction,
            several with times another alignment, and stay as they were registered: also if one was registered anew
            before. So do files that were read since.

            Parameters
            ----------
            eid : str
            errors : sequence of str
                Messages.
            """
            rows = (cls & {"eid": eid}).to_dicts()
            named = [row for row in rows if any(_is_named(row["dataset"], error) for error in errors)]
            if not named:
                return
            known = hashes_in(files_of(eid))
            before = history({eid: known}, {})[eid]
            former = {row["dataset"]: source_of(row) for row in named}
            unread = [path for path in former if reading.without_revision(path) not in before.read]
            reader = reading.SessionReader(one_for(eid), eid)
            now = [one for one in reading.files_now(reader, unread) if one.sha256 or one.one_hash]  # it may be gone
            changed = [one for one in now if one != former[one.dataset]]
            found = reading.put_right(changed, _renewed({eid: before})[eid])
            if found:
                keys = [{"eid": eid, "dataset": one.dataset} for one in found]
                with cls.connection.transaction:
                    (cls & keys).delete_quick()
                    cls().insert_sources({"eid": eid}, found)
                    Deletion.record("Session.File", keys, {"Session.File": len(keys)}, RENEWED)

    @classmethod
    def register(cls, one: Any, eid: str, cache_dir: str | None) -> bool:
        """Insert a session, its subject, its FOV folders and their files; return whether a FOV folder was new.

        Protocol and projects of a known session become those that ONE gives now, with a warning and a record in
        ``Deletion``; where ONE gives none, as the tables of a cache may lack them, they stay. So does the lab, of which
        a mouse may have several: a new session of another one is warned of. Warns of folders with imaging that are not
        read: their names are not those of FOVs, or ONE does not list them.

        Parameters
        ----------
        one : ONE
            The client.
        eid : str
        cache_dir : str or None
            ONE cache that ``one`` reads; None for a remote database.

        Raises
        ------
        DataError
            ONE does not know the session or its folder, it has no FOV, a value is too long for its column, or it is
            registered under another id.
        """
        info = reading.session_info(one, eid)
        reading.session_folder(one, info.eid)  # an id that ONE does not take cannot be read
        folders = reading.fov_folders(one, eid)
        unread = ", ".join(reading.unread_folders(one, eid))
        unlisted = ", ".join(reading.unlisted_folders(one, eid))
        if not folders:
            raise DataError(
                "the session has no imaging",
                eid=eid,
                expected="collections alf/FOV_XX",
                found=unread or (unlisted and f"{unlisted}, which ONE does not list") or "none",
                do=LIST_AGAIN if unlisted else None,
            )
        known = (FOVFolder & {"eid": info.eid}).to_arrays("fov")
        new_folders = {n: collection for n, collection in folders.items() if n not in known}
        new = [{"eid": info.eid, "fov": n, "collection": collection} for n, collection in new_folders.items()]
        row = {name: getattr(info, name) for name in cls.heading.names if hasattr(info, name)}
        row |= {"one_cache_dir": cache_dir or "", "ingested_at": now()}
        check_lengths(cls, row, info.eid)
        check_lengths(Subject, {"subject": info.subject, "lab": info.lab}, info.eid)
        cls._check_identity(info)
        is_new = not (cls & {"eid": info.eid})
        behavior = is_new or cls._lacks_behavior(info.eid)
        files = reading.files_at_registration(one, info.eid, new_folders.values(), behavior=behavior)
        moved: tuple[str, str | None] | None = None
        with cls.connection.transaction:
            Subject.insert1({"subject": info.subject, "lab": info.lab}, skip_duplicates=True)
            lab = (Subject & {"subject": info.subject}).fetch1("lab")
            if is_new:
                cls.insert1(row)
            elif (moved_from := (cls & {"eid": info.eid}).fetch1("one_cache_dir")) != row["one_cache_dir"]:
                cls.update1({"eid": info.eid, "one_cache_dir": row["one_cache_dir"]})
                moved = (moved_from, cache_dir)
            FOVFolder.insert(new)
            # those of a FOV folder that was deleted, and is back, stay: its rows were read later than them
            cls.File().insert_sources({"eid": info.eid}, files, skip_duplicates=True)
            others = cls._renew(row)
        if moved:
            _warn_of_folder(*moved, "are now registered with, and read from,")
        if is_new and "" not in (lab, info.lab) and lab != info.lab:
            warnings.warn(
                f"session {eid} is of the lab {info.lab}, and {info.subject} was registered as a mouse of {lab}: its "
                "sessions are taken for those of one mouse. If these are two mice, delete the session, and give one of "
                "them another name in ONE",
                stacklevel=2,
            )
        if others:
            warnings.warn(
                f"session {eid}: ONE gives other values now, which are taken: {'; '.join(others)}", stacklevel=2
            )
        if unread:
            warnings.warn(f"session {eid}: not read, as they are not called alf/FOV_00 ... 99: {unread}", stacklevel=2)
        if unlisted:
            warnings.warn(f"session {eid}: not read, as ONE does not list them: {unlisted}. {LIST_AGAIN}", stacklevel=2)
        for text in unlisted_notes(one, info.eid):
            warnings.warn(text, stacklevel=2)
        return bool(new)

    @classmethod
    def _lacks_behavior(cls, eid: str) -> bool:
        """Return whether a session was registered before its trials and wheel came, and neither has been read."""
        key = {"eid": eid}
        return not (cls.File & key & "dataset LIKE '%%/_ibl_%%'" or Behavior & key or Wheel & key)

    @classmethod
    def _renew(cls, row: dict[str, Any]) -> list[str]:
        """Write what ONE gives of a session now, record it, and return what has changed."""
        key = {"eid": row["eid"]}
        former = (cls & key).proj(*DESCRIBED).fetch1()
        new = {name: row[name] for name in DESCRIBED if row[name] not in ("", former[name])}
        texts = [f"{name} {value!r}, was {former[name]!r}" for name, value in new.items()]
        if texts:
            cls.update1({**key, **new}, reason=f"ONE gives {'; '.join(texts)}")  # type: ignore[call-arg]
        return texts

    @classmethod
    def _check_identity(cls, info: reading.SessionInfo) -> None:
        """Refuse another session under a known id, and a second id for the same session.

        ONE's make_parquet_db gives sessions new random ids at each run.
        """
        place = reading.Place(info.subject, info.session_date, info.session_number)
        if row := (cls & {"eid": info.eid}).to_dicts():
            reading.check_place(info.eid, place, _place(row[0]))
        names = ("subject", "session_date", "session_number")
        for eid in (cls & {name: getattr(info, name) for name in names}).to_arrays("eid"):
            if eid != info.eid:
                raise DataError(
                    f"{place} is registered under another id",
                    eid=info.eid,
                    found=eid,
                    do="Use ONE tables with the ids of the IBL database, or with ids that stay the same",
                )


@schema
class FOVFolder(WholeDelete, dj.Manual):
    definition = """
    # a FOV folder that ONE lists
    -> Session
    fov : int16
    ---
    collection : varchar(64)            # alf/FOV_XX
    """


@schema
class SessionTag(WholeDelete, dj.Manual):
    definition = """
    # a name that a person gave to some sessions; see schemas.queries.tags
    -> Session
    tag : varchar(64)
    ---
    tagged_by : varchar(255)            # account of the database
    tagged_at : datetime(6)             # UTC
    """


def _is_named(dataset: str, error: str) -> bool:
    """Return whether an error names a dataset: by its path, or by its name beside another one of its folder."""
    folder, _, name = reading.without_revision(dataset).rpartition("/")
    return f"{folder}/" in error and name in error


def one_for(eid: str, registered: dict[str, Any] | None = None) -> Any:
    """Return the ONE client for a session, on the cache it was registered from or else on MESO_ONE_CACHE_DIR.

    Warns if it is not the one that the session was registered from.

    Parameters
    ----------
    eid : str
    registered : dict, optional
        The session's row, of which ``REGISTERED`` is used; read from the database if not given.

    Raises
    ------
    ConfigError
        The cache is not on this machine, and MESO_ONE_CACHE_DIR is not set.
    DataError
        ONE has another session under this id now.
    """
    registered = registered or (Session & {"eid": eid}).proj(*REGISTERED).fetch1()
    registered_from = registered["one_cache_dir"]
    cache_dir = read_from(registered_from)
    if registered_from and cache_dir is None:
        raise ConfigError(
            f"Session {eid} was registered from the ONE cache {registered_from}, which is not on this machine. "
            f"Set MESO_ONE_CACHE_DIR to where it is mounted here"
        )
    if cache_dir != (registered_from or None):
        _warn_of_folder(registered_from, cache_dir, "are read here from")
    one = reading.open_one(cache_dir)
    reading.check_place(eid, reading.place_of(one, eid), _place(registered))
    return one


def unlisted_notes(one: Any, eid: str) -> list[str]:
    """Return a note on revisions of a session's files that are on this machine, and not in ONE's tables, if any are."""
    unlisted = ", ".join(reading.unlisted_revisions(one, eid))
    text = (
        f"session {eid}: files of revisions are not read, as ONE does not list them: {unlisted}. If they are complete, "
        f"write the tables of the ONE cache again, and run meso update {eid}"
    )
    return [text] if unlisted else []


def read_from(registered_from: str) -> str | None:
    """Return the ONE cache that sessions are read from here, by that of their registration; None for a database."""
    return registered_from if registered_from and Path(registered_from).is_dir() else one_cache_dir()


def _warn_of_folder(registered_from: str, cache_dir: str | None, what: str) -> None:
    """Warn that files come from another folder than before: not of each session, so that it is said once."""
    before, now = (f"the ONE cache {one}" if one else "the database of ONE" for one in (registered_from, cache_dir))
    warnings.warn(f"sessions that were registered from {before} {what} {now}, which may have other files", stacklevel=2)


def registered_folders(eids: Collection[str]) -> dict[str, str]:
    """Return by session the ONE cache that it is registered with, '' for a database; a statement."""
    rows = (Session & [{"eid": eid} for eid in eids]).proj("one_cache_dir").to_dicts() if eids else []
    return {row["eid"]: row["one_cache_dir"] for row in rows}


def _place(row: Mapping[str, Any]) -> reading.Place:
    return reading.Place(row["subject"], row["session_date"], row["session_number"])


class ReadsSession:
    """Mixin for tables read from a session's files with DataJoint's three-part make.

    Files are read in ``make_compute``, while no transaction is open.
    """

    #: The tables that choose files from what ONE lists, and record them as ``Source``: see ``datasets``.
    choosing: ClassVar[list[type[Any]]] = []

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "Source" in vars(cls):
            ReadsSession.choosing.append(cls)

    @staticmethod
    def datasets(reader: reading.SessionReader, key: dict) -> Iterable[str]:
        """Return the datasets that a row would be read from now, as paths without revision."""
        raise NotImplementedError

    def make_fetch(self, key: dict) -> tuple:
        """Return how the session was registered."""
        return ((Session & key).proj(*REGISTERED).fetch1(),)

    def insert_sources(self, key: dict, data: Any, sources: Sequence[reading.Source]) -> None:
        """Insert the files of a row, unless it does not go together with others; parameters as for ``check``.

        Warns of files that are written together, and were read in several revisions, or of which some are others than
        those of rows that were deleted.

        Raises
        ------
        DataError
            As ``check``, or a file with times that another row of the session was read from has changed.
        """
        self.check(key, data, sources)
        self.Source().insert_sources(key, sources)  # type: ignore[attr-defined]
        rows = files_of(key["eid"])
        reader = reading.SessionReader(one_for(key["eid"]), key["eid"])
        self._check_clock(reader, rows)
        Session.File.complete(reader, sources)
        own = {name for source in sources for name in (source.dataset, reading.without_revision(source.dataset))}
        known = {key["eid"]: hashes_in(rows)}
        before = history(known, former_ids(known))
        files = [file for _, _, files in rows for file in files]
        for mixture in mixtures_in(files, before[key["eid"]], since_deletions(known, before).get(key["eid"], ())):
            if own & {*mixture.newer, *mixture.older}:
                warnings.warn(mixture_note(key["eid"], mixture), stacklevel=2)
        for note in self._notes_since(key["eid"], own, files, before[key["eid"]]):
            warnings.warn(note, stacklevel=2)

    @classmethod
    def _notes_since(
        cls, eid: str, own: set[str], files: Sequence[reading.Source], before: History
    ) -> Iterator[str]:  # fmt: skip
        """Yield notes on the files of a row, ``own``, since registration or deletions by hand; updates have theirs."""
        known = {reading.without_revision(file.dataset): file.sha256 for file in files}
        by_hand = [one for one in before.deleted if one.given is None]
        read_first = {path: sha256 for path, sha256 in known.items() if before.first[path] == sha256}
        places = reading.first_elsewhere([before.at_registration], read_first)
        places |= reading.first_elsewhere(by_hand, known)
        elsewhere = {path: (eid, place) for path, place in places.items()}
        elsewhere |= registered_elsewhere({eid: read_first}, {eid: before})[eid]
        yield from exchange_notes(eid, {path: place for path, place in elsewhere.items() if path in own})
        if not elsewhere and before.is_of_another_session(files):
            yield replacement_note(eid)
        if cls.__name__ in LABELLED:
            yield from table_modules()["labels"].notes_on_labels(eid, by_hand, known, [LABELLED[cls.__name__]])

    @classmethod
    def check(cls, key: dict, data: Any, sources: Sequence[reading.Source], replaced: Sequence[dict] = ()) -> None:
        """Refuse the activity, uuids, trials or wheel that another row was read from, wherever its file is by now.

        Parameters
        ----------
        key : dict
        data, sources
            What a row of this key is made from, as ``make_compute`` returns them.
        replaced : sequence of dict
            Keys of rows that will be read from other files.

        Raises
        ------
        DataError
        """
        for source in filter(lambda source: reading.is_measured(source.dataset), sources):
            others = (cls.Source & {"sha256": source.sha256}) - list(replaced)  # type: ignore[attr-defined]
            for other in others.to_dicts(limit=1):
                raise copy_error(key, source.dataset, other["eid"], other["dataset"])

    @classmethod
    def check_values(
        cls, key: dict, data: Any, sources: Sequence[reading.Source], replaced: Sequence[dict] = ()
    ) -> None:
        """Refuse the values of another row, in other bytes; parameters and errors as of ``check``."""

    @classmethod
    def check_together(
        cls, key: dict, data: Any, sources: Sequence[reading.Source],
        other_key: dict, other: Any, other_sources: Sequence[reading.Source],
    ) -> None:  # fmt: skip
        """Refuse the files of two rows, of which neither has been inserted, if they do not go together.

        Parameters as for ``check``, of either row.

        Raises
        ------
        DataError
            Both have the same activity, uuids, trials or wheel.
        """
        theirs = {one.sha256: one for one in other_sources if reading.is_measured(one.dataset)}
        for source in sources:
            if source.sha256 in theirs and not _is_same_fov(key, other_key):
                raise copy_error(key, source.dataset, other_key["eid"], theirs[source.sha256].dataset)

    @staticmethod
    def _check_clock(
        reader: reading.SessionReader, rows: Sequence[tuple[type[Any], dict, list[reading.Source]]]
    ) -> None:  # fmt: skip
        """Refuse times that have changed since another table of the session was read.

        Trials, wheel and imaging are aligned together. If they are aligned again between the reading of one table and
        the next, their times would be mixed. Of a file that is gone this cannot be told: it is refused, too.
        """
        for table, other, recorded in rows:
            if found := reading.clock_changes(reader, recorded, table.datasets(reader, other)):
                raise _clock_error(table.__name__, other, found[0])


def files_of(eid: str) -> list[tuple[type[Any], dict[str, Any], list[reading.Source]]]:
    """Return table, key and files of each row that was read from the files of a session; a statement for each table."""
    return [(table, *row) for table in ReadsSession.choosing for row in table.Source.by_row({"eid": eid})]


def hashes_in(rows: Iterable[tuple[type[Any], dict[str, Any], list[reading.Source]]]) -> dict[str, str]:
    """Return the sha256 of each file in what ``files_of`` returned, by path without revision."""
    return {reading.without_revision(file.dataset): file.sha256 for _, _, files in rows for file in files}


def mixtures_in(
    files: Sequence[reading.Source], before: History, standing: Sequence[reading.Standing]
) -> list[reading.Mixture]:
    """Return the files of a session that are not of one writing, each once.

    Parameters
    ----------
    files : sequence of Source
        From which its rows were read.
    before : History
    standing : sequence of Standing
        What updates and deletions tell.
    """
    of_revisions = reading.mixed_revisions(files)
    told = [(one.what, set(map(reading.without_revision, one.newer))) for one in of_revisions]
    every = [*standing, *reading.not_named(before.replaced_by(files), standing)]
    others = dict.fromkeys(one.mixture for one in every)
    return [
        *of_revisions,
        *(one for one in others if not any(one.what == what and set(one.newer) <= newer for what, newer in told)),
    ]


@dataclass(frozen=True)
class History:
    """The files that rows of a session were read from before, and those that it was registered with.

    Attributes
    ----------
    deleted : list of Read
        Deletion by deletion, the first one first, with the hashes that files have since they were saved again.
    present : dict of (str, str) to str
        The sha256 that stands for files that were saved again, by path and sha256: see
        ``pipeline.reading.as_saved_again``.
    registered : list of Source
        With the hashes that files have since they were saved again; without those that were read and are gone.
    first : dict of str to str
        By path without revision the sha256 of files when they were first read, since the session was registered.
    read : set of str
        Paths without revision of all files that were read since the session was registered.
    registered_at : datetime or None
        When, UTC; None if none of its files were registered.
    """

    deleted: list[reading.Read]
    present: dict[tuple[str, str], str]
    registered: list[reading.Source]
    first: dict[str, str]
    read: set[str]
    registered_at: datetime.datetime | None

    @property
    def at_registration(self) -> reading.Read:
        """The files that the session was registered with, as far as their sha256 is known."""
        return reading.Read(_known_hashes(self.registered), until=self.registered_at)

    def at_registration_but(self, renewed: Collection[str]) -> reading.Read:
        """Return ``at_registration`` without some files, as paths without revision."""
        known = self.at_registration
        return replace(known, hashes={path: one for path, one in known.hashes.items() if path not in renewed})

    @property
    def at_first(self) -> list[reading.Standing]:
        """The files of two writings between registration and the first reading, as far as their names tell."""
        return reading.since_registration(self.at_registration.hashes, self.first)

    def is_of_another_session(self, recorded: Iterable[reading.Source]) -> bool:
        """Return whether none of the files, ``recorded``, that tell of which session they are is the registered one."""
        return reading.are_of_another_session(self.registered, recorded, self.first)

    def replaced_by(self, recorded: Iterable[reading.Source]) -> list[reading.Standing]:
        """Return the files of which some, ``recorded``, were replaced in place between registration and reading."""
        return reading.replaced_since_registration(self.registered, recorded, self.first)


def since_deletions(
    known: Mapping[str, Mapping[str, str]], before: Mapping[str, History]
) -> dict[str, list[reading.Standing]]:
    """Return by session the files of two writings since rows were deleted, and read again; two statements at most.

    Parameters
    ----------
    known : mapping of str to mapping
        By session the sha256 of each file that there are rows of, by path without revision.
    before : mapping of str to History
        As ``history`` returns it.
    """
    deleted = {eid: one for eid, one in before.items() if one.deleted}
    trials = trials_keys([eid for eid, one in deleted.items() if any(read.trials for read in one.deleted)])
    renewed = _renewed({eid: one for eid, one in deleted.items() if any(read.given for read in one.deleted)})
    return {
        eid: reading.since_deletions(
            one.deleted, known[eid], trials.get(eid, ""), one.at_first, one.at_registration_but(renewed.get(eid, ()))
        )
        for eid, one in deleted.items()
    }


def _renewed(before: Mapping[str, History]) -> dict[str, set[str]]:
    """Return the files, as paths without revision, that were registered anew: what they were before is not known."""
    found: dict[str, set[str]] = {eid: set() for eid in before}
    renewed = Deletion & {"deleted_table": "Session.File", "deletion_reason": RENEWED}
    for row in renewed.to_dicts() if before else ():
        for eid, dataset in ((key["eid"], key["dataset"]) for key in row["deleted_keys"] if key["eid"] in before):
            at = before[eid].registered_at
            found[eid] |= {reading.without_revision(dataset)} if at and at < row["deleted_at"] else set()
    return found


def history(known: Mapping[str, Mapping[str, str]], former: Mapping[str, Sequence[str]]) -> dict[str, History]:
    """Return the files of deleted rows of sessions, and of their registration, by session; three statements at most.

    Parameters
    ----------
    known : mapping of str to mapping
        As for ``since_deletions``.
    former : mapping of str to sequence of str
        As ``former_ids`` returns them.
    """
    of_ids = Deletion.files_of({*known, *(one for ids in former.values() for one in ids)})
    registered = _registered_files(known)
    found = {}
    for eid, hashes in known.items():
        deletions = [files for one in (*former.get(eid, ()), eid) for files in of_ids.get(one, ())]
        deleted, present = reading.as_saved_again(deletions, hashes)
        registered_at, files = registered.get(eid, (None, []))
        since = [one for one in deleted if one.until and registered_at and one.until > registered_at]
        read = {*hashes, *(path for one in since for path in one.hashes)}
        # of a file that was read, and is gone from its path, an update or a deletion tells
        still = [one for one in files if reading.without_revision(one.dataset) not in read - set(hashes)]
        found[eid] = History(
            deleted, present, [_as_saved_again(one, present) for one in still], reading.first_read(since, hashes), read,
            registered_at,
        )  # fmt: skip
    return found


def registered_elsewhere(
    known: Mapping[str, Mapping[str, str]], before: Mapping[str, History]
) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the files that another session was registered with, and their own was not; a statement at most.

    Parameters as for ``since_deletions``.

    Returns
    -------
    dict of str to dict
        Of files that tell of which session they are: by path the other session, and its path.
    """
    found: dict[str, dict[str, tuple[str, str]]] = {eid: {} for eid in known}
    owners: dict[str, tuple[str, str]] = {}
    for eid, files in known.items():
        registered = before[eid].at_registration.hashes
        others = {path: sha256 for path, sha256 in files.items() if registered.get(path, sha256) != sha256}
        owners |= {sha256: (eid, path) for path, sha256 in others.items() if reading.is_own(path)}
    rows = (Session.File & [{"sha256": one} for one in owners]).to_dicts(order_by="KEY") if owners else []
    for row in rows:
        eid, path = owners[row["sha256"]]
        if row["eid"] != eid:
            found[eid].setdefault(path, (row["eid"], row["dataset"]))
    return found


def registered_hashes(eids: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the sha256 that files had when their sessions were registered, by session and path; a statement."""
    return {eid: _known_hashes(files) for eid, (_, files) in _registered_files(eids).items()}


def _known_hashes(registered: Iterable[reading.Source]) -> dict[str, str]:
    """Return the sha256 of registered files, as far as it is known, by path without revision."""
    return {reading.without_revision(one.dataset): one.sha256 for one in registered if one.sha256}


def _registered_files(eids: Collection[str]) -> dict[str, tuple[datetime.datetime, list[reading.Source]]]:
    """Return when sessions were registered, and their files then; a statement. None of those before version 35."""
    of_eids = [{"eid": eid} for eid in eids]
    rows = (Session.File * Session.proj("ingested_at") & of_eids).to_dicts(order_by="KEY") if of_eids else []
    by_eid = ((eid, list(group)) for eid, group in groupby(rows, key=itemgetter("eid")))
    return {eid: (files[0]["ingested_at"], [source_of(row) for row in files]) for eid, files in by_eid}


def _as_saved_again(file: reading.Source, present: Mapping[tuple[str, str], str]) -> reading.Source:
    return replace(file, sha256=present.get((reading.without_revision(file.dataset), file.sha256), file.sha256))


def days_of(eids: Iterable[str]) -> dict[str, tuple[str, datetime.date]]:
    """Return subject and date of sessions."""
    of_eids = [{"eid": eid} for eid in eids]
    rows = (Session & of_eids).proj("subject", "session_date").to_dicts() if of_eids else []
    return {row["eid"]: (row["subject"], row["session_date"]) for row in rows}


def former_ids(known: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the ids under which sessions were registered before: deleted ones that had a file of their own.

    They are of the same subject and date, or were deleted before the session was registered: a name or a date may have
    been corrected. Parameters as for ``since_deletions``; three statements at most.
    """
    own = {
        eid: {(path, sha256) for path, sha256 in files.items() if reading.is_own(path)} for eid, files in known.items()
    }
    lost = Deletion.with_files({sha256 for files in own.values() for _, sha256 in files})
    lost = [row for row in lost if row["file_eid"] not in known]
    if not lost:
        return {}
    registered = days_of({row["file_eid"] for row in lost})
    sessions = (Session & [{"eid": eid} for eid in known]).proj("subject", "session_date", "ingested_at").to_dicts()
    found: dict[str, list[str]] = {}
    for one, row in ((one, row) for one in sessions for row in lost if row["file_eid"] not in registered):
        is_same_day = (one["subject"], one["session_date"]) == (row["file_subject"], row["file_date"])
        is_file = (row["file_dataset"], row["file_sha256"]) in own[one["eid"]]
        if is_file and (is_same_day or row["deleted_at"] < one["ingested_at"]):
            found.setdefault(one["eid"], []).append(row["file_eid"])
    return {eid: list(dict.fromkeys(ids)) for eid, ids in found.items()}


@contextmanager
def unchanged(eid: str, *tables: type[Any]) -> Iterator[None]:
    """Do what ``unchanged_since`` says of a block."""
    check = unchanged_since(eid, *tables)
    yield
    check()


def unchanged_since(eid: str, *tables: type[Any]) -> Callable[[], None]:
    """Return a call that refuses what is read of a session until then, if its rows are of other files by then.

    An update reads files again under the same keys, so that what was read before and what was read after would be taken
    for one. Rows that arrive meanwhile are no change.

    Parameters
    ----------
    eid : str
    *tables : table classes
        Those of the rows: FOV, Signal, Behavior, Wheel; by default all of them.

    Returns
    -------
    callable
        It raises a DataError.
    """
    queries = {
        table.__name__: (table.Source & {"eid": eid}).proj("sha256").make_sql()
        for table in tables or ReadsSession.choosing
    }

    def files() -> set[tuple]:
        # tuples: dicts of some hundred files would take as long as the rest of a small question
        query = Session.connection.query
        return {(name, *row) for name, sql in queries.items() for row in query(sql).fetchall()}

    before = files()

    def check() -> None:
        if lost := before - files():
            names = sorted({name for name, *_ in lost})
            raise DataError(
                f"files were read again while this was loaded, and the rows of {', '.join(names)} are others now",
                eid=eid, expected="rows of the same files from first to last",
                do="Try again, when the update has ended",
            )  # fmt: skip

    return check


def mixture_note(eid: str, mixture: reading.Mixture) -> str:
    """Return the note on files of a session that are not of one writing."""
    return f"session {eid}: {mixture}: then run meso update {eid}"


def exchange_notes(eid: str, places: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Yield a note for each FOV of a session with files that are those of another row of before.

    Parameters
    ----------
    eid : str
    places : mapping of str to (str, str)
        Session and path of the other row's file by the path of the file.
    """
    by_folder = groupby(sorted(places), key=lambda path: (path.rpartition("/")[0], places[path][0]))
    for (_, other_eid), group in by_folder:
        mine, *more = group
        yield (
            f"session {eid}: {mine} is the file that {places[mine][1]} of session {other_eid} was"
            f"{f' (and {len(more)} more)' if more else ''}; if files were exchanged by mistake, put them back, and run "
            "meso update again"
        )


def replacement_note(eid: str) -> str:
    """Return the note on a session of which all files are others than it was registered with."""
    return (
        f"session {eid}: none of its files is the one that it was registered with. If they are those of another "
        f"session, put its own back, and run meso update {eid}. If all of it was written again, register it again: "
        "meso delete, then meso ingest"
    )


def _is_same_fov(key: dict, other: dict) -> bool:
    """Return whether two rows are of the same FOV: signals of it are made of the same files."""
    return "fov" in key and (key["eid"], key["fov"]) == (other["eid"], other["fov"])


def copy_error(key: dict, dataset: str, other_eid: str, other: str) -> DataError:
    """Return the error of a dataset of a row with this key that is a copy of ``other``, of another row."""
    return DataError(
        "is a copy of a file that has been read", eid=key["eid"], fov=key.get("fov"), dataset=dataset,
        expected="a file of its own for each session and FOV", found=f"{other} of session {other_eid}",
        do=f"If files were exchanged, put them back, or run: meso update {other_eid}",
    )  # fmt: skip


def near(column: str, value: float, tolerance: float = SAME) -> str:
    """Return the condition that a column of float64 has a value, up to ``tolerance``."""
    return f"abs({column} - ({float(value)!r})) < {tolerance!r}"


def compared(values: Sequence[Any]) -> list[Any]:
    """Return up to ``N_COMPARED`` of some values, evenly."""
    return [values[i] for i in sorted({i * len(values) // N_COMPARED for i in range(N_COMPARED)})] if values else []


def _clock_error(table: str, key: dict, change: reading.Change) -> DataError:
    """Return the error of a file with times that is not the one that a row was read from any more."""
    place: dict[str, Any] = {"eid": key["eid"], "fov": key.get("fov"), "dataset": change.dataset}
    if change.kind == "gone":
        return DataError(
            f"the file that {table} was read from is gone: whether the session still has that clock cannot be told",
            do="Restore it (a download will do) until all of the session has been read", **place,
        )  # fmt: skip
    return DataError(
        f"the files that {table} was read from have changed, and with them the times",
        expected=change.recorded or "no such file", found=change.found or change.kind,
        do=f"Read all of the session again with: meso update {key['eid']}", **place,
    )  # fmt: skip


@schema
class Behavior(ReadsSession, WholeDelete, dj.Imported):
    definition = """
    # trials of a session
    -> Session
    ---
    n_trials : int32
    performance=null : float64          # share of rewarded trials
    """

    class Trial(dj.Part):
        definition = """
        # one trial; times in s on the session clock, null where there is none
        -> master
        trial : int32
        ---
        intervals_0=null : float64
        intervals_1=null : float64
        go_cue_times=null : float64
        stim_on_times=null : float64
        stim_off_times=null : float64
        first_movement_times=null : float64
        response_times=null : float64
        feedback_times=null : float64
        choice=null : int8              # 1 left, -1 right, 0 no-go
        feedback_type=null : int8       # 1 reward, -1 error or no-go
        contrast_left=null : float64    # null when the stimulus is on the right
        contrast_right=null : float64
        probability_left=null : float64
        reward_volume=null : float64    # microlitre
        quiescence_period=null : float64
        task_collection : varchar(255)  # alf or alf/task_XX
        """

    class LeftOut(dj.Part):
        definition = """
        # trials of the session that are not used
        -> master
        left_out_collection : varchar(255)  # alf or alf/task_XX
        ---
        left_out_reason : varchar(2048)
        """

    class Source(SourceFile):
        pass

    @staticmethod
    def datasets(reader, key):
        return reading.trial_datasets(reader)

    def make_compute(self, key, registered):
        trials = reading.read_trials(one_for(key["eid"], registered), key["eid"])
        return trials, trials.sources

    @classmethod
    def check(cls, key, data, sources, replaced=()):
        """Refuse also trials with the stimulus times of another session, whose file was saved again.

        Also those with the stimuli, choices and feedback of another of the subject, at whatever times.
        """
        super().check(key, data, sources, replaced)
        cls.check_values(key, data, sources, replaced)

    @classmethod
    def check_values(cls, key, data, sources, replaced=()):
        cls._check_fingerprint(key, data, replaced)
        for collection, trials in data.table.groupby("collection"):
            some = compared(trials["stimOn_times"].dropna().to_list())
            near_any = [near("stim_on_times", time) for time in some]
            others = (cls.Trial & near_any & f"eid <> '{key['eid']}'") - list(replaced)
            counts = Counter(others.to_arrays("eid").tolist()) if some else Counter()
            for other, n_same in counts.most_common(1):
                if n_same >= max(2, len(some) / 2):  # a single time may be the same by chance
                    raise copy_error(key, f"{collection}/{TRIALS}", other, "the trials")

    @classmethod
    def _check_fingerprint(cls, key: dict, data: reading.Trials, replaced: Sequence[dict]) -> None:
        """Refuse the trials of another session of the subject; two statements, and one for each that may be it."""
        own = data.table[list(FINGERPRINT)].to_numpy(float)
        some = [i for i in compared(range(MIN_TRIALS)) if i < len(own) and np.isfinite(own[i, :2]).all()]
        if len(own) < MIN_TRIALS or not some:
            return
        alike = [f"trial = {i} AND choice = {own[i, 0]:.0f} AND feedback_type = {own[i, 1]:.0f}" for i in some]
        sessions = Session & {"subject": (Session & key).fetch1("subject")} & f"eid <> '{key['eid']}'"
        counts = Counter(((cls.Trial & sessions.proj() & alike) - list(replaced)).to_arrays("eid").tolist())
        for other in sorted(eid for eid, n_same in counts.items() if n_same == len(some)):
            trials = trials_of(other)
            theirs = np.column_stack([trials[attribute] for attribute in FINGERPRINT])
            n_both = min(len(own), len(theirs))
            if n_both >= MIN_TRIALS and np.array_equal(own[:n_both], theirs[:n_both], equal_nan=True):
                dataset = f"{data.table['collection'].iloc[0]}/{TRIALS}"
                raise copy_error(key, dataset, other, f"the stimuli, choices and feedback of {n_both} trials")

    @staticmethod
    def check_wheel(key: dict, trials: reading.Trials) -> list[str]:
        """Refuse trials that contradict the wheel that has been read, if there is one; return what is odd.

        The wheel was compared with the trials that were in the files then.

        Raises
        ------
        DataError
        """
        doubts: list[str] = []
        with_wheel = {reading.without_revision(path) for path in (Wheel.Source & key).to_arrays("dataset")}
        for row in (Wheel & key).to_dicts():
            for collection, part in trials.table.groupby("collection"):
                if f"{collection}/{WHEEL_TIMES}" in with_wheel:
                    wheel = row["wheel_timestamps"], row["wheel_position"]
                    doubts += reading.against_wheel(part, *wheel, key["eid"], collection)
        return doubts

    @staticmethod
    def rows(key: dict, trials: reading.Trials) -> Iterator[dict]:
        """Yield the row of a session, as its files say."""
        feedback = trials.table["feedbackType"]
        yield {**key, "n_trials": len(feedback), "performance": number((feedback == 1).mean())}

    @staticmethod
    def trial_rows(key: dict, trials: reading.Trials) -> Iterator[dict]:
        """Yield the rows of a session's trials, as its files say."""
        for i, row in enumerate(trials.table.rename(columns=column_name).to_dict("records")):
            yield {**key, "trial": i, "task_collection": row.pop("collection"), **_trial_values(row)}

    def make_insert(self, key, trials, sources):
        self.check_wheel(key, trials)
        self.insert(self.rows(key, trials))
        self.Trial.insert(self.trial_rows(key, trials))
        self.LeftOut.insert(
            {**key, "left_out_collection": collection, "left_out_reason": reason[:2048]}
            for collection, reason in trials.left_out.items()
        )
        self.insert_sources(key, trials, sources)


def _trial_values(row: dict[str, float]) -> dict[str, float | int | None]:
    values = {name: number(value) for name, value in row.items()}
    # these two columns are int8
    return {n: int(v) if n in ("choice", "feedback_type") and v is not None else v for n, v in values.items()}


def trials_of(eid: str) -> dict[str, np.ndarray]:
    """Return the trials of a session by ALF attribute: each (n_trials,) float64, NaN for NULL, in trial order."""
    names = {column_name(attribute): attribute for attribute in TRIAL_ATTRIBUTES}
    # not to_arrays, which makes a dict of each row first: 20 times slower
    columns = bulk.columns(Behavior.Trial & {"eid": eid}, *names, order_by=("trial",))
    return {
        attribute: np.array([np.nan if v is None else v for v in column], dtype=float)
        for attribute, column in zip(names.values(), columns, strict=True)
    }


def trials_key(trials: Mapping[str, np.ndarray]) -> str:
    """Return a hash of the stimuli, choices and feedback of trials, in their order.

    Not of their times: a clock that is aligned again moves these, and the trials stay the same.
    """
    columns = np.column_stack([trials[attribute] for attribute in FINGERPRINT])
    return content_key([[None if np.isnan(one) else one for one in row] for row in columns.tolist()])


def trials_keys(eids: Sequence[str]) -> dict[str, str]:
    """Return ``trials_key`` of each of these sessions that has trials; a statement."""
    if not eids:
        return {}
    of_eids = Behavior.Trial & [{"eid": eid} for eid in eids]
    names = [column_name(attribute) for attribute in FINGERPRINT]
    of_trial, *columns = bulk.columns(of_eids, "eid", *names, order_by=("eid", "trial"))
    values = [np.array([np.nan if v is None else v for v in column], dtype=float) for column in columns]
    return {
        eid: trials_key({name: column[of_trial == eid] for name, column in zip(FINGERPRINT, values, strict=True)})
        for eid in dict.fromkeys(of_trial.tolist())
    }


@schema
class Wheel(ReadsSession, WholeDelete, dj.Imported):
    definition = f"""
    # wheel of a session
    -> Session
    ---
    wheel_timestamps : <blob>           # (M,) float64, s
    wheel_position : <blob>             # (M,) float64, rad, counter-clockwise positive
    velocity_start : float64            # time of the first velocity, s
    wheel_velocity : <blob>             # float32, rad/s, {VELOCITY_RATE} per s
    """

    class Doubt(dj.Part):
        definition = """
        # what may be wrong with the wheel; none of one that was read before version 26
        -> master
        doubt : int16
        ---
        doubt_text : varchar(2048)
        """

    class Source(SourceFile):
        pass

    @staticmethod
    def datasets(reader, key):
        return reading.wheel_datasets(reader)

    def make_compute(self, key, registered):
        wheel = reading.read_wheel(one_for(key["eid"], registered), key["eid"])
        return wheel, wheel.sources

    @classmethod
    def check(cls, key, data, sources, replaced=()):
        """Refuse also a wheel with the times of another session's, whose file was saved again."""
        super().check(key, data, sources, replaced)
        cls.check_values(key, data, sources, replaced)

    @classmethod
    def check_values(cls, key, data, sources, replaced=()):
        begin = cls & near("velocity_start", data.timestamps[0]) & f"eid <> '{key['eid']}'"
        for other in (begin - list(replaced)).proj().to_dicts():
            timestamps = (cls & other).fetch1("wheel_timestamps")
            if len(timestamps) == len(data.timestamps) and np.allclose(timestamps, data.timestamps, rtol=0, atol=SAME):
                dataset = next(source.dataset for source in sources if source.dataset.endswith(WHEEL_TIMES))
                raise copy_error(key, dataset, other["eid"], "the wheel")

    @staticmethod
    def rows(key: dict, wheel: reading.Wheel) -> Iterator[dict]:
        """Yield the row of a session, as its files say."""
        yield {
            **key,
            "wheel_timestamps": wheel.timestamps,
            "wheel_position": wheel.position,
            "velocity_start": wheel.velocity_start,
            "wheel_velocity": wheel.velocity,
        }

    def make_insert(self, key, wheel, sources):
        self.insert(self.rows(key, wheel))
        self.Doubt.insert({**key, "doubt": i, "doubt_text": text[:2048]} for i, text in enumerate(wheel.doubts))
        self.insert_sources(key, wheel, sources)


def wheel_velocity(eid: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return times (s) and velocity (rad/s) of the wheel, each (n,), or None if the session has no wheel data."""
    row = (Wheel & {"eid": eid}).to_dicts()
    if not row:
        return None
    velocity = row[0]["wheel_velocity"]
    return row[0]["velocity_start"] + np.arange(len(velocity)) / VELOCITY_RATE, velocity
