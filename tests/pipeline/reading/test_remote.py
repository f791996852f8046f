"""Sessions through the real ONE client from a stand-in for Alyx: search, download, and everything that goes wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from click.testing import CliRunner
from support import alyx
from support.alyx import CUT, OTHER_TOKEN, PASSWORD, RECORDED, SILENT, STALL, TOKEN, USER, Alyx, alyx_of, set_up_one

from pipeline import reading
from pipeline.demo.repository import SUBJECT, session_eid, write_demo_repository, write_one_tables
from pipeline.errors import ConfigError, DataError
from pipeline.reading import remote
from pipeline.scan import scan
from populate_scripts.cli import main

#: ONE and urllib leave answers unread that broke off.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
UNKNOWN = "00000000-0000-4000-8000-000000000000"
TYPES = "mpciROIs.mpciROITypes.npy"
DAY = "2025-03-03"


@dataclass
class Lab:
    """The sessions of a folder, served."""

    root: Path
    eids: tuple[str, ...]
    server: Alyx
    home: Path

    @property
    def downloads(self) -> Path:
        return self.home / "downloads"

    def one(self):
        return reading.open_one()

    def path(self, eid: str, root: Path | None = None) -> Path:
        record = self.server.session(eid)
        place = ("Subjects", record["subject"], record["start_time"][:10], f"{record['number']:03d}")
        return (root or self.root) / record["lab"] / Path(*place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two sessions of a subject, one of each of two with nearly its name, and a revision of a dataset."""
    root = tmp_path_factory.mktemp("alyx") / "one"
    made = write_demo_repository(root, n_days=2, n_fovs=2, n_trials=20, n_shared=8, rois_per_fov=24)
    own = root / "demolab/Subjects" / SUBJECT / DAY
    for other in (f"{SUBJECT}1", SUBJECT.lower()):
        shutil.copytree(own, own.parents[1] / other / DAY)
    revised = own / "001/alf/FOV_00/#2025-06-01#"
    revised.mkdir()
    types = np.load(revised.parent / TYPES)
    types[:3] = 1 - types[:3]  # curated
    np.save(revised / TYPES, types)
    write_one_tables(root)
    assert made.eids[0] == session_eid("demolab", SUBJECT, DAY, 1)
    return root


@pytest.fixture
def lab(folder, tmp_path, monkeypatch) -> Iterator[Lab]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01, 0.01))
    with alyx_of(folder) as server:
        set_up_one(server, tmp_path)
        server.requests.clear()
        days = sorted(record["start_time"] for record in server.sessions if record["subject"] == SUBJECT)
        eids = tuple(session_eid("demolab", SUBJECT, day[:10], 1) for day in days)
        yield Lab(folder, eids, server, tmp_path)


def read_all(one, eid: str) -> list:
    """Read everything of a session; return the FOVs."""
    fovs = [reading.read_fov(one, eid, *fov) for fov in reading.fov_folders(one, eid).items()]
    reading.read_trials(one, eid), reading.read_wheel(one, eid)
    return fovs


# ---------------------------------------------------------------- the stand-in


@pytest.mark.parametrize("eid", [UNKNOWN, "05b16a01-46c6-56dd-bd6e-c6dfb4a1427a", "no id"], ids=["v4", "v5", "none"])
def test_ids_that_alyx_does_not_have_are_one_clear_error(lab, eid):
    """Of tables that were made on this machine: random ids, or uuid5."""
    one = lab.one()
    for look in (
        lambda: reading.SessionReader(one, eid), lambda: reading.session_info(one, eid),
        lambda: reading.place_of(one, eid), lambda: reading.fov_folders(one, eid), lambda: read_all(one, eid),
    ):  # fmt: skip
        with pytest.raises(DataError, match=f"session {eid}: (not a session of this ONE client|ONE cannot read)"):
            look()


