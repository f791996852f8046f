"""What looks like a finding and is none: trends, differences and p where the code of the cells does not change.

The section "look-alikes" of ``statistics.py``. Most of its rows need not be rare: the documentation says what each
number does not mean, with these figures (``docs/science/trends.md``, ``nulls.md``, ``transfer.md``).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from musts import counted, in_processes, must
from scipy.stats import binomtest, linregress

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.mice import autoregressive, mouse_and_state, mouse_session, planted
from support.populations import EPS, Population, population
from support.simulated_days import frames_level

from pipeline.decoding import (
    CurveFit,
    DayTrend,
    MiceTrend,
    NDCCurve,
    code_trend,
    fit_curve,
    mice_trend,
    neuron_dropping_curve,
    paired_level,
    target_labels,
    trial_strata,
)
from pipeline.decoding.code_spread import FOUND_OCTAVES, code_spread
from pipeline.decoding.drift import change_over_days
from pipeline.decoding.fits.ceilings import NOTED_OCTAVES, k_of_shape
from pipeline.decoding.fits.uncertainty import score_interval
from pipeline.decoding.nulls import null_labels
from pipeline.decoding.trials import balanced_labels
from pipeline.signals.noise import NOTED_OCTAVES as NOISE_OCTAVES

KS = (8, 16, 32, 64, 100)
N_TRIALS, N_DAYS, N_MICE = 150, 8, 5

# ------------------------------------------------------------------------------------------------- signal and ceilings

#: Gain of the signal on the first and the last day, in the same noise: d'^2 of all subsets changes by its square.
GAINS = {"same": (1.0, 1.0), "rises": (0.7, 2.2)}


def day_curve(cells: Population, gain: float, n_trials: int, seed: list[int]) -> CurveFit:
    """Return the curve of a day on which the signal is so much stronger, and the noise as always."""
    rng = np.random.default_rng(seed)
    X, y = cells.sample(n_trials, rng)
    X = X + (gain - 1) * (y[:, None] - 0.5) * cells.delta
    curve = neuron_dropping_curve(X, y, ks=KS, R=10, n_label_shuffles=0, seed=seed[-1])
    return fit_curve(curve.ks, curve.scores, influences=curve.influences, n_bootstrap=100)


def one_mouse(kind: str, number: int) -> list[CurveFit]:
    """Return the curves of the days of a mouse."""
    cells = population("limited", 100, np.random.default_rng([number, 41]))
    gains = np.geomspace(*GAINS[kind], N_DAYS)
    return [
        day_curve(cells, gain, N_TRIALS, [list(GAINS).index(kind), number, day, 42]) for day, gain in enumerate(gains)
    ]


def noted(curves: list[CurveFit]) -> bool:
    """Return whether such days have a note that their ceilings move k*."""
    alike = k_of_shape(KS, np.array([one.mean for one in curves]).T)
    return abs(change_over_days(np.log2(alike).tolist(), range(len(curves)))) >= NOTED_OCTAVES


def signal(quick: bool, n_jobs: int) -> None:
    """Print how often the code seems to change where only the signal does."""
    n = 10 if quick else 60
    print(f"\n{n} mice, {N_DAYS} days of {N_TRIALS} trials, 100 cells; the shape of d'^2 is the same on all days.")
    print(f"p <= .05 beyond the scatter of days (mean slope), and of the mean of {N_MICE} mice:\n")
    print(f"| signal | ceilings | k* | {N_MICE} mice | half of d'^2 | {N_MICE} mice | noted |\n|{'---|' * 7}")
    for kind in GAINS:
        mice = list(in_processes(partial(one_mouse, kind), range(n), n_jobs))
        ceilings = np.mean([[day.mean[-1] for day in one] for one in mice], axis=0)
        said = np.array([noted(one) for one in mice])
        cells, hits = [], {}
        for at in ("ceiling", "half"):
            found = [code_trend(one, range(N_DAYS), at=at) for one in mice]
            p = np.array([one.p for one in found])
            groups = [mice_trend(found[i : i + N_MICE]).p for i in range(0, n, N_MICE)]
            hits[at] = int((p <= 0.05).sum()), int(((p <= 0.05) & ~said).sum())
            cells += [f"{counted(hits[at][0], n)} ({np.mean([one.slope for one in found]):+.3f})",
                      counted(sum(one <= 0.05 for one in groups), len(groups))]  # fmt: skip
        ends = f"{ceilings[0]:.2f} to {ceilings[-1]:.3f}"
        print(f"| {kind} | {ends} | {' | '.join(cells)} | {counted(said.sum(), n)} |", flush=True)
        few(f"signal {kind}: code_trend p <= .05 and no note", hits["ceiling"][1], n)
        few(f"signal {kind}: half of d'^2 p <= .05", hits["half"][0], n)


def few(text: str, hits: int, n: int) -> None:
    """Require that the interval of a share does not exclude 8 %."""
    must(
        f"{text} in 8 % at most (not excluded); {counted(hits, n)}", binomtest(hits, n).proportion_ci(0.95).low <= 0.08
    )


# ------------------------------------------------------------------------------------------------------- own noise

#: Variance of each cell's own noise on the last day, relative to that on the first, and in how many of 100 cells.
OWN_NOISE = {
    "same": (1.0, 100), "doubles": (2.0, 100), "halves": (0.5, 100),
    "tenfold in 40 %": (10.0, 40), "a tenth in 40 %": (0.1, 40),
}  # fmt: skip


def noisy_mouse(kind: str, number: int) -> tuple[list[CurveFit], list[tuple[float, float]]]:
    """Return the curves and the noise levels of the days of a mouse whose cells respond the same on all of them."""
    cells = population("limited", 100, np.random.default_rng([number, 48]))
    change, n_cells = OWN_NOISE[kind]
    # noise that halves, from twice of what it is in the other mice
    own = np.geomspace(1, change, N_DAYS)[:, None] * cells.own / min(change, 1)
    own = np.where(np.random.default_rng([number, 51]).permutation(100) < n_cells, own, cells.own)
    fits, levels = [], []
    for day, variance in enumerate(own):
        seed = [list(OWN_NOISE).index(kind), number, day]
        noisy = replace(cells, own=variance)
        fits.append(day_curve(noisy, 1.0, N_TRIALS, [*seed, 49]))
        rng = np.random.default_rng([*seed, 50])
        levels.append(frames_level(noisy.sample(N_TRIALS, rng)[0], variance, rng))
    return fits, levels


def own_noise(quick: bool, n_jobs: int) -> None:
    """Print how often the code seems to change where only the noise of each cell does, and is noted."""
    n = 10 if quick else 60
    print(
        f"\n{n} mice, {N_DAYS} days of {N_TRIALS} trials, the same 100 cells, whose own noise changes: p <= .05 of k*"
    )
    print(f"and of half of d'^2 in one direction (mean slopes), and of the means of {N_MICE} mice; and with a note:\n")
    print(f"| own noise | both | and noted | both of {N_MICE} mice | and noted | mice noted |\n|{'---|' * 6}")
    octaves = []
    for kind in OWN_NOISE:
        mice = list(in_processes(partial(noisy_mouse, kind), range(n), n_jobs))
        # of the median of the cells, and of their mean
        change = np.array([[change_over_days(of, range(N_DAYS)) for of in np.log2(levels).T] for _, levels in mice])
        octaves.append(f"{kind} {change[:, 0].mean():+.2f}, {change[:, 1].mean():+.2f}")
        trends = [[code_trend(fits, range(N_DAYS), at=at) for fits, _ in mice] for at in ("ceiling", "half")]
        groups = [[mice_trend(of[i : i + N_MICE]) for i in range(0, n, N_MICE)] for of in trends]
        of_mice, of_groups = both(*trends), both(*groups)
        noisy = (np.abs(change) >= NOISE_OCTAVES).any(axis=1)
        # as `meso mice` notes it: half of the change of one mouse, on average
        noisy_groups = (np.abs(change.reshape(-1, N_MICE, 2).mean(axis=1)) >= NOISE_OCTAVES / 2).any(axis=1)
        slopes = ", ".join(f"{np.mean([one.slope for one in of]):+.3f}" for of in trends)
        cells = [
            f"{counted(of_mice.sum(), n)} ({slopes})", f"{(of_mice & noisy).sum()}",
            counted(of_groups.sum(), len(of_groups)), f"{(of_groups & noisy_groups).sum()}", counted(noisy.sum(), n),
        ]  # fmt: skip
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
        few(f"own noise {kind}: both found and no note", (of_mice & ~noisy).sum(), n)
        few(
            f"own noise {kind}: both found of {N_MICE} mice and no note", (of_groups & ~noisy_groups).sum(), n // N_MICE
        )
        expected = binomtest(int(noisy.sum()), n).proportion_ci(0.95)
        must(f"own noise {kind}: noted in {'95 % at least' if kind != 'same' else '5 % at most'} (not excluded)",
             expected.high >= 0.95 if kind != "same" else expected.low <= 0.05)  # fmt: skip
    print(f"\nChange of log2 of the noise level, median of the cells and mean: {'; '.join(octaves)}.")


# ------------------------------------------------------------------------------------------ cells that carry the signal

#: What changes from the first to the last day, where each cell responds as before: the variance of the noise along the
#: signal, in units of the squared signal, or the size of all signals.
SHARED_NOISE = {"shared noise grows": (0.1, 0.6), "shared noise falls": (0.6, 0.1)}
SIGNALS = {"signal grows to AUC 1": (1.5, 3.5)}
#: Share of the cells that inform on the first and the last day, with as much signal in all of them together.
INFORM = {"6 to 44 % inform": (0.06, 0.44), "44 to 6 % inform": (0.44, 0.06), "15 to 44 % inform": (0.15, 0.44)}
#: Share of the cells of another cell's activity on the last day, as they were matched wrongly.
LOST = {"up to 40 % mismatched": 0.4}


def days_of(kind: str, number: int) -> tuple[list[Population], list[float]]:
    """Return the cells of a mouse on its days, and the size of the signal."""
    rng = np.random.default_rng([number, 52])
    cells, order, ones = population("limited", 100, rng), rng.permutation(100), [1.0] * N_DAYS
    if kind in SHARED_NOISE:
        return [replace(cells, eps=float(eps)) for eps in np.geomspace(*SHARED_NOISE[kind], N_DAYS)], ones
    if kind in SIGNALS:
        return [cells] * N_DAYS, np.geomspace(*SIGNALS[kind], N_DAYS).tolist()
    if kind in LOST:
        lost = [order < round(100 * share) for share in np.linspace(0, LOST[kind], N_DAYS)]
        return [replace(cells, delta=np.where(one, 0.0, cells.delta)) for one in lost], ones
    informs = [order < round(100 * share) for share in np.geomspace(*INFORM[kind], N_DAYS)]
    sizes = [np.where(one, np.sqrt(24 / one.sum()), 0.0) for one in informs]
    return [Population(one * np.sign(cells.delta), EPS) for one in sizes], ones


def carrying_mouse(kind: str, number: int) -> tuple[list[CurveFit], float]:
    """Return the curves of the days of a mouse, and how the share of the cells that carry the signal changes."""
    fits, spread = [], []
    for day, (cells, gain) in enumerate(zip(*days_of(kind, number), strict=True)):
        seed = [sum(map(ord, kind)), number, day, 53]
        X, y = cells.sample(N_TRIALS, np.random.default_rng(seed))
        X = X + (gain - 1) * (y[:, None] - 0.5) * cells.delta
        spread.append(np.log2(code_spread(X, y)))
        fits.append(day_curve(cells, gain, N_TRIALS, seed))
    known = np.isfinite(spread)
    return fits, change_over_days(np.array(spread)[known], np.arange(N_DAYS)[known]) if known.sum() > 1 else np.nan


def carrying_cells(quick: bool, n_jobs: int) -> None:
    """Print how often the code seems to change where each cell responds as before, and where it does change."""
    n = 10 if quick else 40
    print(f"\n{n} mice, {N_DAYS} days of {N_TRIALS} trials, 100 cells: p <= .05 of k* and of half of d'^2 in one")
    print("direction (ceilings, mean slopes); and the share of the cells that carry the signal changes (its log2):\n")
    print(f"| truth | both | and the share | both of {N_MICE} mice | and the share |\n|{'---|' * 5}")
    for kind in (*SHARED_NOISE, *SIGNALS, *LOST, *INFORM):
        mice = list(in_processes(partial(carrying_mouse, kind), range(n), n_jobs))
        change = np.array([one for _, one in mice])
        trends = [[code_trend(fits, range(N_DAYS), at=at) for fits, _ in mice] for at in ("ceiling", "half")]
        groups = [[mice_trend(of[i : i + N_MICE]) for i in range(0, n, N_MICE)] for of in trends]
        found, every, shown = [], [], []
        for of, changes in ((trends, change), (groups, np.nanmean(change.reshape(-1, N_MICE), axis=1))):
            way, of_both = np.sign([one.slope for one in of[0]]), both(*of)
            found.append(of_both & (-way * changes >= FOUND_OCTAVES))
            every.append(of_both)
            shown += [counted(of_both.sum(), len(of_both)), counted(found[-1].sum(), len(of_both))]
        ceilings = [np.mean([fits[day].mean[-1] for fits, _ in mice]) for day in (0, -1)]
        slopes = ", ".join(f"{np.mean([one.slope for one in of]):+.3f}" for of in trends)
        print(
            f"| {kind} | {shown[0]} ({ceilings[0]:.2f} to {ceilings[1]:.2f}; {slopes}) "
            f"| {shown[1]} ({np.nanmean(change):+.2f}) | {shown[2]} | {shown[3]} |", flush=True,
        )  # fmt: skip
        if kind not in INFORM:
            few(f"{kind}: both found, and the share", found[0].sum(), n)
            few(f"{kind}: both found of {N_MICE} mice, and the share", found[1].sum(), n // N_MICE)
        else:
            kept = [bool((one == of_both).all()) for one, of_both in zip(found, every, strict=True)]
            must(f"{kind}: the share is of the same mice and groups", all(kept))


def both(at_ceiling: Sequence[DayTrend | MiceTrend], at_half: Sequence[DayTrend | MiceTrend]) -> np.ndarray:
    """Return where k* and half of d'^2 change in one direction, each with p <= .05, (n,) bool."""
    return np.array([max(a.p, b.p) <= 0.05 and a.slope * b.slope > 0 for a, b in zip(at_ceiling, at_half, strict=True)])


