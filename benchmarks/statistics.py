"""Whether the statistics are right: simulated sessions of known truth, with exact binomial intervals.

    python benchmarks/statistics.py                 # every section
    python benchmarks/statistics.py penalty         # some of them
    python benchmarks/statistics.py --quick         # few data sets: the form takes a minute, and decides nothing

Each section prints tables, and a line for each requirement ("must") with its limit and what was found. The status is 1
if one is missed. All together took 2,229 s of processor time, 19 minutes on two free cores of an AMD EPYC: nulls 700 s,
penalty 500 s, beyond 310 s, trials 300 s, trends 200 s, look-alikes 110 s, transfer 100 s, intervals and fits 70 s.

penalty: mean scores with each penalty against the best fixed C of each k, over populations, numbers of cells and of
trials (`tests/support/populations.py`); the scores of null labels; curves near k = number of training trials; k* and
verdicts of sessions of 400 trials.

intervals: how often the 95 % interval of a score holds the expected score, and its width against the true one; the
same of the former intervals; the variance by a bootstrap that trains the decoders again.

fits: the number of cells that a fit gives, from 200 and from 400 trials of the same cells.

trends: how often trends over days are found where nothing changes, where signal, performance, trials or cells change,
and where the code changes; mean slopes of several mice.

nulls: false positives and power of the nulls for mice that change within a session (``changing_mice.py``).

beyond: false positives and power of the choice beyond the stimulus (``beyond_stimulus.py``).

trials: false positives where only some trials are decoded (``own_trials.py``).
transfer: intervals and p of the transfer between days, and of its decay (``transferring.py``).

look-alikes: what is found where the code does not change, but ceilings, days or mice differ (``look_alikes.py``).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from beyond_stimulus import beyond
from changing_mice import nulls
from look_alikes import look_alikes
from musts import MISSED, counted, end_processes, in_processes, must
from own_trials import own_trials
from scipy.stats import binomtest, chi2
from transferring import transfer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.populations import EXTREME, ORDINARY, population
from support.simulated_days import TRUTHS, coverage, day_drift, day_noise, measured, mice, same_cells

from pipeline.decoding import (
    NDCCurve,
    code_trend,
    fit_curve,
    mice_trend,
    neuron_dropping_curve,
    sensitivity_trend,
)
from pipeline.decoding.drift import NOTED_CHANGE, change_over_days
from pipeline.decoding.fits.uncertainty import RULES, score_variance
from pipeline.signals.noise import NOTED_OCTAVES

# ---------------------------------------------------------------------------------------------------------- penalty

#: Values of C from which the best fixed one of each k is taken.
FIXED = tuple(10.0 ** (0.75 * e - 5) for e in range(8))
PENALTIES = ("C = 1", "1/k", "auto")


@dataclass(frozen=True)
class Condition:
    """Populations of one kind, decoded from sessions of one length.

    Attributes
    ----------
    kind : str
    N, n : int
        Cells, trials.
    sets : int
        Populations, with a session of each.
    """

    kind: str
    N: int
    n: int
    sets: int

    @property
    def ks(self) -> list[int]:
        """Subset sizes: powers of two, and all cells."""
        return [k for k in (8, 16, 32, 64, 128, 256, 512, 1024) if k < self.N] + [self.N]


def conditions(quick: bool) -> list[Condition]:
    """Return the conditions; those that take longest with fewer populations."""
    cells = {100: 2} if quick else {100: 16, 800: 8, 2000: 6}
    trials = {60: 1, 400: 1} if quick else {60: 3, 120: 2, 400: 1}
    sizes = [(N, n, sets * more) for N, sets in cells.items() for n, more in trials.items()]
    return [Condition(kind, *size) for kind in (*ORDINARY, *EXTREME) for size in sizes]


def scores_of(condition: Condition) -> tuple[Condition, float, dict[str, np.ndarray], list[float]]:
    """Return the best score at all cells, the loss of each penalty (sets, K), and the c that were chosen.

    The best fixed C of each k is that of the other populations: the best of several noisy means of the same populations
    would be too good.
    """
    fixed, found = [], []
    chosen = []
    for number in range(condition.sets):
        rng = np.random.default_rng([number, condition.N, condition.n, 11])
        X, y = population(condition.kind, condition.N, rng).sample(condition.n, rng)
        curve = partial(neuron_dropping_curve, X, y, ks=condition.ks, R=4, n_label_shuffles=0)
        fixed.append([curve(penalty="fixed", C=C).mean for C in FIXED])
        auto = curve(penalty="auto")
        chosen.append(auto.c)
        found.append([curve(penalty="fixed").mean, curve(penalty="scaled").mean, auto.mean])
    by_c = np.array(fixed)
    others = (by_c.sum(axis=0) - by_c).argmax(axis=1)  # (sets, K): the best C in all other sets
    best = np.take_along_axis(by_c, others[:, None], axis=1)[:, 0]
    losses = {name: np.array(found)[:, i] - best for i, name in enumerate(PENALTIES)}
    return condition, float(best[:, -1].mean()), losses, chosen


def against_best(quick: bool, n_jobs: int) -> None:
    """Print the loss of each penalty against the best fixed C of each k."""
    print(
        "\nMean score over the ks minus that of the best fixed C of each k (standard error; worst k), and c of auto:\n"
    )
    print(f"| kind | cells | trials | best at all cells | {' | '.join(PENALTIES)} | c |")
    print(f"|{'---|' * (5 + len(PENALTIES))}")
    groups: dict[str, dict[str, list[float]]] = {"ordinary": {}, "few strong cells or shared modes": {}}
    for condition, best, losses, chosen in in_processes(scores_of, conditions(quick), n_jobs):
        cells = [
            f"{one.mean():+.4f} ({one.mean(axis=1).std(ddof=1) / np.sqrt(len(one)):.4f}; {one.mean(axis=0).min():+.3f})"
            for one in losses.values()
        ]
        times = ", ".join(f"{chosen.count(c)} x {c:g}" for c in sorted(set(chosen)))
        place = f"{condition.kind} | {condition.N} | {condition.n}"
        print(f"| {place} | {best:.3f} | {' | '.join(cells)} | {times} |", flush=True)
        group = groups["ordinary" if condition.kind in ORDINARY else "few strong cells or shared modes"]
        for name, one in losses.items():
            group.setdefault(name, []).append(float(one.mean()))
    print("\n| populations | penalty | mean of the conditions | worst condition |\n|---|---|---|---|")
    for group, by_name in groups.items():
        for name, values in by_name.items():
            print(f"| {group} | {name} | {np.mean(values):+.4f} | {min(values):+.4f} |")
    print()
    for (group, by_name), bound in zip(groups.items(), (0.01, 0.02), strict=True):
        text = f"{group}: auto within {bound} of the best fixed C of each k, in every condition (mean over ks)"
        must(f"{text}; worst {min(by_name['auto']):+.4f}", min(by_name["auto"]) >= -bound)


def null_scores(seed: int) -> tuple[float, float, float]:
    """Return the mean null score with c = 1 and with auto, and p with auto, of a session without information."""
    rng = np.random.default_rng([seed, 12])
    X, _ = population(("limited", "lowrank")[seed % 2], 100, rng).sample(120, rng)
    y = rng.permutation(np.repeat([0, 1], 60))
    curve = partial(neuron_dropping_curve, X, y, ks=[8, 16, 32, 64, 100], R=5, n_label_shuffles=39)
    auto = curve(penalty="auto")
    return float(curve(penalty="scaled").null_scores.mean()), float(auto.null_scores.mean()), float(auto.p_values()[-1])


def null_vectors(quick: bool, n_jobs: int) -> None:
    """Print how much the choice raises the scores of labels that mean nothing, and how often p is small."""
    n = 8 if quick else 200
    one, auto, p = np.array(list(in_processes(null_scores, range(n), n_jobs))).T
    hits = int((p <= 0.05).sum())
    print(f"\nLabels that mean nothing, 120 trials, 100 cells, limited and lowrank: {n} sessions.")
    print(f"Mean score of null labels with auto minus that with c = 1: {np.mean(auto - one):+.4f}\n")
    must(f"p <= 0.05 in at most 8 % (not excluded by the interval); {counted(hits, n)}",
         binomtest(hits, n).proportion_ci(0.95).low <= 0.08)  # fmt: skip


def near_training_trials(seed: int) -> dict[str, np.ndarray]:
    """Return mean scores at k around the number of training trials (320), of 800 cells and 400 trials."""
    rng = np.random.default_rng([seed, 13])
    X, y = population("limited", 800, rng).sample(400, rng)
    curve = partial(neuron_dropping_curve, X, y, ks=DIP_KS, R=10, n_label_shuffles=0)
    return {"C = 1": curve(penalty="fixed").mean, "auto": curve(penalty="auto").mean}


DIP_KS = (32, 64, 128, 200, 260, 320, 380, 450, 600, 800)


def dip(quick: bool, n_jobs: int) -> None:
    """Print the curve around k = number of training trials, where one at a fixed C falls."""
    found = list(in_processes(near_training_trials, range(2 if quick else 10), n_jobs))
    print("\n800 cells, 400 trials (320 in training):\n")
    print(f"| k | {' | '.join(map(str, DIP_KS))} |\n|{'---|' * (len(DIP_KS) + 1)}")
    means = {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}
    for name, mean in means.items():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in mean)} |")
    falls = {name: float((mean - np.maximum.accumulate(mean)).min()) for name, mean in means.items()}
    print()
    text = "no dip with auto: no k more than 0.003 below a smaller one"
    must(f"{text}; {falls['auto']:+.4f} (C = 1: {falls['C = 1']:+.4f})", falls["auto"] >= -0.003)


SESSION_KS = (8, 16, 32, 64, 100)


def one_session(seed: int) -> dict[str, tuple[float, str]]:
    """Return k* and the verdict of a session of 400 trials and 100 cells, with each penalty; and the true k*."""
    rng = np.random.default_rng([seed, 14])
    cells = population("limited", 100, rng)
    X, y = cells.sample(400, rng)
    truth = [cells.mean_auc(k, 20, rng) for k in SESSION_KS]
    found = {"truth": (_crossing(SESSION_KS, truth), "")}
    for name, penalty in (("C = 1", "fixed"), ("auto", "auto")):
        curve: NDCCurve = neuron_dropping_curve(
            X, y, ks=SESSION_KS, R=20, n_label_shuffles=19, null_subsets=1, n_bootstrap=200, penalty=penalty
        )
        fit = fit_curve(curve.ks, curve.scores, "auc", trial_means=curve.trial_means, ceiling=curve.ceiling,
                        p_values=curve.p_values(), n_bootstrap=200)  # fmt: skip
        found[name] = _crossing(SESSION_KS, curve.mean), fit.verdict
    return found


def _crossing(ks: tuple[int, ...], mean: Iterable[float], delta: float = 0.02) -> float:
    """Return k at which the mean is ``delta`` below that of the largest k, interpolated in log k."""
    rising = np.maximum.accumulate(np.asarray(mean, dtype=float))
    rising += 1e-9 * np.arange(len(rising))  # strictly, as interpolation needs
    return float(np.exp(np.interp(rising[-1] - delta, rising, np.log(ks))))


def sessions(quick: bool, n_jobs: int) -> None:
    """Print k* and verdicts of sessions whose curve is not saturated."""
    n = 4 if quick else 100
    found = list(in_processes(one_session, range(n), n_jobs))
    true = np.array([one["truth"][0] for one in found])
    print(f"\n{n} sessions of 400 trials, 100 cells; true k* (geometric mean) {np.exp(np.log(true).mean()):.0f}:\n")
    print("| | k* (geometric mean) | within a factor of 2 | verdicts |\n|---|---|---|---|")
    close, saturated = {}, {}
    for name in ("C = 1", "auto"):
        k = np.array([one[name][0] for one in found])
        verdicts = [one[name][1] for one in found]
        close[name] = int((np.abs(np.log2(k / true)) <= 1).sum())
        saturated[name] = verdicts.count("saturated")
        words = ", ".join(f"{verdicts.count(word)} {word}" for word in sorted(set(verdicts)))
        print(f"| {name} | {np.exp(np.log(k).mean()):.0f} | {counted(close[name], n)} | {words} |")
    print()
    must(f"at most 5 % of unsaturated curves of 400 trials are called saturated; {counted(saturated['auto'], n)}",
         saturated["auto"] <= 0.05 * n)  # fmt: skip
    must(f"k* within a factor of 2 in 95 %; {counted(close['auto'], n)}", close["auto"] >= 0.95 * n)


def penalty(quick: bool, n_jobs: int) -> None:
    """Run the section "penalty"."""
    for part in (against_best, null_vectors, dip, sessions):
        part(quick, n_jobs)


# -------------------------------------------------------------------------------------------------------- intervals

#: Kind, signal and numbers of trials of the sessions; the last has a score near 1.
INTERVALS = [(kind, 1.0, n) for kind in ORDINARY for n in (60, 120, 400)] + [("strong", 3.0, n) for n in (60, 120)]
INTERVAL_KS = (8, 32, 100)
#: Widths are judged below this and above it: near 1 the interval of a session is not that of a normal variable.
NEAR_ONE = 0.97


def _coverage(condition: tuple[str, float, int], n_sets: int):
    kind, signal, n = condition
    return coverage(kind, n, n_sets, signal=signal, ks=INTERVAL_KS)


def covers(quick: bool, n_jobs: int) -> None:
    """Print how often intervals cover the expected score, and how wide they are."""
    n_sets = 10 if quick else 80
    print(f"\n{n_sets} sessions of each population, 100 cells, R 10, k = {', '.join(map(str, INTERVAL_KS))}:\n")
    print(
        "| kind | trials | expected score | covered | width / true | with new_trials | covered by test trials alone |"
        "\n|---|---|---|---|---|---|---|"
    )
    covered, total, low = 0, 0, []
    wide: dict[str, list[float]] = {f"below {NEAR_ONE}": [], f"from {NEAR_ONE}": []}
    for (kind, signal, n), found in zip(
        INTERVALS, in_processes(partial(_coverage, n_sets=n_sets), INTERVALS, n_jobs), strict=True
    ):
        texts = [" ".join(f"{value:.2f}" for value in values) for values in (
            found.covered / n_sets, found.width, found.former_width, found.test_trials / n_sets)]  # fmt: skip
        score = " ".join(f"{value:.3f}" for value in found.score)
        print(f"| {kind}{' x 3' * (signal > 1)} | {n} | {score} | {' | '.join(texts)} |", flush=True)
        covered, total = covered + int(found.covered.sum()), total + 3 * n_sets
        low += [hits for hits in found.covered if binomtest(int(hits), n_sets).proportion_ci(0.95).high < 0.92]
        for group, inside in zip(wide.values(), (found.score < NEAR_ONE, found.score >= NEAR_ONE), strict=True):
            group += found.width[inside].tolist()
    print()
    must(f"coverage .92 or more over all conditions; {counted(covered, total)}", covered / total >= 0.92)
    must(f"in no condition is .92 excluded by the binomial interval; {len(low)} of {3 * len(INTERVALS)}", not low)
    # the true width is known from the sessions only, as a standard deviation
    known_to = np.sqrt(chi2.ppf(0.025, n_sets - 1) / (n_sets - 1))
    for name, widths in wide.items():
        many = sum(width * known_to > 1.4 for width in widths)
        found_text = f"{min(widths):.2f} to {max(widths):.2f}, above 1.4 in {sum(w > 1.4 for w in widths)}"
        must(f"scores {name}: width at most 1.4 times the true one, median; {np.median(widths):.2f} ({found_text})",
             np.median(widths) <= 1.4)  # fmt: skip
        must(f"scores {name}: in no condition is 1.4 excluded; {many} of {len(widths)}", not many)


def _retrained(task: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance of the scores of a session, and that with the retrained effect of the trials, (K,) each."""
    kind, number = task
    rng = np.random.default_rng([number, ORDINARY.index(kind), 25])
    X, y = population(kind, 100, rng).sample(120, rng)
    asked = {"ks": INTERVAL_KS, "R": 10, "n_label_shuffles": 0, "n_bootstrap": 100, "seed": number}
    curves = {one: neuron_dropping_curve(X, y, **asked, intervals=one) for one in ("calibrated", "retrained")}
    mine, again = (score_variance(curve.scores, curve.influences, RULES[one]) for one, curve in curves.items())
    return mine, again


