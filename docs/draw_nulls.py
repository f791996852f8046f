"""Draw the pictures of docs/science/nulls.md from a simulated session: python docs/draw_nulls.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap

from pipeline.behavior.pseudosessions import pseudosession
from pipeline.behavior.static import BehaviorModel
from pipeline.decoding import neuron_dropping_curve, target_labels
from pipeline.decoding.nulls import NULLS, null_labels
from pipeline.figures import StyledFigure, save, style
from pipeline.settings.curves import CHOSEN

#: Colours of trials that are left out, of class 0 and of class 1.
CLASSES = ListedColormap(["#ffffff", "#e69f00", "#0072b2"])
COLORS = {"permute": "#d55e00", "pseudosession": "#009e73"}
N_TRIALS, N_NEURONS, N_SHUFFLES = 400, 60, 200


def task_session(seed: int) -> dict[str, np.ndarray]:
    """Return ALF trials of a session of biasedChoiceWorld, done by a good mouse: an unbiased start, then blocks."""
    rng = np.random.default_rng(seed)
    contrast = rng.choice([1.0, 0.25, 0.125, 0.0625, 0.0], N_TRIALS)
    plan = {
        "probabilityLeft": np.repeat([0.5, 0.8, 0.2], [90, 60, N_TRIALS - 150]),
        "contrastLeft": contrast,
        "contrastRight": np.full(N_TRIALS, np.nan),
        "choice": np.ones(N_TRIALS),
        "feedbackType": np.ones(N_TRIALS),
    }
    plan["probabilityLeft"][220:290] = 0.8
    model = BehaviorModel(0.0, 1.0, (0.6, 1.2, 2.5, 3.5, 5.0), (0.0, 0.0, 0.0), -2.5, 4.0, 0.5)
    return pseudosession(plan, rng, model)


def drifting(phi: float, seed: int) -> np.ndarray:
    """Return activity that is unrelated to the task, (trials, neurons): slow drift and white noise."""
    rng = np.random.default_rng(seed)
    slow = rng.standard_normal((N_TRIALS, N_NEURONS))
    for trial in range(1, N_TRIALS):
        slow[trial] = phi * slow[trial - 1] + np.sqrt(1 - phi**2) * slow[trial]
    return slow + 0.5 * rng.standard_normal(slow.shape)


def drift(seed: int = 3) -> StyledFigure:
    """Draw drifting activity, the blocks, and the score among those of two nulls."""
    trials, X = task_session(seed), drifting(0.99, seed)
    usable = np.flatnonzero(~np.isnan(target_labels("block", trials)))
    nulls, p = {}, {}
    for null in COLORS:
        real, shuffled = null_labels(null, "block", trials, usable, N_SHUFFLES, 0, names=("drift", "block"))
        curve = neuron_dropping_curve(X[usable], real, ks=[N_NEURONS], R=20, n_label_shuffles=N_SHUFFLES, null=shuffled)
        nulls[null], p[null] = curve.null_scores[0], curve.p_values()[0]
    score = curve.mean[0]
    with style():
        fig = StyledFigure(figsize=(7.2, 3.2), layout="constrained")
        grid = fig.add_gridspec(2, 2, width_ratios=(3, 2), height_ratios=(1, 7))
        top, left, right = fig.add_subplot(grid[0, 0]), fig.add_subplot(grid[1, 0]), fig.add_subplot(grid[:, 1])
        top.imshow(_codes(target_labels("block", trials))[None], cmap=CLASSES, vmin=-1, vmax=1, aspect="auto")
        top.set(yticks=[], xticks=[], title="Block of each trial: left (blue), right (orange), none (white)")
        order = np.argsort(np.argmax(np.abs(np.cumsum(X - X.mean(axis=0), axis=0)), axis=0))
        image = left.imshow(X[:, order].T, cmap="gray_r", aspect="auto", vmin=-2.5, vmax=2.5, interpolation="nearest")
        left.set(xlabel="trial", ylabel="neuron", title="Activity that drifts and knows nothing of the blocks")
        fig.colorbar(image, ax=left, label="activity (SD)", pad=0.01)
        bins = np.linspace(0.3, 1.0, 36)
        for null, color in COLORS.items():
            label = f"{null}: p = {p[null]:.3f}"
            right.hist(nulls[null], bins, color=color, alpha=0.65, label=label)
        right.axvline(score, color="black", lw=1.5, label=f"real labels: AUC {score:.2f}")
        right.set(xlabel="cross-validated AUC", ylabel="label vectors", title="Two nulls, one score")
        right.set_ylim(0, right.get_ylim()[1] * 1.3)
        right.legend(loc="upper left")
    return fig


def kinds(seed: int = 3, n_examples: int = 4) -> StyledFigure:
    """Draw the real labels of two targets and a few label vectors of each null."""
    trials = task_session(seed)
    donors = [task_session(other) for other in range(10, 10 + n_examples)]
    with style():
        fig = StyledFigure(figsize=(7.2, 4.2), layout="constrained")
        axes = fig.subplots(len(NULLS) + 1, 2, sharex="col", height_ratios=[1, *[n_examples] * len(NULLS)])
        for column, target in zip(axes.T, ("block", "feedback"), strict=True):
            usable = np.flatnonzero(~np.isnan(target_labels(target, trials)))
            for row, null in zip(column[1:], NULLS, strict=True):
                if null == "conditional" and target not in CHOSEN:
                    row.set(yticks=[])
                    row.spines[["left", "bottom"]].set_visible(False)
                    row.tick_params(bottom=False, labelbottom=False)
                    row.text(
                        0.5, 0.5, "for choice and feedback only", ha="center", va="center", transform=row.transAxes
                    )
                    continue
                shuffled = null_labels(null, target, trials, usable, n_examples, 0, donors=donors)[1]
                _strips(row, usable, shuffled)
            _strips(column[0], usable, target_labels(target, trials)[usable][None])
            column[0].set_title(f"{target}: {'left, right' if target == 'block' else 'reward, error'} (blue, orange)")
            column[-1].set_xlabel("trial")
        for axis, name in zip(axes[:, 0], ("real", *NULLS), strict=True):
            axis.set_ylabel(name, rotation=0, ha="right", va="center")
    return fig


def _codes(labels: np.ndarray) -> np.ndarray:
    return np.nan_to_num(labels, nan=-1)


def _strips(axis, usable: np.ndarray, rows: np.ndarray) -> None:
    """Draw label vectors below each other, each label at its trial."""
    image = np.full((len(rows), N_TRIALS), -1.0)
    image[:, usable] = rows
    axis.imshow(image, cmap=CLASSES, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axis.set(yticks=[])
    for y in np.arange(1, len(rows)) - 0.5:
        axis.axhline(y, color="white", lw=1)


if __name__ == "__main__":
    folder = Path(__file__).parent / "images"
    for draw in (drift, kinds):
        save(draw(), folder / f"null_{draw.__name__}.png", {"made by": "docs/draw_nulls.py"}, dpi=150)
