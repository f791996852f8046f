"""What is known of the files of a session when it is registered, with which its first reading is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pipeline.errors import DataError
from pipeline.reading.behavior import trial_datasets, wheel_datasets
from pipeline.reading.datasets import SessionReader, Source
from pipeline.reading.fov import fluorescence_datasets, fov_datasets

#: Larger files are not hashed, bytes. Of 4,000 ROIs, or of the frames of 3 h, no file has 1 MB: larger are activity, of
#: which a session has up to 6 GB, and the wheel of half an hour or more, which would take as long as all the others.
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


def _of_fov(reader: SessionReader, collection: str) -> list[str]:
    return [*fov_datasets(reader, collection), *fluorescence_datasets(collection, neuropil=True)]


def _listed(reader: SessionReader, datasets: Callable[[SessionReader], list[str]]) -> list[str]:
    """Return the paths that ONE has of some datasets; none if it has two of one, which is an error of reading them."""
    try:
        found = [reader.default(name) for name in dict.fromkeys(datasets(reader))]
    except DataError:
        return []
    return [path for path in found if path]
