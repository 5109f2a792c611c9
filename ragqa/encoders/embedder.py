"""Models that make one vector of a text: the embedded one, and whatever sentence-transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import model_validator

from ragqa.config import Strict
from ragqa.encoders.device import Compute, has_torch, may_have_accelerator
from ragqa.encoders.embedded.catalogue import TEXT_MODELS, check_name, text_identity
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS
from ragqa.encoders.engines import is_lean, load_encoder
from ragqa.encoders.hub import load, made_by, pair, quieten
from ragqa.encoders.tokens import EncoderSettings, PoolingEncoder, Remembered, Vectors
from ragqa.encoders.unpacked import checkpoint_folder
from ragqa.errors import require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 32


class EmbedderSettings(Strict):
    """Which model makes a text's vector: a name in `TEXT_MODELS`, a folder or a hub name.

    `query_prompt` and `document_prompt` are put before the texts; without them the model's own
    prompts are, where it has some.
    """

    model: str = "embedded"
    query_prompt: str | None = None
    document_prompt: str | None = None

    @model_validator(mode="after")
    def _no_prompts_for_the_embedded(self) -> EmbedderSettings:
        check_name(self.model, TEXT_MODELS)
        if self.model in TEXT_MODELS and (self.query_prompt or self.document_prompt):
            raise ValueError(
                "the embedded models have the prompts that they were trained with, and take none"
            )
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
    """An embedded model whose vector is the mean of the states that its token vectors are made of."""

    def __init__(self, name: str, encoder: PoolingEncoder) -> None:
        model = TEXT_MODELS[name]
        self.encoder = encoder
        self.identity = text_identity(model)
        self.dimensions = model.hidden

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encoder.embed_queries(texts)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self.encoder.encode_both(texts)[1]


class SentenceTransformersEmbedder:
    """Any embedding model that sentence-transformers loads; raises RagqaError for one that it cannot."""

    def __init__(self, settings: EmbedderSettings, compute: Compute, revision: str | None = None) -> None:
        require("sentence_transformers", f"The embedding model {settings.model}", "ragqa[torch]")
        device = compute.torch_device()
        known = TEXT_MODELS.get(settings.model)
        model = load_text_model(settings.model, device, revision)
        self.settings = settings
        self._queries, self._documents = pair(model, device, compute.dtype)
        self._remembered = Remembered(
            lambda texts: self._normalised(self._queries.encode_query, texts, settings.query_prompt)
        )
        self.dimensions = self.embed_queries(["size"]).shape[1]
        if known is not None:
            self.identity = text_identity(known)
            return
        prompt = settings.document_prompt
        self.identity = {
            **made_by(model, settings.model, revision),
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
    name = settings.model
    model = TEXT_MODELS.get(name)
    if model is None:
        return SentenceTransformersEmbedder(settings, compute, revision)
    if model.tokens:
        encoder = load_encoder(EncoderSettings(model=name), compute)
        assert isinstance(encoder, PoolingEncoder)
        return EmbeddedEmbedder(name, encoder)
    if not is_lean(compute):
        return SentenceTransformersEmbedder(settings, compute)
    from ragqa.encoders.onnx_engine import LeanEmbedder

    faster = has_torch() and compute.device == "auto" and may_have_accelerator()
    return LeanEmbedder(name, (lambda: SentenceTransformersEmbedder(settings, compute)) if faster else None)


def load_text_model(name: str, device: str, revision: str | None = None) -> SentenceTransformer:
    """Return a model by folder or hub name, or an embedded one; RagqaError where it cannot be loaded."""
    from sentence_transformers import SentenceTransformer

    model = TEXT_MODELS.get(name)
    if model is None:
        return load(SentenceTransformer, "embedding model", name, device, revision)
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    quieten()
    assert model.pooling is not None
    transformer = Transformer(
        str(checkpoint_folder(model)), max_seq_length=MAX_TOKENS, model_kwargs={"local_files_only": True}
    )
    return SentenceTransformer(
        modules=[transformer, Pooling(model.hidden, pooling_mode=model.pooling), Normalize()],
        device=device,
        prompts={"query": model.query_prefix, "document": ""},
    )
