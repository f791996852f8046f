"""Read the trials and the wheel of a session; wheel velocity is computed by IBL's brainbox."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.reading.datasets import NUMBERS, SessionReader, Source, first_line, read_bytes

if TYPE_CHECKING:
    import pandas as pd

#: Attributes of the ALF trials object that are kept, one float column each; NaN where a trial has no value.
TRIAL_ATTRIBUTES = (
    "intervals_0", "intervals_1", "goCue_times", "stimOn_times", "stimOff_times", "firstMovement_times",
    "response_times", "feedback_times", "choice", "feedbackType", "contrastLeft", "contrastRight",
    "probabilityLeft", "rewardVolume", "quiescencePeriod",
)  # fmt: skip
TRIALS = "_ibl_trials.table.pqt"
#: The decoding targets are made of these; all other attributes may be missing.
REQUIRED_ATTRIBUTES = ("choice", "feedbackType", "stimOn_times", "contrastLeft", "contrastRight", "probabilityLeft")
#: Allowed values of the coded attributes, besides NaN.
ALLOWED_CODES = {"choice": (-1, 0, 1), "feedbackType": (-1, 0, 1)}
#: Attributes that are fractions, from 0 to 1.
FRACTIONS = ("contrastLeft", "contrastRight", "probabilityLeft")
#: Longest wheel recording in s (one day). One wrong timestamp would otherwise make brainbox interpolate to
#: more samples than fit in memory.
MAX_WHEEL_DURATION = 86_400
#: Rates in Hz: brainbox interpolates the wheel at the first; velocity is stored at the second. The velocity is
#: low-pass filtered at 20 Hz, so 100 Hz loses nothing.
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
        As recorded, in s and rad (counter-clockwise positive). The encoder writes a sample per step, so there are
        none while the wheel is still.
    velocity_start : float
        Time of the first velocity sample in s.
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
    """Return the database column of an ALF attribute: firstMovement_times -> first_movement_times."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", attribute).lower()


def task_collections(reader: SessionReader, name: str) -> list[str]:
    """Return the collections (``alf`` or ``alf/task_XX``) that hold a dataset, in order."""
    # older sessions keep behaviour in alf/ itself, newer ones in one folder per task protocol
    collections = ["alf", *sorted(c for c in reader.collections() if "/task_" in c)]
    return [collection for collection in collections if reader.has(name, collection)]


def read_trials(one: Any, eid: str, recorded: Iterable[Source] | None = None) -> Trials:
    """Read the trials of all task protocols of a session and concatenate them.

    Parameters
    ----------
    one : ONE client
    eid : str
    recorded : iterable of Source, optional
        Read these files again, and no others.

    Raises
    ------
    DataError
        The trials table is missing, unreadable, empty, or lacks a required column; or an attribute differs from the
        table in length, has impossible values, or has times that decrease; or a file is not the recorded one.
    """
    import pandas as pd

    reader = SessionReader(one, eid, recorded)
    collections = task_collections(reader, TRIALS)
    if not collections:
        raise DataError("the session has no trials table", eid=eid, dataset=f"alf/task_XX/{TRIALS}")
    table = pd.concat([_load_trials(reader, c) for c in collections], ignore_index=True)
    if not len(table):
        dataset = f"{collections[0]}/{TRIALS}"
        raise DataError("the trials table is empty", eid=eid, dataset=dataset, expected="1 trial or more", found="0")
    return Trials(table, tuple(reader.sources))


def trial_datasets(reader: SessionReader) -> list[str]:
    """Return the datasets that ``read_trials`` would read from what ONE lists now, as paths without revision.

    Which attributes are columns of a trials table is read from the file, if it is on this machine; otherwise all
    attributes that ONE lists beside it are assumed to be read.
    """
    found = []
    for collection in task_collections(reader, TRIALS):
        columns = _columns(reader, f"{collection}/{TRIALS}")
        names = [f"_ibl_trials.{attribute}.npy" for attribute in TRIAL_ATTRIBUTES if attribute not in columns]
        found += [f"{collection}/{name}" for name in (TRIALS, *names) if reader.has(name, collection)]
    return found


