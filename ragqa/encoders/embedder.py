"""Models that make one vector of a text: the embedded one, and whatever sentence-transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from pydantic import model_validator

from ragqa.config import Strict
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.minilm import CHECKPOINTS, DIMENSIONS
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.hub import load, pair, weights_of
from ragqa.encoders.tokens import EncoderSettings, PoolingEncoder, Remembered, Vectors
from ragqa.errors import require

BATCH = 32


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
