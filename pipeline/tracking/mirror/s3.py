"""UID files in a bucket of S3; needs s3fs."""

from __future__ import annotations

import botocore.exceptions
import botocore.session
import s3fs

from pipeline.tracking.mirror.credentials import Credentials
from pipeline.tracking.mirror.files import Tree
from pipeline.tracking.mirror.sources import SourceError

#: Codes with which S3 refuses the key itself.
_BAD_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")


class S3(Tree):
    """A tree in a bucket; the server is AWS's, or the one that AWS_ENDPOINT_URL names.

    The credentials are key and secret. Without any, they are looked for where AWS's tools look, and the bucket is
    read as a public one if there are none. The secret is never sent: it signs. Failures that may pass are tried again
    by botocore.
    """

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        super().__init__(address, address.removeprefix("s3://"))
        self._credentials = credentials

    def _connect(self) -> s3fs.S3FileSystem:
        given = self._credentials
        return s3fs.S3FileSystem(
            key=given.user if given else None,
            secret=given.password if given else None,
            anon=given is None and botocore.session.get_session().get_credentials() is None,
            skip_instance_cache=True,  # which would keep the secret, and an old listing
        )

    def _explain(self, error: Exception) -> SourceError:
        cause = error.__cause__
        if isinstance(cause, botocore.exceptions.ClientError) and cause.response["Error"].get("Code") in _BAD_KEY:
            return SourceError("refuses the credentials", "login")
        if isinstance(error, botocore.exceptions.BotoCoreError):
            return SourceError(f"cannot be reached ({type(error).__name__})")
        return super()._explain(error)
