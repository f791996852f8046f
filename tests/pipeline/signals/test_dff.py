"""dF/F against plain numpy, and against transients that were planted."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ArgumentError, DataError
from pipeline.settings.signals import DffSettings
from pipeline.signals.dff import dff, running_percentile

PERIOD = 0.2


def test_running_percentile_is_that_of_each_window_at_its_centre_and_a_line_in_between():
    values = np.random.default_rng(0).normal(size=(3, 500))
    found = running_percentile(values, 61, 8)
    for start in range(0, 439, 10):
        expected = np.percentile(values[:, start : start + 61], 8, axis=1)
        np.testing.assert_allclose(found[:, start + 30], expected)
    np.testing.assert_allclose(found[:, 35], (found[:, 30] + found[:, 40]) / 2)
    np.testing.assert_allclose(found[:, -31], np.percentile(values[:, -61:], 8, axis=1))  # the last window counts, too
    np.testing.assert_array_equal(found[:, :31], found[:, [30] * 31])
    np.testing.assert_allclose(running_percentile(values, 900, 50), np.median(values, axis=1)[:, None] * np.ones(500))


def test_dff_is_that_of_plain_numpy():
    rng = np.random.default_rng(1)
    times = np.arange(400) * PERIOD
    times[250:] += 30  # a gap: the baseline begins anew
    raw, neuropil = (rng.gamma(9, 10, (2, 400)).astype(np.float32) for _ in range(2))
    found = dff(raw, neuropil, times, DffSettings(0.6, 10, 20))
    assert found.dtype == np.float32
    for bout in (slice(0, 250), slice(250, 400)):
        corrected = raw[:, bout].astype(float) - 0.6 * neuropil[:, bout]
        above = corrected - running_percentile(corrected, 50, 20)
        np.testing.assert_allclose(found[:, bout], above / running_percentile(raw[:, bout], 50, 20), atol=1e-5)


def test_planted_transients_have_their_size_whatever_bleaching_and_neuropil_do():
    rng = np.random.default_rng(2)
    times = np.arange(6000) * PERIOD
    baseline = 200 * (1 - 0.3 * np.linspace(0, 1, 6000))
    transients = np.zeros(6000)
    for start in range(200, 6000, 300):
        transients[start : start + 20] = 0.5 * np.exp(-np.arange(20) / 8)
    neuropil = 80 + 10 * np.sin(times / 4)
    noise = rng.normal(0, 0.5, 6000)
    raw = (baseline * (1 + transients) + 0.7 * (neuropil - 80) + noise)[None]
    found = dff(raw, neuropil[None], times)[0]
    peaks = found[np.flatnonzero(transients == 0.5)]
    np.testing.assert_allclose(peaks.mean(), 0.5, atol=0.04)
    error = (found - transients).std()
    without = dff(raw, None, times, DffSettings(0))[0]
    assert error < 0.01 < 0.03 < (without - transients).std()  # what the neuropil adds stays


def test_rois_without_light_are_in_units_of_their_noise():
    noise = np.random.default_rng(3).normal(0, 4, (1, 3000)).astype(np.float32)
    times = np.arange(3000) * PERIOD
    found = dff(np.vstack([noise, 0 * noise]), None, times, DffSettings(0))
    assert 0.9 < found[0].std() < 1.1
    np.testing.assert_array_equal(found[1], 0)


def test_what_cannot_be_used_is_refused():
    times, values = np.arange(10) * PERIOD, np.ones((2, 10))
    with pytest.raises(DataError, match=r"neuropil and fluorescence differ.*expected \(2, 10\), found None"):
        dff(values, None, times)
    with pytest.raises(DataError, match=r"fluorescence and times differ.*\(ROIs, 9\)"):
        dff(values, values, times[:9])
    with pytest.raises(DataError, match="neuropil is not finite"):
        dff(values, np.where(np.eye(2, 10), np.nan, values), times)
    for wrong in ({"window": 0}, {"percentile": 101}, {"neuropil": -1}, {"neuropil": np.nan}):
        with pytest.raises(ArgumentError):
            DffSettings(**wrong)
