"""Trial-type means and what single cells tell, against plain numpy, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import sem, spearmanr
from sklearn.metrics import roc_auc_score

from pipeline.decoding import FOVCells, trial_coverage
from pipeline.errors import ArgumentError
from pipeline.responses import (
    TrialTypeMeans,
    WindowSet,
    selectivity,
    signal_to_noise,
    sparseness,
    split_half,
    trial_type_means,
)
from pipeline.signals.peri_event import WINDOWS, TrialWindow, event_times

N_TRIALS, N_CELLS, PERIOD = 80, 70, 0.2


@pytest.fixture(scope="module")
def trials() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    on = 3 + 4 * np.arange(N_TRIALS) + rng.uniform(0, 0.5, N_TRIALS)
    left = rng.random(N_TRIALS) < 0.5
    choice = rng.choice([-1.0, 1.0], N_TRIALS)
    return {
        "stimOn_times": on, "firstMovement_times": on + 0.4, "feedback_times": on + 0.8, "intervals_1": on + 1.5,
        "contrastLeft": np.where(left, 0.5, np.nan), "contrastRight": np.where(left, np.nan, 0.5),
        "probabilityLeft": np.repeat([0.5, 0.8, 0.2, 0.8], N_TRIALS // 4), "choice": choice,
        "feedbackType": np.where(left == (choice > 0), 1.0, -1.0),
    }  # fmt: skip


def cells_of(trials, flagged: bool = False) -> FOVCells:
    rng = np.random.default_rng(1)
    times = np.arange(0, 330, PERIOD)
    times = times[(times < 200) | (times > 206)]  # a pause
    traces = rng.gamma(1.0, 1.0, (N_CELLS, len(times))).astype(np.float32)
    offsets = rng.uniform(0, PERIOD, N_CELLS)
    bad = np.isin(np.arange(len(times)), [*range(95, 105), 500]) if flagged else None
    return FOVCells(np.arange(N_CELLS), traces, times, offsets, bad)


def frames_in(cells: FOVCells, cell: int, start: float, end: float, short_window: str) -> np.ndarray:
    """Return the frames of a cell in a window: one by one, or the nearest one."""
    times = cells.frame_times + cells.offsets[cell]
    inside = np.flatnonzero((times >= start) & (times <= end))
    if len(inside) or short_window == "drop":
        return inside
    return np.argmin(np.abs(times - (start + end) / 2))[None]


def values_of(cells: FOVCells, trials: dict, name: str, cell: int, short_window: str) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers and values of the trials that count for a cell in a window."""
    events, window, numbers, values = event_times(name, trials), WINDOWS[name], [], []
    starts, ends = events + window.start, events + window.end
    covered = trial_coverage(cells.frame_times, cells.offsets, starts, ends) == ""
    for trial in np.flatnonzero(covered):
        frames = [frames_in(cells, i, starts[trial], ends[trial], short_window) for i in range(N_CELLS)]
        if cells.flagged is not None and any(cells.flagged[one].any() for one in frames):
            continue
        if len(frames[cell]):
            numbers.append(trial)
            values.append(cells.traces[cell, frames[cell]].mean())
    return np.array(numbers), np.array(values)


@pytest.mark.parametrize(("flagged", "short_window"), [(False, "drop"), (True, "nearest")])
def test_means_are_those_of_frames_counted_one_by_one(trials, flagged, short_window):
    cells = cells_of(trials, flagged)
    found = trial_type_means(cells, trials, WindowSet("w", WINDOWS, short_window))
    assert found.windows == tuple(WINDOWS) and found.mean.dtype == np.float32 and found.n.dtype == np.int32
    # windows of each kind: bounds that others share, a deep one, and one about the end of the trial before
    for name in ("inter_trial", "blockL", "quiescence", "stimLbLcL", "motor_init", "choiceL", "fback0"):
        row = list(WINDOWS).index(name)
        for cell in (0, N_CELLS - 1):
            numbers, values = values_of(cells, trials, name, cell, short_window)
            even = numbers % 2 == 0
            assert (found.n[row, cell], found.n_even[row, cell]) == (len(numbers), even.sum()), name
            assert found.mean[row, cell] == pytest.approx(values.mean(), rel=1e-5)
            assert found.sem[row, cell] == pytest.approx(sem(values), rel=1e-4)
            assert found.even[row, cell] == pytest.approx(values[even].mean(), rel=1e-5)
            assert found.odd[row, cell] == pytest.approx(values[~even].mean(), rel=1e-5)
    asked = np.array([np.isfinite(event_times(name, trials)).sum() for name in WINDOWS])
    assert (found.n.max(axis=1) < asked).any()  # the pause, or the flags, take some


def test_flags_count_unless_asked_and_a_window_without_trials_is_nan(trials):
    windows = {"early": TrialWindow("stimOn_times", 0, 0.1), "never": TrialWindow("stimOn_times", 0, 0.1, choice=0)}
    with_flags = cells_of(trials, flagged=True)
    without = trial_type_means(with_flags.without_flags(), trials, WindowSet("mine", windows))
    used = trial_type_means(with_flags, trials, WindowSet("mine", windows, use_flagged_frames=True))
    left_out = trial_type_means(with_flags, trials, WindowSet("mine", windows))
    np.testing.assert_array_equal(used.mean, without.mean)
    assert (left_out.n[0] < used.n[0]).all()
    assert np.isnan(used.mean[1]).all() and (used.n[1] == 0).all()


def test_a_cell_with_values_that_are_not_finite_loses_these_trials_alone(trials):
    cells = cells_of(trials)
    cells.traces[3, :400] = np.nan
    found = trial_type_means(cells, trials)
    assert (found.n[4, 3] < found.n[4, 0]) and found.n[4, 2] == found.n[4, 0]
    assert np.isfinite(found.mean[4]).all()


