"""Reading and inserting rows with large bytes, as fast as each server's client allows.

psycopg2 converts bytes to hexadecimal text and back on one core; PostgreSQL's binary COPY transfers them unchanged and
is several times faster. PyMySQL reads a whole result into memory unless its cursor is unbuffered, and sends bytes in
hexadecimal, which the server parses slowly. ``docs/operation/store.md`` has the measurements.
"""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import datajoint as dj
import numpy as np

from schemas.server.dialect import dialect

# PostgreSQL's binary COPY (its manual, "COPY, Binary Format"): a signature, 8 bytes of flags and header extension, then
# for each row the number of fields and for each field its length and bytes; -1 instead of the number of fields ends it.
COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
COPY_HEADER_BYTES = len(COPY_SIGNATURE) + 8
FIELD_LENGTH = struct.Struct("!i")
N_FIELDS = struct.Struct("!h")
#: Binary forms of PostgreSQL's integer types; text and bytes are sent as they are.
INTEGER_FORMS = {"smallint": struct.Struct("!h"), "integer": struct.Struct("!i"), "bigint": struct.Struct("!q")}
INTEGER_FORM_OF_SIZE = {form.size: form for form in INTEGER_FORMS.values()}
#: Those of all its types of numbers.
NUMBER_FORMS = {**INTEGER_FORMS, "double precision": struct.Struct("!d")}
#: Functions that give the bytes of PostgreSQL's numbers, and numpy's types of these bytes and of the numbers.
SENT_BY: dict[str, tuple[str, str, type]] = {
    "smallint": ("int2send", ">i2", np.int64), "integer": ("int4send", ">i4", np.int64),
    "bigint": ("int8send", ">i8", np.int64), "double precision": ("float8send", ">f8", np.float64),
    "boolean": ("boolsend", "?", np.bool_),
}  # fmt: skip
#: Length of a field that is NULL.
NULL_FIELD = FIELD_LENGTH.pack(-1)
#: Bytes of arrays, and rows, after which an INSERT of MySQL is sent; it refuses packets above 64 MB by default.
STATEMENT_BYTES = 2_000_000
STATEMENT_ROWS = 5_000
#: Bytes that psycopg2 asks for at a time in a COPY to the server.
COPY_BUFFER_BYTES = 1 << 20


def columns(query: dj.QueryExpression, *names: str, order_by: Sequence[str]) -> list[np.ndarray]:
    """Return columns of numbers or text as arrays (n,), one for each name.

    DataJoint's ``to_arrays`` does the same through a dict for each row, which takes 20 times as long.

    Parameters
    ----------
    query : dj.QueryExpression
    names : str
    order_by : sequence of str
        Columns.
    """
    columns_of = _columns_as_bytes if query.connection.adapter.backend == "postgresql" else _columns_as_json
    return columns_of(query, names, order_by) or [np.empty(0, int) for _ in names]


def _columns_as_bytes(query: dj.QueryExpression, names: Sequence[str], order_by: Sequence[str]) -> list[np.ndarray]:
    """Return the columns, each sent by PostgreSQL as bytes of all its numbers: psycopg2 reads rows value by value."""
    quote, columns = query.connection.adapter.quote_identifier, [query.heading[name] for name in names]
    if not all(column.type in SENT_BY for column in columns):
        return _columns_by_row(query, names, order_by)
    numbers = [f"{SENT_BY[column.type][0]}({quote(column.name)})" for column in columns]
    are_null = [f"boolsend({quote(column.name)} IS NULL)" for column in columns if column.nullable]
    sent = ", ".join(f"string_agg({data}, ''::bytea)" for data in [*numbers, *are_null])
    rows = f"{query.make_sql([*dict.fromkeys([*names, *order_by])])} ORDER BY {', '.join(map(quote, order_by))}"
    n, *found = query.connection.query(f"SELECT count(*), {sent} FROM ({rows}) AS found").fetchone()
    masks, arrays = iter(found[len(columns) :]), []
    for column, data in zip(columns, found[: len(columns)] if n else (), strict=bool(n)):
        _, stored, dtype = SENT_BY[column.type]
        values: np.ndarray = np.frombuffer(data or b"", stored).astype(dtype)
        is_null = next(masks) if column.nullable else None
        if len(values) < n:  # NULL is not sent
            if is_null is None:  # of an outer join, whose heading does not tell
                return _columns_by_row(query, names, order_by)
            values, there = np.full(n, None), values
            values[~np.frombuffer(is_null, bool)] = there
        arrays.append(values)
    return arrays


