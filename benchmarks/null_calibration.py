"""How often each null calls activity significant that is unrelated to the task.

    python benchmarks/null_calibration.py --sessions 300 --out table.md

A session is 400 trials of IBL's biasedChoiceWorld done by a simulated mouse, and 60 neurons that are unrelated to the
task: an AR(1) drift (phi from trial to trial) and white noise, half the variance each. A calibrated null gives
p <= 0.05 in 5 % of the sessions. Classes are balanced as in the tables. The mice:

- psychometric: choices depend on the contrast and the block, with lapses;
- history: choices depend on the previous choices as well;
- drift: in addition the bias drifts slowly (AR(1), 0.98 from trial to trial, standard deviation 1);
- engagement: in every other period, of 40 trials on average, the mouse guesses.

Tables: false positives; the same for the other mice; the same by number of subsets averaged in each null score; and
power, where a quarter of the neurons encode the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.simulated_task import alf_trials, blocks, stimuli

from pipeline.decoding import neuron_dropping_curve, pick_trials, target_labels
from pipeline.decoding.curves import NULL_SUBSETS
from pipeline.decoding.nulls import linear_shift_margin, null_labels, shuffled_labels

TARGETS = ("block", "stimulus", "choice", "feedback")
NULLS = ("permute", "circular", "linear_shift", "auto")
MICE = ("psychometric", "history", "drift", "engagement")
N_TRIALS, N_NEURONS, ALPHA = 400, 60, 0.05


def block_length(rng: np.random.Generator) -> int:
    """Return the length of a block of biasedChoiceWorld, in trials."""
    length = 0
    while not 20 <= length <= 100:
        length = round(rng.exponential(60))
    return length


def mouse_session(rng: np.random.Generator, mouse: str = "psychometric", n_trials: int = N_TRIALS) -> dict:
    """Return the ALF trial attributes of a session of a simulated mouse."""
    p_left = blocks(n_trials, rng, block_length)
    side, contrast = stimuli(p_left, rng)
    # each session has another mouse: threshold, bias, use of the block, lapses; not the model that is fitted
    threshold, bias, use = rng.uniform(0.05, 0.2), rng.normal(0, 0.3), rng.uniform(0.3, 1.2)
    lapses = rng.uniform(0.02, 0.1, 2)
    evidence = side * contrast / threshold + bias + use * np.log(p_left / (1 - p_left)) / np.log(4)
    evidence += drift(n_trials, 1, 0.98, rng)[:, 0] * (mouse == "drift")
    guesses = (np.cumsum(rng.random(n_trials) < 1 / 40) % 2 == 1) & (mouse == "engagement")
    choice, memory = np.zeros(n_trials), 0.0
    for trial in range(n_trials):
        p = lapses[0] + (1 - lapses.sum()) / (1 + np.exp(-evidence[trial] - memory))
        choice[trial] = 1 if rng.random() < (0.5 if guesses[trial] else p) else -1
        memory = 0.7 * memory + 0.5 * choice[trial] * (mouse == "history")
    silent = rng.random(n_trials) < 0.01
    choice[silent] = 0
    return alf_trials(p_left, side, contrast, choice)


def drift(n_trials: int, n: int, phi: float, rng: np.random.Generator) -> np.ndarray:
    """Return n stationary AR(1) processes of variance 1, (n_trials, n)."""
    from scipy.signal import lfilter

    noise = rng.standard_normal((n_trials, n))
    noise[1:] *= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=0)


def activity(phi: float, rng: np.random.Generator, n_trials: int = N_TRIALS) -> np.ndarray:
    """Return activity that is unrelated to the task, (n_trials, 60)."""
    return drift(n_trials, N_NEURONS, phi, rng) + rng.standard_normal((n_trials, N_NEURONS))


@dataclass(frozen=True)
class Case:
    """One cell of a table: many sessions that differ in their seed only."""

    target: str
    phi: float
    null: str
    mouse: str = "psychometric"
    n_shuffles: int = 100
    null_subsets: int = NULL_SUBSETS
    effect: float = 0.0
    ks: tuple[int, ...] = (N_NEURONS,)
    balance: str = "downsample"


def labels_of(case: Case, trials: dict, usable: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return real and null labels of the usable trials, balanced, -1 for a trial left out."""

    def balanced(row: np.ndarray) -> np.ndarray:
        used = np.flatnonzero(row >= 0)
        out = np.full(len(row), -1, dtype=np.int8)
        kept = used[pick_trials(row[used], case.balance, None, 0, name, case.target) == "kept"]
        out[kept] = row[kept]
        return out

    if case.null == "permute":  # the trials that are decoded, in the same order as in the tables
        real = balanced(target_labels(case.target, trials)[usable].astype(np.int8))
        return shuffled_labels(real, "permute", case.n_shuffles, 0)
    # a short session has fewer shifts than n_label_shuffles
    most = 2 * linear_shift_margin(len(usable)) if case.null == "linear_shift" else case.n_shuffles
    n, names = min(case.n_shuffles, most), (name, case.target)
    real, null = null_labels(case.null, case.target, trials, usable, n, 0, names=names)
    return balanced(real), np.array([balanced(row) for row in null])


