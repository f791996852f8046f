"""Files of a session that are written together and are not of one writing, as they are in the database now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from pipeline import reading
from pipeline.text import counted
from schemas.imaging.tables import FOV
from schemas.labels import given_at, notes_on_labels
from schemas.provenance import Deletion, SourceUpdate
from schemas.session import (
    History,
    ReadsSession,
    Session,
    Wheel,
    days_of,
    exchange_notes,
    files_of,
    former_ids,
    hashes_in,
    history,
    mixture_note,
    mixtures_in,
    read_from,
    registered_elsewhere,
    registered_folders,
    registered_hashes,
    replacement_note,
    since_deletions,
)

#: Columns of the files that rows were read from.
SOURCE_COLUMNS = ("eid", "dataset", "revision", "file_size", "sha256", "one_hash")
#: Columns of a FOV that say whether its regions, and its places, are final.
PLACE_SOURCES = ("region_source", "mlapdv_source")
#: The sessions with a file that was not read as it was registered, or under another path; what was not known of it then
#: is empty.
OTHER_THAN_REGISTERED = (
    "SELECT files.eid FROM {source} AS files LEFT JOIN {registered} AS registered "
    "ON registered.eid = files.eid AND registered.dataset = files.dataset WHERE "
    "registered.dataset IS NULL AND EXISTS (SELECT 1 FROM {registered} AS one WHERE one.eid = files.eid) OR "
    "registered.sha256 <> '' AND registered.sha256 <> files.sha256 OR "
    "registered.sha256 = '' AND registered.one_hash <> '' AND registered.one_hash <> files.one_hash"
)
#: The sessions with a file of their own that rows of another one had been read from, which were deleted.
OF_ANOTHER = (
    "SELECT files.eid FROM {source} AS files JOIN {deleted} AS deleted ON deleted.file_sha256 = files.sha256 AND "
    "deleted.file_eid <> files.eid WHERE {is_own}"
)
#: What may be wrong with the files of sessions, by the kind of note.
KINDS = {
    "mixed": "files of two writings", "exchanged": "files of another FOV or session",
    "folder": "files of another folder", "labels": "labels of former files", "doubt": "doubts about the wheel",
}  # fmt: skip


#: What ``SourceUpdate.Mixture`` calls notes of updates that are no mixtures, by their kind.
KEPT = {"exchanged": "files with the values of another row", "folder": "files of another folder"}


class Kept(NamedTuple):
    """A note of an update on files that it read, which is kept while these are read.

    Attributes
    ----------
    kind : str
        As in ``KEPT``.
    eid : str
    what : str
        What is said of the files; of the kind "folder" the folder.
    files : dict of str to str
        The sha256 of each, by path without revision.
    """

    kind: str
    eid: str
    what: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        if self.kind == "exchanged":
            return (
                f"{self.what} as they were; if files were exchanged by mistake, put them back, and run meso update "
                f"{self.eid}"
            )
        return (
            f"an update read files in {self.what}, and not those that the session is registered with (of a folder that "
            "was not on this machine, or of the database of ONE). If they may be older, make these available, and run "
            f"meso update {self.eid}. If they are right, run meso ingest {self.eid} --cache-dir {self.what}"
        )

    def as_row(self) -> dict[str, Any]:
        """Return it as a row of SourceUpdate.Mixture, without its key: none that is newer, so that it is no mixture."""
        return {
            "mixed_eid": self.eid, "mixed_what": KEPT[self.kind], "mixed_newer": {}, "mixed_older": dict(self.files),
            "mixed_reason": self.what[:255],
        }  # fmt: skip


class Note(NamedTuple):
    """What may be wrong with the files that a session was read from, and could not be told for certain.

    Attributes
    ----------
    kind : str
        As in ``KINDS``.
    eid, text : str
    """

    kind: str
    eid: str
    text: str


class _Past(NamedTuple):
    """Files of sessions, by session: the sha256 of those that there are rows of, and those of before.

    ``former`` are the ids under which they were registered before.
    """

    known: Mapping[str, Mapping[str, str]]
    former: Mapping[str, Sequence[str]]
    before: Mapping[str, History]


def _past(known: Mapping[str, Mapping[str, str]]) -> _Past:
    former = former_ids(known)
    return _Past(known, former, history(known, former))


def notes_of(eids: Sequence[str] | None = None) -> list[Note]:
    """Return the notes on the files of sessions, by kind and session.

    Parameters
    ----------
    eids : sequence of str, optional
        All sessions by default: of these, files are read of those only that can have notes, found by a few statements.
    """
    noted = _suspects() if eids is None else eids
    if not noted:  # usually there are none
        return []
    found = [*_notes_on_files(_files(noted))]
    doubts = (Wheel.Doubt & _of(noted)).to_dicts(order_by="eid, doubt")
    found += [Note("doubt", row["eid"], row["doubt_text"]) for row in doubts]
    plain = (one._replace(text=one.text.removeprefix(f"session {one.eid}").lstrip(":, ")) for one in found)
    return sorted(plain, key=lambda one: list(KINDS).index(one.kind))


def note_counts() -> str:
    """Return a line with the numbers of sessions that have notes on their files, '' if none has."""
    noted = Counter(kind for kind, _ in {(one.kind, one.eid) for one in notes_of()})
    texts = [
        f"{counted(noted[kind], 'session', 'sessions')} with {what}" for kind, what in KINDS.items() if noted[kind]
    ]
    return f"Notes: {', '.join(texts)}. They are listed by: meso verify --notes" if texts else ""


def _notes_on_files(files: Mapping[str, Sequence[reading.Source]]) -> Iterator[Note]:
    past = _past(_hashes(files))
    rows = _of_updates(past)
    mixtures, elsewhere = _mixtures(files, past, rows), _first_elsewhere(past)
    yield from _kept(past, rows)
    given = given_at([eid for eid, one in past.before.items() if one.deleted])
    yield from (Note("mixed", eid, mixture_note(eid, one)) for eid, those in mixtures.items() for one in those)
    for eid, one in past.before.items():
        yield from (Note("exchanged", eid, text) for text in exchange_notes(eid, elsewhere[eid]))
        if not elsewhere[eid] and one.is_of_another_session(files[eid]):
            yield Note("exchanged", eid, replacement_note(eid))
        texts = notes_on_labels(eid, one.deleted, past.known[eid], given=given.get(eid, {}))
        yield from (Note("labels", eid, text) for text in texts)


def _kept(past: _Past, rows: Sequence[dict[str, Any]]) -> Iterator[Note]:
    """Yield the notes that updates keep with files; with one statement more if any is on a folder.

    One on a folder is at its end where the folder of the registration is there: updates compare with that.
    """
    kinds, found = {what: kind for kind, what in KEPT.items()}, {}
    for row in (row for row in rows if row["mixed_what"] in kinds):
        eid = row["eid"]
        files = reading.renamed(row["mixed_older"], past.before[eid].present)
        if all(past.known[eid].get(path, sha256) == sha256 for path, sha256 in files.items()):
            found[eid, row["mixed_what"], row["mixed_reason"]] = Kept(
                kinds[row["mixed_what"]], eid, row["mixed_reason"], files
            )
    folders = registered_folders({one.eid for one in found.values() if one.kind == "folder"})
    for one in found.values():
        registered = folders.get(one.eid, "")
        is_back = read_from(registered) == (registered or None)
        if one.kind != "folder" or not (is_back or registered[:255] == one.what):
            yield Note(one.kind, one.eid, str(one))


def _first_elsewhere(past: _Past) -> dict[str, dict[str, tuple[str, str]]]:
    """Return by session the files that another FOV, or session, had before, or was registered with: session and path.

    Of sessions whose rows were deleted only those of the mouse count.
    """
    known, before = past.known, past.before
    found = {}
    for eid, files in known.items():
        places = reading.first_elsewhere([before[eid].at_registration, *before[eid].deleted], files)
        found[eid] = {path: (eid, place) for path, place in places.items()}
    for eid, others in registered_elsewhere(known, before).items():
        found[eid] = others | found[eid]
    owners = {
        sha256: (eid, path) for eid, files in known.items() for path, sha256 in files.items() if reading.is_own(path)
    }
    of_mice = [{"file_subject": subject} for subject in {subject for subject, _ in days_of(known).values()}]
    rows = Deletion.File * Deletion.proj("deleted_at") & of_mice & [{"file_sha256": sha256} for sha256 in owners]
    deleted = [row for row in (rows.to_dicts(order_by="deleted_at") if owners else ())
              if row["file_eid"] != owners[row["file_sha256"]][0]]  # fmt: skip
    registered = days_of({row["file_eid"] for row in deleted}) if deleted else {}
    theirs = registered_hashes(registered)

    def has_its_own(eid: str, path: str, row: dict) -> bool:
        """Return whether a file is that with which its session was registered, and the other session was not."""
        sha256, of_other = row["file_sha256"], theirs.get(row["file_eid"], {}).get(row["file_dataset"])
        return before[eid].at_registration.hashes.get(path) == sha256 and of_other not in (None, sha256)

    for row in deleted:
        eid, path = owners[row["file_sha256"]]
        own = [one.until for one in before[eid].deleted if one.hashes.get(path) == row["file_sha256"] and one.until]
        is_known = row["file_eid"] in registered and not has_its_own(eid, path, row)
        if is_known and not any(until <= row["deleted_at"] for until in own):
            found[eid].setdefault(path, (row["file_eid"], row["file_dataset"]))
    return found


def mixtures_of(eids: Sequence[str]) -> dict[str, list[reading.Mixture]]:
    """Return the files of sessions that are not of one writing, of each session that has some.

    By their revisions, by updates, by deletions of rows, and by the files that they were registered with.
    """
    files = _files(eids)
    return _mixtures(files, _past(_hashes(files)))


def _mixtures(
    files: Mapping[str, Sequence[reading.Source]], past: _Past, rows: Sequence[dict[str, Any]] | None = None
) -> dict[str, list[reading.Mixture]]:
    standing = _standing(past, rows=rows)
    found = {eid: mixtures_in(those, past.before[eid], standing.get(eid, ())) for eid, those in files.items()}
    return {eid: mixtures for eid, mixtures in found.items() if mixtures}


def _hashes(files: Mapping[str, Sequence[reading.Source]]) -> dict[str, dict[str, str]]:
    """Return the sha256 of files by session, and by path without revision."""
    return {eid: {reading.without_revision(one.dataset): one.sha256 for one in those} for eid, those in files.items()}


def _suspects() -> list[str]:
    """Return the sessions of which files were noted or rows deleted, with files of several revisions, or with doubts.

    Also those that were registered with other files, have files that another one had, or some final places beside
    estimates. All others are of one writing.
    One statement: a lab has tens of thousands of files, which the database compares and counts.
    """
    sources = [table.Source.full_table_name for table in ReadsSession.choosing]
    files = " UNION ALL ".join(f"SELECT eid, revision FROM {source}" for source in sources)
    fovs = FOV.full_table_name
    places = " UNION ".join(f"SELECT eid, {of} AS source FROM {fovs} WHERE {of} <> 'none'" for of in PLACE_SOURCES)
    sessions, registered, deleted = (table.full_table_name for table in (Session, Session.File, Deletion.File))
    is_own = " OR ".join(f"RIGHT(deleted.file_dataset, {len(name)}) = '{name}'" for name in reading.OWN)
    suspects = [
        f"SELECT eid FROM ({files}) AS files GROUP BY eid HAVING COUNT(DISTINCT revision) > 1",
        f"SELECT eid FROM ({places}) AS places GROUP BY eid HAVING COUNT(DISTINCT source) > 1",
        f"SELECT mixed_eid FROM {SourceUpdate.Mixture.full_table_name}",
        f"SELECT eid FROM {Wheel.Doubt.full_table_name}",
        f"SELECT eid FROM {sessions} JOIN {deleted} ON subject = file_subject AND session_date = file_date",
        *(OTHER_THAN_REGISTERED.format(source=source, registered=registered) for source in sources),
        *(OF_ANOTHER.format(source=source, deleted=deleted, is_own=is_own) for source in sources),
    ]
    rows = Session.connection.query(" UNION ".join(suspects)).fetchall()
    return sorted(str(eid).strip() for (eid,) in rows)  # PostgreSQL pads char columns with spaces


def _of(eids: Sequence[str]) -> list[dict[str, str]]:
    return [{"eid": eid} for eid in eids]


def _files(eids: Sequence[str]) -> dict[str, list[reading.Source]]:
    """Return the files that the rows of sessions were read from, by session; one statement."""
    found: dict[str, list[reading.Source]] = defaultdict(list)
    queries = [(table.Source & _of(eids)).make_sql(list(SOURCE_COLUMNS)) for table in ReadsSession.choosing]
    numbered = (f"SELECT {number} AS kind, files.* FROM ({sql}) AS files" for number, sql in enumerate(queries))
    rows = Session.connection.query(" UNION ALL ".join(numbered)).fetchall()
    for _, eid, dataset, *rest in sorted(rows, key=itemgetter(0, 1, 2)):
        found[str(eid)].append(reading.Source(dataset, "", *rest))
    return found


def file_hashes(eid: str) -> dict[str, str]:
    """Return the sha256 of each file that the rows of a session were read from, by path without revision."""
    return hashes_in(files_of(eid))


def standing_mixtures(
    eid: str, known: Mapping[str, str], unread: Mapping[str, str] | None = None
) -> list[reading.Standing]:
    """Return what was found by updates, and when files were read first or again, and both sides are what they were.

    Parameters
    ----------
    eid : str
    known : mapping of str to str
        As of ``file_hashes``.
    unread : mapping of str to str, optional
        Likewise: fluorescence and neuropil that updates looked at, and no row was read from.
    """
    past = _past({eid: known})
    standing = _standing(past, {eid: unread or {}}).get(eid, [])
    at_first = (still for one in past.before[eid].at_first if (still := one.among(known)))
    return [*standing, *reading.not_named(at_first, standing)]


def _of_updates(past: _Past) -> list[dict[str, Any]]:
    """Return what updates noted of sessions, also under former ids, with the ``eid`` of now; a statement."""
    ids = {one: eid for eid, before in past.former.items() for one in before} | {eid: eid for eid in past.known}
    rows = SourceUpdate.Mixture * SourceUpdate.proj("updated_at") & [{"mixed_eid": eid} for eid in ids]
    return [{**row, "eid": ids[row["mixed_eid"]]} for row in rows.to_dicts(order_by="updated_at, mixture")]


def _standing(
    past: _Past, unread: Mapping[str, Mapping[str, str]] | None = None, rows: Sequence[dict[str, Any]] | None = None
) -> dict[str, list[reading.Standing]]:
    """Return ``standing_mixtures`` of several sessions; ``rows`` as of ``_of_updates``."""
    known, _, before = past
    found: dict[str, list[reading.Standing]] = defaultdict(list)
    for row in _of_updates(past) if rows is None else rows:
        eid = row["eid"]
        newer, older = (reading.renamed(row[side], before[eid].present) for side in ("mixed_newer", "mixed_older"))
        now = {**(unread or {}).get(eid, {}), **known[eid]}
        if one := reading.still_standing(row["mixed_what"], row["mixed_reason"], newer, older, now):
            found[eid].append(one)  # also if the session was registered again since: its files are what they were
    for eid, standing in since_deletions(known, before).items():
        found[eid] = reading.joined(found[eid], standing)
    return found


def readings_before(
    eid: str, now: reading.Read
) -> tuple[list[reading.Read], list[reading.Read], dict[tuple[str, str], str]]:
    """Return the files of deleted rows of a session, and what all its files were then; ``now`` are those of now.

    Also, as ``History.present``, the sha256 that stands for a file that was saved again: new files may be in bytes of
    before.
    """
    before = _past({eid: now.hashes}).before[eid]
    return before.deleted, reading.readings_before(before.deleted, now), before.present


def mixture_rows(
    found: Mapping[str, Sequence[reading.Standing]], number: int = 0
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield the rows of SourceUpdate.Mixture, without the key of the update.

    Parameters
    ----------
    found : mapping of str to sequence of Standing
        By session.
    number : int
        Of the first.
    """
    every = ((eid, one) for eid, those in found.items() for one in those)
    for i, (eid, one) in enumerate(every, start=number):
        newer, older = (
            {path: one.former.get(path, "") for path in side} for side in (one.mixture.newer, one.mixture.older)
        )
        yield {
            "mixture": i, "mixed_eid": eid, "mixed_what": one.mixture.what, "mixed_newer": newer,
            "mixed_older": older, "mixed_reason": one.mixture.reason,
        }  # fmt: skip
