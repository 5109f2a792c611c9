"""The embedded model without torch: tokenizers and onnxruntime, straight from its weights.

Importing torch and sentence-transformers costs seconds, which is more than a question costs, or a
few documents. Where another engine encodes documents faster (a GPU, a CPU with bfloat16), it is
loaded when there are enough of them to pay for that.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ragqa.encoders.device import cores, onnx_session
from ragqa.encoders.embedded import minilm
from ragqa.encoders.onnx_graph import HIDDEN, IDS, LENGTHS, POSITIONS, TOKENS, cached_graph
from ragqa.encoders.tokens import QUESTIONS_KEPT, EncoderSettings, PoolingEncoder, Spans, Vectors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Tokens in a batch, padding included: few enough that what is between two layers stays in the cache.
BATCH_TOKENS = 1024
# Loading the other engine takes as long as encoding about this many tokens here.
WORTH_LOADING = 40_000
# What a question brings along, the sentences of its answer, is no bulk, however often it comes.
FEW = 2_000
# In English a token has about as many characters, the space before it included.
CHARACTERS = 4

Ids = list[int]


class LeanEncoder:
    """A PoolingEncoder for the embedded model on the CPU.

    `bulk` makes the engine that takes over after WORTH_LOADING tokens of documents; None: there is no
    faster one.
    """

    def __init__(self, settings: EncoderSettings, bulk: Callable[[], PoolingEncoder] | None = None) -> None:
        self._checkpoint = minilm.CHECKPOINTS[settings.model]
        self.dimensions = self._checkpoint.dimensions
        self.query_tokens = settings.query_tokens or minilm.MAX_TOKENS
        self.document_tokens = settings.document_tokens or minilm.MAX_TOKENS
        self.identity = minilm.identity(settings.document_tokens, self._checkpoint)
        # A question is asked of several stages, one after the other or side by side.
        self._question = lru_cache(maxsize=QUESTIONS_KEPT)(self._encode_question)
        self._make_bulk = bulk
        # Tokens of documents, those of a few at a time apart.
        self.encoded = 0

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        return [_unit(self._question(text).tokens) for text in texts]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        means = [self._question(text).mean for text in texts]
        return _unit(np.stack(means)) if means else np.zeros((0, minilm.DIMENSIONS), np.float32)

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        return self.encode_both(texts)[0]

    def encode_both(self, texts: Sequence[str]) -> tuple[list[Vectors], Vectors]:
        ids = self._taken(texts)
        if ids is None:
            return self._bulk.encode_both(texts)
        vectors: list[Vectors] = [np.zeros((0, self.dimensions), np.float32)] * len(ids)
        pooled = np.zeros((len(ids), minilm.DIMENSIONS), np.float32)

        def encode(batch: Sequence[int]) -> None:
            for number, states in zip(batch, _run(self._session, [ids[n] for n in batch]), strict=True):
                pooled[number] = states.mean
                vectors[number] = _unit(states.tokens[~np.isin(ids[number], self._skipped)])

        # One thread per core, each with batches of its own: no core waits for another within a layer.
        with ThreadPoolExecutor(cores()) as threads:
            for _ in threads.map(encode, batches_by_length([len(row) for row in ids], BATCH_TOKENS)):
                pass
        return vectors, _unit(pooled)

    def pass_over(self, texts: Sequence[str]) -> None:
        """Count texts that another process encodes, which is told how many were `encoded` before them.

        So those after them are encoded as if this process had encoded all.
        """
        self._taken(texts)

    def _taken(self, texts: Sequence[str]) -> list[Ids] | None:
        """Return the tokens of texts, which are counted; None where they are for the other engine."""
        # So many characters need not be cut into tokens to be known as no few.
        read = CHARACTERS * self.document_tokens
        many = sum(min(len(text), read) for text in texts) > CHARACTERS * FEW
        if self._bulk_is_due and many:
            return None
        ids = [self._ids(text, self.document_tokens)[0] for text in texts]
        tokens = sum(map(len, ids))
        if many or tokens > FEW:
            if self._bulk_is_due:
                return None
            self.encoded += tokens
        return ids

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        offsets = [self._ids(text, self.query_tokens)[1] for text in texts]
        return [np.asarray(pairs, dtype=np.int32).reshape(-1, 2) for pairs in offsets]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        result = []
        for text in texts:
            ids, offsets = self._ids(text, self.document_tokens)
            spans = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
            result.append(spans[~np.isin(ids, self._skipped)])
        return result

    @cached_property
    def _session(self) -> InferenceSession:
        # One thread: a question is too short to share, and documents have a thread for each batch.
        weights = minilm.verified_weights(self._checkpoint)
        graph = cached_graph(weights, minilm.projection(self._checkpoint))
        return onnx_session(graph, weights=weights.parent)

    @property
    def _bulk_is_due(self) -> bool:
        return self._make_bulk is not None and self.encoded > WORTH_LOADING

    @cached_property
    def _bulk(self) -> PoolingEncoder:
        assert self._make_bulk is not None
        return self._make_bulk()

    @cached_property
    def _skipped(self) -> list[int]:
        ids = (minilm.tokenizer().token_to_id(char) for char in string.punctuation)
        return [number for number in ids if number is not None]

    def _encode_question(self, text: str) -> _States:
        return _run(self._session, [self._ids(text, self.query_tokens)[0]])[0]

    def _ids(self, text: str, limit: int) -> tuple[Ids, list[tuple[int, int]]]:
        """Return the token ids of `text` and their character spans, cut to `limit`, the last one kept."""
        encoded = minilm.tokenizer().encode(text)
        ids, offsets = encoded.ids, encoded.offsets
        if len(ids) > limit:
            ids, offsets = [*ids[: limit - 1], ids[-1]], [*offsets[: limit - 1], offsets[-1]]
        return ids, offsets


def batches_by_length(lengths: Sequence[int], tokens: int) -> Iterable[list[int]]:
    """Yield the places of `lengths`, longest first, in batches of at most `tokens` once padded."""
    batch: list[int] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and longest * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        if not batch:
            longest = lengths[place]
        batch.append(place)
    if batch:
        yield batch


class _States(NamedTuple):
    """What the model makes of a text: a vector per token, and the mean of the states that they came from."""

    tokens: Vectors
    mean: Vectors


def _run(session: InferenceSession, batch: Sequence[Ids]) -> list[_States]:
    """Return what the model makes of each text."""
    lengths = [len(ids) for ids in batch]
    padded = np.zeros((len(batch), max(lengths)), np.int64)
    for row, ids in zip(padded, batch, strict=True):
        row[: len(ids)] = ids
    inputs = {
        IDS: padded,
        POSITIONS: np.arange(padded.shape[1]),
        LENGTHS: np.array(lengths, np.int32),
    }
    # Without an adapter the hidden states are the token vectors.
    names = [output.name for output in session.get_outputs()]
    found: list[Vectors] = session.run(names, inputs)
    hidden, tokens = (found[names.index(name if name in names else HIDDEN)] for name in (HIDDEN, TOKENS))
    return [
        _States(tokens[row, :length], hidden[row, :length].mean(axis=0)) for row, length in enumerate(lengths)
    ]


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
