"""One database for all tests of a process, because table classes can be bound to one database only.

``pytest --backend postgresql`` uses an embedded server in a temporary folder, ``--backend mysql`` a
real MySQL (``make mysql`` installs one). Nothing is mocked.
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import quick_start

# This must be set before numpy is imported: test processes share the cores, and BLAS threads spin while they wait for
# each other. A test in which the number of threads matters sets it itself.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

HERE = Path(__file__).parent
#: Modules whose tests mostly wait, for workers that die or fall silent: ``make test`` runs them beside the others.
WAITING = ("test_faults", "test_lease", "test_races", "test_workers")
#: Where ``make test`` collects the tests with a server, and those that mostly wait: importing all tests takes 5 s.
WITH_SERVER = ("page", "populate_scripts", "schemas", "test_docs.py")
WITH_WAITING = ("populate_scripts", "schemas/work")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=["postgresql", "mysql"], default="postgresql")


def pytest_configure(config: pytest.Config) -> None:
    """Remove the user's own settings from the environment of the tests."""
    for name in list(os.environ):
        if name.startswith(("DJ_", "MESO_")) and not name.startswith(("MESO_TEST_", "MESO_MYSQLD")):
            del os.environ[name]
    os.environ["DJ_IGNORE_CONFIG_FILE"] = "true"
    os.environ["MESO_PREFIX"] = f"t{os.getpid()}_"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("db")
        if "demo_sessions" in getattr(item, "fixturenames", ()):
            item.add_marker("demo")
        if item.path.stem in WAITING:
            item.add_marker("waits")
        folders = WITH_WAITING if item.get_closest_marker("waits") else WITH_SERVER
        if item.get_closest_marker("db") and not any(item.path.is_relative_to(HERE / folder) for folder in folders):
            raise pytest.UsageError(f"{item.nodeid} needs a server, and `make test` collects such only in {folders}")
    if config.getoption("--backend") == "mysql" and not config.pluginmanager.has_plugin("shapes"):  # support/shapes.py
        elsewhere = [item for item in items if item.get_closest_marker("one_backend")]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the garbage collector the libraries and tests, which stay: it would visit their objects again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 100)  # the oldest less often: with all quick tests it takes 0.2 s


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> str:
    return pytestconfig.getoption("--backend")


@pytest.fixture(scope="session")
def server(backend: str) -> Iterator[dict[str, str]]:
    """Yield the environment variables with which processes connect to the database server."""
    # Not in pytest's own folder: other users cannot enter it, and if root runs the tests the server is another user.
    with tempfile.TemporaryDirectory(prefix="meso-") as folder:
        os.environ["MESO_DATA_DIR"] = folder
        yield from _server(backend)


def _server(backend: str) -> Iterator[dict[str, str]]:
    if backend == "postgresql":
        from schemas.server import embedded

        do_without_disk(embedded.start())
        yield {"MESO_DATA_DIR": os.environ["MESO_DATA_DIR"]}
        embedded.stop("immediate")
        return
    from support.mysql_server import running_mysql

    try:
        running = running_mysql()
        mysql = running.__enter__()
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NO MYSQL, ITS TESTS ARE SKIPPED. {error}")
    yield {
        "DJ_BACKEND": "mysql", "DJ_HOST": mysql.host, "DJ_PORT": str(mysql.port), "DJ_USER": mysql.user,
        "DJ_PASS": mysql.password, "MESO_DATA_DIR": os.environ["MESO_DATA_DIR"],
    }  # fmt: skip
    running.__exit__(None, None, None)


def do_without_disk(socket_dir: Path) -> None:
    """Turn off PostgreSQL's waiting for the disk: its data are temporary, and no test here simulates a power failure.

    Committed data still survive a killed server, and the tests that kill one start their own servers.
    """
    import psycopg2

    connection = psycopg2.connect(host=str(socket_dir), user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            cursor.execute(f"ALTER SYSTEM SET {setting} = off")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()


@pytest.fixture(scope="session")
def database(server: dict[str, str]) -> Iterator[object]:
    """Yield the DataJoint connection, with all tables declared and empty."""
    os.environ |= server
    import datajoint as dj

    from schemas.server.connection import connect
    from schemas.setup import migrations

    for name, variable in (("host", "DJ_HOST"), ("user", "DJ_USER"), ("password", "DJ_PASS"), ("port", "DJ_PORT")):
        if variable in server:  # DataJoint read the environment when it was imported, before the server was started
            dj.config[f"database.{name}"] = int(server[variable]) if name == "port" else server[variable]
    if "DJ_BACKEND" in server:
        dj.config["database.backend"] = server["DJ_BACKEND"]
    dj.config["safemode"] = False
    migrations.init()
    yield connect()
    connect().close()


@pytest.fixture(scope="session")
def demo_truth(tmp_path_factory: pytest.TempPathFactory):
    """Return the demo repository and the truth planted in it."""
    from pipeline.demo.repository import write_demo_repository

    return write_demo_repository(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def demo_sessions(database: object, demo_truth) -> list[str]:
    """Register, read and embed the demo's sessions; return their ids in order of date."""
    from populate_scripts.ingest import ingest
    from schemas.embedding import Embedding, RasterTiles
    from schemas.work.filling import SESSION_TABLES, fill

    ingest(demo_truth.eids, cache_dir=demo_truth.root)
    filled = fill([*SESSION_TABLES, Embedding, RasterTiles], [{"eid": eid} for eid in demo_truth.eids])
    assert filled.errors == []
    return list(demo_truth.eids)


@pytest.fixture(scope="session")
def python_command(server: dict[str, str]) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs ``python ...`` in a process on the same server.

    ``env`` overrides variables, None unsets one; ``given`` is read from standard input.
    """

    def run(
        *args: str | Path, env: dict[str, str | None] | None = None, given: str = ""
    ) -> subprocess.CompletedProcess:
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        variables = {**os.environ, **server, "COLUMNS": "200", "PYTHONPATH": path, **(env or {})}
        variables = {name: value for name, value in variables.items() if value is not None}
        place = {"cwd": Path(__file__).parents[1], "env": variables, "timeout": 300}
        return quick_start.run([*map(str, args)], **place, given=given)

    return run


@pytest.fixture(scope="session")
def meso_command(python_command) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs ``meso ...`` in the same way."""
    return functools.partial(python_command, "-m", "populate_scripts.cli")


@pytest.fixture(scope="module")
def lab_tables(database, server, tmp_path_factory):
    """Yield a lab with its own tables next to ours; MESO_MODULES stays set, so that other processes see them too."""
    from support import work_tables
    from support.lab import Lab

    from schemas.server.settings import prefix
    from schemas.setup import views

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MESO_MODULES", "support.work_tables")
        work_tables.schema.activate(prefix() + "work_tables", connection=database)
        for table in (work_tables.Product, work_tables.Total):
            _ = table.jobs.heading
        views.create(database)
        yield Lab(tmp_path_factory.mktemp("lab"), {**server, "MESO_HEARTBEAT": "1"})


@pytest.fixture
def lab(lab_tables):
    """Yield the lab with empty tables; empty them again afterwards."""
    lab_tables.clear()
    yield lab_tables
    lab_tables.clear()
