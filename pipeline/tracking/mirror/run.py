"""One run of the mirror: what is there is compared with the source, what is missing is fetched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.tracking.mirror.addresses import open_source
from pipeline.tracking.mirror.credentials import Credentials
from pipeline.tracking.mirror.manifest import MANIFEST, Manifest, sha256_of, write_whole
from pipeline.tracking.mirror.report import MirrorReport
from pipeline.tracking.mirror.search import Found, find
from pipeline.tracking.mirror.sources import Source, SourceError

Progress = Callable[[int, int, str], object]

_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def subject_folder(dest: Path, subject: str) -> Path:
    """Folder of a subject's mirrored files and their manifest."""
    return Path(dest) / "ROICaT" / subject


def mirror_uids(
    source: str,
    dest: Path,
    subject: str,
    *,
    auth: Credentials | tuple[str, str] | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
) -> MirrorReport:
    """Mirror the cross-day cell UIDs of a subject, with their silhouettes where there are any.

    May be broken off and run again at any time: what is there already is not fetched again.

    Parameters
    ----------
    source : str
        Folder, or address (``http(s)://`` of a folder listing, ``sftp://``, ``s3://``), with
        ``<subject>/<date>/<number>/alf/FOV_XX/`` below it, or below its ``ROICaT/`` or ``Subjects/``
        (the first of the three that has UIDs).
    dest : Path
        Files go to ``<dest>/ROICaT/<subject>/``, beside ``manifest.json``.
    subject : str
        Name of the subject.
    auth : Credentials or (user, password), optional
        None takes them from MESO_UID_USER and MESO_UID_PASSWORD, or the file named by MESO_UID_CREDENTIALS.
    progress : callable, optional
        Called with (files done, files in all, path) after each file.
    refresh : bool
        Replace files that were regenerated at the source. Without it they are only reported, and new
        files are held back, as they would come from another tracking run than those already here.

    Returns
    -------
    MirrorReport
        Failures of single files are in it and do not stop the others.

    Raises
    ------
    ConfigError
        The source cannot be reached or refuses; the address or the credentials are not acceptable;
        an optional package is missing; the manifest cannot be written.
    DataError
        The source has no such subject or no UIDs of it, or the manifest is damaged.
    """
    if auth is not None and not isinstance(auth, Credentials):
        if not (isinstance(auth, tuple) and len(auth) == 2):
            raise ConfigError("auth must be None, Credentials or a pair (user, password).")
        auth = Credentials(*auth)
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise ConfigError(f"{subject!r} is no name of a subject: letters, digits, '_', '-' and '.' only.")
    folder = subject_folder(dest, subject)
    with closing(open_source(source, auth)) as opened:
        found = find(opened, subject)
        if Path(opened.address + found.root).resolve() == folder.resolve():
            raise ConfigError(f"The source of the UIDs is the mirror itself, {folder}. Give another one.")
        return _Run(opened, found, folder, Manifest(folder / MANIFEST, subject), refresh).all(progress)


