"""Curves that are in the database as plain data, by target: what was found, what failed, and what to know of it."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import datajoint as dj

from pipeline.decoding import NDCSettings
from pipeline.errors import NotFoundError
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
from schemas.queries.tracking import fovs_left_out
from schemas.rows import checked
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the table of results: what was found, then all that it takes to find it again.
COLUMNS = (
    "session_date", "eid", "target", "k_star", "k_star_low", "k_star_high", "k_star_censored", "k_star_common",
    "ceiling", "n_cells", "n_decoded", "p_value", "q_value", "verdict", "asymptote", "k50", "k90", "k95", "performance",
    "feature_signal", "event", "win_start", "win_end", "metric", "delta", "r", "n_label_shuffles", "null_subsets",
    "null_used", "class_balance", "curve_axis", "cells", "regions", "fovs", "subject", "tracking_run", "session_set",
    "ks", "trial_shuffled", "fold_mode", "fold_gap", "c_grid", "cells_seed", "max_cells", "n_bootstrap", "seed",
    "shuffle_seed", "balance_seed", "ndc_params", "ndc_family", "environment",
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """Why a session has no curve.

    Attributes
    ----------
    eid : str
    target : str
        Name of the TargetRun; '' where it is none of one target, such as a session without trials.
    table : str
        Table that could not be made; '' where the session could not be read at all.
    message : str
    """

    eid: str
    target: str
    table: str
    message: str


@dataclass(frozen=True)
class TargetRun:
    """Curves of one target with one choice of settings.

    Attributes
    ----------
    name : str
        The target; where a target was asked for with several settings, with what tells them apart.
    settings : NDCSettings
    ndc_params : str
        Key of the settings in NDCParams.
    curves : list of dict
        Rows of NDCResult by date, with those of Session, SessionSet, NDCParams and NDCComparison.Result; each has its
        rows of NDCResult.Curve under 'curve'.
    trend : dict or None
        Row of NDCComparison.Trend: k* over days.
    failures : list of Failure
        Of sessions that could not be decoded.
    """

    name: str
    settings: NDCSettings
    ndc_params: str
    curves: list[dict[str, Any]]
    trend: dict[str, Any] | None
    failures: list[Failure]


@dataclass(repr=False)
class NDCRun:
    """Neuron-dropping curves of a set of sessions.

    Attributes
    ----------
    subject, tracking_run : str
    session_set : dict
        Key of the set in SessionSet.
    first_date : datetime.date
        Of the first session of the set.
    n_shared : int
        Cells found in every session.
    family : dict
        Key of NDCFamily: the curves that q is computed over.
    targets : list of TargetRun
        In the order asked for.
    unusable : list of Failure
        Of sessions that could be decoded for no target.
    notes : list of str
        What is worth knowing: FOVs without UIDs.
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
        """Settings of each target."""
        return [target.settings for target in self.targets]

    @property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """Curves by name of the target."""
        return {target.name: target.curves for target in self.targets}

    @property
    def trends(self) -> dict[str, dict[str, Any]]:
        """Trends of k* over days by name of the target, of those that have one."""
        return {target.name: target.trend for target in self.targets if target.trend is not None}

    @property
    def failures(self) -> list[Failure]:
        """All failures: of sessions as a whole, then target by target."""
        return [*self.unusable, *(failure for target in self.targets for failure in target.failures)]

    @property
    def failed(self) -> dict[str, str]:
        """What failed by session, every message once; behind the names of its targets unless all failed so."""
        return {eid: "; ".join(messages) for eid, messages in self._messages().items()}

    def failure_lines(self) -> list[str]:
        """Return a line for each message of each session."""
        return [
            message if eid in message else f"session {eid}: {message}"
            for eid, messages in self._messages().items()
            for message in messages
        ]

    def _messages(self) -> dict[str, list[str]]:
        """Return the messages by session, each once."""
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
        """One row per session and target: k*, ceiling, cells, trials, p and q at the largest k, settings and keys."""
        import pandas as pd

        table = pd.DataFrame([_table_row(row) for row in self._rows()], columns=list(COLUMNS))
        return table.rename(columns={"session_date": "date", "n_decoded": "n_trials", "feature_signal": "signal"})

    def note_short_curves(self) -> None:
        """Add a note if all curves end before the largest k that was asked for: no session has so many."""
        asked = max(max(one.ks) for one in self.settings)
        longest = max((row["curve"][-1]["k"] for row in self._rows()), default=asked)
        if longest < asked:
            text = f"k up to {asked} was asked for: the longest curve ends at {longest} {self.settings[0].curve_axis}"
            self.notes.append(text)

    def _rows(self) -> list[dict[str, Any]]:
        return [row for target in self.targets for row in target.curves]


