"""The command ``meso``: its errors and signals, and its list of commands."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

import click

from pipeline.errors import MesoError

#: Commands by what they are about, in the order in which ``meso --help`` lists them.
SECTIONS = {
    "Start": ("demo", "serve"),
    "Sessions": ("ingest", "update", "sessions", "track"),
    "Work": ("populate", "worker", "workers", "status", "errors", "retry"),
    "Curves": ("ndc",),
    "Figures": ("raster", "map", "tracking", "peri"),
    "Exchange": ("export", "import-cache"),
    "Administration": ("db", "store", "verify", "delete"),
}


class InOrder(click.Group):
    """Commands in the order in which they are defined; click's own order is that of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Meso(InOrder):
    """Commands in sections; a ``MesoError`` is printed as one line, with exit code 1."""

    group_class = InOrder

    def arrange(self) -> None:
        """Put the commands in the order of ``SECTIONS``; all of them must be defined, and be in a section."""
        order = [name for names in SECTIONS.values() for name in names]
        self.commands = dict(sorted(self.commands.items(), key=lambda item: order.index(item[0])))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence of each command's help, below the headings of the sections."""
        longest = max(map(len, self.commands))
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                # names of one width, so that the sentences of all sections begin in one column
                # 6 is what click leaves for the indent and the gap between the columns
                formatter.write_dl([
                    (f"{name:{longest}}", self.commands[name].get_short_help_str(formatter.width - 6 - longest))
                    for name in names
                ])  # fmt: skip

    def invoke(self, ctx: click.Context) -> Any:
        # without file, line and source: users cannot use them
        warnings.showwarning = lambda message, *_: click.secho(f"! {message}", err=True, fg="yellow")
        # SystemExit unwinds the stack as Ctrl-C does, so that a job that is running goes back to the queue
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            return super().invoke(ctx)
        except MesoError as error:
            raise click.ClickException(str(error)) from None
        except Exception as error:
            # by name: importing DataJoint's class would slow down every command, --help included
            if type(error).__name__ != "AccessError":
                raise
            reason = str(error.args[1]).splitlines()[0]  # the server's own message
            raise click.ClickException(
                f"This account lacks the permission ({reason}); see docs/operation/roles.md"
            ) from None


@click.group(cls=Meso, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="meso")
def main() -> None:
    """Two-photon mesoscope sessions of the IBL in one relational database."""
