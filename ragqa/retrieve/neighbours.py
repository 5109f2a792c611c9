"""Candidates with their neighbours: what lies close to the best hits joins them before reranking.

A reranker can only order what it is given. The passages nearest to the best candidates are likely
relevant too, whatever words they use (MacAvaney, Tonellotto and Macdonald 2022, arXiv:2208.08942;
Kulkarni et al. 2023, arXiv:2307.16779). Nearness is the cosine of stored dense vectors, computed when
asked, so that no graph of neighbours can be stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, Field, model_validator

from ragqa.config import StageSettings, pick
from ragqa.retrieve.dense import DenseRetriever, DenseSettings
from ragqa.search.contracts import Derived, Resources, Retriever
from ragqa.search.registry import check_retriever, make_retriever
from ragqa.types import Hit

STAGE = "neighbours"


class NeighboursSettings(DenseSettings):
    """`of` finds the candidates; the `each` nearest passages of its first `seeds` hits join them."""

    of: StageSettings
    seeds: int = Field(default=10, ge=1)
    each: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _check(self) -> NeighboursSettings:
        check_retriever(self.of)
        return self


class NeighboursRetriever:
    """The first stage `neighbours`: the best hits of another stage, then the new neighbours, nearest first.

    Neighbours take the places of the last of the `k` hits. A neighbour's score is its cosine to the
    nearest seed less 2, below any hit of the other stage where scores are not negative.
    """

    Settings: ClassVar[type[BaseModel]] = NeighboursSettings
    filters: ClassVar[bool] = True

    def __init__(self, settings: NeighboursSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources
        self.corpus = resources.corpus
        self.of = make_retriever(settings.of, resources)
        self.dense = DenseRetriever(pick(settings, DenseSettings), resources)

    @classmethod
    def shares(cls, settings: NeighboursSettings) -> bool:
        return DenseRetriever.shares(settings)

    def search(self, query: str, k: int) -> list[Hit]:
        return self.search_batch([query], k)[0]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.prepare()
        return [self._with_neighbours(found, k) for found in self.of.search_batch(queries, k)]

    def _with_neighbours(self, found: list[Hit], k: int) -> list[Hit]:
        matrix = self.dense.store.matrix()
        place_of = {rowid: place for place, rowid in enumerate(matrix.rowids)}
        known = {hit.passage.rowid for hit in found}
        best_hits = found[: self.settings.seeds]
        seeds = [place_of[hit.passage.rowid] for hit in best_hits if hit.passage.rowid in place_of]
        nearest: dict[int, float] = {}
        allowed = self.resources.allowed()
        for scores in matrix.products(matrix.vectors(seeds)).T if seeds else ():
            for place, cosine in zip(*matrix.nearest(scores, self.settings.each + 1, allowed), strict=True):
                rowid = matrix.rowids[place]
                if rowid not in known:
                    nearest[rowid] = max(nearest.get(rowid, -1.0), cosine)
        kept = found[: max(len(best_hits), k - len(nearest))]
        order = sorted(nearest, key=lambda rowid: -nearest[rowid])[: k - len(kept)]
        joined = [
            Hit(passage, rank, nearest[passage.rowid] - 2, {STAGE: nearest[passage.rowid]})
            for rank, passage in enumerate(self.corpus.passages(order), len(kept) + 1)
        ]
        return [*kept, *joined]

    def prepare(self) -> None:
        for stage in self.parts().values():
            if isinstance(stage, Derived):
                stage.prepare()

    def parts(self) -> Mapping[str, Retriever]:
        return {self.settings.of.type: self.of, "neighbours": self.dense}
