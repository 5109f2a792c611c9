"""The sentence-transformers engine: reads native, PyLate and Stanford checkpoints, and the embedded one."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ragqa.encoders.embedded.catalogue import TOKEN_MODELS, token_identity
from ragqa.encoders.embedded.description import EmbeddedModel
from ragqa.encoders.embedded.files import projection
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS
from ragqa.encoders.hub import load, made_by, pair, quieten
from ragqa.encoders.tokens import EncoderSettings, Remembered, Spans, Vectors, spans_of
from ragqa.encoders.unpacked import checkpoint_folder, marker_texts
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
        known = TOKEN_MODELS.get(settings.model)
        model = load_multi_vector(settings.model, device, revision)
        _set_lengths(model, settings)
        self._queries, self._documents = pair(model, device, dtype)
        self._remembered = Remembered(self._encode_questions)
        self.dimensions = int(self.encode_queries(["size"])[0].shape[1])
        if known is not None:
            self.identity = token_identity(known, settings.document_tokens)
        else:
            self.identity = {
                **made_by(self._queries, settings.model, revision),
                "document_tokens": settings.document_tokens,
                "dimensions": self.dimensions,
            }

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
            return np.zeros((0, self.dimensions), np.float32)
        rows = np.stack([item["sentence_embedding"].float().cpu().numpy() for item in features])
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        prompt = self._queries.prompts.get("query") or ""
        transformer = cast(Any, self._queries[0])
        expansion = getattr(transformer, "query_expansion", None) or {}
        # Filled up to a fixed length, a question is cut there as well; to a least one, it may be longer.
        fixed = expansion.get("length") if expansion.get("strategy") == "fixed" else None
        encoded = cast(Any, self._queries.tokenizer)(
            [prompt + text for text in texts],
            truncation=True,
            max_length=fixed or self._limit("query_length"),
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
        expansion = transformer.query_expansion
        # Where questions are filled up, it is to this length; where to a least one, to that at most.
        if expansion and (expansion["strategy"] == "fixed" or settings.query_tokens < expansion["length"]):
            transformer.query_length = None
            transformer.query_expansion = {**expansion, "length": settings.query_tokens}
        if not expansion or expansion["strategy"] != "fixed":
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
    if model in TOKEN_MODELS:
        return _load_embedded(TOKEN_MODELS[model], device)
    from sentence_transformers import MultiVectorEncoder

    return load(MultiVectorEncoder, "ColBERT checkpoint", model, device, revision)


def _load_embedded(model: EmbeddedModel, device: str) -> MultiVectorEncoder:
    """Return an embedded model as a multi-vector encoder, with the mean of its vectors where it pools."""
    # Built from modules: loading the folder by name would add a projection layer with random weights.
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    quieten()
    transformer = Transformer(
        str(checkpoint_folder(model)),
        max_seq_length=MAX_TOKENS,
        model_kwargs={"use_safetensors": True, "local_files_only": True},
    )
    question, document = marker_texts(model)
    return MultiVectorEncoder(
        modules=[
            transformer,
            *([Pooling(model.hidden, pooling_mode=model.pooling)] if model.pooling else []),
            MultiVectorMask(skiplist_words=list(string.punctuation)),
            *_projection(model),
            Normalize(module_input_name="token_embeddings"),
        ],
        device=device,
        prompts={"query": question, "document": document},
    )


def _projection(model: EmbeddedModel) -> list[Any]:
    """Return the layer between hidden states and token vectors, where a model has one."""
    weights = projection(model)
    if weights is None:
        return []
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense

    return [
        Dense(
            model.hidden,
            model.tokens,
            bias=False,
            activation_function=torch.nn.Identity(),
            init_weight=torch.from_numpy(weights.T.copy()),
            module_input_name="token_embeddings",
        )
    ]