def test_the_stand_in_answers_as_a_real_alyx_did(lab):
    url, headers = lab.server.url, {"Authorization": f"Token {TOKEN}"}

    def get(path: str) -> requests.Response:
        return requests.get(url + path, headers=headers, timeout=20)

    listed, recorded = get(f"/sessions?subject={SUBJECT}").json(), RECORDED["sessions"]
    assert listed.keys() == recorded.keys() and listed["count"] == 3
    assert listed["results"][0].keys() == recorded["results"][0].keys()
    detail, recorded = get(f"/sessions/{lab.eids[0]}").json(), RECORDED["session"]
    assert detail.keys() == recorded.keys()
    datasets, known = detail["data_dataset_session_related"], recorded["data_dataset_session_related"][0]
    for dataset in datasets:
        assert dataset.keys() == known.keys()
        assert [type(dataset[name]) for name in known] == [type(value) for value in known.values()]
        assert (
            dataset["id"] in dataset["data_url"]
            and requests.get(dataset["data_url"].replace("#", "%23"), timeout=20).ok
        )
    for path, name in ((f"/sessions/{UNKNOWN}", "no_session"), ("/data-repository/aws_cortexlab", "no_repository")):
        assert (get(path).status_code, get(path).json()) == (404, RECORDED[name])
    for subject, n in ((SUBJECT.lower(), 3), ("SP99", 0), (f"%5E{SUBJECT}%24", 0)):
        assert get(f"/sessions?subject={subject}").json()["count"] == n
    lab.server.token = OTHER_TOKEN
    assert (get("/sessions").status_code, get("/sessions").json()) == (403, RECORDED["invalid_token"])
    refused = requests.post(f"{url}/auth-token", data={"username": USER}, timeout=20)
    assert (refused.status_code, refused.json()) == (400, RECORDED["password_required"])


# ---------------------------------------------------------------- search


@pytest.mark.parametrize("mode", ["remote", "local"])
def test_a_subject_is_its_exact_name(lab, mode):
    one = lab.one() if mode == "remote" else reading.open_one(lab.root)
    assert remote.is_remote(one) == (mode == "remote")
    assert reading.find_sessions(one, subject=SUBJECT) == list(lab.eids)
    assert reading.find_sessions(one, subject=f"{SUBJECT}1") == [session_eid("demolab", f"{SUBJECT}1", DAY, 1)]
    for other in (SUBJECT[:-1], f"^{SUBJECT}$", "SP9.9", SUBJECT.title()):
        assert reading.find_sessions(one, subject=other) == []
    assert len(reading.find_sessions(one)) == 4


def test_a_search_of_many_pages(lab, monkeypatch):
    monkeypatch.setattr(alyx, "PAGE", 1)
    assert len(reading.find_sessions(lab.one())) == 4


@pytest.mark.parametrize("mode", ["remote", "local"])
@pytest.mark.parametrize(
    "form", ["{subject}/{day}/1", r"{subject}\{day}\001", "/data/demolab/Subjects/{subject}/{day}/001"]
)
def test_a_session_by_subject_date_and_number(lab, mode, form):
    one = lab.one() if mode == "remote" else reading.open_one(lab.root)
    for subject in (SUBJECT, SUBJECT.lower()):
        named = form.format(subject=subject, day=DAY)
        assert reading.identify(one, named) == session_eid("demolab", subject, DAY, 1)
    with pytest.raises(DataError, match=rf"{SUBJECT}/{DAY}/002 is not a session of this ONE client \(.*found none\)"):
        reading.identify(one, f"{SUBJECT}/{DAY}/002")


def test_the_start_of_an_id_in_tables_and_not_in_alyx(lab):
    local = reading.open_one(lab.root)
    assert reading.identify(local, lab.eids[0][:8].upper()) == lab.eids[0]
    with pytest.raises(DataError, match="Give the whole id, or subject/date/number"):
        reading.identify(lab.one(), lab.eids[0][:8])
    assert reading.identify(lab.one(), lab.eids[0].upper()) == lab.eids[0]


@pytest.mark.parametrize("eid", [UNKNOWN, "no-such-id"])
def test_an_unknown_session_is_one_line(lab, eid):
    with pytest.raises(DataError, match=f"^session {eid}: not a session of this ONE client. .*reads {lab.server.url}$"):
        reading.session_info(lab.one(), eid)


# ---------------------------------------------------------------- download


