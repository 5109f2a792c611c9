"""Markdown, HTML and plain text: one document per file, which knows its lines."""

from __future__ import annotations

from collections.abc import Iterator

from ragqa.sources.loader import File
from ragqa.sources.source import Item, Skipped
from ragqa.sources.text import Readable, clean, clean_title, decode, read_file, read_markup
from ragqa.types import Document, Part, Parts


def read_markdown(file: File) -> Iterator[Item]:
    yield _document(file, "markdown")


def read_html(file: File) -> Iterator[Item]:
    yield _document(file, "html")


def read_text(file: File) -> Iterator[Item]:
    yield _document(file, "text")


def _document(file: File, format: str) -> Document | Skipped:
    """Return a file's document; `format` is what its suffix says, which `file.format` overrules."""
    raw = decode(read_file(file.path))
    format = format if file.format == "auto" else file.format
    readable = read_markup(raw, format)
    return text_document(file, readable, lines_of(readable.text, raw) if format != "html" else None)


def text_document(file: File, readable: Readable, parts: Parts | None) -> Document | Skipped:
    """Return the document of a file; one that says nothing but a title of its own is that title."""
    text = readable.text if readable.text.strip() else readable.title
    if not text:
        return Skipped(file.name, "empty")
    title = readable.title or clean_title(file.path.stem)
    return Document(file.name, title, text, file.source, dict(readable.metadata), readable.format, parts)


def lines_of(text: str, raw: str) -> Parts | None:
    """Return the parts of a text that is a stretch of what its file holds: lines, counted as in the file.

    None where it is none, such as HTML that was converted.
    """
    place = clean(raw).find(text)
    return None if place < 0 else Parts("line", (Part(0, first=clean(raw).count("\n", 0, place) + 1),))
