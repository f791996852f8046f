"""Tags: names that people give to sessions. ``schemas.queries.sessions.session_ids`` finds the sessions of one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ArgumentError, DataError
from pipeline.reading.lists import bad_lines, read_session_list
from schemas.provenance import now
from schemas.queries import ids
from schemas.queries.sessions import no_tagged
from schemas.session import Session, SessionTag

#: Names that can be typed without quotes, and are no option.
NAME = re.compile(r"\w[\w.+:-]{0,63}")


def tags(subject: str | None = None) -> list[dict[str, Any]]:
    """Return each tag with its sessions and mice, in order of name; one statement.

    Returns
    -------
    list of dict
        tag, n_sessions, n_subjects, subjects (sorted names), tagged_by (accounts), tagged_at (of the latest).
    """
    rows = SessionTag * Session.proj("subject") & ({"subject": subject} if subject else {})
    of_tag = defaultdict(list)
    for row in rows.to_dicts(order_by="tag, subject"):
        of_tag[row["tag"]].append(row)
    return [
        {
            "tag": tag, "n_sessions": len(found), "n_subjects": len({row["subject"] for row in found}),
            "subjects": list(dict.fromkeys(row["subject"] for row in found)),
            "tagged_by": sorted({row["tagged_by"] for row in found}), "tagged_at": max(r["tagged_at"] for r in found),
        }
        for tag, found in sorted(of_tag.items())
    ]  # fmt: skip


def sessions_of_list(path: Path) -> list[str]:
    """Return the ids of the registered sessions that the lines of a list name, each once, in this order.

    Raises
    ------
    DataError
        A line names no registered session, with the number of each such line: see ``read_session_list``.
    """
    names = read_session_list(path)
    found, reasons = ids.found_or_reasons(names)
    if reasons:
        raise bad_lines(path, names, reasons)
    return list(dict.fromkeys(found.values()))


def add_tag(tag: str, eids: Iterable[str]) -> list[str]:
    """Give a tag to registered sessions; return the ids of those that did not have it.

    Parameters
    ----------
    tag : str
        Letters, digits and ``_.+:-``, up to 64, the first a letter, a digit or ``_``.
    eids : iterable of str
        Ids of registered sessions.

    Raises
    ------
    ArgumentError
        The name cannot be a tag.
    """
    if not NAME.fullmatch(tag):
        raise ArgumentError(f"{tag[:80]!r} cannot be a tag: use up to 64 letters, digits and _.+:-, without spaces")
    with SessionTag.connection.transaction:
        known = set((SessionTag & {"tag": tag}).to_arrays("eid"))
        new = [eid for eid in dict.fromkeys(eids) if eid not in known]
        by, at = SessionTag.connection.get_user(), now()
        SessionTag.insert(
            ({"eid": eid, "tag": tag, "tagged_by": by, "tagged_at": at} for eid in new), skip_duplicates=True
        )
    return new


def remove_tag(tag: str, eids: Sequence[str] = ()) -> int:
    """Take a tag from sessions, by default from all, and return how many had it; ``Deletion`` records it.

    Raises
    ------
    NotFoundError
        No session has the tag.
    DataError
        One of the sessions does not have it; nothing is removed.
    """
    tagged = SessionTag & {"tag": tag}
    having = set(tagged.to_arrays("eid"))
    if not having:
        raise no_tagged(tag)
    if missing := [eid for eid in eids if eid not in having]:
        raise DataError(f"does not have the tag {tag!r}", eid=missing[0], do="Nothing was removed")
    return (tagged & [{"eid": eid} for eid in eids] if eids else tagged).delete(prompt=False)
