"""A raster of a whole session compared with plain imshow of the same matrix: seconds, and memory beyond the matrix.

    python benchmarks/figures.py                      # 25,000 cells x 20,000 frames, 2 GB
    python benchmarks/figures.py --cells 5000 --turns 3

Each is drawn in a new process, which holds the signal (float32) in memory before the clock starts. Both use the same
order of cells; imshow gets fixed colour limits, the raster computes its own; axes are of the same size.
Two steps are timed: building the figure, and saving it as PNG at 200 dots per inch. The raster also scales each cell,
and averages cells and frames where imshow at its fastest ("nearest") leaves them out. A process that would take more
memory than --limit ends, and the table says so: at full size imshow takes more than 20 GB.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.figures import raster

PERIOD = 0.2  # s
DPI = 200


def signal_of(n_cells: int, n_frames: int) -> np.ndarray:
    """Return sparse positive activity (N, T) float32, made in blocks."""
    rng = np.random.default_rng(0)
    out = np.zeros((n_cells, n_frames), dtype=np.float32)
    for block in np.array_split(out, max(n_cells // 500, 1)):
        block[rng.random(block.shape, dtype=np.float32) < 0.1] = 1
        block *= rng.standard_exponential(block.shape, dtype=np.float32)
    return out


def draw_raster(signal: np.ndarray, order: np.ndarray, t_range: tuple[float, float]) -> Figure:
    return raster(signal, np.arange(signal.shape[1]) * PERIOD, order=order, t_range=t_range, bg=None)


def draw_imshow(signal: np.ndarray, order: np.ndarray, t_range: tuple[float, float], interpolation: str) -> Figure:
    first, last = (round(t / PERIOD) for t in t_range)
    figure = Figure(figsize=(10, 5.6))
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    ax.imshow(signal[order, first:last], aspect="auto", cmap="gray_r", vmin=0, vmax=1, interpolation=interpolation)
    return figure


WAYS: dict[str, Callable[..., Figure]] = {
    "raster": draw_raster,
    "imshow": lambda *args: draw_imshow(*args, "auto"),
    "imshow, nearest": lambda *args: draw_imshow(*args, "nearest"),
}


def memory(name: str) -> float:
    """Return a field of this process's status in /proc, MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def measure(way: str, n_cells: int, n_frames: int, t_range: tuple[float, float]) -> None:
    """Draw and save once; print seconds of both and the memory beyond the signal, MB."""
    order = np.random.default_rng(1).permutation(n_cells)
    signal = signal_of(n_cells, n_frames)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of the resident memory
    start = time.perf_counter()
    figure = WAYS[way](signal, order, t_range)
    drawn = time.perf_counter()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    end = time.perf_counter()
    print(json.dumps({"draw": drawn - start, "save": end - drawn, "peak": memory("VmHWM") - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=25_000)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--limit", type=float, default=12, help="GB of memory that a process may take")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        resource.setrlimit(resource.RLIMIT_AS, (int(options.limit * 1e9),) * 2)
        measure(options.way, options.cells, options.frames, (0.0, options.until))
        return
    print(f"{options.cells} cells x {options.frames} frames; medians of {options.turns}\n")
    print("| | draw, s | save, s | memory, MB |\n|---|---|---|---|")
    for name, until in (("whole session", options.frames * PERIOD), ("one minute", 60.0)):
        size = ["--cells", options.cells, "--frames", options.frames, "--until", until, "--limit", options.limit]
        found = [[child(way, size) for way in WAYS] for _ in range(options.turns)]
        for i, way in enumerate(WAYS):
            turns = [one[i] for one in found]
            if None in turns:
                print(f"| {name}, {way} | - | - | more than {1000 * options.limit:.0f} in all |", flush=True)
                continue
            draw, save, peak = (np.median([one[key] for one in turns if one]) for key in ("draw", "save", "peak"))
            print(f"| {name}, {way} | {draw:.2f} | {save:.2f} | {peak:.0f} |", flush=True)


def child(way: str, size: list) -> dict | None:
    """Measure one way of drawing in a new process; return None if it ran out of memory."""
    done = subprocess.run([sys.executable, __file__, "--way", way, *map(str, size)], capture_output=True, text=True)
    if "MemoryError" in done.stderr or "Unable to allocate" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr or done.returncode}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
