"""Figures: numbers behind the pixels, messages, and files."""

from __future__ import annotations

import doctest
import functools
import importlib
import importlib.util
import itertools
import json
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from pipeline import figures
from pipeline.decoding import DayTrend
from pipeline.decoding.fits.trend import LogKSlope, log_k_slope
from pipeline.figures import (
    Curve,
    distinct_region_colors,
    file_stem,
    k_star_over_days,
    ndc_overlay,
    ndc_panels,
    raster,
    save,
    score_over_performance,
    session_colors,
    trends_over_days,
)

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
COLORS = {"A": "#ff0000", "B": "#00ff00", "C": "#0000ff"}


def axes_of(fig, label):
    """The axes with this label."""
    (found,) = [ax for ax in fig.axes if ax.get_label() == label]
    return found


def shown(fig):
    """Array of the activity image."""
    return np.ma.filled(axes_of(fig, "raster").images[-1].get_array().astype(float), np.nan)


def simple(n_neurons=6, n_frames=20, step=0.2):
    """Signal in which every value says where it is, and its frame times."""
    signal = np.arange(n_neurons)[:, None] * 100.0 + np.arange(n_frames)
    return signal, np.arange(n_frames) * step


def plain(signal, times, **options):
    """Raster whose pixels are the values: one column per frame, nothing scaled."""
    end = times[-1] + 0.2
    settings = {
        "t_range": (times[0], end),
        "scale": None,
        "max_pixels": (round((end - times[0]) / 0.2), 1200),
    }
    return raster(signal, times, **(settings | options))


@pytest.mark.parametrize("module", ["style", "raster", "behavior", "ndc", "days", "performance", "trends"])
def test_examples_in_docstrings(module):
    """Every example does what it shows, and there are some."""
    result = doctest.testmod(importlib.import_module(f"pipeline.figures.{module}"))  # not the function
    assert result.attempted > 0
    assert result.failed == 0


# --- raster -----------------------------------------------------------------------------------------


def test_rows_follow_order_from_the_top():
    signal, times = simple()
    order = np.array([3, 0, 5, 1, 4, 2])
    fig = plain(signal, times, order=order)
    np.testing.assert_array_equal(shown(fig), signal[order])
    image = axes_of(fig, "raster").images[-1]
    assert image.origin == "upper"
    _, _, bottom, top = image.get_extent()
    assert (bottom, top) == (5.5, -0.5)
    bottom, top = axes_of(fig, "raster").get_ylim()
    assert bottom > top, "row 0 is at the top only if the y axis runs downwards"


def test_region_colors_stand_beside_their_neurons():
    signal, times = simple()
    regions = np.array(["A", "B", "C", "A", "B", "C"])
    order = np.array([3, 0, 5, 1, 4, 2])
    fig = plain(signal, times, order=order, regions=regions, region_colors=COLORS)
    main, strip = axes_of(fig, "raster"), axes_of(fig, "region strip")
    wash, beside = main.images[0].get_array(), strip.images[0].get_array()
    for row, neuron in enumerate(order):
        expected = np.multiply(255, to_rgb(COLORS[regions[neuron]]))
        np.testing.assert_array_equal(beside[row, 0], expected)
        np.testing.assert_array_equal(wash[row, 0, :3], expected)
    assert main.images[0].get_extent() == main.images[1].get_extent()
    assert tuple(strip.images[0].get_extent()[2:]) == tuple(main.images[1].get_extent()[2:])
    assert strip.get_ylim() == main.get_ylim()


