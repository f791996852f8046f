"""A setting is one record: a value gives the same row everywhere, and a new record appears everywhere at once."""

from __future__ import annotations

import importlib.util
import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from datajoint.adapters import get_adapter
from datajoint.declare import compile_attribute

import meso
from pipeline.decoding import NDCSettings
from pipeline.settings.curves import CHANCE, curve_settings, why_not_beyond, with_beyond
from pipeline.settings.records import Choice, Several, Whole, columns_of, documented, setting, settings_in
from populate_scripts.cli import main
from populate_scripts.cli.curves import ndc
from populate_scripts.cli.settings import SettingsCommand, options_of, settings_asked_for
from schemas.decoding.tables import NDCParams
from schemas.rows import content_key

RECORDS = {one.name: one for one in settings_in(NDCSettings)}
#: For each setting a value that is not its default: as options of the command line, and in Python.
WORDS = {
    "target": ("--target block", "block"),
    "event": ("--event goCue_times", "goCue_times"),
    "win_start": ("--win-start -0.5", -0.5),
    "win_end": ("--win-end 0.75", 0.75),
    "short_window": ("--short-window drop", "drop"),
    "scan_line_column": ("--scan-line-column 1", 1),
    "class_balance": ("--class-balance none", "none"),
    "equalize_trials": ("--no-equalize-trials", False),
    "balance_seed": ("--balance-seed 5", 5),
    "ks": ("--ks 4,16,8", (4, 16, 8)),
    "r": ("--r 5", 5),
    "metric": ("--metric accuracy", "accuracy"),
    "cv_splits": ("--cv-splits 3", 3),
    "scaling": ("--no-scaling", False),
    "c": ("--c 0.5", 0.5),
    "ceiling_mode": ("--ceiling-mode all", "all"),
    "delta": ("--delta 0.05", 0.05),
    "null": ("--null imposter", "imposter"),
    "n_label_shuffles": ("--n-label-shuffles 19", 19),
    "seed": ("--seed 5", 5),
    "shuffle_seed": ("--shuffle-seed 5", 5),
    "penalize_intercept": ("--penalize-intercept", True),
    "fold_mode": ("--fold-mode blocked", "blocked"),
    "fold_gap": ("--fold-gap 2", 2),
    "c_grid": ("--c-grid 0.1,1", (0.1, 1)),
    "n_bootstrap": ("--n-bootstrap 0", 0),
    "curve_axis": ("--curve-axis trials", "trials"),
    "trial_shuffled": ("--trial-shuffled", True),
    "cells": ("--cells random", "random"),
    "cells_seed": ("--cells-seed 2", 2),
    "regions": ("--regions VISp,MOs", ["VISp", "MOs"]),
    "fovs": ("--fovs 2,0", (2, 0)),
    "n_cells": ("--n-cells 64", 64),
    "null_subsets": ("--null-subsets 2", 2),
    "use_flagged_frames": ("--use-flagged-frames", True),
    "penalty": ("--penalty fixed", "fixed"),
    "intervals": ("--intervals test_trials", "test_trials"),
    "choice_model": ("--choice-model static", "static"),
    "imposter_align": ("--imposter-align end", "end"),
    "beyond": ("--beyond stimulus", "stimulus"),
    "trials": ("--trials correct", "correct"),
    "labels": (f"--target fast --labels {'a1' * 16}", "a1" * 16),
    "signal": ("--signal dff", "dff"),
    "neuropil": ("--neuropil 0.5", 0.5),
    "baseline_window": ("--baseline-window 30", 30.0),
    "baseline_percentile": ("--baseline-percentile 10", 10.0),
    "c_range": ("--c-range narrow", "narrow"),
    "shared_folds": ("--no-shared-folds", False),
}
#: Settings that have an effect only together with another.
NEEDED = {
    "fold_gap": "fold_mode", "cells_seed": "cells", "imposter_align": "null",
    "c": "penalty", "c_grid": "penalty", "penalize_intercept": "penalty", "shared_folds": "class_balance",
    "neuropil": "signal", "baseline_window": "signal", "baseline_percentile": "signal",
}  # fmt: skip


def key_of(made: list[NDCSettings]) -> list[str]:
    return [content_key(one.content()) for one in made]


