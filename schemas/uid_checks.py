"""Whether the UIDs of a file are those of the ROIs of its FOV: what ``TrackedFOV`` refuses, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.tracking import places as of_cells
from pipeline.tracking import uids as tracking
from schemas.session import Session

#: Instead of a hash of positions: they could not be read when the UIDs were registered.
UNREADABLE = "unreadable"
#: FOVs that an error lists.
MOST_NAMED = 3
#: A silhouette is 1 at most; it may have been rounded to float32.
MAX_SILHOUETTE = 1 + 1e-6


def tracked_rois(file: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Return the tracked ROIs of a file that was examined, and the number of its lines that repeat a UID.

    Parameters
    ----------
    file : dict
        See ``schemas.tracking._examined``.

    Returns
    -------
    list of dict
        Roi, cell_uid and silhouette.
    int

    Raises
    ------
    DataError
        The UIDs do not fit the ROIs.
    """
    _check_rois(file)
    _check_no_copy(file)
    _check_no_other_mouse(file)
    uid_form = file["uid_form"]
    lines, place = tracking.uid_lines(file["uid_text"], uid_form), location(file)
    tracking.check_form(lines, uid_form, **place)
    earlier = [uid for text in file["earlier"] for uid in tracking.cells_in(text, uid_form)]
    rows = tracking.tracked_rows(lines, file["n_rois"], earlier, file["duplicates"], **place)
    _check_places(file)
    _check_not_moved(file)
    quality = _silhouette(file["cluster_silhouette"], file["n_rois"], place)
    _check_silhouettes(quality, lines, place)
    found = [{"roi": roi, "cell_uid": uid, "silhouette": quality[roi]} for uid, roi in rows.items()]
    return found, sum(bool(uid) for uid in lines) - len(rows)


def location(file: dict) -> dict[str, Any]:
    """Return session, FOV and path of a UID file, for errors."""
    return {"eid": file["eid"], "fov": file["fov"], "dataset": file["uid_origin"]}


def _check_rois(file: dict) -> None:
    """Refuse UIDs for other ROIs: a new extraction can have as many, and the lines of the file would fit."""
    expected, found, subject = file["uid_rois"], file["positions"], file["subject"]
    if expected == UNREADABLE:
        raise DataError(
            "when the UIDs were registered, the positions of the ROIs could not be read", **location(file),
            do=f"Make sure that ROICaT had these ROIs, then run: meso track {subject}",
        )  # fmt: skip
    if expected and found != expected:
        raise DataError(
            "the UIDs were registered with other ROIs than the FOV has", **location(file),
            expected=f"positions of ROIs with sha256 {expected}", found=found,
            do=f"Track the FOV again with ROICaT, then run: meso track {subject}. If the files of the FOV have "
            f"changed: meso update {file['eid']}. If only positions were corrected: meso track {subject} "
            f"--same-rois {file['eid']}:FOV_{file['fov']:02d}",
        )  # fmt: skip


def _check_no_copy(file: dict) -> None:
    """Refuse the UIDs of another FOV or session, in this run or in an earlier one in which they fit.

    The same file, or the same UIDs in the same lines for other ROIs: a file that was saved again.
    """
    if not tracking.cells_in(file["uid_text"], "any"):
        return
    if other := file["copy"]:
        raise DataError(
            "the UIDs are a copy of those of another FOV", **location(file), expected="UIDs of its own",
            found=f"session {other['eid']}, FOV_{other['fov']:02d}" + (", deleted" if other.get("is_gone") else ""),
            do=f"Put the files in their places, then run: meso track {file['subject']}. If the other was wrong, "
            + (f"forget it: (schemas.RegisteredUIDs & {other['registered']}).delete()" if other.get("is_gone") else
            f"delete its tracking run: (schemas.TrackingRun & {{'tracking_run': '{other['tracking_run']}'}}).delete()"),
        )  # fmt: skip


def _check_no_other_mouse(file: dict) -> None:
    """Refuse UIDs that cells of another mouse have."""
    if other := file["other_mouse"]:
        raise DataError(
            f"the UIDs are those of another mouse, {other['subject']}", **location(file), expected="UIDs of its own",
            found=f"{other['n']} UIDs of session {other['eid']}, FOV_{other['fov']:02d}, of {other['subject']}",
            do=f"Put the files in their places, then run: meso track {file['subject']}. If those of {other['subject']} "
            f"are wrong, delete its tracking run: (schemas.TrackingRun & "
            f"{{'tracking_run': '{other['tracking_run']}'}}).delete()",
        )  # fmt: skip


