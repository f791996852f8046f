"""Numeric arrays as bytes for a database column, and back with the same bits.

The bytes are a header and a payload. The header, little-endian:

    magic, format version, codec, number of dimensions, 0, dtype     4s B B B B 8s
    bytes of payload, digest of the payload, digest of the values    Q Q Q
    shape                                                            Q per dimension
    digest of the header up to here                                  Q

Digests are 64-bit XXH3: they detect damage, not forgery. The payload's is checked before anything is decoded, the
values' afterwards. The payload, by codec:

    raw      the values in C order
    dense    a Blosc frame (bit-shuffle, LZ4) of the values
    sparse   a Blosc frame (byte-shuffle, LZ4) of a mask with one bit per word, 0 for a zero word, and the nonzero words

Most bits of the mantissa of a fluorescence trace are noise, which cannot be compressed without loss: better compressors
than LZ4 gain a few per cent and take several times as long (``benchmarks/codecs.py``).
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numcodecs import blosc
from xxhash import xxh3_64_intdigest

from pipeline import numba_cache
from pipeline.errors import ArgumentError, DamagedError, DataError

Bytes = bytes | bytearray | memoryview

# distinguishes an array from a place in a store (b"mesP") in the same column
MAGIC = b"mesA"
VERSION = 1
START = MAGIC + bytes([VERSION])
RAW, DENSE, SPARSE = CODECS = range(3)
# "<": little-endian and without padding, on every machine
FIXED_HEADER = struct.Struct("<4sBBBx8sQQQ")
N_DIMS_AT = 6
CHECKSUM = struct.Struct("<Q")
#: The header of a packed vector with its digest, of which numpy reads many at once.
VECTOR_HEADER = np.dtype({
    "names": ["start", "codec", "n_dims", "dtype", "payload_size", "payload_digest", "values_digest", "n", "digest"],
    "formats": ["S5", "u1", "u1", "S8", "<u8", "<u8", "<u8", "<u8", "<u8"],
    "offsets": [0, 5, 6, 8, 16, 24, 32, 40, 48],
})  # fmt: skip
BLOSC_LEVEL = 5
#: Unsigned integers by their size in bytes.
WORDS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
#: Bytes of arrays after which a process imports numba for the compiled decoder of sparse ones: numpy has then lost
#: about the time that the import takes, 0.2 s.
LARGE_READ = 250_000_000
#: The checksum of bytes, or of a C-ordered array.
_digest: Callable[[Any], int] = xxh3_64_intdigest
#: What the user can do about damaged bytes.
DAMAGED = "Populate this row again, or restore it from a backup"

# Blosc uses one thread per call, as callers have threads of their own. Its own threads would wait for each other's
# lock, and append the parts of a frame in the order in which they finish: the same array could give different bytes.
blosc.use_threads = False
#: The compiled decoder, "expand_rows", once ``get_ready`` has imported it, and the "size" of what it was called for.
_compiled: dict[str, Any] = {}


class Header(NamedTuple):
    """The contents of the header of a packed array.

    Attributes
    ----------
    codec : int
        RAW, DENSE or SPARSE.
    dtype : np.dtype
        With its byte order.
    shape : tuple of int
    size : int
        Bytes of the header itself.
    payload_size : int
        Bytes after the header.
    payload_digest, values_digest : int
    """

    codec: int
    dtype: np.dtype
    shape: tuple[int, ...]
    size: int
    payload_size: int
    payload_digest: int
    values_digest: int


def pack(array: np.ndarray) -> bytes:
    """Return an array as bytes; the same array gives the same bytes, on any thread.

    Parameters
    ----------
    array : np.ndarray
        Booleans, integers, floats or complex numbers of up to 8 bytes per component, in any memory order, byte order
        and shape.

    Raises
    ------
    DataError
        The array is masked, or holds objects, records, times, text or long doubles.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise DataError("a masked array cannot be stored", do="Fill its masked values first")
    array = np.asarray(array, order="C")
    if not _is_storable(array.dtype):
        raise DataError(
            "an array cannot be stored",
            expected="booleans, integers, floats or complex numbers of at most 8 bytes per component",
            found=f"dtype {array.dtype}",
        )
    # the digest is of the values, not of the payload alone: a fault of the codec is found when they are read
    values = _bytes_of(array)
    codec, payload = _encode(_words(values, array.dtype))
    head = FIXED_HEADER.pack(
        MAGIC, VERSION, codec, array.ndim, array.dtype.str.encode(), len(payload), _digest(payload), _digest(values)
    )
    head += struct.pack(f"<{array.ndim}Q", *array.shape)
    return b"".join((head, CHECKSUM.pack(_digest(head)), payload))


