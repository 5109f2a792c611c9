from __future__ import annotations

from ragqa.types import Hit, Passage
from tests.workshop.fusions import fused_quality, leave_one_out, settings


def test_what_is_chosen_without_a_collection_does_not_look_at_it() -> None:
    quality = {"good elsewhere": [0.0, 0.9, 0.8], "good there": [1.0, 0.1, 0.1]}
    assert leave_one_out(quality, 0) == "good elsewhere"
    assert leave_one_out(quality, 1) == "good there"


def test_a_fusion_is_worth_what_its_order_is_worth() -> None:
    def hit(document: str, **scores: float) -> Hit:
        return Hit(Passage(len(document), document, 0, 0, 1, "", (), "", "", {}), 1, 0.0, scores)

    candidates = {"q": [hit("a", fts=1, dense=0, colbert=9), hit("bb", fts=2, dense=1, colbert=1)]}
    fusions = settings()
    assert fused_quality(candidates, {"q": {"bb": 1}}, fusions["scores 1:1:1"]) == 1.0
    assert 0 < fused_quality(candidates, {"q": {"bb": 1}}, fusions["scores 1:1:4"]) < 1
