"""Faults between a worker and its database: a proxy that cuts and stalls connections, and servers that tests kill."""

from __future__ import annotations

import ctypes
import os
import random
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg2
import pymysql

from schemas.server import embedded
from support import mysql_server, quick_start
from support.lab import wait_for

#: MySQL's flag for "this server can do TLS" in the second byte of the capabilities.
CAN_TLS = 0x08
#: Linux (socket.h, bpf_common.h): attach a packet filter to a socket; the instruction that keeps N bytes of a packet.
SO_ATTACH_FILTER, BPF_RETURN = 26, 0x06


@dataclass
class Order:
    """What the proxy does when a statement passes.

    Attributes
    ----------
    statement : bytes
        A part of the statement.
    what : {'before', 'after', 'stall'}
        Cut the connection before the server gets the statement, or after the server has answered but before the client
        gets the answer; or stall all connections.
    """

    statement: bytes
    what: str


@dataclass
class Link:
    """A client's connection to the proxy, and the proxy's connection to the server."""

    client: socket.socket
    server: socket.socket
    cut_at_answer: bool = False

    def close(self) -> None:
        """Close both sides at once; the client sees a reset."""
        for end in (self.client, self.server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Proxy:
    """A TCP proxy on loopback.

    Statements are recognised by the bytes of a packet: clients send one and wait for the answer.

    Attributes
    ----------
    server : dict
        Environment variables with which clients connect to the server.
    orders : list of Order
        Each is carried out once, at the first statement that contains its text.
    n_cut : int
        Number of connections that were cut.
    """

    server: dict[str, str]
    orders: list[Order] = field(default_factory=list)
    n_cut: int = 0

    def __post_init__(self) -> None:
        self.closed = False
        self.links: list[Link] = []
        self.lock = threading.Lock()
        self.flowing = threading.Event()
        self.flowing.set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which clients connect to the server through the proxy."""
        account = {"DJ_BACKEND": "postgresql", "DJ_USER": "postgres", "DJ_PASS": "any: the socket asks for none"}
        return {**account, **self.server, "DJ_HOST": "127.0.0.1", "DJ_PORT": str(self.port)}

    def at(self, statement: bytes, what: str) -> None:
        """Add an order, for the next time that the statement passes."""
        with self.lock:
            self.orders.append(Order(statement, what))

    def cut_any(self) -> bool:
        """Cut a random connection; return False if there is none."""
        with self.lock:
            links = list(self.links)
        if links:
            self._cut(random.choice(links))
        return bool(links)

    def stall(self) -> None:
        """Accept everything and forward nothing, until ``flow``."""
        self.flowing.clear()

    @property
    def is_stalled(self) -> bool:
        return not self.flowing.is_set()

    def flow(self) -> None:
        """Forward again, beginning with what was sent in the meantime."""
        self.flowing.set()

    def vanish(self) -> None:
        """Behave like a machine without power: packets of clients are not acknowledged (Linux: a filter drops all)."""
        nothing = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
        program = struct.pack("HL", 1, ctypes.addressof(nothing))
        with self.lock:
            for link in self.links:
                link.client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def close(self) -> None:
        """Refuse new connections and cut all existing ones."""
        self.closed = True
        self.listener.close()
        self.flow()
        while self.cut_any():
            time.sleep(0.01)

    def _reach(self) -> socket.socket:
        """Connect to the server; PostgreSQL's file postmaster.pid names the folder of its socket."""
        if "DJ_HOST" in self.server:
            return socket.create_connection((self.server["DJ_HOST"], int(self.server["DJ_PORT"])))
        lines = (Path(self.server["MESO_DATA_DIR"]) / "postgres" / "postmaster.pid").read_text().splitlines()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{lines[4]}/.s.PGSQL.{lines[3]}")
        return connection

    def _cut(self, link: Link) -> None:
        with self.lock:
            if link not in self.links:
                return
            self.links.remove(link)
            self.n_cut += 1
        link.close()

    def _accept(self) -> None:
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:  # the listener was closed
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self.flowing.wait()
        try:
            link = Link(client, self._reach())
        except OSError:  # the server is not running
            client.close()
            return
        with self.lock:
            self.links.append(link)
        answers = threading.Thread(target=self._forward, args=(link, link.server, link.client), daemon=True)
        answers.start()
        self._forward(link, link.client, link.server)
        answers.join()
        with self.lock:
            if link in self.links:
                self.links.remove(link)
        client.close()
        link.server.close()

    def _forward(self, link: Link, source: socket.socket, target: socket.socket) -> None:
        """Hand on what comes from one side until either ends."""
        first, handle = True, self._handle_query if source is link.client else self._handle_answer
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.flowing.wait()
                if not handle(link, data):
                    self._cut(link)
                    return
                self.flowing.wait()
                target.sendall(_without_tls(data) if first else data)
                first = False
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _handle_query(self, link: Link, data: bytes) -> bool:
        """Do what is ordered; return whether to hand it on."""
        what = self._ordered(data)
        if what == "stall":
            self.stall()
        link.cut_at_answer = what == "after"
        return what != "before"

    def _handle_answer(self, link: Link, data: bytes) -> bool:
        return not link.cut_at_answer

    def _ordered(self, data: bytes) -> str:
        with self.lock:
            for order in self.orders:
                if re.search(re.escape(order.statement) + rb"(?![A-Z])", data):  # COMMIT, not READ COMMITTED
                    self.orders.remove(order)
                    return order.what
        return ""


def _without_tls(greeting: bytes) -> bytes:
    """Return a MySQL server's first packet without its offer of TLS, and any other packet unchanged.

    With TLS the proxy could not recognise statements.

    The packet: length and number (4 bytes), protocol 10, version and a zero, connection (4), salt (8), a zero,
    capabilities (2).
    """
    if greeting[4:5] != b"\x0a":
        return greeting
    place = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1 + 1
    return greeting[:place] + bytes([greeting[place] & ~CAN_TLS]) + greeting[place + 1 :]


@contextmanager
def proxied(server: dict[str, str]) -> Iterator[Proxy]:
    """Yield a proxy in front of a server."""
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()


class OwnServer:
    """A server for one test, which may kill it or fill its disk. It keeps what it has committed.

    Parameters
    ----------
    backend : {'postgresql', 'mysql'}
    folder : Path
        With a short path, readable by all users: if root runs the tests, PostgreSQL runs as another user.
    disk : int
        Size in MB of a separate file system (tmpfs) below the folder, which only root can mount; 0 for none.
    like : OwnServer, optional
        One that was stopped, whose data and account it begins with.
    """

    def __init__(self, backend: str, folder: Path, disk: int = 0, like: OwnServer | None = None) -> None:
        self.folder, self.disk = folder, disk
        self.small = folder / "small"
        self.small.mkdir()
        self.small.chmod(0o777)
        if disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk}m,mode=777", "tmpfs", self.small], check=True)
        if like:
            subprocess.run(["cp", "-a", f"{like.small}/.", self.small], check=True)
        self.process: subprocess.Popen | None = None
        password = like.account.password if like else secrets.token_hex(8)
        self.account = mysql_server.Server("127.0.0.1", mysql_server.free_port(), "meso", password)
        self.variables = {
            "DJ_BACKEND": backend, "DJ_HOST": "127.0.0.1", "DJ_PORT": str(self.account.port),
            "DJ_USER": "meso", "DJ_PASS": self.account.password, "MESO_DATA_DIR": str(folder),
        }  # fmt: skip
        self.line = self._mysql() if backend == "mysql" else self._postgresql()

    def _mysql(self) -> list[str]:
        command = mysql_server.find_mysqld()
        if command is None:
            raise RuntimeError(f"No MySQL server found. {mysql_server.OTHERWISE}")
        if not (self.small / "data").exists():
            shutil.copytree(mysql_server.datadir_template(command), self.small / "data")
        line = mysql_server.server_line(command, self.small, self.account)
        return [
            *line,
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=fsync",
            "--innodb-file-per-table=ON",
            "--innodb-doublewrite=ON",
            "--loose-innodb-redo-log-capacity=8M",
        ]

    def _postgresql(self) -> list[str]:
        if not (self.small / "postgres").exists():
            self._make_cluster()
        user = embedded.ACCOUNT
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *embedded.PASS_FOLDERS]
        program, options = embedded.program("postgres"), ["-h", "127.0.0.1", "-p", str(self.account.port), "-k", ""]
        return [*(as_user if os.geteuid() == 0 else []), program, "-D", str(self.small / "postgres"), *options]

    def _make_cluster(self) -> None:
        """Let the embedded server create the data folder and an account for TCP."""
        code = (
            "from schemas.server import embedded; import psycopg2; "
            "connection = psycopg2.connect(host=str(embedded.start()), user='postgres'); "
            "connection.cursor().execute('CREATE ROLE meso SUPERUSER LOGIN'); connection.commit(); "
            "connection.close(); embedded.stop(); "
            "rules = embedded.folder() / 'pg_hba.conf'; "
            "rules.write_text('host all meso 127.0.0.1/32 trust\\n' + rules.read_text())"
        )
        variables = {**os.environ, "MESO_DATA_DIR": str(self.small)}
        done = quick_start.run(["-c", code], env=variables, cwd=Path(__file__).parents[2], timeout=120)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server on the data in its folder, and wait until it answers."""
        script = str(Path(mysql_server.__file__).resolve())
        watch = [sys.executable, script, "supervise", str(os.getpid()), str(self.folder), "--"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*watch, *self.line], stdout=log, stderr=log, start_new_session=True)
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
        place = {"host": "127.0.0.1", "port": self.account.port, "user": "meso", "connect_timeout": 5}
        try:
            if self.variables["DJ_BACKEND"] == "mysql":
                mysql_server.connect(self.account, mysql_server.any_certificate())
            else:
                psycopg2.connect(dbname="postgres", **place).close()
        except (OSError, pymysql.Error, psycopg2.Error):
            return False
        return True

    def stop(self) -> None:
        """Stop it in good order."""
        mysql_server.stop(self.process)

    def kill(self) -> None:
        """Kill all its processes at once, as in a power failure."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)

    def fill_disk(self, left: int) -> None:
        """Fill its disk except for ``left`` bytes."""
        free = shutil.disk_usage(self.small).free
        with (self.small / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - left)

    def empty_disk(self) -> None:
        """Free the disk again."""
        (self.small / "filler").unlink()

    def close(self) -> None:
        """Kill it and unmount its disk."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.disk:
            subprocess.run(["umount", "-l", self.small], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)
