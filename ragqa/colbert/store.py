"""Token vectors in the corpus file: made once per passage, read back in one query per question."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragqa.colbert.encoder import PoolingEncoder, TokenEncoder, Vectors
from ragqa.colbert.maxsim import Offsets
from ragqa.colbert.quantise import Codec, decode, encode
from ragqa.corpus.database import Corpus
from ragqa.corpus.derived import PassageStore, Row, indexed_text
from ragqa.types import Passage

TABLE = "token_vectors"


@dataclass(frozen=True, slots=True)
class TokenMatrix:
    """The token vectors of several passages: those of passage i are rows offsets[i] to offsets[i + 1]."""

    vectors: Vectors
    offsets: Offsets


class TokenStore(PassageStore):
    """The stored token vectors of one encoder in one corpus."""

    table = TABLE
    columns = ("tokens", "data")
    what = "token vectors"

    def __init__(
        self,
        corpus: Corpus,
        encoder: TokenEncoder,
        codec: Codec,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(corpus, {**encoder.identity, "codec": codec}, note)
        self.encoder = encoder
        self.codec: Codec = codec

    def load(self, passages: Sequence[Passage]) -> TokenMatrix:
        """Return the vectors of `passages`, in their order, read in one query."""
        found = self.read(passages)
        return self._matrix([found[passage.rowid] for passage in passages])

    def encode(self, passages: Sequence[Passage]) -> dict[int, Row]:
        return self._rows(passages, self.encoder.encode_documents(_texts(passages)))

    def encode_with(self, passages: Sequence[Passage], beside: PassageStore) -> list[dict[int, Row]]:
        if not isinstance(self.encoder, PoolingEncoder):
            return super().encode_with(passages, beside)
        matrices, pooled = self.encoder.encode_both(_texts(passages))
        return [self._rows(passages, matrices), beside.rows_of(passages, pooled)]

    def _rows(self, passages: Sequence[Passage], matrices: Sequence[Vectors]) -> dict[int, Row]:
        return {
            passage.rowid: (len(matrix), encode(matrix, self.codec))
            for passage, matrix in zip(passages, matrices, strict=True)
        }

    def _matrix(self, rows: Sequence[Row]) -> TokenMatrix:
        if not rows:
            return TokenMatrix(np.zeros((0, self.encoder.dimensions), np.float32), np.zeros(1, np.int64))
        tokens = [row[0] for row in rows]
        vectors = decode([row[1] for row in rows], tokens, self.encoder.dimensions, self.codec)
        return TokenMatrix(vectors, np.concatenate([[0], np.cumsum(tokens)]).astype(np.int64))


def stored_encoders(corpus: Corpus) -> list[dict[str, Any]]:
    """Return what is stored per encoder: model, codec, passages, tokens, bytes."""
    rows = corpus.connection.execute(
        "SELECT e.fingerprint, e.description, count(*), sum(v.tokens), sum(length(v.data))"
        " FROM encoders e JOIN token_vectors v ON v.encoder = e.rowid GROUP BY e.rowid ORDER BY e.rowid"
    )
    return [
        {
            "fingerprint": fingerprint,
            "model": json.loads(description)["model"],
            "codec": json.loads(description)["codec"],
            "passages": passages,
            "token_vectors": tokens,
            "bytes": size,
        }
        for fingerprint, description, passages, tokens, size in rows
    ]


def _texts(passages: Sequence[Passage]) -> list[str]:
    return [indexed_text(passage)[0] for passage in passages]
