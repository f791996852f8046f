"""A lab's own tables (MESO_MODULES) whose jobs do what a test asks for, and whose rows are known in advance."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import datajoint as dj
import numpy as np

from schemas.work.interruption import AGAIN

schema = dj.Schema()
#: Products of items from this number on have 4 MB.
LARGE = 1000


@schema
class Item(dj.Manual):
    definition = """
    # something to make, and how
    item : int32
    ---
    act : varchar(16)           # see ACTS
    act_seconds=0 : float64
    """


@schema
class Product(dj.Computed):
    definition = """
    # made of an item
    -> Item
    ---
    product : <array>
    """

    class Piece(dj.Part):
        definition = """
        # in several rows
        -> master
        piece : int16
        ---
        weight : float64
        """

    def make_fetch(self, key):
        return (Item & key).fetch1("act", "act_seconds")

    def make_compute(self, key, act, seconds):
        note("begin", **key)
        ACTS[act](seconds)
        values = expected(key["item"])
        note("computed", **key)
        return (act, values)

    def make_insert(self, key, act, values):
        if act == "nothing":
            return
        self.insert1({**key, "product": values})
        self.Piece.insert({**key, "piece": i, "weight": float(value)} for i, value in enumerate(values[:3]))


@schema
class Total(dj.Computed):
    definition = """
    # made of a product
    -> Product
    ---
    total : float64
    """

    def make(self, key):
        self.insert1({**key, "total": float(np.sum((Product.Piece & key).to_arrays("weight")))})


def expected(item: int) -> np.ndarray:
    """Return the product of an item, (50,) or (500_000,) float64."""
    return np.random.default_rng(item).normal(size=50 if item < LARGE else 500_000)


def note(what: str, **values) -> None:
    """Append a line to the file that MAKES names; a line of this length is written atomically."""
    if "MAKES" in os.environ:
        with open(os.environ["MAKES"], "a") as file:
            file.write(json.dumps({"what": what, "pid": os.getpid(), "time": time.time(), **values}) + "\n")


def notes(file: Path, what: str = "begin") -> list[dict]:
    """Return the rows that makes wrote at this point."""
    return [row for line in file.read_text().splitlines() if (row := json.loads(line))["what"] == what]


def in_python(seconds: float) -> None:
    """Keep Python busy, holding its GIL."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def in_blas(seconds: float) -> None:
    """Stay in compiled code for about this many seconds of CPU: one matrix product, sized by this machine's speed."""
    n = 1000
    np.ones((n, n)) @ np.ones((n, n))  # the first product also starts the library
    begin = time.process_time()
    np.ones((n, n)) @ np.ones((n, n))
    once = time.process_time() - begin
    # square: its memory grows with the square of the size, its time with the cube. A tall matrix would take gigabytes
    size = max(n, int(n * (seconds / once) ** (1 / 3)))
    np.ones((size, size)) @ np.ones((size, size))


def fail(seconds: float) -> None:
    raise ValueError("this item cannot be made")


def die(seconds: float) -> None:
    time.sleep(seconds)
    os._exit(137)


def stop_once() -> None:
    """Send this process the signal that STOP names, the first time that this is called in a test."""
    if not notes(Path(os.environ["MAKES"]), "stop"):
        note("stop")
        signal.raise_signal(getattr(signal, os.environ["STOP"]))


def compile_while_stopped(seconds: float) -> None:
    """Compile with numba, and be asked to stop where LLVM calls Python back: what is raised there would be dropped."""
    import numba
    from numba.core.registry import cpu_target

    engine = cpu_target.target_context.codegen()._engine
    library = cpu_target.target_context.codegen()._library_class

    def compiled(module, buffer) -> None:
        owner = next((one for name, one in vars(module).items() if name.endswith("__library")), None)
        if owner is not None and owner._object_caching_enabled:  # what is compiled here is asked for later
            stop_once()
        library._object_compiled_hook(module, buffer)

    engine.set_object_cache(compiled, library._object_getbuffer_hook)
    with tempfile.TemporaryDirectory() as folder:  # numba keeps what it compiles next to the source, and needs the file
        source = Path(folder) / "compiled.py"
        source.write_text("def twice(x):\n    return 2 * x\n")
        namespace: dict = {"__name__": "compiled"}
        exec(compile(source.read_text(), source, "exec"), namespace)
        try:
            assert numba.njit(cache=True)(namespace["twice"])(2) == 4
        finally:
            engine.set_object_cache(library._object_compiled_hook, library._object_getbuffer_hook)
    # raised soon after LLVM's call or, where a finalizer drops it then, AGAIN later: while the job is still running
    in_python(3 * AGAIN)


def run_while_stopped(seconds: float) -> None:
    """Run compiled code, be asked to stop where it calls Python back, which drops what is raised there, and go on."""
    import numba

    callback = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda x: stop_once() or x)
    numba.njit(lambda x: callback(x) + x)(2.0)
    in_python(seconds)


ACTS = {
    "sleep": time.sleep, "python": in_python, "blas": in_blas, "fail": fail, "nothing": lambda _: None, "die": die,
    "compile": compile_while_stopped, "callback": run_while_stopped,
}  # fmt: skip
