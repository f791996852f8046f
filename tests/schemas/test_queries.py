"""Shared queries: their numbers of statements, and that errors are only those of the keys requested."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import numba
import numpy as np
import pytest
from support.statements import statements

import meso
import schemas
from drawing.screen import print_run
from page import queries as page
from pipeline.decoding import NDCSettings
from pipeline.errors import ConfigError, DataError
from schemas.decoding.results import Failure, NDCRun, stored_run
from schemas.decoding.run import match_cells, run_ndc
from schemas.queries.cells import n_shared_cells, presence
from schemas.queries.errors import errors_by_session, errors_of, tables_by_session
from schemas.queries.sessions import session_ids, sessions, trial_events
from schemas.queries.tracking_runs import (
    fovs_left_out,
    fovs_of_other_runs,
    latest_tracking_runs,
    tracking_run,
    tracking_run_of_sessions,
    tracking_runs,
)
from schemas.storage.bulk import columns
from schemas.tracking import TrackingRun

SMALL = {"ks": (4, 8), "r": 2, "n_label_shuffles": 2, "n_bootstrap": 4}
TARGETS = ("choice", "feedback", "stimulus")


@pytest.fixture(scope="module")
def tracking(demo_sessions) -> dict:
    return TrackingRun.register("SP999")


@pytest.fixture(scope="module")
def run(demo_sessions, tracking) -> NDCRun:
    """Twelve curves: three targets of four sessions."""
    return run_ndc(demo_sessions, tracking, [NDCSettings(target=target, **SMALL) for target in TARGETS])


def number_of_statements(ask, *arguments, **options) -> int:
    ask(*arguments, **options)  # DataJoint asks for the definition of a table the first time
    with statements() as sent:
        ask(*arguments, **options)
    return len(sent)


@contextmanager
def failed(table, *keys: dict, message: str = "planted") -> Iterator[None]:
    """Put errors into a job table while a block runs."""
    rows = [{**key, "status": "error", "priority": 5, "error_message": f"{message} {i}"} for i, key in enumerate(keys)]
    table.jobs.insert(rows)
    try:
        yield
    finally:
        (table.jobs & list(keys)).delete()


# ---------------------------------------------------------------- numbers of statements


def test_stored_curves_take_as_many_statements_for_one_as_for_twelve(run, demo_sessions):
    params = [target.ndc_params for target in run.targets]
    assert sum(len(target.curves) for target in run.targets) == 12
    numbers = {number_of_statements(stored_run, run.session_set, params[:n]) for n in (1, 2, 3)}
    assert numbers == {number_of_statements(stored_run, run.session_set, params, demo_sessions[:1])}
    assert len(numbers) == 1 and max(numbers) <= 18


def test_what_is_worth_knowing_of_stored_curves_takes_a_few_more(run, demo_sessions, tracking):
    params = [target.ndc_params for target in run.targets]
    places = [{"eid": eid, "fov": 0} for eid in demo_sessions[:2]]
    names = [(schemas.FOVFolder & place).fetch1("collection") for place in places]
    extra = [{"eid": place["eid"], "fov": 77, "collection": name} for place, name in zip(places, names, strict=True)]
    schemas.FOVFolder.insert(extra)
    with failed(schemas.TrialFeatures, *({**run.session_set, "ndc_params": one, "eid": eid}
                                         for one in params for eid in demo_sessions)):  # fmt: skip
        found = stored_run(run.session_set, params)
        assert len(found.failures) == 12 and sum("FOV_77" in note for note in found.notes) == 2
        assert number_of_statements(stored_run, run.session_set, params) <= 23
    (schemas.FOVFolder & "fov = 77").delete()


@pytest.mark.parametrize(
    ("ask", "most"),
    [
        (lambda eids: sessions("SP999") if len(eids) > 1 else sessions(eid=eids[0]), 8),
        (lambda eids: session_ids(eids), 1),
        (lambda eids: errors_of([schemas.FOV, schemas.TrackedFOV], [{"eid": eid} for eid in eids]), 1),
        (lambda eids: tracking_run_of_sessions(eids), 3),
        (lambda eids: [trial_events(eid) for eid in eids[:1]], 1),
        (lambda eids: page.tracking("SP999"), 4),
        (lambda eids: page.shared_cells("SP999", None, eids), 3),
        (lambda eids: page.ndc_choices("SP999"), 4),
    ],
    ids=["sessions", "session ids", "errors", "tracking run", "trial events", "tracking", "shared cells", "choices"],
)
def test_questions_take_no_more_statements_for_several_sessions(run, demo_sessions, ask, most):
    one, all_of_them = (number_of_statements(ask, eids) for eids in (demo_sessions[:1], demo_sessions))
    assert one == all_of_them <= most


def test_questions_of_a_subject_a_run_and_a_set_have_their_numbers_too(run, tracking):
    assert number_of_statements(tracking_runs, "SP999") == 1
    assert number_of_statements(tracking_run, "SP999", tracking["tracking_run"][:6]) == 1
    assert number_of_statements(latest_tracking_runs) == 1
    assert number_of_statements(presence, tracking) == 2
    assert number_of_statements(n_shared_cells, run.session_set) == 1
    assert number_of_statements(fovs_left_out, run.session_set) == 1
    assert number_of_statements(fovs_of_other_runs, run.session_set) == 1
    assert number_of_statements(errors_by_session) == 1


@pytest.mark.one_backend  # words
def test_a_fov_of_which_no_cell_is_in_all_sessions_is_noted_once(run):
    """ROICaT ran again for half of the days: each half shares its cells, and the FOV dropped out without a word."""
    connection = schemas.connect()
    connection.start_transaction()
    try:
        (schemas.SharedCells.Cell & run.session_set & "fov = 0").delete_quick()
        (line,) = fovs_of_other_runs(run.session_set)
    finally:
        connection.cancel_transaction()
    assert line.startswith("FOV_00: no cell is in all sessions of the set, although some are in several")


def test_a_stored_session_is_loaded_with_ten_statements(demo_sessions):
    eid = demo_sessions[0]
    whole = meso.load_or_embed(eid)
    n = len(whole["isort"])
    for restrict in (None, [3, 1, 1], [], range(n - 1)):
        assert number_of_statements(meso.load_or_embed, eid, restrict=restrict) <= 9


def test_matching_takes_two_statements_for_each_session(run, demo_sessions):
    numbers = []
    for n in (2, 4):
        meso.match_tracked_indices_across_sessions(demo_sessions[0], demo_sessions[1:n])
        numbers.append(
            number_of_statements(meso.match_tracked_indices_across_sessions, demo_sessions[0], demo_sessions[1:n])
        )
    assert numbers[1] - numbers[0] == 4 and numbers[1] <= 25


def test_columns_are_those_of_datajoint(demo_sessions):
    """On MySQL they come as JSON: numbers keep all their digits, and rows their order."""
    rois = (schemas.ROI & {"eid": demo_sessions[0]}) * schemas.FOV.proj("signal")
    names = ("roi", "ml", "time_offset", "cell_probability", "region_id", "signal", "roi_uuid")
    for order in (("fov", "roi"), ("signal", "stack_x", "fov", "roi")):
        found, own = columns(rois, *names, order_by=order), rois.to_arrays(*names, order_by=", ".join(order))
        for one, other in zip(found, own, strict=True):
            assert one.tolist() == other.tolist() and len(one)
    assert [len(one) for one in columns(rois & "roi < 0", "roi", "ml", order_by=("roi",))] == [0, 0]


def test_columns_of_numbers_are_those_of_datajoint_also_with_null(demo_sessions):
    """PostgreSQL leaves NULL out of the bytes that it sends, and DataJoint does not tell of NULL by an outer join."""
    rois = schemas.ROI & {"eid": demo_sessions[0], "fov": 0}
    names = ("roi", "is_neuron", "roi_type", "region_id", "ml", "ap", "cell_probability", "time_offset")
    whose = schemas.Session.extend(schemas.Behavior.proj("n_trials"))
    rois.connection.start_transaction()
    try:
        update, some = f"UPDATE {schemas.ROI.full_table_name} SET", f"WHERE eid = '{demo_sessions[0]}' AND fov = 0"
        rois.connection.query(f"{update} region_id = NULL, ml = NULL {some} AND roi IN (0, 3, 4)")
        rois.connection.query(f"{update} ap = NULL {some}")
        row = (schemas.Session & {"eid": demo_sessions[0]}).fetch1()
        schemas.Session.insert1({**row, "eid": "without trials", "session_number": 77})
        for query, asked, orders in (
            (rois, names, (("roi",), ("stack_x", "stack_y", "roi"))),
            (whose, ("session_number", "n_trials"), (("eid",),)),
        ):
            for order in orders:
                found = columns(query, *asked, order_by=order)
                rows = query.proj(*asked, *order).to_dicts(order_by=", ".join(order))
                assert [one.tolist() for one in found] == [[row[name] for row in rows] for name in asked]
                assert None in [row[asked[-1] if query is whose else "ml"] for row in rows]
    finally:
        rois.connection.cancel_transaction()


# ---------------------------------------------------------------- errors


def test_errors_are_those_of_the_keys_asked_for(run, demo_sessions):
    first, second, *_ = demo_sessions
    with failed(schemas.FOV, {"eid": first, "fov": 50}, {"eid": second, "fov": 50}):
        (found,) = errors_of([schemas.FOV], {"eid": second})
        assert found == {"table": "FOV", "key": {"eid": second, "fov": 50}, "message": "planted 1"}
        assert len(errors_of([schemas.FOV, schemas.Behavior], [{"eid": first}, {"eid": second}])) == 2
        assert errors_by_session() == {first: 1, second: 1}
        with pytest.raises(ConfigError, match="tracking_run: not an attribute"):
            errors_of([schemas.FOV], {"tracking_run": "a"})
    assert errors_of(tables_by_session(), {"eid": first}) == []


def test_an_error_of_another_tracking_run_is_not_a_reason(run, demo_sessions, tracking):
    """A FOV that is not in the set, and has an error in a tracking run other than the set's."""
    place, other = {"eid": demo_sessions[0], "fov": 0}, {"subject": "SP999", "tracking_run": "0" * 32}
    file = (schemas.TrackingFile & tracking & place).fetch1()
    schemas.TrackingRun.insert1({**other, "duplicates": "error", "registered_at": "2001-01-01"})
    schemas.TrackingFile.insert1({**file, **other})
    compared = schemas.SessionSet.FOV & run.session_set & place
    row = compared.fetch1()
    compared.delete_quick()
    with failed(schemas.TrackedFOV, {**other, **place}, message="of the other run"):
        (line,) = fovs_left_out(run.session_set)
        assert line == (
            f"session {place['eid']}, FOV_00: its cells are in no comparison. "
            f"It could not be compared when the set was made: ask again, with meso ndc"
        )
        assert "of the other run" in match_cells([place["eid"]], other)[1][place["eid"]]
    schemas.SessionSet.FOV.insert1(row)
    (schemas.TrackingRun & other).delete()


