"""Sessions that were read with different signals: their comparison is refused, and noted where it is stored.

A FOV is read with its deconvolved traces, or with the fluorescence if there are none. k*, transfer and stability of a
session that is decoded from the one are not those of the other, whatever the code does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress

import datajoint as dj

from pipeline.decoding import NDCSettings
from pipeline.errors import DataError
from schemas.decoding.naming import dates_of
from schemas.decoding.populations import population, signal_of
from schemas.imaging.tables import FOV
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet

#: What solves a comparison of different signals.
ONE_SIGNAL = (
    "With signal='fluorescence' (--signal fluorescence), or 'dff' where there is neuropil, all sessions are decoded "
    "from the same one"
)
#: Settings that decode all shared cells, as responses do, which have none of their own.
ALL_SHARED = NDCSettings("choice")


def different_signals(signals: Mapping[str, str], dates: Mapping[str, str]) -> str:
    """Return which sessions have which signal, such as 'deconvolved on 2024-01-01; fluorescence on 2024-01-02'.

    Parameters
    ----------
    signals : mapping of str to str
        Signal by eid: 'deconvolved', 'fluorescence', or both of a session whose FOVs differ.
    dates : mapping of str to str
        Name of each session by eid: see ``dates_of``.

    Returns
    -------
    str
        '' if all have the same.
    """
    days: dict[str, list[str]] = defaultdict(list)
    for eid, signal in signals.items():
        days[signal].append(dates[eid])
    if len(days) < 2:
        return ""
    return "; ".join(f"{signal} on {', '.join(sorted(found))}" for signal, found in sorted(days.items()))


def note_of(different: str, do: str = ONE_SIGNAL) -> str:
    """Return the note on a stored comparison of different signals, and what solves it, if anything does."""
    return f"the sessions have different signals, compare with care: {different}{do and '. '}{do}"


def check_same_signal(
    session_set: dict,
    settings: Sequence[NDCSettings] = (ALL_SHARED,),
    do: str = f"{ONE_SIGNAL}. Otherwise leave out sessions",
) -> None:
    """Refuse to compare sessions of a set whose cells were read with different signals.

    Parameters
    ----------
    session_set : dict
        Key of SessionSet, whose shared cells are known.
    settings : sequence of NDCSettings
        Which cells are compared; those that name a signal decode the same one of all sessions.
    do : str
        What solves it.

    Raises
    ------
    DataError
        The message has the dates of each signal.
    """
    if different := read_with(session_set, settings):
        raise DataError(
            "the sessions were read with different signals", expected="one signal", found=different,
            do=f"{do}; mixed_signals=True (--mixed-signals) compares them all the same, as former versions did",
        )  # fmt: skip


def read_with(session_set: dict, settings: Sequence[NDCSettings] = (ALL_SHARED,)) -> str:
    """Return which sessions of a set were read with which signal, '' if all are compared by the same.

    One query, if all FOVs of the set were read with the same signal.
    """
    # each choice of cells once: targets are mostly decoded from the same
    asked = {(one.cells, one.regions, one.fovs, one.n_cells, one.cells_seed): one for one in settings if not one.signal}
    fovs = FOV & (SessionSet.FOV & session_set).proj()
    if not asked or len(dj.U("signal") & fovs) < 2:
        return ""
    members = Session & (SessionSet.Member & session_set).proj() & Behavior.proj()
    dates = dates_of(members.to_dicts())
    found = (different_signals(_signals_of_cells(session_set, list(dates), one), dates) for one in asked.values())
    return next(filter(None, found), "")


def _signals_of_cells(session_set: dict, eids: Sequence[str], settings: NDCSettings) -> dict[str, str]:
    """Return by eid the signals with which the cells of the settings were read."""
    found = {}
    for eid in eids:
        # a session without such cells has no result, and its failure says why
        with suppress(DataError):
            found[eid] = signal_of(population({**session_set, "eid": eid}, settings))
    return found
