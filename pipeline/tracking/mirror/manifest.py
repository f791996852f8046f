"""The manifest of a mirror (where each file came from), and atomic file writes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DataError
from pipeline.tracking.mirror.search import PATH
from pipeline.tracking.mirror.sources import Stamp

MANIFEST = "manifest.json"

_STALE_PART_AGE = 3600.0  # s; a temporary file that is older was left by a killed run


class Manifest:
    """Source and checksum of every mirrored file of a subject.

    `complete` is set to False before a run writes its first file, and to True when the mirror equals the source.
    False after a killed run thus means that the mirror may mix files of two tracking runs.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self.path, self.subject = path, subject
        self.files: dict[str, dict[str, Any]] = {}
        self.complete = True
        self._saved: str | None = None
        self._next_save = 0.0
        if path.exists():
            self._load()

    def _load(self) -> None:
        names = {"size", "sha256", "source", "fetched", "etag", "last_modified"}
        try:
            text = self.path.read_text(encoding="utf-8")
            content = json.loads(text)
            good = content["version"] == 1 and content["subject"] == self.subject
            self.complete, self.files = bool(content["complete"]), dict(content["files"])
            good = good and all(PATH.fullmatch(rel) and names <= set(entry) for rel, entry in self.files.items())
        except (OSError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise DataError(
                f"The manifest {self.path} cannot be used",
                expected=f"version 1 for subject {self.subject}",
                found="something else",
                do="Remove it and mirror again: existing files are then compared with the source",
            )
        self._saved = text

    def record(self, rel: str, source: str, stamp: Stamp, size: int, sha256: str) -> None:
        """Record a mirrored file; an unchanged file keeps the time of its first fetch."""
        old = self.files.get(rel, {})
        # only a change of the content is a new fetch; other tags are brought up to date
        same = old.get("sha256") == sha256
        fetched = old["fetched"] if same else datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"size": size, "sha256": sha256, "source": source, "fetched": fetched}
        self.files[rel] = entry | {"etag": stamp.etag, "last_modified": stamp.last_modified}

    def save_now_and_then(self) -> None:
        """Save, but spend at most a twentieth of the time on it: the manifest grows with the mirror."""
        start = time.monotonic()
        if start >= self._next_save:
            self.save()
            end = time.monotonic()
            # what is not saved is checked again by the next run, and not lost: files are written before their entries
            self._next_save = end + 20 * (end - start)

    def save(self) -> None:
        """Write the manifest if it differs from the one on disk."""
        content = {"version": 1, "subject": self.subject, "complete": self.complete}
        text = json.dumps(content | {"files": dict(sorted(self.files.items()))}, indent=1) + "\n"
        if text == self._saved:
            return
        try:
            write_whole(self.path, text.encode())
        except OSError as error:
            problem = f"The manifest {self.path} cannot be written ({error.strerror})"
            raise ConfigError(f"{problem}. Check the path, permissions and free space of the destination.") from error
        self._saved = text


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: it appears complete or not at all, even if power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.part"):
        # Left by a killed run; a recent one may belong to a process that is still writing.
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _STALE_PART_AGE:
                left.unlink()
    # the process id keeps two runs from writing to one file; in the same folder, as a rename is atomic only there
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str | None:
    """Return the hex sha256 of a file, or None if there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
