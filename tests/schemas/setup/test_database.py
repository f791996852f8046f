"""Servers that do not answer or refuse; declaring, migrating and sharing the tables; views; the embedded server."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import version_1, version_10
from support.databases import (
    CANARY,
    closed_port,
    columns,
    declared,
    drop,
    full,
    leave,
    one_line,
    own_prefix,
    own_server,
    schema_list,
)

import schemas
from pipeline.errors import ConfigError
from schemas.server import embedded, settings
from schemas.server.binding import MODULES, auto_populated
from schemas.server.connection import SERVER_VARIABLES, check_server
from schemas.setup import migrations
from schemas.setup.activation import activate

OWN: dict[str, None] = dict.fromkeys(SERVER_VARIABLES)
#: Columns of each view, in order.
VIEWS = {
    "session": "eid subject session_date session_number task_protocol projects ingested_at lab",
    "session_tag": "eid tag tagged_by tagged_at subject session_date session_number",
    "label_set": "label_set label_name labelled_by labelled_at label_kind",
    "behavior": "eid subject session_date session_number n_trials performance",
    "fov": "eid fov n_rois n_neurons n_frames frame_period imaging_start imaging_end n_bouts signal region_source "
    "mlapdv_source subject session_date session_number",
    "roi": "eid fov roi is_neuron roi_type cell_probability region_id ml ap dv stack_y stack_x stack_z time_offset "
    "roi_uuid region region_name rgb beryl cosmos subject session_date session_number",
    "atlas_outline": "region_id polygons name_ml name_ap name_room voxel_size iblatlas_version outlined_at "
    "region region_name",
    "tracked_cell": "subject tracking_run eid fov roi cell_uid silhouette session_date session_number",
    "ndc_summary": "session_set ndc_params eid n_cells n_decoded ceiling k_star k_star_low k_star_high k_star_censored "
    "p_largest null_used fit_family asymptote asymptote_low asymptote_high k50 k50_low k50_high k90 k90_low k90_high "
    "k95 k95_low k95_high verdict c_used score_c1 k_star_continuous k_star_continuous_low k_star_continuous_high "
    "k_half k_half_low k_half_high p_curve n_minority "
    "subject session_date session_number target event win_start win_end "
    "class_balance r metric c delta n_label_shuffles fold_mode curve_axis trial_shuffled cells regions fovs max_cells "
    "null_subsets use_flagged_frames penalty intervals choice_model imposter_align beyond trials labels "
    "decoded_signal c_range shared_folds",
    "ndc_curve": "session_set ndc_params eid k score_mean score_sd score_low score_high null_mean null_low null_high "
    "p_value mean_low mean_high n_cells n_decoded ceiling k_star null_used verdict subject session_date "
    "session_number target event win_start win_end class_balance r metric c delta n_label_shuffles fold_mode "
    "curve_axis trial_shuffled cells regions fovs max_cells null_subsets use_flagged_frames penalty intervals "
    "choice_model imposter_align beyond trials labels decoded_signal c_range "
    "shared_folds",
    "ndc_comparison": "ndc_family session_set ndc_params eid q_value k_star_common subject session_date session_number "
    "target",
    "ndc_trend": "ndc_family session_set ndc_params k_star_slope slope_low slope_high slope_p n_dated n_censored "
    "target subject tracking_run",
    "ndc_day_trend": "ndc_family session_set ndc_params quantity day_slope day_low day_high day_p fixed_low fixed_high "
    "fixed_p n_days n_at_chance trend_k target subject tracking_run",
    "transfer": "session_set ndc_params scaler eid train_eid transfer_q relative n_train transfer_score transfer_low "
    "transfer_high transfer_p refit_score half_score subject session_date session_number train_date target",
    "transfer_decay": "session_set ndc_params scaler n_tested n_untested n_above_chance mean_transfer "
    "mean_transfer_low mean_transfer_high decay_slope decay_low decay_high decay_p decay_intercept target subject "
    "tracking_run",
    "ndc_day_value": "ndc_family session_set ndc_params eid quantity day_value day_value_low day_value_high subject "
    "session_date session_number target",
    "cell_response": "eid fov window_set selectivity_params roi signal_to_noise split_half sparseness window_set_name "
    "subject session_date session_number",
    "cell_selectivity": "eid fov window_set selectivity_params roi target auroc auroc_p auroc_null_low "
    "auroc_null_high window_set_name subject session_date session_number",
    "stability": "session_set window_set stability_params region similarity gap_days gap_stability gap_low "
    "gap_high n_gap_pairs n_gap_unreliable n_gap_cells window_set_name subject tracking_run",
    "shared_embedding": "session_set embedding_params days_params n_shared_embedded n_shared_columns shared_signal "
    "shared_windows embedded bin_seconds min_type_trials window_set subject tracking_run",
    "shared_embedding_cell": "session_set embedding_params days_params shared_cell subject tracking_run eid fov roi "
    "cell_uid shared_rank session_date session_number",
    "job": "table_name entry_key status created_time scheduled_time reserved_time completed_time host pid worker "
    "message",
    "worker": "worker host pid slot started heartbeat ended end_reason python_version packages git_commit table_name "
    "entry_key reserved_time",
}


@pytest.fixture
def fresh(database) -> Iterator[str]:
    """A prefix without tables; what is made with it is dropped."""
    prefix = settings.prefix() + "x_"
    yield prefix
    drop(database, prefix)


# ---------------------------------------------------------------- servers that do not answer


@pytest.mark.one_backend  # no server is asked, of either kind
@pytest.mark.parametrize(("kind", "command"), [("mysql", ["status"]), ("postgresql", ["db", "init"])])
def test_no_server(meso_command, kind, command):
    port = closed_port()
    env = {"DJ_BACKEND": kind, "DJ_HOST": "127.0.0.1", "DJ_PORT": str(port), "DJ_USER": "me", "DJ_PASS": CANARY}
    line = one_line(meso_command(*command, env=env))
    assert line.startswith(f"Error: The {kind} server 127.0.0.1:{port} does not answer (")
    assert "DJ_HOST, DJ_PORT and DJ_BACKEND" in line


@pytest.mark.one_backend  # as above
@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_a_host_without_user(meso_command, kind):
    done = meso_command("status", env={**OWN, "DJ_HOST": "127.0.0.1", "DJ_BACKEND": kind})
    assert one_line(done).startswith(f"Error: User and password for the {kind} server 127.0.0.1:")
    assert "DJ_USER and DJ_PASS" in done.stderr


@pytest.fixture
def password_needed(database, backend) -> Iterator[str]:
    """A user of the tests' server who needs a password."""
    if backend == "mysql":
        yield os.environ["DJ_USER"]
        return
    user, rules = f"{settings.prefix()}user", embedded.folder() / "pg_hba.conf"
    before = rules.read_text()
    database.query(f"CREATE ROLE {user} LOGIN PASSWORD 'right'")
    rules.write_text(f"local all {user} scram-sha-256\n{before}")
    database.query("SELECT pg_reload_conf()")
    yield user
    rules.write_text(before)
    database.query("SELECT pg_reload_conf()")
    database.query(f"DROP ROLE {user}")


def test_wrong_password(meso_command, password_needed, backend):
    env = {**own_server(backend), "DJ_USER": password_needed, "DJ_PASS": CANARY}
    line = one_line(meso_command("status", env=env))
    assert f" refuses user {password_needed}: wrong user name or password (DJ_USER, DJ_PASS)" in line


