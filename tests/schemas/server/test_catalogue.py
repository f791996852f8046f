"""The catalogue: DataJoint makes the same of it as of the server's own answers, and it never answers of the past."""

from __future__ import annotations

import datajoint as dj
import pytest
from datajoint.dependencies import Dependencies
from datajoint.errors import DataJointError, IntegrityError, MissingTableError
from datajoint.heading import Heading
from support.statements import statements

from schemas.embedding import Embedding
from schemas.imaging.tables import FOV, ROI
from schemas.rows import jobs_of
from schemas.server.binding import auto_populated, table_modules
from schemas.server.catalogue import ENOUGH_TO_READ
from schemas.server.connection import catalogue
from schemas.server.headings import READ
from schemas.server.settings import prefix
from schemas.session import Session

pytestmark = pytest.mark.usefixtures("database")


class Server:
    """The server without the catalogue, in the place of a connection."""

    def __init__(self) -> None:
        self.adapter, self.query = catalogue().connection.adapter, catalogue().send
        self.schemas = catalogue().connection.schemas


def read_all() -> list[str]:
    """Read the catalogue; return the names of the schemas."""
    names = [prefix() + name for name in table_modules()]
    catalogue().read(names)
    return names


def tables_in(schemas: list[str]) -> list[tuple[str, str]]:
    """Return schema and name of all tables, those of jobs included, as the server lists them."""
    server = Server()
    return [
        (schema, row[0])
        for schema in schemas
        for row in server.query(server.adapter.list_tables_sql(schema)).fetchall()
    ]


def heading(connection, schema: str, table: str) -> Heading:
    made = Heading(table_info={"conn": connection, "database": schema, "table_name": table, "context": None})
    assert made.attributes
    return made


#: What MySQL says of a table that changes from one look to the next, which the catalogue leaves out.
ESTIMATES = (
    "create_time", "table_rows", "avg_row_length", "data_length", "max_data_length", "index_length", "data_free",
    "auto_increment", "update_time", "check_time",
)  # fmt: skip


def test_headings_are_what_datajoint_reads_itself_and_cost_nothing():
    tables = tables_in(read_all())
    assert len(tables) > 60 and any(name.startswith("~~") for _, name in tables)
    for schema, table in tables:
        own = heading(Server(), schema, table)
        with statements() as sent:
            found = heading(catalogue().connection, schema, table)
        # a new version of DataJoint that asks in other words would send statements here
        assert sent == [], (schema, table)
        # all attributes, those hidden too, with each of their properties: type, codec, default, comment, lineage ...
        for attributes in (found._attributes, own._attributes):
            for name, attribute in attributes.items():
                codec = attribute.codec and type(attribute.codec)
                attributes[name] = attribute._replace(codec=codec)
        assert list(found._attributes.items()) == list(own._attributes.items()), (schema, table)
        assert found.indexes == own.indexes and found.lineage_available == own.lineage_available
        for status in (found.table_status, own.table_status):
            for name in ESTIMATES:
                status.pop(name, None)
        assert found.table_status == own.table_status
        assert vars(found).keys() == vars(own).keys() == {
            "indexes", "table_info", "_table_status", "_lineage_available", "_attributes", "_visible",
        }  # fmt: skip


def test_a_definition_is_parsed_once_and_headings_share_nothing_that_one_could_change(monkeypatch):
    read_all()
    first = heading(catalogue().connection, prefix() + "imaging", ROI.table_name)
    parsed, parse = [], catalogue().connection.adapter.parse_column_info
    monkeypatch.setattr(
        catalogue().connection.adapter, "parse_column_info", lambda row: parsed.append(row) or parse(row)
    )
    second = heading(catalogue().connection, prefix() + "imaging", ROI.table_name)
    assert parsed == [] and second.attributes is second.attributes
    for name in READ:
        assert vars(first)[name] == vars(second)[name]
    before = dict(second._attributes)
    with pytest.raises(TypeError):
        second.attributes["eid"] = None
    second._attributes.clear()
    second.table_status.clear()
    third = heading(catalogue().connection, prefix() + "imaging", ROI.table_name)
    assert third._attributes == before and third.table_status == first.table_status
    assert parsed == [] and heading(Server(), prefix() + "imaging", ROI.table_name).names == third.names and parsed


def test_lineage_is_there_so_that_joins_are_of_the_same_attributes():
    read_all()
    found = heading(catalogue().connection, prefix() + "imaging", ROI.table_name)
    assert found["eid"].lineage == f"{prefix()}session.session.eid"
    assert found["is_neuron"].lineage is None


def test_the_graph_is_what_datajoint_reads_itself_and_is_in_the_catalogue():
    read_all()
    own = Dependencies(Server())
    own.load()
    graph = catalogue().connection.dependencies
    with statements() as sent:
        graph.load()
        graph.load()
        for table in auto_populated():
            _ = table.jobs.definition, table().parents(), table().children()
    assert sent == []
    assert dict(graph.nodes(data=True)) == dict(own.nodes(data=True))
    as_set = {(u, v, key): data for u, v, key, data in own.edges(keys=True, data=True)}
    assert {(u, v, key): data for u, v, key, data in graph.edges(keys=True, data=True)} == as_set and as_set
    assert graph.topo_sort() and set(graph.descendants(Session.full_table_name)) == set(
        own.descendants(Session.full_table_name)
    )


def test_the_graph_of_other_schemas_is_another():
    read_all()
    graph = catalogue().connection.dependencies
    graph.load(schema_names={prefix() + "session"})
    few = len(graph)
    graph.load(force=False)
    assert len(graph) == few  # as DataJoint: without force what is loaded stays
    graph.load()
    assert len(graph) > few
    # a cascade copies the graph, and restricts the copy
    assert dj.Diagram.cascade(Session & {"eid": "none"}) and len(catalogue().connection.dependencies) == len(graph)


