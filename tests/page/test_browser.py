"""The pages in a real browser: opened, clicked through, on a phone, by keyboard, in dark, with hostile names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
from support import version_3
from support.pages import WINDOW, Tab, inked, ready, served, words_on

import schemas

pytestmark = pytest.mark.one_backend  # test_page.py compares what is answered, on both

HOSTILE = "<script>alert(1)</script>\"'&"
LONG = "A region whose name goes on " * 9 + "<b>"
EVIL_EID = "00000000-0000-4000-8000-0000000000e1"


@pytest.fixture(scope="module")
def hostile(chromium, database, curves, demo_sessions):
    """A subject, a region, an error and a note whose names are code."""
    from schemas.imaging.tables import FOV, ROI
    from schemas.rows import jobs_of

    schemas.Subject.insert1({"subject": HOSTILE, "lab": "<i>lab"})
    row = {"session_date": "2024-01-01", "session_number": 1, "ingested_at": "2024-01-01 00:00:00"}
    schemas.Session.insert1(
        {"eid": EVIL_EID, "subject": HOSTILE, "task_protocol": "<img src=x onerror=alert(2)>", **row}
    )
    version_3.insert_fov(EVIL_EID, 0, 5, 5, 30)
    region = {"region_id": 999_999_999, "acronym": "<svg onload=alert(3)>", "region_name": LONG[:255]}
    schemas.BrainRegion.insert1(region | {"rgb": "#123456", "beryl": "<b>'\"beryl", "cosmos": "x"})
    key = {"eid": EVIL_EID, "fov": 0}
    FOV.Region.insert1({**key, "region_id": 999_999_999, "n_region_rois": 5, "n_region_neurons": 5},
                       allow_direct_insert=True)  # fmt: skip
    ROI.update1({**key, "roi": 1, "region_id": 999_999_999})
    jobs = jobs_of(schemas.Recording)
    # one of another time, and one that somebody else wrote, without a time
    for fov, time in ((0, "2024-01-02 03:04:05"), (1, None)):
        jobs.insert1({**key, "fov": fov, "status": "error", "priority": 5, "error_message": f"DataError: {HOSTILE}",
                      "error_stack": "<script>alert(4)</script>", "host": "<b>host", "completed_time": time},
                     ignore_extra_fields=True)  # fmt: skip
    doubt = {"eid": demo_sessions[2], "doubt": 99}
    schemas.Wheel.Doubt.insert1({**doubt, "doubt_text": f"session {demo_sessions[2]}, {HOSTILE} {LONG}"[:2048]})
    yield EVIL_EID
    (schemas.Wheel.Doubt & doubt).delete_quick()
    (schemas.Subject & {"subject": HOSTILE}).delete(prompt=False)
    (jobs & {"eid": EVIL_EID}).delete()
    (schemas.BrainRegion & {"region_id": 999_999_999}).delete(prompt=False)


@pytest.fixture(scope="module")
def address(hostile, server) -> Iterator[str]:
    with served(server) as found:
        yield found


def pages_of(eid: str) -> list[str]:
    return ["/", "/sessions", "/sessions?subject=SP999", f"/sessions/{eid}", f"/sessions/{eid}/cells/0/3",
            "/tracking?subject=SP999", "/ndc?subject=SP999", "/nowhere"]  # fmt: skip


@pytest.fixture(scope="module")
def reader(chromium, address) -> Iterator[Tab]:
    """One tab for all pages, each of which is loaded anew: what its process has compiled is compiled."""
    one = Tab(chromium, address)
    yield one
    one.close()


@pytest.mark.parametrize("number", range(8))
def test_every_page_is_accessible(reader, demo_sessions, number):
    """axe-core finds nothing, in light and dark mode; all images load; the page fits a phone's window."""
    path = pages_of(demo_sessions[2])[number]
    for scheme in ("light", "dark"):
        reader.page.set_viewport_size(WINDOW)
        reader.page.emulate_media(color_scheme=scheme)
        page = reader.open(path)
        if path == "/nowhere":
            reader.problems.clear()  # the browser notes the 404
        page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
        page.wait_for_load_state("networkidle")
        assert reader.violations() == [], scheme
        assert (
            page.evaluate(
                "[...document.images].filter((one) => !one.complete || !one.naturalWidth).map((one) => one.src)"
            )
            == []
        )
        page.set_viewport_size({"width": 360, "height": 740})
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert reader.problems == []


