"""The cross-day cell UID files of a subject, mirrored into a local tree from a folder, http(s), SFTP or S3.

The mirror is ``<dest>/ROICaT/<subject>/<YYYY-MM-DD>/<NNN>/alf/FOV_XX/mpciROIs.clusterUIDs.csv``.

UIDs are drawn anew at every tracking run, so files of two runs must never stand side by side. A manifest
with checksums tells which run a local file came from; a file that differs from it at the source is
reported and left alone until the caller asks for ``refresh=True``.

`sources` says what a source can do; `web`, `files`, `sftp` and `s3` are the sources, `addresses` chooses one;
`search` finds a subject in it; `manifest` and `run` keep the mirror.
"""

from pipeline.tracking.mirror.credentials import Credentials
from pipeline.tracking.mirror.manifest import MANIFEST
from pipeline.tracking.mirror.report import MirrorReport
from pipeline.tracking.mirror.run import mirror_uids, subject_folder
from pipeline.tracking.mirror.search import UID_FILE

__all__ = [
    "MANIFEST",
    "UID_FILE",
    "Credentials",
    "MirrorReport",
    "mirror_uids",
    "subject_folder",
]
