"""Compiled code is cached in a folder of the account's own where code and home cannot be written."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from numba import config

from pipeline.decoding import cache


def test_a_cache_in_the_temporary_folder_where_nothing_else_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(config, "CACHE_DIR", "")
    cache.choose_folder()
    assert config.CACHE_DIR == ""  # the code's own folder can be written here
    monkeypatch.setattr(cache, "_can_be_written", lambda folder: False)
    cache.choose_folder()
    folder = Path(config.CACHE_DIR)
    assert folder == tmp_path / f"meso-numba-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    config.CACHE_DIR = ""
    cache.choose_folder()
    assert Path(config.CACHE_DIR) == folder  # the same for the next process


def test_a_folder_that_somebody_else_may_write_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / f"meso-numba-{os.getuid()}"
    theirs.mkdir(mode=0o700)
    theirs.chmod(0o777)
    found = cache._own_folder()
    assert found != theirs and found.is_dir()
    theirs.rmdir()
    theirs.symlink_to(found)
    assert cache._own_folder() not in (theirs, found)


def test_folders_that_are_missing_may_be_made(tmp_path):
    assert cache._can_be_written(tmp_path / "a" / "b")
    assert not cache._can_be_written(Path("/proc/none")) or os.geteuid() == 0