def test_region_is_right_side_up_in_the_pixels(tmp_path):
    """Independent of axes: in the file, the upper half is red and the lower half blue."""
    signal, times = simple(n_neurons=10)
    regions = np.repeat(["C", "A"], 5)
    fig = plain(np.zeros_like(signal), times, order=np.arange(10)[::-1], regions=regions, region_colors=COLORS)
    with Image.open(save(fig, tmp_path / "a.png", {}, dpi=50)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    column = pixels[:, pixels.shape[1] // 3]
    reddish = np.flatnonzero(column[:, 0] > column[:, 2] + 40)
    bluish = np.flatnonzero(column[:, 2] > column[:, 0] + 40)
    assert reddish.size > 50
    assert bluish.size > 50
    assert reddish.max() < bluish.min()


def test_scaling_survives_flat_sparse_and_nan_rows():
    rng = np.random.default_rng(1)
    signal = rng.random((5, 400))
    signal[1] = 7.0
    signal[2] = np.nan
    signal[3] = 0.0
    signal[3, [10, 20]] = 0.25  # in 0.5 % of the frames: p20 == p99
    signal[4, 100:] = np.nan
    times = np.arange(400) * 0.2
    image = shown(plain(signal, times, scale=(20, 99)))
    low, high = np.percentile(signal[0], (20, 99))
    np.testing.assert_allclose(image[0], np.clip((signal[0] - low) / (high - low), 0, 1))
    assert np.all(image[1] == 0)
    assert np.all(np.isnan(image[2]))
    assert np.flatnonzero(image[3] == 1).tolist() == [10, 20]
    low, high = np.percentile(signal[4, :100], (20, 99))
    np.testing.assert_allclose(image[4, :100], np.clip((signal[4, :100] - low) / (high - low), 0, 1))
    assert np.all(np.isnan(image[4, 100:]))


@pytest.mark.parametrize("fill", [0.0, np.nan, np.inf])
def test_nothing_but_flat_or_missing_values_can_be_drawn(fill, tmp_path):
    times = np.arange(20) * 0.2
    fig = raster(np.full((3, 20), fill), times, bg="firing_rate", regions=["A", "B", "A"])
    low, high = axes_of(fig, "raster").images[-1].get_clim()
    assert low < high
    save(fig, tmp_path / "a.png", {}, dpi=30)


def test_colour_limits_come_from_the_data():
    rng = np.random.default_rng(2)
    signal = rng.random((50, 100)) * 1e-3
    fig = plain(signal, np.arange(100) * 0.2)
    image = axes_of(fig, "raster").images[-1]
    np.testing.assert_allclose(image.get_clim(), np.percentile(signal, (1, 99.5)))


def test_many_neurons_and_frames_are_averaged_not_sampled():
    rng = np.random.default_rng(3)
    signal = rng.random((40, 60)).astype(np.float32)
    order = rng.permutation(40)
    fig = raster(signal, np.arange(60) * 0.2, order=order, t_range=(0, 12), scale=None, max_pixels=(20, 8))
    expected = signal[order].reshape(8, 5, 20, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shown(fig), expected, rtol=1e-5)
    assert signal.dtype == np.float32


def test_blocks_do_not_change_the_image(monkeypatch):
    rng = np.random.default_rng(4)
    signal = rng.random((57, 90))
    signal[5, 3] = np.nan
    options = {"t_range": (0, 18), "max_pixels": (31, 23)}
    whole = shown(raster(signal, np.arange(90) * 0.2, **options))
    monkeypatch.setattr(importlib.import_module("pipeline.figures.raster"), "BLOCK_VALUES", 100)
    np.testing.assert_allclose(shown(raster(signal, np.arange(90) * 0.2, **options)), whole)


def test_gap_is_blank_and_times_are_honest():
    signal, times = simple(n_frames=20)
    times[10:] += 3.0  # frame 9 starts at 1.8 s and ends at 2.0 s; frame 10 starts at 5.0 s
    fig = plain(signal, times, regions=np.array(list("ABCABC")))
    image, wash = shown(fig), axes_of(fig, "raster").images[0].get_array()
    seconds = (np.arange(image.shape[1]) + 0.5) * 0.2
    blank = (seconds > 2) & (seconds < 5)
    assert np.all(np.isnan(image[:, blank]))
    assert np.all(wash[:, blank, 3] == 0)
    assert np.all(wash[:, ~blank, 3] > 0)
    np.testing.assert_array_equal(image[0, ~blank], signal[0])
    np.testing.assert_allclose(axes_of(fig, "raster").get_xlim(), (0, 7))


def test_the_wheel_pauses_with_imaging():
    signal, times = simple(n_frames=20)
    times[10:] += 3.0
    wheel_times = np.arange(0, 7, 0.01)
    for thinned in (False, True):
        repeats = 10 if thinned else 1
        own = np.arange(0, 7, 0.01 / repeats)
        fig = raster(signal, times, wheel=(own, np.sin(own)), t_range=(0, 7))
        x, y = axes_of(fig, "wheel").lines[0].get_data()
        assert np.isnan(y[(x > 2.01) & (x < 4.99)]).all()
        assert np.isfinite(y[(x < 1.99) | (x > 5.01)]).all()
        assert (y[x > 5.01].size > 100) and (y[x < 1.99].size > 100)
    plain_wheel = raster(*simple(n_frames=35), wheel=(wheel_times, np.sin(wheel_times)), t_range=(0, 7))
    assert np.isfinite(axes_of(plain_wheel, "wheel").lines[0].get_ydata()).all()


def test_frames_without_a_value_are_blank_and_not_tinted():
    signal, times = simple(n_frames=20)
    signal = np.array(signal, dtype=float)
    signal[:, 5:8] = np.nan
    fig = plain(signal, times, regions=np.array(list("ABCABC")))
    image, wash = shown(fig), axes_of(fig, "raster").images[0].get_array()
    blank = np.isnan(image).all(axis=0)
    assert np.flatnonzero(blank).tolist() == [5, 6, 7]
    assert (wash[..., 3] == 0).all(axis=0).tolist() == blank.tolist()


def test_uneven_frames_last_until_the_next():
    """A frame missed within a second is no gap: the one before it is held, and nothing shifts."""
    times = np.array([0.0, 0.2, 0.6, 0.8])
    image = shown(plain(np.array([[1.0, 2, 3, 4]]), times))
    assert image.tolist() == [[1, 2, 2, 3, 4]]


def test_time_range():
    signal, times = simple(n_frames=1000)  # 200 s
    third = times[333]
    np.testing.assert_allclose(axes_of(raster(signal, times), "raster").get_xlim(), (third, third + 60))
    fig = raster(signal, times, t_range=(10.1, 20))
    np.testing.assert_allclose(axes_of(fig, "raster").get_xlim(), (10.1, 20))
    fig = raster(signal, times, t_range=(190, 1e9))
    np.testing.assert_allclose(axes_of(fig, "raster").get_xlim(), (190, 200))
    with pytest.raises(ValueError, match="the smaller one first, not"):
        raster(signal, times, t_range=(20, 10))
    with pytest.raises(ValueError, match="holds no frame"):
        raster(signal, times, t_range=(300, 400))


def test_wheel_shares_the_time_axis():
    signal, times = simple(n_frames=1000)
    wheel_times = np.arange(0, 200, 0.001)
    velocity = np.zeros_like(wheel_times)
    velocity[100_500] = 9.0  # one sample at 100.5 s must not be lost when the line is thinned
    fig = raster(signal, times, wheel=(wheel_times, velocity), t_range=(90, 110))
    wheel, main = axes_of(fig, "wheel"), axes_of(fig, "raster")
    assert wheel.get_xlim() == main.get_xlim()
    x, y = wheel.lines[0].get_data()
    assert len(x) <= 4000
    assert y.max() == 9.0
    assert abs(x[y.argmax()] - 100.5) < 0.02


def test_blocks_last_from_their_first_trial_to_that_of_the_next():
    signal, times = simple(n_frames=1000)
    starts = np.array([10, 20, 30, np.nan, 50, 60])
    fig = raster(signal, times, block=(starts, [0.5, 0.5, 0.8, 0.8, np.nan, 0.2]), t_range=(0, 100))
    ax = axes_of(fig, "block")
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
    assert spans == [(10, 30), (30, 60), (60, 70)]  # the last trial is as long as most
    key = {text.get_text(): handle.get_facecolor() for text, handle in
           zip(ax.get_legend().get_texts(), ax.get_legend().legend_handles, strict=True)}  # fmt: skip
    assert list(key) == ["0.2", "0.5", "0.8"]
    assert [patch.get_facecolor() for patch in ax.patches] == [key["0.5"], key["0.8"], key["0.2"]]
    assert key["0.2"][0] > key["0.2"][2] and key["0.8"][2] > key["0.8"][0], "right is warm and left is blue"
    assert ax.get_xlim() == axes_of(fig, "raster").get_xlim() == (0, 100)


def test_events_are_ticks_in_rows_and_are_counted_where_ticks_would_run_together():
    signal, times = simple(n_frames=20_000)  # 4000 s
    rng = np.random.default_rng(0)
    events = {"stimulus on": np.sort(rng.uniform(0, 4000, 900)), "error": np.r_[7.5, np.nan, np.linspace(30, 3000, 80)]}
    rows = axes_of(raster(signal, times, events=events, t_range=(0, 60)), "events")
    assert [label.get_text() for label in rows.get_yticklabels()] == list(events)
    first, second = rows.collections
    np.testing.assert_allclose(first.get_positions(), events["stimulus on"][events["stimulus on"] <= 60])
    np.testing.assert_allclose(second.get_positions(), [7.5, 30])
    assert rows.get_ylim() == (2, 0) and (first.get_lineoffset(), second.get_lineoffset()) == (0.5, 1.5)
    assert not np.array_equal(first.get_color(), second.get_color())
    rows = axes_of(raster(signal, times, events=events, t_range=(0, 3000)), "events")
    (counts,), (ticks,) = rows.images, rows.collections
    seconds = np.floor(events["stimulus on"] / 20).astype(int)
    np.testing.assert_array_equal(counts.get_array()[0], np.bincount(seconds[seconds < 150], minlength=150))
    assert tuple(counts.get_extent()[:2]) == (0, 3000) and counts.get_clim() == (0, np.bincount(seconds).max())
    assert len(ticks.get_positions()) == 81
    assert rows.get_xlabel() == f"shades: from none to {np.bincount(seconds).max()} in 20 s"


@pytest.mark.parametrize(
    "block", [([], []), ([np.nan], [0.5]), ([300.0], [0.5]), ([1.0], [0.5]), ([1, 1, 2], [0.2, 0.8, 0.2])]
)
def test_sessions_with_hardly_a_trial_can_be_drawn(block):
    signal, times = simple(n_frames=1000)
    fig = raster(
        signal, times, events={"reward": np.array([]), "error": np.array([np.nan])}, block=block, t_range=(0, 60)
    )
    assert all(patch.get_width() >= 0 for patch in axes_of(fig, "block").patches)
    assert axes_of(fig, "block").get_xlim() == (0, 60)
    fig._repr_png_()


@pytest.mark.parametrize("t_range", [(0, 60), (0, 3600)])
def test_labels_above_a_raster_do_not_overlap(t_range):
    """In pixels, as drawn, with everything that can stand there."""
    signal, times = simple(n_frames=18_000)
    starts = np.arange(700) * 5.0
    events = {f"a long name {i}": starts + i for i in range(4)}
    fig = raster(
        signal, times, regions=list("ABCABC"), wheel=(times, np.sin(times)), events=events,
        block=(starts, np.where(starts % 500 < 250, 0.2, 0.8)), t_range=t_range, title="SP999 2025-03-03",
    )  # fmt: skip
    fig.draw_without_rendering()
    numbers = {
        label
        for name in ("wheel", "raster")
        for axis in (axes_of(fig, name).xaxis, axes_of(fig, name).yaxis)
        for label in axis.get_ticklabels()
    }  # also those out of view
    texts = [text for text in set(fig.findobj(Text)) - numbers if text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent() for text in texts]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= fig.bbox.x1 and box.y1 <= fig.bbox.y1, texts[i]
        assert not [texts[j] for j in range(i) if box.overlaps(boxes[j])], texts[i]
    tops = [axes_of(fig, name).get_window_extent() for name in ("block", "events", "wheel", "raster")]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(tops))
    assert len({(box.x0, box.x1) for box in tops}) == 1, "one time axis"


def test_legend_counts_regions_and_pools_the_rare():
    signal, times = simple()
    fig = plain(signal, times, regions=["VISp2/3", "A", "VISp10", "A", "A", "void"])
    texts = [text.get_text() for text in fig.legends[0].get_texts()]
    assert texts == ["A (3)", "VISp2/3 (1)", "VISp10 (1)", "void (1)"]
    many = np.array([f"R{i // 2}" for i in range(80)])
    fig = raster(np.zeros((80, 20)), times, regions=many)
    texts = [text.get_text() for text in fig.legends[0].get_texts()]
    assert len(texts) == 30
    assert texts[-1] == f"other ({80 - 29 * 2})"


def test_row_mean_strip():
    signal, times = simple()
    fig = plain(signal, times, bg="firing_rate", order=np.arange(6)[::-1])
    strip = axes_of(fig, "mean strip").images[0].get_array()
    np.testing.assert_allclose(strip[:, 0], signal[::-1].mean(axis=1))
    assert axes_of(fig, "mean colorbar").get_ylabel() == "mean of row"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frame_times": np.arange(19.0)}, ["20 frames", "(19,)"]),
        ({"frame_times": np.arange(20.0)[::-1]}, ["increase"]),
        ({"order": np.arange(5)}, ["6 neurons", "(5,)"]),
        ({"order": [0, 1, 2, 3, 4, 4]}, ["0..5"]),
        ({"regions": ["A"] * 7}, ["6 neurons", "(7,)"]),
        ({"wheel": (np.arange(3), np.arange(4))}, ["(3,)", "(4,)"]),
        ({"block": (np.arange(3), np.arange(4))}, ["(3,)", "(4,)"]),
        ({"block": ([3, 1], [0.2, 0.8])}, ["must not decrease"]),
        ({"t_range": (100, 200)}, ["(100, 200)", "0.000 to 4.000 s"]),
        ({"t_range": (3, 1)}, ["(3, 1)", "0.000 to 4.000 s"]),
        (
            {"frame_times": np.r_[0:10, 50:60] * 1.0, "t_range": (20, 30)},
            ["gap", "10.000 to 50.000", "60.000"],
        ),
        ({"bg": "rate"}, ["'rate'"]),
        ({"scale": (99, 20)}, ["(99, 20)"]),
        ({"signal": np.zeros(20)}, ["(20,)"]),
        ({"max_pixels": (0, 5)}, ["(0, 5)"]),
    ],
)
def test_messages_give_both_numbers(change, words):
    signal, times = simple()
    arguments = {"signal": signal, "frame_times": times} | change
    with pytest.raises(ValueError) as error:
        raster(arguments.pop("signal"), arguments.pop("frame_times"), **arguments)
    for word in words:
        assert word in str(error.value)


