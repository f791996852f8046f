"""Commands that register sessions, populate tables, and say how it goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    activate,
    as_json,
    cache_dir_option,
    check_registered,
    key_of,
    key_text,
    print_failures,
    print_rows,
)


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

    activate()
    done = run(eids, subject=subject, everything=everything, cache_dir=cache_dir, progress=True)
    print_failures(list(done.failed.values()))
    click.echo(f"{len(done.new)} new, {len(done.known)} known, {len(done.failed)} failed")
    found = done.new or done.known
    if not found and not done.failed:
        print_failures([f"ONE knows no session with imaging{f' of {subject}' if subject else ''}"])
    sys.exit(0 if found and not done.failed else 1)


@main.command()
@click.option("--subject", help="Only those of a subject.")
@as_json
def sessions(subject: str | None, as_json: bool) -> None:
    """List sessions with their ids, and what is known of each."""
    from schemas.queries.sessions import sessions as listed

    activate()
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
    print_rows(columns, as_json, "No session is registered: meso ingest")


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
def populate(tables: tuple[str, ...], eid: str | None) -> None:
    """Compute all that is missing, or only TABLES, and end. Several may run at once; see also 'meso worker'."""
    from schemas.server.binding import auto_populated, table_named
    from schemas.work import filling, reports

    activate()
    chosen = [table_named(name) for name in tables] or None
    if eid:
        check_registered(eid)
        chosen = [t for t in chosen or auto_populated() if "eid" in t.primary_key]
    done = filling.fill(chosen, *([{"eid": eid}] if eid else []), progress=True)
    print_failures([f"{table}: {message}" for table, _, message in done.errors])
    made = ", ".join(f"{table} {n}" for table, n in done.made.items() if n)
    left = len(reports.errors())
    click.echo(f"Made {made or 'nothing: ' + (f'{left} entries have failed' if left else 'all is there')}")
    sys.exit(1 if done.errors else 0)


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
    from schemas.server.binding import table_named

    activate()
    names = tuple(table_named(name).__name__ for name in tables)
    limit = seconds(max_time) if max_time else float("inf")
    supervisor = Supervisor(slots, names, until_done, limit, say=lambda text: print_failures([text]))
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
    from schemas.work import reports

    activate()
    rows = [{**row, "key": key_text(row["key"])} for row in reports.workers(everyone)]
    if not as_json:
        names = ("host", "pid", "slot", "state", "table", "key", "running", "silent", "started")
        rows = [{**{name: row[name] for name in names}, "worker": row["worker"][:8]} for row in rows]
    print_rows(rows, as_json, "Nobody works")


@main.command()
@click.option("--watch", is_flag=True, help="Again every 2 s until stopped.")
@as_json
def status(watch: bool, as_json: bool) -> None:
    """Entries done, to do, running and failed, by table, and how long it will take."""
    import time

    from schemas.work import reports

    activate()
    while True:
        if watch and not as_json:
            click.clear()
        print_rows(reports.status(), as_json, "")
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
    from schemas.server.binding import table_named
    from schemas.work import reports

    activate()
    chosen = [table_named(name) for name in tables] or None
    rows = reports.errors(chosen, key_of(pairs), stack=stack)
    if as_json:
        click.echo(json.dumps(rows, default=str))
    for group in [] if as_json else reports.grouped(rows):
        click.secho(f"{group[0]['table']}, {len(group)} {'entry' if len(group) == 1 else 'entries'}", bold=True)
        for row in group:
            click.echo(f"  {key_text(row['key'])}\n    {row['message']}")
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
    from schemas.server.binding import table_named
    from schemas.work import reports

    activate()
    key = key_of(pairs) | ({"eid": eid} if eid else {})
    n = reports.retry([table_named(name) for name in tables] or None, **key)
    if eid and not n:
        check_registered(eid)
    click.echo(f"{n} failures forgotten")
