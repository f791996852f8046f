"""The response to each address; each reads only what it shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any

import pandas as pd
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from page import addresses, answers, drawing, formats, queries
from page.answers import as_json, encoding_of, html
from page.rasters import Raster, Rasters
from page.threads import Ahead, Shared, ask
from pipeline.errors import NotFoundError
from pipeline.reading.names import SessionName, session_name
from schemas.queries import sessions as listing
from schemas.queries.ids import known_as, session_id

_rasters, _ahead = Rasters(), Ahead()
#: The first page is the same for all who look at it, whose tabs ask for it every few seconds.
_home = Shared(seconds=1.0, most=2)
#: Cells and time line of a raster, up to 1 MB each; a browser keeps them, too: see answers.BRIEFLY.
_of_rasters = Shared(seconds=30.0, most=32)


async def home(request: Request) -> Response:
    """Show the pipeline with its progress, active workers and the newest errors."""
    return await _shared(_home, "home.html", lambda: html("home.html", **queries.home()))


async def live(request: Request) -> Response:
    """Return the part of the first page that home.js refreshes."""
    return await _shared(_home, "live.html", lambda: html("live.html", **queries.home()))


async def _shared(answers: Shared, key: Hashable, make: Callable[[], Response]) -> Response:
    found = await answers.get(key, make)
    # a copy: middleware changes the headers of what it sends
    return Response(found.body, found.status_code, dict(found.headers))


async def sessions(request: Request) -> Response:
    """List all sessions, or those of a subject."""
    subject = request.query_params.get("subject")

    def read() -> Response:
        rows, subjects = listing.sessions(subject), queries.subjects()
        return html("sessions.html", rows=rows, subject=subject, subjects=subjects, named=queries.MAX_NAMED_AREAS)

    return await ask(read)


def by_id(show: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the response to an address with a session in its path; another name than its id is redirected to it."""

    async def response(request: Request) -> Response:
        given = request.path_params["eid"]
        is_id = session_name(given) in (SessionName(eid=given), SessionName())
        return await (show(request) if is_id else _to_id(request, given))

    return response


async def session_by_place(request: Request) -> Response:
    """Redirect an address with subject, date and number of a session to the one with its id."""
    return await _to_id(request, "/".join(request.path_params[name] for name in ("subject", "date", "number")))


async def _to_id(request: Request, given: str) -> Response:
    rest = request.scope["path"].removeprefix(f"/sessions/{given}")
    return RedirectResponse(request.url.replace(path=f"/sessions/{await ask(session_id, given)}{rest}"))


async def session(request: Request) -> Response:
    """Show a session: raster, map, errors, FOVs."""
    eid = request.path_params["eid"]
    embedding = request.query_params.get("embedding")

    def read() -> Response:
        found = queries.session(eid)
        raster = _rasters.open(eid, embedding) if found["embeddings"] or embedding else None
        # who runs the server, or has a tunnel to it, may add what is missing
        is_local = request.client is not None and request.client.host == "127.0.0.1"
        return html(
            "session.html", session=found, raster=raster, outlines=queries.outlines_version(), is_local=is_local
        )

    return await ask(read)


async def outlines(request: Request) -> Response:
    """Return the outlines of the brain and its regions as JSON; the address has their version."""
    return await ask(lambda: as_json(queries.outlines(), request, answers.FOREVER))


async def session_cells(request: Request) -> Response:
    """Return the cells of a raster as JSON."""
    return await _of_raster(request, queries.cells)


async def session_timeline(request: Request) -> Response:
    """Return the clock, wheel and trials of a raster as JSON."""
    return await _of_raster(request, queries.timeline)


async def _of_raster(request: Request, read: Callable[[dict], dict[str, Any]]) -> Response:
    raster = await ask(_raster, request)
    key = read.__name__, raster.version, encoding_of(request)
    return await _shared(_of_rasters, key, lambda: as_json(read(raster.key), request))


async def session_raster(request: Request) -> Response:
    """Return part of a raster as bytes, and begin to read the tiles that are likely to be needed next."""
    rows, frames = addresses.span(request, "rows"), addresses.span(request, "frames")
    pixels = addresses.whole(request, "height", 4000), addresses.whole(request, "width", 8000)

    def read() -> tuple[Raster, Response]:
        raster = _raster(request)
        return raster, answers.part(raster.view(rows, frames, pixels), request)

    _ahead.cancel()
    raster, answer = await ask(read)
    _ahead.begin(raster.ahead(rows, frames, pixels))
    return answer


async def session_mean(request: Request) -> Response:
    """Return the mean activity of the selected cells as float32."""
    frames, width = addresses.span(request, "frames"), addresses.whole(request, "width", 8000)

    def read() -> Response:
        raster = _raster(request)
        return answers.part(raster.mean(raster.chosen(request.query_params), frames, width), request)

    return await ask(read)


def _raster(request: Request) -> Raster:
    return _rasters.open(request.path_params["eid"], request.query_params.get("embedding"))


async def cell(request: Request) -> Response:
    """Show a ROI and its cell on other days."""
    return await ask(lambda: html("cell.html", cell=queries.cell(*addresses.roi(request)), pairs=drawing.PAIRS))


async def cell_trace(request: Request) -> Response:
    """Return times and activity of a ROI as JSON."""
    return await ask(lambda: as_json(queries.trace(*addresses.roi(request)), request))


async def cell_averages(request: Request) -> Response:
    """Draw averages of a ROI around an event."""
    return await answers.svg(
        partial(drawing.cell_averages, *addresses.roi(request), request.path_params["pair"], addresses.width(request))
    )


