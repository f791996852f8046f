"""Speed of the decoding engine compared with scikit-learn, in one run.

    python benchmarks/ndc.py                     # engine and scikit-learn's loops, on one core, beside what is required
    python benchmarks/ndc.py --ways              # what each of the engine's ideas gains
    python benchmarks/ndc.py --growth            # how the cost grows with trials, cells, repeats and shuffles
    python benchmarks/ndc.py --penalties         # what the penalties cost, in a curve with the default null

The engine is timed on whole curves, medians of several. The scikit-learn loops take minutes to hours, so their time is
extrapolated: for each k a few cross-validated scores are timed, with real and with shuffled labels, and multiplied by
their number. Engine and loops take turns, so that a busy machine slows both. All but --penalties is at C = 1, as the
loops are.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import time
import warnings
from collections.abc import Callable
from unittest import mock

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.decoding import curves, engine, gram, neuron_dropping_curve
from pipeline.decoding.solver import minimise_numpy, minimise_shared_numpy

SIZES = {(300, 600): (40, 20), (400, 2048): (150, 70), (700, 3000): (50, 25)}
KS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
R, S = 50, 100
#: Subsets from which the engine decodes each shuffle: one, because the loops decode each shuffle once.
M = 1
#: Curves of 400 x 2048, each shuffle decoded from five subsets: their arguments, and the most of their time. C = 1 is
#: relative to one subset for each shuffle; the others to C = 1 as the engine was when these limits were set, 99 times
#: as fast as the liblinear loop with one subset and three times slower with five.
MUSTS = {
    "C = 1": ({"penalty": "fixed"}, 2.0),
    "scaled, C = 1 / k": ({"penalty": "scaled"}, 0.35),
    "auto": ({"penalty": "auto"}, 0.6),
    "grid of five, chosen for each k, label vector and fold": (
        {"penalty": "scaled", "c_grid": (0.1, 0.3, 1.0, 3.0, 10.0)}, 1.7,
    ),
}  # fmt: skip
FORMER_SPEED, FORMER_FIVE = 99, 3.0
#: Curves as in the database, where null labels share the folds of the real ones; and one at C = 1.
curve_of = functools.partial(neuron_dropping_curve, shared_folds=True)
fixed_curve = functools.partial(curve_of, penalty="fixed")


def made(n: int, n_neurons: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return activity with shared fluctuations (20 modes), a third of the neurons weakly informative, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], [n // 2, n - n // 2]))
    shared = rng.normal(size=(n, 20)) * np.linspace(2, 0.3, 20) @ rng.normal(size=(20, n_neurons)) * 0.35
    informative = 0.25 * rng.normal(size=n_neurons) * (rng.random(n_neurons) < 0.3)
    return shared + rng.normal(size=(n, n_neurons)) + (y[:, None] - 0.5) * informative, y


def ks_of(n_neurons: int, largest: int = 2048) -> list[int]:
    return [k for k in (*KS, 4096, 8192) if k <= min(n_neurons, largest)] + ([n_neurons] if n_neurons <= 600 else [])


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def loop_score(X: np.ndarray, y: np.ndarray, solver: str, seed: int) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(solver=solver, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(model, X, y, cv=folds, scoring="roc_auc").mean())


def loop_seconds(X: np.ndarray, y: np.ndarray, ks: list[int], solver: str, turn: int) -> float:
    """Return the CPU seconds of a curve with scikit-learn, extrapolated from one score per k and kind of label."""
    total = 0.0
    for k in ks:
        rng = np.random.default_rng([turn, k])
        columns = rng.permutation(X.shape[1])[:k]
        for labels, count in ((y, R), (rng.permutation(y), S)):
            total += count * cpu_seconds(lambda c=columns, v=labels: loop_score(X[:, c], v, solver, turn))
    return total


def table(sizes: list[tuple[int, int]], turns: int) -> None:
    print(f"R {R}, S {S}, 5 folds, one core; CPU seconds for the curve, medians of {turns} turns.")
    print(f"2 cores: how many times less wall time. Load of the machine: {os.getloadavg()[0]:.1f}\n")
    print(
        "| trials x neurons | liblinear | lbfgs | engine | against liblinear (must) | against lbfgs (must) | 2 cores |"
    )
    print("|---|---|---|---|---|---|---|")
    for n, n_neurons in sizes:
        X, y = made(n, n_neurons)
        ks = ks_of(n_neurons, 8192 if n_neurons > 3000 else 2048)
        curve = functools.partial(fixed_curve, X, y, ks=ks, R=R, n_label_shuffles=S, null_subsets=M)
        taken: dict[str, list[float]] = {name: [] for name in ("liblinear", "lbfgs", "engine", "1", "2")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for turn in range(turns):
                for jobs in (1, 2):
                    call = functools.partial(curve, n_jobs=jobs)
                    begun = time.process_time()
                    taken[str(jobs)].append(seconds(call))
                    if jobs == 1:
                        taken["engine"].append(time.process_time() - begun)
                for solver in ("liblinear", "lbfgs") if n_neurons <= 3000 else ():
                    taken[solver].append(loop_seconds(X, y, ks, solver, turn))
        found = {name: float(np.median(values)) for name, values in taken.items() if values}
        cells = ["-"] * 4
        if "lbfgs" in found:
            peers = [found["liblinear"], found["lbfgs"]]
            limits = SIZES.get((n, n_neurons), ("reported", "reported"))
            times = [f"{p / found['engine']:.0f} ({must})" for p, must in zip(peers, limits, strict=True)]
            cells = [f"{p:.0f}" for p in peers] + times
        cells.insert(2, f"{found['engine']:.2f}")
        name = f"{n} x {n_neurons}, ks to {ks[-1]}"
        print(f"| {name} | {' | '.join(cells)} | {found['1'] / found['2']:.2f} times |", flush=True)


def agreement() -> None:
    """Print how far the engine's scores are from scikit-learn's at its optimum, score by score."""
    X, y = made(300, 600)
    ks = ks_of(600)
    found = fixed_curve(X, y, ks=ks, R=4, n_label_shuffles=0)
    worst = []
    for r in range(4):
        order, folds = np.random.SeedSequence([0, r]).spawn(2)
        columns = np.random.default_rng(order).permutation(600)
        seed = int(folds.generate_state(1)[0])
        for i, k in enumerate(ks):
            model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=100_000))
            cv = StratifiedKFold(5, shuffle=True, random_state=seed)
            best = cross_val_score(model, X[:, columns[:k]], y, cv=cv, scoring="roc_auc").mean()
            worst.append(abs(best - found.scores[i, r]))
    equal = sum(w < 1e-12 for w in worst)
    print(f"\n{len(worst)} scores of 300 x 600 against scikit-learn at tol 1e-10: {equal} equal,")
    print(f"largest difference {max(worst):.1e}, mean {np.mean(worst):.1e}")


def peak() -> float:
    """Return the GFLOP/s at which BLAS multiplies square float32 matrices on one core."""
    a = np.random.default_rng(0).normal(size=(2000, 2000)).astype(np.float32)
    return 2 * 2000**3 / min(cpu_seconds(lambda: a @ a) for _ in range(5)) / 1e9


def product_gflop(call: Callable[[], object]) -> float:
    """Return the GFLOP of the solver's matrix products in a curve; rows are solved one by one, to count each."""
    flop = [0.0]

    def counted(p, refresh, z, b, error):
        iterations = engine_minimise(p, refresh, z, b, error)
        modes = p.eigenvalues.size
        # at the end z once more from the solution; in the dual one gradient, too
        passes = iterations + (0.5 if p.primal else 1.5)
        inner = 2.0 * p.k**2 if p.primal else 4.0 * p.n * modes
        factors = 0 if p.primal else refresh[:iterations].sum() * p.n * modes * (modes + 1.0)
        flop[0] += passes * 4.0 * p.n * p.k + iterations * inner + factors
        return iterations

    engine_minimise = engine.minimise
    with mock.patch.object(engine, "minimise", counted), mock.patch.object(engine, "BATCH_ROWS", 1):
        call()
    return flop[0] / 1e9


