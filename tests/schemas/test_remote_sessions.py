"""Sessions of Alyx in the database: registered, read on demand, offline, and what Alyx allows in the columns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from support.alyx import Alyx, alyx_of, set_up_one
from support.broken_sessions import Repository, remove

import meso
import schemas
from pipeline import reading
from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.errors import DataError
from pipeline.reading import remote
from populate_scripts.ingest import ingest
from schemas.upkeep.mixtures import notes_of
from schemas.upkeep.update import update
from schemas.work import runner as running
from schemas.work.filling import IMAGING_TABLES, SESSION_TABLES, fill
from schemas.work.jobs import Queue
from schemas.work.reports import retry

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Failed to connect, returning cached response:RuntimeWarning"),
]
ODD = {
    "long protocol": {"task_protocol": "p" * 1023},
    "several projects": {"projects": [letter * 255 for letter in "abc"]},
    "large number": {"number": 32768},
    "long lab": {"lab": "l" * 255},
    "no record": {"start_time": None},
    "no project": {"projects": [], "task_protocol": ""},
}
#: About Alyx, of which the server of the database knows nothing.
elsewhere = pytest.mark.one_backend
REVISION = "r" * 253  # the longest name of a folder, with its two #
TIMES, ACTIVITY = "mpci.times.npy", "mpci.ROIActivityDeconvolved.npy"


@pytest.fixture(scope="module")
def lab(database, tmp_path_factory) -> Iterator[tuple[Alyx, Repository, Path]]:
    """An Alyx with sound sessions of RA01, odd ones of RA02, and one of a subject with a long name."""
    made = write_demo_repository(
        tmp_path_factory.mktemp("template"), n_days=1, n_fovs=2, n_trials=20, n_shared=16, rois_per_fov=40
    )
    found = Repository(tmp_path_factory.mktemp("alyx"), next(made.root.glob("*/Subjects/*/*/001")))
    for name in ("embedded", "counted", "replaced", "deconvolved", "interrupted", "worker", "left"):
        found.add(name, "RA01")
    revised = found.alf("counted") / "FOV_00" / f"#{REVISION}#"
    revised.mkdir()
    (revised / TIMES).write_bytes((revised.parent / TIMES).read_bytes())
    for name in ODD:
        found.add(name, "RA02")
    found.add("long subject", "R" * 64)
    write_one_tables(found.root)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, alyx_of(found.root) as server:
        patch.setenv("HOME", str(home))
        patch.delenv("MESO_ONE_CACHE_DIR", raising=False)
        patch.setattr(remote, "WAITS", (0.01, 0.01))
        set_up_one(server, home)
        for name, values in ODD.items():
            server.session(found.eids[name]).update(values)
        yield server, found, home
    remove(found)


@pytest.mark.one_backend  # what was downloaded is read as other sessions are
def test_a_notebook_reads_an_unknown_session_through_alyx(lab):
    server, found, _ = lab
    eid = found.eids["embedded"]
    cells = meso.load_or_embed(f"RA01/{found.folders['embedded'].parts[-2]}/1")
    folders = [found.sound(eid) / "alf" / f"FOV_{fov:02d}" for fov in (0, 1)]
    expected = [np.load(f / ACTIVITY).T[np.load(f / "mpciROIs.mpciROITypes.npy") == 1] for f in folders]
    np.testing.assert_array_equal(cells["roi_signal"], np.concatenate(expected))
    assert {key["eid"] for key in cells["roi_keys"]} == {eid}
    row = (schemas.Session & {"eid": eid}).fetch1()
    assert (row["subject"], row["one_cache_dir"]) == ("RA01", "")
    server.stop()
    again = meso.load_or_embed(eid[:8])  # all of it is in the database
    np.testing.assert_array_equal(again["roi_signal"], cells["roi_signal"])
    server.start()


@pytest.mark.one_backend  # requests to Alyx
def test_requests_of_a_session(lab):
    server, found, _ = lab
    key = {"eid": found.eids["counted"]}
    server.counted()
    assert ingest([key["eid"]]).new == [key["eid"]]
    with pytest.warns(UserWarning, match="files with times are newer"):  # those of one FOV are of a revision
        assert fill(SESSION_TABLES, key).errors == []
    n_files = len(schemas.FOV.Source & key) + len(schemas.Behavior.Source & key) + len(schemas.Wheel.Source & key)
    n_requests = server.counted()
    assert n_requests["GET /sessions/<id>"] == 1
    n_names = 2  # of types, one file for each FOV, which say nothing new and are not recorded
    assert n_requests["file"] == n_files + n_names == 25
    assert n_requests.total() <= n_files + n_names + 6
    read = (schemas.FOV.Source & key & {"fov": 0, "revision": REVISION}).fetch1("dataset")
    assert read == f"alf/FOV_00/#{REVISION}#/{TIMES}"


@elsewhere
def test_files_that_are_replaced_in_alyx_before_they_are_downloaded_are_noted(lab):
    """By the hashes that it lists: registering a session downloads nothing."""
    server, found, _ = lab
    eid, names = found.eids["replaced"], ("mpciROIs.mpciROITypes.npy", "mpciROIs.cellClassifier.npy")
    server.counted()
    assert ingest([eid]).new == [eid]
    assert server.counted()["file"] == 0
    files = schemas.Session.File & {"eid": eid}
    assert len(files & "sha256 = ''" & "one_hash <> ''") == len(files) > 25
    for name in names:
        path = found.alf("replaced") / "FOV_00" / name
        np.save(path, np.load(path)[::-1])
        listed = server.dataset(eid, f"alf/FOV_00/{name}")
        listed["hash"] = md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    reading.open_one().alyx.clear_rest_cache()
    with pytest.warns(UserWarning, match=r"files of ROIs have changed since the session was registered"):
        assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    (note,) = [one for one in notes_of() if one.eid == eid]
    changed, others = note.text.split("and others have not")
    assert all(name in changed for name in names) and ACTIVITY in others


@elsewhere
def test_activity_that_is_replaced_in_alyx_after_it_was_read_has_not_changed_since_registration(lab):
    """It is deconvolved again, and an update reads it."""
    server, found, _ = lab
    eid = found.eids["deconvolved"]
    assert ingest([eid]).new == [eid]
    assert fill(SESSION_TABLES, {"eid": eid}).errors == []
    read_as, registered_as = (
        {row["dataset"]: row["sha256"] for row in (table & {"eid": eid}).to_dicts()}
        for table in (schemas.FOV.Source, schemas.Session.File)
    )
    assert read_as.items() <= registered_as.items()
    path = found.alf("deconvolved") / "FOV_00" / ACTIVITY
    np.save(path, np.asfortranarray(np.load(path) * 2))
    listed = server.dataset(eid, f"alf/FOV_00/{ACTIVITY}")
    listed["hash"] = md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    reading.open_one().alyx.clear_rest_cache()
    done = update([eid])
    assert (done.failures, done.notes) == ([], []) and done.update_id
    assert notes_of([eid]) == []


@elsewhere
def test_a_server_that_is_away_while_a_session_is_read(lab):
    server, found, _ = lab
    key = {"eid": found.eids["interrupted"]}
    ingest([key["eid"]])
    assert fill(IMAGING_TABLES, key, {"fov": 0}).errors == []
    server.stop()
    ((table, _, message),) = fill([schemas.FOV], key).errors
    assert table == "FOV" and f"session {key['eid']}, FOV_01, alf/FOV_01/" in message
    assert "The file server of ONE does not answer" in message and "Run this again later" in message
    with pytest.raises(DataError, match=r"the session is not registered.*Alyx at .* does not answer .ConnectionError"):
        meso.load_or_embed(found.eids["left"])
    server.start()
    retry(eid=key["eid"])
    assert fill(IMAGING_TABLES, key).errors == []
    assert len(schemas.Activity & key) == 2


def test_a_worker_tries_later_what_a_server_that_is_away_has(lab, monkeypatch):
    monkeypatch.setattr(running, "AWAY_DELAY", 0.1)
    monkeypatch.setattr(running, "MAX_LOST_CONNECTIONS", 3)
    server, found, _ = lab
    key = {"eid": found.eids["worker"]}
    ingest([key["eid"]])
    Queue(schemas.FOV).add(key)
    server.stop()

    def run_once(runner: running.JobRunner) -> running.Outcome:
        while not (due := Queue(schemas.FOV).due(key, {"fov": 0})):
            time.sleep(0.02)
        return runner.run(schemas.FOV, due[0])

    with running.JobRunner(running.new_worker()) as runner:
        tried = [run_once(runner) for _ in range(3)]
        assert [outcome.status for outcome in tried] == ["postponed", "postponed", "failed"]
        assert "a server of ONE was away 3 times while this job was running" in tried[-1].message
        retry(eid=key["eid"])
        Queue(schemas.FOV).add(key)
        assert run_once(runner).status == "postponed"
        server.start()
        assert run_once(runner).status == "done"


@pytest.mark.filterwarnings("ignore:session .* is of the lab l+, and RA02 was registered:UserWarning")
def test_what_alyx_allows_the_columns_take(lab):
    _, found, _ = lab
    done = ingest(subject="RA02")
    assert set(done.failed) == {found.eids["no record"]}
    assert "ONE cannot read what is registered of the session" in done.failed[found.eids["no record"]]
    assert set(done.new) == {found.eids[name] for name in ODD} - set(done.failed)
    rows = {row["eid"]: row for row in (schemas.Session & {"subject": "RA02"}).to_dicts()}
    assert rows[found.eids["long protocol"]]["task_protocol"] == "p" * 1023
    assert rows[found.eids["several projects"]]["projects"] == ", ".join(letter * 255 for letter in "abc")
    assert rows[found.eids["large number"]]["session_number"] == 32768
    assert (rows[found.eids["no project"]]["projects"], rows[found.eids["no project"]]["task_protocol"]) == ("", "")
    assert ingest(subject="R" * 64).new == [found.eids["long subject"]]
    assert ingest(subject="R" * 63) == ingest(subject="ra02")  # nothing


def test_a_name_that_no_column_takes_is_one_line(lab, tmp_path):
    found = Repository(tmp_path, lab[1].template)
    for subject in ("R" * 65, "RA03"):
        found.add(subject, subject)
    write_one_tables(found.root)
    done = ingest(everything=True, cache_dir=found.root)
    assert done.new == [found.eids["RA03"]]
    assert f"session {found.eids['R' * 65]}: subject of the session is too long" in done.failed[found.eids["R" * 65]]
    remove(found)


#: ``meso``, which does not wait half a minute before it asks a server again that has failed.
IMPATIENT = """
from pipeline.reading import remote
remote.WAITS = (0.01, 0.01)
from populate_scripts.cli import main
main()
"""


@elsewhere
def test_ingest_stops_where_the_login_is_refused_and_goes_on_afterwards(lab, python_command, meso_command):
    server, found, home = lab
    eids, env = [found.eids[name] for name in ("embedded", "counted", "left")], {"HOME": str(home)}
    server.fail("/sessions", 500, times=1000)
    reading.open_one().alyx.clear_rest_cache()
    done = python_command("-c", IMPATIENT, "ingest", *eids, env={**env, "MESO_ONE_CACHE_DIR": None})
    assert (done.returncode, done.stdout.strip()) == (1, "0 new, 0 known, 3 failed")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("! ")]
    assert line.startswith(f"! Alyx at {server.url} answers 500, also when asked again. Run this again later")
    server.faults.clear()
    done = meso_command("ingest", "--subject", "RA01", env={**env, "MESO_ONE_CACHE_DIR": None})
    assert (done.returncode, done.stdout.strip()) == (0, "1 new, 6 known, 0 failed"), done.stderr
