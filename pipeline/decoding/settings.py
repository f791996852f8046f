"""Every setting that changes a number of a neuron-dropping curve."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.decoding.curves import NULL_SUBSETS
from pipeline.reading.behavior import TRIAL_ATTRIBUTES

#: Event and window in s of each target, as IBL's brain-wide map has them.
EVENTS = {
    "choice": ("firstMovement_times", (-0.10, 0.0)),
    "feedback": ("feedback_times", (0.0, 0.20)),
    "stimulus": ("stimOn_times", (0.0, 0.10)),
    "block": ("stimOn_times", (-0.40, -0.10)),
}
KS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
CHOICES = {
    "target": tuple(EVENTS),
    "short_window": ("nearest", "drop", "next", "interpolate"),
    "scan_line_column": (0, 1),
    "class_balance": ("downsample", "weights", "none"),
    "metric": ("auc", "accuracy", "balanced_accuracy"),
    "ceiling_mode": ("maxk", "all"),
    "null": ("auto", "permute", "circular", "linear_shift", "pseudosession", "imposter"),
    "fold_mode": ("stratified", "blocked"),
    "curve_axis": ("cells", "trials"),
    "cells": ("shared", "random"),
}
#: Settings that came after the first version of the tables, each with the value that stands for what was done
#: before. Never change a value: the keys of rows are hashes that leave these out (``NDCSettings.content``).
ADDED: dict[str, Any] = {
    "penalize_intercept": False,
    "fold_mode": "stratified",
    "fold_gap": 0,
    "c_grid": [],
    "n_bootstrap": 0,
    "curve_axis": "cells",
    "trial_shuffled": False,
    "cells": "shared",
    "cells_seed": 0,
    "regions": [],
    "fovs": [],
    "n_cells": 0,
    "null_subsets": 0,
}
#: Whole numbers and the least that each may be.
WHOLE = {
    "r": 1, "cv_splits": 2, "n_label_shuffles": 0, "seed": 0, "shuffle_seed": 0, "balance_seed": 0, "fold_gap": 0,
    "n_bootstrap": 0, "cells_seed": 0, "n_cells": 0, "null_subsets": 0,
}  # fmt: skip


@dataclass(frozen=True)
class NDCSettings:
    """Settings of a neuron-dropping curve, checked; two that are equal give the same numbers.

    Attributes
    ----------
    target : {'choice', 'feedback', 'stimulus', 'block'}
    event : str
        ALF trials attribute that the window is about; '' for the target's own (``EVENTS``).
    win_start, win_end : float
        Window about the event, s; both NaN-free, start before end; None for the target's own.
    short_window : {'nearest', 'drop', 'next', 'interpolate'}
        What a trial without a frame in its window gets: see ``window_means``.
    scan_line_column : {0, 1}
        See ``pipeline.signals.clock.roi_offsets``.
    class_balance : {'downsample', 'weights', 'none'}
    equalize_trials : bool
        Use as many trials in each session as the poorest one has, class balance kept.
    balance_seed : int
        Seed of the trials picked by the two above.
    ks : tuple of int
        Numbers of cells, or of trials (``curve_axis``); those above what there is are left out and that number
        is added. Numbers of trials that do not fill the folds with each class are left out too.
    r : int
        Random subsets per k (``R`` of ``neuron_dropping_curve``).
    metric : {'auc', 'accuracy', 'balanced_accuracy'}
    cv_splits : int
    scaling : bool
        Standardise each cell on the training fold.
    c : float
        Inverse strength of the L2 penalty (``C`` of ``cv_score``).
    ceiling_mode : {'maxk', 'all'}
    delta : float
        k* is the smallest k whose mean score is within delta of the ceiling.
    null : {'auto', 'permute', 'circular', 'linear_shift', 'pseudosession', 'imposter'}
        Where shuffled labels come from; 'auto' takes what suits the target: see ``pipeline.decoding.nulls``.
    n_label_shuffles, seed, shuffle_seed : int
    null_subsets : int
        Subsets from which each shuffle is decoded (``neuron_dropping_curve``).
    penalize_intercept : bool
        As liblinear does.
    fold_mode : {'stratified', 'blocked'}
        Test trials at random, or next to each other in time.
    fold_gap : int
        Trials between training and test that are in neither, with blocked folds.
    c_grid : tuple of float
        Two or more values of c to choose from inside the training folds, for each k; () for ``c`` as it is.
    n_bootstrap : int
        Resamplings of the test trials behind the intervals, 0 for none.
    curve_axis : {'cells', 'trials'}
        What the ks are numbers of; with 'trials' all cells are used at each k.
    trial_shuffled : bool
        Shuffle the trials of each class, for each cell by itself: decoding without noise correlations.
    cells : {'shared', 'random'}
        The cells found in every session, or as many random ones of the same session.
    cells_seed : int
        Seed of the random cells.
    regions : tuple of str
        Acronyms of the Allen atlas; regions within them count. () for all.
    fovs : tuple of int
        Numbers of the FOVs whose cells count, () for all.
    n_cells : int
        Largest k of a curve over cells, so that regions are compared at the same k; 0 for all cells.

    Raises
    ------
    ValueError
        A value outside what is listed above, or two settings of which one would have no effect.
    """

    target: str
    event: str = ""
    win_start: float | None = None
    win_end: float | None = None
    short_window: str = "nearest"
    scan_line_column: int = 0
    class_balance: str = "downsample"
    equalize_trials: bool = True
    balance_seed: int = 0
    ks: tuple[int, ...] = KS
    r: int = 50
    metric: str = "auc"
    cv_splits: int = 5
    scaling: bool = True
    c: float = 1.0
    ceiling_mode: str = "maxk"
    delta: float = 0.02
    null: str = "auto"
    n_label_shuffles: int = 100
    seed: int = 0
    shuffle_seed: int = 0
    penalize_intercept: bool = False
    fold_mode: str = "stratified"
    fold_gap: int = 0
    c_grid: tuple[float, ...] = ()
    n_bootstrap: int = 200
    curve_axis: str = "cells"
    trial_shuffled: bool = False
    cells: str = "shared"
    cells_seed: int = 0
    regions: tuple[str, ...] = ()
    fovs: tuple[int, ...] = ()
    n_cells: int = 0
    null_subsets: int = NULL_SUBSETS

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, not {getattr(self, name)!r}")
        event, window = EVENTS[self.target]
        start = window[0] if self.win_start is None else float(self.win_start)
        end = window[1] if self.win_end is None else float(self.win_end)
        if any(k != int(k) for k in self.ks):
            raise ValueError(f"ks are whole numbers of cells, not {tuple(self.ks)}")
        normal = {
            "event": self.event or event,
            "win_start": start,
            "win_end": end,
            "scan_line_column": int(self.scan_line_column),
            "ks": tuple(sorted({int(k) for k in self.ks})),
            "equalize_trials": bool(self.equalize_trials),
            "scaling": bool(self.scaling),
            "c": float(self.c),
            "delta": float(self.delta),
            "penalize_intercept": bool(self.penalize_intercept),
            "trial_shuffled": bool(self.trial_shuffled),
            "c_grid": tuple(sorted(_several("c_grid", map(float, _listed("c_grid", self.c_grid))))),
            "regions": _acronyms(self.regions),
            "fovs": _fov_numbers(self.fovs),
        }
        for name, value in normal.items():  # 1 and 1.0, [8, 16] and (16, 8) are the same setting
            object.__setattr__(self, name, value)
        self._check_numbers()
        self._check_together()

    def _check_numbers(self) -> None:
        start, end = float(self.win_start or 0), float(self.win_end or 0)
        if not (math.isfinite(start) and math.isfinite(end) and start < end):
            raise ValueError(f"the window starts before it ends, not [{start}, {end}]")
        events = [name for name in TRIAL_ATTRIBUTES if name.endswith("_times")]
        if self.event not in events:
            raise ValueError(f"event is one of {', '.join(events)}, not {self.event!r}")
        if not self.ks or self.ks[0] < 1:
            raise ValueError(f"ks are numbers of cells from 1, not {self.ks}")
        for name, least in WHOLE.items():
            value = getattr(self, name)
            if value != int(value) or value < least:
                raise ValueError(f"{name} is a whole number from {least}, not {value!r}")
            object.__setattr__(self, name, int(value))
        if not (math.isfinite(self.c) and self.c > 0):
            raise ValueError(f"c is positive, not {self.c}")
        if not 0 <= self.delta < 1:
            raise ValueError(f"delta is from 0 to below 1, not {self.delta}")
        if not all(math.isfinite(c) and c > 0 for c in self.c_grid):
            raise ValueError(f"c_grid has positive numbers, not {self.c_grid}")

    def _check_together(self) -> None:
        """Refuse settings that would do nothing, or that say two things."""
        if self.fold_gap and self.fold_mode != "blocked":
            raise ValueError(
                f"fold_gap={self.fold_gap} leaves out trials next to a block of test trials: use fold_mode='blocked'"
            )
        if len(self.c_grid) == 1:
            raise ValueError(f"c_grid has two or more values to choose from; for one, use c={self.c_grid[0]:g}")
        if self.c_grid and self.c != 1.0:
            raise ValueError(f"c is chosen from c_grid={self.c_grid}: leave out c={self.c:g}")
        if self.cells_seed and self.cells != "random":
            raise ValueError(f"cells_seed={self.cells_seed} draws random cells: use cells='random'")
        if self.n_cells and self.curve_axis == "trials":
            raise ValueError(
                f"n_cells={self.n_cells} ends a curve over cells; curve_axis='trials' uses all cells at each k"
            )

    def as_row(self) -> dict[str, Any]:
        """Return the settings as plain values by name, tuples as lists."""
        row = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}

    def content(self) -> dict[str, Any]:
        """Return the settings that name these: without those that came later and say what was done before."""
        row = self.as_row()
        return {name: value for name, value in row.items() if name not in ADDED or value != ADDED[name]}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> NDCSettings:
        """Return the settings of a row, other columns ignored."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in names})


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} is a tuple, such as ({values!r},), not {values!r}")
    return list(values)


def _several(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values, which must all differ."""
    found = tuple(values)
    twice = sorted({value for value in found if found.count(value) > 1})
    if twice:
        raise ValueError(f"{name} names {', '.join(map(str, twice))} twice")
    return found


def _acronyms(regions: Any) -> tuple[str, ...]:
    names = _listed("regions", regions)
    if any(not isinstance(name, str) or not name.strip() for name in names):
        raise ValueError(f"regions are acronyms such as 'VISp', not {names}")
    return tuple(sorted(_several("regions", (name.strip() for name in names))))


def _fov_numbers(fovs: Any) -> tuple[int, ...]:
    numbers = _listed("fovs", fovs)
    if any(isinstance(n, str) or n != int(n) or n < 0 for n in numbers):
        raise ValueError(f"fovs are numbers of FOVs from 0, not {numbers}")
    return tuple(sorted(_several("fovs", map(int, numbers))))
