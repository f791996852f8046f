"""Responses of the page: numbers against the database and plain numpy, refusals, and that it cannot write."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import datajoint as dj
import numpy as np
import pytest
import requests
from support.pages import served

import schemas
from pipeline.embedding import EmbeddingSettings
from pipeline.signals.scaling import scale_rows


def get(address: str, path: str, status: int = 200, **query) -> requests.Response:
    answer = requests.get(address + path, params=query, timeout=30)
    assert answer.status_code == status, (path, answer.status_code, answer.text[:300])
    return answer


def raster_rows(eid: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The scaled traces of a session in its order on the first FOV's clock, and FOV and ROI of each row."""
    import meso

    cells = meso.load_or_embed(eid)
    order = cells["isort"]
    times, signal = cells["roi_times"], cells["roi_signal"]
    clock = times.frame_times[0]
    on_clock = np.stack([np.interp(clock, times[row], signal[row]) for row in order])
    return scale_rows(on_clock), [(cells["roi_keys"][i]["fov"], cells["roi_keys"][i]["roi"]) for i in order]


def part_of(answer: requests.Response) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    shape, rows, frames = (
        tuple(float(n) for n in answer.headers[f"x-{name}"].split(",")) for name in ("shape", "rows", "frames")
    )
    kind = np.uint8 if "raster" in answer.url else np.float32
    return np.frombuffer(answer.content, kind).reshape(int(shape[0]), int(shape[1])), rows, frames


def test_a_part_of_the_raster_is_the_scaled_activity_in_rastermap_order(address, demo_sessions):
    eid = demo_sessions[0]
    expected, _ = raster_rows(eid)
    answer = get(address, f"/sessions/{eid}/raster", rows="100:160", frames="1000:1500", width=500, height=60)
    values, rows, frames = part_of(answer)
    assert (rows, frames) == ((100, 160), (1000, 1500))
    np.testing.assert_allclose(values / 254, expected[100:160, 1000:1500], atol=4.5 / 254)


def test_the_order_of_the_cells_is_that_of_the_embedding(address, demo_sessions):
    eid = demo_sessions[0]
    _, places = raster_rows(eid)
    cells = get(address, f"/sessions/{eid}/cells.json").json()
    assert list(zip(cells["fov"], cells["roi"], strict=True)) == places
    row = (schemas.ROI * schemas.BrainRegion & {"eid": eid, "fov": places[5][0], "roi": places[5][1]}).fetch1()
    assert cells["regions"][cells["region"][5]]["acronym"] == row["acronym"]
    assert cells["ml"][5] == pytest.approx(row["ml"], abs=0.06)
    n_found = len(schemas.TrackedFOV.Member & {"eid": eid} & (schemas.ROI & "is_neuron").proj())
    assert sum(n > 0 for n in cells["days"]) == n_found
    assert max(cells["days"]) == len(demo_sessions)


def test_means_of_rows_of_a_box_of_a_region_and_of_a_fov(address, demo_sessions):
    eid = demo_sessions[0]
    expected, _ = raster_rows(eid)
    cells = get(address, f"/sessions/{eid}/cells.json").json()
    frames = {"frames": "0:900", "width": 900}
    values, _, edges = part_of(get(address, f"/sessions/{eid}/mean", rows="20:70", **frames))
    assert edges == (0, 900)
    np.testing.assert_allclose(values[0], expected[20:70, :900].mean(axis=0), atol=2 / 254)
    ml, ap = np.array(cells["ml"]), np.array(cells["ap"])
    middle = float(np.median(ml))
    inside = (ml >= -9000) & (ml <= middle) & (ap >= -9000) & (ap <= 9000)
    values, *_ = part_of(get(address, f"/sessions/{eid}/mean", box=f"-9000,{middle},-9000,9000", **frames))
    np.testing.assert_allclose(values[0], expected[inside][:, :900].mean(axis=0), atol=2 / 254)
    acronyms = np.array([cells["regions"][i]["acronym"] for i in cells["region"]])
    values, *_ = part_of(get(address, f"/sessions/{eid}/mean", region="VISp2/3", **frames))
    np.testing.assert_allclose(values[0], expected[acronyms == "VISp2/3"][:, :900].mean(axis=0), atol=2 / 254)
    values, *_ = part_of(get(address, f"/sessions/{eid}/mean", fov=2, **frames))
    np.testing.assert_allclose(values[0], expected[np.array(cells["fov"]) == 2][:, :900].mean(axis=0), atol=2 / 254)


