"""Reading again what has changed in ONE, and asking again the questions that were answered with it.

An update has two steps. ``_replace``: in one transaction, write down what changed, the questions and the former
results, and delete the rows. ``_complete``: populate the tables, ask the questions, and compute their results. All of
the second step can be repeated, and is repeated by the next update of the subject if this one does not reach its end.
"""

from __future__ import annotations

import datetime
import math
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from typing import Any

import datajoint as dj
import numpy as np
from datajoint.errors import DuplicateError

from pipeline import reading
from pipeline.errors import DataError, MesoError
from pipeline.reading.fov import POSITIONS, TYPES, UUIDS, is_of_same_rois
from pipeline.storage.arrays import unpack
from schemas.behavior import ChoiceModel
from schemas.cascade import Cascade
from schemas.days.tables import SharedEmbedding, SharedEmbeddingTask
from schemas.decoding.tables import (
    NDCCohort,
    NDCComparison,
    NDCFamily,
    NDCPopulation,
    NDCResult,
    NDCTask,
    TransferMatrix,
    TransferResult,
    TransferTask,
    TrialFeatures,
)
from schemas.embedding import Embedding, ImportedOrder, RasterTiles, embeddings_of_fovs
from schemas.imaging.signals import Signal, SignalParams, signal_of
from schemas.imaging.tables import FOV
from schemas.labels import notes_on_labels
from schemas.provenance import OF_UPDATE, FormerResult, SourceUpdate, now
from schemas.queries.ids import subjects_of
from schemas.queries.tracking_runs import latest_tracking_runs
from schemas.responses.tables import CellResponse, Stability, StabilityTask, TrialTypeMean
from schemas.server.binding import table_named
from schemas.server.connection import lock
from schemas.server.settings import prefix
from schemas.session import (
    FINGERPRINT,
    LABELLED,
    REGISTERED,
    Behavior,
    FOVFolder,
    ReadsSession,
    Session,
    Wheel,
    exchange_notes,
    mixture_note,
    one_for,
    read_from,
    registered_folders,
    registered_hashes,
    trials_key,
    trials_of,
    unlisted_notes,
)
from schemas.tracking import SessionSet, SharedCells, TrackedCell, TrackedFOV, TrackingRun
from schemas.upkeep.changed_files import ChangedRow, changed_rows
from schemas.upkeep.copied_in_part import check_whole, check_whole_signal, names_in, notes_on_parts, stored_and_new
from schemas.upkeep.mixtures import Kept, file_hashes, mixture_rows, readings_before, standing_mixtures
from schemas.upkeep.saved_again import record_files, same_values
from schemas.upkeep.unfinished import unfinished_updates, waiting_subjects
from schemas.work.filling import SESSION_TABLES, fill
from schemas.work.reports import retry

#: Tables whose rows are kept in FormerResult, and the parts that belong to a result.
RESULTS: dict[type[dj.Table], tuple[str, ...]] = {
    NDCResult: ("Curve",), NDCComparison: ("Result", "Trend", "DayTrend", "DayValue", "Drift"),
    NDCPopulation: ("Slope", "Mean", "Difference"), TransferResult: ("Train",), TransferMatrix: ("Pair",),
    Embedding: ("Rank",), ImportedOrder: ("Rank",), Stability: ("Day", "Pair", "Gap", "Slope", "Control"),
    SharedEmbedding: ("Rank",),
}  # fmt: skip
#: Tables of curves that are compared, and the name of their questions in ``SourceUpdate.update_questions``.
COMPARED: dict[type[NDCFamily | NDCCohort], str] = {NDCFamily: "families", NDCCohort: "cohorts"}
#: Columns of a set of sessions that are arguments of ``SessionSet.add``.
RULE = {
    "set_neurons_only": "neurons_only",
    "min_cell_probability": "min_cell_probability",
    "min_silhouette": "min_silhouette",
}


@dataclass
class Updated:
    """The result of ``update``.

    Attributes
    ----------
    changes : list of ChangedRow
        Rows whose files have changed.
    tables : dict of str to (int, int)
        By table, how many rows are computed again and how many stay.
    notes : list of str
        What else was done: former updates that were completed, questions that have another key now.
    failures : list of str
        What could not be read or computed again.
    update_id : str
        Of ``SourceUpdate``; '' if nothing was replaced.
    """

    changes: list[ChangedRow] = field(default_factory=list)
    tables: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    update_id: str = ""

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        changes = [row for changed in self.changes for row in changed.as_rows()]
        tables = [{"table": name, "n_again": again, "n_stay": stay} for name, (again, stay) in self.tables.items()]
        return {**vars(self), "changes": changes, "tables": tables}


