"""``meso demo`` and ``meso ndc``: neuron-dropping curves."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.settings.curves import (
    CELLS,
    DECODER,
    PRESETS,
    TRIALS,
    NDCSettings,
    check_survivorship,
    preset,
    why_not_beyond,
    with_beyond,
)
from pipeline.settings.records import settings_in
from populate_scripts.cli.group import main
from populate_scripts.cli.options import (
    Asked,
    Folder,
    activate,
    as_json,
    echo,
    for_mice,
    for_mouse,
    for_sessions,
    mixed_signals_option,
    names_in,
    print_failures,
    print_rows,
    sizes_in,
    tracking_run_option,
    uid_root_option,
)
from populate_scripts.cli.settings import (
    SettingsCommand,
    SettingType,
    in_group,
    options_of,
    settings_asked_for,
    target_option,
    with_own_labels,
)

#: Heading of the options of ``meso ndc`` that choose sessions.
SESSIONS = "Which sessions"


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


#: Options that choose among the sessions of a mouse; those of ``meso ndc`` have the same names.
MIN_TRIALS: dict[str, Any] = {"type": click.IntRange(1), "help": "Only sessions with at least as many trials."}
PROTOCOL: dict[str, Any] = {"help": "Only sessions whose task protocol has this word, such as biased."}


@main.command()
@for_mouse
@click.option(
    "--size", "sizes", default="2-10", show_default=True, help="Numbers of sessions of a set: 8, 4-10, or 4,8."
)
@click.option("--min-trials", **MIN_TRIALS)
@click.option("--protocol", **PROTOCOL)
@click.option(
    "--trials", type=SettingType(next(one for one in settings_in(NDCSettings) if one.name == "trials")), default="",
    metavar="CONDITION", help="--min-trials, by default 1, counts only trials for which a condition is true, such as "
    "'contrast > 0.1 and correct'.",
)  # fmt: skip
@click.option("--tag", help="Only sessions with this tag: see 'meso tag'.")
@click.option("--min-cell-probability", type=float, help="A cell counts only where its probability is as high.")
@click.option("--min-silhouette", type=float, help="A cell counts only where its cluster silhouette is as high.")
@tracking_run_option
@click.option("--each", "n_each", type=click.IntRange(1), default=1, show_default=True, help="Sets of each size.")
@click.option("--csv", "csv", type=click.Path(path_type=Path, dir_okay=False), help="Write the table to this file.")
@as_json
def sets(
    subject: str, sizes: str, min_trials: int | None, protocol: str | None, trials: str, tag: str | None,
    csv: Path | None, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Find the sets of sessions of SUBJECT that share most cells.

    For each size the best set of all there are, exactly, with the number of cells that all its sessions share, dates
    and ids, which 'meso ndc' takes. Positions of ROIs and UIDs are read on demand, not the activity.

    \b
    meso sets SP072 --size 4-10 --min-trials 400 --protocol biased
    meso sets SP072 --size 8 --trials "contrast > 0.1 and correct"
    meso sets SP072 --size 8 --tag canonical --min-silhouette 0.2 --json
    """
    from pipeline.reading.names import SHORTEST
    from populate_scripts.commands import write_sets
    from schemas.decoding.sets import best_sets, why_none

    numbers = sizes_in(sizes)
    activate()
    eids = Asked((), subject, tag).ids()
    found, reasons = best_sets(
        eids, numbers, min_trials=min_trials, protocol=protocol, trials=trials, progress=not as_json, **given
    )
    print_failures([f"session {eid} is left out: {reason}" for eid, reason in reasons.items()])
    rows = [one.as_row() for one in found]
    if csv:
        write_sets(rows, csv)
    if as_json:
        print_rows(rows, as_json, "")
    rule = "".join(
        f" --{name.replace('_', '-')} {given[name]:g}" for name in ("min_cell_probability", "min_silhouette")
        if given[name] is not None
    )  # fmt: skip
    rule += f" --trials {shlex.quote(trials)}" if trials else ""
    for one in [] if as_json else found:
        echo(f"{one.size} sessions share {one.n_shared} cells: {', '.join(map(str, one.dates))}")
        # a line to copy; on a screen a table would be cut
        echo(f"    meso ndc {' '.join(eid[:SHORTEST] for eid in one.eids)}{rule}")
    if not found:
        print_failures([why_none(numbers, len(eids) - len(reasons))])
    sys.exit(0 if found else 1)


