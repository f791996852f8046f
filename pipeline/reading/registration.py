"""What is known of the files of a session when it is registered, with which its first reading is compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.reading.behavior import trial_datasets, wheel_datasets
from pipeline.reading.datasets import SAMPLED, SessionReader, Source, sampled_hash, sha256_file, without_revision
from pipeline.reading.fov import TYPE_NAMES, fluorescence_datasets, fov_datasets

#: Of larger files only a sample is hashed, bytes. Of 4,000 ROIs, or of the frames of 3 h, no file has 1 MB: larger are
#: activity, of which a session has up to 6 GB, and the wheel of half an hour or more, which would take as long as all
#: the others.
MAX_HASHED = 4 << 20


def files_at_registration(one: Any, eid: str, collections: Iterable[str], *, behavior: bool) -> list[Source]:
    """Return what is known of the files from which a session would be read now; nothing is downloaded.

    Parameters
    ----------
    one : ONE client
    eid : str
    collections : iterable of str
        Of FOVs, such as ``alf/FOV_00``.
    behavior : bool
        Also the files of trials and wheel.

    Returns
    -------
    list of Source
        Of each file that ONE lists: see ``SessionReader.unread``.
    """
    reader = SessionReader(one, eid)
    groups: list[Callable[[SessionReader], list[str]]] = [trial_datasets, wheel_datasets] if behavior else []
    groups += [partial(_of_fov, collection=collection) for collection in collections]
    return [reader.unread(dataset, MAX_HASHED) for group in groups for dataset in _listed(reader, group)]


def files_now(reader: SessionReader, paths: Iterable[str]) -> list[Source]:
    """Return what is known now of those of some files that ONE still prefers; see ``SessionReader.unread``."""
    return [reader.unread(path, MAX_HASHED) for path in paths if reader.default(without_revision(path)) == path]


def files_here(reader: SessionReader, datasets: Iterable[str]) -> dict[str, Source]:
    """Return those of some datasets, paths without revision, that ONE prefers and that are on this machine.

    Their sha256 is that of the whole file. If ONE can download files there are none: a file here may be a former one.
    """
    listed = [] if reader.is_remote else _listed(reader, lambda _: list(datasets))
    files = (reader.unread(path, sys.maxsize) for path in listed)
    return {without_revision(one.dataset): one for one in files if one.sha256}


def is_registered(file: Path | None, read: Source, registered: Source) -> bool:
    """Return whether a file that was read is the one that was registered.

    It may have been copied to its end since: then it begins with what it was.

    Parameters
    ----------
    file : Path or None
        Where it is on this machine.
    read, registered : Source
        The second as ``files_at_registration`` returns it.
    """
    if not registered.sha256:
        return registered.one_hash == read.one_hash != ""
    if file is None or registered.size > read.size:
        return False
    hash_of = sampled_hash if registered.sha256.startswith(SAMPLED) else sha256_file
    return hash_of(file, registered.size) == registered.sha256


def _of_fov(reader: SessionReader, collection: str) -> list[str]:
    names = f"{collection}/{TYPE_NAMES}"  # which may say something else by then
    return [*fov_datasets(reader, collection), *fluorescence_datasets(collection, neuropil=True), names]


def _listed(reader: SessionReader, datasets: Callable[[SessionReader], list[str]]) -> list[str]:
    """Return the paths that ONE has of some datasets; none if it has two of one, which is an error of reading them."""
    try:
        found = [reader.default(name) for name in dict.fromkeys(datasets(reader))]
    except DataError:
        return []
    return [path for path in found if path]
