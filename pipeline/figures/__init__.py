"""Figures of the pipeline: rasters, neuron-dropping curves, k* over days; matplotlib only, never pyplot."""

from __future__ import annotations

from .days import k_star_over_days
from .ndc import Curve, ndc_overlay, ndc_panels
from .raster import raster
from .style import StyledFigure, distinct_region_colors, file_stem, save, session_colors, style

__all__ = [
    "Curve",
    "StyledFigure",
    "distinct_region_colors",
    "file_stem",
    "k_star_over_days",
    "ndc_overlay",
    "ndc_panels",
    "raster",
    "save",
    "session_colors",
    "style",
]
