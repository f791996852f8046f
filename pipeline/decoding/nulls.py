"""Null labels: label vectors without any relation to the activity, with whose scores a decoding score is compared.

Activity drifts slowly, and so do labels such as the block. Two slow signals correlate by chance ("nonsense
correlations", Harris 2020), so labels in random order are too easy to beat. The nulls of this module differ in which
structure of the real labels they keep: see ``NULLS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from pipeline.behavior.dynamic import N_LAST, DynamicPsychometric, fit_dynamic_psychometric, past_choices
from pipeline.behavior.pseudosessions import PseudoTask
from pipeline.behavior.reaction import ReactionTimes
from pipeline.behavior.static import BehaviorModel, fit_psychometric
from pipeline.behavior.task import stimulus, trial_columns
from pipeline.behavior.trial_columns import first_failed
from pipeline.decoding.strata import n_minority
from pipeline.decoding.trials import labelled, seed_sequence, target_labels
from pipeline.errors import ArgumentError, DataError
from pipeline.settings.conditions import MEASURED, OF_THE_CHOICE, columns_in
from pipeline.settings.curves import ALIGNMENTS, CHOICE_MODELS, CHOSEN

Array = np.ndarray

#: The nulls, and what each does.
NULLS = {
    "permute": "labels in random order; valid only if trials are independent of each other",
    "circular": "labels shifted by a random number of trials, with wrap-around",
    "linear_shift": "labels shifted by up to a quarter of the session, with the edges left out",
    "pseudosession": "labels of sessions simulated from the task and a model of the mouse's choices",
    "conditional": "choices drawn from that model at the session's own stimuli and past choices",
    "imposter": "labels of other sessions",
}
#: Nulls that are made from the label vector alone.
SHIFTED = ("permute", "circular", "linear_shift")
TARGETS = ("choice", "feedback", "stimulus", "block")
#: Last choices with weights of their own in each model of a mouse that changes.
LAST_CHOICES = {"habits": N_LAST, "dynamic": 1}
#: Largest linear shift, in trials.
MAX_SHIFT = 100
#: Simulated sessions that are tried for one null vector before it is given up for too few trials of a class.
MAX_DRAWS = 200


def auto_null(target: str) -> str:
    """Return the null that 'auto' stands for: 'pseudosession', which was found to be calibrated for every target.

    Raises
    ------
    ArgumentError
        The target is unknown.
    """
    if target not in TARGETS:
        raise ArgumentError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    return "pseudosession"


# -------------------------------------------------------------------------------------------- null labels of a session


def null_labels(
    null: str,
    target: str,
    trials: Mapping[str, Array],
    usable: Array,
    n_label_shuffles: int,
    shuffle_seed: int,
    *,
    names: Sequence[str] = (),
    donors: Sequence[Mapping[str, Array]] = (),
    min_per_class: int = 5,
    choice_model: str = "habits",
    imposter_align: str = "start",
    strata: Array | None = None,
    condition: str = "",
) -> tuple[Array, Array]:
    """Return the labels of a session's usable trials, and S null label vectors.

    Shuffle s does not depend on S. Classes are not balanced here: balance every null vector like the real one, with
    ``pick_trials``.

    Parameters
    ----------
    null : {'auto', 'permute', 'circular', 'linear_shift', 'pseudosession', 'conditional', 'imposter'}
    target : {'choice', 'feedback', 'stimulus', 'block'}
    trials : mapping of ALF attribute to (n,) float64
        All trials of the session, in temporal order.
    usable : (m,) int
        Numbers of the trials to label, increasing; each must have a real label.
    n_label_shuffles : int
        S.
    shuffle_seed : int
    names : sequence of str
        What the labels are for (session, target): pseudosessions and conditional draws of different names are
        independent. The other nulls ignore them.
    donors : sequence of mappings like ``trials``
        Other sessions, for 'imposter'.
    min_per_class : int
        Every null vector has at least so many trials of each class: as many as there are folds.
    choice_model : {'habits', 'dynamic', 'static'}
        Mouse of a pseudosession: ``pipeline.behavior.dynamic``, which changes within the session, with weights of the
        last five choices, or as in former versions of the last one alone (dynamic); or ``pipeline.behavior.static``,
        the only one before there were the others.
    imposter_align : {'start', 'end', 'fraction'}
        Which trials of a donor a session gets labels from: see ``docs/science/nulls.md``.
    strata : (m,) int from 0, optional
        Of the usable trials. With 'conditional', every null vector has at least ``min_per_class`` trials of the rarer
        class, summed over the strata.
    condition : str
        Label only trials for which this is true, a condition in its canonical form (``Condition.parse``); '' for all. A
        simulated session, and a donor, has the trials for which it is true in that session: so its labels have the same
        relation to the choice of the trials. Reaction times (``MEASURED``) are those of this session, as choice and
        error change them (``ReactionTimes``); simulated sessions then have its contrasts.

    Returns
    -------
    real : (m,) int8
        1 or 0; -1 at the edges for 'linear_shift', and where the condition is not true.
    null : (S, m) int8
        1, 0, or -1 for a trial left out of that vector.

    Raises
    ------
    ArgumentError
        The null, target, choice_model or imposter_align is unknown; the null is 'conditional', and the target not
        choice or feedback, or the condition is on the choice; trials are not increasing, or have no real label; S is
        below 0, or larger than the number of linear shifts.
    DataError
        No null vector with enough trials of each class was found, or there are too few donors.

    Examples
    --------
    >>> trials = {"probabilityLeft": np.repeat([0.5, 0.8, 0.2, 0.8], [90, 40, 60, 30])}
    >>> trials |= {"contrastLeft": np.full(220, 0.25), "contrastRight": np.full(220, np.nan)}
    >>> trials |= {"choice": np.ones(220), "feedbackType": np.ones(220)}
    >>> real, null = null_labels("pseudosession", "block", trials, np.arange(90, 220), 3, 0)
    >>> null.shape, np.unique(null)
    ((3, 130), array([0, 1], dtype=int8))
    """
    null = auto_null(target) if null == "auto" else null
    if null not in NULLS:
        raise ArgumentError(f"null must be 'auto' or one of {', '.join(NULLS)}, not {null!r}")
    if null == "conditional" and target in TARGETS and target not in CHOSEN:
        raise ArgumentError(f"null 'conditional' draws choices: its targets are {' and '.join(CHOSEN)}, not {target}")
    if choice_model not in CHOICE_MODELS:
        raise ArgumentError(f"choice_model must be one of {', '.join(CHOICE_MODELS)}, not {choice_model!r}")
    if n_label_shuffles < 0 or min_per_class < 1:
        raise ArgumentError(
            f"n_label_shuffles must be 0 or more and min_per_class 1 or more, not {n_label_shuffles} and "
            f"{min_per_class}"
        )
    if null == "conditional" and columns_in(condition) & set(OF_THE_CHOICE):
        raise ArgumentError(f"null 'conditional' draws the choices, by which {condition!r} selects")
    attributes, trials = trials, trial_columns(trials)
    usable, labels = np.asarray(usable), target_labels(target, trials)
    real = _labels_of(labels, usable)
    chosen = first_failed(condition, attributes)[usable] == 0
    real = np.where(chosen, real, -1).astype(np.int8)
    if null in SHIFTED:
        return shuffled_labels(real, null, n_label_shuffles, shuffle_seed)
    if null == "imposter":
        given = [_given_labels(target, donor, condition) for donor in donors]
        return real, _imposter_labels(target, labels, usable, n_label_shuffles, given, min_per_class, imposter_align)
    seeds = [seed_sequence(shuffle_seed, null, *names, str(s)) for s in range(n_label_shuffles)]
    if null == "conditional":
        draw = _conditional_draws(target, trials, usable, choice_model, attributes, condition)
    else:
        draw = _pseudosession_draws(target, trials, usable, choice_model, attributes, condition)
    return real, _drawn_labels(draw, seeds, len(usable), min_per_class, target, strata)


def _labels_of(labels: Array, usable: Array) -> Array:
    """Return the labels of the usable trials, (m,) int8; raise ArgumentError if ``usable`` is not as documented."""
    if usable.ndim != 1 or not np.issubdtype(usable.dtype, np.integer):
        raise ArgumentError(f"usable must be a list of trial numbers, not {usable.dtype} of shape {usable.shape}")
    if len(usable) and (usable[0] < 0 or usable[-1] >= len(labels) or (np.diff(usable) <= 0).any()):
        raise ArgumentError(f"usable must be increasing numbers of the {len(labels)} trials, not {usable}")
    without = usable[np.isnan(labels[usable])]
    if len(without):
        raise ArgumentError(
            f"usable trials must have a label; {len(without)} have none, the first is trial {without[0]}"
        )
    chosen: Array = labels[usable].astype(np.int8)
    return chosen


def _enough(row: Array, min_per_class: int, strata: Array | None = None) -> bool:
    """Return whether a label vector has enough trials of each class; with strata, of the rarer one in them."""
    least: int = min(np.sum(row == 0), np.sum(row == 1)) if strata is None else n_minority(row, strata)
    return bool(least >= min_per_class)


# ------------------------------------------------------------------------------------------ from a label vector alone


def shuffled_labels(
    y: Array, null: str, n_label_shuffles: int, shuffle_seed: int, *, numbers: bool = False
) -> tuple[Array, Array]:  # fmt: skip
    """Return the labels and S shuffled label vectors, made from the labels alone.

    With m labels in use:

    - 'permute': random order.
    - 'circular': shifted by a random number of trials from 1 to m - 1, with wrap-around.
    - 'linear_shift' (Harris 2020): shifted by -M to M trials, but not by 0; M is ``linear_shift_margin(m)``. The first
      and the last M trials in use are left out of every vector, also of the real one, so that all have the same trials.
      There are 2 M shifts; each is used once, in random order.

    Parameters
    ----------
    y : (n,) int, or with ``numbers`` float
        1, 0, or -1 for a trial that is left out; or numbers, NaN for such a trial. It stays left out, and shifts skip
        it.
    null : {'permute', 'circular', 'linear_shift'}
    n_label_shuffles : int
        S. Shuffle s does not depend on S.
    shuffle_seed : int
    numbers : bool
        The labels are numbers, and not classes.

    Returns
    -------
    real : (n,) int8, or of numbers float64
        y; with its edges left out (-1 or NaN) for 'linear_shift'.
    null : (S, n) of the same type

    Raises
    ------
    ArgumentError
        Labels are not 1, 0 and -1; the null is unknown; S is below 0, or larger than the number of shifts.

    Examples
    --------
    >>> shuffled_labels(np.array([1, 1, 0, -1, 0]), "circular", 2, shuffle_seed=0)[1]
    array([[ 1,  0,  0, -1,  1],
           [ 1,  0,  0, -1,  1]], dtype=int8)
    """
    y = np.asarray(y, dtype=np.float64 if numbers else None)
    if y.ndim != 1 or not (numbers or np.isin(y, (-1, 0, 1)).all()):
        raise ArgumentError(f"labels must be a vector of 1, 0 and -1, not {np.unique(y)[:5]} of shape {y.shape}")
    if null not in SHIFTED or n_label_shuffles < 0:
        raise ArgumentError(
            f"null must be one of {', '.join(SHIFTED)} and n_label_shuffles 0 or more, not {null!r} and "
            f"{n_label_shuffles}"
        )
    real, none = (y, np.nan) if numbers else (y.astype(np.int8), -1)
    used = np.flatnonzero(labelled(real))
    labels = real[used]
    out = np.full((n_label_shuffles, len(real)), none, dtype=real.dtype)
    if null == "linear_shift":
        shifts = _linear_shifts(len(used), n_label_shuffles, shuffle_seed)
        margin = linear_shift_margin(len(used))
        middle = np.arange(margin, len(used) - margin)
        # positions among the labels in use: trials that are left out do not count in a shift
        out[:, used[middle]] = labels[middle + shifts[:, None]]
        kept = real
        real = np.full_like(kept, none)
        real[used[middle]] = kept[used[middle]]
        return real, out
    if null == "circular" and len(used) < 2 and n_label_shuffles:
        raise ArgumentError(f"a circular shift needs two labels or more; there are {len(used)}")
    for s in range(n_label_shuffles):
        rng = np.random.default_rng(np.random.SeedSequence([shuffle_seed, s, 1]))
        # a circular shift of 0 is left out: it would be the real labels
        out[s, used] = (
            rng.permutation(labels) if null == "permute" else np.roll(labels, rng.integers(1, len(labels)))
        )  # fmt: skip
    return real, out


def linear_shift_margin(n_labels: int) -> int:
    """Return the largest linear shift in trials: a quarter of the number of labels in use, at most 100.

    It depends on the number of labels only, and not on the number of shuffles, so that shuffles can be added later.

    Examples
    --------
    >>> [linear_shift_margin(n) for n in (40, 400, 1000)]
    [10, 100, 100]
    """
    return min(n_labels // 4, MAX_SHIFT)


def _linear_shifts(n_labels: int, n_label_shuffles: int, shuffle_seed: int) -> Array:
    """Return S of the 2 M shifts, the first in a random order that does not depend on S, (S,) int."""
    margin = linear_shift_margin(n_labels)
    if n_label_shuffles > 2 * margin:
        raise ArgumentError(
            f"linear_shift of {n_labels} labels has {2 * margin} shifts (up to {margin} trials in each direction): "
            f"n_label_shuffles is {2 * margin} at most, not {n_label_shuffles}"
        )
    shifts = np.concatenate([np.arange(-margin, 0), np.arange(1, margin + 1)])
    # all shifts are ordered, and the first S taken: more shuffles can be added later
    order = np.random.default_rng(np.random.SeedSequence([shuffle_seed, n_labels, 2])).permutation(2 * margin)
    return shifts[order[:n_label_shuffles]]


# ---------------------------------------------------------------------------------------------- imposter sessions


def _given_labels(target: str, donor: Mapping[str, Array], condition: str) -> Array:
    """Return the labels of a donor's trials that have one, (n,) int8; -1 where the condition is not true."""
    labels = target_labels(target, trial_columns(donor))
    chosen = first_failed(condition, donor) == 0
    given: Array = np.where(chosen, labels, -1)[~np.isnan(labels)].astype(np.int8)
    return given


