"""Models of a mouse's choices, simulated sessions of the task, and named columns of trials."""

from pipeline.behavior.check import PredictiveCheck, predictive_check
from pipeline.behavior.dynamic import DynamicPsychometric, Mice, fit_dynamic_psychometric
from pipeline.behavior.pseudosessions import Repeats, pseudosession
from pipeline.behavior.static import BehaviorModel, fit_psychometric
from pipeline.behavior.trial_columns import columns_table, first_failed, trial_column

__all__ = [
    "BehaviorModel",
    "DynamicPsychometric",
    "Mice",
    "PredictiveCheck",
    "Repeats",
    "columns_table",
    "first_failed",
    "fit_dynamic_psychometric",
    "fit_psychometric",
    "predictive_check",
    "pseudosession",
    "trial_column",
]
