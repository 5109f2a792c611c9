"""What all rerankers do with their scores: a new order, alone or fused with the one that was given."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, field_validator

from ragqa.retrieve.fusion import Fusion, fuse
from ragqa.types import Hit


class FuseSettings(BaseModel):
    """`fuse`: to blend the reranker's order with the order given, instead of replacing it."""

    fuse: Fusion | None = None

    @field_validator("fuse")
    @classmethod
    def _two_weights(cls, fuse: Fusion | None) -> Fusion | None:
        if fuse is not None and len(fuse.weights) not in (0, 2):
            raise ValueError("weights must be two: of the order given, and of the reranker's")
        return fuse


def reorder(
    hits: Sequence[Hit], scores: Sequence[float], stage: str, fusion: Fusion | None, k: int
) -> list[Hit]:
    """Return the best `k` hits by `scores`, equal ones in the order given; fused with that order if asked."""
    scored = [
        Hit(hit.passage, hit.rank, score, {**hit.scores, stage: score})
        for hit, score in zip(hits, scores, strict=True)
    ]
    best_first = sorted(scored, key=lambda hit: (-hit.score, hit.rank))
    if fusion is not None:
        return fuse([list(hits), best_first], fusion, k)
    return [Hit(hit.passage, rank, hit.score, hit.scores) for rank, hit in enumerate(best_first[:k], 1)]
