"""The scores of cells that stay beside those of others, from the curves of a run."""

from __future__ import annotations

from typing import Any

from pipeline.decoding.fits.survivorship import CellsDifference, CellsScore, cells_difference
from schemas.decoding.results import NDCRun, TargetRun


def differences(run: NDCRun) -> dict[str, tuple[int, CellsDifference]]:
    """Return k, and the scores of k other cells less those of k shared ones, by name of the targets of other cells.

    k is the largest of all curves that is at most half of the cells: nearer to all of them, subsets do not say how much
    depends on which cells there are. Targets without intervals (``n_bootstrap=0``), and sessions that lack one of the
    curves, are left out.
    """
    found = {}
    for panels in run.panels().values():
        # with regions of their own, cells are compared with those that stay in the same region
        of_kind = {(target.settings.regions, target.settings.cells): target for target in panels.values()}
        for (regions, kind), others in of_kind.items():
            shared = of_kind.get((regions, "shared"))
            if shared and kind in ("untracked", "lost") and (compared := _compared(shared, others)):
                found[others.name] = compared
    return found


def _compared(shared: TargetRun, others: TargetRun) -> tuple[int, CellsDifference] | None:
    rows = {row["eid"]: row for row in shared.curves}
    pairs = [(rows[row["eid"]], row) for row in others.curves if row["eid"] in rows]
    both = [row for pair in pairs for row in pair]
    if not both or any(point["mean_low"] is None for row in both for point in row["curve"]):
        return None
    ks = set.intersection(*({point["k"] for point in row["curve"]} for row in both))
    usable = [k for k in ks if 2 * k <= min(row["n_cells"] for row in both)]
    if not usable:
        return None
    k = max(usable)
    found = cells_difference(*([_score(row, k) for row in rows_of] for rows_of in zip(*pairs, strict=True)))
    return k, found


def _score(row: dict[str, Any], k: int) -> CellsScore:
    """Return the score of k cells of a curve."""
    (point,) = (point for point in row["curve"] if point["k"] == k)
    return CellsScore(
        point["score_mean"], point["score_sd"], point["mean_low"], point["mean_high"], k, row["n_cells"]
    )  # fmt: skip
