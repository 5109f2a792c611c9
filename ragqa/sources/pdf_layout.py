"""The reading order of a page: columns one after the other, rows of a table kept together, paragraphs whole.

What is drawn is in an order of its own, commonly the one that it is read in: of 12 typeset papers sorting by
place kept .85 of neighbouring lines together, the drawn order all. Only where it goes from column to column,
line by line, are the columns told by the gutter between them.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

# In heights of a line. Words of a line are nearer than the first; a column of prose is wider than the second;
# lines of a paragraph are no further apart than the third.
WORD_GAP = 1.0
PROSE = 10.0
LINE_GAP = 0.9
# A column has at least so many lines.
LINES = 3
# A heading is so much larger than what is written most, and no longer; so many sizes are told apart.
LARGER = 1.15
LONGEST_HEADING = 200
LEVELS = 4
# What stands at the edge of so many pages, as a share of them, is no text but a running title.
RUNNING = 0.5
FEWEST_PAGES = 4
# In characters. Of a longer line the numbers count: forms differ in nothing else.
SHORT = 60

_BULLET = re.compile(r"(?:[•◦▪‣·–*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s")
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b", re.I)
# What PDFium has for a hyphen at which a word was divided.
_DIVIDED = ("\x02", "\ufffe", "\u00ad")


class Piece(NamedTuple):
    """Text that stands together on a line; the origin is the lower left corner, the unit the point.

    `size` is that of its letters.
    """

    left: float
    bottom: float
    right: float
    top: float
    text: str
    size: float = 0.0

    @property
    def height(self) -> float:
        """How tall it is, at least a point."""
        return max(self.top - self.bottom, 1.0)


class Line(NamedTuple):
    """A line as it is read: its cells joined by bars where they stand apart."""

    top: float
    bottom: float
    text: str
    size: float
    cells: int


def lines(pieces: Sequence[Piece]) -> list[Line]:
    """Return the lines of a page in reading order; `pieces` come as they are drawn."""
    joined = _joined(pieces)
    rows = _read(joined) if _zigzags(joined) else _as_drawn(joined)
    return [_line(row) for row in rows]


def markdown(pages: Sequence[Sequence[Line]], outline: Sequence[dict[str, int]]) -> list[str]:
    """Return the text of each page: paragraphs, headings by their size or by the outline, rows of tables.

    `outline` has, for each page, the titles of bookmarks that lead to it, in small letters, with levels.
    """
    running = _running(pages)
    body = _body_size(pages)
    larger = sorted(
        {round(line.size) for page in pages for line in page if line.size >= LARGER * body}, reverse=True
    )[:LEVELS]
    levels = {size: level for level, size in enumerate(larger, 1)}
    return [
        _page([line for line in page if _running_key(line.text) not in running], levels, body, titles)
        for page, titles in zip(pages, outline, strict=True)
    ]


def _page(page: Sequence[Line], levels: dict[int, int], body: float, titles: dict[str, int]) -> str:
    blocks: list[str] = []
    before: Line | None = None
    for line in page:
        level = _level(line, levels, body, titles)
        if level:
            goes_on = before is not None and blocks and blocks[-1].startswith(f"{'#' * level} ")
            near = before is not None and before.size == line.size and before.bottom - line.top < line.size
            if goes_on and near:
                blocks[-1] = f"{blocks[-1]} {line.text}"
            else:
                blocks.append(f"{'#' * level} {line.text}")
        elif line.cells > 1 or (before is not None and before.cells > 1):
            # Rows of a table stay lines.
            row = before is not None and blocks and line.cells > 1 and before.cells > 1
            blocks[-1:] = [f"{blocks[-1]}\n{line.text}"] if row else [*blocks[-1:], line.text]
        elif before is None or not blocks or blocks[-1].startswith("#") or _begins(line, before):
            blocks.append(line.text)
        else:
            blocks[-1] = _joined_text(blocks[-1], line.text)
        before = line
    return "\n\n".join(_whole(block) for block in blocks if block.strip())


def _level(line: Line, levels: dict[int, int], body: float, titles: dict[str, int]) -> int:
    """Return the level of a heading; 0 for what is none."""
    if len(line.text) > LONGEST_HEADING or not any(char.isalpha() for char in line.text) or line.cells > 1:
        return 0
    known = titles.get(_key(line.text))
    if known is not None:
        return min(known + 1, 6)
    return levels.get(round(line.size), 0) if line.size >= LARGER * body else 0


def _begins(line: Line, before: Line) -> bool:
    """Tell whether a line begins a paragraph."""
    gap = before.bottom - line.top
    # A line above the one before is at the head of the next column, where a sentence may go on.
    apart = gap > LINE_GAP * max(line.size, 1.0)
    return apart or bool(_BULLET.match(line.text)) or abs(line.size - before.size) > 0.15 * before.size


def _joined_text(text: str, following: str) -> str:
    if text.endswith(_DIVIDED):
        return text[:-1] + following
    word = text.rpartition(" ")[2]
    divided = word.endswith("-") and word.count("-") == 1 and len(word) > 2 and following[:1].islower()
    return text[:-1] + following if divided else f"{text} {following}"


def _whole(text: str) -> str:
    for mark in _DIVIDED:
        text = text.replace(mark, "")
    return text


def _body_size(pages: Sequence[Sequence[Line]]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page:
            sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _running(pages: Sequence[Sequence[Line]]) -> set[str]:
    """Return the first and last lines that most pages share, but for the numbers in short ones."""
    if len(pages) < FEWEST_PAGES:
        return set()
    edges: Counter[str] = Counter()
    for page in pages:
        # Two at each end of a page that has many more.
        ends = 2 if len(page) > 4 * LINES else 1
        edges.update(
            {_running_key(line.text) for line in [*page[:ends], *page[-ends:]] if len(page) > LINES - 1}
        )
    return {key for key, count in edges.items() if count > RUNNING * len(pages)}


def _running_key(text: str) -> str:
    return _key(text) if len(text) < SHORT else " ".join(text.lower().split())


def _key(text: str) -> str:
    return _NUMBER.sub("#", " ".join(text.lower().split()))


# -- order --------------------------------------------------------------------------------------------


def _zigzags(pieces: Sequence[Piece]) -> bool:
    """Tell whether the pieces, as drawn, go from column to column on most lines."""
    gutter = _gutter(pieces)
    if gutter is None:
        return False
    jumps = sum(one.right <= gutter <= other.left and _beside(one, other) for one, other in pairwise(pieces))
    return jumps > 0.5 * min(
        sum(piece.right <= gutter for piece in pieces), sum(piece.left >= gutter for piece in pieces)
    )


def _read(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Return rows in reading order.

    A gutter is an x that few pieces cross, with prose at both sides. Pieces that cross it (a title, a wide
    caption) cut the page into bands; in each band the left side is read before the right one, by the same
    rule. Where no gutter is, pieces are read by rows. Prose in the cells of a table is taken for columns.
    """
    gutter = _gutter(pieces)
    if gutter is None:
        return _rows(pieces)
    found: list[list[Piece]] = []
    left: list[Piece] = []
    right: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: -piece.top):
        if piece.right <= gutter:
            left.append(piece)
        elif piece.left >= gutter:
            right.append(piece)
        else:
            found += [*_read(left), *_read(right), [piece]]
            left, right = [], []
    return [*found, *_read(left), *_read(right)]


