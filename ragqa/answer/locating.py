"""Where in its source the words stand that an answer cites: on which page, in which line.

The rule. Of the passages behind a number, the sentence that has most words in common with the first sentence
that cites it (Dice: twice the common words, of all words of both) gives passage and line. It fails where an
answer says something in none of the passage's words; then it is the first passage's first line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ragqa.answer.citations import citations, cited_numbers
from ragqa.answer.sentences import answer_sentences, split_sentences
from ragqa.types import CheckedSentence, Citation, Context, Passage

_WORD = re.compile(r"\w+")


def located_citations(
    text: str, context: Context, checked: Sequence[CheckedSentence] = ()
) -> tuple[Citation, ...]:
    """Return what `text` cites of `context`, each at the place of what it is cited for."""
    blocks = {block.number: block for block in context.blocks}
    # Of several the first: it leads, and the place of all of them together would be none of theirs.
    citing: dict[int, str] = {}
    for start, end in answer_sentences(text):
        for number in cited_numbers(text[start:end]):
            citing.setdefault(number, text[start:end])
    found = []
    for citation in citations(text, context, checked):
        passage = located(blocks[citation.number].passages, citing.get(citation.number, ""))
        found.append(replace(citation, passage=passage))
    return tuple(found)


def located(passages: Sequence[Passage], said: str) -> Passage:
    """Return the one of `passages` that says most of what `said` does, at the place of that sentence."""
    words = _words(said)
    best, where, score = passages[0], (0, 0), 0.0
    for passage in passages:
        for start, end in split_sentences(passage.text):
            others = _words(passage.text[start:end])
            common = 2 * len(words & others) / max(len(words) + len(others), 1)
            if common > score:
                best, where, score = passage, (start, end), common
    return best if not score else at(best, *where)


def at(passage: Passage, start: int, end: int) -> Passage:
    """Return a passage at the place of `text[start:end]`: the same page, but fewer lines or rows."""
    place = passage.place
    if place is None or not place.first:
        return passage
    first = place.first + passage.text.count("\n", 0, start)
    last = first + passage.text[start:end].strip("\n").count("\n")
    return replace(passage, place=replace(place, first=first, last=last))


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
