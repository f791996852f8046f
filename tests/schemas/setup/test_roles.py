"""Rights of each role, tested by using them; accounts, passwords and TLS; passwords are readable nowhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datajoint as dj
import numpy as np
import pytest
import requests
from support.databases import closed_port, drop, one_line, own_server
from support.pages import served

from pipeline.errors import ConfigError
from schemas.server import embedded, settings
from schemas.server.binding import table_modules
from schemas.setup import roles

DOCS = Path(__file__).parents[3] / "docs" / "operation" / "roles.md"
REFUSED = {"mysql": (1044, 1142, 1143, 1227), "postgresql": ("42501",)}


class Site:
    """A prefix of its own with accounts, and everything that commands said."""

    def __init__(self, database, backend, meso_command, python_command):
        self.database, self.backend = database, backend
        self.prefix = settings.prefix() + "site_"
        self.commands = {"meso": meso_command, "python": python_command}
        self.owner = {**own_server(backend), "MESO_PREFIX": self.prefix}
        self.users = {role: f"{self.prefix}{role}.one" for role in roles.ROLES}
        self.passwords: dict[str, str] = {}
        self.said: list[str] = []

    def env(self, user: str) -> dict[str, str]:
        return {**self.owner, "DJ_USER": user, "DJ_PASS": self.passwords[user]}

    def run(self, role: str | None, *args, command: str = "meso", **env):
        """Run a command with the account of a role, or as the server's administrator."""
        base = self.env(self.users[role]) if role else self.owner
        done = self.commands[command](*args, env={**base, **env})
        self.said.append(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def grant(self, user: str, role: str, *args, **kwargs) -> roles.Granted:
        """Give an account a role from this process, which has another prefix."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.owner.items():
                patch.setenv(name, value)
            done = roles.grant(user, role, *args, **kwargs)
        self.said += [repr(done), done.account, *done.notes]
        if done.password:
            self.passwords[user] = done.password
        return done

    def connect(self, user: str, password: str | None = None, **options) -> Any:
        """Return a connection of the server's own client."""
        password = password or self.passwords[user]
        if self.backend == "mysql":
            import os

            import pymysql

            place = {"host": os.environ["DJ_HOST"], "port": int(os.environ["DJ_PORT"])}
            return pymysql.connect(user=user, password=password, autocommit=True, **place, **options)
        import psycopg2

        connection = psycopg2.connect(
            host=str(embedded.running().socket_dir), user=user, password=password, dbname="postgres", **options
        )
        connection.autocommit = True
        return connection

    def drop_accounts(self) -> None:
        names = [*self.users.values(), *self.passwords, *(self.prefix + role for role in roles.ROLES)]
        for name in dict.fromkeys(names):
            if self.backend == "mysql":
                hosts = self.database.query("SELECT host FROM mysql.user WHERE user = %s", args=(name,)).fetchall()
                for (host,) in hosts:
                    self.database.query("DROP USER %s@%s", args=(name, host))
            elif self.database.query("SELECT 1 FROM pg_roles WHERE rolname = %s", args=(name,)).fetchone():
                self.database.query(f"DROP OWNED BY {roles.PostgreSQL.quoted(name)} CASCADE")
                self.database.query(f"DROP ROLE {roles.PostgreSQL.quoted(name)}")


@pytest.fixture(scope="module")
def site(database, backend, meso_command, python_command) -> Iterator[Site]:
    """Tables under a prefix of their own, and an account of each role."""
    site = Site(database, backend, meso_command, python_command)
    rules = embedded.folder() / "pg_hba.conf" if backend == "postgresql" else None
    before = rules.read_text() if rules else ""
    if rules:  # the embedded server asks for no password
        rules.write_text(f'local all "/^{site.prefix}.*" scram-sha-256\n{before}')
        database.query("SELECT pg_reload_conf()")
    try:
        assert site.run(None, "db", "init").returncode == 0
        done = site.run(None, "db", "grant", site.users["worker"], "--role", "worker", DJ_LOG_LEVEL="DEBUG")
        said, found, password = done.stdout.rpartition("\nPassword, shown only once: ")
        assert found, done.stderr
        assert said.endswith(f" is worker of {site.prefix}*")
        assert "Executing SQL" in said
        site.passwords[site.users["worker"]], site.said[-1] = password.strip(), said + done.stderr
        for role in ("reader", "curator", "admin"):
            site.grant(site.users[role], role)
        yield site
    finally:
        drop(database, site.prefix)
        site.drop_accounts()
        if rules:
            rules.write_text(before)
            database.query("SELECT pg_reload_conf()")


# ---------------------------------------------------------------- the matrix


def objects(site: Site) -> list[tuple[str, str, bool]]:
    """Return schema, name and whether it is a view, of all that the site has."""
    rows = site.database.query(
        "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema LIKE %s",
        args=(site.prefix.replace("_", r"\_") + "%",),
    ).fetchall()
    return sorted((schema, name, kind == "VIEW") for schema, name, kind in rows)


def kinds() -> dict[tuple[str, str], str]:
    """Return the kind of each table, by module and name in the database, as its class tells."""
    named = dict.fromkeys(("Environment", "Deletion", "SourceUpdate", "FormerResult"), "records")
    of_module = {"provenance": "database", "workers": "workers"}
    found = {}
    for module, tables in table_modules().items():
        found[module, "~lineage"] = "lineage"
        for cls, _ in tables.schema.declare_list:
            is_filled = issubclass(cls, (dj.Imported, dj.Computed))
            kind = named.get(cls.__name__) or of_module.get(module) or ("computed" if is_filled else "registered")
            parts = [p for p in vars(cls).values() if isinstance(p, type) and issubclass(p, dj.Part)]
            found |= {(module, table.table_name): kind for table in (cls, *parts)}
            # which workers complete
            found |= {(module, part.table_name): "computed" for part in parts if part.__qualname__ == "Session.File"}
            if is_filled:
                found[module, cls.jobs.table_name] = "jobs"
    return found


def first_column(site: Site, schema: str, table: str) -> str:
    rows = site.database.query(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
        "ORDER BY ordinal_position LIMIT 1",
        args=(schema, table),
    ).fetchall()
    return rows[0][0]


def statements(site: Site, schema: str, name: str, is_view: bool, is_admin: bool) -> dict[str, str]:
    """Return SQL that needs each right; only an admin's makes and drops a table of its own."""
    quote = site.database.adapter.quote_identifier
    full, what = f"{quote(schema)}.{quote(name)}", "VIEW" if is_view else "TABLE"
    planted = f"{quote(schema)}.{quote('planted')}"
    column = quote(first_column(site, schema, name))
    if is_view:
        # only its definer may say ALTER VIEW in MySQL; that an admin becomes it changes nothing for readers
        select = site.database.query(
            "SELECT view_definition FROM information_schema.views WHERE table_schema = %s AND table_name = %s",
            args=(schema, name),
        ).fetchone()[0]
        mysql = f"CREATE OR REPLACE VIEW {full} AS {select}"
        alter = mysql if site.backend == "mysql" else f"ALTER VIEW {full} RESET (security_barrier)"
    else:
        alter = f"ALTER TABLE {full} " + (
            "STATS_PERSISTENT = DEFAULT" if site.backend == "mysql" else "RESET (fillfactor)"
        )
    return {
        "SELECT": f"SELECT * FROM {full} LIMIT 0",
        "INSERT": f"INSERT INTO {full} SELECT * FROM {full} WHERE 1 = 0",
        "UPDATE": f"UPDATE {full} SET {column} = {column} WHERE 1 = 0",
        "DELETE": f"DELETE FROM {full} WHERE 1 = 0",
        "CREATE": f"CREATE {what} {planted} " + ("AS SELECT 1 AS x" if is_view else "(x int)"),
        "ALTER": alter,
        "GRANT": f"GRANT SELECT ON {full} TO {quote(site.prefix + 'reader')}",
        "DROP": f"DROP {what} {planted if is_admin else full}",
    }


def is_done(site: Site, connection, sql: str, is_view: bool) -> bool:
    """Execute a statement; return whether the server did, after checking that a refusal was for lack of a right."""
    cursor = connection.cursor()
    if site.backend == "postgresql":
        del connection.notices[:]
    try:
        cursor.execute(sql)
        if sql.startswith("SELECT"):
            cursor.fetchall()
    except Exception as error:
        code = error.args[0] if site.backend == "mysql" else error.pgcode
        if is_view or code in REFUSED[site.backend]:  # a missing right, or a view that cannot be written
            return False
        raise
    # PostgreSQL only warns when an account grants rights that it does not have
    return site.backend == "mysql" or not any("no privileges were granted" in text for text in connection.notices)


@pytest.mark.parametrize("role", roles.ROLES)
def test_each_role_may_do_what_is_declared_and_nothing_else(site, role):
    connection, cells, kind_of = site.connect(site.users[role]), 0, kinds()
    for schema, name, is_view in objects(site):
        kind = "views" if is_view else kind_of[schema.removeprefix(site.prefix), name]
        todo = statements(site, schema, name, is_view, role == "admin")
        done = {verb for verb, sql in todo.items() if is_done(site, connection, sql, is_view)}
        # whether a view can be written through is a matter of its query
        unknown = {"INSERT", "UPDATE", "DELETE"} if is_view and role == "admin" else set()
        assert done - unknown == set(roles.RIGHTS[kind][role]) - unknown, (schema, name)
        cells += len(roles.ALL)
    connection.close()
    assert cells > 400


def test_every_kind_of_table_is_there(site):
    assert {*kinds().values(), "views"} == set(roles.RIGHTS)
    assert {(schema, name) for schema, name, is_view in objects(site) if not is_view} == {
        (site.prefix + module, name) for module, name in kinds()
    }


def test_the_page_shows_what_is_declared():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCS.read_text().splitlines()
        if line.startswith("| ")
    ]
    head = next(i for i, row in enumerate(rows) if row[-4:] == list(roles.ROLES))
    table = {row[0]: row[-4:] for row in rows[head + 1 : head + 1 + len(roles.RIGHTS)]}
    letters = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}
    shown = {
        kind: {
            role: {letters[c] for c in cell.split()[0].strip(",")} | (set(roles.DDL) if "DDL" in cell else set())
            for role, cell in zip(roles.ROLES, cells, strict=True)
        }
        for kind, cells in table.items()
    }
    assert shown == {kind: {role: set(verbs) for role, verbs in row.items()} for kind, row in roles.RIGHTS.items()}


