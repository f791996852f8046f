"""Options that several commands share, and what they print."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import click


def activate() -> None:
    """Connect to the database; DataJoint is imported only now."""
    import schemas

    schemas.activate()


def console() -> Any:
    """Return a rich console that cuts nothing where the output is a pipe or a file."""
    from rich.console import Console

    # a pipe or a file has no width that something would have to be cut for
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 1000)


def print_rows(rows: list[dict], as_json: bool, nothing: str) -> None:
    """Print rows as a table or as JSON, or ``nothing`` if there are none."""
    from drawing.screen import table_of

    if as_json:
        click.echo(json.dumps(rows, default=str))
    elif rows:
        console().print(table_of(rows))
    else:
        click.echo(nothing)


def print_failures(messages: list[str]) -> None:
    """Print a warning on stderr for each message."""
    for message in messages:
        click.secho(f"! {message}", err=True, fg="yellow")


class Folder(click.Path):
    """A folder that is there or can be made: whether it can is said before anything is computed for it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or end the command."""
        folder = cast(Path, super().convert(value, param, ctx))
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            why = "is not open to you" if there.is_dir() else "is a file"
            self.fail(f"{folder} cannot be written to: {there} {why}", param, ctx)
        return folder


as_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")


output_option = click.option("--output", type=Folder(), default=Path(), show_default=True)


format_option = click.option(
    "--format", "suffix", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True
)


neurons_option = click.option(
    "--neurons/--all-rois", "neurons_only", default=True, help="Which ROIs; by default neurons."
)


tracking_run_option = click.option("--tracking-run", help="Start of its hash; by default the run registered last.")


cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="ONE cache to read; by default MESO_ONE_CACHE_DIR, or ONE as set up.",
)


uid_root_option = click.option(
    "--uid-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Mirrored tree of cell UIDs (holds ROICaT/); by default the session folders.",
)


def key_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=VALUE pairs as a key."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise click.UsageError(f"--key takes NAME=VALUE, not {wrong[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def key_text(key: dict | None) -> str | None:
    """Return a key as ``name=value`` pairs."""
    return None if key is None else " ".join(f"{name}={value}" for name, value in key.items())


def names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in a list with commas, each once."""
    return tuple(dict.fromkeys(filter(None, (text or "").split(","))))


def check_registered(eid: str) -> None:
    """End the command unless the session is registered."""
    from schemas import Session

    if not (Session & {"eid": eid}):
        raise click.ClickException(
            f"session {eid} is not registered; 'meso sessions' lists those that are, 'meso ingest' registers others"
        )
