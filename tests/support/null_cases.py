"""A simulated session decoded with each null: p of a case of ``benchmarks/changing_mice.py`` and of the tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.behavior.trial_columns import first_failed
from pipeline.decoding import n_minority, neuron_dropping_curve, target_labels, trial_strata
from pipeline.decoding.nulls import null_labels
from pipeline.decoding.trials import balanced_labels
from pipeline.settings.conditions import OF_THE_CHOICE, columns_in
from pipeline.settings.curves import CHOSEN
from support.mice import cells, mouse_session, planted, with_reaction_times

#: Null and model of the mouse, by the name in the tables.
NULLS = {
    "static": ("pseudosession", "static"),
    "pseudosession": ("pseudosession", "habits"),
    "conditional": ("conditional", "habits"),
}
#: Those of the mouse of former versions, which knows one last choice, too.
WITH_FORMER = {**NULLS, "former conditional": ("conditional", "dynamic")}
#: With conditions on the trials: "same trials" takes those of the real session from each simulated one, which is wrong.
NULLS_OF_TRIALS = {**NULLS, "same trials": ("pseudosession", "habits")}
N_SHUFFLES, ALPHA = 39, 0.05


@dataclass(frozen=True)
class Case:
    """Sessions that differ in their seed only.

    Attributes
    ----------
    target, mouse, cells : str
        cells 'planted' follow the target by ``effect``.
    n_trials : int
    judged : tuple of str
        The nulls that must be right.
    effect : float
    beyond, condition : str
        As the settings ``beyond`` and ``trials``.
    """

    target: str
    mouse: str
    cells: str
    n_trials: int = 400
    judged: tuple[str, ...] = ("pseudosession", "conditional")
    effect: float = 0.0
    beyond: str = "none"
    condition: str = ""


def one_session(case: Case, number: int, nulls: Iterable[str] = tuple(NULLS)) -> dict[str, float]:
    """Return p with each of the nulls that the target has, and the score."""
    rng = np.random.default_rng([number, case.n_trials, 29])
    trials = mouse_session(case.mouse, case.n_trials, rng)
    if case.condition:
        trials = with_reaction_times(trials, rng)
    labels = target_labels(case.target, trials)
    if case.cells == "planted":
        X = planted(np.nan_to_num(2 * labels - 1), case.effect, rng)
    else:
        X = cells(case.cells, trials, rng)
    usable = np.flatnonzero(~np.isnan(labels))
    found, names = {}, (f"{number}", case.target)
    for name in nulls:
        null, model = (WITH_FORMER | NULLS_OF_TRIALS)[name]
        if null == "conditional" and case.target not in CHOSEN:
            continue
        if null == "conditional" and columns_in(case.condition) & set(OF_THE_CHOICE):
            continue
        chosen, condition = usable, case.condition
        if name == "same trials":  # which is wrong: labels of simulated sessions in the trials of the real one
            chosen, condition = usable[first_failed(condition, trials)[usable] == 0], ""
        real, shuffled = null_labels(null, case.target, trials, chosen, N_SHUFFLES, 0, names=names, choice_model=model,
                                     condition=condition)  # fmt: skip
        real, shuffled = (balanced_labels(y, "downsample", None, 0, *names) for y in (real[None], shuffled))
        curve = neuron_dropping_curve(X[chosen], real[0], ks=[X.shape[1]], R=1, n_label_shuffles=N_SHUFFLES,
                                      null=shuffled, null_subsets=1)  # fmt: skip
        found[name] = float(curve.p_values()[0])
        found["score"] = float(curve.mean[0])
    return found


def one_session_beyond(case: Case, number: int, plain: bool = True) -> dict[str, float]:
    """Return p and score of the choice beyond the stimulus, the number of minority trials, and if wanted the plain p.

    Cells follow what ``case.cells`` says; with an effect, the other half of them follows the choice.
    """
    rng = np.random.default_rng([number, case.n_trials, 31])
    trials = mouse_session(case.mouse, case.n_trials, rng)
    labels = target_labels(case.target, trials)
    X = cells(case.cells, trials, rng)
    X[:, 1::2] += case.effect * np.nan_to_num(2 * labels - 1)[:, None]
    usable = np.flatnonzero(~np.isnan(labels))
    strata = trial_strata(case.beyond, trials)[usable]
    found = {}
    for name, null, within in (("p", "conditional", strata), ("plain", "pseudosession", None))[: 1 + plain]:
        real, shuffled = null_labels(null, case.target, trials, usable, N_SHUFFLES, 0, names=(str(number), case.target),
                                     strata=within)  # fmt: skip
        curve = neuron_dropping_curve(X[usable], real, ks=[X.shape[1]], R=1, n_label_shuffles=N_SHUFFLES, null=shuffled,
                                      null_subsets=1, strata=within)  # fmt: skip
        found[name] = float(curve.p_values()[0])
        if within is not None:
            found |= {"score": float(curve.mean[0]), "minority": float(n_minority(real, strata))}
    return found
