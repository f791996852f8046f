"""False positives and power of the nulls, for mice that change within a session or follow their past.

The section "nulls" of ``benchmarks/statistics.py``; alone:

    python benchmarks/changing_mice.py --sessions 100

Sessions of 150 to 700 trials (`tests/support/mice.py`) are decoded from 20 cells with 39 null label vectors, and called
significant if p <= 0.05, which is right in 5 % of the sessions without information. "static" is the null
``pseudosession`` with ``choice_model='static'``, the only one of former versions.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.null_cases import ALPHA, NULLS, Case, one_session

#: Largest share of sessions without information that may be significant.
MOST = 0.08
PLAIN, BEYOND = ("pseudosession",), ("conditional",)
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


def _one(job: tuple[Case, int, tuple[str, ...]]) -> dict[str, float]:
    return one_session(*job)


def significant(
    cases: tuple[Case, ...], n_sessions: int, n_jobs: int, asked: tuple[str, ...] = tuple(NULLS)
) -> Iterator[tuple[Case, dict[str, float]]]:
    """Yield for each case the number of significant sessions with each null, and the mean score."""
    jobs = [(case, number, asked) for case in cases for number in range(n_sessions)]
    with ProcessPoolExecutor(n_jobs, initializer=threadpool_limits, initargs=(1,)) as pool:
        found = pool.map(_one, jobs, chunksize=5)
        for case in cases:
            rows = [next(found) for _ in range(n_sessions)]
            counts = {name: sum(row[name] <= ALPHA + 1e-9 for row in rows) for name in NULLS if name in rows[0]}
            yield case, {**counts, "score": float(np.mean([row["score"] for row in rows]))}


def counted(hits: float, n: int) -> str:
    """Return a number of hits with the exact 95 % interval of their share."""
    low, high = binomtest(int(hits), n).proportion_ci(0.95, method="exact")
    return f"{int(hits)}/{n} ({low:.2f}-{high:.2f})"


def _row(case: Case, counts: dict[str, float], n: int) -> str:
    cells_of = f"{case.cells} {case.effect:g}" if case.effect else case.cells
    shown = [counted(counts[name], n) if name in counts else "-" for name in NULLS]
    return (
        f"| {case.target} | {case.mouse} | {cells_of} | {case.n_trials} | {counts['score']:.3f} | {' | '.join(shown)} |"
    )


def nulls(n_sessions: int, n_jobs: int, asked: tuple[str, ...] = tuple(NULLS)) -> list[tuple[str, bool]]:
    """Print the tables; return each requirement, and whether it holds.

    ``asked`` are the nulls of the table of false positives: without "static" it takes two thirds of the time.
    """
    head = f"\n| target | mouse | cells | trials | AUC | {' | '.join(NULLS)} |\n|{'---|' * (5 + len(NULLS))}"
    print(f"\nFalse positives at 0.05 of {n_sessions} sessions:\n{head}")
    musts = []
    for case, counts in significant(FALSE_POSITIVES, n_sessions, n_jobs, asked):
        print(_row(case, counts, n_sessions), flush=True)
        for name in [name for name in case.judged if name in counts]:
            text = f"{case.target}, {case.mouse}, {case.cells}, {case.n_trials} trials, {name}: at most 8 %"
            musts.append((f"{text}; {counted(counts[name], n_sessions)}", counts[name] <= MOST * n_sessions))
    print(f"\nSignificant of {n_sessions} sessions in which cells follow the target:\n{head}")
    total = dict.fromkeys(NULLS, 0.0)
    for case, counts in significant(POWER, n_sessions, n_jobs):
        print(_row(case, counts, n_sessions), flush=True)
        for name in NULLS:
            total[name] += counts.get(name, 0)
        text = f"{case.target}, {case.mouse}, planted {case.effect:g}: power at least 0.9 of that with the static model"
        musts.append((f"{text}; {counts['pseudosession']:g} and {counts['static']:g}",
                      counts["pseudosession"] >= 0.9 * counts["static"]))  # fmt: skip
    return musts


def main() -> None:
    """Print the tables and requirements; the status is 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--nulls", nargs="+", choices=NULLS, default=list(NULLS), help="of the false positives")
    options = parser.parse_args()
    start = time.perf_counter()
    musts = nulls(options.sessions, options.jobs, tuple(options.nulls))
    print()
    for text, holds in musts:
        print(f"- {'met' if holds else 'MISSED'}: {text}")
    print(f"\n{time.perf_counter() - start:.0f} s with {options.jobs} processes")
    sys.exit(not all(holds for _, holds in musts))


if __name__ == "__main__":
    main()
