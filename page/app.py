"""The pages as a web application: it reads, on one connection that the server lets read only, and answers GET alone."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import jinja2
import pandas as pd
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import schemas
from page import drawing, formats, queries
from page.rasters import Raster, Rasters
from pipeline.errors import ConfigError, DataError
from pipeline.signals.tiles import View
from schemas.provenance import environment_row
from schemas.queries import sessions as listing
from schemas.server.reconnection import is_passing, only_read, reconnect
from schemas.server.settings import prefix

HERE = Path(__file__).parent
LOOPBACK = ("127.0.0.1", "localhost")
#: Nothing but what this server sends is run, shown or asked for.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: What has its version in its address never changes.
FOREVER = {"cache-control": "private, max-age=604800, immutable"}
#: What may change with the rest of the database, such as tracked cells.
BRIEFLY = {"cache-control": "private, max-age=60"}
#: A browser on the same machine takes it faster than anybody compresses it.
AS_IT_IS = {"content-encoding": "identity"}

#: Seconds after a picture until what may come next is read.
MOMENT = 0.05

T = TypeVar("T")
#: One thread talks to the database, on its one connection; one draws, since matplotlib's settings are the process's.
_database, _drawing = ThreadPoolExecutor(1, "database"), ThreadPoolExecutor(1, "drawing")
_rasters = Rasters()
#: Figures that have been drawn, by what they show; no more than this are kept.
FIGURES = 200
_figures: dict[str, bytes] = {}


async def ask(call: Callable[..., T], *arguments: Any) -> T:
    """Return what a function reads from the database, after another try where the connection was lost."""

    def again() -> T:
        try:
            return call(*arguments)
        except Exception as error:
            if not is_passing(error):
                raise
            reconnect(schemas.connect())
            return call(*arguments)

    return await asyncio.get_running_loop().run_in_executor(_database, again)


@lru_cache(maxsize=1)
def templates() -> jinja2.Environment:
    """Return the templates; whatever comes from the database is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(formats.FILTERS)
    environment.globals.update(version=version("meso"), commit=environment_row()["git_commit"][:9], prefix=prefix())
    return environment


