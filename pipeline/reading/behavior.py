"""Trials and wheel of a session, read with IBL's brainbox."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.reading.datasets import REVISION, SessionReader, Source

if TYPE_CHECKING:
    import pandas as pd

#: Attributes of the ALF trials object that are kept, one column each: a number, or NaN where there is none.
TRIAL_ATTRIBUTES = (
    "intervals_0", "intervals_1", "goCue_times", "stimOn_times", "stimOff_times", "firstMovement_times",
    "response_times", "feedback_times", "choice", "feedbackType", "contrastLeft", "contrastRight",
    "probabilityLeft", "rewardVolume", "quiescencePeriod",
)  # fmt: skip
NEEDED_ATTRIBUTES = ("choice", "feedbackType", "stimOn_times", "contrastLeft", "contrastRight", "probabilityLeft")
#: Rate in Hz at which brainbox interpolates the wheel, and at which its velocity is kept: the
#: velocity is low-passed at 20 Hz, so 100 Hz loses nothing.
WHEEL_RATE, VELOCITY_RATE = 1000, 100


@dataclass(frozen=True)
class Trials:
    """All trials of a session in order.

    Attributes
    ----------
    table : DataFrame
        One row per trial, columns ``TRIAL_ATTRIBUTES`` (float64, NaN where missing; s on the session
        clock) and ``collection``.
    sources : tuple of Source
    """

    table: pd.DataFrame
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Wheel:
    """Wheel of a session.

    Attributes
    ----------
    timestamps, position : (M,) float64
        As recorded: s, rad (counter-clockwise positive, no sample while still).
    velocity_start : float
        Time of the first velocity sample, s.
    velocity : (L,) float32
        rad/s every ``1 / VELOCITY_RATE`` s, by ``brainbox.behavior.wheel.velocity_filtered``.
    sources : tuple of Source
    """

    timestamps: np.ndarray
    position: np.ndarray
    velocity_start: float
    velocity: np.ndarray
    sources: tuple[Source, ...]


def column_name(attribute: str) -> str:
    """Return the column of an ALF attribute: firstMovement_times -> first_movement_times."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", attribute).lower()


def task_collections(reader: SessionReader, name: str) -> list[str]:
    """Return the collections (``alf`` or ``alf/task_XX``) that hold a dataset."""
    collections = ["alf", *sorted(c for c in map(str, reader.one.list_collections(reader.eid)) if "/task_" in c)]
    return [collection for collection in collections if reader.has(name, collection)]


def read_trials(one: Any, eid: str) -> Trials:
    """Read the trials of all task protocols of a session, one after the other.

    Raises
    ------
    DataError
        No trials table, an unreadable one, one without a needed column, or one without trials.
    ConfigError
        brainbox is not installed.
    """
    import pandas as pd

    reader = SessionReader(one, eid)
    name = "_ibl_trials.table.pqt"
    collections = task_collections(reader, name)
    if not collections:
        raise DataError("the session has no trials table", eid=eid, dataset=f"alf/task_XX/{name}")
    table = pd.concat([_load_trials(reader, c) for c in collections], ignore_index=True)
    if not len(table):
        raise DataError("the trials table is empty", eid=eid, dataset=f"{collections[0]}/{name}")
    return Trials(table, tuple(reader.sources))


def _load_trials(reader: SessionReader, collection: str) -> pd.DataFrame:
    loader = _brainbox("brainbox.io.one").SessionLoader(one=reader.one, eid=reader.eid)
    dataset = f"{collection}/_ibl_trials.table.pqt"
    _record(reader, collection, "_ibl_trials.")
    try:
        loader.load_trials(collection=collection)
    except Exception as error:  # parquet, ALF and pandas each raise their own
        raise DataError(f"cannot be read ({error})", eid=reader.eid, dataset=dataset) from error
    finally:
        reader.one.wildcards = True  # brainbox switches them off, and leaves them off when it fails
    missing = [name for name in NEEDED_ATTRIBUTES if name not in loader.trials]
    if missing:
        raise DataError(
            "the trials table lacks columns",
            eid=reader.eid,
            dataset=dataset,
            expected=", ".join(missing),
            found=", ".join(map(str, loader.trials)),
        )
    return loader.trials.reindex(columns=list(TRIAL_ATTRIBUTES)).astype(float).assign(collection=collection)


def read_wheel(one: Any, eid: str) -> Wheel:
    """Read the wheel of all task protocols of a session.

    Raises
    ------
    DataError
        No wheel, times and positions of different length, or times that do not increase.
    ConfigError
        brainbox is not installed.
    """
    wheel = _brainbox("brainbox.behavior.wheel")
    reader = SessionReader(one, eid)
    name = "_ibl_wheel.timestamps.npy"
    collections = task_collections(reader, name)
    if not collections:
        raise DataError("the session has no wheel", eid=eid, dataset=f"alf/task_XX/{name}")
    parts = [
        [np.asarray(reader.array(f"_ibl_wheel.{what}.npy", c), float) for what in ("timestamps", "position")]
        for c in collections
    ]
    for collection, (times, position) in zip(collections, parts, strict=True):
        _check_wheel(eid, f"{collection}/{name}", times, position)
    times, position = (np.concatenate(part) for part in zip(*parts, strict=True))
    _check_wheel(eid, f"{collections[-1]}/{name}", times, position)
    even, even_times = wheel.interpolate_position(times, position, freq=WHEEL_RATE)
    velocity, _ = wheel.velocity_filtered(even, WHEEL_RATE)
    step = WHEEL_RATE // VELOCITY_RATE
    return Wheel(times, position, float(even_times[0]), velocity[::step].astype(np.float32), tuple(reader.sources))


def _check_wheel(eid: str, dataset: str, times: np.ndarray, position: np.ndarray) -> None:
    if times.shape != position.shape:
        raise DataError(
            "wheel times and positions differ in length",
            eid=eid,
            dataset=dataset,
            expected=f"{len(position)} positions",
            found=f"{len(times)} times",
        )
    if len(times) < 2 or not (np.diff(times) >= 0).all() or not np.isfinite(position).all():
        raise DataError(
            "the wheel needs two samples or more, times that do not go back, and finite positions",
            eid=eid,
            dataset=dataset,
            found=f"{len(times)} samples",
        )


def _record(reader: SessionReader, collection: str, prefix: str) -> None:
    """Remember the files that brainbox is about to read."""
    for path in list(reader._ids):
        folder, _, name = REVISION.sub("", path).replace("//", "/").rpartition("/")
        if folder == collection and name.startswith(prefix) and "itiDuration" not in name:
            reader.path(name, collection)


def _brainbox(module: str) -> Any:
    """Import a module of IBL's brainbox, which ships in ibllib and is large."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{module} is needed to read behaviour and is not here ({error}). Install it with: pip install '.[ingest]' "
            f"(the package called 'brainbox' on the package index is another project)"
        ) from error
