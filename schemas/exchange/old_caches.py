"""Importing caches of IBL's mesoscope scripts: their rows are matched to ROIs by their traces.

A row of a cache belongs to the ROI whose trace is identical, bit for bit. So the match holds for filtered caches and
after a new curation of the ROIs. A row whose file was revised since matches no ROI, and is left out, and so are rows
whose traces are alike (cells that were never active).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError, NotFoundError
from pipeline.old_caches.caches import BLOCK_BYTES, OldCache, curves_in, read_old_cache, read_old_curves, trace_digest
from schemas.embedding import ImportedOrder
from schemas.imaging.reading import fov_traces
from schemas.imaging.tables import FOV, ROI, Activity, BrainRegion
from schemas.provenance import now
from schemas.session import Session
from schemas.storage import bulk

#: FOV and ROI.
Cell = tuple[int, int]


@dataclass
class ImportedCache:
    """What was imported from an activity cache, and what was not.

    Attributes
    ----------
    file, eid, sha256 : str
    n_rows, n_matched : int
        Rows of the cache, and rows whose ROI was found.
    n_new : int
        Ranks inserted now, or to be inserted (``dry_run``); 0 if all were in the database.
    n_same_regions, n_same_xyz : int or None
        Matched rows with the same region and the same position as in the database, which has the final (histology) ones
        where they exist; None if the cache has no regions, or no positions, of the right length.
    not_found, ambiguous : list of int
        Rows whose trace no ROI has; rows whose trace several rows or ROIs have.
    dry_run : bool
    """

    file: str
    eid: str
    sha256: str
    n_rows: int
    n_matched: int
    n_same_regions: int | None
    n_same_xyz: int | None
    not_found: list[int]
    ambiguous: list[int]
    n_new: int
    dry_run: bool

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {"taken": "order", **asdict(self)}

    def lines(self) -> list[str]:
        """Return the report for the screen, line by line."""
        done = "would be imported" if self.dry_run else "imported" if self.n_new else "imported before"
        lines = [
            (
                f"{done}: the order of {self.n_matched} of {self.n_rows} cells of session {self.eid}, matched to ROIs "
                "by identical traces (ImportedOrder)"
            )
        ]
        if self.not_found:
            lines.append(
                f"left out: {_rows(self.not_found)}: no ROI has this trace. The files were revised since, the cache "
                "has another signal, or the FOV is not in the database"
            )
        if self.ambiguous:
            lines.append(f"left out: {_rows(self.ambiguous)}: several rows or ROIs have this trace, as silent cells do")
        same = [
            f"{name} of {n} rows are the same in the database"
            for name, n in (("regions", self.n_same_regions), ("positions", self.n_same_xyz))
            if n is not None
        ]
        lines.append(
            "not imported: activity, times, regions, colours, positions, which are read from the files through ONE"
            + (f" ({', '.join(same)})" if same else "")
        )
        return lines


@dataclass
class OldCurves:
    """Curves that were read but not inserted: the file does not tell their cells, parameters and software versions.

    Attributes
    ----------
    file : str
    content : dict or list
        The whole file, as JSON values.
    """

    file: str
    content: Any = field(repr=False)

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {"taken": None, "file": self.file, "content": self.content}

    def lines(self) -> list[str]:
        """Return the report for the screen, line by line."""
        lines = [f"{where}: {_curve_line(curve)}" for where, curve in curves_in(self.content)]
        # text of the file could contain control sequences of the terminal
        lines = ["".join(c if c.isprintable() else "?" for c in line[:500]) for line in lines]
        note = "not imported: curves; the file does not tell their cells, parameters and versions (--json shows it all)"
        return [*lines, note]


def import_file(path: Path | str, eid: str | None = None, *, dry_run: bool = False) -> ImportedCache | OldCurves:
    """Import the order of the cells from a cache: the only content of it that ONE does not have.

    Importing a file again changes nothing.

    Parameters
    ----------
    path : path
        ``.npy`` for activity, ``.pkl`` for curves, which are read but not inserted.
    eid : str, optional
        Session of an activity cache whose name does not contain it.
    dry_run : bool
        Insert nothing.

    Raises
    ------
    DataError
        The file is not such a cache, contains more than plain data or has no order; the session is not in the database;
        or no trace matches.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        return OldCurves(path.name, read_old_curves(path))
    cache = read_old_cache(path, eid)
    _check_session(cache)
    cells, ambiguous = match_rows(cache)
    n_rows, n_frames = cache.roi_signal.shape
    if not cells:
        raise DataError(
            "no row has the same trace as a ROI", eid=cache.eid, dataset=cache.name,
            expected=f"traces as in the database: {_stored(cache.eid)}", found=f"{n_rows} x {n_frames}",
            do="The files were revised since, the cache has another signal, or it is of another session",
        )  # fmt: skip
    key = {"eid": cache.eid, "cache_sha256": cache.sha256}
    n_new = len(set(cells) - set((ImportedOrder.Rank & key).to_arrays("cache_row").tolist()))
    if n_new and not dry_run:
        _insert(cache, key, cells)
    n_same_regions, n_same_xyz = _same(cache, cells)
    return ImportedCache(
        file=cache.name, eid=cache.eid, sha256=cache.sha256, n_rows=n_rows, n_matched=len(cells), n_new=n_new,
        n_same_regions=n_same_regions, n_same_xyz=n_same_xyz,
        not_found=sorted(set(range(n_rows)) - set(cells) - set(ambiguous)), ambiguous=ambiguous, dry_run=dry_run,
    )  # fmt: skip


