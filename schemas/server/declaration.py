"""The declaration of tables, with few statements: DataJoint sends 2900 to declare those of a new database.

It asks for each table, four times and more, whether it exists and whether the schema has a table of lineages, which it
creates anew twice for each table; it looks up the lineage of each foreign key; and on PostgreSQL it sends the comment
of each column by itself. While ``declaring`` lasts, ``Declaration`` stands before the catalogue:

- A table that the catalogue has not read does not exist, until it is created here: nobody else declares tables then,
  as ``init`` holds a lock of the server. A change of one table leaves what is known of the others.
- The table of lineages is created once, and lineages that are inserted here are known.
- On PostgreSQL a table is sent with its indexes, comments and lineage in one statement, which is one transaction: it is
  declared whole or not at all. Not so the first of a schema, which comes before the table of lineages, nor on MySQL,
  which commits each change of a table: ``init`` drops what was cut.
- Whether a table exists that was made here is not asked; its definition is read when it is needed.

A statement that is worded in another way, by a later version of DataJoint, is passed on, and the catalogue forgets all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from schemas.server.catalogue import LINEAGE, Catalogue, Name, Rows
from schemas.server.dialect import dialect

#: Statements that change one table or its lineage, with the names of the schema and the table or of that of lineages.
CHANGE = re.compile(
    r"\s*(CREATE TABLE IF NOT EXISTS|CREATE (?:UNIQUE )?INDEX \S+ ON|COMMENT ON (?:TABLE|COLUMN)|"
    r'(?:DELETE FROM|INSERT INTO)(?= \S+~lineage)) ["`]([^"`]+)["`]\.["`]([^"`]+)["`]'
)
CREATE, INSERT = "CREATE TABLE IF NOT EXISTS", "INSERT INTO"
#: Statements that change no table.
NEW = re.compile(r"\s*CREATE (SCHEMA|DATABASE|TYPE)\b")
#: The names in DataJoint's question for a table.
ASKED = re.compile(r"table_schema = '([^']*)' AND \S*table_name = '([^']*)'$")


@contextmanager
def declaring(catalogue: Catalogue) -> Iterator[None]:
    """Let DataJoint declare tables in a block, while no other process does; then read the definitions again.

    Parameters
    ----------
    catalogue : Catalogue
    """
    declaration = Declaration(catalogue)
    catalogue.connection.query = declaration.query
    try:
        yield
        declaration.send_held()
    except BaseException:
        catalogue.forget()
        raise
    finally:
        catalogue.connection.query = catalogue.query
    if declaration.changed or not catalogue.is_whole:
        catalogue.read(catalogue.schemas)


class Declaration:
    """Stands between DataJoint and the catalogue.

    Attributes
    ----------
    changed : set of (str, str)
        Schema and name of the tables that were created or changed here.
    held : list of (str, tuple)
        Statements with arguments that declare one table, and are not sent yet.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.at_once = dialect(catalogue.connection).several_are_one_transaction
        self.changed: set[Name] = set()
        self.held: list[tuple[str, tuple]] = []

    def query(self, query: str, args: Any = (), *, as_dict: bool = False, **options: Any) -> Any:
        """Return a cursor with what is known, or with the answer of the catalogue or of the server."""
        rows = self.catalogue.known(query, args)
        if rows is None and query.startswith(self.catalogue.question) and (asked := ASKED.search(query)):
            rows = self._table(query, (asked[1], asked[2]), as_dict)
        if rows is not None:
            return self.catalogue.cursor(rows, as_dict)
        if change := CHANGE.match(query):
            self._change(query, tuple(args), *change.groups())
            return self.catalogue.cursor([], as_dict)
        self.send_held()
        ask = self.catalogue.send if NEW.match(query) else self.catalogue.query
        return ask(query, args, as_dict=as_dict, **options)

    def _table(self, question: str, name: Name, as_dict: bool) -> Rows:
        """Return the row about a table that is not known, none if it does not exist."""
        if self.catalogue.has_all_of(name[0]):
            if name not in self.changed:
                return []
            if not as_dict:
                return [{"table_schema": name[0], "table_name": name[1]}]  # DataJoint counts the rows, and reads none
        self.send_held()
        rows = [dict(row) for row in self.catalogue.send(question, as_dict=True).fetchall()]
        if rows:
            self.catalogue.keep(question, rows)
        return rows

    def _change(self, statement: str, args: tuple, what: str, schema: str, table: str) -> None:
        """Send a statement that changes a table or its lineage, or hold it until the last of the declaration."""
        if table == LINEAGE and what == CREATE:
            self._create_lineages(statement, (schema, table))
            return
        if table == LINEAGE:  # DataJoint deletes what there is of a table, then inserts all
            rows = zip(args[1::3], args[2::3], strict=True) if what == INSERT else ()
            self.catalogue.keep_lineages(schema, args[0], [{"attribute_name": a, "lineage": of} for a, of in rows])
        else:
            self.changed.add((schema, table))
            self.catalogue.forget_table(schema, table)
        if self.at_once and (self.held or what == CREATE):
            self.held.append((statement, args))
        else:
            self.catalogue.send(statement, args)
        if what == INSERT:
            self.send_held()

    def _create_lineages(self, statement: str, name: Name) -> None:
        """Create a schema's table of lineages, unless it exists."""
        question = self.catalogue.connection.adapter.get_table_info_sql(*name)
        if not (self.catalogue.known(question) or self._table(question, name, as_dict=False)):
            self.send_held()
            self.changed.add(name)
            self.catalogue.send(statement)

    def send_held(self) -> None:
        """Send the statements that are held as one."""
        held, self.held = self.held, []
        if held:
            statements, arguments = zip(*held, strict=True)
            self.catalogue.send(";\n".join(statements), tuple(chain(*arguments)))
