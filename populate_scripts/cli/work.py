"""Commands that register sessions, populate tables, and report on jobs and workers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.text import counted
from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Asked,
    activate,
    as_json,
    cache_dir_option,
    echo,
    for_mice,
    for_sessions,
    key_of,
    key_text,
    list_option,
    print_error_groups,
    print_failures,
    print_rows,
    registered_id,
    tag_option,
)

if TYPE_CHECKING:
    from pipeline.scan import Scanned

YES = {True: "yes", False: "no"}

#: Columns of ``meso sessions`` on screen; --json has all of them.
SESSION_COLUMNS = (
    "subject", "session_date", "session_number", "eid", "n_fovs", "n_neurons", "n_trials", "n_tracked", "n_errors",
)  # fmt: skip
#: Columns of ``meso workers`` on screen, before the worker's own id.
WORKER_COLUMNS = ("host", "pid", "slot", "state", "table", "key", "running_for", "silent", "started")


@main.command()
@for_mice
@click.option("--project", help="Only sessions of this project.")
@cache_dir_option
@as_json
def scan(subjects: tuple[str, ...], project: str | None, cache_dir: Path | None, as_json: bool) -> None:
    """List the sessions of ONE and what they can be used for.

    Of the SUBJECTS, or of all. Reads lists of datasets and headers of files that are here, downloads nothing, and needs
    no database. '-' is not known here. 'decode' needs imaging, UIDs of tracked cells and trials; 'track' the first two.

    \b
    meso scan SP072 SP076
    meso scan --project ibl_mesoscope_active --json
    """
    from pipeline.reading import open_one
    from pipeline.scan import scan as run
    from schemas.server.settings import one_cache_dir

    found, odd = run(open_one(cache_dir or one_cache_dir()), subjects, project)
    rows = [one.as_row() for one in found]
    print_failures([f"session {eid}: {error}" for eid, error in odd.items()])
    without = [name for name in subjects if name not in {one.subject for one in found}]
    print_failures([f"ONE has no session of {name} with imaging" for name in without])
    if not as_json:
        rows = [_scan_row(one) for one in found]
    print_rows(rows, as_json, "ONE has no such session with imaging")
    sys.exit(0 if found else 1)


def _scan_row(one: Scanned) -> dict[str, Any]:
    """Return what ``meso scan`` shows of a session."""
    reasons = {why: None for why in (one.raster, one.track, one.decode) if why}
    return {
        "subject": one.subject, "date": one.session_date, "number": one.session_number, "eid": one.eid[:8],
        "FOVs": one.n_fovs, "ROIs": one.n_rois, "trials": one.n_trials, "protocol": one.task_protocol[-40:],
        "with UIDs": one.n_tracked_fovs,
        "tracked": None if one.tracked_share is None else f"{one.tracked_share:.0%}",
        "passive": YES[one.passive], "wheel": YES[one.wheel],
        "video": " ".join(one.video) or "no", "use for": ", ".join(one.uses) or "nothing", "lacks": "; ".join(reasons),
    }  # fmt: skip


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of this subject with imaging.")
@click.option("--all", "everything", is_flag=True, help="All sessions with imaging in the ONE cache.")
@list_option("--list")
@click.option("--tag", help="Registered sessions with this tag: looks for changes in ONE.")
@cache_dir_option
def ingest(
    eids: tuple[str, ...], subject: str | None, everything: bool, file: Path | None, tag: str | None,
    cache_dir: Path | None,
) -> None:  # fmt: skip
    """Register sessions of ONE: EIDS, a list, a subject's or all.

    EIDS are ids, or subject/date/number; from the tables of a folder also the first 8 or more characters of an id.
    'meso populate' or 'meso worker' then reads their data.

    \b
    meso ingest --subject SP072
    meso ingest --list canonical.txt --cache-dir ~/Downloads/ONE
    """
    if not (eids or subject or everything or file or tag):
        raise click.UsageError("Name session ids, --list, --subject, --tag or --all")
    from pipeline.reading.lists import read_session_list
    from populate_scripts.ingest import ingest as run

    named = [*eids, *(read_session_list(file) if file else ())]
    activate()
    named += Asked(tag=tag).ids() if tag else []
    done = run(named, subject=subject, everything=everything, cache_dir=cache_dir, progress=True)
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


@main.group(invoke_without_command=True)
@as_json
@click.pass_context
def tag(context: click.Context, as_json: bool) -> None:
    """List tags, the names of lists of sessions.

    With the numbers of their sessions and mice. Every command that takes sessions takes --tag.
    """
    if context.invoked_subcommand is None:
        _list_tags(as_json)


@tag.command("list")
@as_json
def tag_list(as_json: bool) -> None:
    """List tags with their numbers of sessions and mice."""
    _list_tags(as_json)


def _list_tags(as_json: bool) -> None:
    from schemas.queries.tags import tags

    activate()
    rows = tags()
    if not as_json:
        rows = [
            {"tag": row["tag"], "sessions": row["n_sessions"], "mice": row["n_subjects"],
             "by": ", ".join(row["tagged_by"]), "latest": row["tagged_at"]}
            for row in rows
        ]  # fmt: skip
    print_rows(rows, as_json, "No session has a tag; to give one: meso tag add NAME EIDS")


@tag.command("add")
@click.argument("name")
@for_sessions(required=False)
@list_option("--file")
def tag_add(name: str, asked: Asked, file: Path | None) -> None:
    """Give the tag NAME to sessions.

    EIDS, those of --subject or of another tag, or those of a list: nothing is tagged if one of them is not registered.

    \b
    meso tag add canonical --file canonical.txt
    meso tag add pilot 5ce2e17e SP072/2024-06-18/001
    """
    from schemas.queries.tags import add_tag, sessions_of_list

    if not (asked or file):
        raise click.UsageError("Name session ids, --file, --subject or --tag")
    activate()
    eids = [*(asked.each() if asked else ()), *(sessions_of_list(file) if file else ())]
    new = add_tag(name, eids)
    echo(f"{_sessions_are(len(new))} {name} now, {counted(len(set(eids)) - len(new), 'was', 'were')} before")


@tag.command("remove")
@click.argument("name")
@for_sessions(required=False)
def tag_remove(name: str, asked: Asked) -> None:
    """Take the tag NAME from sessions, by default from all.

    The sessions and their data stay.
    """
    from schemas.queries.tags import remove_tag

    activate()
    echo(f"{_sessions_are(remove_tag(name, asked.each() if asked else ()))} not {name} any more")


def _sessions_are(n: int) -> str:
    return counted(n, "session is", "sessions are")


@main.command()
@for_sessions(everything="All registered sessions.")
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would be computed again.")
@as_json
def update(asked: Asked, dry_run: bool, as_json: bool) -> None:
    """Read changed files again, and recompute their results.

    Of sessions: EIDS, a subject's or all. Sets of sessions, curves and families that were asked for stay, and get new
    results; the former ones are kept in FormerResult. If it is interrupted, run it again.

    \b
    meso update --subject SP072 --dry-run
    meso update --tag canonical
    """
    from populate_scripts.commands import update_lines
    from schemas.upkeep.update import update as run

    activate()
    done = run(asked.ids(), dry_run=dry_run, progress=not as_json)
    print_failures(done.failures)
    click.echo(json.dumps(done.as_row()) if as_json else "\n".join(update_lines(done, dry_run)))
    sys.exit(1 if done.failures else 0)


@main.command()
@click.option("--subject", help="Only sessions of this subject.")
@tag_option
@as_json
def sessions(subject: str | None, tag: str | None, as_json: bool) -> None:
    """List sessions: ids, and numbers of FOVs, cells and trials."""
    activate()
    from schemas.queries.sessions import sessions as listed

    rows = listed(subject, tag=tag)
    if not as_json:
        rows = [{name.removeprefix("session_"): row[name] for name in SESSION_COLUMNS} for row in rows]
    print_rows(rows, as_json, "No sessions are registered yet; register some with: meso ingest")


@main.command()
@click.argument("tables", nargs=-1)
@click.option("--eid", help="Only this session.")
@click.option("--subject", help="Only sessions of this subject.")
@tag_option
def populate(tables: tuple[str, ...], eid: str | None, subject: str | None, tag: str | None) -> None:
    """Populate all tables, or only TABLES, then exit.

    Several may run at the same time, on any number of machines; see also 'meso worker'. Of some sessions only, their
    sets and mice are left out. Exits 1 if a job failed, or is not due yet.
    """
    from populate_scripts import commands

    activate()
    asked = Asked((eid,) if eid else (), subject, tag)
    summary, failures = commands.populate(tables, asked.each() if asked else None)
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

    Also shows the mean time of a job and the estimated time until all are done, in seconds, and how many sessions have
    notes on the files that they were read from, and updates that did not reach their end.
    """
    import time

    activate()
    from schemas.upkeep.mixtures import note_counts
    from schemas.upkeep.unfinished import unfinished
    from schemas.work import reports

    while True:
        if watch and not as_json:
            click.clear()
        print_rows(reports.status(), as_json, "")
        for line in () if as_json else filter(None, (note_counts(), *unfinished())):
            click.secho(line, fg="yellow")
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
@tag_option
@click.option(
    "--key", "pairs", multiple=True, metavar="NAME=VALUE", help="Only jobs with this key, e.g. fov=2; repeatable."
)
def retry(tables: tuple[str, ...], eid: str | None, tag: str | None, pairs: tuple[str, ...]) -> None:
    """Clear failures, so that the jobs run again.

    Of all tables, or only of TABLES. Fix the cause first: 'meso errors' lists it.
    """
    from schemas.server.binding import table_named
    from schemas.work import reports

    if eid and tag:
        raise click.UsageError("Name --eid or --tag")
    activate()
    key = key_of((*pairs, f"eid={eid}") if eid else pairs)
    chosen = [table_named(name) for name in tables] or None
    # a tag without sessions is an error; of jobs that are not of one session --tag can say nothing
    keys = [{**key, "eid": one} for one in Asked(tag=tag).ids()] if tag else [key]
    n = sum(reports.retry(chosen, **one) for one in keys)
    # after the fact: a session without failures is no error, an unknown one is
    if eid and not n:
        registered_id(eid)
    echo(f"{n} failure{'' if n == 1 else 's'} cleared")
