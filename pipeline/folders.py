"""Folders for files that libraries insist on writing, where the home cannot be written: containers, SLURM."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def can_be_written(folder: Path) -> bool:
    """Return whether files can be written there; folders that are missing may have to be made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def own_temporary_folder(name: str) -> Path:
    """Return a temporary folder that only this account can write, the same in each process.

    Nobody else can put files there that a library would believe, or run.
    """
    folder = Path(tempfile.gettempdir()) / f"meso-{name}-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid == os.getuid() and found.st_mode & 0o077 == 0 and not folder.is_symlink():
        return folder
    return Path(tempfile.mkdtemp(prefix=f"meso-{name}-"))  # somebody else has made it


@contextmanager
def writable_home(folder: str) -> Iterator[None]:
    """While a block runs, let the home be a temporary folder if ``folder`` is not in the home and cannot be made there.

    ONE writes ``~/.one`` even if it reads a local cache, which needs no settings.
    """
    home, wanted = os.environ.get("HOME"), Path(os.path.expanduser("~")) / folder
    if wanted.exists() or can_be_written(wanted):
        yield
        return
    os.environ["HOME"] = str(own_temporary_folder("home"))
    try:
        yield
    finally:
        del os.environ["HOME"]
        if home is not None:
            os.environ["HOME"] = home