def test_an_error_of_another_set_is_not_a_reason(run, tracking):
    other = schemas.SessionSet.add([row["eid"] for row in run.targets[0].curves][:2], tracking, min_silhouette=0.9)
    with failed(schemas.SharedCells, run.session_set, message="of the first set"):
        with pytest.raises(DataError, match="shared cells of the sessions could not be determined") as error:
            n_shared_cells(other)
        assert "of the first set" not in str(error.value)
    (schemas.SessionSet & other).delete()


# ---------------------------------------------------------------- what the questions answer


def test_a_tracking_run_is_named_by_the_start_of_its_hash(demo_sessions, tracking):
    older = {"subject": "SP999", "tracking_run": tracking["tracking_run"][:4] + "0" * 28}
    schemas.TrackingRun.insert1({**older, "duplicates": "error", "registered_at": "2001-01-01"})
    assert tracking_run("SP999") == tracking_run_of_sessions(demo_sessions) == tracking
    assert tracking_run("SP999", older["tracking_run"][:9]) == older
    assert tracking_run_of_sessions(demo_sessions, older["tracking_run"]) == older
    assert [row["tracking_run"] for row in tracking_runs("SP999")][-1] == older["tracking_run"]
    assert latest_tracking_runs("SP999") == [tracking] and tracking in latest_tracking_runs()
    for named, found in ((tracking["tracking_run"][:4], "found 2"), ("x", "found 0")):
        with pytest.raises(DataError, match=f"no single tracking run {named} of SP999.*{found} with this start"):
            tracking_run("SP999", named)
    with pytest.raises(DataError, match=r"no tracking run of nobody\. Register one with: meso track nobody"):
        tracking_run("nobody")
    assert latest_tracking_runs("nobody") == []
    (schemas.TrackingRun & older).delete()


