"""The command line ``meso``. Heavy imports wait until a command runs: ``meso --help`` is quick."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, cast

import click

from pipeline.errors import MesoError


class Meso(click.Group):
    """Commands in the order they are defined; our own errors are one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        warnings.showwarning = lambda message, *_: click.secho(f"! {message}", err=True, fg="yellow")
        # what is being made goes back to the queue, as after Ctrl-C
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            return super().invoke(ctx)
        except MesoError as error:
            raise click.ClickException(str(error)) from None
        except Exception as error:
            if type(error).__name__ != "AccessError":  # of DataJoint, which is not imported here
                raise
            words = str(error.args[1]).splitlines()[0]
            raise click.ClickException(f"This account may not do that ({words}); see docs/roles.md") from None


@click.group(cls=Meso, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="meso")
def main() -> None:
    """Two-photon mesoscope sessions of the IBL in one relational database."""


def _activate() -> None:
    import schemas

    schemas.activate()


def _console() -> Any:
    from rich.console import Console

    # a pipe or a file has no width that something would have to be cut for
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 1000)


def _print_rows(rows: list[dict], as_json: bool, nothing: str) -> None:
    from schemas.screen import table_of

    if as_json:
        click.echo(json.dumps(rows, default=str))
    elif rows:
        _console().print(table_of(rows))
    else:
        click.echo(nothing)


def _print_failures(messages: list[str]) -> None:
    for message in messages:
        click.secho(f"! {message}", err=True, fg="yellow")


class Folder(click.Path):
    """A folder that is there or can be made: whether it can is said before anything is computed for it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or end the command."""
        folder = cast(Path, super().convert(value, param, ctx))
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            why = "is not open to you" if there.is_dir() else "is a file"
            self.fail(f"{folder} cannot be written to: {there} {why}", param, ctx)
        return folder


as_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")
output_option = click.option("--output", type=Folder(), default=Path("."), show_default=True)
format_option = click.option(
    "--format", "suffix", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True
)
neurons_option = click.option(
    "--neurons/--all-rois", "neurons_only", default=True, help="Which ROIs; by default neurons."
)
tracking_run_option = click.option("--tracking-run", help="Start of its hash; by default the run registered last.")
cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="ONE cache to read; by default MESO_ONE_CACHE_DIR, or ONE as set up.",
)
uid_root_option = click.option(
    "--uid-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Mirrored tree of cell UIDs (holds ROICaT/); by default the session folders.",
)


@main.command()
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Your own ONE cache; by default generated data.",
)
@uid_root_option
@click.option("--subject", help="Whose sessions; by default whoever has most.")
@click.option("--output", type=Folder(), default=Path("demo_output"), show_default=True)
def demo(cache_dir: Path | None, uid_root: Path | None, subject: str | None, output: Path) -> None:
    """From data to k* per session, with figures: generated data, or your own ONE cache."""
    from populate_scripts.demo import demo as run_demo
    from schemas import database

    _activate()
    if not database.has_own_server():
        click.echo("Database: embedded PostgreSQL, for one person; set DJ_HOST for a lab's server (docs/database.md)")
    result = run_demo(output, cache_dir, subject, str(uid_root.resolve()) if uid_root else None, click.echo)
    result.show()
    click.echo(f"Figures and k_star.csv are in {output}/")
    click.echo(f"Look at it in a browser: {_this_program()} serve --open")
    sys.exit(0 if len(result.table) else 1)


def _this_program() -> str:
    """Return how this program was called, as somebody would type it here."""
    program = Path(sys.argv[0])
    if program.stem != "meso" or not program.exists():
        return "meso"
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


@main.group()
def db() -> None:
    """The database: start, stop, status, init, grant."""


@db.command("start")
def db_start() -> None:
    """Start the embedded PostgreSQL (other commands do so by themselves)."""
    from schemas import embedded

    _embedded_only()
    click.echo(f"Running; socket in {embedded.start()}")


@db.command("stop")
def db_stop() -> None:
    """Stop the embedded PostgreSQL."""
    from schemas import embedded

    _embedded_only()
    click.echo("Stopped" if embedded.stop() else "It was not running")


def _embedded_only() -> None:
    from schemas import database

    if database.has_own_server():
        raise click.ClickException(
            "DJ_* variables or datajoint.json name a server; it is started and stopped elsewhere"
        )


