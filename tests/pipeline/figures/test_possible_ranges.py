"""Figures show what a quantity can be, say what they cut, and keep titles apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipeline.decoding import DayTrend, code_trend, fit_curve, sensitivity_trend, transfer_decay
from pipeline.figures import (
    Curve,
    cell_responses,
    mice_over_days,
    ndc_overlay,
    stability_over_days,
    transfer_over_days,
    trends_over_days,
)
from pipeline.figures.transfer import decay_text

KS = np.array([1, 2, 4, 8, 16, 32])
NAME = "choice (ks=1+2+4+8+16+32, r=6, n_label_shuffles={}, n_bootstrap=40, penalty=scaled, win_start=-0.1)"


def a_mouse(seed: int, n_days: int = 4) -> dict[str, DayTrend]:
    """The trends of a mouse whose scores are near 1, and whose k* falls to about 1, with much scatter."""
    rng = np.random.default_rng(seed)
    days, curves = 2.0 * np.arange(n_days), []
    for day in days:
        d_prime = np.sqrt(12 * KS / (KS + 6 * 2 ** (-0.3 * day)))
        mean = np.clip(1 / (1 + np.exp(-1.2 * d_prime)) + 0.05 * rng.normal(), 0, 1)
        curves.append(fit_curve(KS, np.minimum(mean[:, None] + 0.01 * rng.normal(size=(6, 20)), 1)))
    score = sensitivity_trend(curves, days, quantity="score")
    of_code = {"code_k": code_trend(curves, days), "half_k": code_trend(curves, days, at="half")}
    return {**of_code, "common_k": sensitivity_trend(curves, days), "score": score}


def drawn(fig: Figure) -> Figure:
    fig.draw_without_rendering()
    return fig


def bands(ax) -> np.ndarray:
    """Heights of the corners of the bands in an axes."""
    return np.concatenate([path.vertices[:, 1] for one in ax.collections for path in one.get_paths()])


@pytest.mark.parametrize("draw", ["mice", "trends"])
def test_bands_end_where_the_quantity_does(draw):
    mice = {f"mouse {seed}": a_mouse(seed) for seed in (0, 5, 6, 7)[draw == "mice" :]}
    first = next(iter(mice))
    fig = (
        mice_over_days({"choice": mice}) if draw == "mice"
        else trends_over_days({"choice": mice[first]}, ceilings={"choice": [0.97] * 4})
    )  # fmt: skip
    shown = mice.values() if draw == "mice" else [mice[first]]
    for ax, quantity in zip(fig.axes, ("code_k", "half_k", "common_k", "score"), strict=False):
        values = np.concatenate([trend[quantity].values for trend in shown])
        if quantity == "score":
            assert bands(ax).max() <= max(1, np.nanmax(values)) and ax.get_ylim()[1] < 1.05
        else:
            assert bands(ax).min() >= min(1, np.nanmin(values))


@pytest.mark.parametrize("n_sessions", [1, 5])  # a band; and bars, of more sessions than bands can be read
def test_intervals_of_scores_of_numbers_go_below_0(n_sessions):
    mean = np.linspace(-0.1, -0.2, len(KS))
    low, high = mean - 0.15, mean + 0.15
    curves = [Curve("a", f"2024-05-0{day + 1}", KS, mean, 0 * mean, mean_low=low, mean_high=high)
              for day in range(n_sessions)]  # fmt: skip
    ax = ndc_overlay(curves, target="speed", metric="r2").axes[0]
    for band in ax.collections:
        ends = np.concatenate([path.vertices[:, 1] for path in band.get_paths()])
        assert ends.min() == pytest.approx(low.min()) and ends.max() == pytest.approx(high.max())
    assert ax.get_ylim()[0] < low.min()
    classes = [replace(one, mean=mean + 0.2, mean_low=low + 0.2, mean_high=high + 0.2) for one in curves]
    assert min(bands(ndc_overlay(classes, target="choice", metric="auc").axes[0])) == 0


def test_questions_with_long_names_keep_to_their_columns():
    mice = {f"mouse {seed}": a_mouse(seed) for seed in range(3)}
    fig = drawn(mice_over_days({NAME.format(19): mice, NAME.format(200): mice}, title="Three mice"))
    assert fig.get_suptitle() == "Three mice"
    left, right = (ax._left_title.get_window_extent() for ax in fig.axes[:2])
    legend = fig.legends[0].get_window_extent()
    assert not left.overlaps(right) and not right.overlaps(legend)
    assert "n_label_shuffles=200" in fig.axes[1].get_title(loc="left").replace("\n", " ")


def test_transfer_has_the_interval_of_its_line_and_no_minus_of_nothing():
    scores = np.array(
        [[0.9, 0.52, 0.5, 0.51], [0.55, 0.91, 0.6, 0.49], [0.5, 0.58, 0.93, 0.6], [0.497, 0.5, 0.6, 0.95]]
    )
    decay = transfer_decay(scores, [0, 1, 3, 6])
    fig = transfer_over_days(scores - 0.5, list("abcd"), decay, metric="r2")
    (band,) = [one for one in fig.axes[1].collections if one.get_label() == "95 %, days"]
    corners = band.get_paths()[0].vertices
    x = decay.gaps.mean()
    middle = corners[np.abs(corners[:, 0] - x) < 0.1, 1]
    assert np.ptp(middle) == pytest.approx(decay.mean_high - decay.mean_low, rel=0.02)
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert ".00" in texts and "\u2212.00" not in texts and not any("-" in text for text in texts)
    assert decay.mean_low < 0 and "-" not in decay_text(decay)


def test_an_interval_beyond_the_axis_has_an_arrow():
    rows = np.array([[1, 0.9, -0.5, 3.4], [3, 0.7, 0.6, 0.8]])
    fig = stability_over_days({"spearman": rows[1:]}, regions={"VISp": rows})
    ax = fig.axes[1]
    (arrow,) = [line for line in ax.lines if line.get_label() == "cut"]
    assert arrow.get_marker() == "^" and arrow.get_ydata()[0] == ax.get_ylim()[1]
    assert "and beyond" in [text.get_text() for text in fig.legends[0].get_texts()]


def test_a_pair_of_sessions_has_whole_days_and_lower_panels():
    fig = drawn(stability_over_days({"spearman": np.array([[2, 0.9, 0.8, 1.0]])}))
    labels = [tick.get_text() for tick in fig.axes[0].get_xticklabels()]
    assert "2" in labels and not any("." in text for text in labels)
    few, more = (trends_over_days({"a": a_mouse(0, n)}, ceilings={"a": [1] * n}) for n in (2, 4))
    assert few.get_figheight() < 0.8 * more.get_figheight()


def test_a_panel_says_that_few_cells_could_not_be_selective():
    auroc, q = np.linspace(0.03, 0.97, 538), np.full(538, 0.24)
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in
              cell_responses(auroc, {"choice": auroc}, {"choice": q}, n_shuffles=200).axes]  # fmt: skip
    assert "0 of 538 cells selective (with 200 null labels not fewer than 54)" in titles[1]
    enough = cell_responses(auroc, {"choice": auroc}, {"choice": q}, n_shuffles=20 * 538)
    assert "null labels" not in enough.axes[1].get_title(loc="left")
