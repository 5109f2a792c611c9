"""Which sentences of the passages match the question: MaxSim over the token vectors of each sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ragqa.answer.definitions import defines, echoes, subject_of
from ragqa.answer.sentences import split_sentences
from ragqa.colbert.encoder import Spans, TokenEncoder, Vectors
from ragqa.colbert.maxsim import best_matches, offsets_of
from ragqa.colbert.store import TokenStore
from ragqa.corpus.chunking import has_prose
from ragqa.corpus.derived import indexed_text
from ragqa.types import ContextBlock

# A sentence is worth reading when its score is at least this share of the best one's.
NEARLY = 0.85
# What a sentence that defines the subject of "what is X?" gains; cosines differ by less among the best.
DEFINITION = 0.15
# How much a match with the title is worth to each sentence, of what one in the sentence itself is.
TITLE_SHARE = 0.7
# The span of a token vector that comes from the title and headings before the text.
TITLE = -1


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, `text[start:end]`.

    `score` is its MaxSim per token of the question, and DEFINITION more where it says what the
    question asks for.
    """

    start: int
    end: int
    text: str
    score: float


# From a question and blocks of text to the scored sentences of each block, in reading order.
SentenceRanker = Callable[[str, Sequence[ContextBlock]], list[list[Sentence]]]


def stored_ranker(store: TokenStore) -> SentenceRanker:
    """Return a ranker that uses the token vectors of `store`, so that nothing but the question is encoded."""

    def rank(question: str, blocks: Sequence[ContextBlock]) -> list[list[Sentence]]:
        passages = [passage for block in blocks for passage in block.passages]
        matrix = store.load_tokens(passages)
        texts = [indexed_text(passage) for passage in passages]
        spans = store.encoder.document_spans([text for text, _ in texts])
        (query,) = store.encoder.encode_queries([question])
        ranked = []
        first = 0
        for block in blocks:
            last = first + len(block.passages)
            # From places in what was encoded to places in the block.
            moved = [
                _moved(spans[number], texts[number][1], offset)
                for number, offset in zip(range(first, last), block.offsets, strict=True)
            ]
            vectors = matrix.vectors[matrix.offsets[first] : matrix.offsets[last]]
            ranked.append(_score(question, query, vectors, np.concatenate(moved), block.text))
            first = last
        return ranked

    return rank


def rank_texts(encoder: TokenEncoder, question: str, texts: Sequence[str]) -> list[list[Sentence]]:
    """Return the scored sentences of each text, encoding all of them now."""
    (query,) = encoder.encode_queries([question])
    vectors = encoder.encode_documents(texts)
    spans = encoder.document_spans(texts)
    return [
        _score(question, query, vectors[number], spans[number], text) for number, text in enumerate(texts)
    ]


def _moved(spans: Spans, prefix: int, offset: int) -> Spans:
    """Return spans of an encoded text as spans of a block: those of its title become TITLE, both ends.

    The text proper begins at `prefix` in what was encoded and at `offset` in the block.
    """
    special = spans[:, 1:] == 0
    title = ~special & (spans[:, 1:] <= prefix)
    moved: Spans = np.where(special, 0, np.where(title, TITLE, spans + (offset - prefix)))
    return moved


def _score(question: str, query: Vectors, vectors: Vectors, spans: Spans, text: str) -> list[Sentence]:
    """Score the sentences of `text`, whose token vectors come from its characters `spans`.

    The words of the title count, at TITLE_SHARE, as said in each sentence, because a sentence seldom
    repeats what its document is about. Left out is what repeats the words of a question and answers nothing:
    headings, images, and sentences that hold the whole question.
    """
    sentences = [
        (start, end)
        for start, end in split_sentences(text)
        if has_prose(text[start:end]) and not echoes(text[start:end], question)
    ]
    title = query @ vectors[spans[:, 0] == TITLE].T
    floor = TITLE_SHARE * title.max(axis=1, initial=0.0)
    rows = [
        np.flatnonzero((spans[:, 0] >= start) & (spans[:, 1] <= end) & (spans[:, 1] > 0))
        for start, end in sentences
    ]
    offsets = offsets_of([len(row) for row in rows])
    gathered = vectors[np.concatenate(rows)] if rows else vectors[:0]
    matches = np.maximum(best_matches(query, gathered, offsets), floor)
    scores = matches.sum(axis=1) / max(len(query), 1)
    subject = subject_of(question)
    return [
        Sentence(start, end, text[start:end], float(score) + _definition(text[start:end], subject))
        for (start, end), score in zip(sentences, scores, strict=True)
    ]


def _definition(sentence: str, subject: str | None) -> float:
    return DEFINITION if subject is not None and defines(sentence, subject) else 0.0
