"""Options made from the records of settings: one for each, under the headings of their groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from pipeline.settings.curves import EVENTS, TARGETS, TRIALS, NDCSettings, curve_settings
from pipeline.settings.records import Flag, Setting, settings_in

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class InGroup(click.Option):
    """An option that the help shows under the heading of a group."""

    def __init__(self, *args: Any, group: str, **words: Any) -> None:
        super().__init__(*args, **words)
        self.group = group


def in_group(group: str, *names: str, **words: Any) -> Decorator:
    """Return the decorator of an option that the help shows under the heading of a group."""
    return click.option(*names, cls=InGroup, group=group, **words)


class SettingsCommand(click.Command):
    """A command whose help has its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of a group under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (line := param.get_help_record(ctx)):
                groups.setdefault(getattr(param, "group", "Options"), []).append(line)
        for heading, lines in groups.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


class Taken(click.ParamType):
    """What a setting takes, as a word of the command line."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.name = setting, setting.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or end the command."""
        try:
            return self.setting.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def options_of(cls: type, but: Sequence[str] = ()) -> Decorator:
    """Return a decorator that gives a command an option for each setting of a class, but those named.

    The command gets None for what was not given: defaults are those of the class.
    """
    records = [one for one in settings_in(cls) if one.name not in but]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for one in reversed(records):  # decorators are applied from the last to the first
            command = _option(one)(command)
        return command

    return decorate


def _option(one: Setting) -> Decorator:
    """Return the decorator of one option, which is None unless it is given."""
    default = f"  [default: {one.default_text}]" if one.default_text else ""
    words = {"help": one.help + default, "default": None}
    if isinstance(one.kind, Flag):
        return in_group(one.group, f"{one.option}/{one.option.replace('--', '--no-')}", one.name, **words)
    letters = [f"-{one.letter}"] if one.letter else []
    kind = {"type": Taken(one), "metavar": one.kind.metavar}
    return in_group(one.group, *letters, one.option, one.name, **kind, **words)


#: ``--target``, as often as wanted.
target_option = in_group(
    TRIALS,
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(list(EVENTS)),
    default=TARGETS,
    show_default=True,
    help="What is decoded; may be given several times.",
)


def settings_asked_for(given: Mapping[str, Any], *, by_region: bool = False) -> list[NDCSettings]:
    """Return the settings that the options of ``meso ndc`` ask for, or end the command.

    Parameters
    ----------
    given : dict
        Values by option, None for what was not given: ``targets``, ``win`` and settings.
    by_region : bool
        As of ``curve_settings``.
    """
    words = {name: value for name, value in given.items() if value is not None}
    try:
        return curve_settings(**words, by_region=by_region)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
