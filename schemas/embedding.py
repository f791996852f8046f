"""Rastermap embeddings."""

from __future__ import annotations

from dataclasses import asdict

import datajoint as dj
import numpy as np

from pipeline.embedding import EmbeddingSettings, rastermap_order
from pipeline.errors import DataError
from pipeline.resampling import common_frames, resample
from schemas import bulk
from schemas.imaging import FOV, ROI, Activity, Recording, fov_traces, imaged_sessions
from schemas.provenance import Environment
from schemas.rows import content_key
from schemas.session import Session  # noqa: F401  a foreign key names it

schema = dj.Schema()


@schema
class EmbeddingParams(dj.Manual):
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

    @classmethod
    def add(cls, settings: EmbeddingSettings) -> dict:
        """Insert settings unless they are there, and return their key."""
        row = asdict(settings) | {"fovs": list(settings.fovs)}
        key = {"embedding_params": content_key(row)}
        if not (cls & key):  # who may only read can ask for settings that are there
            cls.insert1({**key, **row}, skip_duplicates=True)
        return key

    def settings(self) -> EmbeddingSettings:
        """Return the settings of the one row that this is restricted to."""
        row = self.fetch1()
        row.pop("embedding_params")
        return EmbeddingSettings(**row | {"fovs": tuple(row["fovs"]), "neurons_only": bool(row["neurons_only"])})


@schema
class Embedding(dj.Computed):
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

    @property
    def key_source(self):
        return imaged_sessions() * EmbeddingParams.proj()

    def make_fetch(self, key):
        settings = (EmbeddingParams & key).settings()
        there = FOV & key & Recording.proj() & ROI.proj() & Activity.proj()  # the others have failed
        fovs = [int(n) for n in there.to_arrays("fov", order_by="fov") if not settings.fovs or n in settings.fovs]
        missing = set(settings.fovs) - set(fovs)
        if missing or not fovs:
            raise DataError(
                "the session lacks FOVs that the settings name",
                eid=key["eid"],
                expected=", ".join(f"FOV_{n:02d}" for n in settings.fovs),
                found=", ".join(f"FOV_{n:02d}" for n in fovs),
            )
        return asdict(settings), fovs

    def make_compute(self, key, settings, fovs):
        settings = EmbeddingSettings(**settings)
        rois, traces, n_frames = _stack(key["eid"], fovs, settings.neurons_only)
        rank = np.argsort(rastermap_order(traces, settings))
        ranks = [(fov, roi, int(r)) for (fov, roi), r in zip(rois, rank, strict=True)]
        return ranks, n_frames

    def make_insert(self, key, ranks, n_frames):
        self.insert1({**key, "n_embedded": len(ranks), "n_clock_frames": n_frames, **Environment.current()})
        self.Rank.insert({**key, "fov": fov, "roi": roi, "embedding_rank": rank} for fov, roi, rank in ranks)


@schema
class ImportedOrder(dj.Manual):
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


def _stack(eid: str, fovs: list[int], neurons_only: bool) -> tuple[list[tuple[int, int]], np.ndarray, int]:
    """Return (fov, roi) of each row, the traces of several FOVs on a common clock, and its frames."""
    clocks = {fov: np.asarray((Recording & {"eid": eid, "fov": fov}).fetch1("frame_times")) for fov in fovs}
    shared = common_frames(clocks)
    cells = ROI & {"eid": eid} & [{"fov": fov} for fov in fovs] & ("is_neuron" if neurons_only else True)
    fov_of, numbers, offsets = bulk.columns(cells, "fov", "roi", "time_offset", order_by=("fov", "roi"))
    if not len(numbers):
        raise DataError("the session has no cells to embed", eid=eid, expected="at least one neuron", found="none")
    stacked = np.empty((len(numbers), len(shared)), np.float32)
    for fov, times in clocks.items():
        rows = slice(*np.searchsorted(fov_of, [fov, fov + 1]))
        # a single FOV keeps its frames; several are brought to the common clock, each ROI from its own times
        if len(fovs) == 1:
            fov_traces(eid, fov, numbers[rows], out=stacked[rows])
        elif rows.stop > rows.start:
            traces = fov_traces(eid, fov, numbers[rows])
            own = offsets[rows].astype(float)
            resample(traces, times, own, shared, out=stacked[rows], gap=np.inf, hold_ends=True, fov=fov)
    return list(zip(fov_of.tolist(), numbers.tolist(), strict=True)), stacked, stacked.shape[1]
