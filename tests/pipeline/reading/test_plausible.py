"""Checks of a FOV's numbers: what is sound in many ways passes, and what is not what its name says is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter
from support.calcium import Recording, deconvolve, record, simulate, simulated

from pipeline.reading.fov import MIN_BEATEN_BY_OWN, TOO_COARSE
from pipeline.reading.plausible import (
    first_of_zeros,
    in_parts,
    micrometres_per_pixel,
    neuron_types,
    neuropil_likeness,
    not_at_zero,
    rounding_step,
    sampled,
    share_beaten_when_deconvolved_again,
    share_of_others_beaten,
    shifted_lines,
    types_by_probability,
)

#: Sound recordings of many kinds.
SOUND = {
    "usual": Recording(),
    "few ROIs, short": Recording(n_rois=12, n_frames=220),
    "dim": Recording(size=0.5),
    "all silent": Recording(silent=1.0),
    "mostly neuropil": Recording(size=0.5, neuropil=8.0),
    "flashes": Recording(flashes=4),
    "slower than it is taken for": Recording(tau=1.5, tau_used=0.5),
    "faster than it is taken for": Recording(tau=0.3, tau_used=1.5),
    "slow frames": Recording(rate=3.4),
}


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("with_neuropil", [True, False], ids=["minus neuropil", "alone"])
def test_deconvolved_activity_is_of_its_own_fluorescence_and_in_another_order_is_not(kind, with_neuropil):
    rng = np.random.default_rng(20)
    fluorescence, neuropil, deconvolved = simulated(SOUND[kind], 1)
    corrected = fluorescence - 0.7 * neuropil if with_neuropil else fluorescence
    sound = share_of_others_beaten(corrected, deconvolved)
    others = [share_of_others_beaten(corrected, rng.permutation(deconvolved)) for _ in "abcd"]
    assert sound > 0.95
    assert max(others) < MIN_BEATEN_BY_OWN
    assert 2 * not_at_zero(deconvolved)[0] <= not_at_zero(deconvolved)[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["usual", "slower than it is taken for", "mostly neuropil"])
def test_a_quarter_of_other_rois_is_told_by_neurons_that_follow_each_other(kind):
    """More than half of the ROIs are nothing but neuropil, and some of these are taken for neurons."""
    rng, n_rois = np.random.default_rng(19), 160
    fluorescence, neuropil, deconvolved = simulate(replace(SOUND[kind], n_rois=n_rois), rng)
    own, faint = fluorescence - 0.7 * neuropil, rng.random(n_rois) < 0.6
    mean = own[faint].mean(axis=1, keepdims=True)
    own[faint] = mean + 0.01 * (own[faint] - mean)
    deconvolved[faint] = deconvolve(own[faint], SOUND[kind].rate, SOUND[kind].tau_used)
    fluorescence = own + 0.7 * neuropil
    parts = in_parts(np.flatnonzero(np.where(rng.random(n_rois) < 0.1, faint, ~faint)))
    assert min(len(part) for part in parts) >= 20 and len(parts) >= 3
    others = rng.permutation(deconvolved)
    first_quarter, last_quarter = np.r_[others[:40], deconvolved[40:]], np.r_[deconvolved[:120], others[120:]]

    def lowest(activity: np.ndarray) -> float:
        return min(share_of_others_beaten(fluorescence[part], activity[part]) for part in parts)

    assert lowest(deconvolved) > 0.75
    assert max(lowest(first_quarter), lowest(last_quarter)) < MIN_BEATEN_BY_OWN


def lines_of_an_extraction(traces: np.ndarray, share: float) -> np.ndarray:
    """Return traces (N, T) with one line less, and one at the end: from ``share`` of the lines on they are shifted."""
    first = int(share * len(traces))
    return np.concatenate([np.delete(traces, first, axis=0), traces[first : first + 1]])


@pytest.mark.parametrize("share", [0, 0.5, 0.93])
@pytest.mark.parametrize("kind", SOUND)
def test_lines_that_are_shifted_are_told_wherever_the_shift_begins(kind, share):
    """From 93 % on the activity agrees with the fluorescence as a whole."""
    fluorescence, _, deconvolved = simulated(replace(SOUND[kind], n_rois=160), 14)
    rois = np.arange(1000, 1160)  # of any number
    assert shifted_lines(fluorescence, deconvolved, rois) is None
    first, count, lines = shifted_lines(lines_of_an_extraction(fluorescence, share), deconvolved, rois)
    assert lines == -1 and first >= 1000 + int(share * 160) // 20 * 20 and (first - 1000) % 20 == 0
    assert count >= (6 if share == 0.93 else 10)
    assert shifted_lines(fluorescence, lines_of_an_extraction(deconvolved, share), rois)[2] == 1


def test_rois_that_are_no_cells_or_one_cell_twice_are_no_shift():
    """The last ROIs have hardly anything of their own, and others are one cell in two ROIs, one brighter."""
    rng, n_frames = np.random.default_rng(15), 900
    for _ in range(4):
        n_rois = int(rng.integers(12, 100))
        fluorescence, neuropil, deconvolved = simulate(Recording(n_rois=n_rois, n_frames=n_frames), rng)
        faint = np.arange(n_rois) >= rng.uniform(0.3, 1) * n_rois
        own = fluorescence - 0.7 * neuropil
        own[faint] *= 0.01
        for first in np.flatnonzero(rng.random(n_rois - 1) < 0.5):
            own[first + 1] = rng.uniform(0.2, 1) * own[first] + rng.uniform(0, 20) * rng.standard_normal(n_frames)
        deconvolved = deconvolve(own, 5.0, 1.0)
        sound = (own + 3 * neuropil).astype(np.float32), deconvolved.astype(np.float32)
        assert shifted_lines(*sound, np.arange(n_rois)) is None


def test_of_few_frames_or_rois_no_shift_is_told():
    fluorescence, _, deconvolved = simulate(Recording(n_frames=250), np.random.default_rng(16))
    shifted = lines_of_an_extraction(fluorescence, 0)
    assert shifted_lines(shifted, deconvolved, np.arange(30))[2] == -1
    assert shifted_lines(shifted[:, :150], deconvolved[:, :150], np.arange(30)) is None
    assert shifted_lines(shifted[:9], deconvolved[:9], np.arange(9)) is None
    # dead ROIs are left out, and lines are counted with them
    fluorescence[[3, 7, 8]] = deconvolved[[3, 7, 8]] = 0
    assert shifted_lines(lines_of_an_extraction(fluorescence, 0), deconvolved, np.arange(30))[2] == -1


@pytest.mark.parametrize(("n_rois", "groups"), [(8, [0]), (20, [0]), (33, [0, 20]), (41, [0, 21]), (900, [0, 880])])
def test_groups_of_rois_are_the_first_the_last_and_those_between(n_rois, groups):
    assert sampled(1000, n_rois)[0].tolist() == [g + i for g in groups for i in range(20) if g + i < n_rois]
    more, _ = sampled(1000, n_rois, 8)
    assert len(set(more.tolist())) == len(more) == min(n_rois, 160) and set(sampled(1000, n_rois)[0]) <= set(more)


def test_events_alone_without_noise_are_told_too():
    """Deconvolution with a penalty gives few events: most frames are zero, some ROIs have none."""
    rng = np.random.default_rng(2)
    events = rng.poisson(0.004, (40, 2000)) * rng.gamma(4, 0.25, (40, 2000))
    events[:8] = 0
    fluorescence = 600 + 60 * (2 * events + rng.standard_normal(events.shape))
    assert share_of_others_beaten(fluorescence, events) > 0.95
    assert share_of_others_beaten(fluorescence, rng.permutation(events)) < MIN_BEATEN_BY_OWN


def imaged(
    n_rois: int,
    rng: np.random.Generator,
    *,
    part: float = 0.7,
    blur: float = 3.0,
    common: float = 3.0,
    noise: float = 0.2,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fluorescence and neuropil (n, T), and positions (n, 2), of ROIs in a smooth field of neuropil.

    Parameters
    ----------
    part : float
        Of the neuropil, in the fluorescence.
    blur : float
        Of the field, in 32nds of the image; 0: each ROI has neuropil of its own.
    common, noise : float
        Standard deviation of what all ROIs have, and of what each has alone.
    """
    positions, shape = rng.integers(0, 512, (n_rois, 2)), (n_rois, 800)
    y, x = positions.T // 16
    fields = gaussian_filter(rng.standard_normal((800, 32, 32)), (0, blur, blur))
    around = fields[:, y, x].T / fields.std() if blur else rng.standard_normal(shape)
    around = around + common * rng.standard_normal(800) + noise * rng.standard_normal(shape)
    events = (rng.random(shape) < 0.02) * rng.gamma(4, 2.5, shape)
    own = lfilter([1], [1, -0.8], events) + rng.standard_normal(shape)
    return (100 + own + part * around).astype(np.float32), (100 + around).astype(np.float32), positions


