"""Read pickles of plain data without unpickling.

A pickle is a program, and unpickling runs it: it may import and call anything that it names. Here its instructions are
executed by an interpreter that can only build numbers, text, bytes, tuples, lists, dicts and arrays of those.
The few functions that pickled numpy arrays call are recognised by name and replaced by functions of this module, which
check their arguments; no unpickling code of Python or numpy is used. Everything else is an error. Sizes in the file are
compared with the number of bytes that are left before anything is allocated.
"""

from __future__ import annotations

import math
import pickletools
import re
import struct
import sys
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np

from pipeline.errors import DataError

Buffer = bytes | memoryview

#: More than the cache of 100,000 ROIs needs. A bound, because the values of a large malicious file would fill memory.
MOST_INSTRUCTIONS = 5_000_000
#: Accepted dtype codes: booleans, numbers, text, bytes and objects, with the size of an element.
DTYPE_CODE = re.compile(r"[biufcUSO]\d{1,9}")
MAX_DIMS = 32  # of arrays in numpy 1
LENGTHS = range(1 << 48)  # lengths of a dimension; bounded, because arithmetic with huge integers is slow
NOTHING_RAN = "Nothing in the file was executed"

# Opcodes by what they do. Values are the struct format of the argument, or of its length.
CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
TEXTS = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q"}
BYTES = {b"B": "<I", b"C": "<B", b"\x8e": "<Q", b"\x96": "<Q"}
LONGS = {b"\x8a": "<B", b"\x8b": "<I"}
TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
REMEMBER = {b"q": "<B", b"r": "<I"}
RECALL = {b"h": "<B", b"j": "<I"}
SKIPPED = {b"\x80": "<B", b"\x95": "<Q"}  # protocol, frame
STOP, MARK, POP, POP_MARK = b".", b"(", b"0", b"1"
TUPLE, LIST, DICT, APPEND, APPENDS, SET, SETS = b"t", b"]", b"}", b"a", b"e", b"s", b"u"
GLOBAL, STACK_GLOBAL, CALL, NEW, BUILD, MEMOIZE = b"c", b"\x93", b"R", b"\x81", b"b", b"\x94"


