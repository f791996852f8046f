"""From sessions and settings to curves: the steps between TrackedFOV and NDCResult, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import datajoint as dj
import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.fits.families import family_curve
from pipeline.errors import DataError, NotFoundError
from schemas.decoding.populations import number_inside
from schemas.decoding.tables import (
    NDCComparison,
    NDCFamily,
    NDCParams,
    NDCResult,
    NDCTask,
    TrialFeatures,
    curves,
    first_date,
)
from schemas.imaging.tables import FOV
from schemas.provenance import Environment
from schemas.rows import checked
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet, SharedCells, TrackedCell, TrackedFOV, TrackingFile, TrackingRun, fovs_left_out
from schemas.work.filling import fill
from schemas.work.reports import errors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Columns of the table of results: what was found, then all that it takes to find it again.
COLUMNS = (
    "session_date", "eid", "target", "k_star", "k_star_low", "k_star_high", "k_star_censored", "k_star_common",
    "ceiling", "n_cells", "n_decoded", "p_value", "q_value", "verdict", "asymptote", "k50", "k90", "k95", "performance",
    "feature_signal", "event", "win_start", "win_end", "metric", "delta", "r", "n_label_shuffles", "null_subsets",
    "null_used", "class_balance", "curve_axis", "cells", "regions", "fovs", "subject", "tracking_run", "session_set",
    "ks", "trial_shuffled", "fold_mode", "fold_gap", "c_grid", "cells_seed", "max_cells", "n_bootstrap", "seed",
    "shuffle_seed", "balance_seed", "ndc_params", "ndc_family", "environment",
)  # fmt: skip
#: Columns on screen, and their names there.
SHOWN = {
    "date": "date", "eid": "eid", "k_star": "k*", "interval": "95 %", "ceiling": "ceiling", "n_trials": "trials",
    "p_value": "p", "q_value": "q", "verdict": "verdict",
}  # fmt: skip
#: Columns of a screen from which on ids are printed in full.
WIDE = 120


@dataclass(repr=False)
class NDCRun:
    """Neuron-dropping curves of a set of sessions.

    Attributes
    ----------
    subject, tracking_run : str
    session_set : dict
        Key of the set in SessionSet.
    settings : list of NDCSettings
        One per target, or more.
    n_shared : int
        Cells found in every session.
    curves : dict of str to list of dict
        Rows of NDCResult by target, by date, each with its rows of Curve under 'curve'. Where a target was asked for
        with several settings, its name says in what they differ.
    family : dict
        Key of NDCFamily: the curves that q is computed over.
    trends : dict of str to dict
        Row of NDCComparison.Trend by target.
    failed : dict of str to str
        Message by session, for sessions that could not be decoded.
    notes : list of str
        What is worth knowing: FOVs without UIDs.
    figures : dict of str to Figure
        By target, once drawn.
    """

    subject: str
    tracking_run: str
    session_set: dict
    settings: list[NDCSettings]
    n_shared: int
    curves: dict[str, list[dict[str, Any]]]
    family: dict = field(default_factory=dict)
    trends: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)

    def __repr__(self) -> str:
        n_sessions = len({row["eid"] for rows in self.curves.values() for row in rows})
        return f"<NDCRun of {self.subject}: {', '.join(self.curves)} in {n_sessions} sessions; see .table and .draw()>"

    @property
    def table(self) -> pd.DataFrame:
        """One row per session and target: k*, ceiling, cells, trials, p and q at the largest k, settings and keys."""
        import pandas as pd

        rows = [_table_row(row) for results in self.curves.values() for row in results]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        return table.rename(columns={"session_date": "date", "n_decoded": "n_trials", "feature_signal": "signal"})

    def draw(self) -> dict[str, Figure]:
        """Draw the overlay of each target."""
        from pipeline.figures import ndc_overlay

        self.figures = {
            name: ndc_overlay(
                [_curve(row, s) for row in self.curves[name]],
                target=s.target, metric=s.metric, delta=s.delta, curve_axis=s.curve_axis,
                title=f"{self.subject}: {name} from {_cells_text(self.curves[name], s)}, "
                f"{s.event} {s.win_start:g} to {s.win_end:g}\u00a0s",
            )
            for name, s in zip(names_of(self.settings), self.settings, strict=True)
            if self.curves[name]
        }  # fmt: skip
        return self.figures

    def draw_days(self) -> Figure | None:
        """Draw k* of every target against the day, with its slope; None without a curve."""
        from pipeline.decoding.fits.trend import LogKSlope
        from pipeline.figures import k_star_over_days

        curves = self._drawn_curves()
        if not any(curves.values()):
            return None
        first = self.settings[0]
        dates = [row["session_date"] for rows in self.curves.values() for row in rows]
        start = (min(dates) - first_date(self.session_set)).days  # the figure begins with the first that was decoded
        slopes = {
            name: LogKSlope(
                slope=_nan(trend["k_star_slope"]), low=_nan(trend["slope_low"]), high=_nan(trend["slope_high"]),
                p=_nan(trend["slope_p"]), n_sessions=trend["n_dated"], n_censored=trend["n_censored"],
                mean_day=_nan(trend["mean_day"]) - start, mean_log_k=_nan(trend["mean_log_k"]),
                half_width=_nan(trend["half_width"]),
            )
            for name, trend in self.trends.items()
        }  # fmt: skip
        return k_star_over_days(
            curves, slopes=slopes, delta=first.delta, title=f"{self.subject}: k* over days", curve_axis=first.curve_axis
        )

    def draw_performance(self) -> Figure | None:
        """Draw the score at the largest k of every target against performance; None without a curve."""
        from pipeline.figures import score_over_performance

        curves = self._drawn_curves()
        if not any(curves.values()):
            return None
        first = self.settings[0]
        title = f"{self.subject}: score over performance"
        return score_over_performance(curves, metric=first.metric, title=title, curve_axis=first.curve_axis)

    def draw_regions(self) -> dict[str, Figure]:
        """Draw the curves of each target that was asked for in several regions, in a panel for each region."""
        from pipeline.figures import ndc_panels

        groups: dict[NDCSettings, dict[str, list[Any]]] = {}
        for s, drawn in zip(self.settings, self._drawn_curves().values(), strict=True):
            groups.setdefault(replace(s, regions=()), {})["+".join(s.regions) or "all regions"] = drawn
        return {
            name: ndc_panels(
                panels, metric=s.metric, delta=s.delta, curve_axis=s.curve_axis,
                title=f"{self.subject}: {name} by region, up to {s.n_cells or 'all'} {s.cells} cells of each",
            )
            for name, (s, panels) in zip(names_of(list(groups)), groups.items(), strict=True)
            if len(panels) > 1 and any(panels.values())
        }  # fmt: skip

    def _drawn_curves(self) -> dict[str, list[Any]]:
        """Return the curves by name as figures take them."""
        named = zip(names_of(self.settings), self.settings, strict=True)
        return {name: [_curve(row, s) for row in self.curves[name]] for name, s in named}

    def note_short_curves(self) -> None:
        """Add a note if all curves end before the largest k that was asked for: no session has so many."""
        asked = max(max(one.ks) for one in self.settings)
        longest = max((row["curve"][-1]["k"] for rows in self.curves.values() for row in rows), default=asked)
        if longest < asked:
            text = f"k up to {asked} was asked for: the longest curve ends at {longest} {self.settings[0].curve_axis}"
            self.notes.append(text)

    def show(self) -> None:
        """Print the table, the trends, and what failed."""
        from rich.console import Console
        from rich.markup import escape

        from drawing.screen import table_of

        console = Console(highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = max(console.width, WIDE)
        run = self.tracking_run[:8]
        console.print(f"[bold]{self.subject}[/bold]: {self.n_shared} cells in every session (tracking run {run})")
        console.print("smaller k* = more efficient; q = false discovery rate over all sessions and targets below")
        table = self.table
        table["interval"] = [interval_text(row) for row in table.to_dict("records")]
        no_star = (table["verdict"] == "at chance") | table["k_star"].isna()  # at chance it would mean nothing
        table["k_star"] = table["k_star"].astype(object).mask(no_star, None)
        table.loc[no_star, "interval"] = "-"
        if console.width < WIDE:
            table["eid"] = table["eid"].str[:8]
        for name, results in self.curves.items():
            if results:
                rows = table[table["ndc_params"] == results[0]["ndc_params"]][list(SHOWN)].rename(columns=SHOWN)
                console.print(table_of(rows.to_dict("records"), title=escape(name)))
            if name in self.trends:
                console.print(_trend_text(self.trends[name]))
        for text in [*self.notes, *self.failed.values()]:
            console.print(f"[yellow]![/yellow] {escape(text)}")
        if self.failed:
            console.print("Once mended, 'meso retry' forgets failures; then run this again")


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _table_row(row: dict) -> dict:
    lists = {name: ", ".join(map(str, row[name] or ())) for name in ("regions", "fovs", "ks", "c_grid")}
    return {**row, **lists, "p_value": row["p_largest"]}


def _cells_text(rows: list[dict], settings: NDCSettings) -> str:
    number = "-".join(map(str, sorted({row["n_cells"] for row in rows})))
    number = f"{settings.n_cells} of {number}" if settings.n_cells else number
    places = [*settings.regions, *(f"FOV_{fov:02d}" for fov in settings.fovs)]
    shuffled = ", without noise correlations" if settings.trial_shuffled else ""
    return f"{number} {settings.cells} cells" + (f" in {', '.join(places)}" if places else "") + shuffled


def interval_text(row: dict) -> str:
    """Return the 95 % interval of k* as text, open where it has no end."""
    low, high = ("" if value is None or value != value else f"{value:.0f}" for value in
                 (row["k_star_low"], row["k_star_high"]))  # fmt: skip
    if row["k_star_censored"] == "left" and low:
        low = f"<={low}"
    return f"{low} to {high or 'beyond'}" if low else "-"


def _trend_text(trend: dict) -> str:
    """Return what k* does over days in a line."""
    if trend["k_star_slope"] is None and trend["n_censored"]:
        return (
            f"k* over days: no slope, {trend['n_censored']} of {trend['n_dated']} sessions are known by a bound; "
            f"3 exact ones on different days are needed"
        )
    if trend["k_star_slope"] is None:
        return f"k* over days: no slope, {trend['n_dated']} sessions are above chance; 2 on different days are needed"
    text = f"k* over days: log2 changes by {trend['k_star_slope']:+.2f} per day"
    if trend["slope_low"] is not None and trend["slope_high"] is not None:
        text += f" (95 % {trend['slope_low']:+.2f} to {trend['slope_high']:+.2f}, p {trend['slope_p']:.3f})"
    bounds = f", {trend['n_censored']} of them known by a bound" if trend["n_censored"] else ""
    return f"{text}; {trend['n_dated']} sessions{bounds}"


def names_of(settings: Sequence[NDCSettings]) -> list[str]:
    """Return the target of each settings, with what tells it from others of the same target."""
    names = []
    for one in settings:
        same = [other.as_row() for other in settings if other.target == one.target]
        row = one.as_row()
        told = [f"{name}={_plain(row[name])}" for name in row if any(other[name] != row[name] for other in same)]
        names.append(f"{one.target} ({', '.join(told)})" if told else one.target)
    return names


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) or "all" if isinstance(value, list) else str(value)


def _curve(row: dict, settings: NDCSettings) -> Any:
    from pipeline.figures import Curve

    def column(name: str) -> np.ndarray:
        return np.array([point[name] for point in row["curve"]], dtype=float)

    def bounds(low: str, high: str) -> dict[str, np.ndarray | None]:
        there = row["curve"][0][low] is not None
        return {name: column(name) if there else None for name in (low, high)}

    null = bounds("null_low", "null_high")
    fit_k, fit_score = _fitted(row, settings)
    return Curve(
        label=f"{row['session_number']:03d} {row['eid'][:8]}", date=row["session_date"], ks=column("k"),
        mean=column("score_mean"), sd=column("score_sd"), null_lo=null["null_low"], null_hi=null["null_high"],
        ceiling=row["ceiling"], k_star=row["k_star"], n_trials=row["n_decoded"], **bounds("mean_low", "mean_high"),
        p_value=row["p_largest"], q_value=row["q_value"], fit_k=fit_k, fit_score=fit_score, verdict=row["verdict"],
        k_star_low=row["k_star_low"], k_star_high=row["k_star_high"], k_star_censored=row["k_star_censored"] or "",
        performance=row["performance"],
    )  # fmt: skip


def _fitted(row: dict, settings: NDCSettings) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return k and score of the fitted curve, up to twice the largest k; None without a fit."""
    parameters = row["fit_parameters"]
    if not parameters or None in parameters.values():
        return None, None
    k = np.geomspace(row["curve"][0]["k"], 2 * row["curve"][-1]["k"], 100)
    return k, family_curve(row["fit_family"], parameters, k, metric=settings.metric)


