"""Caches written as the scripts wrote them: their contents are found, and no function that they name is called."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import pickle
import pickletools
import re
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support import version_3

import schemas
from pipeline.errors import DataError
from pipeline.old_caches import plain_pickle
from pipeline.old_caches.caches import read_old_cache, read_old_curves
from pipeline.old_caches.plain_pickle import plain_values
from schemas.exchange.old_caches import import_file
from schemas.imaging.tables import insert_traces
from schemas.session import FOVFolder

BY_HAND = "00000000-0000-3000-8000-0000000000c4"
#: Saved by numpy 1.26.4 with numpy.save: 2 cells x 3 frames.
NUMPY_1 = (
    "eNqlkt9S00AUxjcUpI2iVYvW/1XUpFprUaoR0UarKGQoThyceOF0kjSQzLRJv2TrWIUZbhB67Qv4iL6B7rYJY9U7z8zJyW7OOb/z7eZbY2PtzXuBfCRfpJYT2a"
    "G0WJC216VSQdoMQhqafjMIWw7fXjbbkcP2I9fsOmwtF0uFncL/mbibsv1ep9sv20HolDu9NvXMMDT7YjN07MCPaNizqQgyyhL91ugrBI3sYaIuWEjtY1LHlKwJ"
    "xTipRftdR8QRY4IQsq5genCwj7SOjKylDIHtbUNsNBqrP5kNH1qN4qg1+IBjO5iRDZGlhIHXjLwt32zjuEvcIe6Ey1hZHScZS5vQUl9xyh1BNhdwmkNyOmYTyB"
    "LOjEMIxVnroJ4nQ1NVQnZrzFW+IOS7ijzFOcvIxHTqdZwI5xP4BQ6/qOPSIfyyOztIuv1tuEJRsIwZ3s3Z8gK/2TYtpx3hatLxGu84p+P6sOMebsRiNqq4ycVI"
    "OmQmxuUytJw2qaUpitagLr9jSSvM3zLvMp9nvsaPmnn0+wi3KG6PjWAH7SCMUEpGuMNHKOu4G49QcTPsFuZlY5rVzFUUparYuNdwKO5bxhTb8yL2U2Ihqa/y+g"
    "c6Hsb1SizBU/CIS1jU8TiRMH4TS0xIVvjzzJ5QPLWMFHv91P+MWoJROeaZjueHZ19PLl7BCw56qWP536BXDFQZtf9RiznqKKTjmI1jLo55Fa8pVqyeSbFqlX8B"
    "xXHyZQ=="
)


# ---------------------------------------------------------------- plain data


VALUES = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i8"),
    "half": np.array([0.5, np.nan, -0.0], np.float16),
    "flags": np.array([True, False]),
    "text": np.array(["VISp2/3", "MOs", ""]),
    "bytes": np.array([b"a", b"bc"]),
    "objects": np.array(["#08858c", None, 3, (1, "x")], dtype=object),
    "objects by column": np.asfortranarray(np.array([["a", None], [1, 2.5]], dtype=object)),
    "empty": np.empty((0, 3)),
    "no dimensions": np.array({"inside": [1, 2]}, dtype=object),
    "scalars": [np.float64(0.1), np.int64(-3), np.bool_(True), np.str_("é")],
    "plain": [None, True, -1, 70_000, 1 << 70, -(1 << 70), 0.1, "é\n", (), (1,), (1, 2, 3, 4), {}, {1: "x", "y": []}],
}


def as_text(value: object) -> str:
    """Describe a value: type, dtype, shape, order and values."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return f"objects {value.shape} {[as_text(one) for one in value.ravel()]}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape} {value.tobytes().hex()}"
    if isinstance(value, dict):
        return f"dict {[(as_text(key), as_text(one)) for key, one in value.items()]}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} {[as_text(one) for one in value]}"
    return f"{type(value).__name__} {value!r}"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_plain_data_is_what_pickle_gives(name, protocol):
    data = pickle.dumps(VALUES[name], protocol)
    assert as_text(plain_values(data)) == as_text(VALUES[name])
    old = data.replace(b"numpy._core", b"numpy.core")  # as numpy 1 names it; protocols 4 and 5 write its length before
    for module, length in ((b"numpy.core.multiarray", b"\x15"), (b"numpy.core.numeric", b"\x12")):
        old = re.sub(b"[\x13\x16]" + re.escape(module), length + module, old)
    assert as_text(plain_values(old)) == as_text(VALUES[name])


