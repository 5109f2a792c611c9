"""Cutting a document into passages: along headings, paragraphs and sentences, counted in tokens.

The splitting is semantic-text-splitter's; what is added here is where each piece stands.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ragqa.encoders.embedded.minilm import count_tokens, tokenizer
from ragqa.types import Document

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter


# Raised with every change of how documents are cut: a corpus cut by an older version is stale.
VERSION = 1
# In tokens: what is smaller says too little alone.
SMALL = 40
# A heading is repeated with each passage under it.
LONGEST_HEADING = 500
# In characters. A word without an end is one token of any length, and a line without one takes the splitter
# a time that grows with its square.
LONGEST_PIECE = 10_000
LONGEST_LINE = 20_000

# Headings, images, HTML tags, bare URLs, and where links lead.
_NO_PROSE = re.compile(r"^#{1,6}[ \t].*$|!\[[^\]]*\]\([^)]*\)|<[^>]*>|\]\([^)]*\)|https?://\S+", re.M)


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage before it is stored: `text` is `document.text[start:end]`."""

    start: int
    end: int
    headings: tuple[str, ...]
    text: str


class Chunker:
    """Cuts documents into pieces of at most `tokens` tokens of the embedded encoder."""

    def __init__(self, tokens: int, overlap: int) -> None:
        self.tokens = tokens
        self.overlap = min(overlap, tokens - 1)

    def pieces(self, document: Document) -> list[Piece]:
        """Return the pieces of `document` in reading order, each with the headings it stands under.

        In Markdown a piece of fewer than SMALL tokens goes with what follows it, where both fit. A
        heading or an image that fits nowhere is left out, since every piece carries its headings.
        """
        outline = _outline(document.text) if document.format == "markdown" else []
        offsets = [offset for offset, _ in outline]
        pieces = []
        for start, text in self._spans(document):
            place = bisect_right(offsets, start)
            headings = outline[place - 1][1] if place else ()
            if headings and headings[0] == document.title:
                headings = headings[1:]
            pieces.append(Piece(start, start + len(text), headings, text))
        return pieces

    def _spans(self, document: Document) -> list[tuple[int, str]]:
        splitter = _splitter(document.format, self.tokens, self.overlap)
        found = [
            (start + offset + place, text[place : place + LONGEST_PIECE])
            for offset, stretch in _stretches(document.text)
            for start, text in splitter.chunk_indices(stretch)
            for place in range(0, len(text), LONGEST_PIECE)
        ]
        found = [(start, text) for start, text in found if text.strip()]
        if document.format == "text":
            return found
        spans: list[tuple[int, str]] = []
        for start, text in reversed(found):
            joined = document.text[start : spans[-1][0] + len(spans[-1][1])] if spans else ""
            prose = has_prose(text)
            small = not prose or count_tokens(text) < SMALL
            if small and joined and len(joined) <= LONGEST_PIECE and count_tokens(joined) <= self.tokens:
                spans[-1] = (start, joined)
            elif prose:
                spans.append((start, text))
        return spans[::-1] or found


def has_prose(markdown: str) -> bool:
    """Tell whether there are words in `markdown` besides headings, images and the targets of links."""
    return any(char.isalnum() for char in _NO_PROSE.sub("", markdown))


def _stretches(text: str) -> Iterator[tuple[int, str]]:
    """Yield what is split at a time, with its offset: the whole text, unless it has a line without an end."""
    if all(len(line) < LONGEST_LINE for line in text.split("\n")):
        yield 0, text
        return
    for start in range(0, len(text), LONGEST_LINE):
        yield start, text[start : start + LONGEST_LINE]


@cache
def _splitter(format: str, tokens: int, overlap: int) -> MarkdownSplitter | TextSplitter:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    kind = MarkdownSplitter if format == "markdown" else TextSplitter
    return kind.from_huggingface_tokenizer(tokenizer(), tokens, overlap=overlap)


def _outline(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """Return each heading's character offset with the path of headings down to it."""
    from markdown_it import MarkdownIt

    line_starts = [0]
    for line in text.split("\n"):
        line_starts.append(line_starts[-1] + len(line) + 1)
    outline: list[tuple[int, tuple[str, ...]]] = []
    path: list[tuple[int, str]] = []
    # What is within a line says nothing of headings, and takes most of the time.
    tokens = MarkdownIt("commonmark").disable("inline").parse(text)
    for token, inline in itertools.pairwise(tokens):
        if token.type != "heading_open" or token.map is None:
            continue
        level = int(token.tag[1])
        path = [step for step in path if step[0] < level]
        path.append((level, " ".join(inline.content[: 2 * LONGEST_HEADING].split())[:LONGEST_HEADING]))
        outline.append((line_starts[token.map[0]], tuple(name for _, name in path if name)))
    return outline
