"""Python commands in new processes, without the seconds that each would spend on importing libraries.

A server process imports the libraries once and forks for each command; the tests run hundreds of them. Neither this
project nor DataJoint, which reads its settings at import, is imported before the fork. Not suitable for commands that
depend on how Python itself is started (its flags and variables, standard input).
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

#: The libraries that DataJoint and the commands import.
LIBRARIES = (
    "click", "fsspec", "matplotlib.pyplot", "networkx", "numba", "numcodecs", "numpy", "pandas", "psutil",
    "psycopg2.extras", "pyarrow.parquet", "pydantic_settings", "pymysql", "requests", "rich.progress", "rich.table",
    "scipy.optimize", "scipy.stats", "sklearn.linear_model", "sklearn.model_selection", "tqdm.auto",
)  # fmt: skip


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


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Do what ``subprocess.run([sys.executable, *arguments], capture_output=True, text=True, ...)`` does."""
    order = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, ours:
        with theirs:
            # a byte is never read together with the next one, because it carries file descriptors
            socket.send_fds(server(), [b"."], [theirs.fileno(), out.fileno(), err.fileno()])
        ours.settimeout(timeout)
        ours.sendall(json.dumps(order).encode() + b"\n")
        with ours.makefile("r") as answers:
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(order["arguments"], timeout) from None
        return subprocess.CompletedProcess(order["arguments"], code, whole(out), whole(err))


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
    while True:
        message, fds, _, _ = socket.recv_fds(orders, 1, 3)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG if message else 0)[0]:
                pass
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    orders.close()
    with socket.socket(fileno=fds[0]) as client, client.makefile("r") as lines:
        order = json.loads(lines.readline())
        pid = os.fork()
        if pid:  # wait for the child and send its exit status, unless the client is gone
            with suppress(BrokenPipeError):
                client.sendall(f"{pid}\n".encode())
                status = os.waitpid(pid, 0)[1]
                client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os._exit(0)
    for standard, fd in zip((1, 2), fds[1:], strict=True):
        os.dup2(fd, standard)
        os.close(fd)
    return order


def carry_out(arguments: list[str], env: dict[str, str], cwd: str) -> None:
    """Run as ``python ARGUMENTS`` would."""
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


if __name__ == "__main__":
    control = socket.socket(fileno=int(sys.argv[1]))
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    carry_out(**serve(control))
