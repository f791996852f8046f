"""What is a finding of the code: k*, k_half and how many cells carry the signal, on planted rows and simulated mice."""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import pytest
from support.populations import EPS, Population, population

from pipeline.decoding import NDCSettings, code_trend, fit_curve, neuron_dropping_curve
from pipeline.decoding.code_spread import code_spread
from pipeline.decoding.drift import change_over_days
from schemas.decoding.changing_noise import Measured
from schemas.decoding.finding import OF_DAYS, SPREAD, knows_spread, notes_on_mice
from schemas.decoding.over_mice import question_of
from schemas.decoding.rows import trend_row

PLAIN = NDCSettings("choice")


def days(slopes: tuple[float | None, float | None], fixed: tuple, day: tuple) -> dict[str, dict]:
    """Return trends of k* and k_half with the given slopes and p."""
    return {
        quantity: {"day_slope": slopes[i], "fixed_p": fixed[i], "day_p": day[i]}
        for i, quantity in enumerate(("code_k", "half_k"))
    }


FOUND = days((-0.1, -0.2), (0.3, 0.4), (0.01, 0.05))
LEAST = SPREAD.least


@pytest.mark.parametrize(
    ("trends", "spread", "doubt"),
    [
        (FOUND, LEAST, ""),
        (FOUND, LEAST - 0.01, "the share of the cells that carry the signal changes by +"),
        (FOUND, -2.0, "the share of the cells that carry the signal changes by -75%"),
        (FOUND, np.nan, "whether the share of the cells that carry the signal changes is not known"),
        # more cells are needed where fewer carry it
        (days((0.1, 0.2), (0.01, 0.01), (None, None)), -1.0, ""),
        (days((0.1, 0.2), (0.01, 0.01), (None, None)), 1.0, "the share of the cells that carry the signal changes by"),
        # nothing is found: there is nothing to doubt
        (days((-0.1, -0.2), (0.3, 0.4), (0.01, 0.06)), np.nan, ""),
        (days((-0.1, 0.2), (0.01, 0.01), (0.01, 0.01)), np.nan, ""),
        (days((-0.1, None), (0.01, None), (0.01, None)), np.nan, ""),
        ({"code_k": FOUND["code_k"]}, np.nan, ""),
    ],
)
def test_a_change_of_the_code_is_one_of_how_many_cells_carry_the_signal(trends, spread, doubt):
    found = OF_DAYS.doubt(trends, spread)
    assert found.startswith(doubt) and bool(found) == bool(doubt)


