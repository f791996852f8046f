"""The command line ``meso``. Heavy imports wait until a command runs: ``meso --help`` is quick."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from pipeline.errors import MesoError


class Meso(click.Group):
    """Commands in the order they are defined; our own errors are one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        warnings.showwarning = lambda message, *_: click.secho(f"! {message}", err=True, fg="yellow")
        try:
            return super().invoke(ctx)
        except MesoError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Meso, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="meso")
def main() -> None:
    """Two-photon mesoscope sessions of the IBL in one relational database."""


def _activate() -> None:
    import schemas

    schemas.activate()


def _console() -> Any:
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)


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


as_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")
cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="ONE cache to read ; by default MESO_ONE_CACHE_DIR, or ONE as set up.",
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
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("demo_output"), show_default=True
)
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
    sys.exit(0 if len(result.table) else 1)


@main.group()
def db() -> None:
    """The database: start, stop, status, init."""


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
    from schemas import migrations

    applied = migrations.init()
    for migration in applied:
        click.echo(f"Applied {migration.number}: {migration.title}")
    click.echo(f"The tables are at version {migrations.LATEST}")


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
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
@click.option("--watch", is_flag=True, help="Go on: look for new work every 10 s until stopped.")
def populate(tables: tuple[str, ...], eid: str | None, watch: bool) -> None:
    """Compute all that is missing, or only TABLES. Several may run at once, on several machines."""
    import time

    from schemas import filling

    _activate()
    chosen = [filling.table_named(name) for name in tables] or None
    if eid:
        _check_registered(eid)
        chosen = [t for t in chosen or filling.auto_populated() if "eid" in t.primary_key]
    while True:
        done = filling.fill(chosen, *([{"eid": eid}] if eid else []), progress=True)
        _print_failures([f"{table}: {message}" for table, _, message in done.errors])
        made = ", ".join(f"{table} {n}" for table, n in done.made.items() if n)
        if made or not watch:
            left = len(filling.errors())
            click.echo(f"Made {made or 'nothing: ' + (f'{left} entries have failed' if left else 'all is there')}")
        if not watch:
            sys.exit(1 if done.errors else 0)
        time.sleep(10)


def _check_registered(eid: str) -> None:
    from schemas import Session

    if not (Session & {"eid": eid}):
        raise click.ClickException(f"session {eid} is not registered; 'meso ingest' registers sessions")


@main.command()
@as_json
def status(as_json: bool) -> None:
    """Entries done, to do, running and failed, by table."""
    from schemas import filling

    _activate()
    _print_rows(filling.status(), as_json, "")


@main.command()
@click.argument("tables", nargs=-1)
@as_json
def errors(tables: tuple[str, ...], as_json: bool) -> None:
    """What failed and why; exit code 1 if anything did."""
    from schemas import filling

    _activate()
    rows = filling.errors([filling.table_named(name) for name in tables] or None)
    if as_json:
        click.echo(json.dumps(rows, default=str))
    elif rows:
        for row in rows:
            key = " ".join(f"{name}={value}" for name, value in row["key"].items())
            click.echo(f"{click.style(row['table'], bold=True)} {key}\n    {row['message']}")
    else:
        click.echo("No errors")
    sys.exit(1 if rows else 0)


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
def retry(tables: tuple[str, ...], eid: str | None) -> None:
    """Forget failures, so that 'meso populate' tries them again."""
    from schemas import filling

    _activate()
    n = filling.retry([filling.table_named(name) for name in tables] or None, **({"eid": eid} if eid else {}))
    if eid and not n:
        _check_registered(eid)
    click.echo(f"{n} failures forgotten")


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
@click.option("--ks", help="Numbers of cells, such as 8,16,32; that of all cells is added.")
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
@click.option("--fovs", help="Only cells in these FOVs, such as 0,2.")
@click.option("--n-cells", type=int, default=0, help="Largest number of cells, to compare regions; by default all.")
@click.option("--min-cell-probability", type=float, help="Leave out cells below it in any session.")
@click.option("--min-silhouette", type=float, help="The same for the cluster silhouette of tracking.")
@click.option("--tracking-run", help="Start of its hash; by default the run registered last.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Write figures and the table here.")
@as_json
def ndc(eids, subject, targets, event, win, ks, c_grid, regions, fovs, min_cell_probability, min_silhouette,
        tracking_run, output, as_json, **common) -> None:  # fmt: skip
    """Neuron-dropping curves of the cells that EIDS, or a subject's sessions, share."""
    from pipeline.decoding import NDCSettings
    from populate_scripts import commands

    _activate()
    common |= {"event": event or "", "regions": tuple(filter(None, (regions or "").split(",")))}
    if win:
        common |= {"win_start": win[0], "win_end": win[1]}
    try:
        lists = {"ks": (ks, int), "fovs": (fovs, int), "c_grid": (c_grid, float)}
        common |= {name: _numbers(name, text, kind) for name, (text, kind) in lists.items() if text}
        settings = [NDCSettings(target=target, **common) for target in targets]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    result = commands.ndc(eids, subject, settings, cells, output, tracking_run)
    if as_json:
        click.echo(result.table.to_json(orient="records", date_format="iso"))
    else:
        result.show()
    sys.exit(0 if len(result.table) else 1)


def _numbers(name: str, text: str, kind: type) -> tuple:
    try:
        return tuple(map(kind, text.split(",")))
    except ValueError:
        raise ValueError(f"--{name.replace('_', '-')} takes numbers with commas, such as 2,4,8; not {text!r}") from None


@main.command()
@click.argument("eids", nargs=-1, required=True)
@click.option("--bg", type=click.Choice(["regions", "firing_rate", "none"]), default="regions", show_default=True)
@click.option("--t-range", nargs=2, type=float, help="From and to, s on the session clock.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path("."), show_default=True)
@click.option("--format", "suffix", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True)
def raster(eids: tuple[str, ...], bg: str, t_range: tuple[float, float], output: Path, suffix: str) -> None:
    """Draw the raster of each of EIDS."""
    from populate_scripts import commands

    _activate()
    for path in commands.rasters(eids, None if bg == "none" else bg, t_range or None, output, suffix):
        click.echo(str(path))


@main.command()
@click.argument("eids", nargs=-1, required=True)
@click.option("--format", "kind", type=click.Choice(["nwb", "parquet"]), required=True)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path("."), show_default=True)
@click.option("--neurons/--all-rois", "neurons_only", default=False, help="Which ROIs; by default all.")
@click.option("--overwrite", is_flag=True, help="Replace what was exported before.")
def export(eids: tuple[str, ...], kind: str, output: Path, neurons_only: bool, overwrite: bool) -> None:
    """Write each of EIDS to files that need no database: NWB, or Parquet tables."""
    from pipeline.errors import DataError
    from schemas.export import export_session

    _activate()
    failures = []
    for eid in eids:
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


if __name__ == "__main__":
    main()
