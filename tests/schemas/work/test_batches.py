"""Jobs that are run together: each is done, or fails, as it would by itself, and they share their statements."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from support.statements import statements

import schemas
from schemas.rows import jobs_of
from schemas.work.filling import fill
from schemas.work.jobs import Batch, Queue, alike
from schemas.work.runner import JobRunner, new_worker
from schemas.work.tables import Made

EID, SUBJECT, N_FOVS, N_ROIS = "00000000-0000-3000-8000-0000000ba7c4", "TOGETHER", 5, 6
RUN = {"subject": SUBJECT, "tracking_run": "b" * 32}


@pytest.fixture
def tracked(database) -> Iterator[SimpleNamespace]:
    """A session of five FOVs of six ROIs, and their UID files, of which no FOV has been tracked."""
    when, direct = datetime.datetime(2024, 1, 1), {"allow_direct_insert": True}
    fovs = [{"eid": EID, "fov": fov} for fov in range(N_FOVS)]
    schemas.Subject.insert1({"subject": SUBJECT})
    schemas.Session.insert1(
        {"eid": EID, "subject": SUBJECT, "session_date": when.date(), "session_number": 1, "ingested_at": when}
    )
    schemas.FOVFolder.insert({**fov, "collection": f"alf/FOV_{fov['fov']:02d}"} for fov in fovs)
    schemas.FOV.insert(
        ({**fov, "n_rois": N_ROIS, "n_neurons": 6, "n_frames": 4, "frame_period": 0.2, "imaging_start": 0.0,
          "imaging_end": 1.0, "n_bouts": 1, "signal": "deconvolved", "region_source": "none",
          "mlapdv_source": "none"} for fov in fovs), **direct,
    )  # fmt: skip
    schemas.ROI.insert(
        ({**fov, "roi": roi, "is_neuron": True, "roi_type": 1, "stack_y": 0, "stack_x": roi, "stack_z": 0,
          "time_offset": 0.0} for fov in fovs for roi in range(N_ROIS)), **direct,
    )  # fmt: skip
    schemas.TrackingRun.insert1({**RUN, "duplicates": "error", "registered_at": when, "uid_form": "any"})
    schemas.TrackingFile.insert(
        {**RUN, **fov, "uid_origin": "x", "uid_sha256": f"{fov['fov']:064x}",
         "uid_text": "".join(f"f{fov['fov']}r{roi}\n" for roi in range(N_ROIS))} for fov in fovs
    )  # fmt: skip
    fill([schemas.TrackedCell], RUN)
    yield SimpleNamespace(fovs=fovs, jobs=jobs_of(schemas.TrackedFOV), there=lambda: schemas.TrackedFOV & RUN)
    (jobs_of(schemas.TrackedFOV) & RUN).delete()
    (schemas.Session & {"eid": EID}).delete(prompt=False)
    (schemas.Subject & {"subject": SUBJECT}).delete(prompt=False)


def test_all_are_done_with_as_many_statements_as_for_two(tracked):
    numbers = []
    for fovs in (tracked.fovs[:2], tracked.fovs[2:]):
        with statements() as sent:
            done = fill([schemas.TrackedFOV], RUN, fovs)
        assert not done.errors and done.made == {"TrackedFOV": len(fovs)}
        numbers.append(len(sent))
    assert numbers[0] == numbers[1]
    assert sum((Made & {"table_name": "TrackedFOV"}).to_arrays("n_made")) >= N_FOVS
    members = (schemas.TrackedFOV.Member & RUN).to_dicts(order_by="fov, roi")
    assert [row["cell_uid"] for row in members] == [f"f{fov}r{roi}" for fov in range(N_FOVS) for roi in range(N_ROIS)]
    assert len(tracked.there()) == N_FOVS and not tracked.jobs & RUN


def test_one_that_does_not_fit_fails_by_itself(tracked):
    schemas.TrackingFile.update1({**RUN, **tracked.fovs[1], "uid_text": "one line\n"})
    schemas.TrackingFile.update1({**RUN, **tracked.fovs[3], "uid_rois": "f" * 64})
    done = fill([schemas.TrackedFOV], RUN)
    assert done.made == {"TrackedFOV": 3} and sorted(key["fov"] for _, key, _ in done.errors) == [1, 3]
    assert set(tracked.there().to_arrays("fov")) == {0, 2, 4}
    assert (tracked.jobs & RUN).to_arrays("status").tolist() == ["error", "error"]
    assert all("FOV_0" in message for message in (tracked.jobs & RUN).to_arrays("error_message"))


def test_an_error_that_is_nobodys_has_all_run_one_by_one(tracked):
    """A cell that is missing makes the server refuse the rows of all; then only those of its own FOV."""
    (schemas.TrackedCell & RUN & {"cell_uid": "f2r0"}).delete_quick()
    done = fill([schemas.TrackedFOV], RUN)
    assert [key["fov"] for _, key, _ in done.errors] == [2] and "IntegrityError" in done.errors[0][2]
    assert set(tracked.there().to_arrays("fov")) == {0, 1, 3, 4}


def test_those_of_another_worker_are_left_to_it(tracked):
    queue = Queue(schemas.TrackedFOV)
    queue.add(RUN)
    other, own = (Batch(schemas.TrackedFOV, queue.due(RUN), new_worker()) for _ in range(2))
    other.keys = other.keys[:2]
    other._reserve()
    assert own.populate() == {}
    assert len(own.reserved) == 3 == len(tracked.there())
    other.release()
    with JobRunner() as runner:
        ran = list(runner.run_together(schemas.TrackedFOV, other.keys))
    assert [outcome.status.name for _, outcome in ran] == ["DONE", "DONE"] and len(tracked.there()) == N_FOVS


def test_a_reservation_that_was_lost_inserts_nothing(tracked):
    Queue(schemas.TrackedFOV).add(RUN)
    batch = Batch(schemas.TrackedFOV, Queue(schemas.TrackedFOV).due(RUN), new_worker())
    batch._reserve()
    batch.release()
    batch._reserve = lambda: None
    with pytest.raises(Exception, match="not reserved by this worker any more"):
        batch.populate()
    assert not tracked.there()


def test_other_tables_are_run_key_by_key():
    keys = [{"eid": "a"}, {"eid": "b"}]
    assert alike(schemas.FOV, keys) == [[keys[0]], [keys[1]]]
    mixed = [{**RUN, "eid": "a", "fov": 0}, {**RUN, "tracking_run": "c", "eid": "a"}, {**RUN, "eid": "b", "fov": 0}]
    assert alike(schemas.TrackedFOV, mixed) == [[mixed[0], mixed[2]], [mixed[1]]]