# --- neuron-dropping curves -------------------------------------------------------------------------


def curve(day=1, **change):
    """A curve of one session."""
    ks = np.array([1, 2, 4, 8, 16, 32, 64, 100])
    mean = 0.5 + 0.05 * np.arange(8) + 0.002 * day
    values = {
        "label": f"s{day}", "date": f"2024-05-{day:02d}", "ks": ks, "mean": mean, "sd": np.full(8, 0.02),
        "null_lo": np.full(8, 0.45), "null_hi": np.full(8, 0.55), "ceiling": mean[-1], "k_star": 32,
        "n_trials": 200,
    }  # fmt: skip
    return values | change


def line_of(ax, label):
    """Data of the line with this label."""
    (found,) = [line for line in ax.lines if line.get_label() == label]
    return found


def entries(fig):
    """Texts of the legend."""
    return [text.get_text() for text in fig.legends[0].get_texts()]


def test_k_star_is_marked_on_the_curve_and_dropped_to_the_axis():
    fig = ndc_overlay([curve(k_star=32), curve(2, k_star=48)], target="choice")
    (ax,) = fig.axes
    assert [float(v[0]) for v in line_of(ax, "k* 2024-05-01").get_data()] == pytest.approx([32, 0.752])
    between = 0.754 + 0.05 * np.log2(1.5)  # 48 is no point of the curve: the marker is on the line
    assert [float(v[0]) for v in line_of(ax, "k* 2024-05-02").get_data()] == pytest.approx([48, between])
    drop = line_of(ax, "drop 2024-05-01")
    assert drop.get_linestyle() == ":"
    np.testing.assert_allclose(drop.get_xdata(), [32, 32])
    np.testing.assert_allclose(drop.get_ydata(), [ax.get_ylim()[0], 0.752])


def test_legend_is_in_order_of_date():
    fig = ndc_overlay([curve(3, k_star=None), curve(1), Curve(**curve(2, k_star=8))], target="choice", delta=0.05)
    texts = entries(fig)
    assert texts[:3] == ["2024-05-01  k*=32", "2024-05-02  k*=8", "2024-05-03  k*=–"]
    assert "k*: fewest neurons within\n0.05 of the ceiling" in texts
    assert "±1 sd over random subsets" in texts
    assert "shuffled labels, 2.5–97.5 %\n(widest over sessions)" in texts
    assert fig.axes[0].get_title(loc="left") == "Choice, 200 trials per session"
    assert [line.get_label() for line in fig.axes[0].lines].count("k* 2024-05-03") == 0


