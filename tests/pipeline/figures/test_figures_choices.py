"""What the figure of a session's choices shows, read back from its axes."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.figures import ChoiceModelPanels, choice_model
from pipeline.figures.choices import HABITS


def panels(**change) -> ChoiceModelPanels:
    n = 60
    values = {
        "bias": np.linspace(-1, 1, n), "bias_sd": np.full(n, 0.5), "gain": np.zeros(n), "gain_sd": np.ones(n),
        "probability_left": np.repeat([0.5, 0.8, 0.2], 20),
        "weights": {**{name: (0.1 * i, 0.2) for i, name in enumerate(HABITS)}, "contrast_1": (3.0, 1.0)},
        "checks": {"inside": (0.5, 0.4, 0.2, 0.6), "beyond": (0.9, 0.4, 0.2, 0.6), "none": (np.nan,) * 4},
    }  # fmt: skip
    return ChoiceModelPanels(**(values | change))


def test_curves_intervals_and_features_are_those_given():
    fig = choice_model(panels(), title="a mouse")
    bias, habits, stimulus, check = fig.axes
    np.testing.assert_allclose(bias.lines[-1].get_ydata(), np.linspace(-1, 1, 60))
    band = bias.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(-1 - 1.96 * 0.5) and band.max() == pytest.approx(1 + 1.96 * 0.5)
    np.testing.assert_allclose(stimulus.lines[-1].get_ydata(), 3.0)
    assert [label.get_text() for label in habits.get_yticklabels()] == list(HABITS.values())
    # the first is on top
    np.testing.assert_allclose(habits.lines[1].get_ydata(), np.arange(len(HABITS))[::-1])
    np.testing.assert_allclose(habits.lines[1].get_xdata(), np.arange(len(HABITS)) / 10)
    points = [line for line in check.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in points] == pytest.approx([0.5, 2.5])
    assert points[0].get_color() != points[1].get_color()
    assert fig.get_suptitle() == "a mouse"
    # two blocks, and no stripe where both sides are as probable
    assert [patch.get_x() for patch in bias.patches] == [20, 40]


def test_models_of_former_versions_are_drawn_with_the_habits_that_they_have():
    weights = dict.fromkeys(("block", "win", "lose", "choices_5", "choices_20", "contrast_1"), (0.1, 0.2))
    habits = choice_model(panels(weights=weights)).axes[1]
    assert [label.get_text() for label in habits.get_yticklabels()] == list(HABITS.values())[:5]
    assert len(habits.lines[1].get_ydata()) == 5


def test_a_session_without_trials_or_weights_is_refused():
    with pytest.raises(ValueError, match="no trial"):
        choice_model(panels(bias=np.empty(0)))
    with pytest.raises(ValueError, match="lack contrast_1"):
        choice_model(panels(weights=dict.fromkeys(HABITS, (0.0, 1.0))))
