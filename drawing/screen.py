"""Tables of results in the terminal and in notebooks."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from drawing.tables import cell_text, table_of
from pipeline.decoding.fits.mice import MIN_MICE
from pipeline.decoding.fits.power import MOST_MICE
from pipeline.errors import SettingsError
from pipeline.text import METRICS, counted, p_text, printable
from schemas.decoding.cohorts import MiceRun, Power
from schemas.decoding.finding import BOTH, OF_DAYS
from schemas.decoding.results import Failure, NDCRun, TargetRun
from schemas.decoding.rows import p_of
from schemas.decoding.survivorship import differences

#: Headings of a table of curves, by column of ``shown_result``.
TITLES = {
    "date": "date", "eid": "eid", "k_star": "k*", "interval": "95 %", "ceiling": "ceiling", "n_trials": "trials",
    "p": "p", "q": "q", "verdict": "verdict", "penalty": "C",
}  # fmt: skip
#: Terminals at least this many characters wide get session ids in full, others their first 8 characters.
FULL_ID_WIDTH = 120
#: What to do about failures.
RETRY = "After fixing the cause, run 'meso retry' to clear the failures, then run this again"


def may_be_retried(failures: Iterable[Failure]) -> bool:
    """Return whether a failure could be gone after a retry: not one of these settings with the data as they are."""
    return any(not one.message.startswith(f"{SettingsError.__name__}:") for one in failures)


def print_run(run: NDCRun) -> None:
    """Print the curves of each target with its trend, then notes and failures."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:  # rich assumes 80 columns; a file or notebook has room for full ids
        console.width = max(console.width, FULL_ID_WIDTH)
    tracking_run = run.tracking_run[:8]
    subject = escape(printable(run.subject))
    console.print(f"[bold]{subject}[/bold]: {run.n_shared} cells in every session (tracking run {tracking_run})")
    console.print(
        "p = of all k together (Simes), <= where no shuffle was as good; q = FDR-adjusted p (Benjamini-Hochberg) over "
        "all that is below"
    )
    for target in run.targets:
        if target.curves:
            rows = [_on_screen(shown_result(row), console.width, row["n_minority"]) for row in target.curves]
            score = METRICS[target.settings.metric]
            console.print(table_of(rows, title=escape(printable(f"{target.name} ({score})"))))
        for text in trend_lines(target):
            console.print(text)
    for text in survivorship_lines(run):
        console.print(text)
    # each once: targets may share a failure
    for text in dict.fromkeys([*run.notes, *run.failure_lines()]):
        console.print(f"[yellow]![/yellow] {escape(printable(text))}")
    if may_be_retried(run.failures):
        console.print(RETRY)


def survivorship_lines(run: NDCRun) -> list[str]:
    """Return how the scores of other cells differ from those of the cells that stay, where both were decoded."""
    return [
        f"{escape(printable(name))}: {k} cells score {found.mean:+.3f} against {k} that stay, mean of "
        f"{_sessions(len(found.values))} ({found.mean_low:+.3f} to {found.mean_high:+.3f}, {p_text(found.p)}; for "
        "other trials, and other cells of each kind)"
        for name, (k, found) in differences(run).items()
    ]


def _on_screen(row: dict[str, Any], width: int, n_minority: int | None) -> dict[str, Any]:
    """Return a row of ``shown_result`` by headings; beyond the stimulus with the number of minority trials."""
    # text is left-aligned even if no row has any
    text = {**row, "interval": row["interval"] or cell_text(None), "p": row["p_text"].partition(" (")[0]}
    shown = {title: text[name] for name, title in TITLES.items()}
    shown |= {} if n_minority is None else {"minority": n_minority}
    return shown if width >= FULL_ID_WIDTH else {**shown, "eid": row["eid"][:8]}


