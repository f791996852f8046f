"""Stored curves as plain data, by target: results, failures and notes."""

from __future__ import annotations

import datetime
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import datajoint as dj
import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.drift import change_over_days
from pipeline.decoding.fits.ceilings import NOTED_OCTAVES, k_of_shape
from pipeline.decoding.fits.days import MIN_DAYS, MOST_LEVERAGE, leverages
from pipeline.decoding.fits.families import ALPHA, significant
from pipeline.decoding.fits.together import least_q, shuffles_needed, together_needed
from pipeline.decoding.strata import ENOUGH
from pipeline.errors import NotFoundError
from pipeline.settings.curves import CHANGING
from schemas.behavior import ChoiceModel
from schemas.decoding.changing_noise import DRIFT, KINDS, NOISE, PART, SPREAD, Change, Kind, note_on, noted_change
from schemas.decoding.finding import OF_DAYS, knows_spread
from schemas.decoding.naming import asked_notes, dates_of, names_of
from schemas.decoding.rows import p_of
from schemas.decoding.same_signal import different_signals, note_of
from schemas.decoding.tables import (
    NDCComparison,
    NDCFamily,
    NDCParams,
    NDCResult,
    TrialFeatures,
    settings_of,
)
from schemas.provenance import Environment
from schemas.queries.cells import n_shared_cells
from schemas.queries.errors import errors_of
from schemas.queries.tracking_runs import notes_on_fovs
from schemas.rows import checked
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet

if TYPE_CHECKING:
    import pandas as pd

