"""Documents of parts: pages, slides, sheets, chapters, cells, joined into one text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ragqa.config import MAX_DOCUMENT
from ragqa.sources.loader import File
from ragqa.sources.source import Skipped
from ragqa.sources.text import UnreadableError, clean_title
from ragqa.types import Document, Part, Parts, PlaceKind, TextFormat

BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class Section:
    """The text of a part, before it is joined to the others; the rest is as in Part."""

    label: str
    text: str
    headings: tuple[str, ...] = ()
    first: int = 0


def joined(
    file: File,
    kind: PlaceKind,
    sections: Iterable[Section],
    *,
    title: str = "",
    metadata: Mapping[str, Any] | None = None,
    format: TextFormat = "markdown",
) -> Document | Skipped:
    """Return the document of a file with these parts; those without text are left out.

    Its title is the first heading in the text, or the file's name, where none is given. Raises
    UnreadableError for a text that is too long.
    """
    parts: list[Part] = []
    texts: list[str] = []
    place = 0
    for section in sections:
        text = section.text.strip("\n")
        if not text.strip():
            continue
        parts.append(Part(place, section.label, section.first, section.headings))
        texts.append(text)
        place += len(text) + len(BETWEEN)
        if place > MAX_DOCUMENT:
            raise UnreadableError(f"longer than {MAX_DOCUMENT:,} characters")
    if not parts:
        return _titled(file, title, metadata) if title else Skipped(file.name, "empty")
    text = BETWEEN.join(texts)
    name = clean_title(title) or _first_heading(text, format) or clean_title(file.path.stem)
    return Document(
        file.name, name, text, file.source, dict(metadata or {}), format, Parts(kind, tuple(parts))
    )


def _titled(file: File, title: str, metadata: Mapping[str, Any] | None) -> Document:
    """Return the document of a file that says nothing but its title."""
    name = clean_title(title)
    return Document(file.name, name, name, file.source, dict(metadata or {}))


def _first_heading(text: str, format: TextFormat) -> str:
    if format != "markdown":
        return ""
    first = next((line for line in text[:20_000].split("\n") if line.startswith("# ")), "")
    return clean_title(first.removeprefix("# "))