def run_ndc(
    eids: Sequence[str],
    run: dict,
    settings: Sequence[NDCSettings],
    *,
    neurons_only: bool = True,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    progress: bool = False,
) -> NDCRun:
    """Ask for the curves of a set of sessions, and compute those that the database lacks.

    Parameters
    ----------
    eids : sequence of str
        Registered sessions of one subject whose FOVs have been read.
    run : dict
        Key of a TrackingRun.
    settings : sequence of NDCSettings
    neurons_only, min_cell_probability, min_silhouette
        Which cells count: see SessionSet.
    progress : bool

    Raises
    ------
    DataError
        Fewer than two sessions, a session of another subject, or no cell in all of them.
    """
    if len(set(eids)) < 2:
        raise DataError("curves compare sessions", expected="2 or more", found=f"{len(set(eids))}")
    fill([Behavior], [{"eid": eid} for eid in eids], progress=progress)
    quality = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    session_set, failed = shared_set(eids, run, neurons_only=neurons_only, progress=progress, **quality)
    _shared_count(session_set)  # none: an error now, before there are tasks that nobody can do
    params = [NDCParams.add(one) for one in dict.fromkeys(settings)]  # asked for twice, it is one curve
    NDCTask.insert(({**session_set, **key} for key in params), skip_duplicates=True)
    fill([TrialFeatures, NDCResult], session_set, params, progress=progress)
    family = NDCFamily.add([{**session_set, **key} for key in params])
    fill([NDCComparison], family, progress=progress)
    found = stored_run(session_set, params)
    found.failed = failed | found.failed
    return found