def _columns(reader: SessionReader, dataset: str) -> list[str]:
    """Return the names of the columns of a table without reading it; empty if it is not here or damaged."""
    import pyarrow.parquet

    path = reader.default(dataset)
    file = reader.local(path) if path else None
    try:
        return list(pyarrow.parquet.read_schema(file).names) if file else []
    except (OSError, ValueError):  # pyarrow's errors are these
        return []


def _load_trials(reader: SessionReader, collection: str) -> pd.DataFrame:
    """Read the trials table of a collection, and the attributes stored in separate files beside it.

    brainbox's SessionLoader is not used: it loads with ONE's object loader, which unpickles ``.npy`` files.
    """
    import pandas as pd

    table = _load_table(reader, collection)
    trials = pd.DataFrame(index=pd.RangeIndex(len(table)))
    for attribute in TRIAL_ATTRIBUTES:
        name = f"_ibl_trials.{attribute}.npy"
        if attribute in table:
            name, values = TRIALS, _column(reader, collection, table, attribute)
        elif reader.has(name, collection):
            values = reader.vector(name, collection)
        else:
            trials[attribute] = np.nan
            continue
        place = reader.place(name, collection)
        if len(values) != len(table):
            expected = f"{len(table)} trials as in the table"
            raise DataError(f"{attribute} differs from the trials table in length", expected=expected,
                            found=f"{len(values)}", **place)  # fmt: skip
        _check_values(attribute, values, place)
        trials[attribute] = values
    _check_order(trials, reader.place(TRIALS, collection))
    return trials.assign(collection=collection)


def _load_table(reader: SessionReader, collection: str) -> pd.DataFrame:
    import pandas as pd

    path, place = reader.path(TRIALS, collection), reader.place(TRIALS, collection)
    content = read_bytes(path, **place)  # pandas would read a folder as an empty table
    try:
        table = pd.read_parquet(io.BytesIO(content))
    except Exception as error:  # pyarrow and pandas each raise their own
        raise DataError(
            f"cannot be read as a table ({first_line(error)})",
            expected="a complete parquet file",
            found=f"{len(content)} bytes",
            do="Fetch the file again",
            **place,
        ) from error
    beside = [name for name in REQUIRED_ATTRIBUTES if reader.has(f"_ibl_trials.{name}.npy", collection)]
    missing = [name for name in REQUIRED_ATTRIBUTES if name not in table and name not in beside]
    if missing:
        expected, found = ", ".join(missing), ", ".join(map(str, table))
        raise DataError("the trials table lacks columns", expected=expected, found=found, **place)
    return table


def _column(reader: SessionReader, collection: str, table: pd.DataFrame, attribute: str) -> np.ndarray:
    """Return a column of the trials table as (n_trials,) float64; refuse text and objects."""
    column = table[attribute]
    # pandas' nullable dtypes (Int64, boolean) report the kind of their numbers; text and categories are "O"
    if getattr(column.dtype, "kind", "O") not in NUMBERS:
        raise DataError(
            f"{attribute} does not hold numbers",
            expected="integers or floats",
            found=f"{column.dtype}",
            **reader.place(TRIALS, collection),
        )
    values: np.ndarray = column.to_numpy(dtype=float, na_value=np.nan)
    return values


def _check_values(attribute: str, values: np.ndarray, place: dict[str, Any]) -> None:
    """Refuse infinity and values that the attribute cannot have; NaN marks a trial without a value."""
    bad, expected = np.isinf(values), "finite numbers"
    if attribute in ALLOWED_CODES:
        codes = ALLOWED_CODES[attribute]
        bad, expected = ~np.isin(values, codes) & ~np.isnan(values), " or ".join(map(str, codes))
    elif attribute in FRACTIONS:
        bad, expected = (values < 0) | (values > 1), "0 to 1"
    if bad.any():
        trial = np.flatnonzero(bad)[0]
        found = f"{values[trial]} in trial {trial}"
        raise DataError(f"{attribute} has an impossible value", expected=f"{expected}, or NaN", found=found, **place)