async def tracking(request: Request) -> Response:
    """Show the tracked cells of a subject."""
    subject, run = addresses.named(request, "subject"), request.query_params.get("run")
    return await ask(lambda: html("tracking.html", tracking=queries.tracking(subject, run)))


async def tracking_csv(request: Request) -> Response:
    """Return the cells that were found in all chosen sessions as CSV, a row for each cell and session."""
    subject, query = addresses.named(request, "subject"), request.query_params
    rows = await ask(queries.shared_cells, subject, query.get("run"), query.getlist("session"))
    columns = ["cell_uid", *queries.DATE, "eid", "fov", "roi", "silhouette"]
    return answers.csv(pd.DataFrame(rows, columns=columns), f"shared_cells_{subject}.csv")


async def tracking_cells(request: Request) -> Response:
    """Return the first cells that were found in all chosen sessions as JSON, with the ROI of each session."""
    subject, query = addresses.named(request, "subject"), request.query_params
    chosen = subject, query.get("run"), query.getlist("session")
    return await ask(lambda: as_json(queries.cells_by_session(*chosen), request))


async def ndc(request: Request) -> Response:
    """Show the curves of a subject for a set of sessions and one or more choices of settings."""
    subject = addresses.named(request, "subject")

    def read() -> Response:
        query = request.query_params
        choices = queries.ndc_choices(subject)
        wanted = list(map(known_as, query.getlist("eid")))
        chosen = _chosen_set(choices, query.get("set"), wanted)
        if chosen is None:
            do = f"Compute them with: meso ndc --subject {subject}"
            raise NotFoundError(f"there are no curves of {subject}", do=do)
        known = [row["ndc_params"] for row in chosen["settings"]]
        params = _known("settings", query.getlist("params"), known)
        eids = _known("session", wanted, chosen["eids"])
        if "ticked" not in query:  # the form was not sent: at first its default is shown
            params, eids = params or chosen["together"], eids or chosen["eids"]
        # all sessions are asked for without ids: only then have the curves their trend, which is of the whole set
        some = eids if len(eids) < len(chosen["eids"]) else ()
        run = drawing.chosen_run(chosen["session_set"], params, some) if params and eids else None
        rows = formats.ndc_rows(run) if run else []
        return html(
            "ndc.html", subject=subject, choices=choices, chosen=chosen, params=params, eids=eids, run=run, rows=rows
        )

    return await ask(read)


def _chosen_set(choices: list[dict], session_set: str | None, eids: list[str]) -> dict | None:
    """Return the set with this key; without one the smallest set with all of ``eids``; without those the first."""
    named = [row for row in choices if row["session_set"] == session_set]
    if session_set and choices and not named:
        raise NotFoundError(f"there is no set of sessions {session_set} with curves", do="Choose one from the list")
    containing = [row for row in choices if eids and set(eids) <= set(row["eids"])]
    return next(iter([*named, *sorted(containing, key=lambda row: row["n_sessions"]), *choices]), None)


def _known(what: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the values that an address asks for, in the order of the known ones; an error if one is unknown."""
    if unknown := [value for value in asked if value not in known]:
        raise NotFoundError(f"the set has no {what} {', '.join(unknown)}", do="Choose from the list")
    return [value for value in known if value in asked]


async def ndc_csv(request: Request) -> Response:
    """Return the table of results as CSV."""
    run = await ask(drawing.chosen_run, *addresses.curves(request))
    return answers.csv(run.table, f"k_star_{run.session_set['session_set'][:8]}.csv")


async def ndc_svg(request: Request) -> Response:
    """Draw the curves of one choice of settings."""
    return await answers.svg(partial(drawing.ndc_overlay, *addresses.curves(request), addresses.width(request)))


async def k_star_svg(request: Request) -> Response:
    """Draw k* over days."""
    return await answers.svg(partial(drawing.k_star_days, *addresses.curves(request), addresses.width(request)))


async def performance_svg(request: Request) -> Response:
    """Draw scores against behavioural performance."""
    return await answers.svg(partial(drawing.performance, *addresses.curves(request), addresses.width(request)))


ROUTES = [
    Route("/", home),
    Route("/live", live),
    Route("/sessions", sessions),
    Route("/sessions/{eid}", by_id(session)),
    Route("/sessions/{eid}/cells.json", by_id(session_cells)),
    Route("/sessions/{eid}/timeline.json", by_id(session_timeline)),
    Route("/sessions/{eid}/raster", by_id(session_raster)),
    Route("/sessions/{eid}/mean", by_id(session_mean)),
    Route("/sessions/{eid}/cells/{fov:int}/{roi:int}", by_id(cell)),
    Route("/sessions/{eid}/cells/{fov:int}/{roi:int}/trace.json", by_id(cell_trace)),
    Route("/sessions/{eid}/cells/{fov:int}/{roi:int}/{pair}.svg", by_id(cell_averages)),
    Route("/sessions/{subject}/{date}/{number}", session_by_place),
    Route("/outlines.json", outlines),
    Route("/tracking", tracking),
    Route("/tracking.csv", tracking_csv),
    Route("/tracking/cells.json", tracking_cells),
    Route("/ndc", ndc),
    Route("/ndc.csv", ndc_csv),
    Route("/ndc.svg", ndc_svg),
    Route("/k_star.svg", k_star_svg),
    Route("/performance.svg", performance_svg),
    Mount("/static", StaticFiles(directory=answers.HERE / "static")),
]