def stored_run(session_set: dict | str, params: Sequence[dict | str], eids: Sequence[str] = ()) -> NDCRun:
    """Return curves that are in the database, and compute nothing.

    Parameters
    ----------
    session_set : dict or str
        Key of SessionSet, or its hash.
    params : sequence of dict or str
        Keys of NDCParams, or their hashes, in the order of the settings.
    eids : sequence of str, optional
        Only the curves of these sessions of the set.

    Returns
    -------
    NDCRun
        q is that of all sessions and just these settings, if they have been judged together; trends are, too, and
        there are none of a part of the sessions.

    Raises
    ------
    NotFoundError
        There is no such set, or no such settings.
    """
    asked, keys = _key_in(SessionSet, session_set), [_key_in(NDCParams, one) for one in params]
    settings = [(NDCParams & key).settings() for key in keys]
    family = NDCFamily.key_of([{**asked, **key} for key in keys])
    run = (TrackingRun & (SessionSet & asked).proj("subject", "tracking_run")).fetch1()
    members = (SessionSet.Member & asked).to_arrays("eid", order_by="eid").tolist()
    named = dict(zip(names_of(settings), keys, strict=True))
    trends = {row["ndc_params"]: row for row in (NDCComparison.Trend & family).to_dicts()}
    return NDCRun(
        run["subject"], run["tracking_run"], asked, settings, _shared_count(asked),
        {
            name: [row for row in _results(asked, key, family) if not eids or row["eid"] in eids]
            for name, key in named.items()
        }, family,
        {name: trends[key["ndc_params"]] for name, key in named.items() if key["ndc_params"] in trends and not eids},
        _failed(members, asked, keys), _notes(asked, keys, family, eids),
    )  # fmt: skip


