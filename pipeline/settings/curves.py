"""Every setting that changes a number of a neuron-dropping curve, each declared once.

To add one: a field here, and a ``Migration`` that adds its column. Its checks, column, option of ``meso ndc``, and its
entries in the docstring and in ``docs/reference/settings.md`` (``make pages``) are made from the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import ArgumentError
from pipeline.settings.conditions import OF_THE_CHOICE, ConditionText, columns_in
from pipeline.settings.records import Choice, Flag, Kind, Name, Number, Several, Whole, documented, setting, settings_in
from pipeline.settings.signals import KINDS, DffSettings, SignalSettings

#: Event and window (s around the event) of each target, as in IBL's brain-wide map.
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
#: Names of labels of one's own, which are targets too; and their event and window.
OWN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,15}")
OWN_EVENT = EVENTS["stimulus"]
#: Nulls that are made from the labels alone; the first is that of labels of one's own.
FROM_LABELS = ("linear_shift", "circular", "permute")
#: Default targets.
TARGETS = ("choice", "feedback", "stimulus")
#: Default subset sizes.
KS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
#: Default subset sizes of curves by region: a region may have few cells, and the fit of a curve needs four values of k.
KS_OF_REGIONS = (2, 4, *KS)
#: Nulls that simulate the mouse, and the targets that follow from its choices.
SIMULATED, CHOSEN = ("auto", "pseudosession", "conditional"), ("choice", "feedback")
#: Columns of the trials, by target, that are its label.
LABEL_COLUMNS = {
    "choice": ("choice",), "feedback": ("correct",), "stimulus": ("side", "signed_contrast"), "block": ("block",),
}  # fmt: skip
#: Windows that reach further from the event, in s, are in ms.
LONGEST_WINDOW = 50.0
#: How penalty auto chooses c, see ``pipeline.decoding.penalty``; '' is that of the labels: ``own_c_range``.
C_RANGES = ("", "wide", "narrow")
#: Subsets averaged in each null score, and in the real score that it is compared with.
NULL_SUBSETS = 5

# values that the functions check, too; scores of two classes, and of numbers
CLASS_METRICS = ("auc", "accuracy", "balanced_accuracy")
NUMBER_METRICS = ("r2", "spearman")
METRICS = (*CLASS_METRICS, *NUMBER_METRICS)
FOLD_MODES = ("stratified", "blocked")
PENALTIES = ("fixed", "scaled", "auto")
#: What the ks of a curve count.
AXES = ("cells", "trials")
#: What the intervals of a curve hold for.
INTERVALS = ("calibrated", "new_trials", "retrained", "test_trials")
#: Those that follow from the influences of the trials as they are.
OF_INFLUENCES = ("calibrated", "new_trials")
#: Draws that a variance of retrained decoders needs.
MIN_RETRAINED = 20
#: Models of the mouse in a pseudosession.
CHOICE_MODELS = ("habits", "dynamic", "static")
#: Those that change within the session, which null 'conditional' draws choices from.
CHANGING = CHOICE_MODELS[:2]
#: What a curve must tell more than: nothing, the stimulus, or the stimulus and the last choice.
BEYOND = ("none", "stimulus", "stimulus+history")
#: Which trials of a donor the labels of the null 'imposter' are those of.
ALIGNMENTS = ("start", "end", "fraction")

#: Settings of dF/F, if no others are asked for.
DFF = DffSettings()


def own_c_range(*, of_numbers: bool) -> str:
    """Return how penalty auto chooses c, unless it is said.

    With as many numbers as cells a weak penalty fits noise, which a single k far from there does not show: R2 was up to
    0.14 too low (docs/science/own_questions.md).
    """
    return "narrow" if of_numbers else "wide"


@dataclass(frozen=True)
class Preset:
    """Settings under one name, each of which an argument overrides.

    Attributes
    ----------
    values : dict of str to value
        By name of the setting. Arguments of ``meso.neuron_dropping_curves_cached`` with a default are not among them:
        whether they were given cannot be seen.
    win : dict of target to (float, float)
        Start and end of the window, s, where they are not the target's own.
    note : str
        What differs all the same from the numbers that the name promises; shown with the results.
    """

    values: Mapping[str, Any]
    win: Mapping[str, tuple[float, float]]
    note: str


#: Presets by name.
PRESETS = {
    # where the defaults of a curve are those of the scripts (R, cv_splits, class_balance ...), they are not repeated
    "scripts": Preset(
        values={
            "short_window": "first_clock",
            "scan_line_column": 1,
            "use_flagged_frames": True,
            "penalty": "fixed",
            "c": 1.0,
            "penalize_intercept": True,
            "fold_mode": "stratified",
            "null": "permute",
            "null_subsets": 0,
        },
        win={"choice": (0.0, 0.15)},
        note="settings='scripts': as the scripts, but cells are standardised on the training trials of each fold "
        "(theirs on all trials, which gave 0.004 more AUC on average), trials that are not imaged throughout are left "
        "out, and the random cells, trials and folds are others",
    ),
}


class Target(Choice):
    """One of the targets, or the name of labels of one's own."""

    @property
    def expected(self) -> str:
        rule = "up to 16 of a to z, 0 to 9 and _, no digit first"
        return f"{super().expected}, or the name of labels of your own ({rule})"

    def take(self, value: Any) -> Any:
        return str(value) if isinstance(value, str) and OWN_NAME.fullmatch(value) else super().take(value)

    def read(self, text: str) -> Any:
        return text


