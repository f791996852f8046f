"""What a server says when it cannot be used, in one sentence; the wordings are those of MySQL and PostgreSQL."""

from __future__ import annotations

import re

from datajoint.errors import AccessError

#: What is wrong and what to do, by what one of the servers says.
SENTENCES = {
    r"too many clients|connection slots are reserved|Too many connections|max_user_connections": (
        "all its connections are taken: close notebooks and workers that are no longer needed, or raise max_connections"
    ),
    r"No space left on device|disk is full|disk full|The table '.*' is full|[Ee]rr(no|code): 28\b": (
        "its disk is full: make room, and run the command again"
    ),
    r"Disk quota exceeded|[Ee]rr(no|code): 122\b": "the disk quota of its account is used up: make room, and try again",
    r"files are incompatible with server|initialized by PostgreSQL version": (
        "the files are of another major version of PostgreSQL: meso db upgrade converts older ones"
    ),
    r'pre-existing shared memory block|lock file "postmaster.pid" already exists': (
        "a part of a killed server still runs in this folder: end its processes postgres, and try again"
    ),
    r"data directory .* has (invalid permissions|wrong ownership)": (
        "its folder must belong to the account that runs it, and be closed to others: chmod 700"
    ),
    r"super.read.only|read.only transaction|--read-only|recovery is in progress": (
        "it takes no changes now (read-only): ask who runs it, or wait"
    ),
    r"BINLOG_FORMAT = STATEMENT": (
        "its binary log is in the format STATEMENT, which cannot hold what is written here: set binlog_format = ROW, "
        "MySQL's default"
    ),
    r"Read-only file system": "its disk is read-only",
    r"Peer authentication failed|no pg_hba.conf entry": "it does not let this account in from here",
    r"the database system is (starting up|shutting down|in recovery)": (
        "it is starting or stopping: try again in a moment"
    ),
}


def in_words(text: str) -> str | None:
    """Return one sentence for a server's message, or None if it is not among those known."""
    return next((sentence for pattern, sentence in SENTENCES.items() if re.search(pattern, text)), None)


def text_of(error: BaseException) -> str:
    """Return the messages of an error and of those that led to it."""
    texts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        texts.append(" ".join(map(str, seen.args)).strip())
        seen = seen.__cause__ or seen.__context__
    return "\n".join(filter(None, texts))


def sentence(error: BaseException) -> str | None:
    """Return one sentence for an error of a server or its client; None if it is of something else, or not known."""
    from schemas.server.reconnection import is_lost

    if type(error).__module__.partition(".")[0] not in ("psycopg2", "pymysql", "datajoint"):
        return None
    if isinstance(error, AccessError):
        reason = str(error.args[1]).splitlines()[0]  # the server's own message
        return f"This account lacks the permission ({reason}); see docs/operation/roles.md"
    if words := in_words(text_of(error)):
        return f"The database cannot be used: {words}"
    if is_lost(error):
        said = text_of(error).splitlines()[0]
        return (
            f"The connection to the database was lost ({said}): see 'meso db status', and run the command again, which "
            f"goes on where this one ended"
        )
    return None
