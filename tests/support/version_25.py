"""Create a database as version 25 did, with labels of one's own: a script, run by test_database."""

from __future__ import annotations

import numpy as np

from schemas import labels, provenance, session
from schemas.setup import migrations
from support import version_1

#: The version that added these parts.
TRIALS = next(one for one in migrations.MIGRATIONS if one.title.startswith("own labels")).number
KEY, OWN = {"label_set": "1" * 32}, np.array([1.0, 0.0, np.nan, 1.0])


def make() -> None:
    """Declare the tables of the version before; insert labels of one of two sessions."""
    del labels.LabelSet.Trials, provenance.SourceUpdate.OfSubject, session.Wheel.Doubt
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < TRIALS])
    version_1.insert_rows()
    row = {"label_name": "fast", "labelled_by": "somebody", "labelled_at": "2024-01-01 00:00:00"}
    labels.LabelSet.insert1({**KEY, **row})
    labels.LabelSet.Labels.insert1({**KEY, "labelled_eid": version_1.EIDS[0], "own_labels": OWN})


if __name__ == "__main__":
    make()
