"""A private, throw-away MySQL server for the tests.

As a module: ``with running_mysql() as server`` yields the address and the account of a real MySQL server.
As a script: ``python tests/support/mysql_server.py find`` prints which server the tests would start, and
``python tests/support/mysql_server.py fetch`` downloads one on Debian-like machines, without root and without
installing anything. Variables read:

MESO_TEST_MYSQL   ``user:password@host:port`` of a server to use instead of starting one
MESO_MYSQLD       the mysqld program to start
MESO_TEST_CACHE   where a fetched server and initialised data folders are kept
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

OLDEST = (8, 0, 13)
START_TIMEOUT = 60.0
START_TRIES = 3
STOP_TIMEOUT = 20.0
APT_TIMEOUT = 900.0

OTHERWISE = (
    "Other ways to get a MySQL server for the tests: install MySQL >= 8.0.13 (not MariaDB) so that `mysqld`"
    " is on PATH, or name the program in MESO_MYSQLD; or run `docker compose up -d db` and set"
    " MESO_TEST_MYSQL=root:PASSWORD@127.0.0.1:3306."
)

# The data are deleted after the tests, so nothing has to survive a crash. Servers ignore ``loose-`` options that they
# do not know.
SERVER_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--loose-mysqlx=OFF",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--max-allowed-packet=1G",
    "--secure-file-priv=",
    "--disable-log-bin",
    "--sync-binlog=0",
    "--performance-schema=OFF",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=OFF",
    # With a file per table that is flushed, the hundred tables of a database cost two thirds more of the processor and
    # thrice the time.
    "--innodb-flush-method=nosync",
    "--innodb-file-per-table=OFF",
    "--innodb-fast-shutdown=2",
    "--innodb-buffer-pool-size=128M",
    # Kernel asynchronous I/O is limited on busy machines and missing in some containers.
    "--innodb-use-native-aio=OFF",
    "--loose-innodb-redo-log-capacity=256M",
)


# ---------------------------------------------------------------- which server


@dataclass(frozen=True)
class Command:
    """How to run a mysqld: the words before its options, and its version."""

    argv: tuple[str, ...]
    version: tuple[int, int, int]
    root: Path | None = None
    """The unpacked packages, for a server which is not installed."""

    def line(self, *options: str) -> list[str]:
        """Return the complete command; no option file of the machine is read."""
        places: list[str] = []
        if self.root is not None:
            share = self.root / "usr/share/mysql"
            places = [
                f"--basedir={self.root / 'usr'}",
                f"--lc-messages-dir={share}",
                f"--character-sets-dir={share / 'charsets'}",
                f"--plugin-dir={self.root / 'usr/lib/mysql/plugin'}",
            ]
        # Without this option mysqld refuses to run as root.
        user = ["--user=root"] if os.geteuid() == 0 else []
        return [*self.argv, "--no-defaults", *places, *user, *options]


def cache_folder() -> Path:
    """Return the folder in which a fetched server and initialised data folders are kept."""
    given = os.environ.get("MESO_TEST_CACHE")
    folder = Path(given).expanduser() if given else Path.home() / ".cache/meso-tests/mysql"
    return folder.absolute()


def mysql_version(text: str) -> tuple[int, int, int] | None:
    """Return the version in the output of ``mysqld --version``; None for MariaDB or anything else."""
    found = re.search(r"\bVer (\d+)\.(\d+)\.(\d+)", text)
    if found is None or "mariadb" in text.lower():
        return None
    return int(found[1]), int(found[2]), int(found[3])


def probe(argv: Sequence[str], root: Path | None = None) -> Command | None:
    """Return the command if it runs and is a MySQL server that is new enough, else None."""
    try:
        done = subprocess.run(
            [*argv, "--no-defaults", "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = mysql_version(done.stdout) if done.returncode == 0 else None
    return Command(tuple(argv), version, root) if version is not None and version >= OLDEST else None


def unpacked(root: Path) -> Command | None:
    """Return the server in a folder of unpacked packages, run with the libraries and the loader of that folder.

    The packages' C library is usually newer than the machine's, hence their own loader.
    """
    program = root / "usr/sbin/mysqld"
    loaders = [path for lib in ("usr/lib", "lib") for path in sorted(root.glob(f"{lib}/*/ld-linux*.so.[0-9]"))]
    if not program.is_file() or not loaders:
        return None
    folders = [root / lib / loaders[0].parent.name for lib in ("usr/lib", "lib")]
    return probe([str(loaders[0]), "--library-path", ":".join(map(str, folders)), str(program)], root)


def find_mysqld() -> Command | None:
    """Find a MySQL server on this machine: MESO_MYSQLD, then PATH, then the one fetched earlier."""
    given = os.environ.get("MESO_MYSQLD")
    if given:
        command = probe([given])
        if command is None:
            raise RuntimeError(f"MESO_MYSQLD={given} does not run or is not MySQL >= 8.0.13. {OTHERWISE}")
        return command
    # Debian keeps servers in sbin, which is not on the PATH of ordinary users.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("mysqld", path=path)
    installed = probe([program]) if program else None
    return installed or unpacked(cache_folder() / "server")


# ---------------------------------------------------------------- fetching a server


@dataclass(frozen=True)
class Distribution:
    """The suite of a distribution that has a MySQL server, and the package with its signing keys."""

    suite: str | None
    """None: the suite the machine itself runs."""
    keyring: str


# Debian's releases come with MariaDB only; its unstable suite has MySQL. Ubuntu's releases have it.
DISTRIBUTIONS = {
    "debian": Distribution("unstable", "debian-archive-keyring"),
    "ubuntu": Distribution(None, "ubuntu-archive-keyring"),
}


@dataclass(frozen=True)
class Archive:
    """A package archive, as named by a line of apt's sources."""

    uri: str
    suite: str


