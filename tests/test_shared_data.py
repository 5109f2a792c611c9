"""Quality on real data, where the folder of shared test data is there; skipped with a message where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragqa.corpus.loaders import Fields
from ragqa.evaluate.questions import load_questions
from ragqa.evaluate.metrics import parse_metrics, values
from ragqa.operations import build_index
from ragqa.pipeline import Pipeline
from tests.conftest import fill


def test_full_text_reaches_the_published_quality_on_scifact(shared: Path, tmp_path: Path) -> None:
    fill(tmp_path / "scifact.db", shared / "scifact")
    pipeline = Pipeline.from_config("fts", tmp_path / "scifact.db")
    result = evaluate(pipeline, load_questions(shared / "scifact"), ["nDCG@10"])
    assert result.questions == 300
    # Published for BM25: .679 (BEIR, Anserini flat).
    assert result.metrics["nDCG@10"] >= 0.67
    pipeline.close()


@pytest.fixture(scope="module")
def til(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("til") / "til.db"
    fields = Fields(id="slug", title="title", text=("body",), meta=("created", "topic"))
    fill(path, shared / "til.ndjson", fields=fields)
    pipeline = Pipeline.from_config("default", path)
    build_index(pipeline)
    pipeline.close()
    return path


def test_nine_of_ten_answerable_questions_find_their_note(shared: Path, til: Path) -> None:
    pipeline = Pipeline.from_config("fts-colbert", til)
    result = evaluate(pipeline, load_questions(shared / "til_questions.jsonl"), ["Success@5"])
    assert result.questions == 35
    assert result.metrics["Success@5"] >= 0.9
    pipeline.close()


def test_what_is_shot_scraper_is_answered_from_the_notes_on_it(til: Path) -> None:
    pipeline = Pipeline.from_config("default", til)
    answer = pipeline.ask("what is shot-scraper?", log=False)
    assert "shot-scraper" in answer.text
    assert answer.citations
    for citation in answer.citations:
        assert "shot-scraper" in citation.passage.text
    pipeline.close()
