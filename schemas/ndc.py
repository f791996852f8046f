"""From sessions and settings to curves: the steps between TrackedFOV and NDCResult, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import datajoint as dj
import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.errors import DataError
from schemas.decoding import NDCParams, NDCResult, NDCTask, TrialFeatures, curves
from schemas.filling import errors, fill
from schemas.imaging import FOV
from schemas.provenance import Environment
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet, SharedCells, TrackedCell, TrackedFOV, TrackingFile, fovs_left_out

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Columns of the table of results: what was found, then all that it takes to find it again.
COLUMNS = (
    "session_date", "eid", "target", "k_star", "ceiling", "n_cells", "n_decoded", "p_value", "performance",
    "feature_signal", "event", "win_start", "win_end", "metric", "delta", "r", "n_label_shuffles", "class_balance",
    "subject", "tracking_run", "session_set", "ndc_params", "environment",
)  # fmt: skip


@dataclass
class NDCRun:
    """Neuron-dropping curves of a set of sessions.

    Attributes
    ----------
    subject, tracking_run : str
    session_set : dict
        Key of the set in SessionSet.
    settings : list of NDCSettings
        One per target.
    n_shared : int
        Cells found in every session.
    curves : dict of str to list of dict
        Rows of NDCResult by target, by date, each with its rows of Curve under 'curve'.
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
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """One row per session and target: k*, ceiling, cells, trials, p at the largest k, settings and keys."""
        import pandas as pd

        rows = [row for results in self.curves.values() for row in results]
        table = pd.DataFrame([{**row, "p_value": row["curve"][-1]["p_value"]} for row in rows], columns=list(COLUMNS))
        return table.rename(columns={"session_date": "date", "n_decoded": "n_trials", "feature_signal": "signal"})

    def draw(self) -> dict[str, Figure]:
        """Draw the overlay of each target."""
        from pipeline.figures import ndc_overlay

        self.figures = {
            s.target: ndc_overlay(
                [_curve(row) for row in self.curves[s.target]],
                target=s.target, metric=s.metric, delta=s.delta,
                title=f"{self.subject}: {s.target} from {self.n_shared} shared cells, "
                f"{s.event} {s.win_start:g} to {s.win_end:g} s",
            )
            for s in self.settings
            if self.curves[s.target]
        }  # fmt: skip
        return self.figures

    def show(self) -> None:
        """Print the table, and what failed."""
        from rich.console import Console
        from rich.markup import escape

        from schemas.screen import table_of

        console = Console(highlight=False, soft_wrap=True)
        run = self.tracking_run[:8]
        console.print(f"[bold]{self.subject}[/bold]: {self.n_shared} cells in every session (tracking run {run})")
        console.print("smaller k* = more efficient")
        names = {
            "date": "date",
            "eid": "eid",
            "k_star": "k*",
            "ceiling": "ceiling",
            "n_trials": "trials",
            "p_value": "p",
        }
        for target, rows in self.table.groupby("target", sort=False):
            rows = rows[list(names)].rename(columns=names).to_dict("records")
            console.print(table_of(rows, title=str(target)))
        for text in [*self.notes, *self.failed.values()]:
            console.print(f"[yellow]![/yellow] {escape(text)}")
        if self.failed:
            console.print("Once mended, 'meso retry' forgets failures; then run this again")


def _curve(row: dict) -> Any:
    from pipeline.figures import Curve

    def column(name: str) -> np.ndarray:
        return np.array([point[name] for point in row["curve"]], dtype=float)

    has_null = row["curve"][0]["null_low"] is not None
    return Curve(
        label=f"{row['session_number']:03d} {row['eid'][:8]}", date=row["session_date"], ks=column("k"),
        mean=column("score_mean"), sd=column("score_sd"),
        null_lo=column("null_low") if has_null else None, null_hi=column("null_high") if has_null else None,
        ceiling=row["ceiling"], k_star=row["k_star"], n_trials=row["n_decoded"],
    )  # fmt: skip


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
    tracked, failed = match_cells(eids, run, progress=progress)
    if len(tracked) < 2:
        raise DataError("fewer than two sessions have tracked cells", do="; ".join(failed.values()) or None)
    session_set = SessionSet.add(
        tracked,
        run,
        neurons_only=neurons_only,
        min_cell_probability=min_cell_probability,
        min_silhouette=min_silhouette,
    )
    fill([SharedCells], session_set, progress=progress)
    n_shared = _shared_count(session_set)
    params = [NDCParams.add(one) for one in settings]
    NDCTask.insert(({**session_set, **key} for key in params), skip_duplicates=True)
    fill([TrialFeatures, NDCResult], session_set, params, progress=progress)
    results = {s.target: _results(session_set, key) for s, key in zip(settings, params, strict=True)}
    failed |= _failed(tracked, session_set, params)
    notes = _notes(session_set, params)
    return NDCRun(run["subject"], run["tracking_run"], session_set, list(settings), n_shared, results, failed, notes)


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


def _results(session_set: dict, params: dict) -> list[dict[str, Any]]:
    features = (TrialFeatures & session_set & params).proj("feature_signal").to_dicts()
    signals = {row["eid"]: row["feature_signal"] for row in features}
    performance = {row["eid"]: row["performance"] for row in (Behavior & _members(session_set)).to_dicts()}
    common = {**(SessionSet & session_set).fetch1(), **(NDCParams & params).fetch1()}
    return [
        {**common, **row, "feature_signal": signals[row["eid"]], "performance": performance.get(row["eid"])}
        for row in curves(session_set, params)
    ]


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


def _notes(session_set: dict, params: list[dict]) -> list[str]:
    notes = left_out(session_set)
    notes += _mixed_signals(session_set) + _mixed_code(session_set, params)
    if any(_target(key) == "block" for key in params):
        notes.append("block: activity that drifts decodes blocks with no information; p and the band do not show it")
    for key in params:
        now = len(TrialFeatures & session_set & key)
        before = set((NDCResult & session_set & key).to_arrays("n_compared"))
        if before - {now}:
            notes.append(
                f"{_target(key)}: trial counts were equalised over {min(before)} sessions, now {now} can be decoded. "
                f"To compute anew: (schemas.NDCResult & {session_set} & {key}).delete()"
            )
    return notes


def _mixed_signals(session_set: dict) -> list[str]:
    """Say so when sessions are compared whose activity is of different kinds."""
    rows = (Session * TrialFeatures & session_set).to_dicts(order_by="session_date")
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
