"""Create a database as version 35 did, with a session of which a file had not been copied to its end when it was
registered: a script, run by test_database.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from schemas.session import Behavior, Session, Wheel
from schemas.setup import migrations
from support import version_1

TRIALS, PERIODS = "alf/_ibl_trials.table.pqt", "alf/_ibl_trials.quiescencePeriod.npy"
WHEEL = "alf/_ibl_wheel.position.npy"
#: Sizes and hashes of files when the session was registered, and when they were read.
THEN = {TRIALS: (10, "a"), PERIODS: (20, "b"), WHEEL: (20, "c")}
NOW = {TRIALS: (20, "d"), PERIODS: (20, "e"), WHEEL: (10, "f")}


def make() -> None:
    """Declare the tables of version 35; insert two sessions, and files of the first."""
    migrations.init(migrations=migrations.MIGRATIONS[:35])
    version_1.insert_rows()
    key = {"eid": version_1.EIDS[0]}
    Session.File.insert({**key, **row} for row in rows(THEN))
    Behavior.insert1({**key, "n_trials": 1}, allow_direct_insert=True)
    velocity = {"velocity_start": 0.0, "wheel_velocity": np.zeros(1)}
    wheel = {"wheel_timestamps": np.zeros(1), "wheel_position": np.zeros(1)}
    Wheel.insert1({**key, **wheel, **velocity}, allow_direct_insert=True)
    read = list(rows(NOW))
    for table, files in ((Behavior.Source, read[:2]), (Wheel.Source, read[2:])):
        table.insert(({**key, **row} for row in files), allow_direct_insert=True)


def rows(files: dict[str, tuple[int, str]]) -> Iterator[dict]:
    for dataset, (size, letter) in files.items():
        yield {"dataset": dataset, "file_size": size, "sha256": letter * 64}


if __name__ == "__main__":
    make()
