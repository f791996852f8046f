"""Export of sessions to files that need neither a database nor this project: NWB, or Parquet tables.

Traces are read and written in blocks of ROIs, so that memory does not grow with the session. A file or folder gets its
final name only when it is complete.
"""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from pipeline.errors import ConfigError, DataError
from pipeline.signals.resampling import Rows

#: ROIs read and written at a time (10 MB with 20,000 frames); also a row group of the Parquet files.
BLOCK = 128
#: Frames and ROIs of an NWB chunk, 256 kB: a few ROIs, or a few frames, can be read without the rest.
CHUNK = (2048, 32)


@dataclass(frozen=True)
class FOV:
    """A FOV to export.

    Attributes
    ----------
    fov : int
    info : dict
        Row of ``fovs.parquet``, columns ``FOV_COLUMNS``. NWB uses ``collection``, ``frame_period`` (s), ``signal`` with
        the settings of dF/F, ``region_source`` and ``mlapdv_source``.
    rois : pa.Table
        One row per exported ROI, columns ``ROI_COLUMNS``.
    frame_times : (T,) float64, s
    traces : Rows, (N, T)
        Rows in the order of ``rois``.
    flagged : (T,) bool, optional
        Frames that are flagged as bad.
    """

    fov: int
    info: dict[str, Any]
    rois: pa.Table
    frame_times: np.ndarray
    traces: Rows
    flagged: np.ndarray | None = None


@dataclass(frozen=True)
class Wheel:
    """The wheel.

    Attributes
    ----------
    timestamps, position : (M,) float64
        As recorded, s and rad.
    start, rate : float
        First time (s) and sampling rate (Hz) of the velocity.
    velocity : (L,) float32
        rad/s.
    """

    timestamps: np.ndarray
    position: np.ndarray
    start: float
    rate: float
    velocity: np.ndarray


@dataclass(frozen=True)
class Session:
    """A session to export.

    Attributes
    ----------
    info : dict
        Row of ``sessions.parquet``, columns ``SESSION_COLUMNS``.
    fovs : sequence of FOV
    trials : pa.Table or None
        Columns ``TRIAL_COLUMNS``.
    wheel : Wheel or None
    sources : pa.Table
        Files that the session was read from, columns ``SOURCE_COLUMNS``.
    check : callable
        Called when all is written, before it is moved to its place; raises an error if it must not be.
    """

    info: dict[str, Any]
    fovs: Sequence[FOV]
    trials: pa.Table | None
    wheel: Wheel | None
    sources: pa.Table
    check: Callable[[], None]

    @property
    def stem(self) -> str:
        """Name of the session's file or folder, without its ending."""
        return f"sub-{self.info['subject']}_ses-{self.info['eid']}"