def test_legend_tells_sessions_of_one_day_and_trials_apart():
    fig = ndc_overlay([curve(label="a"), curve(label="b", n_trials=150)], target="choice")
    assert entries(fig)[:2] == ["2024-05-01 a  k*=32  n=200", "2024-05-01 b  k*=32  n=150"]


def test_axes_show_everything_with_integer_labels():
    fig = ndc_overlay([curve(day) for day in range(1, 13)], target="choice", metric="accuracy")
    (ax,) = fig.axes
    labels = [tick.get_text() for tick in ax.get_xticklabels()]
    assert set(labels) <= {"1", "2", "4", "8", "16", "32", "64", "100"}
    assert labels[-1] == "100"
    assert ax.get_xlim()[0] < 1 < 100 < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < 0.45
    assert ax.get_ylim()[1] > 0.5 + 0.35 + 0.024 + 0.02
    assert ax.get_ylabel() == "accuracy"
    assert line_of(ax, "chance").get_ydata() == [0.5, 0.5]


def test_shuffle_band_is_the_widest_over_sessions():
    other = curve(2, ks=[1, 4, 16], mean=[0.5] * 3, sd=[0] * 3, null_lo=[0.4, 0.46, 0.46], null_hi=[0.5, 0.6, 0.5])
    fig = ndc_overlay([curve(1), other], target="choice")
    (band,) = [c for c in fig.axes[0].collections if c.get_label() == "shuffled"]
    corners = {(round(x, 6), round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert {(1, 0.4), (1, 0.55), (2, 0.43), (4, 0.6), (16, 0.45), (100, 0.45), (100, 0.55)} <= corners


def test_curves_without_shuffles_ceiling_and_k_star():
    bare = curve(null_lo=None, null_hi=None, ceiling=None, k_star=None, n_trials=None)
    fig = ndc_overlay([bare], target="block")
    assert fig.axes[0].get_title(loc="left") == "Block"
    assert not [text for text in entries(fig) if "shuffled" in text or "ceiling (" in text]
    assert fig._repr_png_().startswith(b"\x89PNG")


def test_panels_keep_every_target_and_the_colours():
    days = {
        "choice": [curve(1), curve(2)],
        "block": [curve(2, k_star=8)],
        "c": [curve(3)],
        "d": [],
        "e": [curve(1)],
    }
    fig = ndc_panels(days)
    assert [ax.get_title(loc="left")[3:].split(",")[0] for ax in fig.axes] == [
        "Choice",
        "Block",
        "C",
        "D",
        "E",
    ]
    first, second = (line_of(ax, "2024-05-02").get_color() for ax in fig.axes[:2])
    assert first == second
    assert entries(fig)[:2] == ["2024-05-01  k*=32, –, –, –, 32", "2024-05-02  k*=32, 8, –, –, –"]
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    assert len({ax.get_xlim() for ax in fig.axes}) == 1
    for ax, drops in zip(fig.axes[:2], (2, 1), strict=True):
        lines = [line for line in ax.lines if str(line.get_label()).startswith("drop")]
        assert len(lines) == drops
        assert all(line.get_ydata()[0] == ax.get_ylim()[0] for line in lines)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ndc_overlay([], target="choice"), "no curve.*choice"),
        (lambda: ndc_panels({"choice": []}), "no curve.*choice"),
        (lambda: ndc_overlay([curve()], target="choice", metric="f1"), "auc.*'f1'"),
        (lambda: Curve(**curve(mean=[0.5])), r"2024-05-01: ks has 8 values but mean has shape \(1,\)"),
        (lambda: Curve(**curve(ks=[1, 2, 4, 4, 5, 6, 7, 8])), "increase"),
        (lambda: Curve(**curve(null_lo=None)), "together"),
        (lambda: Curve(**curve(mean_low=np.zeros(8))), "mean_low and mean_high must be given together"),
        (lambda: Curve(**curve(fit_k=[1, 2])), "fit_k and fit_score must be given together"),
        (lambda: Curve(**curve(fit_k=[1, 2], fit_score=[1])), r"one length, not \(2,\) and \(1,\)"),
        (lambda: Curve(**curve(k_star_censored="up")), "'up'"),
        (lambda: ndc_overlay([curve()], target="choice", curve_axis="days"), "cells.*'days'"),
        (lambda: k_star_over_days({"choice": []}), "no curve.*choice"),
        (lambda: score_over_performance({"choice": []}), "no curve.*choice"),
        (lambda: score_over_performance({"choice": [curve()]}, metric="f1"), "auc.*'f1'"),
        (lambda: k_star_over_days({"choice": [curve()]}, curve_axis="days"), "cells.*'days'"),
        (lambda: ndc_overlay([curve(kstar=3)], target="choice"), "kstar"),
    ],
)
def test_messages_of_curves(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def fitted(day=1, **change):
    """A curve of one session with all that a fit and a bootstrap say of it."""
    k = np.geomspace(1, 200, 50)
    plain = curve(day)
    values = {
        "mean_low": plain["mean"] - 0.01, "mean_high": plain["mean"] + 0.015, "p_value": 0.0099, "q_value": 0.02,
        "fit_k": k, "fit_score": 0.5 + 0.05 * np.log2(k), "verdict": "saturated", "k_star_low": 16,
        "k_star_high": 64, "k_star_censored": "",
    }  # fmt: skip
    return plain | values | change


def test_entries_say_p_q_and_verdict_in_columns():
    days = [
        fitted(1, k_star=1, k_star_censored="left"),
        fitted(2, verdict="not saturated", q_value=None),
        fitted(3, verdict="at chance", p_value=0.4, q_value=0.5),
        fitted(4, p_value=0.0002, q_value=0.0008, k_star=100),
    ]
    narrow = "\u2007"
    assert entries(ndc_overlay(days, target="choice"))[:4] == [
        f"2024-05-01  k*≤1{narrow * 2}  p = 0.010, q = 0.020  saturated",
        f"2024-05-02  k*=32{narrow}  p = 0.010  not saturated",
        f"2024-05-03  k*=–{narrow * 2}  p = 0.400, q = 0.500  at chance",
        "2024-05-04  k*=100  p < 0.001, q < 0.001  saturated",
    ]


def test_p_at_the_floor_of_the_shuffles_says_how_many_there_were():
    days = [
        fitted(1, p_value=1 / 41, q_value=None, n_shuffles=40),
        fitted(2, p_value=2 / 41, q_value=None, n_shuffles=40),
    ]
    first, second = entries(ndc_overlay(days, target="choice"))[:2]
    assert first.endswith("p <= 0.024 (40 shuffles)  saturated") and second.endswith("p = 0.049  saturated")


def test_a_decreasing_curve_has_no_fit():
    """Fits can only rise: that of a falling curve would be a flat line."""
    (ax,) = ndc_overlay([fitted(verdict="decreasing")], target="choice").axes
    assert not [line for line in ax.lines if str(line.get_label()).startswith(("fit", "beyond"))]
    assert "fit" not in entries(ndc_overlay([fitted(verdict="decreasing")], target="choice"))


def texts_of(fig) -> list[Text]:
    """All texts of a figure that are shown and not empty."""
    fig.draw_without_rendering()
    return [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]


def figures_of_width(width):
    """Each figure that has a width, of sessions with long entries in the legend."""
    curves = [
        {**fitted(day, p_value=1 / 41, n_shuffles=40, verdict="not saturated"), "performance": 0.6 + day / 50}
        for day in (1, 2, 3, 4)
    ]  # fmt: skip
    long = "choice from 120 shared cells, 100 ms before the first movement, C = 1/k"
    interval = {"fixed_low": -0.2, "fixed_high": -0.01, "fixed_p": 0.03, "low": -1.0, "high": 0.1, "p": 0.1}
    trend = day_trend("code_k", [40, 30, 20, 10], **interval, mean_value=4.0, mean_day=3.0, half_width=1.0)
    yield ndc_overlay(curves, target="choice", title=long, width=width)
    yield ndc_panels({"choice": curves, "feedback": curves}, title=long, width=width)
    yield k_star_over_days({"choice": curves, "feedback": curves}, title=long, width=width)
    yield score_over_performance({"choice": curves, "feedback": curves}, title=long, width=width)
    targets = ("choice", "feedback")
    trends, ceilings = {name: {"code_k": trend} for name in targets}, {name: [0.9] * 4 for name in targets}
    yield trends_over_days(trends, ceilings=ceilings, width=width)


def examples_of_width(width):
    """The figures of the gallery that have a width and are not among those above, drawn with it."""
    for name in (
        "cell_map", "cell_map_3d", "choice_model", "mice_over_days", "peri_event_lines", "peri_event_map",
        "presence_map", "raster", "shared_counts", "survival",
    ):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(figures, name, functools.partial(getattr(figures, name), width=width))
            yield runpy.run_path(str(EXAMPLES / f"{name}.py"))["figure"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "mm"), [("single", 89), ("double", 183)])
