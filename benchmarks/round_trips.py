"""Statements of commands, and their seconds when the server is far away, beside what is required.

    python benchmarks/round_trips.py [--ms 0 2 20] [--turns 3] [--keep FOLDER]
    python benchmarks/round_trips.py --backend mysql      # on a MySQL server of its own
    DJ_HOST=127.0.0.1 DJ_BACKEND=mysql DJ_USER=root DJ_PASS=... python benchmarks/round_trips.py   # a server of yours

The database is that of ``meso demo``, which is run if there is none; ``--keep`` names the folder of the embedded
database. A proxy delays every packet: a round trip of 20 ms is that of a server in another city, 2 ms that of one in
another building. Packets are delayed by half a round trip in each direction, one after the other without waiting, as by
a cable.

Commands are timed from their start, with the imports of Python, and their statements counted from there. Beside them is
the processor time of their process from its start, which other work on the machine does not change much. What a process
does again and again is timed in one that runs: a pass of a worker without jobs, the preview of a delete, tracking. What
these take in a lab's database is measured by ``benchmarks/scale.py``.
"""

from __future__ import annotations

import argparse
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from store import own_mysql  # noqa: E402
from support.faults import Link, Proxy, _without_tls  # noqa: E402

CURVES = ("--subject", "SP999", "--target", "choice", "--target", "feedback", "--target", "stimulus")
#: A process that counts its statements: DataJoint makes a cursor for each.
COUNTED = """
import os, sys, time
import schemas  # imports DataJoint as commands do: by itself it would import pandas, which takes 0.3 s
from datajoint.adapters import mysql, postgres
sent = []
for adapter in (mysql.MySQLAdapter, postgres.PostgreSQLAdapter):
    def get_cursor(self, connection, as_dict=False, make=adapter.get_cursor):
        sent.append(1)
        return make(self, connection, as_dict)
    adapter.get_cursor = get_cursor
def measured():
    print("measured", len(sent), time.perf_counter() - begin, time.process_time(), file=sys.stderr)
begin = float(os.environ["BEGIN"])  # of the process: the clock is that of the machine
"""
COMMAND = """
from populate_scripts.cli import main
import atexit
atexit.register(measured)
main({arguments!r})
"""
LOAD = """
import meso
meso.load_or_embed({eid!r})
measured()
"""
#: Twice, as the first pass of a process asks for the definitions of the tables.
IDLE = """
import schemas
schemas.activate()
from populate_scripts.worker import Scheduler
from schemas.server.binding import auto_populated
from schemas.work.jobs import most_urgent
scheduler = Scheduler(auto_populated(), print)
for again in range(2):
    sent.clear()
    begin = time.perf_counter()
    scheduler._schedule(), most_urgent(auto_populated())
measured()
"""
PREVIEW = """
import schemas
from schemas.cascade import preview
schemas.activate()
for again in range(2):
    sent.clear()
    begin = time.perf_counter()
    assert preview(schemas.Session & {"subject": "SP999"})
measured()
"""
#: A run of its own, which is dropped again.
TRACKED = """
import schemas
from schemas.upkeep.tracking_runs import drop_run
from schemas.work.filling import fill
schemas.activate()
run = schemas.TrackingRun.register("SP999", duplicates="first")
fill([schemas.TrackedCell], run)
sent.clear()
begin = time.perf_counter()
assert not fill([schemas.TrackedFOV], run).errors
measured()
drop_run("SP999", run["tracking_run"])
"""
#: Most statements of each, and most seconds by round trip in ms.
MUST = {
    "meso status": (30, {20: 1.5}),
    "meso sessions": (30, {}),
    "load_or_embed": (30, {}),
    "meso raster": (40, {}),
    "meso ndc, stored": (60, {}),
    "idle pass": (20, {}),
    "delete preview": (None, {0: 1.0}),
    "TrackedFOV": (200, {}),
}


