"""UID files on an SFTP server; needs paramiko."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from pipeline.tracking.mirror.credentials import Credentials
from pipeline.tracking.mirror.files import Tree
from pipeline.tracking.mirror.sources import CONNECT_TIMEOUT, READ_TIMEOUT, SourceError


class Sftp(Tree):
    """A tree on a host that is listed in ``~/.ssh/known_hosts``.

    Logs in with the credentials if given, else with SSH keys (from the agent, or in ``~/.ssh``), as the user that
    ``~/.ssh/config`` gives for the host, else as the current user.
    """

    def __init__(self, address: str, credentials: Credentials | None) -> None:
        self._host = urlsplit(address)
        super().__init__(address, self._host.path)
        self._credentials = credentials

    def _connect(self) -> SFTPFileSystem:
        given = self._credentials
        return _KnownHosts(
            self._host.hostname,
            port=self._host.port or paramiko.config.SSH_PORT,
            username=given.user if given else _user_of(self._host.hostname or ""),
            password=given.password if given else None,
            # with a password no keys are tried: each counts as a failed attempt, and servers allow few
            allow_agent=given is None,
            look_for_keys=given is None,
            timeout=CONNECT_TIMEOUT,
            banner_timeout=CONNECT_TIMEOUT,
            auth_timeout=READ_TIMEOUT,
            skip_instance_cache=True,  # fsspec's cache of instances would keep the password
        )

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self._connected is not None:
            self._connected.client.close()
            self._connected = None

    def _explain(self, error: Exception) -> SourceError:
        match error:
            case paramiko.BadHostKeyException():
                return SourceError("presents a key that differs from the one in ~/.ssh/known_hosts", "host")
            case paramiko.AuthenticationException() | paramiko.PasswordRequiredException():
                return SourceError("refuses the log-in", "login")
            case (
                paramiko.SSHException() | EOFError() | socket.gaierror() | ConnectionError() | TimeoutError()
                | OSError(errno=None)  # paramiko raises it when no address of the host answers or the socket is closed
            ):  # fmt: skip
                self.close()  # the next try needs a new connection
                return SourceError("cannot be reached (connection refused or lost)", transient=True)
        return super()._explain(error)


class _KnownHosts(SFTPFileSystem):
    """fsspec's SFTP file system, restricted to hosts in ``~/.ssh/known_hosts``; it would accept any host key."""

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        self.client.load_system_host_keys()
        self.client.set_missing_host_key_policy(_Refuse())
        try:
            self.client.connect(self.host, **self.ssh_kwargs)
            self.ftp = self.client.open_sftp()
        except BaseException:
            self.client.close()
            raise
        # paramiko's default is to wait for ever
        self.ftp.get_channel().settimeout(READ_TIMEOUT)


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise SourceError("is not in ~/.ssh/known_hosts", "host")


def _user_of(host: str) -> str | None:
    """Return the user that ``~/.ssh/config`` gives for a host."""
    settings = Path("~/.ssh/config").expanduser()
    return paramiko.SSHConfig.from_path(str(settings)).lookup(host).get("user") if settings.is_file() else None