# ----------------------------------------------------------------------------------------------------- days and mice


def persistent_days(quick: bool, n_jobs: int) -> None:
    """Print how often Student's t over days finds a trend where days resemble the day before."""
    n, rng = 100 if quick else 2000, np.random.default_rng(43)
    print("\nDays without a trend whose scatter (0.4 octaves) persists, and errors of curves (0.35): p <= .05\n")
    print("| correlation with the day before | 4 days | 8 | 16 |\n|---|---|---|---|")
    for phi in (0.0, 0.5, 0.8, 0.95):
        shares = []
        for n_days in (4, 8, 16):
            steps = rng.normal(size=(n, n_days)) * np.r_[1, np.full(n_days - 1, np.sqrt(1 - phi**2))]
            days = np.array([sum(phi ** (day - i) * steps[:, i] for i in range(day + 1)) for day in range(n_days)]).T
            values = 0.4 * days + 0.35 * rng.normal(size=(n, n_days))
            p = np.array([linregress(np.arange(n_days), one).pvalue for one in values])
            shares.append(f"{np.mean(p <= 0.05):.2f}")
        print(f"| {phi} | {' | '.join(shares)} |", flush=True)


#: Days of each mouse.
UNEVEN = ((8, 8, 8), (6, 8, 12), (4, 4, 30), (5, 6, 7, 8, 20), (4, 4, 4, 4, 30))


