"""Neuron-dropping curves of shared cells, and their comparison over sessions and targets."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import datajoint as dj
import numpy as np
from datajoint.errors import DuplicateError

from pipeline import decoding
from pipeline.behavior.trial_columns import first_failed
from pipeline.decoding import NDCSettings
from pipeline.decoding.code_spread import code_spread
from pipeline.decoding.drift import drift_share
from pipeline.decoding.fits.curve import CurveFit
from pipeline.decoding.fits.together import benjamini_hochberg, common_ceiling_k_star
from pipeline.decoding.fits.trend import log_k_slope
from pipeline.decoding.folds import NUMBERS_PER_FOLD
from pipeline.decoding.penalty import CANDIDATES
from pipeline.decoding.transfer import (
    Day,
    DayReadouts,
    check_transfer,
    day_readouts,
    inner_of,
    on_other_day,
    on_own_day,
    one_c,
    scaled_day,
)
from pipeline.decoding.trials import labelled
from pipeline.errors import ArgumentError, DataError, SettingsError
from pipeline.settings.conditions import clauses_in, n_clauses
from pipeline.settings.records import columns_of
from schemas.cascade import Cascade, WholeDelete
from schemas.decoding.over_mice import MouseTrends, population_rows
from schemas.decoding.populations import population, regions_within, signal_of
from schemas.decoding.possible import trial_interval, window_length
from schemas.decoding.rows import (
    curve_rows,
    day_trends,
    fit_of,
    inner_scores,
    ndc_curve,
    p_of,
    result_row,
    trend_row,
    value_rows,
)
from schemas.decoding.shuffles import Shuffles, labels_of, null_of, null_vectors, real_labels, shuffles, strata_of
from schemas.decoding.transfer_rows import matrix_rows, score_row
from schemas.imaging.reading import clocks, flags, recorded, roi_traces, trace_places
from schemas.imaging.signals import Signal, SignalParams, SignalTask, signals_used, waiting_signals
from schemas.imaging.tables import FOV, ROI
from schemas.labels import LabelSet  # noqa: F401  # a definition names it
from schemas.provenance import Environment
from schemas.rows import content_key, jobs_of, number, sources_key, without_failed
from schemas.session import Behavior, Session, trials_of
from schemas.tracking import SessionSet, SharedCells

schema = dj.Schema()
#: Columns of TrialFeatures with the noise of the traces.
NOISE_COLUMNS = ("noise_level", "noise_mean")
#: Columns of NDCResult.Curve with an array of all repeats.
ARRAYS = ("scores", "null_scores", "trial_means", "influences")
#: Settings that, with cells and files, determine the features.
MAKE_FEATURES = (
    "target", "labels", "trials", "event", "win_start", "win_end", "short_window", "scan_line_column",
)  # fmt: skip


@schema
class NDCParams(WholeDelete, dj.Manual):
    definition = f"""