def test_notes_on_the_files_of_a_session_are_one_line_until_they_are_opened(tab, demo_sessions):
    page = ready(tab(), demo_sessions[2])
    notes = page.locator(".notes")
    assert notes.inner_text().strip() == "1 note on the files of this session"
    page.click(".notes summary")
    assert notes.locator("li").inner_text().startswith(" ".join(HOSTILE.split()))
    assert ready(tab(), demo_sessions[0]).locator(".notes").count() == 0


def test_first_paint_and_weight(tab, demo_sessions):
    """No page weighs 300 kB without its data. A benchmark measures how long it takes."""
    one = tab()
    sizes: dict[str, int] = {}
    one.page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
    ready(one, demo_sessions[0])
    data = re.compile(r"/(raster|mean)\?|\.json\?")
    assert any(map(data.search, sizes))
    assert sum(size for url, size in sizes.items() if not data.search(url)) < 300_000


def test_home_leads_to_sessions_and_shows_errors_with_their_stack(tab):
    one = tab()
    page = one.open("/")
    assert page.locator(".pipeline .node").count() > 20
    assert page.locator(".node.has-errors .label", has_text="Recording").count() == 1
    summaries = page.locator("summary", has_text="Recording")
    assert [
        text.split("\n")[0].startswith(f"Recording {HOSTILE} 2024-01-01 001 fov=")
        for text in summaries.all_inner_texts()
    ] == [True, True]
    assert "2024-01-02 03:04:05" in summaries.nth(0).inner_text()  # the newest first, that without a time last
    summaries.first.click()
    assert page.locator("details[open] pre").inner_text() == "<script>alert(4)</script>"
    # while one of its elements has the focus it is not refreshed, and does not call itself live
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('Paused at ')")
    with page.expect_response("**/live"):
        page.locator("h1").click()
        page.evaluate("document.activeElement.blur()")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('Live, as of ')")
    assert page.locator("details[open] pre").count() == 1  # what was open stays open
    page.route("**/live", lambda route: route.abort())
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('Not live: no answer since')")
    one.problems.clear()  # the browser notes the failed request
    page.unroute("**/live")
    # a graph that is wider than the window says so; all names are inside of their boxes
    page.set_viewport_size({"width": 1366, "height": 650})
    graph = page.locator(".scroll").first
    page.wait_for_function(
        "(one) => one.previousElementSibling.hidden === (one.scrollWidth <= one.clientWidth)",
        arg=graph.element_handle(),
    )
    assert page.locator(".more").is_visible() == graph.evaluate("(one) => one.scrollWidth > one.clientWidth")
    boxes = page.locator(".pipeline .node").evaluate_all(
        """(all) => all.map((one) => [one.querySelector(".label").textContent,
        one.querySelector(".label").getBBox().width, one.querySelector("rect").getBBox().width])"""
    )
    assert [name for name, text, box in boxes if text + 8 > box - 4] == []
    page.click("text=sessions of")
    page.wait_for_url("**/sessions*")


def test_sessions_are_sorted_and_filtered_and_the_address_keeps_it(tab, demo_sessions):
    page = tab().open("/sessions")
    dates = page.locator("#sessions tbody th")
    n = dates.count()
    page.click("thead button:text-is('Neurons')")
    shown = [
        int(re.sub(r"\D", "", text) or 0) for text in page.locator("#sessions tbody td:nth-child(5)").all_inner_texts()
    ]
    assert shown == sorted(shown)
    page.click("thead button:text-is('Neurons')")
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Neurons")
    page.fill("#search", "sp999 2025-03-07")
    assert page.locator("#sessions tbody tr:visible").count() == 1
    again = tab().open(page.url.removeprefix(page.url.split("/sessions")[0]))
    assert again.locator("#sessions tbody tr:visible").count() == 1
    assert again.locator("th[aria-sort=descending]").inner_text().startswith("Neurons")
    again.fill("#search", "")
    again.check("#failing")
    assert again.locator("#sessions tbody tr:visible").count() == 1 < n
    again.uncheck("#failing")
    again.fill("#least", "100")
    assert again.locator("#sessions tbody tr:visible").count() == len(demo_sessions)