def uneven_mice(quick: bool, n_jobs: int) -> None:
    """Print how often a mean slope is found where slopes vary about 0, and mice have unequal numbers of days."""
    n, rng = 100 if quick else 1000, np.random.default_rng(44)
    print("\nSlopes of sd 0.05 between mice, days that scatter by 0.55 octaves: p <= .05\n")
    print("| days of the mice | mice_trend | by variance in any case | with equal weights |\n|---|---|---|---|")
    for n_days in UNEVEN:
        days = np.array(n_days)
        spread, free = days * (days**2 - 1) / 12, int((days - 2).sum())
        hits = np.zeros(3, dtype=int)
        for _ in range(n):
            slopes = 0.05 * rng.normal(size=len(days)) + 0.55 / np.sqrt(spread) * rng.normal(size=len(days))
            variances = 0.55**2 * rng.chisquare(free) / free / spread
            found, by_variance = mice_trend(slopes, variances), mice_trend(slopes, variances, most_weight=1)
            hits += [found.p <= 0.05, by_variance.p <= 0.05, mice_trend(slopes).p <= 0.05]
        print(f"| {', '.join(map(str, n_days))} | {' | '.join(counted(one, n) for one in hits)} |", flush=True)
        few(f"mice of {n_days} days: p <= .05", hits[0], n)


