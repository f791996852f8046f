"""Asking for responses and their stability: tasks inserted, tables filled, and their rows as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import responses
from pipeline.decoding import benjamini_hochberg
from pipeline.decoding.fits.families import ALPHA, significant
from pipeline.decoding.fits.together import least_q, shuffles_needed, together_needed
from pipeline.decoding.nulls import TARGETS
from pipeline.errors import NotFoundError
from pipeline.responses import SelectivitySettings, StabilitySettings
from schemas.decoding.run import shared_set
from schemas.decoding.same_signal import check_same_signal, note_of, read_with
from schemas.imaging.tables import ROI, BrainRegion
from schemas.queries.cells import n_shared_cells
from schemas.queries.errors import errors_of
from schemas.responses.tables import (
    CellResponse,
    CellTask,
    ResponseTask,
    SelectivityParams,
    Stability,
    StabilityParams,
    StabilityTask,
    TrialTypeMean,
    WindowSet,
    means_of,
)
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet
from schemas.work.filling import ask_again, fill

#: Note of a stability that no job has computed, and none has failed to.
NOT_YET = "not computed yet: meso populate"

if TYPE_CHECKING:
    import pandas as pd


def window_set(named: str | responses.WindowSet | None) -> dict:
    """Return the key of a set of windows: by name, or inserted unless it is there; by default the 26 trial windows.

    Raises
    ------
    NotFoundError
        No set has this name.
    """
    if not isinstance(named, str) or named == responses.TRIAL_WINDOWS:
        return WindowSet.add(None if isinstance(named, str) else named)
    found = (WindowSet & {"window_set_name": named}).keys()
    if not found:
        names = WindowSet().to_arrays("window_set_name", order_by="window_set_name")
        raise NotFoundError(
            f"there is no set of windows {named!r}", expected=f"one of {', '.join(names) or responses.TRIAL_WINDOWS}",
            do="Insert it with schemas.WindowSet.add",
        )  # fmt: skip
    return found[0]


def fill_means(
    eids: Sequence[str], windows: str | responses.WindowSet | None = None, *, progress: bool = False
) -> dict:
    """Compute the missing trial-type means of sessions; return the key of the set of windows.

    Raises
    ------
    NotFoundError
        A session has none, because it has no trials or activity, or its jobs failed; or as ``window_set``.
    """
    key, sessions = window_set(windows), [{"eid": eid} for eid in eids]
    ResponseTask.ask(eids, key)
    done = fill([Behavior, TrialTypeMean], sessions, progress=progress)
    there = set((TrialTypeMean & key & sessions).to_arrays("eid"))
    for eid in eids:
        if eid not in there:
            unfinished = map(str, done.unfinished)
            raise NotFoundError(
                "the session has no trial-type means", eid=eid, found="; ".join([_why_none(eid), *unfinished])
            )
    return key


def _why_none(eid: str) -> str:
    """Return why a session has no trial-type means."""
    reasons = [row["message"] for row in errors_of([Behavior, TrialTypeMean], {"eid": eid})]
    return "; ".join(reasons) or "no trials, or no activity"


def trial_type_frame(restriction: Any, *, neurons_only: bool = True) -> pd.DataFrame:
    """Return stored trial-type means as a table with a row for each ROI and window.

    Parameters
    ----------
    restriction
        On ``TrialTypeMean``, such as ``{"eid": eid}`` with the key of a set of windows.
    neurons_only : bool
        Neurons only, or all ROIs.

    Returns
    -------
    DataFrame
        eid, fov, roi, window, n, mean, sem, even, odd. Of one session of 5,000 neurons and 26 windows 130,000 rows: the
        arrays of ``means_of`` are smaller.
    """
    import pandas as pd

    parts = []
    for key in (TrialTypeMean & restriction).keys(order_by="KEY"):
        means, place = means_of(key), {"eid": key["eid"], "fov": key["fov"]}
        rois = ROI & place & ("is_neuron" if neurons_only else True)
        numbers = np.sort(rois.to_arrays("roi").astype(int))
        n_windows = len(means.windows)
        parts.append(pd.DataFrame({
            **place, "roi": np.repeat(numbers, n_windows), "window": np.tile(means.windows, len(numbers)),
            **{name: getattr(means, name)[:, numbers].T.ravel() for name in ("n", "mean", "sem", "even", "odd")},
        }))  # fmt: skip
    columns = ["eid", "fov", "roi", "window", "n", "mean", "sem", "even", "odd"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


@dataclass
class CellsRun:
    """What the single cells of a session tell.

    Attributes
    ----------
    eid : str
    cells : list of dict
        A row for each ROI: eid, fov, roi, is_neuron, region (with its layer), beryl (without), signal_to_noise,
        split_half, sparseness, and for each target auroc, p and q (Benjamini and Hochberg over the listed cells) as
        ``auroc_choice``, ``auroc_p_choice`` ...
    targets : list of dict
        Trials of each target by FOV: rows of CellResponse.Target.
    n_shuffles : int
        Of each target; the smallest p is 1 / (n_shuffles + 1).
    """

    eid: str
    cells: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    n_shuffles: int

    @property
    def notes(self) -> list[str]:
        """A note on targets of which no cell is selective, where only many together could be, by their number."""
        without: dict[int, list[str]] = {}
        for target in TARGETS:
            q = [cell[f"auroc_q_{target}"] for cell in self.cells if cell.get(f"auroc_q_{target}") is not None]
            if q and not significant(min(q)) and not significant(least_q(len(q), self.n_shuffles)):
                without.setdefault(len(q), []).append(target)
        least = f"with {self.n_shuffles} null labels p is {1 / (self.n_shuffles + 1):.2g} or more"
        return [
            f"session {self.eid}: no cell is selective for {', '.join(names)}, but {least}, and "
            f"{_too_few(n, together_needed(n, self.n_shuffles))} cannot reach q = {ALPHA}; with "
            f"n_label_shuffles={shuffles_needed(n)} (--shuffles) a single clear one could"
            for n, names in without.items()
        ]

    @property
    def table(self) -> pd.DataFrame:
        """The cells as a table."""
        import pandas as pd

        return pd.DataFrame(self.cells)


def run_cells(
    eid: str, *, windows: str | responses.WindowSet | None = None, settings: SelectivitySettings | None = None,
    neurons_only: bool = True, progress: bool = False,
) -> CellsRun:  # fmt: skip
    """Compute what the single cells of a session tell, unless it is stored, and return it.

    Parameters
    ----------
    eid : str
        Of a session that has been read.
    windows : str or WindowSet, optional
        Name of a set, or a set; by default the 26 trial windows.
    settings : SelectivitySettings, optional
    neurons_only : bool
        Neurons only, or all ROIs.
    progress : bool

    Raises
    ------
    NotFoundError
        The session has no trials or activity, or its jobs failed.
    """
    settings = settings or SelectivitySettings()
    key = {"eid": eid, **fill_means([eid], windows, progress=progress), **SelectivityParams.add(settings)}
    CellTask.insert1(key, skip_duplicates=True)
    fill([CellResponse], key, progress=progress)
    if not (CellResponse & key):
        reasons = [row["message"] for row in errors_of([CellResponse], key)]
        raise NotFoundError("the cells of the session could not be computed", eid=eid, found="; ".join(reasons) or None)
    rois = ROI.proj("is_neuron", "region_id") & ("is_neuron" if neurons_only else True)
    rows = (CellResponse.Cell & key) * rois
    found = {(row["fov"], row["roi"]): row for row in rows.to_dicts(order_by="fov, roi")}
    acronyms, beryl = (_names(column, {row["region_id"] for row in found.values()}) for column in ("acronym", "beryl"))
    cells = {
        place: {
            "eid": eid, "fov": row["fov"], "roi": row["roi"], "is_neuron": bool(row["is_neuron"]),
            "region": acronyms.get(row["region_id"], "unknown"),
            "beryl": beryl.get(row["region_id"], "unknown"),
            **{name: row[name] for name in ("signal_to_noise", "split_half", "sparseness")},
        }
        for place, row in found.items()
    }  # fmt: skip
    _add_selectivity(cells, (CellResponse.Selectivity & key).to_dicts(order_by="cell_target, fov, roi"))
    targets = (CellResponse.Target & key).to_dicts(order_by="fov, cell_target")
    return CellsRun(eid, list(cells.values()), targets, settings.n_label_shuffles)


def _names(column: str, region_ids: set[int | None]) -> dict[int, str]:
    """Return the names of regions by id, in a column of BrainRegion."""
    known = [{"region_id": int(one)} for one in region_ids if one is not None]
    return {row["region_id"]: row[column] for row in (BrainRegion & known).to_dicts()} if known else {}


def _add_selectivity(cells: dict[tuple[int, int], dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Add AUROC, p and q of each target to the cells that are listed."""
    for target in sorted({row["cell_target"] for row in rows}):
        shown = [row for row in rows if row["cell_target"] == target and (row["fov"], row["roi"]) in cells]
        p = np.array([np.nan if row["auroc_p"] is None else row["auroc_p"] for row in shown], dtype=float)
        for row, q in zip(shown, benjamini_hochberg(p), strict=True):
            cells[row["fov"], row["roi"]] |= {
                f"auroc_{target}": row["auroc"], f"auroc_p_{target}": row["auroc_p"],
                f"auroc_q_{target}": None if np.isnan(q) else float(q),
            }  # fmt: skip


