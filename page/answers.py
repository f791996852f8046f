"""Responses to a browser: pages, figures, tables and the bytes of rasters."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
from starlette.responses import HTMLResponse, Response

from page import drawing, formats
from page.threads import ask, draw
from pipeline.signals.tiles import View
from pipeline.text import csv_text
from schemas.provenance import environment_row
from schemas.server.settings import prefix

HERE = Path(__file__).parent
#: Cache headers for content whose address contains its version: it never changes.
FOREVER = {"cache-control": "private, max-age=604800, immutable"}
#: Cache headers for content that may change with other tables, such as tracked cells.
BRIEFLY = {"cache-control": "private, max-age=60"}
#: Keeps the gzip middleware from compressing rasters: compressing takes longer than sending to a browser nearby.
UNCOMPRESSED = {"content-encoding": "identity"}
#: Most drawn figures kept in memory; the oldest is dropped first.
MAX_FIGURES = 200
#: SVG of drawn figures, by the key of what they show.
_figures: dict[str, bytes] = {}


@lru_cache(maxsize=1)
def templates() -> jinja2.Environment:
    """Return the templates; all values from the database are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(formats.FILTERS)
    # StrictUndefined: a misspelt name in a template is an error, not an empty text
    environment.globals.update(version=version("meso"), commit=environment_row()["git_commit"][:9], prefix=prefix())
    return environment


def html(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page."""
    return HTMLResponse(templates().get_template(template).render(**values), status)


def csv(table: pd.DataFrame, name: str) -> Response:
    """Return a table as a CSV file that the browser saves under a name."""
    # filename* with percent-encoding (RFC 6266): a subject's name may have any character
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(csv_text(table), media_type="text/csv", headers={"content-disposition": disposition})


def part(view: View) -> Response:
    """Return part of a raster as bytes, row by row; the headers x-rows, x-frames and x-shape hold edges and shape."""
    edges = {"rows": view.rows, "frames": view.frames, "shape": view.values.shape}
    headers = {f"x-{name}": ",".join(map(str, pair)) for name, pair in edges.items()}
    media_type = "application/octet-stream"
    return Response(view.values.tobytes(), media_type=media_type, headers=headers | FOREVER | UNCOMPRESSED)


async def svg(read: Callable[[], tuple[str, drawing.Draw]]) -> Response:
    """Return a figure as SVG, from memory if it was drawn before; read and drawn in the threads of ``page.threads``."""
    key, call = await ask(read)
    if key not in _figures:
        while len(_figures) >= MAX_FIGURES:
            # a dict keeps the order of insertion: its first key is the oldest
            _figures.pop(next(iter(_figures)))
        _figures[key] = await draw(drawing.svg, call)
    return Response(_figures[key], media_type="image/svg+xml", headers=BRIEFLY)
