from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragqa.config import StageSettings, parse_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.files import weights_folder
from ragqa.encoders.embedder import EmbedderSettings, load_embedder
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import RagqaError
from ragqa.index import dense_matrix, passage_store
from ragqa.index.best import best
from ragqa.operations.corpus import build_index, corpus_status
from ragqa.pipeline import Pipeline
from ragqa.retrieve.dense import DenseRetriever
from ragqa.search.contracts import Resources
from ragqa.search.registry import make_retriever
from tests.conftest import fill

CPU = Compute("cpu", "float32")
QUESTION = "How hot should the water for tea be?"


def dense(corpus: Corpus, **options: Any) -> DenseRetriever:
    made = make_retriever(StageSettings(type="dense", **options), Resources(corpus, CPU, print))
    assert isinstance(made, DenseRetriever)
    return made


@pytest.mark.needs("torch")
def test_the_embedded_vectors_are_the_models_own_sentence_embeddings() -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["Green tea, steeped at 70 degrees!", "A flat tyre.", ""]
    expected = SentenceTransformer(str(weights_folder() / "all-MiniLM-L6-v2"), device="cpu").encode(texts)
    embedder = load_embedder(EmbedderSettings(model="embedded-light"), CPU)
    for vectors in (embedder.embed_queries(texts[:2]), embedder.embed_documents(texts[:2])):
        cosines = (vectors * expected[:2]).sum(axis=1) / np.linalg.norm(expected[:2], axis=1)
        np.testing.assert_allclose(cosines, 1, atol=1e-4)
    engine = load_encoder(
        EncoderSettings(model="embedded-light", query_tokens=511), Compute("cpu", "bfloat16")
    )
    np.testing.assert_allclose(
        engine.embed_queries(texts[:2]),  # type: ignore[attr-defined]
        embedder.embed_queries(texts[:2]),
        atol=0.02,
    )


def test_one_pass_gives_the_same_vectors_as_two(db: Path, tmp_path: Path) -> None:
    """The corpus of the fixture was built by `default`: token vectors and dense vectors in one pass."""
    with Corpus.open(db) as corpus:
        stored = dense(corpus).store.matrix()
        passages = corpus.passages(stored.rowids)
        anew = load_embedder(EmbedderSettings(), Compute("cpu")).embed_documents(
            [indexed_text(passage)[0] for passage in passages]
        )
        vectors = stored.vectors(range(len(stored.rowids)))
        np.testing.assert_allclose(vectors, anew, atol=0.01)
        (status,) = corpus_status(corpus)["embedders"]
        assert (status["passages"], status["missing"]) == (len(passages), 0)


@pytest.mark.parametrize(("codec", "size"), [("float32", 4 * 384), ("float16", 2 * 384), ("int8", 4 + 384)])
def test_every_codec_finds_the_same(corpus: Corpus, codec: str, size: int) -> None:
    stage, reference = dense(corpus, codec=codec), dense(corpus, codec="float32")
    stage.build()
    reference.build()
    hits = stage.search(QUESTION, 3)
    assert hits[0].passage.document_id == "tea.html"
    assert [hit.rank for hit in hits] == [1, 2, 3]
    exact = {hit.passage.id: hit.score for hit in reference.search(QUESTION, 100)}
    for hit in hits:
        assert hit.score == pytest.approx(exact[hit.passage.id], abs=0.005)
    lengths = corpus.connection.execute(
        "SELECT DISTINCT length(data) FROM dense_vectors WHERE encoder = ?", [stage.store.encoder_row()]
    ).fetchall()
    assert lengths == [(size,)]