@db.command("status")
@as_json
def db_status(as_json: bool) -> None:
    """Say which database is used and the version of its tables."""
    from schemas import database, embedded, migrations
    from schemas.settings import prefix

    own = database.has_own_server()
    row: dict[str, Any] = {"server": "own" if own else "embedded", "prefix": prefix()}
    if own or embedded.running():
        connection = database.connect()
        user, host, port = (connection.conn_info[name] for name in ("user", "host", "port"))
        row |= {
            "connect": f"{user}@{host}:{port}" if own else f"psql -h {host} -U {user}",
            "version": str(connection.query("SELECT version()").fetchone()[0]).split(" on ")[0],
            "tables": migrations.database_version(connection), "code": migrations.LATEST, "running": True,
        }  # fmt: skip
    else:
        row |= {"running": False}
    if as_json:
        click.echo(json.dumps([row]))
    else:
        for name, value in row.items():
            click.echo(f"{name:8}  {value}")


@db.command("init")
def db_init() -> None:
    """Declare all tables, or bring them to this version. Safe to run again."""
    from schemas import migrations, roles

    applied = migrations.init()
    roles.renew()
    for migration in applied:
        click.echo(f"Applied {migration.number}: {migration.title}")
    click.echo(f"The tables are at version {migrations.LATEST}")


@db.command("grant")
@click.argument("user")
@click.option("--role", required=True, type=click.Choice(["reader", "worker", "curator", "admin"]))
@click.option("--host", help="From where USER connects, on MySQL, such as 10.0.%; by default anywhere.")
@click.option("--new-password", is_flag=True, help="Also for an account that has one.")
def db_grant(user: str, role: str, host: str | None, new_password: bool) -> None:
    """Give the account USER a role, instead of the one it has; a new account's password is shown once."""
    from schemas import roles

    done = roles.grant(user, role, host, new_password=new_password)
    _print_failures(done.notes)
    click.echo(f"{done.account} is {role} of {roles.prefix()}*")
    if done.password:
        click.echo(f"Password, shown this once: {done.password}")


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject.")
@click.option("--all", "everything", is_flag=True, help="All sessions with imaging that ONE knows.")
@cache_dir_option
def ingest(eids: tuple[str, ...], subject: str | None, everything: bool, cache_dir: Path | None) -> None:
    """Register sessions of ONE: EIDS, a subject's, or all. 'meso populate' then reads them."""
    if not (eids or subject or everything):
        raise click.UsageError("Name session ids, --subject or --all")
    from populate_scripts.ingest import ingest as run

    _activate()
    done = run(eids, subject=subject, everything=everything, cache_dir=cache_dir, progress=True)
    _print_failures(list(done.failed.values()))
    click.echo(f"{len(done.new)} new, {len(done.known)} known, {len(done.failed)} failed")
    found = done.new or done.known
    if not found and not done.failed:
        _print_failures([f"ONE knows no session with imaging{f' of {subject}' if subject else ''}"])
    sys.exit(0 if found and not done.failed else 1)


@main.command()
@click.option("--subject", help="Only those of a subject.")
@as_json
def sessions(subject: str | None, as_json: bool) -> None:
    """List sessions with their ids, and what is known of each."""
    from schemas.listing import sessions as listed

    _activate()
    rows = listed(subject)
    shown = (
        "subject",
        "session_date",
        "session_number",
        "eid",
        "n_fovs",
        "n_neurons",
        "n_trials",
        "n_tracked",
        "n_errors",
    )
    columns = rows if as_json else [{name.removeprefix("session_"): row[name] for name in shown} for row in rows]
    _print_rows(columns, as_json, "No session is registered: meso ingest")


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
def populate(tables: tuple[str, ...], eid: str | None) -> None:
    """Compute all that is missing, or only TABLES, and end. Several may run at once; see also 'meso worker'."""
    from schemas import database, filling, reports

    _activate()
    chosen = [database.table_named(name) for name in tables] or None
    if eid:
        _check_registered(eid)
        chosen = [t for t in chosen or database.auto_populated() if "eid" in t.primary_key]
    done = filling.fill(chosen, *([{"eid": eid}] if eid else []), progress=True)
    _print_failures([f"{table}: {message}" for table, _, message in done.errors])
    made = ", ".join(f"{table} {n}" for table, n in done.made.items() if n)
    left = len(reports.errors())
    click.echo(f"Made {made or 'nothing: ' + (f'{left} entries have failed' if left else 'all is there')}")
    sys.exit(1 if done.errors else 0)