# ---------------------------------------------------------------------------------------------------- other regions


def one_group(number: int) -> tuple[float, float, float, float]:
    """Return the difference of log2 k* of two regions and its p, and those of half of d'^2, of four mice."""
    pairs: dict[str, list[list[DayTrend]]] = {"ceiling": [[], []], "half": [[], []]}
    for mouse in range(4):
        for region, gain in enumerate((1.0, 2.0)):
            cells = population("limited", 100, np.random.default_rng([number, mouse, region, 45]))
            curves = [day_curve(cells, gain, N_TRIALS, [number, mouse, region, day, 46]) for day in range(4)]
            for at, both in pairs.items():
                both[region].append(code_trend(curves, range(4), at=at))
    found = [paired_level(*both) for both in pairs.values()]
    return found[0].slope, found[0].p, found[1].slope, found[1].p


def regions(quick: bool, n_jobs: int) -> None:
    """Print how often two regions seem to have another code where one has twice the signal in the same noise."""
    n = 2 if quick else 20
    found = np.array(list(in_processes(one_group, range(n), n_jobs)))
    print(
        f"\n{n} groups of four mice, two regions with the same code, one with twice the signal: p <= .05 of the level"
    )
    print("(mean difference)\n\n| k* | half of d'^2 |\n|---|---|")
    shown = (f"{counted((found[:, i + 1] <= 0.05).sum(), n)} ({found[:, i].mean():+.2f})" for i in (0, 2))
    print(f"| {' | '.join(shown)} |", flush=True)