def _columns_by_row(query: dj.QueryExpression, names: Sequence[str], order_by: Sequence[str]) -> list[np.ndarray]:
    quoted = ", ".join(map(query.connection.adapter.quote_identifier, order_by))
    rows = query.connection.query(f"{query.make_sql(list(names))} ORDER BY {quoted}").fetchall()
    return [np.array(column) for column in zip(*rows, strict=True)] if rows else []


def _columns_as_json(query: dj.QueryExpression, names: Sequence[str], order_by: Sequence[str]) -> list[np.ndarray]:
    """Return the columns, each sent by MySQL as one array in JSON: PyMySQL reads rows value by value, in Python."""
    every = list(dict.fromkeys([*names, *order_by]))
    arrays = ", ".join(f"JSON_ARRAYAGG({query.connection.adapter.quote_identifier(name)})" for name in every)
    row = query.connection.query(f"SELECT {arrays} FROM ({query.make_sql(every)}) AS found").fetchone()
    if row[0] is None:
        return []
    found = dict(zip(every, (np.array(json.loads(column)) for column in row), strict=True))
    # here, as the server orders neither a query in a query nor what it aggregates; text in the order of its characters
    order = np.lexsort([found[name] for name in reversed(order_by)])
    return [found[name][order] for name in names]


def joined(query: dj.QueryExpression, group: str, number: str, data: str) -> list[tuple[int, np.ndarray, bytes]]:
    """Return for each value of a column the numbers of its rows, ascending, and their bytes one after the other.

    For many rows of few bytes: a row for each group is sent. MySQL cuts off what is longer than its largest packet.

    Parameters
    ----------
    query : dj.QueryExpression
    group, number, data : str
        Columns: of integers, of integers, of bytes.
    """
    connection = query.connection
    names = [connection.adapter.quote_identifier(name) for name in (group, number, data)]
    columns = dialect(connection).joined.format(group=names[0], number=names[1], data=names[2])
    rows = connection.query(
        f"SELECT {columns} FROM ({query.make_sql([group, number, data])}) AS found GROUP BY {names[0]}"
    ).fetchall()
    return [(key, np.array([int(n) for n in numbers.split(",") if n]), bytes(parts)) for key, numbers, parts in rows]


def stream(query: dj.QueryExpression, *names: str, take: Callable[..., None]) -> None:
    """Call ``take`` with some columns of each row; memory holds one row at a time.

    Parameters
    ----------
    query : dj.QueryExpression
    names : str
        Columns of integers, and as the last a column of bytes.
    take : callable
        Called with the values of a row in the order of ``names``. If it raises, reading ends.
    """
    connection = query.connection
    sql = query.make_sql(list(names))
    connection.query("SELECT 1")  # lets DataJoint reconnect: below its connection is used directly
    if connection.adapter.backend == "postgresql":
        with connection._conn.cursor() as cursor:
            # in the transaction of the connection, if one is open
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
        with suppress(Exception):  # close() reads the remaining rows, and may fail too: the first error matters
            cursor.close()
        raise
    except BaseException:  # interrupted: close the connection, or the next query would read the remaining rows
        cursor.connection = None
        connection._force_close()
        raise
    cursor.close()


class _Rows:
    """A file for psycopg2 to write a binary COPY to: each call has one row, the first also the header."""

    def __init__(self, take: Callable[..., None]) -> None:
        self.take = take

    def write(self, message: bytes) -> int:
        # PostgreSQL sends each row in a message of its own, and psycopg2 passes the messages on one by one
        at = COPY_HEADER_BYTES if message.startswith(COPY_SIGNATURE) else 0
        if len(message) - at > N_FIELDS.size:  # otherwise it is the end mark, -1
            self.take(*_values(message, at))
        return len(message)


