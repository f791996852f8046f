"""Interruptions that compiled code swallows: Ctrl-C and SIGTERM must stop a job wherever they arrive."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: The signals that ask a process to stop; the last one arrives when its terminal is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise at the end of a block what the handler of a signal raised within it, if that did not leave the block.

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
        for number, (handler, watching) in before.items():
            # the handler may have installed another, e.g. one that ignores further signals
            if signal.getsignal(number) is watching:
                signal.signal(number, handler)
    if raised:
        raise raised[0]


def _watch(raised: list[BaseException]) -> dict[int, tuple[Callable, Callable]]:
    """Add to ``raised`` what the handlers of ``SIGNALS`` raise; return by number the handler before and the new one."""
    before: dict[int, tuple[Callable, Callable]] = {}
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):  # not SIG_DFL, SIG_IGN, or a handler that is not Python's
            before[number] = (handler, _watching(handler, raised))
            signal.signal(number, before[number][1])
    return before


def _watching(handler: Callable, raised: list[BaseException]) -> Callable:
    """Return a handler that calls another, and adds to ``raised`` what that raises."""

    def watching(number: int, frame: Any) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    return watching
