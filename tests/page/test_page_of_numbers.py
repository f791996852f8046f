"""Curves of labels that are numbers on the page, in a real browser: R² and its chance, beside curves of classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from support.pages import Tab, served

import meso
import schemas
from populate_scripts import commands
from schemas.session import trials_of

pytestmark = pytest.mark.one_backend
SVG = "{http://www.w3.org/2000/svg}"


def contrast(eid: str) -> np.ndarray:
    """Return the signed contrast of each trial in percent, with some noise: the cells of the demo code its side."""
    trials = trials_of(eid)
    signed = np.nan_to_num(trials["contrastRight"]) - np.nan_to_num(trials["contrastLeft"])
    return 100 * signed + np.random.default_rng(3).normal(0, 5, len(signed))


@pytest.fixture(scope="module")
def numbers(curves, demo_sessions) -> Iterator:
    """Curves of numbers and of classes of the same sessions."""
    found = meso.neuron_dropping_curves_cached(
        demo_sessions, ["contrast", "stimulus"], labels={"contrast": {eid: contrast(eid) for eid in demo_sessions}},
        ks=(4, 16), R=3, n_label_shuffles=19, n_bootstrap=20, plot=False, progress=False,
    )  # fmt: skip
    assert found.failed == {}
    yield found
    commands.drop_labels("contrast")
    (schemas.NDCParams & {"ndc_params": found.targets[1].ndc_params}).delete()


@pytest.fixture(scope="module")
def address(numbers, server) -> Iterator[str]:
    with served(server) as found:
        yield found


@pytest.fixture(scope="module")
def page(chromium, address, numbers) -> Iterator[Tab]:
    """The page of the curves, with all figures drawn."""
    tab = Tab(chromium, address)
    of_numbers, of_classes = (f"params={target.ndc_params}" for target in numbers.targets)
    chosen = f"set={numbers.session_set['session_set']}"
    tab.shown = f"/ndc?subject=SP999&{chosen}&{of_numbers}", f"/ndc?subject=SP999&{chosen}&{of_numbers}&{of_classes}"
    yield tab
    tab.close()
    assert tab.problems == []


def figures(tab: Tab, path: str) -> list[ElementTree.Element]:
    """Return the figures of a page as SVG, in order: curves of each target, trends, performance."""
    opened = tab.open(path)
    opened.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
    opened.wait_for_function("() => [...document.images].every((one) => one.complete && one.naturalWidth)")
    texts = opened.evaluate(
        "() => Promise.all([...document.querySelectorAll('figure img')].map(async (one) => "
        "(await fetch(one.currentSrc)).text()))"
    )
    return [ElementTree.fromstring(text) for text in texts]


def words(figure: ElementTree.Element) -> str:
    return "\n".join("".join(text.itertext()) for text in figure.iter(f"{SVG}text"))


def chance_of(figure: ElementTree.Element) -> float:
    """Return the score at which the dashed line of chance is, by the labels of the axis of scores."""
    paths = (path for path in figure.iter(f"{SVG}path") if "stroke-dasharray" in path.get("style", ""))
    lines = [re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", "")) for path in paths]
    # from one side of the axes to the other; that of the legend is short
    (line,) = [one for one in lines if len(one) == 2 and float(one[1][0]) - float(one[0][0]) > 100]
    labels = []
    for group in figure.iter(f"{SVG}g"):
        if group.get("id", "").startswith("ytick"):
            y = next(float(use.get("y")) for use in group.iter(f"{SVG}use"))
            labels.append((y, float("".join(next(group.iter(f"{SVG}text")).itertext()).replace("−", "-"))))
    heights, scores = np.array(sorted(labels)).T
    return float(np.interp(float(line[0][1]), heights, scores))


def test_curves_of_numbers_have_their_score_and_its_chance(page):
    of_numbers, trends, performance = figures(page, page.shown[0])
    assert "R²" in words(of_numbers) and "AUC" not in words(of_numbers)
    assert chance_of(of_numbers) == pytest.approx(0, abs=0.005)
    for figure in (trends, performance):
        assert "AUC" not in words(figure) and "0.5 of" not in words(figure)
    assert "R² at the largest k" in words(performance)
    assert "AUC" not in page.page.inner_text("main")


def test_beside_classes_each_target_says_its_score(page):
    of_numbers, of_classes, trends, performance = figures(page, page.shown[1])
    assert "R²" in words(of_numbers) and "AUC" not in words(of_numbers)
    assert "AUC" in words(of_classes) and "R²" not in words(of_classes)
    assert chance_of(of_numbers) == pytest.approx(0, abs=0.005)
    assert chance_of(of_classes) == pytest.approx(0.5, abs=0.005)
    assert "(score)" not in words(trends) and "score at the largest k" in words(performance)
    table = page.page.locator("table").first
    heads = table.locator("thead th").all_inner_texts()
    shown = {(row[0], row[heads.index("score")]) for row in map(cells_of, table.locator("tbody tr").all())}
    assert shown == {("contrast", "R²"), ("stimulus", "AUC")}
    assert page.violations() == []


def cells_of(row) -> list[str]:
    return row.locator("td, th").all_inner_texts()