def _check_registered(eid: str) -> None:
    from schemas import Session

    if not (Session & {"eid": eid}):
        raise click.ClickException(
            f"session {eid} is not registered; 'meso sessions' lists those that are, 'meso ingest' registers others"
        )


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--slots", type=click.IntRange(1), default=1, show_default=True, help="Entries made at once.")
@click.option("--until-done", is_flag=True, help="End when nothing is left to make, by anybody.")
@click.option("--max-time", help="Begin nothing after this time, such as 90 (s), 30m or 12h.")
def worker(tables: tuple[str, ...], slots: int, until_done: bool, max_time: str | None) -> None:
    """Compute what is missing, or only TABLES, and what will be, on as many machines as you like.

    Stops within 10 s on Ctrl-C or SIGTERM; what it was making goes back to the queue.
    """
    from populate_scripts.worker import Supervisor, seconds
    from schemas import database

    _activate()
    names = tuple(database.table_named(name).__name__ for name in tables)
    limit = seconds(max_time) if max_time else float("inf")
    supervisor = Supervisor(slots, names, until_done, limit, say=lambda text: _print_failures([text]))
    click.echo(f"{slots} slot{'s' if slots > 1 else ''} at work; 'meso status --watch' and 'meso workers' say on what")
    code = supervisor.run()
    made = ", ".join(f"{table} {n}" for table, n in supervisor.made.items())
    click.echo(f"Made {made or 'nothing'}; {sum(supervisor.failed.values())} failed")
    sys.exit(code)


@main.command()
@click.option("--all", "everyone", is_flag=True, help="Those that have ended, too.")
@as_json
def workers(everyone: bool, as_json: bool) -> None:
    """Who works where, on what, and for how long (s); slot -1 is 'meso populate' or a notebook."""
    from schemas import reports

    _activate()
    rows = [{**row, "key": _key_text(row["key"])} for row in reports.workers(everyone)]
    if not as_json:
        names = ("host", "pid", "slot", "state", "table", "key", "running", "silent", "started")
        rows = [{**{name: row[name] for name in names}, "worker": row["worker"][:8]} for row in rows]
    _print_rows(rows, as_json, "Nobody works")


@main.command()
@click.option("--watch", is_flag=True, help="Again every 2 s until stopped.")
@as_json
def status(watch: bool, as_json: bool) -> None:
    """Entries done, to do, running and failed, by table, and how long it will take."""
    import time

    from schemas import reports

    _activate()
    while True:
        if watch and not as_json:
            click.clear()
        _print_rows(reports.status(), as_json, "")
        if not watch:
            return
        time.sleep(2)


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--key", "pairs", multiple=True, metavar="NAME=VALUE", help="Only entries of this key, such as eid=...")
@click.option("--stack", is_flag=True, help="With tracebacks and versions.")
@as_json
def errors(tables: tuple[str, ...], pairs: tuple[str, ...], stack: bool, as_json: bool) -> None:
    """What failed and why, alike ones together; exit code 1 if anything did."""
    from schemas import database, reports

    _activate()
    chosen = [database.table_named(name) for name in tables] or None
    rows = reports.errors(chosen, _key_of(pairs), stack=stack)
    if as_json:
        click.echo(json.dumps(rows, default=str))
    for group in [] if as_json else reports.grouped(rows):
        click.secho(f"{group[0]['table']}, {len(group)} {'entry' if len(group) == 1 else 'entries'}", bold=True)
        for row in group:
            click.echo(f"  {_key_text(row['key'])}\n    {row['message']}")
            if stack:
                click.echo("\n".join(f"      {line}" for line in str(row["stack"]).splitlines()))
    if not rows and not as_json:
        click.echo("No errors")
    sys.exit(1 if rows else 0)


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
@click.option("--key", "pairs", multiple=True, metavar="NAME=VALUE", help="Only entries of this key, such as fov=2.")
def retry(tables: tuple[str, ...], eid: str | None, pairs: tuple[str, ...]) -> None:
    """Forget failures, so that 'meso populate' and workers try them again."""
    from schemas import database, reports

    _activate()
    key = _key_of(pairs) | ({"eid": eid} if eid else {})
    n = reports.retry([database.table_named(name) for name in tables] or None, **key)
    if eid and not n:
        _check_registered(eid)
    click.echo(f"{n} failures forgotten")


