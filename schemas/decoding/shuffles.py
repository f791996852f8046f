"""Shuffled labels of a session: its own labels permuted or shifted, simulated, or those of other sessions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.behavior.trial_columns import first_failed
from pipeline.decoding import NDCSettings
from pipeline.decoding.nulls import auto_null, null_labels, shuffled_labels
from pipeline.decoding.strata import trial_strata
from pipeline.decoding.trials import balanced_labels, target_labels
from pipeline.errors import ArgumentError, DataError
from pipeline.settings.curves import FROM_LABELS
from schemas.labels import LabelSet
from schemas.session import Behavior, Session, trials_of
from schemas.tracking import SessionSet


@dataclass(frozen=True)
class Shuffles:
    """The shuffled labels that the scores of a session are compared with.

    Attributes
    ----------
    null : str
        The null that was used, never 'auto'.
    labels : (S, n_usable) int8 or float64 array, or None
        Class 1 or 0, or -1 for a trial left out, of S shuffles; or numbers, NaN for such a trial. None if the decoder
        permutes the labels itself.
    donors : list of str
        Sessions whose labels were used (null 'imposter').
    """

    null: str
    labels: np.ndarray | None
    donors: list[str]


def null_of(settings: NDCSettings) -> str:
    """Return the null of the settings; 'auto' is resolved by the target, and by what the curve must tell more than."""
    if settings.null != "auto":
        return settings.null
    if settings.labels:
        return FROM_LABELS[0]
    return auto_null(settings.target) if settings.beyond == "none" else "conditional"


def strata_of(settings: NDCSettings, eid: str, trials: np.ndarray) -> np.ndarray | None:
    """Return the strata of some trials of a session, (n,) int; None if the curve has none.

    Parameters
    ----------
    settings : NDCSettings
    eid : str
    trials : (n,) int
        Numbers of the trials.
    """
    if settings.beyond == "none":
        return None
    strata = trial_strata(settings.beyond, trials_of(eid))[trials.astype(np.int64)]
    return np.unique(strata, return_inverse=True)[1].reshape(-1)


def real_labels(labels: np.ndarray, settings: NDCSettings) -> np.ndarray:
    """Return the labels of the usable trials, (n_usable,) int8; -1 at the edges that a linear shift leaves out.

    ``labels`` are -1 for trials that the setting ``trials`` drops: shifts skip them. Numbers are float64, with NaN.
    """
    labels = labels.astype(np.float64 if settings.of_numbers else np.int8)
    if null_of(settings) != "linear_shift":
        return labels
    return shuffled_labels(labels, "linear_shift", 0, settings.shuffle_seed, numbers=settings.of_numbers)[0]


def shuffles(key: dict, settings: NDCSettings, usable: np.ndarray, n_total: int | None) -> Shuffles:
    """Return the shuffled labels of a session, balanced and equalised in number like the real labels.

    Parameters
    ----------
    key : dict
        With ``session_set`` and ``eid``.
    settings : NDCSettings
    usable : (n_usable,) int
        Trial numbers of the trials with features.
    n_total : int, optional
        Number of trials to keep, which every session of the set has; by default all.

    Raises
    ------
    DataError
        This session cannot have such a null.
    """
    null, eid = null_of(settings), key["eid"]
    if null == "permute":  # done by the decoder on the decoded trials, so that only their order changes
        return Shuffles(null, None, [])
    donors = _donors(key, len(usable)) if null == "imposter" else []
    trials = trials_of(eid)
    least = settings.cv_splits  # trials of each class, one for each fold
    if settings.class_balance != "downsample":  # equalising counts later makes the rarer class smaller in proportion
        n_chosen = int((first_failed(settings.trials, trials)[usable.astype(np.int64)] == 0).sum())
        least = math.ceil(least * n_chosen / min(n_total or n_chosen, n_chosen))
    try:
        labels = _of_own_labels(null, settings, eid, trials, usable) if settings.labels else null_labels(
            null, settings.target, trials, usable.astype(np.int64), settings.n_label_shuffles, settings.shuffle_seed,
            names=(eid, settings.target), donors=[trials_of(donor) for donor in donors], min_per_class=least,
            choice_model=settings.choice_model, imposter_align=settings.imposter_align,
            strata=strata_of(settings, eid, usable), condition=settings.trials,
        )[1]  # fmt: skip
    except DataError as error:
        error.eid = eid
        raise
    except ArgumentError as error:
        raise DataError(f"no null {null} for this session: {error}", eid=eid) from None
    # each vector like the real labels: a null with other counts of the classes would have other scores by that alone
    balanced = balanced_labels(
        labels, settings.class_balance, n_total, settings.balance_seed, eid, settings.target,
        numbers=settings.of_numbers,
    )  # fmt: skip
    return Shuffles(null, balanced, donors)


def labels_of(settings: NDCSettings, eid: str, trials: dict[str, np.ndarray]) -> np.ndarray:
    """Return the label of every trial of a session, (n,) float64: class 1 or 0, or a number; NaN for none.

    Parameters
    ----------
    settings : NDCSettings
    eid : str
    trials : dict of ALF attribute to (n,) float64

    Raises
    ------
    DataError
        Labels of one's own lack the session, or are of other trials.
    """
    if settings.labels:
        return LabelSet.of_session(settings.labels, eid, trials)
    return target_labels(settings.target, trials)


def _of_own_labels(
    null: str, settings: NDCSettings, eid: str, trials: dict[str, np.ndarray], usable: np.ndarray
) -> np.ndarray:
    """Return the shuffled labels of the usable trials, made from labels of one's own: (S, n_usable)."""
    chosen = first_failed(settings.trials, trials) == 0
    none = np.nan if settings.of_numbers else -1
    labels = np.where(chosen, labels_of(settings, eid, trials), none)[usable.astype(np.int64)]
    return shuffled_labels(
        labels if settings.of_numbers else labels.astype(np.int8), null, settings.n_label_shuffles,
        settings.shuffle_seed, numbers=settings.of_numbers,
    )[1]  # fmt: skip


def null_vectors(shuffled: Shuffles, y: np.ndarray, settings: NDCSettings) -> np.ndarray:
    """Return the shuffled labels of a session, (S, n_usable) int8; if the decoder permutes, as it would do.

    Parameters
    ----------
    shuffled : Shuffles
    y : (n_usable,) int8
        Decoded labels.
    settings : NDCSettings
    """
    if shuffled.labels is not None:
        return shuffled.labels
    return shuffled_labels(y, "permute", settings.n_label_shuffles, settings.shuffle_seed)[1]


def _donors(key: dict, n_trials: int) -> list[str]:
    """Return the sessions with at least so many trials: the others of the set by date, then those of other subjects.

    Sessions of the same subject outside the set are left out.
    """
    sessions = Session & (Behavior & f"n_trials >= {n_trials:d}").proj() & f"eid <> '{key['eid']}'"
    of_set = sessions & (SessionSet.Member & {"session_set": key["session_set"]}).proj()
    subject = (Session & {"eid": key["eid"]}).fetch1("subject")
    others = sessions - {"subject": subject}
    # a fixed order: the donors and their order determine the labels, and NDCResult.null_donors records them
    order = "session_date, session_number, eid"
    return [*of_set.to_arrays("eid", order_by=order), *others.to_arrays("eid", order_by=f"subject, {order}")]
