"""Models of a mouse's choices, and simulated sessions of the task."""

from pipeline.behavior.check import PredictiveCheck, predictive_check
from pipeline.behavior.dynamic import DynamicPsychometric, Mice, fit_dynamic_psychometric
from pipeline.behavior.pseudosessions import Repeats, pseudosession
from pipeline.behavior.static import BehaviorModel, fit_psychometric

__all__ = [
    "BehaviorModel",
    "DynamicPsychometric",
    "Mice",
    "PredictiveCheck",
    "Repeats",
    "fit_dynamic_psychometric",
    "fit_psychometric",
    "predictive_check",
    "pseudosession",
]
