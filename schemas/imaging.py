"""Fields of view, their clocks, cells and activity."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from pipeline import clock, reading
from pipeline.arrays import pack, unpack
from pipeline.errors import DataError
from pipeline.reading.fov import SIGNALS
from schemas import bulk
from schemas.codec import Packed, located
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
        data = reading.read_fov(one_for(key["eid"], registered_from), key["eid"], key["fov"], collection)
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
    """

    class Trace(dj.Part):
        definition = """
        # the activity of a ROI, as FOV.signal says
        -> master
        -> ROI
        ---
        trace : <array>                 # (n_frames,), as in the ALF file
        """

    @property
    def key_source(self):
        return FOV.proj() & ROI.proj()

    def make_compute(self, key, registered_from, collection, hashes):
        reader = reading.SessionReader(one_for(key["eid"], registered_from), key["eid"])
        name = next(name for name in SIGNALS.values() if any(dataset.endswith(name) for dataset in hashes))
        traces = reader.array(name, collection, mmap=True)
        reader.check_unchanged(hashes, key["fov"])
        return (traces,)

    def make_insert(self, key, traces):
        insert_traces(key, traces.T)


def insert_traces(key: dict, traces: np.ndarray) -> None:
    """Insert the activity of all ROIs of a FOV, trace by trace: the matrix stays on disk.

    Parameters
    ----------
    key : dict
    traces : (n_rois, n_frames), in memory or on disk
    """
    Activity.insert1({**key, "trace_dtype": traces.dtype.str}, allow_direct_insert=True)
    packed = in_threads(lambda roi: (roi, pack(traces[roi])), range(len(traces)))
    bulk.insert(Activity.Trace(), ({**key, "roi": roi, "trace": Packed(data)} for roi, data in packed))


def fov_traces(
    eid: str, fov: int, rois: np.ndarray, frames: slice = slice(None), out: np.ndarray | None = None
) -> np.ndarray:
    """Return the traces of some ROIs of a FOV, bit by bit as in the ALF file.

    Parameters
    ----------
    eid : str
    fov : int
    rois : (n,) int
        Numbers of the ROIs, each once, in any order.
    frames : slice
        Frames to return, without a step.
    out : (n, frames), optional
        Where to put them.

    Returns
    -------
    (n, frames), C-ordered and writable, in the dtype of the file or of ``out``

    Raises
    ------
    DataError
        A ROI is not in the database, or what is stored of it is damaged.
    """
    key, rois = {"eid": eid, "fov": int(fov)}, np.asarray(rois, dtype=np.int64)
    known = (FOV.proj("n_rois", "n_frames") * Activity & key).to_dicts()
    place = {int(roi): row for row, roi in enumerate(rois)}
    if not known or len(place) < len(rois):
        raise DataError(
            "the database has no activity", eid=eid, fov=fov, expected=f"traces of {len(rois)} different ROIs",
            found="a ROI twice" if known else "none", do=None if known else "Fill it: meso populate",
        )  # fmt: skip
    n_frames, dtype = known[0]["n_frames"], np.dtype(known[0]["trace_dtype"])
    n_wanted = len(range(n_frames)[frames])
    if out is None:
        out = np.empty((len(rois), n_wanted), dtype)
    found = np.zeros(len(rois), dtype=bool)

    def place_trace(roi: int, data: bytes) -> None:
        row = place.get(roi)
        if row is None:
            return
        try:
            if n_wanted == n_frames and out.dtype == dtype:
                unpack(data, out[row])
            else:
                out[row] = unpack(data, np.empty(n_frames, dtype))[frames]
        except DataError as error:
            raise located(error, {**key, "ROI": roi}) from error
        found[row] = True

    # no threads: one core decodes several times as fast as any server sends
    bulk.stream(_of_rois(key, rois), "roi", "trace", place_trace)
    if not found.all():
        missing = rois[~found][:5].tolist()
        raise DataError(
            "the database lacks activity", eid=eid, fov=fov, expected=f"traces of {len(rois)} ROIs",
            found=f"{found.sum()}; none for ROIs {missing}", do="meso verify lists what is missing",
        )  # fmt: skip
    return out


def _of_rois(key: dict, rois: np.ndarray) -> dj.QueryExpression:
    """Return the traces of some ROIs; a list of most ROIs would take the server longer than their rows do."""
    traces = Activity.Trace & key
    return traces if 2 * len(rois) > len(traces) else traces & in_fovs(np.full(len(rois), key["fov"]), rois)


def roi_offsets(fov_key: dict, stack_pos: np.ndarray, scan_line_column: int) -> np.ndarray:
    """Return the time offset of ROIs of a FOV from their stack positions (n, 2): y, x."""
    timeshift = (Recording & fov_key).fetch1("timeshift")
    return clock.roi_offsets(np.asarray(timeshift), stack_pos, scan_line_column)


def imaged_sessions() -> dj.QueryExpression:
    """Return the sessions whose every FOV is either in the database or known to have failed.

    Tables that gather the FOVs of a session wait for this: none is left out only because another
    worker has not come to it yet. A FOV that failed stays in the job tables until it is retried.
    """
    done = FOV.proj() & Recording.proj() & ROI.proj() & Activity.proj()
    waiting = FOVFolder.proj() - done
    return (Session.proj() & done) - without_failed(waiting, FOV, Recording, ROI, Activity)
