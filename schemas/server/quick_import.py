"""Importing DataJoint in half of its time: pandas is imported once it is used, and garbage is not looked for meanwhile.

What imports make stays, so that looking for garbage among it is in vain; it takes a seventh of the time of a command.

DataJoint uses pandas for ``to_pandas``, and to ask whether something is a DataFrame, which nothing is before pandas has
been imported.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def _pandas() -> ModuleType:
    """Return pandas itself, also to another thread that asks while DataJoint is imported."""
    _remove_stand_in()
    return importlib.import_module("pandas")


def _remove_stand_in() -> None:
    if isinstance(sys.modules.get("pandas"), _Pandas):
        del sys.modules["pandas"]


class _DataFrameType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return "pandas" in sys.modules and isinstance(value, _pandas().DataFrame)

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return _pandas().DataFrame(*args, **options)


class _DataFrame(metaclass=_DataFrameType):
    """Stands for ``pandas.DataFrame``: calls and ``isinstance`` are those of the real one."""


class _Pandas(ModuleType):
    DataFrame = _DataFrame

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks a module
            return super().__getattribute__(name)
        return getattr(_pandas(), name)


def import_datajoint() -> None:
    """Import DataJoint with a stand-in for pandas, unless either has been imported."""
    if {"datajoint", "pandas"} & sys.modules.keys():
        return
    sys.modules["pandas"] = _Pandas("pandas")
    try:
        importlib.import_module("datajoint")
    finally:
        _remove_stand_in()


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Look for no garbage in a block, or function, that makes many objects and no garbage, such as imports."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