def _key_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE pairs as a key."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise click.UsageError(f"--key takes NAME=VALUE, not {wrong[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _key_text(key: dict | None) -> str | None:
    return None if key is None else " ".join(f"{name}={value}" for name, value in key.items())


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject that have tracked cells and trials.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(["choice", "feedback", "stimulus", "block"]),
    default=("choice", "feedback", "stimulus"),
    show_default=True,
)
@click.option("--event", help="Trials attribute, such as stimOn_times; by default the target's own.")
@click.option("--win", nargs=2, type=float, metavar="FROM TO", help="Window about the event in s.")
@click.option(
    "--ks", help="Numbers of cells, such as 8,16,32; that of all cells is added. By default from 8 on, by region 2."
)
@click.option("-R", "r", type=int, default=50, show_default=True, help="Random subsets per k.")
@click.option("--metric", type=click.Choice(["auc", "accuracy", "balanced_accuracy"]), default="auc", show_default=True)
@click.option("--delta", type=float, default=0.02, show_default=True, help="k* is this near the ceiling.")
@click.option("--cv-splits", type=int, default=5, show_default=True, help="Folds.")
@click.option(
    "--class-balance", type=click.Choice(["downsample", "weights", "none"]), default="downsample", show_default=True
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--n-label-shuffles", type=int, default=100, show_default=True)
@click.option(
    "--null-subsets", type=int, default=5, show_default=True, help="Subsets behind the score of each shuffle."
)
@click.option(
    "--null",
    type=click.Choice(["auto", "permute", "circular", "linear_shift", "pseudosession", "imposter"]),
    default="auto",
    show_default=True,
    help="Where shuffled labels come from.",
)
@click.option("--n-bootstrap", type=int, default=200, show_default=True, help="Resamplings behind the intervals.")
@click.option("--c-grid", help="Inverse penalties to choose from inside the training folds, such as 0.01,0.1,1.")
@click.option("--fold-mode", type=click.Choice(["stratified", "blocked"]), default="stratified", show_default=True)
@click.option("--fold-gap", type=int, default=0, show_default=True, help="Trials left out beside blocked test trials.")
@click.option(
    "--curve-axis", type=click.Choice(["cells", "trials"]), default="cells", show_default=True, help="What k counts."
)
@click.option("--trial-shuffled", is_flag=True, help="Decode without noise correlations.")
@click.option(
    "--cells",
    type=click.Choice(["shared", "random"]),
    default="shared",
    show_default=True,
    help="Shared cells, or as many random ones of each session.",
)
@click.option("--regions", help="Only cells in these, such as VISp,VISam; regions within them count.")
@click.option("--by-region", help="Curves of each of these by itself, such as VISp,VISam, all up to the same k.")
@click.option("--fovs", help="Only cells in these FOVs, such as 0,2.")
@click.option("--n-cells", type=int, default=0, help="Largest number of cells, to compare regions; by default all.")
@click.option("--min-cell-probability", type=float, help="Leave out cells below it in any session.")
@click.option("--min-silhouette", type=float, help="The same for the cluster silhouette of tracking.")
@tracking_run_option
@click.option("--output", type=Folder(), help="Write figures and the table here.")
@as_json
def ndc(eids, subject, targets, event, win, ks, c_grid, regions, by_region, fovs, min_cell_probability, min_silhouette,
        tracking_run, output, as_json, **common) -> None:  # fmt: skip
    """Neuron-dropping curves of the cells that EIDS, or a subject's sessions, share."""
    from pipeline.decoding import NDCSettings
    from populate_scripts import commands

    if regions and by_region:
        raise click.UsageError("--regions takes cells of all of them together, --by-region of each by itself: use one")
    if by_region and common["curve_axis"] == "trials":
        raise click.UsageError("--by-region compares regions at the same number of cells: --curve-axis cells")
    has_ks = bool(ks)
    if by_region:  # of few cells, of which a curve needs four numbers
        ks = ks or "2,4,8,16,32,64,128,256,512,1024,2048"
    _activate()
    common |= {"event": event or "", "regions": _names(regions)}
    if win:
        common |= {"win_start": win[0], "win_end": win[1]}
    try:
        lists = {"ks": (ks, int), "fovs": (fovs, int), "c_grid": (c_grid, float)}
        common |= {name: _numbers(name, text, kind) for name, (text, kind) in lists.items() if text}
        settings = [NDCSettings(target=target, **common) for target in targets]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    result = commands.ndc(eids, subject, settings, cells, output, tracking_run, _names(by_region))
    if has_ks:
        result.note_short_curves()
    if as_json:
        click.echo(result.table.to_json(orient="records", date_format="iso"))
    else:
        result.show()
        if output:
            click.echo(f"The figures and the table are in {output}/")
    sys.exit(0 if len(result.table) else 1)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (text or "").split(","))))


