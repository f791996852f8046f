"""Options that several commands share, and how they print results."""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from pipeline.settings.signals import KINDS
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


@dataclass(frozen=True)
class Asked:
    """The sessions that a command is asked for: some by their names, those of a subject and a tag, or all.

    Attributes
    ----------
    eids : tuple of str
        In any of the forms of ``pipeline.reading.names``.
    subject, tag : str or None
        With both, the sessions of the subject that have the tag.
    everything : bool
    """

    eids: tuple[str, ...] = ()
    subject: str | None = None
    tag: str | None = None
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.eids or self.subject or self.tag or self.everything)

    def of_subject(self) -> Asked:
        """Return the sessions of a subject if there is one name only, and it can be that of no session."""
        from pipeline.reading.names import SessionName, session_name

        if len(self.eids) == 1 and not self.subject and session_name(self.eids[0]) == SessionName():
            return Asked((), self.eids[0], self.tag)
        return self

    def ids(self) -> list[str]:
        """Return the ids of the registered sessions by subject and date; if nothing is asked for, of all."""
        from schemas.queries.sessions import session_ids

        return session_ids(self.eids, self.subject, self.tag)

    def each(self, resolve: Callable[[str], str] | None = None) -> list[str]:
        """Return the ids in the order in which the sessions are named, each found by ``resolve``; others by date."""
        if self.eids and not (self.subject or self.tag):
            return list(dict.fromkeys(map(resolve or registered_id, self.eids)))
        return self.ids()


tag_option = click.option("--tag", help="Sessions with this tag: see 'meso tag'.")


def for_sessions(*, required: bool = True, everything: str | None = None) -> Callable[[Any], Any]:
    """Return the decorator for a command that takes sessions: EIDS, ``--subject`` and ``--tag``, as one ``Asked``.

    Parameters
    ----------
    required : bool
        End the command if no session is named.
    everything : str, optional
        Help of an option ``--all``.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(
            *args: Any, eids: tuple[str, ...], subject: str | None, tag: str | None, all_sessions: bool = False,
            **options: Any,
        ) -> Any:  # fmt: skip
            asked = Asked(eids, subject, tag, all_sessions)
            if required and not asked:
                raise click.UsageError(f"Name session ids, or --subject or --tag{' or --all' if everything else ''}")
            return command(*args, asked=asked, **options)

        if everything:
            run = click.option("--all", "all_sessions", is_flag=True, help=everything)(run)
        run = click.option("--tag", help="Sessions with this tag, of --subject if given: see 'meso tag'.")(run)
        run = click.option("--subject", help="All sessions of this subject.")(run)
        return click.argument("eids", nargs=-1)(run)

    return decorate


def for_mice(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that takes mice: SUBJECTS, ``--subject``, or a list as ``--subjects`` of ``meso ndc``."""

    @functools.wraps(command)
    def run(*args: Any, subjects: tuple[str, ...], named: tuple[str, ...], **options: Any) -> Any:
        names = [*subjects, *(name for text in named for name in names_in(text))]
        return command(*args, subjects=tuple(dict.fromkeys(names)), **options)

    option = click.option("--subject", "--subjects", "named", multiple=True, metavar="A,B,C", help="Same as SUBJECTS.")
    return click.argument("subjects", nargs=-1)(option(run))


def for_mouse(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that takes one mouse: SUBJECT, or ``--subject``."""

    @functools.wraps(command)
    def run(*args: Any, subject: str | None, named: str | None, **options: Any) -> Any:
        if not (subject or named) or (subject and named and subject != named):
            raise click.UsageError("Name one subject")
        return command(*args, subject=subject or named, **options)

    option = click.option("--subject", "named", help="Same as SUBJECT.")
    return click.argument("subject", required=False)(option(run))


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


mixed_signals_option = click.option(
    "--mixed-signals", is_flag=True,
    help="Compare sessions even if some were read with deconvolved traces and others with fluorescence.",
)  # fmt: skip


signal_option = click.option(
    "--signal", type=click.Choice(KINDS), callback=lambda ctx, param, value: value or "",
    help="The activity; by default as each FOV was read.",
)  # fmt: skip


cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="ONE cache to read; by default MESO_ONE_CACHE_DIR, or the cache that ONE is set up with.",
)


def list_option(name: str) -> Callable[[Any], Any]:
    """Return the option for a file that lists sessions, as ``file``."""
    return click.option(
        name, "file", type=click.Path(path_type=Path, dir_okay=False),
        help="Sessions of a text file, one a line: id, start of it, or subject/date/number; # begins a comment.",
    )  # fmt: skip


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


def sizes_in(text: str) -> list[int]:
    """Return the numbers of a list such as '8', '4-10' or '2,4-6', or end the command."""
    numbers: set[int] = set()
    for part in names_in(text):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit() and 0 < int(first) <= int(last or first) < 1000):
            raise click.UsageError(f"--size takes numbers from 1, such as 8, 4-10 or 4,8, not {text!r}")
        numbers.update(range(int(first), int(last or first) + 1))
    if not numbers:
        raise click.UsageError("--size takes numbers from 1, such as 8, 4-10 or 4,8, not an empty text")
    return sorted(numbers)


def registered_id(named: str) -> str:
    """Return the id of the registered session that a text names, or end the command."""
    from schemas.queries.ids import session_id

    return session_id(named)
