"""A folder for numba's cache where neither the code nor the home can be written, as in containers."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def choose_folder() -> None:
    """Give numba a cache in the temporary folder if it would find no other; without a cache it compiles nothing."""
    import numba

    config: Any = numba.config
    others = Path(__file__).parent / "__pycache__", Path(os.path.expanduser("~/.cache"))
    if config.CACHE_DIR or any(map(_can_be_written, others)):
        return
    config.CACHE_DIR = str(_own_folder())


def _can_be_written(folder: Path) -> bool:
    """Return whether files can be written there; folders that are missing may have to be made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """Return a folder that only this account can write: numba runs what it finds in its cache."""
    folder = Path(tempfile.gettempdir()) / f"meso-numba-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid == os.getuid() and found.st_mode & 0o077 == 0 and not folder.is_symlink():
        return folder
    return Path(tempfile.mkdtemp(prefix="meso-numba-"))  # somebody else has made it
