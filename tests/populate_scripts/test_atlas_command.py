"""`meso atlas`: outlines of a made volume, which iblatlas reads, in the database."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.atlas_volume import CENTRES, UM, brain_of_regions, region_id, write

import schemas
from pipeline import atlas


@pytest.fixture
def cache(database, tmp_path):
    write(tmp_path, brain_of_regions())
    yield tmp_path
    schemas.AtlasOutline().delete_quick()


def test_outlines_are_stored_as_computed_and_replaced(cache, meso_command, monkeypatch):
    done = meso_command("atlas", "--res", UM, "--cache-dir", cache)
    assert done.returncode == 0, done.stderr
    n_regions = 2 * len(CENTRES)
    assert done.stdout == f"The database has outlines of the brain and of {n_regions} regions (Allen CCF 2017, 50 um)\n"
    stored = {row["region_id"]: row for row in schemas.AtlasOutline.to_dicts()}
    computed = atlas.outlines(atlas.open_volume(UM, cache))
    assert set(stored) == set(computed) and len(stored) == n_regions + 1
    for region, one in computed.items():
        row = stored[region]
        for corners, expected in zip(row["polygons"], one.polygons, strict=True):
            assert np.abs(np.array(corners) - expected).max() <= 0.5
        assert (row["name_ml"], row["name_ap"]) == pytest.approx(tuple(one.place), abs=0.1)
        assert row["voxel_size"] == UM and row["iblatlas_version"]
    # the cache that the environment names; again, in place of the former ones
    monkeypatch.setenv("MESO_ONE_CACHE_DIR", str(cache))
    done = meso_command("atlas", "--res", UM, "--json")
    rows = {row["region_id"]: row for row in json.loads(done.stdout)}
    assert {region: row["polygons"] for region, row in rows.items()} == {
        region: row["polygons"] for region, row in stored.items()
    }
    assert rows[-region_id("MOB")]["region"] == "MOB"
    deleted = (schemas.Deletion & {"deleted_table": "AtlasOutline"}).to_arrays("deleted_rows", order_by="deleted_at")
    assert deleted[-1] == {"AtlasOutline": len(stored)}
    again = schemas.AtlasOutline.to_arrays("outlined_at")
    assert len(again) == len(stored) and min(again) > max(row["outlined_at"] for row in stored.values())


@pytest.mark.one_backend  # nothing is written
def test_without_files_and_network_it_says_which_are_expected_where(cache, meso_command, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    done = meso_command("atlas", "--cache-dir", cache)
    assert done.returncode == 1 and done.stdout == ""
    folder = cache / "histology" / "ATLAS" / "Needles" / "Allen"
    assert f"average_template_25.nrrd and annotation_25.nrrd in {folder}" in done.stderr
    assert "Traceback" not in done.stderr and not schemas.AtlasOutline()
