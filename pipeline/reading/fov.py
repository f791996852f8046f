"""Read all arrays of one field of view (FOV) and check them against each other."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.atlas import known_region_ids
from pipeline.errors import DataError
from pipeline.reading.client import fov_folders
from pipeline.reading.datasets import REVISION, SessionReader, Source, read_array, read_bytes, read_text
from pipeline.reading.plausible import (
    GROUP,
    MOST_NEUROPIL,
    SHIFT_GROUPS,
    Neuropil,
    first_of_zeros,
    in_parts,
    micrometres_per_pixel,
    nearest,
    neuron_types,
    neuropil_likeness,
    not_at_zero,
    rounding_step,
    sample_of,
    sampled,
    share_beaten_when_deconvolved_again,
    share_of_others_beaten,
    shifted_lines,
    types_by_probability,
)
from pipeline.signals.clock import frame_period
from pipeline.signals.flags import flagged_frames

#: Datasets of activity by signal; the first that exists is read.
SIGNALS = {"deconvolved": "mpci.ROIActivityDeconvolved.npy", "fluorescence": "mpci.ROIActivityF.npy"}
#: What is subtracted from the fluorescence for dF/F.
NEUROPIL = "mpci.ROINeuropilActivityF.npy"
REGION_IDS = "mpciROIs.brainLocationIds_ccf_2017{}.npy"
MLAPDV = "mpciROIs.mlapdv{}.npy"
#: The other datasets of a FOV: those without which it is refused, and those without which columns are NULL.
POSITIONS, TYPES = "mpciROIs.stackPos.npy", "mpciROIs.mpciROITypes.npy"
BAD_FRAMES, FRAME_QC, FRAME_QC_NAMES = "mpci.badFrames.npy", "mpci.mpciFrameQC.npy", "mpciFrameQC.names.tsv"
TIMES, TIMESHIFT = "mpci.times.npy", "mpciStack.timeshift.npy"
REQUIRED = (TIMES, TIMESHIFT, TYPES, POSITIONS)
UUIDS, CLASSIFIER = "mpciROIs.uuids.csv", "mpciROIs.cellClassifier.npy"
OPTIONAL = (CLASSIFIER, UUIDS, BAD_FRAMES, FRAME_QC, FRAME_QC_NAMES)
#: What the types of ROIs are called. Read always, and recorded only if it says more than that type 1 is the neurons.
TYPE_NAMES = "mpciROITypes.names.tsv"
#: Datasets with a row (activity: a column) per ROI, all of one extraction.
OF_ROIS = (
    *SIGNALS.values(), NEUROPIL, TYPES, CLASSIFIER, POSITIONS, UUIDS,
    *(template.format(suffix) for template in (REGION_IDS, MLAPDV) for suffix in ("", "_estimate")),
)  # fmt: skip
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: Frame periods in s that a mesoscope can have (it has 0.05 to 0.3 s). Times in ms, minutes or frames give others.
FRAME_PERIODS = (0.01, 1.0)
#: Largest distance of a ROI from bregma in µm: a mouse brain is shorter. Positions in nm are further away.
MAX_DISTANCE = 20_000
#: The furthest ROI of a FOV is at least this far from bregma in µm. Positions in mm or m are nearer.
MIN_DISTANCE = 50
#: From so many ROIs on, places in the brain are compared with those in the image: a plane over the image must explain
#: this part of the variance of ml and ap. In a real FOV it explains nearly all, of ROIs in another order very little.
MIN_PLACES, MIN_EXPLAINED = 10, 0.5
#: Of two ROIs the distance in the brain in µm, for each pixel between them in the image. A mesoscope has about 1.4, and
#: zooms from half to twice that; places in voxels of an atlas (10, 25 µm) give a tenth of it or less.
SCALES = (0.3, 5.0)
#: Median distance in µm of places by histology from the estimated ones, above which one of them is of another place.
MAX_CORRECTION = 2_000
#: Time from one scan line to the next, at least, in s: resonant scanners, the fastest, take 30 to 60 µs.
MIN_LINE_PERIOD = 5e-6
#: Steps of frame times in frame periods: above the first they are warned of, from the second on refused. A clock of
#: 1 ms, as IBL's, makes 0.5 %. FOVs are scanned an eighth of a frame apart, which times rounded to a tenth do not tell.
COARSE, TOO_COARSE = 0.02, 0.1
#: Share of comparisons in which a ROI's deconvolved activity must agree better with its own fluorescence than with that
#: of another ROI. Sound is above .99 (simulated; the demo's small FOVs, whose noise is independent, .86), in another
#: order .5 with a deviation of .05.
MIN_BEATEN_BY_OWN = 0.7
#: Regions fit positions if ROIs beside each other share them more often than in 99 % of this many random orders.
N_ORDERS, MIN_BEATEN = 499, 0.99
#: Of fewer ROIs it cannot be told that regions are of others: too many have their neighbours beyond a boundary. Of 100
#: simulated FOVs with a boundary and two stray ROIs, 11 of 40 ROIs would be refused, 2 of 100, and none of 150 or more.
MIN_NEIGHBOURS = 150
#: FOVs of a session that start within this time, in s, are not scanned one after the other.
AT_ONCE = 1e-3
#: Bytes of the header of a ``.npy`` file of a matrix, at most; it has 128.
MAX_HEADER = 512
#: Bytes of activity checked at a time; bounds the memory that the temporary masks take.
BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class FOVData:
    """The checked arrays of one FOV with T frames and N ROIs.

    Attributes
    ----------
    frame_times : (T,) float64
        Start of each frame in s on the session clock.
    timeshift : (n_lines,) or (n_lines, n_columns) float64
        Delay of each scan line (or pixel) from the start of the frame, in s.
    frame_period : float
        Median time between frames in s.
    stack_pos : (N, 2) or (N, 3) int64
        Row y (the scan line) and column x in pixels; plane, if the file has it.
    is_neuron : (N,) bool
    roi_type : (N,) int64
        Value of mpciROITypes; 1 is a neuron, unless mpciROITypes.names says otherwise.
    cell_probability : (N,) float64 or None
    region_ids : (N,) int64 or None
        Allen CCF 2017 ids.
    mlapdv : (N, 3) float64 or None
        Position in µm from bregma; right, anterior and dorsal are positive.
    roi_uuids : list of str or None
    region_source, mlapdv_source : str
        'final', 'estimate' or 'none'.
    bad_frames : (T,) bool or None
        Frames that Suite2p left out.
    frame_qc : (T,) uint32 or None
        Class that the experimenter gave each frame.
    frame_qc_names : dict of str to str, or None
        Name of each class by its number.
    signal : str
        'deconvolved' or 'fluorescence'.
    traces : (T, N) memory map
    reader : SessionReader
        Knows which files were read.
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
    bad_frames: np.ndarray | None
    frame_qc: np.ndarray | None
    frame_qc_names: dict[str, str] | None
    signal: str
    traces: np.ndarray
    reader: SessionReader

    @property
    def sources(self) -> list[Source]:
        """The files that were read. Each access hashes them."""
        return self.reader.sources

    @property
    def n_rois(self) -> int:
        """Number of ROIs."""
        n: int = self.traces.shape[1]
        return n


