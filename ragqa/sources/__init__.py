"""Loaders: what can be ingested, one module per kind of source. They read; they never store."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ragqa.errors import UsageError
from ragqa.sources.files import Reading, files_source, folder_source
from ragqa.sources.packages import packages_source
from ragqa.sources.records import RECORD_SUFFIXES, records_source
from ragqa.sources.registry import suffixes
from ragqa.sources.source import Fields, Item, Skipped, Source
from ragqa.sources.sqlite import is_sqlite, query_source, table_source
from ragqa.sources.text import clean
from ragqa.sources.walk import Choice
from ragqa.sources.web import is_url, url_source
from ragqa.types import Document

__all__ = ["Choice", "Fields", "Skipped", "Source", "open_sources"]


def open_sources(
    names: Sequence[str],
    fields: Fields,
    *,
    table: str | None = None,
    sql: str | None = None,
    packages: bool = False,
    choice: Choice | None = None,
    password: str = "",
    offline: bool = False,
) -> list[Source]:
    """Return what `names` (files, folders, quoted globs, addresses) and the options stand for.

    `choice` says which files of a folder are wanted, `password` opens encrypted ones. A BEIR folder stands
    for its corpus.jsonl. Raises UsageError for a name that is nothing, a kind that is not known, and a table
    or field that is not there.
    """
    if not names and not packages:
        raise UsageError(
            "Name something to ingest: a folder, a file, a database with --table, or --packages."
        )
    sources = [packages_source()] if packages else []
    reading = Reading(fields.format, password)
    sources.extend(
        url_source(name, offline=offline, password=password)
        if is_url(name)
        else _open(name, fields, table, sql, reading, choice)
        for name in names
    )
    return [_prefixed(source, fields.id_prefix) for source in sources]


def _open(
    name: str, fields: Fields, table: str | None, sql: str | None, reading: Reading, choice: Choice | None
) -> Source:
    try:
        path = Path(name).expanduser()
        folder = path.is_dir()
        # SQLite and messages take text alone.
        name.encode()
    except (OSError, RuntimeError, ValueError) as error:
        reason = clean(str(error)).rstrip(".")
        raise UsageError(f"{clean(name)} cannot be the name of a file: {reason}.") from error
    if folder:
        beir = path / "corpus.jsonl"
        return records_source(beir, fields) if beir.is_file() else folder_source(path, reading, choice)
    if not os.path.lexists(path):
        return _glob(str(path), reading)
    if not path.is_file():
        raise UsageError(f"{name} is neither a file nor a folder.")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{name} cannot be read: permission denied.")
    if table or sql or is_sqlite(path):
        if sql:
            return query_source(path, sql, fields)
        return table_source(path, table, fields)
    if path.suffix.lower() in RECORD_SUFFIXES:
        return records_source(path, fields)
    if path.suffix.lower() in suffixes():
        return files_source(path.parent, [path], reading)
    known = ", ".join(sorted({*RECORD_SUFFIXES, *suffixes()}))
    raise UsageError(f"ragqa cannot tell what {name} holds. It reads SQLite databases and {known}.")


def _glob(pattern: str, reading: Reading) -> Source:
    root = Path(*(part for part in _fixed_parts(Path(pattern))))
    rest = Path(pattern).relative_to(root)
    hidden = any(part.startswith(".") for part in rest.parts)
    try:
        # Unlike glob.glob this follows no linked folder: two that link to their own would never end.
        found = [path for path in root.glob(str(rest)) if path.is_file()]
    except (ValueError, NotImplementedError, OSError) as error:
        raise UsageError(f"The pattern {pattern} cannot be used: {error}.") from error
    paths = sorted(
        path
        for path in found
        if hidden or not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not paths:
        raise UsageError(f"There is no file or folder {pattern}.")
    return files_source(root, paths, reading)


def _fixed_parts(pattern: Path) -> Iterator[str]:
    for part in pattern.parent.parts:
        if glob.has_magic(part):
            return
        yield part


def _prefixed(source: Source, prefix: str) -> Source:
    if not prefix:
        return source

    def items() -> Iterator[Item]:
        for item in source.items:
            yield replace(item, id=prefix + item.id) if isinstance(item, Document) else item

    return replace(source, origin=f"{source.origin} as {prefix}", items=items())
