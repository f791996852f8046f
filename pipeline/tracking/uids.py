"""Cross-day identity: read files of cell UIDs (one line per ROI) and find the cells that sessions share."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.reading.client import fov_number, session_folder
from pipeline.reading.datasets import SessionReader, read_array, read_bytes, read_text
from pipeline.reading.fov import UUID

UIDS = "mpciROIs.clusterUIDs.csv"
SILHOUETTE = "mpciROIs.clusterSilhouette.npy"
#: Most characters of a UID; the length of its column in the database.
MAX_UID_LENGTH = 64
#: Forms of a UID: a UUID, or any word up to ``MAX_UID_LENGTH``.
UID_FORMS = ("uuid", "any")
#: Lines of ROIs that are not tracked, in lower case, as all runs of before ``uid_form`` were read.
UNTRACKED = frozenset({"", "nan"})
#: ... and all that programs write for "no value", and ROICaT for "no cluster".
PLACEHOLDERS = UNTRACKED | {
    "-1", "-1.0", "<missing>", "missing", "<na>", "na", "n/a", "nat", "nil", "none", "null", "<null>", "[]",
    "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
}  # fmt: skip
#: UIDs of two files are in the same order if more than the second part of them follow each other in both. The chance
#: that so many in orders of their own do is 1.3 in a million (Eulerian numbers), and less for more.
MIN_COMMON, MIN_IN_ORDER = 13, 0.9
#: What separates columns.
SEPARATORS = re.compile(r"[,;\t]")


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


def uid_lines(text: str, uid_form: str | None = None) -> list[str]:
    """Return the UID of each ROI, one per line; '' if it is not tracked.

    Parameters
    ----------
    text : str
        Of a UID file.
    uid_form : {'uuid', 'any'}, optional
        Lines with a placeholder (``PLACEHOLDERS``) are of no cell, quotes around a UID do not count, and a UUID is the
        same in capitals. None reads lines as before this parameter existed: only blank ones and nan are of no cell.
    """
    # not ONE's CSV reader, which drops blank lines: every later UID would belong to another ROI
    lines = [line.strip() for line in text.splitlines()]
    if uid_form is None:
        return ["" if line.lower() in UNTRACKED else line for line in lines]
    return [_uid(line.strip("\"'").strip()) for line in lines]


def _uid(word: str) -> str:
    """Return the UID that a word stands for, '' for a placeholder."""
    lower = word.lower()
    return "" if lower in PLACEHOLDERS else lower if UUID.fullmatch(word) else word


def is_uid(word: str, uid_form: str | None) -> bool:
    """Return whether a line of ``uid_lines`` is a UID of this form."""
    if uid_form == "uuid":
        return bool(UUID.fullmatch(word))
    return 0 < len(word) <= MAX_UID_LENGTH and (uid_form is None or not SEPARATORS.search(word))


def cells_in(text: str, uid_form: str | None) -> list[str]:
    """Return the UIDs of a UID file, without lines that are none."""
    return [uid for uid in uid_lines(text, uid_form) if is_uid(uid, uid_form)]


@dataclass(frozen=True)
class UIDText:
    """The text of a UID file that is compared with many others.

    Attributes
    ----------
    text : str
    """

    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The UID of each ROI, any word, '' if it is not tracked."""
        return uid_lines(self.text, "any")

    @cached_property
    def first_lines(self) -> dict[str, int]:
        """The line of each UID, the first if there are several."""
        return {uid: line for line, uid in reversed(list(enumerate(self.lines))) if uid}

    @cached_property
    def words(self) -> set[str]:
        """All words in lower case, placeholders too, from which is quickly seen what files share."""
        return set(self.text.lower().replace('"', " ").replace("'", " ").split())


def is_of_same_rois(one: UIDText, other: UIDText, least: int = 1) -> bool:
    """Return whether most UIDs of one of two files, and `least` or more, are in the same lines of the other.

    ROICaT gives new ones in every run. Of one: a file whose UIDs were filtered, to a few perhaps, is still of the ROIs
    of the whole file.
    """
    n_same = sum(uid == before != "" for uid, before in zip(one.lines, other.lines, strict=False))
    return n_same >= least and 2 * n_same > min(sum(map(bool, one.lines)), sum(map(bool, other.lines)))


def is_in_same_order(one: UIDText, other: UIDText) -> bool:
    """Return whether the UIDs that two files have in common, ``MIN_COMMON`` or more, are in the same order in both.

    So it is of a file from which lines were removed, in whatever lines its UIDs are by then. Each extraction finds the
    cells in an order of its own: of those that two days share, half follow each other in both.
    """
    line_of = {uid: line for line, uid in enumerate(other.lines) if uid}
    found = [line_of[uid] for uid in one.lines if uid in line_of]
    return len(found) >= MIN_COMMON and float(np.mean(np.diff(found) > 0)) > MIN_IN_ORDER


def n_shared(one: UIDText, other: UIDText) -> tuple[int, int]:
    """Return how many UIDs two files share, and how many of these are on the same line of both."""
    lines, others = one.first_lines, other.first_lines
    shared = lines.keys() & others.keys()
    return len(shared), sum(lines[uid] == others[uid] for uid in shared)


def is_moved(one: UIDText, other: UIDText, least: int) -> bool:
    """Return whether most of the UIDs that two files share are on other lines, `least` or more, of as many lines.

    In a file from which lines were removed they are on other lines, too; it has fewer.
    """
    if len(one.words & other.words) < least or len(one.lines) != len(other.lines):
        return False
    shared, same = n_shared(one, other)
    return shared - same >= max(least, same + 1)


