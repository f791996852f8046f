"""Best sets of sessions, curves of pairs and of several mice: against sets of cells, and textbook formulas."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from support.more_mice import another_mouse, forget_mouse

import meso
import schemas
from drawing.many import mice as draw_mice
from pipeline.decoding import NDCSettings
from pipeline.errors import ArgumentError, DataError, NotFoundError
from populate_scripts.cli import main
from schemas.decoding.cohorts import compare_mice
from schemas.decoding.many import ManyRuns, pairs_of, run_many
from schemas.decoding.run import run_ndc
from schemas.decoding.sets import best_sets, usable
from schemas.tracking import TrackingRun

SMALL = {"ks": (2, 4, 8, 16), "r": 3, "n_label_shuffles": 9, "penalty": "scaled"}
OPTIONS = {"targets": ["stimulus"], "ks": (2, 4, 8, 16), "R": 3, "n_label_shuffles": 9, "penalty": "scaled"}
WORDS = ["--target", "stimulus", "--ks", "2,4,8,16", "-R", "3", "--n-label-shuffles", "9", "--penalty", "scaled"]
NAMES = ("many A", "many B")


@pytest.fixture(scope="module")
def tracked(demo_sessions) -> dict[str, set[str]]:
    """The UIDs of the tracked neurons of each session, from the rows."""
    run = TrackingRun.register("SP999")
    best_sets(demo_sessions, [2])  # matches the UIDs
    rows = (schemas.TrackedFOV.Member & run & (schemas.ROI & "is_neuron").proj()).to_dicts()
    return {eid: {row["cell_uid"] for row in rows if row["eid"] == eid} for eid in demo_sessions}


def run_meso(*args: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [*map(str, args)])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output if code else done.stdout  # progress bars are on stderr


# ---------------------------------------------------------------- best sets


def test_best_sets_are_those_of_the_sets_of_cells(tracked, demo_sessions):
    found = meso.best_sets("SP999")
    assert [one.size for one in found] == [2, 3, 4]
    for one in found:
        combinations = itertools.combinations(demo_sessions, one.size)
        assert one.n_shared == max(len(set.intersection(*(tracked[eid] for eid in some))) for some in combinations)
        assert one.n_shared == len(set.intersection(*(tracked[eid] for eid in one.eids)))
        assert list(one.dates) == [(schemas.Session & {"eid": eid}).fetch1("session_date") for eid in one.eids]
    assert len(meso.best_sets("SP999", [2], n_each=9)) == 6  # of four sessions
    with pytest.warns(UserWarning, match="there are 4 sessions to choose from"):
        assert meso.best_sets("SP999", [7]) == []


@pytest.mark.one_backend  # numbers of cells, of rows that test_backends.py compares
def test_a_best_set_has_as_many_shared_cells_as_its_curves(tracked):
    run = (schemas.TrackedFOV.Member & "silhouette is not null").to_arrays("silhouette")
    least = float(np.quantile(run, 0.4)) if len(run) else None
    (one,) = meso.best_sets("SP999", [3], min_silhouette=least, min_cell_probability=0.6)
    result = meso.neuron_dropping_curves_cached(one, plot=False, progress=False, **OPTIONS)
    assert result.n_shared == one.n_shared < meso.best_sets("SP999", [3])[0].n_shared
    assert sorted(set(result.table["eid"])) == sorted(one.eids)
    assert one.as_row()["eids"] == list(one.eids)


@pytest.fixture
def two_sessions(database) -> Iterator[list[str]]:
    """Sessions of 100 and of 500 trials, the first with a training protocol."""
    eids = [f"00000000-0000-3000-8000-0000000be{n}00" for n in (1, 2)]
    schemas.Subject.insert1({"subject": "TRIALS"})
    for n, (eid, protocol) in enumerate(zip(eids, ("trainingChoiceWorld6", "_iblrig_biasedChoiceWorld6"), strict=True)):
        row = {
            "session_date": "2024-01-01",
            "session_number": n,
            "ingested_at": "2024-01-01",
            "task_protocol": protocol,
        }
        schemas.Session.insert1({"eid": eid, "subject": "TRIALS", **row})
        schemas.Behavior.insert1({"eid": eid, "n_trials": (100, 500)[n]}, allow_direct_insert=True)
    yield eids
    (schemas.Subject & {"subject": "TRIALS"}).delete()


def test_sessions_are_left_out_with_their_reason(two_sessions):
    first, second = two_sessions
    assert usable(two_sessions) == (two_sessions, {})
    assert usable(two_sessions, min_trials=101) == ([second], {first: "it has 100 trials, fewer than 101"})
    assert usable(two_sessions, min_trials=100) == (two_sessions, {})
    assert usable(two_sessions, protocol="Biased") == (
        [second], {first: "its protocol is 'trainingChoiceWorld6'"}
    )  # fmt: skip


def test_sets_are_of_sessions_that_meet_the_criteria(tracked, demo_sessions):
    with pytest.raises(
        DataError, match=rf"no session meets the criteria. session {demo_sessions[0]}: it has \d+ trials"
    ):
        meso.best_sets("SP999", min_trials=100_000)
    with pytest.raises(DataError, match=r"no session meets the criteria.*its protocol is"):
        meso.best_sets("SP999", protocol="passive")
    assert meso.best_sets("SP999", [2], protocol="BIASED") == meso.best_sets("SP999", 2)
    meso.tag("first", demo_sessions[:2])
    try:
        (one,) = meso.best_sets("SP999", tag="first")
        assert list(one.eids) == demo_sessions[:2]
    finally:
        meso.untag("first")


@pytest.mark.one_backend  # other tests send its statements on both
def test_trials_that_meet_a_condition_are_counted(tracked, demo_sessions):
    tables = {eid: meso.trial_columns(eid) for eid in demo_sessions}
    n = {eid: int(((one.contrast > 0.1) & (one.correct == 1)).sum()) for eid, one in tables.items()}
    assert len(set(n.values())) > 1 and max(n.values()) < min(map(len, tables.values()))
    least = sorted(n.values())[1]
    expected = [eid for eid in demo_sessions if n[eid] >= least]
    condition = "correct and contrast > .1"
    with pytest.warns(
        UserWarning, match=rf"is left out: it has {min(n.values())} trials with contrast > 0.1 and correct"
    ):
        (one,) = meso.best_sets("SP999", [len(expected)], min_trials=least, trials=condition)
    assert list(one.eids) == expected
    assert list(meso.best_sets("SP999", [4], trials=condition)[0].eids) == demo_sessions
    text = run_meso(
        "sets", "SP999", "--size", str(len(expected)), "--min-trials", str(least), "--trials", condition
    )  # fmt: skip
    words = f"    meso ndc {' '.join(eid[:8] for eid in expected)} --trials 'contrast > 0.1 and correct'\n"
    assert words in text
    with pytest.raises(DataError, match=r"it has 0 trials with contrast > 3"):
        meso.best_sets("SP999", trials="contrast > 3")
    with pytest.raises(meso.ArgumentError, match="no column 'contrst'"):
        meso.best_sets("SP999", trials="contrst > 3")


def test_more_sessions_than_there_are_are_said(tracked):
    assert "there are 4 sessions to choose from" in run_meso("sets", "SP999", "--size", "8", code=1)
    words = "no set of 8 sessions: there are 4 sessions to choose from"
    assert words in run_meso("ndc", "SP999", "--best", "8", *WORDS, code=1)


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_the_command_prints_what_ndc_takes(tracked, tmp_path):
    rows = json.loads(run_meso("sets", "SP999", "--size", "2-4", "--json"))
    assert rows == [one.as_row() for one in meso.best_sets("SP999", [2, 3, 4])]
    assert rows == json.loads(run_meso("sets", "--subject", "SP999", "--size", "2-4", "--json"))
    for named in ((), ("SP999", "--subject", "SP072")):
        assert "Name one subject" in run_meso("sets", *named, code=2)
    text = run_meso("sets", "SP999", "--size", "3", "--csv", tmp_path / "sets.csv")
    assert f"3 sessions share {rows[1]['n_shared']} cells: {', '.join(rows[1]['session_dates'])}\n" in text
    assert f"    meso ndc {' '.join(eid[:8] for eid in rows[1]['eids'])}\n" in text
    (row,) = pd.read_csv(tmp_path / "sets.csv").to_dict("records")
    assert row["eids"].split() == rows[1]["eids"] and row["n_shared"] == rows[1]["n_shared"]
    table = json.loads(run_meso("ndc", "SP999", "--best", "3", *WORDS, "--json"))
    assert [line["eid"] for line in table] == rows[1]["eids"]
    assert {line["n_cells"] for line in table} == {rows[1]["n_shared"]}
    text = run_meso("ndc", "SP999", "--best", "3", *WORDS)
    assert f"the 3 of 4 sessions that share most cells, {rows[1]['n_shared']}" in text
    assert "no session meets the criteria" in run_meso("sets", "SP999", "--min-trials", "100000", code=1)
    for sizes in ("0-3", "4-2", "x", ""):
        assert "--size takes numbers" in run_meso("sets", "SP999", "--size", sizes, code=2)


# ---------------------------------------------------------------- pairs


@pytest.fixture(scope="module")
def pairs(tracked, demo_sessions) -> ManyRuns:
    return meso.neuron_dropping_curves_cached(demo_sessions, pairs="consecutive", progress=False, plot=False, **OPTIONS)


def test_pairs_are_neighbours_or_all(demo_sessions):
    assert list(pairs_of(demo_sessions, "consecutive").values()) == list(itertools.pairwise(demo_sessions))
    assert list(pairs_of(demo_sessions[::-1], "all").values()) == list(itertools.combinations(demo_sessions, 2))
    with pytest.raises(ArgumentError, match="consecutive, all, not 'each'"):
        pairs_of(demo_sessions, "each")
    with pytest.raises(DataError, match="a pair needs two sessions"):
        pairs_of(demo_sessions[:1], "all")


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_each_pair_has_all_cells_that_the_two_share(pairs, tracked, demo_sessions):
    assert [len(run.table) for run in pairs.runs.values()] == [2, 2, 2] and pairs.failed == {}
    for (first, second), run in zip(itertools.pairwise(demo_sessions), pairs.runs.values(), strict=True):
        assert run.n_shared == len(tracked[first] & tracked[second])
        assert run.table["eid"].tolist() == [first, second]
    everything = len(set.intersection(*tracked.values()))
    assert min(run.n_shared for run in pairs.runs.values()) >= everything
    table = pairs.table
    assert table["pair"].tolist() == [name for name in pairs.runs for _ in range(2)]
    assert table["n_shared"].tolist() == table["n_cells"].tolist()


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_a_note_says_what_the_shuffles_of_pairs_mean(pairs, demo_sessions):
    (note,) = [note for note in pairs.notes() if "shuffled labels of its own session" in note]
    assert "not that the two differ" in note and "q over all pairs" in note
    few = {**OPTIONS, "n_label_shuffles": 0}
    without = meso.neuron_dropping_curves_cached(demo_sessions[:2], pairs="all", progress=False, plot=False, **few)
    assert not [note for note in without.notes() if "shuffle" in note and "own session" in note]


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_q_of_pairs_is_over_all_curves(pairs):
    """Benjamini and Hochberg by their definition."""
    stored = schemas.NDCResult & [{"session_set": one} for one in pairs.table["session_set"].unique()]
    of_curve = {(r["session_set"], r["eid"], r["ndc_params"]): r["p_curve"] for r in stored.to_dicts()}
    p = np.array([of_curve[r.session_set, r.eid, r.ndc_params] for r in pairs.table.itertuples()])
    order = np.argsort(p)
    scaled = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    expected = np.empty(len(p))
    expected[order] = np.minimum(scaled, 1)
    assert pairs.table["q_value"].to_numpy(float) == pytest.approx(expected)


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_one_number_of_shuffles_that_would_do_is_said_of_all_pairs(pairs):
    """q is over the six curves of the table: 6 / (S + 1) is 0.05 with 119 shuffles, 120 are said."""
    assert len(pairs.table) == 6
    (note,) = [note for note in pairs.notes() if "cannot reach q" in note]
    assert "a single clear curve of 6 cannot" in note and "n_label_shuffles=120 " in note
    assert pairs.table["q_least"].tolist() == pytest.approx([6 / 10] * 6)


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_a_pair_that_fails_is_named_and_stops_no_other(tracked, demo_sessions):
    def ask(eids):
        if demo_sessions[1] in eids and demo_sessions[2] in eids:
            raise DataError("no cell is tracked in all sessions of the set")
        return run_ndc(eids, TrackingRun.register("SP999"), [NDCSettings("stimulus", **SMALL)])

    found = run_many("pair", pairs_of(demo_sessions, "consecutive"), ask)
    assert len(found.runs) == 2 and len(found.table) == 4
    ((name, message),) = found.failed.items()
    assert "no cell is tracked" in message and found.failure_lines() == [f"{name}: {message}"]


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_the_command_prints_one_table_of_pairs(pairs, demo_sessions, tmp_path):
    table = json.loads(run_meso("ndc", "SP999", "--pairs", "consecutive", *WORDS, "--json", "--output", tmp_path))
    assert [(row["pair"], row["eid"], row["n_shared"]) for row in table] == list(
        pairs.table[["pair", "eid", "n_shared"]].itertuples(index=False, name=None)
    )
    text = run_meso("ndc", "SP999", "--pairs", "consecutive", *WORDS)
    for name in pairs.runs:
        assert name in text
    (csv,) = tmp_path.glob("k_star_pairs_*.csv")
    assert pd.read_csv(csv)["pair"].tolist() == pairs.table["pair"].tolist()
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3


# ---------------------------------------------------------------- mice


@pytest.fixture(scope="module")
def single(tracked, demo_sessions):
    return run_ndc(demo_sessions, TrackingRun.register("SP999"), [NDCSettings("stimulus", **SMALL)])


@pytest.fixture(scope="module")
def three_mice(single) -> Iterator[list[str]]:
    """Two more mice with curves: one whose score falls by 0.02 a day, one with nothing but noise added."""
    rng = np.random.default_rng(3)
    for name, fall in zip(NAMES, (0.02, 0.0), strict=True):
        another_mouse(name, single.session_set, lambda scores, day, fall=fall: np.clip(
            scores - fall * day + 0.01 * rng.normal(size=scores.shape), 0, 1))  # fmt: skip
    yield ["SP999", *NAMES]
    for name in NAMES:
        forget_mouse(name)


@pytest.mark.one_backend  # words
def test_several_mice_are_asked_together_and_a_mouse_that_fails_is_named(single, three_mice):
    """The copies have stored curves and no files, so that asking for them again fails: they are named."""
    with pytest.warns(UserWarning, match="many A: "):
        found = meso.curves_of_mice(three_mice, progress=False, **OPTIONS)
    assert list(found.runs) == ["SP999"] and list(found.failed) == list(NAMES)
    assert found.table["subject"].unique().tolist() == ["SP999"]
    assert found.mice.subjects == ["SP999"] and found.mice.means


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_figure_of_mice_has_a_thin_line_for_each_and_the_mean_of_stored_slopes(single, three_mice):
    run = compare_mice(three_mice)
    figure = draw_mice(run)
    question = run.means[0]["question_name"]
    column = list(figure.axes)[:: len({row["question_name"] for row in run.means})]
    assert question[0].upper() + question[1:] in column[0].get_title(loc="left")
    score = next(ax for ax in figure.axes if ax.get_ylabel().startswith("sensitivity:\nscore"))
    lines = {line.get_label(): line for line in score.lines}
    assert set(three_mice) < set(lines)
    assert lines["mean"].get_linewidth() > 2 > lines["SP999"].get_linewidth()
    row = next(r for r in run.means if (r["question_name"], r["quantity"]) == (question, "score"))
    x, y = lines["mean"].get_data()
    assert np.polyfit(x, y, 1)[0] == pytest.approx(row["mean_slope"])


@pytest.mark.one_backend  # test_tags.py restricts by tags on both
def test_mice_of_a_tag_are_those_with_sets_of_its_sessions(single, three_mice, demo_sessions, tmp_path):
    members = (schemas.SessionSet.Member & (schemas.SessionSet & {"subject": NAMES[0]}).proj()).to_arrays("eid")
    meso.tag("some", [*demo_sessions, *sorted(set(members))])
    try:
        assert compare_mice(tag="some").subjects == sorted(["SP999", NAMES[0]])
        text = run_meso("mice", "--tag", "some", "--output", tmp_path)
        assert "2 mice" in text and NAMES[1] not in text
        assert len(list(tmp_path.glob("mice_over_days_*.png"))) == 1
        meso.untag("some", demo_sessions[:-1])  # of SP999 there is no set of one session
        with pytest.raises(NotFoundError, match="no curve of subject 'SP999' of a set whose sessions all have the tag"):
            compare_mice(["SP999"], tag="some")
    finally:
        meso.untag("some")


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_the_command_compares_the_mice_that_it_computed(single, three_mice, tmp_path):
    text = run_meso("ndc", "--subjects", "SP999,many A", *WORDS, "--output", tmp_path)
    assert "many A: " in text and "1 mouse: SP999" in text
    (csv,) = tmp_path.glob("k_star_subjects_*.csv")
    assert pd.read_csv(csv)["subject"].unique().tolist() == ["SP999"]
    assert list(tmp_path.glob("mice_over_days_*.png"))
    assert "--pairs is for the sessions of one mouse" in run_meso(
        "ndc", "--subjects", "SP999,many A", "--pairs", "all", *WORDS, code=2
    )
    assert "Name session ids" in run_meso("ndc", "--subjects", "SP999", "--subject", "SP999", *WORDS, code=2)
