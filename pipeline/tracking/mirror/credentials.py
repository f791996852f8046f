"""User and password of the source, from the environment or a private file; neither is ever shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ConfigError

# No local variable here ever holds the password: some tracebacks show those.


@dataclass(frozen=True)
class Credentials:
    """User and password of the source (for S3: key and secret); neither shows in a repr."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.user, str) and isinstance(self.password, str)):
            raise ConfigError("Credentials of the UID source must be two strings: user and password.")
        if ":" in self.user:
            raise ConfigError("Credentials of the UID source: basic auth allows no ':' in the user name.")


def credentials_from_environment() -> Credentials | None:
    """Read the credentials of the source from the environment.

    Returns
    -------
    Credentials or None
        From MESO_UID_USER and MESO_UID_PASSWORD, else from the file named by MESO_UID_CREDENTIALS
        (two lines, or user:password on one), else None.

    Raises
    ------
    ConfigError
        Half a pair, a file that others can read, or one that cannot be understood.
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
    # The variable's value is never shown: the password itself may have been put into it.
    named = "The file named by MESO_UID_CREDENTIALS"
    found, problem = None, f"{named} is not understood. Write two lines, user and password, or user:password."
    try:
        with path.open("rb") as stream:
            if os.name == "posix" and os.fstat(stream.fileno()).st_mode & 0o077:
                problem = f"{named} can be used by group or others. Run chmod 600 on it."
            else:
                found = _parse(stream.read(4096))
    except (OSError, ValueError) as error:
        problem = f"{named} cannot be read ({type(error).__name__}). Check the path and that it is text."
    if found is None:
        raise ConfigError(problem)  # outside the handler: a decode error carries the file's bytes
    return found


def _parse(content: bytes) -> Credentials | None:
    lines = [line for line in content.decode().splitlines() if line]
    if len(lines) == 1:
        lines = lines[0].split(":", 1)
    return Credentials(*lines) if len(lines) == 2 and all(lines) else None
