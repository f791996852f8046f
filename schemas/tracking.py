"""Tracking of cells across sessions, and sets of sessions that are compared by their shared cells."""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np

from pipeline.errors import ArgumentError, DataError, MesoError, NotFoundError
from pipeline.reading import SessionReader
from pipeline.reading.fov import MIN_EXPLAINED, POSITIONS, explained_by_plane
from pipeline.tracking import places as of_cells
from pipeline.tracking import uids as tracking
from schemas.cascade import WholeDelete
from schemas.imaging.tables import FOV, ROI
from schemas.provenance import now
from schemas.rows import checked, content_key
from schemas.session import FOVFolder, Session, Subject, one_for  # noqa: F401  a foreign key names Subject
from schemas.storage.bulk import columns
from schemas.uid_checks import UNREADABLE, location, tracked_rois

schema = dj.Schema()
#: eid and number of a FOV.
FOVPlace = tuple[str, int]
#: Columns of TrackingRun that say how its files are read.
READING = ("duplicates", "uid_form")
#: So many UIDs in the same lines of two files are not there by chance.
N_BY_CHANCE = 3
#: Columns of TrackedFOV that say of another mouse which of its FOVs has the UIDs of a file.
OF_OTHER = ("subject", "tracking_run", "eid", "fov")
#: So many UIDs of a file are looked for among the cells of other mice: of a file half of which is a copy, one is there
#: but for a chance of 1 in 256.
N_LOOKED_FOR = 8
#: Columns of RegisteredUIDs that say when its session was.
DAY = ("first_date", "first_number")


@schema
class TrackingRun(WholeDelete, dj.Manual):
    definition = """
    # cell UIDs of a subject, as they stood when they were registered; each run of ROICaT makes new ones
    -> Subject
    tracking_run : char(32)             # hash of the contents of all its files
    ---
    uid_root='' : varchar(512)          # root of the mirrored tree, '' for the session folders
    duplicates : varchar(8)             # a UID twice in a session is an 'error', or the 'first' ROI's
    registered_at : datetime(6)         # UTC
    uid_form=null : varchar(8)          # 'uuid' or 'any' word; NULL: as before version 9, any line but blank and nan
    """

    @classmethod
    def register(
        cls,
        subject: str,
        uid_root: str | Path | None = None,
        duplicates: str = "error",
        uid_form: str = "uuid",
        *,
        same_rois: Collection[str | FOVPlace] = (),
        other_places: Collection[str | FOVPlace] = (),
    ) -> dict:
        """Read all UID files of a subject's registered sessions, and return the key of the run.

        The contents are stored, so that later steps need no files. The same contents give the same run.

        Parameters
        ----------
        subject : str
        uid_root : path, optional
            Root of a mirrored tree of UID files; by default they are read from the session folders.
        duplicates : {'error', 'first'}
            If a UID occurs twice in a session: the FOV of the second fails, or only its first ROI has the UID.
        uid_form : {'uuid', 'any'}
            What a UID is: a UUID, or any word. A FOV whose file has other lines fails.
        same_rois : collection of str or (str, int)
            Sessions, or FOVs as (eid, fov), whose UID files, registered before, when the ROIs had other positions, are
            of the ROIs as they are now. By default a file stays that of the ROIs that it was first registered with, and
            fits no others.
        other_places : collection of str or (str, int)
            Sessions, or FOVs as (eid, fov), whose UIDs are on the right lines although the cells are at other places of
            the image than on other days: their files, as they are now, are not compared by places. Kept in
            ``RegisteredUIDs.OtherPlaces``.

        Raises
        ------
        DataError
            The subject has no registered session, or none of its sessions, or of those that are named, has a UID file.
        ArgumentError
            `uid_form` is neither of the two.
        """
        if uid_form not in tracking.UID_FORMS:
            raise ArgumentError(f"uid_form must be one of {', '.join(tracking.UID_FORMS)}, not {uid_form!r}")
        uid_root = None if uid_root is None else str(uid_root)
        files = _with_first_rois(subject, _all_uid_files(subject, uid_root), same_rois)
        key = _run_key(subject, duplicates, uid_form, files)
        with cls.connection.transaction:
            row = {"uid_root": uid_root or "", "registered_at": now()}
            if cls & key:
                cls.update1({**key, **row})  # updates registered_at: the run registered last is used by default
            else:
                cls.insert1({**key, **row, "duplicates": duplicates, "uid_form": uid_form})
            # an interrupted or repeated registration finds its rows there
            TrackingFile.insert(({**key, **file} for file in files), skip_duplicates=True)
            TrackingFile.set_rois(subject, files)
            RegisteredUIDs.keep(subject, files)
            RegisteredUIDs.OtherPlaces.keep(subject, files, other_places)
            RegisteredUIDs.Silhouettes.keep(subject, files)
        return key

    @classmethod
    def key_of_files(
        cls, subject: str, uid_root: str | None = None, duplicates: str = "error", uid_form: str | None = "uuid"
    ) -> dict[str, str]:
        """Return the key that ``register`` would return, without inserting anything; parameters and errors as there.

        With None as ``uid_form`` it is the key from before there were forms.
        """
        return _run_key(subject, duplicates, uid_form, _all_uid_files(subject, uid_root))

    @classmethod
    def problems(
        cls, former: dict[str, str], uid_root: str | None, duplicates: str, uid_form: str | None,
        replaced: Collection[FOVPlace] = (),
    ) -> list[DataError]:  # fmt: skip
        """Return why UID files that have changed since a run do not fit FOVs that are tracked in it; insert nothing.

        Parameters
        ----------
        former : dict
            Key of the run.
        uid_root, duplicates, uid_form
            As for ``register``, errors also.
        replaced : collection of (str, int)
            FOVs, as (eid, fov), that will be read again: whether their files fit cannot be told yet.

        Returns
        -------
        list of DataError
            One for each such FOV, which says what does not fit.
        """
        files = _with_first_rois(former["subject"], _all_uid_files(former["subject"], uid_root))
        known = {_content_of(file): _quality_key(file) for file in (TrackingFile & former).to_dicts()}
        tracked = {_place_of(key) for key in (TrackedFOV & former).proj().to_dicts()} - set(replaced)
        changed = {_place_of(file) for file in files if known.get(_content_of(file)) != _quality_key(file)}
        run = _run_key(former["subject"], duplicates, uid_form, files)
        reading, found = {"duplicates": duplicates, "uid_form": uid_form}, []
        for file in _examined(run, reading, files, changed & tracked).values():
            try:
                tracked_rois(file)
            except DataError as error:
                found.append(error)
        return found

    @classmethod
    def notes_on(cls, run: dict[str, str], former: Sequence[dict[str, str]]) -> list[str]:
        """Return notes on what may be still to come of a registered run, compared with former ones.

        Parameters
        ----------
        run : dict
            Key of the run.
        former : sequence of dict
            Keys of the runs before it.
        """
        files = (TrackingFile & run).to_dicts(order_by="eid, fov")
        return _notes_on_files(run["subject"], files, former, (cls & run).fetch1("uid_form"))

    @classmethod
    def notes_on_files(
        cls, subject: str, former: Sequence[dict[str, str]], uid_root: str | None, uid_form: str | None
    ) -> list[str]:
        """Return the notes of ``notes_on`` that the files of now would have, without inserting anything.

        Parameters
        ----------
        subject : str
        former : sequence of dict
            Keys of the runs.
        uid_root, uid_form
            As for ``register``.
        """
        return _notes_on_files(subject, _all_uid_files(subject, uid_root), former, uid_form)


