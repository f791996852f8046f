"""Which cells are decoded: those found in every session of a set, or as many random ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.trials import seed_sequence
from pipeline.errors import DataError
from schemas.imaging.tables import FOV, ROI, BrainRegion
from schemas.session import Session
from schemas.tracking import SessionSet, SharedCells

COLUMNS = ("fov", "roi", "region_id", "stack_y", "stack_x", "signal")


def population(key: dict, settings: NDCSettings) -> dict[str, np.ndarray]:
    """Return the cells to decode in a session, in their order.

    Shared cells come in the order of SharedCells. Their region and FOV are those of the first session of the set
    by date, so that the same cells are compared on all days. Random cells are drawn by ``cells_seed`` and session
    from the FOVs that the set compares, under the set's rule for neurons, and come by FOV and ROI.

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
        No shared cell is in the regions and FOVs asked for, there are fewer than ``n_cells``, or too few to draw
        from.
    """
    places = _shared_places(key, settings)
    if len(places) < settings.n_cells:
        raise DataError(
            "too few cells for a curve up to n_cells", eid=key["eid"], expected=f"{settings.n_cells} or more",
            found=f"{len(places)}", do=f"Use n_cells={len(places)} for every region that is compared",
        )  # fmt: skip
    if settings.cells == "random":
        return _random_cells(key, settings, len(places))
    return {name: column[places] for name, column in _shared_cells(key).items()}


def number_inside(session_set: dict, settings: NDCSettings) -> int:
    """Return how many of the shared cells of a set are in the regions and FOVs asked for.

    Raises
    ------
    DataError
        None is.
    """
    eid = (SessionSet.Member & session_set).to_arrays("eid", limit=1)[0]
    return len(_shared_places({**session_set, "eid": eid}, settings))


def _shared_cells(key: dict) -> dict[str, np.ndarray]:
    """Return the columns of all shared cells in a session, in their order."""
    cells = SharedCells.Cell & {"session_set": key["session_set"], "eid": key["eid"]}
    rows = cells.proj() * SharedCells.Cell.proj("fov", "roi") * ROI.proj("region_id", "stack_y", "stack_x")
    columns = (rows * FOV.proj("signal")).to_arrays(*COLUMNS, order_by="shared_cell")
    return dict(zip(COLUMNS, columns, strict=True))


def _shared_places(key: dict, settings: NDCSettings) -> np.ndarray:
    """Return the places in SharedCells of the cells that are in the regions and FOVs asked for."""
    members = Session & (SessionSet.Member & {"session_set": key["session_set"]}).proj()
    first = members.keys(order_by="session_date, session_number, eid", limit=1)[0]["eid"]
    cells = _shared_cells({**key, "eid": first})
    if not len(cells["fov"]):
        raise DataError("no cell is tracked in all sessions of the set", eid=key["eid"], expected="1 or more",
                        found="0")  # fmt: skip
    places = np.flatnonzero(_inside(cells, settings))
    if not len(places):
        raise DataError(
            "no shared cell is in the regions and FOVs asked for", eid=first, expected=_asked(settings),
            found=_where(cells), do="Ask for other regions or fovs; the first session of the set says where a cell is",
        )  # fmt: skip
    return places


def _random_cells(key: dict, settings: NDCSettings, number: int) -> dict[str, np.ndarray]:
    """Draw cells of a session, shared or not, under the same rules."""
    rule = (SessionSet & {"session_set": key["session_set"]}).fetch1()
    rois = ROI & (SessionSet.FOV & {"session_set": key["session_set"], "eid": key["eid"]}).proj()
    if rule["set_neurons_only"]:
        rois = rois & "is_neuron"
    if rule["min_cell_probability"] is not None:
        rois = rois & f"cell_probability >= {rule['min_cell_probability']!r}"
    values = (rois * FOV.proj("signal")).to_arrays(*COLUMNS, order_by="fov, roi")
    cells = dict(zip(COLUMNS, values, strict=True))
    candidates = np.flatnonzero(_inside(cells, settings))
    if len(candidates) < number:
        raise DataError(
            "too few cells to draw random ones from", eid=key["eid"], expected=f"{number} or more, as many as shared",
            found=f"{len(candidates)}; {_where(cells)}",
        )  # fmt: skip
    rng = np.random.default_rng(seed_sequence(settings.cells_seed, key["eid"]))
    drawn = np.sort(rng.choice(candidates, number, replace=False))
    return {name: column[drawn] for name, column in cells.items()}


def _inside(cells: dict[str, np.ndarray], settings: NDCSettings) -> np.ndarray:
    """Say which cells are in the regions and FOVs asked for."""
    inside = np.ones(len(cells["fov"]), dtype=bool)
    if settings.fovs:
        inside &= np.isin(cells["fov"].astype(int), settings.fovs)
    if settings.regions:
        within = regions_within(settings.regions)
        inside &= np.array([region in within for region in cells["region_id"]], dtype=bool)
    return inside


def regions_within(acronyms: Collection[str]) -> set[int]:
    """Return the ids of regions and of all within them, of both hemispheres.

    Raises
    ------
    DataError
        The Allen atlas has no region of that acronym.
    """
    if not acronyms:
        return set()
    children, named = defaultdict(list), defaultdict(list)
    for region_id, acronym, parent in zip(*BrainRegion().to_arrays("region_id", "acronym", "parent_id"), strict=True):
        children[parent].append(int(region_id))
        named[acronym].append(int(region_id))
    unknown = [acronym for acronym in acronyms if acronym not in named]
    if unknown:
        raise DataError(
            f"{', '.join(unknown)}: no region of the Allen atlas", expected="acronyms such as VISp or VISp2/3",
            do="schemas.BrainRegion lists them",
        )  # fmt: skip
    found: set[int] = set()
    waiting = [region_id for acronym in acronyms for region_id in named[acronym]]
    while waiting:
        region_id = waiting.pop()
        if region_id not in found:
            found.add(region_id)
            waiting += children[region_id]
    return found


def _asked(settings: NDCSettings) -> str:
    regions = f"regions {', '.join(settings.regions)}" if settings.regions else ""
    fovs = f"FOVs {', '.join(map(str, settings.fovs))}" if settings.fovs else ""
    return " and ".join(filter(None, (regions, fovs)))


def _where(cells: dict[str, np.ndarray]) -> str:
    """Return how many cells are in which region and FOV, the largest numbers first."""
    ids = [{"region_id": int(i)} for i in {i for i in cells["region_id"] if i is not None}]
    names = {row["region_id"]: row["acronym"] for row in (BrainRegion & ids).to_dicts()} if ids else {}
    regions = Counter(names.get(i, "no region") for i in cells["region_id"])
    fovs = Counter(f"FOV_{int(fov):02d}" for fov in cells["fov"])
    return "cells in " + ", ".join(f"{name} {n}" for name, n in [*regions.most_common(10), *sorted(fovs.items())])