def test_trials_and_wheel_are_on_the_frames_of_the_raster(address, demo_sessions):
    from schemas.session import trials_of, wheel_velocity

    eid = demo_sessions[3]  # with a gap between two bouts
    line = get(address, f"/sessions/{eid}/timeline.json").json()
    clock, trials = np.array(line["clock"]), trials_of(eid)
    events = {event["name"]: np.array(event["frames"]) for event in line["events"]}
    feedback = trials["feedbackType"]
    for name, times in (
        ("stimulus on", trials["stimOn_times"]), ("first movement", trials["firstMovement_times"]),
        ("reward", trials["feedback_times"][feedback == 1]), ("error", trials["feedback_times"][feedback == -1]),
    ):  # fmt: skip
        times = times[(times >= clock[0]) & (times <= clock[-1])]
        frames = events[name].astype(int)
        assert len(frames) == len(times) > 10
        assert ((clock[frames] <= times + 0.003) & (times <= clock[frames + 1] + 0.003)).all()
    for block, after in itertools.pairwise(line["blocks"]):
        assert block["to"] == after["from"] and block["name"] != after["name"]
    inside = next(i for i, p in enumerate(trials["probabilityLeft"]) if p == 0.2)
    frame = np.searchsorted(clock, trials["intervals_0"][inside]) + 1
    (block,) = [one for one in line["blocks"] if one["from"] <= frame < one["to"]]
    assert block["name"] == "P(left) 0.2"
    wheel_times, velocity = wheel_velocity(eid)
    frame = int(np.argmax(np.abs(line["wheel"])))
    own = velocity[(wheel_times >= clock[frame] - 0.001) & (wheel_times < clock[frame + 1] + 0.001)]
    assert abs(line["wheel"][frame]) == pytest.approx(np.abs(own).max(), rel=0.02)


def test_the_list_of_sessions_counts_what_is_there(address, demo_sessions):
    from schemas.queries import sessions as listing

    (row,) = [one for one in listing.sessions("SP999") if one["eid"] == demo_sessions[2]]
    eid = {"eid": demo_sessions[2]}
    assert (row["n_rois"], row["n_neurons"]) == (len(schemas.ROI & eid), len(schemas.ROI & eid & "is_neuron"))
    assert row["n_trials"] == len(schemas.Behavior.Trial & eid)
    neurons = (schemas.ROI & eid & "is_neuron") * schemas.BrainRegion.proj("beryl")
    names, counts = np.unique(neurons.to_arrays("beryl"), return_counts=True)
    assert dict(row["areas"]) == dict(zip(names.tolist(), counts.tolist(), strict=True))
    text = get(address, "/sessions", subject="SP999").text
    for one in demo_sessions:
        assert f"/sessions/{one}" in text


@pytest.mark.one_backend  # other tests send its statements on both
def test_sessions_are_listed_on_the_command_line(meso_command, demo_sessions):
    rows = json.loads(meso_command("sessions", "--subject", "SP999", "--json").stdout)
    assert [row["eid"] for row in rows] == demo_sessions
    assert rows[0]["n_neurons"] == len(schemas.ROI & {"eid": demo_sessions[0]} & "is_neuron")
    assert all(eid in meso_command("sessions").stdout for eid in demo_sessions)
    assert "meso ingest --subject nobody" in meso_command("sessions", "--subject", "nobody").stderr


@pytest.mark.one_backend  # other tests send its statements on both
def test_curves_as_csv_and_svg_and_the_four_lines_that_give_the_same(address, curves, python_command):
    key = curves.session_set["session_set"]
    params = [rows[0]["ndc_params"] for rows in curves.curves.values()]
    query = {"set": key, "params": params}
    found = list(csv.DictReader(io.StringIO(get(address, "/ndc.csv", **query).text)))
    assert [row["k_star"] for row in found] == [str(k) for k in curves.table["k_star"].astype(object)]
    np.testing.assert_allclose([float(row["ceiling"]) for row in found], curves.table["ceiling"].astype(float))
    svg = get(address, "/ndc.svg", **{"set": key, "params": params[0]})
    assert svg.headers["content-type"].startswith("image/svg") and ">SP999: choice" in svg.text
    assert "code and sensitivity over days" in get(address, "/k_star.svg", **query).text
    page = get(address, "/ndc", subject="SP999", **query).text
    code = page.split('aria-label="Four lines of Python">')[1].split("</pre>")[0].replace("&#34;", '"')
    assert len(code.splitlines()) == 4
    done = python_command("-c", code.replace("stored_run(", "print(stored_run(") + ".to_csv(index=False))")
    assert list(csv.DictReader(io.StringIO(done.stdout))) == found


