"""``meso responses``, ``meso stability`` and ``meso embed-days``: single cells, and the same cells over days."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Asked,
    Folder,
    activate,
    as_json,
    echo,
    for_sessions,
    format_option,
    mixed_signals_option,
    neurons_option,
    output_option,
    print_failures,
    print_rows,
    tracking_run_option,
)

windows_option = click.option(
    "--windows", help="Name of a set of windows (schemas.WindowSet); by default the 26 trial windows."
)


@main.command()
@for_sessions()
@windows_option
@click.option("--shuffles", type=click.IntRange(1), default=1000, show_default=True, help="Null labels of each target.")
@neurons_option
@as_json
@click.option("--figure/--no-figure", default=True, help="A figure of each session; by default drawn.")
@output_option
@format_option
def responses(asked: Asked, windows, shuffles, neurons_only, as_json, figure, output, suffix) -> None:
    """Show what the single cells of each session tell.

    A line for each region (Beryl, as in 'meso stability'): medians over its cells of the correlation of even and odd
    trials, signal to noise and sparseness, and for each target the share of cells that are selective (q <= 0.05 over
    the cells of the session).
    Missing numbers are computed on demand; SQL has a row for each cell and target.

    \b
    meso responses EID
    meso responses --tag canonical --windows mine --json --no-figure
    """
    from drawing.responses import cell_summary, draw_cells
    from pipeline.responses import SelectivitySettings
    from schemas.responses.run import run_cells
    from schemas.work.filling import fill_session

    activate()
    settings = SelectivitySettings(n_label_shuffles=shuffles)
    runs = []
    for eid in asked.each():
        fill_session(eid, progress=not as_json)
        runs.append(run_cells(eid, windows=windows, settings=settings, neurons_only=neurons_only))
    print_rows([row for run in runs for row in cell_summary(run)], as_json, "")
    print_failures([note for run in runs for note in run.notes])
    for run in runs if figure else ():
        click.echo(str(draw_cells(run, output, suffix)), err=as_json)


@main.command()
@for_sessions()
@windows_option
@tracking_run_option
@mixed_signals_option
@click.option(
    "--min-trials", type=click.IntRange(1), default=3, show_default=True,
    help="Trials that a window needs in each half of every day; others are left out on all days.",
)  # fmt: skip
@click.option("--shuffles", type=click.IntRange(200), default=500, show_default=True, help="Of each control.")
@click.option("--min-cell-probability", type=float, help="Leave out cells with a lower probability in any session.")
@click.option("--min-silhouette", type=float, help="Leave out cells with a lower cluster silhouette in any session.")
@as_json
@click.option("--output", type=Folder(), help="Folder for figure and table; by default none are written.")
@format_option
def stability(
    asked: Asked, windows, tracking_run, mixed_signals, min_trials, shuffles, min_cell_probability, min_silhouette,
    as_json, output, suffix,
) -> None:  # fmt: skip
    """Show how stable responses of tracked cells are over days.

    The sessions are EIDS, or those of --subject or --tag, of one mouse; EIDS may be its name. Compares the trial-type
    means of the cells that all sessions share, corrected for the noise of both days, by the days between them and by
    region, with shuffles. Sessions without trials or tracked cells are left out. Exits 1 if nothing can be compared.

    \b
    meso stability SP072 --output figures/
    meso stability EID1 EID2 EID3 --json
    """
    from drawing.responses import slope_lines, stability_rows, unreliable_lines
    from pipeline.text import csv_text
    from populate_scripts.commands import stability as run

    activate()
    rule = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    found = run(
        asked.of_subject().ids(), windows, {"min_trials": min_trials, "n_shuffles": shuffles}, rule, tracking_run,
        mixed_signals=mixed_signals, progress=not as_json,
    )  # fmt: skip
    print_failures(list(dict.fromkeys(found.notes)))
    if as_json:
        names = ("sessions", "windows", "pairs", "gaps", "slopes", "controls", "notes")
        click.echo(json.dumps({name: getattr(found, name) for name in names}, default=str))
    elif found.gaps:
        print_rows(stability_rows(found), False, "")
        for line in [*slope_lines(found), *unreliable_lines(found)]:
            echo(line)
    if output and found.gaps:
        Path(output).mkdir(parents=True, exist_ok=True)
        table = Path(output) / "stability.csv"
        table.write_text(csv_text(found.table), encoding="utf-8")
        for path in [*found.save(Path(output), suffix), table]:
            click.echo(str(path), err=as_json)
    sys.exit(0 if found.gaps else 1)


@main.command("embed-days")
@for_sessions()
@click.option(
    "--of", "embedded", type=click.Choice(["concatenated", "trial_types"]), default="concatenated", show_default=True,
    help="Activity of all sessions one after the other, or means of kinds of trials.",
)  # fmt: skip
@click.option(
    "--signal", type=click.Choice(["deconvolved", "fluorescence", "dff"]),
    help="Of all days; by default as each FOV was read, which must then be the same on all days.",
)  # fmt: skip
@click.option(
    "--bin-seconds", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Of concatenated: average the activity over bins, s; 0 for every frame.",
)  # fmt: skip
@click.option("--windows", help="Of trial_types: name of a set of windows; by default the 26 trial windows.")
@click.option(
    "--min-trials", type=click.IntRange(1), default=3, show_default=True,
    help="Of trial_types: trials that a window needs in each half of every day; others are left out on all days.",
)  # fmt: skip
@tracking_run_option
@click.option("--min-cell-probability", type=float, help="Leave out cells with a lower probability in any session.")
@click.option("--min-silhouette", type=float, help="Leave out cells with a lower cluster silhouette in any session.")
@click.option(
    "--t-range", nargs=2, type=float, metavar="FROM TO",
    help="Time range of concatenated that is drawn, s; by default one minute from a third into each recording.",
)  # fmt: skip
@as_json
@click.option("--figure/--no-figure", default=True, help="A figure; by default drawn.")
@output_option
@format_option
def embed_days(
    asked: Asked, embedded, signal, bin_seconds, windows, min_trials, tracking_run, min_cell_probability,
    min_silhouette, t_range, as_json, figure, output, suffix,
) -> None:  # fmt: skip
    """Draw the cells that sessions share in one Rastermap order.

    The sessions are EIDS, or those of --subject or --tag, of one mouse; EIDS may be its name. With --of trial_types the
    order is that of trials with even numbers, and those with odd numbers are drawn. With --json rank, cell and ROIs.

    \b
    meso embed-days SP072 --output figures/
    meso embed-days EID1 EID2 EID3 --of trial_types --signal dff
    """
    from drawing.days import rank_rows
    from pipeline.embedding_days import DaysSettings
    from populate_scripts.commands import embed_days as run

    settings = DaysSettings(embedded, bin_seconds, min_trials)
    if t_range and embedded != "concatenated":
        raise click.UsageError("--t-range has an effect on --of concatenated only")
    activate()
    rule = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    found = run(asked.of_subject().ids(), settings, windows, signal or "", rule, tracking_run, progress=not as_json)
    print_failures(list(dict.fromkeys(found.notes)))
    if as_json:
        about = {"task": found.task, "signal": found.signal, "windows": found.windows, "sessions": found.sessions}
        click.echo(json.dumps({**about, "cells": rank_rows(found)}, default=str))
    if figure:
        found.draw(t_range or None)
        for path in found.save(output, suffix):
            click.echo(str(path), err=as_json)
