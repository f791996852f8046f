"""UID files in a folder or mounted share, read with fsspec; `sftp` and `s3` build on the same base class."""

from __future__ import annotations

import os
from abc import abstractmethod
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipeline.tracking.mirror.sources import CHUNK, MAX_FILE, Source, SourceError, Stamp, gathered


class Tree(Source):
    """The files below `root` of an fsspec file system, which is connected at the first access."""

    def __init__(self, address: str, root: str) -> None:
        self.address = address
        self._root = f"{root.rstrip('/')}/"
        self._connected: AbstractFileSystem | None = None

    @abstractmethod
    def _connect(self) -> AbstractFileSystem: ...

    @property
    def _files(self) -> AbstractFileSystem:
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def _list(self, folder: str) -> list[str]:
        found = self._files.ls(self._root + folder, detail=False)
        return [name.rstrip("/").rpartition("/")[2] for name in found]

    def _stamp(self, path: str) -> Stamp:
        info = self._files.info(self._root + path)
        if info.get("type", "file") not in ("file", "link"):  # opening a FIFO would wait for ever
            raise SourceError("is not a file")
        # a float for local files, a datetime from SFTP ("mtime") and S3 ("LastModified")
        when = info["mtime"] if "mtime" in info else info["LastModified"]
        if isinstance(when, float):
            when = datetime.fromtimestamp(when, UTC)
        return Stamp(info["size"], info.get("ETag"), when.isoformat())

    def _read(self, path: str) -> tuple[bytes, Stamp]:
        # compared with a second look after reading: a tracking run may be writing the file
        before = self._stamp(path)
        with self._files.open(self._root + path, "rb") as stream:
            content = gathered(iter(partial(stream.read, CHUNK), b""), MAX_FILE)
        if self._stamp(path) != before or len(content) != before.size:
            raise SourceError("changed while it was being read; mirror again when the tracking run has finished")
        return content, before

    def _explain(self, error: Exception) -> SourceError:
        match error:
            case FileNotFoundError() | NotADirectoryError():
                return SourceError("does not exist", "missing")
            case PermissionError():
                return SourceError("cannot be read (permission denied)", "forbidden")
            case OSError(errno=int(number)):
                return SourceError(f"cannot be read ({os.strerror(number)})")
        return SourceError(f"cannot be read ({type(error).__name__})")


class Folder(Tree):
    """A tree on disk or a mounted share."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}{os.sep}", path.as_posix())

    def _connect(self) -> AbstractFileSystem:
        return LocalFileSystem()