def prepared(case: Case, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return activity of the usable trials, real and null labels."""
    rng = np.random.default_rng([number, 7])
    trials = mouse_session(rng, case.mouse)
    X = activity(case.phi, rng)
    labels = target_labels(case.target, trials)
    usable = np.flatnonzero(~np.isnan(labels))
    X = X[usable]
    X[:, : N_NEURONS // 4] += case.effect * (2 * labels[usable, None] - 1)
    return X, *labels_of(case, trials, usable, f"session {number}")


def one_session(case: Case, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean score and p of each k."""
    X, real, null = prepared(case, number)
    R = case.null_subsets or 50  # the subsets that p is computed from
    curve = neuron_dropping_curve(
        X, real, ks=case.ks, R=R, n_label_shuffles=len(null), null=null, null_subsets=case.null_subsets
    )
    return curve.mean, curve.p_values()


def run(case: Case, n_sessions: int, jobs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each k, the mean score over the sessions and the share of them with p <= 0.05."""
    from joblib import Parallel, delayed

    results = Parallel(n_jobs=jobs)(delayed(one_session)(case, number) for number in range(n_sessions))
    scores, p = (np.array(part) for part in zip(*results, strict=True))
    return scores.mean(axis=0), (p <= ALPHA).mean(axis=0)


def share(value: float, n: int) -> str:
    """Return a share with its binomial standard error; bold where it is outside 0.02 to 0.08."""
    text = f"{value:.3f} ± {np.sqrt(value * (1 - value) / n):.3f}"
    return text if 0.02 <= value <= 0.08 else f"**{text}**"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [" | ".join(header), " | ".join(["---"] * len(header)), *(" | ".join(row) for row in rows)]
    return "\n".join([f"### {title}", "", *(f"| {line} |" for line in lines), "", ""])


def false_positives(options: argparse.Namespace) -> str:
    """Return the table of every null, target and phi."""
    rows = []
    for target in options.targets:
        for phi in options.phi:
            cells, scores = [], []
            for null in options.nulls:
                case = Case(target, phi, null, n_shuffles=options.shuffles)
                score, found = run(case, options.sessions, options.jobs)
                cells.append(share(found[0], options.sessions))
                scores.append(score[0])
                log(f"{case}: {score[0]:.3f}, {cells[-1]}")
            rows.append([target, f"{phi:g}", f"{scores[0]:.2f}", *cells])  # linear_shift decodes other trials
    return table("False positives at 0.05", ["target", "phi", "mean AUC", *options.nulls], rows)


def other_mice(options: argparse.Namespace) -> str:
    """Return the table of mice whose choices may deviate from the model."""
    rows = []
    for mouse in MICE[1:]:
        for target in [t for t in options.targets if t in ("choice", "feedback")]:
            cells = []
            for phi in options.phi:
                case = Case(target, phi, "auto", mouse, n_shuffles=options.shuffles)
                cells.append(share(run(case, options.sessions, options.jobs)[1][0], options.sessions))
                log(f"{case}: {cells[-1]}")
            rows.append([mouse, target, *cells])
    return table(
        "False positives of auto for other mice", ["mouse", "target", *map("phi {:g}".format, options.phi)], rows
    )


def averaging(options: argparse.Namespace) -> str:
    """Return the table by number of subsets averaged in each null score."""
    rows, ks = [], (10, N_NEURONS)
    for target in options.targets:
        for m in (0, 1, 5):
            cells = []
            for effect in (0.0, 0.15):
                case = Case(target, 0.0, "auto", n_shuffles=options.shuffles, null_subsets=m, ks=ks, effect=effect)
                found = run(case, options.sessions, options.jobs)[1]
                cells += [share(v, options.sessions) if effect == 0 else f"{v:.2f}" for v in found]
                log(f"{case}: {cells}")
            rows.append([target, str(m), cells[0], cells[1], cells[2], cells[3]])
    names = [f"{what}, {k} of {N_NEURONS}" for what in ("false positives", "found") for k in ks]
    return table(
        "Subsets averaged, phi 0, auto: false positives, and planted information", ["target", "m", *names], rows
    )


def power(options: argparse.Namespace) -> str:
    """Return the table of sessions in which planted information is found."""
    rows = []
    for target in options.targets:
        for phi in options.phi:
            case = Case(target, phi, "auto", n_shuffles=options.shuffles)
            cells = []
            for effect in (0.15, 0.3, 0.6):
                planted = replace(case, effect=effect)
                score, found = run(planted, options.sessions, options.jobs)
                cells.append(f"{found[0]:.2f} (AUC {score[0]:.2f})")
                log(f"{planted}: {cells[-1]}")
            rows.append([target, f"{phi:g}", *cells])
    header = ["target", "phi", *(f"effect {effect:g}" for effect in (0.15, 0.3, 0.6))]
    return table("Sessions with p <= 0.05 under auto where a quarter of the neurons know the target", header, rows)


TABLES = {"false_positives": false_positives, "mice": other_mice, "averaging": averaging, "power": power}


def log(text: str) -> None:
    """Report progress."""
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Compute and write the tables named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--phi", type=float, nargs="+", default=[0.0, 0.9, 0.99])
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--nulls", nargs="+", default=list(NULLS))
    parser.add_argument("--shuffles", type=int, default=100)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the tables; they are printed anyway")
    options = parser.parse_args()
    text = ""
    for name in options.tables:
        made = TABLES[name](options)
        sys.stdout.write(made)
        text += made
        if options.out:
            options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
