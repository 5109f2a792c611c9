"""RAGatouille's own index-free reranking: question and candidates are encoded anew at every question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import BaseModel

from ragqa.colbert.encoder import EncoderSettings
from ragqa.colbert.engines import load_encoder
from ragqa.colbert.ragatouille.encoder import RagatouilleEncoder
from ragqa.corpus.derived import indexed_text
from ragqa.rerank.order import RerankerSettings, reorder
from ragqa.stages import Resources
from ragqa.types import Hit

STAGE = "ragatouille"


class RagatouilleSettings(RerankerSettings):
    """`model` is "embedded", a folder or a hub name; `fuse` blends the new order with the one given."""

    model: str = "embedded"


class RagatouilleReranker:
    """The second stage `ragatouille`. Scores are those of `RAGPretrainedModel.rerank`."""

    Settings: ClassVar[type[BaseModel]] = RagatouilleSettings

    def __init__(self, settings: RagatouilleSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources

    @cached_property
    def encoder(self) -> RagatouilleEncoder:
        settings = EncoderSettings(model=self.settings.model, engine="ragatouille")
        encoder = load_encoder(settings, self.resources.compute)
        assert isinstance(encoder, RagatouilleEncoder)
        return encoder

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        if not hits:
            return []
        texts = [indexed_text(hit.passage)[0] for hit in hits]
        return reorder(hits, self.encoder.rerank(query, texts), STAGE, self.settings.fuse, k)