@pytest.mark.parametrize(
    ("backend_name", "banner", "refused"),
    [
        ("mysql", "10.11.6-MariaDB-1", "MariaDB"),
        ("mysql", "5.5.5-10.11.6-MariaDB-1:10.11.6+maria~ubu2204", "MariaDB"),
        ("mysql", "8.0.12", "too old.*8.0.13 or later"),
        ("mysql", "5.7.44", "too old"),
        ("mysql", "8.0.13", None),
        ("mysql", "8.0.36-0ubuntu0.22.04.1", None),
        ("mysql", "8.4.3", None),
        ("mysql", "9.7.4", None),
        ("postgresql", "14.11 (Debian 14.11-1.pgdg120+2)", "too old.*15.0.0"),
        ("postgresql", "9.6.24", "too old"),
        ("postgresql", "15.1 (Ubuntu 15.1-1.pgdg22.04+1)", None),
        ("postgresql", "18.6", None),
    ],
)  # fmt: skip
def test_versions(backend_name, banner, refused):
    adapter = SimpleNamespace(backend=backend_name, server_version=lambda _: banner)
    connection = SimpleNamespace(adapter=adapter, _conn=None)
    if refused is None:
        check_server(connection)
    else:
        with pytest.raises(ConfigError, match=refused):
            check_server(connection)


# ---------------------------------------------------------------- making the tables


def test_commands_on_a_server_without_tables_declare_nothing(database, backend, meso_command, fresh):
    env, before = {**own_server(backend), "MESO_PREFIX": fresh}, schema_list(database)
    for command in ("status", "populate"):
        line = one_line(meso_command(command, env=env))
        assert line.startswith(f"Error: The database has no tables with the prefix {fresh}")
        assert line.endswith("Declare them once with: meso db init")
    (row,) = json.loads(meso_command("db", "status", "--json", env=env).stdout)
    assert (row["server"], row["prefix"], row["tables"], row["code"]) == ("own", fresh, None, migrations.LATEST)
    assert schema_list(database) == before


@pytest.mark.parametrize("prefix", ["Meso_", "meso-", "1meso", "meso_; drop", "", "a" * 40])
def test_invalid_prefix(monkeypatch, prefix):
    monkeypatch.setenv("MESO_PREFIX", prefix)
    with pytest.raises(ConfigError, match=f"MESO_PREFIX={prefix!r}: use lower-case letters"):
        settings.prefix()


@pytest.mark.one_backend  # it is refused before a server is asked
def test_invalid_prefix_on_the_command_line(meso_command):
    assert "MESO_PREFIX='Meso-': use lower-case letters" in one_line(
        meso_command("status", env={"MESO_PREFIX": "Meso-"})
    )


def test_two_inits_at_once_and_prefixes_keep_apart(database, backend, meso_command, fresh):
    env = {**own_server(backend), "MESO_PREFIX": fresh}
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: meso_command("db", "init", env=env), range(2)))
    again = meso_command("db", "init", env=env)
    for done in (*both, again):
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"The tables are at version {migrations.LATEST}\n"
    versions = database.query(
        f"SELECT schema_version FROM {full(database, fresh, 'provenance', 'schema_version')}"
    ).fetchall()
    assert [row[0] for row in versions] == [one.number for one in migrations.MIGRATIONS]
    assert {fresh + name for name in (*MODULES, "views")} <= schema_list(database)

    there, here = full(database, fresh, "session", "subject"), schemas.Subject & {"subject": "APART"}
    database.query(f"INSERT INTO {there} (subject) VALUES ('APART')")
    assert len(here) == 0
    assert database.query(f"SELECT count(*) FROM {full(database, fresh, 'views', 'session')}").fetchone()[0] == 0
    database.query(f"DELETE FROM {there}")
    schemas.Subject.insert1({"subject": "APART"})
    assert database.query(f"SELECT count(*) FROM {there}").fetchone()[0] == 0
    here.delete()
    assert json.loads(meso_command("status", "--json", env=env).stdout)


def test_the_embedded_database_makes_its_tables_by_itself(database, backend, meso_command, fresh):
    if backend != "postgresql":
        pytest.skip("the embedded database is a PostgreSQL")
    done = meso_command("status", env={"MESO_PREFIX": fresh})
    assert done.returncode == 0, done.stderr
    assert {fresh + name for name in (*MODULES, "views")} <= schema_list(database)


def test_a_process_cannot_change_its_prefix(database, monkeypatch):
    activate()
    monkeypatch.setenv("MESO_PREFIX", "another_")
    with pytest.raises(ConfigError, match="cannot change to another_"):
        activate()


def test_every_populated_table_has_its_job_table(database):
    tables = auto_populated()
    assert len(tables) == 23
    for table in tables:
        name = table.jobs.table_name
        assert {"status", "error_message"} <= set(columns(database, table.database, name)), name


