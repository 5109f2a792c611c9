"""Dense vectors in the corpus file: made once per passage, all of them in memory for a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ragqa.corpus.database import Corpus
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.embedder import EmbeddedEmbedder, Embedder
from ragqa.encoders.tokens import TokenEncoder, Vectors
from ragqa.index.dense_matrix import DenseMatrix
from ragqa.index.passage_store import PassageStore, Row
from ragqa.types import Passage

TABLE = "dense_vectors"

Codec = Literal["float32", "float16", "int8"]
DENSE_CODEC: Codec = "int8"


class DenseStore(PassageStore):
    """The stored vectors of one model in one corpus, kept in memory while the file is unchanged."""

    table = TABLE
    columns = ("data",)
    what = "dense vectors"

    def __init__(
        self,
        corpus: Corpus,
        embedder: Embedder,
        codec: Codec,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(corpus, {**embedder.identity, "codec": codec}, note)
        self.embedder = embedder
        self.codec: Codec = codec
        self._kept: tuple[tuple[int, int], DenseMatrix] | None = None

    @property
    def question_model(self) -> object:
        # The embedded model's token vectors and their mean come from one pass.
        return self.embedder.encoder if isinstance(self.embedder, EmbeddedEmbedder) else self.embedder

    def encode_question(self, question: str) -> None:
        self.embedder.embed_queries([question])

    def encode(self, passages: Sequence[Passage]) -> dict[int, Row]:
        texts = [indexed_text(passage)[0] for passage in passages]
        return self.rows_of(passages, self.embedder.embed_documents(texts))

    def rows_of(self, passages: Sequence[Passage], vectors: Vectors) -> dict[int, Row]:
        packed = zip(passages, self.pack(vectors), strict=True)
        return {passage.rowid: (data,) for passage, data in packed}

    def pack(self, vectors: Vectors) -> list[bytes]:
        """Return vectors, shape (passages, dimensions), as they are stored."""
        return [_to_bytes(vector, self.codec) for vector in vectors]

    def comes_with(self, encoder: TokenEncoder) -> bool:
        """Tell whether `encoder`'s pass over a text gives this store's vector too."""
        embedder = self.embedder
        return isinstance(embedder, EmbeddedEmbedder) and embedder.encoder.identity == encoder.identity

    def matrix(self) -> DenseMatrix:
        """Return all stored vectors."""
        state = self.corpus.state()
        if self._kept is None or self._kept[0] != state:
            rows = self.corpus.connection.execute(
                f"SELECT passage, data FROM {TABLE} WHERE encoder = ? ORDER BY passage", [self.encoder_row()]
            ).fetchall()
            self._kept = state, self.matrix_of({row[0]: row[1:] for row in rows})
        return self._kept[1]

    def matrix_of(self, rows: Mapping[int, Row]) -> DenseMatrix:
        """Return the vectors of rows, which are by their passages' keys."""
        data = b"".join(row[0] for row in rows.values())
        return _from_bytes(list(rows), data, self.embedder.dimensions, self.codec)


def stored_embedders(corpus: Corpus) -> list[dict[str, Any]]:
    """Return what is stored per embedding model: model, codec, passages, bytes."""
    rows = corpus.connection.execute(
        "SELECT e.fingerprint, e.description, count(*), sum(length(v.data))"
        f" FROM encoders e JOIN {TABLE} v ON v.encoder = e.rowid GROUP BY e.rowid ORDER BY e.rowid"
    )
    return [
        {
            "fingerprint": fingerprint,
            "model": json.loads(description)["model"],
            "codec": json.loads(description)["codec"],
            "passages": passages,
            "bytes": size,
        }
        for fingerprint, description, passages, size in rows
    ]


def _to_bytes(vector: Vectors, codec: Codec) -> bytes:
    """Return a vector in its codec; int8 has one float32 scale before 127 levels each way."""
    if codec != "int8":
        return bytes(vector.astype(codec).tobytes())
    scale = np.float32(max(float(np.abs(vector).max()), 1e-12) / 127)
    return bytes(scale.tobytes() + np.rint(vector / scale).astype(np.int8).tobytes())


def _from_bytes(rowids: list[int], data: bytes, dimensions: int, codec: Codec) -> DenseMatrix:
    if codec != "int8":
        ones = np.ones(len(rowids), np.float32)
        rows = np.frombuffer(data, codec).reshape(-1, dimensions)
        # numpy turns float16 into float32 slowly, ten times slower than int8: once, and not per question.
        return DenseMatrix(rowids, rows.astype(np.float32, copy=False), ones)
    packed = np.frombuffer(data, np.uint8).reshape(-1, 4 + dimensions)
    scales = np.ascontiguousarray(packed[:, :4]).view(np.float32)[:, 0]
    return DenseMatrix(rowids, np.ascontiguousarray(packed[:, 4:]).view(np.int8), scales)
