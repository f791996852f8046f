"""The definitions of all tables, read at once, for DataJoint, which would read them table by table.

DataJoint asks the server for the definition of each table that a process uses: whether it is declared, its columns,
keys, indexes and lineage. For ``meso status`` these are 410 statements, each a round trip to the server of a lab.
``Catalogue.read`` reads the same for all tables with two, and keeps the answers by the statements that DataJoint would
send. DataJoint still makes its headings itself, once for each table (``schemas.server.headings``), and its graph of
foreign keys, from answers that it cannot tell from the server's.

What the catalogue does not know, the server is asked, as without it: a statement that a later version of DataJoint
words differently costs a round trip, and a table that another process has declared meanwhile is found. Once a table is
changed here, or a statement fails as if another process had changed one, all answers are forgotten. They are read again
when DataJoint has asked for several tables since: a process that declares tables and then works on them, such as
``meso demo``, would otherwise ask for a definition 100 times per deleted session.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, cast

import datajoint as dj
from datajoint import dependencies
from datajoint.connection import EmulatedCursor
from datajoint.errors import IntegrityError, MissingTableError, UnknownAttributeError

from schemas.server.dialect import dialect

#: Starts of the statements that change tables, keys, indexes or comments, or the lineage of attributes.
CHANGES = re.compile(
    r"\s*(CREATE(?! SCHEMA| DATABASE)|ALTER|DROP|RENAME|COMMENT|(INSERT INTO|DELETE FROM|UPDATE) \S+~lineage)\b",
    re.IGNORECASE,
)
#: Errors that may mean that another process has changed a table, or declared one that depends on it.
OUTDATED = (MissingTableError, UnknownAttributeError, IntegrityError)
#: Once the answers are forgotten, DataJoint asks the server for so many tables until all are read again. Fewer than are
#: asked for between the declarations of two tables, each of which would be forgotten at once.
ENOUGH_TO_READ = 10
#: Methods of DataJoint's adapters that return its statements for the definition of a table, the question for it first.
DEFINITION = ("get_table_info_sql", "get_columns_sql", "get_primary_key_sql", "get_indexes_sql")
#: Columns of the rows of ``Dialect.definitions`` that say which table they are about, and in which order they are.
PLACE = ("in_schema", "in_table", "in_order")
#: Columns of DataJoint's statements for its graph, and its pattern for the names of tables that are not in it.
PRIMARY_KEY = ("tab", "column_name")
FOREIGN_KEY = ("constraint_name", "referencing_table", "referenced_table", "column_name", "referenced_column_name")
HIDDEN = "'~%%'"
#: DataJoint's table of the origins of a schema's attributes, and its statement for those of one table.
LINEAGE = "~lineage"
LINEAGE_OF_TABLE = "\n        SELECT attribute_name, lineage FROM {}\n        WHERE table_name = %s\n        "
#: The same of one attribute.
LINEAGE_OF_ATTRIBUTE = (
    "\n        SELECT lineage FROM {}\n        WHERE table_name = %s AND attribute_name = %s\n        "
)

#: Names of a schema and a table, and rows about tables by these names.
Name = tuple[str, str]
Rows = list[dict[str, Any]]


class Cursor(EmulatedCursor):
    """DataJoint's cursor of rows that are known, which also says that there is no row."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return next(self._iter, None)


