"""Deleting sessions: the preview, what is deleted, kept and recorded; names that are not attributes."""

from __future__ import annotations

import datetime
import logging
import os
import platform
from collections.abc import Iterator
from types import SimpleNamespace

import datajoint as dj
import pytest
from click.testing import CliRunner
from support.statements import statements

import schemas
from pipeline.decoding import NDCSettings
from pipeline.errors import ArgumentError, ConfigError, DataError
from populate_scripts.cli import main
from schemas.cascade import Cascade, WholeDelete, preview
from schemas.rows import checked, jobs_of
from schemas.server.binding import MODULES, table_modules
from schemas.upkeep.deletion import delete_sessions
from schemas.work.heartbeat import connects_like
from schemas.work.tables import Attempt

SUBJECT = "DELETED"
EIDS = [f"00000000-0000-3000-8000-00000000de{n:02d}" for n in range(3)]
#: Rows deleted with the first session, which is in two of the three sets.
FIRST = {
    "Session": 1, "FOVFolder": 2, "TrackingFile": 2, "SessionSet": 2, "SessionSet.Member": 5, "NDCTask": 1,
    "NDCFamily": 1, "NDCFamily.Member": 1,
}  # fmt: skip


@pytest.fixture
def planted(database) -> Iterator[SimpleNamespace]:
    """Three sessions of two FOVs, and sets of the first two, of all, and of the last two."""
    when = datetime.datetime(2024, 1, 1)
    run = {"subject": SUBJECT, "tracking_run": "d" * 32}
    sets = [{"session_set": f"{n}" * 32} for n in range(3)]
    members = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    fovs = [{"eid": eid, "fov": fov} for eid in EIDS for fov in range(2)]
    file = {"uid_origin": "x", "uid_sha256": "0" * 64, "uid_text": "a\nb\n"}
    params = schemas.NDCParams.add(NDCSettings("choice", r=3, seed=99))
    schemas.Subject.insert1({"subject": SUBJECT})
    schemas.Session.insert(
        {"eid": eid, "subject": SUBJECT, "session_date": when.date(), "session_number": n, "ingested_at": when}
        for n, eid in enumerate(EIDS)
    )
    schemas.FOVFolder.insert({**fov, "collection": f"alf/FOV_{fov['fov']:02d}"} for fov in fovs)
    schemas.TrackingRun.insert1({**run, "duplicates": "error", "registered_at": when})
    schemas.TrackingFile.insert({**run, **fov, **file} for fov in fovs)
    schemas.SessionSet.insert({**one, **run, "set_neurons_only": True} for one in sets)
    schemas.SessionSet.Member.insert({**sets[one], "eid": EIDS[member]} for one, member in members)
    schemas.NDCTask.insert({**one, **params} for one in sets[1:])
    schemas.NDCFamily.add([{**sets[1], **params}])
    schemas.NDCFamily.add([{**sets[2], **params}])
    before = set(schemas.Deletion.to_arrays("deletion"))
    yield SimpleNamespace(
        run=run, sets=sets, new=lambda: [r for r in schemas.Deletion.to_dicts() if r["deletion"] not in before]
    )
    mine, of_sets = {"subject": SUBJECT}, [dict(one) for one in sets]
    families = [{"ndc_family": key} for key in (schemas.NDCFamily.Member & of_sets).to_arrays("ndc_family")]
    for rows in (  # leaves first: quicker than a cascade
        schemas.NDCFamily.Member & families, schemas.NDCFamily & families, schemas.NDCTask & of_sets,
        schemas.SessionSet.Member & of_sets, schemas.SessionSet & of_sets, schemas.TrackingFile & mine,
        schemas.TrackingRun & mine, schemas.FOVFolder & [{"eid": eid} for eid in EIDS], schemas.Session & mine,
        schemas.Subject & mine, schemas.NDCParams & params,
    ):  # fmt: skip
        rows.delete_quick()


def numbers() -> dict[str, int]:
    """Return the number of rows of each table of the sessions and what is made of them, counted by SQL."""
    tables = (
        schemas.Subject, schemas.Session, schemas.FOVFolder, schemas.TrackingRun, schemas.TrackingFile,
        schemas.SessionSet, schemas.NDCParams, schemas.NDCTask, schemas.NDCFamily,
    )  # fmt: skip
    named = {table.__name__: table for table in tables}
    named |= {"SessionSet.Member": schemas.SessionSet.Member, "NDCFamily.Member": schemas.NDCFamily.Member}
    query = schemas.Session.connection.query
    return {name: query(f"SELECT count(*) FROM {table.full_table_name}").fetchone()[0] for name, table in named.items()}


def lost(before: dict[str, int]) -> dict[str, int]:
    after = numbers()
    return {name: n - after[name] for name, n in before.items() if n != after[name]}


