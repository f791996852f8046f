"""Speed of storing and reading activity, compared with the scripts' pickled file, in one run.

    python benchmarks/store.py                    # reading back: 2,000, 6,000 and 25,000 ROIs, beside what is required
    python benchmarks/store.py --backend mysql    # the same on a MySQL server of its own, with a pool of 2 GB
    python benchmarks/store.py --sizes 2000x12000 --turns 5
    python benchmarks/store.py --parts --sizes 6000x20000 --store ""   # filling, one FOV, one minute; traces in rows
    DJ_HOST=127.0.0.1 DJ_USER=root DJ_PASS=... python benchmarks/store.py   # a server of yours

The session is generated: dense fluorescence (baseline, slow drift, transients, noise) or sparse deconvolved activity
(10 % of the frames); its Rastermap order is random numbers. The scripts load the ALF files, put signal and times of the
first FOV into a dict, and np.save it; later they np.load all of it and index. Traces are in a folder, or in rows of the
database (``--store ""``). Each step runs in a new process, which reads twice before three calls are timed, the fastest
of which counts (filling is timed at once), and prints time, processor time and peak memory beyond that of the imports.
Numba has been imported, as in a process that has read 250 MB. Steps take turns; the fastest turn of each counts, as
other work on the machine only slows turns down. Files are in the page cache for both.

Two speeds are shown: by the clock, and by the processor time of the reading process, which other work does not change
much, but which leaves out what the server does meanwhile.

Beside each reading is its limit, measured in the same process: reading the stored bytes from the folder into a buffer,
and writing an array of the result's size into memory that the process does not have yet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path

import numpy as np

N_FOVS, TARGETS = 8, ("choice", "feedback", "stimulus", "block")
#: Required speed relative to np.load of the dict, by kind, number of ROIs and what is read.
MUST = {
    ("sparse", 2000): {"whole": 0.9, "10 %": 3},
    ("sparse", 6000): {"whole": 0.9, "10 %": 5, "features": 6},
    ("dense", 6000): {"whole": 0.6, "10 %": 5, "features": 6},
    ("sparse", 25000): {"whole": 0.6, "10 %": 5},
}
MOST_STATEMENTS = 10
SIGNALS = {"sparse": "mpci.ROIActivityDeconvolved.npy", "dense": "mpci.ROIActivityF.npy"}


# ------------------------------------------------------------------------------------------------ the session


def write_session(root: Path, n_rois: int, n_frames: int, kind: str) -> None:
    """Write a session with the demo's writer, with activity of the kind that is measured as its only signal."""
    from pipeline.demo.repository import write_demo_repository, write_one_tables

    n_trials = max(round(n_frames / 5.08 / 4.5), 30)
    write_demo_repository(
        root, n_days=1, n_fovs=N_FOVS, n_trials=n_trials, n_shared=N_FOVS, rois_per_fov=n_rois // N_FOVS
    )
    for number, path in enumerate(sorted(root.rglob(SIGNALS["sparse"]))):
        shape = np.load(path, mmap_mode="r").shape[::-1]
        for name in SIGNALS.values():  # the demo's other signal would be refused beside this one: it is of other cells
            path.with_name(name).unlink()
        np.save(path.with_name(SIGNALS[kind]), made(shape, kind, number).T)
    write_one_tables(root)


def made(shape: tuple[int, int], kind: str, seed: int) -> np.ndarray:
    """Return activity (ROIs, frames) float32."""
    rng = np.random.default_rng(seed)
    out = np.empty(shape, np.float32)
    for row in out:
        events = np.where(rng.random(shape[1]) < (0.1 if kind == "sparse" else 0.01), rng.exponential(size=shape[1]), 0)
        if kind == "sparse":
            row[:] = 100 * events
            continue
        calcium = np.convolve(events, np.exp(-np.arange(40) / 8))[: shape[1]]
        drift = 1 - 0.05 * np.linspace(0, 1, shape[1])
        row[:] = rng.lognormal(6, 0.4) * drift * (1 + 0.35 * calcium + 0.05 * rng.standard_normal(shape[1]))
    return out


# ------------------------------------------------------------------------------------------- steps, one per process


