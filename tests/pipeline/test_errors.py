"""The tree of exceptions: where users find it, that it is whole, and that nothing else is raised on purpose."""

from __future__ import annotations

import ast
import builtins
import copy
import inspect
from pathlib import Path

import pytest

import meso
import schemas
from pipeline import errors

ROOT = Path(__file__).parents[2]
SOURCES = [path for room in ("pipeline", "schemas", "drawing", "page", "populate_scripts", "meso.py")
           for path in ([ROOT / room] if room.endswith(".py") else (ROOT / room).rglob("*.py"))]  # fmt: skip
#: A method for subclasses, what cannot be, and what numpy itself raises for too many indices.
PROTOCOL = {NotImplementedError, AssertionError, IndexError}


def members() -> dict[str, type]:
    """Return the exceptions that are defined in ``pipeline.errors``."""
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }


@pytest.mark.parametrize("module", [errors, meso, schemas], ids=lambda module: module.__name__)
def test_all_errors_are_exported(module):
    exported = {name for name in module.__all__ if inspect.isclass(value := getattr(module, name))
                and issubclass(value, BaseException)}  # fmt: skip
    assert exported == set(members())
    assert all(getattr(module, name) is value for name, value in members().items())


def test_it_is_one_tree_and_each_error_says_when():
    for name, value in members().items():
        assert issubclass(value, errors.MesoError), name
        assert name.endswith("Error") and value.__doc__.split("\n")[0].endswith((".", ";")), name
        assert name in errors.__doc__, name


def test_what_python_and_numpy_code_catches_is_caught():
    assert issubclass(errors.ArgumentError, ValueError)
    assert issubclass(errors.ArgumentTypeError, TypeError)
    assert issubclass(errors.OutOfRangeError, IndexError)


def raised(source: str) -> list[tuple[int, type]]:
    """Return line and class of Python's own exceptions that a module raises by name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            name = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            value = getattr(builtins, name.id, None) if isinstance(name, ast.Name) else None
            if inspect.isclass(value) and issubclass(value, BaseException):
                found.append((node.lineno, value))
    return found


def test_the_check_sees_what_it_looks_for():
    assert raised("raise ValueError('no')\nraise KeyError\nraise") == [(1, ValueError), (2, KeyError)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_outside_the_tree_is_raised_on_purpose(path):
    wrong = [f"line {line}: {value.__name__}" for line, value in raised(path.read_text(encoding="utf-8"))
             if value not in PROTOCOL]  # fmt: skip
    assert wrong == [], "use ArgumentError, DataError or ConfigError of pipeline.errors"


@pytest.mark.parametrize("kind", [value for value in members().values() if issubclass(value, errors.DataError)])
def test_errors_of_data_keep_their_kind_in_another_process_and_place(kind):
    error = kind("too short", expected="5 frames", found="4", do="Record again")
    placed = error.located(eid="abc", fov=3, dataset="x.npy")
    copied = copy.copy(placed)  # by the same way as to another process
    assert type(error) is type(placed) is type(copied) is kind
    text = "session abc, FOV_03, x.npy: too short (expected 5 frames, found 4). Record again"
    assert str(placed) == str(copied) == text