def archives_in(printed: str) -> list[Archive]:
    """Return the archives in the output of ``apt-get update --print-uris``, in order.

    Suites with additions only (updates, security, backports) and archives without suites are left out.
    """
    found = re.findall(r"^'((?!cdrom:)[^']+?)/dists/([^'/-]+)/InRelease'", printed, re.MULTILINE)
    return list(dict.fromkeys(Archive(uri, suite) for uri, suite in found))


def machine_archives(*options: str) -> list[Archive]:
    """Return the archives that this machine's apt uses.

    apt itself reads its sources (one-line and deb822, mirror lists, disabled entries), so that no address has
    to be known here; with --print-uris it neither asks the network nor needs downloaded lists.
    """
    return archives_in(run_apt(["apt-get", "update", "--print-uris", *options]))


def run_apt(command: Sequence[str], config: Path | None = None) -> str:
    """Return the output of an apt program; RuntimeError with its error output if it fails."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    if config is not None:
        environment["APT_CONFIG"] = str(config)
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command[:2])}` failed: {(done.stderr or done.stdout)[-1500:].strip()}")
    return done.stdout


# Read last, after the machine's own settings (its proxy is needed, its hooks and pins are not). Insecure options are
# turned off, whatever the machine allows: everything fetched must be signed by a key of the keyring.
PRIVATE_APT = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "3";
Debug::NoLocking "true";
Dir::State "{work}/state";
Dir::State::lists "{work}/lists";
Dir::State::status "{work}/status";
Dir::State::extended_states "{work}/extended_states";
Dir::Cache "{work}";
Dir::Cache::archives "{work}/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{work}/log";
"""


