"""The helper for MySQL servers: which server it picks, that it starts as required, and that none is left running."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from support import mysql_server

ONE_LINE = """\
# deb http://disabled.example/debian stable main
deb [arch=amd64 signed-by=/some/keyring.gpg] http://mirror.example/debian stable main contrib
deb http://mirror.example/debian stable-updates main
deb http://tools.example/apt ./
"""
DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: stable stable-updates
Components: main
Signed-By: /some/keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: stable-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: stable
Components: main
"""


@pytest.fixture(scope="module")
def command() -> mysql_server.Command:
    """Return the server program; without one the tests fail in CI and are skipped elsewhere."""
    found = mysql_server.find_mysqld()
    if found is None:
        reason = f"NO MYSQL SERVER, nothing about MySQL is tested here. {mysql_server.OTHERWISE}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def private(command: mysql_server.Command) -> Iterator[mysql_server.Server]:
    """Yield a private server, even if the other tests use the server of MESO_TEST_MYSQL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MESO_TEST_MYSQL", raising=False)
        with mysql_server.running_mysql() as server:
            yield server


def row(server: mysql_server.Server, query: str) -> tuple[Any, ...]:
    """Return the first row of a query's result."""
    connection = pymysql.connect(host=server.host, port=server.port, user=server.user, password=server.password)
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        return tuple(cursor.fetchone() or ())


def listens(port: int) -> bool:
    """Return whether a process accepts connections on the loopback port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow  # starts a server
def test_server_is_set_up_as_the_pipeline_needs_it(private: mysql_server.Server) -> None:
    version, *settings = row(private, "SELECT VERSION(), @@collation_server, @@max_allowed_packet, @@log_bin")
    assert "mariadb" not in version.lower()
    assert settings == ["utf8mb4_bin", 1 << 30, 0]


@pytest.mark.slow  # starts a server
def test_account_has_all_rights(private: mysql_server.Server) -> None:
    row(private, "CREATE DATABASE meso_probe")
    row(private, "DROP DATABASE meso_probe")
    row(private, "CREATE USER meso_probe IDENTIFIED BY 'x'")
    row(private, "DROP USER meso_probe")


@pytest.mark.slow  # starts a server
def test_root_needs_a_password(private: mysql_server.Server) -> None:
    # root exists for the unix socket only; an account with its password can connect in the same way.
    (path,) = row(private, "SELECT @@socket")
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        pymysql.connect(unix_socket=path, user="root", password="")
    account = {"user": private.user, "password": private.password}
    pymysql.connect(unix_socket=path, **account).close()


@pytest.mark.slow  # starts a server
def test_password_is_not_shown(private: mysql_server.Server) -> None:
    assert private.password
    assert private.password not in repr(private)


@pytest.mark.slow  # starts a server
def test_no_process_or_file_is_left_after_exit(command: mysql_server.Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESO_TEST_MYSQL", raising=False)
    with mysql_server.running_mysql() as server:
        assert listens(server.port)
        (path,) = row(server, "SELECT @@datadir")
        folder = Path(path).parent.parent
        assert folder.name.startswith("meso-")
        assert folder.is_dir()
    assert not listens(server.port)
    assert not folder.exists()


@pytest.mark.slow  # starts a server
def test_server_ends_with_a_killed_process(command: mysql_server.Command) -> None:
    script = (
        "import time\n"
        "from support import mysql_server\n"
        "with mysql_server.running_mysql() as server:\n"
        "    print(server.port, flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MESO_TEST_MYSQL"}
    environment["PYTHONPATH"] = str(Path(mysql_server.__file__).parents[1])
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert listens(port)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while listens(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not listens(port)


@pytest.mark.slow  # starts a server
def test_another_port_is_tried_if_one_was_taken(
    command: mysql_server.Command, private: mysql_server.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESO_TEST_MYSQL", raising=False)
    ports = [mysql_server.free_port(), private.port]
    monkeypatch.setattr(mysql_server, "free_port", ports.pop)
    with mysql_server.running_mysql() as server:
        assert row(server, "SELECT @@port") == (server.port,)
        assert server.port != private.port


@pytest.mark.slow  # starts a server
def test_failed_start_shows_the_error_log(command: mysql_server.Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESO_TEST_MYSQL", raising=False)
    monkeypatch.setattr(mysql_server, "SERVER_OPTIONS", (*mysql_server.SERVER_OPTIONS, "--no-such-option"))
    with pytest.raises(RuntimeError, match="unknown option '--no-such-option'"), mysql_server.running_mysql():
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root:secret@db:3307", ("db", 3307, "root", "secret")),
        ("root:secret@127.0.0.1", ("127.0.0.1", 3306, "root", "secret")),
        ("me:a:b@c/d@127.0.0.1:3306", ("127.0.0.1", 3306, "me", "a:b@c/d")),
        ("me:@[::1]:3306", ("::1", 3306, "me", "")),
    ],
)
def test_given_server_is_parsed(text: str, expected: tuple[str, int, str, str]) -> None:
    assert mysql_server.parse_server(text) == mysql_server.Server(*expected)


@pytest.mark.parametrize("text", ["secret", "root@db:3306", ":secret@db", "root:secret@db:99999", "root:secret@"])
def test_malformed_server_is_refused_without_showing_the_password(text: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        mysql_server.parse_server(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", (9, 7, 4)),
        ("/usr/sbin/mysqld  Ver 8.0.42 for Linux on x86_64 (MySQL Community Server - GPL)", (8, 0, 42)),
        ("mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", None),
        ("no server", None),
    ],
)
def test_version_is_parsed_and_mariadb_is_not_mysql(text: str, expected: tuple[int, int, int] | None) -> None:
    assert mysql_server.mysql_version(text) == expected


def test_unusable_program_in_meso_mysqld_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MESO_MYSQLD", str(tmp_path / "mysqld"))
    with pytest.raises(RuntimeError, match="MESO_MYSQLD"):
        mysql_server.find_mysqld()


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt")
@pytest.mark.parametrize(("name", "text"), [("test.list", ONE_LINE), ("test.sources", DEB822)])
def test_main_archive_is_found_in_both_kinds_of_sources(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    options = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={tmp_path}"]
    found = mysql_server.machine_archives(*options)
    assert found == [mysql_server.Archive("http://mirror.example/debian", "stable")]


def test_mirror_lists_are_archives_and_discs_are_not() -> None:
    printed = (
        "'cdrom:[Disc]/dists/stable/InRelease' Disc_InRelease 0 \n"
        "'mirror+file:/etc/apt/mirrors/main.list/dists/stable/InRelease' main_InRelease 0 \n"
        "'mirror+file:/etc/apt/mirrors/main.list/dists/stable/main/binary-all/Packages.xz' Packages 0 \n"
    )
    expected = mysql_server.Archive("mirror+file:/etc/apt/mirrors/main.list", "stable")
    assert mysql_server.archives_in(printed) == [expected]