def _notes_on_files(
    subject: str, files: Sequence[dict[str, Any]], former: Sequence[dict[str, str]], uid_form: str | None
) -> list[str]:
    """Return notes on UID files, or silhouettes, that may be still to come beside these."""
    return [*_half_tracked(subject, files, former, uid_form), *_of_several_runs(subject, files, uid_form)]


def _half_tracked(
    subject: str, every: Sequence[dict[str, Any]], former: Sequence[dict[str, str]], uid_form: str | None
) -> list[str]:
    """Return notes on FOVs whose UIDs are all others than in former runs, and whose silhouettes are the same.

    So it is if cells were tracked again and the new silhouettes are still to come, or if that gave the same cells
    with new names. Also on those of which it is the reverse: most silhouettes are others, and the UIDs the same.
    Of a FOV that none of the runs has, as its rows were deleted, the UIDs and the hash of the silhouettes that were
    registered are compared.
    """
    files, old = [file for file in every if _quality_key(file)], defaultdict(list)
    for file in (TrackingFile & list(former)).to_dicts() if former else ():
        old[_place_of(file)].append(file)
    lost = _registered_with(subject, [file for file in files if _place_of(file) not in old])

    def cells_in(text: str) -> set[str]:
        return set(tracking.cells_in(text, uid_form))

    found = []
    for file in files:
        place, quality = _place_of(file), _quality_key(file)
        before = old.get(place, [])
        texts = [one["uid_text"] for one in before if _quality_key(one) == quality] or lost.get(place, [])
        cells = cells_in(file["uid_text"]) if before or texts else set()
        if any((known := cells_in(text)) and cells and not cells & known for text in texts):
            found.append(_half_note(subject, file, f"all {len(cells)} UIDs are new, and the silhouettes are"))
        n = max((_n_others(file, one) for one in before if cells_in(one["uid_text"]) == cells), default=0)
        if n > len(cells) / 2:
            what = f"{n} of {len(cells)} silhouettes are new, and the UIDs are"
            found.append(_half_note(subject, file, what, tracking.UIDS))
    return found


def _of_several_runs(subject: str, files: Sequence[dict[str, Any]], uid_form: str | None) -> list[str]:
    """Return a note for each FOV that has no cell in common between some days and the others.

    So it is if the cells were tracked again with other sessions, and the new UID files came for some days only. Days
    that share a cell with one day of a group are of it.
    """
    cells_of: dict[int, dict[str, set[str]]] = defaultdict(dict)
    for file in files:
        if cells := set(tracking.cells_in(file["uid_text"], uid_form)):
            cells_of[file["fov"]][file["eid"]] = cells
    groups = {fov: _with_common_cells(cells_of[fov]) for fov in sorted(cells_of)}
    return [
        f"FOV_{fov:02d}: no UID of {' and '.join(f'session {eid}' for eid in few)} is in the other sessions. If "
        f"the cells were tracked again with other sessions, UID files are still to come: then run meso track {subject} "
        "once more"
        for fov, (_, *others) in groups.items() for few in others
    ]  # fmt: skip


