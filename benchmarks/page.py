"""How fast ``meso serve`` answers and draws for a full-size session, compared with reading traces for each picture.

    python benchmarks/page.py                              # 25,000 ROIs x 20,000 frames in 8 FOVs
    python benchmarks/page.py --rois 2000 --frames 4000    # a quick look
    python benchmarks/page.py --only users                 # 20 users at once, without the rest
    python benchmarks/page.py --backend mysql              # on a MySQL server of its own; else an embedded PostgreSQL
    DJ_HOST=127.0.0.1 DJ_USER=root DJ_PASS=... python benchmarks/page.py   # a server of yours

The session is generated (``benchmarks/store.py``: sparse, 10 % of the frames, or dense) and goes through ingest. Its
order of cells is random instead of Rastermap's: no other time here depends on it, and it is the worst case for reading.
Views are random parts of the raster, from all of it to 50 cells in 10 s. "Cold" is a server that has just started;
"moving" is measured in Chromium, from the key press to the sharper picture. "Users" are twenty at once for half a
minute: each has the first page open, which asks every 3 s, and looks at parts of the raster, means, lists of sessions,
traces and averages of cells, with pauses of 0.5 s on average. Requirements are printed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from musts import MISSED, must
from store import N_FOVS, own_mysql, write_session

PIXELS = (600, 1200)
#: Users at once, how long they look, and the mean time between two requests of one of them, s.
USERS, USING, THINKING = 20, 30.0, 0.5
#: What must hold: ms that 99 % of the movements may take until the sharper picture, the first paint, and 95 % of the
#: rasters among many users; MB of the server's memory.
MOVING, PAINT, RASTERS, MEMORY = 100, 500, 500, 1500


def make(root: Path, n_rois: int, n_frames: int, kind: str) -> dict:
    """Put a session into the database, with tiles; return the time, memory and size of the tiles."""
    import schemas
    from populate_scripts.ingest import ingest
    from schemas.embedding import Embedding, EmbeddingParams, RasterTiles
    from schemas.provenance import Environment
    from schemas.setup import migrations
    from schemas.work.filling import SESSION_TABLES, fill

    write_session(root, n_rois, n_frames, kind)
    migrations.init()
    connection = schemas.activate()
    (eid,) = ingest(everything=True, cache_dir=root).new
    filled = fill(SESSION_TABLES, {"eid": eid})
    assert not filled.errors, filled.errors
    rois = (schemas.ROI & "is_neuron").keys(order_by="fov, roi")
    key = {"eid": eid, **EmbeddingParams.keys()[0]}
    row = {"n_embedded": len(rois), "n_clock_frames": _n_clock_frames(eid), **Environment.current()}
    Embedding.insert1({**key, **row}, allow_direct_insert=True)
    ranks = np.random.default_rng(0).permutation(len(rois)).tolist()
    Embedding.Rank.insert(
        ({**key, **roi, "embedding_rank": rank} for roi, rank in zip(rois, ranks, strict=True)),
        allow_direct_insert=True,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    filled = fill([RasterTiles])
    assert not filled.errors, filled.errors
    seconds = time.perf_counter() - start
    sizes = {name: _size(connection, table) for name, table in
             (("tiles", RasterTiles.Tile), ("traces", schemas.Activity.Trace))}  # fmt: skip
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    return {"eid": eid, "shape": [len(rois), row["n_clock_frames"]], "seconds": seconds, "peak_mb": peak, **sizes}


def _n_clock_frames(eid: str) -> int:
    from pipeline.signals.resampling import common_frames
    from schemas.imaging.tables import Recording

    rows = (Recording & {"eid": eid}).to_dicts(order_by="fov")
    return len(common_frames({row["fov"]: np.asarray(row["frame_times"]) for row in rows}))


def _size(connection, table) -> float:
    column = "tile" if table.__name__ == "Tile" else "trace"
    total = connection.query(f"SELECT SUM(OCTET_LENGTH({column})) FROM {table.full_table_name}").fetchone()[0]
    return float(total) / 1e6


@contextmanager
def served(memory: list[float] | None = None) -> Iterator[str]:
    """Yield the address of a server that has just started; note the most memory that it had, MB."""
    command = [sys.executable, "-m", "populate_scripts.cli", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[0]
        if memory is not None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory.append(int(status.split("VmHWM:")[1].split()[0]) / 1e3)
    finally:
        process.terminate()
        process.wait()


def random_views(shape: list[int], n: int) -> list[dict[str, str]]:
    """Return random parts of the raster, of all sizes."""
    rng = np.random.default_rng(1)
    views = []
    for _ in range(n):
        spans = [np.exp(rng.uniform(np.log(least), np.log(size))) for least, size in zip((50, 50), shape, strict=True)]
        starts = [rng.uniform(0, size - span) for span, size in zip(spans, shape, strict=True)]
        rows, frames = (f"{a:.1f}:{a + span:.1f}" for a, span in zip(starts, spans, strict=True))
        views.append({"rows": rows, "frames": frames, "height": PIXELS[0], "width": PIXELS[1]})
    return views


def answers(made: dict, n: int) -> dict[str, list[float]]:
    """Return the times of the server's answers, ms."""
    import requests

    base = f"/sessions/{made['eid']}"
    whole = {"rows": f"0:{made['shape'][0]}", "frames": f"0:{made['shape'][1]}"}
    pages = ("/", "/sessions", base, f"{base}/cells.json", f"{base}/timeline.json")
    times: dict[str, list[float]] = {}
    with served() as address, requests.Session() as session:

        def get(name: str, path: str, **query) -> None:
            start = time.perf_counter()
            answer = session.get(address + path, params=query, timeout=60)
            times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
            answer.raise_for_status()

        session.get(address + "/static/page.css", timeout=60)
        time.sleep(3)  # until DataJoint has read the definitions of the tables
        get("whole raster, cold", f"{base}/raster", **whole, height=PIXELS[0], width=PIXELS[1])
        views = random_views(made["shape"], n)
        for name in ("any part, first time", "any part, again"):
            for view in views:
                get(name, f"{base}/raster", **view)
        get("mean of all cells", f"{base}/mean", **whole, width=PIXELS[1])
        get(
            "mean of a third of the map, cold",
            f"{base}/mean",
            box="-9999,-1000,-9999,9999",
            frames=whole["frames"],
            width=PIXELS[1],
        )
        for page in pages:
            for _ in range(3):
                get(page.replace(made["eid"], "EID"), page)
    return times