# ------------------------------------------------------------------------------------- cells that know something else


@dataclass(frozen=True)
class Known:
    """Cells of which half follow something else than the target, by half a standard deviation.

    Attributes
    ----------
    target, mouse, cells : str
        cells: 'last side', 'block', 'bias', or 'engaged stimulus', whose responses are smaller where the mouse guesses.
    null, beyond : str
    """

    target: str
    mouse: str
    cells: str
    null: str = "pseudosession"
    beyond: str = "none"


KNOWN = (
    Known("block", "stationary", "last side"),
    Known("stimulus", "stationary", "block"),
    Known("choice", "jumps", "bias", "conditional"),
    Known("choice", "engages", "engaged stimulus", "conditional", "stimulus"),
)


def followed(case: Known, trials: dict[str, np.ndarray], bias: np.ndarray, asleep: np.ndarray) -> np.ndarray:
    """Return what half of the cells follow, (n,)."""
    contrast = np.nan_to_num(trials["contrastLeft"]) - np.nan_to_num(trials["contrastRight"])
    if case.cells == "last side":
        return np.append(0.0, np.where(np.isfinite(trials["contrastLeft"]), 1.0, -1.0))[:-1]
    if case.cells == "block":
        return (trials["probabilityLeft"] - 0.5) / 0.3
    if case.cells == "bias":
        return bias / max(bias.std(), 1e-9)
    return np.tanh(5 * contrast) * (1 - asleep / max(asleep.max(), 1e-9))


