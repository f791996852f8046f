"""Verifying stored arrays: each is read again and compared with its checksums, its row and the file it came from.

A packed trace contains checksums of itself, which detect changed, missing and additional bytes. It does not contain its
key: two exchanged traces are both intact, and only a comparison with the files (``source=True``) detects that. The
small arrays in ``<blob>`` columns have no checksums: they must decode, and have the shape that their row says.

Nothing is written. The right SELECT is enough on MySQL; PostgreSQL shows the keys of tables only to accounts that also
have REFERENCES.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import reading
from pipeline.errors import DataError, MesoError
from pipeline.reading.fov import SIGNALS
from pipeline.storage.arrays import Bytes, unpack
from schemas.days.tables import SharedEmbedding
from schemas.decoding.tables import NDCParams, NDCResult, TrialFeatures
from schemas.embedding import Embedding, RasterTiles
from schemas.imaging.packing import ROIBlocks
from schemas.imaging.reading import stream_traces
from schemas.imaging.signals import Signal, SignalParams
from schemas.imaging.tables import FOV, ROI, Activity, Recording
from schemas.rows import jobs_of
from schemas.session import Behavior, FOVFolder, Wheel, copy_error, files_of
from schemas.storage import bulk
from schemas.tracking import SessionSet, TrackingFile
from schemas.upkeep import compare
from schemas.upkeep.mixtures import KINDS, notes_of

#: Kinds of findings about activity that is not stored yet, and about files that may not be right: they are no faults of
#: what is stored.
NOTES = ("pending", "failed", *KINDS)
#: Columns of small arrays and their shapes, by table. A size is a number, the name of a column of this row or of the
#: row of a second table, or None for any number; a shape of None allows any.
BLOB_SHAPES: tuple[tuple[type[dj.Table], type[dj.Table] | None, dict[str, tuple | None]], ...] = (
    (Recording, FOV, dict.fromkeys(("frame_times", "bad_frames", "frame_qc"), ("n_frames",)) | {"timeshift": None}),
    (RasterTiles, Embedding, {"tile_clock": ("n_clock_frames",)}),
    (Wheel, None, {"wheel_timestamps": (None,), "wheel_position": (None,), "wheel_velocity": (None,)}),
    (TrackingFile, None, {"uid_text": None, "cluster_silhouette": (None,)}),
    (TrialFeatures, None, {"trial_features": ("n_usable", None), "feature_cells": (None, 2)}),
    (NDCResult.Curve, NDCParams, {"scores": ("r",), "null_scores": (None,), "trial_means": ("n_bootstrap",)}),
    (NDCResult.Curve, NDCResult, {"influences": ("n_decoded",)}),
    (SharedEmbedding.Day, SharedEmbedding, dict.fromkeys(("day_even", "day_odd"), (None, "n_shared_embedded"))),
)


@dataclass(frozen=True)
class Finding:
    """A row or file that is not as it should be.

    Attributes
    ----------
    kind : str
        'damaged' (does not decode), 'missing', 'wrong' (not what its row says), 'differs' (from the file), 'changed'
        (the file was changed since it was read), 'no file', 'copy' (another row was read from it, too); 'pending' or
        'failed' for activity that is not stored yet; 'mixed' for files that are written together, of which some are
        older than others; 'exchanged' for files that another FOV had before; 'folder' for files of another folder than
        the session is registered with; 'labels' for labels that were given when other files had been read; 'doubt' for
        what was odd when it was read.
    table : str
    error : DataError
        With session and FOV, and what was expected and found.
    roi : int, optional
    """

    kind: str
    table: str
    error: DataError
    roi: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.table}, {self.error}"

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        names = ("eid", "fov", "problem", "expected", "found", "do")
        row = {name: getattr(self.error, name) for name in names}
        return {"kind": self.kind, "table": self.table, **row, "roi": self.roi, "message": str(self)}


@dataclass
class Verified:
    """What was verified, and the findings.

    Attributes
    ----------
    sessions, fovs : int
    traces, arrays : int
        Traces, and small arrays, that are intact.
    compared : int
        Traces that are equal to their file.
    files : int
        Recorded files that are unchanged.
    size : int
        Bytes of the intact arrays, decoded.
    seconds : float
    findings : list of Finding
    """

    sessions: int = 0
    fovs: int = 0
    traces: int = 0
    arrays: int = 0
    compared: int = 0
    files: int = 0
    size: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no findings, except for activity that is not stored yet and doubts about files."""
        return all(finding.kind in NOTES for finding in self.findings)

    def __iadd__(self, other: Verified) -> Verified:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        counts = ("sessions", "fovs", "traces", "arrays", "compared", "files")
        return {
            **{f"n_{name}": getattr(self, name) for name in counts}, "size": self.size, "seconds": self.seconds,
            "ok": self.ok, "findings": [finding.as_row() for finding in self.findings],
        }  # fmt: skip

    def summary(self) -> str:
        """Return counts and speed as a line."""
        speed = self.size / 1e6 / max(self.seconds, 1e-9)
        n_bad = sum(finding.kind not in NOTES for finding in self.findings)
        return (
            f"{self.sessions} sessions, {self.fovs} FOVs: {self.traces} traces and {self.arrays} other arrays are "
            f"intact, {self.files} files unchanged, {self.compared} traces compared with files, {n_bad} findings; "
            f"{self.size / 1e6:.1f} MB in {self.seconds:.1f} s, {speed:.0f} MB/s"
        )


