"""Which cells are decoded: the cells shared by all sessions of a set, or as many random ones of each session.

Random ones are of all cells, of those that are not tracked, or of those that are lost later: beside the shared cells
they show whether the cells that stay are special (survivorship).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import replace

import datajoint as dj
import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.trials import seed_sequence
from pipeline.errors import DataError
from schemas.imaging.tables import FOV, ROI, BrainRegion
from schemas.rows import in_fovs
from schemas.session import Session
from schemas.storage.bulk import columns
from schemas.tracking import SessionSet, SharedCells, TrackedFOV

#: Columns of the cells: what decoding needs of them.
CELL_COLUMNS = ("fov", "roi", "region_id", "stack_y", "stack_x", "signal")


def population(key: dict, settings: NDCSettings) -> dict[str, np.ndarray]:
    """Return the cells to decode in a session, in a fixed order.

    Shared cells are in the order of SharedCells. ``regions`` and ``fovs`` select them by their region and FOV in the
    first session of the set by date, so that the same cells are compared on all days. Random cells are drawn, with a
    seed from ``cells_seed`` and the session, from the FOVs that the set compares and by the set's quality rules; they
    are ordered by FOV and ROI. There are as many as shared cells; of untracked and lost ones, ``n_cells`` if it is set,
    because fewer may be there.

    Parameters
    ----------
    key : dict
        With ``session_set`` and ``eid``.
    settings : NDCSettings

    Returns
    -------
    dict of str to (n,) array
        ``fov``, ``roi``, ``region_id``, ``stack_y``, ``stack_x``, ``signal``.

    Raises
    ------
    DataError
        No shared cell, or fewer than ``n_cells``, are in the regions and FOVs of the settings; or there are too few
        cells to draw from.
    """
    places = _shared_places(key, settings)
    if len(places) < settings.n_cells:
        raise DataError(
            "too few shared cells for a curve up to n_cells", eid=key["eid"], expected=f"{settings.n_cells} or more",
            found=f"{len(places)}", do=f"Use n_cells={len(places)} or less for all regions that are compared",
        )  # fmt: skip
    if settings.cells != "shared":
        number = settings.n_cells if settings.n_cells and settings.cells != "random" else len(places)
        return _random_cells(key, settings, number)
    return {name: column[places] for name, column in _shared_cells(key).items()}


def signal_of(cells: dict[str, np.ndarray]) -> str:
    """Return what cells were read with: 'deconvolved', 'fluorescence', or both where FOVs differ."""
    return ", ".join(sorted(set(cells["signal"].tolist())))


def n_cells_inside(session_set: dict, settings: NDCSettings) -> int:
    """Return the number of shared cells of a set in the regions and FOVs of the settings.

    Raises
    ------
    DataError
        There is none.
    """
    eid = (SessionSet.Member & session_set).to_arrays("eid", limit=1)[0]
    return len(_shared_places({**session_set, "eid": eid}, settings))


def _shared_cells(key: dict) -> dict[str, np.ndarray]:
    """Return ``CELL_COLUMNS`` of all shared cells in a session, each (n_shared,), in their order."""
    cells = SharedCells.Cell & {"session_set": key["session_set"], "eid": key["eid"]}
    rows = cells.proj() * SharedCells.Cell.proj("fov", "roi") * ROI.proj("region_id", "stack_y", "stack_x")
    found = columns(rows * FOV.proj("signal"), *CELL_COLUMNS, order_by=("shared_cell",))
    return dict(zip(CELL_COLUMNS, found, strict=True))


def _shared_places(key: dict, settings: NDCSettings) -> np.ndarray:
    """Return the indices, among the shared cells, of those in the regions and FOVs of the settings."""
    first = sessions_by_date(key)[0]
    cells = _shared_cells({**key, "eid": first})
    if not len(cells["fov"]):
        raise DataError("no cell is tracked in all sessions of the set", eid=key["eid"], expected="1 or more",
                        found="0")  # fmt: skip
    places = np.flatnonzero(_inside(cells, settings))
    if not len(places):
        raise DataError(
            "no shared cell is in the requested regions and FOVs", eid=first, expected=_requested(settings),
            found=_where(cells), do="Use other regions or fovs; those of a cell are taken from the set's first session",
        )  # fmt: skip
    return places


def of_each_kind(session_set: dict, settings: NDCSettings) -> tuple[list[NDCSettings], list[str]]:
    """Return settings of the shared cells, of as many untracked ones, and of as many that are lost later.

    ``n_cells`` is the fewest that any session has of any kind; of lost ones the last session has none.

    Parameters
    ----------
    session_set : dict
    settings : NDCSettings

    Returns
    -------
    list of NDCSettings
        Without the kind of which a session has fewer than the smallest k.
    list of str
        Remarks on these.

    Raises
    ------
    DataError
        Only shared cells are left.
    """
    eids = sessions_by_date(session_set)
    shared, *others = (replace(settings, cells=cells, n_cells=0) for cells in ("shared", "untracked", "lost"))
    kinds, numbers, notes = [shared], [n_cells_inside(session_set, shared)], []
    for kind in others:
        fewest, eid = min(
            (len(_candidates({**session_set, "eid": eid}, kind)[1]), eid)
            for eid in (eids[:-1] if kind.cells == "lost" else eids)
        )
        if fewest >= min(settings.ks):
            kinds.append(kind)
            numbers.append(fewest)
        else:
            few = f"session {eid} has {fewest}, fewer than k = {min(settings.ks)}"
            notes.append(f"no curves of {kind.cells} cells: {few}")
    if len(kinds) == 1:
        raise DataError(
            "too few cells to compare with those that stay", expected=f"{min(settings.ks)} or more, the smallest k",
            found="; ".join(notes), do="Use smaller ks, or leave these sessions out",
        )  # fmt: skip
    return [replace(kind, n_cells=settings.n_cells or min(numbers)) for kind in kinds], notes


def sessions_by_date(session_set: dict) -> list[str]:
    """Return the sessions of a set, the first one first."""
    members = (SessionSet.Member & {"session_set": session_set["session_set"]}).proj()
    eids: list[str] = (Session & members).to_arrays("eid", order_by="session_date, session_number, eid").tolist()
    return eids


def _candidates(key: dict, settings: NDCSettings) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return cells of a session by the rules of its set, shared or not, and the indices of those to draw from."""
    rule = (SessionSet & {"session_set": key["session_set"]}).fetch1()
    rois = ROI & (SessionSet.FOV & {"session_set": key["session_set"], "eid": key["eid"]}).proj()
    if rule["set_neurons_only"]:
        rois = rois & "is_neuron"
    # repr gives every digit of a float, so that the limit is the one that was stored
    if rule["min_cell_probability"] is not None:
        rois = rois & f"cell_probability >= {rule['min_cell_probability']!r}"
    if settings.cells == "untracked":
        rois = rois - _tracked(key).proj()
    elif settings.cells == "lost":
        rois = rois & _lost(key, rule)
    values = columns(rois * FOV.proj("signal"), *CELL_COLUMNS, order_by=("fov", "roi"))
    cells = dict(zip(CELL_COLUMNS, values, strict=True))
    return cells, np.flatnonzero(_inside(cells, settings))


