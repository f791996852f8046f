"""Commands that take in, give out, verify and delete."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import activate, as_json, output_option, print_failures, print_rows, uid_root_option


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
    from schemas.exchange.export import export_session
    from schemas.exchange.verify import sessions

    if not (eids or subject):
        raise click.UsageError("Name session ids, or --subject")
    activate()
    failures = []
    for eid in sessions((), subject) if subject else eids:
        try:
            click.echo(str(export_session(eid, kind, output, neurons_only=neurons_only, overwrite=overwrite)))
        except DataError as error:
            failures.append(str(error))
    print_failures(failures)
    sys.exit(1 if failures else 0)


@main.command()
@click.argument("subject")
@uid_root_option
@click.option(
    "--mirror", help="First copy UID files from this folder, or http(s)://, sftp:// or s3:// address, into --uid-root."
)
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

    activate()
    lines, failures = commands.track(subject, uid_root, mirror, refresh, duplicates)
    print_failures(failures)
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
    from schemas.exchange import verify as store

    activate()
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
    from schemas.exchange.old_caches import import_file

    if eid and len(files) > 1:
        raise click.UsageError("--eid is for one file: name them one by one")
    activate()
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
    from schemas.exchange.verify import sessions

    if not (eids or subject):
        raise click.UsageError("Name session ids, or --subject")
    activate()
    named = sessions(eids, subject)

    for row in (Session & [{"eid": eid} for eid in named]).to_dicts(order_by="subject, session_date"):
        click.echo(f"{row['subject']} {row['session_date']} {row['session_number']:03d}  {row['eid']}")

    def confirm(counts: dict[str, int]) -> bool:
        print_rows([{"table": table, "rows": count} for table, count in counts.items()], False, "")
        answer = named[0] if len(named) == 1 else str(len(named))
        what = "the session's id" if len(named) == 1 else f"{answer}, the number of sessions,"
        return yes or click.prompt(f"Type {what} to delete all of this", default="", show_default=False) == answer

    gone = delete_sessions([{"eid": eid} for eid in named], confirm)
    click.echo(f"{sum(gone.values())} rows deleted" if gone else "Nothing was deleted")
    sys.exit(0 if gone else 1)