def test_a_process_that_declares_nothing_can_populate(database, meso_command):
    run = {"subject": "DB01", "tracking_run": "0" * 32}
    eid = "00000000-0000-3000-8000-00000000db01"
    schemas.Subject.insert1({"subject": "DB01"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    schemas.Session.insert1({"eid": eid, "subject": "DB01", **row})
    schemas.FOVFolder.insert1({"eid": eid, "fov": 0, "collection": "alf/FOV_00"})
    schemas.TrackingRun.insert1({**run, "duplicates": "error", "registered_at": row["ingested_at"]})
    file = {"eid": eid, "fov": 0, "uid_origin": "x", "uid_sha256": "0" * 64, "uid_text": "b\n\na\n"}
    schemas.TrackingFile.insert1({**run, **file})
    done = meso_command("populate", "TrackedCell")
    try:
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "Populated TrackedCell 2" or "Populated TrackedCell 1" in done.stdout
        assert (schemas.TrackedCell & run).to_arrays("cell_uid", order_by="cell_uid").tolist() == ["a", "b"]
        again = meso_command("populate", "trackedcell")
        assert again.stdout.strip() == "Populated nothing: all tables are complete"
    finally:
        (schemas.Subject & {"subject": "DB01"}).delete()
    assert len(schemas.TrackedCell & run) == 0


# ---------------------------------------------------------------- an init that is cut off


@pytest.mark.slow
def test_an_init_that_was_cut_anywhere_is_completed_by_the_next(database, backend, python_command, request):
    """A table without its lineage, comments or indexes was taken for complete."""
    prefix = own_prefix("i")
    request.addfinalizer(lambda: [leave(database, prefix + end) for end in ("cut_", "new_")])
    script = Path(__file__).parents[2] / "support" / "cut_inits.py"
    done = python_command(script, env={**own_server(backend), "MESO_PREFIX": prefix})
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    kinds = " ".join(seen["cut"])
    assert all(kind in kinds for kind in ("CREATE TABLE lineage", "INSERT INTO lineage", "CREATE TABLE job"))
    assert {"CREATE TABLE  imaging", "CREATE TABLE lineage imaging", "CREATE TABLE job imaging"} <= set(seen["cut"])
    assert len(seen["cut"]) >= 12  # PostgreSQL has statements of more kinds
    assert list(seen["after"]) == list(seen["new"])
    for name, table in seen["new"].items():
        assert seen["after"][name] == table, name


# ---------------------------------------------------------------- migrations

MIGRATE = """
import sys
from schemas.setup import migrations
from schemas.setup.migrations import LATEST, MIGRATIONS, Migration, add_column

def apply(connection, prefix):
    add_column(connection, prefix + "session", "subject", "born=null : date  # of the mouse")
    if sys.argv[1] == "cut off":
        raise RuntimeError("cut off")
    add_column(connection, prefix + "session", "subject", "strain='unknown' : varchar(64)")

new = Migration(LATEST + 1, "made up", apply)
print([migration.number for migration in migrations.init(migrations=(*MIGRATIONS, new))])
"""


@pytest.fixture(scope="module")
def migrated(database, backend, python_command, meso_command) -> Iterator[dict]:
    """A database that a made-up migration has changed, and what was seen on the way."""
    prefix = own_prefix("m")
    env, latest = {**own_server(backend), "MESO_PREFIX": prefix}, migrations.LATEST
    assert meso_command("db", "init", env=env).returncode == 0
    database.query(f"INSERT INTO {full(database, prefix, 'session', 'subject')} (subject) VALUES ('old')")
    seen = {"env": env, "prefix": prefix, "latest": latest}
    for how in ("cut off", "whole", "again"):
        done = python_command("-c", MIGRATE, how, env=env)
        versions = database.query(
            f"SELECT schema_version FROM {full(database, prefix, 'provenance', 'schema_version')}"
        )
        seen[how] = {
            "done": done, "versions": sorted(row[0] for row in versions.fetchall()),
            "columns": columns(database, prefix + "session", "subject"),
        }  # fmt: skip
    yield seen
    leave(database, prefix)


def test_a_migration_that_was_cut_off_is_not_recorded(migrated):
    seen = migrated["cut off"]
    assert seen["done"].returncode != 0
    assert "RuntimeError: cut off" in seen["done"].stderr
    assert seen["columns"] == ["subject", "lab", "born"]
    assert seen["versions"] == list(range(1, migrated["latest"] + 1))


def test_a_migration_adds_its_columns_and_is_recorded(migrated, database):
    seen, number = migrated["whole"], migrated["latest"] + 1
    assert seen["done"].returncode == 0, seen["done"].stderr
    assert seen["done"].stdout == f"[{number}]\n"
    assert seen["columns"] == ["subject", "lab", "born", "strain"]
    assert seen["versions"][-1] == number
    table = full(database, migrated["prefix"], "session", "subject")
    assert database.query(f"SELECT subject, born, strain FROM {table}").fetchall() in (
        [("old", None, "unknown")],
        (("old", None, "unknown"),),
    )
    table = full(database, migrated["prefix"], "provenance", "schema_version")
    assert database.query(f"SELECT migration FROM {table} WHERE schema_version = {number}").fetchone()[0] == "made up"


def test_a_migration_is_applied_once(migrated):
    assert migrated["again"]["done"].stdout == "[]\n"
    assert migrated["again"]["versions"] == migrated["whole"]["versions"]
    assert migrated["again"]["columns"] == migrated["whole"]["columns"]


def test_a_newer_database_is_refused(migrated, meso_command):
    latest = migrated["latest"]
    line = one_line(meso_command("status", env=migrated["env"]))
    assert f"The tables are of version {latest + 1}, this code is of version {latest}" in line


def test_init_refuses_a_newer_database(migrated, meso_command):
    line = one_line(meso_command("db", "init", env=migrated["env"]))
    assert f"version {migrated['latest'] + 1}" in line


def test_the_embedded_database_is_refused_when_newer(migrated, meso_command, backend, request):
    if backend != "postgresql":
        pytest.skip("the embedded database is a PostgreSQL")
    line = one_line(meso_command("status", env={"MESO_PREFIX": migrated["prefix"]}))
    assert f"version {migrated['latest'] + 1}" in line


def test_migrations_are_numbered_without_holes():
    assert [m.number for m in migrations.MIGRATIONS] == list(range(1, len(migrations.MIGRATIONS) + 1))


# ---------------------------------------------------------------- a database of version 1

OLD_RESULTS = """
import json
import schemas
from pipeline.decoding import NDCSettings
from schemas.work.filling import fill

schemas.activate()
before = {"null": "permute", "n_bootstrap": 0, "null_subsets": 0, "penalty": "fixed", "intervals": "test_trials"}
old = [NDCSettings("choice", **before)]
old += [NDCSettings("block", **before, ks=(8, 16), r=3, c=0.5, seed=7, shuffle_seed=7, equalize_trials=False)]
n_before = len(schemas.NDCParams())
keys = [schemas.NDCParams.add(one) for one in old]
new = schemas.NDCParams.add(NDCSettings("choice"))
rows = (schemas.NDCResult & keys[0]).to_dicts(order_by="eid")
family = schemas.NDCFamily.add([{"session_set": rows[0]["session_set"], **keys[0]}])
filled = fill([schemas.NDCComparison], family)
print(json.dumps({
    "keys": [key["ndc_params"] for key in keys],
    "new": new["ndc_params"],
    "added": len(schemas.NDCParams()) - n_before,
    "same": [(schemas.NDCParams & key).settings() == one for key, one in zip(keys, old)],
    "rows": [[row[name] for name in ("k_star", "p_largest", "null_used", "verdict", "k95")] for row in rows],
    "features": float((schemas.TrialFeatures & keys[0] & {"eid": rows[0]["eid"]}).fetch1("trial_features").sum()),
    "errors": [str(error) for error in filled.errors],
    "q": (schemas.NDCComparison.Result & family).to_arrays("q_value", order_by="eid").tolist(),
    "uid_form": schemas.TrackingRun().fetch1("uid_form"),
    "flagged": schemas.NDCParams().to_arrays("use_flagged_frames").tolist(),
    "penalty": [[(schemas.NDCParams & key).fetch1("penalty"), row["c_used"]] for key, row in zip(keys, rows)],
    "models": [(schemas.NDCParams & key).fetch1("choice_model", "imposter_align") for key in [*keys, new]],
    "slope": (schemas.NDCComparison.Trend & family).fetch1("k_star_slope"),
    "new_columns": [[row["p_curve"], row["k_star_continuous"]] for row in rows],
    "intervals": (schemas.NDCParams & keys).to_arrays("intervals").tolist(),
    "beyond": [[(schemas.NDCParams & key).fetch1("beyond"), row["n_minority"]] for key, row in zip(keys, rows)],
    "days": (schemas.NDCComparison.DayTrend & family).to_arrays("quantity", order_by="KEY").tolist(),
}))
"""


@pytest.fixture(scope="module")
def from_version_1(database, backend, python_command, meso_command) -> Iterator[dict]:
    """A database of version 1 with two curves, brought to this version, and what was seen on the way."""
    prefix = own_prefix("v1")
    env, view = {**own_server(backend), "MESO_PREFIX": prefix}, full(database, prefix, "views", "ndc_summary")
    done = python_command(Path(__file__).parents[2] / "support" / "version_1.py", env=env)
    assert done.returncode == 0, done.stderr
    role = f"{settings.prefix()}looks"
    if backend == "postgresql":
        database.query(f"CREATE ROLE {role}")
        database.query(f"GRANT SELECT ON {view} TO {role}")
        database.query(f"GRANT SELECT ON {view} TO PUBLIC")
    seen = {"prefix": prefix, "env": env, "role": role, "columns": columns(database, prefix + "views", "ndc_summary")}
    seen["before"] = meso_command("status", env=env)
    seen["init"] = meso_command("db", "init", env=env)
    seen["again"] = meso_command("db", "init", env=env)
    yield seen
    leave(database, prefix)
    if backend == "postgresql":
        database.query(f"DROP ROLE {role}")


def test_an_older_database_is_refused_with_a_pointer_to_init(from_version_1):
    line = one_line(from_version_1["before"])
    assert "The tables are of version 1" in line
    assert line.endswith("run meso db init")
    assert from_version_1["init"].returncode == 0, from_version_1["init"].stderr
    assert "Applied 2: decoding" in from_version_1["init"].stdout
    assert from_version_1["again"].stdout == f"The tables are at version {migrations.LATEST}\n"


@pytest.mark.parametrize(
    ("schema", "table"),
    [
        *(("decoding", table) for table in ("n_d_c_params", "__trial_features", "__n_d_c_result", "n_d_c_family")),
        ("decoding", "__n_d_c_result__curve"),
        *(("session", table) for table in ("subject", "session", "_behavior__trial", "_behavior__left_out")),
        *(("session", table) for table in ("_behavior__source", "_wheel__source")),
        *(("imaging", table) for table in ("_f_o_v__source", "_recording")),
        ("tracking", "tracking_run"), ("provenance", "environment"),
    ],
)  # fmt: skip
def test_version_1_gets_the_columns_of_a_new_database(from_version_1, database, schema, table):
    old = declared(database, from_version_1["prefix"] + schema, table)
    new = declared(database, settings.prefix() + schema, table)
    assert len(new) > 1
    assert old == new


def test_results_of_version_1_are_found_by_the_settings_that_they_had(from_version_1, python_command):
    done = python_command("-c", OLD_RESULTS, env=from_version_1["env"])
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["keys"] == ["d770a105c2ae40a25e6f15f699c4a9e5", "bc319f4070554b0d86d2df8e1d06024f"]
    assert seen["same"] == [True, True]
    assert seen["new"] not in seen["keys"]
    assert seen["added"] == 1
    assert seen["rows"] == [[16, 0.01, "permute", None, None], [8, 0.02, "permute", None, None]]
    assert seen["features"] == 16
    assert seen["errors"] == []
    assert seen["q"] == [0.02, 0.02]
    assert seen["uid_form"] is None  # its files are read as they were
    assert set(seen["flagged"]) == {0}
    assert seen["penalty"] == [["fixed", None], ["fixed", None]]
    assert seen["intervals"] == ["test_trials"] * 2
    assert seen["beyond"] == [["none", None]] * 2
    assert seen["new_columns"] == [[None, None]] * 2  # q is of p_largest, as it was
    assert seen["days"] == ["code_k", "common_k", "d_prime", "half_k", "score"]
    assert seen["models"] == [["static", "start"], ["static", "start"], ["habits", "start"]]


def test_rights_on_a_view_outlive_a_migration_that_changes_it(from_version_1, database, backend):
    prefix, role = from_version_1["prefix"], from_version_1["role"]
    now = columns(database, prefix + "views", "ndc_summary")
    assert now == VIEWS["ndc_summary"].split() != from_version_1["columns"]
    view = full(database, prefix, "views", "ndc_summary")
    assert database.query(f"SELECT count(*) FROM {view}").fetchone()[0] == 2
    if backend == "postgresql":
        rights = database.query(
            "SELECT grantee FROM information_schema.role_table_grants WHERE table_schema = %s AND table_name = %s "
            "AND privilege_type = 'SELECT'", args=(prefix + "views", "ndc_summary"),
        ).fetchall()  # fmt: skip
        assert {role, "PUBLIC"} <= {row[0] for row in rights}


# ---------------------------------------------------------------- databases of later versions


class OldTables:
    """Tables of a former version with rows, migrated: written behind a prefix by ``support/version_*.py``.

    Attributes
    ----------
    before : dict of (str, str) to set of str
        Columns of each schema and table, before the migration.
    applied : str
        What ``meso db init`` said.
    """

    def __init__(self, database, number: int, env: dict, python_command, meso_command) -> None:
        self.database, self.prefix, self.python = database, own_prefix(f"v{number}"), python_command
        self.env = {**env, "MESO_PREFIX": self.prefix}
        done = python_command(Path(__file__).parents[2] / "support" / f"version_{number}.py", env=self.env)
        assert done.returncode == 0, done.stderr
        self.before = self.all_columns()
        for schema, table, column in INTERRUPTED.get(number, ()):  # as a migration did that was then interrupted
            migrations.add_column(database, self.prefix + schema, table, column)
        done = meso_command("db", "init", env=self.env)
        assert done.returncode == 0, done.stderr
        self.applied = done.stdout

    def all_columns(self) -> dict[tuple[str, str], set[str]]:
        rows = self.database.query(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns "
            "WHERE left(table_schema, %s) = %s", args=(len(self.prefix), self.prefix),
        ).fetchall()  # fmt: skip
        found: dict[tuple[str, str], set[str]] = {}
        for schema, table, column in rows:
            found.setdefault((schema.removeprefix(self.prefix), table), set()).add(column)
        return found

    def check_new(self, *places: tuple[str, str]) -> None:
        """Check that tables which there were not are here now, as in a new database."""
        for place in places:
            assert place not in self.before, place
            self.columns_of(place)

    def check_added(self, schema: str, table: str, *names: str) -> None:
        """Check that a table lacked these columns and no others, and has those of a new database."""
        assert set(self.columns_of((schema, table))) - self.before[schema, table] == set(names)

    def columns_of(self, place: tuple[str, str]) -> dict[str, tuple]:
        """Return the columns of a table, which must be those of a new database."""
        schema, table = place
        here, new = (declared(self.database, prefix + schema, table) for prefix in (self.prefix, settings.prefix()))
        assert here == new != {}, place
        return here

    def run(self, code: str, *arguments: str) -> Any:
        """Return what a program prints as JSON on its last line."""
        done = self.python("-c", code, *arguments, env=self.env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


#: Columns that are there when the migration begins, by version: schema, table and line.
INTERRUPTED = {
    7: [("session", "_wheel__source", migrations.SOURCE_COLUMN)],
    10: [("provenance", "environment", migrations.PROCESSOR_COLUMNS[0])],
    13: [
        ("decoding", "n_d_c_params", *migrations.INTERVAL_COLUMNS["n_d_c_params"]),
        ("decoding", "n_d_c_params", *migrations.BEYOND_COLUMNS["n_d_c_params"]),
    ],
    17: [
        ("tracking", "registered_u_i_ds", migrations.DAY_COLUMNS[0]),
        ("decoding", "n_d_c_params", migrations.OWN_COLUMNS[0]),
        ("decoding", "n_d_c_params", migrations.SIGNAL_COLUMNS["n_d_c_params"][0]),
    ],
    25: [
        ("labels", "label_set", migrations.NUMBER_COLUMNS["labels"]["label_set"][0]),
        *(("decoding", table, lines[0]) for table, lines in migrations.NOISE_COLUMNS.items()),
    ],
    31: [("decoding", table, lines[0]) for table, lines in migrations.LEVEL_COLUMNS.items()],
}


@pytest.fixture(scope="module")
def old_tables(database, backend, python_command, meso_command, request) -> Callable[[int], OldTables]:
    """Return a function that returns the tables of a version: migrated once, and dropped after the last test.

    A test leaves the rows that another of its version reads; the last one of version 25 does not.
    """

    @functools.cache
    def made(number: int) -> OldTables:
        request.addfinalizer(lambda: leave(database, own_prefix(f"v{number}")))
        return OldTables(database, number, own_server(backend), python_command, meso_command)

    return made


OLD_RECORDS = """
import json
import schemas
from schemas.exchange.verify import verify_session
from support.version_3 import EID

schemas.activate()
print(json.dumps({
    "hash": schemas.FOV.Source().to_arrays("one_hash").tolist(),
    "reason": schemas.Deletion().to_arrays("deletion_reason").tolist(),
    "rois": schemas.TrackingFile().to_arrays("uid_rois").tolist(),
    "kinds": sorted({(f.kind, f.table) for f in verify_session(EID, source=True).findings if f.kind != "pending"}),
    "updates": len(schemas.SourceUpdate()),
}))
"""
#: Tables of version 7 that version 8 changed, or added.
RECORD_TABLES = [
    ("imaging", "_f_o_v__source"), ("session", "_behavior__source"), ("session", "_wheel__source"),
    ("tracking", "tracking_file"), ("provenance", "deletion"), ("provenance", "source_update"),
    ("provenance", "source_update__done"), ("provenance", "former_result"),
]  # fmt: skip
N_CHANGED = 5


def test_version_7_gets_the_columns_of_a_new_database_and_keeps_its_rows(old_tables):
    old = old_tables(7)
    assert "Applied 8: changed files" in old.applied
    for place in RECORD_TABLES[:N_CHANGED]:
        assert old.before[place] < set(old.columns_of(place)), place
    old.check_new(*RECORD_TABLES[N_CHANGED:])
    seen = old.run(OLD_RECORDS)
    assert seen["hash"] == seen["reason"] == seen["rois"] == [""]
    assert seen["kinds"] == [["no file", "FOV.Source"], ["no file", "TrackingFile"]]
    assert seen["updates"] == 0


OLD_JOBS = """
import json, sys, time
import schemas
from schemas.server.settings import prefix
from schemas.setup import migrations

connection = schemas.activate()
if sys.argv[1] == "again":  # as after an interruption
    migrations.MIGRATIONS[10].finish(connection, prefix())
rows = [*schemas.Behavior.jobs.to_dicts(), *schemas.Wheel.jobs.to_dicts()]
times = [row[name] for row in rows for name in ("created_time", "scheduled_time", "completed_time")]
print(json.dumps([[row["status"] for row in rows], [time.mktime(time.gmtime()) - one.timestamp() for one in times]]))
"""


@contextmanager
def in_tokyo(database) -> Iterator[None]:
    """Have the server give new sessions the time zone of Tokyo."""
    if database.adapter.backend == "mysql":
        (before,) = database.query("SELECT @@GLOBAL.time_zone").fetchone()
        database.query("SET GLOBAL time_zone = '+09:00'")
        yield
        database.query(f"SET GLOBAL time_zone = '{before}'")
    else:
        database.query("ALTER ROLE CURRENT_USER SET timezone = 'Asia/Tokyo'")
        yield
        database.query("ALTER ROLE CURRENT_USER RESET timezone")


@pytest.fixture(scope="module")
def of_version_10(old_tables, database) -> OldTables:
    """Tables that were made and migrated on a server in Tokyo."""
    with in_tokyo(database):
        return old_tables(10)


def test_jobs_of_version_10_are_due_and_have_their_times_in_utc(of_version_10, database):
    old = of_version_10
    assert "Applied 11: jobs" in old.applied
    for table in ("n_d_c_params", "__n_d_c_result"):
        old.columns_of(("decoding", table))
    for when in ("once", "again"):
        with in_tokyo(database):
            status, ages = old.run(OLD_JOBS, when)
        # without the error of the session that was deleted
        assert status == ["pending", "error"]
        assert all(-2 < age < 300 for age in ages), ages


OLD_ENVIRONMENT = """
import json
import schemas
from schemas.decoding.results import machine_kinds
from schemas.provenance import environment_row
from support.version_10 import ENVIRONMENT

schemas.activate()
key = schemas.Environment.current()
again = schemas.Environment.current()
former = {"environment": ENVIRONMENT}
assert key == again != former
assert (schemas.Environment & key).fetch1() == environment_row()
assert len(machine_kinds(schemas.Environment.to_dicts())) == 1  # that of the former is not known
print(json.dumps((schemas.Environment & former).fetch1()))
"""


def test_environments_of_version_10_keep_their_keys_and_say_nothing_of_processors(of_version_10):
    old = of_version_10
    assert "Applied 12: environments" in old.applied
    old.check_added("provenance", "environment", *version_10.PROCESSOR_COLUMNS)
    unknown = dict.fromkeys(version_10.PROCESSOR_COLUMNS)
    assert old.run(OLD_ENVIRONMENT) == {"environment": version_10.ENVIRONMENT, **version_10.CONTENT, **unknown}


OLD_COMPARISON = """
import json
import schemas
from schemas.decoding.results import stored_run
from schemas.work.filling import fill
from support.version_13 import TASK

schemas.activate()
seen = {}
for when in ("before", "again"):
    run = stored_run(TASK["session_set"], [TASK["ndc_params"]])
    seen[when] = {
        "q": run.table["q_value"].tolist(), "p": run.table["p_curve"].tolist(),
        "slopes": [trend["k_star_slope"] for trend in run.trends.values()],
        "days": sorted(quantity for trends in run.day_trends.values() for quantity in trends),
        "notes": [note for note in run.notes if "before version 14" in note],
    }
    (schemas.NDCComparison & run.family).delete(prompt=False)
    assert not fill([schemas.NDCComparison], run.family).errors
print(json.dumps(seen))
"""
#: Parts that version 14 added.
DAY_TABLES = [("decoding", f"__n_d_c_comparison__day_{name}") for name in ("trend", "value")]


def test_a_comparison_of_version_13_is_read_and_its_note_says_how_to_get_the_trends_over_days(old_tables, database):
    old = old_tables(13)
    assert "Applied 14: decoding: intervals" in old.applied
    for table in migrations.INTERVAL_COLUMNS:
        assert old.before["decoding", table] < set(old.columns_of(("decoding", table))), table
    old.check_new(*DAY_TABLES)
    assert columns(database, old.prefix + "views", "ndc_day_trend") == VIEWS["ndc_day_trend"].split()
    before, again = old.run(OLD_COMPARISON).values()
    assert (before["q"], before["p"]) == (again["q"], again["p"]) == ([0.02, 0.02], [0.01, 0.02])
    assert (before["slopes"], before["days"]) == ([-1.0], [])
    assert len(before["notes"]) == 1 and not again["notes"]
    assert again["days"] == ["code_k", "common_k", "d_prime", "half_k", "score"]


OLD_CURVES = """
import json
import schemas
from schemas.decoding.cohorts import compare_mice
from support.version_13 import TASK

schemas.activate()
rows = (schemas.NDCResult & TASK).to_dicts(order_by="eid")
settings = (schemas.NDCParams & TASK).settings()
found = compare_mice(["OLD"])
print(json.dumps({
    "k_star": [row["k_star"] for row in rows], "minority": [row["n_minority"] for row in rows],
    "beyond": settings.beyond, "key": schemas.NDCParams.add(settings)["ndc_params"] == TASK["ndc_params"],
    "notes": found.notes, "mice": [(row["quantity"], row["n_mice"]) for row in found.means],
}))
"""
#: Tables that version 16 added.
COHORT_TABLES = [("decoding", name) for name in (
    "n_d_c_cohort", "n_d_c_cohort__member", "__n_d_c_population", "__n_d_c_population__mean",
    "__n_d_c_population__slope")]  # fmt: skip


def test_curves_of_version_13_are_beyond_nothing_and_are_compared_over_mice(old_tables):
    old = old_tables(13)
    assert "Applied 16: decoding: choice beyond the stimulus" in old.applied
    for table in migrations.BEYOND_COLUMNS:
        assert old.before["decoding", table] < set(old.columns_of(("decoding", table))), table
    old.check_new(*COHORT_TABLES)
    seen = old.run(OLD_CURVES)
    assert seen["k_star"] == [16, 8] and seen["minority"] == [None, None]
    assert seen["beyond"] == "none" and seen["key"] and seen["notes"] == []
    assert {quantity for quantity, _ in seen["mice"]} == {"code_k", "half_k", "common_k", "d_prime", "score"}


OLD_DONORS = """
import json
import schemas
from support.version_16 import RESULT

schemas.activate()
files = schemas.RegisteredUIDs.to_dicts(order_by="KEY")
print(json.dumps({
    "donors": [[{name: row[name] for name in RESULT} == RESULT, row["donor"], row["donor_files"]]
               for row in schemas.NDCResult.Donor.to_dicts()],
    "files": [[row["subject"], row["eid"], row["fov"], row["uid_sha256"], row["first_text"], row["first_rois"],
               str(row["first_registered_at"])] for row in files],
}))
"""


def test_curves_of_version_16_go_with_the_trials_of_their_donors_and_uids_keep_their_rois(old_tables):
    old = old_tables(16)
    assert "Applied 17: files of donors" in old.applied
    old.check_new(("decoding", "__n_d_c_result__donor"), ("tracking", "registered_u_i_ds"), ("session", "session_tag"))
    seen = old.run(OLD_DONORS)
    # of which files the labels were is not known; of the donor that is gone nothing is
    assert seen["donors"] == [[True, version_1.EIDS[1], None]]
    place = ["OLD", version_1.EIDS[0], 0]
    assert seen["files"] == [[*place, "c" * 64, "a\nb\nc\n", "d" * 64, "2024-02-01 00:00:00"]]


OLD_UIDS = """
import json
import schemas

schemas.activate()
rows = schemas.RegisteredUIDs.to_dicts(order_by="eid")
print(json.dumps([[row["eid"], str(row["first_date"]), row["first_number"], row["first_text"]] for row in rows]))
"""


def test_uids_of_version_17_get_the_day_of_their_session(old_tables):
    old = old_tables(17)
    assert "Applied 18: days of UID files" in old.applied
    place = ("tracking", "registered_u_i_ds")
    assert old.before[place] - set(old.columns_of(place)) == {"uid_values"}
    old.check_added(*place, "first_date", "first_number")
    # of the session that was deleted nothing is known
    days = [[version_1.EIDS[0], "2024-01-01", 1], ["f" * 36, "None", None]]
    assert old.run(OLD_UIDS) == [[*day, "a\nb\nc\n"] for day in days]


OLD_TRIALS = """
import json
import schemas
from support import version_1

schemas.activate()
settings = (schemas.NDCParams & {"ndc_params": version_1.ROWS[0]["ndc_params"]}).settings()
print(json.dumps({
    "own": [settings.trials, settings.labels],
    "key": schemas.NDCParams.add(settings)["ndc_params"] == version_1.ROWS[0]["ndc_params"],
    "k_star": schemas.NDCResult.to_arrays("k_star", order_by="eid").tolist(),
}))
"""


#: Columns of NDCParams that versions 19 and 24 added.
LATER_SETTINGS = ("trials", "labels", "decoded_signal", "dff_neuropil", "dff_window", "dff_percentile")


def test_curves_of_version_17_are_of_all_trials_and_of_no_own_labels(old_tables):
    old = old_tables(17)
    assert "Applied 19: decoding: trials and labels" in old.applied
    old.check_added("decoding", "n_d_c_params", *LATER_SETTINGS)
    old.check_new(("decoding", "__trial_features__own_labels"), ("labels", "label_set"))
    assert old.run(OLD_TRIALS) == {"own": ["", ""], "key": True, "k_star": [16, 8]}


OLD_TASKS = """
import json
import schemas
from pipeline.decoding import NDCSettings
from schemas.decoding.transfers import stored_transfer
from support import version_1

schemas.activate()
task = {"session_set": "5" * 32, "ndc_params": version_1.ROWS[0]["ndc_params"]}
(params,) = schemas.TransferTask.add({"session_set": "5" * 32}, [(schemas.NDCParams & task).settings()], "own")
assert params == {"ndc_params": task["ndc_params"]}
found = stored_transfer({"session_set": "5" * 32}, [params], "own")
print(json.dumps([len(schemas.NDCResult()), len(schemas.TransferTask()), found.n_shared, len(found.table)]))
"""


def test_version_17_gets_the_tables_of_transfer_and_keeps_its_curves(old_tables):
    old = old_tables(17)
    assert not [table for _, table in old.before if "transfer" in table]
    assert ": transfer: readouts of one session" in old.applied
    old.check_new(*(("decoding", name) for name in (
        "transfer_task", "__transfer_result", "__transfer_result__train", "__transfer_matrix",
        "__transfer_matrix__pair")))  # fmt: skip
    assert old.run(OLD_TASKS) == [2, 1, 16, 0]


#: Tables that the version of responses added.
RESPONSE_TABLES = [
    "window_set", "response_task", "__trial_type_mean", "__cell_response__selectivity", "stability_task", "__stability",
    "__stability__gap",
]  # fmt: skip


OLD_RESPONSES = """
import json
import schemas

schemas.activate()
windows = schemas.WindowSet.add()
print(json.dumps({
    "curves": len(schemas.NDCResult()), "k_star": sorted(schemas.NDCResult().to_arrays("k_star").tolist()),
    "windows": len((schemas.WindowSet & windows).windows().windows),
    "jobs": len(schemas.TrialTypeMean().key_source),
}))
"""


def test_a_database_of_before_responses_gets_their_tables_and_keeps_its_curves(old_tables):
    old = old_tables(17)
    assert "responses" not in {schema for schema, _ in old.before}
    assert "responses to kinds of trials" in old.applied
    old.check_new(*(("responses", table) for table in RESPONSE_TABLES))
    assert old.run(OLD_RESPONSES) == {"curves": 2, "k_star": [8, 16], "windows": 26, "jobs": 0}


def test_of_features_of_version_17_it_is_not_known_what_they_are_made_of(old_tables):
    old = old_tables(17)
    assert "Applied 23: decoding: what features are made of" in old.applied
    (table,) = migrations.FEATURE_COLUMNS
    old.check_added("decoding", table, "feature_key")
    keys = "import json, schemas; schemas.activate(); print(json.dumps(schemas.TrialFeatures.to_arrays('{}').tolist()))"
    assert old.run(keys.format("feature_key")) == [None, None]
    assert old.run(keys.format("n_usable")) == [20, 20]


OLD_SIGNALS = """
import json
import schemas
from support import version_1

schemas.activate()
settings = (schemas.NDCParams & {"ndc_params": version_1.ROWS[0]["ndc_params"]}).settings()
print(json.dumps({
    "signal": settings.signal, "asked": settings.own_signal, "neuropil": settings.neuropil,
    "key": schemas.NDCParams.add(settings)["ndc_params"] == version_1.ROWS[0]["ndc_params"],
    "k_star": schemas.NDCResult.to_arrays("k_star", order_by="eid").tolist(),
    "waiting": len(schemas.TrialFeatures().key_source - schemas.TrialFeatures.proj()), "signals": len(schemas.Signal()),
}))
"""


def test_curves_of_version_17_are_of_what_each_fov_was_read_with(old_tables):
    old = old_tables(17)
    assert "signals" not in {schema for schema, _ in old.before}
    assert "Applied 24: signals: the same one of all sessions" in old.applied
    old.check_added("decoding", "n_d_c_params", *LATER_SETTINGS)
    old.check_new(
        ("decoding", "__trial_features__own_signal"), ("signals", "signal_task"), ("signals", "_signal"),
        ("signals", "_signal__trace"), ("signals", "_signal__source"),
    )  # fmt: skip
    assert old.run(OLD_SIGNALS) == {
        "signal": "", "asked": None, "neuropil": 0.7, "key": True, "k_star": [16, 8], "waiting": 0, "signals": 0,
    }  # fmt: skip


OLD_OUTLINES = """
import json
import schemas

schemas.activate()
row = {"polygons": [[[0, 0], [0, 9], [9, 9]]], "name_ml": 3, "name_ap": 6, "name_room": 2, "voxel_size": 50}
made = {"iblatlas_version": "1", "outlined_at": "2026-01-01"}
schemas.AtlasOutline.insert1({"region_id": 997, **row, **made})
print(json.dumps([len(schemas.NDCResult()), schemas.AtlasOutline.fetch1("polygons")]))
"""


def test_version_17_gets_the_table_of_outlines_and_keeps_its_curves(old_tables):
    old = old_tables(17)
    assert "Applied 25: outlines of the atlas" in old.applied
    old.check_new(("imaging", "atlas_outline"))
    assert old.run(OLD_OUTLINES) == [2, [[[0, 0], [0, 9], [9, 9]]]]


OLD_LABELS = """
import json
import numpy as np
import schemas
from schemas.labels import listed
from support import version_1, version_25

schemas.activate()
trials = {name: np.zeros(4) for name in ("choice", "feedbackType", "contrastLeft", "contrastRight")}
found = schemas.LabelSet.of_session("1" * 32, version_1.EIDS[0], trials)
(row,) = listed()
print(json.dumps([np.array_equal(found, version_25.OWN, equal_nan=True), row["labelled_for"], row["n_class_1"]]))
"""


def test_of_labels_of_version_25_it_is_not_known_for_which_trials_they_were_given(old_tables):
    old = old_tables(25)
    assert "own labels: the trials that they are of" in old.applied
    old.check_new(("labels", "label_set__trials"), ("provenance", "source_update__of_subject"))
    old.check_new(("session", "_wheel__doubt"))
    assert old.run(OLD_LABELS) == [True, "unknown", 2]


OLD_CLASSES = """
import json
import numpy as np
import schemas
from schemas.labels import listed, of_kind
from support import version_1, version_25

schemas.activate()
trials = {name: np.zeros(4) for name in ("choice", "feedbackType", "contrastLeft", "contrastRight")}
labels = schemas.LabelSet.of_session(version_25.KEY["label_set"], version_1.EIDS[0], trials)
settings = (schemas.NDCParams & {"ndc_params": version_1.ROWS[0]["ndc_params"]}).settings()
print(json.dumps({
    "kinds": [row["label_kind"] for row in listed()], "labels": labels[:2].tolist(), "metric": of_kind(settings).metric,
    "key": schemas.NDCParams.add(settings)["ndc_params"] == version_1.ROWS[0]["ndc_params"],
    "k_star": schemas.NDCResult.to_arrays("k_star", order_by="eid").tolist(),
}))
"""


def test_labels_of_version_25_are_classes(old_tables):
    old = old_tables(25)
    assert ": labels: numbers, decoded by regression" in old.applied
    old.check_added("labels", "label_set", "label_kind")
    old.check_added("decoding", "__trial_features__trial", "trial_value")
    assert old.run(OLD_CLASSES) == {
        "kinds": ["classes"], "labels": [1, 0], "metric": "auc", "key": True, "k_star": [16, 8],
    }  # fmt: skip


OLD_UPDATES = """
import json
import schemas
from schemas.upkeep.mixtures import mixtures_of
from support import version_1

schemas.activate()
mixtures = mixtures_of(version_1.EIDS[:1])
print(json.dumps([mixtures, len(schemas.RegisteredUIDs.OtherPlaces()), len(schemas.NDCResult())]))
"""


def test_updates_of_version_25_say_nothing_of_files_of_two_writings(old_tables):
    old = old_tables(25)
    assert ": files of several writings; places of cells" in old.applied
    old.check_new(("provenance", "source_update__mixture"), ("tracking", "registered_u_i_ds__other_places"))
    assert old.run(OLD_UPDATES) == [{}, 0, 2]


OLD_EMBEDDINGS = """
import json
import schemas
from dataclasses import replace
from pipeline.embedding import EmbeddingSettings
from pipeline.settings.signals import SignalSettings

schemas.activate()
(key,) = schemas.EmbeddingParams.keys()
of_signal = replace(EmbeddingSettings(), signal=SignalSettings("dff"))
print(json.dumps({
    "same": schemas.EmbeddingParams.add(EmbeddingSettings()) == key,
    "signal": (schemas.EmbeddingParams & key).settings().signal,
    "other": (schemas.EmbeddingParams & schemas.EmbeddingParams.add(of_signal)).settings() == of_signal,
    "jobs": len(schemas.Embedding().key_source),
}))
"""


def test_embeddings_of_version_25_are_of_what_each_fov_was_read_with(old_tables):
    old = old_tables(25)
    assert "embeddings of a signal that is asked for" in old.applied
    old.check_new(("embedding", "embedding_params__of_signal"), ("embedding", "__embedding__own_signal"))
    assert old.run(OLD_EMBEDDINGS) == {"same": True, "signal": None, "other": True, "jobs": 0}


OLD_PARTS = """
import json
import schemas
from schemas.decoding.results import stored_run
from schemas.provenance import Deletion
from schemas.upkeep.mixtures import mixtures_of
from schemas.work.filling import fill
from support import version_1
from support.version_13 import TASK

schemas.activate()
place = {"session_set": TASK["session_set"]}
drifts = []
for when in ("before", "again"):
    run = stored_run(TASK["session_set"], [TASK["ndc_params"]])
    rows = (schemas.NDCComparison.Drift & run.family).to_dicts()
    drifts.append({"q": run.table["q_value"].tolist(), "drifts": [row["drift_share"] for row in rows]})
    noise = [list(run.targets[0].doubts), [note for note in run.notes if "is not known" in note]]
    (schemas.NDCComparison & run.family).delete(prompt=False)
    assert not fill([schemas.NDCComparison], run.family).errors
schemas.NDCTask.ask_features(place, [{"ndc_params": TASK["ndc_params"]}])
tasks = [len(schemas.NDCTask.WithoutCurve()), len(schemas.NDCResult() & TASK)]
eid = version_1.EIDS[0]
deleted = Deletion & {"deletion": "0" * 32}
files = [len(deleted), len(Deletion.File & deleted), mixtures_of([eid])]
(schemas.Session & {"eid": eid}).delete(prompt=False)
last = Deletion.to_dicts(order_by="deleted_at DESC", limit=1)[0]["deleted_table"]
print(json.dumps({"drifts": drifts, "tasks": tasks, "files": files, "last": last, "noise": noise}))
"""


def test_of_version_25_comparisons_know_no_drift_tasks_have_curves_and_deletions_no_files(old_tables):
    old = old_tables(25)
    assert "drift; transfers without curves; deleted files" in old.applied
    old.check_new(("decoding", "__n_d_c_comparison__drift"), ("decoding", "n_d_c_task__without_curve"))
    old.check_new(("provenance", "deletion__file"))
    assert "decoding: noise of the traces" in old.applied
    old.check_added("decoding", "__trial_features", "noise_level", "noise_mean", "code_spread")
    found = old.run(OLD_PARTS)
    before, again = found["drifts"]
    assert before == {"q": [0.02, 0.02], "drifts": []}
    assert again == {"q": [0.02, 0.02], "drifts": [None, None]}  # too few trials to say
    assert (found["tasks"], found["files"], found["last"]) == ([0, 2], [1, 0, {}], "Session")
    doubts, (note,) = found["noise"]
    assert doubts == ["whether noise of the traces changes is not known"]
    assert "features of before version 38" in note and "noise_mean IS NULL" in note


OLD_PENALTIES = """
import json
import schemas
from pipeline.decoding import NDCSettings
from support import version_1
from support.version_31 import KEYS

schemas.activate()
old = {one: schemas.NDCParams & {"ndc_params": key} for one, key in KEYS.items()}
then = {"c_range": "narrow", "shared_folds": False, "choice_model": "dynamic"}
asked = {one: NDCSettings("choice", beyond=one, **then) for one in KEYS}
print(json.dumps({
    "rows": {one: rows.fetch1("c_range") for one, rows in old.items()},
    "folds": [rows.fetch1("shared_folds") for rows in old.values()],
    "same": [rows.settings() == asked[one] for one, rows in old.items()],
    "keys": {one: schemas.NDCParams.add(settings)["ndc_params"] for one, settings in asked.items()},
    "new": schemas.NDCParams.add(NDCSettings("choice"))["ndc_params"] in KEYS.values(),
    "fixed": (schemas.NDCParams & {"ndc_params": version_1.ROWS[0]["ndc_params"]}).fetch1("c_range"),
    "k_star": schemas.NDCResult.to_arrays("k_star", order_by="eid").tolist(),
    "differences": [[row["slope_difference"], row["n_level_pairs"], row["level_difference"]]
                    for row in schemas.NDCPopulation.Difference().to_dicts()],
}))
"""


def test_of_version_31_curves_chose_c_from_1_10_and_30_and_no_values_were_compared_within_mice(old_tables):
    old = old_tables(31)
    assert "decoding: values compared within mice" in old.applied
    assert "decoding: how penalty auto chooses c" in old.applied
    assert "decoding: folds of null labels" in old.applied
    old.check_added("decoding", "n_d_c_params", "c_range", "shared_folds")
    levels = ("level_difference", "level_low", "level_high", "level_p", "level_sd", "n_level_pairs")
    old.check_added("decoding", "__n_d_c_population__difference", *levels)
    assert old.run(OLD_PENALTIES) == {
        "rows": {"none": "narrow", "stimulus": "narrow"}, "same": [True, True], "folds": [0, 0], "new": False,
        "fixed": "narrow",
        "k_star": [16, 8], "differences": [[-0.1, None, None]],
        "keys": {"none": "c5169d0f28da16e21428091b93e6f591", "stimulus": "74ab926e8e724f5e3a721f3c2abedcae"},
    }  # fmt: skip


OLD_SESSIONS = """
import json
import schemas
from schemas.session import history
from schemas.upkeep.deletion import delete_sessions
from schemas.upkeep.mixtures import notes_of
from support import version_1

schemas.activate()
eid = version_1.EIDS[1]
before = history({eid: {"alf/FOV_00/mpci.times.npy": "a" * 64}}, {})[eid]
n_deleted = delete_sessions({"eid": eid})["Session"]
print(json.dumps([before.registered, before.at_registration.hashes, notes_of(), n_deleted]))
"""


def test_of_sessions_of_version_31_it_is_not_known_which_files_they_were_registered_with(old_tables):
    old = old_tables(31)
    assert "files of sessions at registration" in old.applied
    old.check_new(("session", "session__file"))
    assert old.run(OLD_SESSIONS) == [[], {}, [], 1]


OLD_FILES = """
import json
import schemas
from schemas.session import Session
from schemas.upkeep.mixtures import notes_of
from support import version_1

schemas.activate()
files = (Session.File & {"eid": version_1.EIDS[0]}).to_dicts(order_by="dataset")
print(json.dumps([{row["dataset"].rpartition("/")[2]: row["sha256"][:1] for row in files}, len(notes_of())]))
"""


def test_of_files_that_have_grown_since_registration_nothing_was_claimed_in_version_35(old_tables):
    """They may have been half copied; now they are compared with what they were."""
    old = old_tables(35)
    assert "samples of large ones" in old.applied
    known, n_notes = old.run(OLD_FILES)
    assert known == {
        "_ibl_trials.table.pqt": "", "_ibl_trials.quiescencePeriod.npy": "b", "_ibl_wheel.position.npy": "c"
    }  # fmt: skip
    assert n_notes == 0


# ---------------------------------------------------------------- views


def test_views_have_their_columns(database):
    schema = settings.prefix() + "views"
    rows = database.query("SELECT table_name FROM information_schema.views WHERE table_schema = %s", args=(schema,))
    assert {row[0] for row in rows.fetchall()} == set(VIEWS)
    found = {name: columns(database, schema, name) for name in VIEWS}
    assert found == {name: text.split() for name, text in VIEWS.items()}


@pytest.fixture
def reader(database, backend) -> Iterator:
    """A cursor of a user who may read the views and nothing else."""
    name, views = f"{settings.prefix()}reader", settings.prefix() + "views"
    if backend == "mysql":
        import pymysql

        database.query(f"CREATE USER '{name}'@'%%' IDENTIFIED BY '{CANARY}'")
        database.query(f"GRANT SELECT ON `{views}`.* TO '{name}'@'%%'")
        host, port = os.environ["DJ_HOST"], int(os.environ["DJ_PORT"])
        connection = pymysql.connect(host=host, port=port, user=name, password=CANARY, autocommit=True)
    else:
        import psycopg2

        database.query(f"CREATE ROLE {name} LOGIN")
        database.query(f"GRANT USAGE ON SCHEMA {views} TO {name}")
        database.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA {views} TO {name}")
        connection = psycopg2.connect(host=str(embedded.running().socket_dir), user=name, dbname="postgres")
        connection.autocommit = True
    yield connection.cursor()
    connection.close()
    if backend == "mysql":
        database.query(f"DROP USER '{name}'@'%%'")
    else:
        database.query(f"DROP OWNED BY {name}")
        database.query(f"DROP ROLE {name}")


def test_views_are_read_with_rights_on_them_alone(database, reader):
    for name in VIEWS:
        reader.execute(f"SELECT * FROM {full(database, settings.prefix(), 'views', name)}")
        assert [column[0] for column in reader.description] == VIEWS[name].split()
        reader.fetchall()
    with pytest.raises(Exception, match="denied"):
        reader.execute(f"SELECT * FROM {full(database, settings.prefix(), 'session', 'subject')}")


def test_rights_on_views_outlive_an_init(database, backend, reader, meso_command, request):
    assert meso_command("db", "init").returncode == 0
    reader.execute(f"SELECT * FROM {full(database, settings.prefix(), 'views', 'session')}")


def test_the_job_view_has_the_status_as_it_is(database, backend, request):
    eid = "00000000-0000-3000-8000-00000000db02"
    schemas.Behavior.jobs.insert1({"eid": eid, "status": "ignore", "priority": 5, "host": "db02"})
    try:
        view = full(database, settings.prefix(), "views", "job")
        row = database.query(f"SELECT table_name, status FROM {view} WHERE host = 'db02'").fetchone()
        assert tuple(row) == ("Behavior", "ignore")
    finally:
        (schemas.Behavior.jobs & {"eid": eid}).delete_quick()


# ---------------------------------------------------------------- the command line


def test_status_and_errors_for_scripts(database, meso_command):
    done = meso_command("status", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["table"] for row in rows] == [table.__name__ for table in auto_populated()]
    assert set(rows[0]) == {"table", "done", "to_do", "running", "errors", "seconds", "eta", "longest", "host"}
    done = meso_command("errors", "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == (1 if rows else 0)


@pytest.mark.one_backend  # no server is asked
def test_help_lists_the_commands(meso_command):
    done = meso_command("--help", env={"MESO_PREFIX": "Not valid", "DJ_HOST": "nowhere.invalid"})
    assert done.returncode == 0
    for command in ("demo", "db", "ingest", "populate", "status", "errors", "retry", "ndc", "raster", "track"):
        assert f"\n  {command} " in done.stdout


def test_an_unknown_table_is_named(database, meso_command):
    assert "FOVs is not a populated table; the populated tables are Behavior, " in one_line(
        meso_command("errors", "FOVs")
    )


def test_retry_of_a_table_without_sessions_is_one_line(database, meso_command):
    done = meso_command("retry", "SharedCells", "--eid", "x")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "SharedCells" in done.stderr


def test_a_server_of_ones_own_is_not_started_or_stopped(meso_command, database, backend):
    assert "start and stop it on its own machine" in one_line(meso_command("db", "stop", env=own_server(backend)))


# ---------------------------------------------------------------- the embedded server


@pytest.fixture
def another(backend, meso_command) -> Iterator:
    """Commands on an embedded server in a folder of its own."""
    if backend != "postgresql":
        pytest.skip("the embedded database is a PostgreSQL")
    # not in pytest's folder: under root the server is another user, and each pytest run closes that folder to others
    folder = Path(tempfile.mkdtemp(prefix="meso-test-"))
    env = {**OWN, "MESO_DATA_DIR": str(folder / "new")}
    yield lambda *args: meso_command(*args, env=env)
    meso_command("db", "stop", env=env)
    shutil.rmtree(folder)


def test_embedded_server_started_by_several_stopped_and_started_again(another):
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(lambda command: another(*command), (["status"], ["db", "start"], ["status"])):
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
    (row,) = json.loads(another("db", "status", "--json").stdout)
    assert row["is_running"] is True
    assert row["tables"] == row["code"] == migrations.LATEST
    assert row["version"].startswith("PostgreSQL ")
    assert another("db", "stop").stdout == "Stopped\n"
    assert another("db", "stop").stdout == "It was not running\n"
    assert json.loads(another("db", "status", "--json").stdout)[0]["is_running"] is False
    done = another("db", "start")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Running; socket in ")
    assert json.loads(another("db", "status", "--json").stdout) == [row]  # with the version that init wrote


def test_a_server_that_is_just_starting_does_not_run_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_DATA_DIR", str(tmp_path))
    embedded.folder().mkdir()
    (embedded.folder() / "postmaster.pid").write_text("1\n/x\n1712346200\n5432\n/tmp\n")
    assert embedded.running() is None
