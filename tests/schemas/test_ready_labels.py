"""Ready-made targets that are numbers: reaction times and the speed of the wheel, by their names."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

import meso
import schemas
from pipeline.decoding import NDCSettings
from pipeline.errors import DataError
from pipeline.reading.behavior import VELOCITY_RATE
from populate_scripts import commands
from schemas.ready_labels import READY_MADE, STAND_IN, _made, ready_targets
from schemas.session import Wheel, trials_of
from schemas.work.filling import fill

QUICK = {"ks": (8,), "R": 2, "n_label_shuffles": 3, "n_bootstrap": 0, "plot": False, "progress": False}
WINDOW = {"event": "firstMovement_times", "win": (0, 0.3)}


@pytest.fixture(autouse=True)
def without_labels() -> Iterator[None]:
    yield
    for name in set(schemas.LabelSet.to_arrays("label_name")):
        commands.drop_labels(name)


def stored(run, eid: str, target: int) -> np.ndarray:
    key = schemas.LabelSet.Labels & {"label_set": run.targets[target].settings.labels, "labelled_eid": eid}
    return np.asarray(key.fetch1("own_labels"))


@pytest.mark.one_backend  # numbers, of rows that other tests read on both
def test_they_are_decoded_by_their_names(demo_sessions):
    eids = demo_sessions[:2]
    out = meso.neuron_dropping_curves_cached(eids, ["reaction_time", "wheel_speed", "choice"], **WINDOW, **QUICK)
    assert out.failed == {}
    assert [target.settings.metric for target in out.targets] == ["r2", "r2", "auc"]
    for eid in eids:
        trials = trials_of(eid)
        np.testing.assert_array_equal(stored(out, eid, 0), trials["firstMovement_times"] - trials["stimOn_times"])
        wheel = (Wheel & {"eid": eid}).fetch1()
        times = wheel["velocity_start"] + np.arange(len(wheel["wheel_velocity"])) / VELOCITY_RATE
        moved = trials["firstMovement_times"]
        for trial in np.flatnonzero(np.isfinite(moved))[[0, 7, -1]]:
            inside = (times >= moved[trial]) & (times < moved[trial] + 0.3)
            expected = np.abs(wheel["wheel_velocity"][inside].astype(float)).mean()
            assert stored(out, eid, 1)[trial] == pytest.approx(expected, rel=1e-6)
    # again, the same labels and rows; of another window, others
    again = meso.neuron_dropping_curves_cached(eids, ["wheel_speed"], **WINDOW, **QUICK)
    assert again.targets[0].ndc_params == out.targets[1].ndc_params
    other = meso.neuron_dropping_curves_cached(
        eids, ["wheel_speed"], event="firstMovement_times", win=(0, 0.2), **QUICK
    )
    assert other.targets[0].settings.labels != out.targets[1].settings.labels
    assert set(schemas.LabelSet.to_arrays("labelled_by")) == {READY_MADE}


def test_labels_that_a_person_gave_the_name_come_first(demo_sessions):
    eids = demo_sessions[:2]
    own = {eid: trials_of(eid)["choice"] > 0 for eid in eids}
    assert ready_targets(["reaction_time", "choice", "mine"]) == ["reaction_time"]
    key = schemas.LabelSet.add("reaction_time", own)
    assert ready_targets(["reaction_time"]) == []
    out = meso.neuron_dropping_curves_cached(eids, ["reaction_time"], **QUICK)
    assert out.targets[0].settings.labels == key["label_set"] and out.targets[0].settings.metric == "auc"


def test_a_session_without_a_wheel_is_named(demo_sessions):
    eids, asked = demo_sessions[:3], NDCSettings("wheel_speed", labels=STAND_IN)
    (Wheel & {"eid": eids[0]}).delete()
    made = _made(asked, eids)  # as with_labels does when what can be read has been read
    assert fill([Wheel], {"eid": eids[0]}).errors == []
    assert set((schemas.LabelSet.Labels & {"label_set": made.labels}).to_arrays("labelled_eid")) == set(eids[1:])
    with pytest.raises(DataError, match="has no labels 'wheel_speed'"):
        schemas.LabelSet.of_session(made.labels, eids[0], trials_of(eids[0]))


@pytest.mark.one_backend
def test_the_command_line_takes_them(demo_sessions, meso_command):
    few = ("--r", "2", "--n-label-shuffles", "3", "--json")
    done = meso_command("ndc", *demo_sessions[:2], "--target", "reaction_time", "--ks", "8", "--n-bootstrap", "0", *few)
    rows = json.loads(done.stdout)
    assert done.returncode == 0 and {row["metric"] for row in rows} == {"r2"}, done.stderr
    done = meso_command(
        "transfer", *demo_sessions[:2], "--target", "wheel_speed", "--metric", "spearman", "--event",
        "firstMovement_times", "--win", "0", "0.3", *few,
    )  # fmt: skip
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 4, done.stderr
