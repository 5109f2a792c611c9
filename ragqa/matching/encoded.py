"""Texts with their token vectors: what late interaction is explained by, and sentences are scored by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragqa.corpus.passages import indexed_text
from ragqa.encoders.tokens import Spans, TokenEncoder, Vectors
from ragqa.index.token_store import TokenSource
from ragqa.types import Passage


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text with its token vectors, shape (tokens, dimensions), and where in it each comes from.

    `spans` has shape (tokens, 2): start and end in characters, both 0 for a special token.
    """

    text: str
    vectors: Vectors
    spans: Spans


def encoded_passages(source: TokenSource, passages: Sequence[Passage]) -> list[EncodedText]:
    """Return the indexed texts of passages with the vectors that `source` has of them."""
    matrix = source.load_tokens(passages)
    texts = [indexed_text(passage)[0] for passage in passages]
    vectors = np.split(matrix.vectors, matrix.offsets[1:-1])
    spans = source.encoder.document_spans(texts)
    return [EncodedText(*parts) for parts in zip(texts, vectors, spans, strict=True)]


def encoded_texts(encoder: TokenEncoder, texts: Sequence[str]) -> list[EncodedText]:
    """Return texts, encoding all of them now."""
    vectors = encoder.encode_documents(texts)
    spans = encoder.document_spans(texts)
    return [EncodedText(*parts) for parts in zip(texts, vectors, spans, strict=True)]


def encoded_question(encoder: TokenEncoder, question: str) -> EncodedText:
    """Return a question, encoded as one."""
    (vectors,), (spans,) = encoder.encode_queries([question]), encoder.query_spans([question])
    return EncodedText(question, vectors, spans)
