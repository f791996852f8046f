"""Read the trials and the wheel of a session; wheel velocity is computed by IBL's brainbox."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.reading.datasets import NUMBERS, SessionReader, Source, first_line, read_bytes
from pipeline.reading.fov import Imaging, imaging_span

if TYPE_CHECKING:
    import pandas as pd

#: Attributes of the ALF trials object that are kept, one float column each; NaN where a trial has no value.
TRIAL_ATTRIBUTES = (
    "intervals_0", "intervals_1", "goCue_times", "stimOn_times", "stimOff_times", "firstMovement_times",
    "response_times", "feedback_times", "choice", "feedbackType", "contrastLeft", "contrastRight",
    "probabilityLeft", "rewardVolume", "quiescencePeriod",
)  # fmt: skip
TRIALS, WHEEL_TIMES = "_ibl_trials.table.pqt", "_ibl_wheel.timestamps.npy"
WHEEL_POSITION = "_ibl_wheel.position.npy"
#: The decoding targets are made of these; all other attributes may be missing.
REQUIRED_ATTRIBUTES = ("choice", "feedbackType", "stimOn_times", "contrastLeft", "contrastRight", "probabilityLeft")
#: Allowed values of the coded attributes, besides NaN.
ALLOWED_CODES = {"choice": (-1, 0, 1), "feedbackType": (-1, 0, 1)}
#: Attributes that are fractions, from 0 to 1.
FRACTIONS = ("contrastLeft", "contrastRight", "probabilityLeft")
#: Attributes whose times say when a trial was; they increase from trial to trial.
STARTS = ("intervals_0", "stimOn_times")
#: Longest wheel recording, and longest task, in s (one day). One wrong timestamp of a wheel would otherwise make
#: brainbox interpolate to more samples than fit in memory.
MAX_DURATION = 86_400
#: Median times in s from one stimulus to the next that a task can have: a trial takes 2 to 65 s. Stimuli in minutes are
#: nearer, those in ms further apart. So many times are needed to tell.
TRIAL_PERIODS, MIN_TIMES = (0.5, 600.0), 5
#: If less than the first part of a task's times is within imaging, a unit is looked for in which the second part is,
#: over the third part of the imaging.
MIN_IMAGED, MIN_EXPLAINED, MIN_COVERED = 0.5, 0.9, 0.8
#: Events that are within their own trial, but for single odd ones; and of so many trials it can be told.
WITHIN_TRIALS, MIN_TOLD = ("goCue_times", "firstMovement_times", "response_times", "feedback_times"), 10
#: Part of the trials in which feedback follows from choice and stimulus: all in sound files.
MIN_REWARDED = 0.9
#: Two tasks with the same stimuli, choices and feedback on so many trials or more are one task.
MIN_REPEATED = 10
#: Values of probabilityLeft in the blocks of biased protocols, which draw the side of each stimulus with it.
BLOCKS = (0.2, 0.8)
#: Of the stimuli in blocks 80 % are on the block's side, and half with the blocks of another session. Refused are fewer
#: than the middle of the two that are also 5 standard deviations too few, as in one of 3 million sound sessions.
MIN_IN_BLOCKS, MIN_ON_SIDE, MAX_DEVIATION = 50, 0.65, 5.0
#: A response is the wheel's turn to a threshold, against the sign of the choice: so it is in nearly all trials (IBL's
#: quality control tests the same), and in half of them with another clock, of another day, or of another mouse.
MIN_RESPONSES, MIN_TURNED = 20, 0.7
#: In so large a part of so many trials something impossible may happen: the stimulus comes before the period of
#: quiescence is over, of which the task lets none pass, or goes off after the next trial has begun. Periods that are
#: shifted by a trial are too long in a sixth of the trials and more. The third is the longest delay in s at which the
#: photodiode sees a stimulus go, and the fourth that of clocks that are aligned.
MAX_SHORT, MAX_OVER, DELAY, JITTER = 0.1, 0.2, 0.2, 0.02
#: Turns to the response in rad: 0.28 at 4 degrees per mm, 0.14 at 8. Below the first the wheel was still; a median
#: beyond the second is in another unit, degrees being 57 times as many.
MIN_TURN, MAX_TURN = 0.03, 3.0
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
    left_out : dict of str to str
        Collections whose trials are not used -> why.
    """

    table: pd.DataFrame
    sources: tuple[Source, ...]
    left_out: dict[str, str] = field(default_factory=dict)


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
    doubts : tuple of str
        What may be wrong with it, and cannot be told from sound data.
    """

    timestamps: np.ndarray
    position: np.ndarray
    velocity_start: float
    velocity: np.ndarray
    sources: tuple[Source, ...]
    doubts: tuple[str, ...] = ()


def column_name(attribute: str) -> str:
    """Return the database column of an ALF attribute: firstMovement_times -> first_movement_times."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", attribute).lower()


