"""The web application: answers GET and HEAD, and reads through connections that the database keeps read-only.

Status codes: 400 for an invalid address, 404 for something that does not exist, 503 if the database does not answer,
or not in time.
Anything else is a bug or damaged data: it is logged and answered with 500.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, suppress
from types import FrameType
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
from schemas.server.by_thread import by_thread
from schemas.server.reconnection import is_passing, is_too_slow, only_read

LOOPBACK = ("127.0.0.1", "localhost")
#: A longer query is stopped: all requests share a few connections, and would wait for it.
QUERY_SECONDS = 20.0
#: Browsers load, run and show nothing but what this server sends, and other sites cannot embed the page.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def _error_page(request: Request, status: int, title: str, text: str) -> Response:
    """Return an error as a page, or as plain text to a script that did not ask for HTML."""
    # a browser asks for HTML; the page's own scripts and curl do not
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{title}. {text}", status)
    return html("error.html", status, title=title, text=text)


async def _bad_request(request: Request, error: Exception) -> Response:
    return _error_page(request, 400, "Invalid address", str(error))


async def _missing(request: Request, error: Exception) -> Response:
    return _error_page(request, 404, "Not found", str(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {404: "There is no such page.", 405: "This page is read-only: only GET and HEAD are allowed."}
    return _error_page(request, error.status_code, error.detail, texts.get(error.status_code, ""))


async def _unusable(request: Request, error: Exception) -> Response:
    return _error_page(request, 503, "The database cannot be used", str(error))


async def _damaged(request: Request, error: Exception) -> Response:
    _log(request, error)
    return _error_page(request, 500, "The data cannot be shown", str(error))


async def _failed(request: Request, error: Exception) -> Response:
    if is_passing(error):
        do = "Try again in a moment. 'meso db status' shows if it runs; 'meso db start' starts the embedded one."
        return _error_page(request, 503, "The database does not answer", do)
    _log(request, error)
    if is_too_slow(error):
        do = (
            "Another try may be quicker. If not, the server's statistics may be out of date: 'meso db init' renews "
            "MySQL's, ANALYZE those of PostgreSQL."
        )
        return _error_page(request, 503, f"The database took longer than {QUERY_SECONDS:.0f} s", do)
    return _error_page(
        request, 500, "This page failed", f"{type(error).__name__}; the terminal of meso serve shows the traceback."
    )


def _log(request: Request, error: Exception) -> None:
    logging.getLogger(__name__).error("%s %s", request.method, request.url, exc_info=error)


class SecurityHeaders:
    """Middleware that adds ``HEADERS`` to every response, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class RefuseNul:
    """Middleware that refuses addresses with the character 0: no name contains it, and PostgreSQL's driver raises."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            response = await _bad_request(Request(scope), BadRequest("an address cannot contain the character 0"))
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def application(hosts: Sequence[str] = LOOPBACK) -> ASGIApp:
    """Return the web application; ``schemas.activate`` must have been called.

    Parameters
    ----------
    hosts : sequence of str
        Host names that requests may use. Others are refused, so that a foreign web page cannot read this one through a
        name that it has pointed to this machine (DNS rebinding).
    """

    @asynccontextmanager
    async def begin(app: Starlette) -> Any:
        # DataJoint reads the definition of a table at its first query: before several threads may ask at once
        with suppress(Exception):  # reported when a page is requested
            await ask(queries.home)
        yield

    app = Starlette(
        routes=ROUTES,
        lifespan=begin,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5),
            Middleware(RefuseNul),
        ],
        exception_handlers={
            BadRequest: _bad_request, NotFoundError: _missing, DataError: _damaged, ConfigError: _unusable,
            HTTPException: _refused, Exception: _failed,
        },
    )  # fmt: skip
    # outside of Starlette, which answers unexpected errors outside of its own list of middleware
    return SecurityHeaders(app)


class _Server(uvicorn.Server):
    """uvicorn's server, which notes the signal that stops it."""

    signal = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, at a signal."""
        self.signal = sig
        super().handle_exit(sig, frame)


def serve(host: str, port: int, names: Sequence[str], say: Callable[[str], None]) -> int:
    """Serve the pages until a signal stops the process, and return its number.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        0 for any free port.
    names : sequence of str
        Host names that requests may use; by default those of loopback, or any if ``host`` is reachable from outside.
    say : callable
        Called with the address (URL) of the page once it listens.

    Raises
    ------
    ConfigError
        The port is in use, or the address is not one of this machine's.
    """
    # activated first: an embedded database may have to be migrated, which writes
    connection = schemas.activate()
    only_read(connection, QUERY_SECONDS)
    by_thread(connection)
    try:
        # bound here and not by uvicorn: a port in use is then an error of ours, and port 0 has a number to show
        listening = socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from error
    say(f"http://{host}:{listening.getsockname()[1]}")
    app = application(names or (LOOPBACK if host in LOOPBACK else ["*"]))
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    server = _Server(config)
    try:
        server.run(sockets=[listening])
    except (KeyboardInterrupt, SystemExit):
        if not server.signal:
            raise  # otherwise uvicorn has sent the signal again, after it closed all connections
    return server.signal