def _with_common_cells(cells_of: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of sessions that share no cell with one another, the largest first."""
    groups: list[tuple[list[str], set[str]]] = []
    for eid, cells in cells_of.items():
        same = [group for group in groups if group[1] & cells]
        groups = [group for group in groups if not group[1] & cells]
        groups.append(([*(one for eids, _ in same for one in eids), eid], cells.union(*(seen for _, seen in same))))
    return sorted((eids for eids, _ in groups), key=lambda eids: (-len(eids), eids))


def _half_note(subject: str, file: dict[str, Any], what: str, lacking: str = tracking.SILHOUETTE) -> str:
    """Return the note on a FOV that was tracked again in part: what is new, and the dataset that is not."""
    return (
        f"session {file['eid']}, FOV_{file['fov']:02d}: {what} those of before. If the cells were tracked again, "
        f"{lacking} is still to come: then run meso track {subject} once more"
    )


def _registered_with(subject: str, files: list[dict[str, Any]]) -> dict[FOVPlace, list[str]]:
    """Return the UID files that the FOVs of some files had beside the same silhouettes, by eid and fov of these."""
    found, earlier = {}, _earlier_files(subject, files) if files else {}
    for file in files:
        keys = [{name: row[name] for name in RegisteredUIDs.primary_key} for row in earlier.get(_place_of(file), ())]
        same = (RegisteredUIDs.Silhouettes & keys & {"silhouettes": _quality_key(file)}).to_dicts() if keys else []
        others = [row for row in same if row["uid_sha256"] != file["uid_sha256"]]  # its own may be registered by now
        keys = [{name: row[name] for name in RegisteredUIDs.primary_key} for row in others]
        found[_place_of(file)] = (RegisteredUIDs & keys).to_arrays("first_text").tolist() if keys else []
    return found


def _all_uid_files(subject: str, uid_root: str | None) -> list[dict[str, Any]]:
    """Return ``_uid_files``, of which there must be some."""
    if uid_root and not Path(uid_root).is_dir():
        raise DataError(
            f"there is no folder {uid_root}", dataset=tracking.UIDS, expected="the root of a tree of UIDs of cells",
            do="Correct the path, or copy a tree there first: "
            f"meso track {subject} --uid-root {uid_root} --mirror ADDRESS",
        )  # fmt: skip
    files = list(_uid_files(subject, uid_root))
    if not files:
        raise DataError(
            f"no UID file for any session of {subject}",
            dataset=tracking.UIDS,
            do=f"They were looked for in {uid_root or 'the session folders'}. To copy a tree of them first: "
            f"meso track {subject} --uid-root FOLDER --mirror ADDRESS",
        )
    return files


def _run_key(subject: str, duplicates: str, uid_form: str | None, files: list[dict[str, Any]]) -> dict[str, str]:
    # without paths: the same files from a mirror or from the session folders are the same run
    content = [[row["eid"], row["fov"], row["uid_sha256"], _quality_key(row)] for row in files]
    # files that any form reads alike have the key that they had before there were forms
    form = [] if all(tracking.reads_as_before(row["uid_text"], uid_form) for row in files) else [uid_form]
    return {"subject": subject, "tracking_run": content_key([duplicates, content, *form])}


def _quality_key(file: dict) -> str:
    """Return the hash of a UID file's silhouettes, '' if it has none; JSON has no NaN, so it is None there."""
    values = file["cluster_silhouette"]
    return "" if values is None else content_key([None if np.isnan(v) else float(v) for v in values])


def _n_others(file: dict, before: dict) -> int:
    """Return how many ROIs have another silhouette than before, if they had one."""
    new, old = file["cluster_silhouette"], before["cluster_silhouette"]
    if old is None or len(new) != len(old):
        return 0
    return int(((new != old) & np.isfinite(new) & np.isfinite(old)).sum())


def _uid_files(subject: str, uid_root: str | None) -> Iterator[dict[str, Any]]:
    """Yield rows of TrackingFile, without the key of the run, for each FOV that has a UID file."""
    sessions = Session & {"subject": subject}
    if not sessions:
        raise NotFoundError(
            f"no session of {subject} is registered", do=f"Register them with: meso ingest --subject {subject}"
        )
    for folder in (FOVFolder * sessions.proj("session_date", "session_number")).to_dicts(order_by="eid, fov"):
        place = (folder["eid"], folder["fov"], folder["collection"])
        rois = _rois_now(*place)
        if uid_root:
            alf = tracking.mirror_folder(uid_root, subject, folder["session_date"], folder["session_number"])
            file = tracking.read_mirrored(alf, folder["fov"])
        else:
            file = tracking.read_session(one_for(folder["eid"]), folder["eid"], folder["collection"])
        if file is None:
            continue
        if _rois_now(*place) != rois:  # UIDs of one extraction would be taken for those of another
            raise DataError(
                "the positions of the ROIs were replaced while the UIDs were read", eid=folder["eid"],
                fov=folder["fov"], dataset=POSITIONS,
                do=f"When all files of the FOV are there, try again: meso track {subject}",
            )  # fmt: skip
        yield {
            "eid": folder["eid"], "fov": folder["fov"], "uid_origin": file.origin, "uid_sha256": file.sha256,
            "uid_text": file.text, "cluster_silhouette": file.silhouette, "uid_rois": rois,
        }  # fmt: skip


def _with_first_rois(
    subject: str, files: list[dict[str, Any]], same_rois: Collection[str | FOVPlace] = ()
) -> list[dict[str, Any]]:
    """Return files with the ROIs that their UIDs were first registered with, but those of ``same_rois``.

    A new extraction has other ROIs, whose UIDs are in a new file; an old file would give old cells to them. A file that
    was edited, or saved with other line ends, is still the old one.
    """
    earlier, said = _earlier_files(subject, files), _which_of(subject, files, same_rois, "have the same ROIs")
    return [
        file if same else {**file, "uid_rois": _first_rois(file, earlier)}
        for file, same in zip(files, said, strict=True)
    ]


def _which_of(
    subject: str, files: Sequence[dict[str, Any]], named: Collection[str | FOVPlace], what: str
) -> list[bool]:  # fmt: skip
    """Return which files are of sessions, or FOVs as (eid, fov), that a person names; ``what`` is said of them.

    Raises
    ------
    DataError
        One of them has no file.
    """
    said = [{file["eid"], _place_of(file)} & set(named) for file in files]
    if unknown := set(named) - set().union(*said):
        raise DataError(
            f"no UID file of a session or FOV that is said to {what}", dataset=tracking.UIDS,
            found=", ".join(sorted(map(str, unknown))), do=f"Name sessions of {subject}, or FOVs such as EID:FOV_02",
        )  # fmt: skip
    return list(map(bool, said))


def _place_of(file: dict[str, Any]) -> FOVPlace:
    return file["eid"], file["fov"]


def _earlier_files(subject: str, files: list[dict[str, Any]]) -> dict[FOVPlace, list[dict[str, Any]]]:
    """Return the rows of RegisteredUIDs, without texts, of the sessions of some files, by eid and fov of these.

    A session is known by its id, since the subject's name may have been corrected, and also by subject, date and
    number, since it may have had another id, under which it was deleted.
    """
    eids = sorted({file["eid"] for file in files})
    rows = RegisteredUIDs & [{"subject": subject}, *({"eid": eid} for eid in eids)]
    days = _days_of(eids)
    found: dict[FOVPlace, list[dict[str, Any]]] = {}
    for row in _with_is_gone(
        rows.proj("first_rois", *DAY, "first_registered_at").to_dicts(order_by="first_registered_at")
    ):
        own = [eid for eid in eids if row["eid"] == eid or (row["is_gone"] and _may_be_of(row, days[eid]))]
        for eid in own if row["first_rois"] != UNREADABLE else ():
            found.setdefault((eid, row["fov"]), []).append(row)
    return found


def _days_of(eids: Sequence[str]) -> dict[str, tuple[datetime.date, int]]:
    """Return date and number of registered sessions."""
    rows = (Session & [{"eid": eid} for eid in eids]).proj("session_date", "session_number").to_dicts()
    return {row["eid"]: (row["session_date"], row["session_number"]) for row in rows}


def _with_is_gone(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of RegisteredUIDs with whether their session ``is_gone``: it was deleted."""
    there = _days_of(sorted({row["eid"] for row in rows})) if rows else {}
    return [{**row, "is_gone": row["eid"] not in there} for row in rows]


def _may_be_of(row: dict[str, Any], day: tuple[datetime.date, int]) -> bool:
    """Return whether a row of RegisteredUIDs may be of a session of its subject with this date and number."""
    # of sessions that were deleted before version 18 the date is not known
    return row["first_date"] is None or (row["first_date"], row["first_number"]) == day


def _first_rois(file: dict[str, Any], known: dict[FOVPlace, list[dict[str, Any]]]) -> str:
    """Return the ROIs of the first registered file of a FOV that is this one, or else the file's own."""
    earlier = known.get(_place_of(file), [])
    for row in earlier:
        if row["uid_sha256"] == file["uid_sha256"]:
            return str(row["first_rois"])
    own = tracking.UIDText(file["uid_text"])
    for row in earlier:
        key = {name: row[name] for name in RegisteredUIDs.primary_key}
        other = tracking.UIDText((RegisteredUIDs & key).fetch1("first_text"))
        if tracking.is_of_same_rois(own, other) or tracking.is_in_same_order(own, other):
            return str(row["first_rois"])
    return str(file["uid_rois"])


def _rois_now(eid: str, fov: int, collection: str) -> str:
    """Return the hash of the positions of a FOV's ROIs: those that ONE gives now, or else those in the database."""
    try:
        positions = SessionReader(one_for(eid), eid).array(POSITIONS, collection)
        readable = positions.ndim == 2 and bool(np.isfinite(positions).all())
        return _positions_key(positions) if readable else UNREADABLE  # FOV says what is wrong with them
    except MesoError:
        key = {"eid": eid, "fov": fov}
        return _positions_key(_stored_positions(key)) if ROI & key else UNREADABLE


def _stored_positions(key: dict) -> np.ndarray:
    """Return the positions of the ROIs of a FOV in the database, (n_rois, 2): y, x; none if they are not read."""
    return np.column_stack((ROI & _fov_of(key)).to_arrays("stack_y", "stack_x", order_by="roi"))


def _positions_key(positions: np.ndarray) -> str:
    """Return a hash of positions in the image, (n_rois, 2 or 3) numbers: y, x."""
    return hashlib.sha256(np.ascontiguousarray(positions[:, :2], dtype="<i8").tobytes()).hexdigest()


@schema
class TrackingFile(WholeDelete, dj.Manual):
    definition = """
    # the UID file of a FOV
    -> TrackingRun
    -> FOVFolder
    ---
    uid_origin : varchar(512)           # path it was read from
    uid_sha256 : char(64)
    uid_text : <blob>                   # the whole file: one line per ROI, blank for none
    cluster_silhouette=null : <blob>    # (n_rois,) float64, ROICaT's quality of each ROI's cluster
    uid_rois='' : varchar(64)           # hash of the positions of the ROIs that it was registered with, '' if not known
    """

    @classmethod
    def set_rois(cls, subject: str, files: Sequence[dict[str, Any]]) -> None:
        """Write the ROIs of files in all runs of a subject: they were unreadable, or are now said to be the same."""
        names = ("eid", "fov", "uid_sha256")
        rois = {tuple(file[name] for name in names): file["uid_rois"] for file in files}
        for row in (cls & {"subject": subject} & ["uid_rois <> ''"]).proj("uid_sha256", "uid_rois").to_dicts():
            now_rois = rois.get(tuple(row[name] for name in names), row["uid_rois"])
            if now_rois != row["uid_rois"]:
                cls.update1({**{name: row[name] for name in cls.primary_key}, "uid_rois": now_rois})


@schema
class RegisteredUIDs(WholeDelete, dj.Manual):
    definition = """
    # a UID file as it was first registered: kept when its session is deleted, which may be registered again
    -> Subject
    eid : char(36)                      # no foreign key
    fov : int16
    uid_sha256 : char(64)
    ---
    first_text : <blob>                 # the whole file
    first_rois : varchar(64)            # hash of the positions of its ROIs, as TrackingFile.uid_rois
    first_registered_at : datetime(6)   # UTC
    first_date=null : date              # of its session, which may come back under another id; NULL: not known
    first_number=null : int32
    """

    class OtherPlaces(dj.Part):
        definition = """
        # a person said that its UIDs are on the right lines, although cells are at other places than on other days
        -> master
        ---
        said_by : varchar(255)          # account of the database
        said_at : datetime(6)           # UTC
        """

        @classmethod
        def keep(cls, subject: str, files: Sequence[dict[str, Any]], named: Collection[str | FOVPlace]) -> None:
            """Insert the files of sessions, or FOVs as (eid, fov), unless they are there; errors as ``register``."""
            said = {"said_by": cls.connection.get_user(), "said_at": now()}
            for file, is_named in zip(files, _which_of(subject, files, named, "have other places"), strict=True):
                key = {"subject": subject, **{name: file[name] for name in RegisteredUIDs.primary_key[1:]}}
                if is_named and not cls & key:
                    cls.insert1({**key, **said})

    class Silhouettes(dj.Part):
        definition = """
        # silhouettes that were beside the UIDs when these were registered; none of before version 31
        -> master
        silhouettes : char(32)              # hash
        """

        @classmethod
        def keep(cls, subject: str, files: Sequence[dict[str, Any]]) -> None:
            """Insert those of files, rows of TrackingFile, that are not there."""
            names = RegisteredUIDs.primary_key[1:]
            rows = [{"subject": subject, **{name: file[name] for name in names}, "silhouettes": quality}
                    for file in files if (quality := _quality_key(file))]  # fmt: skip
            known = (cls & {"subject": subject}).proj().to_dicts()
            cls.insert(row for row in rows if row not in known)

    @classmethod
    def keep(cls, subject: str, files: Sequence[dict[str, Any]], when: datetime.datetime | None = None) -> None:
        """Insert files that are not there, and write the ROIs of those that are there with others.

        Parameters
        ----------
        subject : str
        files : sequence of dict
            Rows of TrackingFile.
        when : datetime, optional
            Of the registration; by default now.
        """
        known = {tuple(row[name] for name in cls.primary_key): row["first_rois"]
                 for row in (cls & {"subject": subject}).proj("first_rois").to_dicts()}  # fmt: skip
        days = _days_of(sorted({file["eid"] for file in files}))
        for file in files:
            key = {"subject": subject, **{name: file[name] for name in cls.primary_key[1:]}}
            before = known.get(tuple(key.values()))
            if before is None:
                cls.insert1({
                    **key, "first_text": file["uid_text"], "first_rois": file["uid_rois"],
                    **dict(zip(DAY, days[file["eid"]], strict=True)), "first_registered_at": when or now(),
                }, skip_duplicates=True)  # fmt: skip
            elif before != file["uid_rois"]:
                cls.update1({**key, "first_rois": file["uid_rois"]})


@schema
class TrackedCell(WholeDelete, dj.Computed):
    definition = """
    # a cell that tracking gave a name
    -> TrackingRun
    cell_uid : varchar(64)
    """

    @property
    def key_source(self):
        return TrackingRun.proj()

    def make(self, key):
        files, uid_form = (TrackingFile & key).to_dicts(), (TrackingRun & key).fetch1("uid_form")
        # of all files, whether or not they fit their FOV: a FOV that is read later must find its cells
        cells = {uid for file in files for uid in tracking.cells_in(file["uid_text"], uid_form)}
        if not cells:
            for file in files:
                tracking.check_form(tracking.uid_lines(file["uid_text"], uid_form), uid_form, **location(file))
            raise DataError(
                f"no cell of {key['subject']} is tracked", dataset=tracking.UIDS, expected="UIDs", found="blank lines"
            )
        self.insert({**key, "cell_uid": uid} for uid in sorted(cells))


@schema
class TrackedFOV(WholeDelete, dj.Computed):
    definition = """
    # a FOV whose UID file fits its ROIs
    -> TrackingFile
    -> FOV
    ---
    n_tracked : int32
    n_repeated : int32                  # lines left out because their UID came before (duplicates 'first')
    """

    class Member(dj.Part):
        definition = """
        # this ROI is this cell
        -> master
        -> ROI
        ---
        -> TrackedCell
        silhouette=null : float64
        unique index (subject, tracking_run, cell_uid, eid)
        """

    @property
    def key_source(self):
        # needs the ROIs of the FOV, and the TrackedCells that its members refer to
        return TrackingFile.proj() * (FOV.proj() & ROI.proj()) & TrackedCell.proj()

    #: Jobs that agree in these are run together (``make_together``): as many statements for up to 32 FOVs as for one.
    together = ("subject", "tracking_run")

    def make(self, key):
        for error in self.make_together([key]).values():
            raise error

    @classmethod
    def make_together(cls, keys: Sequence[dict]) -> dict[int, DataError]:
        """Insert the rows of several keys of one tracking run; return by number the errors of those that have none.

        Raises
        ------
        DataError
            Another process replaced a FOV meanwhile; the rows of no key are to stay.
        """
        sources = _sources_of(keys)
        files = _files_of(keys)
        rows: list[dict] = []
        members: list[dict] = []
        errors: dict[int, DataError] = {}
        for i, key in enumerate(keys):
            try:
                found, n_repeated = tracked_rois(files[key["eid"], key["fov"]])
            except DataError as error:
                errors[i] = error
                continue
            rows.append({**key, "n_tracked": len(found), "n_repeated": n_repeated})
            members += [{**key, **row} for row in found]
        cls.insert(rows, allow_direct_insert=True)
        cls.Member.insert(members)
        # only now: the rows that were inserted keep others from deleting the FOVs until they are committed
        _check_sources(keys, sources)
        return errors


def _sources_of(keys: Sequence[dict], suffix: str = "") -> set[tuple]:
    """Return eid, fov, dataset and sha256 of the files that FOVs were read from; one statement."""
    query = (FOV.Source & [_fov_of(key) for key in keys]).make_sql(["eid", "fov", "dataset", "sha256"])
    return set(FOV.connection.query(query + suffix).fetchall())


def _check_sources(keys: Sequence[dict], before: set[tuple]) -> None:
    """Refuse FOVs that are not read from the files any more from which they were: their ROIs may be others.

    It reads what is committed by now, which on MySQL only a locking read does, and not rows that are being deleted.
    """
    for eid, fov, dataset, _ in sorted(before ^ _sources_of(keys, " FOR SHARE SKIP LOCKED"))[:1]:
        raise DataError(
            "another process read the FOV again, or deleted it, while its cells were matched to its ROIs",
            eid=eid, fov=fov, dataset=dataset, do=f"Try again: meso track {keys[0]['subject']}",
        )  # fmt: skip


def _files_of(keys: Sequence[dict]) -> dict[FOVPlace, dict[str, Any]]:
    """Return ``_examined`` for FOVs of one run, whose files are registered."""
    run = {name: keys[0][name] for name in TrackingRun.primary_key}
    files = (TrackingFile & run).to_dicts(order_by="eid, fov")
    return _examined(run, (TrackingRun & run).proj(*READING).fetch1(), files, [_place_of(key) for key in keys])


def _examined(
    run: dict, reading: dict[str, Any], files: Sequence[dict[str, Any]], places: Collection[FOVPlace]
) -> dict[FOVPlace, dict[str, Any]]:
    """Return by eid and fov the files of some FOVs, with all that decides whether their UIDs fit.

    These are ``n_rois``, ``positions`` (hash of those in the database), ``duplicates`` and ``uid_form`` of the run,
    ``earlier`` (files of the FOVs before in the session), ``copy`` and ``moved`` (see ``_registered_like``),
    ``other_mouse`` (see ``_of_other_mice``), and ``verdict`` with ``others`` (see ``_verdicts``).

    Parameters
    ----------
    run : dict
        Key of a TrackingRun, which need not be in the database.
    reading : dict
        Its ``duplicates`` and ``uid_form``.
    files : sequence of dict
        All its rows of TrackingFile, by eid and fov.
    places : collection of (str, int)
        The FOVs whose files are wanted; those that are not in the database are left out.
    """
    sessions = [{"eid": eid} for eid in sorted({file["eid"] for file in files})]
    n_rois = {_place_of(row): row["n_rois"] for row in (FOV & sessions).proj("n_rois").to_dicts()}
    texts = {_place_of(file): tracking.UIDText(file["uid_text"]) for file in files}
    own = [file for file in files if _place_of(file) in n_rois and _place_of(file) in places]
    if not own:
        return {}
    positions = _positions_of([_fov_of(file) for file in own])
    likes = _registered_like(run, files, own, texts)
    mice = _of_other_mice(run["subject"], own, texts) if reading["uid_form"] == "uuid" else {}
    verdicts, found = _verdicts(run, files, n_rois, positions, texts), {}
    for file, (copy, moved) in zip(own, likes, strict=True):
        place = _place_of(file)
        found[place] = {
            **file, **reading, "subject": run["subject"], "n_rois": n_rois[place], "positions": positions[place],
            "copy": copy, "moved": moved, "other_mouse": mice.get(place), **verdicts[place],
            "earlier": [f["uid_text"] for f in files if f["eid"] == place[0] and f["fov"] < place[1]],
        }  # fmt: skip
    return found


def _fov_of(key: dict) -> dict[str, Any]:
    return {"eid": key["eid"], "fov": key["fov"]}


def _positions_of(fovs: Sequence[dict]) -> dict[FOVPlace, str]:
    """Return the hash of the positions of the ROIs of FOVs in the database, by eid and fov; one statement."""
    names = ("eid", "fov", "roi", "stack_y", "stack_x")
    eids, numbers, _, *positions = columns(ROI & fovs, *names, order_by=names[:3])
    places, stacked, found, first = zip(eids.tolist(), numbers.tolist(), strict=True), np.column_stack(positions), {}, 0
    for place, rows in groupby(places):
        n = len(list(rows))
        found[place] = _positions_key(stacked[first : first + n])
        first += n
    return found


def _registered_like(
    run: dict, files: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]],
    texts: dict[FOVPlace, tracking.UIDText],
) -> list[tuple[dict[str, Any] | None, dict[str, Any] | None]]:  # fmt: skip
    """Return for each of some files of a run the row of the file of another FOV that it is a copy of, if it is one.

    Also that of the former file of its FOV, if it has the same UIDs for other ROIs of the same. A file of a registered
    session counts in this run, or if it fits in another: one that was in the wrong place once must not refuse the right
    one. Of a session that was deleted, with its runs, each file counts. Four statements.
    """
    subject = {"subject": run["subject"]}
    fitting = (TrackingFile & subject & TrackedFOV.proj()).proj("uid_sha256").to_dicts(order_by="KEY")
    valid = {_content_of(row): row for row in fitting} | {_content_of(file): {**run, **file} for file in files}
    rows = (RegisteredUIDs & subject).proj("first_text", "first_rois", *DAY).to_dicts(order_by="KEY")
    known = {_content_of(row) for row in rows}
    rows += [{"first_text": file["uid_text"], "first_rois": file["uid_rois"], **subject, **dict.fromkeys(DAY), **file}
             for file in files if _content_of(file) not in known]  # fmt: skip
    days = _days_of(sorted({file["eid"] for file in files}))
    copies = [next((row for row in valid.values() if _is_same_file(file, row)), None) for file in own]
    moved: list[dict[str, Any] | None] = [None] * len(own)
    for row in _with_is_gone(rows):
        if not row["is_gone"] and _content_of(row) not in valid:
            continue
        registered = {"registered": {name: row[name] for name in RegisteredUIDs.primary_key}}
        other, text = row | valid.get(_content_of(row), {}) | registered, tracking.UIDText(row["first_text"])
        for number, file in enumerate(own):
            mine = texts[_place_of(file)]
            if copies[number] is None and _has_other_rois(file, other, days) and _is_copy(file, other, mine, text):
                copies[number] = other
            elif _is_former(file, other, days) and tracking.is_moved(mine, text, N_BY_CHANCE):
                moved[number] = other
    return list(zip(copies, moved, strict=True))


