"""The values of an explanation. Nothing here computes or shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ragqa.types import Hit

# The score under which a reranker with `fuse` keeps the fused one: it says nothing of a passage alone.
FUSED = "fusion"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class QueryWord:
    """A word of the question, `question[start:end]`.

    Both ends are 0 for what a stage reads besides words, such as special tokens; `text` then says what.
    """

    text: str
    start: int = 0
    end: int = 0

    @property
    def span(self) -> Span:
        return self.start, self.end


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """What a query word was worth: its `share` of the score.

    `best` is the place of the word in the passage that matches it best, with `similarity`; None where
    there is none, or where what matches best is no word (a special token).
    """

    word: QueryWord
    best: Span | None
    similarity: float
    share: float


@dataclass(frozen=True, slots=True)
class WordMatch:
    """A word of the passage, and the query word that matches it best, by its place in `Matches.query`.

    `strength`, from 0 to 1, is how strongly it should be shown: it compares words of all passages that
    were explained together.
    """

    start: int
    end: int
    similarity: float
    strength: float
    query: int


@dataclass(frozen=True, slots=True)
class Matches:
    """What a stage matched in a passage; places are those in `text`, which is what the stage read.

    `total` is the sum of all shares: the stage's score. Where that is not quite the score that the
    passage has from it, or where the stage did not read all, `note` says why.
    """

    stage: str
    total: float
    text: str
    words: tuple[WordMatch, ...]
    query: tuple[QueryMatch, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExplainedHit:
    """A hit with its matches, those of the last stage last.

    `ranks` is its rank by each stage's score among the candidates that have one. A passage that is
    none of the candidates has rank 0.
    """

    hit: Hit
    ranks: Mapping[str, int]
    matches: tuple[Matches, ...]

    @property
    def outside(self) -> bool:
        return self.hit.rank == 0

    @property
    def steps(self) -> tuple[tuple[str, int], ...]:
        """Its rank by each stage that scored it. Fused scores are no stage's: they give the last rank."""
        return tuple((stage, rank) for stage, rank in self.ranks.items() if stage != FUSED)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explained hits of a question, of which there were `candidates`.

    `query_words` are all that any stage matched, in the order of the question; `document` is the one
    that was asked for, if one was.
    """

    question: str
    config: str
    candidates: int
    query_words: tuple[QueryWord, ...]
    hits: tuple[ExplainedHit, ...]
    document: str | None = None
