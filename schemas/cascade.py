"""Deleting rows with all that depends on them: a preview before, and a record in ``Deletion`` after."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import datajoint as dj
import networkx as nx
from datajoint.dependencies import extract_master, topo_sort
from datajoint.errors import IntegrityError
from datajoint.utils import user_choice

from pipeline.errors import ArgumentError, DataError
from pipeline.reading import without_revision
from pipeline.reading.behavior import TRIALS
from schemas.rows import jobs_of, log_level
from schemas.server.binding import MODULES, auto_populated, table_modules

#: Keys that a record lists: enough for sessions, while the record of many deleted ROIs still fits in a row.
MAX_RECORDED_KEYS = 1000
#: What people wrote by hand, and no file has: a record of its own says which tags sessions had.
TAGS = "SessionTag"

log = logging.getLogger("datajoint")


def preview(rows: dj.Table) -> dict[str, int]:
    """Return the number of rows by table that a delete would remove, parents first, without tables that lose none."""
    return Cascade(rows).counts()


class Cascade:
    """Rows of a table and all rows that depend on them, including masters of which only a part depends on them.

    Parameters
    ----------
    rows : dj.Table
        Restricted to the rows to delete.
    """

    def __init__(self, rows: dj.Table) -> None:
        self.rows, titles = rows, _titles()
        found = _of_sessions(rows)
        if found is None:
            found = _of_rows(rows)
        if curves := _curves_of_trials(rows):
            found = _or_of(found, curves)
        #: Restricted tables by name, parents first.
        self.tables = {titles.get(table.full_table_name, table.full_table_name): table for table in found}
        self.title = titles[rows.full_table_name]

    def counts(self) -> dict[str, int]:
        """Return the number of rows by table, without tables that have none; one statement."""
        every = " UNION ALL ".join(
            f"SELECT {i}, COUNT(*) FROM {table.full_table_name}{table.where_clause()}"
            for i, table in enumerate(self.tables.values())
        )
        numbers = dict(self.rows.connection.query(every).fetchall())
        return {title: n for i, title in enumerate(self.tables) if (n := int(numbers[i]))}

    def delete(self, transaction: bool = True, reason: str = "") -> dict[str, int]:
        """Delete the rows with their jobs, record the deletion, and return the numbers of rows by table.

        Jobs whose keys vanish with the rows are deleted, whatever their status: an error would be taken for one of the
        session that is registered again later. Running jobs that may have read the rows are taken from their workers,
        which then insert nothing.

        Parameters
        ----------
        transaction : bool
            Delete all or nothing, in a transaction of its own unless one is open.
        reason : str
            What is done, for the record, if it is not a user's delete.

        Raises
        ------
        DataError
            Another process added a row that depends on these meanwhile.
        """
        with _transaction(self.rows.connection) if transaction else nullcontext():
            reserved, vanishing = self._jobs_that_read(), self._jobs_of_rows()
            keys = self.rows.keys(order_by="KEY", limit=MAX_RECORDED_KEYS)
            files = self._files()
            tags = self.tables[TAGS].keys(order_by="KEY", limit=MAX_RECORDED_KEYS) if TAGS in self.tables else []
            try:
                # children first, as foreign keys require
                deleted = {title: table.delete_quick(get_count=True) for title, table in reversed(self.tables.items())}
            except IntegrityError as error:
                raise DataError(
                    f"rows that depend on these were added while they were deleted: {error}",
                    do="Nothing was deleted; try again",
                ) from error
            counts = {title: deleted[title] for title in self.tables if deleted[title]}
            if counts:
                for job in reserved:
                    job.delete_quick()
                for table, keys_of_jobs in vanishing.items():
                    forget_jobs(table, keys_of_jobs)
                record(self.title, keys, counts, reason, files)
                if tags and self.title != TAGS:
                    record(TAGS, tags, {TAGS: counts[TAGS]}, f"tags of deleted rows of {self.title}")
        return counts

    def _files(self) -> list[dict[str, Any]]:
        """Return the files that the rows were read from, as rows of ``Deletion.File``, each once."""
        session = table_modules()["session"]
        sources = [f"{table.__name__}.Source" for table in session.ReadsSession.choosing]
        parts = [self.tables[title].proj("sha256").to_dicts() for title in sources if title in self.tables]
        found = {(row["eid"], without_revision(row["dataset"])): row["sha256"] for part in parts for row in part}
        trials = session.trials_keys(sorted({eid for eid, path in found if path.endswith(TRIALS)}))
        days = session.days_of(sorted({eid for eid, _ in found}))
        return [
            {
                "file_subject": days[eid][0], "file_date": days[eid][1],
                "file_eid": eid, "file_dataset": path, "file_sha256": sha256,
                "file_trials": trials.get(eid) if path.endswith(TRIALS) else None,
            }
            for (eid, path), sha256 in sorted(found.items())
        ]  # fmt: skip

    def _jobs_that_read(self) -> list[dj.Table]:
        """Return the reserved jobs whose keys agree with those of rows to delete, each as its row in a job table.

        So do the jobs of a table that says, in ``also_read``, which keys it reads that are not in its own.
        """
        found = []
        for table in auto_populated():
            running = jobs_of(table).reserved
            keys = running.keys()
            for key in keys:
                read = [key, *(table.also_read(key) if hasattr(table, "also_read") else ())]
                if any(_agrees(rows, one) for rows in self.tables.values() for one in read):
                    found.append(running & key)
        return found

    def _jobs_of_rows(self) -> dict[type[dj.Table], list[dict]]:
        """Return the keys of the jobs, by table, whose foreign keys refer to the rows."""
        by_name = {rows.full_table_name: rows for rows in self.tables.values()}
        found: dict[type[dj.Table], list[dict]] = {}
        for table in auto_populated():
            for parent, foreign_key in table().parents(primary=True, foreign_key_info=True):
                if parent in by_name:
                    renamed = {own: name for own, name in foreign_key["attr_map"].items() if own != name}
                    # DataJoint gives the key of a job table another lineage than that of the table's parents
                    jobs = jobs_of(table).restrict(by_name[parent].proj(**renamed), semantic_check=False)
                    found.setdefault(table, []).extend(jobs.keys())
        return found

    def delete_after_asking(self) -> dict[str, int]:
        """Log the numbers of rows to delete, ask for confirmation, and delete them if the answer is yes."""
        with log_level(logging.INFO):
            for title, count in self.counts().items():
                log.info(f"{title}: {count} rows")
        return self.delete() if user_choice("Delete these rows?", default="no") == "yes" else {}


def _of_rows(rows: dj.Table) -> list[dj.Table]:
    """Return a table and all that depends on its rows, restricted, parents first.

    DataJoint ORs the conditions by which rows of a table go. A table without any has none, so that all of its rows go,
    until one comes back from a part of it: then only those would, or none at all.
    """
    return list(dj.Diagram.cascade(rows if rows.restriction else rows & "TRUE", part_integrity="cascade"))


def _of_sessions(rows: dj.Table) -> list[dj.Table] | None:
    """Return what ``dj.Diagram.cascade`` returns for rows of ``Session``: the restricted tables, parents first.

    DataJoint fetches the keys of all rows on which masters of parts depend, and lists them in the statements after
    that: a minute for the sessions of a mouse in a lab's database. Here a table's rows are those with the eid of one of
    the sessions or, if its key has a set of sessions (or a family of curves), of a set that one of them is in.

    Returns
    -------
    list of FreeTable, or None
        None for rows of another table, or if a table of a lab's module refers to sessions in another way.
    """
    modules = table_modules()
    session = modules["session"].Session
    if rows.full_table_name != session.full_table_name:
        return None
    connection = rows.connection
    connection.dependencies.load_all_downstream()
    donor = modules["decoding"].NDCResult.Donor
    # in a set of the session, like all that is in its row
    renaming = {donor.full_table_name, modules["decoding"].TransferResult.Train.full_table_name}
    names = _with_masters(connection.dependencies, session.full_table_name)
    aliases = {name for name in names if name.isdigit()}  # as in _parents_first
    if {child for name in aliases for child in connection.dependencies.successors(name)} - renaming:
        return None
    tables = {name: dj.FreeTable(connection, name) for name in _parents_first(connection, names - aliases)}
    ours = {module.schema.database for name, module in modules.items() if name in MODULES}
    eids = rows.to_arrays("eid")
    #: The columns that tell which rows go, with their conditions; the last one that a table has decides.
    known = {"eid": (session.heading["eid"].lineage, _listed("eid", eids))}
    restricted = []
    for name, table in tables.items():
        if not _told_by(table, known):
            parts = [part for other, part in tables.items() if extract_master(other) == name and _told_by(part, known)]
            if len(table.primary_key) > 1 or not parts or table.database not in ours:
                return None
            (key,) = table.primary_key
            found = {value for part in parts for value in (dj.U(key) & _restricted(part, known, ours)).to_arrays(key)}
            known[key] = (table.heading[key].lineage, _listed(key, sorted(found)))
        restricted.append(_restricted(table, known, ours))
    curves = (dj.U(*modules["decoding"].NDCResult.primary_key) & (donor & _listed("donor", eids))).to_dicts()
    return _or_of(restricted, modules["decoding"].NDCResult & curves) if curves else restricted


def _curves_of_trials(rows: dj.Table) -> dj.Table | None:
    """Return the curves of the sets of the sessions whose trials are deleted; None if there are none.

    Numbers of trials are equalised over a set, which no foreign key says.
    """
    modules = table_modules()
    if rows.full_table_name != modules["session"].Behavior.full_table_name:
        return None
    eids = [{"eid": eid} for eid in rows.to_arrays("eid")]
    sets = (modules["tracking"].SessionSet.Member & eids).to_arrays("session_set") if eids else []
    results = modules["decoding"].NDCResult
    return results & [{"session_set": one} for one in sorted(set(sets))] if len(sets) else None


def _or_of(restricted: list[dj.Table], rows: dj.Table) -> list[dj.Table]:
    """Return restricted tables, parents first, with what goes with some more rows."""
    found = {table.full_table_name: table for table in restricted}
    for other in _of_rows(rows):
        name = other.full_table_name
        if name in found:
            conditions = (one.where_clause().replace(" WHERE ", "", 1) or "TRUE" for one in (found[name], other))
            found[name] = dj.FreeTable(rows.connection, name)
            # not with &, which would look for names of columns in the words of subqueries
            found[name].restriction.append(" OR ".join(f"({condition})" for condition in conditions))
        else:
            found[name] = other
    return [found[name] for name in _parents_first(rows.connection, set(found))]


def _parents_first(connection: dj.Connection, names: set[str]) -> list[str]:
    """Return names of tables in the order of their foreign keys."""
    # a foreign key that renames a column leads through a node of DataJoint's, a number
    aliases = {name for name in connection.dependencies if name.isdigit()}
    return [name for name in topo_sort(connection.dependencies.subgraph(names | aliases)) if name in names]


def _told_by(table: dj.Table, known: dict[str, tuple[str, str]]) -> list[str]:
    """Return the conditions of those of the columns that a table has, the last one first."""
    there = [name for name in reversed(known) if name in table.heading.names]
    return [known[name][1] for name in there if table.heading[name].lineage == known[name][0]]


def _restricted(table: dj.Table, known: dict[str, tuple[str, str]], ours: Collection[str]) -> dj.Table:
    conditions = _told_by(table, known)
    # a session in a set of ours is a member of it; in a lab's tables the two may be unrelated
    return table & " OR ".join(conditions[:1] if table.database in ours else conditions)


def _with_masters(graph: Any, name: str) -> set[str]:
    """Return the names of a table, of all that depend on it, and of their masters with all that depends on these."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        found |= waiting.union(*(nx.descendants(graph, one) for one in waiting))
        waiting = {master for one in found if (master := extract_master(one)) in graph} - found
    return found