def test_of_several_mice_changes_and_differences_without_cells_that_carry_more_are_noted():
    settings = PLAIN, NDCSettings("choice", regions=("VISp",))
    first, second = map(question_of, settings)
    mouse_of = {f"set {mouse}": mouse for mouse in "AB"}
    tasks = [{"session_set": one, "ndc_params": f"params {i}", "subject": mouse, **settings[i].as_columns()}
             for one, mouse in mouse_of.items() for i in (0, 1)]  # fmt: skip
    names, pair = {first: "choice", second: "choice in VISp"}, "choice in VISp minus choice"
    dates = {f"day {day}": datetime.date(2024, 5, 1 + day) for day in range(5)}

    def notes(means: dict | None, differences: dict | None, octaves: dict[int, tuple[float, float]]) -> list[str]:
        """With log2 of the share of the cells on the first and on the last day, by question."""
        spread = {
            (one, f"params {i}"): dict(zip(dates, 0.1 * 2 ** np.linspace(*octaves[i], 5), strict=True))
            for one in mouse_of for i in octaves
        }  # fmt: skip
        measured = Measured(tasks, {"params 0": first, "params 1": second}, dates, {"code_spread": spread})
        rows = [[{**place, "quantity": one, **(columns or {})} for one in ("code_k", "half_k") if columns]
                for place, columns in (({"question": first, "question_name": "choice"}, means),
                    ({"question": first, "other_question": second, "pair_name": pair}, differences))]  # fmt: skip
        return notes_on_mice(measured, names, *rows)

    found = {"mean_slope": -0.1, "mean_p": 0.01, "n_mice": 2}
    assert notes(found, None, {0: (0, LEAST + 0.01)}) == []
    (little,) = notes(found, None, {0: (0, LEAST - 0.01)})
    assert little.startswith("choice: the mean slope of k* and k_half is found, but no finding of the code: the share")
    (unknown,) = notes(found, None, {1: (0, 2)})
    assert unknown.endswith("carry the signal changes on average is not known")
    assert notes({**found, "mean_p": 0.06}, None, {}) == []
    assert len(notes({**found, "n_mice": 4}, None, {0: (0, 2)})) == 1  # known of two of four mice
    of_levels = {"level_difference": 0.3, "level_p": 0.01, "slope_difference": 0.3, "difference_p": 0.9}
    of_levels |= {"n_pairs": 2, "n_level_pairs": 2}
    assert notes(None, of_levels, {0: (1, 1), 1: (0, 0)}) == []
    (alike,) = notes(None, of_levels, {0: (1, 1), 1: (1, 1)})
    assert alike.startswith(f"{pair}: the mean difference of k* and k_half is found, but no finding") and "+0%" in alike
    of_slopes = {**of_levels, "level_p": 0.9, "difference_p": 0.01}
    assert notes(None, of_slopes, {0: (0, 1), 1: (1, 1)}) == []
    (alike,) = notes(None, of_slopes, {0: (0, 1), 1: (1, 2)})
    assert alike.startswith(f"{pair}: the difference of slopes")


def test_it_is_not_known_beyond_the_stimulus_and_of_numbers():
    numbers = NDCSettings("speed", labels="1" * 32, metric="r2")
    strict = NDCSettings("choice", beyond="stimulus")
    assert [knows_spread(one) for one in (PLAIN, strict, numbers)] == [True, False, False]


def mouse(days: list[Population], number: int) -> tuple[dict[str, dict], float]:
    """Return the trends of a simulated mouse of 150 trials a day, by quantity, and the change of the spread."""
    fits, spread = [], []
    for day, cells in enumerate(days):
        X, y = cells.sample(150, np.random.default_rng([number, day, 54]))
        curve = neuron_dropping_curve(X, y, ks=(8, 16, 32, 64, 100), R=10, n_label_shuffles=0, seed=day)
        fits.append(fit_curve(curve.ks, curve.scores, influences=curve.influences, n_bootstrap=0))
        spread.append(float(np.log2(code_spread(X, y))))
    trends = [code_trend(fits, range(len(days)), at=at) for at in ("ceiling", "half")]
    return {trend.quantity: trend_row(trend) for trend in trends}, change_over_days(spread, range(len(days)))


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["shared noise", "code"])
def test_simulated_mice_whose_shared_noise_grows_or_whose_code_changes(truth):
    """Both are found in the curves; the first are none of the code, and nothing else says so: of one it is not seen."""
    found, doubted = 0, 0
    for number in range(6):
        rng = np.random.default_rng([number, 55])
        if truth == "code":
            signs, order = 2 * rng.choice([-1.0, 1.0], 100), rng.permutation(100)
            days = [Population(np.where(order < round(100 * share), signs, 0.0), EPS)
                    for share in np.geomspace(0.06, 0.44, 8)]  # fmt: skip
        else:
            cells = population("limited", 100, rng)
            days = [replace(cells, eps=float(eps)) for eps in np.geomspace(0.1, 0.6, 8)]
        trends, spread = mouse(days, number)
        found += OF_DAYS.is_found(trends)
        doubted += bool(OF_DAYS.doubt(trends, spread))
    least, most = (0, 0) if truth == "code" else (found - 1, found)
    assert found >= 3 and least <= doubted <= most, (found, doubted)
