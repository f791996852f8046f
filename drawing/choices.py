"""The model of a session's choices, as a table for the terminal and as a figure. Missing models are fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drawing.cells import session_stem, session_title
from pipeline import figures
from pipeline.behavior.check import FEATURES, beyond_chance
from pipeline.behavior.dynamic import WEIGHTS
from pipeline.errors import NotFoundError
from pipeline.figures.choices import INTERVAL
from schemas.behavior import ChoiceModel
from schemas.provenance import environment_row
from schemas.session import Behavior, trials_of
from schemas.work.filling import fill


@dataclass(frozen=True)
class ShownModel:
    """The rows of ChoiceModel of a session.

    Attributes
    ----------
    eid : str
    model : dict
        Row of ChoiceModel.
    weights, checks : dict of str to dict
        Rows of ChoiceModel.Weight by weight and of ChoiceModel.Check by feature.
    """

    eid: str
    model: dict
    weights: dict[str, dict]
    checks: dict[str, dict]

    @property
    def is_imitated(self) -> bool:
        """Whether the model imitates this mouse."""
        return bool(self.model["is_imitated"])

    def beyond(self) -> list[str]:
        """Return the features that simulated sessions do not have."""
        p = np.array([row["feature_p"] for row in self.checks.values()], dtype=float)  # NaN for NULL
        return [name for name, beyond in zip(self.checks, beyond_chance(p), strict=True) if beyond]

    def rows(self) -> list[dict]:
        """Return what is printed: a row for each weight, then one for each feature."""
        weights = [
            {"quantity": name, "value": row["weight_mean"],
             "value_low": row["weight_mean"] - INTERVAL * row["weight_sd"],
             "value_high": row["weight_mean"] + INTERVAL * row["weight_sd"], "observed": None, "p_value": None}
            for name, row in self.weights.items()
        ]  # fmt: skip
        features = [
            {"quantity": name, "value": row["feature_median"], "value_low": row["feature_low"],
             "value_high": row["feature_high"], "observed": row["feature_observed"], "p_value": row["feature_p"]}
            for name, row in self.checks.items()
        ]  # fmt: skip
        return [{"eid": self.eid, **row} for row in (*weights, *features)]

    def draw(self, output: Path, suffix: str) -> Path:
        """Draw and save the figure; return its file."""
        trials, model = trials_of(self.eid), self.model
        panels = figures.ChoiceModelPanels(
            model["choice_bias"], model["choice_bias_sd"], model["choice_gain"], model["choice_gain_sd"],
            trials["probabilityLeft"],
            {name: (row["weight_mean"], row["weight_sd"]) for name, row in self.weights.items()},
            {name: _interval(row) for name, row in self.checks.items()},
        )  # fmt: skip
        title = session_title(self.eid) + ("" if self.is_imitated else ": the model does not imitate this mouse")
        figure = figures.choice_model(panels, title=title)
        provenance = {"eid": self.eid, "git_commit": environment_row()["git_commit"]}
        return figures.save(figure, output / f"{session_stem('behavior', self.eid)}.{suffix}", provenance)


def choice_model(eid: str) -> ShownModel:
    """Return the model of a session's choices, fitted now if there is none.

    Raises
    ------
    NotFoundError
        The session has no trials, or the model could not be fitted.
    """
    if not (ChoiceModel & {"eid": eid}):
        done = fill([Behavior, ChoiceModel], {"eid": eid})
        if not (ChoiceModel & {"eid": eid}):
            raise NotFoundError(
                "the session has no model of choice", eid=eid, found="; ".join(done.lines()) or "no trials"
            )
    weights = {row["choice_weight"]: row for row in (ChoiceModel.Weight & {"eid": eid}).to_dicts()}
    checks = {row["session_feature"]: row for row in (ChoiceModel.Check & {"eid": eid}).to_dicts()}
    return ShownModel(
        eid,
        (ChoiceModel & {"eid": eid}).fetch1(),
        # models that were fitted by a former version know fewer choices, and were checked by fewer features
        {name: weights[name] for name in WEIGHTS if name in weights},
        {name: checks[name] for name in FEATURES if name in checks},
    )


def _interval(row: dict) -> tuple[float, float, float, float]:
    """Return the observed feature, and median and range of simulated sessions; NaN for none."""
    observed, median, low, high = (
        np.nan if row[f"feature_{name}"] is None else row[f"feature_{name}"]
        for name in ("observed", "median", "low", "high")
    )
    return observed, median, low, high