# ---------------------------------------------------------------- from Python


def test_a_preview_says_what_goes_and_deletes_nothing(planted):
    before = numbers()
    assert preview(schemas.Session & {"eid": EIDS[0]}) == FIRST
    assert next(iter(preview(schemas.Session & {"eid": EIDS[0]}))) == "Session"
    assert lost(before) == {}
    assert planted.new() == []


@pytest.mark.parametrize("of", [EIDS[:1], EIDS[1:], EIDS, ["none"]])
def test_what_goes_is_what_datajoint_finds(planted, demo_sessions, of):
    """Of sessions in sets, and of those of the demo, which are read, tracked, embedded and decoded."""
    for eids in (of, demo_sessions[:2] if of == EIDS else []):
        rows = schemas.Session & [{"eid": eid} for eid in eids]
        with statements() as sent:
            found = preview(rows)
        assert len(sent) < 10
        own = {table.full_table_name: len(table) for table in dj.Diagram.cascade(rows, part_integrity="cascade")}
        titles = {table.full_table_name: title for title, table in Cascade(rows).tables.items()}
        assert titles.keys() == own.keys()
        assert found == {titles[name]: n for name, n in own.items() if n}


def test_a_session_goes_with_what_depends_on_it_and_nothing_else_and_is_recorded(planted, database):
    before, begin = numbers(), datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert delete_sessions({"eid": EIDS[0]}) == FIRST
    assert lost(before) == FIRST
    assert len(schemas.Session & {"subject": SUBJECT}) == 2
    assert (schemas.SessionSet & planted.run).to_arrays("session_set").tolist() == ["2" * 32]
    (row,) = planted.new()
    assert row["deleted_table"] == "Session"
    assert row["deleted_keys"] == [{"eid": EIDS[0]}]
    assert row["deleted_rows"] == FIRST
    assert row["deleted_from"] == platform.node()
    user = "postgres" if database.adapter.backend == "postgresql" else os.environ["DJ_USER"]
    assert row["deleted_by"].split("@")[0] == user
    assert abs((row["deleted_at"] - begin).total_seconds()) < 60


def test_nothing_is_deleted_without_confirmation(planted):
    before, shown = numbers(), []
    assert delete_sessions({"eid": EIDS[0]}, lambda counts: shown.append(counts)) == {}
    assert shown == [FIRST]
    assert lost(before) == {}
    assert planted.new() == []


def test_datajoints_own_delete_is_recorded_too(planted):
    before = numbers()
    assert (schemas.SessionSet & planted.sets[0]).delete() == 1
    gone = {"SessionSet": 1, "SessionSet.Member": 2}
    assert lost(before) == gone
    (row,) = planted.new()
    assert (row["deleted_table"], row["deleted_rows"]) == ("SessionSet", gone)
    assert (schemas.SessionSet & planted.sets[0]).delete() == 0
    assert len(planted.new()) == 1


@pytest.mark.parametrize(("answer", "gone"), [("no", {}), ("yes", FIRST)])
def test_datajoints_own_delete_asks(planted, monkeypatch, caplog, answer, gone):
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    monkeypatch.setitem(dj.config, "safemode", True)
    monkeypatch.setattr(logging.getLogger("datajoint"), "propagate", True)
    before = numbers()
    with caplog.at_level("INFO", logger="datajoint"):
        assert (schemas.Session & {"eid": EIDS[0]}).delete() == bool(gone)
    assert "SessionSet.Member: 5 rows" in caplog.text
    assert lost(before) == gone
    assert len(planted.new()) == bool(gone)


def test_within_a_transaction_it_is_part_of_it(planted, database):
    before = numbers()

    database.start_transaction()
    (schemas.Session & {"eid": EIDS[0]}).delete(prompt=False)
    assert len(planted.new()) == 1
    database.cancel_transaction()
    assert lost(before) == {}
    assert planted.new() == []


@pytest.fixture
def undeletable(database) -> Iterator[None]:
    """The server refuses to delete sessions, after all that depends on them."""
    table, schema = schemas.Session.full_table_name, schemas.Session.database
    if database.adapter.backend == "mysql":
        database.query(
            f"CREATE TRIGGER `{schema}`.`refuse` BEFORE DELETE ON {table} FOR EACH ROW "
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'planted refusal'"
        )
    else:
        database.query(
            f"CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'planted refusal'; END $$"
        )
        database.query(
            f"CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()"
        )
    yield
    if database.adapter.backend == "mysql":
        database.query(f"DROP TRIGGER `{schema}`.`refuse`")
    else:
        database.query(f"DROP FUNCTION {schema}.refuse() CASCADE")


def test_a_delete_that_fails_leaves_everything_and_no_record(planted, request):
    before = numbers()
    request.getfixturevalue("undeletable")
    with pytest.raises(Exception, match="planted refusal"):
        delete_sessions({"eid": EIDS[0]})
    assert lost(before) == {}
    assert planted.new() == []


