"""From what the user wrote to a source; addresses that may hold a secret or be read in two ways are refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from pipeline.errors import ConfigError
from pipeline.tracking.mirror.credentials import Credentials, credentials_from_environment
from pipeline.tracking.mirror.files import Folder
from pipeline.tracking.mirror.sources import Source
from pipeline.tracking.mirror.web import Web

_HOST = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")


def open_source(source: str, credentials: Credentials | None) -> Source:
    """Return the source at a folder or address, with `credentials` or those of the environment.

    Raises
    ------
    ConfigError
        There is no such folder; the address or the credentials are not acceptable; a package is missing.
    """
    text = os.fspath(source)
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        return _folder(text)
    address = _checked(text)
    credentials = credentials or credentials_from_environment()
    scheme = urlsplit(address).scheme
    try:
        if scheme == "sftp":
            from pipeline.tracking.mirror.sftp import Sftp

            return Sftp(address, credentials)
        if scheme == "s3":
            from pipeline.tracking.mirror.s3 import S3

            return S3(address, credentials)
    except ImportError as error:
        raise ConfigError(
            f"A package is needed to read {scheme}:// and is not here ({error}). "
            f"Install it with: pip install '.[{scheme}]'"
        ) from error
    return Web(address, credentials)


def _folder(text: str) -> Folder:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        # An address without its scheme ends here, and may hold a password.
        shown = "The source" if "@" in text else f"The source {path}"
        raise ConfigError(
            f"{shown} is not a folder. Give the folder of the UIDs, or their http(s)://, sftp:// or s3:// address."
        )
    return Folder(path)


def _checked(text: str) -> str:
    """Normalise an address, with ``/`` at its end.

    A refused address is never shown: where the password starts and ends in it is anyone's guess.
    """
    if "@" in text:
        raise ConfigError(
            "The address of the UID source must not hold credentials (no '@'). "
            "Set MESO_UID_USER and MESO_UID_PASSWORD, or MESO_UID_CREDENTIALS, and leave them out of it."
        )
    try:
        parts = urlsplit(text)
        host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
    except ValueError:
        parts, host = urlsplit(""), ""
    good = parts.scheme in ("http", "https", "sftp", "s3") and _HOST.fullmatch(host)
    if not good or parts.query or parts.fragment or re.search(r"[\\\s\x00-\x1f?#]", text):
        raise ConfigError(
            "The address of the UID source is not understood. Give it as http(s)://host[:port]/folder/, "
            "sftp://host[:port]/folder/ or s3://bucket/folder/, without query or fragment."
        )
    # urljoin takes '..' out, but does not know s3.
    plain = urljoin(f"http://{parts.netloc.lower()}{parts.path.rstrip('/')}/", ".")
    return parts.scheme + plain.removeprefix("http")
