"""The values of states are those in the database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import schemas
from schemas.work import states
from schemas.work.tables import Worker


def test_the_status_of_a_job_is_one_that_datajoint_declares(database):
    """Read from DataJoint's definition of job tables, which it has in its source."""
    import inspect

    from datajoint import jobs

    declared = re.search(r"status\s*:\s*enum\(([^)]*)\)", inspect.getsource(jobs)).group(1)
    assert set(re.findall(r"'(\w+)'", declared)) == set(states.JobStatus)
    assert {"pending", "reserved", "error"} <= set(states.JobStatus)
    assert len(schemas.FOV.jobs & "status = 'pending'") == len(schemas.FOV.jobs.pending)


@pytest.mark.one_backend
def test_words_that_older_databases_hold_stay(database):
    assert set(states.EndReason) == {"finished", "stopped", "killed", "silent"}
    assert set(states.WorkerState) == {"working", "idle", "dead"}
    assert max(map(len, states.EndReason)) <= int(re.search(r"\d+", Worker.heading["end_reason"].type).group())


def test_every_state_says_what_it_means():
    source = Path(states.__file__).read_text(encoding="utf-8")
    lines = re.findall(r"^    [A-Z_]+ = \"[a-z]+\"(.*)$", source, re.MULTILINE)
    members = [member for enum in (states.JobStatus, states.Status, states.EndReason, states.WorkerState)
               for member in enum]  # fmt: skip
    assert len(lines) == len(members)
    assert all(re.fullmatch(r"  # .{15,}", line) for line in lines)