# ---------------------------------------------------------------- work with it

REGISTER = """
import sys
import schemas
from populate_scripts.ingest import ingest

schemas.activate()
done = ingest(everything=True, cache_dir=sys.argv[1])
assert len(done.new) == 2 and not done.failed, done
schemas.TrackingRun.register((schemas.Session & {"eid": done.new[0]}).fetch1("subject"))
"""

ASK = """
import sys
import schemas
from pipeline.decoding import NDCSettings

schemas.activate()
(run,) = schemas.TrackingRun.keys()
session_set = schemas.SessionSet.add(sys.argv[1:], run)
params = schemas.NDCParams.add(NDCSettings("choice", ks=(2, 4), r=3, n_label_shuffles=4, n_bootstrap=10))
schemas.NDCTask.insert1({**session_set, **params})
schemas.TransferTask.insert1({**session_set, **params, "scaler": "own"})
schemas.NDCFamily.add([{**session_set, **params}])
schemas.NDCCohort.add([{**session_set, **params}])
"""

READ = """
import schemas
from schemas.work.reports import errors, status

schemas.activate()
fov = schemas.Activity.keys(limit=1)[0]
found = schemas.activity(schemas.ROI & fov & "is_neuron")
assert found.traces.shape[0] > 1
assert len(schemas.NDCResult.Curve * schemas.NDCResult.proj("k_star") * schemas.Session) > 0
assert len(schemas.Session * schemas.FOV) == len(schemas.FOV())  # PostgreSQL showed the keys
print([row["errors"] for row in status()], len(errors()))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A small repository with a FOV that cannot be read."""
    from pipeline.demo.repository import write_demo_repository

    root = tmp_path_factory.mktemp("roles") / "one"
    root.mkdir()
    truth = write_demo_repository(root, n_days=2, n_fovs=2, n_trials=120, n_shared=24, rois_per_fov=60)
    broken = next(path for path in sorted(root.rglob("FOV_01/mpci.times.npy")))
    broken.write_bytes(broken.read_bytes()[:200])
    return truth


