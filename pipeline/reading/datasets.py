"""Single datasets of a session: found through ONE, loaded without unpickling, and remembered with their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError

REVISION = re.compile(r"#([^#/]+)#")


@dataclass(frozen=True)
class Source:
    """One file that was read.

    Attributes
    ----------
    dataset : str
        Path within the session, with the revision folder if there is one.
    dataset_id : str
        Its id in ONE, '' if ONE does not list it.
    revision : str
        '' for the original.
    size : int
        Bytes.
    sha256 : str
        Of the whole file, hex.
    """

    dataset: str
    dataset_id: str
    revision: str
    size: int
    sha256: str


class SessionReader:
    """Loads single datasets of one session and keeps a record of each.

    Parameters
    ----------
    one : ONE client
    eid : str

    """

    def __init__(self, one: Any, eid: str):
        self.one, self.eid = one, eid
        self._read: dict[str, Path] = {}
        table = one.list_datasets(eid, details=True)
        self._ids = {str(path): str(dataset_id) for dataset_id, path in table["rel_path"].items()} if len(table) else {}

    @property
    def sources(self) -> list[Source]:
        """What has been read, in order; the files are hashed now."""
        return [self._source(dataset, path) for dataset, path in self._read.items()]

    def check_unchanged(self, sha256: Mapping[str, str], fov: int) -> None:
        """Compare what has been read with hashes recorded before.

        Parameters
        ----------
        sha256 : mapping of str
            By dataset; datasets that are not in it are not compared.
        fov : int
            For the error.

        Raises
        ------
        DataError
            A file is not the one that was recorded.
        """
        for dataset, path in self._read.items():
            if dataset in sha256 and (found := sha256_file(path)) != sha256[dataset]:
                raise DataError(
                    "the file changed since the FOV was read",
                    eid=self.eid,
                    fov=fov,
                    dataset=dataset,
                    expected=f"sha256 {sha256[dataset]}",
                    found=found,
                    do="Delete the FOV and populate it again",
                )

    def has(self, name: str, collection: str) -> bool:
        """Say whether ONE lists the dataset, in any revision."""
        return any(
            path.startswith(f"{collection}/") and REVISION.sub("", path).replace("//", "/") == f"{collection}/{name}"
            for path in self._ids
        )

    def path(self, name: str, collection: str) -> Path:
        """Return the local file of a dataset, downloading it if needed, and record it as read.

        Raises
        ------
        DataError
            ONE does not list it, or lists it and has no file.
        """
        from one.alf.exceptions import ALFError

        dataset = f"{collection}/{name}"
        if not self.has(name, collection):
            raise DataError("dataset is missing", eid=self.eid, dataset=dataset, do="ONE lists no such file")
        try:
            # ONE's own hash check costs an md5 of each file at each load and then loads it anyway
            found = self.one.load_dataset(self.eid, name, collection=collection, download_only=True, check_hash=False)
        except (ALFError, OSError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)  # ONE goes on with examples
            problem = f"ONE lists the dataset and cannot give the file ({reason})"
            raise DataError(problem, eid=self.eid, dataset=dataset) from error
        self._record(Path(found))
        return Path(found)

    def array(self, name: str, collection: str, *, mmap: bool = False) -> np.ndarray:
        """Return a ``.npy`` dataset; ``mmap=True`` leaves it on disk.

        Raises
        ------
        DataError
            Missing, truncated, or not a plain array (pickled objects are refused, never executed).
        """
        path = self.path(name, collection)
        try:
            return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(
                f"cannot be read as a plain array, it may be truncated or hold objects ({error})",
                eid=self.eid,
                dataset=f"{collection}/{name}",
                found=f"{path.stat().st_size} bytes",
                do="Fetch the file again",
            ) from error

    def lines(self, name: str, collection: str) -> list[str]:
        """Return the lines of a text dataset, blank ones included.

        Raises
        ------
        DataError
            Missing, or not text.
        """
        try:
            return self.path(name, collection).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"is not text ({error})", eid=self.eid, dataset=f"{collection}/{name}") from error

    def _record(self, path: Path) -> None:
        session_path = Path(str(self.one.eid2path(self.eid)))
        self._read[path.relative_to(session_path).as_posix()] = path

    def _source(self, dataset: str, path: Path) -> Source:
        revision = REVISION.search(dataset)
        return Source(
            dataset=dataset,
            dataset_id=self._ids.get(dataset, ""),
            revision=revision[1] if revision else "",
            size=path.stat().st_size,
            sha256=sha256_file(path),
        )


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
