"""Killed and interrupted runs lose nothing, and running again completes them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from support import quick_start

import schemas
from schemas.work.filling import fill

ROOT = Path(__file__).parents[3]


def start() -> quick_start.Process:
    """Start to embed in another process, and wait until it makes something."""
    process = quick_start.Process(["-m", "populate_scripts.cli", "populate", "Embedding"], cwd=ROOT, env=os.environ)
    deadline = time.monotonic() + 120
    while not schemas.Embedding.jobs.reserved:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.fixture
def unembedded(demo_sessions, server, monkeypatch) -> list[str]:
    """Sessions without embedding; the environment leads other processes to the server."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    eids = demo_sessions[:2]  # one that is begun, and one that is left
    (schemas.Embedding & [{"eid": eid} for eid in eids]).delete()
    return eids


#: What SIGTERM raises unwinds the stack as what SIGINT raises does, on either backend.
HOW = [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.one_backend)]


@pytest.mark.parametrize("how", HOW)
def test_an_interrupted_run_stops_at_once_and_is_completed_by_the_next(unembedded, how):
    keys = [{"eid": eid} for eid in unembedded]
    process = start()
    process.send_signal(how)
    process.communicate(60)
    assert process.returncode != 0
    assert len(schemas.Embedding & keys) == len(schemas.Embedding.Rank & keys) == 0
    assert len(schemas.Embedding.jobs.errors & keys) == 0
    filled = fill([schemas.Embedding], keys)
    assert filled.errors == []
    made = (schemas.Embedding & keys).keys()
    assert len(made) == len(keys) * len(schemas.EmbeddingParams())
    for key in made:
        assert len(schemas.Embedding.Rank & key) == (schemas.Embedding & key).fetch1("n_embedded")
