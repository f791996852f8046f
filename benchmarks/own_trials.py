"""False positives of the nulls where only trials are decoded for which a condition is true.

The section "trials" of ``statistics.py``.

Sessions as in ``changing_mice.py``, with reaction times that depend on contrast, error, side and time. "same trials" is
what must not be done: the labels of simulated sessions in the trials of the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from musts import counted, in_processes, must

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.null_cases import ALPHA, Case, one_session

MOST = 0.08
SHOWN = ("pseudosession", "conditional", "same trials")
CASES = (
    Case("choice", "ramp", "ar", condition="correct"),
    Case("choice", "stationary", "ar", condition="correct"),
    Case("choice", "stationary", "ar", condition="contrast < 0.1"),
    Case("choice", "ramp", "ar", condition="contrast < 0.1"),
    Case("choice", "ramp", "tile", condition="contrast < 0.1"),
    Case("choice", "stationary", "ar", condition="contrast < 0.1 and correct"),
    Case("choice", "stationary", "ar", condition="block == 0.8"),
    Case("choice", "stationary", "tile", condition="block == 0.5"),
    Case("choice", "ramp", "tile", condition="previous_choice == 1 and previous_correct"),
    Case("choice", "ramp", "ar", condition="fraction < 0.5"),
    Case("feedback", "tires", "ar", condition="contrast <= 0.125"),
    Case("feedback", "tires", "tile", condition="choice == 1"),
    Case("stimulus", "stationary", "ar", condition="correct"),
    Case("stimulus", "stationary", "ar", condition="choice == 1"),
    Case("block", "stationary", "ar", condition="correct"),
    Case("choice", "ramp", "ar", condition="0.08 <= reaction_time <= 2"),
    Case("choice", "ramp", "ar", condition="reaction_time < 0.25"),
    Case("choice", "ramp", "ar", condition="reaction_time > 0.25"),
    Case("choice", "stationary", "tile", condition="reaction_time > 0.25"),
    Case("feedback", "tires", "ar", condition="reaction_time > 0.25"),
    Case("feedback", "tires", "tile", condition="reaction_time < 0.25"),
    Case("stimulus", "stationary", "ar", condition="reaction_time > 0.25"),
    Case("block", "stationary", "ar", condition="reaction_time > 0.25"),
)


def _one(job: tuple[Case, int]) -> dict[str, float]:
    return one_session(*job, nulls=SHOWN)


def own_trials(quick: bool, n_jobs: int) -> None:
    """Print the table and the requirements."""
    n = 5 if quick else 100
    print(f"\nFalse positives at 0.05 of {n} sessions of 400 trials:\n")
    print(f"| target | mouse | cells | trials | AUC | {' | '.join(SHOWN)} |\n|{'---|' * (5 + len(SHOWN))}")
    jobs = [(case, number) for case in CASES for number in range(n)]
    found = in_processes(_one, jobs, n_jobs, chunksize=5)
    judged = []
    for case in CASES:
        rows = [next(found) for _ in range(n)]
        hits = {name: sum(row[name] <= ALPHA + 1e-9 for row in rows) for name in SHOWN if name in rows[0]}
        cells = [counted(hits[name], n) if name in hits else "-" for name in SHOWN]
        score = np.mean([row["score"] for row in rows])
        place = f"{case.target} | {case.mouse} | {case.cells} | `{case.condition}`"
        print(f"| {place} | {score:.3f} | {' | '.join(cells)} |", flush=True)
        judged += [(case, name, hits[name]) for name in SHOWN[:2] if name in hits]
    print()
    for case, name, hits in judged:
        text = f"{case.target}, {case.mouse}, {case.cells}, {case.condition}, {name}: at most 8 %"
        must(f"{text}; {counted(hits, n)}", hits <= MOST * n)
