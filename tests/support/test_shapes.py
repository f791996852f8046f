"""What the recorder of statements takes for the same, and its choice of tests."""

from __future__ import annotations

import json

import pytest

from support.shapes import Recorded, shapes_of

SCHEMAS = frozenset(("session", "decoding", "views"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM `t1_session`.`wheel` WHERE `n`=3", "SELECT a FROM `x9_session`.`wheel`\n WHERE `n`=-1.5e-7"),
        (r"SELECT 1 WHERE a='it\'s' OR b='`x`'", "SELECT 12 WHERE a='' OR b='don''t say (1, 2)'"),
        ("INSERT INTO `a` VALUES (1,'x',NULL)", "INSERT INTO `a` VALUES (2,_binary'\\0)',3.5),(NULL, X'00ff', 'y')"),
        ("SELECT 1 WHERE eid IN ('a')", "SELECT 1 WHERE eid IN ('b', 'c', 'd')"),
        ("DELETE FROM a WHERE ((`k`=1))", "DELETE FROM a WHERE ((`k`=1) OR (`k`=2) OR (`k`=3))"),
        ("DELETE FROM a WHERE ((`k`=1 AND `l`=2) OR (`k`=2 AND `l`=2))", "DELETE FROM a WHERE ((`k`=1 AND `l`=2))"),
    ],
)  # fmt: skip
def test_values_lengths_and_prefixes_are_no_part_of_a_shape(one, other):
    assert list(shapes_of(one, SCHEMAS)) == list(shapes_of(other, SCHEMAS))


@pytest.mark.parametrize(
    "other",
    [
        "SELECT a FROM `t1_session`.`wheel` WHERE n IS NOT NULL",
        "SELECT a FROM `t1_session`.`wheel` WHERE n IS NULL ORDER BY a",
        "SELECT a FROM `t1_session`.`trial` WHERE n IS NULL",
        "SELECT a FROM `t1_decoding`.`wheel` WHERE n IS NULL",
        "SELECT a FROM `t1_session`.`wheel` WHERE n = 3",
    ],
)
def test_what_is_asked_for_is(other):
    (shape,) = shapes_of("SELECT a FROM `t1_session`.`wheel` WHERE n IS NULL", SCHEMAS)
    assert shape not in shapes_of(other, SCHEMAS)


def test_queries_within_others_are_shapes_of_their_own():
    """And restrictions by keys are one, however DataJoint combines them."""
    nested = "SELECT `a` FROM (SELECT `b` FROM `x` WHERE ( (`k`=1)) UNION SELECT `c` FROM `y`) as `$1f` WHERE a > 1"
    outer = "SELECT `a` FROM (query) as `0` WHERE a > ?"
    assert set(shapes_of(nested, SCHEMAS)) == {"SELECT `b` FROM `x` WHERE keys", "SELECT `c` FROM `y`", outer}
    keys = "DELETE FROM `x` WHERE ((`k`=1 AND `l`='a')OR((`l`) in (SELECT `l` FROM `y`)))AND(NOT (`k`=2))"
    assert set(shapes_of(keys, SCHEMAS)) == {"DELETE FROM `x` WHERE keys", "SELECT `l` FROM `y`"}


def test_the_choice_sends_all_that_the_tests_on_mysql_send(tmp_path):
    """One that pays for a fixture makes the others that use it cheap; what one backend alone sends is named."""
    lines = [
        {"name": "filled", "one_backend": False, "uses": [], "seconds": 10, "sends": [0]},
        {"name": "a", "one_backend": False, "uses": ["filled"], "seconds": 1, "sends": [1, 2, 3]},
        {"name": "b", "one_backend": False, "uses": ["filled"], "seconds": 1, "sends": [4]},
        {"name": "c", "one_backend": False, "uses": [], "seconds": 5, "sends": [4]},
        {"name": "d", "one_backend": True, "uses": [], "seconds": 5, "sends": [4, 5]},
        {"shapes": ["0", "1", "2", "3", "4", "5"]},
    ]
    path = tmp_path / "recorded"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    recorded = Recorded(path)
    assert [(test, added) for test, added, _ in recorded.choice()] == [("a", {0, 1, 2, 3}), ("b", {4})]
    assert recorded.only_elsewhere() == {5: "d"}
