"""Figures of the pipeline: rasters and neuron-dropping curves, matplotlib only, never pyplot."""

from __future__ import annotations

from .ndc import Curve, ndc_overlay, ndc_panels
from .raster import raster
from .style import StyledFigure, distinct_region_colors, file_stem, save, session_colors, style

__all__ = [
    "Curve",
    "StyledFigure",
    "distinct_region_colors",
    "file_stem",
    "ndc_overlay",
    "ndc_panels",
    "raster",
    "save",
    "session_colors",
    "style",
]
