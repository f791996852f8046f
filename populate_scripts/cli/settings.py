"""Options of ``meso ndc``, one generated from each record of a setting, under the headings of their groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from pipeline.settings.curves import TARGETS, TRIALS, NDCSettings, curve_settings, own_targets
from pipeline.settings.records import Flag, Setting, settings_in

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class InGroup(click.Option):
    """An option that ``--help`` lists under the heading of a group."""

    def __init__(self, *args: Any, group: str, **words: Any) -> None:
        super().__init__(*args, **words)
        self.group = group


def in_group(group: str, *names: str, **words: Any) -> Decorator:
    """Return the decorator for an option that ``--help`` lists under the heading of a group."""
    return click.option(*names, cls=InGroup, group=group, **words)


class SettingsCommand(click.Command):
    """A command whose ``--help`` lists its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups; those without one under "Options"."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (line := param.get_help_record(ctx)):
                groups.setdefault(getattr(param, "group", "Options"), []).append(line)
        for heading, lines in groups.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


class SettingType(click.ParamType):
    """The values of a setting, read from the command line."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.name = setting, setting.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or end the command with the setting's own message."""
        try:
            return self.setting.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def options_of(cls: type, but: Sequence[str] = ()) -> Decorator:
    """Return a decorator that adds an option for each setting of a class, except for those in ``but``.

    The command gets None for options that were not given: the class has the defaults.
    """
    records = [setting for setting in settings_in(cls) if setting.name not in but]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for setting in reversed(records):  # click lists the option of the last decorator first
            command = _option(setting)(command)
        return command

    return decorate


def _option(setting: Setting) -> Decorator:
    """Return the decorator for the option of a setting; the option is None unless it is given."""
    # the default is only text here: with click's own default, given and not given could not be told apart
    default = f"  [default: {setting.default_text}]" if setting.default_text else ""
    words = {"help": setting.help + default, "default": None}
    if isinstance(setting.kind, Flag):
        names = f"{setting.option}/{setting.option.replace('--', '--no-')}"
        return in_group(setting.group, names, setting.name, **words)
    letters = [f"-{setting.letter}"] if setting.letter else []
    kind = {"type": SettingType(setting), "metavar": setting.kind.metavar}
    return in_group(setting.group, *letters, setting.option, setting.name, **kind, **words)


#: ``--target``, which may be given several times; not generated, as the setting itself has one value.
target_option = in_group(
    TRIALS,
    "--target",
    "targets",
    multiple=True,
    type=SettingType(next(one for one in settings_in(NDCSettings) if one.name == "target")),
    metavar="[choice|feedback|stimulus|block|NAME]",
    default=TARGETS,
    show_default=True,
    help="What is decoded; may be given several times. NAME is that of labels of your own, or reaction_time or "
    "wheel_speed (in the window), which are numbers.",
)


def with_own_labels(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of ``meso ndc`` with the keys of the labels that own targets name; needs the database.

    Of ready-made targets with keys that stand for those of the sessions: see ``schemas.ready_labels``.
    """
    own = own_targets(given["targets"])
    if not own or given["labels"] is not None:
        return dict(given)
    from populate_scripts.cli.options import activate
    from schemas.ready_labels import keys_of

    activate()
    return {**given, "labels": keys_of(own)}


def settings_asked_for(given: Mapping[str, Any], *, by_region: Sequence[str] = ()) -> list[NDCSettings]:
    """Return the settings that the options of ``meso ndc`` ask for, or end the command if they cannot be combined.

    Parameters
    ----------
    given : dict
        Value of each option, None if it was not given: ``targets``, ``win`` and the settings.
    by_region : sequence of str
        See ``curve_settings``.
    """
    words = {name: value for name, value in given.items() if value is not None}
    try:
        settings = curve_settings(**words, by_region=by_region)
        if not any(one.labels for one in settings):
            return settings
        from populate_scripts.cli.options import activate
        from schemas.labels import of_kind

        activate()
        return [of_kind(one) for one in settings]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
