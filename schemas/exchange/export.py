"""Exporting sessions: rows are collected here, and ``pipeline.export`` writes the files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import export
from pipeline.errors import ArgumentError, NotFoundError
from pipeline.reading.behavior import TRIAL_ATTRIBUTES, VELOCITY_RATE, column_name
from pipeline.settings.signals import SignalSettings
from schemas import provenance
from schemas.imaging.reading import flags, recorded, roi_traces
from schemas.imaging.signals import Signal, SignalParams
from schemas.imaging.tables import FOV, ROI, Activity, BrainRegion, Recording
from schemas.queries.ids import one_subject
from schemas.queries.tracking_runs import latest_tracking_runs, tracking_run
from schemas.session import Behavior, FOVFolder, Session, Subject, Wheel, unchanged_since
from schemas.tracking import TrackedFOV, TrackingFile

#: Writer by the value of ``kind``.
WRITERS = {"nwb": export.write_nwb, "parquet": export.write_parquet}


class Traces:
    """The traces of some ROIs of a FOV as an array whose rows are read from the database when it is sliced.

    Parameters
    ----------
    eid : str
    fov : int
    rois : (N,) int
        Numbers of the ROIs.
    signal : SignalSettings, optional
        By default as the FOV was read.

    Attributes
    ----------
    shape : (int, int)
        Number of ROIs, number of frames.
    dtype : np.dtype
    """

    def __init__(self, eid: str, fov: int, rois: np.ndarray, signal: SignalSettings | None = None):
        self._eid, self._fov, self._rois = eid, fov, np.asarray(rois, dtype=np.int64)
        self._stored = recorded(eid, np.array([fov]), signal)
        self.shape = (len(self._rois), int(self._stored[fov]["n_frames"]))
        self.dtype = self[:1].dtype if len(self._rois) else np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the traces of a slice of the ROIs, (n, n_frames), in the dtype of the ALF file."""
        rois = self._rois[rows]
        if not len(rois):
            return np.empty((0, self.shape[1]), self.dtype)
        return roi_traces(self._eid, np.full(len(rois), self._fov), rois, stored=self._stored)


def export_session(
    eid: str,
    kind: str,
    output: Path | str,
    *,
    neurons_only: bool = False,
    overwrite: bool = False,
    tracking_run: str | None = None,
    signal: str | SignalSettings = "",
) -> Path:
    """Write the data of a session that are in the database to a file or folder, which can be read without the database.

    Parameters
    ----------
    eid : str
    kind : {'nwb', 'parquet'}
        One NWB file, or a folder of Parquet files: see ``pipeline.export.write_nwb`` and ``write_parquet``.
    output : path
        Folder to write into.
    neurons_only : bool
        Export only ROIs that are neurons; by default all ROIs.
    overwrite : bool
        Replace an earlier export of the session.
    tracking_run : str, optional
        Start of the hash of the tracking run that ``cell_uid`` is of; by default the latest of the subject, if any.
    signal : {'', 'deconvolved', 'fluorescence', 'dff'} or SignalSettings
        The traces, the same of all FOVs; '' is as each FOV was read. ``fill_signal`` computes what the database lacks.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    ConfigError
        ``kind`` is 'nwb' and pynwb is not installed.
    NotFoundError
        The session, all of its FOVs or the signal of one are not in the database, or there is no such tracking run.
    DataError
        The session was exported before and ``overwrite`` is False.

    Warns
    -----
    UserWarning
        FOVs, trials, the wheel or tracked cells are not in the database and are left out.
    """
    if kind not in WRITERS:
        raise ArgumentError(f"kind must be one of {', '.join(WRITERS)}, not {kind!r}")
    session = gather(str(eid), neurons_only, tracking_run, SignalSettings.named(signal))
    return WRITERS[kind](session, Path(output), overwrite=overwrite)


def gather(
    eid: str, neurons_only: bool = False, tracking_run: str | None = None, signal: SignalSettings | None = None
) -> export.Session:
    """Return a session for ``pipeline.export``; its traces are read from the database when they are written.

    Raises
    ------
    NotFoundError
        The session, all of its FOVs or the signal of one are not in the database, or there is no such tracking run.

    Warns
    -----
    UserWarning
        FOVs, trials, the wheel or tracked cells are not in the database and are left out.
    """
    key = {"eid": eid}
    if not (Session & key):
        raise NotFoundError("the session is not registered", eid=eid, do="Register it with: meso ingest")
    check = unchanged_since(eid)
    listed = {int(fov) for fov in (FOVFolder & key).to_arrays("fov")}
    complete = (FOV & key & Recording.proj() & ROI.proj() & Activity.proj()) * FOVFolder
    infos = complete.to_dicts(order_by="fov")
    if not infos:
        do = f"Read them with: meso populate --eid {eid}; 'meso errors' lists failures"
        raise NotFoundError("no FOV of the session is in the database", eid=eid, found=f"{len(listed)} listed", do=do)
    left_out = sorted(listed - {info["fov"] for info in infos})
    trials, wheel, run = _trials(key), _wheel(key), _run_of(eid, tracking_run)
    missing = [f"FOV_{fov:02d}" for fov in left_out] + ["trials"] * (trials is None) + ["the wheel"] * (wheel is None)
    missing += [f"tracked cells of FOV_{fov:02d}" for fov in _not_matched(key, run) if fov not in left_out]
    if missing:
        do = "'meso populate' reads them, 'meso errors' lists failures"
        warnings.warn(f"session {eid}: not in the database, not exported: {', '.join(missing)}; {do}", stacklevel=3)
    return export.Session(
        info=_session_info(key, neurons_only, left_out) | {"tracking_run": run.get("tracking_run", "")},
        fovs=[_fov(info, neurons_only, run, signal) for info in infos],
        trials=trials,
        wheel=wheel,
        sources=_sources(key, signal),
        check=check,
    )


