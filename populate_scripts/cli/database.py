"""``meso db``, ``meso store`` and ``meso serve``: the server, where traces lie, and the page."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import activate, as_json, print_failures, print_rows


@main.group()
def db() -> None:
    """The database: start, stop, status, init, grant."""


@db.command("start")
def db_start() -> None:
    """Start the embedded PostgreSQL (other commands do so by themselves)."""
    from schemas.server import embedded

    _embedded_only()
    click.echo(f"Running; socket in {embedded.start()}")


@db.command("stop")
def db_stop() -> None:
    """Stop the embedded PostgreSQL."""
    from schemas.server import embedded

    _embedded_only()
    click.echo("Stopped" if embedded.stop() else "It was not running")


def _embedded_only() -> None:

    from schemas.server.connection import has_own_server

    if has_own_server():
        raise click.ClickException(
            "DJ_* variables or datajoint.json name a server; it is started and stopped elsewhere"
        )


@db.command("status")
@as_json
def db_status(as_json: bool) -> None:
    """Say which database is used and the version of its tables."""
    from schemas.server import embedded
    from schemas.server.connection import connect, has_own_server
    from schemas.server.settings import prefix
    from schemas.setup import migrations

    own = has_own_server()
    row: dict[str, Any] = {"server": "own" if own else "embedded", "prefix": prefix()}
    if own or embedded.running():
        connection = connect()
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
    from schemas.setup import migrations, roles

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
    from schemas.setup import roles

    done = roles.grant(user, role, host, new_password=new_password)
    print_failures(done.notes)
    click.echo(f"{done.account} is {role} of {roles.prefix()}*")
    if done.password:
        click.echo(f"Password, shown this once: {done.password}")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is all of them.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@click.option("--name", "names", multiple=True, help="Name by which browsers may ask for it; again for more.")
@click.option("--open", "show", is_flag=True, help="Open it in a browser.")
def serve(host: str, port: int, names: tuple[str, ...], show: bool) -> None:
    """Show the database in a browser: pipeline, sessions, rasters, maps, curves. It only reads, until Ctrl-C."""
    from page.app import LOOPBACK
    from page.app import serve as run

    if host not in LOOPBACK:
        print_failures([f"Whoever reaches {host}:{port} can read all of the database: there is no password"])

    def say(address: str) -> None:
        click.echo(f"{address}  (Ctrl-C ends)")
        if show:
            click.launch(address)

    run(host, port, names, say)


@main.group()
def store() -> None:
    """Traces outside the database, in a folder or bucket (docs/operation/store.md)."""


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
    from schemas.imaging import objects

    activate()
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
    print_rows([orphan.as_row() for orphan in found], as_json, "No object without rows")
    if found and not as_json:
        size = sum(orphan.object.size for orphan in found) / 1e6
        done = "removed" if delete else "a dry run; --delete removes them"
        click.echo(f"{len(found)} objects that no row names, {size:.1f} MB: {done}")
    if n_young and not as_json:
        click.echo(f"{n_young} more are younger than {older_than:g} days: --older-than DAYS")
    print_failures(failures)
    sys.exit(1 if failures else 0)


@store.command("move")
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject.")
@click.option("--to", required=True, metavar="NAME", help="A store of DataJoint's settings, or 'database'.")
def store_move(eids: tuple[str, ...], subject: str | None, to: str) -> None:
    """Move the traces of EIDS, a subject's or all sessions, FOV by FOV. May be killed, and run again."""
    from tqdm import tqdm

    from pipeline.errors import DataError
    from schemas.imaging import objects
    from schemas.queries.sessions import session_ids

    activate()
    target, failures, n_traces = None if to == objects.DATABASE else to, [], 0
    fovs = objects.to_move(session_ids(eids, subject), target)
    for key in tqdm(fovs, desc="FOVs", disable=None):
        try:
            n_traces += objects.move(key, target)
        except DataError as error:
            failures.append(str(error))
    print_failures(failures)
    click.echo(f"{len(fovs) - len(failures)} FOVs with {n_traces} traces moved to {to}, {len(failures)} failed")
    sys.exit(1 if failures else 0)