def test_arrays_share_the_memory_of_the_file():
    data = bytearray(pickle.dumps({"a": np.frombuffer(b"abc", np.uint8)}, 4))
    found = plain_values(data)["a"]
    data[data.index(b"abc")] = 7
    assert found.tolist() == [7, *b"bc"] and not found.flags.writeable


def test_cache_of_numpy_1(tmp_path):
    path = tmp_path / f"{BY_HAND}.npy"
    path.write_bytes(zlib.decompress(base64.b64decode(NUMPY_1)))
    assert b"numpy.core.multiarray" in path.read_bytes()
    cache = read_old_cache(path)
    assert cache.eid == BY_HAND and cache.isort.tolist() == [1, 0]
    assert cache.roi_signal.tolist() == [[0, 1, 2], [3, 4, 5]] and cache.roi_signal.dtype == np.float32
    assert cache.region_labels.tolist() == ["VISp1", "MOs"] and cache.xyz.tolist() == [[1, 2, 3], [4, 5, 6]]


# ---------------------------------------------------------------- what is not plain data


class Reduced:
    """Is pickled as the call of a function, and what else __reduce__ may ask for."""

    def __init__(self, *reduced: object):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def calls(module: str, name: str, *arguments: object) -> bytes:
    """Return the pickle of a call of a function by its name, which may have dots."""
    named = pickle.dumps(module, 4)[11:-2], pickle.dumps(name, 4)[11:-2]  # without protocol, frame, MEMOIZE and STOP
    return b"\x80\x04" + b"".join(named) + b"\x93" + pickle.dumps(arguments, 2)[2:-1] + b"R."


def in_array(value: object) -> np.ndarray:
    """Return an array whose second object is the value, in the depth of a cache."""
    inner = np.empty(2, dtype=object)
    inner[1] = [value]
    return np.array({"region_colors": inner}, dtype=object)


def opens(path: Path) -> Reduced:
    return Reduced(open, (str(path), "w"))


EXECUTE: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda path: calls("os", "system", f"touch {path}"),
    "posix.system": lambda path: calls("posix", "system", f"touch {path}"),
    "subprocess.check_call": lambda path: calls("subprocess", "check_call", ["touch", str(path)]),
    "builtins.eval": lambda path: calls("builtins", "eval", f"open({str(path)!r}, 'w')"),
    "builtins.exec": lambda path: calls("builtins", "exec", f"open({str(path)!r}, 'w')"),
    "io.open": lambda path: pickle.dumps(opens(path)),
    "__builtin__.eval": lambda path: f"c__builtin__\neval\n(S\"open({str(path)!r}, 'w')\"\ntR.".encode(),
    "numpy.memmap": lambda path: calls("numpy", "memmap", str(path), "u1", "w+", 0, (1,)),
    "numpy.savetxt": lambda path: calls("numpy", "savetxt", str(path), [1.0]),
    "numpy.testing._private.utils.runstring": lambda path: calls(
        "numpy.testing._private.utils", "runstring", f"open({str(path)!r}, 'w')", {}
    ),
    "numpy.linalg.os.system": lambda path: calls("numpy.lib._datasource", "os.system", f"touch {path}"),
    "numpy.ndarray.tofile": lambda path: calls("numpy", "ndarray.tofile", np.zeros(2), str(path)),
    "pathlib.Path.touch": lambda path: calls("pathlib", "Path.touch", path),
    "a state": lambda path: pickle.dumps(Reduced(list, (), None, iter([opens(path)]))),
    "__setstate__": lambda path: pickle.dumps(Reduced(np.ndarray, ((0,),), opens(path))),
    "arguments of _reconstruct": lambda path: pickle.dumps(
        Reduced(np._core.multiarray._reconstruct, (np.ndarray, opens(path), b"b"))
    ),
    "arguments of dtype": lambda path: pickle.dumps(Reduced(np.dtype, (opens(path),))),
    "a class of _reconstruct": lambda path: pickle.dumps(
        Reduced(np._core.multiarray._reconstruct, (opens(path), (0,), b"b"))
    ),
    "deep in an object array": lambda path: pickle.dumps(in_array(opens(path)), 4),
    "deep in an object array, protocol 2": lambda path: pickle.dumps(in_array(opens(path)), 2),
    "a key": lambda path: pickle.dumps(Reduced(dict, (), None, None, iter([(opens(path), 1)]))),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EXECUTE)