# settings of a neuron-dropping curve; see pipeline.decoding.NDCSettings
ndc_params : char(32)               # hash of the rest
---
{columns_of(NDCSettings)}
"""

    @classmethod
    def add(cls, settings: NDCSettings) -> dict:
        """Insert settings unless they are in the table, and return their key.

        Raises
        ------
        DataError
            One of the regions is not in the Allen atlas.
        """
        (key,) = cls.add_all([settings])
        return key

    @classmethod
    def add_all(cls, settings: Iterable[NDCSettings]) -> list[dict]:
        """Insert several settings as ``add`` does, by one statement, and return their keys, each once, in order."""
        rows = {}
        for one in settings:
            regions_within(one.regions)
            rows[content_key(one.content())] = one.as_columns()
        # the key is a hash of the settings: a row that is there already has the same ones
        cls.insert([{"ndc_params": key, **row} for key, row in rows.items()], skip_duplicates=True)
        return [{"ndc_params": key} for key in rows]

    def settings(self) -> NDCSettings:
        """Return the settings of the single row that this is restricted to."""
        return settings_of(self.fetch1())


def settings_of(row: dict[str, Any]) -> NDCSettings:
    """Return the settings in a row of NDCParams; other columns are ignored."""
    return NDCSettings.from_columns(row)


@schema
class NDCTask(WholeDelete, dj.Manual):
    definition = """
    # requested curves
    -> SessionSet
    -> NDCParams
    """

    class WithoutCurve(dj.Part):
        definition = """
        # a task whose features were requested, for a transfer, and no curve
        -> master
        """

    @classmethod
    def ask(cls, session_set: dict, params: Iterable[dict]) -> None:
        """Request the curves of a set of sessions by keys of NDCParams, and the signals that are decoded."""
        tasks = [{**session_set, **key} for key in params]
        if tasks and len((cls.proj() - cls.WithoutCurve.proj()) & tasks) < len(tasks):
            cls.insert(tasks, skip_duplicates=True)
            (cls.WithoutCurve & tasks).delete_quick()
        cls._ask_signals(session_set, tasks)

    @classmethod
    def ask_features(cls, session_set: dict, params: Iterable[dict]) -> None:
        """Request what curves are made of, and no curves, unless they are requested too."""
        tasks = [{**session_set, **key} for key in params]
        for task in tasks:
            # the mark is of him who inserts the task: somebody else may ask for the curve at this moment
            with suppress(DuplicateError), cls.connection.transaction:
                cls.insert1(task)
                cls.WithoutCurve.insert1(task)
        cls._ask_signals(session_set, tasks)

    @classmethod
    def _ask_signals(cls, session_set: dict, tasks: list[dict]) -> None:
        params = [{"ndc_params": task["ndc_params"]} for task in tasks]
        with_signal = (NDCParams & params & "decoded_signal <> ''").to_dicts() if params else []
        if with_signal:
            eids = (SessionSet.Member & session_set).to_arrays("eid").tolist()
            SignalTask.ask(eids, [settings_of(row).own_signal for row in with_signal])


def _by_session(tasks: dj.QueryExpression) -> dj.QueryExpression:
    """Return the keys of tasks with each session of their sets that has such cells: the last one has no lost ones."""
    dated = SessionSet.Member.proj() * Session.proj("session_date", "session_number")
    # renamed before they are joined: afterwards DataJoint quotes names as in MySQL, on both backends
    names = {"later_eid": "eid", "later_date": "session_date", "later_number": "session_number"}
    later = SessionSet.Member.proj(later_eid="eid") * Session.proj(**names)
    before_others = dated * later & "(later_date, later_number, later_eid) > (session_date, session_number, eid)"
    of_lost = (NDCParams & "cells = 'lost'").proj() * (SessionSet.Member.proj() - before_others)
    return tasks.proj() * SessionSet.Member.proj() - of_lost


@schema
class TrialFeatures(WholeDelete, dj.Computed):
    definition = """
    # activity of the cells to decode about an event of each usable trial
    -> NDCTask
    -> SharedCells
    -> SessionSet.Member
    ---
    n_usable : int32                    # trials with features: usable ones, and those that the setting trials drops
    trial_features : <blob>             # (n_usable, cells) float64, trials in order
    feature_signal : varchar(64)        # what the activity is: deconvolved, fluorescence
    feature_cells=null : <blob>         # (cells, 2) int32, FOV and ROI of each; NULL (version 1): as SharedCells
    feature_key=null : char(32)         # hash of what the features are made of; NULL: before version 23
    noise_level=null : float64          # of the traces, median over cells; NULL: before version 37, or none has one
    noise_mean=null : float64           # the same, geometric mean over cells; NULL: before version 38, or none has one
    code_spread=null : float64          # share of cells that carry the signal; NULL: before version 38, or not known
    """

    class Trial(dj.Part):
        definition = """
        # every trial of the session: usable, or why not
        -> master
        -> Behavior.Trial
        ---
        trial_label=null : int8         # class, 1 or 0
        trial_outcome : varchar(16)     # usable; label, event, outside, gap, bad frame, no frame, not finite; trials 1
        trial_value=null : float64      # its number, where the labels are numbers, and then no class
        """

    class OwnSignal(dj.Part):
        definition = """
        # a FOV whose requested signal is not that of Activity, with which the features go
        -> master
        -> Signal
        """

    class OwnLabels(dj.Part):
        definition = """
        # labels of one's own, with which the features go
        -> master
        -> LabelSet
        """

    @property
    def key_source(self):
        # not only what the definition names: labels and windows come from the trials
        tasks = _by_session(NDCTask) * SharedCells.proj() & Behavior.proj()
        # features of a requested signal, when all that is requested of the session is there
        return tasks - (NDCParams & "decoded_signal <> ''").proj() * waiting_signals()

    def make_fetch(self, key):
        settings = (NDCParams & key).settings()
        return settings.as_row(), [_sources(key), _signal_sources(key["eid"], settings)]

    def make_compute(self, key, settings, sources):
        settings, eid = NDCSettings(**settings), key["eid"]
        cells = population(key, settings)
        places = np.column_stack([cells["fov"], cells["roi"]]).astype(np.int32)
        flagged = {} if settings.use_flagged_frames else flags(eid, np.unique(cells["fov"]))
        used = signals_used(eid, cells["fov"], settings.own_signal)
        made_of = _feature_key(eid, places, settings, flagged)
        labels, outcome, features, noise = _finished_features(key, made_of, settings) or _features(
            eid, cells, settings, flagged
        )
        _check_usable(eid, settings, labels, outcome)
        measured = {**noise, "code_spread": _spread(settings, features, labels, outcome)}
        signal = settings.signal or signal_of(cells)
        own = [{name: row[name] for name in Signal.primary_key} for row in used]
        return labels, outcome, features, measured, places, signal, own, made_of

    def make_insert(self, key, labels, outcome, features, measured, places, signal, own, made_of):
        settings = (NDCParams & key).settings()
        self.insert1({
            **key, "n_usable": len(features), "trial_features": features, "feature_signal": signal,
            "feature_cells": places, "feature_key": made_of, **measured,
        })  # fmt: skip
        self.Trial.insert(
            {**key, "trial": i, **_label_columns(label, settings), "trial_outcome": str(why)}
            for i, (label, why) in enumerate(zip(labels, outcome, strict=True))
        )
        if label_set := settings.labels:
            self.OwnLabels.insert1({**key, "label_set": label_set})
        self.OwnSignal.insert({**key, **one} for one in own)
        NDCResult.invalidate_others(key)
        TransferResult.invalidate_task(key)


def _label_columns(label: float, settings: NDCSettings) -> dict[str, float | int | None]:
    """Return the columns of TrialFeatures.Trial with the label of a trial, NaN for none."""
    if np.isnan(label) or settings.of_numbers:
        return {"trial_label": None, "trial_value": number(label)}
    return {"trial_label": int(label), "trial_value": None}


def _label_column(settings: NDCSettings) -> str:
    """Return the column of TrialFeatures.Trial that has the labels."""
    return "trial_value" if settings.of_numbers else "trial_label"


def _sources(key: dict) -> str:
    """Return a hash of the files of a set: if they are read again while a job runs, its result must not be inserted."""
    session_set = {"session_set": key["session_set"]}
    return sources_key(
        FOV.Source & (SessionSet.FOV & session_set).proj(), Behavior.Source & (SessionSet.Member & session_set).proj()
    )


def _made_of(key: dict) -> str:
    """Return a hash of all that the results of a task are made of: what the features of each of its sessions are.

    Files of a requested signal are not among those of ``_sources``. Features of before version 23, when no signal could
    be requested, have no key of their own.
    """
    return content_key([_sources(key), _feature_keys(key)])


def _signal_sources(eid: str, settings: NDCSettings) -> str:
    """Return a hash of the files of a requested signal, '' if none is."""
    if settings.own_signal is None:
        return ""
    return sources_key(Signal.Source & {"eid": eid, **SignalParams.key_of(settings.own_signal)})


def _feature_key(eid: str, places: np.ndarray, settings: NDCSettings, flagged: Mapping[int, np.ndarray]) -> str:
    """Return a hash of all that determines the features of a session: the same for every set and tracking run.

    Parameters
    ----------
    eid : str
    places : (n, 2) int32
        FOV and ROI of each cell, in order.
    settings : NDCSettings
    flagged : dict of int to (T,) bool
        By FOV the frames that are not used; their flags are of no file of FOVs that were read before version 9.
    """
    fovs = [{"eid": eid, "fov": fov} for fov in np.unique(places[:, 0]).tolist()]
    return content_key([
        eid, places.tolist(), [getattr(settings, name) for name in MAKE_FEATURES],
        {fov: np.flatnonzero(bad).tolist() for fov, bad in flagged.items()},
        sources_key(FOV.Source & fovs, Behavior.Source & {"eid": eid}), Environment.current(),
        *([settings.own_signal.content(), _signal_sources(eid, settings)] if settings.own_signal else ()),
    ])  # fmt: skip


def _finished_features(
    key: dict, made_of: str, settings: NDCSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, float | None]] | None:  # fmt: skip
    """Return what ``_features`` returns from another task, set or tracking run that made the same, or None."""
    # with the noise of a former version, or without any, it is measured again
    same = TrialFeatures & {"eid": key["eid"], "feature_key": made_of} & "noise_mean IS NOT NULL"
    # in SQL: DataJoint negates only the first condition of a dict
    others = same & f"session_set <> '{key['session_set']}' OR ndc_params <> '{key['ndc_params']}'"
    found = others.to_dicts(order_by="KEY", limit=1)
    if not found:
        return None
    place = {name: found[0][name] for name in TrialFeatures.primary_key}
    labels, outcome = (TrialFeatures.Trial & place).to_arrays(
        _label_column(settings), "trial_outcome", order_by="trial"
    )  # fmt: skip
    if not len(labels):  # deleted since the first statement
        return None
    noise = {name: found[0][name] for name in NOISE_COLUMNS}
    return labels.astype(float), outcome.astype("U16"), np.asarray(found[0]["trial_features"]), noise


def _features(
    eid: str, cells: dict[str, np.ndarray], settings: NDCSettings, flagged: Mapping[int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, float | None]]:
    """Return the features of some cells of a session.

    Parameters
    ----------
    eid : str
    cells : dict of str to (n,)
        What ``population`` returned.
    settings : NDCSettings
    flagged : dict of int to (T,) bool
        By FOV the frames that are not used.

    Returns
    -------
    labels : (n_trials,) float64
        NaN for a trial of neither class.
    outcome : (n_trials,) str
        ``trial_outcome``.
    features : (n_usable, n) float64
    noise : dict of str to float or None
        Columns of TrialFeatures.
    """
    trials = trials_of(eid)
    _check_window(eid, settings, trials[settings.event])
    labels = labels_of(settings, eid, trials)
    starts, ends = trials[settings.event] + settings.win_start, trials[settings.event] + settings.win_end
    stored = recorded(eid, cells["fov"], settings.own_signal)
    fovs, short_window = _fov_cells(eid, cells, settings, flagged, stored), settings.short_window
    step, levels = decoding.noise_cell_step(len(cells["fov"])), {}
    places = trace_places(eid, cells["fov"], cells["roi"], stored)

    def read(of: decoding.FOVCells) -> np.ndarray:
        numbers, rois = cells["fov"][of.columns], cells["roi"][of.columns]
        traces = roi_traces(eid, numbers, rois, stored={numbers[0]: stored[numbers[0]]}, places=places)
        levels[numbers[0]] = decoding.fov_noise_levels(of, traces, trials, step)  # while they are in memory
        return traces

    if short_window == "first_clock":
        offset = _offset_of_first_roi(eid, int(cells["fov"].min()), settings.scan_line_column)
        fovs, short_window = decoding.on_first_clock(fovs, offset), "drop"
    features, outcome = decoding.trial_features(fovs, labels, starts, ends, short_window, read)
    noise = dict(zip(NOISE_COLUMNS, map(number, decoding.noise_of_cells(levels.values())), strict=True))
    return labels, _chosen(outcome, settings, trials), features, noise


def _spread(settings: NDCSettings, features: np.ndarray, labels: np.ndarray, outcome: np.ndarray) -> float | None:
    """Return the share of the cells that carry the signal, None if it is not known."""
    if settings.of_numbers:
        return None
    # other trials than the usable ones have features, too: see _chosen
    has_features = (outcome == "usable") | np.char.startswith(outcome, "trials ")
    decoded = outcome == "usable"
    return number(code_spread(features[decoded[has_features]], labels[decoded]))


def _fov_cells(
    eid: str, cells: dict[str, np.ndarray], settings: NDCSettings, flagged: Mapping[int, np.ndarray],
    stored: Mapping[int, dict],
) -> list[decoding.FOVCells]:  # fmt: skip
    """Return the times of some cells, FOV by FOV: each has its own number of frames. Their traces are read later."""
    found = []
    for fov, row in stored.items():
        columns = np.flatnonzero(cells["fov"] == fov)
        stack_pos = np.column_stack([cells["stack_y"][columns], cells["stack_x"][columns]]).astype(int)
        frame_times, offsets = clocks(eid, cells["fov"][columns], stack_pos, settings.scan_line_column, {fov: row})
        unread = np.empty((len(columns), 0))
        found.append(
            decoding.FOVCells(columns, unread, frame_times[fov], offsets, flagged.get(fov), row["signal"])
        )  # fmt: skip
    return found


def _offset_of_first_roi(eid: str, fov: int, scan_line_column: int) -> float:
    """Return the offset within the frame, s, of the first ROI of a FOV, cell or not."""
    stack_pos = np.column_stack((ROI & {"eid": eid, "fov": fov, "roi": 0}).to_arrays("stack_y", "stack_x"))
    return float(clocks(eid, np.array([fov]), stack_pos.astype(int), scan_line_column)[1][0])


def _check_window(eid: str, settings: NDCSettings, events: np.ndarray) -> None:
    """Refuse windows that are longer than the time from event to event (n,), before activity is read."""
    interval, length = trial_interval(events), window_length(settings)
    if interval is not None and length > interval:
        raise SettingsError(
            f"the window of {settings.target} is longer than the time from trial to trial", eid=eid,
            expected=f"up to {interval:.3g} s, the median from one {settings.event} to the next", found=f"{length:g} s",
            do="Use a shorter window, in s: those of neighbouring trials overlap",
        )  # fmt: skip


def _chosen(outcome: np.ndarray, settings: NDCSettings, trials: dict[str, np.ndarray]) -> np.ndarray:
    """Return outcomes (n,) with 'trials 1' where the first clause of the setting ``trials`` is not true, and so on.

    The features of these trials are kept: simulated sessions, whose choices differ, select other trials.
    """
    failed = first_failed(settings.trials, trials)
    return np.where((outcome == "usable") & (failed > 0), [f"trials {number}" for number in failed], outcome)


def _with_features(settings: NDCSettings) -> list[dict[str, str]]:
    """Return the restriction of TrialFeatures.Trial to the trials that have features."""
    clauses = range(1, n_clauses(settings.trials) + 1)
    return [{"trial_outcome": outcome} for outcome in ("usable", *(f"trials {number}" for number in clauses))]


def _check_usable(eid: str, settings: NDCSettings, labels: np.ndarray, outcome: np.ndarray) -> None:
    """Raise a SettingsError with the trials by outcome if a class has fewer usable trials than there are folds."""
    usable = labels[outcome == "usable"]
    enough, found = _counted(usable, settings)
    if enough:
        return
    reasons, numbers = np.unique(outcome, return_counts=True)
    one_class = not settings.of_numbers and len(usable) and np.ptp(usable) == 0
    target = settings.target
    problem = f"all usable trials of {target} are of one class" if one_class else f"too few trials to decode {target}"
    clauses = {f"trials {i}": clause for i, clause in enumerate(clauses_in(settings.trials), start=1)}
    raise SettingsError(
        problem,
        eid=eid,
        expected=_needed(settings),
        found=f"{found}; trials by outcome: "
        + ", ".join(
            f"{n} without: {clauses[reason]}" if reason in clauses else f"{reason} {n}"
            for reason, n in zip(reasons, numbers, strict=True)
        ),
    )


def _needed(settings: NDCSettings) -> str:
    """Return in words how many trials the folds need."""
    if settings.of_numbers:
        return f"{NUMBERS_PER_FOLD * settings.cv_splits} or more with a number, {NUMBERS_PER_FOLD} for each fold"
    return f"{settings.cv_splits} or more of each class"


def _counted(labels: np.ndarray, settings: NDCSettings) -> tuple[bool, str]:
    """Return whether labels of trials are enough for the folds, and how many there are, in words."""
    if settings.of_numbers:
        n = int(labelled(labels).sum())
        return n >= NUMBERS_PER_FOLD * settings.cv_splits, f"{n} with a number"
    counts = int((labels == 0).sum()), int((labels == 1).sum())
    return min(counts) >= settings.cv_splits, f"{counts[0]} of class 0 and {counts[1]} of class 1"


@schema
class NDCResult(WholeDelete, dj.Computed):
    definition = """
    # neuron-dropping curve of a session
    -> TrialFeatures
    ---
    n_cells : int32
    n_compared : int32                  # sessions of the set that could be decoded and share trial counts
    n_decoded : int32                   # trials
    n_class_1 : int32                   # of those, of class 1; 0: labels are numbers
    ceiling : float64                   # mean score at the largest k, or of all cells
    k_star=null : int32                 # smallest k within delta of the ceiling
    -> Environment
    k_star_low=null : float64           # 95 percent interval over subsets and trials; NULL: none, or no k is that near
    k_star_high=null : float64
    k_star_censored=null : varchar(8)   # left: that many or fewer; right: no k is near the ceiling; NULL: neither
    p_largest=null : float64            # (1 + #(null >= mean)) / (1 + shuffles) at the largest k
    null_used=null : varchar(16)        # how labels were shuffled
    null_donors=null : json             # sessions whose labels were taken, in their order
    fit_family=null : varchar(16)       # inverse_sqrt, information or exponential; NULL: too few k for a fit
    fit_parameters=null : json          # by name
    asymptote=null : float64            # score of infinitely many cells by the fit, with its 95 percent interval
    asymptote_low=null : float64
    asymptote_high=null : float64
    k50=null : float64                  # cells for half the way from chance to the asymptote
    k50_low=null : float64              # NULL in these: none, or beyond ten times the largest k
    k50_high=null : float64
    k90=null : float64                  # for 90 percent
    k90_low=null : float64
    k90_high=null : float64
    k95=null : float64                  # for 95 percent
    k95_low=null : float64
    k95_high=null : float64
    verdict=null : varchar(16)          # saturated, not saturated, uncertain, decreasing, at chance or too few k
    c_used=null : float64               # c of the real labels: chosen (penalty auto) or as set; NULL: c of the settings
    score_c1=null : float64             # mean score at the largest k with c = 1; NULL: penalty not auto
    k_star_continuous=null : float64    # k* between the ks, with its 95 percent interval; NULL: before version 14
    k_star_continuous_low=null : float64
    k_star_continuous_high=null : float64
    k_half=null : float64               # cells with half the d-prime squared of the largest k, or of R2 / (1 - R2)
    k_half_low=null : float64
    k_half_high=null : float64
    p_curve=null : float64              # Simes' p over all k together, behind verdict and q; NULL: before version 14
    n_minority=null : int32             # trials of the rarer class, summed over strata; NULL: not beyond the stimulus
    """

    class Curve(dj.Part):
        definition = """
        # one k
        -> master
        k : int32                       # cells, or trials
        ---
        score_mean : float64
        score_sd : float64              # over random subsets
        score_low : float64             # percentiles 2.5 and 97.5 of the subsets
        score_high : float64
        null_mean=null : float64        # shuffled labels
        null_low=null : float64         # percentiles 2.5 and 97.5
        null_high=null : float64
        p_value=null : float64          # (1 + #(null >= real)) / (1 + shuffles), real over the null's subsets
        scores : <blob>                 # (R,) float64, every subset
        null_scores : <blob>            # (S,) float64, every shuffle, mean over null_subsets
        mean_low=null : float64         # 95 percent interval of score_mean over subsets and trials
        mean_high=null : float64
        trial_means=null : <blob>       # (n_bootstrap,) float64, score_mean of the test trials drawn with replacement
        influences=null : <blob>        # (n_decoded,) float64, of each decoded trial on score_mean; or trial_means
        """

    class Donor(dj.Part):
        definition = """
        # a session whose labels the null takes; the curve goes with its trials
        -> master
        -> Behavior.proj(donor="eid")
        ---
        donor_files=null : char(32)     # hash of the files of its trials; NULL: before version 17
        """

    class Trial(dj.Part):
        definition = """
        # a usable trial: decoded, or why not
        -> master
        -> TrialFeatures.Trial
        ---
        trial_use : varchar(16)         # kept; balance, equalize, edge (of a linear shift); trials 1 ..
        """

    @property
    def key_source(self):
        # trial counts are equalised over the set: all its sessions must have features, or have failed
        expected = _by_session(NDCTask)
        waiting = without_failed(expected - TrialFeatures.proj(), TrialFeatures, Behavior)
        # renamed, so that one session that is waiting holds back all of its set
        return TrialFeatures.proj() - waiting.proj(waiting_eid="eid") - NDCTask.WithoutCurve.proj()

    @classmethod
    def invalidate_others(cls, features: dict) -> None:
        """Delete the curves of the other sessions of a task if its sessions share numbers of trials, or c.

        A session has features now that had none, or had others, when those curves were computed; ``populate`` computes
        them again.
        """
        task, not_this = _task_of(features), f"eid <> '{features['eid']}'"
        if not _compares_sessions(task):
            return
        # a worker that is computing a curve from the former features loses its job
        (jobs_of(cls).reserved & task & not_this).delete_quick()
        if others := cls & task & not_this:
            Cascade(others).delete(reason=f"the trials of session {features['eid']} of their set were read")

    def make_fetch(self, key):
        # counts of all sessions of the set: DataJoint reads them again before it inserts, and refuses if they differ
        return (NDCParams & key).settings().as_row(), *_common_trials(key), _made_of(key)

    @staticmethod
    def also_read(key: dict) -> list[dict]:
        """Return the key of the task if a job reads the features of all its sessions."""
        return [_task_of(key)] if _compares_sessions(_task_of(key)) else []

    def make_compute(self, key, settings, n_common, n_compared, made_of):
        settings = NDCSettings(**settings)
        features, trials, use, y = _decoded(key, settings, n_common)
        shuffled = shuffles(key, settings, trials, n_common)
        files_of_donors = _files_of_donors(shuffled.donors)
        done = finished_curve(key, settings, features, use, shuffled, files_of_donors)
        if done and done.settings == settings:  # of another set or tracking run: nothing is left to compute
            return trials, use, {**done.columns, "n_compared": n_compared}, done.points, files_of_donors
        known = done.curve() if done else None
        compared = _of_other_sessions(key, settings, n_common, made_of)
        strata = strata_of(settings, key["eid"], trials)
        try:
            curve = ndc_curve(features, y, settings, shuffled, known, compared, strata)
        except ArgumentError as error:  # e.g. a blocked fold with one class only
            raise SettingsError(f"cannot be decoded with these settings: {error}", eid=key["eid"]) from error
        fit = fit_of(curve, settings, features.shape[1])
        row = {
            "n_cells": features.shape[1], "n_compared": n_compared, "n_decoded": int(labelled(y).sum()),
            "n_class_1": 0 if settings.of_numbers else int((y == 1).sum()), "null_used": shuffled.null,
            "null_donors": shuffled.donors or None,
            "n_minority": None if strata is None else decoding.n_minority(y, strata), **result_row(curve, fit),
        }  # fmt: skip
        return trials, use, row, list(curve_rows(curve, fit)), files_of_donors

    def make_insert(self, key, trials, use, row, points, files_of_donors):
        if _files_of_donors(row["null_donors"]) != files_of_donors:
            raise DataError("the trials of a session whose labels the null takes were read again meanwhile",
                            eid=key["eid"], do=f"Run: meso retry NDCResult --key eid={key['eid']}")  # fmt: skip
        self.insert1({**key, **row, **Environment.current()})
        self.Curve.insert({**key, **point} for point in points)
        self.Donor.insert({**key, "donor": eid, "donor_files": files} for eid, files in files_of_donors.items())
        self.Trial.insert({**key, "trial": int(t), "trial_use": str(u)} for t, u in zip(trials, use, strict=True))
        # in the same transaction: no comparison without this curve is left
        NDCComparison.invalidate(key)
        NDCPopulation.invalidate(key)


def _compares_sessions(task: dict) -> bool:
    """Return whether a curve of a task depends on the features of all its sessions, by numbers of trials or c."""
    settings = (NDCParams & task).settings()
    return settings.equalize_trials or settings.penalty == "auto"


def _files_of_donors(donors: Sequence[str] | None) -> dict[str, str]:
    """Return a hash of the files with the trials of each of some sessions; without those that have no trials."""
    files = Behavior.Source.by_row([{"eid": eid} for eid in donors]) if donors else []
    return {key["eid"]: content_key([[file.dataset, file.sha256] for file in sources]) for key, sources in files}


def _decoded(
    key: dict, settings: NDCSettings, n_common: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what is decoded in a session.

    Returns
    -------
    features : (n_usable, n_cells) float64
    trials : (n_usable,) int
    use : (n_usable,) str
        ``trial_use``.
    y : (n_usable,) int8
        Labels; -1 for a trial that is left out. Of numbers float64, and NaN.

    Raises
    ------
    DataError
        A class has fewer trials than there are folds.
    """
    features = np.asarray((TrialFeatures & key).fetch1("trial_features"))
    trials, labels, outcome = (TrialFeatures.Trial & key & _with_features(settings)).to_arrays(
        "trial", _label_column(settings), "trial_outcome", order_by="trial"
    )
    none = np.nan if settings.of_numbers else -1
    real = real_labels(np.where(outcome == "usable", labels, none), settings)
    use = decoding.pick_trials(
        real, settings.class_balance, n_common, settings.balance_seed, key["eid"], settings.target,
        numbers=settings.of_numbers,
    )  # fmt: skip
    # balancing sees -1 as a label of neither class, and calls it 'balance'
    use[~labelled(real)] = "edge"
    use = np.where(outcome == "usable", use, outcome.astype(str))
    y = np.where(use == "kept", real, none).astype(real.dtype)
    _check_counts(y, settings, key["eid"], strata_of(settings, key["eid"], trials))
    return features, trials, use, y


