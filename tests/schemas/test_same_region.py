"""Cells that stay beside others, where curves of several regions were asked for together."""

from __future__ import annotations

import datetime

import pytest

from pipeline.decoding import NDCSettings
from schemas.decoding.results import NDCRun, TargetRun
from schemas.decoding.survivorship import differences

#: Scores of four cells by region and kind: in each region, lost cells are another step below those that stay.
SCORES = {
    ("VISp", "shared"): 0.80, ("VISp", "lost"): 0.75, ("RSP", "shared"): 0.60, ("RSP", "lost"): 0.50,
}  # fmt: skip


def target(region: str, kind: str, score: float) -> TargetRun:
    point = {"k": 4, "score_mean": score, "score_sd": 0.02, "mean_low": score - 0.03, "mean_high": score + 0.03}
    rows = [{"eid": f"day {day}", "n_cells": 16, "curve": [point]} for day in range(3)]
    name = f"stimulus {region} {kind}"
    return TargetRun(name, NDCSettings("stimulus", regions=(region,), cells=kind), "", rows, None, [])


@pytest.mark.parametrize("backwards", [False, True])
def test_lost_cells_are_compared_with_those_that_stay_in_their_region(backwards):
    targets = [target(*place, score) for place, score in SCORES.items()]
    run = NDCRun("SP999", "", {}, datetime.date(2024, 1, 1), 16, {}, targets[::-1] if backwards else targets)
    found = {name: difference.mean for name, (_, difference) in differences(run).items()}
    expected = {f"stimulus {region} lost": SCORES[region, "lost"] - SCORES[region, "shared"]
                for region in ("VISp", "RSP")}  # fmt: skip
    assert found == pytest.approx(expected)