def test_dragging_over_the_raster_marks_cells_on_the_map_and_shows_their_mean(tab, demo_sessions):
    page = ready(tab(), demo_sessions[0])
    assert inked(page, "raster") > 0.3 and inked(page, "map") > 0.002 and inked(page, "strip") > 0.3
    assert inked(page, "rows") > 0.01
    n_cells = int(page.get_attribute("#viewer", "data-cells"))
    box = page.locator("#raster").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + box["height"] * 0.5, steps=4)
    with page.expect_response(lambda answer: "/mean?" in answer.url and "rows=" in answer.url):
        page.mouse.up()
    first, last = (int(n) for n in re.search(r"rows=(\d+)%3A(\d+)", page.url).groups())
    assert first == pytest.approx(n_cells * 0.25, abs=3) and last == pytest.approx(n_cells * 0.5, abs=3)
    assert page.inner_text("#selected").startswith(f"{last - first} cells selected")
    chosen = page.evaluate("[...meso.map.chosen.keys()].filter((i) => meso.map.chosen[i])")
    assert chosen == list(range(first, last))


def test_a_pause_of_the_imaging_is_drawn_as_a_break(tab, demo_sessions):
    """Nothing is drawn there, neither activity nor the wheel nor the mean."""
    page = ready(tab(), demo_sessions[3])  # with two bouts
    clock = np.array(page.evaluate("meso.timeline.data.clock"))
    (after,) = np.flatnonzero(np.diff(clock) > 1) + 1
    assert page.evaluate("meso.timeline.breaks") == [after]
    band = """(after) => { const { ctx, bbox } = meso.mean.plot, [first, last] = meso.raster.view.frames;
        const x = bbox.left + (after - first) / (last - first) * bbox.width;
        return [-8, -1.5, 0, 1, 8].map((shift) => { const copy = new OffscreenCanvas(1, bbox.height).getContext("2d");
          copy.drawImage(ctx.canvas, -Math.round(x + shift * devicePixelRatio), -bbox.top);
          return new Set(new Uint32Array(copy.getImageData(0, 0, 1, bbox.height).data.buffer)).size; }); }"""
    # also where the pause is a fraction of a pixel
    page.wait_for_function("() => meso.mean.plot?.data[1].includes(null)")
    before, *in_band, later = page.evaluate(band, int(after))
    assert in_band == [1, 1, 1] and min(before, later) > 1
    page.fill("#from-time", f"{clock[after - 60]:.1f}")
    page.fill("#to-time", f"{clock[after + 40]:.1f}")
    page.click("#ranges button[type=submit]")
    page.wait_for_function("() => !meso.raster.isAsking")
    page.wait_for_load_state("networkidle")
    colors = """([id, frame, shift]) => {
        const c = document.getElementById(id), [first, last] = meso.raster.view.frames;
        const x = Math.round((frame - first) / (last - first) * c.width + shift * devicePixelRatio);
        const copy = new OffscreenCanvas(c.width, c.height).getContext("2d");
        copy.drawImage(c, 0, 0);
        return new Set(new Uint32Array(copy.getImageData(x, 0, 1, c.height).data.buffer)).size; }"""
    for canvas in ("raster", "events"):
        in_band = [page.evaluate(colors, [canvas, int(after), shift]) for shift in (-1.5, 0, 1)]
        beside = [page.evaluate(colors, [canvas, int(after), shift]) for shift in (-8, 8)]
        assert in_band == [1, 1, 1]
        assert min(beside) > 1
    page.wait_for_function("() => meso.mean.plot.scales.x.min === meso.raster.view.frames[0]")
    before, *in_band, later = page.evaluate(band, int(after))
    assert in_band == [1, 1, 1] and min(before, later) > 1
    frames, values = page.evaluate("[...meso.mean.plot.data]")
    assert [frame for frame, value in zip(frames, values, strict=True) if value is None] == [after]
    assert frames == sorted(frames)