def _of_other_sessions(key: dict, settings: NDCSettings, n_common: int | None, made_of: str) -> np.ndarray | None:
    """Return the inner scores of the other sessions of the set, which share c, (D, 3) float64; None unless 'auto'."""
    if settings.penalty != "auto":
        return None
    task = _task_of(key)
    eids = (TrialFeatures & task).to_arrays("eid", order_by="eid")
    found = [_inner_scores(key["session_set"], key["ndc_params"], eid, n_common, made_of) for eid in eids
             if eid != key["eid"]]  # fmt: skip
    return np.array([one for one in found if one is not None], dtype=np.float64).reshape(
        -1, len(CANDIDATES[settings.c_range])
    )


@functools.lru_cache(maxsize=4096)
def _inner_scores(
    session_set: str, ndc_params: str, eid: str, n_common: int | None, made_of: str
) -> tuple[float, ...] | None:
    """Return the inner scores of a session; None if it cannot be decoded.

    Every session of a set needs those of all others. They are kept while the process runs: the arguments, with the hash
    of what the features are made of (``_made_of``), determine them.
    """
    key = {"session_set": session_set, "ndc_params": ndc_params, "eid": eid}
    settings = (NDCParams & key).settings()
    try:
        features, trials, _, y = _decoded(key, settings, n_common)
        return tuple(inner_scores(features, y, settings, strata_of(settings, eid, trials)).tolist())
    except (DataError, ArgumentError):  # the session's own job reports it
        return None


