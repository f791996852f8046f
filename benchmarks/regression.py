"""Curves of numbers: how often a null is significant by chance, and how often an interval holds the expected score.

    python benchmarks/regression.py nulls --sessions 100
    python benchmarks/regression.py intervals --sessions 200
    python benchmarks/regression.py intervals --sessions 200 --cells 256
    python benchmarks/regression.py penalty --sessions 16 --cells 256

``nulls``: 300 trials of 40 cells, which are an AR(1) drift (phi from trial to trial) and white noise, half the variance
each, and numbers that are an AR(1) of their own. "coded": a quarter of the cells code the number with a gain of 0.5.

``intervals``: the same cells (64, or ``--cells``) in each session, random subsets, new trials; the expected score is
the mean over the sessions. The populations: weak and strong (gains of standard deviation 0.12 and 0.5 in white noise),
modes (eight strong shared modes, two of which carry the number), lognormal (as strong; the number that is decoded is
the exponential of the one that is coded), none.

``penalty``: R^2 at each k with c = 1, and with what ``penalty='auto'`` chooses, of 60 trials; each session has other
cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.decoding import neuron_dropping_curve
from pipeline.decoding.fits.uncertainty import score_interval
from pipeline.decoding.nulls import SHIFTED

ALPHA = 0.05
METRICS = ("r2", "spearman")
N_TRIALS, N_DRIFTING, S = 300, 40, 99
N_CELLS, R = 64, 20
POPULATIONS = ("weak", "strong", "modes", "lognormal", "none")


def share(hits: int, n: int) -> str:
    """Return a number of n sessions with the exact 95 % interval of its share."""
    from scipy.stats import binomtest

    low, high = binomtest(hits, n).proportion_ci(method="exact")
    return f"{hits}/{n} ({low:.2f}-{high:.2f})"


def drift(n: int, phi: float, rng: np.random.Generator) -> np.ndarray:
    """Return n stationary AR(1) processes of variance 1, (N_TRIALS, n)."""
    from scipy.signal import lfilter

    noise = rng.standard_normal((N_TRIALS, n))
    noise[1:] *= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=0)


def drifting_session(of_cells: float, of_numbers: float, gain: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return activity and numbers of a session."""
    rng = np.random.default_rng(seed)
    y = drift(1, of_numbers, rng)[:, 0]
    X = (drift(N_DRIFTING, of_cells, rng) + rng.standard_normal((N_TRIALS, N_DRIFTING))) / np.sqrt(2)
    X[:, : N_DRIFTING // 4] += gain * y[:, None]
    return X, y


def nulls(n_sessions: int) -> Iterator[str]:
    """Yield a row for each drift of cells and numbers: sessions with p <= ALPHA, by null and metric."""
    cases = [(0.95, 0.95, 0.0), (0.99, 0.95, 0.0), (0.95, 0.0, 0.0), (0.0, 0.95, 0.0), (0.95, 0.95, 0.5)]
    yield f"| phi of cells | of numbers | coded | metric | {' | '.join(SHIFTED)} |"
    for of_cells, of_numbers, gain in cases:
        for metric in METRICS:
            hits = []
            for null in SHIFTED:
                p = [
                    neuron_dropping_curve(
                        *drifting_session(of_cells, of_numbers, gain, seed), ks=[N_DRIFTING], R=1, metric=metric,
                        null=null, n_label_shuffles=S, seed=seed, shuffle_seed=seed,
                    ).p_values()[0]
                    for seed in range(n_sessions)
                ]  # fmt: skip
                hits.append(share(sum(one <= ALPHA for one in p), n_sessions))
            yield f"| {of_cells} | {of_numbers} | {'yes' if gain else 'no'} | {metric} | {' | '.join(hits)} |"


def population(kind: str, n_cells: int, rng: np.random.Generator) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Return a function that draws activity and numbers of n trials of a population."""
    gains = rng.normal(size=n_cells) * {"weak": 0.12, "strong": 0.5, "lognormal": 0.5}.get(kind, 0.0)
    modes = rng.normal(size=(8, n_cells)) * (kind == "modes")

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.normal(size=n)
        shared = rng.normal(size=(n, 8)) * np.linspace(1.5, 0.3, 8)
        shared[:, 3] += 0.7 * y
        shared[:, 6] += 0.3 * y
        X = rng.normal(size=(n, n_cells)) + y[:, None] * gains + shared @ modes
        return X, np.exp(y) if kind == "lognormal" else y

    return draw


def intervals(n_sessions: int, n_cells: int = N_CELLS) -> Iterator[str]:
    """Yield a row for each population, number of trials and metric: intervals that hold the expected score, by k."""
    ks = (n_cells // 8, n_cells // 2, n_cells)
    yield f"| population | trials | metric | expected at k = {', '.join(map(str, ks))} | held at each k |"
    for kind in POPULATIONS:
        for n in (60, 120, 400):
            for metric in METRICS:
                draw, curves = population(kind, n_cells, np.random.default_rng(1)), []
                for seed in range(n_sessions):
                    X, y = draw(n)
                    curves.append(neuron_dropping_curve(X, y, ks=ks, R=R, metric=metric, n_label_shuffles=0, seed=seed))
                expected = np.mean([curve.mean for curve in curves], axis=0)
                load = np.array(ks) / n
                bounds = [
                    score_interval(one.scores, one.influences, metric=metric, cells_per_trial=load) for one in curves
                ]
                held = sum((low <= expected) & (expected <= high) for low, high in bounds)
                yield (
                    f"| {kind} | {n} | {metric} | {', '.join(f'{one:.2f}' for one in expected)} | "
                    f"{', '.join(share(int(one), n_sessions) for one in held)} |"
                )


def penalties(n_sessions: int, n_cells: int) -> Iterator[str]:
    """Yield a row for each population and way to choose c: mean R^2 at each k, that over the k less c = 1's, and c."""
    ks = [k for k in (8, 16, 32, 64, 128) if k < n_cells] + [n_cells]
    ways = {
        "c = 1": {"penalty": "scaled"},
        "wide": {"penalty": "auto", "c_range": "wide"},
        "narrow": {"penalty": "auto", "c_range": "narrow"},
    }
    yield f"| population | c | R2 at k = {', '.join(map(str, ks))} | less c = 1 (standard error) | chosen |"
    for kind in ("weak", "strong", "modes"):
        means: dict[str, list[np.ndarray]] = {way: [] for way in ways}
        chosen: dict[str, list[float]] = {way: [] for way in ways}
        for seed in range(n_sessions):
            rng = np.random.default_rng([seed, n_cells, 5])
            X, y = population(kind, n_cells, rng)(60)
            for way, words in ways.items():
                curve = neuron_dropping_curve(X, y, ks=ks, R=4, metric="r2", n_label_shuffles=0, seed=seed, **words)
                means[way].append(curve.mean)
                chosen[way].append(curve.c)
        for way, found in means.items():
            less = (np.array(found) - np.array(means["c = 1"])).mean(axis=1)
            times = ", ".join(f"{chosen[way].count(c)} x {c:g}" for c in sorted(set(chosen[way])))
            yield (
                f"| {kind} | {way} | {', '.join(f'{one:.2f}' for one in np.mean(found, axis=0))} | "
                f"{less.mean():+.3f} ({less.std(ddof=1) / np.sqrt(n_sessions):.3f}) | {times} |"
            )


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["nulls", "intervals", "penalty"])
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--cells", type=int, default=N_CELLS, help="of intervals and penalty")
    asked = parser.parse_args()
    tables = {
        "nulls": lambda: nulls(asked.sessions), "intervals": lambda: intervals(asked.sessions, asked.cells),
        "penalty": lambda: penalties(asked.sessions, asked.cells),
    }  # fmt: skip
    for row in tables[asked.table]():
        print(row, flush=True)


if __name__ == "__main__":
    main()
