"""Trees of UID files, what a mirror of one must hold, and errors in which no password may be."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import traceback
from pathlib import Path

from pipeline.tracking import mirror
from pipeline.tracking.mirror import MANIFEST, UID_FILE, subject_folder

SUBJECT = "SP999"
USER, CANARY = "someone", "c4naRy-pässword"
SILHOUETTE = "mpciROIs.clusterSilhouette.npy"
NPY = b"\x93NUMPY\x01\x00" + bytes(120)
VARIABLES = ("MESO_UID_USER", "MESO_UID_PASSWORD", "MESO_UID_CREDENTIALS")
OLD = time.time() - 86400


def put(path: Path, content: bytes, when: float = OLD) -> None:
    """Write a file of the source, as old as a finished tracking run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when, when))


def uids(tag: str) -> bytes:
    """UIDs of three ROIs, the second of them untracked."""
    return f"{tag}-one\n\n{tag}-two\n".encode()


def make_tree(root: Path, run: str = "run1", days: int = 3, subject: str = SUBJECT) -> Path:
    """Two FOVs per session with UIDs, one silhouette, and files that are none of the mirror's business."""
    for day in range(1, days + 1):
        alf = root / subject / f"2024-01-0{day}" / "001" / "alf"
        for fov in range(2):
            put(alf / f"FOV_0{fov}" / UID_FILE, uids(f"{run}-{day}-{fov}"))
            put(alf / f"FOV_0{fov}" / "mpci.times.npy", NPY)
    put(root / subject / "2024-01-01" / "001" / "alf" / "FOV_00" / SILHOUETTE, NPY)
    put(root / subject / "2024-01-09" / "001" / "raw" / "nothing.bin", b"x")
    return root


N_FILES = 7  # of make_tree with three days


def manifest_of(dest: Path) -> dict:
    return json.loads((subject_folder(dest, SUBJECT) / MANIFEST).read_text())


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_mirrored(dest: Path, source: Path, n: int = N_FILES) -> None:
    """The mirror holds the source's files, byte by byte, the manifest, and nothing else."""
    here, there = tree_of(subject_folder(dest, SUBJECT)), tree_of(source / SUBJECT)
    entries = json.loads(here.pop(MANIFEST))["files"]
    assert len(here) == n
    for rel, content in here.items():
        assert content == there[rel]
        assert entries[rel]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entries[rel]["size"] == len(content)
    assert set(entries) == set(here)


def assert_silent(error: BaseException, *secrets: str) -> None:
    """No secret in an exception, its causes, its contexts, or the traceback with locals."""
    seen, queue = [], [error]
    while queue:
        one = queue.pop()
        seen.append(repr(one) + str(one) + repr(vars(one)))
        queue += [other for other in (one.__cause__, one.__context__) if other is not None]
        assert not hasattr(one, "request"), "an exception of requests carries the Authorization header"
    text = "".join(seen) + "".join(traceback.TracebackException.from_exception(error).format())
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [frame for frame in frames if Path(frame.f_code.co_filename).parent == Path(mirror.__file__).parent]
    text += "".join(repr(frame.f_locals) for frame in own)
    assert own
    for secret in secrets:
        assert secret not in text
        assert base64.b64encode(f"{USER}:{secret}".encode()).decode() not in text