def _common_trials(key: dict) -> tuple[int | None, int]:
    """Return the number of trials that every session of the set can provide, or None for all, and of sessions."""
    settings = (NDCParams & key).settings()
    usable = TrialFeatures.Trial & _task_of(key) & "trial_outcome = 'usable'"
    if null_of(settings) == "linear_shift":
        eids, labels = usable.to_arrays("eid", _label_column(settings), order_by="eid, trial")
        # the shift leaves out trials at the edges, so that the labels must be in order
        sessions = [real_labels(labels[eids == eid], settings) for eid in np.unique(eids)]
    elif settings.of_numbers:
        counted = dj.U("eid").aggr(usable, n_of_session="count(*)").to_arrays("n_of_session")
        sessions = [np.zeros(int(n)) for n in counted]
    else:
        # only the numbers of trials of each class matter: the server counts them
        numbers = dj.U("eid", "trial_label").aggr(usable, n_of_label="count(*)").to_dicts()
        by_session: dict[str, list[np.ndarray]] = {}
        for row in numbers:
            by_session.setdefault(row["eid"], []).append(np.full(row["n_of_label"], row["trial_label"]))
        sessions = [np.concatenate(labels) for labels in by_session.values()]
    counts = [
        int(labelled(y).sum()) if settings.of_numbers else sum(decoding.balanced_counts(y, settings.class_balance))
        for y in sessions
    ]
    return (min(counts) if settings.equalize_trials else None), len(sessions)


