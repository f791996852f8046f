"""Deleting sessions with all that depends on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.errors import ConfigError, NotFoundError
from schemas.cascade import Cascade
from schemas.rows import checked
from schemas.session import Session


def delete_sessions(restriction: Any, confirm: Callable[[dict[str, int]], bool] | None = None) -> dict[str, int]:
    """Delete sessions with all that depends on them, and record it in ``Deletion``, all or nothing.

    Parameters
    ----------
    restriction
        DataJoint restriction of ``Session``: ``{"eid": eid}``, ``{"subject": name}`` or a list of these.
    confirm : callable, optional
        Called with the numbers of rows by table; nothing is deleted unless it returns True.

    Returns
    -------
    dict of str to int
        Numbers of deleted rows by table, parents first; empty if nothing was deleted.

    Raises
    ------
    ConfigError
        The restriction is empty, or has a name that is not an attribute of Session.
    NotFoundError
        No registered session matches.
    DataError
        Rows that depend on them were added meanwhile; nothing was deleted.
    """
    sessions = Session & checked(restriction, Session)
    if not sessions.where_clause():
        raise ConfigError("Name the sessions to delete: an empty restriction would be all of them")
    cascade = Cascade(sessions)
    counts = cascade.counts()
    if not counts:
        raise NotFoundError("no registered session matches", found=str(restriction))
    return cascade.delete() if confirm is None or confirm(counts) else {}