def _random_cells(key: dict, settings: NDCSettings, number: int) -> dict[str, np.ndarray]:
    """Draw cells of a session, whether or not they are shared, by the same rules as for shared cells."""
    cells, candidates = _candidates(key, settings)
    if len(candidates) < number:
        raise DataError(
            f"too few {'' if settings.cells == 'random' else settings.cells + ' '}cells to draw random cells from",
            eid=key["eid"], expected=f"{number} or more, the number of shared cells, or n_cells",
            found=f"{len(candidates)}; {_where(cells)}",
            do=None if settings.cells == "random" else "Use a smaller n_cells for all cells that are compared",
        )  # fmt: skip
    rng = np.random.default_rng(seed_sequence(settings.cells_seed, key["eid"]))
    drawn = np.sort(rng.choice(candidates, number, replace=False))
    return {name: column[drawn] for name, column in cells.items()}


def _tracked(key: dict) -> dj.QueryExpression:
    """Return the ROIs of a session that are tracked cells, in the FOVs that a set compares."""
    return TrackedFOV.Member & (SessionSet.FOV & {name: key[name] for name in ("session_set", "eid")}).proj()


def _lost(key: dict, rule: dict) -> list[str]:
    """Return a restriction to the tracked ROIs of a session whose cells are in no later session of a set.

    Raises
    ------
    DataError
        It is the last session of the set.
    """
    eids = sessions_by_date(key)
    later = eids[eids.index(key["eid"]) + 1 :]
    if not later:
        raise DataError("no cell of the last session of a set is lost later", eid=key["eid"],
                        do="Read the curves of the other sessions; this one has none with cells='lost'")  # fmt: skip
    found_again: set[str] = set()
    for eid in later:
        found_again |= set(_tracked({**key, "eid": eid}).to_arrays("cell_uid"))
    own = _tracked(key)
    if rule["min_silhouette"] is not None:
        own = own & f"silhouette >= {rule['min_silhouette']!r}"
    fovs, rois, uids = own.to_arrays("fov", "roi", "cell_uid", order_by="fov, roi")
    lost = np.array([uid not in found_again for uid in uids.tolist()], dtype=bool)
    return in_fovs(fovs[lost].astype(int), rois[lost].astype(int))