@pytest.fixture(scope="module")
def filled(site, repository) -> SimpleNamespace:
    """What the accounts saw while the curator registered and the worker computed."""
    debug = {"DJ_LOG_LEVEL": "DEBUG", "MESO_ONE_CACHE_DIR": None}
    seen = SimpleNamespace(eids=repository.eids)
    seen.register = site.run("curator", "-c", REGISTER, repository.root, command="python")
    seen.first = site.run("worker", "populate", **debug)
    seen.ask = site.run("curator", "-c", ASK, *repository.eids, command="python")
    seen.second = site.run("worker", "worker", "--until-done")
    seen.read = site.run("reader", "-c", READ, command="python")
    return seen


def test_a_worker_populates_what_a_curator_registers_and_a_reader_reads_it(site, filled):
    for done in (filled.register, filled.ask, filled.read):
        assert done.returncode == 0, done.stderr
    assert filled.first.returncode == 1  # the FOV that cannot be read
    assert "mpci.times" in filled.first.stderr
    assert filled.second.returncode == 0, filled.second.stderr
    rows = json.loads(site.run("reader", "status", "--json").stdout)
    done = {row["table"]: row["done"] for row in rows}
    optional = {
        "ImportedOrder",
        "NDCPopulation",
        "TrialTypeMean",
        "CellResponse",
        "Stability",
        "Signal",
        "SharedEmbedding",
    }
    assert {table for table, n in done.items() if n == 0} <= optional
    assert sum(row["errors"] for row in rows) == 1
    assert sum(row["to_do"] for row in rows) == 0


