"""The script of this name, for notebooks that import it: functions of ``meso`` and ``pipeline.decoding``."""

from __future__ import annotations

from meso import neuron_dropping_curves_cached
from pipeline.decoding import neuron_dropping_curve

__all__ = ["neuron_dropping_curve", "neuron_dropping_curves_cached"]
