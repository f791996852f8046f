"""Data folders for embedded servers of a test's own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.server import embedded


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """An empty database that is not running; making one takes seconds, copying it a moment."""
    with tempfile.TemporaryDirectory() as folder:
        embedded.make_cluster(Path(folder) / "postgres")
        yield Path(folder) / "postgres"


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder that nobody else can enter: it and its parents must keep their modes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def used(private, use, template) -> Path:
    """The data folder in use, with an empty database."""
    subprocess.run(["cp", "-a", template, private / "postgres"], check=True)
    return use(private)


@pytest.fixture
def use(monkeypatch) -> Iterator[Callable[[Path], Path]]:
    """Return a function that makes a data folder the one in use; servers that were started there are stopped."""
    used = []

    def choose(folder: Path) -> Path:
        monkeypatch.setenv("MESO_DATA_DIR", str(folder))
        used.append(folder)
        return folder

    yield choose
    for folder in used:
        monkeypatch.setenv("MESO_DATA_DIR", str(folder))
        embedded.stop("immediate")
