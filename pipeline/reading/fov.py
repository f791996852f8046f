"""One field of view: all its arrays, checked against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.atlas import known_region_ids
from pipeline.clock import frame_period
from pipeline.errors import DataError
from pipeline.reading.datasets import SessionReader, Source

SIGNALS = {"deconvolved": "mpci.ROIActivityDeconvolved.npy", "fluorescence": "mpci.ROIActivityF.npy"}
REGION_IDS = "mpciROIs.brainLocationIds_ccf_2017{}.npy"
MLAPDV = "mpciROIs.mlapdv{}.npy"


@dataclass(frozen=True)
class FOVData:
    """The arrays of one FOV with T frames and N ROIs, every one checked.

    Attributes
    ----------
    frame_times : (T,) float64
        Start of each frame in s on the session clock.
    timeshift : (n_lines,) or (n_lines, n_columns) float64
        Time of each scan line (or pixel) after the start of the frame, s.
    frame_period : float
        Median time between frames, s.
    stack_pos : (N, 3) int64
        Row y (the scan line), column x, plane.
    is_neuron : (N,) bool
    roi_type : (N,) int64
        Value of mpciROITypes.
    cell_probability : (N,) float64 or None
    region_ids : (N,) int64 or None
        Allen CCF 2017 ids.
    mlapdv : (N, 3) float64 or None
        Micrometres from bregma: right, anterior, dorsal are positive.
    roi_uuids : list of str or None
    region_source, mlapdv_source : str
        'final', 'estimate' or 'none'.
    signal : str
        'deconvolved' or 'fluorescence'.
    traces : (T, N) array on disk
    reader : SessionReader
        What it was read with.
    """

    frame_times: np.ndarray
    timeshift: np.ndarray
    frame_period: float
    stack_pos: np.ndarray
    is_neuron: np.ndarray
    roi_type: np.ndarray
    cell_probability: np.ndarray | None
    region_ids: np.ndarray | None
    region_source: str
    mlapdv: np.ndarray | None
    mlapdv_source: str
    roi_uuids: list[str] | None
    signal: str
    traces: np.ndarray
    reader: SessionReader

    @property
    def sources(self) -> list[Source]:
        """The files that were read; they are hashed now."""
        return self.reader.sources

    @property
    def n_rois(self) -> int:
        """Number of ROIs."""
        return self.traces.shape[1]


def read_fov(one: Any, eid: str, fov: int, collection: str) -> FOVData:
    """Read and check one FOV.

    Raises
    ------
    DataError
        A needed dataset is missing or unreadable; arrays disagree in ROIs or frames; times do not
        increase; a region id is unknown to the atlas; there is no ROI or no frame.
    """
    return _FOVReader(SessionReader(one, eid), fov, collection).read()


class _FOVReader:
    """Reads one FOV; a class only so that every error can name the place."""

    def __init__(self, reader: SessionReader, fov: int, collection: str):
        self.reader, self.fov, self.collection = reader, fov, collection

    def read(self) -> FOVData:
        signal, traces = self._traces()
        stack_pos = self._stack_pos(traces.shape[1])
        timeshift = self._timeshift(stack_pos)
        frame_times = self._frame_times(traces.shape[0])
        roi_type = self._per_roi("mpciROIs.mpciROITypes.npy", traces.shape[1])
        region_ids, region_source = self._final_or_estimate(REGION_IDS, traces.shape[1])
        mlapdv, mlapdv_source = self._final_or_estimate(MLAPDV, traces.shape[1])
        self._check_regions(region_ids, region_source)
        return FOVData(
            frame_times=frame_times,
            timeshift=timeshift,
            frame_period=frame_period(frame_times),
            stack_pos=stack_pos,
            is_neuron=roi_type == 1,
            roi_type=roi_type,
            cell_probability=self._optional_per_roi("mpciROIs.cellClassifier.npy", traces.shape[1]),
            region_ids=region_ids,
            region_source=region_source,
            mlapdv=mlapdv,
            mlapdv_source=mlapdv_source,
            roi_uuids=self._uuids(traces.shape[1]),
            signal=signal,
            traces=traces,
            reader=self.reader,
        )

    def _fail(self, dataset: str, problem: str, **details: Any) -> DataError:
        return DataError(problem, eid=self.reader.eid, fov=self.fov, dataset=f"{self.collection}/{dataset}", **details)

    @contextmanager
    def _naming_fov(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            error.fov = self.fov
            raise

    def _array(self, name: str, *, mmap: bool = False) -> np.ndarray:
        with self._naming_fov():
            return self.reader.array(name, self.collection, mmap=mmap)

    def _has(self, name: str) -> bool:
        return self.reader.has(name, self.collection)

    def _traces(self) -> tuple[str, np.ndarray]:
        signal = next((s for s, name in SIGNALS.items() if self._has(name)), None)
        if signal is None:
            raise self._fail("mpci.ROIActivity*", "no activity", expected="one of " + ", ".join(SIGNALS.values()))
        name = SIGNALS[signal]
        traces = self._array(name, mmap=True)
        if traces.ndim != 2 or not np.issubdtype(traces.dtype, np.number):
            raise self._fail(
                name,
                "activity is not a matrix of numbers",
                expected="(frames, ROIs)",
                found=f"{traces.shape} {traces.dtype}",
            )
        n_frames, n_rois = traces.shape
        if n_frames < 2 or n_rois < 2:
            # a lone ROI is a failed extraction, and ALF readers flatten it to a vector
            raise self._fail(
                name,
                "the FOV is empty" if 0 in traces.shape else "too little for a FOV",
                expected="2 frames and 2 ROIs or more",
                found=f"{n_frames} frames, {n_rois} ROIs",
            )
        return signal, traces

    def _frame_times(self, n_frames: int) -> np.ndarray:
        name = "mpci.times.npy"
        times = np.asarray(self._array(name), dtype=np.float64)
        if times.shape != (n_frames,):
            raise self._fail(
                name,
                "frame times and activity differ in length",
                expected=f"{n_frames} frames as in the activity",
                found=f"{times.shape[0] if times.ndim == 1 else times.shape} times",
                do="Nothing was cut or padded; the FOV needs a new extraction",
            )
        bad = np.flatnonzero(~np.isfinite(times))
        if bad.size:
            raise self._fail(name, "frame times are not finite", found=f"{bad.size}, the first at frame {bad[0]}")
        back = np.flatnonzero(np.diff(times) <= 0)
        if back.size:
            raise self._fail(
                name,
                "frame times do not increase strictly",
                found=f"{back.size} steps back, the first after frame {back[0]}: "
                f"{times[back[0]]} s, {times[back[0] + 1]} s",
            )
        return times

    def _per_roi(self, name: str, n_rois: int) -> np.ndarray:
        array = self._array(name)
        if array.ndim == 0 or array.shape[0] != n_rois:
            raise self._fail(
                name,
                "arrays of one FOV differ in their number of ROIs",
                expected=f"{n_rois} ROIs as in the activity",
                found=f"{array.shape[0] if array.ndim else 'a scalar'}",
            )
        return array

    def _optional_per_roi(self, name: str, n_rois: int) -> np.ndarray | None:
        if not self._has(name):
            return None
        array = np.asarray(self._per_roi(name, n_rois), dtype=np.float64)
        # a classifier with several classes would be (N, classes): the class 'cell' has index 1
        return array if array.ndim == 1 else array[:, min(1, array.shape[1] - 1)]

    def _final_or_estimate(self, template: str, n_rois: int) -> tuple[np.ndarray | None, str]:
        for suffix, source in (("", "final"), ("_estimate", "estimate")):
            if self._has(name := template.format(suffix)):
                return self._per_roi(name, n_rois), source
        return None, "none"

    def _stack_pos(self, n_rois: int) -> np.ndarray:
        name = "mpciROIs.stackPos.npy"
        pos = self._per_roi(name, n_rois)
        if pos.ndim != 2 or pos.shape[1] < 2:
            raise self._fail(name, "no stack positions", expected=f"({n_rois}, 3)", found=f"{pos.shape}")
        return pos.astype(np.int64)

    def _timeshift(self, stack_pos: np.ndarray) -> np.ndarray:
        name = "mpciStack.timeshift.npy"
        shift = np.asarray(self._array(name), dtype=np.float64)
        if shift.ndim not in (1, 2) or not np.isfinite(shift).all():
            raise self._fail(name, "not finite times by line (or by line and column)", found=f"shape {shift.shape}")
        for what, positions, size in zip(("rows", "columns"), stack_pos.T, shift.shape, strict=False):
            if positions.min() < 0 or positions.max() >= size:
                raise self._fail(
                    name,
                    "a ROI lies outside the scan lines",
                    expected=f"{what} 0 to {size - 1}",
                    found=f"{what} {positions.min()} to {positions.max()}",
                )
        return shift

    def _check_regions(self, ids: np.ndarray | None, source: str) -> None:
        if ids is None:
            return
        unknown = sorted(set(np.unique(ids).tolist()) - known_region_ids())
        if unknown:
            raise self._fail(
                REGION_IDS.format("" if source == "final" else "_estimate"),
                f"{int(np.isin(ids, unknown).sum())} ROIs have a region id that the atlas does not know",
                expected="ids of the Allen CCF 2017",
                found=f"{', '.join(map(str, unknown[:5]))}",
            )

    def _uuids(self, n_rois: int) -> list[str] | None:
        name = "mpciROIs.uuids.csv"
        if not self._has(name):
            return None
        with self._naming_fov():
            lines = self.reader.lines(name, self.collection)
        uuids = [line.strip() for line in lines[1:]]  # the first is a header
        if len(uuids) != n_rois:
            raise self._fail(
                name,
                "arrays of one FOV differ in their number of ROIs",
                expected=f"{n_rois} ROIs as in the activity",
                found=f"{len(uuids)} uuids",
            )
        if len(set(uuids)) != n_rois:
            raise self._fail(name, "uuids repeat", expected=f"{n_rois} different ones", found=f"{len(set(uuids))}")
        return uuids