def test_a_reader_runs_the_commands_that_read(site, filled):
    errors = json.loads(site.run("reader", "errors", "--json").stdout)
    assert [row["table"] for row in errors] == ["FOV"]
    done = site.run("reader", "verify", filled.eids[1])
    assert done.returncode == 0, done.stderr
    assert ", 0 findings" in done.stdout


def test_a_reader_serves_the_page(site, filled):
    """The page needs only SELECT, and REFERENCES on PostgreSQL."""
    eid = filled.eids[1]
    pages = ("/", "/sessions", f"/sessions/{eid}", f"/sessions/{eid}/cells.json", f"/sessions/{eid}/timeline.json",
             f"/sessions/{eid}/raster?rows=0:9&frames=0:99&width=99&height=9", f"/sessions/{eid}/cells/0/0",
             f"/sessions/{eid}/cells/0/0/choice.svg")  # fmt: skip
    with served(site.env(site.users["reader"])) as address:
        answers = {path: requests.get(address + path, timeout=30) for path in pages}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(pages, 200)
    assert eid in answers["/sessions"].text and len(answers[pages[5]].content) == 9 * 99


@pytest.mark.parametrize(
    ("role", "command", "refusal"),
    [
        ("reader", ["delete", "EID", "--yes"], "lacks the permission"),
        ("worker", ["ingest", "EID", "--cache-dir", "ROOT"], "lacks the permission"),
        ("curator", ["db", "grant", "mallory", "--role", "admin"], "may not create accounts"),
    ],
)
def test_what_a_role_may_not_do_is_refused_in_a_line(site, filled, repository, role, command, refusal):
    words = {"EID": filled.eids[1], "ROOT": str(repository.root)}
    before = counted(site), accounts(site)
    done = site.run(role, *(words.get(word, word) for word in command))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]  # before it there may be a bar
    assert re.fullmatch(rf"Error: .+ {refusal} .+", last)
    assert (counted(site), accounts(site)) == before


