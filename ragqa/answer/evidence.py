"""Which sentences of the passages match the question: MaxSim over the token vectors of each sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ragqa.answer.sentences import split_sentences
from ragqa.colbert.encoder import Spans, TokenEncoder, Vectors
from ragqa.colbert.maxsim import maxsim
from ragqa.colbert.store import TokenStore, indexed_text
from ragqa.types import ContextBlock

# Images and HTML tags.
_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)|<[^>]*>")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, `text[start:end]`; `score` is its MaxSim per token of the question."""

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
        matrix = store.load(passages)
        texts = [indexed_text(passage) for passage in passages]
        spans = store.encoder.document_spans([text for text, _ in texts])
        (query,) = store.encoder.encode_queries([question])
        ranked = []
        first = 0
        for block in blocks:
            last = first + len(block.passages)
            # From places in what was encoded (title, then passage) to places in the block.
            moved = [
                np.where(
                    spans[number][:, 1:] > texts[number][1], spans[number] + (offset - texts[number][1]), -1
                )
                for number, offset in zip(range(first, last), block.offsets, strict=True)
            ]
            vectors = matrix.vectors[matrix.offsets[first] : matrix.offsets[last]]
            ranked.append(_score(query, vectors, np.concatenate(moved), block.text))
            first = last
        return ranked

    return rank


def rank_texts(encoder: TokenEncoder, question: str, texts: Sequence[str]) -> list[list[Sentence]]:
    """Return the scored sentences of each text, encoding all of them now."""
    (query,) = encoder.encode_queries([question])
    vectors = encoder.encode_documents(texts)
    spans = encoder.document_spans(texts)
    return [_score(query, vectors[number], spans[number], text) for number, text in enumerate(texts)]


def _says_something(sentence: str) -> bool:
    return not sentence.startswith("#") and any(char.isalnum() for char in _PICTURE.sub("", sentence))


def _score(query: Vectors, vectors: Vectors, spans: Spans, text: str) -> list[Sentence]:
    """Score the sentences of `text`, whose token vectors come from its characters `spans`.

    Headings and images are no sentences: they repeat the words of a question and answer nothing.
    """
    sentences = [(start, end) for start, end in split_sentences(text) if _says_something(text[start:end])]
    rows = [
        np.flatnonzero((spans[:, 0] >= start) & (spans[:, 1] <= end) & (spans[:, 1] > 0))
        for start, end in sentences
    ]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    gathered = vectors[np.concatenate(rows)] if rows else vectors[:0]
    scores = maxsim(query, gathered, offsets) / max(len(query), 1)
    return [
        Sentence(start, end, text[start:end], float(score))
        for (start, end), score in zip(sentences, scores, strict=True)
    ]
