"""Files of a session that are written together and are not of one writing, as they are in the database now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datajoint as dj

from pipeline import reading
from schemas.provenance import Deletion, SourceUpdate
from schemas.session import ReadsSession, Session, Wheel, files_of, former_ids, hashes_in, since_deletions
from schemas.storage import bulk

#: Columns of the files that rows were read from.
SOURCE_COLUMNS = ("eid", "dataset", "revision", "sha256")


def mixtures_of(eids: Sequence[str] | None = None) -> dict[str, list[reading.Mixture]]:
    """Return the files of sessions that are not of one writing: by revisions, updates, and deletions of rows.

    Parameters
    ----------
    eids : sequence of str, optional
        All sessions by default: of these, files are read of those only that can have some, found by a few statements.

    Returns
    -------
    dict of str to list of Mixture
        Of each session that has some.
    """
    files = _files(_suspects() if eids is None else eids)
    hashes = {eid: {reading.without_revision(one.dataset): one.sha256 for one in those} for eid, those in files.items()}
    standing, found = _standing(hashes), {}
    for eid, those in files.items():
        of_revisions = reading.mixed_revisions(those)
        told = [(one.what, set(map(reading.without_revision, one.newer))) for one in of_revisions]
        others = dict.fromkeys(one.mixture for one in standing.get(eid, ()))
        found[eid] = [
            *of_revisions,
            *(one for one in others if not any(one.what == what and set(one.newer) <= newer for what, newer in told)),
        ]
    return {eid: mixtures for eid, mixtures in found.items() if mixtures}


def _suspects() -> list[str]:
    """Return the sessions of which files were noted or rows deleted, or that have files of several revisions.

    All others are of one writing. A lab has tens of thousands of files: they are counted in the database.
    """
    noted, deleted = dj.U("mixed_eid") & SourceUpdate.Mixture, dj.U("file_subject", "file_date") & Deletion.File
    days = [{"subject": row["file_subject"], "session_date": row["file_date"]} for row in deleted.to_dicts()]
    found = {*noted.to_arrays("mixed_eid"), *((Session & days).to_arrays("eid") if days else ())}
    revisions = defaultdict(set)
    for table in ReadsSession.choosing:
        for row in dj.U("eid", "revision").aggr(table.Source, n="count(*)").to_dicts():
            revisions[row["eid"]].add(row["revision"])
    return sorted(map(str, found | {eid for eid, several in revisions.items() if len(several) > 1}))


def doubts_of(eids: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Return what was odd about the wheels of sessions, by session; parameters as of ``mixtures_of``."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in (Wheel.Doubt & _of(eids)).to_dicts(order_by="eid, doubt"):
        found[row["eid"]].append(row["doubt_text"])
    return found


def _of(eids: Sequence[str] | None) -> Any:
    return True if eids is None else [{"eid": eid} for eid in eids]


def _files(eids: Sequence[str] | None) -> dict[str, list[reading.Source]]:
    """Return the files that the rows of sessions were read from, with revision and sha256, by session."""
    found: dict[str, list[reading.Source]] = defaultdict(list)
    for table in ReadsSession.choosing:
        columns = bulk.columns(table.Source & _of(eids), *SOURCE_COLUMNS, order_by=("eid", "dataset"))
        for eid, dataset, revision, sha256 in zip(*(column.tolist() for column in columns), strict=True):
            found[eid].append(reading.Source(dataset, "", revision, 0, sha256, ""))
    return found


def file_hashes(eid: str) -> dict[str, str]:
    """Return the sha256 of each file that the rows of a session were read from, by path without revision."""
    return hashes_in(files_of(eid))


def standing_mixtures(eid: str, known: Mapping[str, str] | None = None) -> list[reading.Standing]:
    """Return what was found by updates, and when deleted rows were read again, of which both sides are what they were.

    Parameters
    ----------
    eid : str
    known : mapping of str to str, optional
        As of ``file_hashes``, which are taken by default.
    """
    return _standing({eid: file_hashes(eid) if known is None else known}).get(eid, [])


def _standing(known: Mapping[str, Mapping[str, str]]) -> dict[str, list[reading.Standing]]:
    """Return ``standing_mixtures`` of several sessions."""
    former = former_ids(known)
    ids = {one: eid for eid, before in former.items() for one in before} | {eid: eid for eid in known}
    rows = SourceUpdate.Mixture * SourceUpdate.proj("updated_at") & [{"mixed_eid": eid} for eid in ids]
    found: dict[str, list[reading.Standing]] = defaultdict(list)
    for row in rows.to_dicts(order_by="updated_at, mixture"):
        eid = ids[row["mixed_eid"]]
        one = reading.still_standing(
            row["mixed_what"], row["mixed_reason"], row["mixed_newer"], row["mixed_older"], known[eid]
        )
        if one:  # also if the session was registered again since: its files are what they were
            found[eid].append(one)
    for eid, standing in since_deletions(known, former).items():
        named = {(one.mixture.what, path) for one in found[eid] for path in one.mixture.newer}
        found[eid] += [one for one in standing if not {(one.mixture.what, path) for path in one.mixture.newer} & named]
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