def _inside(cells: dict[str, np.ndarray], settings: NDCSettings) -> np.ndarray:
    """Return which cells are in the regions and FOVs of the settings, (n,) bool."""
    inside = np.ones(len(cells["fov"]), dtype=bool)
    if settings.fovs:
        inside &= np.isin(cells["fov"].astype(int), settings.fovs)
    if settings.regions:
        within = regions_within(settings.regions)
        inside &= np.array([region in within for region in cells["region_id"]], dtype=bool)
    return inside


def regions_within(acronyms: Collection[str]) -> set[int]:
    """Return the ids of regions and of all regions within them, in both hemispheres.

    Raises
    ------
    DataError
        The Allen atlas has no region with one of the acronyms.
    """
    if not acronyms:
        return set()
    children, named = defaultdict(list), defaultdict(list)
    atlas = columns(BrainRegion(), "region_id", "acronym", "parent_id", order_by=("region_id",))
    for region_id, acronym, parent in zip(*atlas, strict=True):
        children[parent].append(int(region_id))
        named[acronym].append(int(region_id))
    unknown = [acronym for acronym in acronyms if acronym not in named]
    if unknown:
        raise DataError(
            f"{', '.join(unknown)}: not a region of the Allen atlas", expected="acronyms, e.g. VISp or VISp2/3",
            do="schemas.BrainRegion lists them",
        )  # fmt: skip
    # walk down the tree of regions
    found: set[int] = set()
    waiting = [region_id for acronym in acronyms for region_id in named[acronym]]
    while waiting:
        region_id = waiting.pop()
        if region_id not in found:
            found.add(region_id)
            waiting += children[region_id]
    return found


def _requested(settings: NDCSettings) -> str:
    regions = f"regions {', '.join(settings.regions)}" if settings.regions else ""
    fovs = f"FOVs {', '.join(map(str, settings.fovs))}" if settings.fovs else ""
    return " and ".join(filter(None, (regions, fovs)))


def _where(cells: dict[str, np.ndarray]) -> str:
    """Return the numbers of cells by region, the largest ten first, and by FOV, as text."""
    ids = [{"region_id": int(i)} for i in {i for i in cells["region_id"] if i is not None}]
    names = {row["region_id"]: row["acronym"] for row in (BrainRegion & ids).to_dicts()} if ids else {}
    regions = Counter(names.get(i, "no region") for i in cells["region_id"])
    fovs = Counter(f"FOV_{int(fov):02d}" for fov in cells["fov"])
    return "cells in " + ", ".join(f"{name} {n}" for name, n in [*regions.most_common(10), *sorted(fovs.items())])