def _of_other_mice(
    subject: str, files: Sequence[dict[str, Any]], texts: dict[FOVPlace, tracking.UIDText]
) -> dict[FOVPlace, dict[str, Any]]:
    """Return by eid and fov a row of TrackedFOV of another mouse that has UIDs of a file, where there is one.

    A UUID is made once. A few of each file, always the first in their order, so that days that share cells share these,
    are looked for in the latest tracking run of each other mouse: two statements, and one more if some are found.
    """
    others = (TrackingRun - {"subject": subject}).proj("registered_at").to_dicts(order_by="registered_at")
    latest = [{name: row[name] for name in TrackingRun.primary_key}
              for row in {row["subject"]: row for row in others}.values()]  # fmt: skip
    uids = {_place_of(file): sorted(texts[_place_of(file)].first_lines) for file in files}
    some = {uid for own in uids.values() for uid in islice(filter(_is_uuid, own), N_LOOKED_FOR)}
    if not latest or not some:
        return {}
    hits = (TrackedFOV.Member & latest & _with_uids(some)).proj("cell_uid").to_dicts()
    uids = {place: own for place, own in uids.items() if not {row["cell_uid"] for row in hits}.isdisjoint(own)}
    if not uids:
        return {}
    runs = [{name: row[name] for name in TrackingRun.primary_key} for row in hits]
    rows = (
        (TrackedFOV.Member & runs & _with_uids(filter(_is_uuid, set().union(*uids.values()))))
        .proj("cell_uid")
        .to_dicts()
    )
    found = {}
    for place, own in uids.items():
        of_file = set(own)
        (other, n), = Counter(tuple(row[name] for name in OF_OTHER) for row in rows
                              if row["cell_uid"] in of_file).most_common(1)  # fmt: skip
        if n >= min(N_BY_CHANCE, len(own)):
            found[place] = dict(zip(OF_OTHER, other, strict=True)) | {"n": n}
    return found


