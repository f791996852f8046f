"""Options that several commands share, and how they print results."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import click

from pipeline.text import printable


def activate() -> None:
    """Connect to the database; DataJoint is imported only now, so that --help is quick."""
    gc.disable()  # all that is made here stays: see schemas.server.quick_import
    try:
        import schemas

        schemas.activate()
        gc.freeze()
    finally:
        gc.enable()


def console() -> Any:
    """Return a rich console that truncates nothing where the output is a pipe or a file."""
    from rich.console import Console

    # rich assumes 80 columns for a pipe or a file, and would cut ids
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 1000)


def print_rows(rows: list[dict], as_json: bool, nothing: str) -> None:
    """Print rows as a table or as JSON, or ``nothing`` if there are none."""
    from drawing.tables import table_of

    if as_json:
        click.echo(json.dumps(rows, default=str))
    elif rows:
        console().print(table_of(rows))
    else:
        echo(nothing)


def echo(text: object) -> None:
    """Print text, which may have names of others in it."""
    click.echo(printable(text))


def print_failures(messages: list[str]) -> None:
    """Print a warning on stderr for each message."""
    for message in messages:
        click.secho(f"! {printable(message)}", err=True, fg="yellow")


def print_error_groups(groups: Iterable[list[dict]], stack: bool) -> None:
    """Print failed jobs, each group below a heading; with tracebacks if asked."""
    for group in groups:
        click.secho(f"{group[0]['table']}, {len(group)} {'job' if len(group) == 1 else 'jobs'}", bold=True)
        for row in group:
            echo(f"  {key_text(row['key'])}\n    {row['message']}")
            if stack:
                echo("\n".join(f"      {line}" for line in str(row["stack"]).splitlines()))


class Folder(click.Path):
    """A folder that exists or can be created; one that cannot is refused before anything is computed."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or end the command if nothing can be written there."""
        folder = cast(Path, super().convert(value, param, ctx))
        # the nearest folder that exists: what is missing below it will be created there
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
            reason = "is not writable for you" if existing.is_dir() else "is a file"
            self.fail(f"cannot write to {folder}: {existing} {reason}", param, ctx)
        return folder


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


output_option = click.option(
    "--output", type=Folder(), default=Path(), show_default=True, help="Folder for the files, created if missing."
)


format_option = click.option(
    "--format",
    "suffix",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="File format.",
)


neurons_option = click.option(
    "--neurons/--all-rois", "neurons_only", default=True, help="Neurons only (the default), or all ROIs."
)


tracking_run_option = click.option(
    "--tracking-run", help="Tracking run, by the first characters of its hash; by default the latest one."
)


cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="ONE cache to read; by default MESO_ONE_CACHE_DIR, or the cache that ONE is set up with.",
)


uid_root_option = click.option(
    "--uid-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Root of a mirrored tree of cell UIDs (contains ROICaT/); by default the session folders.",
)


def key_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE pairs as a key; a session may be named in any way."""
    if invalid := [pair for pair in pairs if "=" not in pair]:
        raise click.UsageError(f"--key takes NAME=VALUE, not {invalid[0]!r}")
    key = dict(pair.split("=", 1) for pair in pairs)
    if "eid" in key:
        from schemas.queries.ids import known_as

        key["eid"] = known_as(key["eid"])
    return key


def key_text(key: dict | None) -> str | None:
    """Return a key as ``name=value`` pairs."""
    return None if key is None else " ".join(f"{name}={value}" for name, value in key.items())


def names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated list, without repeats."""
    return tuple(dict.fromkeys(filter(None, (text or "").split(","))))


def registered_id(named: str) -> str:
    """Return the id of the registered session that a text names, or end the command."""
    from schemas.queries.ids import session_id

    return session_id(named)
