"""Fields of view (FOVs), their clocks, their ROIs and the activity of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import datajoint as dj
import numpy as np

from pipeline import atlas, reading
from pipeline.errors import DataError
from pipeline.outlines import Outline
from pipeline.reading.fov import AT_ONCE, POSITIONS, SIGNALS, TIMES, UUIDS
from pipeline.signals import clock
from schemas.cascade import WholeDelete
from schemas.imaging.packing import PackedTraces, pack_traces
from schemas.provenance import now
from schemas.rows import SourceFile, number, without_failed
from schemas.server import settings
from schemas.session import FOVFolder, ReadsSession, Session, compared, copy_error, near, one_for
from schemas.storage import bulk
from schemas.storage.codec import Packed

schema = dj.Schema()
#: So many ROIs at the same place of the image, on the same lines, are no accident.
MIN_SAME = 3


@schema
class BrainRegion(WholeDelete, dj.Manual):
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


@schema
class AtlasOutline(WholeDelete, dj.Manual):
    definition = """
    # outline of a region as seen from above, and of the brain (root), from the volume of the atlas: see meso atlas
    -> BrainRegion
    ---
    polygons : json                     # corners [ML, AP] of each polygon, um from bregma; one in another is a hole
    name_ml : float64                   # place for its name, farthest from its border, um from bregma
    name_ap : float64
    name_room : float64                 # distance of that place from the border, um
    voxel_size : int32                  # of the volume, um
    iblatlas_version : varchar(32)
    outlined_at : datetime(6)           # UTC
    """

    @classmethod
    def renew(cls, voxel_size: int, cache_dir: Path | str | None = None) -> int:
        """Compute all outlines, replace those that are there, and return their number.

        Parameters
        ----------
        voxel_size : {25, 50}
            Of the volume, um.
        cache_dir : path, optional
            ONE cache with the volume, or into which it is downloaded; by default that which ONE is set up with.

        Raises
        ------
        DataError
            The volume can be neither read nor downloaded.
        """
        found = atlas.outlines(atlas.open_volume(voxel_size, cache_dir))
        made = {"voxel_size": voxel_size, "iblatlas_version": version("iblatlas"), "outlined_at": now()}
        with cls.connection.transaction:
            cls().delete_quick()
            cls.insert({**_outline_row(region, one), **made} for region, one in sorted(found.items()))
        return len(found)


def _outline_row(region: int, one: Outline) -> dict:
    """Return the columns of an outline; corners in whole um, which is less than a voxel by far."""
    ml, ap = one.place.round(1).tolist()
    polygons = [corners.round().astype(int).tolist() for corners in one.polygons]
    return {"region_id": region, "polygons": polygons, "name_ml": ml, "name_ap": ap, "name_room": round(one.room, 1)}


class ReadsFOV(ReadsSession):
    """Mixin for tables read from a FOV's files with DataJoint's three-part make.

    The files are those that ``FOV`` checked and recorded, by path and hash, whatever ONE lists now.
    """

    def make_fetch(self, key: dict) -> tuple:
        """Return how the session was registered, the FOV's collection, and its recorded files."""
        return *super().make_fetch(key), (FOVFolder & key).fetch1("collection"), FOV.Source.recorded(key)

    def make_compute(self, key: dict, registered: dict, collection: str, recorded: list[dict]) -> tuple:
        """Read the recorded files of the FOV again."""
        return (read_recorded(key, registered, collection, recorded),)


