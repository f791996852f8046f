"""Decoding from cells: trial features, cross-validated scores, neuron-dropping curves, nulls and fits."""

from pipeline.decoding.curves import NDCCurve, cv_score, neuron_dropping_curve, penalty_scores
from pipeline.decoding.features import (
    FOVCells,
    fov_noise_levels,
    noise_cell_step,
    noise_level,
    noise_of_cells,
    on_first_clock,
    trial_coverage,
    trial_features,
)
from pipeline.decoding.fits.curve import CurveFit, fit_curve
from pipeline.decoding.fits.days import DayTrend, code_trend, sensitivity_trend
from pipeline.decoding.fits.mice import MiceTrend, mice_trend, paired_level, paired_trend
from pipeline.decoding.fits.together import benjamini_hochberg, common_ceiling_k_star
from pipeline.decoding.fits.trend import LogKSlope, log_k_slope
from pipeline.decoding.folds import Validation
from pipeline.decoding.nulls import NULLS, auto_null, null_labels, shuffled_labels
from pipeline.decoding.strata import n_minority, trial_strata
from pipeline.decoding.transfer import (
    Day,
    TransferDecay,
    TransferScores,
    relative_transfer,
    transfer_decay,
    transfer_scores,
)
from pipeline.decoding.trials import balanced_counts, pick_trials, target_labels
from pipeline.settings.curves import EVENTS, NDCSettings
from pipeline.signals.windows import window_means

__all__ = [
    "EVENTS",
    "NULLS",
    "CurveFit",
    "Day",
    "DayTrend",
    "FOVCells",
    "LogKSlope",
    "MiceTrend",
    "NDCCurve",
    "NDCSettings",
    "TransferDecay",
    "TransferScores",
    "Validation",
    "auto_null",
    "balanced_counts",
    "benjamini_hochberg",
    "code_trend",
    "common_ceiling_k_star",
    "cv_score",
    "fit_curve",
    "fov_noise_levels",
    "log_k_slope",
    "mice_trend",
    "n_minority",
    "neuron_dropping_curve",
    "noise_cell_step",
    "noise_level",
    "noise_of_cells",
    "null_labels",
    "on_first_clock",
    "paired_level",
    "paired_trend",
    "penalty_scores",
    "pick_trials",
    "relative_transfer",
    "sensitivity_trend",
    "shuffled_labels",
    "target_labels",
    "transfer_decay",
    "transfer_scores",
    "trial_coverage",
    "trial_features",
    "trial_strata",
    "window_means",
]