class PrivateApt:
    """apt with one archive, trusted through one keyring, and with all its state in a private folder.

    Its list of installed packages is empty, so that a package comes with its complete library closure.
    """

    def __init__(self, work: Path, archive: Archive, keyring: Path) -> None:
        """Set up the folder and fetch the archive's signed index."""
        for name in ("lists/partial", "archives/partial", "state", "log", "parts"):
            (work / name).mkdir(parents=True)
        (work / "status").touch()
        (work / "sources.list").touch(mode=0o600)  # an address can contain a password
        (work / "sources.list").write_text(f"deb [signed-by={keyring}] {archive.uri} {archive.suite} main\n")
        self.work = work
        self.config = work / "apt.conf"
        self._write_config()
        run_apt(["apt-get", "update"], self.config)

    def _write_config(self) -> None:
        """Link the machine's settings (which keeps their permissions) and put the private ones last."""
        found = run_apt(["apt-config", "shell", "PARTS", "Dir::Etc::parts/d", "MAIN", "Dir::Etc::main/f"])
        places = dict(word.partition("=")[::2] for word in shlex.split(found))
        parts = self.work / "parts"
        machine = Path(places.get("PARTS") or os.devnull)
        for part in sorted(machine.iterdir()) if machine.is_dir() else []:
            (parts / part.name).symlink_to(part)
        for name, given in (("000-given", os.environ.get("APT_CONFIG")), ("zzz-main", places.get("MAIN"))):
            if given and Path(given).is_file():
                (parts / name).symlink_to(Path(given).absolute())
        architecture = run_apt(["dpkg", "--print-architecture"]).strip()
        (parts / "zzz-private").write_text(PRIVATE_APT.format(work=self.work, architecture=architecture))
        self.config.write_text(f'Dir::Etc::parts "{parts}";\nDir::Etc::main "/dev/null";\n')

    def mysql_package(self) -> str:
        """Return the archive's package of the server program: without a version in its name, else the newest."""
        names = run_apt(["apt-cache", "pkgnames", "mysql-server-core"], self.config).split()
        found = [name for name in names if re.fullmatch(r"mysql-server-core(-[\d.]+)?", name)]
        if not found:
            raise RuntimeError("the archive has no mysql-server-core package")
        return max(found, key=lambda name: (name == "mysql-server-core", [int(n) for n in re.findall(r"\d+", name)]))

    def download(self, package: str) -> list[Path]:
        """Download a package and all its dependencies, checked against the signed index; return the package files."""
        run_apt(["apt-get", "install", "--yes", "--download-only", package], self.config)
        return sorted((self.work / "archives").glob("*.deb"))


def machine_keyring(name: str, root: Path = Path("/")) -> Path:
    """Return the keyring of the machine's (or of an unpacked package's) distribution."""
    for ending in (".gpg", ".pgp"):
        path = root / "usr/share/keyrings" / f"{name}{ending}"
        if path.is_file():
            return path
    raise RuntimeError(f"there is no keyring {name} to check signatures with")


def newer_keyring(work: Path, archive: Archive, name: str, keyring: Path) -> Path:
    """Return the keyring from the suite that the machine runs, fetched and checked with the machine's own keyring.

    A machine that was not updated for long does not know the keys that sign unstable today, but releases keep
    getting the new keyring, signed by keys the machine does know. So trust never starts at the network.
    """
    apt = PrivateApt(work / "apt", archive, keyring)
    for package in apt.download(name):
        run_apt(["dpkg", "-x", str(package), str(work / "root")])
    return machine_keyring(name, work / "root")


def open_archive(work: Path, archive: Archive, distribution: Distribution) -> PrivateApt:
    """Return an apt for the archive's suite that has MySQL; if this fails, try again with a newer keyring."""
    wanted = Archive(archive.uri, distribution.suite or archive.suite)
    keyring = machine_keyring(distribution.keyring)
    try:
        return PrivateApt(work / "first", wanted, keyring)
    except RuntimeError as first:
        try:
            newer = newer_keyring(work / "keyring", archive, distribution.keyring, keyring)
            return PrivateApt(work / "second", wanted, newer)
        except RuntimeError as second:
            raise RuntimeError(f"{first}\n(with a newer keyring) {second}") from second


def download_server(work: Path) -> list[Path]:
    """Download the packages of a MySQL server from the first of the machine's archives that has it."""
    system = platform.freedesktop_os_release()
    names = [system.get("ID", ""), *system.get("ID_LIKE", "").split()]
    distribution = next((DISTRIBUTIONS[name] for name in names if name in DISTRIBUTIONS), None)
    if distribution is None:
        raise RuntimeError(f"no packages are known for {names[0] or 'this system'}")
    failures = []
    for number, archive in enumerate(machine_archives()):
        try:
            apt = open_archive(work / str(number), archive, distribution)
            return apt.download(apt.mysql_package())
        except RuntimeError as failure:
            failures.append(str(failure))
    raise RuntimeError("\n".join(failures) or "apt has no package archive configured")


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpack the packages, without what a server does not need at run time (perl, documentation)."""
    for package in packages:
        if not package.name.startswith(("perl", "libperl")):
            run_apt(["dpkg", "-x", str(package), str(root)])
    for folder in ("usr/bin", "usr/share/doc", "usr/share/man", "usr/share/perl", "etc", "var"):
        shutil.rmtree(root / folder, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change the folder, and delete what a killed process left unfinished."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for remains in folder.glob("*.partial"):
            shutil.rmtree(remains, ignore_errors=True)
        yield


def fetch_mysqld() -> Command:
    """Return the server in the cache folder, fetched if it is not there. The system is not changed."""
    cache = cache_folder()
    with locked(cache):
        final, partial = cache / "server", cache / "server.partial"
        command = unpacked(final)
        if command is not None:
            return command
        # Not in the cache folder: apt downloads as a user of its own, who may not enter a home folder.
        with tempfile.TemporaryDirectory(prefix="meso-apt-") as temporary:
            Path(temporary).chmod(0o755)
            try:
                unpack(download_server(Path(temporary)), partial)
            except (RuntimeError, OSError) as error:
                raise RuntimeError(f"No MySQL server could be fetched: {error}\n{OTHERWISE}") from error
        if unpacked(partial) is None:
            raise RuntimeError(f"The fetched MySQL server does not run on this machine. {OTHERWISE}")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    command = unpacked(final)
    if command is None:
        raise RuntimeError(f"The fetched MySQL server has gone from {final}. {OTHERWISE}")
    return command


# ---------------------------------------------------------------- running a server


@dataclass(frozen=True)
class Server:
    """The address of a MySQL server, and an account that has all rights there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)


