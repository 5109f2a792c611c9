"""Which passages an answer cites: the [n] marks in its text."""

from __future__ import annotations

import re

from ragqa.types import Citation, Context

_MARK = re.compile(r"\[(\d+(?:\s*[,;]\s*\d+)*)\]")


def cited_numbers(text: str) -> list[int]:
    """Return the numbers cited as [n] or [n, m], each once, in order of appearance."""
    numbers: dict[int, None] = {}
    for mark in _MARK.finditer(text):
        for number in re.findall(r"\d+", mark.group(1)):
            numbers[int(number[:9])] = None
    return list(numbers)


def citations(text: str, context: Context) -> list[Citation]:
    """Return what `text` cites of `context`; numbers that stand for no block are left out."""
    blocks = {block.number: block for block in context.blocks}
    return [Citation(n, blocks[n].first) for n in cited_numbers(text) if n in blocks]
