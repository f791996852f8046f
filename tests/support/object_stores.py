"""Stores for the tests: a folder, and a bucket of an S3 server (moto's) that runs as a process on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datajoint as dj
import requests

#: The places in which traces can be stored.
KINDS = ("database", "folder", "bucket")
BUCKET = "lab"


@contextmanager
def running_s3() -> Iterator[str]:
    """Run the server; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = address.split(":")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", host, "-p", port],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.put(f"http://{address}/{BUCKET}", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


@contextmanager
def stores_of(*kinds: str, folder: Path) -> Iterator[None]:
    """Set stores of these kinds and names in DataJoint's settings, in this process and in those that it starts."""
    running, address = running_s3() if "bucket" in kinds else None, ""
    if running:
        address = running.__enter__()
    all_settings = {
        "folder": {"protocol": "file", "location": str(folder)},
        "bucket": {
            "protocol": "s3", "endpoint": address, "bucket": BUCKET, "location": "traces", "access_key": "testing",
            "secret_key": "testing", "secure": False,
        },
    }  # fmt: skip
    settings = {kind: all_settings[kind] for kind in kinds if kind != "database"}
    os.environ["DJ_STORES"] = json.dumps(settings)
    dj.config.stores.update(settings)
    try:
        yield
    finally:
        del os.environ["DJ_STORES"]
        for kind in settings:
            del dj.config.stores[kind]
        if running:
            running.__exit__(None, None, None)
