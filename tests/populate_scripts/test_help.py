"""What ``--help`` shows: whole sentences, commands in sections, examples that the parser accepts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from pipeline.settings.curves import NDCSettings
from pipeline.settings.records import settings_in
from populate_scripts.cli import main
from populate_scripts.cli.options import names_in
from populate_scripts.cli.settings import settings_asked_for

#: What click writes in a terminal of 80 columns.
WIDTH = 78
#: From how many options on a command shows examples.
MANY_OPTIONS = 5


def contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield a context and, if it is a group's, those of all commands below it."""
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            # with its parent, as in a terminal: a command keeps the help option of its first context
            yield from contexts(click.Context(command, info_name=name, parent=context, terminal_width=WIDTH))


MESO = click.Context(main, info_name="meso", terminal_width=WIDTH, **main.context_settings)
CONTEXTS = list(contexts(MESO))
GROUPS = [context for context in CONTEXTS if isinstance(context.command, click.Group)]
COMMANDS = [context for context in CONTEXTS if context not in GROUPS]


def name_of(context: click.Context) -> str:
    return context.command_path


def sections(text: str) -> dict[str, list[str]]:
    """Return the lines below each heading of a help text."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"(\w[\w ]*):", line):
            found[heading[1]] = []
        elif line and found:
            found[list(found)[-1]].append(line.strip())
    return found


def examples(command: click.Command) -> list[str]:
    """Return the lines of a command's help that begin with 'meso'."""
    return [line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("meso ")]


def n_options(command: click.Command) -> int:
    return sum(isinstance(param, click.Option) for param in command.params)


@pytest.mark.parametrize("context", GROUPS, ids=name_of)
def test_summaries_are_whole_sentences_in_80_columns(context):
    lines = context.get_help().splitlines()[1:]  # the first is the usage, "[ARGS]..."
    assert max(map(len, lines)) <= WIDTH
    assert [line for line in lines if line.endswith("...")] == []
    for name, command in context.command.commands.items():
        (line,) = [line for line in lines if re.match(rf"  {name}  ", line)]
        assert line.endswith("."), line
        assert (command.help or "").startswith(line.split(maxsplit=1)[1]), "more than the first sentence"


def test_a_summary_that_is_too_long_is_seen():
    group = click.Group(commands=[click.Command("long", help=f"{'word ' * 20}. More.")])
    lines = click.Context(group, info_name="meso", terminal_width=WIDTH).get_help().splitlines()[1:]
    assert [line for line in lines if line.endswith("...")]


def test_commands_are_listed_by_what_they_are_about():
    shown = sections(MESO.get_help())
    names = {heading: [line.split()[0] for line in lines] for heading, lines in shown.items()}
    del names["Options"]
    headings = ["Start", "Sessions", "Work", "Curves", "Responses", "Figures", "Exchange", "Administration"]
    assert list(names) == headings
    assert [name for listed in names.values() for name in listed] == list(main.commands)
    assert names["Start"][0] == "demo" and "ingest" in names["Sessions"] and "db" in names["Administration"]


@pytest.mark.parametrize("context", [one for one in COMMANDS if n_options(one.command) >= MANY_OPTIONS], ids=name_of)
def test_commands_with_many_options_show_two_examples(context):
    shown = examples(context.command)
    assert len(shown) >= 2
    text = context.get_help()
    for line in shown:
        assert line.startswith(f"{context.command_path} ") and len(line) <= 78
        assert f"  {line}\n" in text, "click has wrapped it: begin the paragraph with \\b"


@pytest.mark.parametrize("line", [line for context in COMMANDS for line in examples(context.command)])
def test_examples_are_accepted(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some name folders that commands would create
    command: click.Command = main
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    assert command.make_context(line, words, parent=MESO).params
    with pytest.raises(click.UsageError):
        command.make_context(line, [*words, "--no-such-option"], parent=MESO)


def test_examples_name_windows_and_settings_that_there_are():
    from pipeline.signals.peri_event import WINDOWS

    commands = {context.command_path: context.command for context in COMMANDS}
    for line in examples(commands["meso peri"]):
        params = commands["meso peri"].make_context("peri", shlex.split(line)[2:], parent=MESO).params
        assert set(params["windows"]) <= set(WINDOWS)
    for line in examples(commands["meso ndc"]):
        params = commands["meso ndc"].make_context("ndc", shlex.split(line)[2:], parent=MESO).params
        names = ("targets", "win", *(setting.name for setting in settings_in(NDCSettings)))
        asked = {name: value for name, value in params.items() if name in names}
        assert settings_asked_for(asked, by_region=names_in(params["by_region"]))


def test_help_pages_of_all_commands_are_printed():
    assert {"meso demo", "meso ndc", "meso db init", "meso store gc"} < {name_of(context) for context in COMMANDS}
    for context in COMMANDS:
        assert context.command.help and context.command.help.splitlines()[0].endswith("."), name_of(context)


@pytest.mark.parametrize("days", ["0", "4,1", "four", ""])
def test_numbers_of_days_without_a_slope_are_refused(days):
    """`--days 0` printed a table of nothing."""
    done = CliRunner().invoke(main, ["power", "--days", days])
    assert done.exit_code == 2
    assert f"--days takes whole numbers from 2, such as 4,8, not {days!r}" in done.output
