"""Values on their way into a row, and keys that name their contents."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import datajoint as dj
import numpy as np

from pipeline.errors import ConfigError
from pipeline.reading import Source


def number(value: Any) -> float | None:
    """Return a float, or None for NaN and infinity: the two backends disagree on those."""
    value = float(value)
    return value if math.isfinite(value) else None


def content_key(content: Any) -> str:
    """Return 32 hex digits that name plain content: equal content has equal keys on every machine."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class SourceFile(dj.Part):
    """Base of the parts that say which files a row was read from."""

    definition = """
    # a file that was read
    -> master
    dataset : varchar(255)          # path within the session
    ---
    dataset_id='' : varchar(36)     # id in ONE
    revision='' : varchar(64)       # '' for the original
    file_size : int64               # bytes
    sha256 : char(64)               # of the whole file
    """

    def insert_sources(self, key: dict, sources: Iterable[Source]) -> None:
        """Insert one row per file."""
        rows = [dataclasses.asdict(source) for source in sources]
        self.insert({**key, "file_size": row.pop("size"), **row} for row in rows)


@contextmanager
def log_level(level: int) -> Iterator[None]:
    """Have DataJoint log from this level on, unless the user chose one."""
    log = logging.getLogger("datajoint")
    before = log.level
    if "DJ_LOG_LEVEL" not in os.environ:
        log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)


def in_fovs(fovs: np.ndarray, rois: np.ndarray) -> list[str]:
    """Return the restriction to ROIs (n,) of FOVs (n,) of a session."""
    by_fov = {fov: ", ".join(map(str, rois[fovs == fov].tolist())) for fov in np.unique(fovs).tolist()}
    return [f"fov = {fov} and roi in ({numbers})" for fov, numbers in by_fov.items()]


def checked(restriction: Any, *tables: Any) -> Any:
    """Return a restriction if all names in it are attributes of every table: DataJoint would ignore the others.

    Parameters
    ----------
    restriction
        Anything that DataJoint restricts by. Only dicts, alone or in lists, name attributes that could go unnoticed.
    *tables
        Tables, or other query expressions.

    Raises
    ------
    ConfigError
        A name is no attribute; the message lists those that are.
    """
    if isinstance(restriction, dj.Not):
        checked(restriction.restriction, *tables)
    elif isinstance(restriction, Mapping):
        for table in tables:
            unknown = [str(name) for name in restriction if name not in table.heading.names]
            if unknown:
                raise ConfigError(
                    f"{', '.join(unknown)}: no attribute of {_title(table)}; there are {', '.join(table.heading.names)}"
                )
    elif isinstance(restriction, list | tuple | set):
        for one in restriction:
            checked(one, *tables)
    return restriction


def _title(table: Any) -> str:
    """Return the name of a table, class or instance."""
    if isinstance(table, type):
        return table.__name__
    return type(table).__name__ if isinstance(table, dj.Table) else "the query"


_job_tables: dict[type[dj.Table], Any] = {}


def jobs_of(table: type[dj.Table]) -> Any:
    """Return the job table of a table; DataJoint's ``table.jobs`` asks the server for all keys each time."""
    if table not in _job_tables:
        _job_tables[table] = table.jobs
    return _job_tables[table]


def without_failed(keys: dj.QueryExpression, *tables: type[dj.Table]) -> dj.QueryExpression:
    """Return the keys for which none of the tables has an error in its job table."""
    for table in tables:
        # a job table holds the same keys, and DataJoint does not know that they are the same
        keys = keys.restrict(dj.Not(jobs_of(table).errors.proj()), semantic_check=False)
    return keys
