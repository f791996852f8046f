"""Fields of view, their clocks, cells and activity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import datajoint as dj
import numpy as np

from pipeline import clock, reading
from pipeline.arrays import DAMAGED, Bytes, pack, unpack
from pipeline.errors import DataError
from pipeline.places import Place, is_place, place_of
from pipeline.reading.fov import SIGNALS
from schemas import bulk, settings, stores
from schemas.codec import Packed
from schemas.rows import SourceFile, WholeDelete, in_fovs, number, without_failed
from schemas.session import FOVFolder, ReadsSession, Session, one_for
from schemas.threads import in_threads

schema = dj.Schema()


@schema
class BrainRegion(dj.Manual):
    definition = """
    # Allen CCF 2017, from iblatlas
    region_id : int32                   # negative is the left hemisphere; ALF files use positive ids for both
    ---
    acronym : varchar(32)
    region_name : varchar(255)
    rgb : char(7)                       # Allen colour, hex
    beryl : varchar(32)                 # acronym in the Beryl parcellation
    cosmos : varchar(32)                # acronym in the Cosmos parcellation
    parent_id=null : int32
    index (acronym)
    """


class ReadsFOV(ReadsSession):
    """Mixin of the three-part make of tables read from a FOV's files, which must be those that FOV checked."""

    def make_fetch(self, key: dict) -> tuple:
        """Return where the session was registered from, the FOV's collection, and its files' hashes."""
        collection = (FOVFolder & key).fetch1("collection")
        hashes = {row["dataset"]: row["sha256"] for row in (FOV.Source & key).to_dicts(order_by="dataset")}
        return *super().make_fetch(key), collection, hashes

    def make_compute(self, key: dict, registered_from: str, collection: str, hashes: dict) -> tuple:
        """Read and check the FOV."""
        one = one_for(key["eid"], registered_from)
        data = reading.read_fov(one, key["eid"], key["fov"], collection, check_traces=False)  # FOV has checked them
        traces = SIGNALS[data.signal]  # the one large file, which these tables do not keep
        small = {name: value for name, value in hashes.items() if not name.endswith(traces)}
        data.reader.check_unchanged(small, key["fov"])
        return (data,)


@schema
class FOV(ReadsSession, WholeDelete, dj.Imported):
    definition = """
    # a field of view whose arrays have been checked against each other
    -> FOVFolder
    ---
    n_rois : int32
    n_neurons : int32
    n_frames : int32
    frame_period : float64              # median, s
    imaging_start : float64             # first frame, s on the session clock
    imaging_end : float64               # last frame
    n_bouts : int32                     # stretches without a gap
    signal : varchar(16)                # 'deconvolved' or 'fluorescence'
    region_source : varchar(16)         # 'final' (histology), 'estimate' or 'none'
    mlapdv_source : varchar(16)
    """

    class Source(SourceFile):
        pass

    class Region(dj.Part):
        definition = """
        # ROIs of a FOV in a region: what a list of sessions shows without counting millions of ROIs
        -> master
        -> BrainRegion
        ---
        n_region_rois : int32
        n_region_neurons : int32
        """

    def make_fetch(self, key):
        return *super().make_fetch(key), (FOVFolder & key).fetch1("collection")

    def make_compute(self, key, registered_from, collection):
        data = reading.read_fov(one_for(key["eid"], registered_from), key["eid"], key["fov"], collection)
        return data, data.sources

    def make_insert(self, key, data, sources):
        self.insert1({
            **key,
            "n_rois": data.n_rois,
            "n_neurons": int(data.is_neuron.sum()),
            "n_frames": len(data.frame_times),
            "frame_period": data.frame_period,
            "imaging_start": float(data.frame_times[0]),
            "imaging_end": float(data.frame_times[-1]),
            "n_bouts": len(clock.bouts(data.frame_times)),
            "signal": data.signal,
            "region_source": data.region_source,
            "mlapdv_source": data.mlapdv_source,
        })  # fmt: skip
        self.Source().insert_sources(key, sources)
        if data.region_ids is not None:
            self.Region.insert({**key, **row} for row in _region_counts(data.region_ids, data.is_neuron))


def _region_counts(region_ids: np.ndarray, is_neuron: np.ndarray) -> Iterator[dict[str, int]]:
    for region in np.unique(region_ids).tolist():
        inside = region_ids == region
        n_neurons = int((inside & is_neuron).sum())
        yield {"region_id": region, "n_region_rois": int(inside.sum()), "n_region_neurons": n_neurons}


