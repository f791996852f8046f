"""Arrays as bytes: arrays come back with the same bits, and damage is always detected."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import ArgumentError, DataError
from pipeline.storage import arrays
from pipeline.storage.arrays import DENSE, RAW, SPARSE, header_of, pack, unpack, unpack_rows

WIDE = ["i2", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
DTYPES = ["?", "i1", "u1", *(order + kind for order in "<>" for kind in WIDE)]
LAYOUTS = {
    "as is": lambda a: a,
    "Fortran": np.asfortranarray,
    "transposed": lambda a: a.T,
    "reversed": lambda a: a[..., ::-1] if a.ndim else a,
    "strided": lambda a: a[::3] if a.ndim else a,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@st.composite
def any_array(draw) -> np.ndarray:
    """Draw an array of random bits (NaNs with payloads among them), of which some or most elements are zero."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = int(np.prod(shape))
    if dtype.kind == "b":
        array = rng.random(size) < 0.5
    else:
        array = np.frombuffer(rng.bytes(size * dtype.itemsize), dtype).copy()
    array[rng.random(size) < draw(st.sampled_from([0, 0.4, 0.6, 0.9, 1]))] = 0
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](array.reshape(shape))


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def traces(n_rois: int = 3, n_frames: int = 2000, share: float = 1.0) -> np.ndarray:
    """Return float32 traces of which a share is not zero."""
    rng = np.random.default_rng(0)
    values = rng.normal(500, 40, (n_rois, n_frames)) * (rng.random((n_rois, n_frames)) < share)
    return values.astype(np.float32)


EXAMPLES = {RAW: np.arange(7.0), DENSE: traces(), SPARSE: traces(share=0.1)}


@settings(max_examples=300, deadline=None)
@given(any_array())
def test_every_bit_comes_back(array):
    back = unpack(pack(array))
    assert same(back, array)
    assert back.flags.c_contiguous and back.flags.writeable and back.flags.owndata