def _is_uuid(word: str) -> bool:
    return tracking.is_uid(word, "uuid")


def _with_uids(uuids: Iterable[str]) -> str:
    return f"cell_uid IN ({', '.join(map(repr, sorted(uuids)))})"


def _verdicts(
    run: dict, files: Sequence[dict[str, Any]], n_rois: dict[FOVPlace, int],
    positions: dict[FOVPlace, str], texts: dict[FOVPlace, tracking.UIDText],
) -> dict[FOVPlace, dict[str, Any]]:  # fmt: skip
    """Return by eid and fov what the places of shared cells say of each file of a run: ``verdict`` and ``others``.

    Only the FOVs that are read, and have as many ROIs as their file has lines, are compared: one statement. If one
    contradicts others, three more: those that have other ROIs than their file was registered with say nothing, nor do
    those of ``RegisteredUIDs.OtherPlaces``, and those that are tracked in this run are noted. ``others`` has eid, fov
    and ``is_tracked`` of each file, by its number.

    Parameters
    ----------
    n_rois : dict
        Of the FOVs that are read, by eid and fov.
    positions : dict
        Hashes of positions, by eid and fov, as far as they are known.
    """
    places = [_place_of(file) for file in files]
    fits = [n_rois.get(place) == len(texts[place].lines) and _may_have_rois(file, positions.get(place))
            for place, file in zip(places, files, strict=True)]  # fmt: skip
    lines = [texts[place].first_lines if fit else {} for place, fit in zip(places, fits, strict=True)]
    chosen = of_cells.cells_to_compare(lines)
    where = _places_of_lines(dict(zip(places, (one.values() for one in chosen), strict=True)))
    cells = [{uid: where[place][line] for uid, line in one.items()} for place, one in zip(places, chosen, strict=True)]
    verdicts, tracked = of_cells.compare_places(cells), set()
    if doubtful := [i for i, verdict in enumerate(verdicts) if verdict.contradicts]:
        unknown = [_fov_of(files[i]) for i in doubtful if places[i] not in positions]
        known = positions | (_positions_of(unknown) if unknown else {})
        said = set(map(_content_of, (RegisteredUIDs.OtherPlaces & {"subject": run["subject"]}).to_dicts()))
        verdicts = of_cells.compare_places([
            one if _may_have_rois(file, known.get(place)) and _content_of(file) not in said else {}
            for place, file, one in zip(places, files, cells, strict=True)
        ])  # fmt: skip
        tracked = {_place_of(row) for row in (TrackedFOV & run).proj().to_dicts()}
    others = [{**_fov_of(file), "is_tracked": _place_of(file) in tracked} for file in files]
    return {place: {"verdict": verdict, "others": others} for place, verdict in zip(places, verdicts, strict=True)}