def from_command_line(text: str) -> list[NDCSettings]:
    """Return the settings that ``meso ndc`` makes of these options, before it reaches the database."""
    # with its parent, as in a terminal: a command keeps the help option of its first context
    meso_context = click.Context(main, info_name="meso", **main.context_settings)
    params = ndc.make_context("ndc", ["an-eid", *text.split()], parent=meso_context).params
    return settings_asked_for(
        {name: params[name] for name in ("targets", "win", "settings", *RECORDS) if name in params}
    )


class Asked(Exception):
    """Raised to end a call of ``meso`` once its settings are known, before it reaches the database."""


@pytest.fixture
def from_notebook(monkeypatch):
    """Return a function that gives the settings ``meso.neuron_dropping_curves_cached`` makes of its arguments."""
    asked = []

    def stop(*args, **words):
        asked.append(curve_settings(*args, **words))
        raise Asked

    def ask(**words):
        with pytest.raises(Asked):
            meso.neuron_dropping_curves_cached(["an-eid"], **words)
        return asked.pop()

    monkeypatch.setattr(meso, "curve_settings", stop)
    return ask


def test_the_command_asks_for_the_choice_beyond_the_stimulus_too_where_it_can_be_told():
    both = with_beyond(from_command_line("--target choice --target feedback"))
    assert [one.title for one in both] == ["choice", "choice beyond stimulus", "feedback"]
    assert both[1] == NDCSettings("choice", beyond="stimulus") and both[1].class_balance == "none"
    for text in ("--metric accuracy", "--curve-axis trials", "--null permute", "--beyond stimulus"):
        alone = from_command_line(f"--target choice {text}")
        assert with_beyond(alone) == alone


def test_a_choice_that_is_not_decoded_beyond_the_stimulus_too_is_noted():
    for text in ("--target choice --target stimulus", "--target choice --beyond stimulus", "--target block"):
        assert why_not_beyond(from_command_line(text)) == []
    (asked,) = curve_settings(["choice"], trials="correct")
    (note,) = why_not_beyond([asked, asked])
    assert note.startswith("the choice is not decoded beyond the stimulus: ") and "correct" in note


def test_every_setting_is_tested_here():
    assert list(WORDS) == list(RECORDS)


@pytest.mark.parametrize("name", WORDS)
def test_option_and_argument_give_the_same_row(name, from_notebook):
    names = [name, NEEDED[name]] if name in NEEDED else [name]
    text = " ".join(WORDS[one][0] for one in names)
    words = {one: WORDS[one][1] for one in names}
    if name == "labels":
        words = {"target": "fast", **words}
    elif name != "target":
        text, words = f"{text} --target choice", {"target": "choice", **words}
    expected = content_key(NDCSettings(**words).content())
    assert key_of(from_command_line(text)) == [expected]
    words["targets"] = [words.pop("target")]
    assert key_of(from_notebook(**words)) == [expected]
    if name != "target":
        assert expected != content_key(NDCSettings("choice").content())


@pytest.mark.parametrize("name", [one.name for one in RECORDS.values() if one.letter])
def test_a_letter_is_an_alias_of_a_setting(name, from_notebook):
    letter, (text, value) = RECORDS[name].letter, WORDS[name]
    more, words = ("--penalty fixed", {"penalty": "fixed"}) if name in NEEDED else ("", {})
    expected = key_of(from_command_line(f"{text} {more}"))
    assert key_of(from_command_line(f"-{letter} {value} {more}")) == expected
    assert key_of(from_notebook(**{letter: value}, **words)) == expected


def test_without_arguments_both_use_the_defaults(from_notebook):
    assert from_command_line("") == from_notebook() == [NDCSettings(one) for one in ("choice", "feedback", "stimulus")]
    given = inspect.signature(meso.neuron_dropping_curves_cached).parameters
    for name, parameter in given.items():
        if record := RECORDS.get({"R": "r"}.get(name, name)):
            assert parameter.default in (record.default, None), name