def update(eids: Sequence[str], *, dry_run: bool = False, progress: bool = False) -> Updated:
    """Read again the files of sessions that have changed, and compute again what depends on them.

    Parameters
    ----------
    eids : sequence of str
        Registered sessions.
    dry_run : bool
        Change nothing: only find what changed, and count the rows.
    progress : bool
        Show progress bars.
    """
    # one at a time: to another, an update that is running would look like one that was killed
    with nullcontext() if dry_run else lock(prefix() + "update"):
        done, subjects = Updated(), set(subjects_of(eids))
        eids = _with_unfinished(eids, subjects, done)
        done.changes = _not_only_saved_again(_changed(eids, done), done, dry_run)
        ready, found = _ready(done.changes, done, dry_run)
        runs = _changed_runs(eids, ready, done)
        cascades = [Cascade(rows) for rows in _starts(ready) if rows]
        done.tables = _counts(cascades)
        if dry_run:
            return done
        if cascades or runs:
            done.update_id = _replace(ready, runs, cascades, found)
        # only now: files may have changed again since an update was killed, and its rows are of those before
        for row in unfinished_updates():
            waiting = waiting_subjects(row)
            if waiting & subjects or not waiting:
                _complete(row, waiting & subjects, done, progress)
        return done


def _with_unfinished(eids: Sequence[str], subjects: set[str], done: Updated) -> list[str]:
    """Return sessions, and those of updates of the same subjects that did not reach their end; note the others."""
    found = dict.fromkeys(eids)
    for row in unfinished_updates():
        when, waiting = f"{row['updated_at']:%Y-%m-%d %H:%M} UTC", waiting_subjects(row)
        if waiting & subjects or not waiting:
            done.notes.append(f"the update of {when} was not finished")
            found |= dict.fromkeys(_eids_of(row, waiting & subjects))
        for subject in sorted(waiting - subjects):
            done.notes.append(f"an update of {subject}, of {when}, is not finished: meso update --subject {subject}")
    return list(found)


# ---------------------------------------------------------------------------------------------------- 1. what changed


def _changed(eids: Sequence[str], done: Updated) -> list[ChangedRow]:
    """Return the rows of sessions whose files have changed; a session that cannot be looked at is a failure.

    Revisions that ONE does not list are noted.
    """
    of_eids = [{"eid": eid} for eid in eids]
    registered = {row["eid"]: row for row in (Session & of_eids).proj(*REGISTERED).to_dicts()} if of_eids else {}
    for eid in eids:
        try:
            done.changes += changed_rows(eid, content=True)
        except MesoError as error:
            done.failures.append(str(error))
            continue
        with suppress(MesoError):  # a session without rows, of which no file is here
            done.notes += unlisted_notes(one_for(eid, registered[eid]), eid)
    return done.changes


def _not_only_saved_again(changed: list[ChangedRow], done: Updated, dry_run: bool) -> list[ChangedRow]:
    """Return the rows whose files hold other values; those of the others are noted, and recorded as they are now.

    So are single files of a FOV beside such that hold other values: they have not changed.
    """
    found = []
    for row in changed:
        sources, rest = same_values(row)
        found += [rest] if rest else []
        if sources:
            stays = "" if rest else ", so that all that is made of them stays"
            as_before = replace(row, changes=tuple(one for one in row.changes if not rest or one not in rest.changes))
            done.notes.append(f"saved again with the same values{stays}: {as_before}")
            if not dry_run:
                record_files(row, sources)
    return found


@dataclass(frozen=True)
class _Found:
    """What an update finds of the new files of a session.

    Attributes
    ----------
    mixtures : list of Standing
        Files that are not of one writing.
    given : dict of str to str
        The sha256 of each new file, by path without revision; also of fluorescence and neuropil that are not read.
    unread : dict of str to str
        Of these the sha256 that they had before.
    trials : str
        ``trials_key`` of the new trials; '' if these stay.
    kept : list of Kept
        Notes that are kept with the update.
    """

    mixtures: list[reading.Standing]
    given: dict[str, str]
    unread: dict[str, str]
    trials: str
    kept: list[Kept]


def _ready(
    changed: list[ChangedRow], done: Updated, dry_run: bool
) -> tuple[list[ChangedRow], dict[str, _Found]]:  # fmt: skip
    """Return the rows whose new files can be read, so that no good row gives way to an error; the rest are failures.

    If some of a session cannot be read, all of it stays: old and new files can have other clocks. Returned is also what
    was found of the new files of each session, such as that some have changed and others have not.
    """
    read: list[_Read] = []
    problems = {id(row): _problem(row, changed, read, done) for row in changed}
    problems |= _at_odds(read)
    while more := _copies_of_what_stays(read, _kept(changed, problems)):
        problems |= more
    kept = _kept(changed, problems)
    for row in changed:
        if row.key["eid"] in kept:
            reason = problems[id(row)] or f"like all of the session: {row}"
            done.failures.append(f"{row.table} stays as it is, {reason}")
        done.notes += _older(row)
    ready = [row for row in changed if row.key["eid"] not in kept]
    found = {}
    for eid in sorted({row.key["eid"] for row in ready}):
        own = [one for one in read if one.row.key["eid"] == eid]
        here = _signals_here(eid, own)
        if not dry_run:
            beside = [file for files in here.values() for file in files.values()]
            _complete_files(eid, [*(source for one in own for source in one.sources), *beside])
        found[eid], notes = _found(eid, own, here)
        done.notes += [*_notes_on(eid, found[eid].mixtures), *notes]
    for eid, registered in registered_folders(found).items():
        if (folder := read_from(registered)) and folder != registered:
            found[eid].kept.append(Kept("folder", eid, folder, found[eid].given))
    done.notes += [f"session {one.eid}: {one}" for those in found.values() for one in those.kept]
    return ready, found


