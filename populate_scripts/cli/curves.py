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
    echo,
    names_in,
    tracking_run_option,
    uid_root_option,
)
from populate_scripts.cli.settings import SettingsCommand, in_group, options_of, settings_asked_for, target_option


@main.command()
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="A ONE cache of your own; by default generated data.",
)
@uid_root_option
@click.option("--subject", help="Use the sessions of this subject; by default the one with most sessions.")
@click.option(
    "--output", type=Folder(), default=Path("demo_output"), show_default=True, help="Folder for figures and table."
)
def demo(cache_dir: Path | None, uid_root: Path | None, subject: str | None, output: Path) -> None:
    """Run the pipeline on generated data or your own ONE cache.

    Reads the sessions, computes every table, prints k* per session and saves figures.

    \b
    meso demo
    meso demo --cache-dir ~/Downloads/ONE --subject SP072 --output figures/
    """
    from populate_scripts.demo import demo as run_demo

    activate()
    result = run_demo(output, cache_dir, subject, str(uid_root.resolve()) if uid_root else None, echo)
    result.show()
    echo(f"Figures and k_star.csv are in {output}/")
    echo(f"To see the results in a browser: {_this_program()} serve --open")
    sys.exit(0 if len(result.table) else 1)


def _this_program() -> str:
    """Return the command that runs this program, as typed in the current folder: meso, or .venv/bin/meso."""
    program = Path(sys.argv[0])
    if program.stem != "meso" or not program.exists():
        return "meso"
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


@main.command(cls=SettingsCommand)
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of this subject that have tracked cells and trials.")
@tracking_run_option
@click.option("--output", type=Folder(), help="Folder for figures and table; by default none are written.")
@as_json
@target_option
@in_group(
    TRIALS, "--win", nargs=2, type=float, metavar="FROM TO", help="Start and end of the window, s after the event."
)
@options_of(NDCSettings, but=("target",))
@in_group(
    CELLS,
    "--by-region",
    help="Separate curves for each of these regions, e.g. VISp,VISam, all up to the same k; the ks start at 2.",
)
@in_group(CELLS, "--min-cell-probability", type=float, help="Leave out cells with a lower probability in any session.")
@in_group(
    CELLS,
    "--min-silhouette",
    type=float,
    help="Leave out cells with a lower cluster silhouette (tracking) in any session.",
)
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
    """Compute neuron-dropping curves of cells shared by sessions.

    The sessions are EIDS, or those of --subject. Prints k* of each session. Missing data are read and computed on
    demand. Exits 1 if there is no curve.

    \b
    meso ndc --subject SP072 --target choice --target block --output figures/
    meso ndc --subject SP072 --by-region VISp,VISam --ks 2,4,8,16
    """
    from populate_scripts import commands

    regions = names_in(by_region)
    settings = settings_asked_for(asked, by_region=bool(regions))
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    activate()
    result = commands.ndc(eids, subject, settings, cells, output, tracking_run, regions)
    # the default ks go further than most sessions: that they are cut is no news
    if asked["ks"]:
        result.note_short_curves()
    if as_json:
        echo(result.table.to_json(orient="records", date_format="iso"))
    else:
        result.show()
        if output:
            echo(f"Figures and table are in {output}/")
    sys.exit(0 if len(result.table) else 1)
