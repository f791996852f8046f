"""False positives and power of the nulls, for mice that change within a session or follow their past.

The section "nulls" of ``statistics.py``.

Sessions of 150 to 700 trials (`tests/support/mice.py`) are decoded from 20 cells with 39 null label vectors, and called
significant if p <= 0.05, which is right in 5 % of the sessions without information. "static" is the null
``pseudosession`` with ``choice_model='static'``, the only one of former versions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from musts import counted, in_processes, must

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.mice import mouse_session
from support.null_cases import ALPHA, NULLS, Case, one_session

from pipeline.behavior.check import predictive_check
from pipeline.behavior.dynamic import N_LAST, fit_dynamic_psychometric

#: Largest share of sessions without information that may be significant.
MOST = 0.08
PLAIN, BEYOND = ("pseudosession",), ("conditional",)
#: Mice that repeat a choice before the last one.
HABITS = tuple(f"{weight}{lag}" for lag in ("second last", "third last", "fifth last") for weight in ("", "strongly "))
#: The rows of 400 trials first; then other numbers of trials and other cells.
FALSE_POSITIVES = (
    Case("choice", "ramp", "tile"),
    Case("feedback", "tires", "tile"),
    Case("feedback", "tires", "ar"),
    Case("feedback", "learns", "tile"),
    Case("feedback", "quits", "tile"),
    Case("choice", "stationary", "tile"),
    Case("choice", "jumps", "ar"),
    Case("choice", "repeats", "ar"),
    Case("stimulus", "repeats", "ar", judged=PLAIN),
    Case("choice", "win-stay", "last choice", judged=BEYOND),
    Case("choice", "win-stay, lose-shift", "last choice", judged=BEYOND),
    *(Case("choice", mouse, mouse.removeprefix("strongly "), judged=BEYOND) for mouse in HABITS),
    Case("choice", "second last, won", "second last", judged=BEYOND),
    Case("choice", "stationary", "stimulus", judged=BEYOND),
    *(Case("choice", "ramp", "tile", n) for n in (150, 700)),
    *(Case("feedback", "tires", "tile", n) for n in (150, 700)),
    *(Case("feedback", "learns", "tile", n) for n in (150, 700)),
    *(Case("choice", "stationary", "tile", n) for n in (150, 700)),
    *(Case("choice", "stationary", "stimulus", n, judged=BEYOND) for n in (150, 700)),
    Case("choice", "turns", "tile"),
    Case("choice", "ramp", "walk"),
    Case("choice", "jumps", "walk", 700),
    Case("choice", "drift", "ar"),
    Case("feedback", "tires", "walk"),
    Case("feedback", "learns", "walk"),
    Case("feedback", "engages", "ar"),
    Case("feedback", "stationary", "tile"),
    Case("feedback", "repeats", "ar"),
    Case("stimulus", "repeats sides", "ar", judged=PLAIN),
    Case("stimulus", "stationary", "tile", judged=PLAIN),
    Case("block", "stationary", "ar", judged=PLAIN),
    Case("choice", "ramp", "stimulus", judged=BEYOND),
)
POWER = (
    Case("choice", "stationary", "planted", effect=0.06),
    Case("choice", "ramp", "planted", effect=0.06),
    Case("choice", "stationary", "planted", effect=0.2),
    Case("feedback", "stationary", "planted", effect=0.08),
    Case("feedback", "tires", "planted", effect=0.08),
    Case("feedback", "stationary", "planted", effect=0.2),
    Case("stimulus", "stationary", "planted", effect=0.06),
)


def _one(job: tuple[Case, int]) -> dict[str, float]:
    return one_session(*job)


def significant(cases: tuple[Case, ...], n_sessions: int, n_jobs: int) -> Iterator[tuple[Case, dict[str, float]]]:
    """Yield for each case the number of significant sessions with each null, and the mean score."""
    jobs = [(case, number) for case in cases for number in range(n_sessions)]
    found = in_processes(_one, jobs, n_jobs, chunksize=5)
    for case in cases:
        rows = [next(found) for _ in range(n_sessions)]
        counts = {name: sum(row[name] <= ALPHA + 1e-9 for row in rows) for name in NULLS if name in rows[0]}
        yield case, {**counts, "score": float(np.mean([row["score"] for row in rows]))}


def _row(case: Case, counts: dict[str, float], n: int) -> str:
    cells_of = f"{case.cells} {case.effect:g}" if case.effect else case.cells
    shown = [counted(counts[name], n) if name in counts else "-" for name in NULLS]
    return (
        f"| {case.target} | {case.mouse} | {cells_of} | {case.n_trials} | {counts['score']:.3f} | {' | '.join(shown)} |"
    )


def nulls(quick: bool, n_jobs: int) -> None:
    """Print the tables and the requirements."""
    check(quick, n_jobs)
    n = 5 if quick else 100
    head = f"\n| target | mouse | cells | trials | AUC | {' | '.join(NULLS)} |\n|{'---|' * (5 + len(NULLS))}"
    print(f"\nFalse positives at 0.05 of {n} sessions:\n{head}")
    of_noise = _table(FALSE_POSITIVES, n, n_jobs)
    print(f"\nSignificant of {n} sessions in which cells follow the target:\n{head}")
    of_signal = _table(POWER, n, n_jobs)
    print()
    for case, counts in of_noise:
        for name in case.judged:
            text = f"{case.target}, {case.mouse}, {case.cells}, {case.n_trials} trials, {name}: at most 8 %"
            must(f"{text}; {counted(counts[name], n)}", counts[name] <= MOST * n)
    for case, counts in of_signal:
        text = f"{case.target}, {case.mouse}, planted {case.effect:g}: power at least 0.9 of that with the static model"
        new, former = counts["pseudosession"], counts["static"]
        must(f"{text}; {new:g} and {former:g}", new >= 0.9 * former)


def check(quick: bool, n_jobs: int) -> None:
    """Print how many sessions the predictive check finds, of mice that the model has and of one that it has not."""
    n = 3 if quick else 60
    mice = ("stationary", "ramp", "jumps", "strongly second last", "sixth last", "strongly sixth last")
    jobs = [(mouse, number, n_last) for mouse in mice for number in range(n) for n_last in (N_LAST, 1)]
    found = in_processes(_flagged, jobs, n_jobs, chunksize=5)
    print(f"\nSessions of 400 trials that the predictive check finds, of {n}:\n")
    print("| mouse | model | of former versions |\n|---|---|---|")
    for mouse in mice:
        rows = np.array([(next(found), next(found)) for _ in range(n)])
        now, former = rows.sum(axis=0)
        print(f"| {mouse} | {counted(now, n)} | {counted(former, n)} |", flush=True)
        if "sixth" not in mouse:
            must(f"{mouse}: at most 8 % are found, as the model imitates it; {counted(now, n)}", now <= MOST * n)
        elif mouse.startswith("strongly"):
            must(f"{mouse}: 80 % are found, as the model does not imitate it; {counted(now, n)}", now >= 0.8 * n)


def _flagged(job: tuple[str, int, int]) -> bool:
    mouse, number, n_last = job
    trials = mouse_session(mouse, 400, np.random.default_rng([number, 91]))
    return not predictive_check(trials, fit_dynamic_psychometric(trials, n_last)).imitated


def _table(cases: tuple[Case, ...], n: int, n_jobs: int) -> list[tuple[Case, dict[str, float]]]:
    """Print a row for each case as soon as it is known, and return them."""
    found = []
    for case, counts in significant(cases, n, n_jobs):
        print(_row(case, counts, n), flush=True)
        found.append((case, counts))
    return found
