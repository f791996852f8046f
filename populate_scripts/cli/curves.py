"""``meso demo`` and ``meso ndc``: neuron-dropping curves."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.settings.curves import CELLS, TRIALS, NDCSettings, with_beyond
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
    from drawing.screen import print_run
    from populate_scripts.demo import demo as run_demo

    activate()
    result = run_demo(output, cache_dir, subject, str(uid_root.resolve()) if uid_root else None, echo)
    print_run(result)
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
    demand. The choice is decoded twice, also beyond the stimulus, unless --beyond says what is wanted. Exits 1 if there
    is no curve.

    \b
    meso ndc --subject SP072 --target choice --target block --output figures/
    meso ndc --subject SP072 --by-region VISp,VISam --ks 2,4,8,16
    """
    from drawing.screen import print_run
    from populate_scripts import commands

    regions = names_in(by_region)
    settings = settings_asked_for(asked, by_region=bool(regions))
    if asked["beyond"] is None:
        settings = with_beyond(settings)
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    activate()
    result = commands.ndc(eids, subject, settings, cells, output, tracking_run, regions)
    # the default ks go further than most sessions: that they are cut is no news
    if asked["ks"]:
        result.note_short_curves()
    if as_json:
        echo(result.table.to_json(orient="records", date_format="iso"))
    else:
        print_run(result)
        if output:
            echo(f"Figures and table are in {output}/")
    sys.exit(0 if len(result.table) else 1)


@main.command()
@click.argument("subjects", nargs=-1)
@click.option(
    "--session-set", "sets", multiple=True, help="A set of sessions of a mouse, by its hash; may be repeated."
)
@as_json
def mice(subjects: tuple[str, ...], sets: tuple[str, ...], as_json: bool) -> None:
    """Compare the slopes over days of several mice.

    Takes the curves that 'meso ndc' has computed for each of the SUBJECTS, in the set with most sessions. Prints the
    slope of each mouse, their mean with a 95 % interval for mice like these (three mice or more), and the differences
    between targets and regions within mice.

    \b
    meso mice SP072 SP076 SP080
    """
    from drawing.screen import print_mice
    from schemas.decoding.cohorts import compare_mice

    if not (subjects or sets):
        raise click.UsageError("Name subjects, or --session-set")
    activate()
    run = compare_mice(subjects, session_sets=sets)
    if as_json:
        echo(
            json.dumps({name: getattr(run, name) for name in ("means", "slopes", "differences", "notes")}, default=str)
        )
    else:
        print_mice(run)
    sys.exit(0 if run.means else 1)


@main.command()
@click.argument("subjects", nargs=-1)
@click.option("--question", default="choice", show_default=True, help="As 'meso mice' names it.")
@click.option(
    "--quantity",
    type=click.Choice(["code_k", "common_k", "score", "d_prime"]),
    default="code_k",
    show_default=True,
    help="k* at the own ceiling, k at the common score (slopes of log2), score or d'.",
)
@click.option(
    "--slope", type=float, default=-1 / 7, show_default="half the cells after 7 days", help="True slope per day."
)
@click.option("--days", default="4,6,8,12,16", show_default=True, help="Numbers of days of each mouse.")
@click.option("--spacing", type=float, default=1.0, show_default=True, help="Days from one session to the next.")
@click.option("--power", type=float, default=0.8, show_default=True, help="Wanted probability of p <= 0.05.")
@as_json
def power(
    subjects: tuple[str, ...], question: str, quantity: str, slope: float, days: str, spacing: float, power: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Print how many days and mice a trend needs.

    Takes the scatter of the days and the variance between mice from the curves of the SUBJECTS, by default of all mice
    that have some.

    \b
    meso power --slope -0.2 --days 5,10
    meso power SP072 SP076 --quantity score --slope 0.01
    """
    from drawing.screen import print_power
    from schemas.decoding.cohorts import power_of_trends

    try:
        numbers = [int(word) for word in names_in(days)]
    except ValueError:
        numbers = []
    if min(numbers, default=0) < 2:
        raise click.UsageError(f"--days takes whole numbers from 2, such as 4,8, not {days!r}")
    activate()
    found = power_of_trends(
        subjects, question=question, quantity=quantity, slope=slope, days=numbers, spacing=spacing, power=power
    )
    if as_json:
        echo(json.dumps(dataclasses.asdict(found)))
    else:
        print_power(found)