def verify_session(eid: str, *, source: bool = False) -> Verified:
    """Verify every array of a session; memory does not grow with the number of arrays.

    Parameters
    ----------
    eid : str
    source : bool
        Also compare every recorded file with its hash, and the rows with the files that they were read from: traces
        bit for bit (not dF/F, which is computed), and times, positions, types, regions, trials, wheel and UIDs.
    """
    begin, done = time.perf_counter(), Verified(sessions=1)
    for fov in (FOV & {"eid": eid}).to_dicts(order_by="fov"):
        done += _verify_fov(fov, source)
    for table in (Behavior, Wheel) if source else ():
        if table & {"eid": eid}:
            _verify_files(table, {"eid": eid}, done)
    for found in compare.changed_uids(eid) if source else ():
        done.findings.append(Finding(*found))
    done.findings += [*_copies(eid), *notes([eid])]
    for table, other, shapes in BLOB_SHAPES:
        done += _verify_blobs(eid, table, other, shapes)
    for raster in (RasterTiles & {"eid": eid}).to_dicts():
        done += _verify_tiles(raster)
    for shared in (SharedEmbedding & (SessionSet.Member & {"eid": eid}).proj()).to_dicts():
        done.findings += _missing_ranks(eid, shared)
    done.seconds = time.perf_counter() - begin
    return done


def _copies(eid: str) -> list[Finding]:
    """Return the files of a session that another row was read from, too; one or two statements for each table.

    They are refused when they are read, unless two workers do so in the same moment, and neither sees the other's row.
    """
    found = []
    for table, key, files in files_of(eid):
        hashes = [{"sha256": file.sha256} for file in files if reading.is_measured(file.dataset)]
        same = f"eid = '{eid}'" + (f" AND fov = {key['fov']:d}" if "fov" in key else "")
        for other in ((table.Source & hashes) - same).to_dicts(order_by="KEY"):
            mine = next(file.dataset for file in files if file.sha256 == other["sha256"])
            error = copy_error(key, mine, other["eid"], other["dataset"])
            found.append(Finding("copy", table.__name__, error))
    return found


def notes(eids: Sequence[str] | None = None) -> list[Finding]:
    """Return what may be wrong with the files that sessions were read from, and could not be told for certain.

    Parameters
    ----------
    eids : sequence of str, optional
        All sessions by default. No array is read: ten statements, however many sessions.
    """
    tables = {"doubt": "Wheel", "labels": "LabelSet"}
    return [Finding(one.kind, tables.get(one.kind, "Session"), DataError(one.text, eid=one.eid))
            for one in notes_of(eids)]  # fmt: skip