def _run_of(eid: str, named: str | None) -> dict[str, str]:
    """Return the key of a tracking run of a session's subject, by default of the latest; empty if there is none."""
    subject = one_subject([eid])
    return tracking_run(subject, named) if named else next(iter(latest_tracking_runs(subject)), {})


def _not_matched(key: dict, run: dict) -> list[int]:
    """Return the FOVs of a session whose UIDs in a tracking run are not matched to their ROIs."""
    files = TrackingFile & key & run
    return [int(fov) for fov in (files - TrackedFOV.proj()).to_arrays("fov", order_by="fov")] if run else []


def _session_info(key: dict, neurons_only: bool, left_out: Iterable[int]) -> dict[str, Any]:
    environment = provenance.environment_row()
    info = (Session * Subject.proj("lab") & key).fetch1()
    info |= {
        "exported_rois": "neurons" if neurons_only else "all",
        "fovs_left_out": ", ".join(map(str, left_out)),
        "meso_version": environment["packages"].get("meso", ""),
        "packages": json.dumps(environment["packages"], sort_keys=True),
        "git_commit": environment["git_commit"],
        "python_version": environment["python_version"],
    }
    return {name: info[name] for name in export.SESSION_COLUMNS if name in info}


def _fov(info: dict[str, Any], neurons_only: bool, run: dict[str, str], signal: SignalSettings | None) -> export.FOV:
    key = {"eid": info["eid"], "fov": info["fov"]}
    rois = ROI & key & "is_neuron" if neurons_only else ROI & key
    rows = rois.extend(BrainRegion.proj(region="acronym")).to_dicts(order_by="roi")
    members = (TrackedFOV.Member & key & run).to_dicts() if run else []
    uids = {row["roi"]: row["cell_uid"] for row in members}
    # MySQL returns 0 and 1
    rows = [{**row, "is_neuron": bool(row["is_neuron"]), "cell_uid": uids.get(row["roi"])} for row in rows]
    row = info | ({"signal": signal.kind, **_of_dff(signal)} if signal else {})
    return export.FOV(
        fov=info["fov"],
        info={name: row.get(name) for name in export.FOV_COLUMNS},
        rois=export.table(rows, export.ROI_COLUMNS),
        frame_times=np.asarray((Recording & key).fetch1("frame_times")),
        traces=Traces(info["eid"], info["fov"], np.array([row["roi"] for row in rows], dtype=np.int64), signal),
        flagged=flags(info["eid"], [info["fov"]]).get(info["fov"]),
    )


def _of_dff(signal: SignalSettings) -> dict[str, float]:
    """Return the settings of dF/F as columns, none of another signal."""
    return {f"dff_{name}": value for name, value in asdict(signal.of_dff).items()} if signal.kind == "dff" else {}


def _trials(key: dict) -> Any:
    if not (Behavior & key):
        return None
    names = {column_name(attribute): attribute for attribute in TRIAL_ATTRIBUTES} | {"task_collection": "collection"}
    rows = (Behavior.Trial & key).to_dicts(order_by="trial")
    return export.table([{names.get(k, k): v for k, v in row.items()} for row in rows], export.TRIAL_COLUMNS)


def _wheel(key: dict) -> export.Wheel | None:
    columns = ("wheel_timestamps", "wheel_position", "velocity_start", "wheel_velocity")
    if not (Wheel & key):
        return None
    timestamps, position, start, velocity = (Wheel & key).fetch1(*columns)
    return export.Wheel(timestamps, position, start, VELOCITY_RATE, velocity)


def _sources(key: dict, signal: SignalSettings | None) -> Any:
    parts = {table.__name__: table.Source & key for table in (FOV, Behavior, Wheel)}
    if signal:
        parts["Signal"] = Signal.Source & key & SignalParams.key_of(signal)
    rows = [
        {"read_by": name, **row} for name, part in parts.items() for row in part.to_dicts(order_by="KEY")
    ]  # fmt: skip
    return export.table(rows, export.SOURCE_COLUMNS)
