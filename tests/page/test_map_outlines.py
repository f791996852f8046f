"""Outlines of brain and regions on the map of the cells: a planted atlas, on the screen and as sent."""

from __future__ import annotations

import re
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from support.atlas_volume import CENTRES, HALF_AXES, MIDDLE, UM, brain_of_regions, write
from support.pages import ready, words_on

import schemas

pytestmark = pytest.mark.one_backend  # test_atlas_command.py compares the rows, on both

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PAPER = {"light": (255, 255, 255), "dark": (20, 24, 28)}
#: Pairs of regions with a border half way between their middles.
TOUCHING = [("VISa1", "VISam1"), ("VISp1", "VISl1"), ("MOs1", "MOp1"), ("SSp-ll1", "VISa1"), ("FRP1", "MOs1")]
BORDERS = np.array([np.mean([CENTRES[name] for name in pair], axis=0) for pair in TOUCHING]) * 1000
#: The border of the planted brain, away from the words at the edges of the map, um.
TURN = np.radians([25, 50, 130, 155, 205, 230, 310, 335])
EDGE = 1000 * (np.array(MIDDLE) + np.column_stack([np.cos(TURN), np.sin(TURN)]) * HALF_AXES)
#: Most that a border is off its planted place, um: half a voxel, and what makes a line of its steps.
OFF = UM * (0.5 + 1.42)


@pytest.fixture(scope="module")
def atlas(curves, tmp_path_factory):
    """Planted outlines in the database."""
    cache = tmp_path_factory.mktemp("one")
    write(cache, brain_of_regions())
    schemas.AtlasOutline.renew(UM, cache)
    yield cache
    schemas.AtlasOutline().delete_quick()


def inked(page, points: np.ndarray, paper: tuple[int, ...]) -> np.ndarray:
    """Return whether anything is drawn within ``OFF`` of points in um, by this test's own transform of the view."""
    left, right, back, front = page.evaluate("meso.map.limits")
    width, height, ratio = page.evaluate("[meso.map.canvas.width, meso.map.canvas.height, devicePixelRatio]")
    scale = min((width - 24 * ratio) / (right - left), (height - 24 * ratio) / (front - back))
    x = width / 2 + (points[:, 0] - (left + right) / 2) * scale
    y = height / 2 - (points[:, 1] - (back + front) / 2) * scale
    found = page.evaluate(
        """([points, reach, paper]) => {
        const { canvas } = meso.map, { width, height } = canvas;
        const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        return points.map(([x, y]) => {
          const { data } = copy.getImageData(x - reach, y - reach, 2 * reach + 1, 2 * reach + 1);
          const far = (i) => data[i + 3] && paper.reduce((sum, value, k) => sum + Math.abs(value - data[i + k]), 0);
          return [...data.keys()].some((i) => i % 4 === 0 && far(i) > 90);
        }); }""",
        [np.column_stack([x, y]).round().tolist(), int(np.ceil(OFF * scale)) + 1, list(paper)],
    )
    return np.array(found)


def mirrored(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, points * [-1, 1]])


def show(page, limits: str) -> None:
    page.evaluate(f"meso.map.show({limits})")


def test_without_outlines_the_brain_says_how_to_add_them_and_nothing_is_asked_for(tab, address, demo_sessions):
    assert not schemas.AtlasOutline()
    one, asked = tab(), []
    one.page.on("request", lambda request: asked.append(request.url))
    page = ready(one, demo_sessions[0])
    assert not page.is_visible("#no-outlines")
    page.click("#places button:text-is('brain')")
    assert page.inner_text("#no-outlines") == "meso atlas adds the outlines of brain and regions."
    assert one.violations() == []
    page.click("#places button:text-is('cells')")
    assert not page.is_visible("#no-outlines")
    assert not inked(page, mirrored(BORDERS), PAPER["light"])[: len(BORDERS)].any()
    assert not any("outlines.json" in url for url in asked)
    # who reads from another machine cannot run the command there
    place = urlsplit(address)
    with closing(HTTPConnection(place.hostname, place.port, source_address=("127.0.0.2", 0))) as elsewhere:
        elsewhere.request("GET", f"/sessions/{demo_sessions[0]}")
        text = elsewhere.getresponse().read().decode()
    assert "data-outlines" in text and "no-outlines" not in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_borders_are_where_they_were_planted_at_every_zoom(tab, atlas, demo_sessions, scheme):
    one = tab(color_scheme=scheme)
    page = ready(one, demo_sessions[0], "?map=brain")
    paper = PAPER[scheme]
    assert page.locator("#no-outlines").count() == 0
    assert inked(page, EDGE, paper).all() and inked(page, mirrored(BORDERS), paper).all()
    # the whole brain is in view, and fills it
    assert page.evaluate("meso.map.limits") == pytest.approx(
        [1000 * (m + s * h) for m, h in zip(MIDDLE, HALF_AXES, strict=True) for s in (-1, 1)], abs=2 * OFF
    )
    assert one.violations() == []
    page.click("#places button:text-is('cells')")
    fitted = page.evaluate("meso.map.limits")
    ml, ap = np.array(page.evaluate("meso.map.known.map((i) => meso.map.at(i))")).T
    assert fitted == pytest.approx([ml.min(), ml.max(), ap.min(), ap.max()])  # as without outlines
    points = mirrored(BORDERS)
    inside = (points >= [fitted[0], fitted[2]]).all(axis=1) & (points <= [fitted[1], fitted[3]]).all(axis=1)
    assert inside.sum() >= 4 and inked(page, points[inside], paper).all()
    # a few mm around a border, where little else is drawn: the middle between border and name is paper
    show(page, "[2600, 4000, -4100, -2700]")
    border = BORDERS[TOUCHING.index(("VISp1", "VISl1"))]
    assert inked(page, np.array([border]), paper).all()
    assert not inked(page, border + np.array([[200, 0], [-200, 0]]), paper).any()


