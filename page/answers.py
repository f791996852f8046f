"""Answers to a browser: pages, figures, tables and the bytes of rasters."""

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
from schemas.provenance import environment_row
from schemas.server.settings import prefix

HERE = Path(__file__).parent
#: What has its version in its address never changes.
FOREVER = {"cache-control": "private, max-age=604800, immutable"}
#: What may change with the rest of the database, such as tracked cells.
BRIEFLY = {"cache-control": "private, max-age=60"}
#: A browser on the same machine takes it faster than the server compresses it.
AS_IT_IS = {"content-encoding": "identity"}
#: Figures that have been drawn, by what they show; no more than this are kept.
FIGURES = 200
_figures: dict[str, bytes] = {}


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


def csv(table: pd.DataFrame, name: str) -> Response:
    """Return a table as a file to save."""
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return Response(table.to_csv(index=False), media_type="text/csv", headers={"content-disposition": disposition})


def part(view: View) -> Response:
    """Return part of a raster as bytes, row by row; headers say how many rows there are and what the edges are."""
    edges = {"rows": view.rows, "frames": view.frames, "shape": view.values.shape}
    headers = {f"x-{name}": ",".join(map(str, pair)) for name, pair in edges.items()}
    media_type = "application/octet-stream"
    return Response(view.values.tobytes(), media_type=media_type, headers=headers | FOREVER | AS_IT_IS)


async def svg(read: Callable[[], tuple[str, drawing.Draw]]) -> Response:
    """Return a figure: what it needs is read by the thread of the database, and drawn by that of drawing."""
    key, call = await ask(read)
    if key not in _figures:
        while len(_figures) >= FIGURES:
            _figures.pop(next(iter(_figures)))
        _figures[key] = await draw(drawing.svg, call)
    return Response(_figures[key], media_type="image/svg+xml", headers=BRIEFLY)