def reads_as_before(text: str, uid_form: str | None) -> bool:
    """Return whether a UID file has the same cells for the same ROIs in this form and without any."""
    lines = uid_lines(text, uid_form)
    return lines == uid_lines(text) and all(is_uid(line, uid_form) for line in lines if line)


def check_form(uids: list[str], uid_form: str | None, **place: Any) -> None:
    """Refuse the lines of a UID file of which one is neither a UID of its form nor a placeholder.

    Parameters
    ----------
    uids : list of str
        Of ``uid_lines``.
    uid_form : {'uuid', 'any'} or None
    **place
        eid, fov, dataset for errors.

    Raises
    ------
    DataError
        With the first of them, and the number of the others.
    """
    wrong = [roi for roi, uid in enumerate(uids) if uid and not is_uid(uid, uid_form)]
    if not wrong:
        return
    words = [uids[roi] for roi in wrong]
    # a word among UUIDs, or one that occurs again, stands for "no cell", and no advice may make a cell of it
    is_other_form = len(words) == sum(map(bool, uids)) and len(set(words)) == len(words)
    may_be_uids = is_other_form and all(is_uid(word, "any") for word in words)
    raise DataError(
        "not cell UIDs",
        expected=f"a {'UUID' if uid_form == 'uuid' else f'word of up to {MAX_UID_LENGTH} characters'} per line, "
        f"blank if the ROI is not tracked",
        found=f"{len(wrong)} other lines, the first {words[0][: 2 * MAX_UID_LENGTH]!r} for ROI {wrong[0]}",
        do="Leave the lines of ROIs that are not tracked blank, and keep one column"
        + ("; if these words are names of cells, register them with '--uid-form any'" if may_be_uids else ""),
        **place,
    )


def mirror_folder(root: str | Path, subject: str, date: Any, number: int) -> Path:
    """Return the folder of a session in a mirror: ``<root>/ROICaT/<subject>/<date>/<NNN>/alf``."""
    return Path(root) / "ROICaT" / subject / str(date) / f"{number:03d}" / "alf"


def read_mirrored(alf: Path, fov: int) -> UIDFile | None:
    """Return the UIDs of a FOV in a mirror, or None if there is no file."""
    path = alf / f"FOV_{fov:02d}" / UIDS
    return read_file(path) if path.exists() else None


def read_session(one: Any, eid: str, collection: str) -> UIDFile | None:
    """Return the UIDs of a FOV from the session folder through ONE, or None if there is no file.

    Raises
    ------
    DataError
        A file cannot be read; or the silhouettes are of another revision than the UIDs, and are not seen to be theirs.
    """
    reader = SessionReader(one, eid)
    if reader.has(UIDS, collection):
        path = reader.path(UIDS, collection)
    else:
        # UIDs are not a registered dataset type: the file may be in the folder and not in ONE's tables
        path = session_folder(one, eid) / collection / UIDS
        if not path.exists():
            return None
    listed = reader.has(SILHOUETTE, collection)
    silhouette = reader.path(SILHOUETTE, collection) if listed else path.with_name(SILHOUETTE)
    file = _uid_file(path, silhouette, eid=eid, fov=fov_number(collection))
    if file.silhouette is not None and silhouette.parent != path.parent:
        _check_one_run(file, file.silhouette, str(silhouette), eid=eid, fov=fov_number(collection))
    return file


def _check_one_run(file: UIDFile, silhouette: np.ndarray, dataset: str, **place: Any) -> None:
    """Refuse silhouettes that have another revision than the UIDs, unless they are of exactly the ROIs with a UID.

    Those of another run of ROICaT are of other ROIs. If all ROIs have a UID, this cannot be told.
    """
    has, known = np.array(list(map(bool, uid_lines(file.text, "any")))), np.isfinite(silhouette)
    if not np.array_equal(has, known) or (len(has) and has.all()):
        raise DataError(
            "the silhouettes are of another revision than the UIDs, and may be of another run of ROICaT",
            dataset=dataset, expected=f"the revision of {file.origin}, or those of its {has.sum()} tracked ROIs alone",
            found=f"silhouettes of {known.sum()} of {len(known)} ROIs",
            do=f"Give {UIDS} and {SILHOUETTE} of the same run, or remove the silhouettes", **place,
        )  # fmt: skip


def read_file(path: Path) -> UIDFile:
    """Return the UIDs of a file, with the silhouettes beside it if they exist."""
    return _uid_file(path, path.with_name(SILHOUETTE))


def _uid_file(path: Path, silhouette: Path, **place: Any) -> UIDFile:
    """Read a UID file, and the silhouettes beside it if they exist."""
    content = read_bytes(path, dataset=str(path), **place)
    text = read_text(content, dataset=str(path), **place)
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
            do=_advice(repeated, counts),
            **place,
        )
    rows: dict[str, int] = {}
    for roi, uid in enumerate(uids):
        if uid and uid not in taken:
            rows.setdefault(uid, roi)
    return rows


def _advice(repeated: list[str], counts: Counter[str]) -> str:
    """Return what to do about repeated UIDs; never to keep what may stand for "no cell" as a cell."""
    if all(UUID.fullmatch(uid) and counts[uid] <= 2 for uid in repeated):
        return "Register the run with '--duplicates first' to keep the first ROI of each UID"
    return "If it stands for ROIs that are not tracked, leave their lines blank; otherwise track the session again"


def shared_uids(uids_by_session: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the UIDs present in every session, in lexicographic order."""
    sets = [set(uids) for uids in uids_by_session.values()]
    # lexicographic: the place of a cell must be the same on every machine, and in no session's order of ROIs
    return sorted(set.intersection(*sets)) if sets else []