def roofline(n: int, n_neurons: int) -> None:
    """Print the share of the machine's peak that the solver reaches."""
    inside = [0.0]

    def timed(*arguments):
        start = time.process_time()
        iterations = engine_minimise(*arguments)
        inside[0] += time.process_time() - start
        return iterations

    engine_minimise, reached = engine.minimise, peak()
    X, y = made(n, n_neurons)
    ks = ks_of(n_neurons)
    # each label vector with its own folds: only this solver is counted
    options = {"R": R, "n_label_shuffles": S, "null_subsets": M, "n_jobs": 1, "shared_folds": False}
    curve = functools.partial(fixed_curve, X, y, ks=ks, **options)
    with mock.patch.object(engine, "minimise", timed):
        total = cpu_seconds(curve)
    solver, done, floor = inside[0], product_gflop(curve), 4.0 * n * sum(ks) * 5 * (R + S) / 1e9
    print(f"\n{n} x {n_neurons}: float32 peak of one core {reached:.0f} GFLOP/s.")
    print(f"{total:.2f} CPU s, {solver / total:.0%} of it in the solver.")
    print(f"Its products: {done:.0f} GFLOP, {done / solver / reached:.0%} of the peak while it runs.")
    print(f"One pass per fit would be {floor:.0f} GFLOP: at peak {floor / reached / total:.0%} of the time.")


