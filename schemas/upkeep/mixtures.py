"""Files of a session that are written together and are not of one writing, as they are in the database now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import reading
from schemas.provenance import SourceUpdate
from schemas.session import Session, files_of


@dataclass(frozen=True)
class Standing:
    """What an update found, of which both sides are still what they were.

    Attributes
    ----------
    mixture : Mixture
    former : dict of str to str
        The sha256 that the newer datasets had before, by path without revision; '' of one that was added.
    """

    mixture: reading.Mixture
    former: Mapping[str, str]


def mixtures_of(eid: str) -> list[reading.Mixture]:
    """Return the files of a session that are not of one writing: by their revisions, and by what updates found."""
    found = reading.mixed_revisions(source for _, _, files in files_of(eid) for source in files)
    told = [(one.what, set(map(reading.without_revision, one.newer))) for one in found]
    others = dict.fromkeys(one.mixture for one in standing_mixtures(eid))
    return [
        *found,
        *(one for one in others if not any(one.what == what and set(one.newer) <= newer for what, newer in told)),
    ]


def standing_mixtures(eid: str) -> list[Standing]:
    """Return what updates found since the session was registered, of which both sides are still what they were."""
    known = {reading.without_revision(file.dataset): file.sha256 for _, _, files in files_of(eid) for file in files}
    since = (Session & {"eid": eid}).fetch1("ingested_at")
    rows = SourceUpdate.Mixture * SourceUpdate.proj("updated_at") & {"mixed_eid": eid} & f"updated_at >= '{since}'"
    found = []
    for row in rows.to_dicts(order_by="updated_at, mixture"):
        former, older = row["mixed_newer"], row["mixed_older"]
        still_newer = tuple(path for path in sorted(former) if known.get(path, former[path]) != former[path])
        still_older = tuple(path for path in sorted(older) if known.get(path) == older[path])
        if still_newer and still_older:
            mixture = reading.Mixture(row["mixed_what"], still_newer, still_older, row["mixed_reason"])
            found.append(Standing(mixture, former))
    return found


def mixture_rows(mixtures: Mapping[str, Sequence[reading.Mixture]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of SourceUpdate.Mixture, without the key of the update, before its rows are replaced.

    Parameters
    ----------
    mixtures : mapping of str to sequence of Mixture
        By session.
    """
    number = 0
    for eid, found in mixtures.items():
        known = {reading.without_revision(file.dataset): file.sha256 for _, _, files in files_of(eid) for file in files}
        for one in found:
            newer, older = ({dataset: known.get(dataset, "") for dataset in side} for side in (one.newer, one.older))
            yield {
                "mixture": number, "mixed_eid": eid, "mixed_what": one.what, "mixed_newer": newer,
                "mixed_older": older, "mixed_reason": one.reason,
            }  # fmt: skip
            number += 1
