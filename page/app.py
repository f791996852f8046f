"""The pages as a web application: it reads, on one connection that the server lets read only, and answers GET alone.

An address that cannot be is answered with 400, what is not there with 404, a database that does not answer with 503.
All else is a fault of ours or damage to the data: it is logged, and answered with 500.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import schemas
from page import queries
from page.addresses import BadRequest
from page.answers import html
from page.routes import ROUTES
from page.threads import ask
from pipeline.errors import ConfigError, DataError, NotFoundError
from schemas.server.reconnection import is_passing, only_read

LOOPBACK = ("127.0.0.1", "localhost")
#: Nothing but what this server sends is run, shown or asked for.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def _told(request: Request, status: int, title: str, text: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{title}. {text}", status)
    return html("error.html", status, title=title, text=text)


async def _asked_wrongly(request: Request, error: Exception) -> Response:
    return _told(request, 400, "That cannot be shown", str(error))


async def _missing(request: Request, error: Exception) -> Response:
    return _told(request, 404, "Not found", str(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {404: "There is no such page.", 405: "This page only reads: GET is the one method it knows."}
    return _told(request, error.status_code, error.detail, texts.get(error.status_code, ""))


async def _unusable(request: Request, error: Exception) -> Response:
    return _told(request, 503, "The database cannot be used", str(error))


async def _damaged(request: Request, error: Exception) -> Response:
    _log(request, error)
    return _told(request, 500, "The data cannot be shown", str(error))


async def _failed(request: Request, error: Exception) -> Response:
    if is_passing(error):
        do = "Try again in a moment. 'meso db status' says whether it runs; 'meso db start' starts the embedded one."
        return _told(request, 503, "The database does not answer", do)
    _log(request, error)
    return _told(request, 500, "This page failed", f"{type(error).__name__}; the terminal of meso serve says more.")


def _log(request: Request, error: Exception) -> None:
    logging.getLogger(__name__).error("%s %s", request.method, request.url, exc_info=error)


class Guarded:
    """Adds the headers that keep a browser from anything but this server, to answers of any kind."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, guarded)


class WithoutNul:
    """Refuses addresses with the character 0: PostgreSQL's driver takes no such text, and no name has it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            answer = await _asked_wrongly(Request(scope), BadRequest("an address has no character 0"))
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def application(hosts: Sequence[str] = LOOPBACK) -> ASGIApp:
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

    app = Starlette(
        routes=ROUTES,
        lifespan=begin,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5),
            Middleware(WithoutNul),
        ],
        exception_handlers={
            BadRequest: _asked_wrongly, NotFoundError: _missing, DataError: _damaged, ConfigError: _unusable,
            HTTPException: _refused, Exception: _failed,
        },
    )  # fmt: skip
    # around it all: Starlette answers for an unforeseen error outside the middleware that it is given
    return Guarded(app)


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
