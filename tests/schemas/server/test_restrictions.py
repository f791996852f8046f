"""Restrictions with any text find the row with exactly this text, also copied, negated, in lists and in deletes."""

from __future__ import annotations

import datajoint as dj
import numpy as np
import pytest

import schemas

NAMES = (
    "50%", "50%%", "a\\b", "a\\\\b", "it's", "it''s", "%", "_", "\\", "\\'", "a\\%s'%%(x)s", '"quoted"', "{0}", "`x`",
)  # fmt: skip


@pytest.fixture
def subjects(database):
    rows = [{"subject": name, "lab": name} for name in NAMES]
    schemas.Subject.insert(rows)
    yield schemas.Subject & [{"subject": name} for name in NAMES]
    (schemas.Subject & [{"subject": name} for name in NAMES]).delete_quick()


def found(query) -> set[str]:
    return {row["subject"] for row in query.to_dicts()}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_found_and_no_other(subjects, name):
    key = {"subject": name}
    assert found(subjects) == set(NAMES)
    assert found(schemas.Subject & key) == {name}
    assert found(schemas.Subject & {"lab": name}) == {name}
    assert found(subjects & [key]) == {name}
    assert found(subjects - key) == set(NAMES) - {name}
    assert found(subjects & dj.Not(key)) == set(NAMES) - {name}
    assert (schemas.Subject & key).fetch1("lab") == name
    again = (schemas.Subject & key).restriction  # as a delete copies it
    assert found(schemas.Subject & again) == {name}
    assert found(schemas.Subject & dj.AndList([again, again])) == {name}
    assert found(subjects & dj.Not(again)) == set(NAMES) - {name}
    record = np.array([(name,)], dtype=[("subject", object)])[0]
    assert found(schemas.Subject & record) == {name}
    assert found(schemas.Subject & (schemas.Subject & key).proj()) == {name}
    assert (schemas.Subject & key).delete_quick(get_count=True) == 1
    assert found(subjects) == set(NAMES) - {name}
