"""One Rastermap order of the cells that several sessions share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import responses
from pipeline.decoding import FOVCells
from pipeline.embedding import EmbeddingSettings, rastermap_order
from pipeline.embedding_days import DaysSettings, binned, type_vectors, zscored
from pipeline.errors import ArgumentError, DataError
from pipeline.settings.signals import DffSettings, SignalSettings
from schemas.cascade import WholeDelete
from schemas.embedding import EmbeddingParams, on_clock, shared_frames
from schemas.imaging.reading import clocks, flags_in, recorded, roi_traces
from schemas.imaging.signals import Signal, SignalParams, SignalTask, waiting_signals
from schemas.imaging.tables import FOV, ROI, Activity, Recording
from schemas.provenance import Environment
from schemas.responses.tables import WindowSet
from schemas.rows import content_key, sources_key, without_failed
from schemas.session import Behavior, Session, trials_of
from schemas.tracking import SessionSet, SharedCells, TrackedCell, TrackedFOV

schema = dj.Schema()


@schema
class DaysParams(WholeDelete, dj.Manual):
    definition = """
    # what is embedded of the cells of several sessions; see pipeline.embedding_days.DaysSettings
    days_params : char(32)              # hash of the rest
    ---
    embedded : varchar(16)              # concatenated (activity in time) or trial_types (means in kinds of trials)
    bin_seconds : float64               # of concatenated: length of the bins that are averaged, s; 0: every frame
    min_type_trials : int32             # of trial_types: trials that a window needs in each half
    -> [nullable] WindowSet             # of trial_types
    -> [nullable] SignalParams          # NULL: as each FOV was read, if it is the same signal in all
    """

    @classmethod
    def add(
        cls, settings: DaysSettings | None = None, windows: dict | None = None, signal: SignalSettings | None = None
    ) -> dict:  # fmt: skip
        """Insert settings unless they are in the table, and return their key.

        Parameters
        ----------
        settings : DaysSettings, optional
        windows : dict, optional
            Key of a WindowSet, which 'trial_types' needs and 'concatenated' does not have.
        signal : SignalSettings, optional
            By default as each FOV was read.

        Raises
        ------
        ArgumentError
            Windows are lacking, or have no effect.
        """
        settings = settings or DaysSettings()
        if (settings.embedded == "trial_types") != bool(windows):
            raise ArgumentError("windows are needed for embedded='trial_types', and have no effect otherwise")
        row = {
            "embedded": settings.embedded, "bin_seconds": float(settings.bin_seconds),
            "min_type_trials": int(settings.min_trials), "window_set": windows["window_set"] if windows else None,
            **(SignalParams.key_of(signal) if signal else {"signal_params": None}),
        }  # fmt: skip
        key = {"days_params": content_key(row)}
        if not (cls & key):  # a read-only account can use settings that are in the table
            if signal:
                SignalParams.add(signal)
            cls.insert1({**key, **row}, skip_duplicates=True)
        return key

    def settings(self) -> tuple[DaysSettings, dict[str, Any] | None, SignalSettings | None]:
        """Return the settings, content of the windows and signal of the single row that this is restricted to."""
        row = self.fetch1()
        windows, signal = row["window_set"], row["signal_params"]
        return (
            DaysSettings(row["embedded"], row["bin_seconds"], row["min_type_trials"]),
            (WindowSet & {"window_set": windows}).windows().content() if windows else None,
            (SignalParams & {"signal_params": signal}).settings() if signal else None,
        )


@schema
class SharedEmbeddingTask(WholeDelete, dj.Manual):
    definition = """
    # requested embeddings of the cells that sessions share
    -> SessionSet
    -> EmbeddingParams
    -> DaysParams
    """

    @classmethod
    def add(cls, session_set: dict, embedding: dict, days: dict) -> dict:
        """Request the embedding of a set, with the signal of its sessions; return the key of the task."""
        _, _, signal = (DaysParams & days).settings()
        task = {**session_set, **embedding, **days}
        with cls.connection.transaction:
            if signal:
                SignalTask.ask((SessionSet.Member & session_set).to_arrays("eid"), [signal])
            cls.insert1(task, skip_duplicates=True)
        return task


@schema
class SharedEmbedding(WholeDelete, dj.Computed):
    definition = """
    # one Rastermap order of the cells that sessions share
    -> SharedEmbeddingTask
    -> SharedCells
    ---
    n_shared_embedded : int32           # cells
    n_shared_columns : int32            # values of each cell: frames or bins of all sessions, or means
    shared_signal : varchar(16)         # what the activity is: deconvolved, fluorescence or dff
    shared_windows : json               # of trial_types: names of the windows with enough trials on all days
    -> Environment
    """

    class Rank(dj.Part):
        definition = """
        # place of a cell in the order, the same on all days
        -> master
        shared_cell : int32             # see SharedCells.Cell
        ---
        -> TrackedCell
        shared_rank : int32
        """

    class Day(dj.Part):
        definition = """
        # of trial_types: means of the cells in a session; arrays (windows, cells), cells by shared_cell
        -> master
        -> Behavior
        ---
        day_even : <blob>               # float32, of the trials with even numbers, which gave the order
        day_odd : <blob>                # float32, of those with odd numbers, which did not
        """

    class OwnSignal(dj.Part):
        definition = """
        # a FOV whose requested signal is not that of Activity, with which the embedding goes
        -> master
        -> Signal
        """

    @property
    def key_source(self):
        tasks = SharedEmbeddingTask.proj() * SharedCells.proj()
        # renamed, so that one FOV or session that is waiting holds back all of its set; what failed holds back nothing
        fovs = without_failed(SessionSet.FOV.proj() - (Recording.proj() * Activity.proj()), Recording, Activity)
        trials = without_failed(SessionSet.Member.proj() - Behavior.proj(), Behavior)
        of_types = (DaysParams & "embedded = 'trial_types'").proj() * trials
        of_signal = (DaysParams & "signal_params is not null").proj() * (SessionSet.Member.proj() & waiting_signals())
        tasks = tasks - fovs.proj(waiting_eid="eid", waiting_fov="fov")
        return tasks - of_types.proj(waiting_eid="eid") - of_signal.proj(waiting_eid="eid")

    def make_fetch(self, key):
        settings, windows, signal = (DaysParams & key).settings()
        rastermap = asdict((EmbeddingParams & key).settings())
        return rastermap, asdict(settings), windows, asdict(signal) if signal else None, made_of(key)

    @staticmethod
    def also_read(key: dict) -> list[dict]:
        """Return the keys of the sessions that a job reads: its own key does not name them."""
        return (SessionSet.Member & {"session_set": key["session_set"]}).keys()

    def make_compute(self, key, rastermap, settings, windows, signal, sources):
        rastermap, settings = EmbeddingSettings(**rastermap), DaysSettings(**settings)
        signal = SignalSettings(signal["kind"], DffSettings(**signal["of_dff"])) if signal else None
        days = days_of(key["session_set"], signal)
        kind = one_signal(days)
        used: list[str] = []
        means: list[tuple[str, np.ndarray, np.ndarray]] = []
        if settings.embedded == "concatenated":
            matrix = concatenated(days, settings.bin_seconds)
        else:
            used, means = _type_means(days, windows, settings.min_trials)
            matrix = type_vectors([even for _, even, _ in means])
        rank = np.argsort(rastermap_order(matrix, rastermap))  # the inverse of the order is the rank of each cell
        rows = {
            "Day": [{"eid": eid, "day_even": even, "day_odd": odd} for eid, even, odd in means],
            "OwnSignal": [one for day in days for one in day.own_signals()],
        }
        about = {
            "n_shared_embedded": len(rank), "n_shared_columns": matrix.shape[1],
            "shared_signal": kind, "shared_windows": used,
        }  # fmt: skip
        return about, rank.tolist(), rows

    def make_insert(self, key, about, rank, rows):
        self.insert1({**key, **about, **Environment.current()})
        self.Rank.insert(
            {**key, **cell, "shared_rank": rank[cell["shared_cell"]]} for cell in cells_of(key["session_set"])
        )
        for part, found in rows.items():
            getattr(self, part).insert({**key, **row} for row in found)


def made_of(task: dict) -> str:
    """Return a hash of the files that an embedding is of, as they have been read.

    Those with trials only of 'trial_types'. Files that were replaced are read again under the same keys.
    """
    settings, _, signal = (DaysParams & task).settings()
    of_set = {"session_set": task["session_set"]}
    sessions = (SessionSet.Member & of_set).proj()
    files = [FOV.Source & (SessionSet.FOV & of_set).proj()]
    if settings.embedded == "trial_types":
        files.append(Behavior.Source & sessions)
    if signal:
        files.append(Signal.Source & SignalParams.key_of(signal) & sessions)
    return sources_key(*files)


@dataclass
class Day:
    """The shared cells of a set in one of its sessions.

    Attributes
    ----------
    eid : str
    fovs, rois : (N,) int
        Of each cell, by shared_cell.
    offsets : (N,) float64
        Time of each cell after the start of its frame, s.
    stored : dict of int to dict
        By FOV, what ``schemas.imaging.reading.recorded`` returns.
    """

    eid: str
    fovs: np.ndarray
    rois: np.ndarray
    offsets: np.ndarray
    stored: dict[int, dict[str, Any]]

    def kinds(self) -> set[str]:
        """Return the signals of the FOVs."""
        return {row["signal"] for row in self.stored.values()}

    def own_signals(self) -> list[dict[str, Any]]:
        """Return the keys of the rows of Signal whose traces these are."""
        own = [row for row in self.stored.values() if "signal_params" in row]
        return [{name: row[name] for name in Signal.primary_key} for row in own]

    def frame_times(self) -> dict[int, np.ndarray]:
        """Return the start of each frame by FOV, s on the session's clock."""
        return {fov: np.asarray(row["frame_times"]) for fov, row in self.stored.items()}

    def clock(self) -> np.ndarray:
        """Return the frames that all FOVs share and that are not flagged as bad, (M,) float64, s."""
        return shared_frames(self.eid, self.frame_times())

    def traces(self, clock: np.ndarray) -> np.ndarray:
        """Return the activity of the cells at the frames of ``clock``, (N, M) float32, by shared_cell."""
        by_fov = np.argsort(self.fovs, kind="stable")
        found = on_clock(
            self.eid, self.frame_times(), clock, self.fovs[by_fov], self.rois[by_fov], self.offsets[by_fov], self.stored
        )
        # in place: with another copy of the largest session the peak of memory would be higher
        return found if (np.diff(by_fov) == 1).all() else found[np.argsort(by_fov)]

    def of_fovs(self, use_flagged: bool) -> Iterator[FOVCells]:
        """Yield the cells of each FOV with their traces; ``columns`` are numbers of shared cells."""
        flagged = {} if use_flagged else flags_in(self.stored.values())
        for fov, times in self.frame_times().items():
            columns = np.flatnonzero(self.fovs == fov)
            traces = roi_traces(self.eid, self.fovs[columns], self.rois[columns], stored={fov: self.stored[fov]})
            yield FOVCells(columns, traces, times, self.offsets[columns], flagged.get(fov))


