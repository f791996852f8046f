"""Software that computed the results, deletions, and the version of the tables in this database."""

from __future__ import annotations

import datetime
import json
import os
import platform
import secrets
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import lru_cache
from importlib import metadata
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import datajoint as dj

from pipeline.processor import blas_kernels, cpu_features, cpu_name
from pipeline.reading import Read
from schemas.cascade import MAX_RECORDED_KEYS, WholeDelete
from schemas.rows import content_key
from schemas.server.dialect import dialect

schema = dj.Schema()

#: Reasons of deletions by ``meso update`` begin so.
OF_UPDATE = "meso update"
#: They end so if no row was deleted, but only what is recorded of its files replaced.
SAVED_AGAIN = "files saved again with the same values"
#: Packages whose versions can change results.
PACKAGES = (
    "meso", "datajoint", "ONE-api", "ibllib", "iblatlas", "rastermap", "numpy", "scipy", "scikit-learn", "numba",
)  # fmt: skip


@schema
class SchemaVersion(dj.Manual):
    definition = """
    # migrations applied to this database
    schema_version : int32
    ---
    migration : varchar(255)
    applied_at : datetime(6)
    """


@schema
class DatabaseId(dj.Manual):
    definition = """
    # which database this is, for stores of objects that several databases share; one row, made by meso db init
    database_id : char(32)          # random
    """

    @classmethod
    def current(cls) -> str:
        """Return the id of this database."""
        return str(cls.fetch1("database_id"))

    @classmethod
    def make_once(cls) -> None:
        """Give this database an id, unless it has one."""
        if not cls():
            cls.insert1({"database_id": secrets.token_hex(16)})


@schema
class Environment(WholeDelete, dj.Manual):
    definition = """
    # software that computed results, and the kind of processor
    environment : char(32)          # hash of the rest
    ---
    python_version : varchar(32)
    packages : json                 # versions by name
    git_commit='' : varchar(40)     # of this project, '' where it is not a checkout
    cpu_name=null : varchar(64)     # kind of processor, as LLVM names it; NULL in these: before version 12
    cpu_features=null : json        # its instruction sets for numbers
    blas_kernels=null : json        # libraries for linear algebra with their code for the processor
    """

    @classmethod
    def current(cls) -> dict:
        """Insert the environment of this process unless it is in the table, and return its key."""
        row = environment_row()
        if not (cls & {"environment": row["environment"]}):
            # on MySQL, DataJoint's skip_duplicates is an ON DUPLICATE KEY UPDATE, for which workers have no right
            values = f"VALUES ({', '.join(['%s'] * len(row))})"
            insert = dialect(cls.connection).insert_new(cls.full_table_name, ", ".join(row), values)
            texts = [value if isinstance(value, str) else json.dumps(value) for value in row.values()]
            cls.connection.query(insert, args=texts)
        return {"environment": row["environment"]}


@schema
class Deletion(dj.Manual):
    definition = """
    # rows that were deleted, with all that depended on them, or replaced
    deletion : char(32)             # random
    ---
    deleted_at : datetime(6)        # UTC
    deleted_by : varchar(255)       # account of the database
    deleted_from : varchar(255)     # machine
    deleted_table : varchar(255)    # in which it began, such as Session
    deleted_keys : json             # of the rows there, at most 1000
    deleted_rows : json             # numbers of rows by table
    deletion_reason='' : varchar(255)  # what was done, '' for rows deleted by a user
    """

    class File(dj.Part):
        definition = """
        # a file that deleted rows had been read from; none of deletions before version 31
        -> master
        deleted_file : int32
        ---
        file_eid : char(36)             # the session
        file_dataset : varchar(511)     # path within the session, without revision
        file_sha256 : char(64)
        file_trials=null : char(32)     # of a table of trials: hash of the trials, but for their times
        file_subject : varchar(64)      # of the session, which may be registered again under another id
        file_date : date
        index (file_eid)
        index (file_subject, file_date)
        """

    @classmethod
    def record(
        cls, table: str, keys: list[dict], rows: dict[str, int], reason: str = "", files: Iterable[dict] = ()
    ) -> None:
        """Insert who deleted or replaced rows, where and when; within the transaction that does it.

        Parameters
        ----------
        table : str
            Class name of the table in which it began.
        keys : list of dict
            Of the rows there.
        rows : dict of str to int
            Numbers of rows by table.
        reason : str
            What was done, if it was not a user's delete.
        files : iterable of dict
            Rows of ``File``, without key and number.
        """
        key = {"deletion": secrets.token_hex(16)}
        cls.insert1({
            **key, "deleted_at": now(), "deleted_by": cls.connection.get_user(),
            "deleted_from": platform.node(), "deleted_table": table, "deleted_keys": keys[:MAX_RECORDED_KEYS],
            "deleted_rows": rows, "deletion_reason": reason[:255],
        })  # fmt: skip
        if rows_of_files := [{**key, "deleted_file": i, **file} for i, file in enumerate(files)]:
            cls.File.insert(rows_of_files)

    @classmethod
    def files_of(cls, eids: Iterable[str]) -> dict[str, list[Read]]:
        """Return the files from which deleted rows had been read, by session and deletion, the first one first.

        Parameters
        ----------
        eids : iterable of str
        """
        of_eids = [{"file_eid": eid} for eid in eids]
        rows = cls.File * cls.proj("deleted_at", "deletion_reason") & of_eids
        found: dict[str, list[Read]] = defaultdict(list)
        ordered = rows.to_dicts(order_by="file_eid, deleted_at, deletion, deleted_file")
        given = SourceUpdate.given({_update_of(row) for row in ordered} - {""})
        for (eid, _), group in groupby(ordered, key=itemgetter("file_eid", "deletion")):
            files = list(group)
            found[eid].append(Read(
                {row["file_dataset"]: row["file_sha256"] for row in files},
                next((row["file_trials"] for row in files if row["file_trials"]), None),
                given.get((_update_of(files[0]), eid)),
                files[0]["deleted_at"], files[0]["deletion_reason"].endswith(SAVED_AGAIN),
            ))  # fmt: skip
        return found

    @classmethod
    def with_files(cls, hashes: Collection[str]) -> list[dict[str, Any]]:
        """Return the rows of ``File`` with one of these sha256, by the time of the deletion; a statement."""
        rows = cls.File * cls.proj("deleted_at") & [{"file_sha256": one} for one in hashes]
        return list(rows.to_dicts(order_by="deleted_at, deletion, deleted_file")) if hashes else []


