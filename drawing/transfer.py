"""Figures of transfer between sessions, and ``DrawableTransfer``: a run with methods that draw and print it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape

from drawing.curves import decoded_text
from drawing.screen import FULL_ID_WIDTH, RETRY, may_be_retried
from drawing.tables import table_of
from pipeline import figures
from pipeline.decoding.fits.families import significant
from pipeline.figures.transfer import decay_text
from pipeline.text import METRICS, printable
from schemas.decoding.transfers import TargetTransfer, TransferRun
from schemas.rows import content_key

#: What the scaler does, in words.
SCALED = {"own": "each session standardised by itself", "trained": "scaled as the training trials"}


@dataclass(repr=False)
class DrawableTransfer(TransferRun):
    """Readouts of each session of a set tested on all others, with methods that draw them and print their tables.

    Attributes
    ----------
    figures : dict of str to Figure
        By target, filled by ``draw``.
    """

    figures: dict[str, Figure] = field(default_factory=dict)

    @classmethod
    def of(cls, run: TransferRun) -> DrawableTransfer:
        """Return a run with the methods that draw it."""
        return cls(**vars(run))

    def draw(self, width: str | None = None) -> dict[str, Figure]:
        """Draw the matrix and the decay of each target; ``width``: see ``pipeline.figures.transfer_over_days``."""
        drawn = {target.name: _figure(self, target, width) for target in self.targets}
        self.figures = {name: figure for name, figure in drawn.items() if figure is not None}
        return self.figures

    def write(self, folder: Path) -> None:
        """Write the table and a figure for each target into a folder, which is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(folder / "transfer.csv", index=False)
        drawn = self.draw()
        for target in self.targets:
            if target.name in drawn:
                made_of = {**self.session_set, "ndc_params": target.ndc_params, "scaler": self.scaler}
                stem = figures.file_stem("transfer", self.subject, target.name, content_key(made_of)[:8])
                figures.save(drawn[target.name], folder / f"{stem}.png", made_of)

    def show(self) -> None:
        """Print the matrix and the decay of each target, notes and failures."""
        print_transfer(self)


def _figure(run: TransferRun, target: TargetTransfer, width: str | None) -> Figure | None:
    """Draw the matrix and the decay of a target; None as long as sessions lack a result."""
    if target.decay is None or not target.rows:
        return None
    return figures.transfer_over_days(
        target.square("transfer_score"), list(target.dates.values()), target.decay, q=target.square("transfer_q"),
        metric=target.settings.metric, width=width,
        title=f"{run.subject}: {target.name} from {run.n_shared} shared cells, {decoded_text(target.settings)}, "
        f"{SCALED[run.scaler]}",
    )  # fmt: skip


def print_transfer(run: TransferRun) -> None:
    """Print the matrix of each target with its decay, then notes and failures."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, FULL_ID_WIDTH)
    console.print(
        f"[bold]{escape(printable(run.subject))}[/bold]: readouts of {run.n_shared} shared cells, {SCALED[run.scaler]}"
    )
    console.print("Score by training (rows) and test session (columns); * q <= 0.05; within a session cross-validated")
    for target in run.targets:
        if target.rows:
            title = f"{printable(target.name)} ({METRICS[target.settings.metric]})"
            console.print(table_of(_matrix_rows(target), title=escape(title)))
        if target.decay is not None:
            console.print(f"transfer relative to the split halves: {decay_text(target.decay)}")
        elif target.rows:
            console.print("no q and no decay: sessions of the set have no result yet (meso populate)")
    for text in dict.fromkeys([*run.notes, *run.failure_lines()]):
        console.print(f"[yellow]![/yellow] {escape(printable(text))}")
    if may_be_retried(run.failures):
        console.print(RETRY)


def _matrix_rows(target: TargetTransfer) -> list[dict[str, Any]]:
    """Return a row for each training session: its date, the scores by date of the test, and the number of trials."""
    scores, q = target.square("transfer_score"), target.square("transfer_q")
    n_train = target.square("n_train")
    rows = []
    for i, (eid, date) in enumerate(target.dates.items()):
        cells = {
            f"{number + 1}: {other}": f"{scores[i, number]:.3f}{'*' * bool(significant(q[i, number]))}"
            for number, other in enumerate(target.dates.values())
        }
        rows.append({"trained on": f"{i + 1}: {date}", **cells, "trials": int(n_train[i, i]), "eid": eid[:8]})
    return rows