def _complete_files(eid: str, files: list[reading.Source]) -> None:
    """Write down which new files are those that a session was registered with: see ``Session.File``."""
    Session.File.complete(reading.SessionReader(one_for(eid), eid), files)


def _found(
    eid: str, read: list[_Read], here: dict[str, dict[str, reading.Source]]
) -> tuple[_Found, list[str]]:  # fmt: skip
    """Return what is found of the new files of a session, and notes on other FOVs' files, and on labels."""
    read_now, new_trials = _given(read), _new_trials(read)
    stored = reading.Read(file_hashes(eid), trials_key(trials_of(eid)), until=now())
    deleted, earlier, present = readings_before(eid, stored)
    unread, beside = _unread_signals(eid, here, stored.hashes, read_now, deleted)
    standing = standing_mixtures(eid, stored.hashes, unread)
    for path in _of_neither_side(unread, standing):
        del unread[path], beside[path]
    former, given = replace(stored, hashes={**unread, **stored.hashes}), beside | read_now
    as_known = reading.renamed(given, present)
    new = reading.Read(reading.with_given(former.hashes, as_known), new_trials or former.trials)
    fovs = {(FOVFolder & one.row.key).fetch1("collection"): one for one in read if one.row.table == FOV.__name__}
    mixtures = reading.since(
        former, new, standing, earlier,
        lambda folder: folder in fovs and not _is_activity_of_same_rois(fovs[folder]),
    )  # fmt: skip
    # without what is not read: of that, nothing is known of the times before the last
    hashes = reading.with_given(stored.hashes, reading.renamed(read_now, present))
    places = reading.first_elsewhere([*deleted, stored], hashes)
    behaviour = [LABELLED[one.row.table] for one in read if one.row.table in LABELLED]
    kept = list(_values_exchanged(eid, read, places, deleted))
    return _Found(mixtures, given, unread, new_trials, kept), [
        *exchange_notes(eid, {path: (eid, place) for path, place in places.items() if path in read_now}),
        *notes_on_labels(eid, [*deleted, stored], hashes, behaviour),
    ]  # fmt: skip


def _signals_here(eid: str, read: list[_Read]) -> dict[str, dict[str, reading.Source]]:
    """Return the files of fluorescence and neuropil of FOVs that are read again, by collection and path."""
    fovs = [one.row.key for one in read if one.row.table == FOV.__name__]
    collections = (FOVFolder & fovs).to_arrays("collection").tolist() if fovs else []
    reader = reading.SessionReader(one_for(eid), eid)
    names = {one: reading.fluorescence_datasets(one, neuropil=True) for one in collections}
    return {one: reading.files_here(reader, datasets) for one, datasets in names.items()}


def _unread_signals(
    eid: str, here: dict[str, dict[str, reading.Source]], hashes: Mapping[str, str], given: Mapping[str, str],
    deleted: Sequence[reading.Read],
) -> tuple[dict[str, str], dict[str, str]]:  # fmt: skip
    """Return the files of fluorescence and neuropil that no row of FOVs that are read again was read from.

    They are written with the rest of an extraction, and may be read later. What an earlier update saw of them counts,
    or else what they were at registration.

    Returns
    -------
    before, now : dict of str to str
        Their sha256 by path without revision; ``now`` with those of all signals of these FOVs.
    """
    registered = registered_hashes([eid]).get(eid, {})
    before: dict[str, str] = {}
    now: dict[str, str] = {}
    for files in here.values():
        unread = [path for path in files if path not in hashes and path not in given]
        known = {path: reading.last_given(deleted, path) or registered.get(path, "") for path in unread}
        if found := {path: sha256 for path, sha256 in known.items() if sha256}:
            before |= found
            now |= {path: one.sha256 for path, one in files.items() if path in found or path in hashes}
    return before, now


def _of_neither_side(unread: Mapping[str, str], standing: Sequence[reading.Standing]) -> list[str]:
    """Return unread files of FOVs with files of two writings of which these are not known to be.

    They may be of either: that the rest of the newer writing has come must not be noted again because of them.
    """
    of_rois = [one.mixture for one in standing if one.mixture.what == reading.ROI_MIXTURE]
    named = {path for one in of_rois for side in (one.newer, one.older) for path in side}
    mixed = {path.rpartition("/")[0] for path in named}
    return [path for path in unread if path not in named and path.rpartition("/")[0] in mixed]


def _given(read: list[_Read]) -> dict[str, str]:
    """Return the sha256 of each new file, by path without revision."""
    return {reading.without_revision(source.dataset): source.sha256 for one in read for source in one.sources}


def _new_trials(read: list[_Read]) -> str:
    """Return ``trials_key`` of new trials, '' if there are none."""
    tables = (one.data.table for one in read if one.row.table == Behavior.__name__)
    return next((trials_key({name: table[name].to_numpy() for name in FINGERPRINT}) for table in tables), "")


def _notes_on(eid: str, found: Iterable[reading.Standing]) -> list[str]:
    return [f"{mixture_note(eid, one.mixture)} once more" for one in found]


