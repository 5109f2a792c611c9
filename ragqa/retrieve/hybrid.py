"""Several first stages side by side, their rankings fused."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel, Field, model_validator

from ragqa.config import StageSettings, Strict
from ragqa.search.contracts import Derived, Resources, Retriever
from ragqa.search.fusion import Fusion, fuse
from ragqa.search.registry import check_retriever, make_retriever, score_suffixes
from ragqa.types import Hit

STAGE = "hybrid"


class HybridSettings(Strict):
    """`stages` are first stages as a config names them; `fuse` has one weight for each, or none."""

    stages: tuple[StageSettings, ...] = Field(min_length=2)
    fuse: Fusion = Fusion()

    @model_validator(mode="after")
    def _check(self) -> HybridSettings:
        if len(self.fuse.weights) not in (0, len(self.stages)):
            raise ValueError(f"fuse.weights must be as many as there are stages, {len(self.stages)}")
        for stage in self.stages:
            check_retriever(stage)
        return self


class HybridRetriever:
    """The first stage `hybrid`. Scores are the fused ones; each hit keeps its scores of every stage."""

    Settings: ClassVar[type[BaseModel]] = HybridSettings
    # Its parts are made as it is: one that does not filter is refused.
    filters: ClassVar[bool] = True

    def __init__(self, settings: HybridSettings, resources: Resources) -> None:
        self.settings = settings
        self.stages = [make_retriever(stage, resources) for stage in settings.stages]
        self.suffixes = score_suffixes(settings.stages)

    @classmethod
    def shares(cls, settings: HybridSettings) -> bool:
        return True

    def search(self, query: str, k: int) -> list[Hit]:
        return self.search_batch([query], k)[0]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        # What may write to the corpus happens before the threads, one stage after the other.
        self.prepare()
        # Threads may share the corpus' connection only where SQLite was compiled for it (level 3).
        side_by_side = len(self.stages) if sqlite3.threadsafety == 3 else 1
        with ThreadPoolExecutor(side_by_side) as threads:
            found = list(threads.map(lambda stage: stage.search_batch(queries, k), self.stages))
        found = [
            [_renamed(hits, suffix) for hits in batch] if suffix else batch
            for batch, suffix in zip(found, self.suffixes, strict=True)
        ]
        return [fuse(rankings, self.settings.fuse, k, STAGE) for rankings in zip(*found, strict=True)]

    def prepare(self) -> None:
        for stage in self.stages:
            if isinstance(stage, Derived):
                stage.prepare()

    def parts(self) -> Mapping[str, Retriever]:
        """Return the stages by type, numbered where a type comes twice."""
        parts: dict[str, Retriever] = {}
        for settings, stage in zip(self.settings.stages, self.stages, strict=True):
            name, number = settings.type, 2
            while name in parts:
                name, number = f"{settings.type}-{number}", number + 1
            parts[name] = stage
        return parts


def _renamed(hits: Sequence[Hit], suffix: str) -> list[Hit]:
    return [replace(hit, scores={name + suffix: score for name, score in hit.scores.items()}) for hit in hits]
