"""Simulated mice that change within a session or follow their past, and cells that have nothing to do with the choice.

Tests and ``benchmarks/changing_mice.py`` share them. None of the mice is the model that the nulls fit.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from support.simulated_task import alf_trials, blocks, stimuli

#: How many choices ago each was.
BACK = {"second last": 2, "third last": 3, "fourth last": 4, "fifth last": 5, "sixth last": 6}
#: What a mouse does beyond the psychometric function of each session.
MICE = {
    "stationary": "no change",
    "ramp": "its bias drifts steadily from one side to the other",
    "turns": "its bias drifts steadily, so far that it ends going to one side only",
    "jumps": "its bias jumps every 40 trials on average",
    "drift": "its bias drifts (AR .98, standard deviation 1)",
    "tires": "in the last third it guesses more and more",
    "learns": "it guesses at first, and less and less",
    "engages": "it guesses in periods of 40 trials on average",
    "quits": "in the last fifth most trials have no choice",
    "win-stay": "it repeats rewarded choices",
    "win-stay, lose-shift": "and leaves those that were not rewarded",
    **{f"{weight}{lag}": f"it repeats its {lag} choice" for lag in BACK for weight in ("", "strongly ")},
    "second last, won": "it repeats its second last choice if that was rewarded",
    "repeats": "after an error the stimulus is shown again",
    "repeats sides": "after an error the side is shown again",
}
#: Cells that know nothing of the task, and cells that know something else than the present choice.
SLOW = ("tile", "ar", "walk")
NOT_THE_CHOICE = ("last choice", *BACK, "stimulus")
N_CELLS = 20


def block_length(rng: np.random.Generator) -> int:
    """Return the length of a block of biasedChoiceWorld, in trials."""
    length = 0
    while not 20 <= length <= 100:
        length = int(rng.exponential(60))
    return length


def mouse_session(mouse: str, n_trials: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the ALF trial attributes of a session; every session has another psychometric function."""
    return mouse_and_state(mouse, n_trials, rng)[0]


