"""The notebook of docs/science/two_regions.md, run as it is on three made mice whose truth is planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import two_regions

import schemas
from populate_scripts.ingest import ingest

pytestmark = [pytest.mark.one_backend, pytest.mark.slow]

NOTEBOOK = Path(__file__).parents[2] / "docs" / "science" / "two_regions.ipynb"


@pytest.fixture(scope="module")
def names(database, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """Run all cells; yield the names that they leave."""
    root = tmp_path_factory.mktemp("mice")
    ingest(two_regions.write_mice(root), cache_dir=root)
    names: dict[str, Any] = {}
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert sum(len(one.splitlines()) for one in code) < 20
    exec(compile("\n".join(code), NOTEBOOK.name, "exec"), names)
    yield names
    params = names["found"].table["ndc_params"].unique()
    (schemas.Subject & [{"subject": one} for one in two_regions.MICE]).delete(prompt=False)
    (schemas.NDCParams & [{"ndc_params": one} for one in params]).delete(prompt=False)


def test_the_difference_between_the_regions_is_the_planted_one(names):
    planted = two_regions.slope("VISp") - two_regions.slope("RSP")
    (row,) = names["answer"][names["answer"]["quantity"] == "code_k"].to_dict("records")
    assert row["pair_name"] == "choice (regions=VISp) minus choice (regions=RSP)" and row["n_pairs"] == 3
    assert row["difference_low"] < planted < row["difference_high"] < 0


def test_one_region_becomes_more_efficient_and_the_other_does_not(names):
    means = {row["question_name"]: row for row in names["found"].mice.means if row["quantity"] == "code_k"}
    for region in ("VISp", "RSP"):
        row = means[f"choice (regions={region})"]
        assert row["mean_low"] < two_regions.slope(region) < row["mean_high"]
    assert means["choice (regions=VISp)"]["mean_high"] < 0


def test_curves_are_of_the_eight_best_days_both_regions_and_unbiased_correct_trials(names):
    found = names["found"]
    assert found.failed == {} and list(found.runs) == list(two_regions.MICE)
    for name, run in found.runs.items():
        sessions = (schemas.Session & {"subject": name}).to_arrays("eid", order_by="session_date")
        best = [eid for day, eid in enumerate(sessions) if len(sessions) == 8 or day != two_regions.BAD_DAY]
        for region in ("VISp", "RSP"):
            rows = run.table[run.table["regions"] == region]
            assert rows["eid"].tolist() == best
            assert set(rows["n_cells"]) == {two_regions.N_CELLS} and set(rows["max_cells"]) == {two_regions.N_CELLS}
        # as `meso ndc --by-region` asks
        assert [one.regions for one in run.settings] == [("RSP",), ("VISp",)]
    kept = (schemas.NDCResult.Trial & "trial_use = 'kept'") * schemas.Behavior.Trial & (
        schemas.Session & [{"subject": one} for one in two_regions.MICE]
    )
    assert {(row["feedback_type"], row["probability_left"]) for row in kept.to_dicts()} == {(1, 0.5)}
