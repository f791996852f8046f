"""Threads that pack or fetch arrays next to the one that talks to the server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
#: More would wait for the connection.
THREADS = 4
#: Results that wait to be taken, so that memory does not grow with what is read.
WAITING = 32


def in_threads(call: Callable[[Any], T], items: Iterable[Any], waiting: int = WAITING) -> Iterator[T]:
    """Yield what a function returns for each item, in their order, a few ahead.

    Parameters
    ----------
    call : callable
    items : iterable
        Taken by the thread that takes the results.
    waiting : int
        Results at a time, the one that is yielded included.

    Examples
    --------
    >>> list(in_threads(abs, [-1, -2, 3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(THREADS) as pool:
        running: deque[Future[T]] = deque()
        for item in items:
            if len(running) >= waiting:
                yield running.popleft().result()
            running.append(pool.submit(call, item))
        while running:
            yield running.popleft().result()
