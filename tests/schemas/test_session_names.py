"""A session by the start of its id, or as subject/date/number: in queries, notebook calls, commands and addresses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import requests
from support.pages import served

import meso
import schemas
from pipeline.errors import DataError, NotFoundError
from schemas.provenance import now
from schemas.queries.ids import find_sessions, known_as, one_subject, session_id
from schemas.queries.sessions import session_ids

TWINS = [f"abcdef01-0000-3000-8000-00000000000{i}" for i in (1, 2)]


@pytest.fixture(scope="module")
def names(demo_sessions) -> dict[str, str]:
    """Names of the first session."""
    eid = demo_sessions[0]
    date = (schemas.Session & {"eid": eid}).fetch1("session_date")
    return {"id": eid, "upper": eid.upper(), "start": eid[:8], "more": eid[:20], "place": f"SP999/{date}/1",
            "backslashes": rf"SP999\{date}\001", "path": f"/mnt/demolab/Subjects/SP999/{date}/001/"}  # fmt: skip


@pytest.fixture
def twins(demo_sessions):
    """Two sessions of other subjects whose ids begin alike."""
    for i, eid in enumerate(TWINS):
        schemas.Subject.insert1({"subject": f"TWIN{i}"})
        row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": now()}
        schemas.Session.insert1({"eid": eid, "subject": f"TWIN{i}", **row})
    yield TWINS
    (schemas.Subject & [{"subject": f"TWIN{i}"} for i in (0, 1)]).delete()


def test_every_name_is_of_the_session(names):
    for name in names.values():
        assert session_id(name) == known_as(name) == names["id"]
    assert session_ids(list(names.values())) == [names["id"]]


@pytest.mark.parametrize("name", ["SP99/2025-03-03/1", "SP999/2025-03-03/2", "sp999/2025-03-03/1", "00000000", "typo"])
def test_other_names_are_of_none(demo_sessions, name):
    assert find_sessions([name]) == {name: None} and known_as(name) == name
    with pytest.raises(NotFoundError, match=f"not registered: {name}"):
        session_id(name)


def test_a_short_start_is_told_which_names_there_are(demo_sessions):
    with pytest.raises(NotFoundError, match="by 8 or more of its first characters, or as subject/2024-06-18/001"):
        session_id(demo_sessions[0][:7])


def test_names_that_are_like_it_are_asked_about(names, demo_sessions, tmp_path, monkeypatch):
    eid, place = names["id"], names["place"].replace("/1", "/001") if names["place"].endswith("/1") else names["place"]
    wrong = "f" if eid[5] != "f" else "0"
    alike = eid[:5] + wrong + eid[6:]  # one digit of the id is another
    for named, meant in ((alike, eid), (alike[:8], eid[:8]), (place.replace("SP999", "SP99"), place)):
        with pytest.raises(NotFoundError, match=rf"Did you mean {meant}( or .*)?\? "):
            session_ids([named])
    for call in (lambda: session_ids(subject="SP99"), lambda: meso.best_sets("sp999", [2])):
        with pytest.raises(NotFoundError, match=r"Did you mean SP999\? Register with: meso ingest"):
            call()
    with pytest.raises(NotFoundError, match="SP999 is a subject: commands take its sessions by --subject SP999"):
        session_ids(["SP999"])
    with pytest.raises(NotFoundError) as unlike:
        session_ids(subject="nobody")
    assert "Did you mean" not in str(unlike.value)
    # ONE is asked for what is not registered; how to set it up is no answer to a wrong id
    monkeypatch.setenv("MESO_ONE_CACHE_DIR", str(tmp_path))
    with pytest.raises(NotFoundError) as caught:
        meso.load_or_embed(alike)
    text = str(caught.value)
    assert f"session {alike}: the session is not registered. Did you mean {eid}" in text
    assert "has no session tables)" in text and "make_parquet_db" not in text and text.count(". ") == 1


def test_an_ambiguous_start_lists_the_sessions(twins):
    with pytest.raises(NotFoundError, match=f"'abcdef01' stands for several sessions .found {twins[0]}, {twins[1]}"):
        session_id("abcdef01")
    assert session_id(twins[1]) == twins[1]


def test_notebook_calls_take_them(names, demo_sessions):
    whole = meso.load_or_embed(names["id"])
    np.testing.assert_array_equal(meso.load_or_embed(names["place"])["roi_signal"], whole["roi_signal"])
    rows = meso.match_tracked_indices_across_sessions(names["start"], [demo_sessions[1][:9], demo_sessions[1]])
    assert list(rows) == list(demo_sessions[:2])


def test_sessions_of_two_subjects_are_named(twins, demo_sessions):
    says = (
        rf"the sessions are of several subjects.*found SP999 \(session {demo_sessions[0]}\), TWIN0 \(session {twins[0]}"
    )
    with pytest.raises(DataError, match=says):
        one_subject([demo_sessions[0], twins[0]])
    with pytest.raises(DataError, match=says):
        meso.match_tracked_indices_across_sessions(demo_sessions[0], [twins[0]])
    with pytest.raises(DataError, match=says):
        meso.neuron_dropping_curves_cached([demo_sessions[0], twins[0]], progress=False, plot=False)


@pytest.mark.one_backend
def test_commands_take_them(names, meso_command, tmp_path):
    for arguments in (["verify", names["place"], "--json"], ["verify", names["start"], "--json"]):
        done = meso_command(*arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["n_sessions"] == 1
    done = meso_command("map", names["backslashes"], "--output", tmp_path)
    assert done.returncode == 0 and len(list(tmp_path.glob("*.png"))) == 1, done.stderr
    assert meso_command("populate", "FOV", "--eid", names["start"]).returncode == 0
    assert meso_command("errors", "--key", f"eid={names['place']}").stdout.strip() == "No errors"
    assert meso_command("retry", "--eid", names["start"]).stdout.strip() == "0 failures cleared"


@pytest.mark.one_backend
def test_addresses_take_them(names, server):
    with served(server) as address:
        for name in ("upper", "start", "place"):
            answer = requests.get(f"{address}/sessions/{names[name]}", params={"x": "1"}, timeout=30)
            assert (answer.status_code, answer.url) == (200, f"{address}/sessions/{names['id']}?x=1")
        for rest in ("/cells.json", "/cells/0/3"):
            answer = requests.get(f"{address}/sessions/{names['start']}{rest}", timeout=30)
            assert (answer.status_code, answer.url) == (200, f"{address}/sessions/{names['id']}{rest}")
        for unknown in ("00000000", "SP999/2025-03-03/7"):
            answer = requests.get(f"{address}/sessions/{unknown}", timeout=30)
            assert answer.status_code == 404 and f"not registered: {unknown}" in answer.text