def _check_places(file: dict) -> None:
    """Refuse UIDs that put the cells at other places of the image than on other days.

    Also of a file that is not at fault, if the one that is at fault is tracked: it came before those that tell.
    """
    verdict: of_cells.Verdict = file["verdict"]
    wrong = [file["others"][i] for i in verdict.contradicts]
    tracked = [other for other in wrong if other["is_tracked"]]
    if not verdict.is_outvoted and not tracked:
        return
    least, first = min((share, i) for i, share in verdict.explained.items())
    if verdict.is_outvoted:
        do = "Give it the lines in the order of the ROIs"
        do += "" if len(wrong) > 1 else "; if they are, the other file has them in another order"
    else:
        keys = [{"eid": other["eid"], "fov": other["fov"]} for other in tracked]
        do = f"The files of these are at fault, and were tracked before: (schemas.TrackedFOV & {keys}).delete()"
    raise DataError(
        "the UIDs put cells at other places of the image than those of another day", **location(file),
        expected=f"places of which a plane over those of the other day explains {of_cells.MIN_EXPLAINED:.0%} or more",
        found=f"{max(least, 0):.0%} with {_named(file['others'][first])}; less is explained with {len(wrong)} of the "
        f"{len(verdict.explained)} FOVs that share cells with it ({', '.join(map(_named, wrong[:MOST_NAMED]))})",
        do=f"{do}; then run: meso track {file['subject']}. If cells do lie elsewhere on this day: meso track "
        f"{file['subject']} --other-places {file['eid']}:FOV_{file['fov']:02d}",
    )  # fmt: skip


def _named(other: dict) -> str:
    return f"session {other['eid']}, FOV_{other['fov']:02d}"


def _check_not_moved(file: dict) -> None:
    """Refuse the UIDs that the FOV had before, for others of its ROIs, unless the places of other days confirm them.

    Each run of ROICaT makes new UIDs; that lines were removed or single ones corrected is no such case.
    """
    if (other := file["moved"]) and not file["verdict"].is_confirmed:
        n_shared, n_same = tracking.n_shared(*map(tracking.UIDText, (file["uid_text"], other["first_text"])))
        raise DataError(
            "the UIDs are those that were registered before, for other ROIs of the FOV", **location(file),
            expected=f"the {n_shared} UIDs that both files have for the ROIs that had them: the ROIs have not changed",
            found=f"{n_same} of them on the lines that they had",
            do=f"Put the former file back, then run: meso track {file['subject']}. If that was wrong, forget it: "
            f"(schemas.RegisteredUIDs & {other['registered']}).delete()",
        )  # fmt: skip


def _silhouette(values: np.ndarray | None, n_rois: int, place: dict) -> list[float | None]:
    """Return the cluster silhouette of each ROI, None where it is not known.

    Raises
    ------
    DataError
        There are more or fewer than ROIs, or one is not from -1 to 1.
    """
    if values is None:
        return [None] * n_rois
    if len(values) != n_rois:
        raise DataError(
            "the number of silhouettes is not that of the ROIs",
            expected=f"{n_rois} values",
            found=f"{len(values)}",
            **place,
        )
    # ROICaT's are (similarity within the cluster - highest with another) / the larger of the two
    outside = np.flatnonzero(np.abs(values) > MAX_SILHOUETTE)
    if outside.size:
        raise DataError(
            "not silhouettes", **place, expected=f"numbers from -1 to 1, or NaN, in {tracking.SILHOUETTE}",
            found=f"{outside.size} others, the first {values[outside[0]]:g} for ROI {outside[0]}",
        )  # fmt: skip
    return [float(v) if np.isfinite(v) else None for v in values]


def _check_silhouettes(quality: list[float | None], lines: list[str], place: dict) -> None:
    """Refuse silhouettes of other UIDs: those of a run of ROICaT are of the ROIs that have a UID, and of no others.

    Some may be lacking, or be known of all ROIs; that most are of other ROIs is no such case.
    """
    without = sum(bool(uid) and value is None for uid, value in zip(lines, quality, strict=True))
    elsewhere = sum(not uid and value is not None for uid, value in zip(lines, quality, strict=True))
    either = sum(bool(uid) or value is not None for uid, value in zip(lines, quality, strict=True))
    if without and elsewhere and 2 * (without + elsewhere) > either:
        raise DataError(
            "the silhouettes are not those of these UIDs", **place,
            expected="silhouettes of the ROIs with a UID, and of no others",
            found=f"{without} ROIs with a UID and no silhouette, {elsewhere} with a silhouette and no UID",
            do=f"Copy {tracking.SILHOUETTE} of the same run of ROICaT, or remove it; then run: meso track "
            f"{(Session & {'eid': place['eid']}).fetch1('subject')}",
        )  # fmt: skip
