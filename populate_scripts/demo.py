"""The demo: a small generated ONE repository with known truth, or the user's own, through every table to k*."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.decoding import NDCSettings
from pipeline.errors import DataError
from populate_scripts.ingest import ingest
from schemas.behavior import ChoiceModel
from schemas.decoding.run import run_ndc
from schemas.embedding import Embedding, RasterTiles
from schemas.queries.errors import errors_of, tables_by_session
from schemas.rows import content_key
from schemas.server.connection import has_own_server
from schemas.server.settings import data_dir
from schemas.session import Session
from schemas.tracking import TrackingRun
from schemas.work.filling import SESSION_TABLES, fill

if TYPE_CHECKING:
    from drawing.curves import DrawableRun

TARGETS = ("choice", "feedback", "stimulus")
#: Fewer repeats and shuffles than an analysis needs, to save time: they are enough to show the planted trend.
R, N_LABEL_SHUFFLES = 20, 40
#: From 2 cells on: on the last days of the generated data a few cells decode as well as all of them.
KS = (2, 4, 8, 16, 32, 64)
#: Columns of the table of results that are written into each figure file.
PROVENANCE = ("subject", "tracking_run", "session_set", "ndc_params", "environment")


def demo(
    output: Path,
    cache_dir: Path | None = None,
    subject: str | None = None,
    uid_root: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> DrawableRun:
    """Run the whole pipeline; a second run finds all results in the database and computes nothing.

    Parameters
    ----------
    output : Path
        Folder for the figures and the table.
    cache_dir : Path, optional
        A ONE cache to use instead of the generated repository.
    subject : str, optional
        Use this subject's sessions; by default the subject with the most of them.
    uid_root : str, optional
        Root of a mirrored tree of UID files; by default the session folders.
    say : callable
        Called with each message about the progress.

    Raises
    ------
    DataError
        Fewer than two sessions of the subject have tracked cells.
    """
    if not has_own_server():
        say("Database: embedded PostgreSQL, for one person; set DJ_HOST for a lab's server (docs/operation/server.md)")
    if cache_dir is None:
        from pipeline.demo.repository import write_demo_repository

        cache_dir = data_dir() / "demo_one"
        cache_dir.mkdir(parents=True, exist_ok=True)
        say(f"Demo data in {cache_dir}")
        write_demo_repository(cache_dir)
    eids = _eids(cache_dir, subject)
    say(f"{len(eids)} sessions: reading, checking, embedding")
    filled = fill([*SESSION_TABLES, ChoiceModel, Embedding, RasterTiles], [{"eid": eid} for eid in eids], progress=True)
    for table, _, message in filled.errors:
        say(f"! {table}: {message}")
    known = errors_of(tables_by_session(), [{"eid": eid} for eid in eids])
    if len(known) > len(filled.errors):
        say(f"! {len(known)} jobs have failed so far: 'meso errors' lists the reasons, 'meso retry' runs them again")
    _rasters(eids, output)
    say(f"Decoding {', '.join(TARGETS)}")
    result = _curves(eids, uid_root)
    write(result, output)
    return result


def _eids(cache_dir: Path, subject: str | None) -> list[str]:
    done = ingest(subject=subject, everything=subject is None, cache_dir=cache_dir, progress=True)
    found = [*done.new, *done.known]
    if not found:
        raise DataError(
            f"no session with imaging in the ONE cache {cache_dir}", do="; ".join(done.failed.values()) or None
        )
    sessions = (Session & [{"eid": eid} for eid in found]).to_dicts(order_by="session_date, session_number")
    subjects = [row["subject"] for row in sessions]
    # sorted: among equals the first by name, at every run
    chosen = max(sorted(set(subjects)), key=subjects.count)
    return [row["eid"] for row in sessions if row["subject"] == chosen]


def _curves(eids: list[str], uid_root: str | None) -> DrawableRun:
    from drawing.curves import DrawableRun

    subject = (Session & {"eid": eids[0]}).fetch1("subject")
    settings = [NDCSettings(target=t, ks=KS, r=R, n_label_shuffles=N_LABEL_SHUFFLES) for t in TARGETS]
    return DrawableRun.of(run_ndc(eids, TrackingRun.register(subject, uid_root), settings, progress=True))


def write(result: DrawableRun, output: Path, *, tagged: bool = False) -> None:
    """Write the table, the NDC figure of each target, k* over days, score over performance and regions to a folder.

    Parameters
    ----------
    result : DrawableRun
    output : Path
    tagged : bool
        Put subject and a hash of the settings into the file names, so that other settings overwrite nothing.
    """
    from pipeline.figures import file_stem, save
    from pipeline.text import csv_text

    output.mkdir(parents=True, exist_ok=True)
    table = result.table
    tag = content_key([result.session_set, sorted(set(table["ndc_params"]))])[:8]
    name = f"k_star_{file_stem(result.subject)}_{tag}.csv" if tagged else "k_star.csv"
    (output / name).write_text(csv_text(table), encoding="utf-8")
    named = {"subject": result.subject, **result.session_set, **result.family}
    drawn = {"k_star_days": result.draw_days(), "performance": result.draw_performance()}
    drawn |= {f"ndc_regions_{file_stem(name)}": figure for name, figure in result.draw_regions().items()}
    for stem, figure in drawn.items():
        if figure is not None:
            save(figure, output / (f"{stem}_{file_stem(result.subject)}_{tag}.png" if tagged else f"{stem}.png"), named)
    for name, figure in (result.figures or result.draw()).items():
        rows = table[table["ndc_params"] == result.curves[name][0]["ndc_params"]]
        provenance = rows.iloc[0][list(PROVENANCE)].to_dict()
        key = provenance["ndc_params"][:8]
        target = str(rows.iloc[0]["target"])
        file = f"ndc_{file_stem(result.subject)}_{target}_{key}.png" if tagged else f"ndc_{file_stem(name)}.png"
        save(figure, output / file, {**provenance, "eids": rows["eid"].tolist(), "target": target})


def _rasters(eids: list[str], output: Path) -> None:
    from tqdm import tqdm

    import meso
    from drawing.cells import embedding_of
    from pipeline.figures import save

    embedded = set((Embedding & [{"eid": eid} for eid in eids]).to_arrays("eid"))
    for eid in tqdm([eid for eid in eids if eid in embedded], desc="Raster"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the caller has reported the failures
            figure = meso.plot_raster(eid)
        save(figure, output / f"{raster_name(eid)}.png", embedding_of(eid))


def raster_name(eid: str) -> str:
    """Return the file name of a session's raster, without its suffix."""
    info = (Session & {"eid": eid}).fetch1()
    return f"raster_{info['subject']}_{info['session_date']}_{info['session_number']:03d}"