def _too_few(n: int, needed: int) -> str:
    """Return which numbers of n cells cannot be selective, where so many are needed."""
    return f"fewer than {needed} cells of {n}" if needed <= n else f"even all {n} cells"


@dataclass
class StabilityRun:
    """Stability of the responses of the shared cells of a set of sessions.

    Attributes
    ----------
    subject : str
    task : dict
        Key of StabilityTask.
    sessions : list of dict
        eid, session_date and session_number, by date.
    windows : list of str
        Names of the windows that are compared.
    n_cells, n_shared : int
        Cells that are compared, and cells that the sessions share.
    days, pairs, gaps, slopes, controls : list of dict
        Rows of the parts of Stability, without arrays; ``stable_region`` is ``region``, ``pair_gap`` is ``gap_days``.
    notes : list of str
        What is lacking, and why.
    """

    subject: str
    task: dict
    sessions: list[dict[str, Any]] = field(default_factory=list)
    windows: list[str] = field(default_factory=list)
    n_cells: int = 0
    n_shared: int = 0
    days: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    slopes: list[dict[str, Any]] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """Pairs of sessions: first_eid, second_eid, similarity, gap_days, pair_observed, pair_stability, and p."""
        return _frame(self.pairs)

    @property
    def by_gap(self) -> pd.DataFrame:
        """Stability by region, similarity and distance in days, with its interval."""
        return _frame(self.gaps)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)


