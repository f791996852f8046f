"""Create a database as version 23 did, with two curves: a script, run by test_database."""

from __future__ import annotations

from schemas import embedding
from schemas.decoding import tables as decoding
from schemas.server import binding
from schemas.setup import migrations, views
from support import version_1

#: Beginnings of the lines that version 24 added to NDCParams.
NEW_LINES = ("decoded_signal=", "dff_")


def make() -> None:
    """Declare the tables of version 23; insert two sessions with a curve each."""
    lines = decoding.NDCParams.definition.splitlines()
    decoding.NDCParams.definition = "\n".join(line for line in lines if not line.strip().startswith(NEW_LINES))
    del decoding.TrialFeatures.OwnSignal, embedding.Embedding.OwnSignal, embedding.EmbeddingParams.OfSignal
    del binding.MODULES["signals"], binding.MODULES["days"]  # days refers to signals
    views.queries = dict  # those of this version show the new column
    migrations._store_uncompressed = lambda connection: None  # there is no table of signals yet
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < 24])
    version_1.insert_rows()


if __name__ == "__main__":
    make()
