"""Who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    # package: what it must not import
    "pipeline": {"datajoint", "schemas", "populate_scripts", "meso"},
    "schemas": {"populate_scripts", "meso"},
    "populate_scripts": set(),
    "meso.py": {"populate_scripts"},
}
FILES = [
    path for name in LAYERS for path in sorted((ROOT / name).rglob("*.py") if ".py" not in name else [ROOT / name])
]
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib.load", "pandas.read_pickle"}


def imported(source: str) -> set[str]:
    """Every name that a module imports, at its top or inside a function, each with its parents."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            names |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return {".".join(name.split(".")[: i + 1]) for name in names for i in range(name.count(".") + 1)}


def unpickles(source: str) -> set[str]:
    """What in a module could execute code from a file."""
    found = imported(source) & UNPICKLERS
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and (name := ast.unparse(node)).endswith(("joblib.load", ".read_pickle")):
            found.add(name)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.add(f"allow_pickle={ast.unparse(node.value)}")
    return found


def test_the_checks_see_what_they_look_for():
    assert imported("def f():\n    from schemas.ndc import run_ndc") == {
        "schemas",
        "schemas.ndc",
        "schemas.ndc.run_ndc",
    }
    assert "schemas" in imported("importlib.import_module('schemas.ndc')")
    assert unpickles("import numpy as np\nnp.load(path, allow_pickle=True)") == {"allow_pickle=True"}
    assert unpickles("from joblib import load") == {"joblib.load"}
    assert unpickles("import joblib\njoblib.load(path)") == {"joblib.load"}
    assert unpickles("def f():\n    import pickle") == {"pickle"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers_import_only_those_below_and_nothing_unpickles(path):
    source, layer = path.read_text(encoding="utf-8"), path.relative_to(ROOT).parts[0]
    assert imported(source) & LAYERS[layer] == set()
    assert unpickles(source) == set()


def test_every_module_is_looked_at():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(LAYERS)
    assert len(FILES) > 30


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
    """Run code in a process without settings, in an empty home, where sockets cannot connect."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    env = kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(home)}
    return subprocess.run(
        [sys.executable, "-c", ALONE + code], cwd=home, env=env, capture_output=True, text=True, timeout=60
    )


def test_the_guard_refuses_a_connection(tmp_path):
    done = alone("socket.socket(socket.AF_INET).connect(('127.0.0.1', 9))", tmp_path)
    assert "a socket was opened" in done.stderr


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
