"""Brain regions of the Allen CCF 2017, from iblatlas: ids, acronyms, colours, coarser regions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def brain_regions() -> Any:
    """Return iblatlas' table of regions. It is part of the package: nothing is downloaded."""
    from iblatlas.regions import BrainRegions

    return BrainRegions()


@lru_cache(maxsize=1)
def known_region_ids() -> frozenset[int]:
    """Return all region ids of the atlas, including the negative ones of the left hemisphere."""
    return frozenset(brain_regions().id.tolist())


def region_rows() -> list[dict[str, Any]]:
    """Return one row per region: id, acronym, name, rgb (hex), Beryl and Cosmos acronym, parent.

    Ids are mapped one at a time: iblatlas' vector functions drop ids that they do not know without an error.
    """
    regions = brain_regions()
    known = known_region_ids()
    beryl, cosmos = (regions.acronym[regions.mappings[name]] for name in ("Beryl", "Cosmos"))
    return [
        {
            "region_id": int(regions.id[i]),
            "acronym": str(regions.acronym[i]),
            "region_name": str(regions.name[i]),
            "rgb": "#{:02x}{:02x}{:02x}".format(*regions.rgb[i].astype(int)),
            "beryl": str(beryl[i]),
            "cosmos": str(cosmos[i]),
            "parent_id": int(parent) if (parent := regions.parent[i]) in known else None,
        }
        for i in range(len(regions.id))
    ]