class Catalogue:
    """Stands between DataJoint and the server, and answers what DataJoint asks about tables.

    Parameters
    ----------
    connection : dj.Connection
        Its ``query`` and ``dependencies`` are replaced, and it gets this object as its ``catalogue``.

    Attributes
    ----------
    send : callable
        The connection's own ``query``.
    answers : dict
        Rows by statement and arguments.
    headings : dict
        What DataJoint has made of the answers about a table, by schema and name.
    schemas : sequence of str
        Those that were read last.
    n_asked : int
        Tables that DataJoint has asked for since the answers were forgotten.
    """

    def __init__(self, connection: dj.Connection) -> None:
        self.connection, self.send = connection, connection.query
        self.answers: dict[str, dict[tuple, Rows]] = {}
        self.headings: dict[Name, dict[str, Any]] = {}
        self.schemas: Sequence[str] = ()
        self.n_asked = 0
        #: Whether there are answers about all tables of the schemas that existed when they were read.
        self.is_whole = False
        #: How DataJoint's question for a table begins, which it asks first when it needs its definition.
        self.question = connection.adapter.get_table_info_sql("", "").partition("'")[0]
        connection.query, connection.catalogue = self.query, self
        connection.dependencies = Dependencies(connection)

    def query(self, query: str, args: Any = (), *, as_dict: bool = False, **options: Any) -> Any:
        """Return a cursor with the answer of the catalogue or, if it has none, of the server."""
        if not self.is_whole and query.startswith(self.question):
            self._read_again()
        if (rows := self.known(query, args)) is not None:
            return self.cursor(rows, as_dict)
        if CHANGES.match(query):
            self.forget()
        try:
            return self.send(query, args, as_dict=as_dict, **options)
        except OUTDATED:
            self.forget()
            raise

    def known(self, query: str, args: Any = ()) -> Rows | None:
        """Return the rows of the answer to a statement, None if it is not known."""
        return self.answers.get(query, {}).get(tuple(args))

    @staticmethod
    def cursor(rows: Rows, as_dict: bool) -> Cursor:
        """Return the cursor of an answer."""
        return Cursor(rows if as_dict else [tuple(row.values()) for row in rows])

    def forget(self) -> None:
        """Forget all answers and the graph of foreign keys."""
        self.answers, self.headings, self.n_asked, self.is_whole = {}, {}, 0, False
        self.connection.dependencies.clear()

    def forget_table(self, schema: str, table: str) -> None:
        """Forget the definition of one table but its lineage, and the graph unless it is without the table."""
        adapter = self.connection.adapter
        for statement in DEFINITION:
            self.answers.pop(getattr(adapter, statement)(schema, table), None)
        self.headings.pop((schema, table), None)
        if not table.startswith("~"):
            for statement in self._graph(self.schemas):
                self.answers.pop(statement, None)
            self.connection.dependencies.clear()

    def knows(self, schema: str, table: str) -> bool:
        """Return whether the definition of a table was read with those of all."""
        return self.is_whole and self.connection.adapter.get_columns_sql(schema, table) in self.answers

    def has_all_of(self, schema: str) -> bool:
        """Return whether each table that the schema had when it was read is known."""
        return self.is_whole and schema in self.schemas

    def read(self, schemas: Sequence[str]) -> None:
        """Read the definitions of all tables of these schemas, of which some may not exist; two statements."""
        self.forget()
        self.schemas = schemas
        adapter, found = self.connection.adapter, self._definitions(schemas)
        tables, columns, indexes = (_by_table(found[part]) for part in ("tables", "columns", "indexes"))
        keys, shown = defaultdict(list), []
        for row in found["primary_keys"]:
            name = adapter.split_full_table_name(row["tab"])
            keys[name].append({"column_name": row["column_name"]})
            shown += [] if name[1].startswith("~") else [row]
        lineages = self._lineages([name for name in tables if name[1] == LINEAGE])
        for name, table in tables.items():
            self.keep(adapter.schema_exists_sql(name[0]), [{"schema_name": name[0]}])
            for statement, rows in zip(DEFINITION, (table, columns[name], keys[name], indexes[name]), strict=True):
                self.keep(getattr(adapter, statement)(*name), rows)
            if (name[0], LINEAGE) in tables:
                self.keep_lineages(*name, lineages[name])
        for statement, rows in zip(self._graph(schemas), (shown, found["foreign_keys"]), strict=True):
            self.keep(statement, rows)
        self.is_whole = True

    def _definitions(self, schemas: Sequence[str]) -> dict[str, Rows]:
        """Return the rows about all tables by what they are about; one statement."""
        adapter, sql = self.connection.adapter, dialect(self.connection)
        listed = ", ".join(map(adapter.quote_string, schemas))
        parts = {name: (names, select.format(schemas=listed)) for name, (names, select) in sql.definitions.items()}
        # DataJoint's own statements, for its graph; no name is like '', so that job tables are not left out
        parts["primary_keys"] = PRIMARY_KEY, adapter.load_primary_keys_sql(listed, "''")
        parts["foreign_keys"] = FOREIGN_KEY, self._graph(schemas)[1]
        selects = (f"SELECT '{part}', ({sql.as_json(select, names)})" for part, (names, select) in parts.items())
        texts = dict(self.send(" UNION ALL ".join(selects)).fetchall())
        return {
            part: [dict(zip(names, row, strict=True)) for row in json.loads(texts[part] or "[]")]
            for part, (names, _) in parts.items()
        }

    def _graph(self, schemas: Iterable[str]) -> tuple[str, str]:
        """Return the statements of ``Dependencies.load`` for schemas in this order: primary keys, and foreign keys."""
        adapter = self.connection.adapter
        listed = ", ".join(map(adapter.quote_string, schemas))
        return adapter.load_primary_keys_sql(listed, HIDDEN), adapter.load_foreign_keys_sql(listed, HIDDEN)

    def keep(self, statement: str, rows: Rows, args: tuple = ()) -> None:
        """Keep the answer to a statement."""
        self.answers.setdefault(statement, {})[args] = rows

    def keep_lineages(self, schema: str, table: str, rows: Rows) -> None:
        """Keep the origins of the attributes of a table, in the place of those that were known."""
        self.headings.pop((schema, table), None)
        full = self.connection.adapter.make_full_table_name(schema, LINEAGE)
        self.keep(LINEAGE_OF_TABLE.format(full), rows, (table,))
        of_attribute = self.answers.setdefault(LINEAGE_OF_ATTRIBUTE.format(full), {})
        for former in [args for args in of_attribute if args[0] == table]:
            del of_attribute[former]
        for row in rows:
            of_attribute[table, row["attribute_name"]] = [{"lineage": row["lineage"]}]

    def _read_again(self) -> None:
        """Count a table that DataJoint asks for; read the definitions of all once they are many.

        Not in a transaction, which may see the tables as they were.
        """
        self.n_asked += 1
        if self.schemas and self.n_asked >= ENOUGH_TO_READ and not self.connection.in_transaction:
            self.read(self.schemas)

    def _lineages(self, tables: Sequence[Name]) -> dict[Name, Rows]:
        rows = defaultdict(list)
        if tables:
            full = self.connection.adapter.make_full_table_name
            every = (f"SELECT '{name[0]}', table_name, attribute_name, lineage FROM {full(*name)}" for name in tables)
            for schema, table, attribute, lineage in self.send(" UNION ALL ".join(every)).fetchall():
                rows[schema, table].append({"attribute_name": attribute, "lineage": lineage})
        return rows


