"""What all rerankers do with their scores: a new order, alone or fused with the scores that were there."""

from __future__ import annotations

from collections.abc import Sequence

from ragqa.config import Strict
from ragqa.search.fusion import StageFusion, fuse_stages
from ragqa.types import Hit


class RerankerSettings(Strict):
    """`fuse` blends the reranker's scores with those of the stages before it, instead of replacing them."""

    fuse: StageFusion | None = None


def reorder(
    hits: Sequence[Hit], scores: Sequence[float], stage: str, fusion: StageFusion | None, k: int
) -> list[Hit]:
    """Return the best `k` hits by `scores`, equal ones as they came; fused with others if asked."""
    scored = [
        Hit(hit.passage, hit.rank, score, {**hit.scores, stage: score})
        for hit, score in zip(hits, scores, strict=True)
    ]
    best_first = sorted(scored, key=lambda hit: (-hit.score, hit.rank))
    if fusion is not None:
        return fuse_stages(best_first, fusion, k)
    return [Hit(hit.passage, rank, hit.score, hit.scores) for rank, hit in enumerate(best_first[:k], 1)]
