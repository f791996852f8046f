"""The choice beyond the stimulus: false positives for cells of the stimulus or of the last choice, and power.

The section "beyond" of ``statistics.py``.

Sessions of 150 to 700 trials (`tests/support/mice.py`) are decoded from 20 cells with 39 null label vectors, and called
significant if p <= 0.05. Half of the cells follow the stimulus or the last choice; for the power, the other half
follows the choice. "plain" is the choice as it is decoded without ``beyond``, with the null ``pseudosession``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from changing_mice import MOST
from musts import counted, in_processes, must

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.null_cases import ALPHA, Case, one_session_beyond

STIMULUS, HISTORY = "stimulus", "stimulus+history"
FALSE_POSITIVES = (
    *(Case("choice", "stationary", "stimulus", n, beyond=STIMULUS) for n in (150, 400, 700)),
    *(Case("choice", mouse, "stimulus", beyond=STIMULUS) for mouse in ("ramp", "win-stay", "tires")),
    Case("feedback", "stationary", "stimulus", beyond=STIMULUS),
    Case("choice", "stationary", "stimulus", beyond=HISTORY),
    *(Case("choice", "win-stay", "last choice", n, beyond=HISTORY) for n in (150, 400, 700)),
    Case("choice", "win-stay, lose-shift", "last choice", beyond=HISTORY),
    Case("choice", "win-stay", "last choice", beyond=STIMULUS),
    Case("choice", "strongly second last", "second last", beyond=STIMULUS),
    Case("choice", "strongly second last", "second last", beyond=HISTORY),
    Case("choice", "ramp", "tile", beyond=STIMULUS),
    Case("choice", "jumps", "ar", beyond=STIMULUS),
)
#: Effect with which the expected score is about .60, and one with which it is about .73.
WEAK, CLEAR = 0.085, 0.17
POWER = (
    *(Case("choice", "stationary", "stimulus", n, effect=WEAK, beyond=STIMULUS) for n in (150, 400, 700)),
    *(Case("choice", "stationary", "stimulus", n, effect=CLEAR, beyond=STIMULUS) for n in (150, 400)),
    Case("choice", "stationary", "stimulus", 400, effect=WEAK, beyond=HISTORY),
)


def _one(job: tuple[Case, int]) -> dict[str, float]:
    return one_session_beyond(*job)


def _table(cases: tuple[Case, ...], n: int, n_jobs: int) -> list[tuple[Case, int, float]]:
    """Print a row for each case as soon as it is known; return it with its number of hits and its mean score."""
    print("\n| target | mouse | cells | trials | minority trials | beyond | score | p <= 0.05 | plain |")
    print(f"|{'---|' * 9}")
    jobs = [(case, number) for case in cases for number in range(n)]
    rows, found = in_processes(_one, jobs, n_jobs, chunksize=5), []
    for case in cases:
        of_case = [next(rows) for _ in range(n)]
        hits, plain = (sum(row[name] <= ALPHA + 1e-9 for row in of_case) for name in ("p", "plain"))
        score, minority = (float(np.mean([row[name] for row in of_case])) for name in ("score", "minority"))
        cells = f"{case.cells}, choice {case.effect:g}" if case.effect else case.cells
        place = f"{case.target} | {case.mouse} | {cells} | {case.n_trials} | {minority:.0f} | {case.beyond}"
        print(f"| {place} | {score:.3f} | {counted(hits, n)} | {counted(plain, n)} |", flush=True)
        found.append((case, hits, score))
    return found


def beyond(quick: bool, n_jobs: int) -> None:
    """Print the tables and the requirements."""
    n = 5 if quick else 100
    print(f"\nCells without information beyond the stimulus or the past: significant of {n} sessions")
    of_noise = _table(FALSE_POSITIVES, n, n_jobs)
    print(f"\nCells that follow the choice, too: significant of {n} sessions")
    of_signal = _table(POWER, n, n_jobs)
    print()
    for case, hits, _ in of_noise:
        text = f"{case.target} beyond {case.beyond}, {case.mouse}, {case.cells}, {case.n_trials} trials: at most 8 %"
        must(f"{text}; {counted(hits, n)}", hits <= MOST * n)
    for case, hits, score in of_signal:
        if case.n_trials == 400 and case.effect == WEAK and case.beyond == STIMULUS:
            must(f"400 trials, score {score:.3f}: power at least 0.5; {counted(hits, n)}", hits >= 0.5 * n)
            must(f"the score of that row is .60, not higher; {score:.3f}", score <= 0.61)
