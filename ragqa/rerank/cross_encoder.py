"""A cross-encoder as second stage: one model reads question and passage together, once for every pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import BaseModel, model_validator

from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.catalogue import PAIR_MODELS, check_name
from ragqa.encoders.engines import is_lean
from ragqa.encoders.hub import document_dtype, in_dtype, load
from ragqa.errors import RagqaError, require
from ragqa.rerank.order import RerankerSettings, reorder
from ragqa.search.contracts import Resources
from ragqa.types import Hit

STAGE = "cross-encoder"
BATCH = 32

# From a question and texts to the score of each.
Scorer = Callable[[str, Sequence[str]], list[float]]


class CrossEncoderSettings(RerankerSettings):
    """`model` is an embedded one, or a folder or a hub name of a sentence-transformers CrossEncoder.

    `fuse` blends the orders.
    """

    model: str = "embedded"

    @model_validator(mode="after")
    def _known(self) -> CrossEncoderSettings:
        check_name(self.model, PAIR_MODELS)
        return self


class CrossEncoderReranker:
    """The second stage `cross-encoder`. Scores are the model's own."""

    Settings: ClassVar[type[BaseModel]] = CrossEncoderSettings

    def __init__(self, settings: CrossEncoderSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources

    @cached_property
    def score(self) -> Scorer:
        """The model; it is loaded at its first use."""
        name, compute = self.settings.model, self.resources.compute
        if name in PAIR_MODELS and is_lean(compute):
            from ragqa.encoders.onnx_engine import LeanPairs

            return LeanPairs(name).scores
        return _torch_scorer(name, compute, self.resources.revision(name))

    def load_ahead(self) -> None:
        model = PAIR_MODELS.get(self.settings.model)
        if model is not None and is_lean(self.resources.compute):
            from ragqa.encoders.onnx_transformer import load_ahead

            load_ahead(model)

    @classmethod
    def shares(cls, settings: CrossEncoderSettings) -> bool:
        return settings.model in PAIR_MODELS

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        if not hits:
            return []
        scores = self.score(query, [indexed_text(hit.passage)[0] for hit in hits])
        return reorder(hits, scores, STAGE, self.settings.fuse, k)


def _torch_scorer(name: str, compute: Compute, revision: str | None) -> Scorer:
    """Return what scores by a model on torch; raises RagqaError where it cannot be loaded."""
    require("sentence_transformers", f"The cross-encoder {name}", "ragqa[torch]")
    from sentence_transformers import CrossEncoder

    from ragqa.encoders.unpacked import checkpoint_folder

    device = compute.torch_device()
    folder = str(checkpoint_folder(PAIR_MODELS[name])) if name in PAIR_MODELS else name
    model: CrossEncoder = load(CrossEncoder, "cross-encoder", folder, device, revision)
    if model.num_labels != 1:
        raise RagqaError(
            f"The cross-encoder {name} gives {model.num_labels} numbers for a pair, and a reranker needs one "
            "that gives a score."
        )
    converted: CrossEncoder = in_dtype(model, document_dtype(device, compute.dtype))

    def score(question: str, texts: Sequence[str]) -> list[float]:
        pairs = [(question, text) for text in texts]
        scores = converted.predict(pairs, batch_size=BATCH, show_progress_bar=False, convert_to_tensor=True)
        found: list[float] = scores.float().cpu().tolist()
        return found

    return score
