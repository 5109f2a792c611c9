"""A passage as it is shown: its text in pieces, none of them cut within a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragqa.corpus.passages import indexed_text
from ragqa.types import ExplainedHit, Matches, Span, WordMatch

# From these strengths on a word is shown as matching, four times as strongly as the last.
LEVELS = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text. `match` is its word's, by the stage that is shown; None where there is none.

    `level`, from 0 to 4, is how strongly it matches; `also` tells that another stage matched it as well.
    """

    text: str
    start: int
    match: WordMatch | None = None
    level: int = 0
    also: bool = False


def shown(hit: ExplainedHit) -> Matches | None:
    """Return the matches that a passage's words are shaded by: the last stage's."""
    return hit.matches[-1] if hit.matches else None


def shown_text(hit: ExplainedHit) -> str:
    """Return the text that the stages read of a hit."""
    matches = shown(hit)
    return matches.text if matches else indexed_text(hit.hit.passage)[0]


def segments(hit: ExplainedHit, text: str) -> list[Segment]:
    """Return `text`, which is what all stages read, in pieces that make it up again."""
    main = shown(hit)
    words = main.words if main else ()
    others = [(word.start, word.end) for matches in hit.matches[:-1] for word in matches.words]
    spans = sorted({(word.start, word.end) for word in words} | _apart(others, words))
    match_of = {(word.start, word.end): word for word in words}
    pieces: list[Segment] = []
    place = 0
    for start, end in spans:
        if start > place:
            pieces.append(Segment(text[place:start], place))
        match = match_of.get((start, end))
        also = any(first < end and last > start for first, last in others)
        pieces.append(Segment(text[start:end], start, match, level(match.strength) if match else 0, also))
        place = end
    if place < len(text):
        pieces.append(Segment(text[place:], place))
    return pieces


def level(strength: float) -> int:
    """Return how strongly a word is shown: 0, not at all, to 4."""
    return sum(strength >= step for step in LEVELS)


def _apart(spans: Sequence[Span], words: Sequence[WordMatch]) -> set[Span]:
    """Return those of `spans` that touch none of `words`, each of which is a word itself."""
    kept: set[Span] = set()
    for start, end in sorted(set(spans)):
        touches = any(word.start < end and word.end > start for word in words)
        if not touches and all(last <= start for _, last in kept):
            kept.add((start, end))
    return kept