def test_what_would_be_executed_is_refused_and_named(name, tmp_path):
    canary = tmp_path / "executed"
    data = EXECUTE[name](canary)
    with contextlib.suppress(Exception):  # after the harm is done
        pickle.loads(data)  # noqa: S301  to check that the file is dangerous
    assert canary.exists()
    canary.unlink()
    with pytest.raises(DataError, match=r"x\.npy: .*Nothing in the file was executed") as error:
        plain_values(data, {"NDCResult"}, "x.npy")
    assert not canary.exists()
    assert "is not a complete pickle" not in str(error.value)


@pytest.mark.parametrize(
    ("reduced", "named"),
    [
        (Reduced(np.load, ("x.npy",)), "names numpy.load,"),
        (Reduced(np.memmap, ("x.npy",)), "names numpy.memmap,"),
        (Reduced(np._core.multiarray._reconstruct, (np.memmap, (0,), b"b")), "names numpy.memmap,"),
        (Reduced(np._core.multiarray._reconstruct, (list, (0,), b"b")), "names builtins.list,"),
        (Reduced(np._core.multiarray._reconstruct, ((0,), (0,), b"b")), "array of an unknown class"),
        (Reduced(np.ndarray, ((1 << 40,),)), "calls numpy.ndarray"),
        (Reduced(np.dtype, ("V8",)), "found dtype 'V8'"),
        (Reduced(np.dtype, ("O8,O8",)), "found dtype 'O8,O8'"),
        (np.zeros(2, [("a", "f4")]), "found dtype 'V4'"),
        (np.zeros(2, "M8[s]"), "found dtype 'M8'"),
        (np.rec.array([(1,)], dtype=[("a", "i4")]), "names numpy.rec"),
        (np.array(["a"], np.dtypes.StringDType()), "names numpy._core._internal._convert_to_stringdtype_kwargs,"),
        ({1, 2}, "instruction EMPTY_SET,"),
        (in_array(3j), "names builtins.complex,"),
        ({(1, 2): 3}, "has a dict key that is neither text nor number"),
    ],
)  # fmt: skip
def test_what_is_not_plain_data_is_named(reduced, named):
    with pytest.raises(DataError, match=named):
        plain_values(pickle.dumps(reduced, 5))


