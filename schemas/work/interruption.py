"""Interruptions that compiled code swallows: Ctrl-C and SIGTERM must stop a job wherever they arrive."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: The signals that ask a process to stop; the last one arrives when its terminal is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds after which what compiled code has dropped is raised again: a job may go on for minutes.
AGAIN = 1.0


@contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise what the handler of a signal raises within a block until it leaves the block, at the latest at its end.

    A handler raises ``KeyboardInterrupt`` or ``SystemExit`` wherever Python happens to be. In a callback of compiled
    code, as while numba compiles, it is printed and dropped, or becomes a ``SystemError`` or ``RuntimeError``, which
    would be taken for an error of the job. Outside the main thread, which alone handles signals, this does nothing.
    """
    raised: list[BaseException] = []
    before = _watch(raised) if threading.current_thread() is threading.main_thread() else {}
    try:
        yield
    except Exception as error:
        if raised:
            raise raised[0] from error
        raise
    finally:
        if raised and signal.SIGALRM in before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, (handler, watching) in before.items():
            # the handler may have installed another, e.g. one that ignores further signals
            if signal.getsignal(number) is watching:
                signal.signal(number, handler)
    if raised:
        raise raised[0]


def _watch(raised: list[BaseException]) -> dict[int, tuple[Any, Callable]]:
    """Add to ``raised`` what the handlers of ``SIGNALS`` raise; return by number the handler before and the new one.

    SIGALRM is among them, unless something else uses it: its new handler raises the same again.
    """
    before: dict[int, tuple[Any, Callable]] = {}
    is_free = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):  # not SIG_DFL, SIG_IGN, or a handler that is not Python's
            before[number] = (handler, _watching(handler, raised, AGAIN if is_free else 0))
    if is_free:
        before[signal.SIGALRM] = (signal.SIG_DFL, _raising(raised))
    for watched, (_, handler) in before.items():
        signal.signal(watched, handler)
    return before


def _watching(handler: Callable, raised: list[BaseException], again: float) -> Callable:
    """Return a handler that calls another, adds to ``raised`` what that raises, and has SIGALRM sent then (0: not)."""

    def watching(number: int, frame: Any) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            if again:  # not by a thread: starting one may need a lock that the interrupted code holds
                signal.setitimer(signal.ITIMER_REAL, again, again)
            raise

    return watching


def _raising(raised: list[BaseException]) -> Callable:
    """Return a handler that raises the first of these."""

    def raising(number: int, frame: Any) -> None:
        if raised:
            raise raised[0]

    return raising
