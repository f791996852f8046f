"""The same inputs give the same bits on PostgreSQL and on MySQL, and so do an update and a deletion."""

from __future__ import annotations

import json
import shutil
import tempfile

import pytest

DUMP = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
import meso, schemas
from pipeline.decoding import NDCSettings
from pipeline.demo.repository import write_one_tables
from pipeline.responses import SelectivitySettings, StabilitySettings
from populate_scripts.ingest import ingest
from schemas.embedding import Embedding
from schemas.work.filling import SESSION_TABLES, fill
from schemas.days.run import run_embedding
from schemas.decoding.cohorts import compare_mice
from schemas.decoding.run import run_ndc
from schemas.decoding.transfers import run_transfer
from schemas.labels import LabelSet, of_kind
from schemas.responses.run import run_cells, run_stability
from schemas.tracking import TrackingRun
from schemas.upkeep.deletion import delete_sessions
from schemas.upkeep.update import update

def digest(value):
    if isinstance(value, np.ndarray):
        shape = str((value.dtype, value.shape)).encode()
        return hashlib.sha256(shape + np.ascontiguousarray(value).tobytes()).hexdigest()
    return int(value) if isinstance(value, bool) else value

schemas.activate()
root = Path(sys.argv[1])
done = ingest(everything=True, cache_dir=root)
filled = fill([*SESSION_TABLES, Embedding])
words, run = {"ks": (4, 8), "r": 3, "n_label_shuffles": 3, "cv_splits": 3}, TrackingRun.register("SP999")
settings = [NDCSettings(target="choice", **words)]
speed = LabelSet.add("speed", {eid: meso.wheel_speed(eid, "stimOn_times", (0, 0.5)) for eid in done.new})
window = {"event": "stimOn_times", "win_start": 0.0, "win_end": 0.5}
of_numbers = of_kind(NDCSettings(target="speed", labels=speed["label_set"], **window, **words))
of_signal = NDCSettings(target="choice", signal="fluorescence", **words)
result = run_ndc(done.new, run, [*settings, of_numbers, of_signal])
transferred = run_transfer(done.new, run, settings)
compare_mice(["SP999"])
run_cells(done.new[0], settings=SelectivitySettings(n_label_shuffles=2))
run_stability(done.new, run, settings=StabilitySettings(min_trials=1, n_shuffles=200, n_bootstrap=200))
run_embedding(done.new, run)
failed = {**result.failed, **dict.fromkeys(transferred.failure_lines())}
tables = [schemas.Behavior.Trial, schemas.Wheel, schemas.FOV, schemas.FOV.Source, schemas.Recording, schemas.ROI,
          schemas.Activity.Trace, schemas.Embedding.Rank, schemas.TrackedFOV.Member, schemas.SharedCells.Cell,
          schemas.NDCParams, schemas.TrialFeatures, schemas.NDCResult, schemas.NDCResult.Curve, schemas.NDCResult.Trial,
          schemas.NDCFamily.Member, schemas.NDCComparison.Result, schemas.NDCComparison.Trend,
          schemas.NDCComparison.DayTrend, schemas.NDCComparison.DayValue, schemas.NDCComparison.Drift,
          schemas.TransferTask, schemas.TransferResult, schemas.TransferResult.Train, schemas.TransferMatrix,
          schemas.TransferMatrix.Pair,
          schemas.TrialFeatures.Trial, schemas.NDCPopulation.Mean, schemas.NDCPopulation.Slope, LabelSet.Labels,
          schemas.Signal, schemas.Signal.Trace, schemas.TrialTypeMean, schemas.CellResponse.Cell,
          schemas.CellResponse.Selectivity, schemas.Stability.Gap, schemas.Stability.Pair,
          schemas.SharedEmbedding.Rank]

def dump():
    found = {}
    for table in tables:
        rows = [{name: digest(value) for name, value in row.items()} for row in table().to_dicts()]
        name = table.full_table_name.split(".")[-1].strip('"`')
        found[name] = sorted(json.dumps(row, sort_keys=True) for row in rows)
    return found

before = dump()
for path in sorted(root.glob("*/Subjects/*/*/001/alf/FOV_00/mpci.ROIActivityF.npy"))[:1]:
    np.save(path, np.asfortranarray(np.square(np.load(path)) / np.float32(100)))
write_one_tables(root)
updated = update(done.new)
changes = [updated.failures, sorted({change.table for change in updated.changes}),
           [{name: digest(value) for name, value in row.items() if name in ("former_table", "former_key")}
            for row in schemas.FormerResult().to_dicts(order_by="KEY")]]
after = dump()
deleted = delete_sessions({"eid": done.new[0]}, confirm=lambda counts: True)
print(json.dumps({"errors": filled.errors, "failed": failed, "changes": changes, "deleted": sorted(deleted.items()),
                  "dumps": [before, after, dump()]}, default=str))
"""


@pytest.fixture(scope="module")
def small_repository(tmp_path_factory):
    from pipeline.demo.repository import write_demo_repository

    root = tmp_path_factory.mktemp("small") / "one"
    root.mkdir()
    return write_demo_repository(root, n_days=2, n_fovs=2, n_trials=120, n_shared=24, rois_per_fov=60).root


@pytest.fixture
def empty_data_dir():
    with tempfile.TemporaryDirectory(prefix="meso-") as folder:
        yield folder


def test_both_backends_hold_the_same_bits(small_repository, server, backend, python_command, empty_data_dir, tmp_path):
    if backend != "mysql":
        pytest.skip("compares MySQL with PostgreSQL: runs with --backend mysql")
    embedded = {name: None for name in server if name.startswith("DJ_")}
    embedded["MESO_DATA_DIR"] = str(empty_data_dir)
    dumps = []
    for env in ({"MESO_PREFIX": "same_bits_"}, {**embedded, "MESO_PREFIX": "same_bits_"}):
        done = python_command("-m", "populate_scripts.cli", "db", "init", env=env)
        assert done.returncode == 0, done.stderr
        repository = shutil.copytree(small_repository, tmp_path / str(len(dumps)) / "one")
        done = python_command("-c", DUMP, repository, env=env)
        assert done.returncode == 0, done.stderr
        dumps.append(json.loads(done.stdout.splitlines()[-1]))
    python_command("-m", "populate_scripts.cli", "db", "stop", env=embedded)
    mysql, postgresql = dumps
    assert mysql["errors"] == postgresql["errors"] == []
    assert mysql["failed"] == postgresql["failed"] == {}
    assert mysql["changes"] == postgresql["changes"] and mysql["changes"][:2] == [[], ["Signal"]]
    assert mysql["deleted"] == postgresql["deleted"]
    for one, other in zip(mysql["dumps"], postgresql["dumps"], strict=True):
        for table, rows in one.items():
            assert rows == other[table], table
    before, after, without = mysql["dumps"]
    assert all(before.values())
    changed = {table for table, rows in after.items() if rows != before[table]}
    assert {"_signal__trace", "__trial_features", "__n_d_c_result__curve"} <= changed, changed
    kept = {table for table, rows in without.items() if rows == after[table]}
    assert kept == {"n_d_c_params", "label_set__labels"}
