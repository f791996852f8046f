"""Trial-type means, what single cells tell, and the stability of the same cells over days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import responses
from pipeline.decoding.nulls import TARGETS
from pipeline.errors import ArgumentError, DataError
from pipeline.responses import (
    DayResponses,
    Selectivity,
    SelectivitySettings,
    StabilityResult,
    StabilitySettings,
    TargetSelectivity,
    TrialTypeMeans,
)
from schemas.cascade import WholeDelete
from schemas.imaging.reading import check_populated
from schemas.imaging.tables import FOV, ROI, Activity, BrainRegion, Recording
from schemas.provenance import Environment
from schemas.responses.fovs import whole_fov
from schemas.rows import content_key, number, sources_key, without_failed
from schemas.session import Behavior, Session, trials_of
from schemas.storage import bulk
from schemas.tracking import SessionSet, SharedCells

schema = dj.Schema()
#: Arrays of TrialTypeMean by field of TrialTypeMeans.
ARRAYS = {
    "mean": "type_mean", "sem": "type_sem", "n": "type_n", "even": "type_even", "odd": "type_odd",
    "n_even": "type_n_even",
}  # fmt: skip


@schema
class WindowSet(WholeDelete, dj.Manual):
    definition = """
    # windows around events, each on trials of one kind; see pipeline.responses.WindowSet
    window_set : char(32)               # hash of the rest
    ---
    window_set_name : varchar(64)
    set_windows : json                  # pairs of a name and a window, in the order of the rows of arrays
    windows_without_frame : varchar(16) # value: nearest, drop, next or interpolate
    windows_with_flagged : bool         # trials count whose window holds a flagged frame
    unique index (window_set_name)
    """

    @classmethod
    def add(cls, windows: responses.WindowSet | None = None) -> dict:
        """Insert a set of windows unless it is in the table, and return its key.

        Raises
        ------
        DataError
            Another set has its name.
        """
        windows = windows or responses.WindowSet()
        content, key = windows.content(), cls.key_of(windows)
        named = (cls & {"window_set_name": windows.name}).keys()
        if named and named != [key]:
            raise DataError(f"there is another set of windows called {windows.name!r}", do="Choose another name")
        if not named:
            cls.insert1({
                **key, "window_set_name": windows.name, "set_windows": content["windows"],
                "windows_without_frame": windows.short_window, "windows_with_flagged": windows.use_flagged_frames,
            }, skip_duplicates=True)  # fmt: skip
        return key

    @staticmethod
    def key_of(windows: responses.WindowSet) -> dict:
        """Return the key of a set, whether it is in the table or not."""
        return {"window_set": content_key(windows.content())}

    def windows(self) -> responses.WindowSet:
        """Return the set in the single row that this is restricted to."""
        row = self.fetch1()
        return responses.WindowSet.from_content({
            "name": row["window_set_name"], "windows": row["set_windows"],
            "short_window": row["windows_without_frame"], "use_flagged_frames": row["windows_with_flagged"],
        })  # fmt: skip


@schema
class ResponseTask(WholeDelete, dj.Manual):
    definition = """
    # requested trial-type means of a session
    -> Session
    -> WindowSet
    """

    @classmethod
    def ask(cls, eids: Iterable[str], windows: dict) -> None:
        """Request the means of sessions in a set of windows, by its key."""
        cls.insert(({"eid": eid, **windows} for eid in eids), skip_duplicates=True)


@schema
class TrialTypeMean(WholeDelete, dj.Computed):
    definition = """
    # mean activity of every ROI of a FOV in each window; arrays (windows, ROIs), ROIs by number
    -> Activity
    -> Behavior
    -> ResponseTask
    ---
    type_mean : <blob>                  # float32, mean over trials, NaN with none; see pipeline.responses
    type_sem : <blob>                   # float32, its standard error
    type_n : <blob>                     # int32, trials
    type_even : <blob>                  # float32, mean of the trials with even numbers
    type_odd : <blob>                   # float32, and with odd ones
    type_n_even : <blob>                # int32
    -> Environment
    """

    @property
    def key_source(self):
        return (Activity.proj() & Recording.proj()) * Behavior.proj() * ResponseTask.proj()

    def make_fetch(self, key):
        return (WindowSet & key).windows().content(), _sources_of_fov(key)

    def make_compute(self, key, windows, sources):
        windows = responses.WindowSet.from_content(windows)
        cells = whole_fov(key["eid"], key["fov"], use_flagged=windows.use_flagged_frames)
        try:
            means = responses.trial_type_means(cells, trials_of(key["eid"]), windows)
        except ArgumentError as error:  # an event that trials do not have
            raise DataError(str(error), eid=key["eid"], fov=key["fov"]) from error
        return ({column: getattr(means, name) for name, column in ARRAYS.items()},)

    def make_insert(self, key, arrays):
        self.insert1({**key, **arrays, **Environment.current()})


def _sources_of_fov(key: dict) -> str:
    """Return a hash of the files of a FOV and of its trials: if they are read again meanwhile, nothing is inserted."""
    return sources_key(FOV.Source & {"eid": key["eid"], "fov": key["fov"]}, Behavior.Source & {"eid": key["eid"]})


def means_of(key: dict) -> TrialTypeMeans:
    """Return the arrays of the single row of TrialTypeMean with this key."""
    row = (TrialTypeMean.proj(*ARRAYS.values()) & key).fetch1()
    names = [name for name, _ in (WindowSet & {"window_set": row["window_set"]}).fetch1("set_windows")]
    return TrialTypeMeans(tuple(names), **{name: np.asarray(row[column]) for name, column in ARRAYS.items()})


@schema
class SelectivityParams(WholeDelete, dj.Manual):
    definition = """
    # settings of what single cells tell; see pipeline.responses.SelectivitySettings
    selectivity_params : char(32)       # hash of the rest
    ---
    cell_null : varchar(16)             # auto (pseudosession), pseudosession, circular or permute
    n_cell_shuffles : int32             # null labels of each target
    cell_min_per_class : int32          # trials of each class that a target needs
    cell_min_trials : int32             # trials that a window needs in each half
    cell_shuffle_seed : int64
    """

    #: Column of each setting.
    of_setting = {
        "null": "cell_null", "n_label_shuffles": "n_cell_shuffles", "min_per_class": "cell_min_per_class",
        "min_trials": "cell_min_trials", "shuffle_seed": "cell_shuffle_seed",
    }  # fmt: skip

    @classmethod
    def add(cls, settings: SelectivitySettings | None = None) -> dict:
        """Insert settings unless they are in the table, and return their key."""
        return _add_settings(cls, settings or SelectivitySettings())

    def settings(self) -> SelectivitySettings:
        """Return the settings of the single row that this is restricted to."""
        return _settings_in(self, SelectivitySettings)


def _add_settings(table: Any, settings: Any) -> dict:
    """Insert a record of settings unless it is in its table, and return its key, a hash."""
    (name,) = table.primary_key
    key = {name: content_key(asdict(settings))}
    if not (table & key):  # a read-only account can use settings that are in the table
        row = {table.of_setting[one]: value for one, value in asdict(settings).items()}
        table.insert1({**key, **row}, skip_duplicates=True)
    return key


def _settings_in(table: Any, cls: type) -> Any:
    """Return the record of settings in the single row of its table."""
    row = table.fetch1()
    return cls(**{one.name: row[table.of_setting[one.name]] for one in fields(cls)})


@schema
class CellTask(WholeDelete, dj.Manual):
    definition = """
    # requested responses of the single cells of a session
    -> ResponseTask
    -> SelectivityParams
    """


@schema
class CellResponse(WholeDelete, dj.Computed):
    definition = """
    # what the single cells of a FOV tell on a day
    -> TrialTypeMean
    -> CellTask
    ---
    n_response_windows : int32          # with enough trials in both halves
    -> Environment
    """

    class Cell(dj.Part):
        definition = """
        # a ROI; see pipeline.responses
        -> master
        -> ROI
        ---
        signal_to_noise=null : float64  # variance of the means over windows, without noise, over that of trials
        split_half=null : float64       # Spearman's correlation over windows of even and of odd trials
        sparseness=null : float64       # of the means, 0 to 1; NULL: the trace has negative values, or the means are 0
        """

    class Target(dj.Part):
        definition = """
        # trials of a target, in the window in which it is decoded by default
        -> master
        cell_target : varchar(16)       # choice, feedback, stimulus or block
        ---
        n_zeros : int32                 # usable trials of class 0; too few of either class: no row in Selectivity
        n_ones : int32
        cell_null_used : varchar(16)
        """

    class Selectivity(dj.Part):
        definition = """
        # how well a ROI tells the classes of a target
        -> master
        -> ROI
        cell_target : varchar(16)
        ---
        auroc=null : float64            # probability that class 1 is larger; 0.5 is none
        auroc_p=null : float64          # (1 + #) / (1 + shuffles) of as far from 0.5 with null labels
        auroc_null_low=null : float64   # 2.5th percentile with null labels
        auroc_null_high=null : float64  # 97.5th
        """

    def make_fetch(self, key):
        windows = (WindowSet & key).windows().content()
        return asdict((SelectivityParams & key).settings()), windows, _sources_of_fov(key)

    def make_compute(self, key, settings, windows, sources):
        settings, windows = SelectivitySettings(**settings), responses.WindowSet.from_content(windows)
        cells = whole_fov(key["eid"], key["fov"], use_flagged=windows.use_flagged_frames)
        means = means_of({name: key[name] for name in TrialTypeMean.primary_key})
        trials = trials_of(key["eid"])
        used = responses.common_windows(means.n_even, means.n - means.n_even, settings.min_trials)
        columns = {
            "signal_to_noise": responses.signal_to_noise(means, settings.min_trials),
            "split_half": responses.split_half(means, settings.min_trials),
            # of windows with trials: one without any has no mean
            "sparseness": _sparseness(means.mean[means.n.max(axis=1, initial=0) > 0], cells.traces),
        }
        targets = [
            responses.target_selectivity(
                cells, trials, target, settings, short_window=windows.short_window, name=key["eid"]
            )
            for target in TARGETS
        ]
        return int(used.sum()), columns, targets

    def make_insert(self, key, n_windows, columns, targets):
        self.insert1({**key, "n_response_windows": n_windows, **Environment.current()})
        bulk.insert(self.Cell(), _cell_rows(key, columns))
        self.Target.insert(
            {**key, "cell_target": one.target, "n_zeros": one.n_zeros, "n_ones": one.n_ones, "cell_null_used": one.null}
            for one in targets
        )
        bulk.insert(self.Selectivity(), _selectivity_rows(key, targets))


def _sparseness(means: np.ndarray, traces: np.ndarray) -> np.ndarray:
    """Return the sparseness of cells whose traces have no negative value, (N,) float64; NaN for the others."""
    return np.where((traces >= 0).all(axis=1), responses.sparseness(means), np.nan)


def _cell_rows(key: dict, columns: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for roi, values in enumerate(zip(*columns.values(), strict=True)):
        yield {**key, "roi": roi, **dict(zip(columns, map(number, values), strict=True))}


def _selectivity_rows(key: dict, targets: list[TargetSelectivity]) -> Iterator[dict[str, Any]]:
    for target in targets:
        if target.found is not None:
            for roi, values in enumerate(_by_cell(target.found)):
                yield {**key, "roi": roi, "cell_target": target.target, **values}


def _by_cell(found: Selectivity) -> Iterator[dict[str, float | None]]:
    names = ("auroc", "auroc_p", "auroc_null_low", "auroc_null_high")
    for values in zip(found.auroc, found.p, found.null_low, found.null_high, strict=True):
        yield dict(zip(names, map(number, values), strict=True))


@schema
class StabilityParams(WholeDelete, dj.Manual):
    definition = """
    # settings of stability over days; see pipeline.responses.StabilitySettings
    stability_params : char(32)         # hash of the rest
    ---
    stable_min_trials : int32           # trials that a window needs in each half, on every day
    stable_min_reliability : float64    # mean correlation of halves that a day needs
    stable_min_cells : int32            # cells that a region needs
    n_reliability_bins : int32          # of the control 'matched'
    n_stability_shuffles : int32        # of each control
    n_stability_draws : int32           # of cells and sessions, behind the intervals
    stability_seed : int64
    """

    #: Column of each setting.
    of_setting = {
        "min_trials": "stable_min_trials", "min_reliability": "stable_min_reliability",
        "min_cells": "stable_min_cells", "n_bins": "n_reliability_bins", "n_shuffles": "n_stability_shuffles",
        "n_bootstrap": "n_stability_draws", "seed": "stability_seed",
    }  # fmt: skip

    @classmethod
    def add(cls, settings: StabilitySettings | None = None) -> dict:
        """Insert settings unless they are in the table, and return their key."""
        return _add_settings(cls, settings or StabilitySettings())

    def settings(self) -> StabilitySettings:
        """Return the settings of the single row that this is restricted to."""
        return _settings_in(self, StabilitySettings)


@schema
class StabilityTask(WholeDelete, dj.Manual):
    definition = """
    # requested stability over the days of a set of sessions
    -> SessionSet
    -> WindowSet
    -> StabilityParams
    """

    @classmethod
    def add(cls, session_set: dict, windows: dict, params: dict) -> dict:
        """Request the stability of a set, with the means of its sessions; return the key of the task."""
        task = {**session_set, **windows, **params}
        with cls.connection.transaction:
            ResponseTask.ask((SessionSet.Member & session_set).to_arrays("eid"), windows)
            cls.insert1(task, skip_duplicates=True)
        return task


@schema
class Stability(WholeDelete, dj.Computed):
    definition = """
    # how stable the responses of the cells of a set are over its days; see pipeline.responses.stability
    -> StabilityTask
    -> SharedCells
    ---
    n_stable_cells : int32              # with means that vary on all days
    stable_windows : json               # names of the windows with enough trials on all days
    -> Environment
    """

    class Mean(dj.Part):
        definition = """
        # means that are compared
        -> master
        -> TrialTypeMean
        """

    class Day(dj.Part):
        definition = """
        # a session: similarity of its halves
        -> master
        -> SessionSet.Member
        similarity : varchar(16)        # spearman, pearson (of each cell's vector) or population
        ---
        day_reliability=null : float64
        day_reliability_low=null : float64  # 2.5th percentile over cells
        is_reliable : bool              # if not, the day is not compared
        cell_reliability=null : <blob>  # (n_shared,) float64 by shared_cell, of spearman; NaN: cell not used
        """

    class Pair(dj.Part):
        definition = """
        # two sessions, the earlier one first
        -> master
        first_eid : char(36)
        second_eid : char(36)
        similarity : varchar(16)
        ---
        pair_gap : int32                # days
        pair_observed=null : float64    # similarity of halves, not corrected
        pair_stability=null : float64   # corrected: 1 if nothing but noise differs; NULL: a day is not reliable
        features_p=null : float64       # of the controls, see Control; NULL: as above, or not spearman
        neurons_p=null : float64
        matched_p=null : float64
        cell_similarity=null : <blob>   # (n_shared,) float64 by shared_cell, of all trials; NULL: population
        """

    class Gap(dj.Part):
        definition = """
        # a population at a distance in days
        -> master
        stable_region : varchar(32)     # all, or acronym (Beryl) on the first day
        similarity : varchar(16)
        gap_days : int32
        ---
        gap_stability=null : float64    # corrected; NULL: no pair of reliable days
        gap_low=null : float64          # 95 percent interval over cells and sessions
        gap_high=null : float64
        n_gap_pairs : int32             # compared
        n_gap_unreliable : int32        # pairs with a day that is not reliable
        n_gap_cells : int32
        """

    class Slope(dj.Part):
        definition = """
        # change of the corrected stability per day of distance
        -> master
        stable_region : varchar(32)
        similarity : varchar(16)
        ---
        stability_slope=null : float64
        stability_slope_low=null : float64   # 95 percent interval over cells and sessions
        stability_slope_high=null : float64
        n_slope_pairs : int32
        """

    class Control(dj.Part):
        definition = """
        # corrected similarity (spearman, all cells) with one of the days shuffled
        -> master
        stability_control : varchar(16) # features (windows), neurons, or matched: neurons of a region and reliability
        gap_days : int32
        ---
        control_mean=null : float64
        control_low=null : float64      # 2.5th and 97.5th percentile
        control_high=null : float64
        control_p=null : float64        # (1 + #(shuffled >= real)) / (1 + shuffles)
        """

    @property
    def key_source(self):
        tasks = StabilityTask.proj() * SharedCells.proj()
        waiting = StabilityTask.proj() * SessionSet.FOV.proj() - TrialTypeMean.proj()
        # of sessions that failed: the job says which are lacking
        waiting = without_failed(waiting, TrialTypeMean, Behavior)
        # renamed, so that one FOV that is waiting holds back all of its set
        return tasks - waiting.proj(waiting_eid="eid", waiting_fov="fov")

    def make_fetch(self, key):
        of_set = {"session_set": key["session_set"]}
        sources = sources_key(
            FOV.Source & (SessionSet.FOV & of_set).proj(), Behavior.Source & (SessionSet.Member & of_set).proj()
        )
        return asdict((StabilityParams & key).settings()), sources

    @staticmethod
    def also_read(key: dict) -> list[dict]:
        """Return the keys of the sessions that a job reads: its own key does not name them."""
        return (SessionSet.Member & {"session_set": key["session_set"]}).keys()

    def make_compute(self, key, settings, sources):
        sessions = _sessions_of(key)
        cells = [_cells_of(key["session_set"], row["eid"]) for row in sessions]
        if not len(cells[0]["fov"]):
            raise DataError("no cell is tracked in all sessions of the set", expected="1 or more", found="0")
        used = [_means_used(key, row["eid"], one["fov"]) for row, one in zip(sessions, cells, strict=True)]
        start = sessions[0]["session_date"]
        days = [
            _day_of(key, row["eid"], (row["session_date"] - start).days, one)
            for row, one in zip(sessions, cells, strict=True)
        ]
        result = responses.stability(days, _regions_of(cells[0]["region_id"]), StabilitySettings(**settings))
        names = [name for name, _ in (WindowSet & key).fetch1("set_windows")]
        rows = dict(_rows(result, [row["eid"] for row in sessions]))
        return names, result.windows, int(result.cells.sum()), [one for fovs in used for one in fovs], rows

    def make_insert(self, key, names, windows, n_cells, used, rows):
        self.insert1({
            **key, "n_stable_cells": n_cells,
            "stable_windows": [name for name, is_used in zip(names, windows, strict=True) if is_used],
            **Environment.current(),
        })  # fmt: skip
        self.Mean.insert({**key, **one} for one in used)
        for part, found in rows.items():
            getattr(self, part).insert({**key, **row} for row in found)


def _sessions_of(key: dict) -> list[dict[str, Any]]:
    """Return the sessions of a set by date."""
    members = (SessionSet.Member & {"session_set": key["session_set"]}).proj()
    return (
        (Session & members)
        .proj("session_date", "session_number")
        .to_dicts(order_by="session_date, session_number, eid")
    )


def _cells_of(session_set: str, eid: str) -> dict[str, np.ndarray]:
    """Return FOV, ROI and region of the shared cells of a set in a session, in their order."""
    cells = SharedCells.Cell & {"session_set": session_set, "eid": eid}
    rows = cells.proj() * SharedCells.Cell.proj("fov", "roi") * ROI.proj("region_id")
    names = ("fov", "roi", "region_id")
    return dict(zip(names, rows.to_arrays(*names, order_by="shared_cell"), strict=True))


def _regions_of(region_ids: np.ndarray) -> np.ndarray:
    """Return the acronym of each region in the Beryl parcellation, (N,) str; that of cells without one is empty."""
    known = [{"region_id": int(one)} for one in {one for one in region_ids.tolist() if one is not None}]
    names = {row["region_id"]: row["beryl"] for row in (BrainRegion & known).to_dicts()} if known else {}
    return np.array([names.get(one, "") for one in region_ids.tolist()], dtype=str)


def _means_used(key: dict, eid: str, fovs: np.ndarray) -> list[dict[str, Any]]:
    """Return the keys of the means of the FOVs with shared cells; raise a DataError if one is lacking."""
    check_populated(eid, fovs, Recording, Activity)
    wanted = [{"fov": int(fov)} for fov in np.unique(fovs)]
    place = {"eid": eid, "window_set": key["window_set"]}
    found = (TrialTypeMean & place & wanted).keys(order_by="fov")
    if len(found) < len(wanted):
        there = {row["fov"] for row in found}
        raise DataError(
            "FOVs with shared cells have no trial-type means", eid=eid,
            expected="TrialTypeMean of each FOV", found="none of " + ", ".join(
                f"FOV_{one['fov']:02d}" for one in wanted if one["fov"] not in there),
            do="'meso errors TrialTypeMean Behavior' lists reasons; leave the session out of the set",
        )  # fmt: skip
    return found


def _day_of(key: dict, eid: str, day: int, cells: dict[str, np.ndarray]) -> DayResponses:
    """Return the responses of the shared cells in a session."""
    arrays: dict[str, np.ndarray] = {}
    for fov in np.unique(cells["fov"]).tolist():
        columns = np.flatnonzero(cells["fov"] == fov)
        means = means_of({"eid": eid, "fov": fov, "window_set": key["window_set"]})
        for name in ("mean", "even", "odd", "n", "n_even"):
            values = getattr(means, name)[:, cells["roi"][columns].astype(int)]
            arrays.setdefault(name, np.empty((len(values), len(cells["fov"])), values.dtype))[:, columns] = values
    n_odd = arrays["n"] - arrays["n_even"]
    return DayResponses(day, arrays["mean"], arrays["even"], arrays["odd"], arrays["n_even"], n_odd)


def _rows(result: StabilityResult, eids: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the rows of each part of Stability, but for Mean."""
    yield "Day", [
        {
            "eid": eid, "similarity": measure, "day_reliability": number(result.reliability[measure][i]),
            "day_reliability_low": number(result.reliability_low[measure][i]),
            "is_reliable": bool(result.reliable[measure][i]),
            "cell_reliability": result.cell_reliability[i] if measure == "spearman" else None,
        }
        for measure in responses.MEASURES for i, eid in enumerate(eids)
    ]  # fmt: skip
    yield "Pair", [
        {
            "first_eid": eids[i], "second_eid": eids[j], "similarity": measure, "pair_gap": int(result.gaps[p]),
            "pair_observed": number(result.observed[measure][p]),
            "pair_stability": number(result.corrected[measure][p]),
            **{f"{name}_p": number(values[p]) if measure == "spearman" else None
               for name, values in result.control_p.items()},
            "cell_similarity": {"spearman": result.cell_spearman, "pearson": result.cell_pearson}[measure][p]
            if measure != "population" else None,
        }
        for measure in responses.MEASURES for p, (i, j) in enumerate(result.pairs.tolist())
    ]  # fmt: skip
    yield "Gap", [
        {
            "stable_region": one.region, "similarity": one.measure, "gap_days": one.gap,
            "gap_stability": number(one.value), "gap_low": number(one.low), "gap_high": number(one.high),
            "n_gap_pairs": one.n_pairs, "n_gap_unreliable": one.n_unreliable, "n_gap_cells": one.n_cells,
        }
        for one in result.by_gap
    ]  # fmt: skip
    yield "Slope", [
        {
            "stable_region": one.region, "similarity": one.measure, "stability_slope": number(one.slope),
            "stability_slope_low": number(one.low), "stability_slope_high": number(one.high),
            "n_slope_pairs": one.n_pairs,
        }
        for one in result.slopes
    ]  # fmt: skip
    yield "Control", [
        {
            "stability_control": one.control, "gap_days": one.gap, "control_mean": number(one.mean),
            "control_low": number(one.low), "control_high": number(one.high), "control_p": number(one.p),
        }
        for one in result.controls
    ]  # fmt: skip