# Columns of each table: type and meaning. A ``?`` marks columns that may be null.
SESSION_COLUMNS = {
    "eid": ("string", "experiment id of ONE"),
    "subject": ("string", "the mouse"),
    "lab": ("string", "laboratory"),
    "session_date": ("date32", "day of the session"),
    "session_number": ("int16", "number of the session on that day"),
    "task_protocol": ("string", "protocol of the task"),
    "projects": ("string", "projects in ONE"),
    "exported_rois": ("string", "all, or neurons"),
    "tracking_run": ("string", "hash of the tracking run that cell_uid is of; empty for none"),
    "fovs_left_out": ("string", "FOVs of the session that are not in the database, with commas; empty for none"),
    "meso_version": ("string", "version of the software that exported"),
    "git_commit": ("string", "its commit, + where files differ; empty where it is not a checkout"),
    "python_version": ("string", "version of Python"),
    "packages": ("string", "versions of packages, JSON"),
}
FOV_COLUMNS = {
    "eid": ("string", "session"),
    "fov": ("int16", "number of the FOV"),
    "collection": ("string", "folder of the FOV in ONE"),
    "n_rois": ("int32", "ROIs of the FOV, exported or not"),
    "n_neurons": ("int32", "of those, neurons"),
    "n_frames": ("int32", "frames"),
    "frame_period": ("float64", "median time between frames, s"),
    "imaging_start": ("float64", "first frame, s on the session clock"),
    "imaging_end": ("float64", "last frame, s on the session clock"),
    "n_bouts": ("int32", "stretches without a gap of more than 1 s"),
    "signal": ("string", "what the traces are: deconvolved, fluorescence or dff"),
    "dff_neuropil": ("float64?", "of dff: part of the neuropil that was subtracted"),
    "dff_window": ("float64?", "of dff: length of the running baseline's window, s"),
    "dff_percentile": ("float64?", "of dff: percentile that is the baseline"),
    "region_source": ("string", "where regions come from: final (histology), estimate or none"),
    "mlapdv_source": ("string", "where positions come from: final (histology), estimate or none"),
}
ROI_COLUMNS = {
    "eid": ("string", "session"),
    "fov": ("int16", "number of the FOV"),
    "roi": ("int32", "row in the ALF arrays of the FOV, before any filter"),
    "is_neuron": ("bool", "classified as a cell (mpciROITypes is 1)"),
    "roi_type": ("int16", "mpciROITypes"),
    "cell_probability": ("float64?", "probability to be a cell, by the classifier"),
    "region_id": ("int32?", "structure of the Allen CCF 2017"),
    "region": ("string?", "its acronym"),
    "ml": ("float64?", "mediolateral position from bregma, micrometres, right positive"),
    "ap": ("float64?", "anteroposterior position from bregma, micrometres, anterior positive"),
    "dv": ("float64?", "dorsoventral position from bregma, micrometres, dorsal positive"),
    "stack_y": ("int32", "row in the image of the FOV, the scan line"),
    "stack_x": ("int32", "column in the image of the FOV"),
    "stack_z": ("int32", "plane"),
    "time_offset": ("float64", "s from the start of a frame to the scan of this ROI: add it to the frame times"),
    "roi_uuid": ("string?", "unique id, new with every extraction"),
    "cell_uid": ("string?", "tracked cell: the same in every session of the tracking run; none if it is not tracked"),
}
TRIAL_COLUMNS = {
    "eid": ("string", "session"),
    "trial": ("int32", "number of the trial, from 0"),
    "intervals_0": ("float64?", "start of the trial, s"),
    "intervals_1": ("float64?", "end of the trial, s"),
    "goCue_times": ("float64?", "go cue tone, s"),
    "stimOn_times": ("float64?", "stimulus on, s"),
    "stimOff_times": ("float64?", "stimulus off, s"),
    "firstMovement_times": ("float64?", "first movement of the wheel, s"),
    "response_times": ("float64?", "response, s"),
    "feedback_times": ("float64?", "reward or noise burst, s"),
    "choice": ("int8?", "1 left, -1 right, 0 no-go"),
    "feedbackType": ("int8?", "1 reward, -1 error or no-go"),
    "contrastLeft": ("float64?", "contrast of the stimulus on the left, 0 to 1; none if it is on the right"),
    "contrastRight": ("float64?", "contrast of the stimulus on the right, 0 to 1; none if it is on the left"),
    "probabilityLeft": ("float64?", "probability in this block that the stimulus is on the left"),
    "rewardVolume": ("float64?", "microlitres"),
    "quiescencePeriod": ("float64?", "required stillness before the stimulus, s"),
    "collection": ("string", "folder of the trial in ONE"),
}
SOURCE_COLUMNS = {
    "eid": ("string", "session"),
    "read_by": ("string", "table that was read from it: FOV, Behavior, Wheel or Signal"),
    "fov": ("int16?", "number of the FOV"),
    "dataset": ("string", "path within the session"),
    "dataset_id": ("string", "id in ONE"),
    "revision": ("string", "revision in ONE, empty for the original"),
    "file_size": ("int64", "bytes"),
    "sha256": ("string", "of the whole file"),
}
#: Marks of the frames in NWB files, 0 and 1.
MARKS = ["not flagged", "flagged as bad by Suite2p or the experimenter"]
FRAME_COLUMNS = {
    "eid": ("string", "session"),
    "fov": ("int16", "number of the FOV"),
    "frame": ("int32", "number of the frame, from 0"),
    "time": ("float64", "start of the frame, s on the session clock; a ROI is scanned time_offset later"),
    "is_flagged": ("bool", "flagged as bad by Suite2p or the experimenter; the traces have its values all the same"),
}
WHEEL_COLUMNS = {
    "eid": ("string", "session"),
    "time": ("float64", "s on the session clock"),
    "position": ("float64", "rad, counter-clockwise positive; no sample while still"),
}
VELOCITY_COLUMNS = {
    "eid": ("string", "session"),
    "time": ("float64", "s on the session clock"),
    "velocity": ("float32", "rad/s, counter-clockwise positive"),
}
Columns = Mapping[str, tuple[str, str]]


