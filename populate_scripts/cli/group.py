"""The command ``meso``: its errors, signals and the order of its commands."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

import click

from pipeline.errors import MesoError


class Meso(click.Group):
    """Commands in the order they are defined; our own errors are one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        warnings.showwarning = lambda message, *_: click.secho(f"! {message}", err=True, fg="yellow")
        # what is being made goes back to the queue, as after Ctrl-C
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            return super().invoke(ctx)
        except MesoError as error:
            raise click.ClickException(str(error)) from None
        except Exception as error:
            if type(error).__name__ != "AccessError":  # of DataJoint, which is not imported here
                raise
            words = str(error.args[1]).splitlines()[0]
            raise click.ClickException(f"This account may not do that ({words}); see docs/operation/roles.md") from None


@click.group(cls=Meso, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="meso")
def main() -> None:
    """Two-photon mesoscope sessions of the IBL in one relational database."""
