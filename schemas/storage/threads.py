"""Threads that pack or fetch arrays while the main thread talks to the server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
#: More threads would only wait: all results go through one connection.
THREADS = 4
#: Results that may wait to be taken; it limits memory.
WAITING = 32


def in_threads(call: Callable[[Any], T], items: Iterable[Any], waiting: int = WAITING) -> Iterator[T]:
    """Yield the results of a function for items, in their order; a few are computed ahead in threads.

    Parameters
    ----------
    call : callable
        Called in a thread.
    items : iterable
        Iterated in the thread of the caller.
    waiting : int
        Results in memory at a time, including the one that is yielded.

    Examples
    --------
    >>> list(in_threads(abs, [-1, -2, 3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(THREADS) as pool:
        running: deque[Future[T]] = deque()
        for item in items:
            # the oldest result is taken before another call is started, so that results come in order and never pile up
            if len(running) >= waiting:
                yield running.popleft().result()
            running.append(pool.submit(call, item))
        while running:
            yield running.popleft().result()
