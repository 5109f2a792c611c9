"""Token vectors in the corpus file: made once per passage, read back in one query per question."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from ragqa.config import Strict
from ragqa.corpus.database import Corpus
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.tokens import EncoderSettings, PoolingEncoder, TokenEncoder, Vectors
from ragqa.index.maxsim import Matrix, Offsets, best_of, offsets_of
from ragqa.index.passage_store import PassageStore, Row
from ragqa.index.pooling import Clusters, cluster, pool
from ragqa.index.quantise import Codec, decode, encode, join
from ragqa.types import Passage

TABLE = "token_vectors"
# What `encode` writes; another number wherever the same settings come to mean other bytes.
FORMAT = 2


class StorageSettings(Strict):
    """How token vectors are kept: `codec` is the number format, bits per dimension.

    `pool_factor` is how many token vectors of a passage become one, on average (1: none do).
    """

    codec: Codec = "int4"
    pool_factor: float = Field(default=2, ge=1, le=16)


class TokenSettings(EncoderSettings, StorageSettings):
    """Which encoder makes token vectors, and how they are kept."""


@dataclass(frozen=True, slots=True)
class TokenMatrix:
    """The token vectors of several passages: those of passage i are rows offsets[i] to offsets[i + 1]."""

    vectors: Vectors
    offsets: Offsets


class TokenSource(Protocol):
    """Where token vectors of passages come from: a TokenStore, or an encoder that makes them at once."""

    @property
    def encoder(self) -> TokenEncoder: ...

    def load_tokens(self, passages: Sequence[Passage]) -> TokenMatrix:
        """Return a vector for each token of `passages`, in their order."""


class UnstoredTokens:
    """A TokenSource that encodes passages when they are asked for, and keeps nothing."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self.encoder = encoder

    def load_tokens(self, passages: Sequence[Passage]) -> TokenMatrix:
        matrices = self.encoder.encode_documents(_texts(passages))
        return TokenMatrix(np.concatenate(matrices), offsets_of([len(matrix) for matrix in matrices]))


class TokenStore(PassageStore):
    """The stored token vectors of one encoder in one corpus.

    A row holds how many vectors there are, the vectors, and, where they are pooled, which of them
    stands for each token.
    """

    table = TABLE
    columns = ("tokens", "data", "members")
    what = "token vectors"

    def __init__(
        self,
        corpus: Corpus,
        encoder: TokenEncoder,
        storage: StorageSettings | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.storage = storage or StorageSettings()
        super().__init__(corpus, {**encoder.identity, **self.storage.model_dump(), "format": FORMAT}, note)
        self.encoder = encoder

    def scores(self, passages: Sequence[Passage], question: Vectors) -> Matrix:
        """Return the MaxSim of each passage with an encoded question, shape (passages,)."""
        found = self.read_or_make(passages)
        return self.maxsim([found[passage.rowid] for passage in passages], question)

    def stored_scores(self, rowids: Sequence[int], question: Vectors) -> Matrix:
        """Return what `scores` returns, for passages by key that are known to be stored; 0 for others."""
        found = self.read_stored(rowids)
        nothing = (0, b"", None)
        return self.maxsim([found.get(rowid, nothing) for rowid in rowids], question)

    def load(self, passages: Sequence[Passage]) -> TokenMatrix:
        """Return the stored vectors of `passages`, in their order, read in one query."""
        found = self.read_or_make(passages)
        return self.matrix([found[passage.rowid] for passage in passages])

    def load_tokens(self, passages: Sequence[Passage]) -> TokenMatrix:
        """Return a vector for each token of `passages`, one that is shared as often as it is shared."""
        found = self.read_or_make(passages)
        rows = [found[passage.rowid] for passage in passages]
        matrix = self.matrix(rows)
        if self.storage.pool_factor == 1:
            return matrix
        members = [_members(tokens, blob) for tokens, _, blob in rows]
        places = [first + of for first, of in zip(matrix.offsets[:-1], members, strict=True)]
        vectors = matrix.vectors[np.concatenate(places)] if places else matrix.vectors
        return TokenMatrix(vectors, offsets_of([len(of) for of in members]))

    @property
    def question_model(self) -> object:
        return self.encoder

    def encode_question(self, question: str) -> None:
        self.encoder.encode_queries([question])

    def encode(self, passages: Sequence[Passage]) -> dict[int, Row]:
        return self._rows(passages, self.encoder.encode_documents(_texts(passages)))

    def encode_with(self, passages: Sequence[Passage], beside: PassageStore) -> list[dict[int, Row]]:
        if not isinstance(self.encoder, PoolingEncoder):
            return super().encode_with(passages, beside)
        matrices, pooled = self.encoder.encode_both(_texts(passages))
        return [self._rows(passages, matrices), beside.rows_of(passages, pooled)]

    def _rows(self, passages: Sequence[Passage], matrices: Sequence[Vectors]) -> dict[int, Row]:
        return {passage.rowid: self._row(matrix) for passage, matrix in zip(passages, matrices, strict=True)}

    def _row(self, matrix: Vectors) -> Row:
        if self.storage.pool_factor == 1:
            return len(matrix), encode(matrix, self.storage.codec), None
        clusters = cluster(matrix, self.storage.pool_factor)
        pooled = pool(matrix, clusters)
        members = clusters.astype(_members_dtype(len(pooled))).tobytes()
        return len(pooled), encode(pooled, self.storage.codec), members

    def maxsim(self, rows: Sequence[Row], question: Vectors) -> Matrix:
        """Return the MaxSim of an encoded question with each row's vectors, shape (rows,)."""
        tokens = [row[0] for row in rows]
        packed = join([row[1] for row in rows], tokens, self.encoder.dimensions, self.storage.codec)
        # The best match of each token of the question, summed.
        scores: Matrix = best_of(packed.products(question), offsets_of(tokens)).sum(axis=1)
        return scores

    def matrix(self, rows: Sequence[Row]) -> TokenMatrix:
        """Return the vectors of rows, unpacked."""
        tokens = [row[0] for row in rows]
        vectors = decode([row[1] for row in rows], tokens, self.encoder.dimensions, self.storage.codec)
        return TokenMatrix(vectors, offsets_of(tokens))


def stored_encoders(corpus: Corpus) -> list[dict[str, Any]]:
    """Return what is stored per encoder: model, codec, pool_factor, passages, token_vectors, bytes."""
    rows = corpus.connection.execute(
        "SELECT e.fingerprint, e.description, count(*), sum(v.tokens),"
        " sum(length(v.data) + coalesce(length(v.members), 0))"
        f" FROM encoders e JOIN {TABLE} v ON v.encoder = e.rowid GROUP BY e.rowid ORDER BY e.rowid"
    )
    return [
        {
            "fingerprint": fingerprint,
            "model": json.loads(description)["model"],
            "codec": json.loads(description)["codec"],
            "pool_factor": json.loads(description).get("pool_factor", 1),
            "passages": passages,
            "token_vectors": tokens,
            "bytes": size,
        }
        for fingerprint, description, passages, tokens, size in rows
    ]


def _members(tokens: int, blob: bytes) -> Clusters:
    return np.frombuffer(blob, _members_dtype(tokens)).astype(np.uint16)


def _members_dtype(clusters: int) -> type[np.uint8 | np.uint16]:
    """Return the smaller of two types that can number so many clusters."""
    return np.uint8 if clusters <= 256 else np.uint16


def _texts(passages: Sequence[Passage]) -> list[str]:
    return [indexed_text(passage)[0] for passage in passages]