def unpack(data: Bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Return the array that was packed: the same dtype, shape and bits, in C order, writable.

    Nearly all of the time is spent without Python's lock (the GIL), so that several threads decode faster.

    Parameters
    ----------
    data : bytes, bytearray or memoryview
        What ``pack`` returned.
    out : np.ndarray, optional
        Array to decode to, for example some rows of a larger one: C-ordered, writable, of the same dtype and shape.

    Returns
    -------
    np.ndarray
        ``out`` if given, else a new one.

    Raises
    ------
    DataError
        The bytes are damaged, truncated, too many, or of an unknown format; or ``out`` has another dtype or shape.
        The contents of ``out`` are then undefined.
    ArgumentError
        ``out`` is not C-ordered or not writable.
    """
    header = header_of(data)
    payload = memoryview(data)[header.size :]
    if len(payload) != header.payload_size:
        expected, found = f"{header.payload_size} bytes after the header", len(payload)
        raise DamagedError("a stored array is incomplete", expected=expected, found=found, do=DAMAGED)
    if _digest(payload) != header.payload_digest:
        raise DamagedError("a stored array is damaged: its checksum is wrong", do=DAMAGED)
    if out is None:
        out = np.empty(header.shape, header.dtype)
    _check_destination(out, header)
    words = _words(out if out.ndim == 1 else out.reshape(-1), header.dtype)
    _decode(header.codec, payload, words)
    if _digest(words) != header.values_digest:
        raise DamagedError("a stored array did not decode to the values that were packed", do=DAMAGED)
    return out


def unpack_rows(packed: Sequence[Bytes], out: np.ndarray, rows: Sequence[int]) -> None:
    """Decode vectors to rows of a matrix, faster than one by one.

    Parameters
    ----------
    packed : sequence of bytes, bytearray or memoryview
        Vectors with the dtype of ``out`` and the length of a row. Few at a time: all are decoded before their values
        are checked, while they are in the processor's cache.
    out : (N, n) array
        C-ordered and writable.
    rows : sequence of int
        Row of ``out`` for each vector.

    Raises
    ------
    DataError
        One is damaged, or has another dtype or length: ``unpack`` tells which. The contents of these rows are then
        undefined.
    ArgumentError
        ``out`` is not C-ordered or not writable.
    """
    _check_writable(out)
    headers, payloads = _vectors(packed, out)
    words, sparse, digests = _words(out, out.dtype), {}, {}
    for codec, payload, row in zip(headers["codec"].tolist(), payloads, rows, strict=True):
        if codec == SPARSE:
            sparse[row] = blosc.decompress(payload)
        else:
            _decode(codec, payload, words[row])
            digests[row] = _digest(words[row])  # here, while the processor's cache has it
    if sparse:
        _spread(sparse, words)
        digests |= {row: _digest(words[row]) for row in sparse}
    if [digests[row] for row in rows] != headers["values_digest"].tolist():
        raise DamagedError("stored arrays did not decode to the values that were packed", do=DAMAGED)


def _vectors(packed: Sequence[Bytes], out: np.ndarray) -> tuple[np.ndarray, list[memoryview]]:
    """Return headers and payloads of packed vectors, all undamaged and of the dtype and length of a row of ``out``."""
    size = VECTOR_HEADER.itemsize
    heads, payloads = [data[:size] for data in packed], [memoryview(data)[size:] for data in packed]
    is_whole = packed and all(len(head) == size for head in heads)
    headers = np.frombuffer(b"".join(heads), VECTOR_HEADER) if is_whole else np.zeros(len(packed), VECTOR_HEADER)
    are_alike = (headers["start"] == START) & (headers["n_dims"] == 1) & (headers["n"] == out.shape[1])
    if (
        not (are_alike & (headers["dtype"] == out.dtype.str.encode())).all()
        or headers["digest"].tolist() != [_digest(head[: -CHECKSUM.size]) for head in heads]
        or headers["payload_size"].tolist() != [len(payload) for payload in payloads]
        or headers["payload_digest"].tolist() != [_digest(payload) for payload in payloads]
    ):
        raise DamagedError("one of several stored arrays is damaged, or has another dtype or length", do=DAMAGED)
    return headers, payloads


def header_of(data: Bytes) -> Header:
    """Return the header of a packed array; the bytes after it may be missing.

    Raises
    ------
    DataError
        The bytes are not a packed array; the header is damaged, truncated or of an unknown format.
    """
    data = memoryview(data)
    if data[: len(START)] != START:
        raise _unknown_format(data)
    if len(data) < FIXED_HEADER.size:
        raise _truncated(FIXED_HEADER.size, data)
    _, _, codec, n_dims, dtype, *sizes = FIXED_HEADER.unpack_from(data)
    end = FIXED_HEADER.size + 8 * n_dims
    if len(data) < end + CHECKSUM.size:
        raise _truncated(end + CHECKSUM.size, data)
    if _digest(data[:end]) != CHECKSUM.unpack_from(data, end)[0]:
        raise DamagedError("the header of a stored array is damaged: its checksum is wrong", do=DAMAGED)
    shape = _shape(n_dims).unpack_from(data, FIXED_HEADER.size)
    return Header(codec, _dtype(dtype), shape, end + CHECKSUM.size, *sizes)


def _unknown_format(data: memoryview) -> DataError:
    """Return the error for bytes that do not begin as a packed array of this version."""
    head = bytes(data[: len(START)])
    if head[: len(MAGIC)] != MAGIC:
        return DamagedError("not a stored array", expected=f"{MAGIC!r} first", found=repr(head[:4]), do=DAMAGED)
    if len(head) < len(START):
        return _truncated(FIXED_HEADER.size, data)
    # before the checksum: a later format may have its checksum elsewhere
    return DataError(
        "a stored array has an unknown format",
        expected=f"format {VERSION}",
        found=f"format {head[len(MAGIC)]}",
        do="It was written by a newer version of meso: update meso. If there is none, the row is damaged",
    )


@lru_cache
def _shape(n_dims: int) -> struct.Struct:
    return struct.Struct(f"<{n_dims}Q")


@lru_cache
def _dtype(stored: bytes) -> np.dtype:
    return np.dtype(stored.rstrip(b"\0").decode())


def has_header(data: Bytes, digest: int) -> bool:
    """Return whether bytes begin with a header that has this digest (``pipeline.storage.places.digest_of``)."""
    head = memoryview(data)[: FIXED_HEADER.size + 8 * data[N_DIMS_AT] + CHECKSUM.size] if len(data) > N_DIMS_AT else b""
    return _digest(head) == digest


def get_ready(size: int) -> None:
    """Have sparse arrays decoded by compiled code, once this process reads enough bytes of arrays to be worth it.

    The values are the same. Where numba cannot compile, numpy decodes, several times slower.

    Parameters
    ----------
    size : int
        Bytes of the arrays that are read next.
    """
    _compiled["size"] = size + _compiled.get("size", 0)
    if "expand_rows" in _compiled or (_compiled["size"] < LARGE_READ and "numba" not in sys.modules):
        return
    _compiled["expand_rows"] = numba_cache.compiled("pipeline.storage.expand", "expand_rows")


def _is_storable(dtype: np.dtype) -> bool:
    # long doubles have other sizes on other machines
    return dtype.kind in "biufc" and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """Return a view of a C-ordered array as bytes."""
    return array.reshape(-1).view(np.uint8)


def _words(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return a view of a vector as unsigned integers of the size of an element: -0.0 and NaN keep their bits."""
    return values.view(WORDS[min(dtype.itemsize, 8)])


def _encode(words: np.ndarray) -> tuple[int, bytes]:
    """Return codec and payload."""
    if words.nbytes > blosc.MAX_BUFFERSIZE:
        return RAW, words.tobytes()
    # numpy finds the zeros several times faster than a compressor, and the mask takes less space
    is_set = words != 0
    if 2 * np.count_nonzero(is_set) < words.size:
        n_mask = _mask_words(words)
        mask = np.zeros(n_mask * words.itemsize, np.uint8)
        mask[: math.ceil(words.size / 8)] = np.packbits(is_set)
        # indexing by position is four times as fast as by mask
        # one frame for both, so that the mask is compressed too
        rest = np.concatenate((mask.view(words.dtype), words[np.flatnonzero(is_set)]))
        codec, payload = SPARSE, blosc.compress(rest, b"lz4", BLOSC_LEVEL, blosc.SHUFFLE)
    else:
        codec, payload = DENSE, blosc.compress(words, b"lz4", BLOSC_LEVEL, blosc.BITSHUFFLE)
    # never larger than the values
    return (codec, payload) if len(payload) < words.nbytes else (RAW, words.tobytes())


def _decode(codec: int, payload: memoryview, words: np.ndarray) -> None:
    """Fill the words from a payload that has been checked."""
    if codec == RAW:
        words[:] = np.frombuffer(payload, words.dtype)
    elif codec == DENSE:
        blosc.decompress(payload, words)
    else:
        _spread({0: blosc.decompress(payload)}, words[None])


def _spread(sparse: Mapping[int, bytes], words: np.ndarray) -> None:
    """Fill rows of the words (N, n), each from the bytes of its mask and its nonzero words."""
    rests = np.frombuffer(b"".join(sparse.values()), words.dtype)
    ends = np.cumsum([len(rest) // words.itemsize for rest in sparse.values()])
    expand_rows = _compiled.get("expand_rows") or _expand_rows
    if not expand_rows(rests, ends, _mask_words(words[0]), words, np.array([*sparse])):
        raise DamagedError("a stored array is damaged: its mask is of another number of values", do=DAMAGED)


def _expand_rows(rests: np.ndarray, ends: np.ndarray, n_mask: int, words: np.ndarray, rows: np.ndarray) -> bool:
    """Twin in numpy of ``pipeline.storage.expand.expand_rows``."""
    parts = zip(np.split(rests, ends[:-1]), rows.tolist(), strict=True)
    return all(_expand(rest[:n_mask].view(np.uint8), rest[n_mask:], words[row]) for rest, row in parts)


def _expand(mask: np.ndarray, values: np.ndarray, words: np.ndarray) -> bool:
    places = np.flatnonzero(np.unpackbits(mask, count=words.size).view(bool))
    if len(places) != len(values) or 8 * len(mask) < words.size:
        return False
    words[:] = 0
    words[places] = values
    return True


def _mask_words(words: np.ndarray) -> int:
    """Return the number of words that a mask with one bit per word takes."""
    return math.ceil(words.size / (8 * words.itemsize))


def _check_destination(out: np.ndarray, header: Header) -> None:
    """Raise an error unless the array can be decoded to ``out``."""
    if (out.dtype, out.shape) != (header.dtype, header.shape):
        expected, found = f"{header.dtype.str} {header.shape}", f"{out.dtype.str} {out.shape}"
        raise DataError("the array to decode to does not fit the stored array", expected=expected, found=found)
    _check_writable(out)


def _check_writable(out: np.ndarray) -> None:
    """Raise an error unless arrays can be decoded to ``out`` as bytes."""
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ArgumentError("out must be C-ordered and writable")


def _truncated(size: int, data: Bytes) -> DataError:
    """Return the error for a header that ends too early."""
    expected, found = f"at least {size} bytes", len(data)
    return DamagedError("the header of a stored array is incomplete", expected=expected, found=found, do=DAMAGED)
