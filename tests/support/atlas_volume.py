"""A made volume of the Allen atlas, in the files that iblatlas reads, with regions whose places are known."""

from __future__ import annotations

import warnings
from pathlib import Path

import nrrd
import numpy as np
from iblatlas.atlas import ALLEN_CCF_LANDMARKS_MLAPDV_UM, AllenAtlas
from iblatlas.regions import BrainRegions

#: Size of a voxel, um, and numbers of voxels along AP, ML and DV: fewer along DV than in the real volume.
UM, SHAPE = 50, (264, 228, 24)
#: Middle of regions in the right hemisphere, (ML, AP) mm: each voxel belongs to the nearest.
CENTRES = {
    "MOB": (1.0, 4.6), "FRP1": (1.3, 2.9), "MOs1": (0.9, 1.4), "MOp1": (1.9, 1.2), "SSp-ul1": (2.7, 0.2),
    "SSp-ll1": (1.9, -0.7), "SSp-bfd1": (3.3, -1.2), "SSp-m1": (3.6, 1.3), "ACAd1": (0.3, 0.6), "RSPd1": (0.4, -2.2),
    "RSPagl1": (0.8, -2.7), "VISa1": (1.6, -1.9), "VISam1": (1.6, -2.6), "VISp1": (2.6, -3.4), "VISl1": (3.8, -3.3),
    "VISrl1": (3.1, -2.4), "AUDp1": (4.3, -2.4), "SCs": (0.8, -4.1), "IC": (1.2, -5.2), "CUL4 5gr": (0.6, -6.1),
    "SIMgr": (2.4, -5.6), "ANcr1": (2.0, -6.7), "DEC": (0.5, -7.3),
}  # fmt: skip
#: Middle and half axes of the made brain, (ML, AP) mm.
MIDDLE, HALF_AXES = (0.0, -1.3), (5.2, 6.3)


def region_id(acronym: str) -> int:
    """Return the id of a region, which is that of the right hemisphere."""
    regions = BrainRegions()
    return int(regions.id[regions.acronym == acronym].max())


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Return ML and AP of the middle of each voxel, (AP, ML), mm from bregma."""
    ml, ap, _ = ALLEN_CCF_LANDMARKS_MLAPDV_UM["bregma"] / UM
    rows, columns = np.indices(SHAPE[:2])
    return (columns - ml) * UM / 1000, (ap - rows) * UM / 1000


def brain_of_regions() -> np.ndarray:
    """Return the region ids of a brain with all regions of ``CENTRES`` in both hemispheres, as Allen's: positive."""
    ml, ap = grid()
    names = list(CENTRES)
    far = [np.hypot(abs(ml) - x, ap - y) for x, y in CENTRES.values()]
    nearest = np.array([region_id(name) for name in names])[np.argmin(far, axis=0)]
    below = 4 + 10 * (((ml - MIDDLE[0]) / HALF_AXES[0]) ** 2 + ((ap - MIDDLE[1]) / HALF_AXES[1]) ** 2)  # a dome
    return np.where((np.arange(SHAPE[2]) >= below[..., None]) & (below < 14)[..., None], nearest[..., None], 0)


def write(cache_dir: Path, ids: np.ndarray) -> Path:
    """Write a volume of region ids, (AP, ML, DV), to a ONE cache as Allen's files, and return their folder."""
    folder = cache_dir / AllenAtlas.atlas_rel_path
    folder.mkdir(parents=True)
    volume = np.transpose(ids, (1, 2, 0))  # ML, DV, AP, in C order
    files = {
        f"annotation_{UM}.nrrd": volume.astype(np.uint32),
        f"average_template_{UM}.nrrd": np.where(volume > 0, 100, 0).astype(np.uint16),
    }
    for name, values in files.items():
        with warnings.catch_warnings():
            # nrrd writes the time with datetime.utcnow(), which Python 3.12 and newer warn of
            warnings.simplefilter("ignore", DeprecationWarning)
            nrrd.write(str(folder / name), values, index_order="C", compression_level=1)
    return folder
