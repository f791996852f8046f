"""The states of jobs, runs and workers, by the words that the database and the reports have for them."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """The status of a job in DataJoint's job tables, of which these are the whole list."""

    PENDING = "pending"  # to be run; not before its scheduled_time
    RESERVED = "reserved"  # a worker, whose id is in the column `version`, is running it
    ERROR = "error"  # failed, and not tried again until `meso retry`
    SUCCESS = "success"  # never in our tables: a job that is done is deleted when its rows are inserted
    IGNORE = "ignore"  # set by hand: no worker takes it


class Status(StrEnum):
    """What came of running a job."""

    DONE = "done"  # its rows are in the database
    SKIPPED = "skipped"  # another worker has it, or had it first
    FAILED = "failed"  # an error that another try would meet again: the job has the status `error`
    POSTPONED = "postponed"  # a lost connection, deadlock or full disk: pending again, and tried later


class EndReason(StrEnum):
    """Why a worker has ended, in the column `end_reason`."""

    FINISHED = "finished"  # nothing was left to do, or it was told to end after its job
    STOPPED = "stopped"  # by Ctrl-C, SIGTERM or its supervisor: its job is pending again, without a mark
    KILLED = "killed"  # its supervisor saw the process end by itself: counts as a death of its job
    SILENT = "silent"  # no heartbeats, seen by another worker: counts as a death of its job


class WorkerState(StrEnum):
    """The state of a worker that has not ended; one that has is reported with its ``EndReason``."""

    WORKING = "working"  # has reserved a job
    IDLE = "idle"  # has none, and beats
    DEAD = "dead"  # its process has gone, or its heartbeats did not come: what it had reserved is not released yet
