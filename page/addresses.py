"""Parse the addresses (URLs) of requests. An invalid one is the client's mistake: answered with 400 and not logged."""

from __future__ import annotations

import math

from starlette.requests import Request

from pipeline.errors import MesoError
from pipeline.figures.style import WIDTHS


class BadRequest(MesoError):
    """An address is invalid; one that is valid but names something missing is a ``NotFoundError``."""


def numbers(name: str, text: str, form: str, example: str) -> list[float]:
    """Return the numbers in a text of a form such as 'from:to'.

    Raises
    ------
    BadRequest
        The text has another form, or a number is infinite or NaN.

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
    # the form says how many numbers there are
    if len(found) != form.count(separator) + 1:
        raise BadRequest(f"{name} are {form}, such as {example}, not {text!r}")
    if not all(map(math.isfinite, found)):
        raise BadRequest(f"{name} are finite numbers, such as {example}, not {text!r}")
    return found


def span(request: Request, name: str) -> tuple[float, float]:
    """Return the bounds of a range from:to; the first is less than the second."""
    text = request.query_params.get(name, "")
    first, last = numbers(name, text, "from:to", "0:500")
    if not first < last:
        raise BadRequest(f"{name} are from a number to a larger one, not {text!r}")
    return first, last


def whole(request: Request, name: str, most: int) -> int:
    """Return a whole number of pixels from 1 to ``most``."""
    text = request.query_params.get(name, "")
    # cut to 9 digits, more than any limit: int() of a very long text would raise
    if not (text.isdecimal() and 1 <= int(text[:9]) <= most):
        raise BadRequest(f"{name} is a number from 1 to {most}, not {text!r}")
    return int(text)


def roi(request: Request) -> tuple[str, int, int]:
    """Return session id, FOV and ROI number from the path of an address."""
    return request.path_params["eid"], request.path_params["fov"], request.path_params["roi"]


def named(request: Request, name: str) -> str:
    """Return a parameter that an address must have, such as the subject."""
    if not (found := request.query_params.get(name)):
        raise BadRequest(f"the address has no {name}: add ?{name}=...")
    return found


def curves(request: Request) -> tuple[str, list[str], list[str]]:
    """Return session set, keys of settings, and the ids of the sessions to show; no ids stand for all sessions."""
    query = request.query_params
    return named(request, "set"), query.getlist("params"), query.getlist("eid")


def width(request: Request) -> str | None:
    """Return the width of a figure: single, double, or None for its own."""
    asked = request.query_params.get("width")
    if asked not in (None, *WIDTHS):
        raise BadRequest(f"width is {' or '.join(WIDTHS)}, not {asked!r}")
    return asked