def read_recorded(key: dict, registered: dict, collection: str, recorded: list[dict]) -> reading.FOVData:
    """Return the arrays of a FOV from exactly its recorded files; parameters as ``ReadsFOV.make_fetch`` returns them.

    Raises
    ------
    DataError
        A file is gone, or is not the recorded one any more.
    """
    one, files = one_for(key["eid"], registered), [reading.Source(**row) for row in recorded]
    data = reading.read_fov(one, key["eid"], key["fov"], collection, recorded=files)
    data.reader.check_not_touched()
    return data


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

    @staticmethod
    def datasets(reader, key):
        return reading.fov_datasets(reader, (FOVFolder & key).fetch1("collection"))

    def make_fetch(self, key):
        return *super().make_fetch(key), (FOVFolder & key).fetch1("collection")

    def make_compute(self, key, registered, collection):
        data = reading.read_fov(one_for(key["eid"], registered), key["eid"], key["fov"], collection)
        return data, data.sources

    @staticmethod
    def rows(key: dict, data: reading.FOVData) -> Iterator[dict]:
        """Yield the row of a FOV, as its files say."""
        yield {
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
        }

    def make_insert(self, key, data, sources):
        self.insert(self.rows(key, data))
        self.insert_sources(key, data, sources)
        if data.region_ids is not None:
            self.Region.insert({**key, **row} for row in _region_counts(data.region_ids, data.is_neuron))

    @classmethod
    def check(cls, key, data, sources, replaced=()):
        """Refuse also a FOV whose times, positions or uuids do not go together with those that have been read.

        The FOVs of a session are scanned in turn, so that they start within a frame, but not at the same time, and take
        as long. No two have their ROIs at the same positions. No two ROIs have the same uuid.
        """
        super().check(key, data, sources, replaced)
        _check_places(key, sources, replaced)
        cls.check_values(key, data, sources, replaced)
        _check_start(key, data, replaced)

    @classmethod
    def check_values(cls, key, data, sources, replaced=()):
        _check_times(key, data, replaced)
        _check_rois(key, data, replaced)

    @classmethod
    def check_together(cls, key, data, sources, other_key, other, other_sources):
        """Refuse also two FOVs of a session that do not start, and end, within a frame of each other."""
        super().check_together(key, data, sources, other_key, other, other_sources)
        if key["eid"] == other_key["eid"]:
            _check_extent(key, data, other_key["fov"], Extent.of(other.frame_times))


def _check_places(key: dict, sources: Sequence[reading.Source], replaced: Sequence[dict]) -> None:
    """Refuse positions in the image that are those of another FOV of the session, in the same bytes."""
    others = (FOV.Source & {"eid": key["eid"]} & f"fov <> {key['fov']:d}") - list(replaced)
    for source in (source for source in sources if source.dataset.endswith(POSITIONS)):
        for row in (others & {"sha256": source.sha256}).keys(order_by="KEY", limit=1):
            raise copy_error(key, source.dataset, row["eid"], row["dataset"])


def _check_start(key: dict, data: reading.FOVData, replaced: Sequence[dict]) -> None:
    """Refuse a FOV that starts at another time than the others of its session, or at the same."""
    others = (FOV & f"eid = '{key['eid']}' AND fov <> {key['fov']:d}") - list(replaced)
    at_once = others & near("imaging_start", data.frame_times[0], AT_ONCE)
    for row in at_once.keys(order_by="fov", limit=1):
        raise _copied_times(key, row)
    for row in others.proj("imaging_start", "imaging_end", "n_frames", "n_bouts").to_dicts(order_by="fov"):
        extent = Extent(row["imaging_start"], row["imaging_end"], row["n_frames"], row["n_bouts"])
        _check_extent(key, data, row["fov"], extent)


def _check_times(key: dict, data: reading.FOVData, replaced: Sequence[dict]) -> None:
    """Refuse the frame times of another session."""
    copied = near("imaging_start", data.frame_times[0]) + " AND " + near("imaging_end", data.frame_times[-1])
    elsewhere = (FOV & copied & f"eid <> '{key['eid']}'") - list(replaced)
    for row in elsewhere.keys(order_by="KEY", limit=1):
        raise _copied_times(key, row)


def _copied_times(key: dict, other: dict) -> DataError:
    return copy_error(key, f"alf/FOV_{key['fov']:02d}/{TIMES}", other["eid"], f"alf/FOV_{other['fov']:02d}/{TIMES}")