def test_dragging_over_the_map_marks_rows(tab, demo_sessions):
    page = ready(tab(), demo_sessions[0])
    fov = page.evaluate(
        """(() => { const { outlines } = meso.map, { x, y } = meso.map.place();
        return outlines[0].corners.map(([ml, ap]) => [x(ml) / devicePixelRatio, y(ap) / devicePixelRatio]); })()"""
    )
    box = page.locator("#map").bounding_box()
    left, right = min(x for x, _ in fov) - 3, max(x for x, _ in fov) + 3
    top, bottom = min(y for _, y in fov) - 3, max(y for _, y in fov) + 3
    page.mouse.move(box["x"] + left, box["y"] + top)
    page.mouse.down()
    page.mouse.move(box["x"] + right, box["y"] + bottom, steps=4)
    with page.expect_response(lambda answer: "/mean?" in answer.url and "box=" in answer.url):
        page.mouse.up()
    n = len(schemas.ROI & {"eid": demo_sessions[0], "fov": 0} & "is_neuron" & "ml is not null")
    assert page.inner_text("#selected") == f"{n} cells selected."
    assert "box=" in page.url
    page.focus("#map")
    limits = page.evaluate("meso.map.limits")
    page.keyboard.press("+")
    assert page.evaluate("meso.map.limits[1] - meso.map.limits[0]") == pytest.approx(0.7 * (limits[1] - limits[0]))
    page.keyboard.press("0")
    assert page.evaluate("meso.map.limits") == pytest.approx(limits)
    page.keyboard.press("Escape")
    assert "Drag over" in page.inner_text("#selected")


def test_keyboard_and_fields_move_and_zoom(tab, demo_sessions):
    page = ready(tab(), demo_sessions[0])
    view = lambda: page.evaluate("meso.raster.view")  # noqa: E731
    whole = view()
    page.focus("#raster")
    with page.expect_response(lambda answer: "/raster?" in answer.url):
        for key in ("+", "+", "+", "+", "+", "Shift+Equal", "Shift+Equal"):
            page.keyboard.press(key)
    page.wait_for_function("() => !meso.raster.isAsking")
    assert page.evaluate("meso.raster.pictures.some((one) => meso.raster.isSharp(one))")
    part = page.evaluate("(({ shape, rows, frames }) => ({ shape, rows, frames }))(meso.raster.pictures.at(-1))")
    assert part["shape"] == [part["rows"][1] - part["rows"][0], part["frames"][1] - part["frames"][0]]  # each frame
    zoomed = view()
    width = lambda pair: pair[1] - pair[0]  # noqa: E731
    assert width(zoomed["frames"]) == pytest.approx(width(whole["frames"]) * 0.7**5, rel=1e-6)
    assert width(zoomed["rows"]) == pytest.approx(width(whole["rows"]) * 0.7**2, rel=1e-6)
    page.keyboard.press("ArrowRight")
    assert view()["frames"][0] == pytest.approx(zoomed["frames"][0] + 0.2 * width(zoomed["frames"]))
    page.keyboard.press("Shift+ArrowDown")
    assert "cells selected" in page.inner_text("#selected")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent").startswith("cell ")
    page.focus("#raster")
    page.keyboard.press("0")
    assert view() == whole
    page.fill("#from-time", "100")
    page.fill("#to-time", "160")
    page.fill("#from-row", "40")
    page.fill("#to-row", "90")
    page.click("#ranges button[type=submit]")
    shown = view()
    assert shown["rows"] == [40, 90]
    for field, value, told in (
        ("#to-time", "90", "Times are"),
        ("#to-time", "", "Times are"),
        ("#to-row", "30", "Cells are"),
    ):
        before = page.input_value(field)
        page.fill(field, value)
        page.click("#ranges button[type=submit]")
        assert page.inner_text("#refused").startswith(told) and view() == shown
        page.fill(field, before)
    assert page.evaluate("meso.raster.view.frames.map((f) => meso.timeline.time(f))") == pytest.approx(
        [100, 160], abs=0.3
    )


def test_the_address_shows_a_colleague_the_same(tab, demo_sessions):
    page = ready(tab(), demo_sessions[0])
    page.select_option("#color", "probability")
    page.check("#wash")
    page.fill("#contrast", "2.5")
    page.fill("#from-time", "200")
    page.fill("#to-time", "230")
    page.click("#ranges button[type=submit]")
    page.click("#select-shown")
    page.wait_for_function("() => location.search.includes('rows')")
    other = ready(tab(), demo_sessions[0], "?" + page.url.partition("?")[2])
    assert other.evaluate("[meso.raster.contrast, meso.raster.tints.length]") == [
        2.5,
        other.evaluate("meso.map.cells.fov.length"),
    ]
    for what in ("meso.raster.view.rows", "[...meso.map.chosen]", "document.getElementById('color').value"):
        assert page.evaluate(what) == other.evaluate(what)
    times = "meso.raster.view.frames.map((f) => Math.round(meso.timeline.time(f)))"
    assert other.evaluate(times) == page.evaluate(times) == [200, 230]


