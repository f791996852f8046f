"""The same inputs give the same bits on PostgreSQL and on MySQL, and in another process."""

from __future__ import annotations

import json
import tempfile

import pytest

DUMP = """
import hashlib, json, sys
import numpy as np
import meso, schemas
from pipeline.decoding import NDCSettings
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

def digest(value):
    if isinstance(value, np.ndarray):
        shape = str((value.dtype, value.shape)).encode()
        return hashlib.sha256(shape + np.ascontiguousarray(value).tobytes()).hexdigest()
    return int(value) if isinstance(value, bool) else value

schemas.activate()
done = ingest(everything=True, cache_dir=sys.argv[1])
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
dump = {}
for table in tables:
    rows = [{name: digest(value) for name, value in row.items()} for row in table().to_dicts()]
    dump[table.full_table_name.split(".")[-1].strip('"`')] = sorted(json.dumps(row, sort_keys=True) for row in rows)
print(json.dumps({"errors": filled.errors, "failed": failed, "dump": dump}, default=str))
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


def test_both_backends_hold_the_same_bits(small_repository, server, backend, python_command, empty_data_dir):
    if backend != "mysql":
        pytest.skip("compares MySQL with PostgreSQL: runs with --backend mysql")
    embedded = {name: None for name in server if name.startswith("DJ_")}
    embedded["MESO_DATA_DIR"] = str(empty_data_dir)
    dumps = []
    for env in ({"MESO_PREFIX": "same_bits_"}, {**embedded, "MESO_PREFIX": "same_bits_"}):
        done = python_command("-m", "populate_scripts.cli", "db", "init", env=env)
        assert done.returncode == 0, done.stderr
        done = python_command("-c", DUMP, small_repository, env=env)
        assert done.returncode == 0, done.stderr
        dumps.append(json.loads(done.stdout.splitlines()[-1]))
    python_command("-m", "populate_scripts.cli", "db", "stop", env=embedded)
    mysql, postgresql = dumps
    assert mysql["errors"] == postgresql["errors"] == []
    assert mysql["failed"] == postgresql["failed"] == {}
    for table, rows in mysql["dump"].items():
        assert rows, table
        assert rows == postgresql["dump"][table], table
