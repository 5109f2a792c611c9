"""Which sentences of the passages match the question: MaxSim over the token vectors of each sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ragqa.answer.sentences import split_sentences
from ragqa.colbert.encoder import Spans, TokenEncoder, Vectors
from ragqa.colbert.maxsim import maxsim
from ragqa.colbert.store import TokenStore, indexed_text
from ragqa.types import Passage


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, `text[start:end]`; `score` is its MaxSim per token of the question."""

    start: int
    end: int
    text: str
    score: float


# From a question and passages to the scored sentences of each, in reading order.
SentenceRanker = Callable[[str, Sequence[Passage]], list[list[Sentence]]]


def stored_ranker(store: TokenStore) -> SentenceRanker:
    """Return a ranker that uses the token vectors of `store`, so that nothing but the question is encoded."""

    def rank(question: str, passages: Sequence[Passage]) -> list[list[Sentence]]:
        matrix = store.load(passages)
        texts = [indexed_text(passage) for passage in passages]
        spans = store.encoder.document_spans([text for text, _ in texts])
        (query,) = store.encoder.encode_queries([question])
        result = []
        for number, passage in enumerate(passages):
            vectors = matrix.vectors[matrix.offsets[number] : matrix.offsets[number + 1]]
            result.append(_score(query, vectors, spans[number], passage.text, texts[number][1]))
        return result

    return rank


def rank_texts(encoder: TokenEncoder, question: str, texts: Sequence[str]) -> list[list[Sentence]]:
    """Return the scored sentences of each text, encoding all of them now."""
    (query,) = encoder.encode_queries([question])
    vectors = encoder.encode_documents(texts)
    spans = encoder.document_spans(texts)
    return [_score(query, vectors[number], spans[number], text, 0) for number, text in enumerate(texts)]


def _score(query: Vectors, vectors: Vectors, spans: Spans, text: str, prefix: int) -> list[Sentence]:
    """Score the sentences of `text`, whose first character is character `prefix` of what was encoded."""
    sentences = split_sentences(text)
    rows = []
    for start, end in sentences:
        inside = (spans[:, 0] >= start + prefix) & (spans[:, 1] <= end + prefix) & (spans[:, 1] > 0)
        rows.append(np.flatnonzero(inside))
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    gathered = vectors[np.concatenate(rows)] if rows else vectors[:0]
    scores = maxsim(query, gathered, offsets) / max(len(query), 1)
    return [
        Sentence(start, end, text[start:end], float(score))
        for (start, end), score in zip(sentences, scores, strict=True)
    ]