def task_collections(reader: SessionReader, name: str) -> list[str]:
    """Return the collections (``alf`` or ``alf/task_XX``) that hold a dataset, in order."""
    # older sessions keep behaviour in alf/ itself, newer ones in one folder per task protocol
    collections = ["alf", *(c for c in reader.collections if "/task_" in c)]
    return [collection for collection in collections if reader.has(name, collection)]


def read_trials(one: Any, eid: str, recorded: Iterable[Source] | None = None) -> Trials:
    """Read the trials of all task protocols of a session and concatenate them in order of time.

    A protocol whose table lacks required columns is another task than the one decoded: if the session has a sound
    table too, the protocol is left out with a warning.

    Parameters
    ----------
    one : ONE client
    eid : str
    recorded : iterable of Source, optional
        Read these files again, and no others.

    Raises
    ------
    DataError
        The trials table is missing, unreadable, empty, or lacks a required column; an attribute differs from the table
        in length, has impossible values, is of other trials, or has times that do not increase; the trials of two
        protocols overlap in time
        or are copies; no trial was imaged; times have another unit; or a file is not the recorded one.
    """
    import pandas as pd

    reader = SessionReader(one, eid, recorded)
    collections = task_collections(reader, TRIALS)
    if not collections:
        raise DataError("the session has no trials table", eid=eid, dataset=f"alf/task_XX/{TRIALS}")
    names = (TRIALS, *(f"_ibl_trials.{name}.npy" for name in TRIAL_ATTRIBUTES))
    reader.fetch(f"{collection}/{name}" for collection in collections for name in names)
    tables = {collection: _load_table(reader, collection) for collection in collections}
    lacking = {c: error for c, table in tables.items() if (error := _lacks_columns(reader, c, table))}
    if len(lacking) == len(tables):
        raise next(iter(lacking.values()))
    parts = {c: _load_trials(reader, c, table) for c, table in tables.items() if c not in lacking}
    parts = {collection: part for collection, part in parts.items() if len(part)}
    if not parts:
        dataset = f"{collections[0]}/{TRIALS}"
        raise DataError("the trials table is empty", eid=eid, dataset=dataset, expected="1 trial or more", found="0")
    times = {collection: _starts(part) for collection, part in parts.items()}
    order = _in_order_of_time(reader, TRIALS, times)
    if recorded is None:  # recorded files were checked against imaging when they were read
        _check_no_repeats(reader, parts, order)
        _check_imaged(reader, TRIALS, order, times)
        for collection, part in parts.items():
            _check_period(part, reader.place(TRIALS, collection))
            _check_one_clock(part, reader.place("_ibl_trials.stimOff_times.npy", collection))
            _check_within_trials(part, reader.place(TRIALS, collection))
            _check_quiescence(part, reader.place("_ibl_trials.quiescencePeriod.npy", collection))
            _check_off_in_time(part, reader.place("_ibl_trials.stimOff_times.npy", collection))
            _check_rewarded(part, reader.place(TRIALS, collection))
            _check_volumes(part, reader.place(TRIALS, collection))
            _check_blocks(part, reader.place(TRIALS, collection))
    for error in lacking.values() if recorded is None else ():
        warnings.warn(f"{error}: this task is left out", stacklevel=2)
    table = pd.concat([parts[collection] for collection in order], ignore_index=True)
    return Trials(table, tuple(reader.sources), {collection: str(error) for collection, error in lacking.items()})


def _starts(trials: pd.DataFrame) -> np.ndarray:
    """Return all known times in ``STARTS`` once each, (n,) float64 in s, increasing."""
    times = trials[list(STARTS)].to_numpy()
    return np.unique(times[np.isfinite(times)])