def _imposter_labels(
    target: str,
    labels: Array,
    usable: Array,
    n_label_shuffles: int,
    given: Sequence[Array],
    min_per_class: int,
    align: str,
) -> Array:
    """Return labels of other sessions for the usable trials, (S, m) int8; ``given`` are those of the donors."""
    if align not in ALIGNMENTS:
        raise ArgumentError(f"imposter_align must be one of {', '.join(ALIGNMENTS)}, not {align!r}")
    rank = np.cumsum(~np.isnan(labels))[usable] - 1
    # up to the last usable trial, or if the end matters, all
    length = int(rank[-1]) + 1 if len(rank) and align == "start" else int(np.sum(~np.isnan(labels)))
    stretches = [
        (turn, number, donor[places])
        for number, donor in enumerate(given)
        for turn, places in enumerate(_donor_places(rank, length, len(donor), align))
        if _enough(donor[places], min_per_class)
    ]
    stretches.sort(key=lambda stretch: stretch[:2])
    if n_label_shuffles > len(stretches):
        raise DataError(
            f"the other sessions give too few label vectors of {target} with {length} labelled trials each and "
            f"{min_per_class} or more of each class",
            expected=f"{n_label_shuffles}",
            found=f"{len(stretches)} distinct ones from {len(given)} sessions",
            do=f"Use {len(stretches)} shuffles at most, add sessions as long as this one, or use another null.",
        )
    rows = [row for _, _, row in stretches[:n_label_shuffles]]
    return np.array(rows, dtype=np.int8).reshape(n_label_shuffles, len(usable))


