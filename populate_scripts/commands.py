"""The work of commands that is more than one call: without options, and without printing."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.own_labels import read_labels
from pipeline.errors import ArgumentError, ConfigError, DataError
from pipeline.settings.curves import check_own_name
from pipeline.settings.signals import SignalSettings
from populate_scripts.demo import raster_name, write
from schemas.cascade import Cascade
from schemas.decoding.run import run_ndc
from schemas.decoding.sets import chosen_sessions
from schemas.decoding.tables import NDCParams
from schemas.decoding.transfers import run_transfer
from schemas.embedding import embedding_of
from schemas.imaging import objects
from schemas.imaging.tables import ROI, AtlasOutline, BrainRegion
from schemas.labels import LabelSet
from schemas.queries.ids import known_as, one_subject, session_id
from schemas.queries.tracking_runs import latest_tracking_runs, tracking_run_of_sessions
from schemas.rows import content_key
from schemas.server import embedded
from schemas.server.binding import auto_populated, table_named
from schemas.server.connection import connect, has_own_server
from schemas.server.settings import one_cache_dir, prefix
from schemas.session import Behavior, Session
from schemas.setup import migrations
from schemas.tracking import SessionSet, SharedCells, TrackedCell, TrackedFOV, TrackingFile, TrackingRun
from schemas.work import reports
from schemas.work.filling import SESSION_TABLES, Filled, fill, fill_signal
from schemas.work.states import JobStatus

if TYPE_CHECKING:
    from drawing.curves import DrawableRun
    from drawing.days import DrawableEmbedding
    from drawing.many import DrawableMany
    from drawing.responses import DrawableStability
    from drawing.transfer import DrawableTransfer
    from pipeline.embedding_days import DaysSettings
    from pipeline.tracking.mirror import MirrorReport
    from schemas.exchange.verify import Finding, Verified
    from schemas.imaging.objects import Orphan
    from schemas.upkeep.update import Updated


@dataclass(frozen=True)
class Question:
    """What ``meso ndc`` is asked about the sessions of a mouse.

    Attributes
    ----------
    settings : sequence of NDCSettings
        One for each target.
    cells : dict
        ``min_cell_probability`` and ``min_silhouette``, each a number or None.
    tracking_run : str or None
        Start of the hash of a tracking run; None for the latest.
    regions : sequence of str
        Acronyms: separate curves for each, all up to the same k.
    chosen : dict
        ``best``, ``min_trials`` and ``protocol``: see ``schemas.decoding.sets.chosen_sessions``.
    notes : sequence of str
        About the settings, shown with the results.
    mixed_signals : bool
        Compare sessions that were read with different signals.
    survivorship : bool
        Compare the shared cells with untracked ones and lost ones.
    """

    settings: Sequence[NDCSettings]
    cells: dict[str, Any]
    tracking_run: str | None = None
    regions: Sequence[str] = ()
    chosen: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    mixed_signals: bool = False
    survivorship: bool = False

    def choose(self, eids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return those of the sessions that are decoded, and notes about the settings and the choice."""
        chosen, notes = chosen_sessions(eids, **self.chosen, tracking_run=self.tracking_run, **self.cells)
        return chosen, [*self.notes, *notes]

    def curves(self, eids: Sequence[str], *, progress: bool = True) -> DrawableRun:
        """Return the curves of sessions of a mouse, after reading what has not been read of them."""
        from drawing.curves import DrawableRun

        fill(SESSION_TABLES, [{"eid": eid} for eid in eids], progress=progress)
        run = tracking_run_of_sessions(eids, self.tracking_run)
        found = run_ndc(
            eids, run, self.settings, by_region=self.regions, survivorship=self.survivorship, **self.cells,
            mixed_signals=self.mixed_signals, progress=progress,
        )  # fmt: skip
        return DrawableRun.of(found)

    def of_mouse(self, eids: Sequence[str]) -> DrawableRun:
        """Return the curves of those of the sessions that are decoded, with notes about the choice."""
        eids, notes = self.choose(eids)
        result = self.curves(eids)
        result.notes[:0] = notes
        return result


