"""``meso demo`` and ``meso ndc``: neuron-dropping curves."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Folder,
    activate,
    as_json,
    names_in,
    numbers_in,
    tracking_run_option,
    uid_root_option,
)


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


@main.command()
@click.argument("eids", nargs=-1)
@click.option("--subject", help="All sessions of a subject that have tracked cells and trials.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(["choice", "feedback", "stimulus", "block"]),
    default=("choice", "feedback", "stimulus"),
    show_default=True,
)
@click.option("--event", help="Trials attribute, such as stimOn_times; by default the target's own.")
@click.option("--win", nargs=2, type=float, metavar="FROM TO", help="Window about the event in s.")
@click.option(
    "--ks", help="Numbers of cells, such as 8,16,32; that of all cells is added. By default from 8 on, by region 2."
)
@click.option("-R", "r", type=int, default=50, show_default=True, help="Random subsets per k.")
@click.option("--metric", type=click.Choice(["auc", "accuracy", "balanced_accuracy"]), default="auc", show_default=True)
@click.option("--delta", type=float, default=0.02, show_default=True, help="k* is this near the ceiling.")
@click.option("--cv-splits", type=int, default=5, show_default=True, help="Folds.")
@click.option(
    "--class-balance", type=click.Choice(["downsample", "weights", "none"]), default="downsample", show_default=True
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--n-label-shuffles", type=int, default=100, show_default=True)
@click.option(
    "--null-subsets", type=int, default=5, show_default=True, help="Subsets behind the score of each shuffle."
)
@click.option(
    "--null",
    type=click.Choice(["auto", "permute", "circular", "linear_shift", "pseudosession", "imposter"]),
    default="auto",
    show_default=True,
    help="Where shuffled labels come from.",
)
@click.option("--n-bootstrap", type=int, default=200, show_default=True, help="Resamplings behind the intervals.")
@click.option("--c-grid", help="Inverse penalties to choose from inside the training folds, such as 0.01,0.1,1.")
@click.option("--fold-mode", type=click.Choice(["stratified", "blocked"]), default="stratified", show_default=True)
@click.option("--fold-gap", type=int, default=0, show_default=True, help="Trials left out beside blocked test trials.")
@click.option(
    "--curve-axis", type=click.Choice(["cells", "trials"]), default="cells", show_default=True, help="What k counts."
)
@click.option("--trial-shuffled", is_flag=True, help="Decode without noise correlations.")
@click.option(
    "--cells",
    type=click.Choice(["shared", "random"]),
    default="shared",
    show_default=True,
    help="Shared cells, or as many random ones of each session.",
)
@click.option("--regions", help="Only cells in these, such as VISp,VISam; regions within them count.")
@click.option("--by-region", help="Curves of each of these by itself, such as VISp,VISam, all up to the same k.")
@click.option("--fovs", help="Only cells in these FOVs, such as 0,2.")
@click.option("--n-cells", type=int, default=0, help="Largest number of cells, to compare regions; by default all.")
@click.option("--min-cell-probability", type=float, help="Leave out cells below it in any session.")
@click.option("--min-silhouette", type=float, help="The same for the cluster silhouette of tracking.")
@tracking_run_option
@click.option("--output", type=Folder(), help="Write figures and the table here.")
@as_json
def ndc(eids, subject, targets, event, win, ks, c_grid, regions, by_region, fovs, min_cell_probability, min_silhouette,
        tracking_run, output, as_json, **common) -> None:  # fmt: skip
    """Neuron-dropping curves of the cells that EIDS, or a subject's sessions, share."""
    from pipeline.decoding import NDCSettings
    from populate_scripts import commands

    if regions and by_region:
        raise click.UsageError("--regions takes cells of all of them together, --by-region of each by itself: use one")
    if by_region and common["curve_axis"] == "trials":
        raise click.UsageError("--by-region compares regions at the same number of cells: --curve-axis cells")
    has_ks = bool(ks)
    if by_region:  # of few cells, of which a curve needs four numbers
        ks = ks or "2,4,8,16,32,64,128,256,512,1024,2048"
    activate()
    common |= {"event": event or "", "regions": names_in(regions)}
    if win:
        common |= {"win_start": win[0], "win_end": win[1]}
    try:
        lists = {"ks": (ks, int), "fovs": (fovs, int), "c_grid": (c_grid, float)}
        common |= {name: numbers_in(name, text, kind) for name, (text, kind) in lists.items() if text}
        settings = [NDCSettings(target=target, **common) for target in targets]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    result = commands.ndc(eids, subject, settings, cells, output, tracking_run, names_in(by_region))
    if has_ks:
        result.note_short_curves()
    if as_json:
        click.echo(result.table.to_json(orient="records", date_format="iso"))
    else:
        result.show()
        if output:
            click.echo(f"The figures and the table are in {output}/")
    sys.exit(0 if len(result.table) else 1)
