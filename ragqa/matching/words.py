"""Text as words: runs of letters and digits, and symbols, none of which is ever cut in two."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from ragqa.types import Span

Kind = Literal["space", "letter", "alone", "extend", "flag"]
_JOINER = "\u200d"


def units(text: str) -> list[Span]:
    """Return where the words and the symbols of `text` are: all of it but white space.

    A word is a run of letters and digits; an ideograph is a word of its own, because tokenizers
    read it so. Marks, joiners and modifiers stay with what they follow, as do the two halves of a flag.
    """
    found: list[Span] = []
    last: Kind = "space"
    for place, char in enumerate(text):
        kind = _kind(char)
        if kind == "space":
            last = kind
            continue
        joined = last != "space" and (
            kind == "extend" or text[place - 1] == _JOINER or (kind == last and kind in ("letter", "flag"))
        )
        if joined:
            found[-1] = (found[-1][0], place + 1)
            # A flag has two halves; a third begins the next one.
            last = "alone" if kind == "flag" else last
        else:
            found.append((place, place + 1))
            last = "alone" if kind == "extend" else kind
    return found


def cut(text: str, spans: Sequence[Span]) -> tuple[list[Span], list[int]]:
    """Return the words of `text`, and for each token which of them it belongs to; -1: to none.

    `spans` are where the tokens come from, (0, 0) for one that comes from nowhere. Pieces of a word
    belong to that word; units that one token covers become one word.
    """
    found = units(text)
    starts, ends = [start for start, _ in found], [end for _, end in found]
    covered = [
        (bisect_right(ends, start), bisect_left(starts, end) - 1) if end > start else (0, -1)
        for start, end in spans
    ]
    first_of = list(range(len(found)))
    for first, last in covered:
        for place in range(first + 1, last + 1):
            first_of[place] = min(first_of[place], first)
    words: list[Span] = []
    number: list[int] = []
    for place, (start, end) in enumerate(found):
        if first_of[place] < place:
            words[-1] = (words[-1][0], end)
        else:
            words.append((start, end))
        number.append(len(words) - 1)
    return words, [number[first] if first <= last else -1 for first, last in covered]


def is_lexical(text: str) -> bool:
    """Tell whether there is a letter or a digit in `text`: whether it is more than punctuation."""
    return any(char.isalnum() for char in text)


@lru_cache(maxsize=4096)
def _kind(char: str) -> Kind:
    if char.isspace():
        return "space"
    code, category = ord(char), unicodedata.category(char)
    if category[0] == "M" or category in ("Cf", "Cc") or 0x1F3FB <= code <= 0x1F3FF:
        return "extend"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "flag"
    if category[0] not in "LN":
        return "alone"
    return "alone" if _is_ideograph(code) else "letter"


def _is_ideograph(code: int) -> bool:
    return (
        0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x323AF
    )