def ndc(eids: Sequence[str], question: Question, output: Path | None = None) -> DrawableRun:
    """Compute the curves of sessions of a mouse, and write figures and table to a folder if asked."""
    result = question.of_mouse(eids)
    if output:
        write(result, output, tagged=True)
    return result


def add_labels(file: Path, name: str, *, numbers: bool | None = None) -> int:
    """Add the labels of a CSV file, and return the number of their sessions.

    Parameters
    ----------
    file : Path
        See ``pipeline.decoding.own_labels.read_labels``.
    name : str
    numbers : bool, optional
        As for ``LabelSet.add``.

    Raises
    ------
    ArgumentError
        The name is not allowed.
    DataError
        The file is wrong, a session is not registered or named in two ways, or as ``LabelSet.add``.
    """
    check_own_name(name)
    values = read_labels(file)
    eids = {named: session_id(named) for named in values}
    keys = [{"eid": eid} for eid in eids.values()]
    fill([Behavior], keys)
    n_trials = {row["eid"]: row["n_trials"] for row in (Behavior & keys).to_dicts()}
    labels: dict[str, np.ndarray] = {}
    for named, eid in eids.items():
        last = max(values[named])
        n = n_trials.get(eid, last + 1)  # without trials: LabelSet says so
        if last >= n:
            raise DataError(f"there is no trial {last}", eid=eid, dataset=file.name, expected=f"0 to {n - 1}")
        if eid in labels:
            raise DataError("is named in two ways", eid=eid, dataset=file.name)
        labels[eid] = np.full(n, np.nan)
        labels[eid][list(values[named])] = list(values[named].values())
    LabelSet.add(name, labels, numbers=numbers)
    return len(labels)


def rows_of_labels(name: str) -> dict[str, int]:
    """Return the numbers of rows by table that go with the labels of a name: theirs, and those of their curves."""
    labels, params = _of_labels(name)
    return {**Cascade(labels).counts(), **Cascade(params).counts()}


def drop_labels(name: str) -> None:
    """Delete all labels of a name, with the curves that were computed from them."""
    labels, params = _of_labels(name)
    params.delete(prompt=False)
    labels.delete(prompt=False)


def _of_labels(name: str) -> tuple[LabelSet, NDCParams]:
    """Return the labels of a name, former ones too, and the settings of their curves."""
    labels = LabelSet.of_name(name)
    return labels, NDCParams & [{"labels": one} for one in labels.to_arrays("label_set")]


def ndc_of_pairs(eids: Sequence[str], kind: str, question: Question, output: Path | None = None) -> DrawableMany:
    """Compute the curves of pairs of the sessions of a mouse, each with all cells that the two share.

    Parameters
    ----------
    eids : sequence of str
    kind : {'consecutive', 'all'}
    question : Question
    output : Path, optional
        Folder for the table, and a folder of each pair with its figures.
    """
    from drawing.many import DrawableMany
    from schemas.decoding.many import pairs_of, run_many

    chosen, notes = question.choose(eids)
    fill(SESSION_TABLES, [{"eid": eid} for eid in chosen], progress=True)
    pairs = pairs_of(chosen, kind)
    found = run_many("pair", pairs, lambda pair: question.curves(pair, progress=False), progress=True)
    result = DrawableMany.of(found)
    result.remarks += notes
    if output:
        write_many(result, output)
    return result


