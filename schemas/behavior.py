"""The mouse of each session: a dynamic psychometric model of its choices."""

from __future__ import annotations

from collections.abc import Iterator

import datajoint as dj
import numpy as np

from pipeline.behavior.check import FEATURES, PredictiveCheck, predictive_check
from pipeline.behavior.dynamic import WEIGHTS, DynamicPsychometric, fit_dynamic_psychometric
from pipeline.behavior.pseudosessions import Repeats
from schemas.cascade import WholeDelete
from schemas.rows import number
from schemas.session import Behavior, trials_of  # noqa: F401  # the definition names Behavior

schema = dj.Schema()


@schema
class ChoiceModel(WholeDelete, dj.Computed):
    definition = """
    # dynamic psychometric model of a session; see pipeline.behavior.dynamic
    -> Behavior
    ---
    n_choices : int32                   # trials with a choice
    choice_bias : <blob>                # (n_trials,) float64, logit of a choice to the left, posterior mean
    choice_bias_sd : <blob>             # (n_trials,) float64, its standard deviation
    choice_gain : <blob>                # (n_trials,) float64, change of the use of the stimulus, posterior mean
    choice_gain_sd : <blob>             # (n_trials,) float64
    bias_step : float64                 # posterior mean of the standard deviation of its change from trial to trial
    gain_step : float64
    repeated_sides : float64            # share of errors after which the side is repeated
    repeated_contrasts : float64        # share of these with which the contrast is, too
    is_imitated : bool                  # no feature of the session is beyond those of simulated sessions
    """

    class Weight(dj.Part):
        definition = """
        # what does not change within the session, on the scale of logits
        -> master
        choice_weight : varchar(16)     # block, contrast_..., win and lose (last choice), choices_... (running means)
        ---
        weight_mean : float64           # posterior
        weight_sd : float64
        """

    class Check(dj.Part):
        definition = """
        # a feature of the session, and of sessions simulated with the model
        -> master
        session_feature : varchar(32)
        ---
        feature_observed=null : float64
        feature_median=null : float64   # of the simulated sessions
        feature_low=null : float64      # 2.5th percentile
        feature_high=null : float64     # 97.5th percentile
        feature_p=null : float64        # two-sided; NULL: the session has no such feature
        """

    def make(self, key):
        trials = trials_of(key["eid"])
        model = fit_dynamic_psychometric(trials)
        check = predictive_check(trials, model)
        self.insert1({**key, **_model_row(trials, model), "is_imitated": check.imitated})
        self.Weight.insert({**key, **row} for row in _weight_rows(model))
        self.Check.insert({**key, **row} for row in _check_rows(check))


def _model_row(trials: dict[str, np.ndarray], model: DynamicPsychometric) -> dict:
    """Return the columns of ChoiceModel, but for the check."""
    mean, sd, repeats = model.mean, model.sd(), Repeats.of(trials)
    bias_step, gain_step = model.probabilities @ model.step_sizes
    return {
        "n_choices": int(np.isin(trials["choice"], (-1, 1)).sum()),
        "choice_bias": mean.bias[0], "choice_bias_sd": sd.bias[0],
        "choice_gain": mean.gain[0], "choice_gain_sd": sd.gain[0],
        "bias_step": float(bias_step), "gain_step": float(gain_step),
        "repeated_sides": repeats.side, "repeated_contrasts": repeats.contrast,
    }  # fmt: skip


def _weight_rows(model: DynamicPsychometric) -> Iterator[dict]:
    for name, mean, sd in zip(WEIGHTS, model.mean.weights[0], model.sd().weights[0], strict=True):
        yield {"choice_weight": name, "weight_mean": float(mean), "weight_sd": float(sd)}


def _check_rows(check: PredictiveCheck) -> Iterator[dict]:
    columns = check.observed, check.median, check.low, check.high, check.p
    for feature, *values in zip(FEATURES, *columns, strict=True):
        names = ("observed", "median", "low", "high", "p")
        yield {"session_feature": feature} | {
            f"feature_{name}": number(value) for name, value in zip(names, values, strict=True)
        }
