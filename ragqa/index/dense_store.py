"""Dense vectors: the models that make one vector of a text, and their rows in the corpus file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, model_validator

from ragqa.config import Strict
from ragqa.corpus.database import Corpus
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.minilm import CHECKPOINTS, DIMENSIONS
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.hub import load, pair, weights_of
from ragqa.encoders.tokens import EncoderSettings, PoolingEncoder, Remembered, TokenEncoder, Vectors
from ragqa.errors import require
from ragqa.index.dense_matrix import DenseMatrix
from ragqa.index.passage_store import PassageStore, Row
from ragqa.search.stages import Resources, pick
from ragqa.types import Passage

TABLE = "dense_vectors"
BATCH = 32

Codec = Literal["float32", "float16", "int8"]
DENSE_CODEC: Codec = "int8"


class EmbedderSettings(Strict):
    """Which model makes a text's vector: "embedded", a folder or a hub name.

    `query_prompt` and `document_prompt` are put before the texts; without them the model's own
    prompts are, where it has some.
    """

    model: str = "embedded"
    query_prompt: str | None = None
    document_prompt: str | None = None

    @model_validator(mode="after")
    def _no_prompts_for_the_embedded(self) -> EmbedderSettings:
        if self.model in CHECKPOINTS and (self.query_prompt or self.document_prompt):
            raise ValueError("the embedded model was trained without prompts and takes none")
        return self


class Embedder(Protocol):
    """Turns texts into L2-normalised vectors, shape (texts, dimensions)."""

    @property
    def identity(self) -> Mapping[str, Any]: ...

    @property
    def dimensions(self) -> int: ...

    def embed_queries(self, texts: Sequence[str]) -> Vectors: ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors: ...


class EmbeddedEmbedder:
    """The embedded model: the mean of the hidden states that late interaction's token vectors come from."""

    def __init__(self, encoder: PoolingEncoder) -> None:
        self.encoder = encoder
        self.identity = {**encoder.identity, "dimensions": DIMENSIONS, "pooling": "mean"}
        self.dimensions = DIMENSIONS

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encoder.embed_queries(texts)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self.encoder.encode_both(texts)[1]


class SentenceTransformersEmbedder:
    """Any embedding model that sentence-transformers loads; raises RagqaError for one that it cannot."""

    def __init__(self, settings: EmbedderSettings, compute: Compute, revision: str | None = None) -> None:
        require("sentence_transformers", f"The embedding model {settings.model}", "ragqa[torch]")
        from sentence_transformers import SentenceTransformer

        device = compute.torch_device()
        model = load(SentenceTransformer, "embedding model", settings.model, device, revision)
        self.settings = settings
        self._queries, self._documents = pair(model, device, compute.dtype)
        self._remembered = Remembered(
            lambda texts: self._normalised(self._queries.encode_query, texts, settings.query_prompt)
        )
        self.dimensions = self.embed_queries(["size"]).shape[1]
        prompt = settings.document_prompt
        self.identity = {
            "model": settings.model,
            "weights": weights_of(model, settings.model, revision),
            "dimensions": self.dimensions,
            "prompt": model.prompts.get("document", "") if prompt is None else prompt,
        }

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        rows = self._remembered(texts)
        return np.stack(rows) if rows else np.zeros((0, self.dimensions), np.float32)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._normalised(self._documents.encode_document, texts, self.settings.document_prompt)

    def _normalised(self, encode: Callable[..., Any], texts: Sequence[str], prompt: str | None) -> Vectors:
        vectors = encode(
            list(texts),
            prompt=prompt,
            batch_size=BATCH,
            normalize_embeddings=True,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        rows: Vectors = vectors.float().cpu().numpy()
        return rows


def load_embedder(settings: EmbedderSettings, compute: Compute, revision: str | None = None) -> Embedder:
    """Return the model that `settings` name, loaded once per process and revision, as `load_encoder` does."""
    return _load(settings, compute, revision)


@cache
def _load(settings: EmbedderSettings, compute: Compute, revision: str | None) -> Embedder:
    if settings.model not in CHECKPOINTS:
        return SentenceTransformersEmbedder(settings, compute, revision)
    encoder = load_encoder(EncoderSettings(model=settings.model), compute)
    assert isinstance(encoder, PoolingEncoder)
    return EmbeddedEmbedder(encoder)


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


def dense_store(settings: BaseModel, codec: Codec, resources: Resources) -> DenseStore:
    """Return the store that a stage's settings, those of an embedder among them, come to; loads the model."""
    own = pick(settings, EmbedderSettings)
    embedder = load_embedder(own, resources.compute, resources.revision(own.model))
    return DenseStore(resources.corpus, embedder, codec, resources.note)


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
