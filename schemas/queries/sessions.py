"""The list of registered sessions with what is known of each, and the trial events of a session."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import datajoint as dj
import numpy as np

from pipeline.errors import ConfigError, NotFoundError
from pipeline.signals.peri_event import EVENT_NAMES, event_times
from schemas.imaging.tables import FOV, BrainRegion
from schemas.queries import ids
from schemas.queries.errors import errors_by_session
from schemas.queries.tracking_runs import latest_tracking_runs
from schemas.session import Behavior, FOVFolder, Session, SessionTag, trials_of
from schemas.tracking import TrackedFOV


def sessions(
    subject: str | None = None, *, eid: str | None = None, tag: str | None = None
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a summary of each session, of all, of one subject, eid or tag, ordered by subject and date.

    At most eight statements, and one more for a tag.

    Returns
    -------
    list of dict
        eid, subject, session_date, session_number, task_protocol; n_folders (FOV folders in ONE), n_fovs (FOVs read);
        n_rois, n_neurons; areas (list of Beryl acronym and number of neurons, the largest first); regions (acronyms);
        n_trials, performance; n_tracked (ROIs in the subject's latest tracking run); n_errors (failed jobs). Values
        that are not in the database yet are None.

    Raises
    ------
    NotFoundError
        The subject has no registered session, or none has the tag.
    """
    named = {"subject": subject, "eid": eid}
    restriction: Any = {name: value for name, value in named.items() if value is not None}
    if tag is not None:
        restriction = [{"eid": one} for one in session_ids(subject=subject, tag=tag)]
    rows = (Session & restriction).proj("subject", "session_date", "session_number", "task_protocol").to_dicts(
        order_by="subject, session_date, session_number"
    )  # fmt: skip
    if subject is not None and not rows:
        raise NotFoundError(
            f"no session of {subject} is registered",
            do=f"{''.join(ids.similar([subject]))}Register them with: meso ingest --subject {subject}",
        )
    by_eid = dj.U("eid")
    own = Session.proj() & restriction
    found = {
        "folders": by_eid.aggr(FOVFolder & own, n_folders="count(*)"),
        "fovs": by_eid.aggr(FOV & own, n_fovs="count(*)", all_rois="sum(n_rois)", all_neurons="sum(n_neurons)"),
        "behavior": (Behavior & own).proj("n_trials", "performance"),
        "tracked": by_eid.aggr(TrackedFOV & own & latest_tracking_runs(subject), all_tracked="sum(n_tracked)"),
    }
    columns = {name: {row["eid"]: row for row in query.to_dicts()} for name, query in found.items()}
    areas, n_errors = _areas(own), errors_by_session()
    return [
        {
            **row,
            "n_folders": columns["folders"].get(row["eid"], {}).get("n_folders", 0),
            "n_fovs": columns["fovs"].get(row["eid"], {}).get("n_fovs", 0),
            "n_rois": _int(columns["fovs"].get(row["eid"], {}).get("all_rois")),
            "n_neurons": _int(columns["fovs"].get(row["eid"], {}).get("all_neurons")),
            "areas": areas.get(row["eid"], ([], []))[0],
            "regions": areas.get(row["eid"], ([], []))[1],
            "n_trials": columns["behavior"].get(row["eid"], {}).get("n_trials"),
            "performance": columns["behavior"].get(row["eid"], {}).get("performance"),
            "n_tracked": _int(columns["tracked"].get(row["eid"], {}).get("all_tracked")),
            "n_errors": n_errors[row["eid"]],
        }
        for row in rows
    ]


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _areas(own: dj.QueryExpression) -> dict[str, tuple[list[tuple[str, int]], list[str]]]:
    """Return by eid the areas (Beryl acronym and number of neurons, the largest first) and the acronyms of the regions.

    One statement.
    """
    inside = (FOV.Region & own) * BrainRegion.proj("beryl", "acronym")
    areas: dict[str, Counter] = defaultdict(Counter)
    acronyms: dict[str, set[str]] = defaultdict(set)
    for row in dj.U("eid", "beryl", "acronym").aggr(inside, n="sum(n_region_neurons)").to_dicts():
        areas[row["eid"]][row["beryl"]] += int(row["n"])
        acronyms[row["eid"]].add(row["acronym"])
    return {eid: (counts.most_common(), sorted(acronyms[eid])) for eid, counts in areas.items()}


def session_ids(eids: Sequence[str] = (), subject: str | None = None, tag: str | None = None) -> list[str]:
    """Return the ids of registered sessions by subject and date: the named ones, those of a subject or a tag, or all.

    One statement, and one for each session that is not named by its whole id: see ``schemas.queries.ids``.

    Parameters
    ----------
    eids : sequence of str
    subject, tag : str, optional
        With both, the sessions of the subject that have the tag.

    Raises
    ------
    ConfigError
        ``eids`` and one of the others are given.
    NotFoundError
        A session is not registered, or there is no session of the subject, or with the tag.
    """
    if eids and (subject or tag):
        raise ConfigError("Name session ids, or --subject or --tag")
    eids = [ids.known_as(named) for named in eids]
    asked = Session & [{"eid": eid} for eid in eids] if eids else Session & ({"subject": subject} if subject else {})
    if tag:
        asked = asked & (SessionTag & {"tag": tag}).proj()
    found = [str(eid) for eid in asked.to_arrays("eid", order_by="subject, session_date, session_number")]
    if missing := set(eids) - set(found):
        raise ids.not_registered(missing)
    if tag and not found:
        raise no_tagged(tag, subject)
    if subject and not found:
        do = f"{''.join(ids.similar([subject]))}Register with: meso ingest"
        raise NotFoundError(f"not registered: {subject}", do=do)
    return found


def no_tagged(tag: str, subject: str | None = None) -> NotFoundError:
    """Return the error for a tag that no session has, or none of a subject; one statement."""
    known = sorted(set(SessionTag.to_arrays("tag")))
    of = f" of {subject}" if subject else ""
    return NotFoundError(
        f"no session{of} has the tag {tag!r}", expected=f"one of {', '.join(known)}" if known else None,
        do=f"'meso tag' lists the tags; to give it to sessions: meso tag add {tag} EIDS",
    )  # fmt: skip


class TrialEvents(NamedTuple):
    """The trial events of a session that figures show.

    Attributes
    ----------
    events : dict of str to (n,) float64
        Times on the session clock, s, by the name of the event in figures; NaN for trials without the event.
    starts : (n,) float64
        Start of each trial, s.
    probability_left : (n,) float64
        Prior probability of a stimulus on the left, which defines the blocks.
    """

    events: dict[str, np.ndarray]
    starts: np.ndarray
    probability_left: np.ndarray


def trial_events(eid: str) -> TrialEvents:
    """Return the trial events of a session, empty if it has no trials in the database; one statement."""
    trials = trials_of(eid)
    events = {EVENT_NAMES[name]: trials[name] for name in ("stimOn_times", "firstMovement_times")}
    events |= {"reward": event_times("fback1", trials), "error": event_times("fback0", trials)}
    return TrialEvents(events, trials["intervals_0"], trials["probabilityLeft"])
