"""Find a subject's UID files at a source; only folders and files with expected names are visited."""

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

#: What the user can do, by kind of `SourceError`.
_WHAT_TO_DO = {
    "login": "Set MESO_UID_USER and MESO_UID_PASSWORD, or MESO_UID_CREDENTIALS, and check them",
    "forbidden": "Ask its administrator for permission to read it and to list its folders",
    "redirect": "Give the address that it redirects to; if that is a log-in page, this source cannot be mirrored",
    "host": "Connect to it once with ssh, and accept its key if the fingerprint is the one given by its administrator",
}


@dataclass
class Found:
    """The UID files of a subject at the source, below `root`, and the folders that could not be listed."""

    root: str
    files: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def names(self, source: Source, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """List a folder; a failure is recorded, so that the other folders are still searched."""
        try:
            return source.names(self.root + folder, pattern)
        except SourceError as error:
            # A session without imaging may have no alf folder, which is not a failure.
            if error.kind != "missing":
                self.failed.append((folder, str(error)))
            return []


def find(source: Source, subject: str) -> Found:
    """Find the UID files of a subject directly below the source, else below ROICaT/, else below Subjects/.

    Raises
    ------
    ConfigError
        The source cannot be reached, or refuses access.
    DataError
        It does not have the subject, or no UID file of it.
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
                continue  # some servers answer this way for folders that do not exist
            break  # a failed connection or log-in would fail for the other folders, too
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
        do = f"Give the folder that contains {subject}/, ROICaT/{subject}/ or Subjects/{subject}/"
        return DataError(problem, do=do)
    return DataError(
        f"The UID source {address} has no {UID_FILE} of subject {subject}",
        expected=f"{seen}<YYYY-MM-DD>/<NNN>/alf/FOV_XX/{UID_FILE}",
        found="none",
        do="Check that its sessions were tracked, and that the server lists its folders",
    )


def _walk(source: Source, root: str, dates: list[str]) -> Found:
    """Collect the UID files of all sessions on `dates` below `root`."""
    found = Found(root)
    for day in dates:
        for number in found.names(source, f"{day}/", _NUMBER):
            for fov in found.names(source, f"{day}/{number}/alf/", _FOV):
                folder = f"{day}/{number}/alf/{fov}/"
                names = found.names(source, folder, _FILE)
                if UID_FILE in names:  # silhouettes are useless without UIDs
                    found.files += [folder + name for name in names]
    return found


def _is_date(name: str) -> bool:
    try:  # the pattern lets 2024-13-45 pass
        date.fromisoformat(name)
    except ValueError:
        return False
    return True
