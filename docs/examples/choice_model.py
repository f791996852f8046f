"""The model of a session's choices: side bias and use of the stimulus over trials, habits, and the check."""

import numpy as np

from pipeline.figures import ChoiceModelPanels, choice_model

rng = np.random.default_rng(5)
trial = np.arange(500)
blocks = np.where(trial < 90, 0.5, np.where((trial - 90) // 60 % 2, 0.2, 0.8))
session = ChoiceModelPanels(
    bias=0.8 * np.sin(trial / 90) + 0.1 * np.cumsum(rng.normal(size=500)) / 10, bias_sd=np.full(500, 0.3),
    gain=-0.8 * trial / 500, gain_sd=0.3 + 0.2 * trial / 500, probability_left=blocks,
    weights={
        "block": (0.9, 0.2), "win": (0.3, 0.15), "lose": (-0.2, 0.2), "choices_5": (0.4, 0.2), "choices_20": (0.1, 0.2),
        "contrast_1": (4.0, 0.4),
    },
    checks={
        "bias variance": (0.031, 0.030, 0.012, 0.060), "bias trend": (-0.10, 0.00, -0.25, 0.25),
        "accuracy variance": (0.004, 0.003, 0.001, 0.008), "accuracy trend": (-0.08, -0.06, -0.16, 0.04),
        "win-stay": (0.55, 0.53, 0.48, 0.58), "after error": (0.62, 0.76, 0.66, 0.84),
    },
)  # fmt: skip
figure = choice_model(session, title="A mouse that tires, and does worse after errors than the model")
