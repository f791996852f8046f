"""Create a database as version 29 did, with two curves and the default embedding: a script, run by test_database."""

from __future__ import annotations

from schemas import embedding
from schemas.setup import migrations
from support import version_1

#: The version that added these parts.
SIGNALS = next(one for one in migrations.MIGRATIONS if one.title.startswith("embeddings of a signal")).number


def make() -> None:
    """Declare the tables of the versions before; insert two sessions with a curve each."""
    del embedding.EmbeddingParams.OfSignal, embedding.Embedding.OwnSignal
    migrations.init(migrations=[one for one in migrations.MIGRATIONS if one.number < SIGNALS])
    version_1.insert_rows()


if __name__ == "__main__":
    make()
