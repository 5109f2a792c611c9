from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ragqa.config import StageSettings, parse_config
from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.index import exact as exact_module
from ragqa.index.maxsim import maxsim
from ragqa.index.quantise import Codec, encode, join
from ragqa.operations.corpus import build_index, corpus_status, remove_documents
from ragqa.pipeline import Pipeline
from ragqa.retrieve.colbert_index import ColbertIndexRetriever
from ragqa.search.registry import check_stages
from tests.conftest import fill

WORDS = [
    "tea",
    "coffee",
    "bicycles",
    "tomatoes",
    "rivers",
    "churches",
    "engines",
    "violins",
    "glaciers",
    "beetles",
    "lenses",
    "bread",
]
QUESTION = "How warm is green tea steeped?"


def test_every_passage_is_scored_as_reranking_scores_it(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_module, "BLOCK", 30)  # several blocks
    pipeline = Pipeline.from_config("colbert-exact", db)
    stage = pipeline.retriever
    assert isinstance(stage, ColbertIndexRetriever)
    hits = stage.search(QUESTION, 100)
    assert len(hits) == pipeline.corpus.count("passages")
    (question,) = stage.store.encoder.encode_queries([QUESTION])
    matrix = stage.store.load([hit.passage for hit in hits])
    expected = maxsim(question, matrix.vectors, matrix.offsets)
    np.testing.assert_allclose([hit.score for hit in hits], expected, rtol=1e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    questions = [QUESTION, "What mends a flat tyre?"]
    for one, hits in zip(questions, stage.search_batch(questions, 3), strict=True):
        assert [hit.passage.id for hit in hits] == [hit.passage.id for hit in stage.search(one, 3)]
    pipeline.close()


@pytest.mark.parametrize("codec", ["int8", "int4", "int2"])
@pytest.mark.parametrize("pool_factor", [1, 2])
def test_a_second_question_is_multiplied_in_integers_and_finds_the_same(
    codec: Codec, pool_factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_module, "BLOCK", 60)  # several blocks
    monkeypatch.setattr(exact_module, "MORE", 4)
    lines = [f"Note {number} is about {word}." for number, word in enumerate(WORDS)]
    (tmp_path / "notes.jsonl").write_text(
        "".join(json.dumps({"id": line, "text": line}) + "\n" for line in lines)
    )
    fill(tmp_path / "corpus.db", tmp_path / "notes.jsonl")
    stage = {"type": "colbert-index", "codec": codec, "pool_factor": pool_factor}
    with Pipeline.from_config(parse_config({"retrieve": stage}, "exact"), tmp_path / "corpus.db") as pipeline:
        build_index(pipeline)
        retriever = pipeline.retriever
        assert isinstance(retriever, ColbertIndexRetriever)
        first = {word: retriever.search(f"notes about {word}", 2) for word in WORDS[:1]}
        for word in WORDS:
            hits = retriever.search(f"notes about {word}", 2)
            assert word in hits[0].passage.text
            (question,) = retriever.store.encoder.encode_queries([f"notes about {word}"])
            scores = retriever.store.scores([hit.passage for hit in hits], question)
            np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=1e-5)
            if word in first:
                assert [hit.passage.id for hit in hits] == [hit.passage.id for hit in first[word]]
        kept = retriever.exact._kept
        assert kept is not None
        assert (kept.rough is None) == (codec == "int8")


def test_a_shortlist_is_scored_as_exact_search_scores_it(db: Path) -> None:
    with Corpus.open(db) as corpus:
        total = corpus.count("passages")
    exact = Pipeline.from_config("colbert-exact", db)
    listed = Pipeline.from_config("colbert-shortlist", db)
    expected, found = exact.search(QUESTION, total).hits, listed.search(QUESTION, total).hits
    assert [hit.passage.id for hit in found] == [hit.passage.id for hit in expected]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], rtol=1e-4)
    assert found[0].scores.keys() == {"colbert-shortlist"}
    exact.close()
    listed.close()


def test_a_shortlist_builds_both_vectors_in_one_pass_and_keeps_both(tmp_path: Path, notes: Path) -> None:
    db = tmp_path / "corpus.db"
    fill(db, notes)
    pipeline = Pipeline.from_config("colbert-shortlist", db)
    report = build_index(pipeline)
    total = pipeline.corpus.count("passages")
    assert report["stages"] == {"colbert-index": total}
    status = corpus_status(pipeline.corpus)
    assert [entry["missing"] for entry in (*status["encoders"], *status["embedders"])] == [0, 0]
    assert build_index(pipeline, drop_unused=True)["dropped"] == 0
    pipeline.close()


def test_a_shortlist_of_another_model_is_refused() -> None:
    with pytest.raises(UsageError, match="kind shortlist is for the embedded model"):
        check_stages(
            StageSettings(type="colbert-index", kind="shortlist", model="some/colbert"),
            StageSettings(type="none"),
        )


def test_it_is_right_after_every_addition_and_deletion(db: Path, tmp_path: Path) -> None:
    pipeline = Pipeline.from_config("colbert-exact", db)
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "tea.html"
    with Corpus.open(db) as other:
        remove_documents(other, ["tea.html"])
    assert all(hit.passage.document_id != "tea.html" for hit in pipeline.search(QUESTION).hits)
    (tmp_path / "sencha.md").write_text("# Sencha\n\nSencha, a green tea, is steeped at 75 degrees.")
    fill(db, tmp_path / "sencha.md")
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "sencha.md"
    pipeline.close()


@pytest.mark.parametrize("codec", ["int8", "int4", "int2"])
@pytest.mark.parametrize("dimensions", [32, 31])
def test_products_of_packed_vectors_are_those_of_unpacked_ones(codec: Codec, dimensions: int) -> None:
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(20, dimensions)).astype(np.float32)
    queries = generator.normal(size=(4, dimensions)).astype(np.float32)
    packed = join([encode(vectors, codec)], [20], dimensions, codec)
    np.testing.assert_allclose(packed.products(queries), packed.decode() @ queries.T, atol=1e-4)
