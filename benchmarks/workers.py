"""Jobs per second and overhead per job of ``meso worker`` and of DataJoint's own ``populate(reserve_jobs=True)``.

    python benchmarks/workers.py [--jobs 400] [--seconds 0.05] [--workers 1 2 4 8] [--turns 3]

Both populate the same table with the same number of processes, in turns, on the server that the environment names or
the embedded one, under a separate prefix. A job sleeps, so that more processes than cores make sense. Overhead is the
time of all processes per job, less the time of sleeping; the clock starts when every process has started a job.
Then ``meso status`` is timed with 100,000 pending jobs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
os.environ.setdefault("MESO_PREFIX", "bench_workers_")
os.environ["MESO_MODULES"] = "support.work_tables"
sys.path.insert(0, str(ROOT / "tests"))

import datajoint as dj  # noqa: E402
from support import work_tables  # noqa: E402

from schemas.server.binding import table_modules  # noqa: E402
from schemas.server.connection import connect  # noqa: E402
from schemas.server.settings import prefix  # noqa: E402
from schemas.setup import migrations  # noqa: E402
from schemas.work import reports  # noqa: E402
from schemas.work.jobs import Queue  # noqa: E402

PLAIN = """
import schemas, sys
schemas.activate()
from schemas.server.binding import table_named
while table_named("Product")().populate(reserve_jobs=True, suppress_errors=True, refresh=False)["success_count"]:
    pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    dj.config["safemode"] = False
    with tempfile.TemporaryDirectory(prefix="meso-") as folder:
        os.environ["MAKES"] = str(Path(folder) / "makes")
        migrations.init()
        try:
            compare(asked)
            large_queue(100_000)
        finally:
            drop()


def compare(asked: argparse.Namespace) -> None:
    backend = connect().adapter.backend
    print(f"{backend}: {asked.jobs} jobs of {asked.seconds * 1e3:.0f} ms, {os.cpu_count()} cores")
    print(f"{'':9}{'meso worker':>26}{'populate(reserve_jobs=True)':>34}")
    for n in asked.workers:
        turns = [(once(asked, n, meso_worker), once(asked, n, plain_populate)) for _ in range(asked.turns)]
        texts = [
            f"{1 / s:7.1f} jobs/s {1e3 * (s * n - asked.seconds):7.1f} ms more"
            for s in map(median, zip(*turns, strict=True))
        ]
        print(f"{n} workers " + " ".join(f"{text:>30}" for text in texts), flush=True)


def once(asked: argparse.Namespace, n: int, run) -> float:
    """Return the seconds per job, from the moment when every process has started one."""
    empty()
    work_tables.Item.insert({"item": i, "act": "sleep", "act_seconds": asked.seconds} for i in range(asked.jobs))
    Queue(work_tables.Product).add()
    Path(os.environ["MAKES"]).write_text("")
    run(n)
    assert len(work_tables.Product()) == asked.jobs
    makes = Path(os.environ["MAKES"])
    first: dict[int, float] = {}
    for row in work_tables.notes(makes):
        first.setdefault(row["pid"], row["time"])
    begin = max(first.values())  # processes do not start at the same time
    ends = [row["time"] for row in work_tables.notes(makes, "computed") if row["time"] > begin]
    return (max(ends) - begin) / len(ends)


def meso_worker(n: int) -> None:
    command = [sys.executable, "-m", "populate_scripts.cli", "worker", "Product", "--slots", str(n), "--until-done"]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)


def plain_populate(n: int) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", PLAIN], cwd=ROOT, env=environment()) for _ in range(n)]
    assert [process.wait() for process in processes] == [0] * n


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


def large_queue(n: int) -> None:
    empty()
    for first in range(0, n, 10_000):
        work_tables.Item.insert({"item": first + i, "act": "sleep"} for i in range(10_000))
    begin = time.perf_counter()
    Queue(work_tables.Product).add()
    added = time.perf_counter() - begin
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        reports.status()
        times.append(time.perf_counter() - begin)
    print(f"{n} jobs: added in {added:.2f} s; status in {median(times):.2f} s")


def empty() -> None:
    work_tables.Product.jobs.delete()
    for table in (work_tables.Total, work_tables.Product.Piece, work_tables.Product, work_tables.Item):
        table().delete_quick()


def drop() -> None:
    """Drop all schemas with the prefix."""
    connection = connect()
    how = "" if connection.adapter.backend == "mysql" else "CASCADE"
    for name in ("views", *reversed(table_modules())):
        connection.query(f"DROP SCHEMA IF EXISTS {prefix()}{name} {how}")


if __name__ == "__main__":
    main()