def test_a_figure_of_a_journals_width_holds_its_legend_and_its_text_can_be_read(width, mm):
    for fig in (*figures_of_width(width), *examples_of_width(width)):
        assert fig.get_figwidth() * 25.4 == pytest.approx(mm)
        texts = texts_of(fig)
        assert {text.get_fontsize() for text in texts} <= {7, 8, 9}
        page = fig.bbox
        ticks = {label for ax in fig.axes for axis in ax._axis_map.values() for label in axis.get_ticklabels()}
        for text in set(texts) - ticks:  # labels of ticks outside of the axes are not drawn
            box = text.get_window_extent()
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 + 1, text
        for legend in fig.legends:
            around = legend.get_window_extent()
            assert page.x0 <= around.x0 and around.x1 <= page.x1 and page.y0 <= around.y0
            assert not any(ax.bbox.overlaps(around) for ax in fig.axes)
        # up to three panels side by side
        assert max(ax.bbox.width for ax in fig.axes) > 0.4 * page.width / (1 if width == "single" else 3)
    with pytest.raises(ValueError, match="single, double"):
        next(figures_of_width("wide"))


def test_every_k_with_a_mark_has_a_tick():
    curves = [fitted(day, k_star=k) for day, k in ((1, 100), (2, 80), (3, 64))]
    curves = [{**one, "ks": np.array([8, 64, 80, 100, 128]), **dict.fromkeys(("null_lo", "null_hi"))} for one in curves]
    scores = dict.fromkeys(("mean", "sd", "mean_low", "mean_high"), np.linspace(0.6, 0.8, 5))
    curves = [{**one, **scores} for one in curves]
    (ax,) = k_star_over_days({"choice": curves}).axes
    assert {64, 80, 100} <= {*ax.get_yticks().tolist(), *ax.yaxis.get_ticklocs(minor=True).tolist()}
    trend = day_trend("code_k", [100, 80, 64, 20])
    top = trends_over_days({"choice": {"code_k": trend}}, ceilings={"choice": [0.9] * 4}).axes[0]
    assert {20, 64, 80, 100} <= {*top.get_yticks().tolist(), *top.yaxis.get_ticklocs(minor=True).tolist()}


def test_labels_of_marks_that_are_near_each_other_do_not_overlap():
    trend = day_trend("half_k", [26.1, 25.9, 25.7, 22.1], mean_value=4.7, slope=-0.01)
    fig = trends_over_days({"choice": {"half_k": trend}}, ceilings={"choice": [0.9] * 4})
    fig.draw_without_rendering()
    ax = fig.axes[1]
    shown = [label for label in ax.yaxis.get_minorticklabels() if label.get_text()]
    assert [label.get_text() for label in shown] == ["22.1", "25.7"]
    boxes = [label.get_window_extent() for label in shown]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_performance_starts_where_its_points_are_and_strikes_no_date():
    days = [
        {**fitted(day), "performance": 0.79 + day / 200, "mean": np.full(8, 0.95 + day / 100)[: len(fitted()["mean"])],
         "mean_low": np.full(len(fitted()["mean"]), 0.9), "mean_high": np.full(len(fitted()["mean"]), 0.99)}
        for day in (1, 2, 3)
    ]  # fmt: skip
    fig = score_over_performance({"choice": days})
    (ax,) = fig.axes
    assert ax.get_ylim()[0] > 0.88 and not [line for line in ax.lines if line.get_label() == "chance"]
    assert "chance" not in entries(fig)
    low = score_over_performance({"choice": [{**one, "mean_low": one["mean_low"] - 0.45} for one in days]})
    assert [line for line in low.axes[0].lines if line.get_label() == "chance"] and low.axes[0].get_ylim()[0] < 0.5
    fig.draw_without_rendering()
    dates = [text for text in ax.texts if text.get_text().startswith("05-")]
    assert len(dates) == 3
    for text in dates:
        box = text.get_window_extent()
        for line in ax.lines:
            if line.get_linestyle() == "None":
                continue
            ends = line.get_transform().transform(line.get_xydata())
            along = ends[0] + np.linspace(0, 1, 500)[:, None] * (ends[-1] - ends[0])
            struck = (along > [box.x0, box.y0]) & (along < [box.x1, box.y1])
            assert not struck.all(axis=1).any(), (text.get_text(), line.get_label())


def test_fit_is_a_line_and_the_means_are_dots():
    (ax,) = ndc_overlay([fitted()], target="choice").axes
    dots, inside, beyond = (line_of(ax, name) for name in ("2024-05-01", "fit 2024-05-01", "beyond 2024-05-01"))
    assert (dots.get_linestyle(), dots.get_marker()) == ("None", ".")
    assert inside.get_xdata().max() == beyond.get_xdata().min() == 100
    assert beyond.get_xdata().max() == pytest.approx(200)
    for line in (inside, beyond):
        np.testing.assert_allclose(line.get_ydata(), 0.5 + 0.05 * np.log2(line.get_xdata()), atol=1e-4)
    assert ax.get_xlim()[1] >= 200
    assert ax.get_ylim()[1] > 0.5 + 0.05 * np.log2(200)
    bare = fitted(fit_k=[], fit_score=[])
    (ax,) = ndc_overlay([bare], target="choice").axes
    assert line_of(ax, "2024-05-01").get_linestyle() == "-"
    assert not [line for line in ax.lines if str(line.get_label()).startswith("fit")]


