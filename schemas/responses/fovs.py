"""All ROIs of a FOV with their traces and clocks, as the functions of responses take them."""

from __future__ import annotations

import numpy as np

from pipeline.decoding import FOVCells
from pipeline.errors import NotFoundError
from schemas.imaging.reading import check_populated, clocks, flags, fov_traces
from schemas.imaging.tables import ROI, Activity, Recording
from schemas.storage import bulk


def whole_fov(eid: str, fov: int, *, use_flagged: bool = False) -> FOVCells:
    """Return traces and times of all ROIs of a FOV, by their numbers.

    Parameters
    ----------
    eid : str
    fov : int
    use_flagged : bool
        Take no frame for a bad one.

    Raises
    ------
    NotFoundError
        The FOV has no ROIs, or no activity.
    """
    check_populated(eid, np.array([fov]), Recording, Activity)
    names = ("roi", "stack_y", "stack_x")
    rois, y, x = bulk.columns(ROI & {"eid": eid, "fov": fov}, *names, order_by=("roi",))
    if not len(rois):
        raise NotFoundError("the FOV has no ROIs", eid=eid, fov=fov)
    fovs = np.full(len(rois), fov)
    frame_times, offsets = clocks(eid, fovs, np.column_stack([y, x]).astype(int), 0)
    flagged = None if use_flagged else flags(eid, [fov]).get(fov)
    return FOVCells(np.arange(len(rois)), fov_traces(eid, fov, rois), frame_times[fov], offsets, flagged)
