"""Rastermap embeddings of sessions, and rasters of them as tiles for the screen."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import datajoint as dj
import numpy as np

from pipeline.embedding import EmbeddingSettings, rastermap_order
from pipeline.errors import DamagedError, DataError, NotFoundError
from pipeline.settings.signals import SignalSettings
from pipeline.signals import tiles
from pipeline.signals.flags import is_flagged_at
from pipeline.signals.resampling import common_frames, resample
from pipeline.signals.scaling import scale_rows
from pipeline.storage.arrays import pack, unpack
from schemas.cascade import WholeDelete
from schemas.imaging.reading import flags, recorded, roi_traces
from schemas.imaging.signals import Signal, SignalParams, SignalTask, waiting_signals
from schemas.imaging.tables import FOV, ROI, Activity, Recording, imaged_sessions
from schemas.provenance import Environment
from schemas.rows import content_key, sources_key
from schemas.session import Session
from schemas.storage import bulk
from schemas.storage.codec import Packed
from schemas.storage.threads import in_threads

schema = dj.Schema()


@schema
class EmbeddingParams(WholeDelete, dj.Manual):
    definition = """
    # settings of an embedding
    embedding_params : char(32)         # hash of the rest
    ---
    n_pcs : int32
    n_clusters : int32
    locality : float64
    time_lag_window : int32             # frames
    time_bin_size : int32               # bin_size of Rastermap
    neurons_only : bool                 # or all ROIs
    fovs : json                         # numbers of the FOVs; [] for all
    """

    class OfSignal(dj.Part):
        definition = """
        # the signal that is embedded; without a row: as each FOV was read
        -> master
        ---
        -> SignalParams
        """

    @classmethod
    def add(cls, settings: EmbeddingSettings) -> dict:
        """Insert settings unless they are in the table, and return their key."""
        key = cls.key_of(settings)
        if not (cls & key):  # a read-only account can use settings that are in the table
            row = {**key, **_row_of(settings)}
            row.pop("signal_params", None)
            with cls.connection.transaction:  # without its signal, the row would be that of another question
                cls.insert1(row, skip_duplicates=True)
                if settings.signal:
                    cls.OfSignal.insert1({**key, **SignalParams.add(settings.signal)}, skip_duplicates=True)
        return key

    @staticmethod
    def key_of(settings: EmbeddingSettings) -> dict:
        """Return the key of settings, whether they are in the table or not; no statement."""
        return {"embedding_params": content_key(_row_of(settings))}

    def settings(self) -> EmbeddingSettings:
        """Return the settings of the single row that this is restricted to."""
        row = self.extend(self.OfSignal).fetch1()
        row.pop("embedding_params")
        signal = row.pop("signal_params")
        return EmbeddingSettings(
            **row | {"fovs": tuple(row["fovs"]), "neurons_only": bool(row["neurons_only"])},
            signal=(SignalParams & {"signal_params": signal}).settings() if signal else None,
        )

    @classmethod
    def with_kind(cls) -> dj.QueryExpression:
        """Return all rows with ``signal_kind``, NULL where each FOV is embedded as it was read."""
        return cls().extend((cls.OfSignal * SignalParams).proj("signal_kind"))


def _row_of(settings: EmbeddingSettings) -> dict:
    """Return what the key is a hash of; settings of before version 30, when there was no signal, keep their keys."""
    row = asdict(settings) | {"fovs": list(settings.fovs)}
    del row["signal"]
    return row | (SignalParams.key_of(settings.signal) if settings.signal else {})


@schema
class Embedding(WholeDelete, dj.Computed):
    definition = """
    # Rastermap order of a session's cells
    -> Session
    -> EmbeddingParams
    ---
    n_embedded : int32                  # ROIs
    n_clock_frames : int32              # frames of the common clock
    -> Environment
    """

    class Rank(dj.Part):
        definition = """
        # place of a ROI in the order
        -> master
        -> ROI
        ---
        embedding_rank : int32
        """

    class OwnSignal(dj.Part):
        definition = """
        # a FOV whose requested signal is not that of Activity, with which the embedding goes
        -> master
        -> Signal
        """

    @property
    def key_source(self):
        # of a signal only where it is requested, when all that is requested of the session is there
        of_signal = EmbeddingParams.OfSignal.proj("signal_params")
        not_requested = ((Session.proj() * of_signal) - SignalTask).proj()
        waiting = EmbeddingParams.OfSignal.proj() * (Session.proj() & waiting_signals())
        return imaged_sessions() * EmbeddingParams.proj() - not_requested - waiting

    def make_fetch(self, key):
        settings = (EmbeddingParams & key).settings()
        fovs = _fovs_there(key, settings)
        missing = set(settings.fovs) - set(fovs)
        if missing or not fovs:
            raise DataError(
                "FOVs that the settings name are missing in the session",
                eid=key["eid"],
                expected=", ".join(f"FOV_{n:02d}" for n in settings.fovs),
                found=", ".join(f"FOV_{n:02d}" for n in fovs),
            )
        return asdict(settings), fovs, _sources(key, fovs, settings.signal)

    def make_compute(self, key, settings, fovs, sources):
        settings = EmbeddingSettings(**settings | {"signal": SignalSettings.of_values(settings["signal"])})
        stored = _of_signal(key["eid"], fovs, settings.signal)
        rois, traces, n_frames = _stack(key["eid"], fovs, settings.neurons_only, stored)
        rank = np.argsort(rastermap_order(traces, settings))  # the inverse of the order is the rank of each ROI
        ranks = [(fov, roi, int(r)) for (fov, roi), r in zip(rois, rank, strict=True)]
        own = [{name: row[name] for name in Signal.primary_key} for row in stored.values() if "signal_params" in row]
        return ranks, n_frames, own

    def make_insert(self, key, ranks, n_frames, own):
        self.insert1({**key, "n_embedded": len(ranks), "n_clock_frames": n_frames, **Environment.current()})
        self.Rank.insert({**key, "fov": fov, "roi": roi, "embedding_rank": rank} for fov, roi, rank in ranks)
        self.OwnSignal.insert({**key, **one} for one in own)


@schema
class ImportedOrder(WholeDelete, dj.Manual):
    definition = """
    # order of cells in a cache of the scripts: the parameters and files that gave it are not known
    -> Session
    cache_sha256 : char(64)             # of the cache file
    ---
    cache_name : varchar(255)           # of the file
    n_cache_rows : int32                # cells that it orders; those whose trace no ROI has are left out
    imported_at : datetime(6)           # UTC
    """

    class Rank(dj.Part):
        definition = """
        # place in the order of the ROI that has, bit by bit, the trace of a row of the cache
        -> master
        -> ROI
        ---
        cache_row : int32
        imported_rank : int32           # among all rows of the cache
        """


@schema
class RasterTiles(WholeDelete, dj.Computed):
    definition = """
    # the raster of an embedding at several resolutions: see pipeline.signals.tiles
    -> Embedding
    ---
    n_tiles : int32
    tile_clock : <blob>                 # (n_clock_frames,) float64, start of each frame, s on the session clock
    -> Environment
    """

    class Tile(dj.Part):
        definition = """
        # a part of the raster
        -> master
        row_level : int16               # cells in the order, 4**row_level of them in a row
        time_level : int16              # 4**time_level frames in a column
        tile_row : int32
        tile_column : int32
        ---
        tile : <array>                  # uint8: 0, the 20th percentile of a cell, to 254, its 99th
        """

    def make_fetch(self, key):
        settings = (EmbeddingParams & key).settings()
        fovs, signal = _fovs_there(key, settings), settings.signal
        n_clock_frames = (Embedding & key).fetch1("n_clock_frames")
        return fovs, n_clock_frames, asdict(signal) if signal else None, _sources(key, fovs, signal)

    def make_compute(self, key, fovs, n_clock_frames, signal, sources):
        clocks = _frame_times(key["eid"], fovs)
        clock = shared_frames(key["eid"], clocks)
        if len(clock) != n_clock_frames:
            raise DataError(
                "the embedding is of other FOVs than the database has now", eid=key["eid"],
                expected=f"{n_clock_frames} frames",
                found=f"{len(clock)} in FOVs {', '.join(map(str, fovs))}",
                do=f"Recompute it: (schemas.Embedding & {key}).delete(), then meso populate",
            )  # fmt: skip
        ranked = (ROI.proj("time_offset") & {"eid": key["eid"]}) * (Embedding.Rank & key)
        of_fov, rois, offsets = bulk.columns(ranked, "fov", "roi", "time_offset", order_by=("embedding_rank",))
        stored = _of_signal(key["eid"], fovs, SignalSettings.of_values(signal))
        blocks = (
            scale_rows(block) for block in _ranked_blocks(key["eid"], clocks, clock, of_fov, rois, offsets, stored)
        )
        made = tiles.tiles(blocks, len(rois), len(clock))
        # packed in threads while the next tiles are made
        return clock, list(in_threads(lambda tile: (tile[0], pack(tile[1])), made))

    def make_insert(self, key, clock, made):
        self.insert1({**key, "n_tiles": len(made), "tile_clock": clock, **Environment.current()})
        bulk.insert(self.Tile(), ({**key, **place._asdict(), "tile": Packed(data)} for place, data in made))


def embeddings_of_fovs(eid: str, fovs: Collection[int] = ()) -> dj.Table:
    """Return the embeddings of a session that are of all its FOVs, as a new one is, or of one of these.

    They need not have a cell of it: a FOV may have no neurons until they are curated.
    """
    found = (Embedding.proj() * EmbeddingParams.proj("fovs") & {"eid": eid}).to_dicts()
    keys = [
        {name: row[name] for name in Embedding.primary_key}
        for row in found
        if not row["fovs"] or not set(row["fovs"]).isdisjoint(fovs)
    ]
    return Embedding & (keys or "FALSE")


def embedding_of(eid: str, signal: SignalSettings | None = None) -> dict[str, str]:
    """Return the key of the Rastermap order of a session's neurons (default settings), with its environment.

    Parameters
    ----------
    eid : str
    signal : SignalSettings, optional
        By default as each FOV was read.

    Raises
    ------
    NotFoundError
        The session is not embedded.
    """
    # a hash of the settings; `add` inserts them only if they are missing
    key = {"eid": eid, **EmbeddingParams.add(settings_of_session(eid, EmbeddingSettings(signal=signal)))}
    if not (Embedding & key):
        raise NotFoundError(
            "the session is not embedded", eid=eid, do=f"Embed it with: meso populate Embedding --eid {eid}"
        )
    return {**key, "environment": (Embedding & key).fetch1("environment")}


def settings_of_session(eid: str, settings: EmbeddingSettings) -> EmbeddingSettings:
    """Return the settings, without the signal if each FOV of a session was read with it: that order is the same."""
    if settings.signal is None:
        return settings
    others = (FOV & {"eid": eid} & Activity.proj()) - {"signal": settings.signal.kind}
    return settings if others else replace(settings, signal=None)


def tiles_between(
    key: dict, row_level: int, time_level: int, rows: range, columns: range
) -> dict[tiles.Place, np.ndarray]:
    """Return the tiles of one resolution in a range of tile rows and a range of tile columns, by one query.

    Parameters
    ----------
    key : dict
        Of RasterTiles.
    row_level, time_level : int
        Resolution: 4**row_level cells and 4**time_level frames per pixel.
    rows, columns : range

    Returns
    -------
    dict of Place to uint8 array

    Raises
    ------
    DamagedError
        A tile is damaged, or missing.
    """
    wanted = RasterTiles.Tile & key & {"row_level": row_level, "time_level": time_level}
    for name, places in (("tile_row", rows), ("tile_column", columns)):
        wanted &= f"{name} between {places.start} and {places.stop - 1}"
    found = {}

    def take(row: int, column: int, data: bytes) -> None:
        place = tiles.Place(row_level, time_level, row, column)
        try:
            found[place] = unpack(data)
        except DataError as error:
            raise error.located(eid=key["eid"], dataset=f"tile {place._asdict()}") from error

    bulk.stream(wanted, "tile_row", "tile_column", "tile", take=take)
    if len(found) < len(rows) * len(columns):
        raise DamagedError(
            "tiles of the raster are missing", eid=key["eid"], expected=len(rows) * len(columns), found=len(found),
            do=f"Recompute it: (schemas.RasterTiles & {key}).delete(), then meso populate RasterTiles",
        )  # fmt: skip
    return found


def _fovs_there(key: dict, settings: EmbeddingSettings) -> list[int]:
    """Return the FOVs of a session that are in the database and in the settings; other FOVs have failed."""
    # all four, as each may fail by itself
    there = FOV & key & Recording.proj() & ROI.proj() & Activity.proj()
    return [int(n) for n in there.to_arrays("fov", order_by="fov") if not settings.fovs or n in settings.fovs]


def _sources(key: dict, fovs: list[int], signal: SignalSettings | None = None) -> str:
    """Return a hash of the files of FOVs: if they are read again while a job runs, its result must not be inserted."""
    of_fovs = [{"eid": key["eid"], "fov": fov} for fov in fovs]
    of_signal = [Signal.Source & of_fovs & SignalParams.key_of(signal)] if signal else []
    return sources_key(FOV.Source & of_fovs, *of_signal)


def _of_signal(eid: str, fovs: list[int], signal: SignalSettings | None) -> dict[int, dict[str, Any]]:
    """Return where the traces of FOVs in a signal are, by FOV: see ``recorded``; nothing if none is asked for."""
    return recorded(eid, np.array(fovs), signal) if signal else {}


def _frame_times(eid: str, fovs: list[int]) -> dict[int, np.ndarray]:
    """Return the frame times of FOVs, each (n_frames,), s on the session's clock."""
    return {fov: np.asarray((Recording & {"eid": eid, "fov": fov}).fetch1("frame_times")) for fov in fovs}