def _may_have_rois(file: dict[str, Any], positions: str | None) -> bool:
    """Return whether a FOV may have the ROIs that its file was registered with; None: its positions are not known."""
    return positions is None or file["uid_rois"] in ("", positions)


def _places_of_lines(
    lines: dict[FOVPlace, Collection[int]],
) -> dict[FOVPlace, dict[int, of_cells.Place]]:
    """Return the positions (y, x) of some ROIs in the database, by eid and fov, and by ROI; one statement."""
    wanted = [f"eid = '{eid}' AND fov = {fov:d} AND roi IN ({', '.join(map(str, sorted(rois)))})"
              for (eid, fov), rois in lines.items() if rois]  # fmt: skip
    found: dict[FOVPlace, dict[int, of_cells.Place]] = {place: {} for place in lines}
    if wanted:
        names = ("eid", "fov", "roi", "stack_y", "stack_x")
        rows = (one.tolist() for one in columns(ROI & wanted, *names, order_by=names[:3]))
        for eid, fov, roi, y, x in zip(*rows, strict=True):
            found[eid, fov][roi] = (y, x)
    return found


def _content_of(file: dict[str, Any]) -> tuple[str, int, str]:
    return file["eid"], file["fov"], file["uid_sha256"]


def _is_same_file(file: dict[str, Any], other: dict[str, Any]) -> bool:
    return _place_of(file) != _place_of(other) and file["uid_sha256"] == other["uid_sha256"]