def _verify_fov(fov: dict, source: bool) -> Verified:
    key, done = {"eid": fov["eid"], "fov": fov["fov"]}, Verified(fovs=1)
    bad = _verify_files(FOV, key, done) if source else set()
    stored = (Activity & key).to_dicts()
    if not stored:
        done.findings.append(_unfilled(key))
        return done
    own = (Signal & key).to_dicts(order_by="signal_params")
    file = _file(fov, np.dtype(stored[0]["trace_dtype"]), bad, done) if source else None
    _verify_traces(_Traces("Activity.Trace", key, Activity.Trace & key, stored[0]), fov, file, done)
    for signal in own:
        _verify_signal(signal, fov, source, done)
    # deleted or moved meanwhile: the findings are of no use, start again
    if [(Activity & key).to_dicts(), (Signal & key).to_dicts(order_by="signal_params")] != [stored, own]:
        return _verify_fov(fov, source) if Activity & key else Verified()
    done.findings.sort(key=lambda finding: -1 if finding.roi is None else finding.roi)
    return done


def _unfilled(key: dict) -> Finding:
    """Return the finding for a FOV without activity: its job failed, or is pending."""
    failed = [row for table in (ROI, Activity) for row in (jobs_of(table).errors & key).to_dicts()]
    if failed:
        return _finding(
            "failed", "Activity", key, "was not populated", found=failed[0]["error_message"], do="meso errors"
        )
    return _finding("pending", "Activity", key, "is not populated yet", do="meso populate")


@dataclass(frozen=True)
class _Traces:
    """Traces of a FOV.

    Attributes
    ----------
    table : str
    key : dict
        Of their master.
    rows : dj.QueryExpression
        With the column ``trace``.
    activity : dict
        Row of Activity, or what stands for it: ``trace_dtype``, ``trace_store``, ``trace_object``.
    """

    table: str
    key: dict[str, Any]
    rows: dj.QueryExpression
    activity: dict[str, Any]


def _verify_signal(signal: dict, fov: dict, source: bool, done: Verified) -> None:
    """Verify the traces of a FOV in a requested signal, which are in rows and never in objects."""
    key = {name: signal[name] for name in Signal.primary_key}
    rows, place = Signal.Trace.proj(trace="signal_trace") & key, {"trace_store": None, "trace_object": None}
    bad = compare.changed_files(Signal, key) if source else []
    done.findings += [Finding(*found) for found in bad]
    done.files += len(Signal.Source & key) - len(bad) if source else 0
    file = None
    if source and not bad and (SignalParams & key).fetch1("signal_kind") == "fluorescence":
        file = _file({**fov, "signal": "fluorescence"}, np.dtype(signal["signal_dtype"]), set(), done, (Signal, key))
    place |= {"trace_dtype": signal["signal_dtype"]}
    _verify_traces(_Traces("Signal.Trace", key, rows, place), fov, file, done)


def _verify_traces(of: _Traces, fov: dict, file: np.ndarray | None, done: Verified) -> None:
    """Verify the traces of a FOV.

    Parameters
    ----------
    of : _Traces
    fov : dict
        Row of FOV.
    file : (n_frames, n_rois) array, optional
        The file to compare with.
    done : Verified
        Gets counts and findings.
    """
    key, dtype, n_frames = of.key, np.dtype(of.activity["trace_dtype"]), fov["n_frames"]
    seen: set[int] = set()
    blocks = None if file is None else ROIBlocks(file.T)

    def take(_: int, roi: int, data: Bytes) -> None:
        seen.add(roi)
        trace = unpack(data)
        in_file = blocks[roi] if blocks is not None and roi < len(blocks) else None
        finding = _trace_finding(of.table, {**key, "roi": roi}, trace, dtype, n_frames, in_file)
        if finding:
            done.findings.append(finding)
            return
        done.traces, done.size = done.traces + 1, done.size + trace.nbytes
        done.compared += in_file is not None

    def failed(_: int, roi: int, error: DataError) -> None:
        seen.add(roi)
        done.findings.append(Finding("damaged", of.table, error, roi))

    stream_traces(key["eid"], of.rows, take, failed, of.activity)
    numbers = set(range(fov["n_rois"]))
    for kind, rois, text in (("missing", numbers - seen, "no trace"), ("wrong", seen - numbers, "trace of no ROI")):
        for roi in sorted(rois):
            expected = f"traces of ROIs 0 to {fov['n_rois'] - 1}"
            done.findings.append(_finding(kind, of.table, {**key, "roi": roi}, text, expected))