class Key(Kind):
    """The key of a row, 32 hexadecimal digits, or ''."""

    expected = "a key of 32 hexadecimal digits"
    metavar = "KEY"

    def take(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"([0-9a-f]{32})?", value):
            raise ArgumentError
        return str(value)


def check_own_name(name: str) -> None:
    """Refuse a name that labels of one's own cannot have.

    Raises
    ------
    ArgumentError
        It is that of a target, or not a name.
    """
    if isinstance(name, str) and name in EVENTS:
        raise ArgumentError(f"{name!r} is the name of a target that needs no labels: give the labels another name")
    if not isinstance(name, str) or not OWN_NAME.fullmatch(name):
        raise ArgumentError(
            f"labels are named by up to 16 of a to z, 0 to 9 and _, not beginning with a digit, and not "
            f"{', '.join(EVENTS)}; not {name!r}"
        )


# headings of the settings in the help of ``meso ndc`` and in docs/reference/settings.md
TRIALS = "Target and trials"
CELLS = "Cells"
CURVE = "Curve"
DECODER = "Decoder"
CHANCE = "Null distribution"


@documented
@dataclass(frozen=True)
class NDCSettings:
    """Settings of a neuron-dropping curve, checked. Equal settings give the same numbers.

    Numbers may be of any numeric type (5.0 is 5); sequences may be tuples, lists or arrays.

    Attributes
    ----------
    {settings}

    Raises
    ------
    ArgumentError
        A setting has a value that is not allowed, or two settings contradict each other.
    """

    # fmt: off
    target: str = setting(
        Target(tuple(EVENTS)), group=TRIALS, sql="varchar(16)", comment="choice, feedback, stimulus, block or own",
        help="What is decoded: choice (left or right), feedback (reward or error), side of the stimulus, block, or the "
        "name of labels of your own; or the numbers reaction_time, or wheel_speed (in the window).",
    )
    event: str = setting(
        Choice(("", *EVENT_TIMES)), "", group=TRIALS, sql="varchar(64)", comment="ALF trials attribute",
        help="ALF trials attribute with the event times. Default: that of the target.",
    )
    win_start: float | None = setting(
        Number(optional=True), None, group=TRIALS, sql="float64", comment="s after the event",
        help="Start of the window, s after the event (negative: before it). Default: that of the target.",
    )
    win_end: float | None = setting(
        Number(optional=True), None, group=TRIALS, sql="float64",
        help="End of the window, s after the event (negative: before it). Default: that of the target.",
    )
    short_window: str = setting(
        Choice(("nearest", "drop", "next", "interpolate", "first_clock")), "nearest", group=TRIALS, sql="varchar(16)",
        comment="for windows without a frame: nearest, drop, next or interpolate",
        help="Value for a window that holds no frame: the frame nearest to its centre, the next frame, or the value "
        "interpolated at its centre. With drop the trial is left out. With first_clock frames are in a window by the "
        "times of the first ROI of the first FOV for all cells, and trials without one are left out: up to 0.2 s wrong "
        "for other FOVs, as in the scripts.",
    )
    scan_line_column: int = setting(
        Choice((0, 1)), 0, group=TRIALS, sql="int8", comment="of stackPos: 0 row (the scan line), 1 as published",
        help="Column of stackPos that gives the time of an ROI within a frame: 0 is the scan line (correct); 1 "
        "reproduces the times of published IBL code.",
    )
    class_balance: str = setting(
        Choice(("downsample", "weights", "none")), "downsample", group=TRIALS, sql="varchar(16)",
        comment="downsample, weights or none",
        help="How the two classes are balanced: downsample drops trials of the larger class, weights gives class "
        "weights to the decoder, none does neither. Labels that are numbers have none.",
    )
    equalize_trials: bool = setting(
        Flag(), True, group=TRIALS, sql="bool", comment="as many trials in every session",
        help="Use as many trials in every session as the session with the fewest has.",
    )
    balance_seed: int = setting(
        Whole(0), 0, group=TRIALS, sql="int64",
        help="Random seed of the trials that class_balance and equalize_trials drop.",
    )
    ks: tuple[int, ...] = setting(
        Several(Whole(1), empty=False, repeats=True), KS, group=CURVE, sql="json",
        comment="numbers of cells, or of trials",
        help="Subset sizes k, e.g. 8,16,32: numbers of cells, or of trials (see curve_axis). Sizes above the largest "
        "possible one are left out, and that one is always added. Numbers of trials too small for the folds are left "
        "out. Curves by region start at 2 by default.",
    )
    r: int = setting(
        Whole(1), 50, letter="R", group=CURVE, sql="int32", comment="random subsets per k",
        help="Random subsets per k.",
    )
    metric: str = setting(
        Choice(METRICS, {"acc": "accuracy"}), "auc", group=DECODER, sql="varchar(32)",
        comment="auc, accuracy or balanced_accuracy",
        help="Score of the decoder on the test trials. Labels of your own that are numbers are scored by r2 (for which "
        "auc, the default, stands) or spearman.",
    )
    cv_splits: int = setting(Whole(2), 5, group=DECODER, sql="int32", help="Number of cross-validation folds.")
    scaling: bool = setting(
        Flag(), True, group=DECODER, sql="bool", comment="standardise cells in the training fold",
        help="Standardise each cell (mean 0, sd 1) on the training trials of each fold.",
    )
    c: float = setting(
        Number(above=0), 1.0, letter="C", group=DECODER, sql="float64", comment="inverse strength of the L2 penalty",
        help="Inverse strength of the L2 penalty, as in scikit-learn; its unit is set by penalty.",
    )
    ceiling_mode: str = setting(
        Choice(("maxk", "all")), "maxk", group=CURVE, sql="varchar(8)", comment="maxk or all",
        help="Score that k* is measured from: the mean score at the largest k (maxk), or that of all cells (all).",
    )
    delta: float = setting(
        Number(least=0, below=1), 0.02, group=CURVE, sql="float64", comment="k* is within this of the ceiling",
        help="k* is the smallest k whose mean score is within delta of the ceiling.",
    )
    null: str = setting(
        Choice(("auto", "permute", "circular", "linear_shift", "pseudosession", "conditional", "imposter")), "auto",
        group=CHANCE, column="null_mode", sql="varchar(16)",
        comment="how labels are shuffled; auto: as suits the target",
        help="How null labels are made; auto is pseudosession, or linear_shift for labels of your own. With "
        "conditional, choices are drawn at the real stimuli and past, and p says whether cells tell more about the "
        "choice, or the feedback, than these do.",
    )
    n_label_shuffles: int = setting(
        Whole(0), 100, group=CHANCE, sql="int32",
        help="Number S of null label vectors; 0 for no p. The smallest possible p is 1 / (S + 1), the smallest q of a "
        "single clear curve among m is m / (S + 1). Asking for more keeps those that are done.",
    )
    seed: int = setting(
        Whole(0), 0, group=CURVE, sql="int64",
        help="Random seed of the cell subsets and folds. Null labels have their own: shuffle_seed.",
    )
    shuffle_seed: int = setting(Whole(0), 0, group=CHANCE, sql="int64", help="Random seed of the null labels.")
    penalize_intercept: bool = setting(
        Flag(), False, before=False, group=DECODER, sql="bool", help="Penalise the intercept too, as liblinear does.",
    )
    fold_mode: str = setting(
        Choice(FOLD_MODES), "stratified", before="stratified", group=DECODER, sql="varchar(16)",
        comment="stratified or blocked (test trials next to each other in time)",
        help="Folds of random trials, in the class proportions if there are classes (stratified), or of trials "
        "contiguous in time (blocked).",
    )
    fold_gap: int = setting(
        Whole(0), 0, before=0, group=DECODER, sql="int32",
        comment="trials left out between training and test, with blocked folds",
        help="With blocked folds: trials left out on either side of the test trials.",
    )
    c_grid: tuple[float, ...] = setting(
        Several(Number(above=0)), (), before=(), group=DECODER, sql="json",
        comment="values of c to choose from in the training folds; NULL: c as it is",
        help="Values of c to choose from by cross-validation inside each training fold, for each k, e.g. 0.01,0.1,1. "
        "Default: c is fixed.",
    )
    n_bootstrap: int = setting(
        Whole(0), 200, before=0, group=CURVE, sql="int32",
        comment="resamplings of the test trials behind the intervals",
        help="Draws of the curve for the intervals of k* and of the fit; 0 for no intervals.",
    )
    curve_axis: str = setting(
        Choice(AXES), "cells", before="cells", group=CURVE, sql="varchar(16)",
        comment="what the ks are numbers of: cells or trials",
        help="Whether ks are numbers of cells or of trials. With trials, all cells are used at each k.",
    )
    trial_shuffled: bool = setting(
        Flag(), False, before=False, group=DECODER, sql="bool",
        comment="trials shuffled within class for each cell: no noise correlations",
        help="Shuffle trials within each class, independently for each cell: this removes noise correlations.",
    )
    cells: str = setting(
        Choice(("shared", "random", "untracked", "lost")), "shared", before="shared", group=CELLS, sql="varchar(16)",
        comment="shared, or as many random ones",
        help="Tracked cells found in every session (shared), or as many random cells of each session: of all (random), "
        "of those that are not tracked (untracked), or of the tracked ones that no later session of the set has "
        "(lost).",
    )
    cells_seed: int = setting(
        Whole(0), 0, before=0, group=CELLS, sql="int64", comment="of the random cells",
        help="Random seed of the random cells.",
    )
    regions: tuple[str, ...] = setting(
        Several(Name("an acronym of the Allen atlas", "VISp")), (), before=(), group=CELLS, sql="json",
        comment="acronyms of the Allen atlas; NULL: all",
        help="Only cells in these regions and their subregions, e.g. VISp,VISam. Default: all regions.",
    )
    fovs: tuple[int, ...] = setting(
        Several(Whole(0)), (), before=(), group=CELLS, sql="json", comment="numbers of FOVs; NULL: all",
        help="Only cells in these FOVs, e.g. 0,2. Default: all FOVs.",
    )
    n_cells: int = setting(
        Whole(0), 0, before=0, group=CURVE, column="max_cells", sql="int32",
        comment="largest k of a curve over cells; 0: all cells",
        help="Largest k of a curve over cells, e.g. to compare regions at the same k; 0 for all cells.",
    )
    null_subsets: int = setting(
        Whole(0), NULL_SUBSETS, before=0, group=CHANCE, sql="int32",
        comment="subsets averaged in each null score; 0: one each, in turn (before version 3)",
        help="Cell subsets averaged for each null score; 0: one per shuffle, in turn.",
    )
    use_flagged_frames: bool = setting(
        # before there was this setting no flag was read: leaving out the flagged frames, which were none, is as before
        Flag(), False, before=False, group=TRIALS, sql="bool",
        comment="also trials whose window holds a frame flagged as bad in Recording",
        help="Also use trials whose window holds a frame that Suite2p or the experimenter flagged as bad.",
    )
    penalty: str = setting(
        Choice(PENALTIES), "auto", before="fixed", group=DECODER, sql="varchar(8)",
        comment="unit of c: fixed (C is c), scaled (c / k) or auto (scaled, c chosen)",
        help="Unit of c and c_grid: with fixed, C is c at every k; with scaled it is c / k, for all k alike (without "
        "scaling it is also divided by the mean variance of the cells). With auto, c is 1, or 10 or 100 if that gains "
        "0.02 in inner cross-validations: one c for all sessions of the set.",
    )
    intervals: str = setting(
        Choice(INTERVALS), "calibrated", before="test_trials", group=CURVE, sql="varchar(16)",
        comment="what intervals hold for: new_trials, or test_trials (as before)",
        help="What the intervals hold for: decoders that are trained and tested on new trials of these cells "
        "(calibrated), or the trained decoders on new test trials (test_trials), which is too narrow for other "
        "conclusions. With new_trials, the former default, intervals of scores of 0.98 or more are up to three times "
        "as wide as they need be. With retrained the variance of new trials is that of n_bootstrap draws in which "
        "decoders are trained again, instead of up to twice that of the test trials: a check, which may double the "
        "time.",
    )
    choice_model: str = setting(
        Choice(CHOICE_MODELS), "habits", before="static", group=CHANCE, sql="varchar(8)",
        comment="mouse of a pseudosession: dynamic, or static as in former versions",
        help="Mouse of the nulls pseudosession and conditional: habits, whose bias and use of the stimulus change "
        "within the session, and which follows its last five choices; dynamic, as in former versions, which follows "
        "the last one alone and running means; or static, as before these, which does not change. A null that "
        "simulates no mouse has static.",
    )
    imposter_align: str = setting(
        Choice(ALIGNMENTS), "start", before="start", group=CHANCE, sql="varchar(8)",
        comment="trials of an imposter session: start, end or fraction",
        help="With null imposter: which trials of another session the labels are from: as many from its start, the "
        "last ones, or those at the same fraction of the session.",
    )
    beyond: str = setting(
        Choice(BEYOND), "none", before="none", group=TRIALS, sql="varchar(16)",
        comment="what the score must tell more than: none, stimulus or stimulus+history",
        help="With stimulus: what cells tell about the choice, or the feedback, beyond the stimulus. Decoders are "
        "trained with the same stimuli for both classes and scored within side and contrast, so that cells of the "
        "stimulus alone score 0.5; the null is conditional, and class_balance is none. With stimulus+history: also "
        "within the last choice.",
    )
    trials: str = setting(
        ConditionText(), "", before="", group=TRIALS, sql="varchar(512)", comment="condition; '': all trials",
        help="Only trials for which a condition is true, e.g. 'contrast > 0.1 and correct and block == 0.5'; see "
        "docs/science/own_questions.md. Default: all trials.",
    )
    labels: str = setting(
        Key(), "", before="", group=TRIALS, sql="varchar(32)", comment="LabelSet of an own target; '': a built-in one",
        help="Labels of a target of your own, by their key in LabelSet. Default: the latest of that name.",
    )
    signal: str = setting(
        Choice(("", *KINDS)), "", before="", group=CELLS, column="decoded_signal", sql="varchar(16)",
        comment="deconvolved, fluorescence or dff; '': as each FOV was read",
        help="Activity that is decoded, the same one of all sessions: deconvolved, fluorescence (F) or dff (dF/F from "
        "F and neuropil). Default: as each FOV was read, deconvolved if that is there, or else fluorescence.",
    )
    neuropil: float = setting(
        Number(least=0), DFF.neuropil, before=DFF.neuropil, group=CELLS, column="dff_neuropil", sql="float64",
        comment="with dff: part of the neuropil that is subtracted",
        help="With signal dff: part of the neuropil that is subtracted from F.",
    )
    baseline_window: float = setting(
        Number(above=0), DFF.window, before=DFF.window, group=CELLS, column="dff_window", sql="float64",
        comment="with dff: length of the running baseline's window, s",
        help="With signal dff: length of the running baseline's window, s.",
    )
    baseline_percentile: float = setting(
        Number(least=0), DFF.percentile, before=DFF.percentile, group=CELLS, column="dff_percentile", sql="float64",
        comment="with dff: percentile that is the baseline",
        help="With signal dff: percentile of the window that is the baseline, up to 100.",
    )
    c_range: str = setting(
        Choice(C_RANGES), "", before="narrow", group=DECODER, sql="varchar(8)",
        comment="with penalty auto: c of 1, 10, 100 (wide), or 1, 10, 30 (narrow) as before",
        help="With penalty auto: wide chooses c from 1, 10 and 100, by scores at a fourth of the largest k; narrow "
        "from 1, 10 and 30, by scores at several k, as in former versions. Default: wide; narrow for labels that are "
        "numbers.",
    )
    shared_folds: bool = setting(
        Flag(), True, before=False, group=DECODER, sql="bool",
        comment="null labels have the folds of the real ones; c_grid by pairs of folds",
        help="Decode null labels of the same trials with the folds of the real labels, which takes less time, and "
        "choose from c_grid by leaving out pairs of folds; otherwise each label vector is stratified by itself, as in "
        "former versions. Off where it has no effect: without c_grid, for numbers, beyond, trial_shuffled, curves over "
        "trials, null_subsets 0, and for downsampled classes unless null is permute, circular or linear_shift.",
    )
    # fmt: on

    def __post_init__(self) -> None:
        for record in settings_in(type(self)):
            self._set(record.name, record.take(getattr(self, record.name)))
        # filled in before the hash: asking for the target's own window by name is the same row as leaving it out
        self._check_target()
        event, (start, end) = EVENTS.get(self.target, OWN_EVENT)
        self._set("event", self.event or event)
        self._set("win_start", start if self.win_start is None else self.win_start)
        self._set("win_end", end if self.win_end is None else self.win_end)
        # the same row as before there was this setting, where it has no effect
        simulated = self.null in SIMULATED and not self.labels
        self._set("choice_model", self.choice_model if simulated else "static")
        c_range = self.c_range or own_c_range(of_numbers=self.of_numbers)
        self._set("c_range", c_range if self.penalty == "auto" else "narrow")
        self._set("shared_folds", self.shared_folds and (bool(self.c_grid) or self._shares_folds))
        # classes are balanced within the strata, numbers have none: dropping trials, the default, would only lose some
        if (self.beyond != "none" or self.of_numbers) and self.class_balance == "downsample":
            self._set("class_balance", "none")
        # last: the checks see the filled-in values
        self._check_together()

    def _set(self, name: str, value: Any) -> None:
        """Set a field of this frozen object; only ``__post_init__`` may."""
        object.__setattr__(self, name, value)

    def _check_target(self) -> None:
        """Refuse a target without labels, labels without a target, and nulls that they cannot have."""
        if self.target not in EVENTS and not self.labels:
            raise ArgumentError(
                f"target must be one of {', '.join(EVENTS)}, not {self.target!r}, unless labels has the key of labels "
                f"of your own"
            )
        if self.target in EVENTS and self.labels:
            raise ArgumentError(f"labels={self.labels!r} are for a target of your own, not for {self.target}")
        if self.of_numbers and not self.labels:
            raise ArgumentError(
                f"metric={self.metric!r} is of labels that are numbers, and {self.target} has two classes: use "
                f"{', '.join(CLASS_METRICS)}, in a call of its own"
            )
        if self.labels and self.null not in ("auto", *FROM_LABELS):
            raise ArgumentError(
                f"null={self.null!r} simulates mice or takes other sessions, which have no labels {self.target!r}: use "
                f"linear_shift (what auto is here), or permute if trials are independent of each other"
            )

    def _check_together(self) -> None:
        """Refuse settings that would have no effect, or that contradict each other."""
        if self.win_start is not None and self.win_end is not None and not self.win_start < self.win_end:
            raise ArgumentError(
                f"the window must start before it ends, not win_start={self.win_start:g} and win_end={self.win_end:g}"
            )
        if self.fold_gap and self.fold_mode != "blocked":
            raise ArgumentError(
                f"fold_gap={self.fold_gap} needs test trials that are contiguous in time: use fold_mode='blocked'"
            )
        if len(self.c_grid) == 1:
            raise ArgumentError(
                f"c_grid must have two or more values to choose from; for a single one use c={self.c_grid[0]:g}"
            )
        if self.penalty == "auto" and (self.c_grid or self.c != 1.0):
            raise ArgumentError(
                f"penalty='auto' chooses c itself, not with c={self.c:g} and c_grid={self.c_grid}: use "
                f"penalty='scaled' (c / k) or 'fixed' (C is c)"
            )
        if self.penalize_intercept and self.penalty != "fixed":
            raise ArgumentError(
                f"penalize_intercept would pull the intercept to 0 with penalty={self.penalty!r}: use penalty='fixed'"
            )
        if self.c_grid and self.c != 1.0:
            raise ArgumentError(f"c is chosen from c_grid={self.c_grid}: leave out c={self.c:g}")
        if self.cells_seed and self.cells == "shared":
            raise ArgumentError(f"cells_seed={self.cells_seed} has an effect on random cells only: use cells='random'")
        if self.null == "conditional" and (self.target not in CHOSEN or self.choice_model not in CHANGING):
            raise ArgumentError(
                f"null='conditional' draws {' or '.join(CHOSEN)} with choice_model='habits' or 'dynamic', not "
                f"{self.target} with {self.choice_model!r}"
            )
        if self.of_numbers:
            self._check_numbers()
        self._check_trials()
        self._check_signal()
        if self.imposter_align != "start" and self.null != "imposter":
            raise ArgumentError(
                f"imposter_align={self.imposter_align!r} has an effect on imposter sessions only: use null='imposter'"
            )
        if self.beyond != "none":
            self._check_beyond()
        if self.intervals == "retrained":
            check_retrained(self.n_bootstrap, self.curve_axis, self.trial_shuffled, self.c_grid)
        if self.n_cells and self.curve_axis == "trials":
            raise ArgumentError(
                f"n_cells={self.n_cells} limits a curve over cells; curve_axis='trials' uses all cells at each k"
            )

    def _check_trials(self) -> None:
        """Refuse trials that are selected by their label, or that a null cannot select."""
        columns = columns_in(self.trials)
        if by_label := sorted(columns & set(LABEL_COLUMNS.get(self.target, ()))):
            raise ArgumentError(
                f"trials={self.trials!r} would select by the label: {by_label[0]} says what target {self.target} is"
            )
        by_choice = sorted(columns & set(OF_THE_CHOICE))
        if by_choice and (self.null == "conditional" or self.beyond != "none"):
            raise ArgumentError(
                f"trials={self.trials!r} selects by {by_choice[0]} of the trial, which the null conditional draws "
                f"anew: use null='pseudosession' and beyond='none'"
            )

    def _check_signal(self) -> None:
        """Refuse settings of dF/F that are out of range, or without dF/F."""
        of_dff = DffSettings(self.neuropil, self.baseline_window, self.baseline_percentile)
        if self.signal != "dff" and of_dff != DFF:
            raise ArgumentError(
                "neuropil, baseline_window and baseline_percentile have an effect on dF/F only: use signal='dff'"
            )

    def _check_numbers(self) -> None:
        """Refuse what has no meaning for numbers, which have no classes."""
        needed: dict[str, Any] = {"class_balance": "none", "trial_shuffled": False, "penalize_intercept": False}
        for name, value in needed.items():
            if getattr(self, name) != value:
                raise ArgumentError(
                    f"labels that are numbers (metric={self.metric!r}) need {name}={value!r}, not "
                    f"{getattr(self, name)!r}"
                )

    @property
    def _shares_folds(self) -> bool:
        """Whether null labels can be decoded with the folds of the real ones: see ``pipeline.decoding.folds``."""
        alone = self.of_numbers or self.beyond != "none" or self.trial_shuffled
        # of simulated labels, and of other sessions', other trials are left out to balance the classes
        from_labels = self.null in FROM_LABELS or bool(self.labels)
        same_trials = from_labels or self.class_balance != "downsample"
        return not alone and same_trials and self.curve_axis == "cells" and self.null_subsets > 0

    @property
    def of_numbers(self) -> bool:
        """Whether the labels are numbers, decoded by regression, and not two classes."""
        return self.metric in NUMBER_METRICS

    @property
    def own_signal(self) -> SignalSettings | None:
        """The signal that is asked for; None: as each FOV was read."""
        of_dff = DffSettings(self.neuropil, self.baseline_window, self.baseline_percentile)
        return SignalSettings(self.signal, of_dff) if self.signal else None

    def _check_beyond(self) -> None:
        """Refuse what has no meaning within strata of trials of the same stimulus."""
        needed: dict[str, tuple[Any, ...]] = {
            "target": CHOSEN, "null": ("auto", "conditional"), "metric": ("auc",), "curve_axis": ("cells",),
            "class_balance": ("none",), "trial_shuffled": (False,), "choice_model": CHANGING,
            "intervals": OF_INFLUENCES,
        }  # fmt: skip
        for name, allowed in needed.items():
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"beyond={self.beyond!r} needs {name} {' or '.join(map(str, allowed))}, not {getattr(self, name)!r}"
                )

    @property
    def title(self) -> str:
        """The question in words: the target, and what the cells must tell more than."""
        return self.target if self.beyond == "none" else f"{self.target} beyond {self.beyond.replace('+', ' and ')}"

    def as_row(self) -> dict[str, Any]:
        """Return the settings as plain values by name, tuples as lists."""
        return {record.name: record.kind.plain(getattr(self, record.name)) for record in settings_in(type(self))}

    def as_columns(self) -> dict[str, Any]:
        """Return the settings by the names of their columns, None for an empty list."""
        return {record.column: record.kind.stored(getattr(self, record.name)) for record in settings_in(type(self))}

    def content(self) -> dict[str, Any]:
        """Return the settings that the key is a hash of.

        Left out are settings added after the first version whose value is what was done before they existed.
        """
        row = self.as_row()
        return {
            record.name: row[record.name]
            for record in settings_in(type(self))
            # so a new setting does not change the keys of rows that were inserted before it
            if not record.says_before(getattr(self, record.name))
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> NDCSettings:
        """Return the settings of a row whose columns have their names; other columns are ignored."""
        return cls(**{record.name: row[record.name] for record in settings_in(cls) if record.name in row})

    @classmethod
    def from_columns(cls, row: Mapping[str, Any]) -> NDCSettings:
        """Return the settings of a row of the table; other columns are ignored."""
        return cls(**{record.name: record.kind.restored(row[record.column]) for record in settings_in(cls)})


def check_retrained(n_bootstrap: int, curve_axis: str, trial_shuffled: bool, c_grid: Sequence[float]) -> None:
    """Refuse what decoders that are trained again in each draw cannot be combined with."""
    if n_bootstrap < MIN_RETRAINED or curve_axis != "cells" or trial_shuffled or len(c_grid):
        raise ArgumentError(
            f"intervals='retrained' needs n_bootstrap={MIN_RETRAINED} or more, curve_axis='cells', no trial_shuffled "
            f"and no c_grid, not {n_bootstrap}, {curve_axis!r}, {trial_shuffled} and {tuple(c_grid)}"
        )


def curve_settings(
    targets: str | Sequence[str] = TARGETS,
    *,
    settings: str | None = None,
    event: str | Mapping[str, str] | None = None,
    win: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    by_region: Sequence[str] = (),
    labels: str | Mapping[str, str] | None = None,
    **words: Any,
) -> list[NDCSettings]:
    """Return the settings of each target, from the arguments of the notebook call or the command line.

    Parameters
    ----------
    targets : str or sequence of str
        choice, feedback, stimulus, block, or names of labels of one's own. Repeated targets are ignored.
    settings : str, optional
        Name of one of ``PRESETS``, whose values hold where no other is given.
    event : str or dict of target to str, optional
    win : (float, float) or dict of target to (float, float), optional
        ``win_start`` and ``win_end`` together.
    by_region : sequence of str
        Acronyms of regions that each get curves of their own, which are not among the settings that are returned; but
        the default ks then start at 2.
    labels : str or dict of target to str, optional
        Keys of the labels of targets of one's own.
    **words
        Other settings of ``NDCSettings``; ``R`` and ``C`` are ``r`` and ``c``.

    Raises
    ------
    ArgumentError
        As ``NDCSettings``; there is no such preset; a setting is given under two names; a setting is not possible with
        ``by_region``; a window is in ms.
    TypeError
        An argument is not a setting.
    """
    targets = list(dict.fromkeys([targets] if isinstance(targets, str) else targets))
    values = ({"ks": KS_OF_REGIONS} if each_region(by_region) else {}) | _by_name(words)
    values, win = _with_preset(settings, values, win)
    if labels and not own_targets(targets):
        raise ArgumentError(f"labels are given, but no target of your own: the targets are {', '.join(targets)}")
    for name, value in (("event", event), ("win", win), ("labels", labels)):
        _check_targets(name, value, targets)
    found = [
        NDCSettings(
            target, **values, **_window(win, target, values), event=_of_target(event, target) or "",
            labels="" if target in EVENTS else _of_target(labels, target) or "",
        )
        for target in targets
    ]  # fmt: skip
    for one in found:
        _check_seconds(one)
    if each_region(by_region) and found:
        _check_by_region(found[0])
    return found


def preset(name: str) -> Preset:
    """Return the preset of this name.

    Raises
    ------
    ArgumentError
        There is none.
    """
    if name not in PRESETS:
        raise ArgumentError(f"settings must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]


def _with_preset(name: str | None, values: dict[str, Any], win: Any) -> tuple[dict[str, Any], Any]:
    """Return the settings that are given, and ``win``, with those of a preset for the rest."""
    if name is None:
        return values, win
    chosen = preset(name)
    if win is None and not {"win_start", "win_end"} & set(values):
        win = chosen.win
    elif isinstance(win, Mapping):
        win = {**chosen.win, **win}
    return {**chosen.values, **values}, win


def each_region(by_region: Any) -> tuple[str, ...]:
    """Return the acronyms of the regions that each get curves of their own, sorted.

    Raises
    ------
    ArgumentError
        It is not a list of acronyms.
    """
    regions = next(one for one in settings_in(NDCSettings) if one.name == "regions")
    names: tuple[str, ...] = replace(regions, name="by_region").take(by_region)
    return names


def with_beyond(settings: Sequence[NDCSettings]) -> list[NDCSettings]:
    """Return settings, those of the choice followed by the same beyond the stimulus, where they allow it.

    A null of one's own, accuracies, curves over trials or conditions on the choice have no counterpart within strata:
    see ``why_not_beyond``.

    Parameters
    ----------
    settings : sequence of NDCSettings
    """
    found: list[NDCSettings] = []
    for one in settings:
        found.append(one)
        if one.target == "choice" and one.beyond == "none":
            with suppress(ArgumentError):
                found.append(replace(one, beyond="stimulus"))
    return found


def why_not_beyond(settings: Iterable[NDCSettings]) -> list[str]:
    """Return a note for each choice that ``with_beyond`` does not also decode beyond the stimulus."""
    reasons = []
    for one in settings:
        if one.target == "choice" and one.beyond == "none":
            try:
                replace(one, beyond="stimulus")
            except ArgumentError as error:
                reasons.append(f"the choice is not decoded beyond the stimulus: {error}")
    return list(dict.fromkeys(reasons))


def _by_name(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the names of their settings; ``R`` and ``C`` are renamed to ``r`` and ``c``."""
    name_of = {record.letter: record.name for record in settings_in(NDCSettings) if record.letter}
    if two := [word for word in words if word in name_of and name_of[word] in words]:
        raise ArgumentError(f"{two[0]} and {name_of[two[0]]} are the same setting: use one of them")
    return {name_of.get(word, word): value for word, value in words.items()}


def _check_by_region(settings: NDCSettings) -> None:
    """Refuse settings that are not possible with ``by_region``."""
    if settings.regions:
        raise ArgumentError(
            "regions decodes the cells of all these regions together, by_region those of each region: use one of them"
        )
    if settings.curve_axis == "trials":
        raise ArgumentError("by_region compares regions at the same number of cells: use curve_axis='cells'")


def check_survivorship(settings: Sequence[NDCSettings]) -> None:
    """Refuse settings that are not possible where cells that stay are compared with others.

    Raises
    ------
    ArgumentError
        They name cells, or a curve over trials.
    """
    for one in settings:
        if one.cells != "shared":
            raise ArgumentError(
                f"survivorship compares shared, untracked and lost cells, cells={one.cells!r} decodes one kind: use "
                "one of them"
            )
        if one.curve_axis == "trials":
            raise ArgumentError("survivorship compares cells at the same number of them: use curve_axis='cells'")


def _window(win: Any, target: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return win_start and win_end of a target from ``win``; nothing if the target's own window is used."""
    found = _of_target(win, target)
    if found is None:
        return {}
    if "win_start" in values or "win_end" in values:
        raise ArgumentError("win is win_start and win_end together: use either win or these two")
    try:
        start, end = found
    except (TypeError, ValueError):
        raise ArgumentError(f"win must be start and end in s, such as (-0.1, 0), not {found!r}") from None
    return {"win_start": start, "win_end": end}


def _check_seconds(settings: NDCSettings) -> None:
    """Refuse windows in ms; in NDCSettings itself, rows of former versions could not be read any more."""
    start, end = settings.win_start or 0.0, settings.win_end or 0.0
    if max(abs(start), abs(end)) > LONGEST_WINDOW:
        raise ArgumentError(
            f"the window {start:g} to {end:g} s reaches further than {LONGEST_WINDOW:g} s from {settings.event}; "
            f"windows are in s: if this is in ms, use {start / 1000:g} to {end / 1000:g}"
        )


def own_targets(targets: str | Sequence[str]) -> list[str]:
    """Return those of the targets that are names of labels of one's own."""
    return [target for target in ([targets] if isinstance(targets, str) else targets) if target not in EVENTS]


def _of_target(value: Any, target: str) -> Any:
    """Return the value of an argument for a target; the argument is one value for all targets, or a dict by target."""
    return value.get(target) if isinstance(value, Mapping) else value


def _check_targets(name: str, value: Any, targets: Sequence[str]) -> None:
    """Refuse a dict by target with keys that are no targets."""
    known = list(dict.fromkeys([*EVENTS, *targets]))
    unknown = [str(key) for key in value if key not in known] if isinstance(value, Mapping) else []
    if unknown:
        raise ArgumentError(
            f"{name} must be a dict by target, with keys of {', '.join(known)}, not {', '.join(unknown)}"
        )