def counted(site: Site) -> dict[str, int]:
    """Return the number of rows of each table, by SQL."""
    quote = site.database.adapter.quote_identifier
    return {
        name: site.database.query(f"SELECT count(*) FROM {quote(schema)}.{quote(name)}").fetchone()[0]
        for schema, name, is_view in objects(site)
        if not is_view
    }


def test_a_curator_deletes_a_session_and_it_is_recorded(site, filled):
    before = counted(site)
    done = site.run("curator", "delete", filled.eids[1], "--yes")
    assert done.returncode == 0, done.stderr
    after = counted(site)
    gone = {name: n - after[name] for name, n in before.items() if n > after[name]}
    assert {name for name, n in before.items() if n < after[name]} == {"deletion", "deletion__file"}
    table = site.database.adapter.make_full_table_name(site.prefix + "provenance", "deletion")
    rows = site.database.query(f"SELECT deleted_by, deleted_table, deleted_rows FROM {table}").fetchall()
    assert len(rows) == 1
    assert rows[0][0].split("@")[0] == site.users["curator"]
    assert rows[0][1] == "Session"
    counts = rows[0][2] if isinstance(rows[0][2], dict) else json.loads(rows[0][2])
    assert sorted(counts.values()) == sorted(gone.values())
    assert (counts["Session"], counts["NDCResult"], counts["FOV"]) == (1, 2, 2)  # both curves of the set
    assert gone["_f_o_v"] == 2
    shown = [line.split() for line in done.stdout.splitlines()]
    assert all([title, str(n)] in shown for title, n in counts.items())


def test_a_curator_updates_a_session_whose_files_changed(site, filled, repository):
    """Its account may add rows to the records, and change none."""
    path = min(repository.root.rglob("FOV_00/mpci.times.npy"))
    np.save(path, np.load(path) + 0.5)
    done = site.run("curator", "update", "--all")
    assert "FOV: session " in done.stdout, done.stderr
    assert "Update " in done.stdout
    assert f"{path.parent.name}: alf/FOV_00/mpci.times.npy: content sha256 " in done.stdout
    again = site.run("curator", "update", "--all")
    assert again.stdout == "No file has changed\n", again.stderr
    denied = site.run("reader", "update", "--all")
    assert denied.stdout == "No file has changed\n", denied.stderr
    counts = counted(site)
    assert counts["source_update"] == counts["source_update__done"] == 1


def test_an_admin_declares_and_roles_get_their_rights_on_new_tables(site):
    session, quote = site.prefix + "session", site.database.adapter.quote_identifier
    table = f"{quote(session)}.{quote('_later')}"
    admin = site.connect(site.users["admin"])
    admin.cursor().execute(f"CREATE TABLE {table} (x int)")
    worker = site.connect(site.users["worker"])
    insert = f"INSERT INTO {table} (x) VALUES (1)"
    assert not is_done(site, worker, insert, False)
    done = site.run("admin", "db", "init")
    assert done.returncode == 0, done.stderr
    assert is_done(site, worker, insert, False)
    admin.cursor().execute(f"DROP TABLE {table}")
    reader = site.connect(site.users["reader"])
    for schema, name, is_view in objects(site):
        if is_view:  # created again by the admin
            reader.cursor().execute(f"SELECT * FROM {quote(schema)}.{quote(name)}")


