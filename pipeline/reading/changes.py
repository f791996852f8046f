"""Compare the files that were read with those that ONE would give now, mostly without opening them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.reading.behavior import TRIALS, WHEEL_POSITION, WHEEL_TIMES, trial_datasets, wheel_datasets
from pipeline.reading.datasets import SessionReader, Source, revision_of, sha256_file, without_revision
from pipeline.reading.fov import NEUROPIL, SIGNALS, TIMES, TIMESHIFT, UUIDS, fov_datasets

__all__ = [
    "OWN",
    "Change",
    "changes",
    "clock_changes",
    "fov_datasets",
    "has_times",
    "is_measured",
    "is_own",
    "trial_datasets",
    "wheel_datasets",
]

#: Datasets of a FOV that hold its times; trials and wheel are times altogether.
FOV_CLOCKS = (TIMES, TIMESHIFT)
#: Datasets that no two FOVs or sessions can have alike.
MEASURED = (*SIGNALS.values(), NEUROPIL, UUIDS, TRIALS, WHEEL_TIMES, WHEEL_POSITION)
#: Datasets that tell of which session they are: no other one has the same bytes.
OWN = (*MEASURED, TIMES)


@dataclass(frozen=True)
class Change:
    """One dataset that would be read differently now.

    Attributes
    ----------
    dataset : str
        Path within the session: the recorded one, or for a 'new' dataset the one in ONE.
    kind : str
        'revision' (ONE has another as its default), 'size', 'hash' (in ONE), 'content' (sha256), 'new' (a dataset that
        would be read now, and was not), 'unused' (ONE has it, and prefers another dataset to it), 'gone'.
    recorded, found : str
        What differs.
    """

    dataset: str
    kind: str
    recorded: str
    found: str

    @property
    def is_older(self) -> bool:
        """Whether ONE gives an older revision now than the one that was read; the original is older than any."""
        return self.kind == "revision" and self.recorded != "original" and revision_of(self.found) < self.recorded

    def __str__(self) -> str:
        if self.kind in ("new", "gone", "unused"):
            return f"{self.dataset}: {self.kind}"
        return f"{self.dataset}: {self.kind} {self.found}, was {self.recorded}"


def changes(reader: SessionReader, recorded: Iterable[Source], now: Iterable[str], *, content: bool) -> list[Change]:
    """Return what differs between recorded files and those that would be read now.

    Parameters
    ----------
    reader : SessionReader
        Of the session, without recorded files.
    recorded : iterable of Source
    now : iterable of str
        Datasets that would be read now, as paths without revision: see ``fov_datasets``, ``trial_datasets`` and
        ``wheel_datasets``.
    content : bool
        Also compare the sha256 of files on this machine, which reads them. Otherwise no file is opened: revisions and
        sizes are compared, and hashes where ONE had one then and has one now.

    Returns
    -------
    list of Change
        By dataset.
    """
    wanted, read = set(now), {without_revision(source.dataset): source for source in recorded}
    found = [Change(reader.default(name) or name, "new", "", "") for name in wanted - set(read)]
    for name, source in read.items():
        change = _change(reader, source, reader.default(name), name in wanted, content)
        found += [change] if change else []
    return sorted(found, key=lambda change: change.dataset)


def clock_changes(reader: SessionReader, recorded: Iterable[Source], now: Iterable[str]) -> list[Change]:
    """Return what differs between recorded files with times and those that would be read now, by content.

    A clock that is aligned again gives all of these files anew. Parameters as for ``changes``.
    """
    clocks = [source for source in recorded if has_times(source.dataset)]
    return changes(reader, clocks, filter(has_times, now), content=True)


def is_measured(dataset: str) -> bool:
    """Return whether a dataset, a path, is one that no two FOVs or sessions can have alike."""
    return dataset.rpartition("/")[2] in MEASURED


def is_own(dataset: str) -> bool:
    """Return whether a dataset, a path, tells of which session it is: no other one has the same bytes."""
    return dataset.rpartition("/")[2] in OWN


def has_times(dataset: str) -> bool:
    """Return whether a dataset, a path within the session, holds times on the session's clock."""
    return not dataset.startswith("alf/FOV_") or dataset.endswith(FOV_CLOCKS)


def _change(reader: SessionReader, source: Source, path: str | None, is_wanted: bool, content: bool) -> Change | None:
    """Return what differs between a recorded file and the path that ONE has for it now, or None."""
    if path is None:
        return Change(source.dataset, "gone", source.dataset, "")
    if not is_wanted:
        return Change(source.dataset, "unused", source.dataset, "")
    if path != source.dataset:
        return Change(source.dataset, "revision", source.revision or "original", path)
    hash_now = reader.one_hash(path)
    if source.one_hash and hash_now and hash_now != source.one_hash:
        return Change(source.dataset, "hash", source.one_hash, hash_now)
    file = reader.local(path)
    if file is None and not reader.is_remote:
        return Change(source.dataset, "gone", source.dataset, "")
    # what ONE lists of a local cache may be older than the file
    size = reader.size(path) if file is None else file.stat().st_size
    if size not in (None, source.size):
        return Change(source.dataset, "size", f"{source.size} bytes", f"{size} bytes")
    if content and file is not None and (sha256 := sha256_file(file)) != source.sha256:
        return Change(source.dataset, "content", f"sha256 {source.sha256}", f"sha256 {sha256}")
    return None