def test_jobs_are_named_by_mouse_and_date(demo_sessions):
    """Those of errors and of workers, also of workers that have no job, and of jobs that are of no session."""
    from page.queries import _of_sessions

    keys = [
        {"eid": demo_sessions[1], "fov": 0},
        None,
        {"subject": "SP999", "tracking_run": "x"},
        {"eid": demo_sessions[2]},
    ]
    named = _of_sessions([{"key": key, "state": "working"} for key in keys])
    dates = [str((schemas.Session & {"eid": eid}).fetch1("session_date")) for eid in demo_sessions]
    assert [row["session"] for row in named] == [f"SP999 {dates[1]} 001", "", "", f"SP999 {dates[2]} 001"]
    assert [row["key"] for row in named] == keys


def test_a_part_of_the_sessions_is_chosen(address, curves, demo_sessions):
    key = curves.session_set["session_set"]
    params = curves.curves["choice"][0]["ndc_params"]
    some = demo_sessions[1:3]
    rows = list(
        csv.DictReader(io.StringIO(get(address, "/ndc.csv", **{"set": key, "params": params, "eid": some}).text))
    )
    assert [row["eid"] for row in rows] == some
    assert f'["{some[0]}", "{some[1]}"]).table' in get(address, "/ndc", subject="SP999", eid=some).text.replace(
        "&#34;", '"'
    )


@pytest.mark.one_backend  # other tests send its statements on both
def test_averages_of_a_cell_are_drawn_from_its_trials(address, demo_sessions):
    svg = get(address, f"/sessions/{demo_sessions[0]}/cells/0/3/choice.svg").text
    from pipeline.signals.peri_event import event_times
    from schemas.session import trials_of

    n = int(np.isfinite(event_times("choiceL", trials_of(demo_sessions[0]))).sum())
    assert f"choiceL ({n})" in svg and "first movement" in svg
    trace = get(address, f"/sessions/{demo_sessions[0]}/cells/0/3/trace.json").json()
    own = schemas.activity(schemas.ROI & {"eid": demo_sessions[0], "fov": 0, "roi": 3})
    np.testing.assert_allclose(trace["values"], own.traces[0], rtol=1e-3)
    np.testing.assert_allclose(trace["times"], own.times[0], atol=6e-4)


def test_shared_cells_of_sessions_are_those_of_the_tables(curves):
    from page import queries

    found = queries.tracking("SP999")
    n_all = sum(one["n"] for one in found["patterns"] if len(one["sessions"]) == len(found["sessions"]))
    assert n_all == curves.n_shared
    assert sum(one["n"] * len(one["sessions"]) for one in found["patterns"]) == len(
        schemas.TrackedFOV.Member & curves_run(curves) & (schemas.ROI & "is_neuron").proj()
    )


