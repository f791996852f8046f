"""Curves of pairs of sessions, or of several mice, on screen and as a figure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.markup import escape

from drawing.screen import print_mice, shown_result, trend_lines, wide_console
from drawing.tables import table_of
from pipeline import figures
from pipeline.decoding import DayTrend, NDCSettings
from pipeline.figures.ndc import common_metric
from pipeline.text import counted, printable
from schemas.decoding.cohorts import MiceRun
from schemas.decoding.many import ManyRuns
from schemas.decoding.tables import NDCCohort, NDCParams, NDCTask, settings_of, trends_of_task
from schemas.tracking import SessionSet

#: Columns of the table on screen, of ``shown_result``, and their headings.
SHOWN = {
    "date": "date", "k_star": "k*", "interval": "95 %", "ceiling": "ceiling", "n_trials": "trials", "p_text": "p",
    "q": "q", "verdict": "verdict",
}  # fmt: skip


@dataclass(repr=False)
class DrawableMany(ManyRuns):
    """Curves of several sets of sessions, with methods that draw them and print their table."""

    @classmethod
    def of(cls, found: ManyRuns) -> DrawableMany:
        """Return runs with the methods that draw them."""
        return cls(**vars(found))

    def draw_mice(self, width: str | None = None) -> Figure | None:
        """Draw the trends of the mice with the mean of their slopes; None for pairs, or without a trend."""
        return None if self.mice is None else mice(self.mice, width)

    def show(self) -> None:
        """Print the table of all curves, the trends of each mouse, and their means."""
        console = wide_console()
        rows = [
            {self.kind: name, "shared": run.n_shared, "target": target.name} | self._shown(row)
            for name, run in self.runs.items() for target in run.targets for row in target.curves
        ]  # fmt: skip
        if rows:
            console.print(table_of(rows))
            console.print("q = FDR-adjusted p (Benjamini-Hochberg) over all of the table")
        for name, run in self.runs.items() if self.kind == "subject" else ():
            for target in run.targets:
                for text in trend_lines(target):
                    console.print(escape(printable(f"{name}, {target.name}: {text}")))
        if self.mice is not None:
            print_mice(self.mice)
        notes = [text for text in self.notes() if self.mice is None or text not in self.mice.notes]
        for text in [*notes, *self.failure_lines()]:
            console.print(f"[yellow]![/yellow] {escape(printable(text))}")

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        q = self.q_values.get((row["session_set"], row["ndc_params"], row["eid"]))
        found = {**shown_result(row), "q": q}
        return {title: found[name] for name, title in SHOWN.items()}


def write_mice(run: MiceRun, output: Path) -> Path | None:
    """Draw the trends of several mice to a folder, and return the file; None without a trend."""
    figure = mice(run)
    if figure is None:
        return None
    key = run.cohort["ndc_cohort"]
    stem = figures.file_stem("mice_over_days", *filter(None, [run.question]), key[:8])
    return figures.save(figure, output / f"{stem}.png", {"ndc_cohort": key, "subjects": run.subjects})


def mice(run: MiceRun, width: str | None = None) -> Figure | None:
    """Draw the trends of several mice over their days, and the mean of their slopes; None without a trend."""
    tasks = ((NDCCohort.Member & run.cohort) * SessionSet.proj("subject") * NDCParams).to_dicts(order_by="subject")
    names = {(row["session_set"], row["ndc_params"]): row["question_name"] for row in run.slopes}
    trends: dict[str, dict[str, dict[str, DayTrend]]] = defaultdict(dict)
    asked: list[NDCSettings] = []
    for task in tasks:
        name = names.get((task["session_set"], task["ndc_params"]))
        if name is not None:  # without a slope there is nothing to draw
            asked.append(settings_of(task))
            key = {one: task[one] for one in NDCTask.primary_key}
            trends[name][task["subject"]] = {trend.quantity: trend for trend in trends_of_task(key)}
    if not asked:
        return None
    return figures.mice_over_days(
        dict(sorted(trends.items())), metric=common_metric(one.metric for one in asked),
        curve_axis=asked[0].curve_axis, width=width,
        title=f"{counted(len(run.subjects), 'mouse', 'mice')}: code and sensitivity over days",
    )  # fmt: skip
