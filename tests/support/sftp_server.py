"""A real SFTP server in a thread: asyncssh's, which shares no code with paramiko, the client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import asyncssh


class _Server(asyncssh.SSHServer):
    """Takes one user, by password or key, and notes what it is shown."""

    def __init__(self, state: SimpleNamespace) -> None:
        self.state = state

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.state.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self.state.passwords.append((username, password))
        return (username, password) == self.state.wanted

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return (username, key.export_public_key()) in self.state.keys


class _Files(asyncssh.SFTPServer):
    """Notes which files are opened; breaks off once for each path in `breaking`, and lists none in `locked`."""

    def __init__(self, chan: asyncssh.SSHServerChannel, state: SimpleNamespace, root: Path) -> None:
        super().__init__(chan, chroot=str(root).encode())
        self.state = state

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs):
        name = path.decode()
        self.state.opened.append(name)
        if name in self.state.breaking:
            self.state.breaking.remove(name)
            self.connection.abort()
        return super().open(path, pflags, attrs)

    async def scandir(self, path: bytes):
        if path.decode().rstrip("/") in self.state.locked:
            raise asyncssh.SFTPPermissionDenied("no")
        async for name in super().scandir(path):
            yield name


@contextmanager
def running_sftp(root: Path, user: str, password: str) -> Iterator[SimpleNamespace]:
    """Serve a folder as ``sftp://127.0.0.1:<port>/``; `known` is its line of a known_hosts file."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    state = SimpleNamespace(
        wanted=(user, password), keys=[], passwords=[], opened=[], breaking=[], locked=[], connections=[]
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    async def listen():
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], server_factory=lambda: _Server(state), allow_scp=False,
            sftp_factory=lambda chan: _Files(chan, state, root),
        )  # fmt: skip

    async def stop():
        server.close()
        for connection in state.connections:
            connection.abort()
        await server.wait_closed()

    server = run(listen())
    state.port = server.get_port()
    state.url = f"sftp://127.0.0.1:{state.port}"
    state.known = f"[127.0.0.1]:{state.port} {key.export_public_key().decode()}"
    try:
        yield state
    finally:
        run(stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