def read_fov(one: Any, eid: str, fov: int, collection: str, *, recorded: Iterable[Source] | None = None) -> FOVData:
    """Read and check one FOV.

    Parameters
    ----------
    one : ONE client
    eid : str
    fov : int
    collection : str
        Such as ``alf/FOV_00``.
    recorded : iterable of Source, optional
        Read these files again, and no others. Of the activity, the one large file, only the header is read then: its
        values were checked the first time.

    Raises
    ------
    DataError
        A required dataset is missing or unreadable; arrays disagree in their number of ROIs or frames, or do not hold
        numbers; times do not increase; a value is not finite or out of range; times or positions have another unit; a
        region id is not in the atlas; there are fewer than two ROIs or frames; the activity is a copy of an earlier
        FOV's, ends in zeros, is not deconvolved, or is of other ROIs than the fluorescence; types of ROIs have unknown
        names or contradict their probabilities; a file is not the recorded one.
    """
    return _FOVReader(SessionReader(one, eid, recorded), fov, collection).read(check_traces=recorded is None)


class Fluorescence(NamedTuple):
    """The fluorescence of a FOV: F and, if it was asked for, the neuropil, each a memory map (T, N)."""

    traces: np.ndarray
    neuropil: np.ndarray | None
    reader: SessionReader


def fluorescence_datasets(collection: str, neuropil: bool) -> list[str]:
    """Return the datasets that ``read_fluorescence`` reads, as paths without revision."""
    return [f"{collection}/{name}" for name in (SIGNALS["fluorescence"], NEUROPIL)[: 1 + neuropil]]


def read_fluorescence(one: Any, eid: str, fov: int, collection: str, data: FOVData, *, neuropil: bool) -> Fluorescence:
    """Read and check the fluorescence of a FOV that has been read with another signal, or the neuropil beside it.

    Parameters
    ----------
    one : ONE client
    eid : str
    fov : int
    collection : str
        Such as ``alf/FOV_00``.
    data : FOVData
        Of the files that the FOV has been read from.
    neuropil : bool
        Read the neuropil, too.

    Raises
    ------
    DataError
        A dataset is missing or unreadable, is of other frames or ROIs than the FOV or of an earlier extraction, ends in
        zeros, or a value is not finite; the neuropil is a copy of the fluorescence, or of other ROIs.
    """
    reader = _FOVReader(SessionReader(one, eid), fov, collection)
    reader.reader.fetch(fluorescence_datasets(collection, neuropil))
    traces = reader.same_rois(SIGNALS["fluorescence"], data.traces.shape)
    if data.signal == "deconvolved":
        reader.check_agreement(traces, data.traces, data.is_neuron)
    around = reader.neuropil_of(traces, data.stack_pos) if neuropil else None
    return Fluorescence(traces, around, reader.reader)


def fov_datasets(reader: SessionReader, collection: str) -> list[str]:
    """Return the datasets that ``read_fov`` would read from what ONE lists now, as paths without revision."""
    signals = [name for name in SIGNALS.values() if reader.has(name, collection)][:1]
    both = [(template.format(""), template.format("_estimate")) for template in (REGION_IDS, MLAPDV)]
    places = [name for pair in both for name in [n for n in pair if reader.has(n, collection)][:1]]
    optional = [name for name in OPTIONAL if reader.has(name, collection)]
    names = [TYPE_NAMES] if _has_other_neurons(reader, collection) else []
    return [f"{collection}/{name}" for name in (*signals, *REQUIRED, *places, *optional, *names)]


def _has_other_neurons(reader: SessionReader, collection: str) -> bool:
    """Return whether a table of names on this machine says that neurons are not the ROIs of type 1."""
    path = reader.default(f"{collection}/{TYPE_NAMES}")
    file = reader.local(path) if path else None
    try:
        lines = read_text(read_bytes(file)).splitlines() if file else []
        return bool(lines) and neuron_types(_class_names(lines).items())[0] != [1]
    except DataError:  # reading the FOV raises this error itself
        return False


class Imaging(NamedTuple):
    """When a session was imaged: its first and last frame, and the time between two, in s."""

    first: float
    last: float
    period: float

    def share(self, times: np.ndarray) -> float:
        """Return which part of these times (n,) are within imaging, pauses included."""
        return float(((times >= self.first) & (times <= self.last)).mean())


def imaging_span(one: Any, eid: str) -> Imaging | None:
    """Return when a session was imaged; None if no FOV has sound times."""
    spans, reader, folders = [], SessionReader(one, eid), fov_folders(one, eid)
    reader.fetch(f"{collection}/{TIMES}" for collection in folders.values())
    for fov, collection in folders.items():
        try:
            times = _FOVReader(reader, fov, collection).frame_times()
        except DataError:
            continue  # reading the FOV raises this error itself
        spans.append(Imaging(float(times[0]), float(times[-1]), frame_period(times)))
    return Imaging(min(s.first for s in spans), max(s.last for s in spans), spans[0].period) if spans else None


def _first_time(reader: SessionReader, collection: str) -> float:
    """Return the first frame time in a folder in s; NaN if it is not on this machine, or cannot be read."""
    try:
        path = reader.default(f"{collection}/{TIMES}")
        file = reader.local(path) if path else None
        times = read_array(file) if file else np.empty(0)
    except DataError:  # reading that FOV raises this error itself
        return np.nan
    return float(times.flat[0]) if times.size else np.nan


