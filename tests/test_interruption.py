"""Killed and interrupted runs lose nothing, and running again completes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import schemas
from schemas.filling import fill

ROOT = Path(__file__).parents[1]


def start(eid: str) -> subprocess.Popen:
    """Start to fill a session in another process, and wait until it makes something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "populate_scripts.cli", "populate", "--eid", eid],
        cwd=ROOT,
        env={**os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (schemas.Embedding.jobs.reserved & {"eid": eid}):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.fixture
def unembedded(demo_sessions, server, monkeypatch) -> str:
    """A session without embedding; the environment leads other processes to the server."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    eid = demo_sessions[0]
    (schemas.Embedding & {"eid": eid}).delete()
    return eid


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_is_completed_by_the_next(unembedded, how):
    key = {"eid": unembedded}
    process = start(unembedded)
    process.send_signal(how)
    assert process.wait(60) != 0
    assert len(schemas.Embedding & key) == len(schemas.Embedding.Rank & key) == 0
    assert len(schemas.Embedding.jobs.errors & key) == 0
    filled = fill([schemas.Embedding], key)
    assert filled.errors == []
    assert len(schemas.Embedding & key) == 1
    assert len(schemas.Embedding.Rank & key) == (schemas.Embedding & key).fetch1("n_embedded")