def _kept(changed: list[ChangedRow], problems: dict[int, str]) -> set[str]:
    """Return the sessions of which a row has a problem."""
    return {row.key["eid"] for row in changed if problems[id(row)]}


@dataclass(frozen=True)
class _Read:
    """The new files of a row, which can be used: what they hold, and which they are."""

    row: ChangedRow
    data: Any
    sources: Sequence[reading.Source]
    #: Why the files could not be used if the other rows that change stayed.
    copied: DataError | None = None


def _problem(row: ChangedRow, changed: list[ChangedRow], read: list[_Read], done: Updated) -> str:
    """Return why the new files of a row cannot be used, '' if they can; note those that another row was read from.

    What can be used is appended to ``read``.
    """
    if row.table == Signal.__name__ and any(row.is_of(other) for other in changed):
        return _signal_problem(row, read)  # it goes with its FOV, and is then read from the new files
    kinds = {change.kind for change in row.changes}
    if "gone" in kinds and "new" not in kinds:
        return f"its files are gone: {row}"
    try:
        table = table_named(row.table)()
        data, sources = table.make_compute(row.key, *table.make_fetch(row.key))
        replaced = [other.key for other in changed if other.table == row.table]
        table.check(row.key, data, sources, replaced=replaced)
        check_whole(row, data)
        if row.table == Signal.__name__:
            check_whole_signal(row, lambda rois: np.array([unpack(data[1][roi]) for roi in rois]))
        done.notes += notes_on_parts(row, data)
        done.notes += _against_wheel(row, data, changed)
    except MesoError as error:
        return f"the new files cannot be used: {error}"
    exchanged = list(_exchanged(table, row, sources, replaced))
    done.notes += exchanged
    copied = None if exchanged or len(replaced) == 1 else _copied(table, row, data, sources)
    data = None if row.table == Signal.__name__ else data  # traces would fill the memory
    read.append(_Read(row, data, sources, copied))
    return ""


def _signal_problem(row: ChangedRow, read: list[_Read]) -> str:
    """Return why the new files of a signal cannot be used with those of its FOV, '' if they can.

    What can be used is appended to ``read``.
    """
    registered, collection, _, _ = Signal().make_fetch(row.key)
    settings = (SignalParams & row.key).settings()
    for fov in [one.data for one in read if row.is_of(one.row)]:
        try:
            client = one_for(row.key["eid"], registered)
            found = reading.read_fluorescence(
                client, row.key["eid"], row.key["fov"], collection, fov, neuropil=settings.needs_neuropil
            )
            if (FOV & row.key).fetch1("n_frames", "n_rois") == found.traces.shape:
                check_whole_signal(row, partial(signal_of, found, fov.frame_times, settings))
        except MesoError as error:
            return f"the new files cannot be used: {error}"
        read.append(_Read(row, None, found.reader.sources))
    return ""


def _against_wheel(row: ChangedRow, data: Any, changed: list[ChangedRow]) -> list[str]:
    """Refuse new trials that contradict the wheel that stays, return notes of what is odd.

    A new wheel is compared when it is read.
    """
    if row.table != Behavior.__name__ or any(one.table == Wheel.__name__ and one.key == row.key for one in changed):
        return []
    return [f"the new trials and the wheel, which stays: {text}" for text in Behavior.check_wheel(row.key, data)]


def _at_odds(read: list[_Read]) -> dict[int, str]:
    """Return by id of a row why its new files cannot be used together with those of another.

    Each was compared with the rows that stay. The second of two to be inserted would be refused, when its former row is
    gone.
    """
    found = {}
    together: dict[tuple, list[_Read]] = defaultdict(list)
    for one in read:
        measured = (source.sha256 for source in one.sources if reading.is_measured(source.dataset))
        for shared in (one.row.key["eid"], *measured):
            together[one.row.table, shared].append(one)
    for (table, _), those in together.items():
        for one, other in permutations(those, 2):
            try:
                table_named(table).check_together(
                    one.row.key, one.data, one.sources, other.row.key, other.data, other.sources
                )
            except DataError as error:
                found[id(one.row)] = f"the new files cannot be used: {error}"
    return found


def _copies_of_what_stays(read: list[_Read], kept: set[str]) -> dict[int, str]:
    """Return by id of a row why its new files cannot be used while the rows of some sessions stay.

    Each was compared with the rows of all files that have not changed.
    """
    found = {}
    ready = [one for one in read if one.row.key["eid"] not in kept] if kept else []
    for one in ready:
        replaced = [other.row.key for other in ready if other.row.table == one.row.table]
        try:
            table_named(one.row.table).check(one.row.key, one.data, one.sources, replaced=replaced)
        except DataError as error:
            found[id(one.row)] = f"the new files cannot be used: {error}"
    return found


def _older(row: ChangedRow) -> Iterator[str]:
    """Yield a note for each dataset of which ONE gives an older revision than the one that was read."""
    for change in row.changes:
        if change.is_older:
            yield (
                f"session {row.key['eid']}: ONE gives {change.found} now, an older revision than {change.recorded}, "
                f"which was read. If {change.recorded} was withdrawn by mistake, put it back, and run: "
                f"meso update {row.key['eid']}"
            )