def test_a_session_is_read_whole_with_about_one_request_per_file(lab):
    one, local, eid = lab.one(), reading.open_one(lab.root), lab.eids[0]
    assert reading.session_info(one, eid) == (  # the protocol is that of the recorded answers
        reading.SessionInfo(eid, SUBJECT, "demolab", reading.session_info(local, eid).session_date, 1,
                            RECORDED["session"]["task_protocol"], "ibl_mesoscope_active")
    )  # fmt: skip
    found, expected = read_all(one, eid), read_all(local, eid)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.traces, theirs.traces)
        np.testing.assert_array_equal(ours.is_neuron, theirs.is_neuron)
        assert ours.roi_uuids == theirs.roi_uuids
        assert [s.sha256 for s in ours.sources] == [s.sha256 for s in theirs.sources]
    n_files = sum(path.is_file() for path in lab.path(eid, lab.downloads).rglob("*"))
    # trials, wheel, and of each FOV the names of types, which are not recorded: they say nothing new
    n_read = sum(len(fov.sources) + 1 for fov in found) + 3 + 2
    # two FOVs, trials and wheel are each fetched in one go, for which ONE asks once whether the files are on AWS
    assert lab.server.counted() == {
        "GET /sessions/<id>": 1, "GET /data-repository/aws_cortexlab": 4, "GET /api/schema": 1, "file": n_read,
    }  # fmt: skip
    assert n_files == n_read == 25
    read_all(one, eid)
    assert lab.server.counted() == {} and lab.one() is one


def test_the_default_revision_is_downloaded_alone(lab):
    (fov, _) = read_all(lab.one(), lab.eids[0])
    folder = lab.path(lab.eids[0], lab.downloads) / "alf/FOV_00"
    assert (folder / "#2025-06-01#" / TYPES).exists() and not (folder / TYPES).exists()
    old = np.load(lab.path(lab.eids[0]) / "alf/FOV_00" / TYPES) == 1
    np.testing.assert_array_equal(fov.is_neuron, np.r_[~old[:3], old[3:]])
    assert {s.revision for s in fov.sources if TYPES in s.dataset} == {"2025-06-01"}


def test_two_default_revisions_are_named(lab):
    lab.server.dataset(lab.eids[0], f"alf/FOV_00/{TYPES}")["default_revision"] = "True"
    with pytest.raises(
        DataError,
        match=rf"FOV_00, alf/FOV_00/{TYPES}: ONE lists several default revisions of the dataset \(expected one default "
        rf"revision, found alf/FOV_00/#2025-06-01#/{TYPES} \(dataset .*\), alf/FOV_00/{TYPES} \(dataset .*\)\)",
    ):
        reading.read_fov(lab.one(), lab.eids[0], 0, "alf/FOV_00")
    assert reading.read_fov(lab.one(), lab.eids[0], 1, "alf/FOV_01").n_rois


def test_a_file_that_is_here_is_fetched_again_only_if_it_is_incomplete(lab):
    eid = lab.eids[1]
    read_all(lab.one(), eid)
    path = lab.path(eid, lab.downloads) / "alf/FOV_00/mpci.times.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    lab.server.counted()
    read_all(lab.one(), eid)
    assert path.read_bytes() == whole
    assert lab.server.counted() == {"file": 1, "GET /data-repository/aws_cortexlab": 1}


def test_what_a_killed_download_left_is_not_taken_for_the_file(lab):
    """ONE takes a file with the UUID in its name for a finished download."""
    eid, name = lab.eids[1], "mpci.times.npy"
    for fov, size in ((0, True), (1, None)):
        record = lab.server.dataset(eid, f"alf/FOV_{fov:02d}/{name}")
        record["file_size"] = record["file_size"] if size else None
        folder = lab.path(eid, lab.downloads) / f"alf/FOV_{fov:02d}"
        folder.mkdir(parents=True)
        (folder / f"mpci.times.{record['id']}.npy").write_bytes(b"half")
    for fov in (0, 1):
        found = reading.read_fov(lab.one(), eid, fov, f"alf/FOV_{fov:02d}").frame_times
        np.testing.assert_array_equal(found, np.load(lab.path(eid) / f"alf/FOV_{fov:02d}" / name))


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("status", [429, 500, 502, 504])
def test_passing_failures_of_alyx_are_tried_again(lab, status):
    lab.server.fail("/sessions", status, times=2 if status != 429 else 1)
    assert reading.find_sessions(lab.one(), subject=SUBJECT) == list(lab.eids)