def test_lines_can_be_seen_and_are_made_once(tab, atlas, demo_sessions):
    """Colours of lines have the least contrast of a mark; zooming makes no path again."""
    for scheme, paper in PAPER.items():
        page = ready(tab(color_scheme=scheme), demo_sessions[0], "?map=brain")
        made, colors = page.evaluate(
            """(() => { let made = 0; const colors = new Set(), line = Path2D.prototype.lineTo;
            const stroke = CanvasRenderingContext2D.prototype.stroke;
            Path2D.prototype.lineTo = function (...at) { made++; line.apply(this, at); };
            CanvasRenderingContext2D.prototype.stroke = function (...path) {
              if (path.length) colors.add(this.strokeStyle);
              stroke.apply(this, path);
            };
            for (let i = 0; i < 9; i++) meso.map.zoom(i < 5 ? 0.7 : 1.6, [0.4, 0.6]);
            CanvasRenderingContext2D.prototype.stroke = stroke;
            Path2D.prototype.lineTo = line;
            return [made, [...colors]]; })()"""
        )
        assert made == 0 and len(colors) == 2
        for color in colors:
            *rgb, alpha = rgba(color)
            drawn = [alpha * value + (1 - alpha) * below for value, below in zip(rgb, paper, strict=True)]
            low, high = sorted((luminance(drawn), luminance(paper)))
            assert (high + 0.05) / (low + 0.05) >= 3, (scheme, color)


def rgba(color: str) -> list[float]:
    """Return red, green, blue and opacity of a colour as a canvas says it."""
    if color.startswith("#"):
        return [int(color[i : i + 2], 16) for i in (1, 3, 5)] + [1.0]
    return [float(number) for number in re.findall(r"[\d.]+", color)]


def luminance(rgb) -> float:
    shares = np.array(rgb, float) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_regions_are_named_where_there_is_room_and_below_the_pointer(tab, atlas, demo_sessions):
    page = ready(tab(), demo_sessions[0], "?map=brain")
    box = page.locator("#map").bounding_box()
    said = words_on(page, "map", "meso.map.draw()")
    names = [text for text, _, _ in said]
    assert names.count("VISl") == 2 and names.count("FRP") == 2
    assert "DEC" not in names  # it is as small as its name
    assert names.count("VISp") == 1  # FOV 0 is in the left one
    assert "ACAd" not in names and "bregma" in names  # bregma has its own name there
    # both are in their hemisphere, at one height
    (one_x, one_y), (other_x, other_y) = [(x, y) for text, x, y in said if text == "VISl"]
    assert {one_x < 0.5, other_x < 0.5} == {True, False} and abs(one_y - other_y) < 0.02

    def point_at(ml: float, ap: float) -> str:
        x, y = page.evaluate(f"[meso.map.place().x({ml}), meso.map.place().y({ap})].map((px) => px / devicePixelRatio)")
        page.mouse.move(box["x"] + x, box["y"] + y)
        return page.inner_text("#where")

    assert point_at(3800, -3300) == "VISl, right: Lateral visual area"
    assert point_at(-1300, 2900) == "FRP, left: Frontal pole cerebral cortex"
    assert point_at(-5000, 4500) == ""
    i = page.evaluate("meso.map.known[0]")
    ml, ap = page.evaluate(f"meso.map.at({i})")
    assert point_at(ml, ap).startswith("cell ")


def test_on_a_phone_a_tap_names_a_region_and_the_page_fits(tab, atlas, demo_sessions):
    one = tab(**PHONE)
    page = ready(one, demo_sessions[0], "?map=brain")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#map").scroll_into_view_if_needed()
    assert inked(page, EDGE, PAPER["light"]).all()
    box = page.locator("#map").bounding_box()
    x, y = page.evaluate("[meso.map.place().x(3800), meso.map.place().y(-3300)].map((px) => px / devicePixelRatio)")
    page.touchscreen.tap(box["x"] + x, box["y"] + y)
    page.wait_for_function("() => document.getElementById('where').textContent.startsWith('VISl, right')")
    assert one.violations() == []


def test_outlines_are_sent_once_compressed_until_they_are_made_again(tab, atlas, address, demo_sessions):
    def version() -> str:
        text = requests.get(f"{address}/sessions/{demo_sessions[0]}", timeout=30).text
        return re.search(r'data-outlines="(\d+)"', text)[1]

    first = version()
    answer = requests.get(
        f"{address}/outlines.json", {"v": first}, headers={"accept-encoding": "gzip"}, stream=True, timeout=30
    )
    assert answer.headers["content-encoding"] == "gzip" and "immutable" in answer.headers["cache-control"]
    assert len(answer.raw.read(decode_content=False)) < 60_000
    one = tab()
    sent: list[int] = []
    one.page.on("response", lambda got: sent.append(got.request.sizes()["responseBodySize"])
                if "outlines.json" in got.url else None)  # fmt: skip
    ready(one, demo_sessions[0])
    ready(one, demo_sessions[1])
    assert len(sent) <= 2 and sum(size > 0 for size in sent) <= 1
    schemas.AtlasOutline.renew(UM, atlas)
    assert version() != first
