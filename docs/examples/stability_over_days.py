"""Stability of the responses of the same cells over days, corrected for the noise of each, with controls."""

import numpy as np

from pipeline.figures import stability_over_days
from pipeline.responses import DayResponses, StabilitySettings, stability

rng = np.random.default_rng(2)
dates, n_cells = [0, 1, 2, 5, 6, 8], 160
regions = np.repeat(["VISp", "RSP"], n_cells // 2)
kept = np.where(regions == "VISp", 0.97, 0.88)  # of each cell's code after a day
code, days = rng.normal(size=(26, n_cells)), []
for i, date in enumerate(dates):
    share = kept ** (date - dates[max(i - 1, 0)])
    code = share * code + np.sqrt(1 - share**2) * rng.normal(size=code.shape)
    even, odd = (code + 1.2 * rng.normal(size=code.shape) for _ in range(2))
    n = np.full(code.shape, 20)
    days.append(DayResponses(date, (even + odd) / 2, even, odd, n, n))
found = stability(days, regions, StabilitySettings(n_shuffles=200, n_bootstrap=400))


def gaps(measure, region="all"):
    """Distance, stability and its interval of a population."""
    return np.array([
        [one.gap, one.value, one.low, one.high] for one in found.by_gap
        if (one.measure, one.region) == (measure, region)
    ])  # fmt: skip


figure = stability_over_days(
    {measure: gaps(measure) for measure in ("spearman", "population")},
    controls={
        name: np.array([[one.gap, one.mean, one.low, one.high] for one in found.controls if one.control == name])
        for name in ("features", "neurons", "matched")
    },
    regions={region: gaps("spearman", region) for region in ("VISp", "RSP")},
    slopes={one.measure: (one.slope, one.low, one.high) for one in found.slopes if one.region == "all"},
)  # fmt: skip
