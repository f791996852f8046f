"""``meso labels``: labels of one's own, which are decoded like choice and stimulus."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.text import counted
from populate_scripts.cli.group import main
from populate_scripts.cli.options import activate, as_json, echo, print_rows


@main.group(invoke_without_command=True)
@as_json
@click.pass_context
def labels(context: click.Context, as_json: bool) -> None:
    """List, add and drop labels of your own.

    A name of labels is a target of 'meso ndc'. Without a command, lists them.
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@labels.command("list")
@as_json
def labels_list(as_json: bool) -> None:
    """List labels with their numbers of sessions and trials."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from schemas.labels import listed

    activate()
    print_rows(listed(), as_json, "There are no labels yet; add some with: meso labels add FILE")


@labels.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the labels; by default that of the file.")
@click.option(
    "--numbers/--classes", default=None, help="What the values are; by default numbers if there are more than two."
)
def labels_add(file: Path, name: str | None, numbers: bool | None) -> None:
    """Add labels from a CSV file: eid, trial, value.

    Instead of eid, the columns may be subject, date and number. Trials count from 0; a value is 1, 0 or nothing, or a
    number, and trials that are not in the file have none. Numbers are decoded by regression.

    \b
    meso labels add fast.csv
    meso labels add my_table.csv --name fast
    """
    from populate_scripts import commands

    activate()
    name = name or file.stem
    n_sessions = commands.add_labels(file, name, numbers=numbers)
    echo(f"Added labels of {counted(n_sessions, 'session', 'sessions')}. Decode them with: meso ndc --target {name}")


@labels.command("drop")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def labels_drop(name: str, yes: bool) -> None:
    """Delete labels with all curves computed from them."""
    from populate_scripts import commands

    activate()
    for table, n in commands.rows_of_labels(name).items():
        echo(f"{table}: {n} rows")
    if not yes:
        click.confirm("Delete these rows?", abort=True)
    commands.drop_labels(name)
    echo(f"Deleted labels {name}")