def test_every_colour_and_a_cell_and_its_other_days(tab, demo_sessions):
    one = tab()
    page = ready(one, demo_sessions[0])
    for color in page.locator("#color option").evaluate_all("(all) => all.map((one) => one.value)"):
        page.select_option("#color", color)
        assert inked(page, "map") > 0.002, color
    page.select_option("#color", "region")
    region = page.locator("#legend button", has_text="VISp2/3")
    n = int(re.search(r"\((\d+)\)", region.inner_text()).group(1))
    region.click()
    assert page.inner_text("#selected") == f"{n} cells selected in VISp2/3."
    tracked = page.evaluate("meso.map.cells.days.findIndex((n) => n === 4)")
    assert tracked >= 0
    box = page.locator("#raster").bounding_box()
    n_cells = int(page.get_attribute("#viewer", "data-cells"))
    page.mouse.click(box["x"] + 100, box["y"] + 1 + (box["height"] - 2) * (tracked + 0.5) / n_cells)
    page.click("#picked a")
    page.wait_for_selector("#trace canvas")
    page.wait_for_function("() => document.getElementById('trace-state').textContent.includes('frames')")
    assert page.inner_text("#trace-key").split("\n") == ["stimulus on", "first movement", "reward", "error"]
    if page.locator("figcaption a").count():
        assert page.locator("#days ~ .figures figcaption a").count() <= 4


def test_picking_sessions_changes_the_number_of_shared_cells(tab, curves, demo_sessions):
    from schemas.tracking import SessionSet, SharedCells
    from schemas.work.filling import fill

    page = tab().open("/tracking?subject=SP999")
    assert page.inner_text("#shared").startswith(f"{curves.n_shared} of ")
    page.locator("input[name=session]").nth(0).uncheck()
    page.locator("input[name=session]").nth(3).uncheck()
    key = SessionSet.add(demo_sessions[1:3], {"subject": "SP999", "tracking_run": curves.tracking_run})
    fill([SharedCells], key)
    assert page.inner_text("#shared").startswith(f"{(SharedCells & key).fetch1('n_shared')} of ")
    again = tab().open("/tracking?" + page.url.partition("?")[2])
    assert again.inner_text("#shared") == page.inner_text("#shared")
    assert inked(again, "presence") > 0.2
    with again.expect_download() as download:
        again.click("text=these cells as CSV")
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 1 + 2 * (SharedCells & key).fetch1("n_shared")
    # each column has its date, and each cell leads to its pages
    dates = [str((schemas.Session & {"eid": eid}).fetch1("session_date")) for eid in demo_sessions]
    redraw = "document.getElementById('choice').dispatchEvent(new Event('change'))"
    assert [text for text, *_ in words_on(again, "presence", redraw)][:4] == dates
    again.wait_for_selector("#cells tbody tr")
    rows = [line.split(",") for line in lines[1:]]
    names = lines[0].split(",")
    links = again.locator("#cells tbody a").evaluate_all("(all) => all.map((one) => one.getAttribute('href'))")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    assert links == [f"/sessions/{row['eid']}/cells/{row['fov']}/{row['roi']}" for row in found]
    uid = found[0]["cell_uid"]
    again.click("#cells tbody a >> nth=0")
    again.wait_for_selector("dl.facts")
    assert uid in again.inner_text("dl.facts")
    again.go_back()
    again.click("text=Neuron-dropping curves of these sessions")
    again.wait_for_load_state("networkidle")
    assert again.locator("input[name=eid]:checked").count() == 2