def table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], columns: Columns) -> pa.Table:
    """Return a table whose columns carry their descriptions, from one dict per row or one array per column."""
    fields = [
        pa.field(name, pa.type_for_alias(kind.rstrip("?")), kind.endswith("?"), {"description": meaning})
        for name, (kind, meaning) in columns.items()
    ]
    make = pa.Table.from_pydict if isinstance(rows, Mapping) else pa.Table.from_pylist
    return make(rows, schema=pa.schema(fields))


def write_parquet(session: Session, folder: Path, *, overwrite: bool = False) -> Path:
    """Write a session as a folder of Parquet files.

    Returns
    -------
    Path
        ``folder/sub-<subject>_ses-<eid>`` with ``sessions``, ``fovs``, ``rois``, ``frames`` and ``sources.parquet``,
        ``activity_fovXX.parquet`` for each FOV (one row per ROI, whose ``trace`` is a list), and ``trials``, ``wheel``
        and ``wheel_velocity.parquet`` if the session has them.

    Raises
    ------
    DataError
        The folder exists, and ``overwrite`` is False.
    """
    eid = session.info["eid"]
    with _complete(session, Path(folder) / session.stem, overwrite) as path:
        path.mkdir()
        _write_table(path, "sessions", table([session.info], SESSION_COLUMNS))
        _write_table(path, "fovs", table([fov.info for fov in session.fovs], FOV_COLUMNS))
        # tables carry their schema, so that FOVs without ROIs or nulls only have the same columns
        _write_table(path, "rois", pa.concat_tables(fov.rois for fov in session.fovs))
        _write_table(path, "frames", pa.concat_tables(_frames(eid, fov) for fov in session.fovs))
        _write_table(path, "sources", session.sources)
        if session.trials is not None:
            _write_table(path, "trials", session.trials)
        if (wheel := session.wheel) is not None:
            recorded = {"time": wheel.timestamps, "position": wheel.position}
            _write_table(path, "wheel", _of_session(eid, recorded, WHEEL_COLUMNS))
            times = wheel.start + np.arange(len(wheel.velocity)) / wheel.rate
            _write_table(
                path, "wheel_velocity", _of_session(eid, {"time": times, "velocity": wheel.velocity}, VELOCITY_COLUMNS)
            )
        for fov in session.fovs:
            _write_activity(path / f"activity_fov{fov.fov:02d}.parquet", eid, fov)
    return Path(folder) / session.stem


def _frames(eid: str, fov: FOV) -> pa.Table:
    """Return the table of the frames of a FOV."""
    n = len(fov.frame_times)
    flagged = np.zeros(n, dtype=bool) if fov.flagged is None else fov.flagged
    columns = {"fov": np.full(n, fov.fov), "frame": np.arange(n), "time": fov.frame_times, "is_flagged": flagged}
    return _of_session(eid, columns, FRAME_COLUMNS)


def _of_session(eid: str, arrays: dict[str, np.ndarray], columns: Columns) -> pa.Table:
    """Return a table of arrays with the session id as its first column."""
    n = len(next(iter(arrays.values())))
    return table({"eid": [eid] * n, **arrays}, columns)


def _write_table(folder: Path, name: str, content: pa.Table) -> None:
    parquet.write_table(content, folder / f"{name}.parquet", compression="zstd")


def _write_activity(path: Path, eid: str, fov: FOV) -> None:
    """Write the traces of a FOV, one row group for each block of ROIs."""
    keys = fov.rois.select(["eid", "fov", "roi"])
    values = pa.field("element", pa.from_numpy_dtype(fov.traces.dtype))
    about = {"description": f"{fov.info['signal']}, one value per frame of the FOV in frames.parquet"}
    schema = keys.schema.append(pa.field("trace", pa.list_(values), False, about))
    # no dictionary encoding for traces: their values hardly repeat
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=["eid"]) as writer:
        for rows in _blocks(len(keys)):
            traces = _read(fov, rows, eid)
            # a list array is its values in one run, and where each list ends: no Python object for each trace
            ends = pa.array(np.arange(len(traces) + 1) * traces.shape[1], pa.int32())
            lists = pa.ListArray.from_arrays(ends, pa.array(traces.reshape(-1)), type=schema.field("trace").type)
            part = keys.slice(rows.start, len(traces))
            writer.write_table(pa.Table.from_arrays([*part.itercolumns(), lists], schema=schema), BLOCK)