def _key_in(table: type[dj.Table], key: dict | str) -> dict:
    """Return a key of a table, from itself or from its one value, once it is there."""
    found = {table.primary_key[0]: key} if isinstance(key, str) else key
    if not (table & checked(found, table)):
        raise NotFoundError(
            f"{table.__name__} has no {', '.join(map(str, found.values()))}", do="Its rows say what there is"
        )
    return found


def shared_set(eids: Sequence[str], run: dict, *, progress: bool = False, **rule: Any) -> tuple[dict, dict[str, str]]:
    """Return the set of those sessions that have tracked cells, and why not for the others.

    Parameters
    ----------
    eids, run, progress
        As for ``run_ndc``.
    **rule
        Which cells count: see SessionSet.

    Raises
    ------
    DataError
        Fewer than two have.
    """
    tracked, failed = match_cells(eids, run, progress=progress)
    if len(tracked) < 2:
        raise DataError("fewer than two sessions have tracked cells", do="; ".join(failed.values()) or None)
    session_set = SessionSet.add(tracked, run, **rule)
    fill([SharedCells], session_set, progress=progress)
    return session_set, failed


def by_region(
    eids: Sequence[str], run: dict, settings: Sequence[NDCSettings], regions: Sequence[str], **rule: Any
) -> list[NDCSettings]:
    """Return each of the settings once for each region, all with the same largest k.

    Parameters
    ----------
    eids, run
        As for ``run_ndc``.
    settings : sequence of NDCSettings
    regions : sequence of str
        Acronyms of the Allen atlas.
    **rule
        As for ``shared_set``.

    Raises
    ------
    DataError
        A region has no shared cell, or as ``shared_set``.
    """
    session_set, _ = shared_set(eids, run, **rule)
    _shared_count(session_set)
    found = []
    for one in settings:
        of_regions = [replace(one, regions=(region,)) for region in regions]
        fewest = min(number_inside(session_set, each) for each in of_regions)
        found += [replace(each, n_cells=one.n_cells or fewest) for each in of_regions]
    return found


