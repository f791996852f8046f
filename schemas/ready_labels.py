"""Targets that are numbers of the trials, ready-made by their names: reaction times and the speed of the wheel.

They are labels of one's own, computed when they are asked for and stored like others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.behavior.trial_columns import trial_column
from pipeline.behavior.wheel import mean_speed
from pipeline.decoding import NDCSettings
from schemas.labels import LabelSet, of_kind
from schemas.session import Behavior, Wheel, trials_of, wheel_velocity
from schemas.work.filling import fill

#: Key of labels that are not stored yet: settings are checked before anything is read.
STAND_IN = "0" * 32
#: Who gave labels that are made here; labels that a person gave the same name come first, as they did before.
READY_MADE = "ready-made"


def reaction_times(eid: str, settings: NDCSettings) -> np.ndarray:
    """Return the reaction time of each trial, s: the column of the trials table, whatever the window."""
    return trial_column("reaction_time", trials_of(eid))


def wheel_speeds(eid: str, settings: NDCSettings) -> np.ndarray:
    """Return the mean absolute speed of the wheel in the window of each trial, rad/s; NaN without a wheel."""
    times, wheel = trials_of(eid)[settings.event], wheel_velocity(eid)
    if wheel is None:
        return np.full(len(times), np.nan)
    return mean_speed(*wheel, times + (settings.win_start or 0), times + (settings.win_end or 0))


#: What is made of a session by the settings, by the name of the target.
READY: Mapping[str, Callable[[str, NDCSettings], np.ndarray]] = {
    "reaction_time": reaction_times, "wheel_speed": wheel_speeds,
}  # fmt: skip


def ready_targets(targets: Iterable[str]) -> list[str]:
    """Return those of the targets that are made here: a person has given no labels of that name."""
    asked = [name for name in dict.fromkeys(targets) if name in READY]
    rows = (LabelSet & [{"label_name": name} for name in asked]).to_dicts(order_by="labelled_at") if asked else []
    given = {row["label_name"]: row["labelled_by"] for row in rows}  # by whom the latest were
    return [name for name in asked if given.get(name, READY_MADE) == READY_MADE]


def keys_of(targets: Sequence[str]) -> dict[str, str]:
    """Return by name the keys of the labels of one's own targets; of ready-made ones a key that stands for theirs."""
    ready = ready_targets(targets)
    return LabelSet.named([name for name in targets if name not in ready]) | dict.fromkeys(ready, STAND_IN)


def with_labels(settings: Iterable[NDCSettings], eids: Sequence[str]) -> list[NDCSettings]:
    """Return settings in which the labels of ready-made targets are made of these sessions, and stored.

    A session that has no such numbers, as one without a wheel, has no labels then, and its failure says so.

    Parameters
    ----------
    settings : iterable of NDCSettings
        With the keys that ``keys_of`` returns.
    eids : sequence of str
        Registered sessions; their trials and wheels are read on demand.

    Raises
    ------
    DataError
        No session has such numbers.
    """
    settings = list(settings)
    if any(one.labels == STAND_IN for one in settings):
        fill([Behavior, Wheel], [{"eid": eid} for eid in eids])
        read = [str(eid) for eid in (Behavior & [{"eid": eid} for eid in eids]).to_arrays("eid")]
        settings = [_made(one, read) if one.labels == STAND_IN else one for one in settings]
    return [of_kind(one) for one in settings]


def _made(settings: NDCSettings, eids: Sequence[str]) -> NDCSettings:
    values = {eid: READY[settings.target](eid, settings) for eid in eids}
    known = {eid: row for eid, row in values.items() if len(np.unique(row[np.isfinite(row)])) > 1}
    finite = {eid: np.where(np.isfinite(row), row, np.nan) for eid, row in known.items()}
    return replace(settings, labels=LabelSet.add(settings.target, finite, numbers=True, by=READY_MADE)["label_set"])
