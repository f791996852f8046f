"""The declaration of tables: they are what DataJoint makes of them itself, with few statements."""

from __future__ import annotations

import json
from pathlib import Path

import datajoint as dj
import pytest
from support.databases import leave, own_prefix, own_server
from support.statements import statements

from schemas.server.binding import table_modules
from schemas.server.connection import catalogue
from schemas.server.declaration import declaring
from schemas.server.settings import prefix

#: Statements of an init of a new database; DataJoint's own are 2900 on PostgreSQL and 2000 on MySQL.
MOST = {"postgresql": 540, "mysql": 800}


def test_a_new_database_has_the_tables_that_datajoint_declares_itself(database, backend, python_command, request):
    name = own_prefix("d")
    request.addfinalizer(lambda: [leave(database, name + end) for end in ("plain_", "ours_")])
    script = Path(__file__).parents[2] / "support" / "two_inits.py"
    done = python_command(script, env={**own_server(backend), "MESO_PREFIX": name})
    assert done.returncode == 0, done.stderr
    plain, ours = (json.loads(done.stdout.splitlines()[-1])[which] for which in ("plain", "ours"))
    for part, rows in plain["definitions"].items():
        assert len(rows) > 50 and ours["definitions"][part] == rows, part
    assert ours["statements"] <= MOST[backend] < plain["statements"] / 2


@pytest.fixture
def scratch(database, backend):
    """Yield a schema of its own that is in the catalogue, without tables."""
    schema = dj.Schema(prefix() + "declared", connection=database)
    catalogue().read([schema.database])
    yield schema
    database.query(f"DROP SCHEMA {schema.database}" + (" CASCADE" if backend == "postgresql" else ""))
    catalogue().read([prefix() + name for name in table_modules()])  # as the other tests of this process expect it


def declare(schema: dj.Schema, name: str, definition: str, **context: type) -> type[dj.Manual]:
    return schema(type(name, (dj.Manual,), {"definition": definition}), context=context)


def columns(database, table: type[dj.Table]) -> list[str]:
    """Return the names of the columns as the server has them, in order; none of a table that does not exist."""
    rows = (
        catalogue()
        .send(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "ORDER BY ordinal_position",
            args=(table.database, table.table_name),
        )
        .fetchall()
    )
    return [row[0] for row in rows]


def test_a_table_is_seen_as_soon_as_it_is_declared_and_not_before(database, scratch):
    with declaring(catalogue()):
        assert not dj.FreeTable(database, database.adapter.make_full_table_name(scratch.database, "cage")).is_declared
        cage = declare(scratch, "Cage", "cage : int32  # number\n---\nroom='' : varchar(8)")
        mouse = declare(scratch, "Mouse", "-> Cage\nmouse : int32", Cage=cage)
        assert cage().is_declared and mouse.heading["cage"].lineage == f"{scratch.database}.cage.cage"
        database.query(f"ALTER TABLE {mouse.full_table_name} ADD COLUMN born int")
        full = mouse.full_table_name
        assert dj.FreeTable(database, full).heading.names == ["cage", "mouse", "born"]
        mouse.drop_quick()
        assert not dj.FreeTable(database, full).is_declared
    assert columns(database, cage) == ["cage", "room"] and cage.heading["cage"].comment == "number"
    with statements() as sent:  # all definitions have been read again
        assert dj.FreeTable(database, cage.full_table_name).heading["cage"].lineage == f"{scratch.database}.cage.cage"
    assert sent == []


def test_a_table_whose_declaration_fails_is_not_there_and_nothing_is_taken_for_known(database, scratch, backend):
    """On PostgreSQL the table goes with its index, which fails here; MySQL has the index in the table's statement."""
    bad = type("Bad", (dj.Manual,), {"definition": "bad : int32\n---\nindex (missing)"})
    with pytest.raises(Exception, match="missing"), declaring(catalogue()):
        scratch(bad, context={})
    assert columns(database, bad) == [] and not bad().is_declared
    assert catalogue().answers == {} and database.query.__self__ is catalogue()
    cage = declare(scratch, "Cage", "cage : int32")
    assert columns(database, cage) == ["cage"]
