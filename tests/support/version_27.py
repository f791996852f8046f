"""Create a database as version 27 did, with two curves and labels of classes: a script, run by test_database."""

from __future__ import annotations

import numpy as np

from schemas import labels
from schemas.decoding import tables as decoding
from schemas.setup import migrations, views
from support import version_1

#: The version whose labels may be numbers, and its lines by table.
NUMBERS = next(one for one in migrations.MIGRATIONS if one.title.startswith("labels: numbers")).number
NEW_LINES = {labels.LabelSet: "label_kind=", decoding.TrialFeatures.Trial: "trial_value="}
#: Key of the labels that are inserted.
LABELS = "a" * 32


def make() -> None:
    """Declare the tables of version 27; insert two sessions with a curve each, and labels of one."""
    for table, beginning in NEW_LINES.items():
        lines = table.definition.splitlines()
        table.definition = "\n".join(line for line in lines if not line.strip().startswith(beginning))
    views.queries = dict  # those of this version show the new column
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < NUMBERS])
    version_1.insert_rows()
    row = {"label_name": "fast", "labelled_by": "somebody", "labelled_at": "2024-01-01 00:00:00"}
    labels.LabelSet.insert1({"label_set": LABELS, **row})
    of_session = {"labelled_eid": version_1.EIDS[0], "own_labels": np.array([1.0, 0.0, np.nan])}
    labels.LabelSet.Labels.insert1({"label_set": LABELS, **of_session})


if __name__ == "__main__":
    make()