def _has_other_rois(file: dict[str, Any], other: dict[str, Any], days: dict[str, tuple[datetime.date, int]]) -> bool:
    """Return whether a row of RegisteredUIDs is of another FOV than a file, and of ROIs that are known to be others."""
    rois = {file["uid_rois"], other["first_rois"]}
    return not _is_own(file, other, days) and len(rois) == 2 and not rois & {"", UNREADABLE}


def _is_former(file: dict[str, Any], other: dict[str, Any], days: dict[str, tuple[datetime.date, int]]) -> bool:
    """Return whether a row of RegisteredUIDs is another file of the FOV of a file, of the same ROIs."""
    has_same_rois = file["uid_rois"] == other["first_rois"] not in ("", UNREADABLE)
    return has_same_rois and file["uid_sha256"] != other["uid_sha256"] and _is_own(file, other, days)


def _is_own(file: dict[str, Any], other: dict[str, Any], days: dict[str, tuple[datetime.date, int]]) -> bool:
    is_of_session = file["eid"] == other["eid"] or (other["is_gone"] and _may_be_of(other, days[file["eid"]]))
    return bool(is_of_session and file["fov"] == other["fov"])


def _is_copy(
    file: dict[str, Any], other: dict[str, Any], text: tracking.UIDText, other_text: tracking.UIDText
) -> bool:  # fmt: skip
    """Return whether a file has the UIDs that another FOV has for other ROIs, in the same lines or order.

    Two or less in the same lines may be there by chance. UIDs in the same order may be of the same ROIs, some of which
    were left out, or of ROIs in order of place: then they are at the same places in both images.
    """
    if len(text.words & other_text.words) < N_BY_CHANCE:
        return False
    if tracking.is_of_same_rois(text, other_text, N_BY_CHANCE):
        return True
    is_in_order = tracking.is_in_same_order(text, other_text)
    return is_in_order and not _are_at_same_places(file, other, text.lines, other_text.lines)


