"""Register sessions of ONE in the database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.errors import ConfigError, MesoError
from pipeline.reading import find_sessions, identify, open_one
from schemas.embedding import embeddings_of_fovs
from schemas.server.settings import one_cache_dir
from schemas.session import Session
from schemas.upkeep.changed_files import ChangedRow, changed_rows
from schemas.work.reports import delete_incomplete


@dataclass
class Ingested:
    """Result of an ingest.

    Attributes
    ----------
    new, known : list of str
        Ids of sessions registered now, and before.
    failed : dict of str to str
        Error message by session, as it was named. If the database that ONE asks goes away, all that are left have the
        same message.
    changed : list of ChangedRow
        What was read of known sessions from files that ONE has otherwise now, by revision, size or hash: no file is
        opened. ``meso update`` reads it again.
    """

    new: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    changed: list[ChangedRow] = field(default_factory=list)


def ingest(
    eids: Sequence[str] = (),
    *,
    subject: str | None = None,
    everything: bool = False,
    cache_dir: str | os.PathLike | None = None,
    progress: bool = False,
) -> Ingested:
    """Register sessions; ``populate()`` then reads their data. A session that fails does not stop the others.

    Parameters
    ----------
    eids : sequence of str
        Sessions, named as ``pipeline.reading.identify`` takes them.
    subject : str, optional
        Also all sessions of this subject with imaging.
    everything : bool
        Also all sessions with imaging in the ONE cache.
    cache_dir : path, optional
        A ONE cache; by default MESO_ONE_CACHE_DIR, or the one that ONE is set up with on this machine.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ConfigError
        ONE cannot be opened, or its database does not answer a search.
    """
    from tqdm import tqdm

    # absolute, because it is stored, and workers have other working folders; links stay, as they may be meant to move
    cache_dir = os.path.abspath(os.path.expanduser(cache_dir)) if cache_dir else one_cache_dir()
    one = open_one(cache_dir)
    wanted = list(dict.fromkeys(map(str, eids)))
    if subject or everything:
        wanted += [eid for eid in find_sessions(one, subject=subject) if eid not in wanted]
    done = Ingested()
    for i, named in enumerate(tqdm(wanted, desc="Session", disable=not progress)):
        try:
            eid = identify(one, named)
            has_new_fovs = Session.register(one, eid, cache_dir)
            (done.new if has_new_fovs else done.known).append(eid)
            if has_new_fovs:
                delete_incomplete(embeddings_of_fovs(eid))
            done.changed += changed_rows(eid, one, content=False)
        except ConfigError as error:  # of the database that ONE asks: the other sessions would fail alike
            done.failed |= dict.fromkeys(wanted[i:], str(error))
            break
        except MesoError as error:
            done.failed[named] = str(error)
    return done
