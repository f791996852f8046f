"""Generate docs/reference/commands.md: every command with its arguments and options, as in ``--help``.

The page is generated when the site is built and is not kept in git.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from populate_scripts.cli import main

PAGE = Path(__file__).parent / "reference" / "commands.md"
HEADER = """# Commands

All commands of `meso` with all their options. `meso COMMAND --help` shows the same in a terminal.
"""


def commands_page() -> str:
    """Return the page: a list of all commands, then a section for each."""
    found = list(commands(click.Context(main, info_name="meso", **main.context_settings)))
    lines = [
        f"[`{context.command_path}`](#{context.command_path.replace(' ', '-')})\n:   {summary(context)}"
        for context in found
    ]
    return "\n\n".join([HEADER.strip(), *lines, *map(section, found)]) + "\n"


def commands(context: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command of a group and of the groups in it."""
    if not isinstance(context.command, click.Group):
        yield context
        return
    for command in context.command.commands.values():
        yield from commands(click.Context(command, info_name=command.name, parent=context))


def summary(context: click.Context) -> str:
    """Return the first sentence of a command's help."""
    return text(context.command.get_short_help_str(limit=300))


def section(context: click.Context) -> str:
    """Return usage, help, arguments and options of one command."""
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    paragraphs = map(paragraph, (context.command.help or "").split("\n\n"))
    params = [(param, param.get_help_record(context)) for param in context.command.get_params(context)]
    options = [
        f"`{record[0]}`\n:   {text(record[1]) or '—'}"
        for param, record in params
        if record and (record[1] or isinstance(param, click.Option))  # bare arguments are in the usage already
    ]
    return "\n\n".join([f"## {context.command_path}", f"```text\n{usage}\n```", *paragraphs, *options])


def paragraph(words: str) -> str:
    """Return a paragraph of help as Markdown; a paragraph that click must not wrap becomes a code block."""
    return f"```sh\n{words.removeprefix(chr(8)).strip()}\n```" if words.startswith("\b") else text(words)


def text(words: str) -> str:
    """Return plain text, escaped for Markdown."""
    return re.sub(r"([\\`*_<>\[\]|#])", r"\\\1", " ".join(words.split()))


if __name__ == "__main__":
    PAGE.write_text(commands_page())
