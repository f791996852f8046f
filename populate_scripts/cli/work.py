"""Commands that register sessions, populate tables, and report on jobs and workers."""

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
    echo,
    key_of,
    key_text,
    print_error_groups,
    print_failures,
    print_rows,
    registered_id,
)

#: Columns of ``meso sessions`` on screen; --json has all of them.
SESSION_COLUMNS = (
    "subject", "session_date", "session_number", "eid", "n_fovs", "n_neurons", "n_trials", "n_tracked", "n_errors",
)  # fmt: skip
#: Columns of ``meso workers`` on screen, before the worker's own id.
WORKER_COLUMNS = ("host", "pid", "slot", "state", "table", "key", "running", "silent", "started")


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of this subject with imaging.")
@click.option("--all", "everything", is_flag=True, help="All sessions with imaging in the ONE cache.")
@cache_dir_option
def ingest(eids: tuple[str, ...], subject: str | None, everything: bool, cache_dir: Path | None) -> None:
    """Register sessions of ONE: EIDS, a subject's or all.

    EIDS are ids, or subject/date/number; from the tables of a folder also the first 8 or more characters of an id.
    'meso populate' or 'meso worker' then reads their data.
    """
    if not (eids or subject or everything):
        raise click.UsageError("Name session ids, --subject or --all")
    from populate_scripts.ingest import ingest as run

    activate()
    done = run(eids, subject=subject, everything=everything, cache_dir=cache_dir, progress=True)
    print_failures(list(dict.fromkeys(done.failed.values())))
    if done.changed:
        changed = " ".join(dict.fromkeys(row.key["eid"] for row in done.changed))
        lines = [f"{row.table} of other files than ONE has now: {row}" for row in done.changed]
        print_failures([*lines, f"To read them again: meso update {changed}"])
    echo(f"{len(done.new)} new, {len(done.known)} known, {len(done.failed)} failed")
    found = done.new or done.known
    if not found and not done.failed:
        print_failures([f"ONE has no session with imaging{f' of {subject}' if subject else ''}"])
    sys.exit(0 if found and not done.failed else 1)


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of this subject.")
@click.option("--all", "everything", is_flag=True, help="All registered sessions.")
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would be computed again.")
@as_json
def update(eids: tuple[str, ...], subject: str | None, everything: bool, dry_run: bool, as_json: bool) -> None:
    """Read changed files again, and recompute their results.

    Of sessions: EIDS, a subject's or all. Sets of sessions, curves and families that were asked for stay, and get new
    results; the former ones are kept in FormerResult. If it is interrupted, run it again.
    """
    if not (eids or subject or everything):
        raise click.UsageError("Name session ids, --subject or --all")
    from populate_scripts.commands import update_lines
    from schemas.queries.sessions import session_ids
    from schemas.upkeep.update import update as run

    activate()
    done = run(session_ids(eids, subject), dry_run=dry_run, progress=not as_json)
    print_failures(done.failures)
    click.echo(json.dumps(done.as_row()) if as_json else "\n".join(update_lines(done, dry_run)))
    sys.exit(1 if done.failures else 0)


