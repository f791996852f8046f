"""Speed of storing and reading activity, compared with the scripts' pickled file, in one run.

    python benchmarks/store.py                          # 8 FOVs, 6,000 ROIs x 20,000 frames, dense and sparse
    python benchmarks/store.py --rois 750 --frames 2000 # a quick look
    DJ_HOST=127.0.0.1 DJ_USER=root DJ_PASS=... python benchmarks/store.py   # MySQL; else the embedded PostgreSQL
    python benchmarks/store.py --objects                # traces in a folder instead of the database

The session is generated: dense fluorescence (baseline, slow drift, transients, noise) or sparse deconvolved activity
(10 % of the frames). The scripts load the ALF files, put signal and times of the first FOV into a dict, and np.save
it; later they np.load all of it and index. Each step runs in a new process, which prints its time and its peak memory
beyond that of the imports. Steps take turns, and medians are shown. Files are in the page cache for both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

N_FOVS, TARGETS = 8, ("choice", "feedback", "stimulus", "block")
SIGNAL = "mpci.ROIActivityDeconvolved.npy"


# ------------------------------------------------------------------------------------------------ the session


def write_session(root: Path, n_rois: int, n_frames: int, kind: str) -> None:
    """Write a session with the demo's writer, with activity of the kind that is measured."""
    from pipeline.demo.repository import write_demo_repository

    n_trials = max(round(n_frames / 5.08 / 4.5), 30)
    write_demo_repository(
        root, n_days=1, n_fovs=N_FOVS, n_trials=n_trials, n_shared=N_FOVS, rois_per_fov=n_rois // N_FOVS
    )
    for number, path in enumerate(sorted(root.rglob(SIGNAL))):
        np.save(path, made(np.load(path, mmap_mode="r").shape[::-1], kind, number).T)


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
    return sorted(root.rglob(SIGNAL))


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
    """Read the cells and average the windows for each target separately, as TrialFeatures does."""
    import schemas
    from pipeline.decoding import FOVCells, trial_features
    from schemas.session import trials_of

    eid = str(schemas.Session.to_arrays("eid")[0])
    trials = trials_of(eid)
    for event, window in windows():
        found = schemas.activity(chosen(n))
        fovs = []
        for fov, times in found.times.frame_times.items():
            rows = np.flatnonzero(found.times.fovs == fov)
            fovs.append(FOVCells(rows, found.traces[rows], times, found.times.offsets[rows]))
        labels = np.zeros(len(trials[event]))
        trial_features(fovs, labels, trials[event] + window[0], trials[event] + window[1], "nearest")


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
        import schemas
        from pipeline import decoding  # noqa: F401
        from populate_scripts import ingest  # noqa: F401
        from schemas.work import filling  # noqa: F401

        if name != "ours_prepare":
            schemas.activate()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of the resident memory
    start = time.perf_counter()
    result = STEPS[name](root, n) if n else STEPS[name](root)
    taken = TAKEN[0] if TAKEN else time.perf_counter() - start
    peak = memory("VmHWM") - before
    size = result.nbytes if isinstance(result, np.ndarray) else result
    check = float(result[:: max(len(result) // 50, 1)].sum()) if isinstance(result, np.ndarray) else None
    print(json.dumps({"seconds": taken, "peak_mb": peak, "size": size, "check": check}))


# ------------------------------------------------------------------------------------------------------- the table


def step(name: str, root: Path, n: int | None = None) -> dict:
    command = [sys.executable, __file__, "--root", str(root), "--step", name, *(["--n", str(n)] if n else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(options: argparse.Namespace) -> None:
    """Print a table for each kind of activity."""
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="meso-", dir=options.tmp) as folder:
            root = Path(folder) / "one"
            os.environ["MESO_DATA_DIR"] = folder
            os.environ["MESO_PREFIX"] = f"bench_{kind}_"
            if options.objects:
                place = Path(folder) / "objects"
                place.mkdir()
                os.environ["DJ_STORES"] = json.dumps({"folder": {"protocol": "file", "location": str(place)}})
                os.environ["MESO_STORE"] = "folder"
            write_session(root, options.rois, options.frames, kind)
            step("ours_prepare", root)
            measure(kind, root, options)
            step("ours_end", root)


def measure(kind: str, root: Path, options: argparse.Namespace) -> None:
    pairs = {
        "fill": ("scripts_fill", "ours_fill", None),
        "whole session": ("scripts_all", "ours_all", None),
        f"{options.cells} scattered cells": ("scripts_some", "ours_some", options.cells),
        "50 scattered cells": ("scripts_some", "ours_some", 50),
        "one FOV": ("scripts_all", "ours_fov", None),
        "one minute of all": ("scripts_all", "ours_range", None),
        f"features of {options.cells} cells, 4 targets": ("scripts_features", "ours_features", options.cells),
    }
    where = "a folder" if options.objects else "the database"
    print(f"\n{kind}: {options.rois} ROIs x {options.frames} frames, {N_FOVS} FOVs; medians of {options.turns}")
    print(f"traces in {where}\n")
    print("| | scripts, s | meso, s | times | scripts, MB | meso, MB |\n|---|---|---|---|---|---|")
    for name, (theirs, ours, n) in pairs.items():
        found = [(step(theirs, root, n), step(ours, root, n)) for _ in range(options.turns)]
        a, b = (float(np.median([pair[i]["seconds"] for pair in found])) for i in (0, 1))
        peaks = [float(np.median([pair[i]["peak_mb"] for pair in found])) for i in (0, 1)]
        if theirs.removeprefix("scripts_") == ours.removeprefix("ours_") and found[0][0]["check"] is not None:
            assert found[0][0]["check"] == found[0][1]["check"], name
        print(f"| {name} | {a:.2f} | {b:.2f} | {a / b:.1f} | {peaks[0]:.0f} | {peaks[1]:.0f} |", flush=True)
        if name == "fill":
            sizes = [found[0][i]["size"] / 1e6 for i in (0, 1)]
    print(f"\nsize: {sizes[0]:.0f} MB as .npy, {sizes[1]:.0f} MB in {where}: {sizes[1] / sizes[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rois", type=int, default=6000)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--cells", type=int, default=600)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["dense", "sparse"], choices=["dense", "sparse"])
    parser.add_argument("--objects", action="store_true", help="traces in objects in a folder, not in rows")
    parser.add_argument("--tmp", help="folder for the session and the embedded database")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.root, options.n)
    else:
        table(options)


if __name__ == "__main__":
    main()
