"""Mirroring of UID files, from folders and from real web servers on loopback."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.uid_trees import (
    CANARY,
    N_FILES,
    NPY,
    OLD,
    SILHOUETTE,
    SUBJECT,
    USER,
    VARIABLES,
    assert_mirrored,
    assert_silent,
    make_tree,
    manifest_of,
    put,
    tree_of,
    uids,
)
from tenacity import wait_none

from pipeline.errors import ConfigError, DataError
from pipeline.tracking.mirror import MANIFEST, UID_FILE, Credentials, mirror_uids, sources, subject_folder, web


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No credentials from outside, and no waiting between tries or for the disk."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sources, "WAIT", wait_none())
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # slow on a busy disk; no power is cut here


class Handler(http.server.SimpleHTTPRequestHandler):
    """An ordinary listing; counts requests and can be made to misbehave."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else 40 ms per answer on a kept connection

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.server.log.append(("HEAD", self.path))
        if self.server.no_head:
            self.send_error(405)
        elif self.allowed():
            super().do_HEAD()

    def do_GET(self):
        self.server.log.append(("GET", self.path))
        self.server.seen.append(self.headers.get("Authorization"))
        if not self.allowed():
            return
        for part, page in self.server.pages.items():
            if self.path.endswith(part):
                return page(self)
        super().do_GET()

    def allowed(self) -> bool:
        wanted = self.server.wanted
        if wanted is None or self.headers.get("Authorization") == wanted:
            return True
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="uids"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False