@main.command()
@click.option("--subject", help="Only sessions of this subject.")
@as_json
def sessions(subject: str | None, as_json: bool) -> None:
    """List sessions: ids, and numbers of FOVs, cells and trials."""
    activate()
    from schemas.queries.sessions import sessions as listed

    rows = listed(subject)
    if not as_json:
        rows = [{name.removeprefix("session_"): row[name] for name in SESSION_COLUMNS} for row in rows]
    print_rows(rows, as_json, "No sessions are registered yet; register some with: meso ingest")


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
def populate(tables: tuple[str, ...], eid: str | None) -> None:
    """Populate all tables, or only TABLES, then exit.

    Several may run at the same time, on any number of machines; see also 'meso worker'. Exits 1 if a job failed, or is
    not due yet.
    """
    from populate_scripts import commands

    activate()
    if eid:
        eid = registered_id(eid)
    summary, failures = commands.populate(tables, eid)
    print_failures(failures)
    echo(summary)
    sys.exit(1 if failures else 0)


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--slots", type=click.IntRange(1), default=1, show_default=True, help="Jobs to run at the same time.")
@click.option("--until-done", is_flag=True, help="Exit when no job is pending or running, on any machine.")
@click.option("--max-time", metavar="TIME", help="Start no job after this time: seconds, or e.g. 30m, 12h, 2d.")
def worker(tables: tuple[str, ...], slots: int, until_done: bool, max_time: str | None) -> None:
    """Run jobs of all tables or of TABLES until stopped.

    Any number of workers, on any number of machines, share the jobs. Stops within 10 s on Ctrl-C, SIGTERM, or when its
    terminal is closed (unless started with nohup); the jobs that it was running go back to the queue.

    \b
    meso worker --slots 8
    meso worker NDCResult --until-done --max-time 12h
    """
    from populate_scripts.commands import counts_text
    from populate_scripts.worker import Supervisor, seconds
    from schemas.server.binding import table_named

    activate()
    names = tuple(table_named(name).__name__ for name in tables)
    limit = seconds(max_time) if max_time else float("inf")
    supervisor = Supervisor(slots, names, until_done, limit, say=lambda text: print_failures([text]))
    echo(f"{slots} slot{'s' if slots > 1 else ''} started; see 'meso status --watch' and 'meso workers'")
    code = supervisor.run()
    echo(f"Populated {counts_text(supervisor.made) or 'nothing'}; {sum(supervisor.failed.values())} failed")
    sys.exit(code)


@main.command()
@click.option("--all", "include_ended", is_flag=True, help="Include workers that have ended.")
@as_json
def workers(include_ended: bool, as_json: bool) -> None:
    """List active workers and the job each is running.

    Times are in seconds. Slot -1 is 'meso populate' or a notebook.
    """
    from schemas.work import reports

    activate()
    rows = [{**row, "key": key_text(row["key"])} for row in reports.workers(include_ended)]
    if not as_json:
        rows = [{**{name: row[name] for name in WORKER_COLUMNS}, "worker": row["worker"][:8]} for row in rows]
    print_rows(rows, as_json, "No active workers")


@main.command()
@click.option("--watch", is_flag=True, help="Refresh every 2 s until stopped.")
@as_json
def status(watch: bool, as_json: bool) -> None:
    """Count jobs done, to do, running and failed by table.

    Also shows the mean time of a job and the estimated time until all are done, in seconds.
    """
    import time

    activate()
    from schemas.work import reports

    while True:
        if watch and not as_json:
            click.clear()
        print_rows(reports.status(), as_json, "")
        if not watch:
            return
        time.sleep(2)


@main.command()
@click.argument("tables", nargs=-1)
@click.option(
    "--key", "pairs", multiple=True, metavar="NAME=VALUE", help="Only jobs with this key, e.g. eid=...; repeatable."
)
@click.option("--stack", is_flag=True, help="Also print tracebacks and software versions.")
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
    elif rows:
        print_error_groups(reports.grouped(rows), stack)
    else:
        echo("No errors")
    sys.exit(1 if rows else 0)


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
@click.option(
    "--key", "pairs", multiple=True, metavar="NAME=VALUE", help="Only jobs with this key, e.g. fov=2; repeatable."
)
def retry(tables: tuple[str, ...], eid: str | None, pairs: tuple[str, ...]) -> None:
    """Clear failures, so that the jobs run again.

    Of all tables, or only of TABLES. Fix the cause first: 'meso errors' lists it.
    """
    from schemas.server.binding import table_named
    from schemas.work import reports

    activate()
    key = key_of((*pairs, f"eid={eid}") if eid else pairs)
    n = reports.retry([table_named(name) for name in tables] or None, **key)
    # after the fact: a session without failures is no error, an unknown one is
    if eid and not n:
        registered_id(eid)
    echo(f"{n} failure{'' if n == 1 else 's'} cleared")