def _check_session(cache: OldCache) -> None:
    where: dict[str, Any] = {"eid": cache.eid, "dataset": cache.name}
    if cache.isort is None:
        raise DataError(
            "has no order to import: isort is missing, or is 0, 1, 2 ... because Rastermap was not run", **where,
            do="All other contents are read from the files: meso ingest, meso populate",
        )  # fmt: skip
    if not (Session & {"eid": cache.eid}):
        raise NotFoundError("the session is not registered", **where, do=f"Register it with: meso ingest {cache.eid}")
    if not (Activity & {"eid": cache.eid}):
        do = f"Populate it with: meso populate --eid {cache.eid}"
        raise NotFoundError("the database has no activity to compare with", **where, do=do)


def _stored(eid: str) -> str:
    """Return the FOVs with activity as text: ROIs, frames, signal."""
    fovs = (FOV & Activity & {"eid": eid}).to_dicts(order_by="fov")
    return ", ".join(f"FOV_{f['fov']:02d} {f['n_rois']} x {f['n_frames']} {f['signal']}" for f in fovs)


def match_rows(cache: OldCache) -> tuple[dict[int, Cell], list[int]]:
    """Return the ROI with the same trace, bit for bit, for each row of a cache.

    Traces are compared by digests, so that neither the cache nor the session is in memory as a whole. Which of several
    ROIs with the same trace a row is of (cells that were never active) cannot be told.

    Returns
    -------
    cells : dict of int to (int, int)
        FOV and ROI by row.
    ambiguous : list of int
        Rows whose trace several rows or ROIs have.
    """
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(cache.digests()):
        rows_of[digest].append(row)
    cells_of = _cells_of(cache.eid, rows_of)
    alone = {rows[0]: cells_of[d][0] for d, rows in rows_of.items() if len(rows) == len(cells_of.get(d, ())) == 1}
    found = [row for digest, rows in rows_of.items() if digest in cells_of for row in rows]
    return alone, sorted(set(found) - set(alone))


def _rois(eid: str, *names: str) -> dict[Cell, tuple]:
    """Return columns of the ROIs of a session by FOV and ROI."""
    fovs, numbers, *columns = bulk.columns(ROI & {"eid": eid}, "fov", "roi", *names, order_by=("fov", "roi"))
    return dict(zip(zip(fovs.tolist(), numbers.tolist(), strict=True), zip(*columns, strict=True), strict=True))


def _cells_of(eid: str, wanted: Container[bytes]) -> dict[bytes, list[Cell]]:
    """Return the ROIs of a session by the digest of their trace, only for the digests that are wanted."""
    found: dict[bytes, list[Cell]] = defaultdict(list)
    for fov in (FOV.proj("n_frames") & Activity & {"eid": eid}).to_dicts(order_by="fov"):
        (rois,) = bulk.columns(ROI & {"eid": eid, "fov": fov["fov"]}, "roi", order_by=("roi",))
        step = max(1, BLOCK_BYTES // (4 * fov["n_frames"]))  # of float32
        for start in range(0, len(rois), step):
            block = rois[start : start + step].tolist()
            for roi, trace in zip(block, fov_traces(eid, fov["fov"], block), strict=True):
                if (digest := trace_digest(trace)) in wanted:
                    found[digest].append((fov["fov"], roi))
    return found


def _same(cache: OldCache, cells: dict[int, Cell]) -> tuple[int | None, int | None]:
    """Return how many matched rows have the same region, and the same position, as in the database."""
    acronyms = dict(zip(*BrainRegion.to_arrays("region_id", "acronym"), strict=True))
    stored = _rois(cache.eid, "region_id", "ml", "ap", "dv")
    rows = list(cells)
    regions, *xyz = zip(*(stored[cells[row]] for row in rows), strict=True)
    labels = np.array([acronyms.get(region, "") for region in regions])
    same_xyz = np.float32(cache.xyz[rows]) == np.array(xyz, np.float32).T if cache.xyz is not None else None
    return (
        None if cache.region_labels is None else int((cache.region_labels[rows] == labels).sum()),
        None if same_xyz is None else int(same_xyz.all(axis=1).sum()),
    )


def _insert(cache: OldCache, key: dict, cells: dict[int, Cell]) -> None:
    rank = np.argsort(np.asarray(cache.isort))  # isort lists rows in order; its inverse is the place of each row
    master = {"cache_name": cache.name[-255:], "n_cache_rows": len(rank), "imported_at": now()}
    ranks = [
        {**key, "fov": fov, "roi": roi, "cache_row": row, "imported_rank": int(rank[row])}
        for row, (fov, roi) in cells.items()
    ]
    with ImportedOrder.connection.transaction:
        ImportedOrder.insert1({**key, **master}, skip_duplicates=True)
        ImportedOrder.Rank.insert(ranks, skip_duplicates=True)


def _rows(rows: list[int]) -> str:
    """Return numbers of rows as text, at most the first ten."""
    text = ", ".join(map(str, rows[:10]))
    return f"{len(rows)} rows ({text}{' ...' if len(rows) > 10 else ''})"


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _curve_line(curve: dict) -> str:
    """Return a curve as text: metric, ceiling and the mean score for each k."""
    scores = curve["scores"] if isinstance(curve["scores"], dict) else {}
    means = ", ".join(f"{_short(_mean(values))} for {k}" for k, values in scores.items())
    return f"{curve.get('metric')}, ceiling {_short(curve.get('ceiling'))}; {means}"


def _mean(scores: Any) -> Any:
    """Return the mean over repeats, or the stored mean where the file keeps no repeats."""
    if isinstance(scores, list):
        numbers = [score for score in scores if isinstance(score, int | float)]
        return sum(numbers) / len(numbers) if numbers else None
    return scores.get("mean") if isinstance(scores, dict) else scores
