"""A cross-encoder as second stage: one model reads question and passage together, once for every pair."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from ragqa.corpus.passages import indexed_text
from ragqa.encoders.hub import document_dtype, in_dtype, load
from ragqa.errors import RagqaError, require
from ragqa.rerank.order import RerankerSettings, reorder
from ragqa.search.contracts import Resources
from ragqa.types import Hit

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

STAGE = "cross-encoder"
BATCH = 32


class CrossEncoderSettings(RerankerSettings):
    """`model` is a folder or a hub name of a sentence-transformers CrossEncoder; `fuse` blends the orders."""

    model: str = "cross-encoder/ms-marco-MiniLM-L6-v2"


class CrossEncoderReranker:
    """The second stage `cross-encoder`. Scores are the model's own."""

    Settings: ClassVar[type[BaseModel]] = CrossEncoderSettings

    def __init__(self, settings: CrossEncoderSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources

    @cached_property
    def model(self) -> CrossEncoder:
        require("sentence_transformers", f"The cross-encoder {self.settings.model}", "ragqa[torch]")
        from sentence_transformers import CrossEncoder

        compute = self.resources.compute
        device = compute.torch_device()
        revision = self.resources.revision(self.settings.model)
        model: CrossEncoder = load(CrossEncoder, "cross-encoder", self.settings.model, device, revision)
        if model.num_labels != 1:
            raise RagqaError(
                f"The cross-encoder {self.settings.model} gives {model.num_labels} numbers for a pair, and a "
                "reranker needs one that gives a score."
            )
        converted: CrossEncoder = in_dtype(model, document_dtype(device, compute.dtype))
        return converted

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        if not hits:
            return []
        pairs = [(query, indexed_text(hit.passage)[0]) for hit in hits]
        scores = self.model.predict(pairs, batch_size=BATCH, show_progress_bar=False, convert_to_tensor=True)
        return reorder(hits, scores.float().cpu().tolist(), STAGE, self.settings.fuse, k)