def test_shared_cells_as_csv_are_those_of_the_tables(address, curves, demo_sessions):
    eids = demo_sessions[1:3]
    neurons = {(row["eid"], row["fov"], row["roi"]) for row in (schemas.ROI & "is_neuron").to_dicts()}
    by_cell: dict[str, dict[str, tuple]] = {}
    for row in (schemas.TrackedFOV.Member & curves_run(curves)).to_dicts():
        place = (row["eid"], row["fov"], row["roi"])
        if place in neurons:
            by_cell.setdefault(row["cell_uid"], {})[row["eid"]] = place
    expected = [
        (uid, *places[eid]) for uid, places in sorted(by_cell.items()) if set(eids) <= set(places) for eid in eids
    ]
    answer = get(address, "/tracking.csv", subject="SP999", session=eids)
    assert answer.headers["content-disposition"].endswith("shared_cells_SP999.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["cell_uid"], row["eid"], int(row["fov"]), int(row["roi"])) for row in rows] == expected
    assert curves.n_shared < len(expected) / 2
    dates = [str((schemas.Session & {"eid": eid}).fetch1("session_date")) for eid in eids]
    assert [row["session_date"] for row in rows[:2]] == dates


def test_events_of_a_trace_are_those_of_the_trials(address, demo_sessions):
    eid = demo_sessions[0]
    found = get(address, f"/sessions/{eid}/cells/0/3/trace.json").json()
    events = {one["name"]: one["times"] for one in found["events"]}
    trials = (schemas.Behavior.Trial & {"eid": eid}).to_dicts(order_by="trial")
    first, last = found["times"][0], found["times"][-1]
    rewards = [row["feedback_times"] for row in trials if row["feedback_type"] == 1]
    np.testing.assert_allclose(events["reward"], [time for time in rewards if first <= time <= last], atol=6e-4)
    assert len(events["reward"]) > 50 and len(events) == 4


def test_no_line_of_a_trace_is_drawn_over_a_pause(address, demo_sessions):
    eid = demo_sessions[3]  # with a gap between two bouts
    found = get(address, f"/sessions/{eid}/cells/0/3/trace.json").json()
    times = np.asarray((schemas.Recording & {"eid": eid, "fov": 0}).fetch1("frame_times"))
    (before,) = np.flatnonzero(np.diff(times) > 1)
    (hole,) = [i for i, value in enumerate(found["values"]) if value is None]
    assert hole == before + 1 and len(found["times"]) == len(times) + 1
    assert times[before] < found["times"][hole] < times[before + 1]


def test_the_wheel_during_a_pause_is_of_no_frame(address, demo_sessions):
    from schemas.session import wheel_velocity

    eid = demo_sessions[3]
    times, velocity = wheel_velocity(eid)
    line = get(address, f"/sessions/{eid}/timeline.json").json()
    clock, wheel = np.array(line["clock"]), np.array(line["wheel"])
    (before,) = np.flatnonzero(np.diff(clock) > 1)
    own = velocity[(times >= clock[before]) & (times < clock[before] + np.median(np.diff(clock)))]
    assert abs(wheel[before]) <= np.abs(own).max(initial=0) + 0.011


def curves_run(curves) -> dict:
    return {"subject": curves.subject, "tracking_run": curves.tracking_run}


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/nowhere", 404, "no such page"),
        ("/sessions/none", 404, "not registered"),
        ("/sessions?subject=nobody", 404, "meso ingest --subject nobody"),
        ("/sessions/EID/cells/9/0", 404, "no ROI 0"),
        ("/sessions/EID/cells/0/99999999999999999999", 404, "no ROI"),
        ("/sessions/EID/raster?rows=5:5&frames=0:10&width=5&height=5", 400, "rows are from a number"),
        ("/sessions/EID/raster?rows=0:5&frames=a:b&width=5&height=5", 400, "frames are from:to"),
        ("/sessions/EID/raster?rows=0:5&frames=nan:9&width=5&height=5", 400, "frames are finite numbers"),
        ("/sessions/EID/raster?rows=0:5&frames=0:9&width=0&height=5", 400, "width is a number"),
        ("/sessions/EID/raster?rows=0:5&frames=0:9&width=9&height=1e9", 400, "height is a number"),
        ("/sessions/EID/raster?rows=90000:90005&frames=0:9&width=9&height=9", 400, "outside"),
        ("/sessions/EID/mean?rows=0:0&frames=0:9&width=9", 400, "one cell"),
        ("/sessions/EID/mean?box=1,2,3&frames=0:9&width=9", 400, "box are ML,ML,AP,AP, such as"),
        ("/sessions/EID/mean?rows=nan:5&frames=0:9&width=9", 400, "rows are finite numbers"),
        ("/sessions/EID/mean?rows=-inf:inf&frames=0:9&width=9", 400, "rows are finite numbers"),
        ("/sessions/EID/mean?box=-inf,inf,-1,1&frames=0:9&width=9", 400, "box are finite numbers"),
        ("/sessions/EID/mean?rows=0:5&frames=0:1e999&width=9", 400, "frames are finite numbers"),
        ("/sessions/EID/raster?rows=0:Infinity&frames=0:9&width=5&height=5", 400, "rows are finite numbers"),
        ("/sessions/%FF", 404, ""),
        ("/sessions?subject=%ED%A0%80", 404, ""),
        ("/sessions/EID/cells/0/99999999999999999999", 404, ""),
        ("/sessions/EID/cells/99999999999/0/trace.json", 404, ""),
        ("/static/%00", 400, "cannot contain the character 0"),
        ("/tracking.csv?subject=SP999&session=%00", 400, "cannot contain the character 0"),
        ("/sessions/EID/mean?rows=1e99:1e300&frames=0:9&width=9", 400, "one cell"),
        ("/sessions/EID/mean?rows=a&frames=0:9&width=9", 400, "rows are from:to"),
        ("/sessions/EID/mean?region=nowhere&frames=0:9&width=9", 400, "one cell"),
        ("/sessions/EID/mean?rows=0:5&frames=1e6:1e7&width=9", 400, "outside"),
        ("/sessions/EID/mean?frames=0:9&width=9", 400, "rows are from:to"),
        ("/sessions/EID/mean?fov=9&frames=0:9&width=9", 400, "one cell"),
        ("/sessions/EID/mean?fov=a&frames=0:9&width=9", 400, "fov are a number, such as 0"),
        ("/sessions/EID/cells/0/3/choice.svg?width=wide", 400, "width is single or double"),
        ("/tracking/cells.json?subject=SP999", 404, "none named"),
        ("/sessions/EID?embedding=none", 404, "no raster"),
        ("/sessions/EID/cells/0/3/nothing.svg", 404, "choice, feedback, block"),
        ("/tracking", 400, "has no subject"),
        ("/ndc", 400, "has no subject"),
        ("/ndc.csv", 400, "has no set"),
        ("/sessions?subject=%00", 400, "cannot contain the character 0"),
        ("/sessions/%00", 400, "cannot contain the character 0"),
        ("/sessions/EID%00/raster?rows=0:5&frames=0:9&width=9&height=9", 400, "cannot contain the character 0"),
        ("/tracking?subject=nobody", 404, "meso track nobody"),
        ("/tracking.csv?subject=SP999", 404, "none named"),
        ("/tracking.csv?subject=SP999&session=x", 404, "found x"),
        ("/ndc?subject=nobody", 404, "meso ndc --subject nobody"),
        ("/ndc.csv?set=none&params=none", 404, "no SessionSet with key 'none'"),
        ("/static/../app.py", 404, ""),
    ],
)
def test_what_cannot_be_shown_is_explained(address, demo_sessions, path, status, text):
    answer = get(address, path.replace("EID", demo_sessions[0]), status)
    assert text in answer.text
    assert "Traceback" not in answer.text


