"""Passages of documents that lie elsewhere: cut when they are found, kept in no file of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set

from ragqa.config import ChunkSettings
from ragqa.corpus.chunking import Chunker
from ragqa.language.match import match_terms
from ragqa.types import Document, Hit, Passage

# How many passages of one document are candidates, at most.
PIECES = 5


def foreign_hits(
    found: Sequence[tuple[Document, float]],
    query: str,
    k: int,
    stage: str,
    stop_words: Set[str],
    chunk: ChunkSettings,
) -> list[Hit]:
    """Return the best passages of documents found elsewhere, `found` best first with their scores.

    First every document's best passage, in the documents' order, then their second-best ones, and so
    on: a passage is the better the more of the question's terms it holds.
    """
    chunker = Chunker(chunk.tokens, chunk.overlap)
    terms = match_terms(query, stop_words)
    ranked: list[tuple[int, int, Passage, float]] = []
    for place, (document, score) in enumerate(found):
        passages = _passages(document, chunker)
        passages.sort(key=lambda passage: -sum(term in passage.text.lower() for term in terms))
        ranked += [(turn, place, passage, score) for turn, passage in enumerate(passages[:PIECES])]
    ranked.sort(key=lambda entry: entry[:2])
    return [
        Hit(passage, rank, score, {stage: score}) for rank, (_, _, passage, score) in enumerate(ranked[:k], 1)
    ]


def _passages(document: Document, chunker: Chunker) -> list[Passage]:
    return [
        Passage(
            rowid=_key(document, ordinal),
            document_id=document.id,
            ordinal=ordinal,
            start=piece.start,
            end=piece.end,
            title=document.title,
            headings=piece.headings,
            text=piece.text,
            source=document.source,
            metadata=document.metadata,
            place=piece.place,
        )
        for ordinal, piece in enumerate(chunker.pieces(document))
    ]


def _key(document: Document, ordinal: int) -> int:
    """Return a negative key: no row of a corpus has one, so nothing is ever stored for a foreign passage."""
    name = f"{document.source}\0{document.id}\0{ordinal}".encode("utf-8", "surrogateescape")
    return -1 - int.from_bytes(hashlib.sha256(name).digest()[:7], "big")
