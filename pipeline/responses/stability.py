"""How stable the responses of the same cells are over days, beyond what the noise of both days takes away.

Two days are compared by the correlation of each cell's vector of trial-type means. Noise makes it smaller, the more so
on days with few trials, so that a code that never changes would look unstable. Spearman (1904) divides by the
reliability of both: r_ij / sqrt(r_ii r_jj). Here all three are correlations of *halves* of the trials (even and odd),
which have the same noise, so that the number of trials cancels, and no formula for longer tests (Spearman and Brown) is
needed.

The correction is that of a population: the mean of the correlations over cells, divided by the root of the mean
reliabilities. The mean of ratios, cell by cell, would be dominated by cells whose reliability is near 0, and undefined
for those below. Where a population's own reliability is not above 0, there is no ratio, and none is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.decoding.trials import seed_sequence
from pipeline.errors import ArgumentError, DataError
from pipeline.responses.cells import MIN_WINDOWS, common_windows, unit_columns

#: Similarities: correlation of each cell's vector (of ranks; of values), and of population vectors.
MEASURES = ("spearman", "pearson", "population")
#: What is shuffled on one of the days: windows; cells; cells of the same region and about the same reliability.
CONTROLS = ("features", "neurons", "matched")
#: Name of the population of all cells.
ALL = "all"
#: Draws that an interval needs.
MIN_DRAWS = 20


@dataclass(frozen=True)
class StabilitySettings:
    """Settings of stability over days.

    Attributes
    ----------
    min_trials : int
        Trials that a window needs in each half, on every day; others are left out on all days.
    min_reliability : float
        A day whose mean correlation of halves is not above this, or not above 0 beyond its 95 % interval over cells,
        is not compared.
    min_cells : int
        Cells that a region needs.
    n_bins : int
        Bins of reliability, within each region, in which 'matched' exchanges cells.
    n_shuffles : int
        Of each control; 200 or more.
    n_bootstrap : int
        Draws of cells and sessions behind the intervals; 200 or more.
    seed : int

    Raises
    ------
    ArgumentError
        A value is not allowed.
    """

    min_trials: int = 3
    min_reliability: float = 0.05
    min_cells: int = 10
    n_bins: int = 4
    n_shuffles: int = 500
    n_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"min_trials": 1, "min_cells": 2, "n_bins": 1, "n_shuffles": 200, "n_bootstrap": 200, "seed": 0}
        for name, lowest in least.items():
            if int(getattr(self, name)) != getattr(self, name) or getattr(self, name) < lowest:
                raise ArgumentError(f"{name} must be a whole number from {lowest}, not {getattr(self, name)!r}")
        if not 0 <= self.min_reliability < 1:
            raise ArgumentError(f"min_reliability must be from 0 to below 1, not {self.min_reliability!r}")


@dataclass(frozen=True, eq=False)
class DayResponses:
    """Trial-type means of the same N cells on one day.

    Attributes
    ----------
    day : int
        Date as a number of days.
    mean, even, odd : (W, N) float
        Means of all trials, and of those with even and with odd numbers.
    n_even, n_odd : (W, N) int
        Trials of the halves.
    """

    day: int
    mean: np.ndarray
    even: np.ndarray
    odd: np.ndarray
    n_even: np.ndarray
    n_odd: np.ndarray


@dataclass(frozen=True)
class GapStability:
    """Stability of a population at a distance in days.

    Attributes
    ----------
    region, measure : str
    gap : int
        Days.
    value, low, high : float
        Corrected similarity: 1 if nothing but noise differs; with the 95 % interval over cells and sessions. NaN: no
        pair of days with a reliable population.
    n_pairs, n_unreliable, n_cells : int
        Pairs of sessions that are compared, those that are not, and cells.
    """

    region: str
    measure: str
    gap: int
    value: float
    low: float
    high: float
    n_pairs: int
    n_unreliable: int
    n_cells: int


@dataclass(frozen=True)
class StabilitySlope:
    """Change of the corrected stability per day of distance, with the 95 % interval over cells and sessions."""

    region: str
    measure: str
    slope: float
    low: float
    high: float
    n_pairs: int


@dataclass(frozen=True)
class ControlStability:
    """Corrected similarity ('spearman', all cells) of shuffled days at a distance in days.

    Attributes
    ----------
    control : str
    gap : int
    mean, low, high : float
        Of the shuffles; 2.5th and 97.5th percentile.
    p : float
        Of the real one among them, (1 + #(shuffled >= real)) / (1 + S).
    """

    control: str
    gap: int
    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, eq=False)
class StabilityResult:
    """Stability of S days, P pairs of them, and N cells.

    Attributes
    ----------
    windows : (W,) bool
        Windows that are used, the same on all days.
    cells : (N,) bool
        Cells that are used: with means that vary, in both halves, on all days.
    pairs : (P, 2) int
        Numbers of the days, the earlier first.
    gaps : (P,) int
        Days between them.
    reliability, reliability_low : dict of str to (S,) float64
        By measure, similarity of the halves of each day, and the lower end of its 95 % interval over cells.
    reliable : dict of str to (S,) bool
        Whether the day is compared.
    observed : dict of str to (P,) float64
        Similarity of halves of the two days, not corrected.
    corrected : dict of str to (P,) float64
        The same over that within the days; NaN where one of them is not reliable.
    cell_spearman, cell_pearson : (P, N) float64
        Correlation of each cell's vectors of all trials, not corrected; NaN for cells that are not used.
    cell_reliability : (S, N) float64
        Spearman's correlation of the halves of each cell; NaN as above.
    control_p : dict of str to (P,) float64
        By control, p of each pair's 'spearman'.
    by_gap : list of GapStability
    slopes : list of StabilitySlope
    controls : list of ControlStability
    """

    windows: np.ndarray
    cells: np.ndarray
    pairs: np.ndarray
    gaps: np.ndarray
    reliability: dict[str, np.ndarray]
    reliability_low: dict[str, np.ndarray]
    reliable: dict[str, np.ndarray]
    observed: dict[str, np.ndarray]
    corrected: dict[str, np.ndarray]
    cell_spearman: np.ndarray
    cell_pearson: np.ndarray
    cell_reliability: np.ndarray
    control_p: dict[str, np.ndarray]
    by_gap: list[GapStability]
    slopes: list[StabilitySlope]
    controls: list[ControlStability]


def stability(
    days: Sequence[DayResponses], regions: np.ndarray | None = None, settings: StabilitySettings | None = None
) -> StabilityResult:
    """Return how similar the responses of the same cells are on several days, corrected for the noise of each.

    Parameters
    ----------
    days : sequence of DayResponses
        Two or more, of the same windows and cells.
    regions : (N,) str, optional
        Region of each cell.
    settings : StabilitySettings, optional

    Returns
    -------
    StabilityResult

    Raises
    ------
    ArgumentError
        There are fewer than two days, or shapes differ.
    DataError
        Too few windows have enough trials on all days, or no cell responds on all.
    """
    settings = settings or StabilitySettings()
    shapes = {one.shape for day in days for one in (day.mean, day.even, day.odd, day.n_even, day.n_odd)}
    if len(days) < 2 or len(shapes) > 1:
        raise ArgumentError(f"stability compares two or more days of one shape, not {len(days)} of {sorted(shapes)}")
    regions = np.full(next(iter(shapes))[1], ALL) if regions is None else np.asarray(regions).astype(str)
    windows, cells = _used(days, settings)
    order = sorted(range(len(days)), key=lambda i: days[i].day)
    pairs = np.array(list(combinations(order, 2)))
    gaps = np.array([days[j].day - days[i].day for i, j in pairs])
    halves = {measure: _Halves.of(days, windows, cells, measure) for measure in MEASURES}
    within = {measure: _within(halves[measure], measure, settings) for measure in MEASURES}
    every = np.ones((int(cells.sum()), 1))
    observed, corrected = {}, {}
    for measure in MEASURES:
        across, reliability = halves[measure].similarity(pairs, every)
        observed[measure] = across[:, 0]
        scale = _scale(reliability, pairs, within[measure].reliable)
        corrected[measure] = across[:, 0] / scale[:, 0]
    by_gap, slopes = [], []
    for region, members in _populations(regions[cells], settings):
        for measure in MEASURES:
            found = _of_population(halves[measure], members, pairs, gaps, region, measure, settings)
            by_gap += found[0]
            slopes.append(found[1])
    controls, control_p = _controls(halves["spearman"], within["spearman"], regions[cells], pairs, gaps, settings)
    spearman, pearson = (_cell_by_cell(days, windows, cells, pairs, ranks) for ranks in (True, False))
    return StabilityResult(
        windows, cells, pairs, gaps, {m: within[m].value for m in MEASURES}, {m: within[m].low for m in MEASURES},
        {m: within[m].reliable for m in MEASURES}, observed, corrected, spearman, pearson,
        _spread(halves["spearman"].within, cells), control_p, by_gap, slopes, controls,
    )  # fmt: skip


def _used(days: Sequence[DayResponses], settings: StabilitySettings) -> tuple[np.ndarray, np.ndarray]:
    """Return which windows and which cells are compared, (W,) and (N,) bool."""
    there = np.all([(day.n_even + day.n_odd).sum(axis=0) > 0 for day in days], axis=0)
    if not there.any():
        raise DataError("no cell has trials on all days", expected="1 or more", found="0")
    each = [common_windows(day.n_even[:, there], day.n_odd[:, there], settings.min_trials) for day in days]
    windows = np.all(each, axis=0)
    if windows.sum() < MIN_WINDOWS:
        raise DataError(
            f"too few windows have {settings.min_trials} trials in each half on all days",
            expected=f"{MIN_WINDOWS} or more", found=f"{windows.sum()}; by day {', '.join(str(w.sum()) for w in each)}",
            do="Leave out days with few such windows, such as those of training, or lower min_trials",
        )  # fmt: skip
    varies = [
        np.isfinite(unit_columns(half[windows])).all(axis=0) for day in days for half in (day.mean, day.even, day.odd)
    ]
    cells: np.ndarray = there & np.all(varies, axis=0)
    if not cells.any():
        raise DataError("no cell has means that vary over windows on all days", expected="1 or more", found="0")
    return windows, cells


@dataclass(frozen=True, eq=False)
class _Halves:
    """The halves of S days as columns of length 1, of W windows and C cells.

    All similarities are sums of products of these, so that those of many draws of cells are products of matrices.

    Attributes
    ----------
    even, odd : (S, W, C) float64
    is_population : bool
        Whether the mean over cells is taken off, window by window.
    """

    even: np.ndarray
    odd: np.ndarray
    is_population: bool

    @classmethod
    def of(cls, days: Sequence[DayResponses], windows: np.ndarray, cells: np.ndarray, measure: str) -> _Halves:
        even, odd = (
            np.array([unit_columns(half[windows][:, cells], ranks=measure == "spearman") for half in of_days])
            for of_days in ([day.even for day in days], [day.odd for day in days])
        )
        return cls(even, odd, measure == "population")

    @property
    def within(self) -> np.ndarray:
        """Product of the halves of each day by cell, (S, C)."""
        found: np.ndarray = np.einsum("swc,swc->sc", self.even, self.odd)
        return found

    @property
    def both(self) -> np.ndarray:
        """Mean of the halves, (S, W, C): the product of two days is the mean of all four products of their halves."""
        found: np.ndarray = (self.even + self.odd) / 2
        return found

    def members(self, cells: np.ndarray) -> _Halves:
        """Return the halves of some of the cells."""
        return _Halves(self.even[:, :, cells], self.odd[:, :, cells], self.is_population)

    def similarity(self, pairs: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean similarity over cells, of halves of two days and of the halves of a day.

        Parameters
        ----------
        pairs : (P, 2) int
        weights : (C, B) float
            How often each cell counts in each of B draws; each sums to C.

        Returns
        -------
        across : (P, B) float64
        within : (S, B) float64
        """
        n, both = len(weights), self.both
        products = np.einsum("pwc,pwc->pc", both[pairs[:, 0]], both[pairs[:, 1]])
        across, within = products @ weights / n, self.within @ weights / n
        if self.is_population:
            means = both @ weights / n
            across = across - (means[pairs[:, 0]] * means[pairs[:, 1]]).sum(axis=1)
            within = within - ((self.even @ weights / n) * (self.odd @ weights / n)).sum(axis=1)
        return across, within


@dataclass(frozen=True, eq=False)
class _Within:
    """Similarity of the halves of each of S days, the lower end of its interval over cells, and if it is enough."""

    value: np.ndarray
    low: np.ndarray
    reliable: np.ndarray


def _within(halves: _Halves, measure: str, settings: StabilitySettings, region: str = ALL) -> _Within:
    """Return how reliable a population is on each day."""
    none = np.empty((0, 2), dtype=int)
    n = halves.even.shape[2]
    value = halves.similarity(none, np.ones((n, 1)))[1][:, 0]
    draws = halves.similarity(none, _cell_draws(n, settings, region))[1]
    low = np.percentile(draws, 2.5, axis=1)
    return _Within(value, low, (value > settings.min_reliability) & (low > 0))


def _cell_draws(n: int, settings: StabilitySettings, region: str) -> np.ndarray:
    """Return how often each of n cells is in each draw with replacement, (n, B) float64."""
    rng = np.random.default_rng(seed_sequence(settings.seed, "cells", region))
    return rng.multinomial(n, np.full(n, 1 / n), size=settings.n_bootstrap).T.astype(float)


def _session_draws(n: int, settings: StabilitySettings) -> np.ndarray:
    """Return how often each of n sessions is in each draw with replacement, (n, B) float64."""
    rng = np.random.default_rng(seed_sequence(settings.seed, "sessions"))
    return rng.multinomial(n, np.full(n, 1 / n), size=settings.n_bootstrap).T.astype(float)


def _scale(within: np.ndarray, pairs: np.ndarray, reliable: np.ndarray) -> np.ndarray:
    """Return what the similarity of each pair is divided by, (P, B); NaN where a day is not reliable."""
    usable = np.where(within > 0, within, np.nan)
    product = usable[pairs[:, 0]] * usable[pairs[:, 1]]
    known = reliable[pairs].all(axis=1)
    return np.where(known[:, None], np.sqrt(product), np.nan)


def _populations(regions: np.ndarray, settings: StabilitySettings) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the cells of all, and of each region that has enough, (C,) bool."""
    yield ALL, np.ones(len(regions), dtype=bool)
    for region in np.unique(regions):
        members = regions == region
        if region != ALL and members.sum() >= settings.min_cells:
            yield str(region), members


def _of_population(
    halves: _Halves, members: np.ndarray, pairs: np.ndarray, gaps: np.ndarray, region: str, measure: str,
    settings: StabilitySettings,
) -> tuple[list[GapStability], StabilitySlope]:  # fmt: skip
    """Return the stability of a population at each distance, and its slope."""
    chosen = halves.members(members)
    reliable, n = _within(chosen, measure, settings, region).reliable, int(members.sum())
    across, scale = _across(chosen, pairs, np.ones((n, 1)), reliable)
    draws = _across(chosen, pairs, _cell_draws(n, settings, region), reliable)
    often = _session_draws(len(halves.even), settings)
    weights = often[pairs[:, 0]] * often[pairs[:, 1]]
    one = np.ones((len(pairs), 1))
    found = []
    for gap in np.unique(gaps):
        at = gaps == gap
        value = _ratio(across[at], scale[at], one[at])[0]
        low, high = _interval(_ratio(draws[0][at], draws[1][at], weights[at]))
        known = int(np.isfinite(scale[at]).sum())
        found.append(GapStability(region, measure, int(gap), value, low, high, known, int(at.sum()) - known, n))
    slope = _slope(across, scale, one, gaps)[0]
    low, high = _interval(_slope(*draws, weights, gaps))
    n_pairs = int(np.isfinite(scale).sum())
    return found, StabilitySlope(region, measure, slope, low, high, n_pairs)


def _across(
    halves: _Halves, pairs: np.ndarray, weights: np.ndarray, reliable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of each pair, and what it is divided by, (P, B) each."""
    across, within = halves.similarity(pairs, weights)
    return across, _scale(within, pairs, reliable)


def _ratio(across: np.ndarray, scale: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the corrected similarity of some pairs together, (B,): a ratio of sums, NaN without a pair."""
    weights = np.where(np.isfinite(scale), weights, 0)
    total = (weights * np.nan_to_num(scale)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = np.where(total > 0, (weights * across).sum(axis=0) / total, np.nan)
    return found


def _slope(across: np.ndarray, scale: np.ndarray, weights: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return the slope over distance, (B,): of across = scale (a + b gap), by least squares; NaN with one distance."""
    weights, scale = np.where(np.isfinite(scale), weights, 0), np.nan_to_num(scale)
    strength = weights * scale**2
    total = strength.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = gaps[:, None] - (strength * gaps[:, None]).sum(axis=0) / total
        spread = (strength * away**2).sum(axis=0)
        # below that the distances of a draw are the same, up to rounding
        found: np.ndarray = np.where(
            spread > 1e-9 * total, (weights * scale * across * away).sum(axis=0) / spread, np.nan
        )
    return found


def _interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the draws that have a value; NaN if few have."""
    draws = draws[np.isfinite(draws)]
    if len(draws) < MIN_DRAWS:
        return float("nan"), float("nan")
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _controls(
    halves: _Halves, within: _Within, regions: np.ndarray, pairs: np.ndarray, gaps: np.ndarray,
    settings: StabilitySettings,
) -> tuple[list[ControlStability], dict[str, np.ndarray]]:  # fmt: skip
    """Return the similarity of shuffled days by control and distance, and p of each pair by control."""
    across, scale = _across(halves, pairs, np.ones((halves.even.shape[2], 1)), within.reliable)
    both, groups = halves.both, _matched(halves.within.mean(axis=0), regions, settings.n_bins)
    found, p_of_pairs = [], {}
    for control in CONTROLS:
        shuffled = np.array([
            _shuffled(both[i], both[j], control, groups, settings, f"{i} {j}") for i, j in pairs.tolist()
        ])  # fmt: skip
        larger = (shuffled >= across).sum(axis=1)
        p = (1 + larger) / (1 + settings.n_shuffles)
        p_of_pairs[control] = np.where(np.isfinite(scale[:, 0]), p, np.nan)
        for gap in np.unique(gaps):
            at = gaps == gap
            one = np.ones((int(at.sum()), 1))
            real = _ratio(across[at], scale[at], one)[0]
            values = _ratio(shuffled[at], np.broadcast_to(scale[at], shuffled[at].shape), one)
            low, high = _interval(values)
            p_of_gap = (1 + (values >= real).sum()) / (1 + len(values)) if np.isfinite(real) else np.nan
            found.append(ControlStability(control, int(gap), float(values.mean()), low, high, float(p_of_gap)))
    return found, p_of_pairs


def _matched(reliability: np.ndarray, regions: np.ndarray, n_bins: int) -> np.ndarray:
    """Return a number for each cell, (C,) int: equal for cells of a region and a bin of reliability there."""
    groups = np.empty(len(regions), dtype=int)
    names, of_region = np.unique(regions, return_inverse=True)
    for number in range(len(names)):
        members = np.flatnonzero(of_region == number)
        rank = np.argsort(np.argsort(reliability[members], kind="stable"), kind="stable")
        groups[members] = number * n_bins + rank * n_bins // len(members)
    return groups


def _shuffled(
    first: np.ndarray, second: np.ndarray, control: str, groups: np.ndarray, settings: StabilitySettings, name: str
) -> np.ndarray:
    """Return the similarity of two days (W, C) with one of them shuffled, (S,) float64.

    Windows are exchanged in the same way for all cells, so that what cells have in common stays.
    """
    rng = np.random.default_rng(seed_sequence(settings.seed, control, name))
    n_windows, n_cells = first.shape
    if control == "features":
        products, rows = first @ second.T / n_cells, np.arange(n_windows)
        alike = np.zeros(n_windows, dtype=int)
        return np.array([products[rows, _exchanged(alike, rng)].sum() for _ in range(settings.n_shuffles)])
    groups = groups if control == "matched" else np.zeros(n_cells, dtype=int)
    return np.array([
        np.vdot(first, second[:, _exchanged(groups, rng)]) / n_cells for _ in range(settings.n_shuffles)
    ])  # fmt: skip


def _exchanged(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each element (n,) int another one of its group: the next one in a random circle through the group.

    In a random order some elements would keep their places, the more so in small groups. One that is alone stays.
    """
    # by group, and in random order within it
    order = np.lexsort([rng.random(len(groups)), groups])
    of_place = groups[order]
    first = np.searchsorted(of_place, of_place)
    is_last = np.append(of_place[1:] != of_place[:-1], True)
    place = np.arange(len(groups))
    found = np.empty(len(groups), dtype=int)
    found[order] = order[np.where(is_last, first, np.minimum(place + 1, len(groups) - 1))]
    return found


def _cell_by_cell(
    days: Sequence[DayResponses], windows: np.ndarray, cells: np.ndarray, pairs: np.ndarray, ranks: bool
) -> np.ndarray:
    """Return the correlation of each cell's vectors of all trials, (P, N) float64; NaN for cells that are not used."""
    unit = [unit_columns(day.mean[windows][:, cells], ranks=ranks) for day in days]
    return _spread(np.array([(unit[i] * unit[j]).sum(axis=0) for i, j in pairs.tolist()]), cells)


def _spread(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return values of the used cells (R, C) at the places of all, (R, N); NaN elsewhere."""
    out = np.full((len(values), len(cells)), np.nan)
    out[:, cells] = values
    return out
