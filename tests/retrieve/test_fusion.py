from __future__ import annotations

import pytest

from ragqa.retrieve.fusion import Fusion, fuse
from ragqa.types import Hit, Passage


def ranking(stage: str, *rowids: int) -> list[Hit]:
    hits = []
    for rank, rowid in enumerate(rowids, 1):
        passage = Passage(rowid, f"d{rowid}", 0, 0, 1, "", (), "", "", {})
        hits.append(Hit(passage, rank, 10.0 - rank, {stage: 10.0 - rank}))
    return hits


def test_scores_are_those_of_the_formula() -> None:
    hits = fuse([ranking("a", 1, 2), ranking("b", 2, 3)], Fusion(k=60), 10)
    scores = {hit.passage.rowid: hit.score for hit in hits}
    assert scores == pytest.approx({2: 1 / 62 + 1 / 61, 1: 1 / 61, 3: 1 / 62})
    assert [hit.passage.rowid for hit in hits] == [2, 1, 3]
    assert hits[0].scores.keys() == {"a", "b", "fusion"}


def test_weights_count_one_ranking_more() -> None:
    hits = fuse([ranking("a", 1, 2), ranking("b", 2, 1)], Fusion(weights=(1.0, 3.0)), 1)
    assert [hit.passage.rowid for hit in hits] == [2]
