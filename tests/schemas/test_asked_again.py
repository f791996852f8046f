"""Questions about several sessions, of which the set is gone for a moment, as while an update reads files again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import schemas
import schemas.days.run
import schemas.decoding.run
import schemas.decoding.transfers
import schemas.responses.run
from pipeline.decoding import NDCSettings
from pipeline.embedding_days import DaysSettings
from pipeline.errors import DataError
from pipeline.responses import StabilitySettings
from schemas.days.run import run_embedding
from schemas.days.tables import DaysParams
from schemas.decoding.run import run_ndc
from schemas.decoding.transfers import run_transfer
from schemas.responses.run import run_stability
from schemas.tracking import TrackingRun
from schemas.work.filling import N_TRIES

pytestmark = pytest.mark.one_backend

SETTINGS = NDCSettings(target="choice", ks=(8,), r=2, n_label_shuffles=3, n_bootstrap=4, seed=77)
DAYS = DaysSettings(bin_seconds=9)
STABILITY = StabilitySettings(n_shuffles=200, n_bootstrap=200, seed=77)
#: By question: how it is asked, its module, what reads the set there, and what inserts its tasks.
QUESTIONS: dict[str, tuple[Callable[[list[str], dict], Any], Any, str, Any, str]] = {
    "curves": (
        lambda eids, run: run_ndc(eids, run, [SETTINGS]).table["eid"],
        schemas.decoding.run, "n_shared_cells", schemas.NDCTask, "ask",
    ),
    "transfer": (
        lambda eids, run: run_transfer(eids, run, [SETTINGS]).table["eid"],
        schemas.decoding.transfers, "n_shared_cells", schemas.TransferTask, "add",
    ),
    "embedding": (
        lambda eids, run: run_embedding(eids, run, DAYS).eids,
        schemas.days.run, "n_shared_cells", schemas.SharedEmbeddingTask, "add",
    ),
    "stability": (
        lambda eids, run: [day["eid"] for day in run_stability(eids, run, settings=STABILITY).days],
        schemas.responses.run, "n_shared_cells", schemas.StabilityTask, "add",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_stays(demo_sessions) -> Iterator[None]:
    yield
    (schemas.NDCParams & schemas.NDCParams.add(SETTINGS)).delete()
    (schemas.SharedEmbeddingTask & DaysParams.add(DAYS)).delete()
    (schemas.StabilityParams & schemas.StabilityParams.add(STABILITY)).delete()


def gone(monkeypatch, owner: Any, name: str, n_times: int) -> list[str]:
    """Let the set be deleted each time before a call is done, so often; return the deleted sets, as they are."""
    call, deleted = getattr(owner, name), []

    def without_set(session_set, *arguments, **options):
        if len(deleted) < n_times:
            deleted.append(session_set["session_set"])
            (schemas.SessionSet & {"session_set": session_set["session_set"]}).delete()
        return call(session_set, *arguments, **options)

    monkeypatch.setattr(owner, name, without_set)
    return deleted


@pytest.mark.parametrize("step", ["read", "task"])
@pytest.mark.parametrize("kind", QUESTIONS)
def test_a_set_that_is_gone_for_a_moment_is_asked_anew(demo_sessions, monkeypatch, kind, step):
    ask, module, read, table, insert = QUESTIONS[kind]
    eids, run = demo_sessions[:2], TrackingRun.register("SP999")
    deleted = gone(monkeypatch, *((module, read) if step == "read" else (table, insert)), N_TRIES - 1)
    assert set(ask(eids, run)) == set(eids)
    assert len(deleted) == N_TRIES - 1


@pytest.mark.parametrize("kind", QUESTIONS)
def test_a_set_that_is_gone_each_time_is_an_error_of_the_data(demo_sessions, monkeypatch, kind):
    ask, _, _, table, insert = QUESTIONS[kind]
    eids, run = demo_sessions[:2], TrackingRun.register("SP999")
    deleted = gone(monkeypatch, table, insert, N_TRIES)
    with pytest.raises(DataError, match=r"files read again, while this was computed\. Ask again when meso update"):
        ask(eids, run)
    assert len(deleted) == N_TRIES