def test_intervals_of_k_star_stand_in_rows_below_the_scores():
    days = [
        fitted(1),
        fitted(2, k_star=1, k_star_low=1, k_star_high=2, k_star_censored="left"),
        fitted(3, verdict="at chance"),
        fitted(4, k_star_high=np.inf),
        fitted(5, k_star_high=None),
    ]
    fig = ndc_overlay(days, target="choice")
    (ax,) = fig.axes
    rows = [line_of(ax, f"interval 2024-05-0{day}").get_data() for day in (1, 2, 4, 5)]
    right = ax.get_xlim()[1]
    assert [tuple(x) for x, _ in rows] == [(16, 64), (1, 2), (16, right), (16, right)]
    heights = [y[0] for _, y in rows]
    assert np.all(np.diff(heights) < 0), "earliest session on top"
    lowest = min(0.45, *(0.5 + 0.002 * np.arange(5)))
    assert ax.get_ylim()[0] < min(heights) and max(heights) < lowest
    assert ax.get_yticks().tolist() == pytest.approx([0.5, 0.6, 0.7, 0.8])  # none beside the rows
    assert not [line for line in ax.lines if str(line.get_label()) == "interval 2024-05-03"]
    assert [text.get_text() for text in ax.texts] == ["k*", "≤"]
    sign = ax.texts[1]
    assert sign.xy == pytest.approx((1, heights[1]))
    for day, height in zip((1, 2, 4, 5), heights, strict=True):
        assert line_of(ax, f"drop 2024-05-0{day}").get_ydata()[0] == height
    texts = entries(fig)
    assert {"95 % interval of k* (rows)", "that many or fewer", "fit", "fit beyond the largest k"} <= set(texts)
    fig._repr_png_()


def test_one_figure_shows_one_kind_of_spread():
    fig = ndc_overlay([fitted(1), fitted(2)], target="choice")
    assert "95 % interval of the mean" in entries(fig)
    bands = [c.get_paths()[0].vertices[:, 1] for c in fig.axes[0].collections if c.get_label() != "shuffled"]
    assert bands[0].min() == pytest.approx(0.502 - 0.01)
    assert bands[0].max() == pytest.approx(0.852 + 0.015)
    fig = ndc_overlay([fitted(1), curve(2)], target="choice")
    assert "±1 sd over random subsets" in entries(fig)
    bands = [c.get_paths()[0].vertices[:, 1] for c in fig.axes[0].collections if c.get_label() != "shuffled"]
    assert bands[0].min() == pytest.approx(0.502 - 0.02)


def test_k_may_count_trials():
    fig = ndc_overlay([fitted()], target="choice", curve_axis="trials")
    assert fig.axes[0].get_xlabel() == "number of trials k"
    assert "k*: fewest trials within\n0.02 of the ceiling" in entries(fig)


def test_panels_have_rows_of_one_height_and_short_entries():
    fig = ndc_panels({
        "choice": [fitted(1, k_star=1, k_star_censored="left"), fitted(2, verdict="not saturated")],
        "block": [fitted(1, verdict="at chance")],
    })  # fmt: skip
    assert entries(fig)[:2] == ["2024-05-01  k*=≤1, –", "2024-05-02  k*=32+, –"]
    assert "not saturated" in fig.legends[0].get_title().get_text()
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    assert len({ax.spines["left"].get_bounds() for ax in fig.axes}) == 1
    fig._repr_png_()


@pytest.mark.parametrize("n_sessions", [1, 4, 12])
def test_legend_and_data_do_not_touch(n_sessions):
    """In pixels, as drawn: the legend starts where the axes, with all that stands out of them, have ended."""
    days = [fitted(day, k_star_high=np.inf) for day in range(1, n_sessions + 1)]
    for fig in (ndc_overlay(days, target="choice"), k_star_over_days({"choice": days})):
        fig.draw_without_rendering()
        legend = fig.legends[0].get_window_extent()
        for ax in fig.axes:
            assert ax.get_tightbbox().x1 < legend.x0
        assert legend.x1 <= fig.bbox.x1 and legend.y0 >= fig.bbox.y0


# --- k* over days -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "n_panels"),
    [(ndc_overlay, 1), *((draw, n_panels) for draw in (ndc_panels, k_star_over_days) for n_panels in (1, 2, 4))],
)
def test_long_titles_break_before_the_legend(draw, n_panels):
    title = "SP999: feedback from 120 cells in every session, feedback_times -0.1 to 0.4 s, trials as in the session"
    curves = [fitted(day) for day in range(1, 7)]
    if draw is ndc_overlay:
        fig = draw(curves, target="feedback", title=title)
    else:
        fig = draw(dict.fromkeys(("choice", "feedback", "stimulus", "block")[:n_panels], curves), title=title)
    fig.draw_without_rendering()
    (legend,) = fig.legends
    titles = [text for text in set(fig.findobj(Text)) - set(legend.findobj(Text)) if " " in text.get_text()]
    assert all(text.get_window_extent().x1 < legend.get_window_extent().x0 for text in titles)
    shown = fig.get_suptitle() or fig.axes[0].get_title(loc="left")
    assert shown.split() == title.split()
    assert fig.get_figwidth() < 12


@pytest.mark.parametrize("draw", [ndc_panels, k_star_over_days, score_over_performance])
def test_titles_of_panels_are_no_wider_than_their_panels(draw):
    name = "choice, 120 shared cells of VISp and VISam, without noise correlations, blocked folds"
    curves = [{**fitted(day), "performance": 0.6 + day / 20} for day in range(1, 5)]
    fig = draw({name: curves, f"{name}, over trials": curves})
    fig.draw_without_rendering()
    titles = [text for ax in fig.axes for text in ax.findobj(Text) if "blocked" in text.get_text()]
    left, right = sorted((text.get_window_extent() for text in titles), key=lambda box: box.x0)
    assert left.x1 < right.x0 and right.x1 < fig.legends[0].get_window_extent().x0