def _in_order_of_time(reader: SessionReader, name: str, times: Mapping[str, np.ndarray]) -> list[str]:
    """Return collections in order of time; refuse two that overlap.

    Parameters
    ----------
    reader : SessionReader
    name : str
        Dataset named in errors.
    times : mapping of str to (n,) float64
        Times in each collection in s, increasing. A collection without any cannot be placed beside others.
    """
    unplaced = [collection for collection in times if not len(times[collection])]
    if unplaced and len(times) > 1:
        place = reader.place(name, unplaced[0])
        raise DataError("no trial has a time", expected="times, to tell the tasks of a session apart", found="none",
                        **place)  # fmt: skip
    if unplaced:
        return unplaced
    order = sorted(times, key=lambda collection: (times[collection][0], times[collection][-1]))
    for before, after in pairwise(order):
        if times[after][0] <= times[before][-1]:
            raise _overlap(reader, name, before, after, times)
    return order


def _overlap(reader: SessionReader, name: str, before: str, after: str, times: Mapping[str, np.ndarray]) -> DataError:
    """Return the error of two collections that overlap in time: copies if they share a time."""
    n_same = int(np.isin(times[after], times[before]).sum())
    spans = " and ".join(f"{times[c][0]} to {times[c][-1]} s in {c}" for c in (before, after))
    problem = f"is a copy of {before}/{name}" if n_same else f"overlaps in time with {before}/{name}"
    copied = f"; {n_same} of {len(times[after])} times are the same" if n_same else ""
    return DataError(problem, expected="tasks one after the other", found=spans + copied,
                     do="Remove the one that does not belong to the session", **reader.place(name, after))  # fmt: skip


def _check_imaged(reader: SessionReader, name: str, order: list[str], times: Mapping[str, np.ndarray]) -> None:
    """Refuse times of another unit or clock: all are before or after imaging, or they fit it in another unit.

    Warn of a task of which most was not imaged: imaging may have ended before it, or begun after it.
    """
    imaged = imaging_span(reader.one, reader.eid)
    if imaged is None or not len(times[order[0]]):  # a single task may have no time
        return
    first, last = times[order[0]][0], times[order[-1]][-1]
    expected = f"times in s between {imaged.first} and {imaged.last} s, when the session was imaged"
    if last < imaged.first or first > imaged.last:
        raise DataError("does not overlap imaging at all: another unit, or another clock", expected=expected,
                        found=f"{first} to {last}", **reader.place(name, order[0]))  # fmt: skip
    for collection in order:
        own, place = times[collection], reader.place(name, collection)
        found = f"{imaged.share(own):.0%} of them within it: {own[0]} to {own[-1]}"
        if imaged.share(own) >= MIN_IMAGED:
            continue
        if unit := _other_unit(own, imaged):
            raise DataError(f"does not fit imaging, unless the unit is {unit}", expected=expected, found=found, **place)
        if name == TRIALS:  # once is enough
            problem = DataError("most trials were not imaged", expected=expected, found=found, **place)
            warnings.warn(str(problem), stacklevel=3)


def _other_unit(times: np.ndarray, imaged: Imaging) -> str:
    """Return the unit in which most times (n,), increasing, are within imaging and cover it; '' if there is none."""
    units = {"ms": 1e-3, "microseconds": 1e-6, "minutes": 60.0, "numbers of frames": imaged.period}
    for unit, seconds in units.items():
        converted = times * seconds
        # frames are counted from the first; a clock in another unit goes on as in s
        for start in (0.0, imaged.first):
            long = converted[-1] - converted[0] >= MIN_COVERED * (imaged.last - imaged.first)
            if long and imaged.share(converted + start) >= MIN_EXPLAINED:
                return unit
    return ""