def ndc_of_mice(eids: Sequence[str], question: Question, output: Path | None = None) -> DrawableMany:
    """Compute the curves of several mice, and compare the slopes over their days.

    Parameters
    ----------
    eids : sequence of str
        Of registered sessions; those of a mouse are decoded together.
    question : Question
    output : Path, optional
        Folder for the figure of all mice and the table, and a folder of each mouse with its figures.
    """
    from drawing.many import DrawableMany
    from schemas.decoding.many import run_many

    rows = (Session & [{"eid": eid} for eid in eids]).to_dicts(order_by="subject, session_date, session_number")
    mice: dict[str, list[str]] = {}
    for row in rows:
        mice.setdefault(row["subject"], []).append(row["eid"])
    result = DrawableMany.of(run_many("subject", mice, question.of_mouse))
    if output:
        write_many(result, output)
    return result


def write_many(result: DrawableMany, output: Path) -> None:
    """Write the table of several sets of sessions, the figure of mice, and the figures of each set to a folder."""
    from drawing.many import write_mice
    from pipeline.text import csv_text, file_stem

    output.mkdir(parents=True, exist_ok=True)
    tag = content_key([result.family, list(result.runs)])[:8]
    (output / f"k_star_{result.kind}s_{tag}.csv").write_text(csv_text(result.table), encoding="utf-8")
    if result.mice is not None:
        write_mice(result.mice, output)
    for name, run in result.runs.items():
        if len(run.table):
            write(run, output / file_stem(name), tagged=True)