def test_sets_of_windows_are_checked_and_come_back_from_their_content(trials):
    mine = WindowSet("mine", {"b": TrialWindow("feedback_times", 0, 1, feedback=1), "a": WINDOWS["choiceL"]}, "drop")
    assert WindowSet.from_content(mine.content()) == mine
    assert list(WindowSet.from_content(mine.content()).windows) == ["b", "a"]
    with pytest.raises(ArgumentError, match="'a' must start before it ends"):
        WindowSet("mine", {"a": TrialWindow("stimOn_times", 1, 1)})
    with pytest.raises(ArgumentError, match="short_window"):
        WindowSet("mine", short_window="all")
    with pytest.raises(ArgumentError, match="no window"):
        WindowSet("mine", {})
    with pytest.raises(ArgumentError, match="needs a name"):
        WindowSet(" ")
    with pytest.raises(ArgumentError, match="around lick_times, which trials do not have"):
        trial_type_means(cells_of(trials), trials, WindowSet("mine", {"a": TrialWindow("lick_times", 0, 1)}))


def made_means(code: np.ndarray, n: int, noise: float, rng: np.random.Generator) -> TrialTypeMeans:
    """Return the means of n trials in each window, with a code (W, N)."""
    values = code[:, None] + noise * rng.normal(size=(len(code), n, code.shape[1]))
    even = np.arange(n) % 2 == 0
    counts = np.full(code.shape, n)
    return TrialTypeMeans(
        tuple(map(str, range(len(code)))), values.mean(axis=1), sem(values, axis=1), counts,
        values[:, even].mean(axis=1), values[:, ~even].mean(axis=1), counts // 2,
    )  # fmt: skip


def test_signal_to_noise_and_reliability_are_what_was_planted():
    rng = np.random.default_rng(0)
    code = rng.normal(size=(26, 400))
    code = (code - code.mean(axis=0)) / code.std(axis=0, ddof=1)
    code[:, :200] = 0
    means = made_means(code, 20, 2.0, rng)
    ratio, reliable = signal_to_noise(means), split_half(means)
    # signal variance 1, noise variance 4; no signal: 0 and not above
    assert ratio[200:].mean() == pytest.approx(0.25, abs=0.02)
    assert ratio[:200].mean() == pytest.approx(0, abs=0.005) and (ratio[:200] < 0).mean() > 0.3
    for cell in (5, 205):
        assert reliable[cell] == pytest.approx(spearmanr(means.even[:, cell], means.odd[:, cell])[0])
    assert reliable[200:].mean() > 0.6 and abs(reliable[:200].mean()) < 0.06


def test_cells_that_do_not_vary_and_few_windows_have_no_number():
    means = made_means(np.random.default_rng(0).normal(size=(26, 3)), 20, 1.0, np.random.default_rng(1))
    for half in (means.mean, means.even, means.odd):
        half[:, 1] = 0.0
    assert np.isnan(split_half(means)).tolist() == [False, True, False]
    means.n[4:] = means.n_even[4:] = 1
    assert np.isnan(split_half(means)).all() and np.isnan(signal_to_noise(means)).all()


def test_selectivity_is_scikit_learns_auc_and_its_null_is_calibrated():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 90)
    features = np.round(rng.normal(size=(90, 300)), 1)  # ties
    features[:, 0] += 1.5 * labels
    features[:, 1] -= 1.5 * labels
    features[4, 2], features[labels == 1, 4] = np.nan, np.inf
    null = np.array([rng.permutation(labels) for _ in range(199)])
    found = selectivity(features, labels, null)
    for cell in (0, 1, 2, 3):
        known = np.isfinite(features[:, cell])
        assert found.auroc[cell] == pytest.approx(roc_auc_score(labels[known], features[known, cell]))
    assert found.auroc[0] > 0.6 > 0.4 > found.auroc[1]
    assert found.p[0] == found.p[1] == 1 / 200
    assert np.isnan([found.auroc[4], found.p[4]]).all()
    assert np.mean(found.p[5:] <= 0.05) < 0.1
    assert (found.null_low[5:] < 0.5).all() and (found.null_high[5:] > 0.5).all()
    null_auc = [roc_auc_score(one, features[:, 5]) for one in null]
    assert found.p[5] == (1 + np.sum(np.abs(np.subtract(null_auc, 0.5)) >= abs(found.auroc[5] - 0.5) - 1e-12)) / 200
    with pytest.raises(ArgumentError, match="labels must be 1 and 0"):
        selectivity(features, np.ones(90), null)
    with pytest.raises(ArgumentError, match="labels must be 1 and 0"):
        selectivity(features, labels - 1, null)


def test_sparseness_has_its_limits_and_closed_forms():
    rng = np.random.default_rng(0)
    exponential = rng.exponential(size=(200_000, 1))
    # mean(r)^2 / mean(r^2) of an exponential distribution is 1 / 2
    assert sparseness(exponential)[0] == pytest.approx(0.5, abs=0.01)
    one_of_five = np.eye(5)[:, [0]]
    assert sparseness(one_of_five)[0] == pytest.approx(1)
    assert sparseness(np.full((5, 1), 3.0))[0] == pytest.approx(0)
    np.testing.assert_allclose(sparseness(7 * exponential), sparseness(exponential))
    assert np.isnan(sparseness(np.array([[1.0, np.nan, 0], [-1e-9, 1, 0]]))).all()
    assert np.isnan(sparseness(np.ones((1, 2)))).all()