def ways(n: int, n_neurons: int, turns: int) -> None:
    """Print the CPU seconds of a curve with one idea taken away at a time."""
    X, y = made(n, n_neurons)
    ks = ks_of(n_neurons)
    options = {"R": R, "n_label_shuffles": S, "null_subsets": M, "n_jobs": 1}
    curve = functools.partial(fixed_curve, X, y, ks=ks, **options)

    def patched(*changes):
        return lambda: run_with(changes)

    def run_with(changes):
        with contextlib.ExitStack() as stack:
            for target, name, value in changes:
                stack.enter_context(mock.patch.object(target, name, value))
            curve()

    def in_turn():
        with mock.patch.object(curves, "SUBSETS_IN_TURN", S):
            curve(null_subsets=0)

    cases = {
        "all": curve,
        "folds of its own for each label vector": functools.partial(curve, shared_folds=False),
        "plain numpy and BLAS in place of the compiled solvers": patched(
            (engine, "minimise", minimise_numpy), (gram, "minimise_shared", minimise_shared_numpy)
        ),
        "the real rows of a subset one by one": patched((engine, "BATCH_ROWS", 1)),
        "a subset of its own for each shuffle in place of one for all": in_turn,
        "one mode in the dual's preconditioner": patched((engine, "MAX_MODES", 1)),
        "tolerance 1e-6 in place of 1e-5": patched((engine, "TOLERANCE", 1e-6), (gram, "TOLERANCE", 1e-6)),
    }
    taken = {name: [] for name in cases}
    for _ in range(turns):
        for name, call in cases.items():
            taken[name].append(cpu_seconds(call))
    base = np.median(taken["all"])
    print(f"\n{n} x {n_neurons}, one core, medians of {turns}\n\n| | CPU s | times |\n|---|---|---|")
    for name, values in taken.items():
        print(f"| {name} | {np.median(values):.2f} | {np.median(values) / base:.2f} |")
    thin = np.random.default_rng(0).normal(size=(15, n)).astype(np.float32)
    wide = np.random.default_rng(1).normal(size=(n, n_neurons)).astype(np.float32)
    panels, out = engine.pack(wide), np.empty((15, engine.padded(n_neurons)), np.float32)
    flops = 2 * 15 * n * n_neurons / 1e9
    own = np.median([seconds(lambda: engine.product(thin, panels, n, out)) for _ in range(200)])
    usual = np.median([seconds(lambda: thin @ wide) for _ in range(200)])
    print(f"\nproduct (15 x {n}) by ({n} x {n_neurons}): {flops / own:.0f} GFLOP/s packed, {flops / usual:.0f} by BLAS")


def penalties(sizes: list[tuple[int, int]], turns: int) -> None:
    """Print the CPU seconds of a curve with each penalty, and their ratios to C = 1; the penalties take turns."""
    print("| trials x neurons | C = 1 | scaled | auto | scaled / C = 1 | auto / C = 1 |\n|---|---|---|---|---|---|")
    for n, n_neurons in sizes:
        X, y = made(n, n_neurons)
        curve = functools.partial(curve_of, X, y, ks=ks_of(n_neurons), R=R, n_label_shuffles=S)
        taken = {"fixed": [], "scaled": [], "auto": []}
        for _ in range(turns):
            for penalty, values in taken.items():
                start = time.process_time()
                curve(penalty=penalty)
                values.append(time.process_time() - start)
        one, scaled, auto = (float(np.median(values)) for values in taken.values())
        cells = f"{one:.2f} | {scaled:.2f} | {auto:.2f} | {scaled / one:.2f} | {auto / one:.2f}"
        print(f"| {n} x {n_neurons} | {cells} |", flush=True)


