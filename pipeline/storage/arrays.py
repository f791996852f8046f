"""Numeric arrays as bytes for a database column, and back bit by bit.

The bytes are a header and a payload. The header, little-endian:

    magic, format version, codec, number of dimensions, 0, dtype     4s B B B B 8s
    bytes of payload, digest of the payload, digest of the values    Q Q Q
    shape                                                            Q per dimension
    digest of the header up to here                                  Q

Digests are XXH3, 64 bits: they find damage, not forgery. That of the payload is checked before anything is decoded,
that of the values after. The payload, by codec:

    raw      the values in C order
    dense    a Blosc frame (bit-shuffle, LZ4) of the values
    sparse   a Blosc frame (byte-shuffle, LZ4) of one bit per word that says whether it is zero, then of all other words

Most bits of the mantissa of a fluorescence trace are noise, which nothing lossless can shrink: better compressors than
LZ4 gain some per cent and take several times as long (``benchmarks/codecs.py``).
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import numpy as np
from numcodecs import blosc
from xxhash import xxh3_64_intdigest

from pipeline.errors import ArgumentError, DamagedError, DataError

Bytes = bytes | bytearray | memoryview

MAGIC = b"mesA"
VERSION = 1
RAW, DENSE, SPARSE = CODECS = range(3)
FIXED = struct.Struct("<4sBBBx8sQQQ")
SUM = struct.Struct("<Q")
LEVEL = 5
DAMAGED = "Populate this row again, or restore it from a backup"

# One call is one thread: callers have threads of their own. Blosc's would keep each other waiting for a lock, and join
# the parts of a frame in the order in which they get ready: the same array would not always be the same bytes.
blosc.use_threads = False


class Header(NamedTuple):
    """What the header of a packed array says.

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
        The array is masked, or holds something else: objects, records, times, text, long doubles.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise DataError("a masked array cannot be stored", do="Fill its gaps first")
    array = np.asarray(array, order="C")
    if not _is_storable(array.dtype):
        raise DataError(
            "an array cannot be stored",
            expected="booleans, integers, floats or complex numbers of at most 8 bytes per component",
            found=f"dtype {array.dtype}",
        )
    values = _bytes_of(array)
    codec, payload = _encode(_words(values, array.dtype))
    head = FIXED.pack(
        MAGIC, VERSION, codec, array.ndim, array.dtype.str.encode(), len(payload), _digest(payload), _digest(values)
    )
    head += struct.pack(f"<{array.ndim}Q", *array.shape)
    return b"".join((head, SUM.pack(_digest(head)), payload))


