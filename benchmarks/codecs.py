"""Codecs for blocks of traces compared: speed of encoding and decoding, on one and on two threads, and ratio.

    python benchmarks/codecs.py --rois 1 8 16 32 64 --out table.md

A block is some ROIs x 20,000 frames. The data:

- dense: fluorescence like suite2p's F: a baseline of a few hundred, slow drift, transients and white noise, in
  float32. The noise fills the mantissa, and no lossless codec can remove it;
- quantised: the same, rounded to 1/16;
- sparse: deconvolved activity, one frame in ten not zero, exponential amplitudes, float32;
- int16: the dense fluorescence, rounded.

Speeds are MB/s of uncompressed data, medians of several turns; every output is compared with its input, bit by bit.
Codecs whose library is not installed are skipped.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.storage.arrays import pack, unpack

N_FRAMES = 20_000
DATA = ("dense", "quantised", "sparse", "int16")
SLOW = {"zlib -6": 4e6}  # slow codecs are measured on only so many bytes


class Codec(NamedTuple):
    """A candidate: from an array to bytes, and from bytes into an array of the same shape."""

    name: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, np.ndarray], object]


def traces(kind: str, n_rois: int, rng: np.random.Generator) -> np.ndarray:
    """Return traces of a kind of data, (n_rois, N_FRAMES)."""
    shape = n_rois, N_FRAMES
    amplitudes = rng.exponential(1, shape)
    if kind == "sparse":
        return (60 * amplitudes * (rng.random(shape) < 0.1)).astype(np.float32)
    decay = np.exp(-np.arange(60) / 10)
    events = amplitudes * (rng.random(shape) < 0.005)
    calcium = np.stack([np.convolve(row, decay)[:N_FRAMES] for row in events])
    drift = 1 + 0.1 * np.sin(np.linspace(0, 3, N_FRAMES) + rng.uniform(0, 6, (n_rois, 1)))
    baseline = rng.lognormal(6, 0.5, (n_rois, 1))
    dense = baseline * (drift + 0.5 * calcium + 0.08 * rng.standard_normal(shape))
    if kind == "quantised":
        return (np.round(dense * 16) / 16).astype(np.float32)
    return dense.astype(np.float32) if kind == "dense" else np.round(dense).clip(-32768, 32767).astype(np.int16)


def copy_into(out: np.ndarray, data: bytes) -> None:
    """Copy decoded bytes into an array."""
    out.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)


def shuffled(array: np.ndarray) -> np.ndarray:
    """Return the first bytes of all values, then the second bytes, and so on."""
    return np.ascontiguousarray(array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T)


def unshuffle_into(out: np.ndarray, data: bytes) -> None:
    """Invert ``shuffled``."""
    out.reshape(-1).view(np.uint8).reshape(-1, out.itemsize)[:] = (
        np.frombuffer(data, np.uint8).reshape(out.itemsize, -1).T
    )


def library(name: str):
    """Return a module, or None after printing that it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skipped: {name} is not installed", file=sys.stderr)
        return None


def candidates() -> Iterator[Codec]:
    """Yield the project's codec, the alternatives, and two references: a plain copy, and DataJoint's zlib."""
    yield Codec("pipeline.storage.arrays", pack, lambda data, out: unpack(data, out))
    yield Codec("copy", lambda a: a.tobytes(), lambda data, out: copy_into(out, data))
    yield Codec("zlib -6", lambda a: zlib.compress(a, 6), lambda data, out: copy_into(out, zlib.decompress(data)))
    if blosc := library("numcodecs.blosc"):
        blosc.use_threads = False
        filters = {"shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}
        for inner, level, kind in [
            ("lz4", 1, "shuffle"), ("lz4", 5, "shuffle"), ("lz4", 1, "bitshuffle"), ("lz4", 5, "bitshuffle"),
            ("zstd", 1, "shuffle"), ("zstd", 3, "shuffle"), ("zstd", 1, "bitshuffle"), ("zstd", 3, "bitshuffle"),
        ]:  # fmt: skip
            yield Codec(
                f"blosc {inner}-{level} {kind}",
                lambda a, inner=inner, level=level, kind=kind: blosc.compress(a, inner.encode(), level, filters[kind]),
                lambda data, out: blosc.decompress(data, out),
            )
    if zstd := library("zstandard"):
        for level in (1, 3):
            yield Codec(
                f"shuffle + zstd-{level}",
                lambda a, level=level: zstd.ZstdCompressor(level=level).compress(shuffled(a)),
                lambda data, out: unshuffle_into(out, zstd.ZstdDecompressor().decompress(data)),
            )
    if lz4 := library("lz4.block"):
        yield Codec(
            "shuffle + lz4",
            lambda a: lz4.compress(shuffled(a)),
            lambda data, out: unshuffle_into(out, lz4.decompress(data)),
        )


def speed(work: Callable, items: Iterable, n_bytes: int, n_threads: int, turns: int) -> float:
    """Return the speed in MB/s, median of several turns over the items."""
    items, times = list(items), []
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, items[:n_threads]))  # starts the threads before the clock does
        for _ in range(turns):
            start = time.perf_counter()
            list(pool.map(work, items))
            times.append(time.perf_counter() - start)
    return n_bytes / statistics.median(times) / 1e6


def measure(codec: Codec, blocks: list[np.ndarray], turns: int) -> str:
    """Return one line of the table."""
    enough = int(SLOW.get(codec.name, np.inf) // blocks[0].nbytes) + 2 if codec.name in SLOW else len(blocks)
    blocks = blocks[:enough]
    size = sum(block.nbytes for block in blocks)
    packed = [codec.encode(block) for block in blocks]
    outs = [np.zeros_like(block) for block in blocks]
    pairs = list(zip(packed, outs, strict=True))
    encode = [speed(codec.encode, blocks, size, n, turns) for n in (1, 2)]
    decode = [speed(lambda pair: codec.decode(*pair), pairs, size, n, turns) for n in (1, 2)]
    for block, out in zip(blocks, outs, strict=True):
        assert block.tobytes() == out.tobytes(), codec.name
    numbers = " | ".join(f"{value:,.0f}" for value in encode + decode)
    return f"| {codec.name} | {size / sum(map(len, packed)):.2f} | {numbers} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rois", type=int, nargs="+", default=[16], help="ROIs per block")
    parser.add_argument("--data", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--codecs", nargs="+", default=[""], help="only candidates whose names contain one of these")
    parser.add_argument("--total", type=int, default=128, help="ROIs in all")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the tables here")
    args = parser.parse_args()
    chosen = [codec for codec in candidates() if any(part in codec.name for part in args.codecs)]
    lines: list[str] = []
    for kind in args.data:
        matrix = traces(kind, args.total, np.random.default_rng(0))
        for n in args.rois:
            blocks = [matrix[i : i + n] for i in range(0, args.total, n)]
            print(f"{kind}, {n} x {N_FRAMES}", file=sys.stderr)
            lines += [f"\n{kind}, {n} ROIs x {N_FRAMES} frames, {blocks[0].nbytes / 1e3:,.0f} kB per block\n"]
            lines += ["| codec | ratio | in, 1 thread | in, 2 | out, 1 thread | out, 2 |", "|---|---|---|---|---|---|"]
            lines += [measure(codec, blocks, args.turns) for codec in chosen]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
