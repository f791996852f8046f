"""Where a subject's UID files are at a source: only folders and files of known names are looked into."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date

from pipeline.errors import ConfigError, DataError
from pipeline.tracking.mirror.sources import Source, SourceError
from pipeline.tracking.uids import SILHOUETTE, UIDS

UID_FILE = UIDS
OPTIONAL_FILES = (SILHOUETTE, "mpciROIs.sampleSilhouette.npy")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[0-9]{3}")
_FOV = re.compile(r"FOV_[0-9]{2}")
_FILE = re.compile("|".join(re.escape(name) for name in (UID_FILE, *OPTIONAL_FILES)))
#: Path of a file below its subject.
PATH = re.compile(rf"{_DATE.pattern}/{_NUMBER.pattern}/alf/{_FOV.pattern}/(?:{_FILE.pattern})")

_WHAT_TO_DO = {
    "login": "Set MESO_UID_USER and MESO_UID_PASSWORD, or MESO_UID_CREDENTIALS, and check them",
    "forbidden": "Ask for the right to read it, and that its folders may be listed",
    "redirect": "Give the address it leads to; if that is a log-in page, it cannot be mirrored from",
    "host": "Connect to it with ssh once, compare the fingerprint with the one its administrator gives, and accept it",
}


@dataclass
class Found:
    """The UID files of a subject at the source, below `root`, and the folders that could not be listed."""

    root: str
    files: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def names(self, source: Source, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """List a folder; a failure is noted and leaves the others alone."""
        try:
            return source.names(self.root + folder, pattern)
        except SourceError as error:
            # Below a session without imaging there is no alf: nothing to fetch, and no failure.
            if error.kind != "missing":
                self.failed.append((folder, str(error)))
            return []


def find(source: Source, subject: str) -> Found:
    """Find the subject directly below the source, else below ROICaT/, else below Subjects/.

    Raises
    ------
    ConfigError
        The source cannot be reached, or refuses.
    DataError
        It has no such subject, or no UID file of it.
    """
    refusal, seen = None, None
    for parent in ("", "ROICaT/", "Subjects/"):
        root = f"{parent}{subject}/"
        try:
            dates = [name for name in source.names(root, _DATE) if _is_date(name)]
        except SourceError as error:
            if error.kind == "missing":
                continue
            refusal = refusal or error
            if error.kind in ("forbidden", "redirect"):
                continue  # some servers answer so for folders that do not exist
            break
        seen = root
        found = _walk(source, root, dates)
        if found.files or found.failed:
            return found
    if refusal is not None:
        todo = _WHAT_TO_DO.get(refusal.kind, "Check the address and the network, then run again")
        raise ConfigError(f"The UID source {source.address} {refusal}. {todo}.") from None
    raise _nothing_there(source.address, subject, seen)


def _nothing_there(address: str, subject: str, seen: str | None) -> DataError:
    if seen is None:
        problem = f"The UID source {address} has no subject {subject}"
        return DataError(problem, do=f"Give the folder above {subject}/, ROICaT/{subject}/ or Subjects/{subject}/")
    return DataError(
        f"The UID source {address} has no {UID_FILE} of subject {subject}",
        expected=f"{seen}<YYYY-MM-DD>/<NNN>/alf/FOV_XX/{UID_FILE}",
        found="none",
        do="Check that its sessions were tracked, and that the server lists its folders",
    )


def _walk(source: Source, root: str, dates: list[str]) -> Found:
    found = Found(root)
    for day in dates:
        for number in found.names(source, f"{day}/", _NUMBER):
            for fov in found.names(source, f"{day}/{number}/alf/", _FOV):
                folder = f"{day}/{number}/alf/{fov}/"
                names = found.names(source, folder, _FILE)
                if UID_FILE in names:  # silhouettes mean nothing without the UIDs
                    found.files += [folder + name for name in names]
    return found


def _is_date(name: str) -> bool:
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True
