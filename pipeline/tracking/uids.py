"""Cross-day identity: files of cell UIDs, one line per ROI, and the cells that sessions share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.reading.client import fov_number
from pipeline.reading.datasets import SessionReader, read_array, read_bytes, read_text

UIDS = "mpciROIs.clusterUIDs.csv"
SILHOUETTE = "mpciROIs.clusterSilhouette.npy"
#: Characters that a UID can have.
LONGEST = 64
#: What stands for "not tracked" in a line.
BLANK = frozenset({"", "nan"})


@dataclass(frozen=True)
class UIDFile:
    """The cell UIDs of one FOV as a file holds them.

    Attributes
    ----------
    origin : str
        Path of the file.
    text : str
        All of it.
    sha256 : str
    silhouette : (N,) float64 or None
        ROICaT's quality of each ROI's cluster, where the file is there.
    """

    origin: str
    text: str
    sha256: str
    silhouette: np.ndarray | None


def uid_lines(text: str) -> list[str]:
    """Return the UID of each ROI, '' where it is not tracked (a blank line or the word nan)."""
    lines = [line.strip() for line in text.splitlines()]
    return ["" if line.lower() in BLANK else line for line in lines]


def mirror_folder(root: str | Path, subject: str, date: Any, number: int) -> Path:
    """Return where a mirrored tree keeps a session: ``<root>/ROICaT/<subject>/<date>/<NNN>/alf``."""
    return Path(root) / "ROICaT" / subject / str(date) / f"{number:03d}" / "alf"


def read_mirrored(alf: Path, fov: int) -> UIDFile | None:
    """Return the UIDs of a FOV in a mirrored tree, or None where there is no file."""
    path = alf / f"FOV_{fov:02d}" / UIDS
    return _uid_file(path, path.with_name(SILHOUETTE)) if path.is_file() else None


def read_session(one: Any, eid: str, collection: str) -> UIDFile | None:
    """Return the UIDs of a FOV from the session folder through ONE, or None where there is no file."""
    reader = SessionReader(one, eid)
    if reader.has(UIDS, collection):
        path = reader.path(UIDS, collection)
        if reader.has(SILHOUETTE, collection):
            reader.path(SILHOUETTE, collection)  # a remote ONE puts it beside the UIDs
    else:
        # UIDs are not a registered dataset type: they may lie in the folder unknown to ONE's tables
        path = Path(str(one.eid2path(eid))) / collection / UIDS
        if not path.exists():
            return None
    return _uid_file(path, path.with_name(SILHOUETTE), eid=eid, fov=fov_number(collection))


def _uid_file(path: Path, silhouette: Path, **place: Any) -> UIDFile:
    content = read_bytes(path, dataset=str(path), **place)
    text = read_text(content, dataset=str(path), **place)
    long = [line for line in uid_lines(text) if len(line) > LONGEST]
    if long:
        expected, found = f"up to {LONGEST} characters", f"{len(long[0])}"
        raise DataError("a UID is too long", dataset=str(path), expected=expected, found=found, **place)
    quality = _silhouette(silhouette, **place) if silhouette.exists() else None
    return UIDFile(str(path), text, hashlib.sha256(content).hexdigest(), quality)


def _silhouette(path: Path, **place: Any) -> np.ndarray:
    values = read_array(path, dataset=str(path), **place)
    if values.ndim != 1 and values.shape[1:] != (1,):
        found = f"{values.shape}"
        raise DataError("silhouettes are not a vector", dataset=str(path), expected="(n_rois,)", found=found, **place)
    if np.isinf(values).any():
        expected, found = "numbers, NaN for none", "infinity"
        raise DataError("silhouettes are not finite", dataset=str(path), expected=expected, found=found, **place)
    return values.astype(float).reshape(-1)


def tracked_rows(uids: list[str], n_rois: int, taken: Iterable[str], duplicates: str, **place: Any) -> dict[str, int]:
    """Return {UID: ROI} of a FOV after checking the file against the FOV.

    Parameters
    ----------
    uids : list of str
        One per line, '' for none.
    n_rois : int
        ROIs of the FOV.
    taken : iterable of str
        UIDs of the FOVs of the same session that come before.
    duplicates : {'error', 'first'}
        What a UID that comes twice in a session is: an error, or its first ROI's.
    **place
        eid, fov, dataset for errors.

    Raises
    ------
    DataError
        The number of lines is not the number of ROIs, or a UID comes twice.
    """
    if duplicates not in ("error", "first"):
        raise ConfigError(f"duplicates is 'error' or 'first', not {duplicates!r}")
    if len(uids) != n_rois:
        raise DataError(
            "the UID file does not fit the FOV",
            expected=f"{n_rois} UIDs for {n_rois} ROIs",
            found=f"{len(uids)} UIDs",
            do="Nothing was cut or padded: was the FOV extracted again after tracking?",
            **place,
        )
    taken = set(taken)
    counts = Counter(uid for uid in uids if uid)
    repeated = [uid for uid, count in counts.items() if count > 1 or uid in taken]
    if repeated and duplicates == "error":
        rois = [roi for roi, uid in enumerate(uids) if uid == repeated[0]]
        raise DataError(
            "a cell UID comes more than once in the session",
            expected="each UID once",
            found=f"{len(repeated)} repeated, {repeated[0]} at ROIs {rois}"
            + (" and in an earlier FOV" if repeated[0] in taken else ""),
            do="Register the run with --duplicates first to keep the first ROI of each",
            **place,
        )
    rows: dict[str, int] = {}
    for roi, uid in enumerate(uids):
        if uid and uid not in taken:
            rows.setdefault(uid, roi)
    return rows


def shared_uids(uids_by_session: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the UIDs present in every session, in lexicographic order."""
    sets = [set(uids) for uids in uids_by_session.values()]
    return sorted(set.intersection(*sets)) if sets else []
