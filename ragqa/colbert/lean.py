"""The embedded model's question path without torch: MiniLM's six layers in numpy, straight from its weights.

A question is a dozen tokens, and a dozen tokens through six layers is a few milliseconds of numpy;
importing torch and sentence-transformers costs seconds. Documents, which are many and long, go
through the sentence-transformers engine, loaded when the first one comes.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragqa import embedded
from ragqa.colbert.encoder import EncoderSettings, PoolingEncoder, Spans, Vectors

HEADS = 12
LAYERS = 6
EPSILON = 1e-12

Weights = dict[str, Vectors]


class LeanEncoder:
    """A PoolingEncoder for the embedded model on the CPU; `documents` makes the engine for documents."""

    dimensions = embedded.DIMENSIONS

    def __init__(self, settings: EncoderSettings, documents: Callable[[], PoolingEncoder]) -> None:
        self.query_tokens = settings.query_tokens or embedded.MAX_TOKENS
        self.document_tokens = settings.document_tokens or embedded.MAX_TOKENS
        self.identity = embedded.identity(settings.document_tokens)
        self._make_documents = documents

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        return [_unit(self._hidden(text)) for text in texts]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        means = [self._hidden(text).mean(axis=0) for text in texts]
        return _unit(np.stack(means)) if means else np.zeros((0, self.dimensions), np.float32)

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        return self._documents.encode_documents(texts)

    def encode_both(self, texts: Sequence[str]) -> tuple[list[Vectors], Vectors]:
        return self._documents.encode_both(texts)

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        result = []
        for text in texts:
            ids, offsets = self._ids(text, self.document_tokens)
            spans = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
            result.append(spans[~np.isin(ids, self._skipped)])
        return result

    @cached_property
    def _weights(self) -> Weights:
        from safetensors.numpy import load_file

        loaded: Weights = load_file(embedded.verified_folder() / "model.safetensors")
        return loaded

    @cached_property
    def _documents(self) -> PoolingEncoder:
        return self._make_documents()

    @cached_property
    def _skipped(self) -> list[int]:
        ids = (embedded.tokenizer().token_to_id(char) for char in string.punctuation)
        return [number for number in ids if number is not None]

    def _hidden(self, question: str) -> Vectors:
        return hidden_states(self._ids(question, self.query_tokens)[0], self._weights)

    def _ids(self, text: str, limit: int) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the token ids of `text` and their character spans, cut to `limit`, the last one kept."""
        encoded = embedded.tokenizer().encode(text)
        ids, offsets = encoded.ids, encoded.offsets
        if len(ids) > limit:
            ids, offsets = [*ids[: limit - 1], ids[-1]], [*offsets[: limit - 1], offsets[-1]]
        return ids, offsets


def hidden_states(ids: Sequence[int], weights: Weights) -> Vectors:
    """Return the last hidden states of BERT, shape (tokens, dimensions).

    The layers are those of Devlin et al. 2018 (arXiv:1810.04805), post-layer-norm, exact GELU.
    """
    hidden = (
        weights["embeddings.word_embeddings.weight"][list(ids)]
        + weights["embeddings.position_embeddings.weight"][: len(ids)]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    hidden = _normalised(hidden, weights, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        attended = _linear(
            _attention(hidden, weights, f"{name}.attention.self"), weights, f"{name}.attention.output.dense"
        )
        hidden = _normalised(hidden + attended, weights, f"{name}.attention.output.LayerNorm")
        inner = _gelu(_linear(hidden, weights, f"{name}.intermediate.dense"))
        hidden = _normalised(
            hidden + _linear(inner, weights, f"{name}.output.dense"), weights, f"{name}.output.LayerNorm"
        )
    return hidden


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _attention(hidden: Vectors, weights: Weights, name: str) -> Vectors:
    tokens, dimensions = hidden.shape

    def heads(part: str) -> Vectors:
        return _linear(hidden, weights, f"{name}.{part}").reshape(tokens, HEADS, -1).transpose(1, 0, 2)

    scores = heads("query") @ heads("key").transpose(0, 2, 1) / np.float32(np.sqrt(dimensions / HEADS))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed: Vectors = (scores @ heads("value")).transpose(1, 0, 2).reshape(tokens, dimensions)
    return mixed


def _linear(hidden: Vectors, weights: Weights, name: str) -> Vectors:
    result: Vectors = hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return result


def _normalised(hidden: Vectors, weights: Weights, name: str) -> Vectors:
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    result: Vectors = centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return result


def _gelu(x: Vectors) -> Vectors:
    result: Vectors = x * np.float32(0.5) * (1 + _erf(x * np.float32(np.sqrt(0.5))))
    return result


def _erf(x: NDArray[Any]) -> NDArray[Any]:
    """Return the error function within 1.5e-7 (Abramowitz and Stegun 1964, formula 7.1.26)."""
    size = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * size)
    series = np.float32(1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(factor)
    result: NDArray[Any] = np.sign(x) * (1 - series * t * np.exp(-size * size))
    return result
