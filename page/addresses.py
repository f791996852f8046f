"""What an address asks for. One that cannot be is the browser's mistake: it is answered with 400 and not logged."""

from __future__ import annotations

from starlette.requests import Request

from pipeline.errors import MesoError


class BadRequest(MesoError):
    """An address asks for what cannot be; what it names and is not there is a ``NotFoundError``."""


def numbers(name: str, text: str, form: str, example: str) -> list[float]:
    """Return the numbers in a text of a form such as 'from:to'; they may be infinite, or NaN.

    Examples
    --------
    >>> numbers("rows", "20:70", "from:to", "0:500")
    [20.0, 70.0]
    """
    separator = ":" if ":" in form else ","
    try:
        found = [float(part) for part in text.split(separator)]
    except ValueError:
        found = []
    if len(found) != form.count(separator) + 1:
        raise BadRequest(f"{name} are {form}, such as {example}, not {text!r}")
    return found


def span(request: Request, name: str) -> tuple[float, float]:
    """Return what stands as from:to in an address."""
    text = request.query_params.get(name, "")
    first, last = numbers(name, text, "from:to", "0:500")
    if not first < last:  # nor NaN
        raise BadRequest(f"{name} are from a number to a larger one, not {text!r}")
    return first, last


def whole(request: Request, name: str, most: int) -> int:
    """Return a number of pixels."""
    text = request.query_params.get(name, "")
    if not (text.isdecimal() and 1 <= int(text[:9]) <= most):
        raise BadRequest(f"{name} is a number from 1 to {most}, not {text!r}")
    return int(text)


def roi(request: Request) -> tuple[str, int, int]:
    """Return session, FOV and number of the ROI that an address names."""
    return request.path_params["eid"], request.path_params["fov"], request.path_params["roi"]


def named(request: Request, name: str) -> str:
    """Return what an address has to name, such as a subject."""
    if not (found := request.query_params.get(name)):
        raise BadRequest(f"the address names no {name}: it ends in ?{name}=...")
    return found


def curves(request: Request) -> tuple[str, list[str], list[str]]:
    """Return set of sessions, settings, and the sessions to show, none for all."""
    query = request.query_params
    return named(request, "set"), query.getlist("params"), query.getlist("eid")