def test_with_nothing_ticked_no_curves_are_shown(tab, curves):
    one = tab()
    for name, what in (("params", "target"), ("eid", "session")):
        page = one.open("/ndc?subject=SP999")
        page.locator(f"[name={name}]").evaluate_all("(all) => all.forEach((one) => { one.checked = false; })")
        with page.expect_navigation():
            page.click("text=Show the choice")
        assert page.inner_text(".message") == f"Nothing is shown: no {what} is ticked."
        assert page.locator("figure, table").count() == 0 and page.locator(f"input[name={name}]:checked").count() == 0
    with page.expect_navigation():  # another set shows its default again
        page.locator("input[name=set]").first.dispatch_event("change", {"bubbles": True})
    assert page.locator("figure").count() > 2


def test_text_of_figures_can_be_read_on_a_phone(tab, curves, demo_sessions):
    """11 px or more: figures of a single column are sent, which scroll where the window is narrower."""
    page = tab(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).open("/ndc?subject=SP999")
    for path in ("/ndc?subject=SP999", f"/sessions/{demo_sessions[0]}/cells/0/3"):
        page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + path)
        page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
        page.wait_for_function("() => [...document.images].every((one) => one.complete && one.naturalWidth)")
        figures = page.evaluate(
            """() => Promise.all([...document.images].map(async (one) => [one.clientWidth, await (await
            fetch(one.currentSrc)).text()]))"""
        )
        assert len(figures) >= 3
        for shown, svg in figures:
            wide = float(re.search(r'viewBox="0 0 ([\d.]+)', svg).group(1))
            sizes = [float(size) for size in re.findall(r"font(?:-size)?: ?(?:\d+ )?([\d.]+)px", svg)]
            assert sizes and min(sizes) * shown / wide >= 11
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_curves_are_chosen_and_downloaded(tab, curves):
    page = tab().open("/ndc?subject=SP999")
    n = page.locator("input[name=params]").count()
    assert page.locator("figure img").count() == n + 2
    with page.expect_navigation():
        page.locator("input[name=params]").first.uncheck()
        page.click("text=Show the choice")
    page.wait_for_load_state("networkidle")
    assert page.locator("figure img").count() == n + 1
    with page.expect_download() as download:
        page.click("text=CSV with all settings")
    text = download.value.path().read_text()
    assert text.startswith("session_date,eid,target,k_star")
    with page.expect_download() as download:
        page.locator("text=SVG of the trends over days").click()
    assert "<svg" in download.value.path().read_text()
    page.click("#copy")
    page.wait_for_function("() => document.getElementById('copied').textContent")


def test_hostile_names_do_no_harm(tab, hostile):
    one = tab()
    page = one.open("/sessions")
    assert page.locator(f"a:text-is({json.dumps(HOSTILE)})").count() >= 1
    page = one.open(f"/sessions?subject={quote(HOSTILE)}")
    assert page.inner_text("h1") == HOSTILE
    assert "<b>'\"beryl" in page.inner_text(".areas")
    page = one.open(f"/sessions/{hostile}")
    assert "<img src=x onerror=alert(2)>" in page.inner_text("main")
    page = one.open(f"/sessions/{hostile}/cells/0/1")
    assert page.inner_text("dd >> nth=0").startswith("<svg onload=alert(3)> A region whose name goes on")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert one.violations() == []
    page = one.open("/")
    assert "DataError: <script>" in page.inner_text(".errors")
    assert one.problems == []
    page = one.open(f"/tracking?subject={quote(HOSTILE)}")
    assert HOSTILE in page.inner_text(".message")
    one.problems.clear()  # the browser notes the 404


def test_a_finger_selects_on_a_phone(tab, demo_sessions):
    one = tab(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = ready(one, demo_sessions[0])
    assert page.get_attribute("#drag-scroll", "aria-pressed") == "true"  # until something else is chosen
    page.tap("#drag-select")
    page.locator("#raster").scroll_into_view_if_needed()
    box = page.locator("#raster").bounding_box()
    client = page.context.new_cdp_session(page)
    finger = lambda kind, share: client.send("Input.dispatchTouchEvent", {  # noqa: E731
        "type": kind,
        "touchPoints": [] if kind == "touchEnd" else [{"x": box["x"] + 60, "y": box["y"] + box["height"] * share}],
    })  # fmt: skip
    finger("touchStart", 0.2)
    for share in (0.3, 0.4):
        finger("touchMove", share)
    finger("touchEnd", 0.4)
    page.wait_for_function("() => document.getElementById('selected').textContent.includes('cells selected')")