NEUROPIL: dict[str, dict[str, float]] = {
    "usual": {}, "none in the fluorescence": {"part": 0}, "of each ROI alone": {"blur": 0},
    "little in the fluorescence": {"part": 0.1, "noise": 1}, "mostly common": {"common": 10},
    "wide and noisy": {"part": 0, "blur": 12, "noise": 1, "common": 10},
}  # fmt: skip


@pytest.mark.parametrize("kind", NEUROPIL)
@pytest.mark.parametrize("n_rois", [120, 400])
def test_neuropil_is_like_that_of_its_roi_and_in_another_order_is_not(kind, n_rois):
    rng = np.random.default_rng(12)
    fluorescence, neuropil, positions = imaged(n_rois, rng, **NEUROPIL[kind])
    neuropil[3] = 0  # a ROI at the edge, without neuropil
    assert neuropil_likeness(fluorescence, neuropil, positions).is_of_its_rois
    for order in (np.arange(n_rois)[::-1], *(rng.permutation(n_rois) for _ in "abcd")):
        found = neuropil_likeness(fluorescence, neuropil[order], positions)
        assert not found.is_of_its_rois and max(found.own, found.near) < 0.62
    assert neuropil_likeness(fluorescence[:90], neuropil[:90], positions[:90]) is None
    assert neuropil_likeness(fluorescence[:, :150], neuropil[:, :150], positions) is None