def _check_counts(y: np.ndarray, settings: NDCSettings, eid: str, strata: np.ndarray | None) -> None:
    if strata is not None and (n := decoding.n_minority(y, strata)) < settings.cv_splits:
        raise SettingsError(
            f"too few trials in which the same stimulus led to the other {settings.target}", eid=eid,
            expected=f"{settings.cv_splits} or more trials of the rarer class, summed over side and contrast",
            found=f"{n}", do="Leave this session out of the set, or use beyond='none'",
        )  # fmt: skip
    enough, found = _counted(y, settings)
    if not enough:
        raise SettingsError(
            f"too few trials of {settings.target} after trial counts are equalised",
            eid=eid,
            expected=_needed(settings),
            found=found,
            do="Leave the session with the fewest trials out of the set, or use equalize_trials=False",
        )


@dataclasses.dataclass(frozen=True)
class FinishedCurve:
    """A stored curve whose scores another one has as well.

    Attributes
    ----------
    settings : NDCSettings
    columns : dict
        Of NDCResult, without the key and the environment.
    points : list of dict
        Columns of NDCResult.Curve for each k, without the key but for k.
    """

    settings: NDCSettings
    columns: dict[str, Any]
    points: list[dict[str, Any]]

    def curve(self) -> decoding.NDCCurve:
        """Return it as the decoder takes it."""
        return _curve_of(self.points, self.columns["ceiling"], self.settings.null_subsets)


def finished_curve(
    key: dict,
    settings: NDCSettings,
    features: np.ndarray,
    use: np.ndarray,
    shuffled: Shuffles,
    files_of_donors: dict[str, str],
) -> FinishedCurve | None:
    """Return the stored curve of the same session that has most scores of this one, or None.

    Scores follow from what a curve is made of: code, machine, features, trials, labels and settings; they are not
    computed again, whichever set of sessions and tracking run the curve belongs to. The ks, the numbers of subsets and
    shuffles, and delta may differ. A curve of before version 17 whose null takes labels of other sessions does not say
    of which files these were.

    Parameters
    ----------
    key : dict
        Of NDCResult.
    settings : NDCSettings
    features : (n_usable, n_cells) float64
    use : (n_usable,) str
        ``trial_use`` of each usable trial.
    shuffled : Shuffles
    files_of_donors : dict of str to str
        Hash of the files of each session whose labels are used.
    """
    counts = {"n_cells": features.shape[1], "n_decoded": int((use == "kept").sum())}
    done = NDCResult & {"eid": key["eid"], "null_used": shuffled.null, **counts} & Environment.current()
    found = [
        # the same settings first, then by size, the number of scores
        ((other != settings, -len(other.ks) * (other.r + other.n_label_shuffles), row["ndc_params"]), row, other)
        for row in (done * NDCParams).to_dicts(order_by="KEY")
        if _same_but_size(other := settings_of(row), settings) and (row["null_donors"] or []) == shuffled.donors
    ]
    for _, row, other in sorted(found, key=itemgetter(0)):
        same = {name: row[name] for name in NDCResult.primary_key}
        donors = (NDCResult.Donor & same).to_dicts() if files_of_donors else []
        if {one["donor"]: one["donor_files"] for one in donors} != files_of_donors:
            continue
        if _same_input(same, features, use) and _same_compared(same, key, settings):
            columns = {name: row[name] for name in NDCResult.heading.secondary_attributes if name != "environment"}
            points = (NDCResult.Curve & same).to_dicts(order_by="k")
            points = [{name: value for name, value in point.items() if name not in same} for point in points]
            if points:  # it has not been deleted meanwhile
                return FinishedCurve(other, columns, points)
    return None


def _same_but_size(other: NDCSettings, settings: NDCSettings) -> bool:
    # flagged frames change which trials are used, and these are compared too
    names = ("ks", "r", "n_label_shuffles", "delta", "null", "use_flagged_frames")
    size = {name: getattr(settings, name) for name in names}
    return dataclasses.replace(other, **size) == settings


def _same_input(key: dict, features: np.ndarray, use: np.ndarray) -> bool:
    other = (NDCResult.Trial & key).to_arrays("trial_use", order_by="trial")
    if not np.array_equal(other, use):
        return False
    found = (TrialFeatures & key).to_arrays("trial_features")  # empty if it has been deleted meanwhile
    return len(found) == 1 and np.array_equal(found[0], features)


def _same_compared(other: dict, key: dict, settings: NDCSettings) -> bool:
    """Return whether the sessions that share c with two curves (penalty 'auto') are the same, with the same features.

    Those of before version 23 do not say what they are made of.
    """
    if settings.penalty != "auto":
        return True
    theirs, mine = _feature_keys(other), _feature_keys(key)
    return theirs == mine and (None not in mine.values() or other["session_set"] == key["session_set"])


def _feature_keys(key: dict) -> dict[str, str | None]:
    """Return ``feature_key`` by session of a task."""
    return dict(zip(*(TrialFeatures & _task_of(key)).to_arrays("eid", "feature_key"), strict=True))


def _task_of(key: dict) -> dict[str, Any]:
    return {name: key[name] for name in NDCTask.primary_key}


def _stored_curve(key: dict) -> decoding.NDCCurve:
    """Return the curve of a result from its rows in the database."""
    points = (NDCResult.Curve & key).to_dicts(order_by="k")
    return _curve_of(points, (NDCResult & key).fetch1("ceiling"), (NDCParams & key).fetch1("null_subsets"))


def _curve_of(points: list[dict[str, Any]], ceiling: float, null_subsets: int) -> decoding.NDCCurve:
    scores, null_scores, trial_means, influences = (
        np.array([np.empty(0) if point[name] is None else point[name] for point in points], dtype=np.float64)
        for name in ARRAYS
    )
    ks = np.array([point["k"] for point in points], dtype=np.int64)
    m = min(null_subsets, scores.shape[1])
    return decoding.NDCCurve(ks, scores, null_scores, ceiling, m, trial_means, influences)


class _SetOfTasks(WholeDelete):
    """A set of tasks with a part ``Member``, whose key is a hash of its members; mixin of tables."""

    if TYPE_CHECKING:  # what the tables have
        Member: type[dj.Part]
        primary_key: list[str]
        connection: dj.Connection
        insert1: Any

    @classmethod
    def add(cls, tasks: Sequence[dict]) -> dict:
        """Insert a set of tasks unless it is in the table, and return its key."""
        members, key = cls._members_of(tasks), cls.key_of(tasks)
        if not (cls & key):
            # master and members together: a set that lacks some would be compared with too few curves
            with cls.connection.transaction:
                cls.insert1({**key, "n_members": len(members)}, skip_duplicates=True)
                cls.Member.insert(
                    ({**key, "session_set": sessions, "ndc_params": params} for sessions, params in members),
                    skip_duplicates=True,
                )
        return key

    @classmethod
    def key_of(cls, tasks: Sequence[dict]) -> dict:
        """Return the key of a set of tasks, whether or not it is in the table."""
        return {cls.primary_key[0]: content_key(cls._members_of(tasks))}

    @classmethod
    def with_task(cls, task: dict) -> list[dict]:
        """Return the keys of the sets that a task is in."""
        place = {"session_set": task["session_set"], "ndc_params": task["ndc_params"]}
        (name,) = cls.primary_key
        return [{name: one} for one in (cls.Member & place).to_arrays(name)]

    @staticmethod
    def _members_of(tasks: Sequence[dict]) -> list[tuple[str, str]]:
        return sorted({(task["session_set"], task["ndc_params"]) for task in tasks})


@schema
class NDCFamily(_SetOfTasks, dj.Manual):
    definition = """
    # curves that are compared: p is FDR-adjusted (Benjamini-Hochberg) over all their sessions and targets
    ndc_family : char(32)               # hash of its members
    ---
    n_members : int32
    """

    class Member(dj.Part):
        definition = """
        # curves of one set of sessions with one choice of settings
        -> master
        -> NDCTask
        """


def _complete(sets: dj.Table, members: dj.Table) -> dj.QueryExpression:
    """Return the keys of sets of tasks of which all sessions have a curve, or have failed."""
    waiting = without_failed(_by_session(members) - NDCResult.proj(), NDCResult, TrialFeatures, Behavior)
    return sets.proj() - waiting