def test_job_tables_are_those_of_datajoint_itself():
    read_all()
    with statements() as sent:
        jobs = [table.jobs for table in auto_populated()]
        assert all(job.is_declared and job.primary_key for job in jobs)
    assert sent == []
    assert [job.primary_key for job in jobs] == [
        heading(Server(), job.database, job.table_name).primary_key for job in jobs
    ]


# ---------------------------------------------------------------------------------------------------- changes of tables


@pytest.fixture
def scratch(database, backend):
    """Yield a schema of its own that is in the catalogue."""
    name = prefix() + "scratch"
    schema = dj.Schema(name, connection=database)
    yield schema
    database.query(f"DROP SCHEMA {name}" + (" CASCADE" if backend == "postgresql" else ""))
    read_all()


def declare(schema: dj.Schema, name: str, definition: str) -> type[dj.Manual]:
    return schema(type(name, (dj.Manual,), {"definition": definition}), context={})


def other_connection(database) -> dj.Connection:
    """Return another connection to the same server, as of another process."""
    info = database.conn_info
    return dj.Connection(info["host"], info["user"], info["passwd"], info["port"], info["ssl_input"])


def test_tables_declared_changed_and_dropped_here_are_seen_at_once(database, scratch):
    animal = declare(scratch, "Animal", "animal : int32\n---\nweight : float64  # g")
    catalogue().read([scratch.database])
    assert heading(database, scratch.database, "animal").names == ["animal", "weight"]
    database.query(f"ALTER TABLE {animal.full_table_name} ADD COLUMN height int")
    assert heading(database, scratch.database, "animal").names == ["animal", "weight", "height"]
    catalogue().read([scratch.database])
    litter = declare(scratch, "Litter", "litter : int32\n---\npups : int32")
    assert litter().is_declared and litter().heading["litter"].lineage == f"{scratch.database}.litter.litter"
    assert litter.full_table_name in {*database.dependencies.nodes} or not database.dependencies.load()
    assert litter.full_table_name in database.dependencies.nodes
    catalogue().read([scratch.database])
    litter.drop_quick()
    assert not litter().is_declared and animal().is_declared
    with pytest.raises(DataJointError, match="not defined"):
        heading(database, scratch.database, "litter")


def test_a_table_declared_by_another_process_is_found(database, scratch):
    catalogue().read([scratch.database])
    other = other_connection(database)
    try:
        full = database.adapter.make_full_table_name(scratch.database, "late")
        assert not dj.FreeTable(database, full).is_declared
        declare(dj.Schema(scratch.database, connection=other), "Late", "late : int32")
        assert dj.FreeTable(database, full).is_declared
        assert dj.FreeTable(database, full).heading.names == ["late"]
    finally:
        other.close()


def test_a_table_dropped_by_another_process_is_forgotten_at_the_first_error(database, scratch):
    gone = declare(scratch, "Gone", "gone : int32")
    catalogue().read([scratch.database])
    other = other_connection(database)
    try:
        other.query(f"DROP TABLE {gone.full_table_name}")
    finally:
        other.close()
    assert gone().is_declared  # as yet nothing has told
    with pytest.raises(MissingTableError):
        len(gone())
    assert not gone().is_declared


def test_a_table_that_another_process_made_depend_on_ours_is_in_the_graph_after_the_refusal(database, scratch):
    parent = declare(scratch, "Parent", "parent : int32")
    parent.insert1({"parent": 1})
    database.dependencies.load()
    assert parent().children() == []
    other = other_connection(database)
    try:
        theirs = dj.Schema(scratch.database, connection=other)
        mine = theirs(type("Parent", (dj.Manual,), {"definition": "parent : int32"}), context={})
        child = theirs(type("Child", (dj.Manual,), {"definition": "-> Parent"}), context={"Parent": mine})
        child.insert1({"parent": 1})
    finally:
        other.close()
    with pytest.raises(IntegrityError):
        parent.delete_quick()
    assert parent().children() == [child.full_table_name]


def test_what_a_transaction_took_back_is_not_kept(database, scratch):
    kept = declare(scratch, "Kept", "kept : int32")
    catalogue().read([scratch.database])
    database.start_transaction()
    database.query(f"ALTER TABLE {kept.full_table_name} ADD COLUMN more int")
    database.cancel_transaction()
    # MySQL cannot take it back; either way what DataJoint sees is what is there
    expected = heading(Server(), scratch.database, "kept").names
    assert heading(database, scratch.database, "kept").names == expected


def test_definitions_are_read_again_once_many_are_asked_for(database):
    tables = tables_in(read_all())
    catalogue().forget()
    with statements() as sent:
        for schema, table in (*tables, *tables):
            heading(database, schema, table)
    # up to five statements for each table until then, as without the catalogue, and then two for all
    assert len(sent) < 5 * ENOUGH_TO_READ + 2 < len(tables)


def test_definitions_are_not_read_again_in_a_transaction_which_may_see_those_of_the_past(database):
    tables = tables_in(read_all())
    catalogue().forget()
    with database.transaction:
        for schema, table in tables:
            heading(database, schema, table)
        assert catalogue().answers == {}
    heading(database, *tables[0])
    assert catalogue().answers


@pytest.mark.parametrize("table", [FOV, Embedding])
def test_tables_of_this_process_have_their_headings_without_statements(table):
    read_all()
    with statements() as sent:
        names = table().heading.names
    assert sent == [] and "eid" in names and jobs_of(table).primary_key
