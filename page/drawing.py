"""Figures of the pages as SVG: the same drawing code as in notebooks and files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from drawing import curves
from drawing.cells import averages, frame_bins, trials_to_average
from pipeline import figures
from pipeline.errors import NotFoundError
from pipeline.signals.peri_event import EVENT_NAMES, WINDOWS
from schemas.decoding.results import NDCRun, stored_run
from schemas.imaging.activity import activity
from schemas.imaging.tables import FOV, ROI
from schemas.queries.ids import known_as
from schemas.rows import content_key
from schemas.session import Behavior, unchanged

#: Draws a figure from data that have been read; called in the thread that draws.
Draw = Callable[[], Figure]
#: Time range of a cell's averages, s from the event.
AROUND = (-1.0, 1.5)
#: Trial windows that a cell's page compares, by the name in the address of the figure.
PAIRS = {
    "choice": ("choiceL", "choiceR"),
    "feedback": ("fback1", "fback0"),
    "block": ("blockL", "blockR"),
}


def _key(kind: str, run: NDCRun, width: str | None) -> str:
    """Return a hash of all numbers that a figure of curves may show: the key of the drawn figure.

    Keys of the results are not enough: computed again, from other files, a result has the same key.
    """
    shown = [kind, width, run.session_set, run.curves, run.trends, run.day_trends]
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=_digest).encode()).hexdigest()[:32]


def _digest(value: Any) -> str:
    """Return a text for what JSON does not have: the hash of an array, a date as it is written."""
    return hashlib.sha256(value.tobytes()).hexdigest() if isinstance(value, np.ndarray) else str(value)


def svg(draw: Draw) -> bytes:
    """Draw a figure and return it as SVG, with its text as text."""
    buffer = io.BytesIO()
    # without the date, so that the same figure is the same bytes
    draw().savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def chosen_run(session_set: str, params: Sequence[str], eids: Sequence[str] = ()) -> NDCRun:
    """Return stored curves, of all sessions of the set or only of ``eids``.

    Raises
    ------
    NotFoundError
        No curve is stored for these sessions and settings.
    """
    run = stored_run(session_set, params, [known_as(eid) for eid in eids])
    if not any(run.curves.values()):
        raise NotFoundError("no curves are stored for this choice", do="Choose other sessions or settings")
    return run


def ndc_overlay(
    session_set: str, params: Sequence[str], eids: Sequence[str], width: str | None = None
) -> tuple[str, Draw]:
    """Return the key of the figure of curves for the first settings, and the call that draws it."""
    run = chosen_run(session_set, params[:1], eids)
    return _key("curves", run, width), partial(curves.overlay, run, run.targets[0], width)


def k_star_days(
    session_set: str, params: Sequence[str], eids: Sequence[str], width: str | None = None
) -> tuple[str, Draw]:
    """Return the key of the figure of k* over days, and the call that draws it."""
    run = chosen_run(session_set, params, eids)
    return _key("days", run, width), lambda: cast(Figure, curves.days(run, width))  # never None: chosen_run has curves


def performance(
    session_set: str, params: Sequence[str], eids: Sequence[str], width: str | None = None
) -> tuple[str, Draw]:
    """Return the key of the figure of scores against behavioural performance, and the call that draws it."""
    run = chosen_run(session_set, params, eids)
    return _key("performance", run, width), lambda: cast(Figure, curves.performance(run, width))


def cell_averages(eid: str, fov: int, roi: int, pair: str, width: str | None = None) -> tuple[str, Draw]:
    """Return the key of the figure of a ROI's averages around an event, and the call that draws it.

    Raises
    ------
    NotFoundError
        There is no such pair of windows, the ROI has no activity, or the session has no trials.
    DataError
        Files of the session were read again meanwhile.
    """
    if pair not in PAIRS:
        raise NotFoundError(f"there are no averages named {pair}", expected=f"one of {', '.join(PAIRS)}")
    with unchanged(eid, FOV, Behavior):
        found, trials = activity(ROI & {"eid": eid, "fov": fov, "roi": roi}), trials_to_average(eid)
    ((_, lines),) = averages(found, trials, PAIRS[pair], frame_bins(found, AROUND)).items()  # of one cell
    # repr, as content_key refuses NaN, which JSON does not have
    values = [[line.label, line.n_trials.tolist(), repr(line.mean.tolist())] for line in lines]
    window = WINDOWS[PAIRS[pair][0]]
    return content_key([eid, fov, roi, pair, width, values]), lambda: figures.peri_event_lines(
        {pair: lines},
        event=EVENT_NAMES[window.event],
        unit=str(found.signal[0]),
        window=(window.start, window.end),
        width=width,
    )