def _table_row(row: dict) -> dict:
    lists = {name: ", ".join(map(str, row[name] or ())) for name in ("regions", "fovs", "ks", "c_grid")}
    return {**row, **lists, "p_value": row["p_largest"]}


def names_of(settings: Sequence[NDCSettings]) -> list[str]:
    """Return the target of each settings, with what tells it from others of the same target."""
    names = []
    for one in settings:
        same = [other.as_row() for other in settings if other.target == one.target]
        row = one.as_row()
        differing = [f"{name}={_plain(row[name])}" for name in row if any(other[name] != row[name] for other in same)]
        names.append(f"{one.target} ({', '.join(differing)})" if differing else one.target)
    return names


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) or "all" if isinstance(value, list) else str(value)


def stored_run(session_set: dict | str, params: Sequence[dict | str], eids: Sequence[str] = ()) -> NDCRun:
    """Return curves that are in the database, and compute nothing.

    Parameters
    ----------
    session_set : dict or str
        Key of SessionSet, or its hash.
    params : sequence of dict or str
        Keys of NDCParams, or their hashes, in the order of the targets; one that is named twice is one target.
    eids : sequence of str, optional
        Only the curves of these sessions of the set.

    Returns
    -------
    NDCRun
        q is that of all sessions and just these settings, if they have been judged together; trends are, too, and
        there are none of a part of the sessions.

    Raises
    ------
    DataError
        There is no such set, or no such settings.
    """
    (of_set,) = _rows_named(SessionSet, [session_set])
    stored = _Stored(of_set, _rows_named(NDCParams, params))
    return NDCRun(
        of_set["subject"], of_set["tracking_run"], stored.session_set, min(stored.dates.values()),
        n_shared_cells(stored.session_set), stored.family, stored.targets(eids), stored.without_trials(),
        stored.notes(eids),
    )  # fmt: skip


def _rows_named(table: type[dj.Table], keys: Sequence[dict | str]) -> list[dict[str, Any]]:
    """Return the rows of a table by their keys, or the hashes in these: each once, in the order named."""
    (name,) = table.primary_key
    named = list(dict.fromkeys(key if isinstance(key, str) else checked(key, table)[name] for key in keys))
    rows = {row[name]: row for row in (table & [{name: one} for one in named]).to_dicts()}
    if missing := [one for one in named if one not in rows]:
        raise NotFoundError(
            f"no {table.__name__} with key {', '.join(map(repr, missing))}",
            do=f"List them with: schemas.{table.__name__}()",
        )
    return [rows[one] for one in named]


