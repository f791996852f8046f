"""Commands that draw: rasters, maps, tracked cells, averages around events."""

from __future__ import annotations

from pathlib import Path

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    activate,
    check_registered,
    format_option,
    neurons_option,
    output_option,
    tracking_run_option,
)


@main.command()
@click.argument("eids", nargs=-1, required=True)
@click.option("--bg", type=click.Choice(["regions", "firing_rate", "none"]), default="regions", show_default=True)
@click.option("--t-range", nargs=2, type=float, help="From and to, s on the session clock.")
@click.option("--trials/--no-trials", default=True, help="Trial events and blocks on top; by default shown.")
@click.option("--tracked", is_flag=True, help="Only the cells that all of EIDS share, in the order of the first.")
@tracking_run_option
@output_option
@format_option
def raster(eids, bg, t_range, trials, tracked, tracking_run, output, suffix) -> None:
    """Draw the raster of each of EIDS; with --tracked, a row is the same cell in all of them."""
    from populate_scripts import commands

    if tracking_run and not tracked:
        raise click.UsageError("--tracking-run is for --tracked")
    activate()
    drawing = {"bg": None if bg == "none" else bg, "t_range": t_range or None, "trials": trials}
    if tracked:
        paths = commands.tracked_rasters(eids, tracking_run, drawing, output, suffix)
    else:
        paths = commands.rasters(eids, drawing, output, suffix)
    for path in paths:
        click.echo(str(path))


@main.command("map")
@click.argument("eids", nargs=-1, required=True)
@click.option(
    "--color",
    type=click.Choice(["region", "allen", "rank", "cell_probability", "dv", "time_offset"]),
    default="region",
    show_default=True,
    help="Regions in distinct colours or those of the Allen atlas, the Rastermap rank, or a number of each ROI.",
)
@click.option("--space", is_flag=True, help="In three dimensions.")
@neurons_option
@output_option
@format_option
def cell_map(eids: tuple[str, ...], color: str, space: bool, neurons_only: bool, output: Path, suffix: str) -> None:
    """Draw where the cells of each of EIDS are."""
    from drawing import cells as figures

    activate()
    for eid in eids:
        check_registered(eid)
        click.echo(str(figures.cell_map(eid, color, space, neurons_only, output, suffix)))


@main.command()
@click.argument("subject")
@tracking_run_option
@neurons_option
@output_option
@format_option
def tracking(subject: str, tracking_run: str | None, neurons_only: bool, output: Path, suffix: str) -> None:
    """Draw which cells of SUBJECT are there when, how many its sessions share, and how many are found again."""
    from drawing import cells as figures

    activate()
    for path in figures.tracking(subject, tracking_run, neurons_only, output, suffix):
        click.echo(str(path))


@main.command()
@click.argument("eids", nargs=-1, required=True)
@click.option(
    "--window", "windows", multiple=True, default=("choiceL", "choiceR"), show_default=True,
    help="Kind of trials, see docs/science/figures.md; again for more.",
)  # fmt: skip
@click.option(
    "--by", type=click.Choice(["all", "area", "region"]), default="area", show_default=True, help="What is averaged."
)
@click.option("--around", nargs=2, type=float, default=(-0.5, 1.5), show_default=True, help="Seconds from the event.")
@click.option("--cells", is_flag=True, help="Also a row for each cell, by window.")
@neurons_option
@output_option
@format_option
def peri(eids, windows, by, around, cells, neurons_only, output, suffix) -> None:
    """Draw the mean activity of each of EIDS around an event, over trials."""
    from drawing import cells as figures
    from pipeline.signals.peri_event import WINDOWS

    if wrong := [name for name in windows if name not in WINDOWS]:
        raise click.UsageError(f"--window is one of {', '.join(WINDOWS)}; not {wrong[0]!r}")
    if not around[0] < around[1]:
        raise click.UsageError(f"--around takes a start and a later end, not {around[0]:g} {around[1]:g}")
    activate()
    for eid in eids:
        check_registered(eid)
        for path in figures.peri_event(eid, windows, by, around, cells, neurons_only, output, suffix):
            click.echo(str(path))