def retrained(quick: bool, n_jobs: int) -> None:
    """Print the standard deviation of scores against that by a bootstrap that trains the decoders again."""
    n = 1 if quick else 10
    print("\nStandard deviation of a score over that by a bootstrap that trains the decoders again, 120 trials:\n")
    print(f"| kind | {' | '.join(f'k = {k}' for k in INTERVAL_KS)} |\n|{'---|' * (1 + len(INTERVAL_KS))}")
    ratios = []
    for kind in ORDINARY:
        mine, other = np.array(list(in_processes(_retrained, [(kind, i) for i in range(n)], n_jobs))).mean(axis=0)
        ratios.append(np.sqrt(mine / other))
        print(f"| {kind} | {' | '.join(f'{value:.2f}' for value in ratios[-1])} |", flush=True)
    print()
    mean = np.mean(ratios, axis=0)
    must(f"ratio between 0.8 and 1.4 at each k (mean of the kinds); {' '.join(f'{one:.2f}' for one in mean)}",
         bool(np.all((mean > 0.8) & (mean < 1.4))))  # fmt: skip


def intervals(quick: bool, n_jobs: int) -> None:
    """Run the section "intervals"."""
    for part in (covers, retrained):
        part(quick, n_jobs)


# ------------------------------------------------------------------------------------------------------------- fits