def _gutter(pieces: Sequence[Piece]) -> float | None:
    best, found = 0, None
    for x in sorted({round(piece.left - 0.5) for piece in pieces}):
        left = [piece for piece in pieces if piece.right <= x]
        right = [piece for piece in pieces if piece.left >= x]
        least = min(len(left), len(right))
        crossing = len(pieces) - len(left) - len(right)
        if least >= LINES and least - crossing > best and _prose(left) and _prose(right):
            best, found = least - crossing, x
    return found


def _prose(pieces: Iterable[Piece]) -> bool:
    return statistics.median((piece.right - piece.left) / piece.height for piece in pieces) >= PROSE


def _rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -(piece.top + piece.bottom)):
        if rows and _beside(rows[-1][0], piece):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row) for row in rows]


def _as_drawn(pieces: Iterable[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    for piece in pieces:
        # Cells of a row are drawn from left to right; what is drawn further left is another line.
        if rows and _beside(rows[-1][-1], piece) and piece.left >= rows[-1][-1].right:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return rows


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    # A change of font ends a piece; the line goes on. Pieces come as drawn, so its next one follows it.
    joined: list[Piece] = []
    for piece in pieces:
        if not piece.text.strip():
            continue
        last = joined[-1] if joined else None
        tall = max(last.height, piece.height) if last else 0.0
        gap = piece.left - last.right if last else 0.0
        if last is None or not _beside(last, piece) or not -tall < gap < WORD_GAP * tall:
            joined.append(piece)
            continue
        spaced = last.text if gap < 0.1 * tall or last.text.endswith(" ") else last.text + " "
        joined[-1] = Piece(
            min(last.left, piece.left),
            min(last.bottom, piece.bottom),
            max(last.right, piece.right),
            max(last.top, piece.top),
            spaced + piece.text,
            # A mark in small letters makes no line a small one.
            max(last.size, piece.size),
        )
    return joined


def _beside(one: Piece, other: Piece) -> bool:
    shared = min(one.top, other.top) - max(one.bottom, other.bottom)
    return shared >= 0.5 * min(one.height, other.height)


def _line(row: Sequence[Piece]) -> Line:
    texts = [" ".join(piece.text.split(" ")).strip() for piece in row]
    return Line(
        max(piece.top for piece in row),
        min(piece.bottom for piece in row),
        " | ".join(text for text in texts if text),
        max(piece.size for piece in row),
        len(row),
    )
