"""Requests to ONE's servers: what may pass is tried again, and what does not is an error that says what to do."""

from __future__ import annotations

import functools
import json
import socket
import urllib.error
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from types import ModuleType
from typing import Any, TypeVar

import tenacity

from pipeline.errors import ConfigError

T = TypeVar("T")

#: Seconds before the second, third, ... try; up to twice as long, at random, so that workers do not return together.
WAITS = (1.0, 5.0, 20.0)
#: Seconds without a byte after which a download is given up; ONE itself would wait for ever.
STALLED = 120.0
#: Seconds for connecting to Alyx, and without a byte of its answer, after which a request is given up.
ANSWER = (10.0, 60.0)
#: The functions of requests that send one.
VERBS = frozenset(("get", "post", "put", "patch", "delete", "head", "options", "request"))
#: Answers that another try may not get. ONE itself tries again for minutes where Alyx answers 429 or 503.
PASSING = (408, 429, 500, 502, 503, 504)


class ServerAway(ConfigError):
    """A server of ONE is away or busy, also after several tries."""


class CutOff(ConnectionError):
    """A download is shorter or longer than the file that is listed."""


def is_remote(one: Any) -> bool:
    """Return whether a ONE client asks a database, rather than the tables of a folder."""
    return not getattr(one, "offline", True)


def ask(one: Any, call: Callable[[], T], *, once: bool = False) -> T:
    """Return what a call to a ONE client returns, after several tries if its servers are away or busy.

    Without a database it is simply called.

    Parameters
    ----------
    one : ONE client
    call : callable
        Without arguments.
    once : bool
        Do not try again.

    Raises
    ------
    ConfigError
        The login is refused, or a server still is away or busy (``ServerAway``). Other errors of the call, such as
        404, are left as they are.
    """
    if not is_remote(one):
        return call()
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: _passes(error) and not _tried_by_one(error)),
        stop=tenacity.stop_after_attempt(1 if once else 1 + len(WAITS)),
        wait=tenacity.wait_chain(*(tenacity.wait_random(seconds, 2 * seconds) for seconds in WAITS)),
        reraise=True,
    )
    with warnings.catch_warnings():
        # ONE's hint how to log in; the error below has it
        warnings.filterwarnings("ignore", message="No password, token or cached token")
        try:
            return tries(call)
        except (OSError, HTTPException, ValueError) as error:
            if refused := _refusal(one, error):
                raise ConfigError(refused) from error
            if _passes(error):
                raise ServerAway(_away(one, error)) from error
            raise


class _Impatient(ModuleType):
    """The package requests, whose requests are given up after ``ANSWER`` unless they have a limit of their own."""

    def __getattr__(self, name: str) -> Any:
        import requests

        found = getattr(requests, name)
        return _limited(found) if name in VERBS else found


def _limited(send: Callable[..., T]) -> Callable[..., T]:
    # wraps: ONE looks at the function's name
    @functools.wraps(send)
    def limited(*arguments: Any, **options: Any) -> T:
        return send(*arguments, **{"timeout": ANSWER, **options})

    return limited


def limit_waiting() -> None:
    """Have ONE's clients give up requests that Alyx does not answer, with a ``requests.Timeout``.

    ONE has no setting for it, and would wait for ever. Only what its own module calls requests is replaced.
    """
    import one.webclient

    if not isinstance(one.webclient.requests, _Impatient):
        one.webclient.requests = _Impatient("requests")


def is_away(error: BaseException | None) -> bool:
    """Return whether an error or its cause is that a server of ONE is away or busy."""
    while error is not None and not isinstance(error, ServerAway):
        error = error.__cause__
    return error is not None


@contextmanager
def giving_up_stalled() -> Iterator[None]:
    """Give up downloads that stall while the block runs, with a ``TimeoutError``."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED)  # urllib, with which ONE downloads, has no other limit
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error of requests or urllib, None if there was no answer."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _refusal(one: Any, error: Exception) -> str | None:
    """Return what to do about a refused login, None if the error is another."""
    status, alyx = status_of(error), one.alyx.base_url
    if isinstance(error, urllib.error.HTTPError):
        if status not in (401, 403):
            return None
        return (
            f"The file server refuses {error.url} ({status}). Set HTTP_DATA_SERVER_LOGIN and HTTP_DATA_SERVER_PWD of "
            f"ONE with ONE.setup(), or ask the database's administrator for the right to read the file"
        )
    is_login = str(getattr(getattr(error, "response", None), "url", "")).endswith("/auth-token")
    if status in (401, 403) or (status == 400 and is_login) or "No Alyx username" in str(error):
        user = getattr(one.alyx._par, "ALYX_LOGIN", "") or "no user"
        return (
            f"Alyx at {alyx} refuses the login of {user}: the token has expired or the password is wrong. Log in once "
            f"in Python, then run this again: from one.api import ONE; ONE(base_url={alyx!r}, username=..., "
            f"password=...), or with token=... instead of the password"
        )
    return None


def _passes(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    import requests

    status = status_of(error)
    if status is not None:
        return status in PASSING
    kinds = (requests.RequestException, urllib.error.URLError, ConnectionError, TimeoutError, HTTPException)
    # JSON: the page of a proxy or of a network's login. A file that was there: another process downloads it too.
    return isinstance(error, (*kinds, json.JSONDecodeError, FileNotFoundError))


def _tried_by_one(error: BaseException) -> bool:
    return status_of(error) in (429, 503) and not isinstance(error, urllib.error.HTTPError)


def _away(one: Any, error: Exception) -> str:
    """Return what to do about a server that is away or busy."""
    status, server = status_of(error), f"Alyx at {one.alyx.base_url}"
    if isinstance(error, (urllib.error.URLError, CutOff, TimeoutError)):
        server = "The file server of ONE"
    if status == 429:
        return f"{server} gets too many requests (429). Wait some minutes, then run this again with fewer workers"
    reason = f"answers {status}" if status else f"does not answer ({_short(error)})"
    if isinstance(error, CutOff):
        reason = f"sends an incomplete file ({error})"
    return (
        f"{server} {reason}, also when asked again. Run this again later: what is downloaded is kept. If it stays so, "
        f"check the network, or tell the database's administrator"
    )


def _short(error: Exception) -> str:
    """Return the kind of a network error: its message is long, and names objects in memory."""
    return type(getattr(error, "reason", None) or error).__name__
