"""Seconds that commands take when the database server is far away: a proxy delays every packet.

    python benchmarks/round_trips.py [--ms 0 2 20] [--turns 3] [--keep FOLDER]
    DJ_HOST=127.0.0.1 DJ_BACKEND=mysql DJ_USER=root DJ_PASS=... python benchmarks/round_trips.py   # else PostgreSQL

The database is that of ``meso demo``, which is run if there is none; ``--keep`` names the folder of the embedded
database. A round trip of 20 ms is that of a server in another city, 2 ms that of one in another building. Packets are
delayed by half a round trip in each direction, one after the other without waiting, as by a cable. Start and imports of
Python, about a second, are included.
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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.faults import Link, Proxy, _without_tls  # noqa: E402

LOAD = "import sys, meso; meso.load_or_embed(sys.argv[1])"
CURVES = ("--subject", "SP999", "--target", "choice", "--target", "feedback", "--target", "stimulus")


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


def run(arguments: Sequence[str], env: dict[str, str] | None = None) -> str:
    """Run Python, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def meso(*arguments: str) -> list[str]:
    return ["-m", "populate_scripts.cli", *arguments]


def sessions() -> list[str]:
    code = "import schemas; schemas.activate(); print(*(schemas.Session & {'subject': 'SP999'}).to_arrays('eid'))"
    return run(["-c", code]).split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ms", type=float, nargs="+", default=[0, 2, 20])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of the embedded database")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meso-") as folder:
        os.environ["MESO_DATA_DIR"] = str(asked.keep or folder)
        if "DJ_HOST" in os.environ:
            run(meso("db", "init"))
        eids = sessions()
        if not eids:
            run(meso("demo", "--output", folder))
            eids = sessions()
        measure(asked, eids, folder)
        if "DJ_HOST" not in os.environ and not asked.keep:
            from schemas.server import embedded

            embedded.stop("immediate")


def measure(asked: argparse.Namespace, eids: list[str], folder: str) -> None:
    commands = {
        "meso status": meso("status"),
        "meso sessions": meso("sessions"),
        "load_or_embed": ["-c", LOAD, eids[0]],
        "meso raster": meso("raster", eids[0], "--output", folder),
        "meso ndc, stored": meso("ndc", *CURVES),
    }
    names = ("DJ_BACKEND", "DJ_HOST", "DJ_PORT", "DJ_USER", "DJ_PASS", "MESO_DATA_DIR")
    proxy = FarAway({name: os.environ[name] for name in names if name in os.environ})
    run(commands["meso ndc, stored"], proxy.variables)
    print(f"{'s':20}" + "".join(f"{ms:>8.0f} ms" for ms in asked.ms))
    for name, command in commands.items():
        times = []
        for ms in asked.ms:
            proxy.delay = ms / 2000
            times.append(median(seconds(command, proxy.variables) for _ in range(asked.turns)))
        print(f"{name:20}" + "".join(f"{value:11.2f}" for value in times), flush=True)
    proxy.close()


def seconds(command: Sequence[str], variables: dict[str, str]) -> float:
    begin = time.perf_counter()
    run(command, variables)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
