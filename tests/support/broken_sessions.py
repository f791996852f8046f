"""A ONE repository with many copies of one session, to be broken by tests, and its removal from the database."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

import schemas
from pipeline.demo.repository import LAB, session_eid, write_demo_repository
from pipeline.reading.behavior import TRIALS, WHEEL_POSITION, WHEEL_TIMES
from pipeline.reading.fov import SIGNALS, TIMES, UUID, UUIDS
from pipeline.tracking.uids import UIDS
from populate_scripts.ingest import Ingested
from schemas.provenance import Deletion, SourceUpdate
from schemas.rows import jobs_of
from schemas.session import MIN_TRIALS
from schemas.work.filling import auto_populated
from schemas.work.reports import errors

#: Datasets of nothing but times.
CLOCKS = (TIMES, WHEEL_TIMES, "_ibl_trials.stimOff_times.npy")


def made_session(root: Path, rois_per_fov: int = 60) -> Path:
    """Write a session of two FOVs, with estimates of their places only, and return its folder."""
    made = write_demo_repository(root, n_days=1, n_fovs=2, n_trials=60, n_shared=40, rois_per_fov=rois_per_fov)
    session = next(made.root.glob("*/Subjects/*/*/001"))
    for path in (*session.glob("alf/*/*.mlapdv.npy"), *session.glob("alf/*/*.brainLocationIds_ccf_2017.npy")):
        path.unlink()
    return session


def copy_session(template: Path, folder: Path) -> None:
    """Copy a session with other values, since copies are refused: the times of each day and subject are others.

    They are more than a frame apart from day to day, so that no two FOVs are alike, and up to 240 s from subject to
    subject.
    """
    shutil.copytree(template, folder)
    subject, date, _ = folder.parts[-3:]
    mark = _mark("/".join(folder.parts[-3:]))
    day = (np.datetime64(date) - np.datetime64("2024-01-01")).astype(int)
    later = 240 * _mark(subject) / 2**32 + 0.2 * (day % 300)
    for path in folder.rglob("*"):
        if path.name in CLOCKS:
            np.save(path, np.load(path) + later)
        elif path.name == TRIALS:
            table = pd.read_parquet(path)
            times = [name for name in table if name.endswith("_times") or name.startswith("intervals")]
            _other_choices(table.assign(**{name: table[name] + later for name in times}), day).to_parquet(path)
        elif path.name == WHEEL_POSITION:
            np.save(path, np.load(path) + mark / 2**32)
        elif path.name in SIGNALS.values():
            traces = np.load(path, mmap_mode="r+")
            traces[0, 0] += mark / 2**32
        elif path.name == UUIDS:
            new_uuids(path, mark)
        elif path.name == UIDS:  # blanks at the end of a line do not count
            lines = [_of_subject(subject, line) for line in path.read_text().splitlines()]
            path.write_text("".join(f"{line}{' ' * (mark >> i & 1)}\n" for i, line in enumerate(lines)))


def _other_choices(table: pd.DataFrame, day: int) -> pd.DataFrame:
    """Turn the choice of one or two of the first trials, which tell a day from each other in long sessions."""
    if len(table) >= MIN_TRIALS:
        turned = [1 + day % 7, 10 + day // 7 % 7] if day else []
        for name in ("choice", "feedbackType"):
            table.loc[turned, name] *= -1
    return table


def _of_subject(subject: str, line: str) -> str:
    """Return the UID that a subject has in place of that of the template: no two mice share a cell."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{subject} {line}")) if UUID.fullmatch(line) else line


def _mark(text: str) -> int:
    """Return a number of 32 bits that a text has."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def new_uuids(path: Path, mark: int = 0, folder: str = "") -> None:
    """Give the ROIs of a FOV other uuids, in place or in the folder of a revision beside the file."""
    header, *lines = path.read_text().splitlines()
    others = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{mark} {line}")) for line in lines]
    (path.parent / folder).mkdir(exist_ok=True)
    (path.parent / folder / path.name).write_text("\n".join([header, *others]))


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

    def sound(self, eid: str) -> Path:
        """Return a copy of a session as it was before it was broken."""
        (folder,) = [self.folders[name] for name, one in self.eids.items() if one == eid]
        copy = (self.root.parent / f"sound {self.root.name}").joinpath(*folder.parts[-3:])
        if not copy.exists():
            copy_session(self.template, copy)
        return copy

    @property
    def subjects(self) -> list[dict]:
        return [{"subject": name} for name in sorted({folder.parts[-3] for folder in self.folders.values()})]


def remove(repository: Repository) -> None:
    """Delete all sessions with everything that depends on them, and their jobs."""
    eids, subjects = [{"eid": eid} for eid in repository.eids.values()], repository.subjects
    sets = (schemas.SessionSet & subjects).proj().to_dicts()
    (schemas.Subject & subjects).delete()
    # the next test may have other sessions under the same ids
    for table, column in ((Deletion.File, "file_eid"), (SourceUpdate.Mixture, "mixed_eid")):
        (table & [{column: eid} for eid in repository.eids.values()]).delete_quick()
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