def _donor_places(rank: Array, length: int, n_given: int, align: str) -> list[Array]:
    """Return which labels of a donor the trials get, one (m,) int for each label vector that it gives.

    - 'start': the r-th labelled trial of this session gets the r-th label of the donor. That keeps the time since the
      start of the session. A donor twice as long gives a second vector, from its next trials; it is used after the
      first vectors of all donors. Overlapping stretches are not used: they would be nearly the same vector, counted
      several times.
    - 'end': the last labelled trial gets the last label, and so on: it keeps the time to the end of the session, when
      mice tire. A donor gives one vector.
    - 'fraction': a trial gets the label at the same fraction of the donor's session. A donor gives one vector, and it
      is at most half as long again as this session: of a longer one, trials would be skipped, so that its labels would
      change faster than those of this session.

    Parameters
    ----------
    rank : (m,) int
        Of each usable trial among the labelled ones.
    length, n_given : int
        Labelled trials of this session, and of the donor.
    align : {'start', 'end', 'fraction'}
    """
    if n_given < length:
        return []
    if align == "start":
        return [start + rank for start in range(0, n_given - length + 1, max(length, 1))]
    if align == "end":
        return [n_given - length + rank]
    if 2 * n_given > 3 * length:
        return []
    return [((rank + 0.5) * n_given / max(length, 1)).astype(int)]


