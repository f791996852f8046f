"""Which module may import which, and what importing costs."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
#: Layers, the lowest first: a module imports from its own package and from packages of lower layers.
FLOORS = (("pipeline",), ("schemas",), ("drawing",), ("meso", "page"), ("populate_scripts",))
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = [path for room in FLOOR_OF for path in sorted([*ROOT.glob(f"{room}.py"), *(ROOT / room).rglob("*.py")])]
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib.load", "pandas.read_pickle"}


@functools.cache
def tree(source: str) -> list[ast.AST]:
    """Return the nodes of a module."""
    return list(ast.walk(ast.parse(source)))


def last_name(node: ast.expr) -> str:
    """Return ``b`` of ``a.b`` and of ``b``."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def imported(source: str) -> set[str]:
    """Return every name that a module imports, at its top or inside a function, each with its parents."""
    names = set()
    for node in tree(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and last_name(node.func) in ("import_module", "__import__"):
            names |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return {".".join(name.split(".")[: i + 1]) for name in names for i in range(name.count(".") + 1)}


def unpickles(source: str) -> set[str]:
    """Return what in a module could execute code from a file."""
    found = imported(source) & UNPICKLERS
    for node in tree(source):
        # text is made only of what may be one of them: of each attribute it takes seconds
        if isinstance(node, ast.Attribute) and node.attr in ("load", "read_pickle"):
            name = ast.unparse(node)
            found |= {name} if name.endswith(("joblib.load", ".read_pickle")) else set()
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.add(f"allow_pickle={ast.unparse(node.value)}")
    return found


def test_the_checks_find_imports_and_unpicklers():
    assert imported("def f():\n    from schemas.decoding.run import run_ndc") == {
        "schemas",
        "schemas.decoding",
        "schemas.decoding.run",
        "schemas.decoding.run.run_ndc",
    }
    assert "schemas" in imported("importlib.import_module('schemas.decoding.run')")
    assert unpickles("import numpy as np\nnp.load(path, allow_pickle=True)") == {"allow_pickle=True"}
    assert unpickles("from joblib import load") == {"joblib.load"}
    assert unpickles("import joblib\njoblib.load(path)") == {"joblib.load"}
    assert unpickles("def f():\n    import pickle") == {"pickle"}


def module_of(path: Path) -> str:
    """Return the dotted name of a module; that of a package is its folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported_modules(source: str) -> set[str]:
    """Return which of our modules a module imports: ``from a.b import c`` is ``a.b.c`` if that is one, else ``a.b``."""
    found = set()
    for node in tree(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inside}
    return found & MODULES.keys()


@functools.cache
def import_graph() -> nx.DiGraph:
    """Return the graph of which module imports which, including imports inside functions."""
    return nx.DiGraph(
        (module, other)
        for module, path in MODULES.items()
        for other in imported_modules(path.read_text(encoding="utf-8")) - {module}
    )


def room_of(module: str) -> str:
    """Return the package of a module, two levels deep at most."""
    return ".".join(module.split(".")[:2])


def circles(graph: nx.DiGraph) -> list[list[str]]:
    return [sorted(found) for found in nx.strongly_connected_components(graph) if len(found) > 1]


def test_the_check_finds_cycles():
    assert imported_modules("def f():\n    from schemas.decoding import run\n    from schemas import ROI") == {
        "schemas.decoding.run", "schemas",
    }  # fmt: skip
    assert circles(nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])) == [["a", "b", "c"]]


def test_modules_import_each_other_in_no_cycle_even_inside_functions():
    assert circles(import_graph()) == []


def test_packages_import_each_other_in_no_cycle():
    rooms = nx.DiGraph((room_of(a), room_of(b)) for a, b in import_graph().edges if room_of(a) != room_of(b))
    assert circles(rooms) == []


def test_no_import_is_from_a_higher_layer_or_across_a_layer():
    def top(module: str) -> str:
        return module.partition(".")[0]

    wrong = [
        f"{a} imports {b}" for a, b in import_graph().edges if top(a) != top(b) and FLOOR_OF[top(b)] >= FLOOR_OF[top(a)]
    ]
    assert wrong == []


def test_pipeline_never_imports_datajoint():
    assert [name for name, path in MODULES.items() if name.startswith("pipeline") and "datajoint" in imported(
        path.read_text(encoding="utf-8"))] == []  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles(path):
    assert unpickles(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=module_of)
def test_every_package_has_a_docstring(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring and len(docstring.splitlines()[0]) > 20


def test_files_of_tests_have_different_names():
    """Without packages pytest knows a file by its name, and refuses a second one when all are collected together."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, n in names.items() if n > 1] == []


def test_every_module_is_checked():
    assert {module.partition(".")[0] for module in MODULES} == set(FLOOR_OF)
    ignored = {"benchmarks", "docs", "site", "tests"}
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    there = {path.name for path in folders if next(path.rglob("*.py"), None)}
    assert there - ignored <= set(FLOOR_OF)
    assert {"page", "pipeline", "schemas"} <= there
    assert len(FILES) > 100


ALONE = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError(f"a socket was opened: {args}")

def audit(event, args):
    if event in ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen"):
        refuse(event, args)

sys.addaudithook(audit)
socket.create_connection = socket.getaddrinfo = refuse
"""


def alone(code: str, home: Path) -> subprocess.CompletedProcess:
    """Run code in a process without settings, with an empty home folder, in which sockets cannot connect."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    env = kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(home)}
    return subprocess.run(
        [sys.executable, "-c", ALONE + code], cwd=home, env=env, capture_output=True, text=True, timeout=60
    )


def test_the_guard_refuses_a_connection(tmp_path):
    done = alone("socket.socket(socket.AF_INET).connect(('127.0.0.1', 9))", tmp_path)
    assert "a socket was opened" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", ["schemas", "meso", "populate_scripts.cli", "populate_scripts.commands"])
def test_importing_needs_no_database_no_network_and_no_other_process(tmp_path, module):
    done = alone(f"import {module}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*postgres*"))


def test_help_is_quick_because_it_imports_little(tmp_path):
    code = "import populate_scripts.cli as cli; cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = alone(code, tmp_path)
    assert done.returncode == 0, done.stderr
    text, modules = done.stdout.rsplit("\n", 2)[:2]
    assert "neuron-dropping curves" in text.lower()
    heavy = {
        "numpy",
        "pandas",
        "datajoint",
        "matplotlib",
        "sklearn",
        "scipy",
        "one",
        "rich",
        "meso",
        "schemas",
        "joblib",
    }
    assert heavy & set(modules.split()) == set()
    assert len(modules.split()) < 400
