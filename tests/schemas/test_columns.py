"""Columns have one name in SQL views, DataFrames, CSV and JSON: those of docs/reference/columns.md, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest

import meso
import schemas
from drawing.choices import choice_model
from pipeline import export
from pipeline.responses import SelectivitySettings
from populate_scripts.cli.group import main
from schemas.decoding.cohorts import compare_mice
from schemas.labels import LabelSet
from schemas.responses.run import run_cells
from schemas.session import trials_of
from schemas.setup import views
from schemas.tracking import TrackingRun

pytestmark = pytest.mark.one_backend
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "columns.md"
QUICK = {"ks": (8,), "R": 2, "n_label_shuffles": 2, "n_bootstrap": 4, "plot": False, "progress": False}
#: As QUICK, for the command line.
FEW = ("--ks", "8", "--r", "2", "--n-label-shuffles", "2", "--n-bootstrap", "4", "--target", "choice")
#: Targets that are part of a name, such as auroc_choice or choice_selective.
TARGET = re.compile(r"(?<=_)(choice|feedback|stimulus|block)$|^(choice|feedback|stimulus|block)(?=_selective$)")
#: Commands whose JSON has what a file of others has, or needs data that these tests do not have, and is listed by hand.
BY_HAND = {
    "store gc": {"store", "object", "MB", "written"},
    "import-cache": {"taken", "file", "eid", "sha256", "n_rows", "n_matched", "n_same_regions", "n_same_xyz",
                     "not_found", "ambiguous", "n_new", "dry_run"},
    "atlas": {"region_id", "region", "region_name", "polygons", "name_ml", "name_ap", "name_room", "voxel_size",
              "iblatlas_version", "outlined_at"},
}  # fmt: skip


def listed() -> dict[str, str]:
    """Return the meaning of each name on the page."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a name has two rows"
    return dict(rows)


def names_in(value: Any) -> Iterator[str]:
    """Yield the names of the columns of rows, wherever they are in an answer."""
    if isinstance(value, dict):
        yield from value
        for name, one in value.items():
            # a key, or something by session, has names that are not columns
            if name not in ("key", "rois", "task"):
                yield from names_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from names_in(one)


def commands_with_json(command: click.Command = main, name: str = "") -> Iterator[str]:
    if isinstance(command, click.Group):
        for word in command.list_commands(click.Context(command)):
            yield from commands_with_json(command.get_command(click.Context(command), word), f"{name} {word}".strip())
    if any(param.name == "as_json" for param in command.params):
        yield name


@pytest.fixture(scope="module")
def run(demo_sessions) -> Iterator[Any]:
    """Curves, labels, a tag, transfer, stability and responses of the demo's mouse."""
    found = meso.neuron_dropping_curves_cached(demo_sessions, ["choice"], **QUICK)
    label_set = LabelSet.add("own", {eid: trials_of(eid)["choice"] > 0 for eid in demo_sessions})
    meso.tag("listed", demo_sessions)
    yield found
    (LabelSet & label_set).delete()
    meso.untag("listed")
    (schemas.NDCParams & {"ndc_params": found.targets[0].ndc_params}).delete()
    for table in (schemas.DaysParams, schemas.WindowSet, schemas.SelectivityParams, schemas.StabilityParams):
        (table & table.keys()).delete()


@pytest.fixture(scope="module")
def printed(run, demo_sessions, demo_truth, tmp_path_factory, meso_command) -> dict[str, set[str]]:
    """The names in the JSON of each command."""
    few, out = demo_sessions[:2], ("--output", str(tmp_path_factory.mktemp("columns")))
    given: dict[str, tuple] = {
        "scan": ("--cache-dir", str(demo_truth.root)), "tag": (), "tag list": (), "sessions": (),
        "workers": ("--all",), "status": (), "errors": (), "update": (*few, "--dry-run"),
        "track": ("SP999", "--list"), "db status": (),
        "sets": ("SP999", "--size", "2"), "ndc": (*demo_sessions, *FEW), "labels": (), "labels list": (),
        "transfer": (*few, "--r", "2", "--n-label-shuffles", "2", "--target", "choice"),
        "mice": ("SP999",), "power": ("SP999", "--quantity", "score", "--slope", "0.01"),
        "responses": (few[0], "--no-figure", *out), "stability": (*few, *out),
        "embed-days": (*few, "--signal", "fluorescence", "--no-figure", *out),
        "behavior": (few[0], "--no-figure", *out), "verify": (few[0],),
    }  # fmt: skip
    assert {*given, *BY_HAND} == set(commands_with_json())
    found = {}
    for name, args in given.items():
        done = meso_command(*name.split(), *args, "--json")
        assert done.stdout.strip(), (name, done.stderr)
        found[name] = set(names_in(json.loads(done.stdout)))
        assert found[name] or name == "errors", (name, done.stdout)
    return found | BY_HAND


