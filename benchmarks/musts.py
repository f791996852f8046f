"""What the sections of ``statistics.py`` share: requirements, counts with their intervals, processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

#: Requirements that were missed.
MISSED: list[str] = []


def must(text: str, holds: bool) -> None:
    """Print a requirement, and remember it if it was missed."""
    print(f"- {'met' if holds else 'MISSED'}: {text}", flush=True)
    if not holds:
        MISSED.append(text)


def counted(hits: float, n: int) -> str:
    """Return a number of hits with the exact 95 % interval of their share."""
    low, high = binomtest(int(hits), n).proportion_ci(0.95, method="exact")
    return f"{int(hits)}/{n} ({low:.2f}-{high:.2f})"


def in_processes(compute: Callable, items: Iterable, n_jobs: int, chunksize: int = 1) -> Iterator:
    """Yield the results of items in order, computed in processes with one BLAS thread each."""
    with ProcessPoolExecutor(n_jobs, initializer=threadpool_limits, initargs=(1,)) as pool:
        yield from pool.map(compute, items, chunksize=chunksize)
