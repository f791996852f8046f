"""Create a database as version 17 did, with UID files of a session and of one that was deleted: a script."""

from __future__ import annotations

import datetime

from schemas import tracking
from schemas.setup import migrations
from support import version_1

#: Lines that version 18 added, and the one that it replaced.
NEW_LINES, FORMER_LINE = ("first_date=", "first_number="), "uid_values='' : char(32)            # hash of the UIDs\n"


def make() -> None:
    """Declare the tables of version 17; insert two sessions, and registered UIDs of one of them and of a third."""
    table = tracking.RegisteredUIDs
    lines = [line for line in table.definition.splitlines() if not line.strip().startswith(NEW_LINES)]
    place = next(number for number, line in enumerate(lines) if line.strip().startswith("first_registered_at"))
    table.definition = "\n".join([*lines[:place], FORMER_LINE, *lines[place:]])
    migrations.init(migrations=migrations.MIGRATIONS[:17])
    version_1.insert_rows()
    for eid in (version_1.EIDS[0], "f" * 36):
        table.insert1({
            "subject": "OLD", "eid": eid, "fov": 0, "uid_sha256": "c" * 64, "first_text": "a\nb\nc\n",
            "first_rois": "d" * 64, "uid_values": "e" * 32, "first_registered_at": datetime.datetime(2024, 2, 1),
        })  # fmt: skip


if __name__ == "__main__":
    make()
