"""TLS to a lab's server: ``DJ_USE_TLS`` says whether, ``MESO_TLS_CA`` whether its certificate is verified.

| DJ_USE_TLS | the connection |
|---|---|
| unset | encrypted if the server can, without it otherwise; someone in between can prevent it |
| true | encrypted, or refused before the password is sent |
| false | not encrypted |
"""

from __future__ import annotations

import os
import ssl
from typing import Any

import datajoint as dj

from pipeline.errors import ConfigError

#: A file of certificates (PEM) that sign the server's, or "system" for those that this machine trusts.
CA = "MESO_TLS_CA"


def wanted() -> bool | None:
    """Return whether TLS is required (True), not used (False), or used if possible (None).

    Raises
    ------
    ConfigError
        The certificate is to be verified, but TLS is turned off or the file does not exist.
    """
    asked = dj.config["database.use_tls"]
    if not (ca := os.environ.get(CA)):
        return asked
    if asked is False:
        raise ConfigError(f"{CA} asks for a verified certificate, and DJ_USE_TLS=false for no TLS: unset one of them")
    if ca != "system" and not os.path.isfile(ca):  # noqa: PTH113
        raise ConfigError(f"{CA}={ca}: there is no such file; give a file of certificates (PEM), or 'system'")
    return True


def mysql(use_tls: Any) -> Any:
    """Return PyMySQL's argument for DataJoint's: False, or a context, with which it refuses a server without TLS."""
    if use_tls is None or use_tls is False:  # DataJoint turns False into None
        return False
    if not isinstance(use_tls, bool):
        return use_tls
    ca = os.environ.get(CA)
    context = ssl.create_default_context(cafile=None if ca == "system" else ca)
    # as PyMySQL: certificates that MySQL makes for itself lack an extension that this flag asks for
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not ca:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def postgresql(use_tls: Any) -> dict[str, str]:
    """Return libpq's options for DataJoint's argument."""
    if use_tls is None or use_tls is False:
        return {"sslmode": "disable"}
    if ca := os.environ.get(CA):
        return {"sslmode": "verify-full", "sslrootcert": ca}
    return {"sslmode": "require"}


def refusal(text: str) -> str | None:
    """Return why a connection with TLS was refused, as a sentence; None if TLS was not the reason."""
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text or "certificate for" in text:
        return f"its certificate is not one that {CA} trusts for this host name ({text.splitlines()[0]})"
    if "SSL is required but" in text or "does not support SSL" in text:  # PyMySQL's words, and libpq's
        return "TLS is required (DJ_USE_TLS=true), and the server, or something between, offers none"
    if "secure transport" in text or "SSL off" in text or "no encryption" in text:
        return "it requires TLS: set DJ_USE_TLS=true, or unset it"
    return None
