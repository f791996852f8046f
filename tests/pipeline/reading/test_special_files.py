"""A FIFO, a socket or a device in place of a file is refused without opening it: that could wait for ever."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.old_caches import caches
from pipeline.reading.datasets import read_array, read_bytes
from pipeline.tracking import uids
from pipeline.tracking.mirror.files import Folder
from pipeline.tracking.mirror.sources import SourceError

KINDS = ("FIFO", "socket", "device", "link to a FIFO")


@pytest.fixture(params=KINDS)
def special(request) -> Iterator[Path]:
    """A file of this kind; the path is short, as that of a socket must be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "00000000-0000-4000-8000-000000000000.npy"
        match request.param:
            case "FIFO":
                os.mkfifo(path)
            case "socket":
                with socket.socket(socket.AF_UNIX) as server:
                    server.bind(str(path))
            case "device":
                path.symlink_to("/dev/zero")
            case _:
                os.mkfifo(path.with_name("fifo"))
                path.symlink_to(path.with_name("fifo"))
        yield path


@pytest.mark.parametrize("read", [read_array, read_bytes, caches.read_old_cache, caches.read_old_curves])
def test_it_is_refused(special, read):
    with pytest.raises(DataError, match=r"is not a file .expected a regular file, found a (FIFO|socket|device)"):
        read(special)


def test_a_mirror_refuses_it(special):
    source = Folder(special.parent)
    with pytest.raises(SourceError, match="is not a file"):
        source.read(special.name)


def test_a_tree_of_uids_refuses_it(special):
    folder = special.parent / "FOV_00"
    folder.mkdir()
    (folder / uids.UIDS).symlink_to(special)
    with pytest.raises(DataError, match="is not a file"):
        uids.read_mirrored(special.parent, 0)
