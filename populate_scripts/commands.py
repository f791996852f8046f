"""What the larger commands do, once the arguments are read and the database is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.decoding import NDCSettings
from pipeline.errors import ConfigError, DataError
from populate_scripts.demo import raster_name, write
from schemas.decoding.run import by_region, run_ndc
from schemas.imaging.tables import ROI, BrainRegion
from schemas.queries.sessions import session_ids
from schemas.queries.tracking import tracking_run_of_sessions
from schemas.session import Session
from schemas.tracking import SessionSet, SharedCells, TrackedCell, TrackedFOV, TrackingRun
from schemas.work.filling import SESSION_TABLES, fill

if TYPE_CHECKING:
    from drawing.curves import DrawableRun


def ndc(
    eids: Sequence[str],
    subject: str | None,
    settings: Sequence[NDCSettings],
    cells: dict,
    output: Path | None,
    tracking_run: str | None = None,
    regions: Sequence[str] = (),
) -> DrawableRun:
    """Compute the curves of sessions, or of all registered sessions of a subject; of each of the regions by itself."""
    from drawing.curves import DrawableRun

    if bool(eids) == bool(subject):
        raise ConfigError("Name session ids, or --subject")
    chosen = session_ids(eids, subject)
    fill(SESSION_TABLES, [{"eid": eid} for eid in chosen], progress=True)
    run = tracking_run_of_sessions(chosen, tracking_run)
    if regions:
        settings = by_region(chosen, run, settings, regions, **cells)
    result = DrawableRun.of(run_ndc(chosen, run, settings, **cells, progress=True))
    if output:
        write(result, output, tagged=True)
    return result


def rasters(eids: Sequence[str], drawing: dict, output: Path, suffix: str) -> Iterator[Path]:
    """Draw and save the raster of each session, with options of ``meso.plot_raster``, and yield the files."""
    import meso
    from drawing.cells import embedding_of
    from pipeline.figures import save

    for eid in eids:
        figure = meso.plot_raster(eid, **drawing)
        yield save(figure, output / f"{raster_name(eid)}.{suffix}", embedding_of(eid))


def tracked_rasters(
    eids: Sequence[str], tracking_run: str | None, drawing: dict, output: Path, suffix: str
) -> Iterator[Path]:
    """Draw and save a raster of each session with the cells that all share, and yield the files.

    Row i is the same cell in every file; the order is the Rastermap order of the first session, and a region has one
    colour in all of them.

    Raises
    ------
    ConfigError
        There are not two sessions.
    DataError
        They share no cell, or as ``meso.match_tracked_indices_across_sessions``.
    """
    import meso
    from drawing.cells import embedding_of, session_title
    from pipeline.figures import distinct_region_colors, save

    anchor, *others = dict.fromkeys(eids)
    if not others:
        raise ConfigError("--tracked compares sessions: name two or more")
    rows = meso.match_tracked_indices_across_sessions(anchor, others, tracking_run=tracking_run)
    session_set = SessionSet.add(list(rows), tracking_run_of_sessions(list(rows), tracking_run))
    if not len(rows[anchor]):
        raise DataError(
            "no cell is tracked in all of these sessions", do="Name fewer; 'meso tracking' draws which share"
        )
    order = meso.load_or_embed(anchor, restrict=rows[anchor])["isort"]
    places = ROI & (SharedCells.Cell & session_set)
    colors = distinct_region_colors((BrainRegion & places.proj("region_id")).to_arrays("acronym"))
    note = f": {len(order)} tracked cells in the order of {session_title(anchor)}"
    for eid, own in rows.items():
        figure = meso.plot_raster(eid, restrict=own, order=order, region_colors=colors, note=note, **drawing)
        name = f"{raster_name(eid)}_tracked_{session_set['session_set'][:8]}_by_{anchor[:8]}.{suffix}"
        yield save(figure, output / name, {"eid": eid, **session_set, "order_of": embedding_of(anchor)})


def track(
    subject: str, uid_root: Path | None, mirror: str | None, refresh: bool, duplicates: str
) -> tuple[list[str], list[str]]:
    """Mirror UID files if asked, register them as a run, match them to ROIs; return lines and failures."""
    lines: list[str] = []
    if mirror:
        if uid_root is None:
            raise ConfigError("--mirror needs --uid-root, the folder to copy into")
        report = _mirror(mirror, uid_root, subject, refresh)
        lines.append(f"Mirrored {len(report.fetched)} files, {len(report.unchanged)} unchanged")
        if not report.ok:
            # half a mirror would mix two tracking runs, or look like cells that are not tracked
            problems = [report.warning or "", *(f"{path}: {reason}" for path, reason in report.failed)]
            return lines, [text for text in problems if text] + ["Nothing was registered"]
    run = TrackingRun.register(subject, str(uid_root.resolve()) if uid_root else None, duplicates)
    filled = fill([TrackedCell], run, progress=True)
    filled.errors += fill([TrackedFOV], run, progress=True).errors
    members = TrackedFOV.Member & run
    lines.append(
        f"Run {run['tracking_run']}: {len(TrackedCell & run)} cells, {len(members)} ROIs in "
        f"{len(Session & members.proj())} sessions"
    )
    return lines, [f"{table}: {message}" for table, _, message in filled.errors]


def _mirror(source: str, uid_root: Path, subject: str, refresh: bool):
    from tqdm import tqdm

    from pipeline.tracking.mirror import mirror_uids

    with tqdm(desc="UID files") as bar:

        def progress(done: int, total: int, path: str) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return mirror_uids(source, uid_root, subject, progress=progress, refresh=refresh)