def unpack(data: Bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Return the array that was packed: the same dtype, shape and bits, in C order, writable.

    Nearly all of the time is spent without Python's lock (the GIL), so that threads help.

    Parameters
    ----------
    data : bytes, bytearray or memoryview
        What ``pack`` returned.
    out : np.ndarray, optional
        Where to decode to, for example some rows of a larger array: C-ordered, writable, of the same dtype and shape.

    Returns
    -------
    np.ndarray
        ``out`` if given, else a new one.

    Raises
    ------
    DataError
        The bytes are damaged, cut off, too many, or of an unknown format; or ``out`` has another dtype or shape.
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
    values = _bytes_of(out)
    _decode(header.codec, payload, _words(values, header.dtype))
    if _digest(values) != header.values_digest:
        raise DamagedError("a stored array did not decode to the values that were packed", do=DAMAGED)
    return out


def header_of(data: Bytes) -> Header:
    """Return the header of a packed array; the bytes may end after it.

    Raises
    ------
    DataError
        The header is damaged or cut off, or is not one, or is of an unknown format.
    """
    head = memoryview(data)[: FIXED.size]
    if head[: len(MAGIC)] != MAGIC:
        raise DamagedError("not a stored array", expected=f"{MAGIC!r} first", found=repr(bytes(head[:4])), do=DAMAGED)
    if len(head) > len(MAGIC) and head[len(MAGIC)] != VERSION:
        raise DataError(
            "a stored array has an unknown format",
            expected=f"format {VERSION}",
            found=f"format {head[len(MAGIC)]}",
            do="It was written by a newer version of meso: update this one. If none is newer, the row is damaged",
        )
    if len(head) < FIXED.size:
        raise _cut_off(FIXED.size, data)
    _, _, codec, n_dims, dtype, *sizes = FIXED.unpack(head)
    end = FIXED.size + 8 * n_dims
    if len(data) < end + SUM.size:
        raise _cut_off(end + SUM.size, data)
    if _digest(memoryview(data)[:end]) != SUM.unpack_from(data, end)[0]:
        raise DamagedError("the header of a stored array is damaged: its checksum is wrong", do=DAMAGED)
    shape = struct.unpack_from(f"<{n_dims}Q", data, FIXED.size)
    return Header(codec, np.dtype(dtype.rstrip(b"\0").decode()), shape, end + SUM.size, *sizes)


def _digest(data: Any) -> int:
    """Return the checksum of bytes, or of a C-ordered array of bytes."""
    return xxh3_64_intdigest(data)


def _is_storable(dtype: np.dtype) -> bool:
    # long doubles differ between machines
    return dtype.kind in "biufc" and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """Return a C-ordered array's own memory."""
    return array.reshape(-1).view(np.uint8)


def _words(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return bytes as unsigned integers as large as an element: -0.0 and NaN are bits like others."""
    return values.view(f"u{min(dtype.itemsize, 8)}")


def _encode(words: np.ndarray) -> tuple[int, bytes]:
    """Return codec and payload."""
    if words.nbytes > blosc.MAX_BUFFERSIZE:
        return RAW, words.tobytes()
    # numpy finds the zeros several times faster than a compressor, and stores where they are in fewer bits
    is_set = words != 0
    if 2 * np.count_nonzero(is_set) < words.size:
        n_mask = _mask_words(words)
        mask = np.zeros(n_mask * words.itemsize, np.uint8)
        mask[: math.ceil(words.size / 8)] = np.packbits(is_set)
        # taking by position is four times as fast as taking by mask
        rest = np.concatenate((mask.view(words.dtype), words[np.flatnonzero(is_set)]))
        codec, payload = SPARSE, blosc.compress(rest, b"lz4", LEVEL, blosc.SHUFFLE)
    else:
        codec, payload = DENSE, blosc.compress(words, b"lz4", LEVEL, blosc.BITSHUFFLE)
    return (codec, payload) if len(payload) < words.nbytes else (RAW, words.tobytes())


def _decode(codec: int, payload: memoryview, words: np.ndarray) -> None:
    """Fill the words from a payload that has been checked."""
    if codec == RAW:
        words[:] = np.frombuffer(payload, words.dtype)
    elif codec == DENSE:
        blosc.decompress(payload, words)
    else:
        rest = np.frombuffer(blosc.decompress(payload), words.dtype)
        n_mask = _mask_words(words)
        is_set = np.unpackbits(rest[:n_mask].view(np.uint8), count=words.size).view(bool)
        words[:] = 0
        words[np.flatnonzero(is_set)] = rest[n_mask:]


def _mask_words(words: np.ndarray) -> int:
    """Return how many words hold one bit for each of the words."""
    return math.ceil(words.size / (8 * words.itemsize))


def _check_destination(out: np.ndarray, header: Header) -> None:
    if (out.dtype, out.shape) != (header.dtype, header.shape):
        expected, found = f"{header.dtype.str} {header.shape}", f"{out.dtype.str} {out.shape}"
        raise DataError("a destination does not fit the stored array", expected=expected, found=found)
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ArgumentError("out must be C-ordered and writable")


def _cut_off(size: int, data: Bytes) -> DataError:
    expected, found = f"at least {size} bytes", len(data)
    return DamagedError("the header of a stored array is incomplete", expected=expected, found=found, do=DAMAGED)
