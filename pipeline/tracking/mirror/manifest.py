"""Where every mirrored file came from, and files that appear whole or not at all."""

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

_STALE_PART = 3600.0  # s after which a temporary file belongs to a run that is dead


class Manifest:
    """Source and checksum of every mirrored file of a subject.

    `complete` is False from before the first write of a run until the mirror equals the source:
    after a kill it tells that files of two tracking runs may stand side by side.
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
                do="Remove it and mirror again: files that are there are then compared with the source",
            )
        self._saved = text

    def record(self, rel: str, source: str, stamp: Stamp, size: int, sha256: str) -> None:
        """Note a file that is now here; of an unchanged file the time of its first fetch stays."""
        old = self.files.get(rel, {})
        same = old.get("sha256") == sha256
        fetched = old["fetched"] if same else datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"size": size, "sha256": sha256, "source": source, "fetched": fetched}
        self.files[rel] = entry | {"etag": stamp.etag, "last_modified": stamp.last_modified}

    def save_now_and_then(self) -> None:
        """Save unless that would take more than a twentieth of the time: it grows with the mirror."""
        start = time.monotonic()
        if start >= self._next_save:
            self.save()
            end = time.monotonic()
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
            raise ConfigError(f"{problem}. Check the destination: its path, rights and free space.") from error
        self._saved = text


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, even if power is cut on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.part"):
        # Left by a killed run; a young one may belong to a process that still writes it.
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _STALE_PART:
                left.unlink()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str | None:
    """Checksum of a file, None when there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