def cells_of(session_set: str) -> list[dict[str, Any]]:
    """Return shared_cell of each cell of a set with its key in TrackedCell."""
    of_set = {"session_set": session_set}
    first = min((SessionSet.Member & of_set).to_arrays("eid").tolist())
    rows = SharedCells.Cell.proj("subject", "tracking_run", "fov", "roi") & of_set & {"eid": first}
    return _with_uid(rows).to_dicts(order_by="shared_cell")


def _with_uid(cells: dj.QueryExpression) -> dj.QueryExpression:
    """Return shared cells of sessions with their UIDs."""
    members = TrackedFOV.Member.proj("cell_uid")
    return dj.U("shared_cell", *TrackedCell.primary_key) & (cells * members)


def days_of(session_set: str, signal: SignalSettings | None = None) -> list[Day]:
    """Return the shared cells of a set in each of its sessions, by date.

    Raises
    ------
    DataError
        No cell is tracked in all sessions of the set.
    NotFoundError
        A FOV lacks activity, or the signal.
    """
    of_set, names = {"session_set": session_set}, ("fov", "roi", "stack_y", "stack_x")
    sessions = Session.proj("session_date", "session_number") & (SessionSet.Member & of_set).proj()
    found = []
    for eid in sessions.to_arrays("eid", order_by="session_date, session_number, eid").tolist():
        cells = SharedCells.Cell.proj("fov", "roi") & of_set & {"eid": eid}
        fovs, rois, y, x = (cells * ROI.proj("stack_y", "stack_x")).to_arrays(*names, order_by="shared_cell")
        if not len(fovs):
            raise DataError("no cell is tracked in all sessions of the set", expected="1 or more", found="0")
        fovs, rois = fovs.astype(int), rois.astype(int)
        stored = recorded(eid, fovs, signal)
        _, offsets = clocks(eid, fovs, np.column_stack([y, x]).astype(int), 0, stored)
        found.append(Day(eid, fovs, rois, offsets, stored))
    return found