def _are_at_same_places(file: dict[str, Any], other: dict[str, Any], *uids: list[str]) -> bool:
    """Return whether the cells that two files share are at the same places of their FOVs, but for how these lie."""
    lines, others = ({uid: line for line, uid in enumerate(one) if uid} for one in uids)
    places = [_stored_positions(one) for one in (file, other)]
    if [_positions_key(one) for one in places] != [file["uid_rois"], other["first_rois"]]:
        return False  # a session that was deleted, or is not read
    shared = sorted(lines.keys() & others.keys())
    within = [[of[uid] for uid in shared] for of in (lines, others)]
    if any(max(index) >= len(one) for index, one in zip(within, places, strict=True)):
        return False
    explained = explained_by_plane(places[0][within[0]], places[1][within[1]].astype(float))
    return explained is not None and explained > MIN_EXPLAINED


@schema
class SessionSet(WholeDelete, dj.Manual):
    definition = """
    # sessions of a subject whose shared cells are compared
    session_set : char(32)              # hash of the rest
    ---
    -> TrackingRun
    set_neurons_only : bool             # cells count in a session only where they are neurons
    min_cell_probability=null : float64 # ... of at least this probability
    min_silhouette=null : float64       # ... of at least this cluster silhouette
    """

    class Member(dj.Part):
        definition = """
        # a session of the set
        -> master
        -> Session
        """

    class FOV(dj.Part):
        definition = """
        # a FOV whose cells are compared
        -> master
        -> TrackedFOV
        """

    @classmethod
    def add(
        cls,
        eids: Sequence[str],
        run: dict,
        *,
        neurons_only: bool = True,
        min_cell_probability: float | None = None,
        min_silhouette: float | None = None,
    ) -> dict:
        """Insert a set of sessions unless it is in the table, and return its key.

        A set lists the FOVs that it compares: those whose UID files fit their ROIs when it is inserted. If another FOV
        fits later, the same call inserts another set, and the results of the first set stay valid.

        Parameters
        ----------
        eids : sequence of str
        run : dict
            Key of a TrackingRun.
        neurons_only : bool
            A cell counts in a session only if its ROI is a neuron there.
        min_cell_probability : float, optional
            Least ``cell_probability`` of the ROI.
        min_silhouette : float, optional
            Least cluster silhouette of the ROI.

        Raises
        ------
        DataError
            A session is not registered, is of another subject than the tracking run, or has no FOV whose UID file fits.
        """
        # sorted, since the key is a hash: a set has no order
        eids = sorted(set(map(str, eids)))
        _check_members(eids, checked(run, TrackingRun)["subject"])
        fovs = (TrackedFOV & run & [{"eid": eid} for eid in eids]).keys(order_by="eid, fov")
        for eid in eids:
            if not any(fov["eid"] == eid for fov in fovs):
                raise DataError(
                    "no FOV of the session has a UID file that fits its ROIs",
                    eid=eid,
                    do="'meso errors TrackedFOV' lists the reasons",
                )
        row = {
            **run, "set_neurons_only": bool(neurons_only),
            "min_cell_probability": _float(min_cell_probability), "min_silhouette": _float(min_silhouette),
        }  # fmt: skip
        key = {"session_set": content_key([eids, row, [[fov["eid"], fov["fov"]] for fov in fovs]])}
        if not (cls & key):
            with cls.connection.transaction:
                cls.insert1({**key, **row}, skip_duplicates=True)
                cls.Member.insert(({**key, "eid": eid} for eid in eids), skip_duplicates=True)
                cls.FOV.insert(({**key, **fov} for fov in fovs), skip_duplicates=True)
        return key


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _check_members(eids: Sequence[str], subject: str) -> None:
    known = {row["eid"]: row["subject"] for row in (Session & [{"eid": eid} for eid in eids]).to_dicts()}
    for eid in eids:
        if eid not in known:
            raise NotFoundError("the session is not registered", eid=eid, do=f"Register it with: meso ingest {eid}")
        if known[eid] != subject:
            raise DataError("all sessions of a set must be of one subject", eid=eid, expected=subject, found=known[eid])


@schema
class SharedCells(WholeDelete, dj.Computed):
    definition = """
    # the cells found in every session of a set
    -> SessionSet
    ---
    n_shared : int32
    """

    class Cell(dj.Part):
        definition = """
        # a shared cell in a session; shared_cell is its place in lexicographic order of UIDs
        -> master
        shared_cell : int32
        -> Session
        ---
        -> TrackedFOV.Member
        """

    def make(self, key):
        members = _qualified_members(key)
        by_session: dict[str, dict[str, Any]] = {
            eid: {} for eid in (SessionSet.Member & key).to_arrays("eid", order_by="eid")
        }
        for member in members:
            by_session[member["eid"]][member["cell_uid"]] = member
        shared = tracking.shared_uids(by_session)
        self.insert1({**key, "n_shared": len(shared)})
        self.Cell.insert(
            {**key, "shared_cell": i, **{name: row[name] for name in (*TrackedFOV.primary_key, "roi")}}
            for i, uid in enumerate(shared)
            for row in (cells[uid] for cells in by_session.values())
        )


def _qualified_members(key: dict) -> list[dict[str, Any]]:
    """Return the tracked ROIs in the FOVs of a set that meet the set's quality criteria."""
    rule = (SessionSet & key).fetch1()
    members = qualified(
        TrackedFOV.Member & (SessionSet.FOV & key).proj(),
        rule["set_neurons_only"], rule["min_cell_probability"], rule["min_silhouette"],
    )  # fmt: skip
    return members.to_dicts(order_by="eid, fov, roi")


def qualified(
    members: dj.QueryExpression, neurons_only: bool, min_cell_probability: float | None, min_silhouette: float | None
) -> dj.QueryExpression:
    """Return the tracked ROIs that count by the rule of a set of sessions; it runs no statement itself.

    Parameters
    ----------
    members : dj.QueryExpression
        Of TrackedFOV.Member.
    neurons_only, min_cell_probability, min_silhouette
        See SessionSet.
    """
    rois = ROI & "is_neuron" if neurons_only else ROI()
    if min_cell_probability is not None:
        rois = rois & f"cell_probability >= {min_cell_probability!r}"
    members = members & rois.proj()
    return members if min_silhouette is None else members & f"silhouette >= {min_silhouette!r}"
