"""Fusion of rankings: by reciprocal ranks, or by normalised scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from ragqa.config import Strict
from ragqa.types import Hit

STAGE = "fusion"


class Fusion(Strict):
    """How rankings become one; `weights` has one number per ranking, all 1 when empty.

    `ranks` is reciprocal rank fusion, the sum of weight / (k + rank), where `k` damps the first ranks
    (Cormack, Clarke and Büttcher 2009, SIGIR, p. 758). `scores` is the weighted sum of scores, each
    ranking's brought to 0..1 by its lowest and highest (the convex combination of Bruch, Gai and
    Ingber 2023, arXiv:2210.11934).
    """

    by: Literal["ranks", "scores"] = "ranks"
    k: int = Field(default=60, ge=0)
    weights: tuple[float, ...] = ()


def fuse(rankings: Sequence[Sequence[Hit]], fusion: Fusion, k: int, stage: str = STAGE) -> list[Hit]:
    """Return the best `k` passages of all `rankings`, equal ones in the order of the first that has them.

    A passage that a ranking lacks gets nothing from it. Each hit keeps the scores of every stage, and
    has its fused one as `stage`.
    """
    weights = fusion.weights or (1.0,) * len(rankings)
    totals: dict[int, float] = {}
    merged: dict[int, Hit] = {}
    for weight, ranking in zip(weights, rankings, strict=True):
        for hit, part in zip(ranking, _parts(ranking, fusion), strict=True):
            key = hit.passage.rowid
            totals[key] = totals.get(key, 0.0) + weight * part
            known = merged[key].scores if key in merged else {}
            merged[key] = Hit(hit.passage, hit.rank, hit.score, {**known, **hit.scores})
    order = sorted(totals, key=lambda key: -totals[key])[:k]
    return [
        Hit(merged[key].passage, rank, totals[key], {**merged[key].scores, stage: totals[key]})
        for rank, key in enumerate(order, 1)
    ]


def _parts(ranking: Sequence[Hit], fusion: Fusion) -> list[float]:
    """Return what each hit of a ranking brings in before it is weighted."""
    if fusion.by == "ranks":
        return [1 / (fusion.k + rank) for rank in range(1, len(ranking) + 1)]
    scores = [hit.score for hit in ranking]
    lowest, highest = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - lowest) / (highest - lowest) if highest > lowest else 1.0 for score in scores]