def _numbers(name: str, text: str, kind: type) -> tuple:
    try:
        return tuple(map(kind, text.split(",")))
    except ValueError:
        raise ValueError(f"--{name.replace('_', '-')} takes numbers with commas, such as 2,4,8; not {text!r}") from None


@main.command()
@click.argument("eids", nargs=-1, required=True)
@click.option("--bg", type=click.Choice(["regions", "firing_rate", "none"]), default="regions", show_default=True)
@click.option("--t-range", nargs=2, type=float, help="From and to, s on the session clock.")
@click.option("--trials/--no-trials", default=True, help="Trial events and blocks on top; by default shown.")
@click.option("--tracked", is_flag=True, help="Only the cells that all of EIDS share, in the order of the first.")
@tracking_run_option
@output_option
@format_option
def raster(eids, bg, t_range, trials, tracked, tracking_run, output, suffix) -> None:
    """Draw the raster of each of EIDS; with --tracked, a row is the same cell in all of them."""
    from populate_scripts import commands

    if tracking_run and not tracked:
        raise click.UsageError("--tracking-run is for --tracked")
    _activate()
    drawing = {"bg": None if bg == "none" else bg, "t_range": t_range or None, "trials": trials}
    if tracked:
        paths = commands.tracked_rasters(eids, tracking_run, drawing, output, suffix)
    else:
        paths = commands.rasters(eids, drawing, output, suffix)
    for path in paths:
        click.echo(str(path))


@main.command("map")
@click.argument("eids", nargs=-1, required=True)
@click.option(
    "--color",
    type=click.Choice(["region", "allen", "rank", "cell_probability", "dv", "time_offset"]),
    default="region",
    show_default=True,
    help="Regions in distinct colours or those of the Allen atlas, the Rastermap rank, or a number of each ROI.",
)
@click.option("--space", is_flag=True, help="In three dimensions.")
@neurons_option
@output_option
@format_option
def cell_map(eids: tuple[str, ...], color: str, space: bool, neurons_only: bool, output: Path, suffix: str) -> None:
    """Draw where the cells of each of EIDS are."""
    from populate_scripts import figures

    _activate()
    for eid in eids:
        _check_registered(eid)
        click.echo(str(figures.cell_map(eid, color, space, neurons_only, output, suffix)))


@main.command()
@click.argument("subject")
@tracking_run_option
@neurons_option
@output_option
@format_option
def tracking(subject: str, tracking_run: str | None, neurons_only: bool, output: Path, suffix: str) -> None:
    """Draw which cells of SUBJECT are there when, how many its sessions share, and how many are found again."""
    from populate_scripts import figures

    _activate()
    for path in figures.tracking(subject, tracking_run, neurons_only, output, suffix):
        click.echo(str(path))


