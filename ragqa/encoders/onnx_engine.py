"""The embedded models without torch: tokenizers and onnxruntime, straight from their weights.

Importing torch and sentence-transformers costs seconds, which is more than a question costs, or a
few documents. Where another engine encodes documents faster (a GPU; for numbers that are no 8-bit integers, a
CPU with bfloat16), it is loaded when there are enough of them to pay for that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ragqa.encoders.embedded.catalogue import (
    PAIR_MODELS,
    PREFIX,
    TEXT_MODELS,
    TOKEN_MODELS,
    text_identity,
    token_identity,
)
from ragqa.encoders.embedded.files import evidence, projection
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS, punctuation, tokenizer
from ragqa.encoders.onnx_transformer import (
    Ids,
    PackedTransformer,
    Transformer,
    load_transformer,
)
from ragqa.encoders.tokens import (
    QUESTIONS_KEPT,
    EncoderSettings,
    PoolingEncoder,
    Spans,
    TokenEncoder,
    Vectors,
)

# Loading the other engine takes as long as encoding about this many tokens here.
WORTH_LOADING = 40_000
# What a question brings along, the sentences of its answer, is no bulk, however often it comes.
FEW = 2_000
# In English a token has about as many characters, the space before it included.
CHARACTERS = 4


class Paced(ABC):
    """What hands over to another engine, faster with many documents, after WORTH_LOADING tokens of them.

    `bulk` loads that; None: there is no faster one. A text is read to its token number `limit`.
    """

    def __init__(self, bulk: Callable[[], Any] | None, limit: int) -> None:
        self._bulk = bulk
        # So many characters need not be cut into tokens to be known as no few.
        self._read = CHARACTERS * limit
        # Tokens of documents, those of a few at a time apart.
        self.encoded = 0

    @abstractmethod
    def _ids(self, text: str) -> Ids:
        """Return the tokens of a document."""

    @cached_property
    def _engine(self) -> Any:
        assert self._bulk is not None
        return self._bulk()

    def pass_over(self, texts: Sequence[str]) -> None:
        """Count texts that another process encodes, which is told how many were `encoded` before them.

        So those after them are encoded as if this process had encoded all.
        """
        self._taken(texts)

    def _taken(self, texts: Sequence[str]) -> list[Ids] | None:
        """Return the tokens of texts, which are counted; None where they are for the other engine."""
        due = self._bulk is not None and self.encoded > WORTH_LOADING
        many = sum(min(len(text), self._read) for text in texts) > CHARACTERS * FEW
        if due and many:
            return None
        ids = [self._ids(text) for text in texts]
        tokens = sum(map(len, ids))
        if many or tokens > FEW:
            if due:
                return None
            self.encoded += tokens
        return ids


class LeanEncoder(Paced):
    """A TokenEncoder for an embedded model on the CPU.

    `bulk` makes the engine that takes over after WORTH_LOADING tokens of documents; None: there is no
    faster one.
    """

    def __init__(self, settings: EncoderSettings, bulk: Callable[[], Any] | None = None) -> None:
        self.model = TOKEN_MODELS[settings.model]
        self.dimensions = self.model.tokens
        self.query_tokens = settings.query_tokens or MAX_TOKENS
        self.document_tokens = settings.document_tokens or MAX_TOKENS
        self.identity = token_identity(self.model, settings.document_tokens)
        # A question is asked of several stages, one after the other or side by side.
        self._question = lru_cache(maxsize=QUESTIONS_KEPT)(self._question_states)
        super().__init__(bulk, self.document_tokens)

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        return [self._vectors(self._question(text)) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        ids = self._taken(texts)
        if ids is None:
            found: list[Vectors] = self._engine.encode_documents(texts)
            return found
        return self._kept(ids, self.transformer.states(ids))

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        return [_spans(self._query(text)[1]) for text in texts]

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        result = []
        for text in texts:
            ids, offsets = self._document(text)
            result.append(_spans(offsets)[_counting(ids)])
        return result

    @cached_property
    def transformer(self) -> Transformer:
        return load_transformer(self.model)

    def _kept(self, ids: Sequence[Ids], states: Sequence[Vectors]) -> list[Vectors]:
        """Return the vectors of the tokens that count in documents."""
        return [self._vectors(found[_counting(row)]) for row, found in zip(ids, states, strict=True)]

    def _vectors(self, states: Vectors) -> Vectors:
        layer = projection(self.model)
        return _unit(states if layer is None else states @ layer)

    def _ids(self, text: str) -> Ids:
        return self._document(text)[0]

    def _question_states(self, text: str) -> Vectors:
        return self.transformer.states([self._query(text)[0]])[0]

    def _query(self, text: str) -> tuple[Ids, list[tuple[int, int]]]:
        return cut_at(text, self.query_tokens, self.model.markers and self.model.markers[0])

    def _document(self, text: str) -> tuple[Ids, list[tuple[int, int]]]:
        return cut_at(text, self.document_tokens, self.model.markers and self.model.markers[1])


class LeanPoolingEncoder(LeanEncoder):
    """A LeanEncoder whose model gives a text's vector too: the mean of its states."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        means = [self._question(text).mean(axis=0) for text in texts]
        return _unit(np.stack(means)) if means else np.zeros((0, self.model.hidden), np.float32)

    def encode_both(self, texts: Sequence[str]) -> tuple[list[Vectors], Vectors]:
        ids = self._taken(texts)
        if ids is None:
            both: tuple[list[Vectors], Vectors] = self._engine.encode_both(texts)
            return both
        states = self.transformer.states(ids)
        means = np.array([found.mean(axis=0) for found in states], np.float32)
        return self._kept(ids, states), _unit(means.reshape(-1, self.model.hidden))


