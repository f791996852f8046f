"""Values on their way into a row, and keys that name their contents."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import datajoint as dj
import numpy as np

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


class WholeDelete:
    """Mixin for tables whose rows others gather: deleting one takes along the gatherings that name it.

    DataJoint would refuse (``part_integrity="enforce"``) because a set of sessions, or of FOVs, is a
    master with parts. Without one of them it is not the same set, so it goes, with its results.
    """

    def delete(self, *args: Any, part_integrity: str = "cascade", **kwargs: Any) -> Any:
        """Delete the rows and all that depends on them, sets that name one of them included.

        Says how many rows of which table go, and asks.
        """
        with log_level(logging.INFO):
            return super().delete(*args, part_integrity=part_integrity, **kwargs)  # type: ignore[misc]


def without_failed(keys: dj.QueryExpression, *tables: type[dj.Table]) -> dj.QueryExpression:
    """Return the keys for which none of the tables has an error in its job table."""
    for table in tables:
        # a job table holds the same keys, and DataJoint does not know that they are the same
        keys = keys.restrict(dj.Not(table.jobs.errors.proj()), semantic_check=False)
    return keys
