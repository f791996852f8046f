"""Whether the numbers of a FOV can be what the names of their files say: arrays in, figures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

#: What is compared of the traces: the most active of two groups of so many ROIs, in so many frames in the middle. Of
#: fewer frames it is not told whose activity it is, nor whether it is deconvolved.
GROUP, MOST_ACTIVE, MOST_FRAMES, FEWEST_FRAMES = 20, 20, 1_500, 200
#: Of fewer ROIs it is not told whose activity it is.
FEWEST_ROIS = 10
#: Lines that are shifted are looked for in so many groups of ROIs. They are, if so many of one group agree better with
#: the ROI that is as many lines away for all of them, by this much in the agreement, of which 1 is the most. In so many
#: frames, which is enough.
SHIFT_GROUPS, MIN_SHIFTED, CLEARLY, SHIFT_FRAMES = 8, 6, 0.1, 900
#: In a deconvolved trace this percentile is 0, or nearer to it than this share of the standard deviation.
LOW, NEAR_ZERO = 5, 0.1
#: Shorter stretches of nothing but zeros at the end are no sign of an unfinished file: 50 frames are 10 s at 5 Hz. Nor
#: is one that is not this many times as long as the longest before, nor is it told where so few frames have activity.
FEWEST_ZEROS, TIMES_LONGER, FEWEST_ACTIVE = 50, 10, 20
#: With this many ROIs of both kinds or more, types contradict probabilities if they are not above chance by two
#: standard deviations; with fewer, many of which may have been curated, if they are below it by three. Of fewer
#: than four it is not told.
MANY_OF_BOTH, SOME_OF_BOTH = 100, 4
#: Of fewer intervals it is not told whether times were rounded; of rounded ones so many differ from the commonest.
FEWEST_INTERVALS, MIN_OTHERS = 100, 0.01
#: Distance of two planes in pixels, so that the ROI beside another is one of the same plane.
BETWEEN_PLANES = 100_000
#: Of the neuropil so many ROIs are compared at most, and so many at least. It is of other ROIs if what is its ROI's is
#: not more like it than half of what is of others, by so many standard deviations of chance.
MOST_NEUROPIL, FEWEST_NEUROPIL, BEYOND_CHANCE = 400, 100, 4
#: Neuropil that some ROIs have in common has this correlation, or more, between the halves of the frames.
ALIKE = 0.3
#: Two times closer than this, in s, are one: rounding to a tenth of a millisecond does no harm.
SAME_TIME = 1e-4
#: Names of types of ROIs that are neurons, and of those that are none.
NEURONS = {"cell", "cells", "neuron", "neurons"}
NO_NEURONS = {f"{no}{noun}" for no in ("no ", "not ", "not a ", "non ", "non") for noun in ("cell", "neuron")}


def sampled(n_frames: int, n_rois: int, n_groups: int = 2) -> tuple[np.ndarray, slice]:
    """Return the numbers (n,) of groups of ROIs, and the frames in the middle, that are compared of traces.

    The first and the last ROIs, and groups evenly between them. Groups, since a disk reads what lies together at once:
    IBL's files are in Fortran order.
    """
    start = max(0, (n_frames - MOST_FRAMES) // 2)
    is_all = n_groups * GROUP >= n_rois
    firsts = np.arange(0, n_rois, GROUP) if is_all else np.linspace(0, n_rois - GROUP, n_groups).astype(int)
    rois = np.concatenate([np.arange(first, min(first + GROUP, n_rois)) for first in firsts])
    return rois, slice(start, min(start + MOST_FRAMES, n_frames))


def sample_of(traces: np.ndarray, n_groups: int = 2) -> np.ndarray:
    """Return (n, T') float32 of traces (T, N): see ``sampled``."""
    n_frames, n_rois = traces.shape
    rois, frames = sampled(n_frames, n_rois, n_groups)
    groups = np.split(rois, np.flatnonzero(np.diff(rois) > 1) + 1)
    found = [np.array(traces.T[group[0] : group[-1] + 1])[:, frames] for group in groups]
    return np.concatenate(found, dtype=np.float32)


def share_of_others_beaten(fluorescence: np.ndarray, deconvolved: np.ndarray) -> float | None:
    """Return how many of the other ROIs' fluorescence agree less with deconvolved activity than each ROI's own.

    Deconvolved activity is a function of the ROI's own fluorescence: its events are where that rises. Agreement is the
    correlation of the ranks of the frames by rise and by deconvolved activity, to the power of eight: frames with
    events count most, and none alone, so that a flash that all ROIs have in one frame makes no two of them alike.

    Parameters
    ----------
    fluorescence, deconvolved : (n, T) float32
        Of the same ROIs and frames; finite.

    Returns
    -------
    float or None
        Mean over the most active ROIs: 1 if all agree best with their own, 0.5 if they are in another order. None if
        there are too few frames or ROIs to tell.
    """
    return _beaten_by_own(np.diff(fluorescence, axis=1), deconvolved[:, 1:])


def share_beaten_when_deconvolved_again(former: np.ndarray, deconvolved: np.ndarray) -> float | None:
    """Return how many of the other ROIs' former deconvolved activity agree less with the new than each ROI's own.

    Parameters and return value as for ``share_of_others_beaten``.
    """
    return _beaten_by_own(former, deconvolved)


def in_parts(neurons: np.ndarray) -> list[np.ndarray]:
    """Return neurons (n,) int, in their order, in parts of ``MOST_ACTIVE`` or more; none of fewer.

    A file that was copied in part over a former one is of other ROIs up to some line, or from there on. Of each part
    ``share_of_others_beaten`` was .8 or more in 270 simulated FOVs, in which up to 60 % of the ROIs were nothing but
    neuropil, and below .7 if the first quarter of the ROIs were others in 91 % of them, of halves in 32 %.
    """
    n_parts = len(neurons) // MOST_ACTIVE
    return np.array_split(neurons, n_parts) if n_parts else []


def shifted_lines(fluorescence: np.ndarray, deconvolved: np.ndarray, rois: np.ndarray) -> tuple[int, int, int] | None:
    """Return in which ROIs the lines of fluorescence are shifted against those of deconvolved activity.

    As in a file of another extraction, with a ROI less or more: from there on each line is of the next ROI, while the
    others agree. Shifted are ROIs whose events agree clearly better with the fluorescence of another, as many lines
    away for all of them, than with their own; and this agrees with no events better. Sound ROIs hardly ever do: those
    that are silent agree best with themselves, by their noise; those that are nothing but neuropil agree with none; and
    where a cell is two ROIs, a few of a group agree best with the brighter one. In 1,075 simulated FOVs of 27 kinds 4
    of a group did at most, where 80 % of the ROIs were cells that were found twice. What is told: of 160 ROIs that are
    shifted from 93 % on, so 11, all in recordings of neurons; none where the last 40 % are nothing but neuropil.

    Parameters
    ----------
    fluorescence, deconvolved : (n, T) float32
        Of the same ROIs and frames; finite.
    rois : (n,) int
        Number of each ROI; those of a group follow each other.

    Returns
    -------
    (int, int, int) or None
        First ROI of the group, how many of it are shifted, and by how many lines. None if none are, or it cannot be
        told.
    """
    rises, events = np.diff(fluorescence[:, :SHIFT_FRAMES], axis=1), deconvolved[:, 1:SHIFT_FRAMES]
    alive = np.flatnonzero((np.ptp(rises, axis=1) > 0) & (np.ptp(events, axis=1) > 0))
    if rises.shape[1] < FEWEST_FRAMES or len(alive) < FEWEST_ROIS:
        return None
    agreement = _standard_ranks(events[alive]) @ _standard_ranks(rises[alive]).T
    own, best = np.diag(agreement), agreement.argmax(axis=1)
    each = np.arange(len(alive))
    is_other = (agreement.argmax(axis=0)[best] == each) & (agreement[each, best] > own + CLEARLY)
    group, shift = alive // GROUP, rois[alive[best]] - rois[alive]
    found = Counter(zip(group[is_other].tolist(), shift[is_other].tolist(), strict=True))
    ((number, lines), count), *_ = found.most_common(1) or [((0, 0), 0)]
    return (int(rois[number * GROUP]), count, lines) if count >= MIN_SHIFTED else None


def _beaten_by_own(rises: np.ndarray, events: np.ndarray) -> float | None:
    """Return how many of the other ROIs' ``rises`` (n, T) agree less with a ROI's ``events`` (n, T) than its own."""
    alive = np.flatnonzero((np.ptp(rises, axis=1) > 0) & (np.ptp(events, axis=1) > 0))
    if rises.shape[1] < FEWEST_FRAMES or len(alive) < FEWEST_ROIS:
        return None
    # few events, and large ones, vary most for their mean
    variation = events[alive].std(axis=1) / np.maximum(np.abs(events[alive].mean(axis=1)), np.finfo(np.float32).tiny)
    active = alive[np.argsort(-variation, kind="stable")[:MOST_ACTIVE]]
    # not @, whose threads would cost more than these few products
    agreement = np.einsum("if,jf->ij", _standard_ranks(events[active]), _standard_ranks(rises[active]))
    beaten = (agreement < np.diag(agreement)[:, None]).sum(axis=1) / (len(active) - 1)
    return float(beaten.mean())


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks (n, T) within each row, of equal values the lowest, to the power of eight; mean 0, length 1."""
    ranks = np.stack([np.searchsorted(np.sort(row), row) for row in values]) / values.shape[1]
    powers = np.square(np.square(np.square(ranks)))
    centred = powers - powers.mean(axis=1, keepdims=True)
    found: np.ndarray = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return found


class Neuropil(NamedTuple):
    """What neuropil is like, as shares of pairs, of which chance is 0.5: in the half of the ROIs where they are lower.

    Attributes
    ----------
    own : float
        In which it is more like the fluorescence of its ROI than that of another.
    near : float
        In which it is more like the neuropil of the nearest ROI than that of another.
    limit : float
        Shares above it are beyond chance.
    alike : float
        How far the same ROIs have alike neuropil in both halves of the frames: a correlation over pairs.
    part : float
        How far neuropil is part of the same ROIs' fluorescence in both halves, of whichever ROIs: a correlation, too.
    """

    own: float
    near: float
    limit: float
    alike: float
    part: float

    @property
    def is_of_its_rois(self) -> bool:
        """Whether it is of the ROIs of the fluorescence or, if it is no part of this, of those of the positions."""
        return self.own > self.limit or (self.near > self.limit and not self.is_of_other_fluorescence)

    @property
    def is_of_other_fluorescence(self) -> bool:
        """Whether it is part of the fluorescence, and not of that of its own ROIs."""
        return self.own <= self.limit and self.part > ALIKE

    @property
    def is_elsewhere(self) -> bool:
        """Whether some ROIs have it in common, and these are not neighbours."""
        return self.alike > ALIKE and self.near <= self.limit


def neuropil_likeness(fluorescence: np.ndarray, neuropil: np.ndarray, positions: np.ndarray) -> Neuropil | None:
    """Return what neuropil is like.

    Neuropil is part of the fluorescence of its own ROI, and the neuropil of neighbours overlaps. The fluorescence may
    be without neuropil, though, and neuropil that was made may be of each ROI alone. What all ROIs have in common tells
    nothing, and is left out.

    Parameters
    ----------
    fluorescence, neuropil : (n, T) float32
        Of the same ROIs and frames; finite.
    positions : (n, 2 or 3) int
        Row, column and plane of each ROI in the image.

    Returns
    -------
    Neuropil or None
        None if there are too few frames or ROIs to tell.
    """
    alive = (np.ptp(fluorescence, axis=1) > 0) & (np.ptp(neuropil, axis=1) > 0)
    n = int(alive.sum())
    if fluorescence.shape[1] < FEWEST_FRAMES or n < FEWEST_NEUROPIL:
        return None
    around = _without_common(neuropil[alive])
    with_own = around @ _without_common(fluorescence[alive]).T
    with_others = around @ around.T
    np.fill_diagonal(with_others, -np.inf)
    own = (with_own < np.diag(with_own)[:, None]).sum(axis=1)
    with_near = with_others[np.arange(n), nearest(positions[alive])]
    near = (with_others < with_near[:, None]).sum(axis=1) - 1  # the ROI itself is none of the others
    halves = [
        [_without_common(half) for half in np.array_split(traces[alive], 2, axis=1)]
        for traces in (neuropil, fluorescence)
    ]
    n_parts = min(2, n // FEWEST_NEUROPIL)  # halves, since a file can be copied in part over a former one
    pairs = np.triu_indices(n, 1)
    alike = np.corrcoef([(half @ half.T)[pairs] for half in halves[0]])[0, 1]
    part = np.corrcoef([(half @ own_half.T).ravel() for half, own_half in zip(*halves, strict=True)])[0, 1]
    shares = (_lowest_mean(own / (n - 1), n_parts), _lowest_mean(near / (n - 2), n_parts))
    return Neuropil(*shares, 0.5 + BEYOND_CHANCE / np.sqrt(12 * (n // n_parts)), float(alike), float(part))


def _lowest_mean(values: np.ndarray, n_parts: int) -> float:
    return min(float(part.mean()) for part in np.array_split(values, n_parts))


def nearest(positions: np.ndarray) -> np.ndarray:
    """Return the number of the ROI that is nearest to each in its plane of the image (n, 2 or 3), (n,) int."""
    from scipy.spatial import cKDTree

    image = positions * np.array([1, 1, BETWEEN_PLANES])[: positions.shape[1]]
    _, near = cKDTree(image).query(image, k=2)
    found: np.ndarray = np.where(near[:, 0] == np.arange(len(near)), near[:, 1], near[:, 0])
    return found


def _without_common(traces: np.ndarray) -> np.ndarray:
    """Return traces (n, T) without their common part, each with mean 0 and length 1."""
    found = traces.astype(np.float32)
    for _ in range(2):
        found -= found.mean(axis=1, keepdims=True)
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        common = found.mean(axis=0)
        common /= max(float(np.linalg.norm(common)), np.finfo(np.float32).tiny)
        found -= np.outer(found @ common, common)
    return found


def not_at_zero(deconvolved: np.ndarray) -> tuple[int, int] | None:
    """Return how many ROIs do not come down to zero, or go below it, and of how many; None if it cannot be told.

    Deconvolved activity is zero between events, and never negative: fluorescence has a baseline, dF/F and z-scores are
    negative half of the time.

    Parameters
    ----------
    deconvolved : (n, T) float32
    """
    spread = deconvolved.std(axis=1, dtype=np.float64)
    if deconvolved.shape[1] < FEWEST_FRAMES or not spread.any():
        return None
    low = np.abs(np.percentile(deconvolved, LOW, axis=1))
    return int((low > NEAR_ZERO * spread)[spread > 0].sum()), int((spread > 0).sum())


def first_of_zeros(is_active: np.ndarray) -> int | None:
    """Return from which frame on there is nothing but zeros at the end; None if that is no sign of an unfinished file.

    Parameters
    ----------
    is_active : (T,) bool
        Whether any ROI has another value than 0 in a frame.

    Examples
    --------
    >>> first_of_zeros(np.arange(1000) < 700)
    700
    >>> first_of_zeros(np.arange(1000) % 300 == 0) is None  # few ROIs, rarely active
    True
    """
    active = np.flatnonzero(is_active)
    first = int(active[-1]) + 1 if len(active) else 0
    longest = int(np.diff(active, prepend=-1).max(initial=1)) - 1
    zeros = len(is_active) - first
    is_long = zeros >= FEWEST_ZEROS and zeros > TIMES_LONGER * longest
    return first if is_long and not 0 < len(active) < FEWEST_ACTIVE else None


def types_by_probability(is_neuron: np.ndarray, probability: np.ndarray) -> tuple[float, bool] | None:
    """Return in which share of pairs a neuron has a higher probability than another ROI, and whether types contradict.

    The share is the area under the ROC curve, with the standard deviation that Mann and Whitney give for chance.

    Parameters
    ----------
    is_neuron : (N,) bool
    probability : (N,) float64
        That each ROI is a cell; NaN if not known.

    Returns
    -------
    (float, bool) or None
        None with fewer than ``SOME_OF_BOTH`` ROIs of one kind.
    """
    known = ~np.isnan(probability)
    neurons, others = probability[known & is_neuron], np.sort(probability[known & ~is_neuron])
    fewest = min(len(neurons), len(others))
    if fewest < SOME_OF_BOTH:
        return None
    below = (np.searchsorted(others, neurons, "left") + np.searchsorted(others, neurons, "right")) / 2
    share = float(below.mean()) / len(others)
    deviation = np.sqrt((len(neurons) + len(others) + 1) / (12 * len(neurons) * len(others)))
    return share, bool(share < 0.5 + (2 if fewest >= MANY_OF_BOTH else -3) * deviation)


def micrometres_per_pixel(positions: np.ndarray, mlapdv: np.ndarray) -> float:
    """Return the median distance of two ROIs in the brain (N, 3), µm, to that in the image (N, 2), pixels."""
    known = np.flatnonzero(np.isfinite(mlapdv).all(axis=1))
    partners = np.roll(known, len(known) // 2)
    pixels = np.linalg.norm(positions[known] - positions[partners], axis=1)
    distances = np.linalg.norm(mlapdv[known] - mlapdv[partners], axis=1)
    return float(np.median(distances[pixels > 0] / pixels[pixels > 0]))


def rounding_step(times: np.ndarray) -> float:
    """Return to what times of frames were rounded, in s; 0 if they do not look rounded.

    Rounded times have a few different intervals, which alternate, and all are multiples of one step from the first.
    Jitter does not keep to a step, and a regular clock has one interval, with whatever rare disturbance.

    Parameters
    ----------
    times : (T,) float64, s

    Examples
    --------
    >>> times = np.arange(1000) * 0.1969
    >>> rounding_step(times), round(rounding_step(times.round(2)), 6)
    (0.0, 0.01)
    """
    intervals = np.diff(times)
    # a missing frame, or a pause, says nothing
    usual = np.sort(intervals[intervals < 1.5 * np.median(intervals)])
    starts = np.r_[0, np.flatnonzero(np.diff(usual) > SAME_TIME) + 1]
    commonest = np.diff(np.r_[starts, len(usual)]).max()
    if len(usual) < FEWEST_INTERVALS or len(starts) < 2 or commonest > (1 - MIN_OTHERS) * len(usual):
        return 0.0
    step = float(np.diff(usual[starts]).min())
    from_first = times - times[0]
    off = np.abs(from_first - step * np.round(from_first / step))
    return step if off.max() < SAME_TIME else 0.0


def neuron_types(names: Iterable[tuple[str, str]]) -> tuple[list[int], list[str]]:
    """Return the types of ROIs that are neurons by their names, and the names of which this is not known.

    Parameters
    ----------
    names : iterable of (str, str)
        Number and name of each type.

    Examples
    --------
    >>> neuron_types([("0", "no cell"), ("1", "Cell"), ("2", "blob")])
    ([1], ['blob'])
    """
    words = {number: " ".join(name.lower().replace("-", " ").replace("_", " ").split()) for number, name in names}
    neurons = [int(number) for number, name in words.items() if name in NEURONS]
    return neurons, [name for name in words.values() if name not in NEURONS | NO_NEURONS]