def test_win_sets_both_ends_and_a_repeated_target_counts_once(from_notebook):
    words = {"targets": ["choice", "block", "choice"], "win": (-1, 0.5)}
    made = from_command_line("--target choice --target block --target choice --win -1 0.5")
    assert made == from_notebook(**words) == [
        NDCSettings(target, win_start=-1, win_end=0.5) for target in ("choice", "block")
    ]  # fmt: skip


def test_shuffle_seed_none_is_the_seed_as_in_the_scripts(from_notebook):
    assert from_notebook(seed=5, shuffle_seed=None)[0].shuffle_seed == 5
    assert from_notebook(seed=5)[0].shuffle_seed == 0


def test_invalid_options_end_the_command_before_the_database():
    for text, message in (
        ("--seed x", "seed must be a whole number from 0, not 'x'"),
        ("--fold-gap 3", "use fold_mode"),
    ):
        done = CliRunner().invoke(main, ["ndc", "an-eid", *text.split()])
        assert done.exit_code == 2 and message in done.output


# ------------------------------------------------------------------------------------------------------ the table

#: Definition of NDCParams, word for word.
DEFINITION = """
# settings of a neuron-dropping curve; see pipeline.decoding.NDCSettings
ndc_params : char(32)               # hash of the rest
---
target : varchar(16)                # choice, feedback, stimulus, block or own
event : varchar(64)                 # ALF trials attribute
win_start : float64                 # s after the event
win_end : float64
short_window : varchar(16)          # for windows without a frame: nearest, drop, next or interpolate
scan_line_column : int8             # of stackPos: 0 row (the scan line), 1 as published
class_balance : varchar(16)         # downsample, weights or none
equalize_trials : bool              # as many trials in every session
balance_seed : int64
ks : json                           # numbers of cells, or of trials
r : int32                           # random subsets per k
metric : varchar(32)                # auc, accuracy or balanced_accuracy
cv_splits : int32
scaling : bool                      # standardise cells in the training fold
c : float64                         # inverse strength of the L2 penalty
ceiling_mode : varchar(8)           # maxk or all
delta : float64                     # k* is within this of the ceiling
null_mode : varchar(16)             # how labels are shuffled; auto: as suits the target
n_label_shuffles : int32
seed : int64
shuffle_seed : int64
penalize_intercept=0 : bool
fold_mode='stratified' : varchar(16)  # stratified or blocked (test trials next to each other in time)
fold_gap=0 : int32                  # trials left out between training and test, with blocked folds
c_grid=null : json                  # values of c to choose from in the training folds; NULL: c as it is
n_bootstrap=0 : int32               # resamplings of the test trials behind the intervals
curve_axis='cells' : varchar(16)    # what the ks are numbers of: cells or trials
trial_shuffled=0 : bool             # trials shuffled within class for each cell: no noise correlations
cells='shared' : varchar(16)        # shared, or as many random ones
cells_seed=0 : int64                # of the random cells
regions=null : json                 # acronyms of the Allen atlas; NULL: all
fovs=null : json                    # numbers of FOVs; NULL: all
max_cells=0 : int32                 # largest k of a curve over cells; 0: all cells
null_subsets=0 : int32              # subsets averaged in each null score; 0: one each, in turn (before version 3)
use_flagged_frames=0 : bool         # also trials whose window holds a frame flagged as bad in Recording
penalty='fixed' : varchar(8)        # unit of c: fixed (C is c), scaled (c / k) or auto (scaled, c chosen)
intervals='test_trials' : varchar(16)  # what intervals hold for: new_trials, or test_trials (as before)
choice_model='static' : varchar(8)  # mouse of a pseudosession: dynamic, or static as in former versions
imposter_align='start' : varchar(8)  # trials of an imposter session: start, end or fraction
beyond='none' : varchar(16)         # what the score must tell more than: none, stimulus or stimulus+history
trials='' : varchar(512)            # condition; '': all trials
labels='' : varchar(32)             # LabelSet of an own target; '': a built-in one
decoded_signal='' : varchar(16)     # deconvolved, fluorescence or dff; '': as each FOV was read
dff_neuropil=0.7 : float64          # with dff: part of the neuropil that is subtracted
dff_window=60.0 : float64           # with dff: length of the running baseline's window, s
dff_percentile=8.0 : float64        # with dff: percentile that is the baseline
c_range='narrow' : varchar(8)       # with penalty auto: c of 1, 10, 100 (wide), or 1, 10, 30 (narrow) as before
shared_folds=0 : bool               # null labels have the folds of the real ones; c_grid by pairs of folds
"""


