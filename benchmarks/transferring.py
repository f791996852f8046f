"""Transfer between days of simulated mice: intervals and p of the decay, and p of the pairs.

The section "transfer" of ``statistics.py``.

Days of 120 trials and 40 cells with codes that are known (`tests/support/transferring.py`). Where the code is fixed the
true transfer is 1 and its slope 0; of the other codes the truth is the mean over all simulated mice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from musts import counted, in_processes, must
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.transferring import CODES, days

from pipeline.decoding import NDCSettings
from pipeline.decoding.transfer import day_readouts, on_other_day, scaled_day, transfer_decay, transfer_scores

SETTINGS = NDCSettings("choice", r=10, penalty="scaled", n_label_shuffles=0)
#: Days since the first of mice with few and with more days.
GONE = {4: (0, 1, 3, 7), 8: (0, 1, 2, 4, 5, 8, 10, 12)}
N_NULL = 39


def _decay(task: tuple[str, int, int]) -> tuple[float, ...]:
    code, n_days, number = task
    rng = np.random.default_rng([list(CODES).index(code), n_days, number, 31])
    scaled = [scaled_day(day, SETTINGS, "own") for day in days(code, GONE[n_days], rng)]
    trained = [day_readouts(day, settings, 1.0) for day, settings in scaled]
    # only the halves are needed, which are a fourth of all that transfer_scores trains
    scores = [
        [one.half_score if i == j else on_other_day(one, *test).half_score for j, test in enumerate(scaled)]
        for i, one in enumerate(trained)
    ]
    found = transfer_decay(np.array(scores), GONE[n_days])
    return found.mean, found.mean_low, found.mean_high, found.slope, found.low, found.high, found.p


def decays(quick: bool, n_jobs: int) -> None:
    """Print coverage and size of the mean transfer and of its slope over the days between."""
    n = 10 if quick else 100
    print(f"\n{n} mice for each row. Mean transfer and slope per day (mean of the mice), how many of their 95 %")
    print("intervals hold the truth, and p <= .05 of a slope:\n")
    print("| code | days | transfer | held | slope | held | p <= .05 |\n|---|---|---|---|---|---|---|")
    for code in CODES:
        if code == "noise":
            continue
        for n_days in GONE:
            tasks = [(code, n_days, number) for number in range(n)]
            found = np.array(list(in_processes(_decay, tasks, n_jobs, chunksize=5)))
            fixed = code.startswith("fixed")
            mean, slope = (1.0, 0.0) if fixed else found[:, [0, 3]].mean(axis=0)
            held = [int(((low <= true) & (true <= high)).sum()) for true, (low, high) in (
                (mean, found[:, 1:3].T), (slope, found[:, 4:6].T))]  # fmt: skip
            hits = int((found[:, 6] <= 0.05).sum())
            print(
                f"| {code} | {n_days} | {found[:, 0].mean():.3f} | {counted(held[0], n)} | {found[:, 3].mean():+.4f} | "
                f"{counted(held[1], n)} | {counted(hits, n)} |", flush=True,
            )  # fmt: skip
            for name, count in zip(("transfer", "slope"), held, strict=True):
                must(f"{code}, {n_days} days: interval of the {name} holds in 92 % (not excluded); {counted(count, n)}",
                     binomtest(count, n).proportion_ci(0.95).high >= 0.92)  # fmt: skip
            if code != "rotating":
                must(f"{code}, {n_days} days: p <= .05 in 8 % at most (not excluded); {counted(hits, n)}",
                     binomtest(hits, n).proportion_ci(0.95).low <= 0.08)  # fmt: skip
            elif n_days > 4:
                must(f"a code that rotates, {n_days} days: found in 80 %; {counted(hits, n)}", hits >= 0.8 * n)


def _pairs(number: int) -> np.ndarray:
    """Return p of the pairs of three days without information; the first six are off the diagonal."""
    rng = np.random.default_rng([number, 32])
    p = transfer_scores(days("noise", (0, 1, 2), rng, n_null=N_NULL), SETTINGS).of("p")
    off = ~np.eye(3, dtype=bool)
    return np.concatenate([p[off], p[~off]])


def pairs(quick: bool, n_jobs: int) -> None:
    """Print how often pairs of days without information are significant."""
    n = 10 if quick else 100
    found = np.array(list(in_processes(_pairs, range(n), n_jobs, chunksize=5))) <= 0.05
    print(f"\np <= .05 of {n} mice without information, three days each, {N_NULL} null label vectors:\n")
    # one pair of each mouse, as pairs of one mouse share days; the mean is of all
    for name, columns in (("another day", range(6)), ("the same day", range(6, 9))):
        share, one = found[:, columns].mean(), int(found[:, columns[0]].sum())
        print(f"tested on {name}: {share:.3f} of all pairs; first pair of each mouse {counted(one, n)}")
        must(f"{name}: p <= .05 in 8 % at most (not excluded); {counted(one, n)}",
             binomtest(one, n).proportion_ci(0.95).low <= 0.08)  # fmt: skip


def transfer(quick: bool, n_jobs: int) -> None:
    """Run the section "transfer"."""
    for part in (pairs, decays):
        part(quick, n_jobs)
