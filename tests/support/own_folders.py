"""Commands and queries on an embedded server in a folder of a test's own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import psycopg2

from schemas.server.connection import SERVER_VARIABLES
from support import quick_start

ROOT = Path(__file__).parents[2]


def meso(*args: str, env: dict[str, str] | None = None, as_user: str | None = None, **kwargs):
    """Run a command without a server of its own, as this account or another."""
    variables = {name: value for name, value in os.environ.items() if name not in SERVER_VARIABLES}
    variables |= {"PYTHONPATH": str(ROOT), "DJ_IGNORE_CONFIG_FILE": "true", "MESO_PREFIX": "meso_", **(env or {})}
    command = ["-m", "populate_scripts.cli", *args]
    if as_user is None and not kwargs:
        return quick_start.run(command, env=variables, cwd=ROOT, timeout=300)
    command = [sys.executable, "-W", "ignore", *command]
    if as_user:
        # it may not write coverage's files
        variables = {name: value for name, value in variables.items() if not name.startswith("COVERAGE_")}
        command = [*as_account(as_user), *command]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, **kwargs)


def as_account(name: str) -> list[str]:
    return ["setpriv", f"--reuid={name}", f"--regid={pwd.getpwnam(name).pw_gid}", "--clear-groups"]


def ask(sockets: Path, query: str) -> list[tuple]:
    connection = psycopg2.connect(host=str(sockets), user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(query)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows
