"""Listening to the statements that reach the server; what the catalogue answers is not among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.server.connection import catalogue


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield the list of the statements that the block sends to the server."""
    sent: list[str] = []
    send = catalogue().send

    def listen(statement: str, *args, **kwargs):
        sent.append(statement)
        return send(statement, *args, **kwargs)

    catalogue().send = listen
    try:
        yield sent
    finally:
        catalogue().send = send