def test_what_another_connection_adds_or_removes_is_seen_at_once(db: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    with Corpus.open(db) as corpus:
        stage = make_retriever(StageSettings(type="dense"), Resources(corpus, CPU, notes.append))
        assert stage.search(QUESTION, 1)[0].passage.document_id == "tea.html"
        with Corpus.open(db) as other:
            other.remove(["tea.html"])
        assert stage.search(QUESTION, 1)[0].passage.document_id != "tea.html"
        (tmp_path / "oolong.md").write_text("# Oolong\n\nThe water for oolong tea should be 90 degrees hot.")
        fill(db, tmp_path / "oolong.md")
        assert stage.search(QUESTION, 1)[0].passage.document_id == "oolong.md"
    assert any("without dense vectors: 1" in note for note in notes)


@pytest.mark.parametrize("dimensions", [384, 100])
def test_packed_rows_are_ranked_as_plain_ones(monkeypatch: pytest.MonkeyPatch, dimensions: int) -> None:
    monkeypatch.setattr(dense_matrix, "PACKED_FROM", 1000)
    monkeypatch.setattr(dense_matrix, "PACK", 1500)  # more than one pack
    generator = np.random.default_rng(5)
    vectors = generator.normal(size=(4000, dimensions)).astype(np.float32)
    scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    rows = np.rint(vectors / scales[:, None]).astype(np.int8)
    stored = dense_matrix.DenseMatrix(list(range(4000)), rows, scales)
    queries = generator.normal(size=(3, dimensions)).astype(np.float32)
    first = stored.search(queries, 20)
    again = stored.search(queries, 20)
    assert stored._packed is not None
    for (places, scores), (others, their_scores) in zip(first, again, strict=True):
        assert places == others
        np.testing.assert_allclose(scores, their_scores, rtol=1e-5)


def test_what_is_missing_is_counted_once_per_change_of_the_file(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = dense(corpus)
    counted: list[int] = []
    count = stage.store.missing
    monkeypatch.setattr(stage.store, "missing", lambda: counted.append(1) or count())
    stage.search(QUESTION, 3)
    stage.search(QUESTION, 3)
    assert len(counted) == 1
    corpus.remove(["tea.html"])
    stage.search(QUESTION, 3)
    assert len(counted) == 2


def test_many_missing_vectors_are_refused_with_the_command(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage_store, "ON_THE_FLY", 1)
    with corpus.transaction():
        corpus.connection.execute("DELETE FROM dense_vectors")
        corpus.connection.execute("DELETE FROM token_vectors")
    for name in ("dense", "hybrid", "colbert-exact"):
        pipeline = Pipeline.from_config(name, corpus.path)
        with pytest.raises(RagqaError, match=r"passages of .* have no .* vectors yet: ragqa index"):
            pipeline.search(QUESTION)
        pipeline.close()


@pytest.mark.needs("torch")
def test_a_model_on_disk_with_prompts_of_its_own(tmp_path: Path, db: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(weights_folder() / "all-MiniLM-L6-v2"), device="cpu")
    model.prompts = {"query": "question: ", "document": "passage: "}
    model.save_pretrained(str(tmp_path / "prompted"))
    stage = {"type": "dense", "model": str(tmp_path / "prompted")}
    pipeline = Pipeline.from_config(parse_config({"retrieve": stage, "dtype": "float32"}, "mine"), db)
    with pytest.raises(RagqaError, match=r"indexed with bge-small-en-v1.5 .* wants .*prompted"):
        pipeline.search(QUESTION)
    build_index(pipeline)
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "tea.html"
    embedder = load_embedder(EmbedderSettings(model=str(tmp_path / "prompted")), CPU)
    plain = load_embedder(EmbedderSettings(model="embedded-light"), CPU)
    np.testing.assert_allclose(
        embedder.embed_queries(["tea"]), plain.embed_queries(["question: tea"]), atol=1e-4
    )
    np.testing.assert_allclose(
        embedder.embed_documents(["tea"]), plain.embed_documents(["passage: tea"]), atol=1e-4
    )
    assert embedder.identity["prompt"] == "passage: "
    pipeline.close()


@pytest.mark.needs("torch")
def test_a_model_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(RagqaError, match="embedding model nowhere/at-all cannot be loaded"):
        load_embedder(EmbedderSettings(model="nowhere/at-all"), CPU)


def test_the_best_places_are_those_of_a_full_sort() -> None:
    scores = np.array([0.1, 0.5, 0.5, 0.9, 0.5, 0.2])
    assert best(scores, 3) == [3, 1, 2]
    assert best(scores, 10) == [3, 1, 2, 4, 5, 0]
    assert best(np.zeros(0), 3) == []
