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
        Which sessions, as DataJoint restricts ``Session``: ``{"eid": eid}``, ``{"subject": name}``, a list of those.
    confirm : callable, optional
        Told the numbers of rows by table; nothing is deleted unless it returns True.

    Returns
    -------
    dict of str to int
        Numbers of deleted rows by table, parents first; empty where nothing was.

    Raises
    ------
    ConfigError
        The restriction names what is no attribute of a session, or nothing at all.
    NotFoundError
        There are no such sessions.
    DataError
        Rows were added to them meanwhile.
    """
    sessions = Session & checked(restriction, Session)
    if not sessions.where_clause():
        raise ConfigError("Name the sessions to delete: an empty restriction would be all of them")
    cascade = Cascade(sessions)
    counts = cascade.counts()
    if not counts:
        raise NotFoundError("no session is registered that this names", found=str(restriction))
    return cascade.delete() if confirm is None or confirm(counts) else {}