def html(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page."""
    return HTMLResponse(templates().get_template(template).render(**values), status)


def as_json(value: Any, headers: dict[str, str] | None = None) -> Response:
    """Return values for our scripts."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    return Response(text, media_type="application/json", headers=headers)


async def home(request: Request) -> Response:
    """Show the pipeline, who works, and what failed."""
    return html("home.html", **await ask(queries.home))


async def live(request: Request) -> Response:
    """Return the part of the first page that changes."""
    return html("live.html", **await ask(queries.home))


async def sessions(request: Request) -> Response:
    """List sessions, or those of a subject."""
    subject = request.query_params.get("subject")
    rows, subjects = await ask(lambda: (listing.sessions(subject), queries.subjects()))
    return html("sessions.html", rows=rows, subject=subject, subjects=subjects, named=queries.NAMED)


async def session(request: Request) -> Response:
    """Show a session: raster and map."""
    eid = request.path_params["eid"]
    embedding = request.query_params.get("embedding")

    def read() -> tuple[dict, Raster | None]:
        found = queries.session(eid)
        return found, _rasters.open(eid, embedding) if found["embeddings"] or embedding else None

    found, raster = await ask(read)
    return html("session.html", session=found, raster=raster)


async def session_cells(request: Request) -> Response:
    """Return the cells of a raster."""
    return as_json(await ask(lambda: queries.cells(_raster(request).key)), BRIEFLY)


async def session_timeline(request: Request) -> Response:
    """Return the clock, wheel and trials of a raster."""
    return as_json(await ask(lambda: queries.timeline(_raster(request).key)), BRIEFLY)


async def session_raster(request: Request) -> Response:
    """Return part of a raster as bytes, row by row; headers say how many rows there are and what the edges are."""
    rows, frames = _range(request, "rows"), _range(request, "frames")
    pixels = _whole(request, "height", 4000), _whole(request, "width", 8000)

    def read() -> tuple[Raster, View]:
        raster = _raster(request)
        return raster, raster.view(rows, frames, pixels)

    _ahead.cancel()
    raster, view = await ask(read)
    _ahead.begin(raster.ahead(rows, frames, pixels))
    return _bytes(view)


class Ahead:
    """Reads what whoever looks at a raster may want next, while nobody asks for anything."""

    def __init__(self) -> None:
        self.task: asyncio.Task | None = None

    def begin(self, calls: Iterable[Callable[[], object]]) -> None:
        """Read, after a moment, until the next picture is asked for."""
        self.cancel()
        self.task = asyncio.create_task(self._read(calls))

    def cancel(self) -> None:
        """Stop after what is being read."""
        if self.task:
            self.task.cancel()

    async def _read(self, calls: Iterable[Callable[[], object]]) -> None:
        await asyncio.sleep(MOMENT)
        with suppress(Exception):  # whoever asks next is told
            for call in calls:
                await ask(call)


_ahead = Ahead()


async def session_mean(request: Request) -> Response:
    """Return the mean of some cells as float32: of neighbours in the order, or of a box of the map."""
    frames, width = _range(request, "frames"), _whole(request, "width", 8000)

    def read() -> View:
        raster = _raster(request)
        return raster.mean(raster.chosen(request.query_params), frames, width)

    return _bytes(await ask(read))


def _raster(request: Request) -> Raster:
    return _rasters.open(request.path_params["eid"], request.query_params.get("embedding"))


def _bytes(view: View) -> Response:
    edges = {"rows": view.rows, "frames": view.frames, "shape": view.values.shape}
    headers = {f"x-{name}": ",".join(map(str, pair)) for name, pair in edges.items()}
    media_type = "application/octet-stream"
    return Response(view.values.tobytes(), media_type=media_type, headers=headers | FOREVER | AS_IT_IS)


def _range(request: Request, name: str) -> tuple[float, float]:
    text = request.query_params.get(name, "")
    try:
        first, last = map(float, text.split(":"))
    except ValueError:
        raise HTTPException(400, f"{name} are from:to, such as 0:500, not {text!r}") from None
    if not first < last:  # nor NaN
        raise HTTPException(400, f"{name} are from a number to a larger one, not {text!r}")
    return first, last


def _whole(request: Request, name: str, most: int) -> int:
    text = request.query_params.get(name, "")
    if not (text.isdecimal() and 1 <= int(text[:9]) <= most):
        raise HTTPException(400, f"{name} is a number from 1 to {most}, not {text!r}")
    return int(text)


async def cell(request: Request) -> Response:
    """Show a ROI."""
    found = await ask(queries.cell, *_roi(request))
    return html("cell.html", cell=found, pairs=drawing.PAIRS)


async def cell_trace(request: Request) -> Response:
    """Return times and activity of a ROI."""
    return as_json(await ask(queries.trace, *_roi(request)))


async def cell_averages(request: Request) -> Response:
    """Draw averages of a ROI around an event."""
    return await _drawn(partial(drawing.cell_averages, *_roi(request), request.path_params["pair"]))


def _roi(request: Request) -> tuple[str, int, int]:
    return request.path_params["eid"], request.path_params["fov"], request.path_params["roi"]


def _subject(request: Request) -> str:
    if not (subject := request.query_params.get("subject")):
        raise DataError("the address names no subject", do="Choose one from the list of sessions")
    return subject


async def tracking(request: Request) -> Response:
    """Show the tracked cells of a subject."""
    found = await ask(queries.tracking, _subject(request), request.query_params.get("run"))
    return html("tracking.html", tracking=found)


async def tracking_csv(request: Request) -> Response:
    """Return where the cells are that were found in all of some sessions."""
    subject, query = _subject(request), request.query_params
    rows = await ask(queries.shared_cells, subject, query.get("run"), query.getlist("session"))
    columns = ["cell_uid", *queries.DATE, "eid", "fov", "roi", "silhouette"]
    return _as_csv(pd.DataFrame(rows, columns=columns), f"shared_cells_{subject}.csv")


async def ndc(request: Request) -> Response:
    """Show curves of a subject: a set of sessions, and one choice of settings or more."""
    subject = _subject(request)

    def read() -> tuple[list[dict], dict | None, list[str], list[str], Any]:
        choices = queries.ndc_choices(subject)
        wanted = request.query_params.getlist("eid")
        chosen = _chosen_set(choices, request.query_params.get("set"), wanted)
        if chosen is None:
            return choices, None, [], [], None
        known = [one["ndc_params"] for one in chosen["settings"]]
        params = _known("settings", request.query_params.getlist("params"), known) or chosen["together"]
        eids = _known("session", wanted, chosen["eids"]) or chosen["eids"]
        some = eids if len(eids) < len(chosen["eids"]) else ()
        return choices, chosen, params, eids, drawing.chosen_run(chosen["session_set"], params, some)

    choices, chosen, params, eids, run = await ask(read)
    if chosen is None:
        raise DataError(f"there are no curves of {subject}", do=f"Make them with: meso ndc --subject {subject}")
    return html("ndc.html", subject=subject, choices=choices, chosen=chosen, params=params, eids=eids, run=run,
                rows=formats.ndc_rows(run))  # fmt: skip


def _chosen_set(choices: list[dict], session_set: str | None, eids: list[str]) -> dict | None:
    """Return the set that is named, or else the smallest that has all of some sessions, or else the first."""
    named = [one for one in choices if one["session_set"] == session_set]
    if session_set and choices and not named:
        raise DataError(f"no set of sessions with curves is called {session_set}", do="Choose one from the list")
    holding = [one for one in choices if eids and set(eids) <= set(one["eids"])]
    return next(iter([*named, *sorted(holding, key=lambda one: one["n_sessions"]), *choices]), None)


def _known(what: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return what an address asks for, in the order in which it is known."""
    if unknown := [one for one in asked if one not in known]:
        raise DataError(f"the set has no {what} {', '.join(unknown)}", do="Choose from the list")
    return [one for one in known if one in asked]


async def ndc_csv(request: Request) -> Response:
    """Return the table of results."""
    run = await ask(drawing.chosen_run, *_curves(request))
    return _as_csv(run.table, f"k_star_{run.session_set['session_set'][:8]}.csv")


def _as_csv(table: pd.DataFrame, name: str) -> Response:
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(table.to_csv(index=False), media_type="text/csv", headers={"content-disposition": disposition})


async def ndc_svg(request: Request) -> Response:
    """Draw the curves of one choice of settings."""
    return await _drawn(partial(drawing.ndc_overlay, *_curves(request)))


async def k_star_svg(request: Request) -> Response:
    """Draw k* over days."""
    return await _drawn(partial(drawing.k_star_days, *_curves(request)))


async def performance_svg(request: Request) -> Response:
    """Draw scores against behavioural performance."""
    return await _drawn(partial(drawing.performance, *_curves(request)))


def _curves(request: Request) -> tuple[str, list[str], list[str]]:
    query = request.query_params
    return query.get("set", ""), query.getlist("params"), query.getlist("eid")


async def _drawn(read: Callable[[], tuple[str, drawing.Draw]]) -> Response:
    """Return a figure: what it needs is read by the thread of the database, and drawn by that of drawing."""
    key, draw = await ask(read)
    if key not in _figures:
        while len(_figures) >= FIGURES:
            _figures.pop(next(iter(_figures)))
        _figures[key] = await asyncio.get_running_loop().run_in_executor(_drawing, drawing.svg, draw)
    return Response(_figures[key], media_type="image/svg+xml", headers=BRIEFLY)


async def _missing(request: Request, error: Exception) -> Response:
    return _told(request, 404, "Not found", str(error))


async def _unusable(request: Request, error: Exception) -> Response:
    return _told(request, 503, "The database cannot be used", str(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {404: "There is no such page.", 405: "This page only reads: GET is the one method it knows."}
    return _told(request, error.status_code, error.detail, texts.get(error.status_code, ""))


async def _asked_wrongly(request: Request, error: Exception) -> Response:
    return _told(request, 400, "That cannot be shown", str(error))


async def _failed(request: Request, error: Exception) -> Response:
    if is_passing(error):
        do = "Try again in a moment. 'meso db status' says whether it runs; 'meso db start' starts the embedded one."
        return _told(request, 503, "The database does not answer", do)
    logging.getLogger(__name__).error("%s\n%s", request.url, "".join(traceback.format_exception(error)))
    return _told(request, 500, "This page failed", f"{type(error).__name__}; the terminal of meso serve says more.")


def _told(request: Request, status: int, title: str, text: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{title}. {text}", status)
    return html("error.html", status, title=title, text=text)


class Guarded:
    """Adds the headers that keep a browser from anything but this server."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.encode(), value.encode()) for name, value in HEADERS.items()),
                ]
            await send(message)

        await self.app(scope, receive, guarded)


ROUTES = [
    Route("/", home),
    Route("/live", live),
    Route("/sessions", sessions),
    Route("/sessions/{eid}", session),
    Route("/sessions/{eid}/cells.json", session_cells),
    Route("/sessions/{eid}/timeline.json", session_timeline),
    Route("/sessions/{eid}/raster", session_raster),
    Route("/sessions/{eid}/mean", session_mean),
    Route("/sessions/{eid}/cells/{fov:int}/{roi:int}", cell),
    Route("/sessions/{eid}/cells/{fov:int}/{roi:int}/trace.json", cell_trace),
    Route("/sessions/{eid}/cells/{fov:int}/{roi:int}/{pair}.svg", cell_averages),
    Route("/tracking", tracking),
    Route("/tracking.csv", tracking_csv),
    Route("/ndc", ndc),
    Route("/ndc.csv", ndc_csv),
    Route("/ndc.svg", ndc_svg),
    Route("/k_star.svg", k_star_svg),
    Route("/performance.svg", performance_svg),
    Mount("/static", StaticFiles(directory=HERE / "static")),
]


def application(hosts: Sequence[str] = LOOPBACK) -> Starlette:
    """Return the web application; the tables must be active.

    Parameters
    ----------
    hosts : sequence of str
        Names by which browsers may ask for it: a page elsewhere on the web cannot have a name of its own lead here.
    """

    @asynccontextmanager
    async def begin(app: Starlette) -> Any:
        warm = asyncio.create_task(ask(queries.home))  # DataJoint asks for the definitions of all tables the first time
        yield
        warm.cancel()

    return Starlette(
        routes=ROUTES,
        lifespan=begin,
        middleware=[
            Middleware(Guarded),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5),
        ],
        exception_handlers={
            DataError: _missing, ConfigError: _unusable, HTTPException: _refused, ValueError: _asked_wrongly,
            Exception: _failed,
        },
    )  # fmt: skip


def serve(host: str, port: int, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Serve the pages until stopped.

    Parameters
    ----------
    host : str
        Address to listen at.
    port : int
        0 for any that is free.
    names : sequence of str
        By which browsers may ask for it; by default those of loopback, or any if others than this machine can reach it.
    say : callable
        Told the address.

    Raises
    ------
    ConfigError
        Another program has the port, or the address is none of this machine.
    """
    only_read(schemas.activate())
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(
            f"Cannot listen at {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from error
    say(f"http://{host}:{listening.getsockname()[1]}")
    app = application(names or (LOOPBACK if host in LOOPBACK else ["*"]))
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listening])