def _check_period(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse trials that are too near or too far from each other, or last longer than a day: they have another unit."""
    times = trials["stimOn_times"].dropna().to_numpy()
    if len(times) and times[-1] - times[0] > MAX_DURATION:
        raise DataError("the task is too long: another unit than s", expected="at most one day",
                        found=f"{times[0]} to {times[-1]} s", **place)  # fmt: skip
    low, high = TRIAL_PERIODS
    if len(times) >= MIN_TIMES and not low <= (period := float(np.median(np.diff(times)))) <= high:
        expected, found = f"stimuli {low:g} to {high:g} s apart", f"{period:g}, from {times[0]} to {times[-1]}"
        raise DataError("the times of trials are in another unit than s", expected=expected, found=found, **place)


def _check_no_repeats(reader: SessionReader, parts: Mapping[str, pd.DataFrame], order: list[str]) -> None:
    """Refuse two tasks with the same trials at other times: one is a copy in another unit, or on another clock."""
    names = ["contrastLeft", "contrastRight", "choice", "feedbackType"]
    for before, after in combinations(order, 2):
        one, other = (parts[collection][names].to_numpy() for collection in (before, after))
        if len(one) >= MIN_REPEATED and np.array_equal(one, other, equal_nan=True):
            raise DataError(
                f"is a copy of {before}/{TRIALS}", expected="other trials in each task",
                found=f"the same stimuli, choices and feedback in all {len(one)} trials",
                do="Remove the one that does not belong to the session", **reader.place(TRIALS, after),
            )  # fmt: skip


def trial_datasets(reader: SessionReader) -> list[str]:
    """Return the datasets that ``read_trials`` would read from what ONE lists now, as paths without revision.

    Which attributes are columns of a trials table is read from the file, if it is on this machine; otherwise all
    attributes that ONE lists beside it are assumed to be read.
    """
    found = []
    for collection in task_collections(reader, TRIALS):
        columns = _columns(reader, f"{collection}/{TRIALS}")
        names = [f"_ibl_trials.{attribute}.npy" for attribute in TRIAL_ATTRIBUTES if attribute not in columns]
        if columns and _missing(reader, collection, columns):
            names = []  # another task: of its files only the table is read
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


def _load_trials(reader: SessionReader, collection: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the trials in the table of a collection, with the attributes stored in separate files beside it.

    brainbox's SessionLoader is not used: it loads with ONE's object loader, which unpickles ``.npy`` files.
    """
    import pandas as pd

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
    return table


def _lacks_columns(reader: SessionReader, collection: str, table: pd.DataFrame) -> DataError | None:
    """Return the error of a trials table that lacks required columns, which no file beside it has either."""
    missing = _missing(reader, collection, table)
    if not missing:
        return None
    expected, found = ", ".join(missing), ", ".join(map(str, table))
    return DataError(
        "the trials table lacks columns", expected=expected, found=found, **reader.place(TRIALS, collection)
    )


def _missing(reader: SessionReader, collection: str, columns: Container[str]) -> list[str]:
    """Return the required attributes that are neither columns of the table nor files beside it."""
    beside = [name for name in REQUIRED_ATTRIBUTES if reader.has(f"_ibl_trials.{name}.npy", collection)]
    return [name for name in REQUIRED_ATTRIBUTES if name not in columns and name not in beside]


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
    """Refuse trials whose start or stimulus times do not increase; trials without a time are ignored."""
    for attribute in STARTS:
        known = np.flatnonzero(trials[attribute].notna())
        times = trials[attribute].to_numpy()[known]
        back = np.flatnonzero(np.diff(times) <= 0)
        if back.size:
            trial = known[back[0] + 1]
            problem = "trial times decrease" if times[back[0] + 1] < times[back[0]] else "a trial is there twice"
            found = f"{attribute} {times[back[0]]} s, then {times[back[0] + 1]} s in trial {trial}"
            raise DataError(problem, expected="trials in order of time, each once", found=found, **place)


def _check_one_clock(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse stimuli that go off before they come on: the two times are of different clocks, or revisions."""
    on, off = trials["stimOn_times"].to_numpy(), trials["stimOff_times"].to_numpy()
    known = np.isfinite(on) & np.isfinite(off)
    early = known & (off < on)
    if early.sum() > known.sum() / 2:  # single odd trials exist
        trial = np.flatnonzero(early)[0]
        raise DataError(
            "stimuli go off before they come on: the times may be of different clocks",
            expected=f"after {on[trial]} s in trial {trial}", found=f"{off[trial]} s, and {early.sum()} such trials",
            do="Give both times of the same extraction", **place,
        )  # fmt: skip


def _check_within_trials(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse events that are not within their own trials: they are of other trials, or of another session."""
    start, end = trials["intervals_0"].to_numpy(), trials["intervals_1"].to_numpy()
    for attribute in WITHIN_TRIALS:
        times = trials[attribute].to_numpy()
        known = np.isfinite(times) & np.isfinite(start) & np.isfinite(end)
        inside = int(((times >= start) & (times <= end))[known].sum())
        if known.sum() >= MIN_TOLD and inside < known.sum() / 2:  # single odd trials exist
            raise DataError(
                f"{attribute} are not those of these trials", expected="times between start and end of their trials",
                found=f"{inside} of {known.sum()} are", do="Give times of the same extraction, trial by trial", **place,
            )  # fmt: skip


def _check_quiescence(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse periods of quiescence that were not over when the stimulus came: they are of other trials."""
    # in protocols with a cue the stimulus is later
    shown = np.fmax(*trials[["goCue_times", "stimOn_times"]].to_numpy().T) - trials["intervals_0"].to_numpy()
    period = trials["quiescencePeriod"].to_numpy()
    known = np.isfinite(shown) & np.isfinite(period)
    n, early = int(known.sum()), known & (shown < period - JITTER)
    if n >= MIN_RESPONSES and early.sum() > MAX_SHORT * n:
        trial = np.flatnonzero(early)[0]
        raise DataError(
            "quiescencePeriod is not that of these trials",
            expected="stimuli when the period, from the start of the trial, is over",
            found=f"{early.sum()} of {n} before, such as {shown[trial]:.3f} s after the start of trial {trial}, whose "
            f"period is {period[trial]:.3f} s",
            do="Give the periods of the same extraction, trial by trial, in s", **place,
        )  # fmt: skip


def _check_off_in_time(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse stimuli that go off in the next trial: the times are of other trials, or of another clock."""
    off, following = trials["stimOff_times"].to_numpy()[:-1], trials["intervals_0"].to_numpy()[1:]
    known = np.isfinite(off) & np.isfinite(following)
    n, late = int(known.sum()), known & (off > following + DELAY)
    if n >= MIN_RESPONSES and late.sum() > MAX_OVER * n:
        trial = np.flatnonzero(late)[0]
        raise DataError(
            "stimuli go off after the next trial has begun: the times may be of different clocks",
            expected=f"before {following[trial]} s in trial {trial}",
            found=f"{off[trial]} s, and {late.sum()} such trials of {n}",
            do="Give all times of the same extraction", **place,
        )  # fmt: skip


def _check_volumes(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse volumes of reward of other trials: most errors have one, and as many rewarded trials have none.

    Neither is refused alone: some protocols leave rewards out, and a column may have the volume of all trials.
    """
    volume, feedback = trials["rewardVolume"].to_numpy(), trials["feedbackType"].to_numpy()
    n_errors = int(((feedback == -1) & np.isfinite(volume)).sum())
    given, without = int(((feedback == -1) & (volume > 0)).sum()), int(((feedback == 1) & (volume == 0)).sum())
    if n_errors >= MIN_TOLD and min(given, without) > n_errors / 2:
        raise DataError(
            "rewardVolume is not that of these trials", expected="0 where feedbackType is -1, more where it is 1",
            found=f"more in {given} of {n_errors} errors, 0 in {without} rewarded trials",
            do="Give volumes and feedback of the same extraction, trial by trial", **place,
        )  # fmt: skip


def _check_rewarded(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse choices, stimuli and feedback that contradict each other: a choice of the stimulus' side is rewarded."""
    left, right = trials["contrastLeft"].to_numpy(), trials["contrastRight"].to_numpy()
    side = np.where(left > 0, 1.0, np.where(right > 0, -1.0, np.nan))  # NaN > 0 is false
    told, feedback = trials["choice"].to_numpy() * side, trials["feedbackType"].to_numpy()
    known = (np.abs(told) == 1) & (np.abs(feedback) == 1)
    agree = int((told == feedback)[known].sum())
    if known.sum() >= MIN_TOLD and agree < MIN_REWARDED * known.sum():
        raise DataError(
            "choices, stimuli and feedback contradict each other",
            expected="reward for choices of the side of the stimulus (choice 1: left), and for no others",
            found=f"so in {agree} of {known.sum()} trials",
            do="Give all three of the same trials, in the same order", **place,
        )  # fmt: skip


def _check_blocks(trials: pd.DataFrame, place: dict[str, Any]) -> None:
    """Refuse blocks of another session: most stimuli are on the side that probabilityLeft says."""
    left, right = (trials[name].notna().to_numpy() for name in ("contrastLeft", "contrastRight"))
    p_left = trials["probabilityLeft"].to_numpy()
    known = (left != right) & np.isclose(p_left[:, None], BLOCKS).any(axis=1)
    n, on_side = int(known.sum()), int((left == (p_left > 0.5))[known].sum())
    expected, deviation = max(BLOCKS) * n, (n * BLOCKS[0] * BLOCKS[1]) ** 0.5
    if n >= MIN_IN_BLOCKS and on_side < min(MIN_ON_SIDE * n, expected - MAX_DEVIATION * deviation):
        raise DataError(
            "probabilityLeft is not that of these stimuli", found=f"{on_side} are",
            expected=f"about {expected:.0f} of {n} stimuli in blocks of 0.2 and 0.8 on the side of the block",
            do="Give probabilityLeft and contrasts of the same session, trial by trial", **place,
        )  # fmt: skip


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
        The wheel is missing, its times and positions differ in length, values are not finite, times decrease, the
        recording is longer than a day, those of two protocols overlap in time or are copies, none of it was imaged, the
        turns contradict the choices, or a file is not the recorded one.
    ConfigError
        brainbox is not installed.
    """
    wheel = _brainbox("brainbox.behavior.wheel")
    reader = SessionReader(one, eid, recorded)
    collections = task_collections(reader, WHEEL_TIMES)
    if not collections:
        raise DataError("the session has no wheel", eid=eid, dataset=f"alf/task_XX/{WHEEL_TIMES}")
    reader.fetch(f"{collection}/{part}" for collection in collections for part in (WHEEL_TIMES, WHEEL_POSITION))
    parts = {
        collection: [reader.vector(f"_ibl_wheel.{what}.npy", collection) for what in ("timestamps", "position")]
        for collection in collections
    }
    for collection, (times, position) in parts.items():
        _check_wheel(reader, collection, times, position)
    times_of = {collection: times for collection, (times, _) in parts.items()}
    order = _in_order_of_time(reader, WHEEL_TIMES, times_of)
    doubts: list[str] = []
    if recorded is None:  # as for trials
        _check_imaged(reader, WHEEL_TIMES, order, times_of)
        for collection, trials in _sound_trials(one, eid, collections).items():
            (times, position), place = parts[collection], reader.place(WHEEL_POSITION, collection)
            doubts += map(str, _check_turns(trials, times, position, place))
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)
    times, position = (np.concatenate(part) for part in zip(*(parts[c] for c in order), strict=True))
    _check_wheel(reader, order[-1], times, position)  # once more for the whole: together they may be too long
    even, even_times = wheel.interpolate_position(times, position, freq=WHEEL_RATE)
    velocity, _ = wheel.velocity_filtered(even, WHEEL_RATE)
    step = WHEEL_RATE // VELOCITY_RATE
    slow = velocity[::step].astype(np.float32)
    return Wheel(times, position, float(even_times[0]), slow, tuple(reader.sources), tuple(doubts))


def against_wheel(
    trials: pd.DataFrame, times: np.ndarray, position: np.ndarray, eid: str, collection: str
) -> list[str]:
    """Refuse trials that contradict a wheel that has been read; return what is odd, as ``Wheel.doubts``.

    Parameters
    ----------
    trials : DataFrame
        Columns ``TRIAL_ATTRIBUTES``, of one task.
    times, position : (M,) float64
        In s and rad.
    eid, collection : str
        Session, and folder of the task.

    Raises
    ------
    DataError
    """
    place: dict[str, Any] = {"eid": eid, "dataset": f"{collection}/{TRIALS}"}
    try:
        return [str(doubt) for doubt in _check_turns(trials, times, position, place)]
    except DataError as error:
        delete = f"(schemas.Wheel & {{'eid': '{eid}'}}).delete()"
        raise DataError(
            f"contradicts the wheel that has been read: {error.problem}",
            expected=error.expected, found=error.found, **place,
            do=f"Either may be wrong. Give both of this session, then run: meso update {eid}; if there is no "
            f"right wheel, delete its row: {delete}",
        ) from error  # fmt: skip


def wheel_datasets(reader: SessionReader) -> list[str]:
    """Return the datasets that ``read_wheel`` would read from what ONE lists now, as paths without revision."""
    collections = task_collections(reader, WHEEL_TIMES)
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
    if times[-1] - times[0] > MAX_DURATION:
        found = f"{times[0]} to {times[-1]} s"
        raise DataError("the wheel recording is too long", expected="at most one day", found=found, **in_times)


def _sound_trials(one: Any, eid: str, collections: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return by collection the trials that can be read; reading trials raises the errors of the others itself."""
    reader, found = SessionReader(one, eid), {}
    try:
        reader.fetch(trial_datasets(reader))
        for collection in (one for one in collections if reader.has(TRIALS, one)):
            table = _load_table(reader, collection)
            if not _missing(reader, collection, table):
                found[collection] = _load_trials(reader, collection, table)
    except DataError:
        pass
    return found


def _check_turns(
    trials: pd.DataFrame, times: np.ndarray, position: np.ndarray, place: dict[str, Any]
) -> Iterator[DataError]:
    """Refuse a wheel whose turns contradict the choices: of another clock, day or unit.

    Yield the errors of what a sound wheel can have as well: it lacks some of the responses, or the rig's encoder was
    connected the other way round.

    Parameters
    ----------
    trials : DataFrame
        Columns ``TRIAL_ATTRIBUTES``.
    times, position : (M,) float64
        In s and rad.
    place : dict
        Session and dataset, for errors.
    """
    choice, response = trials["choice"].to_numpy(), trials["response_times"].fillna(trials["feedback_times"]).to_numpy()
    events = trials[["goCue_times", "stimOn_times"]].to_numpy()
    # the later one begins the closed loop; in cued protocols the mouse may turn between the two
    starts = np.fmin(*events.T), np.fmax(*events.T)
    known = (np.abs(choice) == 1) & (response > starts[1])  # NaN is neither
    covered = known & (starts[0] >= times[0]) & (response <= times[-1])
    n_known, n = int(known.sum()), int(covered.sum())
    if n_known < MIN_RESPONSES:
        return
    if n_known - n >= MIN_TOLD:
        first, last = starts[0][known].min(), response[known].max()
        problem = DataError(
            "the wheel lacks responses", expected=f"all {n_known}, from {first:.1f} to {last:.1f} s",
            found=f"{n}, from {times[0]:.1f} to {times[-1]:.1f} s",
            do="Give all of the wheel, on the clock of the trials", **place,
        )  # fmt: skip
        if n < n_known / 2:
            raise problem
        yield problem
    # of the two starts the one that fits
    turns = [_at(times, position, response[covered]) - _at(times, position, start[covered]) for start in starts]
    sides = [np.where(np.abs(turn) < MIN_TURN, 0, np.sign(turn) * -choice[covered]) for turn in turns]
    with_choice, against = (max(int((side == sign).sum()) for side in sides) for sign in (1, -1))
    if with_choice < MIN_TURNED * n:
        is_reversed = against >= MIN_TURNED * n
        problem = DataError(
            f"the wheel turns {'against' if is_reversed else 'regardless of'} the choices",
            expected="turns against the sign of the choice (position: counter-clockwise, choice 1: left)",
            found=f"so in {with_choice} of {n} trials, the opposite in {against}",
            do="If the encoder was connected the other way round, reverse the sign of the position" if is_reversed
            else "Give wheel and trials of the same session, on one clock; either of them may be wrong", **place,
        )  # fmt: skip
        if not is_reversed:
            raise problem
        yield problem
    if (turn := min(float(np.median(np.abs(turn))) for turn in turns)) > MAX_TURN:
        raise DataError(
            "the wheel's position is in another unit than rad", expected="a median turn to the response of about 0.3",
            found=f"{turn:.3g}, as in degrees", do="Give the position in rad", **place,
        )  # fmt: skip


def _at(times: np.ndarray, position: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Return positions (n,) at times (n,), those of the last samples: there are none while the wheel is still."""
    found: np.ndarray = position[np.searchsorted(times, when, side="right") - 1]
    return found


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