def test_a_right_too_many_is_taken_away(site):
    subject, reader = (
        table_of(site, "session", "subject"),
        site.database.adapter.quote_identifier(site.prefix + "reader"),
    )
    site.database.query(f"GRANT DELETE ON {subject} TO {reader}")
    delete = f"DELETE FROM {subject} WHERE 1 = 0"
    assert is_done(site, site.connect(site.users["reader"]), delete, False)
    site.grant(site.users["reader"], "reader")
    assert not is_done(site, site.connect(site.users["reader"]), delete, False)


def table_of(site: Site, module: str, table: str) -> str:
    return site.database.adapter.make_full_table_name(site.prefix + module, table)


# ---------------------------------------------------------------- accounts


def test_a_role_replaces_the_one_before_and_the_password_stays(site):
    user, subject = site.prefix + "changing", table_of(site, "session", "subject")
    assert site.grant(user, "curator").password
    assert site.grant(user, "reader").password is None
    connection = site.connect(user)
    assert is_done(site, connection, f"SELECT * FROM {subject} LIMIT 0", False)
    assert not is_done(site, connection, f"DELETE FROM {subject} WHERE 1 = 0", False)
    old = site.passwords[user]
    assert site.grant(user, "reader", new_password=True).password not in (None, old)
    site.connect(user).close()
    with pytest.raises(Exception, match=r"(?i)denied|failed"):
        site.connect(user, old)


HOSTILE = ["o'brien", 'a"b', "a\\", "a`b", "a%", "a b", "", "-x", "x" * 300, "x'@'%' IDENTIFIED BY 'y'; DROP USER root"]


@pytest.mark.parametrize("user", HOSTILE)
def test_a_hostile_name_is_refused(site, user):
    before = accounts(site)
    with pytest.raises(ConfigError, match="cannot be an account"):
        site.grant(user, "reader")
    assert accounts(site) == before


@pytest.mark.parametrize("host", ["a'b", "%' IDENTIFIED BY 'x", "a b", "", "h" * 300])
def test_a_hostile_host_is_refused(site, host):
    before = accounts(site)
    with pytest.raises(ConfigError, match="is not a host name or address"):
        site.grant(site.prefix + "x", "reader", host)
    assert accounts(site) == before


@pytest.mark.parametrize("user", HOSTILE[:-3])
def test_a_hostile_name_would_be_quoted(site, user, monkeypatch):
    monkeypatch.setattr(roles, "USER", re.compile(".*"))
    name = site.prefix + user
    site.grant(name, "reader")
    assert name in {row[0] for row in accounts(site)}
    site.connect(name).close()


def accounts(site: Site) -> list:
    sql = "SELECT user, host FROM mysql.user" if site.backend == "mysql" else "SELECT rolname, rolsuper FROM pg_roles"
    return sorted(site.database.query(sql).fetchall())


def test_the_name_of_a_role_is_refused_as_an_account(site):
    with pytest.raises(ConfigError, match="is the name of a role"):
        site.grant(site.prefix + "admin", "reader")


def test_other_rights_of_an_account_are_reported(site):
    user, subject = site.prefix + "more", table_of(site, "session", "subject")
    assert site.grant(user, "reader").notes == []
    if site.backend == "mysql":
        site.database.query(f"GRANT DELETE ON {subject} TO '{user}'@'%%'")
    else:
        site.database.query(f'GRANT pg_read_all_data TO "{user}"')
    (note,) = site.grant(user, "reader").notes
    assert note.startswith("The account has other rights too")
    assert ("DELETE" if site.backend == "mysql" else "pg_read_all_data") in note


def test_the_embedded_database_has_no_roles(database, backend):
    if backend != "postgresql":
        pytest.skip("the embedded database is a PostgreSQL")
    with pytest.raises(ConfigError, match="the embedded database is for one person"):
        roles.grant("anna", "reader")


def test_no_tables_no_roles(site, monkeypatch):
    monkeypatch.setitem(site.owner, "MESO_PREFIX", "nothing_")
    with pytest.raises(ConfigError, match="no tables with the prefix nothing_: declare them with meso db init"):
        site.grant("anna", "reader")


