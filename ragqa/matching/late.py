"""Late interaction explained: which words gave MaxSim its parts (Khattab and Zaharia 2020, eq. 3).

The score is a sum over the vectors of the question, so each query word's share of it is exact: the
sum over its own. What a word of the passage has to do with a query word is the mean, over the query
word's vectors, of the nearest of the passage word's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np

from ragqa.encoders.tokens import Spans
from ragqa.index.maxsim import Matrix, offsets_of
from ragqa.index.token_store import TokenStore
from ragqa.language.stopwords import ENGLISH
from ragqa.matching.encoded import EncodedText, encoded_passages, encoded_question
from ragqa.matching.words import cut, is_lexical, units
from ragqa.types import Matches, Passage, QueryMatch, QueryWord, Span, WordMatch

# Products of a query vector with one shared vector differ by rounding, at most by so much.
TIE = 1e-4
# How strongly a similarity is shown. The weakest that shows is the third quartile of all words, or lies
# below the strongest by RANGE where most words match; the strongest is the highest one, or HIGH.
QUARTILE, RANGE, HIGH = 75, 0.3, 0.7


def stored_matches(stage: str, store: TokenStore, query: str, passages: Sequence[Passage]) -> list[Matches]:
    """Return the matches of `query` with the stored vectors of each passage: those its scores come from."""
    question = encoded_question(store.encoder, query)
    return late_matches(stage, question, encoded_passages(store, passages) if passages else [])


def noted(matches: Matches, score: float | None) -> Matches:
    """Return `matches`, with a note where the index that found the passage gave it another score."""
    if score is None or abs(score - matches.total) < 1e-3:
        return matches
    said = (
        f"These are the vectors that the index was made from. It compresses them, and gave {score:.4g} "
        f"where they give {matches.total:.4g}."
    )
    return replace(matches, note=" ".join(filter(None, (said, matches.note))))


def late_matches(stage: str, question: EncodedText, documents: Sequence[EncodedText]) -> list[Matches]:
    """Return the matches of `question` with each document; no document scores what it has no vector for."""
    if not documents:
        return []
    entries = _entries(question)
    found = [_Document(question, entries, document) for document in documents]
    similarities = np.concatenate([document.best_similarity for document in found])
    strengths = np.split(_strengths(similarities), offsets_of([len(d.numbers) for d in found])[1:-1])
    return [document.matches(stage, strength) for document, strength in zip(found, strengths, strict=True)]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A query word and its places among the question's vectors."""

    word: QueryWord
    columns: list[int]


def _entries(question: EncodedText) -> list[_Entry]:
    """Return the words of the question that have vectors, and last those vectors that have no word."""
    words, owners = cut(question.text, _pairs(question.spans))
    columns: dict[int, list[int]] = {}
    for column, owner in enumerate(owners):
        columns.setdefault(owner, []).append(column)
    bare = columns.pop(-1, [])
    entries = [
        _Entry(QueryWord(question.text[slice(*words[number])], *words[number]), columns[number])
        for number in sorted(columns)
    ]
    if bare:
        name = f"[{len(bare)} special token{'s' if len(bare) > 1 else ''}]"
        entries.append(_Entry(QueryWord(name), bare))
    return entries


