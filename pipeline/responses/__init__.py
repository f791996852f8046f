"""Responses of cells to kinds of trials: their means, what single cells tell, and how stable both are over days."""

from pipeline.responses.cells import (
    Selectivity,
    SelectivitySettings,
    TargetSelectivity,
    common_windows,
    selectivity,
    signal_to_noise,
    sparseness,
    split_half,
    target_selectivity,
)
from pipeline.responses.stability import (
    ALL,
    CONTROLS,
    MEASURES,
    ControlStability,
    DayResponses,
    GapStability,
    StabilityResult,
    StabilitySettings,
    StabilitySlope,
    stability,
)
from pipeline.responses.trial_types import TRIAL_WINDOWS, TrialTypeMeans, WindowSet, trial_type_means

__all__ = [
    "ALL",
    "CONTROLS",
    "MEASURES",
    "TRIAL_WINDOWS",
    "ControlStability",
    "DayResponses",
    "GapStability",
    "Selectivity",
    "SelectivitySettings",
    "StabilityResult",
    "StabilitySettings",
    "StabilitySlope",
    "TargetSelectivity",
    "TrialTypeMeans",
    "WindowSet",
    "common_windows",
    "selectivity",
    "signal_to_noise",
    "sparseness",
    "split_half",
    "stability",
    "target_selectivity",
    "trial_type_means",
]
