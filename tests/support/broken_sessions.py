"""A ONE repository with many copies of one session, to be broken by tests, and its removal from the database."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import schemas
from pipeline.demo.repository import LAB, session_eid
from pipeline.reading import is_measured
from pipeline.tracking.uids import UIDS
from populate_scripts.ingest import Ingested
from schemas.rows import jobs_of
from schemas.work.filling import auto_populated
from schemas.work.reports import errors


def copy_session(template: Path, folder: Path) -> None:
    """Copy a session; its measurements have the values of the template in other bytes, since copies are refused."""
    shutil.copytree(template, folder)
    mark = hashlib.sha256("/".join(folder.parts[-3:]).encode()).hexdigest()[:16]
    for path in folder.rglob("*"):
        if is_measured(path.name) and path.suffix == ".npy":
            write_with_header(path, mark)
        elif is_measured(path.name):
            table = pq.read_table(path)
            pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), "session": mark}), path)
        elif path.name == UIDS:  # blanks at the end of a line do not count
            lines = path.read_text().splitlines()
            path.write_text("".join(f"{line}{' ' * (int(mark, 16) >> i & 1)}\n" for i, line in enumerate(lines)))


def write_with_header(path: Path, mark: str) -> None:
    """Write a ``.npy`` file with a comment in its header, in place of padding; it stays as large."""
    content = path.read_bytes()
    end = content.index(b"\n")
    header = content[:end].rstrip(b" ")
    marked = header + b" # " + mark.encode()
    assert len(marked) <= end
    path.write_bytes(marked + b" " * (end - len(marked)) + content[end:])


def new_uuids(path: Path, folder: str = "") -> None:
    """Give the ROIs of a FOV other uuids, in place or in the folder of a revision beside the file."""
    header, *lines = path.read_text().splitlines()
    (path.parent / folder).mkdir(exist_ok=True)
    (path.parent / folder / path.name).write_text("\n".join([header, *(str(uuid.uuid4()) for _ in lines)]))


@dataclass
class Repository:
    """The folder of the sessions, which are copies of one template."""

    root: Path
    template: Path
    eids: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    done: Ingested | None = None

    def add(self, name: str, subject: str) -> Path:
        """Copy the template; return its alf folder."""
        day = sum(folder.parts[-3] == subject for folder in self.folders.values())
        date = str(np.datetime64("2024-01-01") + np.timedelta64(day, "D"))
        folder = self.root / LAB / "Subjects" / subject / date / "001"
        copy_session(self.template, folder)
        self.eids[name], self.folders[name] = session_eid(LAB, subject, date, 1), folder
        return folder / "alf"

    def alf(self, name: str) -> Path:
        return self.folders[name] / "alf"

    @property
    def subjects(self) -> list[dict]:
        return [{"subject": name} for name in sorted({folder.parts[-3] for folder in self.folders.values()})]


def remove(repository: Repository) -> None:
    """Delete all sessions with everything that depends on them, and their jobs."""
    eids, subjects = [{"eid": eid} for eid in repository.eids.values()], repository.subjects
    sets = (schemas.SessionSet & subjects).proj().to_dicts()
    (schemas.Subject & subjects).delete()
    for table in auto_populated():
        names = jobs_of(table).primary_key
        for keys in (eids, subjects, sets):
            if keys and set(keys[0]) <= set(names):
                (jobs_of(table) & keys).delete_quick()
    assert errors() == []
    for table in auto_populated():
        for keys in (eids, subjects, sets):
            if keys and set(keys[0]) <= set(table.primary_key):
                assert len(table & keys) == len(jobs_of(table) & keys) == 0