def shown_result(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a result that tables show; k* and its interval are None at chance, where they are void."""
    has_star = row["k_star"] is not None and row["verdict"] != "at chance"
    return {
        "date": row["session_date"], "eid": row["eid"], "k_star": row["k_star"] if has_star else None,
        "interval": interval_text(row) if has_star else None, "ceiling": row["ceiling"], "n_cells": row["n_cells"],
        "n_trials": row["n_decoded"], "p": p_of(row), "q": row["q_value"], "verdict": row["verdict"],
        "p_text": p_text(p_of(row), row["n_label_shuffles"], name=""),
        "performance": row["performance"], "penalty": penalty_text(row),
    }  # fmt: skip


def penalty_text(row: dict[str, Any]) -> str:
    """Return C of a curve as text, and if the penalty was chosen, the score that c = 1 would have given.

    Parameters
    ----------
    row : dict
        Row of NDCResult joined with NDCParams.

    Examples
    --------
    >>> auto = {"penalty": "auto", "c": 1.0, "c_grid": None, "c_used": 10.0, "score_c1": 0.7124}
    >>> penalty_text(auto), penalty_text({**auto, "c_used": 1.0})
    ('10/k (1/k: 0.712)', '1/k')
    >>> [penalty_text({**auto, "penalty": "fixed", "c_used": None, "c_grid": grid}) for grid in (None, [0.1, 1])]
    ['1 (fixed)', 'of c_grid (fixed)']
    """
    scaled = row["penalty"] != "fixed"
    if row["c_grid"]:
        return f"of c_grid{'/k' if scaled else ' (fixed)'}"
    c = row["c"] if row["c_used"] is None else row["c_used"]
    if not scaled:
        return f"{c:g} (fixed)"
    chosen = row["penalty"] == "auto" and c != 1 and row["score_c1"] is not None
    return f"{c:g}/k" + (f" (1/k: {row['score_c1']:.3f})" if chosen else "")


def interval_text(row: dict[str, Any]) -> str | None:
    """Return the 95 % interval of k* as text, e.g. '8 to beyond' where it is open; None without an interval."""
    low, high = ("" if row[name] is None else f"{row[name]:.0f}" for name in ("k_star_low", "k_star_high"))
    if row["k_star_censored"] == "left" and low:
        low = f"<={low}"
    return f"{low} to {high or 'beyond'}" if low else None


def trend_lines(target: TargetRun) -> list[str]:
    """Return the trends of a target over days: of the code, then of sensitivity; or of the k* of former versions."""
    if not target.day_trends:
        return [] if target.trend is None else [trend_text(target.trend)]
    trends = target.day_trends
    # two questions, which a single slope cannot answer
    heads = {
        "code_k": "code (does the curve have another shape?): log2 k* at the own ceiling",
        "half_k": "code, whatever the height of the ceiling: log2 k_half",
        "common_k": "sensitivity (are fewer cells enough? signal, performance and trials change it, too): log2 k at "
        "the common score",
        "score": f"sensitivity: score of k = {trends['score']['trend_k']}",
    }
    lines = {one: f"{head} {day_trend_text(trends[one])}" for one, head in heads.items() if one in trends}
    if "half_k" in lines:
        lines["half_k"] += code_text(trends, target.doubts, target.spread)
    return list(lines.values())


def code_text(trends: Mapping[str, dict[str, Any]], doubts: Sequence[str] = (), spread: float = math.nan) -> str:
    """Return what k* and k_half have in common: a change of the code is one that both have, and nothing else explains.

    Parameters
    ----------
    trends : mapping of str to dict
        As ``TargetRun.day_trends``.
    doubts, spread
        As of a TargetRun.

    Examples
    --------
    >>> alone = {"day_slope": -0.2, "fixed_p": 0.01, "day_p": 0.2}
    >>> found = {"code_k": alone, "half_k": {**alone, "fixed_p": 0.03}}
    >>> code_text(found, spread=1.0).partition("p = 0.200")[2]
    '; a finding of the code: the share of the cells that carry the signal changes by +100%'
    >>> code_text({**found, "half_k": {**alone, "day_slope": 0.1}})
    '; not in one direction: no change of both'
    >>> code_text(found, ["noise of the traces changes as well"]).partition("p = 0.200")[2]
    '; no finding of the code: noise of the traces changes as well'
    """
    if any(trends[quantity]["day_slope"] is None for quantity in BOTH):
        return ""
    if not OF_DAYS.direction(trends):
        return "; not in one direction: no change of both"
    if not (text := OF_DAYS.text(trends)):
        return ""
    if doubts:
        return f"; both: {text}; no finding of the code: {', '.join(doubts)}"
    return f"; both: {text}" + (f"; a finding of the code: {OF_DAYS.shown(spread)}" if OF_DAYS.is_found(trends) else "")


def day_trend_text(trend: dict[str, Any]) -> str:
    """Return a row of NDCComparison.DayTrend as text: the slope with both of its intervals."""
    digits = 3 if trend["quantity"] == "score" else 2
    left_out = f"; {trend['n_at_chance']} more at chance" if trend["n_at_chance"] else ""
    if trend["day_slope"] is None:
        return f"has no slope: {_sessions(trend['n_days'])} with a value{left_out}"

    def interval(kind: str) -> str:
        low, high, p = (trend[f"{kind}_{end}"] for end in ("low", "high", "p"))
        return f"{low:+.{digits}f} to {high:+.{digits}f}, {p_text(p)}"

    text = f"changes by {trend['day_slope']:+.{digits}f} per day"
    text += "" if trend["fixed_low"] is None else f"; these days {interval('fixed')}"
    beyond = "needs four days" if trend["day_low"] is None else f"(taken to be independent) {interval('day')}"
    return f"{text}; beyond the scatter of days {beyond}; {_sessions(trend['n_days'])}{left_out}"


def _sessions(n: int) -> str:
    return counted(n, "session", "sessions")


def wide_console() -> Console:
    """Return a console that truncates nothing where the output is a pipe or a file."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)


#: What the slope of a quantity is one of.
SLOPE_OF = {
    "code_k": "log2 k* at the own ceiling", "half_k": "log2 k_half",
    "common_k": "log2 k at the common score", "score": "score", "d_prime": "d'",
}  # fmt: skip


#: What a quantity is whose values are compared within mice.
LEVEL_OF = {quantity: text for quantity, text in SLOPE_OF.items() if quantity != "common_k"}


def print_mice(run: MiceRun) -> None:
    """Print the slopes of mice, their means, and the differences within mice: of slopes, and of the values."""
    console = wide_console()
    console.print(f"{_mice(len(run.subjects))}: {escape(printable(', '.join(run.subjects)))}; slopes per day")
    rows = [
        {
            "question": row["question_name"], "slope of": SLOPE_OF[row["quantity"]],
            "mice": row["n_mice"], "without": row["n_without"], "mean": row["mean_slope"],
            "95 %": _range(row["mean_low"], row["mean_high"]), "p": row["mean_p"], "between mice": row["between_sd"],
            "of each": ", ".join(
                f"{one['subject']} {one['mouse_slope']:+.2f}" for one in run.slopes
                if (one["question_name"], one["quantity"]) == (row["question_name"], row["quantity"])
            ),
        }
        for row in run.means
    ]  # fmt: skip
    console.print(table_of(rows))
    if run.differences:
        pairs = [
            {
                "difference": row["pair_name"], "slope of": SLOPE_OF[row["quantity"]],
                "mice": row["n_pairs"], "mean": row["slope_difference"],
                "95 %": _range(row["difference_low"], row["difference_high"]), "p": row["difference_p"],
            }
            for row in run.differences
        ]  # fmt: skip
        console.print(table_of(pairs, title="Within mice, over the days"))
    levels = [
        {
            "difference": row["pair_name"], "of": LEVEL_OF[row["quantity"]],
            "mice": row["n_level_pairs"], "mean": row["level_difference"],
            "95 %": _range(row["level_low"], row["level_high"]), "p": row["level_p"],
        }
        for row in run.differences if row["level_difference"] is not None
    ]  # fmt: skip
    if levels:
        console.print(table_of(levels, title="Within mice, mean of the days"))
    if any(row["n_mice"] < MIN_MICE for row in run.means):
        console.print(f"A mean of fewer than {MIN_MICE} mice has no interval")
    for text in run.notes:
        console.print(f"[yellow]![/yellow] {escape(printable(text))}")


def print_power(found: Power) -> None:
    """Print what a trend over days needs."""
    console = wide_console()
    of_curves = "" if found.curve_sd != found.curve_sd else f", the error of the curves alone {found.curve_sd:.3f}"
    console.print(
        f"{escape(printable(found.question))}, {SLOPE_OF[found.quantity]}: a slope of {found.slope:+.3f} per day, a "
        f"session every {'day' if found.spacing == 1 else f'{found.spacing:g} days'}"
    )
    console.print(f"{_mice(found.n_mice)}: scatter of days {found.day_sd:.3f}{of_curves}; between mice "
                  f"{found.between_sd:.3f}")  # fmt: skip
    console.print(table_of([
        {**{name: value for name, value in row.items() if name != "mice_needed"},
         f"mice for {found.power:.0%}": row["mice_needed"] or f"> {MOST_MICE}"}
        for row in found.rows
    ]))  # fmt: skip
    few = [row["n_days"] for row in found.rows if row["power_3_mice"] < row["power_1_mouse"]]
    if few:
        console.print(
            f"3 mice have less power than one with {', '.join(map(str, few))} days: Student's t has 2 degrees of "
            f"freedom over 3 mice, {few[0] - 2} over {few[0]} days. But the days of one mouse say nothing of others"
        )
    if found.n_mice < MIN_MICE:
        console.print(f"[yellow]![/yellow] from fewer than {MIN_MICE} mice the variance between mice is hardly known: "
                      f"more may be needed")  # fmt: skip


def _mice(n: int) -> str:
    return counted(n, "mouse", "mice")


def _range(low: float | None, high: float | None) -> str:
    """Return an interval as text."""
    return "-" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"


def trend_text(trend: dict[str, Any]) -> str:
    """Return a line about the slope of k* over days, or about why there is none."""
    if trend["k_star_slope"] is None and trend["n_censored"]:
        return (
            f"k* over days: no slope, {trend['n_censored']} of {trend['n_dated']} sessions are known by a bound; "
            f"3 exact ones on different days are needed"
        )
    if trend["k_star_slope"] is None:
        return f"k* over days: no slope, {trend['n_dated']} sessions are above chance; 2 on different days are needed"
    text = f"k* over days: log2 changes by {trend['k_star_slope']:+.2f} per day"
    if trend["slope_low"] is not None and trend["slope_high"] is not None:
        text += f" (95 % {trend['slope_low']:+.2f} to {trend['slope_high']:+.2f}, {p_text(trend['slope_p'])})"
    bounds = f", {trend['n_censored']} of them known by a bound" if trend["n_censored"] else ""
    return f"{text}; {trend['n_dated']} sessions{bounds}"
