"""Every setting that changes a number of a neuron-dropping curve, each declared once.

To add one: a field here, and a ``Migration`` that adds its column. Its checks, its column, its option of ``meso ndc``,
its place in the docstring and in ``docs/reference/settings.md`` (``make pages``) come from the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ArgumentError
from pipeline.settings.records import Choice, Flag, Name, Number, Several, Whole, documented, setting, settings_in

#: Event and window in s of each target, as IBL's brain-wide map has them.
EVENTS = {
    "choice": ("firstMovement_times", (-0.10, 0.0)),
    "feedback": ("feedback_times", (0.0, 0.20)),
    "stimulus": ("stimOn_times", (0.0, 0.10)),
    "block": ("stimOn_times", (-0.40, -0.10)),
}
#: ALF trials attributes that are times.
EVENT_TIMES = (
    "goCue_times", "stimOn_times", "stimOff_times", "firstMovement_times", "response_times", "feedback_times",
)  # fmt: skip
#: Targets that are decoded unless others are named.
TARGETS = ("choice", "feedback", "stimulus")
KS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
#: A region has few cells, and the fit of a curve needs four k.
KS_OF_REGIONS = (2, 4, *KS)
#: Subsets from which each shuffle is decoded; as many of the real labels' scores are compared with their mean.
NULL_SUBSETS = 5

# headings of the settings, in the help of the command and on the page
TRIALS = "What is decoded, from which trials"
CELLS = "From which cells"
CURVE = "The curve"
DECODER = "The decoder"
CHANCE = "What chance would give"


@documented
@dataclass(frozen=True)
class NDCSettings:
    """Settings of a neuron-dropping curve, checked; two that are equal give the same numbers.

    Numbers may be of any numeric type (5.0 is 5), sequences tuples, lists or arrays.

    Attributes
    ----------
    {settings}

    Raises
    ------
    ArgumentError
        A value that its setting cannot have, or two settings of which one would have no effect.
    """

    # fmt: off
    target: str = setting(
        Choice(tuple(EVENTS)), group=TRIALS, sql="varchar(16)", comment="choice, feedback, stimulus or block",
        help="What is decoded: the choice, whether it was rewarded, the side of the stimulus, the block.",
    )
    event: str = setting(
        Choice(("", *EVENT_TIMES)), "", group=TRIALS, sql="varchar(64)", comment="ALF trials attribute",
        help="ALF trials attribute that the window is about. By default the target's own.",
    )
    win_start: float | None = setting(
        Number(optional=True), None, group=TRIALS, sql="float64", comment="s after the event",
        help="Start of the window, s after the event. By default the target's own.",
    )
    win_end: float | None = setting(
        Number(optional=True), None, group=TRIALS, sql="float64",
        help="End of the window, s after the event. By default the target's own.",
    )
    short_window: str = setting(
        Choice(("nearest", "drop", "next", "interpolate")), "nearest", group=TRIALS, sql="varchar(16)",
        comment="for windows without a frame: nearest, drop, next or interpolate",
        help="What a trial without a frame in its window gets: the frame nearest to the centre of the window, the next "
        "one, the value interpolated there; or the trial is dropped.",
    )
    scan_line_column: int = setting(
        Choice((0, 1)), 0, group=TRIALS, sql="int8", comment="of stackPos: 0 row (the scan line), 1 as published",
        help="Column of stackPos that says when in a frame an ROI was scanned: 0 is its line; 1 reproduces the times "
        "as published.",
    )
    class_balance: str = setting(
        Choice(("downsample", "weights", "none")), "downsample", group=TRIALS, sql="varchar(16)",
        comment="downsample, weights or none",
        help="How classes of different size are balanced: by fewer trials of the larger one, or by weights in the "
        "decoder.",
    )
    equalize_trials: bool = setting(
        Flag(), True, group=TRIALS, sql="bool", comment="as many trials in every session",
        help="Use as many trials in each session as the poorest one has, class balance kept.",
    )
    balance_seed: int = setting(
        Whole(0), 0, group=TRIALS, sql="int64", help="Seed of the trials picked for the balance and for equal numbers.",
    )
    ks: tuple[int, ...] = setting(
        Several(Whole(1), empty=False, repeats=True), KS, group=CURVE, sql="json",
        comment="numbers of cells, or of trials",
        help="Subset sizes k, such as 8,16,32: numbers of cells, or of trials (curve_axis). Those above what there is "
        "are left out, and that number is added. Numbers of trials that do not fill the folds are left out too.",
    )
    r: int = setting(
        Whole(1), 50, letter="R", group=CURVE, sql="int32", comment="random subsets per k",
        help="Random subsets per k.",
    )
    metric: str = setting(
        Choice(("auc", "accuracy", "balanced_accuracy")), "auc", group=DECODER, sql="varchar(32)",
        comment="auc, accuracy or balanced_accuracy", help="Score of the test trials.",
    )
    cv_splits: int = setting(Whole(2), 5, group=DECODER, sql="int32", help="Folds of the cross-validation.")
    scaling: bool = setting(
        Flag(), True, group=DECODER, sql="bool", comment="standardise cells in the training fold",
        help="Standardise each cell on the training fold.",
    )
    c: float = setting(
        Number(above=0), 1.0, letter="C", group=DECODER, sql="float64", comment="inverse strength of the L2 penalty",
        help="Inverse strength of the L2 penalty.",
    )
    ceiling_mode: str = setting(
        Choice(("maxk", "all")), "maxk", group=CURVE, sql="varchar(8)", comment="maxk or all",
        help="What the ceiling is: the mean score at the largest k, or that of all cells.",
    )
    delta: float = setting(
        Number(least=0, below=1), 0.02, group=CURVE, sql="float64", comment="k* is within this of the ceiling",
        help="k* is the smallest k whose mean score is within this of the ceiling.",
    )
    null: str = setting(
        Choice(("auto", "permute", "circular", "linear_shift", "pseudosession", "imposter")), "auto", group=CHANCE,
        column="null_mode", sql="varchar(16)", comment="how labels are shuffled; auto: as suits the target",
        help="Where shuffled labels come from; auto takes what suits the target.",
    )
    n_label_shuffles: int = setting(
        Whole(0), 100, group=CHANCE, sql="int32", help="Shuffles that the scores are compared with; 0 for none.",
    )
    seed: int = setting(
        Whole(0), 0, group=CURVE, sql="int64",
        help="Seed of the subsets and folds. Shuffles have their own: shuffle_seed.",
    )
    shuffle_seed: int = setting(Whole(0), 0, group=CHANCE, sql="int64", help="Seed of the shuffled labels.")
    penalize_intercept: bool = setting(
        Flag(), False, before=False, group=DECODER, sql="bool", help="Penalise the intercept too, as liblinear does.",
    )
    fold_mode: str = setting(
        Choice(("stratified", "blocked")), "stratified", before="stratified", group=DECODER, sql="varchar(16)",
        comment="stratified or blocked (test trials next to each other in time)",
        help="Test trials at random, in the proportion of the classes; or next to each other in time.",
    )
    fold_gap: int = setting(
        Whole(0), 0, before=0, group=DECODER, sql="int32",
        comment="trials left out between training and test, with blocked folds",
        help="Trials between training and test that are in neither, with blocked folds.",
    )
    c_grid: tuple[float, ...] = setting(
        Several(Number(above=0)), (), before=(), group=DECODER, sql="json",
        comment="values of c to choose from in the training folds; NULL: c as it is",
        help="Two or more values of c to choose from inside the training folds, for each k, such as 0.01,0.1,1; none "
        "for c as it is.",
    )
    n_bootstrap: int = setting(
        Whole(0), 200, before=0, group=CURVE, sql="int32",
        comment="resamplings of the test trials behind the intervals",
        help="Resamplings of the test trials behind the intervals; 0 for none.",
    )
    curve_axis: str = setting(
        Choice(("cells", "trials")), "cells", before="cells", group=CURVE, sql="varchar(16)",
        comment="what the ks are numbers of: cells or trials",
        help="What the ks are numbers of; with trials, all cells are used at each k.",
    )
    trial_shuffled: bool = setting(
        Flag(), False, before=False, group=DECODER, sql="bool",
        comment="trials shuffled within class for each cell: no noise correlations",
        help="Shuffle the trials of each class, for each cell by itself: decoding without noise correlations.",
    )
    cells: str = setting(
        Choice(("shared", "random")), "shared", before="shared", group=CELLS, sql="varchar(16)",
        comment="shared, or as many random ones",
        help="The cells found in every session, or as many random ones of the same session.",
    )
    cells_seed: int = setting(
        Whole(0), 0, before=0, group=CELLS, sql="int64", comment="of the random cells",
        help="Seed of the random cells.",
    )
    regions: tuple[str, ...] = setting(
        Several(Name("an acronym of the Allen atlas", "VISp")), (), before=(), group=CELLS, sql="json",
        comment="acronyms of the Allen atlas; NULL: all",
        help="Only cells in these regions, such as VISp,VISam, and in regions within them; none for all.",
    )
    fovs: tuple[int, ...] = setting(
        Several(Whole(0)), (), before=(), group=CELLS, sql="json", comment="numbers of FOVs; NULL: all",
        help="Only cells in these FOVs, such as 0,2; none for all.",
    )
    n_cells: int = setting(
        Whole(0), 0, before=0, group=CURVE, column="max_cells", sql="int32",
        comment="largest k of a curve over cells; 0: all cells",
        help="Largest k of a curve over cells, so that regions are compared at the same k; 0 for all cells.",
    )
    null_subsets: int = setting(
        Whole(0), NULL_SUBSETS, before=0, group=CHANCE, sql="int32",
        comment="subsets averaged in each null score; 0: one each, in turn (before version 3)",
        help="Cell subsets averaged in each null score; 0 for one each, in turn.",
    )
    # fmt: on

    def __post_init__(self) -> None:
        for one in settings_in(type(self)):
            self._set(one.name, one.take(getattr(self, one.name)))
        event, (start, end) = EVENTS[self.target]
        self._set("event", self.event or event)
        self._set("win_start", start if self.win_start is None else self.win_start)
        self._set("win_end", end if self.win_end is None else self.win_end)
        self._check_together()

    def _set(self, name: str, value: Any) -> None:
        """Set a field of this frozen object, while it is made."""
        object.__setattr__(self, name, value)

    def _check_together(self) -> None:
        """Refuse settings that would do nothing, or that say two things."""
        if self.win_start is not None and self.win_end is not None and not self.win_start < self.win_end:
            raise ArgumentError(
                f"the window starts before it ends, not win_start={self.win_start:g} and win_end={self.win_end:g}"
            )
        if self.fold_gap and self.fold_mode != "blocked":
            raise ArgumentError(
                f"fold_gap={self.fold_gap} leaves out trials next to a block of test trials: use fold_mode='blocked'"
            )
        if len(self.c_grid) == 1:
            raise ArgumentError(f"c_grid has two or more values to choose from; for one, use c={self.c_grid[0]:g}")
        if self.c_grid and self.c != 1.0:
            raise ArgumentError(f"c is chosen from c_grid={self.c_grid}: leave out c={self.c:g}")
        if self.cells_seed and self.cells != "random":
            raise ArgumentError(f"cells_seed={self.cells_seed} draws random cells: use cells='random'")
        if self.n_cells and self.curve_axis == "trials":
            raise ArgumentError(
                f"n_cells={self.n_cells} ends a curve over cells; curve_axis='trials' uses all cells at each k"
            )

    def as_row(self) -> dict[str, Any]:
        """Return the settings as plain values by name, tuples as lists."""
        return {one.name: one.kind.plain(getattr(self, one.name)) for one in settings_in(type(self))}

    def as_columns(self) -> dict[str, Any]:
        """Return the settings by the columns that hold them, None for an empty list."""
        return {one.column: one.kind.stored(getattr(self, one.name)) for one in settings_in(type(self))}

    def content(self) -> dict[str, Any]:
        """Return the settings that name these: without those that came later and say what was done before."""
        row = self.as_row()
        return {
            one.name: row[one.name] for one in settings_in(type(self)) if not one.says_before(getattr(self, one.name))
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> NDCSettings:
        """Return the settings of a row by name, other columns ignored."""
        return cls(**{one.name: row[one.name] for one in settings_in(cls) if one.name in row})

    @classmethod
    def from_columns(cls, row: Mapping[str, Any]) -> NDCSettings:
        """Return the settings of a row by column, other columns ignored."""
        return cls(**{one.name: one.kind.restored(row[one.column]) for one in settings_in(cls)})


def curve_settings(
    targets: str | Sequence[str] = TARGETS,
    *,
    event: str | Mapping[str, str] | None = None,
    win: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    by_region: bool = False,
    **words: Any,
) -> list[NDCSettings]:
    """Return the settings of each target, as notebook and command line ask for them.

    Parameters
    ----------
    targets : str or sequence of {'choice', 'feedback', 'stimulus', 'block'}
        Each counts once.
    event : str or dict of target to str, optional
    win : (float, float) or dict of target to (float, float), optional
        ``win_start`` and ``win_end`` together.
    by_region : bool
        Curves of regions by themselves will be made of these: by default the ks begin with 2.
    **words
        Other settings of ``NDCSettings``; ``R`` and ``C`` are ``r`` and ``c``.

    Raises
    ------
    ArgumentError
        As of ``NDCSettings``; two words for one setting; settings that ``by_region`` cannot have.
    TypeError
        A word that is no setting.
    """
    targets = list(dict.fromkeys([targets] if isinstance(targets, str) else targets))
    values = ({"ks": KS_OF_REGIONS} if by_region else {}) | _by_name(words)
    made = [
        NDCSettings(target, **values, **_window(win, target, values), event=_of_target("event", event, target) or "")
        for target in targets
    ]
    if by_region and made:
        _check_by_region(made[0])
    return made


def _by_name(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the names of their settings."""
    name_of = {one.letter: one.name for one in settings_in(NDCSettings) if one.letter}
    if two := [word for word in words if word in name_of and name_of[word] in words]:
        raise ArgumentError(f"{two[0]} and {name_of[two[0]]} are one setting: use one of the two")
    return {name_of.get(word, word): value for word, value in words.items()}


def _check_by_region(settings: NDCSettings) -> None:
    if settings.regions:
        raise ArgumentError("regions takes the cells of all of them together, by_region of each by itself: use one")
    if settings.curve_axis == "trials":
        raise ArgumentError("by_region compares regions at the same number of cells: use curve_axis='cells'")


def _window(win: Any, target: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a window of a target is; none where it is the target's own."""
    found = _of_target("win", win, target)
    if found is None:
        return {}
    if "win_start" in values or "win_end" in values:
        raise ArgumentError("win is win_start and win_end together: use one of the two ways")
    try:
        start, end = found
    except (TypeError, ValueError):
        raise ArgumentError(f"win is start and end in s, such as (-0.1, 0), not {found!r}") from None
    return {"win_start": start, "win_end": end}


def _of_target(name: str, value: Any, target: str) -> Any:
    """Return the value for a target of what may be given by target."""
    if not isinstance(value, Mapping):
        return value
    if unknown := [str(one) for one in value if one not in EVENTS]:
        raise ArgumentError(f"{name} is by target, one of {', '.join(EVENTS)}, not {', '.join(unknown)}")
    return value.get(target)
