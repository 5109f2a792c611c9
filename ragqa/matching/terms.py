"""Full text explained: which words of a passage a term of the question found, as FTS5 itself marks them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragqa.corpus.passages import indexed_text
from ragqa.matching.words import is_lexical, units
from ragqa.types import Matches, Passage, QueryMatch, QueryWord, Span, WordMatch

# Characters of Unicode's private use area.
_PRIVATE = range(0xE000, 0xF8FF)


@dataclass(frozen=True, slots=True)
class TermMatch:
    """What a term is worth in a passage, and where it was found: (start, end) in each field's text."""

    share: float = 0.0
    title: Sequence[Span] = ()
    headings: Sequence[Span] = ()
    text: Sequence[Span] = ()

    @property
    def found(self) -> bool:
        return bool(self.title or self.headings or self.text)


def marks(texts: Sequence[str]) -> tuple[str, str]:
    """Return two characters that are in none of `texts`, to mark what was found."""
    used = set().union(*texts) if texts else set()
    free = (chr(code) for code in _PRIVATE if chr(code) not in used)
    return next(free), next(free)


def marked(text: str, opening: str, closing: str) -> list[Span]:
    """Return where the marks in `text` are, counted without them."""
    found: list[Span] = []
    start = place = 0
    for char in text:
        if char == opening:
            start = place
        elif char == closing:
            found.append((start, place))
        else:
            place += 1
    return found


def term_matches(
    stage: str, question: str, passage: Passage, found: Mapping[str, TermMatch], strongest: float
) -> Matches:
    """Return the matches of terms with a passage; `strongest` is the highest share that is shown with it."""
    text, prefix = indexed_text(passage)
    spans = {term: _places(passage, match, text, prefix) for term, match in found.items()}
    order = list(found)
    words: dict[Span, WordMatch] = {}
    for number, term in enumerate(order):
        strength = found[term].share / strongest if strongest else 0.0
        for word in _touched(text, spans[term]):
            if word not in words or words[word].strength < strength:
                words[word] = WordMatch(*word, 1.0, strength, number)
    return Matches(
        stage=stage,
        total=sum(match.share for match in found.values()),
        text=text,
        words=tuple(words[word] for word in sorted(words)),
        query=tuple(
            QueryMatch(
                query_word(question, term),
                min(spans[term], default=None),
                1.0 if found[term].found else 0.0,
                found[term].share,
            )
            for term in order
        ),
    )


def query_word(question: str, term: str) -> QueryWord:
    """Return where the question has `term`, whose parts are joined by spaces."""
    parts = r"[\W_]+".join(re.escape(part) for part in term.split(" "))
    found = re.search(rf"(?<![^\W_]){parts}(?![^\W_])", question, re.IGNORECASE)
    # Lower case can be longer than what it is made of, and is then not found.
    return QueryWord(found[0], *found.span()) if found else QueryWord(term)


def _places(passage: Passage, match: TermMatch, text: str, prefix: int) -> list[Span]:
    """Return where in the text that is shown, `indexed_text`, the term was found."""
    found = [(start + prefix, end + prefix) for start, end in match.text]
    for spans, place, step in _steps(passage, match, text[: max(prefix - 1, 0)]):
        found += [(start + place, end + place) for start, end in spans if end <= len(step)]
    return sorted(found)


def _steps(passage: Passage, match: TermMatch, path: str) -> Iterator[tuple[list[Span], int, str]]:
    """Yield, for title and headings, where the term is in each, where `path` has it, and how much of it."""
    fields = [(passage.title, 0, match.title)]
    start = 0
    for heading in passage.headings:
        fields.append((heading, start, match.headings))
        start += len(heading) + 1
    place = 0
    for step, start, spans in fields:
        shown = path[place : place + len(step)]
        if step and shown and step.startswith(shown):
            yield [(s - start, e - start) for s, e in spans if start <= s < start + len(step)], place, shown
            place += len(step) + len(" > ")


def _touched(text: str, places: Sequence[Span]) -> Iterator[Span]:
    """Yield the whole words that any of `places` touches."""
    words = units(text) if places else []
    for word in words:
        touched = any(start < word[1] and end > word[0] for start, end in places)
        if touched and is_lexical(text[slice(*word)]):
            yield word
