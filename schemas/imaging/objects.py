"""Care of the objects that hold traces: removing those that no row names, and moving traces from store to store."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.storage.arrays import Bytes, unpack
from pipeline.storage.places import place_of
from schemas.imaging.reading import of_roi, stream_traces
from schemas.imaging.tables import Activity, insert_trace_rows
from schemas.storage import bulk, stores

#: What ``meso store move --to`` calls the rows themselves.
DATABASE = "database"
#: Days after which an object that no row names is not one that is about to be named.
YOUNG = 1.0


@dataclass(frozen=True)
class Orphan:
    """An object of this database that no row names.

    Attributes
    ----------
    store : str
    object : stores.Stored
    """

    store: str
    object: stores.Stored

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = self.object
        return {"store": self.store, "object": found.path, "MB": round(found.size / 1e6, 1), "written": found.modified}


def stores_to_look_in() -> list[str]:
    """Return the stores that may have objects of this database: all that are configured, or that rows name."""
    used = (Activity & "trace_store is not null").to_arrays("trace_store")
    return sorted({*stores.configured(), *map(str, used)})


def orphans(store: str, older_than: float = YOUNG) -> list[Orphan]:
    """Return the objects of this database in a store that no row names: what deleted, moved or killed work left.

    Parameters
    ----------
    store : str
    older_than : float
        Days. A younger object may be one that a running ingest is about to name.

    Raises
    ------
    ConfigError
        The store is not configured, or cannot be read.
    """
    latest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=older_than)
    # objects first: one that gets its row between the two is then not taken for an orphan
    found = [Orphan(store, one) for one in stores.named(store).objects(stores.folder()) if one.modified <= latest]
    # paths in any store: the same folder can be two stores, and be named as the other
    named = set((Activity & "trace_object is not null").to_arrays("trace_object"))
    return [one for one in found if one.object.path not in named]


def remove(orphan: Orphan) -> None:
    """Remove an object from its store.

    Raises
    ------
    ConfigError
        The store does not let us.
    """
    stores.named(orphan.store).remove(orphan.object.path)


def to_move(eids: Sequence[str], store: str | None) -> list[dict]:
    """Return the FOVs of sessions whose traces are elsewhere.

    Parameters
    ----------
    eids : sequence of str
    store : str or None
        Where they shall be; None: in the database.

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
    """Move the traces of a FOV, each verified on the way; all of them or, if it fails or is killed, none.

    What was in a store stays there until ``orphans`` are removed.

    Parameters
    ----------
    key : dict
        eid and fov.
    store : str or None
        Where to; None: into the database.

    Returns
    -------
    int
        Traces moved: 0 where there is nothing to do.

    Raises
    ------
    ConfigError
        A store cannot be used.
    DataError
        A trace is damaged or missing: nothing of the FOV is moved.
    """
    connection = Activity().connection
    with connection.transaction:
        # nobody deletes or moves the FOV meanwhile
        row = connection.query(f"{(Activity & key).make_sql(['trace_store'])} FOR UPDATE").fetchone()
        if row is None or row[0] == store:
            return 0
        path, rows = (None, _from_store(key)) if store is None else _to_store(key, store)
        (Activity.Trace & key).delete_quick()
        insert_trace_rows(key, rows)
        Activity.update1({**key, "trace_store": store, "trace_object": path})
    return len(Activity.Trace & key)


def _to_store(key: dict, store: str) -> tuple[str, list[tuple[int, bytes]]]:
    """Write the traces of a FOV to a new object; return its path, and ROIs with their places."""
    rows: list[tuple[int, bytes]] = []
    with stores.named(store).new(stores.new_path(key["eid"], key["fov"])) as made:

        def take(fov: int, roi: int, data: Bytes) -> None:
            unpack(data)
            rows.append((roi, made.add(data).to_bytes()))

        stream_traces(key["eid"], Activity.Trace & key, take)
    return made.path, rows


def _from_store(key: dict) -> Iterator[tuple[int, bytes]]:
    """Return ROIs of a FOV with their packed traces: rows are read now, the object as its traces are asked for."""
    rows: list[tuple[int, bytes]] = []
    bulk.stream(Activity.Trace & key, "roi", "trace", take=lambda *row: rows.append(row))
    places = []
    for roi, data in rows:
        with of_roi(**key, roi=roi):
            places.append((roi, place_of(data)))

    def read() -> Iterator[tuple[int, bytes]]:
        for roi, found in stores.read(places):
            with of_roi(**key, roi=roi):
                data = stores.whole(found)
                unpack(data)
            yield roi, bytes(data)

    return read()
