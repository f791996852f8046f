"""UID files in an S3 bucket; needs s3fs."""

from __future__ import annotations

import botocore.exceptions
import botocore.session
import s3fs

from pipeline.tracking.mirror.credentials import Credentials
from pipeline.tracking.mirror.files import Tree
from pipeline.tracking.mirror.sources import SourceError

#: Error codes of S3 that mean a wrong key or secret, not a missing permission.
_BAD_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")


class S3(Tree):
    """A tree in a bucket of AWS, or of the server named by AWS_ENDPOINT_URL.

    The credentials are access key and secret; by default those that the AWS tools would find, and without any the
    bucket is read anonymously. The secret is never sent: requests are signed with it. botocore retries transient
    failures.
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
            skip_instance_cache=True,  # fsspec's cache of instances would keep the secret and outdated listings
        )

    def _explain(self, error: Exception) -> SourceError:
        cause = error.__cause__
        if isinstance(cause, botocore.exceptions.ClientError) and cause.response["Error"].get("Code") in _BAD_KEY:
            return SourceError("refuses the credentials", "login")
        if isinstance(error, botocore.exceptions.BotoCoreError):
            return SourceError(f"cannot be reached ({type(error).__name__})")
        return super()._explain(error)
