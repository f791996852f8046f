"""Files that libraries write go to a folder of the account's own where code and home cannot be written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from numba import config

from pipeline import folders
from pipeline import numba_cache as cache


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_numba_caches_in_the_temporary_folder_where_nothing_else_can_be_written(temporary, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", "")
    cache.choose_folder()
    assert config.CACHE_DIR == ""  # the code's own folder can be written here
    monkeypatch.setattr(cache, "can_be_written", lambda folder: False)
    cache.choose_folder()
    folder = Path(config.CACHE_DIR)
    assert folder == temporary / f"meso-numba-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folders.own_temporary_folder("numba") == folder  # the same for the next process


COMPILES = """
from numba import njit
from pipeline import numba_cache
numba_cache.say_what_compiles()
numba_cache.say_what_compiles()
def made(module):
    def add(x): return x + 1
    add.__module__ = module
    return njit(add)
print(*(made(name)(1) for name in ("elsewhere", "pipeline.decoding.kernels", "pipeline.decoding.kernels", "rastermap")))
"""


@pytest.mark.slow
def test_what_takes_seconds_to_compile_is_said_once():
    done = subprocess.run([sys.executable, "-c", COMPILES], capture_output=True, text=True)
    assert done.stdout == "2 2 2 2\n", done.stderr
    decoder, rastermap = done.stderr.splitlines()
    assert decoder.startswith("Compiling the decoder") and rastermap.startswith("Compiling Rastermap")


def test_a_folder_that_somebody_else_may_write_is_not_used(temporary):
    theirs = temporary / f"meso-numba-{os.getuid()}"
    theirs.mkdir(mode=0o700)
    theirs.chmod(0o777)
    found = folders.own_temporary_folder("numba")
    assert found != theirs and found.is_dir()
    theirs.rmdir()
    theirs.symlink_to(found)
    assert folders.own_temporary_folder("numba") not in (theirs, found)


def test_folders_that_are_missing_may_be_made(tmp_path):
    assert folders.can_be_written(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    assert not folders.can_be_written(tmp_path / "file" / "b")


def test_a_home_that_cannot_be_written_is_replaced_for_a_while(temporary, monkeypatch):
    (temporary / "file").touch()
    for home, is_replaced in ((temporary, False), (temporary / "file" / "home", True)):
        monkeypatch.setenv("HOME", str(home))
        with folders.writable_home(".one"):
            assert (Path.home() == temporary / f"meso-home-{os.getuid()}") is is_replaced
        assert os.environ["HOME"] == str(home)
    (temporary / ".one").mkdir()
    monkeypatch.setattr(folders, "can_be_written", lambda folder: False)
    monkeypatch.setenv("HOME", str(temporary))
    with folders.writable_home(".one"):  # its settings count, although they cannot be changed
        assert Path.home() == temporary
