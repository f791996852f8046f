"""The Allen CCF 2017, from iblatlas: ids, acronyms, colours and coarser regions, and outlines seen from above."""

from __future__ import annotations

import sys
import zipfile
import zlib
from contextlib import redirect_stdout
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ConfigError, DataError
from pipeline.folders import writable_home
from pipeline.outlines import Outline, junctions, outline

#: Region of the atlas that stands for the whole brain: "root".
BRAIN = 997
#: Smaller pieces of a region are not outlined, um squared: about the area of three voxels of 50 um.
LEAST_AREA = 7500.0


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


def open_volume(res_um: int, cache_dir: Path | str | None = None) -> Any:
    """Return the atlas with its volume, from the files in a ONE cache; iblatlas downloads those that are missing.

    Parameters
    ----------
    res_um : {25, 50}
        Size of a voxel, um.
    cache_dir : path, optional
        By default the cache that ONE is set up with.

    Returns
    -------
    iblatlas.atlas.AllenAtlas

    Raises
    ------
    ConfigError
        The cache is not a folder.
    DataError
        A file could not be downloaded, written or read.
    """
    import nrrd
    import one.params
    from iblatlas.atlas import AllenAtlas

    if cache_dir and not Path(cache_dir).is_dir():
        raise ConfigError(f"The ONE cache {cache_dir} is not a folder on this machine")
    with writable_home(".one"):
        folder = Path(cache_dir or one.params.get(silent=True).CACHE_DIR) / AllenAtlas.atlas_rel_path
        try:
            # ONE prints what it downloads
            with redirect_stdout(sys.stderr):
                return AllenAtlas(res_um, hist_path=folder)
        except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, nrrd.NRRDError) as error:
            raise DataError(
                "the volume of the Allen atlas can be neither read nor downloaded",
                expected=f"average_template_{res_um}.nrrd and annotation_{res_um}.nrrd in {folder}",
                found=f"{type(error).__name__}: {error}",
                do="Without a network, copy these files from a machine where 'meso atlas' has run. Remove a damaged "
                "file, also annotation_*_lut_*.npz: it is made again",
            ) from error


def seen_from_above(atlas: Any) -> np.ndarray:
    """Return the id of the region (Beryl parcellation) at the upper surface of the brain.

    Parameters
    ----------
    atlas : AllenAtlas

    Returns
    -------
    (AP, ML) int64
        Voxels from the anterior and from the left; negative in the left hemisphere; 0 outside of the brain, `BRAIN`
        where the brain has no region of the parcellation.
    """
    highest = np.argmax(atlas.label != 0, axis=2)  # of the DV axis, which begins at the top
    labels = np.take_along_axis(atlas.label, highest[..., None], axis=2)[..., 0]
    ids: np.ndarray = atlas.regions.id[atlas.regions.mappings["Beryl-lr"][labels]]
    return ids.astype(np.int64)


def outlines(atlas: Any) -> dict[int, Outline]:
    """Return the outline of each region that can be seen from above, and of the brain.

    Parameters
    ----------
    atlas : AllenAtlas

    Returns
    -------
    dict of int to Outline
        By region id, negative in the left hemisphere; that of the brain has the id `BRAIN`. ML and AP, um from bregma.
    """
    regions, least = seen_from_above(atlas), LEAST_AREA / atlas.res_um**2
    fixed = junctions(regions)
    found = {region: outline(regions == region, fixed, least=least) for region in np.unique(regions).tolist()}
    found[BRAIN] = outline(regions != 0, fixed, least=least)
    return {region: _placed(one, atlas) for region, one in found.items() if region and one}


def _placed(one: Outline, atlas: Any) -> Outline:
    """Return an outline in rows and columns of voxels as one in um; the centre of a voxel has its index."""

    def place(points: np.ndarray) -> np.ndarray:
        return 1e6 * np.stack([atlas.bc.i2x(points[..., 1] - 0.5), atlas.bc.i2y(points[..., 0] - 0.5)], axis=-1)

    return Outline([place(corners) for corners in one.polygons], place(one.place), one.room * atlas.res_um)
