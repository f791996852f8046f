"""One embedding of several days as a figure, and as rows for the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from drawing.cells import session_dates
from pipeline import figures
from pipeline.errors import DataError
from schemas.days.run import SharedEmbeddingRun
from schemas.provenance import environment_row

#: Length of the activity that is drawn of each day, s, and where it begins, as a share of the recording.
SECONDS, START = 60.0, 1 / 3


@dataclass
class DrawableEmbedding(SharedEmbeddingRun):
    """One order of the cells of several days, with methods that draw it and save it.

    Attributes
    ----------
    figures : dict of str to Figure
        The figure, as "days", once ``draw`` has been called.
    """

    figures: dict[str, Figure] = field(default_factory=dict)

    @classmethod
    def of(cls, run: SharedEmbeddingRun) -> DrawableEmbedding:
        """Return a run with the methods that draw it."""
        return cls(**vars(run))

    def draw(self, t_range: tuple[float, float] | None = None, width: str | None = None) -> dict[str, Figure]:
        """Draw the sorted cells, a panel for each day: with 'trial_types' means of odd trials.

        Parameters
        ----------
        t_range : (float, float), optional
            Of the activity in time: start and end, s on the clock of each session; by default one minute from a third
            into each recording.
        width : {'single', 'double'}, optional
            A journal's: 89 or 183 mm.

        Raises
        ------
        DataError
            A session has no frame in the time range.
        """
        names = dict(zip(self.eids, session_dates(self.sessions), strict=True))
        if self.settings.embedded == "trial_types":
            shown: dict[str, Any] = {"columns": self.windows}
            days = {names[eid]: values for eid, values in self.matrices.items()}
            what = "means of odd trials, order of even ones"
        else:
            shown, what = {"times": {}}, f"{self.signal}, embedded in time"
            days = {}
            for eid, name in names.items():
                days[name], shown["times"][name] = self._minute(eid, t_range)
        title = f"{self.subject}: {len(self.order)} cells in one order on {len(days)} days; {what}"
        self.figures = {"days": figures.days_raster(days, **shown, title=title, width=width)}
        return self.figures

    def _minute(self, eid: str, t_range: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity of a session and its times, within the time range."""
        values, times = self.activity(eid)
        start, end = t_range or (times[int(START * len(times))], times[int(START * len(times))] + SECONDS)
        inside = (times >= start) & (times <= end)
        if not inside.any():
            raise DataError(
                "there is no frame in the time range", eid=eid,
                expected=f"a range within {times[0]:.1f} to {times[-1]:.1f} s", found=f"{start} to {end}",
            )  # fmt: skip
        return values[:, inside], times[inside]

    def save(self, output: Path, suffix: str = "png") -> list[Path]:
        """Save the figure with what it was made from; return the files."""
        drawn = self.figures or self.draw()
        provenance = {
            **self.task, "eids": self.eids, "environment": self.environment,
            "git_commit": environment_row()["git_commit"],
        }  # fmt: skip
        stem = figures.file_stem(
            "days", self.settings.embedded, self.subject, self.task["session_set"][:8], self.task["days_params"][:8]
        )
        return [figures.save(figure, output / f"{stem}.{suffix}", provenance) for figure in drawn.values()]


def rank_rows(run: SharedEmbeddingRun) -> list[dict[str, Any]]:
    """Return a row for each cell in the order: rank, UID, and FOV and ROI by session."""
    places = {eid: run.roi_keys(eid) for eid in run.eids}
    return [
        {
            "shared_rank": rank, "cell_uid": str(run.cells[cell]),
            "rois": {eid: [keys[rank]["fov"], keys[rank]["roi"]] for eid, keys in places.items()},
        }
        for rank, cell in enumerate(run.order.tolist())
    ]  # fmt: skip