def _invalidate(table: type[dj.Table], keys: list[dict], parts: Sequence[type[dj.Part]]) -> None:
    """Delete results that include a curve that is new; ``populate`` computes them again."""
    if not keys:  # most new curves are in none
        return
    # a worker that is comparing the former curves loses its job
    (jobs_of(table).reserved & keys).delete_quick()
    if not (found := (table & keys).keys()):
        return
    # parts first, as foreign keys demand; not delete(), which would ask, and follow the keys of every table
    for part in parts:
        (part & found).delete_quick()
    (table & found).delete_quick()


@schema
class NDCComparison(WholeDelete, dj.Computed):
    definition = """
    # the curves of a family compared; deleted when one of them is computed or deleted
    -> NDCFamily
    ---
    n_judged : int32                    # curves with a p value
    n_lacking : int32                   # sessions without a curve, because they failed
    -> Environment
    """

    class Result(dj.Part):
        definition = """
        # a session among the others
        -> master
        -> NDCResult
        ---
        q_value=null : float64          # Benjamini and Hochberg: of p_curve, or p_largest without it, over the family
        k_star_common=null : int32      # smallest k within delta of the lowest ceiling of the sessions; NULL: none is
        """

    class Trend(dj.Part):
        definition = """
        # k* of the grid over days, as before version 14: see DayTrend
        -> master
        -> NDCTask
        ---
        k_star_slope=null : float64     # log2 k* per day: -1 is half the cells after a day
        slope_low=null : float64        # 95 percent interval; NULL: not determined
        slope_high=null : float64
        slope_p=null : float64          # of no slope, two-sided
        n_dated : int32                 # sessions used: above chance and with a k*, or a bound of it
        n_censored : int32              # of those, known by a bound only
        mean_day=null : float64         # a point of the line: days after the first session of the set,
        mean_log_k=null : float64       # log2 k* there,
        half_width=null : float64       # and half of its 95 percent interval
        """

    class DayTrend(dj.Part):
        definition = """
        # a quantity over the days of a set; see pipeline.decoding.DayTrend
        -> master
        -> NDCTask
        quantity : varchar(16)          # code_k, half_k, common_k, score or d_prime
        ---
        day_slope=null : float64        # per day: of log2 of cells (names in _k), of the score, or of d-prime
        day_low=null : float64          # 95 percent, beyond the scatter of days (Student); NULL: under four days
        day_high=null : float64
        day_p=null : float64            # of no slope, two-sided
        fixed_low=null : float64        # 95 percent, of these days: error of each curve alone; NULL: no draws
        fixed_high=null : float64
        fixed_p=null : float64
        n_days : int32                  # used
        n_at_chance : int32             # not used: at chance, without a ceiling
        trend_k : int32                 # k of the score; or the largest k, at which all days end
        line_day=null : float64         # a point of the line: days after the first session of the set,
        line_value=null : float64       # the quantity there, log2 of cells,
        line_half_width=null : float64  # and half of its 95 percent interval over days
        """

    class DayValue(dj.Part):
        definition = """
        # the quantity of a session
        -> master
        -> NDCResult
        quantity : varchar(16)
        ---
        day_value=null : float64        # cells, score or d-prime; NULL: at chance, or beyond what can be extended
        day_value_low=null : float64    # 95 percent interval
        day_value_high=null : float64
        """

    class Drift(dj.Part):
        definition = """
        # how slow the activity of a session is: where this changes over the days, so do the curves
        -> master
        -> NDCResult
        ---
        drift_share=null : float64      # of the variance of a cell, mean: see pipeline.decoding.drift; NULL: few trials
        """

    @property
    def key_source(self):
        return _complete(NDCFamily, NDCFamily.Member)

    @classmethod
    def invalidate(cls, task: dict) -> None:
        """Delete the comparisons that include a task, which has a new curve; ``populate`` computes them again."""
        _invalidate(cls, NDCFamily.with_task(task), (cls.Result, cls.Trend, cls.DayTrend, cls.DayValue, cls.Drift))

    def make_fetch(self, key):
        members = (NDCFamily.Member & key).proj()
        n_expected = len(_by_session(members))
        # ordered: DataJoint compares this with a second reading, and servers return rows in any order
        results = (NDCResult & members).keys(order_by="session_set, ndc_params, eid")
        return results, n_expected, _curves_key(members)

    @staticmethod
    def also_read(key: dict) -> list[dict]:
        """Return the keys of the tasks whose curves a job reads: its own key does not name them."""
        return (NDCFamily.Member & key).keys()

    def make_compute(self, key, results, n_expected, curves):
        found = [p_of((NDCResult & row).proj("p_curve", "p_largest").fetch1()) for row in results]
        p = np.array([np.nan if value is None else value for value in found], dtype=float)
        tasks = sorted({(row["session_set"], row["ndc_params"]) for row in results})
        together = {task: _Together.of({"session_set": task[0], "ndc_params": task[1]}) for task in tasks}
        rows = [
            {
                **row, "q_value": number(q),
                "k_star_common": together[row["session_set"], row["ndc_params"]].common.get(row["eid"]),
            }
            for row, q in zip(results, benjamini_hochberg(p), strict=True)
        ]  # fmt: skip
        counts = {"n_judged": int(np.isfinite(p).sum()), "n_lacking": n_expected - len(results)}
        return (
            counts,
            rows,
            *(
                [row for task in together.values() for row in getattr(task, name)]
                for name in ("grid_trends", "day_trends", "day_values", "drifts")
            ),
        )

    def make_insert(self, key, counts, rows, grid_trends, day_trends, day_values, drifts):
        self.insert1({**key, **counts, **Environment.current()})
        self.Result.insert({**key, **row} for row in rows)
        self.Trend.insert({**key, **row} for row in grid_trends)
        self.DayTrend.insert({**key, **row} for row in day_trends)
        self.DayValue.insert({**key, **row} for row in day_values)
        self.Drift.insert({**key, **row} for row in drifts)


def _curves_key(members: dj.QueryExpression) -> str:
    """Return a hash of the curves of tasks: computed again, from other files, they have the same keys.

    Of the files and features behind them and of all numbers but the arrays, which these follow: arrays would be read
    three times.
    """
    sets = sorted(set(members.to_arrays("session_set")))
    numbers = [name for name in NDCResult.Curve.heading.secondary_attributes if name not in ARRAYS]
    return content_key([
        [_sources({"session_set": one}) for one in sets],
        *(
            (table & members).to_dicts(order_by="KEY")
            for table in (NDCResult, NDCResult.Curve.proj(*numbers), TrialFeatures.proj("feature_key"))
        ),
    ])  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Together:
    """The sessions of a task compared.

    Attributes
    ----------
    common : dict of str to int
        k* at the common ceiling by session. Sessions at chance are not in it: their ceiling is no measure of a code.
    grid_trends, day_trends, day_values, drifts : list of dict
        Rows of NDCComparison.Trend, DayTrend, DayValue and Drift.
    """

    common: dict[str, int]
    grid_trends: list[dict[str, Any]]
    day_trends: list[dict[str, Any]]
    day_values: list[dict[str, Any]]
    drifts: list[dict[str, Any]]

    @classmethod
    def of(cls, task: dict) -> _Together:
        """Compare the stored curves of a task."""
        settings = (NDCParams & task).settings()
        rows, days, curves = _curves_by_date(task)
        fits = [fit_of(curve, settings, row["n_cells"]) for row, curve in zip(rows, curves, strict=True)]
        above = [i for i, fit in enumerate(fits) if fit.verdict != "at chance"]
        trends = day_trends(fits, days, settings.delta)
        return cls(
            _at_common_ceiling([curves[i] for i in above], [rows[i] for i in above], settings.delta),
            [{**task, **_trend([days[i] for i in above], [fits[i] for i in above])}],
            [{**task, **trend_row(trend)} for trend in trends],
            [
                {**task, "eid": row["eid"], **value}
                for trend in trends for row, value in zip(rows, value_rows(trend), strict=True)
            ],
            [{**task, "eid": row["eid"], "drift_share": number(_drift({**task, "eid": row["eid"]}, settings))}
             for row in rows],
        )  # fmt: skip


def _drift(key: dict, settings: NDCSettings) -> float:
    """Return how much of the activity of a session's usable trials is slow."""
    features = np.asarray((TrialFeatures & key).fetch1("trial_features"))
    labels, outcome = (TrialFeatures.Trial & key & _with_features(settings)).to_arrays(
        _label_column(settings), "trial_outcome", order_by="trial"
    )
    usable = outcome == "usable"
    return drift_share(features[usable], labels[usable].astype(np.float64))


