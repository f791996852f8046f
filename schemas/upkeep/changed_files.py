"""Which files of registered sessions are not those that were read any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline import reading
from schemas.session import files_of, one_for


@dataclass(frozen=True)
class ChangedRow:
    """A row whose files have changed.

    Attributes
    ----------
    table : str
        FOV, Signal, Behavior or Wheel.
    key : dict
        eid, fov of a FOV or a signal, and signal_params of a signal.
    changes : tuple of Change
    """

    table: str
    key: dict[str, Any]
    changes: tuple[reading.Change, ...]

    def __str__(self) -> str:
        where = f", FOV_{self.key['fov']:02d}" if "fov" in self.key else ""
        return f"session {self.key['eid']}{where}: {'; '.join(map(str, self.changes))}"

    def is_of(self, other: ChangedRow) -> bool:
        """Return whether this row is of the FOV whose row has changed."""
        return other.table == "FOV" and other.key == {"eid": self.key["eid"], "fov": self.key.get("fov")}

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the changes as plain values, for JSON."""
        return [{"table": self.table, "eid": self.key["eid"], "fov": self.key.get("fov"), **vars(change)}
                for change in self.changes]  # fmt: skip


def changed_rows(eid: str, one: Any = None, *, content: bool) -> list[ChangedRow]:
    """Return the rows of FOV, Signal, Behavior and Wheel of a session whose files ONE would not give now.

    Parameters
    ----------
    eid : str
    one : ONE client, optional
        By default the one that the session was registered from.
    content : bool
        Also compare the sha256 of files on this machine, which takes as long as reading them.

    Raises
    ------
    ConfigError
        The ONE cache of the session is not on this machine.
    """
    rows = files_of(eid)
    if not rows:
        return []
    reader = reading.SessionReader(one or one_for(eid), eid)
    found = []
    for table, key, recorded in rows:
        changes = reading.changes(reader, recorded, table.datasets(reader, key), content=content)
        if changes:
            found.append(ChangedRow(table.__name__, key, tuple(changes)))
    return found
