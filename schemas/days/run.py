"""Asking for one embedding of several days: the task inserted, tables filled, and the result with its matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline import responses
from pipeline.embedding import EmbeddingSettings
from pipeline.embedding_days import DaysSettings, binned, rastermap_settings, zscored
from pipeline.errors import ArgumentError, DataError, NotFoundError
from pipeline.settings.signals import SignalSettings
from schemas.days.tables import DaysParams, SharedEmbedding, SharedEmbeddingTask, cells_of, days_of, made_of, one_signal
from schemas.decoding.run import shared_set
from schemas.embedding import EmbeddingParams
from schemas.imaging.signals import Signal, SignalParams
from schemas.queries.cells import n_shared_cells
from schemas.queries.errors import errors_of
from schemas.responses.run import window_set
from schemas.session import Behavior, Session
from schemas.tracking import SessionSet, SharedCells
from schemas.work.filling import ask_again, fill


@dataclass
class SharedEmbeddingRun:
    """One Rastermap order of the cells that sessions share.

    Attributes
    ----------
    subject : str
    task : dict
        Key of SharedEmbeddingTask.
    sessions : list of dict
        eid, session_date and session_number, by date.
    cells : (N,) str
        UIDs of the shared cells, by shared_cell.
    order : (N,) int64
        The i-th row from the top is the cell ``cells[order[i]]``, on every day.
    settings : DaysSettings
    signal : str
        'deconvolved', 'fluorescence' or 'dff'.
    windows : list of str
        With 'trial_types': names of the kinds of trials.
    environment : str
        Key of Environment.
    made_of : str
        Hash of the files that were embedded: see ``schemas.days.tables.made_of``.
    notes : list of str
        What was left out, and why.
    """

    subject: str
    task: dict[str, str]
    sessions: list[dict[str, Any]]
    cells: np.ndarray
    order: np.ndarray
    settings: DaysSettings
    signal: str
    windows: list[str]
    environment: str
    made_of: str
    notes: list[str] = field(default_factory=list)

    @property
    def eids(self) -> list[str]:
        """The sessions by date."""
        return [row["eid"] for row in self.sessions]

    def matrix(self, eid: str, half: str = "odd") -> np.ndarray:
        """Return what is shown of a session: a row for each cell, sorted, each z-scored; (N, T) float32.

        Parameters
        ----------
        eid : str
        half : {'odd', 'even'}
            With 'trial_types', whose columns are ``windows``: 'even' are the means that gave the order, 'odd' those
            that did not. The activity in time has no halves, and is read from the database.

        Raises
        ------
        NotFoundError
            The session is not one of the set.
        DataError
            The session is not that which was embedded any more: its files have changed and were read again.
        ArgumentError
            There is no such half.
        """
        if half not in ("odd", "even"):
            raise ArgumentError(f"half must be odd or even, not {half!r}")
        if self.settings.embedded == "trial_types":
            self._check(eid)
            means = (SharedEmbedding.Day & self.task & {"eid": eid}).fetch1(f"day_{half}")
            return zscored(np.asarray(means).T[self.order])
        return self.activity(eid)[0]

    def activity(self, eid: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the activity of a session in the order, z-scored, (N, T) float32, and its times, (T,) s.

        Errors as of ``matrix``.
        """
        self._check(eid)
        _, _, signal = (DaysParams & self.task).settings()
        (day,) = [one for one in days_of(self.task["session_set"], signal) if one.eid == eid]
        clock, seconds = day.clock(), self.settings.bin_seconds
        return zscored(binned(day.traces(clock), clock, seconds))[self.order], binned(clock[None], clock, seconds)[0]

    @property
    def matrices(self) -> dict[str, np.ndarray]:
        """``matrix`` of each session by date; all in memory."""
        return {eid: self.matrix(eid) for eid in self.eids}

    def roi_keys(self, eid: str) -> list[dict[str, Any]]:
        """Return eid, fov and roi of each row of ``matrix`` in a session; errors as there."""
        self._check(eid)
        cells = SharedCells.Cell & {"session_set": self.task["session_set"], "eid": eid}
        rows = cells.proj("fov", "roi").to_dicts(order_by="shared_cell")
        return [{name: rows[i][name] for name in ("eid", "fov", "roi")} for i in self.order]

    def _check(self, eid: str) -> None:
        if eid not in self.eids:
            raise NotFoundError("the session is not one of the set", eid=eid, expected=", ".join(self.eids))
        if self.made_of != (found := made_of(self.task)):
            raise DataError(
                "what the order is of is not what is in the database now: files of the set have changed, and were read "
                "again", eid=eid, expected=f"files with hash {self.made_of}", found=found,
                do="Ask for the embedding again: meso embed-days, or meso.embed_days(eids)",
            )  # fmt: skip