# ---------------------------------------------------------------------------------------------- simulated choices

#: Returns the labels of the usable trials, one vector for each generator, (S, m) float64 with NaN for neither class.
Draw = Callable[[Sequence[np.random.Generator]], Array]


def _pseudosession_draws(
    target: str, trials: Mapping[str, Array], usable: Array, choice_model: str, attributes: Mapping[str, Array],
    condition: str,
) -> Draw:  # fmt: skip
    """Return what draws the labels of pseudosessions, of the trials for which a condition is true in each."""
    shows = np.zeros(len(trials["choice"]), dtype=bool)
    # a decoded trial needs a side in every pseudosession, so it must have a contrast above zero
    shows[usable] = target == "stimulus"
    model: DynamicPsychometric | BehaviorModel = (
        fit_psychometric(trials) if choice_model == "static" else _fitted(trials, choice_model)
    )
    # reaction times depend on the contrast, so they keep it
    times = _times_in(condition, attributes)
    task = PseudoTask.of(trials, model, shows, same_contrasts=times is not None)

    def draw(rngs: Sequence[np.random.Generator]) -> Array:
        sessions = task.sessions(rngs)
        own_times = times.simulated(sessions) if times else {}
        chosen = first_failed(condition, {**attributes, **sessions, **own_times}) == 0
        return np.where(chosen, target_labels(target, sessions), np.nan)[:, usable]

    return draw


