"""Create a database as version 31 did, with settings of penalty "auto" and a difference within mice: a script, run by
test_database.
"""

from __future__ import annotations

from schemas import provenance, session
from schemas.decoding import tables as decoding
from schemas.setup import migrations, views
from support import version_1

#: Beginnings of the lines that later versions added.
NEW_LINES = {
    decoding.NDCParams: ("c_range=", "shared_folds="),
    decoding.NDCPopulation.Difference: ("level_", "n_level_pairs="),
}
#: Settings of before, of the choice by default, and beyond the stimulus, with the keys that they had.
KEYS = {"none": "c5169d0f28da16e21428091b93e6f591", "stimulus": "74ab926e8e724f5e3a721f3c2abedcae"}
ROW = {
    **version_1.ROWS[0], "null_mode": "auto", "n_bootstrap": 200, "null_subsets": 5, "penalty": "auto",
    "intervals": "calibrated", "choice_model": "dynamic",
}  # fmt: skip


def make() -> None:
    """Declare the tables of version 31; insert two settings, two sessions with a curve each, and a difference."""
    for table, beginnings in NEW_LINES.items():
        lines = table.definition.splitlines()
        table.definition = "\n".join(line for line in lines if not line.strip().startswith(beginnings))
    del session.Session.File
    views.queries = dict  # those of this version show the new column
    migrations.init(migrations=migrations.MIGRATIONS[:31])
    version_1.insert_rows()
    insert_difference()
    for beyond, key in KEYS.items():
        balance = "downsample" if beyond == "none" else "none"
        decoding.NDCParams.insert1({**ROW, "ndc_params": key, "beyond": beyond, "class_balance": balance})


def insert_difference() -> None:
    """Insert a population with a difference of two slopes."""
    software = {"environment": provenance.Environment().fetch1("environment")}
    key = {"ndc_cohort": "c" * 32}
    decoding.NDCCohort.insert1({**key, "n_members": 2})
    decoding.NDCPopulation.insert1({**key, "n_subjects": 1, **software}, allow_direct_insert=True)
    decoding.NDCPopulation.Difference.insert1(
        {
            **key, "question": "1" * 32, "other_question": "2" * 32, "quantity": "code_k", "pair_name": "b minus a",
            "n_pairs": 1, "slope_difference": -0.1, "difference_sd": 0.0,
        }, allow_direct_insert=True,
    )  # fmt: skip


if __name__ == "__main__":
    make()
