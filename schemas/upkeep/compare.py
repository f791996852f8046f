"""Comparing the rows of a session with the files that they were read from, by path, hash and value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datajoint as dj
import numpy as np

from pipeline import reading
from pipeline.errors import DataError, MesoError
from pipeline.reading.datasets import GONE
from pipeline.tracking import uids as tracking
from schemas.imaging.tables import FOV, ROI, Recording
from schemas.queries.tracking_runs import latest_tracking_runs
from schemas.session import Behavior, FOVFolder, Wheel, one_for
from schemas.tracking import TrackingFile, TrackingRun

#: Columns that are computed, by packages whose versions may differ, and not read.
COMPUTED = ("velocity_start", "wheel_velocity")
TELLS_NOTHING = "so it cannot tell whether the database is right"


class Difference(NamedTuple):
    """A file or row that is not as recorded.

    Attributes
    ----------
    kind : str
        As in ``schemas.exchange.verify.Finding``: 'changed', 'no file' or 'differs'.
    table : str
    error : DataError
    """

    kind: str
    table: str
    error: DataError


def reader_of(eid: str, recorded: list[dict]) -> reading.SessionReader:
    """Return a reader of exactly these files, as ``SourceFile.recorded`` returns them."""
    return reading.SessionReader(one_for(eid), eid, [reading.Source(**row) for row in recorded])


def changed_files(table: type[dj.Table], key: dict) -> list[Difference]:
    """Compare each recorded file of a row of FOV, Behavior or Wheel with its hash, reading all of it."""
    name, place = f"{table.__name__}.Source", {"eid": key["eid"], "fov": key.get("fov")}
    recorded = table.Source.recorded(key)
    if not recorded:
        problem = f"no file was recorded for this row, {TELLS_NOTHING}"
        return [Difference("no file", name, DataError(problem, **place))]
    try:
        reader = reader_of(key["eid"], recorded)
    except MesoError as error:  # e.g. the ONE cache is not on this machine
        return [Difference("no file", name, DataError(f"cannot be compared: {error}", **place))]
    return [found for row in recorded for found in _changed_file(reader, row["dataset"], name)]


def _changed_file(reader: reading.SessionReader, dataset: str, table: str) -> Iterator[Difference]:
    collection, _, name = reading.without_revision(dataset).rpartition("/")
    try:
        reader.path(name, collection)
    except DataError as error:
        kind = "no file" if error.problem == GONE else "changed"
        error.problem = f"{error.problem}, {TELLS_NOTHING}"
        yield Difference(kind, table, error.located(eid=error.eid, fov=error.fov, dataset=dataset))


def differing_rows(table: type[dj.Table], key: dict) -> list[Difference]:
    """Compare a row of FOV, Behavior or Wheel, and what is read from the same files, with these: the recorded ones."""
    files = [reading.Source(**row) for row in table.Source.recorded(key)]
    try:
        data = READ[table](key, files)
    except DataError as error:  # files that were accepted then are refused now
        return [Difference("differs", table.__name__, error)]
    return differing_from(table, key, data)


def differing_from(table: type[dj.Table], key: dict, data: Any) -> list[Difference]:
    """Return the first difference of each table, if it has rows, that is read from the files of FOV, Behavior or Wheel.

    Parameters
    ----------
    table, key
    data : FOVData, Trials or Wheel
        What the files say. Traces are not compared.
    """
    return [found for of, rows in ROWS[table] if of & key for found in _differing(of, key, rows(key, data))]


def same_columns(table: type[dj.Table], key: dict, data: Any) -> set[str]:
    """Return the columns of all rows that are read from the same files that are those of ``data``.

    Parameters as for ``differing_from``; of tables without rows there is none.
    """
    found: set[str] = set()
    for of, rows in ROWS[table]:
        stored, wanted = (of & key).to_dicts(order_by="KEY"), list(rows(key, data))
        if stored and len(stored) == len(wanted):
            pairs = list(zip(stored, wanted, strict=True))
            found |= {name for name in wanted[0] if all(_same(row[name], should[name]) for row, should in pairs)}
    return found


def _read_fov(key: dict, files: list[reading.Source]) -> reading.FOVData:
    collection = (FOVFolder & key).fetch1("collection")
    return reading.read_fov(one_for(key["eid"]), key["eid"], key["fov"], collection, recorded=files)


#: How the files of a row are read again.
READ: dict[type[dj.Table], Callable[[dict, list[reading.Source]], Any]] = {
    FOV: _read_fov,
    Behavior: lambda key, files: reading.read_trials(one_for(key["eid"]), key["eid"], files),
    Wheel: lambda key, files: reading.read_wheel(one_for(key["eid"]), key["eid"], files),
}
#: The tables whose rows are read from the same files, and how these rows are made of them.
ROWS: dict[type[dj.Table], tuple[tuple[type[dj.Table], Callable[[dict, Any], Iterable[dict]]], ...]] = {
    FOV: ((FOV, FOV.rows), (Recording, Recording.rows), (ROI, ROI.rows)),
    Behavior: ((Behavior, Behavior.rows), (Behavior.Trial, Behavior.trial_rows)),
    Wheel: ((Wheel, Wheel.rows),),
}


def _differing(table: type[dj.Table], key: dict, expected: Iterable[dict]) -> Iterator[Difference]:
    """Yield the first difference between the rows of a key and those that its files give."""
    stored = (table & key).to_dicts(order_by="KEY")
    wanted = list(expected)
    name = table.__name__ if not issubclass(table, dj.Part) else table.__qualname__
    place = {"eid": key["eid"], "fov": key.get("fov")}
    if len(stored) != len(wanted):
        problem = "the number of rows is not that of the files"
        yield Difference("differs", name, DataError(problem, expected=len(wanted), found=len(stored), **place))
        return
    for row, should in zip(stored, wanted, strict=True):
        for column in should.keys() - set(COMPUTED):
            if not _same(row[column], should[column]):
                own = [f"{n} {row[n]}" for n in table.primary_key if n not in key]
                dataset = ", ".join([*own, column])
                wants, has = _text(should[column]), _text(row[column])
                do = "Delete the row and populate it again"
                error = DataError("differs from the file", dataset=dataset, expected=wants, found=has, do=do, **place)
                yield Difference("differs", name, error)
                return


def _same(stored: Any, expected: Any) -> bool:
    if stored is None or expected is None:
        return stored is expected
    if isinstance(expected, np.ndarray):
        return np.array_equal(np.asarray(stored), expected, equal_nan=True)
    return bool(stored == expected)


def _text(value: Any) -> str:
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else f"{value}"


def changed_uids(eid: str) -> list[Difference]:
    """Compare the UID files of a session in the subject's latest tracking run with the files now.

    Earlier runs are records of files that later runs have replaced.
    """
    rows = (TrackingFile & {"eid": eid}) & (TrackingRun & latest_tracking_runs()).proj()
    return [found for row in rows.to_dicts(order_by="fov") for found in _changed_uids(row)]


def _changed_uids(row: dict) -> Iterator[Difference]:
    place = {"eid": row["eid"], "fov": row["fov"], "dataset": row["uid_origin"]}
    do = f"Register it again with: meso track, or meso update {row['eid']}"
    path = Path(row["uid_origin"])
    if not path.is_file():
        yield Difference("no file", "TrackingFile", DataError(f"{GONE}, {TELLS_NOTHING}", **place))
        return
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != row["uid_sha256"]:
        expected, found = f"sha256 {row['uid_sha256']}", f"sha256 {sha256}"
        problem = f"the file changed since it was read, {TELLS_NOTHING}"
        error = DataError(problem, expected=expected, found=found, do=do, **place)
        yield Difference("changed", "TrackingFile", error)
        return
    try:
        file = tracking.read_file(path)
    except DataError as error:
        yield Difference("differs", "TrackingFile", error)
        return
    if file.text != row["uid_text"]:
        yield Difference("differs", "TrackingFile", DataError("the text is not that of the file", **place))
    try:
        silhouette = _silhouette_now(row, file)
    except MesoError as error:
        problem = f"its silhouettes cannot be compared: {error}"
        yield Difference("no file", "TrackingFile", DataError(problem, **place))
        return
    if not _same(row["cluster_silhouette"], silhouette):  # no hash of their file is recorded: the values are compared
        problem = "the silhouettes are not those that belong to it now"
        yield Difference("changed", "TrackingFile", DataError(problem, do=do, **place))


def _silhouette_now(row: dict, file: tracking.UIDFile) -> np.ndarray | None:
    """Return the silhouettes that registering a UID file again would read.

    Of a session folder ONE gives them, perhaps in a revision of their own; elsewhere they are beside the UIDs.
    """
    if (TrackingRun & row).fetch1("uid_root"):
        return file.silhouette
    now = tracking.read_session(one_for(row["eid"]), row["eid"], (FOVFolder & row).fetch1("collection"))
    return now.silhouette if now and now.origin == file.origin else file.silhouette