def _blocks(n: int) -> Iterator[slice]:
    """Return slices of ``BLOCK`` rows that cover n rows."""
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def _read(fov: FOV, rows: slice, eid: str) -> np.ndarray:
    """Return the traces of some ROIs, C-ordered; raise DataError unless their shape is as expected."""
    traces = np.ascontiguousarray(fov.traces[rows])
    shape = (rows.stop - rows.start, len(fov.frame_times))
    if traces.shape != shape:
        raise DataError("the traces do not fit the ROIs and frames", eid=eid, fov=fov.fov, expected=f"{shape}",
                        found=f"{traces.shape}")  # fmt: skip
    return traces


@contextmanager
def _complete(session: Session, target: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path to write to, and move it to ``target`` at the end; on an error nothing is left.

    Only a process that is killed leaves a folder ``*.partial``.
    """
    if target.exists() and not overwrite:
        raise DataError(
            "it was exported before", eid=session.info["eid"], found=str(target),
            do="--overwrite (overwrite=True) replaces it",
        )  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    # beside the target: moving to another file system would be a copy, which can be cut
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", suffix=".partial", dir=target.parent) as folder:
        path = Path(folder) / target.name
        yield path
        session.check()
        if target.is_dir():
            target.rename(Path(folder) / "before")  # a folder cannot replace one that is not empty
        path.replace(target)


def write_nwb(session: Session, folder: Path, *, overwrite: bool = False) -> Path:
    """Write a session as one NWB file.

    What the database does not have is marked as unknown: the hour of the session (``session_start_time`` is midnight
    UTC of its day), the age of the mouse, wavelengths (NaN), the indicator, and the pixels of an ROI (its median pixel
    stands for all).

    Returns
    -------
    Path
        ``folder/sub-<subject>_ses-<eid>.nwb``

    Raises
    ------
    ConfigError
        pynwb is not installed.
    DataError
        The file exists, and ``overwrite`` is False.
    """
    pynwb = _pynwb()
    target = Path(folder) / f"{session.stem}.nwb"
    with _complete(session, target, overwrite) as path:
        file = _nwb_file(pynwb, session)
        if session.trials:  # NWB has no tables without rows
            file.add_time_intervals(_nwb_trials(session.trials))
        if session.wheel is not None:
            _add_wheel(pynwb, file, session.wheel)
        _add_imaging(pynwb, file, session)
        if session.sources:
            file.add_analysis(_nwb_sources(session.sources))
        with pynwb.NWBHDF5IO(path, "w") as io:
            io.write(file)
    return target


def _pynwb() -> Any:
    """Return the pynwb module; raise ConfigError if it is not installed."""
    try:
        import pynwb
    except ImportError as error:
        raise ConfigError(
            f"pynwb is needed to write NWB files ({error}). Install it with: pip install '.[nwb]'"
        ) from error
    return pynwb


def _nwb_file(pynwb: Any, session: Session) -> Any:
    info = session.info
    start = datetime.datetime.combine(info["session_date"], datetime.time(), datetime.UTC)
    left_out = info["fovs_left_out"]
    return pynwb.NWBFile(
        session_description=f"Two-photon mesoscope session {info['subject']} {info['session_date']} "
        f"{info['session_number']:03d}",
        identifier=info["eid"],
        session_id=info["eid"],
        session_start_time=start,
        lab=info["lab"] or None,
        experiment_description=f"Task: {info['task_protocol'] or 'not recorded'}. "
        f"Projects: {info['projects'] or 'not recorded'}",
        protocol=info["task_protocol"] or None,
        keywords=["two-photon mesoscope", "decision making", "mouse"],
        notes="Times are s on the session clock. The database has the day of the session and not its hour: "
        f"session_start_time is midnight UTC. Exported: {info['exported_rois']} of the ROIs. "
        f"Tracking run of cell_uid: {info['tracking_run'] or 'none'}. "
        f"FOVs that are not in the database: {left_out or 'none'}",
        was_generated_by=_generated_by(info),
        subject=pynwb.file.Subject(
            # nwbinspector asks for sex and age: marked as unknown rather than left out
            subject_id=info["subject"], species="Mus musculus", sex="U", age="P0D/",
            description="Age and sex are not in the database; P0D/ is any age",
        ),
    )  # fmt: skip


def _generated_by(info: Mapping[str, Any]) -> list[list[str]]:
    meso = f"{info['meso_version']} {info['git_commit']}".strip()
    others = {name: version for name, version in json.loads(info["packages"]).items() if name != "meso"}
    return [["meso", meso], ["Python", info["python_version"]], *([name, v] for name, v in others.items())]


def _nwb_trials(trials: pa.Table) -> Any:
    from pynwb.epoch import TimeIntervals

    names = {"intervals_0": "start_time", "intervals_1": "stop_time"}
    columns = {name: meaning for name, meaning in TRIAL_COLUMNS.items() if name not in ("eid", "trial")}
    return TimeIntervals(
        name="trials",
        description="Trials of the IBL task, columns as in ALF; NaN where there is no such event",
        columns=[_vector(names.get(name, name), trials[name], columns[name]) for name in columns],
        id=trials["trial"].to_numpy(),
    )


def _nwb_sources(sources: pa.Table) -> Any:
    from hdmf.common import DynamicTable

    return DynamicTable(
        name="sources",
        description="Files that the values were read from, with their hashes",
        columns=[_vector(name, sources[name], SOURCE_COLUMNS[name]) for name in SOURCE_COLUMNS],
    )


def _vector(name: str, values: pa.ChunkedArray, column: tuple[str, str]) -> Any:
    """Return a column of an NWB table. NWB has no nulls: they become NaN in numbers (also whole ones), '' in text."""
    from hdmf.common import VectorData

    kind, meaning = column
    if kind.startswith("string"):
        return VectorData(name=name, description=meaning, data=values.fill_null("").to_pylist())
    # only columns that may be null: float64 would blur the type of the others
    if kind.endswith("?"):
        values, meaning = values.cast("float64"), f"{meaning}; NaN for none"
    return VectorData(name=name, description=meaning, data=values.to_numpy())


def _add_wheel(pynwb: Any, file: Any, wheel: Wheel) -> None:
    behavior = file.create_processing_module("behavior", "Behaviour")
    behavior.add(
        pynwb.TimeSeries(
            name="WheelPosition",
            description="Angle of the wheel, turns added up, counter-clockwise positive; no sample while still",
            data=_compressed(wheel.position),
            timestamps=_compressed(wheel.timestamps),
            unit="radians",
        )
    )
    behavior.add(
        pynwb.TimeSeries(
            name="WheelVelocity",
            description="Velocity of the wheel, low-passed at 20 Hz, counter-clockwise positive",
            data=_compressed(wheel.velocity),
            starting_time=float(wheel.start),
            rate=float(wheel.rate),
            unit="radians/s",
        )
    )


def _compressed(data: Any) -> Any:
    from hdmf.backends.hdf5 import H5DataIO

    # gzip is built into every HDF5 library, unlike zstd or Blosc; level 1 is the fastest
    return H5DataIO(data, compression="gzip", compression_opts=1, shuffle=True)


def _add_imaging(pynwb: Any, file: Any, session: Session) -> None:
    device = file.create_device("Mesoscope", description="Two-photon random access mesoscope")
    planes = {fov.fov: _imaging_plane(pynwb, file, device, fov) for fov in session.fovs}
    with_rois = [fov for fov in session.fovs if len(fov.rois)]
    if not with_rois:
        return
    ophys = file.create_processing_module("ophys", "ROIs and their activity")
    ophys.add(segmentation := pynwb.ophys.ImageSegmentation())
    # all of one kind: only traces as they were read may differ, and these are in Fluorescence
    of_dff = {fov.info["signal"] for fov in with_rois} == {"dff"}
    ophys.add(responses := (pynwb.ophys.DfOverF if of_dff else pynwb.ophys.Fluorescence)())
    for fov in with_rois:
        rois = _plane_segmentation(pynwb, planes[fov.fov], fov)
        segmentation.add_plane_segmentation(rois)
        responses.add_roi_response_series(_response_series(pynwb, rois, fov, session.info["eid"]))


def _imaging_plane(pynwb: Any, file: Any, device: Any, fov: FOV) -> Any:
    acronyms = fov.rois["region"].drop_null()
    # the most frequent region stands for the plane: NWB has one location; ties by name, for the same file each time
    regions = sorted(acronyms.value_counts().to_pylist(), key=lambda row: (-row["counts"], row["values"]))
    counts = ", ".join(f"{row['values']} {row['counts']}" for row in regions)
    return file.create_imaging_plane(
        name=f"ImagingPlaneFOV{fov.fov:02d}",
        description=f"{fov.info['collection']}. Regions ({fov.info['region_source']}): {counts or 'unknown'}",
        optical_channel=pynwb.ophys.OpticalChannel(
            name="OpticalChannel", description="Wavelength not in the database", emission_lambda=np.nan
        ),
        excitation_lambda=np.nan,
        indicator="unknown",
        location=regions[0]["values"] if regions else "unknown",
        imaging_rate=1 / fov.info["frame_period"],
        device=device,
    )


def _plane_segmentation(pynwb: Any, plane: Any, fov: FOV) -> Any:
    from hdmf.common import VectorData, VectorIndex

    pixel = np.dtype([("x", "u4"), ("y", "u4"), ("weight", "f4")])
    masks = np.ones(len(fov.rois), pixel)
    masks["x"], masks["y"] = fov.rois["stack_x"].to_numpy(), fov.rois["stack_y"].to_numpy()
    mask = VectorData(name="pixel_mask", description="The median pixel of the ROI stands for all", data=masks)
    index = VectorIndex(name="pixel_mask_index", data=np.arange(1, len(masks) + 1, dtype="u4"), target=mask)
    names = [name for name in ROI_COLUMNS if name not in ("eid", "roi")]
    return pynwb.ophys.PlaneSegmentation(
        name=f"PlaneSegmentationFOV{fov.fov:02d}",
        description=f"ROIs of {fov.info['collection']}; id is the row in its ALF arrays. The database has no masks: "
        f"pixel_mask is the one pixel (stack_x, stack_y). Positions: {fov.info['mlapdv_source']}",
        imaging_plane=plane,
        id=fov.rois["roi"].to_numpy(),
        columns=[*(_vector(name, fov.rois[name], ROI_COLUMNS[name]) for name in names), mask, index],
    )


def _response_series(pynwb: Any, rois: Any, fov: FOV, eid: str) -> Any:
    name, about = _named(fov.info)
    # what NWB has for marks of single samples
    marks = {"control": fov.flagged.astype(np.uint8), "control_description": MARKS} if fov.flagged is not None else {}
    return pynwb.ophys.RoiResponseSeries(
        name=f"{name}FOV{fov.fov:02d}",
        description=f"{about}, frames x ROIs, on the clock of this FOV. "
        "Add the time_offset of a ROI to the timestamps for the time at which it was scanned",
        data=_compressed(_columns(fov, eid)),
        rois=rois.create_roi_table_region(region=list(range(len(rois))), description="all ROIs of the table"),
        timestamps=_compressed(fov.frame_times),
        unit="a.u.",
        **marks,
    )


def _named(info: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the traces of a FOV in NWB, and what they are."""
    if info["signal"] != "dff":
        return info["signal"].capitalize(), f"{info['signal'].capitalize()} activity"
    made = "neuropil {dff_neuropil:g}, window {dff_window:g} s, percentile {dff_percentile:g}".format(**info)
    return "DfOverF", f"dF/F ({made})"


def _columns(fov: FOV, eid: str) -> Any:
    """Return an iterator for pynwb over (frames, ROIs): all frames of a block of ROIs at a time."""
    from hdmf.data_utils import GenericDataChunkIterator

    shape = (len(fov.frame_times), len(fov.rois))

    class Blocks(GenericDataChunkIterator):  # type: ignore[misc]  # hdmf has no types
        def _get_data(self, selection: tuple[slice, slice]) -> np.ndarray:
            # stored by ROI, written by frame: NWB has time as its first axis
            return _read(fov, selection[1], eid)[:, selection[0]].T

        def _get_maxshape(self) -> tuple[int, int]:
            return shape

        def _get_dtype(self) -> np.dtype:
            return fov.traces.dtype

    chunk = (min(CHUNK[0], shape[0]), min(CHUNK[1], shape[1]))
    return Blocks(buffer_shape=(shape[0], min(BLOCK, shape[1])), chunk_shape=chunk)