@contextmanager
def damaged(table, key: dict, column: str, value: bytes):
    """Replace the bytes in a column of a row for a while; yield the original ones."""
    row = table & key
    (held,) = row.connection.query(row.proj(column).make_sql([column])).fetchone()
    change = f"UPDATE {table().full_table_name} SET {column} = %s{row.where_clause()}"
    row.connection.query(change, args=(value,))
    try:
        yield
    finally:
        row.connection.query(change, args=(bytes(held),))


@pytest.fixture
def log():
    """The terminal output of a separate server, complete once it has ended."""
    return []


@pytest.fixture
def page(curves, server, log):
    """Send requests to a separate server, whose terminal output is put into ``log`` when it ends."""
    with ExitStack() as stack:
        yield partial(get, stack.enter_context(served(server, log=log))), stack.close


def test_damaged_data_are_reported_and_logged_and_not_called_missing(page, log, demo_sessions):
    ask, end = page
    eid = demo_sessions[2]
    roi = {"eid": eid, "fov": 0, "roi": 3}
    (data,) = schemas.Activity.Trace.connection.query(
        (schemas.Activity.Trace & roi).proj("trace").make_sql(["trace"])
    ).fetchone()
    broken = bytearray(data)
    broken[-5] ^= 1
    path = f"/sessions/{eid}/cells/0/3"
    with damaged(schemas.Activity.Trace, roi, "trace", bytes(broken)):
        for part in ("/trace.json", "/choice.svg"):
            text = ask(path + part, 500).text
            assert f"session {eid}, FOV_00, ROI 3: a stored array is damaged" in text and "Traceback" not in text
        ask(path, 200)
        ask(f"/sessions/{eid}/cells/0/4/trace.json", 200)
    ask(path + "/trace.json", 200)
    end()
    said = "\n".join(log)
    assert "GET http" in said and f"{path}/trace.json" in said
    assert "DamagedError" in said and said.count("a stored array is damaged") >= 2 and "Traceback" in said


def test_damaged_or_missing_tiles_are_reported_and_logged(page, log, demo_sessions):
    ask, end = page
    raster = {"eid": demo_sessions[2], **schemas.EmbeddingParams.add(EmbeddingSettings())}
    key = {**raster, "row_level": 0, "time_level": 0, "tile_row": 0, "tile_column": 0}
    tile = schemas.RasterTiles.Tile & key
    part = {"rows": "0:60", "frames": "0:500", "width": 500, "height": 60}
    path = f"/sessions/{demo_sessions[2]}/raster"
    with damaged(schemas.RasterTiles.Tile, key, "tile", b"broken"):
        assert "'tile_column': 0" in ask(path, 500, **part).text
    values = tile.fetch1("tile")
    tile.delete_quick()
    try:
        assert "tiles of the raster are missing (expected 1, found 0)" in ask(path, 500, **part).text
    finally:
        schemas.RasterTiles.Tile.insert1({**key, "tile": values}, allow_direct_insert=True)
    ask(path, 200, **part)
    end()
    assert sum(line.startswith("pipeline.errors.DamagedError: ") for line in log) >= 2


def test_a_fault_of_ours_is_logged_and_answered_500_under_the_same_guard(page, log, demo_sessions):
    """A clock that no version of the code writes makes numpy raise a ValueError, once answered as a bad request."""
    ask, end = page
    eid = demo_sessions[2]
    raster = {"eid": eid, **schemas.EmbeddingParams.add(EmbeddingSettings())}
    with damaged(schemas.RasterTiles, raster, "tile_clock", dj.blob.pack(np.zeros((3, 5)))):
        plain = ask(f"/sessions/{eid}/timeline.json", 500)
        html = requests.get(plain.url, headers={"accept": "text/html"}, timeout=30)
    assert plain.text == "This page failed. ValueError; the terminal of meso serve shows the traceback."
    assert html.status_code == 500 and "<h1>This page failed</h1>" in html.text and "Traceback" not in html.text
    for answer in (plain, html):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    ask(f"/sessions/{eid}/timeline.json", 200)
    ask("/sessions/none", 404)
    ask(f"/sessions/{eid}/raster?rows=5:5", 400)
    end()
    said = "\n".join(log)
    assert said.count("Traceback") == 2 and "page/queries.py" in said and f"{eid}/timeline.json" in said
    assert "/sessions/none" not in said and "/raster" not in said


