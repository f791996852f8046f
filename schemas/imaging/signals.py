"""Signals that are asked for: the same one of all sessions, whatever each FOV was read with.

``Activity`` has the deconvolved traces of a FOV, or the fluorescence if there are none. What is asked for and is not
there, fluorescence or dF/F, is read and computed into ``Signal`` when a ``SignalTask`` is inserted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import reading
from pipeline.errors import DataError, NotFoundError
from pipeline.reading.fov import SIGNALS
from pipeline.settings.signals import DffSettings, SignalSettings
from pipeline.signals.dff import dff
from pipeline.storage.arrays import pack, unpack
from schemas.cascade import WholeDelete
from schemas.imaging.packing import ROIBlocks
from schemas.imaging.tables import FOV, ROI, Activity, read_recorded  # noqa: F401  # a definition names ROI
from schemas.provenance import Environment
from schemas.rows import SourceFile, content_key, jobs_of, without_failed
from schemas.session import FOVFolder, ReadsSession, Session, one_for  # noqa: F401  # a definition names Session
from schemas.storage import bulk
from schemas.storage.codec import Packed

schema = dj.Schema()
#: Of ROIs whose dF/F is computed together: bytes of float32.
BLOCK_BYTES = 64_000_000


@schema
class SignalParams(WholeDelete, dj.Manual):
    definition = """
    # signals that can be asked for; see pipeline.settings.signals.SignalSettings
    signal_params : char(32)            # hash of the rest
    ---
    signal_kind : varchar(16)           # fluorescence or dff; of several days also deconvolved
    neuropil_share=null : float64       # of dff: part of the neuropil that is subtracted
    baseline_seconds=null : float64     # of dff: window of the baseline, s
    baseline_rank=null : float64        # of dff: its percentile
    """

    @classmethod
    def add(cls, settings: SignalSettings) -> dict:
        """Insert settings unless they are in the table, and return their key."""
        key, of_dff = cls.key_of(settings), asdict(settings.of_dff) if settings.kind == "dff" else {}
        cls.insert1({
            **key, "signal_kind": settings.kind, "neuropil_share": of_dff.get("neuropil"),
            "baseline_seconds": of_dff.get("window"), "baseline_rank": of_dff.get("percentile"),
        }, skip_duplicates=True)  # fmt: skip
        return key

    @staticmethod
    def key_of(settings: SignalSettings) -> dict:
        """Return the key of settings, whether they are in the table or not."""
        return {"signal_params": content_key(settings.content())}

    def settings(self) -> SignalSettings:
        """Return the settings of the single row that this is restricted to."""
        row = self.fetch1()
        if row["signal_kind"] != "dff":
            return SignalSettings(row["signal_kind"])
        of_dff = DffSettings(row["neuropil_share"], row["baseline_seconds"], row["baseline_rank"])
        return SignalSettings("dff", of_dff)


@schema
class SignalTask(WholeDelete, dj.Manual):
    definition = """
    # requested signals of a session
    -> Session
    -> SignalParams
    """

    @classmethod
    def ask(cls, eids: Iterable[str], settings: Iterable[SignalSettings | None]) -> None:
        """Request signals of sessions; deconvolved traces are those of Activity, and None is what was recorded."""
        for one in {one: None for one in settings if one and one.kind != "deconvolved"}:
            key = SignalParams.add(one)
            cls.insert(({"eid": eid, **key} for eid in eids), skip_duplicates=True)


@schema
class Signal(ReadsSession, WholeDelete, dj.Imported):
    definition = """
    # a FOV whose traces in a requested signal are not those of Activity
    -> Activity
    -> SignalTask
    ---
    signal_dtype : varchar(8)           # such as <f4
    -> Environment
    """

    class Source(SourceFile):
        pass

    class Trace(dj.Part):
        definition = """
        # the requested signal of a ROI
        -> master
        -> ROI
        ---
        signal_trace : <array>          # (n_frames,); fluorescence as in the ALF file, dff as float32
        """

    @property
    def key_source(self):
        asked = Activity.proj() * SignalTask.proj() * SignalParams.proj("signal_kind") * FOV.proj(recorded="signal")
        return (asked & "signal_kind <> recorded").proj()

    @staticmethod
    def datasets(reader, key):
        collection = (FOVFolder & key).fetch1("collection")
        return reading.fluorescence_datasets(collection, (SignalParams & key).settings().needs_neuropil)

    @classmethod
    def check(cls, key, data, sources, replaced=()):
        """Refuse a copy of the fluorescence of another FOV; other signals of this one are made of the same file."""
        same = cls & {"eid": key["eid"], "fov": key["fov"]}
        super().check(key, data, sources, [*replaced, *same.keys()])

    def make_fetch(self, key):
        place = (FOVFolder & key).fetch1("collection"), FOV.Source.recorded(key)
        return *super().make_fetch(key), *place, asdict((SignalParams & key).settings())

    def make_compute(self, key, registered, collection, recorded, settings):
        settings = SignalSettings.of_values(settings)
        fov = read_recorded(key, registered, collection, recorded)
        if fov.signal == "deconvolved":  # with which the fluorescence is compared: so far only its size was
            fov.reader.path(SIGNALS[fov.signal], collection)
        found = reading.read_fluorescence(
            one_for(key["eid"], registered), key["eid"], key["fov"], collection, fov, neuropil=settings.needs_neuropil
        )
        # here, not in make_insert: computing takes long, and no transaction is open yet
        packed, sources = _packed(found, fov.frame_times, settings), found.reader.sources
        _check_recorded(key, sources, recorded)
        return packed, sources

    def make_insert(self, key, packed, sources):
        dtype, rows = packed
        self.insert1({**key, "signal_dtype": dtype, **Environment.current()})
        self.insert_sources(key, packed, sources)
        bulk.insert(self.Trace(), ({**key, "roi": roi, "signal_trace": Packed(data)} for roi, data in enumerate(rows)))


def _check_recorded(key: dict, sources: Iterable[reading.Source], recorded: Iterable[dict[str, Any]]) -> None:
    """Refuse a file that the FOV was read from, too, if it has been replaced since: it may be of other ROIs.

    Raises
    ------
    DataError
    """
    of_fov = {reading.without_revision(row["dataset"]): row for row in recorded}
    for source in sources:
        row = of_fov.get(reading.without_revision(source.dataset))
        if row and (row["dataset"], row["sha256"]) != (source.dataset, source.sha256):
            raise DataError(
                "the file is not the one that the FOV was read from", eid=key["eid"], fov=key["fov"],
                dataset=source.dataset, expected=f"{row['dataset']}, sha256 {row['sha256']}",
                found=f"{source.dataset}, sha256 {source.sha256}",
                do=f"Restore it, or read the session again with: meso update {key['eid']}",
            )  # fmt: skip


def _packed(found: reading.Fluorescence, frame_times: np.ndarray, settings: SignalSettings) -> tuple[str, list[bytes]]:
    """Return the dtype of the signal of a FOV, and the packed trace of each ROI."""
    if settings.kind == "fluorescence":
        traces = ROIBlocks(found.traces.T)
        return found.traces.dtype.str, [pack(traces[roi]) for roi in range(len(traces))]
    n_frames, n_rois = found.traces.shape
    step, rows = max(1, BLOCK_BYTES // (4 * n_frames)), []
    for first in range(0, n_rois, step):
        rois = slice(first, first + step)
        neuropil = None if found.neuropil is None else found.neuropil[:, rois].T
        rows += [pack(trace) for trace in dff(found.traces[:, rois].T, neuropil, frame_times, settings.of_dff)]
    return np.dtype(np.float32).str, rows


def signal_of(
    found: reading.Fluorescence, frame_times: np.ndarray, settings: SignalSettings, rois: np.ndarray
) -> np.ndarray:  # fmt: skip
    """Return the signal (n, T) of some ROIs (n,) of a FOV, as ``Signal`` has it."""
    neuropil = None if found.neuropil is None else found.neuropil[:, rois]
    _, packed = _packed(found._replace(traces=found.traces[:, rois], neuropil=neuropil), frame_times, settings)
    return np.array([unpack(one) for one in packed])


def waiting_signals() -> dj.QueryExpression:
    """Return the sessions with requested signals that are not there yet, except those that failed, by ``eid``."""
    waiting = without_failed(Signal().key_source - Signal.proj(), Signal)
    return waiting.proj(waiting_fov="fov", waiting_signal="signal_params")


def signals_used(eid: str, fovs: Iterable[int], settings: SignalSettings | None) -> list[dict]:
    """Return the rows of ``Signal`` that have the traces of FOVs in a signal; of FOVs without one Activity has it.

    Parameters
    ----------
    eid : str
    fovs : iterable of int
    settings : SignalSettings or None
        None: as each FOV was read.

    Raises
    ------
    NotFoundError
        A FOV does not have the signal.
    """
    wanted = [{"fov": int(fov)} for fov in np.unique(list(fovs))]
    if settings is None or not wanted:
        return []
    rows = (FOV & {"eid": eid} & wanted).proj("signal").to_dicts(order_by="fov")
    other = [row["fov"] for row in rows if row["signal"] != settings.kind]
    if not other:
        return []
    key = {"eid": eid, **SignalParams.key_of(settings)}
    found = (Signal & key & [{"fov": fov} for fov in other]).to_dicts(order_by="fov")
    if missing := sorted(set(other) - {row["fov"] for row in found}):
        raise _lacking({**key, "fov": missing[0]}, settings)
    return found


def _lacking(key: dict, settings: SignalSettings) -> NotFoundError:
    """Return the error of a FOV without a signal."""
    where = {"eid": key["eid"], "fov": key["fov"]}
    if settings.kind == "deconvolved":
        return NotFoundError(
            "the FOV has no deconvolved traces", **where, dataset=SIGNALS["deconvolved"], found="fluorescence only",
            do="Use signal='fluorescence' or signal='dff', which are those of all sessions",
        )  # fmt: skip
    failed = (jobs_of(Signal).errors & key).to_dicts()
    if not failed:
        return NotFoundError(
            f"the FOV has no {settings.kind} in the database", **where, found="not computed yet",
            do="Compute it with: meso populate Signal",
        )  # fmt: skip
    # the error of the job, without its class and the place, which are in this one
    reason = failed[0]["error_message"].partition(": ")[2]
    reason = reason.removeprefix(f"session {key['eid']}, FOV_{key['fov']:02d}, ").rstrip(".")
    return NotFoundError(
        f"the FOV has no {settings.kind} in the database: {reason}",
        **where,
        do="Put the files there, then run: meso retry Signal",
    )