def test_presence_is_what_the_uid_files_say(demo_truth, tracking, demo_sessions):
    cells, rows, found = presence(tracking, neurons_only=False)
    assert [row["eid"] for row in rows] == demo_sessions
    for date, column in zip(demo_truth.dates, found.T, strict=True):
        files = demo_truth.root.glob(f"*/Subjects/*/{date}/001/alf/FOV_*/mpciROIs.clusterUIDs.csv")
        lines = {line for path in files for line in path.read_text().splitlines()}
        assert set(cells[column]) == lines - {"", "nan"}
    assert presence(tracking).found.sum() <= found.sum()


def test_trial_events_are_columns_of_the_table(demo_sessions):
    shown = trial_events(demo_sessions[0])
    rows = (schemas.Behavior.Trial & {"eid": demo_sessions[0]}).to_dicts(order_by="trial")
    rewarded = np.array([row["feedback_times"] if row["feedback_type"] == 1 else np.nan for row in rows], dtype=float)
    np.testing.assert_array_equal(shown.events["reward"], rewarded)
    np.testing.assert_array_equal(shown.probability_left, [row["probability_left"] for row in rows])
    assert list(shown.events) == ["stimulus on", "first movement", "reward", "error"]
    assert not len(trial_events("none").starts)


# ---------------------------------------------------------------- targets, and what failed