def _listed(name: str, values: Iterable[str]) -> str:
    """Return the condition that a column has one of some values, hexadecimal digits and hyphens."""
    quoted = ", ".join(f"'{value}'" for value in values)
    return f"{name} IN ({quoted})" if quoted else "FALSE"


def _transaction(connection: dj.Connection) -> AbstractContextManager:
    """Return the context of a transaction: a new one, unless one is open."""
    return nullcontext() if connection.in_transaction else connection.transaction


def _agrees(rows: dj.Table, key: dict) -> bool:
    """Return whether there are rows that agree with a key in all attributes that both have, if there is any."""
    shared = {name: key[name] for name in rows.primary_key if name in key}
    return bool(shared) and bool(rows & shared)


def forget_jobs(table: type[dj.Table], keys: list[dict]) -> None:
    """Delete jobs of a table, and the counts of their dead workers and lost connections."""
    if keys:
        (jobs_of(table) & keys).delete_quick()
        table_modules()["workers"].Attempt.clear(table.__name__, keys)


def record(
    table: str, keys: list[dict], rows: dict[str, int], reason: str = "", files: Iterable[dict] = ()
) -> None:  # fmt: skip
    """Record a deletion or replacement: see ``Deletion.record``, whose module imports this one."""
    table_modules()["provenance"].Deletion.record(table, keys, rows, reason, files)