@pytest.mark.one_backend  # on MySQL the other connection waits, and is then refused
def test_rows_that_are_added_meanwhile_stop_a_delete(planted, database, monkeypatch):
    """It was PostgreSQL's RestrictViolation."""
    before, delete = numbers(), dj.Table.delete_quick
    connection = connects_like(database)()
    connection.autocommit = True

    def added_before(self, get_count=False):
        if self.full_table_name == schemas.Session.full_table_name:
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {schemas.FOVFolder.full_table_name} VALUES (%s, 5, 'x')", (EIDS[0],))
        return delete(self, get_count)

    monkeypatch.setattr(dj.Table, "delete_quick", added_before)
    with pytest.raises(DataError, match="rows that depend on these were added while they were deleted"):
        delete_sessions({"eid": EIDS[0]})
    connection.close()
    assert lost(before) == {"FOVFolder": -1}


# ---------------------------------------------------------------- its jobs


def jobs_of_sessions(planted) -> list[tuple[dj.Table, dict]]:
    """Return tables and keys of jobs: for each session one of Behavior, of FOV and of TrialFeatures."""
    params = schemas.NDCParams.add(NDCSettings("choice", r=3, seed=99))
    found = []
    for n, eid in enumerate(EIDS):
        found += [
            (schemas.Behavior, {"eid": eid}), (schemas.FOV, {"eid": eid, "fov": n % 2}),
            (schemas.TrialFeatures, {**planted.sets[2 if n else 1], **params, "eid": eid}),
        ]  # fmt: skip
    return found


@pytest.mark.parametrize("status", ["pending", "error", "ignore"])
def test_jobs_go_with_the_rows_that_they_are_about(planted, status):
    """An error of a deleted session was taken for one of the session that was registered again."""
    jobs = jobs_of_sessions(planted)
    for table, key in jobs:
        jobs_of(table).insert1({**key, "status": status, "priority": 5})
        Attempt.record(table.__name__, key, "n_deaths")
    (schemas.SessionSet & planted.sets[0]).delete()
    assert all(jobs_of(table) & key for table, key in jobs)
    delete_sessions({"eid": EIDS[0]})
    left = [key for table, key in jobs if jobs_of(table) & key]
    try:
        assert left == [key for _, key in jobs if key["eid"] != EIDS[0]]
        assert len(Attempt & {"table_name": "FOV"}) == 2
    finally:
        for table, key in jobs:
            (jobs_of(table) & key).delete()
            Attempt.clear(table.__name__, [key])


# ---------------------------------------------------------------- the record


def test_every_table_of_data_records_what_is_deleted():
    """Except what workers note about themselves, and the records."""
    records = {"SchemaVersion", "DatabaseId", "Deletion"}
    without = {
        table.__name__
        for name, module in table_modules().items()
        for table, _ in module.schema.declare_list
        if name in MODULES and name != "workers" and not issubclass(table, WholeDelete | dj.Part)
    }
    assert without == records


def test_what_is_deleted_quickly_or_replaced_is_recorded(planted):
    schemas.Session.update1({"eid": EIDS[0], "one_cache_dir": "/moved"})
    (row,) = planted.new()
    assert (row["deleted_table"], row["deleted_keys"]) == ("Session", [{"eid": EIDS[0]}])
    assert row["deletion_reason"] == "replaced one_cache_dir"
    assert (row["deleted_from"], row["deleted_rows"]) == (platform.node(), {"Session": 1})
    (schemas.TrackingFile & {"eid": EIDS[0], "fov": 1}).delete_quick()
    (row,) = [row for row in planted.new() if row["deleted_table"] == "TrackingFile"]
    assert row["deleted_keys"] == [{**planted.run, "eid": EIDS[0], "fov": 1}]
    assert (schemas.TrackingFile & {"eid": EIDS[0], "fov": 1}).delete_quick(get_count=True) == 0
    assert len(planted.new()) == 2
    with pytest.raises(ArgumentError, match="rows of FOVFolder are not replaced"):
        schemas.FOVFolder.insert1({"eid": EIDS[0], "fov": 0, "collection": "x"}, replace=True)
    assert (schemas.FOVFolder & {"eid": EIDS[0], "fov": 0}).fetch1("collection") == "alf/FOV_00"


@pytest.mark.parametrize("name", ["Behavior", "Embedding"])
def test_what_is_populated_is_recorded_when_it_is_deleted(planted, name):
    key = {"eid": EIDS[0]}
    row = {"n_trials": 1}
    if name == "Embedding":
        row = {**schemas.EmbeddingParams.keys(limit=1)[0], "n_embedded": 1, "n_clock_frames": 1}
        row |= schemas.Environment.current()
    table = getattr(schemas, name)
    table.insert1({**key, **row}, allow_direct_insert=True)
    assert (table & key).delete() == 1
    (row,) = planted.new()
    assert (row["deleted_table"], row["deleted_rows"]) == (name, {name: 1})