def test_the_same_target_twice_is_one_target(run, demo_sessions):
    out = meso.neuron_dropping_curves_cached(
        demo_sessions, ["choice", "choice"], ks=(4, 8), R=2, n_label_shuffles=2, n_bootstrap=4, progress=False
    )
    assert list(out.curves) == list(out.figures) == ["choice"] and len(out.table) == 4
    (params,) = {row["ndc_params"] for row in run.curves["choice"]}
    assert out.targets[0].ndc_params == params
    assert [target.name for target in stored_run(run.session_set, [params, {"ndc_params": params}]).targets] == [
        "choice"
    ]


def on_screen(run: NDCRun) -> Sequence[str]:
    text = io.StringIO()
    with redirect_stdout(text):
        print_run(run)
    return text.getvalue().splitlines()


def test_every_failure_is_kept_and_equal_ones_are_shown_once(run, demo_sessions):
    params = {target.name: target.ndc_params for target in run.targets}
    first, second, *_ = demo_sessions
    keys = [
        {**run.session_set, "ndc_params": params[name], "eid": eid}
        for name, eid in (("choice", first), ("feedback", first), ("stimulus", first), ("choice", second))
    ]
    with failed(schemas.TrialFeatures, *keys):
        for key in keys[:2]:
            schemas.TrialFeatures.jobs.update1({**key, "error_message": "alike"})
        found = stored_run(run.session_set, list(params.values()))
    assert len(found.failures) == 4 and set(found.failures) == {
        Failure(first, "choice", "TrialFeatures", "alike"),
        Failure(first, "feedback", "TrialFeatures", "alike"),
        Failure(first, "stimulus", "TrialFeatures", "planted 2"),
        Failure(second, "choice", "TrialFeatures", "planted 3"),
    }
    assert [failure.eid for failure in found.targets[1].failures] == [first]
    assert found.failed == {first: "choice, feedback: alike; stimulus: planted 2", second: "choice: planted 3"}
    assert sorted(line for line in on_screen(found) if line.startswith("! session")) == sorted([
        f"! session {first}: choice, feedback: alike", f"! session {first}: stimulus: planted 2",
        f"! session {second}: choice: planted 3",
    ])  # fmt: skip


def test_a_session_without_trials_fails_for_all_targets_at_once(run, demo_sessions):
    eid = demo_sessions[2]
    with failed(schemas.Behavior, {"eid": eid}, message=f"session {eid}: no trials table"):
        found = stored_run(run.session_set, [target.ndc_params for target in run.targets])
    assert found.failures == [Failure(eid, "", "Behavior", f"session {eid}: no trials table 0")]
    assert found.failure_lines() == [f"session {eid}: no trials table 0"]


# ---------------------------------------------------------------- whole commands, of a process that has just started