#: Columns of ``NDCRun.table``: results, then all settings and keys that are needed to reproduce them.
COLUMNS = (
    "session_date", "eid", "target", "k_star", "k_star_low", "k_star_high", "k_star_censored", "k_star_common",
    "k_star_continuous", "k_half", "ceiling", "n_cells", "n_decoded", "p_curve", "q_value", "q_least", "verdict",
    "asymptote",
    "k50", "k90", "k95", "performance", "drift_share", "noise_level", "noise_mean", "code_spread",
    "signal", "event", "win_start", "win_end", "metric", "delta", "r",
    "n_label_shuffles", "null_subsets", "null_used", "class_balance", "curve_axis", "cells", "regions", "fovs",
    "subject", "tracking_run", "session_set", "ks", "trial_shuffled", "fold_mode", "fold_gap", "c_grid", "cells_seed",
    "max_cells", "n_bootstrap", "seed", "shuffle_seed", "balance_seed", "use_flagged_frames", "choice_model",
    "imposter_align", "beyond", "trials", "labels", "decoded_signal",
    "dff_neuropil", "dff_window", "dff_percentile", "n_minority", "penalty", "c", "c_range", "shared_folds", "c_used",
    "score_c1", "ndc_params", "ndc_family", "environment",
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """Why a session has no curve.

    Attributes
    ----------
    eid : str
    target : str
        Name of the TargetRun; '' for a failure of all targets, e.g. of a session without trials.
    table : str
        Table that could not be populated; '' if the session could not be read at all.
    message : str
    """

    eid: str
    target: str
    table: str
    message: str


@dataclass(frozen=True)
class TargetRun:
    """The curves of one target with one choice of settings.

    Attributes
    ----------
    name : str
        The target; if a target has several settings, followed by those that differ.
    settings : NDCSettings
    ndc_params : str
        Key of the settings in NDCParams.
    curves : list of dict
        Rows of NDCResult by date, joined with Session, SessionSet, NDCParams and NDCComparison.Result; each has its
        rows of NDCResult.Curve under 'curve'.
    trend : dict or None
        Row of NDCComparison.Trend: the slope of log2 of the grid's k* over days, as before version 14.
    failures : list of Failure
        Sessions that could not be decoded for this target.
    day_trends : dict of str to dict
        By quantity (code_k, half_k, common_k, score, d_prime) a row of NDCComparison.DayTrend, which has its rows of
        NDCComparison.DayValue under 'values', by session. Empty for a comparison of before version 14; earlier
        comparisons have no half_k.
    doubts : tuple of str
        Why a trend of the code is no finding of it: what else changes over the days and moves k* and k_half, or that
        the share of the cells that carry the signal does not change, or is not known.
    spread : float
        Change over the days, along their line, of log2 of the share of the cells that carry the signal; NaN: not known.
    """

    name: str
    settings: NDCSettings
    ndc_params: str
    curves: list[dict[str, Any]]
    trend: dict[str, Any] | None
    failures: list[Failure]
    day_trends: dict[str, dict[str, Any]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    spread: float = math.nan


@dataclass(repr=False)
class NDCRun:
    """Neuron-dropping curves of a set of sessions.

    Attributes
    ----------
    subject, tracking_run : str
    session_set : dict
        Key of the set in SessionSet.
    first_date : datetime.date
        Date of the first session of the set.
    n_shared : int
        Number of cells found in every session.
    family : dict
        Key of NDCFamily: the curves over which q, the FDR-adjusted p (Benjamini-Hochberg), is computed.
    targets : list of TargetRun
        In the order requested.
    unusable : list of Failure
        Sessions that could not be decoded for any target.
    notes : list of str
        Remarks on the results, e.g. FOVs without UIDs.
    """

    subject: str
    tracking_run: str
    session_set: dict
    first_date: datetime.date
    n_shared: int
    family: dict
    targets: list[TargetRun]
    unusable: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        n_sessions = len({row["eid"] for row in self._rows()})
        return f"<NDCRun of {self.subject}: {', '.join(self.curves)} in {n_sessions} sessions; see .table>"

    @property
    def settings(self) -> list[NDCSettings]:
        """The settings of each target."""
        return [target.settings for target in self.targets]

    @property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """The curves by name of the target."""
        return {target.name: target.curves for target in self.targets}

    @property
    def trends(self) -> dict[str, dict[str, Any]]:
        """The slopes of the grid's k* over days by name of the target, for targets that have one: see `day_trends`."""
        return {target.name: target.trend for target in self.targets if target.trend is not None}

    @property
    def day_trends(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The trends of the code and of sensitivity over days by name of the target, then by quantity."""
        return {target.name: target.day_trends for target in self.targets if target.day_trends}

    @property
    def failures(self) -> list[Failure]:
        """All failures: first of whole sessions, then target by target."""
        return [*self.unusable, *(failure for target in self.targets for failure in target.failures)]

    @property
    def failed(self) -> dict[str, str]:
        """Failure messages by session, each once, preceded by the names of its targets unless it is of all."""
        return {eid: "; ".join(messages) for eid, messages in self._messages().items()}

    def failure_lines(self) -> list[str]:
        """Return a line of text for each failure message of each session."""
        return [
            message if eid in message else f"session {eid}: {message}"
            for eid, messages in self._messages().items()
            for message in messages
        ]

    def _messages(self) -> dict[str, list[str]]:
        """Return the failure messages by session, each once."""
        targets_of: dict[tuple[str, str], list[str]] = defaultdict(list)
        for failure in self.failures:
            targets_of[failure.eid, failure.message].append(failure.target)
        messages: dict[str, list[str]] = defaultdict(list)
        for (eid, message), names in targets_of.items():
            is_of_all = "" in names or len(names) == len(self.targets)
            messages[eid].append(message if is_of_all else f"{', '.join(names)}: {message}")
        return dict(messages)

    @property
    def table(self) -> pd.DataFrame:
        """One row per session and target: k*, ceiling, n cells and trials, p and q of the curve, settings, keys.

        Columns are named as in the tables and SQL views: docs/reference/columns.md.
        """
        import pandas as pd

        return pd.DataFrame([_table_row(row) for row in self._rows()], columns=list(COLUMNS))

    def panels(self) -> dict[str, dict[str, TargetRun]]:
        """Return by name the targets that differ in nothing but regions, or which cells, with curves, by these."""
        panels_of: dict[NDCSettings, dict[str, TargetRun]] = {}
        kinds = {target.settings.cells for target in self.targets}
        for target in self.targets:
            asked = target.settings
            alike = replace(asked, cells="shared", cells_seed=0) if len(kinds) > 1 else asked
            panels = panels_of.setdefault(replace(alike, regions=()), {})
            region = "+".join(asked.regions) or ("" if len(kinds) > 1 else "all regions")
            panels[" ".join(filter(None, (region, f"{asked.cells} cells" if len(kinds) > 1 else "")))] = target
        return {
            name: panels
            for name, panels in zip(names_of(list(panels_of)), panels_of.values(), strict=True)
            if len(panels) > 1 and any(target.curves for target in panels.values())
        }

    def note_short_curves(self) -> None:
        """Add a note if all curves end below the largest k requested: no session has so many cells or trials."""
        asked = max(max(one.ks) for one in self.settings)
        longest = max((row["curve"][-1]["k"] for row in self._rows()), default=asked)
        if longest < asked:
            text = f"k up to {asked} was requested; the longest curve ends at {longest} {self.settings[0].curve_axis}"
            self.notes.append(text)

    def _rows(self) -> list[dict[str, Any]]:
        return [row for target in self.targets for row in target.curves]


def _table_row(row: dict) -> dict:
    lists = {name: ", ".join(map(str, row[name] or ())) for name in ("regions", "fovs", "ks", "c_grid")}
    return {**row, **lists, "p_curve": p_of(row), "signal": row["feature_signal"]}


def stored_run(session_set: dict | str, params: Sequence[dict | str], eids: Sequence[str] = ()) -> NDCRun:
    """Return stored curves without computing anything.

    The number of queries does not depend on the number of targets and sessions: at most 19, and a few more if there are
    failures to explain (``tests/schemas/test_queries.py``).

    Parameters
    ----------
    session_set : dict or str
        Key of SessionSet, or its hash alone.
    params : sequence of dict or str
        Keys of NDCParams, or their hashes alone, in the order of the targets; repeats count once.
    eids : sequence of str, optional
        Return only the curves of these sessions of the set.

    Returns
    -------
    NDCRun
        q and trends are those of NDCComparison for all sessions of the set and exactly these settings, if that has been
        computed. With ``eids`` there are no trends.

    Raises
    ------
    DataError
        The set or the settings are not in the database.
    """
    (of_set,) = _rows_named(SessionSet, [session_set])
    stored = _Stored(of_set, _rows_named(NDCParams, params))
    return NDCRun(
        of_set["subject"], of_set["tracking_run"], stored.session_set, min(stored.dates.values()),
        n_shared_cells(stored.session_set), stored.family, stored.targets(eids), stored.without_trials(),
        stored.notes(eids),
    )  # fmt: skip


def _rows_named(table: type[dj.Table], keys: Sequence[dict | str]) -> list[dict[str, Any]]:
    """Return the rows of a table with the given keys or hashes, each once, in the order given."""
    (name,) = table.primary_key
    # DataJoint's results are in the order of the server, so they are put into the order asked for below
    named = list(dict.fromkeys(key if isinstance(key, str) else checked(key, table)[name] for key in keys))
    rows = {row[name]: row for row in (table & [{name: one} for one in named]).to_dicts()}
    if missing := [one for one in named if one not in rows]:
        raise NotFoundError(
            f"no {table.__name__} with key {', '.join(map(repr, missing))}",
            do=f"List them with: schemas.{table.__name__}()",
        )
    return [rows[one] for one in named]


class _Stored:
    """The stored rows of a set of sessions with some settings; each table is queried once for all.

    Parameters
    ----------
    of_set : dict
        Row of SessionSet.
    of_params : list of dict
        Rows of NDCParams.
    """

    def __init__(self, of_set: dict[str, Any], of_params: list[dict[str, Any]]) -> None:
        self.of_set, self.of_params = of_set, of_params
        self.session_set = {"session_set": of_set["session_set"]}
        self.params = [{"ndc_params": row["ndc_params"]} for row in of_params]
        self.settings = [settings_of(row) for row in of_params]
        self.family = NDCFamily.key_of([{**self.session_set, **key} for key in self.params])
        #: Rows of Session of the set, and their dates.
        self.members = (Session * SessionSet.Member.proj() & self.session_set).to_dicts()
        self.dates = {row["eid"]: row["session_date"] for row in self.members}
        columns = ("feature_signal", NOISE.column, PART.column, SPREAD.column)
        features = (TrialFeatures & self.session_set & self.params).proj(*columns).to_dicts()
        #: Signal ("deconvolved", "fluorescence") by settings and session, for sessions with usable trials.
        self.signals = {(row["ndc_params"], row["eid"]): row["feature_signal"] for row in features}
        #: Rows of TrialFeatures with what is measured by settings and session; None: of a former version.
        self.measured = {(row["ndc_params"], row["eid"]): row for row in features}
        self.results = self._results()
        #: Rows of NDCComparison.Trend by settings; and of DayTrend by settings and quantity.
        self.grid_trends = {row["ndc_params"]: row for row in (NDCComparison.Trend & self.family).to_dicts()}
        self.day_trends = self._day_trends()
        #: Rows of NDCComparison.Result by settings and session, with the drift; NULL: compared before version 31.
        self.compared = self._compared()
        #: By kind of noise the targets of which it changes over the days.
        self.changing = {kind: self._changing(kind) for kind in KINDS}
        # where that of most cells changes, that of a part is not worth a word
        self.changing[PART] = {
            name: change for name, change in self.changing[PART].items() if name not in self.changing[NOISE]
        }

    def _results(self) -> list[dict[str, Any]]:
        """Return the rows of NDCResult by date, with their rows of NDCResult.Curve under 'curve'."""
        asked = NDCResult & self.session_set & self.params
        rows = (asked * Session.proj("subject", "session_date", "session_number")).to_dicts(
            order_by="session_date, session_number"
        )  # fmt: skip
        points = defaultdict(list)
        for point in (NDCResult.Curve & self.session_set & self.params).to_dicts(order_by="k"):
            points[point["ndc_params"], point["eid"]].append(point)
        return [{**row, "curve": points[row["ndc_params"], row["eid"]]} for row in rows]

    def targets(self, eids: Sequence[str]) -> list[TargetRun]:
        """Return the targets with their curves; if ``eids`` is not empty, only the curves of these sessions."""
        errors = errors_of([TrialFeatures, NDCResult], self.session_set, self.params)
        rows = self._rows()
        return [
            TargetRun(
                name, settings, one["ndc_params"],
                [row for row in rows if row["ndc_params"] == one["ndc_params"] and (not eids or row["eid"] in eids)],
                None if eids else self.grid_trends.get(one["ndc_params"]),
                [Failure(row["key"]["eid"], name, row["table"], row["message"]) for row in errors
                 if row["key"]["ndc_params"] == one["ndc_params"]],
                {} if eids else self.day_trends.get(one["ndc_params"], {}),
                () if eids else self._doubts(name, one["ndc_params"]),
                math.nan if eids else self._spread(one["ndc_params"], settings),
            )
            for name, settings, one in zip(names_of(self.settings), self.settings, self.of_params, strict=True)
        ]  # fmt: skip

    def _day_trends(self) -> dict[str, dict[str, Any]]:
        """Return the rows of NDCComparison.DayTrend by settings and quantity, with those of DayValue under 'values'."""
        found: dict[str, dict[str, Any]] = defaultdict(dict)
        for row in (NDCComparison.DayTrend & self.family & self.session_set).to_dicts():
            found[row["ndc_params"]][row["quantity"]] = {**row, "values": {}}
        for row in (NDCComparison.DayValue & self.family & self.session_set).to_dicts():
            trend = found[row["ndc_params"]][row["quantity"]]
            trend["values"][row["eid"]] = tuple(row["day_value" + end] for end in ("", "_low", "_high"))
        return found

    def _compared(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the rows of NDCComparison.Result by settings and session, with those of NDCComparison.Drift."""
        results = NDCComparison.Result & self.family & self.session_set & self.params
        rows = results.join(NDCComparison.Drift, left=True).to_dicts()
        return {(row["ndc_params"], row["eid"]): row for row in rows}

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of NDCResult joined with the other tables that ``COLUMNS`` needs."""
        behavior = (Behavior & [{"eid": eid} for eid in self.dates]).proj("performance").to_dicts()
        performance = {row["eid"]: row["performance"] for row in behavior}
        of_params = {row["ndc_params"]: row for row in self.of_params}
        nothing = {"q_value": None, "k_star_common": None, "drift_share": None}
        n_judged = self._n_judged()
        return [
            {
                # the row of the result last: of columns in several tables its values count
                **self.of_set, **of_params[row["ndc_params"]], **self.family,
                **self.compared.get((row["ndc_params"], row["eid"]), nothing), **row,
                "feature_signal": self.signals[row["ndc_params"], row["eid"]],
                "performance": performance.get(row["eid"]),
                **{one.column: self.measured[row["ndc_params"], row["eid"]][one.column]
                   for one in (NOISE, PART, SPREAD)},
                "q_least": None if p_of(row) is None
                else least_q(n_judged, of_params[row["ndc_params"]]["n_label_shuffles"]),
            }
            for row in self.results
        ]  # fmt: skip

    def without_trials(self) -> list[Failure]:
        """Return the failures of sessions of the set whose trials could not be read."""
        errors = errors_of([Behavior], [{"eid": eid} for eid in self.dates])
        return [Failure(row["key"]["eid"], "", row["table"], row["message"]) for row in errors]

    def notes(self, eids: Sequence[str]) -> list[str]:
        """Return remarks on the curves; if ``eids`` is not empty, signals are compared among these sessions only."""
        uncompared = [f"q and trends: {row['message']}" for row in errors_of([NDCComparison], self.family)]
        return [
            *notes_on_fovs(self.of_set),
            *self._mixed_signals(eids), *self._mixed_environments(),
            *self._asked(), *self._last_session(), *(text for one in self.settings for text in _easy_null(one)),
            *uncompared, *self._changed_counts(), *self._unreachable_q(), *self._few_minority(), *self._as_before(),
            *filter(None, (note_on(kind, found, self.dates) for kind, found in self.changing.items())),
            *self._unknown_noise(), *self._both_by_other_causes(), *self._ceilings(), *self._days_of_the_line(),
            *self._unlike_the_model(),
        ]  # fmt: skip

    def _mixed_signals(self, eids: Sequence[str]) -> list[str]:
        """Return a note if the compared sessions have different signals."""
        dates = dates_of(self.members)
        as_recorded = [key["ndc_params"] for key, one in zip(self.params, self.settings, strict=True) if not one.signal]
        found = []
        for asked in as_recorded:
            signals = {
                eid: kind for (params, eid), kind in self.signals.items()
                if params == asked and (not eids or eid in eids)
            }  # fmt: skip
            found.append(different_signals(signals, dates))
        return list(dict.fromkeys(note_of(different) for different in found if different))

    def _as_before(self) -> list[str]:
        """Return a note for what a former version computed, and holds for less than it seems to."""
        notes = []
        if rounded := sorted({self.dates[row["eid"]].isoformat() for row in self.results if _called_chance(row)}):
            notes.append(
                f"{', '.join(rounded)}: 'at chance' at p = {ALPHA:g}, which a former version took for more by "
                "rounding. To compute them again: (schemas.NDCResult & {'eid': ..., 'ndc_params': ...}).delete()"
            )
        if narrow := sorted(
            {one.target for one in self.settings if one.intervals == "test_trials" and one.n_bootstrap}
        ):
            notes.append(
                f"{', '.join(narrow)}: intervals are those of the trained decoders on new test trials, and too narrow "
                f"for new sessions; intervals='calibrated' computes others"
            )
        if self.grid_trends and not self.day_trends:
            notes.append(
                "the comparison has the slope of the grid's k* only (before version 14). For the trends of code and "
                f"sensitivity: (schemas.NDCComparison & {self.family}).delete(), then run this again"
            )
        return notes

    def _asked(self) -> list[str]:
        """Return notes for each target of which only some trials are decoded, or a signal that was asked for."""
        return asked_notes(dict(zip(names_of(self.settings), self.settings, strict=True)))

    def _last_session(self) -> list[str]:
        """Return a note that the last session has no curve of lost cells, for each target with such."""
        last = max(self.members, key=lambda row: (row["session_date"], row["session_number"], row["eid"]))
        of_lost = [
            name for name, one in zip(names_of(self.settings), self.settings, strict=True) if one.cells == "lost"
        ]
        return [f"{name}: no cell of the last session, of {last['session_date']}, is lost later; it has no curve"
                for name in of_lost]  # fmt: skip

    def _few_minority(self) -> list[str]:
        """Return a note for each target beyond the stimulus with sessions that can show a strong code only."""
        notes = []
        for name, one in zip(names_of(self.settings), self.of_params, strict=True):
            few = [f"{row['n_minority']} on {self.dates[row['eid']]}" for row in self.results
                   if row["ndc_params"] == one["ndc_params"] and (row["n_minority"] or ENOUGH) < ENOUGH]  # fmt: skip
            if few:
                notes.append(
                    f"{name}: few trials of the rarer {one['target']} within stimuli ({', '.join(few)}); below "
                    f"{ENOUGH} only a strong code can be found, and 'at chance' says little"
                )
        return notes

    def _changing(self, kind: Kind) -> dict[str, Change]:
        """Return by target how a kind of noise changes over the days, of those of which it is worth a note."""
        found = {}
        for name, key, one in zip(names_of(self.settings), self.params, self.settings, strict=True):
            place = key["ndc_params"]
            if kind is DRIFT:
                values = {eid: row["drift_share"] for (asked, eid), row in self.compared.items() if asked == place}
            else:
                values = {row["eid"]: self.measured[place, row["eid"]][kind.column] for row in self.results
                          if row["ndc_params"] == place}  # fmt: skip
                # the levels of different signals are not compared; that they differ has a note of its own
                if len({self.signals[place, eid] for eid in values}) > 1:
                    continue
            if change := noted_change(kind, values, self.dates, one):
                found[name] = change
        return found

    def _doubts(self, name: str, params: str) -> tuple[str, ...]:
        """Return why a trend of the code of a target is no finding of it."""
        unknown = self._unknown(params)
        # where that of most traces changes, that of a part need not be known
        is_worth_a_word = unknown is not None and not (unknown is PART and name in self.changing[NOISE])
        return (
            *(f"{kind.name} changes as well" for kind, found in self.changing.items() if name in found),
            *([f"whether {unknown.name} changes is not known"] if unknown and is_worth_a_word else []),
            *filter(None, [self._of_spread(params)]),
        )

    def _unknown(self, params: str | None = None) -> Kind | None:
        """Return the kind of noise of traces that is not known of a session of some settings, or of any; or None."""
        rows = [self.measured[row["ndc_params"], row["eid"]] for row in self.results
                if params in (None, row["ndc_params"])]  # fmt: skip
        return next((kind for kind in (NOISE, PART) if any(row[kind.column] is None for row in rows)), None)

    def _of_spread(self, params: str) -> str:
        """Return why a change that k* and k_half of a target both have is none of how many cells carry the signal."""
        settings = self.settings[self.params.index({"ndc_params": params})]
        return OF_DAYS.doubt(self.day_trends.get(params, {}), self._spread(params, settings))

    def _spread(self, params: str, settings: NDCSettings) -> float:
        """Return by how much log2 of the share of the cells that carry the signal changes over the days."""
        values = {row["eid"]: self.measured[params, row["eid"]][SPREAD.column] for row in self.results
                  if row["ndc_params"] == params}  # fmt: skip
        known = {eid: value for eid, value in values.items() if value is not None}
        if 2 * len(known) <= len(values) or not knows_spread(settings):  # of most days, it is that of the line
            return math.nan
        return SPREAD.change(known, self.dates)

    def _unknown_noise(self) -> list[str]:
        """Return a note if the noise of the traces is not known of some sessions, where trends are."""
        unknown = sorted({self.dates[row["eid"]].isoformat() for row in self.results
                          if self.measured[row["ndc_params"], row["eid"]][PART.column] is None})  # fmt: skip
        kind = self._unknown()
        if not (unknown and kind and self.day_trends):
            return []
        text = (
            f"{', '.join(unknown)}: {kind.name} is not known (features of before version 38, or without events), so "
            "that a trend of the code may be of it. To measure it, and compute these curves again: "
            f"(schemas.TrialFeatures & {self.session_set} & '{PART.column} IS NULL').delete(), then run this again"
        )
        return [text]

    def _both_by_other_causes(self) -> list[str]:
        """Return a note for each target of which k* and k_half change, and not how many cells carry the signal."""
        doubts = {name: self._of_spread(key["ndc_params"])
                  for name, key in zip(names_of(self.settings), self.params, strict=True)}  # fmt: skip
        return [
            f"{name}: k* and k_half change together over the days. So they do by noise that cells share from trial to "
            "trial, and where scores come near 1, although the cells respond as before. No finding of the code: "
            f"{doubt}"
            for name, doubt in doubts.items() if doubt
        ]  # fmt: skip

    def _ceilings(self) -> list[str]:
        """Return a note for each target whose k* would change over the days by the height of the ceilings alone."""
        found = []
        for name, key, one in zip(names_of(self.settings), self.params, self.settings, strict=True):
            rows = [row for row in self.results if row["ndc_params"] == key["ndc_params"]
                    and row["verdict"] != "at chance" and row["k_half"]]  # fmt: skip
            if len(rows) > 1 and one.curve_axis == "cells":
                found.append(self._moved_by_ceilings(name, one, rows))
        return [text for text in found if text]

    def _moved_by_ceilings(self, name: str, settings: NDCSettings, rows: Sequence[dict[str, Any]]) -> str:
        scores = [{point["k"]: point["score_mean"] for point in row["curve"]} for row in rows]
        if not (ks := sorted(set.intersection(*map(set, scores)))):
            return ""
        means = np.array([[of_day[k] for of_day in scores] for k in ks])
        dates = [self.dates[row["eid"]] for row in rows]
        days = [(date - min(dates)).days for date in dates]
        alike = np.log2(k_of_shape(ks, means, delta=settings.delta, metric=settings.metric))
        change, half = (
            change_over_days(values, days) for values in (alike.tolist(), [np.log2(row["k_half"]) for row in rows])
        )
        if not abs(change) >= NOTED_OCTAVES:  # or NaN, on a single day
            return ""
        ends = " and ".join(f"{means[-1, i]:.2f} on {dates[i]}" for i in (means[-1].argmin(), means[-1].argmax()))
        return (
            f"{name}: the score of {ks[-1]} cells lies between {ends}. By this alone log2 k* at the own ceiling would "
            f"change by {change:+.2f} over the days, as scores near 1 and near chance are compressed; log2 k_half, "
            f"which is of d'^2, changes by {half:+.2f}. A trend of k* alone is no finding of the code"
        )

    def _days_of_the_line(self) -> list[str]:
        """Return notes if the days are not such as Student's t over days takes them to be: one session, equal say."""
        dates = [self.dates[eid] for eid in {row["eid"] for row in self.results}]
        if len(dates) < MIN_DAYS or len(set(dates)) < 2:
            return []
        notes, (often, number) = [], Counter(dates).most_common(1)[0]
        if number > 1:
            notes.append(
                f"{number} sessions on {often}: sessions of one day count as days of their own, although they resemble "
                "each other, and a trend beyond the scatter of days is found too often"
            )
        shares = dict(zip(dates, leverages([date.toordinal() for date in dates]).tolist(), strict=True))
        far = max(shares, key=shares.__getitem__)
        if shares[far] > MOST_LEVERAGE:
            notes.append(
                f"{far} is far from the other days, and the line over the days goes where it is (leverage "
                f"{shares[far]:.2f}): if that day is unlike the others, a trend is found too often"
            )
        return notes

    def _unlike_the_model(self) -> list[str]:
        """Return a note if a null simulates mice that the model of choice was found not to imitate.

        Of sessions without a stored model (``meso behavior`` fits it) nothing is said. A stored model may know more of
        the mouse than that of the null, never less.
        """
        simulated = {one["ndc_params"] for one in self.of_params if one["choice_model"] in CHANGING}
        eids = {row["eid"] for row in self.results if row["ndc_params"] in simulated}
        if not eids:
            return []
        unlike = ChoiceModel & [{"eid": eid} for eid in eids] & {"is_imitated": False}
        dates = sorted(str(self.dates[eid]) for eid in unlike.to_arrays("eid"))
        if not dates:
            return []
        text = (
            f"{', '.join(dates)}: the model of choice does not imitate the mouse ('meso behavior' says in what), so p "
            "may be too small there: a session that is significant is no finding before another null, such as "
            "imposter, agrees"
        )
        return [text]

    def _unreachable_q(self) -> list[str]:
        """Return a note if no single curve can have q <= 0.05: p has a smallest value, that of its shuffles."""
        text = unreachable_q(self._n_judged(), self.settings)
        return [text] if text else []

    def _n_judged(self) -> int:
        """Return the number of curves with a p, over which q is adjusted."""
        return sum(p_of(row) is not None for row in self.results)

    def _mixed_environments(self) -> list[str]:
        """Return a note if the results come from different versions of the code, and one if from different machines."""
        used = [{"environment": one} for one in sorted({row["environment"] for row in self.results})]
        rows = (Environment & used).to_dicts() if len(used) > 1 else []
        versions = sorted({row["git_commit"][:9] or "unknown" for row in rows})
        texts = {
            "versions of the code": versions,
            "kinds of machines, on which the last digits of scores may differ": machine_kinds(rows),
        }
        return [
            f"the curves come from different {text} ({'; '.join(found)}); see NDCResult.environment"
            for text, found in texts.items()
            if len(found) > 1
        ]

    def _changed_counts(self) -> list[str]:
        """Return a note for each target whose trials were equalised over more or fewer sessions than decodable now."""
        notes = []
        for key, settings in zip(self.params, self.settings, strict=True):
            now = sum(params == key["ndc_params"] for params, _ in self.signals)
            before = {row["n_compared"] for row in self.results if row["ndc_params"] == key["ndc_params"]}
            # n_compared is of the moment at which the curve was computed
            if before - {now}:
                notes.append(
                    f"{settings.target}: trial counts were equalised over {min(before)} sessions, now {now} can be "
                    f"decoded. To recompute: (schemas.NDCResult & {self.session_set} & {key}).delete()"
                )
        return notes


def machine_kinds(environments: Sequence[dict[str, Any]]) -> list[str]:
    """Return the kinds of machines as text: processor, BLAS and numba, on which the last digits of a result depend.

    Parameters
    ----------
    environments : sequence of dict
        Rows of Environment. Of those of former versions the machine is not known: they are left out.
    """
    known = [row for row in environments if row["cpu_name"] is not None]
    features = [set(row["cpu_features"]) for row in known]
    kinds = set()
    for row, own in zip(known, features, strict=True):
        lacking = sorted(set().union(*features) - own)
        without = f" without {', '.join(lacking)}" if lacking else ""
        blas = ", ".join(row["blas_kernels"])
        kinds.add(f"{row['cpu_name']}{without}, {blas}, numba {row['packages'].get('numba', 'unknown')}")
    return sorted(kinds)


def unreachable_q(n_curves: int, settings: Iterable[NDCSettings]) -> str:
    """Return a note if a single clear curve of so many with these settings cannot have q <= 0.05; "" if it can."""
    least = min((one.n_label_shuffles for one in settings if one.n_label_shuffles), default=0)
    if not least or significant(least_q(n_curves, least)):
        return ""
    return (
        f"with {least} shuffles p is {1 / (least + 1):.3f} or more: a single clear curve of {n_curves} cannot reach "
        f"q = {ALPHA}, {together_needed(n_curves, least)} together can; with n_label_shuffles="
        f"{shuffles_needed(n_curves)} one could (shuffles that are done are kept)"
    )


def _called_chance(row: dict[str, Any]) -> bool:
    """Return whether a former version called a curve at chance by rounding alone: its p is 0.05."""
    p = row["p_curve"]
    return row["verdict"] == "at chance" and p is not None and p > ALPHA and bool(significant(p))


def _easy_null(settings: NDCSettings) -> list[str]:
    """Return a note if the null does not control for slow drift of the activity, which decodes blocks by itself."""
    if settings.null not in ("permute", "circular") or settings.target != "block" or not settings.n_label_shuffles:
        return []
    text = (
        f"block: drifting activity decodes blocks without any information on them, and null='{settings.null}' does not "
        f"control for that: do not trust p. null='auto' simulates sessions"
    )
    return [text]
