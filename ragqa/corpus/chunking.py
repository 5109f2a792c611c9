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

from ragqa.corpus.places import Places
from ragqa.encoders.embedded.vocabulary import count_tokens, tokenizer
from ragqa.types import Document, Part, Place

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
    place: Place | None = None


class Chunker:
    """Cuts documents into pieces of at most `tokens` tokens of the embedded encoder."""

    def __init__(self, tokens: int, overlap: int) -> None:
        self.tokens = tokens
        self.overlap = min(overlap, tokens - 1)

    def pieces(self, document: Document) -> list[Piece]:
        """Return the pieces of `document` in reading order, each with the headings it stands under.

        No piece reaches beyond a part of the document. In Markdown a piece of fewer than SMALL tokens goes
        with what follows it, where both fit. A heading or an image that fits nowhere is left out, since every
        piece carries its headings.
        """
        outline = _outline(document.text) if document.format == "markdown" else []
        offsets = [offset for offset, _ in outline]
        parts = document.parts.parts if document.parts else (Part(0),)
        ends = [*(part.start for part in parts[1:]), len(document.text)]
        goes_on = document.parts is None or document.parts.kind not in ("slide", "sheet")
        places = Places(document)
        pieces = []
        for part, part_end in zip(parts, ends, strict=True):
            for start, text in self._spans(document, part.start, part_end):
                place = bisect_right(offsets, start)
                # A page goes on where the one before ended; a slide has none of the headings before it.
                within = place and (goes_on or offsets[place - 1] >= part.start)
                headings = (*part.headings, *(outline[place - 1][1] if within else ()))
                if headings and headings[0] == document.title:
                    headings = headings[1:]
                end = start + len(text)
                pieces.append(Piece(start, end, headings, text, places.of(start, end)))
        return pieces

    def _spans(self, document: Document, start: int, end: int) -> list[tuple[int, str]]:
        """Return where the pieces of `document.text[start:end]` begin, and their texts."""
        splitter = _splitter(document.format, self.tokens, self.overlap)
        found = [
            (begin + offset + place + start, text[place : place + LONGEST_PIECE])
            for offset, stretch in _stretches(document.text[start:end])
            for begin, text in splitter.chunk_indices(stretch)
            for place in range(0, len(text), LONGEST_PIECE)
        ]
        found = [(begin, text) for begin, text in found if text.strip()]
        if document.format == "text":
            return found
        spans: list[tuple[int, str]] = []
        for begin, text in reversed(found):
            joined = document.text[begin : spans[-1][0] + len(spans[-1][1])] if spans else ""
            prose = has_prose(text)
            small = not prose or count_tokens(text) < SMALL
            if small and joined and len(joined) <= LONGEST_PIECE and count_tokens(joined) <= self.tokens:
                spans[-1] = (begin, joined)
            elif prose:
                spans.append((begin, text))
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