def _exchanged(table: Any, row: ChangedRow, sources: Sequence[reading.Source], replaced: list[dict]) -> Iterator[str]:
    """Yield a note if new files of a row are those of another session's row, which gets other files now, too.

    That files were exchanged, and that an exchange is mended, look alike.
    """
    new = {change.dataset for change in row.changes}
    mine = {source.sha256: source.dataset for source in sources if source.dataset in new}
    others = [key for key in replaced if key["eid"] != row.key["eid"]]
    found = (table.Source & [{"sha256": one} for one in mine] & others).to_dicts() if mine and others else []
    yield from exchange_notes(row.key["eid"], {mine[one["sha256"]]: (one["eid"], one["dataset"]) for one in found})


def _copied(table: Any, row: ChangedRow, data: Any, sources: Sequence[reading.Source]) -> DataError | None:
    """Return why new files of a row could not be used if all other rows stayed: they are copies by value of these."""
    try:
        table.check_values(row.key, data, sources, replaced=[row.key])
    except DataError as error:
        return error
    return None


def _values_exchanged(
    eid: str, read: list[_Read], places: Mapping[str, str], deleted: Sequence[reading.Read]
) -> Iterator[Kept]:  # fmt: skip
    """Yield a note for each row of a session whose new files hold the values of another row, which changes, too.

    Not of files that are known by their bytes: those of another FOV, ``places``, and those that are back.
    """
    for one in read:
        files = _given([one])
        new = {reading.without_revision(change.dataset) for change in one.row.changes} & files.keys()
        is_back = any(before.hashes.get(path) == files[path] for before in deleted for path in new)
        if one.copied and not is_back and not files.keys() & places.keys():
            yield Kept("exchanged", eid, f"{one.copied.dataset} holds the values of {one.copied.found}", files)


def _is_activity_of_same_rois(one: _Read) -> bool:
    """Return whether new activity of a FOV is, by a sample, of the ROIs of which the stored activity is.

    Activity that is deconvolved again alone is. If it comes with positions or types, or cannot be compared, it is taken
    to be.
    """
    if names_in(one.row) & {TYPES, POSITIONS, UUIDS} or (samples := stored_and_new(one.row, one.data)) is None:
        return True
    stored, new = samples
    return is_of_same_rois(((FOV & one.row.key).fetch1("signal"), stored), (one.data.signal, new))


def _changed_runs(eids: Sequence[str], ready: list[ChangedRow], done: Updated) -> list[dict[str, Any]]:
    """Return the latest tracking runs of the sessions' subjects whose UID files have changed, with their rules.

    A run is of all sessions of a subject: if one of them stays as it is, its UIDs do, too, and so does the run. It also
    stays if a file that has changed does not fit a FOV whose UIDs fitted, unless the FOV is read again.
    """
    replaced = [(row.key["eid"], row.key["fov"]) for row in ready if row.table == "FOV"]
    subjects = set((Session & [{"eid": eid} for eid in eids]).to_arrays("subject")) if eids else set()
    stay = {row.key["eid"] for row in done.changes} - {row.key["eid"] for row in ready}
    of_those = set((Session & [{"eid": eid} for eid in sorted(stay)]).to_arrays("subject")) if stay else set()
    found = []
    for key in latest_tracking_runs():
        if key["subject"] not in subjects:
            continue
        row = (TrackingRun & key).fetch1()
        rule: dict[str, Any] = {name: row[name] or None for name in ("subject", "uid_root", "duplicates", "uid_form")}
        try:
            if TrackingRun.key_of_files(**rule) == key:
                continue
            if key["subject"] in of_those:
                done.failures.append(
                    f"the UIDs of {key['subject']} have changed and stay as they are, like all of the sessions above; "
                    f"to register them all the same: meso track {key['subject']}"
                )
            elif problems := _problems_of_uids(key, rule, replaced):
                done.failures += [f"the UIDs of {key['subject']} stay as they are: {error}" for error in problems]
            else:
                found.append({"former": key, **rule})
                done.notes.append(f"the UIDs of {key['subject']} have changed: they become a new tracking run")
                done.notes += TrackingRun.notes_on_files(key["subject"], [key], rule["uid_root"], rule["uid_form"])
        except MesoError as error:
            done.failures.append(f"the UIDs of {key['subject']} stay as they are: {error}")
    return found


def _problems_of_uids(key: dict, rule: dict[str, Any], replaced: list[tuple[str, int]]) -> list[DataError]:
    """Return why changed UID files cannot take the place of those of a run."""
    return TrackingRun.problems(
        key, rule["uid_root"], rule["duplicates"], rule["uid_form"] or "uuid", replaced=replaced
    )


# --------------------------------------------------------------------------------------- 2. what is deleted, and kept


def _starts(changed: list[ChangedRow]) -> list[dj.Table]:
    """Return the rows to delete, with all that depends on them."""
    by_table = {table.__name__: table for table in ReadsSession.choosing}
    keys = {name: [row.key for row in changed if row.table == name] for name in by_table}
    fovs: dict[str, set[int]] = defaultdict(set)
    for key in keys.get("FOV", []):
        fovs[key["eid"]].add(key["fov"])
    return [
        *(table & keys[name] for name, table in by_table.items() if keys[name]),
        # a FOV that had no neurons is in no rank, through which others are reached
        *(embeddings_of_fovs(eid, of_session) for eid, of_session in fovs.items()),
    ]


