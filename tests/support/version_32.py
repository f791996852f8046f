"""Create a database as version 32 did, with two curves of penalty "auto": a script, run by test_database."""

from __future__ import annotations

from schemas.decoding import tables as decoding
from schemas.setup import migrations, views
from support import version_1

#: The version that added the setting.
C_CHOICE = next(one for one in migrations.MIGRATIONS if one.title.endswith("how penalty auto chooses c")).number
#: Settings of before, of the choice by default, and beyond the stimulus, with the keys that they had.
KEYS = {"none": "c5169d0f28da16e21428091b93e6f591", "stimulus": "74ab926e8e724f5e3a721f3c2abedcae"}
ROW = {
    **version_1.ROWS[0], "null_mode": "auto", "n_bootstrap": 200, "null_subsets": 5, "penalty": "auto",
    "intervals": "calibrated", "choice_model": "dynamic",
}  # fmt: skip


def make() -> None:
    """Declare the tables of the versions before; insert two settings, and two sessions with a curve each."""
    lines = decoding.NDCParams.definition.splitlines()
    decoding.NDCParams.definition = "\n".join(line for line in lines if not line.strip().startswith("c_choice="))
    views.queries = dict  # those of this version show the new column
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < C_CHOICE])
    version_1.insert_rows()
    for beyond, key in KEYS.items():
        balance = "downsample" if beyond == "none" else "none"
        decoding.NDCParams.insert1({**ROW, "ndc_params": key, "beyond": beyond, "class_balance": balance})


if __name__ == "__main__":
    make()
