"""Tables and queries of any SQLite database, opened read-only: one document per row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ragqa.corpus.loaders.records import record_document, settle_fields
from ragqa.corpus.loaders.source import Fields, Skipped, Source
from ragqa.errors import RagqaError, UsageError
from ragqa.types import Document

_HEADER = b"SQLite format 3\0"


def is_sqlite(path: Path) -> bool:
    """Tell whether the file begins as a SQLite database does."""
    with path.open("rb") as file:
        return file.read(len(_HEADER)) == _HEADER


def table_source(path: Path, table: str | None, fields: Fields) -> Source:
    """Return the rows of a table or view; without `--id` its primary key (or rowid) identifies them."""
    from sqlite_utils import Database

    connection = open_read_only(path)
    db = Database(connection)
    names = [*db.table_names(), *db.view_names()]
    if table is None or table not in names:
        known = ", ".join(names) or "none"
        lead = "Name a table with --table" if table is None else f"{path} has no table {table!r}"
        raise UsageError(f"{lead}. Tables there: {known}.")
    columns = [column.name for column in db[table].columns]
    select = ", ".join(_quoted(column) for column in columns)
    key = fields.id
    if key is None and table in db.table_names():
        pks = db.table(table).pks
        key = pks[0] if len(pks) == 1 else None
    if key == "rowid" and key not in columns:
        columns = ["rowid", *columns]
        select = f"rowid, {select}"
    settled = settle_fields(replace(fields, id=key), columns, f"the table {table}")
    return _source(connection, path, f"SELECT {select} FROM {_quoted(table)}", settled, table)


def query_source(path: Path, sql: str, fields: Fields) -> Source:
    """Return the rows of a query, which may only read."""
    connection = open_read_only(path)
    try:
        cursor = connection.execute(sql)
    except sqlite3.Error as error:
        raise UsageError(f"The query on {path} failed: {error}.") from error
    columns = [column[0] for column in cursor.description or ()]
    return _source(connection, path, sql, settle_fields(fields, columns, "the query"), sql)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot change the database nor run what its schema hides.

    Raises RagqaError when the file is no database.
    """
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, check_same_thread=False
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        raise RagqaError(f"{path} cannot be read as a SQLite database: {error}.") from error
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _source(connection: sqlite3.Connection, path: Path, sql: str, fields: Fields, what: str) -> Source:
    def items() -> Iterator[Document | Skipped]:
        try:
            cursor = connection.execute(sql)
            columns = [column[0] for column in cursor.description]
            for number, row in enumerate(cursor, 1):
                yield _document(dict(zip(columns, row, strict=True)), fields, number, path, what)
        except sqlite3.Error as error:
            yield Skipped(f"{path.name}", f"the database broke off ({error})", unread=True)
        finally:
            connection.close()

    return Source(f"{path.resolve()} {what}", items())


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