def _by_table(rows: Rows) -> dict[Name, Rows]:
    """Return rows by table and in their order, without the columns that say so."""
    found = defaultdict(list)
    for row in sorted(rows, key=itemgetter("in_order")):
        found[row["in_schema"], row["in_table"]].append({name: row[name] for name in row if name not in PLACE})
    return found


class Dependencies(dependencies.Dependencies):
    """The graph of foreign keys, read once for the same schemas: DataJoint reads it again for each job table."""

    #: Names of the schemas of the graph; None before it is read, and once it is cleared.
    read_for: set[str] | None = None

    def __init__(self, connection: Any = None) -> None:  # networkx makes graphs of the same class without one
        self.connection = connection
        super().__init__(connection)

    def clear(self) -> None:
        """Forget the graph, to read it again when it is needed: DataJoint does so when it declares a table."""
        self.read_for = None
        super().clear()

    def load(self, force: bool = True, schema_names: set[str] | None = None) -> None:
        """Read the graph, by default of all schemas in use, unless it is known."""
        names = set(self.connection.schemas if schema_names is None else schema_names)
        if force and names == self.read_for:
            return
        of_catalogue = self.connection.catalogue.schemas
        # DataJoint lists the names in this order in its statements, to which the catalogue then has the answers
        super().load(force, cast("set[str]", of_catalogue) if names == set(of_catalogue) else schema_names)
        if self.read_for is None:  # cleared, so it has been read now
            self.read_for = names
