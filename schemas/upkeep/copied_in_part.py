"""Files that were copied in part over those that were read: new up to some point, and as before from there on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline import reading
from pipeline.errors import DataError
from pipeline.reading.fov import SIGNALS, TIMES
from pipeline.reading.plausible import sample_of, sampled
from schemas.imaging.reading import fov_traces, recorded, roi_traces
from schemas.imaging.signals import SignalParams
from schemas.imaging.tables import FOV, Activity, Recording
from schemas.session import Behavior, FOVFolder, Wheel, trials_of
from schemas.upkeep.changed_files import ChangedRow

#: Of the ROIs that are compared so many have other values than before, and so many the same, in a file of both.
MIN_IN_PART = 5
#: Where the last frames are those of before, at least this share of the others is not: some have no activity.
MIN_NEW_FRAMES = 0.9


def check_whole(row: ChangedRow, data: Any) -> None:
    """Refuse activity of which the ROIs up to some line, or frames, have the stored values and the others have not.

    So it is in a file that was copied over the former one, and not to its end.
    """
    if row.table != FOV.__name__ or (samples := stored_and_new(row, data)) is None:
        return
    stored, new = samples
    _check_rois_whole(row, SIGNALS[data.signal], stored, new)
    if data.traces.flags.c_contiguous:  # frame after frame; in Fortran order, as IBL writes it, ROI after ROI
        rois, _ = sampled(*data.traces.shape)
        stored = fov_traces(row.key["eid"], row.key["fov"], rois)
        _check_frames_whole(row, SIGNALS[data.signal], stored, data.traces[:, rois].T)


def check_whole_signal(row: ChangedRow, new: Callable[[np.ndarray], np.ndarray]) -> None:
    """Refuse fluorescence or neuropil in the same way, by the signal (n, T) that ``new`` makes of ROIs (n,)."""
    rois, _ = sampled(*(FOV & row.key).fetch1("n_frames", "n_rois"))
    fovs = np.full(len(rois), row.key["fov"])
    there = recorded(row.key["eid"], fovs, (SignalParams & row.key).settings())
    stored, now = roi_traces(row.key["eid"], fovs, rois, stored=there), new(rois)
    _check_rois_whole(row, SIGNALS["fluorescence"], stored, now)
    _check_frames_whole(row, SIGNALS["fluorescence"], stored, now)


def _check_rois_whole(row: ChangedRow, name: str, stored: np.ndarray, new: np.ndarray) -> None:
    """Refuse traces (n, T) of which a part of the ROIs is as stored; ROIs without activity do not count."""
    same = (stored == new).all(axis=1)[np.ptp(stored, axis=1) > 0]
    # a ROI that has its line by chance, in another order, is no part
    if min(same.sum(), (~same).sum()) >= MIN_IN_PART and np.count_nonzero(np.diff(same)) <= 3:
        raise _error_of_part(row, name, "ROIs", same)


def _check_frames_whole(row: ChangedRow, name: str, stored: np.ndarray, new: np.ndarray) -> None:
    """Refuse traces (n, T) of which the last frames are as stored, and nearly all before are not."""
    same = (stored == new).all(axis=0)[np.ptp(stored, axis=0) > 0]
    n_first = np.flatnonzero(~same).max(initial=-1) + 1
    if min(n_first, len(same) - n_first) >= MIN_IN_PART and (~same[:n_first]).mean() >= MIN_NEW_FRAMES:
        raise _error_of_part(row, name, "frames", same)


def _error_of_part(row: ChangedRow, name: str, what: str, same: np.ndarray) -> DataError:
    return DataError(
        f"a part of the {what} has the activity of before, bit by bit, and the rest has not", eid=row.key["eid"],
        fov=row.key["fov"], dataset=(FOVFolder & row.key).fetch1("collection") + f"/{name}",
        expected=f"other values in all {what}", found=f"those of before in {same.sum()} of {len(same)} that were "
        "compared: was the file copied in part, over the former one?",
        do=f"Copy it again. If it is whole: meso delete {row.key['eid']}, and read the session again",
    )  # fmt: skip


def notes_on_parts(row: ChangedRow, data: Any) -> Iterator[str]:
    """Yield a note for each series of times, or of positions of the wheel, of which a part only is new.

    The first values are those of before, bit by bit, and the others are not, or the reverse. So it is in a file that
    was copied in part over the former one; but times can be corrected from some frame on.
    """
    for name, stored, new in _series(row, data):
        if stored.shape != new.shape or len(new) < 2 * MIN_IN_PART:
            continue
        same = (stored == new) | (np.isnan(stored) & np.isnan(new))
        if min(same.sum(), (~same).sum()) >= MIN_IN_PART and np.count_nonzero(np.diff(same)) == 1:
            yield (
                f"session {row.key['eid']}: {name}: the {'first' if same[0] else 'last'} {same.sum()} of {len(same)} "
                "values are those of before, bit by bit, and the others are not. If the file was copied in part, over "
                f"the former one, copy it again, and run meso update {row.key['eid']}"
            )


def _series(row: ChangedRow, data: Any) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, stored and new values of each series of a row that a new alignment changes from first to last."""
    if row.table == FOV.__name__:
        for stored in (Recording & row.key).to_dicts():
            yield f"{(FOVFolder & row.key).fetch1('collection')}/{TIMES}", stored["frame_times"], data.frame_times
    elif row.table == Wheel.__name__:
        stored = (Wheel & row.key).fetch1()
        yield "the times of the wheel", stored["wheel_timestamps"], data.timestamps
        yield "the positions of the wheel", stored["wheel_position"], data.position
    elif row.table == Behavior.__name__:
        trials = trials_of(row.key["eid"])
        for name in (name for name in trials if name.endswith("_times") or name.startswith("intervals")):
            yield f"{name} of the trials", trials[name], data.table[name].to_numpy(float)


def names_in(row: ChangedRow) -> set[str]:
    """Return the names of the datasets that have changed."""
    return {reading.without_revision(change.dataset).rpartition("/")[2] for change in row.changes}


def stored_and_new(row: ChangedRow, data: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return samples (n, T') of the stored and of the new activity of a FOV; None if they cannot be compared."""
    stored, shape = (FOV & row.key).fetch1(), data.traces.shape
    is_same_shape = (stored["n_frames"], stored["n_rois"]) == shape
    if not (names_in(row) & set(SIGNALS.values()) and is_same_shape and Activity & row.key):
        return None
    return fov_traces(row.key["eid"], row.key["fov"], *sampled(*shape)), sample_of(data.traces)