def test_the_definition_of_ndc_params_is_word_for_word_this():
    assert NDCParams.definition.strip() == DEFINITION.strip()


# ------------------------------------------------------------------------------------------------ a made-up setting


@documented
@dataclass(frozen=True)
class More(NDCSettings):
    """Settings of a curve, and two that exist only in this test.

    Attributes
    ----------
    {settings}
    """

    lick_rule: str = setting(
        Choice(("ignore", "drop")), "drop", before="ignore", group=CHANCE, sql="varchar(8)", comment="ignore or drop",
        help="What happens to trials with licks.",
    )  # fmt: skip
    lag_frames: tuple[int, ...] = setting(
        Several(Whole(-9)), (), before=(), group="Lags", sql="json", column="lags", letter="L", help="Lags, frames.",
    )  # fmt: skip


def test_a_made_up_setting_is_checked_and_has_a_key():
    with pytest.raises(ValueError, match="lick_rule must be one of ignore, drop, not 'keep'"):
        More("choice", lick_rule="keep")
    before = More("choice", lick_rule="ignore")
    assert before.content() == NDCSettings("choice").content()  # what was done before has the key that it had
    assert content_key(More("choice").content()) != content_key(before.content())
    assert More.from_columns(before.as_columns()) == More.from_row(json.loads(json.dumps(before.as_row()))) == before


def test_a_made_up_setting_has_a_column_on_both_backends():
    *old, rule, lags = columns_of(More).splitlines()
    assert "\n".join(old) == columns_of(NDCSettings)
    assert rule == "lick_rule='ignore' : varchar(8)     # ignore or drop"
    assert lags == "lags=null : json"
    for backend in ("mysql", "postgresql"):
        adapter = get_adapter(backend)
        quoted = adapter.quote_identifier("lick_rule")
        assert compile_attribute(rule, False, [], {}, adapter)[1].startswith(
            f"{quoted} varchar(8) NOT NULL DEFAULT 'ignore'"
        )
        assert "DEFAULT NULL" in compile_attribute(lags, False, [], {}, adapter)[1]


def test_a_made_up_setting_has_an_option():
    @click.command(cls=SettingsCommand)
    @options_of(More)
    def command(**asked):
        """Print the settings that were given."""
        click.echo(json.dumps({name: value for name, value in asked.items() if value is not None}))

    run = CliRunner().invoke
    assert json.loads(run(command, ["--lick-rule", "drop", "-L", "3,-1"]).output) == {
        "lick_rule": "drop", "lag_frames": [-1, 3],
    }  # fmt: skip
    assert "lick_rule must be one of ignore, drop, not 'x'" in run(command, ["--lick-rule", "x"]).output
    text = run(command, ["--help"]).output
    assert "\nLags:\n  -L, --lag-frames INTEGER,..." in text
    rule = "--lick-rule [ignore|drop] What happens to trials with licks. [default: drop]"
    assert rule in " ".join(text.split())


def test_a_made_up_setting_is_documented():
    assert "\nlick_rule : {'ignore', 'drop'}\n    What happens to trials with licks." in More.__doc__
    spec = importlib.util.spec_from_file_location("generate", Path(__file__).parents[1] / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = generate.settings_page(More)
    assert "| `lick_rule` | `'drop'` | `ignore`, `drop` | What happens to trials with licks. |" in page
    assert "## Lags\n" in page and "| `lick_rule` | `'ignore'` |" in page


def test_a_preset_has_an_option_and_options_override_it(from_notebook):
    assert from_command_line("--settings scripts") == from_notebook(settings="scripts")
    text, words = "--settings scripts --null circular --win -0.1 0", {"null": "circular", "win": (-0.1, 0)}
    assert from_command_line(text) == from_notebook(settings="scripts", **words)
    assert from_command_line(text)[0] != from_command_line("--settings scripts")[0]
    with pytest.raises(click.BadParameter, match="'script' is not 'scripts'"):
        from_command_line("--settings script")