def test_days_hold_points_intervals_and_arrows():
    days = [
        fitted(1, k_star=64, k_star_low=32, k_star_high=np.inf),
        fitted(3, k_star=32),
        fitted(4, verdict="at chance", k_star=None, k_star_censored="right"),
        fitted(9, k_star=1, k_star_low=1, k_star_high=1, k_star_censored="left"),
        fitted(12, k_star=None, k_star_low=None, k_star_censored="right"),
        fitted(15, k_star=16),
    ]
    fig = k_star_over_days({"choice": days})
    (ax,) = fig.axes
    points = {line.get_label(): tuple(float(v[0]) for v in line.get_data()) for line in ax.lines
              if str(line.get_label()).startswith("k*")}  # fmt: skip
    assert points == {
        "k* 2024-05-01": (0, 64), "k* 2024-05-03": (2, 32), "k* 2024-05-09": (8, 1), "k* 2024-05-12": (11, 100),
        "k* 2024-05-15": (14, 16),
    }  # fmt: skip
    assert tuple(line_of(ax, "interval 2024-05-01").get_ydata()) == (32, ax.get_ylim()[1])
    arrows = {text.xyann[0]: text.xy[1] / text.xyann[1] for text in ax.texts if text.arrow_patch is not None}
    assert arrows[8] < 1 < arrows[11]
    assert len(arrows) == 2
    assert {"that many or fewer", "more than measured", "no k*: at chance"} <= set(entries(fig))
    # the line is that of the slope of what is drawn, the session at chance left out
    expected = log_k_slope([0, 2, 8, 11, 14], [64, 32, 1, 100, 16], censored=["", "", "left", "right", ""])
    line = line_of(ax, "slope")
    np.testing.assert_allclose(line.get_ydata(), expected.line(line.get_xdata())[0])
    shown = [text.get_text() for text in ax.texts if "octaves" in text.get_text()]
    assert shown == [f"{expected.slope:.2f} octaves per day ({expected.low:.2f} to {expected.high:.2f}), "
                    f"p = {expected.p:.3f}".replace("-", "−")]  # fmt: skip


def test_days_take_slopes_that_are_given():
    days = {"choice": [fitted(day, k_star=k) for day, k in ((1, 64), (2, 32), (5, 16))], "block": [fitted(2)], "c": []}
    fig = k_star_over_days(days, slopes={"choice": LogKSlope(slope=-1, low=-2, high=0.5, p=0.0002, n_sessions=3)})
    first, second, third = fig.axes
    assert [text.get_text() for text in first.texts] == ["−1.00 octaves per day (−2.00 to 0.50), p < 0.001"]
    line = line_of(first, "slope")
    center = 2 ** np.mean([6, 5, 4])
    np.testing.assert_allclose(line.get_ydata(), center * 2.0 ** -(line.get_xdata() - 5 / 3))
    assert [len([one for one in ax.lines if one.get_label() == "slope"]) for ax in fig.axes] == [1, 0, 0]
    assert third.texts[0].get_text() == "no session"
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    assert second.get_title(loc="left") == "b  Block"
    fig = k_star_over_days({"choice": [fitted(1), fitted(4, k_star=4)]})
    assert [text.get_text() for text in fig.axes[0].texts] == ["−1.00 octaves per day, no interval (2 sessions)"]
    (ax,) = k_star_over_days({"choice": [fitted()]}).axes
    assert [tick for tick in ax.get_xticks() if abs(tick) < ax.get_xlim()[1]] == [0]  # no fraction of a day


# --- score over performance -------------------------------------------------------------------------


def performed(day, score, performance, **change):
    """A curve that ends at a score, of a session with that performance."""
    plain = curve(day)
    return plain | {"mean": np.r_[plain["mean"][:-1], score], "performance": performance} | change


def test_line_of_score_over_performance_is_that_of_the_points():
    rng = np.random.default_rng(0)
    x, noise = rng.uniform(0.6, 0.9, 8), 0.02 * rng.normal(size=8)
    y = 0.4 + 0.5 * x + noise
    fig = score_over_performance({
        "choice": [performed(day + 1, y[day], x[day]) for day in rng.permutation(8)],
        "block": [performed(9, 0.7, None), performed(1, 0.6, 0.7), performed(2, 0.8, 0.8)],
        "feedback": [performed(day, 0.7, 0.8) for day in (1, 2, 3)],
    })  # fmt: skip
    first, second, third = fig.axes
    for day in range(8):
        point = line_of(first, f"2024-05-0{day + 1}")
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (x[day], y[day])
    line = line_of(first, "line")
    slope, intercept = np.polyfit(x, y, 1)
    np.testing.assert_allclose(line.get_xdata(), [x.min(), x.max()])
    np.testing.assert_allclose(line.get_ydata(), slope * line.get_xdata() + intercept)
    r = np.corrcoef(x, y)[0, 1]
    shuffled = [abs(np.corrcoef(rng.permutation(x), y)[0, 1]) >= r for _ in range(2000)]
    text = first.texts[0].get_text()
    assert text.startswith(f"r = {r:.2f}, p") and text.endswith("n = 8")
    p = 0.001 if "<" in text else float(text.split("p = ")[1].split(",")[0])
    assert abs(p - np.mean(shuffled)) < 0.01
    for ax, n in ((second, 2), (third, 3)):  # too few, and no spread
        assert ax.texts[0].get_text() == f"no line through {n} sessions"
        assert not [one for one in ax.lines if one.get_label() == "line"]
    assert "1 without performance" in entries(fig)
    assert {text.get_text() for text in first.texts[1:]} <= {f"05-0{day}" for day in range(1, 9)}


def test_dates_beside_points_touch_neither_points_nor_each_other():
    rng = np.random.default_rng(1)
    days = [performed(day, *rng.uniform(0.6, 0.9, 2)) for day in range(1, 29)]
    fig = score_over_performance({"choice": days, "block": days[:3]})
    fig.draw_without_rendering()
    for ax, least in zip(fig.axes, (14, 3), strict=True):
        texts = [text for text in ax.texts if text.get_text().startswith("05-")]
        boxes = [text.get_window_extent() for text in texts]
        assert len(texts) >= least
        assert not [1 for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
        points = [line for line in ax.lines if str(line.get_label()).startswith("2024")]
        middles = [line.get_transform().transform(line.get_xydata())[0] for line in points]
        assert not [1 for box in boxes for x, y in middles if box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1]


def test_performance_of_two_years_keeps_the_years():
    days = [performed(1, 0.6, 0.7), performed(2, 0.8, 0.8, date="2025-01-07")]
    (ax,) = score_over_performance({"choice": days}).axes
    assert [text.get_text() for text in ax.texts[1:]] == ["2024-05-01", "2025-01-07"]


# --- style ------------------------------------------------------------------------------------------


def test_thirty_regions_have_colours_that_differ():
    names = [f"R{i}" for i in range(30)]
    colors = distinct_region_colors(names)
    rgb = np.array([to_rgb(color) for color in colors.values()]) * 255
    apart = np.linalg.norm(rgb[:, None] - rgb[None], axis=2) + np.eye(30) * 1e3
    assert apart.min() > 35
    assert colors == distinct_region_colors(names[::-1] * 2)
    assert "#808080" not in colors.values()


def seen_by(rgb):
    """OKLab of colours (n, 3) as normal, protan and deutan eyes see them, by the model of Vienot and others (1999).

    The palette itself is made with another model.
    """
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    lost = {"normal": np.eye(3), "protan": np.eye(3), "deutan": np.eye(3)}
    lost["protan"] = np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]])
    lost["deutan"] = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    cones = np.array([
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ])  # fmt: skip
    lab = np.array([
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ])  # fmt: skip
    for eyes, loss in lost.items():
        light = np.clip(linear @ (np.linalg.inv(to_lms) @ loss @ to_lms).T, 0, 1)
        yield eyes, np.cbrt(light @ cones.T) @ lab.T


