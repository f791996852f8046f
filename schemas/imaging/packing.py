"""Traces of a FOV on their way into the tables: packed ROI by ROI, the matrix stays on disk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pipeline.storage.arrays import pack
from schemas.storage import stores
from schemas.storage.threads import in_threads

#: Bytes of traces read together where the ROIs of a frame are side by side, and frames copied at a time.
BLOCK_BYTES, BLOCK_FRAMES = 64_000_000, 512


class KeptTraces(NamedTuple):
    """Traces of a FOV on their way into the tables.

    Attributes
    ----------
    dtype : str
    store, path : str or None
        The object that holds them; None if their rows do.
    rows : iterable of (int, bytes)
        ROI, and its packed trace or the place of it.
    """

    dtype: str
    store: str | None
    path: str | None
    rows: Iterable[tuple[int, bytes]]


def keep_traces(key: dict, traces: np.ndarray, store: str | None = None) -> KeptTraces:
    """Pack the activity of all ROIs of a FOV, trace by trace: the matrix stays on disk.

    Parameters
    ----------
    key : dict
    traces : (n_rois, n_frames), in memory or on disk
    store : str, optional
        Write them to a new object of this store; else they are packed when their rows are inserted.

    Raises
    ------
    ConfigError
        The store cannot be used.
    """
    blocks = ROIBlocks(traces)
    packed = in_threads(lambda one: (one[0], pack(one[1])), ((roi, blocks[roi]) for roi in range(len(traces))))
    if store is None:
        return KeptTraces(traces.dtype.str, None, None, packed)
    with stores.named(store).new(stores.new_path(key["eid"], key["fov"])) as made:
        rows = [(roi, made.add(data).to_bytes()) for roi, data in packed]
    return KeptTraces(traces.dtype.str, made.store, made.path, rows)


class ROIBlocks:
    """Traces (n_rois, n_frames) on disk, ROI by ROI in their order.

    ALF files have each ROI's frames side by side, and are read as they are. In a file that has the ROIs of each frame
    side by side a ROI is on every page: such a file is read in blocks of as many ROIs as ``BLOCK_BYTES`` hold.
    """

    def __init__(self, traces: np.ndarray) -> None:
        self._traces, self._block, self._first = traces, traces[:0], 0
        self._n = max(1, BLOCK_BYTES // max(1, traces.shape[1] * traces.itemsize))

    def __len__(self) -> int:
        return len(self._traces)

    def __getitem__(self, roi: int) -> np.ndarray:
        if self._traces.strides[1] == self._traces.itemsize:
            return self._traces[roi]
        if not self._first <= roi < self._first + len(self._block):
            self._first = roi
            self._block = _contiguous(self._traces[roi : roi + self._n])
        return self._block[roi - self._first]


def _contiguous(traces: np.ndarray) -> np.ndarray:
    """Return a copy in C order; numpy's own would go through all pages of the file for each ROI."""
    out = np.empty(traces.shape, traces.dtype)
    for frame in range(0, traces.shape[1], BLOCK_FRAMES):
        frames = slice(frame, frame + BLOCK_FRAMES)
        out[:, frames] = traces[:, frames]
    return out
