"""The command ``meso``: its errors and signals, and its list of commands."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

import click

from pipeline.errors import MesoError
from pipeline.text import printable

#: Commands by what they are about, in the order in which ``meso --help`` lists them.
SECTIONS = {
    "Start": ("demo", "serve"),
    "Sessions": ("scan", "ingest", "update", "sessions", "tag", "track"),
    "Work": ("populate", "worker", "workers", "status", "errors", "retry"),
    "Curves": ("sets", "ndc", "labels", "transfer", "mice", "power"),
    "Responses": ("responses", "stability", "embed-days"),
    "Figures": ("raster", "map", "tracking", "peri", "behavior"),
    "Exchange": ("export", "import-cache"),
    "Administration": ("db", "store", "atlas", "verify", "delete"),
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
        warnings.showwarning = lambda message, *_: click.secho(f"! {printable(message)}", err=True, fg="yellow")
        for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
            if signal.getsignal(number) is not signal.SIG_IGN:  # as after nohup
                signal.signal(number, _stop)
        try:
            return super().invoke(ctx)
        except MesoError as error:
            raise click.ClickException(printable(error)) from None
        except Exception as error:
            sentence = _refusal(error)
            if sentence is None:
                raise
            raise click.ClickException(printable(sentence)) from None


def _stop(number: int, frame: Any) -> None:
    """Exit: SystemExit unwinds the stack as Ctrl-C does, so that a job that is running goes back to the queue."""
    if number == signal.SIGHUP:
        # the kernel and a shell both send it: the second must not interrupt giving back the job
        signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _refusal(error: Exception) -> str | None:
    """Return what the server refused, as a sentence; None if it is not from the server, or not known."""
    if "datajoint" not in sys.modules:  # importing it would slow down every command, --help included
        return None
    from schemas.server.refusals import sentence

    return sentence(error)


@click.group(cls=Meso, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="meso")
def main() -> None:
    """Two-photon mesoscope sessions of the IBL in one relational database."""