def _times_in(condition: str, attributes: Mapping[str, Array]) -> ReactionTimes | None:
    """Return the reaction times of a session if a condition is on them."""
    return ReactionTimes.of(attributes) if columns_in(condition) & set(MEASURED) else None


def _fitted(trials: Mapping[str, Array], choice_model: str) -> DynamicPsychometric:
    """Return the model of a session, fitted once for all its targets."""
    return _fit_of(tuple(trials), tuple(column.tobytes() for column in trials.values()), LAST_CHOICES[choice_model])


@lru_cache(maxsize=8)
def _fit_of(names: tuple[str, ...], columns: tuple[bytes, ...], n_last: int) -> DynamicPsychometric:
    columns_of = {name: np.frombuffer(column) for name, column in zip(names, columns, strict=True)}
    return fit_dynamic_psychometric(columns_of, n_last)


def _conditional_draws(
    target: str,
    trials: Mapping[str, Array],
    usable: Array,
    choice_model: str,
    attributes: Mapping[str, Array],
    condition: str,
) -> Draw:
    """Return what draws choices at the real stimuli, from the real past choices and a mouse drawn from the posterior.

    So everything that the stimulus, the past and the slow changes of the mouse say about a choice is the same in the
    null labels, and only what they leave open is drawn anew.
    """
    model = _fitted(trials, choice_model)
    side, contrast = stimulus(trials)
    responds = np.flatnonzero(np.isin(trials["choice"], (-1, 1)))
    past = past_choices(trials["choice"][responds], trials["feedbackType"][responds] > 0, model.n_last)
    times = _times_in(condition, attributes)
    signed = (side * np.nan_to_num(contrast))[responds]

    def draw(rngs: Sequence[np.random.Generator]) -> Array:
        p_left = model.mice(rngs).at(responds).p_left(signed, trials["probabilityLeft"][responds], past)
        left = np.array([rng.random(len(responds)) for rng in rngs]) < p_left
        choice = np.tile(trials["choice"], (len(rngs), 1))
        feedback = np.tile(trials["feedbackType"], (len(rngs), 1))
        choice[:, responds] = np.where(left, 1.0, -1.0)
        feedback[:, responds] = np.where(choice[:, responds] == side[responds], 1.0, -1.0)
        drawn = {"choice": choice, "feedbackType": feedback}
        # the past is that of the session, and so are all columns but reaction times
        chosen = first_failed(condition, {**attributes, **(times.simulated(drawn) if times else {})}) == 0
        return np.where(chosen, target_labels(target, drawn), np.nan)[:, usable]

    return draw


def _drawn_labels(
    draw: Draw, seeds: Sequence[np.random.SeedSequence], n_usable: int, min_per_class: int, target: str,
    strata: Array | None = None,
) -> Array:  # fmt: skip
    """Return the labels of the usable trials, one vector for each seed sequence, (S, m) int8.

    A vector with too few trials of a class is drawn again, from the same sequence: the others are not affected.
    """
    # a generator for each vector, which keeps its place over several draws
    rngs = [np.random.default_rng(seed) for seed in seeds]
    out = np.full((len(seeds), n_usable), -1, dtype=np.int8)
    waiting = np.arange(len(seeds))
    for _ in range(MAX_DRAWS):
        if not len(waiting):
            return out
        labels = draw([rngs[s] for s in waiting])
        out[waiting] = np.where(np.isnan(labels), -1, labels)
        waiting = np.array([s for s in waiting if not _enough(out[s], min_per_class, strata)], dtype=int)
    if len(waiting):
        row = out[waiting[0]]
        raise DataError(
            f"no simulated session has enough trials of both classes of {target}",
            expected=f"{min_per_class} or more of each class{'' if strata is None else ' within strata'} in one of "
            f"{MAX_DRAWS} draws",
            found=f"{np.sum(row == 0)} of class 0 and {np.sum(row == 1)} of class 1 in the last of them",
            do="Use fewer folds or another null for this session.",
        )
    return out
