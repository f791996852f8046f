"""Settings of the installation: environment variables ``MESO_*``, read each time they are needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

from pipeline.errors import ConfigError


def prefix() -> str:
    """Return the prefix of all schema names (MESO_PREFIX, by default ``meso_``).

    Raises
    ------
    ConfigError
        The prefix has other characters than lower-case letters, digits and ``_``: PostgreSQL folds upper case.
    """
    value = os.environ.get("MESO_PREFIX", "meso_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", value):
        raise ConfigError(f"MESO_PREFIX={value!r}: use lower-case letters, digits and _, starting with a letter")
    return value


def lab_modules() -> list[str]:
    """Return the names of a lab's own modules of tables (MESO_MODULES, e.g. ``mylab.tables,mylab.more``)."""
    return [name.strip() for name in os.environ.get("MESO_MODULES", "").split(",") if name.strip()]


def heartbeat() -> float:
    """Return the seconds between two heartbeats of a worker (MESO_HEARTBEAT, by default 10).

    Raises
    ------
    ConfigError
        The value is not a positive number.
    """
    text = os.environ.get("MESO_HEARTBEAT", "10")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"MESO_HEARTBEAT={text!r}: give seconds, e.g. 10")
    return seconds


def data_dir() -> Path:
    """Return the folder of the embedded database and the demo (MESO_DATA_DIR, or the user's data folder)."""
    return Path(os.environ.get("MESO_DATA_DIR") or platformdirs.user_data_dir("meso"))


def one_cache_dir() -> str | None:
    """Return the absolute path of the ONE cache to read from (MESO_ONE_CACHE_DIR), or None."""
    folder = os.environ.get("MESO_ONE_CACHE_DIR")
    return os.path.abspath(os.path.expanduser(folder)) if folder else None


def store() -> str | None:
    """Return the name of the store that new traces are written to (MESO_STORE); None for the database itself."""
    return os.environ.get("MESO_STORE") or None
