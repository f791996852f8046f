"""Rows with large bytes on the wire, as fast as each server's client can do it.

psycopg2 turns bytes into hexadecimal text and back, on one core; PostgreSQL's binary COPY takes them as they are,
several times as fast. PyMySQL reads a whole result into memory unless its cursor is unbuffered, and sends bytes as
hexadecimal, which the server parses slowly. ``docs/operation/store.md`` has the measurements.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import datajoint as dj
import numpy as np

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
LENGTH = struct.Struct("!i")
FIELDS = struct.Struct("!h")
#: Binary forms of PostgreSQL's types; others are text or bytes, as they are.
INTEGERS = {"smallint": struct.Struct("!h"), "integer": LENGTH, "bigint": struct.Struct("!q")}
#: Bytes of arrays in one statement of MySQL, whose packets have a limit: 64 MB by default.
STATEMENT_BYTES = 2_000_000
COPY_BUFFER = 1 << 20
BY_SIZE = {form.size: form for form in INTEGERS.values()}


def columns(query: dj.QueryExpression, *names: str, order_by: Sequence[str]) -> list[np.ndarray]:
    """Return columns of plain numbers or text as arrays: DataJoint's ``to_arrays`` goes through a dict for each row.

    Parameters
    ----------
    query : dj.QueryExpression
    names : str
    order_by : sequence of str
    """
    quoted = ", ".join(map(query.connection.adapter.quote_identifier, order_by))
    rows = query.connection.query(f"{query.make_sql(list(names))} ORDER BY {quoted}").fetchall()
    return [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.empty(0, int) for _ in names]


def stream(query: dj.QueryExpression, *names: str, take: Callable[..., None]) -> None:
    """Call ``take`` with some columns of each row, holding one row at a time.

    Parameters
    ----------
    query : dj.QueryExpression
    names : str
        Columns of integers, and as the last one of bytes.
    take : callable
        An error that it raises ends the reading.
    """
    connection = query.connection
    sql = query.make_sql(list(names))
    connection.query("SELECT 1")  # reconnects if the server has gone
    if connection.adapter.backend == "postgresql":
        with connection._conn.cursor() as cursor:
            cursor.copy_expert(f"COPY ({sql}) TO STDOUT (FORMAT binary)", _Rows(take))
    else:
        _stream_mysql(connection._conn, sql, take)


def _stream_mysql(connection: Any, sql: str, take: Callable[..., None]) -> None:
    from pymysql.cursors import SSCursor

    cursor = connection.cursor(SSCursor)
    try:
        cursor.execute(sql)
        for row in cursor:
            take(*row)
    except Exception:
        with suppress(Exception):  # reads the rest, unless the connection is lost: the first error is the one to tell
            cursor.close()
        raise
    except BaseException:  # interrupted: the rest stays on the wire, and nobody else may read it
        cursor.connection = None
        connection._force_close()
        raise
    cursor.close()


class _Rows:
    """A file that PostgreSQL writes a binary COPY to: one row per call, the first after a header."""

    def __init__(self, take: Callable[..., None]) -> None:
        self.take = take

    def write(self, message: bytes) -> int:
        at = len(SIGNATURE) + 8 if message.startswith(SIGNATURE) else 0
        if len(message) - at > FIELDS.size:  # else it is the end
            self.take(*_values(message, at))
        return len(message)


def _values(message: bytes, at: int) -> list[int | bytes]:
    """Return the values of a row: integers, and bytes as the last."""
    n_fields = FIELDS.unpack_from(message, at)[0]
    at += FIELDS.size
    values: list[int | bytes] = []
    for field in range(n_fields):
        size = LENGTH.unpack_from(message, at)[0]
        at += LENGTH.size
        is_last = field == n_fields - 1
        values.append(message[at : at + size] if is_last else BY_SIZE[size].unpack_from(message, at)[0])
        at += size
    return values


def insert(table: dj.Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows of text, integers and bytes in the transaction that is open, holding few at a time.

    Parameters
    ----------
    table : dj.Table
    rows : iterable of dict
        All with the same columns; arrays as ``schemas.storage.codec.Packed``.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    rows = chain([first], rows)
    if table.connection.adapter.backend == "postgresql":
        _copy_in(table, list(first), rows)
    else:
        for batch in _batches(rows):
            _insert_statement(table, list(first), batch)


def _insert_statement(table: dj.Table, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Insert with bytes in base64, which MySQL reads nearly twice as fast as hexadecimal."""
    names = ", ".join(table.connection.adapter.quote_identifier(name) for name in columns)
    is_bytes = [isinstance(value, bytes) for value in rows[0].values()]
    places = ", ".join("FROM_BASE64(%s)" if one else "%s" for one in is_bytes)
    values = [
        b64encode(value).decode() if isinstance(value, bytes) else value for row in rows for value in row.values()
    ]
    table.connection.query(
        f"INSERT INTO {table.full_table_name} ({names}) VALUES " + ", ".join([f"({places})"] * len(rows)), args=values
    )


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in statements that no server refuses for their size."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, bytes))
        if size > STATEMENT_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _copy_in(table: dj.Table, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    names = ", ".join(table.connection.adapter.quote_identifier(name) for name in columns)
    types = table.connection.query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        args=(table.database, table.table_name),
    ).fetchall()
    forms = [INTEGERS.get(dict(types)[name]) for name in columns]
    with table.connection._conn.cursor() as cursor:
        statement = f"COPY {table.full_table_name} ({names}) FROM STDIN (FORMAT binary)"
        source = _Bytes(_copied(rows, forms))
        try:
            cursor.copy_expert(statement, source, COPY_BUFFER)
        except Exception as error:
            raise source.error or error from None


def _copied(rows: Iterable[dict[str, Any]], forms: list[struct.Struct | None]) -> Iterator[bytes]:
    """Yield the parts of a binary COPY of rows."""
    yield SIGNATURE + bytes(8)
    for row in rows:
        yield FIELDS.pack(len(forms))
        for value, form in zip(row.values(), forms, strict=True):
            data = form.pack(value) if form else value.encode() if isinstance(value, str) else value
            yield LENGTH.pack(len(data)) + data
    yield FIELDS.pack(-1)


class _Bytes:
    """A file that PostgreSQL reads parts from; psycopg2 makes an error of its own of any that is raised here."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts, self.rest = parts, b""
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        gathered, length = [self.rest], len(self.rest)
        try:
            while length < size and (part := next(self.parts, None)) is not None:
                gathered.append(part)
                length += len(part)
        except BaseException as error:
            self.error = error
            raise
        data = b"".join(gathered)
        self.rest = data[size:]
        return data[:size]