class _Run:
    """The source, the mirror, and what happened so far."""

    def __init__(self, source: Source, found: Found, folder: Path, manifest: Manifest, refresh: bool) -> None:
        self.source, self.found, self.folder = source, found, folder
        self.manifest, self.refresh = manifest, refresh
        self.fetched: list[str] = []
        self.unchanged: list[str] = []
        self.changed: list[str] = []
        self.failed: list[tuple[str, str]] = list(found.failed)

    def all(self, progress: Progress | None) -> MirrorReport:
        """Do every file: first those known, to learn whether the source was regenerated."""
        known = [rel for rel in self.found.files if self._is_known(rel)]
        new = [rel for rel in self.found.files if not self._is_known(rel)]
        try:
            for done, rel in enumerate(known + new, 1):
                self._one(rel, known=done <= len(known))
                self.manifest.save_now_and_then()
                if progress is not None:
                    progress(done, len(self.found.files), rel)
            self._note_vanished()
            self.manifest.complete = self._report().ok
        finally:
            if self.manifest.files:
                self.manifest.save()
        return self._report()

    def _is_known(self, rel: str) -> bool:
        return rel in self.manifest.files or (self.folder / rel).exists()

    def _report(self) -> MirrorReport:
        return MirrorReport(
            fetched=tuple(sorted(self.fetched)),
            unchanged=tuple(sorted(self.unchanged)),
            changed=tuple(sorted(self.changed)),
            failed=tuple(sorted(self.failed)),
            n_sessions=len({rel.split("/alf/")[0] for rel in self.found.files}),
        )

    def _one(self, rel: str, known: bool) -> None:
        """Mirror one file; what goes wrong is noted."""
        try:
            if known:
                self._check(rel)
            elif self.changed and not self.refresh:
                reason = "not fetched: other files were regenerated at the source; mirror again with refresh"
                self.failed.append((rel, reason))
            else:
                self._transfer(rel, None)
        except SourceError as error:
            self.failed.append((rel, str(error)))
        except OSError as error:
            self.failed.append((rel, f"cannot be written to {self.folder} ({error.strerror})"))

    def _check(self, rel: str) -> None:
        """Compare a file that was mirrored before with the source, and transfer it if need be."""
        entry, local = self.manifest.files.get(rel), sha256_of(self.folder / rel)
        stamp = self.source.stamp(self.found.root + rel)
        mirrored = entry and local == entry["sha256"] and entry["source"] == self._address(rel)
        if entry and mirrored and stamp.proves_same(entry):
            self.unchanged.append(rel)
        elif not self.refresh and stamp.size is not None and stamp.size not in self._sizes(rel):
            self.changed.append(rel)  # another size is another content, there is no need to read it
        else:
            self._transfer(rel, local)

    def _sizes(self, rel: str) -> set[int]:
        path, entry = self.folder / rel, self.manifest.files.get(rel)
        here = {path.stat().st_size} if path.is_file() else set()
        return here | ({entry["size"]} if entry else set())

    def _transfer(self, rel: str, local: str | None) -> None:
        """Read a file from the source and put it in place, unless it is here or another run's.

        Dates and tags change when a server moves or a file is touched: only the content decides.
        """
        path, entry = self.folder / rel, self.manifest.files.get(rel)
        content, stamp = self.source.read(self.found.root + rel)
        _check_content(content, path.name)
        sha256 = hashlib.sha256(content).hexdigest()
        expected = {local, entry and entry["sha256"]} - {None}
        if expected and sha256 not in expected:
            self.changed.append(rel)
            if not self.refresh:
                return
        if sha256 == local:
            self.unchanged.append(rel)
        else:
            self._announce_write()
            write_whole(path, content)
            self.fetched.append(rel)
        self.manifest.record(rel, self._address(rel), stamp, len(content), sha256)

    def _announce_write(self) -> None:
        """Mark the mirror as incomplete, on disk, before its first file changes."""
        if self.manifest.complete:
            self.manifest.complete = False
            self.manifest.save()

    def _address(self, rel: str) -> str:
        return self.source.address + self.found.root + rel

    def _note_vanished(self) -> None:
        """Report mirrored files that this source no longer has: they belong to an earlier run."""
        root, present = self.source.address + self.found.root, set(self.found.files)
        unlisted = tuple(folder for folder, _ in self.found.failed)
        for rel, entry in list(self.manifest.files.items()):
            if rel in present or not entry["source"].startswith(root) or rel.startswith(unlisted):
                continue
            if (self.folder / rel).exists():
                reason = f"no longer at the source; remove {self.folder / rel} if it is of an earlier run"
                self.failed.append((rel, reason))
            else:
                del self.manifest.files[rel]


def _check_content(content: bytes, name: str) -> None:
    """Refuse a web page (log-in, 'not found') that a server sent in place of the file."""
    start = content[:64].lstrip()
    if name.endswith(".npy") and not start.startswith(b"\x93NUMPY"):
        raise SourceError("is no npy file")
    if name.endswith(".csv") and (start.startswith(b"<") or b"\x00" in start):
        raise SourceError("is a web page or binary data instead of UIDs")
