"""The threads behind the pages: one talks to the database, one draws, and none has the browser wait for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import schemas
from schemas.server.reconnection import is_passing, reconnect

#: Seconds after a picture until what may come next is read.
MOMENT = 0.05

T = TypeVar("T")
#: One each: the database has one connection, and matplotlib's settings are the process's.
_database, _drawing = ThreadPoolExecutor(1, "database"), ThreadPoolExecutor(1, "drawing")


async def ask(call: Callable[..., T], *arguments: Any) -> T:
    """Return what a function reads from the database, after another try where the connection was lost."""

    def again() -> T:
        try:
            return call(*arguments)
        except Exception as error:
            if not is_passing(error):
                raise
            reconnect(schemas.connect())
            return call(*arguments)

    return await asyncio.get_running_loop().run_in_executor(_database, again)


async def draw(call: Callable[..., T], *arguments: Any) -> T:
    """Return what a function draws from what has been read."""
    return await asyncio.get_running_loop().run_in_executor(_drawing, call, *arguments)


class Ahead:
    """Reads what the viewer of a raster may want next, while no other page is asked for."""

    def __init__(self) -> None:
        self.task: asyncio.Task | None = None

    def begin(self, calls: Iterable[Callable[[], object]]) -> None:
        """Read, after a moment, until the next picture is asked for."""
        self.cancel()
        self.task = asyncio.create_task(self._read(calls))

    def cancel(self) -> None:
        """Stop after what is being read."""
        if self.task:
            self.task.cancel()

    async def _read(self, calls: Iterable[Callable[[], object]]) -> None:
        await asyncio.sleep(MOMENT)
        with suppress(Exception):  # the page that asks for it next is told
            for call in calls:
                await ask(call)
