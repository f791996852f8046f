"""Read caches of IBL's mesoscope scripts. They are pickled dicts: plain data are read, code is never executed.

``<eid>.npy`` or ``<eid>_filter_<True|False>.npy`` holds the activity of a session's ROIs, FOV after FOV, and their
Rastermap order. It does not record which ROI a row is, nor the parameters and files that it was made from. A ``.pkl``
holds neuron-dropping curves.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import DataError
from pipeline.old_caches.plain_pickle import NOTHING_RAN, plain_values
from pipeline.reading.datasets import check_regular, sha256_file

EID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
CACHE_NAME = re.compile(rf"({EID})(?:_filter_(?:True|False))?\.npy")
#: Bytes of traces in memory at a time. Rows are read in blocks because the cache may be stored frame by frame.
BLOCK_BYTES = 64_000_000
#: Limits for a file of curves. A small pickle can expand to any size, because one list can occur in it many times.
MAX_VALUES, MAX_DEPTH = 1_000_000, 20
AS_WRITTEN = "a dict in an array of no dimensions, as the scripts wrote it with numpy.save"


@dataclass(frozen=True)
class OldCache:
    """The activity cache of a session.

    Attributes
    ----------
    eid : str
    name : str
        File name.
    sha256 : str
        Hash of the file, hex.
    roi_signal : (N, T) float32
        Memory map.
    isort : (N,) int64 or None
        Row ``isort[0]`` comes first; None if the cache has no order, or the order of its rows.
    region_labels : (N,) str or None
        None also if there are fewer than N: the scripts dropped ids that were not in the atlas.
    xyz : (N, 3) float or None
        Positions in µm.
    """

    eid: str
    name: str
    sha256: str
    roi_signal: np.ndarray
    isort: np.ndarray | None
    region_labels: np.ndarray | None
    xyz: np.ndarray | None

    def digests(self) -> Iterator[bytes]:
        """Yield the `trace_digest` of each row."""
        n_rows, n_frames = self.roi_signal.shape
        # or 1: a cache may have no frames
        step = max(1, BLOCK_BYTES // (4 * n_frames or 1))
        for start in range(0, n_rows, step):
            yield from map(trace_digest, np.ascontiguousarray(self.roi_signal[start : start + step]))


def trace_digest(trace: np.ndarray) -> bytes:
    """Return the digest of a trace (T,) as little-endian float32; equal digests mean equal bits."""
    return hashlib.sha256(np.asarray(trace, "<f4").tobytes()).digest()


def read_old_cache(path: Path | str, eid: str | None = None) -> OldCache:
    """Read an activity cache of the scripts without unpickling it.

    Parameters
    ----------
    path : path
    eid : str, optional
        Session id. Default: from the file name.

    Raises
    ------
    DataError
        The file is not such a cache, is damaged, or holds anything but plain data; or its name has no session id.
    """
    path = Path(path)
    named = CACHE_NAME.fullmatch(path.name)
    if eid is None and named is None:
        raise DataError(
            "its name has no session id", dataset=path.name, expected="<eid>.npy or <eid>_filter_<True|False>.npy",
            do="Give the session with --eid",
        )  # fmt: skip
    return _checked(str(eid or named[1]), path, _read_dict(path))  # type: ignore[index]


def _read_dict(path: Path) -> dict[Any, Any]:
    """Return the dict of a ``.npy`` file; its large arrays stay on disk."""
    formats = np.lib.format
    check_regular(path, dataset=path.name)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of headers written by Python 2
            is_first = formats.read_magic(file) == (1, 0)
            # by hand and not by np.load, which would need allow_pickle=True for an array of objects
            shape, _, dtype = (formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0)(file)
            data = _mapped(file)[file.tell() :]
    except (OSError, ValueError) as error:
        raise DataError(f"is not a .npy file ({error})", dataset=path.name, do=NOTHING_RAN) from error
    if shape != () or not dtype.hasobject:
        raise DataError(
            "is not a cache of the scripts", dataset=path.name, expected=AS_WRITTEN, found=f"{shape} {dtype}"
        )
    value = plain_values(data, name=path.name)
    content = value[()] if isinstance(value, np.ndarray) and value.shape == () else value
    if type(content) is not dict:
        raise DataError(
            "is not a cache of the scripts", dataset=path.name, expected=AS_WRITTEN, found=type(content).__name__
        )
    return content


def _checked(eid: str, path: Path, content: dict[str, Any]) -> OldCache:
    """Return the arrays of a cache after checking that they fit each other."""
    signal = _array(path, content, "roi_signal", "f", (None, None))
    if signal is None or signal.dtype.itemsize != 4:
        found = ascii(sorted(key for key in content if isinstance(key, str)))[:200] if signal is None else signal.dtype
        raise DataError("has no activity", dataset=path.name, expected="roi_signal (N, T) float32", found=found)
    n_rows = len(signal)
    order, rows = _array(path, content, "isort", "iu", (n_rows,)), np.arange(n_rows)
    if order is not None and not np.array_equal(np.sort(order), rows):
        raise DataError("isort is not a permutation", dataset=path.name, expected=f"each of 0 to {n_rows - 1} once")
    labels = _array(path, content, "region_labels", "UO", (None,))
    return OldCache(
        eid=eid,
        name=path.name,
        sha256=sha256_file(path),
        roi_signal=signal,
        isort=None if order is None or np.array_equal(order, rows) else order.astype(np.int64),
        region_labels=None if labels is None or len(labels) != n_rows else labels.astype(str),
        xyz=_array(path, content, "xyz", "f", (n_rows, 3)),
    )


def _array(
    path: Path, content: dict[str, Any], name: str, kinds: str, shape: tuple[int | None, ...]
) -> np.ndarray | None:
    """Return an array of the dict, or None if it is missing; None in `shape` matches any size."""
    value: np.ndarray | None = content.get(name)
    if value is None:
        return None
    is_array = isinstance(value, np.ndarray) and value.dtype.kind in kinds and value.ndim == len(shape)
    if not is_array or any(size not in (None, n) for size, n in zip(shape, value.shape, strict=True)):
        found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        expected = f"dtype of kind {' or '.join(kinds)}, shape {str(shape).replace('None', 'any')}"
        raise DataError(f"{name} does not fit", dataset=path.name, expected=expected, found=found)
    return value


def _mapped(file: BinaryIO) -> memoryview:
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_old_curves(path: Path | str) -> Any:
    """Return the content of a ``.pkl`` of neuron-dropping curves as values that JSON can represent.

    Results, which the scripts pickled as instances of a class of their own, become dicts of their attributes.

    Parameters
    ----------
    path : path

    Raises
    ------
    DataError
        The file holds anything but plain data and results, or is damaged.
    """
    path = Path(path)
    check_regular(path, dataset=path.name)
    try:
        with path.open("rb") as file:
            content = plain_values(_mapped(file), {"NDCResult"}, path.name)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", dataset=path.name) from error
    try:
        return _as_json(content, count(), 0)
    except DataError as error:
        raise error.located(dataset=path.name) from None


def curves_in(content: Any) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Yield each result in the output of ``read_old_curves``, preceded by the keys that lead to it."""
    if isinstance(content, dict) and {"ks", "scores"} <= set(content):
        yield "", content
    elif isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from ((f"{key} {inner}".strip(), curve) for inner, curve in curves_in(value))


def _as_json(value: Any, counted: Iterator[int], depth: int) -> Any:
    """Return plain values as JSON values; numbers that are not finite become None."""
    # counted as they are written out: a list that occurs many times counts each time
    if next(counted) > MAX_VALUES or depth > MAX_DEPTH:
        expected = f"at most {MAX_VALUES} values, nested at most {MAX_DEPTH} deep"
        raise DataError("is not a file of curves: it holds too many values", expected=expected)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(_as_json(key, counted, depth)): _as_json(item, counted, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item, counted, depth + 1) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    # larger whole numbers are no JSON that every reader takes
    if value is None or isinstance(value, str) or (isinstance(value, int) and value.bit_length() < 64):
        return value
    raise DataError("is not a file of curves", found=f"a value of type {type(value).__name__}")
