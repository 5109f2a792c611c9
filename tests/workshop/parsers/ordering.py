"""A reading order for PDFium's text: columns one after the other, rows of a table kept together."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

# In heights of a line. Words of a line are nearer than the first; a column of prose is wider than the second.
WORD_GAP = 1.0
PROSE = 10.0
# A column has at least so many lines.
LINES = 3


class Piece(NamedTuple):
    """Text that stands together on a line; the origin is the lower left corner, the unit the point."""

    left: float
    bottom: float
    right: float
    top: float
    text: str

    @property
    def height(self) -> float:
        """Return how tall it is, at least a point."""
        return max(self.top - self.bottom, 1.0)


def ordered(pieces: Sequence[Piece]) -> list[str]:
    """Return lines in reading order.

    A gutter is an x that few pieces cross, with prose at both sides. Pieces that cross it (a title, a wide
    caption) cut the page into bands; in each band the left side is read before the right one, by the same
    rule. Where no gutter is, pieces are read by rows. Prose in the cells of a table is taken for columns.
    """
    return _read(_joined(pieces))


def zigzags(pieces: Sequence[Piece]) -> bool:
    """Say whether the pieces, as drawn, go from column to column on most lines."""
    joined = _joined(pieces)
    gutter = _gutter(joined)
    if gutter is None:
        return False
    jumps = sum(one.right <= gutter <= other.left and _beside(one, other) for one, other in pairwise(joined))
    return jumps > 0.5 * min(
        sum(piece.right <= gutter for piece in joined), sum(piece.left >= gutter for piece in joined)
    )


def _read(pieces: list[Piece]) -> list[str]:
    gutter = _gutter(pieces)
    if gutter is None:
        return [" ".join(piece.text for piece in row) for row in _rows(pieces)]
    lines: list[str] = []
    left: list[Piece] = []
    right: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: -piece.top):
        if piece.right <= gutter:
            left.append(piece)
        elif piece.left >= gutter:
            right.append(piece)
        else:
            lines += [*_read(left), *_read(right), piece.text]
            left, right = [], []
    return [*lines, *_read(left), *_read(right)]


def _gutter(pieces: list[Piece]) -> float | None:
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
        )
    return joined


def _beside(one: Piece, other: Piece) -> bool:
    shared = min(one.top, other.top) - max(one.bottom, other.bottom)
    return shared >= 0.5 * min(one.height, other.height)