def musts(n: int, n_neurons: int, turns: int) -> None:
    """Print the CPU seconds of curves whose shuffles are decoded from five subsets, beside what is required.

    The penalties and the loop take turns; the grid takes minutes, and one turn.
    """
    X, y = made(n, n_neurons)
    ks = ks_of(n_neurons)
    curve = functools.partial(curve_of, X, y, ks=ks, R=R, n_label_shuffles=S, n_jobs=1)
    calls = {
        "none": functools.partial(curve, penalty="fixed", n_label_shuffles=0),
        "one": functools.partial(curve, penalty="fixed", null_subsets=1),
        **{name: functools.partial(curve, **options, null_subsets=5) for name, (options, _) in MUSTS.items()},
    }
    grids = [name for name, (options, _) in MUSTS.items() if "c_grid" in options]
    taken: dict[str, list[float]] = {name: [] for name in ("loop", *calls) if name not in grids}
    for turn in range(turns):
        for name, values in taken.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call = calls.get(name)
                values.append(cpu_seconds(call) if call else loop_seconds(X, y, ks, "liblinear", turn))
    found = {name: float(np.median(values)) for name, values in taken.items()}
    former = FORMER_FIVE * found["loop"] / FORMER_SPEED
    one = f"C = 1 with one null subset {found['one']:.2f}, without {found['none']:.2f}"
    print(f"\n{n} x {n_neurons}, CPU seconds of one core: the liblinear loop {found['loop']:.0f}; {one};")
    print(f"with five when the limits were set {former:.1f}")
    print("\n| five null subsets | CPU s | relative to | times | must |\n|---|---|---|---|---|")
    for name, (_, most) in MUSTS.items():
        seconds_ = found[name] if name in found else cpu_seconds(calls[name])
        base, of = (found["one"], "one null subset") if name == "C = 1" else (former, "C = 1, formerly")
        times = seconds_ / base
        verdict = "met" if times <= most else "MISSED"
        print(f"| {name} | {seconds_:.2f} | {of} | {times:.2f} | {most:g} ({verdict}) |", flush=True)


def growth(turns: int) -> None:
    """Print how the cost of a curve grows."""
    print("\n| | seconds |\n|---|---|")
    for n in (150, 300, 600, 1000):
        _growth_row(f"{n} trials x 2048", *made(n, 2048), turns, ks=ks_of(2048))
    for k in (32, 128, 512, 2048, 8192):
        _growth_row(f"400 x 8192, ks to {k}, S 0", *made(400, 8192), turns, ks=ks_of(8192, k), S=0)
    for s in (0, 100, 200, 500, 1000):
        _growth_row(f"400 x 2048, S {s}", *made(400, 2048), turns, ks=ks_of(2048), S=s)
    for m in (1, 2, 5, 10):
        _growth_row(f"400 x 2048, S 100 from {m} subsets each", *made(400, 2048), turns, ks=ks_of(2048), m=m)
    for r in (10, 50, 200):
        _growth_row(f"400 x 2048, R {r}, S 100", *made(400, 2048), turns, ks=ks_of(2048), r=r)


def _growth_row(name, X, y, turns, *, ks, r=R, S=S, m=M) -> None:
    call = functools.partial(fixed_curve, X, y, ks=ks, R=r, n_label_shuffles=S, null_subsets=m)
    taken = [seconds(call) for _ in range(turns)]
    print(f"| {name} | {np.median(taken):.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=["300x600", "400x2048", "700x3000"], help="trials x neurons")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--penalties", action="store_true")
    options = parser.parse_args()
    with threadpool_limits(1):
        curve_of(*made(60, 80), ks=[8, 70], R=1, n_label_shuffles=1)  # compiles or loads the kernels
        sizes = [tuple(int(v) for v in size.split("x")) for size in options.sizes]
        if options.ways:
            for n, n_neurons in sizes:
                ways(n, n_neurons, options.turns)
                roofline(n, n_neurons)
        elif options.penalties:
            penalties(sizes, options.turns)
        elif options.growth:
            growth(options.turns)
        else:
            table(sizes, options.turns)
            if (400, 2048) in sizes:
                musts(400, 2048, options.turns)
            agreement()


if __name__ == "__main__":
    main()
