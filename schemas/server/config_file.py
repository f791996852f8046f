"""Which ``datajoint.json`` is obeyed: DataJoint reads the first one in the working folder or above, whoever wrote it.

This module is imported before DataJoint, which reads the file when it is imported.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import warnings
from pathlib import Path

from pipeline.errors import ConfigError

NAME = "datajoint.json"
#: Makes DataJoint read no file.
IGNORE = "DJ_IGNORE_CONFIG_FILE"
#: Values of the variable that pydantic takes for true.
TRUE = ("1", "true", "t", "yes", "y", "on")


def find() -> Path | None:
    """Return the file that DataJoint would read: as its ``find_config_file``, up to the root of a repository."""
    try:
        here = Path.cwd().resolve()
    except OSError:  # the working folder was removed
        return None
    for folder in (here, *here.parents):
        if (folder / NAME).is_file():
            return folder / NAME
        if (folder / ".git").exists() or (folder / ".hg").exists():
            return None
    return None


def used() -> Path | None:
    """Return the file whose settings count, or None."""
    path = None if os.environ.get(IGNORE, "").lower() in TRUE else find()
    return path if path and why_not_obeyed(path) is None else None


def why_not_obeyed(path: Path) -> str | None:
    """Return why a file does not count, None if it does: anyone could send this user's password to a server of theirs.

    Files of root count, as do those that a group may write.
    """
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user"
    if found.st_mode & stat.S_IWOTH:
        return f"{path} can be written by everybody"
    return None


def names_server(path: Path) -> bool:
    """Return whether a file names a database server: one that sets only stores, or a log level, does not.

    Raises
    ------
    ConfigError
        The file cannot be read as JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}, which may name the database server, cannot be read ({error}): mend it, move it away, or set "
            f"{IGNORE}=true"
        ) from None
    content = content if isinstance(content, dict) else {}
    nested = content.get("database")
    flat = {f"database.{name}": value for name, value in nested.items()} if isinstance(nested, dict) else {}
    return any((flat | content).get(f"database.{name}") for name in ("host", "user", "password"))


def guard() -> None:
    """Keep DataJoint, which is imported after this call, from reading a file that does not count; say so once."""
    path = None if os.environ.get(IGNORE, "").lower() in TRUE else find()
    if path is None or (reason := why_not_obeyed(path)) is None:
        return
    if "datajoint" not in sys.modules:
        os.environ[IGNORE] = "true"
        warnings.warn(f"{reason}: it is not obeyed", stacklevel=2)


def refuse_what_was_read() -> None:
    """Refuse settings from a file that does not count, where DataJoint was imported before this project.

    Raises
    ------
    ConfigError
    """
    import datajoint as dj

    path = getattr(dj.config, "_config_path", None)
    if path and (reason := why_not_obeyed(Path(path))):
        raise ConfigError(
            f"{reason}, and DataJoint has read it: import schemas or meso before datajoint, set {IGNORE}=true, or "
            f"chown and chmod it"
        )