@pytest.mark.parametrize("path", ["/sessions", "/auth-token"])
def test_a_server_that_does_not_answer_is_given_up_and_asked_again(lab, monkeypatch, path):
    """ONE waits for ever: it gives its requests no limit."""
    import one.params

    if path == "/auth-token":
        parameters = one.params.get(lab.server.url, silent=True).set("TOKEN", {}).set("ALYX_PWD", PASSWORD)
        one.params.save(parameters, lab.server.url)
    monkeypatch.setattr(remote, "ANSWER", (1.0, 0.2))
    lab.server.fail(path, SILENT, times=2)
    assert reading.find_sessions(lab.one(), subject=SUBJECT) == list(lab.eids)
    assert sum(f" {path}" in text for text in lab.server.requests) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 502, 503, CUT, STALL])
def test_passing_failures_of_the_file_server_are_tried_again(lab, monkeypatch, status):
    monkeypatch.setattr(remote, "STALLED", 0.2)
    lab.server.fail("/public/", status, times=3)
    fov = reading.read_fov(lab.one(), lab.eids[0], 0, "alf/FOV_00")
    folder = lab.path(lab.eids[0]) / "alf/FOV_00"
    np.testing.assert_array_equal(fov.traces, np.load(folder / "mpci.ROIActivityDeconvolved.npy"))


@pytest.mark.parametrize(
    ("path", "status", "headers", "says"),
    [
        ("/sessions", 500, {}, "^Alyx at {url} answers 500, also when asked again. Run this again later"),
        ("/sessions", 429, {"Retry-After": "1000"}, "^Alyx at {url} gets too many requests .*Wait some minutes"),
        ("/sessions", 503, {"Retry-After": "1000"}, "^Alyx at {url} answers 503"),
        (
            "/sessions",
            SILENT,
            {},
            "^Alyx at {url} does not answer .ReadTimeout., also when asked again. Run this again",
        ),
        ("/public/", 502, {}, "^session .*cannot provide the file .The file server of ONE answers 502, also"),
        (
            "/public/",
            CUT,
            {},
            "^session .*FOV_00, .*The file server of ONE sends an incomplete file .mpci.* bytes,",
        ),
        ("/public/", 404, {}, "^session .*, FOV_00, alf/FOV_00/mpci.*cannot provide the file .HTTP Error 404"),
        ("/public/", 401, {}, "^session .*The file server refuses http.*HTTP_DATA_SERVER_LOGIN"),
    ],
)
def test_lasting_failures_say_what_to_do(lab, monkeypatch, path, status, headers, says):
    monkeypatch.setattr(remote, "ANSWER", (1.0, 0.2))
    lab.server.fail(path, status, times=1000, **headers)
    with pytest.raises((ConfigError, DataError), match=says.format(url=lab.server.url)) as raised:
        reading.read_fov(lab.one(), lab.eids[0], 0, "alf/FOV_00")
    assert "\n" not in str(raised.value)


def test_an_expired_token_then_a_new_login_in_the_same_process(lab):
    from one.api import ONE

    assert reading.session_info(lab.one(), lab.eids[0])
    lab.server.token = OTHER_TOKEN
    for _ in range(2):  # ONE forgets the token at the first refusal
        with pytest.raises(
            ConfigError, match=f"^Alyx at {lab.server.url} refuses the login of tester: .*password=..."
        ) as e:
            reading.session_info(lab.one(), lab.eids[1])
        assert "\n" not in str(e.value)
    ONE(base_url=lab.server.url, username=USER, password=PASSWORD, silent=True)
    assert reading.session_info(lab.one(), lab.eids[1]).subject == SUBJECT


def test_a_refused_password_is_one_line(lab):
    import one.params

    parameters = one.params.get(lab.server.url, silent=True).set("TOKEN", {}).set("ALYX_PWD", "wrong")
    one.params.save(parameters, lab.server.url)
    with pytest.raises(ConfigError, match="refuses the login of tester: the token has expired or the pass"):
        reading.find_sessions(lab.one(), subject=SUBJECT)