def lean_encoder(settings: EncoderSettings, bulk: Callable[[], PoolingEncoder] | None = None) -> TokenEncoder:
    """Return the encoder of the embedded model that `settings` name; `bulk` is as LeanEncoder has it."""
    pools = TOKEN_MODELS[settings.model].pooling is not None
    return (LeanPoolingEncoder if pools else LeanEncoder)(settings, bulk)


class LeanEmbedder(Paced):
    """An Embedder for an embedded model with a vector of its own for a text: the state of [CLS].

    `bulk` is as LeanEncoder has it.
    """

    def __init__(self, name: str, bulk: Callable[[], Any] | None = None) -> None:
        self.model = TEXT_MODELS[name]
        self.dimensions = self.model.hidden
        self.identity = text_identity(self.model)
        self._question = lru_cache(maxsize=QUESTIONS_KEPT)(self._question_vector)
        super().__init__(bulk, MAX_TOKENS)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        rows = [self._question(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dimensions), np.float32)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        ids = self._taken(texts)
        if ids is None:
            found: Vectors = self._engine.embed_documents(texts)
            return found
        first = [states[0] for states in self.transformer.states(ids)]
        return _unit(np.array(first, np.float32).reshape(-1, self.dimensions))

    @cached_property
    def transformer(self) -> Transformer:
        return load_transformer(self.model)

    def _ids(self, text: str) -> Ids:
        return cut_at(text, MAX_TOKENS)[0]

    def _question_vector(self, text: str) -> Vectors:
        ids, _ = cut_at(self.model.query_prefix + text, MAX_TOKENS)
        vector: Vectors = _unit(self.transformer.states([ids])[0][:1])[0]
        return vector


@dataclass(frozen=True, slots=True)
class Reading:
    """What a cross-encoder makes of a question and a text that it read together.

    `score` is the pair's: a logit, unbounded, higher is better. `evidence` says of each token of the text how
    much it looks like part of an answer, shape (tokens,), to be compared over all texts of a question;
    `spans` where they stand, shape (tokens, 2): start and end in characters, both 0 for a special token.
    """

    score: float
    evidence: Vectors
    spans: Spans


class LeanPairs:
    """The embedded cross-encoder on the CPU."""

    # Of a pair's tokens those that a question takes at most, so that something is left for the passage.
    QUESTION = 256

    def __init__(self, name: str = PREFIX) -> None:
        self.model = PAIR_MODELS[name]

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return how well each text answers `question`: a logit, unbounded, higher is better.

        A text is cut where the pair has MAX_TOKENS tokens, a question at QUESTION.
        """
        return self._layers.scores([(first, ids) for first, ids, _ in self._pairs(question, texts)])

    def read(self, question: str, texts: Sequence[str]) -> list[Reading]:
        """Return what is read in each text, cut as `scores` cuts it."""
        return self.readings(question, texts, evidence(self.model))

    def readings(self, question: str, texts: Sequence[str], weights: Vectors) -> list[Reading]:
        """Return the same by weights of the states, and last of the score, that do not come along."""
        pairs = self._pairs(question, texts)
        found = self._layers.readings([(first, ids) for first, ids, _ in pairs])
        return [
            Reading(score, states @ weights[:-1] + weights[-1] * score, _spans(offsets))
            for (score, states), (_, _, offsets) in zip(found, pairs, strict=True)
        ]

    def _pairs(self, question: str, texts: Sequence[str]) -> list[tuple[Ids, Ids, list[tuple[int, int]]]]:
        """Return the tokens of the question, those of each text, and their places."""
        first, _ = cut_at(question, self.QUESTION)
        pairs = []
        for text in texts:
            ids, offsets = cut_at(text, MAX_TOKENS - len(first) + 1)
            pairs.append((first, ids[1:], offsets[1:]))
        return pairs

    @cached_property
    def _layers(self) -> PackedTransformer:
        layers = load_transformer(self.model)
        assert isinstance(layers, PackedTransformer)
        return layers


def cut_at(text: str, limit: int, marker: int | None = None) -> tuple[Ids, list[tuple[int, int]]]:
    """Return the tokens of `text` and their character spans, cut to `limit`, the last one kept.

    A `marker` goes behind the first of them; special tokens and markers have the span (0, 0).
    """
    encoded = tokenizer().encode(text)
    ids, offsets = list(encoded.ids), list(encoded.offsets)
    if marker is not None:
        ids.insert(1, marker)
        offsets.insert(1, (0, 0))
    if len(ids) > limit:
        ids, offsets = [*ids[: limit - 1], ids[-1]], [*offsets[: limit - 1], offsets[-1]]
    return ids, offsets


def _counting(ids: Ids) -> Any:
    """Return which tokens of a document count: all but marks of punctuation."""
    return ~np.isin(ids, punctuation())


def _spans(offsets: Sequence[tuple[int, int]]) -> Spans:
    return np.asarray(offsets, dtype=np.int32).reshape(-1, 2)


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
