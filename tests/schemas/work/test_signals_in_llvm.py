"""A signal that arrives within a call of LLVM, while numba compiles, must not crash the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: Compiles, and is asked to stop right after LLVM destroyed a module, before llvmlite has noted that.
STOPPED = """
import os, signal, sys
import numba
from llvmlite.binding.linker import link_modules
from schemas.work.interruption import not_swallowed

destroyed = []

def trace(frame, event, argument):
    if frame.f_code is link_modules.__code__:
        return at_detach

def at_detach(frame, event, argument):
    if event == "line" and frame.f_locals.get("err") == 0 and not destroyed:
        destroyed.append(frame.f_locals["src"])
        signal.raise_signal(signal.SIGTERM)
    return at_detach

signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
try:
    with not_swallowed():
        sys.settrace(trace)
        numba.njit(lambda x: 2 * x)(2)
        sys.settrace(None)
        while True:
            pass
except SystemExit:
    sys.settrace(None)
    print("noted" if destroyed[0].closed else "will be destroyed again")
    sys.stdout.flush()
    os._exit(0)
"""


def test_a_signal_between_two_calls_of_llvm_leaves_nothing_to_be_destroyed_twice():
    """It was a segmentation fault now and then, when Python freed the module."""
    # a process of its own: where coverage has seen link_modules before the fork, sys.settrace does not see it any more
    env = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_START"}
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], cwd=Path(__file__).parents[3], env=env, timeout=120, capture_output=True,
        text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "noted\n", "")
