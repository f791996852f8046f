"""A stand-in for Alyx and its file server on loopback, for the real ONE client.

Answers have the form of those that a real Alyx 3.6 gave (``alyx_answers.json``: recorded, trimmed, hosts replaced).
Subjects are compared as Alyx does: the whole name, literally, without case. Files have their UUID in the name.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.demo.repository import SESSION_GLOB, _dataset_id, _revision, _without_revision, session_eid

RECORDED = json.loads(Path(__file__).with_name("alyx_answers.json").read_text())
USER, PASSWORD, TOKEN, OTHER_TOKEN = "tester", "right", "TOKEN", "OTHER"
CUT, STALL, SILENT = 0, 1, 2
PAGE = 250  # sessions in an answer


@dataclass
class Fault:
    """What the next requests to a path get instead of an answer.

    Attributes
    ----------
    path : str
        Start of the paths.
    status : int
        SILENT answers after a while only. For files, CUT ends the body in its middle and closes the connection, STALL
        leaves it open for a while.
    times : int
        Number of requests.
    headers : dict
    """

    path: str
    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class Alyx:
    """Serves the sessions of a folder ``lab/Subjects/subject/date/number``; a record may be changed by a test.

    Attributes
    ----------
    sessions : list of dict
        Records as in ``/sessions/<id>``.
    requests : list of str
        Method and path, with its query, of every request.
    token : str
        The one that is valid; None refuses all.
    """

    def __init__(self, root: Path, port: int = 0):
        self.root, self.requests, self.token, self.faults = root, [], TOKEN, []
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.files: dict[str, Path] = {}
        self.sessions = [self._session(folder) for folder in sorted(root.glob(SESSION_GLOB))]
        self.app = Starlette(routes=[
            Route("/auth-token", self._login, methods=["POST"]),
            Route("/api/schema", lambda request: self._answer(request, lambda: RECORDED["schema"])),
            Route("/sessions", self._list),
            Route("/sessions/{id}", self._detail),
            Route("/data-repository/{name}", lambda request: self._answer(request, lambda: (404, "no_repository"))),
            Route("/public/{path:path}", self._file),
        ])  # fmt: skip
        self._server: uvicorn.Server | None = None

    def start(self) -> None:
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join()
            self._server = None

    def fail(self, path: str, status: int, times: int = 1, **headers: str) -> None:
        """Let the next requests to paths with this start fail."""
        self.faults.append(Fault(path, status, times, headers))

    def counted(self) -> Counter:
        """Return the number of requests so far by kind, and forget them."""
        kinds = Counter(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<id>", text.split("?")[0]) for text in self.requests)
        found = Counter()
        for kind, n in kinds.items():
            found["file" if " /public/" in kind else kind] += n
        self.requests.clear()
        return found

    def _session(self, folder: Path) -> dict[str, Any]:
        lab, _, subject, date, number = folder.parts[-5:]
        eid = session_eid(lab, subject, date, number)
        paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        newest = {_without_revision(path): path for path in sorted(paths, key=_revision)}
        record = copy.deepcopy(RECORDED["session"])
        datasets = [self._dataset(folder, eid, path, path in newest.values()) for path in paths]
        return record | {
            "id": eid, "lab": lab, "subject": subject, "start_time": f"{date}T12:00:00", "number": int(number),
            "url": f"{self.url}/sessions/{eid}", "data_dataset_session_related": datasets,
        }  # fmt: skip

    def _dataset(self, folder: Path, eid: str, path: str, default: bool) -> dict[str, Any]:
        file, uuid = folder / path, _dataset_id(eid, path)
        address = self.with_uuid((folder / path).relative_to(self.root), uuid)
        self.files[address] = file
        return RECORDED["session"]["data_dataset_session_related"][0] | {
            "id": uuid, "name": file.name, "dataset_type": file.stem, "data_url": f"{self.url}/public/{address}",
            "url": f"{self.url}/datasets/{uuid}", "file_size": file.stat().st_size,
            "hash": md5(file.read_bytes(), usedforsecurity=False).hexdigest(),
            "collection": _without_revision(path).rpartition("/")[0], "revision": _revision(path),
            "default_revision": str(default),
        }  # fmt: skip

    @staticmethod
    def with_uuid(path: Path, uuid: str) -> str:
        return path.with_name(f"{path.stem}.{uuid}{path.suffix}").as_posix()

    def session(self, eid: str) -> dict[str, Any]:
        return next(record for record in self.sessions if record["id"] == eid)

    def dataset(self, eid: str, path: str) -> dict[str, Any]:
        """Return the record of a dataset by its path within the session."""
        return next(d for d in self.session(eid)["data_dataset_session_related"] if d["id"] == _dataset_id(eid, path))

    def _note(self, request: Request) -> Response | None:
        """Record a request; return the fault that is due, if any."""
        path = request.url.path
        self.requests.append(f"{request.method} {path}" + (f"?{request.url.query}" if request.url.query else ""))
        for fault in self.faults:
            if path.startswith(fault.path) and fault.times and fault.status > STALL:
                fault.times -= 1
                if fault.status == SILENT:
                    return Late(status_code=400)  # an error for clients that wait for it
                return JSONResponse({"detail": "not now"}, fault.status, fault.headers)
        return None

    def _answer(self, request: Request, found: Any) -> Response:
        if (fault := self._note(request)) is not None:
            return fault
        if request.headers.get("authorization") != f"Token {self.token}":
            return JSONResponse(RECORDED["invalid_token"], 403)
        answer = found()
        return JSONResponse(RECORDED[answer[1]], answer[0]) if isinstance(answer, tuple) else JSONResponse(answer)

    async def _login(self, request: Request) -> Response:
        if (fault := self._note(request)) is not None:
            return fault
        given = dict(part.split("=") for part in (await request.body()).decode().split("&") if "=" in part)
        if "password" not in given:
            return JSONResponse(RECORDED["password_required"], 400)
        if (given.get("username"), given["password"]) != (USER, PASSWORD):
            refused = {"non_field_errors": ["Unable to log in with provided credentials."], "status_code": 400}
            return JSONResponse(refused, 400)
        return JSONResponse({"token": self.token})

    def _list(self, request: Request) -> Response:
        return self._answer(request, lambda: self._page(request))

    def _page(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        rows = [self._short(record) for record in self.sessions if self._matches(record, query)]
        start, limit = int(query.get("offset", 0)), int(query.get("limit", PAGE))
        more = start + limit < len(rows)
        following = f"{self.url}/sessions?{request.url.query}&limit={limit}&offset={start + limit}"
        return RECORDED["sessions"] | {
            "count": len(rows), "next": following if more else None, "results": rows[start : start + limit]
        }  # fmt: skip

    @staticmethod
    def _short(record: dict[str, Any]) -> dict[str, Any]:
        return {name: record[name] for name in RECORDED["sessions"]["results"][0]}

    @staticmethod
    def _matches(record: dict[str, Any], query: Any) -> bool:
        if "subject" in query and query["subject"].lower() != record["subject"].lower():
            return False
        if "number" in query and int(query["number"]) != record["number"]:
            return False
        if "date_range" in query:
            first, last = query["date_range"].split(",")
            if not first <= (record["start_time"] or "")[:10] <= last:
                return False
        # Alyx looks for a part of the name, without case
        if "projects" in query and not any(query["projects"].lower() in name.lower() for name in record["projects"]):
            return False
        names = {dataset["name"] for dataset in record["data_dataset_session_related"]}
        if "datasets" in query and not set(query["datasets"].split(",")) <= names:
            return False
        ids = re.findall(r"[0-9a-f-]{36}", query.get("django", ""))
        return not query.get("django") or record["id"] in ids

    def _detail(self, request: Request) -> Response:
        wanted = request.path_params["id"]
        return self._answer(
            request, lambda: next((r for r in self.sessions if r["id"] == wanted), (404, "no_session"))
        )  # fmt: skip

    async def _file(self, request: Request) -> Response:
        if (fault := self._note(request)) is not None:
            return fault
        path = self.files.get(request.path_params["path"])
        if path is None or not path.exists():
            return Response("not found", 404)
        content = path.read_bytes()
        for fault in self.faults:
            if request.url.path.startswith(fault.path) and fault.times and fault.status <= STALL:
                fault.times -= 1
                return Cut(content, fault.status)
        return Response(content, media_type="application/octet-stream")


class Cut(Response):
    """A body that ends before its announced length, at once or after a while."""

    def __init__(self, content: bytes, kind: int) -> None:
        super().__init__(content)
        self.kind = kind

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        if self.kind == STALL:
            await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b""})


class Late(Response):
    """An answer that comes after a while."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await super().__call__(scope, receive, send)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def alyx_of(root: Path) -> Iterator[Alyx]:
    """Serve the sessions of a folder until the end of the block."""
    server = Alyx(root)
    server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            # ONE would load the certificates of the web for each file, 20 ms; this server speaks HTTP
            for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
                patch.setenv(name, os.devnull)
            yield server
    finally:
        server.stop()
        gc.collect()  # ONE does not close what breaks off: its warnings are expected here, and not in later tests
        gc.freeze()  # what is left need not be visited by the next: all libraries, 60 ms


def set_up_one(server: Alyx, home: Path) -> Path:
    """Set ONE up for the server as a user does once, with HOME at ``home``; return the download folder."""
    import one.params
    from one.api import ONE

    cache = home / "downloads"
    ONE.cache_clear()
    ONE.setup(base_url=server.url, silent=True, username=USER, cache_dir=cache, make_default=True)
    par = one.params.get(server.url, silent=True).set("HTTP_DATA_SERVER", f"{server.url}/public")
    one.params.save(par, server.url)
    ONE(base_url=server.url, username=USER, password=PASSWORD, silent=True)
    ONE.cache_clear()
    return cache