class _FOVReader:
    """Reads one FOV. It is a class so that every error can name session, FOV and dataset."""

    def __init__(self, reader: SessionReader, fov: int, collection: str):
        self.reader, self.fov, self.collection = reader, fov, collection

    def read(self, check_traces: bool) -> FOVData:
        self.reader.fetch([*fov_datasets(self.reader, self.collection), f"{self.collection}/{TYPE_NAMES}"])
        # the activity first, for its shape is what all other arrays must fit
        signal, traces = self._traces()
        stack_pos = self._stack_pos(traces.shape[1])
        frame_times = self.frame_times(traces.shape[0])
        timeshift = self._timeshift(stack_pos, frame_period(frame_times))
        roi_type = self._whole_per_roi(TYPES, traces.shape[1])
        region_ids, region_source = self._region_ids(traces.shape[1])
        mlapdv, mlapdv_source = self._mlapdv(traces.shape[1])
        frame_qc, frame_qc_names = self._frame_qc(traces.shape[0])
        is_neuron, probability = self._is_neuron(roi_type), self._cell_probability(traces.shape[1])
        if check_traces:
            self._check_traces(SIGNALS[signal], traces)
            self._check_one_extraction(SIGNALS[signal])
            if signal == "deconvolved":
                self._check_deconvolved(traces)
                self._check_fluorescence(is_neuron)
            self._check_by_neuropil(stack_pos, signal)
            self._check_types(is_neuron, probability)
            self._check_rounding(frame_times)
            self._check_own_times(frame_times, SIGNALS[signal], traces)
            self._check_places(stack_pos, mlapdv)
            self._check_regions(stack_pos, region_ids)
        return FOVData(
            frame_times=frame_times,
            timeshift=timeshift,
            frame_period=frame_period(frame_times),
            stack_pos=stack_pos,
            is_neuron=is_neuron,
            roi_type=roi_type,
            cell_probability=probability,
            region_ids=region_ids,
            region_source=region_source,
            mlapdv=mlapdv,
            mlapdv_source=mlapdv_source,
            roi_uuids=self._uuids(traces.shape[1]),
            bad_frames=self._bad_frames(traces.shape[0]),
            frame_qc=frame_qc,
            frame_qc_names=frame_qc_names,
            signal=signal,
            traces=traces,
            reader=self.reader,
        )

    def _fail(self, dataset: str, problem: str, **details: Any) -> DataError:
        return DataError(problem, **self.reader.place(dataset, self.collection), **details)

    def _array(self, name: str) -> np.ndarray:
        """Return an array in memory; (n, 1), as MATLAB writes vectors, as (n,)."""
        array = self.reader.array(name, self.collection)
        return array[:, 0] if array.shape[1:] == (1,) else array

    def _has(self, name: str) -> bool:
        return self.reader.has(name, self.collection)

    def _traces(self) -> tuple[str, np.ndarray]:
        """Return the name of the signal and the activity (T, N) as a memory map."""
        signal = next((s for s, name in SIGNALS.items() if self._has(name)), None)
        if signal is None:
            raise self._fail("mpci.ROIActivity*", "no activity", expected="one of " + ", ".join(SIGNALS.values()))
        name = SIGNALS[signal]
        traces = self.reader.array(name, self.collection, mmap=True)
        if traces.ndim != 2:
            raise self._fail(name, "activity is not a matrix", expected="(frames, ROIs)", found=f"{traces.shape}")
        self._check_bytes(name, traces)
        n_frames, n_rois = traces.shape
        if n_frames < 2 or n_rois < 2:
            # a single ROI is a failed extraction, and ALF loaders squeeze it to a vector
            raise self._fail(
                name,
                "the FOV is empty" if 0 in traces.shape else "the FOV has too few frames or ROIs",
                expected="2 frames and 2 ROIs or more",
                found=f"{n_frames} frames, {n_rois} ROIs",
            )
        return signal, traces

    def same_rois(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        """Return traces (T, N) of the frames and ROIs of the FOV as a memory map, checked."""
        if not self._has(name):
            raise self._fail(
                name, "the FOV has no such traces", found="ONE lists no such file",
                do="Use a signal that all sessions have, or leave this one out",
            )  # fmt: skip
        self._check_not_older(name, UUIDS)
        traces = self.reader.array(name, self.collection, mmap=True)
        if traces.shape != shape:
            raise self._fail(
                name, "the traces are of other frames or ROIs than the activity",
                expected=f"{shape[0]} frames, {shape[1]} ROIs", found=f"{traces.shape}",
                do="Extract the FOV again; frames are never cut or padded to fit",
            )  # fmt: skip
        self._check_traces(name, traces)
        return traces

    def neuropil_of(self, fluorescence: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the neuropil beside the fluorescence (T, N) as a memory map, checked."""
        found = self.same_rois(NEUROPIL, fluorescence.shape)
        if _are_equal(fluorescence, found):
            name = SIGNALS["fluorescence"]
            raise self._fail(
                NEUROPIL, "the neuropil is a copy of the fluorescence", expected=f"other values than in {name}",
                found="the same values", do="Write the file of the neuropil again",
            )  # fmt: skip
        self._check_neuropil(fluorescence, found, positions)
        return found

    def _check_neuropil(self, fluorescence: np.ndarray, neuropil: np.ndarray, positions: np.ndarray) -> None:
        """Refuse neuropil (T, N) that is like neither the fluorescence (T, N) of its ROIs nor that of neighbours."""
        found = _neuropil_likeness(fluorescence, neuropil, positions)
        if found and not found.is_of_its_rois:
            raise self._other_neuropil(found)

    def _other_neuropil(self, found: Neuropil) -> DataError:
        """Return the error of neuropil that is of other ROIs than the fluorescence."""
        return self._fail(
            NEUROPIL, f"the neuropil is not of the ROIs in {SIGNALS['fluorescence']}",
            expected="neuropil that is more like the fluorescence of its ROI, or like the neuropil of the nearest "
            "one if it is no part of the fluorescence, than like that of another ROI, clearly beyond 50 % of pairs",
            found=f"{found.own:.0%} and {found.near:.0%}: is it of another extraction, or in another order?",
            do="Give both files of the same extraction. If the fluorescence is right, remove the neuropil",
        )  # fmt: skip

    def _check_by_neuropil(self, positions: np.ndarray, signal: str) -> None:
        """Refuse positions, or fluorescence, of other ROIs than the neuropil, if these two are on this machine.

        Neighbours have neuropil in common, and it is part of the fluorescence of its ROI. Nothing is downloaded for
        this, nor recorded as read: see ``_check_fluorescence``, also for the files that are not compared.
        """
        names = SIGNALS["fluorescence"], NEUROPIL
        older = min(map(self._revision, names))
        if older < self._revision(UUIDS) or older < min(self._revision(SIGNALS[signal]), self._revision(POSITIONS)):
            return
        fluorescence, neuropil = map(self._local, names)
        if fluorescence is None or neuropil is None or fluorescence.shape != neuropil.shape:
            return
        if fluorescence.ndim != 2 or fluorescence.shape[1] != len(positions):
            return  # reading them says so
        found = _neuropil_likeness(fluorescence, neuropil, positions)
        if found and found.is_of_other_fluorescence:
            raise self._other_neuropil(found)
        if found and found.is_elsewhere:
            raise self._fail(
                POSITIONS, f"the positions are not of the ROIs in {NEUROPIL}",
                expected="ROIs beside each other that have neuropil in common, clearly beyond 50 % of pairs",
                found=f"{found.near:.0%}; in another order it is 50 %. Are the files of two extractions?",
                do="Give all files of the same extraction. If positions and activity are right, remove the neuropil",
            )  # fmt: skip

    def _check_traces(self, name: str, traces: np.ndarray) -> None:
        """Refuse values that are not finite, and a copy of an earlier FOV's activity."""
        for rows, start in _blocks(traces):
            bad = np.argwhere(~np.isfinite(rows))
            if len(bad):
                place = bad[0] + [start, 0]
                frame, roi = place if traces.flags.c_contiguous else place[::-1]
                found = f"{traces[frame, roi]} at frame {frame} of ROI {roi}"
                raise self._fail(name, "activity is not finite", expected="finite numbers", found=found)
        self._check_complete(name, traces)
        self._check_no_copy(name, traces)

    def _check_complete(self, name: str, traces: np.ndarray) -> None:
        """Refuse traces that end in zeros of all ROIs: a file that was made in its full size, and not filled.

        Frames that are flagged, such as those without light, do not count.
        """
        if traces[-1].any():
            return
        is_active = np.zeros(len(traces), dtype=bool)
        for rows, start in _blocks(traces):
            if traces.flags.c_contiguous:
                is_active[start : start + len(rows)] = rows.any(axis=1)
            else:
                is_active |= rows.any(axis=0)
        good = np.flatnonzero(~self._flagged(len(traces)))
        first = first_of_zeros(is_active[good])
        if first is not None:
            raise self._fail(
                name,
                "the activity ends in zeros of all ROIs: the file may not be complete",
                expected=f"values up to the last of {len(traces)} frames",
                found=f"nothing but zeros from frame {good[first]} on, in {len(good) - first} frames",
                do=f"Write the file again. If there is nothing to see in these frames, flag them in {BAD_FRAMES}",
            )

    def _flagged(self, n_frames: int) -> np.ndarray:
        """Return which frames are flagged, (T,) bool; the flags are not recorded as read."""
        other = _FOVReader(SessionReader(self.reader.one, self.reader.eid), self.fov, self.collection)
        flagged = flagged_frames(other._bad_frames(n_frames), *other._frame_qc(n_frames))
        return np.zeros(n_frames, dtype=bool) if flagged is None else flagged

    def _check_deconvolved(self, traces: np.ndarray) -> None:
        """Refuse what is not deconvolved, by a sample of ROIs and frames."""
        sample = sample_of(traces)
        counts = not_at_zero(sample)
        if counts and 2 * counts[0] > counts[1]:
            low, median = np.percentile(sample, (5, 50))
            raise self._fail(
                SIGNALS["deconvolved"],
                "the values are not those of deconvolved activity",
                expected="none below zero, and zero or nearly zero between events",
                found=f"otherwise in {counts[0]} of {counts[1]} ROIs; the 5th percentile is {low:g}, the median "
                f"{median:g}: is it fluorescence?",
                do=f"Save fluorescence as {SIGNALS['fluorescence']}, and remove this file: the other is read then",
            )

    def _check_fluorescence(self, is_neuron: np.ndarray) -> None:
        """Refuse deconvolved activity of other ROIs than the fluorescence, if this is on this machine.

        Nothing is downloaded for this, nor recorded as read: files that are not on this machine are not compared, nor
        those that are seen to be of two extractions, of which an error is raised where they are needed.
        """
        names = SIGNALS["fluorescence"], SIGNALS["deconvolved"]
        older, newer = sorted(map(self._revision, names))
        # positions can be corrected alone; with one of the two files they are of another extraction
        if older < self._revision(UUIDS) or older < min(newer, self._revision(POSITIONS)):
            return
        traces = [found for name in names if (found := self._local(name)) is not None]
        if len(traces) == 2:
            self.check_agreement(traces[0], traces[1], is_neuron)

    def check_agreement(self, fluorescence: np.ndarray, deconvolved: np.ndarray, is_neuron: np.ndarray) -> None:
        """Refuse deconvolved activity (T, N) of other ROIs than the fluorescence (T, N), by a sample of both.

        Those that are unfit are not compared: an error is raised where they are needed. The first and the last ROIs
        are compared, and the neurons (N,) bool by 20 or more that follow each other: a file that was copied in part
        over a former one is of these ROIs up to some line, or from there on.
        """
        if fluorescence.shape != deconvolved.shape or fluorescence.ndim != 2:
            return
        traces, events = (sample_of(found, SHIFT_GROUPS) for found in (fluorescence, deconvolved))
        if not (np.isfinite(traces).all() and np.isfinite(events).all()):
            return
        n_frames, n_rois = fluorescence.shape
        rois, _ = sampled(n_frames, n_rois, SHIFT_GROUPS)
        at_ends = np.isin(rois, sampled(n_frames, n_rois)[0])

        def check(part: np.ndarray) -> None:
            beaten = share_of_others_beaten(traces[part], events[part])
            if beaten is not None and beaten < MIN_BEATEN_BY_OWN:
                raise self._other_fluorescence(beaten, rois[part])

        check(at_ends)
        if shifted := shifted_lines(traces, events, rois):
            first, count, lines = shifted
            last = min(first + GROUP, n_rois) - 1
            raise self._fail(
                SIGNALS["deconvolved"],
                f"the ROIs are shifted against those in {SIGNALS['fluorescence']}",
                expected="events where the fluorescence of the same ROI rises",
                found=f"of ROIs {first} to {last} {count} agree best with the ROI {abs(lines)} "
                f"{'after' if lines > 0 else 'before'} them. Has one of the files ROIs that the other has not?",
                do="Give both files of the same extraction. If the deconvolved activity is right, remove the other",
            )
        for part in in_parts(np.flatnonzero(is_neuron[rois])):
            check(part)

    def _other_fluorescence(self, beaten: float, rois: np.ndarray) -> DataError:
        """Return the error of deconvolved activity of other ROIs, by those that were compared (n,) int."""
        return self._fail(
            SIGNALS["deconvolved"],
            f"the deconvolved activity is not of the ROIs in {SIGNALS['fluorescence']}",
            expected="events where the fluorescence of the same ROI rises, in better agreement than with another "
            f"ROI in {MIN_BEATEN_BY_OWN:.0%} of pairs or more",
            found=f"{beaten:.0%} among ROIs {rois[0]} to {rois[-1]}; in another order it is 50 %. Are the files of two "
            "extractions, or was one copied in part?",
            do="Give both files of the same extraction. If the deconvolved activity is right, remove the other",
        )

    def _local(self, name: str) -> np.ndarray | None:
        """Return a dataset as a memory map, not recorded as read; None if it is not on this machine, or unreadable."""
        path = self.reader.default(f"{self.collection}/{name}")
        file = self.reader.local(path) if path else None
        try:
            return read_array(file) if file else None
        except DataError:
            return None

    def _check_no_copy(self, name: str, traces: np.ndarray) -> None:
        """Refuse a copy of an earlier FOV's activity: extractions have written one FOV into two folders."""
        for fov, collection in fov_folders(self.reader.one, self.reader.eid).items():
            if fov < self.fov and self._is_same_activity(name, collection, traces):
                raise self._fail(
                    name,
                    "the activity is a copy of another FOV's",
                    expected="other values in each FOV",
                    found=f"the same values in FOV_{fov:02d}",
                    do="Remove the file from the FOV that it does not belong to",
                )

    def _check_one_extraction(self, activity: str) -> None:
        """Refuse datasets of two extractions, as far as their revisions tell: see docs/operation/reading.md.

        Other activity and the uuids of ROIs come with every extraction: none of the datasets that it writes is older.
        What is corrected or deconvolved again alone is newer.
        """
        for other in (*SIGNALS.values(), UUIDS):
            self._check_not_older(activity, other)
        for name in (TYPES, CLASSIFIER, POSITIONS):
            self._check_not_older(name, UUIDS)
        if self._has(UUIDS) and self._revision(UUIDS) < min(self._revision(activity), self._revision(POSITIONS)):
            self._check_not_older(UUIDS, POSITIONS)

    def _check_not_older(self, name: str, other: str) -> None:
        if self._has(name) and self._is_older(name, other):
            raise self._fail(
                name,
                f"is of an older revision than {other}: it may be of other ROIs",
                expected=f"revision {self._revision(other)}",
                found=self._revision(name) or "the original",
                do="Wait until all files of the extraction are there",
            )

    def _is_older(self, name: str, other: str) -> bool:
        return self._has(other) and self._revision(name) < self._revision(other)

    def _revision(self, name: str) -> str:
        """Return the revision of a dataset that ONE would load, '' for the original."""
        match = REVISION.search(self.reader.default(f"{self.collection}/{name}") or "")
        return match[1] if match else ""

    def _check_places(self, stack_pos: np.ndarray, mlapdv: np.ndarray | None) -> None:
        """Refuse places in the brain of other ROIs: they follow from the places in the image.

        Those that are of an older revision than the uuids, such as a histology from before the extraction, must be seen
        to fit.
        """
        if mlapdv is None:
            return
        name, _ = self._final_or_estimate(MLAPDV)
        explained = explained_by_plane(stack_pos[:, :2], mlapdv)
        if explained is None:
            self._check_not_older(name, UUIDS)
        elif explained < MIN_EXPLAINED:
            raise self._fail(
                name,
                f"the places in the brain are not those of the ROIs in {POSITIONS}",
                expected=f"ml and ap that a plane over the image explains to {MIN_EXPLAINED:.0%} or more",
                found=f"{max(explained, 0):.0%}: are they of a former extraction?",
                do="Give both files of the same extraction",
            )
        else:
            self._check_scale(name, micrometres_per_pixel(stack_pos[:, :2], mlapdv))
        self._check_correction(name, mlapdv)

    def _check_scale(self, name: str, scale: float) -> None:
        """Refuse places in another unit than µm, or positions in another than pixels."""
        if not SCALES[0] <= scale <= SCALES[1]:
            raise self._fail(
                name,
                f"the places in the brain do not have the scale of {POSITIONS}",
                expected=f"{SCALES[0]} to {SCALES[1]} µm in the brain for each pixel in the image",
                found=f"{scale:.3g}: are the places in voxels of an atlas, or is another image meant?",
                do="Save the places in µm from bregma, and positions in pixels of the image",
            )

    def _check_correction(self, name: str, mlapdv: np.ndarray) -> None:
        """Warn of places by histology that are far from the estimated ones, if these are on this machine."""
        estimate = MLAPDV.format("_estimate")
        guess = None if name == estimate else self._local(estimate)
        if guess is None or guess.shape != mlapdv.shape:
            return
        distances = np.linalg.norm(mlapdv - guess, axis=1)
        known = distances[np.isfinite(distances)]
        median = np.median(known) if len(known) else 0.0
        if median > MAX_CORRECTION:
            warnings.warn(
                str(
                    self._fail(
                        name,
                        f"the places are far from those of {estimate}: they are read",
                        expected=f"a median distance of {MAX_CORRECTION} µm or less",
                        found=f"{median:.0f} µm",
                        do="See which of the two is right: sides, signs and the number of the FOV are often exchanged",
                    )
                ),
                stacklevel=2,
            )

    def _check_types(self, is_neuron: np.ndarray, probability: np.ndarray | None) -> None:
        """Refuse types of ROIs that contradict the classifier as a whole, as those in another order do.

        Where types were curated, some ROIs differ.
        """
        if probability is None or (compared := types_by_probability(is_neuron, probability)) is None:
            return
        share, contradict = compared
        if contradict:
            raise self._fail(
                TYPES,
                f"the types of ROIs contradict {CLASSIFIER}",
                expected="neurons with higher probabilities than other ROIs, clearly beyond 50 % of pairs",
                found=f"{share:.0%} of pairs; the median of neurons is {np.nanmedian(probability[is_neuron]):.2f}, of "
                f"others {np.nanmedian(probability[~is_neuron]):.2f}: is the order of the ROIs another one?",
                do=f"Give both files of the same extraction, in the same order, and see {TYPE_NAMES}",
            )

    def _check_rounding(self, times: np.ndarray) -> None:
        """Refuse, or warn of, frame times that were rounded."""
        step, period = rounding_step(times), frame_period(times)
        if step <= COARSE * period:
            return
        rounded = self._fail(
            TIMES,
            "frame times are rounded" + ("" if step >= TOO_COARSE * period else ": they are read"),
            expected=f"times in steps below {TOO_COARSE:.0%} of the frame period, {TOO_COARSE * period:.3g} s",
            found=f"multiples of {step:.3g} s, {step / period:.0%} of the period of {period:.3g} s",
            do="Save them as float64, as the clock gave them",
        )
        if step >= TOO_COARSE * period:
            raise rounded
        warnings.warn(str(rounded), stacklevel=2)

    def _check_regions(self, stack_pos: np.ndarray, region_ids: np.ndarray | None) -> None:
        """Refuse regions of other ROIs: beside each other in the image, ROIs share their region.

        Those that are of an older revision than the uuids must be seen to fit.
        """
        if region_ids is None:
            return
        name, _ = self._final_or_estimate(REGION_IDS)
        n_shared, by_chance = _shared_by_neighbours(stack_pos, region_ids)
        fits = _is_beyond_chance(n_shared, by_chance, len(region_ids))
        if fits is False:
            raise self._fail(
                name,
                f"the regions are not those of the ROIs in {POSITIONS}",
                expected="the same region for most ROIs that are beside each other",
                found=f"for {n_shared} of {len(region_ids)} ROIs that of the nearest, and in a random order for "
                f"{np.mean(by_chance):.0f}: are they of a former extraction?",
                do="Give both files of the same extraction. If the regions are final and of a former one, remove them: "
                "the estimate is read then",
            )
        if fits is None:
            self._check_not_older(name, UUIDS)

    def _is_same_activity(self, name: str, collection: str, traces: np.ndarray) -> bool:
        """Return whether the activity in another folder has the same values, in the same file or saved again."""
        sizes = self.reader.sizes(name, collection)
        headers = [size - traces.size * n_bytes for size in sizes if size is not None for n_bytes in (4, 8)]
        if None not in sizes and not any(0 < header <= MAX_HEADER for header in headers):
            return False  # decided by size alone, so that a remote ONE does not download the other FOV
        # a reader of its own: the other FOV's file must not be recorded as a source of this FOV
        reader = SessionReader(self.reader.one, self.reader.eid)
        try:
            return _are_equal(traces, reader.array(name, collection, mmap=True))
        except DataError:
            return False  # reading the other FOV raises this error itself

    def frame_times(self, n_frames: int | None = None) -> np.ndarray:
        """Return the start of each frame, (T,) float64 in s; `n_frames` are expected, or any number from 2."""
        name = TIMES
        times = np.asarray(self._array(name), dtype=np.float64)
        if times.ndim != 1 or (len(times) < 2 if n_frames is None else len(times) != n_frames):
            raise self._fail(
                name,
                "frame times and activity differ in length",
                expected=f"{n_frames or 'two or more'} frames as in the activity",
                found=f"{times.shape[0] if times.ndim == 1 else times.shape} times",
                do="Extract the FOV again; frames are never cut or padded to fit",
            )
        bad = np.flatnonzero(~np.isfinite(times))
        if bad.size:
            raise self._fail(
                name,
                "frame times are not finite",
                expected="times in s",
                found=f"{bad.size}, the first at frame {bad[0]}",
            )
        back = np.flatnonzero(np.diff(times) <= 0)
        if back.size:
            raise self._fail(
                name,
                "frame times do not increase strictly",
                expected="increasing times",
                found=f"{back.size} steps that do not increase, the first after frame {back[0]}: "
                f"{times[back[0]]} s, {times[back[0] + 1]} s",
            )
        period = frame_period(times)
        if not FRAME_PERIODS[0] <= period < FRAME_PERIODS[1]:
            raise self._fail(
                name,
                "frame times are not in s",
                expected=f"a frame period of {FRAME_PERIODS[0]} to {FRAME_PERIODS[1]} s",
                found=f"{period:g} from {times[0]} to {times[-1]}: is the unit ms, minutes or frames?",
            )
        return times

    def _check_own_times(self, times: np.ndarray, name: str, traces: np.ndarray) -> None:
        """Refuse the times of another FOV of the session: FOVs are scanned one after the other.

        Both FOVs are refused, since whose times they are cannot be told, unless the other is a copy altogether.
        """
        reader = SessionReader(self.reader.one, self.reader.eid)
        for fov, collection in fov_folders(self.reader.one, self.reader.eid).items():
            at_once = fov != self.fov and abs(_first_time(reader, collection) - times[0]) < AT_ONCE
            if at_once and not self._is_same_activity(name, collection, traces):
                raise self._fail(
                    TIMES,
                    "the frame times are those of another FOV",
                    expected="FOVs that are scanned one after the other",
                    found=f"FOV_{fov:02d} starts at the same time, {times[0]} s",
                    do="Give each FOV its own times",
                )

    def _bad_frames(self, n_frames: int) -> np.ndarray | None:
        """Return which frames Suite2p left out, (T,) bool, or None without the dataset."""
        flags = self._whole_per_frame(BAD_FRAMES, n_frames, 1)
        return None if flags is None else flags.astype(bool)

    def _frame_qc(self, n_frames: int) -> tuple[np.ndarray | None, dict[str, str] | None]:
        """Return the class of each frame, (T,) uint32, and the names of the classes; None for a missing dataset."""
        classes = self._whole_per_frame(FRAME_QC, n_frames, np.iinfo(np.uint32).max)
        if classes is None:
            return None, None
        names = self._names(FRAME_QC_NAMES) if self._has(FRAME_QC_NAMES) else None
        unnamed = sorted(set(map(str, np.unique(classes))) - set(names)) if names is not None else []
        if unnamed:
            raise self._fail(
                FRAME_QC,
                "a class of frames has no name",
                expected=f"classes of {FRAME_QC_NAMES}: {', '.join(names or ())}",
                found=", ".join(unnamed[:5]),
            )
        return classes.astype(np.uint32), names

    def _whole_per_frame(self, name: str, n_frames: int, largest: int) -> np.ndarray | None:
        """Return a whole number from 0 to `largest` per frame, (T,), or None without the dataset."""
        if not self._has(name):
            return None
        array = self._array(name)
        if array.shape != (n_frames,):
            raise self._fail(
                name,
                "flags of frames and activity differ in length",
                expected=f"{n_frames} frames as in the activity",
                found=f"{array.shape[0] if array.ndim == 1 else array.shape}",
                do="Extract the FOV again; frames are never cut or padded to fit",
            )
        bad = np.flatnonzero(~((array >= 0) & (array <= largest) & (array == np.floor(array))))  # NaN is none of these
        if bad.size:
            found = f"{array[bad[0]]} at frame {bad[0]}"
            raise self._fail(name, "not flags of frames", expected=f"whole numbers from 0 to {largest}", found=found)
        return array

    def _names(self, name: str) -> dict[str, str]:
        """Return the names in a table of classes by number."""
        return _class_names(self.reader.lines(name, self.collection), **self.reader.place(name, self.collection))

    def _per_roi(self, name: str, n_rois: int, widths: tuple[int, ...] = ()) -> np.ndarray:
        """Return an array with one row per ROI: (N, w) with w in ``widths``, or (N,) without ``widths``."""
        array = self._array(name)
        if array.ndim == 0 or array.shape[0] != n_rois:
            raise self._fail(
                name,
                "arrays of one FOV differ in their number of ROIs",
                expected=f"{n_rois} ROIs as in the activity",
                found=f"{array.shape[0] if array.ndim else 'a scalar'}",
            )
        if array.ndim != 1 + bool(widths) or (widths and array.shape[1] not in widths):
            expected = f"({n_rois}, {widths[-1]})" if widths else f"({n_rois},)"
            raise self._fail(name, "unexpected shape", expected=expected, found=f"{array.shape}")
        return array

    def _whole_per_roi(self, name: str, n_rois: int, widths: tuple[int, ...] = ()) -> np.ndarray:
        """Return `_per_roi` as int64; files of whole numbers are often stored as floats."""
        array = self._per_roi(name, n_rois, widths)
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        bad = np.argwhere(whole != array)  # NaN and infinity are not whole either
        if len(bad):
            found = f"{array[tuple(bad[0])]} for ROI {bad[0][0]}"
            raise self._fail(name, "not whole numbers", expected="integers", found=found)
        return whole

    def _is_neuron(self, roi_type: np.ndarray) -> np.ndarray:
        """Return which ROIs are neurons, (N,) bool, by the names of their types; without names those of type 1."""
        if not self._has(TYPE_NAMES):
            return np.isin(roi_type, [1])
        names, used = self._names(TYPE_NAMES), list(map(str, np.unique(roi_type)))
        unnamed = [number for number in used if number not in names]
        if unnamed:
            raise self._fail(
                TYPES,
                "a type of ROIs has no name",
                expected=f"types of {TYPE_NAMES}: {', '.join(names)}",
                found=", ".join(unnamed[:5]),
            )
        neurons, unknown = neuron_types((number, names[number]) for number in used)
        if unknown:
            raise self._fail(
                TYPE_NAMES,
                "it is not known whether ROIs of these names are neurons",
                expected="'cell', 'neuron', 'no cell', 'not neuron' or the like",
                found=", ".join(map(repr, unknown[:5])),
                do="Name the types so, neurons and others",
            )
        if neuron_types(names.items())[0] == [1]:
            # nothing that is read depends on it, and for FOVs that were read before it need not be a new dataset
            self.reader.forget(TYPE_NAMES, self.collection)
        return np.isin(roi_type, neurons)

    def _cell_probability(self, n_rois: int) -> np.ndarray | None:
        """Return Suite2p's probability that each ROI is a cell, (N,) float64, or None without the dataset."""
        name = CLASSIFIER
        if not self._has(name):
            return None
        array = self._array(name)
        # (N, classes) from a classifier with several classes: index 1 is the class 'cell'
        widths = array.shape[1:2] if array.ndim == 2 else ()
        array = self._per_roi(name, n_rois, widths).astype(np.float64)
        probability = array[:, min(1, array.shape[1] - 1)] if array.ndim == 2 else array
        bad = np.flatnonzero((probability < 0) | (probability > 1))
        if bad.size:
            found = f"{probability[bad[0]]} for ROI {bad[0]}"
            raise self._fail(name, "not probabilities", expected="0 to 1, or NaN", found=found)
        return probability

    def _final_or_estimate(self, template: str) -> tuple[str, str]:
        """Return the dataset to use and its kind: final (from histology) before estimate; ('', 'none') without both."""
        for suffix, source in (("", "final"), ("_estimate", "estimate")):
            if self._has(name := template.format(suffix)):
                return name, source
        return "", "none"

    def _mlapdv(self, n_rois: int) -> tuple[np.ndarray | None, str]:
        """Return positions (N, 3) float64 in µm from bregma, and whether they are final or estimated."""
        name, source = self._final_or_estimate(MLAPDV)
        if not name:
            return None, source
        mlapdv = self._per_roi(name, n_rois, (3,)).astype(np.float64)
        bad = np.flatnonzero(np.isinf(mlapdv).any(axis=1))
        if bad.size:
            found = f"{mlapdv[bad[0]]} for ROI {bad[0]}"
            raise self._fail(name, "positions are not finite", expected="micrometres, or NaN", found=found)
        furthest = np.max(np.abs(mlapdv), initial=0, where=~np.isnan(mlapdv))
        if furthest and not MIN_DISTANCE <= furthest <= MAX_DISTANCE:
            raise self._fail(
                name,
                "positions are not in micrometres from bregma",
                expected=f"the furthest coordinate at {MIN_DISTANCE} to {MAX_DISTANCE}",
                found=f"{furthest:g}: is the unit mm, m or nm?",
            )
        return mlapdv, source

    def _stack_pos(self, n_rois: int) -> np.ndarray:
        """Return rows, columns and, if there are three, planes (N, 2 or 3) int64."""
        self._check_bytes(POSITIONS, self._array(POSITIONS))
        found = self._whole_per_roi(POSITIONS, n_rois, (2, 3))
        row, column, *plane = (len(np.unique(values)) for values in found.T)
        # of few ROIs each may be in a plane of its own
        if plane and n_rois >= MIN_PLACES and plane[0] > 2 * min(row, column):
            raise self._fail(
                POSITIONS,
                "the columns are in another order",
                expected="row y, column x and plane, of which planes have the fewest values",
                found=f"{row}, {column} and {plane[0]} different values of {n_rois} ROIs",
                do="Save the columns in this order",
            )
        return found

    def _check_bytes(self, name: str, array: np.ndarray) -> None:
        """Refuse numbers of a single byte: activity and pixels do not fit, and would begin again at 0 from 256 on."""
        if array.dtype.itemsize < 2:
            raise self._fail(
                name, "has numbers of one byte, into which its values do not fit", expected="two bytes or more",
                found=f"{array.dtype}", do="Save it again from the original",
            )  # fmt: skip

    def _timeshift(self, stack_pos: np.ndarray, period: float) -> np.ndarray:
        """Return the delays of scan lines or pixels within a frame in s; they must cover the positions of all ROIs."""
        name = TIMESHIFT
        shift = np.asarray(self._array(name), dtype=np.float64)
        if shift.ndim not in (1, 2) or not np.isfinite(shift).all():
            raise self._fail(
                name,
                "not one delay per scan line",
                expected="finite times in s, one per line (or per line and column)",
                found=f"{np.count_nonzero(~np.isfinite(shift))} not finite, shape {shift.shape}",
            )
        # not strict: shift has no columns when it is by line, and stack_pos may have a plane
        for what, positions, size in zip(("rows", "columns"), stack_pos.T, shift.shape, strict=False):
            if positions.min() < 0 or positions.max() >= size:
                raise self._fail(
                    name,
                    "a ROI lies outside the scan lines",
                    expected=f"{what} 0 to {size - 1}",
                    found=f"{what} {positions.min()} to {positions.max()}",
                )
        if shift.min() < 0 or shift.max() > period:
            raise self._fail(
                name,
                "delays of scan lines do not fit into a frame",
                expected=f"0 to {period:g} s, the frame period",
                found=f"{shift.min():g} to {shift.max():g}: is the unit ms?",
            )
        by_line = shift if shift.ndim == 1 else shift[:, 0]
        line_period = float(by_line[-1] - by_line[0]) / max(len(by_line) - 1, 1)
        if len(by_line) > 1 and line_period < MIN_LINE_PERIOD:
            raise self._fail(
                name,
                "scan lines are not one after the other",
                expected=f"{MIN_LINE_PERIOD:g} s or more from one line to the next",
                found=f"{line_period:g} s in the mean of {len(by_line)} lines: is the unit another one?",
                do="Save the delay of each line in s, from the first line scanned to the last",
            )
        return shift

    def _region_ids(self, n_rois: int) -> tuple[np.ndarray | None, str]:
        """Return Allen CCF ids (N,) int64, and whether they are final or estimated."""
        name, source = self._final_or_estimate(REGION_IDS)
        if not name:
            return None, source
        ids = self._whole_per_roi(name, n_rois)
        unknown = sorted(set(np.unique(ids).tolist()) - known_region_ids())
        if unknown:
            # iblatlas would drop unknown ids silently, and shift all later ROIs
            raise self._fail(
                name,
                f"{int(np.isin(ids, unknown).sum())} ROIs have a region id that is not in the atlas",
                expected="ids of the Allen CCF 2017",
                found=f"{', '.join(map(str, unknown[:5]))}",
            )
        return ids, source

    def _uuids(self, n_rois: int) -> list[str] | None:
        """Return the UUID of each ROI, or None without the dataset."""
        name = UUIDS
        if not self._has(name):
            return None
        lines = self.reader.lines(name, self.collection)
        uuids = [line.strip() for line in lines[1:]]  # the first line is a header
        if len(uuids) != n_rois:
            raise self._fail(
                name,
                "arrays of one FOV differ in their number of ROIs",
                expected=f"{n_rois} ROIs as in the activity",
                found=f"{len(uuids)} uuids",
            )
        wrong = [roi for roi, text in enumerate(uuids) if not UUID.fullmatch(text)]
        if wrong:
            found = f"{uuids[wrong[0]]!r} for ROI {wrong[0]}"
            raise self._fail(name, "invalid uuids", expected="one uuid per ROI", found=found)
        if len(set(uuids)) != n_rois:
            raise self._fail(name, "uuids repeat", expected=f"{n_rois} unique uuids", found=f"{len(set(uuids))}")
        return uuids


def is_of_same_rois(one: tuple[str, np.ndarray], other: tuple[str, np.ndarray]) -> bool:
    """Return whether two samples of activity are of the same ROIs, in the same order; True if it cannot be told.

    Parameters
    ----------
    one, other : (str, (n, T))
        Signal, and sample of ROIs and frames: see ``pipeline.reading.plausible.sampled``. Of two of fluorescence it is
        not told.
    """
    samples = dict((one, other))
    if not all(np.isfinite(sample).all() for _, sample in (one, other)) or one[0] == other[0] == "fluorescence":
        return True
    if len(samples) == 2:
        beaten = share_of_others_beaten(samples["fluorescence"], samples["deconvolved"])
    else:
        beaten = share_beaten_when_deconvolved_again(one[1], other[1])
    return beaten is None or beaten >= MIN_BEATEN_BY_OWN


def _neuropil_likeness(fluorescence: np.ndarray, neuropil: np.ndarray, positions: np.ndarray) -> Neuropil | None:
    """Return what neuropil (T, N) is like, of some ROIs, evenly, in the middle frames; None if it cannot be told."""
    n_frames, n_rois = fluorescence.shape
    some = np.unique(np.linspace(0, n_rois - 1, min(n_rois, MOST_NEUROPIL)).astype(int))
    _, frames = sampled(n_frames, n_rois)
    # by frames first: a list of ROIs copies, and would copy all frames
    own, around = (found[frames].T[some].astype(np.float32) for found in (fluorescence, neuropil))
    is_finite = np.isfinite(own).all() and np.isfinite(around).all()
    return neuropil_likeness(own, around, positions[some]) if is_finite else None


def _class_names(lines: list[str], **place: Any) -> dict[str, str]:
    """Return the rows of a table of two columns, number and name, under a header.

    Raises
    ------
    DataError
        A line is another, or there is none.
    """
    _, *rows = [line.split("\t") for line in lines if line.strip()] or [[]]
    wrong = [row for row in rows if len(row) != 2 or not row[0].strip().isdigit()]
    if wrong or not rows:
        found = repr("\t".join(wrong[0])) if wrong else "no line below a header"
        raise DataError(
            "not names of classes", expected="a number, a tab and a name per line", found=found, **place
        )  # fmt: skip
    return {str(int(number)): label.strip() for number, label in rows}


def _blocks(traces: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yield some rows of an array (T, N) at a time, as they lie in the file, and the number of the first.

    IBL writes Fortran order, in which one frame of all ROIs is on every page.
    """
    rows = traces if traces.flags.c_contiguous else traces.T
    step = max(1, BLOCK_BYTES // rows[0].nbytes)
    for start in range(0, len(rows), step):
        yield rows[start : start + step], start


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays (T, N) have the same values; only the beginning is read of those that have not."""
    if one.shape != other.shape:
        return False
    turned = other if one.flags.c_contiguous else other.T
    return all(np.array_equal(rows, turned[start : start + len(rows)]) for rows, start in _blocks(one))


def explained_by_plane(positions: np.ndarray, mlapdv: np.ndarray) -> float | None:
    """Return the share of the variance of ml and ap that a plane over the image explains; None if it cannot be told.

    mlapdv (N, 3) is a smooth map of the image's rows and columns (N, 2), so that a plane explains nearly all; of other
    ROIs it explains next to nothing.
    """
    known = np.isfinite(mlapdv).all(axis=1)
    if known.sum() < MIN_PLACES or np.ptp(positions[known], axis=0).min() == 0:
        return None
    brain = mlapdv[known, :2] - mlapdv[known, :2].mean(axis=0)
    spread = float((brain**2).sum())
    if not spread:
        return None
    image = np.column_stack([np.ones(known.sum()), positions[known]])
    rest = brain - image @ np.linalg.lstsq(image, brain, rcond=None)[0]
    return 1 - float((rest**2).sum()) / spread


def _shared_by_neighbours(positions: np.ndarray, region_ids: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how many ROIs have the region (N,) of the nearest ROI of their plane in the image (N, 2 or 3).

    Also how many would have in ``N_ORDERS`` random orders of the regions, (N_ORDERS,).
    """
    beside, rng = nearest(positions), np.random.default_rng(0)
    orders = (rng.permutation(region_ids) for _ in range(N_ORDERS))
    n_shared = int((region_ids == region_ids[beside]).sum())
    return n_shared, np.array([(order == order[beside]).sum() for order in orders])


def _is_beyond_chance(n_shared: int, by_chance: np.ndarray, n_rois: int) -> bool | None:
    """Return whether neighbours share their regions more often than in random orders; None if it cannot be told.

    Regions are coherent in the image, and their boundaries are lines: nearly all neighbours share them. That they are
    of other ROIs can be told only if random orders hardly ever come half-way from their mean to that: not of few ROIs,
    and not if nearly all have one region. A single region fits all.
    """
    mean, high = by_chance.mean(), np.quantile(by_chance, MIN_BEATEN)
    if mean == n_rois or (n_shared > by_chance).mean() >= MIN_BEATEN:
        return True
    return False if n_rois >= MIN_NEIGHBOURS and high < (mean + n_rois) / 2 else None