def test_a_server_that_goes_away_in_the_middle_and_comes_back(lab):
    one, eid = lab.one(), lab.eids[0]
    reading.read_fov(one, eid, 0, "alf/FOV_00")
    lab.server.stop()
    with pytest.raises(DataError, match=r"FOV_01, alf/FOV_01/mpci.*The file server of ONE does not answer .Connection"):
        reading.read_fov(one, eid, 1, "alf/FOV_01")
    with pytest.raises(ConfigError, match=f"^Alyx at {lab.server.url} does not answer .ConnectionError., also when"):
        reading.session_info(one, lab.eids[1])
    lab.server.start()
    assert reading.read_fov(one, eid, 1, "alf/FOV_01").n_rois
    assert reading.session_info(one, lab.eids[1]).subject == SUBJECT


@pytest.mark.filterwarnings("ignore:Failed to connect, returning cached response:RuntimeWarning")
def test_offline_with_what_is_there(lab):
    eid = lab.eids[0]
    online = read_all(lab.one(), eid)
    lab.server.stop()
    reading.client._open_one.cache_clear()  # as in another process
    again = read_all(lab.one(), eid)
    for a, b in zip(online, again, strict=True):
        np.testing.assert_array_equal(a.traces, b.traces)


# ---------------------------------------------------------------- odd records


def odd(record: dict, kind: str) -> None:
    datasets = record["data_dataset_session_related"]
    match kind:
        case "long protocol":
            record["task_protocol"] = "p" * 1023
        case "several projects":
            record["projects"] = ["one" * 85, "two" * 85]
        case "large number":
            record["number"] = 32768
        case "no number":
            record["number"] = None
        case "long subject":
            record["subject"] = "S" * 64
        case "no sizes":
            for dataset in datasets:
                dataset["file_size"] = None
        case "no address":
            datasets[0]["data_url"] = None
        case "no date":
            record["start_time"] = None
        case "huge number":
            record["number"] = 70000


@pytest.mark.parametrize("kind", ["long protocol", "several projects", "no sizes"])
def test_what_alyx_allows_is_read(lab, kind):
    odd(lab.server.session(lab.eids[0]), kind)
    info = reading.session_info(lab.one(), lab.eids[0])
    assert len(info.task_protocol) in (45, 1023) and len(info.projects) in (20, 2 * 255 + 2)
    assert len(read_all(lab.one(), lab.eids[0])) == 2
    assert reading.find_sessions(lab.one(), subject=SUBJECT) == list(lab.eids)


@pytest.mark.parametrize(("kind", "subject", "number"), [("large number", SUBJECT, 32768), ("no number", SUBJECT, 0),
                                                         ("long subject", "S" * 64, 1)])  # fmt: skip
def test_places_that_alyx_allows(lab, kind, subject, number):
    odd(lab.server.session(lab.eids[0]), kind)
    info = reading.session_info(lab.one(), lab.eids[0])
    assert (info.subject, info.session_number) == (subject, number)
    assert lab.eids[0] in reading.find_sessions(lab.one(), subject=subject)


@pytest.mark.parametrize("kind", ["no address", "no date", "huge number"])
def test_a_record_that_one_cannot_read_stops_no_other(lab, kind):
    odd(lab.server.session(lab.eids[0]), kind)
    assert reading.find_sessions(lab.one(), subject=SUBJECT) == [lab.eids[1], lab.eids[0]]
    with pytest.raises(
        DataError, match=f"^session {lab.eids[0]}: ONE cannot (read what is registered|hold the number)"
    ):
        reading.session_info(lab.one(), lab.eids[0])
    assert reading.session_info(lab.one(), lab.eids[1]).subject == SUBJECT


def test_a_session_listed_twice_counts_once(lab):
    lab.server.sessions.append(lab.server.session(lab.eids[0]))
    assert reading.find_sessions(lab.one(), subject=SUBJECT) == list(lab.eids)


# ---------------------------------------------------------------- scans


