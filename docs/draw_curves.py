"""Draw the pictures of docs/science/curves.md from simulated curves: python docs/draw_curves.py."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.decoding.fits.curve import CurveFit, fit_curve
from pipeline.decoding.fits.families import FAMILIES, family_curve
from pipeline.decoding.fits.together import benjamini_hochberg, common_ceiling_k_star
from pipeline.figures import Curve, StyledFigure, ndc_overlay, save, session_colors, style
from pipeline.figures.ndc import draw_curves

KS = np.array([8, 16, 32, 64, 128, 200])
FAMILY_COLORS = dict(zip(FAMILIES, ("#0072b2", "#d55e00", "#009e73"), strict=True))


def exponential(k: np.ndarray, top: float, tau: float) -> np.ndarray:
    """Return the score of k neurons: chance at 0, close to `top` after a few `tau`."""
    return top - (top - 0.5) * np.exp(-k / tau)


def session(truth: Callable[[np.ndarray], np.ndarray], *, seed: int, day: int = 0, trial_sd: float = 0.01,
            ks: np.ndarray = KS, **change: object) -> tuple[Curve, CurveFit]:  # fmt: skip
    """Simulate a session: 50 subsets, 200 shuffles, and trial noise that is correlated between neighbouring k."""
    rng = np.random.default_rng(seed)
    shared = np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(np.log2(ks), np.log2(ks))) / 3))
    mean = truth(ks) + trial_sd * shared @ rng.normal(size=len(ks))
    spread = 0.35 / np.sqrt(ks) * np.sqrt(1.02 - ks / ks[-1])
    scores = np.clip(mean[:, None] + spread[:, None] * rng.normal(size=(len(ks), 50)), 0, 1)
    trial_means = scores.mean(axis=1)[:, None] + trial_sd * shared @ rng.normal(size=(len(ks), 200))
    null = 0.5 + 0.03 * shared @ rng.normal(size=(len(ks), 200))
    p = (1 + (null >= scores.mean(axis=1)[:, None]).sum(axis=1)) / 201
    fit = fit_curve(ks, scores, trial_means=trial_means, p_values=p)
    fit_k, fit_score = fit.line()
    values = {
        "label": f"{seed:03d}", "date": datetime.date(2025, 3, 1) + datetime.timedelta(day), "ks": ks,
        "mean": fit.mean, "sd": scores.std(axis=1), "null_lo": np.percentile(null, 2.5, axis=1),
        "null_hi": np.percentile(null, 97.5, axis=1), "ceiling": fit.mean[-1], "k_star": fit.k_star, "n_trials": 240,
        "mean_low": fit.mean_low, "mean_high": fit.mean_high, "p_value": p[-1], "fit_k": fit_k,
        "fit_score": fit_score, "verdict": fit.verdict, "k_star_low": fit.k_star_low,
        "k_star_high": fit.k_star_high, "k_star_censored": fit.k_star_censored,
    }  # fmt: skip
    return Curve(**(values | change)), fit


def reading() -> StyledFigure:
    """Draw one curve with every element that a figure can have."""
    curve, _ = session(lambda k: exponential(k, 0.9, 28), seed=3)
    return ndc_overlay([curve], target="choice", title="One session: choice from 200 cells")


def families() -> StyledFigure:
    """Draw three fits to the same six scores, within the measured k and beyond."""
    truth = family_curve("information", {"s": 0.05, "epsilon": 0.012}, KS)
    rng = np.random.default_rng(1)
    scores = truth[:, None] + 0.05 * rng.normal(size=(len(KS), 50))
    mean = scores.mean(axis=1)
    k = np.geomspace(KS[0], 3000, 300)
    with style():
        fig = StyledFigure(figsize=(7.2, 3), layout="constrained")
        for i, (ax, last) in enumerate(zip(fig.subplots(1, 2, sharey=True), (KS[-1], k[-1]), strict=True)):
            for family, color in FAMILY_COLORS.items():
                ax.plot(k, alone(family, mean)(k), color=color, label=family)
            ax.plot(KS, mean, "o", color="0.2", markersize=4, zorder=3, label="mean score")
            ax.axvspan(KS[-1], k[-1], color="0.95", linewidth=0, zorder=0)
            ax.set_xscale("log", base=2)
            ax.set_xlim(KS[0] * 0.85, last * 1.15)
            ticks = [number for number in (*KS, 512, 1024, 2048) if number <= last and (i == 0 or number != 200)]
            ax.set_xticks(ticks, [f"{number}" for number in ticks])
            ax.minorticks_off()
            ax.set_xlabel("number of neurons k")
            ax.set_title(("a  within the measured k", "b  beyond it (grey)")[i])
        fig.axes[0].set_ylabel("AUC")
        fig.axes[1].legend(loc="lower right")
    return fig


def alone(family: str, mean: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a family's least-squares fit, by scipy, because `fit_curve` returns only the family that it chooses."""
    from scipy.optimize import curve_fit

    start = {"inverse_sqrt": (0.9, 1.0), "information": (0.05, 0.01), "exponential": (0.9, 0.3, 40.0)}[family]

    def score(k, *values):
        return family_curve(family, dict(zip(FAMILIES[family], values, strict=True)), k)

    values, _ = curve_fit(score, KS, mean, p0=start)
    return lambda k: score(k, *values)


