"""``meso demo`` and ``meso ndc``: neuron-dropping curves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipeline.settings.curves import CELLS, TRIALS, NDCSettings
from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Folder,
    activate,
    as_json,
    names_in,
    tracking_run_option,
    uid_root_option,
)
from populate_scripts.cli.settings import SettingsCommand, in_group, options_of, settings_asked_for, target_option


@main.command()
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Your own ONE cache; by default generated data.",
)
@uid_root_option
@click.option("--subject", help="Whose sessions; by default whoever has most.")
@click.option("--output", type=Folder(), default=Path("demo_output"), show_default=True)
def demo(cache_dir: Path | None, uid_root: Path | None, subject: str | None, output: Path) -> None:
    """From data to k* per session, with figures: generated data, or your own ONE cache."""
    from populate_scripts.demo import demo as run_demo
    from schemas.server.connection import has_own_server

    activate()
    if not has_own_server():
        click.echo(
            "Database: embedded PostgreSQL, for one person; set DJ_HOST for a lab's server (docs/operation/server.md)"
        )
    result = run_demo(output, cache_dir, subject, str(uid_root.resolve()) if uid_root else None, click.echo)
    result.show()
    click.echo(f"Figures and k_star.csv are in {output}/")
    click.echo(f"Look at it in a browser: {_this_program()} serve --open")
    sys.exit(0 if len(result.table) else 1)


def _this_program() -> str:
    """Return how this program was called, as somebody would type it here."""
    program = Path(sys.argv[0])
    if program.stem != "meso" or not program.exists():
        return "meso"
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


@main.command(cls=SettingsCommand)
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject that have tracked cells and trials.")
@tracking_run_option
@click.option("--output", type=Folder(), help="Write figures and the table here.")
@as_json
@target_option
@in_group(TRIALS, "--win", nargs=2, type=float, metavar="FROM TO", help="Both ends of the window at once, s.")
@options_of(NDCSettings, but=("target",))
@in_group(
    CELLS,
    "--by-region",
    help="Curves of each of these regions by itself, such as VISp,VISam, all up to the same k; the ks begin with 2.",
)
@in_group(CELLS, "--min-cell-probability", type=float, help="Leave out cells below it in any session.")
@in_group(CELLS, "--min-silhouette", type=float, help="The same for the cluster silhouette of tracking.")
def ndc(
    eids: tuple[str, ...],
    subject: str | None,
    by_region: str | None,
    min_cell_probability: float | None,
    min_silhouette: float | None,
    tracking_run: str | None,
    output: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Neuron-dropping curves of the cells that EIDS, or a subject's sessions, share.

    \b
    meso ndc --subject SP072 --target choice --target block --output figures/
    meso ndc --subject SP072 --by-region VISp,VISam --metric accuracy --ks 2,4,8,16
    """
    from populate_scripts import commands

    regions = names_in(by_region)
    settings = settings_asked_for(asked, by_region=bool(regions))
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    activate()
    result = commands.ndc(eids, subject, settings, cells, output, tracking_run, regions)
    if asked["ks"]:
        result.note_short_curves()
    if as_json:
        click.echo(result.table.to_json(orient="records", date_format="iso"))
    else:
        result.show()
        if output:
            click.echo(f"The figures and the table are in {output}/")
    sys.exit(0 if len(result.table) else 1)