# ---------------------------------------------------------------- MySQL: wildcards, TLS, hosts


@pytest.fixture
def mysql(site):
    if site.backend != "mysql":
        pytest.skip("of MySQL")
    return site


def test_a_name_that_fits_the_prefix_as_a_pattern_is_not_covered(mysql):
    other = mysql.prefix[:-1] + "Xother"
    mysql.database.query(f"CREATE DATABASE `{other}`")
    try:
        connection = mysql.connect(mysql.users["admin"])
        assert not is_done(mysql, connection, f"CREATE TABLE `{other}`.`planted` (x int)", False)
        assert is_done(mysql, connection, f"CREATE DATABASE `{mysql.prefix}other`", False)
    finally:
        mysql.database.query(f"DROP DATABASE `{other}`")


def test_an_account_on_a_network_needs_tls_and_one_on_loopback_does_not(mysql):
    import pymysql

    far, near = mysql.users["reader"], mysql.prefix + "near"
    mysql.connect(far).close()
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        mysql.connect(far, ssl_disabled=True)
    assert mysql.grant(near, "reader", "127.0.0.1").account == f"'{near}'@'127.0.0.1'"
    mysql.connect(near).close()  # the server then knows the password, and takes it without TLS
    mysql.connect(near, ssl_disabled=True).close()


def test_an_account_that_must_show_a_certificate_still_must(mysql):
    user = mysql.prefix + "certain"
    mysql.database.query(f"CREATE USER '{user}'@'%%' IDENTIFIED BY 'x' REQUIRE X509")
    mysql.passwords[user] = "x" * 32  # to be dropped with the others
    mysql.grant(user, "reader")
    made = mysql.database.query(f"SHOW CREATE USER '{user}'@'%%'").fetchone()[0]
    assert "REQUIRE X509" in made


def test_patterns_that_are_none_are_refused(mysql):
    mysql.database.query("SET GLOBAL partial_revokes = ON")
    try:
        with pytest.raises(ConfigError, match="partial_revokes=ON"):
            mysql.grant(mysql.prefix + "later", "admin")
        mysql.grant(mysql.prefix + "later", "curator")
    finally:
        mysql.database.query("SET GLOBAL partial_revokes = OFF")


def test_an_account_is_found_by_its_name_unless_there_are_several(mysql):
    user = mysql.prefix + "roams"
    mysql.grant(user, "reader", "127.0.0.%")
    done = mysql.grant(user, "worker")
    assert (done.account, done.password) == (f"'{user}'@'127.0.0.%'", None)
    assert mysql.grant(user, "reader", "127.0.0.1").password
    with pytest.raises(ConfigError, match=r"127\.0\.0\.%, 127\.0\.0\.1: choose one with --host"):
        mysql.grant(user, "reader")


# ---------------------------------------------------------------- PostgreSQL: TLS


