"""ColBERT as second stage: MaxSim of the question with the stored token vectors of the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from ragqa.encoders.embedded.catalogue import TOKEN_MODELS
from ragqa.encoders.engines import is_lean
from ragqa.index.passage_store import PassageStore
from ragqa.index.token_store import TokenSettings, TokenStore
from ragqa.rerank.order import RerankerSettings, reorder
from ragqa.search.contracts import Resources
from ragqa.search.stores import token_store
from ragqa.types import Hit

if TYPE_CHECKING:
    from ragqa.types import Matches

STAGE = "colbert"


class ColbertSettings(RerankerSettings, TokenSettings):
    """The keys of the encoder and of how vectors are kept, and `fuse`: to blend with the order given."""


class ColbertReranker:
    """The second stage `colbert`. Scores are MaxSim, or the fused score with `fuse`."""

    Settings: ClassVar[type[BaseModel]] = ColbertSettings

    def __init__(self, settings: ColbertSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources

    @cached_property
    def store(self) -> TokenStore:
        """The token vectors; loading them loads the encoder, so it waits until the first use."""
        return token_store(self.settings, self.resources)

    @classmethod
    def shares(cls, settings: ColbertSettings) -> bool:
        return settings.shared

    @property
    def token_source(self) -> TokenStore:
        return self.store

    @property
    def stores(self) -> Sequence[PassageStore]:
        return [self.store]

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        if not hits:
            return []
        self.prepare()
        (question,) = self.store.encoder.encode_queries([query])
        scores = self.store.scores([hit.passage for hit in hits], question).tolist()
        return reorder(hits, scores, STAGE, self.settings.fuse, k)

    def matches(self, query: str, hits: Sequence[Hit]) -> list[Matches | None]:
        from ragqa.matching.late import stored_matches

        return [*stored_matches(STAGE, self.store, query, [hit.passage for hit in hits])]

    def load_ahead(self) -> None:
        model = TOKEN_MODELS.get(self.settings.model)
        if model is not None and self.settings.shared and is_lean(self.resources.compute):
            from ragqa.encoders.onnx_transformer import load_ahead

            load_ahead(model)

    def prepare(self) -> None:
        """Candidates without vectors are encoded when they come up, so nothing need be ready."""
        self.store.check()

    def missing(self) -> int:
        return self.store.missing()

    def build(self, on_passages: Callable[[int, int], None]) -> int:
        return self.store.build(on_passages)
