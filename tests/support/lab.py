"""A lab with its own tables next to ours, and workers in separate processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from support import quick_start, work_tables

TESTS = Path(__file__).parents[1]


class Lab:
    """The tables of ``work_tables``, and ``meso`` on the same database."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.variables = folder, variables
        self.item, self.product, self.total = work_tables.Item, work_tables.Product, work_tables.Total
        self.makes = folder / "makes"

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, **self.variables, "PYTHONPATH": path, "MAKES": str(self.makes), "COLUMNS": "250"}

    def clear(self) -> None:
        """Delete all rows, jobs and workers."""
        from schemas.work.tables import Attempt, Made, Worker

        for table in (self.total, self.product):
            table.jobs.delete()
        for table in (self.total, self.product.Piece, self.product, self.item, Attempt, Made, Worker):
            table().delete_quick()
        self.makes.write_text("")

    def add(self, items: Iterable[int], act: str = "sleep", seconds: float = 0.0) -> None:
        """Insert items, which are the jobs of Product."""
        self.item.insert({"item": item, "act": act, "act_seconds": seconds} for item in items)

    def meso(self, *arguments: object, code: int = 0, **variables: str) -> str:
        """Run a ``meso`` command, check its exit code, and return what it printed."""
        done = self._run("-m", "populate_scripts.cli", *map(str, arguments), **variables)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def python(self, code: str, *, expected: int = 0) -> None:
        """Run Python code in a new process, and check its exit code."""
        done = self._run("-c", code)
        assert done.returncode == expected, done.stderr

    def _run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        return quick_start.run(arguments, env=self.environment | variables, cwd=TESTS.parent, timeout=180)

    def start(self, *arguments: object, **variables: str) -> quick_start.Process:
        """Start ``python ARGUMENTS`` in a new process session."""
        return quick_start.Process([*map(str, arguments)], env=self.environment | variables, cwd=TESTS.parent)

    @contextmanager
    def worker(self, *arguments: object, **variables: str) -> Iterator[quick_start.Process]:
        """Run ``meso worker`` on the tables in a new process session; kill it at the end if it still runs."""
        process = self.start("-m", "populate_scripts.cli", "worker", "Product", "Total", *arguments, **variables)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def notes(self, what: str = "begin") -> list[dict]:
        """Return the rows that makes wrote at this point (see ``work_tables.note``)."""
        return work_tables.notes(self.makes, what)

    def n_makes(self) -> Counter:
        """Return the number of makes that were started for each item."""
        return Counter(row["item"] for row in self.notes())

    def jobs(self) -> dict[int, str]:
        """Return the status of each item in the job table."""
        return {row["item"]: row["status"] for row in self.product.jobs.proj("status").to_dicts()}

    def check_products(self, items: Iterable[int]) -> None:
        """Check that the tables contain exactly the products of these items, bit by bit."""
        items = sorted(items)
        found = {row["item"]: row["product"] for row in self.product.to_dicts()}
        assert sorted(found) == items
        for item, product in found.items():
            np.testing.assert_array_equal(product, work_tables.expected(item))
        assert len(self.product.Piece()) == 3 * len(items)
        totals = {row["item"]: row["total"] for row in self.total.to_dicts()}
        assert sorted(totals) == items
        for item, total in totals.items():
            np.testing.assert_allclose(total, work_tables.expected(item)[:3].sum(), rtol=1e-12)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds; the longer it takes the less often it is asked for, which costs the processor."""
    begin = time.monotonic()
    while not condition():
        passed = time.monotonic() - begin
        assert passed < seconds, "waited for too long"
        time.sleep(min(0.05 + passed / 50, 0.25))


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to a process; return False if it does not exist."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
