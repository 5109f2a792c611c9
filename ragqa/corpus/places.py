"""Where in its document a passage stands: found from the document's parts, and as it is stored."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right

from ragqa.types import Document, Part, Parts, Place


class Places:
    """The places of a document's characters."""

    def __init__(self, document: Document) -> None:
        self._parts = document.parts
        self._text = document.text
        counted = document.parts is not None and any(part.first for part in document.parts.parts)
        self._lines = [found.start() for found in re.finditer("\n", document.text)] if counted else []

    def of(self, start: int, end: int) -> Place | None:
        """Return the place of `text[start:end]`, which is in one part; None where there are no parts."""
        if self._parts is None:
            return None
        found = bisect_right(self._parts.parts, start, key=lambda part: part.start)
        part = self._parts.parts[max(0, found - 1)]
        if not part.first:
            return Place(self._parts.kind, part.label)
        first = part.first + self._breaks(part.start, start)
        return Place(
            self._parts.kind, part.label, first, first + self._text[start:end].strip("\n").count("\n")
        )

    def _breaks(self, start: int, end: int) -> int:
        return bisect_left(self._lines, end) - bisect_left(self._lines, start)


def write_parts(parts: Parts | None) -> str | None:
    """Return parts as they are stored: a JSON array of the kind and [start, label, first, headings...]."""
    if parts is None:
        return None
    rows = [[part.start, part.label, part.first, *part.headings] for part in parts.parts]
    return json.dumps([parts.kind, rows], ensure_ascii=False, separators=(",", ":"))


def read_parts(stored: str | None) -> Parts | None:
    """Return what `write_parts` wrote."""
    if stored is None:
        return None
    kind, rows = json.loads(stored)
    return Parts(kind, tuple(Part(row[0], row[1], row[2], tuple(row[3:])) for row in rows))


def write_place(place: Place | None) -> str | None:
    """Return a place as it is stored: a JSON array of its kind, label, first and last."""
    if place is None:
        return None
    return json.dumps([place.kind, place.label, place.first, place.last], ensure_ascii=False)


def read_place(stored: str | None) -> Place | None:
    """Return what `write_place` wrote."""
    return None if stored is None else Place(*json.loads(stored))
