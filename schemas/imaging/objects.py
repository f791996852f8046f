"""Maintenance of objects in stores: removing objects that no row names, and moving traces between stores."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.storage.arrays import Bytes, unpack
from pipeline.storage.places import place_of
from schemas.imaging.reading import locate_errors, stream_traces
from schemas.imaging.tables import Activity, insert_trace_rows
from schemas.storage import bulk, stores

#: The word of ``meso store move --to`` for the database itself.
DATABASE = "database"
#: An object that no row names is an orphan only after so many days: a job writes it before it inserts the rows.
MIN_ORPHAN_DAYS = 1.0


@dataclass(frozen=True)
class Orphan:
    """An object of this database in a store that no row names.

    Attributes
    ----------
    store : str
    object : stores.Stored
    """

    store: str
    object: stores.Stored

    def is_older(self, days: float) -> bool:
        """Return whether it was written at least so many days ago."""
        return self.object.modified <= datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = self.object
        return {"store": self.store, "object": found.path, "MB": round(found.size / 1e6, 1), "written": found.modified}


def stores_to_look_in() -> list[str]:
    """Return the stores that may have objects of this database: those configured and those that rows name."""
    used = (Activity & "trace_store is not null").to_arrays("trace_store")
    return sorted({*stores.configured(), *map(str, used)})


def orphans(store: str, older_than: float = MIN_ORPHAN_DAYS) -> list[Orphan]:
    """Return the objects of this database in a store that no row names: left by deletions, moves and killed jobs.

    Parameters
    ----------
    store : str
    older_than : float
        Days. The rows of a younger object may be about to be inserted.

    Raises
    ------
    ConfigError
        The store is not configured, or cannot be read.
    """
    # objects before rows: an object whose row is inserted between the two queries is then not taken for an orphan
    found = [Orphan(store, stored) for stored in stores.named(store).objects(stores.folder())]
    # paths of all stores: two stores can be the same folder, and rows then name either of them
    named = set((Activity & "trace_object is not null").to_arrays("trace_object"))
    return [orphan for orphan in found if orphan.is_older(older_than) and orphan.object.path not in named]


def remove(orphan: Orphan) -> None:
    """Remove an object from its store.

    Raises
    ------
    ConfigError
        The store refuses.
    """
    stores.named(orphan.store).remove(orphan.object.path)


def to_move(eids: Sequence[str], store: str | None) -> list[dict]:
    """Return the keys of the FOVs of sessions whose traces are in another store.

    Parameters
    ----------
    eids : sequence of str
    store : str or None
        Where the traces should be; None for the database.

    Raises
    ------
    ConfigError
        There is no such store.
    """
    if store is not None:
        stores.named(store)
    rows = (Activity & [{"eid": eid} for eid in eids]).to_dicts(order_by="KEY")
    return [{"eid": row["eid"], "fov": row["fov"]} for row in rows if row["trace_store"] != store]


def move(key: dict, store: str | None) -> int:
    """Move the traces of a FOV, each verified; all or, after a failure or a kill, none.

    The old object stays in its store until ``orphans`` are removed.

    Parameters
    ----------
    key : dict
        eid and fov.
    store : str or None
        Target; None for the database.

    Returns
    -------
    int
        Number of traces moved; 0 if they are there already.

    Raises
    ------
    ConfigError
        A store cannot be used.
    DataError
        A trace is damaged or missing; no trace of the FOV is moved.
    """
    connection = Activity().connection
    with connection.transaction:
        # FOR UPDATE: no other process deletes or moves the FOV meanwhile
        row = connection.query(f"{(Activity & key).make_sql(['trace_store'])} FOR UPDATE").fetchone()
        if row is None or row[0] == store:
            return 0
        path, rows = (None, _from_store(key)) if store is None else _to_store(key, store)
        (Activity.Trace & key).delete_quick()
        insert_trace_rows(key, rows)
        Activity.update1({**key, "trace_store": store, "trace_object": path})
    return len(Activity.Trace & key)


def _to_store(key: dict, store: str) -> tuple[str, list[tuple[int, bytes]]]:
    """Write the traces of a FOV to a new object; return its path, and the number and place of each ROI."""
    rows: list[tuple[int, bytes]] = []
    with stores.named(store).new(stores.new_path(key["eid"], key["fov"])) as made:

        def take(fov: int, roi: int, data: Bytes) -> None:
            unpack(data)  # verifies the checksums
            rows.append((roi, made.add(data).to_bytes()))

        stream_traces(key["eid"], Activity.Trace & key, take)
    return made.path, rows


def _from_store(key: dict) -> Iterator[tuple[int, bytes]]:
    """Return the number and packed trace of each ROI of a FOV.

    The rows are read now, since they are deleted before the first trace is requested; the object is read lazily.
    """
    rows: list[tuple[int, bytes]] = []
    bulk.stream(Activity.Trace & key, "roi", "trace", take=lambda *row: rows.append(row))
    places = []
    for roi, data in rows:
        with locate_errors(**key, roi=roi):
            places.append((roi, place_of(data)))

    def read() -> Iterator[tuple[int, bytes]]:
        for roi, found in stores.read(places):
            with locate_errors(**key, roi=roi):
                data = stores.value_or_raise(found)
                unpack(data)  # verifies the checksums
            yield roi, bytes(data)

    return read()