def verdicts() -> StyledFigure:
    """Draw a curve for each verdict."""
    shapes: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, np.ndarray]] = {
        "saturated": (lambda k: exponential(k, 0.92, 15), 0.008, KS),
        "not saturated": (lambda k: exponential(k, 0.95, 150), 0.008, KS),
        "uncertain": (lambda k: 0.88 - 0.75 / np.sqrt(k), 0.02, KS),
        "at chance": (lambda k: 0.5 + 0 * k, 0.02, KS),
        "decreasing": (lambda k: 0.78 - 0.07 * np.log2(k / 8) / 2, 0.008, KS),
        "too few k": (lambda k: exponential(k, 0.92, 40), 0.008, KS[2:5]),
    }
    made = {
        word: session(truth, seed=7, trial_sd=trial_sd, ks=ks) for word, (truth, trial_sd, ks) in shapes.items()
    }  # fmt: skip
    (color,) = session_colors(["one"])
    with style():
        fig = StyledFigure(figsize=(7.2, 4.6), layout="constrained")
        for i, (word, (curve, fit)) in enumerate(made.items()):
            if fit.verdict != word:
                raise ValueError(f"the picture of {word!r} shows a curve that is {fit.verdict!r}")
            ax = fig.add_subplot(2, 3, i + 1)
            frame = [one for one, _ in made.values()]
            draw_curves(ax, [curve], [color], [word], metric="auc", frame=frame, n_rows=1)
            ax.set_title(word)
            if i % 3:
                ax.set_ylabel("")
            if i < 3:
                ax.set_xlabel("")
    return fig


def many_days() -> list[Curve]:
    """Return curves of twelve sessions that need fewer neurons every day; one of them is at chance."""
    days = [0, 2, 3, 5, 8, 9, 10, 14, 15, 17, 20, 21]
    made = []
    for i, day in enumerate(days):
        tau = 60 * 2 ** (-day / 5) + 3
        truth = (lambda k: 0.5 + 0 * k) if i == 1 else (lambda k, tau=tau: exponential(k, 0.92, tau))
        made.append(session(truth, seed=20 + i, day=day)[0])
    q = benjamini_hochberg([curve.p_value for curve in made])
    return [Curve(**{**vars(curve), "q_value": value}) for curve, value in zip(made, q, strict=True)]


def sessions() -> StyledFigure:
    """Draw the curves of twelve sessions."""
    return ndc_overlay(many_days(), target="choice", title="Twelve sessions: choice from 200 shared cells")


def ceiling() -> StyledFigure:
    """Draw two sessions with different ceilings."""
    made = [session(lambda k, top=top, tau=tau: exponential(k, top, tau), seed=40 + i, day=i, trial_sd=0.003)
            for i, (top, tau) in enumerate(((0.76, 24), (0.94, 30)))]  # fmt: skip
    curves, fits = [curve for curve, _ in made], [fit for _, fit in made]
    common = common_ceiling_k_star(KS, [fit.mean for fit in fits], [fit.mean[-1] for fit in fits])
    colors = session_colors([0, 1])
    level = min(fit.mean[-1] for fit in fits) - 0.02
    with style():
        fig = StyledFigure(figsize=(7.2, 2.9), layout="constrained")
        for i, (ax, title) in enumerate(zip(fig.subplots(1, 2), ("own ceiling", "common ceiling"), strict=True)):
            shown = [
                Curve("", curve.date, KS, curve.mean, 0 * KS, ceiling=curve.ceiling,
                      k_star=[curve.k_star, common[j]][i])
                for j, curve in enumerate(curves)
            ]  # fmt: skip
            draw_curves(ax, shown, colors, ["first", "second"], metric="auc")
            stars = ", ".join(f"{curve.k_star}" for curve in shown)
            ax.set_title(f"{'ab'[i]}  {title}: k* = {stars}")
            if i:
                ax.axhline(level, color="0.3", linewidth=0.8, zorder=1)
                ax.set_ylabel("")
    return fig


PICTURES: dict[str, Callable[[], StyledFigure]] = {
    "curve_reading": reading,
    "curve_families": families,
    "curve_verdicts": verdicts,
    "curve_ceiling": ceiling,
    "curve_sessions": sessions,
}


def draw(folder: Path, *, dpi: int = 130) -> list[Path]:
    """Draw all pictures into a folder and return their paths; each run gives the same bytes."""
    return [save(make(), folder / f"{name}.png", {"made by": "docs/draw_curves.py"}, dpi=dpi)
            for name, make in PICTURES.items()]  # fmt: skip


if __name__ == "__main__":
    draw(Path(__file__).parent / "images")
