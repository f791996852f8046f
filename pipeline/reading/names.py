"""How a user may name a session: by its id, by the first characters of it, or as ``subject/date/number``."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

#: Fewest characters of an id that stand for it.
SHORTEST = 8
#: What to tell about a text that names no session.
FORMS = f"Name a session by its id, by {SHORTEST} or more of its first characters, or as subject/2024-06-18/001"

_START = re.compile(rf"[0-9a-f-]{{{SHORTEST},36}}")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: The last three folders of a session's path; lists made on Windows have backslashes.
_PLACE = re.compile(r"(?:.*/)?(?P<subject>[^/]+)/(?P<date>\d{4}-\d\d-\d\d)/(?P<number>\d{1,9})/?")


@dataclass(frozen=True)
class Place:
    """Subject, date and number of a session, of which a subject has only one."""

    subject: str
    date: datetime.date
    number: int

    def __str__(self) -> str:
        return f"{self.subject}/{self.date}/{self.number:03d}"


@dataclass(frozen=True)
class SessionName:
    """What a text says of a session; all None if it is no name of one.

    Attributes
    ----------
    eid : str or None
        The whole id.
    start : str or None
        The first characters of an id.
    place : Place or None
    """

    eid: str | None = None
    start: str | None = None
    place: Place | None = None


def session_name(text: str) -> SessionName:
    r"""Parse the name of a session.

    Examples
    --------
    >>> session_name("5ce2e17e-8471-42d4-8a16-21949710b328").eid
    '5ce2e17e-8471-42d4-8a16-21949710b328'
    >>> session_name("5CE2E17E").start
    '5ce2e17e'
    >>> session_name(r"SP058\2024-06-18\002").place.number
    2
    """
    text = text.strip()
    lower = text.lower()
    if _ID.fullmatch(lower):
        return SessionName(eid=lower)
    if _START.fullmatch(lower):
        return SessionName(start=lower)
    if match := _PLACE.fullmatch(text.replace("\\", "/")):
        try:
            date = datetime.date.fromisoformat(match["date"])
        except ValueError:  # 2024-02-31
            return SessionName()
        return SessionName(place=Place(match["subject"], date, int(match["number"])))
    return SessionName()