def run_embedding(
    eids: Sequence[str], run: dict, settings: DaysSettings | None = None, *,
    windows: str | responses.WindowSet | None = None, signal: SignalSettings | None = None,
    embedding: EmbeddingSettings | None = None, progress: bool = False, **rule: Any,
) -> SharedEmbeddingRun:  # fmt: skip
    """Embed the cells that sessions share, unless this is stored, and return it.

    Parameters
    ----------
    eids : sequence of str
        Two or more sessions of one subject that have been read.
    run : dict
        Key of a TrackingRun.
    settings : DaysSettings, optional
    windows : str or WindowSet, optional
        Of 'trial_types': name of a set, or a set; by default the 26 trial windows.
    signal : SignalSettings, optional
        By default as each FOV was read.
    embedding : EmbeddingSettings, optional
        Settings of Rastermap.
    progress : bool
    **rule
        Which cells count: see SessionSet.

    Raises
    ------
    DataError
        Fewer than two sessions have tracked cells, they share no cell, or they cannot be embedded.
    ArgumentError
        A setting has no effect here.
    """
    settings = settings or DaysSettings()
    if windows is not None and settings.embedded != "trial_types":
        raise ArgumentError("windows have an effect on embedded='trial_types' only")
    rastermap = rastermap_settings(settings, embedding)
    of_windows = window_set(windows) if settings.embedded == "trial_types" else None

    def ask() -> tuple[SharedEmbeddingRun | None, bool]:
        session_set, failed = shared_set(eids, run, progress=progress, **rule)
        n_shared_cells(session_set)
        if signal is None:
            one_signal(days_of(session_set["session_set"]))  # before there is a job that would fail
        params = DaysParams.add(settings, of_windows, signal)
        task = SharedEmbeddingTask.add(session_set, EmbeddingParams.add(rastermap), params)
        if not (SharedEmbedding & task):
            _fill(eids, task, of_windows, signal, progress)
        if not (SharedEmbedding & task):
            return None, True
        found = stored_embedding(task)
        found.notes[:0] = failed.values()
        return found, False

    found = ask_again(ask)
    if found is None:
        raise DataError(
            "the shared cells could not be embedded, and no job of theirs has failed",
            do="Ask again if files of the sessions are read again now; 'meso errors' lists failed trials and signals",
        )
    return found


def _fill(
    eids: Sequence[str], task: dict[str, str], windows: dict | None, signal: SignalSettings | None, progress: bool
) -> None:
    """Populate what an embedding needs, and the embedding.

    Raises
    ------
    DataError
        Its job failed, or is another worker's.
    """
    sessions = [{"eid": eid} for eid in eids]
    if windows:
        fill([Behavior], sessions, progress=progress)
    if signal:
        fill([Signal], [{**one, **SignalParams.key_of(signal)} for one in sessions], progress=progress)
    done = fill([SharedEmbedding], task, progress=progress)
    reasons = [row["message"] for row in errors_of([SharedEmbedding], task)]
    if reasons or done.errors or done.unfinished:
        raise DataError("the shared cells could not be embedded", do="; ".join([*reasons, *map(str, done.unfinished)]))


def stored_embedding(task: dict[str, str]) -> SharedEmbeddingRun:
    """Return a stored embedding of several days; nothing is computed.

    Parameters
    ----------
    task : dict
        Key of SharedEmbeddingTask.

    Raises
    ------
    NotFoundError
        It is not stored.
    """
    if not SharedEmbedding & task:
        raise NotFoundError("the embedding of several days is not stored", do="Compute it with: meso populate")
    files = made_of(task)  # before the order: if they are replaced now, it is of others than these
    row = (SharedEmbedding & task).fetch1()
    of_set = {"session_set": task["session_set"]}
    members = (SessionSet.Member & of_set).proj()
    sessions = Session.proj("session_date", "session_number") & members
    uids = [cell["cell_uid"] for cell in cells_of(task["session_set"])]
    ranks = (SharedEmbedding.Rank & task).to_arrays("shared_cell", order_by="shared_rank")
    settings, _, _ = (DaysParams & task).settings()
    return SharedEmbeddingRun(
        str((SessionSet & of_set).fetch1("subject")), {name: row[name] for name in SharedEmbeddingTask.primary_key},
        sessions.to_dicts(order_by="session_date, session_number, eid"), np.array(uids), ranks.astype(np.int64),
        settings, row["shared_signal"], list(row["shared_windows"]), row["environment"],
        files,
    )  # fmt: skip