def _values(message: bytes, at: int) -> list[int | bytes]:
    """Return the values of the row that begins at a position of a message: integers, and bytes as the last."""
    n_fields = N_FIELDS.unpack_from(message, at)[0]
    at += N_FIELDS.size
    values: list[int | bytes] = []
    for field in range(n_fields):
        size = FIELD_LENGTH.unpack_from(message, at)[0]
        at += FIELD_LENGTH.size
        is_last = field == n_fields - 1
        values.append(message[at : at + size] if is_last else INTEGER_FORM_OF_SIZE[size].unpack_from(message, at)[0])
        at += size
    return values


def insert(table: dj.Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows of text, numbers and bytes in the open transaction; memory holds few rows at a time.

    Parameters
    ----------
    table : dj.Table
    rows : iterable of dict
        All with the same columns in the same order; arrays as ``schemas.storage.codec.Packed``, numbers also None.
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


def insert_plain(table: dj.Table, rows: Iterable[dict[str, Any]], blob: str) -> None:
    """Insert few rows as DataJoint does, but one of their blobs uncompressed, in the open transaction.

    For times and other floats, of which zlib saves a tenth, and takes 20 times as long to read them. DataJoint reads
    both forms.

    Parameters
    ----------
    table : dj.Table
    rows : iterable of dict
        All with the same columns in the same order: text, numbers, None; arrays for blobs, dicts for JSON.
    blob : str
        The column that is not compressed.
    """
    for row in rows:
        values = {
            name: dj.blob.pack(value, compress=name != blob) if isinstance(value, np.ndarray)
            else json.dumps(value) if isinstance(value, dict) else value
            for name, value in row.items()
        }  # fmt: skip
        names = ", ".join(table.connection.adapter.quote_identifier(name) for name in values)
        marks = ", ".join(["%s"] * len(values))
        table.connection.query(
            f"INSERT INTO {table.full_table_name} ({names}) VALUES ({marks})", args=[*values.values()]
        )


def _insert_statement(table: dj.Table, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Insert rows by one statement, with bytes in base64, which MySQL parses nearly twice as fast as hexadecimal."""
    names = ", ".join(table.connection.adapter.quote_identifier(name) for name in columns)
    placeholders = ", ".join("FROM_BASE64(%s)" if isinstance(value, bytes) else "%s" for value in rows[0].values())
    values = [
        b64encode(value).decode() if isinstance(value, bytes) else value for row in rows for value in row.values()
    ]
    table.connection.query(
        f"INSERT INTO {table.full_table_name} ({names}) VALUES " + ", ".join([f"({placeholders})"] * len(rows)),
        args=values,
    )


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows in batches that are small enough for one statement."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        # of a row only bytes count: its other values are small
        size += sum(len(value) for value in row.values() if isinstance(value, bytes))
        if size > STATEMENT_BYTES or len(batch) == STATEMENT_ROWS:
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
    # a binary COPY does not convert: a number must have the form of its column
    forms = [NUMBER_FORMS.get(dict(types)[name]) for name in columns]
    with table.connection._conn.cursor() as cursor:
        statement = f"COPY {table.full_table_name} ({names}) FROM STDIN (FORMAT binary)"
        source = _PartsFile(_copied(rows, forms))
        try:
            cursor.copy_expert(statement, source, COPY_BUFFER_BYTES)
        except Exception as error:  # of psycopg2, also when a row could not be made: then that error is the reason
            raise source.error or error from None


def _copied(rows: Iterable[dict[str, Any]], forms: list[struct.Struct | None]) -> Iterator[bytes]:
    """Yield the parts of a binary COPY of rows."""
    yield COPY_SIGNATURE + bytes(8)
    for row in rows:
        yield N_FIELDS.pack(len(forms))
        for value, form in zip(row.values(), forms, strict=True):
            if value is None:
                yield NULL_FIELD
                continue
            data = form.pack(value) if form else value.encode() if isinstance(value, str) else value
            yield FIELD_LENGTH.pack(len(data)) + data
    yield N_FIELDS.pack(-1)


class _PartsFile:
    """A file for psycopg2 to read a COPY from, made of parts.

    psycopg2 replaces an error that ``read`` raises by one of its own, so it is kept in ``error``.
    """

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
