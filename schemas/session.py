"""Subjects, sessions and behaviour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np

from pipeline import reading
from pipeline.errors import ConfigError, DataError
from pipeline.reading.behavior import TRIAL_ATTRIBUTES, VELOCITY_RATE, column_name
from schemas.cascade import WholeDelete
from schemas.provenance import now
from schemas.rows import SourceFile, number
from schemas.server.settings import one_cache_dir

schema = dj.Schema()


@schema
class Subject(WholeDelete, dj.Manual):
    definition = """
    # a mouse
    subject : varchar(64)
    ---
    lab='' : varchar(64)
    """


@schema
class Session(WholeDelete, dj.Manual):
    definition = """
    # a session, as ONE knows it
    eid : char(36)                      # experiment id of ONE
    ---
    -> Subject
    session_date : date
    session_number : int16
    task_protocol='' : varchar(255)
    projects='' : varchar(255)
    one_cache_dir='' : varchar(512)     # ONE cache it was registered from, '' for a remote database
    ingested_at : datetime(6)         # UTC
    unique index (subject, session_date, session_number)
    """

    @classmethod
    def register(cls, one: Any, eid: str, cache_dir: str | None) -> bool:
        """Insert a session, its subject and its FOV folders; return whether a FOV folder was new.

        Parameters
        ----------
        one : ONE
            The client.
        eid : str
        cache_dir : str or None
            ONE cache that ``one`` reads; None for a remote database.

        Raises
        ------
        DataError
            ONE does not know the session, it has no FOV folder, or it is registered under another id.
        """
        info = reading.session_info(one, eid)
        folders = reading.fov_folders(one, eid)
        if not folders:
            raise DataError("the session has no imaging", eid=eid, expected="collections alf/FOV_XX", found="none")
        known = (FOVFolder & {"eid": info.eid}).to_arrays("fov")
        new = [{"eid": info.eid, "fov": n, "collection": c} for n, c in folders.items() if n not in known]
        row = {name: getattr(info, name) for name in cls.heading.names if hasattr(info, name)}
        row |= {"one_cache_dir": cache_dir or "", "ingested_at": now()}
        cls._check_identity(info)
        with cls.connection.transaction:
            Subject.insert1({"subject": info.subject, "lab": info.lab}, skip_duplicates=True)
            if not (cls & {"eid": info.eid}):
                cls.insert1(row)
            elif (cls & {"eid": info.eid}).fetch1("one_cache_dir") != row["one_cache_dir"]:
                cls.update1({"eid": info.eid, "one_cache_dir": row["one_cache_dir"]})  # the data moved
            FOVFolder.insert(new)
        return bool(new)

    @classmethod
    def _check_identity(cls, info: reading.SessionInfo) -> None:
        """Refuse a second id for the same session: ONE's make_parquet_db gives sessions new random ids at each run."""
        names = ("subject", "session_date", "session_number")
        for eid in (cls & {name: getattr(info, name) for name in names}).to_arrays("eid"):
            if eid != info.eid:
                raise DataError(
                    f"{info.subject} {info.session_date} {info.session_number:03d} is registered under another id",
                    eid=info.eid,
                    found=eid,
                    do="Use ONE tables with the ids of the IBL database, or with ids that stay the same",
                )


@schema
class FOVFolder(WholeDelete, dj.Manual):
    definition = """
    # a FOV folder that ONE lists
    -> Session
    fov : int16
    ---
    collection : varchar(64)            # alf/FOV_XX
    """


def one_for(eid: str, registered_from: str | None = None) -> Any:
    """Return the ONE client for a session, on the cache it was registered from or else on MESO_ONE_CACHE_DIR.

    Parameters
    ----------
    eid : str
    registered_from : str, optional
        The session's ``one_cache_dir``; read from the database if not given.

    Raises
    ------
    ConfigError
        The cache is not on this machine, and MESO_ONE_CACHE_DIR is not set.
    """
    if registered_from is None:
        registered_from = (Session & {"eid": eid}).fetch1("one_cache_dir")
    here = bool(registered_from) and Path(registered_from).is_dir()
    cache_dir = registered_from if here else one_cache_dir()
    if registered_from and cache_dir is None:
        raise ConfigError(
            f"Session {eid} was registered from the ONE cache {registered_from}, which is not on this machine. "
            f"Set MESO_ONE_CACHE_DIR to where it is mounted here"
        )
    return reading.open_one(cache_dir)


