"""Commands that draw: rasters, maps, tracked cells, averages around trial events."""

from __future__ import annotations

from pathlib import Path

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Asked,
    activate,
    as_json,
    echo,
    for_mouse,
    for_sessions,
    format_option,
    neurons_option,
    output_option,
    print_rows,
    signal_option,
    tag_option,
    tracking_run_option,
)


@main.command()
@for_sessions()
@click.option(
    "--bg", type=click.Choice(["regions", "firing_rate", "none"]), default="regions", show_default=True,
    help="Colour of the background of each row.",
)  # fmt: skip
@click.option(
    "--t-range", nargs=2, type=float, metavar="FROM TO",
    help="Time range, s on the session clock; by default one minute from a third into the recording.",
)  # fmt: skip
@click.option("--trials/--no-trials", default=True, help="Trial events and blocks above the raster; by default shown.")
@click.option(
    "--tracked", is_flag=True, help="Only the cells that all of EIDS share, in the order of the first session."
)
@tracking_run_option
@signal_option
@output_option
@format_option
def raster(asked, bg, t_range, trials, tracked, tracking_run, signal, output, suffix) -> None:
    """Draw a raster of each session of EIDS.

    With --tracked, a row is the same cell in all of them. Missing data are read and computed on demand.

    \b
    meso raster EID --t-range 600 660 --format pdf
    meso raster EID1 EID2 EID3 --tracked --output figures/
    meso raster --subject SP072 --tag canonical --tracked
    """
    from populate_scripts import commands
    from schemas.work.filling import registered

    if tracking_run and not tracked:
        raise click.UsageError("--tracking-run needs --tracked")
    activate()
    drawing = {"bg": None if bg == "none" else bg, "t_range": t_range or None, "trials": trials, "signal": signal}
    eids = asked.each(registered)  # what is not registered is looked up in ONE
    if tracked:
        paths = commands.tracked_rasters(eids, tracking_run, drawing, output, suffix)
    else:
        paths = commands.rasters(eids, drawing, output, suffix)
    for path in paths:
        echo(str(path))


@main.command("map")
@for_sessions()
@click.option(
    "--color",
    type=click.Choice(["region", "allen", "rank", "cell_probability", "dv", "time_offset"]),
    default="region",
    show_default=True,
    help="Colour cells by region (distinct colours, or Allen atlas colours), Rastermap rank, or a number of each ROI.",
)
@click.option("--space", is_flag=True, help="Draw in three dimensions.")
@neurons_option
@output_option
@format_option
def cell_map(asked: Asked, color: str, space: bool, neurons_only: bool, output: Path, suffix: str) -> None:
    """Draw a map of the cells of each session of EIDS.

    \b
    meso map EID --color rank
    meso map EID --space --all-rois --format svg --output figures/
    """
    from drawing import cells as figures

    activate()
    for eid in asked.each():
        echo(str(figures.cell_map(eid, color, space, neurons_only, output, suffix)))


@main.command()
@for_mouse
@tag_option
@tracking_run_option
@neurons_option
@output_option
@format_option
def tracking(
    subject: str, tag: str | None, tracking_run: str | None, neurons_only: bool, output: Path, suffix: str
) -> None:  # fmt: skip
    """Draw in which sessions the tracked cells of SUBJECT occur.

    Three figures: presence of each cell, cells that sets of sessions share, and cells found again over days.

    \b
    meso tracking SP072 --format pdf --output figures/
    meso tracking SP072 --tag canonical
    """
    from drawing import cells as figures

    activate()
    eids = Asked((), subject, tag).ids() if tag else None
    for path in figures.tracking(subject, tracking_run, neurons_only, output, suffix, eids):
        echo(str(path))


@main.command()
@for_sessions()
@as_json
@click.option("--figure/--no-figure", default=True, help="A figure of each session; by default drawn.")
@output_option
@format_option
def behavior(asked, as_json, figure, output, suffix) -> None:
    """Show a model of each session's mouse: side bias, habits.

    A line for each weight with its 95 % interval, and for each feature of the session with that of simulated sessions.
    Missing models are fitted on demand. A session whose mouse the model cannot imitate is named: its p with the nulls
    pseudosession and conditional may be too small.

    \b
    meso behavior EID
    meso behavior EID --json --no-figure
    """
    from drawing import choices

    activate()
    shown = [choices.choice_model(eid) for eid in asked.each()]
    print_rows([row for model in shown for row in model.rows()], as_json, "")
    for model in shown:
        if not model.is_imitated:
            beyond = ", ".join(model.beyond())
            click.echo(
                f"{model.eid}: the model does not imitate this mouse ({beyond}): see docs/science/nulls.md", err=True
            )
        if figure:
            click.echo(str(model.draw(output, suffix)), err=as_json)


@main.command()
@for_sessions()
@click.option(
    "--window", "windows", multiple=True, default=("choiceL", "choiceR"), show_default=True,
    help="Trials and event to average, see docs/science/figures.md; repeat for several.",
)  # fmt: skip
@click.option(
    "--by", type=click.Choice(["all", "area", "region"]), default="area", show_default=True,
    help="Cells averaged together, a panel for each group.",
)  # fmt: skip
@click.option(
    "--around", nargs=2, type=float, default=(-0.5, 1.5), show_default=True, metavar="FROM TO",
    help="Time range, s from the event.",
)  # fmt: skip
@click.option("--cells", is_flag=True, help="Also a figure for each window with a row for each cell.")
@neurons_option
@output_option
@format_option
def peri(asked, windows, by, around, cells, neurons_only, output, suffix) -> None:
    """Draw the mean activity of each session around trial events.

    \b
    meso peri EID --window fback1 --window fback0 --by region
    meso peri EID --around -1 2 --cells --output figures/
    """
    from drawing import cells as figures
    from pipeline.signals.peri_event import WINDOWS

    if unknown := [name for name in windows if name not in WINDOWS]:
        raise click.UsageError(f"--window is one of {', '.join(WINDOWS)}; not {unknown[0]!r}")
    if not around[0] < around[1]:
        raise click.UsageError(f"--around takes a start and a later end, not {around[0]:g} {around[1]:g}")
    activate()
    for eid in asked.each():
        for path in figures.peri_event(eid, windows, by, around, cells, neurons_only, output, suffix):
            echo(str(path))
