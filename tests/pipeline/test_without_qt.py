"""PyQt5, which is GPL and comes with ibllib, is not needed: neither to read sessions nor to embed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFUSE = """
import sys

assert not {refused} & {{name.partition(".")[0] for name in sys.modules}}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""
QT = {"PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy", "pyqtgraph"}
EMBED = """
import numpy as np
from pipeline.embedding import rastermap_order

traces = np.random.default_rng(0).normal(size=(60, 200)).astype(np.float32)
assert sorted(rastermap_order(traces)) == list(range(60))
assert "rastermap" in sys.modules
"""
READ = """
from pathlib import Path
from pipeline import reading
from pipeline.demo.repository import write_demo_repository

root = Path(sys.argv[1])
(eid,) = write_demo_repository(root, n_days=1, n_fovs=1, n_trials=30, n_shared=8, rois_per_fov=40).eids
one = reading.open_one(root)
assert len(reading.read_wheel(one, eid).velocity)
assert len(reading.read_trials(one, eid).table)
assert reading.read_fov(one, eid, 0, "alf/FOV_00").n_rois
assert "brainbox" in sys.modules
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "refused"), [(EMBED, QT), (EMBED, QT | {"ibllib", "brainbox"}), (READ, QT)], ids=["embed", "alone", "read"]
)
def test_what_runs_without_packages(tmp_path: Path, code, refused):
    command = [sys.executable, "-c", REFUSE.format(refused=refused) + code, str(tmp_path / "one")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_guard_refuses():
    code = REFUSE.format(refused={"one"}) + "import one"
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE).returncode == 1