@main.command()
@click.argument("eids", nargs=-1, required=True)
@click.option(
    "--window", "windows", multiple=True, default=("choiceL", "choiceR"), show_default=True,
    help="Kind of trials, see docs/figures.md; again for more.",
)  # fmt: skip
@click.option(
    "--by", type=click.Choice(["all", "area", "region"]), default="area", show_default=True, help="What is averaged."
)
@click.option("--around", nargs=2, type=float, default=(-0.5, 1.5), show_default=True, help="Seconds from the event.")
@click.option("--cells", is_flag=True, help="Also a row for each cell, by window.")
@neurons_option
@output_option
@format_option
def peri(eids, windows, by, around, cells, neurons_only, output, suffix) -> None:
    """Draw the mean activity of each of EIDS around an event, over trials."""
    from pipeline.peri_event import WINDOWS
    from populate_scripts import figures

    if wrong := [name for name in windows if name not in WINDOWS]:
        raise click.UsageError(f"--window is one of {', '.join(WINDOWS)}; not {wrong[0]!r}")
    if not around[0] < around[1]:
        raise click.UsageError(f"--around takes a start and a later end, not {around[0]:g} {around[1]:g}")
    _activate()
    for eid in eids:
        _check_registered(eid)
        for path in figures.peri_event(eid, windows, by, around, cells, neurons_only, output, suffix):
            click.echo(str(path))


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject.")
@click.option("--format", "kind", type=click.Choice(["nwb", "parquet"]), required=True)
@output_option
@click.option("--neurons/--all-rois", "neurons_only", default=False, help="Which ROIs; by default all.")
@click.option("--overwrite", is_flag=True, help="Replace what was exported before.")
def export(eids, subject, kind, output, neurons_only, overwrite) -> None:
    """Write each of EIDS, or a subject's sessions, to files that need no database: NWB, or Parquet tables."""
    from pipeline.errors import DataError
    from schemas.export import export_session
    from schemas.verify import sessions

    if not (eids or subject):
        raise click.UsageError("Name session ids, or --subject")
    _activate()
    failures = []
    for eid in sessions((), subject) if subject else eids:
        try:
            click.echo(str(export_session(eid, kind, output, neurons_only=neurons_only, overwrite=overwrite)))
        except DataError as error:
            failures.append(str(error))
    _print_failures(failures)
    sys.exit(1 if failures else 0)


@main.command()
@click.argument("subject")
@uid_root_option
@click.option("--mirror", help="First copy UID files from this folder or http(s) address into --uid-root.")
@click.option("--refresh", is_flag=True, help="Take files that changed at the source since the last mirror.")
@click.option(
    "--duplicates",
    type=click.Choice(["error", "first"]),
    default="error",
    show_default=True,
    help="A UID twice in a session.",
)
def track(subject: str, uid_root: Path | None, mirror: str | None, refresh: bool, duplicates: str) -> None:
    """Register the cell UIDs of SUBJECT and match them to ROIs.

    The address of --mirror may need credentials: MESO_UID_USER and MESO_UID_PASSWORD, or the file
    named by MESO_UID_CREDENTIALS.
    """
    from populate_scripts import commands

    _activate()
    lines, failures = commands.track(subject, uid_root, mirror, refresh, duplicates)
    _print_failures(failures)
    for line in lines:
        click.echo(line)
    sys.exit(1 if failures else 0)


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject.")
@click.option("--source", is_flag=True, help="Compare traces with the files that they were read from.")
@as_json
def verify(eids: tuple[str, ...], subject: str | None, source: bool, as_json: bool) -> None:
    """Read every stored array of EIDS, a subject's or all sessions again; exit code 1 if any is not whole."""
    from schemas import verify as store

    _activate()
    done = store.Verified()
    for eid in store.sessions(eids, subject):
        found = store.verify_session(eid, source=source)
        done += found
        if not as_json:
            for finding in found.findings:
                click.secho(str(finding), fg="yellow" if finding.kind in store.NOTES else "red")
    click.echo(json.dumps(done.as_row()) if as_json else done.summary())
    sys.exit(0 if done.ok else 1)


