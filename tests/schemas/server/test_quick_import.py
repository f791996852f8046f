"""What ``import meso`` and the quick commands import, and that pandas is there once it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # each starts Python anew
#: Libraries that take 0.1 to 1 s to import, and are needed by some calls only.
SLOW = {
    "pandas", "pyarrow", "scipy.linalg", "scipy.optimize", "scipy.special", "scipy.stats", "numba", "matplotlib",
    "sklearn", "rastermap", "one.api",
}  # fmt: skip
FRAME = """
import schemas, sys
assert "pandas" not in sys.modules
import datajoint as dj
from datajoint import condition
assert not isinstance([], condition.pandas.DataFrame)
made = condition.pandas.DataFrame({"eid": ["x"]})
import pandas
assert type(made) is pandas.DataFrame and isinstance(made, condition.pandas.DataFrame)
assert condition.pandas.concat is pandas.concat and sys.modules["pandas"] is pandas
"""


def run(code: str) -> str:
    """Run code in a new process; one that the tests fork has imported everything."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code", ["import meso", "import schemas.queries.sessions, schemas.work.reports, drawing.screen"]
)
def test_what_is_needed_by_few_is_not_imported(code):
    assert not SLOW & set(run(f"{code}\nimport sys; print(*sys.modules)").split())


def test_datajoint_finds_pandas_once_it_is_used():
    run(FRAME)


def test_pandas_that_is_there_is_used():
    run("import pandas, schemas\nfrom datajoint import condition\nassert condition.pandas is pandas")