def _agree(task: tuple[str, int]) -> tuple[float, float, bool, bool]:
    """Return k95 of 200 and of 400 trials of the same cells, if their intervals meet, and if both are closed."""
    few, many = same_cells(*task)
    meet = few.k95_low <= many.k95_high and many.k95_low <= few.k95_high
    return few.k95, many.k95, bool(meet), bool(np.isfinite([few.k95_high, many.k95_high]).all())


def fits(quick: bool, n_jobs: int) -> None:
    """Run the section "fits": the number of cells that a fit gives does not depend on the number of trials."""
    n = 2 if quick else 20
    print(f"\nk95 of the fit from 200 and 400 trials of the same cells, {n} populations of 100 cells of each kind:\n")
    print(
        "| kind | k95, median: 200, 400 trials | intervals meet | both closed | of these meet |\n|---|---|---|---|---|"
    )
    met, closed_ones = [], []
    for kind in ORDINARY:
        few, many, meet, closed = np.array(list(in_processes(_agree, [(kind, i) for i in range(n)], n_jobs))).T
        met += meet.tolist()
        closed_ones += meet[closed == 1].tolist()
        shown = f"{np.median(few):.0f}, {np.median(many):.0f} | {counted(meet.sum(), n)} | {closed.sum():.0f}"
        print(f"| {kind} | {shown} | {meet[closed == 1].sum():.0f} |", flush=True)
    print()
    must(f"k95 of 200 and 400 trials agree in 95 %; {counted(sum(met), len(met))}", sum(met) >= 0.95 * len(met))
    must(f"and where both intervals are closed; {counted(sum(closed_ones), max(len(closed_ones), 1))}",
         sum(closed_ones) >= 0.95 * len(closed_ones))  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- trends

