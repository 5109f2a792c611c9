"""Fusion of rankings: by reciprocal ranks, or by standardised scores.

The rule, for two rankings of three candidates:

    BM25    a 9.0  b 5.0  (c is not found)
    dense   b 0.8  c 0.7  a 0.3

By ranks (k 60), each gets the sum of 1 / (60 + rank): a 1/61 + 1/63 = 0.0323, b 1/62 + 1/61 = 0.0325,
c 1/62 = 0.0161, so b, a, c. By scores, each ranking is brought to mean 0 and deviation 1 over all
candidates, what it lacks being as low as its lowest (c is 5.0 in BM25), and summed: a 1.41 - 1.39 = 0.03,
b -0.71 + 0.93 = 0.22, c -0.71 + 0.46 = -0.24: b, a, c as well, but by how much better a was than b.

Where it fails: ranks forget how sure a stage was; scores trust a stage whose scores are all alike, and with
few candidates a single high one makes the deviation. `default` fuses by scores, the best mean of fourteen
ways on five collections, by `python -m tests.workshop.fusions` (docs/measurements.md). k 60 is the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ragqa.config import Strict
from ragqa.types import Hit

STAGE = "fusion"

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Fusion(Strict):
    """How rankings become one; `weights` has one number per ranking, all 1 when empty.

    `ranks` is reciprocal rank fusion, the sum of weight / (k + rank), where `k` damps the first ranks
    (Cormack, Clarke and Büttcher 2009, SIGIR, p. 758). `scores` is the weighted sum of scores, each
    ranking's brought to mean 0 and deviation 1 over all candidates (ZMUV of Montague and Aslam 2001,
    CIKM, p. 427), where a candidate that a ranking lacks has its lowest score.
    """

    by: Literal["ranks", "scores"] = "ranks"
    k: int = Field(default=60, ge=0)
    weights: tuple[Weight, ...] = ()


class StageFusion(Strict):
    """Fusion of the scores that candidates bring along: `weights` by the name of the stage that gave them."""

    by: Literal["ranks", "scores"] = "ranks"
    k: int = Field(default=60, ge=0)
    weights: Mapping[str, Weight] = Field(min_length=1)


def fuse(rankings: Sequence[Sequence[Hit]], fusion: Fusion, k: int, stage: str = STAGE) -> list[Hit]:
    """Return the best `k` passages of all `rankings`, equal ones in the order of the first that has them.

    Each hit keeps the scores of every stage, and has its fused one as `stage`.
    """
    merged: dict[int, Hit] = {}
    for hit in (hit for ranking in rankings for hit in ranking):
        known = merged.get(hit.passage.rowid)
        merged[hit.passage.rowid] = replace(known, scores={**known.scores, **hit.scores}) if known else hit
    totals = dict.fromkeys(merged, 0.0)
    weights = fusion.weights or (1.0,) * len(rankings)
    for weight, ranking in zip(weights, rankings, strict=True):
        parts = _by_rank(ranking, fusion.k) if fusion.by == "ranks" else _standardised(ranking, list(merged))
        for key, part in parts.items():
            totals[key] += weight * part
    order = sorted(totals, key=lambda key: -totals[key])[:k]
    return [
        Hit(merged[key].passage, rank, totals[key], {**merged[key].scores, stage: totals[key]})
        for rank, key in enumerate(order, 1)
    ]


def fuse_stages(hits: Sequence[Hit], fusion: StageFusion, k: int) -> list[Hit]:
    """Return the best `k` of `hits` by the fused scores that earlier stages gave them."""
    rankings = [
        sorted(
            (replace(hit, score=hit.scores[name]) for hit in hits if name in hit.scores),
            key=lambda hit: -hit.score,
        )
        for name in fusion.weights
    ]
    positional = Fusion(by=fusion.by, k=fusion.k, weights=tuple(fusion.weights.values()))
    return fuse(rankings, positional, k)


def _by_rank(ranking: Sequence[Hit], k: int) -> dict[int, float]:
    return {hit.passage.rowid: 1 / (k + rank) for rank, hit in enumerate(ranking, 1)}


def _standardised(ranking: Sequence[Hit], candidates: Sequence[int]) -> dict[int, float]:
    scores = {hit.passage.rowid: hit.score for hit in ranking}
    if not scores:
        return {}
    lowest = min(scores.values())
    values = np.array([scores.get(key, lowest) for key in candidates])
    # Equal scores say nothing, whatever rounding makes of their deviation.
    deviation = float(values.std()) if values.min() < values.max() else np.inf
    standardised = (values - values.mean()) / deviation
    return dict(zip(candidates, standardised.tolist(), strict=True))
