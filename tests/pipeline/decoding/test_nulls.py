"""Null labels against plain loops, the task's own rules, and behaviour whose parameters are planted."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import approx_fprime
from support.mice import mouse_session
from support.simulated_task import alf_trials, blocks, stimuli

from pipeline.behavior import static
from pipeline.behavior.pseudosessions import pseudosession
from pipeline.behavior.static import fit_psychometric
from pipeline.decoding import target_labels
from pipeline.decoding.nulls import (
    NULLS,
    SHIFTED,
    TARGETS,
    auto_null,
    linear_shift_margin,
    null_labels,
    shuffled_labels,
)
from pipeline.errors import DataError


def task_trials(
    p_left: np.ndarray, seed: int = 0, *, bias: float = 0.0, lapse: float = 0.05, no_go: float = 0.0
) -> dict:
    """A mouse that sees tenths of contrast, follows the block a little, and answers on its own."""
    rng = np.random.default_rng(seed)
    n = len(p_left)
    side, contrast = stimuli(p_left, rng)
    seen = 1 / (1 + np.exp(-(10 * side * contrast + bias + (p_left - 0.5) / 0.3)))
    choice = np.where(rng.random(n) < lapse / 2 + (1 - lapse) * seen, 1.0, -1.0)
    choice[rng.random(n) < no_go] = 0
    return alf_trials(p_left, side, contrast, choice)


def block_session(n: int = 400, seed: int = 0, **mouse) -> dict:
    p_left = blocks(n, np.random.default_rng([seed, 5]), lambda rng: int(rng.integers(20, 101)))
    return task_trials(p_left, seed, **mouse)


def labelled(target: str, trials: dict) -> np.ndarray:
    return np.flatnonzero(~np.isnan(target_labels(target, trials)))


def block_lengths(p_left: np.ndarray) -> np.ndarray:
    return np.diff([0, *np.flatnonzero(np.diff(p_left)) + 1, len(p_left)])


# ------------------------------------------------------------------------------------------------- shuffled labels


def test_permutation_is_what_databases_hold():
    y = np.array([1, 0, -1, 1, 1, 0, 0, 1, -1, 0])
    real, null = shuffled_labels(y, "permute", 5, shuffle_seed=3)
    assert (real == y).all() and real.dtype == null.dtype == np.int8
    for s, row in enumerate(null):
        rng = np.random.default_rng(np.random.SeedSequence([3, s, 1]))
        assert (row[y >= 0] == rng.permutation(y[y >= 0])).all() and (row[y < 0] == -1).all()


def test_circular_shift_is_a_rotation_of_the_labels_in_use_but_not_none():
    rng = np.random.default_rng(0)
    y = rng.integers(-1, 2, 60)
    labels = np.arange((y >= 0).sum())  # each label is unique, which shows whether each null is a rotation
    real, null = shuffled_labels(y, "circular", 200, shuffle_seed=0)
    used = real >= 0
    turned = [np.roll(y[used], shift) for shift in labels[1:]]
    assert all(any((row[used] == other).all() for other in turned) for row in null)
    assert (null[:, ~used] == -1).all()
    assert len(np.unique(null, axis=0)) > 20
    two = shuffled_labels(np.array([1, 0]), "circular", 20, shuffle_seed=0)[1]
    assert (two == [0, 1]).all()  # of two labels there is one shift that is not 0


def test_linear_shift_by_a_loop():
    y = np.random.default_rng(1).integers(-1, 2, 140)
    used = np.flatnonzero(y >= 0)
    margin = linear_shift_margin(len(used))
    real, null = shuffled_labels(y, "linear_shift", 2 * margin, shuffle_seed=0)
    middle = used[margin : len(used) - margin]
    assert (np.flatnonzero(real >= 0) == middle).all() and (real[middle] == y[middle]).all()
    assert all((np.flatnonzero(row >= 0) == middle).all() for row in null)
    expected = [y[used[margin + shift : len(used) - margin + shift]] for shift in range(-margin, margin + 1) if shift]
    assert sorted(map(tuple, null[:, middle])) == sorted(map(tuple, expected))  # every shift once, 0 never


def test_linear_shift_says_how_many_shuffles_there_can_be():
    y = np.tile([0, 1], 100)
    with pytest.raises(ValueError, match="100 at most, not 101"):
        shuffled_labels(y, "linear_shift", 101, 0)
    assert shuffled_labels(y, "linear_shift", 100, 0)[1].shape == (100, 200)
    with pytest.raises(ValueError, match="0 at most"):
        shuffled_labels(y[:3], "linear_shift", 1, 0)


@settings(max_examples=30, deadline=None)
@given(
    y=st.lists(st.sampled_from([-1, 0, 1]), min_size=60, max_size=90).filter(lambda y: sum(v >= 0 for v in y) >= 30),
    null=st.sampled_from(SHIFTED),
    few=st.integers(0, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_more_shuffles_begin_with_the_fewer(y, null, few, seed):
    some = shuffled_labels(np.array(y), null, few, seed)
    more = shuffled_labels(np.array(y), null, 12, seed)
    assert (some[0] == more[0]).all() and (some[1] == more[1][:few]).all()
    assert some[1].shape == (few, len(y)) and np.isin(more[1], (-1, 0, 1)).all()
    assert ((more[1] >= 0) == (more[0] >= 0)).all()


@pytest.mark.parametrize(
    ("y", "null", "n"),
    [([0, 1, 2], "permute", 1), ([0, 1, 0.5], "permute", 1), ([[0, 1]], "permute", 1), ([0, 1], "pseudosession", 1),
     ([0, 1], "permute", -1), ([1, -1], "circular", 1)],
)  # fmt: skip
def test_wrong_arguments_are_refused(y, null, n):
    with pytest.raises(ValueError, match=r"not|there are"):
        shuffled_labels(np.array(y), null, n, 0)


# ------------------------------------------------------------------------------------------------- pseudosessions


@pytest.mark.slow
def test_blocks_of_pseudosessions_follow_the_task():
    trials = block_session(1000)
    model = fit_psychometric(trials)
    drawn = [pseudosession(trials, np.random.default_rng(seed), model) for seed in range(40)]
    p_left = np.array([session["probabilityLeft"] for session in drawn])
    assert (p_left[:, :90] == 0.5).all() and np.isin(p_left[:, 90:], (0.2, 0.8)).all()
    assert 8 < (p_left[:, 90] == 0.8).sum() < 32  # the first side is random
    lengths = np.concatenate([block_lengths(row[90:])[:-1] for row in p_left])
    assert lengths.min() >= 20 and lengths.max() <= 100
    # the first blocks, none of which is cut: a truncated exponential
    first = np.array([block_lengths(row[90:])[:4] for row in p_left]).ravel()
    low, high = 20 / 60, 100 / 60
    expected = stats.truncexpon(b=high - low, loc=20, scale=60)
    assert stats.kstest(first + 0.5, expected.cdf).pvalue > 0.001


@pytest.mark.slow
def test_stimuli_of_pseudosessions_follow_blocks_and_the_sessions_contrasts():
    trials = block_session(2000)
    trials["contrastLeft"][trials["contrastLeft"] == 1] = 0.5  # not the task's usual contrasts
    drawn = [pseudosession(trials, np.random.default_rng(seed)) for seed in range(5)]
    p_left, left, right = (
        np.concatenate([session[name] for session in drawn])
        for name in ("probabilityLeft", "contrastLeft", "contrastRight")
    )
    assert (np.isfinite(left) != np.isfinite(right)).all()
    for probability in (0.2, 0.5, 0.8):
        assert np.isfinite(left[p_left == probability]).mean() == pytest.approx(probability, abs=0.05)
    for contrast in (1, 0.5, 0.25, 0.125, 0.0625, 0):
        real = np.fmax(trials["contrastLeft"], trials["contrastRight"]) == contrast
        assert (np.fmax(left, right) == contrast).mean() == pytest.approx(real.mean(), abs=0.02)


def test_mouse_of_pseudosessions_is_that_of_the_session():
    trials = block_session(3000, bias=0.7, lapse=0.1)
    model = fit_psychometric(trials)
    drawn = [pseudosession(trials, np.random.default_rng(seed), model) for seed in range(5)]
    together = {name: np.concatenate([session[name] for session in drawn]) for name in drawn[0]}

    def shares(session):
        signed = np.nan_to_num(session["contrastLeft"]) - np.nan_to_num(session["contrastRight"])
        return [(session["choice"][signed == c] == 1).mean() for c in np.unique(signed)]

    assert np.allclose(shares(together), shares(trials), atol=0.08)
    assert (together["feedbackType"] == 1).mean() == pytest.approx((trials["feedbackType"] == 1).mean(), abs=0.02)
    assert np.allclose(
        model.p_left(np.array([-1.0, 0.0, 1.0]), np.full(3, 0.5)), [0.05, 0.1 * 0.5 + 0.9 * 0.668, 0.95], atol=0.06
    )
    side = np.where(np.isfinite(together["contrastLeft"]), 1, -1)
    assert ((together["choice"] == side) == (together["feedbackType"] == 1)).all()


@pytest.mark.slow
def test_model_learns_that_choices_repeat_and_errors_cluster():
    rng = np.random.default_rng(0)
    trials = block_session(3000)
    side = np.where(np.isfinite(trials["contrastLeft"]), 1.0, -1.0)
    repeats = {**trials, "choice": side.copy()}
    for trial in range(1, 3000):
        if rng.random() < 0.4:
            repeats["choice"][trial] = repeats["choice"][trial - 1]
    repeats["feedbackType"] = np.where(repeats["choice"] == side, 1.0, -1.0)
    asleep = np.arange(3000) % 200 >= 100
    clusters = {**trials, "choice": np.where(asleep & (rng.random(3000) < 0.5), -side, side)}
    clusters["feedbackType"] = np.where(clusters["choice"] == side, 1.0, -1.0)

    def stays(session):
        return np.mean(session["choice"][1:] == session["choice"][:-1])

    def clustering(session):
        errors = np.convolve(session["feedbackType"] < 0, np.ones(30) / 30, mode="valid")
        return errors.std()

    seeds = [np.random.default_rng(seed) for seed in range(4)]
    assert np.mean([stays(pseudosession(repeats, rng)) for rng in seeds]) > 0.5 * (stays(repeats) + stays(trials))
    simulated = np.mean([clustering(pseudosession(clusters, rng)) for rng in seeds])
    independent = clustering({"feedbackType": rng.permutation(clusters["feedbackType"])})
    assert simulated > 1.3 * independent


def test_gradient_of_the_fit():
    rng = np.random.default_rng(0)
    mean, sd = np.array(list(static.PRIOR.values())).T[:2]
    n = len(mean) - 3
    arguments = (rng.normal(size=(50, n)), rng.random(50), rng.random(50) < 0.5, mean, sd)
    at = mean + rng.normal(size=len(mean)) / 2
    numeric = approx_fprime(at, lambda x: static._loss(x, *arguments)[0], 1e-7)
    assert np.allclose(static._loss(at, *arguments)[1], numeric, rtol=1e-4, atol=1e-4)


def degenerate_sessions() -> dict[str, dict]:
    n = 300
    blocks = block_session(n)
    side = np.where(np.isfinite(blocks["contrastLeft"]), 1.0, -1.0)
    empty = {name: column[:0] for name, column in blocks.items()}
    return {
        "all left": {**blocks, "choice": np.ones(n), "feedbackType": side},
        "no errors": {**blocks, "choice": side, "feedbackType": np.ones(n)},
        "all errors": {**blocks, "choice": -side, "feedbackType": -np.ones(n)},
        "no choice": {**blocks, "choice": np.zeros(n), "feedbackType": -np.ones(n)},
        "one contrast": {
            **blocks, "contrastLeft": np.where(side > 0, 1.0, np.nan), "contrastRight": np.where(side < 0, 1.0, np.nan),
        },
        "nothing shown": {
            **blocks, "contrastLeft": np.where(side > 0, 0.0, np.nan), "contrastRight": np.where(side < 0, 0.0, np.nan),
        },
        "stimuli unknown": {**blocks, "contrastLeft": np.full(n, np.nan), "contrastRight": np.full(n, np.nan)},
        "both sides": {**blocks, "contrastLeft": np.zeros(n), "contrastRight": np.zeros(n)},
        "blocks unknown": {**blocks, "probabilityLeft": np.full(n, np.nan)},
        "one trial": {name: column[:1] for name, column in blocks.items()},
        "no trial": empty,
    }  # fmt: skip


@pytest.mark.parametrize("name", degenerate_sessions())
def test_fit_and_simulation_never_fail(name):
    trials = degenerate_sessions()[name]
    model = fit_psychometric(trials)
    assert np.isfinite(model.p_left(np.array([-1, 0, 1.0]), np.array([0.2, 0.5, 0.8]))).all()
    session = pseudosession(trials, np.random.default_rng(0), model)
    n = len(trials["choice"])
    assert all(column.shape == (n,) for column in session.values())
    assert ((session["choice"] == 0) == (trials["choice"] == 0)).all()
    assert np.isin(session["feedbackType"], (-1, 1)).all()


@pytest.mark.parametrize(
    ("real", "allowed"),
    [
        (np.full(200, 0.5), {0.5}),  # training
        (np.full(200, 0.8), {0.8}),  # a fixed probability
        (np.repeat([0.5, 0.9, 0.1, 0.9], 50), {0.1, 0.9}),
        (np.repeat([0.5, 0.7], [150, 50]), {0.3, 0.7}),  # ended before the second block
        (np.repeat([0.8, 0.2], [60, 140]), {0.2, 0.8}),  # no unbiased start
        (np.repeat([0.5, 0.8, 0.2, 0.5, 0.2, 0.8, 0.2], 50), {0.2, 0.8}),  # two protocols, one after the other
        (np.repeat([0.5, 0.1, 0.5, 0.3, 0.7, 0.9], 60), {0.1, 0.3, 0.7, 0.9}),
    ],
)
def test_the_sessions_own_protocol_is_kept(real, allowed):
    trials = task_trials(real)
    model = fit_psychometric(trials)
    drawn = np.array([
        pseudosession(trials, np.random.default_rng(seed), model)["probabilityLeft"] for seed in range(25)
    ])  # fmt: skip
    unbiased = real == 0.5
    assert (drawn[:, unbiased] == 0.5).all()
    assert set(np.unique(drawn[:, ~unbiased])) == allowed - {0.5}
    if len(allowed) > 1:
        assert len(np.unique(drawn, axis=0)) > 10


def test_blocks_of_other_lengths_are_drawn_from_the_sessions_own():
    trials = task_trials(np.tile(np.repeat([0.2, 0.8], [8, 12]), 20))
    for seed in range(5):
        lengths = block_lengths(pseudosession(trials, np.random.default_rng(seed))["probabilityLeft"])
        assert set(lengths[:-1]) == {8, 12}


# ------------------------------------------------------------------------------------------------- null_labels


@pytest.mark.parametrize("target", TARGETS)
def test_every_usable_trial_gets_a_label(target):
    trials = block_session(400, no_go=0.05, lapse=0.2)
    usable = labelled(target, trials)[::2]
    real, null = null_labels("auto", target, trials, usable, 20, 0, names=("a", target))
    assert (real == target_labels(target, trials)[usable]).all()
    assert null.shape == (20, len(usable)) and null.dtype == np.int8
    assert np.isin(null, (0, 1)).all() and len(np.unique(null, axis=0)) == 20
    # as probable as in the session, but other trials
    assert null.mean() == pytest.approx(real.mean(), abs=0.12)
    assert np.mean(null == real) < 0.95


def test_trials_without_a_choice_stay_errors_where_they_are():
    trials = block_session(400, no_go=0.1)
    usable = labelled("feedback", trials)
    null = null_labels("pseudosession", "feedback", trials, usable, 10, 0)[1]
    assert (null[:, trials["choice"][usable] == 0] == 0).all()


@settings(max_examples=12, deadline=None)
@given(target=st.sampled_from(TARGETS), few=st.integers(0, 5), seed=st.integers(0, 2**40))
def test_pseudosession_does_not_depend_on_how_many_are_asked_for(target, few, seed):
    trials = block_session(250, lapse=0.3)
    usable = labelled(target, trials)
    some = null_labels("pseudosession", target, trials, usable, few, seed, names=("eid", target))
    more = null_labels("pseudosession", target, trials, usable, 6, seed, names=("eid", target))
    assert (some[1] == more[1][:few]).all()


def test_sessions_and_targets_have_pseudosessions_of_their_own():
    trials = block_session()
    usable = labelled("block", trials)
    one, same, other, later = (
        null_labels("pseudosession", "block", trials, usable, 5, seed, names=names)[1]
        for seed, names in ((0, ("a", "block")), (0, ("a", "block")), (0, ("b", "block")), (1, ("a", "block")))
    )
    assert (one == same).all() and (one != other).any(axis=1).all() and (one != later).any(axis=1).all()


@pytest.mark.parametrize("null", SHIFTED)
def test_shifts_through_the_one_entry(null):
    trials = block_session()
    usable = labelled("choice", trials)[5:]
    y = target_labels("choice", trials)[usable].astype(int)
    for ours, theirs in zip(
        null_labels(null, "choice", trials, usable, 9, 4), shuffled_labels(y, null, 9, 4), strict=True
    ):
        assert (ours == theirs).all()


@pytest.mark.slow
def test_vectors_of_one_class_are_drawn_again():
    # two short blocks: about half of the pseudosessions would have one block only, all of one class
    trials = task_trials(np.repeat([0.5, 0.8, 0.2], [90, 25, 15]))
    usable = labelled("block", trials)
    null = null_labels("pseudosession", "block", trials, usable, 40, 0, min_per_class=10)[1]
    assert np.minimum((null == 0).sum(axis=1), (null == 1).sum(axis=1)).min() >= 10
    raw = [target_labels("block", pseudosession(trials, np.random.default_rng(seed)))[usable] for seed in range(40)]
    assert min(min((row == 0).sum(), (row == 1).sum()) for row in raw) == 0
    # drawing one again does not change the others, whatever their number
    assert (null_labels("pseudosession", "block", trials, usable, 7, 0, min_per_class=10)[1] == null[:7]).all()


def test_session_that_can_only_be_one_class_is_refused():
    trials = task_trials(np.full(200, 0.8))
    with pytest.raises(DataError, match=r"both classes of block.*5 or more of each.*0 of class 0 and 200 of class 1"):
        null_labels("pseudosession", "block", trials, np.arange(200), 1, 0)


def test_probability_that_is_no_class_leaves_the_trial_out():
    p_left = np.repeat([0.5, 0.8, 0.2, 0.9, 0.8, 0.2], [60, 60, 60, 60, 60, 60])
    trials = task_trials(p_left)
    usable = labelled("block", trials)
    null = null_labels("pseudosession", "block", trials, usable, 30, 0)[1]
    assert (null == -1).any()


def test_wrong_entries_are_refused():
    trials = block_session()
    usable = labelled("choice", trials)
    with pytest.raises(ValueError, match=r"null must be 'auto' or one of permute, .*not 'shuffle'"):
        null_labels("shuffle", "choice", trials, usable, 1, 0)
    with pytest.raises(ValueError, match="target"):
        null_labels("auto", "reward", trials, usable, 1, 0)
    with pytest.raises(ValueError, match="target"):
        null_labels("permute", "reward", trials, usable, 1, 0)
    with pytest.raises(ValueError, match="90 have none, the first is trial 0"):
        null_labels("auto", "block", trials, np.arange(400), 1, 0)
    for wrong in (usable[::-1], usable + 10_000, usable * 1.0, usable[:, None]):
        with pytest.raises(ValueError, match="usable"):
            null_labels("auto", "choice", trials, wrong, 1, 0)
    with pytest.raises(ValueError, match="not -1"):
        null_labels("auto", "choice", trials, usable, -1, 0)
    with pytest.raises(DataError, match=r"lack attributes.*expected choice"):
        null_labels("auto", "block", {k: v for k, v in trials.items() if k != "choice"}, usable, 1, 0)
    with pytest.raises(DataError, match="differ in length"):
        null_labels("auto", "block", {**trials, "choice": np.ones(3)}, usable, 1, 0)


def test_every_null_has_a_name():
    assert set(SHIFTED) | {"pseudosession", "conditional", "imposter"} == set(NULLS)
    assert {auto_null(target) for target in TARGETS} <= set(NULLS)


#: First 12 digits of the SHA-256 of the labels that the version with the static model alone gave.
FORMER = {
    ("ramp", "choice"): "182b8d2e72b9", ("ramp", "feedback"): "0cb2b2dd92b6", ("ramp", "stimulus"): "fe480c01d3fb",
    ("ramp", "block"): "37d0cacc74a5", ("repeats", "stimulus"): "a9d645b3be55", ("quits", "feedback"): "0b78e572da65",
}  # fmt: skip


@pytest.mark.parametrize(("mouse", "target"), FORMER)
def test_static_model_gives_the_labels_of_former_versions(mouse, target):
    trials = mouse_session(mouse, 300, np.random.default_rng(3))
    usable = labelled(target, trials)
    both = null_labels("pseudosession", target, trials, usable, 5, 0, names=("e", target), choice_model="static")
    assert hashlib.sha256(b"".join(part.tobytes() for part in both)).hexdigest()[:12] == FORMER[mouse, target]


#: The same of the mouse that knew one last choice: version 15 to 36.
DYNAMIC = {
    ("pseudosession", "ramp", "choice"): "a60fe944741b", ("pseudosession", "repeats", "stimulus"): "fab6d6cc347e",
    ("pseudosession", "quits", "feedback"): "02f9e6e91322", ("conditional", "ramp", "choice"): "20b30c9a186b",
    ("conditional", "quits", "feedback"): "77b679282ae9",
}  # fmt: skip


@pytest.mark.parametrize(("null", "mouse", "target"), DYNAMIC)
def test_dynamic_model_gives_the_labels_of_former_versions(null, mouse, target):
    trials = mouse_session(mouse, 300, np.random.default_rng(3))
    usable = labelled(target, trials)
    both = null_labels(null, target, trials, usable, 5, 0, names=("e", target), choice_model="dynamic")
    assert hashlib.sha256(b"".join(part.tobytes() for part in both)).hexdigest()[:12] == DYNAMIC[null, mouse, target]


@pytest.mark.parametrize("mouse", ["strongly second last", "strongly fifth last", "second last, won"])
def test_conditional_keeps_what_the_five_last_choices_tell(mouse):
    lag = {"strongly fifth last": 5}.get(mouse, 2)
    trials = mouse_session(mouse, 600, np.random.default_rng(4))
    usable = labelled("choice", trials)[lag:]
    real, past = target_labels("choice", trials)[usable], target_labels("choice", trials)[usable - lag]
    agree = {
        model: np.mean(null_labels("conditional", "choice", trials, usable, 40, 0, choice_model=model)[1] == past)
        for model in ("habits", "dynamic")
    }
    assert agree["habits"] == pytest.approx(np.mean(real == past), abs=0.03)
    assert agree["dynamic"] < agree["habits"] - 0.02


def test_conditional_choices_follow_stimuli_and_the_slow_bias():
    trials = mouse_session("ramp", 600, np.random.default_rng(1))
    usable = labelled("choice", trials)
    real, null = null_labels("conditional", "choice", trials, usable, 60, 0, names=("a", "choice"))
    assert (real == target_labels("choice", trials)[usable]).all()
    contrast = np.nan_to_num(trials["contrastLeft"]) - np.nan_to_num(trials["contrastRight"])
    assert null[:, contrast > 0.5].mean() > 0.85 and null[:, contrast < -0.5].mean() < 0.15
    weak = np.abs(contrast) < 0.1
    early, late = weak & (usable < 200), weak & (usable >= 400)
    drift = real[late].mean() - real[early].mean()
    assert abs(drift) > 0.3
    assert null[:, late].mean() - null[:, early].mean() == pytest.approx(drift, abs=0.15)
    # and are drawn anew where these leave them open
    assert 0.1 < np.mean(null[:, weak] != real[weak]) < 0.6
    assert len(np.unique(null, axis=0)) == 60


def test_conditional_feedback_is_whether_the_choice_was_to_the_side():
    trials = mouse_session("quits", 400, np.random.default_rng(2))
    usable = labelled("feedback", trials)
    feedback = null_labels("conditional", "feedback", trials, usable, 8, 0, names=("a",))[1]
    silent = trials["choice"] == 0
    assert silent.any() and (feedback[:, silent] == 0).all()
    chosen = labelled("choice", trials)
    choice = null_labels("conditional", "choice", trials, chosen, 8, 0, names=("a",))[1]
    left = np.isfinite(trials["contrastLeft"])[chosen]
    assert (feedback[:, ~silent] == (choice == left)).all()


def test_conditional_keeps_what_the_last_choice_tells_and_pseudosessions_do_not():
    trials = mouse_session("win-stay", 400, np.random.default_rng(3))
    usable = labelled("choice", trials)[1:]
    last = target_labels("choice", trials)[usable - 1]
    agree = {
        null: np.mean(null_labels(null, "choice", trials, usable, 40, 0)[1] == last)
        for null in ("conditional", "pseudosession")
    }
    real = np.mean(target_labels("choice", trials)[usable] == last)
    assert agree["conditional"] == pytest.approx(real, abs=0.05) and agree["pseudosession"] < real - 0.04


def test_conditional_is_for_targets_that_follow_from_choices():
    trials = block_session()
    for target in ("block", "stimulus"):
        with pytest.raises(ValueError, match="draws choices: its targets are choice and feedback"):
            null_labels("conditional", target, trials, labelled(target, trials), 1, 0)
    with pytest.raises(ValueError, match="choice_model must be one of habits, dynamic, static"):
        null_labels("auto", "choice", trials, labelled("choice", trials), 1, 0, choice_model="glm")


def test_pseudosessions_of_a_mouse_that_tires_tire():
    trials = mouse_session("tires", 600, np.random.default_rng(0))
    usable = labelled("feedback", trials)

    def fall(rows):
        return np.mean(rows[..., 200:400]) - np.mean(rows[..., 500:])

    real, dynamic = null_labels("pseudosession", "feedback", trials, usable, 40, 0)
    static = null_labels("pseudosession", "feedback", trials, usable, 40, 0, choice_model="static")[1]
    assert fall(real) > 0.15
    assert fall(dynamic) == pytest.approx(fall(real), abs=0.07) and fall(static) < fall(real) - 0.1


@pytest.mark.slow
def test_drift_fools_permutations_and_not_pseudosessions():
    found = {"permute": 0, "pseudosession": 0}
    for number in range(50):
        rng = np.random.default_rng([number, 3])
        trials = block_session(400, seed=number)
        usable = labelled("block", trials)
        drift = np.cumsum(rng.normal(size=(400, 20)), axis=0)[usable]
        for null in found:
            real, shuffled = null_labels(null, "block", trials, usable, 39, 0, names=(str(number),))
            signs = np.vstack([real, shuffled]) * 2.0 - 1
            signs -= signs.mean(axis=1, keepdims=True)
            related = np.abs(signs @ (drift / drift.std(axis=0))) / np.linalg.norm(signs, axis=1, keepdims=True)
            score = related.max(axis=1)
            found[null] += (1 + (score[1:] >= score[0]).sum()) / 40 <= 0.05
    assert found["permute"] > 45 and found["pseudosession"] < 9, found


# ------------------------------------------------------------------------------------------------- imposter sessions


@pytest.mark.parametrize("target", TARGETS)
def test_imposter_labels_are_those_of_other_sessions_in_their_order(target):
    trials = block_session(300, seed=1, no_go=0.03)
    donors = [block_session(400, seed=seed) for seed in range(2, 6)]
    usable = labelled(target, trials)
    usable = np.delete(usable, [3, 40, 41])  # trials without imaging, say
    real, null = null_labels("imposter", target, trials, usable, 3, 0, donors=donors)
    places = np.searchsorted(labelled(target, trials), usable)
    for row, donor in zip(null, donors, strict=False):
        labels = target_labels(target, donor)
        assert (row == labels[~np.isnan(labels)][places]).all()
    assert (real == target_labels(target, trials)[usable]).all()


def test_long_donor_serves_again_after_all_others_without_overlap():
    trials = block_session(200, seed=1)
    short, long = block_session(210, seed=2), block_session(650, seed=3)
    usable = labelled("choice", trials)
    null = null_labels("imposter", "choice", trials, usable, 4, 0, donors=[long, short])[1]
    given = target_labels("choice", long)
    assert (null[0] == given[:200]).all() and (null[1] == target_labels("choice", short)[:200]).all()
    assert (null[2] == given[200:400]).all() and (null[3] == given[400:600]).all()
    with pytest.raises(DataError, match=r"expected 5, found 4 distinct ones from 2 sessions.*4 shuffles at most"):
        null_labels("imposter", "choice", trials, usable, 5, 0, donors=[long, short])


@pytest.mark.parametrize("align", ["end", "fraction"])
def test_imposter_labels_by_the_end_or_the_fraction_of_the_session(align):
    trials = block_session(300, seed=1)
    usable = np.delete(labelled("choice", trials), [3, 40, 299])
    donors = [block_session(n, seed=n) for n in (299, 300, 420, 700)]
    null = null_labels("imposter", "choice", trials, usable, 2, 0, donors=donors, imposter_align=align)[1]
    first, second = (target_labels("choice", donor) for donor in donors[1:3])
    assert (null[0] == first[usable]).all()
    by_hand = [second[120 + t] if align == "end" else second[int(420 * (t + 0.5) / 300)] for t in usable]
    assert (null[1] == by_hand).all()
    # of the longest session, every other trial would be skipped
    most = {"end": 3, "fraction": 2}[align]
    with pytest.raises(DataError, match=f"found {most} distinct ones from 4 sessions"):
        null_labels("imposter", "choice", trials, usable, most + 1, 0, donors=donors, imposter_align=align)
    with pytest.raises(ValueError, match="imposter_align must be one of start, end, fraction"):
        null_labels("imposter", "choice", trials, usable, 1, 0, donors=donors, imposter_align="middle")


def test_too_short_donors_and_donors_of_one_class_do_not_count():
    trials = block_session(300, seed=1)
    usable = labelled("choice", trials)
    poor = [block_session(200, seed=2), {**block_session(400, seed=3), "choice": np.ones(400)}]
    with pytest.raises(DataError, match="found 0 distinct ones from 2 sessions"):
        null_labels("imposter", "choice", trials, usable, 1, 0, donors=poor)
    with pytest.raises(DataError, match="found 0 distinct ones from 0 sessions"):
        null_labels("imposter", "choice", trials, usable, 1, 0)