def smallest_distance(colors):
    """Of any two colours, to each kind of eyes."""
    rgb = np.array([to_rgb(color) for color in colors])
    return {eyes: min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2))
            for eyes, seen in seen_by(rgb)}  # fmt: skip


@pytest.mark.parametrize("n", range(2, 9))
def test_up_to_eight_regions_differ_for_all_eyes(n):
    colors = distinct_region_colors([f"R{i}" for i in range(n)] + ["void"])
    assert colors["R0"].startswith("#0076") and colors["void"] == "#808080"
    apart = smallest_distance(colors.values())
    assert min(apart.values()) > 0.09, apart
    assert smallest_distance(["#ff2700", "#146200"])["protan"] < 0.05, "red and green, as they once were"


def test_session_colours_get_lighter_with_the_date():
    colors = session_colors(["2024-05-03", "2024-05-01", "2024-05-02"])
    light = [np.dot(to_rgb(color), (0.21, 0.72, 0.07)) for color in colors]
    assert light[1] < light[2] < light[0] < 0.75
    assert session_colors([]) == []


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_are_equal_and_carry_provenance(kind, tmp_path):
    provenance = {"eid": "e1", "ks": np.array([1, 2]), "note": "é", "when": np.datetime64("2024-05-01", "D")}
    files = [save(ndc_overlay([curve()], target="choice"), tmp_path / str(i) / f"a.{kind}", provenance) for i in (0, 1)]
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert b"e1" in first
    if kind == "svg":
        assert b"number of neurons k</text>" in first
        assert b"<dc:date>" not in first
    if kind == "pdf":
        assert b"CreationDate" not in first
        assert b"/Type3" not in first


def test_metadata_of_png_is_json(tmp_path):
    file = save(ndc_overlay([curve()], target="choice"), tmp_path / "a.png", {"b": {2, 1}, "a": np.int64(3)})
    with Image.open(file) as image:
        assert image.info["Description"] == '{"a": 3, "b": [1, 2]}'
        assert json.loads(image.info["Description"])["a"] == 3


def test_save_refuses_what_it_cannot_keep(tmp_path):
    fig = ndc_overlay([curve()], target="choice")
    with pytest.raises(ValueError, match=r"\.jpg"):
        save(fig, tmp_path / "a.jpg", {})
    with pytest.raises(TypeError, match="object"):
        save(fig, tmp_path / "a.png", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_style_of_the_caller_neither_leaks_in_nor_is_changed(tmp_path):
    before = save(ndc_overlay([curve()], target="choice"), tmp_path / "a.svg", {}).read_bytes()
    with mpl.rc_context({"font.size": 30, "text.color": "red", "xtick.color": "red", "svg.fonttype": "path"}):
        after = save(ndc_overlay([curve()], target="choice"), tmp_path / "b.svg", {}).read_bytes()
        assert mpl.rcParams["font.size"] == 30
    assert before == after


@pytest.mark.slow
def test_pyplot_is_not_needed():
    code = (
        "import sys, pipeline.figures as figures; figures.StyledFigure()._repr_png_(); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_file_stem_has_no_slash_and_an_end():
    stem = file_stem("raster", *["VISp2/3"] * 50)
    assert "/" not in stem
    assert len(stem) <= 100


# --- pictures of the docs ---------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures_of_the_docs_can_be_drawn_again(tmp_path):
    """Each picture is drawn, named in the page, and there is no other."""
    docs = Path(__file__).parents[3] / "docs"
    spec = importlib.util.spec_from_file_location("draw_curves", docs / "draw_curves.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    drawn = {path.name for path in pictures.draw(tmp_path, dpi=30)}
    assert drawn == {path.name for path in (docs / "images").glob("curve_*.png")}
    assert all(f"images/{name}" in (docs / "science" / "curves.md").read_text() for name in drawn)


# --- trends over days -------------------------------------------------------------------------------


def day_trend(quantity, values, **found):
    days, values = np.array([0.0, 2, 5, 9]), np.array(values, dtype=float)
    line = {"slope": -0.1, "mean_day": 4.0, "mean_value": 4.5, "half_width": 0.2} | found
    return DayTrend(quantity, 8, days, values, values * 0.9, values * 1.1, **line)


def test_trends_are_drawn_above_ceilings_and_performance():
    code = day_trend("code_k", [40, np.nan, 20, 10], at_chance=(2.0,), fixed_low=-0.2, fixed_high=-0.01, fixed_p=0.03)
    score = day_trend("score", [0.6, 0.65, 0.7, 0.7], slope=0.01, low=-0.01, high=0.03, p=0.2, mean_value=0.66)
    fig = trends_over_days(
        {"choice": {"code_k": code, "half_k": day_trend("half_k", [8, 7, 6, 5]),
                    "common_k": day_trend("common_k", [40, 30, 20, 10]), "score": score}, "block": {}},
        ceilings={"choice": [0.8, 0.5, 0.9, 0.9]}, performance=[(0, 0.6), (5, 0.9)], start="2025-03-01",
    )  # fmt: skip
    assert len(fig.axes) == 10
    top, half, _, third, last = fig.axes[::2]
    assert drawn(half, "values")[1].tolist() == [8, 7, 6, 5] and half.get_ylabel() == "code:\nk of half d′²"
    assert top.get_title() == "Choice" or top.get_title(loc="left") == "Choice"
    np.testing.assert_array_equal(drawn(top, "values")[1], code.values)
    assert drawn(top, "at chance")[0].tolist() == [2]
    days, ks = drawn(top, "trend")
    np.testing.assert_allclose(np.log2(ks), 4.5 - 0.1 * (days - 4))
    assert (days.min(), days.max(), top.get_yscale()) == (0, 9, "log")
    assert drawn(third, "ceiling")[1].tolist() == [0.8, 0.5, 0.9, 0.9]
    assert third.get_yscale() == "linear" and len(third.collections) == 1  # the band of the scatter of days
    assert len(top.collections) == 0
    assert drawn(last, "performance")[1].tolist() == [60, 90]
    (text,) = [text.get_text() for text in top.texts]
    assert text.split("\n") == [
        "−0.10 octaves per day", "these days: −0.20 to −0.01, p = 0.030", "beyond scatter of days: needs 4 days, has 3",
    ]  # fmt: skip
    assert [text.get_text() for text in fig.axes[1].texts] == ["no trend"]
    (legend,) = fig.legends
    assert "did the shape" in legend.get_title().get_text()
    assert "at chance" in [entry.get_text() for entry in legend.get_texts()]


def drawn(ax, label):
    """x and y of the line with this label."""
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


@pytest.mark.parametrize(
    ("trends", "options", "words"),
    [({"choice": {}}, {}, "no target"), ({"choice": {}}, {"metric": "f1"}, "'f1'")],
)
def test_trends_that_cannot_be_drawn(trends, options, words):
    with pytest.raises(ValueError, match=words):
        trends_over_days(trends, ceilings={}, **options)