def run_stability(
    eids: Sequence[str], run: dict, *, windows: str | responses.WindowSet | None = None,
    settings: StabilitySettings | None = None, mixed_signals: bool = False, progress: bool = False, **rule: Any,
) -> StabilityRun:  # fmt: skip
    """Compute the stability of the shared cells of sessions, unless it is stored, and return it.

    Parameters
    ----------
    eids : sequence of str
        Two or more sessions of one subject that have been read.
    run : dict
        Key of a TrackingRun.
    windows : str or WindowSet, optional
        Name of a set, or a set; by default the 26 trial windows.
    settings : StabilitySettings, optional
    mixed_signals : bool
        Also compare sessions that were read with different signals, as former versions did.
    progress : bool
    **rule
        Which cells count: see SessionSet.

    Raises
    ------
    DataError
        Fewer than two sessions have tracked cells and trials, they share no cell, or they were read with different
        signals. Or they were deleted, or their files read again, meanwhile.
    """

    def ask() -> tuple[StabilityRun, bool]:
        found, unfinished = _run_once(eids, run, window_set(windows), settings, rule, mixed_signals, progress)
        lacking = NOT_YET in found.notes and not unfinished
        found.notes[:0] = unfinished
        return found, lacking

    return ask_again(ask)


def _run_once(
    eids: Sequence[str], run: dict, key: dict, settings: StabilitySettings | None, rule: dict[str, Any],
    mixed_signals: bool, progress: bool,
) -> tuple[StabilityRun, list[str]]:  # fmt: skip
    """Do what ``run_stability`` does, once; return also what other workers have not finished."""
    ResponseTask.ask(eids, key)
    fill([Behavior, TrialTypeMean], [{"eid": eid} for eid in eids], progress=progress)
    with_means = set((TrialTypeMean & key & [{"eid": eid} for eid in eids]).to_arrays("eid"))
    session_set, failed = shared_set([eid for eid in eids if eid in with_means], run, progress=progress, **rule)
    n_shared_cells(session_set)
    if not mixed_signals:
        check_same_signal(session_set, do="Leave out sessions")
    failed |= {eid: f"session {eid} has no trial-type means: {_why_none(eid)}" for eid in eids if eid not in with_means}
    task = StabilityTask.add(session_set, key, StabilityParams.add(settings))
    done = fill([Stability], task, progress=progress)
    found = stored_stability(task)
    found.notes[:0] = failed.values()
    return found, [str(jobs) for jobs in done.unfinished]


