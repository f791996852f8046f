"""Files that were saved again in other bytes with the same values: they are recorded, and all that was read stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import reading
from pipeline.errors import MesoError
from pipeline.reading.fov import SIGNALS
from pipeline.storage.arrays import Bytes, unpack
from schemas.imaging.packing import ROIBlocks
from schemas.imaging.reading import stream_traces
from schemas.imaging.signals import Signal
from schemas.imaging.tables import FOV, Activity
from schemas.provenance import OF_UPDATE, SAVED_AGAIN, Deletion
from schemas.server.binding import table_named
from schemas.session import days_of
from schemas.upkeep.changed_files import ChangedRow
from schemas.upkeep.compare import ROWS, differing_from


def same_values(row: ChangedRow) -> Sequence[reading.Source] | None:
    """Return the files that a row would be read from now, if they hold what was read before; else None.

    Traces are compared bit by bit, and everything else value by value. Traces of another dtype are other ones.
    """
    table = table_named(row.table)
    try:
        data, sources = table().make_compute(row.key, *table().make_fetch(row.key))
    except MesoError:
        return None  # the update says why
    is_same = _is_same_signal if table is Signal else _are_same_rows
    return sources if is_same(table, row.key, data, sources) else None


def record_files(row: ChangedRow, sources: Sequence[reading.Source]) -> None:
    """Record files in place of the former ones of a row, in a transaction, and which these were, in ``Deletion``."""
    files: Any = table_named(row.table).Source
    new = {reading.without_revision(one.dataset): one.sha256 for one in sources}
    (subject, date) = days_of([row.key["eid"]])[row.key["eid"]]
    with files.connection.transaction:
        former = [reading.Source(**one) for one in files.recorded(row.key)]
        (files & row.key).delete_quick()
        files().insert_sources(row.key, sources)
        changed = [(path, one.sha256) for one in former
                   if new.get(path := reading.without_revision(one.dataset), one.sha256) != one.sha256]  # fmt: skip
        Deletion.record(
            files.__qualname__, [row.key], {files.__qualname__: len(former)}, f"{OF_UPDATE}: {SAVED_AGAIN}",
            [{"file_eid": row.key["eid"], "file_dataset": path, "file_sha256": sha256, "file_subject": subject,
              "file_date": date} for path, sha256 in changed],
        )  # fmt: skip


def _are_same_rows(table: type[dj.Table], key: dict, data: Any, sources: Sequence[reading.Source]) -> bool:
    """Return whether a row of FOV, Behavior or Wheel, and all that is read from its files, are those of ``data``."""
    tables = [of for of, _ in ROWS[table]] + ([Activity] if table is FOV else [])
    if not all(of & key for of in tables) or differing_from(table, key, data):
        return False
    former = {row["sha256"] for row in table.Source.recorded(key)}
    traces = [one for one in sources if one.dataset.endswith(tuple(SIGNALS.values()))]
    if table is not FOV or all(one.sha256 in former for one in traces):
        return True
    return _are_same_traces(key["eid"], Activity.Trace & key, ROIBlocks(data.traces.T), (Activity & key).fetch1())


def _is_same_signal(table: type[dj.Table], key: dict, data: Any, sources: Sequence[reading.Source]) -> bool:
    """Return whether the traces of a row of Signal are those of ``data``, as its ``make_compute`` returns it."""
    dtype, packed = data
    rows = Signal.Trace.proj(trace="signal_trace") & key
    is_dtype = (Signal & key).fetch1("signal_dtype") == dtype
    return is_dtype and _are_same_traces(key["eid"], rows, [unpack(one) for one in packed])


def _are_same_traces(
    eid: str, rows: dj.QueryExpression, file: Sequence[np.ndarray] | ROIBlocks, activity: dict | None = None
) -> bool:
    """Return whether stored traces are those of a file, ROI by ROI, bit by bit."""
    same: list[bool] = []

    def take(_: int, roi: int, data: Bytes) -> None:
        trace = unpack(data)
        same.append(roi < len(file) and trace.dtype == file[roi].dtype and trace.tobytes() == file[roi].tobytes())

    stream_traces(eid, rows, take, activity=activity)
    return len(same) == len(file) and all(same)
