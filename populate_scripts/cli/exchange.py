"""Commands that import, export, verify and delete."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.text import printable
from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Asked,
    activate,
    as_json,
    echo,
    for_mouse,
    for_sessions,
    output_option,
    print_failures,
    print_rows,
    signal_option,
    tracking_run_option,
    uid_root_option,
)

if TYPE_CHECKING:
    from schemas.exchange.verify import Finding


@main.command()
@for_sessions()
@click.option("--format", "kind", type=click.Choice(["nwb", "parquet"]), required=True, help="File format.")
@output_option
@click.option("--neurons/--all-rois", "neurons_only", default=False, help="Neurons only, or all ROIs (the default).")
@click.option("--overwrite", is_flag=True, help="Replace files of an earlier export.")
@tracking_run_option
@signal_option
def export(
    asked: Asked, kind: str, output: Path, neurons_only: bool, overwrite: bool, tracking_run: str | None, signal: str
) -> None:  # fmt: skip
    """Export sessions to NWB files or Parquet tables.

    The sessions are EIDS, or those of --subject or --tag. The files can be read without the database. A signal that is
    asked for is computed unless it is in the database.

    \b
    meso export --subject SP072 --format nwb --output nwb/
    meso export EID --format nwb --signal dff
    meso export EID1 EID2 --format parquet --neurons --overwrite
    """
    from populate_scripts import commands
    from schemas.queries.ids import known_as

    activate()
    failures = commands.export(asked.each(known_as), kind, output, neurons_only, overwrite, tracking_run, signal, echo)
    print_failures(failures)
    sys.exit(1 if failures else 0)


@main.command()
@for_mouse
@uid_root_option
@click.option(
    "--mirror",
    help="First copy UID files into --uid-root, from this folder or http(s)://, sftp:// or s3:// address.",
)
@click.option("--refresh", is_flag=True, help="Replace copies of files that have changed at the source.")
@click.option(
    "--duplicates",
    type=click.Choice(["error", "first"]),
    default="error",
    show_default=True,
    help="If a UID occurs twice in a session: an error, or only its first ROI counts.",
)
@click.option(
    "--uid-form",
    type=click.Choice(["uuid", "any"]),
    default="uuid",
    show_default=True,
    help="What a UID is: a UUID, or any word. Words for 'no value', such as NaN, None or -1, are of no cell.",
)
@click.option(
    "--same-rois",
    multiple=True,
    metavar="EID[:FOV_XX]",
    help="In this session, or FOV of it, only the positions of ROIs were corrected since its UIDs were registered: "
    "they are the same ROIs, in the same order.",
)
@click.option(
    "--other-places",
    multiple=True,
    metavar="EID[:FOV_XX]",
    help="In this session, or FOV of it, the UIDs are right although cells are at other places of the image than on "
    "other days: do not compare the places. Kept with the account and the time.",
)
@click.option("--list", "listed", is_flag=True, help="List the tracking runs of SUBJECT, and how many curves use each.")
@click.option("--drop", metavar="RUN", help="Delete a tracking run that nothing uses, by the start of its hash.")
@as_json
def track(
    subject: str,
    uid_root: Path | None,
    mirror: str | None,
    refresh: bool,
    duplicates: str,
    uid_form: str,
    same_rois: tuple[str, ...],
    other_places: tuple[str, ...],
    listed: bool,
    drop: str | None,
    as_json: bool,
) -> None:
    """Register the cell UIDs of SUBJECT and match them to ROIs.

    If the address of --mirror needs credentials: set MESO_UID_USER and MESO_UID_PASSWORD, or MESO_UID_CREDENTIALS
    to the name of a file that has them.

    \b
    meso track SP072
    meso track SP072 --uid-root ~/uids --mirror https://example.org/uids --refresh
    meso track SP072 --list
    meso track SP072 --drop 1a2b3c4d
    """
    from populate_scripts import commands

    registers = uid_root or mirror or refresh or same_rois or other_places
    if bool(registers) + listed + (drop is not None) > 1:
        raise click.UsageError("--list and --drop register nothing: use one of them alone")
    if as_json and not listed:
        raise click.UsageError("--json goes with --list")
    activate()
    if listed:
        from schemas.upkeep.tracking_runs import runs_with_uses

        rows = runs_with_uses(subject)
        if not as_json:
            rows = [{**row, "tracking_run": row["tracking_run"][:8]} for row in rows]
        print_rows(rows, as_json, f"No tracking run of {subject}")
        return
    if drop is not None:
        from schemas.upkeep.tracking_runs import drop_run

        echo(f"Deleted {commands.counts_text(drop_run(subject, drop))}")
        return
    said = same_rois, other_places
    lines, failures = commands.track(subject, uid_root, mirror, refresh, duplicates, uid_form, *said)
    print_failures(failures)
    for line in lines:
        echo(line)
    sys.exit(1 if failures else 0)


@main.command()
@for_sessions(required=False)
@click.option(
    "--source", is_flag=True, help="Also compare all recorded files with their hashes, and the rows with the files."
)
@click.option(
    "--notes", is_flag=True, help="Read no array: only list notes on the files that the sessions were read from."
)
@as_json
def verify(asked: Asked, source: bool, notes: bool, as_json: bool) -> None:
    """Check all stored arrays of sessions for damage.

    The sessions are EIDS, those of --subject or --tag, or all. Reads every array again and compares it with its
    checksums and its row. Exits 1 if any is damaged or missing.

    \b
    meso verify --tag canonical
    meso verify --subject SP072 --source --json
    meso verify --notes
    """
    from populate_scripts import commands

    if source and notes:
        raise click.UsageError("--notes compares no files: use it without --source")
    activate()
    if notes:
        found = commands.notes_on(asked.ids())
        if as_json:
            echo(json.dumps([finding.as_row() for finding in found]))
        else:
            for finding in found:
                _print_finding(finding)
            echo(f"{len(found)} notes")
        return
    done = commands.verify(asked.ids(), source, None if as_json else _print_finding)
    echo(json.dumps(done.as_row()) if as_json else done.summary())
    sys.exit(0 if done.ok else 1)


def _print_finding(finding: Finding) -> None:
    """Print what is wrong with an array in red; in yellow what is only not computed yet."""
    from schemas.exchange.verify import NOTES

    click.secho(printable(finding), fg="yellow" if finding.kind in NOTES else "red")


@main.command("import-cache")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--eid", help="Session of the file, if its name does not contain the id; for one file only.")
@click.option("--dry-run", is_flag=True, help="Insert nothing; print what would be imported.")
@as_json
def import_cache(files: tuple[Path, ...], eid: str | None, dry_run: bool, as_json: bool) -> None:
    """Import the order of cells from caches of the old scripts.

    FILES are .npy or .pkl files; they are parsed and never unpickled. Exits 1 if one of them cannot be used.
    """
    from populate_scripts import commands

    if eid and len(files) > 1:
        raise click.UsageError("--eid is for a single file: import files one at a time")
    activate()
    rows = []
    for path, row, lines in commands.import_caches(files, eid, dry_run):
        rows.append(row)
        if not as_json:
            click.echo("\n    ".join([click.style(printable(path), bold=True), *map(printable, lines)]))
    if as_json:
        click.echo(json.dumps(rows))
    sys.exit(1 if any("problem" in row for row in rows) else 0)


@main.command()
@for_sessions()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete(asked: Asked, yes: bool) -> None:
    """Delete sessions with everything that depends on them.

    The sessions are EIDS, or those of --subject or --tag. Lists what will be deleted and asks for confirmation.
    """
    from populate_scripts import commands
    from schemas import delete_sessions

    activate()
    chosen = asked.ids()
    for line in commands.session_lines(chosen):
        echo(line)
    gone = delete_sessions([{"eid": eid} for eid in chosen], lambda counts: _confirm(chosen, counts, yes))
    echo(f"{sum(gone.values())} rows deleted" if gone else "Nothing was deleted")
    sys.exit(0 if gone else 1)


def _confirm(eids: list[str], counts: dict[str, int], yes: bool) -> bool:
    """Print how many rows of each table will be deleted; return whether to go on."""
    print_rows([{"table": table, "rows": count} for table, count in counts.items()], False, "")
    # the answer names what is deleted, so that a habitual 'y' deletes nothing
    answer = eids[0] if len(eids) == 1 else str(len(eids))
    what = "the session's id" if len(eids) == 1 else f"{answer}, the number of sessions,"
    return yes or click.prompt(f"Type {what} to delete all of this", default="", show_default=False) == answer