class _Document:
    """One document's vectors against the question's, by words."""

    def __init__(self, question: EncodedText, entries: Sequence[_Entry], document: EncodedText) -> None:
        self.text, self.entries = document.text, entries
        self.words, owners = cut(document.text, _pairs(document.spans))
        products: Matrix = document.vectors @ question.vectors.T
        highest = products.max(axis=0) if len(products) else np.zeros(len(question.vectors), np.float32)
        self.shares = [float(highest[entry.columns].sum()) for entry in entries]
        # Words that have vectors, in order; special tokens, which are number -1, go last.
        self.numbers = sorted({owner for owner in owners if owner >= 0})
        row_of = {number: row for row, number in enumerate([*self.numbers, -1])}
        nearest = np.full((len(row_of), len(question.vectors)), -np.inf, np.float32)
        np.maximum.at(nearest, [row_of[owner] for owner in owners], products)
        means = [nearest[:, entry.columns].mean(axis=1) for entry in entries]
        # Shape (words and the special tokens, query words).
        self.similarities = np.stack(means, axis=1) if means else np.zeros((len(row_of), 0), np.float32)
        telling = _telling(entries)
        shown = self.similarities[:-1][:, telling]
        # Where the question has words that mean something, those of a passage that do not are not shown: a
        # model that was trained for late interaction gives each of them something of its sentence.
        meant = any(_means(entries[place].word.text) for place in telling)
        words = (self.text[slice(*self.words[number])] for number in self.numbers)
        self.shown = np.array([not meant or _means(word) for word in words], np.float32)
        self.best_query = [telling[place] for place in shown.argmax(axis=1)] if telling else []
        self.best_similarity = shown.max(axis=1) if telling else np.zeros(0, np.float32)

    def matches(self, stage: str, strengths: Matrix) -> Matches:
        rows = zip(self.numbers, self.best_similarity, strengths * self.shown, self.best_query, strict=False)
        return Matches(
            stage=stage,
            total=sum(self.shares),
            text=self.text,
            words=tuple(
                WordMatch(*self.words[number], float(similarity), float(strength), query)
                for number, similarity, strength, query in rows
            ),
            query=tuple(self._query_match(place) for place in range(len(self.entries))),
            note=self._unread(),
        )

    def _query_match(self, place: int) -> QueryMatch:
        entry, share = self.entries[place], self.shares[place]
        column = self.similarities[:, place]
        highest = float(column.max())
        if not np.isfinite(highest):
            return QueryMatch(entry.word, None, 0.0, share)
        tied = [self.words[self.numbers[row]] for row in np.flatnonzero(column[:-1] >= highest - TIE)]
        # A pooled vector stands for several words: the one that looks like the query word is meant.
        best = max(tied, key=lambda span: _alike(self.text[slice(*span)], entry.word.text), default=None)
        return QueryMatch(entry.word, best, highest, share)

    def _unread(self) -> str:
        """Return a note where words at the end have no vectors: a model reads so many tokens and no more."""
        last = self.words[self.numbers[-1]][1] if self.numbers else 0
        rest = [span for span in units(self.text[last:]) if is_lexical(self.text[last:][slice(*span)])]
        if not rest:
            return ""
        return f"The model read the first {last:,} of {len(self.text):,} characters."


def _telling(entries: Sequence[_Entry]) -> list[int]:
    """Return the places of the entries that words of a passage are shown by.

    Words that mean something, else words, else marks, else all.
    """
    said = [place for place, entry in enumerate(entries) if entry.word.end]
    lexical = [place for place in said if is_lexical(entries[place].word.text)]
    telling = [place for place in lexical if _means(entries[place].word.text)]
    return telling or lexical or said or list(range(len(entries)))


def _means(word: str) -> bool:
    """Tell whether a word means something by itself: stop words and marks do not."""
    return is_lexical(word) and word.casefold() not in ENGLISH


def _strengths(similarities: Matrix) -> Matrix:
    """Return how strongly each similarity is shown, from 0 to 1."""
    if not len(similarities):
        return similarities
    high = max(float(similarities.max()), HIGH)
    low = min(float(np.percentile(similarities, QUARTILE)), high - RANGE)
    strengths: Matrix = np.clip((similarities - low) / (high - low), 0, 1)
    return strengths


def _alike(one: str, other: str) -> float:
    return SequenceMatcher(None, one.casefold(), other.casefold(), autojunk=False).ratio()


def _pairs(spans: Spans) -> list[Span]:
    return [(int(start), int(end)) for start, end in spans.tolist()]