def alf_files(root: Path) -> list[Path]:
    return sorted(root.rglob("mpci.ROIActivity*.npy"))


def scripts_fill(root: Path) -> int:
    """Load the ALF files, save the dict."""
    signal = np.concatenate([np.load(path).T for path in alf_files(root)])
    first = alf_files(root)[0].parent
    times = np.load(first / "mpci.times.npy").astype(np.float32)
    roi_times = times[None] + np.zeros((len(np.load(first / "mpciROIs.stackPos.npy")), 1), np.float32)
    np.save(root / "cache.npy", {"roi_signal": signal, "roi_times": roi_times}, allow_pickle=True)
    return (root / "cache.npy").stat().st_size


def scripts_all(root: Path) -> np.ndarray:
    return np.load(root / "cache.npy", allow_pickle=True).item()["roi_signal"]


def scripts_some(root: Path, n: int) -> np.ndarray:
    signal = scripts_all(root)
    return signal[np.sort(np.random.default_rng(0).permutation(len(signal))[:n])]


def scripts_features(root: Path, n: int) -> None:
    """Load per target, loop over trials."""
    session = alf_files(root)[0].parent.parent
    trials = next(session.rglob("*trials.table*"))
    import pandas as pd

    table = pd.read_parquet(trials)
    for event, window in windows():
        data = np.load(root / "cache.npy", allow_pickle=True).item()
        rows = np.sort(np.random.default_rng(0).permutation(len(data["roi_signal"]))[:n])
        signal, times = data["roi_signal"][rows], data["roi_times"][0]
        features = np.full((len(table), n), np.nan)
        for trial, at in enumerate(table[event]):
            frames = np.flatnonzero((times >= at + window[0]) & (times <= at + window[1]))
            if frames.size == 0 and np.isfinite(at):
                frames = np.array([np.abs(times - at).argmin()])
            if frames.size:
                features[trial] = signal[:, frames].mean(axis=1)


def windows() -> list[tuple[str, tuple[float, float]]]:
    from pipeline.decoding import EVENTS

    return [EVENTS[target] for target in TARGETS]


def ours_prepare(root: Path) -> None:
    """Register the session and populate the tables that Activity depends on."""
    import schemas
    from populate_scripts.ingest import ingest
    from schemas.setup import migrations
    from schemas.work.filling import fill

    migrations.init()
    schemas.activate()
    done = ingest(everything=True, cache_dir=str(root))
    assert not done.failed, done.failed
    fill([schemas.Behavior, schemas.FOV, schemas.Recording, schemas.ROI])


def ours_order(root: Path) -> None:
    """Insert a Rastermap order: Rastermap itself would take a minute and 8 GB."""
    import schemas
    from pipeline.embedding import EmbeddingSettings
    from schemas.provenance import Environment
    from schemas.storage.bulk import columns

    key = {"eid": eid(), **schemas.EmbeddingParams.add(EmbeddingSettings(neurons_only=False))}
    cells = columns(schemas.ROI(), "fov", "roi", order_by=("fov", "roi"))
    rank = np.random.default_rng(0).permutation(len(cells[0]))
    row = {**key, "n_embedded": len(rank), "n_clock_frames": 1, **Environment.current()}
    with schemas.connect().transaction:
        schemas.Embedding.insert1(row, allow_direct_insert=True)
        rows = zip(*(column.tolist() for column in (*cells, rank)), strict=True)
        schemas.Embedding.Rank.insert({**key, "fov": fov, "roi": roi, "embedding_rank": n} for fov, roi, n in rows)


@cache
def eid() -> str:
    import schemas

    return str(schemas.Session.to_arrays("eid")[0])


@cache
def n_rois() -> int:
    import schemas

    return int(schemas.FOV.to_arrays("n_rois").sum())


def ours_load(root: Path) -> np.ndarray:
    import meso

    return meso.load_or_embed(eid(), filter_neurons=False)["roi_signal"]


def ours_load_some(root: Path, n: int) -> np.ndarray:
    import meso

    rows = np.sort(np.random.default_rng(0).permutation(n_rois())[:n])
    return meso.load_or_embed(eid(), restrict=rows, filter_neurons=False)["roi_signal"]