def write_sets(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows of ``BestSet`` to a CSV file, with lists separated by spaces."""
    import pandas as pd

    from pipeline.text import csv_text

    table = pd.DataFrame(
        [{**row, "eids": " ".join(row["eids"]), "session_dates": " ".join(row["session_dates"])} for row in rows]
    )
    path.write_text(csv_text(table), encoding="utf-8")


def stability(
    eids: Sequence[str], windows: str | None, settings: dict, cells: dict, tracking_run: str | None,
    *, mixed_signals: bool = False, progress: bool = True,
) -> DrawableStability:  # fmt: skip
    """Compute the stability over days of the cells that sessions of a subject share.

    Parameters
    ----------
    eids : sequence of str
        Of registered sessions.
    windows : str, optional
        Name of a set of windows; by default the 26 trial windows.
    settings : dict
        Settings of ``pipeline.responses.StabilitySettings``.
    cells : dict
        ``min_cell_probability`` and ``min_silhouette``, each a number or None.
    tracking_run : str, optional
        Start of the hash of a tracking run; by default the latest.
    mixed_signals : bool
        Compare sessions that were read with different signals.
    progress : bool
    """
    from drawing.responses import DrawableStability
    from pipeline.responses import StabilitySettings
    from schemas.responses.run import run_stability

    one_subject(eids)
    fill(SESSION_TABLES, [{"eid": eid} for eid in eids], progress=progress)
    run = tracking_run_of_sessions(eids, tracking_run)
    asked = StabilitySettings(**settings)
    return DrawableStability.of(
        run_stability(
            eids, run, windows=windows, settings=asked, mixed_signals=mixed_signals, progress=progress, **cells
        )
    )


def embed_days(
    eids: Sequence[str], settings: DaysSettings, windows: str | None, signal: str, cells: dict,
    tracking_run: str | None, *, progress: bool = True,
) -> DrawableEmbedding:  # fmt: skip
    """Sort the cells that sessions of a subject share by one Rastermap.

    Parameters
    ----------
    eids, windows, cells, tracking_run, progress
        As for ``stability``.
    settings : DaysSettings
    signal : {'', 'deconvolved', 'fluorescence', 'dff'}
        '' as each FOV was read.
    """
    from drawing.days import DrawableEmbedding
    from pipeline.settings.signals import SignalSettings
    from schemas.days.run import run_embedding

    one_subject(eids)
    fill(SESSION_TABLES, [{"eid": eid} for eid in eids], progress=progress)
    run = tracking_run_of_sessions(eids, tracking_run)
    of_signal = SignalSettings.named(signal)
    return DrawableEmbedding.of(
        run_embedding(eids, run, settings, windows=windows, signal=of_signal, progress=progress, **cells)
    )


def transfer(
    eids: Sequence[str],
    settings: Sequence[NDCSettings],
    scaler: str,
    cells: dict,
    output: Path | None,
    tracking_run: str | None = None,
    *,
    mixed_signals: bool = False,
) -> DrawableTransfer:
    """Test the readouts of sessions on each other, after reading what has not been read of them.

    Parameters
    ----------
    eids, settings, cells, output, tracking_run
        As for ``ndc``.
    scaler : {'own', 'trained'}
    mixed_signals : bool
        Compare sessions that were read with different signals.
    """
    from drawing.transfer import DrawableTransfer

    fill(SESSION_TABLES, [{"eid": eid} for eid in eids], progress=True)
    run = tracking_run_of_sessions(eids, tracking_run)
    result = DrawableTransfer.of(
        run_transfer(eids, run, settings, scaler, **cells, mixed_signals=mixed_signals, progress=True)
    )
    if output:
        result.write(output)
    return result


def rasters(eids: Sequence[str], drawing: dict, output: Path, suffix: str) -> Iterator[Path]:
    """Draw the raster of each session with these arguments of ``meso.plot_raster``; yield the files."""
    import meso
    from pipeline.figures import save

    for eid in eids:
        figure = meso.plot_raster(eid, **drawing)
        signal = SignalSettings.named(drawing["signal"])
        name = raster_name(eid) + (f"_{signal.kind}" if signal else "")
        yield save(figure, output / f"{name}.{suffix}", embedding_of(eid, signal))


def tracked_rasters(
    eids: Sequence[str], tracking_run: str | None, drawing: dict, output: Path, suffix: str
) -> Iterator[Path]:
    """Draw a raster of each session with only the cells that all of them share; yield the files.

    Row i is the same cell in every file. Rows are in the Rastermap order of the first session. A region has the same
    colour in all files.

    Raises
    ------
    ConfigError
        Fewer than two sessions are given.
    DataError
        The sessions share no cell, or as for ``meso.match_tracked_indices_across_sessions``.
    """
    import meso
    from drawing.cells import session_title
    from pipeline.figures import distinct_region_colors, save

    anchor, *others = eids
    if not others:
        raise ConfigError("--tracked needs at least two sessions")
    rows = meso.match_tracked_indices_across_sessions(anchor, others, tracking_run=tracking_run)
    session_set = SessionSet.add(list(rows), tracking_run_of_sessions(list(rows), tracking_run))
    if not len(rows[anchor]):
        raise DataError(
            "no cell is tracked in all of these sessions",
            do="Name fewer sessions; 'meso tracking' shows which of them share cells",
        )
    # rows of the anchor and of the other sessions are the same cells, so one order serves for all
    order = meso.load_or_embed(anchor, restrict=rows[anchor], signal=drawing["signal"])["isort"]
    places = ROI & (SharedCells.Cell & session_set)
    colors = distinct_region_colors((BrainRegion & places.proj("region_id")).to_arrays("acronym"))
    note = f": {len(order)} tracked cells in the order of {session_title(anchor)}"
    for eid, own in rows.items():
        figure = meso.plot_raster(eid, restrict=own, order=order, region_colors=colors, note=note, **drawing)
        name = f"{raster_name(eid)}_tracked_{session_set['session_set'][:8]}_by_{anchor[:8]}.{suffix}"
        order_of = embedding_of(anchor, SignalSettings.named(drawing["signal"]))
        yield save(figure, output / name, {"eid": eid, **session_set, "order_of": order_of})


def track(
    subject: str,
    uid_root: Path | None,
    mirror: str | None,
    refresh: bool,
    duplicates: str,
    uid_form: str,
    same_rois: Sequence[str],
    other_places: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Register the UID files of a subject as a tracking run and match them to ROIs, after copying them if asked.

    Parameters
    ----------
    subject : str
    uid_root : Path, optional
        Root of a tree of UID files; by default the session folders.
    mirror : str, optional
        Folder or address to copy the UID files from, into ``uid_root``.
    refresh : bool
        Replace copies of files that have changed there.
    duplicates : {'error', 'first'}
        What a UID is that occurs twice in a session.
    uid_form : {'uuid', 'any'}
        What a UID is.
    same_rois, other_places : sequence of str
        Sessions, by any of their names, or FOVs of them such as ``EID:FOV_02``; see ``TrackingRun.register``.

    Returns
    -------
    lines, failures : list of str
        What was done, and what failed.

    Raises
    ------
    ConfigError
        ``mirror`` without ``uid_root``.
    """
    lines: list[str] = []
    if mirror:
        if uid_root is None:
            raise ConfigError("--mirror needs --uid-root, the folder to copy into")
        report = _mirror(mirror, uid_root, subject, refresh)
        lines.append(f"Mirrored {len(report.fetched)} files, {len(report.unchanged)} unchanged")
        if not report.ok:
            # from half a mirror, cells of the missing files would count as not tracked, or two runs would be mixed
            problems = [report.warning or "", *(f"{path}: {reason}" for path, reason in report.failed)]
            return lines, [text for text in problems if text] + ["Nothing was registered"]
    root = str(uid_root.resolve()) if uid_root else None
    said = {
        "of the ROIs as they are now": [_session_or_fov(text, "same-rois") for text in same_rois],
        "right, wherever cells are on other days": [_session_or_fov(text, "other-places") for text in other_places],
    }
    former, (same, elsewhere) = latest_tracking_runs(subject), said.values()
    run = TrackingRun.register(subject, root, duplicates, uid_form, same_rois=same, other_places=elsewhere)
    lines += TrackingRun.notes_on(run, former)
    for what, named in said.items():
        for key in (TrackingFile & run).keys(order_by="eid, fov") if named else ():
            if {key["eid"], (key["eid"], key["fov"])} & set(named):
                lines.append(f"Session {key['eid']}, FOV_{key['fov']:02d}: the UIDs are taken to be {what}")
    reports.retry([TrackedFOV], **run)
    # first, by itself: members refer to the cells
    steps = [fill([table], run, progress=True) for table in (TrackedCell, TrackedFOV)]
    members = TrackedFOV.Member & run
    lines.append(
        f"Run {run['tracking_run']}: {len(TrackedCell & run)} cells, {len(members)} ROIs in "
        f"{len(Session & members.proj())} sessions"
    )
    return lines, [line for step in steps for line in step.lines()]


def _session_or_fov(text: str, option: str) -> str | tuple[str, int]:
    """Return the session, or session and FOV, that an option names: any name of it, and ``:FOV_02`` after it."""
    name, _, fov = text.partition(":FOV_")
    if fov and not fov.isdecimal():
        raise ArgumentError(f"--{option} takes a session, or a FOV such as {name}:FOV_02, not {text!r}")
    return (known_as(name), int(fov)) if fov else known_as(name)


def _mirror(source: str, uid_root: Path, subject: str, refresh: bool) -> MirrorReport:
    """Copy UID files, with a progress bar."""
    from tqdm import tqdm

    from pipeline.tracking.mirror import mirror_uids

    with tqdm(desc="UID files") as bar:

        def progress(done: int, total: int, path: str) -> None:
            bar.total = total
            # the total is known at the first call only, and tqdm counts differences
            bar.update(done - bar.n)

        return mirror_uids(source, uid_root, subject, progress=progress, refresh=refresh)


def populate(tables: Sequence[str], eids: Sequence[str] | None = None) -> tuple[str, list[str]]:
    """Populate tables, by default all, for some sessions or for all; return a summary line and what is lacking.

    What is lacking: the failed jobs, and those that are not due yet.
    """
    chosen = [table_named(name) for name in tables] or None
    if eids is not None:
        # the others are of subjects or sets of sessions, not of one session
        chosen = [table for table in chosen or auto_populated() if "eid" in table.primary_key]
    done = fill(chosen, *([] if eids is None else [[{"eid": eid} for eid in eids]]), progress=True)
    summary = f"Populated {counts_text(done.made) or f'nothing: {_why_nothing(done)}'}"
    running = [str(jobs) for jobs in done.unfinished if jobs.status == JobStatus.RESERVED]
    put_off = [str(jobs) for jobs in done.unfinished if jobs.status == JobStatus.PENDING]
    return "; ".join([summary, *running]), [f"{table}: {message}" for table, _, message in done.errors] + put_off


def _why_nothing(done: Filled) -> str:
    n_failed = sum(n for (_, status), n in reports.jobs_by_status().items() if status == JobStatus.ERROR)
    if n_failed:
        return f"{n_failed} jobs have failed"
    return "no job is due" if done.unfinished else "all tables are complete"


def counts_text(made: Mapping[str, int]) -> str:
    """Return how many jobs of each table were done, such as 'FOV 6, ROI 6'; '' if none."""
    return ", ".join(f"{table} {n}" for table, n in made.items() if n)


def update_lines(done: Updated, dry_run: bool) -> list[str]:
    """Return what ``meso update`` found and did, as lines of text."""
    lines = [f"{row.table}: {row}" for row in done.changes] + done.notes
    verb = "would be" if dry_run else "were"
    for table, (again, stay) in done.tables.items():
        lines.append(f"  {table}: {again} rows {verb} deleted, to be computed again; {stay} stay")
    if not (done.changes or done.notes or done.failures):
        lines.append("No file has changed")
    return lines + ([f"Update {done.update_id}"] if done.update_id else [])


def database_status() -> dict[str, Any]:
    """Return which database is used and, if it runs, the versions of the server, of its tables and of the code's."""
    own = has_own_server()
    row: dict[str, Any] = {"server": "own" if own else "embedded", "prefix": prefix()}
    # connect() would start the embedded server
    if not own and not embedded.running():
        return {**row, "is_running": False}
    connection = connect()
    user, host, port = (connection.conn_info[name] for name in ("user", "host", "port"))
    return {
        **row,
        "connect": f"{user}@{host}:{port}" if own else f"psql -h {shlex.quote(host)} -U {user}",
        "version": str(connection.query("SELECT version()").fetchone()[0]).split(" on ")[0],
        "tables": migrations.database_version(connection), "code": migrations.LATEST, "is_running": True,
    }  # fmt: skip


@dataclass
class Garbage:
    """Objects that no row refers to, in all stores.

    Attributes
    ----------
    orphans : list of Orphan
    n_young : int
        Objects without a row that were left alone because they are younger.
    older_than : float
        Age limit, days.
    deleted : bool
        Whether the objects were removed.
    failures : list of str
        Why a store could not be read or an object not be removed.
    """

    older_than: float
    deleted: bool
    orphans: list[Orphan] = field(default_factory=list)
    n_young: int = 0
    failures: list[str] = field(default_factory=list)

    def summary(self) -> list[str]:
        """Return lines to print below the list of objects."""
        lines = []
        if self.orphans:
            size = sum(orphan.object.size for orphan in self.orphans) / 1e6
            done = "removed" if self.deleted else "a dry run; --delete removes them"
            lines.append(f"{len(self.orphans)} objects that no row names, {size:.1f} MB: {done}")
        if self.n_young:
            lines.append(f"{self.n_young} more are younger than {self.older_than:g} days: --older-than DAYS")
        return lines


def outline_atlas(voxel_size: int, cache_dir: Path | None) -> list[dict[str, Any]]:
    """Compute the outlines of brain and regions, and return their rows with acronym (``region``) and name of each."""
    AtlasOutline.renew(voxel_size, cache_dir or one_cache_dir())
    rows: list[dict[str, Any]] = (AtlasOutline * BrainRegion.proj("region_name", region="acronym")).to_dicts(
        order_by="KEY"
    )
    return rows


def collect_garbage(delete: bool, older_than: float) -> Garbage:
    """Find the objects in all stores that no row refers to, and remove them if asked."""
    done = Garbage(older_than, delete)
    for name in objects.stores_to_look_in():
        try:
            of_any_age = objects.orphans(name, 0.0)
            orphans = [orphan for orphan in of_any_age if orphan.is_older(older_than)]
            done.n_young += len(of_any_age) - len(orphans)
            for orphan in orphans if delete else ():
                objects.remove(orphan)
            done.orphans += orphans
        except ConfigError as error:  # the other stores are still looked at
            done.failures.append(str(error))
    return done


def move_traces(eids: Sequence[str], to: str) -> tuple[str, list[str]]:
    """Move the traces of sessions to a store or into the database; return a summary line and the failures."""
    from tqdm import tqdm

    target, failures, n_traces = None if to == objects.DATABASE else to, [], 0
    fovs = objects.to_move(eids, target)
    for key in tqdm(fovs, desc="FOVs", disable=None):
        try:
            n_traces += objects.move(key, target)
        except DataError as error:
            failures.append(str(error))
    n_moved = len(fovs) - len(failures)
    return f"{n_moved} FOVs with {n_traces} traces moved to {to}, {len(failures)} failed", failures


def export(
    eids: Sequence[str],
    kind: str,
    output: Path,
    neurons_only: bool,
    overwrite: bool,
    tracking_run: str | None,
    signal: str,
    say: Callable[[str], object],
) -> list[str]:
    """Export sessions, calling ``say`` with the path of each as soon as it is written; return the failures."""
    from schemas.exchange.export import export_session

    failures = []
    for eid in eids:
        try:
            if (asked := SignalSettings.named(signal)) and Session & {"eid": eid}:
                fill_signal(eid, asked)
            path = export_session(
                eid, kind, output, neurons_only=neurons_only, overwrite=overwrite, tracking_run=tracking_run,
                signal=signal,
            )  # fmt: skip
            say(str(path))
        except DataError as error:  # the other sessions are still exported
            failures.append(str(error))
    return failures


def verify(eids: Sequence[str], source: bool, say: Callable[[Finding], None] | None = None) -> Verified:
    """Verify sessions, calling ``say`` with each finding at once; return the findings and counts of all sessions."""
    from schemas.exchange.verify import Verified, verify_session

    done = Verified()
    for eid in eids:
        found = verify_session(eid, source=source)
        if say:
            for finding in found.findings:
                say(finding)
        done += found
    return done


def notes_on(eids: Sequence[str]) -> list[Finding]:
    """Return the notes on the files that sessions were read from."""
    from schemas.exchange.verify import notes

    return notes(eids)


def import_caches(
    files: Sequence[Path], eid: str | None, dry_run: bool
) -> Iterator[tuple[Path, dict[str, Any], list[str]]]:
    """Import cache files one by one; yield path, result as plain values, and result as lines of text."""
    from schemas.exchange.old_caches import import_file

    for path in files:
        try:
            found = import_file(path, known_as(eid) if eid else None, dry_run=dry_run)
            row, lines = found.as_row(), found.lines()
        except DataError as error:
            row, lines = {"file": path.name, "taken": None, "problem": str(error)}, [f"not imported: {error}"]
        yield path, row, lines


def session_lines(eids: Sequence[str]) -> list[str]:
    """Return a line of text for each session: subject, date, number, id."""
    rows = (Session & [{"eid": eid} for eid in eids]).to_dicts(order_by="subject, session_date")
    return [f"{row['subject']} {row['session_date']} {row['session_number']:03d}  {row['eid']}" for row in rows]
