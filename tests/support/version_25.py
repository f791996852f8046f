"""Create a database as version 25 did, with two curves, own labels and more: a script, run by test_database."""

from __future__ import annotations

import numpy as np

from schemas import embedding, labels, provenance, session, tracking
from schemas.decoding import tables as decoding
from schemas.server import binding
from schemas.setup import migrations, views
from support import version_1, version_13
from support.former_tables import without_lines

#: Beginnings of the lines that versions 28, 37 and 38 added.
NEW_LINES = {
    labels.LabelSet: "label_kind=",
    decoding.TrialFeatures.Trial: "trial_value=",
    decoding.TrialFeatures: ("noise_", "code_spread="),
}
KEY, OWN = {"label_set": "1" * 32}, np.array([1.0, 0.0, np.nan, 1.0])


def without_later_tables() -> None:
    """Have no table be declared that versions 26 to 31 added."""
    del labels.LabelSet.Trials, provenance.SourceUpdate.OfSubject, session.Wheel.Doubt
    del binding.MODULES["days"]
    del provenance.SourceUpdate.Mixture, tracking.RegisteredUIDs.OtherPlaces
    del embedding.EmbeddingParams.OfSignal, embedding.Embedding.OwnSignal
    del decoding.NDCComparison.Drift, decoding.NDCTask.WithoutCurve
    del provenance.Deletion.File, tracking.RegisteredUIDs.Silhouettes


def make() -> None:
    """Declare the tables of version 25; insert two sessions with a curve each, and what was made of them.

    That is labels of one of them, the comparison of the curves, an update and a deletion.
    """
    for table, beginning in NEW_LINES.items():
        without_lines(table, beginning)
    without_later_tables()
    views.queries = dict  # those of this version show the new columns
    migrations.init(migrations=migrations.MIGRATIONS[:25])
    version_1.insert_rows()
    row = {"label_name": "fast", "labelled_by": "somebody", "labelled_at": "2024-01-01 00:00:00"}
    labels.LabelSet.insert1({**KEY, **row})
    labels.LabelSet.Labels.insert1({**KEY, "labelled_eid": version_1.EIDS[0], "own_labels": OWN})
    version_13.insert_comparison()
    row = {"updated_at": "2099-01-01 00:00:00", "update_changes": [], "update_questions": {"sets": [], "runs": []}}
    provenance.SourceUpdate.insert1({"update_id": "1" * 32, **row})
    provenance.Deletion.insert1({
        "deletion": "0" * 32, "deleted_at": provenance.now(), "deleted_by": "somebody", "deleted_from": "somewhere",
        "deleted_table": "FOV", "deleted_keys": [{"eid": version_1.EIDS[0], "fov": 0}], "deleted_rows": {"FOV": 1},
    })  # fmt: skip


if __name__ == "__main__":
    make()