def answer(status: int = 200, body: bytes = b"", **headers: str):
    """Make a page that gives one fixed answer."""

    def page(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return page


def breaking(body: bytes, times: int = 10**6):
    """Make a page that breaks off in the middle of `body` the first few times."""
    left = [times]

    def page(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        left[0] -= 1
        if left[0] >= 0:
            handler.wfile.write(body[: len(body) // 2])
            handler.close_connection = True
        else:
            handler.wfile.write(body)

    return page


@contextmanager
def serving(root: Path, auth: bool = False):
    """Serve a folder on loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    server.daemon_threads = True
    server.log, server.seen, server.pages, server.no_head = [], [], {}, False
    token = base64.b64encode(f"{USER}:{CANARY}".encode()).decode()
    server.wanted = f"Basic {token}" if auth else None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def file_gets(server) -> list[str]:
    """Paths of the data files that were asked for with GET."""
    return [path for verb, path in server.log if verb == "GET" and not path.endswith("/")]


# ------------------------------------------------------------------------------------------- folder


@pytest.mark.parametrize("below", ["", "ROICaT", "Subjects"])
@pytest.mark.parametrize("web", [False, True])
def test_mirror_finds_the_subject(tmp_path, below, web):
    source = make_tree(tmp_path / "src" / below)
    calls = []
    with serving(tmp_path / "src") as server:
        address = server.url if web else str(tmp_path / "src")
        report = mirror_uids(address, tmp_path / "dst", SUBJECT, progress=lambda *a: calls.append(a))
    assert report.ok and report.n_sessions == 3 and len(report.fetched) == N_FILES
    assert_mirrored(tmp_path / "dst", source)
    assert [call[:2] for call in calls] == [(i, N_FILES) for i in range(1, N_FILES + 1)]
    rel = f"2024-01-01/001/alf/FOV_00/{UID_FILE}"
    entry = manifest_of(tmp_path / "dst")["files"][rel]
    assert entry["source"].startswith(address) and entry["source"].endswith(f"{SUBJECT}/{rel}")
    assert entry["last_modified"] and entry["fetched"]
    assert manifest_of(tmp_path / "dst")["complete"] is True


@pytest.mark.parametrize("web", [False, True])
def test_second_run_changes_nothing(tmp_path, web):
    make_tree(tmp_path / "src")
    with serving(tmp_path / "src") as server:
        address = server.url if web else str(tmp_path / "src")
        mirror_uids(address, tmp_path / "dst", SUBJECT)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "dst").rglob("*")}
        server.log.clear()
        report = mirror_uids(address, tmp_path / "dst", SUBJECT)
        assert file_gets(server) == []
    assert report.fetched == () and len(report.unchanged) == N_FILES and report.ok
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "dst").rglob("*")} == before


def test_only_the_known_shape_is_walked(tmp_path):
    source = make_tree(tmp_path / "src")
    for odd in ("2024-13-45/001/alf/FOV_00", "2024-01-01/1/alf/FOV_00", "2024-01-01/001/alf/FOV_000"):
        put(source / SUBJECT / odd / UID_FILE, uids("odd"))
    put(source / SUBJECT / "2024-01-01/001/alf/FOV_07" / SILHOUETTE, NPY)  # no UIDs beside it
    report = mirror_uids(str(source), tmp_path / "dst", SUBJECT)
    assert len(report.fetched) == N_FILES and report.ok


def test_subject_or_uids_that_are_not_there(tmp_path):
    make_tree(tmp_path / "src")
    with pytest.raises(DataError, match="no subject SP000") as caught:
        mirror_uids(str(tmp_path / "src"), tmp_path / "dst", "SP000")
    assert str(tmp_path / "src") in str(caught.value)
    with serving(tmp_path / "src") as server, pytest.raises(DataError, match=f"{server.url}/ has no subject"):
        mirror_uids(server.url, tmp_path / "dst", "SP000")
    put(tmp_path / "src" / "SP001" / "2024-01-01" / "001" / "alf" / "FOV_00" / "x.npy", NPY)
    with pytest.raises(DataError, match=r"has no mpciROIs\.clusterUIDs\.csv of subject SP001"):
        mirror_uids(str(tmp_path / "src"), tmp_path / "dst", "SP001")
    with pytest.raises(ConfigError, match="is not a folder"):
        mirror_uids(str(tmp_path / "none"), tmp_path / "dst", SUBJECT)
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("subject", ["..", "a/b", "", "../x", "SP\n", ".hidden"])
def test_names_that_are_no_subject(tmp_path, subject):
    with pytest.raises(ConfigError, match="not a valid subject name"):
        mirror_uids(str(tmp_path), tmp_path / "dst", subject)


def test_mirror_of_itself_is_refused(tmp_path):
    make_tree(tmp_path / "dst" / "ROICaT")
    with pytest.raises(ConfigError, match="the mirror itself"):
        mirror_uids(str(tmp_path / "dst"), tmp_path / "dst", SUBJECT)


# ------------------------------------------------------------------------------------------- two runs


@pytest.mark.parametrize("web", [False, True])
def test_regenerated_files_are_reported_and_not_mixed(tmp_path, web):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    with serving(source) as server:
        address = server.url if web else str(source)
        mirror_uids(address, dst, SUBJECT)
        before = tree_of(subject_folder(dst, SUBJECT))
        del before[MANIFEST]
        # The new run gives files of the same size, and a session more.
        make_tree(source, run="run2", days=4)
        for path in source.rglob("*.csv"):
            os.utime(path, (OLD + 60, OLD + 60))

        report = mirror_uids(address, dst, SUBJECT)
        assert len(report.changed) == 6 == len(report.stale) and report.fetched == ()
        assert report.unchanged == (f"2024-01-01/001/alf/FOV_00/{SILHOUETTE}",)
        assert [path for path, _ in report.failed] == [f"2024-01-04/001/alf/FOV_0{fov}/{UID_FILE}" for fov in (0, 1)]
        assert "have changed at the source" in report.failed[0][1] and "refresh" in report.warning and not report.ok
        after = tree_of(subject_folder(dst, SUBJECT))
        assert json.loads(after.pop(MANIFEST))["complete"] is False
        assert after == before

        report = mirror_uids(address, dst, SUBJECT, refresh=True)
        assert len(report.changed) == 6 and len(report.fetched) == 8
        assert report.ok and report.stale == () and report.warning is None
        assert_mirrored(dst, source, 9)
        assert manifest_of(dst)["complete"] is True
        assert len(mirror_uids(address, dst, SUBJECT).unchanged) == 9


def test_another_size_needs_no_transfer(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    with serving(source) as server:
        mirror_uids(server.url, dst, SUBJECT)
        put(source / SUBJECT / "2024-01-02/001/alf/FOV_01" / UID_FILE, uids("a longer one"))
        server.log.clear()
        report = mirror_uids(server.url, dst, SUBJECT)
        assert report.changed == (f"2024-01-02/001/alf/FOV_01/{UID_FILE}",)
        assert file_gets(server) == []


def test_content_decides_when_dates_or_addresses_change(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    mirror_uids(str(source), dst, SUBJECT)
    for path in source.rglob("*.csv"):
        os.utime(path)
    assert len(mirror_uids(str(source), dst, SUBJECT).unchanged) == N_FILES
    with serving(source) as server:  # the share is now a web server
        assert len(mirror_uids(server.url, dst, SUBJECT).unchanged) == N_FILES
        server.log.clear()
        mirror_uids(server.url, dst, SUBJECT)
        assert file_gets(server) == []
        server.no_head = True
        assert len(mirror_uids(server.url, dst, SUBJECT).unchanged) == N_FILES
    (subject_folder(dst, SUBJECT) / MANIFEST).unlink()  # files put there by hand
    assert len(mirror_uids(str(source), dst, SUBJECT).unchanged) == N_FILES
    assert_mirrored(dst, source)


def test_foreign_file_in_place_is_not_overwritten(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    rel = f"2024-01-03/001/alf/FOV_01/{UID_FILE}"
    put(subject_folder(dst, SUBJECT) / rel, uids("older"))
    report = mirror_uids(str(source), dst, SUBJECT)
    assert report.changed == (rel,) == report.stale and report.fetched == ()
    assert (subject_folder(dst, SUBJECT) / rel).read_bytes() == uids("older")


def test_damaged_or_lost_copy_is_repaired(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    mirror_uids(str(source), dst, SUBJECT)
    damaged, lost = (f"2024-01-0{day}/001/alf/FOV_00/{UID_FILE}" for day in (1, 2))
    (subject_folder(dst, SUBJECT) / damaged).write_bytes(b"cut")
    (subject_folder(dst, SUBJECT) / lost).unlink()
    report = mirror_uids(str(source), dst, SUBJECT)
    assert report.fetched == (damaged, lost) and report.ok
    assert_mirrored(dst, source)


def test_file_that_vanished_from_the_source(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    mirror_uids(str(source), dst, SUBJECT)
    rel = f"2024-01-03/001/alf/FOV_01/{UID_FILE}"
    (source / SUBJECT / rel).unlink()
    report = mirror_uids(str(source), dst, SUBJECT, refresh=True)
    assert [path for path, _ in report.failed] == [rel] and "no longer at the source" in report.failed[0][1]
    (subject_folder(dst, SUBJECT) / rel).unlink()
    assert mirror_uids(str(source), dst, SUBJECT).ok
    assert rel not in manifest_of(dst)["files"]


@pytest.mark.parametrize("text", ["", "{", "[]", "\u00ff", '{"version": 2}', "PATH"])
def test_damaged_manifest_is_refused(tmp_path, text):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    mirror_uids(str(source), dst, SUBJECT)
    path = subject_folder(dst, SUBJECT) / MANIFEST
    path.write_text(path.read_text().replace("2024-01-01/001", "../../x") if text == "PATH" else text)
    with pytest.raises(DataError, match="cannot be used"):
        mirror_uids(str(source), dst, SUBJECT)


# ------------------------------------------------------------------------------------------- trouble


def test_broken_transfer_is_tried_again(tmp_path):
    source = make_tree(tmp_path / "src")
    rel = f"2024-01-02/001/alf/FOV_00/{UID_FILE}"
    with serving(source) as server:
        server.pages[rel] = breaking((source / SUBJECT / rel).read_bytes(), times=2)
        report = mirror_uids(server.url, tmp_path / "dst", SUBJECT)
    assert report.ok
    assert_mirrored(tmp_path / "dst", source)


def test_broken_transfer_is_reported_and_resumed(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    rel = f"2024-01-02/001/alf/FOV_00/{UID_FILE}"
    with serving(source) as server:
        server.pages[rel] = breaking((source / SUBJECT / rel).read_bytes())
        report = mirror_uids(server.url, dst, SUBJECT)
        assert [path for path, _ in report.failed] == [rel] and "was cut off" in report.failed[0][1]
        assert len(report.fetched) == N_FILES - 1
        assert len([path for path in file_gets(server) if path.endswith(rel)]) == 3
        assert not (subject_folder(dst, SUBJECT) / rel).exists()
        assert not list(dst.rglob("*.part"))
        server.pages.clear()
        server.log.clear()
        report = mirror_uids(server.url, dst, SUBJECT)
        assert report.fetched == (rel,) and file_gets(server) == [f"/{SUBJECT}/{rel}"]
    assert_mirrored(dst, source)


@pytest.mark.parametrize(("n_bad", "ok"), [(2, True), (3, False)])
def test_server_errors_are_tried_three_times(tmp_path, n_bad, ok):
    source = make_tree(tmp_path / "src")
    rel = f"2024-01-02/001/alf/FOV_00/{UID_FILE}"
    body, pages = (source / SUBJECT / rel).read_bytes(), []

    def page(handler):
        pages.append(1)
        return (answer(503) if len(pages) <= n_bad else answer(body=body))(handler)

    with serving(source) as server:
        server.pages[rel] = page
        report = mirror_uids(server.url, tmp_path / "dst", SUBJECT)
    assert report.ok is ok and len(pages) == 3


def test_listing_that_fails_leaves_other_sessions_alone(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    with serving(source) as server:
        mirror_uids(server.url, dst, SUBJECT)
        server.pages["/2024-01-02/001/alf/"] = answer(403)
        report = mirror_uids(server.url, dst, SUBJECT)
    assert report.failed == (("2024-01-02/001/alf/", "is forbidden (HTTP 403)"),)
    assert len(report.unchanged) == N_FILES - 2 and len(manifest_of(dst)["files"]) == N_FILES


def test_web_page_instead_of_a_file(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    with serving(source) as server:
        server.pages[UID_FILE] = server.pages[SILHOUETTE] = answer(body=b"<html>log in</html>")
        report = mirror_uids(server.url, dst, SUBJECT)
    assert report.fetched == () and len(report.failed) == N_FILES
    assert not list(dst.rglob("mpciROIs*"))


def test_resume_after_an_interrupt(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"

    def stop_after_three(done, total, path):
        if done == 3:
            raise KeyboardInterrupt

    with serving(source) as server:
        with pytest.raises(KeyboardInterrupt):
            mirror_uids(server.url, dst, SUBJECT, progress=stop_after_three)
        assert manifest_of(dst)["complete"] is False and len(manifest_of(dst)["files"]) == 3
        server.log.clear()
        report = mirror_uids(server.url, dst, SUBJECT)
        assert len(report.unchanged) == 3 and len(report.fetched) == 4 == len(file_gets(server))
    assert_mirrored(dst, source)


def test_resume_after_a_kill(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    code = (
        "import os, sys; from pipeline.tracking import mirror\n"
        "stop = lambda done, total, path: done == 4 and os.kill(os.getpid(), 9)\n"
        f"mirror.mirror_uids(sys.argv[1], sys.argv[2], {SUBJECT!r}, progress=stop)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(source), str(dst)], cwd=Path(__file__).parents[3], check=False
    )
    assert killed.returncode == -9
    assert manifest_of(dst)["complete"] is False
    report = mirror_uids(str(source), dst, SUBJECT)
    assert len(report.unchanged) == 4 and len(report.fetched) == 3 and report.ok
    assert_mirrored(dst, source)


def test_leftovers_of_a_dead_run_go_but_not_those_of_a_live_one(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    fov = subject_folder(dst, SUBJECT) / "2024-01-01/001/alf/FOV_00"
    dead, live = fov / f".{UID_FILE}.1.part", fov / f".{UID_FILE}.2.part"
    put(dead, b"half")
    put(live, b"half", time.time())
    mirror_uids(str(source), dst, SUBJECT)
    assert not dead.exists() and live.exists()


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    mirror_uids(str(source), dst, SUBJECT)
    before = tree_of(dst)
    make_tree(source, run="the second run")

    def killed(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        mirror_uids(str(source), dst, SUBJECT, refresh=True)
    assert tree_of(dst) == before


def test_destination_that_is_no_folder(tmp_path):
    source = make_tree(tmp_path / "src")
    put(tmp_path / "dst", b"a file")
    with pytest.raises(ConfigError, match=r"manifest .* cannot be written"):
        mirror_uids(str(source), tmp_path / "dst", SUBJECT)


def test_destination_that_cannot_be_written(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    put(subject_folder(dst, SUBJECT) / "2024-01-02", b"a file where a folder must go")
    report = mirror_uids(str(source), dst, SUBJECT)
    assert len(report.fetched) == N_FILES - 2
    assert all("cannot be written" in reason for _, reason in report.failed)


# ------------------------------------------------------------------------------------------- hostile


def test_hostile_listing_cannot_lead_out(tmp_path):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "deep" / "dst"
    with serving(tmp_path / "empty") as other, serving(source) as server:
        links = [
            "../", "../../etc/passwd", "%2e%2e/", "..%2f..%2f2024-01-05/", "2024-01-05/../../../",
            f"{other.url}/{SUBJECT}/2024-01-06/", f"//{other.url[7:]}/{SUBJECT}/2024-01-06/",
            "http://[", "/2024-01-05/",
            "2024-01-07%0a/", "2024-01-07%00/", "?C=M;O=A", "2024-01-01/?x=1",
            "javascript:alert(1)", f"https://127.0.0.1:{server.server_port}/{SUBJECT}/2024-01-06/",
            "2024-01-0\u0661/", "2024-01-02/",
        ]  # fmt: skip
        page = "<![x[" + "".join(f'<a href="{link}">x</a>' for link in links)
        server.pages[f"/{SUBJECT}/"] = answer(body=page[5:].encode(), Content_Type="text/html")
        report = mirror_uids(server.url, dst, SUBJECT, auth=(USER, CANARY))
        assert other.log == []
        server.pages[f"/{SUBJECT}/"] = answer(body=page.encode(), Content_Type="text/html")
        with pytest.raises((ConfigError, DataError)):
            mirror_uids(server.url, tmp_path / "dst2", SUBJECT)
    assert report.fetched == tuple(f"2024-01-02/001/alf/FOV_0{fov}/{UID_FILE}" for fov in (0, 1))
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")} == {"src", "deep"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["dst"]


@pytest.mark.parametrize("what", [f"/{SUBJECT}/", UID_FILE])
def test_redirects_are_not_followed_nor_given_credentials(tmp_path, monkeypatch, what):
    source = make_tree(tmp_path / "src")
    monkeypatch.setenv("MESO_UID_USER", USER)
    monkeypatch.setenv("MESO_UID_PASSWORD", CANARY)
    with serving(source) as other, serving(source, auth=True) as server:
        server.pages[what] = answer(302, Location=f"{other.url}/{SUBJECT}/")
        if what == UID_FILE:
            report = mirror_uids(server.url, tmp_path / "dst", SUBJECT)
            assert len(report.failed) == 6 and "redirected" in report.failed[0][1]
        else:
            with pytest.raises(ConfigError, match="redirected"):
                mirror_uids(server.url, tmp_path / "dst", SUBJECT)
        assert other.log == []


def endless(handler):
    """A page without end, or length; it notes how much of it was taken."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"10000\r\n" + b"x" * (1 << 16) + b"\r\n")
            handler.server.sent += 1 << 16
    except OSError:
        handler.close_connection = True


@pytest.mark.parametrize("what", [f"/{SUBJECT}/", UID_FILE])
def test_endless_answers_are_broken_off(tmp_path, monkeypatch, what):
    source = make_tree(tmp_path / "src", days=1)
    monkeypatch.setattr(web, "MAX_PAGE", 1 << 20)
    monkeypatch.setattr(web, "MAX_FILE", 1 << 20)
    with serving(source) as server:
        server.pages[what], server.sent = endless, 0
        if what == UID_FILE:
            report = mirror_uids(server.url, tmp_path / "dst", SUBJECT)
            assert [reason for _, reason in report.failed] == ["is larger than 1 MB, too large for UIDs"] * 2
        else:
            with pytest.raises(ConfigError, match="too large for a folder listing"):
                mirror_uids(server.url, tmp_path / "dst", SUBJECT)
        # beside what was read there is what lay in the sockets' buffers
        assert server.sent < 2 * 16 << 20
    assert not list((tmp_path / "dst").rglob(UID_FILE))


# ------------------------------------------------------------------------------------------- secrets


def test_credentials_from_each_place(tmp_path, monkeypatch):
    source = make_tree(tmp_path / "src")
    file = tmp_path / "secret"
    with serving(source, auth=True) as server:
        for content in (f"{USER}\n{CANARY}\n", f"{USER}:{CANARY}", f"{USER}:{CANARY}\r\n"):
            file.write_text(content)
            file.chmod(0o600)
            monkeypatch.setenv("MESO_UID_CREDENTIALS", str(file))
            assert mirror_uids(server.url, tmp_path / "dst", SUBJECT).ok
        file.chmod(0o640)
        with pytest.raises(ConfigError, match="chmod 600") as caught:
            mirror_uids(server.url, tmp_path / "dst", SUBJECT)
        assert_silent(caught.value, CANARY)
        monkeypatch.setenv("MESO_UID_USER", USER)
        with pytest.raises(ConfigError, match="MESO_UID_PASSWORD is not set"):
            mirror_uids(server.url, tmp_path / "dst", SUBJECT)
        monkeypatch.setenv("MESO_UID_PASSWORD", CANARY)
        report = mirror_uids(server.url, tmp_path / "dst2", SUBJECT)
        assert report.ok and CANARY not in repr(report)
    for path in (tmp_path / "dst2").rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()
    assert CANARY not in repr(Credentials(USER, CANARY)) and USER not in repr(Credentials(USER, CANARY))


@pytest.mark.parametrize("content", [b"", b"only", b"a\nb\nc4naRy", b"\xff\xfec4naRy", b":c4naRy"])
def test_credentials_file_that_is_not_understood(tmp_path, monkeypatch, content):
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(0o600)
    monkeypatch.setenv("MESO_UID_CREDENTIALS", str(file))
    with pytest.raises(ConfigError) as caught:
        mirror_uids("http://127.0.0.1:1/", tmp_path / "dst", SUBJECT)
    assert_silent(caught.value, "c4naRy")


def test_password_in_place_of_the_file_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_UID_CREDENTIALS", f"{USER}:{CANARY}")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        mirror_uids("http://127.0.0.1:1/", tmp_path / "dst", SUBJECT)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("given", [None, (USER, CANARY + "x"), (USER, "wrong")])
def test_refused_log_in(tmp_path, given):
    source = make_tree(tmp_path / "src")
    with serving(source, auth=True) as server:
        with pytest.raises(ConfigError, match=r"HTTP 401.*MESO_UID_USER") as caught:
            mirror_uids(server.url, tmp_path / "dst", SUBJECT, auth=given)
        assert server.url in str(caught.value)
        assert len(server.log) == 1  # more tries could lock the account
    assert_silent(caught.value, CANARY, "wrong")


def test_source_that_cannot_be_reached(tmp_path):
    with serving(tmp_path) as server:
        url = server.url
    with pytest.raises(ConfigError, match="cannot be reached") as caught:
        mirror_uids(url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY))
    assert url in str(caught.value)
    assert_silent(caught.value, CANARY)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:c4naRy@host.org/x", "https://c4naRy@host.org/", "https://me:c4naRy/x@host.org/",
        "me:c4naRy@host/x", "https:/me:c4naRy@host/", "https://me:c4naRy/", "ftp://host.org/c4naRy",
        "https://host.org/?key=c4naRy", "https://host.org/#c4naRy", "file:///c4naRy", "https:///c4naRy",
        "https://host\\c4naRy/", "https://ho st/c4naRy",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(tmp_path, url):
    with pytest.raises(ConfigError) as caught:
        mirror_uids(url, tmp_path / "dst", SUBJECT)
    assert "c4naRy" not in str(caught.value) + repr(caught.value.__context__)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "127.0.0.1.example.org", "localhost.example.org", "127.1"])
def test_no_credentials_over_plain_http(tmp_path, monkeypatch, host):
    monkeypatch.setenv("MESO_UID_USER", USER)
    monkeypatch.setenv("MESO_UID_PASSWORD", CANARY)
    monkeypatch.setattr(requests.Session, "send", lambda *a, **k: pytest.fail("something was sent"))
    with pytest.raises(ConfigError, match="plain http") as caught:
        mirror_uids(f"http://{host}/uids", tmp_path / "dst", SUBJECT)
    assert_silent(caught.value, CANARY)


def test_neither_netrc_nor_proxy_is_used_on_loopback(tmp_path, monkeypatch):
    source = make_tree(tmp_path / "src")
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {CANARY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(source) as server:
        assert mirror_uids(server.url, tmp_path / "dst", SUBJECT).ok
        assert set(server.seen) == {None}


def test_netrc_is_not_read_for_any_host(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine host.org login {USER} password netrc-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    session = web.Web("https://host.org/", None)._session
    request = session.prepare_request(requests.Request("GET", "https://host.org/x"))
    assert "Authorization" not in request.headers


def test_auth_stays_on_its_own_host():
    auth = web.OwnHostAuth("https://host.org/x/", Credentials(USER, CANARY))
    for url, sent in [("https://host.org/y", True), ("http://host.org/x/", False), ("https://o.org/", False)]:
        request = requests.Request("GET", url, auth=auth).prepare()
        assert ("Authorization" in request.headers) is sent
