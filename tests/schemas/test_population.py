"""Slopes over the days of several mice in the database, against curves fitted one by one and textbook formulas."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import nct, ttest_1samp
from scipy.stats import t as student
from support.more_mice import another_mouse, forget_mouse

import schemas
from drawing.many import mice as draw_mice
from drawing.screen import print_mice, print_power
from pipeline.decoding import NDCSettings
from pipeline.decoding.fits.power import slope_error, trend_power
from pipeline.errors import ArgumentError, DataError, NotFoundError
from populate_scripts.cli import main
from schemas.decoding.cohorts import Power, compare_mice, power_of_trends, stored_mice
from schemas.decoding.run import NDCRun, run_ndc
from schemas.rows import content_key
from schemas.tracking import TrackingRun
from schemas.work.filling import fill

#: On both, test_backends.py compares the rows, before and after an update and a deletion.
pytestmark = pytest.mark.one_backend

TARGETS = ("stimulus", "feedback")
SMALL = {"ks": (2, 4, 8, 16, 32), "r": 6, "n_label_shuffles": 19, "n_bootstrap": 40, "penalty": "scaled"}
NAMES = ("mouse A", "mouse B")


@pytest.fixture(scope="module")
def run(demo_sessions) -> Iterator[NDCRun]:
    """The curves of the demo's mouse, and two more mice: one whose score falls, one with nothing but noise added."""
    if others := schemas.NDCParams.keys():  # mice are compared by all their curves, and other tests leave some
        (schemas.NDCParams & others).delete()
    result = run_ndc(demo_sessions, TrackingRun.register("SP999"), [NDCSettings(one, **SMALL) for one in TARGETS])
    rng = np.random.default_rng(3)
    for name, fall in zip(NAMES, (0.02, 0.0), strict=True):
        another_mouse(name, result.session_set, lambda scores, day, fall=fall: np.clip(
            scores - fall * day + 0.01 * rng.normal(size=scores.shape), 0, 1))  # fmt: skip
    yield result
    for name in NAMES:
        forget_mouse(name)
    for target in result.targets:
        (schemas.NDCParams & {"ndc_params": target.ndc_params}).delete()


@pytest.fixture(scope="module")
def mice(run):
    return compare_mice(["SP999", *NAMES])


def sessions_of(subject: str, ndc_params: str) -> tuple[np.ndarray, np.ndarray]:
    """Return days and mean scores at k = 8 of a mouse, from the rows of its curves."""
    rows = (schemas.NDCResult.Curve * schemas.Session.proj("subject", "session_date")).to_dicts(order_by="session_date")
    rows = [row for row in rows if (row["subject"], row["ndc_params"], row["k"]) == (subject, ndc_params, 8)]
    days = np.array([(row["session_date"] - rows[0]["session_date"]).days for row in rows])
    return days, np.array([row["score_mean"] for row in rows])


