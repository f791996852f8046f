"""Simulate trials and wheel of a mouse in the IBL task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
from pipeline.demo.truth import Params, draw_representation

_NO_GO_WAIT = 10.0  # s; the rig waits 60 s, which would only make the demo larger


_THRESHOLD = 0.305  # rad; wheel displacement that moves the stimulus to the response threshold


_TICK = 2 * np.pi / 1024  # rad; one step of the rotary encoder


@dataclass(frozen=True)
class Behaviour:
    """Trials and wheel samples of one day, and what cells represent: target -> (n_trials,) of -1, 0, +1."""

    trials: pd.DataFrame
    wheel_times: np.ndarray
    wheel_position: np.ndarray
    represented: dict[str, np.ndarray]
    quiescence: np.ndarray
    stim_off: np.ndarray


def make_behaviour(params: Params, day: int) -> Behaviour:
    """Draw the trials of one day, and what follows from them: wheel and representation."""
    import pandas as pd

    rng = params.rng(3, day)
    n = params.n_trials
    p_left = _draw_blocks(rng, n)
    side = np.where(rng.random(n) < p_left, 1, -1)  # +1 left
    # the contrasts of IBL's biasedChoiceWorld, 0 half as often as the others: its two sides are one contrast
    contrast = rng.choice([1.0, 0.25, 0.125, 0.0625, 0.0], size=n, p=[2 / 9] * 4 + [1 / 9])
    error_share = np.linspace(0.20, 0.175, params.n_days)[day]
    correct, no_go = _draw_outcomes(rng, contrast, error_share)
    choice = np.where(no_go, 0, np.where(correct, side, -side))
    times, quiescence = _draw_times(rng, correct, no_go)
    undetected = rng.choice(np.flatnonzero(~no_go), max(n // 60, 1), replace=False)
    moves = _draw_moves(rng, times, choice)
    wheel_times, wheel_position = _make_wheel(moves)
    first_movement = np.where(no_go, np.nan, times["firstMovement_times"])
    first_movement[undetected] = np.nan  # as in real sessions: the wheel moved, but its onset was not detected
    columns = {
        **{key: times[key] for key in ("intervals_0", "intervals_1", "goCue_times", "response_times")},
        "choice": choice,
        "stimOn_times": times["stimOn_times"],
        "contrastLeft": np.where(side > 0, contrast, np.nan),
        "contrastRight": np.where(side < 0, contrast, np.nan),
        "probabilityLeft": p_left,
        "feedback_times": times["feedback_times"],
        "feedbackType": np.where(correct, 1, -1),
        "rewardVolume": np.where(correct, 1.5, 0.0),
        "firstMovement_times": first_movement,
    }
    trials = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in columns.items()})
    represented = draw_representation(rng, trials, side, contrast)
    stim_off = times["feedback_times"] + np.where(correct, 1.0, 2.0)
    return Behaviour(trials, wheel_times, wheel_position, represented, quiescence, stim_off)


def _draw_blocks(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return probabilityLeft (n,): 90 trials of 0.5, then blocks of 20 to 100 trials that alternate 0.2 and 0.8."""
    first = min(90, n // 3)
    p_left = np.full(n, 0.5)
    start, value = first, rng.choice([0.2, 0.8])
    while start < n:
        length = 0
        while not 20 <= length <= 100:  # a truncated exponential, by rejection
            length = round(rng.exponential(60))
        p_left[start : start + length] = value
        # 1 - 0.8 is not exactly 0.2
        start, value = start + length, round(1 - value, 1)
    return p_left


def _draw_outcomes(rng: np.random.Generator, contrast: np.ndarray, error_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which trials are correct and which are no-go, each (n,) bool.

    The number of errors is exact, because it limits how well feedback can be decoded.
    """
    n = len(contrast)
    # errors are most frequent where the stimulus is hard to see
    weight = np.interp(contrast, [0, 0.0625, 0.125, 0.25, 1], [1.0, 0.6, 0.3, 0.15, 0.1])
    errors = rng.choice(n, round(error_share * n), replace=False, p=weight / weight.sum())
    correct = np.ones(n, dtype=bool)
    correct[errors] = False
    no_go = np.zeros(n, dtype=bool)
    no_go[rng.choice(np.flatnonzero(correct), max(n // 90, 1), replace=False)] = True
    return correct & ~no_go, no_go


def _draw_times(
    rng: np.random.Generator, correct: np.ndarray, no_go: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return event times of all trials, each (n,) in s on the session clock, and quiescence periods (n,) in s."""
    n = len(correct)
    quiescence = rng.uniform(0.4, 0.7, n)
    stim_delay = quiescence + rng.uniform(0.05, 0.2, n)
    reaction = 0.35 + rng.gamma(2.0, 0.12, n)
    turning = rng.uniform(0.18, 0.5, n)
    closed_loop = np.where(no_go, _NO_GO_WAIT, reaction + turning)
    feedback_delay = np.where(correct, 0.002, 0.012)  # the valve is faster than the sound card
    pause = np.where(correct, 1.5, 2.5) + rng.exponential(0.9, n)
    length = stim_delay + closed_loop + feedback_delay + pause
    start = 25.0 + np.r_[0, np.cumsum(length + 0.15)[:-1]]
    stim_on = start + stim_delay
    response = stim_on + closed_loop
    times = {
        "intervals_0": start,
        "intervals_1": start + length,
        "stimOn_times": stim_on,
        "goCue_times": stim_on + rng.uniform(0.0005, 0.002, n),
        "firstMovement_times": stim_on + reaction,
        "response_times": response,
        "feedback_times": response + feedback_delay,
    }
    return times, quiescence


def _draw_moves(rng: np.random.Generator, times: dict[str, np.ndarray], choice: np.ndarray) -> np.ndarray:
    """Return wheel movements (M, 3) in order of time, without overlap: start s, stop s, displacement rad.

    Displacement is positive counter-clockwise. Each choice turns the wheel to the threshold at the response time and
    slightly past it, against the sign of the choice; between trials the mouse sometimes runs, in either direction.
    """
    start, response = times["firstMovement_times"], times["response_times"]
    stop = response + 0.1
    # a cosine from 0 to size: at the response it is exactly at the threshold
    reached = (response - start) / (stop - start)
    size = _THRESHOLD / (0.5 * (1 - np.cos(np.pi * reached)))
    turns = np.c_[start, stop, -np.sign(choice) * size][choice != 0]
    room = times["intervals_1"] - times["feedback_times"] - 0.8
    # Runs occur in groups of 12 trials, because the state of a mouse changes slowly.
    spell = np.repeat(rng.random(len(choice) // 12 + 1) < 0.45, 12)[: len(choice)]
    runs = np.c_[
        times["feedback_times"] + 0.3,
        times["feedback_times"] + 0.3 + room * rng.uniform(0.5, 0.95, len(choice)),
        rng.choice([-1, 1], len(choice)) * rng.uniform(0.5, 4.0, len(choice)),
    ][spell & (room > 0.2)]
    moves = np.r_[turns, runs]
    ordered: np.ndarray = moves[np.argsort(moves[:, 0])]
    return ordered


def _make_wheel(moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return times (S,) s and positions (S,) rad of encoder samples: one per tick, none while the wheel is still."""
    ticks = np.maximum((np.abs(moves[:, 2]) / _TICK).astype(int), 1)
    move = np.repeat(np.arange(len(moves)), ticks)
    tick = np.arange(len(move)) - np.repeat(np.cumsum(ticks) - ticks, ticks) + 1
    # fraction of a movement's time at each tick: the inverse of a displacement with bell-shaped (sine) speed
    done = np.arccos(1 - 2 * tick / (ticks[move] + 1)) / np.pi
    times = moves[move, 0] + done * (moves[move, 1] - moves[move, 0])
    position = np.cumsum(np.sign(moves[move, 2])) * _TICK
    return np.r_[0.5, times], np.r_[0.0, position]


@dataclass(frozen=True)
class Day:
    """What the FOVs of a day have in common: clock (T,) s of the first FOV, drives (n_drives, T), codes."""

    params: Params
    number: int
    behaviour: Behaviour
    clock: np.ndarray
    drives: np.ndarray
    codes: dict[str, np.ndarray]
