"""Packing the traces of a FOV for the tables, ROI by ROI, without loading the whole matrix into memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pipeline.storage.arrays import pack
from schemas.storage import stores
from schemas.storage.threads import in_threads

#: Where a file has the ROIs of a frame side by side: bytes of traces in memory, and frames copied at a time.
BLOCK_BYTES, BLOCK_FRAMES = 64_000_000, 512


class PackedTraces(NamedTuple):
    """Packed traces of a FOV, ready to be inserted.

    Attributes
    ----------
    dtype : str
        Of the file, e.g. '<f4'.
    store, path : str or None
        The object that holds the traces; None if their rows do.
    rows : iterable of (int, bytes)
        Number of each ROI, and its packed trace or the place of it in the object.
    """

    dtype: str
    store: str | None
    path: str | None
    rows: Iterable[tuple[int, bytes]]


def pack_traces(key: dict, traces: np.ndarray, store: str | None = None) -> PackedTraces:
    """Pack the activity of all ROIs of a FOV, trace by trace: a matrix on disk is never in memory as a whole.

    Parameters
    ----------
    key : dict
        eid and fov.
    traces : (n_rois, n_frames) array, in memory or on disk
    store : str, optional
        Write the packed traces to a new object in this store. Without it they are packed while their rows are inserted.

    Raises
    ------
    ConfigError
        The store cannot be used.
    """
    blocks = ROIBlocks(traces)
    packed = in_threads(lambda item: (item[0], pack(item[1])), ((roi, blocks[roi]) for roi in range(len(traces))))
    if store is None:
        return PackedTraces(traces.dtype.str, None, None, packed)
    with stores.named(store).new(stores.new_path(key["eid"], key["fov"])) as made:
        rows = [(roi, made.add(data).to_bytes()) for roi, data in packed]
    return PackedTraces(traces.dtype.str, made.store, made.path, rows)


class ROIBlocks:
    """Traces on disk, read one ROI after another.

    In ALF files the frames of a ROI are contiguous, and a trace is read as it is. In a file where the ROIs of a frame
    are contiguous, every page has a sample of every ROI: such a file is read in blocks of as many ROIs as fit into
    ``BLOCK_BYTES``.

    Parameters
    ----------
    traces : (n_rois, n_frames) array
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
    """Return a copy in C order; numpy's own copy would go through all pages of the file for each ROI."""
    out = np.empty(traces.shape, traces.dtype)
    for frame in range(0, traces.shape[1], BLOCK_FRAMES):
        frames = slice(frame, frame + BLOCK_FRAMES)
        out[:, frames] = traces[:, frames]
    return out
