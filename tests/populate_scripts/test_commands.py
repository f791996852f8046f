"""The command line as a user types it, on a small repository, under a prefix of its own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from iblutil.io import parquet
from PIL import Image

from pipeline.decoding import NDCSettings
from schemas.rows import content_key

PREFIX = f"cmd{os.getpid()}_"


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    from pipeline.demo.repository import write_demo_repository

    root = tmp_path_factory.mktemp("commands") / "one"
    root.mkdir()
    return write_demo_repository(root, n_days=3, n_fovs=2, n_trials=120, n_shared=24, rois_per_fov=60)


@pytest.fixture(scope="module")
def meso(meso_command, small_demo):
    def run(*args, code: int = 0):
        done = meso_command(*args, env={"MESO_PREFIX": PREFIX})
        assert done.returncode == code, (args, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    run("db", "init")
    return run


@pytest.fixture(scope="module")
def demo_output(meso, small_demo, tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "demo_output"
    text = meso("demo", "--cache-dir", small_demo.root, "--output", output)
    return output, text


@pytest.mark.one_backend  # figures, and a table of what test_backends.py compares
def test_demo_writes_a_figure_per_target_a_raster_per_session_and_the_table(demo_output, small_demo):
    output, text = demo_output
    table = pd.read_csv(output / "k_star.csv")
    assert len(table) == 3 * 3
    assert set(table["eid"]) == set(small_demo.eids)
    rasters = {f"raster_SP999_{date}_001.png" for date in small_demo.dates}
    figures = {f"ndc_{target}.png" for target in ("choice", "feedback", "stimulus")}
    assert {path.name for path in output.iterdir()} == rasters | figures | {
        "k_star.csv",
        "k_star_days.png",
        "performance.png",
    }
    for row in table.itertuples():
        assert f"{row.eid}  {row.k_star:>2}  " in text


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_demo_again_computes_nothing(demo_output, meso, small_demo, tmp_path):
    output, text = demo_output
    before = pd.read_csv(output / "k_star.csv")
    again = meso("demo", "--cache-dir", small_demo.root, "--output", tmp_path)
    assert again.splitlines()[1:-2] == text.splitlines()[1:-2]  # the folder of the figures is another one
    assert again.splitlines()[-1] == text.splitlines()[-1]
    assert again.splitlines()[-1].endswith("serve --open")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "k_star.csv"), before)
    assert (tmp_path / "ndc_choice.png").read_bytes() == (output / "ndc_choice.png").read_bytes()
    assert "Populated nothing: all tables are complete" in meso("populate")


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_demo_again_draws_only_figures_that_are_not_there(demo_output, meso, small_demo):
    output, _ = demo_output
    figures = {path: (path.stat().st_mtime_ns, shown(path)) for path in output.glob("*.png")}
    cut, other = output / "ndc_choice.png", output / "performance.png"
    cut.write_bytes(cut.read_bytes()[:5000])  # as after a full disk
    other.write_bytes((output / "k_star_days.png").read_bytes())
    meso("demo", "--cache-dir", small_demo.root, "--output", output)
    again = {path for path, (when, _) in figures.items() if path.stat().st_mtime_ns != when}
    assert again == {cut, other}
    assert all(shown(path) == before for path, (_, before) in figures.items())


def shown(path: Path) -> tuple:
    """Return the size of a picture and what is written in it."""
    with Image.open(path) as image:
        image.load()
        return image.size, image.info


@pytest.mark.one_backend  # other tests send its statements on both
def test_ingest_populate_status_errors(demo_output, meso, small_demo, tmp_path):
    assert meso("ingest", "--all", "--cache-dir", small_demo.root).startswith("0 new, 3 known, 0 failed")
    listed = tmp_path / "list.txt"
    listed.write_text(f"# of the demo\n{small_demo.eids[0]}\nSP999\\{small_demo.dates[1]}\\001\n")
    assert meso("ingest", "--list", listed, "--cache-dir", small_demo.root).startswith("0 new, 2 known, 0 failed")
    status = {row["table"]: row for row in json.loads(meso("status", "--json"))}
    counts = {"table": "FOV", "done": 6, "to_do": 0, "running": 0, "errors": 0}
    assert status["FOV"].items() >= (counts | {"eta": None, "longest": None, "host": None}).items()
    assert status["FOV"]["seconds"] > 0
    assert status["NDCResult"]["done"] == 9
    assert "No errors" in meso("errors")
    meso("ingest", code=2)  # neither ids nor --subject nor --all


@pytest.mark.one_backend  # settings go to the server and back in test_pipeline.py, on both
def test_ndc_takes_settings_and_writes_json(demo_output, meso, small_demo, tmp_path):
    args = ("ndc", *small_demo.eids[:2], "--target", "stimulus", "--ks", "4,8", "-R", "3", "--n-label-shuffles", "5")
    # the target twice is one target, and words mean what they mean in Python
    more = ("--target", "stimulus", "--metric", "accuracy", "--seed", "5", "--no-scaling")
    rows = json.loads(meso(*args, *more, "--output", tmp_path, "--json"))
    assert [row["eid"] for row in rows] == list(small_demo.eids[:2])
    asked = NDCSettings("stimulus", ks=(4, 8), r=3, n_label_shuffles=5, metric="accuracy", seed=5, scaling=False)
    assert {row["ndc_params"] for row in rows} == {content_key(asked.content())}
    assert {row["n_cells"] for row in rows} == {shared_of(small_demo, 2)}
    (figure,) = tmp_path.glob("ndc_SP999_stimulus_*.png")
    assert figure.stem.endswith(rows[0]["ndc_params"][:8])
    assert {row["event"] for row in rows} == {"stimOn_times"}
    assert {row["null_used"] for row in rows} == {"pseudosession"}
    meso("ndc", *small_demo.eids[:2], "--event", "banana_times", code=2)
    args = [("4,4096" if one == "4,8" else one) for one in args]
    assert f"k up to 4096 was requested; the longest curve ends at {shared_of(small_demo, 2)} cells" in meso(*args)
    meso("ndc", *small_demo.eids[:2], "--ks", "8,x", code=2)
    meso("populate", "--eid", "1234", code=1)


@pytest.mark.one_backend  # settings go to the server and back in test_pipeline.py, on both
def test_ndc_takes_populations_nulls_and_folds(demo_output, meso, small_demo):
    args = ("ndc", *small_demo.eids[:2], "--target", "choice", "--ks", "2,4", "-R", "2", "--n-label-shuffles", "4")
    more = ("--null", "circular", "--cells", "random", "--fovs", "0", "--regions", "VISp,SSp-bfd", "--n-bootstrap", "5")
    folds = ("--fold-mode", "blocked", "--fold-gap", "1", "--c-grid", "0.1,1", "--n-cells", "5")
    meso(*args, *more, *folds, code=2)  # of which unit the grid is
    rows = json.loads(meso(*args, *more, *folds, "--penalty", "scaled", "--json"))
    assert {(row["penalty"], row["c_grid"]) for row in rows} == {("scaled", "0.1, 1.0")}
    assert {row["null_used"] for row in rows} == {"circular"}
    assert {(row["cells"], row["regions"], row["fovs"]) for row in rows} == {("random", "SSp-bfd, VISp", "0")}
    assert all(5 < row["n_cells"] < shared_of(small_demo, 2) for row in rows)
    assert {row["q_value"] for row in rows} != {None}
    text = meso(
        *args[:-6],
        "--ks",
        "4,20,30",
        *args[-4:],
        "--curve-axis",
        "trials",
        "--trial-shuffled",
        "--metric",
        "balanced_accuracy",
    )
    for question in ("code (does the curve have another shape?)", "sensitivity (are fewer cells enough?"):
        assert text.count(question) == 1, question
    assert "beyond the scatter of days" in text
    meso(*args, "--fold-gap", "3", code=2)
    meso(*args, "--fovs", "one", code=2)
    meso(*args, "--null", "nothing", code=2)
    meso(*args, "--regions", "VISX", code=1)


def shared_of(truth, n_days: int) -> int:
    """Number of cells planted in the first days."""
    days = [set().union(*truth.rows[eid].values()) for eid in truth.eids[:n_days]]
    return len(set.intersection(*days))


@pytest.mark.one_backend
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_raster_in_each_format(demo_output, meso, small_demo, tmp_path, suffix):
    path = meso("raster", small_demo.eids[0], "--t-range", "100", "130", "--format", suffix, "--output", tmp_path)
    assert path.strip().endswith(f"001.{suffix}")
    assert (tmp_path / f"raster_SP999_{small_demo.dates[0]}_001.{suffix}").stat().st_size > 10_000


@pytest.mark.one_backend  # files; other tests register tracking runs and count their uses on both
def test_track_mirrors_a_tree_and_registers_it(demo_output, meso, small_demo, tmp_path):
    tree, copy = tmp_path / "source", tmp_path / "mirror"
    for path in (small_demo.root / "demolab/Subjects").rglob("mpciROIs.clusterUIDs.csv"):
        target = tree / path.relative_to(small_demo.root / "demolab/Subjects")
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    text = meso("track", "SP999", "--uid-root", copy, "--mirror", tree)
    assert "Mirrored 6 files, 0 unchanged" in text
    assert "in 3 sessions" in text
    assert len(list((copy / "ROICaT" / "SP999").rglob("*.csv"))) == 6
    assert "Mirrored 0 files, 6 unchanged" in meso("track", "SP999", "--uid-root", copy, "--mirror", tree)
    changed = next(tree.rglob("FOV_01/*.csv"))
    changed.write_text("\n".join(["one more", *changed.read_text().splitlines()]))
    meso("track", "SP999", "--uid-root", copy, "--mirror", tree, code=1)  # another run's file: nothing is replaced
    assert not any("one more" in path.read_text() for path in copy.rglob("*.csv"))
    mirrored, *_, used = json.loads(meso("track", "SP999", "--list", "--json"))
    assert (mirrored["n_sessions"], mirrored["n_curves"]) == (3, 0) and used["n_curves"] >= 9
    assert f"{used['tracking_run'][:8]} " in meso("track", "SP999", "--list")
    meso("track", "SP999", "--drop", used["tracking_run"], code=1)
    assert "TrackingRun 1, " in meso("track", "SP999", "--drop", mirrored["tracking_run"][:10])
    for wrong in (("--list", "--drop", "0"), ("--drop", "0", "--refresh"), ("--json",)):
        meso("track", "SP999", *wrong, code=2)


# ---------------------------------------------------------------- a subject with a hostile name; these tests come last

#: A wildcard, an escape, a quote, a formula, and a sequence that would colour the terminal.
ODD = "=50%\\n'x\x1b[31m"

RENAME = """
import schemas
from schemas.server.settings import prefix
schemas.activate()
connection, tables = schemas.connect(), [schemas.Subject.full_table_name]
if connection.adapter.backend == "mysql":  # it cannot cascade to a table along two foreign keys
    connection.query("SET FOREIGN_KEY_CHECKS = 0")
    tables = [f"`{schema}`.`{table}`" for schema, table in connection.query(
        "SELECT c.table_schema, c.table_name FROM information_schema.columns c JOIN information_schema.tables t "
        "ON t.table_schema = c.table_schema AND t.table_name = c.table_name "
        "WHERE c.column_name = 'subject' AND t.table_type = 'BASE TABLE' AND c.table_schema LIKE %s",
        args=(prefix().replace("_", r"\\_") + "%",)).fetchall()]
