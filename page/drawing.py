"""Figures of the pages as SVG: the same drawing code as in notebooks and files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from matplotlib.figure import Figure

from drawing import curves
from drawing.cells import averages, frame_bins, trials_to_average
from pipeline import figures
from pipeline.errors import NotFoundError
from pipeline.signals.peri_event import EVENT_NAMES, WINDOWS
from schemas.decoding.results import NDCRun, stored_run
from schemas.imaging.activity import activity
from schemas.imaging.tables import ROI
from schemas.rows import content_key

#: Makes a figure from what has been read already.
Draw = Callable[[], Figure]
#: Seconds from the event.
AROUND = (-1.0, 1.5)
#: Pairs of trial windows that a cell's page shows.
PAIRS = {
    "choice": ("choiceL", "choiceR"),
    "feedback": ("fback1", "fback0"),
    "block": ("blockL", "blockR"),
}


def _key(kind: str, run: NDCRun) -> str:
    """Return what names a figure of curves: what it shows, and by which software that was computed."""
    rows = [
        [row["eid"], row["ndc_params"], row["environment"], row["n_compared"], row["q_value"]]
        for results in run.curves.values() for row in results
    ]  # fmt: skip
    return content_key([kind, run.session_set["session_set"], rows, sorted(run.trends)])


def svg(draw: Draw) -> bytes:
    """Draw a figure, and return it as SVG, its text as text."""
    buffer = io.BytesIO()
    draw().savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def chosen_run(session_set: str, params: Sequence[str], eids: Sequence[str] = ()) -> NDCRun:
    """Return stored curves, of some sessions only if any are named.

    Raises
    ------
    NotFoundError
        There are no such curves.
    """
    run = stored_run(session_set, params, eids)
    if not any(run.curves.values()):
        raise NotFoundError("there are no such curves", do="Choose other sessions or settings")
    return run


def ndc_overlay(session_set: str, params: Sequence[str], eids: Sequence[str]) -> tuple[str, Draw]:
    """Return the figure of the curves of one choice of settings, and its key."""
    run = chosen_run(session_set, params[:1], eids)
    return _key("curves", run), partial(curves.overlay, run, run.targets[0])


def k_star_days(session_set: str, params: Sequence[str], eids: Sequence[str]) -> tuple[str, Draw]:
    """Return the figure of k* over days, and its key."""
    run = chosen_run(session_set, params, eids)
    return _key("days", run), lambda: cast(Figure, curves.days(run))  # there are curves


def performance(session_set: str, params: Sequence[str], eids: Sequence[str]) -> tuple[str, Draw]:
    """Return the figure of scores against behavioural performance, and its key."""
    run = chosen_run(session_set, params, eids)
    return _key("performance", run), lambda: cast(Figure, curves.performance(run))


def cell_averages(eid: str, fov: int, roi: int, pair: str) -> tuple[str, Draw]:
    """Return the figure of the averages of a ROI around an event, for two kinds of trials, and its key.

    Raises
    ------
    NotFoundError
        The ROI has no activity, or the session no trials.
    """
    if pair not in PAIRS:
        raise NotFoundError(f"no averages are called {pair}", expected=f"one of {', '.join(PAIRS)}")
    found, trials = activity(ROI & {"eid": eid, "fov": fov, "roi": roi}), trials_to_average(eid)
    ((_, lines),) = averages(found, trials, PAIRS[pair], frame_bins(found, AROUND)).items()  # of one cell
    values = [[line.label, line.n_trials.tolist(), repr(line.mean.tolist())] for line in lines]
    window = WINDOWS[PAIRS[pair][0]]
    return content_key([eid, fov, roi, pair, values]), lambda: figures.peri_event_lines(
        {pair: lines}, event=EVENT_NAMES[window.event], unit=str(found.signal[0]), window=(window.start, window.end)
    )