class Global(NamedTuple):
    """The name of a function or class. It is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return ascii(f"{self.module}.{self.name}")[1:-1][:200]


class _Unbuilt:
    """Placeholder for an array, dtype or instance whose state follows later in the pickle (instruction BUILD).

    Attributes
    ----------
    make : callable(state)
        Returns the value.
    numbers : list of int
        Memo numbers under which the placeholder was stored.
    """

    def __init__(self, make: Callable[[Any], Any]):
        self.make = make
        self.numbers: list[int] = []


def plain_values(data: Buffer, instances: Collection[str] = (), name: str | None = None) -> Any:
    """Return the value of a pickle of protocol 2 to 5, if it is plain data.

    Parameters
    ----------
    data : bytes or memoryview
        Content of the pickle. If it is a memory map, arrays stay on disk.
    instances : collection of str
        Names of classes whose instances are read as dicts of their attributes; their module does not matter.
    name : str, optional
        File name, for errors.

    Returns
    -------
    None, bool, number, str, memoryview (for bytes), np.ndarray, np.dtype, tuple, list or dict
        Arrays of numbers and text are read-only and share the memory of ``data``. A class is returned as its name.

    Raises
    ------
    DataError
        The pickle names a function, class or kind of array that is not plain data, or is damaged.
    """
    try:
        return _Interpreter(memoryview(data), frozenset(instances)).run()
    except DataError as error:
        raise DataError(
            error.problem, dataset=name, expected=error.expected, found=error.found, do=error.do or NOTHING_RAN
        ) from None
    except (ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
        problem = f"is not a complete pickle ({type(error).__name__}: {ascii(str(error))[1:-1][:200]})"
        raise DataError(problem, dataset=name, do=NOTHING_RAN) from error


class _Interpreter:
    """The stack machine of pickles, with the instructions that plain data need.

    Attributes
    ----------
    stack, marks : lists
        Values so far, and the positions in the stack at which tuples, lists and dicts begin.
    memo : dict
        Values that later instructions may refer to, by number.
    n_unbuilt : int
        Number of placeholders whose state has not come yet.
    """

    def __init__(self, data: memoryview, instances: frozenset[str]):
        self.data, self.at, self.instances = data, 0, instances
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.n_unbuilt = 0

    def run(self) -> Any:
        """Execute all instructions and return the final value."""
        for _ in range(MOST_INSTRUCTIONS):
            code = bytes(self.take(1))
            if code == STOP:
                return self.end()
            self.step(code)
        raise DataError("holds too many objects", expected=f"at most {MOST_INSTRUCTIONS} instructions")

    def end(self) -> Any:
        """Return the last value; raise DataError if a placeholder is left."""
        if self.n_unbuilt:
            raise DataError("has an array, dtype or instance that is never filled")
        return self.pop()

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes of the pickle, without a copy."""
        # a slice of a memoryview ends at the end of the data, whatever size the file asks for
        taken = self.data[self.at : self.at + size]
        if len(taken) < size:
            raise DataError("is cut off", expected=f"{size} bytes at {self.at}", found=f"{len(taken)}")
        self.at += size
        return taken

    def number(self, form: str) -> Any:
        """Return the next number, of a struct format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Return the text up to the end of the line."""
        end = bytes(self.data[self.at : self.at + 1000]).index(b"\n")  # names are short: the search is bounded
        return str(self.take(end + 1)[:-1], "utf-8")

    def pop(self) -> Any:
        """Remove and return the last value, which must be after the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise DataError("is not a complete pickle: a value is missing")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Remove and return the values after the last mark, and the mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def step(self, code: bytes) -> None:
        """Execute one instruction; they are documented in ``pickletools``."""
        push = self.stack.append
        if code in CONSTANTS:
            push(CONSTANTS[code])
        elif code in NUMBERS:
            push(self.number(NUMBERS[code]))
        elif code in TEXTS:
            push(str(self.take(self.number(TEXTS[code])), "utf-8", "surrogatepass"))
        elif code in BYTES:
            push(self.take(self.number(BYTES[code])).toreadonly())
        elif code in LONGS:
            push(int.from_bytes(self.take(self.number(LONGS[code])), "little", signed=True))
        elif code in TUPLES:
            # the last item of a tuple is on top of the stack
            push(tuple([self.pop() for _ in range(TUPLES[code])][::-1]))
        elif code in REMEMBER:
            self.remember(self.number(REMEMBER[code]))
        elif code == MEMOIZE:
            self.remember(len(self.memo))
        elif code in RECALL:
            push(self.recalled(self.number(RECALL[code])))
        elif code in SKIPPED:
            self.number(SKIPPED[code])
        elif code == MARK:
            self.marks.append(len(self.stack))
        elif code == POP:
            self.pop()
        elif code == POP_MARK:
            self.pop_to_mark()
        elif code == TUPLE:
            push(tuple(self.pop_to_mark()))
        elif code == LIST:
            push([])
        elif code == DICT:
            push({})
        elif code in (APPEND, APPENDS):
            values = self.pop_to_mark() if code == APPENDS else [self.pop()]
            self.last(list).extend(values)
        elif code in (SET, SETS):
            values = self.pop_to_mark() if code == SETS else [self.pop(), self.pop()][::-1]
            self.last(dict).update(_items(values))
        elif code == GLOBAL:
            push(self.known(Global(self.line(), self.line())))
        elif code == STACK_GLOBAL:
            name, module = self.pop(), self.pop()
            push(self.known(Global(_text(module), _text(name))))
        elif code in (CALL, NEW):
            arguments, called = self.pop(), self.pop()
            push(value := self.call(called, arguments))
            # counted, since one that is never filled may be deep inside of other values, where nothing would look
            self.n_unbuilt += type(value) is _Unbuilt
        elif code == BUILD:
            state = self.pop()
            self.build(self.last(_Unbuilt), state)
        else:
            self.refuse(code)

    def last(self, kind: type) -> Any:
        """Return the last value without removing it; it must be of type `kind`."""
        value = self.stack[-1]
        # type and not isinstance: a numpy array or a Global must not pass for a list or a tuple
        if type(value) is not kind:
            raise DataError(
                "applies an instruction to a value of the wrong type",
                expected=kind.__name__.lstrip("_"),
                found=type(value).__name__.lstrip("_"),
            )
        return value

    def known(self, asked: Global) -> Global:
        """Return a name if plain data may use it, else raise DataError."""
        # refused here, when it is named, and not when it is called: a name alone has no use in plain data
        if asked in PLAIN or asked.name in self.instances:
            return asked
        raise DataError(
            f"names {asked}, which is not plain data", expected="only arrays, text, numbers, tuples, lists and dicts"
        )

    def call(self, called: Any, arguments: Any) -> Any:
        """Return the result of a call, which is made by the function of this module that replaces the one named."""
        if type(called) is not Global or type(arguments) is not tuple:
            raise DataError("calls a value that is not a function", found=type(called).__name__)
        if called in PLAIN:
            return PLAIN[called](*arguments)
        if arguments:
            raise DataError(f"creates a {called} with arguments", expected="an instance that is given its attributes")
        return _Unbuilt(_attributes)

    def remember(self, number: int) -> None:
        """Store the last value in the memo."""
        value = self.memo[number] = self.stack[-1]
        if type(value) is _Unbuilt:
            # `build` has to replace it in the memo, too
            value.numbers.append(number)

    def recalled(self, number: int) -> Any:
        """Return a value of the memo."""
        value = self.memo[number]
        if type(value) is _Unbuilt:
            raise DataError("has an array, dtype or instance that contains itself")
        return value

    def build(self, unbuilt: _Unbuilt, state: Any) -> None:
        """Replace a placeholder by its value at the end of the stack, and in the memo."""
        value = self.stack[-1] = unbuilt.make(state)
        self.n_unbuilt -= 1
        self.memo.update(dict.fromkeys(unbuilt.numbers, value))

    def refuse(self, code: bytes) -> NoReturn:
        """Raise DataError with the name of an instruction that is not supported."""
        names = {opcode.code: opcode.name for opcode in pickletools.opcodes}
        name = names.get(code.decode("latin-1"), repr(code))
        raise DataError(f"holds the pickle instruction {name}, which plain data do not need")


def _items(values: list[Any]) -> dict[Any, Any]:
    """Return a dict from alternating keys and values.

    Keys must be text or numbers: a tuple as a key could hide deep nesting.
    """
    keys = values[::2]
    for key in keys:
        if not isinstance(key, str | int | float | np.generic | None):
            raise DataError("has a dict key that is neither text nor number", found=type(key).__name__)
    return dict(zip(keys, values[1::2], strict=True))


def _attributes(state: Any) -> dict[Any, Any]:
    """Return the attributes of an instance, which is its state if that is a dict."""
    if type(state) is not dict:
        raise DataError("sets the attributes of an instance in an unknown way", found=type(state).__name__)
    return state


def _text(value: Any) -> str:
    if type(value) is not str:
        raise DataError("has a name that is not text", found=type(value).__name__)
    return value


# ---------------------------------------------------------------- replacements of functions that numpy's pickles call


def _encode(text: str, encoding: str) -> memoryview:
    """Return bytes, which protocol 2 stores as Latin-1 text."""
    if encoding != "latin1":
        raise DataError("encodes text in an unknown way", expected="latin1", found=ascii(encoding)[:50])
    return memoryview(_text(text).encode("latin-1"))


def _no_bytes() -> memoryview:
    """Return empty bytes, which protocol 2 stores as a call of ``bytes()``."""
    return memoryview(b"")


def _dtype(code: str, align: bool = False, copy: bool = True) -> _Unbuilt:
    """Return a placeholder for a dtype, whose byte order comes as its state."""
    if not DTYPE_CODE.fullmatch(_text(code)):
        raise DataError("has an array that is not plain data", found=f"dtype {ascii(code)[:50]}")

    def make(state: tuple[Any, ...]) -> np.dtype:
        _, order, *_ = state  # the rest describes fields and alignment, which accepted codes do not have
        if order not in ("<", ">", "|", "="):
            raise DataError("has an array of unknown byte order", found=f"dtype {code}")
        return np.dtype(("" if code[0] == "O" else order) + code)

    return _Unbuilt(make)


def _array(kind: Any, shape: Any, code: Any) -> _Unbuilt:
    """Return a placeholder for an array, whose shape, dtype and values come as its state.

    The arguments are those of an empty array: numpy always pickles the same ones.
    """
    if kind != Global("numpy", "ndarray"):
        raise DataError("has an array of an unknown class", expected="numpy.ndarray", found=type(kind).__name__)

    def make(state: tuple[Any, ...]) -> np.ndarray:
        _, shape, dtype, is_fortran, values = state
        return _filled(values, dtype, shape, "F" if is_fortran else "C")

    return _Unbuilt(make)


def _filled(values: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
    """Return an array, which shares the memory of its bytes unless it holds objects."""
    size = _size(shape)
    if not isinstance(dtype, np.dtype) or not dtype.itemsize:
        raise DataError("has an array without a dtype", found=type(dtype).__name__)
    holder, length = (list, size) if dtype.hasobject else (memoryview, size * dtype.itemsize)
    if (kind := type(values)) is not holder:
        raise DataError("has an array without values", expected=holder.__name__, found=kind.__name__)
    if len(values) != length:
        expected = f"{length} for shape {shape} of {dtype}"
        raise DataError("has an array whose size does not match its shape", expected=expected, found=f"{len(values)}")
    if dtype.hasobject:
        # numpy pickles objects row by row, also of Fortran order
        return np.fromiter(values, dtype=object, count=size).reshape(shape)
    flat = np.frombuffer(values, dtype) if size else np.empty(0, dtype)
    if dtype.kind == "U" and flat.view(dtype.byteorder + "u4").max(initial=0) > sys.maxunicode:
        # numpy does not check code points; converting such text to str later would fail
        raise DataError("has text with invalid characters")
    return np.reshape(flat, shape, order=order)


def _size(shape: Any) -> int:
    """Return the number of elements of a shape, which must be a tuple of valid lengths."""
    if type(shape) is not tuple or len(shape) > MAX_DIMS or not all(type(n) is int and n in LENGTHS for n in shape):
        raise DataError("has an array without a shape", found=type(shape).__name__)
    return math.prod(shape)


def _from_buffer(values: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Return an array as protocol 5 stores it."""
    return _filled(values, dtype, shape, "F" if order == "F" else "C")


def _scalar(dtype: Any, value: Any) -> Any:
    """Return a numpy scalar."""
    return _filled(value, dtype, (), "C")[()]


def _not_called(*arguments: Any) -> NoReturn:
    raise DataError("calls numpy.ndarray, which pickled arrays only name")


#: Replacements by the names that pickles of numpy 1 and 2 use.
PLAIN = {
    Global("_codecs", "encode"): _encode,
    Global("__builtin__", "bytes"): _no_bytes,
    Global("numpy", "dtype"): _dtype,
    Global("numpy", "ndarray"): _not_called,
    **{
        Global(f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