def _update_of(deletion: dict) -> str:
    """Return the id of the update that deleted rows, '' if none did."""
    reason = deletion["deletion_reason"]
    return reason.removeprefix(OF_UPDATE).partition(":")[0].strip() if reason.startswith(OF_UPDATE) else ""


@schema
class SourceUpdate(WholeDelete, dj.Manual):
    definition = """
    # a run of meso update: what changed, and the questions to ask again
    update_id : char(32)            # random
    ---
    updated_at : datetime(6)        # UTC
    update_changes : json           # changed datasets: table, eid, fov, dataset, kind, recorded, found
    update_questions : json         # sets of sessions with their rules and curves, families, embeddings
    """

    @classmethod
    def given(cls, updates: Collection[str]) -> dict[tuple[str, str], Read]:
        """Return the files that updates were to read, by update and session; a statement if there is any."""
        rows = (cls & [{"update_id": one} for one in updates]).to_dicts() if updates else []
        return {
            (row["update_id"], eid): Read(
                files["given"], files.get("given_trials", files["trials"]),
                former=files["former"], unread=files.get("unread"),
            )
            for row in rows for eid, files in row["update_questions"].get("files", {}).items()
        }  # fmt: skip

    class Done(dj.Part):
        definition = """
        # all of it is done: the files are read and the questions asked again
        -> master
        ---
        done_at : datetime(6)       # UTC
        """

    class OfSubject(dj.Part):
        definition = """
        # all of it that is of a subject is done; none in updates of before version 26
        -> master
        done_subject : varchar(64)
        ---
        done_sets : json            # its sets of sessions: the key of each now, by its former one
        subject_at : datetime(6)    # UTC
        """

    class Mixture(dj.Part):
        definition = """
        # files of a session that are written together, of which some had changed and others had not
        -> master
        mixture : int32
        ---
        mixed_eid : char(36)        # the session
        mixed_what : varchar(64)    # such as files of ROIs
        mixed_newer : json          # by dataset, without revision, the former sha256; '' of one that was added
        mixed_older : json          # by dataset the sha256
        mixed_reason : varchar(255) # what may have been done, of which the older ones are then lacking
        index (mixed_eid)
        """


@schema
class FormerResult(WholeDelete, dj.Manual):
    definition = """
    # a result that was deleted because files behind it had changed
    -> SourceUpdate
    former_table : varchar(64)      # such as NDCResult
    former_number : int32           # within the table
    ---
    former_key : json
    former_row : json
    former_parts : json             # rows of its parts by name; arrays are lists, NaN is null
    """


@lru_cache(maxsize=1)
def environment_row() -> dict:
    """Return the row of ``Environment`` for this process."""
    content = {
        "python_version": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git_commit": _git_commit(),
        "cpu_name": cpu_name(),
        "cpu_features": cpu_features(),
        "blas_kernels": blas_kernels(),
    }
    return {"environment": content_key(content), **content}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str:
    """Return the commit of this project's checkout, with a '+' if files differ from it; '' if there is no checkout.

    A Docker image has no checkout: its build sets MESO_COMMIT.
    """
    here = Path(__file__).resolve().parents[1]
    if (commit := os.environ.get("MESO_COMMIT")) or not (here / ".git").exists():
        return (commit or "")[:40]
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=39", "--dirty=+", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def now() -> datetime.datetime:
    """Return the current time in UTC, without a time zone, as the database stores it."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