def _titles() -> dict[str, str]:
    """Return the class names of all tables and parts, e.g. ``FOV.Source``, by their names in the database."""
    titles = {}
    for module in table_modules().values():
        for cls, _ in module.schema.declare_list:
            titles[cls.full_table_name] = cls.__name__
            for part in filter(_is_part, vars(cls).values()):
                titles[part.full_table_name] = f"{cls.__name__}.{part.__name__}"
    return titles


def _is_part(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, dj.Part)


class WholeDelete:
    """Mixin for all tables of data: what is deleted or replaced is recorded, and sets go with their members.

    A set of sessions, or of FOVs, is a master with parts, and DataJoint would refuse to delete a part without its
    master (``part_integrity="enforce"``). Without one of its members it would be another set, so it is deleted with its
    results.
    """

    def delete(self, transaction: bool = True, prompt: bool | None = None) -> int:
        """Delete the rows and all that depends on them, including the sets that they are members of.

        The deletion is recorded in ``schemas.Deletion``.

        Parameters
        ----------
        transaction : bool
            Delete all or nothing, in a transaction of its own unless one is open.
        prompt : bool, optional
            Show the numbers of rows by table and ask for confirmation; by default ``dj.config["safemode"]``.

        Returns
        -------
        int
            Number of deleted rows of this table.
        """
        cascade = Cascade(self)  # type: ignore[arg-type]
        ask = dj.config["safemode"] if prompt is None else prompt
        return (cascade.delete_after_asking() if ask else cascade.delete(transaction)).get(cascade.title, 0)

    if not TYPE_CHECKING:  # DataJoint lets these be called on classes too, which mypy does not know

        def delete_quick(self, get_count: bool = False) -> int | None:
            """Delete the rows, on which nothing depends, without asking; recorded like ``delete``."""
            with _transaction(self.connection):
                keys, name = self.keys(order_by="KEY", limit=MAX_RECORDED_KEYS), type(self).__name__
                count = super().delete_quick(get_count=True)
                if count:
                    record(name, keys, {name: count})
            return count if get_count else None

        def update1(self, row: Mapping[str, Any], reason: str = "") -> None:
            """Replace values of one row, and record which, or what was done."""
            with _transaction(self.connection):
                super().update1(row)
                key, name = {column: row[column] for column in self.primary_key}, type(self).__name__
                record(name, [key], {name: 1}, reason or f"replaced {', '.join(sorted(set(row) - set(key)))}")

        def insert(self, rows: Iterable, replace: bool = False, **options: Any) -> None:
            """Insert rows as DataJoint does; rows that exist are never replaced.

            Raises
            ------
            ArgumentError
                ``replace`` is True.
            """
            if replace:
                name = type(self).__name__
                raise ArgumentError(
                    f"rows of {name} are not replaced: delete them, which is recorded, and insert new ones"
                )
            super().insert(rows, **options)
