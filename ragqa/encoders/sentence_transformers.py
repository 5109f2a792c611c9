"""The sentence-transformers engine: reads native, PyLate and Stanford checkpoints, and the embedded one."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ragqa.encoders.embedded import minilm
from ragqa.encoders.embedded.description import EmbeddedModel
from ragqa.encoders.hub import load, pair, quieten, weights_of
from ragqa.encoders.tokens import EncoderSettings, Remembered, Spans, Vectors, spans_of
from ragqa.errors import require

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

BATCH = 32


class SentenceTransformersEncoder:
    """A TokenEncoder on `sentence_transformers.MultiVectorEncoder`.

    `device` and `dtype` are torch's names, `dtype` or "auto"; `revision` is as `load` has it. Raises
    RagqaError when the model is not there or cannot be loaded.
    """

    def __init__(
        self, settings: EncoderSettings, device: str, dtype: str = "auto", revision: str | None = None
    ) -> None:
        checkpoint = minilm.CHECKPOINTS.get(settings.model)
        model = load_multi_vector(settings.model, device, revision)
        _set_lengths(model, settings)
        self._queries, self._documents = pair(model, device, dtype)
        self._remembered = Remembered(self._encode_questions)
        if checkpoint is None:
            weights = weights_of(self._queries, settings.model, revision)
            dimensions = int(self.encode_queries(["size"])[0].shape[1])
            checkpoint = EmbeddedModel(settings.model, weights, dimensions)
        self.dimensions = checkpoint.dimensions
        self.identity = minilm.identity(settings.document_tokens, checkpoint)

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        return self._remembered(texts)

    def _encode_questions(self, texts: Sequence[str]) -> list[Vectors]:
        vectors = self._queries.encode_query(
            list(texts), batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False
        )
        return [np.asarray(matrix, dtype=np.float32) for matrix in vectors]

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        vectors = self._documents.encode_document(
            list(texts), batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False
        )
        return [np.asarray(matrix, dtype=np.float32) for matrix in vectors]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._pooled(_features(self._queries.encode_query, texts))

    def encode_both(self, texts: Sequence[str]) -> tuple[list[Vectors], Vectors]:
        features = _features(self._documents.encode_document, texts)
        tokens = [item["token_embeddings"][item["attention_mask"].bool()].float().cpu() for item in features]
        return [matrix.numpy() for matrix in tokens], self._pooled(features)

    def _pooled(self, features: Sequence[dict[str, Any]]) -> Vectors:
        """Return the normalised means that the embedded model's Pooling module left among its features."""
        if not features:
            return np.zeros((0, minilm.DIMENSIONS), np.float32)
        rows = np.stack([item["sentence_embedding"].float().cpu().numpy() for item in features])
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        prompt = self._queries.prompts.get("query") or ""
        transformer = cast(Any, self._queries[0])
        filled = (getattr(transformer, "query_expansion", None) or {}).get("length")
        encoded = cast(Any, self._queries.tokenizer)(
            [prompt + text for text in texts],
            truncation=True,
            max_length=filled or self._limit("query_length"),
            return_offsets_mapping=True,
        )
        counts = map(len, self.encode_queries(texts))
        return [
            spans_of(offsets, len(prompt), count)
            for offsets, count in zip(encoded["offset_mapping"], counts, strict=True)
        ]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        prompt = self._queries.prompts.get("document") or ""
        encoded = cast(Any, self._queries.tokenizer)(
            [prompt + text for text in texts],
            truncation=True,
            max_length=self._limit("document_length"),
            return_offsets_mapping=True,
        )
        skipped = self._skiplist()
        result = []
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            spans = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
            spans = np.maximum(spans - len(prompt), 0)
            result.append(spans[~np.isin(ids, skipped)])
        return result

    def _limit(self, name: str) -> int:
        transformer = cast(Any, self._queries[0])
        return int(getattr(transformer, name, None) or transformer.max_seq_length)

    def _skiplist(self) -> list[int]:
        for module in self._queries:
            ids = getattr(module, "_skiplist_ids", None)
            if ids is not None:
                return cast(list[int], ids.tolist())
        return []


def _set_lengths(model: MultiVectorEncoder, settings: EncoderSettings) -> None:
    transformer = cast(Any, model[0])
    if settings.document_tokens:
        transformer.document_length = settings.document_tokens
    if settings.query_tokens:
        transformer.query_length = settings.query_tokens


def _features(encode: Callable[..., Any], texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the model's modules left of each text, before any of it is thrown away."""
    features: list[dict[str, Any]] = encode(
        list(texts), batch_size=BATCH, output_value=None, show_progress_bar=False
    )
    return features


def load_multi_vector(model: str, device: str, revision: str | None = None) -> MultiVectorEncoder:
    """Return a checkpoint by folder or hub name, or the embedded one; RagqaError where it cannot be."""
    require(
        "sentence_transformers", f"The engine sentence-transformers, for the model {model},", "ragqa[torch]"
    )
    if model in minilm.CHECKPOINTS:
        return _load_embedded(minilm.CHECKPOINTS[model], device)
    from sentence_transformers import MultiVectorEncoder

    return load(MultiVectorEncoder, "ColBERT checkpoint", model, device, revision)


def _load_embedded(checkpoint: EmbeddedModel, device: str) -> MultiVectorEncoder:
    """Return the embedded model as a multi-vector encoder that gives the mean of its vectors as well."""
    from safetensors.torch import load_file

    # Built from modules: loading the folder by name would add a projection layer with random weights.
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    quieten()
    transformer = Transformer(
        str(minilm.folder()),
        max_seq_length=minilm.MAX_TOKENS,
        model_kwargs={"use_safetensors": True, "local_files_only": True},
    )
    # The folder's weights, once it is known that they are the right ones, or those with the adapter in them.
    state = load_file(minilm.verified_weights(checkpoint))
    cast(Any, transformer).auto_model.load_state_dict(state, strict=False)
    return MultiVectorEncoder(
        modules=[
            transformer,
            Pooling(minilm.DIMENSIONS, pooling_mode="mean"),
            MultiVectorMask(skiplist_words=list(string.punctuation)),
            *_projection(checkpoint),
            Normalize(module_input_name="token_embeddings"),
        ],
        device=device,
    )


def _projection(checkpoint: EmbeddedModel) -> list[Any]:
    """Return the layer between hidden states and token vectors, where a checkpoint has one."""
    weights = minilm.projection(checkpoint)
    if weights is None:
        return []
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense

    return [
        Dense(
            minilm.DIMENSIONS,
            checkpoint.dimensions,
            bias=False,
            activation_function=torch.nn.Identity(),
            init_weight=torch.from_numpy(weights),
            module_input_name="token_embeddings",
        )
    ]
