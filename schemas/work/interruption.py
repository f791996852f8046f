"""Interruptions that compiled code swallows: Ctrl-C and SIGTERM must stop a job wherever they arrive."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: The signals that ask a process to stop; the last one arrives when its terminal is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds after which what compiled code has dropped is raised again: a job may go on for minutes.
AGAIN = 1.0
#: Seconds after which it is tried again where nothing may be raised, which is within a call of LLVM. It must hit the
#: short time between two of them, each of which may take seconds.
SOON = 0.0002


@contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise what the handler of a signal raises within a block until it leaves the block, at the latest at its end.

    A handler raises ``KeyboardInterrupt`` or ``SystemExit`` wherever Python happens to be. In a callback of compiled
    code it is printed and dropped, or becomes a ``SystemError`` or ``RuntimeError``, which would be taken for an error
    of the job. LLVM, with which numba compiles, may be left with half of an object then, and crash: within its calls
    nothing is raised, but right after them. Outside the main thread, which alone handles signals, this does nothing.
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
            before[number] = (handler, _watching(handler, raised, is_free))
    if is_free:
        before[signal.SIGALRM] = (signal.SIG_DFL, _raising(raised))
    for watched, (_, handler) in before.items():
        signal.signal(watched, handler)
    return before


def _watching(handler: Callable, raised: list[BaseException], has_alarm: bool) -> Callable:
    """Return a handler that calls another, keeps in ``raised`` what that raises, and raises it, later if need be."""

    def watching(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            if not has_alarm:
                raise
            _raise_or_wait(error, frame)

    return watching


def _raising(raised: list[BaseException]) -> Callable:
    """Return a handler that raises the first of these."""

    def raising(number: int, frame: FrameType | None) -> None:
        if raised:
            _raise_or_wait(raised[0], frame)

    return raising


def _raise_or_wait(error: BaseException, frame: FrameType | None) -> None:
    """Raise an interrupt, unless within a call of LLVM, and have SIGALRM sent for the next try."""
    waits = _is_in_llvm(frame)
    # not by a thread: starting one may need a lock that the interrupted code holds
    signal.setitimer(signal.ITIMER_REAL, SOON if waits else AGAIN)
    if not waits:
        raise error


def _is_in_llvm(frame: FrameType | None) -> bool:
    """Return whether the code that was interrupted at a frame was called by llvmlite, or is llvmlite's own."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("llvmlite.binding"):
            return True
        frame = frame.f_back
    return False
