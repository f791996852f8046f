"""Helpers for rows, keys and restrictions that several modules of tables share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

import datajoint as dj
import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.reading import Source


def number(value: Any) -> float | None:
    """Return a float, or None for NaN and infinity, which the two servers store differently."""
    value = float(value)
    return value if math.isfinite(value) else None


def content_key(content: Any) -> str:
    """Return the key of plain content, 32 hex digits of a hash: equal content has the same key on every machine."""
    # canonical JSON; changing any of these options would change the keys of existing rows
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sources_key(*files: dj.QueryExpression) -> str:
    """Return a hash of what rows were read from: restricted ``Source`` parts, with keys, paths and hashes."""
    return content_key(
        [
            [
                [row[name] for name in (*part.primary_key, "sha256")]
                for row in part.proj("sha256").to_dicts(order_by="KEY")
            ]
            for part in files
        ]
    )


def check_lengths(table: type[dj.Table], row: Mapping[str, Any], eid: str) -> None:
    """Refuse texts of a session that are longer than their columns; the servers would answer with their own errors.

    Raises
    ------
    DataError
        A text is too long.
    """
    for name, value in row.items():
        length = re.search(r"char\((\d+)\)", table.heading[name].type)
        if length and isinstance(value, str) and len(value) > int(length[1]):
            raise DataError(
                f"{name} of the session is too long", eid=eid, expected=f"up to {length[1]} characters",
                found=f"{len(value)}: {value[:40]}...",
            )  # fmt: skip


class SourceFile(dj.Part):
    """Base of the parts that list the files that a row was read from."""

    definition = """
    # a file that was read
    -> master
    dataset : varchar(511)          # path within the session
    ---
    dataset_id='' : varchar(36)     # id in ONE
    revision='' : varchar(255)      # '' for the original
    file_size : int64               # bytes
    sha256 : char(64)               # of the whole file
    one_hash='' : varchar(64)       # of the file in ONE when it was read, '' if ONE had none
    """

    def insert_sources(self, key: dict, sources: Iterable[Source], **options: Any) -> None:
        """Insert one row per file; ``options`` as of DataJoint's ``insert``."""
        rows = [dataclasses.asdict(source) for source in sources]
        self.insert(({**key, "file_size": row.pop("size"), **row} for row in rows), **options)

    @classmethod
    def recorded(cls, key: dict) -> list[dict[str, Any]]:
        """Return the files of a row, each as the arguments of a ``Source``."""
        return [_arguments(row) for row in (cls & key).to_dicts(order_by="dataset")]

    @classmethod
    def by_row(cls, key: dict | list[dict]) -> list[tuple[dict[str, Any], list[Source]]]:
        """Return the keys of several rows, in order, with the files of each; one statement."""
        names = [name for name in cls.primary_key if name != "dataset"]
        files = groupby((cls & key).to_dicts(order_by="KEY"), key=itemgetter(*names))
        rows = [list(group) for _, group in files]
        return [({name: row[0][name] for name in names}, [source_of(one) for one in row]) for row in rows]


def source_of(row: Mapping[str, Any]) -> Source:
    """Return a row of a ``Source`` part as the file that it records."""
    return Source(**_arguments(row))


def _arguments(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a ``Source`` part as the arguments of ``pipeline.reading.Source``."""
    names = ("dataset", "dataset_id", "revision", "sha256", "one_hash")
    return {"size": row["file_size"], **{name: row[name] for name in names}}


@contextmanager
def log_level(level: int) -> Iterator[None]:
    """Set DataJoint's log level while a block runs, unless the user has set DJ_LOG_LEVEL."""
    log = logging.getLogger("datajoint")
    before = log.level
    if "DJ_LOG_LEVEL" not in os.environ:
        log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)


def not_empty(queries: Sequence[dj.QueryExpression]) -> list[int]:
    """Return the numbers of the queries that have rows, ascending; one statement."""
    if not queries:
        return []
    every = " UNION ALL ".join(f"SELECT {i} WHERE EXISTS({query.proj().make_sql()})" for i, query in enumerate(queries))
    return sorted(int(i) for (i,) in queries[0].connection.query(every).fetchall())


def place_numbers(fovs: np.ndarray, rois: np.ndarray) -> np.ndarray:
    """Return a number for each ROI of a session, (n,) int64, that sorts as FOV, then number."""
    return np.asarray(fovs, np.int64) << 32 | np.asarray(rois, np.int64)


def in_fovs(fovs: np.ndarray, rois: np.ndarray) -> list[str]:
    """Return a restriction to ROIs of a session, from the FOV (n,) and the number (n,) of each.

    One condition for each FOV: a dict for each ROI would make a much longer statement.
    """
    by_fov = {fov: ", ".join(map(str, rois[fovs == fov].tolist())) for fov in np.unique(fovs).tolist()}
    return [f"fov = {fov} and roi in ({numbers})" for fov, numbers in by_fov.items()]


def checked(restriction: Any, *tables: Any) -> Any:
    """Return a restriction unchanged, after checking that its names are attributes of every table.

    DataJoint ignores unknown names, so that a typing error would select all rows.

    Parameters
    ----------
    restriction
        Any DataJoint restriction. Dicts are checked, alone, in lists or in ``dj.Not``; in SQL the server checks names.
    *tables
        Tables, or other query expressions.

    Raises
    ------
    ConfigError
        A name is not an attribute; the message lists the attributes.
    """
    if isinstance(restriction, dj.Not):
        checked(restriction.restriction, *tables)
    elif isinstance(restriction, Mapping):
        for table in tables:
            unknown = [str(name) for name in restriction if name not in table.heading.names]
            if unknown:
                raise ConfigError(
                    f"{', '.join(unknown)}: not an attribute of {_title(table)}; its attributes are "
                    f"{', '.join(table.heading.names)}"
                )
    elif isinstance(restriction, list | tuple | set):
        for part in restriction:
            checked(part, *tables)
    return restriction


def _title(table: Any) -> str:
    """Return the name of a table, class or instance."""
    if isinstance(table, type):
        return table.__name__
    return type(table).__name__ if isinstance(table, dj.Table) else "the query"


#: Job tables by their table: see ``jobs_of``.
_job_tables: dict[type[dj.Table], Any] = {}


def jobs_of(table: type[dj.Table]) -> Any:
    """Return the job table of a table, kept: DataJoint's ``table.jobs`` queries the server for its keys each time."""
    if table not in _job_tables:
        _job_tables[table] = table.jobs
    return _job_tables[table]


def without_failed(keys: dj.QueryExpression, *tables: type[dj.Table]) -> dj.QueryExpression:
    """Return the keys for which none of the tables has an error in its job table."""
    for table in tables:
        # the attributes of a job table are copies, which DataJoint's semantic check takes for unrelated ones
        keys = keys.restrict(dj.Not(jobs_of(table).errors.proj()), semantic_check=False)
    return keys
