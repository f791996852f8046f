"""Mirror the cell UID files of a subject into a local folder, from a folder, http(s), SFTP or S3.

The mirror is ``<dest>/ROICaT/<subject>/<YYYY-MM-DD>/<NNN>/alf/FOV_XX/mpciROIs.clusterUIDs.csv``.

Each tracking run assigns new random UIDs, so a mirror must never mix files of two runs. A manifest with checksums
records where each local file came from; a file that has changed at the source is reported and not replaced unless
the caller asks for ``refresh=True``.

`sources` defines the interface of a source; `web`, `files`, `sftp` and `s3` implement it, and `addresses` chooses one.
`search` finds the files of a subject; `manifest` and `run` update the mirror.
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
