"""Readouts of each day tested on all days: the scores, and how transfer falls with the days between."""

import numpy as np

from pipeline.decoding import Day, NDCSettings, benjamini_hochberg, transfer_decay, transfer_scores
from pipeline.figures import transfer_over_days

rng = np.random.default_rng(2)
dates = ["2025-03-01", "2025-03-02", "2025-03-04", "2025-03-07", "2025-03-09", "2025-03-14"]
gone = [int(date[-2:]) - 1 for date in dates]
stays, turns = rng.normal(size=(2, 40)) / np.sqrt(40)


def day(number):
    """A session of 160 trials; the direction of the code turns by 6 degrees a day."""
    code = 1.6 * (np.cos(np.radians(6 * number)) * stays + np.sin(np.radians(6 * number)) * turns)
    y = rng.permutation(np.repeat([0, 1], 80)).astype(np.int8)
    null = np.array([rng.permutation(y) for _ in range(39)])
    return Day((y[:, None] - 0.5) * code + rng.normal(size=(160, 40)), y, null=null)


found = transfer_scores([day(number) for number in gone], NDCSettings("choice", r=10, penalty="scaled"))
q = benjamini_hochberg(found.of("p").ravel()).reshape(6, 6)
decay = transfer_decay(found.of("half_score"), gone)
figure = transfer_over_days(found.of("score"), dates, decay, q=q, title="A code that turns by 6 degrees a day")