@pytest.mark.parametrize("kind", NEUROPIL)
@pytest.mark.parametrize("share", [0.5, 0.75])
def test_neuropil_that_is_of_other_rois_up_to_some_line_is_not_like_that_of_its_roi(kind, share):
    rng = np.random.default_rng(14)
    fluorescence, neuropil, positions = imaged(400, rng, **NEUROPIL[kind])
    first = int(share * 400)
    mixed = np.concatenate([neuropil[rng.permutation(400)][:first], neuropil[first:]])
    assert not neuropil_likeness(fluorescence, mixed, positions).is_of_its_rois


@pytest.mark.parametrize("kind", NEUROPIL)
@pytest.mark.parametrize("n_rois", [120, 400])
def test_positions_in_another_order_than_the_neuropil_are_told(kind, n_rois):
    """But where each ROI has neuropil of its own."""
    rng = np.random.default_rng(17)
    fluorescence, neuropil, positions = imaged(n_rois, rng, **NEUROPIL[kind])
    assert not neuropil_likeness(fluorescence, neuropil, positions).is_elsewhere
    is_told = NEUROPIL[kind].get("blur", 1) > 0
    for order in (np.arange(n_rois)[::-1], *(rng.permutation(n_rois) for _ in "abcd")):
        assert neuropil_likeness(fluorescence, neuropil, positions[order]).is_elsewhere == is_told


@pytest.mark.parametrize("kind", NEUROPIL)
@pytest.mark.parametrize("n_rois", [120, 400])
def test_fluorescence_in_another_order_than_its_neuropil_is_told_where_this_is_a_good_part_of_it(kind, n_rois):
    """Though the neuropil be of the ROIs of the positions."""
    rng = np.random.default_rng(18)
    fluorescence, neuropil, positions = imaged(n_rois, rng, **NEUROPIL[kind])
    found = neuropil_likeness(fluorescence, neuropil, positions)
    assert found.is_of_its_rois and not found.is_of_other_fluorescence
    for order in (np.arange(n_rois)[::-1], *(rng.permutation(n_rois) for _ in "abcd")):
        found = neuropil_likeness(fluorescence[order], neuropil, positions)
        assert found.is_of_other_fluorescence == (kind in ("usual", "mostly common"))
        assert not (found.is_of_other_fluorescence and found.is_of_its_rois)