def shared_frames(eid: str, clocks: dict[int, np.ndarray]) -> np.ndarray:
    """Return the frames that all FOVs share, (M,) s, without those that are flagged as bad in any of them."""
    clock = common_frames(clocks)
    for fov, flagged in flags(eid, clocks).items():
        # a single FOV keeps its frames, the traces of several are interpolated
        clock = clock[~(flagged if len(clocks) == 1 else is_flagged_at(clock, clocks[fov], flagged))]
    if len(clock) < 2:
        raise DataError("frames are flagged as bad throughout", eid=eid, expected="two or more that are not", found="")
    return clock


def _stack(
    eid: str, fovs: list[int], neurons_only: bool, stored: Mapping[int, dict]
) -> tuple[list[tuple[int, int]], np.ndarray, int]:
    """Return (fov, roi) of each row, the traces (n, M) float32 on a common clock, and M, its number of frames."""
    clocks = _frame_times(eid, fovs)
    shared = shared_frames(eid, clocks)
    cells = ROI & {"eid": eid} & [{"fov": fov} for fov in fovs] & ("is_neuron" if neurons_only else True)
    fov_of, numbers, offsets = bulk.columns(cells, "fov", "roi", "time_offset", order_by=("fov", "roi"))
    if not len(numbers):
        raise DataError("the session has no cells to embed", eid=eid, expected="at least one neuron", found="none")
    stacked = on_clock(eid, clocks, shared, fov_of, numbers, offsets, stored)
    return list(zip(fov_of.tolist(), numbers.tolist(), strict=True)), stacked, stacked.shape[1]