def _curves_by_date(task: dict) -> tuple[list[dict[str, Any]], list[int], list[decoding.NDCCurve]]:
    """Return the rows of NDCResult of a task by date, with dates; the days since the set's first; and the curves."""
    place, start = {name: task[name] for name in NDCTask.primary_key}, first_date(task)
    sessions = (NDCResult & place) * Session.proj("session_date", "session_number")
    rows = sessions.to_dicts(order_by="session_date, session_number")
    curves = [_stored_curve({**place, "eid": row["eid"]}) for row in rows]
    return rows, [(row["session_date"] - start).days for row in rows], curves


def _at_common_ceiling(found: list[decoding.NDCCurve], rows: list[dict], delta: float) -> dict[str, int]:
    """Return by session the smallest k within delta of the lowest ceiling, at the ks that all curves have."""
    if not found:
        return {}
    ks = sorted(set.intersection(*(set(curve.ks.tolist()) for curve in found)))
    means = [curve.mean[np.isin(curve.ks, ks)] for curve in found]
    k_stars = common_ceiling_k_star(ks, means, [curve.ceiling for curve in found], delta)
    return {row["eid"]: int(k) for row, k in zip(rows, k_stars, strict=True) if k > 0}


def first_date(session_set: dict) -> datetime.date:
    """Return the date of the first session of a set."""
    members = SessionSet.Member & {"session_set": session_set["session_set"]}
    return min((Session & members.proj()).to_arrays("session_date"))


def _trend(days: list[int], fits: list[CurveFit]) -> dict[str, Any]:
    """Return the columns of the slope of log2 k* over days; a censored k* enters as its bound, the largest k."""
    draws = np.array([fit.k_star_draws for fit in fits]) if fits else np.empty((0, 0))
    slope = log_k_slope(
        days, [float(fit.k_star if fit.k_star > 0 else fit.ks[-1]) for fit in fits],
        censored=[fit.k_star_censored for fit in fits], draws=draws if draws.size else None,
    )  # fmt: skip
    return {
        "k_star_slope": number(slope.slope), "slope_low": number(slope.low), "slope_high": number(slope.high),
        "slope_p": number(slope.p), "n_dated": slope.n_sessions, "n_censored": slope.n_censored,
        "mean_day": number(slope.mean_day), "mean_log_k": number(slope.mean_log_k),
        "half_width": number(slope.half_width),
    }  # fmt: skip


@schema
class NDCCohort(_SetOfTasks, dj.Manual):
    definition = """
    # curves of several mice, whose slopes over the days are compared
    ndc_cohort : char(32)               # hash of its members
    ---
    n_members : int32
    """

    class Member(dj.Part):
        definition = """
        # curves of one mouse with one choice of settings
        -> master
        -> NDCTask
        """


@schema
class NDCPopulation(WholeDelete, dj.Computed):
    definition = """
    # mean slopes over the days of several mice; deleted when one of their curves is computed or deleted
    -> NDCCohort
    ---
    n_subjects : int32
    -> Environment
    """

    class Curve(dj.Part):
        definition = """
        # a curve behind the slopes
        -> master
        -> NDCResult
        """

    class Slope(dj.Part):
        definition = """
        # slope of one mouse; see pipeline.decoding.mice_trend
        -> master
        -> NDCTask
        quantity : varchar(16)          # code_k, half_k, common_k, score or d_prime
        ---
        mouse_slope : float64           # per day: of log2 of cells (names in _k), of the score, or of d-prime
        mouse_error : float64           # standard error, from the scatter of days about the lines of all mice
        mouse_weight : float64          # share in the mean
        n_mouse_days : int32
        """

    class Mean(dj.Part):
        definition = """
        # mean slope of the mice
        -> master
        question : char(32)             # hash of the settings, apart from n_cells, in which mice may differ
        quantity : varchar(16)
        ---
        question_name : varchar(255)
        n_mice : int32                  # with a slope
        n_without : int32               # mice with fewer than two days above chance: not used
        mean_slope=null : float64       # NULL: no mouse has a slope
        mean_low=null : float64         # 95 percent (Hartung and Knapp); NULL: fewer than three mice
        mean_high=null : float64
        mean_p=null : float64           # of no slope, two-sided
        between_sd=null : float64       # sd of slopes between mice, beyond their errors (REML); NULL: fewer than two
        day_sd=null : float64           # of days about the line of their mouse; NULL: no mouse has a third day
        curve_sd=null : float64         # part of it that is the error of the curves, root mean square over days
        """

    class Difference(dj.Part):
        definition = """
        # mean differences of two slopes, and of values, within mice: the other question minus the question
        -> master
        question : char(32)
        other_question : char(32)
        quantity : varchar(16)
        ---
        pair_name : varchar(511)
        n_pairs : int32                 # mice with both
        slope_difference : float64
        difference_low=null : float64   # 95 percent; NULL: fewer than three mice
        difference_high=null : float64
        difference_p=null : float64
        difference_sd : float64         # standard deviation between mice
        n_level_pairs=null : int32      # mice of which both curves end at one k; NULL: before version 32
        level_difference=null : float64 # over days: log2 of cells (in _k), score, d-prime; NULL: no such mouse
        level_low=null : float64        # 95 percent; NULL: fewer than three mice
        level_high=null : float64
        level_p=null : float64          # of no difference, two-sided
        level_sd=null : float64         # standard deviation between mice
        """

    @property
    def key_source(self):
        return _complete(NDCCohort, NDCCohort.Member)

    @classmethod
    def invalidate(cls, task: dict) -> None:
        """Delete the populations that include a task, which has a new curve; ``populate`` computes them again."""
        _invalidate(cls, NDCCohort.with_task(task), (cls.Curve, cls.Slope, cls.Mean, cls.Difference))

    def make_fetch(self, key):
        members = (NDCCohort.Member & key).proj()
        tasks = (members * SessionSet.proj("subject")).to_dicts(order_by="session_set, ndc_params")
        results = (NDCResult & members).keys(order_by="session_set, ndc_params, eid")
        return tasks, results, _curves_key(members)

    @staticmethod
    def also_read(key: dict) -> list[dict]:
        """Return the keys of the tasks whose curves a job reads: its own key does not name them."""
        return (NDCCohort.Member & key).keys()

    def make_compute(self, key, tasks, results, curves):
        mice = [
            MouseTrends(
                {name: task[name] for name in NDCTask.primary_key}, task["subject"], (NDCParams & task).settings(),
                trends_of_task(task),
            )
            for task in tasks
        ]  # fmt: skip
        return len({task["subject"] for task in tasks}), results, *population_rows(mice)

    def make_insert(self, key, n_subjects, results, slopes, means, differences):
        self.insert1({**key, "n_subjects": n_subjects, **Environment.current()})
        self.Curve.insert({**key, **row} for row in results)
        self.Slope.insert({**key, **row} for row in slopes)
        self.Mean.insert({**key, **row} for row in means)
        self.Difference.insert({**key, **row} for row in differences)


def trends_of_task(task: dict) -> list[decoding.DayTrend]:
    """Return the trends of the stored curves of a task over its days; none if it has no curve."""
    settings = (NDCParams & task).settings()
    rows, days, curves = _curves_by_date(task)
    fits = [fit_of(curve, settings, row["n_cells"]) for row, curve in zip(rows, curves, strict=True)]
    return day_trends(fits, days, settings.delta)


@schema
class TransferTask(WholeDelete, dj.Manual):
    definition = """
    # sessions of a set whose readouts are to be tested on each other
    -> NDCTask
    scaler : varchar(8)                 # activity standardised by own: each session's; trained: the training trials'
    """

    @classmethod
    def add(cls, session_set: dict, settings: Sequence[NDCSettings], scaler: str) -> list[dict]:
        """Insert the tasks of a set unless they are in the table, and return the keys of their settings, each once.

        Raises
        ------
        ArgumentError
            Settings have no meaning for transfer.
        """
        for one in settings:
            check_transfer(one, scaler)
        params = NDCParams.add_all(settings)
        cls.ask(session_set, [(key, scaler) for key in params])
        return params

    @classmethod
    def ask(cls, session_set: dict, asked: Sequence[tuple[dict, str]]) -> None:
        """Insert the tasks of a set by keys of NDCParams and scaler, unless they are in the table."""
        NDCTask.ask_features(session_set, [key for key, _ in asked])
        cls.insert(({**session_set, **key, "scaler": scaler} for key, scaler in asked), skip_duplicates=True)


