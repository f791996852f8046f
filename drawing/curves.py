"""Figures of neuron-dropping curves, and ``DrawableRun``: a run with methods that draw and print it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from drawing.screen import penalty_text, print_run
from pipeline import figures
from pipeline.decoding import NDCSettings
from pipeline.decoding.fits.days import DayTrend
from pipeline.decoding.fits.families import family_curve
from pipeline.decoding.fits.trend import LogKSlope
from pipeline.figures.ndc import common_metric
from pipeline.settings.signals import IN_WORDS
from pipeline.signals.peri_event import window_in_words
from schemas.decoding.results import NDCRun, TargetRun
from schemas.decoding.rows import p_of


@dataclass(repr=False)
class DrawableRun(NDCRun):
    """Neuron-dropping curves of a set of sessions, with methods that draw them and print their tables.

    Attributes
    ----------
    figures : dict of str to Figure
        Overlays by target, filled by ``draw``.
    """

    figures: dict[str, Figure] = field(default_factory=dict)

    @classmethod
    def of(cls, run: NDCRun) -> DrawableRun:
        """Return a run with the methods that draw it."""
        # a copy: the run itself stays plain data, without methods that draw
        return cls(**vars(run))

    def __repr__(self) -> str:
        return super().__repr__().replace("see .table", "see .table and .draw()")

    def draw(self, width: str | None = None) -> dict[str, Figure]:
        """Draw, for each target with a curve, the curves of all sessions over each other."""
        self.figures = {target.name: overlay(self, target, width) for target in self.targets if target.curves}
        return self.figures

    def draw_days(self, width: str | None = None) -> Figure | None:
        """Draw the trends of every target over the days, with ceilings and performance; None without a curve."""
        return days(self, width)

    def draw_performance(self, width: str | None = None) -> Figure | None:
        """Draw the score at the largest k of every target against performance; None without a curve."""
        return performance(self, width)

    def draw_regions(self, width: str | None = None) -> dict[str, Figure]:
        """Draw the curves of each target that has several regions, or kinds of cells, in a panel for each."""
        return regions(self, width)

    def show(self) -> None:
        """Print the table, the trends and the failures."""
        print_run(self)


def overlay(run: NDCRun, target: TargetRun, width: str | None = None) -> Figure:
    """Draw the curves of all sessions for a target over each other; ``width``: see ``pipeline.figures.ndc_overlay``."""
    asked = target.settings
    return figures.ndc_overlay(
        figure_curves(target), target=asked.target, metric=asked.metric, delta=asked.delta,
        curve_axis=asked.curve_axis, width=width,
        title=f"{run.subject}: {target.name} from {_cells_text(target)}, "
        f"{decoded_text(asked)}, C\u00a0=\u00a0{_penalties(target)}",
    )  # fmt: skip


def decoded_text(asked: NDCSettings) -> str:
    """Return as text what is decoded: the window, the condition on the trials, and the signal, where asked for.

    Examples
    --------
    >>> print(decoded_text(NDCSettings("stimulus", trials="correct", signal="dff")).replace("\u00a0", " "))
    100 ms after the stimulus, trials with correct, dF/F
    """
    parts = [window_in_words(asked.event, asked.win_start or 0, asked.win_end or 0)]
    parts += [f"trials with {asked.trials}"] if asked.trials else []
    parts += [IN_WORDS[asked.signal]] if asked.signal else []
    return ", ".join(parts)


def days(run: NDCRun, width: str | None = None) -> Figure | None:
    """Draw the trends of every target over the days, with ceilings and performance; None without a curve.

    Of curves that were not compared together, or before version 14, k* of the grid is drawn.
    """
    if not any(run.curves.values()):
        return None
    if run.day_trends:
        return _trends(run, width)
    dates = [row["session_date"] for rows in run.curves.values() for row in rows]
    # days of the slope count from the first session of the set, those of the figure from the first with a curve
    start = (min(dates) - run.first_date).days
    asked = run.settings[0]
    return figures.k_star_over_days(
        _curves_by_target(run), slopes={name: _slope(trend, start) for name, trend in run.trends.items()},
        delta=asked.delta, title=f"{run.subject}: k* over days", curve_axis=asked.curve_axis, width=width,
    )  # fmt: skip


def _trends(run: NDCRun, width: str | None) -> Figure:
    """Draw the trends of every target that has some."""
    asked = run.settings[0]
    of_targets = [target for target in run.targets if target.day_trends]
    shares = {
        (row["session_date"] - run.first_date).days: row["performance"]
        for target in of_targets for row in target.curves if row["performance"] is not None
    }  # fmt: skip
    return figures.trends_over_days(
        {
            target.name: {name: _day_trend(row, target, run.first_date) for name, row in target.day_trends.items()}
            for target in of_targets
        },
        ceilings={target.name: [row["ceiling"] for row in target.curves] for target in of_targets},
        performance=sorted(shares.items()), start=run.first_date, curve_axis=asked.curve_axis,
        metric=common_metric(target.settings.metric for target in of_targets),
        title=f"{run.subject}: code and sensitivity over days", width=width,
    )  # fmt: skip


def _day_trend(row: dict[str, Any], target: TargetRun, start: datetime.date) -> DayTrend:
    """Return a row of NDCComparison.DayTrend as the trend that it was made from."""
    days = np.array([(curve["session_date"] - start).days for curve in target.curves], dtype=float)
    values = np.array(
        [[_nan(value) for value in row["values"][curve["eid"]]] for curve in target.curves], dtype=float
    ).reshape(-1, 3)
    of_chance = [day for day, curve in zip(days, target.curves, strict=True) if curve["verdict"] == "at chance"]
    return DayTrend(
        row["quantity"], row["trend_k"], days, values[:, 0], values[:, 1], values[:, 2],
        tuple(of_chance) if row["n_at_chance"] else (),
        slope=_nan(row["day_slope"]), low=_nan(row["day_low"]), high=_nan(row["day_high"]), p=_nan(row["day_p"]),
        fixed_low=_nan(row["fixed_low"]), fixed_high=_nan(row["fixed_high"]), fixed_p=_nan(row["fixed_p"]),
        mean_day=_nan(row["line_day"]), mean_value=_nan(row["line_value"]), half_width=_nan(row["line_half_width"]),
    )  # fmt: skip


def performance(run: NDCRun, width: str | None = None) -> Figure | None:
    """Draw the score at the largest k of every target against performance; None without a curve."""
    if not any(run.curves.values()):
        return None
    metric = common_metric(target.settings.metric for target in run.targets if target.curves)
    title = f"{run.subject}: score over performance"
    return figures.score_over_performance(
        _curves_by_target(run), metric=metric, title=title, curve_axis=run.settings[0].curve_axis, width=width
    )


def regions(run: NDCRun, width: str | None = None) -> dict[str, Figure]:
    """Draw the curves of each target that has several regions, or kinds of cells, in a panel for each."""
    return {name: panels_of(run, name, width) for name in run.panels()}


def panels_of(run: NDCRun, name: str, width: str | None = None) -> Figure:
    """Draw the curves of one target that has several regions, or kinds of cells, by its name in ``panels``."""
    panels = run.panels()[name]
    kinds = {target.settings.cells for target in panels.values()}
    asked = next(iter(panels.values())).settings
    return figures.ndc_panels(
        {region: figure_curves(target) for region, target in panels.items()},
        metric=asked.metric, delta=asked.delta, curve_axis=asked.curve_axis, width=width,
        title=f"{run.subject}: {name} by {'kind of cells' if len(kinds) > 1 else 'region'}, up to "
        f"{asked.n_cells or 'all'} {'' if len(kinds) > 1 else asked.cells + ' '}cells of each",
    )  # fmt: skip


def _curves_by_target(run: NDCRun) -> dict[str, list[figures.Curve]]:
    return {target.name: figure_curves(target) for target in run.targets}


def _penalties(target: TargetRun) -> str:
    """Return C of the curves of a target as text; they share one, unless they are of different times."""
    return " or ".join(sorted({penalty_text({**row, "score_c1": None}) for row in target.curves}))


def _cells_text(target: TargetRun) -> str:
    """Return a text that says which cells were decoded, such as '64 of 120 shared cells in VISp'."""
    asked = target.settings
    number = "-".join(map(str, sorted({row["n_cells"] for row in target.curves})))
    number = f"{asked.n_cells} of {number}" if asked.n_cells else number
    places = [*asked.regions, *(f"FOV_{fov:02d}" for fov in asked.fovs)]
    shuffled = ", without noise correlations" if asked.trial_shuffled else ""
    return f"{number} {asked.cells} cells" + (f" in {', '.join(places)}" if places else "") + shuffled


def figure_curves(target: TargetRun) -> list[figures.Curve]:
    """Return the curves of a target in the form that ``pipeline.figures`` takes."""
    return [_curve(row, target.settings) for row in target.curves]


def _curve(row: dict[str, Any], settings: NDCSettings) -> figures.Curve:
    def column(name: str) -> np.ndarray:
        return np.array([point[name] for point in row["curve"]], dtype=float)

    def bounds(low: str, high: str) -> dict[str, np.ndarray | None]:
        # all ks of a curve have these columns, or none has
        there = row["curve"][0][low] is not None
        return {name: column(name) if there else None for name in (low, high)}

    null = bounds("null_low", "null_high")
    fit_k, fit_score = _fitted(row, settings)
    return figures.Curve(
        label=f"{row['session_number']:03d} {row['eid'][:8]}", date=row["session_date"], ks=column("k"),
        mean=column("score_mean"), sd=column("score_sd"), null_lo=null["null_low"], null_hi=null["null_high"],
        ceiling=row["ceiling"], k_star=row["k_star"], n_trials=row["n_decoded"], **bounds("mean_low", "mean_high"),
        p_value=p_of(row), q_value=row["q_value"], fit_k=fit_k, fit_score=fit_score, verdict=row["verdict"],
        k_star_low=row["k_star_low"], k_star_high=row["k_star_high"], k_star_censored=row["k_star_censored"] or "",
        performance=row["performance"], n_shuffles=settings.n_label_shuffles,
    )  # fmt: skip


def _fitted(row: dict[str, Any], settings: NDCSettings) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return k and score of the fitted curve, (100,) each, up to twice the largest k; None without a fit."""
    parameters = row["fit_parameters"]
    # a parameter that was not finite is NULL, and there is no curve to draw
    if not parameters or None in parameters.values():
        return None, None
    k = np.geomspace(row["curve"][0]["k"], 2 * row["curve"][-1]["k"], 100)
    return k, family_curve(row["fit_family"], parameters, k, metric=settings.metric)


def _slope(trend: dict[str, Any], start: int) -> LogKSlope:
    """Return the slope of log k* over days, with day 0 moved to ``start`` days after the first session of the set."""
    return LogKSlope(
        slope=_nan(trend["k_star_slope"]), low=_nan(trend["slope_low"]), high=_nan(trend["slope_high"]),
        p=_nan(trend["slope_p"]), n_sessions=trend["n_dated"], n_censored=trend["n_censored"],
        mean_day=_nan(trend["mean_day"]) - start, mean_log_k=_nan(trend["mean_log_k"]),
        half_width=_nan(trend["half_width"]),
    )  # fmt: skip


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