@schema
class Recording(ReadsFOV, WholeDelete, dj.Imported):
    definition = """
    # the clock of a FOV
    -> FOV
    ---
    frame_times : <blob>                # (n_frames,) float64, start of each frame, s on the session clock
    timeshift : <blob>                  # float64, s after the start of the frame, by scan line (and column)
    """

    def make_insert(self, key, data):
        self.insert1({**key, "frame_times": data.frame_times, "timeshift": data.timeshift})


@schema
class ROI(ReadsFOV, WholeDelete, dj.Imported):
    definition = """
    # a region of interest; roi is its row in the ALF arrays, before any filter
    -> FOV
    roi : int32
    ---
    is_neuron : bool                    # mpciROITypes is 1 (cell)
    roi_type : int16
    cell_probability=null : float64
    -> [nullable] BrainRegion
    ml=null : float64                   # micrometres from bregma, right positive
    ap=null : float64                   # anterior positive
    dv=null : float64                   # dorsal positive
    stack_y : int32                     # row, the scan line
    stack_x : int32                     # column
    stack_z : int32                     # plane
    time_offset : float64               # s after the start of the frame, by the scan line
    roi_uuid=null : char(36)            # new with every extraction
    """

    @property
    def key_source(self):
        return FOV.proj()

    def make_insert(self, key, data):
        offsets = clock.roi_offsets(data.timeshift, data.stack_pos)
        self.insert(_roi_row(key, data, offsets, i) for i in range(data.n_rois))


def _roi_row(key: dict, data: reading.FOVData, offsets: np.ndarray, i: int) -> dict:
    y, x, *z = data.stack_pos[i].tolist()
    ml, ap, dv = data.mlapdv[i] if data.mlapdv is not None else (np.nan,) * 3
    return {
        **key,
        "roi": i,
        "is_neuron": bool(data.is_neuron[i]),
        "roi_type": int(data.roi_type[i]),
        "cell_probability": None if data.cell_probability is None else number(data.cell_probability[i]),
        "region_id": None if data.region_ids is None else int(data.region_ids[i]),
        "ml": number(ml),
        "ap": number(ap),
        "dv": number(dv),
        "stack_y": y,
        "stack_x": x,
        "stack_z": z[0] if z else 0,
        "time_offset": float(offsets[i]),
        "roi_uuid": None if data.roi_uuids is None else data.roi_uuids[i],
    }


@schema
class Activity(ReadsFOV, WholeDelete, dj.Imported):
    definition = """
    # traces of all ROIs of a FOV
    -> FOV
    ---
    trace_dtype : varchar(8)            # as in the ALF file, such as <f4
    trace_store=null : varchar(64)      # store of DataJoint's settings that has the traces; NULL: their rows have them
    trace_object=null : varchar(255)    # path of the object there
    """

    class Trace(dj.Part):
        definition = """
        # the activity of a ROI, as FOV.signal says
        -> master
        -> ROI
        ---
        trace : <array>                 # (n_frames,), as in the ALF file; in the row, or where in the object it is
        """

    @property
    def key_source(self):
        return FOV.proj() & ROI.proj()

    def make_compute(self, key, registered_from, collection, hashes):
        reader = reading.SessionReader(one_for(key["eid"], registered_from), key["eid"])
        name = next(name for name in SIGNALS.values() if any(dataset.endswith(name) for dataset in hashes))
        traces = reader.array(name, collection, mmap=True)
        reader.check_unchanged(hashes, key["fov"])
        return (keep_traces(key, traces.T, settings.store()),)  # before the transaction begins: it may take a while

    def make_insert(self, key, kept):
        _insert_kept(key, kept)


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


def insert_traces(key: dict, traces: np.ndarray, store: str | None = None) -> None:
    """Insert the activity of all ROIs of a FOV; parameters and errors as ``keep_traces``."""
    _insert_kept(key, keep_traces(key, traces, store))


def _insert_kept(key: dict, kept: KeptTraces) -> None:
    row = {**key, "trace_dtype": kept.dtype, "trace_store": kept.store, "trace_object": kept.path}
    Activity.insert1(row, allow_direct_insert=True)
    insert_trace_rows(key, kept.rows)


def insert_trace_rows(key: dict, rows: Iterable[tuple[int, bytes]]) -> None:
    """Insert ROIs of a FOV with their packed traces, or the places of those."""
    bulk.insert(Activity.Trace(), ({**key, "roi": roi, "trace": Packed(data)} for roi, data in rows))


