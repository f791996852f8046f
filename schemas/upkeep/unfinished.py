"""Updates that did not reach their end, which ``meso status`` lists and the next update of a subject completes."""

from __future__ import annotations

from typing import Any

from schemas.provenance import SourceUpdate
from schemas.queries.ids import subjects_of
from schemas.session import Session


def unfinished() -> list[str]:
    """Return a line for each update that did not reach its end, and each of its subjects.

    One statement, and at most three for each update.
    """
    return [
        f"The update of {subject}, of {row['updated_at']:%Y-%m-%d %H:%M} UTC, is not finished, unless it is running: "
        f"meso update --subject {subject}"
        for row in unfinished_updates() for subject in sorted(waiting_subjects(row))
    ]  # fmt: skip


def unfinished_updates() -> list[dict[str, Any]]:
    """Return the rows of SourceUpdate that did not reach their end, the first one first; one statement."""
    return (SourceUpdate - SourceUpdate.Done.proj()).to_dicts(order_by="updated_at")


def waiting_subjects(row: dict[str, Any]) -> set[str]:
    """Return the subjects, with sessions, of which an update is not finished; at most three statements."""
    questions = row["update_questions"]
    asked = {one["run"]["subject"] for one in questions["sets"]} | {one["subject"] for one in questions["runs"]}
    found = asked | set(subjects_of(sorted({change["eid"] for change in row["update_changes"]})))
    found &= set((Session & [{"subject": subject} for subject in found]).to_arrays("subject")) if found else set()
    return found - set((SourceUpdate.OfSubject & {"update_id": row["update_id"]}).to_arrays("done_subject"))
