"""Trials and labels of one's own: what is decoded, why the rest is not, and what the null takes."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import meso
import schemas
from drawing.curves import DrawableRun
from pipeline.behavior.trial_columns import first_failed
from pipeline.decoding import NDCSettings, neuron_dropping_curve
from pipeline.decoding.nulls import null_labels, shuffled_labels
from pipeline.decoding.trials import balanced_labels
from pipeline.errors import DataError, MesoError
from populate_scripts import commands
from schemas.decoding.run import NDCRun, run_ndc
from schemas.labels import given_at
from schemas.rows import jobs_of
from schemas.session import trials_of
from schemas.tracking import TrackingRun

S = 19
SMALL = {"ks": (8, 32), "r": 4, "n_label_shuffles": S, "n_bootstrap": 20, "penalty": "scaled"}
CONDITION = "contrast > 0.1 and correct"
ELSEWHERE = pytest.mark.one_backend  # the same statements with other values


@pytest.fixture(scope="module")
def run(demo_sessions) -> Iterator[NDCRun]:
    """The choice in all trials, and in trials that are correct and have a contrast above 0.1."""
    asked = [NDCSettings("choice", **SMALL), NDCSettings("choice", trials=CONDITION, **SMALL)]
    yield run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), asked)
    for one in asked:
        (schemas.NDCParams & schemas.NDCParams.add(one)).delete()


def key_of(row: dict) -> dict:
    return {name: row[name] for name in schemas.NDCResult.primary_key}


def test_every_trial_has_its_fate(run):
    every, some = (target.curves for target in run.targets)
    for one, other in zip(every, some, strict=True):
        before, after = ((schemas.TrialFeatures.Trial & key_of(row)).to_dicts(order_by="trial") for row in (one, other))
        trials = (schemas.Behavior.Trial & {"eid": one["eid"]}).to_dicts(order_by="trial")
        for was, now, trial in zip(before, after, trials, strict=True):
            contrast = max(trial["contrast_left"] or 0, trial["contrast_right"] or 0)
            failed = "trials 1" if not contrast > 0.1 else "trials 2" if trial["feedback_type"] != 1 else ""
            plain = was["trial_outcome"]
            assert now["trial_outcome"] == (failed or "usable" if plain == "usable" else plain)
        outcomes = {row["trial_outcome"] for row in after}
        assert {"usable", "trials 1", "trials 2"} <= outcomes
        features = [np.asarray((schemas.TrialFeatures & key_of(row)).fetch1("trial_features")) for row in (one, other)]
        np.testing.assert_array_equal(*features)  # also of the trials that are not decoded
        use = (schemas.NDCResult.Trial & key_of(other)).to_arrays("trial_use", order_by="trial")
        assert [u for u in use if u.startswith("trials")] == [
            row["trial_outcome"] for row in after if row["trial_outcome"].startswith("trials")
        ]


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_curves_are_those_of_the_chosen_trials_and_of_simulated_sessions_with_theirs(run):
    for row in run.targets[1].curves:
        eid, key = row["eid"], key_of(row)
        features = np.asarray((schemas.TrialFeatures & key).fetch1("trial_features"))
        numbers, use = (schemas.NDCResult.Trial & key).to_arrays("trial", "trial_use", order_by="trial")
        trials, numbers = trials_of(eid), numbers.astype(int)
        assert (first_failed(CONDITION, trials)[numbers[use == "kept"]] == 0).all()
        y = np.where(use == "kept", trials["choice"][numbers] == 1, -1).astype(np.int8)
        assert (y >= 0).sum() == row["n_decoded"] and (y == 1).sum() == (y == 0).sum() == row["n_class_1"]
        assert 20 < row["n_decoded"] < run.targets[0].curves[0]["n_decoded"]
        null = null_labels("auto", "choice", trials, numbers, S, 0, names=(eid, "choice"), condition=CONDITION)[1]
        balanced = balanced_labels(null, "downsample", row["n_decoded"], 0, eid, "choice")
        again = neuron_dropping_curve(
            features, y, ks=[8, 32, row["n_cells"]], R=4, n_label_shuffles=S, null=balanced, penalty="scaled"
        )
        for point, scores, nulls in zip(row["curve"], again.scores, again.null_scores, strict=True):
            np.testing.assert_array_equal(point["scores"], scores)
            np.testing.assert_array_equal(point["null_scores"], nulls)


def test_the_condition_is_in_table_notes_and_views(run, database):
    from schemas.server.settings import prefix

    name = f"choice (trials={CONDITION})"
    assert f"{name}: only trials with {CONDITION}" in run.notes
    assert [target.name for target in run.targets] == ["choice (trials=all)", name]
    assert set(run.table["trials"]) == {"", CONDITION}
    titles = {name: figure.axes[0].get_title(loc="left") for name, figure in DrawableRun.of(run).draw().items()}
    assert f"trials with {CONDITION}" in titles[name].replace("\n", " ")
    assert "trials with" not in titles["choice (trials=all)"]
    found = database.query(f"SELECT trials FROM {prefix()}views.ndc_summary").fetchall()
    assert {row[0] for row in found} >= {"", CONDITION}


def test_the_notebook_has_the_columns(demo_sessions):
    table = meso.trial_columns(demo_sessions[0][:8])
    rows = (schemas.Behavior.Trial & {"eid": demo_sessions[0]}).to_dicts(order_by="trial")
    assert table["choice"].tolist() == [row["choice"] for row in rows]
    assert table["n_trials"].tolist() == [len(rows)] * len(rows)
    # where ONE is set up, its server is asked for a session that is not in the database
    with pytest.raises(MesoError):
        meso.trial_columns("00000000-0000-0000-0000-000000000000")


@pytest.mark.one_backend  # reasons are found in Python, from rows that other tests read on both
def test_too_few_trials_are_named_by_clause(demo_sessions):
    few = NDCSettings("choice", trials="correct and index < 6", **SMALL)
    found = run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [few])
    text = found.failed[demo_sessions[0]]
    assert "too few trials to decode choice" in text or "of one class" in text
    reasons = text.split("trials by outcome: ")[1].rstrip(".")
    assert all(re.search(rf"\d+ without: {clause}", reasons) for clause in ("correct", "index < 6"))
    numbers = re.findall(r"(\d+) without|[a-z] (\d+)", reasons)
    assert sum(int(a or b) for a, b in numbers) == len(meso.trial_columns(demo_sessions[0]))
    (schemas.NDCParams & schemas.NDCParams.add(few)).delete()


def stored() -> list[int]:
    """Return the numbers of rows and jobs that a question inserts."""
    tables = [schemas.NDCTask, schemas.NDCParams, schemas.SessionSet, schemas.TransferTask]
    return [len(table()) for table in tables] + [len(jobs_of(schemas.TrialFeatures))]


@pytest.mark.parametrize(
    "clause",
    [*(pytest.param(text, marks=ELSEWHERE) for text in ("contrast > 3", "reaction_time > 80")), "block == 0.7"],
)
def test_what_no_trial_meets_is_refused_before_anything_is_asked(demo_sessions, meso_command, clause):
    name = clause.split()[0]
    values = np.concatenate([meso.trial_columns(eid)[name].dropna() for eid in demo_sessions[:2]])
    before, few = stored(), len(set(values)) < 9
    with pytest.raises(DataError) as caught:
        run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [NDCSettings("choice", trials=clause, **SMALL)])
    text = str(caught.value)
    assert f"no trial of the 2 sessions meets {clause}: {name} is " in text
    found = [float(word) for word in re.findall(r"[\d.]*\d", text.split(" is ")[1])]
    expected = sorted(set(values)) if few else [values.min(), values.max()]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    commands_ = (("ndc", "--ks", "8"), ("transfer",)) if name == "contrast" else (("ndc",),)
    for command in commands_:
        done = meso_command(*command, *demo_sessions[:2], "--target", "choice", "--trials", f"correct and {clause}")
        assert done.returncode == 1
        assert f"no trial of the 2 sessions meets {clause}: {name} is " in done.stderr
        assert "retry" not in done.stderr + done.stdout
    assert stored() == before


@pytest.mark.one_backend  # other tests send its statements on both
def test_clauses_that_only_together_are_met_by_no_trial_are_refused(demo_sessions):
    both = "contrast < 0.1 and contrast > 0.5"
    with pytest.raises(DataError, match=f"{both}, although some meet each of its clauses"):
        run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [NDCSettings("choice", trials=both, **SMALL)])


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_condition_that_one_session_cannot_meet_is_named_without_advice_to_retry(demo_sessions, meso_command):
    slowest = [meso.trial_columns(eid).reaction_time for eid in demo_sessions[:2]]
    least = min(one.max() for one in slowest)
    of_least = min(range(2), key=lambda i: slowest[i].max())
    few = NDCSettings("feedback", trials=f"reaction_time > {least:.5f}", **SMALL)
    found = run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [few])
    n = slowest[of_least].size
    assert re.search(rf"by outcome: .*{n} without: reaction_time > ", found.failed[demo_sessions[of_least]])
    words = ["--ks", "8,32", "-R", "4", "--n-label-shuffles", str(S), "--n-bootstrap", "20", "--penalty", "scaled"]
    done = meso_command("ndc", *demo_sessions[:2], "--target", "feedback", "--trials", few.trials, *words)
    assert done.returncode == 1 and "without: reaction_time > " in done.stdout, done.stderr
    assert "meso retry" not in done.stdout
    (schemas.NDCParams & schemas.NDCParams.add(few)).delete()


@pytest.mark.one_backend  # reasons are found in Python, from rows that other tests read on both
def test_a_window_longer_than_the_trials_is_refused(demo_sessions):
    on = [trials_of(eid)["stimOn_times"] for eid in demo_sessions[:2]]
    intervals = [float(np.median(np.diff(one[np.isfinite(one)]))) for one in on]
    for length, refused in ((min(intervals) - 0.01, 0), (np.mean(intervals), 1)):
        long = NDCSettings("stimulus", win_start=0, win_end=length, **SMALL)
        failed = run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [long]).failed
        assert len(failed) == refused, failed
        for text in failed.values():
            assert "the window of stimulus is longer than the time from trial to trial (expected up to" in text
        (schemas.NDCParams & schemas.NDCParams.add(long)).delete()
    before = stored()
    with pytest.raises(DataError, match=r"longer than the time from trial to trial of the 2 sessions .expected up to"):
        run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [replace(long, win_end=max(intervals) + 0.01)])
    assert stored() == before


@pytest.mark.one_backend  # other tests send its statements on both
def test_the_demo_can_be_decoded_from_dff(demo_sessions):
    """It had no neuropil."""
    asked = NDCSettings("choice", signal="dff", **SMALL)
    found = run_ndc(demo_sessions[:2], TrackingRun.register("SP999"), [asked])
    assert found.failed == {} and set(found.table["signal"]) == {"dff"}
    assert found.table["ceiling"].min() > 0.6
    assert "choice: of dF/F" in found.notes
    (figure,) = DrawableRun.of(found).draw().values()
    assert "dF/F" in figure.axes[0].get_title(loc="left")
    (schemas.NDCParams & schemas.NDCParams.add(asked)).delete()


# -------------------------------------------------------------------------------------------------------- own labels

LABELLED = {"ks": (8, 32), "R": 4, "n_label_shuffles": S, "n_bootstrap": 20, "penalty": "scaled", "plot": False,
            "progress": False}  # fmt: skip


@pytest.fixture(scope="module")
def planted(run, demo_sessions) -> dict[str, np.ndarray]:
    """Labels that the cells code: the sign of a sum of four of them in the window of the choice."""
    found = {}
    for row in run.targets[0].curves:
        features = np.asarray((schemas.TrialFeatures & key_of(row)).fetch1("trial_features"))
        numbers = (schemas.NDCResult.Trial & key_of(row)).to_arrays("trial", order_by="trial").astype(int)
        signal = (features / features.std(axis=0))[:, 1:40:10].sum(axis=1)
        labels = np.full(len(trials_of(row["eid"])["choice"]), np.nan)
        labels[numbers] = signal > np.median(signal)
        found[row["eid"]] = labels
    return found


def drop_all_labels() -> None:
    for name in set(schemas.LabelSet.to_arrays("label_name")):
        commands.drop_labels(name)


@pytest.fixture
def without_labels() -> Iterator[None]:
    """Drop all labels, with their curves, before and after a test."""
    drop_all_labels()
    yield
    drop_all_labels()


WINDOW = {"event": "firstMovement_times", "win": (-0.1, 0)}


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_labels_that_the_cells_code_are_decoded_and_others_are_not(planted, demo_sessions, without_labels):
    rng = np.random.default_rng(6)
    labels = {"mine": planted, "noise": {eid: rng.permutation(row) for eid, row in planted.items()}}
    out = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["mine", "noise"], labels=labels, **WINDOW, **LABELLED)
    assert out.failed == {}
    for row in out.curves["mine"]:
        assert row["ceiling"] > 0.65 and row["p_largest"] == 1 / (1 + S)
        assert (row["null_used"], row["target"], row["choice_model"]) == ("linear_shift", "mine", "static")
        found = (schemas.TrialFeatures.Trial & key_of(row)).to_arrays("trial_label", order_by="trial").astype(float)
        np.testing.assert_array_equal(found, planted[row["eid"]])
    assert all(0.3 < row["ceiling"] < 0.7 and row["p_largest"] > 1 / (1 + S) for row in out.curves["noise"])
    assert list(out.draw()) == ["mine", "noise"]
    # stored: the name is a target now, and the curves are there
    again = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["noise"], **WINDOW, **LABELLED)
    assert [row["ceiling"] for row in again.curves["noise"]] == [row["ceiling"] for row in out.curves["noise"]]
    # other values under the same name are other labels, with a key of their own
    less = {eid: np.where(np.arange(len(row)) < 20, np.nan, row) for eid, row in planted.items()}
    other = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["mine"], labels={"mine": less}, **WINDOW, **LABELLED)
    assert other.targets[0].settings.labels != out.targets[0].settings.labels
    assert other.targets[0].ndc_params != out.targets[0].ndc_params


def test_labels_that_are_given_again_are_the_last_of_their_name(planted, without_labels):
    less = {eid: np.where(np.arange(len(row)) < 20, np.nan, row) for eid, row in planted.items()}
    keys = [schemas.LabelSet.add("mine", labels)["label_set"] for labels in (planted, less)]
    assert len(set(keys)) == len(schemas.LabelSet & {"label_name": "mine"}) == 2
    assert schemas.LabelSet.named(["mine"])["mine"] == keys[1]
    schemas.LabelSet.add("mine", planted)
    assert schemas.LabelSet.named(["mine"])["mine"] == keys[0]


@pytest.mark.one_backend  # numbers, of rows that test_backends.py compares
def test_labels_of_a_session_stay_its_own_when_their_name_is_given_to_another(demo_sessions, without_labels):
    """Curves of these stay, too: `meso update` and `meso verify --notes` say if their wheel is another one since."""
    first, other = demo_sessions[:2]
    labels = {eid: np.arange(len(trials_of(eid)["choice"])) % 2 for eid in (first, other)}
    key = schemas.LabelSet.add("fast", {first: labels[first]})
    given = (schemas.LabelSet & key).fetch1("labelled_at")
    schemas.LabelSet.add("fast", {other: labels[other]})
    assert given_at([first]) == {first: {"fast": given}} and given_at([]) == {}
    again = schemas.LabelSet.add("fast", {first: 1 - labels[first]})
    assert given_at([first, other])[first] == {"fast": (schemas.LabelSet & again).fetch1("labelled_at")}


def test_linear_shifts_of_chosen_trials_are_those_of_the_labels(planted, demo_sessions, without_labels):
    out = meso.neuron_dropping_curves_cached(
        demo_sessions[:2],
        ["mine"],
        labels={"mine": planted},
        trials="index >= 10",
        null="circular",
        **WINDOW,
        **LABELLED,
    )
    for row in out.curves["mine"]:
        features = np.asarray((schemas.TrialFeatures & key_of(row)).fetch1("trial_features"))
        numbers, use = (schemas.NDCResult.Trial & key_of(row)).to_arrays("trial", "trial_use", order_by="trial")
        labels = planted[row["eid"]][numbers.astype(int)]
        chosen = np.where(numbers >= 10, labels, -1).astype(np.int8)
        assert set(use[numbers < 10]) == {"trials 1"}
        null = balanced_labels(
            shuffled_labels(chosen, "circular", S, 0)[1], "downsample", row["n_decoded"], 0, row["eid"], "mine"
        )
        y = np.where(use == "kept", labels, -1).astype(np.int8)
        again = neuron_dropping_curve(
            features, y, ks=[8, 32, row["n_cells"]], R=4, n_label_shuffles=S, null=null, penalty="scaled"
        )
        np.testing.assert_array_equal([point["null_scores"] for point in row["curve"]], again.null_scores)


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_a_function_of_the_trials_labels_each_session(demo_sessions, without_labels):
    labels = {"fast": lambda trials: trials.reaction_time < trials.reaction_time.median()}
    quick = {**LABELLED, "n_label_shuffles": 3}
    out = meso.neuron_dropping_curves_cached(demo_sessions[:2], ["fast"], labels=labels, **quick)
    for row in out.curves["fast"]:
        table = meso.trial_columns(row["eid"])
        labels = (schemas.TrialFeatures.Trial & key_of(row)).to_arrays("trial_label", order_by="trial")
        expected = table.reaction_time < table.reaction_time.median()
        np.testing.assert_array_equal(labels.astype(float), expected)
        assert row["event"] == "stimOn_times"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"mine": lambda trials: trials.index * 0}, "labels of one class only"),
        ({"mine": lambda trials: [1, 0]}, "another number of labels than of trials"),
        ({"mine": {"00000000": [1, 0]}}, "not registered"),
        ({"mine": {}}, "are of no session"),
        ({"other": {}, "mine": {}}, "labels are given for other, which is not among the targets"),
        ({"choice": {}}, "'choice' is the name of a target that needs no labels: give the labels another name"),
        (None, "'mine' is no target .*Add some with: meso labels add FILE"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_labels_store_nothing(demo_sessions, without_labels, labels, message):
    with pytest.raises(meso.MesoError, match=message):
        meso.neuron_dropping_curves_cached(demo_sessions[:2], ["mine"], labels=labels, **LABELLED)
    assert len(schemas.LabelSet()) == 0


@pytest.mark.one_backend  # other tests send its statements on both
def test_labels_that_are_not_there_cannot_be_dropped(demo_sessions, meso_command, without_labels):
    odd = {eid: meso.trial_columns(eid)["index"] % 2 for eid in demo_sessions[:1]}
    for name, words in (("nope", "found labels of no name). 'meso labels' lists them"),):
        assert words in meso_command("labels", "drop", name).stderr
    schemas.LabelSet.add("parity", odd)
    for name, do in (("nope", "'meso labels' lists them"), ("party", "Did you mean parity? 'meso labels' lists them")):
        done = meso_command("labels", "drop", name, "--yes")
        assert done.returncode == 1
        assert f"there are no labels '{name}' (found labels parity). {do}" in done.stderr
        assert "Add some" not in done.stderr
    assert len(schemas.LabelSet()) == 1


def test_labels_from_a_file_are_listed_decoded_and_dropped(planted, meso_command, tmp_path, without_labels):
    rows = (schemas.Session & [{"eid": eid} for eid in planted]).to_dicts(order_by="session_date")
    lines = [
        f"{row['subject']},{row['session_date']},{row['session_number']},{trial},{int(value)}"
        for row in rows for trial, value in enumerate(planted[row["eid"]]) if np.isfinite(value)
    ]  # fmt: skip
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["subject,date,number,trial,value", *lines]))
    done = meso_command("labels", "add", path)
    assert done.returncode == 0, done.stderr
    assert "Added labels of 2 sessions. Decode them with: meso ndc --target mine" in done.stdout
    (row,) = json.loads(meso_command("labels", "list", "--json").stdout)
    assert (row["label_name"], row["n_sessions"], row["n_class_1"] + row["n_class_0"]) == ("mine", 2, len(lines))
    assert row["label_set"] == schemas.LabelSet.add("mine", planted)["label_set"]  # the same content
    words = ["--event", "firstMovement_times", "--win", "-0.1", "0", "--ks", "8", "-R", "2", "--n-label-shuffles", "3"]
    done = meso_command("ndc", *planted, "--target", "mine", *words)
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
    done = meso_command("labels", "drop", "mine", "--yes")
    assert done.returncode == 0, done.stderr
    assert "LabelSet: 1 rows" in done.stdout and "NDCResult: 2 rows" in done.stdout
    assert len(schemas.LabelSet()) == len(schemas.NDCParams & "labels <> ''") == 0
    assert "There are no labels yet" in meso_command("labels").stdout
    assert "'mine' is no target" in meso_command("ndc", *planted, "--target", "mine").stderr


def test_labels_fit_the_trials_that_they_were_given_for(planted, demo_sessions, without_labels):
    schemas.LabelSet.add("mine", planted)
    (key,), eid = schemas.LabelSet.keys(), demo_sessions[0]
    trials = trials_of(eid)
    n = len(trials["choice"])

    def labels(trials: dict[str, np.ndarray], of: str = eid) -> np.ndarray:
        return schemas.LabelSet.of_session(key["label_set"], of, trials)

    aligned = {name: row + 0.2 * ("times" in name or "intervals" in name) for name, row in trials.items()}
    for same in (trials, aligned):  # a clock that is aligned again is of the same trials
        np.testing.assert_array_equal(labels(same), planted[eid])
    with pytest.raises(DataError, match=f"another number of labels than of trials .expected {n + 1}, found {n}"):
        labels({name: np.append(row, row[-1]) for name, row in trials.items()})
    other = f"session {eid}, labels 'mine': the labels were given for other trials .expected the stimuli, choices"
    with pytest.raises(DataError, match=other):  # one more at the start, and one less at the end
        labels({name: np.append(row[:1], row[:-1]) for name, row in trials.items()})
    with pytest.raises(DataError, match=other):
        labels({name: row[:n] for name, row in trials_of(demo_sessions[1]).items()})
    with pytest.raises(DataError, match="has no labels 'mine'"):
        labels(trials, demo_sessions[3])


def test_labels_of_before_version_26_are_taken_as_they_are_until_they_are_added_again(
    planted, demo_sessions, meso_command, without_labels
):
    eid = demo_sessions[0]
    key = schemas.LabelSet.add("mine", planted)
    (schemas.LabelSet.Trials & key).delete_quick()
    other = {name: row[::-1] for name, row in trials_of(eid).items()}
    np.testing.assert_array_equal(schemas.LabelSet.of_session(key["label_set"], eid, other), planted[eid])
    assert json.loads(meso_command("labels", "list", "--json").stdout)[0]["labelled_for"] == "unknown"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert schemas.LabelSet.add("mine", planted) == key
    with pytest.raises(DataError, match="the labels were given for other trials"):
        schemas.LabelSet.of_session(key["label_set"], eid, other)


def test_values_that_were_given_for_other_trials_are_taken_with_a_warning(planted, demo_sessions, without_labels):
    """A notebook that gives a stored array again after the trials were read again."""
    key = schemas.LabelSet.add("mine", planted)
    row = (schemas.LabelSet.Trials & key).to_dicts(order_by="KEY")[0]
    (schemas.LabelSet.Trials & row).delete_quick()
    schemas.LabelSet.Trials.insert1({**row, "labelled_trials": "0" * 32})
    eid = row["labelled_eid"]
    with pytest.warns(UserWarning, match=f"session {eid}, labels 'mine': the same values were given before") as warned:
        assert schemas.LabelSet.add("mine", planted) == key
    assert len(warned) == 1
    np.testing.assert_array_equal(schemas.LabelSet.of_session(key["label_set"], eid, trials_of(eid)), planted[eid])