for table in tables:
    connection.query(f"UPDATE {table} SET subject = %s", args=(NAME,))
"""


@pytest.fixture(scope="module")
def with_curves(backend, meso, small_demo, request) -> None:
    """The sessions with curves: as the demo leaves them where it is tested, elsewhere with fewer shuffles."""
    if backend == "postgresql":
        request.getfixturevalue("demo_output")
        return
    meso("ingest", "--all", "--cache-dir", small_demo.root)
    meso("ndc", "--subject", "SP999", "--target", "choice", "--ks", "4", "-R", "2", "--n-label-shuffles", "2", "--json")


@pytest.fixture(scope="module")
def odd(with_curves, meso, python_command, small_demo):
    """The sessions of the demo, of a subject with another name; the server renames it in all tables, and ONE has it."""
    done = python_command("-c", f"NAME = {ODD!r}\n{RENAME}", env={"MESO_PREFIX": PREFIX})
    assert done.returncode == 0, done.stderr
    sessions = pd.read_parquet(small_demo.root / "sessions.pqt")
    parquet.save(small_demo.root / "sessions.pqt", sessions.assign(subject=ODD), {"date_created": "2026-01-01 00:00"})
    (folder,) = small_demo.root.glob("*/Subjects/SP999")
    folder.rename(folder.with_name(ODD))
    return ODD


COMMANDS = {
    "sessions": ("sessions", "--subject", ODD),
    "ndc": ("ndc", "--subject", ODD, "--target", "choice", "--ks", "4,8", "-R", "2", "--n-label-shuffles", "2"),
    "track": ("track", ODD),
    "tracking": ("tracking", ODD),
    "export": ("export", "--subject", ODD, "--format", "parquet"),
    "verify": ("verify", "--subject", ODD),
    "status": ("status",),
    "errors": ("errors",),
    "populate": ("populate",),
    "raster": ("raster", "EID", "EID2", "--tracked"),
    "map": ("map", "EID"),
    "peri": ("peri", "EID"),
    "behavior": ("behavior", "EID"),
}


#: Commands that find their rows by the id of a session, and write the name into a figure.
BY_EID = {"map", "peri", "behavior"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.one_backend] if name in BY_EID else []) for name in COMMANDS]
)
def test_a_hostile_name_of_a_subject(odd, meso_command, small_demo, tmp_path, name):
    places = dict(zip(("EID", "EID2"), small_demo.eids, strict=False))
    args = [places.get(part, part) for part in COMMANDS[name]]
    if name in ("ndc", "tracking", "export", "raster", "map", "peri", "behavior"):
        args += ["--output", str(tmp_path)]
    done = meso_command(*args, env={"MESO_PREFIX": PREFIX})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b[31m" not in done.stdout + done.stderr
    if name == "sessions":
        assert done.stdout.count(r"=50%\n'x\x1b[31m") == len(small_demo.eids)
        rows = json.loads(meso_command(*args, "--json", env={"MESO_PREFIX": PREFIX}).stdout)
        assert {(row["subject"], row["eid"]) for row in rows} == {(ODD, eid) for eid in small_demo.eids}
    if name == "ndc":
        (table,) = tmp_path.glob("k_star_*.csv")
        cells = pd.read_csv(table).select_dtypes("object")
        assert not any(str(cell).startswith("=") for column in cells for cell in cells[column])


def test_a_wildcard_deletes_only_its_own_subject(odd, meso_command, small_demo):
    env = {"MESO_PREFIX": PREFIX}
    for near in ("%", "=50%", ODD.replace("\\", "\\\\"), ODD.replace("%", "_"), ODD.replace("'", "''")):
        done = meso_command("delete", "--subject", near, "--yes", env=env)
        assert done.returncode == 1
        assert "not registered" in done.stderr
    done = meso_command("delete", "--subject", ODD, "--yes", env=env)
    assert done.returncode == 0, done.stderr
    assert "\x1b[31m" not in done.stdout + done.stderr
    assert json.loads(meso_command("sessions", "--json", env=env).stdout) == []
