"""The demo: a small generated ONE repository with known truth, or the user's own, through every table to k*."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.decoding import NDCSettings
from pipeline.errors import DataError
from pipeline.provenance import is_drawn, made_of
from pipeline.text import csv_text, file_stem
from populate_scripts.ingest import ingest
from schemas.behavior import ChoiceModel
from schemas.decoding.run import NDCRun, run_ndc
from schemas.embedding import Embedding, RasterTiles, embedding_of
from schemas.imaging.tables import FOV, Activity
from schemas.queries.errors import errors_of, tables_by_session
from schemas.queries.tracking_runs import tracking_runs
from schemas.rows import content_key
from schemas.server.connection import has_own_server
from schemas.server.settings import data_dir
from schemas.session import Behavior, Session, Wheel
from schemas.tracking import TrackingRun
from schemas.work.filling import SESSION_TABLES, fill

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
) -> NDCRun:
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
    generated = cache_dir is None
    if cache_dir is None:
        cache_dir = Path(os.path.abspath(data_dir() / "demo_one"))
        cache_dir.mkdir(parents=True, exist_ok=True)
        say(f"Demo data in {cache_dir}")
        eids, run = _generated(cache_dir, subject)
        read_again(eids, say)
    else:
        eids, run = _eids(cache_dir, subject), None
    say(f"{len(eids)} sessions: reading, checking, embedding")
    filled = fill([*SESSION_TABLES, ChoiceModel, Embedding, RasterTiles], [{"eid": eid} for eid in eids], progress=True)
    for table, _, message in filled.errors:
        say(f"! {table}: {message}")
    known = errors_of(tables_by_session(), [{"eid": eid} for eid in eids])
    if len(known) > len(filled.errors):
        say(f"! {len(known)} jobs have failed so far: 'meso errors' lists the reasons, 'meso retry' runs them again")
    _rasters(eids, output)
    say(f"Decoding {', '.join(TARGETS)}")
    if run is None or uid_root:
        run = TrackingRun.register((Session & {"eid": eids[0]}).fetch1("subject"), uid_root)
    # one's own sessions are shown as they are, with a note: this command has no option for their signal
    result = _curves(eids, run, mixed_signals=not generated)
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


def _generated(cache_dir: Path, subject: str | None) -> tuple[list[str], dict | None]:
    """Write the generated repository unless it is there; return its sessions, and their tracking run if it is known.

    Its files change with the version of the demo only, so that those that are known need not be looked at again:
    opening ONE takes a second.
    """
    from pipeline.demo.repository import SUBJECT, write_demo_repository

    eids = list(write_demo_repository(cache_dir).eids)
    known = Session & [{"eid": eid} for eid in eids] & {"one_cache_dir": str(cache_dir)}
    if subject not in (None, SUBJECT) or len(known) < len(eids):
        return _eids(cache_dir, subject), None
    runs = tracking_runs(SUBJECT)[:1]
    return eids, {name: runs[0][name] for name in TrackingRun.primary_key} if runs else None


def read_again(eids: list[str], say: Callable[[str], None]) -> None:
    """Read again what a former version of the demo wrote without deconvolved traces: days would have other signals."""
    days = [{"eid": eid, "signal": "fluorescence"} for eid in eids]
    former = sorted(set((FOV & days).to_arrays("eid")))
    if not former:
        return
    from schemas.upkeep.update import update

    say("A former version wrote the demo data: a day without deconvolved traces is read and decoded again")
    for text in update(former, progress=True).failures:
        say(f"! {text}")


def _curves(eids: list[str], run: dict, *, mixed_signals: bool) -> NDCRun:
    settings = [NDCSettings(target=t, ks=KS, r=R, n_label_shuffles=N_LABEL_SHUFFLES) for t in TARGETS]
    return run_ndc(eids, run, settings, mixed_signals=mixed_signals, progress=True)


def write(result: NDCRun, output: Path, *, tagged: bool = False) -> None:
    """Write the table, the NDC figure of each target, k* over days, score over performance and regions to a folder.

    Figures that are there already, of the same curves and drawn by the same code, are not drawn again.

    Parameters
    ----------
    result : NDCRun
    output : Path
    tagged : bool
        Put subject and a hash of the settings into the file names, so that other settings overwrite nothing.
    """
    output.mkdir(parents=True, exist_ok=True)
    table = result.table
    tag = content_key([result.session_set, sorted(set(table["ndc_params"]))])[:8]
    name = f"k_star_{file_stem(result.subject)}_{tag}.csv" if tagged else "k_star.csv"
    (output / name).write_text(csv_text(table), encoding="utf-8")
    named = {"subject": result.subject, **result.session_set, **result.family}
    content = made_of(result.first_date, [[vars(t) | {"settings": t.settings.as_row()}] for t in result.targets])
    drawn: dict[str, tuple] = (
        {"k_star_days": ("days", result), "performance": ("performance", result)} if len(table) else {}
    )
    drawn |= {f"ndc_regions_{file_stem(panels)}": ("panels_of", result, panels) for panels in result.panels()}
    for stem, drawing in drawn.items():
        file = f"{stem}_{file_stem(result.subject)}_{tag}.png" if tagged else f"{stem}.png"
        _save(output / file, {"figure": stem, **named, **content}, partial(_draw_curves, *drawing))
    for target in [one for one in result.targets if one.curves]:
        rows, of = table[table["ndc_params"] == target.ndc_params], target.settings.target
        own = f"{file_stem(result.subject)}_{of}_{target.ndc_params[:8]}" if tagged else file_stem(target.name)
        provenance = {**rows.iloc[0][list(PROVENANCE)], "eids": rows["eid"].tolist(), "target": of, **content}
        _save(output / f"ndc_{own}.png", provenance, partial(_draw_curves, "overlay", result, target))


def _draw_curves(kind: str, *arguments: Any) -> Figure | None:
    """Return a figure of ``drawing.curves``, imported only now: matplotlib takes half a second."""
    from drawing import curves

    figure: Figure | None = getattr(curves, kind)(*arguments)
    return figure


def _save(path: Path, provenance: dict[str, Any], draw: Callable[[], Figure | None]) -> None:
    """Save what ``draw`` returns, if anything, unless the file is that figure already."""
    if is_drawn(path, provenance):
        return
    figure = draw()
    if figure is not None:
        from pipeline.figures import save

        save(figure, path, provenance)


def _rasters(eids: list[str], output: Path) -> None:
    from tqdm import tqdm

    import meso

    embedded = set((Embedding & [{"eid": eid} for eid in eids]).to_arrays("eid"))
    for eid in tqdm([eid for eid in eids if eid in embedded], desc="Raster"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the caller has reported the failures
            provenance = {**embedding_of(eid), **_raster_content(eid)}
            _save(output / f"{raster_name(eid)}.png", provenance, partial(meso.plot_raster, eid))


def _raster_content(eid: str) -> dict[str, str]:
    """Return what identifies the raster of a session: it shows what was read from these files."""
    key = {"eid": eid}
    files = [
        (part & key).proj("sha256").to_dicts(order_by="KEY") for part in (FOV.Source, Behavior.Source, Wheel.Source)
    ]
    fovs = (Activity & key).to_arrays("fov", order_by="fov")
    return made_of((Session & key).proj("subject", "session_date", "session_number").fetch1(), files, fovs)


def raster_name(eid: str) -> str:
    """Return the file name of a session's raster, without its suffix."""
    info = (Session & {"eid": eid}).fetch1()
    return f"raster_{info['subject']}_{info['session_date']}_{info['session_number']:03d}"
