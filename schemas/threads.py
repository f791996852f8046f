"""Threads that pack and check arrays next to the one that talks to the server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
#: More would wait for the connection.
THREADS = 4
#: Rows that wait for a thread, so that memory does not grow with what is read.
WAITING = 32


class Workers:
    """Threads to which calls are handed one by one, few of them waiting; the first error is raised.

    Examples
    --------
    >>> found = []
    >>> with Workers() as workers:
    ...     for number in range(3):
    ...         workers.do(found.append, number)
    >>> sorted(found)
    [0, 1, 2]
    """

    def __init__(self) -> None:
        self.pool, self.running = ThreadPoolExecutor(THREADS), deque[Future[None]]()

    def do(self, call: Callable[..., None], *arguments: Any) -> None:
        """Have a thread call a function, after waiting for a place."""
        if len(self.running) >= WAITING:
            self.running.popleft().result()
        self.running.append(self.pool.submit(call, *arguments))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            while kind is None and self.running:
                self.running.popleft().result()
        finally:
            self.pool.shutdown(cancel_futures=True)


def in_threads(call: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Yield what a function returns for each item, in their order, a few ahead.

    Examples
    --------
    >>> list(in_threads(abs, [-1, -2, 3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(THREADS) as pool:
        running: deque[Future[T]] = deque()
        for item in items:
            if len(running) >= WAITING:
                yield running.popleft().result()
            running.append(pool.submit(call, item))
        while running:
            yield running.popleft().result()