@pytest.mark.parametrize("kind", SOUND)
def test_neuropil_without_places_tells_nothing_of_positions(kind):
    """Of one common signal, with bleaching and flashes."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        recorded = record(replace(SOUND[kind], n_rois=120, n_frames=400), rng)
        fluorescence, neuropil = (one.astype(np.float32) for one in recorded)
        found = neuropil_likeness(fluorescence, neuropil, rng.integers(0, 512, (120, 2)))
        assert not found.is_elsewhere and not found.is_of_other_fluorescence


@pytest.mark.parametrize("tau", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("kind", SOUND)
def test_activity_that_is_deconvolved_again_is_of_the_same_rois_and_in_another_order_is_not(kind, tau):
    rng = np.random.default_rng(21)
    fluorescence, neuropil, former = simulated(SOUND[kind], 13)
    again = deconvolve(fluorescence - 0.5 * neuropil, SOUND[kind].rate, tau).astype(np.float32)
    assert share_beaten_when_deconvolved_again(former, again) > 0.95
    for order in (rng.permutation(len(again)) for _ in "abcd"):
        assert share_beaten_when_deconvolved_again(former, again[order]) < MIN_BEATEN_BY_OWN


def test_of_few_frames_or_active_rois_it_is_not_told():
    fluorescence, _, deconvolved = simulate(Recording(n_frames=250), np.random.default_rng(3))
    assert share_of_others_beaten(fluorescence[:, :150], deconvolved[:, :150]) is None
    assert share_of_others_beaten(fluorescence[:9], deconvolved[:9]) is None
    assert share_of_others_beaten(fluorescence, np.where(np.arange(30)[:, None] < 9, deconvolved, 0)) is None
    assert not_at_zero(fluorescence[:, :150]) is None
    assert not_at_zero(np.zeros((5, 300))) is None


@pytest.mark.parametrize("kind", ["usual", "dim", "flashes"])
def test_what_is_not_deconvolved_is_told(kind):
    """Fluorescence has a baseline; without its neuropil, as dF/F or as z-scores it goes below zero."""
    fluorescence, neuropil, deconvolved = simulated(SOUND[kind], 4)
    corrected = fluorescence - 0.7 * neuropil
    change = corrected / np.percentile(corrected, 20, axis=1, keepdims=True) - 1
    scores = (deconvolved - deconvolved.mean(axis=1, keepdims=True)) / deconvolved.std(axis=1, keepdims=True)
    for other in (fluorescence, corrected, change, scores):
        n, of = not_at_zero(other)
        assert n > 0.9 * of, (kind, n, of)


def test_probabilities_of_events_that_are_never_quite_zero_pass():
    """As other methods than Suite2p's give them."""
    rng = np.random.default_rng(5)
    events = (rng.random((20, 2000)) < 0.03) * rng.random((20, 2000))
    assert not_at_zero(events + 1e-3)[0] == 0


@pytest.mark.parametrize(
    ("is_active", "first"),
    [
        (np.arange(1000) < 700, 700),
        (np.arange(1000) < 960, None),  # 40 frames are no long stretch
        (np.arange(1000) >= 0, None),
        (np.arange(1000) % 60 == 0, None),  # rarely active throughout
        (np.zeros(1000, dtype=bool), 0),
        (np.zeros(40, dtype=bool), None),
    ],
)
def test_zeros_at_the_end(is_active, first):
    assert first_of_zeros(is_active) == first


def test_few_rarely_active_rois_hardly_ever_end_in_zeros():
    rng = np.random.default_rng(6)
    for rate, n_frames in ((0.001, 1500), (0.01, 1500), (0.05, 1500), (0.001, 20_000), (0.003, 20_000)):
        found = [rng.random(n_frames) < rate for _ in range(300)]
        assert all(first_of_zeros(is_active) is None for is_active in found if is_active.any())


