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


def file_hashes(eid: str) -> dict[str, str]:
    """Return the sha256 of each file that the rows of a session were read from, by path without revision."""
    return {reading.without_revision(file.dataset): file.sha256 for _, _, files in files_of(eid) for file in files}


def standing_mixtures(eid: str, known: Mapping[str, str] | None = None) -> list[Standing]:
    """Return what updates found since the session was registered, of which both sides are still what they were.

    Parameters
    ----------
    eid : str
    known : mapping of str to str, optional
        As of ``file_hashes``, which are taken by default.
    """
    known = file_hashes(eid) if known is None else known
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


def mixture_rows(
    mixtures: Mapping[str, Sequence[reading.Mixture]], former: Mapping[str, Mapping[str, str]], number: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield the rows of SourceUpdate.Mixture, without the key of the update.

    Parameters
    ----------
    mixtures : mapping of str to sequence of Mixture
        By session.
    former : mapping of str to mapping
        By session ``file_hashes`` before its rows are replaced.
    number : int
        Of the first.
    """
    for eid, found in mixtures.items():
        for one in found:
            newer, older = (
                {dataset: former[eid].get(dataset, "") for dataset in side} for side in (one.newer, one.older)
            )
            yield {
                "mixture": number, "mixed_eid": eid, "mixed_what": one.what, "mixed_newer": newer,
                "mixed_older": older, "mixed_reason": one.reason,
            }  # fmt: skip
            number += 1
