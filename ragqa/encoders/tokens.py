"""The contract of a token encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ragqa.config import Strict
from ragqa.encoders.embedded.catalogue import TOKEN_MODELS, check_name
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS

# Questions whose vectors an encoder remembers.
QUESTIONS_KEPT = 8

Vectors = NDArray[np.float32]
Spans = NDArray[np.int32]


class EncoderSettings(Strict):
    """Which checkpoint makes token vectors, and on which engine.

    `model` is a name in `TOKEN_MODELS` (embedded/catalogue.py), a folder or a hub name; `document_tokens`
    and `query_tokens` are where a text is cut off (0: as the checkpoint says).
    """

    model: str = "embedded"
    engine: Literal["sentence-transformers", "ragatouille"] = "sentence-transformers"
    document_tokens: int = Field(default=0, ge=0)
    query_tokens: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _no_longer_than_the_model(self) -> EncoderSettings:
        check_name(self.model, TOKEN_MODELS)
        if self.model in TOKEN_MODELS and max(self.document_tokens, self.query_tokens) > MAX_TOKENS:
            raise ValueError(f"the embedded models read {MAX_TOKENS} tokens at most")
        return self

    @property
    def shared(self) -> bool:
        """Whether several threads may use the encoder at once; tokenizers of others change in use."""
        return self.model in TOKEN_MODELS and self.engine == "sentence-transformers"


class Remembered:
    """An encoding of questions that keeps the last ones: a question is asked of several stages.

    `kept` is how many; None: all.
    """

    def __init__(
        self, encode: Callable[[Sequence[str]], Iterable[Vectors]], kept: int | None = QUESTIONS_KEPT
    ) -> None:
        self._encode = encode
        self._keep = kept
        self._kept: dict[str, Vectors] = {}

    def __call__(self, texts: Sequence[str]) -> list[Vectors]:
        # What is needed is held here: stages side by side may make each other's questions drop out.
        known = {text: self._kept[text] for text in texts if text in self._kept}
        lacking = [text for text in dict.fromkeys(texts) if text not in known]
        if lacking:
            known.update(zip(lacking, self._encode(lacking), strict=True))
            kept = {**self._kept, **known}
            self._kept = kept if self._keep is None else dict(list(kept.items())[-self._keep :])
        return [known[text] for text in texts]


def spans_of(offsets: Sequence[tuple[int, int]], prompt: int, vectors: int) -> Spans:
    """Return the spans of a question's `vectors` from a tokenizer's offsets in a prompt and the question.

    `prompt` is the prompt's length. Vectors without an offset are what the question is filled up with.
    """
    spans = np.zeros((vectors, 2), np.int32)
    known = np.asarray(offsets, np.int32).reshape(-1, 2)[:vectors]
    spans[: len(known)] = np.maximum(known - prompt, 0)
    return spans


class TokenEncoder(Protocol):
    """Turns texts into L2-normalised token vectors.

    `identity` holds all that decides the vectors (model, weights, lengths), never the device: two
    encoders with the same identity make the same vectors up to rounding.
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...

    @property
    def dimensions(self) -> int: ...

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        """Return one array of shape (tokens, dimensions) per question."""

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        """Return one array of shape (tokens, dimensions) per text; punctuation has no vector."""

    def query_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Return, per question, where each vector of `encode_queries` comes from.

        Shape (tokens, 2): start and end in characters; both are 0 for a special token, a marker and what a
        question is filled up with.
        """

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        """Return, per text, where each vector of `encode_documents` comes from.

        Shape (tokens, 2): start and end in characters; both are 0 for a special token.
        """


@runtime_checkable
class PoolingEncoder(TokenEncoder, Protocol):
    """A TokenEncoder that is an embedding model too: the mean of its token vectors is a text's vector."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one L2-normalised vector per question, shape (questions, dimensions)."""

    def encode_both(self, texts: Sequence[str]) -> tuple[list[Vectors], Vectors]:
        """Return what `encode_documents` returns and a vector per text, both from one forward pass."""
