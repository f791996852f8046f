"""User and password of the UID source, from the environment or a private file; neither is ever shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ConfigError

# No local variable in this module may hold the password: rich tracebacks and debuggers show local variables.


@dataclass(frozen=True)
class Credentials:
    """User and password of the source (for S3: access key and secret); the repr hides both."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.user, str) and isinstance(self.password, str)):
            raise ConfigError("Credentials of the UID source must be two strings, user and password.")
        if ":" in self.user:
            raise ConfigError("Credentials of the UID source: the user name must not contain ':' (HTTP basic auth).")


def credentials_from_environment() -> Credentials | None:
    """Read the credentials of the source from the environment.

    Returns
    -------
    Credentials or None
        From MESO_UID_USER and MESO_UID_PASSWORD, else from the file named by MESO_UID_CREDENTIALS
        (two lines, or one line user:password), else None.

    Raises
    ------
    ConfigError
        Only one of user and password is set; or the file is accessible to other users, or is not in that format.
    """
    pair = ("MESO_UID_USER", "MESO_UID_PASSWORD")
    missing = [name for name in pair if not os.environ.get(name)]
    if not missing:
        return Credentials(*(os.environ[name] for name in pair))
    if len(missing) == 1:
        raise ConfigError(f"Credentials of the UID source: {missing[0]} is not set. Set both, or neither.")
    file = os.environ.get("MESO_UID_CREDENTIALS")
    return _read(Path(file).expanduser()) if file else None


def _read(path: Path) -> Credentials:
    # The path is never shown: a user may have put the password itself into this variable.
    named = "The file named by MESO_UID_CREDENTIALS"
    found, problem = None, f"{named} is not valid. Write two lines, user and password, or one line user:password."
    try:
        with path.open("rb") as stream:
            # of the open file: one that is replaced after the check is not the one that is read
            if os.name == "posix" and os.fstat(stream.fileno()).st_mode & 0o077:
                problem = f"{named} is accessible to group or others. Run chmod 600 on it."
            else:
                # bounded: the variable may name a large file, or a device
                found = _parse(stream.read(4096))
    except (OSError, ValueError) as error:
        problem = f"{named} cannot be read ({type(error).__name__}). Check the path and that it is text."
    if found is None:
        raise ConfigError(problem)  # outside the handler: a chained decode error would carry the bytes of the file
    return found


def _parse(content: bytes) -> Credentials | None:
    lines = [line for line in content.decode().splitlines() if line]
    if len(lines) == 1:
        lines = lines[0].split(":", 1)
    return Credentials(*lines) if len(lines) == 2 and all(lines) else None
