"""Read IBL mesoscope sessions through ONE and check every dataset, so that no bad input reaches the database."""

from pipeline.reading.behavior import Trials, Wheel, read_trials, read_wheel
from pipeline.reading.changes import Change, changes, fov_datasets, trial_datasets, wheel_datasets
from pipeline.reading.client import SessionInfo, find_sessions, fov_folders, open_one, session_info
from pipeline.reading.datasets import SessionReader, Source, without_revision
from pipeline.reading.fov import FOVData, read_fov

__all__ = [
    "Change",
    "FOVData",
    "SessionInfo",
    "SessionReader",
    "Source",
    "Trials",
    "Wheel",
    "changes",
    "find_sessions",
    "fov_datasets",
    "fov_folders",
    "open_one",
    "read_fov",
    "read_trials",
    "read_wheel",
    "session_info",
    "trial_datasets",
    "wheel_datasets",
    "without_revision",
]
