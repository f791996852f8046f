"""Open the source that an address names; addresses that are ambiguous or may hold a secret are refused."""

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
    """Return the source at a folder or address, with `credentials` or those in the environment.

    Raises
    ------
    ConfigError
        The folder does not exist, the address or the credentials are refused, or an optional package is missing.
    """
    text = os.fspath(source)
    # two letters or more before the colon: C:/ is a folder on Windows
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
            f"Reading {scheme}:// needs a package that is not installed ({error}). "
            f"Install it with: pip install '.[{scheme}]'"
        ) from error
    return Web(address, credentials)


def _folder(text: str) -> Folder:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        # An address that lacks its scheme ends up here, and may hold a password: it is not shown.
        shown = "The UID source" if "@" in text else f"The UID source {path}"
        raise ConfigError(f"{shown} is not a folder. Give a folder, or an http(s)://, sftp:// or s3:// address.")
    return Folder(path)


def _checked(text: str) -> str:
    """Return an address in normal form, ending in ``/``.

    A refused address is never shown: it may hold a password that cannot be located reliably.
    """
    # before the address is parsed: a password may hold characters that move the parts of an address
    if "@" in text:
        raise ConfigError(
            "The address of the UID source must not hold credentials (no '@'). "
            "Set MESO_UID_USER and MESO_UID_PASSWORD, or MESO_UID_CREDENTIALS, instead."
        )
    try:
        parts = urlsplit(text)
        host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
    except ValueError:
        parts, host = urlsplit(""), ""
    good = parts.scheme in ("http", "https", "sftp", "s3") and _HOST.fullmatch(host)
    if not good or parts.query or parts.fragment or re.search(r"[\\\s\x00-\x1f?#]", text):
        raise ConfigError(
            "The address of the UID source is invalid. Give it as http(s)://host[:port]/folder/, "
            "sftp://host[:port]/folder/ or s3://bucket/folder/, without query or fragment."
        )
    # urljoin resolves '..', but only for schemes that it knows, which s3 is not: so it is given http
    plain = urljoin(f"http://{parts.netloc.lower()}{parts.path.rstrip('/')}/", ".")
    return parts.scheme + plain.removeprefix("http")