def _check_order(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse trials whose start or stimulus times decrease; trials without a time are ignored."""
    for attribute in ("intervals_0", "stimOn_times"):
        known = np.flatnonzero(trials[attribute].notna())
        times = trials[attribute].to_numpy()[known]
        back = np.flatnonzero(np.diff(times) < 0)
        if back.size:
            trial = known[back[0] + 1]
            found = f"{attribute} {times[back[0]]} s, then {times[back[0] + 1]} s in trial {trial}"
            raise DataError("trial times decrease", expected="trials in order of time", found=found, **place)


def read_wheel(one: Any, eid: str, recorded: Iterable[Source] | None = None) -> Wheel:
    """Read the wheel of all task protocols of a session and compute its velocity.

    Parameters
    ----------
    one : ONE client
    eid : str
    recorded : iterable of Source, optional
        Read these files again, and no others.

    Raises
    ------
    DataError
        The wheel is missing, its times and positions differ in length, values are not finite, times decrease, or the
        recording is longer than a day; or a file is not the recorded one.
    ConfigError
        brainbox is not installed.
    """
    wheel = _brainbox("brainbox.behavior.wheel")
    reader = SessionReader(one, eid, recorded)
    name = "_ibl_wheel.timestamps.npy"
    collections = task_collections(reader, name)
    if not collections:
        raise DataError("the session has no wheel", eid=eid, dataset=f"alf/task_XX/{name}")
    parts = [
        [reader.vector(f"_ibl_wheel.{what}.npy", collection) for what in ("timestamps", "position")]
        for collection in collections
    ]
    for collection, (times, position) in zip(collections, parts, strict=True):
        _check_wheel(reader, collection, times, position)
    times, position = (np.concatenate(part) for part in zip(*parts, strict=True))
    # once more for the whole: each protocol may be in order while they overlap
    _check_wheel(reader, collections[-1], times, position)
    even, even_times = wheel.interpolate_position(times, position, freq=WHEEL_RATE)
    velocity, _ = wheel.velocity_filtered(even, WHEEL_RATE)
    step = WHEEL_RATE // VELOCITY_RATE
    return Wheel(times, position, float(even_times[0]), velocity[::step].astype(np.float32), tuple(reader.sources))


def wheel_datasets(reader: SessionReader) -> list[str]:
    """Return the datasets that ``read_wheel`` would read from what ONE lists now, as paths without revision."""
    collections = task_collections(reader, "_ibl_wheel.timestamps.npy")
    return [f"{collection}/_ibl_wheel.{what}.npy" for collection in collections for what in ("timestamps", "position")]


def _check_wheel(reader: SessionReader, collection: str, times: np.ndarray, position: np.ndarray) -> None:
    """Check wheel times (M,) in s and positions (M,) in rad; errors name `collection`."""
    in_times, in_position = (reader.place(f"_ibl_wheel.{of}.npy", collection) for of in ("timestamps", "position"))
    if times.shape != position.shape:
        expected, found = f"{len(position)} positions", f"{len(times)} times"
        raise DataError("wheel times and positions differ in length", expected=expected, found=found, **in_times)
    if len(times) < 2:
        found = f"{len(times)} samples"
        raise DataError("too few wheel samples", expected="2 samples or more", found=found, **in_times)
    for values, place in ((times, in_times), (position, in_position)):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            found = f"{values[bad[0]]} at sample {bad[0]}"
            raise DataError("wheel values are not finite", expected="finite numbers", found=found, **place)
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size:
        found = f"{times[back[0]]} s, then {times[back[0] + 1]} s at sample {back[0] + 1}"
        raise DataError("wheel times decrease", expected="times in increasing order", found=found, **in_times)
    if times[-1] - times[0] > MAX_WHEEL_DURATION:
        found = f"{times[0]} to {times[-1]} s"
        raise DataError("the wheel recording is too long", expected="at most one day", found=found, **in_times)


def _brainbox(module: str) -> Any:
    """Import a module of IBL's brainbox, which is part of the optional package ibllib and slow to import."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{module} is needed to read behaviour but is not installed ({error}). "
            f"Install it with: pip install '.[ingest]' "
            f"(the package called 'brainbox' on the package index is an unrelated project)"
        ) from error
