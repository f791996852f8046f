"""Files that are written together, and are not of one writing: of two extractions, or of two alignments of the clocks.

The rule: if some files of a group are newer than others, that is told. Groups are the clocks of a session, the files of
the ROIs of a FOV, the places of the ROIs of a session, and the files of the trials of a task. What is newer and not
told is what is also written without the rest: ``ALONE`` of the ROIs, places that came with an extraction of their FOV
and the estimates of a FOV (``_of_one_histology``), trials extracted again and frame times that came with an extraction
(``_mixed_clocks``), and times of trials that were aligned again (``_mixed_trials``).

What tells: since files were read some have changed and others have not (``mixtures_since``), or some are put back and
others are not (``since``), or those that were read are of several revisions (``mixed_revisions``). Single datasets are
corrected, deconvolved or extracted again by themselves, so that nothing here is an error: see
docs/operation/reading.md.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.reading.behavior import TRIALS, WHEEL_POSITION, WHEEL_TIMES
from pipeline.reading.changes import is_own
from pipeline.reading.datasets import Source, without_revision
from pipeline.reading.fov import (
    BAD_FRAMES,
    CLASSIFIER,
    FRAME_QC,
    FRAME_QC_NAMES,
    MLAPDV,
    NEUROPIL,
    OF_ROIS,
    POSITIONS,
    REGION_IDS,
    SIGNALS,
    TIMES,
    TIMESHIFT,
    TYPE_NAMES,
    TYPES,
    UUIDS,
)

#: What is mixed where the FOV was extracted again.
ROI_MIXTURE = "files of ROIs"
#: What an extraction writes; places and regions follow from it, and are compared with it by content.
OF_EXTRACTION = (*SIGNALS.values(), NEUROPIL, TYPES, CLASSIFIER, POSITIONS, UUIDS)
#: What of these is also written without the rest, and is not told if it is newer alone: each of these sets. Uuids and
#: fluorescence change with every extraction, and only then.
ALONE = (
    {SIGNALS["deconvolved"]},  # deconvolved again
    {TYPES, POSITIONS},  # curated, or corrected
    {CLASSIFIER},  # classified again
    {NEUROPIL},  # computed again: docs/operation/reading.md
)
#: Regions and places in the brain: a histology gives those of all FOVs of a session, an estimate those of one.
PLACES = tuple(template.format(suffix) for template in (REGION_IDS, MLAPDV) for suffix in ("", "_estimate"))
FINAL_PLACES = tuple(template.format("") for template in (REGION_IDS, MLAPDV))
PLACE_MIXTURE, PLACED_AGAIN = "regions and places in the brain", "the FOVs were placed in the brain again"
#: Datasets that are in no group, and those with which each is written: if these stay, it is of another writing.
WRITTEN_WITH = {
    TIMESHIFT: (TIMES,), BAD_FRAMES: tuple(SIGNALS.values()), FRAME_QC: tuple(SIGNALS.values()),
    FRAME_QC_NAMES: (FRAME_QC,), TYPE_NAMES: (TYPES,), WHEEL_POSITION: (WHEEL_TIMES,),
}  # fmt: skip
#: What sets newer and older files apart: that they changed between two readings, or between registration and the first.
CHANGED = ("have changed", "have not")
SINCE_REGISTRATION = ("have changed since the session was registered", "have not")


@dataclass(frozen=True)
class Mixture:
    """Datasets of one group, of which some are newer than others.

    Attributes
    ----------
    what : str
        Of the group, such as 'files of ROIs'.
    newer, older : tuple of str
        Paths within the session.
    reason : str
        What may have been done, of which the older ones are then lacking.
    told_by : (str, str)
        What sets the newer and the older ones apart.
    """

    what: str
    newer: tuple[str, ...]
    older: tuple[str, ...]
    reason: str
    told_by: tuple[str, str] = CHANGED

    def __str__(self) -> str:
        is_newer, is_older = self.told_by
        return (
            f"{self.what} {is_newer} ({', '.join(self.newer)}), and others {is_older} ({', '.join(self.older)}). "
            f"If {self.reason}, files are still to come"
        )


@dataclass(frozen=True)
class Standing:
    """What was found when files were read again, of which both sides are still what they were then.

    Attributes
    ----------
    mixture : Mixture
    former : dict of str to str
        The sha256 that the datasets had before, by path without revision; '' of one that was added.
    """

    mixture: Mixture
    former: Mapping[str, str]

    def among(self, known: Mapping[str, str]) -> Standing | None:
        """Return it as far as both sides are what they were then; ``known`` as for ``still_standing``."""
        one = self.mixture
        newer, older = ({path: self.former[path] for path in side} for side in (one.newer, one.older))
        return still_standing(one.what, one.reason, newer, older, known, one.told_by)


@dataclass(frozen=True)
class Read:
    """Files that the rows of a session were read from, at some time.

    Attributes
    ----------
    hashes : dict of str to str
        The sha256 of each, by path without revision.
    trials : str or None
        Hash of the trials but for their times; None if these were not among the rows.
    given : Read or None
        Of rows that an update has deleted: those that it was to read then, which it has compared with these.
    until : datetime, optional
        When the rows were deleted, or the session registered, UTC; of rows that are there none.
    saved_again : bool
        No row was deleted: the files were saved again, with the same values in other bytes.
    former : dict of str to str, optional
        Of files that an update was to read: those of the session before, of the rows that there were.
    unread : dict of str to str, optional
        Likewise: fluorescence and neuropil before, of FOVs that were to be read again, of which there were no rows.
    """

    hashes: Mapping[str, str]
    trials: str | None = None
    given: Read | None = None
    until: datetime.datetime | None = None
    saved_again: bool = False
    former: Mapping[str, str] | None = None
    unread: Mapping[str, str] | None = None


def mixtures_since(former: Read, now: Read, is_of_other_rois: Callable[[str], bool] = lambda _: False) -> list[Mixture]:
    """Return the groups of files of a session of which some have changed and others have not, by their hashes.

    Parameters
    ----------
    former, now : Read
        All files of the session before and now.
    is_of_other_rois : callable
        Whether new activity of a FOV, by its folder, is seen to be of other ROIs; by default this is not looked at.
    """
    before = at_new_places(former.hashes, now.hashes)
    changed = sorted(path for path, sha256 in now.hashes.items() if before.get(path) != sha256)
    same = sorted(path for path, sha256 in before.items() if now.hashes.get(path) == sha256)

    def halves(belongs: Callable[[str], bool], folder: str = "") -> tuple[list[str], list[str]]:
        newer, older = (
            [path for path in paths if belongs(path) and folder in ("", _folder(path))] for paths in (changed, same)
        )
        return (newer, older) if newer and older else ([], [])

    found = [
        ("files with times", "the session was aligned again", halves(_is_clock)),
        ("files of FOVs", "FOVs were exchanged", _half_exchanged(before, now.hashes)),
    ]
    extracted = set()
    for folder in sorted(set(map(_folder, before))):
        rois, trials = (halves(belongs, folder) for belongs in (_is_of_rois, _is_of_trials))
        new = [path for path in changed if _is_of_rois(path) and _folder(path) == folder]
        replaced = {_name(path) for path in new if path in before}  # the others were added
        if _is_extraction(set(map(_name, new)), replaced) or (any(rois) and is_of_other_rois(folder)):
            extracted.add(folder)
        else:
            rois = [], []
        # a new alignment changes times only
        table = f"{folder}/{TRIALS}"
        if not (former.trials != now.trials if table in trials[0] else not all(map(_is_clock, trials[0]))):
            trials = [], []
        found += [
            (ROI_MIXTURE, "the FOV was extracted again", rois),
            ("files of trials", "behaviour was extracted again", trials),
        ]
    placed = {_folder(path) for path in before if _is_place(path)} - extracted  # places of the others come with ROIs
    places = halves(lambda path: _is_place(path) and _folder(path) in placed)
    found.append((PLACE_MIXTURE, PLACED_AGAIN, _of_one_histology(*places)))
    return [Mixture(what, tuple(newer), tuple(older), reason) for what, reason, (newer, older) in found if newer]


def exchanged(former: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return the files that are those of another FOV of before, and that one's path; parameters are hashes by path.

    That FOVs were exchanged, and that an exchange is mended, look alike.
    """
    places = {(_name(path), sha256): path for path, sha256 in former.items() if _is_of_fov(path)}
    return {
        path: place for path, sha256 in now.items()
        if _is_of_fov(path) and former.get(path, sha256) != sha256 and (place := places.get((_name(path), sha256)))
    }  # fmt: skip