def parse_server(text: str) -> Server:
    """Return the server in ``user:password@host:port``; the port is optional, the password may have any character."""
    found = re.fullmatch(r"([^:@]+):(.*)@(\[[^\]]+\]|[^:@\[\]]+)(?::(\d{1,5}))?", text, re.DOTALL)
    if found is None or int(found[4] or 3306) > 65535:
        # The error does not repeat the text, because it contains a password.
        raise RuntimeError("MESO_TEST_MYSQL must be user:password@host:port")
    return Server(host=found[3].strip("[]"), port=int(found[4] or 3306), user=found[1], password=found[2])


def datadir_template(command: Command) -> Path:
    """Return an initialised data folder for exactly this server, to be copied; made once, because it takes seconds."""
    program = Path(command.argv[-1])
    key = repr((command.argv, command.version, program.stat().st_mtime_ns))
    name = "datadir-" + hashlib.sha256(key.encode()).hexdigest()[:16]
    cache = cache_folder()
    with locked(cache):
        final, partial = cache / name, cache / f"{name}.partial"
        if not final.is_dir():
            partial.mkdir(mode=0o700)
            options = [
                "--innodb-use-native-aio=OFF",
                "--loose-innodb-redo-log-capacity=8M",
                "--secure-file-priv=",
            ]
            line = command.line("--initialize-insecure", f"--datadir={partial}", *options)
            done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                raise RuntimeError(f"mysqld --initialize-insecure failed: {done.stderr[-3000:]}\n{OTHERWISE}")
            (partial / "auto.cnf").unlink(missing_ok=True)  # each copy gets an identity of its own
            partial.rename(final)
    return final


def free_port() -> int:
    """Return a loopback port on which no process listens at this moment."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def connect(server: Server, tls: ssl.SSLContext | None = None) -> None:
    """Log in and run a query; raises pymysql's error if that fails."""
    import pymysql  # here: the script's other commands do without it

    connection = pymysql.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        ssl=tls,
        connect_timeout=5,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def wait_until_answers(
    server: Server, process: subprocess.Popen[bytes] | None = None, tls: ssl.SSLContext | None = None
) -> None:
    """Return as soon as the server answers; RuntimeError if its process ends or after a time limit."""
    import pymysql

    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return connect(server, tls)
        except (OSError, pymysql.Error) as error:
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"mysqld ended with status {process.returncode}") from error
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer from MySQL at {server.host}:{server.port}: {error}") from error
        time.sleep(0.05)