def _counts(cascades: list[Cascade]) -> dict[str, tuple[int, int]]:
    """Return by table how many rows are deleted, to be computed again, and how many stay."""
    tables: dict[str, list[dj.Table]] = {}
    for cascade in cascades:
        for title, rows in cascade.tables.items():
            tables.setdefault(title, []).append(rows)
    found = {}
    for title, parts in tables.items():
        # only small tables are reached from several kinds of files
        again = len(parts[0]) if len(parts) == 1 else len(_keys(parts))
        if again:
            total = len(dj.FreeTable(parts[0].connection, parts[0].full_table_name))
            found[title] = (again, total - again)
    return found


def _replace(changed: list[ChangedRow], runs: list[dict], cascades: list[Cascade], found: dict[str, _Found]) -> str:
    """Write down changes, questions and former results, and delete the rows, all or nothing; return the update's id."""
    key = {"update_id": secrets.token_hex(16)}
    with SourceUpdate.connection.transaction:
        sets, compared = _rows(cascades, "SessionSet"), {table: _rows(cascades, table.__name__) for table in COMPARED}
        former = {eid: file_hashes(eid) for eid in found}
        SourceUpdate.insert1({
            **key, "updated_at": now(), "update_changes": [one for row in changed for one in row.as_rows()],
            "update_questions": {
                **_questions(sets, compared, runs), "embeddings": _rows(cascades, "Embedding"),
                "curves": sorted({
                    row["session_set"] for name in ("NDCResult", "TransferResult") for row in _rows(cascades, name)
                }),
                "stability": sorted({
                    row["session_set"] for name in ("Stability", "SharedEmbedding") for row in _rows(cascades, name)
                }),
                "files": {eid: _files_of(eid, former[eid], found[eid]) for eid in found},
            },
        })  # fmt: skip
        mixtures = {eid: one.mixtures for eid, one in found.items()}
        SourceUpdate.Mixture.insert({**key, **row} for row in mixture_rows(mixtures))
        kept = [one for those in found.values() for one in those.kept]
        SourceUpdate.Mixture.insert(
            {**key, "mixture": i, **one.as_row()} for i, one in enumerate(kept, sum(map(len, mixtures.values())))
        )
        FormerResult.insert({**key, **former} for former in _former(cascades))
        for cascade in cascades:
            cascade.delete(reason=f"{OF_UPDATE} {key['update_id']}: files changed")
    return key["update_id"]


def _files_of(eid: str, former: dict[str, str], found: _Found) -> dict[str, Any]:
    """Return the files of a session before, and those that are to be read, with the hashes of the trials."""
    trials = trials_key(trials_of(eid))
    return {
        "former": former, "unread": found.unread, "given": found.given, "trials": trials,
        "given_trials": found.trials or trials,
    }  # fmt: skip


def _rows(cascades: list[Cascade], title: str) -> list[dict]:
    """Return the keys of a table that are deleted."""
    return _keys([cascade.tables[title] for cascade in cascades if title in cascade.tables])


def _keys(parts: list[dj.Table]) -> list[dict]:
    """Return the keys of restricted tables with the same attributes, each once."""
    found = {tuple(key.items()) for rows in parts for key in rows.proj().to_dicts()}
    return [dict(items) for items in sorted(found)]


def _questions(
    sets: list[dict], compared: dict[type[NDCFamily | NDCCohort], list[dict]], runs: list[dict]
) -> dict[str, Any]:  # fmt: skip
    """Return what was asked, as plain values: of sets that are deleted, and of those of tracking runs that change."""
    renewed = [run["former"] for run in runs]
    of_runs = (SessionSet & renewed).keys() if renewed else []
    asked = {one["session_set"]: one for one in [*sets, *of_runs]}
    found: dict[str, Any] = {"runs": runs, "sets": [_set_question(one) for one in asked.values()]}
    for table, kind in COMPARED.items():
        (name,) = table.primary_key
        with_sets = (table.Member & list(asked.values())).to_arrays(name) if asked else []
        names = sorted({*(one[name] for one in compared[table]), *map(str, with_sets)})
        found[kind] = [_members(table, {name: one}) for one in names]
    return found


def _members(table: type[NDCFamily | NDCCohort], key: dict) -> list[list[str]]:
    """Return set and settings of each member of a family or a cohort."""
    rows = (table.Member & key).to_dicts(order_by="KEY")
    return [[row["session_set"], row["ndc_params"]] for row in rows]


def _set_question(key: dict) -> dict[str, Any]:
    row = (SessionSet & key).fetch1()
    return {
        **key, "eids": (SessionSet.Member & key).to_arrays("eid", order_by="eid").tolist(),
        "run": {name: row[name] for name in TrackingRun.primary_key},
        "rule": {argument: row[column] for column, argument in RULE.items()},
        "tasks": (NDCTask - NDCTask.WithoutCurve.proj() & key).to_arrays("ndc_params", order_by="ndc_params").tolist(),
        "transfers": [[row["ndc_params"], row["scaler"]] for row in (TransferTask & key).to_dicts(order_by="KEY")],
        "stability": (StabilityTask & key).proj().to_dicts(order_by="KEY"),
        "shared_embeddings": (SharedEmbeddingTask & key).proj().to_dicts(order_by="KEY"),
    }  # fmt: skip


