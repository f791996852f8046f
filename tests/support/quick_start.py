"""Python commands in new processes, without the seconds that each would spend on importing libraries.

A server process imports the libraries and ``pipeline`` once and forks for each command; the tests run hundreds of them.
Neither DataJoint, which reads its settings at import, nor what imports it is imported before the fork. Commands of
``meso`` that have the same variables are forked from a second server, which has these and has imported DataJoint, too.
Not suitable for commands that depend on how Python itself is started (its flags and variables), or on what ``pipeline``
imports.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import util
from pathlib import Path
from typing import IO, Any

#: The libraries that DataJoint and the commands import, except those that read settings (ONE) or start threads
#: (rastermap) when they are imported.
LIBRARIES = (
    "click", "fsspec", "jinja2", "matplotlib.pyplot", "networkx", "numba", "numcodecs", "numpy", "pandas",
    "platformdirs", "psutil", "psycopg2.extras", "psycopg2.sql", "pyarrow.parquet", "pydantic_settings", "pymysql",
    "requests", "rich.progress", "rich.table", "scipy.optimize", "scipy.stats", "sklearn.linear_model",
    "sklearn.model_selection", "starlette.applications", "tenacity", "tqdm.auto", "uvicorn", "xxhash",
)  # fmt: skip
#: Those that the commands import of ``pipeline``, which reads no settings; a quarter of the time of a short command.
PIPELINE = (
    "atlas", "behavior", "decoding.own_labels", "embedding_days", "outlines", "reading", "responses", "signals.dff",
    "signals.resampling", "signals.scaling", "signals.tiles", "storage.places", "text", "tracking.places",
)  # fmt: skip
#: What a server of ``meso`` imports, which commands would do in most of their time.
TABLES = (
    "schemas", "populate_scripts.cli", "populate_scripts.commands", "populate_scripts.demo", "drawing.days",
    "drawing.tables", "one.api", "pipeline.decoding.kernels", "schemas.exchange.export", "schemas.exchange.verify",
    "schemas.upkeep.update",
)  # fmt: skip
#: So many servers of ``meso`` run at a time.
MAX_SERVERS = 3


@functools.cache
def server() -> socket.socket:
    """Start the server, which ends with this process; return the socket to which orders are sent."""
    ours, theirs = socket.socketpair()
    with theirs:
        line = [sys.executable, __file__, str(theirs.fileno())]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=env, start_new_session=True
        )

    def stop() -> None:
        ours.close()
        process.wait(10)

    atexit.register(stop)
    return ours


#: Variables and folders of commands of ``meso`` so far, and the servers of some of them.
_asked: set[tuple] = set()
_servers: dict[tuple, Server] = {}
_lock = threading.Lock()


def server_of(arguments: Sequence[str], env: Mapping[str, str], cwd: Path) -> socket.socket:
    """Return the server that is to fork for a command: that of ``meso`` with these variables, from the second on."""
    is_meso = [*arguments[:2]] == ["-m", "populate_scripts.cli"] and "worker" not in arguments
    # files of settings may change from command to command; coverage would begin in the server
    if not is_meso or env.get("DJ_IGNORE_CONFIG_FILE") != "true" or "COVERAGE_PROCESS_START" in env:
        return server()
    key = (*sorted(item for item in env.items() if item[0] != "PYTEST_CURRENT_TEST"), str(cwd))
    with _lock:
        if key not in _asked:
            _asked.add(key)
            return server()
        if key not in _servers:
            if len(_servers) == MAX_SERVERS:
                _servers.pop(next(iter(_servers))).close()
            _servers[key] = Server(env, cwd)
        return _servers[key].orders


class Server:
    """A server that has imported the tables, with these variables."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        self.orders, theirs = socket.socketpair()
        with theirs:
            self.process = Process(["--serve"], env=env, cwd=cwd, stdout=theirs, stderr=sys.__stderr__)
        atexit.register(self.close)

    def close(self) -> None:
        """Let it end; no command that it has forked is waited for any more."""
        atexit.unregister(self.close)
        self.orders.close()
        self.process.wait(10)


