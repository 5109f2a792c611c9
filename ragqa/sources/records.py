"""Files of records, JSONL and CSV: one document per record."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ragqa.config import MAX_DOCUMENT
from ragqa.errors import UsageError
from ragqa.sources.source import Fields, Item, Skipped, Source
from ragqa.sources.text import (
    UnreadableError,
    clean,
    clean_title,
    jsonable,
    open_regular,
    read_markup,
)
from ragqa.types import Document

RECORD_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
ID_NAMES = ("_id", "id", "docid", "slug")
TITLE_NAMES = ("title", "name", "headline")
TEXT_NAMES = ("text", "body", "content", "contents")
# JSON lines need not have the same fields: these first ones tell which there are.
LOOK_AT = 100
_TOO_LONG = f"a line of more than {MAX_DOCUMENT:,} bytes"
# An id is repeated wherever its document is named.
LONGEST_ID = 1_000
LINK_NAMES = ("url", "link", "source_url")


def records_source(path: Path, fields: Fields) -> Source:
    """Return the records of a JSONL, CSV or TSV file; raises UsageError when a named field is not there."""
    read = _read_json_lines if path.suffix.lower() in (".jsonl", ".ndjson") else _read_csv
    looked_at = [record for _, record in itertools.islice(read(path), LOOK_AT) if isinstance(record, dict)]
    if looked_at:
        names = list(dict.fromkeys(name for record in looked_at for name in record if name is not None))
        fields = settle_fields(fields, names, str(path))
    return Source(clean(str(path.resolve())), _documents(path, read(path), fields))


def settle_fields(fields: Fields, names: list[str], where: str) -> Fields:
    """Return `fields` with the usual names filled in where none was given.

    Raises UsageError, with the names that there are, when a named field is missing or no id or text
    can be guessed.
    """
    known = ", ".join(names)
    asked = [fields.id, fields.title, *fields.text, *fields.meta]
    for name in asked:
        if name is not None and name not in names:
            raise UsageError(f"{where} has no field {name!r}. It has: {known}.")
    key = fields.id or _first(ID_NAMES, names)
    text = fields.text or tuple(name for name in [_first(TEXT_NAMES, names)] if name)
    if key is None:
        raise UsageError(f"Which field of {where} identifies a document? Name it with --id: {known}.")
    if not text:
        raise UsageError(f"Which field of {where} is the text? Name it with --text: {known}.")
    title = fields.title or _first(TITLE_NAMES, names)
    return replace(fields, id=key, title=title, text=text)


def record_document(record: Mapping[str, Any], fields: Fields, name: str, source: str) -> Document | Skipped:
    """Return the document that a record stands for; `name` is where it stands, for messages."""
    key = record.get(fields.id or "")
    if key is None or isinstance(key, dict | list) or not str(key).strip():
        return Skipped(name, f"no {fields.id!r} to identify it")
    document_id = clean(str(key))
    if len(document_id) > LONGEST_ID:
        return Skipped(name, f"its id has more than {LONGEST_ID:,} characters")
    parts = [_as_text(record.get(field)) for field in fields.text]
    try:
        readable = read_markup("\n\n".join(part for part in parts if part.strip()), fields.format)
    except UnreadableError as error:
        return Skipped(document_id, str(error), unread=True)
    title = clean_title(_as_text(record.get(fields.title)) if fields.title else readable.title)
    # A record that is nothing but its title is found by it, as a file with nothing but a heading is.
    body = readable.text if readable.text.strip() else title
    if not body:
        return Skipped(document_id, "empty")
    metadata = {field: jsonable(record.get(field)) for field in fields.meta if record.get(field) is not None}
    link = next((record[name] for name in LINK_NAMES if str(record.get(name, "")).startswith("http")), None)
    where = clean(str(link or source))
    return Document(document_id, title, body, where, metadata, readable.format)


def _documents(
    path: Path, records: Iterator[tuple[int, dict[str, Any] | str]], fields: Fields
) -> Iterator[Item]:
    for line, record in records:
        name = f"{path.name}:{line}"
        if isinstance(record, str):
            yield Skipped(name, record, unread=True)
        else:
            yield record_document(record, fields, name, path.name)


def _read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each line's number with its object, or with the reason why it is none."""
    with _open(path) as file:
        for number, raw in _lines(file):
            if raw is None:
                yield number, _TOO_LONG
            elif raw.strip():
                yield number, _json_object(raw)


def _json_object(raw: bytes) -> dict[str, Any] | str:
    try:
        record = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not valid JSON"
    return record if isinstance(record, dict) else "not a JSON object"


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each record's line number with its fields, or with the reason why it is unreadable."""
    csv.field_size_limit(MAX_DOCUMENT)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with _open(path) as file:
        too_long: list[int] = []
        reader = csv.DictReader(_csv_lines(file, too_long), delimiter=delimiter)
        while True:
            try:
                record: dict[str | None, Any] | None = next(reader, None)
            except csv.Error as error:
                yield reader.line_num, f"not valid CSV ({error})"
                continue
            yield from ((number, _TOO_LONG) for number in too_long)
            too_long.clear()
            if record is None:
                return
            if None in record:
                yield reader.line_num, "more fields than the header names"
            elif any("\udc80" <= char <= "\udcff" for value in record.values() for char in value or ""):
                yield reader.line_num, "not UTF-8"
            else:
                yield reader.line_num, {str(name): value for name, value in record.items()}


def _open(path: Path) -> IO[bytes]:
    """Open a regular file; raises UsageError for another one, and where it cannot be read."""
    try:
        return open_regular(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnreadableError as error:
        raise UsageError(f"{path} is no regular file.") from error


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines with their numbers; None stands for one that is too long to be held in memory."""
    for number in itertools.count(1):
        line = file.readline(MAX_DOCUMENT + 1)
        if not line:
            return
        if len(line) <= MAX_DOCUMENT:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_DOCUMENT)
        yield number, None


def _csv_lines(file: IO[bytes], too_long: list[int]) -> Iterator[str]:
    """Yield the lines as text, what is not UTF-8 in them as surrogates; those left out go to `too_long`."""
    for number, raw in _lines(file):
        if raw is None:
            too_long.append(number)
            # A line must come, or the numbers of the rest are wrong.
            yield "\n"
        else:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")


def _first(wanted: tuple[str, ...], names: list[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)