def stored_stability(task: dict) -> StabilityRun:
    """Return the stored stability of a task without computing anything."""
    members = (SessionSet.Member & {"session_set": task["session_set"]}).proj()
    sessions = (
        (Session & members)
        .proj("session_date", "session_number")
        .to_dicts(order_by="session_date, session_number, eid")
    )
    subject = str((SessionSet & {"session_set": task["session_set"]}).fetch1("subject"))
    run = StabilityRun(subject, task, sessions, n_shared=n_shared_cells({"session_set": task["session_set"]}))
    rows = (Stability & task).to_dicts()
    if not rows:
        run.notes = [row["message"] for row in errors_of([Stability], task)] or [NOT_YET]
        return run
    run.n_cells, run.windows = rows[0]["n_stable_cells"], list(rows[0]["stable_windows"])
    run.days = _rows_of(Stability.Day.proj(..., "-cell_reliability"), task, "similarity, eid")
    run.pairs = _rows_of(
        Stability.Pair.proj(..., "-cell_similarity", gap_days="pair_gap"), task, "similarity, gap_days, first_eid"
    )
    run.gaps = _rows_of(Stability.Gap.proj(..., region="stable_region"), task, "region, similarity, gap_days")
    run.slopes = _rows_of(Stability.Slope.proj(..., region="stable_region"), task, "region, similarity")
    run.controls = _rows_of(Stability.Control, task, "stability_control, gap_days")
    run.notes = _notes(run)
    if different := read_with({"session_set": task["session_set"]}):
        run.notes.append(note_of(different, do=""))
    return run


def _rows_of(part: Any, task: dict, order_by: str) -> list[dict[str, Any]]:
    """Return the rows of a part without the key of the task."""
    return [
        {name: value for name, value in row.items() if name not in task}
        for row in (part & task).to_dicts(order_by=order_by)
    ]


def _notes(run: StabilityRun) -> list[str]:
    """Return what was left out: days without reliability, cells and windows."""
    date_of = {row["eid"]: f"{row['session_date']}" for row in run.sessions}
    notes = []
    for measure in responses.MEASURES:
        lost = [row for row in run.days if row["similarity"] == measure and not row["is_reliable"]]
        if lost:
            listed = ", ".join(
                f"{date_of[row['eid']]} ({_text(row['day_reliability'])})"
                for row in sorted(lost, key=lambda row: date_of[row["eid"]])
            )
            notes.append(f"{measure}: no reliability, so no stability, on {listed}")
    if run.n_cells < run.n_shared:
        notes.append(f"{run.n_shared - run.n_cells} of {run.n_shared} cells do not respond on every day: left out")
    return notes


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
