"""Files that are written together, and are not of one writing: of two extractions, or of two alignments of the clocks.

What tells: since files were read some have changed and others have not (``half_...``), or those that were read are of
several revisions (``mixed_revisions``). Single datasets are corrected, deconvolved or extracted again by themselves, so
that nothing here is an error: see docs/operation/reading.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.reading.behavior import TRIALS, WHEEL_TIMES
from pipeline.reading.changes import Change
from pipeline.reading.datasets import Source, without_revision
from pipeline.reading.fov import (
    CLASSIFIER,
    MLAPDV,
    NEUROPIL,
    OF_ROIS,
    POSITIONS,
    REGION_IDS,
    SIGNALS,
    TIMES,
    TYPES,
    UUIDS,
)

#: What an extraction writes; places and regions follow from it, and are compared with it by content.
OF_EXTRACTION = (*SIGNALS.values(), NEUROPIL, TYPES, CLASSIFIER, POSITIONS, UUIDS)
#: Regions and places in the brain, which one histology, or one estimate, gives together.
PLACES = tuple(template.format(suffix) for template in (REGION_IDS, MLAPDV) for suffix in ("", "_estimate"))


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
    told_by: tuple[str, str] = ("have changed", "have not")

    def __str__(self) -> str:
        is_newer, is_older = self.told_by
        return (
            f"{self.what} {is_newer} ({', '.join(self.newer)}), and others {is_older} ({', '.join(self.older)}). "
            f"If {self.reason}, files are still to come"
        )


def half_aligned(changed: Iterable[Change], recorded: Iterable[Source]) -> tuple[list[str], list[str]]:
    """Return the datasets of a session that a new alignment of its clocks has changed, and those that it has not (yet).

    Parameters
    ----------
    changed : iterable of Change
        Of all rows of the session.
    recorded : iterable of Source
        All files that they were read from.

    Returns
    -------
    changed, same : list of str
        Paths without revision; both empty if none or all have changed.
    """
    return _halves(changed, recorded, _is_clock)


def half_extracted(changed: Iterable[Change], recorded: Iterable[Source]) -> tuple[list[str], list[str]]:
    """Return the datasets of a FOV that a new extraction has changed, and those that it has not (yet).

    Parameters and return value as for ``half_aligned``, of one FOV and its signals.
    """
    recorded = list(recorded)
    done, same = half_of_rois(changed, recorded)
    names = set(map(_name, done))
    read = {_name(source.dataset) for source in recorded}  # the others may have been added
    return (done, same) if _is_extraction(names, names & read) else ([], [])


def half_of_rois(changed: Iterable[Change], recorded: Iterable[Source]) -> tuple[list[str], list[str]]:
    """Return the datasets of the ROIs of a FOV that have changed, and those that have not, whichever these are.

    Parameters and return value as for ``half_extracted``.
    """
    return _halves(changed, recorded, _is_of_rois)


def half_placed(changed: Iterable[Change], recorded: Iterable[Source]) -> tuple[list[str], list[str]]:
    """Return the regions of a FOV if they have changed, and its places, if they have not (yet), or the reverse.

    Parameters and return value as for ``half_aligned``, of one FOV.
    """
    return _halves(changed, recorded, lambda dataset: _name(dataset) in PLACES)


def half_trials(
    changed: Iterable[Change], recorded: Iterable[Source], collection: str, *, are_others: bool
) -> tuple[list[str], list[str]]:
    """Return the datasets of a task's trials that a new extraction has changed, and those that it has not (yet).

    A new alignment changes times only.

    Parameters
    ----------
    changed, recorded
        As for ``half_aligned``, of the trials of a session.
    collection : str
        Folder of the task.
    are_others : bool
        Whether the table has other trials now, not only at other times.

    Returns
    -------
    changed, same : list of str
        As of ``half_aligned``.
    """
    done, same = _halves(changed, recorded, lambda dataset: dataset.rpartition("/")[0] == collection)
    is_new = are_others if f"{collection}/{TRIALS}" in done else not all(map(_is_clock, done))
    return (done, same) if is_new else ([], [])


def mixtures_since(
    former: Mapping[str, str], now: Mapping[str, str], *, are_other_trials: bool
) -> list[Mixture]:  # fmt: skip
    """Return the groups of files of a session of which some have changed and others have not, by their hashes alone.

    Parameters
    ----------
    former, now : mapping of str to str
        By path without revision the sha256 of each file that the rows were read from, before and now.
    are_other_trials : bool
        Whether there are other trials now, not only at other times.
    """
    changed = [
        Change(path, "gone" if path not in now else "content" if path in former else "new", former.get(path, ""), "")
        for path in sorted({*former, *now}) if former.get(path) != now.get(path)
    ]  # fmt: skip
    read = [Source(path, "", "", 0, sha256, "") for path, sha256 in former.items()]
    found = [("files with times", "the session was aligned again", half_aligned(changed, read))]
    for folder in sorted(set(map(_folder, former))):
        own = [change for change in changed if _folder(change.dataset) == folder]
        inside = [source for source in read if _folder(source.dataset) == folder]
        rois, places = half_extracted(own, inside), half_placed(own, inside)
        found.append(("files of ROIs", "the FOV was extracted again", rois))
        found.append(("regions and places in the brain", "a histology gives both", ([], []) if any(rois) else places))
        of_trials = [source for source in inside if _is_of_trials(source.dataset)]
        halves = half_trials(filter(_changes_trials, own), of_trials, folder, are_others=are_other_trials)
        found.append(("files of trials", "behaviour was extracted again", halves))
    return [Mixture(what, tuple(newer), tuple(older), reason) for what, reason, (newer, older) in found if newer]


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
    found = [_mixed_clocks(revisions)]
    for _, inside in sorted(folders.items()):
        found += [_mixed_trials(inside), _mixed_rois(inside), _mixed_places(inside)]

    def paths(datasets: Iterable[str]) -> tuple[str, ...]:
        return tuple(read[dataset].dataset for dataset in datasets)

    return [replace(one, newer=paths(one.newer), older=paths(one.older)) for one in found if one]


def _mixed_clocks(revisions: Mapping[str, str]) -> Mixture | None:
    """Return the clocks of a session (dataset to revision) that were not aligned together.

    The wheel stands for behaviour, if there is one: trials are compared with it, and may be extracted again alone.
    Frame times that are newer since their FOV was extracted again are those of before.
    """
    clocks = {dataset: revision for dataset, revision in revisions.items() if _is_clock(dataset)}
    wheel = {dataset for dataset in clocks if _name(dataset) == WHEEL_TIMES}
    compared = {dataset for dataset in clocks if _name(dataset) == TIMES} | (wheel or set(clocks))
    activity = {
        (_folder(dataset), revision) for dataset, revision in revisions.items() if _name(dataset) in SIGNALS.values()
    }

    def is_aligned(newer: set[str], older: set[str]) -> bool:
        by_extraction = {one for one in newer if _name(one) == TIMES and (_folder(one), clocks[one]) in activity}
        return bool(newer & compared - by_extraction and older & compared)

    return _mixed(clocks, is_aligned, "files with times", "the session was aligned again")


def _mixed_trials(inside: Mapping[str, str]) -> Mixture | None:
    """Return the datasets of the trials of a task that were not extracted, or aligned, together."""
    trials = {dataset: revision for dataset, revision in inside.items() if _is_of_trials(dataset)}

    def is_extraction(newer: set[str], older: set[str]) -> bool:
        # an alignment gives all times anew, and nothing else; the table has both
        return any(map(_is_clock, older)) or not all(map(_is_clock, newer))

    return _mixed(trials, is_extraction, "files of trials", "behaviour was extracted again")


def _mixed_rois(inside: Mapping[str, str]) -> Mixture | None:
    """Return the datasets of the ROIs of a FOV that are not of one extraction, as far as their names tell."""
    rois = {dataset: revision for dataset, revision in inside.items() if _name(dataset) in OF_EXTRACTION}

    def is_extraction(newer: set[str], _: set[str]) -> bool:
        names = set(map(_name, newer))
        return _is_extraction(names, names)

    return _mixed(rois, is_extraction, "files of ROIs", "the FOV was extracted again")


def _mixed_places(inside: Mapping[str, str]) -> Mixture | None:
    """Return regions and places of a FOV that are not of one histology, or one estimate."""
    # what is final is newer than any estimate
    places = {
        dataset: f"{0 if _name(dataset).endswith('_estimate.npy') else 1}{revision}"
        for dataset, revision in inside.items() if _name(dataset) in PLACES
    }  # fmt: skip
    return _mixed(places, lambda *_: True, "regions and places in the brain", "a histology gives both")


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


def _halves(
    changed: Iterable[Change], recorded: Iterable[Source], belongs: Callable[[str], bool]
) -> tuple[list[str], list[str]]:
    """Return the datasets that belong and are others now, and those that are the recorded ones; none of all or none."""
    kinds = {without_revision(change.dataset): change.kind for change in changed}
    done = sorted(name for name, kind in kinds.items() if belongs(name) and kind not in ("gone", "unused"))
    same = sorted({without_revision(source.dataset) for source in recorded} - set(kinds))
    same = [name for name in same if belongs(name)]
    return (done, same) if done and same else ([], [])


def _is_clock(dataset: str) -> bool:
    """Return whether a new alignment of clocks gives a dataset anew."""
    name = _name(dataset)
    has_times = _is_of_trials(dataset) and ("times" in name or "intervals" in name)
    return name in (TIMES, TRIALS, WHEEL_TIMES) or has_times


def _is_of_trials(dataset: str) -> bool:
    return _name(dataset).startswith("_ibl_trials.")


def _changes_trials(change: Change) -> bool:
    return _is_of_trials(change.dataset)


def _is_of_rois(dataset: str) -> bool:
    return _name(dataset) in OF_ROIS


def _is_extraction(names: set[str], changed: set[str]) -> bool:
    """Return whether datasets of ROIs that are new together are so by a new extraction, as far as their names tell.

    Uuids and fluorescence change with every extraction, other activity together with types or positions, and types
    together with the classifier, only then: what else changes is corrected, or deconvolved again.

    Parameters
    ----------
    names : set of str
    changed : set of str
        Those of them that took the place of others, and were not added.
    """
    of_rois = names & {TYPES, POSITIONS, UUIDS}
    return bool(
        changed & {UUIDS, SIGNALS["fluorescence"]}
        or (names & set(SIGNALS.values()) and of_rois)
        or {TYPES, CLASSIFIER} <= changed
    )


def _name(dataset: str) -> str:
    return dataset.rpartition("/")[2]


def _folder(dataset: str) -> str:
    return dataset.rpartition("/")[0]
