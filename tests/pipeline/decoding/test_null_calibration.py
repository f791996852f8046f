"""The short form of ``benchmarks/changing_mice.py``: it fails when a null no longer knows how its mouse changes."""

from __future__ import annotations

import pytest
from support.null_cases import ALPHA, Case, one_session

pytestmark = pytest.mark.slow


def significant(case: Case, n: int, *nulls: str) -> list[int]:
    found = [one_session(case, number, nulls) for number in range(n)]
    return [sum(one[null] <= ALPHA + 1e-9 for one in found) for null in nulls]


def test_bias_that_turns_fools_the_static_mouse_alone():
    static, dynamic = significant(Case("choice", "turns", "tile", 300), 24, "static", "pseudosession")
    # 4 of 24 or more by chance: 0.03 at 5 %
    assert dynamic <= 4 < static, (static, dynamic)


def test_cells_of_the_stimulus_are_significant_beyond_nothing_but_not_beyond_the_stimulus():
    plain, conditional = significant(Case("choice", "stationary", "stimulus", 200), 16, "pseudosession", "conditional")
    assert plain >= 14 and conditional <= 3, (plain, conditional)


def test_cells_of_the_last_choice_are_not_significant_beyond_it():
    case = Case("choice", "win-stay, lose-shift", "last choice", 300)
    plain, conditional = significant(case, 16, "pseudosession", "conditional")
    assert plain >= 9 and conditional <= 3, (plain, conditional)


@pytest.mark.parametrize(("mouse", "cells"), [("strongly second last", "second last"),
                                              ("strongly fifth last", "fifth last")])  # fmt: skip
def test_cells_of_an_earlier_choice_fool_the_mouse_that_knows_one_last_choice_alone(mouse, cells):
    case = Case("choice", mouse, cells, 300)
    former, conditional = significant(case, 16, "former conditional", "conditional")
    assert former >= 9 and conditional <= 3, (former, conditional)


def test_weak_information_is_still_found():
    static, dynamic, conditional = significant(
        Case("choice", "stationary", "planted", 300, effect=0.2), 10, "static", "pseudosession", "conditional"
    )
    assert min(static, dynamic, conditional) >= 9, (static, dynamic, conditional)