#: The trends of a mouse, by the name of the column.
TRENDS = {
    "code k*": code_trend,
    "code k_half": partial(code_trend, at="half"),
    "common k*": sensitivity_trend,
    "score at k = 8": partial(sensitivity_trend, quantity="score"),
}
#: Those of the code. It changed where both are found, in one direction.
OF_CODE = ("code k*", "code k_half", "both")


def found_trends(quick: bool, n_jobs: int) -> None:
    """Print the share of mice in which each trend is found, with both of its intervals."""
    n_mice, n_bank = (10, 6) if quick else (100, 40)
    print(
        f"\n{n_mice} mice for each row, 120 trials, 100 cells. Share with p <= .05 beyond the scatter of days, and of"
    )
    print(
        "these days (mean slope per day); and of mice with a note that drift within the sessions, or the noise of the"
    )
    print("traces, changes:\n")
    head = f"| truth | days | {' | '.join(TRENDS)} | both of the code | drift noted | noise noted |"
    print(f"{head}\n|{'---|' * (5 + len(TRENDS))}")
    hits: dict[tuple[str, int, str], int] = {}
    for truth in TRUTHS:
        for n_days in (4, 8):
            curves = mice(truth, n_days, n_mice, n_bank, partial(in_processes, n_jobs=n_jobs))
            # of the noise of traces median and mean of the cells
            octaves = np.log2(measured(day_noise, truth, n_days, n_mice, n_bank))
            noted, noisy, part = (
                np.array([abs(change_over_days(values, np.arange(n_days))) >= least for values in of_mice])
                for of_mice, least in (
                    (measured(day_drift, truth, n_days, n_mice, n_bank), NOTED_CHANGE),
                    (octaves[..., 0], NOTED_OCTAVES), (octaves[..., 1], NOTED_OCTAVES),
                )
            )  # fmt: skip
            noisy |= part
            found = {name: [trend(one, np.arange(n_days)) for one in curves] for name, trend in TRENDS.items()}
            significant = {name: np.array([(t.p, t.fixed_p) for t in of]) <= 0.05 for name, of in found.items()}
            slopes = {name: np.array([t.slope for t in of]) for name, of in found.items()}
            alike = np.sign(slopes["code k*"]) == np.sign(slopes["code k_half"])
            significant["both"] = significant["code k*"] & significant["code k_half"] & alike[:, None]
            hits[truth, n_days, "noted"] = int(noted.sum())
            hits[truth, n_days, "noisy"] = int(noisy.sum())
            cells = []
            for name, of in significant.items():
                for kind, which in zip(("", " fixed"), of.T, strict=True):
                    hits[truth, n_days, name + kind] = int(which.sum())
                    hits[truth, n_days, name + kind + ", no note"] = int((which & ~noted).sum())
                mean = f" ({slopes[name].mean():+.3f})" if name in slopes else ""
                cells.append(", ".join(f"{share:.2f}" for share in of.mean(axis=0)) + mean)
            print(f"| {truth} | {n_days} | {' | '.join(cells)} | {noted.mean():.2f} | {noisy.mean():.2f} |", flush=True)
    print()
    for truth in TRUTHS:  # the noise of frames is the same in all
        for n_days in (4, 8):
            n_noisy = hits[truth, n_days, "noisy"]
            must(f"{truth}, {n_days} days: noise noted in 5 % at most; {counted(n_noisy, n_mice)}",
                 n_noisy <= 0.05 * n_mice)  # fmt: skip
    for truth in [one for one in TRUTHS if one != "code"]:
        for n_days in (4, 8):
            if truth not in ("drift", "learning"):
                n_noted = hits[truth, n_days, "noted"]
                must(f"{truth}, {n_days} days: drift noted in 8 % at most; {counted(n_noted, n_mice)}",
                     n_noted <= 0.08 * n_mice)  # fmt: skip
            for kind in ("", " fixed"):
                for name in OF_CODE:
                    # drift that grows is noise that cells share, and changes the code as it can be decoded: it is said
                    n_hits = hits[truth, n_days, name + kind + ", no note" * (truth == "drift")]
                    what = "p <= .05 and no note on drift" if truth == "drift" else "p <= .05"
                    text = f"{truth}, {n_days} days: {name}{kind} {what} in 8 % at most (not excluded)"
                    low = binomtest(n_hits, n_mice).proportion_ci(0.95).low
                    must(f"{text}; {counted(n_hits, n_mice)}", low <= 0.08)
    for name in OF_CODE:
        n_hits = hits["code", 8, name]
        must(f"a code that changes, 8 days: {name} finds it in 80 %; {counted(n_hits, n_mice)}", n_hits >= 0.8 * n_mice)