def _former(cascades: list[Cascade]) -> Iterator[dict[str, Any]]:
    """Yield rows of FormerResult, without the key of the update."""
    for table, parts in RESULTS.items():
        for number, key in enumerate(_rows(cascades, table.__name__)):
            yield {
                "former_table": table.__name__, "former_number": number, "former_key": key,
                "former_row": _plain((table & key).fetch1()),
                "former_parts": {part: _plain((getattr(table, part) & key).to_dicts(order_by="KEY")) for part in parts},
            }  # fmt: skip


def _plain(value: Any) -> Any:
    """Return values of rows as JSON has them."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else _text(value)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.date | datetime.datetime) else str(value)


# ------------------------------------------------------------------------------------- 3. reading and computing again


def _eids_of(row: dict[str, Any], subjects: set[str]) -> list[str]:
    """Return the sessions of an update that are still registered, of some subjects."""
    eids = sorted({change["eid"] for change in row["update_changes"]})
    found = Session & [{"eid": eid} for eid in eids] & [{"subject": subject} for subject in sorted(subjects)]
    return found.to_arrays("eid", order_by="eid").tolist() if eids and subjects else []


def _complete(row: dict[str, Any], subjects: set[str], done: Updated, progress: bool) -> None:
    """Read the files of an update again, ask its questions, and compute their results: those of some subjects."""
    eids, update = _eids_of(row, subjects), {"update_id": row["update_id"]}
    sessions = [{"eid": eid} for eid in eids]
    embeddings = (Embedding & sessions).keys() if sessions else []
    for eid in eids:
        retry(eid=eid)  # its files are others now
    if sessions:
        _fill((*SESSION_TABLES, Signal, ChoiceModel, TrialTypeMean, CellResponse), [sessions], done, progress)
    for eid in eids:
        done.notes += _notes_on(eid, _mixtures_since(row, eid))
    questions = row["update_questions"]
    sets = [one for one in questions["sets"] if one["run"]["subject"] in subjects]
    others = {one["session_set"] for one in questions["sets"]} - {one["session_set"] for one in sets}
    runs = [one for one in questions["runs"] if one["subject"] in subjects]
    renewed = _register_again(runs, done)
    keys = {one["session_set"]: _ask(one, renewed, done, progress) for one in sets}
    _ask_curves(sets, keys)
    _ask_stability(sets, keys)
    _ask_embeddings(sets, keys)
    tasks = _new_tasks(questions["sets"], {**_finished_sets(update), **keys})
    for table, kind in COMPARED.items():
        for members in questions.get(kind, ()):  # an update of before version 16 knows no cohorts
            _ask_compared(table, members, tasks)
    # also those that were made without a FOV that had failed
    for embedding in [*(one for one in questions["embeddings"] if one["eid"] in eids), *embeddings]:
        _fill((Embedding, RasterTiles), [embedding], done, progress)
    names = {key["session_set"] for key in keys.values() if key}
    names |= {*questions["curves"], *questions.get("stability", ())} - others
    if names:
        in_sets = [{"session_set": name} for name in sorted(names)]
        filled = (SharedCells, TrialFeatures, NDCResult, TransferResult, TransferMatrix, Stability, SharedEmbedding)
        _fill(filled, [in_sets], done, progress)
        for table, result in ((NDCFamily, NDCComparison), (NDCCohort, NDCPopulation)):
            (name,) = table.primary_key
            keys_of = sorted(set((table.Member & in_sets).to_arrays(name)))
            _fill((result,), [[{name: one} for one in keys_of]], done, progress)
    _finish(row, subjects, sets, keys, [one["subject"] for one in runs if one["former"]["tracking_run"] not in renewed])


def _mixtures_since(row: dict[str, Any], eid: str) -> list[reading.Standing]:
    """Find, and keep, files of two writings among those of a session that changed again before they were read again.

    So they can while the update runs, or after it was killed: the rows with which new files are compared are gone then.
    """
    files = row["update_questions"].get("files", {}).get(eid)  # an update of before has none
    if not files:
        return []
    update = {"update_id": row["update_id"]}
    read = reading.Read(file_hashes(eid), trials_key(trials_of(eid)))
    _, earlier, present = readings_before(eid, read)
    former, given = (
        reading.renamed(hashes, present) for hashes in ({**files.get("unread", {}), **files["former"]}, files["given"])
    )
    _, found = reading.since_update(
        reading.Read(former, files["trials"]), reading.Read(given, files.get("given_trials", files["trials"])),
        read, standing_mixtures(eid, files["former"], files.get("unread")), earlier,
    )  # fmt: skip
    number = len(SourceUpdate.Mixture & update)
    SourceUpdate.Mixture.insert({**update, **row} for row in mixture_rows({eid: found}, number))
    return found


def _finish(
    row: dict[str, Any], subjects: set[str], sets: list[dict], keys: dict[str, dict | None], unregistered: list[str]
) -> None:
    """Write down of which subjects an update is finished, and whether all of it is.

    Failed jobs are in the job tables, as always; what could not even be asked is tried again by the next update.
    """
    update = {"update_id": row["update_id"]}
    failed = {one["run"]["subject"] for one in sets if keys[one["session_set"]] is None} | set(unregistered)
    for subject in sorted(subjects - failed):
        new = {one["session_set"]: keys[one["session_set"]] for one in sets if one["run"]["subject"] == subject}
        _insert_once(SourceUpdate.OfSubject, {**update, "done_subject": subject, "done_sets": new, "subject_at": now()})
    if not waiting_subjects(row):
        _insert_once(SourceUpdate.Done, {**update, "done_at": now()})


def _insert_once(table: type[dj.Table], row: dict[str, Any]) -> None:
    """Insert a row, unless another process did; on MySQL skip_duplicates would need the right to UPDATE."""
    with suppress(DuplicateError):
        table.insert1(row)


def _finished_sets(update: dict[str, str]) -> dict[str, dict]:
    """Return the keys that sets of an update have now, by their former ones, of the subjects that are finished."""
    found: dict[str, dict] = {}
    for done_sets in (SourceUpdate.OfSubject & update).to_arrays("done_sets"):
        found |= done_sets
    return found


def _fill(tables: Iterable[type[dj.Table]], restrictions: Sequence[Any], done: Updated, progress: bool) -> None:
    """Populate tables; failed jobs are failures, and stay in the job tables."""
    done.failures += fill(tables, *restrictions, progress=progress).lines()


def _register_again(runs: list[dict], done: Updated) -> dict[str, dict]:
    """Register changed UID files; return the key of the new run by the hash of the former one."""
    found = {}
    for run in runs:
        try:
            found[run["former"]["tracking_run"]] = TrackingRun.register(
                run["subject"], run["uid_root"], run["duplicates"], run["uid_form"] or "uuid"
            )
        except MesoError as error:
            done.failures.append(str(error))
    return found


def _ask(question: dict, renewed: dict[str, dict], done: Updated, progress: bool) -> dict | None:
    """Insert a set of sessions again, under the new tracking run if there is one; return its key.

    Empty if sessions of it were deleted meanwhile; None if it cannot be asked now.
    """
    if deleted := set(question["eids"]) - set((Session & [{"eid": eid} for eid in question["eids"]]).to_arrays("eid")):
        done.notes.append(f"the set {question['session_set']} is gone with the sessions {', '.join(sorted(deleted))}")
        return {}
    run = renewed.get(question["run"]["tracking_run"], question["run"])
    _fill((TrackedCell,), [run], done, progress)
    _fill((TrackedFOV,), [run, [{"eid": eid} for eid in question["eids"]]], done, progress)
    try:
        key = SessionSet.add(question["eids"], run, **question["rule"])
    except DataError as error:
        done.failures.append(f"the set {question['session_set']} cannot be compared any more: {error}")
        return None
    if key["session_set"] != question["session_set"]:
        done.notes.append(
            f"the set {question['session_set']} is now {key['session_set']}: other UIDs, or other FOVs fit"
        )
    return key


def _ask_curves(sets: list[dict], keys: dict[str, dict | None]) -> None:
    """Insert the tasks of sets again."""
    for question in sets:
        if key := keys[question["session_set"]]:
            NDCTask.ask(key, [{"ndc_params": params} for params in question["tasks"]])
            # an update of before version 21 knows no transfers
            asked = question.get("transfers", ())
            TransferTask.ask(key, [({"ndc_params": params}, scaler) for params, scaler in asked])


def _new_tasks(sets: list[dict], keys: dict[str, dict | None]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the new (set, settings) of each former one."""
    return {
        (question["session_set"], params): (key["session_set"], params)
        for question in sets if (key := keys.get(question["session_set"])) for params in question["tasks"]
    }  # fmt: skip


def _ask_stability(sets: list[dict], keys: dict[str, dict | None]) -> None:
    """Insert the tasks of stability of sets again."""
    for question in sets:
        if key := keys[question["session_set"]]:
            for task in question.get("stability", ()):  # an update of before version 22 knows none
                windows, params = ({name: task[name]} for name in ("window_set", "stability_params"))
                StabilityTask.add(key, windows, params)


def _ask_embeddings(sets: list[dict], keys: dict[str, dict | None]) -> None:
    """Insert the tasks of embeddings of several days again."""
    for question in sets:
        if key := keys[question["session_set"]]:
            for task in question.get("shared_embeddings", ()):  # an update of before version 27 knows none
                embedding, days = ({name: task[name]} for name in ("embedding_params", "days_params"))
                SharedEmbeddingTask.add(key, embedding, days)


def _ask_compared(
    table: type[NDCFamily | NDCCohort], members: list[list[str]], tasks: dict[tuple[str, str], tuple[str, str]]
) -> None:
    """Insert a family or a cohort again, if all its tasks are there."""
    new = [tasks.get((name, params), (name, params)) for name, params in members]
    rows = [{"session_set": name, "ndc_params": params} for name, params in new]
    if all(NDCTask & row for row in rows):
        table.add(rows)
