"""Commands that register sessions, populate tables, and report on the work."""

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
    from schemas.work.states import JobStatus

    activate()
    chosen = [table_named(name) for name in tables] or None
    if eid:
        check_registered(eid)
        chosen = [t for t in chosen or auto_populated() if "eid" in t.primary_key]
    done = filling.fill(chosen, *([{"eid": eid}] if eid else []), progress=True)
    print_failures([f"{table}: {message}" for table, _, message in done.errors])
    made = ", ".join(f"{table} {n}" for table, n in done.made.items() if n)
    n_failed = sum(n for (_, status), n in reports.jobs_by_status().items() if status == JobStatus.ERROR)
    nothing = f"nothing: {f'{n_failed} jobs have failed' if n_failed else 'all is there'}"
    click.echo(f"Made {made or nothing}")
    sys.exit(1 if done.errors else 0)


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--slots", type=click.IntRange(1), default=1, show_default=True, help="Jobs run at once.")
@click.option("--until-done", is_flag=True, help="End when no job is left, running elsewhere included.")
@click.option("--max-time", help="Begin no job after this time, such as 90 (s), 30m or 12h.")
def worker(tables: tuple[str, ...], slots: int, until_done: bool, max_time: str | None) -> None:
    """Run jobs of all tables or of TABLES as they become possible, on any number of machines.

    Stops within 10 s on Ctrl-C or SIGTERM; the jobs that it was running go back to the queue.
    """
    from populate_scripts.worker import Supervisor, seconds
    from schemas.server.binding import table_named

    activate()
    names = tuple(table_named(name).__name__ for name in tables)
    limit = seconds(max_time) if max_time else float("inf")
    supervisor = Supervisor(slots, names, until_done, limit, say=lambda text: print_failures([text]))
    click.echo(f"{slots} slot{'s' if slots > 1 else ''} started; see 'meso status --watch' and 'meso workers'")
    code = supervisor.run()
    made = ", ".join(f"{table} {n}" for table, n in supervisor.made.items())
    click.echo(f"Made {made or 'nothing'}; {sum(supervisor.failed.values())} failed")
    sys.exit(code)


@main.command()
@click.option("--all", "include_ended", is_flag=True, help="Include workers that have ended.")
@as_json
def workers(include_ended: bool, as_json: bool) -> None:
    """List active workers and the job each is running.

    Times are in s. Slot -1 is 'meso populate' or a notebook.
    """
    from schemas.work import reports

    activate()
    rows = [{**row, "key": key_text(row["key"])} for row in reports.workers(include_ended)]
    if not as_json:
        names = ("host", "pid", "slot", "state", "table", "key", "running", "silent", "started")
        rows = [{**{name: row[name] for name in names}, "worker": row["worker"][:8]} for row in rows]
    print_rows(rows, as_json, "No active workers")


@main.command()
@click.option("--watch", is_flag=True, help="Refresh every 2 s until stopped.")
@as_json
def status(watch: bool, as_json: bool) -> None:
    """Count jobs done, to do, running and failed by table.

    With the mean time of a job and the time that is left (s).
    """
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
@click.option("--key", "pairs", multiple=True, metavar="NAME=VALUE", help="Only jobs of this key, such as eid=...")
@click.option("--stack", is_flag=True, help="With tracebacks and versions.")
@as_json
def errors(tables: tuple[str, ...], pairs: tuple[str, ...], stack: bool, as_json: bool) -> None:
    """List failed jobs, similar errors grouped. Exits 1 if there are any."""
    from schemas.server.binding import table_named
    from schemas.work import reports

    activate()
    chosen = [table_named(name) for name in tables] or None
    rows = reports.errors(chosen, key_of(pairs), stack=stack)
    if as_json:
        click.echo(json.dumps(rows, default=str))
    for group in [] if as_json else reports.grouped(rows):
        click.secho(f"{group[0]['table']}, {len(group)} {'job' if len(group) == 1 else 'jobs'}", bold=True)
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
@click.option("--key", "pairs", multiple=True, metavar="NAME=VALUE", help="Only jobs of this key, such as fov=2.")
def retry(tables: tuple[str, ...], eid: str | None, pairs: tuple[str, ...]) -> None:
    """Clear failures, so that these jobs are tried again."""
    from schemas.server.binding import table_named
    from schemas.work import reports

    activate()
    key = key_of(pairs) | ({"eid": eid} if eid else {})
    n = reports.retry([table_named(name) for name in tables] or None, **key)
    if eid and not n:
        check_registered(eid)
    click.echo(f"{n} failure{'' if n == 1 else 's'} cleared")
