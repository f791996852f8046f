"""Read IBL mesoscope sessions through ONE and check every dataset, so that no bad input reaches the database."""

from pipeline.reading.behavior import Trials, Wheel, read_trials, read_wheel
from pipeline.reading.client import SessionInfo, find_sessions, fov_folders, identify, open_one, session_info
from pipeline.reading.datasets import SessionReader, Source
from pipeline.reading.fov import FOVData, read_fov

__all__ = [
    "FOVData",
    "SessionInfo",
    "SessionReader",
    "Source",
    "Trials",
    "Wheel",
    "find_sessions",
    "fov_folders",
    "identify",
    "open_one",
    "read_fov",
    "read_trials",
    "read_wheel",
    "session_info",
]