def mouse_and_state(
    mouse: str, n_trials: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return the trials of `mouse_session`, and what the mouse's choices depend on: bias and share of guesses, (n,)."""
    p_left = blocks(n_trials, rng, block_length)
    side, contrast = stimuli(p_left, rng)
    bias, asleep = _bias(mouse, n_trials, rng), _asleep(mouse, n_trials, rng)
    sharpness, use = rng.uniform(6, 14), rng.uniform(0.3, 1.2)
    win, lose = {"win-stay": (1.5, 0.0), "win-stay, lose-shift": (1.5, -1.5)}.get(mouse, (0.0, 0.0))
    late = np.arange(n_trials) > 0.8 * n_trials
    silent = rng.random(n_trials) < 0.6 * (late & (mouse == "quits"))
    choice, last, won = np.zeros(n_trials), 0.0, False
    # weights of the choices before, the last first
    habit, only_won = np.zeros(max(BACK.values())), mouse.endswith("won")
    if (lag := mouse.removeprefix("strongly ").removesuffix(", won")) in BACK:
        habit[BACK[lag] - 1] = 1.5 if mouse.startswith("strongly") or only_won else 0.6
    for trial in range(n_trials):
        if trial and mouse.startswith("repeats") and choice[trial - 1] != side[trial - 1] and rng.random() < 0.7:
            side[trial] = side[trial - 1]
            contrast[trial] = contrast[trial - 1] if mouse == "repeats" else contrast[trial]
        z = sharpness * side[trial] * contrast[trial] + bias[trial] + use * (p_left[trial] - 0.5) / 0.3
        z += last * (win if won else lose)
        before = slice(max(trial - len(habit), 0), trial)
        known = choice[before] * (choice[before] == side[before]) if only_won else choice[before]
        z += known[::-1] @ habit[: len(known)]
        lapse = 0.06 + 0.94 * asleep[trial]
        left = rng.random() < lapse / 2 + (1 - lapse) / (1 + np.exp(-z))
        if not silent[trial]:
            choice[trial] = 1 if left else -1
            last, won = choice[trial], choice[trial] == side[trial]
    return alf_trials(p_left, side, contrast, choice), bias, asleep


def _bias(mouse: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the bias on every trial, (n,)."""
    if mouse in ("ramp", "turns"):
        return rng.choice([-1, 1]) * np.linspace(-1, 1, n) * (1.5 if mouse == "ramp" else 4)
    if mouse == "jumps":
        return rng.normal(size=n)[np.cumsum(rng.random(n) < 1 / 40)]
    if mouse == "drift":
        return autoregressive(n, 1, 0.98, rng)[:, 0]
    return np.full(n, rng.normal(0, 0.3))


def _asleep(mouse: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return the share of guesses on every trial, (n,)."""
    t = np.linspace(0, 1, n)
    if mouse == "tires":
        return 0.8 * np.clip(3 * t - 2, 0, 1)
    if mouse == "learns":
        return 0.7 * (1 - t)
    if mouse == "engages":
        return 0.8 * (np.cumsum(rng.random(n) < 1 / 40) % 2)
    return np.zeros(n)


def with_reaction_times(trials: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return trials with the times of stimulus and movement.

    Reaction times are shorter with contrast, longer in errors and to one side, and drift in the session: median 0.25 s.
    """
    n = len(trials["choice"])
    contrast = np.fmax(trials["contrastLeft"], trials["contrastRight"])
    drift = autoregressive(n, 1, 0.99, rng)[:, 0]
    log = -0.8 * np.tanh(5 * contrast) + 0.3 * (trials["feedbackType"] < 0) + 0.15 * trials["choice"] + 0.3 * drift
    log += 0.3 * rng.standard_normal(n)
    starts = 5.0 * np.arange(n)
    reaction = 0.25 * np.exp(log - np.median(log))
    return {**trials, "stimOn_times": starts, "firstMovement_times": starts + reaction}


def autoregressive(n_trials: int, n: int, phi: float, rng: np.random.Generator) -> np.ndarray:
    """Return n stationary AR(1) processes of variance 1, (n_trials, n)."""
    noise = rng.standard_normal((n_trials, n))
    noise[1:] *= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=0)


def cells(kind: str, trials: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return the activity of 20 cells on every trial, (n_trials, 20), half of its variance noise.

    'tile': each is active about a time of its own within the session. 'ar': AR(1) of .99. 'walk': random walks.
    'last choice', those of ``BACK``, 'stimulus': half of the cells follow that choice, or the signed contrast.
    """
    n = len(trials["choice"])
    noise = rng.standard_normal((n, N_CELLS))
    if kind == "tile":
        centres = np.linspace(0, n, N_CELLS)
        signal = np.exp(-(((np.arange(n)[:, None] - centres) / (n / N_CELLS)) ** 2) / 2)
        return signal / signal.std(axis=0) + noise
    if kind == "ar":
        return autoregressive(n, N_CELLS, 0.99, rng) + noise
    if kind == "walk":
        signal = np.cumsum(rng.standard_normal((n, N_CELLS)), axis=0)
        return signal / signal.std(axis=0) + noise
    lag = BACK.get(kind, 1)
    known = np.append(np.zeros(lag), trials["choice"])[:-lag]
    if kind == "stimulus":
        known = np.tanh(5 * (np.nan_to_num(trials["contrastLeft"]) - np.nan_to_num(trials["contrastRight"])))
    return planted(known, 0.5, rng)


def planted(signal: np.ndarray, effect: float, rng: np.random.Generator) -> np.ndarray:
    """Return white noise in which half of 20 cells follow a signal (n,) by ``effect`` standard deviations, (n, 20)."""
    activity = rng.standard_normal((len(signal), N_CELLS))
    activity[:, ::2] += effect * signal[:, None]
    return activity