def _half_exchanged(former: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the files of FOVs that were exchanged, and those of these FOVs that were not, although they differ."""
    places = exchanged(former, now)
    folders = {_folder(path): _folder(place) for path, place in places.items()}

    def differs(path: str) -> bool:
        return former.get(f"{folders[_folder(path)]}/{_name(path)}", former[path]) != former[path]

    same = [path for path, sha256 in former.items() if _folder(path) in folders and now.get(path) == sha256]
    same = sorted(filter(differs, same))
    return (sorted(places), same) if same else ([], [])


def first_elsewhere(deleted: Sequence[Read], known: Mapping[str, str]) -> dict[str, str]:
    """Return the files of FOVs that another FOV of the session had before they had them, and where that was.

    Parameters
    ----------
    deleted : sequence of Read
        Deletion by deletion, the first one first.
    known : mapping of str to str
        The sha256 of each file that there are rows of, by path without revision.

    Returns
    -------
    dict of str to str
        Of files that tell whose they are, since no two FOVs have them alike: path, and path within the other FOV.
    """
    first: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for number, hashes in enumerate([*(one.hashes for one in deleted), known]):
        for path, sha256 in hashes.items():
            if _is_of_fov(path) and is_own(path):
                first[_name(path), sha256].setdefault(path, number)
    found = {}
    for path, sha256 in known.items():
        places = first.get((_name(path), sha256), {})
        if path in places and (place := min(places, key=lambda one: (places[one], one != path))) != path:
            found[path] = place
    return found


def moved(former: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return where files are now that were moved as they are, by their former paths: to the folder of a task, say.

    Parameters
    ----------
    former, now : mapping of str to str
        By path without revision the sha256 of each file that the rows were read from, before and now.
    """
    left = {(_name(path), sha256): path for path, sha256 in former.items() if path not in now}
    new = ((path, left.get((_name(path), sha256))) for path, sha256 in now.items() if path not in former)
    return {before: path for path, before in new if before is not None}


def at_new_places(former: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of former files, of those that were moved as they are under their paths of now.

    Parameters as for ``moved``.
    """
    places = moved(former, now)
    return {places.get(path, path): sha256 for path, sha256 in former.items()}


def with_given(former: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the files of a session when rows of it have been read from others.

    Parameters
    ----------
    former, given : mapping of str to str
        By path without revision the sha256 of each file of the session before, and of all files of those rows.
    """
    rows = set(map(_row, given))
    return {path: sha256 for path, sha256 in former.items() if _row(path) not in rows} | dict(given)


def since_deletions(
    deleted: Sequence[Read], known: Mapping[str, str], trials: str, at_first: Sequence[Standing] = (),
    registered: Read | None = None,
) -> list[Standing]:  # fmt: skip
    """Return the files of two writings of a session since rows of it were deleted, and read again.

    Parameters
    ----------
    deleted : sequence of Read
        Deletion by deletion, the first one first.
    known : mapping of str to str
        The sha256 of each file that there are rows of, by path without revision.
    trials : str
        Hash of the trials that there are, but for their times.
    at_first : sequence of Standing
        What ``since_registration`` found: files that came later may complete it.
    registered : Read, optional
        The files at registration, as far as their sha256 is known.

    Returns
    -------
    list of Standing
        Those of which both sides are in ``known`` what they were when they were read again.
    """
    every = list(at_first)
    found: list[Standing] = []
    earlier: list[Read] = []
    before: set[tuple[str, str]] = set()
    for one, former, now in _steps(deleted, Read(known, trials)):
        told: list[Standing] = []
        if one.given is None:
            new = since(former, now, every, earlier)
        else:
            told, new = since_update(former, _of_rows(one.given, one.hashes), now, every, earlier)
            if registered and registered.until and one.until and registered.until < one.until:
                before |= _files_anywhere(registered.hashes)
            before |= _files_anywhere(one.given.unread or {})
            new += not_named(_not_seen(told, one.given, before), new)
        every += [*told, *new]
        found += new
        earlier.append(former)
        before |= _files_anywhere(one.hashes)
    still = (one.among(known) for one in found)
    return [one for one in still if one]


def _not_seen(told: Iterable[Standing], given: Read, known: set[tuple[str, str]]) -> Iterator[Standing]:
    """Yield what an update would have told of files of before that it did not see, since their rows came later.

    So it is with a FOV that had not been read yet, a wheel to come, and rows that had been deleted by hand.

    Parameters
    ----------
    told : iterable of Standing
    given : Read
        What the update was to read.
    known : set of (str, str)
        The files that there were before the update, as ``_files_anywhere`` returns them.
    """
    seen = set(map(_row, given.former or ()))
    for one in told if seen else ():
        unseen = (path for path in one.mixture.older if _row(path) not in seen)
        if older := tuple(path for path in unseen if _files_anywhere({path: one.former[path]}) <= known):
            yield replace(one, mixture=replace(one.mixture, older=older))


def _files_anywhere(hashes: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return path and sha256 of files; behaviour by its name, as it may be moved to the folder of a task."""
    return {(path if _is_of_fov(path) else _name(path), sha256) for path, sha256 in hashes.items()}


def first_read(deleted: Iterable[Read], known: Mapping[str, str]) -> dict[str, str]:
    """Return the sha256 that each file had when it was first read; parameters as of ``since_deletions``."""
    first = dict(known)
    for one in reversed(list(deleted)):
        first |= {path: sha256 for path, sha256 in one.hashes.items() if path in known}
    return first


def since_registration(
    registered: Mapping[str, str], first: Mapping[str, str],
    is_of_other_rois: Callable[[str], bool] = lambda _: False,
) -> list[Standing]:  # fmt: skip
    """Return the files of two writings between the registration of a session and the first reading of its files.

    Files that came in between are left out: registering a session does not need all of them. So are the values of
    trials, which registering does not read: a table of trials counts as a clock alone.

    Parameters
    ----------
    registered : mapping of str to str
        By path without revision the sha256 that files had, as far as it is known.
    first : mapping of str to str
        As ``first_read`` returns it.
    is_of_other_rois : callable
        As for ``mixtures_since``.
    """
    both = sorted(registered.keys() & first.keys())
    former, now = (Read({path: hashes[path] for path in both}) for hashes in (registered, first))
    found = _since(former, now, (), is_of_other_rois)
    return [replace(one, mixture=replace(one.mixture, told_by=SINCE_REGISTRATION)) for one in found]


def replaced_since_registration(
    registered: Iterable[Source], recorded: Iterable[Source], first: Mapping[str, str]
) -> list[Standing]:
    """Return also single datasets that were replaced in place before they were read, such as those of an extraction.

    Of a file that has the path of the former one nothing says that it was corrected, and of the former one nothing is
    left. A later revision says so: it is for ``mixed_revisions``.

    Parameters
    ----------
    registered : iterable of Source
        The files that the session had, as ``files_at_registration`` returns them.
    recorded : iterable of Source
        All files that the rows of the session were read from.
    first : mapping of str to str
        As ``first_read`` returns it.

    Returns
    -------
    list of Standing
        Those of which both sides are still what they were when they were first read.
    """
    read = {without_revision(source.dataset): source for source in recorded}
    hashes = hashes_at_registration(registered, read)
    parts = {_folder(path) for path, sha256 in hashes.items() if _name(path) in OF_EXTRACTION and first[path] != sha256}
    known = {path: source.sha256 for path, source in read.items()}
    found = [*since_registration(hashes, first, parts.__contains__), *_replaced_alone(hashes, first)]
    return [still for one in found if (still := one.among(known))]


def put_right(changed: Sequence[Source], before: Collection[str] = ()) -> list[Source]:
    """Return the files, of those that a person has replaced, that may have been put right.

    Several of a group may be of another writing, beside which the other files are those of before. So may a single file
    with times of trials or the wheel: these are compared with each other to some tenths of a second only, and not with
    the file that was refused, which is gone. Frame times are within a frame of those of the other FOVs.

    Parameters
    ----------
    changed : sequence of Source
    before : collection of str
        Paths without revision of files that were put right before.
    """
    by_path = {without_revision(one.dataset): one for one in changed}
    together = Counter(map(_written_together, {*by_path, *before}))
    groups = {path: _written_together(path) for path in by_path if _is_of_fov(path) or not _is_clock(path)}
    return [by_path[path] for path, group in groups.items() if not group or together[group] == 1]


def _written_together(path: str) -> str:
    """Return a name of the extraction, alignment or histology that writes a file; '' for others."""
    if _is_clock(path) or _is_place(path):
        return "times" if _is_clock(path) else "places"
    return _folder(path) if _name(path) in OF_EXTRACTION else ""


def _replaced_alone(registered: Mapping[str, str], first: Mapping[str, str]) -> Iterator[Standing]:
    """Yield the datasets in no group that were replaced, since registration, without those of the same writing."""
    for path, sha256 in registered.items():
        folder, name = _folder(path), _name(path)
        others = [one for other in WRITTEN_WITH.get(name, ()) if (one := f"{folder}/{other}") in registered]
        if others and first[path] != sha256 and all(first[one] == registered[one] for one in others):
            told = Mixture("single files", (path,), tuple(others), "they were written again", SINCE_REGISTRATION)
            yield Standing(told, registered)


def are_of_another_session(
    registered: Iterable[Source], recorded: Iterable[Source], first: Mapping[str, str]
) -> bool:  # fmt: skip
    """Return whether no file that tells of which session it is has ever been that of the registration.

    Both behaviour and imaging must have been read: either may have been extracted again, as a whole. Parameters as for
    ``replaced_since_registration``.
    """
    read = {without_revision(source.dataset): source for source in recorded}
    own = {path: sha256 for path, sha256 in hashes_at_registration(registered, read).items() if is_own(path)}
    is_any = any(sha256 in (first[path], read[path].sha256) for path, sha256 in own.items())
    return not is_any and {_is_of_fov(path) for path in own} == {True, False}


def hashes_at_registration(registered: Iterable[Source], read: Mapping[str, Source]) -> dict[str, str]:
    """Return the sha256 that files had at registration, as far as it is known, by the path under which they were read.

    Parameters
    ----------
    registered : iterable of Source
    read : mapping of str to Source
        By path without revision.
    """
    pairs = in_their_places(registered, read)
    found = {without_revision(now.dataset): _hash_at_registration(one, now) for one, now in pairs}
    return {path: sha256 for path, sha256 in found.items() if sha256}


def in_their_places(registered: Iterable[Source], read: Mapping[str, Source]) -> list[tuple[Source, Source]]:
    """Return registered files with those that were read in their places; parameters as of ``hashes_at_registration``.

    A later revision is a correction, and an earlier one is in the place of the one that was withdrawn. Behaviour may
    have been moved to the folder of a task.
    """
    files = {without_revision(one.dataset): one for one in registered}
    new: dict[str, list[Source]] = defaultdict(list)
    for path, now in read.items():
        if path not in files and not _is_of_fov(path):
            new[_name(path)].append(now)
    found = []
    for path, one in files.items():
        moved_to = new[_name(path)] if path not in read and not _is_of_fov(path) else []
        there = [read[path]] if path in read else moved_to
        found += [(one, now) for now in there if len(there) == 1 and now.revision <= one.revision]
    return found


def _hash_at_registration(registered: Source, read: Source) -> str:
    """Return the sha256 that a file had when it was registered, or of another file its hash in ONE; '' if not known."""
    if registered.sha256 or len(registered.one_hash) != len(read.one_hash):
        return registered.sha256
    return read.sha256 if registered.one_hash == read.one_hash != "" else registered.one_hash


def readings_before(deleted: Sequence[Read], now: Read) -> list[Read]:
    """Return what the files of a session were whenever rows were deleted; parameters as of ``since_deletions``."""
    return [former for _, former, _ in _steps(deleted, now)]


def _steps(deleted: Sequence[Read], now: Read) -> list[tuple[Read, Read, Read]]:
    """Return each deletion with the files of the session before it, and those that had been read again after it."""
    steps, after = [], now
    for one in map(_with_unread, reversed(deleted)):
        before, again = _before_and_after(one.hashes, after.hashes)
        trials_before = one.trials or after.trials
        steps.append((one, Read(before, trials_before), Read(again, after.trials)))
        rows = set(map(_row, one.hashes))
        stayed = {path: sha256 for path, sha256 in after.hashes.items() if _row(path) not in rows}
        after = Read(stayed | dict(one.hashes), trials_before)
    return steps[::-1]


def _with_unread(one: Read) -> Read:
    """Return a deletion as if the signals that an update looked at, and that had not been read, had been read before.

    They are of the extraction of the FOV that was read again, whenever a signal of it is asked for.
    """
    unread, rows = (one.given and one.given.unread) or {}, set(map(_row, one.hashes))
    return replace(one, hashes={**{path: unread[path] for path in unread if _folder(path) in rows}, **one.hashes})


def as_saved_again(deleted: Sequence[Read], known: Mapping[str, str]) -> tuple[list[Read], dict[tuple[str, str], str]]:
    """Return deletions with one hash for each file that was saved again with the same values, and for what it was.

    That is the hash of now, or else the latest: a file in its former bytes, put back from a backup, may be the one of
    now, or there may be another one by now.

    Parameters as of ``since_deletions``.

    Returns
    -------
    deleted : list of Read
        Without those that are ``saved_again``.
    hashes : dict of (str, str) to str
        By path and sha256 the one that stands for it.
    """
    present: dict[tuple[str, str], str] = {}
    after = dict(known)
    for one in reversed(deleted):
        if one.saved_again:
            for path in one.hashes.keys() & after.keys():
                _join(present, path, one.hashes[path], after[path], known)
        after |= one.hashes
    found = [one for one in deleted if not one.saved_again]
    givens = [one.given and replace(one.given, hashes=renamed(one.given.hashes, present)) for one in found]
    return [
        replace(one, hashes=renamed(one.hashes, present), given=given)
        for one, given in zip(found, givens, strict=True)
    ], present  # fmt: skip


def _join(present: dict[tuple[str, str], str], path: str, old: str, new: str, known: Mapping[str, str]) -> None:
    """Let one hash stand for a file as it was, and as it was saved again: that of ``known`` if it is one of both."""
    one, other = (present.get((path, sha256), sha256) for sha256 in (new, old))
    if other == known.get(path):
        one, other = other, one
    if one != other:
        same = [key for key, sha256 in present.items() if key[0] == path and sha256 == other]
        present |= dict.fromkeys([*same, (path, other)], one)


def last_given(deleted: Sequence[Read], path: str) -> str:
    """Return the sha256 of the file at a path that the last update before was to read, or looked at; '' if none did."""
    given = (one.given.hashes.get(path, "") for one in reversed(deleted) if one.given)
    return next(filter(None, given), "")


def renamed(hashes: Mapping[str, str], present: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Return hashes by path, each that of all bytes in which its file was saved again; see ``as_saved_again``."""
    return {path: present.get((path, sha256), sha256) for path, sha256 in hashes.items()}


def since_update(
    former: Read, given: Read, now: Read, known: Sequence[Standing] = (), earlier: Sequence[Read] = ()
) -> tuple[list[Standing], list[Standing]]:
    """Return the files of two writings since an update deleted rows of a session, and other files were read than meant.

    Files can change again while it runs, or after it was killed or could not read them.

    Parameters
    ----------
    former, now : Read
        All files of the session before, and those of the rows that there are now.
    given : Read
        Those that were to be read, of the rows that were deleted.
    known : sequence of Standing
        What was found before.
    earlier : sequence of Read
        As for ``since``.

    Returns
    -------
    told, found : list of Standing
        What the update could tell of the files it compared, and what came later.
    """
    there = set(map(_row, now.hashes))
    expected = Read(_in_rows(with_given(former.hashes, given.hashes), there), given.trials)
    before = Read(_in_rows(former.hashes, there), former.trials)
    read = Read(_in_rows(now.hashes, set(map(_row, expected.hashes))), now.trials)
    told = since(before, expected, known, earlier)
    if read.hashes in (before.hashes, expected.hashes):
        return told if read.hashes == expected.hashes else [], []
    direct = since(before, read, known, earlier)
    return told, [*direct, *not_named(since(expected, read, [*known, *told]), direct)]


def since(
    former: Read, now: Read, known: Sequence[Standing], earlier: Sequence[Read] = (),
    is_of_other_rois: Callable[[str], bool] = lambda _: False,
) -> list[Standing]:  # fmt: skip
    """Return the files of two writings between two times that are not some with what was found before.

    Parameters
    ----------
    former, now, is_of_other_rois
        As for ``mixtures_since``.
    known : sequence of Standing
        What was found before.
    earlier : sequence of Read
        All files of the session at times before. Of files that have all changed some can be those of such a time, put
        back from a backup, and others of a writing that came after: see ``_put_back``.
    """
    direct = _since(former, now, known, is_of_other_rois, earlier)
    return [*direct, *not_named(_put_back(former, now, known, earlier), direct)]


def _since(
    former: Read, now: Read, known: Sequence[Standing], is_of_other_rois: Callable[[str], bool] = lambda _: False,
    earlier: Sequence[Read] = (),
) -> list[Standing]:  # fmt: skip
    mixtures = mixtures_since(former, now, is_of_other_rois)
    before = at_new_places(former.hashes, now.hashes)
    known = [still for one in known if (still := one.among(former.hashes))]  # what was completed tells nothing
    return [Standing(one, {**dict.fromkeys((*one.newer, *one.older), ""), **before})
            for one in without_former(mixtures, known, now.hashes, earlier)]  # fmt: skip


def _put_back(former: Read, now: Read, known: Sequence[Standing], earlier: Sequence[Read]) -> list[Standing]:
    """Return the files that have changed of which some are those of a time before, and others are not.

    They are compared with the time of which most of them are: of which all are, nothing is mixed.
    """
    before = at_new_places(former.hashes, now.hashes)
    changed = {path: sha256 for path, sha256 in now.hashes.items() if before.get(path) != sha256}
    times = [at_new_places(one.hashes, now.hashes) for one in earlier]
    found: list[Standing] = []
    for one, hashes in zip(earlier, times, strict=True):
        then = Read({path: sha256 for path, sha256 in hashes.items() if path in changed}, one.trials)
        these = Read(_in_rows(changed, set(map(_row, then.hashes))), now.trials)
        for standing in not_named(_since(then, these, known), found):
            group = (*standing.mixture.newer, *standing.mixture.older)
            most = max(sum(other.get(path) == now.hashes[path] for path in group) for other in times)
            found += [standing] if most == len(standing.mixture.older) else []
    return found


def not_named(found: Iterable[Standing], named: Sequence[Standing]) -> list[Standing]:
    """Return what was found of which no newer file has been named as such."""
    newer = {(one.mixture.what, path) for one in named for path in one.mixture.newer}
    return [one for one in found if not {(one.mixture.what, path) for path in one.mixture.newer} & newer]


def joined(named: Sequence[Standing], found: Iterable[Standing]) -> list[Standing]:
    """Return what was named, with what was found of it later: other files that are older than the same ones.

    What else was found of files that were named as newer is left out, as by ``not_named``.
    """
    found = list(found)
    with_more = []
    for one in named:
        same = [other for other in found if other.mixture.what == one.mixture.what]
        more = [other for other in same if set(other.mixture.newer) <= set(one.mixture.newer)]
        older = {path for other in (one, *more) for path in other.mixture.older} - set(one.mixture.newer)
        former = {path: sha256 for other in (*more, one) for path, sha256 in other.former.items()}
        with_more.append(Standing(replace(one.mixture, older=tuple(sorted(older))), former))
    return [*with_more, *not_named(found, named)]


def _in_rows(hashes: Mapping[str, str], rows: set[str]) -> dict[str, str]:
    return {path: sha256 for path, sha256 in hashes.items() if _row(path) in rows}


def _of_rows(read: Read, deleted: Mapping[str, str]) -> Read:
    """Return the files of those rows only that were deleted."""
    return Read(_in_rows(read.hashes, set(map(_row, deleted))), read.trials)


def _before_and_after(deleted: Mapping[str, str], after: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files before rows were deleted and when they had been read again: of the rows that there are then.

    Of a signal that was not there before it is not known whether its files are other ones.
    """
    rows, there = set(map(_row, deleted)), set(map(_row, after))
    now = {
        path: sha256 for path, sha256 in after.items()
        if _row(path) in rows or not (_is_of_signal(path) and _folder(path) in rows)
    }  # fmt: skip
    stayed = {path: sha256 for path, sha256 in now.items() if _row(path) not in rows}
    return stayed | {path: sha256 for path, sha256 in deleted.items() if _row(path) in there}, now


def _row(dataset: str) -> str:
    """Return a name of the row that a dataset is read for: trials, wheel, a FOV, or the signals of a FOV."""
    if _is_of_trials(dataset) or _name(dataset).startswith("_ibl_wheel."):
        return _name(dataset).partition(".")[0]
    return f"{_folder(dataset)}/signals" if _is_of_signal(dataset) else _folder(dataset)


def _is_of_signal(dataset: str) -> bool:
    """Return whether a dataset is read for dF/F or fluorescence beside the activity."""
    return _name(dataset) in (SIGNALS["fluorescence"], NEUROPIL)


def still_standing(
    what: str, reason: str, newer: Mapping[str, str], older: Mapping[str, str], known: Mapping[str, str],
    told_by: tuple[str, str] = CHANGED,
) -> Standing | None:  # fmt: skip
    """Return a mixture that was found, as far as both sides are what they were then; None if it is none any more.

    Parameters
    ----------
    what, reason, told_by
        As of ``Mixture``.
    newer, older : mapping of str to str
        By path without revision the former sha256 of the newer files, and that of the older ones.
    known : mapping of str to str
        The sha256 of each file that there are rows of.
    """
    older = at_new_places(older, known)
    still_newer = tuple(path for path in sorted(newer) if known.get(path, newer[path]) != newer[path])
    still_older = tuple(path for path in sorted(older) if known.get(path) == older[path])
    if not (still_newer and still_older):
        return None
    return Standing(Mixture(what, still_newer, still_older, reason, told_by), {**older, **newer})


def without_former(
    found: Iterable[Mixture], known: Sequence[Standing], now: Mapping[str, str], earlier: Sequence[Read] = ()
) -> list[Mixture]:
    """Return the mixtures that are some with what was found before; parameters as of ``_with_former``."""
    return [joined for one in found if (joined := _with_former(one, known, now, earlier))]


def _with_former(
    one: Mixture, known: Sequence[Standing], now: Mapping[str, str], earlier: Sequence[Read]
) -> Mixture | None:
    """Return a mixture as it is with what was found before; None if it is none.

    None of the older files is one that came before, when the newer ones were lacking, unless the newer ones are those
    of a backup; nor have the newer ones been put back to what they were before they were found to be newer.

    Parameters
    ----------
    one : Mixture
    known : sequence of Standing
    now : mapping of str to str
        The sha256 of each new file, by path without revision.
    earlier : sequence of Read
        As for ``since``.
    """
    came_before: set[str] = set()
    for former in (former for former in known if former.mixture.what == one.what):
        if set(one.newer) <= set(former.mixture.newer) and all(now.get(p) == former.former[p] for p in one.newer):
            return None
        if set(map(_as_estimate, former.mixture.older)) & set(map(_as_estimate, one.newer)):
            came_before |= set(former.mixture.newer)
    came_before -= _beside_backup(one, now, earlier)
    older = tuple(dataset for dataset in one.older if dataset not in came_before)
    return replace(one, older=older) if older else None


def _beside_backup(one: Mixture, now: Mapping[str, str], earlier: Sequence[Read]) -> set[str]:
    """Return the older files that are others than when the newer ones were read before; parameters as above."""
    found: set[str] = set()
    for then in (at_new_places(former.hashes, now) for former in earlier):
        if all(then.get(path) == now.get(path) for path in one.newer):
            found |= {path for path in one.older if then.get(path, now[path]) != now[path]}
    return found


def mixed_revisions(recorded: Iterable[Source]) -> list[Mixture]:
    """Return the groups of files of a session that were read in several revisions although they are written together.

    Parameters
    ----------
    recorded : iterable of Source
        All files that the rows of the session were read from.
    """
    read = {without_revision(source.dataset): source for source in recorded}
    revisions = {dataset: source.revision for dataset, source in read.items()}
    folders: dict[str, dict[str, str]] = defaultdict(dict)
    for dataset, revision in revisions.items():
        folders[_folder(dataset)][dataset] = revision
    extractions = _extractions(revisions)
    aligned = {revision for dataset, revision in revisions.items() if _name(dataset) in (TIMES, WHEEL_TIMES)}
    found = [_mixed_clocks(revisions)]
    for _, inside in sorted(folders.items()):
        found += [_mixed_trials(inside, aligned), _mixed_rois(inside, extractions)]
    found.append(_mixed_places(revisions, extractions))

    def paths(datasets: Iterable[str]) -> tuple[str, ...]:
        return tuple(read[dataset].dataset for dataset in datasets)

    return [replace(one, newer=paths(one.newer), older=paths(one.older)) for one in found if one]


def _extractions(revisions: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return the folders of FOVs (of dataset to revision) and the revisions in which they were extracted anew."""
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for dataset, revision in revisions.items():
        names[_folder(dataset), revision].add(_name(dataset))
    return {place for place, new in names.items() if _is_extraction(new, new)}


def _mixed_clocks(revisions: Mapping[str, str]) -> Mixture | None:
    """Return the clocks of a session (dataset to revision) that were not aligned together.

    Trials that are newer alone were extracted again: they are compared with the wheel, if there is one. Frame times
    that are newer since their FOV was extracted again are those of before.
    """
    clocks = {dataset: revision for dataset, revision in revisions.items() if _is_clock(dataset)}
    has_wheel = any(_name(dataset) == WHEEL_TIMES for dataset in clocks)
    activity = {
        (_folder(dataset), revision) for dataset, revision in revisions.items() if _name(dataset) in SIGNALS.values()
    }

    def is_alone(dataset: str) -> bool:
        return has_wheel if _is_of_trials(dataset) else (_folder(dataset), clocks[dataset]) in activity

    return _mixed(
        clocks, lambda newer, _: not all(map(is_alone, newer)), "files with times", "the session was aligned again"
    )


def _mixed_trials(inside: Mapping[str, str], aligned: Collection[str]) -> Mixture | None:
    """Return the datasets of the trials of a task that were not extracted, or aligned, together.

    An alignment gives all times anew, and nothing else (the table has both), and those of frames or the wheel:
    ``aligned`` are the revisions of these, of which there may be none yet.
    """
    trials = {dataset: revision for dataset, revision in inside.items() if _is_of_trials(dataset)}

    def is_extraction(newer: set[str], older: set[str]) -> bool:
        is_of_times = all(map(_is_clock, newer)) and not any(map(_is_clock, older))
        return not (is_of_times and {trials[dataset] for dataset in newer} <= set(aligned or trials.values()))

    return _mixed(trials, is_extraction, "files of trials", "behaviour was extracted again")


def _mixed_rois(inside: Mapping[str, str], extractions: Collection[tuple[str, str]]) -> Mixture | None:
    """Return the datasets of the ROIs of a FOV that are not of one extraction, as far as their names tell."""
    rois = {dataset: revision for dataset, revision in inside.items() if _name(dataset) in OF_EXTRACTION}

    def is_extraction(newer: set[str], _: set[str]) -> bool:
        return any((_folder(dataset), rois[dataset]) in extractions for dataset in newer)

    return _mixed(rois, is_extraction, ROI_MIXTURE, "the FOV was extracted again")


def _mixed_places(revisions: Mapping[str, str], extractions: Collection[tuple[str, str]]) -> Mixture | None:
    """Return regions and places of a session that are not of one histology.

    Those of a FOV that came with an extraction, all of them, are of the histology of the other FOVs.
    """
    # what is final is newer than any estimate
    places = {
        dataset: f"{int(_is_final(dataset))}{revision}"
        for dataset, revision in revisions.items() if _is_place(dataset)
    }  # fmt: skip

    def is_histology(newer: set[str], older: set[str]) -> bool:
        mixed = set(map(_folder, older)) if all(map(_is_final, older)) else set(map(_folder, newer))
        came_with_rois = (
            dataset for dataset in newer
            if (_folder(dataset), revisions[dataset]) in extractions and _folder(dataset) not in mixed
        )  # fmt: skip
        return all(_of_one_histology(newer - set(came_with_rois), older))

    found = _mixed(places, is_histology, PLACE_MIXTURE, PLACED_AGAIN)
    if not found:
        return None
    newer, older = map(tuple, _of_one_histology(found.newer, found.older))
    return replace(found, newer=newer, older=older)


def _mixed(
    revisions: Mapping[str, str], is_told: Callable[[set[str], set[str]], bool], what: str, reason: str
) -> Mixture | None:
    """Return the datasets of a group from some revision on and those before, if this is told; the latest such.

    It is told by the datasets of that revision: those of later ones may have been corrected since, each by itself.
    """
    for limit in sorted(set(revisions.values()), reverse=True)[:-1]:
        newer = {dataset for dataset, revision in revisions.items() if revision >= limit}
        older = set(revisions) - newer
        if is_told({dataset for dataset in newer if revisions[dataset] == limit}, older):
            told_by = "are newer", "are older"
            return Mixture(what, tuple(sorted(newer)), tuple(sorted(older)), reason, told_by)
    return None


def _is_clock(dataset: str) -> bool:
    """Return whether a new alignment of clocks gives a dataset anew."""
    name = _name(dataset)
    has_times = _is_of_trials(dataset) and ("times" in name or "intervals" in name)
    return name in (TIMES, TRIALS, WHEEL_TIMES) or has_times


def _is_of_fov(dataset: str) -> bool:
    return _folder(dataset).startswith("alf/FOV_")


def _is_of_trials(dataset: str) -> bool:
    return _name(dataset).startswith("_ibl_trials.")


def _is_place(dataset: str) -> bool:
    return _name(dataset) in PLACES


def _is_final(dataset: str) -> bool:
    return _name(dataset) in FINAL_PLACES


def _as_estimate(dataset: str) -> str:
    """Return a name that is the same for the final regions, or places, of a FOV and the estimate that they replace."""
    return dataset.replace(".npy", "_estimate.npy") if _is_final(dataset) else dataset


def _of_one_histology(newer: Collection[str], older: Collection[str]) -> tuple[list[str], list[str]]:
    """Return places that should be of one histology, of which some are newer; of estimates only those of one FOV."""
    folders = set(map(_folder, newer)) & set(map(_folder, older))
    is_told = any(map(_is_final, newer)) and bool(older)
    sides = ([path for path in sorted(side) if is_told or _folder(path) in folders] for side in (newer, older))
    return next(sides), next(sides)


def _is_of_rois(dataset: str) -> bool:
    return _name(dataset) in OF_ROIS


def _is_extraction(names: set[str], replaced: set[str]) -> bool:
    """Return whether datasets of ROIs that are new together are so by a new extraction, as far as their names tell.

    Positions that come with their places are those of other ROIs.

    Parameters
    ----------
    names : set of str
    replaced : set of str
        Those of them that took the place of others, and were not added: a download may be completed later.
    """
    of_extraction = names.intersection(OF_EXTRACTION)
    is_placed = POSITIONS in replaced and not replaced.isdisjoint(PLACES)
    return not replaced.isdisjoint(OF_EXTRACTION) and (is_placed or not any(of_extraction <= one for one in ALONE))


def _name(dataset: str) -> str:
    return dataset.rpartition("/")[2]


def _folder(dataset: str) -> str:
    return dataset.rpartition("/")[0]