#: Bytes of traces read together where the ROIs of a frame are side by side, and frames copied at a time.
BLOCK_BYTES, BLOCK_FRAMES = 64_000_000, 512


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


def fov_traces(
    eid: str, fov: int, rois: np.ndarray, frames: slice = slice(None), out: np.ndarray | None = None
) -> np.ndarray:
    """Return the traces of some ROIs (n,) of a FOV: see ``roi_traces``."""
    return roi_traces(eid, np.full(len(rois), fov), rois, frames, out)


def roi_traces(
    eid: str, fovs: np.ndarray, rois: np.ndarray, frames: slice = slice(None), out: np.ndarray | None = None
) -> np.ndarray:
    """Return the traces of some ROIs of a session, bit by bit as in the ALF files.

    Parameters
    ----------
    eid : str
    fovs, rois : (n,) int
        FOV and number of each ROI, each ROI once, in any order.
    frames : slice
        Frames to return, without a step.
    out : (n, frames), optional
        Where to put them.

    Returns
    -------
    (n, frames), C-ordered and writable, in the dtype of the files or of ``out``

    Raises
    ------
    DataError
        No ROI is asked for, or one that is not in the database, or whose trace is damaged; the FOVs differ in their
        number of frames.
    ValueError
        The frames have a step.
    """
    if frames.step not in (None, 1):
        raise ValueError(f"frames are a stretch without a step, not {frames}")
    fovs, rois = np.asarray(fovs, dtype=np.int64), np.asarray(rois, dtype=np.int64)
    if not len(rois):
        raise DataError("no ROIs to return the activity of", eid=eid, expected="1 or more", found="0")
    stored = _stored(eid, fovs)
    n_frames, dtype = _one_length(eid, stored), _one_dtype(stored)
    n_wanted = len(range(n_frames)[frames])
    if out is None:
        out = np.empty((len(rois), n_wanted), dtype)
    row_of = {place: row for row, place in enumerate(zip(fovs.tolist(), rois.tolist(), strict=True))}
    if len(row_of) < len(rois):
        raise DataError("a ROI is asked for twice", eid=eid, expected=f"{len(rois)} ROIs", found=f"{len(row_of)}")
    found = np.zeros(len(rois), dtype=bool)

    def take(fov: int, roi: int, data: Bytes) -> None:
        row = row_of.get((fov, roi))
        if row is None:
            return
        own = np.dtype(stored[fov]["trace_dtype"])
        if n_wanted == n_frames and out.dtype == own:
            unpack(data, out[row])
        else:
            out[row] = unpack(data, np.empty(n_frames, own))[frames]
        found[row] = True

    # no threads: one core decodes several times as fast as any server sends
    stream_traces(eid, _of_rois(eid, fovs, rois, stored), take)
    if not found.all():
        _raise_missing(eid, fovs, rois, found)
    return out


def stream_traces(
    eid: str,
    rows: dj.QueryExpression,
    take: Callable[[int, int, Bytes], None],
    failed: Callable[[int, int, DataError], None] | None = None,
    activity: dict | None = None,
) -> None:
    """Call ``take`` with FOV, ROI and packed trace of each row of ``Activity.Trace``, wherever the trace is.

    Parameters
    ----------
    eid : str
    rows : dj.QueryExpression
        Rows of this session.
    take : callable
    failed : callable, optional
        Called with the error, located, of each trace that cannot be had, or that ``take`` raised; by default raised.
    activity : dict, optional
        Row of ``Activity`` of the one FOV that the rows are of: a trace in another object than it names is an error.

    Raises
    ------
    DataError
        See ``failed``.
    ConfigError
        A store is not configured, or does not answer.
    """
    places: list[tuple[tuple[int, int], Place]] = []

    def take_row(fov: int, roi: int, data: bytes) -> None:
        with of_roi(eid, fov, roi, failed):
            if is_place(data):
                places.append(((fov, roi), _place_of(data, activity)))
            else:
                take(fov, roi, data)

    bulk.stream(rows, "fov", "roi", "trace", take=take_row)
    for (fov, roi), data in stores.read(places):
        with of_roi(eid, fov, roi, failed):
            take(fov, roi, stores.whole(data))


@contextmanager
def of_roi(eid: str, fov: int, roi: int, failed: Callable[[int, int, DataError], None] | None = None) -> Iterator[None]:
    """Have a DataError say which ROI it is about, and raise it, or hand it to ``failed``."""
    try:
        yield
    except DataError as error:
        located = error.located(eid=eid, fov=fov, dataset=f"ROI {roi}")
        if failed is None:
            raise located from error
        failed(fov, roi, located)