class Extent(NamedTuple):
    """Times of the first and the last frame of a FOV (s), their number, and that of stretches without a gap."""

    start: float
    end: float
    n_frames: int
    n_bouts: int

    @classmethod
    def of(cls, frame_times: np.ndarray) -> Extent:
        """Return that of frames."""
        return cls(float(frame_times[0]), float(frame_times[-1]), len(frame_times), len(clock.bouts(frame_times)))

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return self.end - self.start


def _check_extent(key: dict, data: reading.FOVData, fov: int, other: Extent) -> None:
    """Refuse a FOV that does not start within a frame of another of its session, or does not take as long."""
    own, apart = Extent.of(data.frame_times), float(data.frame_period)
    place: dict[str, Any] = {
        "eid": key["eid"], "fov": key["fov"], "dataset": f"alf/FOV_{key['fov']:02d}/{TIMES}",
        "do": f"If files were still to come: meso update {key['eid']}",
    }  # fmt: skip
    if abs(other.start - own.start) > apart:
        raise DataError(
            "the FOV starts at another time than the others of its session: its clock is another",
            expected=f"within a frame ({apart:.3f} s) of {other.start:.3f} s, as FOV_{fov:02d}",
            found=f"{own.start:.3f} s", **place,
        )  # fmt: skip
    expected, slack, is_told = other.seconds, apart, True
    if own.n_frames != other.n_frames:  # those that one of them lacks may lie beyond a pause
        expected, slack = other.seconds * (own.n_frames - 1) / (other.n_frames - 1), max(apart, clock.GAP)
        is_told = own.n_bouts == other.n_bouts == 1
    if is_told and abs(expected - own.seconds) > slack:
        raise DataError(
            "the frames of the FOV take another time than those of the others of its session: its clock is another",
            expected=f"{expected:.3f} s for {own.n_frames} frames, as FOV_{fov:02d}, within {slack:.3f} s",
            found=f"{own.seconds:.3f} s", **place,
        )  # fmt: skip


def _check_rois(key: dict, data: reading.FOVData, replaced: Sequence[dict] = ()) -> None:
    """Refuse uuids and positions that the ROIs of another FOV have."""
    _check_uuids(key, data, replaced)
    _check_positions(key, data, replaced)


def _check_positions(key: dict, data: reading.FOVData, replaced: Sequence[dict]) -> None:
    """Refuse positions in the image that ROIs of another FOV of the session have on the same lines, in other bytes."""
    some = compared(range(data.n_rois))
    at = [{"roi": i, "stack_y": int(data.stack_pos[i, 0]), "stack_x": int(data.stack_pos[i, 1])} for i in some]
    fovs = ((FOV & f"eid = '{key['eid']}' AND fov <> {key['fov']:d}") - list(replaced)).keys()
    counts = Counter((ROI & fovs & at).to_arrays("fov").tolist()) if fovs else Counter()
    for fov, n_same in counts.most_common(1):
        if n_same >= max(MIN_SAME, len(some) / 2):
            raise copy_error(key, f"alf/FOV_{key['fov']:02d}/{POSITIONS}", key["eid"], f"alf/FOV_{fov:02d}/{POSITIONS}")