COMMAND = """
import sys
from datajoint.adapters import mysql, postgres
sent = []
for adapter in (mysql.MySQLAdapter, postgres.PostgreSQLAdapter):
    def get_cursor(self, connection, as_dict=False, make=adapter.get_cursor):
        sent.append(1)  # DataJoint makes a cursor for each statement
        return make(self, connection, as_dict)
    adapter.get_cursor = get_cursor
import schemas
{code}
print("statements", len(sent))
"""
RASTER = """
from populate_scripts.cli import main
sys.argv[1:] = ["raster", "{eid}", "--output", r"{folder}"]
try:
    main()
except SystemExit as end:
    assert not end.code, end
"""
CURVES = """
import meso
meso.neuron_dropping_curves_cached(
    {eids}, {targets}, ks=(4, 8), R=2, n_label_shuffles=2, n_bootstrap=4, progress=False
)
"""
IDLE_SCHEDULER = """
schemas.activate()
from populate_scripts.worker import Scheduler
from schemas.work.filling import SESSION_TABLES
from schemas.work.jobs import most_urgent
scheduler = Scheduler(SESSION_TABLES, print)
for again in range(2):
    sent.clear()
    scheduler._schedule(), most_urgent(SESSION_TABLES)
assert scheduler.done
"""


STATUS = """
schemas.activate()
from schemas.work.reports import status
assert status()
"""


@pytest.mark.parametrize(
    ("code", "most"),
    [
        ("schemas.activate()", 5),
        (STATUS, 8),
        ("schemas.activate()\nfrom schemas.queries.sessions import sessions\nassert len(sessions()) > 1", 13),
        ("import meso\nassert meso.load_or_embed('{eid}')", 14),
        pytest.param(RASTER, 32, marks=pytest.mark.one_backend),  # draws, and asks as load_or_embed does
        (CURVES, 55),
        (IDLE_SCHEDULER, 11),
    ],
    ids=["activation", "status", "sessions", "load_or_embed", "raster", "curves", "idle pass"],
)
def test_a_command_asks_few_times_from_its_start_on(run, demo_sessions, python_command, tmp_path, code, most):
    """Also of the definitions of the tables, of which the server would be asked hundreds of times."""
    code = code.format(eid=demo_sessions[0], eids=demo_sessions, targets=list(TARGETS), folder=tmp_path)
    for _ in range(2):  # the first time it may have something to compute
        done = python_command("-c", COMMAND.replace("{code}", code))
        assert done.returncode == 0, done.stderr
    number = int(done.stdout.split("statements ")[-1].split()[0])
    assert number <= most, number


@pytest.fixture
def elsewhere(run) -> Iterator[dict]:
    """Have a curve come from another kind of processor, and then from a machine of which nothing is known."""
    here = schemas.Environment.current()
    row = (schemas.Environment & here).fetch1()
    other = {"cpu_name": "znver2", "cpu_features": row["cpu_features"][1:], "blas_kernels": ["openblas 0.3.30 Zen"]}
    schemas.Environment.insert1({**row, "environment": "f" * 32, **other})
    table = schemas.NDCResult.full_table_name
    curve = f"WHERE eid = '{run.targets[0].curves[0]['eid']}' AND ndc_params = '{run.targets[0].ndc_params}'"
    query = schemas.NDCResult.connection.query
    query(f"UPDATE {table} SET environment = '{'f' * 32}' {curve}")
    yield row | {"lacking": row["cpu_features"][0]}
    query(f"UPDATE {table} SET environment = '{here['environment']}' {curve}")
    (schemas.Environment & {"environment": "f" * 32}).delete_quick()


def test_curves_of_different_processors_are_noted(run, elsewhere):
    def notes() -> list[str]:
        found = stored_run(run.session_set, [target.ndc_params for target in run.targets])
        with redirect_stdout(io.StringIO()) as printed:
            print_run(found)
        assert all(f"! {note}" in printed.getvalue() for note in found.notes)
        return [note for note in found.notes if "machines" in note]

    (note,) = notes()
    here = f"{elsewhere['cpu_name']}, {', '.join(elsewhere['blas_kernels'])}, numba {numba.__version__}"
    there = f"znver2 without {elsewhere['lacking']}, openblas 0.3.30 Zen, numba {numba.__version__}"
    assert set(note.partition(" (")[2].partition(")")[0].split("; ")) == {here, there}
    table = schemas.Environment.full_table_name
    schemas.Environment.connection.query(
        f"UPDATE {table} SET cpu_name = NULL, cpu_features = NULL, blas_kernels = NULL WHERE environment = '{'f' * 32}'"
    )
    assert notes() == []