def test_a_comparison_that_a_new_curve_makes_invalid_is_recorded(planted):
    (family,) = (schemas.NDCFamily.Member & planted.sets[1]).keys()
    name = {"ndc_family": family["ndc_family"]}
    counts = {"n_judged": 0, "n_lacking": 0}
    schemas.NDCComparison.insert1({**name, **counts, **schemas.Environment.current()}, allow_direct_insert=True)
    schemas.NDCComparison.invalidate(family)
    (row,) = planted.new()
    assert (row["deleted_table"], row["deleted_keys"]) == ("NDCComparison", [name])


# ---------------------------------------------------------------- names that are not attributes


@pytest.mark.parametrize("restriction", [{"edi": EIDS[0]}, [{"eid": EIDS[0]}, {"session": 1}], ({"eid": 1, "x": 2},)])
def test_a_name_that_is_not_an_attribute_deletes_nothing(planted, restriction):
    before = numbers()
    with pytest.raises(
        ConfigError, match=r"(edi|session|x): not an attribute of Session; its attributes are eid, subject, "
    ):
        delete_sessions(restriction)
    assert lost(before) == {}


@pytest.mark.parametrize("restriction", [{}, True, [{}], [[{}]]])
def test_no_restriction_deletes_nothing(planted, restriction):
    before = numbers()
    with pytest.raises(ConfigError, match="an empty restriction would be all of them"):
        delete_sessions(restriction)
    assert lost(before) == {}


@pytest.mark.parametrize("restriction", [{"eid": "x"}, []])
def test_sessions_that_are_not_there(planted, restriction):
    with pytest.raises(DataError, match="no registered session matches"):
        delete_sessions(restriction)


def test_checked_returns_what_datajoint_would_heed(planted):
    key, both = {"eid": EIDS[0]}, (schemas.Session, schemas.FOVFolder)
    for restriction in (key, [key, "fov = 1"], "typo = 1", schemas.Session & key, True, dj.Not(key)):
        assert checked(restriction, *both) is restriction
    with pytest.raises(ConfigError, match="fov: not an attribute of Session;"):
        checked({**key, "fov": 0}, *both)
    with pytest.raises(ConfigError, match="typo: not an attribute of FOVFolder;"):
        checked(dj.AndList([key, {"typo": 0}]), schemas.FOVFolder)
    with pytest.raises(ConfigError, match="typo: not an attribute of FOVFolder;"):
        checked(dj.Not({"typo": 0}), schemas.FOVFolder)


# ---------------------------------------------------------------- the command


@pytest.mark.one_backend  # other tests send its statements on both
def test_the_command_asks_for_the_session(planted, meso_command):
    before = numbers()
    for answer in ("y\n", ""):
        done = meso_command("delete", EIDS[0], given=answer)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "rows deleted" not in done.stdout
    assert lost(before) == {}
    done = meso_command("delete", EIDS[0], given=f"{EIDS[0]}\n")
    assert done.returncode == 0, done.stderr
    shown = [line.split() for line in done.stdout.splitlines()]
    assert {name: [name, str(n)] in shown for name, n in FIRST.items()} == dict.fromkeys(FIRST, True)
    assert done.stdout.endswith(f"{sum(FIRST.values())} rows deleted\n")
    assert lost(before) == FIRST
    assert len(planted.new()) == 1


def test_the_command_asks_for_the_number_of_several(planted, meso_command):
    done = meso_command("delete", "--subject", SUBJECT, given="2\n")
    assert "Type 3, the number of sessions, to delete all of this" in done.stdout
    assert done.stdout.endswith("Nothing was deleted\n")
    assert done.returncode == 1
    done = meso_command("delete", *EIDS[:2], "--yes")
    assert done.returncode == 0, done.stderr
    assert (schemas.Session & {"subject": SUBJECT}).to_arrays("eid").tolist() == EIDS[2:]
    assert len(schemas.Subject & {"subject": SUBJECT}) == 1


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        ([], 2, "Name session ids, or --subject"),
        (["--subject", "nobody"], 1, "not registered: nobody"),
        ([EIDS[0], "typo"], 1, "not registered: typo"),
        ([EIDS[0], "--subject", SUBJECT], 1, "Name session ids, or --subject"),
    ],
)
@pytest.mark.one_backend  # other tests send its statements on both
def test_the_command_refuses_what_is_not_there(planted, args, code, text):
    before = numbers()
    done = CliRunner().invoke(main, ["delete", *args, "--yes"])
    assert done.exit_code == code
    assert text in done.output
    assert lost(before) == {}