def users(made: dict) -> tuple[dict[str, list[float]], float]:
    """Return the times of the server's answers to many users at once, ms, and the most memory that it had, MB."""
    import requests

    base, times, memory = f"/sessions/{made['eid']}", defaultdict(list), []
    whole = {"rows": f"0:{made['shape'][0]}", "frames": f"0:{made['shape'][1]}"}
    views = random_views(made["shape"], 400)

    def one(number: int, address: str) -> None:
        rng, end = np.random.default_rng(number), time.monotonic() + USING
        refreshed = time.monotonic() + rng.uniform(0, 3)
        with requests.Session() as session:
            while time.monotonic() < end:
                time.sleep(rng.exponential(THINKING))
                what, path, query = "raster", f"{base}/raster", views[rng.integers(len(views))]
                if time.monotonic() > refreshed:
                    what, path, query, refreshed = "first page", "/live", {}, time.monotonic() + 3
                elif (drawn := rng.random()) < 0.1:
                    what, path, query = "mean", f"{base}/mean", {**whole, "width": PIXELS[1]}
                elif drawn < 0.15:
                    what, path, query = "list of sessions", "/sessions", {}
                elif drawn < 0.2:
                    what, path, query = "cells", f"{base}/cells.json", {}
                elif drawn < 0.25:
                    what, path, query = "trace", f"{base}/cells/0/{rng.integers(made['rois_of_0'])}/trace.json", {}
                elif drawn < 0.27:
                    what, path, query = "figure", f"{base}/cells/0/{rng.integers(made['rois_of_0'])}/choice.svg", {}
                begin = time.perf_counter()
                answer = session.get(address + path, params=query, timeout=60)
                times[what].append(1000 * (time.perf_counter() - begin))
                answer.raise_for_status()

    with served(memory) as address:
        requests.get(address + "/", timeout=60)
        threads = [threading.Thread(target=one, args=(number, address)) for number in range(USERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {f"{USERS} users, {name}": found for name, found in sorted(times.items())}, memory[0]


def browser(made: dict, n: int) -> dict[str, list[float]]:
    """Return the times until a browser shows a page, ms, and the size of a page, kB."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with served() as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("MESO_TEST_BROWSER", "/usr/bin/chromium"), args=flags
        )
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        sizes: dict[str, int] = {}
        page.on("response", lambda answer: sizes.update({answer.url.removeprefix(address): len(answer.body())}))
        found: dict[str, list[float]] = {"first paint": []}
        page.goto(address + "/sessions")
        page.wait_for_timeout(3000)
        for path in ("/", "/sessions", f"/sessions/{made['eid']}"):
            page.goto(address + path, wait_until="load")
            page.wait_for_timeout(500)
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            found["first paint"].append(page.evaluate(paint))
        page.wait_for_selector("#viewer[data-ready]")
        found["raster drawn after"] = [page.evaluate("performance.now()")]
        page.focus("#raster")
        keys = np.random.default_rng(2).choice(
            ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "+", "-", "*", "_"], n
        )
        page.evaluate("meso.raster.timings.length = 0")
        for key in ["+", "+", "+", "*", "*", *keys.tolist()]:
            page.keyboard.press(key)
            page.wait_for_timeout(250)
        found["moving, sharper picture"] = page.evaluate("meso.raster.timings")
        draw = "(() => { const t = performance.now(); meso.raster.draw(); return performance.now() - t; })()"
        found["moving, drawn at once"] = [page.evaluate(draw) for _ in range(20)]
        chromium.close()
    data = [url for url in sizes if "/raster?" in url or "/mean?" in url or ".json" in url]
    weight = sum(size for url, size in sizes.items() if url not in data and url not in ("/", "/sessions"))
    return found | {"weight of the page without data, kB": [weight / 1e3]}


def without_tiles(made: dict) -> list[float]:
    """Return the times of the same pictures made from traces, ms: all traces in view are read, scaled and averaged."""
    import schemas
    from pipeline.signals.scaling import scale_rows
    from schemas.embedding import Embedding

    schemas.activate()
    times = []
    for view in random_views(made["shape"], 6):
        rows = [float(text) for text in view["rows"].split(":")]
        start = time.perf_counter()
        cells = Embedding.Rank & f"embedding_rank between {rows[0]:.0f} and {rows[1]:.0f}"
        scaled = scale_rows(schemas.activity(cells).traces)
        _ = np.add.reduceat(
            scaled, np.linspace(0, len(scaled), min(len(scaled), PIXELS[0]), endpoint=False).astype(int), axis=0
        )
        times.append(1000 * (time.perf_counter() - start))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rois", type=int, default=25_000)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--kind", choices=["sparse", "dense"], default="sparse")
    parser.add_argument("-n", type=int, default=60, help="views and movements")
    parser.add_argument("--backend", choices=["postgresql", "mysql"], default="postgresql")
    parser.add_argument("--only", choices=["users"], help="this part alone")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it; what is there is not made again")
    arguments = parser.parse_args()
    own = own_mysql() if arguments.backend == "mysql" and "DJ_HOST" not in os.environ else nullcontext()
    with own, tempfile.TemporaryDirectory(prefix="meso-page-") as folder:
        root = arguments.keep or Path(folder)
        os.environ.setdefault("MESO_DATA_DIR", str(root / "database"))
        note = root / "made.json"
        if not note.exists():
            (root / "one").mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(make(root / "one", arguments.rois, arguments.frames, arguments.kind)))
        made = json.loads(note.read_text())
        made.setdefault("rois_of_0", made["shape"][0] // N_FOVS - 100)
        print(
            f"{made['shape'][0]} cells x {made['shape'][1]} frames: tiles made in {made['seconds']:.1f} s, peak "
            f"+{made['peak_mb']:.0f} MB, {made['tiles']:.0f} MB beside {made['traces']:.0f} MB of traces"
        )
        many, memory = users(made)
        rows = many
        if not arguments.only:
            rows = {
                **answers(made, arguments.n), **browser(made, arguments.n), **many,
                "from traces, without tiles": without_tiles(made),
            }  # fmt: skip
        print(f"{'ms':40} {'n':>4} {'median':>8} {'95 %':>8} {'most':>8}")
        for name, values in rows.items():
            middle, high = np.percentile(values, (50, 95))
            print(f"{name:40} {len(values):4} {middle:8.0f} {high:8.0f} {max(values):8.0f}")
        backend = "MySQL" if os.environ.get("DJ_HOST") else "PostgreSQL"
        print(f"\nOn {backend}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}:")
        if not arguments.only:
            moving, paint = np.percentile(rows["moving, sharper picture"], 99), max(rows["first paint"])
            must(
                f"the sharper picture follows within {MOVING} ms at the 99th percentile: {moving:.0f}", moving < MOVING
            )
            must(f"first paint within {PAINT} ms: {paint:.0f}", paint < PAINT)
        rasters = np.percentile(rows[f"{USERS} users, raster"], 95)
        must(f"95 % of the rasters of {USERS} users within {RASTERS} ms: {rasters:.0f}", rasters < RASTERS)
        must(f"the server's memory stays below {MEMORY} MB: {memory:.0f}", memory < MEMORY)
        if "DJ_HOST" not in os.environ and not arguments.keep:
            from schemas.server import embedded

            embedded.stop("immediate")
    if MISSED:
        sys.exit(1)


if __name__ == "__main__":
    main()
