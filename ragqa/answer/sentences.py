"""Cutting a passage of Markdown or prose into sentences, by character spans.

A code block is one sentence; a line that ends in a colon takes the code or list item after it
along, because neither says anything alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from ragqa.answer.citations import MARK

Span = tuple[int, int]

# What may be one sentence with what it introduces; longer code stands alone.
LONGEST_JOINED = 500

_FENCE = re.compile(r"^(?P<mark>`{3,}|~{3,})[^\n]*\n.*?(?:^(?P=mark)[^\n]*$|\Z)", re.M | re.S)
_BLANK = re.compile(r"\n[ \t]*\n")
_ITEM = re.compile(r"\n(?=[ \t]*(?:[-*+]|\d+[.)])[ \t]+|#{1,6}[ \t]|\|)")
_END = re.compile(r"(?<=[.!?…])[\"'”’)\]*_`]*\s+(?=[\"'“‘(\[*_`]*[A-Z0-9])|(?<=[。！？])")
# Alone on a line they cite what is above, as after a code block.
_MARKS_ALONE = rf"[ \t]*{MARK}(?:[ \t]*{MARK})*[ \t]*$"
_MARKS_AFTER = re.compile(
    rf"(?P<end>[.!?…。！？][\"'”’)*_`]*)(?P<marks>(?:[ \t]*{MARK})+(?:\n{_MARKS_ALONE})*)|^{_MARKS_ALONE}",
    re.M,
)
_MARKS_BELOW = re.compile(rf"(?:\s*^{_MARKS_ALONE})+", re.M)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|nos|fig|figs|eq|dr|mr|mrs|ms|prof|st|jr|sr|inc|ltd|co|corp|dept"
    r"|est|gen|gov|rev|sen|rep|vol|ed|eds|al|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)|\b[A-Z])\.$",
    re.I,
)
_LONGEST_ABBREVIATION = 12
# "1. " before a list item.
_NUMBER = re.compile(r"\s*\d{1,3}\.")


def split_sentences(text: str) -> list[Span]:
    """Return the spans of the sentences of `text`, in order, without surrounding white space."""
    spans = [span for block in _blocks(text) for span in _sentences(text, block)]
    return _joined(text, spans)


def answer_sentences(text: str) -> list[Span]:
    """Return the spans of the sentences of an answer, each with the citations that follow it.

    After a full stop and its citations another sentence begins, whatever it begins with.
    """
    masked = _MARKS_AFTER.sub(_mask, text)
    ends = [marks.end() for marks in _MARKS_AFTER.finditer(text) if marks["end"]]
    spans: list[Span] = []
    for start, end in split_sentences(masked):
        below = _MARKS_BELOW.match(text, end)
        last = end + len(below[0].rstrip()) if below else end
        code = _FENCE.search(text, start, end) is not None
        cuts = [] if code else [cut for cut in ends if start < cut < end and text[cut].isspace()]
        for first, then in itertools.pairwise([start, *cuts, last]):
            spans.extend(_trimmed(text, first, then))
    return spans


def _mask(marks: re.Match[str]) -> str:
    """Return as many characters that end a sentence as its marks have, which look like a new one's begin.

    The "!" says that what seems an abbreviation before them is the end of a sentence.
    """
    if marks["end"] is None:
        return "]" * len(marks[0])
    return f"{marks['end']}!{']' * (len(marks['marks']) - 1)}"


def _blocks(text: str) -> Iterator[Span]:
    """Yield code blocks whole, and between them paragraphs, list items, headings and table rows."""
    position = 0
    for fence in [*_FENCE.finditer(text), None]:
        end = fence.start() if fence else len(text)
        yield from _prose_blocks(text, position, end)
        if fence:
            yield fence.start(), fence.end()
            position = fence.end()


def _prose_blocks(text: str, start: int, end: int) -> Iterator[Span]:
    cuts = {start, end}
    for pattern in (_BLANK, _ITEM):
        cuts.update(match.end() for match in pattern.finditer(text, start, end))
    for line in re.finditer(r"^#{1,6}[ \t][^\n]*\n", text[start:end], re.M):
        cuts.add(start + line.end())
    edges = sorted(cuts)
    yield from itertools.pairwise(edges)


def _sentences(text: str, block: Span) -> Iterator[Span]:
    start, end = block
    if _FENCE.match(text, start):
        yield start, end
        return
    position = start
    for match in _END.finditer(text, start, end):
        before = max(position, match.start() - _LONGEST_ABBREVIATION)
        if _ABBREVIATION.search(text, before, match.start()):
            continue
        if position == start and _NUMBER.fullmatch(text, position, match.start()):
            continue
        yield from _trimmed(text, position, match.end())
        position = match.end()
    yield from _trimmed(text, position, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    stripped = text[start:end].strip()
    if any(char.isalnum() for char in stripped):
        begin = text.index(stripped, start)
        yield begin, begin + len(stripped)


def _joined(text: str, spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        if joined:
            start, end = joined[-1]
            heading = text[start] == "#"
            if (text[end - 1] == ":" and not heading) and span[1] - start <= LONGEST_JOINED:
                joined[-1] = (start, span[1])
                continue
        joined.append(span)
    return joined
