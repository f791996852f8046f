"""Computing curves for sessions and settings: the steps from UID files to NDCComparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.decoding import NDCSettings
from pipeline.errors import DataError
from schemas.decoding.populations import n_cells_inside, of_each_kind, sessions_by_date
from schemas.decoding.possible import check_possible
from schemas.decoding.results import Failure, NDCRun, TargetRun, stored_run
from schemas.decoding.same_signal import check_same_signal
from schemas.decoding.tables import NDCComparison, NDCFamily, NDCParams, NDCResult, NDCTask, TrialFeatures
from schemas.imaging.signals import Signal, SignalParams
from schemas.queries.cells import n_shared_cells
from schemas.queries.tracking_runs import reasons_untracked
from schemas.session import Behavior
from schemas.tracking import SessionSet, SharedCells, TrackedCell, TrackedFOV, TrackingFile
from schemas.work.filling import ask_again, fill

__all__ = ["Failure", "NDCRun", "TargetRun", "match_cells", "run_ndc", "shared_set", "stored_run", "without_result"]


def run_ndc(
    eids: Sequence[str],
    run: dict,
    settings: Sequence[NDCSettings],
    *,
    by_region: Sequence[str] = (),
    survivorship: bool = False,
    neurons_only: bool = True,
    min_cell_probability: float | None = None,
    min_silhouette: float | None = None,
    mixed_signals: bool = False,
    progress: bool = False,
) -> NDCRun:
    """Insert the tasks for the curves of a set of sessions, compute the missing curves, and return all.

    Parameters
    ----------
    eids : sequence of str
        Registered sessions of one subject whose FOVs have been read.
    run : dict
        Key of a TrackingRun.
    settings : sequence of NDCSettings
        One for each target; repeated settings count once.
    by_region : sequence of str
        Acronyms of the Allen atlas: curves of each region instead, all of a target up to the same largest k.
    survivorship : bool
        Also curves of as many untracked cells, and of as many that are lost later, all up to the same largest k.
    neurons_only, min_cell_probability, min_silhouette
        Which cells count: see SessionSet.
    mixed_signals : bool
        Also decode sessions that were read with different signals, each from its own. The results are those of former
        versions, and have a note.
    progress : bool

    Returns
    -------
    NDCRun
        As returned by ``stored_run``, with the sessions without tracked cells added to ``unusable``.

    Raises
    ------
    DataError
        There are fewer than two sessions, a session is of another subject, no cell, or none of one of the regions, is
        in all sessions, or the sessions were read with different signals and the settings name none.
    SettingsError
        No trial of any session meets a condition on the trials, or no session has trials as long as a window.
    """
    if len(set(eids)) < 2:
        raise DataError(
            "at least two sessions are needed to compare curves", expected="2 or more", found=f"{len(set(eids))}"
        )
    rule: dict[str, Any] = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    rule["neurons_only"] = neurons_only

    def ask() -> tuple[NDCRun, bool]:
        found, unfinished = _run_once(eids, run, settings, by_region, survivorship, rule, mixed_signals, progress)
        lacking = without_result(found, [target.curves for target in found.targets])
        # without these notes the curves that are computed elsewhere, or were lost, would seem not to exist
        found.notes += [*unfinished, *lacking]
        return found, bool(lacking) and not unfinished

    return ask_again(ask)


def _run_once(
    eids: Sequence[str], run: dict, settings: Sequence[NDCSettings], by_region: Sequence[str], survivorship: bool,
    rule: dict[str, Any], mixed_signals: bool, progress: bool,
) -> tuple[NDCRun, list[str]]:  # fmt: skip
    """Do what ``run_ndc`` does, once; return also what other workers have not finished."""
    fill([Behavior], [{"eid": eid} for eid in eids], progress=progress)
    check_possible(eids, settings)
    session_set, failed = shared_set(eids, run, progress=progress, **rule)
    n_shared_cells(session_set)  # raises if there are none, before tasks are inserted that would all fail
    settings = _of_each_region(session_set, settings, by_region) if len(by_region) else settings
    settings, left_out = _of_each_kind(session_set, settings) if survivorship else (settings, [])
    if not mixed_signals:
        check_same_signal(session_set, settings)
    params = NDCParams.add_all(settings)
    NDCTask.ask(session_set, params)
    fill_signals(session_set, settings, progress=progress)
    steps = [fill([TrialFeatures, NDCResult], session_set, params, progress=progress)]
    family = NDCFamily.add([{**session_set, **key} for key in params])
    steps.append(fill([NDCComparison], family, progress=progress))
    found = stored_run(session_set, params)
    # at the front: these sessions are not in the set, so nothing stored knows of them
    found.unusable[:0] = [Failure(eid, "", "TrackedFOV", message) for eid, message in failed.items()]
    found.notes += left_out
    return found, [str(jobs) for step in steps for jobs in step.unfinished]


def without_result(found: Any, rows: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """Return a note for each session of a set that has neither a result nor a failure for a target.

    Its files were read again while the results of the set were computed, and its jobs were lost.

    Parameters
    ----------
    found : NDCRun or TransferRun
    rows : sequence of sequence of dict
        The results of each target, with ``eid``.
    """
    eids = sessions_by_date(found.session_set)
    lacking: dict[str, list[str]] = {}
    for target, results in zip(found.targets, rows, strict=True):
        known = {row["eid"] for row in results} | {one.eid for one in (*found.unusable, *target.failures)}
        asked = eids[:-1] if target.settings.cells == "lost" else eids
        for eid in (eid for eid in asked if eid not in known):
            lacking.setdefault(eid, []).append(target.name)
    return [
        f"session {eid} has neither a result nor a failure ({', '.join(names)}): its files were read again meanwhile; "
        f"ask again" for eid, names in lacking.items()
    ]  # fmt: skip


def fill_signals(session_set: dict, settings: Sequence[NDCSettings], *, progress: bool = False) -> None:
    """Compute the requested signals of a set of sessions, if there are any; parameters as for ``run_ndc``."""
    if asked := [SignalParams.key_of(one.own_signal) for one in settings if one.own_signal]:
        eids = (SessionSet.Member & session_set).to_arrays("eid")
        fill([Signal], [{"eid": eid} for eid in eids], asked, progress=progress)


def shared_set(eids: Sequence[str], run: dict, *, progress: bool = False, **rule: Any) -> tuple[dict, dict[str, str]]:
    """Return the key of the set of those sessions that have tracked cells, and the reasons by eid for the others.

    Parameters
    ----------
    eids, run, progress
        As for ``run_ndc``.
    **rule
        Which cells count: see SessionSet.

    Raises
    ------
    DataError
        Fewer than two sessions have tracked cells.
    """
    tracked, failed = match_cells(eids, run, progress=progress)
    if len(tracked) < 2:
        raise DataError("fewer than two sessions have tracked cells", do="; ".join(failed.values()) or None)
    session_set = SessionSet.add(tracked, run, **rule)
    fill([SharedCells], session_set, progress=progress)
    return session_set, failed


def _of_each_region(
    session_set: dict, settings: Sequence[NDCSettings], regions: Sequence[str]
) -> list[NDCSettings]:  # fmt: skip
    """Return each of the settings once for each region, with the same largest k, so that regions can be compared."""
    found = []
    for one in settings:
        of_regions = [replace(one, regions=(region,)) for region in regions]
        fewest = min(n_cells_inside(session_set, of_region) for of_region in of_regions)
        found += [replace(of_region, n_cells=one.n_cells or fewest) for of_region in of_regions]
    return found


def _of_each_kind(session_set: dict, settings: Sequence[NDCSettings]) -> tuple[list[NDCSettings], list[str]]:
    """Return each of the settings once for each kind of cells, and remarks on the kinds that are left out."""
    found = [of_each_kind(session_set, one) for one in settings]
    remarks = dict.fromkeys(note for _, notes in found for note in notes)
    return [one for kinds, _ in found for one in kinds], list(remarks)


def match_cells(eids: Sequence[str], run: dict, *, progress: bool = False) -> tuple[list[str], dict[str, str]]:
    """Match the UIDs of a tracking run to the ROIs of sessions.

    Returns
    -------
    list of str
        The sessions with at least one FOV whose UID file fits its ROIs.
    dict of str to str
        Reason by eid, for the others.
    """
    fill([TrackedCell], run, progress=progress)
    fill([TrackedFOV], run, [{"eid": eid} for eid in eids], progress=progress)
    found = set((TrackedFOV & run).to_arrays("eid"))
    missing = [eid for eid in eids if eid not in found]
    reasons = _reasons_without_cells(run, missing) if missing else {}
    return [eid for eid in eids if eid in found], reasons


def _reasons_without_cells(run: dict, eids: Sequence[str]) -> dict[str, str]:
    """Return the reason why each session has no tracked cells, by eid."""
    reasons: dict[str, str] = {}
    for (eid, _), message in reasons_untracked(run, [{"eid": eid} for eid in eids]).items():
        reasons.setdefault(eid, message)
    files = set((TrackingFile & run).to_arrays("eid"))
    no_file = "the tracking run has no UID file for it; if there is one now, register again with: meso track"
    return {
        eid: f"session {eid} has no tracked cells: {reasons.get(eid, no_file) if eid in files else no_file}"
        for eid in eids
    }