@schema
class TransferResult(WholeDelete, dj.Computed):
    definition = """
    # a session decoded by the readouts of every session of its set; see pipeline.decoding.transfer
    -> TransferTask
    -> TrialFeatures
    ---
    n_test : int32                      # decoded trials
    transfer_c : float64                # c of all readouts, in the unit of the penalty
    transfer_null : varchar(16)         # how labels of this session were shuffled
    -> Environment
    """

    class Train(dj.Part):
        definition = """
        # the session of the readouts; itself: cross-validated
        -> master
        -> TrialFeatures.proj(train_eid="eid")
        ---
        n_train : int32                 # training trials of each readout behind transfer_score
        transfer_score : float64        # mean over the readouts of the folds
        transfer_low : float64          # 95 percent: these readouts on new test trials; itself: new trials in both
        transfer_high : float64
        transfer_p=null : float64       # (1 + #(null >= score)) / (1 + shuffles); NULL: no shuffles
        refit_score=null : float64      # of the readout of all trials; NULL: itself
        half_score : float64            # mean over readouts of random halves; itself: tested on the other half
        transfer_nulls : <blob>         # (S,) float64, score of each shuffle
        """

    @property
    def key_source(self):
        # as NDCResult: trial counts are equalised over the set
        expected = _by_session(TransferTask)
        waiting = without_failed(expected - TrialFeatures.proj(), TrialFeatures, Behavior)
        return TransferTask.proj() * TrialFeatures.proj() - waiting.proj(waiting_eid="eid")

    @classmethod
    def invalidate_task(cls, features: dict) -> None:
        """Delete the results of a task of which a session has features now that had none, or had others."""
        task = {name: features[name] for name in NDCTask.primary_key}
        if found := cls & task:
            Cascade(found).delete(reason=f"the trials of session {features['eid']} of their set were read")

    def make_fetch(self, key):
        task = {name: key[name] for name in NDCTask.primary_key}
        eids = (TrialFeatures & task).to_arrays("eid", order_by="eid").tolist()
        return (NDCParams & key).settings().as_row(), eids, _common_trials(key)[0], _made_of(key)

    @staticmethod
    def also_read(key: dict) -> list[dict]:
        """Return the key of the task: a job reads the features of all its sessions."""
        return [{name: key[name] for name in NDCTask.primary_key}]

    def make_compute(self, key, settings, eids, n_common, made_of):
        settings = NDCSettings(**settings)
        null, test = _test_day(key, settings, n_common)
        place = _Place(key["session_set"], key["ndc_params"], settings, key["scaler"], n_common, made_of)
        found = {eid: _inner_of(place, eid) for eid in eids if settings.penalty == "auto"}
        inner = {eid: scores for eid, scores in found.items() if scores is not None}
        c = one_c([*inner.values()], settings)
        others = [scores for eid, scores in inner.items() if eid != key["eid"]]
        trained = {eid: one for eid in eids if (one := _readouts_of(place, eid, c)) is not None}
        day, scaled = scaled_day(test, settings, key["scaler"])
        try:
            rows = [
                score_row(train_eid, on_own_day(readouts, day, scaled, np.array(others)) if train_eid == key["eid"]
                          else on_other_day(readouts, day, scaled))
                for train_eid, readouts in trained.items()
            ]  # fmt: skip
        except ArgumentError as error:  # e.g. a blocked fold with one class only
            raise SettingsError(f"cannot be decoded with these settings: {error}", eid=key["eid"]) from error
        if key["eid"] not in trained:
            raise SettingsError("readouts cannot be trained with these settings: folds or halves lack a class",
                                eid=key["eid"])  # fmt: skip
        return {"n_test": int(labelled(test.y).sum()), "transfer_c": c, "transfer_null": null}, rows

    def make_insert(self, key, row, rows):
        self.insert1({**key, **row, **Environment.current()})
        self.Train.insert({**key, **one} for one in rows)
        # in the same transaction: no matrix without this session is left
        TransferMatrix.invalidate(key)


@dataclasses.dataclass(frozen=True)
class _Place:
    """What the readouts of a session are trained by: a task with the number of trials and what its features are of.

    With the hash these determine the results of the cached functions below.
    """

    session_set: str
    ndc_params: str
    settings: NDCSettings
    scaler: str
    n_common: int | None
    made_of: str

    def day(self, eid: str) -> tuple[Day, NDCSettings] | None:
        """Return a session of the set, scaled, with its settings; None if it cannot be decoded."""
        key = {"session_set": self.session_set, "ndc_params": self.ndc_params, "eid": eid}
        try:
            features, trials, _, y = _decoded(key, self.settings, self.n_common)
        except DataError:  # the session's own job reports it
            return None
        return scaled_day(Day(features, y, strata_of(self.settings, eid, trials)), self.settings, self.scaler)


def _test_day(key: dict, settings: NDCSettings, n_common: int | None) -> tuple[str, Day]:
    """Return the null of a session, and the session with its null labels."""
    features, trials, _, y = _decoded(key, settings, n_common)
    shuffled = shuffles(key, settings, trials, n_common)
    return shuffled.null, Day(
        features, y, strata_of(settings, key["eid"], trials), null_vectors(shuffled, y, settings)
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _inner_of(place: _Place, eid: str) -> np.ndarray | None:
    """Return the inner scores of a session, which every session of a set needs; None if it cannot be decoded."""
    found = place.day(eid)
    try:
        return None if found is None else inner_of(*found)
    except ArgumentError:
        return None


# a readout has a number for each cell: 64 sessions of 1,000 cells are 55 MB
@functools.lru_cache(maxsize=64)
def _readouts_of(place: _Place, eid: str, c: float) -> DayReadouts | None:
    """Return the readouts of a session, which every session of a set needs; None if they cannot be trained."""
    found = place.day(eid)
    try:
        return None if found is None else day_readouts(*found, c)
    except ArgumentError:
        return None


@schema
class TransferMatrix(WholeDelete, dj.Computed):
    definition = """
    # all pairs of sessions of a set; deleted when one of them is computed or deleted
    -> TransferTask
    ---
    n_tested : int32                    # sessions
    n_untested : int32                  # sessions without a result, because they failed
    n_above_chance : int32              # sessions in the decay: decoded above chance within the session
    mean_transfer=null : float64        # over pairs, relative to the split halves: 1 for a fixed code; NULL: no pair
    mean_transfer_low=null : float64    # 95 percent, over sessions; NULL: fewer than three
    mean_transfer_high=null : float64
    decay_slope=null : float64          # change per day between; NULL: no three sessions above chance
    decay_low=null : float64            # 95 percent, over sessions; NULL: fewer than four
    decay_high=null : float64
    decay_p=null : float64              # of no slope, two-sided: permutation of the sessions
    decay_intercept=null : float64      # of the line, at no day between
    -> Environment
    """

    class Pair(dj.Part):
        definition = """
        # a session decoded by the readouts of another, or its own, among the others
        -> master
        -> TransferResult.Train
        ---
        transfer_q=null : float64       # Benjamini and Hochberg: of transfer_p, over the pairs
        relative=null : float64         # d-prime over that of the test session's split half; NULL: that is at chance
        """

    @property
    def key_source(self):
        expected = _by_session(TransferTask)
        waiting = without_failed(expected - TransferResult.proj(), TransferResult, TrialFeatures, Behavior)
        return TransferTask.proj() - waiting

    @classmethod
    def invalidate(cls, task: dict) -> None:
        """Delete the matrix of a task with a new result; ``populate`` computes it again."""
        _invalidate(cls, [{name: task[name] for name in cls.primary_key}], (cls.Pair,))

    def make(self, key):
        settings = (NDCParams & key).settings()
        dates = dict(zip(*(Session & (SessionSet.Member & key).proj()).to_arrays("eid", "session_date"), strict=True))
        rows = (TransferResult.Train.proj(..., "-transfer_nulls") & key).to_dicts(order_by="KEY")
        row, pairs = matrix_rows(rows, dates, settings)
        n_tested = len(TransferResult & key)
        self.insert1({
            **key, "n_tested": n_tested, "n_untested": len(dates) - n_tested, **row, **Environment.current(),
        })  # fmt: skip
        self.Pair.insert({**key, **pair} for pair in pairs)
