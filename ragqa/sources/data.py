"""JSON and XML: what they say, as text with the names that they say it under."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from ragqa.sources.loader import File
from ragqa.sources.plain import text_document
from ragqa.sources.source import Item
from ragqa.sources.text import Readable, UnreadableError, clean, clean_title, decode, read_file

# How deep names are told: "store.book.title: ..." says enough.
DEEPEST = 50


def read(file: File) -> Iterator[Item]:
    """Yield the file's document; raises UnreadableError for what is neither."""
    raw = read_file(file.path)
    if file.path.suffix.lower() == ".json":
        try:
            value = json.loads(decode(raw))
            lines = list(_said(value, ""))
        except (ValueError, RecursionError) as error:
            raise UnreadableError("not valid JSON") from error
        title = value.get("title", value.get("name", "")) if isinstance(value, dict) else ""
        readable = Readable("\n".join(lines), "text", clean_title(title if isinstance(title, str) else ""))
    else:
        readable = _read_xml(raw)
    yield text_document(file, readable, None)


def _said(value: Any, name: str, depth: int = 0) -> Iterator[str]:
    """Yield "name: value" for each value that is no container; items of a list have their list's name."""
    if isinstance(value, dict) and depth < DEEPEST:
        for key, item in value.items():
            yield from _said(item, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, list) and depth < DEEPEST:
        if value and not any(isinstance(item, dict | list) for item in value):
            yield _line(name, ", ".join(_plain(item) for item in value))
            return
        for item in value:
            yield from _said(item, name, depth + 1)
    elif value is not None and value != "":
        yield _line(name, _plain(value))


def _line(name: str, text: str) -> str:
    return clean(f"{name}: {text}" if name else text)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_xml(raw: bytes) -> Readable:
    """Return the text of an XML document, an element's own text on a line, with its name before it.

    No entity is declared or fetched: one that is declared is refused, as it may stand for any amount of text.
    """
    path: list[str] = []
    lines: list[str] = []
    pieces: list[str] = []

    def flush() -> None:
        text = " ".join("".join(pieces).split())
        pieces.clear()
        if text:
            lines.append(_line(path[-1] if path else "", text))

    def start(name: str, attributes: dict[str, str]) -> None:
        flush()
        path.append(name.rpartition(":")[2])
        if len(path) > 10 * DEEPEST:
            raise UnreadableError("XML nested too deeply")

    def end(name: str) -> None:
        flush()
        path.pop()

    def declared(*args: Any) -> None:
        raise UnreadableError("XML that declares entities")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = pieces.append
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise UnreadableError("not valid XML") from error
    title = next((line.partition(": ")[2] for line in lines if line.startswith("title: ")), "")
    return Readable("\n".join(lines), "text", clean_title(title))
