"""The states of jobs, runs and workers; the values are stored in the database and shown in reports."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """The status of a job in DataJoint's job tables; DataJoint allows no others."""

    PENDING = "pending"  # to be run, not before its scheduled_time
    RESERVED = "reserved"  # being run by the worker whose id is in the column `version`
    ERROR = "error"  # failed; not tried again until `meso retry`
    SUCCESS = "success"  # not used here: a job that is done is deleted when its rows are inserted
    IGNORE = "ignore"  # set by hand: no worker runs it


class Status(StrEnum):
    """The outcome of running a job."""

    DONE = "done"  # its rows are in the database
    SKIPPED = "skipped"  # another worker is running it, or has run it
    FAILED = "failed"  # an error that another try would meet again: the job now has the status `error`
    POSTPONED = "postponed"  # a lost connection, deadlock, full disk or ONE's server: pending again, tried later


class EndReason(StrEnum):
    """Why a worker has ended, in the column ``end_reason``."""

    FINISHED = "finished"  # no job was left, or it was asked to end after its current job
    STOPPED = "stopped"  # by Ctrl-C, SIGTERM or its supervisor: its job is pending again, no death is counted
    KILLED = "killed"  # its process ended unexpectedly, seen by its supervisor: counts as a death for its job
    SILENT = "silent"  # no heartbeats, seen by another worker: counts as a death for its job


class WorkerState(StrEnum):
    """The state of a worker that has not ended; an ended worker is reported with its ``EndReason``."""

    WORKING = "working"  # it has reserved a job
    IDLE = "idle"  # it has reserved no job, and sends heartbeats
    DEAD = "dead"  # its process is gone or its heartbeats stopped; its job is not released yet
