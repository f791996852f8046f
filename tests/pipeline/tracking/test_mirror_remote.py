"""Mirroring of UID files from a real SFTP server and a real S3 server on loopback."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import boto3
import pytest
import requests
from support.object_stores import BUCKET, running_s3
from support.sftp_server import running_sftp
from support.uid_trees import (
    CANARY,
    N_FILES,
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
from pipeline.tracking.mirror import MANIFEST, UID_FILE, mirror_uids, sources, subject_folder


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """An empty home, no credentials from outside, and no waiting between tries."""
    for name in (*VARIABLES, *(name for name in os.environ if name.startswith("AWS_") or name == "SSH_AUTH_SOCK")):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(sources, "WAIT", wait_none())


@pytest.fixture
def sftp(tmp_path):
    """A server of ``tmp_path/src`` that is known."""
    (tmp_path / "src").mkdir()
    with running_sftp(tmp_path / "src", USER, CANARY) as server:
        know(tmp_path, server.known)
        yield server


def know(tmp_path: Path, line: str) -> None:
    """Write the known_hosts file."""
    file = tmp_path / "home" / ".ssh" / "known_hosts"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line)


@dataclass
class Bucket:
    """A bucket of a server that asks for `key`."""

    endpoint: str
    key: tuple[str, str]

    def client(self):
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=self.key[0], aws_secret_access_key=self.key[1],
            region_name="us-east-1",
        )  # fmt: skip

    def ask_for_keys(self, asks: bool) -> None:
        free = b"0" if asks else b"inf"  # requests before the server asks
        requests.post(f"{self.endpoint}/moto-api/reset-auth", data=free, timeout=10).raise_for_status()

    def upload(self, folder: Path, prefix: str, readers: str = "private") -> None:
        client = self.client()
        for path in folder.rglob("*"):
            if path.is_file():
                key = f"{prefix}{path.relative_to(folder)}"
                client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes(), ACL=readers)


@pytest.fixture(scope="module")
def object_server() -> Iterator[Bucket]:
    """The S3 server, once it asks for keys; "server" is the one of the databases."""
    with running_s3() as address:
        endpoint = f"http://{address}"
        iam = boto3.client(
            "iam",
            endpoint_url=endpoint,
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106
            region_name="us-east-1",
        )
        iam.create_user(UserName=USER)
        rule = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [rule]}
        iam.put_user_policy(UserName=USER, PolicyName="all", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=USER)["AccessKey"]
        there = Bucket(endpoint, (made["AccessKeyId"], made["SecretAccessKey"]))
        there.ask_for_keys(True)
        yield there


@pytest.fixture
def bucket(object_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", object_server.endpoint)
    return object_server


@dataclass
class Place:
    """A source elsewhere: its address, who may read it, and how a folder gets there."""

    url: str
    auth: tuple[str, str]
    fill: Callable[[Path], object]


@pytest.fixture(params=["sftp", "s3"])
def place(request, tmp_path) -> Place:
    if request.param == "sftp":
        server = request.getfixturevalue("sftp")
        return Place(server.url, (USER, CANARY), lambda folder: None)
    bucket = request.getfixturevalue("bucket")
    prefix = tmp_path.name
    return Place(f"s3://{BUCKET}/{prefix}", bucket.key, lambda folder: bucket.upload(folder, f"{prefix}/"))


# ------------------------------------------------------------------------------------------- both


def test_mirror_and_again(tmp_path, place):
    source, dst = make_tree(tmp_path / "src" / "ROICaT"), tmp_path / "dst"
    put(source / SUBJECT / "2024-13-45/001/alf/FOV_00" / UID_FILE, uids("no date"))
    place.fill(tmp_path / "src")
    report = mirror_uids(place.url, dst, SUBJECT, auth=place.auth)
    assert report.ok and report.n_sessions == 3 and len(report.fetched) == N_FILES
    assert_mirrored(dst, source)
    entry = manifest_of(dst)["files"][f"2024-01-01/001/alf/FOV_00/{UID_FILE}"]
    assert entry["source"] == f"{place.url}/ROICaT/{SUBJECT}/2024-01-01/001/alf/FOV_00/{UID_FILE}"
    assert entry["last_modified"]
    before = tree_of(dst)
    report = mirror_uids(place.url, dst, SUBJECT, auth=place.auth)
    assert len(report.unchanged) == N_FILES and report.ok and tree_of(dst) == before
    assert all(secret.encode() not in content for content in before.values() for secret in place.auth)


def test_what_is_known_is_not_read_again(tmp_path, sftp):
    make_tree(tmp_path / "src")
    mirror_uids(sftp.url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY))
    assert len(sftp.opened) == N_FILES
    mirror_uids(sftp.url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY))
    assert len(sftp.opened) == N_FILES


@pytest.mark.slow
def test_regenerated_files_are_not_mixed(tmp_path, place):
    source, dst = make_tree(tmp_path / "src"), tmp_path / "dst"
    place.fill(source)
    mirror_uids(place.url, dst, SUBJECT, auth=place.auth)
    before = tree_of(subject_folder(dst, SUBJECT))
    make_tree(source, run="run2", days=4)
    for path in source.rglob("*.csv"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    place.fill(source)

    report = mirror_uids(place.url, dst, SUBJECT, auth=place.auth)
    assert len(report.stale) == 6 and report.fetched == () and len(report.failed) == 2
    assert report.unchanged == (f"2024-01-01/001/alf/FOV_00/{SILHOUETTE}",)
    assert tree_of(subject_folder(dst, SUBJECT)) | {MANIFEST: b""} == before | {MANIFEST: b""}

    report = mirror_uids(place.url, dst, SUBJECT, auth=place.auth, refresh=True)
    assert report.ok and len(report.fetched) == 8
    assert_mirrored(dst, source, 9)


def test_no_such_subject(tmp_path, place):
    place.fill(make_tree(tmp_path / "src"))
    with pytest.raises(DataError, match=f"{place.url}/ has no subject SP000"):
        mirror_uids(place.url, tmp_path / "dst", "SP000", auth=place.auth)
    assert not (tmp_path / "dst").exists()


def test_credentials_that_are_refused(tmp_path, place, monkeypatch):
    place.fill(make_tree(tmp_path / "src"))
    monkeypatch.setenv("MESO_UID_USER", place.auth[0])
    monkeypatch.setenv("MESO_UID_PASSWORD", "wr0ng-c4nary")
    with pytest.raises(ConfigError, match=r"refuses the .*MESO_UID_USER") as caught:
        mirror_uids(place.url, tmp_path / "dst", SUBJECT)
    assert place.url in str(caught.value)
    assert_silent(caught.value, "wr0ng-c4nary", *place.auth[1:])


def test_files_larger_than_any_uids(tmp_path, place, monkeypatch):
    place.fill(make_tree(tmp_path / "src"))
    for module in ("files", "sources"):
        monkeypatch.setattr(f"pipeline.tracking.mirror.{module}.MAX_FILE", 20)
    report = mirror_uids(place.url, tmp_path / "dst", SUBJECT, auth=place.auth)
    assert len(report.failed) == N_FILES and "is larger than" in report.failed[0][1]


def test_server_that_is_not_there(tmp_path, sftp, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for url in ("sftp://127.0.0.1:1/x", f"s3://{BUCKET}/x"):
        with pytest.raises(ConfigError, match=r"cannot be reached .*network") as caught:
            mirror_uids(url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY))
        assert_silent(caught.value, CANARY)


@pytest.mark.parametrize("scheme", ["sftp", "s3"])
def test_package_that_is_missing(tmp_path, monkeypatch, scheme):
    monkeypatch.setitem(sys.modules, f"pipeline.tracking.mirror.{scheme}", None)
    with pytest.raises(ConfigError, match=rf"Reading {scheme}:// needs .*pip install '\.\[{scheme}\]'"):
        mirror_uids(f"{scheme}://host/x", tmp_path / "dst", SUBJECT)


# ------------------------------------------------------------------------------------------- SFTP


@pytest.mark.parametrize("known", ["", "[127.0.0.1]:{port} ssh-ed25519 {other}"])
def test_host_whose_key_is_not_known_gets_no_password(tmp_path, sftp, known):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[1]
    know(tmp_path, known.format(port=sftp.port, other=other))
    with pytest.raises(ConfigError, match=r"known_hosts.*fingerprint") as caught:
        mirror_uids(sftp.url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY))
    assert sftp.passwords == []
    assert_silent(caught.value, CANARY)


def test_password_is_shown_once(tmp_path, sftp):
    with pytest.raises(ConfigError, match="refuses the log-in"):
        mirror_uids(sftp.url, tmp_path / "dst", SUBJECT, auth=(USER, "wrong"))
    assert sftp.passwords == [(USER, "wrong")]  # more tries could lock the account


def test_lost_connection_is_opened_again(tmp_path, sftp):
    source = make_tree(tmp_path / "src")
    sftp.breaking += [f"/{SUBJECT}/2024-01-02/001/alf/FOV_00/{UID_FILE}"] * 2
    assert mirror_uids(sftp.url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY)).ok
    assert sftp.breaking == [] and len(sftp.connections) == 3
    assert_mirrored(tmp_path / "dst", source)


def test_connection_that_is_lost_each_time(tmp_path, sftp):
    make_tree(tmp_path / "src")
    rel = f"2024-01-02/001/alf/FOV_00/{UID_FILE}"
    sftp.breaking += [f"/{SUBJECT}/{rel}"] * 3
    report = mirror_uids(sftp.url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY))
    assert [path for path, _ in report.failed] == [rel] and "connection" in report.failed[0][1]
    assert len(report.fetched) == N_FILES - 1


def test_key_and_user_of_the_ssh_folder(tmp_path, sftp):
    make_tree(tmp_path / "src")
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "home" / ".ssh" / "id_ed25519"))
    sftp.keys.append(("lab", key.export_public_key()))
    (tmp_path / "home" / ".ssh" / "config").write_text("Host 127.0.0.1\n  User lab\n")
    assert mirror_uids(sftp.url, tmp_path / "dst", SUBJECT).ok
    assert sftp.passwords == []


def test_folder_that_may_not_be_read(tmp_path, sftp):
    source = make_tree(tmp_path / "src")
    sftp.locked.append(f"/{SUBJECT}/2024-01-02/001/alf")
    report = mirror_uids(sftp.url, tmp_path / "dst", SUBJECT, auth=(USER, CANARY))
    assert report.failed == (("2024-01-02/001/alf/", "cannot be read (permission denied)"),)
    assert_mirrored(tmp_path / "dst", source, N_FILES - 2)


# ------------------------------------------------------------------------------------------- S3


def test_keys_of_aws_tools(tmp_path, bucket, monkeypatch):
    source = make_tree(tmp_path / "src")
    bucket.upload(source, "tools/")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.key[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.key[1])
    assert mirror_uids(f"s3://{BUCKET}/tools", tmp_path / "dst", SUBJECT).ok
    assert_mirrored(tmp_path / "dst", source)


def test_public_bucket_needs_no_keys(tmp_path, bucket):
    source = make_tree(tmp_path / "src")
    bucket.upload(source, "public/", "public-read")
    with pytest.raises(ConfigError, match=f"s3://{BUCKET}/public/ "):
        mirror_uids(f"s3://{BUCKET}/public", tmp_path / "dst", SUBJECT)
    bucket.ask_for_keys(False)
    try:
        assert mirror_uids(f"s3://{BUCKET}/public", tmp_path / "dst", SUBJECT).ok
    finally:
        bucket.ask_for_keys(True)
    assert_mirrored(tmp_path / "dst", source)
