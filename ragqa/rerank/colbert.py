"""ColBERT as second stage: MaxSim of the question with the stored token vectors of the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import BaseModel, field_validator

from ragqa.colbert.encoder import EncoderSettings
from ragqa.colbert.engines import check_engine, load_encoder
from ragqa.colbert.maxsim import maxsim
from ragqa.colbert.quantise import Codec
from ragqa.colbert.store import TokenStore
from ragqa.retrieve.fusion import Fusion, fuse
from ragqa.stages import Resources
from ragqa.types import Hit

STAGE = "colbert"


class ColbertSettings(EncoderSettings):
    """The encoder's keys, the `codec` of the stored vectors, and `fuse`: to blend with the order given."""

    codec: Codec = "int4"
    fuse: Fusion | None = None

    @field_validator("fuse")
    @classmethod
    def _two_weights(cls, fuse: Fusion | None) -> Fusion | None:
        if fuse is not None and len(fuse.weights) not in (0, 2):
            raise ValueError("weights must be two: of the order given, and of ColBERT's")
        return fuse


class ColbertReranker:
    """The second stage `colbert`. Scores are MaxSim, or the fused score with `fuse`."""

    Settings: ClassVar[type[BaseModel]] = ColbertSettings

    def __init__(self, settings: ColbertSettings, resources: Resources) -> None:
        check_engine(settings.engine)
        self.settings = settings
        self.resources = resources

    @cached_property
    def store(self) -> TokenStore:
        """The token vectors; loading them loads the encoder, so it waits until the first use."""
        names = EncoderSettings.model_fields
        settings = EncoderSettings(**{name: getattr(self.settings, name) for name in names})
        encoder = load_encoder(settings, self.resources.device)
        return TokenStore(self.resources.corpus, encoder, self.settings.codec, self.resources.note)

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        if not hits:
            return []
        self.store.check()
        matrix = self.store.load([hit.passage for hit in hits])
        (question,) = self.store.encoder.encode_queries([query])
        scores = maxsim(question, matrix.vectors, matrix.offsets).tolist()
        scored = [
            Hit(hit.passage, hit.rank, score, {**hit.scores, STAGE: score})
            for hit, score in zip(hits, scores, strict=True)
        ]
        best_first = sorted(scored, key=lambda hit: (-hit.score, hit.rank))
        if self.settings.fuse is not None:
            return fuse([list(hits), best_first], self.settings.fuse, k)
        return [Hit(hit.passage, rank, hit.score, hit.scores) for rank, hit in enumerate(best_first[:k], 1)]

    def missing(self) -> int:
        return self.store.missing()

    def build(self, on_passages: Callable[[int, int], None]) -> int:
        return self.store.build(on_passages)
