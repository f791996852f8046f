"""What the sections of ``statistics.py`` share: requirements, counts with their intervals, processes."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from pipeline.decoding import neuron_dropping_curve

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
    """Return an iterator over the results of items in order, computed in processes with one BLAS thread each.

    Items begin to be computed at once: what is asked for first need not be waited for.
    """
    return _pool(n_jobs).map(compute, items, chunksize=chunksize)


@cache
def _pool(n_jobs: int) -> ProcessPoolExecutor:
    """Return the processes of the whole run: forked once, with the decoder loaded."""
    rng = np.random.default_rng(0)
    neuron_dropping_curve(rng.normal(size=(20, 4)), np.arange(20) % 2, ks=[2, 4], R=1, n_label_shuffles=2)
    fork = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(n_jobs, mp_context=fork, initializer=threadpool_limits, initargs=(1,))


def end_processes(n_jobs: int) -> float:
    """End the processes, and return the processor time that they and this one have used, in s."""
    _pool(n_jobs).shutdown()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
