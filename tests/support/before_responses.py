"""The tables of a version that had none of responses to kinds of trials (before version 22)."""

from __future__ import annotations

from schemas.server import binding
from schemas.setup import migrations, views

#: The version that added the schema "responses".
RESPONSES = next(one for one in migrations.MIGRATIONS if one.title.startswith("responses")).number


def without_responses() -> None:
    """Have ``migrations.init`` in this process declare neither the tables of responses nor their views."""
    del binding.MODULES["responses"], binding.MODULES["days"]  # which refers to it
    views.of_responses = views.of_days = dict