def on_clock(
    eid: str, clocks: dict[int, np.ndarray], clock: np.ndarray, fovs: np.ndarray, rois: np.ndarray, offsets: np.ndarray,
    stored: Mapping[int, dict] | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the traces of cells on a common clock, each ROI from its own times.

    Parameters
    ----------
    eid : str
    clocks : dict of int to (n_frames,) float64, s
        Frame times by FOV.
    clock : (M,) float64, s
        What ``shared_frames`` returns.
    fovs, rois : (n,) int
        Sorted by FOV.
    offsets : (n,) float
        Time of each ROI after the start of its frame, s.
    stored : dict of int to dict, optional
        What ``recorded`` returned for these FOVs, with a signal.

    Returns
    -------
    (n, M) float32
    """
    stacked = np.empty((len(rois), len(clock)), np.float32)
    for fov, times in clocks.items():
        rows = slice(*np.searchsorted(fovs, [fov, fov + 1]))
        of_fov = {fov: stored[fov]} if stored else None
        # a single FOV keeps its frames; the traces of several are resampled, each ROI from its own times
        if len(clocks) == 1 and len(clock) == len(times):
            roi_traces(eid, fovs[rows], rois[rows], out=stacked[rows], stored=of_fov)
        elif len(clocks) == 1:
            stacked[rows] = roi_traces(eid, fovs[rows], rois[rows], stored=of_fov)[:, np.isin(times, clock)]
        elif rows.stop > rows.start:
            traces = roi_traces(eid, fovs[rows], rois[rows], stored=of_fov)
            own = offsets[rows].astype(float)
            # no NaN, which neither Rastermap nor a picture can use: the clock has frames of all FOVs only
            resample(traces, times, own, clock, out=stacked[rows], gap=np.inf, hold_ends=True, fov=fov)
    return stacked


def _ranked_blocks(
    eid: str, clocks: dict[int, np.ndarray], clock: np.ndarray, fovs: np.ndarray, rois: np.ndarray, offsets: np.ndarray,
    stored: Mapping[int, dict],
) -> Iterator[np.ndarray]:  # fmt: skip
    """Yield the traces of cells, (n, M) float32, in the given order, in blocks of the height of a tile.

    The whole matrix is never in memory.
    """
    for start in range(0, len(rois), tiles.TILE_ROWS):
        block = slice(start, start + tiles.TILE_ROWS)
        # sorted by FOV to be read together, then put back into the order of the raster
        by_fov = np.argsort(fovs[block], kind="stable")
        traces = on_clock(eid, clocks, clock, fovs[block][by_fov], rois[block][by_fov], offsets[block][by_fov], stored)
        yield traces[np.argsort(by_fov)]