@main.command(cls=SettingsCommand)
@for_sessions(required=False)
@in_group(SESSIONS, "--subjects", metavar="A,B,C", help="Sessions of several mice, which are then compared.")
@in_group(SESSIONS, "--best", type=click.IntRange(2), metavar="N", help="Of each mouse, the N that share most cells.")
@in_group(SESSIONS, "--min-trials", **MIN_TRIALS)
@in_group(SESSIONS, "--protocol", **PROTOCOL)
@in_group(
    SESSIONS,
    "--pairs",
    type=click.Choice(["consecutive", "all"]),
    help="Separate curves for each pair of sessions, with all cells that the two share.",
)
@tracking_run_option
@mixed_signals_option
@click.option(
    "--settings", type=click.Choice(list(PRESETS)), help="As the lab's scripts decoded, where no option says otherwise."
)
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
@in_group(
    CELLS,
    "--survivorship",
    is_flag=True,
    help="Also curves of as many untracked cells, and of as many that are lost later, all up to the same k.",
)
@in_group(CELLS, "--min-cell-probability", type=float, help="Leave out cells with a lower probability in any session.")
@in_group(
    CELLS,
    "--min-silhouette",
    type=float,
    help="Leave out cells with a lower cluster silhouette (tracking) in any session.",
)
def ndc(
    asked: Asked,
    subjects: str | None,
    best: int | None,
    min_trials: int | None,
    protocol: str | None,
    pairs: str | None,
    by_region: str | None,
    survivorship: bool,
    min_cell_probability: float | None,
    min_silhouette: float | None,
    tracking_run: str | None,
    mixed_signals: bool,
    output: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Compute neuron-dropping curves of cells shared by sessions.

    The sessions are EIDS, or those of --subject or --tag. Prints k* of each session. Missing data are read and computed
    on demand. The choice is decoded twice, also beyond the stimulus, unless --beyond says what is wanted. Exits 1 if
    there is no curve.

    EIDS may be the name of one subject. With --subjects, or a --tag of several mice, the curves of each mouse are
    followed by the slopes over days of all, as 'meso mice' prints them.

    \b
    meso ndc --subject SP072 --target choice --target block --output figures/
    meso ndc --subject SP072 --by-region VISp,VISam --ks 2,4,8,16
    meso ndc SP072 --best 8 --min-trials 400 --protocol biased
    meso ndc SP072 --pairs consecutive --target stimulus
    meso ndc SP072 --settings scripts --ks 8,64,512
    meso ndc --subjects SP072,SP076,SP080 --tag canonical --output figures/
    """
    from populate_scripts import commands
    from schemas.queries.ids import subjects_of
    from schemas.ready_labels import with_labels

    names, regions = names_in(subjects), names_in(by_region)
    if bool(names) and bool(asked.eids or asked.subject):
        raise click.UsageError("Name session ids, or --subject, or --subjects")
    if not (asked or names):
        raise click.UsageError("Name session ids, or --subject or --tag or --subjects")
    settings = settings_asked_for(with_own_labels(given), by_region=regions)
    if survivorship:
        check_survivorship(settings)
    not_beyond = why_not_beyond(settings) if given["beyond"] is None else []
    if given["beyond"] is None:
        settings = with_beyond(settings)
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    chosen = {"best": best, "min_trials": min_trials, "protocol": protocol}
    notes = [*([preset(given["settings"]).note] if given["settings"] else []), *not_beyond]
    activate()
    eids = [eid for name in names for eid in Asked((), name, asked.tag).ids()] or asked.of_subject().ids()
    settings = with_labels(settings, eids)
    question = commands.Question(settings, cells, tracking_run, regions, chosen, notes, mixed_signals, survivorship)
    of_several = bool(names or asked.tag) and len(subjects_of(eids)) > 1
    if pairs and of_several:
        raise click.UsageError("--pairs is for the sessions of one mouse")
    result: Any
    if pairs:
        result = commands.ndc_of_pairs(eids, pairs, question, output)
    elif of_several:
        result = commands.ndc_of_mice(eids, question, output)
    else:
        result = commands.ndc(eids, question, output)
        # the default ks go further than most sessions: that they are cut is no news
        if given["ks"]:
            result.note_short_curves()
    _print_and_exit(result, output, as_json=as_json)


def _print_and_exit(result: Any, output: Path | None, *, as_json: bool) -> None:
    """Print a result, and end the command: with status 1 if its table is empty."""
    if as_json:
        echo(result.table.to_json(orient="records", date_format="iso"))
    else:
        result.show()
        if output:
            echo(f"Figures and table are in {output}/")
    sys.exit(0 if len(result.table) else 1)


#: Settings of a curve that ``meso transfer`` has no use for.
OF_CURVES = (
    "ks", "delta", "ceiling_mode", "n_cells", "n_bootstrap", "intervals", "curve_axis", "trial_shuffled", "c_grid",
    "cells", "cells_seed", "imposter_align",
)  # fmt: skip


@main.command(cls=SettingsCommand)
@for_sessions()
@tracking_run_option
@mixed_signals_option
@click.option("--output", type=Folder(), help="Folder for figures and table; by default none are written.")
@as_json
@target_option
@in_group(
    TRIALS, "--win", nargs=2, type=float, metavar="FROM TO", help="Start and end of the window, s after the event."
)
@options_of(NDCSettings, but=("target", *OF_CURVES))
@in_group(
    DECODER, "--scaler", type=click.Choice(["own", "trained"]), default="own", show_default=True,
    help="Standardise cells by all trials of each session, without labels (own), or other sessions as the training "
    "trials (trained).",
)  # fmt: skip
@in_group(CELLS, "--min-cell-probability", type=float, help="Leave out cells with a lower probability in any session.")
@in_group(
    CELLS,
    "--min-silhouette",
    type=float,
    help="Leave out cells with a lower cluster silhouette (tracking) in any session.",
)
def transfer(
    asked: Asked, tracking_run: str | None, mixed_signals: bool, output: Path | None, as_json: bool,
    scaler: str, min_cell_probability: float | None, min_silhouette: float | None, **given: Any,
) -> None:  # fmt: skip
    """Test the readout of each session on all others.

    The sessions are EIDS, or those of --subject or --tag; the readouts are of the cells that all share. Prints the
    score of every pair, and how transfer changes with the days between, beside split halves within the day. Missing
    data are read and computed on demand. Exits 1 if there is no result.

    \b
    meso transfer --subject SP072 --target choice --output figures/
    meso transfer EID1 EID2 EID3 --target stimulus --scaler trained --json
    """
    from populate_scripts import commands
    from schemas.ready_labels import with_labels

    settings = settings_asked_for(with_own_labels(given))
    cells = {"min_cell_probability": min_cell_probability, "min_silhouette": min_silhouette}
    activate()
    eids = asked.of_subject().ids()
    result = commands.transfer(
        eids, with_labels(settings, eids), scaler, cells, output, tracking_run, mixed_signals=mixed_signals
    )
    _print_and_exit(result, output, as_json=as_json)


@main.command()
@for_mice
@click.option(
    "--session-set", "sets", multiple=True, help="A set of sessions of a mouse, by its hash; may be repeated."
)
@click.option("--question", help="Only this question, as it is printed, or all that begin so.")
@click.option("--tag", help="Only sets whose sessions all have this tag; of its mice, if none is named.")
@click.option("--output", type=Folder(), help="Folder for the figure; by default none is drawn.")
@as_json
def mice(
    subjects: tuple[str, ...], sets: tuple[str, ...], question: str | None, tag: str | None, output: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare the slopes over days of several mice.

    Takes the curves that 'meso ndc' has computed for each of the SUBJECTS, in the set with most sessions; 'meso ndc
    --subjects' computes them first. Prints the slope of each mouse, their mean with a 95 % interval for mice like these
    (three mice or more), and the differences between targets and regions within mice.

    \b
    meso mice SP072 SP076 SP080
    meso mice --tag canonical --question choice --output figures/
    """
    from drawing.many import write_mice
    from drawing.screen import print_mice
    from schemas.decoding.cohorts import compare_mice

    if not (subjects or sets or tag):
        raise click.UsageError("Name subjects, --tag or --session-set")
    activate()
    run = compare_mice(subjects, session_sets=sets, tag=tag)
    run = run.about(question) if question else run
    path = write_mice(run, output) if output else None
    if as_json:
        echo(
            json.dumps({name: getattr(run, name) for name in ("means", "slopes", "differences", "notes")}, default=str)
        )
    else:
        print_mice(run)
        if path:
            echo(str(path))
    sys.exit(0 if run.means else 1)


@main.command()
@for_mice
@click.option("--question", default="choice", show_default=True, help="As 'meso mice' names it, or the beginning.")
@click.option(
    "--quantity",
    type=click.Choice(["code_k", "half_k", "common_k", "score", "d_prime"]),
    default="code_k",
    show_default=True,
    help="k* at the own ceiling, k with half of d'^2, k at the common score (slopes of log2), score or d'.",
)
@click.option(
    "--slope",
    type=float,
    show_default="half the cells after 7 days",
    help="True slope per day; score and d' have no default.",
)
@click.option("--days", default="4,6,8,12,16", show_default=True, help="Numbers of days of each mouse.")
@click.option("--spacing", type=float, default=1.0, show_default=True, help="Days from one session to the next.")
@click.option("--power", type=float, default=0.8, show_default=True, help="Wanted probability of p <= 0.05.")
@click.option("--tag", help="Only sets whose sessions all have this tag; of its mice, if none is named.")
@as_json
def power(
    subjects: tuple[str, ...], question: str, quantity: str, slope: float | None, days: str, spacing: float,
    power: float, tag: str | None, as_json: bool,
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
        subjects, question=question, quantity=quantity, slope=slope, days=numbers, spacing=spacing, power=power,
        tag=tag,
    )  # fmt: skip
    if as_json:
        echo(json.dumps(dataclasses.asdict(found)))
    else:
        print_power(found)
