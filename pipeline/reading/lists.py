"""Lists of sessions in text files, one name a line, as labs keep and mail them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import DataError
from pipeline.reading.datasets import read_bytes, read_text
from pipeline.reading.names import FORMS, SessionName, session_name

#: A comment: ``#`` at the start of a line or behind a space. Within a word it is part of a path.
COMMENT = re.compile(r"(^|\s)#.*")
#: What PowerShell writes.
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: Lines that an error lists.
MAX_LISTED = 10


def read_session_list(path: Path) -> dict[str, int]:
    """Return the names of the sessions in a list, with the number of the first line of each, from 1.

    Parameters
    ----------
    path : Path
        A text file. Blank lines and comments are skipped.

    Raises
    ------
    DataError
        A line is no name of a session, none is, or the file is not text.
    """
    content = read_bytes(path, dataset=str(path))
    if content.startswith(UTF_16):
        content = content.decode("utf-16", errors="replace").encode()
    names: dict[str, int] = {}
    for number, line in enumerate(read_text(content, dataset=str(path)).splitlines(), start=1):
        if text := COMMENT.sub("", line).strip().strip("\"'"):
            names.setdefault(text, number)
    bad = {text: "not in one of these forms" for text in names if session_name(text) == SessionName()}
    if bad or not names:
        raise bad_lines(path, names, bad)
    return names


def bad_lines(path: Path, names: Mapping[str, int], reasons: Mapping[str, str]) -> DataError:
    """Return the error for lines of a list that name no session.

    Parameters
    ----------
    path : Path
    names : mapping of str to int
        As ``read_session_list`` returns them.
    reasons : mapping of str to str
        By name, what is wrong with it.
    """
    listed = [f"line {names[text]}: {text[:200]!r}, {reason}" for text, reason in list(reasons.items())[:MAX_LISTED]]
    more = [f"{len(reasons) - MAX_LISTED} more lines"] if len(reasons) > MAX_LISTED else []
    return DataError(
        f"{len(reasons)} lines name no session" if reasons else "the list is empty", dataset=str(path),
        expected="a session a line", found="; ".join([*listed, *more]) or "comments and blank lines", do=FORMS,
    )  # fmt: skip