def match_cells(eids: Sequence[str], run: dict, *, progress: bool = False) -> tuple[list[str], dict[str, str]]:
    """Match the UIDs of a tracking run to the ROIs of sessions.

    Returns
    -------
    list of str
        The sessions with at least one FOV whose UIDs fit.
    dict of str to str
        Why not, for the others.
    """
    fill([TrackedCell], run, progress=progress)
    fill([TrackedFOV], run, [{"eid": eid} for eid in eids], progress=progress)
    found = set((TrackedFOV & run).to_arrays("eid"))
    reasons = {row["key"]["eid"]: row["message"] for row in reversed(errors([FOV, TrackedFOV]))}
    files = set((TrackingFile & run).to_arrays("eid"))
    nothing = "the tracking run has no UID file for it; if there is one now, register again with: meso track"
    missing = {
        eid: f"session {eid} has no tracked cells: {reasons.get(eid) if eid in files and eid in reasons else nothing}"
        for eid in eids
        if eid not in found
    }
    return [eid for eid in eids if eid in found], missing


def _shared_count(session_set: dict) -> int:
    found = (SharedCells & session_set).to_arrays("n_shared")
    if not len(found):
        reasons = [row["message"] for row in errors([SharedCells])]
        raise DataError("the shared cells of the sessions could not be found", do="; ".join(reasons[:3]) or None)
    if found[0] == 0:
        members = TrackedFOV & (SessionSet.FOV & session_set).proj()
        counts = dj.U("eid").aggr(members, cells="sum(n_tracked)").to_dicts(order_by="eid")
        raise DataError(
            "no cell is tracked in all sessions of the set", expected="1 or more", found="0",
            do="Tracked cells by session: " + ", ".join(f"{row['eid']} {row['cells']}" for row in counts)
            + ". Leave out sessions with few, or ask for less quality. "
            + " ".join(left_out(session_set)),
        )  # fmt: skip
    return int(found[0])


def _members(session_set: dict) -> dj.QueryExpression:
    return Session.proj() & (SessionSet.Member & session_set).proj()


