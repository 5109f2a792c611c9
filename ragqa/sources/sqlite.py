"""Tables and queries of any SQLite database, opened read-only: one document per row."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import quote

from ragqa.config import MAX_DOCUMENT
from ragqa.errors import RagqaError, UsageError
from ragqa.sources.records import record_document, settle_fields
from ragqa.sources.source import Fields, Item, Skipped, Source
from ragqa.sources.text import clean
from ragqa.sqlite_file import shared_connection
from ragqa.types import Document

_HEADER = b"SQLite format 3\0"
# A view may be a query that never ends. So long is waited for a row.
PATIENCE_S = 30.0
_STEPS = 100_000
# A value of a row, with all the others: what is no document but larger than one breaks the reading off.
_LONGEST_VALUE = 5 * MAX_DOCUMENT


class ReadOnlyConnection(sqlite3.Connection):
    """A connection whose statements are broken off when PATIENCE_S pass without a row."""

    def begin(self) -> Self:
        """Start the clock anew."""
        self._deadline = time.monotonic() + PATIENCE_S
        return self

    def execute(self, *args: Any, **options: Any) -> sqlite3.Cursor:
        return super(ReadOnlyConnection, self.begin()).execute(*args, **options)

    def guard(self) -> None:
        """Close what would let a query or a schema out of its file."""
        self.begin().set_progress_handler(lambda: time.monotonic() > self._deadline, _STEPS)
        self.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
            self.execute(f"PRAGMA {pragma}")


# What a query or a schema of others may raise: a warning is no error, and text may be no UTF-8.
FAILURES = (sqlite3.Error, sqlite3.Warning, ValueError)


def is_sqlite(path: Path) -> bool:
    """Tell whether the file begins as a SQLite database does."""
    with path.open("rb") as file:
        return file.read(len(_HEADER)) == _HEADER


def table_source(path: Path, table: str | None, fields: Fields) -> Source:
    """Return the rows of a table or view; without `--id` its primary key (or rowid) identifies them."""
    connection = open_read_only(path)
    kinds = dict(
        connection.execute(
            "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY type"
        )
    )
    if table is None or table not in kinds:
        connection.close()
        known = clean(", ".join(kinds)) or "none"
        lead = "Name a table with --table" if table is None else f"{path} has no table {table!r}"
        raise UsageError(f"{lead}. Tables there: {known}.")
    try:
        # Generated columns are among these, and the hidden ones of virtual tables.
        rows = connection.execute(f"PRAGMA table_xinfo({_quoted(table)})").fetchall()
    except FAILURES as error:
        connection.close()
        raise UsageError(f"The table {table} of {path} cannot be read: {clean(str(error))}.") from error
    columns = [name for _, name, *_, hidden in rows if hidden != 1]
    keys = [row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]]
    key = fields.id
    if key is None and kinds[table] == "table":
        key = keys[0] if len(keys) == 1 else None if keys else "rowid"
    select = ", ".join(map(_quoted, columns))
    if key == "rowid" and key not in columns:
        columns = ["rowid", *columns]
        select = f"rowid, {select}"
    settled = _settled(connection, replace(fields, id=key), columns, f"the table {table}")
    return _source(connection, path, f"SELECT {select} FROM {_quoted(table)}", settled, table)


def query_source(path: Path, sql: str, fields: Fields) -> Source:
    """Return the rows of a query, which may only read."""
    connection = open_read_only(path)
    try:
        cursor = connection.execute(sql)
    except FAILURES as error:
        connection.close()
        raise UsageError(f"The query on {path} failed: {clean(str(error))}.") from error
    columns = [column[0] for column in cursor.description or ()]
    cursor.close()
    return _source(connection, path, sql, _settled(connection, fields, columns, "the query"), sql)


def open_read_only(path: Path) -> ReadOnlyConnection:
    """Return a connection that cannot change the database nor run what its schema hides.

    No extension can be loaded through it and no other file attached. Raises RagqaError when the file is
    no database.
    """
    connection: ReadOnlyConnection | None = None
    try:
        opened = shared_connection(
            f"file:{quote(os.fsencode(path.absolute()))}?mode=ro", uri=True, factory=ReadOnlyConnection
        )
        connection = cast(ReadOnlyConnection, opened)
        connection.guard()
        connection.execute("SELECT count(*) FROM sqlite_master")
    except FAILURES as error:
        if connection is not None:
            connection.close()
        raise RagqaError(f"{path} cannot be read as a SQLite database: {clean(str(error))}.") from error
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _settled(connection: ReadOnlyConnection, fields: Fields, columns: list[str], where: str) -> Fields:
    try:
        return settle_fields(fields, columns, where)
    except UsageError:
        connection.close()
        raise


def _source(connection: ReadOnlyConnection, path: Path, sql: str, fields: Fields, what: str) -> Source:
    def items() -> Iterator[Item]:
        try:
            cursor = connection.execute(sql)
            columns = [column[0] for column in cursor.description]
            for number, row in enumerate(cursor, 1):
                yield _document(dict(zip(columns, row, strict=True)), fields, number, path, what)
                # What whoever takes the rows needs for one is not the query's time.
                connection.begin()
        except FAILURES as error:
            yield Skipped(clean(path.name), f"the database broke off ({clean(str(error))})", unread=True)
        finally:
            connection.close()

    return Source(clean(f"{path.resolve()} {what}"), items())


def _document(
    record: dict[str, Any], fields: Fields, number: int, path: Path, what: str
) -> Document | Skipped:
    name = f"{path.name} row {number}"
    used = [record.get(field) for field in (fields.id, fields.title, *fields.text) if field]
    if any("\udc80" <= char <= "\udcff" for value in used if isinstance(value, str) for char in value):
        return Skipped(name, "not UTF-8", unread=True)
    return record_document(record, fields, name, f"{path.name} {what}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