def _place_of(data: bytes, activity: dict | None) -> Place:
    """Return a place; objects that ``Activity`` does not name are removed one day."""
    place = place_of(data)
    if activity is None:
        return place
    store, path = activity["trace_store"], activity["trace_object"]
    if (place.store, place.path) != (store, path):
        raise DataError(
            "a trace is not where its FOV says", expected=f"{path} in the store {store}" if store else "it in its row",
            found=f"{place.path} in the store {place.store}", do=DAMAGED,
        )  # fmt: skip
    return place


def _stored(eid: str, fovs: np.ndarray) -> dict[int, dict]:
    """Return number of ROIs, frames and dtype of each FOV."""
    wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
    rows = (FOV.proj("n_rois", "n_frames") * Activity & {"eid": eid} & wanted).to_dicts()
    stored = {row["fov"]: row for row in rows}
    for one in wanted:
        if one["fov"] not in stored:
            raise DataError("the database has no activity", eid=eid, fov=one["fov"], do="Fill it: meso populate")
    return stored


def _one_length(eid: str, stored: dict[int, dict]) -> int:
    numbers = {fov: one["n_frames"] for fov, one in stored.items()}
    if len(set(numbers.values())) > 1:
        raise DataError(
            "FOVs differ in their number of frames and cannot be one matrix", eid=eid, expected="the same number",
            found=", ".join(f"{n} in FOV_{fov:02d}" for fov, n in sorted(numbers.items())),
            do="Ask for the cells of each FOV, or bring them to one clock: pipeline.resampling",
        )  # fmt: skip
    return next(iter(numbers.values()), 0)


def _one_dtype(stored: dict[int, dict]) -> np.dtype:
    """Return the dtype of the files, or one that holds all of several; numpy would change the byte order of one."""
    names = {one["trace_dtype"] for one in stored.values()}
    return np.dtype(names.pop()) if len(names) == 1 else np.result_type(*names)


def _of_rois(eid: str, fovs: np.ndarray, rois: np.ndarray, stored: dict[int, dict]) -> dj.QueryExpression:
    """Return the traces of some ROIs; a list of most ROIs would take the server longer than their rows do."""
    traces = Activity.Trace & {"eid": eid}
    if 2 * len(rois) > sum(one["n_rois"] for one in stored.values()):
        return traces & [{"fov": fov} for fov in stored]
    return traces & in_fovs(fovs, rois)


def _raise_missing(eid: str, fovs: np.ndarray, rois: np.ndarray, found: np.ndarray) -> None:
    lacking = [f"ROI {roi} of FOV_{fov:02d}" for fov, roi in zip(fovs[~found], rois[~found], strict=True)]
    raise DataError(
        "the database lacks activity", eid=eid, fov=int(fovs[~found][0]), expected=f"traces of {len(rois)} ROIs",
        found=f"{found.sum()}; none for {', '.join(lacking[:5])}", do="meso verify lists what is missing",
    )  # fmt: skip


def clocks(
    eid: str, fovs: np.ndarray, stack_pos: np.ndarray, scan_line_column: int
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Return the frame times of each FOV, and the offset of each ROI within its frame.

    Parameters
    ----------
    eid : str
    fovs : (n,) int
        FOV of each ROI.
    stack_pos : (n, 2) int
        Its y and x.
    scan_line_column : int
        See ``pipeline.clock.roi_offsets``.

    Returns
    -------
    frame_times : dict of (n_frames,) float64
        By FOV, s on the session's clock.
    offsets : (n,) float64
        s.
    """
    wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
    frame_times, offsets = {}, np.empty(len(fovs))
    for row in (Recording & {"eid": eid} & wanted).to_dicts(order_by="fov"):
        rows = fovs == row["fov"]
        frame_times[row["fov"]] = np.asarray(row["frame_times"])
        offsets[rows] = clock.roi_offsets(np.asarray(row["timeshift"]), stack_pos[rows], scan_line_column)
    return frame_times, offsets


def imaged_sessions() -> dj.QueryExpression:
    """Return the sessions whose every FOV is either in the database or known to have failed.

    Tables that gather the FOVs of a session wait for this: none is left out only because another
    worker has not come to it yet. A FOV that failed stays in the job tables until it is retried.
    """
    done = FOV.proj() & Recording.proj() & ROI.proj() & Activity.proj()
    waiting = FOVFolder.proj() - done
    return (Session.proj() & done) - without_failed(waiting, FOV, Recording, ROI, Activity)
