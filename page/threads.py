"""Two threads behind the asynchronous server: one queries the database, one draws, so that requests do not block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import schemas
from schemas.server.reconnection import is_passing, reconnect

#: Seconds between a picture and reading ahead: a request that comes directly after it goes first.
AHEAD_DELAY = 0.05

T = TypeVar("T")
#: A single thread each: there is one database connection, and matplotlib is not thread-safe.
_database, _drawing = ThreadPoolExecutor(1, "database"), ThreadPoolExecutor(1, "drawing")


async def ask(call: Callable[..., T], *arguments: Any) -> T:
    """Run a function that reads the database, and return its result; if the connection was lost, try a second time."""

    def with_retry() -> T:
        try:
            return call(*arguments)
        except Exception as error:
            # a second try is safe: these calls only read
            if not is_passing(error):
                raise
            reconnect(schemas.connect())
            return call(*arguments)

    return await asyncio.get_running_loop().run_in_executor(_database, with_retry)


async def draw(call: Callable[..., T], *arguments: Any) -> T:
    """Run a function that draws from data that have been read, and return its result."""
    return await asyncio.get_running_loop().run_in_executor(_drawing, call, *arguments)


class Ahead:
    """Reads tiles that the viewer of a raster may need next, in the pauses between requests."""

    def __init__(self) -> None:
        self.task: asyncio.Task | None = None

    def begin(self, calls: Iterable[Callable[[], object]]) -> None:
        """Start to read, after a short delay; ends when the next picture is requested."""
        self.cancel()
        self.task = asyncio.create_task(self._read(calls))

    def cancel(self) -> None:
        """Stop after the call that is running."""
        if self.task:
            self.task.cancel()

    async def _read(self, calls: Iterable[Callable[[], object]]) -> None:
        await asyncio.sleep(AHEAD_DELAY)
        with suppress(Exception):  # an error comes again, and is reported, when the tiles are requested
            for call in calls:
                await ask(call)
