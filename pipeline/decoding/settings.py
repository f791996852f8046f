"""Every setting that changes a number of a neuron-dropping curve."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

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
    "metric": ("auc", "accuracy"),
    "ceiling_mode": ("maxk", "all"),
    "null": ("permute",),
}


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
        See ``pipeline.clock.roi_offsets``.
    class_balance : {'downsample', 'weights', 'none'}
    equalize_trials : bool
        Use as many trials in each session as the poorest one has, class balance kept.
    balance_seed : int
        Seed of the trials picked by the two above.
    ks : tuple of int
        Numbers of cells; those above the number of shared cells are left out and that number is added.
    r : int
        Random subsets per k (``R`` of ``neuron_dropping_curve``).
    metric : {'auc', 'accuracy'}
    cv_splits : int
    scaling : bool
        Standardise each cell on the training fold.
    c : float
        Inverse strength of the L2 penalty (``C`` of ``cv_score``).
    ceiling_mode : {'maxk', 'all'}
    delta : float
        k* is the smallest k whose mean score is within delta of the ceiling.
    null : {'permute'}
    n_label_shuffles, seed, shuffle_seed : int

    Raises
    ------
    ValueError
        A value outside what is listed above.
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
    null: str = "permute"
    n_label_shuffles: int = 100
    seed: int = 0
    shuffle_seed: int = 0

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
        }
        for name, value in normal.items():  # 1 and 1.0, [8, 16] and (16, 8) are the same setting
            object.__setattr__(self, name, value)
        self._check_numbers()

    def _check_numbers(self) -> None:
        start, end = float(self.win_start or 0), float(self.win_end or 0)
        if not (math.isfinite(start) and math.isfinite(end) and start < end):
            raise ValueError(f"the window starts before it ends, not [{start}, {end}]")
        events = [name for name in TRIAL_ATTRIBUTES if name.endswith("_times")]
        if self.event not in events:
            raise ValueError(f"event is one of {', '.join(events)}, not {self.event!r}")
        if not self.ks or self.ks[0] < 1:
            raise ValueError(f"ks are numbers of cells from 1, not {self.ks}")
        for name, least in {"r": 1, "cv_splits": 2, "n_label_shuffles": 0, "seed": 0, "shuffle_seed": 0,
                            "balance_seed": 0}.items():  # fmt: skip
            value = getattr(self, name)
            if value != int(value) or value < least:
                raise ValueError(f"{name} is a whole number from {least}, not {value!r}")
            object.__setattr__(self, name, int(value))
        if not (math.isfinite(self.c) and self.c > 0):
            raise ValueError(f"c is positive, not {self.c}")
        if not 0 <= self.delta < 1:
            raise ValueError(f"delta is from 0 to below 1, not {self.delta}")

    def as_row(self) -> dict:
        """Return the settings as plain values by name, ``ks`` as a list."""
        return {**asdict(self), "ks": list(self.ks)}

    @classmethod
    def from_row(cls, row: dict) -> NDCSettings:
        """Return the settings of a row, other columns ignored."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in names})
