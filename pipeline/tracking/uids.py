"""Cross-day identity: read files of cell UIDs (one line per ROI) and find the cells that sessions share."""

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
#: Most characters of a UID; the length of its column in the database.
MAX_UID_LENGTH = 64
#: Lines of ROIs that are not tracked.
UNTRACKED = frozenset({"", "nan"})


@dataclass(frozen=True)
class UIDFile:
    """The UID file of one FOV, not yet checked against its ROIs.

    Attributes
    ----------
    origin : str
        Path of the file.
    text : str
        Its whole text.
    sha256 : str
        Hash of its bytes, hex.
    silhouette : (N,) float64 or None
        Silhouette score of each ROI's cluster, from ROICaT; None without the file.
    """

    origin: str
    text: str
    sha256: str
    silhouette: np.ndarray | None


def uid_lines(text: str) -> list[str]:
    """Return the UID of each ROI, one per line; '' if it is not tracked (a blank line, or nan)."""
    # not ONE's CSV reader, which drops blank lines: every later UID would belong to another ROI
    lines = [line.strip() for line in text.splitlines()]
    return ["" if line.lower() in UNTRACKED else line for line in lines]


def mirror_folder(root: str | Path, subject: str, date: Any, number: int) -> Path:
    """Return the folder of a session in a mirror: ``<root>/ROICaT/<subject>/<date>/<NNN>/alf``."""
    return Path(root) / "ROICaT" / subject / str(date) / f"{number:03d}" / "alf"


def read_mirrored(alf: Path, fov: int) -> UIDFile | None:
    """Return the UIDs of a FOV in a mirror, or None if there is no file."""
    path = alf / f"FOV_{fov:02d}" / UIDS
    return read_file(path) if path.is_file() else None


def read_session(one: Any, eid: str, collection: str) -> UIDFile | None:
    """Return the UIDs of a FOV from the session folder through ONE, or None if there is no file."""
    reader = SessionReader(one, eid)
    if reader.has(UIDS, collection):
        path = reader.path(UIDS, collection)
        if reader.has(SILHOUETTE, collection):
            reader.path(SILHOUETTE, collection)  # a remote ONE downloads it into the same folder
    else:
        # UIDs are not a registered dataset type: the file may be in the folder and not in ONE's tables
        path = Path(str(one.eid2path(eid))) / collection / UIDS
        if not path.exists():
            return None
    return _uid_file(path, path.with_name(SILHOUETTE), eid=eid, fov=fov_number(collection))


def read_file(path: Path) -> UIDFile:
    """Return the UIDs of a file, with the silhouettes beside it if they exist."""
    return _uid_file(path, path.with_name(SILHOUETTE))


def _uid_file(path: Path, silhouette: Path, **place: Any) -> UIDFile:
    """Read a UID file, and the silhouettes beside it if they exist."""
    content = read_bytes(path, dataset=str(path), **place)
    text = read_text(content, dataset=str(path), **place)
    long = [line for line in uid_lines(text) if len(line) > MAX_UID_LENGTH]
    if long:
        expected, found = f"up to {MAX_UID_LENGTH} characters", f"{len(long[0])}"
        raise DataError("a UID is too long", dataset=str(path), expected=expected, found=found, **place)
    quality = _silhouette(silhouette, **place) if silhouette.exists() else None
    return UIDFile(str(path), text, hashlib.sha256(content).hexdigest(), quality)


def _silhouette(path: Path, **place: Any) -> np.ndarray:
    """Return silhouettes as (N,) float64; files hold (N,) or (N, 1)."""
    values = read_array(path, dataset=str(path), **place)
    if values.ndim != 1 and values.shape[1:] != (1,):
        found = f"{values.shape}"
        raise DataError("silhouettes are not a vector", dataset=str(path), expected="(n_rois,)", found=found, **place)
    if np.isinf(values).any():
        expected, found = "finite numbers, or NaN", "infinity"
        raise DataError("silhouettes are not finite", dataset=str(path), expected=expected, found=found, **place)
    return values.astype(float).reshape(-1)


def tracked_rows(uids: list[str], n_rois: int, taken: Iterable[str], duplicates: str, **place: Any) -> dict[str, int]:
    """Check a UID file against its FOV and return {UID: ROI} of the tracked ROIs.

    Parameters
    ----------
    uids : list of str
        One per line, '' for an untracked ROI.
    n_rois : int
        Number of ROIs of the FOV.
    taken : iterable of str
        UIDs found in earlier FOVs of the session.
    duplicates : {'error', 'first'}
        How to treat a UID that occurs more than once in a session: raise an error, or keep the first ROI.
    **place
        eid, fov, dataset for errors.

    Raises
    ------
    DataError
        The number of lines is not the number of ROIs, or (``duplicates='error'``) a UID occurs more than once.
    ConfigError
        `duplicates` is neither of the two.
    """
    if duplicates not in ("error", "first"):
        raise ConfigError(f"duplicates must be 'error' or 'first', not {duplicates!r}")
    if len(uids) != n_rois:
        raise DataError(
            "the UID file does not fit the FOV",
            expected=f"{n_rois} UIDs for {n_rois} ROIs",
            found=f"{len(uids)} UIDs",
            do="UIDs are never cut or padded to fit. If the FOV was extracted again after tracking, track it again",
            **place,
        )
    taken = set(taken)
    counts = Counter(uid for uid in uids if uid)
    # an untracked ROI has no UID: '' may occur any number of times
    repeated = [uid for uid, count in counts.items() if count > 1 or uid in taken]
    if repeated and duplicates == "error":
        rois = [roi for roi, uid in enumerate(uids) if uid == repeated[0]]
        raise DataError(
            "a cell UID occurs more than once in the session",
            expected="each UID once",
            found=f"{len(repeated)} repeated, {repeated[0]} at ROIs {rois}"
            + (" and in an earlier FOV" if repeated[0] in taken else ""),
            do="Register the run with '--duplicates first' to keep the first ROI of each UID",
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
    # lexicographic: the place of a cell must be the same on every machine, and in no session's order of ROIs
    return sorted(set.intersection(*sets)) if sets else []