def ours_statements(root: Path) -> int:
    """Return the number of statements of ``load_or_embed`` of the stored session."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.statements import statements

    ours_load_some(root, 5)
    import meso

    session = eid()
    with statements() as sent:
        meso.load_or_embed(session, filter_neurons=False)
    return len(sent)


def limit(root: Path, result: np.ndarray) -> float:
    """Return the seconds for reading what a result is made from, and for writing it into new memory."""
    import schemas

    rows = schemas.Activity.to_dicts()
    share = len(result) / int(schemas.FOV.to_arrays("n_rois").sum())
    size = sum((folder() / row["trace_object"]).stat().st_size for row in rows if row["trace_object"])
    block = bytearray(1 << 20)
    begin = time.perf_counter()
    left = size * share
    for row in rows:
        with (folder() / row["trace_object"]).open("rb", buffering=0) if row["trace_object"] else nullcontext() as file:
            while file and left > 0 and (n := file.readinto(block)):
                left -= n
    new = np.empty(result.shape, result.dtype)
    new.fill(1)
    return time.perf_counter() - begin


def folder() -> Path:
    return Path(json.loads(os.environ["DJ_STORES"])["folder"]["location"])


def ours_fill(root: Path) -> int:
    import schemas
    from schemas.work.filling import fill

    schemas.activate()
    schemas.Activity().delete(prompt=False)
    taken = time.perf_counter()
    filled = fill([schemas.Activity])
    assert not filled.errors, filled.errors
    TAKEN.append(time.perf_counter() - taken)
    return stored_bytes()


def stored_bytes() -> int:
    """Return the bytes of all traces as they are stored, without the overhead of the server's pages."""
    import schemas
    from schemas.server import settings
    from schemas.storage import stores

    if settings.store():
        used = set(schemas.Activity().to_arrays("trace_object"))
        found = stores.named(settings.store()).objects(stores.folder())
        return sum(one.size for one in found if one.path in used)
    name = schemas.Activity.Trace().full_table_name
    return int(schemas.connect().query(f"SELECT sum(length(trace)) FROM {name}").fetchone()[0])


def ours_all(root: Path) -> np.ndarray:
    import schemas

    return schemas.activity(schemas.ROI()).traces


def ours_end(root: Path) -> None:
    """Drop the tables, or stop the embedded server, whose folder is removed later."""
    import schemas
    from schemas.server import embedded
    from schemas.server.binding import MODULES
    from schemas.server.connection import has_own_server

    if not has_own_server():
        embedded.stop("immediate")
        return
    for name in ("views", *reversed(MODULES)):
        schemas.connect().query(f"DROP SCHEMA IF EXISTS {os.environ['MESO_PREFIX']}{name}")


def chosen(n: int):
    import schemas
    from schemas.rows import in_fovs
    from schemas.storage.bulk import columns

    fov, roi = columns(schemas.ROI(), "fov", "roi", order_by=("fov", "roi"))
    rows = np.sort(np.random.default_rng(0).permutation(len(roi))[:n])
    return schemas.ROI & in_fovs(fov[rows], roi[rows])


def ours_some(root: Path, n: int) -> np.ndarray:
    import schemas

    return schemas.activity(chosen(n)).traces


def ours_range(root: Path) -> np.ndarray:
    import schemas

    return schemas.activity(schemas.ROI(), 100.0, 160.0).traces


def ours_fov(root: Path) -> np.ndarray:
    import schemas

    return schemas.activity(schemas.ROI & "fov = 0").traces


def ours_features(root: Path, n: int) -> None:
    """Read the cells and average the windows for each target separately, by the function of TrialFeatures."""
    import schemas
    from pipeline.decoding import NDCSettings
    from schemas.decoding.tables import _features
    from schemas.storage.bulk import columns

    names = ("fov", "roi", "stack_y", "stack_x")
    rows = np.sort(np.random.default_rng(0).permutation(n_rois())[:n])
    found = columns(schemas.ROI(), *names, order_by=names[:2])
    cells = {name: column[rows] for name, column in zip(names, found, strict=True)}
    for target in TARGETS:
        _features(eid(), cells, NDCSettings(target=target), {})


