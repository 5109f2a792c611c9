"""Which passages an answer cites: the [n] marks in its text, outside of code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ragqa.types import CheckedSentence, Citation, Context

# What cites passages: [n], [n, m].
MARK = r"\[\d+(?:\s*[,;]\s*\d+)*\]"
_MARK = re.compile(MARK)
# Code has brackets with numbers in it that cite nothing. A block that never ends is code to the end of
# the text; code within a line ends in its paragraph, else its backtick is a backtick.
_CODE = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?(?:^(?P=fence)|\Z)"
    r"|(?<!`)(?P<tick>`+)(?!`)(?:(?!\n[ \t]*\n)[^`])+(?P=tick)(?!`)",
    re.M | re.S,
)
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_IN_MARK = re.compile(r"[\d,; \t]*")
# Longer than this nothing is a mark that has begun: a model that never closes it is not waited for.
_LONGEST_MARK = 2_000


def citation_marks(text: str) -> Iterator[re.Match[str]]:
    """Yield the marks [n] and [n, m] of `text` that stand outside of code, in order."""
    position = 0
    for code in [*_CODE.finditer(text), None]:
        yield from _MARK.finditer(text, position, code.start() if code else len(text))
        position = code.end() if code else len(text)


def mark_numbers(mark: re.Match[str]) -> list[int]:
    """Return the numbers in a mark. None is so long that it could stand for a passage and cost time."""
    return [int(number[:9]) for number in re.findall(r"\d+", mark[0])]


def cited_numbers(text: str) -> list[int]:
    """Return the numbers that are cited, each once, in order of appearance."""
    return list(dict.fromkeys(number for mark in citation_marks(text) for number in mark_numbers(mark)))


def citations(text: str, context: Context, sentences: Sequence[CheckedSentence] = ()) -> tuple[Citation, ...]:
    """Return what `text` cites of `context`, with the support that the checked `sentences` have by it."""
    blocks = {block.number: block for block in context.blocks}
    support: dict[int, float] = {}
    for sentence in sentences:
        for number in sentence.cited:
            support[number] = max(support.get(number, 0.0), sentence.by_block[number])
    return tuple(Citation(n, blocks[n].first, support.get(n)) for n in cited_numbers(text) if n in blocks)


def without_strangers(text: str, known: Sequence[int]) -> tuple[str, list[int]]:
    """Return `text` without citations of numbers that are not `known`, and those numbers."""
    pieces: list[str] = []
    strangers: dict[int, None] = {}
    position = 0
    for mark in citation_marks(text):
        numbers = mark_numbers(mark)
        kept = [number for number in numbers if number in known]
        if kept == numbers:
            continue
        strangers.update(dict.fromkeys(number for number in numbers if number not in known))
        before = text[position : mark.start()]
        pieces.append(f"{before}[{', '.join(map(str, kept))}]" if kept else before.rstrip(" \t"))
        position = mark.end()
    return "".join(pieces) + text[position:], list(strangers)


def settled(text: str) -> int:
    """Return how much of `text` cites the same whatever follows: no mark and no code has just begun in it."""
    end = _begun_mark(text)
    paragraph = max((match.end() for match in _PARAGRAPH.finditer(text)), default=0)
    position = 0
    for code in [*_CODE.finditer(text), None]:
        tick = text.find("`", max(position, paragraph), code.start() if code else len(text))
        if tick >= 0:
            return min(end, tick)
        if code and code.end() == len(text) and not code["fence"]:
            return min(end, code.start())
        position = code.end() if code else len(text)
    return end


def closed_paragraphs(text: str, end: int) -> int:
    """Return where the last paragraph of `text[:end]` begins that no code reaches into: what is before it
    has no say in what cites after it."""
    places = [match.end() for match in _PARAGRAPH.finditer(text, 0, end)]
    for code in _CODE.finditer(text, 0, end):
        places = (
            [place for place in places if not code.start() < place <= code.end()] if code["fence"] else places
        )
    return places[-1] if places else 0


def _begun_mark(text: str) -> int:
    """Return where what may still become a mark begins at the end of a text, with the space that goes when
    the mark goes."""
    opening = text.rfind("[", max(0, len(text) - _LONGEST_MARK))
    if opening >= 0 and _IN_MARK.fullmatch(text, opening + 1):
        text = text[:opening]
    return len(text.rstrip(" \t"))
