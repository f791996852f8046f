"""The model of a session's choices as rows, printed and drawn by ``meso behavior``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.mice import mouse_session

import schemas
from drawing.choices import choice_model
from pipeline.behavior.check import FEATURES, predictive_check
from pipeline.behavior.dynamic import WEIGHTS, fit_dynamic_psychometric
from pipeline.behavior.task import CONTRAST_KNOTS
from pipeline.reading.behavior import column_name
from schemas.rows import number
from schemas.work.filling import fill

pytestmark = pytest.mark.db
EID = "00000000-0000-4000-8000-0000000c401c"
N = 250


@pytest.fixture
def mouse(database):
    """A session whose mouse drifts, with its trials as they would be read; deleted afterwards."""
    trials = mouse_session("ramp", N, np.random.default_rng(4))
    schemas.Subject.insert1({"subject": "DRIFTER"})
    row = {"session_date": "2024-05-01", "session_number": 1, "ingested_at": "2024-06-01 00:00:00"}
    schemas.Session.insert1({"eid": EID, "subject": "DRIFTER", **row})
    schemas.Behavior.insert1({"eid": EID, "n_trials": N, "performance": 0.7}, allow_direct_insert=True)
    whole = ("choice", "feedbackType")
    schemas.Behavior.Trial.insert(
        (
            {"eid": EID, "trial": t, "task_collection": "alf"}
            | {
                column_name(name): int(column[t]) if name in whole else number(column[t])
                for name, column in trials.items()
            }
            for t in range(N)
        ),
        allow_direct_insert=True,
    )
    yield trials
    (schemas.Session & {"eid": EID}).delete(prompt=False)
    (schemas.Subject & {"subject": "DRIFTER"}).delete(prompt=False)


def test_rows_are_the_model_of_the_trials(mouse):
    assert fill([schemas.ChoiceModel], {"eid": EID}).errors == []
    model = fit_dynamic_psychometric(mouse)
    row = (schemas.ChoiceModel & {"eid": EID}).fetch1()
    assert row["n_choices"] == N and row["choice_bias"].dtype == np.float64
    np.testing.assert_allclose(row["choice_bias"], model.mean.bias[0], atol=1e-9)
    np.testing.assert_allclose(row["choice_gain_sd"], model.sd().gain[0], atol=1e-9)
    assert row["bias_step"] == pytest.approx(model.probabilities @ model.step_sizes[:, 0])
    weights = (schemas.ChoiceModel.Weight & {"eid": EID}).to_dicts()
    assert {one["choice_weight"]: pytest.approx(one["weight_mean"]) for one in weights} == dict(
        zip(WEIGHTS, model.mean.weights[0], strict=True)
    )
    check = predictive_check(mouse, model)
    checks = {one["session_feature"]: one["feature_p"] for one in (schemas.ChoiceModel.Check & {"eid": EID}).to_dicts()}
    assert checks == dict(zip(FEATURES, map(number, check.p), strict=True))
    assert bool(row["is_imitated"]) == check.imitated


@pytest.mark.one_backend  # what is done with rows once they are read
def test_models_that_know_one_last_choice_are_shown_as_they_were_stored(mouse, tmp_path):
    assert fill([schemas.ChoiceModel], {"eid": EID}).errors == []
    # a model of version 15 to 36
    later = [{"choice_weight": name} for name in WEIGHTS if name[-2:] in ("_2", "_3", "_4", "_5") and name[0] in "wl"]
    (schemas.ChoiceModel.Weight & {"eid": EID} & later).delete_quick()
    (schemas.ChoiceModel.Check & {"eid": EID} & "session_feature like '%choice%'").delete_quick()
    shown = choice_model(EID)
    former = ["block", *(f"contrast_{knot:g}" for knot in CONTRAST_KNOTS), "win", "lose", "choices_5", "choices_20"]
    assert [row["quantity"] for row in shown.rows()] == [*former, *list(FEATURES)[:8]]
    assert shown.draw(tmp_path, "png").stat().st_size > 10_000 and shown.beyond() == []


@pytest.mark.one_backend  # words and figures of rows that other tests read on both
def test_the_command_prints_and_draws_it(mouse, meso_command, server, tmp_path):
    done = meso_command("behavior", EID, "--output", str(tmp_path), env=server)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in (*WEIGHTS, *FEATURES))
    (path,) = tmp_path.glob("behavior_DRIFTER_2024-05-01_001.png")
    assert str(path) in done.stdout and path.stat().st_size > 10_000
    done = meso_command("behavior", EID, "--json", "--no-figure", env=server)
    rows = json.loads(done.stdout)
    assert [row["quantity"] for row in rows] == [*WEIGHTS, *FEATURES]
    assert all(row["value_low"] <= row["value"] <= row["value_high"] for row in rows)


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_session_without_trials_has_no_model(database, meso_command, server):
    schemas.Subject.insert1({"subject": "NOBODY"})
    row = {"session_date": "2024-05-01", "session_number": 1, "ingested_at": "2024-06-01 00:00:00"}
    eid = EID[:-1] + "d"
    schemas.Session.insert1({"eid": eid, "subject": "NOBODY", **row})
    try:
        done = meso_command("behavior", eid, env=server)
        assert done.returncode == 1
        assert "the session has no model of choice" in done.stderr and "Traceback" not in done.stderr
    finally:
        (schemas.Subject & {"subject": "NOBODY"}).delete(prompt=False)
