"""CSV and TSV files in a folder: a row reads "column: value; …", so that naming a column finds it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ragqa.config import MAX_DOCUMENT
from ragqa.sources.loader import File
from ragqa.sources.parts import Section, joined
from ragqa.sources.source import Item
from ragqa.sources.text import UnreadableError, clean, read_file

# What a table is likely separated by, and how much of it is looked at to tell.
SEPARATORS = ",;\t|"
LOOK_AT = 10_000
# What the first bytes say of the encoding, where they do.
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))


def read_csv(file: File) -> Iterator[Item]:
    """Yield the table's document; raises UnreadableError for what is no text."""
    text = decoded(read_file(file.path))
    csv.field_size_limit(MAX_DOCUMENT)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)))
    except csv.Error as error:
        raise UnreadableError(f"not valid CSV ({error})") from error
    yield joined(file, "sheet", [Section("", *said(rows))], format="text")


def said(rows: Iterable[Sequence[Any]]) -> tuple[str, tuple[str, ...], int]:
    """Return a table as text, a line for each row, no headings, and the number of the first row in it.

    The first row with something in it names the columns. Each row is an item of a list, and with that a
    sentence; one with nothing in it is an empty line, so that rows can be counted.
    """
    names: list[str] = []
    first = 0
    lines: list[str] = []
    for number, row in enumerate(rows, 1):
        cells = [_cell(cell) for cell in row]
        if not names:
            if any(cells):
                names, first = cells, number + 1
            continue
        row = "; ".join(_named(names, place, cell) for place, cell in enumerate(cells) if cell)
        lines.append(f"- {row}" if row else "")
    if not any(lines):
        # A table of one row has no columns to name, but something to say.
        return "; ".join(filter(None, names)), (), max(first - 1, 0)
    return "\n".join(lines), (), first


def _named(names: Sequence[str], place: int, cell: str) -> str:
    name = names[place] if place < len(names) else ""
    return f"{name}: {cell}" if name else cell


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return " ".join(clean(str(value)).split())


def _separator(text: str) -> str:
    """Return what separates the cells of a table: what splits most of its first lines alike."""
    lines = [line for line in text[:LOOK_AT].splitlines()[:20] if line.strip()]
    counts = {mark: sorted(line.count(mark) for line in lines) for mark in SEPARATORS}
    # The median of a separator's counts: a comma in a sentence is on few lines only.
    return max(counts, key=lambda mark: counts[mark][len(lines) // 2] if lines else 0)


def decoded(raw: bytes) -> str:
    """Return a table's bytes as text: UTF-8, what a mark says, or what charset-normalizer makes of them.

    Raises UnreadableError for what is no text, or may be but charset-normalizer is not installed.
    """
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return clean(raw.decode(name, "replace"))
    if b"\0" in raw:
        raise UnreadableError("not text (it holds NUL bytes)")
    try:
        return clean(raw.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    try:
        from charset_normalizer import from_bytes
    except ModuleNotFoundError as error:
        raise UnreadableError("not UTF-8 (pip install 'ragqa[docs]' tells other encodings)") from error
    best = from_bytes(raw).best()
    if best is None:
        raise UnreadableError("not text in any encoding that is known")
    return clean(str(best))
