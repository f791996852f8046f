"""Threads behind the asynchronous server: some query the database, one draws; nothing is computed in its event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import schemas
from schemas.server.reconnection import is_passing, reconnect

#: Threads that read, each with a database connection: one slow query does not hold up the others.
N_READERS = 4
#: Seconds between a picture and reading ahead: a request that comes directly after it goes first.
AHEAD_DELAY = 0.05

T = TypeVar("T")
#: A single thread draws: matplotlib is not thread-safe.
_readers, _drawing = ThreadPoolExecutor(N_READERS, "database"), ThreadPoolExecutor(1, "drawing")


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

    return await asyncio.get_running_loop().run_in_executor(_readers, with_retry)


async def draw(call: Callable[..., T], *arguments: Any) -> T:
    """Run a function that draws from data that have been read, and return its result."""
    return await asyncio.get_running_loop().run_in_executor(_drawing, call, *arguments)


class Shared:
    """Answers that several requests want at about the same time: each is computed once, and kept for a while.

    An error is answered to those who wait for it, and not kept.

    Parameters
    ----------
    seconds : float
        Time that an answer is kept.
    most : int
        Most answers that are kept; the oldest is dropped first.
    """

    def __init__(self, seconds: float, most: int = 1) -> None:
        self.seconds, self.most = seconds, most
        self._tasks: dict[Hashable, asyncio.Future[Any]] = {}
        self._until: dict[Hashable, float] = {}

    async def get(self, key: Hashable, call: Callable[[], T]) -> T:
        """Return the answer for a key: one that is known or being computed, else that of ``ask(call)``."""
        if key not in self._tasks or time.monotonic() > self._until[key]:
            self._begin(key, call)
        # shielded: if this request is cancelled, others may still wait
        found: T = await asyncio.shield(self._tasks[key])
        return found

    def _begin(self, key: Hashable, call: Callable[[], T]) -> None:
        self._drop(key)
        while len(self._tasks) >= self.most:
            self._drop(next(iter(self._tasks)))
        task = self._tasks[key] = asyncio.ensure_future(ask(call))
        self._until[key] = float("inf")

        def end(done: asyncio.Future[T]) -> None:
            if self._tasks.get(key) is not done:
                return
            if done.cancelled() or done.exception():
                self._drop(key)
            else:
                self._until[key] = time.monotonic() + self.seconds

        task.add_done_callback(end)

    def _drop(self, key: Hashable) -> None:
        self._tasks.pop(key, None)
        self._until.pop(key, None)


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