def fitted(days: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return slope and squared residuals of a line."""
    (slope, _), residuals, *_ = np.polyfit(days, values, 1, full=True)
    return slope, residuals[0]


def test_slopes_and_their_mean_are_those_of_lines_through_the_days(mice, run):
    assert mice.subjects == sorted(["SP999", *NAMES]) and all(" of the code" in one for one in mice.notes)
    assert {row["question_name"] for row in mice.means} == set(TARGETS)
    for target in run.targets:
        days, found = zip(*[sessions_of(name, target.ndc_params) for name in mice.subjects], strict=True)
        slopes, squares = zip(*map(fitted, days, found), strict=True)
        row = next(r for r in mice.means if (r["question_name"], r["quantity"]) == (target.name, "score"))
        assert (row["n_mice"], row["n_without"]) == (3, 0)
        stored = [r for r in mice.slopes if (r["question_name"], r["quantity"]) == (target.name, "score")]
        assert [r["subject"] for r in stored] == mice.subjects
        assert [r["mouse_slope"] for r in stored] == pytest.approx(slopes)
        # four days of each of three mice: two degrees of freedom each, and the same days
        scatter = np.sqrt(np.sum(squares) / 6)
        assert row["day_sd"] == pytest.approx(scatter)
        assert [r["mouse_error"] for r in stored] == pytest.approx(
            [scatter / np.sqrt(((one - one.mean()) ** 2).sum()) for one in days]
        )
        # with equal errors Hartung and Knapp's interval is that of a t-test over mice
        assert row["mean_slope"] == pytest.approx(np.mean(slopes))
        half = student.ppf(0.975, 2) * np.std(slopes, ddof=1) / np.sqrt(3)
        assert (row["mean_low"], row["mean_high"]) == pytest.approx((np.mean(slopes) - half, np.mean(slopes) + half))
        between = max(0, np.var(slopes, ddof=1) - stored[0]["mouse_error"] ** 2)
        assert row["between_sd"] == pytest.approx(np.sqrt(between), abs=1e-9)


def test_differences_within_mice_are_those_of_the_days(mice, run):
    first, second = run.targets
    (row,) = (r for r in mice.differences if r["quantity"] == "score")
    assert row["pair_name"] == "stimulus minus feedback"  # in the order of the names
    sign = -1
    slopes, levels = [], []
    for name in mice.subjects:
        (days, a), (_, b) = (sessions_of(name, target.ndc_params) for target in (first, second))
        slopes.append(sign * np.polyfit(days, b - a, 1)[0])
        levels.append(sign * np.mean(b - a))
    assert row["n_pairs"] == 3
    assert row["slope_difference"] == pytest.approx(np.mean(slopes))
    half = student.ppf(0.975, 2) * np.std(slopes, ddof=1) / np.sqrt(3)
    assert row["difference_high"] - row["difference_low"] == pytest.approx(2 * half)
    # with as many days in each mouse, a t-test over mice
    assert row["n_level_pairs"] == 3 and row["level_difference"] == pytest.approx(np.mean(levels))
    half = student.ppf(0.975, 2) * np.std(levels, ddof=1) / np.sqrt(3)
    assert row["level_high"] - row["level_low"] == pytest.approx(2 * half)
    # the common score of one target is not that of another
    (row,) = (r for r in mice.differences if r["quantity"] == "common_k")
    assert (row["n_level_pairs"], row["level_difference"]) == (0, None)


def test_a_mean_that_is_mostly_of_one_mouse_is_noted(mice):
    """The weights are as of a mouse with many more days: its slope alone is found, and says little of other mice."""
    row = next(one for one in mice.means if one["quantity"] == "score")
    what = row["question_name"], "score"
    of_mice = [one for one in mice.slopes if (one["question_name"], one["quantity"]) == what]
    slopes = [-0.1, 0.3, -0.4]
    parts = (schemas.NDCPopulation.Mean(), schemas.NDCPopulation.Slope())
    keys = [{name: one[name] for name in schemas.NDCPopulation.Slope.primary_key} for one in of_mice]
    of_mean = {name: row[name] for name in schemas.NDCPopulation.Mean.primary_key}

    def notes(weights: list[float], p: float) -> list[str]:
        parts[0].update1({**of_mean, "mean_p": p})
        for key, slope, weight in zip(keys, slopes, weights, strict=True):
            parts[1].update1({**key, "mouse_slope": slope, "mouse_weight": weight})
        return [note for note in stored_mice(mice.cohort).notes if "of the weight" in note]

    try:
        (note,) = notes([0.96, 0.02, 0.02], 0.003)
        assert notes([0.96, 0.02, 0.02], 0.2) == notes([0.5, 0.25, 0.25], 0.003) == []
    finally:
        parts[0].update1({**of_mean, "mean_p": row["mean_p"]})
        for key, one in zip(keys, of_mice, strict=True):
            parts[1].update1({**key, **{name: one[name] for name in ("mouse_slope", "mouse_weight")}})
    p = ttest_1samp(slopes, 0).pvalue
    assert note.startswith(
        f"{row['question_name']}, score: {of_mice[0]['subject']} has 96% of the weight of the mean slope"
    )
    assert "p = 0.003 is too small" in note and f"equal weights p = {p:.2g}" in note


def test_a_change_of_k_star_that_half_of_the_signal_does_not_have_is_noted(mice):
    parts = {"mean_p": schemas.NDCPopulation.Mean(), "level_p": schemas.NDCPopulation.Difference()}
    rows = {
        column: [one for one in found if one[name] == found[0][name] and one["quantity"] in ("code_k", "half_k")]
        for column, name, found in (
            ("mean_p", "question_name", mice.means), ("level_p", "pair_name", mice.differences)
        )
    }  # fmt: skip

    def notes(column: str, code: float, half: float, start: str = "") -> list[str]:
        for row, p in zip(rows[column], (code, half), strict=True):
            key = {name: row[name] for name in parts[column].primary_key}
            parts[column].update1({**key, column: p})
        found = [note for note in stored_mice(mice.cohort).notes if note.startswith(start)]
        return [note for note in found if "but no finding of the code" not in note]  # of both, see test_finding.py

    for column, name, what in (
        ("mean_p", "question_name", "the mean slope"), ("level_p", "pair_name", "the mean difference")
    ):  # fmt: skip
        assert [row["quantity"] for row in rows[column]] == ["code_k", "half_k"]
        before = [row[column] for row in rows[column]]
        start = f"{rows[column][0][name]}: {what}"
        try:
            (note,) = notes(column, 0.004, 0.3, start)
            (reverse,) = notes(column, 0.3, 0.004, start)
            assert notes(column, 0.004, 0.03, start) == notes(column, 0.3, 0.4, start) == []
        finally:
            notes(column, *before)
        assert note.startswith(f"{start} of log2 k* is found (p = 0.004), but not that of log2 k_half (p = 0.3)")
        assert reverse.startswith(f"{start} of log2 k_half is found (p = 0.004), but not that of log2 k* (p = 0.3)")


def test_noise_and_drift_that_change_on_average_are_noted(mice, run, capsys):
    """What one mouse alone would not have a note for is found in the mean of several."""
    assert not [note for note in mice.notes if "on average" in note]
    target, table, drift = run.targets[0], schemas.TrialFeatures(), schemas.NDCComparison.Drift()
    asked = {"ndc_params": target.ndc_params}
    dated = schemas.SessionSet.proj("subject") * schemas.Session.proj("session_date")
    rows = ((schemas.TrialFeatures & asked).proj("noise_level", "noise_mean") * dated).to_dicts()
    drifts = (drift & run.family & asked).to_dicts()
    assert len(rows) == 3 * len(drifts) == 12 and all(row["noise_level"] for row in rows)
    day_of = {row["eid"]: (row["session_date"] - run.first_date).days for row in rows}
    last = max(day_of.values())

    def said(names: tuple[str, ...] = ("noise_level", "noise_mean"), **octaves: float) -> list[str]:
        for row in rows:
            place = {name: row[name] for name in schemas.TrialFeatures.primary_key}
            level = 0.1 * 2 ** (octaves[row["subject"][-1]] * day_of[row["eid"]] / last)
            table.update1({**place, **dict.fromkeys(names, level)})
        again = stored_mice(mice.cohort)
        print_mice(again)
        return [note for note in again.notes if "changes over the days" in note]

    try:
        (noisier,) = said(**{"9": 0.3, "A": 0.2, "B": -0.05})
        assert noisier in capsys.readouterr().out.replace("\n", " ")
        assert said(**{"9": 0.3, "A": -0.2, "B": -0.05}) == []
        said(**{"9": 0.0, "A": 0.0, "B": 0.0})
        (part,) = said(("noise_mean",), **{"9": 0.3, "A": 0.2, "B": -0.05})
        for row in drifts:
            drift.update1({**row, "drift_share": 0.02 + 0.06 * day_of[row["eid"]] / last})
        (drifting,) = said(**{"9": 0.0, "A": 0.0, "B": 0.0})
    finally:
        for row in rows:
            names = (*schemas.TrialFeatures.primary_key, "noise_level", "noise_mean")
            table.update1({name: row[name] for name in names})
        for row in drifts:
            drift.update1(row)
    name = target.name
    assert noisier.startswith(
        f"{name}: noise of the traces changes over the days by +11% on average (SP999 +23%, mouse A +15%, mouse B -3%)"
    )
    assert drifting.startswith(f"{name}: drift within sessions changes over the days by +0.06 on average (SP999 +0.06)")
    assert "no finding of the code" in noisier and "no finding of the code" in drifting
    assert part.startswith(f"{name}: noise of a part of the traces changes over the days by +11% on average (SP999 +23")


def test_a_mean_slope_of_both_k_is_of_the_code_if_more_cells_carry_the_signal(mice, run):
    target, table, part = run.targets[0], schemas.TrialFeatures(), schemas.NDCPopulation.Mean()
    dated = schemas.SessionSet.proj("subject") * schemas.Session.proj("session_date")
    rows = ((schemas.TrialFeatures & {"ndc_params": target.ndc_params}).proj("code_spread") * dated).to_dicts()
    day_of = {row["eid"]: (row["session_date"] - run.first_date).days for row in rows}
    means = [row for row in mice.means
             if row["question_name"] == target.name and row["quantity"] in ("code_k", "half_k")]  # fmt: skip
    assert len(rows) == 12 and len(means) == 2

    def said(octaves: float, days: int = 4) -> list[str]:
        """With the share of the cells known on so many days of each mouse."""
        for row in rows:
            share = 0.1 * 2 ** (octaves * day_of[row["eid"]] / max(day_of.values()))
            is_known = (
                sorted(day_of[one["eid"]] for one in rows if one["subject"] == row["subject"]).index(day_of[row["eid"]])
                < days
            )
            place = {name: row[name] for name in schemas.TrialFeatures.primary_key}
            table.update1({**place, "code_spread": share if is_known else None})
        notes = stored_mice(mice.cohort).notes
        return [note for note in notes if note.startswith(f"{target.name}: the mean slope of k* and k_half")]

    try:
        for row in means:
            place = {name: row[name] for name in part.primary_key}
            part.update1({**place, "mean_slope": -0.1, "mean_p": 0.01})
        assert said(1.0) == said(2.0, days=3) == []
        (little,) = said(0.3)
        (other_way,) = said(-1.0)
        (unknown,) = said(1.0, days=2)
    finally:
        for row in means:
            part.update1({name: row[name] for name in (*part.primary_key, "mean_slope", "mean_p")})
        for row in rows:
            table.update1({name: row[name] for name in (*schemas.TrialFeatures.primary_key, "code_spread")})
    assert "changes on average by +23% (by at least +62% with a change of the code)" in little
    assert "by -50%" in other_way and unknown.endswith("changes on average is not known")


def test_a_difference_of_the_code_between_cells_of_other_noise_is_noted(mice, run):
    """As of two regions: noisier cells have a larger k with the same code."""
    table, part = schemas.TrialFeatures(), schemas.NDCPopulation.Difference()
    pairs = [one for one in mice.differences if one["quantity"] in ("code_k", "half_k")]
    pair = pairs[0]
    places = [{name: one[name] for name in part.primary_key} for one in pairs]
    name_of = {row["question"]: row["question_name"] for row in mice.means}
    second = next(one for one in run.targets if one.name == name_of[pair["other_question"]])
    asked = [{"ndc_params": one.ndc_params} for one in run.targets]
    rows = (table & asked).proj("noise_level", "noise_mean").to_dicts()
    assert len(rows) == 24

    def said(octaves: float, p: float | None, names: tuple[str, ...] = ("noise_level", "noise_mean")) -> list[str]:
        for place in places:
            part.update1({**place, "level_p": p})
        for row in rows:
            level = 0.1 * 2 ** (octaves * (row["ndc_params"] == second.ndc_params))
            table.update1({**{name: row[name] for name in table.primary_key}, **dict.fromkeys(names, level)})
        return [note for note in stored_mice(mice.cohort).notes if "on average over mice" in note]

    try:
        (note,) = said(0.15, 0.01)
        assert said(0.05, 0.01) == said(0.15, 0.2) == said(0.15, None) == said(0.0, 0.01) == []
        (of_part,) = said(0.15, 0.01, ("noise_mean",))
    finally:
        for place, one in zip(places, pairs, strict=True):
            part.update1({**place, "level_p": one["level_p"]})
        for row in rows:
            table.update1(row)
    assert note.startswith(f"{pair['pair_name']}: noise of the traces differs by +11% on average over mice")
    assert of_part.startswith(f"{pair['pair_name']}: noise of a part of the traces differs by +11% on average over")
    assert "no finding of the code" in note


def test_two_mice_have_a_mean_without_an_interval(run, capsys):
    found = compare_mice(NAMES)
    with_slope = [row for row in found.means if row["n_mice"]]
    assert {row["n_mice"] + row["n_without"] for row in found.means} == {2} and len(with_slope) > 3
    for row in with_slope:
        assert (row["mean_low"], row["mean_high"], row["mean_p"]) == (None, None, None)
        assert row["mean_slope"] is not None
    print_mice(found)
    assert "A mean of fewer than 3 mice has no interval" in capsys.readouterr().out
    (schemas.NDCCohort & found.cohort).delete()


def test_a_population_follows_its_curves(mice, run):
    """A new curve deletes the population; populate computes it again, with the same numbers."""
    before = (schemas.NDCPopulation.Mean & mice.cohort).to_dicts(order_by="KEY")
    row = run.curves["stimulus"][1]
    key = {name: row[name] for name in schemas.NDCResult.primary_key}
    (schemas.NDCResult & key).delete()
    assert len(schemas.NDCPopulation & mice.cohort) == 0 and len(schemas.NDCCohort & mice.cohort) == 1
    fill([schemas.NDCPopulation], mice.cohort)
    assert len(schemas.NDCPopulation & mice.cohort) == 0  # a session has neither a curve nor failed
    schemas.NDCPopulation.insert1({**mice.cohort, "n_subjects": 1, **schemas.Environment.current()},
                                  allow_direct_insert=True)  # fmt: skip
    fill([schemas.NDCResult], key)
    assert len(schemas.NDCPopulation & mice.cohort) == 0
    assert not fill([schemas.NDCPopulation], mice.cohort).errors
    again = (schemas.NDCPopulation.Mean & mice.cohort).to_dicts(order_by="KEY")
    assert [(r["question"], r["quantity"]) for r in again] == [(r["question"], r["quantity"]) for r in before]
    assert [r["mean_slope"] for r in again] == pytest.approx([r["mean_slope"] for r in before])


def test_a_mouse_counts_once_for_a_question(run, demo_sessions):
    other = schemas.SessionSet.add(demo_sessions[:3], TrackingRun.register("SP999"))
    params = {"ndc_params": run.targets[0].ndc_params}
    schemas.NDCTask.insert1({**other, **params})
    tasks = [{**run.session_set, **params}, {**other, **params}]
    with pytest.raises(DataError, match="SP999 would count several times for one question"):
        compare_mice(tasks=tasks)
    with pytest.raises(DataError, match="no curve of the session set"):
        compare_mice(session_sets=[other])
    with pytest.raises(DataError, match="no curve of subject 'nobody'"):
        compare_mice(["nobody"])
    (schemas.NDCTask & other).delete()


def test_power_is_that_of_the_stored_scatter(mice, run, capsys):
    found = power_of_trends(mice.subjects, question="stimulus", quantity="score", slope=-0.01, days=[4, 8], spacing=2)
    row = next(r for r in mice.means if (r["question_name"], r["quantity"]) == ("stimulus", "score"))
    assert (found.day_sd, found.between_sd, found.n_mice) == (row["day_sd"], row["between_sd"], 3)
    # Student's t of 8 days, two apart
    error = row["day_sd"] / np.sqrt(4 * 8 * 63 / 12)
    limit = student.ppf(0.975, 6)
    drawn = np.random.default_rng(0)
    z, scatter = drawn.normal(size=20_000), np.sqrt(drawn.chisquare(6, 20_000) / 6)
    assert found.rows[1]["power_1_mouse"] == pytest.approx(
        np.mean(np.abs((z - 0.01 / error) / scatter) > limit), abs=0.02
    )
    target = next(one for one in run.targets if one.name == "stimulus")
    ends = [(p["mean_high"] - p["mean_low"]) / 3.92 for r in target.curves for p in r["curve"] if p["k"] == 8]
    assert row["curve_sd"] == pytest.approx(np.sqrt(np.mean(np.square(ends))), rel=0.4)  # draws, and a logit
    print_power(found)
    text = capsys.readouterr().out
    assert "stimulus, score: a slope of -0.010 per day, a session every 2 days" in text and "mice for 80%" in text
    with pytest.raises(ArgumentError, match=r"which slope of score per day\?"):  # half the cells is none
        power_of_trends(mice.subjects, question="stimulus", quantity="score")
    for slope, power in ((0, 0.8), (0.1, 2), (0.1, 0)):
        with pytest.raises(ArgumentError, match="a slope is not 0, and a power between 0 and 1"):
            power_of_trends(mice.subjects, question="stimulus", slope=slope, power=power)
    with pytest.raises(DataError, match="is not known for 'block'"):
        power_of_trends(mice.subjects, question="block")


@pytest.fixture
def two_analyses(mice, run, demo_sessions) -> Iterator[str]:
    """Other settings on one more day for a mouse of two days; and for SP999 on its own days. Returns that mouse."""
    tracking = TrackingRun.register("SP999")
    other = NDCSettings("stimulus", **{**SMALL, "r": 7})
    as_asked = run_ndc(demo_sessions[:2], tracking, [NDCSettings("stimulus", **SMALL)])
    more_days = run_ndc(demo_sessions[:3], tracking, [other])
    run_ndc(demo_sessions, tracking, [other])
    for one in (as_asked, more_days):
        another_mouse("mouse C", one.session_set, lambda scores, day: np.clip(scores - 0.01 * day, 0, 1))
    yield "mouse C"
    forget_mouse("mouse C")
    (schemas.NDCParams & {"ndc_params": more_days.targets[0].ndc_params}).delete()
    (schemas.NDCTask & as_asked.session_set).delete()


def test_settings_that_all_mice_have_are_compared_and_found_by_a_plain_question(mice, run, two_analyses, capsys):
    found = compare_mice(["SP999", "mouse A", two_analyses])
    one = found.about("stimulus (r=6")
    assert {row["question_name"] for row in [*one.means, *one.slopes]} == {"stimulus (r=6)"} and not one.differences
    both = found.about("stimulus")
    assert {row["pair_name"] for row in both.differences} == {"stimulus (r=7) minus stimulus (r=6)"}
    print_mice(both)
    assert "feedback" not in capsys.readouterr().out
    with pytest.raises(NotFoundError, match=r"no question 'block' .found 'feedback' .* 'stimulus .r=7.' \(1 mouse\)"):
        found.about("block")
    n_mice = {row["question_name"]: row["n_mice"] for row in found.means if row["quantity"] == "score"}
    assert n_mice == {"feedback": 2, "stimulus (r=6)": 3, "stimulus (r=7)": 1}
    row = next(r for r in found.means if (r["question_name"], r["quantity"]) == ("stimulus (r=6)", "score"))
    assert row["mean_low"] is not None
    (note,) = found.notes
    assert note.startswith("mouse C: its 2 sessions with the settings that most mice have") and "--session-set" in note
    power = power_of_trends(mice.subjects, question="stimulus", quantity="score", days=[4, 16], slope=-0.01)
    assert (power.question, power.n_mice) == ("stimulus (r=6)", 3)
    assert power_of_trends(["SP999"], question="stimulus (r=7", quantity="score", slope=1).question == "stimulus (r=7)"
    with pytest.raises(
        DataError, match=r"several settings answer 'stimulus'.*'stimulus \(r=6\)' \(1 mouse\).*--question"
    ):
        power_of_trends(["SP999"], question="stimulus", quantity="score", slope=1)
    with pytest.raises(DataError, match=r"is not known for 'block'.*--question"):
        power_of_trends(["SP999"], question="block", quantity="score", slope=1)


def test_mice_are_named_in_the_same_ways_in_all_commands(mice, run):
    first, others = mice.subjects[0], ",".join(mice.subjects[1:])
    for command in (["mice"], ["power", "--question", "stimulus", "--quantity", "score", "--slope", "-0.01"]):
        said = {
            CliRunner().invoke(main, [*command, "--json", *named]).stdout
            for named in (mice.subjects, ["--subjects", f"{first},{others}"], [first, "--subject", others])
        }
        assert len(said) == 1 and all(map(json.loads, said))
    assert draw_mice(compare_mice([first])).get_suptitle().startswith("1 mouse: ")


def test_power_says_why_three_mice_can_have_less_than_one(capsys):
    """Student's t by scipy: over three mice it asks for 4.3 standard errors that are 1.73 times as small."""
    error = slope_error(0.5, 16)
    away = 0.15 / error
    one, three = (nct.sf(student.ppf(0.975, df), df, z) for df, z in ((14, away), (2, away * np.sqrt(3))))
    rows = [{"n_days": 16, "power_1_mouse": trend_power(0.15, 0.5, 16), "mice_needed": 3,
             **{f"power_{n}_mice": trend_power(0.15, 0.5, 16, n_mice=n) for n in (3, 5, 10)}}]  # fmt: skip
    assert (rows[0]["power_1_mouse"], rows[0]["power_3_mice"]) == pytest.approx((one, three), abs=1e-6)
    assert three < one
    print_power(Power("choice", "code_k", 0.15, 1.0, 0.8, 0.5, 0.1, 0.0, 3, rows))
    said = " ".join(capsys.readouterr().out.split())
    assert "3 mice have less power than one with 16 days: Student's t has 2 degrees of freedom over 3 mice, 14" in said


def test_the_key_of_a_cohort_is_that_of_its_members(mice, run):
    members = (schemas.NDCCohort.Member & mice.cohort).to_dicts()
    assert len(members) == 6
    pairs = sorted([row["session_set"], row["ndc_params"]] for row in members)
    assert mice.cohort == {"ndc_cohort": content_key(pairs)}
    assert compare_mice(tasks=members).means == compare_mice(["SP999", *NAMES]).means
