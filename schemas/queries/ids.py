"""Which registered session a user names: see ``pipeline.reading.names``. Commands, page and notebook all ask here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.errors import DataError, NotFoundError
from pipeline.reading.names import FORMS, Place, SessionName, session_name
from pipeline.text import did_you_mean
from schemas.session import Session

#: Similarity of ids and places that may have been meant: those of two sessions differ in more.
ALIKE = 0.8


def find_sessions(named: Iterable[str]) -> dict[str, str | None]:
    """Return by text the id of the registered session that it names, None if there is none.

    One statement for all whole ids, and one for each other text.

    Parameters
    ----------
    named : iterable of str
        Each an id, 8 or more of its first characters, or ``subject/date/number``, also as the end of a path.

    Raises
    ------
    NotFoundError
        Several ids begin with these characters.
    """
    names = {str(text): session_name(str(text)) for text in named}
    whole = [{"eid": name.eid} for name in names.values() if name.eid]
    known = set((Session & whole).to_arrays("eid").tolist()) if whole else set()
    return {
        text: (name.eid if name.eid in known else None) if name.eid else _find(text, name)
        for text, name in names.items()
    }  # fmt: skip


def _find(text: str, name: SessionName) -> str | None:
    if name.start:
        sessions = Session & f"eid LIKE '{name.start}%'"  # the characters are hexadecimal digits and -
    elif name.place:
        subject, date, number = name.place.subject, name.place.date, name.place.number
        sessions = Session & {"subject": subject, "session_date": date, "session_number": number}
    else:  # an id that is not IBL's
        sessions = Session & {"eid": text}
    found = sessions.to_arrays("eid", order_by="eid").tolist()
    if len(found) > 1:
        raise NotFoundError(
            f"{text!r} stands for several sessions", found=", ".join(found), do="Give more characters of the id"
        )
    return str(found[0]) if found else None


def found_or_reasons(named: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return by text the ids of the registered sessions, and for the other texts the reason why they are none.

    Statements as ``find_sessions``.
    """
    found: dict[str, str] = {}
    reasons: dict[str, str] = {}
    names = list(named)
    whole = [text for text in names if session_name(text).eid]
    known = find_sessions(whole)
    for text in names:
        try:
            eid = known[text] if text in known else find_sessions([text])[text]
        except NotFoundError as error:  # several ids begin like that
            reasons[text] = str(error)
            continue
        if eid is None:
            reasons[text] = "not registered"
        else:
            found[text] = eid
    return found, reasons


def session_ids(named: Iterable[str]) -> list[str]:
    """Return the ids of the registered sessions that texts name, each once, in this order: see ``find_sessions``.

    Raises
    ------
    NotFoundError
        One of them is none, with all that are none in the message, or several ids begin with these characters.
    """
    found = find_sessions(named)
    if missing := [text for text, eid in found.items() if eid is None]:
        raise not_registered(missing)
    return list(dict.fromkeys(eid for eid in found.values() if eid is not None))


def not_registered(named: Iterable[str]) -> NotFoundError:
    """Return the error for texts that name no registered session."""
    missing = sorted(named)
    unclear = any(session_name(text) == SessionName() for text in missing)
    do = f"{FORMS}; 'meso sessions' lists them" if unclear else "Register with: meso ingest"
    return NotFoundError(f"not registered: {', '.join(missing)}", do="".join(similar(missing)) + do)


def similar(named: Iterable[str]) -> list[str]:
    """Return what texts may stand for, of the registered sessions and subjects; one statement.

    Parameters
    ----------
    named : iterable of str
        Each names no registered session, or is no subject.
    """
    rows = Session.proj("subject", "session_date", "session_number").to_dicts()
    places = [str(Place(row["subject"], row["session_date"], row["session_number"])) for row in rows]
    eids, found = [row["eid"] for row in rows], []
    for text in named:
        name = session_name(text)
        if name.start:
            found.append(did_you_mean(name.start, {eid[: len(name.start)] for eid in eids}, ALIKE))
        elif name.eid or name.place:
            found.append(did_you_mean(text, eids if name.eid else places, ALIKE))
        else:
            subjects = {row["subject"] for row in rows}
            found.append(
                f"{text} is a subject: commands take its sessions by --subject {text}. " if text in subjects
                else did_you_mean(text, subjects)
            )  # fmt: skip
    return list(dict.fromkeys(found))


def session_id(named: str) -> str:
    """Return the id of the registered session that a text names: see ``session_ids``."""
    return session_ids([named])[0]


def known_as(named: str) -> str:
    """Return the id of the registered session that a text names, or the text if it names none.

    For callers that say themselves that there is no such session. No statement for a whole id.

    Raises
    ------
    NotFoundError
        Several ids begin with these characters.
    """
    whole = session_name(named).eid
    return whole or find_sessions([named])[named] or named


def subjects_of(eids: Sequence[str]) -> list[str]:
    """Return the subjects of registered sessions, sorted; one statement."""
    return sorted(set((Session & [{"eid": eid} for eid in eids]).to_arrays("subject"))) if eids else []


def one_subject(eids: Sequence[str]) -> str:
    """Return the subject of registered sessions; one statement.

    Raises
    ------
    NotFoundError
        None of them is registered.
    DataError
        They are of several subjects.
    """
    rows = (Session & [{"eid": eid} for eid in eids]).proj("subject").to_dicts(order_by="subject, eid")
    subjects = {row["subject"]: row["eid"] for row in reversed(rows)}
    if not subjects:
        raise not_registered(eids)
    if len(subjects) > 1:
        raise DataError(
            "the sessions are of several subjects, which share no cells",
            expected="sessions of one subject",
            found=", ".join(f"{subject} (session {eid})" for subject, eid in sorted(subjects.items())),
            do="Name sessions of one subject; 'meso sessions' lists them",
        )
    return str(next(iter(subjects)))