class ReadsSession:
    """Mixin for tables read from a session's files with DataJoint's three-part make.

    Files are read in ``make_compute``, while no transaction is open.
    """

    def make_fetch(self, key: dict) -> tuple:
        """Return the ONE cache that the session was registered from."""
        return ((Session & key).fetch1("one_cache_dir"),)


@schema
class Behavior(ReadsSession, WholeDelete, dj.Imported):
    definition = """
    # trials of a session
    -> Session
    ---
    n_trials : int32
    performance=null : float64          # share of rewarded trials
    """

    class Trial(dj.Part):
        definition = """
        # one trial; times in s on the session clock, null where there is none
        -> master
        trial : int32
        ---
        intervals_0=null : float64
        intervals_1=null : float64
        go_cue_times=null : float64
        stim_on_times=null : float64
        stim_off_times=null : float64
        first_movement_times=null : float64
        response_times=null : float64
        feedback_times=null : float64
        choice=null : int8              # 1 left, -1 right, 0 no-go
        feedback_type=null : int8       # 1 reward, -1 error or no-go
        contrast_left=null : float64    # null when the stimulus is on the right
        contrast_right=null : float64
        probability_left=null : float64
        reward_volume=null : float64    # microlitre
        quiescence_period=null : float64
        task_collection : varchar(64)   # alf or alf/task_XX
        """

    class Source(SourceFile):
        pass

    def make_compute(self, key, registered_from):
        trials = reading.read_trials(one_for(key["eid"], registered_from), key["eid"])
        return trials, trials.sources

    @staticmethod
    def rows(key: dict, trials: reading.Trials) -> Iterator[dict]:
        """Yield the row of a session, as its files say."""
        feedback = trials.table["feedbackType"]
        yield {**key, "n_trials": len(feedback), "performance": number((feedback == 1).mean())}

    @staticmethod
    def trial_rows(key: dict, trials: reading.Trials) -> Iterator[dict]:
        """Yield the rows of a session's trials, as its files say."""
        for i, row in enumerate(trials.table.rename(columns=column_name).to_dict("records")):
            yield {**key, "trial": i, "task_collection": row.pop("collection"), **_trial_values(row)}

    def make_insert(self, key, trials, sources):
        self.insert(self.rows(key, trials))
        self.Trial.insert(self.trial_rows(key, trials))
        self.Source().insert_sources(key, sources)


def _trial_values(row: dict[str, float]) -> dict[str, float | int | None]:
    values = {name: number(value) for name, value in row.items()}
    # these two columns are int8
    return {n: int(v) if n in ("choice", "feedback_type") and v is not None else v for n, v in values.items()}


def trials_of(eid: str) -> dict[str, np.ndarray]:
    """Return the trials of a session by ALF attribute: each (n_trials,) float64, NaN for NULL, in trial order."""
    names = {column_name(attribute): attribute for attribute in TRIAL_ATTRIBUTES}
    columns = (Behavior.Trial & {"eid": eid}).to_arrays(*names, order_by="trial")
    return {
        attribute: np.array([np.nan if v is None else v for v in column], dtype=float)
        for attribute, column in zip(names.values(), columns, strict=True)
    }


@schema
class Wheel(ReadsSession, WholeDelete, dj.Imported):
    definition = f"""
    # wheel of a session
    -> Session
    ---
    wheel_timestamps : <blob>           # (M,) float64, s
    wheel_position : <blob>             # (M,) float64, rad, counter-clockwise positive
    velocity_start : float64            # time of the first velocity, s
    wheel_velocity : <blob>             # float32, rad/s, {VELOCITY_RATE} per s
    """

    class Source(SourceFile):
        pass

    def make_compute(self, key, registered_from):
        wheel = reading.read_wheel(one_for(key["eid"], registered_from), key["eid"])
        return wheel, wheel.sources

    @staticmethod
    def rows(key: dict, wheel: reading.Wheel) -> Iterator[dict]:
        """Yield the row of a session, as its files say."""
        yield {
            **key,
            "wheel_timestamps": wheel.timestamps,
            "wheel_position": wheel.position,
            "velocity_start": wheel.velocity_start,
            "wheel_velocity": wheel.velocity,
        }

    def make_insert(self, key, wheel, sources):
        self.insert(self.rows(key, wheel))
        self.Source().insert_sources(key, sources)


def wheel_velocity(eid: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return times (s) and velocity (rad/s) of the wheel, each (n,), or None if the session has no wheel data."""
    row = (Wheel & {"eid": eid}).to_dicts()
    if not row:
        return None
    velocity = row[0]["wheel_velocity"]
    return row[0]["velocity_start"] + np.arange(len(velocity)) / VELOCITY_RATE, velocity
