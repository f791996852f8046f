"""Figures of cells, rasters, tracking, curves and averages. matplotlib without pyplot, so no global state changes."""

from __future__ import annotations

from pipeline.text import file_stem

from .cells import cell_map, cell_map_3d
from .choices import ChoiceModelPanels, choice_model
from .days import k_star_over_days
from .days_raster import days_raster
from .mice import mice_over_days
from .ndc import Curve, ndc_overlay, ndc_panels
from .performance import score_over_performance
from .peri_event import Average, peri_event_lines, peri_event_map
from .raster import raster
from .stability import cell_responses, stability_over_days
from .style import StyledFigure, distinct_region_colors, save, session_colors, style
from .tracking import presence_map, shared_counts, survival
from .transfer import transfer_over_days
from .trends import trends_over_days

__all__ = [
    "Average",
    "ChoiceModelPanels",
    "Curve",
    "StyledFigure",
    "cell_map",
    "cell_map_3d",
    "cell_responses",
    "choice_model",
    "days_raster",
    "distinct_region_colors",
    "file_stem",
    "k_star_over_days",
    "mice_over_days",
    "ndc_overlay",
    "ndc_panels",
    "peri_event_lines",
    "peri_event_map",
    "presence_map",
    "raster",
    "save",
    "score_over_performance",
    "session_colors",
    "shared_counts",
    "stability_over_days",
    "style",
    "survival",
    "transfer_over_days",
    "trends_over_days",
]