class FarAway(Proxy):
    """A proxy whose packets arrive ``delay`` s later."""

    delay = 0.0

    def _forward(self, link: Link, source: socket.socket, target: socket.socket) -> None:
        packets: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._deliver, args=(packets, target), daemon=True).start()
        first = True
        with suppress(OSError):
            while data := source.recv(1 << 16):
                packets.put((time.monotonic() + self.delay, _without_tls(data) if first else data))
                first = False
        packets.put((0.0, b""))

    def _deliver(self, packets: queue.SimpleQueue, target: socket.socket) -> None:
        with suppress(OSError):
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            while (packet := packets.get())[1]:
                time.sleep(max(0.0, packet[0] - time.monotonic()))
                target.sendall(packet[1])
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def run(code: str, env: dict[str, str] | None = None) -> tuple[str, int, float, float]:
    """Run Python code; return what it prints, its statements, seconds of what it measured, and of the processor."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BEGIN": str(time.perf_counter()), **(env or {})}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # with it each process would compile this project anew, 0.4 s
    command = [sys.executable, "-W", "ignore", "-c", COUNTED + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [line.split()[1:] for line in done.stderr.splitlines() if line.startswith("measured ")]
    number, seconds, processor = lines[0] if lines else (0, 0.0, 0.0)
    return done.stdout, int(number), float(seconds), float(processor)


def meso(*arguments: str) -> str:
    return COMMAND.format(arguments=list(arguments))


def sessions() -> list[str]:
    code = "import schemas; schemas.activate(); print(*(schemas.Session & {'subject': 'SP999'}).to_arrays('eid'))"
    return run(code)[0].split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ms", type=float, nargs="+", default=[0, 2, 20])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--backend", choices=["postgresql", "mysql"], default="postgresql")
    parser.add_argument("--keep", type=Path, help="folder of the embedded database")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="meso-") as folder,
        own_mysql() if asked.backend == "mysql" and "DJ_HOST" not in os.environ else nullcontext(),
    ):
        os.environ["MESO_DATA_DIR"] = str(asked.keep or folder)
        if "DJ_HOST" in os.environ:
            run(meso("db", "init"))
        eids = sessions()
        if not eids:
            run(meso("demo", "--output", folder))
            eids = sessions()
        try:
            measure(asked, eids, folder)
        finally:
            if "DJ_HOST" not in os.environ and not asked.keep:
                from schemas.server import embedded

                embedded.stop("immediate")


def measure(asked: argparse.Namespace, eids: list[str], folder: str) -> None:
    programs = {
        "meso status": meso("status"),
        "meso sessions": meso("sessions"),
        "load_or_embed": LOAD.format(eid=eids[0]),
        "meso raster": meso("raster", eids[0], "--output", folder),
        "meso ndc, stored": meso("ndc", *CURVES),
        "idle pass": IDLE,
        "delete preview": PREVIEW,
        "TrackedFOV": TRACKED,
    }
    names = ("DJ_BACKEND", "DJ_HOST", "DJ_PORT", "DJ_USER", "DJ_PASS", "MESO_DATA_DIR")
    proxy = FarAway({name: os.environ[name] for name in names if name in os.environ})
    run(programs["meso ndc, stored"], proxy.variables)
    print("| | statements (must) |" + "".join(f" {ms:g} ms, s (must) |" for ms in asked.ms) + " processor, s |")
    print("|---|---|---|" + "---|" * len(asked.ms))
    for name, code in programs.items():
        most, limits = MUST[name]
        cells, processor = [], []
        for ms in asked.ms:
            proxy.delay = ms / 2000
            found = [run(code, proxy.variables)[1:] for _ in range(asked.turns)]
            number = max(number for number, *_ in found)
            cells.append(beside(float(np.median([seconds for _, seconds, _ in found])), limits.get(ms), ".2f"))
            processor += [used for *_, used in found]
        row = [name, beside(number, most, "d"), *cells, f"{np.median(processor):.2f}"]
        print(f"| {' | '.join(row)} |", flush=True)
    proxy.close()


def beside(seen: float, most: float | None, form: str) -> str:
    """Return a figure with what is required in brackets."""
    return f"{seen:{form}}" + ("" if most is None else f" ({most:g}: {'met' if seen < most else 'MISSED'})")


if __name__ == "__main__":
    main()