def _trace_finding(
    table: str, key: dict, trace: np.ndarray, dtype: np.dtype, n_frames: int, in_file: np.ndarray | None
) -> Finding | None:
    """Return what is wrong with a trace that decodes, or None."""
    if (trace.dtype, trace.shape) != (dtype, (n_frames,)):
        expected, found = f"{n_frames} frames of {dtype.str}", f"shape {trace.shape} of {trace.dtype.str}"
        return _finding("wrong", table, key, "is not what the row of its FOV says", expected, found)
    return None if in_file is None else _difference(table, key, trace, in_file)


def _difference(table: str, key: dict, trace: np.ndarray, column: np.ndarray) -> Finding | None:
    """Return the finding if a trace (n_frames,) differs from the file; NaN and -0.0 are compared as bits."""
    frames = np.flatnonzero((_bits(trace) != _bits(column)).any(axis=1))
    if not len(frames):
        return None
    first = frames[0]
    return _finding(
        "differs", table, key, f"differs from the file in {len(frames)} of {len(trace)} frames",
        f"{column[first]} at frame {first}", f"{trace[first]}", "Delete the FOV and populate it again",
    )  # fmt: skip


def _bits(array: np.ndarray) -> np.ndarray:
    """Return the bytes of each element of an array (n,), as uint8 (n, itemsize)."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)


def _verify_files(table: type[dj.Table], key: dict, done: Verified) -> set[str]:
    """Compare the recorded files of a row with their hashes, and the rows with their values; return those that differ.

    Rows are compared if all their files are the recorded ones.
    """
    changed = compare.changed_files(table, key)
    for found in changed or compare.differing_rows(table, key):
        done.findings.append(Finding(*found))
    done.files += len(table.Source & key) - len(changed)
    return {found.error.dataset or "" for found in changed}


def _is_activity(dataset: str | None) -> bool:
    return (dataset or "").endswith(tuple(SIGNALS.values()))


def _file(
    fov: dict, dtype: np.dtype, bad: set[str], done: Verified, read: tuple[type[dj.Table], dict] | None = None
) -> np.ndarray | None:
    """Return the traces (n_frames, n_rois) on disk; None if the file is among the ``bad``, or does not fit.

    ``read`` is the row that the file was read for: table and key, by default of FOV.
    """
    key, name = {"eid": fov["eid"], "fov": fov["fov"]}, SIGNALS[fov["signal"]]
    table, row_key = read or (FOV, key)
    if "" in bad or any(map(_is_activity, bad)):
        return None
    try:
        reader = compare.reader_of(fov["eid"], table.Source.recorded(row_key))
        traces = reader.array(name, (FOVFolder & key).fetch1("collection"), mmap=True)
    except MesoError as error:  # removed meanwhile
        done.findings.append(_finding("no file", f"{table.__name__}.Source", row_key, f"cannot be compared: {error}"))
        return None
    file, row = (traces.shape, traces.dtype), ((fov["n_frames"], fov["n_rois"]), dtype)
    if file != row:
        texts = [f"(frames, ROIs) {shape} of {kind.str}" for shape, kind in (file, row)]
        done.findings.append(_finding("differs", table.__name__, row_key, "differs from the file", *texts))
        return None
    return traces


def _verify_blobs(
    eid: str, table: type[dj.Table], other: type[dj.Table] | None, shapes: dict[str, tuple | None]
) -> Verified:
    """Verify the small arrays of a table for a session, one at a time; parameters as in ``BLOB_SHAPES``."""
    sizes = {size for shape in shapes.values() for size in shape or () if isinstance(size, str)}
    rows = table.proj(*sizes & set(table.heading.names)) & {"eid": eid}
    if other:
        rows = rows * other.proj(*sizes & set(other.heading.names))
    done = Verified()
    for row in rows.to_dicts():
        key = {name: row[name] for name in table.primary_key}
        for column, shape in shapes.items():
            if (stored := _stored(table & key, column)) is None:
                continue  # NULL, or deleted meanwhile
            wanted = None if shape is None else tuple(row.get(size, size) for size in shape)
            if problem := _blob_problem(stored, wanted):
                done.findings.append(_finding(problem[0], f"{table.__name__}.{column}", key, *problem[1:]))
            else:
                done.arrays, done.size = done.arrays + 1, done.size + len(stored)
    return done


def _missing_ranks(eid: str, shared: dict) -> list[Finding]:
    """Return a finding if the cells of an embedding of several days do not have each rank once."""
    key = {name: shared[name] for name in SharedEmbedding.primary_key}
    ranks = sorted((SharedEmbedding.Rank & key).to_arrays("shared_rank").tolist())
    if ranks == list(range(shared["n_shared_embedded"])):
        return []
    found = f"{len(ranks)} ranks, {len(set(ranks))} different"
    return [_finding("wrong", "SharedEmbedding.Rank", {"eid": eid, **key}, "does not have each rank once",
                     shared["n_shared_embedded"], found)]  # fmt: skip


def _verify_tiles(raster: dict) -> Verified:
    """Verify the tiles of a raster, one at a time."""
    key, done, seen = {name: raster[name] for name in RasterTiles.primary_key}, Verified(), Counter[str]()

    def take(row_level: int, time_level: int, row: int, column: int, data: Bytes) -> None:
        seen["tiles"] += 1
        try:
            done.size += unpack(data).nbytes
            done.arrays += 1
        except DataError as error:
            place = {"row_level": row_level, "time_level": time_level, "tile_row": row, "tile_column": column}
            done.findings.append(
                Finding("damaged", "RasterTiles.Tile", error.located(eid=key["eid"], dataset=f"{place}"))
            )

    bulk.stream(RasterTiles.Tile & key, "row_level", "time_level", "tile_row", "tile_column", "tile", take=take)
    if seen["tiles"] != raster["n_tiles"]:
        done.findings.append(
            _finding("missing", "RasterTiles.Tile", key, "tiles are missing", raster["n_tiles"], seen["tiles"])
        )
    return done


def _stored(row: dj.QueryExpression, column: str) -> bytes | None:
    """Return the bytes of a column undecoded: errors here are of the connection, not of the array."""
    found = row.connection.query(row.proj(column).make_sql([column])).fetchone()
    return None if found is None or found[0] is None else bytes(found[0])


def _blob_problem(stored: bytes, shape: tuple | None) -> tuple[str, ...] | None:
    """Return kind, problem, expected and found if the bytes are not an array of this shape, or None."""
    try:
        value = dj.blob.unpack(stored)
    except Exception as error:  # damaged bytes can raise any error in DataJoint's decoder
        reason = f"{type(error).__name__}: {error}"
        return "damaged", "does not decode", "an array of DataJoint", reason
    if shape is None:
        return None
    found = np.shape(value)
    if len(found) == len(shape) and all(size in (None, n) for size, n in zip(shape, found, strict=True)):
        return None
    return "wrong", "has another shape than its row says", _shape_text(shape), _shape_text(found)


def _shape_text(shape: tuple) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _finding(kind: str, table: str, key: dict, problem: str, expected=None, found=None, do=None) -> Finding:
    rest = [f"{'ROI' if name == 'roi' else name} {value}" for name, value in key.items() if name not in ("eid", "fov")]
    place: dict[str, Any] = {"eid": key.get("eid"), "fov": key.get("fov"), "dataset": ", ".join(rest) or None}
    error = DataError(problem, expected=expected, found=found, do=do, **place)
    return Finding(kind, table, error, key.get("roi"))
