"""Reciprocal rank fusion of rankings (Cormack, Clarke and Büttcher 2009, SIGIR, p. 758)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ragqa.config import Strict
from ragqa.types import Hit

STAGE = "fusion"


class Fusion(Strict):
    """`k` damps the first ranks; `weights` has one number per ranking, all 1 when empty."""

    k: int = Field(default=60, ge=0)
    weights: tuple[float, ...] = ()


def fuse(rankings: Sequence[Sequence[Hit]], fusion: Fusion, k: int) -> list[Hit]:
    """Return the best `k` passages by the sum over rankings of weight / (fusion.k + rank).

    A passage that a ranking lacks gets nothing from it. Each hit keeps the scores of every stage.
    """
    weights = fusion.weights or (1.0,) * len(rankings)
    totals: dict[int, float] = {}
    merged: dict[int, Hit] = {}
    for weight, ranking in zip(weights, rankings, strict=True):
        for rank, hit in enumerate(ranking, 1):
            key = hit.passage.rowid
            totals[key] = totals.get(key, 0.0) + weight / (fusion.k + rank)
            known = merged[key].scores if key in merged else {}
            merged[key] = Hit(hit.passage, rank, hit.score, {**known, **hit.scores})
    order = sorted(totals, key=lambda key: -totals[key])[:k]
    return [
        Hit(merged[key].passage, rank, totals[key], {**merged[key].scores, STAGE: totals[key]})
        for rank, key in enumerate(order, 1)
    ]