#: Seconds measured inside a step, for steps of which only a part counts.
TAKEN: list[float] = []
STEPS: dict[str, Callable[..., object]] = {
    name: call
    for name, call in globals().items()
    if name.startswith(("scripts_", "ours_")) and callable(call)
}  # fmt: skip


def memory(name: str) -> float:
    """Return a field of this process's status in /proc, MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def run_step(name: str, root: Path, n: int | None) -> None:
    """Run a step and print its seconds, its peak memory, and the size and a checksum of its result."""
    if name.startswith("ours_"):
        import meso  # noqa: F401
        import schemas
        from pipeline import decoding  # noqa: F401
        from populate_scripts import ingest  # noqa: F401
        from schemas.work import filling  # noqa: F401

        if name != "ours_prepare":
            schemas.activate()
    is_reading = not name.endswith(("_fill", "_prepare", "_order", "_end", "_statements"))
    call = partial(STEPS[name], *([root, n] if n else [root]))
    for _ in range(2 if is_reading else 0):
        import numba  # noqa: F401

        call()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of the resident memory
    times, cpus = [], []
    for _ in range(3 if is_reading else 1):
        result = None  # its memory is free before the next call
        start, cpu = time.perf_counter(), time.process_time()
        result = call()
        times.append(TAKEN[0] if TAKEN else time.perf_counter() - start)
        cpus.append(time.process_time() - cpu)
    peak = memory("VmHWM") - before
    done = {"seconds": min(times), "cpu": min(cpus), "peak_mb": peak, "size": result}
    if isinstance(result, np.ndarray):
        done |= {"size": result.nbytes, "check": float(result[:: max(len(result) // 50, 1)].sum())}
        if name.startswith("ours_load"):
            done["limit"] = limit(root, result)
    print(json.dumps(done))


# ------------------------------------------------------------------------------------------------------- the table


def step(name: str, root: Path, n: int | None = None) -> dict:
    command = [sys.executable, __file__, "--root", str(root), "--step", name, *(["--n", str(n)] if n else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(options: argparse.Namespace, kind: str, n_rois: int, n_frames: int) -> None:
    """Make a session, print its table, and remove it."""
    with tempfile.TemporaryDirectory(prefix="meso-", dir=options.tmp) as place:
        root = Path(place) / "one"
        os.environ["MESO_DATA_DIR"] = place
        os.environ["MESO_PREFIX"] = f"bench_{kind}_{n_rois}_"
        (Path(place) / "objects").mkdir()
        os.environ["DJ_STORES"] = json.dumps({"folder": {"protocol": "file", "location": f"{place}/objects"}})
        os.environ["MESO_STORE"] = options.store
        write_session(root, n_rois, n_frames, kind)
        try:
            step("ours_prepare", root)
            where = "a folder" if options.store else "rows"
            print(f"\n{kind}: {n_rois} ROIs x {n_frames} frames, {N_FOVS} FOVs; {backend()}, traces in {where}\n")
            if options.parts:
                parts(root, options)
            else:
                reading_back(root, options, MUST.get((kind, n_rois), {}), n_rois)
        finally:
            step("ours_end", root)


def backend() -> str:
    return os.environ.get("DJ_BACKEND", "mysql" if "DJ_HOST" in os.environ else "postgresql")


def turns(name: str, root: Path, n: int | None, options: argparse.Namespace, theirs: str) -> tuple[dict, dict]:
    """Return the fastest turns of a step of the scripts and of ours, which take turns."""
    found = [(step(theirs, root, n), step(name, root, n)) for _ in range(options.turns)]
    a, b = (
        {**side[0], **{x: min(done[x] for done in side) for x in ("seconds", "cpu")}}
        for side in zip(*found, strict=True)
    )
    if {theirs, name} & {"scripts_all", "scripts_some"} and name not in ("ours_fov", "ours_range"):
        assert a["check"] == b["check"], name
    return a, b


def reading_back(root: Path, options: argparse.Namespace, must: dict[str, float], n_rois: int) -> None:
    """Print how fast ``load_or_embed`` is, relative to np.load of the scripts' dict, beside what is required."""
    step("ours_fill", root)
    step("ours_order", root)
    step("scripts_fill", root)
    rows = {
        "whole": ("scripts_all", "ours_load", None),
        "10 %": ("scripts_some", "ours_load_some", n_rois // 10),
        "features": ("scripts_features", "ours_features", min(600, n_rois // 10)),
    }
    print("| load_or_embed | np.load, s | meso, s | times | must | processor s | times | limit, s | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (theirs, ours, n) in rows.items():
        a, b = turns(ours, root, n, options, theirs)
        least, times = must.get(name), a["seconds"] / b["seconds"]
        verdict = "" if least is None else f"{least:g} ({'met' if times >= least else 'MISSED'})"
        bound = f"{b['limit']:.3f}" if "limit" in b else ""
        print(
            f"| {name} | {a['seconds']:.3f} | {b['seconds']:.3f} | {times:.2f} | {verdict} "
            f"| {a['cpu']:.3f}, {b['cpu']:.3f} | {a['cpu'] / b['cpu']:.2f} | {bound} "
            f"| {a['peak_mb']:.0f}, {b['peak_mb']:.0f} |", flush=True,
        )  # fmt: skip
    n = step("ours_statements", root)["size"]
    verdict = "met" if n <= MOST_STATEMENTS else "MISSED"
    print(f"\nstatements of load_or_embed: {n}; must {MOST_STATEMENTS} ({verdict})", flush=True)


def parts(root: Path, options: argparse.Namespace) -> None:
    """Print how fast ``schemas.activity`` and filling are."""
    pairs = {
        "fill": ("scripts_fill", "ours_fill", None),
        "whole session": ("scripts_all", "ours_all", None),
        "600 scattered cells": ("scripts_some", "ours_some", 600),
        "50 scattered cells": ("scripts_some", "ours_some", 50),
        "one FOV": ("scripts_all", "ours_fov", None),
        "one minute of all": ("scripts_all", "ours_range", None),
    }
    print("| | scripts, s | meso, s | times | scripts, MB | meso, MB |\n|---|---|---|---|---|---|")
    for name, (theirs, ours, n) in pairs.items():
        a, b = turns(ours, root, n, options, theirs)
        print(
            f"| {name} | {a['seconds']:.2f} | {b['seconds']:.2f} | {a['seconds'] / b['seconds']:.1f} "
            f"| {a['peak_mb']:.0f} | {b['peak_mb']:.0f} |", flush=True,
        )  # fmt: skip
        if name == "fill":
            sizes = [done["size"] / 1e6 for done in (a, b)]
    print(f"\nsize: {sizes[0]:.0f} MB as .npy, {sizes[1]:.0f} MB stored: {sizes[1] / sizes[0]:.2f}")


@contextmanager
def own_mysql() -> Iterator[None]:
    """Run a MySQL server with a pool of 2 GB, and name it in the environment."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support import mysql_server

    mysql_server.SERVER_OPTIONS += ("--innodb-buffer-pool-size=2G",)
    with mysql_server.running_mysql() as server:
        names = {"HOST": server.host, "PORT": str(server.port), "USER": server.user, "PASS": server.password}
        os.environ |= {"DJ_BACKEND": "mysql", **{f"DJ_{name}": value for name, value in names.items()}}
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["2000x12000", "6000x20000", "25000x20000"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["sparse", "dense"], choices=["dense", "sparse"])
    parser.add_argument("--backend", choices=["postgresql", "mysql"], default="postgresql")
    parser.add_argument("--store", default="folder", choices=["folder", ""], help="'': traces in rows")
    parser.add_argument("--parts", action="store_true", help="filling, and parts of a session by schemas.activity")
    parser.add_argument("--tmp", help="folder for the session and the embedded database")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.root, options.n)
        return
    with own_mysql() if options.backend == "mysql" and "DJ_HOST" not in os.environ else nullcontext():
        for size in options.sizes:
            n_rois, n_frames = map(int, size.split("x"))
            for kind in options.kinds:
                if options.parts or (kind, n_rois) in MUST or (n_rois not in {n for _, n in MUST}):
                    table(options, kind, n_rois, n_frames)


if __name__ == "__main__":
    main()
