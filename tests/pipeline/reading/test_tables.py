"""Tables of a ONE cache that are cut, lack columns, come from Windows, or list things twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from iblutil.io import parquet

from pipeline import reading
from pipeline.demo.repository import write_demo_repository
from pipeline.errors import ConfigError, DataError
from pipeline.reading.names import SessionName, session_name

TYPES = "mpciROIs.mpciROITypes.npy"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_demo_repository(
        tmp_path_factory.mktemp("tables") / "one", n_days=2, n_fovs=2, n_trials=20, n_shared=8, rois_per_fov=24
    )


@pytest.fixture
def cache(made, tmp_path) -> Path:
    """The same files with tables of their own."""
    root = tmp_path / "one"
    shutil.copytree(made.root, root, copy_function=lambda a, b: Path(b).hardlink_to(a))
    for path in root.glob("*.pqt"):  # not to change the original
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    return root


def change(root: Path, name: str, how) -> None:
    table, metadata = parquet.load(root / f"{name}.pqt")
    parquet.save(root / f"{name}.pqt", how(table), metadata)


def twice(table: pd.DataFrame, **changes) -> pd.DataFrame:
    return pd.concat([table, table.iloc[:1].assign(**changes)])


def read(root: Path, eid: str) -> list[np.ndarray]:
    one = reading.open_one(root)
    found = [reading.read_fov(one, eid, *fov).traces for fov in reading.fov_folders(one, eid).items()]
    trials = reading.read_trials(one, eid).table.drop(columns="collection").to_numpy(dtype=float)
    return [*found, trials, reading.read_wheel(one, eid).position]


@pytest.fixture(scope="module")
def sound(made) -> dict[str, list[np.ndarray]]:
    """What is read of each session with the tables as they were written."""
    return {eid: read(made.root, eid) for eid in made.eids}


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("datasets", lambda table: table.drop(columns="file_size")),
        ("datasets", lambda table: table.assign(file_size=pd.array([pd.NA] * len(table), dtype="UInt64"))),
        ("datasets", lambda table: table.drop(columns=["hash", "exists", "qc"])),
        ("datasets", lambda table: table.assign(rel_path=table["rel_path"].str.replace("/", "\\"))),
        ("datasets", twice),
        ("sessions", twice),
        ("sessions", lambda table: table.drop(columns=["task_protocol", "projects"])),
        ("sessions", lambda table: table.assign(number=table["number"].astype("int64"))),
    ],
    ids=["no sizes", "null sizes", "old columns only", "backslashes", "dataset twice", "session twice", "no protocol",
         "other integers"],
)  # fmt: skip
def test_tables_of_other_origin_are_read_alike(made, sound, cache, name, how):
    change(cache, name, how)
    assert reading.find_sessions(reading.open_one(cache)) == list(made.eids)
    for eid in made.eids:
        for found, expected in zip(read(cache, eid), sound[eid], strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["datasets", "sessions"])
@pytest.mark.parametrize("n_bytes", [0, 4, 700])
def test_a_cut_table_is_named(cache, name, n_bytes):
    path = cache / f"{name}.pqt"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ConfigError, match=rf"^{path} \({n_bytes} bytes\) cannot be read as a table .* Fetch it again"):
        reading.open_one(cache)


def test_a_session_listed_twice_differently_stops_no_other(made, cache):
    change(cache, "sessions", lambda table: twice(table.sort_index(), number=7))
    odd = min(made.eids)
    (sound,) = set(made.eids) - {odd}
    assert reading.find_sessions(reading.open_one(cache)) == [sound, odd]
    with pytest.raises(DataError, match=f"^session {odd}: ONE lists the session several times, differently"):
        reading.session_info(reading.open_one(cache), odd)
    read(cache, sound)


@pytest.mark.parametrize(
    "how",
    [
        lambda table: table.assign(date=[None, *table["date"][1:]]),
        lambda table: table.assign(number=[70000, *table["number"][1:].astype(int)]),
    ],
    ids=["no date", "huge number"],
)
def test_a_session_without_a_date_or_with_a_huge_number_stops_no_other(made, cache, how):
    change(cache, "sessions", lambda table: how(table.sort_index()))
    odd, sound = sorted(made.eids)
    assert reading.find_sessions(reading.open_one(cache)) == [sound, odd]
    with pytest.raises(DataError, match=f"^session {odd}: ONE cannot (read what is registered|hold the number)"):
        reading.session_info(reading.open_one(cache), odd)
    read(cache, sound)


def test_two_default_revisions_are_named_and_the_other_fov_is_read(made, cache):
    eid, old = made.eids[0], f"alf/FOV_00/{TYPES}"
    new = old.replace("FOV_00/", "FOV_00/#2025-06-01#/")

    def both(table: pd.DataFrame) -> pd.DataFrame:
        row = table[table["rel_path"] == old].xs(eid, drop_level=False).assign(rel_path=new)
        row.index = pd.MultiIndex.from_tuples([(eid, "11111111-1111-3111-8111-111111111111")], names=table.index.names)
        return pd.concat([table, row])

    change(cache, "datasets", both)
    one = reading.open_one(cache)
    with pytest.raises(
        DataError, match=rf"FOV_00, {old}: ONE lists several .*{new} \(dataset 1.*, {old} \(dataset"
    ) as e:
        reading.read_fov(one, eid, 0, "alf/FOV_00")
    assert '""' not in str(e.value)
    assert reading.read_fov(one, eid, 1, "alf/FOV_01").n_rois


@pytest.mark.parametrize(
    "text", ["", "5ce2e17", "none", "5ce2e17g", "S/2024-02-31/001", "S/2024-06-18", "2024-06-18/1"]
)
def test_what_names_no_session(text):
    assert session_name(text) == SessionName()