def one_signal(days: list[Day]) -> str:
    """Return the signal of all days.

    Raises
    ------
    DataError
        They have several: activity of different signals would be one day's against another's, not one cell's against
        another's.
    """
    kinds = set().union(*(day.kinds() for day in days))
    if len(kinds) > 1:
        raise DataError(
            "the sessions have different signals", expected="the same in all",
            found="; ".join(f"{' and '.join(sorted(day.kinds()))} in {day.eid}" for day in days),
            do="Use signal='fluorescence' or signal='dff', which are those of all sessions",
        )  # fmt: skip
    return kinds.pop()


def concatenated(days: list[Day], bin_seconds: float) -> np.ndarray:
    """Return the activity of the cells in all sessions one after the other, z-scored in each, (N, T) float32.

    Each session is read once. In memory are the result and the activity of one session.
    """
    shown = [day.clock() for day in days]
    ends = np.cumsum([binned(clock[None], clock, bin_seconds).shape[1] for clock in shown])
    out = np.empty((len(days[0].fovs), ends[-1]), np.float32)
    for day, clock, end, start in zip(days, shown, ends, [0, *ends[:-1]], strict=True):
        zscored(binned(day.traces(clock), clock, bin_seconds), out[:, start:end])
    return out


def _type_means(
    days: list[Day], content: dict[str, Any], min_trials: int
) -> tuple[list[str], list[tuple[str, np.ndarray, np.ndarray]]]:
    """Return the windows with enough trials on all days, and of each day id, even and odd means, (windows, cells).

    Raises
    ------
    DataError
        A session has no trials, or not the event of a window; no window has enough trials on all days.
    """
    windows, found = responses.WindowSet.from_content(content), []
    usable = np.ones(len(windows.windows), dtype=bool)
    for day in days:
        trials, shape = trials_of(day.eid), (len(usable), len(day.fovs))
        if not len(trials["stimOn_times"]):
            raise DataError("the session has no trials", eid=day.eid, do="Leave it out, or embed the activity in time")
        even, odd = (np.full(shape, np.nan, np.float32) for _ in range(2))
        n_even, n_odd = (np.zeros(shape, np.int32) for _ in range(2))
        for cells in day.of_fovs(windows.use_flagged_frames):
            try:
                means = responses.trial_type_means(cells, trials, windows)
            except ArgumentError as error:  # an event that trials do not have
                raise DataError(str(error), eid=day.eid) from error
            at = (slice(None), cells.columns)
            even[at], odd[at], n_even[at], n_odd[at] = means.even, means.odd, means.n_even, means.n - means.n_even
        usable &= responses.common_windows(n_even, n_odd, min_trials)
        found.append((day.eid, even, odd))
    if usable.sum() < 2:  # a single mean is no vector
        raise DataError(
            "too few kinds of trials are frequent enough on all days",
            expected=f"2 windows or more with {min_trials} trials in each half", found=f"{usable.sum()}",
            do="Lower min_trials, leave out sessions with few trials, or embed the activity in time",
        )  # fmt: skip
    names = [name for name, is_usable in zip(windows.windows, usable.tolist(), strict=True) if is_usable]
    return names, [(eid, even[usable], odd[usable]) for eid, even, odd in found]