@main.command("import-cache")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--eid", help="Session of one file whose name does not say it.")
@click.option("--dry-run", is_flag=True, help="Insert nothing; say what would be taken.")
@as_json
def import_cache(files: tuple[Path, ...], eid: str | None, dry_run: bool, as_json: bool) -> None:
    """Take the order of cells from caches (.npy, .pkl) of the scripts; exit code 1 if nothing of one can be used."""
    from pipeline.errors import DataError
    from schemas.old_caches import import_file

    if eid and len(files) > 1:
        raise click.UsageError("--eid is for one file: name them one by one")
    _activate()
    rows: list[dict[str, Any]] = []
    for path in files:
        try:
            found = import_file(path, eid, dry_run=dry_run)
            row, lines = found.as_row(), found.lines()
        except DataError as error:
            row, lines = {"file": path.name, "taken": None, "problem": str(error)}, [f"not taken: {error}"]
        rows.append(row)
        if not as_json:
            click.echo("\n    ".join([click.style(str(path), bold=True), *lines]))
    if as_json:
        click.echo(json.dumps(rows))
    sys.exit(1 if any("problem" in row for row in rows) else 0)


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(eids: tuple[str, ...], subject: str | None, yes: bool) -> None:
    """Delete sessions, EIDS or a subject's, with all that depends on them; first it says what goes, and asks."""
    from schemas import Session, delete_sessions
    from schemas.verify import sessions

    if not (eids or subject):
        raise click.UsageError("Name session ids, or --subject")
    _activate()
    named = sessions(eids, subject)

    for row in (Session & [{"eid": eid} for eid in named]).to_dicts(order_by="subject, session_date"):
        click.echo(f"{row['subject']} {row['session_date']} {row['session_number']:03d}  {row['eid']}")

    def confirm(counts: dict[str, int]) -> bool:
        _print_rows([{"table": table, "rows": count} for table, count in counts.items()], False, "")
        answer = named[0] if len(named) == 1 else str(len(named))
        what = "the session's id" if len(named) == 1 else f"{answer}, the number of sessions,"
        return yes or click.prompt(f"Type {what} to delete all of this", default="", show_default=False) == answer

    gone = delete_sessions([{"eid": eid} for eid in named], confirm)
    click.echo(f"{sum(gone.values())} rows deleted" if gone else "Nothing was deleted")
    sys.exit(0 if gone else 1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is all of them.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@click.option("--name", "names", multiple=True, help="Name by which browsers may ask for it; again for more.")
@click.option("--open", "show", is_flag=True, help="Open it in a browser.")
def serve(host: str, port: int, names: tuple[str, ...], show: bool) -> None:
    """Show the database in a browser: pipeline, sessions, rasters, maps, curves. It only reads, until Ctrl-C."""
    from populate_scripts.page.app import LOOPBACK
    from populate_scripts.page.app import serve as run

    if host not in LOOPBACK:
        _print_failures([f"Whoever reaches {host}:{port} can read all of the database: there is no password"])

    def say(address: str) -> None:
        click.echo(f"{address}  (Ctrl-C ends)")
        if show:
            click.launch(address)

    run(host, port, names, say)


@main.group()
def store() -> None:
    """Traces outside the database, in a folder or bucket (docs/store.md)."""


@store.command("gc")
@click.option("--delete", is_flag=True, help="Remove them; without it nothing is.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), default=1.0, show_default=True, metavar="DAYS",
    help="A younger object may be one that a running ingest is about to name.",
)  # fmt: skip
@as_json
def store_gc(delete: bool, older_than: float, as_json: bool) -> None:
    """List the objects of this database, in all stores, that no row names, or remove them."""
    from pipeline.errors import ConfigError
    from schemas import objects

    _activate()
    found, failures, n_young = [], [], 0
    for name in objects.stores_to_look_in():
        try:
            orphans = objects.orphans(name, older_than)
            n_young += len(objects.orphans(name, 0.0)) - len(orphans)
            for orphan in orphans if delete else ():
                objects.remove(orphan)
            found += orphans
        except ConfigError as error:
            failures.append(str(error))
    _print_rows([orphan.as_row() for orphan in found], as_json, "No object without rows")
    if found and not as_json:
        size = sum(orphan.object.size for orphan in found) / 1e6
        done = "removed" if delete else "a dry run; --delete removes them"
        click.echo(f"{len(found)} objects that no row names, {size:.1f} MB: {done}")
    if n_young and not as_json:
        click.echo(f"{n_young} more are younger than {older_than:g} days: --older-than DAYS")
    _print_failures(failures)
    sys.exit(1 if failures else 0)


@store.command("move")
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject.")
@click.option("--to", required=True, metavar="NAME", help="A store of DataJoint's settings, or 'database'.")
def store_move(eids: tuple[str, ...], subject: str | None, to: str) -> None:
    """Move the traces of EIDS, a subject's or all sessions, FOV by FOV. May be killed, and run again."""
    from tqdm import tqdm

    from pipeline.errors import DataError
    from schemas import objects, verify

    _activate()
    target, failures, n_traces = None if to == objects.DATABASE else to, [], 0
    fovs = objects.to_move(verify.sessions(eids, subject), target)
    for key in tqdm(fovs, desc="FOVs", disable=None):
        try:
            n_traces += objects.move(key, target)
        except DataError as error:
            failures.append(str(error))
    _print_failures(failures)
    click.echo(f"{len(fovs) - len(failures)} FOVs with {n_traces} traces moved to {to}, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
