"""The embedded models by the names that a config has for them.

"embedded" is the best for each task, by docs/measurements.md; "embedded-light" is one model for two tasks,
and the fastest. Which of them a name means depends on what is wanted of it: a text's vector, token vectors,
or the score of a pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragqa.encoders.embedded.bge_small import BGE_SMALL
from ragqa.encoders.embedded.colbert_small import COLBERT_SMALL
from ragqa.encoders.embedded.cross_encoder import CROSS_ENCODER
from ragqa.encoders.embedded.description import EmbeddedModel, Fitted
from ragqa.encoders.embedded.minilm import MINILM

PREFIX = "embedded"
MODELS = (MINILM, BGE_SMALL, COLBERT_SMALL, CROSS_ENCODER)
NAMES: Mapping[str, tuple[EmbeddedModel, ...]] = {
    PREFIX: (BGE_SMALL, COLBERT_SMALL, CROSS_ENCODER),
    f"{PREFIX}-light": (MINILM,),
    f"{PREFIX}-bge-small": (BGE_SMALL,),
    f"{PREFIX}-colbert-small": (COLBERT_SMALL,),
    f"{PREFIX}-cross-encoder": (CROSS_ENCODER,),
}
TEXT_MODELS = {name: model for name, models in NAMES.items() for model in models if model.pooling}
TOKEN_MODELS = {name: model for name, models in NAMES.items() for model in models if model.tokens}
PAIR_MODELS = {name: model for name, models in NAMES.items() for model in models if model.pairs}


def check_name(name: str, known: Mapping[str, EmbeddedModel]) -> None:
    """Raise ValueError where `name` looks like an embedded model's and is none of `known`."""
    if name not in known and (name == PREFIX or name.startswith(f"{PREFIX}-")):
        raise ValueError(f"there is no embedded model {name!r} for this; there are {', '.join(known)}")


def fitted_to(identity: Mapping[str, Any]) -> Fitted | None:
    """Return what was fitted to the vectors of the encoder with this identity; None where nothing was."""
    return next((known.fitted for known in MODELS if known.weights == identity.get("weights")), None)


def fitted_by_default() -> Fitted:
    """Return what was fitted to the vectors of the model that "embedded" means."""
    fitted = TOKEN_MODELS[PREFIX].fitted
    assert fitted is not None, "a default without constants of its own would check no answer"
    return fitted


def token_identity(model: EmbeddedModel, document_tokens: int) -> dict[str, Any]:
    """Return what decides a model's token vectors, with documents cut at `document_tokens` (0: not)."""
    identity: dict[str, Any] = {
        "model": model.name,
        "weights": model.weights,
        "document_tokens": document_tokens,
        "dimensions": model.tokens,
    }
    return {**identity, "projection": model.projection} if model.projection else identity


def text_identity(model: EmbeddedModel) -> dict[str, Any]:
    """Return what decides the vector of a text that an embedded model makes."""
    identity: dict[str, Any] = {
        "model": model.name,
        "weights": model.weights,
        "dimensions": model.hidden,
        "pooling": model.pooling,
    }
    if model.tokens:
        # It comes of the pass that token vectors come of, which may be cut.
        identity["document_tokens"] = 0
    return {**identity, "prefix": model.query_prefix} if model.query_prefix else identity
