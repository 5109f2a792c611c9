"""ragqa as a library: the examples in its docstrings, streaming, what a notebook shows."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragqa import Pipeline
from ragqa.errors import RagqaError
from tests.conftest import fill

QUESTION = "How many grams of beans for one litre of water?"
HOSTILE = "Beans <script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m\u202egrams"


@pytest.fixture
def pipeline(db: Path) -> Iterator[Pipeline]:
    with Pipeline.from_config("default", db) as opened:
        yield opened


@pytest.mark.parametrize("module", ["ragqa", "ragqa.pipeline", "ragqa.answer.stream"])
def test_the_examples_are_true(module: str, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(db.parent)
    found = doctest.testmod(importlib.import_module(module), verbose=False)
    assert found.attempted
    assert not found.failed


def test_an_answer_that_is_streamed_is_the_same(pipeline: Pipeline, fake_models: SimpleNamespace) -> None:
    stream = pipeline.stream(QUESTION, model="fake", log=False)
    pieces = list(stream)
    asked = pipeline.ask(QUESTION, model="fake", log=False)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.answer.text == asked.text
    assert stream.answer.sentences == asked.sentences
    assert list(stream) == []


def test_the_answer_can_be_had_without_its_pieces(pipeline: Pipeline, fake_models: SimpleNamespace) -> None:
    assert pipeline.stream(QUESTION, model="fake").answer.text.startswith("Use 60 grams")


def test_a_failure_while_streaming_is_raised_and_leaves_no_answer(
    pipeline: Pipeline, fake_models: SimpleNamespace
) -> None:
    stream = pipeline.stream(QUESTION, model="failing")
    with pytest.raises(RagqaError, match="the server hung up"):
        list(stream)
    with pytest.raises(RagqaError, match="broken off"):
        _ = stream.answer


def test_a_notebook_shows_passages_shaded(pipeline: Pipeline) -> None:
    shown = pipeline.search(QUESTION, k=2)._repr_html_()
    assert "rgba(255,160,0,0.8)'>grams</span>" in shown
    assert shown.count("<details") == 2


def test_a_notebook_shows_results_also_when_the_corpus_is_closed(db: Path) -> None:
    with Pipeline.from_config("default", db) as pipeline:
        result = pipeline.search(QUESTION)
    shown = result._repr_html_()
    assert "rgba" not in shown
    assert "60 grams" in shown


def test_a_notebook_shows_marks_beside_sentences(pipeline: Pipeline, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = ["Use 60 grams of beans for one litre of water [1]. Use 75 grams [1]."]
    shown = pipeline.ask(QUESTION, model="fake")._repr_html_()
    assert "water [1]. <span" in shown
    assert "✓" in shown
    assert "✗ unsupported" in shown
    assert "Making coffee (coffee.md:15)" in shown


def test_what_others_wrote_is_text_in_a_notebook(tmp_path: Path, fake_models: SimpleNamespace) -> None:
    note = tmp_path / "note.txt"
    note.write_text(HOSTILE)
    fill(tmp_path / "hostile.db", note)
    fake_models.answering.answer = [f"{HOSTILE} [1]."]
    with Pipeline.from_config("fts", tmp_path / "hostile.db") as pipeline:
        result = pipeline.search("beans")
        shown = result._repr_html_() + pipeline.ask("beans", model="fake")._repr_html_()
        hit = result.hits[0]
        source = replace(hit, passage=replace(hit.passage, source="javascript:alert(1)"))
        shown += replace(result, hits=(source,))._repr_html_()
    assert "&lt;script&gt;" in shown
    for wrong in ("<script", "<img", "\x1b", "\u202e", "href='javascript"):
        assert wrong not in shown
