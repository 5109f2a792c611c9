from __future__ import annotations

import pytest

from ragqa.search.fusion import Fusion, fuse
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


def test_standardised_scores_of_all_candidates_are_summed() -> None:
    hits = fuse([ranking("a", 1, 2), ranking("b", 2, 3)], Fusion(by="scores", weights=(2.0, 1.0)), 3)
    # Ranking a: 9, 8 and, for passage 3, its lowest, 8; ranking b: 8 for passage 1, then 9 and 8.
    high, low = 2**0.5, -(0.5**0.5)
    scores = {hit.passage.rowid: hit.score for hit in hits}
    assert scores == pytest.approx({1: 2 * high + low, 2: 2 * low + high, 3: 2 * low + low})
    assert [hit.passage.rowid for hit in hits] == [1, 2, 3]


def test_equal_scores_and_empty_rankings_change_nothing() -> None:
    same = [Hit(hit.passage, hit.rank, 1.0, {"a": 1.0}) for hit in ranking("a", 3, 1, 2)]
    hits = fuse([same, []], Fusion(by="scores"), 5)
    assert [(hit.passage.rowid, hit.score) for hit in hits] == [(3, 0.0), (1, 0.0), (2, 0.0)]
    assert fuse([[], []], Fusion(), 5) == []
