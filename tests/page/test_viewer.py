"""The page of a session as its users touch it: mouse, wheel, fingers, Back, a laptop's window, both papers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.pages import ready, words_on

import schemas

pytestmark = pytest.mark.one_backend

LAPTOP = {"width": 1366, "height": 650}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def limits(page) -> list[float]:
    return page.evaluate("meso.map.limits")


def view(page) -> dict:
    return page.evaluate("meso.raster.view")


def width(pair) -> float:
    return pair[1] - pair[0]


def settled(page, address_has: str = "") -> None:
    """Wait until the address is that of what is shown."""
    page.wait_for_function("(text) => location.search.includes(text)", arg=address_has)
    page.wait_for_timeout(200)


def drag(page, canvas: str, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
    """Drag over a canvas between points in fractions of it."""
    box = page.locator(canvas).bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down(button=button)
    page.mouse.move(*at[1], steps=4)
    page.mouse.up(button=button)


def wheel(page, canvas: str, turned: float, key: str = "", at: tuple[float, float] = (0.5, 0.5)) -> None:
    box = page.locator(canvas).bounding_box()
    page.mouse.move(box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"])
    if key:
        page.keyboard.down(key)
    page.mouse.wheel(0, turned)
    page.wait_for_timeout(20)
    if key:
        page.keyboard.up(key)


def cells_in_view(page) -> int:
    return page.evaluate(
        """(() => { const { x, y } = meso.map.place(), { width, height } = meso.map.canvas;
        return meso.map.known.map((i) => meso.map.at(i)).filter(([ml, ap]) =>
          x(ml) >= 0 && x(ml) <= width && y(ap) >= 0 && y(ap) <= height).length; })()"""
    )


def test_on_a_laptop_name_and_mean_are_in_view_and_the_wheel_scrolls_the_page(tab, demo_sessions):
    page = ready(tab(viewport=LAPTOP), demo_sessions[0])
    box = page.locator("#raster").bounding_box()
    assert box["height"] > 200
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    assert re.search(r" s, cell \d+ of the order: FOV \d, ROI \d+, ", page.inner_text("#where"))
    for what in ("#where", "#mean canvas", "#map"):
        own = page.locator(what).bounding_box()
        assert own["y"] >= 0 and own["y"] + own["height"] <= LAPTOP["height"], what
    before = view(page)
    page.mouse.wheel(0, 300)
    page.wait_for_function("() => scrollY > 100")
    assert view(page) == before  # nothing was zoomed
    page.mouse.wheel(0, -1000)
    page.wait_for_function("() => scrollY === 0")
    wheel(page, "#raster", -60, "Control", (0.25, 0.5))
    assert width(view(page)["frames"]) == pytest.approx(width(before["frames"]) * np.exp(-60 / 150), rel=1e-6)
    # what is under the pointer stays there
    at = view(page)["frames"][0] + 0.25 * width(view(page)["frames"])
    assert at == pytest.approx(0.25 * before["frames"][1], rel=0.01)
    wheel(page, "#raster", -60, "Shift")
    assert width(view(page)["rows"]) == pytest.approx(width(before["rows"]) * np.exp(-60 / 150), rel=1e-6)
    # 200 % zoom of the same window: nothing is cut at the side
    page.set_viewport_size({"width": 683, "height": 325})
    assert page.evaluate("document.documentElement.scrollWidth") <= 683
    assert page.locator("#raster").bounding_box()["height"] >= 150


def test_the_mouse_moves_the_map_and_all_resets_it(tab, demo_sessions):
    """Also the address keeps it, Back undoes it, and however far one zooms a cell is in view."""
    one = tab(viewport=LAPTOP)
    page = ready(one, demo_sessions[0])
    fitted = limits(page)
    cells = page.evaluate("meso.map.known.map((i) => meso.map.at(i))")
    ml, ap = np.array(cells).T
    assert fitted == pytest.approx([ml.min(), ml.max(), ap.min(), ap.max()])
    wheel(page, "#map", -120, "Control")
    settled(page, "map=")
    zoomed = limits(page)
    assert width(zoomed[:2]) == pytest.approx(width(fitted[:2]) * np.exp(-60 / 150), rel=1e-3)
    page.click("#drag-move")
    drag(page, "#map", (0.5, 0.5), (0.6, 0.4))
    settled(page)
    moved, scale = limits(page), page.evaluate("meso.map.place().scale * meso.map.canvas.width / meso.map.canvas.width")
    size = page.evaluate("[meso.map.canvas.width, meso.map.canvas.height]")
    assert moved[0] - zoomed[0] == pytest.approx(-0.1 * size[0] / scale, rel=0.03)
    assert moved[2] - zoomed[2] == pytest.approx(-0.1 * size[1] / scale, rel=0.03)
    assert "Drag over" in page.inner_text("#selected")  # nothing was selected
    again = ready(tab(viewport=LAPTOP), demo_sessions[0], "?" + page.url.partition("?")[2])
    assert limits(again) == pytest.approx(moved, abs=1)
    page.go_back()
    assert limits(page) == pytest.approx(zoomed, abs=1)
    page.go_back()
    assert limits(page) == pytest.approx(fitted)
    page.click("#places button:text-is('brain')")
    settled(page, "map=brain")
    assert (
        width(limits(page)[:2]) > 9000
        and page.get_attribute("#places button:text-is('brain')", "aria-pressed") == "true"
    )
    page.click("#whole")
    settled(page)
    assert limits(page) == pytest.approx(fitted) and "map=" not in page.url
    page.click("#drag-select")
    for _ in range(10):  # into a place without a cell
        wheel(page, "#map", -200, "Control", (0.5, 0.05))
    assert width(limits(page)[:2]) < 400 and cells_in_view(page) > 0
    drag(page, "#map", (0.5, 0.5), (0.5, 0.9), button="middle")
    assert cells_in_view(page) > 0
    for _ in range(16):
        wheel(page, "#map", 200, "Control")
    assert width(limits(page)[:2]) <= page.evaluate("meso.map.whole[1] - meso.map.whole[0]") + 1


def test_back_undoes_zoom_and_selection_of_the_raster(tab, demo_sessions):
    page = ready(tab(), demo_sessions[0])
    whole = view(page)
    page.click("#time-in")
    settled(page, "t=")
    zoomed = view(page)
    drag(page, "#raster", (0.2, 0.3), (0.2, 0.6))
    settled(page, "rows=")
    page.go_back()
    page.wait_for_function("() => document.getElementById('selected').textContent.includes('Drag over')")
    assert width(view(page)["frames"]) == pytest.approx(width(zoomed["frames"]), rel=0.01)
    page.go_back()
    assert view(page) == whole
    page.go_forward()
    assert width(view(page)["frames"]) == pytest.approx(width(zoomed["frames"]), rel=0.01)


def fingers(page):
    """Return a function that says where the fingers are on the screen now; none at the end."""
    client = page.context.new_cdp_session(page)

    def put(kind: str, *points: tuple[float, float]) -> None:
        touched = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    return put


@pytest.mark.parametrize("drags", ["scroll", "select"])
def test_two_fingers_zoom_raster_and_map_on_a_phone_and_select_nothing(tab, demo_sessions, drags):
    page = ready(tab(**PHONE), demo_sessions[0])
    page.tap(f"#drag-{drags}")
    touch = fingers(page)
    for canvas in ("#map", "#raster"):
        page.locator(canvas).scroll_into_view_if_needed()
        box = page.locator(canvas).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = limits(page), view(page)
        touch("touchStart", (x - 30, y - 30), (x + 30, y + 30))
        for by in (40, 50, 60):
            touch("touchMove", (x - by, y - by), (x + by, y + by))
        touch("touchEnd")
        now = limits(page), view(page)
        if canvas == "#map":
            assert width(now[0][:2]) == pytest.approx(width(before[0][:2]) / 2, rel=0.05)
        else:
            assert width(now[1]["frames"]) == pytest.approx(width(before[1]["frames"]) / 2, rel=0.05)
        assert "Drag over" in page.inner_text("#selected")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def luminance(color: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(("scheme", "paper"), [("light", "#ffffff"), ("dark", "#14181c")])
def test_colours_can_be_seen_and_the_raster_has_a_scale_and_no_tint(tab, demo_sessions, scheme, paper):
    page = ready(tab(color_scheme=scheme), demo_sessions[0])
    assert page.evaluate("meso.raster.tints") is None and not page.is_checked("#wash")
    own = luminance(paper)
    for by in page.locator("#color option").evaluate_all("(all) => all.map((one) => one.value)"):
        page.select_option("#color", by)
        for color in page.evaluate("[...new Set(meso.map.colors)]"):
            low, high = sorted((luminance(color), own))
            assert (high + 0.05) / (low + 0.05) >= 2.99, (by, color)
    assert page.locator("#legend button").all_inner_texts() == [
        f"FOV {row['fov']} ({row['n_neurons']})"
        for row in sorted((schemas.FOV & {"eid": demo_sessions[0]}).to_dicts(), key=lambda row: -row["n_neurons"])
    ]
    assert len(page.evaluate("[...new Set(meso.map.colors)]")) == 3
    page.click("#legend button >> nth=0")
    n = int(re.search(r"\((\d+)\)", page.inner_text("#legend button >> nth=0")).group(1))
    assert page.inner_text("#selected") == f"{n} cells selected in FOV 0."
    ends = page.evaluate(
        """(() => { const c = document.getElementById("shades"), copy = new OffscreenCanvas(c.width, c.height);
        const g = copy.getContext("2d", { willReadFrequently: true });
        g.drawImage(c, 0, 0);
        return [0, c.width - 1].map((x) => [...g.getImageData(x, 4, 1, 1).data.slice(0, 3)]); })()"""
    )
    assert ends[0] == [int(paper[i : i + 2], 16) for i in (1, 3, 5)]
    most = page.inner_text("#shades-most")
    page.fill("#contrast", "2")
    assert float(page.inner_text("#shades-most").split()[0]) == pytest.approx(float(most.split()[0]) / 2, abs=0.006)
    page.check("#wash")
    settled(page, "tint=yes")
    assert page.evaluate("meso.raster.tints.length") == int(page.get_attribute("#viewer", "data-cells"))


def test_planes_of_one_place_are_told_apart(tab, demo_sessions):
    """The FOVs of a session are moved to one place, as those of a multi-plane recording."""
    one = tab()

    def moved(route) -> None:
        answer = route.fetch()
        cells = answer.json()
        shift = {0: (0, 0), 1: (-1350, -1000), 2: (-5500, -2300)}
        for axis, name in enumerate(("ml", "ap")):
            cells[name] = [
                None if at is None else at + shift[fov][axis] for at, fov in zip(cells[name], cells["fov"], strict=True)
            ]
        route.fulfill(response=answer, json=cells)

    one.page.route("**/cells.json*", moved)
    page = ready(one, demo_sessions[0])
    planes = page.evaluate("meso.map.outlines.map(({ plane, planes }) => [plane, planes])")
    assert planes == [[0, 3], [1, 3], [2, 3]]
    depths = page.evaluate("meso.map.cells.fovs")
    for row in (schemas.FOV & {"eid": demo_sessions[0]}).to_dicts():
        dv = (schemas.ROI & {"eid": demo_sessions[0], "fov": row["fov"]} & "is_neuron").to_arrays("dv").astype(float)
        assert depths[str(row["fov"])]["depth"] == round(float(np.nanmean(dv)))
    # the names are at different heights, and each plane can be shown alone
    texts = words_on(page, "map", "meso.map.draw()")
    tall = page.locator("#map").bounding_box()["height"]
    own = {text: y * tall for text, _, y in texts if text.startswith("FOV")}
    assert len(own) == 3 and all("µm" in text for text in own)
    heights = sorted(own.values())
    assert min(np.diff(heights)) >= 11
    page.click("#places button:text-is('FOV 1')")
    settled(page, "plane=1")
    assert page.evaluate("meso.map.only") == 1
    n = page.evaluate(
        "(() => { const { width, height } = meso.map.canvas; return meso.map.nearest(width / 2, height / 2); })()"
    )
    assert n is None or page.evaluate("(i) => meso.map.cells.fov[i]", n) == 1


def test_a_pause_has_its_length_on_the_axis(tab, demo_sessions):
    page = ready(tab(), demo_sessions[3])
    clock = np.array(page.evaluate("meso.timeline.data.clock"))
    (before,) = np.flatnonzero(np.diff(clock) > 1)
    texts = words_on(page, "axis", "meso.raster.draw()")
    ((text, x, _),) = [one for one in texts if one[0].startswith("pause")]
    assert text == f"pause of {round(clock[before + 1] - clock[before])} s"
    assert x == pytest.approx((before + 1) / len(clock), abs=0.05)
    assert not [one for one in texts if one[0].isdigit() and clock[before] < float(one[0]) < clock[before + 1]]