def _results(session_set: dict, params: dict, family: dict) -> list[dict[str, Any]]:
    features = (TrialFeatures & session_set & params).proj("feature_signal").to_dicts()
    signals = {row["eid"]: row["feature_signal"] for row in features}
    performance = {row["eid"]: row["performance"] for row in (Behavior & _members(session_set)).to_dicts()}
    common = {**(SessionSet & session_set).fetch1(), **(NDCParams & params).fetch1(), **family}
    compared = {row["eid"]: row for row in (NDCComparison.Result & family & session_set & params).to_dicts()}
    nothing = {"q_value": None, "k_star_common": None}
    return [
        {
            **common, **nothing, **compared.get(row["eid"], {}), **row,
            "feature_signal": signals[row["eid"]], "performance": performance.get(row["eid"]),
        }
        for row in curves(session_set, params)
    ]  # fmt: skip


def _target(params: dict) -> str:
    return str((NDCParams & params).fetch1("target"))


def _failed(eids: Sequence[str], session_set: dict, params: Sequence[dict]) -> dict[str, str]:
    """Return the first failure of each session on the way to these curves."""
    failed: dict[str, str] = {}
    for row in errors([Behavior, TrialFeatures, NDCResult]):
        key = row["key"]
        asked = "ndc_params" not in key or any(key.items() >= {**session_set, **one}.items() for one in params)
        if key["eid"] in eids and asked:
            failed.setdefault(key["eid"], row["message"])
    return failed


def left_out(session_set: dict) -> list[str]:
    """Return a line for each FOV whose cells are not compared."""
    reasons = {(row["key"]["eid"], row["key"]["fov"]): row["message"] for row in reversed(errors([FOV, TrackedFOV]))}
    return [
        f"session {key['eid']}, FOV_{key['fov']:02d}: its cells are in no comparison. "
        + reasons.get((key["eid"], key["fov"]), "It has no UID file")
        for key in fovs_left_out(session_set)
    ]


def _notes(session_set: dict, params: list[dict], family: dict, eids: Sequence[str]) -> list[str]:
    notes = left_out(session_set)
    notes += _mixed_signals(session_set, eids) + _mixed_code(session_set, params)
    notes += [text for key in params for text in _easy_null((NDCParams & key).settings())]
    notes += [f"q and trends: {row['message']}" for row in errors([NDCComparison]) if row["key"] == family]
    for key in params:
        now = len(TrialFeatures & session_set & key)
        before = set((NDCResult & session_set & key).to_arrays("n_compared"))
        if before - {now}:
            notes.append(
                f"{_target(key)}: trial counts were equalised over {min(before)} sessions, now {now} can be decoded. "
                f"To compute anew: (schemas.NDCResult & {session_set} & {key}).delete()"
            )
    return notes


def _easy_null(settings: NDCSettings) -> list[str]:
    """Say so when the null is easier to beat than activity that drifts."""
    if settings.null not in ("permute", "circular") or settings.target != "block" or not settings.n_label_shuffles:
        return []
    return [
        (
            f"block: activity that drifts decodes blocks with no information, and null='{settings.null}' does not show "
            "it: do not trust p; null='auto' simulates sessions"
        )
    ]


def _mixed_signals(session_set: dict, eids: Sequence[str]) -> list[str]:
    """Say so when sessions are compared, all of the set or some, whose activity is of different kinds."""
    shown = [{"eid": eid} for eid in eids] or True
    rows = (Session * TrialFeatures & session_set & shown).to_dicts(order_by="session_date")
    dates = {kind: sorted({str(row["session_date"]) for row in rows if row["feature_signal"] == kind})
             for kind in {row["feature_signal"] for row in rows}}  # fmt: skip
    if len(dates) < 2:
        return []
    kinds = "; ".join(f"{kind} on {', '.join(days)}" for kind, days in sorted(dates.items()))
    return [f"the sessions differ in their activity, compare with care: {kinds}"]


def _mixed_code(session_set: dict, params: list[dict]) -> list[str]:
    """Say so when results that are compared were computed by different versions of the code."""
    used = Environment & (NDCResult & session_set & params).proj("environment")
    commits = sorted({row["git_commit"][:9] or "unknown" for row in used.to_dicts()})
    if len(commits) < 2:
        return []
    return [f"the curves come from different versions of the code ({', '.join(commits)}); see NDCResult.environment"]