class _Stored:
    """What the database has of a set of sessions with some settings, each table read once.

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
        members = Session * SessionSet.Member.proj() & self.session_set
        #: Dates of the sessions of the set.
        self.dates = {row["eid"]: row["session_date"] for row in members.to_dicts()}
        features = (TrialFeatures & self.session_set & self.params).proj("feature_signal").to_dicts()
        #: Kind of activity by settings and session, of those whose trials could be used.
        self.signals = {(row["ndc_params"], row["eid"]): row["feature_signal"] for row in features}
        self.results = self._results()

    def _results(self) -> list[dict[str, Any]]:
        """Return the rows of results by date, with their points under 'curve'."""
        asked = NDCResult & self.session_set & self.params
        rows = (asked * Session.proj("subject", "session_date", "session_number")).to_dicts(
            order_by="session_date, session_number"
        )  # fmt: skip
        points = defaultdict(list)
        for point in (NDCResult.Curve & self.session_set & self.params).to_dicts(order_by="k"):
            points[point["ndc_params"], point["eid"]].append(point)
        return [{**row, "curve": points[row["ndc_params"], row["eid"]]} for row in rows]

    def targets(self, eids: Sequence[str]) -> list[TargetRun]:
        """Return the targets with their curves, those of some sessions only if any are named."""
        trends = {row["ndc_params"]: row for row in (NDCComparison.Trend & self.family).to_dicts()}
        errors = errors_of([TrialFeatures, NDCResult], self.session_set, self.params)
        rows = self._rows()
        return [
            TargetRun(
                name, settings, one["ndc_params"],
                [row for row in rows if row["ndc_params"] == one["ndc_params"] and (not eids or row["eid"] in eids)],
                None if eids else trends.get(one["ndc_params"]),
                [Failure(row["key"]["eid"], name, row["table"], row["message"]) for row in errors
                 if row["key"]["ndc_params"] == one["ndc_params"]],
            )
            for name, settings, one in zip(names_of(self.settings), self.settings, self.of_params, strict=True)
        ]  # fmt: skip

    def _rows(self) -> list[dict[str, Any]]:
        """Return the results with all that the table of results has of them."""
        behavior = (Behavior & [{"eid": eid} for eid in self.dates]).proj("performance").to_dicts()
        performance = {row["eid"]: row["performance"] for row in behavior}
        of_params = {row["ndc_params"]: row for row in self.of_params}
        compared = NDCComparison.Result & self.family & self.session_set & self.params
        comparison = {(row["ndc_params"], row["eid"]): row for row in compared.to_dicts()}
        nothing = {"q_value": None, "k_star_common": None}
        return [
            {
                **self.of_set, **of_params[row["ndc_params"]], **self.family,
                **comparison.get((row["ndc_params"], row["eid"]), nothing), **row,
                "feature_signal": self.signals[row["ndc_params"], row["eid"]],
                "performance": performance.get(row["eid"]),
            }
            for row in self.results
        ]  # fmt: skip

    def without_trials(self) -> list[Failure]:
        """Return why sessions of the set have no trials."""
        errors = errors_of([Behavior], [{"eid": eid} for eid in self.dates])
        return [Failure(row["key"]["eid"], "", row["table"], row["message"]) for row in errors]

    def notes(self, eids: Sequence[str]) -> list[str]:
        """Return what is worth knowing of the curves, those of some sessions only if any are named."""
        judged = [f"q and trends: {row['message']}" for row in errors_of([NDCComparison], self.family)]
        return [
            *fovs_left_out(self.session_set), *self._mixed_signals(eids), *self._mixed_code(),
            *(text for one in self.settings for text in _easy_null(one)), *judged, *self._changed_counts(),
        ]  # fmt: skip

    def _mixed_signals(self, eids: Sequence[str]) -> list[str]:
        """Tell when sessions are compared whose activity is of different kinds."""
        dates: dict[str, set[str]] = defaultdict(set)
        for (_, eid), kind in self.signals.items():
            if not eids or eid in eids:
                dates[kind].add(str(self.dates[eid]))
        if len(dates) < 2:
            return []
        kinds = "; ".join(f"{kind} on {', '.join(sorted(days))}" for kind, days in sorted(dates.items()))
        return [f"the sessions differ in their activity, compare with care: {kinds}"]

    def _mixed_code(self) -> list[str]:
        """Tell when results that are compared were computed by different versions of the code."""
        used = [{"environment": one} for one in sorted({row["environment"] for row in self.results})]
        commits = (Environment & used).to_arrays("git_commit") if len(used) > 1 else ()
        versions = sorted({commit[:9] or "unknown" for commit in commits})
        if len(versions) < 2:
            return []
        return [
            f"the curves come from different versions of the code ({', '.join(versions)}); see NDCResult.environment"
        ]

    def _changed_counts(self) -> list[str]:
        """Tell when trial counts were equalised over fewer or more sessions than can be decoded now."""
        notes = []
        for key, settings in zip(self.params, self.settings, strict=True):
            now = sum(params == key["ndc_params"] for params, _ in self.signals)
            before = {row["n_compared"] for row in self.results if row["ndc_params"] == key["ndc_params"]}
            if before - {now}:
                notes.append(
                    f"{settings.target}: trial counts were equalised over {min(before)} sessions, now {now} can be "
                    f"decoded. To compute anew: (schemas.NDCResult & {self.session_set} & {key}).delete()"
                )
        return notes


def _easy_null(settings: NDCSettings) -> list[str]:
    """Tell when the null is easier to beat than activity that drifts."""
    if settings.null not in ("permute", "circular") or settings.target != "block" or not settings.n_label_shuffles:
        return []
    text = (
        f"block: activity that drifts decodes blocks with no information, and null='{settings.null}' does not show it: "
        f"do not trust p; null='auto' simulates sessions"
    )
    return [text]
