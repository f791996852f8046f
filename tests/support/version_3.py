"""Create a database as version 3 did, with activity in blocks, or migrate it and kill the migration part-way.

A script, run by test_store. Its argument is ``make``, or the point at which ``meso db init`` is killed: ``renamed``,
``second FOV``, ``drop``.
"""

from __future__ import annotations

import os
import signal
import sys

import datajoint as dj
import numpy as np

from schemas import session
from schemas.decoding.tables import TrialFeatures
from schemas.embedding import Embedding, EmbeddingParams
from schemas.imaging.tables import FOV, ROI, Activity, schema
from schemas.server import binding
from schemas.setup import migrations
from support.before_responses import without_responses

#: The definition in version 3, word for word.
BLOCKS = """
    # traces of the ROIs of a FOV, in blocks of at most 32 ROIs
    -> FOV
    roi_block : int16
    ---
    first_roi : int32                   # ROI of the first row
    traces : <blob>                     # (ROIs, n_frames), as in the ALF file
    """
EID = "00000000-0000-3000-8000-0000000000b3"
#: Number of ROIs of each FOV; the last FOV has activity but no rows of ROI.
N_ROIS = (70, 33, 32)
N_FRAMES = 50


def matrix(fov: int) -> np.ndarray:
    """Return the traces of a FOV (ROIs, frames): random bits, among them NaN with payloads."""
    bits = np.random.default_rng(fov).integers(0, 1 << 32, (N_ROIS[fov], N_FRAMES), dtype=np.uint32)
    bits[::7, ::5] = 0x7FC00123
    return bits.view(np.float32)


def make() -> None:
    """Declare the tables of version 3, and fill the blocks of three FOVs."""
    without_responses()
    # later tables, which would refer to the blocks
    del TrialFeatures.OwnSignal, Embedding.OwnSignal, EmbeddingParams.OfSignal
    del binding.MODULES["signals"]
    Activity.definition = BLOCKS
    del Activity.Trace
    schema.declare_list = [one for one in schema.declare_list if one[0].__name__ != "Trace"]
    migrations._store_uncompressed = lambda connection: None  # the rows of the new table
    migrations.init(migrations=migrations.MIGRATIONS[:3])
    session.Subject.insert1({"subject": "OLD"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    session.Session.insert1({"eid": EID, "subject": "OLD", **row})
    for fov, n_rois in enumerate(N_ROIS):
        insert_fov(EID, fov, n_rois if fov < 2 else 0, n_rois, N_FRAMES)
        traces = matrix(fov)
        Activity.insert(
            ({"eid": EID, "fov": fov, "roi_block": i // 32, "first_roi": i, "traces": traces[i : i + 32]}
             for i in range(0, n_rois, 32)),
            allow_direct_insert=True,
        )  # fmt: skip


def insert_fov(eid: str, fov: int, n_rows: int, n_rois: int, n_frames: int) -> None:
    """Insert a FOV that was read from no file, with some of its ROIs."""
    key = {"eid": eid, "fov": fov}
    session.FOVFolder.insert1({**key, "collection": f"alf/FOV_{fov:02d}"})
    row = {"n_rois": n_rois, "n_neurons": n_rois, "n_frames": n_frames, "n_bouts": 1, "signal": "deconvolved"}
    times = {"frame_period": 0.2, "imaging_start": 0.0, "imaging_end": 0.2 * (n_frames - 1)}
    sources = {"region_source": "none", "mlapdv_source": "none"}
    FOV.insert1({**key, **row, **times, **sources}, allow_direct_insert=True)
    place = {"roi_type": 1, "stack_x": 0, "stack_y": 0, "stack_z": 0, "time_offset": 0.0}
    rows = ({**key, "roi": roi, "is_neuron": True, **place} for roi in range(n_rows))
    ROI.insert(rows, allow_direct_insert=True)


def die(*_, **__) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(where: str) -> None:
    """Start the migration, and be killed at this point."""
    insert = migrations.insert_traces

    def insert_and_die(key: dict, traces: np.ndarray) -> None:
        insert(key, traces)
        if key["fov"] == 1:
            die()

    if where == "renamed":
        migrations.bind = die
    elif where == "second FOV":
        migrations.insert_traces = insert_and_die
    else:
        dj.Table.drop_quick = die
    migrations.init()


if __name__ == "__main__":
    make() if sys.argv[1] == "make" else killed_at(sys.argv[1])