def test_a_rule_that_lets_accounts_in_without_tls_is_refused(site):
    if site.backend != "postgresql":
        pytest.skip("of PostgreSQL")
    rules = embedded.folder() / "pg_hba.conf"
    before, user = rules.read_text(), site.prefix + "far"
    try:
        rules.write_text(f"{before}\nhost all all 10.0.0.0/8 scram-sha-256\n")
        with pytest.raises(ConfigError) as refused:
            site.grant(user, "reader")
        assert f"without TLS (line {len(before.splitlines()) + 2})" in str(refused.value)
        assert f"hostssl postgres {user} all scram-sha-256" in str(refused.value)
        assert user not in str(accounts(site))
        rules.write_text(f"{before}\nhostssl all all 10.0.0.0/8 scram-sha-256\n")
        assert site.grant(user, "reader").notes == []
        with pytest.raises(ConfigError, match=r"pg_hba\.conf says from where"):
            site.grant(user, "reader", "localhost")
    finally:
        rules.write_text(before)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([("local", "all", "all", None, "trust"), ("host", "all", "all", "127.0.0.1", "trust")], []),
        ([("host", "all", "all", "::1", "scram-sha-256"), ("host", "all", "all", "samehost", "md5")], []),
        ([("host", "all", "all", "all", "scram-sha-256")], [1]),
        ([("hostnossl", "all", "anna", "192.168.1.0", "md5"), ("hostssl", "all", "all", "all", "md5")], [1]),
        ([("host", "all", "bob", "all", "md5"), ("host", "other", "all", "all", "md5")], []),
        ([("host", "site", "+staff", "all", "md5"), ("host", "all", "/^a", "samenet", "md5")], [1, 2]),
        ([("host", "replication", "all", "all", "md5")], []),
        ([("hostnossl", "all", "all", "all", "reject"), ("host", "all", "all", "all", "md5")], []),
        ([("hostnossl", "all", "all", "10.0.0.0", "reject"), ("host", "all", "all", "all", "md5")], [2]),
    ],
)
def test_rules_of_pg_hba(rules, found):
    rows = [
        (line, kind, [databases], [users], address, method)
        for line, (kind, databases, users, address, method) in enumerate(rules, 1)
    ]
    assert roles.plain_rules(rows, "site", "anna") == found


def test_postgresql_never_sees_a_password(site):
    if site.backend != "postgresql":
        pytest.skip("of PostgreSQL")
    seen, user = [], site.prefix + "seen"
    server = roles.PostgreSQL(site.database)
    verifier = server.verifier(user, "right")
    assert verifier.startswith("SCRAM-SHA-256$")
    seen = site.database.query("SELECT rolpassword FROM pg_authid WHERE rolname = %s", args=(site.users["reader"],))
    assert seen.fetchone()[0].startswith("SCRAM-SHA-256$")


def test_no_role_of_an_unknown_name(database):
    with pytest.raises(ConfigError, match="'owner' is not a role; the roles are reader, worker, curator, admin"):
        roles.grant("anna", "owner")


# ---------------------------------------------------------------- no password where it can be read


def test_a_password_is_shown_once_and_is_nowhere_else(site, filled, tmp_path):
    wrong = site.env(site.users["worker"]) | {"DJ_PASS": site.passwords[site.users["worker"]] + "x"}
    site.said.append(one_line(site.commands["meso"]("status", env=wrong)))
    port = {"DJ_HOST": "127.0.0.1", "DJ_PORT": str(closed_port()), "DJ_LOG_LEVEL": "DEBUG"}
    site.run("worker", "db", "status", **port)
    site.run("curator", "raster", filled.eids[0], "--output", tmp_path, DJ_LOG_LEVEL="DEBUG")
    figures = [path.read_bytes() for path in tmp_path.iterdir()]
    assert figures
    kept = [repr(rows) for rows in everything(site)]
    assert "mpci.times" in "".join(kept)  # the failure, with its traceback
    assert len(site.said) > 20
    for password in site.passwords.values():
        assert len(password) >= 32
        assert not any(password in text for text in [*site.said, *kept])
        assert not any(password.encode() in data for data in figures)


def everything(site: Site) -> Iterator[list]:
    """Yield the rows of all tables but the traces, blobs unpacked where they are text."""
    for schema, name, is_view in objects(site):
        if is_view or "trace" in name or "wheel" in name:
            continue
        full = site.database.adapter.make_full_table_name(schema, name)
        rows = [list(row) for row in site.database.query(f"SELECT * FROM {full}").fetchall()]
        if name.startswith("~~"):
            column = [row[0] for row in site.database.query(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
                "ORDER BY ordinal_position", args=(schema, name)).fetchall()].index("error_stack")  # fmt: skip
            for row in rows:
                row[column] = dj.blob.unpack(bytes(row[column])) if row[column] is not None else None
        yield rows


def test_passwords_differ(site):
    assert len(set(site.passwords.values())) == len(site.passwords) >= 4
