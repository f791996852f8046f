"""Create a database as version 11 did, without the processors of environments: a script, run by test_database."""

from __future__ import annotations

from schemas.provenance import Environment
from schemas.rows import content_key
from schemas.setup import migrations
from support.before_responses import without_responses

#: Columns that version 12 added to Environment.
NEW_COLUMNS = ("cpu_name", "cpu_features", "blas_kernels")
#: What version 11 recorded of an environment, and its key there.
CONTENT = {"python_version": "3.11.2", "packages": {"meso": "0.2.0", "numpy": "2.2.0"}, "git_commit": "a" * 40}
KEY = "060cdbd0710bb2f2469e5783f2264f74"


def make() -> None:
    """Declare the tables of version 11, and insert an environment."""
    without_responses()
    lines = Environment.definition.splitlines()
    Environment.definition = "\n".join(line for line in lines if not line.strip().startswith(NEW_COLUMNS))
    migrations.init(migrations=migrations.MIGRATIONS[:11])
    Environment.insert1({"environment": KEY, **CONTENT})


if __name__ == "__main__":
    assert content_key(CONTENT) == KEY, content_key(CONTENT)
    make()