@pytest.mark.one_backend  # other tests send its statements on both
def test_nothing_can_be_written_and_nothing_from_elsewhere_is_loaded(address, demo_sessions):
    before = len(schemas.Session())
    for path in ("/", "/sessions", f"/sessions/{demo_sessions[0]}", "/ndc.csv"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = requests.request(method, address + path, timeout=30, headers={"accept": "text/html"})
            assert answer.status_code == 405, (method, path)
    assert len(schemas.Session()) == before
    answer = get(address, "/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    # a name elsewhere on the web that leads to this machine: its pages could read ours
    assert requests.get(address, headers={"host": "evil.example"}, timeout=30).status_code == 400


def test_head_is_answered_as_get_without_the_content(address, demo_sessions):
    for path in (
        "/",
        "/sessions",
        f"/sessions/{demo_sessions[0]}",
        f"/sessions/{demo_sessions[0]}/cells.json",
        "/static/page.css",
    ):
        answer = requests.head(address + path, timeout=30)
        assert (answer.status_code, answer.content) == (200, b""), path
        assert answer.headers["content-type"] == get(address, path).headers["content-type"]


def test_pictures_are_compressed_as_the_browser_accepts_it(address, demo_sessions):
    """The same picture: not compressed, with gzip, and with zstd, as numcodecs reads them."""
    from numcodecs import GZip, Zstd

    part = {"rows": "0:500", "frames": "0:4000", "width": 1500, "height": 500}
    bodies = {}
    for encoding in ("identity", "gzip", "gzip, deflate, br, zstd"):
        answer = requests.get(
            f"{address}/sessions/{demo_sessions[0]}/raster", part, headers={"accept-encoding": encoding}, stream=True,
            timeout=30,
        )  # fmt: skip
        assert answer.headers["content-encoding"] == encoding.split(" ")[-1]
        bodies[encoding] = answer.raw.read(decode_content=False)
    plain, gzip, zstd = bodies.values()
    assert bytes(GZip().decode(gzip)) == bytes(Zstd().decode(zstd)) == plain
    assert max(len(gzip), len(zstd)) < 0.66 * len(plain)


def test_what_all_tabs_ask_for_is_computed_once_and_errors_are_not_kept():
    import asyncio
    import threading

    from page.threads import Shared

    calls, release = [], threading.Event()

    def compute() -> int:
        calls.append(1)
        release.wait(10)
        return len(calls)

    def fail() -> int:
        calls.append(1)
        raise ValueError("not this time")

    async def ask_all() -> None:
        shared = Shared(seconds=0.2, most=2)
        waiting = [asyncio.ensure_future(shared.get("home", compute)) for _ in range(20)]
        await asyncio.sleep(0.05)
        waiting.pop().cancel()  # a tab that was closed takes nothing from the others
        release.set()
        assert await asyncio.gather(*waiting) == [1] * 19
        assert await shared.get("home", compute) == 1  # kept for a while
        await asyncio.sleep(0.3)
        assert await shared.get("home", compute) == 2
        calls.clear()
        for n in (1, 2):
            with pytest.raises(ValueError, match="not this time"):
                await shared.get("broken", fail)
            assert len(calls) == n
        for name in "abc":
            await shared.get(name, compute)
        assert len(shared._tasks) == 2

    # in a thread: Playwright's loop runs in this one
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, ask_all()).result()


BY_THREAD = """
import threading, schemas
from schemas.server.by_thread import by_thread
from schemas.server.reconnection import only_read, reconnect
connection = schemas.activate()
only_read(connection, 2.0)
by_thread(connection)
slow = {"mysql": "SELECT SLEEP(1)", "postgresql": "SELECT pg_sleep(1)"}[connection.adapter.backend]
own = {"mysql": "SELECT CONNECTION_ID()", "postgresql": "SELECT pg_backend_pid()"}[connection.adapter.backend]
found, after = set(), []
def read():
    found.add(connection.query(own).fetchone()[0])
    connection.query(slow)
    try:
        schemas.Subject.insert1({"subject": "written"})
    except Exception as error:
        after.append("read" in str(error).lower())
    connection._conn.close()  # lost: this thread alone connects again
    reconnect(connection)
    after.append(str(len(schemas.Subject())))
import time
begin = time.monotonic()
threads = [threading.Thread(target=read) for _ in range(4)]
[one.start() for one in threads]; [one.join() for one in threads]
print(len(found), after.count(True), len(after), time.monotonic() - begin < 3)
"""


def test_each_thread_has_a_connection_that_cannot_write_and_does_not_wait_for_the_others(demo_sessions, python_command):
    done = python_command("-c", BY_THREAD)
    # four connections, four refusals and four counts, in less time than one after the other
    assert done.stdout.split() == ["4", "4", "8", "True"], done.stdout + done.stderr
    assert not (schemas.Subject & {"subject": "written"})


READ_ONLY = """
import datajoint as dj, schemas
from schemas.server.reconnection import is_too_slow, only_read, reconnect
connection = schemas.activate()
only_read(connection, 2.0)
for _ in range(2):
    try:
        schemas.Subject.insert1({"subject": "written"})
    except Exception as error:
        print("refused", type(error).__name__, error)
    reconnect(connection)  # as after a lost connection
print(len(schemas.Session()))
try:
    connection.query({"mysql": "SELECT SLEEP(60) FROM information_schema.tables", "postgresql": "SELECT pg_sleep(60)"}[
        connection.adapter.backend
    ])
except Exception as error:
    print("stopped", is_too_slow(error))
"""


def test_the_server_of_the_database_refuses_whatever_the_page_would_write(demo_sessions, python_command):
    done = python_command("-c", READ_ONLY)
    assert done.stdout.count("refused") == 2, done.stdout + done.stderr
    assert "read-only" in done.stdout.lower() or "read only" in done.stdout.lower()
    assert not (schemas.Subject & {"subject": "written"})
    assert "stopped True" in done.stdout


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGINT, 0, ""), (signal.SIGTERM, 143, "by signal 15\n")])
@pytest.mark.one_backend
def test_ctrl_c_ends_the_page_without_a_word(database, server, number, code, said):
    line = [sys.executable, "-m", "populate_scripts.cli", "serve", "--port", "0"]
    process = subprocess.Popen(line, env={**os.environ, **server}, stdout=subprocess.PIPE, text=True)
    assert "Ctrl-C to stop" in process.stdout.readline()
    time.sleep(1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert output.removeprefix("Stopped ") == said


@pytest.mark.one_backend  # other tests send its statements on both
def test_a_port_in_use_is_reported(address, meso_command):
    done = meso_command("serve", "--port", address.rpartition(":")[2])
    assert done.returncode == 1
    assert "choose another --port" in done.stderr and "Traceback" not in done.stderr


def test_the_page_goes_on_after_its_connection_was_lost(address, database, demo_sessions, backend):
    get(address, "/sessions")
    if backend == "mysql":
        own = database.query("SELECT CONNECTION_ID()").fetchone()[0]
        others = "SELECT id FROM information_schema.processlist WHERE user <> 'event_scheduler' AND id <> %s"
        for (one,) in database.query(others, args=(own,)).fetchall():
            database.query(f"KILL {one}")
    else:
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    for path in ("/sessions", f"/sessions/{demo_sessions[0]}/cells.json", "/"):
        get(address, path)


def test_a_recomputed_embedding_is_another_raster(demo_sessions, curves):
    from page.rasters import Rasters

    rasters = Rasters(kept_bytes=2_000_000)
    raster = rasters.open(demo_sessions[0])
    whole = raster.view((0, raster.shape[0]), (0, raster.shape[1]), (200, 400))
    assert rasters.kept and rasters.size == sum(tile.nbytes for tile in rasters.kept.values())
    rasters.open(demo_sessions[1]).view((0, 300), (0, 4000), (300, 4000))
    assert rasters.size <= rasters.kept_bytes
    np.testing.assert_array_equal(
        raster.view((0, raster.shape[0]), (0, raster.shape[1]), (200, 400)).values, whole.values
    )
    (row,) = (schemas.Embedding & raster.key).to_dicts()
    assert json.dumps(row, default=str)  # what the version is made of
    assert raster.version == rasters.open(demo_sessions[0]).version != rasters.open(demo_sessions[1]).version


def test_tables_stand_to_the_right_of_what_they_are_made_from(database):
    from page.pipeline_graph import layout
    from schemas import graph

    picture = layout()
    x = {node["name"]: node["x"] for node in picture["nodes"]}
    for parent, child in graph.links():
        if parent in x and child in x:
            assert x[parent] < x[child], (parent, child)
    places = [(node["x"], node["y"]) for node in picture["nodes"]]
    assert len(set(places)) == len(places)
    assert {"Session", "ROI", "Embedding", "NDCResult", "RasterTiles"} <= set(x)


def test_regions_are_counted_once_and_also_for_sessions_from_before(demo_sessions, database):
    from schemas.server.settings import prefix
    from schemas.setup import migrations

    def counts() -> list[dict]:
        return schemas.FOV.Region.to_dicts(order_by="eid, fov, region_id")

    before = counts()
    own = (schemas.ROI & {"eid": demo_sessions[1], "fov": 1}).to_dicts()
    regions = {row["region_id"] for row in own}
    assert {row["region_id"]: (row["n_region_rois"], row["n_region_neurons"]) for row in before
            if (row["eid"], row["fov"]) == (demo_sessions[1], 1)} == {
        region: (sum(row["region_id"] == region for row in own),
                 sum(row["region_id"] == region and bool(row["is_neuron"]) for row in own))
        for region in regions
    }  # fmt: skip
    (schemas.FOV.Region & {"eid": demo_sessions[1]}).delete_quick()
    for _ in range(2):  # it may have been cut off
        migrations._count_regions(database, prefix())
        assert counts() == before


def test_verify_reads_tiles_and_names_a_damaged_one(demo_sessions, curves, database):
    from schemas.embedding import RasterTiles
    from schemas.exchange.verify import verify_session

    eid = demo_sessions[1]
    assert verify_session(eid).findings == []
    key = (RasterTiles.Tile & {"eid": eid}).keys(order_by="KEY")[2]
    whole = (RasterTiles.Tile & key).fetch1("tile")
    where = (RasterTiles.Tile & key).where_clause()
    column = RasterTiles.Tile.full_table_name
    database.query(f"UPDATE {column} SET tile = %s{where}", args=(b"mesA broken",))
    (finding,) = verify_session(eid).findings
    assert (finding.kind, finding.table) == ("damaged", "RasterTiles.Tile") and "tile_row" in str(finding)
    (RasterTiles.Tile & key).delete_quick()
    (finding,) = verify_session(eid).findings
    assert finding.kind == "missing" and "tiles are missing" in str(finding)
    RasterTiles.Tile.insert1({**key, "tile": whole}, allow_direct_insert=True)
    assert verify_session(eid).findings == []


def test_tiles_ahead_are_those_of_the_next_movements(demo_sessions, curves, monkeypatch):
    from page import rasters as module

    part = {"rows": (150.0, 250.0), "frames": (2000.0, 3000.0)}
    pixels = (60, 300)
    raster = module.Rasters().open(demo_sessions[0])
    raster.view(**part, pixels=pixels)
    for read in raster.ahead(**part, pixels=pixels):
        read()
    expected = module.Rasters().open(demo_sessions[0])
    moved = [{**part, "frames": (2500.0, 3500.0)}, {**part, "frames": (1500.0, 4000.0)}, {**part, "rows": (175, 225)}]
    views = [expected.view(**one, pixels=pixels) for one in moved]

    def none(*_):
        raise AssertionError("a tile was not in memory")

    monkeypatch.setattr(module, "tiles_between", none)
    for one, view in zip(moved, views, strict=True):
        np.testing.assert_array_equal(raster.view(**one, pixels=pixels).values, view.values)
    with pytest.raises(AssertionError, match="not in memory"):
        expected.view((500, 530), (5000, 5900), (600, 1200))


def test_a_raster_in_use_is_looked_up_again_in_a_pause(demo_sessions, curves, monkeypatch):
    """So that no picture waits for it: of 20,000 cells it takes 90 ms on MySQL."""
    from page import rasters as module

    rasters = module.Rasters()
    raster = rasters.open(demo_sessions[0])
    part = {"rows": (150.0, 250.0), "frames": (2000.0, 3000.0), "pixels": (60, 300)}
    first = next(iter(raster.ahead(**part)))
    first()
    assert rasters.open(demo_sessions[0]) is raster  # it is as new as that
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    monkeypatch.setattr(module, "_order_key", lambda key: "another order")
    first()
    assert rasters.open(demo_sessions[0]).version != raster.version


def test_a_region_has_one_colour_in_all_sessions_of_a_subject(demo_sessions, curves):
    """Also where a session has only some of the regions."""
    from page import queries

    ids = np.unique((schemas.FOV.Region & {"eid": demo_sessions[0]}).to_arrays("region_id")).astype(object)
    all_regions, _ = queries._regions(demo_sessions[0], ids)
    some_regions, _ = queries._regions(demo_sessions[1], ids[2::3])
    assert 1 < len(some_regions) < len(all_regions)
    for color in ("distinct", "of_area"):
        of_name = {one["acronym"]: one[color] for one in all_regions}
        assert all(one[color] == of_name[one["acronym"]] for one in some_regions)