class Process:
    """A command that runs in a process session of its own, with the methods of ``subprocess.Popen`` that tests need.

    Parameters
    ----------
    arguments : sequence of str
        As of ``python``.
    env : mapping
    cwd : Path
    stdout, stderr : file, optional
        Open for writing; by default both are one file, which ``communicate`` returns.
    given : str
        What it reads from its standard input.
    orders : socket, optional
        Of another server than the first.

    Attributes
    ----------
    pid : int
    returncode : int or None
        None while it runs, as far as ``poll`` and ``wait`` know.
    """

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path,
        stdout: IO[str] | None = None, stderr: IO[str] | None = None, given: str = "",
        orders: socket.socket | None = None,
    ) -> None:  # fmt: skip
        order = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd), "given": given}
        self.arguments, self.returncode = order["arguments"], None
        self._said = None if stdout else tempfile.TemporaryFile("w+")  # noqa: SIM115 closed by communicate
        out, err = stdout or self._said, stderr or self._said
        self._received = b""
        self._answers, theirs = socket.socketpair()
        with theirs:
            # a byte is never read together with the next one, because it carries file descriptors
            socket.send_fds(orders or server(), [b"."], [theirs.fileno(), out.fileno(), err.fileno()])
        self._answers.sendall(json.dumps(order).encode() + b"\n")
        self.pid = int(self._line())

    def _line(self) -> str:
        """Return the next answer: the process's number, and its exit status once it has ended."""
        while b"\n" not in self._received:
            self._received += self._answers.recv(64) or b"\n"
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process, and return its exit status as ``Popen.wait`` does."""
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = int(self._line())
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.arguments, timeout or 0) from None
            self._answers.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Wait for the end of the process, and return what it has printed; nothing if it was returned before."""
        self.wait(timeout)
        if self._said.closed:
            return "", None
        with self._said:
            return whole(self._said), None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Do what ``subprocess.run([sys.executable, *arguments], input=given, capture_output=True, ...)`` does."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        orders = server_of(arguments, env, cwd)
        process = Process(arguments, env=env, cwd=cwd, stdout=out, stderr=err, given=given, orders=orders)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(list(arguments), code, whole(out), whole(err))


def import_path(env: Mapping[str, str], cwd: str) -> list[str]:
    """Return ``sys.path`` as in a process that is started with these variables in this folder."""
    # Python's own folders begin with its zip archive of the standard library
    first = next(i for i, path in enumerate(sys.path) if path.endswith(".zip"))
    further = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    return [cwd, *further, *(path for path in sys.path[first:] if path not in further)]


