"""Files of records, JSONL and CSV: one document per record."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragqa.corpus.loaders.source import Fields, Skipped, Source
from ragqa.corpus.loaders.text import UnreadableError, jsonable, read_markup
from ragqa.errors import UsageError
from ragqa.types import Document

RECORD_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
ID_NAMES = ("_id", "id", "docid", "slug")
TITLE_NAMES = ("title", "name", "headline")
TEXT_NAMES = ("text", "body", "content", "contents")
# JSON lines need not have the same fields: these first ones tell which there are.
LOOK_AT = 100
LINK_NAMES = ("url", "link", "source_url")


def records_source(path: Path, fields: Fields) -> Source:
    """Return the records of a JSONL, CSV or TSV file; raises UsageError when a named field is not there."""
    read = _read_json_lines if path.suffix.lower() in (".jsonl", ".ndjson") else _read_csv
    looked_at = [record for _, record in itertools.islice(read(path), LOOK_AT) if isinstance(record, dict)]
    if looked_at:
        names = list(dict.fromkeys(name for record in looked_at for name in record))
        fields = settle_fields(fields, names, str(path))
    return Source(str(path.resolve()), _documents(path, read(path), fields))


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
    document_id = str(jsonable(str(key)))
    parts = [_as_text(record.get(field)) for field in fields.text]
    try:
        readable = read_markup("\n\n".join(part for part in parts if part.strip()), fields.format)
    except UnreadableError as error:
        return Skipped(document_id, str(error), unread=True)
    title = _as_text(record.get(fields.title)) if fields.title else readable.title
    if not readable.text.strip():
        return Skipped(document_id, "empty")
    metadata = {field: jsonable(record.get(field)) for field in fields.meta if record.get(field) is not None}
    link = next((record[name] for name in LINK_NAMES if str(record.get(name, "")).startswith("http")), None)
    title = " ".join(str(jsonable(title)).split())
    return Document(document_id, title, readable.text, str(link or source), metadata, readable.format)


def _documents(
    path: Path, records: Iterator[tuple[int, dict[str, Any] | str]], fields: Fields
) -> Iterator[Document | Skipped]:
    for line, record in records:
        name = f"{path.name}:{line}"
        if isinstance(record, str):
            yield Skipped(name, record, unread=True)
        else:
            yield record_document(record, fields, name, path.name)


def _read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each line's number with its object, or with the reason why it is none."""
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            try:
                record = json.loads(raw.decode("utf-8-sig"))
            except UnicodeDecodeError:
                yield number, "not UTF-8"
            except (ValueError, RecursionError):
                yield number, "not valid JSON"
            else:
                yield number, record if isinstance(record, dict) else "not a JSON object"


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each record's line number with its fields, or with the reason why it is unreadable."""
    csv.field_size_limit(sys.maxsize)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter, restkey="")
        while True:
            try:
                record = next(reader, None)
            except csv.Error as error:
                yield reader.line_num, f"not valid CSV ({error})"
                continue
            if record is None:
                return
            if "" in record:
                yield reader.line_num, "more fields than the header names"
            elif any("\udc80" <= char <= "\udcff" for value in record.values() for char in value or ""):
                yield reader.line_num, "not UTF-8"
            else:
                yield reader.line_num, record


def _first(wanted: tuple[str, ...], names: list[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)