@pytest.mark.parametrize("n_rois", [30, 250, 3000])
def test_types_that_were_curated_pass_and_types_in_another_order_or_reversed_do_not(n_rois):
    rng = np.random.default_rng(7)
    for _ in range(40):
        is_cell = rng.random(n_rois) < rng.uniform(0.2, 0.8)
        probability = np.where(is_cell, rng.beta(4, 1.5, n_rois), rng.beta(1.5, 4, n_rois))
        probability[rng.integers(n_rois, size=3)] = np.nan
        curated = np.where(rng.random(n_rois) < rng.uniform(0, 0.25), ~is_cell, is_cell)
        of_curated = types_by_probability(curated, probability)
        assert of_curated is None or not of_curated[1]
        turned = types_by_probability(~is_cell, probability)
        assert n_rois == 30 or turned[1]
    is_cell = np.arange(n_rois) < n_rois // 2
    probability = np.where(is_cell, rng.beta(4, 1.5, n_rois), rng.beta(1.5, 4, n_rois))
    told = [types_by_probability(rng.permutation(is_cell), probability)[1] for _ in range(100)]
    assert sum(told) > 90 if n_rois > 200 else sum(told) < 10  # of few it is hardly ever said


def test_the_share_of_pairs_is_the_area_under_the_curve():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(8)
    is_neuron, probability = rng.random(200) < 0.4, rng.random(200).round(1)  # with ties
    assert types_by_probability(is_neuron, probability)[0] == pytest.approx(roc_auc_score(is_neuron, probability))
    assert types_by_probability(np.arange(200) < 3, probability) is None


@pytest.mark.parametrize("tilt", [0, 30])
@pytest.mark.parametrize("scale", [0.7, 1.4, 3.0])
def test_the_scale_of_places_is_that_of_the_map(scale, tilt):
    rng = np.random.default_rng(9)
    for n in (10, 300):
        rows, columns = rng.integers(0, 512, (n, 2)).T
        slope = np.deg2rad(tilt)
        places = np.c_[scale * columns * np.cos(slope), -scale * rows, scale * columns * np.sin(slope)] + [
            2500,
            -2000,
            -300,
        ]
        places[0] = np.nan
        assert micrometres_per_pixel(np.c_[rows, columns], places) == pytest.approx(scale)


CLOCK = 12 + 0.19713 * np.arange(3000)


@pytest.mark.parametrize("jitter", [0, 5e-6, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("n_frames", [60, 300, 3000])
def test_times_with_jitter_gaps_and_missing_frames_are_not_rounded(jitter, n_frames):
    rng = np.random.default_rng(10)
    times = CLOCK[:n_frames] + rng.normal(0, jitter, n_frames)
    late = times + np.where(np.arange(n_frames) == n_frames // 2, 0.05, 0)
    for sound in (times, late, np.delete(times, [20, 40]), np.r_[times[:50], times[50:] + 20.01]):
        assert rounding_step(sound) < 0.01 * 0.19713


def test_a_regular_clock_is_not_rounded():
    regular = 0.2 * np.arange(2000)
    late = regular + np.where(np.arange(2000) == 77, 0.05, 0)
    assert rounding_step(regular) == rounding_step(late) == rounding_step(np.delete(regular, 9)) == 0
    assert rounding_step(CLOCK.astype(np.float32).astype(float)) < 1e-3


@pytest.mark.parametrize(("step", "is_too_coarse"), [(1e-3, False), (1e-2, False), (0.025, True), (0.1, True)])
def test_rounded_times_are_told_with_their_step(step, is_too_coarse):
    """IBL's clock has steps of 1 ms."""
    rng = np.random.default_rng(11)
    times = np.round((CLOCK + rng.normal(0, 5e-6, len(CLOCK))) / step) * step
    assert rounding_step(times) == pytest.approx(step)
    assert rounding_step(times + 0.0247) == pytest.approx(step)  # the delay of the FOV is added later
    assert (step >= TOO_COARSE * 0.19713) == is_too_coarse


def test_names_of_types():
    assert neuron_types([("0", "no cell"), ("1", "cell")]) == ([1], [])
    assert neuron_types([("0", "Neuron"), ("1", "non-neuron"), ("2", "not_a_cell")]) == ([0], [])
    assert neuron_types([("0", "blob"), ("1", "cell")]) == ([1], ["blob"])
