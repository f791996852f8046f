"""Tags of sessions: given by lists, taken by commands, gone with their session, and that with a record."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

import meso
import schemas
from pipeline.errors import ArgumentError, DataError, NotFoundError
from populate_scripts.cli import main
from schemas.cascade import Cascade
from schemas.queries.sessions import session_ids, sessions
from schemas.queries.tags import sessions_of_list
from schemas.upkeep.deletion import delete_sessions

SUBJECTS = ("TAG1", "TAG2")
EIDS = [f"0000000{n}-0000-3000-8000-0000000007a9" for n in range(4)]
#: Two sessions of each mouse, on the same days.
PLACES = {EIDS[0]: ("TAG1", 1), EIDS[1]: ("TAG1", 2), EIDS[2]: ("TAG2", 1), EIDS[3]: ("TAG2", 2)}


@pytest.fixture(autouse=True)
def planted(database) -> Iterator[None]:
    when = datetime.datetime(2024, 1, 1)
    schemas.Subject.insert({"subject": name} for name in SUBJECTS)
    schemas.Session.insert(
        {"eid": eid, "subject": subject, "session_date": f"2024-01-0{day}", "session_number": 1, "ingested_at": when}
        for eid, (subject, day) in PLACES.items()
    )
    yield
    (schemas.Subject & [{"subject": name} for name in SUBJECTS]).delete()
    assert not schemas.SessionTag()


def run(*args: object, code: int = 0) -> str:
    done: Result = CliRunner().invoke(main, [*map(str, args)])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_a_list_of_names_in_any_form_is_tagged(tmp_path):
    path = tmp_path / "canonical.txt"
    path.write_text(f"# of 2024\n{EIDS[2]}\r\n\n00000001  # a start\nC:\\Subjects\\TAG1\\2024-01-01\\001\n{EIDS[2]}\n")
    assert run("tag", "add", "canonical", "--file", path) == "3 sessions are canonical now, 0 were before"
    assert meso.tagged("canonical") == EIDS[:3]  # by subject and date
    assert meso.tagged("canonical", "TAG1") == session_ids(subject="TAG1", tag="canonical") == EIDS[:2]
    assert run("tag", "add", "canonical", EIDS[3], "TAG1/2024-01-01/1") == "1 session is canonical now, 1 was before"
    (row,) = json.loads(run("tag", "--json"))
    assert (row["tag"], row["n_sessions"], row["n_subjects"], row["subjects"]) == ("canonical", 4, 2, list(SUBJECTS))
    assert row["tagged_by"] == [schemas.connect().get_user()]
    assert [one["eid"] for one in sessions(tag="canonical")] == EIDS
    assert "canonical" in run("tag") == run("tag", "list")
    assert json.loads(run("tag", "list", "--json")) == [row]


@pytest.mark.parametrize(
    "bad", ["TAG1/2024-01-03/001", "0000000a-0000-3000-8000-0000000007a9", "0000", "TAG1", "00000000"]
)
@pytest.mark.one_backend  # other tests send its statements on both
def test_a_bad_line_is_named_and_nothing_is_tagged(tmp_path, bad):
    if bad == "00000000":  # two sessions begin like that
        schemas.Session.insert1({
            "eid": "00000000-1111-3000-8000-0000000007a9", "subject": "TAG1", "session_date": "2024-01-09",
            "session_number": 1, "ingested_at": datetime.datetime(2024, 1, 1),
        })  # fmt: skip
    path = tmp_path / "list.txt"
    path.write_text(f"{EIDS[0]}\n\n{bad}\n{EIDS[1]}\n")
    text = run("tag", "add", "canonical", "--file", path, code=1)
    assert f"line 3: '{bad}'" in text and "line 1" not in text and "line 4" not in text
    assert not schemas.SessionTag()
    with pytest.raises(DataError, match="line 3"):
        sessions_of_list(path)


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_list_with_a_bad_line_is_not_ingested(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"{EIDS[0]}\nno session\n")
    assert "line 2: 'no session'" in run("ingest", "--list", path, "--cache-dir", tmp_path, code=1)
    assert "cannot be read" in run("ingest", "--list", tmp_path / "none.txt", code=1)


@pytest.mark.one_backend  # other tests send its statements on both
def test_names_that_are_none_are_refused():
    for name in ("", "-x", "two words", "a" * 65, "x\n", "x;y"):
        with pytest.raises(ArgumentError, match="cannot be a tag"):
            meso.tag(name, EIDS[:1])
    with pytest.raises(NotFoundError, match="not registered: nobody"):
        meso.tag("a", [EIDS[0], "nobody"])
    assert not schemas.SessionTag()


def test_tags_are_taken_from_some_or_from_all():
    assert meso.tag("a", EIDS) == EIDS and meso.tag("a", EIDS[:2]) == []
    meso.tag("b", EIDS[:1])
    with pytest.raises(DataError, match=f"session {EIDS[1]}: does not have the tag 'b'"):
        meso.untag("b", EIDS[:2])
    assert meso.tagged("b") == EIDS[:1]
    assert run("tag", "remove", "a", EIDS[0]) == "1 session is not a any more"
    assert run("tag", "remove", "a", "--subject", "TAG2") == "2 sessions are not a any more"
    assert meso.tagged("a") == [EIDS[1]]
    assert meso.untag("a") == 1
    with pytest.raises(NotFoundError, match=r"no session has the tag 'a' .expected one of b"):
        meso.tagged("a")
    with pytest.raises(NotFoundError, match="no session of TAG2 has the tag 'b'"):
        meso.tagged("b", "TAG2")


def test_a_deleted_session_loses_its_tags_with_a_line_that_says_which():
    meso.tag("canonical", EIDS)
    meso.tag("paper", EIDS[:1])
    before = set(schemas.Deletion.to_arrays("deletion"))
    assert delete_sessions({"eid": EIDS[0]}) == {"Session": 1, "SessionTag": 2}
    lines = [row for row in schemas.Deletion.to_dicts() if row["deletion"] not in before]
    (of_tags,) = [row for row in lines if row["deleted_table"] == "SessionTag"]
    (of_session,) = [row for row in lines if row["deleted_table"] == "Session"]
    assert of_session["deleted_rows"] == {"Session": 1, "SessionTag": 2} and of_session["deletion_reason"] == ""
    assert of_tags["deleted_keys"] == [{"eid": EIDS[0], "tag": tag} for tag in ("canonical", "paper")]
    assert (of_tags["deleted_rows"], of_tags["deletion_reason"]) == (
        {"SessionTag": 2}, "tags of deleted rows of Session"
    )  # fmt: skip
    assert meso.tagged("canonical") == EIDS[1:]


def test_no_tag_goes_with_what_was_read_of_a_session():
    """``meso update`` deletes these, never the session."""
    for table in (schemas.Behavior, schemas.Wheel, schemas.FOV):
        assert "SessionTag" not in Cascade(table & {"eid": EIDS[0]}).tables


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name), command


@pytest.mark.one_backend
def test_every_command_that_takes_sessions_takes_a_tag():
    names = {
        " ".join(path): {param.name for param in command.params} for path, command in commands(main)
    }  # fmt: skip
    with_sessions = {name for name, params in names.items() if params & {"eids", "eid"}} - {"import-cache"}
    assert {name for name in with_sessions if "tag" not in names[name]} == set()
    assert {"ndc", "sessions", "populate", "raster", "update", "ingest", "export", "delete"} <= {
        name for name, params in names.items() if "tag" in params
    }


@pytest.mark.parametrize("command", ["update", "verify", "delete", "export", "behavior", "map", "ndc", "populate"])
@pytest.mark.one_backend  # other tests send its statements on both
def test_an_unknown_tag_is_named_by_commands(command):
    more = {"export": ["--format", "nwb"], "delete": ["--yes"]}.get(command, [])
    text = run(command, "--tag", "canoncial", *more, code=1)
    assert "no session has the tag 'canoncial'" in text and "meso tag" in text
    meso.tag("paper", EIDS[:1])
    assert "Name session ids, or --subject or --tag" in run(command, *EIDS[1:2], "--tag", "paper", *more, code=1) or (
        command == "populate"
    )
    assert len(schemas.Session & [{"subject": name} for name in SUBJECTS]) == 4


def test_commands_take_the_sessions_of_a_tag():
    meso.tag("paper", EIDS[1:3])
    assert [row["eid"] for row in json.loads(run("sessions", "--tag", "paper", "--json"))] == EIDS[1:3]
    assert [r["eid"] for r in json.loads(run("sessions", "--tag", "paper", "--subject", "TAG2", "--json"))] == EIDS[2:3]
    run("delete", "--tag", "paper", "--subject", "TAG2", "--yes")
    assert session_ids(subject="TAG2") == EIDS[3:]
    assert meso.tagged("paper") == EIDS[1:2]
