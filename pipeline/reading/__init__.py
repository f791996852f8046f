"""Read IBL mesoscope sessions through ONE and check every dataset, so that no bad input reaches the database."""

from pipeline.reading.behavior import Trials, Wheel, against_wheel, read_trials, read_wheel
from pipeline.reading.changes import (
    Change,
    changes,
    clock_changes,
    fov_datasets,
    half_aligned,
    half_extracted,
    has_times,
    is_measured,
    trial_datasets,
    wheel_datasets,
)
from pipeline.reading.client import (
    SessionInfo,
    check_place,
    find_sessions,
    fov_folders,
    identify,
    open_one,
    place_of,
    session_folder,
    session_info,
    unlisted_folders,
    unread_folders,
)
from pipeline.reading.datasets import SessionReader, Source, without_revision
from pipeline.reading.fov import Fluorescence, FOVData, fluorescence_datasets, read_fluorescence, read_fov
from pipeline.reading.names import Place

__all__ = [
    "Change",
    "FOVData",
    "Fluorescence",
    "Place",
    "SessionInfo",
    "SessionReader",
    "Source",
    "Trials",
    "Wheel",
    "against_wheel",
    "changes",
    "check_place",
    "clock_changes",
    "find_sessions",
    "fluorescence_datasets",
    "fov_datasets",
    "fov_folders",
    "half_aligned",
    "half_extracted",
    "has_times",
    "identify",
    "is_measured",
    "open_one",
    "place_of",
    "read_fluorescence",
    "read_fov",
    "read_trials",
    "read_wheel",
    "session_folder",
    "session_info",
    "trial_datasets",
    "unlisted_folders",
    "unread_folders",
    "wheel_datasets",
    "without_revision",
]