def of_known(task: tuple[Known, int]) -> tuple[float, float]:
    """Return p and score of a session of 400 trials."""
    case, number = task
    rng = np.random.default_rng([number, KNOWN.index(case), 47])
    trials, bias, asleep = mouse_and_state(case.mouse, 400, rng)
    usable = np.flatnonzero(~np.isnan(target_labels(case.target, trials)))
    X = planted(followed(case, trials, bias, asleep), 0.5, rng)[usable]
    names, strata = (str(number), case.target), None
    if case.beyond != "none":
        strata = trial_strata(case.beyond, trials)[usable]
    y, null = null_labels(case.null, case.target, trials, usable, 39, 0, names=names, strata=strata)
    if strata is None:
        (y,), null = (balanced_labels(one, "downsample", None, 0, *names) for one in (y[None], null))
    curve = neuron_dropping_curve(
        X, y, ks=[20], R=1, n_label_shuffles=39, null=null, null_subsets=1, strata=strata
    )  # fmt: skip
    return float(curve.p_values()[0]), float(curve.mean[0])


def told_by_others(quick: bool, n_jobs: int) -> None:
    """Print how often a target is decoded from cells that follow something else."""
    n = 5 if quick else 60
    print(f"\n{n} sessions of 400 trials, 20 cells, of which half follow something else than the target:\n")
    print(f"| target | mouse | cells | null | beyond | AUC | p <= .05 |\n|{'---|' * 7}")
    for case in KNOWN:
        found = np.array(list(in_processes(of_known, [(case, i) for i in range(n)], n_jobs, chunksize=5)))
        hits = int((found[:, 0] <= 0.05 + 1e-9).sum())
        place = f"{case.target} | {case.mouse} | {case.cells} | {case.null} | {case.beyond}"
        print(f"| {place} | {found[:, 1].mean():.3f} | {counted(hits, n)} |", flush=True)


# ------------------------------------------------------------------------------------------------ trials that are alike

SLOW_KS = (8, 32, 60)


def slow_session(target: str, phi: float, number: int) -> NDCCurve:
    """Return the curve of 300 trials of 60 cells that code the target; half of their variance is AR(1) of phi."""
    rng = np.random.default_rng([1, number, int(100 * phi)])
    trials = mouse_session("stationary", 300, rng)
    labels = target_labels(target, trials)
    usable = np.flatnonzero(~np.isnan(labels))
    y = labels[usable].astype(np.int8)
    slow = autoregressive(300, 60, phi, rng) if phi else rng.normal(size=(300, 60))
    X = (np.sqrt(0.5) * slow + np.sqrt(0.5) * rng.normal(size=(300, 60)))[usable]
    X = X + (y - 0.5)[:, None] * 0.25 * np.random.default_rng(9).normal(size=60)
    (y,) = balanced_labels(y[None], "downsample", None, 0, str(number))
    return neuron_dropping_curve(X, y, ks=SLOW_KS, R=10, n_label_shuffles=0, seed=number)


def slow_trials(quick: bool, n_jobs: int) -> None:
    """Print how often intervals hold the expected score where trials resemble their neighbours."""
    n = 5 if quick else 60
    print(f"\n{n} sessions of the same 60 cells, 300 trials: intervals that hold the expected score at k = 8, 32, 60\n")
    print("| target | phi | expected | held |\n|---|---|---|---|")
    for target in ("choice", "stimulus", "block"):
        for phi in (0.0, 0.9, 0.99):
            curves = list(in_processes(partial(slow_session, target, phi), range(n), n_jobs))
            means = np.array([one.mean for one in curves])
            others = (means.sum(axis=0) - means) / (n - 1)
            low, high = map(np.array, zip(*[score_interval(one.scores, one.influences) for one in curves], strict=True))
            held = ((low <= others) & (others <= high)).sum(axis=0)
            expected = ", ".join(f"{one:.2f}" for one in means.mean(axis=0))
            print(f"| {target} | {phi} | {expected} | {', '.join(counted(one, n) for one in held)} |", flush=True)


def look_alikes(quick: bool, n_jobs: int) -> None:
    """Run the section "look-alikes"."""
    for part in (signal, own_noise, carrying_cells, regions, persistent_days, uneven_mice, told_by_others, slow_trials):
        part(quick, n_jobs)