def over_mice(quick: bool, n_jobs: int) -> None:
    """Print size and power of the mean slope over mice."""
    n = 50 if quick else 1000
    print(f"\n{n} groups of mice with 4 to 12 days (scatter .55 octaves): p <= .05 without a slope (at -.15 per day)\n")
    print("| mice | between-mouse sd 0 | .05 | .1 |\n|---|---|---|---|")
    rng = np.random.default_rng(26)
    for n_mice in (3, 5, 10):
        cells = []
        for tau in (0, 0.05, 0.1):
            size, power = np.zeros(2)
            for _ in range(n):
                days = rng.integers(4, 13, n_mice)
                sxx = days * (days**2 - 1) / 12
                pooled = 0.55**2 * rng.chisquare((days - 2).sum()) / (days - 2).sum()
                slopes = tau * rng.normal(size=n_mice) + 0.55 / np.sqrt(sxx) * rng.normal(size=n_mice)
                size += mice_trend(slopes, pooled / sxx).p <= 0.05
                power += mice_trend(slopes - 0.15, pooled / sxx).p <= 0.05
            cells.append(f"{size / n:.3f} ({power / n:.2f})")
            must(f"{n_mice} mice, tau {tau}: p <= .05 in 8 % at most (not excluded); {counted(int(size), n)}",
                 binomtest(int(size), n).proportion_ci(0.95).low <= 0.08)  # fmt: skip
        print(f"| {n_mice} | {' | '.join(cells)} |", flush=True)


def trends(quick: bool, n_jobs: int) -> None:
    """Run the section "trends"."""
    for part in (over_mice, found_trends):
        part(quick, n_jobs)


SECTIONS: dict[str, Callable[[bool, int], None]] = {
    "penalty": penalty,
    "intervals": intervals,
    "fits": fits,
    "trends": trends,
    "nulls": nulls,
    "beyond": beyond,
    "trials": own_trials,
    "transfer": transfer,
    "look-alikes": look_alikes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="few data sets")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    start = time.perf_counter()
    for name in options.sections:
        begun = time.perf_counter()
        print(f"\n## {name}")
        SECTIONS[name](options.quick, options.jobs)
        print(f"\n{time.perf_counter() - begun:.0f} s with {options.jobs} processes", flush=True)
    used = end_processes(options.jobs)
    print(f"\n## all\n\n{time.perf_counter() - start:.0f} s, {used:.0f} s of processors")
    if MISSED:
        print(f"\n{len(MISSED)} requirements were missed:", *MISSED, sep="\n- ")
    sys.exit(bool(MISSED))


if __name__ == "__main__":
    main()
