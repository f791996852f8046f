"""Numba's compiler: where it keeps what it has compiled, and a line of text when it compiles anew.

The folder is one of the account's own where neither the code nor the home can be written, as in containers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.folders import can_be_written, own_temporary_folder

#: What takes seconds to compile, by the package of its functions.
SLOW = {"pipeline.decoding": "the decoder of neuron-dropping curves (10 to 30 s)", "rastermap": "Rastermap (10 s)"}
#: Packages of which it has been said that they are compiled.
_said: set[str] = set()


def say_what_compiles() -> None:
    """Have a line written to stderr as soon as numba begins to compile what takes seconds; nobody waits in silence."""
    from numba.core import event

    register: Any = event.register

    class Says(event.Listener):
        def on_start(self, started: Any) -> None:
            name = started.data["dispatcher"].py_func.__module__
            for package, what in SLOW.items():
                if f"{name}.".startswith(f"{package}.") and package not in _said:
                    _said.add(package)
                    sys.stderr.write(f"Compiling {what}, once for this processor and version\n")
                    sys.stderr.flush()

        def on_end(self, ended: Any) -> None:
            """Say nothing: what comes next says enough."""

    if "listens" not in _said:
        _said.add("listens")
        register("numba:compile", Says())


def choose_folder() -> None:
    """Give numba a cache in a temporary folder if it would find no other; without a cache it compiles nothing."""
    import numba

    config: Any = numba.config
    others = Path(__file__).parent / "__pycache__", Path(os.path.expanduser("~/.cache"))
    if not config.CACHE_DIR and not any(map(can_be_written, others)):
        config.CACHE_DIR = str(own_temporary_folder("numba"))


@cache
def compiled(module: str, name: str) -> Callable[..., Any] | None:
    """Return a compiled function of a module that imports numba.

    None where numba cannot write its cache, or has no compiler for the processor: its twin in numpy is then used.
    """
    try:
        choose_folder()
        compiled_functions = import_module(module)
    except (ImportError, RuntimeError, OSError):
        return None
    function: Callable[..., Any] = getattr(compiled_functions, name)
    return function
