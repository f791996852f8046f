"""Which datajoint.json decides about the server: not one of another user, and not one that names none."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import quick_start

from pipeline.errors import ConfigError
from schemas.server import config_file
from schemas.server.connection import SERVER_VARIABLES

SERVER = {"database.host": "db.example.org", "database.user": "me", "database.password": "c4nary"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder below the one with the file; not in pytest's, which other accounts cannot enter."""
    with tempfile.TemporaryDirectory() as top:
        below = Path(top) / "project" / "notebooks"
        below.mkdir(parents=True)
        yield below


def python(code: str, folder: Path, **more: str):
    """Run Python code in a folder, as a user without any setting."""
    hidden = (*SERVER_VARIABLES, config_file.IGNORE)
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"PYTHONPATH": str(Path(__file__).parents[3]), **more}
    return quick_start.run(["-c", code], cwd=folder, env=env, timeout=120)


NAMED = "from schemas.server.connection import who_names_the_server as who; print(who())"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (SERVER, True),
        ({"database": {"host": "db.example.org"}}, True),
        ({"database": {"user": "me", "password": "c4nary"}}, True),
        ({"database": {"host": "", "reconnect": True}}, False),
        ({"loglevel": "WARNING", "stores": {"lab": {"protocol": "file", "location": "/x"}}}, False),
        ({"database.use_tls": True, "database": {"port": 3306}}, False),
        ({}, False),
        ([], False),
    ],
)
def test_a_file_that_names_no_server_leaves_the_embedded_one(folder, content, names):
    path = folder.parent / "datajoint.json"
    path.write_text(json.dumps(content))
    assert config_file.names_server(path) is names


@pytest.mark.slow
def test_a_file_that_decides_is_named(folder):
    path = folder.parent / "datajoint.json"
    path.write_text(json.dumps({"loglevel": "WARNING"}))
    assert python(NAMED, folder).stdout == "None\n"
    path.write_text(json.dumps(SERVER | {"database.host": "127.0.0.1", "database.port": 1}))
    assert python(NAMED, folder).stdout == f"{path.resolve()}\n"
    assert python(NAMED, folder, DJ_HOST="x", DJ_USER="y").stdout == "DJ_HOST, DJ_USER\n"
    for command, says in (("db stop", "names a database server"), ("status", "It is named by ")):
        code = f"import sys; sys.argv[1:] = {command.split()!r}; from populate_scripts.cli import main; main()"
        done = python(code, folder)
        assert done.returncode == 1
        assert says in done.stderr
        assert str(path.resolve()) in done.stderr
        assert "c4nary" not in done.stderr


def test_a_file_that_cannot_be_read_is_named(folder):
    path = folder.parent / "datajoint.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"datajoint.json, which may name the database server, cannot be read"):
        config_file.names_server(path)


SETTINGS = """
import schemas, datajoint as dj
from schemas.server.connection import who_names_the_server as who
print(who(), dj.config.database.host, dj.config.database.user)
"""
LATE = "import datajoint as dj; import schemas; schemas.connect()"


@pytest.mark.parametrize("whose", ["everybody's", "another user's"])
def test_a_file_of_somebody_else_is_not_obeyed(folder, whose):
    path = folder.parent / "datajoint.json"
    path.write_text(json.dumps(SERVER))
    assert python(SETTINGS, folder).stdout == f"{path.resolve()} db.example.org me\n"
    if whose == "everybody's":
        path.chmod(0o666)
        reason = "can be written by everybody"
    elif os.geteuid() == 0:
        shutil.chown(path, "daemon")
        reason = "belongs to another user"
    else:
        pytest.skip("only root can give a file away")
    done = python(SETTINGS, folder)
    assert done.stdout == "None localhost None\n"
    assert f"{path.resolve()} {reason}: it is not obeyed" in done.stderr
    late = python(LATE, folder, MESO_DATA_DIR=str(folder / "data"))
    assert f"{path.resolve()} {reason}, and DataJoint has read it: import schemas or meso before" in late.stderr
    assert not (folder / "data").exists()


@pytest.mark.parametrize("module", ["meso", "drawing.cells", "page.queries"])
def test_it_is_not_obeyed_either_if_another_module_is_imported_first(folder, module):
    path = folder.parent / "datajoint.json"
    path.write_text(json.dumps(SERVER))
    path.chmod(0o666)
    done = python(f"import {module}, datajoint as dj; print(dj.config.database.host)", folder)
    assert done.stdout == "localhost\n" and "can be written by everybody: it is not obeyed" in done.stderr
