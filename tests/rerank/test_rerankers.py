from __future__ import annotations

from pathlib import Path

import pytest

from ragqa.config import parse_config
from ragqa.errors import RagqaError
from ragqa.explain.explanation import explain
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.rerank.order import reorder
from ragqa.search.fusion import StageFusion
from ragqa.types import Hit, Passage
from tests.checkpoints import backbone

QUESTION = "How warm is green tea steeped?"


@pytest.mark.needs("plaid")
def test_ragatouilles_own_rerank_agrees_with_stored_vectors(
    db: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    theirs = Pipeline.from_config("ragatouille", db)
    unpooled = {"retrieve": {"type": "fts"}, "rerank": {"type": "colbert", "pool_factor": 1, "codec": "int8"}}
    ours = Pipeline.from_config(parse_config(unpooled, "unpooled"), db)
    build_index(ours)
    found, expected = theirs.search(QUESTION).hits, ours.search(QUESTION).hits
    assert [hit.passage.id for hit in found] == [hit.passage.id for hit in expected]
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    for one, other in zip(found, expected, strict=True):
        assert one.scores["ragatouille"] == pytest.approx(other.scores["colbert"], rel=0.03)
    for hit in explain(theirs, QUESTION).hits:
        (matches,) = (matches for matches in hit.matches if matches.stage == "ragatouille")
        assert matches.total == pytest.approx(hit.hit.scores["ragatouille"], rel=1e-3)
    assert theirs.search("xylophone").hits == ()
    assert capfd.readouterr().out == ""
    theirs.close()
    ours.close()


@pytest.mark.needs("torch")
def test_a_cross_encoder_reads_every_pair(db: Path, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    model, tokenizer = backbone(tmp_path / "cross")
    torch.manual_seed(1)
    config = BertConfig(**{**model.config.to_dict(), "num_labels": 1})
    BertForSequenceClassification(config).save_pretrained(tmp_path / "cross")
    tokenizer.save_pretrained(tmp_path / "cross")
    rerank = {"type": "cross-encoder", "model": str(tmp_path / "cross")}
    data = {"retrieve": {"type": "fts"}, "rerank": rerank, "dtype": "float32"}
    pipeline = Pipeline.from_config(parse_config(data, "cross"), db)
    hits = pipeline.search("water tea coffee").hits
    reference = CrossEncoder(str(tmp_path / "cross"), device="cpu")
    from ragqa.corpus.passages import indexed_text

    pairs = [("water tea coffee", indexed_text(hit.passage)[0]) for hit in hits]
    expected = reference.predict(pairs)
    assert [hit.score for hit in hits] == pytest.approx(expected.tolist(), rel=1e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].scores.keys() == {"fts", "cross-encoder"}
    pipeline.close()


@pytest.mark.needs("torch")
def test_a_cross_encoder_that_is_not_there_is_one_sentence(db: Path) -> None:
    rerank = {"type": "cross-encoder", "model": "nowhere/at-all"}
    config = parse_config({"retrieve": {"type": "fts"}, "rerank": rerank}, "cross")
    pipeline = Pipeline.from_config(config, db)
    with pytest.raises(RagqaError, match="cross-encoder nowhere/at-all cannot be loaded"):
        pipeline.search(QUESTION)
    pipeline.close()


def hit(rowid: int, **scores: float) -> Hit:
    return Hit(Passage(rowid, "d", rowid, 0, 1, "", (), "", "", {}), rowid, 0.0, scores)


def test_a_new_order_alone_or_fused_by_name() -> None:
    hits = [hit(1, fts=9.0, dense=0.1), hit(2, fts=1.0), hit(3, dense=0.9)]
    alone = reorder(hits, [1.0, 3.0, 2.0], "new", None, 2)
    assert [(h.passage.rowid, h.rank, h.score) for h in alone] == [(2, 1, 3.0), (3, 2, 2.0)]
    fusion = StageFusion(by="scores", weights={"fts": 1, "new": 0})
    by_fts = reorder(hits, [1.0, 3.0, 2.0], "new", fusion, 3)
    assert by_fts[0].passage.rowid == 1
    # 9, 1 and, where there is none, the lowest: 1. Standardised: sqrt(2) and twice -sqrt(1/2).
    assert by_fts[0].score == pytest.approx(2**0.5)
    assert [h.score for h in by_fts[1:]] == pytest.approx([-(0.5**0.5)] * 2)
    assert by_fts[0].scores == {"fts": 9.0, "dense": 0.1, "new": 1.0, "fusion": pytest.approx(2**0.5)}
    ranks = StageFusion(by="ranks", k=0, weights={"fts": 1, "dense": 1})
    assert [h.passage.rowid for h in reorder(hits, [1.0, 3.0, 2.0], "new", ranks, 3)] == [1, 3, 2]
