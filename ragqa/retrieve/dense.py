"""Dense retrieval: cosine between the question's vector and every passage's, all of them compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import BaseModel

from ragqa.encoders.embedded.catalogue import TEXT_MODELS
from ragqa.encoders.embedder import EmbedderSettings
from ragqa.index.dense_store import DENSE_CODEC, Codec, DenseStore
from ragqa.index.passage_store import PassageStore
from ragqa.retrieve.ranking import hits
from ragqa.search.contracts import Resources
from ragqa.search.stores import dense_store
from ragqa.types import Hit

STAGE = "dense"


class DenseSettings(EmbedderSettings):
    """The model's keys, and `codec`: the number format of the stored vectors."""

    codec: Codec = DENSE_CODEC


class DenseRetriever:
    """The first stage `dense`. Scores are cosines."""

    Settings: ClassVar[type[BaseModel]] = DenseSettings
    filters: ClassVar[bool] = True

    def __init__(self, settings: DenseSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources

    @classmethod
    def shares(cls, settings: DenseSettings) -> bool:
        return settings.model in TEXT_MODELS

    @cached_property
    def store(self) -> DenseStore:
        """The vectors; loading them loads the model, so it waits until the first use."""
        return dense_store(self.settings, self.settings.codec, self.resources)

    @property
    def stores(self) -> Sequence[PassageStore]:
        return [self.store]

    def search(self, query: str, k: int) -> list[Hit]:
        return self.search_batch([query], k)[0]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.prepare()
        matrix = self.store.matrix()
        allowed = self.resources.allowed()
        found = matrix.search(self.store.embedder.embed_queries(queries), k, allowed)
        return [
            hits(self.resources.corpus, [matrix.rowids[place] for place in places], cosines, STAGE)
            for places, cosines in found
        ]

    def prepare(self) -> None:
        self.store.complete()

    def missing(self) -> int:
        return self.store.missing()

    def build(self, on_passages: Callable[[int, int], None] = lambda done, total: None) -> int:
        return self.store.build(on_passages)
