"""EPUB: a book of chapters, in the order that it is read in."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ragqa.config import MAX_DOCUMENT
from ragqa.sources.loader import File
from ragqa.sources.parts import Section, joined
from ragqa.sources.source import Item, Skipped
from ragqa.sources.text import UnreadableError, read_markup
from ragqa.types import Document


def read(file: File) -> Iterator[Item]:
    """Yield the book's document (EPUB 3.3: container, package, spine); raises UnreadableError."""
    try:
        with zipfile.ZipFile(file.path) as book:
            yield _document(file, book)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, ValueError, OSError) as error:
        raise UnreadableError("damaged (no book)") from error
    except RuntimeError as error:
        raise UnreadableError("encrypted") from error


def _document(file: File, book: zipfile.ZipFile) -> Document | Skipped:
    container = _soup(book, "META-INF/container.xml")
    package_name = str(container.find("rootfile")["full-path"])
    package = _soup(book, package_name)
    folder = posixpath.dirname(package_name)
    items = {str(item.get("id")): item for item in package.find_all("item")}
    held = set(book.namelist())
    sections: list[Section] = []
    for reference in package.find_all("itemref"):
        item = items.get(str(reference.get("idref")))
        if item is None or "nav" in str(item.get("properties", "")).split():
            continue
        name = posixpath.normpath(posixpath.join(folder, unquote(str(item["href"]))))
        if name not in held:
            continue
        readable = read_markup(_read(book, name).decode("utf-8-sig", "replace"), "html")
        sections.append(Section(str(len(sections) + 1), readable.text))
    metadata = {
        key: found.get_text().strip()
        for key, tag in (("author", "dc:creator"), ("language", "dc:language"), ("date", "dc:date"))
        if (found := package.find(tag)) is not None and found.get_text().strip()
    }
    title = package.find("dc:title")
    return joined(
        file, "chapter", sections, title=title.get_text() if title is not None else "", metadata=metadata
    )


def _soup(book: zipfile.ZipFile, name: str) -> Any:
    from bs4 import BeautifulSoup

    # The parser of the standard library knows no entities but HTML's, and fetches nothing.
    return BeautifulSoup(_read(book, name).decode("utf-8-sig", "replace"), "html.parser")


def _read(book: zipfile.ZipFile, name: str) -> bytes:
    with book.open(name) as packed:
        raw = packed.read(MAX_DOCUMENT + 1)
    if len(raw) > MAX_DOCUMENT:
        raise UnreadableError(f"larger than {MAX_DOCUMENT:,} bytes unpacked")
    return raw