def _check_uuids(key: dict, data: reading.FOVData, replaced: Sequence[dict] = ()) -> None:
    """Refuse uuids that ROIs of another FOV have: of the same session, or with as many ROIs, which a copy has."""
    own = f"eid = '{key['eid']}' AND fov = {key['fov']:d}"
    fovs = ((FOV & [{"n_rois": data.n_rois}, {"eid": key["eid"]}]) - own) - list(replaced)
    some = compared(data.roi_uuids or [])
    others = ROI & fovs.keys() & [{"roi_uuid": one} for one in some]
    for row in others.keys(order_by="KEY", limit=1):
        raise copy_error(key, f"alf/FOV_{key['fov']:02d}/{UUIDS}", row["eid"], f"alf/FOV_{row['fov']:02d}/{UUIDS}")


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
    bad_frames=null : <blob>            # (n_frames,) bool, left out by Suite2p; NULL: no file, or read before version 9
    frame_qc=null : <blob>              # (n_frames,) uint32, class by the experimenter; NULL: as above
    frame_qc_names=null : json          # name of each class by its number
    """

    @staticmethod
    def rows(key: dict, data: reading.FOVData) -> Iterator[dict]:
        """Yield the row of a FOV, as its files say."""
        names = ("frame_times", "timeshift", "bad_frames", "frame_qc", "frame_qc_names")
        yield {**key, **{name: getattr(data, name) for name in names}}

    def make_insert(self, key, data):
        bulk.insert_plain(self, self.rows(key, data), "frame_times")


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

    @staticmethod
    def rows(key: dict, data: reading.FOVData) -> Iterator[dict]:
        """Yield the rows of a FOV's ROIs, as its files say."""
        offsets = clock.roi_offsets(data.timeshift, data.stack_pos)
        return (_roi_row(key, data, offsets, i) for i in range(data.n_rois))

    def make_insert(self, key, data):
        _check_rois(key, data)  # FOVs may be checked before the ROIs of any are there
        self.insert(self.rows(key, data))


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

    def make_compute(self, key, registered, collection, recorded):
        files = [reading.Source(**row) for row in recorded]
        reader = reading.SessionReader(one_for(key["eid"], registered), key["eid"], files)
        name = next(name for name in SIGNALS.values() if reader.has(name, collection))
        reader.path(name, collection)  # compares the hash of the whole file
        traces = reader.array(name, collection, mmap=True)
        # here, not in make_insert: packing takes long, and no transaction is open yet
        packed = pack_traces(key, traces.T, settings.store())
        return (packed._replace(rows=_checked_at_the_end(packed.rows, reader)),)

    def make_insert(self, key, packed):
        self.insert_packed(key, packed)

    @classmethod
    def insert_packed(cls, key: dict, packed: PackedTraces) -> None:
        """Insert the row of a FOV and the rows of its packed traces."""
        row = {**key, "trace_dtype": packed.dtype, "trace_store": packed.store, "trace_object": packed.path}
        cls.insert1(row, allow_direct_insert=True)
        insert_trace_rows(key, packed.rows)


def _checked_at_the_end(
    rows: Iterable[tuple[int, bytes]], reader: reading.SessionReader
) -> Iterator[tuple[int, bytes]]:
    """Yield the rows, which are packed from the file meanwhile; then raise a DataError if it was changed."""
    yield from rows
    reader.check_not_touched()


def insert_traces(key: dict, traces: np.ndarray, store: str | None = None) -> None:
    """Insert the activity of all ROIs of a FOV; parameters and errors as for ``pack_traces``."""
    Activity.insert_packed(key, pack_traces(key, traces, store))


def insert_trace_rows(key: dict, rows: Iterable[tuple[int, bytes]]) -> None:
    """Insert rows of ``Activity.Trace``: numbers of ROIs of a FOV with their packed traces, or the places of these."""
    bulk.insert(Activity.Trace(), ({**key, "roi": roi, "trace": Packed(data)} for roi, data in rows))


def imaged_sessions() -> dj.QueryExpression:
    """Return the sessions with all their FOVs in the database, except those that failed.

    Tables that combine the FOVs of a session are populated only then, so that no FOV is left out merely because no
    worker has populated it yet. A FOV that failed stays an error in the job tables until it is retried.
    """
    # a FOV with activity has ROIs. With `& ROI.proj()` MySQL compares every FOV with every ROI, for minutes, while its
    # statistics say that ROI is empty, as they do after the server was restarted during a fill.
    done = FOV.proj() & Recording.proj() & Activity.proj()
    waiting = FOVFolder.proj() - done
    return (Session.proj() & done) - without_failed(waiting, FOV, Recording, ROI, Activity)