def frames(run: Any, eids: list[str]) -> dict[str, pd.DataFrame]:
    """Return every table that the notebook calls return."""
    quiet = {"plot": False, "progress": False}
    pairs = meso.neuron_dropping_curves_cached(eids[:2], ["choice"], pairs="all", **QUICK)
    moved = meso.transfer(eids[:2], ["choice"], R=2, n_label_shuffles=2, **quiet)
    stable = meso.stability(eids[:2], n_shuffles=200, **quiet)
    mice = compare_mice(tasks=[{**run.session_set, "ndc_params": run.targets[0].ndc_params}])
    return {
        "curves": run.table, "pairs": pairs.table, "transfer": moved.table, "stability": stable.table,
        "stability by gap": stable.by_gap, "means of mice": pd.DataFrame(mice.means),
        "slopes of mice": pd.DataFrame(mice.slopes),
        "trial-type means": meso.trial_type_means(eids[0]),
        "cells": run_cells(eids[0], settings=SelectivitySettings(n_label_shuffles=2)).table,
        "model of choice": pd.DataFrame(choice_model(eids[0]).rows()),
        "sets": pd.DataFrame([one.as_row() for one in meso.best_sets("SP999", [2])]),
        "tracking runs": pd.DataFrame(TrackingRun().to_dicts()).loc[:, ["subject", "tracking_run"]],
    }  # fmt: skip


@pytest.fixture(scope="module")
def used(run, printed, demo_sessions) -> dict[str, set[str]]:
    """Each column, and where it is."""
    places: dict[str, set[str]] = {}
    in_views = {name: set(query.heading.names) for name, query in views.queries().items()}
    for name in ("job", "worker"):
        in_views[name] = view_columns(name)
    files = {
        name: set(getattr(export, name))
        for name in ("SESSION_COLUMNS", "FOV_COLUMNS", "ROI_COLUMNS", "SOURCE_COLUMNS", "FRAME_COLUMNS",
                     "WHEEL_COLUMNS", "VELOCITY_COLUMNS")
    }  # fmt: skip
    tables = {name: set(frame.columns) for name, frame in frames(run, demo_sessions).items()}
    for kind, found in (("SQL", in_views), ("Python", tables), ("JSON", printed), ("Parquet", files)):
        for place, names in found.items():
            for name in names:
                places.setdefault(TARGET.sub("<target>", name), set()).add(f"{kind}: {place}")
    return places


def view_columns(name: str) -> set[str]:
    from schemas.server.connection import connect
    from schemas.server.settings import prefix

    rows = connect().query(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        args=(prefix() + "views", name),
    )
    return {row[0] for row in rows.fetchall()}


def test_every_column_is_on_the_page(used):
    assert {name: places for name, places in used.items() if name not in listed()} == {}


def test_the_page_lists_no_column_that_nothing_has(used):
    assert set(listed()) - set(used) == set()


def test_names_say_what_kind_of_value_a_column_has(used):
    """An interval has both ends, a number of things begins with n_, and no word stands for another one."""
    known = set(used)
    for end, other in (("_low", "_high"), ("_high", "_low")):
        assert {name for name in known if name.endswith(end) and name.removesuffix(end) + other not in known} == set()
    others = {"date", "session", "mouse", "fov_number", "fov_name", "acronym", "n_days_apart", "score_value", "pval"}
    assert known & others == set()
