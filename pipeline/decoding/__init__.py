"""Decoding from cells: trial features, cross-validated scores, neuron-dropping curves."""

from pipeline.decoding.curves import NDCCurve, cv_score, neuron_dropping_curve
from pipeline.decoding.features import FOVCells, trial_coverage, trial_features, window_means
from pipeline.decoding.settings import EVENTS, NDCSettings
from pipeline.decoding.trials import balanced_counts, pick_trials, target_labels

__all__ = [
    "EVENTS",
    "FOVCells",
    "NDCCurve",
    "NDCSettings",
    "balanced_counts",
    "cv_score",
    "neuron_dropping_curve",
    "pick_trials",
    "target_labels",
    "trial_coverage",
    "trial_features",
    "window_means",
]
