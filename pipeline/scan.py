"""What ONE has of sessions, before any file is read: lists of datasets, and headers of files that are here."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, DataError, MesoError
from pipeline.reading.behavior import TRIALS, WHEEL_TIMES
from pipeline.reading.client import (
    FOV_FOLDER,
    SessionInfo,
    datasets_of,
    imaged_ids,
    session_folder,
    session_info,
    unlisted_folders,
    unread_folders,
)
from pipeline.reading.datasets import without_revision
from pipeline.reading.fov import POSITIONS, REQUIRED, SIGNALS
from pipeline.tracking.uids import UIDS, UIDText, read_file

#: Datasets of cameras: raw videos, times, poses and motion energy.
CAMERA = re.compile(r"(left|right|body)Camera")
PASSIVE = re.compile(r"passivePeriods|passiveGabor|passiveStims")


@dataclass(frozen=True)
class Scanned:
    """What ONE has of a session.

    Attributes
    ----------
    eid, subject, session_date, session_number, task_protocol, projects
        As in ONE.
    n_fovs : int
        FOV folders.
    n_rois : int or None
        ROIs of all FOVs; None if a file with them is not here.
    n_trials : int or None
        Of all tasks; None if a table is not here, or is no table.
    n_tracked_fovs : int
        FOVs with a file of UIDs.
    tracked_share : float or None
        Share of the ROIs in these files that have a UID; None if none of them is here.
    passive, wheel : bool
        There are datasets of passive stimuli, and of the wheel.
    video : tuple of str
        Cameras with datasets.
    raster, track, decode : str
        Why it cannot be drawn, tracked, or decoded with other days; '' if ONE lists all that is needed. Whether the
        files are sound is seen when they are read.
    """

    eid: str
    subject: str
    session_date: datetime.date
    session_number: int
    task_protocol: str
    projects: str
    n_fovs: int
    n_rois: int | None
    n_trials: int | None
    n_tracked_fovs: int
    tracked_share: float | None
    passive: bool
    wheel: bool
    video: tuple[str, ...]
    raster: str
    track: str
    decode: str

    @property
    def uses(self) -> tuple[str, ...]:
        """What the session can be used for, of 'raster', 'track' and 'decode'."""
        return tuple(use for use in ("raster", "track", "decode") if not getattr(self, use))

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values, with ``uses``."""
        return {**asdict(self), "session_date": str(self.session_date), "uses": list(self.uses)}


def scan(
    one: Any, subjects: Sequence[str] = (), project: str | None = None
) -> tuple[list[Scanned], dict[str, str]]:  # fmt: skip
    """Return what ONE has of each session with imaging, by subject, date and number, and errors of others by id.

    Of a database two kinds of requests are made: one for each 250 sessions of a subject (or project), and one for each
    session. Nothing is downloaded.

    Parameters
    ----------
    one : ONE client
    subjects : sequence of str
        Exact names; by default all.
    project : str, optional
        Exact name.

    Raises
    ------
    ConfigError
        The database does not answer, or refuses the login.
    """
    found: list[Scanned] = []
    odd: dict[str, str] = {}
    for eid in dict.fromkeys(eid for name in (subjects or (None,)) for eid in imaged_ids(one, name, project)):
        try:
            info = session_info(one, eid)
            if project is not None and project not in re.split(r",\s*", info.projects):
                continue
            if one_has := _scanned(one, info):
                found.append(one_has)
        except ConfigError:
            raise
        except MesoError as error:
            odd[eid] = str(error)
    return sorted(found, key=lambda row: (row.subject, row.session_date, row.session_number)), odd


def _scanned(one: Any, info: SessionInfo) -> Scanned | None:
    """Return what ONE has of a session; None if it has no imaging."""
    paths = _default_paths(datasets_of(one, info.eid))
    folder = session_folder(one, info.eid)
    fovs = sorted({parent for path in paths if FOV_FOLDER.match(parent := str(PurePosixPath(path).parent))})
    unread = [*unread_folders(one, info.eid), *unlisted_folders(one, info.eid)]
    if not (fovs or unread):
        return None
    names = {PurePosixPath(path).name for path in paths}
    # UIDs may be in the folder only: they are no dataset type of ONE
    files = {fov: folder / paths.get(f"{fov}/{UIDS}", f"{fov}/{UIDS}") for fov in fovs}
    n_tracked = sum(f"{fov}/{UIDS}" in paths or file.exists() for fov, file in files.items())
    tables = [path for path in paths if PurePosixPath(path).name == TRIALS]
    raster = _why_no_raster(paths, fovs, unread)
    track = raster or ("" if n_tracked else "no UIDs of cells")
    return Scanned(
        info.eid, info.subject, info.session_date, info.session_number, info.task_protocol, info.projects, len(fovs),
        _total(_n_rois(folder / paths.get(f"{fov}/{POSITIONS}", "none")) for fov in fovs),
        _total(_n_rows(folder / paths[path]) for path in tables), n_tracked,
        _tracked_share(file for file in files.values() if file.exists()),
        any(map(PASSIVE.search, names)), WHEEL_TIMES in names,
        tuple(sorted({match[1] for name in names if (match := CAMERA.search(name))})),
        raster, track, track or ("" if tables else "no trials"),
    )  # fmt: skip


def _default_paths(datasets: Any) -> dict[str, str]:
    """Return the paths of the datasets, within the session, by their paths without revision."""
    if "default_revision" in datasets:
        default = datasets["default_revision"].astype(str).str.lower() == "true"
        # where no revision is marked as the default, the last one is
        datasets = datasets.assign(is_default=default).sort_values(["is_default", "rel_path"])
    return {without_revision(path): path for path in datasets["rel_path"]}


def _why_no_raster(paths: dict[str, str], fovs: list[str], unread: list[str]) -> str:
    if not fovs:
        return f"imaging in folders that are not read: {', '.join(unread)}"
    lacking = [[name for name in REQUIRED if f"{fov}/{name}" not in paths] for fov in fovs]
    for fov, names in zip(fovs, lacking, strict=True):
        if not any(f"{fov}/{name}" in paths for name in SIGNALS.values()):
            names.append("activity")
    if all(lacking):  # one FOV is enough
        return f"{fovs[0]} has no {lacking[0][0]}"
    return ""


def _total(numbers: Iterable[int | None]) -> int | None:
    """Return the sum of numbers; None if one is not known, or there is none."""
    found = list(numbers)
    known = [number for number in found if number is not None]
    return sum(known) if known and len(known) == len(found) else None


def _tracked_share(files: Iterable[Path]) -> float | None:
    """Return the share of the lines of UID files that have a UID; None without a file that can be read."""
    has_uid: list[bool] = []
    for file in files:
        with suppress(DataError):  # said when it is read
            has_uid += map(bool, UIDText(read_file(file).text).lines)
    return float(np.mean(has_uid)) if has_uid else None


def _n_rois(path: Path) -> int | None:
    """Return the number of rows of an array file by its header; None if it is not here, or no array."""
    try:
        return int(np.load(path, mmap_mode="r", allow_pickle=False).shape[0])
    except (OSError, ValueError, IndexError):
        return None


def _n_rows(path: Path) -> int | None:
    """Return the number of rows of a table file by its metadata; None if it is not here, or no table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None
