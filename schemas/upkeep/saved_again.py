"""Files that were saved again in other bytes with the same values: they are recorded, and all that was read stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import reading
from pipeline.errors import MesoError
from pipeline.reading.fov import (
    BAD_FRAMES,
    CLASSIFIER,
    FRAME_QC,
    FRAME_QC_NAMES,
    MLAPDV,
    POSITIONS,
    REGION_IDS,
    SIGNALS,
    TIMES,
    TIMESHIFT,
    TYPES,
    UUIDS,
)
from pipeline.storage.arrays import Bytes, unpack
from schemas.imaging.packing import ROIBlocks
from schemas.imaging.reading import stream_traces
from schemas.imaging.signals import Signal
from schemas.imaging.tables import FOV, Activity
from schemas.provenance import OF_UPDATE, SAVED_AGAIN, Deletion
from schemas.server.binding import table_named
from schemas.session import days_of
from schemas.upkeep.changed_files import ChangedRow
from schemas.upkeep.compare import ROWS, differing_from, same_columns
from schemas.upkeep.copied_in_part import stored_and_new

#: The columns that are read from a dataset of a FOV, of tables in ``ROWS``.
COLUMNS = {
    TIMES: {"frame_times"}, TIMESHIFT: {"timeshift"}, BAD_FRAMES: {"bad_frames"}, FRAME_QC: {"frame_qc"},
    FRAME_QC_NAMES: {"frame_qc_names"}, TYPES: {"roi_type"}, CLASSIFIER: {"cell_probability"},
    POSITIONS: {"stack_y", "stack_x", "stack_z"}, UUIDS: {"roi_uuid"},
}  # fmt: skip
#: Likewise of regions and places, whichever of their datasets was read.
OF_PLACES = {REGION_IDS: {"region_id", "region_source"}, MLAPDV: {"ml", "ap", "dv", "mlapdv_source"}}


def same_values(row: ChangedRow) -> tuple[Sequence[reading.Source], ChangedRow | None]:
    """Return the files that hold what a row was read from, and the row as far as others have changed.

    Traces are compared bit by bit, and everything else value by value. Traces of another dtype are other ones.

    Returns
    -------
    sources : sequence of Source
        To be recorded of the row: those that it would be read from now, if all of it is as before. Of a FOV that is
        not, the datasets that are, beside the former ones; empty if there are none.
    rest : ChangedRow or None
        The row with the other changes; None if there are none.
    """
    table = table_named(row.table)
    try:
        data, sources = table().make_compute(row.key, *table().make_fetch(row.key))
    except MesoError:
        return [], row  # the update says why
    is_same = _is_same_signal if table is Signal else _are_same_rows
    if is_same(table, row.key, data, sources):
        return sources, None
    return _same_datasets(row, data, sources) if table is FOV else ([], row)


def _same_datasets(
    row: ChangedRow, data: reading.FOVData, sources: Sequence[reading.Source]
) -> tuple[Sequence[reading.Source], ChangedRow]:
    """Return ``same_values`` of a FOV of which some datasets hold other values."""
    new = {reading.without_revision(one.dataset): one for one in sources}
    columns = _columns_of(data)
    as_before = same_columns(FOV, row.key, data)
    same: set[str] = set()
    for path in {reading.without_revision(change.dataset) for change in row.changes} & new.keys():
        name = path.rpartition("/")[2]
        if name == SIGNALS[data.signal]:
            same |= {path} if _is_same_activity(row, data) else set()
        elif columns.get(name, {name}) <= as_before:
            same.add(path)
    former = [reading.Source(**one) for one in FOV.Source.recorded(row.key)]
    of_before = {reading.without_revision(one.dataset): one for one in former}
    same &= of_before.keys()
    if not same:
        return [], row
    rest = tuple(change for change in row.changes if reading.without_revision(change.dataset) not in same)
    return [new[path] if path in same else one for path, one in of_before.items()], replace(row, changes=rest)


def _columns_of(data: reading.FOVData) -> dict[str, set[str]]:
    """Return the columns of a FOV by the name of the dataset that they are read from."""
    suffixes = {"final": "", "estimate": "_estimate"}
    read = {REGION_IDS: suffixes.get(data.region_source), MLAPDV: suffixes.get(data.mlapdv_source)}
    places = {name.format(suffix): OF_PLACES[name] for name, suffix in read.items() if suffix is not None}
    return {**COLUMNS, **places}


def _is_same_activity(row: ChangedRow, data: reading.FOVData) -> bool:
    """Return whether the stored activity of a FOV is that of a file: a sample is looked at first."""
    samples = stored_and_new(row, data)
    if samples is None or not np.array_equal(*samples, equal_nan=True):
        return False
    return _are_same_traces(
        row.key["eid"], Activity.Trace & row.key, ROIBlocks(data.traces.T), (Activity & row.key).fetch1()
    )


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