def array_state(shape: object, dtype: str, values: object) -> bytes:
    """Return the pickle of an array that claims to have a shape."""
    made = pickle.dumps(Reduced(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b")), 2)[:-1]
    return made + pickle.dumps((1, shape, np.dtype(dtype), False, values), 2)[2:-1] + b"b."


TEXT_A = b"X\x01\x00\x00\x00a"
UNFILLED = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"
CLAIMS: dict[str, tuple[bytes, str]] = {
    "bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.", "is cut off .*expected 1099511627776 bytes"),
    "text": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc.", "is cut off"),
    "a number": (b"\x80\x04\x8b" + struct.pack("<I", 1 << 31) + b"abc.", "is cut off"),
    "places in the memo": (b"\x80\x04Nr" + struct.pack("<I", 0xFFFFFFFF) + b"N", "is cut off"),
    "elements": (array_state((1 << 40,), "u1", b"abc"), "whose size does not match its shape"),
    "elements without size": (array_state((1 << 40,), "U0", b""), "without a dtype"),
    "objects": (array_state((1 << 40,), "O", [None]), "whose size does not match its shape"),
    "huge dimensions": (array_state((1 << 9000,) * 30, "u1", b"abc"), "without a shape"),
    "negative dimensions": (array_state((-1, -3), "u1", b"abc"), "without a shape"),
    "no dimensions": (array_state(None, "u1", b"abc"), "without a shape"),
    "pointers as bytes": (array_state((1,), "O", b"\x01" * 8), "without values"),
    "text that is none": (array_state((1,), "U1", b"abcd"), "text with invalid characters"),
    "numbers as a list": (array_state((1,), "f8", [1.0]), "without values"),
    "a frame": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"K\x01.", ""),
    "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "a persistent id": (b"\x80\x02K\x01Q.", "BINPERSID"),
    "an old instance": (b"(S'touch x'\nios\nsystem\n.", "STRING"),
    "nothing": (b"", "is cut off"),
    "no value": (b"\x80\x04.", "is not a complete pickle"),
    "no mark": (b"\x80\x04t.", "is not a complete pickle"),
    "nothing remembered": (b"\x80\x04h\x05.", "is not a complete pickle"),
    "a state of a list": (b"\x80\x04]}b.", "applies an instruction to a value of the wrong type"),
    "an attribute of a function": (b"\x80\x02cnumpy\ndtype\n}" + TEXT_A + b"K\x01sb.", "to a value of the wrong type"),
    "a call of text": (b"\x80\x02X\x01\x00\x00\x00a)R.", "calls a value that is not a function"),
    "a dtype that is never filled": (b"\x80\x02" + UNFILLED + b"\x85.", "that is never filled"),
    "a dtype of records": (b"\x80\x02" + UNFILLED + b"K\x03X\x03\x00\x00\x00f4,\x86b.", "unknown byte order"),
    "a dtype within itself": (b"\x80\x02" + UNFILLED + b"q\x00]h\x00ab.", "that contains itself"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_compared_with_what_the_file_has(name):
    data, message = CLAIMS[name]
    tracemalloc.start()
    try:
        if message:
            with pytest.raises(DataError, match=message):
                plain_values(data)
        else:
            assert plain_values(data) == 1
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_there_is_an_end(monkeypatch):
    monkeypatch.setattr(plain_pickle, "MOST_INSTRUCTIONS", 1000)
    assert plain_values(b"\x80\x04" + b"N" * 998 + b".") is None
    with pytest.raises(DataError, match=r"too many objects .*at most 1000"):
        plain_values(b"\x80\x04" + b"N" * 999 + b".")


@pytest.mark.slow
def test_a_tree_of_one_list_in_many_places_is_refused(tmp_path):
    laughs: list = ["ha"] * 10
    for _ in range(15):
        laughs = [laughs] * 10
    deep: list = []
    for _ in range(200):
        deep = [deep]
    endless: list = []
    endless.append(endless)
    path = tmp_path / "x.pkl"
    for value in (laughs, deep, endless, {"ks": 1 << 100}):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(DataError, match=r"x\.pkl: is not a file of curves"):
            read_old_curves(path)


@pytest.mark.slow
def test_damaged_files_are_refused_or_plain(tmp_path):
    """Every length, and thousands of changed bytes: no other error, no crash, no time."""
    path, canary = tmp_path / f"{BY_HAND}.npy", tmp_path / "canary"
    whole = zlib.decompress(base64.b64decode(NUMPY_1))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=path.name):
            read_old_cache(path)
    rng = np.random.default_rng(0)
    sources = [
        whole[128:],
        pickle.dumps(VALUES, 2),
        pickle.dumps(VALUES, 5),
        EXECUTE["deep in an object array"](canary),
    ]
    codes = np.array([ord(one.code) for one in pickletools.opcodes], dtype=np.uint8)
    begin, n_refused = time.perf_counter(), 0
    for i in range(4000):
        data = np.frombuffer(sources[i % len(sources)], np.uint8).copy()
        at = rng.integers(len(data), size=rng.integers(1, 5))
        data[at] = rng.choice(codes, len(at)) if i % 2 else rng.integers(256, size=len(at))
        try:
            plain_values(data.tobytes())
        except DataError:
            n_refused += 1
    assert 1000 < n_refused < 4000
    assert not canary.exists()
    assert time.perf_counter() - begin < 30


# ---------------------------------------------------------------- caches of a session


def write(path: Path, **content: object) -> Path:
    """Write a cache as the scripts did."""
    np.save(path, content, allow_pickle=True)
    return path


def alf(root: Path, fov: int, name: str) -> np.ndarray:
    """Return an array of the demo's first session; no table and none of our readers between."""
    return np.load(next(root.glob(f"*/Subjects/SP999/2025-03-03/001/alf/FOV_{fov:02d}/{name}.npy")))


@pytest.fixture(scope="module")
def scripts(demo_truth) -> dict[str, np.ndarray]:
    """What the scripts made of the demo's first session: all ROIs, FOV after FOV, and any order."""
    from iblatlas.regions import BrainRegions

    fovs = range(3)
    signal = [alf(demo_truth.root, fov, "mpci.ROIActivityDeconvolved").T for fov in fovs]
    regions = [alf(demo_truth.root, fov, "mpciROIs.brainLocationIds_ccf_2017_estimate") for fov in fovs]
    n_rois = sum(map(len, signal))
    return {
        "roi_signal": np.vstack(signal).astype(np.float32),
        "roi_times": np.zeros((len(signal[0]), signal[0].shape[1]), np.float32),
        "region_labels": BrainRegions().id2acronym(np.concatenate(regions)),
        "region_colors": np.array(["#08858c"] * n_rois, dtype=object),
        "isort": np.random.default_rng(1).permutation(n_rois),
        "xyz": np.vstack([alf(demo_truth.root, fov, "mpciROIs.mlapdv_estimate") for fov in fovs]),
        "is_neuron": np.concatenate([alf(demo_truth.root, fov, "mpciROIs.mpciROITypes") for fov in fovs]) == 1,
        "cell": np.array([(fov, roi) for fov in fovs for roi in range(len(signal[fov]))]),
    }


def cache_of(scripts: dict[str, np.ndarray], rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return a cache of some rows; their order is as random as that of all."""
    rows = np.arange(len(scripts["cell"])) if rows is None else rows
    cache = {name: scripts[name][rows] for name in ("roi_signal", "region_labels", "region_colors", "xyz")}
    return cache | {"roi_times": scripts["roi_times"], "isort": np.argsort(scripts["isort"][rows])}


@pytest.fixture
def eid(demo_sessions) -> Iterator[str]:
    yield demo_sessions[0]
    (schemas.ImportedOrder & {"eid": demo_sessions[0]}).delete()


def imported(eid: str) -> list[tuple[int, int]]:
    """Return FOV and ROI of the imported cells in their order."""
    ranks = (schemas.ImportedOrder.Rank & {"eid": eid}).to_arrays("fov", "roi", order_by="imported_rank")
    return list(zip(*(column.tolist() for column in ranks), strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "{}_filter_True.npy",
        *(pytest.param(f"{{}}{end}.npy", marks=pytest.mark.one_backend) for end in ("", "_filter_False")),
    ],
)
def test_the_order_of_a_cache_is_that_of_the_cells(eid, scripts, tmp_path, name):
    neurons = "False" not in name
    rows = np.flatnonzero(scripts["is_neuron"]) if neurons else np.arange(len(scripts["cell"]))
    cache = cache_of(scripts, rows)
    path = write(tmp_path / name.format(eid), **cache)
    dry = import_file(path, dry_run=True)
    assert imported(eid) == []
    report = import_file(path)
    assert imported(eid) == [tuple(cell) for cell in scripts["cell"][rows][cache["isort"]].tolist()]
    assert (report.n_rows, report.n_matched, report.n_new) == (len(rows),) * 3
    assert (report.not_found, report.ambiguous, dry.as_row() | {"dry_run": False}) == ([], [], report.as_row())
    assert (report.n_same_regions, report.n_same_xyz) == (len(rows), len(rows))
    row = (schemas.ImportedOrder & {"eid": eid}).fetch1()
    assert (row["cache_name"], row["n_cache_rows"]) == (path.name, len(rows))
    again = import_file(path)
    assert again.n_new == 0 and (schemas.ImportedOrder & {"eid": eid}).fetch1() == row
    assert again.lines()[0].startswith("imported before: the order of ")


def test_rows_that_differ_are_left_out_and_named(eid, scripts, tmp_path):
    cache = cache_of(scripts)
    cache["roi_signal"] = np.asfortranarray(cache["roi_signal"])  # frame by frame, as stacks of transposed arrays are
    cache["roi_signal"][[3, 40]] *= np.float32(1.0001)
    cache["region_labels"][[5, 6, 7]] = "XX"
    cache["xyz"][8] += 1
    report = import_file(write(tmp_path / "copy of a cache.npy", **cache), eid)
    assert report.not_found == [3, 40] and report.n_matched == report.n_rows - 2
    assert (report.n_same_regions, report.n_same_xyz) == (report.n_matched - 3, report.n_matched - 1)
    expected = [tuple(cell) for row in cache["isort"] if row not in (3, 40) for cell in scripts["cell"][[row]].tolist()]
    assert imported(eid) == expected
    ranks = (schemas.ImportedOrder.Rank & {"eid": eid}).to_arrays("cache_row", "imported_rank")
    assert np.array_equal(cache["isort"][ranks[1]], ranks[0])  # among all rows
    assert "left out: 2 rows (3, 40): no ROI has this trace" in "\n".join(report.lines())


@pytest.mark.one_backend  # other tests send its statements on both
def test_labels_and_positions_that_do_not_fit_are_not_compared(eid, scripts, tmp_path):
    cache = cache_of(scripts)
    cache["region_labels"] = cache["region_labels"][:-4]  # the atlas did not know four ids
    del cache["xyz"]
    report = import_file(write(tmp_path / f"{eid}.npy", **cache))
    assert (report.n_same_regions, report.n_same_xyz) == (None, None)
    assert report.n_matched == report.n_rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"isort": None}, "has no order to import"),
        ({"isort": "rows"}, "has no order to import: isort is missing, or is 0, 1, 2"),
        ({"isort": "twice"}, r"isort is not a permutation \(expected each of 0 to 648 once\)"),
        ({"isort": np.arange(5)[::-1]}, r"isort does not fit .*found int64 \(5,\)"),
        ({"roi_signal": None}, r"has no activity .*found \['isort', 'region_colors', "),
        ({"roi_signal": "float64"}, "has no activity .*found float64"),
        (
            {"roi_signal": "another"},
            "no row has the same trace as a ROI.*FOV_00 266 x 5957 deconvolved.*found 649 x 5957",
        ),
    ],
)
def test_caches_without_an_order_of_these_cells(eid, scripts, tmp_path, change, message):
    cache = cache_of(scripts)
    special = {
        "rows": np.arange(len(cache["isort"])), "twice": np.zeros_like(cache["isort"]),
        "float64": cache["roi_signal"].astype(float), "another": cache["roi_signal"] + 1,
    }  # fmt: skip
    ((name, value),) = change.items()
    cache[name] = special[value] if isinstance(value, str) else value
    path = write(tmp_path / f"{eid}.npy", **{key: one for key, one in cache.items() if one is not None})
    with pytest.raises(DataError, match=re.escape(path.name) + ".*: " + message):
        import_file(path)
    assert imported(eid) == []


def test_files_that_are_no_caches(database, tmp_path, scripts):
    cache = cache_of(scripts, np.arange(4)[::-1])
    unknown = f"{BY_HAND}.npy"
    for content, name, message in (
        (np.arange(3), unknown, "is not a cache of the scripts"),
        (np.array([{}], dtype=object), unknown, "is not a cache of the scripts"),
        (np.array([1, 2], dtype=object), unknown, "is not a cache of the scripts"),
        (np.array(3, dtype=object), unknown, "is not a cache of the scripts .*found int"),
        (cache, "mine.npy", "its name has no session id .*--eid"),
        (cache, unknown, "the session is not registered.*meso ingest"),
    ):
        np.save(tmp_path / name, content, allow_pickle=True)
        with pytest.raises(DataError, match=message):
            import_file(tmp_path / name)
    (tmp_path / unknown).write_bytes(b"")
    with pytest.raises(DataError, match=r"is not a \.npy file"):
        import_file(tmp_path / unknown)


@pytest.fixture
def by_hand(database) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Store FOVs of a session that has no files."""
    schemas.Subject.insert1({"subject": "HAND"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    schemas.Session.insert1({"eid": BY_HAND, "subject": "HAND", **row})

    def insert(fov: int, traces: np.ndarray) -> None:
        version_3.insert_fov(BY_HAND, fov, len(traces), *traces.shape)
        with database.transaction:
            insert_traces({"eid": BY_HAND, "fov": fov}, traces)

    yield insert
    tables = (schemas.ImportedOrder.Rank, schemas.ImportedOrder, schemas.Activity.Trace, schemas.Activity, schemas.ROI,
              schemas.FOV, FOVFolder, schemas.Session)  # fmt: skip
    for table in tables:
        (table & {"eid": BY_HAND}).delete_quick()
    (schemas.Subject & {"subject": "HAND"}).delete_quick()


def random(seed: int, n_rois: int, n_frames: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_rois, n_frames))


def test_silent_cells_and_fovs_of_other_lengths_and_types(by_hand, tmp_path):
    first, second, other = random(0, 6, 40), random(1, 5, 40).astype("<f4"), random(2, 4, 41)
    first[[1, 4]] = 0  # two silent cells,
    second[2] = 0  # and a third, which is no neuron
    second[3, 7] = np.nan
    for fov, traces in enumerate((first, second, other)):
        by_hand(fov, traces)
    schemas.ROI.update1({"eid": BY_HAND, "fov": 1, "roi": 2, "is_neuron": False})
    signal = np.vstack([first, second]).astype(np.float32)
    cells = [(0, i) for i in range(6)] + [(1, i) for i in range(5)]

    def taken(rows: list[int]) -> tuple:
        order = np.arange(len(rows))[::-1]
        path = write(tmp_path / f"{BY_HAND}.npy", roi_signal=signal[rows], isort=order)
        report = import_file(path)
        ranks = schemas.ImportedOrder.Rank & {"eid": BY_HAND, "cache_sha256": report.sha256}
        found = [tuple(map(int, one)) for one in zip(*ranks.to_arrays("fov", "roi", order_by="cache_row"), strict=True)]
        expected = [cells[row] for i, row in enumerate(rows) if i not in report.ambiguous + report.not_found]
        return found == expected, report.ambiguous, report.not_found

    # which of three silent cells is which, or of which are the two of a cache? Its order need not be that of the ROIs
    assert taken(list(range(11))) == (True, [1, 4, 8], [])
    assert taken([row for row in range(11) if row != 8]) == (True, [1, 4], [])
    assert taken([0, 1, 2, 3]) == (True, [1], [])
    assert taken([0, 2, 3, 5, 4, 1, 6]) == (True, [4, 5], [])


def test_rows_that_come_into_the_database_later_are_added(by_hand, tmp_path):
    first, second = random(0, 6, 40).astype("<f4"), random(1, 5, 40).astype("<f4")
    path = write(tmp_path / f"{BY_HAND}.npy", roi_signal=np.vstack([first, second]), isort=np.arange(11)[::-1])
    with pytest.raises(DataError, match=r"no activity to compare with.*meso populate --eid"):
        import_file(path)
    by_hand(0, first)
    assert import_file(path).not_found == [6, 7, 8, 9, 10]
    by_hand(1, second)
    report = import_file(path)
    assert (report.n_new, report.n_matched) == (5, 11)
    assert imported(BY_HAND) == [(1, i) for i in range(4, -1, -1)] + [(0, i) for i in range(5, -1, -1)]


@pytest.mark.one_backend  # other tests send its statements on both
def test_memory_is_not_that_of_the_file(by_hand, tmp_path):
    signal = random(0, 300, 40_000).astype("<f4")
    by_hand(0, signal)
    for order in "CF":
        path = write(tmp_path / f"{BY_HAND}.npy", roi_signal=np.array(signal, order=order), isort=np.arange(300)[::-1])
        cache = read_old_cache(path)
        assert cache.roi_signal.strides == ((160_000, 4) if order == "C" else (4, 1200))
        blocks, tracemalloc_peak = 64e6, 0.0
        tracemalloc.start()
        import_file(path, dry_run=True)
        tracemalloc_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tracemalloc_peak < 2.5 * blocks


def test_an_imported_order_goes_with_a_fov(by_hand, tmp_path):
    for fov in (0, 1):
        by_hand(fov, random(fov, 3, 20).astype("<f4"))
    signal = np.vstack([random(fov, 3, 20) for fov in (0, 1)]).astype("<f4")
    import_file(write(tmp_path / f"{BY_HAND}.npy", roi_signal=signal, isort=np.arange(6)[::-1]))
    (schemas.FOV & {"eid": BY_HAND, "fov": 1}).delete()
    assert not schemas.ImportedOrder & {"eid": BY_HAND}


# ---------------------------------------------------------------- curves


class NDCResult:
    """As the scripts' own class: a plain instance with attributes."""

    def __init__(self, **attributes: object):
        self.__dict__ |= attributes


def curves() -> dict:
    scores = {8: np.array([0.5, 0.75], np.float16), 16: [0.75, 1.0]}
    one = NDCResult(ks=[8, 16], scores=scores, metric="auc", ceiling=np.float64(0.875), shuffled={8: [0.5, np.nan]})
    compact = NDCResult(ks=np.array([8]), scores={8: {"mean": 0.625, "sd": 0.1, "n": 50}}, metric="auc\x1b[31m",
                        ceiling=None, shuffled=None)  # fmt: skip
    return {"eid": BY_HAND, "target": "choice", "result": one, "group": [compact], "meta": {"win": (0.0, 0.15)}}


def test_curves_are_read_and_not_inserted(tmp_path):
    path = tmp_path / f"{BY_HAND}__choice.pkl"
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps(curves(), protocol).replace(b"test_old_caches", b"meso_decode_123"))
        found = import_file(path)
        content = json.loads(json.dumps(found.as_row()["content"], allow_nan=False))
        assert content["result"]["scores"] == {"8": [0.5, 0.75], "16": [0.75, 1.0]}
        assert content["result"]["shuffled"] == {"8": [0.5, None]} and content["meta"]["win"] == [0.0, 0.15]
        assert found.lines() == [
            "result: auc, ceiling 0.875; 0.625 for 8, 0.875 for 16",
            "group 0: auc?[31m, ceiling None; 0.625 for 8",
            "not imported: curves; the file does not tell their cells, parameters and versions (--json shows it all)",
        ]


def test_a_result_with_a_payload_is_refused(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(NDCResult(ks=opens(tmp_path / "executed"), scores={})))
    with pytest.raises(DataError, match=rf"x\.pkl: names {io.open.__module__}.open, which is not plain data"):
        import_file(path)
    assert not (tmp_path / "executed").exists()


# ---------------------------------------------------------------- the command


@pytest.mark.one_backend  # other tests send its statements on both
def test_command(eid, scripts, tmp_path, meso_command):
    good = write(tmp_path / f"{eid}.npy", **cache_of(scripts))
    bad = write(tmp_path / f"{eid}_filter_True.npy", isort=opens(tmp_path / "executed"))
    done = meso_command("import-cache", good, "--dry-run")
    assert done.returncode == 0 and "would be imported: the order of 649 of 649 cells" in done.stdout
    assert imported(eid) == []
    done = meso_command("import-cache", good, bad)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{good}\n    imported: the order of 649 of 649 cells" in done.stdout
    assert (
        f"{bad}\n    not imported: {bad.name}: names {io.open.__module__}.open, which is not plain data" in done.stdout
    )
    rows = json.loads(meso_command("import-cache", good, bad, "--json").stdout)
    assert [(row["taken"], "problem" in row) for row in rows] == [("order", False), (None, True)]
    assert rows[0]["n_matched"] == 649 and rows[0]["n_new"] == 0
    done = meso_command("import-cache", good, bad, "--eid", eid)
    assert done.returncode == 2 and "--eid is for a single file" in done.stderr
    assert not (tmp_path / "executed").exists()
