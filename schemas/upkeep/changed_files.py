"""Which files of registered sessions are not those that were read any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import datajoint as dj

from pipeline import reading
from schemas.imaging.tables import FOV
from schemas.session import Behavior, FOVFolder, Wheel, one_for

#: Tables that are read from files, and the datasets that each would read now.
DATASETS: dict[type[dj.Table], Callable[[reading.SessionReader, dict], Iterable[str]]] = {
    FOV: lambda reader, key: reading.fov_datasets(reader, (FOVFolder & key).fetch1("collection")),
    Behavior: lambda reader, key: reading.trial_datasets(reader),
    Wheel: lambda reader, key: reading.wheel_datasets(reader),
}


@dataclass(frozen=True)
class ChangedRow:
    """A row whose files have changed.

    Attributes
    ----------
    table : str
        FOV, Behavior or Wheel.
    key : dict
        eid, and fov of a FOV.
    changes : tuple of Change
    """

    table: str
    key: dict[str, Any]
    changes: tuple[reading.Change, ...]

    def __str__(self) -> str:
        where = f", FOV_{self.key['fov']:02d}" if "fov" in self.key else ""
        return f"session {self.key['eid']}{where}: {'; '.join(map(str, self.changes))}"

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the changes as plain values, for JSON."""
        return [{"table": self.table, "eid": self.key["eid"], "fov": self.key.get("fov"), **vars(change)}
                for change in self.changes]  # fmt: skip


def changed_rows(eid: str, one: Any = None, *, content: bool) -> list[ChangedRow]:
    """Return the rows of FOV, Behavior and Wheel of a session whose files ONE would not give now.

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
    keys = [(table, key) for table in DATASETS for key in (table & {"eid": eid}).keys(order_by="KEY")]
    if not keys:
        return []
    reader = reading.SessionReader(one or one_for(eid), eid)
    found = []
    for table, key in keys:
        recorded = [reading.Source(**row) for row in table.Source.recorded(key)]  # type: ignore[attr-defined]
        changes = reading.changes(reader, recorded, DATASETS[table](reader, key), content=content)
        if changes:
            found.append(ChangedRow(table.__name__, key, tuple(changes)))
    return found