def server_line(command: Command, folder: Path, server: Server) -> list[str]:
    """Return the command that serves the data in the folder, with the account of ``server``."""
    root_password = secrets.token_hex(16)
    statements = [f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{root_password}';"]
    for host in ("localhost", "127.0.0.1"):
        statements.append(f"CREATE USER IF NOT EXISTS '{server.user}'@'{host}' IDENTIFIED BY '{server.password}';")
        statements.append(f"GRANT ALL ON *.* TO '{server.user}'@'{host}' WITH GRANT OPTION;")
    # mysqld runs the file before it accepts connections, so root is never reachable without a password.
    (folder / "init.sql").touch(mode=0o600)
    (folder / "init.sql").write_text("\n".join(statements) + "\n")
    (folder / "tmp").mkdir(exist_ok=True)
    return command.line(
        *SERVER_OPTIONS,
        f"--datadir={folder / 'data'}",
        f"--tmpdir={folder / 'tmp'}",
        f"--socket={folder / 'sock'}",
        f"--pid-file={folder / 'pid'}",
        f"--init-file={folder / 'init.sql'}",
        f"--port={server.port}",
    )


def start(command: Command, top: Path) -> tuple[Server, subprocess.Popen[bytes]]:
    """Start a server below the folder and wait until it answers.

    Another process can take the port between its choice and the server's start, hence several tries.
    """
    for attempt in range(START_TRIES):
        try:
            return start_once(command, top, top / str(attempt))
        except RuntimeError as error:
            if "in use" not in str(error) or attempt == START_TRIES - 1:
                raise
    raise AssertionError("not reached")


def start_once(command: Command, top: Path, folder: Path) -> tuple[Server, subprocess.Popen[bytes]]:
    """Start a server in a new folder on a port that was free, and wait until it answers."""
    server = Server("127.0.0.1", free_port(), "meso", secrets.token_hex(16))
    folder.mkdir()
    shutil.copytree(datadir_template(command), folder / "data")
    watch = [sys.executable, str(Path(__file__).resolve()), "supervise", str(os.getpid()), str(top), "--"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*watch, *server_line(command, folder, server)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_answers(server, process, any_certificate())
    except BaseException as error:
        stop(process)
        if not isinstance(error, RuntimeError):
            raise
        log_end = (folder / "log").read_text(errors="replace")[-4000:]
        raise RuntimeError(f"{error}\nThe server's error log ends:\n{log_end}") from error
    return server, process


def any_certificate() -> ssl.SSLContext:
    """TLS with a self-signed certificate, on loopback.

    The first login of an account needs TLS or RSA; afterwards the server remembers a digest, and plain connections
    work without the cryptography package.
    """
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    return tls


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server that ``start`` started, and wait until it has ended."""
    if process.poll() is None:
        process.terminate()
        process.wait(STOP_TIMEOUT + 10)


def supervise(parent: int, folder: Path, line: Sequence[str]) -> int:
    """Run a server until it ends, SIGTERM arrives or the parent process is gone; this runs in a separate process.

    A killed test run cannot stop its server; this process, which only waits, sees the parent change. (Linux
    can send a signal on a parent's death, but does so as soon as the starting thread ends.)
    """
    wake = threading.Event()
    stopped = []

    def on_signal(number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            stopped.append(number)
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, on_signal)
    process = subprocess.Popen(line)
    while process.poll() is None and not stopped and os.getppid() == parent:
        wake.wait(0.5)
        wake.clear()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if os.getppid() != parent:
        shutil.rmtree(folder, ignore_errors=True)
    # A negative status (ended by a signal) would be read modulo 256.
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


@contextmanager
def running_mysql() -> Iterator[Server]:
    """Yield a MySQL server: that of MESO_TEST_MYSQL, else a private one that is stopped when the context ends."""
    given = os.environ.get("MESO_TEST_MYSQL")
    if given:
        server = parse_server(given)
        wait_until_answers(server)
        yield server
        return
    command = find_mysqld()
    if command is None:
        script = f"python tests/support/{Path(__file__).name}"
        raise RuntimeError(f"No MySQL server found. On Debian-like systems run `{script} fetch`. {OTHERWISE}")
    # The path of a unix socket has about 100 characters at most; some systems' temporary folders are long.
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="meso-", dir=base if len(base) < 60 else "/tmp"))
    try:
        server, process = start(command, folder)
        try:
            yield server
        finally:
            stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """The script: fetch, find, or (for this module's own use) supervise."""
    if arguments[:1] == ["supervise"]:
        return supervise(int(arguments[1]), Path(arguments[2]), arguments[4:])
    if list(arguments) not in (["fetch"], ["find"]):
        print("usage: mysql_server.py fetch|find", file=sys.stderr)
        return 2
    # By default SIGTERM ends Python at once; as SystemExit it lets the temporary folders be removed.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        command = fetch_mysqld() if arguments[0] == "fetch" else find_mysqld()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if command is None:
        print(f"No MySQL server found; try `fetch`. {OTHERWISE}", file=sys.stderr)
        return 1
    print(f"MySQL {'.'.join(map(str, command.version))}: {shlex.join(command.argv)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