def decoders() -> list:
    """Return the compiled decoder of sparse arrays, and its twin in numpy."""
    arrays.get_ready(arrays.LARGE_READ)
    return [arrays._compiled["expand_rows"], arrays._expand_rows]


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
def test_the_compiled_decoder_writes_what_numpy_writes_and_nothing_beyond(dtype):
    rng = np.random.default_rng(0)
    for size in (*range(35), *range(60, 70), 127, 128, 2003):
        values = np.array(
            [rng.integers(1, 200, size) * (rng.random(size) < share) for share in (0, 0.1, 0.5, 1)], dtype
        )
        masks = [np.packbits(row != 0) for row in values]
        n_mask = -(-len(masks[0]) // values.itemsize)  # padded to whole words
        rests = [
            np.concatenate((np.pad(mask, (0, n_mask * values.itemsize - len(mask))).view(dtype), row[row != 0]))
            for mask, row in zip(masks, values, strict=True)
        ]
        for expand_rows in decoders():
            out = np.full((6, size), 7, dtype)
            ends, rows = np.cumsum([len(rest) for rest in rests]), np.array([4, 1, 3, 2])
            assert expand_rows(np.concatenate(rests), ends, n_mask, out, rows)
            assert (out[rows] == values).all() and (out[[0, 5]] == 7).all()


def test_a_mask_of_another_number_of_values_is_damage():
    mask = np.packbits([1, 0, 1] * 30 + [0] * 6).view(np.uint32)
    for expand_rows in decoders():
        for n_words, n in ((90, 0), (90, 59), (90, 61), (97, 60)):
            rests = np.concatenate((mask, np.ones(n, np.uint32)))
            out = np.empty((1, n_words), np.uint32)
            assert not expand_rows(rests, np.array([len(rests)]), len(mask), out, np.array([0]))


def test_a_process_imports_numba_once_it_has_read_enough():
    code = """
import sys
from pipeline.storage import arrays
for share in (3, 3, 2):
    assert "numba" not in sys.modules
    arrays.get_ready(arrays.LARGE_READ // share)
assert "numba" in sys.modules and arrays._compiled["expand_rows"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # forked ones have numba
    assert done.returncode == 0, done.stderr


@settings(max_examples=100, deadline=None)
@given(any_array())
def test_decodes_into_rows_of_a_larger_array(array):
    whole = np.full((3, *array.shape), 1, array.dtype)
    out = whole[1]
    if isinstance(out, np.ndarray):  # one element of a one-dimensional array is a scalar
        assert unpack(pack(array), out) is out
        assert same(whole[1], array) and (whole[[0, 2]] == 1).all()


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("dtype", ["?", "i2", "f4", ">f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("n_frames", [1, 3, 700, 2003])
def test_rows_of_every_codec_are_decoded_together(monkeypatch, dtype, n_frames, is_compiled):
    if is_compiled:
        arrays.get_ready(arrays.LARGE_READ)
    else:
        monkeypatch.setattr(arrays, "_compiled", {"expand_rows": None})
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (3, n_frames * np.dtype(dtype).itemsize), np.uint8)
    dense = [np.full(n_frames, 3, dtype), np.arange(n_frames).astype(dtype)]
    vectors = [
        *(traces(4, n_frames, share=0.2)).astype(dtype),
        *dense,
        *(noise > 127 if dtype == "?" else noise.view(dtype)),
    ]
    packed = [pack(vector) for vector in vectors]
    if n_frames == 2003 and dtype != "?":
        assert {header_of(data).codec for data in packed} == {RAW, DENSE, SPARSE}
    out, rows = np.ones((12, n_frames), dtype), rng.permutation(12)[: len(vectors)]
    unpack_rows([memoryview(data) for data in packed], out, rows.tolist())
    assert all(same(out[row], vector) for row, vector in zip(rows, vectors, strict=True))
    others = np.setdiff1d(np.arange(12), rows)
    assert same(out[others], np.ones((len(others), n_frames), dtype))


def test_rows_of_another_dtype_or_length_are_refused():
    packed = [pack(trace) for trace in traces()]
    for out in (np.empty((3, 1999), np.float32), np.empty((3, 2000), np.int32), np.empty((3, 2000), ">f4")):
        with pytest.raises(DataError, match="another dtype or length"):
            unpack_rows(packed, out, range(3))
    with pytest.raises(ArgumentError, match="C-ordered"):
        unpack_rows(packed, np.empty((3, 4000), np.float32)[:, ::2], range(3))
    unpack_rows([], np.empty((3, 2000), np.float32), [])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "c8"])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_special_floats_keep_their_bits(dtype, share):
    array = traces(share=share).astype(dtype)
    array[0, :5] = -0.0, np.nan, np.inf, -np.inf, np.finfo(dtype).smallest_subnormal
    payload = array[1].view(np.uint8)
    payload[: 64 * array.itemsize] = 0xFF  # NaNs with every bit of the mantissa set
    assert same(unpack(pack(array)), array)


@pytest.mark.parametrize("codec", EXAMPLES)
def test_examples_use_every_codec_and_any_buffer(codec):
    array = EXAMPLES[codec]
    data = pack(array)
    assert header_of(data).codec == codec
    assert all(same(unpack(kind(data)), array) for kind in (bytes, bytearray, memoryview))


def test_sizes():
    dense, sparse = traces(16, 20_000), traces(16, 20_000, share=0.1)
    assert len(pack(dense)) < dense.nbytes / 1.2
    assert len(pack(sparse)) < sparse.nbytes / 7
    assert len(pack(np.zeros_like(dense))) < dense.nbytes / 200
    noise = np.frombuffer(np.random.default_rng(0).bytes(10_000), np.uint8)
    assert len(pack(noise)) == len(noise) + header_of(pack(noise)).size


def test_arrays_too_large_for_the_compressor_are_stored_raw(monkeypatch):
    monkeypatch.setattr(arrays.blosc, "MAX_BUFFERSIZE", 1000)
    data = pack(traces())
    assert header_of(data).codec == RAW and same(unpack(data), traces())


def test_same_bytes_in_every_order_and_on_every_thread():
    array = traces(64, 20_000)
    expected = pack(array)
    assert {pack(array) for _ in range(30)} == {expected}
    assert pack(np.asfortranarray(array)) == expected
    found = []
    thread = threading.Thread(target=lambda: found.append(pack(array)))
    thread.start()
    thread.join()
    assert found == [expected]
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(pack, [array] * 8)) == {expected}
        assert all(same(back, array) for back in pool.map(unpack, [expected] * 8))


def test_header_can_be_read_alone():
    data = pack(traces())
    header = header_of(data)
    assert header_of(data[: header.size]) == header
    assert (header.dtype, header.shape) == (np.float32, (3, 2000))
    assert header.size + header.payload_size == len(data)


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("codec", EXAMPLES)
def test_every_flipped_byte_of_the_header_is_found(codec):
    data = pack(EXAMPLES[codec])
    for place in range(header_of(data).size):
        for bits in (0x01, 0x80, 0xFF):
            with pytest.raises(DataError):
                unpack(flipped(data, place, bits))


@pytest.mark.parametrize("codec", EXAMPLES)
def test_flipped_bits_anywhere_are_found(codec):
    data, rng = pack(EXAMPLES[codec]), np.random.default_rng(1)
    for place in rng.integers(len(data), size=300):
        with pytest.raises(DataError):
            unpack(flipped(data, int(place), 1 << int(rng.integers(8))))


@pytest.mark.parametrize("codec", EXAMPLES)
def test_missing_and_additional_bytes_are_found(codec):
    data = pack(EXAMPLES[codec])
    cuts = {*range(100), *range(0, len(data), max(1, len(data) // 50)), len(data) - 1}
    damaged = [data[:n] for n in cuts if n < len(data)] + [data[1:], data + b"\0", data + data, b"\0" * len(data)]
    for bad in damaged:
        with pytest.raises(DataError):
            unpack(bad)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_one_damaged_row_of_several_is_found(share):
    packed, rng = [pack(trace) for trace in traces(3, share=share)], np.random.default_rng(1)
    for at in range(3):
        data = packed[at]
        places = [*range(header_of(data).size), *rng.integers(len(data), size=50).tolist()]
        for bad in (*(flipped(data, place, 1 << place % 8) for place in places), data[:-1], data + b"\0", b""):
            with pytest.raises(DataError):
                unpack_rows([*packed[:at], bad, *packed[at + 1 :]], np.empty((3, 2000), np.float32), range(3))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "not a stored array"),
        (lambda data: b"\x93NUMPY" + data, "not a stored array"),
        (lambda data: data[:30], r"header .* incomplete \(expected at least 40 bytes, found 30\)"),
        (lambda data: data[:50], r"header .* incomplete \(expected at least 64 bytes, found 50\)"),
        (lambda data: data[:-1], "a stored array is incomplete"),
        (lambda data: data + b"\0", "a stored array is incomplete"),
        (lambda data: flipped(data, 20, 1), "header .* damaged: its checksum"),
        (lambda data: flipped(data, 200, 1), "a stored array is damaged: its checksum"),
    ],
)
def test_damage_is_named(damage, message):
    with pytest.raises(DataError, match=message):
        unpack(damage(pack(traces())))


def test_swapped_payloads_are_found():
    one, other = (pack(values) for values in (np.arange(9.0), np.arange(9.0)[::-1]))
    size = header_of(one).size
    with pytest.raises(DataError, match="checksum"):
        unpack(one[:size] + other[size:])


def test_a_decoder_that_errs_is_found(monkeypatch):
    data = pack(traces())
    monkeypatch.setattr(arrays.blosc, "decompress", lambda payload, words: words.fill(7))
    with pytest.raises(DataError, match="did not decode"):
        unpack(data)


def test_newer_format_says_what_to_do(monkeypatch):
    monkeypatch.setattr(arrays, "VERSION", 2)
    data = pack(traces())
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"expected format 1, found format 2.*newer version of meso"):
        unpack(data)


def flipped(data: bytes, place: int, bits: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= bits
    return bytes(changed)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "array",
    [
        np.array([None, 1]),
        np.array(["a"]),
        np.array([b"a"]),
        np.zeros(3, "M8[s]"),
        np.zeros(3, "m8[s]"),
        np.zeros(3, [("x", "f4")]),
        np.zeros(3, "V4"),
        np.zeros(3, np.longdouble),
        np.ma.masked_less(np.arange(3), 1),
    ],
    ids=["object", "text", "bytes", "datetime", "timedelta", "record", "void", "long double", "masked"],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(DataError, match="cannot be stored"):
        pack(array)


def test_unsuitable_destinations_are_refused():
    data = pack(traces())
    for out in (np.empty((3, 2000)), np.empty((3, 1999), np.float32), np.empty((3, 2000), ">f4")):
        with pytest.raises(DataError, match=r"expected <f4 \(3, 2000\)"):
            unpack(data, out)
    read_only = np.empty((3, 2000), np.float32)
    read_only.flags.writeable = False
    for out in (np.empty((2000, 3), np.float32).T, read_only):
        with pytest.raises(ValueError, match="writable"):
            unpack(data, out)
