"""Neuron-dropping curves of shared cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import decoding
from pipeline.decoding import NDCSettings
from pipeline.errors import DataError
from schemas.imaging import FOV, ROI, Recording, fov_traces, roi_offsets
from schemas.provenance import Environment
from schemas.rows import content_key, number, without_failed
from schemas.session import Behavior, Session, trials_of
from schemas.tracking import SessionSet, SharedCells

schema = dj.Schema()


@schema
class NDCParams(dj.Manual):
    definition = """
    # settings of a neuron-dropping curve; see pipeline.decoding.NDCSettings
    ndc_params : char(32)               # hash of the rest
    ---
    target : varchar(16)                # choice, feedback, stimulus or block
    event : varchar(64)                 # ALF trials attribute
    win_start : float64                 # s after the event
    win_end : float64
    short_window : varchar(16)          # for windows without a frame: nearest, drop, next or interpolate
    scan_line_column : int8             # of stackPos: 0 row (the scan line), 1 as published
    class_balance : varchar(16)         # downsample, weights or none
    equalize_trials : bool              # as many trials in every session
    balance_seed : int64
    ks : json                           # numbers of cells
    r : int32                           # random subsets per k
    metric : varchar(16)                # auc or accuracy
    cv_splits : int32
    scaling : bool                      # standardise cells in the training fold
    c : float64                         # inverse strength of the L2 penalty
    ceiling_mode : varchar(8)           # maxk or all
    delta : float64                     # k* is within this of the ceiling
    null_mode : varchar(16)             # how labels are shuffled
    n_label_shuffles : int32
    seed : int64
    shuffle_seed : int64
    """

    @classmethod
    def add(cls, settings: NDCSettings) -> dict:
        """Insert settings unless they are there, and return their key."""
        row = settings.as_row()
        key = {"ndc_params": content_key(row)}
        row["null_mode"] = row.pop("null")  # NULL is a word of SQL
        cls.insert1({**key, **row}, skip_duplicates=True)
        return key

    def settings(self) -> NDCSettings:
        """Return the settings of the one row that this is restricted to."""
        row = self.fetch1()
        return NDCSettings.from_row({**row, "null": row["null_mode"]})


@schema
class NDCTask(dj.Manual):
    definition = """
    # curves that somebody asked for
    -> SessionSet
    -> NDCParams
    """


@schema
class TrialFeatures(dj.Computed):
    definition = """
    # activity of the shared cells about an event of each usable trial
    -> NDCTask
    -> SharedCells
    -> SessionSet.Member
    ---
    n_usable : int32                    # trials
    trial_features : <blob>             # (n_usable, n_shared) float64, cells in the order of SharedCells
    feature_signal : varchar(64)        # what the activity is: deconvolved, fluorescence
    """

    class Trial(dj.Part):
        definition = """
        # every trial of the session: usable, or why not
        -> master
        -> Behavior.Trial
        ---
        trial_label=null : int8         # class, 1 or 0
        trial_outcome : varchar(16)     # usable; label, event, outside, gap, no frame or not finite
        """

    @property
    def key_source(self):
        return NDCTask.proj() * SharedCells.proj() * SessionSet.Member.proj() & Behavior.proj()

    def make_fetch(self, key):
        return (NDCParams & key).settings().as_row(), (SharedCells & key).fetch1("n_shared")

    def make_compute(self, key, settings, n_shared):
        settings = NDCSettings(**settings)
        if n_shared == 0:
            raise DataError(
                "no cell is tracked in all sessions of the set", eid=key["eid"], expected="1 or more", found="0"
            )
        trials, cells = trials_of(key["eid"]), _shared_rois(key)
        labels = decoding.target_labels(settings.target, trials)
        starts, ends = trials[settings.event] + settings.win_start, trials[settings.event] + settings.win_end
        fovs = [_fov_cells(key["eid"], int(fov), cells, settings) for fov in np.unique(cells["fov"])]
        features, outcome = decoding.trial_features(fovs, labels, starts, ends, settings.short_window)
        _check_usable(key["eid"], settings, labels, outcome)
        return labels, outcome, features, ", ".join(sorted(set(cells["signal"])))

    def make_insert(self, key, labels, outcome, features, signal):
        self.insert1({**key, "n_usable": len(features), "trial_features": features, "feature_signal": signal})
        self.Trial.insert(
            {**key, "trial": i, "trial_label": None if np.isnan(label) else int(label), "trial_outcome": str(why)}
            for i, (label, why) in enumerate(zip(labels, outcome, strict=True))
        )


def _shared_rois(key: dict) -> dict[str, np.ndarray]:
    """Return columns fov, roi, stack_y, stack_x, signal of the shared cells in a session, in their order."""
    columns = ("fov", "roi", "stack_y", "stack_x", "signal")
    cells = (SharedCells.Cell & key).proj() * SharedCells.Cell.proj("fov", "roi") * ROI.proj("stack_y", "stack_x")
    rows = (cells * FOV.proj("signal")).to_arrays(*columns, order_by="shared_cell")
    return dict(zip(columns, rows, strict=True))


def _fov_cells(eid: str, fov: int, cells: dict, settings: NDCSettings) -> decoding.FOVCells:
    columns = np.flatnonzero(cells["fov"] == fov)
    key = {"eid": eid, "fov": fov}
    stack_pos = np.column_stack([cells["stack_y"][columns], cells["stack_x"][columns]]).astype(int)
    return decoding.FOVCells(
        columns=columns,
        traces=fov_traces(eid, fov, cells["roi"][columns]),
        frame_times=np.asarray((Recording & key).fetch1("frame_times")),
        offsets=roi_offsets(key, stack_pos, settings.scan_line_column),
    )


def _check_usable(eid: str, settings: NDCSettings, labels: np.ndarray, outcome: np.ndarray) -> None:
    """Refuse a session that cannot be decoded, and say what became of its trials."""
    usable = labels[outcome == "usable"]
    counts = int((usable == 0).sum()), int((usable == 1).sum())
    if min(counts) >= settings.cv_splits:
        return
    reasons, numbers = np.unique(outcome, return_counts=True)
    problem = "all usable trials are of one class" if min(counts) == 0 < max(counts) else "too few trials to decode"
    raise DataError(
        f"{problem} of {settings.target}",
        eid=eid,
        expected=f"{settings.cv_splits} or more of each class",
        found=f"{counts[0]} of class 0 and {counts[1]} of class 1; trials by outcome: "
        + ", ".join(f"{reason} {n}" for reason, n in zip(reasons, numbers, strict=True)),
    )


@schema
class NDCResult(dj.Computed):
    definition = """
    # neuron-dropping curve of the shared cells in a session
    -> TrialFeatures
    ---
    n_cells : int32
    n_compared : int32                  # sessions of the set that could be decoded and share trial counts
    n_decoded : int32                   # trials
    n_class_1 : int32                   # of those, of class 1
    ceiling : float64                   # mean score at the largest k, or of all cells
    k_star=null : int32                 # smallest k within delta of the ceiling
    -> Environment
    """

    class Curve(dj.Part):
        definition = """
        # one k
        -> master
        k : int32
        ---
        score_mean : float64
        score_sd : float64              # over random subsets
        score_low : float64             # percentiles 2.5 and 97.5 of the subsets
        score_high : float64
        null_mean=null : float64        # shuffled labels
        null_low=null : float64         # percentiles 2.5 and 97.5
        null_high=null : float64
        p_value=null : float64          # (1 + #(null >= mean)) / (1 + shuffles)
        scores : <blob>                 # (R,) float64, every subset
        null_scores : <blob>            # (S,) float64, every shuffle
        """

    class Trial(dj.Part):
        definition = """
        # a usable trial: decoded, or why not
        -> master
        -> TrialFeatures.Trial
        ---
        trial_use : varchar(16)         # kept; balance or equalize
        """

    @property
    def key_source(self):
        # trial counts are equalised over the set: all its sessions must be there, or have failed
        expected = NDCTask.proj() * SessionSet.Member.proj()
        waiting = without_failed(expected - TrialFeatures.proj(), TrialFeatures, Behavior)
        return TrialFeatures.proj() - waiting.proj(waiting_eid="eid")

    def make_fetch(self, key):
        return (NDCParams & key).settings().as_row(), *_common_trials(key)

    def make_compute(self, key, settings, n_common, n_compared):
        settings = NDCSettings(**settings)
        features = (TrialFeatures & key).fetch1("trial_features")
        trials, labels = (TrialFeatures.Trial & key & "trial_outcome = 'usable'").to_arrays(
            "trial", "trial_label", order_by="trial"
        )
        labels = labels.astype(int)
        use = decoding.pick_trials(
            labels, settings.class_balance, n_common, settings.balance_seed, key["eid"], settings.target
        )
        kept = use == "kept"
        curve = _curve(np.asarray(features)[kept], labels[kept], settings, key["eid"])
        counts = {"n_compared": n_compared, "n_decoded": int(kept.sum()), "n_class_1": int(labels[kept].sum())}
        return trials, use, counts, curve, settings.delta

    def make_insert(self, key, trials, use, counts, curve, delta):
        k_star = curve.k_star(delta)
        self.insert1({
            **key,
            "n_cells": int(curve.ks[-1]),
            **counts,
            "ceiling": curve.ceiling,
            "k_star": k_star if k_star > 0 else None,
            **Environment.current(),
        })  # fmt: skip
        self.Curve.insert({**key, **row} for row in _curve_rows(curve))
        self.Trial.insert({**key, "trial": int(t), "trial_use": str(u)} for t, u in zip(trials, use, strict=True))


def _common_trials(key: dict) -> tuple[int | None, int]:
    """Return the trials that every session of the set can give (None to take all), and how many sessions."""
    settings = (NDCParams & key).settings()
    same_set = {"session_set": key["session_set"], "ndc_params": key["ndc_params"]}
    usable = TrialFeatures.Trial & same_set & "trial_outcome = 'usable'"
    eids, labels = usable.to_arrays("eid", "trial_label")
    labels, sessions = labels.astype(int), np.unique(eids)
    counts = [sum(decoding.balanced_counts(labels[eids == eid], settings.class_balance)) for eid in sessions]
    return (min(counts) if settings.equalize_trials else None), len(sessions)


def _curve(X: np.ndarray, y: np.ndarray, settings: NDCSettings, eid: str) -> decoding.NDCCurve:
    smaller = int(np.bincount(y, minlength=2).min())
    if smaller < settings.cv_splits:
        raise DataError(
            f"too few trials of {settings.target} once counts are equal",
            eid=eid,
            expected=f"{settings.cv_splits} or more of each class",
            found=f"{smaller}",
            do="Leave the session with the fewest trials out of the set, or use equalize_trials=False",
        )
    return decoding.neuron_dropping_curve(
        X, y, ks=[k for k in settings.ks if k < X.shape[1]] + [X.shape[1]], R=settings.r, metric=settings.metric,
        cv_splits=settings.cv_splits, n_label_shuffles=settings.n_label_shuffles, null=settings.null,
        seed=settings.seed, shuffle_seed=settings.shuffle_seed, scaling=settings.scaling, C=settings.c,
        ceiling_mode=settings.ceiling_mode,
        class_weight="balanced" if settings.class_balance == "weights" else None,
    )  # fmt: skip


def _curve_rows(curve: decoding.NDCCurve) -> Iterator[dict[str, Any]]:
    for k, scores, null, p in zip(curve.ks, curve.scores, curve.null_scores, curve.p_values(), strict=True):
        low, high = np.percentile(scores, (2.5, 97.5))
        null_low, null_high = np.percentile(null, (2.5, 97.5)) if len(null) else (np.nan, np.nan)
        yield {
            "k": int(k),
            "score_mean": float(scores.mean()),
            "score_sd": float(scores.std(ddof=1)) if len(scores) > 1 else 0.0,
            "score_low": float(low),
            "score_high": float(high),
            "null_mean": number(null.mean()) if len(null) else None,
            "null_low": number(null_low),
            "null_high": number(null_high),
            "p_value": number(p),
            "scores": scores.copy(),
            "null_scores": null.copy(),
        }


def curves(session_set: dict, ndc_params: dict) -> list[dict[str, Any]]:
    """Return the results of a set of sessions, by date, each with its rows of Curve under 'curve'."""
    results = (NDCResult & session_set & ndc_params) * Session.proj("subject", "session_date", "session_number")
    rows = results.to_dicts(order_by="session_date, session_number")
    for row in rows:
        key = {name: row[name] for name in NDCResult.primary_key}
        row["curve"] = (NDCResult.Curve & key).to_dicts(order_by="k")
    return rows
