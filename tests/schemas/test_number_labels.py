"""Labels that are numbers: stored, decoded by ridge regression and shown; refused where only classes have a meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

import meso
import schemas
from pipeline.decoding import NDCSettings, neuron_dropping_curve
from pipeline.decoding.nulls import shuffled_labels
from pipeline.decoding.transfer import Day, transfer_scores
from pipeline.errors import ArgumentError, DataError
from populate_scripts import commands
from schemas.decoding.run import NDCRun, run_ndc
from schemas.labels import listed, of_kind
from schemas.session import trials_of
from schemas.tracking import TrackingRun

#: On both, test_backends.py compares the curves, and test_own_questions.py adds, lists and drops labels.
pytestmark = pytest.mark.one_backend

S = 19
SMALL = {"ks": (8, 32), "R": 4, "n_label_shuffles": S, "n_bootstrap": 20, "penalty": "scaled", "plot": False,
         "progress": False}  # fmt: skip
WINDOW = {"event": "firstMovement_times", "win": (-0.1, 0)}


def key_of(row: dict) -> dict:
    return {name: row[name] for name in schemas.NDCResult.primary_key}


@pytest.fixture(scope="module")
def choice(demo_sessions) -> Iterator[NDCRun]:
    """The choice of two sessions, for the features of its window."""
    asked = NDCSettings("choice", ks=(8, 32), r=4, n_label_shuffles=0, n_bootstrap=0, penalty="scaled")
    yield run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [asked])
    (schemas.NDCParams & schemas.NDCParams.add(asked)).delete()


@pytest.fixture(scope="module")
def planted(choice) -> dict[str, np.ndarray]:
    """Numbers that the cells code: a sum of many of them in the window of the choice, and some noise."""
    found = {}
    for row in choice.targets[0].curves:
        features = np.asarray((schemas.TrialFeatures & key_of(row)).fetch1("trial_features"))
        numbers = (schemas.NDCResult.Trial & key_of(row)).to_arrays("trial", order_by="trial").astype(int)
        signal = (features / features.std(axis=0))[:, ::3].sum(axis=1)
        values = np.full(len(trials_of(row["eid"])["choice"]), np.nan)
        values[numbers] = -20 + signal + 0.3 * signal.std() * np.random.default_rng(1).normal(size=len(signal))
        found[row["eid"]] = values
    return found


@pytest.fixture
def without_labels() -> Iterator[None]:
    """Drop all labels, with their curves, before and after a test."""

    def drop() -> None:
        for name in set(schemas.LabelSet.to_arrays("label_name")):
            commands.drop_labels(name)

    drop()
    yield
    drop()


def test_numbers_that_the_cells_code_are_decoded_and_others_are_not(planted, demo_sessions, without_labels):
    rng = np.random.default_rng(6)
    labels = {"speed": planted, "noise": {eid: rng.permutation(row) for eid, row in planted.items()}}
    out = meso.neuron_dropping_curves_cached(
        demo_sessions[:2], ["speed", "noise", "choice"], labels=labels, **WINDOW, **SMALL
    )
    assert out.failed == {}
    assert [target.settings.metric for target in out.targets] == ["r2", "r2", "auc"]
    assert out.targets[0].settings.class_balance == "none"
    numbers_of = {}
    for row in out.curves["speed"]:
        assert row["ceiling"] > 0.25 and row["p_largest"] == 1 / (1 + S), row["ceiling"]
        assert row["n_class_1"] == 0 and row["null_used"] == "linear_shift"
        found, label = (schemas.TrialFeatures.Trial & key_of(row)).to_arrays(
            "trial_value", "trial_label", order_by="trial"
        )
        np.testing.assert_array_equal(found.astype(float), planted[row["eid"]])
        assert set(label) == {None} or np.isnan(label.astype(float)).all()
        numbers_of[row["eid"]] = row["n_decoded"]
    assert len(set(numbers_of.values())) == 1  # as many trials in every session
    assert all(row["ceiling"] < 0.1 and row["p_largest"] > 1 / (1 + S) for row in out.curves["noise"])
    assert {name: figure.axes[0].get_ylabel() for name, figure in out.draw().items()} == {
        "speed": "R²", "noise": "R²", "choice": "AUC",
    }  # fmt: skip
    (chance,) = [line for line in out.figures["speed"].axes[0].lines if line.get_label() == "chance"]
    assert set(chance.get_ydata()) == {0}
    assert out.draw_performance().axes[0].get_ylabel() == "score at the largest k"  # of both kinds
    assert out.draw_days() is not None
    assert set(out.targets[0].day_trends) == {"code_k", "half_k", "common_k", "score"}
    assert set(out.targets[2].day_trends) == {"code_k", "half_k", "common_k", "score", "d_prime"}
    assert set(out.table["metric"]) == {"r2", "auc"}
    # stored: the name is a target now, with the other score too
    again = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["speed"], **WINDOW, **SMALL)
    assert [row["ceiling"] for row in again.curves["speed"]] == [row["ceiling"] for row in out.curves["speed"]]
    ranks = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["speed"], metric="spearman", **WINDOW, **SMALL)
    assert all(row["ceiling"] > 0.5 for row in ranks.curves["speed"])
    assert ranks.draw()["speed"].axes[0].get_ylabel() == "Spearman's ρ"


def test_curves_are_those_of_the_stored_features_and_numbers(planted, demo_sessions, without_labels):
    out = meso.neuron_dropping_curves_cached(
        demo_sessions[:2],
        ["speed"],
        labels={"speed": planted},
        trials="index >= 10",
        null="circular",
        intervals="test_trials",
        **WINDOW,
        **SMALL,
    )
    for row in out.curves["speed"]:
        features = np.asarray((schemas.TrialFeatures & key_of(row)).fetch1("trial_features"))
        numbers, use = (schemas.NDCResult.Trial & key_of(row)).to_arrays("trial", "trial_use", order_by="trial")
        values = planted[row["eid"]][numbers.astype(int)]
        assert set(use[numbers < 10]) == {"trials 1"} and "kept" in use
        chosen = np.where(numbers >= 10, values, np.nan)
        null = shuffled_labels(chosen, "circular", S, 0, numbers=True)[1]
        kept = use == "kept"  # the shuffles keep the trials of the real numbers
        again = neuron_dropping_curve(
            features, np.where(kept, values, np.nan), ks=[8, 32, row["n_cells"]], R=4, n_label_shuffles=S,
            null=np.where(kept, null, np.nan), penalty="scaled", metric="r2", intervals="test_trials", n_bootstrap=20,
        )  # fmt: skip
        np.testing.assert_array_equal([point["scores"] for point in row["curve"]], again.scores)
        np.testing.assert_array_equal([point["null_scores"] for point in row["curve"]], again.null_scores)
        np.testing.assert_array_equal([point["trial_means"] for point in row["curve"]], again.trial_means)


def test_numbers_from_a_file_are_listed_decoded_and_dropped(planted, meso_command, tmp_path, without_labels):
    lines = [f"{eid},{trial},{float(value)!r}" for eid, row in planted.items() for trial, value in enumerate(row)]
    path = tmp_path / "speed.csv"
    path.write_text("\n".join(["eid,trial,value", *lines]))
    done = meso_command("labels", "add", path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(meso_command("labels", "list", "--json").stdout)
    assert json.loads(meso_command("labels", "--json").stdout) == [row]
    n = int(sum(np.isfinite(one).sum() for one in planted.values()))
    assert (row["label_name"], row["label_kind"], row["n_labelled"], row["n_class_1"]) == ("speed", "numbers", n, None)
    assert row["label_set"] == schemas.LabelSet.add("speed", planted)["label_set"]  # the same content
    words = ["--event", "firstMovement_times", "--win", "-0.1", "0", "--ks", "8", "-R", "2", "--n-label-shuffles", "3"]
    done = meso_command("ndc", *planted, "--target", "speed", *words, "--json")
    assert done.returncode == 0, done.stderr
    assert '"r2"' in done.stdout
    done = meso_command("ndc", *planted, "--target", "speed", "--metric", "accuracy", *words)
    assert done.returncode == 2 and "labels 'speed' are numbers, which are scored by r2, spearman" in done.stderr
    done = meso_command("transfer", *planted, "--target", "speed", *words[:5], "--r", "2", "--n-label-shuffles", "3",
                        "--json")  # fmt: skip
    assert done.returncode == 0 and '"transfer_null":"linear_shift"' in done.stdout, done.stderr
    assert meso_command("labels", "drop", "speed", "--yes").returncode == 0
    assert len(schemas.LabelSet()) == len(schemas.NDCParams & "labels <> ''") == 0


def test_readouts_of_numbers_are_tested_on_the_other_session(planted, without_labels):
    rng = np.random.default_rng(6)
    labels = {"speed": planted, "noise": {eid: rng.permutation(row) for eid, row in planted.items()}}
    words = {name: value for name, value in SMALL.items() if name not in ("ks", "n_bootstrap")}
    out = meso.transfer(list(planted), ["speed", "noise"], labels=labels, **WINDOW, **words)
    assert out.failures == [] and [target.settings.metric for target in out.targets] == ["r2", "r2"]
    table = out.table.set_index("target")
    speed, noise = table.loc["speed"], table.loc["noise"]
    assert len(speed) == 4 and speed["transfer_score"].min() > 0.3 and speed["transfer_p"].max() == 1 / (1 + S)
    assert noise["transfer_score"].max() < 0.1 and (speed["transfer_null"] == "linear_shift").all()
    assert (
        (speed["transfer_low"] < speed["transfer_score"]) & (speed["transfer_score"] < speed["transfer_high"])
    ).all()
    # the score of the readouts of one session on the other, from the stored features
    first, second = sorted(planted, key=lambda eid: out.targets[0].dates[eid])
    days = []
    for eid in (first, second):
        key = {"eid": eid, "ndc_params": out.targets[0].ndc_params}
        features = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))
        y = (schemas.TrialFeatures.Trial & key & "trial_outcome = 'usable'").to_arrays("trial_value", order_by="trial")
        edges = shuffled_labels(y.astype(float), "linear_shift", 0, 0, numbers=True)[0]
        days.append(Day(features, edges))
    found = transfer_scores(days, out.targets[0].settings).of("score")
    np.testing.assert_allclose(out.targets[0].square("transfer_score"), found, atol=1e-9)
    figure = out.draw()["speed"]
    assert any(ax.get_ylabel() == "R²" for ax in figure.axes)


def test_what_labels_are_is_in_the_table(planted, without_labels):
    eid = min(planted)
    n = len(planted[eid])
    halves = {eid: np.arange(n) % 2}
    classes, numbers = schemas.LabelSet.add("two", halves), schemas.LabelSet.add("two", halves, numbers=True)
    assert classes != numbers
    schemas.LabelSet.add("three", {eid: np.arange(n) % 3})
    assert [(row["label_name"], row["label_kind"]) for row in listed()] == [
        ("two", "classes"), ("two", "numbers"), ("three", "numbers"),
    ]  # fmt: skip
    declared = of_kind(NDCSettings("two", labels=numbers["label_set"]))
    assert (declared.metric, declared.class_balance) == ("r2", "none")
    assert of_kind(NDCSettings("two", labels=classes["label_set"])).metric == "auc"
    with pytest.raises(ArgumentError, match="labels 'two' are classes, which are scored by auc, accuracy, balanced"):
        of_kind(NDCSettings("two", labels=classes["label_set"], metric="spearman"))
    np.testing.assert_array_equal(
        schemas.LabelSet.of_session(numbers["label_set"], eid, trials_of(eid)), np.arange(n) % 2
    )


def test_the_speed_of_the_wheel_is_a_number_of_each_trial(demo_sessions, without_labels):
    window = ("firstMovement_times", (0.0, 0.2))
    speed = {eid: meso.wheel_speed(eid[:8], *window) for eid in demo_sessions[:2]}
    for eid, found in speed.items():
        (wheel,) = (schemas.Wheel & {"eid": eid}).to_dicts()
        times = wheel["velocity_start"] + np.arange(len(wheel["wheel_velocity"])) / 100
        moved = trials_of(eid)["firstMovement_times"]
        assert len(found) == len(moved)
        trial = int(np.flatnonzero(np.isfinite(found))[3])
        inside = (times >= moved[trial]) & (times < moved[trial] + 0.2)
        assert found[trial] == pytest.approx(np.abs(wheel["wheel_velocity"][inside]).mean())
        np.testing.assert_array_equal(np.isnan(found), np.isnan(moved))
    out = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["wheel"], labels={"wheel": speed}, **WINDOW, **SMALL)
    assert out.failed == {} and set(out.table["metric"]) == {"r2"}
    with pytest.raises(ArgumentError, match=r"event must be one of .*not 'goCue'"):
        meso.wheel_speed(demo_sessions[0], "goCue", (0, 1))


def test_too_few_numbers_are_named_with_the_trials_by_outcome(planted, demo_sessions, without_labels):
    few = {eid: np.where(np.arange(len(row)) < 9, np.arange(len(row)), np.nan) for eid, row in planted.items()}
    with pytest.warns(UserWarning, match="left out"):
        out = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["few"], labels={"few": few}, **SMALL)
    assert len(out.failed) == 2
    for text in out.failed.values():
        assert "too few trials to decode few" in text and "10 or more with a number, 2 for each fold" in text
        assert "trials by outcome: label" in text
    with pytest.raises(DataError, match="the numbers do not differ"):
        schemas.LabelSet.add("flat", {demo_sessions[0]: np.ones(len(planted[demo_sessions[0]]))}, numbers=True)
