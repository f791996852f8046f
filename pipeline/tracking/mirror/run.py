"""One run of the mirror: compare existing files with the source, fetch missing ones."""

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

# a subject becomes part of paths and addresses: no slash, no leading dot
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def subject_folder(dest: Path, subject: str) -> Path:
    """Return the folder of a subject's mirrored files and their manifest."""
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
    """Mirror the cell UID files of a subject, and the silhouette files beside them.

    It can be interrupted and run again at any time; files that were mirrored before are not fetched again.

    Parameters
    ----------
    source : str
        Folder, or address (``http(s)://`` of a folder listing, ``sftp://``, ``s3://``), that contains
        ``<subject>/<date>/<number>/alf/FOV_XX/``, directly or in ``ROICaT/`` or ``Subjects/`` (the first of the
        three that has UIDs is used).
    dest : Path
        Files are written to ``<dest>/ROICaT/<subject>/``, with a ``manifest.json``.
    subject : str
        Name of the subject.
    auth : Credentials or (user, password), optional
        Default: MESO_UID_USER and MESO_UID_PASSWORD, or the file named by MESO_UID_CREDENTIALS.
    progress : callable, optional
        Called as ``progress(files done, files in total, path)`` after each file.
    refresh : bool
        Replace files that have changed at the source. Otherwise they are only reported, and new files are not
        fetched, because they would be of another tracking run than the existing ones.

    Returns
    -------
    MirrorReport
        It lists failures of single files, which do not stop the run.

    Raises
    ------
    ConfigError
        The source cannot be reached or refuses access; the address or the credentials are refused;
        an optional package is missing; the manifest cannot be written.
    DataError
        The source does not have the subject or has no UIDs of it, or the manifest is damaged.
    """
    if auth is not None and not isinstance(auth, Credentials):
        if not (isinstance(auth, tuple) and len(auth) == 2):
            raise ConfigError("auth must be None, Credentials or a tuple (user, password).")
        auth = Credentials(*auth)
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise ConfigError(
            f"{subject!r} is not a valid subject name: up to 64 letters, digits, '_', '-' and '.', "
            "of which the first is a letter or digit."
        )
    folder = subject_folder(dest, subject)
    with closing(open_source(source, auth)) as opened:
        found = find(opened, subject)
        # resolve: a mirror of itself, by a link or '..', would find every file unchanged whatever the real source has
        if Path(opened.address + found.root).resolve() == folder.resolve():
            raise ConfigError(f"The UID source is the mirror itself, {folder}. Give another source.")
        return _Run(opened, found, folder, Manifest(folder / MANIFEST, subject), refresh).all(progress)


class _Run:
    """One run of the mirror: the source, the mirror, and the outcome of each file so far."""

    def __init__(self, source: Source, found: Found, folder: Path, manifest: Manifest, refresh: bool) -> None:
        self.source, self.found, self.folder = source, found, folder
        self.manifest, self.refresh = manifest, refresh
        self.fetched: list[str] = []
        self.unchanged: list[str] = []
        self.changed: list[str] = []
        self.failed: list[tuple[str, str]] = list(found.failed)

    def all(self, progress: Progress | None) -> MirrorReport:
        """Mirror all files. Known files come first: if one has changed at the source, new ones must not be added."""
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
            # also after an interruption: files that were fetched need not be fetched again
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
        """Mirror one file; a failure is recorded and not raised."""
        try:
            if known:
                self._check(rel)
            elif self.changed and not self.refresh:
                reason = "not fetched: other files have changed at the source; mirror again with refresh"
                self.failed.append((rel, reason))
            else:
                self._transfer(rel, None)
        except SourceError as error:
            self.failed.append((rel, str(error)))
        except OSError as error:
            self.failed.append((rel, f"cannot be written to {self.folder} ({error.strerror})"))

    def _check(self, rel: str) -> None:
        """Compare a file that was mirrored before with the source, and transfer it if necessary."""
        entry, local = self.manifest.files.get(rel), sha256_of(self.folder / rel)
        stamp = self.source.stamp(self.found.root + rel)
        mirrored = entry and local == entry["sha256"] and entry["source"] == self._address(rel)
        if entry and mirrored and stamp.proves_same(entry):
            self.unchanged.append(rel)
        elif not self.refresh and stamp.size is not None and stamp.size not in self._sizes(rel):
            self.changed.append(rel)  # a different size proves different content, so the file need not be read
        else:
            self._transfer(rel, local)

    def _sizes(self, rel: str) -> set[int]:
        """Return the sizes in bytes at which the content may be equal: of the local file, and in the manifest."""
        path, entry = self.folder / rel, self.manifest.files.get(rel)
        here = {path.stat().st_size} if path.is_file() else set()
        return here | ({entry["size"]} if entry else set())

    def _transfer(self, rel: str, local: str | None) -> None:
        """Read a file from the source, and write it unless it is unchanged or of another tracking run.

        Content decides: modification times and ETags also change when a server moves or a file is touched.
        """
        path, entry = self.folder / rel, self.manifest.files.get(rel)
        content, stamp = self.source.read(self.found.root + rel)
        _check_content(content, path.name)
        sha256 = hashlib.sha256(content).hexdigest()
        # what was mirrored before, or lies there without an entry (a lost manifest, or a copy by hand)
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
        """Mark the mirror as incomplete in the saved manifest, before its first file changes."""
        if self.manifest.complete:
            self.manifest.complete = False
            self.manifest.save()

    def _address(self, rel: str) -> str:
        return self.source.address + self.found.root + rel

    def _note_vanished(self) -> None:
        """Report mirrored files that this source no longer has: they may be of an earlier tracking run."""
        root, present = self.source.address + self.found.root, set(self.found.files)
        unlisted = tuple(folder for folder, _ in self.found.failed)  # their files may still exist
        for rel, entry in list(self.manifest.files.items()):
            if rel in present or not entry["source"].startswith(root) or rel.startswith(unlisted):
                continue
            if (self.folder / rel).exists():
                reason = f"no longer at the source; remove {self.folder / rel} if it is of an earlier tracking run"
                self.failed.append((rel, reason))
            else:
                del self.manifest.files[rel]


def _check_content(content: bytes, name: str) -> None:
    """Refuse a web page (log-in, "not found") that a server sends with status 200 instead of the file."""
    start = content[:64].lstrip()
    if name.endswith(".npy") and not start.startswith(b"\x93NUMPY"):
        raise SourceError("is not an npy file")
    if name.endswith(".csv") and (start.startswith(b"<") or b"\x00" in start):
        raise SourceError("is a web page or binary data instead of UIDs")