def test_a_scan_asks_once_for_the_list_and_once_for_each_session(lab):
    one = lab.one()
    lab.server.counted()
    found, odd = scan(one, [SUBJECT])
    asked = lab.server.counted()
    asked.pop("GET /api/schema", 0)  # once for each client
    assert asked == {"GET /sessions": 1, "GET /sessions/<id>": len(lab.eids)}  # and no file
    assert [row.eid for row in found] == list(lab.eids) and odd == {}
    assert {(row.n_fovs, row.n_tracked_fovs, row.wheel, row.passive, row.video) for row in found} == {
        (2, 2, True, False, ())
    }
    assert {(row.n_rois, row.n_trials, row.uses) for row in found} == {(None, None, ("raster", "track", "decode"))}


def test_a_scan_of_files_that_are_here_counts_rois_and_trials(folder):
    found, _ = scan(reading.open_one(folder), [SUBJECT])
    for row in found:
        alf = folder / "demolab/Subjects" / SUBJECT / str(row.session_date) / "001/alf"
        assert row.n_rois == sum(len(np.load(alf / f"FOV_0{fov}/mpciROIs.stackPos.npy")) for fov in (0, 1))
        assert row.n_trials == 20
    assert {row.subject for row in scan(reading.open_one(folder))[0]} == {SUBJECT, f"{SUBJECT}1", SUBJECT.lower()}
    assert scan(reading.open_one(folder), ["nobody"]) == ([], {})


def without(server: Alyx, eid: str, *names: str) -> None:
    """Leave datasets with these words in their names out of what Alyx lists of a session."""
    record = server.session(eid)
    kept = [d for d in record["data_dataset_session_related"] if not any(name in d["name"] for name in names)]
    record["data_dataset_session_related"] = kept


@pytest.mark.parametrize(
    ("names", "uses", "lacks"),
    [
        (["clusterUIDs"], ("raster",), "no UIDs of cells"),
        (["_ibl_trials"], ("raster", "track"), "no trials"),
        (["ROIActivity"], (), "alf/FOV_00 has no activity"),
        (["stackPos"], (), "alf/FOV_00 has no mpciROIs.stackPos.npy"),
    ],
)
def test_a_scan_says_what_a_session_lacks(lab, names, uses, lacks):
    without(lab.server, lab.eids[1], *names)
    first, second = scan(lab.one(), [SUBJECT])[0]
    assert first.uses == ("raster", "track", "decode")
    assert second.uses == uses and lacks in (second.raster, second.track, second.decode)


def test_a_scan_of_a_project_has_its_sessions_only(lab):
    lab.server.session(lab.eids[0])["projects"] = ["made_up", "other"]
    lab.server.session(lab.eids[1])["projects"] = ["made_up_passive"]
    lab.server.session(lab.eids[1])["data_dataset_session_related"][0]["name"] = (
        "_ibl_passivePeriods.intervalsTable.csv"
    )
    one = lab.one()
    lab.server.counted()
    (row,) = scan(one, project="made_up")[0]
    assert row.eid == lab.eids[0]
    assert lab.server.counted()["GET /sessions/<id>"] == 2  # Alyx finds a part of the name; others are not asked for


def test_the_command_scans_without_a_database(folder, monkeypatch):
    monkeypatch.setenv("DJ_HOST", "nowhere.invalid")
    done = CliRunner().invoke(main, ["scan", SUBJECT, "--cache-dir", str(folder)])
    assert done.exit_code == 0, done.output
    _, *lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("raster, track, decode" in line and DAY[:7] in line for line in lines)
    rows = json.loads(CliRunner().invoke(main, ["scan", SUBJECT, "--cache-dir", str(folder), "--json"]).stdout)
    assert [row["uses"] for row in rows] == [["raster", "track", "decode"]] * 2
    nothing = CliRunner().invoke(main, ["scan", "nobody", "--cache-dir", str(folder)])
    assert nothing.exit_code == 1 and "ONE has no such session with imaging" in nothing.output
    some = CliRunner().invoke(main, ["scan", SUBJECT, "NOPE", "--cache-dir", str(folder)])
    assert some.exit_code == 0 and len(some.stdout.splitlines()) == 3
    assert "ONE has no session of NOPE with imaging" in some.stderr and SUBJECT not in some.stderr