def whole(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def serve(orders: socket.socket) -> dict[str, Any]:
    """Fork for each order; return the order in the child process, which is to carry it out."""
    clients: dict[int, socket.socket] = {}
    woken, wakes = socket.socketpair()
    for end in (woken, wakes):
        end.setblocking(False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing is written to wakes
    signal.set_wakeup_fd(wakes.fileno())
    with woken, wakes, selectors.DefaultSelector() as selector:
        for source in (orders, woken):
            selector.register(source, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                woken.recv(4096)
                answer(clients)
            if orders not in ready:
                continue
            message, fds, _, _ = socket.recv_fds(orders, 1, 3)
            if not message:
                os._exit(0)
            client = socket.socket(fileno=fds[0])
            pid = os.fork()
            if pid == 0:
                break
            clients[pid] = client
            for fd in fds[1:]:
                os.close(fd)
            with suppress(BrokenPipeError):
                client.sendall(f"{pid}\n".encode())
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)
    for other in (orders, *clients.values()):
        other.close()
    with client, client.makefile("r") as lines:
        order = json.loads(lines.readline())
    os.setsid()
    for standard, fd in zip((1, 2), fds[1:], strict=True):
        os.dup2(fd, standard)
        os.close(fd)
    return order


def answer(clients: dict[int, socket.socket]) -> None:
    """Send the exit statuses of the children that have ended, unless their client is gone."""
    while clients:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with clients.pop(pid) as client, suppress(BrokenPipeError):
            client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def serve_with_tables(env: dict[str, str], cwd: str, **_: Any) -> dict[str, Any]:
    """Be a server of ``meso`` with these variables: ``serve`` the orders from the socket that is standard output."""
    orders = socket.socket(fileno=os.dup(1))
    os.dup2(2, 1)
    path = sys.path
    sys.path = import_path(env, cwd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for name in TABLES:
        importlib.import_module(name)
    sys.path = path
    gc.collect()
    gc.freeze()
    return serve(orders)


def prepare_fork_server() -> None:
    """Fork the process that is to be the fork server of a worker, for which multiprocessing would start Python again.

    As that one it is a child of the worker's process, and nothing of this project has been imported in it.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        ours.close()
        run_to_end(lambda: become_fork_server(theirs))
    theirs.close()
    start = util.spawnv_passfds

    def spawn(path: bytes, arguments: Sequence[str], fds: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1]:
            return start(path, arguments, fds)
        util.spawnv_passfds = start
        order = {"arguments": arguments[-2:], "env": dict(os.environ), "cwd": str(Path.cwd()), "fds": list(fds)}
        with ours:
            socket.send_fds(ours, [b"."], fds)
            ours.sendall(json.dumps(order).encode() + b"\n")
        return pid

    util.spawnv_passfds = spawn


def become_fork_server(orders: socket.socket) -> None:
    """Wait for the order of ``prepare_fork_server``; run as the process that multiprocessing starts, with its files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker's: this process is not there yet
    message, received, _, _ = socket.recv_fds(orders, 1, 8)
    if not message:
        os._exit(0)
    with orders, orders.makefile("r") as lines:
        order = json.loads(lines.readline())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD, 1000) for fd in received]
    for fd in received:
        os.close(fd)
    for fd, number in zip(aside, order.pop("fds"), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    carry_out(**order)


def carry_out(arguments: list[str], env: dict[str, str], cwd: str, given: str = "") -> None:
    """Run as ``python ARGUMENTS`` would."""
    if arguments[2:3] == ["worker"]:
        prepare_fork_server()
    with tempfile.TemporaryFile() as file:
        file.write(given.encode())
        file.seek(0)
        os.dup2(file.fileno(), 0)
    path = import_path(env, cwd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    kind, *rest = arguments
    if kind == "-m":
        sys.argv, sys.path = rest, path
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path, sys.modules["__main__"] = ["-c", *rest[1:]], ["", *path[1:]], types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.argv, sys.path = arguments, [str(Path(kind).parent), *path[1:]]
        runpy.run_path(kind, run_name="__main__")


def run_to_end(command: Callable[[], object]) -> None:
    """Run a command and end the process as Python does, except that nothing is freed.

    Python's own end visits every object, and with it copies all memory that is shared with the server.
    """
    status: object = 0
    try:
        command()
    except SystemExit as error:
        status = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    if not isinstance(status, int | None):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit((status or 0) & 0xFF)


if __name__ == "__main__":
    control = socket.socket(fileno=int(sys.argv[1]))
    sys.path.insert(0, str(Path(__file__).parents[2]))
    for name in (*LIBRARIES, *(f"pipeline.{part}" for part in PIPELINE)):
        importlib.import_module(name)
    sys.modules["pipeline.atlas"].known_region_ids()  # reads the table of regions, which is part of iblatlas
    cpu_target = importlib.import_module("numba.core.registry").cpu_target
    for context in (cpu_target.typing_context, cpu_target.target_context):
        context.refresh()  # what numba does before it compiles or loads a first function
    gc.collect()
    gc.freeze()
    order = serve(control)
    if order["arguments"] == ["--serve"]:
        order = serve_with_tables(**order)
    run_to_end(lambda: carry_out(**order))
